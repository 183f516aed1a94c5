"""Reporting offences over HTTP, and reading the public record."""

import hashlib
from typing import Any

import msgspec
import pytest

from ledger.history import penalty_key
from registry.api.answers import encode_cursor
from registry.api.models import HEIGHT, example_of
from registry.api.rule_models import Penalty, Report
from tests.registry.api.conftest import Site
from tests.registry.api.fake_ledger import make_fate
from tests.registry.api.offences import EVIDENCE, REPORT

SEND = "/v1/reports"
CHECK = "/v1/reports/check"
MSGPACK = {"content-type": "application/msgpack"}
HASH = hashlib.sha256(REPORT).hexdigest()


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    return msgspec.json.decode(msgspec.json.encode(value))


FORMS: dict[str, dict[str, Any]] = {
    "JSON": {"json": {"transaction": REPORT.hex()}},
    "MessagePack": {"content": msgspec.msgpack.encode(REPORT), "headers": MSGPACK},
}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS.keys())
def test_a_report_that_a_block_took_says_what_it_did(site: Site, body: dict[str, Any]) -> None:
    answer = site.client.post(f"{SEND}?wait=commit", **body)
    assert answer.status_code == 200
    report = plain(example_of(Report))
    assert answer.json() == {"hash": HASH, "state": "committed", "report": report}
    place = {"height": HEIGHT + 1, "index": 0}
    assert site.ledger.calls == [
        ("submit", [REPORT], True),
        ("query", "report", place, None),
    ]
    assert 'waypost_transactions_total{state="committed"} 1.0' in site.client.get("/metrics").text


def test_a_report_that_waits_did_nothing_yet(site: Site) -> None:
    answer = site.client.post(SEND, **FORMS["JSON"])
    assert answer.status_code == 202
    assert answer.json() == {"hash": HASH, "state": "pending", "report": None}
    assert site.ledger.calls == [("submit", [REPORT], False)]


def test_a_report_whose_block_is_not_here_yet(site: Site) -> None:
    site.ledger.fates[REPORT] = make_fate(REPORT, "committed", height=HEIGHT + 1, index=2)
    site.ledger.results["report"] = None
    answer = site.client.post(SEND, **FORMS["JSON"])
    assert answer.status_code == 200
    assert answer.json() == {"hash": HASH, "state": "committed", "report": None}


def test_an_answer_as_messagepack(site: Site) -> None:
    answer = site.client.post(SEND, **FORMS["JSON"], headers={"accept": "application/msgpack"})
    shown = {"hash": HASH, "state": "pending", "report": None}
    assert msgspec.msgpack.decode(answer.content) == shown


@pytest.mark.parametrize(
    "body",
    [
        {"json": {"evidence": EVIDENCE.hex()}},
        {"content": msgspec.msgpack.encode(EVIDENCE), "headers": MSGPACK},
    ],
    ids=["JSON", "MessagePack"],
)
def test_a_check_changes_nothing(site: Site, body: dict[str, Any]) -> None:
    answer = site.client.post(CHECK, **body)
    assert answer.status_code == 200
    assert answer.json() == plain(example_of(Penalty))
    assert answer.headers["waypost-height"] == str(HEIGHT)
    assert site.ledger.calls == [("query", "report_check", {"evidence": EVIDENCE}, None)]


def test_pages_of_the_record_show_one_height(site: Site) -> None:
    place = penalty_key(7, 1)[1:]
    site.ledger.results["reports"]["next"] = place
    first = site.client.get(SEND, params={"limit": 1}).json()
    assert first["next"] == encode_cursor(HEIGHT, place)
    assert first["reports"] == [plain(example_of(Report))]
    site.ledger.results["reports"]["next"] = None
    second = site.client.get(SEND, params={"limit": 1, "cursor": first["next"]}).json()
    assert (second["height"], second["next"]) == (HEIGHT, None)
    asked = [(call[2], call[3]) for call in site.ledger.calls]
    assert asked == [
        ({"before": b"", "limit": 1}, None),
        ({"before": place, "limit": 1}, HEIGHT),
    ]
