"""The status of a node: everything that the service tells about one, made in one place.

- `describe` is what a page of nodes shows of each; `get_status` adds what takes a closer look.
- What lies ahead is asked of `ledger.rules`, so that what is told is what the ledger will do.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from ledger.history import VERDICT_ROW, VerdictRow, verdict_key
from ledger.messages.contact import Contact, Version
from ledger.messages.duty import name_faults
from ledger.messages.state import (
    ACTIVE,
    AWAITING,
    DECOMMISSIONED,
    GONE,
    NODE_STATES,
    ON_DUTY,
    QUEUED,
    Node,
    Pool,
)
from ledger.messages.tables import (
    CONTACTS,
    EPOCH,
    EXITS,
    FAILING,
    HISTORIES,
    NEW_KEYS,
    NODES,
    PAYOUTS,
    PENDING,
    POOL,
    QUEUE,
    SWARMS,
    VERDICTS,
)
from ledger.messages.transactions import KeyChange
from ledger.nodes import get_credit, get_owed, get_seated, get_staked, get_stakes, get_total
from ledger.params import Params
from ledger.rules.credit import FAILING_EPOCHS, QUIET_WINDOWS, failing_epochs_to_removal
from ledger.rules.rewards import compute_owed, epoch_share
from ledger.rules.stakes import Open
from ledger.state import State, epoch_key
from ledger.transactions.stake import get_open, get_reserved
from ledger.types import Amount, Epoch, Key, TimeMs
from ledger.views import View
from registry.addresses import encode_account, encode_node
from registry.duties import USUAL_EPOCHS, Duties, show_own_participation

HOUR_MS: Final = 3_600_000


class Places:
    """Where nodes stand in the queues of one height; each queue is read when it is asked for."""

    def __init__(self, state: State) -> None:
        self._state = state

    @cached_property
    def queue(self) -> Mapping[Key, int]:
        """Place in the queue for activation, 1 is next."""
        return {row.node: place for place, (_, row) in enumerate(self._state.items(QUEUE), 1)}

    @cached_property
    def exits(self) -> Mapping[Key, int]:
        """Place among those that leave, 1 is next."""
        return {row.node: place for place, (_, row) in enumerate(self._state.items(EXITS), 1)}

    @cached_property
    def payouts(self) -> Mapping[Key, TimeMs]:
        """Block time from which on the stake is paid out, of each node whose duty has ended."""
        rows = self._state.items(PAYOUTS)
        return {row.node: int.from_bytes(key[:8], "big") for key, row in rows}

    @cached_property
    def seated(self) -> Sequence[Key]:
        """The nodes whose keys hold a seat among the attestors, or are to hold one."""
        return get_seated(self._state)


# ------------------------------------------------------------------------- in every answer


def describe(view: View, key: Key, node: Node, places: Places) -> dict[str, Any]:
    """Return what a page of nodes shows of one."""
    state, params, time_ms = view.state, view.state.params(), view.tip.time_ms
    swarm = state.get(SWARMS, key)
    pending = state.get(PENDING, key)
    history = state.one(HISTORIES, key)
    is_awaiting = node.state == AWAITING
    free = get_open(node, params, time_ms) if is_awaiting else Open(0, 0)
    reserved = get_reserved(node, params, time_ms) if is_awaiting else ()
    credit_ms = get_credit(node, time_ms, params) if node.state in ON_DUTY else None
    return {
        "key": encode_node(key),
        "x25519": node.x25519.hex(),
        "state": NODE_STATES[node.state],
        "since_ms": node.since_ms,
        "since_height": node.since_height,
        "life": node.life,
        "operator": encode_account(node.operator),
        "fee": node.fee,
        "requirement": str(node.requirement),
        "staked": str(get_staked(node)),
        "open": str(free.amount),
        "open_places": free.places if free.amount else 0,
        "contributions": [
            {
                "account": encode_account(c.account),
                "beneficiary": encode_account(c.beneficiary),
                "amount": str(c.amount),
            }
            for c in node.contributions
        ],
        "reserved": [
            {"account": encode_account(p.account), "amount": str(p.amount)} for p in reserved
        ],
        "reserved_until_ms": node.since_ms + params.reservation_ms if reserved else None,
        "contact": show_contact(state.one(CONTACTS, key)),
        "pending_contact": None if pending is None else show_contact(pending.contact),
        "swarm": None if swarm is None else str(swarm.swarm_id),
        "registered_height": node.registered_height,
        "activated_ms": node.activated_ms or None,
        "duty_key": node.duty_key.hex(),
        "list_key": node.list_key.hex() or None,
        "consensus_key": node.consensus_key.hex() or None,
        "contact_sequence": history.sequence,
        "queue_position": places.queue.get(key) if node.state == QUEUED else None,
        "credit_ms": credit_ms,
        "credit_hours": None if credit_ms is None else show_hours(credit_ms),
        "claimable": str(sum(get_owed(node, state.one(POOL)))),
        "penalties_taken": str(node.taken),
        "tombstoned": bool(history.tombstoned),
        "exit_ms": node.exit_ms or None,
        "payout_ms": places.payouts.get(key) if node.state in GONE else None,
        "next_step": NEXT_STEPS[name_situation(state, key, node, places)],
    }


def name_situation(state: State, key: Key, node: Node, places: Places) -> str:
    """Return the row of `NEXT_STEPS` that a node is at."""
    if node.state in GONE:
        return "seated" if key in places.seated else NODE_STATES[node.state]
    if state.one(HISTORIES, key).tombstoned:
        return "slashed"
    if node.state in (AWAITING, QUEUED) and node.exit_ms:
        return "given up"
    if node.state == QUEUED and state.params().activation_verdict and not node.passed:
        return "untested"
    if node.state == ACTIVE and state.get(FAILING, key) is not None:
        return "failing"
    if node.state == ACTIVE and node.exit_ms:
        return "leaving"
    return NODE_STATES[node.state]


NEXT_STEPS: Final = {
    "awaiting": "it waits for stake: contribute the open amount, or find contributors who do",
    "given up": "it was given up: all stake comes back by itself at this epoch's end",
    "untested": "it is fully funded and has to pass a test at its address: keep it reachable",
    "queued": "it is fully funded and becomes active at the end of an epoch: keep it reachable",
    "active": (
        "it is on duty: keep it running, and send new contact data before its address changes"
    ),
    "failing": "its last verdict failed: mend what that names now, the next one takes it off duty",
    "leaving": "it leaves: keep it running until its duty ends, since it can still be taken off it",
    "decommissioned": (
        "it is off duty and earns nothing: mend what its verdicts name before its credit is used up"
    ),
    "slashed": "a key of it was slashed: it leaves at this epoch's end and never returns",
    "exited": (
        "its duty has ended: its stake is paid out when it has been unbonding for long enough"
    ),
    "deregistered": (
        "it was down for longer than its credit: its stake is locked until the payout, and then "
        "it may register anew"
    ),
    "seated": (
        "its duty has ended, but a key of it still has a seat among the attestors: its stake is "
        "paid out an unbonding time after the end of that seat"
    ),
    "tombstoned": "its key was slashed and never returns: what is left is paid out when unlocked",
}
"""What an operator does next, by the situation of the node."""


def show_hours(span_ms: int) -> str:
    """Return a length of time in hours, cut after two decimals."""
    hundredths = span_ms * 100 // HOUR_MS
    return f"{hundredths // 100}.{hundredths % 100:02}"


# ------------------------------------------------------------------------- a closer look


def get_status(view: View, key: Key, node: Node, duties: Duties) -> dict[str, Any]:
    """Return everything about one node."""
    state, params = view.state, view.state.params()
    places = Places(state)
    keys = state.get(NEW_KEYS, key)
    return {
        **describe(view, key, node, places),
        "tested_from": node.tested_from or None,
        "passed": bool(node.passed),
        "removal": _foretell_removal(view, key, node, params),
        "verdicts": _list_verdicts(view, key, node),
        "testers": [encode_node(tester) for tester in duties.testers_of(view, key)],
        "tests": [encode_node(tested) for tested in duties.tested_by(view, key)],
        "rewards": _show_rewards(node, state.one(POOL), params),
        "exit_position": places.exits.get(key),
        "contributors_may_ask_from_ms": (
            node.activated_ms + params.contributor_wait_ms if node.activated_ms else None
        ),
        "pending_keys": None if keys is None else _show_keys(keys),
        "participation": show_own_participation(view, duties, key, node.list_key, USUAL_EPOCHS),
    }


def _show_keys(keys: KeyChange) -> dict[str, Any]:
    return {
        "duty_key": keys.duty_key.hex(),
        "list_key": keys.list_key.hex() or None,
        "consensus_key": keys.consensus_key.hex() or None,
    }


def _foretell_removal(view: View, key: Key, node: Node, params: Params) -> dict[str, Any] | None:
    """Return how far a node is from being taken off duty; None for one that is not on duty.

    It is as if every verdict to come failed, no limit held, and there was no time of grace.
    """
    if node.state not in ON_DUTY:
        return None
    state = view.state
    epoch = state.one(EPOCH)
    row = state.get(FAILING, key)
    failing = 0 if row is None else row.count
    needed = FAILING_EPOCHS
    if node.state == DECOMMISSIONED:
        needed = failing_epochs_to_removal(node.credit_ms, params.epoch_ms)
    # one more has to fail in any case: it is a failing verdict that removes
    missing = max(1, needed - failing)
    first = max(node.tested_from, epoch.epoch - 1)
    waiting = [_get_waiting(state, key, node, judged) for judged in (first, first + 1)]
    # the last one that is missing has its effect at the end of the epoch after its own
    removal_ms = epoch.start_ms + (first + missing - epoch.epoch + 1) * params.epoch_ms
    is_down = node.state == DECOMMISSIONED
    return {
        "threat": "deregistration" if is_down else "decommission",
        "failing_epochs": failing,
        "failing_epochs_needed": max(needed, failing + 1),
        "failing_epochs_left": max(0, missing - sum(waiting)),
        "earliest_ms": removal_ms,
        "time_left_ms": max(0, removal_ms - view.tip.time_ms),
        "returns_after_epoch": row.newest + QUIET_WINDOWS + 1 if is_down and row else None,
    }


def _get_waiting(state: State, key: Key, node: Node, epoch: Epoch) -> bool:
    """Whether a failing verdict for an epoch waits for its effect."""
    verdict = state.get(VERDICTS, epoch_key(epoch, key))
    return verdict is not None and verdict.life == node.life and verdict.faults != 0


def _list_verdicts(view: View, key: Key, node: Node) -> list[dict[str, Any]]:
    """Return the verdicts of this life for the newest epochs, the newest first."""
    running = view.state.one(EPOCH).epoch
    shown = []
    for epoch in range(running, max(0, running - USUAL_EPOCHS), -1):
        raw = view.reader.get(verdict_key(epoch, key))
        if raw is None:
            continue
        row = VERDICT_ROW.load(raw)
        if row.life == node.life:
            shown.append(_show_verdict(epoch, row))
    return shown


def _show_verdict(epoch: Epoch, row: VerdictRow) -> dict[str, Any]:
    faults = 0
    for _, found in row.votes:
        faults |= found
    return {
        "epoch": epoch,
        "failed": faults != 0,
        "faults": name_faults(faults),
        "votes": [
            {"tester": encode_node(tester), "faults": name_faults(found)}
            for tester, found in row.votes
        ],
        "silent": [encode_node(tester) for tester in row.silent],
    }


def _show_rewards(node: Node, pool: Pool, params: Params) -> dict[str, Any]:
    """Return what a node earns, and what of it waits for whom."""
    share = 0
    if node.earning:
        share = epoch_share(
            pool.balance, params.reward_rate, params.epoch_ms, pool.earning, pool.accumulator
        )
    parts = compute_owed(share, node.fee, get_stakes(node))
    owed = get_owed(node, pool)
    return {
        "earning": bool(node.earning),
        "earns_from_ms": node.payable_from_ms or None,
        "per_epoch": str(share),
        "period_total": str(get_total(node, pool)),
        "claimable": str(sum(owed)),
        "contributors": [
            {
                "account": encode_account(c.account),
                "beneficiary": encode_account(c.beneficiary),
                "per_epoch": str(part),
                "claimed": str(c.paid),
                "claimable": str(waiting),
            }
            for c, part, waiting in zip(node.contributions, parts, owed, strict=True)
        ],
    }


# ------------------------------------------------------------------------- rewards that wait


def list_claimable(view: View, nodes: Iterable[Key], account: Key) -> list[dict[str, Any]]:
    """Return what waits in some nodes for an account, whoever claims it."""
    return [
        {"node": encode_node(key), "claimable": str(amount)}
        for key, amount in _get_claimable(view, nodes, account)
    ]


def sum_claimable(view: View, nodes: Iterable[Key], account: Key) -> str:
    """Return what waits in some nodes for an account, together."""
    return str(sum(amount for _, amount in _get_claimable(view, nodes, account)))


def _get_claimable(view: View, nodes: Iterable[Key], account: Key) -> Iterator[tuple[Key, Amount]]:
    """Yield `(node, amount)` where the account is a beneficiary."""
    pool = view.state.one(POOL)
    for key in nodes:
        node = view.state.one(NODES, key)
        rows = zip(node.contributions, get_owed(node, pool), strict=True)
        own = [part for c, part in rows if c.beneficiary == account]
        if own:
            yield key, sum(own)


# ------------------------------------------------------------------------- where it is reached


def show_contact(contact: Contact) -> dict[str, Any]:
    """Return contact data as the API shows it."""
    return {
        "ipv4": address_text(contact.ipv4),
        "ipv6": address_text(contact.ipv6),
        "storage_port": contact.storage_port,
        "router_port": contact.router_port,
        "storage_version": _show_version(contact.storage_version),
        "router_version": _show_version(contact.router_version),
    }


def _show_version(version: Version) -> list[int]:
    return [version.major, version.minor, version.patch]


def address_text(packed: bytes) -> str | None:
    """Return an IPv4 or IPv6 address as text, None for none."""
    return str(ipaddress.ip_address(packed)) if packed else None
