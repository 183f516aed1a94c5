"""Attacks by who has keys of attestors.

| attack | what the attacker has | what the client does |
|---|---|---|
| fast-forward | more than two thirds | refuses an epoch that nobody had the time for |
| header from the future | more than two thirds | refuses it until its time has come |
| wrong chain | all keys, of another network | refuses it: what is signed names the genesis file |
| keys compromised below the threshold | up to two thirds | refuses it, however they are counted |
| keys of who was replaced | all of them | refuses it, once it has seen the change |
| recovery keys below their threshold | up to two thirds of these | refuses their order |

Each is staged over HTTP against a client with a cache on disk, and beside each stands what is
honest in its place, and is accepted.
"""

from collections.abc import Sequence
from typing import Final

import pytest

from ledger.codec import encode
from ledger.crypto import key_pair, sha256, sign, signing_bytes
from ledger.errors import Refusal
from ledger.messages import tags
from ledger.messages.transactions import SetOrder
from registry.client.checks import MAX_AHEAD_MS
from registry.formats.trust import Path as TrustPath
from registry.formats.trust import Recovery, Way, encode_path
from tests.registry.client.attackers import (
    AFTER,
    BEFORE,
    MADE,
    NEW,
    OLD,
    TWIN,
    WEIGHTS,
    Program,
    Serve,
    change,
    claim,
    codes_of,
    far_ahead,
    full_at,
    make_by,
    make_chain,
    make_far,
    make_members,
    notes_of,
    sign_with,
    time_of,
    trust_at,
)
from tests.registry.client.clients import refused
from tests.registry.client.factory import (
    EPOCH,
    EPOCH_MS,
    MadeList,
    digest,
    make_genesis,
)
from tests.registry.client.server import Source

# --- fast-forward ---------------------------------------------------------------------------------

FAR: Final = 10**6
SOON_MS: Final = time_of(NEW)


@pytest.mark.parametrize("signers", [(0, 1, 2), (0, 1, 2, 3)])
def test_fast_forward(signers: Sequence[int], serve: Serve, holder: Program) -> None:
    """Whoever took it would refuse all honest headers of the next months as a roll-back."""
    far, path = make_far(EPOCH + FAR, MADE, **claim(SOON_MS))
    far = sign_with(far, signers, signers)
    bad = change(serve(OLD, MADE, far), {trust_at(far, MADE): path})
    error = holder.refuses("from_the_future", bad)
    assert isinstance(error, Refusal)
    assert error.values["ahead_ms"] == (far_ahead(MADE, FAR) - SOON_MS)
    assert full_at(far) not in bad.asked

    fetched = holder.fetch(bad, serve(OLD, MADE, NEW))
    assert codes_of(fetched) == {bad.url: "from_the_future"}
    holder.holds(NEW)


def test_fast_forward_of_who_holds_nothing(serve: Serve, program: Program) -> None:
    far = make_chain(EPOCH + 900, **claim(program.now_ms))[0]
    bad, good = serve(far), serve(OLD, MADE)
    program.refuses("from_the_future", bad)
    assert codes_of(program.fetch(bad, good)) == {bad.url: "from_the_future"}
    program.holds(MADE)


def test_fast_forward_in_the_slack_of_the_clock_lasts_five_minutes(
    serve: Serve, program: Program
) -> None:
    """The furthest that any keys carry a client, and that is an epoch that comes soon anyhow."""
    most = MAX_AHEAD_MS // EPOCH_MS
    program.wait_until(far_ahead(MADE, 0))
    nearest, beyond = make_chain(EPOCH + most, EPOCH + most + 1, after=[MADE])
    bad = serve(OLD, MADE, beyond)
    program.refuses("from_the_future", bad)
    program.fetch(serve(OLD, MADE, nearest))
    program.holds(nearest)
    program.refuses("roll_back", serve(OLD, MADE))
    program.wait_until(time_of(nearest, EPOCH_MS))
    program.fetch(serve(OLD, MADE, nearest, beyond))
    program.holds(beyond)


def test_as_far_ahead_as_time_has_passed_is_fine(serve: Serve, holder: Program) -> None:
    """After a long time without a final header the next one has a number as high."""
    far, path = make_far(EPOCH + FAR, MADE)
    source = change(serve(OLD, MADE, far), {trust_at(far, MADE): path})
    holder.start(now_ms=time_of(far))
    holder.fetch(source)
    holder.holds(far)


# --- header from the future -----------------------------------------------------------------------


def test_header_from_the_future(serve: Serve, holder: Program) -> None:
    latest_ms = SOON_MS + MAX_AHEAD_MS
    early = make_chain(EPOCH + 1, after=[MADE], **claim(latest_ms + 1))[0]
    just = make_chain(EPOCH + 1, after=[MADE], **claim(latest_ms))[0]
    bad = serve(OLD, MADE, early)
    error = holder.refuses("from_the_future", bad)
    assert isinstance(error, Refusal)
    assert error.values["ahead_ms"] == MAX_AHEAD_MS + 1
    assert notes_of(error) == [f"{bad.url}: {error}"], (
        "the clocks agree, so nothing is said of them"
    )
    assert holder.fetch(serve(OLD, MADE, just)).clock == ""
    holder.holds(just)


# --- wrong chain ----------------------------------------------------------------------------------


def test_wrong_chain(serve: Serve, holder: Program) -> None:
    twin = make_chain(EPOCH, EPOCH + 1, genesis=TWIN)
    bad, good = serve(*twin), serve(OLD, MADE, NEW)
    holder.refuses("bad_signature", bad)
    assert codes_of(holder.fetch(bad, good)) == {bad.url: "bad_signature"}
    holder.holds(NEW)

    files = holder.files
    other = Program(holder.folder, TWIN, holder.now_ms)
    refused("bad_genesis", lambda: other.fetch(bad))
    assert holder.files == files, "a folder is of one network"
    elsewhere = Program(holder.folder.parent / "other", TWIN, holder.now_ms)
    elsewhere.fetch(bad)
    elsewhere.holds(twin[1])


# --- keys compromised below the threshold ---------------------------------------------------------

FORGED = make_chain(EPOCH + 1, after=[MADE], state_root=digest("forged"))[0]

FEW: dict[str, tuple[str, MadeList]] = {
    "one of four": ("not_final", sign_with(FORGED, (2,), (2,))),
    "two of four": ("not_final", sign_with(FORGED, (1, 2), (1, 2))),
    "two of four and a signature that is made up": (
        "bad_signature",
        sign_with(FORGED, (1, 2, 10), (1, 2, 3)),
    ),
    "two of four, one of them twice": ("bad_signature", sign_with(FORGED, (1, 2, 2), (1, 2, 3))),
    "two of four who name only themselves": ("wrong_set", make_by(EPOCH + 1, (1, 2), after=[MADE])),
    "two of four beside two strangers": (
        "wrong_set",
        make_by(EPOCH + 1, (1, 2, 10, 11), after=[MADE]),
    ),
}


@pytest.mark.parametrize(("code", "forged"), FEW.values(), ids=FEW.keys())
def test_keys_compromised_below_the_threshold(
    code: str, forged: MadeList, serve: Serve, holder: Program
) -> None:
    bad, good = serve(OLD, MADE, forged), serve(OLD, MADE, NEW)
    brought = forged.path(EPOCH, make_members((1, 2)), make_members((1, 2, 10, 11)))
    bad.answers[trust_at(forged, MADE)] = brought
    holder.refuses(code, bad)
    assert codes_of(holder.fetch(bad, good)) == {bad.url: code}
    holder.holds(NEW)


def test_three_of_four_are_enough(serve: Serve, holder: Program) -> None:
    made = sign_with(NEW, (0, 1, 3), (0, 1, 3))
    holder.fetch(serve(OLD, MADE, made))
    holder.holds(made)


def test_keys_of_exactly_two_thirds(serve: Serve, program: Program) -> None:
    first, second = make_chain(EPOCH, EPOCH + 1, weights=(1, 1, 1))
    program = Program(program.folder, first.genesis, time_of(second))
    bad = serve(first, sign_with(second, (0, 1)))
    program.refuses("not_final", bad)
    assert codes_of(program.fetch(bad, serve(first, second))) == {bad.url: "not_final"}
    program.holds(second)


CHANGE = make_by(EPOCH + 1, BEFORE, AFTER, after=[MADE])
CHANGED = make_by(EPOCH + 2, AFTER, after=[CHANGE])


def serve_change(source: Source) -> Source:
    """Have a source bring the set that took over with the paths to what it signed."""
    hop = CHANGED.hop(EPOCH + 1, make_members(AFTER))
    over_change = TrustPath((Way(CHANGE.hop(EPOCH), CHANGE.signed),), hop)
    answers = {
        trust_at(CHANGED, MADE): encode_path(over_change),
        trust_at(CHANGED, CHANGE): encode_path(TrustPath((), hop)),
    }
    return change(source, answers)


def test_keys_of_attestors_who_were_replaced(serve: Serve, holder: Program) -> None:
    """All of them: they are worth nothing to who has seen their successors being named."""
    good = serve_change(serve(OLD, MADE, CHANGE, CHANGED))
    holder.wait_until(time_of(CHANGED))
    forged = make_by(EPOCH + 2, BEFORE, after=[CHANGE])
    bad = serve(OLD, MADE, CHANGE, forged)
    holder.fetch(serve(OLD, MADE, CHANGE))
    holder.refuses("wrong_set", bad)
    bad.answers[trust_at(forged, CHANGE)] = forged.path(EPOCH + 1, make_members(AFTER))
    holder.refuses("wrong_set", bad)
    assert codes_of(holder.fetch(bad, good)) == {bad.url: "wrong_set"}
    holder.holds(CHANGED)

    late = make_by(EPOCH + 3, BEFORE, after=[CHANGED])
    holder.wait_until(time_of(late))
    holder.refuses("wrong_set", change(serve(OLD, late), {f"/v1/lists/{EPOCH + 2}": 404}))


def test_a_client_that_was_away_follows_the_change(serve: Serve, holder: Program) -> None:
    source = serve_change(serve(OLD, MADE, CHANGE, CHANGED))
    holder.wait_until(time_of(CHANGED))
    holder.fetch(source)
    holder.holds(CHANGED)


RECOVERY = sorted(key_pair(digest(f"recovery {number}")) for number in range(4))
RESCUED = make_genesis(WEIGHTS, recovery=tuple(pair.public for pair in RECOVERY))


def order_by(signers: Sequence[int], made: MadeList, *, begin: int, forged: int = -1) -> Recovery:
    """An order of the set that a header names, signed by these recovery keys."""
    order = SetOrder(begin, made.header.set_hash, digest("tips"))
    message = signing_bytes(tags.RECOVERY_ORDER, sha256(RESCUED), encode(order))
    signatures = [
        (RECOVERY[n].public, sign(RECOVERY[0] if n == forged else RECOVERY[n], message))
        for n in signers
    ]
    return Recovery(begin, digest("tips"), tuple(signatures))


ORDERS: dict[str, tuple[str, tuple[int, ...], int, int]] = {
    "two of four": ("wrong_set", (1, 2), EPOCH + 1, -1),
    "two of four and a signature that is made up": ("bad_signature", (1, 2, 3), EPOCH + 1, 3),
    "two of four, one of them twice": ("bad_path", (1, 2, 2), EPOCH + 1, -1),
    "enough, and an order that was carried out before": ("bad_path", (1, 2, 3), EPOCH, -1),
}


@pytest.mark.parametrize(("code", "signers", "begin", "forged"), ORDERS.values(), ids=ORDERS.keys())
def test_recovery_keys_compromised_below_their_threshold(
    code: str,
    signers: tuple[int, ...],
    begin: int,
    forged: int,
    serve: Serve,
    program: Program,
) -> None:
    held = make_chain(EPOCH, genesis=RESCUED)[0]
    made = make_by(EPOCH + 1, AFTER, after=[held], genesis=RESCUED)
    program = Program(program.folder, RESCUED, time_of(made))
    program.fetch(serve(held))

    def lead(order: Recovery) -> bytes:
        return encode_path(TrustPath((), made.hop(EPOCH, make_members(AFTER), recovery=order)))

    order = order_by(signers, made, begin=begin, forged=forged)
    right = order_by((0, 1, 2), made, begin=EPOCH + 1)
    bad = change(serve(held, made), {trust_at(made, held): lead(order)})
    good = change(serve(held, made), {trust_at(made, held): lead(right)})
    program.refuses(code, bad)
    program.holds(held)
    assert codes_of(program.fetch(bad, good)) == {bad.url: code}
    program.holds(made)
