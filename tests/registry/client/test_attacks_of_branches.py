"""Attacks by who shows different histories to different clients, or one that nobody vouches for.

| attack | what the attacker has | what the client does |
|---|---|---|
| split view | more than two thirds of the keys | keeps both headers as evidence, and stops |
| fork without a common epoch | the same, and care | keeps its branch; stops once it is proven |
| forged path | a source | refuses hashes that do not lead there |
| past the trust period | all keys of long ago | refuses it, unless somebody vouches for the way |
| wrong successor | a source | takes the file that the last header names, from who has it |

Each is staged over HTTP against a client with a cache on disk, and beside each stands what is
honest in its place, and is accepted.
"""

from typing import Final

import pytest

from ledger.crypto import sha256
from ledger.errors import Refusal
from ledger.messages.genesis import REGISTRY
from ledger.messages.lists import fingerprint_bits
from ledger.params import preset
from registry.client import Status
from registry.client.cache import EVIDENCE, SUCCESSOR
from registry.client.http import Beyond, Checkpoint
from registry.formats.trust import Path as TrustPath
from registry.formats.trust import encode_path
from tests.registry.client.attackers import (
    AFTER,
    BEFORE,
    LATEST,
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
from tests.registry.client.factory import (
    EPOCH,
    EPOCH_MS,
    NOW_MS,
    START_MS,
    MadeList,
    digest,
    make_genesis,
    make_hashes,
)
from tests.registry.client.server import Source

# --- split view -----------------------------------------------------------------------------------

OTHER = make_chain(EPOCH, after=[OLD], state_root=digest("other branch"))[0]
OTHER_NEW = make_chain(EPOCH + 1, after=[OTHER])[0]
OTHER_LATER = make_chain(EPOCH + 2, after=[OTHER])[0]


def expect_fork(program: Program, first: MadeList, second: MadeList, *sources: Source) -> None:
    """Check that a fork is proven by the last source, is kept, and stops the client for good."""
    asked = {name: data for name, data in program.files.items() if name != "lock"}
    error = refused("fork", lambda: program.fetch(*sources))
    assert error.values == {"epoch": first.header.epoch}
    where = f"{program.folder}: {', '.join(EVIDENCE)}"
    assert notes_of(error) == [
        f"the second one came from {sources[-1].url}",
        f"both are kept in {where}",
    ]
    evidence = dict(zip(EVIDENCE, (first.signed, second.signed), strict=True))
    assert program.files == asked | evidence | {"lock": b""}, "and nothing else has changed"
    refused("fork", lambda: program.lists.entries)

    counts = [len(source.asked) for source in sources]
    assert notes_of(refused("fork", lambda: program.fetch(*sources))) == []
    program.start()
    kept_in = f"it is kept in {program.folder / EVIDENCE[0]}"
    assert notes_of(refused("fork", lambda: program.fetch(*sources))) == [kept_in]
    assert [len(source.asked) for source in sources] == counts, "nobody is asked any more"


def test_split_view(serve: Serve, holder: Program) -> None:
    """Two sources show two histories, both final; who sees both stops."""
    one, other = serve(OLD, MADE, NEW), serve(OLD, OTHER, OTHER_NEW)
    holder.fetch(one)
    holder.fetch(one)
    holder.holds(NEW)
    expect_fork(holder, NEW, OTHER_NEW, other)

    # Only a person goes on, once it is known which branch is which.
    for name in EVIDENCE:
        (holder.folder / name).unlink()
    holder.start()
    holder.fetch(one)
    holder.holds(NEW)


def test_split_view_that_is_seen_at_once(serve: Serve, program: Program) -> None:
    """Where the first source keeps newer lists back, the next one is asked, and shows the other."""
    program.wait_until(MADE.header.fresh_until_ms + 1)
    one, other = serve(OLD, MADE), serve(OLD, OTHER)
    refused("fork", lambda: program.fetch(one, other, serve(OLD, MADE)))
    evidence = [program.files[name] for name in EVIDENCE]
    assert evidence == [MADE.signed, OTHER.signed]


def test_one_view_is_no_fork(serve: Serve, holder: Program) -> None:
    """Other signatures of the same header are none, nor is one that too few have signed."""
    made = sign_with(NEW, (0, 1, 2), (0, 1, 2))
    holder.fetch(serve(OLD, MADE, made))
    weak = sign_with(OTHER_NEW, (2, 3), (2, 3))
    holder.refuses("not_final", serve(OLD, OTHER, weak))
    holder.fetch(serve(OLD, MADE, sign_with(NEW, (1, 2, 3), (1, 2, 3))))
    assert holder.lists.signed_header == NEW.signed
    assert holder.lists.evidence is None


# --- fork without a common epoch ------------------------------------------------------------------


def test_fork_without_a_common_epoch(serve: Serve, holder: Program) -> None:
    """The branches take care to be final in turns: neither goes over into the other."""
    other, good = serve(OLD, OTHER_LATER), serve(OLD, MADE, NEW)
    holder.wait_until(time_of(OTHER_LATER))
    holder.refuses("bad_history", other)
    assert other.asked[-1] == f"/v1/lists/{EPOCH}", "it is asked for the epoch that is held"
    assert codes_of(holder.fetch(other, good)) == {other.url: "bad_history"}
    holder.holds(NEW)


def test_fork_that_its_source_proves(serve: Serve, holder: Program) -> None:
    """It has a final header for the epoch that is held, which nobody would have asked for."""
    holder.wait_until(time_of(OTHER_LATER))
    expect_fork(holder, MADE, OTHER, serve(OLD, OTHER, OTHER_LATER))


def test_fork_whose_branch_has_other_attestors(serve: Serve, holder: Program) -> None:
    """The set of that branch is unknown to this one, so its later headers prove nothing here."""
    fork = make_by(EPOCH, BEFORE, AFTER, after=[OLD])
    later = make_by(EPOCH + 1, AFTER, after=[fork])
    source = serve(OLD, fork, later)
    source.answers[trust_at(later, MADE)] = later.path(EPOCH, make_members(AFTER))
    expect_fork(holder, MADE, fork, source)


def test_fork_after_the_last_list(serve: Serve, program: Program) -> None:
    """One branch has ended, the other goes on."""
    last = make_chain(EPOCH, after=[OLD], successor=digest("file"))[0]
    program.fetch(serve(OLD, last))
    program.wait_until(time_of(NEW))
    expect_fork(program, last, MADE, serve(OLD, MADE, NEW))


@pytest.mark.parametrize("fitted", ["own", "other", "genesis", "turned", "twice", "fewer"])
def test_forged_path(fitted: str, serve: Serve, holder: Program) -> None:
    """Whatever hashes are chosen, a header leads back to the history that it was signed with."""
    holder.wait_until(time_of(OTHER_LATER))
    own = make_chain(EPOCH + 2, after=[NEW])[0]
    right = OTHER_LATER.hop(EPOCH).hashes
    hashes = {
        "own": own.hop(EPOCH).hashes,
        "other": right,
        "genesis": make_hashes(OTHER_LATER.leaves, 0),
        "turned": right[::-1],
        "twice": right * 2,
        "fewer": (),
    }[fitted]
    hop = OTHER_LATER.hop(EPOCH)._replace(hashes=hashes)
    bad = serve(OLD, OTHER_LATER)
    bad.answers[trust_at(OTHER_LATER, MADE)] = encode_path(TrustPath((), hop))
    fits = len(hashes) == len(right)
    holder.refuses("bad_history" if fits else "bad_path", bad)
    holder.fetch(bad, serve(OLD, MADE, NEW, own))
    holder.holds(own)


# --- past the trust period ------------------------------------------------------------------------

STAKED: Final = make_genesis(WEIGHTS, policy=REGISTRY)
TRUST_MS: Final = preset("minimal").trust_ms
HELD = make_chain(EPOCH, genesis=STAKED)[0]
HALF_MS: Final = HELD.header.valid_after_ms + TRUST_MS // 2
AWAY_MS: Final = HELD.header.valid_after_ms + TRUST_MS + EPOCH_MS
HALFWAY = make_chain(EPOCH + 5, after=[HELD], genesis=STAKED, **claim(HALF_MS))[0]
TODAY = make_chain(EPOCH + 9, after=[HALFWAY], genesis=STAKED, **claim(AWAY_MS - 1000))[0]
SOLD = make_chain(
    EPOCH + 9, after=[HELD], genesis=STAKED, state_root=digest("sold"), **claim(AWAY_MS - 1000)
)[0]
"""What the keys of long ago have signed, with stake behind none of them any more."""

RIGHT = Checkpoint(EPOCH + 5, fingerprint_bits(sha256(STAKED), HALFWAY.raw_header))


@pytest.fixture
def away(program: Program, serve: Serve) -> Program:
    """A client under policy 2 that was off for longer than the trust period."""
    program = Program(program.folder, STAKED, NOW_MS)
    program.fetch(serve(HELD))
    program.start(now_ms=AWAY_MS)
    program.cache.resume(program.lists)
    return program


def serve_all(serve: Serve) -> Source:
    return serve(HELD, HALFWAY, TODAY)


def test_past_the_trust_period(serve: Serve, away: Program) -> None:
    """An honest history and a forged one look the same from here, so neither is taken."""
    honest, forged = serve_all(serve), serve(HELD, SOLD)
    error = away.refuses("trust_expired", forged, honest)
    assert isinstance(error, Refusal)
    assert error.values == {"age_ms": TRUST_MS + EPOCH_MS, "limit_ms": TRUST_MS}
    assert [note.split(": ")[0] for note in notes_of(error)] == [forged.url, honest.url]
    assert honest.asked == [LATEST, trust_at(TODAY, HELD)] * 2
    refused("list_expired", lambda: away.lists.entries)


def test_within_the_trust_period(serve: Serve, away: Program) -> None:
    away.start(now_ms=HELD.header.valid_after_ms + TRUST_MS)
    in_time = make_chain(EPOCH + 9, after=[HALFWAY], genesis=STAKED, **claim(away.now_ms - 1000))
    away.fetch(serve(HELD, HALFWAY, *in_time))
    away.holds(in_time[0])


def test_a_checkpoint_on_the_way(serve: Serve, away: Program) -> None:
    honest, forged = serve_all(serve), serve(HELD, SOLD)
    fetched = away.fetch(forged, honest, beyond=Beyond(RIGHT))
    assert codes_of(fetched) == {forged.url: "unavailable"}, "it does not have that header"
    through = f"/v1/lists/{EPOCH + 5}"
    ways = [trust_at(HALFWAY, HELD), trust_at(TODAY, HALFWAY)]
    assert honest.asked == [LATEST, through, *ways, full_at(TODAY)]
    away.holds(TODAY)


def test_a_checkpoint_that_is_not_on_the_way(serve: Serve, away: Program) -> None:
    """The attacker has the header itself, or one of that epoch, and a history without it."""
    honest, forged = serve_all(serve), serve(HELD, SOLD)
    forged.answers[f"/v1/lists/{EPOCH + 5}"] = HALFWAY.signed
    forged.answers[trust_at(HALFWAY, HELD)] = HALFWAY.path(EPOCH)
    forged.answers[trust_at(SOLD, HALFWAY)] = SOLD.path(EPOCH + 5)
    away.refuses("bad_history", forged, beyond=Beyond(RIGHT))

    other = make_chain(EPOCH + 5, after=[HELD], genesis=STAKED, **claim(HALF_MS + 1))[0]
    sold = make_chain(EPOCH + 9, after=[other], genesis=STAKED, **claim(AWAY_MS - 1000))[0]
    liar = serve(HELD, other, sold)
    away.refuses("trust_expired", liar, beyond=Beyond(RIGHT))
    assert codes_of(away.fetch(liar, honest, beyond=Beyond(RIGHT))) == {liar.url: "trust_expired"}
    away.holds(TODAY)


def test_a_checkpoint_that_is_wrong_or_too_old(serve: Serve, away: Program) -> None:
    honest = serve_all(serve)
    wrong = Beyond(Checkpoint(EPOCH + 5, bytes(16)))
    away.refuses("trust_expired", honest, beyond=wrong)
    old = Beyond(Checkpoint(EPOCH, fingerprint_bits(sha256(STAKED), HELD.raw_header)))
    away.refuses("trust_expired", honest, beyond=old)
    away.start(now_ms=HALF_MS + TRUST_MS + 1)
    away.cache.resume(away.lists)
    away.refuses("trust_expired", honest, beyond=Beyond(RIGHT))


def test_sources_that_agree(serve: Serve, away: Program) -> None:
    """Two of three do: the word of the third, which is asked first, is worth nothing."""
    forged, first, second = serve(HELD, SOLD), serve_all(serve), serve_all(serve)
    fetched = away.fetch(forged, first, second, beyond=Beyond(agree=2))
    assert (fetched.source, codes_of(fetched)) == (first.url, {forged.url: "trust_expired"})
    away.holds(TODAY)
    at = f"/v1/lists/{TODAY.header.epoch}"
    assert [source.asked.count(at) for source in (forged, first, second)] == [1, 1, 1]


def test_sources_that_do_not_agree(serve: Serve, away: Program) -> None:
    """One liar is one voice, however often it is named, beside whoever is down or disagrees."""
    forged, honest, down = serve(HELD, SOLD), serve_all(serve), "http://127.0.0.1:1"
    two = Beyond(agree=2)
    away.refuses("trust_expired", forged, beyond=two)
    away.refuses("trust_expired", forged.url, forged.url + "/", forged.url, beyond=two)
    away.refuses("trust_expired", forged, down, honest, beyond=two)
    away.refuses("trust_expired", forged, honest, serve_all(serve), beyond=Beyond(agree=3))


# --- succession -----------------------------------------------------------------------------------

GOES_ON: Final = make_genesis(WEIGHTS, start_ms=START_MS + 11 * EPOCH_MS)
LAST = make_chain(EPOCH, after=[OLD], successor=sha256(GOES_ON))[0]
AT_GENESIS: Final = "/v1/genesis"


def test_wrong_successor(serve: Serve, program: Program) -> None:
    wrong, none, right = (serve(OLD, LAST) for _ in range(3))
    wrong.answers[AT_GENESIS] = make_genesis(WEIGHTS, start_ms=START_MS + 12 * EPOCH_MS)
    right.answers[AT_GENESIS] = GOES_ON
    fetched = program.fetch(wrong, none)
    assert fetched.successor is None
    assert codes_of(fetched) == {wrong.url: "wrong_successor", none.url: "unavailable"}
    assert program.cache.successor is None
    program.holds(LAST)

    fetched = program.fetch(wrong, none, right)
    assert (fetched.source, fetched.successor) == (wrong.url, GOES_ON)
    assert program.files[SUCCESSOR] == GOES_ON
    asked = [source.asked.count(AT_GENESIS) for source in (wrong, none, right)]

    program.start()
    fetched = program.fetch(wrong, none)
    assert (fetched.successor, fetched.failures) == (GOES_ON, {}), "it is kept"
    assert [source.asked.count(AT_GENESIS) for source in (wrong, none, right)] == asked
    (program.folder / SUCCESSOR).write_bytes(TWIN)
    program.start()
    assert program.fetch(right).successor == GOES_ON, "what was put in its place is looked at"

    program.lists.succeed(GOES_ON)
    assert program.lists.is_empty
    assert program.lists.genesis_hash == sha256(GOES_ON)


def test_a_source_of_the_next_network_alone(serve: Serve, program: Program) -> None:
    """It has no header of the network that is over, but the file of the one that goes on."""
    program.fetch(serve(OLD, LAST))
    assert program.cache.successor is None
    first = make_chain(0, genesis=GOES_ON)[0]
    new = serve(first)
    program.refuses("roll_back", new)
    new.answers[AT_GENESIS] = GOES_ON
    fetched = program.fetch(new)
    assert (fetched.source, fetched.successor) == ("", GOES_ON)
    assert program.files[SUCCESSOR] == GOES_ON
    program.holds(LAST)


def test_nothing_comes_after_the_last_list(serve: Serve, program: Program) -> None:
    program.fetch(change(serve(OLD, LAST), {AT_GENESIS: GOES_ON}))
    more = make_chain(EPOCH + 1, after=[LAST])[0]
    program.wait_until(time_of(more))
    beyond = serve(OLD, LAST, more)
    fetched = program.fetch(beyond)
    assert codes_of(fetched) == {beyond.url: "succeeded"}
    assert (fetched.source, fetched.successor) == ("", GOES_ON), "it goes on with the one it knows"
    (program.folder / SUCCESSOR).unlink()
    program.refuses("succeeded", beyond)
    assert program.lists.status is Status.FRESH
    program.holds(LAST)
