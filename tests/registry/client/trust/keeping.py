"""Scripts about a client over years: how long it trusts, what it keeps, what follows."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from ledger.messages.genesis import REGISTRY
from ledger.messages.lists import fingerprint_bits
from ledger.params import DAY, preset
from registry.client import TrustedLists
from registry.client.checks import MAX_AHEAD_MS
from registry.formats.trust import Hop, decode_anchor, encode_anchor
from tests.registry.client.factory import EPOCH_MS, START_MS
from tests.registry.client.trust.hops import (
    BEYOND,
    GENESIS,
    MAIN,
    NOW_MS,
    ORDER,
    SAVED,
    A,
    B,
    C,
    D,
    R,
    begin,
    hold,
    order_at,
    take,
)
from tests.registry.client.trust.line import (
    Line,
    Seats,
    found,
    make_line,
    members_of,
    to,
    with_signature,
)
from tests.registry.client.verify.script import (
    Case,
    Cases,
    Repeat,
    Step,
    at,
    resume,
    start,
    succeed,
    update,
    vouch,
)

# ---- Trust period ----

TRUST_MS: Final = preset("minimal").trust_ms
FIRST: Final[Seats] = {0: 1}
SECOND: Final[Seats] = {1: 1}
THIRD: Final[Seats] = {2: 1}
"""Sets of one attestor each, who follow one another."""
OPEN: Final = found(FIRST, policy=REGISTRY)
CLOSED: Final = found(FIRST)
TURNS: Final = {0: FIRST, 3: SECOND, 5: THIRD}


def made_at(time_ms: int) -> dict[str, Any]:
    """Fields of a header that was made at a time."""
    return {
        "valid_after_ms": time_ms,
        "fresh_until_ms": time_ms + EPOCH_MS,
        "valid_until_ms": time_ms + 3 * EPOCH_MS,
    }


def stretch(genesis: bytes, times: Mapping[int, int], turns: Mapping[int, Seats] = TURNS) -> Line:
    """Return a line whose headers were made at these times, by epoch; none between them."""
    line = make_line(genesis, turns, 0)
    for epoch in range(max(times) + 1):
        changes = made_at(times[epoch]) if epoch in times else {}
        line = line.branch(epoch, epoch + 1, **changes)
    return line


T: Final = START_MS + 2 * EPOCH_MS
"""When the client was here last: the time of epoch 2."""
END: Final = T + TRUST_MS
"""The last millisecond of its trust in those who signed then."""
MIDDLE: Final = T + DAY
"""The time of a header on the way."""
YEARS: Final = T + 3_000 * DAY


def since(last_ms: int, genesis: bytes = OPEN) -> Line:
    """Epoch 2 at its time, epoch 4 a day later, and epoch 6 at the end."""
    return stretch(genesis, {2: T, 4: MIDDLE, 6: last_ms})


def word_for(line: Line, epoch: int, genesis: bytes = OPEN) -> Step:
    """Somebody vouches for a header."""
    return vouch(fingerprint_bits(sha256(genesis).digest(), line[epoch].raw_header))


def back(line: Line, *words: Step, now_ms: int | None = None, code: str = "") -> Case:
    """A client that held the header of epoch 2 comes back at the time of that of epoch 6."""
    path = line.path(2, to(4, SECOND), to(6, THIRD))
    now_ms = line[6].header.valid_after_ms if now_ms is None else now_ms
    first = hold(2, line, T)
    return [*first, *words, at(now_ms), update(line[6].signed, path).but(code)]


OLD, OLDER = since(END), since(END + 1)
MOST: Final = since(MIDDLE + TRUST_MS)
"""Its last header comes when the trust that begins with the one on the way ends."""
TOO_OLD: Final = since(MIDDLE + TRUST_MS + 1)
FIXED_LINE: Final = stretch(CLOSED, {2: T, 3: YEARS})
FRESH: Final = stretch(OPEN, {2: START_MS + TRUST_MS})
STALE: Final = stretch(OPEN, {2: START_MS + TRUST_MS + 1})
KEPT: Final = make_line(OPEN, TURNS, 2).branch(2, 3, valid_until_ms=2**62)
"""A header that stays valid for ever, so that nothing but trust in it ends."""

EXPIRED: Final = "trust_expired"
PERIOD: Final[Cases] = {
    "at its end": back(OLD),
    "a millisecond later": back(OLDER, code=EXPIRED),
    "a header from before its end, a millisecond later": back(OLD, now_ms=END + 1, code=EXPIRED),
    "somebody vouches for the header itself": back(OLDER, word_for(OLDER, 6)),
    "somebody vouches for one on the way": back(OLDER, word_for(OLDER, 4)),
    "at the end of that of one on the way": back(MOST, word_for(MOST, 4)),
    "a millisecond after that": back(TOO_OLD, word_for(TOO_OLD, 4), code=EXPIRED),
    "somebody vouches for both": back(TOO_OLD, word_for(TOO_OLD, 6), word_for(TOO_OLD, 4)),
    "somebody vouches for the one that is held": back(OLDER, word_for(OLDER, 2), code=EXPIRED),
    "somebody vouches for one that is not on the way": back(
        OLDER, word_for(OLDER, 5), code=EXPIRED
    ),
    "somebody vouches for one of another line": back(OLDER, word_for(OLD, 6), code=EXPIRED),
    "somebody vouches for it in another network": back(
        OLDER, word_for(OLDER, 6, CLOSED), code=EXPIRED
    ),
    "a word that comes later": [
        *back(OLDER, code=EXPIRED), word_for(OLDER, 4),
        update(OLDER[6].signed, OLDER.path(2, to(4, SECOND), to(6, THIRD))),
    ],
    "a word is kept until it is needed": [
        *begin(OLDER, T), word_for(OLDER, 4), update(OLDER[2].signed, OLDER.along(2)), at(END + 1),
        update(OLDER[6].signed, OLDER.path(2, to(4, SECOND), to(6, THIRD))),
    ],
    "it begins anew with each header that is taken": [
        *hold(2, TOO_OLD, T), at(MIDDLE), take(TOO_OLD, 2, to(4, SECOND)),
        at(MIDDLE + TRUST_MS + 1), take(TOO_OLD, 4, to(6, THIRD)).but(EXPIRED),
    ],
    "the header that is held, after it": [
        *hold(2, KEPT, T), at(YEARS), update(KEPT[2].signed), take(KEPT, 2, to(2, SECOND)),
    ],
    "from genesis, at its end": [
        *begin(FRESH, START_MS + TRUST_MS), take(FRESH, None, to(2)),
    ],
    "from genesis, a millisecond later": [
        *begin(STALE, START_MS + TRUST_MS + 1), take(STALE, None, to(2)).but(EXPIRED),
    ],
    "from genesis, somebody vouches": [
        *begin(STALE, START_MS + TRUST_MS + 1), word_for(STALE, 2), take(STALE, None, to(2)),
    ],
    "from genesis, somebody vouches for one on the way": [
        *begin(OLDER, END + 1), word_for(OLDER, 4),
        update(OLDER[6].signed, OLDER.along(6)),
    ],
    "a word does not make a header final": [
        *hold(2, OLDER, T), at(END + 1),
        word_for(few := OLDER.branch(6, 7, signers=[], **made_at(END + 1)), 6),
        update(few[6].signed, few.path(2, to(4, SECOND), to(6, THIRD))).but("not_final"),
    ],
    "who takes expired lists does not trust for longer": [
        start(OPEN, T, allow_expired=True), update(OLDER[2].signed, OLDER.along(2)), at(END + 1),
        update(OLDER[6].signed, OLDER.path(2, to(4, SECOND), to(6, THIRD))).but(EXPIRED),
    ],
    "under policy 1 it has no end": [
        *hold(2, FIXED_LINE, T), at(YEARS), take(FIXED_LINE, 2, to(3, SECOND)),
    ],
    "under policy 1, from genesis": [
        *begin(FIXED_LINE, YEARS), update(FIXED_LINE[3].signed, FIXED_LINE.along(3)),
    ],
    "goes on over a restart": [
        *hold(2, OLDER, T), start(OPEN, END + 1),
        resume(
            encode_anchor(OLDER[2].signed, OLDER[2].hop()._replace(sets=(members_of(FIRST),)))
        ),
        update(OLDER[6].signed, OLDER.path(2, to(4, SECOND), to(6, THIRD))).but(EXPIRED),
    ],
}  # fmt: skip

# ---- Succession ----

FOLLOWING: Final = found(B, name=b"second", start_ms=START_MS + 4 * EPOCH_MS)
NEXT: Final = make_line(FOLLOWING, {0: B}, 1).branch(0, 1, valid_after_ms=START_MS + 4 * EPOCH_MS)
LAST: Final = MAIN.branch(4, 8, successor=sha256(FOLLOWING).digest())
"""Epoch 4 is the last of the network; what comes after it here should not be there."""
NO_GENESIS: Final = found(B, version=2)
BAD_LAST: Final = MAIN.branch(4, 5, successor=sha256(NO_GENESIS).digest())
AT_THE_END: Final = hold(4, LAST)

SUCCESSION: Final[Cases] = {
    "the last header": AT_THE_END,
    "the last header again": [*AT_THE_END, update(LAST[4].signed)],
    "the network that goes on": [*AT_THE_END, succeed(FOLLOWING), update(NEXT[0].signed)],
    "the network that goes on begins anew": [
        *AT_THE_END, succeed(FOLLOWING), update(LAST[4].signed, LAST.along(4)).but("wrong_set"),
        succeed(FOLLOWING).but("list_missing"),
    ],
    "another genesis file": [*AT_THE_END, succeed(GENESIS).but("wrong_successor")],
    "a genesis file with a byte more": [
        *AT_THE_END, succeed(FOLLOWING + b"\0").but("wrong_successor"),
    ],
    "no genesis file": [*AT_THE_END, succeed(b"").but("wrong_successor")],
    "one that was named and is none": [
        *hold(4, BAD_LAST), succeed(NO_GENESIS).but("bad_genesis"), update(BAD_LAST[4].signed),
    ],
    "before there is a header": [*begin(), succeed(FOLLOWING).but("list_missing")],
    "while the network goes on itself": [*hold(4), succeed(FOLLOWING).but("wrong_successor")],
    "after a fork": [
        *AT_THE_END, update(MAIN[4].signed).but("fork"), succeed(FOLLOWING).but("fork"),
    ],
    "a header after the last one": [*AT_THE_END, take(LAST, 4, to(5, C)).but("succeeded")],
    "a header long after it": [
        *AT_THE_END, take(LAST, 4, to(6, C), to(7, D)).but("succeeded"),
    ],
    "a way past the last one": [
        *hold(2), take(LAST, 2, to(4, B), to(6, C)).but("succeeded"),
        take(LAST, 2, to(4, B)),
    ],
    "a way past the last one, from genesis": [
        *begin(), take(LAST, None, to(4, B), to(6, C)).but("succeeded"),
    ],
    "a header before the last one": [*AT_THE_END, update(LAST[3].signed).but("roll_back")],
    "the recovery keys do not undo it": [
        *AT_THE_END,
        take(LAST.branch(5, 6, {5: R}), 4, to(5, R, recovery=order_at(5))).but("succeeded"),
    ],
    "a fork of the last one is one": [*AT_THE_END, update(MAIN[4].signed).but("fork")],
}  # fmt: skip

# ---- Going on after a restart ----


def kept(epoch: int, *steps: Step, line: Line = MAIN) -> bytes:
    """What a client keeps that holds a header."""
    client = TrustedLists(line.genesis, NOW_MS)
    client.update(line[epoch].signed, line.along(epoch))
    for step in steps:
        client.update(*step.values.values())  # type: ignore[arg-type]
    return client.anchor_file


FILE: Final = kept(3)
SIGNED, HOP = decode_anchor(FILE)
KNOWING: Final = kept(4, take(MAIN, 4, to(4, C)))
UNKNOWN: Final = encode_anchor(SIGNED, HOP._replace(hashes=()))
FAR: Final = MAIN.branch(3, 4, **made_at(NOW_MS + MAX_AHEAD_MS))[3].signed
TOO_FAR: Final = MAIN.branch(3, 4, **made_at(NOW_MS + MAX_AHEAD_MS + 1))[3].signed
EARLY: Final = MAIN.branch(3, 4, **made_at(START_MS + 3 * EPOCH_MS - 1))[3].signed


def again(file: bytes | Repeat, *steps: Step, code: str = "", now_ms: int = NOW_MS) -> Case:
    """A client is started anew with what it kept."""
    return [start(GENESIS, now_ms), resume(file).but(code), *steps]


def damaged(signed: bytes, code: str, **changes: Any) -> Case:
    """The same, of what belongs to the header of epoch 3."""
    return again(encode_anchor(signed, HOP._replace(**changes)), code=code)


RESTART: Final[Cases] = {
    "what it held": again(FILE),
    "what it held, then the next header": again(FILE, update(MAIN[4].signed)),
    "the next set is known": again(KNOWING, update(MAIN[5].signed)),
    "the next set is not known": again(
        kept(4), update(MAIN[5].signed).but("wrong_set"), take(MAIN, 4, to(5, C))
    ),
    "the first header": again(kept(0), update(MAIN[1].signed)),
    "without the history": again(
        UNKNOWN, update(MAIN[4].signed).but("bad_path"), take(MAIN, None, to(3)),
        update(MAIN[4].signed),
    ),
    "what is older does not come back": again(FILE, update(MAIN[2].signed).but("roll_back")),
    "long after": again(
        FILE, update(MAIN[3].signed).but("list_expired"), now_ms=NOW_MS + 1_000 * DAY
    ),
    "a fork of what was held": again(
        FILE, update(MAIN.branch(3, 4, state_root=bytes(32))[3].signed).but("fork")
    ),
    "what recovery keys put in": again(
        encode_anchor(SAVED[4].signed, Hop((members_of(R),), None,
                                                        SAVED[4].hop().hashes)),
        update(SAVED[5].signed),
    ),
    "a set that the header does not name beside its own": damaged(
        SIGNED, "", sets=(members_of(D), members_of(B))
    ),
    "no bytes": again(b"", code="bad_path"),
    "the format alone": again(b"\1", code="bad_path"),
    "another format": again(b"\2" + FILE[1:], code="unknown_format"),
    **{
        f"cut off after {size}": again(FILE[:size], code="bad_path")
        for size in (2, 342, 343, 346, 347, 602, 603, 604, len(FILE) - 1)
    },
    "a byte left over": again(FILE + b"\0", code="bad_path"),
    "longer than one can be": again(Repeat(FILE, b"\0", 20_000), code="bad_path"),
    "the signed header alone": again(SIGNED, code="unknown_format"),
    "no header in it": damaged(bytes(22).join((SIGNED[:22], SIGNED[44:])), "bad_header"),
    "a header of another format": damaged(b"\0\2" + SIGNED[2:], "unknown_format"),
    "a signer whom no set has": damaged(
        SIGNED[:342] + (1 << 25).to_bytes(4, "big") + bytes(64), "bad_header"
    ),
    "no set": damaged(SIGNED, "wrong_set", sets=()),
    "another set": damaged(SIGNED, "wrong_set", sets=(members_of(A),)),
    "the next set alone": again(
        encode_anchor(MAIN[2].signed, Hop((members_of(B),), None, MAIN[2].hop().hashes)),
        code="wrong_set",
    ),
    "three sets": again(
        encode_anchor(SIGNED, HOP._replace(sets=HOP.sets * 3)), code="bad_path"
    ),
    "an index beyond the set": damaged(with_signature(SIGNED, BEYOND), "unknown_attestor"),
    "too few signatures": damaged(
        MAIN.branch(3, 4, signers=[0, 4])[3].signed, "not_final"
    ),
    "a signature that does not hold": damaged(with_signature(SIGNED, 0), "bad_signature"),
    "of another network": [start(OPEN, NOW_MS), resume(FILE).but("bad_signature")],
    "a peak less": damaged(SIGNED, "bad_path", hashes=HOP.hashes[:1]),
    "a peak more": damaged(SIGNED, "bad_path", hashes=(*HOP.hashes, bytes(32))),
    "another peak": damaged(SIGNED, "bad_history", hashes=(HOP.hashes[0], bytes(32))),
    "peaks before the first header": again(
        encode_anchor(MAIN[0].signed, Hop((members_of(A),), None, (bytes(32),))), code="bad_path"
    ),
    "five minutes ahead": damaged(FAR, ""),
    "a millisecond more": damaged(TOO_FAR, "from_the_future"),
    "earlier than its epoch can be": damaged(EARLY, "from_the_future"),
}  # fmt: skip

# ---- Of two faults the first one in the order of the checks gives the code ----

FEW: Final = MAIN.branch(3, 4, signers=[0, 4], history_root=bytes(32))[3].signed
BROKEN: Final = with_signature(MAIN.branch(3, 4, state_root=bytes(32))[3].signed, 0)
DIFFERENT: Final = MAIN.branch(3, 4, history_root=bytes(32), **made_at(NOW_MS + DAY))[3].signed
STOPPED: Final = [*hold(3), update(DIFFERENT).but("fork")]
ENDED: Final = stretch(OPEN, {2: T, 4: MIDDLE, 6: MIDDLE + 2 * EPOCH_MS})
"""Its last header has expired when the trust in the first one has."""
TO_3: Final = MAIN.path(2, to(3, B))
OF_D: Final = MAIN.parts(2, to(3, D))

ORDERED: Final[Cases] = {
    "a fork, then bytes that are no header": [*STOPPED, update(b"").but("fork")],
    "no header, then a path of another format": [*hold(2), update(b"", b"\2").but("bad_header")],
    "an older header, then a path of another format": [
        *hold(2), update(MAIN[1].signed, b"\2").but("roll_back"),
    ],
    "a path of another format, then too few signatures": [
        *hold(2), update(FEW, b"\2").but("unknown_format"),
    ],
    "a path that is cut off, then an unknown set": [
        *hold(2), update(MAIN[3].signed, b"\1").but("bad_path"),
    ],
    "a header on the way, then the header itself": [
        *hold(2), update(FEW, MAIN.path(2, to(3, B), to(5, C))).but("bad_path"),
    ],
    "a header after the last one, then an unknown set": [
        *AT_THE_END, update(MAIN[7].signed).but("succeeded"),
    ],
    "an unknown set, then too few signatures": [*hold(2), update(FEW).but("wrong_set")],
    "a recovery, then too few signatures": [
        *hold(2),
        update(
            MAIN.branch(3, 4, {3: R}, signers=[10])[3].signed,
            SAVED.path(2, to(3, R, recovery=order_at(2))),
        ).but("bad_path"),
    ],
    "a recovery of another time, then by too few": [
        *hold(2),
        take(SAVED, 2, to(3, R, recovery=ORDER._replace(begin=2, signers=ORDER.signers[:1])))
        .but("bad_path"),
    ],
    "a recovery by too few, then a signature that does not hold": [
        *hold(2),
        take(SAVED, 2, to(3, R, recovery=ORDER._replace(
            tips_hash=bytes(32), signers=ORDER.signers[:4]
        ))).but("wrong_set"),
    ],
    "an unknown attestor, then too few signatures": [
        *hold(2), update(with_signature(FEW, BEYOND), TO_3).but("unknown_attestor"),
    ],
    "too few signatures, then one that does not hold": [
        *hold(2), update(with_signature(FEW, 0), TO_3).but("not_final"),
    ],
    "too few signatures, then another history": [*hold(2), update(FEW, TO_3).but("not_final")],
    "a signature that does not hold, then a fork": [*hold(3), update(BROKEN).but("bad_signature")],
    "a fork, then another history": STOPPED,
    "a fork, then a hash too many": [
        *hold(3), update(DIFFERENT, MAIN.path(None, to(2))).but("fork"),
    ],
    "another history, then a time to come": [*hold(2), update(DIFFERENT, TO_3).but("bad_history")],
    "a hash too many, then a time to come": [
        *hold(2), update(DIFFERENT, MAIN.path(1, to(4, B))).but("bad_path"),
    ],
    "a time to come, then the trust period": [
        *hold(2, OLDER, T), at(END + 1),
        take(OLDER.branch(6, 7, **made_at(END + DAY)), 2, to(4, SECOND), to(6, THIRD))
        .but("from_the_future"),
    ],
    "the trust period, then an expired list": back(ENDED, now_ms=END + 1, code="trust_expired"),
    "an expired list, within the trust period": back(ENDED, now_ms=END, code="list_expired"),
    "an expired list, for who takes such lists": [
        start(OPEN, T, allow_expired=True), update(ENDED[2].signed, ENDED.along(2)), at(END),
        update(ENDED[6].signed, ENDED.path(2, to(4, SECOND), to(6, THIRD))),
    ],
}  # fmt: skip

CLASSES: Final[Mapping[str, Cases]] = {
    "client: trust period": PERIOD,
    "client: succession": SUCCESSION,
    "client: going on after a restart": RESTART,
    "client: the first check gives the code": ORDERED,
}
"""Every class of this page."""
