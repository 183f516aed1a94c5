"""Histories of decided blocks, executed by a chain of their own: what every answer must be.

Nothing here knows of sockets or of the application that is tested.
"""

import random
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from ledger.chain import Chain
from ledger.codec import encode
from ledger.crypto import sha256
from ledger.errors import Refusal
from ledger.history import iterate_chunks, make_manifest
from ledger.messages.blocks import BlockInput
from ledger.messages.evidence import Misbehaviour
from ledger.messages.genesis import COMET, Genesis
from ledger.messages.tables import EPOCH
from ledger.steps import run
from ledger.types import Hash, Key
from ledger.validators import get_validators
from registry.engines.comet import abci_pb2 as abci
from tests.factory import EPOCH_MS, Network, public, verify_cached
from tests.ledger.scenes import town
from tests.life import TOWN, set_keys
from tests.registry.engines.comet.far import comet_genesis, stamp

HEIGHTS: Final = 8
"""Blocks of a history."""

HISTORIES: Final = 6
OUTSIDER: Final = "leo"
"""Whose transaction is in no block, so that it always waits."""


class Proposal(NamedTuple):
    """A block that somebody may propose, and what has to be answered."""

    fields: dict[str, Any]
    is_good: bool


class Decided(NamedTuple):
    """A height of a history."""

    fields: dict[str, Any]
    """Of the request that speaks of the block."""
    root: Hash
    codes: list[int]
    updates: dict[Key, int]
    """Power of each validator that the block changes."""
    epoch: bytes
    """The record of the running epoch after it."""
    fitting: tuple[bytes, ...]
    """Those of its transactions that a proposer may take, in order."""
    proposals: list[Proposal]
    """Blocks of this height that were not decided, and the one that was."""
    snapshot: abci.Snapshot | None
    chunks: list[bytes]


class History(NamedTuple):
    """Decided blocks of one network, and everything that follows from them."""

    genesis: Genesis
    raw: bytes
    root: Hash
    """After no block."""
    epoch: bytes
    content: dict[bytes, bytes]
    """A store that was initialised."""
    blocks: list[Decided]
    outsider: bytes
    """A transaction that is good at every height."""


def spoken(block: BlockInput, time: abci.Timestamp, evidence: Sequence[Any]) -> dict[str, Any]:
    """Fields of a request for a block."""
    return {
        "height": block.height,
        "time": time,
        "proposer_address": block.proposer,
        "txs": block.transactions,
        "misbehavior": evidence,
    }


def with_a_node_behind_a_seat() -> tuple[Genesis, str]:
    """A network with nodes, one of which stands behind a seat; and that node's name."""
    base = town({"engine": COMET, "producer": b"", "nodes": town().genesis.nodes}).genesis
    seats = list(base.attestors)
    seats[0] = replace(seats[0], node=base.nodes[0].node)
    names = {public(name): name for name in TOWN}
    return replace(base, attestors=tuple(seats)), names[base.nodes[0].node]


@cache
def history(number: int) -> History:
    """The history of a number: the same one each time."""
    dice = random.Random(f"history {number}")
    has_nodes = number % 3 == 2
    genesis, node = with_a_node_behind_a_seat() if has_nodes else (comet_genesis(), "")
    network = Network(genesis)
    network.attesting = False
    content = dict(network.store.items())
    root, epoch = network.chain.tip.root, encode(network.state.one(EPOCH))
    outsider = network.transfer(OUTSIDER, "bob", expiry=HEIGHTS + 10)
    network.forget_sent()
    blocks: list[Decided] = []
    for height in range(1, HEIGHTS + 1):
        raws = [network.transfer(dice.choice(["alice", "carol", "dave"]), "bob")
                for _ in range(dice.randrange(4))]  # fmt: skip
        if has_nodes and height in (1, 4):
            seat = genesis.attestors[0]
            fresh = public(f"consensus {height}")
            raws.append(
                set_keys(
                    network,
                    node,
                    consensus_key=fresh,
                    list_key=seat.list_key,
                    list_tip=seat.tip,
                )
            )
        if dice.random() < 0.2:
            # what a majority decided, others have to execute
            raws.append(network.transfer("erin", "bob", nonce=40 + height))
            network.forget_sent()
        blocks.append(decide(network, dice, raws))
    return History(genesis, network.raw, root, epoch, content, blocks, outsider)


def decide(network: Network, dice: random.Random, raws: Sequence[bytes]) -> Decided:
    """Execute the next block of a history."""
    chain = network.chain
    tip = chain.tip
    # one step in a while ends the epoch; and CometBFT's first block has the time of the start
    aim = tip.time_ms + dice.choice([0, 1, 700, 700, EPOCH_MS, EPOCH_MS])
    proposer = dice.randbytes(20)
    evidence = []
    for _ in range(dice.choice([0, 0, 0, 2])):
        address = sha256(public("consensus 1"))[:20]
        evidence.append(
            abci.Misbehavior(
                type=dice.choice([abci.DUPLICATE_VOTE, abci.LIGHT_CLIENT_ATTACK]),
                validator=abci.Validator(address=address, power=1),
                height=tip.height,
                time=stamp(tip.time_ms, 77),
            )
        )
    pieces = tuple(
        encode(Misbehaviour(row.validator.address, row.height, tip.time_ms)) for row in evidence
    )
    block = BlockInput(tip.height + 1, max(aim, tip.time_ms + 1), proposer, pieces, tuple(raws))
    fields = spoken(block, stamp(aim, dice.randrange(1_000_000)), evidence)
    proposals = make_proposals(chain, block, fields)
    fitting = run(
        chain.propose(
            block.height, block.time_ms, proposer, [chain.decode(raw) for raw in raws], pieces
        )
    ).transactions
    before = get_validators(chain.view().state)
    executed = run(chain.finalize(block), verify_cached)
    chain.commit()
    network.forget_sent()
    after = get_validators(chain.view().state)
    snapshot, chunks = None, []
    if executed.ended_epoch:
        reader = chain.view().reader
        manifest = encode(make_manifest(reader))
        chunks = list(iterate_chunks(reader))
        snapshot = abci.Snapshot(
            height=block.height,
            format=1,
            chunks=len(chunks),
            hash=sha256(manifest),
            metadata=manifest,
        )
    updates = {key: 0 for key in before if key not in after}
    updates |= {key: 1 for key in after if key not in before}
    return Decided(
        fields,
        executed.root,
        list(executed.codes),
        updates,
        encode(chain.view().state.one(EPOCH)),
        fitting,
        proposals,
        snapshot,
        chunks,
    )


def make_proposals(chain: Chain, block: BlockInput, fields: dict[str, Any]) -> list[Proposal]:
    """Blocks that somebody may propose; the chain says which of them are good."""
    raws = block.transactions
    changes: list[dict[str, Any]] = [
        {},
        {"txs": ()},
        {"txs": raws[:1]},
        {"txs": (*raws, b"nonsense")},
        {"txs": raws[::-1]},
        {"txs": raws * 2},
        {"txs": (), "time": stamp(block.time_ms + 5)},
        {"txs": (), "time": stamp(block.time_ms + EPOCH_MS)},
        {"txs": (), "height": block.height + 1},
        {"txs": (), "height": block.height - 1},
        {"txs": (), "misbehavior": []},
    ]
    found = []
    for change in changes:
        changed = fields | change
        time: abci.Timestamp = changed["time"]
        ms = time.seconds * 1_000 + time.nanos // 1_000_000
        pieces = block.misbehaviour if changed["misbehavior"] else ()
        tried = BlockInput(
            changed["height"],
            max(ms, chain.tip.time_ms + 1),
            block.proposer,
            pieces,
            tuple(changed["txs"]),
        )
        try:
            run(chain.validate(tried), verify_cached)
            is_good = True
        except Refusal:
            is_good = False
        found.append(Proposal(changed, is_good))
    return found
