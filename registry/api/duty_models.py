"""The shapes of answers about duty: the status of a node, votes, taking part. See `models`."""

from enum import StrEnum
from typing import Final

from registry.api.models import (
    ACCOUNT,
    EPOCH,
    HASH,
    KEY,
    NODE,
    SIGNATURE,
    TIME_MS,
    Node,
    Shape,
    nested,
    shown,
)

FAULT: Final = "storage port"

# --------------------------------------------------------------------- the status of a node


class VerdictVote(Shape):
    """One vote that a verdict carries."""

    tester: str = shown("The node that tested.", "address", NODE)
    faults: list[str] = shown("What it found; none is a pass.", "names", [FAULT])


class NodeVerdict(Shape):
    """What testers found of a node in an epoch."""

    epoch: int = shown("The epoch that it was tested in.", "epoch", EPOCH)
    failed: bool = shown("Whether it failed.", "yes or no", True)
    faults: list[str] = shown("What at least one of them found.", "names", [FAULT])
    votes: list[VerdictVote] = nested("The votes, in the order of the draw.")
    silent: list[str] = shown("Testers whose vote it does not carry.", "addresses", [NODE])


class Removal(Shape):
    """How far a node is from being taken off duty, if each verdict to come fails."""

    threat: str = shown(
        "What comes then: `decommission`, or `deregistration` for one that is down.",
        "name",
        "deregistration",
    )
    failing_epochs: int = shown("Failing epochs that count so far.", "epochs", 1)
    failing_epochs_needed: int = shown("As many have to be failing.", "epochs", 4)
    failing_epochs_left: int = shown("As many still have to be voted failing.", "epochs", 3)
    earliest_ms: int = shown(
        "When that may be at the earliest.", "ms since 1970", TIME_MS + 7_200_000
    )
    time_left_ms: int = shown("Time until then, from the newest block on.", "ms", 7_200_000)
    returns_after_epoch: int | None = shown(
        "Epoch at whose end one that is down is back if no further verdict fails; else null.",
        "epoch",
        EPOCH + 5,
    )


class ContributorRewards(Shape):
    """What one contributor gets of a node's rewards."""

    account: str = shown("The contributor.", "address", ACCOUNT)
    beneficiary: str = shown("Who gets them; either of the two may claim.", "address", ACCOUNT)
    per_epoch: str = shown("His part of what the node now gets.", "atomic units", "2500000")
    claimed: str = shown("Claimed in the running period.", "atomic units", "40000000")
    claimable: str = shown("What waits to be claimed.", "atomic units", "7500000")


class NodeRewards(Shape):
    """What a node earns, and what of it waits for whom."""

    earning: bool = shown("Whether it earns now.", "yes or no", True)
    earns_from_ms: int | None = shown(
        "From when it earns while it is active; null before its activation.",
        "ms since 1970",
        TIME_MS,
    )
    per_epoch: str = shown("What the running epoch would pay to it now.", "atomic units", "5000000")
    period_total: str = shown(
        "Earned since the last penalty, or since it began.", "atomic units", "95000000"
    )
    claimable: str = shown("What waits for all of them.", "atomic units", "15000000")
    contributors: list[ContributorRewards] = nested("In the order of the contributions.")


class RoleKeys(Shape):
    """Role keys that wait for the epoch's end."""

    duty_key: str = shown("Signs verdicts and answers.", "hex", KEY)
    list_key: str | None = shown("Signs lists; null if it does not attest.", "hex", KEY)
    consensus_key: str | None = shown("Signs blocks; null if it does not.", "hex", KEY)


class OwnParticipation(Shape):
    """How a node took part in the newest epochs."""

    epochs: int = shown("As many epochs, the running one included.", "epochs", 16)
    drawn: int = shown("Verdicts that it was drawn to test for.", "verdicts", 40)
    voted: int = shown("Those that carry its vote.", "verdicts", 39)
    headers: int | None = shown(
        "Headers that it could sign; null if it does not attest.", "headers", 15
    )
    signed: int | None = shown("Those that it signed.", "headers", 15)


class NodeStatus(Node):
    """Everything about one node."""

    tested_from: int | None = shown(
        "First epoch whose verdicts count for what it is now; null if it is not tested.",
        "epoch",
        EPOCH,
    )
    passed: bool = shown("Whether it is queued and passed its test.", "yes or no", False)
    removal: Removal | None = nested("What threatens it; null unless it is on duty.")
    verdicts: list[NodeVerdict] = nested("Of the newest 16 epochs, the newest first.")
    testers: list[str] = shown(
        "Who tests it in the running epoch; none if nobody does.", "addresses", [NODE]
    )
    tests: list[str] = shown("Whom it has to test in the running epoch.", "addresses", [NODE])
    rewards: NodeRewards = nested("What it earns, and what waits for whom.")
    exit_position: int | None = shown(
        "Place among those that leave, 1 is next; else null.", "place", 1
    )
    checked_in_ms: int | None = shown(
        "Time of the newest check-in of its agent here; null if none came since the start.",
        "ms since 1970",
        TIME_MS,
    )
    agent_version: tuple[int, int, int] | None = shown(
        "Version of that agent.", "version", (1, 0, 0)
    )
    agent_faults: list[str] | None = shown(
        "What the agent found of its own node then; none is well.", "names", []
    )
    contributors_may_ask_from_ms: int | None = shown(
        "When any contributor may ask it to leave; null before its activation.",
        "ms since 1970",
        TIME_MS + 2_592_000_000,
    )
    pending_keys: RoleKeys | None = nested("Role keys from the epoch's end on, if any.")
    participation: OwnParticipation = nested("How it took part itself.")


# -------------------------------------------------------------------------------- taking part


class TesterParticipation(Shape):
    """How one tester took part."""

    node: str = shown("The tester.", "address", NODE)
    drawn: int = shown("Verdicts that it was drawn to test for.", "verdicts", 40)
    voted: int = shown("Those that carry its vote.", "verdicts", 39)


class AttestorParticipation(Shape):
    """How one attestor took part."""

    index: int = shown("Its place in the set.", "index", 0)
    list_key: str = shown("Its key.", "hex", KEY)
    signed: int = shown("Headers that it signed in time.", "headers", 15)


class Participation(Shape):
    """Who takes part, and who does not."""

    epochs: int = shown("As many epochs, the running one included.", "epochs", 16)
    testers: list[TesterParticipation] = nested("By ascending key; who was not drawn is left out.")
    headers: int = shown(
        "Headers that take no signatures any more and are of the set in force.", "headers", 15
    )
    attestors: list[AttestorParticipation] = nested("The attestor set in force.")


# -------------------------------------------------------------------------------------- votes


class VoteState(StrEnum):
    """What became of a vote."""

    HELD = "held"
    NOTED = "noted"
    JUDGED = "judged"
    CONTRADICTION = "contradiction"
    REFUSED = "refused"


class VoteResult(Shape):
    """What became of one vote that was sent."""

    state: VoteState = shown("What became of it.", "name", "held")
    held: int = shown("Votes that agree with it and are held, itself included.", "votes", 9)
    needed: int = shown("Votes that make a verdict.", "votes", 14)
    code: str | None = shown("Why it was refused; null if it was not.", "code", None)
    detail: str | None = shown("What is wrong and what to do.", "text", None)
    values: dict[str, int | str] = shown("The facts that the detail shows.", "by name", {})


class VoteResults(Shape):
    """What became of the votes that were sent, in their order."""

    results: list[VoteResult] = nested("One for each vote.")


class HeldVote(Shape):
    """A vote that is held."""

    tester: str = shown("The node that tested.", "address", NODE)
    failed: bool = shown("Whether it says that the node failed.", "yes or no", True)
    faults: list[str] = shown("What it found; none is a pass.", "names", [FAULT])
    signature: str = shown("By the tester's duty key.", "hex", SIGNATURE)


class NodeVotes(Shape):
    """The votes that this service holds on one node in one epoch."""

    epoch: int = shown("The epoch that it is tested in.", "epoch", EPOCH)
    node: str = shown("The node.", "address", NODE)
    life: int = shown("Its life.", "number", 1)
    testers: list[str] = shown("Who was drawn, in the order of the draw.", "addresses", [NODE])
    needed: int = shown("Votes that make a verdict.", "votes", 14)
    judged: bool = shown("Whether its verdict stands in a block.", "yes or no", False)
    passes: int = shown("Votes that it passed.", "votes", 0)
    fails: int = shown("Votes that it failed.", "votes", 1)
    votes: list[HeldVote] = nested("The votes, in the order of the draw.")


class Contradiction(Shape):
    """Two votes of one tester that cannot both be honest."""

    duty_key: str = shown("The key that signed both.", "hex", KEY)
    epoch: int = shown("Of both votes.", "epoch", EPOCH)
    node: str = shown("The node that was tested.", "address", NODE)
    life: int = shown("Its life.", "number", 1)
    pass_signature: str = shown("Of the vote that it passed.", "hex", SIGNATURE)
    faults: list[str] = shown("What the other vote says.", "names", [FAULT])
    fail_signature: str = shown("Of the vote that it failed.", "hex", SIGNATURE)
    evidence: str = shown("The evidence file, ready to be reported.", "hex", HASH)


class Votes(Shape):
    """What this service holds, and whom it caught."""

    held: int = shown("Votes that wait for their verdict.", "votes", 120)
    made: int = shown("Verdicts made since the ledger process started.", "verdicts", 3)
    contradictions: list[Contradiction] = nested("The newest last; one for each key and epoch.")
