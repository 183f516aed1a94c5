"""Sending transactions, and asking what became of them."""

import asyncio
import hashlib
from typing import Any

import msgspec
import pytest

from registry.api import live
from registry.api.live import MAX_WAITING
from tests.registry.api.conftest import Site
from tests.registry.api.fake_ledger import make_fate, refused

SEND = "/v1/transactions"
MSGPACK = "application/msgpack"

BODIES: dict[str, tuple[dict[str, Any], list[bytes]]] = {
    "one as JSON": ({"json": {"transaction": "aabb"}}, [b"\xaa\xbb"]),
    "a list of one as JSON": ({"json": {"transactions": ["AABB"]}}, [b"\xaa\xbb"]),
    "several as JSON": ({"json": {"transactions": ["01", "02"]}}, [b"\x01", b"\x02"]),
    "JSON with a character set": (
        {
            "content": b'{"transaction":"01"}',
            "headers": {"content-type": "Application/JSON; charset=utf-8"},
        },
        [b"\x01"],
    ),
    "one as MessagePack": (
        {"content": msgspec.msgpack.encode(b"\x01"), "headers": {"content-type": MSGPACK}},
        [b"\x01"],
    ),
    "several as MessagePack": (
        {
            "content": msgspec.msgpack.encode([b"\x01", b"\x02"]),
            "headers": {"content-type": MSGPACK},
        },
        [b"\x01", b"\x02"],
    ),
}


@pytest.mark.parametrize(("body", "raws"), BODIES.values(), ids=BODIES.keys())
def test_bodies(site: Site, body: dict[str, Any], raws: list[bytes]) -> None:
    answer = site.client.post(SEND, **body)
    assert answer.status_code == 202
    assert site.ledger.calls == [("submit", raws, False)]
    hashes = [row["hash"] for row in answer.json()["results"]]
    assert hashes == [hashlib.sha256(raw).hexdigest() for raw in raws]


def test_the_largest_number_goes_in_one_call(site: Site) -> None:
    content = msgspec.msgpack.encode([b"\x01"] * 5_000)
    answer = site.client.post(SEND, content=content, headers={"content-type": MSGPACK})
    assert answer.status_code == 202
    assert len(answer.json()["results"]) == 5_000
    assert len(site.ledger.calls) == 1


def test_waiting_answers_after_the_block(site: Site) -> None:
    answer = site.client.post(f"{SEND}?wait=commit", json={"transaction": "aa"})
    assert answer.status_code == 200
    assert answer.json()["results"] == [make_fate(b"\xaa", "committed", height=8641, index=0)]
    assert site.ledger.calls == [("submit", [b"\xaa"], True)]


def test_several_have_a_code_each(site: Site) -> None:
    site.ledger.fates[b"\x02"] = refused(b"\x02", "nonce_used", nonce=4, expected=5)
    answer = site.client.post(f"{SEND}?wait=commit", json={"transactions": ["01", "02"]})
    assert answer.status_code == 200
    one, two = answer.json()["results"]
    assert (one["state"], one["code"]) == ("committed", None)
    assert (two["state"], two["code"]) == ("refused", "nonce_used")
    assert two["detail"] == "nonce 4 was used already, the next is 5: sign anew"
    assert two["values"] == {"nonce": 4, "expected": 5}


def test_several_with_one_that_waits_are_accepted(site: Site) -> None:
    site.ledger.fates[b"\x02"] = refused(b"\x02", "nonce_used", nonce=4, expected=5)
    answer = site.client.post(SEND, json={"transactions": ["01", "02"]})
    assert answer.status_code == 202


def test_one_in_a_block_without_effect_is_no_problem(site: Site) -> None:
    site.ledger.fates[b"\xaa"] = make_fate(
        b"\xaa", "committed", height=8641, index=0, code="balance_too_low", detail="too low"
    )
    answer = site.client.post(SEND, json={"transaction": "aa"})
    assert answer.status_code == 200
    assert answer.json()["results"][0]["code"] == "balance_too_low"


def test_one_that_expired_is_a_problem(site: Site) -> None:
    site.ledger.fates[b"\xaa"] = make_fate(
        b"\xaa", "expired", code="expired", detail="sign anew", values={"expiry": 1, "height": 2}
    )
    answer = site.client.post(f"{SEND}?wait=commit", json={"transaction": "aa"})
    assert (answer.status_code, answer.json()["type"]) == (422, "expired")


def test_waiting_has_an_end(site: Site) -> None:
    site.ledger.never_commits = True
    answer = site.client.post(f"{SEND}?wait=commit", json={"transaction": "aa"})
    assert answer.status_code == 202
    assert answer.json()["results"][0]["state"] == "pending"
    assert [call[2] for call in site.ledger.calls] == [True, False]


def test_a_ledger_that_hangs_is_not_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_arguments: Any) -> None:
        await asyncio.Event().wait()

    for limit in ("ASK_S", "SUBMIT_S"):
        monkeypatch.setattr(live, limit, 0.05)
    monkeypatch.setattr(site.ledger, "call", hang)
    assert site.client.get(f"{SEND}/{'ab' * 32}").json()["type"] == "unavailable"
    assert site.client.post(SEND, json={"transaction": "aa"}).status_code == 503


def test_too_many_that_wait_are_turned_away(site: Site) -> None:
    site.app.live._waiting = MAX_WAITING
    answer = site.client.post(f"{SEND}?wait=commit", json={"transaction": "aa"})
    assert (answer.status_code, answer.json()["type"]) == (503, "busy")
    assert site.client.post(SEND, json={"transaction": "aa"}).status_code == 202


def test_results_as_messagepack(site: Site) -> None:
    headers = {"accept": MSGPACK}
    answer = site.client.post(SEND, json={"transaction": "aa"}, headers=headers)
    assert answer.headers["content-type"] == MSGPACK
    assert msgspec.msgpack.decode(answer.content) == {"results": [make_fate(b"\xaa")]}


def test_what_became_of_one(site: Site) -> None:
    answer = site.client.get(f"{SEND}/{'AB' * 32}")
    assert answer.status_code == 200
    assert site.ledger.calls == [("query", "transaction", {"hash": b"\xab" * 32}, None)]
    assert answer.json() == site.ledger.results["transaction"]


def test_a_forgotten_one_has_no_fields(site: Site) -> None:
    site.ledger.results["transaction"] = {
        **{"hash": "ab" * 32, "state": "dropped", "code": "nonce_used", "detail": "used"},
        **{"height": None, "index": None, "kind": None, "raw": None, "body": None},
    }
    shown = site.client.get(f"{SEND}/{'ab' * 32}").json()
    assert (shown["state"], shown["body"], shown["sender"]) == ("dropped", None, None)
