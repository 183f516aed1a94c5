"""Rules that are functions of plain values: addresses, queues, stakes, seeds."""

from hashlib import sha256
from importlib import import_module
from inspect import getmembers, isfunction
from pathlib import Path
from pkgutil import iter_modules

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import rules
from ledger.rules.queues import activation_limit, order_by_turns
from ledger.rules.routable import (
    LOOPBACK,
    UNROUTABLE_IPV4,
    UNROUTABLE_IPV6,
    Prefix,
    compute_unroutable_reason,
)
from ledger.rules.seeds import compute_next_seed, is_next_link, swarm_seed
from ledger.rules.stakes import (
    Open,
    compute_open,
    is_reserved,
    minimum_contribution,
    minimum_operator_stake,
)
from tests.factory import START_MS
from tests.ledger.refusals.contact import UNROUTABLE, packed

TESTS = Path(__file__).parents[1]


def test_every_rule_has_a_test() -> None:
    """Each public function is called in some test file of the ledger, under its name.

    Swarms and their random numbers are held to vectors as a whole, in test_swarms.py.
    """
    tests = "".join(path.read_text() for path in sorted(TESTS.rglob("test_*.py")))
    files = {row.name for row in iter_modules(rules.__path__)} - {"swarms", "mt19937_64"}
    modules = [import_module(f"ledger.rules.{name}") for name in sorted(files)]
    names = [
        name
        for module in modules
        for name, function in getmembers(module, isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    ]
    assert len(names) > 30
    assert [name for name in names if f"{name}(" not in tests] == []


# ---- addresses ----

ROUTABLE = (
    # the neighbours of each range that is not
    *("1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"),
    *("126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255"),
    *("172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0", "192.88.98.255"),
    *("192.88.100.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0"),
    *("192.31.195.255", "192.31.197.0", "192.52.192.255", "192.52.194.0", "192.175.47.255"),
    *(
        "192.175.49.0",
        "198.51.99.255",
        "198.51.101.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
    ),
    *("2000::", "2001:200::1", "2001:db7:ffff::"),
    *("2001:db9::", "2003::1", "2620::1", "2a02::1", "3ffe:ffff::", "3fff:1000::"),
    *("2620:4f:7fff:ffff::", "2620:4f:8001::"),
    # the identifier of ISATAP with one bit more, with another bit less, and at another place
    *("2620::100:5efe:808:808", "2620::300:5efe:808:808", "2620::5eff:808:808"),
    *("2620::5efe:808:808:1", "2620:0:0:5efe::808:808", "2620::808:5efe"),
)


@pytest.mark.parametrize("text", ROUTABLE)
def test_others_can_reach(text: str) -> None:
    assert compute_unroutable_reason(packed(text), allow_loopback=False) == ""


@pytest.mark.parametrize("name", UNROUTABLE)
def test_others_cannot_reach(name: str) -> None:
    for text in UNROUTABLE[name]:
        assert compute_unroutable_reason(packed(text), allow_loopback=False) != "", text


def test_loopback_is_what_a_test_network_may_allow() -> None:
    loopback = [*UNROUTABLE["loopback"], *UNROUTABLE["IPv6 loopback"]]
    for name, ends in UNROUTABLE.items():
        for text in ends:
            allowed = compute_unroutable_reason(packed(text), allow_loopback=True) == ""
            assert allowed is (text in loopback), name


def test_every_range_of_the_table_has_a_case() -> None:
    cases = {packed(text) for ends in UNROUTABLE.values() for text in ends}
    for prefix in (*UNROUTABLE_IPV4, *UNROUTABLE_IPV6):
        shift = 8 * len(prefix.address) - prefix.bits
        number = int.from_bytes(prefix.address, "big")
        last = (number | ((1 << shift) - 1)).to_bytes(len(prefix.address), "big")
        assert number >> shift << shift == number, prefix.why
        # the first of some ranges belongs to a narrower one
        assert last in cases, prefix.why


@given(st.sampled_from((*UNROUTABLE_IPV4, *UNROUTABLE_IPV6)), st.integers(0, 2**128 - 1))
def test_nothing_in_a_range_of_the_table_is_reached(prefix: Prefix, rest: int) -> None:
    shift = 8 * len(prefix.address) - prefix.bits
    number = int.from_bytes(prefix.address, "big") + rest % (1 << shift)
    address = number.to_bytes(len(prefix.address), "big")
    assert compute_unroutable_reason(address, allow_loopback=False) != ""
    # ::1 lies in the range of the IPv4-compatible addresses too
    if prefix.why != LOOPBACK and address != bytes(15) + b"\1":
        assert compute_unroutable_reason(address, allow_loopback=True) != ""


@pytest.mark.parametrize("size", [0, 3, 5, 15, 17])
def test_addresses_have_two_lengths(size: int) -> None:
    assert compute_unroutable_reason(bytes([33]) * size, allow_loopback=True) != ""


# ---- queues ----


@pytest.mark.parametrize(
    ("active", "floor", "share", "most", "limit"),
    [
        (0, 20, 200, 100_000, 20),
        (999, 20, 200, 100_000, 20),
        (1_050, 20, 200, 100_000, 21),
        (10_000, 20, 200, 100_000, 200),
        (10_000, 20, 0, 100_000, 20),
        (7, 1, 10_000, 100_000, 7),
        (10_000, 20, 200, 10_150, 150),
        (10_000, 20, 200, 10_000, 0),
    ],
)
def test_activation_limit(active: int, floor: int, share: int, most: int, limit: int) -> None:
    assert activation_limit(active, floor, share, most) == limit


@given(*[st.integers(0, 2**18)] * 2, st.integers(0, 10_000), st.integers(0, 2**18))
def test_activations_never_go_beyond_what_a_list_holds(
    active: int, floor: int, share: int, most: int
) -> None:
    limit = activation_limit(active, floor, share, most)
    assert limit >= 0
    assert active + limit <= max(active, most)
    assert limit <= max(floor, active * share // 10_000)


TURNS = {
    "": "",
    "a1": "a1",
    "a1 a2 a3": "a1 a2 a3",
    "a1 a2 b1": "a1 b1 a2",
    "a1 a2 a3 b1 b2 c1": "a1 b1 c1 a2 b2 a3",
    "b1 a1 b2 c1 a2": "b1 a1 c1 b2 a2",
}


@pytest.mark.parametrize("queue", TURNS)
def test_operators_take_turns(queue: str) -> None:
    rows = [(node.encode(), node[:1].encode()) for node in queue.split()]
    assert [node.decode() for node in order_by_turns(rows)] == TURNS[queue].split()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10**6)), max_size=30, unique=True))
def test_turns_keep_the_order_of_each_operator_and_leave_nobody_out(
    rows: list[tuple[int, int]],
) -> None:
    queue = [(bytes([who]) + number.to_bytes(31, "big"), bytes([who])) for who, number in rows]
    order = order_by_turns(queue)
    assert sorted(order) == sorted(node for node, _ in queue)
    seen: dict[bytes, list[bytes]] = {}
    turns = []
    for node in order:
        own = seen.setdefault(node[:1], [])
        own.append(node)
        turns.append(len(own))
    assert turns == sorted(turns), "nobody is served again while another waits for his turn"
    for who, own in seen.items():
        assert own == [node for node, operator in queue if operator == who]


# ---- stakes ----


@pytest.mark.parametrize(
    ("requirement", "share", "minimum"),
    [(100, 2_500, 25), (101, 2_500, 26), (103, 2_500, 26), (104, 2_500, 26), (10, 1, 1),
     (10, 10_000, 10), (2**63 - 1, 2_500, 2**61)],
)  # fmt: skip
def test_least_stake_of_an_operator(requirement: int, share: int, minimum: int) -> None:
    assert minimum_operator_stake(requirement, share) == minimum
    assert minimum * 10_000 >= requirement * share > (minimum - 1) * 10_000


def test_what_is_open_to_all() -> None:
    assert compute_open(100, 25, 9, ()) == Open(75, 9)
    assert compute_open(100, 25, 9, (7, 8)) == Open(60, 7)
    assert compute_open(100, 100, 0, ()) == Open(0, 0)


@pytest.mark.parametrize(
    ("amount", "places", "least"), [(75, 9, 9), (72, 9, 8), (1, 9, 1), (0, 3, 0), (75, 1, 75)]
)
def test_least_contribution_is_an_equal_part(amount: int, places: int, least: int) -> None:
    assert minimum_contribution(Open(amount, places)) == least


@given(st.integers(0, 10**6), st.integers(1, 9))
def test_least_contributions_fill_a_node_in_as_many_places_as_there_are(
    amount: int, places: int
) -> None:
    free, taken = Open(amount, places), 0
    while free.amount:
        least = minimum_contribution(free)
        taken += 1
        free = Open(free.amount - least, free.places - 1)
    assert taken <= places


DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("late_ms", "is_kept"), [(0, True), (DAY_MS - 1, True), (DAY_MS, False), (DAY_MS + 1, False)]
)
def test_a_place_is_kept_for_its_time_and_no_longer(late_ms: int, is_kept: bool) -> None:
    assert is_reserved(START_MS, START_MS + late_ms, DAY_MS) is is_kept


# ---- seeds ----


def test_next_seed_in_bytes() -> None:
    seed, first, second = (bytes([value]) * 32 for value in (1, 2, 3))
    head = b"waypost seed" + bytes(20)
    expected = sha256(head + seed + b"\x00" + first + b"\x18" + second).digest()
    assert compute_next_seed(seed, [(0, first), (24, second)]) == expected
    assert compute_next_seed(seed, [(24, second), (0, first)]) == expected
    assert compute_next_seed(seed, []) == sha256(head + seed).digest()


def test_a_reveal_is_the_preimage() -> None:
    value = sha256(b"link").digest()
    assert is_next_link(b"link", value)
    assert not is_next_link(value, value)
    assert not is_next_link(b"", value)


def test_swarm_seed_is_little_endian() -> None:
    assert swarm_seed(bytes(range(1, 33))) == 0x0807060504030201
    assert swarm_seed(b"\xff" * 32) == 2**64 - 1
