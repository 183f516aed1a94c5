"""What a replica is asked to submit goes to a source, and no nonsense comes back."""

import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from ledger.crypto import sha256
from ledger.errors import Refusal
from registry.engines import follow as follow_module
from registry.ipc import Lost
from registry.verdicts import SentVote, refused_vote
from tests.registry.engines.source import Answering, Source, following, sources
from tests.registry.factory import Site, in_loop


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Site:
    return Site(monkeypatch, tmp_path, block_ms=100)


RAWS = [b"one", b"two"]


def row(raw: bytes, **changes: Any) -> dict[str, Any]:
    """What an honest source answers for a transaction."""
    fields: dict[str, Any] = {"hash": sha256(raw).hex(), "state": "pending", "values": {}}
    return dict.fromkeys(("height", "index", "code", "detail")) | fields | changes


def answer(*rows: Any) -> bytes:
    return json.dumps({"results": rows}).encode()


@pytest.mark.parametrize("wait", [False, True])
@in_loop
async def test_submissions_are_passed_on(site: Site, wait: bool) -> None:
    source = Source()
    rows = [
        row(RAWS[0], state="committed", height=3, index=0),
        row(RAWS[1], state="refused", code="nonce_used", detail="…", values={"nonce": 1}),
    ]
    source.to_posts = (200, answer(*rows))
    with sources(source) as urls:
        async with following(site, urls) as (_, follow):
            assert await follow.submit(RAWS, wait) == rows
    path = "/v1/transactions?wait=commit" if wait else "/v1/transactions"
    assert source.posted == [(path, RAWS)]


@in_loop
async def test_one_that_is_refused_alone_is_refused_here_too(site: Site) -> None:
    source = Source()
    problem = {"type": "nonce_used", "status": 422, "values": {"nonce": 1, "expected": 2}}
    source.to_posts = (422, json.dumps(problem).encode())
    with sources(source) as urls:
        async with following(site, urls) as (_, follow):
            answers = await follow.submit(RAWS[:1], False)
    assert [(row["state"], row["code"]) for row in answers] == [("refused", "nonce_used")]
    assert answers[0]["hash"] == sha256(RAWS[0]).hex()
    assert answers[0]["detail"] == "nonce 1 was used already, the next is 2: sign anew"


BAD_ANSWERS: dict[str, tuple[int, bytes]] = {
    "no JSON": (200, b"garbage"),
    "deep JSON": (200, b"[" * 100_000),
    "nothing": (200, b""),
    "bytes that are no text": (200, b"\xff\xfe"),
    "a list": (200, b"[]"),
    "null": (200, b"null"),
    "text": (200, b'"results"'),
    "no results": (200, b"{}"),
    "results that are none": (200, b'{"results": 7}'),
    "too few": (200, answer(row(RAWS[0]))),
    "too many": (200, answer(row(RAWS[0]), row(RAWS[1]), row(RAWS[1]))),
    "other transactions": (200, answer(row(RAWS[1]), row(RAWS[0]))),
    "an unknown state": (200, answer(row(RAWS[0], state="fine"), row(RAWS[1]))),
    "a height that is none": (200, answer(row(RAWS[0], height="3"), row(RAWS[1]))),
    "a row that is none": (200, answer(row(RAWS[0]), None)),
    "a problem of its own": (503, b'{"type": "busy", "values": {}}'),
    "a problem for two": (422, b'{"type": "amount_zero", "values": {}}'),
    "more than fits": (200, b" " * 2**21 + answer(*map(row, RAWS))),
}


@pytest.mark.parametrize("bad", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
@in_loop
async def test_a_source_that_answers_nonsense_to_a_submission_is_passed_over(
    site: Site, monkeypatch: pytest.MonkeyPatch, bad: tuple[int, bytes]
) -> None:
    monkeypatch.setattr(follow_module, "MAX_ANSWER_BYTES", 2**20)
    liar, honest = Source(), Source()
    liar.to_posts, honest.to_posts = bad, (200, answer(*map(row, RAWS)))
    with sources(liar, honest) as urls, capture_logs() as lines:
        async with following(site, urls) as (_, follow):
            assert await follow.submit(RAWS, False) == [row(raw) for raw in RAWS]
    assert [line["source"] for line in lines] == [liar.url]
    assert len(liar.posted) == len(honest.posted) == 1


@in_loop
async def test_what_a_source_keeps_for_itself_arrives_when_it_is_repeated(site: Site) -> None:
    swallowing, honest = Source(), Source()
    for source in (swallowing, honest):
        source.to_posts = (200, answer(row(RAWS[0])))
    with sources(swallowing, honest) as urls:
        async with following(site, urls) as (_, follow):
            for _ in range(2):
                await follow.submit(RAWS[:1], False)
    assert (len(swallowing.posted), len(honest.posted)) == (1, 1)


@in_loop
async def test_a_submission_that_nobody_takes_is_lost(site: Site) -> None:
    gone, failing_source = Source(), Source()
    failing_source.to_posts = (500, b"oops")
    gone.stop()
    with sources(failing_source) as urls, capture_logs() as lines:
        async with following(site, [gone.url, *urls]) as (_, follow):
            with pytest.raises(Lost, match="no source takes transactions"):
                await follow.submit(RAWS, False)
    assert [line["event"] for line in lines] == ["submission not passed on"] * 2


SAID: dict[str, tuple[int, bytes, str]] = {
    "away": (503, b'{"type": "unavailable", "values": {}}', "it answers 503: unavailable"),
    "limited": (429, b'{"type": "too_many_requests"}', "it answers 429: too_many_requests"),
    "no problem at all": (200, b"{}", "it answers 200: None"),
    "a proxy without a source": (502, b"<html>", "it answers 502, unreadable: JSON is malformed"),
}


@pytest.mark.parametrize(("status", "body", "says"), SAID.values(), ids=SAID.keys())
@pytest.mark.parametrize("count", [1, 2])
@in_loop
async def test_the_problem_of_a_source_is_said(
    site: Site, status: int, body: bytes, says: str, count: int
) -> None:
    """It is no refusal: the next one is asked, and with none left it can be sent again."""
    away = Source()
    away.to_posts = (status, body)
    with sources(away) as urls, capture_logs() as lines:
        async with following(site, urls) as (_, follow):
            with pytest.raises(Lost):
                await follow.submit(RAWS[:count], False)
            with pytest.raises(Lost):
                await follow.vote(VOTES[:count])
    assert [line["reason"].startswith(says) for line in lines] == [True, True]


def dripping(handler: Answering) -> None:
    handler.begin()
    while not handler.source.ended.wait(0.01):
        handler.wfile.write(b" ")
        handler.wfile.flush()


@in_loop
async def test_a_source_that_takes_too_long_is_passed_over(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_module, "DEADLINE_S", 0.1)
    monkeypatch.setattr(Answering, "do_POST", dripping)
    with sources(Source()) as urls, capture_logs() as lines:
        async with following(site, urls) as (_, follow):
            with pytest.raises(Lost):
                await follow.submit(RAWS, True)
    assert lines[0]["reason"] == "it did not answer within 0.1 s"


# ---------------------------------------------------------------------------------- votes


VOTES = [SentVote(3, bytes(32), 1, faults, bytes(32), bytes(64)) for faults in (0, 1)]


def vote_row(**changes: Any) -> dict[str, Any]:
    """What an honest source answers for a vote."""
    fields: dict[str, Any] = {"state": "held", "held": 3, "needed": 4, "values": {}}
    return dict.fromkeys(("code", "detail")) | fields | changes


@in_loop
async def test_votes_are_passed_on(site: Site) -> None:
    source = Source()
    rows = [vote_row(), vote_row(state="refused", code="not_tested", detail="…")]
    source.to_posts = (202, answer(*rows))
    with sources(source) as urls:
        async with following(site, urls) as (node, follow):
            assert await follow.vote(VOTES) == rows
            assert node.replica.verdicts.held == 0
    assert source.posted == [("/v1/verdicts", [list(vote) for vote in VOTES])]


@in_loop
async def test_a_vote_that_is_refused_alone_is_refused_here_too(site: Site) -> None:
    source = Source()
    problem = {"type": "verdict_closed", "status": 422, "values": {"epoch": 3}}
    source.to_posts = (422, json.dumps(problem).encode())
    with sources(source) as urls:
        async with following(site, urls) as (_, follow):
            answers = await follow.vote(VOTES[:1])
    assert answers == [refused_vote(Refusal("verdict_closed", epoch=3))]


BAD_VOTE_ANSWERS: dict[str, tuple[int, bytes]] = {
    "no JSON": (200, b"garbage"),
    "a list": (200, b"[]"),
    "no results": (200, b"{}"),
    "too few": (200, answer(vote_row())),
    "too many": (200, answer(*[vote_row()] * 3)),
    "an unknown state": (200, answer(vote_row(state="fine"), vote_row())),
    "a count that is none": (200, answer(vote_row(held="3"), vote_row())),
    "a row that is none": (200, answer(vote_row(), None)),
    "a problem for two": (422, b'{"type": "bad_testers", "values": {}}'),
}


@pytest.mark.parametrize("bad", BAD_VOTE_ANSWERS.values(), ids=BAD_VOTE_ANSWERS.keys())
@in_loop
async def test_a_source_that_answers_nonsense_to_votes_is_passed_over(
    site: Site, bad: tuple[int, bytes]
) -> None:
    liar, honest = Source(), Source()
    liar.to_posts, honest.to_posts = bad, (200, answer(vote_row(), vote_row()))
    with sources(liar, honest) as urls, capture_logs() as lines:
        async with following(site, urls) as (_, follow):
            assert await follow.vote(VOTES) == [vote_row()] * 2
    assert [line["source"] for line in lines] == [liar.url]


@in_loop
async def test_votes_that_nobody_takes_are_lost(site: Site) -> None:
    source = Source()
    source.to_posts = (503, b"busy")
    with sources(source) as urls, capture_logs():
        async with following(site, urls) as (_, follow):
            with pytest.raises(Lost, match="no source takes verdicts"):
                await follow.vote(VOTES)
