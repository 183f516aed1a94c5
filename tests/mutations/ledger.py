"""Mutations of what a ledger reads: transactions, blocks, genesis files, snapshots."""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, Final

from msgspec.structs import replace

from ledger.chain import Chain
from ledger.codec import encode
from ledger.crypto import KeyPair, sha256, sign, signing_bytes, verify
from ledger.errors import REFUSALS, Diverged, Refusal
from ledger.genesis import load_genesis
from ledger.history import MANIFEST, Manifest, iterate_chunks, make_manifest, restore
from ledger.messages import tags
from ledger.messages.blocks import BLOCK, Block, inputs_hash, seal_bytes
from ledger.messages.genesis import NEW_SWARM, GenesisNode
from ledger.replay import check_outcome, check_sealed, execute_block
from ledger.state import STATE_START, STATE_STOP
from ledger.steps import run
from ledger.store import MemoryStore
from ledger.transactions import TX_KINDS
from ledger.transactions.envelope import Transaction
from ledger.types import ZERO_HASH
from registry.client.checks import read_genesis
from tests.factory import (
    QUARTER,
    START_MS,
    Network,
    attestor_roles,
    keys,
    make_contact,
    make_genesis,
    pair_of,
    places,
    public,
    verify_cached,
)
from tests.ledger.refusals.encodings import values_of
from tests.ledger.refusals.kinds import CODES, CONTACT_CODES
from tests.ledger.refusals.rows import code_of
from tests.life import (
    current,
    fork_evidence,
    header_evidence,
    judge,
    report,
    running,
    seats,
    set_attestors,
    set_keys,
    set_params,
    set_successor,
    townsfolk,
    vote_evidence,
)
from tests.mutations.engine import Subject, Target, mutate, of_records, packed
from tests.registry.client import factory as client_factory

V6: Final = bytes.fromhex("26200000000000000000000000000001")

BLOCKS: Final = frozenset(
    ("not_canonical", "too_large", "block_height", "block_time", "block_too_large", "block_link")
) | {"block_seal", "block_inputs", "block_transaction"}
GENESIS: Final = CONTACT_CODES | {
    *("not_canonical", "too_large", "bad_genesis", "bad_parameter", "bad_relation"),
    "inheritance_missing",
}
SNAPSHOT: Final = frozenset(("not_canonical", "too_large", "bad_snapshot"))

# ---------------------------------------------------------------------------- transactions


def network_of(seed: int) -> Network:
    """Nodes that wait for stake, contributors, a reserved place, and a header to attest.

    Beside them active nodes that have earned rewards and can test each other.
    """
    network = Network(make_genesis(nodes=townsfolk()))
    network.attesting = False
    network.end_epoch()
    network.block(
        network.register("node", "alice", QUARTER),
        network.register("node 2", "alice", QUARTER, reserved=places(("frank", 7))),
    )
    network.block(*[network.contribute(who, 2**34 + seed) for who in ("bob", "carol")])
    return network


def transactions_of(network: Network, kind: str) -> list[bytes]:
    """Good transactions of a kind."""
    make: dict[str, Callable[[], list[bytes]]] = {
        "transfer": lambda: [
            network.transfer("alice", "bob", 300),
            network.transfer("dave", "a stranger", 2**40, fee=70_000),
        ],
        "register": lambda: [
            network.register("node 3", "dave", QUARTER, contact=make_contact(ipv6=V6)),
            network.register(
                *("node 4", "erin", QUARTER),
                reserved=places(("bob", 7), ("carol", 2**35)),
                **attestor_roles("node 4"),
            ),
        ],
        "contribute": lambda: [
            network.contribute("dave", 2**34),
            network.contribute("frank", 7, "node 2"),
        ],
        "withdraw": lambda: [network.withdraw("bob"), network.withdraw("carol")],
        "update_contact": lambda: [
            network.update_contact("node", 70_000),
            network.update_contact("node 2", contact=make_contact(ipv6=V6)),
        ],
        "attest": lambda: [network.attest(index) for index in range(3)],
        "request_unlock": lambda: [
            network.request_unlock("dave", "town 0"),
            network.request_unlock("alice", "node 2"),
        ],
        "claim_rewards": lambda: [
            network.claim_rewards("dave", "town 0"),
            network.claim_rewards("erin", "town 1", fee=70_000),
        ],
        "set_keys": lambda: [
            set_keys(network, "node"),
            set_keys(network, "node 2", 70_000, **attestor_roles("node 2")),
        ],
        "judge": lambda: [
            judge(network, "town 0", 5),
            judge(network, "town 1", 33, running(network) - 1, count=5),
        ],
        "report": lambda: [
            report(network, "dave", vote_evidence(network, "town 2", node="town 0")),
            report(network, "erin", header_evidence(network, current(network)[0].list_key)),
            report(network, "frank", fork_evidence(network, current(network)[1].list_key)),
        ],
        "set_attestors": lambda: [
            set_attestors(network, seats(network, "attestor 3", kept=current(network))),
            set_attestors(network, seats(network, "attestor 4", kept=current(network)[1:]), "dave"),
        ],
        "set_params": lambda: [
            set_params(network, minimum_fee=70_000),
            set_params(network, "dave", reward_rate=0, bounty_cap=2**40),
        ],
        "set_successor": lambda: [
            set_successor(network),
            set_successor(network, "dave", 32 * b"\1", fee=70_000),
        ],
    }
    return make[kind]()


class Ledger:
    """Takes transactions as a pool does, and asks a block for its opinion too."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._stored, self._tip = dict(network.store.items()), network.chain.tip

    def take(self, raw: bytes) -> bytes:
        """Return the transaction if pool and block take it, which they have to agree on."""
        chain = self._network.chain
        tx = chain.decode(raw)
        # looked at even if nobody signed it: whoever has an account may sign what he likes
        checked = code_of(chain.peek, tx)
        code = code_of(self._verify, tx) or checked
        block = self._network.input(raw)
        executed = run(chain.finalize(block), verify_cached)
        assert executed.codes == (REFUSALS[code].number if code else 0,), code
        if code:
            raise_again(chain, tx, code)
        assert encode(values_of(raw)) == raw
        return tx.raw

    def _verify(self, tx: Transaction) -> None:
        if not all(map(verify, self._network.chain.signatures(tx))):
            raise Refusal("bad_signature")

    def check(self) -> None:
        """Nothing was written, and what counts as sent is as before."""
        network = self._network
        assert dict(network.store.items()) == self._stored
        assert network.chain.tip == self._tip
        network.chain.check(network.chain.decode(network.transfer("leo", "bob", nonce=0)))


def raise_again(chain: Chain, tx: Transaction, code: str) -> None:
    """Refuse with a code that was seen before, with its values where the rules give them."""
    if code == "bad_signature":
        raise Refusal(code)
    chain.signatures(tx)
    chain.peek(tx)


def transactions(kind: str, seed: int) -> Subject:
    """Transactions of one kind, changed after they were signed."""
    network = network_of(seed)
    good = transactions_of(network, kind)
    ledger = Ledger(network)
    samples = list(map(packed, good))
    bodies = [network.chain.decode(raw).body for raw in good]

    def holds(raw: bytes, _taken: bytes) -> bool:
        if kind != "judge":
            return raw in good
        # a verdict with fewer votes, if they are enough, says the same
        made = network.chain.decode(raw).body
        return any(
            replace(made, votes=body.votes) == body and {*made.votes} <= {*body.votes}
            for body in bodies
        )

    return Subject(
        *(samples, ledger.take, holds, ledger.check),
        of_records(samples, samples),
    )


def signed_envelopes(kind: str, seed: int) -> Subject:
    """Envelopes, changed before their sender signed them."""
    network = network_of(seed)
    good = transactions_of(network, kind)
    sender = pair_of(network.chain.decode(good[0]).sender)

    def sent(envelope: bytes) -> bytes:
        return close(network, envelope, sender)

    ledger = Ledger(network)
    samples = [packed(raw[1:-66]) for raw in good]
    return Subject(
        samples[:1],
        lambda envelope: ledger.take(sent(envelope)),
        lambda envelope, taken: taken == sent(envelope),
        ledger.check,
        of_records(samples[:1], samples),
    )


def close(network: Network, envelope: bytes, sender: KeyPair) -> bytes:
    """A transaction of an envelope, whatever it holds."""
    signature = sign(sender, signing_bytes(tags.TRANSACTION, network.hash, envelope))
    return b"\x92" + envelope + b"\xc4\x40" + signature


def signed_registrations(seed: int) -> Subject:
    """Registrations, changed before every key that they name signed them."""
    network = network_of(seed)
    raw = transactions_of(network, "register")[seed % 2]
    tx = network.chain.decode(raw)
    body, registration = tx.body, tx.body.registration
    proofs = [
        (tags.REGISTRATION, registration.node, body.node_signature),
        (tags.DUTY_KEY, registration.duty_key, body.duty_signature),
        (tags.LIST_KEY, registration.list_key, body.list_signature),
        (tags.CONSENSUS_KEY, registration.consensus_key, body.consensus_signature),
    ]

    def sent(inner: bytes) -> bytes:
        made = raw.replace(encode(registration), inner, 1)
        for tag, key, old in proofs:
            if key:
                new = sign(pair_of(key), signing_bytes(tag, network.hash, inner))
                made = made.replace(old, new, 1)
        return close(network, made[1:-66], pair_of(tx.sender))

    ledger = Ledger(network)
    samples = [packed(encode(registration))]
    return Subject(
        samples,
        lambda inner: ledger.take(sent(inner)),
        lambda inner, taken: taken == sent(inner),
        ledger.check,
        of_records(samples, samples),
    )


def signed_contacts(seed: int) -> Subject:
    """Contact data, changed before its node signed it."""
    network = network_of(seed)
    raw = transactions_of(network, "update_contact")[seed % 2]
    body = network.chain.decode(raw).body
    pair = pair_of(body.update.node)

    def sent(inner: bytes) -> bytes:
        signature = sign(pair, signing_bytes(tags.CONTACT, network.hash, inner))
        made = raw.replace(encode(body.update), inner, 1)
        return made.replace(body.signature, signature, 1)

    ledger = Ledger(network)
    samples = [packed(encode(body.update))]
    return Subject(
        samples,
        lambda inner: ledger.take(sent(inner)),
        lambda inner, taken: taken == sent(inner),
        ledger.check,
        of_records(samples, samples),
    )


# ---------------------------------------------------------------------------------- blocks


def beside(network: Network) -> Network:
    """A replica of the same chain, which may go on otherwise."""
    other = Network(network.genesis)
    for block in network.blocks:
        execute_block(other.chain, block)
    other.attesting = False
    return other


def next_blocks(network: Network) -> list[Block]:
    """Several blocks that the producer could have made next."""
    made = []
    for kinds in (["transfer"], ["attest", "contribute"], []):
        other = beside(network)
        raws = [raw for kind in kinds for raw in transactions_of(other, kind)]
        other.block(*raws)
        made.append(other.blocks[-1])
    return made


class Follower:
    """Takes blocks as a follower does, short of committing them."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._stored, self._tip = dict(network.store.items()), network.chain.tip

    def take(self, raw: bytes) -> bytes:
        """Return the block whose outcome is the one that it states."""
        chain = self._network.chain
        block = BLOCK.decode(raw)
        check_sealed(chain, block)
        run(chain.validate(block.input), verify_cached)
        run(chain.finalize(block.input), verify_cached)
        check_outcome(chain, block)
        assert chain.header() == block.header
        return encode(block)

    def check(self) -> None:
        """Nothing was written, and the next block is still taken."""
        assert dict(self._network.store.items()) == self._stored
        assert self._network.chain.tip == self._tip
        self.take(encode(next_blocks(self._network)[0]))


def blocks(seed: int) -> Subject:
    """Blocks, changed after they were sealed."""
    network = network_of(seed)
    good = list(map(encode, next_blocks(network)))
    follower = Follower(network)
    samples = list(map(packed, good))
    return Subject(
        *(samples, follower.take, lambda raw, _: raw in good, follower.check),
        of_records(samples, samples),
    )


def sealed_blocks(seed: int) -> Subject:
    """Blocks, changed before their producer sealed them."""
    network = network_of(seed)
    good = next_blocks(network)
    follower = Follower(network)

    def mutation(random: Random) -> bytes:
        block = random.choice(BLOCK_CHANGES)(random, random.choice(good), random.choice(good))
        header = block.header
        if random.random() < 0.8:
            header = replace(header, inputs=inputs_hash(block.transactions, block.misbehaviour))
        seal = sign(keys("producer"), seal_bytes(network.hash, header))
        return encode(replace(block, header=header, seal=seal))

    samples = [packed(encode(block)) for block in good]
    return Subject(
        samples, follower.take, lambda raw, taken: raw == taken, follower.check, mutation
    )


BlockChange = Callable[[Random, Block, Block], Block]


def change_transaction(random: Random, block: Block, other: Block) -> Block:
    """One transaction is another one, or none at all."""
    raws = list(block.transactions) or [b""]
    strangers = list(map(packed, (*raws, *other.transactions)))
    place = random.randrange(len(raws))
    raws[place] = mutate(random, packed(raws[place]), random.choice(strangers))
    return replace(block, transactions=tuple(raws))


def change_order(random: Random, block: Block, other: Block) -> Block:
    """Some transactions, also those of another block, in any order."""
    raws = [*block.transactions, *other.transactions]
    chosen = random.sample(raws, random.randrange(len(raws) + 1))
    return replace(block, transactions=tuple(chosen))


def change_header(random: Random, block: Block, other: Block) -> Block:
    """One field of the header is near, far, or that of another block."""
    name = random.choice(block.header.__struct_fields__)
    value = getattr(block.header, name)
    if isinstance(value, int):
        near = max(0, value + random.choice((-(10**6), -100, -1, 1, 100, 10**6)))
        new: Any = random.choice((near, 0, 2**63 - 1, random.randrange(2**63)))
    else:
        new = random.choice((getattr(other.header, name), bytes(32), random.randbytes(32)))
    return replace(block, header=replace(block.header, **{name: new}))


def change_misbehaviour(random: Random, block: Block, other: Block) -> Block:
    """Evidence that nobody knows."""
    return replace(block, misbehaviour=(random.randbytes(random.randrange(100)),))


BLOCK_CHANGES: Final[tuple[BlockChange, ...]] = (
    *(change_transaction, change_order, change_header, change_misbehaviour),
)


# ------------------------------------------------------------------- genesis and snapshots


def genesis_files(seed: int) -> Subject:
    """Genesis files: what is taken is another network, and says one thing."""
    swarms = (0, NEW_SWARM, 7)
    nodes = tuple(
        GenesisNode(
            public(f"node {place}"),
            *(public("alice"), public(f"duty {place}")),
            make_contact(place),
            swarms[(place + seed) % 3],
            START_MS + place if place % 2 else 0,
        )
        for place in range(4)
    )
    accounts = make_genesis().accounts[: 2 + seed]
    full = make_genesis(nodes=tuple(sorted(nodes, key=lambda row: row.node)), accounts=accounts)
    samples = [packed(encode(full)), packed(client_factory.make_genesis())]
    holds = bytes.__eq__
    return Subject(samples, begin, holds, mutation=of_records(samples, samples))


def begin(raw: bytes) -> bytes:
    """Return the genesis with which ledger and client begin."""
    genesis = load_genesis(raw)
    assert read_genesis(raw)[0] == genesis
    chain = Chain(MemoryStore(), raw)
    chain.init()
    assert chain.genesis_hash == sha256(raw)
    return encode(genesis)


class Restorer:
    """Fills stores from snapshots of a state whose root is known."""

    def __init__(self, seed: int) -> None:
        self._network = network_of(seed)
        self._network.end_epoch()
        reader = self._network.view.reader
        self.manifest = make_manifest(reader)
        self.chunk = next(iterate_chunks(reader))
        self._state = dict(reader.items(STATE_START, STATE_STOP))

    def restore(self, manifest: Manifest, chunk: bytes) -> bool:
        """Return whether a store was filled with the state of the chain and nothing else."""
        store, wanted = MemoryStore(), self._network.chain.tip
        try:
            tip = restore(store, self._network.hash, manifest, [chunk], wanted.root)
        except Refusal:
            assert list(store.items()) == []
            raise
        assert tip == replace(wanted, block_hash=ZERO_HASH)
        return dict(store.items(STATE_START, STATE_STOP)) == self._state


def manifests(seed: int) -> Subject:
    """Manifests of snapshots."""
    restorer = Restorer(seed)
    samples = [packed(encode(restorer.manifest))]
    return Subject(
        samples,
        lambda raw: restorer.restore(MANIFEST.decode(raw), restorer.chunk),
        lambda raw, is_whole: raw == samples[0].raw and is_whole,
        mutation=of_records(samples, samples),
    )


def chunks(seed: int) -> Subject:
    """Chunks, in every other seed below a manifest that names them as they are."""
    restorer = Restorer(seed)

    def offer(raw: bytes) -> bool:
        named = (sha256(raw),) if seed % 2 else restorer.manifest.chunks
        return restorer.restore(replace(restorer.manifest, chunks=named), raw)

    samples = [packed(restorer.chunk)]
    return Subject(
        samples,
        offer,
        lambda raw, is_whole: raw == restorer.chunk and is_whole,
        mutation=of_records(samples, samples),
    )


ENVELOPES: Final = tuple(
    kind.name for kind in TX_KINDS if not kind.is_free and kind.name != "register"
)

LEDGER: Final = (
    *(
        Target(f"{kind.name} transactions", partial(transactions, kind.name), 2, 2_500,
               CODES[kind.name])
        for kind in TX_KINDS
    ),
    *(
        Target(f"{kind} envelopes that were signed", partial(signed_envelopes, kind), 2, 1_500,
               CODES[kind])
        for kind in ENVELOPES
    ),
    Target("registrations that were signed", signed_registrations, 2, 2_000, CODES["register"]),
    Target("contacts that were signed", signed_contacts, 2, 2_000, CODES["update_contact"]),
    Target("blocks", blocks, 2, 2_500, BLOCKS),
    Target("blocks that were sealed", sealed_blocks, 2, 1_500, BLOCKS, (Diverged,)),
    Target("genesis files", genesis_files, 4, 1_000, GENESIS),
    Target("snapshot manifests", manifests, 2, 1_500, SNAPSHOT),
    Target("snapshot chunks", chunks, 2, 1_500, SNAPSHOT),
)  # fmt: skip
