"""Attacks by sources that have no keys, and do not play foul with HTTP: with other lists.

| attack | what the attacker has | what the client does |
|---|---|---|
| arbitrary list | a source | refuses what the attestors of its genesis file did not sign |
| roll-back | a source, old lists | refuses what is older than what it holds, also after a restart |
| freeze | all sources but one, or all | says that its list is degraded, and stops when it expires |
| mix-and-match | a source, lists of several epochs | takes only parts that belong to one header |

Each is staged over HTTP against a client with a cache on disk, and beside each stands what an
honest source does in its place, which is accepted. More of them: `test_attacks_of_mirrors`,
`test_attacks_of_signers`, `test_attacks_of_branches`.
"""

import pytest

from ledger.merkle import audit_path, leaf_hash
from registry.client import Status
from registry.client.cache import ANCHOR, FULL
from registry.client.transport import Transport
from registry.formats.delta import encode_delta
from registry.formats.slice import Slice, encode_slice
from tests.registry.client.attackers import (
    LATEST,
    MADE,
    NEW,
    OLD,
    STRANGERS,
    Program,
    Serve,
    change,
    codes_of,
    delta_at,
    full_at,
    make_by,
    make_chain,
    make_members,
    notes_of,
    sign_with,
    time_of,
    trust_at,
)
from tests.registry.client.clients import refused
from tests.registry.client.factory import EPOCH, MadeList, make_genesis, make_swarm_leaves
from tests.registry.client.server import Answer

# --- arbitrary list -------------------------------------------------------------------------------

FOREIGN = make_chain(EPOCH, genesis=make_genesis((2, 1, 1)), weights=(2, 1, 1))[0]
NAMED = make_by(EPOCH, STRANGERS)

ARBITRARY: dict[str, tuple[str, MadeList, bytes]] = {
    "nobody signed it": ("not_final", sign_with(MADE, ()), MADE.path()),
    "strangers signed it": ("bad_signature", sign_with(MADE, STRANGERS), MADE.path()),
    "strangers name themselves": ("wrong_set", NAMED, NAMED.path()),
    "and bring their set": ("wrong_set", NAMED, NAMED.path(None, make_members(STRANGERS))),
    "it has a genesis of its own": ("wrong_set", FOREIGN, FOREIGN.path()),
}


@pytest.mark.parametrize(("code", "made", "path"), ARBITRARY.values(), ids=ARBITRARY.keys())
def test_arbitrary_list(
    code: str, made: MadeList, path: bytes, serve: Serve, program: Program
) -> None:
    bad, good = change(serve(made), {trust_at(made): path}), serve(OLD, MADE)
    error = program.refuses(code, bad)
    assert bad.url in notes_of(error)[0]
    assert program.files == {}, "nothing was kept"
    assert full_at(made) not in bad.asked, "its list is not even asked for"

    fetched = program.fetch(bad, good)
    assert (fetched.source, codes_of(fetched)) == (good.url, {bad.url: code})
    program.holds(MADE)
    program.refuses(code, bad)  # nor does it get through to who holds a list


def test_arbitrary_list_under_an_honest_header(serve: Serve, program: Program) -> None:
    bad, good = serve(OLD, MADE), serve(OLD, MADE)
    bad.answers[full_at(MADE)] = OLD.full
    refused("bad_list", lambda: program.fetch(bad))
    assert program.lists.header == MADE.header, "the header holds, and counts against roll-back"
    refused("list_missing", lambda: program.lists.entries)
    assert FULL not in program.files

    program.start()
    fetched = program.fetch(bad, good)
    assert (fetched.source, codes_of(fetched)) == (bad.url, {bad.url: "bad_list"})
    assert good.asked == [full_at(MADE)]
    program.holds(MADE)


# --- roll-back ------------------------------------------------------------------------------------


def test_roll_back(serve: Serve, holder: Program) -> None:
    current, back = serve(OLD, MADE, NEW), serve(OLD, MADE)
    holder.fetch(current)
    error = holder.refuses("roll_back", back)
    assert f"{back.url}: " in notes_of(error)[0]
    assert set(back.asked) == {LATEST}, "for an old header no path is fetched"
    holder.holds(NEW)
    fetched = holder.fetch(back, current)
    assert (fetched.source, codes_of(fetched)) == (current.url, {back.url: "roll_back"})


def test_roll_back_after_the_list_has_expired(serve: Serve, holder: Program) -> None:
    """Off for so long that its own list is of no use: it knows how far it had come all the same."""
    back = serve(OLD, MADE)
    holder.fetch(serve(OLD, MADE, NEW))
    holder.start(now_ms=NEW.header.valid_until_ms + 1)
    holder.cache.resume(holder.lists)
    holder.refuses("roll_back", back)
    refused("list_expired", lambda: holder.lists.entries)

    newest = make_chain(EPOCH + 400, after=[NEW])[0]
    holder.start(now_ms=time_of(newest))
    fetched = holder.fetch(back, serve(OLD, MADE, NEW, newest))
    assert codes_of(fetched) == {back.url: "roll_back"}
    holder.holds(newest)


def test_roll_back_of_the_list_under_a_new_header(serve: Serve, holder: Program) -> None:
    bad, good = serve(OLD, MADE, NEW), serve(OLD, MADE, NEW)
    bad.answers[full_at(NEW)] = MADE.full
    refused("bad_list", lambda: holder.fetch(bad))
    refused("list_missing", lambda: holder.lists.entries)
    assert NEW.signed in holder.files[ANCHOR]
    assert holder.files[FULL] == MADE.full, "what is kept is not taken for the new one"
    holder.refuses("roll_back", serve(OLD, MADE))
    holder.start()
    assert codes_of(holder.fetch(bad, good)) == {bad.url: "bad_list"}
    holder.holds(NEW)


# --- freeze ---------------------------------------------------------------------------------------


def test_freeze(serve: Serve, holder: Program) -> None:
    """The same list for ever: it is used for as long as it says, and the user is told."""
    frozen = [serve(OLD, MADE), serve(OLD, MADE), serve(OLD, MADE)]
    asked = [source.asked for source in frozen]

    holder.wait_until(MADE.header.fresh_until_ms)
    assert codes_of(holder.fetch(*frozen)) == {}
    holder.holds(MADE, Status.FRESH)
    assert asked == [[LATEST], [], []]

    holder.wait_until(MADE.header.fresh_until_ms + 1)
    assert codes_of(holder.fetch(*frozen)) == {}
    holder.holds(MADE, Status.DEGRADED)
    assert asked == [[LATEST] * 2, [LATEST], [LATEST]], "all are asked whether they have better"

    holder.wait_until(MADE.header.valid_until_ms + 1)
    error = holder.refuses("list_expired", *frozen)
    assert [note.split(": ")[0] for note in notes_of(error)] == [one.url for one in frozen]
    assert holder.lists.status is Status.EXPIRED
    refused("list_expired", lambda: holder.lists.entries)

    holder.start(allow_expired=True)
    assert codes_of(holder.fetch(*frozen)) == {}
    holder.holds(MADE, Status.EXPIRED)


@pytest.mark.parametrize("after", [1, 400])
def test_freeze_by_all_but_one(after: int, serve: Serve, holder: Program) -> None:
    """One honest source among them is enough, whether the frozen list is degraded or expired."""
    newest = make_chain(EPOCH + 10 + after, after=[NEW])[0]
    frozen, honest = [serve(OLD, MADE), serve(OLD, MADE)], serve(OLD, MADE, NEW, newest)
    holder.wait_until(time_of(newest))
    assert holder.lists.status is (Status.DEGRADED if after == 1 else Status.EXPIRED)
    fetched = holder.fetch(*frozen, honest)
    assert fetched.source == honest.url
    assert set(codes_of(fetched).values()) == (set() if after == 1 else {"list_expired"})
    holder.holds(newest)


# --- mix-and-match --------------------------------------------------------------------------------

LATER = make_chain(EPOCH + 4, after=[NEW])[0]
SIGNATURES = MADE.signed[342:]

MIXED: dict[str, tuple[str, dict[str, Answer]]] = {
    "signatures of another header": (
        "bad_signature",
        {LATEST: LATER.raw_header + SIGNATURES},
    ),
    "header of another with its own signatures": (
        "bad_path",
        {LATEST: NEW.signed, trust_at(NEW, OLD): LATER.path(EPOCH - 1)},
    ),
    "path to an earlier header": ("bad_path", {trust_at(LATER, OLD): NEW.path(EPOCH - 1)}),
    "path from a later header": ("bad_history", {trust_at(LATER, OLD): LATER.path(EPOCH)}),
    "path from genesis": ("bad_path", {trust_at(LATER, OLD): LATER.path()}),
    "no path": ("bad_path", {trust_at(LATER, OLD): b""}),
    "path of another branch": (
        "bad_history",
        {trust_at(LATER, OLD): make_chain(EPOCH + 4)[0].path(EPOCH - 1)},
    ),
}


@pytest.mark.parametrize(("code", "answers"), MIXED.values(), ids=MIXED.keys())
def test_mix_and_match(
    code: str, answers: dict[str, Answer], serve: Serve, program: Program
) -> None:
    program.fetch(serve(OLD))
    program.wait_until(time_of(LATER))
    bad, good = change(serve(OLD, MADE, NEW, LATER), answers), serve(OLD, MADE, NEW, LATER)
    program.refuses(code, bad)
    program.holds(OLD)
    fetched = program.fetch(bad, good)
    assert (fetched.source, codes_of(fetched)) == (good.url, {bad.url: code})
    program.holds(LATER)


MIXED_DELTAS: dict[str, bytes] = {
    "from another list": encode_delta(OLD.columns, NEW.columns),
    "to another list": encode_delta(MADE.columns, LATER.columns),
    "the wrong way round": encode_delta(NEW.columns, MADE.columns),
    "that changes nothing": encode_delta(MADE.columns, MADE.columns),
    "that is the whole list": NEW.full,
}


@pytest.mark.parametrize("delta", MIXED_DELTAS.values(), ids=MIXED_DELTAS.keys())
def test_mix_and_match_of_a_delta(delta: bytes, serve: Serve, holder: Program) -> None:
    source = change(serve(OLD, MADE, NEW), {delta_at(NEW, MADE): delta})
    assert codes_of(holder.fetch(source)) == {}
    assert source.asked == [LATEST, delta_at(NEW, MADE), full_at(NEW)]
    holder.holds(NEW)


def test_the_delta_of_an_honest_source_saves_the_list(serve: Serve, holder: Program) -> None:
    source = serve(OLD, MADE, NEW)
    source.answers[delta_at(NEW, MADE)] = encode_delta(MADE.columns, NEW.columns)
    holder.fetch(source)
    assert source.asked == [LATEST, delta_at(NEW, MADE)]
    holder.holds(NEW)


ACCOUNT = bytes(32)


def make_slice(header: MadeList, leaves: MadeList, place: int = 0) -> bytes:
    """A slice whose header is that of one list, and whose swarm is of another one."""
    swarms = make_swarm_leaves(leaves.entries)
    path = audit_path([leaf_hash(each) for each in swarms], place)
    return encode_slice(Slice(header.signed, place, swarms[place], tuple(path)))


SLICES: dict[str, bytes] = {
    "a swarm of another list": make_slice(NEW, MADE),
    "a swarm of another list, at another place": make_slice(NEW, MADE, 1),
    "another swarm of the list": make_slice(NEW, NEW, 2),
}


@pytest.mark.parametrize("parts", SLICES.values(), ids=SLICES.keys())
def test_mix_and_match_of_a_swarm(parts: bytes, serve: Serve, holder: Program) -> None:
    """The one swarm that a client asks for is the nearest one of the list of its header."""
    bad = change(serve(OLD, MADE, NEW), {"/slice": parts})
    good = change(serve(OLD, MADE, NEW), {"/slice": make_slice(NEW, NEW)})
    with Transport(5, 5) as transport:
        wrong, right = (transport.get(one.url, "/slice", 10**6) for one in (bad, good))
    refused("bad_list", lambda: holder.lists.read_slice(wrong, ACCOUNT))
    members = holder.lists.read_slice(right, ACCOUNT)
    assert members == [entry for entry in NEW.entries if entry.swarm_id == 0]
