"""When something has to be said of a node: one function for each row of `WARNINGS` on nodes.

Each returns a `Finding` while its condition holds, else None. What follows a warning that is over
is said by the functions at the end; nothing is said where it got worse, since that has its own row.
"""

from collections.abc import Mapping
from typing import Final

from ledger.messages.state import ACTIVE, DECOMMISSIONED, DEREGISTERED, EXITED
from registry.amounts import format_amount, format_duration, format_time
from registry.warnings.cases import Finding, NodeCase
from registry.warnings.facts import NAME_OF, TESTED, NodeFacts, Removal

OUTDATED: Final = "outdated version"
WRONG_ADDRESS: Final = "wrong address"

FAULT_STEPS: Final[Mapping[str, str]] = {
    "storage port": "see that the storage server runs and its port is open",
    "router port": "see that the router runs and its port is open",
    OUTDATED: "install the newer version, and let the agent send it",
    WRONG_ADDRESS: (
        "see that the agent runs and answers at the address in the ledger, or send the right one "
        "with `waypost node contact`"
    ),
    "clock": "set the clock of the node's machine by NTP",
    "storage failure": "look into the log of the storage server",
}
"""What to do about each fault of `ledger.messages.duty.FAULTS`."""

CHECK_INS_MISSED: Final = 2
DOUBT_EPOCHS: Final = 3
"""What cannot be proven for so many epochs, though lists become final, is not true."""


# ------------------------------------------------------------------------------ tests that fail


def find_failing(case: NodeCase) -> Finding | None:
    """An active node needs but one more failing epoch to be taken off duty."""
    facts, removal = _threatened(case, ACTIVE)
    if facts is None or removal is None or removal.failing_epochs_left > 1:
        return None
    return Finding(
        f"{facts.life}",
        f"{_tell_failure(facts)}: with one more failing epoch it is decommissioned",
        _mend(facts),
        removal.time_left_ms,
    )


def find_decommission(case: NodeCase) -> Finding | None:
    """The verdicts that take an active node off duty stand, and wait for their effect."""
    facts, removal = _threatened(case, ACTIVE)
    if facts is None or removal is None or removal.failing_epochs_left:
        return None
    return Finding(
        f"{facts.life}",
        f"{_tell_failure(facts)}: it is decommissioned at the end of an epoch, unless as many "
        "others are that it has to wait",
        f"{_mend(facts)}, so that it passes and is soon back",
        removal.time_left_ms,
    )


def find_decommissioned(case: NodeCase) -> Finding | None:
    """It is off duty."""
    facts, removal = _threatened(case, DECOMMISSIONED)
    if facts is None or removal is None:
        return None
    return Finding(
        f"{facts.life} {facts.since_ms}",
        f"it is off duty since {format_time(facts.since_ms)} and earns nothing; "
        f"{removal.failing_epochs_left} more failing epochs and it is deregistered",
        f"{_mend(facts)}; one passing test brings it back",
        removal.time_left_ms,
    )


def find_half_credit(case: NodeCase) -> Finding | None:
    """Half of the credit that it had when it was decommissioned is used."""
    facts, removal = _threatened(case, DECOMMISSIONED)
    if facts is None or removal is None:
        return None
    used = removal.failing_epochs_needed - removal.failing_epochs_left
    if 2 * used < removal.failing_epochs_needed:
        return None
    return Finding(
        f"{facts.life} {facts.since_ms}",
        f"{used} of {removal.failing_epochs_needed} failing epochs that its credit allows are used",
        f"{_mend(facts)}, before its credit is used up",
        removal.time_left_ms,
    )


def find_last_hour(case: NodeCase) -> Finding | None:
    """It is deregistered within the last hour, or what counts as such."""
    facts, removal = _threatened(case, DECOMMISSIONED)
    if facts is None or removal is None or removal.time_left_ms > case.last_hour_ms:
        return None
    return Finding(
        f"{facts.life} {facts.since_ms}",
        "its credit is as good as used up: then it is deregistered, and its stake is locked",
        f"{_mend(facts)} now: only a passing test helps",
        removal.time_left_ms,
    )


def find_deregistered(case: NodeCase) -> Finding | None:
    """It lost its place."""
    facts = _in_state(case, DEREGISTERED)
    if facts is None:
        return None
    return Finding(
        f"{facts.life}",
        f"it was down for longer than its credit; its stake is locked until {_payout(facts)}",
        "wait for the payout, which comes by itself; then the node may be registered anew",
        _until(case, facts.payout_ms),
    )


def find_wrong_address(case: NodeCase) -> Finding | None:
    """Testers did not find it where the ledger says."""
    facts, past, failure = case.facts, case.past, case.failure if _is_tested(case) else None
    if facts is None or past is None or failure is None or WRONG_ADDRESS not in failure.faults:
        return None
    return Finding(
        f"{facts.life} {facts.contact} {past.failing[0]}",
        f"in epoch {failure.epoch} nobody answered as this node at {facts.contact}",
        FAULT_STEPS[WRONG_ADDRESS],
    )


def find_outdated(case: NodeCase) -> Finding | None:
    """Testers, or its own agent, say that a program of it is too old."""
    facts, past = case.facts if _is_tested(case) else None, case.past
    if facts is None or past is None:
        return None
    failure = case.failure
    is_judged = failure is not None and OUTDATED in failure.faults
    is_admitted = OUTDATED in past.agent_faults
    if not is_judged and not is_admitted:
        return None
    who = "its testers say" if is_judged else f"its own agent says{_cite(case)}"
    return Finding(
        # what its agent says goes on through runs of failures
        f"{facts.life}" if is_admitted else f"{facts.life} {past.failing[0]}",
        f"{who} that a program of it is too old",
        FAULT_STEPS[OUTDATED],
    )


# -------------------------------------------------------------------------------- its own agent


def find_silent(case: NodeCase) -> Finding | None:
    """Its agent has not checked in for more than two intervals, though it has to run."""
    facts, past = case.facts, case.past
    if facts is None or past is None or facts.state not in TESTED:
        return None
    newest = facts.checked_in_ms
    since = past.waits_from_ms if newest is None else newest
    if since is None or case.now_ms - since <= CHECK_INS_MISSED * case.check_in_ms:
        return None
    known = past.check_in_ms
    last = "none is known" if known is None else f"the last one came {format_time(known)}"
    return Finding(
        f"{facts.life}",
        f"its agent has not checked in for {format_duration(case.now_ms - since)}: "
        f"{last}{_cite(case)}",
        "see that `waypost agent` runs beside the node and reaches the services; without it the "
        "node fails its tests",
    )


def find_agent_faults(case: NodeCase) -> Finding | None:
    """Its own agent sees faults before testers do."""
    facts, past = case.facts, case.past
    if facts is None or past is None or facts.state not in TESTED or not past.agent_faults:
        return None
    faults = ", ".join(past.agent_faults)
    steps = [FAULT_STEPS[fault] for fault in past.agent_faults if fault in FAULT_STEPS]
    return Finding(
        f"{facts.life} {faults}",
        f"its own agent sees: {faults}{_cite(case)}",
        "; ".join(steps) or "look into the log of the agent",
    )


# -------------------------------------------------------------------------------------- offences


def find_slashed(case: NodeCase) -> Finding | None:
    """A penalty took stake; another one is told anew."""
    facts = case.facts
    if facts is None or not int(facts.penalties_taken):
        return None
    return Finding(
        f"{facts.life} {facts.penalties_taken}",
        f"penalties took {format_amount(int(facts.penalties_taken))} of its stake so far",
        "`waypost report list` shows what was proven; stop whatever runs with a copy of its keys, "
        "and change them with `waypost node set-keys`",
    )


def find_tombstoned(case: NodeCase) -> Finding | None:
    """A key of it was slashed for equivocating on lists or blocks."""
    facts = case.facts
    if facts is None or not facts.tombstoned:
        return None
    return Finding(
        f"{facts.life}",
        "a key of it signed two lists or blocks that contradict: it leaves and never returns",
        "wait for the payout of what is left, and make a new key for another node",
        _until(case, facts.payout_ms),
    )


# --------------------------------------------------------------------------------------- leaving


def find_leaving(case: NodeCase) -> Finding | None:
    """Somebody asked it to leave."""
    facts = case.facts
    if facts is None or not facts.exit_ms or facts.payout_ms is not None:
        return None
    return Finding(
        f"{facts.life}",
        "it was asked to leave, which cannot be taken back",
        "keep it running until its duty has ended: until then it is tested and can lose its place",
        _until(case, facts.exit_ms),
    )


def find_exited(case: NodeCase) -> Finding | None:
    """Its duty has ended."""
    facts = _in_state(case, EXITED)
    if facts is None:
        return None
    return Finding(
        f"{facts.life}",
        f"its duty has ended; stake and rewards are paid out {_payout(facts)}",
        "it may be switched off; the payout comes by itself",
        _until(case, facts.payout_ms),
    )


def find_paid_out(case: NodeCase) -> Finding | None:
    """Its life has ended, and what was left of its stake was given back."""
    past = case.past
    if past is None or not past.ended_life:
        return None
    if past.was_refunded:
        reason = "it was given up before it was active, and all stake was given back"
    elif past.ended_life == past.life:
        reason = f"stake and rewards were paid out, about {format_amount(past.stake)} together"
    else:
        reason = "stake and rewards of its last life were paid out"
    return Finding(
        f"{past.ended_life}",
        reason,
        "look at the accounts of its contributors; the node may be registered anew",
    )


def find_unknown(case: NodeCase) -> Finding | None:
    """No node of that name was ever seen."""
    if case.facts is not None or case.past is not None:
        return None
    return Finding(
        "", "no node is registered under this address", "check the address and the network"
    )


# ------------------------------------------------------------------------------- what is believed


def find_disputed(case: NodeCase) -> Finding | None:
    """Services say different things of one and the same moment, and go on doing so."""
    past = case.past
    if not case.claims or past is None or past.disputed_from_ms is None:
        return None
    if case.now_ms - past.disputed_from_ms < case.patience_ms:
        return None
    claims = "; ".join(f"{url} says {state}" for url, state in sorted(case.claims.items()))
    return Finding(
        "",
        f"services contradict each other: {claims}",
        "ask `waypost proof` for the node, which proves who is right, and ask another service",
    )


def find_contradicted(case: NodeCase) -> Finding | None:
    """What the service says of the node's state is not what is proven."""
    past, proven = case.past, case.proven
    if proven is None or case.is_proven is True:
        return None
    if case.is_proven is None:
        doubted = past.doubted_from_ms if past else None
        is_recent = case.network.epoch - proven.epoch < DOUBT_EPOCHS
        lasted = 0 if doubted is None else case.now_ms - doubted
        if not is_recent or lasted <= DOUBT_EPOCHS * case.network.epoch_ms:
            return None
    shown = "not registered" if case.facts is None else case.facts.state
    return Finding(
        f"{proven.state} {shown}",
        f"the service says that it is {shown}, but the header of epoch {proven.epoch} proves that "
        f"it is {proven.state or 'not registered'}",
        "believe what is proven (`waypost proof`), and ask another service from now on",
    )


# ----------------------------------------------------------------------------- what follows it


def tell_passing(case: NodeCase) -> str:
    """After failing verdicts: it is on duty."""
    on_duty = _in_state(case, ACTIVE)
    return "" if on_duty is None else "it does not fail any more, and is on duty"


def tell_back(case: NodeCase) -> str:
    """After a decommission: it is back."""
    facts = _in_state(case, ACTIVE)
    if facts is None:
        return ""
    credit = "" if facts.credit_ms is None else f" with {format_duration(facts.credit_ms)} credit"
    return f"it is on duty again{credit}"


def tell_agent(case: NodeCase) -> str:
    """After silence or faults of an agent: it is well."""
    return "its agent checks in, and sees no such fault" if _is_tested(case) else ""


def tell_found(case: NodeCase) -> str:
    """After a fault that testers named: they do not name it any more."""
    return "it is not found any more" if _is_tested(case) else ""


def tell_agreed(case: NodeCase) -> str:
    """After a contradiction: there is none."""
    return "what is said of it agrees again"


def tell_registered(case: NodeCase) -> str:
    """After an unknown address: there is such a node."""
    return "it is registered" if case.facts is not None else ""


def tell_nothing(_: object) -> str:
    """After what speaks for itself, or never ends."""
    return ""


# --------------------------------------------------------------------------------------- helpers


def _in_state(case: NodeCase, state: int) -> NodeFacts | None:
    facts = case.facts
    return facts if facts is not None and facts.state == NAME_OF[state] else None


def _is_tested(case: NodeCase) -> bool:
    return case.facts is not None and case.facts.state in TESTED


def _threatened(case: NodeCase, state: int) -> tuple[NodeFacts | None, Removal | None]:
    facts = _in_state(case, state)
    return facts, None if facts is None else facts.removal


def _cite(case: NodeCase) -> str:
    """Say whose word it is what an agent said, since nothing proves that."""
    return f" (by {case.witness})" if case.witness else ""


def _tell_failure(facts: NodeFacts) -> str:
    failure = next((verdict for verdict in facts.verdicts if verdict.failed), None)
    if failure is None:
        return "its tests fail"
    return f"it failed in epoch {failure.epoch} ({', '.join(failure.faults)})"


def _mend(facts: NodeFacts) -> str:
    failure = next((verdict for verdict in facts.verdicts if verdict.failed), None)
    faults = () if failure is None else failure.faults
    steps = [FAULT_STEPS[fault] for fault in faults if fault in FAULT_STEPS]
    return "; ".join(steps) or "see that node, storage server, router and agent run"


def _until(case: NodeCase, time_ms: int | None) -> int | None:
    return None if time_ms is None else max(0, time_ms - case.now_ms)


def _payout(facts: NodeFacts) -> str:
    return "later" if facts.payout_ms is None else format_time(facts.payout_ms)
