"""Checking in over HTTP."""

from typing import Any

import msgspec
import pytest

from registry.api.agent_models import CheckInTaken
from registry.api.models import example_of
from tests.registry.api.conftest import Site

CHECK_INS = "/v1/checkins"
RAW = b"\x92\x94"

BODIES: dict[str, dict[str, Any]] = {
    "as JSON": {"json": {"check_in": RAW.hex()}},
    "as JSON in capitals": {"json": {"check_in": RAW.hex().upper()}},
    "as MessagePack": {
        "content": msgspec.msgpack.encode(RAW),
        "headers": {"content-type": "application/msgpack"},
    },
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_one_that_is_taken(site: Site, body: dict[str, Any]) -> None:
    answer = site.client.post(CHECK_INS, **body)
    assert answer.status_code == 200, answer.text
    assert answer.json() == example_of(CheckInTaken)
    assert site.ledger.calls == [("check_in", RAW)]


def test_the_answer_as_messagepack(site: Site) -> None:
    answer = site.client.post(
        CHECK_INS, json={"check_in": RAW.hex()}, headers={"accept": "application/msgpack"}
    )
    assert msgspec.msgpack.decode(answer.content) == example_of(CheckInTaken)


def test_a_refusal_shows_its_values(site: Site) -> None:
    site.ledger.check_in_fate = {"code": "check_in_old", "values": {"newest_ms": 7}}
    answer = site.client.post(CHECK_INS, json={"check_in": RAW.hex()})
    assert answer.status_code == 422
    assert answer.json()["values"] == {"newest_ms": 7}


def test_before_a_view(blind: Site) -> None:
    answer = blind.client.post(CHECK_INS, json={"check_in": RAW.hex()})
    assert (answer.status_code, answer.json()["type"]) == (503, "unavailable")
