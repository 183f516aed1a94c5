"""One runner for each kind of transaction: it asserts every side effect, and that nothing else is.

A runner writes down what the state has to be afterwards, sends the transaction through check,
propose, validate, finalize and commit, and compares all tables before and after.
"""

from typing import Any

from msgspec.structs import replace

from ledger.codec import Record
from ledger.crypto import convert_to_x25519, sha256
from ledger.errors import REFUSALS
from ledger.history import Location
from ledger.merkle import sparse_root, sparse_verify
from ledger.messages.contact import Contact
from ledger.messages.state import (
    AWAITING,
    CONSENSUS_ROLE,
    DUTY_ROLE,
    LIST_ROLE,
    NODE_ROLE,
    QUEUED,
    Account,
    Attestation,
    Binding,
    Chainlink,
    Contribution,
    KeyHistory,
    Node,
    PendingContact,
    Pool,
    Queued,
)
from ledger.nodes import new_node
from ledger.state import (
    ACCOUNTS,
    ATTESTATIONS,
    BINDINGS,
    CHAINLINKS,
    CONTACTS,
    EPOCH,
    HISTORIES,
    NODES,
    PENDING,
    POOL,
    QUEUE,
    SETS,
    STATE_START,
    STATE_STOP,
    build_tree,
)
from ledger.steps import run
from tests.factory import BLOCK_MS, FEE, Network, make_registration, public, verify_cached

Dump = dict[bytes, Record]


class Sheet:
    """What the state has to be after a transaction, written down step by step."""

    def __init__(self, network: Network) -> None:
        network.settle()
        self.before = network.dump()
        self.after: dict[bytes, Record] = dict(self.before)
        self.height = network.chain.tip.height + 1
        self.time_ms = network.chain.tip.time_ms + BLOCK_MS

    def get(self, table: Any, key: bytes = b"") -> Any:
        """The record as it will be."""
        return self.after.get(table.letter + key)

    def put(self, table: Any, key: bytes, record: Record) -> None:
        """The record has to be this."""
        self.after[table.letter + key] = record

    def move(self, who: str, amount: int) -> None:
        """The account has to have so much more."""
        account = self.get(ACCOUNTS, public(who)) or Account(0, 0)
        self.put(ACCOUNTS, public(who), replace(account, balance=account.balance + amount))

    def pay(self, who: str, amount: int, fee: int = FEE) -> None:
        """The sender has to have paid, the fee has to be in the pool, the nonce counted."""
        self.move(who, -amount - fee)
        account = self.get(ACCOUNTS, public(who))
        self.put(ACCOUNTS, public(who), replace(account, nonce=account.nonce + 1))
        pool = self.get(POOL)
        self.put(POOL, b"", replace(pool, balance=pool.balance + fee))

    def queue_if_funded(self, node: str) -> None:
        """A node that has its stake has to stand in the queue, at the block's first place."""
        record = self.get(NODES, public(node))
        if sum(c.amount for c in record.contributions) == record.requirement:
            since = replace(record, state=QUEUED, since_ms=self.time_ms, since_height=self.height)
            tested_from = self.get(EPOCH).epoch + 1
            self.put(NODES, public(node), replace(since, tested_from=tested_from))
            place = self.height.to_bytes(8, "big") + bytes(4)
            self.put(QUEUE, place, Queued(public(node)))


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
    executed = network.block(raw)
    after = network.dump()
    assert changes(sheet.before, after) == changes(sheet.before, sheet.after)
    assert coins(after) == coins(sheet.before)
    assert network.view.location(sha256(raw)) == Location(sheet.height, 0, 0)
    assert_root(network, executed.root)


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
    before, root = network.dump(), network.chain.tip.root
    stood = network.view.location(sha256(raw))
    executed = network.block(raw, codes=[REFUSALS[code].number])
    assert executed.root == network.chain.tip.root == root
    assert network.dump() == before
    tip = network.chain.tip.height
    stands = Location(tip, 0, REFUSALS[code].number) if stood is None else stood
    assert network.view.location(sha256(raw)) == stands


# ----------------------------------------------------------------------- one for each kind


def run_transfer(network: Network, sender: str, to: str, amount: int, fee: int = FEE) -> None:
    """`transfer`: coins move, the recipient comes into being."""
    sheet = Sheet(network)
    sheet.pay(sender, amount, fee)
    sheet.move(to, amount)
    expect_applied(network, sheet, network.transfer(sender, to, amount, fee=fee))


def run_register(network: Network, node: str, operator: str, stake: int, **changed: Any) -> None:
    """`register`: node, history, contact data, a binding for each key, a hash chain."""
    sheet = Sheet(network)
    registration = make_registration(node, operator, **changed)
    key = public(node)
    sheet.pay(operator, stake)
    history = sheet.get(HISTORIES, key) or KeyHistory(0, 0, 0)
    sheet.put(HISTORIES, key, replace(history, life=history.life + 1))
    sheet.put(CONTACTS, key, registration.contact)
    roles = (
        (NODE_ROLE, registration.node),
        (DUTY_ROLE, registration.duty_key),
        (LIST_ROLE, registration.list_key),
        (CONSENSUS_ROLE, registration.consensus_key),
    )
    for role, role_key in roles:
        if role_key:
            sheet.put(BINDINGS, role_key, Binding(role, key))
    if registration.consensus_key:
        address = sha256(registration.consensus_key)[:20]
        sheet.put(BINDINGS, address, Binding(CONSENSUS_ROLE, key))
    if registration.list_key and sheet.get(CHAINLINKS, registration.list_key) is None:
        sheet.put(CHAINLINKS, registration.list_key, Chainlink(registration.list_tip, 0))
    requirement = network.params.staking_requirement
    contribution = Contribution(public(operator), registration.beneficiary, stake, 0)
    record = new_node(
        life=history.life + 1,
        state=AWAITING,
        since_ms=sheet.time_ms,
        since_height=sheet.height,
        registered_height=sheet.height,
        operator=public(operator),
        fee=registration.fee,
        requirement=requirement,
        contributions=(contribution,),
        reserved=registration.reserved,
        duty_key=registration.duty_key,
        list_key=registration.list_key,
        list_tip=registration.list_tip,
        consensus_key=registration.consensus_key,
        x25519=convert_to_x25519(key),
        registered_epoch=sheet.get(EPOCH).epoch,
    )
    sheet.put(NODES, key, record)
    sheet.queue_if_funded(node)
    expect_applied(network, sheet, network.register(node, operator, stake, **changed))


def run_contribute(network: Network, who: str, amount: int, node: str = "node") -> None:
    """`contribute`: stake is added, a reserved place that it takes is closed."""
    sheet = Sheet(network)
    sheet.pay(who, amount)
    record = sheet.get(NODES, public(node))
    added = Contribution(public(who), public(who), amount, 0)
    kept = tuple(place for place in record.reserved if place.account != public(who))
    changed = replace(record, contributions=(*record.contributions, added), reserved=kept)
    sheet.put(NODES, public(node), changed)
    sheet.queue_if_funded(node)
    expect_applied(network, sheet, network.contribute(who, amount, node))


def run_withdraw(network: Network, who: str, node: str = "node") -> None:
    """`withdraw`: the whole stake comes back."""
    sheet = Sheet(network)
    record = sheet.get(NODES, public(node))
    own = [c for c in record.contributions if c.account == public(who)]
    kept = tuple(c for c in record.contributions if c.account != public(who))
    sheet.pay(who, 0)
    sheet.move(who, own[0].amount)
    sheet.put(NODES, public(node), replace(record, contributions=kept))
    expect_applied(network, sheet, network.withdraw(who, node))


def run_update_contact(network: Network, node: str, sequence: int, contact: Contact) -> None:
    """`update_contact`: the number counts at once, the contact data waits for the epoch's end."""
    sheet = Sheet(network)
    key = public(node)
    sheet.put(HISTORIES, key, replace(sheet.get(HISTORIES, key), sequence=sequence))
    pending = sheet.get(PENDING, key)
    changed = 1 if pending is None else pending.changes + 1
    sheet.put(PENDING, key, PendingContact(changed, contact))
    raw = network.update_contact(node, sequence, contact=contact)
    expect_applied(network, sheet, raw)


def run_attest(network: Network, index: int) -> None:
    """`attest`: signature and reveal are kept, the hash chain goes on by one link."""
    network.attesting = False
    sheet = Sheet(network)
    raw = network.attest(index)
    body = network.chain.decode(raw).body
    seat = sheet.get(SETS).current[index].list_key
    link = sheet.get(CHAINLINKS, seat)
    assert sha256(body.reveal) == link.value
    sheet.put(CHAINLINKS, seat, Chainlink(body.reveal, link.accepted + 1))
    sheet.put(ATTESTATIONS, bytes([index]), Attestation(body.reveal, body.signature))
    expect_applied(network, sheet, raw)
