"""Nodes take their turns for weeks, and readers of lists follow: one that looks each day, one that
was away for longer than a change takes.

Nodes come, opt in and out, name other keys, leave, and are slashed, drawn from a seed. In each
epoch the set moves no further than it may, who comes has stood longest, and the validators are its
seats.
"""

from random import Random
from typing import Any, Final

import pytest

from ledger.codec import encode
from ledger.epochs.standing import is_lost
from ledger.messages.evidence import Misbehaviour
from ledger.messages.genesis import COMET, REGISTRY
from ledger.messages.lists import attestor_set_hash, decode_header, encode_signed_header
from ledger.messages.state import ACTIVE
from ledger.messages.tables import HISTORIES, NEW_KEYS, NODES, SETS
from ledger.nodes import consensus_address
from ledger.rules.attestors import compute_turnover, turnover_limit
from ledger.validators import get_holder, get_validators
from registry.client import TrustedLists
from registry.formats.trust import encode_path
from registry.trust import PathFinder
from tests.factory import DAY_MS, PEOPLE, Network, attestor_roles, links, make_genesis, public
from tests.life import current, header_evidence, report, set_keys

DAYS: Final = 56
"""A hash chain lasts for a little more."""
AWAY_DAYS: Final = 9
TIMES: Final = {
    "epoch_ms": DAY_MS,
    "fresh_ms": DAY_MS,
    "valid_ms": 2 * DAY_MS,
    "trust_ms": 12 * DAY_MS,
    "report_margin_ms": DAY_MS,
    "evidence_ms": 14 * DAY_MS,
    "unbonding_ms": 15 * DAY_MS,
    "lock_ms": 15 * DAY_MS,
    "registration_ms": 365 * DAY_MS,
    "set_change_ms": 2 * DAY_MS,
    "founders_until": 3,
    "activation_floor": 9,
}


class Reader:
    """A client that holds a list."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.client = TrustedLists(network.raw, network.chain.tip.time_ms)
        self.client.update(self.newest())

    def newest(self) -> bytes:
        """The newest header, as it travels."""
        return encode_signed_header(self.network.chain.newest_header())

    def look(self) -> int:
        """Take the newest header, with the path to it; returns how many headers that has."""
        signed = self.newest()
        end = decode_header(signed[:342]).epoch
        finder = PathFinder(self.network.genesis)
        path = finder.find(self.network.view, self.client.header.epoch, end)
        assert path is not None
        self.client.start_update(self.network.chain.tip.time_ms)
        self.client.update(signed, encode_path(path))
        assert self.client.header == self.network.header
        assert self.client.header.set_hash == attestor_set_hash(current(self.network))
        return len(path.ways)


def act(network: Network, random: Random, names: list[str]) -> list[bytes]:
    """What happens in a day: one thing to one node, mostly, and often to one with a seat."""
    holders = [get_holder(network.state, member.list_key) for member in current(network)]
    seated = [name for name in names if public(name) in holders]
    name = random.choice(random.choice((names, seated or names))) if names else ""
    node = network.state.get(NODES, public(name)) if name else None
    chance = random.random()
    if node is None or node.state != ACTIVE or node.exit_ms or len(names) < 5 or chance < 0.3:
        new = f"n{len(names)}"
        names.append(new)
        expiry_ms = network.chain.tip.time_ms + DAY_MS
        operator = PEOPLE[len(names) % len(PEOPLE)]
        return [network.register(new, operator, expiry_ms=expiry_ms, **attestor_roles(new))]
    sequence = network.state.one(HISTORIES, public(name)).sequence + 1
    if network.state.get(NEW_KEYS, public(name)) is not None:
        return []
    changes: dict[str, Any] = {"consensus_key": public(f"{name} consensus {sequence}")}
    if chance < 0.5:
        return [set_keys(network, name, sequence, f"{name} duty", **changes)]
    if chance < 0.65:
        key = public(f"{name} list {sequence}")
        changes |= {"list_key": key, "list_tip": links(key)[-1]}
        return [set_keys(network, name, sequence, f"{name} duty", **changes)]
    if chance < 0.75:
        operator = next(who for who in PEOPLE if public(who) == node.operator)
        return [network.request_unlock(operator, name)]
    if chance < 0.85 and node.list_key:
        return [report(network, "alice", header_evidence(network, node.list_key))]
    if chance < 0.93 and node.list_key:
        return [set_keys(network, name, sequence, f"{name} duty", list_key=b"")]
    return []


def age(network: Network, key: bytes) -> tuple[int, bytes]:
    """How long a node has stood for a seat; the longest is the least."""
    node = network.state.one(NODES, key)
    return max(node.activated_ms, node.stands_ms), key


def waiting(network: Network) -> list[bytes]:
    """The nodes that stand for a seat, and neither hold one nor are to come."""
    sets = network.state.one(SETS)
    held = [get_holder(network.state, m.list_key) for m in (*sets.current, *sets.next)]
    return [
        key
        for key, node in network.state.items(NODES)
        if node.state == ACTIVE
        and key not in held
        and node.list_key
        and node.consensus_key
        and not (
            node.taken or node.exit_ms or is_lost(network.state, node.list_key, network.params)
        )
    ]


def newcomers(network: Network) -> list[bytes]:
    """The nodes that are to come for a seat, and hold none."""
    sets = network.state.one(SETS)
    held, soon = (
        [get_holder(network.state, member.list_key) for member in members]
        for members in (sets.current, sets.next)
    )
    return [key for key in soon if key not in held]


def misbehaves(network: Network, random: Random) -> tuple[bytes, ...]:
    """Now and then a validator signs two blocks, though not one of a few."""
    validators = get_validators(network.state)
    if random.random() < 0.9 or len(validators) < 5:
        return ()
    tip = network.chain.tip
    address = consensus_address(random.choice(list(validators)))
    return (encode(Misbehaviour(address, tip.height, tip.time_ms)),)


@pytest.mark.parametrize("seed", range(12))
def test_readers_follow_wherever_the_seats_go(seed: int) -> None:
    random = Random(f"turns {seed}")
    network = Network(make_genesis(TIMES, engine=COMET, producer=b"", policy=REGISTRY))
    network.settle()
    daily, away = Reader(network), Reader(network)
    names: list[str] = []
    changes = rotations = hops = choices = 0
    for day in range(1, DAYS):
        before, agreed = network.state.one(SETS).current, get_validators(network.state)
        network.block(misbehaviour=misbehaves(network, random))
        network.block(*act(network, random, names))
        changed_ms = network.state.one(SETS).changed_ms
        network.end_epoch()
        if network.state.one(SETS).changed_ms != changed_ms:
            # who comes has stood longest of all that have no seat
            came = [age(network, key) for key in newcomers(network)]
            left = [age(network, key) for key in waiting(network)]
            assert not came or not left or max(came) < min(left)
            choices += bool(came and left)
        after, agreeing = network.state.one(SETS).current, get_validators(network.state)
        assert compute_turnover(before, after) <= turnover_limit(before)
        assert len(agreeing) == len({*agreeing}) == len(after) > 0
        changes += after != before
        rotations += after == before and agreeing != agreed
        network.settle()
        daily.look()
        if day % AWAY_DAYS == 0:
            hops = max(hops, away.look())
    assert changes >= 12
    assert rotations > 0
    assert hops > 1
    assert choices > 2
    founders = {row.list_key for row in network.genesis.attestors}
    assert not founders & {member.list_key for member in after}
    holders = [get_holder(network.state, member.list_key) for member in after]
    assert len({*holders}) == len(holders) >= 3
