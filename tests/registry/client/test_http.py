"""Fetching: several sources, some of which are down, lie, or never come to an end."""

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import Misuse, Refusal
from registry.client import Status, TrustedLists
from registry.client.cache import ANCHOR, EVIDENCE, ListCache
from registry.client.http import Fetched, fetch_lists
from registry.client.transport import Unavailable
from registry.formats.delta import encode_delta
from tests.registry.client.factory import (
    EPOCH,
    EPOCH_MS,
    NOW_MS,
    make_entries,
    make_genesis,
    make_list,
)
from tests.registry.client.server import Answer, Source, drip, run_source, send, send_without_end

MADE = make_list()
NEW = make_list(EPOCH + 1, entries=make_entries(28, 4))
LATER_MS = NOW_MS + EPOCH_MS
LATEST = "/v1/lists/latest"
PATH = "/v1/lists"
FULL = f"/v1/lists/{EPOCH}/full"
TRUST = f"/v1/trust/{EPOCH}"
DELTA = f"/v1/lists/{EPOCH + 1}/delta/{EPOCH}"
NOBODY = "http://127.0.0.1:1"
"""A port on which no program listens."""

Make = Callable[[], Source]


@pytest.fixture
def make_source() -> Iterator[Make]:
    """Start sources that serve `MADE` until the test ends."""
    with ExitStack() as stack:

        def make() -> Source:
            source = stack.enter_context(run_source())
            source.serve(MADE)
            return source

        yield make


@pytest.fixture
def source(make_source: Make) -> Source:
    return make_source()


@pytest.fixture
def trusted() -> TrustedLists:
    return TrustedLists(MADE.genesis, LATER_MS)


def fetch(
    trusted: TrustedLists,
    *sources: Source | str,
    cache: ListCache | None = None,
    total_s: float = 30.0,
) -> Fetched:
    urls = [one if isinstance(one, str) else one.url for one in sources]
    return fetch_lists(urls, trusted, cache, wait_s=total_s / 2, total_s=total_s)


# --- one source -----------------------------------------------------------------------------------


def test_a_list_is_fetched_and_verified(source: Source, trusted: TrustedLists) -> None:
    assert fetch(trusted, source) == Fetched(source.url, {})
    assert trusted.entries == MADE.entries
    assert source.asked == [LATEST, TRUST, FULL]


def test_what_is_held_is_not_fetched_again(source: Source, trusted: TrustedLists) -> None:
    fetch(trusted, source.url + "/")
    fetch(trusted, source)
    source.serve(make_list(EPOCH + 1))
    fetch(trusted, source)
    assert trusted.header.epoch == EPOCH + 1
    assert source.asked == [LATEST, TRUST, FULL, LATEST, LATEST]


def test_a_newer_list_takes_over(source: Source, trusted: TrustedLists) -> None:
    fetch(trusted, source)
    source.serve(NEW)
    fetch(trusted, source)
    assert trusted.entries == NEW.entries


def test_who_holds_a_list_asks_for_what_changed(source: Source, trusted: TrustedLists) -> None:
    fetch(trusted, source)
    source.serve(NEW)
    source.answers[DELTA] = encode_delta(MADE.columns, NEW.columns)
    fetch(trusted, source)
    assert trusted.entries == NEW.entries
    assert source.asked == [LATEST, TRUST, FULL, LATEST, DELTA]


def test_who_was_away_takes_a_few_deltas(source: Source, tmp_path: Path) -> None:
    """Three epochs: one delta for two of them and one for the third, of lists nobody signed for."""
    cache = ListCache(tmp_path, MADE.genesis)
    fetch(TrustedLists(MADE.genesis, NOW_MS), source, cache=cache)
    between = make_list(EPOCH + 2, entries=make_entries(60, 5))
    newest = make_list(EPOCH + 3, entries=make_entries(40, 4))
    source.serve(newest)
    first, second = f"{PATH}/{EPOCH + 2}/delta/{EPOCH}", f"{PATH}/{EPOCH + 3}/delta/{EPOCH + 2}"
    source.answers[first] = encode_delta(MADE.columns, between.columns)
    source.answers[second] = encode_delta(between.columns, newest.columns)
    later_ms = NOW_MS + 3 * EPOCH_MS
    restarted = TrustedLists(MADE.genesis, later_ms)
    fetch(restarted, source, cache=cache)
    assert restarted.entries == newest.entries
    trust = f"/v1/trust/{EPOCH + 3}?from={EPOCH}"
    assert source.asked[3:] == [LATEST, trust, first, second]
    # what is kept is as good as a file that was fetched
    again = TrustedLists(MADE.genesis, later_ms)
    cache.resume(again)
    assert again.entries == newest.entries


BAD_DELTAS: dict[str, Answer] = {
    "it is not there": 404,
    "it is damaged": encode_delta(MADE.columns, NEW.columns)[:-3],
    "it leads elsewhere": encode_delta(MADE.columns, make_list(entries=make_entries(29)).columns),
    "it begins elsewhere": encode_delta(NEW.columns, MADE.columns),
    "it is another format": b"\2",
    "it has no end": send_without_end,
}


@pytest.mark.parametrize("answer", BAD_DELTAS.values(), ids=BAD_DELTAS.keys())
def test_a_delta_that_is_of_no_use_costs_the_whole_list(
    source: Source, trusted: TrustedLists, answer: Answer
) -> None:
    fetch(trusted, source)
    source.serve(NEW)
    source.answers[DELTA] = answer
    assert fetch(trusted, source) == Fetched(source.url, {})
    assert trusted.entries == NEW.entries
    assert source.asked[3:] == [LATEST, DELTA, f"{PATH}/{EPOCH + 1}/full"]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_source_that_is_busy_is_not_asked_for_more(
    source: Source, trusted: TrustedLists, status: int
) -> None:
    """Only one that has no path in one piece is asked for its parts."""
    fetch(trusted, source)
    newest = make_list(EPOCH + 3)
    source.serve(newest)
    trust = f"/v1/trust/{EPOCH + 3}?from={EPOCH}"
    source.answers[trust] = status
    trusted.start_update(NOW_MS + 3 * EPOCH_MS)
    with pytest.raises(Unavailable):
        fetch(trusted, source)
    assert source.asked[3:] == [LATEST, trust]


def test_a_proxy_is_not_asked_for_this_machine(
    source: Source, trusted: TrustedLists, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, NOBODY)
    fetch(trusted, source)


def test_no_source_at_all_is_the_callers_mistake(trusted: TrustedLists) -> None:
    with pytest.raises(Misuse):
        fetch_lists([], trusted)


# --- sources that are of no use -------------------------------------------------------------------

HEADERS: dict[str, tuple[str, Answer]] = {
    "another network": ("bad_signature", make_list(genesis=make_genesis(seed=bytes(32))).signed),
    "no list yet": ("unavailable", 404),
    "out of order": ("unavailable", 500),
    "a redirect": ("unavailable", 302),
    "nothing": ("bad_header", b""),
    "a page": ("bad_header", b"<!doctype html><title>Welcome</title>"),
    "too long": ("too_large", MADE.signed + bytes(2000)),
    "endless": ("too_large", send_without_end),
    "compressed": (
        "unavailable",
        lambda handler: send(handler, gzip.compress(MADE.signed), content_encoding="gzip"),
    ),
    "compressed without end": (
        "unavailable",
        lambda handler: send(handler, gzip.compress(bytes(10**8)), content_encoding="gzip"),
    ),
    "less than it says": (
        "unavailable",
        lambda handler: send(handler, MADE.signed, content_length="5000"),
    ),
    "no HTTP": ("unavailable", lambda handler: _write(handler.wfile.write, b"220 mail\r\n\r\n")),
    "nothing at all": ("unavailable", lambda handler: None),
    "head without end": (
        "unavailable",
        lambda handler: _write(handler.wfile.write, b"HTTP/1.1 200 OK\r\nx: " + bytes(500_000)),
    ),
}


def _write(write: Callable[[bytes], object], data: bytes) -> None:
    write(data)


@pytest.mark.parametrize(("code", "answer"), HEADERS.values(), ids=HEADERS.keys())
def test_a_header_that_is_of_no_use(
    code: str, answer: Answer, make_source: Make, trusted: TrustedLists
) -> None:
    bad, good = make_source(), make_source()
    bad.answers[LATEST] = answer
    with pytest.raises((Refusal, Unavailable)) as caught:
        fetch(trusted, bad)
    assert getattr(caught.value, "code", "") == code
    assert bad.url in caught.value.__notes__[0]
    assert trusted.is_empty

    fetched = fetch(trusted, bad, good)
    assert fetched.source == good.url
    assert [failure.code for failure in fetched.failures.values()] == [code]
    assert trusted.entries == MADE.entries


LISTS: dict[str, tuple[str, Answer]] = {
    "the list of another epoch": ("bad_list", NEW.full),
    "no list": ("unavailable", 404),
    "nothing": ("bad_list", b""),
    "another format": ("unknown_format", b"\7" + MADE.full[1:]),
    "endless": ("too_large", send_without_end),
    "a byte too many": ("bad_list", MADE.full + b"\0"),
    "cut off": (
        "unavailable",
        lambda handler: send(handler, MADE.full[:-1], content_length=str(len(MADE.full))),
    ),
}


@pytest.mark.parametrize(("code", "answer"), LISTS.values(), ids=LISTS.keys())
def test_a_list_that_is_of_no_use(
    code: str, answer: Answer, make_source: Make, trusted: TrustedLists, tmp_path: Path
) -> None:
    bad, good = make_source(), make_source()
    bad.answers[FULL] = answer
    cache = ListCache(tmp_path, MADE.genesis)
    with pytest.raises((Refusal, Unavailable)) as caught:
        fetch(trusted, bad, cache=cache)
    assert getattr(caught.value, "code", "") == code
    assert trusted.header == MADE.header
    assert trusted.needs_list
    assert MADE.signed in (tmp_path / ANCHOR).read_bytes(), "the header counts against roll-back"

    fetched = fetch(trusted, bad, good, cache=cache)
    assert [failure.code for failure in fetched.failures.values()] == [code]
    assert trusted.entries == MADE.entries


def test_a_source_that_is_down(source: Source, trusted: TrustedLists) -> None:
    with pytest.raises(Unavailable, match="no source answered"):
        fetch(trusted, NOBODY, "no-scheme", "")
    fetched = fetch(trusted, NOBODY, source)
    assert list(fetched.failures) == [NOBODY]
    assert trusted.entries == MADE.entries


def test_a_name_that_no_host_can_have(
    source: Source, trusted: TrustedLists, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system refuses to look it up, with an error that the library does not know."""
    look_up = socket.getaddrinfo

    def guarded(host: str, *rest: Any, **options: Any) -> Any:
        return host.encode("idna") if ".." in host else look_up(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", guarded)
    bad = "http://two..dots"
    fetched = fetch(trusted, bad, source)
    assert fetched.source == source.url
    assert [failure.code for failure in fetched.failures.values()] == ["unavailable"]


SLOW: dict[str, Callable[[], Iterator[bytes]]] = {
    "a body byte by byte": lambda: iter((b"HTTP/1.1 200 OK\r\n\r\n", *[b"x"] * 1000)),
    "headers byte by byte": lambda: iter((b"HTTP/1.1 200 OK\r\n", *repeat(b"x", 1000))),
    "nothing": lambda: repeat(b""),
}


@pytest.mark.parametrize("parts", SLOW.values(), ids=SLOW.keys())
def test_a_slow_source_is_given_up(
    parts: Callable[[], Iterator[bytes]], make_source: Make, trusted: TrustedLists
) -> None:
    slow, good = make_source(), make_source()
    stop = threading.Event()
    slow.answers[LATEST] = drip(parts, stop)
    started = time.monotonic()
    try:
        fetched = fetch(trusted, slow, good, total_s=2.0)
    finally:
        stop.set()
    assert time.monotonic() - started < 20
    assert [failure.code for failure in fetched.failures.values()] == ["unavailable"]
    assert trusted.entries == MADE.entries


def test_what_is_refused_says_more_than_what_is_down(source: Source, trusted: TrustedLists) -> None:
    source.answers[LATEST] = make_list(signers=(0,)).signed
    with pytest.raises(Refusal) as caught:
        fetch(trusted, NOBODY, source)
    assert caught.value.code == "not_final"
    assert [note.partition(": ")[0] for note in caught.value.__notes__] == [NOBODY, source.url]


# --- sources that keep something back -------------------------------------------------------------


def test_a_source_that_keeps_new_lists_back_is_passed_over(make_source: Make) -> None:
    frozen, good = make_source(), make_source()
    good.serve(NEW)
    now_ms = MADE.header.fresh_until_ms + 1
    trusted = TrustedLists(MADE.genesis, now_ms)
    assert fetch(trusted, frozen, good) == Fetched(good.url, {})
    assert trusted.header == NEW.header
    assert trusted.status is Status.FRESH


def test_without_a_better_one_a_degraded_list_is_taken(make_source: Make) -> None:
    frozen, down = make_source(), make_source()
    down.answers.clear()
    trusted = TrustedLists(MADE.genesis, MADE.header.fresh_until_ms + 1)
    fetched = fetch(trusted, frozen, down)
    assert fetched.source == frozen.url
    assert list(fetched.failures) == [down.url]
    assert trusted.status is Status.DEGRADED
    assert trusted.entries == MADE.entries


def test_the_list_may_come_from_another_source(make_source: Make, trusted: TrustedLists) -> None:
    header_only, other = make_source(), make_source()
    del header_only.answers[FULL]
    fetched = fetch(trusted, header_only, other)
    assert fetched.source == header_only.url
    assert other.asked == [FULL]
    assert trusted.entries == MADE.entries


# --- with a cache ---------------------------------------------------------------------------------


def test_a_restart_remembers_how_far_it_had_come(source: Source, tmp_path: Path) -> None:
    cache = ListCache(tmp_path, MADE.genesis)
    source.serve(NEW)
    fetch(TrustedLists(MADE.genesis, LATER_MS), source, cache=cache)

    source.serve(MADE)
    restarted = TrustedLists(MADE.genesis, LATER_MS)
    with pytest.raises(Refusal) as caught:
        fetch(restarted, source, cache=cache)
    assert caught.value.code == "roll_back"
    assert restarted.entries == NEW.entries


def test_a_list_that_is_kept_is_not_fetched(source: Source, tmp_path: Path) -> None:
    cache = ListCache(tmp_path, MADE.genesis)
    fetch(TrustedLists(MADE.genesis, NOW_MS), source, cache=cache)
    # Off until after it has expired, and meanwhile no node came or went.
    later_ms = MADE.header.valid_until_ms + EPOCH_MS
    epochs = (later_ms - MADE.header.valid_after_ms) // EPOCH_MS
    source.serve(make_list(EPOCH + epochs))
    restarted = TrustedLists(MADE.genesis, later_ms)
    fetch(restarted, source, cache=cache)
    assert restarted.entries == MADE.entries
    trust = f"/v1/trust/{EPOCH + epochs}?from={EPOCH}"
    assert source.asked == [LATEST, TRUST, FULL, LATEST, trust]


def test_a_fork_ends_it_and_is_kept(make_source: Make, tmp_path: Path) -> None:
    cache = ListCache(tmp_path, MADE.genesis)
    forked, good = make_source(), make_source()
    fetch(TrustedLists(MADE.genesis, LATER_MS), forked, cache=cache)
    other = make_list(state_root=bytes(32))
    forked.serve(other)
    trusted = TrustedLists(MADE.genesis, LATER_MS)
    with pytest.raises(Refusal) as caught:
        fetch(trusted, forked, good, cache=cache)
    assert caught.value.code == "fork"
    assert forked.url in caught.value.__notes__[0]
    assert str(tmp_path) in caught.value.__notes__[1]
    assert good.asked == []
    assert [(tmp_path / name).read_bytes() for name in EVIDENCE] == [MADE.signed, other.signed]

    with pytest.raises(Refusal) as caught:
        fetch(TrustedLists(MADE.genesis, LATER_MS), good, cache=cache)
    assert caught.value.code == "fork"
    assert good.asked == []
