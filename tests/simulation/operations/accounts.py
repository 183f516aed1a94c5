"""Operations of accounts and of stake: transfer, register, contribute, withdraw, leave, claim."""

from typing import Any, Final

from msgspec.structs import replace

from ledger.codec import encode
from ledger.messages import tags
from ledger.messages.state import ACTIVE, AWAITING, DECOMMISSIONED, GONE, QUEUED, Node
from ledger.messages.tables import HISTORIES, POOL
from ledger.messages.transactions import (
    ClaimRewards,
    Contribute,
    Place,
    Register,
    Registration,
    RequestUnlock,
    Transfer,
    Withdraw,
)
from ledger.nodes import get_owed
from ledger.params import HOUR
from ledger.rules.stakes import minimum_contribution
from ledger.transactions.stake import get_open, get_reserved
from ledger.types import BASIS_POINTS, COIN
from tests.factory import public
from tests.flip import flip
from tests.simulation.people import Machine, contact_of
from tests.simulation.plan import CONTRIBUTORS, EQUIVOCATING, LEAVING
from tests.simulation.world import Draft, World

STAY: Final = 40 * 24
"""Epochs for which a node that comes and goes is active, about."""

NAMES: Final = {public(name): name for name in CONTRIBUTORS}


# ---------------------------------------------------------------------------- transfer


def transfer(world: World, amount: int | None = None, **envelope: Any) -> Draft:
    """Coins from one contributor to another."""
    sender, recipient = world.random.sample(CONTRIBUTORS, 2)
    amount = world.random.randint(1, COIN) if amount is None else amount
    return world.paid("transfer", sender, Transfer(public(recipient), amount), **envelope)


def transfer_nothing(world: World) -> Draft:
    """A transfer of nothing."""
    return transfer(world, 0)


def transfer_too_much(world: World) -> Draft:
    """More than anybody has."""
    return transfer(world, 2**62)


def transfer_again(world: World) -> Draft | None:
    """A nonce that was used."""
    name = world.random.choice(CONTRIBUTORS)
    account = world.state.account(public(name))
    if not account.nonce:
        return None
    return world.paid("transfer", name, Transfer(public(name), 1), nonce=account.nonce - 1)


def transfer_ahead(world: World) -> Draft:
    """A nonce that comes too early."""
    return transfer(world, 1, nonce=2**40)


def transfer_cheaply(world: World) -> Draft:
    """Less than the least fee."""
    return transfer(world, 1, fee=world.params.minimum_fee - 1)


def transfer_late(world: World) -> Draft:
    """A transaction that has expired."""
    return transfer(world, 1, expiry=world.height - 1)


def transfer_for_ever(world: World) -> Draft:
    """A transaction that lives too long."""
    return transfer(world, 1, expiry=world.height + world.params.max_lifetime_blocks + 1)


def transfer_forged(world: World) -> Draft:
    """A signature that somebody made up."""
    return forge(transfer(world))


def forge(draft: Draft) -> Draft:
    """Return a transaction with one bit of its last signature changed."""
    raw = draft.raw
    return draft._replace(raw=flip(raw))


# ---------------------------------------------------------------------------- register


def find_idle(world: World) -> Machine | None:
    """Return a node without a life whose operator wants one for it."""
    return world.find(
        lambda machine: (
            world.node(machine) is None
            and machine.idle_until <= world.epoch
            and machine.key not in world.busy
        )
    )


def find_lifeless(world: World) -> Machine | None:
    """Return a node without a life."""
    return world.find(lambda machine: world.node(machine) is None and machine.key not in world.busy)


def register(world: World, machine: Machine | None = None, **changes: Any) -> Draft | None:
    """Begin a life, with contributors or without; `changes` are of the registration."""
    machine = machine or find_idle(world)
    if machine is None:
        return None
    requirement = world.params.staking_requirement
    is_pooled = machine.group == LEAVING or world.random.random() < 0.2
    share = world.random.randint(2_500, 7_000) if is_pooled else BASIS_POINTS
    stake = changes.pop("stake", requirement * share // BASIS_POINTS)
    registration = make_registration(world, machine, reserve(world, requirement - stake))
    registration = replace(registration, **changes)
    draft = sign_registration(world, machine, registration, stake)
    return draft


def reserve(world: World, open_amount: int) -> tuple[Place, ...]:
    """Return reserved places for some of what is open, or none."""
    names = world.random.sample(CONTRIBUTORS, world.random.choice((0, 0, 1, 2)))
    if open_amount <= 0:
        return ()
    return tuple(Place(key, open_amount // 4) for key in sorted(map(public, names)))


def make_registration(
    world: World, machine: Machine, reserved: tuple[Place, ...] = ()
) -> Registration:
    """Return the registration of a node's next life."""
    history = world.mirror.get(HISTORIES, machine.key)
    list_key = public(f"{machine.name} list") if machine.group == EQUIVOCATING else b""
    return Registration(
        node=machine.key,
        life=history.life + 1 if history else 1,
        operator=public(machine.operator),
        beneficiary=public(machine.operator),
        fee=world.random.randint(0, 2_000),
        reserved=reserved,
        contact=contact_of(world.random.randrange(5_000)),
        duty_key=public(f"{machine.name} duty {machine.generation}"),
        list_key=list_key,
        list_tip=world.get_links(list_key, 0)[-1] if list_key else b"",
        consensus_key=public(f"{machine.name} consensus") if list_key else b"",
        expiry_ms=world.time_ms + 24 * HOUR,
    )


def sign_registration(
    world: World, machine: Machine, registration: Registration, stake: int
) -> Draft:
    """Return a registration that every key in it has signed."""
    payload = encode(registration)

    def prove(key: bytes, tag: bytes) -> bytes:
        return world.sign(key, tag, payload) if key else b""

    body = Register(
        registration=registration,
        node_signature=prove(registration.node, tags.REGISTRATION),
        duty_signature=prove(registration.duty_key, tags.DUTY_KEY),
        list_signature=prove(registration.list_key, tags.LIST_KEY),
        consensus_signature=prove(registration.consensus_key, tags.CONSENSUS_KEY),
        stake=stake,
    )
    world.busy[machine.key] = None
    return world.paid("register", machine.operator, body)


def register_badly(world: World, **changes: Any) -> Draft | None:
    """A registration with something changed before it was signed."""
    machine = find_lifeless(world)
    return register(world, machine, **changes) if machine else None


def register_twice(world: World) -> Draft | None:
    """A node that has a life already."""
    machine = world.find_in(ACTIVE)
    return None if machine is None else register(world, machine)


def register_for_another(world: World) -> Draft | None:
    """A registration that names another operator."""
    return register_badly(world, operator=public(CONTRIBUTORS[0]))


def register_old_life(world: World) -> Draft | None:
    """A life that is not the next one."""
    return register_badly(world, life=2**20)


def register_expired(world: World) -> Draft | None:
    """A registration that has expired."""
    return register_badly(world, expiry_ms=world.time_ms - 1)


def register_foreign_key(world: World) -> Draft | None:
    """A duty key of another node."""
    other = world.find_in(ACTIVE)
    node = other and world.node(other)
    return register_badly(world, duty_key=node.duty_key) if node else None


def register_one_key(world: World) -> Draft | None:
    """One key for two roles."""
    machine = find_lifeless(world)
    return register(world, machine, duty_key=machine.key) if machine else None


def register_too_little(world: World) -> Draft | None:
    """One unit less than the operator has to stake."""
    params = world.params
    return register_badly(
        world, stake=params.staking_requirement * params.operator_share // 10_000 - 1
    )


def register_private_address(world: World) -> Draft | None:
    """An address that nobody reaches."""
    return register_badly(world, contact=replace(contact_of(0), ipv4=bytes((10, 0, 0, 1))))


def register_tombstoned(world: World) -> Draft | None:
    """A node key that was slashed for good, and has been paid out."""
    gone = [m for m in world.by_key.values() if m.is_gone and world.node(m) is None]
    return register(world, world.random.choice(gone)) if gone else None


# ----------------------------------------------------------------- contribute, withdraw


def contribute(world: World, machine: Machine | None = None, **changes: Any) -> Draft | None:
    """Take an open place, or the one that is reserved."""
    machine = machine or world.find_in(AWAITING)
    node = world.node(machine) if machine else None
    if machine is None or node is None or node.exit_ms:
        return None
    have = [c.account for c in node.contributions]
    kept = get_reserved(node, world.params, world.time_ms)
    free = get_open(node, world.params, world.time_ms)
    name = world.random.choice(CONTRIBUTORS)
    own = [place.amount for place in kept if place.account == public(name)]
    if public(name) in have or not (own or free.places):
        return None
    least = minimum_contribution(free) if free.places else 0
    amount = own[0] if own else min(free.amount, least * world.random.choice((1, 2, 3)))
    if amount == 0:
        return None
    world.busy[machine.key] = None
    body = Contribute(machine.key, node.life, amount, public(name))
    return world.paid("contribute", name, replace(body, **changes))


def contribute_to_nobody(world: World) -> Draft:
    """A node that never was."""
    name = world.random.choice(CONTRIBUTORS)
    body = Contribute(public("nobody"), 1, COIN, public(name))
    return world.paid("contribute", name, body)


def contribute_too_much(world: World) -> Draft | None:
    """More than is open."""
    machine = world.find(lambda m: world.is_in(m, AWAITING) and not has_reserved(world, m))
    node = world.node(machine) if machine else None
    if machine is None or node is None:
        return None
    return contribute(world, machine, amount=node.requirement)


def contribute_too_little(world: World) -> Draft | None:
    """One unit, where an equal part is asked for."""
    machine = world.find(lambda m: world.is_in(m, AWAITING) and not has_reserved(world, m))
    return contribute(world, machine, amount=1) if machine else None


def has_reserved(world: World, machine: Machine) -> bool:
    """Whether a waiting node keeps places for others."""
    node = world.node(machine)
    return node is None or bool(node.reserved)


def contribute_late(world: World) -> Draft | None:
    """A node that is funded."""
    machine = world.find_in(ACTIVE, QUEUED)
    node = world.node(machine) if machine else None
    if machine is None or node is None:
        return None
    name = world.random.choice(CONTRIBUTORS)
    return world.paid("contribute", name, Contribute(machine.key, node.life, 1, public(name)))


def find_pooled(world: World, *states: int) -> tuple[Machine, Node, str] | None:
    """Return a node with contributors, and one of them."""
    machine = world.find(lambda m: world.is_in(m, *states) and len(get_contributors(world, m)) > 0)
    node = world.node(machine) if machine else None
    if machine is None or node is None:
        return None
    return machine, node, world.random.choice(get_contributors(world, machine))


def get_contributors(world: World, machine: Machine) -> list[str]:
    """Return the names of those who contribute to a node beside its operator."""
    node = world.node(machine)
    return [] if node is None else [NAMES[c.account] for c in node.contributions[1:]]


def contribute_again(world: World) -> Draft | None:
    """Somebody who has a place already."""
    found = find_pooled(world, AWAITING)
    if found is None or found[1].exit_ms:
        return None
    machine, node, name = found
    return world.paid("contribute", name, Contribute(machine.key, node.life, COIN, public(name)))


def withdraw(world: World) -> Draft | None:
    """Take a contribution back."""
    found = find_pooled(world, AWAITING)
    if found is None:
        return None
    machine, node, name = found
    world.busy[machine.key] = None
    return world.paid("withdraw", name, Withdraw(machine.key, node.life))


def withdraw_as_operator(world: World) -> Draft | None:
    """The operator stays."""
    machine = world.find_in(AWAITING)
    return make_withdraw(world, machine, machine.operator) if machine else None


def withdraw_late(world: World) -> Draft | None:
    """A node that is funded."""
    found = find_pooled(world, ACTIVE, QUEUED, DECOMMISSIONED)
    return make_withdraw(world, found[0], found[2]) if found else None


def make_withdraw(world: World, machine: Machine, who: str) -> Draft | None:
    """Return a withdrawal from a node."""
    node = world.node(machine)
    return world.paid("withdraw", who, Withdraw(machine.key, node.life)) if node else None


# ------------------------------------------------------------------------ leave, claim


def request_unlock(world: World) -> Draft | None:
    """An operator whose node comes and goes, or who waited long enough for stake."""
    if world.epoch in world.plan.bug:
        return None
    stay_ms = STAY * HOUR / world.plan.haste
    return leave_as_operator(
        world,
        lambda m, node: (
            (m.group == LEAVING and world.time_ms - node.since_ms > stay_ms)
            or (node.state == AWAITING and world.time_ms - node.since_ms > 20 * 24 * HOUR)
        ),
    )


def leave_as_operator(world: World, is_wanted: Any) -> Draft | None:
    """Return the operator's request for a node that is wanted and has not asked yet."""

    def wants(machine: Machine) -> bool:
        if not world.is_in(machine, ACTIVE, AWAITING, DECOMMISSIONED):
            return False
        node = world.node(machine)
        return node is not None and not node.exit_ms and bool(is_wanted(machine, node))

    machine = world.find(wants)
    node = world.node(machine) if machine else None
    if machine is None or node is None:
        return None
    world.busy[machine.key] = None
    body = RequestUnlock(machine.key, node.life)
    return world.paid("request_unlock", machine.operator, body)


def request_unlock_as_contributor(world: World, *, is_early: bool = False) -> Draft | None:
    """A contributor may ask some time after the activation."""
    found = find_pooled(world, ACTIVE)
    if found is None or world.epoch in world.plan.bug:
        return None
    machine, node, name = found
    from_ms = node.activated_ms + world.params.contributor_wait_ms
    if node.exit_ms or (world.time_ms < from_ms) != is_early:
        return None
    world.busy[machine.key] = None
    return world.paid("request_unlock", name, RequestUnlock(machine.key, node.life))


def request_unlock_early(world: World) -> Draft | None:
    """A contributor who asks too early."""
    return request_unlock_as_contributor(world, is_early=True)


def request_unlock_twice(world: World) -> Draft | None:
    """A node that is on its way out, or has left."""
    machine = world.find_in(*GONE)
    node = world.node(machine) if machine else None
    if machine is None or node is None:
        return None
    body = RequestUnlock(machine.key, node.life)
    return world.paid("request_unlock", machine.operator, body)


def request_unlock_as_stranger(world: World) -> Draft | None:
    """Somebody without a stake in the node."""
    machine = world.find_in(ACTIVE)
    node = world.node(machine) if machine else None
    name = world.random.choice(CONTRIBUTORS)
    if machine is None or node is None or name in get_contributors(world, machine):
        return None
    return world.paid("request_unlock", name, RequestUnlock(machine.key, node.life))


def claim_rewards(world: World, *, is_empty: bool = False) -> Draft | None:
    """What waits for an operator or a contributor."""
    machine = world.find_in(AWAITING, QUEUED) if is_empty else world.find_in(ACTIVE, *GONE)
    node = world.node(machine) if machine else None
    if machine is None or node is None:
        return None
    who = [machine.operator, *get_contributors(world, machine)]
    place = world.random.randrange(len(who))
    waits = get_owed(node, world.mirror.one(POOL))[place] > 0
    if waits == is_empty:
        return None
    world.busy[machine.key] = None
    return world.paid("claim_rewards", who[place], ClaimRewards(machine.key, node.life))


def claim_nothing(world: World) -> Draft | None:
    """Nothing waits."""
    return claim_rewards(world, is_empty=True)


def claim_former_life(world: World) -> Draft | None:
    """A life that is over."""
    machine = world.find_in(ACTIVE)
    node = world.node(machine) if machine else None
    if machine is None or node is None:
        return None
    body = ClaimRewards(machine.key, node.life - 1)
    return world.paid("claim_rewards", machine.operator, body)


def claim_as_stranger(world: World) -> Draft | None:
    """Somebody without a part in the node."""
    machine = world.find_in(ACTIVE)
    node = world.node(machine) if machine else None
    name = world.random.choice(CONTRIBUTORS)
    if machine is None or node is None or name in get_contributors(world, machine):
        return None
    return world.paid("claim_rewards", name, ClaimRewards(machine.key, node.life))
