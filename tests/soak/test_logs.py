"""However a service dies, whoever asks it says so in words that the soak's table knows."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
import structlog
from structlog.testing import capture_logs

from ledger.crypto import key_pair
from ledger.messages.contact import Version
from registry.agent.checkins import check_in
from registry.client.services import Services
from registry.client.transport import Transport, Unavailable
from registry.engines import follow as follow_module
from registry.ipc import Lost
from tests.ending import ENDS, End, ending
from tests.registry.engines.source import following
from tests.registry.factory import Site, eventually, in_loop
from tests.soak.logs import is_explained, read_log

log = structlog.get_logger()

WAIT_S: Final = 0.2
NODE: Final = key_pair(bytes(32))


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Site:
    return Site(monkeypatch, tmp_path, block_ms=100)


Lines: TypeAlias = list[MutableMapping[str, Any]]
Asks: TypeAlias = Callable[[Site, str, Lines], Awaitable[None]]
"""Asks the service at a URL until it stands in the log why that fails."""


async def follow_blocks(site: Site, url: str, lines: Lines) -> None:
    async with following(site, [url]) as (_, follow):
        task = asyncio.create_task(follow.catch_up(1))
        await eventually(lambda: lines)
        task.cancel()
        await asyncio.wait([task])


async def submit(site: Site, url: str, _lines: Lines) -> None:
    async with following(site, [url]) as (_, follow):
        with pytest.raises(Lost) as failure:
            await follow.submit([b"transaction"], False)
    log.warning("attestation not submitted", reason=str(failure.value))


async def tell(site: Site, url: str, _lines: Lines) -> None:
    services = Services([url], timeout_s=WAIT_S)
    checked = await check_in(services, site.hash, NODE, Version(1, 2, 3), ())
    assert not checked.was_taken
    await services.close()


async def prove(_site: Site, url: str, _lines: Lines) -> None:
    services = Services([url], timeout_s=WAIT_S)
    with pytest.raises(Unavailable) as failure:
        await services.get_bytes_from(url, "/v1/proofs/params", 1_000)
    await services.close()
    log.warning("no proof", reason=str(failure.value))


async def fetch_list(_site: Site, url: str, _lines: Lines) -> None:
    with Transport(WAIT_S, 2 * WAIT_S) as transport, pytest.raises(Unavailable) as failure:
        await asyncio.to_thread(transport.get, url, "/v1/lists/latest", 1_000)
    log.warning("not up to date", reason=str(failure.value))


@pytest.mark.parametrize("asks", [follow_blocks, submit, tell, prove, fetch_list])
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
@in_loop
async def test_whoever_asks_a_service_that_ends_says_that_it_is_away(
    site: Site, monkeypatch: pytest.MonkeyPatch, end: End, asks: Asks
) -> None:
    monkeypatch.setattr(follow_module, "TIMEOUT_S", WAIT_S)
    with ending(end) as url, capture_logs() as lines:
        await asks(site, url, lines)
    assert lines
    for line in lines:
        assert line["log_level"] == "warning"
        assert is_explained(line["event"], json.dumps(line)), line


@in_loop
async def test_whoever_asks_where_nobody_listens_says_so_too(site: Site) -> None:
    with socket.socket() as bound, capture_logs() as lines:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        for asks in (follow_blocks, submit, tell, prove, fetch_list):
            await asks(site, url, lines)
    assert len(lines) >= 6
    for line in lines:
        assert is_explained(line["event"], json.dumps(line)), line


UNEXPLAINED: Final = {
    "a fault of the program": {"event": "request failed", "level": "error"},
    "a source that lies": {
        "event": "source failed",
        "level": "warning",
        "reason": "it sends no blocks",
    },
    "a refusal": {"event": "attestation refused", "level": "warning", "code": "bad_signature"},
    "a node that is alive": {
        "event": "fails",
        "level": "warning",
        "reasons": ["clock: its clock is 400000 ms ahead"],
    },
}


@pytest.mark.parametrize("row", UNEXPLAINED.values(), ids=UNEXPLAINED.keys())
def test_what_no_fault_of_the_soak_brings_about_is_found(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    quiet = {"event": "listening", "level": "info"}
    (tmp_path / "log").write_text(f"{json.dumps(quiet)}\n{json.dumps(row)}\n")
    counts, unexplained = read_log(tmp_path / "log")
    assert counts == {row["event"]: 1}
    assert [json.loads(line) for line in unexplained] == [row]


def test_a_line_that_nobody_wrote_on_purpose_is_found(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("Traceback (most recent call last):\n7\n")
    assert read_log(tmp_path / "log") == ({}, ["Traceback (most recent call last):", "7"])
