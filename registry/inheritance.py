"""What a network leaves to the one that goes on after it, as one file for everybody.

It holds the predecessor's genesis file, its last header with the path that leads there from that
file, and the state that this header names. Nobody who passes it on is believed: the path proves the
header, as for any client of lists, and the header names the root of the state and the successor.
Whoever holds the whole chain makes the same bytes.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final

import msgspec

from ledger.chain import Chain
from ledger.codec import U8, Codec, Record, encode
from ledger.crypto import sha256
from ledger.errors import Refusal
from ledger.history import MAX_CHUNK_BYTES, final_key, iterate_chunks
from ledger.inheritance import Inheritance
from ledger.messages.genesis import GENESIS, MAX_GENESIS_BYTES
from ledger.messages.lists import (
    MAX_SIGNED_HEADER_BYTES,
    ListHeader,
    decode_header,
    decode_signed_header,
    fingerprint_bits,
)
from ledger.store import MemoryStore, Reader
from ledger.succession import get_succession
from ledger.types import TimeMs
from ledger.views import View
from registry.client import TrustedLists
from registry.formats.trust import MAX_PATH_BYTES, encode_path
from registry.home import INHERITANCE
from registry.trust import PathFinder

INHERITANCE_VERSION: Final = 1

MAX_INHERITANCE_BYTES: Final = 2**32 - 1
"""Nobody has to read a longer file: room for the largest list several times over."""


class InheritanceFile(Record, frozen=True):
    """The file; nothing in it is verified yet."""

    version: U8
    genesis: Annotated[bytes, msgspec.Meta(max_length=MAX_GENESIS_BYTES)]
    """The predecessor's genesis file."""
    path: Annotated[bytes, msgspec.Meta(max_length=MAX_PATH_BYTES)]
    """Trust path from that file to the header."""
    header: Annotated[bytes, msgspec.Meta(max_length=MAX_SIGNED_HEADER_BYTES)]
    """The last header, signed."""
    chunks: tuple[Annotated[bytes, msgspec.Meta(max_length=MAX_CHUNK_BYTES)], ...]
    """The state that it names, as a snapshot of its height has them."""


INHERITANCE_FILE: Final[Codec[InheritanceFile]] = Codec(
    InheritanceFile, "inheritance", MAX_INHERITANCE_BYTES
)


# ------------------------------------------------------------------------------------- making


def find_last_header(view: View) -> ListHeader:
    """Return the last header of a network. Refuses with `bad_inheritance` if it is not over."""
    return decode_header(decode_signed_header(_read_last(view)).header)


def _read_last(view: View) -> bytes:
    last_epoch = get_succession(view.state).last_epoch
    raw = view.reader.get(final_key(last_epoch)) if last_epoch else None
    if raw is None:
        raise Refusal("bad_inheritance", why="no final header of this network names a successor")
    return raw


def make_inheritance(chain: Chain, end: Reader) -> bytes:
    """Return the file of a network that is over; `end` has its state at its last header's height.

    Refuses with `bad_inheritance`, and like `PathFinder.find`.
    """
    view = chain.view()
    last = find_last_header(view)
    path = PathFinder(chain.genesis).find(view, None, last.epoch)
    if path is None:
        raise Refusal("bad_path", why="the last header is not kept here")
    return encode(
        InheritanceFile(
            INHERITANCE_VERSION,
            chain.genesis_bytes,
            encode_path(path),
            _read_last(view),
            tuple(iterate_chunks(end)),
        )
    )


# ---------------------------------------------------------------------------------- verifying


def open_inheritance(
    raw: bytes, genesis: bytes, now_ms: TimeMs, vouched: Iterable[bytes] = ()
) -> Inheritance:
    """Return what a file holds, its last header verified, for the network of a genesis file.

    The state is looked at when a chain begins with it. `vouched` are fingerprints of headers on
    the way that somebody answers for, for a predecessor that is past its trust period. The trust
    period does not end for a last header that is vouched for itself: no newer one will ever come.

    Refuses with `unknown_format`, `wrong_successor`, and like `INHERITANCE_FILE` and
    `TrustedLists.update`.
    """
    file = _decode(raw)
    known = list(vouched)
    if fingerprint_last(raw) in known:
        last = decode_header(decode_signed_header(file.header).header)
        now_ms = min(now_ms, last.valid_after_ms)
    trusted = TrustedLists(file.genesis, now_ms, allow_expired=True)
    for fingerprint in known:
        trusted.vouch(fingerprint)
    trusted.update(file.header, file.path)
    trusted.check_successor(genesis)
    return Inheritance(file.genesis, decode_signed_header(file.header).header, file.chunks)


def check_inheritance(
    raw: bytes, genesis: bytes, now_ms: TimeMs, vouched: Iterable[bytes] = ()
) -> Chain:
    """Return the chain that begins with a file, in memory: all that a start would find is found.

    Refuses like `open_inheritance` and `Chain.init`.
    """
    chain = Chain(MemoryStore(), genesis)
    chain.init(open_inheritance(raw, genesis, now_ms, vouched))
    return chain


def load_inheritance(folder: Path, genesis: bytes, now_ms: TimeMs) -> Inheritance | None:
    """Return what lies in a home for the network of its genesis file, if that wants something.

    It was verified when it was put there, so its last header vouches for itself: with time the
    predecessor's trust period passes. Refuses like `open_inheritance`.
    """
    path = folder / INHERITANCE
    if not GENESIS.decode(genesis).predecessor or not path.exists():
        return None
    raw = path.read_bytes()
    return open_inheritance(raw, genesis, now_ms, [fingerprint_last(raw)])


def fingerprint_last(raw: bytes) -> bytes:
    """Return the fingerprint of a file's last header, for who answers for it himself."""
    file = _decode(raw)
    return fingerprint_bits(sha256(file.genesis), decode_signed_header(file.header).header)


def _decode(raw: bytes) -> InheritanceFile:
    file = INHERITANCE_FILE.decode(raw)
    if file.version != INHERITANCE_VERSION:
        raise Refusal("unknown_format", version=file.version)
    return file
