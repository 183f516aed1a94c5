"""Refusals of blocks: where they stand, how much they carry, what they extend."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import sign
from ledger.messages.blocks import BLOCK, Block, BlockInput, seal_bytes
from ledger.replay import check_sealed, execute_block
from ledger.steps import run
from tests.factory import Network, keys, public, verify_cached
from tests.ledger.refusals.envelope import other_network
from tests.ledger.refusals.rows import Done, Row, Scene, after

Step = Callable[[Network, Any], object]


@dataclass(frozen=True)
class Offered:
    """A block of `make` is given to `step`."""

    step: Step
    make: Callable[[Network], BlockInput | Block]

    def __call__(self, network: Network) -> object:
        return self.step(network, self.make(network))


def propose(network: Network, block: BlockInput) -> object:
    """Propose at the place of `block`."""
    steps = network.chain.propose(block.height, block.time_ms, block.proposer, [])
    return run(steps, verify_cached)


def validate(network: Network, block: BlockInput) -> object:
    """Vote on a block."""
    run(network.chain.validate(block), verify_cached)
    return None


def finalize(network: Network, block: BlockInput) -> object:
    """Execute a decided block."""
    return run(network.chain.finalize(block), verify_cached)


def take(network: Network, block: Block) -> object:
    """Look at a sealed block that another replica handed over."""
    check_sealed(network.chain, block)
    return None


def replay(network: Network, block: Block) -> object:
    """Execute a block of a journal."""
    return execute_block(network.chain, block)


def place(step: Step, height: int, ms: int) -> Offered:
    """A block `height` above the newest one and `ms` after it."""

    def make(network: Network) -> BlockInput:
        tip = network.chain.tip
        return network.input()._replace(height=tip.height + height, time_ms=tip.time_ms + ms)

    return Offered(step, make)


PLACES = {
    "the same height again": ("block_height", 0, 100),
    "a height left out": ("block_height", 2, 100),
    "the height before": ("block_height", -1, 100),
    "the same time again": ("block_time", 1, 0),
    "a millisecond before": ("block_time", 1, -1),
    "past the end of time": ("block_time", 1, 2**63),
}

STEPS = {"proposal": propose, "vote": validate, "decided block": finalize}


def blocks(number: int) -> Scene:
    """So many blocks without transactions."""
    return after(*[Network.block] * number)


def transfers(count: int) -> Offered:
    """A vote on a block of so many transfers."""

    def make(network: Network) -> BlockInput:
        return network.input(*[network.transfer("alice", "bob") for _ in range(count)])

    return Offered(validate, make)


def updates(network: Network) -> BlockInput:
    """A block of two free transactions."""
    return network.input(*[network.update_contact(f"node {i}") for i in range(2)])


def two_nodes(network: Network) -> None:
    """Two nodes that can send contact data."""
    network.block(*[network.register(f"node {i}") for i in range(2)])
    network.settle()


def quiet(network: Network) -> None:
    """Attestors send nothing by themselves: what they send is free too."""
    network.attesting = False
    network.settle()


def next_block(network: Network) -> Block:
    """The block that a replica beside this one made next."""
    beside = Network(network.genesis)
    for block in network.blocks:
        execute_block(beside.chain, block)
    beside.attesting = False
    beside.block(beside.transfer("alice", "bob"))
    return beside.blocks[-1]


def forged(**changes: Any) -> Offered:
    """Execute the next block with something else in its header."""

    def make(network: Network) -> Block:
        block = next_block(network)
        return replace(block, header=replace(block.header, **changes))

    return Offered(replay, make)


def sealed(change: Callable[[Network, Block], Block]) -> Offered:
    """The next block, changed after its producer had sealed it; it was good before."""

    def make(network: Network) -> Block:
        good = next_block(network)
        check_sealed(network.chain, good)
        return change(network, good)

    return Offered(take, make)


def sealed_by(name: str, genesis_hash: bytes = b"") -> Offered:
    """The next block, sealed by this key, or for this network."""

    def change(network: Network, block: Block) -> Block:
        message = seal_bytes(genesis_hash or network.hash, block.header)
        return replace(block, seal=sign(keys(name), message))

    return sealed(change)


def by_alice(network: Network, block: Block) -> Block:
    """The block as alice's own."""
    header = replace(block.header, proposer=public("alice"))
    seal = sign(keys("alice"), seal_bytes(network.hash, header))
    return replace(block, header=header, seal=seal)


def for_alice(network: Network, block: Block) -> Block:
    """The block as alice's, which the producer sealed all the same."""
    header = replace(block.header, proposer=public("alice"))
    seal = sign(keys("producer"), seal_bytes(network.hash, header))
    return replace(block, header=header, seal=seal)


def one_bad(network: Network) -> BlockInput:
    """A block whose second transaction has no money behind it."""
    good, bad = network.transfer("alice", "bob"), network.transfer("a stranger", "bob")
    return network.input(good, bad)


SIZE = len(Network().transfer("alice", "bob"))

BLOCKS: dict[str, Row] = {
    f"{what}: {where}": Done(code, place(step, height, ms), blocks(2))
    for what, step in STEPS.items()
    for where, (code, height, ms) in PLACES.items()
}

BLOCKS |= {
    "a time of 64 bits": Done(
        "block_time", Offered(finalize, lambda n: n.input()._replace(time_ms=2**63))
    ),
    "one transaction too many": Done(
        "block_too_large", transfers(4), params={"max_block_transactions": 3}
    ),
    "one byte too many": Done(
        "block_too_large",
        transfers(1_000 // SIZE + 1),
        params={"max_block_bytes": 1_000, "max_transaction_bytes": 500},
    ),
    "one free transaction too many": Done(
        "block_too_large",
        Offered(validate, updates),
        after(quiet, two_nodes),
        {"max_free_transactions": 1},
    ),
    "a vote on a bad transaction": Done("block_transaction", Offered(validate, one_bad)),
    "a vote on bytes that are no transaction": Done(
        "block_transaction", Offered(validate, lambda n: n.input(b"\x00"))
    ),
    "block of another history": Done("block_link", forged(previous=bytes(32)), blocks(1)),
    "block that was executed already": Done(
        "block_link", Offered(replay, lambda n: n.blocks[-1]), blocks(2)
    ),
    "first block of another network": Done(
        "block_link",
        lambda n: execute_block(Network(attest_blocks=4).chain, n.blocks[0]),
        blocks(1),
    ),
    "forged height": Done("block_link", forged(height=9), blocks(1)),
    "forged time": Done("block_time", forged(time_ms=1), blocks(1)),
    "forged inputs": Done("block_inputs", forged(inputs=bytes(32)), blocks(1)),
    "block that leaves a transaction out": Done(
        "block_inputs",
        Offered(replay, lambda n: replace(next_block(n), transactions=())),
        blocks(1),
    ),
    "block without a seal": Done("block_seal", sealed(lambda n, b: replace(b, seal=b""))),
    "block that another key sealed": Done("block_seal", sealed_by("alice")),
    "block sealed for another network": Done("block_seal", sealed_by("producer", other_network())),
    "block whose seal is of another block": Done(
        "block_seal", sealed(lambda n, b: replace(b, seal=n.blocks[-1].seal)), blocks(1)
    ),
    "block that another producer made and sealed": Done("block_seal", sealed(by_alice)),
    "block of another producer, with the right one's seal": Done("block_seal", sealed(for_alice)),
    "sealed block that does not follow": Done(
        "block_link", sealed(lambda n, _b: n.blocks[0]), blocks(2)
    ),
    "sealed block that carries something else": Done(
        "block_inputs", sealed(lambda n, b: replace(b, misbehaviour=(b"x",)))
    ),
    "block with a byte behind it": Done(
        "not_canonical", lambda n: BLOCK.decode(encode(n.blocks[0]) + b"\0"), blocks(1)
    ),
    "block whose seal is too long": Done(
        "not_canonical",
        lambda n: BLOCK.decode(encode(replace(n.blocks[0], seal=bytes(65)))),
        blocks(1),
    ),
}
