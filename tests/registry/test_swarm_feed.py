"""The feed of a swarm, against what every epoch's swarms say, on made-up chains and a real one."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ledger.codec import encode
from ledger.history import SwarmMove, SwarmRow, moves_key
from ledger.messages.state import Swarm
from ledger.messages.tables import CONTACTS, EPOCH, SWARMS
from ledger.messages.tables import NODES as NODE_RECORDS
from ledger.rules.swarms import U64_COUNT, UNASSIGNED, nearest_swarm
from ledger.store import MemoryStore
from ledger.views import View
from registry import swarm_feed as module
from registry.addresses import encode_node
from registry.status import show_contact
from registry.swarm_feed import MAX_FEED_EPOCHS, Swarms, find_owners, show_swarm
from tests.factory import PEOPLE, Network, founding, make_genesis, public
from tests.life import FAULTY, judge, running
from tests.registry.factory import in_loop
from tests.registry.town import make_town

NODES: Final = tuple(f"town {place}" for place in range(11))
IDS: Final = (0, 1, 5, 2**62, 2**63, 2**63 + 2, 2**64 - 2)
"""Swarms, some as near to each other as they can be."""

Assignment = Mapping[bytes, int]
"""The swarm of each node that has one."""


# ------------------------------------------------------------------ what every epoch says


def view_of(network: Network, epochs: Sequence[Assignment]) -> View:
    """A height at which the last of some epochs runs; the first one is epoch 1."""
    content = dict(network.store.items())
    for key in [key for key in content if key[:1] == SWARMS.letter or key[:1] == b"S"]:
        del content[key]
    epoch = replace(network.state.one(EPOCH), epoch=len(epochs))
    content[EPOCH.letter] = encode(epoch)
    for key, swarm in epochs[-1].items():
        content[SWARMS.letter + key] = encode(Swarm(swarm))
    for place in range(1, len(epochs)):
        row = SwarmRow(tuple(moves_between(epochs[place - 1], epochs[place])))
        content[moves_key(place)] = encode(row)
    return View(network.chain.tip, MemoryStore(content).snapshot(), None)


def moves_between(before: Assignment, after: Assignment) -> list[SwarmMove]:
    pairs = {key: (before.get(key, UNASSIGNED), after.get(key, UNASSIGNED)) for key in
             sorted({*before, *after})}  # fmt: skip
    return [SwarmMove(key, *pair) for key, pair in pairs.items() if pair[0] != pair[1]]


def expected_change(
    epoch: int, key: bytes, before: Assignment, after: Assignment
) -> dict[str, Any] | None:
    """What an epoch brought for a node, told from the swarms of both epochs."""
    was, own = before.get(key), after.get(key)
    joined, left = [], []
    if own is not None:
        others = sorted({*before, *after} - {key})
        joined = [k for k in others if before.get(k) != own and after.get(k) == own]
        left = [k for k in others if before.get(k) == own and after.get(k) != own]
    owners = [] if was is None else slow_owners({*before.values()}, was, {*after.values()})
    owners = [swarm for swarm in owners if swarm != was]
    if was == own and not joined and not left and not owners:
        return None
    return {
        "epoch": epoch,
        "swarm": None if own is None else str(own),
        "entered": own is not None and own != was,
        "joined": [encode_node(k) for k in joined],
        "left": [encode_node(k) for k in left],
        "dissolved": was is not None and was not in after.values(),
        "moved_from": str(was) if was is not None and was != own else None,
        "owners": [str(swarm) for swarm in owners],
    }


def slow_owners(before: set[int], swarm: int, after: set[int]) -> list[int]:
    """Who serves what a swarm served, asked at every position where it may change."""
    if not after:
        return []
    rings = sorted(before), sorted(after)
    every = sorted(before | after)
    middles = [(a + (b - a) % U64_COUNT // 2) % U64_COUNT for a in every for b in every]
    middles += [(a + U64_COUNT // 2) % U64_COUNT for a in every]
    found = set()
    for place in (*every, *middles):
        for off in (-1, 0, 1):
            position = (place + off) % U64_COUNT
            if nearest_swarm(rings[0], position) == swarm:
                found.add(nearest_swarm(rings[1], position))
    return sorted(found)


def expected_changes(key: bytes, epochs: Sequence[Assignment], since: int) -> list[dict[str, Any]]:
    """What a node has to be told of all epochs after one."""
    rows = [
        expected_change(epoch, key, epochs[epoch - 2], epochs[epoch - 1])
        for epoch in range(max(2, since + 1), len(epochs) + 1)
    ]
    return [row for row in rows if row is not None]


def check_feed(view: View, key: bytes, epochs: Sequence[Assignment], since: int) -> Any:
    """Compare all that a node is told, by somebody who read nothing before."""
    feed = show_swarm(view, Swarms(), key, since)
    assert feed is not None
    now = epochs[-1]

    def members(swarm: int | None) -> list[dict[str, Any]]:
        keys = sorted(k for k, s in now.items() if s == swarm)
        return [
            {"node": encode_node(k), "contact": show_contact(view.state.one(CONTACTS, k))}
            for k in keys
        ]

    changes = expected_changes(key, epochs, since)
    named = {int(swarm) for row in changes for swarm in row["owners"]}
    assert feed == {
        "node": encode_node(key),
        "epoch": len(epochs),
        "swarm": str(now[key]) if key in now else None,
        "members": members(now[key]) if key in now else [],
        "since": since,
        "changes": changes,
        "owners": [
            {"swarm": str(s), "members": members(s)} for s in sorted(named & {*now.values()})
        ],
        "gap": since < 1,
    }
    return feed


def make_epochs(random: Random, count: int) -> list[Assignment]:
    """Swarms of some epochs in which anything may happen."""
    swarm_of: dict[bytes, int] = {}
    epochs: list[Assignment] = []
    for _ in range(count):
        for name in random.sample(NODES, random.choice((0, 0, 1, 2, 5))):
            swarm_of[public(name)] = random.choice(IDS)
            if random.random() < 0.25:
                del swarm_of[public(name)]
        if random.random() < 0.2 and swarm_of:
            # one is dissolved
            gone = random.choice(list(swarm_of.values()))
            others = [swarm for swarm in IDS if swarm != gone]
            for key, swarm in swarm_of.items():
                swarm_of[key] = random.choice(others) if swarm == gone else swarm
        epochs.append(dict(swarm_of))
    return epochs


@pytest.fixture(scope="module")
def town() -> Network:
    """Nodes whose swarms a test makes up."""
    return make_town(NODES)


def test_whatever_happens_to_swarms(town: Network) -> None:
    told: list[dict[str, Any]] = []
    for seed in range(8):
        random = Random(seed)
        epochs = make_epochs(random, 25)
        view = view_of(town, epochs)
        for name in NODES:
            for since in (0, 1, 2, random.randrange(3, 24), 24, 25, 26):
                told += check_feed(view, public(name), epochs, since)["changes"]
    # all of it happened
    assert any(row["dissolved"] and row["swarm"] for row in told)
    assert any(row["dissolved"] and not row["swarm"] for row in told)
    assert any(row["moved_from"] and not row["dissolved"] for row in told)
    assert any(row["entered"] and not row["moved_from"] for row in told)
    assert any(row["owners"] and not row["moved_from"] for row in told)
    assert any(row["joined"] and row["left"] for row in told)


def test_on_a_real_chain() -> None:
    """Of two swarms one is dissolved as nodes go, and newcomers make others."""
    names = tuple(f"node {place}" for place in range(14))
    owner = {name: PEOPLE[place % 12] for place, name in enumerate(names)}
    nodes = [founding(name, operator=owner[name])[0] for name in names]
    params = {"activation_floor": 7, "removal_floor": 9, "removal_share": 0}
    network = Network(make_genesis(params, nodes=tuple(sorted(nodes, key=lambda row: row.node))))
    network.attesting = False
    epochs: list[Assignment] = []

    def end_epoch() -> None:
        epochs.append({key: row.swarm_id for key, row in network.state.items(SWARMS)})
        assert len(epochs) == running(network)
        network.end_epoch()

    doomed, leaving = names[:3], names[3:5]
    network.block(*(network.request_unlock(owner[name], name) for name in leaving))
    for _ in range(4):
        network.block(*(judge(network, name, FAULTY) for name in doomed))
        end_epoch()
    coming = [f"newcomer {place}" for place in range(14)]
    network.block(*(network.register(name, PEOPLE[i % 12]) for i, name in enumerate(coming)))
    for _ in range(4):
        end_epoch()
    epochs.append({key: row.swarm_id for key, row in network.state.items(SWARMS)})
    counts = [len({*epoch.values()}) for epoch in epochs]
    assert (counts[0], min(counts)) == (2, 1)
    assert counts[-1] > 2
    network.reopen()
    told = []
    for key in {**epochs[0], **epochs[-1]}:
        if network.state.get(NODE_RECORDS, key) is not None:
            for since in (0, 1, 4, len(epochs)):
                told += check_feed(network.view, key, epochs, since)["changes"]
    assert any(row["dissolved"] and row["owners"] for row in told)
    assert any(row["owners"] and row["swarm"] and not row["entered"] for row in told)


# ----------------------------------------------------------------------------------- rings


def test_owners_of_one_swarm_among_two() -> None:
    # a newcomer in the middle takes the inner halves
    assert find_owners([100, 200], 100, [100, 150, 200]) == [100, 150]
    assert find_owners([100, 200], 200, [100, 150, 200]) == [150, 200]
    # one that is gone is shared by both neighbours, or is all of the one that is left
    assert find_owners([100, 150, 200], 150, [100, 200]) == [100, 200]
    assert find_owners([100, 200], 100, [200]) == [200]
    assert find_owners([100], 100, [7, 2**63]) == [7, 2**63]
    assert find_owners([100], 100, []) == []


def test_owners_across_zero() -> None:
    assert find_owners([5, 2**63, 2**64 - 2], 5, [2**63, 2**64 - 2]) == [2**63, 2**64 - 2]
    # the newcomer is nearer to nobody who asked at 2^63
    assert find_owners([5, 2**63, 2**64 - 2], 2**63, [1, 5, 2**63, 2**64 - 2]) == [2**63]


@pytest.mark.parametrize("seed", range(40))
def test_owners_as_positions_say(seed: int) -> None:
    random = Random(seed)
    pool = [*IDS, *(random.randrange(UNASSIGNED) for _ in range(4))]
    before, after = (sorted(random.sample(pool, random.randrange(1, 9))) for _ in range(2))
    for swarm in before:
        assert find_owners(before, swarm, after) == slow_owners({*before}, swarm, {*after})


# --------------------------------------------------------------------------- how far it goes


def test_without_since_there_are_no_changes(town: Network) -> None:
    epochs = make_epochs(Random(1), 9)
    view = view_of(town, epochs)
    key = next(iter(epochs[-1]))
    feed = show_swarm(view, Swarms(), key, None)
    assert feed == check_feed(view, key, epochs, 9)
    assert feed is not None
    assert (feed["changes"], feed["gap"], feed["since"]) == ([], False, 9)


def test_nobody_has_no_feed(town: Network) -> None:
    assert show_swarm(view_of(town, make_epochs(Random(1), 3)), Swarms(), bytes(32), 1) is None


def test_what_the_history_lacks_is_a_gap(town: Network) -> None:
    """As on a node that a snapshot filled at the end of epoch 5."""
    epochs = make_epochs(Random(2), 12)
    whole = view_of(town, epochs)
    content = dict(whole.reader.items())
    for epoch in range(6):
        content.pop(moves_key(epoch), None)
    view = View(whole.tip, MemoryStore(content).snapshot(), None)
    for name in NODES:
        for since in range(1, 13):
            feed = show_swarm(view, Swarms(), public(name), since)
            assert feed is not None
            assert feed["gap"] == (since < 6)
            assert feed["changes"] == expected_changes(public(name), epochs, max(since, 6))


def test_no_more_epochs_than_it_tells(town: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_FEED_EPOCHS == 512
    monkeypatch.setattr(module, "MAX_FEED_EPOCHS", 4)
    epochs = make_epochs(Random(3), 12)
    view = view_of(town, epochs)
    for name in NODES:
        for since in range(1, 13):
            feed = show_swarm(view, Swarms(), public(name), since)
            assert feed is not None
            assert feed["gap"] == (since < 8)
            assert feed["changes"] == expected_changes(public(name), epochs, max(since, 8))


@in_loop
async def test_what_was_prepared_is_not_read_again(
    monkeypatch: pytest.MonkeyPatch, town: Network
) -> None:
    epochs = make_epochs(Random(4), 30)
    view = view_of(town, epochs)
    expected = show_swarm(view, Swarms(), public(NODES[0]), 2)
    swarms = Swarms()
    await swarms.prepare(view, 2)
    monkeypatch.setattr(module, "SWARM_ROW", None)
    assert show_swarm(view, swarms, public(NODES[0]), 2) == expected
    with pytest.raises(AttributeError):
        show_swarm(view, Swarms(), public(NODES[0]), 2)
