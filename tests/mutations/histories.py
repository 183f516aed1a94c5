"""Targets: a whole history, changed on its way to who audits it."""

from io import BytesIO
from random import Random
from typing import Final

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.errors import Refusal
from registry.cli.auditing import Audit
from registry.cli.histories import Finding
from registry.history_file import BadHistoryFile, HistoryFile, write_history
from tests.factory import Network
from tests.mutations.engine import Sample, Subject, Target, mutate

HASH_BYTES: Final = 32


def lived() -> Network:
    """A few blocks, over an epoch's end."""
    network = Network()
    network.block(network.transfer("alice", "bob"), network.register())
    network.block(network.transfer("bob", "carol"))
    network.end_epoch()
    network.settle()
    return network


NETWORK: Final = lived()
BLOCKS: Final = list(map(encode, NETWORK.blocks))


def written(count: int) -> Sample:
    """The file of the first blocks, and where its parts begin."""
    stream = BytesIO()
    write_history(stream, NETWORK.raw, BLOCKS[:count])
    cuts, at = [0, 16, 18], 18
    for part in (NETWORK.raw, *BLOCKS[:count]):
        cuts += [at + 4, at + 4 + len(part)]
        at += 4 + len(part)
    return Sample(stream.getvalue(), (*cuts, at + 4, at + 12, at + 12 + HASH_BYTES))


def histories(seed: int) -> Subject:
    """Files as they are, and in every other seed with a hash that fits: what an audit of the
    network takes is the beginning of what its producer sealed.
    """
    samples = [written(count) for count in (len(BLOCKS), 3)]

    def offer(raw: bytes) -> list[bytes]:
        history = HistoryFile("it", BytesIO(raw))
        if history.genesis != NETWORK.raw:
            raise Refusal("bad_genesis", why="it is another network")
        Audit(history.genesis).run(history, lambda blocks: blocks)
        return list(history.blocks())

    def mutation(random: Random) -> bytes:
        raw = mutate(random, random.choice(samples), random.choice(samples))
        body = raw[:-HASH_BYTES]
        return body + sha256(body) if seed % 2 else raw

    return Subject(
        samples, offer, lambda _, blocks: blocks == BLOCKS[: len(blocks)], mutation=mutation
    )


HISTORIES: Final = (
    Target(
        "whole histories", histories, 4, 400, frozenset(("bad_genesis",)), (BadHistoryFile, Finding)
    ),
)
