"""The shapes of answers for a node's own programs: its agent, its storage server. See `models`."""

from registry.api.duty_models import FAULT
from registry.api.models import (
    ACCOUNT,
    EPOCH,
    HEIGHT,
    KEY,
    NODE,
    TIME_MS,
    Contact,
    Shape,
    nested,
    shown,
)

SWARM = "8142508126285856"
OTHER_SWARM = "8142508126285600"

# ------------------------------------------------------------------------------- check-ins


class CheckInTaken(Shape):
    """A check-in that was taken."""

    node: str = shown("The node that checked in.", "address", NODE)
    time_ms: int = shown("The time that it states.", "ms since 1970", TIME_MS)
    now_ms: int = shown("The service's clock.", "ms since 1970", TIME_MS + 40)


# ---------------------------------------------------------------------------------- duties


class Assignment(Shape):
    """A node that is to be tested."""

    node: str = shown("The node.", "address", NODE)
    life: int = shown("Its life, as a vote names it.", "number", 1)
    state: str = shown("Where it is in its life.", "name", "active")
    operator: str = shown("Account that owns it.", "address", ACCOUNT)
    contact: Contact = nested("Contact data in force: where it has to answer.")
    duty_key: str = shown("Key that signs its answers in this epoch.", "hex", KEY)
    judged: bool = shown("Whether its verdict stands in a block.", "yes or no", False)


class Member(Shape):
    """A node of a swarm."""

    node: str = shown("The node.", "address", NODE)
    contact: Contact = nested("Contact data in force.")


class Duties(Shape):
    """What a node has to do in the running epoch."""

    node: str = shown("The node.", "address", NODE)
    height: int = shown("The block that this was read from.", "height", HEIGHT)
    epoch: int = shown("The epoch that runs.", "epoch", EPOCH + 1)
    epoch_start_ms: int = shown("When it began.", "ms since 1970", TIME_MS)
    epoch_ends_ms: int = shown(
        "When it ends at the earliest.", "ms since 1970", TIME_MS + 1_800_000
    )
    testers_needed: int = shown("Votes that make a verdict.", "votes", 14)
    tests: list[Assignment] = nested("Whom it has to test, by ascending key.")
    testers: list[str] = shown(
        "Who tests it; none if nobody does. In the order of the draw.", "addresses", [NODE]
    )
    swarm: str | None = shown("Its swarm; null unless active.", "swarm id", SWARM)
    members: list[Member] = nested("The nodes of that swarm, itself included.")


# ------------------------------------------------------------------------------ its swarm


class SwarmChange(Shape):
    """What an epoch brought for the swarm of a node."""

    epoch: int = shown("The first epoch in which it is so.", "epoch", EPOCH + 1)
    swarm: str | None = shown("The node's swarm from then on; null for none.", "swarm id", SWARM)
    entered: bool = shown("Whether the node itself came into that swarm.", "yes or no", True)
    joined: list[str] = shown("Other nodes that came into it.", "addresses", [NODE])
    left: list[str] = shown("Other nodes that went out of it.", "addresses", [NODE])
    dissolved: bool = shown("Whether the swarm that the node was in is no more.", "yes or no", True)
    moved_from: str | None = shown(
        "The swarm that the node left; null if it left none.", "swarm id", OTHER_SWARM
    )
    owners: list[str] = shown(
        "Other swarms that now serve accounts which the node's swarm served before.",
        "swarm ids",
        [OTHER_SWARM],
    )


class SwarmMembers(Shape):
    """A swarm with its nodes."""

    swarm: str = shown("The swarm.", "swarm id", OTHER_SWARM)
    members: list[Member] = nested("Its nodes in the running epoch.")


class SwarmFeed(Shape):
    """The swarm of a node, and how it changed."""

    node: str = shown("The node.", "address", NODE)
    epoch: int = shown("The epoch that runs: `since` of the next question.", "epoch", EPOCH + 1)
    swarm: str | None = shown("Its swarm now; null unless active.", "swarm id", SWARM)
    members: list[Member] = nested("The nodes of that swarm, itself included.")
    since: int = shown("The epoch after which changes are told.", "epoch", EPOCH)
    changes: list[SwarmChange] = nested("Epochs that changed something for it, oldest first.")
    owners: list[SwarmMembers] = nested("The swarms that the changes name as owners, as of now.")
    gap: bool = shown(
        "Whether there may be more changes since then than are known.", "yes or no", False
    )


# ---------------------------------------------------------------------------- its history


class PastEpoch(Shape):
    """How a node fared in an epoch."""

    epoch: int = shown("The epoch.", "epoch", EPOCH)
    ended_ms: int = shown("Time of its last block.", "ms since 1970", TIME_MS)
    verdict: str = shown("`passed`, `failed`, or `none` if there is none.", "name", "failed")
    faults: list[str] = shown("What at least one tester found.", "names", [FAULT])
    reward: str | None = shown(
        "What it got for it; null where that cannot be told.", "atomic units", "5000000"
    )


class NodeHistory(Shape):
    """How a node fared, epoch by epoch."""

    epochs: list[PastEpoch] = nested("Epochs that ended, the oldest first.")
