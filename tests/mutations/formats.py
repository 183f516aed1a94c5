"""The decoders of what clients download: headers, lists in every format, paths, proofs."""

import zlib
from hashlib import sha256
from typing import Final

from ledger.errors import Refusal
from ledger.messages.entries import (
    Columns,
    Entry,
    SwarmLeaf,
    pack_columns,
    pack_entry,
    pack_swarm_leaf,
    read_columns,
    unpack_columns,
    unpack_swarm_leaf,
)
from ledger.messages.lists import (
    ListHeader,
    decode_header,
    decode_signed_header,
    encode_header,
    encode_signed_header,
)
from registry.client import TrustedLists
from registry.formats.bundle import Bundle, encode_bundle
from registry.formats.delta import apply_delta, compute_delta, make_rows
from registry.formats.full import decode_full, deflate, encode_full, inflate
from registry.formats.session_binary import decode_session_binary, encode_session_binary
from registry.formats.session_json import decode_session_json, encode_session_json
from registry.formats.slice import encode_slice
from registry.formats.trust import Path, decode_anchor, decode_path, encode_anchor, encode_path
from tests.mutations.files import pack_node, session_lists
from tests.mutations.lists import signed_alone
from tests.mutations.rows import Decoder
from tests.registry.client.factory import EPOCH, NOW_MS, make_entries, make_list
from tests.registry.client.trust.hops import MAIN, ORDER, SAVED, B, C, R
from tests.registry.client.trust.hops import NOW_MS as TRUST_MS
from tests.registry.client.trust.line import to
from tests.registry.formats.test_slice import ACCOUNT, GOOD
from tests.registry.formats.test_slice import MADE as SLICED

# ---- Headers ----

MADE: Final = make_list()
ALONE: Final = make_list(weights=(1,))
"""One whose only attestor signs whatever he is given."""


def update(raw: bytes) -> ListHeader:
    """Hand a signed header to a client."""
    return TrustedLists(MADE.genesis, NOW_MS).update(raw)


def update_alone(header: bytes) -> ListHeader:
    """Hand a header to a client that its attestor signed as it is."""
    return TrustedLists(ALONE.genesis, NOW_MS).update(signed_alone(ALONE.genesis, header))


# ---- Lists ----


def open_full(raw: bytes) -> Columns:
    """Read a file that somebody signed as it is, columns and all."""
    stream = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        columns = stream.decompress(raw[1:], 2**20)
    except zlib.error:
        columns = b""
    return decode_full(raw, sha256(columns).digest())


def load(raw: bytes) -> list[Entry]:
    """Hand a file to a client."""
    client = TrustedLists(MADE.genesis, NOW_MS)
    client.update(MADE.signed)
    client.load_full(raw)
    return client.entries


def load_alone(columns: bytes) -> list[Entry]:
    """Hand columns to a client whose attestor signed their hash."""
    header = encode_header(ALONE.header._replace(list_hash=sha256(columns).digest()))
    client = TrustedLists(ALONE.genesis, NOW_MS)
    client.update(signed_alone(ALONE.genesis, header))
    client.load_full(encode_full(columns))
    return client.entries


BEFORE: Final = make_list(EPOCH - 1, entries=make_entries(17, 4))
"""A list with fewer nodes, and a swarm that is gone."""
AFTER: Final = make_list(after=(BEFORE,))
OLD: Final = read_columns(BEFORE.columns)
DELTA: Final = compute_delta(make_rows(OLD), make_rows(read_columns(AFTER.columns)))
HEAD_BYTES: Final = 2 + 32 * DELTA[1]
"""What stands before the deflated part: the format, the number of nodes that join, their keys."""


def load_delta(raw: bytes) -> list[Entry]:
    """Hand a delta to a client that holds the list before."""
    client = TrustedLists(BEFORE.genesis, NOW_MS)
    client.update(BEFORE.signed, BEFORE.path())
    client.load_full(BEFORE.full)
    client.update(AFTER.signed, AFTER.path(EPOCH - 1))
    client.load_deltas(raw)
    return client.entries


def apply_inside(raw: bytes) -> Columns:
    """Read a delta whose deflated part holds these bytes, and of which no header knows."""
    return apply_delta(OLD, DELTA[:HEAD_BYTES] + deflate(raw))


def pack_leaf(leaf: SwarmLeaf) -> bytes:
    """Write a leaf again."""
    return pack_swarm_leaf(*leaf[:3], map(pack_entry, leaf.members))


def read_slice(raw: bytes) -> list[Entry]:
    """Ask a client who serves an account."""
    return TrustedLists(SLICED.genesis, NOW_MS).read_slice(raw, ACCOUNT)


# ---- Paths ----


def holder(epoch: int | None = None) -> TrustedLists:
    """A client of a network whose attestors change, which holds a header if an epoch is given."""
    client = TrustedLists(MAIN.genesis, TRUST_MS)
    if epoch is not None:
        client.update(MAIN[epoch].signed, MAIN.along(epoch))
    return client


PATH: Final = SAVED.path(2, to(4, B, R, recovery=ORDER), to(7))
"""One with all that a path can have."""
WAY: Final = MAIN.path(2, to(3, B), to(5, C))
ANCHOR: Final = holder(3).anchor_file
BUNDLE: Final = encode_bundle(Bundle(MAIN.along(5), MAIN[5].signed, MAIN[5].full))


def open_path(raw: bytes) -> Path:
    """Read a path that is one: no bytes stand for one too."""
    if not raw:
        raise Refusal("bad_path", why="there are no bytes")
    return decode_path(raw)


LISTS: Final[dict[str, Decoder]] = {
    "header": Decoder(MADE.raw_header, decode_header, encode=encode_header),
    "signed header": Decoder(MADE.signed, decode_signed_header, encode=encode_signed_header),
    "update of a client": Decoder(MADE.signed, update),
    "header that was signed": Decoder(ALONE.raw_header, update_alone, encode=encode_header),
    "columns": Decoder(MADE.columns, unpack_columns, encode=pack_columns),
    "columns that were signed": Decoder(ALONE.columns, load_alone, encode=pack_columns),
    "full": Decoder(MADE.full, open_full),
    "list of a client": Decoder(MADE.full, load),
    "delta": Decoder(DELTA, lambda raw: apply_delta(OLD, raw)),
    "inside of a delta": Decoder(inflate(memoryview(DELTA)[HEAD_BYTES:], 2**20), apply_inside),
    "delta of a client": Decoder(DELTA, load_delta),
    "swarm leaf": Decoder(GOOD.leaf, unpack_swarm_leaf, encode=pack_leaf),
    "slice of a client": Decoder(encode_slice(GOOD), read_slice),
    "path": Decoder(PATH, open_path, encode=encode_path),
    "path of a client": Decoder(WAY, lambda raw: holder(2).update(MAIN[5].signed, raw)),
    "anchor": Decoder(ANCHOR, decode_anchor, encode=lambda parts: encode_anchor(*parts)),
    "anchor of a client": Decoder(ANCHOR, lambda raw: holder().resume(raw)),
    "bundle of a client": Decoder(BUNDLE, lambda raw: holder().load_bundle(raw)),
    "session-binary": Decoder(
        encode_session_binary(session_lists(1)),
        decode_session_binary,
        encode=lambda nodes: b"".join(map(pack_node, nodes)),
    ),
    "session-json": Decoder(encode_session_json(7, session_lists(1)), decode_session_json),
}
