"""Scripts about which set signs, and the headers on the way."""

from hashlib import sha256
from typing import Final

from ledger.codec import encode
from ledger.crypto import KeyPair, key_pair, sign, signing_bytes
from ledger.messages import tags
from ledger.messages.transactions import SetOrder
from ledger.params import preset
from registry.formats.trust import Hop, Members, Path, Recovery, encode_path
from tests.registry.client.factory import START_MS, MadeList, digest, make_genesis, seat
from tests.registry.client.verify.headers import WEIGHTS
from tests.registry.client.verify.script import Case, Cases, Step, start, update
from tests.registry.client.verify.trust import (
    EIGHT,
    FIVE,
    FOUNDERS,
    GENESIS,
    HOLDS_FIVE,
    NEXT,
    OTHERS,
    PATH,
    RECOVERY_KEYS,
    given,
    hashes,
    make,
    members,
    path_over,
    then,
)

# ---- Sets ----

VOUCHED: Final = make(8, NEXT)
HALF: Final = members(2, 3, 4, 5)
HEAVY: Final = members(0, 1, 2, 3, 9, weights=(1, 1, 1, 1, 9))
STRANGERS: Final = make(8, OTHERS)


def by(who: Members, *signers: int, epoch: int = 8) -> MadeList:
    """A list which no header named the set of."""
    return make(epoch, who, signers=signers or None)


SETS: Final[Cases] = {
    "the next one, told by the hop": then(EIGHT, EIGHT.path(5, NEXT)),
    "the next one, told by the hop before": [
        start(GENESIS), update(FIVE.signed, FIVE.path(None, NEXT)),
        update(EIGHT.signed, EIGHT.path(5)),
    ],
    "the next one, told when the header was held": [
        *HOLDS_FIVE, update(FIVE.signed, hashes()), update(EIGHT.signed, EIGHT.path(5)),
    ],
    "one that those vouch for who were to sign": given(VOUCHED, VOUCHED.path(None, NEXT)),
    "one that they vouch for, without a history": given(
        VOUCHED, encode_path(Path((), Hop((NEXT,))))
    ),
    "one that they vouch for by their old weights": given(
        (heavy := by(HEAVY, 0, 1, 2, 4)), heavy.path(None, HEAVY)
    ),
    "another one between": given(EIGHT, EIGHT.path(None, OTHERS, NEXT)),
    "unknown": then(EIGHT, EIGHT.path(5), "wrong_set"),
    "another one": then(EIGHT, EIGHT.path(5, OTHERS), "wrong_set"),
    "with another weight": then(
        EIGHT, EIGHT.path(5, members(1, 2, 3, 4, weights=(2, 1, 1, 1))), "wrong_set"
    ),
    "in another order": then(EIGHT, EIGHT.path(5, NEXT[::-1]), "wrong_set"),
    "without one of them": then(EIGHT, EIGHT.path(5, NEXT[:3]), "wrong_set"),
    "strangers": given(STRANGERS, STRANGERS.path(None, OTHERS), "wrong_set"),
    "half of them": given(by(HALF), by(HALF).path(None, HALF), "wrong_set"),
    "exactly two thirds of them": given(
        (two := make(8, members(1, 2, 9), genesis=make_genesis((1, 1, 1)))),
        two.path(None, members(1, 2, 9)),
        "wrong_set",
    ),
    "enough of them, who did not all sign": given(
        by(NEXT, 0, 1, 3), by(NEXT, 0, 1, 3).path(None, NEXT), "wrong_set"
    ),
    "enough of them, who are too few of the new ones": given(
        (light := by(HEAVY, 0, 1, 2, 3)), light.path(None, HEAVY), "not_final"
    ),
    "enough of them, with a wrong signature": given(
        (wrong := make(8, NEXT, signatures={3: bytes(64)})), wrong.path(None, NEXT), "bad_signature"
    ),
    "enough of them, and one who is not there": given(
        (fifth := make(8, NEXT, signatures={4: bytes(64)})), fifth.path(None, NEXT),
        "unknown_attestor",
    ),
    "vouched for by a set that is unknown": then(
        (third := make(8, members(2, 3, 4, 5), after=[FIVE])), third.path(5, HALF), "wrong_set"
    ),
    "vouched for by a set that the hop tells": then(third, third.path(5, NEXT, HALF)),
    "the one before": then((old := make(8, FOUNDERS, after=[FIVE])), old.path(5), "wrong_set"),
    "the same epoch, by the next set": then(
        (same := make(5, NEXT)), same.path(None, NEXT), "wrong_set"
    ),
    "the same epoch, by strangers": then(
        (other := make(5, OTHERS)), other.path(None, OTHERS), "wrong_set"
    ),
    "the same epoch, by the same set": then(make(5, FOUNDERS, OTHERS), b"", "fork"),
}  # fmt: skip

# ---- Recovery ----


def recovery(
    made: MadeList,
    *signers: int,
    begin: int = 7,
    tips: bytes = digest("tips"),
    said: Recovery | None = None,
    **order: object,
) -> bytes:
    """A path in one hop from the header of epoch 5 with a recovery; `order` is signed instead."""
    fields = {"begin": begin, "set_hash": made.header.set_hash, "tips_hash": tips} | order
    message = signing_bytes(
        tags.RECOVERY_ORDER,
        sha256(GENESIS).digest(),
        encode(SetOrder(**fields)),  # type: ignore[arg-type]
    )
    each = tuple(
        (RECOVERY_KEYS[n].public, sign(RECOVERY_KEYS[n], message)) for n in signers or (0, 1, 2)
    )
    parts = said or Recovery(begin, tips, each)
    return encode_path(Path((), made.hop(5, OTHERS, recovery=parts)))


SAVED: Final = make(8, OTHERS, after=[FIVE])
STRANGER: Final = key_pair(digest("stranger"))


def by_stranger(pair: KeyPair) -> Recovery:
    """A recovery by three, of whom one is a stranger."""
    order = SetOrder(7, SAVED.header.set_hash, bytes(32))
    message = signing_bytes(tags.RECOVERY_ORDER, sha256(GENESIS).digest(), encode(order))
    pairs = sorted([RECOVERY_KEYS[0], RECOVERY_KEYS[1], pair])
    each = tuple((one.public, sign(one, message)) for one in pairs)
    return Recovery(7, bytes(32), each)


def saved(*signers: int, code: str = "", **options: object) -> list[Step]:
    """A client that holds the header of epoch 5 is given that of epoch 8 with a recovery."""
    return then(SAVED, recovery(SAVED, *signers, **options), code)  # type: ignore[arg-type]


NO_KEYS: Final = make_genesis(WEIGHTS)
NO_KEYS_FIVE: Final = make(5, FOUNDERS, NEXT, genesis=NO_KEYS)
NO_KEYS_EIGHT: Final = make(8, OTHERS, genesis=NO_KEYS, after=[NO_KEYS_FIVE])

NONSENSE: Final = Recovery(0, bytes(32), ((bytes(32), bytes(64)),))

RECOVERY: Final[Cases] = {
    "three of four": saved(),
    "all": saved(0, 1, 2, 3),
    "another three": saved(0, 2, 3),
    "at the end of the first epoch that can be": saved(begin=6),
    "at the end of its own epoch": saved(begin=8),
    "from genesis": given(
        (early := make(8, OTHERS)), recovery(early).replace(
            encode_path(Path((), early.hop(5)))[5:], encode_path(Path((), early.hop()))[5:]
        ),
    ),
    "not needed, and not looked at": then(
        EIGHT,
        encode_path(Path((), EIGHT.hop(5, NEXT, recovery=NONSENSE))),
    ),
    "two of four": saved(0, 1, code="wrong_set"),
    "one of four": saved(3, code="wrong_set"),
    "at the end of the epoch of the anchor": saved(begin=5, code="bad_path"),
    "before": saved(begin=0, code="bad_path"),
    "after": saved(begin=9, code="bad_path"),
    "after the end of time": saved(
        said=Recovery(2**64 - 1, bytes(32), by_stranger(STRANGER).signers), code="bad_path"
    ),
    "one twice": saved(0, 0, 1, code="bad_path"),
    "not ascending": saved(1, 0, 2, code="bad_path"),
    "by a stranger": saved(said=by_stranger(STRANGER), code="bad_path"),
    "by an attestor": saved(said=by_stranger(seat(0)), code="bad_path"),
    "signed for another epoch": saved(
        said=Recovery(6, digest("tips"), by_stranger(RECOVERY_KEYS[2]).signers),
        code="bad_signature",
    ),
    "signed for other tips": saved(tips_hash=bytes(32), code="bad_signature"),
    "signed for another set": saved(set_hash=bytes(32), code="bad_signature"),
    "a wrong signature": saved(
        said=Recovery(
            7, bytes(32),
            (*by_stranger(RECOVERY_KEYS[2]).signers[:2], (RECOVERY_KEYS[2].public, bytes(64))),
        ),
        code="bad_signature",
    ),
    "whose set did not sign": then(
        (few := make(8, OTHERS, signers=(0, 1), after=[FIVE])), recovery(few), "not_final"
    ),
    "on a network that has no recovery keys": then(
        NO_KEYS_EIGHT, recovery(NO_KEYS_EIGHT), "bad_path", given(NO_KEYS_FIVE, NO_KEYS_FIVE.path())
    ),
}  # fmt: skip

# ---- Headers on the way ----

SIX: Final = make(6, NEXT, after=[FIVE])
TEN_MS: Final = START_MS + 10 * preset("minimal").epoch_ms


def over(made: MadeList, code: str, hop: Hop | None = None) -> Case:
    """A path to the header of epoch 8 over another header of epoch 5."""
    return given(EIGHT, path_over((made, hop or made.hop()), to=EIGHT.hop(5, NEXT)), code)


FIRST: Final = make(0, FOUNDERS, NEXT)
SECOND: Final = make(3, NEXT, after=[FIRST])

WAYS: Final[Cases] = {
    "one header": given(EIGHT, PATH),
    "two headers": given(
        (later := make(8, NEXT, after=[SIX])),
        path_over((FIVE, FIVE.hop()), (SIX, SIX.hop(5, NEXT)), to=later.hop(6)),
    ),
    "the first of all": given(
        SECOND, path_over((FIRST, FIRST.hop()), to=SECOND.hop(0, NEXT))
    ),
    "one that is held already": then(EIGHT, PATH, "bad_path"),
    "the header itself": given(
        FIVE, path_over((FIVE, FIVE.hop()), to=Hop()), "bad_path"
    ),
    "one twice": given(
        EIGHT, path_over((FIVE, FIVE.hop()), (FIVE, Hop()), to=EIGHT.hop(5, NEXT)), "bad_path"
    ),
    "two the wrong way round": given(
        later, path_over((SIX, SIX.hop(5, NEXT)), (FIVE, FIVE.hop()), to=later.hop(6)), "bad_path"
    ),
    "a later one": given(FIVE, path_over((SIX, SIX.hop()), to=FIVE.hop()), "bad_path"),
    "one that is not final": over(make(5, FOUNDERS, NEXT, signers=(0, 1)), "not_final"),
    "one without signatures": over(make(5, FOUNDERS, NEXT, signers=()), "not_final"),
    "one with a wrong signature": over(
        make(5, FOUNDERS, NEXT, signatures={0: bytes(64)}), "bad_signature"
    ),
    "one with a fifth signature": over(
        make(5, FOUNDERS, NEXT, signatures={4: bytes(64)}), "unknown_attestor"
    ),
    "one of an attestor that there cannot be": over(
        make(5, FOUNDERS, NEXT, signatures={25: bytes(64)}), "bad_header"
    ),
    "one of another format": over(make(5, FOUNDERS, NEXT, format_version=2), "unknown_format"),
    "one of times in no order": over(make(5, FOUNDERS, NEXT, fresh_until_ms=0), "bad_header"),
    "one from the future": over(
        make(5, FOUNDERS, NEXT, valid_after_ms=TEN_MS + 400_000, fresh_until_ms=TEN_MS + 500_000),
        "from_the_future",
    ),
    "one that comes too early": over(
        make(5, FOUNDERS, NEXT, valid_after_ms=START_MS), "from_the_future"
    ),
    "one after which there is no time left": over(
        (late := make(5, FOUNDERS, NEXT, valid_after_ms=TEN_MS)), "bad_history"
    ),
    "one after which there is no time left, in its history": given(
        (hasty := make(8, NEXT, after=[late])),
        path_over((late, late.hop()), to=hasty.hop(5, NEXT)),
        "from_the_future",
    ),
    "one that has expired": [
        start(GENESIS),
        update(
            (after := make(
                8, NEXT,
                after=[(brief := make(5, FOUNDERS, NEXT, fresh_until_ms=START_MS + 50_001,
                                      valid_until_ms=START_MS + 50_001))],
            )).signed,
            path_over((brief, brief.hop()), to=after.hop(5, NEXT)),
        ),
    ],
}  # fmt: skip


CLASSES: Final[dict[str, Cases]] = {
    "path: sets": SETS,
    "path: recovery": RECOVERY,
    "path: headers on the way": WAYS,
}
"""Every class of this page."""

NAMES: Final = {"recovery": recovery(SAVED), "header 8 of others": SAVED.signed}
"""Bytes that many cases share."""
