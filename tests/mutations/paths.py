"""Mutations of what leads a client onwards: paths, what it keeps, and bundles.

Whatever is still taken leads to the very header that was signed, with the history before it or
none, and with the sets that this header names.
"""

from collections.abc import Callable, Iterator
from typing import Final

from ledger.messages.lists import HEADER_BYTES, attestor_set_hash, decode_signed_header
from registry.client import TrustedLists
from registry.formats.bundle import Bundle, decode_bundle, encode_bundle
from registry.formats.full import encode_full
from registry.formats.trust import Hop, Path, decode_anchor, decode_path, encode_anchor, encode_path
from tests.mutations.engine import Sample, Subject, Target, cuts_of, mutate
from tests.mutations.lists import LOAD, UPDATE
from tests.registry.client.factory import MadeList
from tests.registry.client.trust.hops import MAIN, NOW_MS, ORDER, SAVED, B, C, D, R
from tests.registry.client.trust.line import Line, Stop, members_of, to

KEPT: Final = frozenset(
    ("unknown_format", "bad_path", "bad_header", "wrong_set", "unknown_attestor", "not_final")
) | {"bad_signature", "bad_history", "from_the_future"}
"""Codes of `TrustedLists.resume`."""

ONWARDS: Final = UPDATE | {"too_large"}
"""Codes of `TrustedLists.update` with a path."""

# ---- Where the fields of a path are ----


def hop_widths(hop: Hop) -> Iterator[int]:
    """The widths of the fields of a hop."""
    yield 1
    for members in hop.sets:
        yield from (1, *(32, 4) * len(members))
    yield 1
    if hop.recovery is not None:
        yield from (8, 32, *(32, 64) * len(hop.recovery.signers))
    yield from (1, *[32] * len(hop.hashes))


def signed_widths(signed: bytes) -> Iterator[int]:
    """The widths of some fields of a signed header."""
    yield from (2, 4, 8, 8, 24, 72, 32, 32, 32, HEADER_BYTES - 214, 4)
    yield from [64] * len(decode_signed_header(signed).signatures)


def path_widths(path: Path) -> Iterator[int]:
    """The widths of the fields of a path."""
    yield from (1, 2)
    for way in path.ways:
        yield from (*hop_widths(way.hop), *signed_widths(way.signed_header))
    yield from hop_widths(path.hop)


def sample_of(path: Path) -> Sample:
    """A path with its fields."""
    return Sample(encode_path(path), cuts_of(*path_widths(path)))


# ---- Paths ----

Journey = tuple[Line, int | None, tuple[Stop, ...]]
"""A line, the epoch of the header that is held, and the stops from there on."""

JOURNEYS: Final[tuple[Journey, ...]] = (
    (MAIN, None, (to(2), to(4, B), to(6, C), to(7, D))),
    (MAIN, 1, (to(3, B), to(5, C))),
    (MAIN, 2, (to(5, B, C),)),
    (SAVED, 2, (to(4, B, R, recovery=ORDER), to(7))),
    (SAVED, None, (to(3, R, recovery=ORDER),)),
    (MAIN, 2, (to(2),)),
)


def client_of(line: Line, held: int | None) -> TrustedLists:
    """A client that holds a header of a line, or none."""
    client = TrustedLists(line.genesis, NOW_MS)
    if held is not None:
        client.update(line[held].signed, line.along(held))
    return client


def leads_to(anchor_file: bytes, made: MadeList) -> bool:
    """Whether what a client holds is a header and what belongs to it, as far as it is known."""
    signed, hop = decode_anchor(anchor_file)
    honest = set(decode_signed_header(made.signed).signatures)
    named = {made.header.set_hash, made.header.next_set_hash}
    return (
        signed[:HEADER_BYTES] == made.raw_header
        and set(decode_signed_header(signed).signatures) <= honest
        and {attestor_set_hash(members) for members in hop.sets} <= named
        and hop.recovery is None
        and hop.hashes in ((), made.hop().hashes)
    )


def paths(seed: int) -> Subject:
    """Paths, changed anywhere, for a client that is to follow them."""
    line, held, stops = JOURNEYS[seed]
    made = line[stops[-1].epoch]
    before = client_of(line, held)
    kept = b"" if held is None else before.anchor_file

    def offer(raw: bytes) -> bytes:
        client = client_of(line, None)
        if held is not None:
            client.resume(kept)
        try:
            client.update(made.signed, raw)
        finally:
            # what was refused changed nothing
            is_old = client.is_empty if held is None else client.anchor_file == kept
            assert is_old or client.header == made.header
        return client.anchor_file

    first = sample_of(line.parts(held, *stops))
    others = [sample_of(other.parts(start, *way)) for other, start, way in JOURNEYS]
    return Subject(
        [first],
        offer,
        lambda _raw, anchor_file: leads_to(anchor_file, made),
        mutation=lambda random: mutate(random, first, random.choice(others)),
    )


def parts_of_paths(seed: int) -> Subject:
    """The same bytes, for who only takes them apart: they are one path, and no other."""
    line, held, stops = JOURNEYS[seed]
    samples = [sample_of(line.parts(held, *stops)), sample_of(SAVED.parts(2, *JOURNEYS[3][2]))]
    return Subject(
        samples,
        decode_path,
        lambda raw, path: raw in (encode_path(path), b"") and len(path.ways) <= len(raw),
    )


# ---- What a client keeps, and bundles ----


def anchors(seed: int) -> Subject:
    """What a client keeps, damaged."""
    made = (MAIN, SAVED)[seed % 2][2 + seed]
    own, following = (MAIN, SAVED)[seed % 2].seats_at(2 + seed), MAIN.seats_at(3 + seed)
    hop = made.hop(None, members_of(own), members_of(following))
    widths = (1, *signed_widths(made.signed), *hop_widths(hop))
    sample = Sample(encode_anchor(made.signed, hop), cuts_of(*widths))

    def offer(raw: bytes) -> bytes:
        client = client_of(MAIN, None)
        client.resume(raw)
        return client.anchor_file

    return Subject([sample], offer, lambda _raw, file: leads_to(file, made))


def bundles(seed: int) -> Subject:
    """Bundles, changed anywhere; a list may be deflated in other ways, but is no other one."""
    made = MAIN[2 + seed]
    full = encode_full(made.columns)
    path = decode_path(MAIN.along(2 + seed))
    raw = encode_bundle(Bundle(encode_path(path), made.signed, full))
    widths = (1, 4, *path_widths(path), *signed_widths(made.signed), 1, len(full) - 1)

    def offer(data: bytes) -> TrustedLists:
        client = client_of(MAIN, None)
        client.load_bundle(data)
        return client

    return Subject([Sample(raw, cuts_of(*widths))], offer, holds_all_of(made))


def holds_all_of(made: MadeList) -> Callable[[bytes, TrustedLists], bool]:
    """Whether a client has come to hold a header and its list."""

    def holds(raw: bytes, client: TrustedLists) -> bool:
        is_whole = encode_bundle(decode_bundle(raw)) == raw
        return is_whole and client.entries == made.entries and leads_to(client.anchor_file, made)

    return holds


PATHS: Final = (
    Target("paths", paths, len(JOURNEYS), 1_500, ONWARDS),
    Target("parts of paths", parts_of_paths, len(JOURNEYS), 1_500, frozenset(
        ("unknown_format", "bad_path")
    )),
    Target("what clients keep", anchors, 4, 1_500, KEPT),
    Target("bundles", bundles, 4, 1_000, ONWARDS | LOAD),
)  # fmt: skip
