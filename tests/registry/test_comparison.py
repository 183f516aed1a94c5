"""Comparing sources: what each serves by itself, what contradicts, and the evidence of it."""

from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from ledger.codec import encode
from registry.client import Status
from registry.comparison import Comparison, Difference, compare_sources
from registry.evidence import check_evidence
from tests.registry.cli.driver import call, call_json
from tests.registry.client.factory import (
    EPOCH,
    EPOCH_MS,
    NOW_MS,
    MadeList,
    make_genesis,
    make_list,
    seat,
)
from tests.registry.client.server import Source, run_source

WEIGHTS: Final = (1, 1, 1, 1)
GENESIS: Final = make_genesis(WEIGHTS)
HASH: Final = sha256(GENESIS).digest()
LATER_MS: Final = NOW_MS + 3 * EPOCH_MS
MADE: Final = make_list(EPOCH, weights=WEIGHTS)
NEXT: Final = make_list(EPOCH + 1, weights=WEIGHTS)


@pytest.fixture
def sources() -> Iterator[list[Source]]:
    with ExitStack() as stack:
        yield [stack.enter_context(run_source()) for _ in range(3)]


def compare(*sources: Source, genesis: bytes = GENESIS) -> Comparison:
    return compare_sources([source.url for source in sources], genesis, LATER_MS, total_s=5.0)


def serve(source: Source, *lists: MadeList) -> None:
    """Serve these; the last is the newest."""
    for made in lists:
        source.serve(made)


def keys_of(comparison: Comparison) -> set[bytes]:
    """Whom the evidence convicts; each piece is checked."""
    proven = [check_evidence(encode(report), HASH) for report in comparison.evidence]
    assert {each.offence.name for each in proven} <= {"list_equivocation"}
    return {each.offender.key for each in proven}


def test_sources_that_serve_the_same_agree(sources: list[Source]) -> None:
    for source in sources:
        serve(source, MADE, NEXT)
    found = compare(*sources)
    assert (found.differences, found.evidence) == ([], [])
    assert [source.failure for source in found.sources] == [None] * 3
    assert {source.trusted.header for source in found.sources} == {NEXT.header}


def test_one_that_is_behind_agrees_and_is_seen_to_be_behind(sources: list[Source]) -> None:
    ahead, behind, _ = sources
    serve(ahead, MADE, NEXT)
    serve(behind, MADE)
    found = compare(ahead, behind)
    assert (found.differences, found.evidence) == ([], [])
    assert [source.trusted.header.epoch for source in found.sources] == [EPOCH + 1, EPOCH]
    assert ahead.asked.count(f"/v1/trust/{EPOCH + 1}?from={EPOCH}") == 1


def test_two_headers_of_an_epoch_convict_who_signed_both(sources: list[Source]) -> None:
    one, other, honest = sources
    forged = make_list(EPOCH, weights=WEIGHTS, state_root=bytes(32), signers=(0, 1, 3))
    serve(one, make_list(EPOCH, weights=WEIGHTS, signers=(0, 1, 2)))
    serve(other, forged)
    serve(honest, MADE)
    found = compare(one, other)
    assert found.differences == [Difference(one.url, other.url, EPOCH, in_history=False)]
    assert keys_of(found) == {seat(0).public, seat(1).public}
    assert keys_of(compare(one, other, honest)) == {seat(0).public, seat(1).public, seat(3).public}


def test_a_forgery_of_an_earlier_epoch_is_found(sources: list[Source]) -> None:
    """Both serve the same newest list, and one of them another one before."""
    one, other, _ = sources
    serve(one, MADE, NEXT)
    serve(other, make_list(EPOCH, weights=WEIGHTS, state_root=bytes(32), signers=(2,)), NEXT)
    found = compare(one, other)
    assert found.differences == [Difference(one.url, other.url, EPOCH, in_history=False)]
    assert keys_of(found) == {seat(2).public}


def test_another_history_is_found_without_two_headers_of_an_epoch(sources: list[Source]) -> None:
    one, other, _ = sources
    hidden = make_list(EPOCH, weights=WEIGHTS, state_root=bytes(32))
    serve(one, MADE)
    serve(other, make_list(EPOCH + 1, weights=WEIGHTS, after=[hidden]))
    found = compare(one, other)
    assert found.differences == [Difference(one.url, other.url, EPOCH, in_history=True)]
    assert found.evidence == []


def test_what_does_not_hold_is_told_of_its_source(sources: list[Source]) -> None:
    good, bad, down = sources
    serve(good, MADE)
    serve(bad, make_list(EPOCH, weights=WEIGHTS, signers=(0,)))
    found = compare(good, bad, down)
    assert [getattr(source.failure, "code", "") for source in found.sources] == [
        "",
        "not_final",
        "unavailable",
    ]
    assert found.differences == []


def test_a_source_whose_list_is_wrong_is_found_though_its_header_holds(
    sources: list[Source],
) -> None:
    one, other, _ = sources
    serve(one, MADE)
    serve(other, MADE)
    other.answers[f"/v1/lists/{EPOCH}/full"] = make_list(entries=[]).full
    found = compare(one, other)
    assert [getattr(source.failure, "code", "") for source in found.sources] == ["", "bad_list"]


def test_an_expired_list_is_compared_too(sources: list[Source]) -> None:
    serve(sources[0], MADE)
    far_ms = MADE.header.valid_until_ms + 1
    (source,) = compare_sources([sources[0].url], GENESIS, far_ms).sources
    assert source.trusted.status is Status.EXPIRED


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path))
    (tmp_path / "genesis.bin").write_bytes(GENESIS)
    return tmp_path


def test_the_command_says_that_they_agree(sources: list[Source], home: Path) -> None:
    for source in sources:
        serve(source, MADE)
    said = call("list", "audit", *[source.url for source in sources])
    assert "3 of 3 sources hold, and agree" in said.stdout
    assert list(home.glob("evidence-*")) == []


def test_the_command_writes_evidence_that_the_report_takes(
    sources: list[Source], home: Path
) -> None:
    one, other, _ = sources
    serve(one, MADE)
    serve(other, make_list(EPOCH, weights=WEIGHTS, state_root=bytes(32)))
    asked = ("list", "audit", one.url, other.url, "--evidence", home)
    said = call(*asked, code=1)
    assert "they contradict each other" in said.stdout
    assert f"{one.url} and {other.url} have two headers for epoch {EPOCH}" in said.stderr
    files = sorted(home.glob("evidence-*"))
    assert len(files) == 4
    for file in files:
        proven = call_json("report", "check", file, "--genesis", home / "genesis.bin")
        assert proven["offence"] == "list_equivocation"
