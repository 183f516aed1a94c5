"""What stands in for a node's servers: a real process, asked as a tester asks."""

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

import httpx2
import pytest

from registry.devnet import node
from registry.sockets import listen

HOST: Final = "127.0.0.1"
WAIT_S: Final = 30.0


class Running(NamedTuple):
    process: subprocess.Popen[str]
    storage_port: int
    router_port: int
    lifeline: int


def start(storage_port: int, router_port: int, lifeline: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "registry.devnet.node", "--ipv4", HOST]
    command += ["--storage-port", str(storage_port), "--router-port", str(router_port)]
    command += ["--lifeline", str(lifeline)]
    return subprocess.Popen(command, pass_fds=[lifeline], stderr=subprocess.PIPE, text=True)


def wait_until_open(process: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        try:
            socket.create_connection((HOST, port), 1).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise AssertionError(f"nobody listens on {port}")


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with listen(HOST, 0) as first, listen(HOST, 0) as second:
        storage, router = first.getsockname()[1], second.getsockname()[1]
    reading, writing = os.pipe()
    process = start(storage, router, reading)
    os.close(reading)
    wait_until_open(process, storage)
    wait_until_open(process, router)
    yield Running(process, storage, router, writing)
    process.kill()
    process.communicate()


ANSWERS: Final = {
    "the ping of a storage server": ("POST", "/ping_test/v1", b"", 200),
    "the ping with a body": ("POST", "/ping_test/v1", b"x" * 1_000, 200),
    "the ping by GET": ("GET", "/ping_test/v1", b"", 200),
    "another method": ("PUT", "/ping_test/v1", b"", 405),
    "another path": ("POST", "/storage_rpc/v1", b"{}", 404),
}


@pytest.mark.parametrize(("method", "path", "body", "status"), ANSWERS.values(), ids=ANSWERS)
def test_what_it_answers(
    running: Running, method: str, path: str, body: bytes, status: int
) -> None:
    url = f"https://{HOST}:{running.storage_port}{path}"
    answer = httpx2.request(method, url, content=body, verify=False, trust_env=False)
    assert answer.status_code == status


def post(length: object) -> bytes:
    return f"POST /ping_test/v1 HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode()


BROKEN: Final = {
    "no HTTP": (b"hello\r\n\r\n", 400),
    "a length that is no number": (post("x"), 400),
    "a negative length": (post(-1), 400),
    "a body that is too long": (post(node.MAX_BODY_BYTES + 1), 413),
    "an endless head": (b"GET /" + b"x" * (2 * node.MAX_HEAD_BYTES), 400),
}


@pytest.mark.parametrize(("sent", "status"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_refused_and_others_go_on(
    running: Running, sent: bytes, status: int
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    address = (HOST, running.storage_port)
    with context.wrap_socket(socket.create_connection(address, WAIT_S)) as broken:
        broken.sendall(sent)
        assert broken.recv(100).startswith(f"HTTP/1.1 {status} ".encode())
    test_what_it_answers(running, *ANSWERS["the ping of a storage server"])


def test_the_certificate_convinces_nobody(running: Running) -> None:
    with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx2.get(f"https://{HOST}:{running.storage_port}/ping_test/v1", trust_env=False)


def test_a_port_that_is_taken_ends_it(running: Running) -> None:
    reading, writing = os.pipe()
    second = start(running.storage_port, running.router_port, reading)
    _, said = second.communicate(timeout=WAIT_S)
    os.close(reading)
    os.close(writing)
    assert second.returncode == 1
    assert f"error: {HOST}: " in said


def test_it_ends_with_who_started_it(running: Running) -> None:
    """The last test here: nothing runs after it."""
    with socket.create_connection((HOST, running.router_port), WAIT_S) as router:
        assert router.recv(1) == b""
    assert running.process.poll() is None
    os.close(running.lifeline)
    assert running.process.wait(WAIT_S) == 0
