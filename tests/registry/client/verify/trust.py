"""Scripts about the way from what is trusted to a newer header, and about what is kept of it."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

from ledger.crypto import key_pair, sign
from ledger.messages.lists import (
    Attestor,
    SignedHeader,
    attestor_set_hash,
    encode_signed_header,
    header_signing_bytes,
)
from registry.formats.trust import (
    MAX_PATH_BYTES,
    Hop,
    Members,
    Path,
    Way,
    encode_path,
)
from tests.flip import flip
from tests.registry.client.factory import (
    NOW_MS,
    MadeList,
    digest,
    make_genesis,
    make_list,
    seat,
)
from tests.registry.client.verify.headers import NODES, WEIGHTS
from tests.registry.client.verify.script import (
    Case,
    Cases,
    Data,
    Repeat,
    Step,
    start,
    update,
)

RECOVERY_KEYS: Final = tuple(sorted(key_pair(digest(f"recovery {n}")) for n in range(4)))
GENESIS: Final = make_genesis(WEIGHTS, recovery=tuple(pair.public for pair in RECOVERY_KEYS))


def members(*seats: int, weights: Sequence[int] = ()) -> Members:
    """A set of these seats."""
    each = weights or [1] * len(seats)
    return tuple(Attestor(seat(n).public, w) for n, w in zip(seats, each, strict=True))


FOUNDERS: Final = members(0, 1, 2, 3)
NEXT: Final = members(1, 2, 3, 4)
OTHERS: Final = members(5, 6, 7, 8)
KEYS: Final = {seat(n).public: seat(n) for n in range(25)}


def make(
    epoch: int,
    who: Members,
    following: Members | None = None,
    signers: Sequence[int] | None = None,
    genesis: bytes = GENESIS,
    after: Sequence[MadeList] = (),
    signatures: dict[int, bytes] | None = None,
    **changes: Any,
) -> MadeList:
    """A list whose header a set signs; `signers` are indices, everybody unless they are given."""
    sets = {
        "set_hash": attestor_set_hash(who),
        "next_set_hash": attestor_set_hash(following or who),
    }
    made = make_list(
        epoch, genesis=genesis, weights=WEIGHTS, signers=(), entries=NODES, after=after,
        **(sets | changes),
    )  # fmt: skip
    message = header_signing_bytes(sha256(genesis).digest(), made.raw_header)
    indices = range(len(who)) if signers is None else signers
    each = {n: sign(KEYS[who[n].list_key], message) for n in indices if who[n].list_key in KEYS}
    each |= signatures or {}
    signed = SignedHeader(made.raw_header, tuple(sorted(each.items())))
    return replace(made, signed=encode_signed_header(signed))


FIVE: Final = make(5, FOUNDERS, NEXT)
EIGHT: Final = make(8, NEXT, after=[FIVE])
NINE: Final = make(9, NEXT, after=[EIGHT])


def path_over(*ways: tuple[MadeList, Hop], to: Hop) -> bytes:
    """A path over headers, each with the hop to it."""
    return encode_path(Path(tuple(Way(hop, made.signed) for made, hop in ways), to))


PATH: Final = path_over((FIVE, FIVE.hop()), to=EIGHT.hop(5, NEXT))
"""The path to the header of epoch 8 from genesis."""


def given(made: MadeList, path: Data = b"", code: str = "", now_ms: int = NOW_MS) -> list[Step]:
    """A client that has nothing is given a header and a path."""
    return [start(made.genesis, now_ms), update(made.signed, path).but(code)]


HOLDS_FIVE: Final = given(FIVE, FIVE.path())


def then(made: MadeList, path: Data = b"", code: str = "", held: Case = HOLDS_FIVE) -> list[Step]:
    """A client that holds a header is given a newer one."""
    return [*held, update(made.signed, path).but(code)]


# ---- Bytes ----

EMPTY_PATH: Final = encode_path(Path())
WAY_AT: Final = 3
HEADER_AT: Final = WAY_AT + 3 + 32 * 2
HEADER_END: Final = HEADER_AT + len(FIVE.signed)
"""Where the signed header lies in `PATH`; behind it come one set, no recovery and two hashes."""

CUT_OFF: Final[Cases] = {
    "whole": given(EIGHT, PATH),
    "none at all": given(FIVE),
    **{
        f"after {size} bytes": given(EIGHT, PATH[:size], "bad_path")
        for size in (1, 2, 3, 4, 5, 6, 30, HEADER_AT - 1, HEADER_AT + 345, HEADER_END - 1,
                     HEADER_END, HEADER_END + 2, len(PATH) - 64, len(PATH) - 1)
    },
}  # fmt: skip

EXTENDED: Final[Cases] = {
    "not at all": given(EIGHT, PATH),
    "by a byte": given(EIGHT, PATH + b"\0", "bad_path"),
    "by a hop": given(EIGHT, PATH + bytes(3), "bad_path"),
    "by a hash": given(EIGHT, PATH + bytes(32), "bad_path"),
    "by itself": given(EIGHT, PATH * 2, "bad_path"),
    "to the most bytes that there may be": given(
        EIGHT, Repeat(PATH, b"\0", MAX_PATH_BYTES - len(PATH)), "bad_path"
    ),
    "by one more": given(
        EIGHT, Repeat(PATH, b"\0", MAX_PATH_BYTES - len(PATH) + 1), "too_large"
    ),
}  # fmt: skip

VERSIONS: Final[Cases] = {
    "1": given(EIGHT, PATH),
    **{
        str(version): given(EIGHT, bytes([version]) + PATH[1:], "unknown_format")
        for version in (0, 2, 3, 128, 255)
    },
    "2, and too large": given(EIGHT, Repeat(b"\2", b"\0", MAX_PATH_BYTES), "too_large"),
    "for an older header": [*given(EIGHT, PATH), update(FIVE.signed, b"\2").but("roll_back")],
}


def number_at(place: int, value: int) -> bytes:
    """The path with another byte."""
    return PATH[:place] + bytes([value]) + PATH[place + 1 :]


def one_hop(sets: bytes = b"\0", recovery: bytes = b"\0", hashes: bytes = b"\0") -> bytes:
    """A path of one hop, of bytes."""
    return b"\1\0\0" + sets + recovery + hashes


SEAT: Final = seat(0).public + bytes(3) + b"\1"

COUNTS: Final[Cases] = {
    "as many as there are": given(EIGHT, PATH),
    "as many as there may be": then(
        make(6, NEXT, after=[FIVE]),
        one_hop(b"\2" + b"\x19" + SEAT * 25 + b"\1" + SEAT),
        "wrong_set",
    ),
    "a header more": given(EIGHT, number_at(2, 2), "bad_path"),
    "a header less": given(EIGHT, number_at(2, 0), "bad_path"),
    "as many headers as a number has": given(EIGHT, b"\1\xff\xff" + PATH[3:], "bad_path"),
    "1001 headers": given(
        EIGHT, Repeat(b"\1\x03\xe9", bytes(3) + FIVE.signed, 1001, bytes(3)), "bad_path"
    ),
    "1000 headers, and all the same": given(
        EIGHT, Repeat(b"\1\x03\xe8", FIVE.path()[3:] + FIVE.signed, 1000, bytes(3)), "bad_path"
    ),
    "a set more": given(EIGHT, number_at(HEADER_END, 2), "bad_path"),
    "a set less": given(EIGHT, number_at(HEADER_END, 0), "bad_path"),
    "three sets": given(FIVE, one_hop(b"\3" + (b"\1" + SEAT) * 3), "bad_path"),
    "a set of nobody": given(FIVE, one_hop(b"\1\0"), "bad_path"),
    "a set of 26": given(FIVE, one_hop(b"\1\x1a" + SEAT * 26), "bad_path"),
    "an attestor less": given(EIGHT, number_at(HEADER_END + 1, 3), "bad_path"),
    "26 recovery signatures": given(
        FIVE, one_hop(recovery=b"\x1a" + bytes(40) + bytes(96) * 26), "bad_path"
    ),
    "a recovery signature that is not there": given(
        FIVE, one_hop(recovery=b"\1" + bytes(40)), "bad_path"
    ),
    "127 hashes": given(FIVE, one_hop(hashes=b"\x7f" + bytes(32) * 127), "bad_path"),
    "126 hashes": given(FIVE, one_hop(hashes=b"\x7e" + bytes(32) * 126), "bad_path"),
    "a hash more": given(EIGHT, number_at(WAY_AT + 2, 3), "bad_path"),
}

FLIPPED: Final[Cases] = {
    "none": given(EIGHT, PATH),
    "the format": given(EIGHT, flip(PATH, 0), "unknown_format"),
    "a hash of the first hop": given(EIGHT, flip(PATH, WAY_AT + 3), "bad_history"),
    "the other hash of the first hop": given(EIGHT, flip(PATH, WAY_AT + 3 + 63), "bad_history"),
    "the format of the header on the way": given(EIGHT, flip(PATH, HEADER_AT), "unknown_format"),
    "the epoch of the header on the way": given(EIGHT, flip(PATH, HEADER_AT + 13), "bad_signature"),
    "the times of the header on the way": given(EIGHT, flip(PATH, HEADER_AT + 22, 7), "bad_header"),
    "the set of the header on the way": given(EIGHT, flip(PATH, HEADER_AT + 118), "wrong_set"),
    "the history of the header on the way": given(
        EIGHT, flip(PATH, HEADER_AT + 182), "bad_signature"
    ),
    "the signers of the header on the way": given(
        EIGHT, flip(PATH, HEADER_AT + 342), "bad_path"
    ),
    "a signature of the header on the way": given(
        EIGHT, flip(PATH, HEADER_AT + 346), "bad_signature"
    ),
    "a key of the set": given(EIGHT, flip(PATH, HEADER_END + 2), "wrong_set"),
    "a weight of the set": given(EIGHT, flip(PATH, HEADER_END + 2 + 35, 1), "wrong_set"),
    "a hash of the last hop": given(EIGHT, flip(PATH), "bad_history"),
}  # fmt: skip

# ---- History ----

NO_HISTORY: Final = given(FIVE)
ELSEWHERE: Final = make(8, NEXT, after=[make(5, FOUNDERS, NEXT, state_root=bytes(32))])
HASHES: Final = EIGHT.hop(5).hashes


def hashes(*each: bytes, sets: Sequence[Members] = (NEXT,)) -> bytes:
    """A path of one hop with these hashes."""
    return encode_path(Path((), Hop(tuple(sets), None, each)))


ZERO: Final = make(0, FOUNDERS)

HISTORY: Final[Cases] = {
    "it is continued": then(EIGHT, EIGHT.path(5, NEXT)),
    "over several headers": [
        *HOLDS_FIVE, update(EIGHT.signed, EIGHT.path(5, NEXT)), update(NINE.signed, NINE.path(8)),
    ],
    "the next one needs no hashes": then(make(6, NEXT, after=[FIVE]), hashes()),
    "it is unknown at first, and learned": [
        *NO_HISTORY, update(FIVE.signed, FIVE.path()), update(EIGHT.signed, EIGHT.path(5, NEXT)),
    ],
    "it is known, and shown again": then(FIVE, FIVE.path()),
    "none before the first": [
        *given(ZERO), update((one := make(1, FOUNDERS, after=[ZERO])).signed, one.path(0)),
    ],
    "it is unknown": [*NO_HISTORY, update(EIGHT.signed, EIGHT.path(5, NEXT)).but("bad_path")],
    "it is unknown, on the way": given(
        EIGHT, path_over((FIVE, Hop()), to=EIGHT.hop(5, NEXT)), "bad_path"
    ),
    "no hashes": then(EIGHT, hashes(), "bad_path"),
    "a hash less": then(EIGHT, hashes(*HASHES[:-1]), "bad_path"),
    "a hash more": then(EIGHT, hashes(*HASHES, bytes(32)), "bad_path"),
    "the hashes from genesis": then(EIGHT, hashes(*EIGHT.hop().hashes), "bad_history"),
    "another hash": then(EIGHT, hashes(bytes(32), *HASHES[1:]), "bad_history"),
    "a hash twice": then(NINE, hashes(HASHES[0], HASHES[0]), "bad_history"),
    "that of a list with another one before it": then(
        ELSEWHERE, ELSEWHERE.path(5, NEXT), "bad_history"
    ),
    "that of the next one with another one before it": then(
        make(6, NEXT, after=[ELSEWHERE], history_root=ELSEWHERE.header.history_root),
        hashes(),
        "bad_history",
    ),
    "hashes before the first": given(ZERO, hashes(bytes(32), sets=()), "bad_path"),
    "another root before the first": given(
        make(0, FOUNDERS, history_root=bytes(32)), b"", "bad_history"
    ),
    "too few hashes for what is held": [
        *NO_HISTORY, update(FIVE.signed, hashes(bytes(32), sets=())).but("bad_path"),
    ],
    "other hashes for what is held": then(
        FIVE, hashes(FIVE.hop().hashes[0], bytes(32), sets=()), "bad_history"
    ),
    "the hashes from genesis the wrong way round": given(
        FIVE, hashes(*FIVE.hop().hashes[::-1], sets=()), "bad_history"
    ),
    "an epoch far away": then(
        make(2**50, NEXT, after=[FIVE]), hashes(), "bad_path"
    ),
}  # fmt: skip

CLASSES: Final[dict[str, Cases]] = {
    "path: cut off": CUT_OFF,
    "path: extended": EXTENDED,
    "path: version": VERSIONS,
    "path: numbers": COUNTS,
    "path: a bit is another one": FLIPPED,
    "path: history": HISTORY,
}
"""Every class of this page."""

NAMES: Final = {
    "genesis with recovery": GENESIS,
    "header 5": FIVE.signed,
    "header 8": EIGHT.signed,
    "header 9": NINE.signed,
    "path to 5": FIVE.path(),
    "path to 8": PATH,
    "path from 5 to 8": EIGHT.path(5, NEXT),
}
"""Bytes that many cases share."""

BEGINNINGS: Final[dict[str, Case]] = {
    "recovery": [start(GENESIS)],
    "recovery, header 5": HOLDS_FIVE,
    "recovery, header 5, no history": NO_HISTORY,
}
"""Steps with which many cases begin."""
