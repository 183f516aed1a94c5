"""The web process as a process: sockets, signals, bounds."""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from registry.api.models import EPOCH, HEIGHT
from registry.api.wire import MAX_HEAD_BYTES
from registry.web_process import _host_and_port
from tests.registry.api.fake_ledger import (
    ACTIVE_NODES,
    make_block_hash,
    make_event,
    make_header,
    make_node,
    make_view,
    push_of,
)
from tests.registry.api.processes import (
    PATIENCE_S,
    Answer,
    LedgerProcess,
    Web,
    folder,
    head_of,
    web_process,
)
from tests.registry.session_client import (
    ROUTER,
    STORAGE_SERVER,
    check_desktop,
    check_router,
    check_storage_server,
    fetch,
    result_of,
)

LATEST = "GET /v1/lists/latest"
EVENTS = "GET /v1/events"


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Web, LedgerProcess]]:
    """One process for the tests that change nothing about it."""
    with web_process() as made:
        yield made


@pytest.fixture
def web(pair: tuple[Web, LedgerProcess]) -> Web:
    return pair[0]


# ---------------------------------------------------------------------------------- lists


def test_its_first_line_is_listening(web: Web) -> None:
    line = json.loads(web.first)
    assert (line["event"], line["host"], line["level"]) == ("listening", "127.0.0.1", "info")


def test_latest_is_the_bytes_and_has_a_name(web: Web) -> None:
    whole = web.ask(LATEST)
    assert (whole.status, whole.body) == (200, make_header(EPOCH))
    same = web.ask(LATEST, f"If-None-Match: {whole.headers['etag']}\r\n")
    assert (same.status, same.body) == (304, b"")
    head = web.ask(LATEST.replace("GET", "HEAD"))
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.body))
    assert "server" not in whole.headers


def test_several_answers_over_one_connection(web: Web) -> None:
    with web.connect() as sock:
        sock.sendall(head_of(LATEST) + head_of("GET /v1/network"))
        sock.sendall(head_of(LATEST, "Connection: close\r\n"))
        raw = b""
        while piece := sock.recv(65_536):
            raw += piece
    assert raw.count(b"HTTP/1.1 200 OK") == 3


def test_a_future_epoch_says_when(web: Web) -> None:
    answer = web.ask(f"GET /v1/lists/{EPOCH + 1}")
    assert (answer.status, answer.code) == (404, "not_due")
    assert int(answer.headers["retry-after"]) >= 1


# ------------------------------------------------------------------------- existing clients


def test_existing_clients_take_the_nodes(web: Web) -> None:
    reply = fetch(web.url)
    assert reply.status == 200
    assert len(check_desktop(reply.body, reply.content_type)) == len(ACTIVE_NODES)
    stored = fetch(web.url, "get_service_nodes", STORAGE_SERVER, id="x" * 9_000)
    assert json.loads(stored.body)["id"] == "x" * 9_000
    assert check_storage_server(result_of(stored.body)) is not None
    assert check_router(result_of(fetch(web.url, "get_all_service_nodes", ROUTER).body))


def test_existing_clients_see_each_height_as_a_whole() -> None:
    with web_process() as (web, ledger):
        row = make_node(1)
        rows = [replace(row, service_node_pubkey=f"{index:064x}") for index in range(10_000)]
        first = replace(rows[0], storage_port=1)
        for height, nodes in ((1, push_of(*rows, first=True)), (2, push_of(first))):
            ledger.push(make_view(HEIGHT + height), nodes)

        def has_come(answer: Answer) -> bool:
            return b'"height":%d' % (HEIGHT + 2) in answer.body

        web.wait_for("GET /v1/network", has_come)
        reply = fetch(web.url, "get_service_nodes", {})
        result = json.loads(reply.body)["result"]
        assert (result["height"], result["block_hash"]) == (HEIGHT + 2, make_block_hash(HEIGHT + 2))
        ports = {row["storage_port"]: row for row in result["service_node_states"]}
        assert len(result["service_node_states"]) == 10_000
        assert ports[1]["service_node_pubkey"] == first.service_node_pubkey

        # answers that nobody reads share their bytes
        call = b'{"method":"get_service_nodes"}'
        head = head_of("POST /json_rpc", f"Content-Length: {len(call)}\r\n")
        before = web.memory()
        with contextlib.ExitStack() as readers:
            for _ in range(20):
                sock = readers.enter_context(web.connect(receive_buffer=4_096))
                sock.sendall(head + call)
                assert sock.recv(12) == b"HTTP/1.1 200"
            assert 20 * len(reply.body) > 150_000_000
            assert web.memory() - before < 30_000_000


# --------------------------------------------------------------------------------- bounds


def test_what_is_not_http_is_a_problem(web: Web) -> None:
    with web.connect() as sock:
        sock.sendall(b"HELLO\r\n\r\n")
        answer = Answer.read(sock)
    assert (answer.status, answer.code) == (400, "bad_request")


@pytest.mark.parametrize("filler", [b"a", b"a\r\nX: "])
def test_a_head_one_byte_too_long_is_refused(web: Web, filler: bytes) -> None:
    head = head_of(LATEST)[:-2] + b"X-Long: "
    head += (filler * MAX_HEAD_BYTES)[: MAX_HEAD_BYTES + 1 - len(head)]
    with web.connect() as sock:
        sock.sendall(head)
        answer = Answer.read(sock)
    assert (answer.status, answer.code) == (431, "head_too_large")


def test_a_head_that_is_too_long_is_refused_although_it_comes_whole(web: Web) -> None:
    """And nothing that comes behind it is answered."""
    head = head_of(LATEST, f"X-Long: {MAX_HEAD_BYTES * 'a'}\r\n")
    for method in ("GET /v1/network", "POST /json_rpc"):
        behind = head_of(method, "Content-Length: 2\r\n") + b"{}"
        with web.connect() as sock:
            sock.sendall(head + behind)
            raw = Answer.read(sock)
        assert (raw.status, raw.code) == (431, "head_too_large")
        assert raw.headers["content-length"] == str(len(raw.body))


def test_a_head_of_the_largest_size_is_taken(web: Web) -> None:
    head = head_of(LATEST, "Connection: close\r\n")[:-2] + b"X-Long: "
    head += b"a" * (MAX_HEAD_BYTES - len(head) - 4)
    with web.connect() as sock:
        sock.sendall(head)
        sock.sendall(b"\r\n\r\n")
        assert Answer.read(sock).status == 200


def test_a_body_that_is_too_long_is_answered(web: Web) -> None:
    size = 5_000_000
    headers = f"Content-Type: application/msgpack\r\nContent-Length: {size}\r\n"
    answer = web.ask("POST /v1/transactions", headers, bytes(size))
    assert (answer.status, answer.code) == (413, "body_too_large")


def test_a_body_in_chunks_that_is_too_long_is_answered(web: Web) -> None:
    headers = "Content-Type: application/msgpack\r\nTransfer-Encoding: chunked\r\n"
    chunks = (b"f4240\r\n" + bytes(1_000_000) + b"\r\n") * 5 + b"0\r\n\r\n"
    answer = web.ask("POST /v1/transactions", headers, chunks)
    assert (answer.status, answer.code) == (413, "body_too_large")


def test_who_goes_before_his_body_is_whole_is_no_fault_of_the_service() -> None:
    with web_process() as (web, _):
        for path in ("/json_rpc", "/v1/transactions"):
            for _ in range(3):
                with web.connect() as sock:
                    headers = "Content-Type: application/msgpack\r\nContent-Length: 9\r\n"
                    sock.sendall(head_of(f"POST {path}", headers) + b"{")
        counted = b'waypost_requests_total{group="transactions",status="4xx"} 3.0'
        web.wait_for("GET /metrics", lambda answer: counted in answer.body)
        web.process.terminate()
        code, said = web.wait()
    assert code == 0
    assert "error" not in said


def test_a_websocket_is_not_found(web: Web) -> None:
    headers = "Upgrade: websocket\r\nSec-WebSocket-Key: AAAA\r\nSec-WebSocket-Version: 13\r\n"
    with web.connect() as sock:
        sock.sendall(head_of("GET /ws", f"Connection: upgrade\r\n{headers}"))
        assert sock.recv(65_536).startswith(b"HTTP/1.1 404")


# --------------------------------------------------------------------------------- events


def open_stream(web: Web, after: int | None = None, receive_buffer: int = 0) -> socket.socket:
    """Open an event stream and read its head."""
    sock = web.connect(receive_buffer)
    header = "" if after is None else f"Last-Event-ID: {after}\r\n"
    sock.sendall(head_of(EVENTS, header))
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(1)
    assert b"200 OK" in head
    assert b"text/event-stream" in head
    return sock


def read_until(sock: socket.socket, text: bytes) -> bytes:
    """Read from a stream until some text came."""
    raw = bytearray()
    while text not in raw[-100_000:]:
        piece = sock.recv(65_536)
        assert piece, raw
        raw += piece
    return bytes(raw)


def test_events_arrive_and_a_stream_resumes() -> None:
    with web_process() as (web, ledger):
        with open_stream(web) as sock:
            for height in range(HEIGHT + 1, HEIGHT + 4):
                ledger.push(make_view(height))
            raw = read_until(sock, b"id: %d\n\n" % (HEIGHT + 3))
            assert raw.count(b"event: block") == 3
        with open_stream(web, HEIGHT + 1) as sock:
            raw = read_until(sock, b"id: %d\n\n" % (HEIGHT + 3))
            assert raw.count(b"event: block") == 2


def test_a_reader_that_does_not_read_costs_nothing() -> None:
    with web_process() as (web, ledger):
        heights = range(HEIGHT + 1, HEIGHT + 301)
        with open_stream(web, receive_buffer=4_096) as slow, open_stream(web) as quick:
            before = web.memory()
            for height in heights:
                # 9 MB of events in all, more than the sockets' buffers take
                event = make_event(height)
                event.data["pad"] = "x" * 30_000
                ledger.push(make_view(height, events=[event], lists=[]))
            read_until(quick, b"id: %d\n\n" % heights[-1])
            assert web.memory() - before < 60_000_000
            # others are served meanwhile, and the slow one still gets everything in order
            assert web.ask("GET /v1/network").status == 200
            raw = read_until(slow, b"id: %d\n\n" % heights[-1])
        ids = [int(line[4:]) for line in raw.split(b"\n") if line.startswith(b"id: ")]
        assert ids == list(heights)


# ------------------------------------------------------------------------ the ledger process


def test_it_waits_for_the_ledger_and_finds_it_again() -> None:
    with web_process(view=False) as (web, ledger):
        answer = web.ask(LATEST)
        assert (answer.status, answer.code) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        assert web.ask("GET /health/live").status == 200
        ledger.start()
        web.wait_for(LATEST, lambda answer: answer.status == 200)
        assert web.ask("GET /v1/attestors").status == 200

        ledger.stop()
        web.wait_for("GET /v1/attestors", lambda answer: answer.status == 503)
        assert web.ask(LATEST).status == 200
        assert web.ask("GET /health/ready").code == "not_ready"

        ledger.ledger.view = make_view(HEIGHT + 9)
        ledger.start()
        web.wait_for("GET /v1/network", lambda answer: b'"height":8649' in answer.body)
        assert web.ask("GET /v1/attestors").status == 200


# ------------------------------------------------------------------------------- stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_with_an_open_stream(number: int) -> None:
    with web_process() as (web, ledger):
        ledger.ledger.never_commits = True
        with open_stream(web) as stream, web.connect() as idle, web.connect() as waiting:
            body = b'{"transaction":"aa"}'
            head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            waiting.sendall(head_of("POST /v1/transactions?wait=commit", head) + body)
            web.wait_for("GET /v1/network", lambda answer: ledger.ledger.calls != [])
            began = time.monotonic()
            web.process.send_signal(number)
            # whoever waits for a block is told what is known, and streams end as they should
            assert Answer.read(waiting).status == 202
            assert stream.recv(65_536).endswith(b"0\r\n\r\n")
            assert idle.recv(1) == b""
            code, said = web.wait()
        assert code == 0
        assert time.monotonic() - began < 4
        assert [json.loads(line)["event"] for line in said.splitlines()][-1] == "stopped"
        assert "error" not in said


def test_a_signal_stops_it_with_a_reader_that_does_not_read() -> None:
    with web_process() as (web, ledger), open_stream(web, receive_buffer=4_096):
        for height in range(HEIGHT + 1, HEIGHT + 301):
            event = make_event(height)
            event.data["pad"] = "x" * 30_000
            ledger.push(make_view(height, events=[event], lists=[]))
        web.wait_for("GET /v1/network", lambda answer: b'"height":8940' in answer.body)
        web.process.terminate()
        code, said = web.wait()
    assert code == 0
    assert "error" not in said


def test_it_stops_when_its_lifeline_ends() -> None:
    reading, writing = os.pipe()
    with folder() as place:
        web = Web(place, "--lifeline", str(reading), pass_fds=(reading,))
        os.close(reading)
        assert web.ask("GET /health/live").status == 200
        os.close(writing)
        assert web.wait()[0] == 0


def test_it_takes_over_a_socket() -> None:
    with folder() as place, socket.create_server(("127.0.0.1", 0)) as listening:
        web = Web(place, "--fd", str(listening.fileno()), pass_fds=(listening.fileno(),))
        assert web.port == listening.getsockname()[1]
        assert web.ask("GET /health/live").status == 200
        web.process.terminate()
        assert web.wait()[0] == 0


def test_a_port_that_is_taken() -> None:
    with folder() as place, socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        web = Web(place, "--listen", f"127.0.0.1:{port}")
        assert web.first == f"port {port} is taken: choose another with --port\n"
        assert web.wait() == (4, "")


def test_a_host_that_is_not_ours() -> None:
    with folder() as place:
        web = Web(place, "--listen", "192.0.2.1:0")
        assert web.first.startswith("cannot listen on 192.0.2.1 port 0: ")
        assert web.wait()[0] == 4


WHERE = {
    "127.0.0.1:8420": ("127.0.0.1", 8420),
    "[::1]:0": ("::1", 0),
    "localhost:65535": ("localhost", 65_535),
}


@pytest.mark.parametrize(("text", "parsed"), WHERE.items())
def test_where_to_listen(text: str, parsed: tuple[str, int]) -> None:
    assert _host_and_port(text) == parsed


@pytest.mark.parametrize("text", ["8420", ":8420", "127.0.0.1", "127.0.0.1:", "a:65536", "a:-1"])
def test_where_not_to_listen(text: str) -> None:
    with pytest.raises(Exception, match="say HOST:PORT"):
        _host_and_port(text)


def test_the_patience_of_these_tests_is_above_that_of_the_process() -> None:
    assert PATIENCE_S > 10
