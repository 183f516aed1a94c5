"""Scripts about one hop: whose turn it is to sign, and by whose word.

Each table stands for a heading of docs/spec/trust.md; a title names the one thing that is another.
`MAIN` is the line that they start from: four sets take turns, the last of whom have little to do
with those before.
"""

from collections.abc import Mapping
from typing import Final

from ledger.crypto import KeyPair, key_pair
from ledger.messages import tags
from ledger.messages.genesis import REGISTRY
from registry.formats.trust import Members, Path, Recovery, encode_path
from tests.flip import flip
from tests.registry.client.factory import EPOCH_MS, START_MS, digest, seat, sign_as
from tests.registry.client.trust.line import (
    Line,
    Seats,
    Stop,
    found,
    make_line,
    make_recovery,
    members_of,
    recovery_pairs,
    sign_header,
    to,
    with_signature,
)
from tests.registry.client.verify.script import Case, Cases, Step, start, update

A: Final[Seats] = {0: 5, 1: 2, 2: 1, 3: 1}
"""The founders; more than 6 of 9 make a header final."""
B: Final[Seats] = {0: 5, 1: 2, 4: 1, 5: 1}
"""Has 7 of the 9 of A: one hop leads past A."""
C: Final[Seats] = {0: 1, 4: 3, 5: 3, 6: 2}
"""Has 7 of the 9 of B and 5 of the 9 of A."""
D: Final[Seats] = {6: 1, 7: 1, 8: 1, 9: 1}
"""Has one of the four of C, and nobody of those before."""
R: Final[Seats] = {10: 1, 11: 1, 12: 1}
"""Has nobody in common with any: only recovery keys can put it in their place."""

GENESIS: Final = found(A, recovery=tuple(pair.public for pair in recovery_pairs()))
MAIN: Final = make_line(GENESIS, {0: A, 3: B, 5: C, 7: D}, 8)
NOW_MS: Final = START_MS + 10 * EPOCH_MS


def begin(line: Line = MAIN, now_ms: int = NOW_MS) -> list[Step]:
    """A client that has the genesis file only."""
    return [start(line.genesis, now_ms)]


def hold(epoch: int, line: Line = MAIN, now_ms: int = NOW_MS) -> list[Step]:
    """A client that holds a header, and knows the history before it."""
    return [*begin(line, now_ms), update(line[epoch].signed, line.along(epoch))]


def take(line: Line, held: int | None, *stops: Stop) -> Step:
    """Take the last of some headers, by the others."""
    return update(line[stops[-1].epoch].signed, line.path(held, *stops))


def with_sets(path: Path, *sets: Members) -> bytes:
    """A path with other sets in its last hop."""
    return encode_path(path._replace(hop=path.hop._replace(sets=sets)))


def refused(code: str, held: int | None, line: Line, *stops: Stop) -> Case:
    """A client that holds a header of the main line, or none, refuses one of another line."""
    return [*(begin() if held is None else hold(held)), take(line, held, *stops).but(code)]


def taken(held: int | None, line: Line, *stops: Stop) -> Case:
    """Such a client takes it."""
    return refused("", held, line, *stops)


# ---- The set of a hop, 1 and 2: the set that was named ----

OF_B: Final = MAIN.parts(2, to(3, B))

NAMED: Final[Cases] = {
    "the founders, from genesis": taken(None, MAIN, to(2)),
    "the same set again": taken(1, MAIN, to(2)),
    "the next set": taken(2, MAIN, to(3, B)),
    "the next set, later": taken(2, MAIN, to(4, B)),
    "the next set, given again to who has it": taken(3, MAIN, to(4, B)),
    "the next set, and another that nobody needs": taken(2, MAIN, to(3, B, D)),
    "the next set, learned with the header before": [
        *hold(2), take(MAIN, 2, to(2, B)), update(MAIN[3].signed),
    ],
    "every set in turn": [*begin(), update(MAIN[7].signed, MAIN.along(7))],
    "every set in turn, from the second header": [
        *hold(1), update(MAIN[7].signed, MAIN.along(7, 1)),
    ],
    "every set in turn, one header after another": [
        *hold(2), take(MAIN, 2, to(4, B)), take(MAIN, 4, to(6, C)), take(MAIN, 6, to(7, D)),
    ],
    "the same header again, its set in the hop": taken(2, MAIN, to(2, A)),
    "the members are not there": refused("wrong_set", 2, MAIN, to(3)),
    "no path at all": [*hold(2), update(MAIN[3].signed).but("wrong_set")],
    "the members of another set": refused("wrong_set", 2, MAIN, to(3, C)),
    "the members of the set before": refused("wrong_set", 2, MAIN, to(3, A)),
    "one with another weight": refused("wrong_set", 2, MAIN, to(3, {**B, 5: 2})),
    "one less": refused("wrong_set", 2, MAIN, to(3, {0: 5, 1: 2, 4: 1})),
    "one more": refused("wrong_set", 2, MAIN, to(3, {**B, 6: 1})),
    "the members in another order": [
        *hold(2),
        update(MAIN[3].signed, with_sets(OF_B, members_of(B)[::-1])).but("wrong_set"),
    ],
    "the set that had its turn": refused("wrong_set", 6, MAIN.branch(7, 8, {7: C}), to(7, D)),
    "the set after the next": refused("wrong_set", 2, MAIN, to(5, C)),
    "another set for the epoch that is held": refused(
        "wrong_set", 2, MAIN.branch(2, 3, {2: C}), to(2, C)
    ),
    "the next set for the epoch that is held": refused(
        "wrong_set", 2, MAIN.branch(2, 3, {2: B}), to(2, B)
    ),
    "a set that a hop before had and no header named": refused(
        "wrong_set", None, MAIN, to(1, B), to(3)
    ),
}  # fmt: skip

# ---- The set of a hop, 4: more than two thirds of those who were named signed too ----


def skip(seats: Seats, *signers: int, genesis: Line = MAIN) -> Line:
    """The line with a set that nobody named in epoch 3, whose first header some of it sign."""
    return genesis.branch(3, 4, {3: seats}, signers or None)


def from_genesis(code: str, seats: Seats, *signers: int) -> Case:
    """A client of the founders is given a header of a set that no header named."""
    return refused(code, None, skip(seats, *signers), to(3, seats))


HEAVY: Final[Seats] = {0: 1, 1: 1, 4: 4}
"""Two of four of A, who have 7 of its 9; here they have 2 of 6."""
MANY: Final[Seats] = {1: 9, 2: 9, 3: 9, 4: 1}
"""Three of four of A, who have 4 of its 9; here they have 27 of 28."""
TWO_THIRDS: Final[Seats] = {0: 5, 2: 3, 4: 1}
"""6 of the 9 of A, exactly two thirds; here 8 of 9."""
BEYOND: Final = 4
"""An index that a set of four has not."""


def signed_beyond(*signers: int) -> Case:
    """The founders who signed are as many as told, and one signed with an index that B has not."""
    line = skip(B, *signers)
    signed = with_signature(line[3].signed, BEYOND, sign_as(2, bytes(32), line[3].raw_header))
    code = "unknown_attestor" if 1 in signers else "wrong_set"
    return [*begin(), update(signed, line.path(None, to(3, B))).but(code)]


SPOILT: Final = with_signature(MAIN[3].signed, 1)

SKIPPED: Final[Cases] = {
    "one change": taken(None, MAIN, to(3, B)),
    "one change, to a later header": taken(1, MAIN, to(4, B)),
    "one change, then another": taken(None, MAIN, to(3, B), to(5, C)),
    "one change, the trusted set in the hop": taken(2, MAIN, to(5, B, C)),
    "one change, the trusted set behind the new one": taken(2, MAIN, to(5, C, B)),
    "as many as weigh enough among those who were trusted": from_genesis("", HEAVY),
    "the least that is enough": from_genesis("", B, 0, 1),
    "many of the trusted, who weigh too little": from_genesis("wrong_set", MANY),
    "exactly two thirds of the trusted weight": from_genesis("wrong_set", TWO_THIRDS),
    "exactly two thirds, and nobody else": from_genesis("wrong_set", TWO_THIRDS, 0, 2),
    "one of the trusted who is in the set did not sign": from_genesis("wrong_set", B, 0, 4, 5),
    "two changes, with too little in common": refused("wrong_set", None, MAIN, to(5, C)),
    "two changes, the set between in the hop": refused("wrong_set", None, MAIN, to(5, B, C)),
    "nobody in common": refused("wrong_set", None, MAIN, to(7, D)),
    "the trusted set is not known": refused("wrong_set", 2, MAIN, to(6, C)),
    "the new set is not known": refused("wrong_set", None, MAIN, to(4)),
    "the trusted signed, the rest of the new set did not": from_genesis("not_final", HEAVY, 0, 1),
    "the trusted signed, exactly two thirds of the new set": from_genesis(
        "not_final", {0: 1, 1: 1, 4: 1}, 0, 1
    ),
    "an index beyond the set counts for nothing": signed_beyond(0, 4, 5),
    "an index beyond the set beside enough others": signed_beyond(0, 1, 4, 5),
    "a signature that counts and does not hold": [
        *begin(), update(SPOILT, MAIN.path(None, to(3, B))).but("bad_signature"),
    ],
}  # fmt: skip

# ---- The set of a hop, 3: recoveries ----

SAVED: Final = MAIN.branch(3, 8, {3: R})
"""After epoch 2 the recovery keys put R in the place of B, which had been named."""
ORDER: Final = make_recovery(GENESIS, 3, R)
PAIRS: Final = recovery_pairs()
STRANGER: Final = key_pair(digest("stranger"))
"""No recovery key."""


def rescue(code: str, order: Recovery, held: int | None = 2, epoch: int = 3) -> Case:
    """A client is given a header of R, with an order for it."""
    return refused(code, held, SAVED, to(epoch, R, recovery=order))


def order_by(*pairs: KeyPair) -> Recovery:
    """The order, signed by other keys, in the order in which they are named."""
    return make_recovery(GENESIS, 3, R, pairs)


def order_at(begin_epoch: int) -> Recovery:
    """The order for another epoch, rightly signed."""
    return make_recovery(GENESIS, begin_epoch, R)


def borrowed(other: Recovery) -> Recovery:
    """The order with the signatures of another one."""
    return ORDER._replace(signers=other.signers)


(FIRST, SIGNATURE), *REST = ORDER.signers
TIPS: Final = ORDER._replace(tips_hash=bytes(32))
WRONG_BIT: Final = flip(SIGNATURE)

AFTER: Final = MAIN.branch(3, 8, {3: R, 4: D})
"""R signs epoch 3 only, and names D, which signs what follows."""
AGAIN: Final = AFTER.branch(6, 8, {6: R})
"""R comes back in epoch 6, though D was named again."""
TO_D: Final = [*begin(), take(AFTER, None, to(3, R, recovery=ORDER), to(5, D))]

OPEN: Final = make_line(found(A, policy=REGISTRY), {0: A, 3: B}, 4)
"""A network of policy 2, without recovery keys."""

RECOVERIES: Final[Cases] = {
    "by five of six": rescue("", ORDER),
    "by all": rescue("", order_by(*PAIRS)),
    "to a later header": rescue("", ORDER, epoch=6),
    "begun before that header": rescue("", order_at(4), epoch=6),
    "begun with that header": rescue("", order_at(6), epoch=6),
    "from an earlier header": rescue("", ORDER, held=1, epoch=4),
    "from genesis": rescue("", ORDER, held=None),
    "with the set that it replaces": taken(2, SAVED, to(3, B, R, recovery=ORDER)),
    "on the way to another set": TO_D,
    "then one more, for another epoch": [
        *TO_D, take(AGAIN, 5, to(6, R, recovery=order_at(6))),
    ],
    "not looked at where the set was named": taken(2, MAIN, to(3, B, recovery=order_at(0))),
    "begun with the header that is held": rescue("bad_path", order_at(2)),
    "begun before the header that is held": rescue("bad_path", order_at(1)),
    "begun with genesis": rescue("bad_path", order_at(0), held=None),
    "begun after that header": rescue("bad_path", order_at(4)),
    "begun at the end of time": rescue("bad_path", order_at(2**64 - 1)),
    "one that has served": [
        *TO_D, take(AGAIN, 5, to(6, R, recovery=ORDER)).but("bad_path"),
    ],
    "by exactly two thirds": rescue("wrong_set", order_by(*PAIRS[:4])),
    "by one": rescue("wrong_set", order_by(PAIRS[0])),
    "by keys that do not ascend": rescue("bad_path", order_by(*PAIRS[4::-1])),
    "by one key twice": rescue("bad_path", order_by(PAIRS[0], *PAIRS[:4])),
    "by enough keys and a stranger": rescue(
        "bad_path", order_by(*sorted([*PAIRS[:5], STRANGER]))
    ),
    "by too few keys and a stranger": rescue(
        "bad_path", order_by(*sorted([*PAIRS[:4], STRANGER]))
    ),
    "by an attestor": rescue("bad_path", order_by(seat(0))),
    "one signature is of zeros": rescue(
        "bad_signature", ORDER._replace(signers=((FIRST, bytes(64)), *REST))
    ),
    "one signature has another bit": rescue(
        "bad_signature", ORDER._replace(signers=((FIRST, WRONG_BIT), *REST))
    ),
    "one signature too many does not hold": rescue(
        "bad_signature", ORDER._replace(signers=(*ORDER.signers, (PAIRS[5].public, bytes(64))))
    ),
    "signatures for another set": rescue(
        "bad_signature", borrowed(make_recovery(GENESIS, 3, D))
    ),
    "signatures for another epoch": rescue("bad_signature", borrowed(order_at(4))),
    "signatures over other tips": rescue("bad_signature", TIPS),
    "signatures for another network": rescue(
        "bad_signature", borrowed(make_recovery(OPEN.genesis, 3, R))
    ),
    "signatures as by attestors": rescue(
        "bad_signature", borrowed(make_recovery(GENESIS, 3, R, tag=tags.SET_ORDER))
    ),
    "the members of the set are not there": refused(
        "wrong_set", 2, SAVED, to(3, recovery=ORDER)
    ),
    "too few of the set signed": refused(
        "not_final", 2, MAIN.branch(3, 4, {3: R}, [10, 11]), to(3, R, recovery=ORDER)
    ),
    "in vain, where those who were trusted would do": refused(
        "bad_path", None, MAIN, to(3, B, recovery=order_at(0))
    ),
    "for the epoch that is held": refused(
        "wrong_set", 2, MAIN.branch(2, 3, {2: R}), to(2, R, recovery=order_at(2))
    ),
    "in a network without recovery keys": [
        *hold(2, OPEN),
        take(
            OPEN.branch(3, 4, {3: R}), 2,
            to(3, R, recovery=make_recovery(OPEN.genesis, 3, R)),
        ).but("bad_path"),
    ],
}  # fmt: skip

# ---- Signatures, and forks ----


def signed_by(*signers: int) -> Line:
    """The line with a header of epoch 3 that some of B signed."""
    return MAIN.branch(3, 4, signers=signers)


def instead(signed: bytes, code: str) -> Case:
    """A client that holds the header before is given that of epoch 3 with other signatures."""
    return [*hold(2), update(signed, MAIN.path(2, to(3, B))).but(code)]


OTHER: Final = MAIN.branch(3, 8, state_root=bytes(32))
"""From epoch 3 on another line: what two final headers of one epoch make of one."""
ELSEWHERE: Final = sign_header(found(A), MAIN[3].raw_header, B)

SIGNATURES: Final[Cases] = {
    "as few as are enough": taken(2, signed_by(0, 1), to(3, B)),
    "enough by others": taken(2, signed_by(0, 4, 5), to(3, B)),
    "exactly two thirds": refused("not_final", 2, signed_by(0, 4), to(3, B)),
    "nobody": refused("not_final", 2, MAIN.branch(3, 4, signers=[]), to(3, B)),
    "all but the heaviest": refused("not_final", 2, signed_by(1, 4, 5), to(3, B)),
    "one beyond the set": instead(with_signature(MAIN[3].signed, BEYOND), "unknown_attestor"),
    "one that does not hold": instead(with_signature(MAIN[3].signed, 3), "bad_signature"),
    "of another network": instead(ELSEWHERE, "bad_signature"),
    "more for the header that is held": [
        *hold(2), take(MAIN, 2, to(3, B)), update(signed_by(0, 1, 4)[3].signed),
    ],
    "a fork": refused("fork", 3, OTHER, to(3)),
    "a fork, its set in the hop": refused("fork", 3, OTHER, to(3, B)),
    "a fork, after which nothing comes": [
        *refused("fork", 3, OTHER, to(3)),
        update(MAIN[3].signed).but("fork"), take(MAIN, 3, to(4)).but("fork"),
        update(b"").but("fork"),
    ],
    "no fork, since too few signed": refused(
        "not_final", 3, MAIN.branch(3, 4, None, [0, 4], state_root=bytes(32)), to(3)
    ),
}  # fmt: skip

CLASSES: Final[Mapping[str, Cases]] = {
    "hop: the set that was named": NAMED,
    "hop: past changes of the set": SKIPPED,
    "hop: a recovery": RECOVERIES,
    "hop: signatures": SIGNATURES,
}
"""Every class of this page."""
