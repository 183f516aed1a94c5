"""Operations that node keys sign: contact data and role keys; and bad attestations."""

from typing import Any

from msgspec.structs import replace

from ledger.codec import encode
from ledger.messages import tags
from ledger.messages.state import ACTIVE, AWAITING, DECOMMISSIONED, GONE, QUEUED
from ledger.messages.tables import SETS
from ledger.messages.transactions import Attest, ContactUpdate, KeyChange, SetKeys, UpdateContact
from ledger.types import Key
from tests.factory import public
from tests.simulation.duties import make_attest
from tests.simulation.operations.accounts import forge
from tests.simulation.people import Machine, contact_of
from tests.simulation.plan import EQUIVOCATING, FLAPPING, HONEST
from tests.simulation.world import Draft, World

LIVING = (AWAITING, QUEUED, ACTIVE, DECOMMISSIONED)

# ---------------------------------------------------------------------- update_contact


def update_contact(world: World, **changes: Any) -> Draft | None:
    """Another address."""
    machine = world.find_in(*LIVING)
    node = world.node(machine) if machine else None
    if machine is None or node is None:
        return None
    contact = contact_of(world.random.randrange(5_000))
    sequence = world.next_sequence(machine)
    update = ContactUpdate(machine.key, node.life, sequence, contact)
    update = replace(update, **changes)
    world.busy[machine.key] = None
    signature = world.sign(machine.key, tags.CONTACT, encode(update))
    return world.free("update_contact", UpdateContact(update, signature))


def update_contact_again(world: World) -> Draft | None:
    """A sequence number that was used."""
    return update_contact(world, sequence=0)


def update_contact_of_former_life(world: World) -> Draft | None:
    """Contact data of another life."""
    return update_contact(world, life=2**20)


def update_contact_without_port(world: World) -> Draft | None:
    """No port."""
    return update_contact(world, contact=replace(contact_of(0), router_port=0))


def update_contact_forged(world: World) -> Draft | None:
    """Contact data that the node did not sign."""
    draft = update_contact(world)
    return forge(draft) if draft else None


# ---------------------------------------------------------------------------- set_keys


def set_keys(world: World, machine: Machine | None = None, **changes: Any) -> Draft | None:
    """Other keys; a node that may equivocate, or takes its turn, gets a list key too."""
    machine = machine or find_keyless(world) or world.find_in(*LIVING)
    node = world.node(machine) if machine else None
    if machine is None or node is None:
        return None
    list_key, tip, consensus_key = node.list_key, b"", node.consensus_key
    if machine.group in opting_in(world):
        if not list_key:
            list_key = public(f"{machine.name} list")
            tip = world.get_links(list_key, 0)[-1]
        consensus_key = public(f"{machine.name} consensus {machine.generation + 1}")
    change = KeyChange(
        node=machine.key,
        life=node.life,
        sequence=world.next_sequence(machine),
        duty_key=public(f"{machine.name} duty {machine.generation + 1}"),
        list_key=list_key,
        list_tip=tip,
        consensus_key=consensus_key,
    )
    draft = sign_keys(world, replace(change, **changes))
    world.busy[machine.key] = None
    if not changes:
        machine.generation += 1
    return draft


def opting_in(world: World) -> tuple[str, ...]:
    """The groups whose nodes name a list key and a consensus key."""
    return (EQUIVOCATING, HONEST, FLAPPING) if world.plan.takes_turns else (EQUIVOCATING,)


def find_keyless(world: World) -> Machine | None:
    """Return a node that has no list key yet and wants one."""

    def wants(machine: Machine) -> bool:
        node = world.node(machine)
        is_one = machine.group in opting_in(world) and world.is_in(machine, *LIVING)
        return is_one and node is not None and not node.list_key

    return world.find(wants)


def sign_keys(world: World, change: KeyChange) -> Draft:
    """Return a change of keys that every key in it has signed."""
    payload = encode(change)

    def prove(key: Key, tag: bytes) -> bytes:
        return world.sign(key, tag, payload) if key else b""

    body = SetKeys(
        change=change,
        node_signature=prove(change.node, tags.KEY_CHANGE),
        duty_signature=prove(change.duty_key, tags.DUTY_KEY),
        list_signature=prove(change.list_key, tags.LIST_KEY),
        consensus_signature=prove(change.consensus_key, tags.CONSENSUS_KEY),
    )
    return world.free("set_keys", body)


def set_keys_again(world: World) -> Draft | None:
    """A sequence number that was used."""
    return set_keys(world, world.find_in(*LIVING), sequence=0)


def set_foreign_keys(world: World) -> Draft | None:
    """The duty key of another node."""
    machine, other = world.find_in(*LIVING), world.find_in(ACTIVE)
    node = world.node(other) if other else None
    if machine is None or node is None or machine is other:
        return None
    return set_keys(world, machine, duty_key=node.duty_key)


def set_keys_too_late(world: World) -> Draft | None:
    """A node that has left."""
    machine = world.find_in(*GONE)
    return set_keys(world, machine, life=world_life(world, machine)) if machine else None


def world_life(world: World, machine: Machine) -> int:
    """Return the life that a node is in."""
    node = world.node(machine)
    return node.life if node else 0


# ------------------------------------------------------------------------------ attest


def attest_twice(world: World) -> Draft | None:
    """A seat whose attestation is on its way already."""
    sent = [row for row in world.outbox if row.kind == "attest" and not row.code]
    return Draft(sent[0].raw, "attest", b"") if sent else None


def attest_old(world: World) -> Draft | None:
    """A header that takes no attestations any more."""
    if world.epoch < 2:
        return None
    return world.free("attest", Attest(world.epoch - 2, 0, bytes(32), bytes(64)))


def attest_nowhere(world: World) -> Draft:
    """A seat that is not there."""
    return world.free("attest", Attest(world.epoch - 1, 25, bytes(32), bytes(64)))


def attest_forged(world: World) -> Draft:
    """A header that the seat did not sign."""
    return forge(make_attest(world, 0))


def attest_without_link(world: World) -> Draft | None:
    """A reveal that is not the next one, by a seat that has not attested yet."""
    sent = [row.raw for row in world.outbox if row.kind == "attest" and not row.code]
    for index in range(len(world.mirror.one(SETS).current)):
        draft = make_attest(world, index)
        if draft.raw not in sent:
            body = world.chain.decode(draft.raw).body
            return world.free("attest", replace(body, reveal=bytes(32)))
    return None
