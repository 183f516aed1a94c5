"""What belongs to a node beside its record: rewards, uptime credit, its places in the queues.

- A node earns while it is active and its life's first activation is `payable_ms` past.
- A period of rewards is a time of constant stakes. It ends with a penalty and with the payout, and
  then all that waits goes to the beneficiaries; nobody has to claim for it not to be lost.
- A key is bound to its role of a node for ever, and a consensus key's address, by which a BFT
  engine speaks of it, with it.
- Whoever ends its duty leaves every table that speaks of duty, and waits for its payout, at least
  for as long as a key of it holds an attestor's seat.
"""

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from ledger.crypto import sha256
from ledger.errors import Refusal
from ledger.messages.state import (
    ACTIVE,
    CONSENSUS_ROLE,
    DECOMMISSIONED,
    ON_DUTY,
    Binding,
    Due,
    Node,
    Pool,
)
from ledger.messages.tables import (
    BINDINGS,
    CONTACTS,
    EXITS,
    FAILING,
    NEW_KEYS,
    NODES,
    PAYOUTS,
    PENDING,
    POOL,
    ROSTERS,
    SETS,
    SWARMS,
)
from ledger.params import Params
from ledger.rules.credit import compute_credit
from ledger.rules.quorums import Members, unpack_members
from ledger.rules.rewards import close_owed, compute_owed
from ledger.state import State, due_key, epoch_key
from ledger.types import Amount, Epoch, Key, TimeMs

ADDRESS_BYTES: Final = 20
"""Length of a validator's address."""

# --------------------------------------------------------------------------------- reading


def new_node(**fields: Any) -> Node:
    """Return a node whose life begins; what its duty will fill is zero, unless `fields` say."""
    duty: dict[str, Any] = {
        "liable_from": 0, "exit_ms": 0, "tested_from": 0, "passed": 0, "activated_ms": 0,
        "payable_from_ms": 0, "credit_ms": 0, "taken": 0, "former_duty_key": b"", "keys_epoch": 0,
        "accrued": 0, "entry": 0, "earning": 0, "stands_ms": 0,
    }  # fmt: skip
    return Node(**(duty | fields))


def get_node(state: State, key: Key, life: int) -> Node:
    """Return the current life of a node. Refuses with `unknown_node` and `wrong_life`."""
    node = state.get(NODES, key)
    if node is None:
        raise Refusal("unknown_node")
    if life != node.life:
        raise Refusal("wrong_life", life=life, expected=node.life)
    return node


def get_staked(node: Node) -> Amount:
    """Return the stake of a node, all contributions together."""
    return sum(c.amount for c in node.contributions)


def get_credit(node: Node, time_ms: TimeMs, params: Params) -> int:
    """Return the uptime credit of a node that is active or decommissioned, in ms."""
    if node.state != ACTIVE:
        return node.credit_ms
    return compute_credit(node.credit_ms, time_ms - node.since_ms, params.credit_most_ms)


def get_members(state: State, epoch: Epoch) -> Members:
    """Return who may test in the running epoch, or in the one before."""
    return unpack_members(state.one(ROSTERS, epoch_key(epoch)).members)


def get_duty_key(node: Node, epoch: Epoch) -> Key:
    """Return the key that signs a node's votes for an epoch: this one or the one before."""
    return node.duty_key if epoch >= node.keys_epoch else node.former_duty_key


def is_off_duty(state: State, key: Key) -> bool:
    """Whether a key is bound to a node that is not on duty; one without a node never is."""
    binding = state.get(BINDINGS, key)
    if binding is None or binding.node == key:
        return False
    node = state.get(NODES, binding.node)
    return node is None or node.state not in ON_DUTY


def get_seated(state: State) -> Sequence[Key]:
    """Return the nodes whose keys hold a seat among the attestors, or are to hold one."""
    sets = state.one(SETS)
    keys = [member.list_key for member in (*sets.current, *sets.next)]
    keys += [seat.list_key for seat in sets.ordered]
    return [state.one(BINDINGS, key).node for key in keys]


# --------------------------------------------------------------------------------- rewards


def get_total(node: Node, pool: Pool) -> Amount:
    """Return what a node earned in the running period."""
    return node.accrued + (pool.accumulator - node.entry if node.earning else 0)


def get_owed(node: Node, pool: Pool) -> list[Amount]:
    """Return what each contribution may claim now, in their order."""
    owed = compute_owed(get_total(node, pool), node.fee, get_stakes(node))
    return [part - c.paid for part, c in zip(owed, node.contributions, strict=True)]


def get_stakes(node: Node) -> Sequence[Amount]:
    """Return the amount of each contribution, in their order."""
    return [c.amount for c in node.contributions]


def start_earning(state: State, node: Node, time_ms: TimeMs) -> Node:
    """Return an active node as it earns from now on, if its time has come."""
    if node.earning or node.payable_from_ms > time_ms:
        return node
    pool = state.one(POOL)
    state.put(POOL, replace(pool, earning=pool.earning + 1))
    return replace(node, entry=pool.accumulator, earning=1)


def stop_earning(state: State, node: Node) -> Node:
    """Return a node as it keeps what it earned and earns no more."""
    if not node.earning:
        return node
    pool = state.one(POOL)
    state.put(POOL, replace(pool, earning=pool.earning - 1))
    return replace(node, accrued=get_total(node, pool), earning=0)


def close_period(state: State, node: Node) -> Node:
    """Pay all that waits in a node to the beneficiaries, and return it in a new period."""
    pool = state.one(POOL)
    total = get_total(node, pool)
    owed = close_owed(total, node.fee, get_stakes(node))
    for part, c in zip(owed, node.contributions, strict=True):
        if part > c.paid:
            state.credit(c.beneficiary, part - c.paid)
    paid = sum(c.paid for c in node.contributions)
    state.put(POOL, replace(pool, accrued=pool.accrued - (total - paid)))
    return replace(
        node,
        accrued=0,
        entry=pool.accumulator,
        contributions=tuple(replace(c, paid=0) for c in node.contributions),
    )


# ------------------------------------------------------------------------------------ keys


def consensus_address(key: Key) -> bytes:
    """Return the address by which a BFT engine names a consensus key: 20 bytes of its SHA-256."""
    return sha256(key)[:ADDRESS_BYTES]


def bind(state: State, role: int, key: Key, node: Key) -> None:
    """Bind a key to its role of a node for ever, and a consensus key's address with it."""
    state.put(BINDINGS, Binding(role, node), key)
    if role == CONSENSUS_ROLE:
        state.put(BINDINGS, Binding(role, node), consensus_address(key))


# ---------------------------------------------------------------------------- coming, going


def ask_to_leave(
    state: State, key: Key, node: Node, time_ms: TimeMs, *, at_once: bool = False
) -> Node:
    """Return a node as it waits from now on for the end of its duty; it keeps an earlier place.

    One that was to leave later gets a place for now. A decommissioned one gets its place among the
    exits when it is active again, so that nobody escapes deregistration by leaving; unless it goes
    `at_once`, at this epoch's end.
    """
    if node.exit_ms > time_ms:
        state.delete(EXITS, due_key(node.exit_ms, key))
    is_waiting = 0 < node.exit_ms <= time_ms
    leaving = node if is_waiting else replace(node, exit_ms=time_ms)
    if node.state != DECOMMISSIONED or at_once:
        state.put(EXITS, Due(key), due_key(leaving.exit_ms, key))
    return leaving


def end_duty(state: State, key: Key, node: Node, payout_ms: TimeMs) -> Node:
    """Return a node whose duty ends now: out of every table of duty, its payout on its way."""
    if node.exit_ms:
        state.delete(EXITS, due_key(node.exit_ms, key))
    state.delete(SWARMS, key)
    state.delete(FAILING, key)
    state.put(PAYOUTS, Due(key), due_key(payout_ms, key))
    return replace(stop_earning(state, node), passed=0, tested_from=0)


def delay_payout(state: State, key: Key, payout_ms: TimeMs) -> None:
    """Let the payout of a node, if its duty has ended, be no sooner than that."""
    place = next((place for place, row in state.items(PAYOUTS) if row.node == key), None)
    if place is not None and place < due_key(payout_ms, key):
        state.delete(PAYOUTS, place)
        state.put(PAYOUTS, Due(key), due_key(payout_ms, key))


def end_life(state: State, key: Key, node: Node) -> None:
    """Give all stake and all rewards back, and forget the node; its key history stays."""
    closed = close_period(state, stop_earning(state, node))
    for c in closed.contributions:
        if c.amount:
            state.credit(c.account, c.amount)
    state.delete(NODES, key)
    state.delete(CONTACTS, key)
    state.delete(PENDING, key)
    state.delete(NEW_KEYS, key)
