"""Votes: never two batches for one epoch, whatever ends the process, and whenever."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import KeyPair, sha256, verify
from ledger.messages.duty import Vote, vote_signed
from registry import files, watermarks
from registry.addresses import encode_node
from registry.agent import votes as module
from registry.agent.votes import Ballot, Batch, Sending
from registry.client.services import Services
from registry.watermarks import (
    VOTES,
    Backup,
    Mark,
    SignerRefuses,
    WatermarkNotWritten,
    Watermarks,
    WatermarksInUse,
    import_backup,
)
from tests.factory import keys, public
from tests.flip import flip
from tests.registry.factory import in_loop
from tests.registry.small_service import Asked, Said, SmallService, problem, running, said

NETWORK: Final = sha256(b"a genesis file")
NODE: Final = public("tester")
DUTY: Final = keys("tester duty")
EPOCH: Final = 7
NOBODY: Final = "http://127.0.0.1:1"


def vote(name: str = "tested", faults: int = 0, epoch: int = EPOCH) -> Vote:
    return Vote(epoch, public(name), 1, faults)


PASS: Final = [vote()]
FAIL: Final = [vote(faults=1)]


class Home:
    """The home of an agent. `start` is another process on it: what it knows, it has from there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.held: Watermarks | None = None
        self.duty: KeyPair = DUTY

    def start(self, running: int) -> Ballot:
        """Start while an epoch runs."""
        self.stop()
        self.held = Watermarks(self.folder / "watermarks", NETWORK)
        return Ballot(self.folder / "votes", self.held, NODE, lambda _: self.duty, lambda: running)

    def stop(self) -> None:
        """End the process, however."""
        if self.held is not None:
            self.held.close()

    @property
    def mark(self) -> Path:
        """The file of the watermark."""
        return self.folder / "watermarks" / f"votes-{self.duty.public.hex()[:16]}"

    @property
    def decided(self) -> list[int]:
        """The epochs whose batches are there."""
        return sorted(int(path.name) for path in (self.folder / "votes").glob("[0-9]*"))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    home.stop()


def settled(home: Home) -> Ballot:
    """A home whose agent voted in the epoch before, started while that ran."""
    ballot = home.start(EPOCH - 2)
    ballot.decide(EPOCH - 1, [vote(epoch=EPOCH - 1)])
    return ballot


# ---------------------------------------------------------------------------------- deciding


def test_what_was_decided_is_decided(home: Home) -> None:
    ballot = settled(home)
    batch = ballot.decide(EPOCH, FAIL)
    assert batch == Batch(1, NETWORK, NODE, EPOCH, tuple(FAIL))
    assert ballot.decide(EPOCH, PASS) == batch
    assert home.start(EPOCH).decide(EPOCH, PASS) == batch
    assert home.start(EPOCH + 1).decide(EPOCH, []) == batch


def test_votes_stand_in_the_order_of_nodes(home: Home) -> None:
    two, one = sorted([vote("a"), vote("b")], key=lambda row: row.node)[::-1]
    assert settled(home).decide(EPOCH, [two, one]).votes == (one, two)


def test_the_watermark_knows_of_a_batch_before_it_is_signed(home: Home) -> None:
    ballot = settled(home)
    batch = ballot.decide(EPOCH, FAIL)
    assert home.held is not None
    mark = home.held.open(VOTES, DUTY.public)
    assert (mark.number, mark.hash) == (EPOCH, sha256(encode(batch)))


def test_a_signature_is_one_of_the_vote_by_the_duty_key(home: Home) -> None:
    ballot = settled(home)
    (row,) = ballot.sign(ballot.decide(EPOCH, FAIL))
    signature = bytes.fromhex(row.pop("signature"))
    assert row == {
        "epoch": EPOCH,
        "node": encode_node(public("tested")),
        "life": 1,
        "faults": 1,
        "tester": encode_node(NODE),
    }
    assert verify(vote_signed(NETWORK, DUTY.public, FAIL[0], signature))


def test_batches_are_forgotten_when_it_is_too_late_for_them(home: Home) -> None:
    ballot = settled(home)
    for epoch in range(EPOCH, EPOCH + 4):
        ballot.decide(epoch, [vote(epoch=epoch)])
    assert home.decided == [EPOCH + 2, EPOCH + 3]


# ------------------------------------------------------------------------- what ends a process


class Killed(BaseException):
    """The process ends here; nothing of it runs any more."""


CRASHES: Final[dict[str, tuple[str, bool]]] = {
    "before the batch is written": ("create_durably", False),
    "after the batch is written": ("create_durably", True),
    "before the watermark is written": ("write_durably", False),
    "after the watermark is written": ("write_durably", True),
}


@pytest.mark.parametrize("name", CRASHES)
def test_a_process_that_is_killed_leaves_one_decision_or_none(
    home: Home, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    what, landed = CRASHES[name]
    ballot = settled(home)
    real = getattr(files, what)

    def crash(*arguments: Any, **named: Any) -> None:
        if landed:
            real(*arguments, **named)
        raise Killed

    place = module if what == "create_durably" else watermarks
    with monkeypatch.context() as patch:
        patch.setattr(place, what, crash)
        with pytest.raises(Killed):
            ballot.decide(EPOCH, FAIL)
    # nothing was signed: the other way round is as good, as long as it stays so
    first = home.start(EPOCH).decide(EPOCH, PASS)
    was_written = name != "before the batch is written"
    assert first.votes == tuple(FAIL if was_written else PASS)
    assert home.start(EPOCH).decide(EPOCH, FAIL) == first
    assert home.start(EPOCH).decide(EPOCH, PASS) == first


@pytest.mark.parametrize("landed", [False, True])
def test_a_watermark_that_cannot_be_written_lets_nothing_out(
    home: Home, landed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ballot = settled(home)
    real = files.write_durably

    def fail(*arguments: Any, **named: Any) -> None:
        if landed:
            real(*arguments, **named)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(watermarks, "write_durably", fail)
        with pytest.raises(WatermarkNotWritten):
            ballot.decide(EPOCH, FAIL)
    # the decision stands, and goes out once there is room
    assert ballot.decide(EPOCH, PASS).votes == tuple(FAIL)


def test_a_batch_that_cannot_be_written_is_none(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    ballot = settled(home)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "create_durably", fail)
        with pytest.raises(OSError, match="No space"):
            ballot.decide(EPOCH, FAIL)
    assert home.decided == [EPOCH - 1]
    assert ballot.decide(EPOCH, PASS).votes == tuple(PASS)


# -------------------------------------------------------------- watermarks that know too little


def test_a_lost_watermark_lets_pass_what_can_have_been_signed(home: Home) -> None:
    settled(home).decide(EPOCH, FAIL)
    home.mark.unlink()
    for epoch in home.decided:
        (home.folder / "votes" / f"{epoch:020d}").unlink()
    ballot = home.start(EPOCH)
    for epoch in (EPOCH - 1, EPOCH):
        with pytest.raises(SignerRefuses, match=f"it votes from epoch {EPOCH + 1} on"):
            ballot.decide(epoch, [])
    assert home.decided == []
    assert ballot.decide(EPOCH + 1, []).epoch == EPOCH + 1
    # and from then on it is known what was signed
    assert home.start(EPOCH + 2).decide(EPOCH + 2, []).epoch == EPOCH + 2


def test_a_new_agent_waits_for_the_next_epoch(home: Home) -> None:
    ballot = home.start(EPOCH)
    with pytest.raises(SignerRefuses, match="not there"):
        ballot.check(EPOCH)
    ballot.check(EPOCH + 1)


def restore(home: Home, number: int, digest: bytes) -> Ballot:
    """Start with what a backup of the watermarks knows."""
    ballot = home.start(EPOCH)
    home.mark.unlink(missing_ok=True)
    assert home.held is not None
    mark = Mark(b"votes", DUTY.public, number, digest)
    import_backup(home.held, Backup(1, NETWORK, (mark,)))
    return ballot


def test_a_restored_watermark_says_less_than_was_signed(home: Home) -> None:
    ballot = restore(home, EPOCH - 3, bytes(32))
    with pytest.raises(SignerRefuses, match="restored"):
        ballot.decide(EPOCH, PASS)
    assert ballot.decide(EPOCH + 1, []).epoch == EPOCH + 1


def test_an_old_batch_does_not_make_a_restored_watermark_certain(home: Home) -> None:
    """Home and watermark out of a backup: what was decided there may go out, and no more."""
    batch = settled(home).decide(EPOCH - 1, [])
    ballot = restore(home, EPOCH - 2, bytes(32))
    assert ballot.decide(EPOCH - 1, FAIL) == batch
    with pytest.raises(SignerRefuses, match="restored"):
        ballot.decide(EPOCH, PASS)


def test_a_batch_that_is_not_what_was_signed_stays_here(home: Home) -> None:
    settled(home)
    ballot = restore(home, EPOCH - 1, bytes(32))
    with pytest.raises(SignerRefuses, match="other votes"):
        ballot.decide(EPOCH - 1, [])


def test_a_batch_that_is_gone_is_not_decided_again(home: Home) -> None:
    settled(home).decide(EPOCH, FAIL)
    (home.folder / "votes" / f"{EPOCH:020d}").unlink()
    with pytest.raises(SignerRefuses, match="signed already"):
        home.start(EPOCH).decide(EPOCH, PASS)


def of_another(**changes: Any) -> Callable[[bytes], bytes]:
    def make(_: bytes) -> bytes:
        raw = encode(replace(Batch(1, NETWORK, NODE, EPOCH, ()), **changes))
        return sha256(raw) + raw

    return make


DAMAGED: Final[dict[str, Callable[[bytes], bytes]]] = {
    "a bit": flip,
    "its end": lambda raw: raw[:-1],
    "everything": lambda raw: b"",
    "too much": lambda raw: raw + bytes(200_000),
    "another network": of_another(network=bytes(32)),
    "another node": of_another(tester=bytes(32)),
    "another epoch": of_another(epoch=EPOCH + 1),
    "another version": of_another(version=2),
    "no record": lambda raw: sha256(b"\xff") + b"\xff",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_that_is_not_what_was_written_is_refused(home: Home, name: str) -> None:
    settled(home).decide(EPOCH, FAIL)
    path = home.folder / "votes" / f"{EPOCH:020d}"
    path.write_bytes(DAMAGED[name](path.read_bytes()))
    ballot = home.start(EPOCH)
    with pytest.raises(SignerRefuses, match=path.name):
        ballot.decide(EPOCH, PASS)
    # the next epoch is another matter
    assert ballot.decide(EPOCH + 1, []).epoch == EPOCH + 1


def test_a_damaged_watermark_stops_all_votes(home: Home) -> None:
    settled(home).decide(EPOCH, FAIL)
    home.mark.write_bytes(flip(home.mark.read_bytes()))
    ballot = home.start(EPOCH)
    for epoch in (EPOCH, EPOCH + 1, EPOCH + 9):
        with pytest.raises(SignerRefuses, match="damaged"):
            ballot.decide(epoch, [])


def test_another_duty_key_has_a_watermark_of_its_own(home: Home) -> None:
    settled(home).decide(EPOCH, FAIL)
    home.duty = keys("another duty")
    ballot = home.start(EPOCH + 1)
    with pytest.raises(SignerRefuses, match="not there"):
        ballot.decide(EPOCH + 1, [])
    assert ballot.decide(EPOCH + 2, []).epoch == EPOCH + 2


def test_a_home_has_one_agent(home: Home) -> None:
    settled(home)
    with pytest.raises(WatermarksInUse):
        Watermarks(home.folder / "watermarks", NETWORK)


def test_files_are_for_their_owner(home: Home) -> None:
    settled(home).decide(EPOCH, FAIL)
    for path in (home.mark, home.folder / "votes" / f"{EPOCH:020d}"):
        assert os.stat(path).st_mode & 0o777 == 0o600


# ----------------------------------------------------------------------------------- sending

ROWS: Final = [vote("one"), vote("two", 1), vote("three", 2)]


@pytest.fixture
def make() -> Iterator[Callable[[], SmallService]]:
    """Start services until the test ends."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(running())


def answers(*rounds: list[str | tuple[str, str]]) -> Callable[[Asked], Said]:
    """What a service says of the votes that come, round by round; the last one goes on."""
    left = list(rounds)

    def answer(asked: Asked) -> Said:
        states = left.pop(0) if len(left) > 1 else left[0]
        assert len(asked.json["votes"]) == len(states)
        rows = [
            {"state": row, "code": None}
            if isinstance(row, str)
            else {"state": row[0], "code": row[1]}
            for row in states
        ]
        return said({"results": rows}, 202)

    return answer


def sending(home: Home, *services: str) -> tuple[Sending, Services]:
    ballot = settled(home)
    batch = ballot.decide(EPOCH, ROWS)
    asked = Services(services, timeout_s=5)
    return Sending(asked, batch, ballot.sign(batch)), asked


def sent(service: SmallService) -> list[list[str]]:
    """The nodes whose votes came, round by round."""
    return [[row["node"] for row in asked.json["votes"]] for asked in service.asked]


@in_loop
async def test_votes_go_to_every_service_until_it_has_said_its_last(home: Home, make: Any) -> None:
    one, two = make(), make()
    one.answers["POST /v1/verdicts"] = answers(
        ["held", "noted", "held"], ["judged", "held"], ["refused"]
    )
    two.answers["POST /v1/verdicts"] = answers(["contradiction", ("refused", "no_quorum"), "noted"])
    batch, services = sending(home, one.url, two.url, NOBODY)
    rounds = iter(range(4))
    await batch.run(0, lambda: next(rounds, None) is not None)
    await services.close()
    first, second, third = (encode_node(row.node) for row in batch.batch.votes)
    assert sent(one) == [[first, second, third], [first, third], [third]]
    assert sent(two) == [[first, second, third]]
    assert batch.counts == {
        one.url: {"judged": 1, "noted": 1, "refused": 1},
        two.url: {"contradiction": 1, "refused": 1, "noted": 1},
        NOBODY: {"unsent": 3},
    }
    assert not batch.has_ended


@in_loop
async def test_a_service_that_is_behind_gets_them_again(home: Home, make: Any) -> None:
    service = make()
    closed = ("refused", "verdict_closed")
    service.answers["POST /v1/verdicts"] = answers([closed] * 3, ["noted"] * 3)
    batch, services = sending(home, service.url)
    await batch.run(0, lambda: True)
    await services.close()
    assert len(service.asked) == 2
    assert batch.has_ended


@in_loop
async def test_the_last_vote_that_is_refused_comes_as_a_problem(home: Home, make: Any) -> None:
    service = make()
    replies: list[Callable[[Asked], Said]] = [
        answers(["noted", "held", "noted"]),
        lambda _: problem("wrong_life"),
    ]
    service.answers["POST /v1/verdicts"] = lambda asked: replies.pop(0)(asked)
    batch, services = sending(home, service.url)
    await batch.run(0, lambda: True)
    await services.close()
    assert batch.counts == {service.url: {"noted": 2, "refused": 1}}


@pytest.mark.parametrize(
    "answer",
    [
        problem("busy", 503),
        problem("bad_request", 400),
        said({"results": []}),
        said({"results": [{"state": "fine"}] * 3}),
        said({"results": "no"}),
        said(b"no JSON"),
    ],
    ids=["busy", "problem", "none", "unknown state", "no rows", "no JSON"],
)
@in_loop
async def test_what_is_no_answer_ends_nothing(home: Home, make: Any, answer: Said) -> None:
    service = make()
    replies: list[Callable[[Asked], Said]] = [lambda _: answer, answers(["noted"] * 3)]
    service.answers["POST /v1/verdicts"] = lambda asked: replies.pop(0)(asked)
    batch, services = sending(home, service.url)
    await batch.run(0, lambda: True)
    await services.close()
    assert len(service.asked) == 2
    assert service.asked[0].body == service.asked[1].body
    assert batch.counts == {service.url: {"noted": 3}}


@in_loop
async def test_nothing_is_sent_once_it_is_too_late(home: Home, make: Any) -> None:
    service = make()
    batch, services = sending(home, service.url)
    await batch.run(0, lambda: False)
    await services.close()
    assert service.asked == []
