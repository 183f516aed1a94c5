"""Scripts about the end of trust, succession, what a client keeps, and keys that have no owner."""

from collections.abc import Sequence
from hashlib import sha256, sha512
from typing import Final

from nacl import bindings

from ledger.messages.genesis import REGISTRY
from ledger.messages.lists import (
    Attestor,
    SignedHeader,
    encode_signed_header,
    fingerprint_bits,
    header_signing_bytes,
)
from ledger.params import DAY, preset
from registry.formats.trust import Hop, Members, Path, encode_anchor, encode_path
from tests.flip import flip
from tests.registry.client.factory import NOW_MS, START_MS, MadeList, make_genesis, make_list, seat
from tests.registry.client.verify.headers import NODES, WEIGHTS, full
from tests.registry.client.verify.script import (
    Case,
    Cases,
    Step,
    at,
    entries,
    learn_history,
    load_full,
    resume,
    start,
    succeed,
    update,
    vouch,
)
from tests.registry.client.verify.signatures import (
    ORDER,
    ORDER_8,
    P,
    little,
    respond,
    secret_scalar,
    times_base,
)
from tests.registry.client.verify.trust import (
    EIGHT,
    FIVE,
    FOUNDERS,
    GENESIS,
    HOLDS_FIVE,
    NEXT,
    NINE,
    OTHERS,
    ZERO,
    given,
    make,
    one,
    path_over,
)

# ---- Keys that no ledger lets in ----


def member(key: bytes) -> Members:
    """A set of one key."""
    return (Attestor(key, 1),)


def signed_by(key: bytes, secret: int, order: int) -> Case:
    """A header that a key of small or mixed order signs, so that the equation holds."""
    who = member(key)
    anchor = make(5, FOUNDERS, who)
    made = make(8, who, after=[anchor])
    message = header_signing_bytes(sha256(GENESIS).digest(), made.raw_header)
    for r in range(1, 1000):
        first = times_base(r)
        k = int.from_bytes(sha512(first + key + message).digest(), "little") % ORDER
        if k % order == 0:
            break
    signature = respond(first, r, key, secret, message)
    signed = encode_signed_header(SignedHeader(made.raw_header, ((0, signature),)))
    path = made.path(5, who)
    return [*given(anchor, anchor.path()), update(signed, path)]


def unsigned(key: bytes, order: int) -> Case:
    """A client refuses what a key signed for which anybody can sign."""
    *before, last = signed_by(key, 0, order)
    return [*before, last.but("bad_signature")]


SECRET: Final = secret_scalar(seat(0).secret[:32])
MIXED: Final = bindings.crypto_core_ed25519_add(seat(0).public, ORDER_8)

WEAK_KEYS: Final[Cases] = {
    "of full order": signed_by(seat(0).public, SECRET, 1),
    "of mixed order": signed_by(MIXED, SECRET, 8),
    "of order 1": unsigned(little(1), 1),
    "of order 1 with a sign": unsigned(little(1 | 1 << 255), 1),
    "of order 1, not reduced": unsigned(little(P + 1), 1),
    "of order 2": unsigned(little(P - 1), 2),
    "of order 4": unsigned(little(0), 4),
    "of order 4, not reduced": unsigned(little(P), 4),
    "of order 8": unsigned(ORDER_8, 8),
    "of order 8, the other": unsigned(little(P - int.from_bytes(ORDER_8, "little")), 8),
    "of order 8 with a sign": unsigned(flip(ORDER_8, 31, 7), 8),
    "not on the curve": unsigned(little(2), 1),
    "not reduced": unsigned(little(P + 3), 1),
}

# ---- The end of trust ----

STAKED: Final = make_genesis(WEIGHTS, policy=REGISTRY)
TRUST_MS: Final = preset("minimal").trust_ms


def staked(epoch: int, time_ms: int, after: Sequence[MadeList] = ()) -> MadeList:
    """A list behind whose attestors stands stake, made so long after genesis."""
    return make(
        epoch,
        FOUNDERS,
        genesis=STAKED,
        after=after,
        valid_after_ms=START_MS + time_ms,
        fresh_until_ms=START_MS + time_ms + DAY,
        valid_until_ms=START_MS + time_ms + 30 * DAY,
    )


ONE_DAY: Final = staked(5, DAY)
FIVE_DAYS: Final = staked(8, 5 * DAY, [ONE_DAY])
ON: Final = FIVE_DAYS.path(5)
TWO: Final = path_over((ONE_DAY, ONE_DAY.hop()), to=FIVE_DAYS.hop(5))
STAKED_HASH: Final = sha256(STAKED).digest()


def word(made: MadeList, genesis_hash: bytes = STAKED_HASH) -> Step:
    """Somebody vouches for a header."""
    return vouch(fingerprint_bits(genesis_hash, made.raw_header))


HOLDS_DAY: Final = given(ONE_DAY, ONE_DAY.path(), now_ms=START_MS + DAY)
LATE: Final = [*HOLDS_DAY, at(START_MS + 5 * DAY)]
FIXED_LATE: Final = [
    start(GENESIS, START_MS + 5 * DAY, allow_expired=True),
    update(FIVE.signed, FIVE.path()),
]

TRUST: Final[Cases] = {
    "as long as it lasts, from genesis": given(
        ONE_DAY, ONE_DAY.path(), now_ms=START_MS + TRUST_MS
    ),
    "as long as it lasts, from what is held": [
        *HOLDS_DAY, at(START_MS + DAY + TRUST_MS),
        update((next_one := staked(6, 2 * DAY, [ONE_DAY])).signed, next_one.path(5)),
    ],
    "without end under policy 1": FIXED_LATE,
    "somebody vouches for the header": [
        *LATE, word(FIVE_DAYS), update(FIVE_DAYS.signed, ON),
    ],
    "somebody vouches for a header on the way": [
        start(STAKED, START_MS + DAY + TRUST_MS), word(ONE_DAY),
        update((after_two := staked(8, 2 * DAY, [ONE_DAY])).signed,
               path_over((ONE_DAY, ONE_DAY.hop()), to=after_two.hop(5))),
    ],
    "what is held is taken again": [*LATE, update(ONE_DAY.signed)],
    "a millisecond longer, from genesis": given(
        ONE_DAY, ONE_DAY.path(), "trust_expired", START_MS + TRUST_MS + 1
    ),
    "a millisecond longer, from what is held": [
        *HOLDS_DAY, at(START_MS + DAY + TRUST_MS + 1),
        update(next_one.signed, next_one.path(5)).but("trust_expired"),
    ],
    "days longer": [*LATE, update(FIVE_DAYS.signed, ON).but("trust_expired")],
    "days longer, by a header on the way": given(
        FIVE_DAYS, TWO, "trust_expired", START_MS + 5 * DAY
    ),
    "days longer, for who takes expired lists": [
        start(STAKED, START_MS + 5 * DAY, allow_expired=True),
        update(ONE_DAY.signed, ONE_DAY.path()).but("trust_expired"),
    ],
    "it ends before the list does": given(
        ONE_DAY, ONE_DAY.path(), "trust_expired", START_MS + 90 * DAY
    ),
    "somebody vouches for another header": [
        *LATE, word(FIVE), update(FIVE_DAYS.signed, ON).but("trust_expired"),
    ],
    "somebody vouches for it on another network": [
        *LATE, word(FIVE_DAYS, bytes(32)), update(FIVE_DAYS.signed, ON).but("trust_expired"),
    ],
    "somebody vouches for a header that is too old itself": [
        start(STAKED, START_MS + 5 * DAY), word(ONE_DAY),
        update(FIVE_DAYS.signed, TWO).but("trust_expired"),
    ],
    "somebody vouches for the one that is held": [
        *LATE, word(ONE_DAY), update(FIVE_DAYS.signed, ON).but("trust_expired"),
    ],
}  # fmt: skip

# ---- Succession ----

FOLLOWING: Final = make_genesis((1, 1), name=b"next", start_ms=START_MS + 100_000)
LAST: Final = make(5, FOUNDERS, NEXT, successor=sha256(FOLLOWING).digest())
HOLDS_LAST: Final = given(LAST, LAST.path())
PAST: Final = make(8, NEXT, after=[LAST])
BROKEN: Final = make(5, FOUNDERS, successor=sha256(b"no genesis").digest())
TEN_NEXT: Final = make_list(
    0,
    genesis=FOLLOWING,
    weights=(1, 1),
    entries=NODES,
    valid_after_ms=START_MS + 100_000,
    fresh_until_ms=START_MS + 200_000,
)

SUCCESSION: Final[Cases] = {
    "the last header": HOLDS_LAST,
    "the last header again": [*HOLDS_LAST, update(LAST.signed, LAST.path()), load_full(full(LAST)),
                              entries()],
    "the network that follows": [
        *HOLDS_LAST, succeed(FOLLOWING), entries().but("list_missing"), update(TEN_NEXT.signed),
        load_full(full(TEN_NEXT)),
    ],
    "a header after the last": [
        *HOLDS_LAST, update(PAST.signed, PAST.path(5, NEXT)).but("succeeded"),
    ],
    "a header after the last, of nobody": [
        *HOLDS_LAST, update(make(8, OTHERS).signed).but("succeeded"),
    ],
    "a header after the last, on the way": given(
        PAST, path_over((LAST, LAST.hop()), to=PAST.hop(5, NEXT)), "succeeded"
    ),
    "the last header, long after": [
        *given(LAST, LAST.path(), now_ms=2**52), load_full(full(LAST)).but("list_expired"),
        succeed(FOLLOWING),
    ],
    "another header, long after": given(FIVE, FIVE.path(), "list_expired", 2**52),
    "a header before the last": [*HOLDS_LAST, update(make(4, FOUNDERS).signed).but("roll_back")],
    "another last header": [
        *HOLDS_LAST, update(make(5, FOUNDERS, successor=bytes([1]) * 32).signed).but("fork"),
        succeed(FOLLOWING).but("fork"),
    ],
    "another network": [*HOLDS_LAST, succeed(GENESIS).but("wrong_successor")],
    "a network, changed": [
        *HOLDS_LAST, succeed(flip(FOLLOWING, 20)).but("wrong_successor"), succeed(FOLLOWING),
    ],
    "no network": [*HOLDS_LAST, succeed(b"").but("wrong_successor")],
    "a network after a header that names none": [
        *HOLDS_FIVE, succeed(FOLLOWING).but("wrong_successor"),
    ],
    "a network before there is a header": [start(GENESIS), succeed(FOLLOWING).but("list_missing")],
    "what is no network, although it is named": [
        *given(BROKEN), succeed(b"no genesis").but("not_canonical"), update(BROKEN.signed),
    ],
}  # fmt: skip

# ---- What is kept ----

KEPT: Final = encode_anchor(EIGHT.signed, EIGHT.hop(None, NEXT))
KEPT_FIVE: Final = encode_anchor(FIVE.signed, FIVE.hop(None, FOUNDERS, NEXT))


def resumed(anchor: bytes, code: str = "", now_ms: int = NOW_MS) -> list[Step]:
    """A client goes on from what it kept."""
    return [start(GENESIS, now_ms), resume(anchor).but(code)]


def kept(made: MadeList, hop: Hop) -> bytes:
    """What is kept of a header."""
    return encode_anchor(made.signed, hop)


RESUMED: Final[Cases] = {
    "with its history": [*resumed(KEPT), update(NINE.signed, NINE.path(8))],
    "with the next set": [*resumed(KEPT_FIVE), update(EIGHT.signed, EIGHT.path(5))],
    "without its history": [
        *resumed(kept(EIGHT, Hop((NEXT,)))), update(NINE.signed, NINE.path(8)).but("bad_path"),
        update(EIGHT.signed, EIGHT.path()), update(NINE.signed, NINE.path(8)),
    ],
    "the first of all": [
        *resumed(kept(ZERO, Hop((FOUNDERS,)))), update(one.signed, one.path(0)),
    ],
    "long ago": [
        *resumed(KEPT, now_ms=2**52), load_full(full(EIGHT)).but("list_expired"),
        update(FIVE.signed).but("roll_back"),
    ],
    "on a network with stake, past the trust period": [
        start(STAKED, START_MS + 9 * DAY), resume(kept(ONE_DAY, ONE_DAY.hop(None, FOUNDERS))),
    ],
    "nothing": resumed(b"", "bad_path"),
    **{
        f"{version} as its format": resumed(bytes([version]) + KEPT[1:], "unknown_format")
        for version in (0, 2, 255)
    },
    **{
        f"after {size} bytes": resumed(KEPT[:size], "bad_path")
        for size in (1, 300, 346, 600, len(KEPT) - 1)
    },
    "a byte too many": resumed(KEPT + b"\0", "bad_path"),
    "without a set": resumed(kept(EIGHT, EIGHT.hop()), "wrong_set"),
    "with another set": resumed(kept(EIGHT, EIGHT.hop(None, FOUNDERS)), "wrong_set"),
    "with a hash less": resumed(
        kept(NINE, Hop((NEXT,), None, NINE.hop().hashes[:-1])), "bad_path"
    ),
    "with a hash more": resumed(
        kept(NINE, Hop((NEXT,), None, (*NINE.hop().hashes, bytes(32)))), "bad_path"
    ),
    "with other hashes": resumed(
        kept(NINE, Hop((NEXT,), None, NINE.hop().hashes[::-1])), "bad_history"
    ),
    "with hashes before the first": resumed(
        kept(ZERO, Hop((FOUNDERS,), None, (bytes(32),))), "bad_path"
    ),
    "with a signature less": resumed(
        kept(make(8, NEXT, signers=(0, 1)), EIGHT.hop(None, NEXT)), "not_final"
    ),
    "with a wrong signature": resumed(
        kept(make(8, NEXT, signatures={0: bytes(64)}), EIGHT.hop(None, NEXT)), "bad_signature"
    ),
    "with a signature of nobody": resumed(
        kept(make(8, NEXT, signatures={4: bytes(64)}), EIGHT.hop(None, NEXT)), "unknown_attestor"
    ),
    "of an attestor that there cannot be": resumed(
        kept(make(8, NEXT, signatures={25: bytes(64)}), EIGHT.hop(None, NEXT)), "bad_header"
    ),
    "of a header of another format": resumed(
        kept(make(8, NEXT, format_version=2), EIGHT.hop(None, NEXT)), "unknown_format"
    ),
    "from the future": resumed(KEPT, "from_the_future", START_MS - 300_000),
    "too early": resumed(
        kept(
            (soon := make(8, NEXT, valid_after_ms=EIGHT.header.valid_after_ms - 1)),
            soon.hop(None, NEXT),
        ),
        "from_the_future",
    ),
}  # fmt: skip

# ---- A history that is learned later ----

KNOWS_LITTLE: Final = given(FIVE)


def learned(path: bytes, code: str = "", held: Case = KNOWS_LITTLE) -> list[Step]:
    """A client that took its first header without a path gets the history before it."""
    return [*held, learn_history(path).but(code)]


def hashes_only(*hashes: bytes) -> bytes:
    """A path of one hop with nothing but hashes."""
    return encode_path(Path(hop=Hop(hashes=hashes)))


PEAKS: Final = FIVE.hop().hashes

LEARNED: Final[Cases] = {
    "the peaks": [*learned(FIVE.path()), update(EIGHT.signed, EIGHT.path(5, NEXT))],
    "the peaks once more": [*learned(FIVE.path()), learn_history(FIVE.path())],
    "after it has expired": [*KNOWS_LITTLE, at(2**52), learn_history(FIVE.path())],
    "nothing of it": [
        *learned(b""), update(EIGHT.signed, EIGHT.path(5, NEXT)).but("bad_path"),
    ],
    "before there is a header": learned(FIVE.path(), "list_missing", [start(GENESIS)]),
    "a peak less": learned(hashes_only(*PEAKS[:-1]), "bad_path"),
    "a peak more": learned(hashes_only(*PEAKS, bytes(32)), "bad_path"),
    "the peaks in another order": learned(hashes_only(*PEAKS[::-1]), "bad_history"),
    "other peaks": learned(hashes_only(bytes(32), bytes(32)), "bad_history"),
    "the peaks of another header": learned(NINE.path(), "bad_history"),
    "another format": learned(b"\2" + FIVE.path()[1:], "unknown_format"),
    "cut off": learned(FIVE.path()[:-1], "bad_path"),
    "a byte too many": learned(FIVE.path() + b"\0", "bad_path"),
}  # fmt: skip

CLASSES: Final[dict[str, Cases]] = {
    "path: a history that is learned": LEARNED,
    "path: keys of small and mixed order": WEAK_KEYS,
    "path: trust period": TRUST,
    "path: succession": SUCCESSION,
    "resume": RESUMED,
}
"""Every class of this page."""

NAMES: Final = {
    "genesis with stake": STAKED,
    "last header": LAST.signed,
    "header of a day": ONE_DAY.signed,
    "kept 8": KEPT,
}
"""Bytes that many cases share."""

BEGINNINGS: Final[dict[str, Case]] = {
    "recovery, last header": HOLDS_LAST,
    "stake, header of a day": HOLDS_DAY,
    "stake, days later": LATE,
}
"""Steps with which many cases begin."""
