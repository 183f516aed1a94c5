"""Operations of attestors: orders of other attestors, of other parameters, and of a successor."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import signing_bytes
from ledger.epochs.standing import is_lost
from ledger.messages import tags
from ledger.messages.lists import Attestor
from ledger.messages.state import ACTIVE, AWAITING, EXITED, QUEUED, Succession
from ledger.messages.tables import PARAMS, SETS, SUCCESSION
from ledger.messages.transactions import (
    BY_ATTESTORS,
    BY_RECOVERY,
    MAX_SEATS,
    ParamsOrder,
    Seat,
    SetAttestors,
    SetParams,
    SetSuccessor,
    Signer,
    SuccessorOrder,
)
from ledger.offences.punish import is_barred
from ledger.params import DAY, HOUR
from ledger.rules.attestors import earliest_change
from ledger.transactions.orders import earliest_succession, order_of
from ledger.types import COIN, ZERO_HASH, Hash, Key
from ledger.validators import is_missing
from tests.factory import public
from tests.simulation.plan import CONTRIBUTORS, SEAT_WEIGHT
from tests.simulation.stand_in import sign
from tests.simulation.world import Draft, World

FEWEST: Final = 5
MOST: Final = 9
"""Seats between which a set stays."""

A_YEAR: Final = {"set_params": 6, "recovery": 3, "set_successor": 4}
"""Orders that may come in a year, at most."""

RANGES: Final = {
    "minimum_fee": (COIN // 2_000, COIN // 500),
    "activation_floor": (10, 40),
    "credit_start_ms": (HOUR, 4 * HOUR),
    "credit_most_ms": (40 * HOUR, 60 * HOUR),
    "contributor_wait_ms": (20 * DAY, 30 * DAY),
    "reservation_ms": (2 * DAY, 10 * DAY),
    "payable_ms": (12 * HOUR, 48 * HOUR),
    "reward_rate": (1_000, 2_000),
    "vote_penalty": (50, 150),
    "bounty_share": (100, 1_000),
    "unbonding_ms": (0, DAY),
}
"""Parameters that orders change, and between what; the time of unbonding grows by that."""


# ------------------------------------------------------------------------ set_attestors


def sign_by_all(keys: Sequence[Key], message: bytes) -> tuple[Signer, ...]:
    """Return the signatures of an order by everybody."""
    return tuple(Signer(key, sign(key, message)) for key in keys)


def make_set(
    world: World,
    seats: Sequence[Seat],
    begin: int,
    authority: int = BY_ATTESTORS,
    signers: int = MAX_SEATS,
) -> Draft:
    """Return an order of a set by the first `signers` of those who may give it."""
    body = SetAttestors(authority, begin, tuple(sorted(seats, key=_key)), ())
    sets = world.mirror.one(SETS)
    keys = [member.list_key for member in sets.current]
    tag = tags.SET_ORDER
    if authority == BY_RECOVERY:
        keys, tag = list(sets.recovery), tags.RECOVERY_ORDER
    message = signing_bytes(tag, world.hash, encode(order_of(body)))
    body = replace(body, signers=sign_by_all(keys, message)[:signers])
    return world.paid("set_attestors", world.random.choice(CONTRIBUTORS), body)


def _key(seat: Seat) -> Key:
    return seat.list_key


def keep(members: Sequence[Attestor]) -> list[Seat]:
    """Return the seats of a set as they are."""
    return [Seat(member.list_key, member.weight, b"", b"") for member in members]


def new_seat(world: World) -> list[Seat]:
    """Return a seat for a node's list key, if there is a node that may have one."""
    machine = world.find(lambda m: world.is_in(m, ACTIVE) and may_sit(world, m.key))
    node = world.node(machine) if machine is not None else None
    return [Seat(node.list_key, SEAT_WEIGHT, b"", b"")] if node and node.consensus_key else []


def may_sit(world: World, key: Key) -> bool:
    """Whether a node has a list key that has no seat and was not slashed."""
    node = world.node(world.by_key[key])
    if node is None or not node.list_key or world.by_key[key].is_gone:
        return False
    sets = world.mirror.one(SETS)
    seated = [member.list_key for member in (*sets.current, *sets.next)]
    is_out = is_barred(world.state, node.list_key) or is_missing(
        world.state, node.list_key, world.params
    )
    return node.list_key not in seated and not is_out


def begin_chain(world: World, list_key: Key, generation: int) -> Seat:
    """Return a seat that brings a new hash chain."""
    tip = world.get_links(list_key, generation)[-1]
    world.chains[list_key] = max(generation, world.chains.get(list_key, 0))
    return Seat(list_key, SEAT_WEIGHT, tip, world.sign(list_key, tags.SEAT, tip))


def is_settled(world: World) -> bool:
    """Whether attestors may order a set, and nothing about it is under way, nor on its way."""
    sets = world.mirror.one(SETS)
    is_quiet = not sets.ordered and sets.current == sets.next
    return is_quiet and is_clean(world) and not world.plan.takes_turns


def is_clean(world: World) -> bool:
    """Whether no seat is lost, and none can be in this block."""
    for member in world.mirror.one(SETS).current:
        if is_lost(world.state, member.list_key, world.params):
            return False
    is_sent = any(row.kind in ("report", "set_attestors") for row in world.outbox)
    return not is_sent and not world.misbehaviour


def earliest(world: World) -> int:
    """Return the block time from which another set may be announced."""
    changed_ms = world.mirror.one(SETS).changed_ms
    return max(earliest_change(changed_ms, world.params.set_change_ms), world.time_ms)


def set_attestors(world: World) -> Draft | None:
    """One seat more, one fewer, or a new hash chain for one."""
    if not is_settled(world):
        return None
    current = list(world.mirror.one(SETS).current)
    choice = world.random.choice(("more", "fewer", "renewed"))
    if len(current) < FEWEST:
        choice = "more"
    at = world.random.randrange(len(current))
    begin = earliest(world) + world.random.randint(0, 3 * DAY)
    if choice == "renewed":
        key = current.pop(at).list_key
        generation = world.chains.get(key, 0) + 1
        return make_set(world, [*keep(current), begin_chain(world, key, generation)], begin)
    if choice == "fewer" and len(current) > FEWEST:
        del current[at]
        return make_set(world, keep(current), begin)
    more = new_seat(world)
    if len(current) >= MOST or not more:
        return None
    return make_set(world, [*keep(current), *more], begin)


def recover(world: World) -> Draft | None:
    """The recovery keys replace a seat at once."""
    sets = world.mirror.one(SETS)
    if sets.ordered_by == BY_RECOVERY or not is_clean(world) or not is_time(world, "recovery"):
        return None
    kept = keep(sets.current[1 : MOST - 1])
    return make_set(world, [*kept, *new_seat(world)], world.epoch, BY_RECOVERY)


def is_time(world: World, kind: str) -> bool:
    """Whether the last order of a rare kind is long enough past; if so, this is the last one."""
    last = world.last_order.get(kind, 0)
    if world.epoch - last < world.plan.epochs // A_YEAR[kind]:
        return False
    world.last_order[kind] = world.epoch
    return True


def make_bad(world: World, seats: Sequence[Seat], signers: int = MAX_SEATS) -> Draft:
    """Return an order by whoever may give one, which is wrong for its seats or who signed."""
    if world.plan.takes_turns:
        return make_set(world, seats, world.epoch, BY_RECOVERY, signers)
    return make_set(world, seats, earliest(world), BY_ATTESTORS, signers)


def order_with_few(world: World) -> Draft:
    """Too few have signed."""
    return make_bad(world, keep(world.mirror.one(SETS).current), signers=1)


def order_out_of_turn(world: World) -> Draft | None:
    """Attestors order a set where nodes take their turns, or give a seat more weight."""
    if not is_clean(world):
        return None
    first, *rest = world.mirror.one(SETS).current
    weight = SEAT_WEIGHT if world.plan.takes_turns else SEAT_WEIGHT + 1
    return make_set(world, keep([replace(first, weight=weight), *rest]), earliest(world))


def order_too_much(world: World) -> Draft | None:
    """More than one seat at once."""
    if not is_settled(world):
        return None
    current = world.mirror.one(SETS).current
    if len(current) < FEWEST:
        return None
    return make_set(world, keep(current[2:]), earliest(world))


def order_too_soon(world: World) -> Draft | None:
    """A set that is to change before its time."""
    if not is_settled(world):
        return None
    return make_set(world, keep(world.mirror.one(SETS).current[1:]), earliest(world) - 1)


def order_twice(world: World) -> Draft | None:
    """Another order while one waits."""
    sets = world.mirror.one(SETS)
    is_quiet = not sets.ordered and sets.current == sets.next
    if is_quiet or not is_clean(world) or world.plan.takes_turns:
        return None
    return make_set(world, keep(sets.current[1:]), earliest(world))


def order_barred(world: World) -> Draft | None:
    """A seat for a key that was slashed."""
    deeds = [deed for deed in world.caught if deed.offence == "list_equivocation" and deed.cost]
    barred = [deed.key for deed in deeds]
    if not barred or not is_clean(world):
        return None
    seat = begin_chain(world, world.random.choice(barred), 0)
    return make_bad(world, [*keep(world.mirror.one(SETS).current[: MAX_SEATS - 1]), seat])


def order_off_duty(world: World) -> Draft | None:
    """A seat for a key of a node that waits for stake, or has left."""
    machine = world.find(
        lambda m: world.is_in(m, AWAITING, QUEUED, EXITED) and may_sit(world, m.key)
    )
    node = world.node(machine) if machine is not None else None
    if node is None or not is_clean(world):
        return None
    seat = Seat(node.list_key, SEAT_WEIGHT, b"", b"")
    return make_bad(world, [*keep(world.mirror.one(SETS).current[: MAX_SEATS - 1]), seat])


# --------------------------------------------------------------------------- set_params


def make_params(world: World, from_ms: int, signers: int = MAX_SEATS, **values: int) -> Draft:
    """Return an order of parameters by the first `signers` of the set."""
    order = ParamsOrder(from_ms, tuple(world.params._replace(**values)))
    message = signing_bytes(tags.PARAMS_ORDER, world.hash, encode(order))
    keys = [member.list_key for member in world.mirror.one(SETS).current]
    body = SetParams(order, sign_by_all(keys, message)[:signers])
    return world.paid("set_params", world.random.choice(CONTRIBUTORS), body)


def notice(world: World) -> int:
    """Return the block time from which other parameters may be in force."""
    return world.time_ms + world.params.unbonding_ms


def is_pending(world: World) -> bool:
    """Whether an order of parameters waits, or is on its way."""
    is_sent = any(row.kind == "set_params" for row in world.outbox)
    return is_sent or bool(world.mirror.one(PARAMS).next)


def set_params(world: World) -> Draft | None:
    """Another value of one or two parameters; not so that its grace meets the bug."""
    from_ms = notice(world) + world.random.randint(0, 5 * DAY)
    hours = (from_ms - world.time_ms) // HOUR
    grace = range(world.epoch + hours, world.epoch + hours + world.params.grace_ms // HOUR + 9)
    bug = world.plan.bug
    meets_bug = grace.start < bug.stop and bug.start < grace.stop
    if is_pending(world) or meets_bug or not is_time(world, "set_params"):
        return None
    values = {}
    for name in world.random.sample(sorted(RANGES), 2):
        low, high = RANGES[name]
        values[name] = world.random.randint(low, high)
    if "unbonding_ms" in values:
        longer = world.params.unbonding_ms + values["unbonding_ms"]
        values["unbonding_ms"] = min(longer, world.params.lock_ms)
    return make_params(world, from_ms, **values)


def params_with_few(world: World) -> Draft:
    """Too few have signed."""
    return make_params(world, notice(world), signers=1, payable_ms=HOUR)


def change(world: World, notice_ms: int = 0, **values: Any) -> Draft | None:
    """Return an order while none waits."""
    if is_pending(world):
        return None
    return make_params(world, notice(world) + notice_ms, **values)


def params_too_soon(world: World) -> Draft | None:
    """Less than an unbonding time of notice."""
    return change(world, -1, payable_ms=HOUR)


def params_fixed(world: World) -> Draft | None:
    """A parameter that never changes."""
    return change(world, evidence_ms=world.params.evidence_ms - 1)


def params_out_of_range(world: World) -> Draft | None:
    """A value that no network may have."""
    return change(world, quorum_testers=33)


def params_unfit(world: World) -> Draft | None:
    """Values that do not fit together: a quorum could reach both verdicts."""
    return change(world, quorum_threshold=world.params.quorum_testers // 2)


def params_twice(world: World) -> Draft | None:
    """Another order while one waits."""
    if not world.mirror.one(PARAMS).next:
        return None
    return make_params(world, notice(world), payable_ms=HOUR)


# ------------------------------------------------------------------------ set_successor


def make_successor(
    world: World, successor: Hash, from_ms: int, signers: int = MAX_SEATS
) -> Draft | None:
    """Return an order of a successor by the first `signers`, unless another is on its way."""
    if any(row.kind == "set_successor" for row in world.outbox):
        return None
    order = SuccessorOrder(successor, from_ms)
    message = signing_bytes(tags.SUCCESSOR_ORDER, world.hash, encode(order))
    keys = [member.list_key for member in world.mirror.one(SETS).current]
    body = SetSuccessor(order, sign_by_all(keys, message)[:signers])
    return world.paid("set_successor", world.random.choice(CONTRIBUTORS), body)


def get_ordered(world: World) -> Succession:
    """Return what was ordered last."""
    return world.mirror.get(SUCCESSION) or Succession(ZERO_HASH, 0, 0)


def is_announced(world: World) -> bool:
    """Whether a successor is announced."""
    return get_ordered(world).genesis_hash != ZERO_HASH


def earliest_naming(world: World) -> int:
    """Return the block time from which headers may name a successor."""
    return earliest_succession(get_ordered(world), world.time_ms, world.params.unbonding_ms)


def set_successor(world: World) -> Draft | None:
    """Another network is announced; somebody withdraws it in time."""
    if is_announced(world) or not is_time(world, "set_successor"):
        return None
    from_ms = earliest_naming(world) + world.random.randint(0, DAY)
    return make_successor(world, public("a successor"), from_ms)


def withdraw_successor(world: World) -> Draft | None:
    """What is announced does not happen."""
    return (
        make_successor(world, ZERO_HASH, get_ordered(world).from_ms)
        if is_announced(world)
        else None
    )


def successor_with_few(world: World) -> Draft | None:
    """Too few have signed."""
    return make_successor(world, public("a successor"), earliest_naming(world), signers=1)


def successor_too_soon(world: World) -> Draft | None:
    """Less notice than stake needs to leave."""
    if is_announced(world):
        return None
    return make_successor(world, public("a successor"), earliest_naming(world) - 1)


def successor_twice(world: World) -> Draft | None:
    """Another one while one is announced."""
    if not is_announced(world):
        return None
    return make_successor(world, public("another one"), earliest_naming(world))


def withdraw_nothing(world: World) -> Draft | None:
    """A withdrawal of what nobody announced."""
    return None if is_announced(world) else make_successor(world, ZERO_HASH, earliest_naming(world))
