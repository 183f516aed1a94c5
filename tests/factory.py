"""A minimal valid thing is one call away, so that a test breaks exactly one thing.

    keys               a key pair by name, the same one each time
    make_genesis       a small network: a few rich accounts, three attestors, epochs of 10 s
    founding           nodes for a genesis file, active from the start
    make_contact, make_registration, sign_registration, paid, free
    links              the hash chain of an attestor
    verify_cached      verification that remembers, since tests see the same bytes often
    Network            a Chain that is driven block by block, and checked after each

A name stands for a key wherever one is wanted: `network.transfer("alice", "bob", 5)`.
"""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Final

from msgspec.structs import replace

from ledger import crypto
from ledger.chain import Chain, Executed
from ledger.codec import Record, encode
from ledger.crypto import KeyPair, Signed, key_pair, sha256, sign, signing_bytes
from ledger.history import TIP_KEY, journal_key
from ledger.inheritance import Inheritance
from ledger.invariants import find_violations
from ledger.merkle import sparse_root
from ledger.messages import tags
from ledger.messages.blocks import Block, BlockInput, block_hash, seal_bytes
from ledger.messages.contact import Contact, Version
from ledger.messages.genesis import (
    COMET,
    FIXED,
    GENESIS_VERSION,
    NEW_SWARM,
    SOLO,
    Genesis,
    GenesisAccount,
    GenesisAttestor,
    GenesisNode,
)
from ledger.messages.lists import ListHeader, decode_header, header_signing_bytes
from ledger.messages.state import Node
from ledger.messages.tables import (
    ATTESTATIONS,
    CHAINLINKS,
    DRAFT,
    EPOCH,
    NODES,
    SETS,
    TABLES,
    Table,
)
from ledger.messages.transactions import (
    VERSION,
    Attest,
    ClaimRewards,
    ContactUpdate,
    Contribute,
    Envelope,
    Free,
    Paid,
    Place,
    Register,
    Registration,
    RequestUnlock,
    Transfer,
    UpdateContact,
    Withdraw,
)
from ledger.params import Params, preset
from ledger.replay import execute_block
from ledger.state import STATE_START, STATE_STOP, State, build_tree
from ledger.steps import run
from ledger.store import MemoryStore, Store
from ledger.transactions import TX_KINDS
from ledger.types import COIN
from ledger.views import View

START_MS: Final = 1_700_000_000_000
DAY_MS: Final = 86_400_000
BLOCK_MS: Final = 100
"""From one block of a `Network` to the next: an epoch has room for many."""
EPOCH_MS: Final = 10_000
REQUIREMENT: Final = 100 * COIN
"""Stake of a funded node of the `minimal` preset."""
QUARTER: Final = 25 * COIN
"""The least that an operator stakes."""
FEE: Final = 1_000
RICH: Final = 1_000_000 * COIN
"""What each account of the genesis file has."""

SHORT_TIMES: Final = {
    "valid_ms": 60_000,
    "trust_ms": 60_000,
    "report_margin_ms": 1_000,
    "evidence_ms": 61_000,
    "unbonding_ms": 61_001,
}
"""Parameters under which a stake is paid out a minute after its node has left."""

PEOPLE: Final = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan",
                 "judy", "kim", "leo")  # fmt: skip
ATTESTORS: Final = ("attestor 0", "attestor 1", "attestor 2")
LINKS: Final = 64
"""Links of an attestor's hash chain."""

TAG: Final = {kind.name: kind.tag for kind in TX_KINDS}


# ---------------------------------------------------------------------------------- keys

_pairs: dict[bytes, KeyPair] = {}


@cache
def keys(name: str) -> KeyPair:
    """The key pair of a name."""
    pair = key_pair(sha256(name.encode()))
    _pairs[pair.public] = pair
    return pair


def public(who: str | bytes) -> bytes:
    """The key of a name; a key stays what it is."""
    return keys(who).public if isinstance(who, str) else who


def pair_of(key: bytes) -> KeyPair:
    """The pair of a public key that some name stands for."""
    return _pairs[key]


@cache
def links(list_key: bytes, length: int = LINKS) -> tuple[bytes, ...]:
    """The hash chain of an attestor: each value is the SHA-256 of the one before, last the tip."""
    values = [sha256(b"links" + list_key)]
    for _ in range(length):
        values.append(sha256(values[-1]))
    return tuple(values)


@lru_cache(maxsize=200_000)
def _verify(item: Signed) -> bool:
    return crypto.verify(item)


def verify_cached(items: Sequence[Signed]) -> list[bool]:
    """Verify like `crypto.verify_all`; the same question is asked of the library once."""
    return [_verify(item) for item in items]


# ------------------------------------------------------------------------------- records


def make_genesis(
    params: Mapping[str, int] | tuple[int, ...] | None = None, **changes: Any
) -> Genesis:
    """A genesis file; `params` are changes of the `minimal` preset, or all values as they are."""
    values = params if isinstance(params, tuple) else tuple(preset("minimal", params))
    genesis = Genesis(
        version=GENESIS_VERSION,
        name=b"test-net",
        start_ms=START_MS,
        engine=SOLO,
        producer=public("producer"),
        policy=FIXED,
        seed=sha256(b"first seed"),
        params=values,
        pool=50 * COIN,
        attestors=tuple(
            GenesisAttestor(key, 1, links(key)[-1]) for key in sorted(map(public, ATTESTORS))
        ),
        recovery=(),
        accounts=tuple(GenesisAccount(key, RICH) for key in sorted(map(public, PEOPLE))),
        nodes=(),
    )
    made = replace(genesis, **changes)
    return with_validators(made) if made.engine == COMET else made


def with_validators(genesis: Genesis) -> Genesis:
    """The file with a consensus key for each attestor that has none."""
    seats = [
        row if row.consensus_key else replace(row, consensus_key=validator_of(row.list_key))
        for row in genesis.attestors
    ]
    return replace(genesis, attestors=tuple(seats))


def validator_of(list_key: bytes) -> bytes:
    """The consensus key of a founder."""
    return public(f"{list_key.hex()} consensus")


def founding(
    *names: str, operator: str | bytes = "alice", **changes: Any
) -> tuple[GenesisNode, ...]:
    """Nodes that a genesis file begins with, by ascending key."""
    rows = [
        GenesisNode(
            node=public(name),
            operator=public(operator),
            duty_key=public(f"{name} duty"),
            contact=make_contact(),
            swarm_id=NEW_SWARM,
            exit_ms=0,
        )
        for name in names
    ]
    return tuple(replace(row, **changes) for row in sorted(rows, key=_node))


def make_contact(last: int = 8, **changes: Any) -> Contact:
    """Contact data with the IPv4 address 5.6.7.`last`."""
    contact = Contact(
        ipv4=bytes((5, 6, 7, last)),
        ipv6=b"",
        storage_port=22021,
        router_port=22020,
        storage_version=Version(2, 11, 0),
        router_version=Version(11, 6, 0),
    )
    return replace(contact, **changes)


def make_registration(node: str = "node", operator: str = "alice", **changes: Any) -> Registration:
    """The registration of a node's first life, without list and consensus keys."""
    registration = Registration(
        node=public(node),
        life=1,
        operator=public(operator),
        beneficiary=public(operator),
        fee=500,
        reserved=(),
        contact=make_contact(),
        duty_key=public(f"{node} duty"),
        list_key=b"",
        list_tip=b"",
        consensus_key=b"",
        expiry_ms=START_MS + DAY_MS,
    )
    return replace(registration, **changes)


def attestor_roles(node: str) -> dict[str, Any]:
    """The fields of a registration that make the node able to attest and to sign blocks."""
    list_key = public(f"{node} list")
    return {
        "list_key": list_key,
        "list_tip": links(list_key)[-1],
        "consensus_key": public(f"{node} consensus"),
    }


def places(*rows: tuple[str, int]) -> tuple[Place, ...]:
    """Reserved places by ascending account."""
    return tuple(sorted((Place(public(who), amount) for who, amount in rows), key=_account))


def _account(place: Place) -> bytes:
    return place.account


def _node(row: GenesisNode) -> bytes:
    return row.node


def sign_registration(
    genesis_hash: bytes, registration: Registration, stake: int = REQUIREMENT, **changes: Any
) -> Register:
    """The body of `register`, signed by every key that the registration names."""
    payload = encode(registration)

    def proof(tag: bytes, key: bytes) -> bytes:
        if key not in _pairs:
            return b"" if not key else bytes(64)
        return sign(pair_of(key), signing_bytes(tag, genesis_hash, payload))

    body = Register(
        registration=registration,
        node_signature=proof(tags.REGISTRATION, registration.node),
        duty_signature=proof(tags.DUTY_KEY, registration.duty_key),
        list_signature=proof(tags.LIST_KEY, registration.list_key),
        consensus_signature=proof(tags.CONSENSUS_KEY, registration.consensus_key),
        stake=stake,
    )
    return replace(body, **changes)


def paid(genesis_hash: bytes, sender: str, envelope: Envelope[Any]) -> bytes:
    """The bytes of a transaction that `sender` signs."""
    message = signing_bytes(tags.TRANSACTION, genesis_hash, encode(envelope))
    return encode(Paid(envelope, sign(keys(sender), message)))


def free(kind: str, body: Record) -> bytes:
    """The bytes of a free transaction."""
    return encode(Free(VERSION, TAG[kind], body))


# ------------------------------------------------------------------------------- network


class Network:
    """A chain that goes on block by block; what a kind is called makes such a transaction.

    Attestors attest each header in the first block that may carry it, unless `attesting` is
    False. After each block every invariant is checked, unless `checking` is False.
    """

    def __init__(
        self,
        genesis: Genesis | None = None,
        store: Store | None = None,
        inheritance: Inheritance | None = None,
        **params: int,
    ) -> None:
        self.genesis = genesis or make_genesis(params)
        self.raw = encode(self.genesis)
        self.store: Store = MemoryStore() if store is None else store
        self.chain = Chain(self.store, self.raw)
        self.chain.init(inheritance)
        self.hash = self.chain.genesis_hash
        self.blocks: list[Block] = []
        self.attesting = True
        self.checking = True
        self._sent: dict[bytes, int] = {}

    # ----------------------------------------------------------------- reading

    @property
    def view(self) -> View:
        """The newest committed height."""
        return self.chain.view()

    @property
    def state(self) -> State:
        """The newest committed state."""
        return self.view.state

    @property
    def params(self) -> Params:
        """The parameters in force."""
        return self.state.params()

    @property
    def header(self) -> ListHeader:
        """The newest header."""
        return decode_header(self.chain.newest_header().header)

    def node(self, name: str = "node") -> Node:
        """The record of a node."""
        return self.state.one(NODES, public(name))

    def balance(self, who: str) -> int:
        """What an account can spend."""
        return self.state.account(public(who)).balance

    def dump(self) -> dict[bytes, Record]:
        """Every record of the state by store key, read from the store and nowhere else."""
        letters: dict[bytes, Table[Record]] = {table.letter: table for table in TABLES}
        rows = self.store.items(STATE_START, STATE_STOP)
        return {key: letters[key[:1]].codec.decode(raw) for key, raw in rows}

    # ------------------------------------------------------------------ blocks

    def input(
        self, *raws: bytes, ms: int = BLOCK_MS, misbehaviour: tuple[bytes, ...] = ()
    ) -> BlockInput:
        """A block to come, `ms` after the newest one."""
        height, time_ms = self.chain.tip.height + 1, self.chain.tip.time_ms + ms
        return BlockInput(height, time_ms, self.genesis.producer, misbehaviour, raws)

    def block(
        self,
        *raws: bytes,
        ms: int = BLOCK_MS,
        codes: Sequence[int] | None = None,
        misbehaviour: tuple[bytes, ...] = (),
    ) -> Executed:
        """Finalize and commit a block; all its transactions are good, or have these codes."""
        added = tuple(self.attestations()) if self.attesting else ()
        made = self.input(*added, *raws, ms=ms, misbehaviour=misbehaviour)
        executed = run(self.chain.finalize(made), verify_cached)
        assert executed.codes[len(added) :] == tuple(codes or [0] * len(raws))
        self.blocks.append(self.chain.commit(self.seal()))
        self._sent.clear()
        if self.checking:
            assert find_violations(self.state) == []
        return executed

    def seal(self) -> bytes:
        """The producer's seal of the finalized block."""
        return sign(keys("producer"), seal_bytes(self.hash, self.chain.header()))

    def settle(self) -> None:
        """Go on to where a block without transactions changes nothing: no draft, all attested."""
        while self.state.get(DRAFT) is not None or (self.attesting and self.attestations()):
            self.block()

    def end_epoch(self, late_ms: int = 0) -> ListHeader:
        """End the running epoch, at once or `late_ms` later, and return the header it leaves."""
        self.settle()
        end = self.state.one(EPOCH).start_ms + self.params.epoch_ms
        executed = self.block(ms=max(1, end - self.chain.tip.time_ms + late_ms))
        assert executed.ended_epoch
        return self.header

    def reopen(self) -> Chain:
        """Open the chain anew, as a process that starts does."""
        self.chain = Chain(self.store, self.raw)
        return self.chain

    def rewrite(self, changes: Mapping[bytes, Record | None]) -> None:
        """Put records into the committed state that no transaction could put there."""
        raws = {key: None if row is None else encode(row) for key, row in changes.items()}
        self.store.write(raws)
        root = sparse_root(build_tree(self.store.items(STATE_START, STATE_STOP)))
        tip = replace(self.chain.tip, root=root)
        if tip.height:
            block = self.blocks.pop()
            self.blocks.append(replace(block, header=replace(block.header, state_root=root)))
            tip = replace(tip, block_hash=block_hash(self.blocks[-1].header))
            self.store.write({journal_key(tip.height): encode(self.blocks[-1])})
        self.store.write({TIP_KEY: encode(tip)})
        self.reopen()

    # ------------------------------------------------------------ transactions

    def take_back(self, sender: str) -> None:
        """The last transaction made for `sender` will not be in a block: its nonce is free."""
        self._sent[public(sender)] -= 1

    def forget_sent(self) -> None:
        """Nothing that was made is on its way any more: nonces are those of the state."""
        self._sent.clear()

    def paid(self, kind: str, sender: str, body: Record, /, **changes: Any) -> bytes:
        """A transaction of `sender` with the next nonce; `changes` are fields of its envelope."""
        key = public(sender)
        nonce = self._sent.get(key, self.state.account(key).nonce)
        self._sent[key] = nonce + 1
        envelope: Envelope[Any] = Envelope(
            version=VERSION,
            kind=TAG[kind],
            sender=key,
            nonce=nonce,
            fee=FEE,
            expiry=self.chain.tip.height + 100,
            body=body,
        )
        return paid(self.hash, sender, replace(envelope, **changes))

    def transfer(self, sender: str, to: str | bytes, amount: int = 5, **changes: Any) -> bytes:
        """A `transfer`."""
        return self.paid("transfer", sender, Transfer(public(to), amount), **changes)

    def register(
        self,
        node: str = "node",
        operator: str = "alice",
        stake: int = REQUIREMENT,
        envelope: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> bytes:
        """A `register`; `changes` are fields of the registration."""
        registration = make_registration(node, operator, **changes)
        body = sign_registration(self.hash, registration, stake)
        return self.paid("register", operator, body, **(envelope or {}))

    def contribute(
        self,
        who: str,
        amount: int,
        node: str = "node",
        life: int = 1,
        envelope: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> bytes:
        """A `contribute` whose beneficiary is the contributor himself."""
        body = Contribute(public(node), life, amount, public(who))
        return self.paid("contribute", who, replace(body, **changes), **(envelope or {}))

    def withdraw(self, who: str, node: str = "node", life: int = 1, **envelope: Any) -> bytes:
        """A `withdraw`; what is changed is the envelope."""
        return self.paid("withdraw", who, Withdraw(public(node), life), **envelope)

    def request_unlock(
        self, who: str = "alice", node: str = "node", life: int = 1, **envelope: Any
    ) -> bytes:
        """A `request_unlock`; what is changed is the envelope."""
        return self.paid("request_unlock", who, RequestUnlock(public(node), life), **envelope)

    def claim_rewards(
        self, who: str = "alice", node: str = "node", life: int = 1, **envelope: Any
    ) -> bytes:
        """A `claim_rewards`; what is changed is the envelope."""
        return self.paid("claim_rewards", who, ClaimRewards(public(node), life), **envelope)

    def update_contact(
        self, node: str = "node", sequence: int = 1, signer: str = "", **changes: Any
    ) -> bytes:
        """An `update_contact` to 5.6.7.9; `changes` are fields of what the node signs."""
        update = ContactUpdate(public(node), 1, sequence, make_contact(9))
        update = replace(update, **changes)
        message = signing_bytes(tags.CONTACT, self.hash, encode(update))
        return free("update_contact", UpdateContact(update, sign(keys(signer or node), message)))

    def attest(self, index: int, signer: str = "", **changes: Any) -> bytes:
        """An `attest` of the newest header with the next link; `changes` are fields of it."""
        header = self.chain.newest_header().header
        seats = self.state.one(SETS).current
        seat = seats[min(index, len(seats) - 1)].list_key
        pair = keys(signer) if signer else pair_of(seat)
        accepted = self.state.one(CHAINLINKS, seat).accepted
        body = Attest(
            epoch=decode_header(header).epoch,
            index=index,
            reveal=links(seat)[-2 - accepted],
            signature=sign(pair, header_signing_bytes(self.hash, header)),
        )
        return free("attest", replace(body, **changes))

    def attestations(self) -> list[bytes]:
        """An `attest` of each seat that can still send one in the next block."""
        epoch = self.state.one(EPOCH)
        last = epoch.start_height + self.params.attest_blocks
        done = [key[0] for key, _ in self.state.items(ATTESTATIONS)]
        seats = range(len(self.state.one(SETS).current))
        is_open = self.chain.tip.height < last
        return [self.attest(index) for index in seats if is_open and index not in done]


def replay(genesis: bytes, blocks: Sequence[Block], store: Store | None = None) -> Chain:
    """Execute blocks from genesis, or go on from where a store is."""
    chain = Chain(MemoryStore() if store is None else store, genesis)
    chain.init()
    for block in blocks[chain.tip.height :]:
        execute_block(chain, block)
    return chain


def next_seed(seed: bytes, *reveals: tuple[int, bytes]) -> bytes:
    """The rule for the next seed, written down a second time."""
    data = tags.SEED.ljust(32, b"\0") + seed
    for index, reveal in reveals:
        data += bytes([index]) + reveal
    return sha256(data)
