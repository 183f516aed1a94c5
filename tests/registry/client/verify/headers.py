"""Scripts about headers: what signs them, when they are made, and what came before."""

from typing import Any, Final

from registry.client.checks import MAX_AHEAD_MS
from tests.flip import flip
from tests.registry.client.factory import (
    EPOCH,
    EPOCH_MS,
    NOW_MS,
    START_MS,
    VALID_MS,
    MadeList,
    digest,
    make_entries,
    make_list,
)
from tests.registry.client.vectors import header_layout, store
from tests.registry.client.verify.script import (
    Case,
    Cases,
    Repeat,
    Step,
    at,
    entries,
    load_deltas,
    load_full,
    start,
    swarm_of,
    update,
)

WEIGHTS: Final = (1, 1, 1, 1)
SIGNERS: Final = (0, 1, 2)
NODES: Final = make_entries(8, 2)
ACCOUNT: Final = digest("somebody")


def of_four(epoch: int = EPOCH, **changes: Any) -> MadeList:
    """A list of the network of four attestors, signed by three of them."""
    options: dict[str, Any] = {"weights": WEIGHTS, "signers": SIGNERS, "entries": NODES}
    return make_list(epoch, **(options | changes))


TEN: Final = of_four()
ELEVEN: Final = of_four(EPOCH + 1, after=[TEN], entries=make_entries(9, 3))
LATER_MS: Final = NOW_MS + EPOCH_MS
"""A second after the end of epoch 11."""

ONE: Final = (1,)


def alone(epoch: int = EPOCH, **changes: Any) -> MadeList:
    """A list of a network with one attestor, who signs whatever the header says."""
    return make_list(epoch, **({"weights": ONE, "entries": NODES} | changes))


def full(made: MadeList) -> bytes:
    """The whole list in a file that is not compressed, so that no library has a part in it."""
    return store(made.columns)


def refused(code: str, signed: bytes | Repeat, now_ms: int = NOW_MS) -> Case:
    """A client of four that has nothing refuses a header."""
    return [start(TEN.genesis, now_ms), update(signed).but(code)]


def refused_alone(code: str, made: MadeList) -> Case:
    """A client of one refuses a header."""
    return [start(made.genesis), update(made.signed).but(code)]


def taken(made: MadeList, now_ms: int = NOW_MS) -> Case:
    """A client that has nothing takes a header."""
    return [start(made.genesis, now_ms), update(made.signed)]


def with_list(made: MadeList = TEN, now_ms: int = NOW_MS, **options: bool) -> list[Step]:
    """A client comes to hold a list, and the history before it."""
    first = start(made.genesis, now_ms, **options)
    return [first, update(made.signed, made.path()), load_full(full(made))]


def with_bits(signed: bytes, bits: int) -> bytes:
    """The same with another set of signers, and as many signatures as that takes."""
    return signed[:342] + bits.to_bytes(4, "big") + bits.bit_count() * signed[346:410]


# ---- Bytes ----

CUT_OFF: Final[Cases] = {
    "whole": taken(TEN),
    **{
        f"after {size} bytes": refused("bad_header", TEN.signed[:size])
        for size in (0, 1, 2, 200, 341, 342, 345, 346, 409, len(TEN.signed) - 1)
    },
}

EXTENDED: Final[Cases] = {
    "not at all": taken(TEN),
    "by a byte": refused("bad_header", TEN.signed + b"\0"),
    "by 63 bytes": refused("bad_header", TEN.signed + bytes(63)),
    "by a signature that no bit stands for": refused("bad_header", TEN.signed + TEN.signed[-64:]),
    "by the signature of attestor 25": refused("bad_header", with_bits(TEN.signed, 1 << 25 | 7)),
    "by the signature of attestor 31": refused("bad_header", with_bits(TEN.signed, 1 << 31 | 7)),
    "by a bit without a signature": refused(
        "bad_header", TEN.signed[:345] + b"\x0f" + TEN.signed[346:]
    ),
    "by itself": refused("bad_header", TEN.signed * 2),
    "by a million bytes": refused("bad_header", Repeat(TEN.signed, b"\0", 10**6)),
}


def _flipped() -> dict[str, Case]:
    lowest = {"format_version": "unknown_format", "set_hash": "wrong_set"}
    highest = lowest | dict.fromkeys(
        ("valid_after_ms", "fresh_until_ms", "node_count", "swarm_count"), "bad_header"
    )
    cases: dict[str, Case] = {}
    place = 0
    for name, size in header_layout():
        first, last = flip(TEN.signed, place, 7), flip(TEN.signed, place + size - 1)
        cases[f"the lowest of {name}"] = refused(lowest.get(name, "bad_signature"), last)
        cases[f"the highest of {name}"] = refused(highest.get(name, "bad_signature"), first)
        place += size
    cases["one in the set of signers"] = refused("bad_header", flip(TEN.signed, 345))
    cases["the first of a signature"] = refused("bad_signature", flip(TEN.signed, 346))
    cases["the last of a signature"] = refused("bad_signature", flip(TEN.signed, 409, 7))
    return cases


FLIPPED: Final[Cases] = {"none": taken(TEN)} | _flipped()

VERSIONS: Final[Cases] = {
    "rules that are not known are none of a reader's business": taken(alone(rules_version=2)),
    "the next format may be another one": taken(alone(next_format=2)),
    **{
        f"format {version}": refused_alone("unknown_format", alone(format_version=version))
        for version in (0, 2, 255, 256, 257, 2**16 - 1)
    },
    "format 2, cut off": refused("bad_header", b"\0\2"),
    "format 2, with signatures of nobody": refused(
        "unknown_format", alone(format_version=2).raw_header + bytes(4)
    ),
}

END: Final = 2**64 - 1
T: Final = START_MS + EPOCH * EPOCH_MS

TIMES: Final[Cases] = {
    "fresh for a millisecond, and as long valid": taken(
        alone(fresh_until_ms=T + 1, valid_until_ms=T + 1), T + 1
    ),
    "valid for ever": taken(alone(fresh_until_ms=END, valid_until_ms=END)),
    "never fresh": refused_alone("bad_header", alone(fresh_until_ms=T)),
    "fresh before it is valid": refused_alone("bad_header", alone(fresh_until_ms=T - 1)),
    "fresh for longer than valid": refused_alone(
        "bad_header", alone(fresh_until_ms=T + 2, valid_until_ms=T + 1)
    ),
    "valid until the beginning": refused_alone("bad_header", alone(valid_until_ms=0)),
    "all at once": refused_alone("bad_header", alone(fresh_until_ms=T, valid_until_ms=T)),
    "no times at all": refused_alone(
        "bad_header", alone(valid_after_ms=0, fresh_until_ms=0, valid_until_ms=0)
    ),
    "after the end of time": refused_alone(
        "bad_header", alone(valid_after_ms=END, fresh_until_ms=0, valid_until_ms=END)
    ),
}

COUNTS: Final[Cases] = {
    "as many as there can be": taken(alone(node_count=2**18, swarm_count=2**16)),
    "none": taken(alone(node_count=0, swarm_count=0)),
    "a swarm for each node": taken(alone(node_count=8, swarm_count=8)),
    "a node too many": refused_alone("bad_header", alone(node_count=2**18 + 1)),
    "all the nodes of a number": refused_alone("bad_header", alone(node_count=2**32 - 1)),
    "a swarm too many": refused_alone(
        "bad_header", alone(node_count=2**18, swarm_count=2**16 + 1)
    ),
    "more swarms than nodes": refused_alone("bad_header", alone(node_count=8, swarm_count=9)),
    "a swarm without nodes": refused_alone("bad_header", alone(node_count=0, swarm_count=1)),
    "all the swarms of a number": refused_alone("bad_header", alone(swarm_count=2**32 - 1)),
}  # fmt: skip


# ---- What came before, and when ----

ROLL_BACK: Final[Cases] = {
    "the same again": [*with_list(), update(TEN.signed)],
    "the one before": [*with_list(), update(of_four(EPOCH - 1).signed).but("roll_back")],
    "that of genesis": [*with_list(), update(of_four(0).signed).but("roll_back")],
    "the one before, signed by all": [
        *with_list(), update(of_four(EPOCH - 1, signers=(0, 1, 2, 3)).signed).but("roll_back"),
    ],
    "the one before, that of another set": [
        *with_list(), update(of_four(EPOCH - 1, weights=ONE, signers=(0,)).signed).but("roll_back"),
    ],
    "the one before, signed by nobody": [
        *with_list(), update(of_four(EPOCH - 1, signers=()).signed).but("roll_back"),
    ],
    "the one before, which claims to be of now": [
        *with_list(), update(of_four(EPOCH - 1, valid_after_ms=T).signed).but("roll_back"),
    ],
    "the one before the newest of two": [
        *with_list(now_ms=LATER_MS),
        update(ELEVEN.signed, ELEVEN.path(EPOCH)),
        update(TEN.signed, TEN.path()).but("roll_back"),
    ],
    "for who takes expired lists": [
        *with_list(allow_expired=True), update(of_four(EPOCH - 1).signed).but("roll_back"),
    ],
}  # fmt: skip


def made_at(time_ms: int, epoch: int = EPOCH) -> MadeList:
    """A list of four that claims to be made at a time."""
    return of_four(
        epoch,
        height=1,
        valid_after_ms=time_ms,
        fresh_until_ms=time_ms + 60_000,
        valid_until_ms=time_ms + VALID_MS,
    )


AHEAD: Final = NOW_MS + MAX_AHEAD_MS
NEXT_AHEAD: Final = of_four(
    EPOCH + 1, after=[TEN], valid_after_ms=AHEAD + 1, fresh_until_ms=AHEAD + 2
)

AHEAD_OF_TIME: Final[Cases] = {
    "five minutes": taken(made_at(AHEAD)),
    "a millisecond more": refused("from_the_future", made_at(AHEAD + 1).signed),
    "a day": refused("from_the_future", made_at(NOW_MS + 86_400_000).signed),
    "for ever": refused(
        "from_the_future",
        of_four(valid_after_ms=END - 1, fresh_until_ms=END, valid_until_ms=END).signed,
    ),
    "now, for a clock that stands before genesis": refused("from_the_future", TEN.signed, 0),
    "the next one, for who holds a list": [
        *with_list(), update(NEXT_AHEAD.signed, NEXT_AHEAD.path(EPOCH)).but("from_the_future"),
    ],
    "before the reference time goes on": [
        start(TEN.genesis, T - MAX_AHEAD_MS - 1),
        update(TEN.signed).but("from_the_future"),
        at(T - MAX_AHEAD_MS),
        update(TEN.signed),
    ],
}  # fmt: skip


def next_at(time_ms: int, epoch: int = EPOCH + 1) -> MadeList:
    """A list after that of epoch 10 which claims to be made at a time."""
    return of_four(
        epoch,
        after=[TEN],
        valid_after_ms=time_ms,
        fresh_until_ms=time_ms + 60_000,
        valid_until_ms=time_ms + VALID_MS,
    )


def jump(code: str, made: MadeList) -> Case:
    """A client that holds a list is given the next one."""
    return [*with_list(now_ms=LATER_MS), update(made.signed, made.path(EPOCH)).but(code)]


JUMPS: Final[Cases] = {
    "as many epochs as there was time for": taken(TEN),
    "the next one, as soon as can be": jump("", next_at(T + EPOCH_MS)),
    "a millisecond too early": refused("from_the_future", made_at(T - 1).signed),
    "one epoch too many": refused("from_the_future", made_at(T, EPOCH + 1).signed),
    "before genesis": refused("from_the_future", made_at(START_MS - 1, 0).signed),
    "the last epoch of all": refused("from_the_future", made_at(NOW_MS, END).signed),
    "half of all epochs": refused("from_the_future", made_at(NOW_MS, 2**63).signed),
    "the next one, a millisecond too early": jump("from_the_future", next_at(T + EPOCH_MS - 1)),
    "the one after it, at the time of the next": jump(
        "from_the_future", next_at(T + EPOCH_MS, EPOCH + 2)
    ),
}

VALID_UNTIL: Final = T + VALID_MS

EXPIRED: Final[Cases] = {
    "not yet": [*with_list(now_ms=VALID_UNTIL), entries()],
    "degraded": taken(TEN, T + 60_001),
    "for who takes such lists": [
        *with_list(now_ms=VALID_UNTIL + 1, allow_expired=True), swarm_of(ACCOUNT),
    ],
    "when it is taken": refused("list_expired", TEN.signed, VALID_UNTIL + 1),
    "when it is taken, long ago": refused("list_expired", TEN.signed, 2**52),
    "when its list is loaded": [
        *taken(TEN), at(VALID_UNTIL + 1), load_full(full(TEN)).but("list_expired"),
    ],
    "when a delta is loaded": [
        *with_list(), at(VALID_UNTIL + 1), load_deltas(b"\1").but("list_expired"),
    ],
    "when its list is read": [
        *with_list(), at(VALID_UNTIL + 1), entries().but("list_expired"),
    ],
    "when a swarm is looked for": [
        *with_list(), at(VALID_UNTIL + 1), swarm_of(ACCOUNT).but("list_expired"),
    ],
    "until the time is right again": [
        *with_list(), at(VALID_UNTIL + 1), entries().but("list_expired"), at(NOW_MS), entries(),
    ],
}  # fmt: skip

OTHER_TEN: Final = of_four(entries=NODES[:7])
FORKED: Final = [*with_list(), update(OTHER_TEN.signed).but("fork")]

FORK: Final[Cases] = {
    "the same header with another signature": [
        *with_list(), update(of_four(signers=(1, 2, 3)).signed), entries(),
    ],
    "one that is not final is none": [
        *with_list(),
        update(of_four(entries=[], signers=(0, 1)).signed).but("not_final"),
        entries(),
    ],
    "one whose signatures do not hold is none": [
        *with_list(),
        update(of_four(entries=[], signatures={0: bytes(64)}).signed).but("bad_signature"),
        entries(),
    ],
    "another list": FORKED,
    "another state": [*with_list(), update(of_four(state_root=bytes(32)).signed).but("fork")],
    "one from the future": [*with_list(), update(made_at(AHEAD + 1).signed).but("fork")],
    "one that has expired": [
        *with_list(),
        update(of_four(fresh_until_ms=T + 1, valid_until_ms=T + 1).signed).but("fork"),
    ],
    "one with another history": [
        *with_list(), update(of_four(history_root=digest("another")).signed).but("fork"),
    ],
    "for who takes expired lists": [
        *with_list(allow_expired=True), update(OTHER_TEN.signed).but("fork"),
    ],
    "then the same header": [*FORKED, update(TEN.signed).but("fork")],
    "then the next one": [*FORKED, at(LATER_MS), update(ELEVEN.signed).but("fork")],
    "then no header": [*FORKED, update(b"").but("fork")],
    "then its list": [*FORKED, load_full(full(TEN)).but("fork")],
    "then a delta": [*FORKED, load_deltas(b"").but("fork")],
    "then what is held": [*FORKED, entries().but("fork"), swarm_of(ACCOUNT).but("fork")],
}  # fmt: skip

NEWER: Final = [*with_list(now_ms=LATER_MS), update(ELEVEN.signed, ELEVEN.path(EPOCH))]
SAME_LIST: Final = of_four(EPOCH + 1, after=[TEN])

MISSING: Final[Cases] = {
    "what is there is read": [
        *with_list(), entries(), swarm_of(ACCOUNT), swarm_of(b"\5" + ACCOUNT),
    ],
    "a list that stayed the same": [
        *with_list(now_ms=LATER_MS), update(SAME_LIST.signed, SAME_LIST.path(EPOCH)), entries(),
    ],
    "a list without nodes": [
        *with_list(nobody := alone(entries=[])), entries(), swarm_of(ACCOUNT),
    ],
    "a list before its header": [
        start(TEN.genesis), load_full(full(TEN)).but("list_missing"), entries().but("list_missing"),
    ],
    "a delta before a header": [start(TEN.genesis), load_deltas(b"\1").but("list_missing")],
    "a delta before a list": [*taken(TEN), load_deltas(b"\1").but("list_missing")],
    "no delta at all": [*with_list(), load_deltas().but("list_missing")],
    "the entries before the list": [*taken(TEN), entries().but("list_missing")],
    "a swarm before the list": [*taken(TEN), swarm_of(ACCOUNT).but("list_missing")],
    "the entries of a newer header": [*NEWER, entries().but("list_missing")],
    "after a list that was refused": [
        *NEWER, load_full(full(TEN)).but("bad_list"), entries().but("list_missing"),
        load_full(full(ELEVEN)), entries(),
    ],
}  # fmt: skip

CLASSES: Final[dict[str, Cases]] = {
    "header: cut off": CUT_OFF,
    "header: extended": EXTENDED,
    "header: a bit is another one": FLIPPED,
    "header: version": VERSIONS,
    "header: times": TIMES,
    "header: counts": COUNTS,
    "client: roll-back": ROLL_BACK,
    "client: ahead of the clock": AHEAD_OF_TIME,
    "client: more epochs than time": JUMPS,
    "client: expired": EXPIRED,
    "client: fork": FORK,
    "client: nothing to read": MISSING,
}
"""Every class of this page."""

NAMES: Final = {
    "genesis of four": TEN.genesis,
    "account": ACCOUNT,
    "header 10": TEN.signed,
    "full 10": full(TEN),
    "header 11": ELEVEN.signed,
    "full 11": full(ELEVEN),
    "genesis of one": alone().genesis,
    "header of one": alone().signed,
}
"""Bytes that many cases share."""

BEGINNINGS: Final[dict[str, Case]] = {
    "four": [start(TEN.genesis)],
    "four, header 10": taken(TEN),
    "four, list 10": with_list(),
    "four, list 10, later": with_list(now_ms=LATER_MS),
    "four, header 11": NEWER,
    "four, forked": FORKED,
    "one": [start(alone().genesis)],
    "one, header 10": taken(alone()),
}
"""Steps with which many cases begin."""
