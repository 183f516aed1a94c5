"""Scripts about whole paths: the history along them, the headers on the way, and their bytes."""

from collections.abc import Mapping
from typing import Final

from registry.client.checks import MAX_AHEAD_MS
from registry.formats.trust import (
    MAX_HASHES,
    MAX_HEADERS,
    MAX_PATH_BYTES,
    Hop,
    Path,
    Way,
    encode_path,
    join_paths,
)
from tests.registry.client.factory import EPOCH_MS, START_MS, digest, make_hashes
from tests.registry.client.trust.hops import (
    MAIN,
    NOW_MS,
    OPEN,
    ORDER,
    SAVED,
    B,
    C,
    D,
    R,
    begin,
    hold,
    order_at,
    refused,
    take,
    taken,
)
from tests.registry.client.trust.line import Line, found, make_line, to
from tests.registry.client.verify.script import Case, Cases, Repeat, Step, update

# ---- The history of a hop ----

STEADY: Final = make_line(found({0: 1}), {0: {0: 1}}, 12)
"""A line with one attestor who stays: nothing but the history is in question."""
STEADY_MS: Final = START_MS + 12 * EPOCH_MS
NOTHING: Final = bytes(32)
SPLIT: Final = STEADY.branch(4, 12, state_root=NOTHING)
"""Another line from epoch 4 on."""


def with_hashes(epoch: int, *hashes: bytes) -> Step:
    """Take a header of the steady line with other hashes than those that belong there."""
    return update(STEADY[epoch].signed, encode_path(Path((), Hop(hashes=hashes))))


def roots(epoch: int, first: int = 0, line: Line = STEADY) -> tuple[bytes, ...]:
    """The roots of the full subtrees from a leaf to the header of an epoch."""
    return make_hashes(line[epoch].leaves, first)


def steady(held: int | None) -> list[Step]:
    """A client that holds a header of that line, or none."""
    return begin(STEADY, STEADY_MS) if held is None else hold(held, STEADY, STEADY_MS)


def after(held: int | None, step: Step, code: str = "") -> Case:
    """What such a client makes of a step."""
    return [*steady(held), step.but(code)]


BLIND: Final = [*begin(STEADY, STEADY_MS), update(STEADY[5].signed)]
"""A client that holds a header and does not know the history before it."""

GENESIS_HISTORY: Final[Cases] = {
    "the first header, without hashes": after(None, with_hashes(0)),
    "the first header, without a path, then the next": [
        *steady(None), update(STEADY[0].signed), update(STEADY[1].signed),
    ],
    "another header, without hashes": after(None, with_hashes(7)),
    "another header, with them": after(None, with_hashes(7, *roots(7))),
    "the first header, with a hash": after(None, with_hashes(0, NOTHING), "bad_path"),
    "a hash less": after(None, with_hashes(7, *roots(7)[:2]), "bad_path"),
    "a hash more": after(None, with_hashes(7, *roots(7), NOTHING), "bad_path"),
    "as many as there can be": after(None, with_hashes(7, *[NOTHING] * MAX_HASHES), "bad_path"),
    "another hash": after(None, with_hashes(7, *roots(7)[:2], NOTHING), "bad_history"),
    "the hashes in another order": after(None, with_hashes(7, *roots(7)[::-1]), "bad_history"),
    "the hashes of another line": after(
        None, with_hashes(7, *roots(7, line=SPLIT)), "bad_history"
    ),
    "the first header continues something": after(
        None, update(STEADY.branch(0, 1, history_root=NOTHING)[0].signed), "bad_history"
    ),
    "a history that is not that of the header": after(
        None,
        take(STEADY.branch(7, 8, history_root=NOTHING), None, to(7)),
        "bad_history",
    ),
}  # fmt: skip

HELD_HISTORY: Final[Cases] = {
    "the same header, without hashes": after(5, with_hashes(5)),
    "the same header, with the peaks before it": after(5, with_hashes(5, *roots(5))),
    "a client learns it, and goes on": [
        *BLIND, with_hashes(5, *roots(5)), update(STEADY[6].signed), take(STEADY, 6, to(11)),
    ],
    "a client that does not know it does not go on": [
        *BLIND,
        update(STEADY[6].signed).but("bad_path"),
        take(STEADY, 5, to(6)).but("bad_path"),
        take(STEADY, 5, to(11)).but("bad_path"),
        update(STEADY[5].signed),
        update(STEADY[6].signed).but("bad_path"),
    ],
    "it is not known of a header on the way": [
        *begin(STEADY, STEADY_MS),
        update(
            STEADY[9].signed,
            encode_path(Path((Way(Hop(), STEADY[5].signed),), STEADY[9].hop(5))),
        ).but("bad_path"),
    ],
    "a peak less": after(5, with_hashes(5, *roots(5)[:1]), "bad_path"),
    "a peak more": after(5, with_hashes(5, *roots(5), NOTHING), "bad_path"),
    "another peak": after(5, with_hashes(5, roots(5)[0], NOTHING), "bad_history"),
    "the peaks in another order": after(5, with_hashes(5, *roots(5)[::-1]), "bad_history"),
    "the peaks after it": after(5, with_hashes(5, *roots(6)), "bad_history"),
    "peaks before the first header": after(0, with_hashes(0, NOTHING), "bad_path"),
    "a client that learns refuses others": [
        *BLIND, with_hashes(5, NOTHING, NOTHING).but("bad_history"),
        with_hashes(5, NOTHING).but("bad_path"),
    ],
}  # fmt: skip

LATER_HISTORY: Final[Cases] = {
    "the next one": after(5, with_hashes(6)),
    "one after a gap": after(5, with_hashes(11, *roots(11, 6))),
    "from the first header": after(0, with_hashes(11, *roots(11, 1))),
    "one header after another": [
        *steady(2), take(STEADY, 2, to(4)), take(STEADY, 4, to(9)), take(STEADY, 9, to(10)),
    ],
    "the next one, with a hash": after(5, with_hashes(6, NOTHING), "bad_path"),
    "none after a gap": after(5, with_hashes(11), "bad_path"),
    "no path after a gap": after(5, update(STEADY[11].signed), "bad_path"),
    "a hash less": after(5, with_hashes(11, *roots(11, 6)[:2]), "bad_path"),
    "a hash more": after(5, with_hashes(11, *roots(11, 6), NOTHING), "bad_path"),
    "the header that is held once more": after(
        2, with_hashes(5, *roots(5, 2)), "bad_history"
    ),
    "from genesis, for who holds a header": after(5, with_hashes(11, *roots(11)), "bad_history"),
    "another hash": after(5, with_hashes(11, *roots(11, 6)[:2], NOTHING), "bad_history"),
    "a line in which the header that is held has no place": after(
        5, take(SPLIT, 5, to(11)), "bad_history"
    ),
    "the next one of such a line": after(5, take(SPLIT, 5, to(6)), "bad_history"),
    "a line that parted after the header that is held": after(3, take(SPLIT, 3, to(11))),
    "hashes of the line that is held, a header of another": after(
        5, update(SPLIT[11].signed, STEADY.path(5, to(11))), "bad_history"
    ),
    "as if the headers since had never been": after(
        5, take(STEADY.branch(6, 7, history_root=STEADY[5].header.history_root), 5, to(6)),
        "bad_history",
    ),
}  # fmt: skip

# ---- Headers on the way ----

WAY_3: Final = Way(MAIN.parts(2, to(3, B)).hop, MAIN[3].signed)
TO_5: Final = MAIN.parts(3, to(5, C)).hop


def by(*ways: Way, hop: Hop = TO_5, code: str = "bad_path", held: int | None = 2) -> Case:
    """A client is given the header of epoch 5 by some others."""
    first = begin() if held is None else hold(held)
    return [*first, update(MAIN[5].signed, encode_path(Path(ways, hop))).but(code)]


def way(signed: bytes, hop: Hop | None = None) -> Way:
    """A header on the way, with the hop of the one of epoch 3."""
    return Way(WAY_3.hop if hop is None else hop, signed)


FUTURE: Final = MAIN.branch(
    3, 6, valid_after_ms=(AHEAD_MS := NOW_MS + MAX_AHEAD_MS + 1), fresh_until_ms=2**62,
    valid_until_ms=2**62,
)  # fmt: skip
HASTY: Final = MAIN.branch(3, 6, valid_after_ms=START_MS + 3 * EPOCH_MS - 1)
BEHIND: Final = MAIN.branch(3, 6, valid_after_ms=START_MS + 3 * EPOCH_MS + 1)
"""A late header of epoch 3, after which that of epoch 5 comes a millisecond too early."""
LATE: Final = make_line(found({0: 1}), {0: {0: 1}, 1: {1: 1}, 2: {2: 1}}, 3)
BAD_MIDDLE: Final = MAIN.path(None, to(2), to(3, C), to(5, C))
PART_1: Final = MAIN.parts(None, to(2), to(4, B))
PART_2: Final = MAIN.parts(4, to(6, C), to(7, D))

WAYS: Final[Cases] = {
    "by one header": by(WAY_3, code=""),
    "by each header": taken(2, MAIN, to(3, B), to(4), to(5, C), to(6), to(7, D)),
    "by one that is not needed": taken(None, MAIN, to(0), to(1), to(2)),
    "by the first header of all, from genesis": [
        *begin(LATE), take(LATE, None, to(0), to(1, {1: 1}), to(2, {2: 1})),
    ],
    "by two paths that were joined": [
        *begin(),
        update(MAIN[7].signed, encode_path(join_paths(PART_1, MAIN[4].signed, PART_2))),
    ],
    "by an expired one": [
        *hold(2, now_ms=NOW_MS),
        take(
            MAIN.branch(3, 6, fresh_until_ms=NOW_MS - 1, valid_until_ms=NOW_MS - 1),
            2, to(3, B), to(5, C),
        ),
    ],
    "by a recovery": taken(2, SAVED, to(4, R, recovery=ORDER), to(7)),
    "no sooner than it can be after the one that is held": taken(2, BEHIND, to(3, B)),
}  # fmt: skip

BAD_WAYS: Final[Cases] = {
    "by nothing, where the sets do not follow": by(hop=MAIN.parts(2, to(5, C)).hop,
                                                  code="wrong_set"),
    "by the header that is held": by(way(MAIN[2].signed, Hop()), WAY_3),
    "by one before it": by(way(MAIN[1].signed, Hop()), WAY_3),
    "by the header itself": by(WAY_3, way(MAIN[5].signed, TO_5)),
    "by one after it": by(WAY_3, way(MAIN[6].signed, MAIN.parts(3, to(6, C)).hop)),
    "by one twice": by(WAY_3, way(MAIN[3].signed, Hop())),
    "by two the wrong way round": by(
        way(MAIN[4].signed, MAIN.parts(2, to(4, B)).hop), way(MAIN[3].signed)
    ),
    "by one, to the header that is held": [
        *hold(4), update(MAIN[4].signed, MAIN.path(None, to(2), to(4, B))).but("bad_path"),
    ],
    "by one before it, to the header that is held": [
        *hold(4), update(MAIN[4].signed, MAIN.path(3, to(4))),
        update(MAIN[4].signed, MAIN.path(2, to(3, B), to(4))).but("bad_path"),
    ],
    "by one from genesis, for who holds a header": [
        *hold(4), update(MAIN[6].signed, MAIN.along(6)).but("bad_path"),
    ],
    "by one that is no header": by(way(MAIN[3].signed[:22] + bytes(324)), code="bad_header"),
    "by one in another format": by(way(b"\0\2" + MAIN[3].signed[2:]), code="unknown_format"),
    "by one with a signer whom no set has": by(
        way(MAIN[3].signed[:342] + (1 << 25).to_bytes(4, "big") + bytes(64)), code="bad_header"
    ),
    "by one that a set of others signed": by(
        way(MAIN[3].signed, MAIN.parts(2, to(3, C)).hop), code="wrong_set"
    ),
    "by one that too few signed": refused(
        "not_final", 2, MAIN.branch(3, 6, signers=[0, 4]), to(3, B), to(5, C)
    ),
    "by one whose signatures do not hold": by(
        way(MAIN[3].signed[:-1] + b"\0"), code="bad_signature"
    ),
    "by one with an index too many": by(
        way(MAIN[3].signed[:345] + b"\x1f" + MAIN[3].signed[346:] + bytes(64)),
        code="unknown_attestor",
    ),
    "by one that does not continue what is held": refused(
        "bad_history", 2, MAIN.branch(2, 6, state_root=NOTHING), to(3, B), to(5, C)
    ),
    "by one of a line, to one of another": by(
        Way(WAY_3.hop, MAIN.branch(3, 4, state_root=NOTHING)[3].signed), code="bad_history"
    ),
    "by one with a hash too many": by(
        Way(WAY_3.hop._replace(hashes=(NOTHING,)), MAIN[3].signed), code="bad_path"
    ),
    "by one from the future": refused("from_the_future", 2, FUTURE, to(3, B), to(5, C)),
    "by one that comes too early": refused("from_the_future", 2, HASTY, to(3, B), to(5, C)),
    "too early after the one on the way": refused(
        "from_the_future", 2, BEHIND, to(3, B), to(5, C)
    ),
    "by one whose recovery is of another time": refused(
        "bad_path", 2, SAVED, to(3, R, recovery=order_at(2)), to(7)
    ),
    "in the middle": [*hold(1), update(MAIN[5].signed, BAD_MIDDLE).but("bad_path")],
    "in the middle, from genesis": [
        *begin(), update(MAIN[5].signed, BAD_MIDDLE).but("wrong_set"),
        update(MAIN[5].signed, MAIN.along(5)),
    ],
    "at its end": [
        *hold(2), take(MAIN.branch(7, 8, signers=[6]), 2, to(3, B), to(6, C), to(7, D))
        .but("not_final"), take(MAIN, 2, to(3, B)),
    ],
    "in another network": [
        *hold(2), take(OPEN, 2, to(3, B)).but("bad_signature"),
    ],
}  # fmt: skip

# ---- Reading a path ----

GOOD: Final = MAIN.path(2, to(3, B), to(5, C))
HEAD: Final = b"\1\0\0"
"""A path without headers, before its hop."""
MEMBER: Final = digest("key") + bytes([0, 0, 0, 1])
SIGNER: Final = bytes(96)
HASH: Final = bytes(32)


def path_of(data: bytes | Repeat, code: str = "bad_path") -> Case:
    """A client that holds the header of epoch 2 is given that of epoch 5 with these bytes."""
    return [*hold(2), update(MAIN[5].signed, data).but(code)]


BYTES: Final[Cases] = {
    "whole": path_of(GOOD, ""),
    "none at all, where nothing is needed": [*hold(1), update(MAIN[2].signed)],
    "an empty hop says the same": [*hold(1), update(MAIN[2].signed, HEAD + bytes(3))],
    **{
        f"cut off after {size}": path_of(GOOD[:size])
        for size in (1, 2, 3, 4, 5, 40, 148, 149, 150, 491, 492, 495, 496, len(GOOD) - 1)
    },
    "a byte left over": path_of(GOOD + b"\0"),
    "itself left over": path_of(GOOD * 2),
    "format 0": path_of(b"\0" + GOOD[1:], "unknown_format"),
    "format 2": path_of(b"\2" + GOOD[1:], "unknown_format"),
    "format 2, and nothing": path_of(b"\2", "unknown_format"),
    "as long as it may be": path_of(Repeat(GOOD, b"\0", MAX_PATH_BYTES - len(GOOD))),
    "longer than it may be": path_of(
        Repeat(GOOD, b"\0", MAX_PATH_BYTES + 1 - len(GOOD)), "too_large"
    ),
    "longer, in another format": path_of(Repeat(b"\2", b"\0", MAX_PATH_BYTES), "too_large"),
    "a header more than it says": path_of(GOOD[:2] + b"\2" + GOOD[3:]),
    "a header less than it says": path_of(GOOD[:2] + b"\0" + GOOD[3:]),
    "more headers than there may be": path_of(
        b"\1" + (MAX_HEADERS + 1).to_bytes(2, "big") + GOOD[3:]
    ),
    "all headers of a number": path_of(b"\1\xff\xff" + GOOD[3:]),
    "three sets": path_of(HEAD + b"\3" + (b"\1" + MEMBER) * 3 + b"\0\0"),
    "all sets of a number": path_of(HEAD + b"\xff"),
    "a set of none": path_of(HEAD + b"\1\0" + b"\0\0"),
    "two sets, one of none": path_of(HEAD + b"\2\1" + MEMBER + b"\0" + b"\0\0"),
    "a set of 26": path_of(HEAD + b"\1\x1a" + MEMBER * 26 + b"\0\0"),
    "a set of 25": path_of(HEAD + b"\1\x19" + MEMBER * 25 + b"\0\0", "wrong_set"),
    "26 recovery signatures": path_of(HEAD + b"\0\x1a" + bytes(40) + SIGNER * 26 + b"\0"),
    "25 recovery signatures": path_of(
        HEAD + b"\0\x19" + bytes(40) + SIGNER * 25 + b"\0", "wrong_set"
    ),
    "a recovery that is cut off": path_of(HEAD + b"\0\1" + bytes(40) + SIGNER[:-1]),
    "127 hashes": path_of(HEAD + b"\0\0\x7f" + HASH * 127),
    "126 hashes": path_of(HEAD + b"\0\0\x7e" + HASH * 126, "wrong_set"),
    "a hash that is cut off": path_of(HEAD + b"\0\0\1" + HASH[:-1]),
    "a signer whom no header has, without a signature": path_of(
        GOOD.replace(MAIN[3].signed, MAIN[3].signed[:342] + b"\x80" + MAIN[3].signed[343:])
    ),
}

CLASSES: Final[Mapping[str, Cases]] = {
    "hop: the history from genesis": GENESIS_HISTORY,
    "hop: the history of what is held": HELD_HISTORY,
    "hop: the history since": LATER_HISTORY,
    "path: headers on the way": WAYS,
    "path: headers on the way that do not hold": BAD_WAYS,
    "path: bytes": BYTES,
}
"""Every class of this page."""
