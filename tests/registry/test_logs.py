"""Logs: one line an event, and never what a local variable holds."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from ledger.crypto import sha256
from registry.logs import set_up_logs

SECRET = sha256(b"a secret")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


class Terminal(io.StringIO):
    """Standard error of somebody who reads along."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def fail() -> None:
    seed = SECRET
    try:
        raise ValueError(f"{len(seed)} bytes are not right")
    except ValueError:
        structlog.get_logger().exception("it failed", height=7)


def test_a_line_is_json_with_the_process_and_a_time(tmp_path: Path) -> None:
    set_up_logs("ledger", tmp_path / "log")
    structlog.get_logger().info("block", height=3)
    structlog.get_logger().debug("not for anybody")
    [line] = (tmp_path / "log").read_text().splitlines()
    fields = json.loads(line)
    assert fields.pop("timestamp").endswith("Z")
    assert fields == {"event": "block", "height": 3, "level": "info", "process": "ledger"}


def test_lines_are_appended(tmp_path: Path) -> None:
    for process in ("ledger", "web"):
        set_up_logs(process, tmp_path / "log")
        structlog.get_logger().info("started")
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["process"] for line in lines] == ["ledger", "web"]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_failure_shows_where_and_no_values(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    shown = Terminal(is_terminal)
    monkeypatch.setattr(sys, "stderr", shown)
    set_up_logs("ledger")
    fail()
    text = shown.getvalue()
    assert "32 bytes are not right" in text
    assert "in fail" in text
    assert repr(SECRET)[2:-1] not in text
    assert repr(SECRET)[2:12] not in text
    assert SECRET.hex() not in text


def test_warnings_of_libraries_are_heard_and_their_chatter_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = Terminal(False)
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    set_up_logs("ledger")
    logging.getLogger("a library").info("chatter")
    logging.getLogger("a library").warning("a warning of %s", "its own")
    [line] = shown.getvalue().splitlines()
    fields = json.loads(line)
    assert (fields["event"], fields["level"]) == ("a warning of its own", "warning")
    assert (fields["logger"], fields["process"]) == ("a library", "ledger")
