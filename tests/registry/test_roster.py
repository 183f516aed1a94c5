"""The roster is what the records say, whatever happened before, and tells what changed."""

import ipaddress
from collections import Counter
from random import Random
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from nacl import bindings

from ledger.codec import Record
from ledger.crypto import convert_to_x25519
from ledger.messages.state import (
    ACTIVE,
    AWAITING,
    DECOMMISSIONED,
    DEREGISTERED,
    EXITED,
    NODE_STATES,
    TOMBSTONED,
    Node,
    Swarm,
)
from ledger.messages.tables import CONTACTS, FAILING, NODES, SWARMS
from ledger.steps import run
from registry import roster as roster_module
from registry.addresses import encode_account
from registry.roster import Roster, compute_unlock_height
from registry.view import NodeRow
from tests.factory import (
    PEOPLE,
    QUARTER,
    REQUIREMENT,
    SHORT_TIMES,
    START_MS,
    Network,
    founding,
    make_contact,
    make_genesis,
    public,
    verify_cached,
)
from tests.registry.town import NODES_NAMES, lives, make_town

NAMES = tuple(f"node {number}" for number in range(10))
FOUNDERS = ("leaves", "stays", "leaves later")
IPV6 = bytes.fromhex("2a010000000000000000000000000001")


def read(network: Network) -> dict[bytes, dict[str, Any]]:
    """Every row from the records alone; the rules are written down here a second time."""
    rows = {}
    for key, node in network.state.items(NODES):
        if node.state in (EXITED, DEREGISTERED, TOMBSTONED):
            continue
        contact, swarm = network.state.one(CONTACTS, key), network.state.get(SWARMS, key)
        storage, router = contact.storage_version, contact.router_version
        ipv4 = ipaddress.ip_address(contact.ipv4) if contact.ipv4 else "0.0.0.0"
        assert (node.state == ACTIVE) == (swarm is not None)
        unlock = -(-(node.exit_ms - node.since_ms) // network.params.block_ms)
        rows[key] = {
            "service_node_pubkey": key.hex(),
            "pubkey_ed25519": key.hex(),
            "pubkey_x25519": convert_to_x25519(key).hex(),
            "public_ip": str(ipv4),
            "storage_port": contact.storage_port,
            "storage_lmq_port": contact.router_port,
            "requested_unlock_height": node.exit_ms and node.since_height + max(1, unlock),
            "storage_server_version": (storage.major, storage.minor, storage.patch),
            "service_node_version": (router.major, router.minor, router.patch),
            "swarm_id": swarm.swarm_id if swarm else 18_446_744_073_709_551_615,
            "swarm": hex(swarm.swarm_id)[2:] if swarm else "ffffffffffffffff",
            "funded": node.state != AWAITING,
            "active": node.state == ACTIVE,
            "state_height": node.since_height,
            "registration_height": node.registered_height,
            "last_reward_block_height": (
                node.since_height if node.state == ACTIVE else node.registered_height
            ),
            "last_uptime_proof": 0,
            "earned_downtime_blocks": credit_blocks(network, key, node),
            "decommission_count": 0,
            "staking_requirement": REQUIREMENT,
            "total_contributed": sum(row.amount for row in node.contributions),
            "operator_fee": 100 * node.fee,
            "operator_address": encode_account(node.operator),
            "contributors": [
                {"address": encode_account(row.account), "amount": row.amount}
                for row in node.contributions
            ],
            "state": NODE_STATES[node.state],
            "life": node.life,
            "since_ms": node.since_ms,
            "reserved": [place.amount for place in node.reserved],
            "reserved_until_ms": node.since_ms + network.params.reservation_ms,
        }
    return rows


def credit_blocks(network: Network, key: bytes, node: Node) -> int:
    """Credit of an active node at first, of one that is down what is left of it."""
    params = network.params
    if node.state != DECOMMISSIONED:
        return node.credit_ms // params.block_ms
    epochs = max(2, -(-node.credit_ms // params.epoch_ms))
    failed = network.state.one(FAILING, key).count
    return max(0, epochs - failed) * params.epoch_ms // params.block_ms


def by_key(rows: list[NodeRow]) -> dict[bytes, dict[str, Any]]:
    """Rows as plain values, by key."""
    return {bytes.fromhex(row.pubkey_ed25519): msgspec.to_builtins(row) for row in rows}


def as_told(rows: dict[bytes, dict[str, Any]]) -> dict[bytes, dict[str, Any]]:
    """The same, with versions as JSON and MessagePack have them."""
    return {key: msgspec.to_builtins(row) for key, row in rows.items()}


def commit(network: Network, roster: Roster, *raws: bytes, ms: int = 100) -> None:
    """A block as a replica takes it in."""
    run(network.chain.finalize(network.input(*raws, ms=ms)), verify_cached)
    block, batch = network.chain.begin_commit()
    changed = run(roster.prepare(network.chain.changed_records(), network.state))
    network.store.write(batch)
    network.chain.end_commit(block)
    roster.adopt(changed)
    network.forget_sent()


def make_network() -> Network:
    """A network with nodes from the start, of which some leave; stakes are paid out soon."""
    nodes = (
        *founding("leaves", exit_ms=START_MS + 1),
        *founding("stays", contact=make_contact(7, ipv4=b"", ipv6=IPV6)),
        *founding("leaves later", exit_ms=START_MS + 60_000),
    )
    # who begins to earn changes its record, which these tests are not about
    params = SHORT_TIMES | {"payable_ms": 0}
    network = Network(make_genesis(params, nodes=tuple(sorted(nodes, key=lambda n: n.node))))
    network.attesting = False
    return network


def random_operation(network: Network, chance: Random) -> bytes:
    """A transaction that may have an effect or may be refused."""
    node, who = chance.choice(NAMES + FOUNDERS), chance.choice(PEOPLE)
    contact = make_contact(chance.randrange(1, 255), storage_port=chance.randrange(1, 65_536))
    if chance.randrange(3) == 0:
        contact = replace(contact, ipv4=b"", ipv6=IPV6)
    match chance.randrange(6):
        case 0 | 1:
            stake = chance.choice([REQUIREMENT, QUARTER, 2 * QUARTER])
            life = chance.choice([1, 1, 2])
            return network.register(node, who, stake, life=life, contact=contact)
        case 2 | 3:
            return network.contribute(who, chance.choice([QUARTER, 2 * QUARTER]), node)
        case 4:
            sequence = network.chain.tip.height + 1
            return network.update_contact(node, sequence, contact=contact)
        case _:
            return network.withdraw(who, node)


@pytest.mark.parametrize("seed", range(6))
def test_after_any_history_the_roster_is_what_the_records_say(seed: int) -> None:
    chance = Random(seed)
    network, roster = make_network(), Roster()
    roster.read_all(network.state)
    told = by_key(roster.all())
    seen: Counter[str] = Counter()
    for _ in range(80):
        raws = [random_operation(network, chance) for _ in range(chance.randrange(5))]
        commit(network, roster, *raws, ms=chance.choice([100, 100, 100, 10_000]))
        expected = as_told(read(network))
        assert by_key(roster.all()) == expected

        changed = roster.take_changed()
        for key, row in by_key(changed.rows).items():
            assert told.get(key) != row, "a row that stayed equal is told again"
            seen["new" if key not in told else "changed"] += 1
            told[key] = row
        for key in changed.removed:
            del told[key]
            seen["removed"] += 1
        assert told == expected

        active = [key for key, row in expected.items() if row["active"]]
        assert [bytes.fromhex(row.pubkey_ed25519) for row in roster.active()] == sorted(active)
        assert not any(roster.take_changed())
    afresh = Roster()
    afresh.read_all(network.state)
    assert by_key(afresh.all()) == told
    assert not any(afresh.take_changed()), "what is there at the start is no change"
    assert all(seen[what] for what in ("new", "changed", "removed")), seen


def test_a_row_follows_its_node_through_every_state() -> None:
    network, roster = make_town(), Roster()
    roster.read_all(network.state)
    down: list[int] = []
    for raws, ms in lives(network):
        commit(network, roster, *raws, ms=ms)
        assert by_key(roster.all()) == as_told(read(network))
        bad = by_key(roster.all()).get(public(NODES_NAMES[0]))
        if bad is not None and not bad["active"]:
            assert (bad["funded"], bad["swarm"]) == (True, "ffffffffffffffff")
            down.append(bad["earned_downtime_blocks"])
    assert down == sorted(down, reverse=True)
    assert len(set(down)) > 2
    states = {network.node(name).state for name in (*NODES_NAMES, "liar", "waits")}
    assert states == {AWAITING, ACTIVE, EXITED, DEREGISTERED, TOMBSTONED}
    assert len(roster.all()) == len(NODES_NAMES) + 2 - 3


def test_changes_add_up_until_they_are_taken() -> None:
    network, roster = make_network(), Roster()
    roster.read_all(network.state)
    commit(network, roster, network.register("node", "alice", QUARTER))
    commit(network, roster, network.contribute("bob", QUARTER))
    commit(network, roster, network.transfer("alice", "bob"))
    commit(network, roster, network.contribute("carol", QUARTER), ms=10_000)
    rows, removed = roster.take_changed()
    # the epoch's end let one go, and told no swarm of those who stayed
    assert [row.pubkey_ed25519 for row in rows] == [public("node").hex()]
    assert rows[0].total_contributed == 3 * QUARTER
    assert removed == [public("leaves")]


def test_a_row_is_made_again_only_if_a_record_of_its_node_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, roster = make_network(), Roster()
    roster.read_all(network.state)
    commit(network, roster, network.register("node", "alice", QUARTER))
    made: list[bytes] = []
    real = roster_module.make_row

    def counted(key: bytes, *arguments: Any) -> NodeRow:
        made.append(key)
        return real(key, *arguments)

    monkeypatch.setattr(roster_module, "make_row", counted)
    commit(network, roster, network.transfer("alice", "bob"))
    commit(network, roster, network.update_contact("stays"))
    assert made == []
    commit(network, roster, network.contribute("bob", QUARTER))
    assert made == [public("node")]
    # contact data comes into force, and the one that leaves has no row any more
    commit(network, roster, ms=10_000)
    assert made == [public("node"), public("stays")]


def test_what_no_row_shows_is_no_change() -> None:
    network, roster = make_network(), Roster()
    roster.read_all(network.state)
    # another IPv6 address, beside the IPv4 address that there was
    contact = make_contact(ipv6=IPV6)
    commit(network, roster, network.update_contact("leaves later", contact=contact))
    commit(network, roster, ms=10_000)
    assert network.state.one(CONTACTS, public("leaves later")) == contact
    assert roster.take_changed() == ([], [public("leaves")])


def test_a_node_may_change_its_swarm_and_nothing_else() -> None:
    network, roster = make_network(), Roster()
    roster.read_all(network.state)
    moved: dict[bytes, Record | None] = {SWARMS.letter + public("stays"): Swarm(2**63 + 10)}
    roster.adopt(run(roster.prepare(moved, network.state)))
    [row] = roster.take_changed().rows
    assert row.pubkey_ed25519 == public("stays").hex()
    assert (row.swarm_id, row.swarm) == (9_223_372_036_854_775_818, "800000000000000a")


def test_a_node_that_waits_for_its_payout_has_no_row() -> None:
    network, roster = make_network(), Roster()
    roster.read_all(network.state)
    commit(network, roster, ms=10_000)
    assert network.node("leaves").state == EXITED
    afresh = Roster()
    afresh.read_all(network.state)
    assert {row.pubkey_ed25519 for row in afresh.all()} == {
        public(name).hex() for name in ("stays", "leaves later")
    }
    assert by_key(afresh.all()) == by_key(roster.all())


def test_no_key_is_converted_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """That was done when the node registered, and its record tells."""
    network, roster = make_network(), Roster()
    network.block(network.register("node", "alice", QUARTER))

    def refuse(_key: bytes) -> bytes:
        raise AssertionError("a key was converted again")

    monkeypatch.setattr(bindings, "crypto_sign_ed25519_pk_to_curve25519", refuse)
    convert_to_x25519.cache_clear()
    roster.read_all(network.state)
    commit(network, roster, network.contribute("bob", 2 * QUARTER))
    commit(network, roster, network.contribute("carol", QUARTER))
    commit(network, roster, network.update_contact("node"))
    commit(network, roster, ms=10_000)
    commit(network, roster, ms=10_000)
    assert len(roster.active()) == len(roster.all()) == 3
    with pytest.raises(AssertionError):
        network.block(network.register("another", "bob"))


UNLOCK: dict[str, tuple[dict[str, int], int]] = {
    "nobody asked": ({"exit_ms": 0}, 0),
    "a block later": ({"exit_ms": START_MS + 1_000}, 101),
    "a millisecond more": ({"exit_ms": START_MS + 1_001}, 102),
    "ten blocks later": ({"exit_ms": START_MS + 10_000}, 110),
    "at once": ({"exit_ms": START_MS}, 101),
    "before its state began": ({"exit_ms": START_MS - 60_000}, 101),
    "from the start on": ({"exit_ms": START_MS + 5_000, "since_height": 0}, 5),
}


@pytest.mark.parametrize(("changes", "height"), UNLOCK.values(), ids=UNLOCK.keys())
def test_unlock_height(changes: dict[str, int], height: int) -> None:
    network = make_network()
    node: Node = replace(network.node("stays"), since_ms=START_MS, since_height=100)
    assert compute_unlock_height(replace(node, **changes), 1_000) == height
