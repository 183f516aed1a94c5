"""Refusals of blocks: where they stand, how much they carry, what they extend."""

from collections.abc import Callable
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

Steps = Callable[[Network, BlockInput], Any]


def propose(network: Network, block: BlockInput) -> Any:
    """Propose at the place of `block`."""
    steps = network.chain.propose(block.height, block.time_ms, block.proposer, [])
    return run(steps, verify_cached)


def validate(network: Network, block: BlockInput) -> Any:
    """Vote on a block."""
    return run(network.chain.validate(block), verify_cached)


def finalize(network: Network, block: BlockInput) -> Any:
    """Execute a decided block."""
    return run(network.chain.finalize(block), verify_cached)


def place(step: Steps, height: int, ms: int) -> Callable[[Network], object]:
    """A block `height` above the newest one and `ms` after it."""

    def act(network: Network) -> object:
        tip = network.chain.tip
        block = network.input()._replace(height=tip.height + height, time_ms=tip.time_ms + ms)
        return step(network, block)

    return act


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


def transfers(count: int) -> Callable[[Network], object]:
    """A vote on a block of so many transfers."""

    def act(network: Network) -> object:
        raws = [network.transfer("alice", "bob") for _ in range(count)]
        return validate(network, network.input(*raws))

    return act


def updates(network: Network) -> object:
    """A vote on a block of two free transactions."""
    raws = [network.update_contact(f"node {i}") for i in range(2)]
    return validate(network, network.input(*raws))


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


def forged(**changes: Any) -> Callable[[Network], object]:
    """Execute the next block with something else in its header."""

    def act(network: Network) -> object:
        block = next_block(network)
        return execute_block(network.chain, replace(block, header=replace(block.header, **changes)))

    return act


def sealed(change: Callable[[Network, Block], Block]) -> Callable[[Network], object]:
    """Check the next block, changed after its producer had sealed it."""

    def act(network: Network) -> object:
        good = next_block(network)
        check_sealed(network.chain, good)
        check_sealed(network.chain, change(network, good))
        return None

    return act


def sealed_by(name: str, genesis_hash: bytes = b"") -> Callable[[Network], object]:
    """Check the next block, sealed by this key, or for this network."""

    def change(network: Network, block: Block) -> Block:
        message = seal_bytes(genesis_hash or network.hash, block.header)
        return replace(block, seal=sign(keys(name), message))

    return sealed(change)


def by_alice(network: Network, block: Block) -> Block:
    """The block as alice's own."""
    header = replace(block.header, proposer=public("alice"))
    seal = sign(keys("alice"), seal_bytes(network.hash, header))
    return replace(block, header=header, seal=seal)


def one_bad(network: Network) -> object:
    """A vote on a block whose second transaction has no money behind it."""
    good, bad = network.transfer("alice", "bob"), network.transfer("a stranger", "bob")
    return validate(network, network.input(good, bad))


SIZE = len(Network().transfer("alice", "bob"))

BLOCKS: dict[str, Row] = {
    f"{what}: {where}": Done(code, place(step, height, ms), blocks(2))
    for what, step in STEPS.items()
    for where, (code, height, ms) in PLACES.items()
}

BLOCKS |= {
    "a time of 64 bits": Done(
        "block_time", lambda n: finalize(n, n.input()._replace(time_ms=2**63))
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
        "block_too_large", updates, after(quiet, two_nodes), {"max_free_transactions": 1}
    ),
    "a vote on a bad transaction": Done("block_transaction", one_bad),
    "a vote on bytes that are no transaction": Done(
        "block_transaction", lambda n: validate(n, n.input(b"\x00"))
    ),
    "block of another history": Done("block_link", forged(previous=bytes(32)), blocks(1)),
    "block that was executed already": Done(
        "block_link", lambda n: execute_block(n.chain, n.blocks[-1]), blocks(2)
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
        lambda n: execute_block(n.chain, replace(next_block(n), transactions=())),
        blocks(1),
    ),
    "block without a seal": Done("block_seal", sealed(lambda n, b: replace(b, seal=b""))),
    "block that another key sealed": Done("block_seal", sealed_by("alice")),
    "block sealed for another network": Done("block_seal", sealed_by("producer", other_network())),
    "block whose seal is of another block": Done(
        "block_seal", sealed(lambda n, b: replace(b, seal=n.blocks[-1].seal)), blocks(1)
    ),
    "block that another producer made and sealed": Done("block_seal", sealed(by_alice)),
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
