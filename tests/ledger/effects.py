"""What a transaction does, all of it: a sheet on which the expected state is written down.

    Sheet              the state and the history as they have to be afterwards
    expect_applied     sends a transaction the whole way, and compares everything with the sheet
    expect_changes     compares everything after a block with the sheet
    expect_refused     nothing changes but that the transaction stands in a block

The runners, one for each kind, stand in `tests/ledger/runners/`. They write the amounts down from
the text of the rules and never call the rule that is under test.
"""

from typing import Any

from msgspec.structs import replace

from ledger.codec import Record, encode
from ledger.crypto import sha256
from ledger.errors import REFUSALS
from ledger.history import Location
from ledger.merkle import sparse_root, sparse_verify
from ledger.messages.state import QUEUED, Account, Node, Pool, Queued
from ledger.messages.tables import ACCOUNTS, EPOCH, NODES, POOL, QUEUE
from ledger.state import STATE_START, STATE_STOP, build_tree
from ledger.steps import run
from tests.factory import BLOCK_MS, FEE, Network, public, verify_cached

Dump = dict[bytes, Record]

ARCHIVES = (b"A", b"F", b"R", b"V")
"""Letters of the history that rules write: frozen headers, penalties, verdicts."""


class Sheet:
    """What state and history have to be after a block, written down step by step."""

    def __init__(self, network: Network) -> None:
        network.settle()
        self.before = network.dump()
        self.after: dict[bytes, Record] = dict(self.before)
        self.archive = archive(network)
        self.height = network.chain.tip.height + 1
        self.time_ms = network.chain.tip.time_ms + BLOCK_MS

    def get(self, table: Any, key: bytes = b"") -> Any:
        """The record as it will be."""
        return self.after.get(table.letter + key)

    def put(self, table: Any, key: bytes, record: Record) -> None:
        """The record has to be this."""
        self.after[table.letter + key] = record

    def delete(self, table: Any, key: bytes) -> None:
        """The record has to be gone; it was there."""
        del self.after[table.letter + key]

    def keep(self, letter: bytes, key: bytes, record: Record) -> None:
        """The history has to have this row, which it had not."""
        assert letter + key not in self.archive
        self.archive[letter + key] = encode(record)

    def move(self, who: str | bytes, amount: int) -> None:
        """The account has to have so much more."""
        account = self.get(ACCOUNTS, public(who)) or Account(0, 0)
        self.put(ACCOUNTS, public(who), replace(account, balance=account.balance + amount))

    def fill_pool(self, amount: int, waiting: int = 0) -> None:
        """The pool has to have so much more, and so much more rewards have to wait in it."""
        pool = self.get(POOL)
        self.put(
            POOL, b"", replace(pool, balance=pool.balance + amount, accrued=pool.accrued + waiting)
        )

    def pay(self, who: str, amount: int, fee: int = FEE) -> None:
        """The sender has to have paid, the fee has to be in the pool, the nonce counted."""
        self.move(who, -amount - fee)
        account = self.get(ACCOUNTS, public(who))
        self.put(ACCOUNTS, public(who), replace(account, nonce=account.nonce + 1))
        self.fill_pool(fee)

    def queue_if_funded(self, node: str) -> None:
        """A node that has its stake has to stand in the queue, at the block's first place."""
        record = self.get(NODES, public(node))
        if sum(c.amount for c in record.contributions) == record.requirement:
            since = replace(record, state=QUEUED, since_ms=self.time_ms, since_height=self.height)
            epoch = self.get(EPOCH).epoch
            queued = replace(since, liable_from=epoch + 1, tested_from=epoch + 2)
            self.put(NODES, public(node), queued)
            place = self.height.to_bytes(8, "big") + bytes(4)
            self.put(QUEUE, place, Queued(public(node)))


def archive(network: Network) -> dict[bytes, bytes]:
    """The history that rules wrote, by store key."""
    store = network.store
    return {
        key: raw for letter in ARCHIVES for key, raw in store.items(letter, bytes([letter[0] + 1]))
    }


def coins(dump: Dump) -> int:
    """Every atomic unit that is somewhere in the state."""
    total = 0
    for record in dump.values():
        if isinstance(record, Account | Pool):
            total += record.balance
        if isinstance(record, Pool):
            total += record.accrued
        if isinstance(record, Node):
            total += sum(c.amount for c in record.contributions)
    return total


def expect_applied(network: Network, sheet: Sheet, raw: bytes) -> None:
    """Send a transaction the whole way and compare everything with the sheet."""
    chain = network.chain
    tx = chain.decode(raw)
    assert all(verify_cached(chain.signatures(tx)))
    chain.peek(tx)
    chain.check(tx)
    assert network.dump() == sheet.before, "a check wrote something"
    block = network.input(raw)
    proposal = run(chain.propose(block.height, block.time_ms, block.proposer, [tx]), verify_cached)
    assert proposal == block
    run(chain.validate(block), verify_cached)
    assert network.dump() == sheet.before, "a proposal wrote something"
    expect_changes(network, sheet, network.block(raw).root)
    assert network.view.location(sha256(raw)) == Location(sheet.height, 0, 0)


def expect_changes(network: Network, sheet: Sheet, root: bytes) -> None:
    """Compare state, history and root after a block with the sheet."""
    after = network.dump()
    assert changes(sheet.before, after) == changes(sheet.before, sheet.after)
    assert archive(network) == sheet.archive
    assert coins(after) == coins(sheet.before)
    assert_root(network, root)


def changes(before: Dump, after: Dump) -> dict[bytes, Record | None]:
    """The records that differ, by store key."""
    touched = sorted(before.keys() | after.keys())
    return {key: after.get(key) for key in touched if before.get(key) != after.get(key)}


def assert_root(network: Network, root: bytes) -> None:
    """The root is that of all records, and proves each of them."""
    tree = build_tree(network.store.items(STATE_START, STATE_STOP))
    assert root == sparse_root(tree) == network.chain.tip.root
    for key, value in network.store.items(STATE_START, STATE_STOP):
        found, proof = network.view.prove(key)
        assert found == value
        assert sparse_verify(root, key, value, proof)


def expect_refused(network: Network, raw: bytes, code: str) -> None:
    """A transaction that stands in a block all the same gets its code and changes nothing."""
    before, root, archived = network.dump(), network.chain.tip.root, archive(network)
    stood = network.view.location(sha256(raw))
    executed = network.block(raw, codes=[REFUSALS[code].number])
    assert executed.root == network.chain.tip.root == root
    assert network.dump() == before
    assert archive(network) == archived
    tip = network.chain.tip.height
    stands = Location(tip, 0, REFUSALS[code].number) if stood is None else stood
    assert network.view.location(sha256(raw)) == stands
