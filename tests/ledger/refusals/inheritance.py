"""Refusals of what a network with a predecessor is to begin with."""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

from msgspec.structs import replace

from ledger.chain import Chain
from ledger.codec import Record, encode
from ledger.crypto import sha256
from ledger.history import CHUNK, Chunk
from ledger.inheritance import Inheritance
from ledger.messages.genesis import Genesis
from ledger.messages.lists import decode_header, encode_header
from ledger.messages.state import Attestation, PendingContact
from ledger.messages.tables import ATTESTATIONS, NEW_KEYS, PENDING
from ledger.messages.transactions import KeyChange
from ledger.store import MemoryStore
from tests.factory import Network, founding, make_contact, public
from tests.flip import flip
from tests.ledger.moving import announce, founders, hand_over, make_successor, move, wait
from tests.ledger.refusals.rows import Done, Row
from tests.ledger.scenes import SHORT, enter

Tamper = Callable[[Inheritance], Inheritance]

LARGER: Final = SHORT | {"max_transaction_bytes": 20_000, "unbonding_ms": 61_002, "lock_ms": 61_002}


@cache
def at_its_end(**changes: Any) -> tuple[Inheritance, Genesis]:
    """What a small network leaves, and the file of the one that goes on, with these changes."""
    network, successor = make_end(**changes)
    return hand_over(network), successor


def make_end(**changes: Any) -> tuple[Network, Genesis]:
    """A small network at its end; a node has a key for every role."""
    network = Network(**LARGER)
    enter(network)
    successor = make_successor(network, **changes)
    announce(network, successor)
    wait(network, 1)
    move(network, successor)
    return network, successor


def begin(successor: Genesis, inheritance: Inheritance | None) -> None:
    """Begin with it; whatever is refused leaves the store empty."""
    store = MemoryStore()
    chain = Chain(store, encode(successor))
    try:
        chain.init(inheritance)
    finally:
        assert list(store.items()) == []
        assert not chain.is_initialised


def tampered(change: Tamper) -> Callable[[Network], object]:
    """Begin with what was left, changed."""

    def act(_network: Network) -> None:
        inheritance, successor = at_its_end()
        begin(successor, change(inheritance))

    return act


def with_records(change: Callable[[list[Any]], list[Any]]) -> Callable[[Network], object]:
    """Begin with other records."""

    def tamper(inheritance: Inheritance) -> Inheritance:
        (chunk,) = inheritance.chunks
        records = change(list(CHUNK.decode(chunk).records))
        return inheritance._replace(chunks=(encode(Chunk(tuple(records))),))

    return tampered(tamper)


def with_header(**changes: Any) -> Callable[[Network], object]:
    """Begin with another header, which somebody may even have signed."""

    def tamper(inheritance: Inheritance) -> Inheritance:
        header = decode_header(inheritance.header)._replace(**changes)
        return inheritance._replace(header=encode_header(header))

    return tampered(tamper)


def with_file(**changes: Any) -> Callable[[Network], object]:
    """Begin a network whose file is another one, which the predecessor ordered."""

    def act(_network: Network) -> None:
        inheritance, successor = at_its_end(**changes)
        begin(successor, inheritance)

    return act


def with_params(**changes: int) -> Callable[[Network], object]:
    """Begin a network with other parameters than those of its predecessor."""

    def act(_network: Network) -> None:
        values = Network(**LARGER).params._replace(**changes)
        inheritance, successor = at_its_end(params=tuple(values))
        begin(successor, inheritance)

    return act


def with_written(changes: dict[bytes, Record | None]) -> Callable[[Network], object]:
    """Begin with a state that no epoch's end leaves, and that a header names all the same."""

    def act(_network: Network) -> None:
        network, successor = make_end()
        network.rewrite(changes)
        begin(successor, hand_over(network))

    return act


def at_another_end(_network: Network) -> None:
    """Begin with the state after the last epoch, by a header that names its root."""
    network, successor = make_end()
    inheritance = hand_over(network)
    network.block()
    header = decode_header(inheritance.header)._replace(state_root=network.chain.tip.root)
    later = hand_over(network)
    begin(successor, later._replace(header=encode_header(header)))


def without_any(_network: Network) -> None:
    begin(at_its_end()[1], None)


def without_need(network: Network) -> None:
    """Begin a network that has no predecessor with something all the same."""
    begin(replace(network.genesis, name=b"other-net"), at_its_end()[0])


def change_first(records: list[Any]) -> list[Any]:
    key, value = records[0]
    return [(key, flip(value)), *records[1:]]


NODE: Final = public("node")
CHANGE: Final = KeyChange(NODE, 1, 1, public("node duty 2"), b"", b"", b"")
SEAT: Final = founders("founder")[0]

INHERITANCE: dict[str, Row] = {
    "no inheritance": Done("inheritance_missing", without_any, why="get its inheritance"),
    "inheritance without a predecessor": Done("bad_inheritance", without_need, why="predecessor"),
    "inheritance of another network": Done(
        "bad_inheritance",
        tampered(lambda i: i._replace(genesis=i.genesis + b"\0")),
        why="predecessor",
    ),
    "header that names nobody": Done(
        "bad_inheritance", with_header(successor=bytes(32)), why="another successor"
    ),
    "header that names another network": Done(
        "bad_inheritance", with_header(successor=sha256(b"another")), why="another successor"
    ),
    "header cut off": Done("bad_header", tampered(lambda i: i._replace(header=i.header[:-1]))),
    "header with another time": Done(
        "bad_inheritance", with_header(valid_after_ms=1), why="not drafted"
    ),
    "header of another epoch": Done("bad_inheritance", with_header(epoch=7), why="not drafted"),
    "header with another root": Done(
        "bad_inheritance", with_header(state_root=bytes(32)), why="root of its last header"
    ),
    "state of a later block": Done("bad_inheritance", at_another_end, why="not drafted"),
    "inheritance without chunks": Done(
        "bad_inheritance", tampered(lambda i: i._replace(chunks=())), why="root"
    ),
    "inherited chunk that is empty": Done(
        "not_canonical", tampered(lambda i: i._replace(chunks=(b"",)))
    ),
    "inherited chunk twice": Done(
        "bad_inheritance",
        tampered(lambda i: i._replace(chunks=(*i.chunks, *i.chunks))),
        why="order",
    ),
    "inherited record missing": Done("bad_inheritance", with_records(lambda r: r[1:]), why="root"),
    "inherited record changed": Done("bad_inheritance", with_records(change_first), why="root"),
    "inherited record twice": Done(
        "bad_inheritance", with_records(lambda r: [r[0], *r]), why="out of order"
    ),
    "inherited record outside of the state": Done(
        "bad_inheritance", with_records(lambda r: [(b"T", b""), *r]), why="out of order"
    ),
    "inherited record behind the state": Done(
        "bad_inheritance", with_records(lambda r: [*r, (b"~", b"")]), why="out of order"
    ),
    "other length of an epoch than before": Done(
        "parameter_fixed", with_params(epoch_ms=10_001), why="epoch_ms"
    ),
    "other trust period than before": Done(
        "parameter_fixed",
        with_params(trust_ms=60_001, evidence_ms=61_001, unbonding_ms=61_003, lock_ms=61_003),
        why="trust_ms",
    ),
    "other age of evidence than before": Done(
        "parameter_fixed",
        with_params(evidence_ms=61_001),
        why="evidence_ms",
    ),
    "stake locked for less than before": Done(
        "parameter_fixed", with_params(unbonding_ms=61_001), why="unbonding_ms"
    ),
    "shorter transactions than before": Done(
        "parameter_fixed", with_params(max_transaction_bytes=19_999), why="max_transaction_bytes"
    ),
    "founder's list key that is a duty key": Done(
        "key_in_use", with_file(attestors=founders("node duty", "founder")), why="the list key"
    ),
    "founder's list key that is a node key": Done(
        "key_in_use", with_file(attestors=founders("node")), why="the list key"
    ),
    "founder's consensus key that is a list key": Done(
        "key_in_use",
        with_file(attestors=(replace(SEAT, consensus_key=public("node list")),)),
        why="the consensus key",
    ),
    "contact data that wait at the end": Done(
        "bad_inheritance",
        with_written({PENDING.letter + NODE: PendingContact(1, make_contact(9))}),
        why="pending",
    ),
    "keys that wait at the end": Done(
        "bad_inheritance", with_written({NEW_KEYS.letter + NODE: CHANGE}), why="new_keys"
    ),
    "attestations that wait at the end": Done(
        "bad_inheritance",
        with_written({ATTESTATIONS.letter + b"\0": Attestation(bytes(32), bytes(64))}),
        why="attestations",
    ),
}


def file_with(why: str, **changes: Any) -> Row:
    """A file with a predecessor that would be good but for this."""

    def act(_network: Network) -> object:
        return Chain(MemoryStore(), encode(make_successor(Network(), **changes)))

    return Done("bad_genesis", act, why=why)


INHERITANCE |= {
    "predecessor of 31 bytes": file_with("hash of a genesis file", predecessor=bytes(31)),
    "predecessor of one byte": file_with("hash of a genesis file", predecessor=b"\0"),
    "predecessor and accounts": file_with(
        "inherits those", accounts=Network().genesis.accounts[:1]
    ),
    "predecessor and a pool": file_with("inherits those", pool=1),
    "predecessor and nodes": file_with("inherits those", nodes=founding("a")),
    "seat with a node where all are inherited": file_with(
        "not one of the file", attestors=(replace(SEAT, node=public("node")),)
    ),
}
