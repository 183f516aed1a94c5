"""Makes the vectors of transitions out of the scenes of this folder and the tables of refusals.

    WAYPOST_REGENERATE=1 pytest tests/ledger/vectors

writes them to `tests/vectors/transitions`.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.errors import REFUSALS, Refusal
from ledger.messages.blocks import Block
from ledger.transactions import TX_KINDS, WIRE
from tests.factory import Network
from tests.ledger.refusals.blocks import BLOCKS, Offered, Step, finalize, take, validate
from tests.ledger.refusals.rows import Done, Sent, network_of
from tests.ledger.test_refusals import ROWS
from tests.ledger.vectors.book import Book, differences, executes, in_hex, place_of
from tests.ledger.vectors.ends import BEGINNINGS, ENDS
from tests.ledger.vectors.scenes import APPLIED, MISBEHAVIOUR

FOLDER: Final = Path(__file__).resolve().parents[2] / "vectors" / "transitions"

SUBJECTS: Final = {
    **{kind.name: f"transactions of kind {kind.tag}, `{kind.name}`" for kind in TX_KINDS},
    "bytes": "bytes in the place of a transaction that are none",
    "blocks": "blocks that are refused as a whole, and blocks that begin an epoch",
    "misbehaviour": "what a BFT engine found, carried by a block",
    "epoch_ends": "blocks that end an epoch",
}
"""What each file is about."""

MOST: Final = 6
"""Refusals of one kind with one code. Where the tables have more, they repeat a rule with other
values, one more forged signature, one more bad address: some all over the table are taken."""

MOST_BYTES: Final = 4_000
"""A longer transaction is left out: it takes room, and a shorter one shows the same code."""

OFFERS: Final[dict[Step, str]] = {finalize: "execute", validate: "validate", take: "follow"}
"""Which operation a step of the table of blocks is."""


@cache
def make_files() -> dict[str, str]:
    """The text of each file, by its name."""
    book = Book(SUBJECTS)
    for kind in TX_KINDS:
        for title, played in APPLIED[kind.name].items():
            add_last_block(book, kind.name, title, played.play())
    add_refused_transactions(book)
    add_refused_blocks(book)
    others = {"blocks": BEGINNINGS, "misbehaviour": MISBEHAVIOUR, "epoch_ends": ENDS}
    for file, scenes in others.items():
        for title, played in scenes.items():
            add_last_block(book, file, title, played.play())
    return book.files()


def add_last_block(book: Book, file: str, title: str, network: Network) -> None:
    """A vector of the newest block of a network."""
    block = network.blocks[-1]
    view = network.chain.view_at(block.header.height - 1)
    assert view is not None
    before, after = place_of(network, view), place_of(network)
    book.add(
        file,
        title,
        before,
        executes(block.input),
        {
            "results": [result(code_in(network, block, raw)) for raw in block.transactions],
            "ended_epoch": ends_epoch(before.records, after.records),
            "changes": in_hex(differences(before.records, after.records)),
            "root": block.header.state_root.hex(),
        },
    )


def code_in(network: Network, block: Block, raw: bytes) -> int:
    """The number of a transaction's refusal in a block, which has it once; 0 if it was applied."""
    assert block.transactions.count(raw) == 1
    location = network.view.location(sha256(raw))
    assert location is not None
    assert location.height == block.header.height
    return location.code


def ends_epoch(before: dict[bytes, bytes], after: dict[bytes, bytes]) -> bool:
    """Whether the record of the running epoch is another one."""
    return before[b"e"] != after[b"e"]


def result(number: int) -> list[Any]:
    """The result of a transaction: number and name."""
    names = {row.number: name for name, row in REFUSALS.items()}
    return [number, names[number] if number else "applied"]


# ------------------------------------------------------------------------------- refusals


class Refused(NamedTuple):
    """A transaction that is refused."""

    title: str
    code: str
    network: Network
    raw: bytes


def add_refused_transactions(book: Book) -> None:
    """Vectors of the rows of the tables that send a transaction."""
    groups: dict[tuple[str, str], list[Refused]] = {}
    for title, row in ROWS.items():
        if isinstance(row, Sent):
            network = network_of(row)
            raw = row.make(network)
            if len(raw) <= MOST_BYTES:
                group = groups.setdefault((file_of(raw), row.code), [])
                group.append(Refused(title, row.code, network, raw))
    for (file, _), group in groups.items():
        for title, code, network, raw in spread(group):
            post = {
                "results": [result(REFUSALS[code].number)],
                "ended_epoch": False,
                "changes": {},
                "root": network.chain.tip.root.hex(),
            }
            book.add(file, title, place_of(network), executes(network.input(raw)), post)


def spread(group: Sequence[Refused]) -> Sequence[Refused]:
    """At most `MOST` of a group, from all over it."""
    count = min(MOST, len(group))
    return [group[place * len(group) // count] for place in range(count)]


def file_of(raw: bytes) -> str:
    """The kind of a transaction, which has a file; bytes that are none have one together."""
    try:
        return WIRE.decode(raw).kind.name
    except Refusal:
        return "bytes"


def add_refused_blocks(book: Book) -> None:
    """A vector of each row of the table of blocks whose step is an operation; a good block."""
    for title, row in BLOCKS.items():
        assert isinstance(row, Done)
        offer = row.act
        if isinstance(offer, Offered) and offer.step in OFFERS:
            network = network_of(row)
            made, kind = offer.make(network), OFFERS[offer.step]
            operation = follows(made) if isinstance(made, Block) else executes(made, kind)
            refused = [REFUSALS[row.code].number, row.code]
            book.add("blocks", title, place_of(network), operation, {"refused": refused})
    add_good_block(book)


def add_good_block(book: Book) -> None:
    """What `follow` does with a block that its producer sealed."""
    network = Network()
    network.block(network.transfer("alice", "bob"))
    before = place_of(network)
    network.block(network.transfer("bob", "alice"))
    after = place_of(network)
    post = {
        "results": [result(0)],
        "ended_epoch": False,
        "changes": in_hex(differences(before.records, after.records)),
        "root": after.tip.root.hex(),
    }
    book.add("blocks", "sealed block that follows", before, follows(network.blocks[-1]), post)


def follows(block: Block) -> dict[str, Any]:
    """The operation that takes a sealed block."""
    return {"kind": "follow", "block": encode(block).hex()}
