"""Blocks that others made: what has to hold before one is executed, and executing it.

- A block extends the chain that is held.
- Under `solo` the producer that genesis names made it and sealed it: looked at before what the
  block carries, so that nobody else can make it costly.
- Its header names exactly what it carries.
- Executing it gives the state root that its header states.
"""

from ledger.chain import Chain, Executed
from ledger.crypto import verify
from ledger.errors import Diverged, Refusal
from ledger.history import link_to
from ledger.messages.blocks import Block, block_seal
from ledger.steps import run


def check_sealed(chain: Chain, block: Block) -> None:
    """Check that the network's producer made a block, and made it for this place.

    Refuses with `block_link`, `block_seal`, `block_inputs`.
    """
    header, producer = block.header, chain.genesis.producer
    check_link(chain, block)
    seal = block_seal(chain.genesis_hash, producer, header, block.seal)
    if header.proposer != producer or not verify(seal):
        raise Refusal("block_seal", height=header.height)
    check_inputs(block)


def check_link(chain: Chain, block: Block) -> None:
    """Check that a block is the next one. Refuses with `block_link`."""
    header, link = block.header, link_to(chain.tip, chain.genesis.engine)
    if header.height != chain.tip.height + 1 or header.previous != link:
        raise Refusal("block_link", height=header.height)


def check_inputs(block: Block) -> None:
    """Check that a block carries what its header names. Refuses with `block_inputs`."""
    if not block.has_its_inputs():
        raise Refusal("block_inputs", height=block.header.height)


def check_outcome(chain: Chain, block: Block) -> None:
    """Check that the block which the chain has finalized is the one that was stated.

    Raises `Diverged`, which names both roots.
    """
    ours, theirs = chain.header(), block.header
    if ours != theirs:
        raise Diverged(
            theirs.height,
            f"state root {ours.state_root.hex()} comes out, it states the root "
            f"{theirs.state_root.hex()}",
        )


def execute_block(chain: Chain, block: Block) -> Executed:
    """Execute and commit a block of a journal that is trusted to be the producer's.

    Refuses with `block_link`, `block_inputs`; raises `Diverged` where another outcome comes out
    than it states.
    """
    check_link(chain, block)
    check_inputs(block)
    executed = run(chain.finalize(block.input))
    check_outcome(chain, block)
    chain.commit(block.seal)
    return executed
