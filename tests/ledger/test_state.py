"""The state: its table of keys, and the overlay that a block writes to."""

import re
from functools import cache
from typing import Any

import pytest

from ledger.codec import Record, encode
from ledger.errors import CorruptStore, Misuse
from ledger.merkle import sparse_root
from ledger.messages import tables
from ledger.messages.genesis import COMET, REGISTRY, GenesisAttestor
from ledger.messages.state import Account, Swarm
from ledger.messages.tables import (
    ACCOUNTS,
    BINDINGS,
    DRAFT,
    MAX_KEY_BYTES,
    POOL,
    PUNISHED,
    SWARMS,
    TABLES,
    Table,
)
from ledger.state import PAUSE_LEAVES, STATE_START, STATE_STOP, State, build_tree, update_tree
from ledger.steps import run
from ledger.store import MemoryStore
from tests.factory import (
    START_MS,
    Network,
    attestor_roles,
    founding,
    links,
    make_genesis,
    public,
)
from tests.life import (
    FAULTY,
    judge,
    report,
    set_keys,
    set_successor,
    townsfolk,
    vote_evidence,
)


def state_of(**accounts: int) -> State:
    """A committed state with accounts that are named by one letter."""
    rows = {b"a" + name.encode(): encode(Account(n, 0)) for name, n in accounts.items()}
    return State(MemoryStore(rows | {b"s" + b"x": encode(Swarm(1))}))


def balances(state: State) -> dict[bytes, int]:
    return {key: account.balance for key, account in state.items(ACCOUNTS)}


def test_letters_are_unique_and_within_the_range() -> None:
    letters = [table.letter for table in TABLES]
    assert len(set(letters)) == len(letters)
    assert all(len(letter) == 1 and STATE_START <= letter < STATE_STOP for letter in letters)
    assert all(table.meaning for table in TABLES)


def test_a_table_is_called_as_in_the_code() -> None:
    for table in TABLES:
        assert getattr(tables, table.name.upper()) is table
    assert len({table.name for table in TABLES}) == len(TABLES)


def missed_records() -> dict[bytes, Record]:
    """The records of a network in which one seat of four missed a header."""
    names = sorted((f"attestor {place}" for place in range(4)), key=public)
    rows = tuple(GenesisAttestor(public(name), 1, links(public(name))[-1]) for name in names)
    network = Network(make_genesis(attestors=rows, policy=REGISTRY))
    network.attesting = False
    network.block()
    network.block(*(network.attest(place) for place in (1, 2, 3)))
    network.end_epoch()
    return network.dump()


@cache
def busy_records() -> frozenset[bytes]:
    """The store keys of a network that uses every table, as they were at one time or another."""
    leaving = (*founding("leaves", exit_ms=START_MS + 1), *founding("left", exit_ms=2 * START_MS))
    rows = tuple(sorted((*townsfolk(), *leaving), key=lambda row: row.node))
    network = Network(make_genesis(nodes=rows, engine=COMET, producer=b""))
    seen: set[bytes] = set(missed_records())
    network.block(
        network.register(**attestor_roles("node")),
        judge(network, "town 0", FAULTY),
        report(network, "alice", vote_evidence(network, "town 1")),
    )
    seen.update(network.dump())
    for _ in range(2):
        network.end_epoch()
        seen.update(network.dump())
    network.block(network.register("node 2"), network.update_contact(), set_keys(network, "left"))
    network.block(set_successor(network))
    return frozenset(seen.union(network.dump()))


def test_every_table_is_used_by_a_network() -> None:
    assert {key[:1] for key in busy_records()} == {table.letter for table in TABLES}


def lengths(table: Table[Any]) -> set[int]:
    """The lengths that a table's keys may have: parts one after the other, each with its sizes."""
    found = {1}
    for part in table.key.split(" ‖ "):
        sizes = [int(number) for number in re.findall(r"\d+", part)]
        found = {length + size for length in found for size in sizes or [0]}
    return found


@pytest.mark.parametrize("table", TABLES, ids=[table.codec.what for table in TABLES])
def test_every_key_has_a_length_that_its_table_says(table: Table[Any]) -> None:
    used = {len(key) for key in busy_records() if key[:1] == table.letter}
    assert used <= lengths(table)
    assert used
    assert {1 + size for size in table.sizes} == lengths(table)


def test_the_longest_key_is_known() -> None:
    assert max(max(lengths(table)) for table in TABLES) == MAX_KEY_BYTES


def test_keys_of_two_lengths_are_told_apart() -> None:
    used = {len(key) for key in busy_records() if key[:1] == BINDINGS.letter}
    assert used == lengths(BINDINGS) == {33, 21}
    assert lengths(PUNISHED) == {41, 29}


def test_writes_lie_over_the_store() -> None:
    state = state_of(b=2, d=4)
    state.put(ACCOUNTS, Account(1, 0), b"a")
    state.put(ACCOUNTS, Account(20, 0), b"b")
    state.put(ACCOUNTS, Account(3, 0), b"c")
    state.delete(ACCOUNTS, b"d")
    state.put(ACCOUNTS, Account(5, 0), b"e")
    state.delete(ACCOUNTS, b"e")
    assert balances(state) == {b"a": 1, b"b": 20, b"c": 3}
    assert list(balances(state)) == [b"a", b"b", b"c"]
    assert state.get(ACCOUNTS, b"d") is None
    assert state.get(ACCOUNTS, b"e") is None
    assert [key for key, _ in state.items(SWARMS)] == [b"x"]
    assert state.changes() == {
        b"aa": encode(Account(1, 0)),
        b"ab": encode(Account(20, 0)),
        b"ac": encode(Account(3, 0)),
        b"ad": None,
        b"ae": None,
    }


def test_a_table_can_be_read_from_a_key_on() -> None:
    state = state_of(b=2, d=4, f=6)
    state.put(ACCOUNTS, Account(3, 0), b"c")
    state.delete(ACCOUNTS, b"d")
    for start, keys in {b"": b"bcf", b"b": b"bcf", b"c": b"cf", b"d": b"f", b"g": b""}.items():
        assert b"".join(key for key, _ in state.items(ACCOUNTS, start)) == keys


def test_the_store_stays_as_it_is() -> None:
    store = MemoryStore({b"ab": encode(Account(2, 0))})
    state = State(store)
    state.put(ACCOUNTS, Account(9, 0), b"b")
    state.delete(ACCOUNTS, b"b")
    assert dict(store.items()) == {b"ab": encode(Account(2, 0))}


@pytest.mark.parametrize("recent", [None, {}], ids=["read anew", "kept"])
def test_what_was_before_this_block(recent: dict[bytes, Record | None] | None) -> None:
    store = MemoryStore({ACCOUNTS.letter + key: encode(Account(5, 0)) for key in (b"a", b"b")})
    state = State(store, recent)
    state.put(ACCOUNTS, Account(7, 1), b"a")
    state.delete(ACCOUNTS, b"b")
    state.put(ACCOUNTS, Account(1, 0), b"c")
    assert [state.before(ACCOUNTS, key) for key in (b"a", b"b", b"c")] == [
        Account(5, 0),
        Account(5, 0),
        None,
    ]
    # what the block writes stays what it is
    assert [state.get(ACCOUNTS, key) for key in (b"a", b"b", b"c")] == [
        Account(7, 1),
        None,
        Account(1, 0),
    ]


def test_credit_and_debit() -> None:
    state = state_of(a=10)
    state.debit(b"a", 10)
    state.credit(b"b", 4)
    state.credit(b"b", 6)
    assert balances(state) == {b"a": 0, b"b": 10}
    with pytest.raises(Misuse):
        state.debit(b"b", 11)
    with pytest.raises(Misuse):
        state.debit(b"nobody", 1)


def test_a_record_that_must_be_there() -> None:
    state = state_of()
    assert state.get(POOL) is None
    with pytest.raises(CorruptStore, match="there is no Pool"):
        state.one(POOL)


def test_a_record_that_does_not_decode() -> None:
    state = State(MemoryStore({b"r": b"\xc0", b"aa": b"\xc0"}))
    with pytest.raises(CorruptStore, match="a Pool does not decode"):
        state.one(POOL)
    with pytest.raises(CorruptStore, match="a Account does not decode"):
        list(state.items(ACCOUNTS))


def test_tables_without_a_key_hold_one_record() -> None:
    network = Network()
    assert [key for key, _ in network.state.items(POOL)] == [b""]
    assert [key for key, _ in network.state.items(DRAFT)] == [b""]


def test_root_follows_from_the_records_whatever_came_before() -> None:
    one, other = {b"aa": b"1", b"ab": b"2"}, {b"ab": None, b"ac": b"3", b"sx": b"4"}
    tree = run(update_tree(run(update_tree(None, dict(one))), dict(other)))
    records = {b"aa": b"1", b"ac": b"3", b"sx": b"4"}
    assert sparse_root(tree) == sparse_root(build_tree(records.items()))


def test_many_changes_come_to_the_same_root_in_pieces() -> None:
    count = 4 * PAUSE_LEAVES
    records: dict[bytes, bytes] = {b"a%d" % number: b"old" for number in range(count)}
    changes = {
        key: None if place % 3 == 0 else b"new %d" % place for place, key in enumerate(records)
    } | {b"s%d" % number: b"more" for number in range(count)}
    steps, pauses = update_tree(build_tree(records.items()), changes), 0
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            tree = stop.value
            break
        pauses += 1
    after = {key: raw for key, raw in (records | changes).items() if raw is not None}
    assert sparse_root(tree) == sparse_root(build_tree(after.items()))
    assert pauses >= (len(records) + len(after)) // (2 * PAUSE_LEAVES)


def test_genesis_writes_what_its_file_says() -> None:
    network = Network()
    accounts = {row.account: Account(row.balance, 0) for row in network.genesis.accounts}
    assert dict(network.state.items(ACCOUNTS)) == accounts
    pool = network.state.one(POOL)
    assert pool.balance == network.genesis.pool
    assert pool.supply == pool.balance + sum(a.balance for a in accounts.values())
    assert tuple(network.params) == network.genesis.params
    assert network.state.account(public("a stranger")) == Account(0, 0)
