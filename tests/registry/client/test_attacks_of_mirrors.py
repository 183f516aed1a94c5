"""Attacks by sources that have no keys, by how they answer: with too much, too late, or nonsense.

| attack | what the attacker has | what the client does |
|---|---|---|
| endless data | a source | reads up to the bound of what it asked for, closes, asks the next |
| malicious mirror | the first source | loses little: the next one serves all that was wrong |
| slow source | the first source | waits for a time that all its answers share |
| wrong clock | the machine's clock, or a source's | says how far its clock is off; believes none |

Each is staged over HTTP against a client with a cache on disk, and beside each stands what an
honest source does in its place, which is accepted.
"""

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from itertools import repeat

import pytest

from ledger.messages.genesis import MAX_GENESIS_BYTES
from ledger.messages.lists import MAX_SIGNED_HEADER_BYTES
from registry.client import Status
from registry.client.cache import ANCHOR
from registry.client.transport import Transport, Unavailable
from registry.formats.full import compute_columns_bound, compute_full_bound, deflate
from registry.formats.trust import MAX_PATH_BYTES, Hop, Path, Way, encode_path
from tests.registry.client.attackers import (
    LATEST,
    MADE,
    NEW,
    OLD,
    Program,
    Serve,
    change,
    codes_of,
    delta_at,
    far_ahead,
    full_at,
    make_chain,
    notes_of,
    time_of,
    trust_at,
    wait_and_send,
)
from tests.registry.client.factory import (
    EPOCH,
    EPOCH_MS,
    digest,
)
from tests.registry.client.server import (
    Answer,
    Source,
    drip,
    send,
    send_hints_without_end,
    send_without_end,
)

# --- endless data ---------------------------------------------------------------------------------

SLACK = 2**23
"""What this machine may hold of what a source sent and the client did not take: mostly far less."""

FULL_BOUND = compute_full_bound(compute_columns_bound(30, 4))

ENDLESS: dict[str, tuple[str, int]] = {
    "header": (LATEST, MAX_SIGNED_HEADER_BYTES),
    "path": (trust_at(MADE), MAX_PATH_BYTES),
    "list": (full_at(MADE), FULL_BOUND),
}


@contextmanager
def bounded_time(most_s: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < most_s


def wait_for_end(source: Source, path: str) -> None:
    """Wait until a source has noticed that nobody listens any more."""
    end = time.monotonic() + 15
    while path not in source.cut_off:
        assert time.monotonic() < end, "it still sends"
        time.sleep(0.01)


@pytest.mark.parametrize(("path", "limit"), ENDLESS.values(), ids=ENDLESS.keys())
def test_endless_data(path: str, limit: int, serve: Serve, program: Program) -> None:
    bad, good = serve(OLD, MADE), serve(OLD, MADE)
    bad.answers[path] = send_without_end
    with bounded_time(15):
        fetched = program.fetch(bad, good)
    assert codes_of(fetched) == {bad.url: "too_large"}
    wait_for_end(bad, path)
    assert bad.sent < limit + SLACK
    program.holds(MADE)
    # the same answer, as long as it may be, is fine: it is the length that was refused
    assert fetched.source == (bad.url if path == full_at(MADE) else good.url)


def test_endless_data_of_a_delta(serve: Serve, holder: Program) -> None:
    bad, stream = serve(OLD, MADE, NEW), delta_at(NEW, MADE)
    bad.answers[stream] = send_without_end
    with bounded_time(15):
        assert codes_of(holder.fetch(bad)) == {}
    wait_for_end(bad, stream)
    assert bad.sent < 2 * FULL_BOUND + SLACK
    assert bad.asked == [LATEST, stream, full_at(NEW)], "the whole list comes as ever"
    holder.holds(NEW)


def test_endless_data_of_deltas(serve: Serve, holder: Program) -> None:
    """None of them is too long, and all together may be no longer than the whole list."""
    newest = make_chain(EPOCH + 7, after=[NEW])[0]
    bad = serve(OLD, MADE, NEW, newest)
    steps = [f"/v1/lists/{end}/delta/{start}" for start, end in ((10, 14), (14, 16), (16, 17))]
    bad.answers |= dict.fromkeys(steps, bytes(len(newest.columns) * 2 // 3))
    holder.wait_until(time_of(newest))
    assert codes_of(holder.fetch(bad)) == {}
    asked = [LATEST, trust_at(newest, MADE), *steps[:2], full_at(newest)]
    assert bad.asked == asked, "the third is not even asked for"
    holder.holds(newest)


def test_endless_data_of_a_genesis_file(serve: Serve, program: Program) -> None:
    """The last list of a network is as good as any, though nobody has the file that it names."""
    last = make_chain(EPOCH, successor=digest("no file has this hash"), after=[OLD])[0]
    bad = change(serve(OLD, last), {"/v1/genesis": send_without_end})
    with bounded_time(15):
        fetched = program.fetch(bad)
    assert (fetched.successor, codes_of(fetched)) == (None, {bad.url: "too_large"})
    wait_for_end(bad, "/v1/genesis")
    assert bad.sent < MAX_GENESIS_BYTES + SLACK
    program.holds(last)


def test_endless_data_before_the_answer(serve: Serve, program: Program) -> None:
    """One head after another, none of them too long: the time is their bound."""
    bad, good = serve(OLD, MADE), serve(OLD, MADE)
    bad.answers[LATEST] = send_hints_without_end
    with bounded_time(15):
        fetched = program.fetch(bad, good, total_s=1.5)
    assert codes_of(fetched) == {bad.url: "unavailable"}
    program.holds(MADE)


def test_what_is_given_up_is_not_read_any_further(serve: Serve) -> None:
    """While the next source is asked, nothing more comes from the one before."""
    bad, good = serve(OLD, MADE), serve(OLD, MADE)
    bad.answers[LATEST] = send_hints_without_end
    with Transport(20, 1) as transport:
        with pytest.raises(Unavailable):
            transport.get(bad.url, LATEST, MAX_SIGNED_HEADER_BYTES)
        wait_for_end(bad, LATEST)
        transport.start_time()
        assert transport.get(good.url, LATEST, MAX_SIGNED_HEADER_BYTES) == MADE.signed


BOMBS: dict[str, tuple[str, bytes]] = {
    "a list of zeros": ("bad_list", b"\1" + deflate(bytes(10**6))),
    "a thousand times as much": ("too_large", b"\1" + deflate(bytes(10**9 // 4))),
}


@pytest.mark.parametrize(("code", "bomb"), BOMBS.values(), ids=BOMBS.keys())
def test_endless_data_once_it_is_inflated(
    code: str, bomb: bytes, serve: Serve, program: Program
) -> None:
    bad, good = serve(OLD, MADE), serve(OLD, MADE)
    bad.answers[full_at(MADE)] = bomb
    with bounded_time(15):
        fetched = program.fetch(bad, good)
    failure = fetched.failures[bad.url]
    assert failure.code == code
    bound = compute_columns_bound(MADE.header.node_count, MADE.header.swarm_count)
    if code == "bad_list":
        assert str(failure).endswith(f"inflates to more than {bound} bytes"), "it stops there"
    program.holds(MADE)


@pytest.mark.parametrize("size", [10**6, 10**8])
def test_endless_data_once_a_delta_is_inflated(size: int, serve: Serve, holder: Program) -> None:
    source = serve(OLD, MADE, NEW)
    source.answers[delta_at(NEW, MADE)] = b"\1\0" + deflate(bytes(size))
    with bounded_time(15):
        assert codes_of(holder.fetch(source)) == {}
    assert source.asked == [LATEST, delta_at(NEW, MADE), full_at(NEW)]
    holder.holds(NEW)


# --- malicious mirror -----------------------------------------------------------------------------


def lead_by(count: int) -> bytes:
    """A path that goes by one and the same header again and again."""
    return encode_path(Path(tuple(Way(Hop(), OLD.signed) for _ in range(count)), Hop()))


MIRRORS: dict[str, tuple[str, str, Answer]] = {
    "a path of garbage": (trust_at(MADE), "unknown_format", b"\7garbage"),
    "a path that is cut off": (trust_at(MADE), "bad_path", MADE.path()[:-1]),
    "hashes of another history": (trust_at(MADE), "bad_history", make_chain(EPOCH)[0].path()),
    "a path with a thousand headers": (trust_at(MADE), "bad_path", lead_by(1000)),
    "a path with more": (trust_at(MADE), "bad_path", lead_by(1001)),
    "a path that is too long": (trust_at(MADE), "too_large", bytes(MAX_PATH_BYTES + 1)),
    "no path": (trust_at(MADE), "unavailable", 404),
    "another list": (full_at(MADE), "bad_list", OLD.full),
    "a list that is cut off": (full_at(MADE), "bad_list", MADE.full[:-1]),
    "a page in the place of the list": (full_at(MADE), "unknown_format", b"<!doctype html>"),
    "a page in the place of the header": (LATEST, "bad_header", b"<!doctype html>"),
    "a redirect": (
        LATEST,
        "unavailable",
        lambda handler: send(handler, b"", 302, location="http://127.0.0.1:1/"),
    ),
    "a compressed answer": (
        LATEST,
        "unavailable",
        lambda handler: send(handler, gzip.compress(MADE.signed), content_encoding="gzip"),
    ),
    "an error": (LATEST, "unavailable", 500),
}


@pytest.mark.parametrize(("path", "code", "answer"), MIRRORS.values(), ids=MIRRORS.keys())
def test_malicious_mirror(
    path: str, code: str, answer: Answer, serve: Serve, program: Program
) -> None:
    """What is wrong is fetched from the next source, once, and nothing that was right again."""
    bad, good = change(serve(OLD, MADE), {path: answer}), serve(OLD, MADE)
    fetched = program.fetch(bad, good)
    assert codes_of(fetched) == {bad.url: code}
    program.holds(MADE)
    wanted = [LATEST, trust_at(MADE), full_at(MADE)]
    failed = wanted.index(path)
    assert bad.asked == wanted[: failed + 1]
    assert good.asked == (wanted if failed < 2 else wanted[2:])
    program.start()
    program.fetch(bad, good)
    program.holds(MADE)


def test_malicious_mirror_that_hides_the_history(serve: Serve, program: Program) -> None:
    """No path at all is one that holds, from genesis: what comes later has to be found out then.

    Also if the list has expired meanwhile, or the first mirror would have locked the client out.
    """
    lies: dict[str, Answer] = {trust_at(MADE): b"", trust_at(MADE, MADE): NEW.path()}
    bad = change(serve(OLD, MADE), lies)
    assert program.fetch(bad).source == bad.url
    program.holds(MADE)
    assert not program.lists.knows_history
    newest = make_chain(EPOCH + 500, after=[NEW])[0]
    good = serve(OLD, MADE, NEW, newest)
    program.start(now_ms=time_of(newest))
    fetched = program.fetch(bad, good)
    assert codes_of(fetched) == {bad.url: "bad_path"}
    assert good.asked == [LATEST, trust_at(MADE, MADE), trust_at(newest, MADE), full_at(newest)]
    program.holds(newest)
    assert not program.lists.allow_expired


def test_a_history_that_was_hidden_is_learned_from_the_next_source(
    serve: Serve, program: Program
) -> None:
    program.fetch(change(serve(OLD, MADE), {trust_at(MADE): b""}))
    files, good = program.files, serve(OLD, MADE)
    program.fetch(good)
    assert good.asked == [LATEST, trust_at(MADE, MADE)]
    assert program.lists.knows_history
    program.start()
    program.cache.resume(program.lists)
    assert program.lists.knows_history, "it is kept"
    assert program.files[ANCHOR] != files[ANCHOR]
    program.holds(MADE)


def test_malicious_mirror_whose_steps_are_wrong(serve: Serve, holder: Program) -> None:
    """A client far behind goes up the ladder of a mirror, and stops at the first wrong step."""
    chain = make_chain(*(EPOCH + 256 * step for step in (1, 2)), after=[NEW])
    chain += make_chain(EPOCH + 576, EPOCH + 580, after=chain[-1:])
    mirror, bad = serve(OLD, MADE, NEW, *chain), serve(OLD, MADE, NEW, *chain)
    mirror.only_ladder = bad.only_ladder = True
    bad.answers[f"/v1/lists/{EPOCH + 256}"] = NEW.signed
    holder.wait_until(time_of(chain[-1]))
    holder.refuses("bad_path", bad)

    asked = [(10, 266), (266, 522), (522, 586), (586, 590)]
    steps = [f"/v1/trust/{end}?from={start}" for start, end in asked]
    fetched = holder.fetch(bad, mirror)
    assert codes_of(fetched) == {bad.url: "bad_path"}
    holder.holds(chain[-1])
    between = [f"/v1/lists/{end}" for _, end in asked[:-1]]
    ways = [path for pair in zip(steps, [*between, ""], strict=True) for path in pair if path]
    assert mirror.asked == [LATEST, trust_at(chain[-1], MADE), *ways, full_at(chain[-1])]


# --- slow source ----------------------------------------------------------------------------------

SLOW: dict[str, Callable[[], Iterator[bytes]]] = {
    "head": lambda: iter((b"HTTP/1.1 200 OK\r\n", *repeat(b"x", 1000))),
    "body": lambda: iter((b"HTTP/1.1 200 OK\r\n\r\n", *repeat(b"\1", 1000))),
}


SLOWED = {
    "head of a header": (LATEST, "head"),
    "header": (LATEST, "body"),
    "path": (trust_at(MADE), "body"),
    "list": (full_at(MADE), "body"),
}


@pytest.mark.parametrize(("path", "part"), SLOWED.values(), ids=SLOWED.keys())
def test_slow_source(path: str, part: str, serve: Serve, program: Program) -> None:
    """Byte by byte, each in time: the whole answer has an end, and the next source is asked."""
    slow, good = serve(OLD, MADE), serve(OLD, MADE)
    stop = threading.Event()
    slow.answers[path] = drip(SLOW[part], stop)
    with bounded_time(15):
        fetched = program.fetch(slow, good, total_s=1)
    stop.set()
    assert codes_of(fetched) == {slow.url: "unavailable"}
    assert "longer than 1 s" in str(fetched.failures[slow.url])
    assert fetched.source == (slow.url if path == full_at(MADE) else good.url)
    program.holds(MADE)


def test_slow_source_of_a_delta(serve: Serve, holder: Program) -> None:
    slow, stop = serve(OLD, MADE, NEW), threading.Event()
    slow.answers[delta_at(NEW, MADE)] = drip(SLOW["body"], stop)
    with bounded_time(15):
        assert codes_of(holder.fetch(slow, total_s=1)) == {}
    stop.set()
    holder.holds(NEW)


def test_slow_source_with_many_answers(serve: Serve, holder: Program) -> None:
    """Each of them comes in time, and all together do not: they have one time."""
    chain = make_chain(*range(EPOCH + 1, EPOCH + 32), after=[MADE])
    slow, good = serve(OLD, MADE, *chain), serve(OLD, MADE, *chain)
    slow.only_ladder = good.only_ladder = True
    stop = threading.Event()
    for step in (16, 24, 28, 30):
        made = chain[step - 1]
        slow.answers[f"/v1/lists/{EPOCH + step}"] = wait_and_send(made.signed, 0.6, stop)
    holder.wait_until(time_of(chain[-1]))
    with bounded_time(15):
        fetched = holder.fetch(slow, good, total_s=1.5)
    stop.set()
    assert codes_of(fetched) == {slow.url: "unavailable"}
    assert f"/v1/lists/{EPOCH + 30}" not in slow.asked
    holder.holds(chain[-1])


# --- wrong clock ----------------------------------------------------------------------------------

AHEAD_S = 3600


def is_off(text: str, where: str) -> bool:
    """Whether a text says that the clock is an hour off, to a few seconds."""
    head, _, rest = text.partition(" s ")
    seconds = int(head.rpartition(" ")[2])
    return abs(seconds - AHEAD_S) < 10 and rest == f"{where} those of the sources"


def test_a_clock_that_is_behind(serve: Serve, program: Program) -> None:
    """Everything seems to be from the future; the sources' clocks tell the user why."""
    current = make_chain(EPOCH + 360, after=[MADE])[0]
    source = serve(OLD, MADE, current)
    source.ahead_s = AHEAD_S
    error = program.refuses("from_the_future", source)
    assert is_off(notes_of(error)[-1], "behind")
    source.ahead_s = 0
    program.wait_until(far_ahead(MADE, 360))
    assert program.fetch(source).clock == ""
    program.holds(current)


def test_a_clock_that_is_ahead(serve: Serve, program: Program) -> None:
    source = serve(OLD, MADE)
    source.ahead_s = -AHEAD_S
    program.wait_until(MADE.header.valid_until_ms + 1)
    error = program.refuses("list_expired", source)
    assert is_off(notes_of(error)[-1], "ahead of")
    # an hour off, and not enough for the list to expire: it is taken, and the user is told
    program.wait_until(MADE.header.fresh_until_ms + EPOCH_MS)
    assert is_off(program.fetch(source).clock, "ahead of")
    program.holds(MADE, Status.DEGRADED)


def test_a_source_whose_clock_lies(serve: Serve, program: Program) -> None:
    """No time is taken from a source, and one of three does not even make a warning."""
    sources = [serve(OLD, MADE) for _ in range(3)]
    program.wait_until(MADE.header.fresh_until_ms + 1)
    sources[0].ahead_s = 10**9
    assert program.fetch(*sources).clock == ""
    program.holds(MADE, Status.DEGRADED)


@pytest.mark.parametrize("date", ["", "yesterday", "Sun, 99 Xyz 99999 99:99:99 +9999"])
def test_a_source_without_a_time(date: str, serve: Serve, program: Program) -> None:
    source = serve(OLD, MADE)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        write = handler.wfile.write
        write(f"HTTP/1.0 200 OK\r\ndate: {date}\r\n\r\n".encode() + MADE.signed)

    source.answers[LATEST] = answer
    assert program.fetch(source).clock == ""
    program.holds(MADE)
