"""GET of lists and 304, beside nginx with one worker and beside FastAPI's own answers.

- The service is its web process as `waypost run` starts it, to which a view with three lists was
  pushed; nginx serves the same files with the configuration that operators are given.
- Load comes from `wrk`, one thread, in a closed loop over connections that stay open. It has one of
  two cores, the server the other. Servers are asked in turn, again and again.
- A rate is requests for each second of the server's own processor time: what one core can serve. A
  server that keeps its core busy serves as many a second; where the load generator is the slower of
  the two, as it is where nginx sends much, a rate by the clock would be that of the generator.
"""

import asyncio
import contextlib
import http.client
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from statistics import median
from typing import Final, NamedTuple

import msgspec

from bench.figures import Limit, Section, python_command
from bench.networks import SEED
from bench.processes import read_processor_s
from registry.api.models import Network, example_of
from registry.files import write_atomically
from registry.ipc import Server
from registry.sockets import listen
from registry.view import PublishedList, PushedView
from scripts.nginx import HOST, MISSING, find_nginx, run_nginx

SIZES: Final = {2_000: "2 kB", 20_000: "20 kB", 200_000: "200 kB"}
CONNECTIONS: Final = 32
SECONDS: Final = 1
REPETITIONS: Final = 5
START_S: Final = 30.0
GOAL: Final = Limit(0.45, is_floor=True)
"""Of what nginx serves."""
NO_WRK: Final = "install wrk (Debian: apt-get install wrk)"
HEADER_BYTES: Final = 538
"""Of a header that three signed."""


class Peer(NamedTuple):
    """A server that is measured."""

    port: int
    process: int


class Run(NamedTuple):
    """What came out of one run of the load generator."""

    a_second: float
    """Requests by the clock."""
    of_core: float
    """Requests for each second of the server's processor time."""
    server_share: float
    """Of a core that the server took."""
    generator_share: float
    """Of a core that the load generator took."""


class Case(NamedTuple):
    """One kind of request."""

    name: str
    path: str
    knows: bool = False
    """Whether the client has the bytes already."""


def run(section: Section) -> None:
    """Measure the section."""
    missing = [
        text
        for text, found in ((MISSING, find_nginx()), (NO_WRK, shutil.which("wrk")))
        if found is None
    ]
    if missing:
        section.say(f"skipped: {', '.join(missing)}")
        return
    cases = [
        *(Case(f"GET of {name}", f"/v1/lists/{size}/full") for size, name in SIZES.items()),
        Case("304", f"/v1/lists/{min(SIZES)}/full", knows=True),
    ]
    # short, for the socket in it
    with tempfile.TemporaryDirectory(prefix="wp") as name, ExitStack() as stack:
        folder = Path(name)
        lists = write_lists(folder / "publish")
        nginx = stack.enter_context(run_nginx(folder / "nginx", folder / "publish"))
        peers = {
            "service": stack.enter_context(run_service(folder, lists)),
            "nginx": Peer(nginx.port, nginx.worker),
            "FastAPI": stack.enter_context(run_framework(folder / "publish", lists)),
        }
        for case in cases:
            measure(section, case, peers)


def measure(section: Section, case: Case, peers: Mapping[str, Peer]) -> None:
    """Ask all servers in turn, and add their rates and shares."""
    runs: dict[str, list[Run]] = {name: [] for name in peers}
    for _ in range(REPETITIONS):
        for name, peer in peers.items():
            runs[name].append(put_load(peer, case))
    for name, found in runs.items():
        rates = [one.of_core for one in found]
        busy = median(one.generator_share for one in found)
        clock = median(one.a_second for one in found)
        note = f"{clock:,.0f} by the clock; wrk took {busy:.2f} of a core"
        section.add(f"{case.name}, {name}", "a second of a core", rates, note=note)
    for name, limit in (("service", GOAL), ("FastAPI", None)):
        shares = [
            ours.of_core / theirs.of_core
            for ours, theirs in zip(runs[name], runs["nginx"], strict=True)
        ]
        clock = median(one.a_second for one in runs[name]) / median(
            one.a_second for one in runs["nginx"]
        )
        note = f"{clock:.2f} by the clock"
        section.add(f"{case.name}, share of nginx: {name}", "", shares, limit, note)


def put_load(peer: Peer, case: Case) -> Run:
    """Have the load generator ask a server, which has to answer everything as it should."""
    status, etag = ask(peer.port, case.path)
    headers = {"If-None-Match": etag} if case.knows else {}
    status, _ = ask(peer.port, case.path, headers)
    if status != (304 if case.knows else 200):
        raise RuntimeError(f"{case.name}: port {peer.port} answers {status}")
    options = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    command = [
        *("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", *options),
        f"http://{HOST}:{peer.port}{case.path}",
    ]
    before, began = read_processor_s(peer.process), time.perf_counter()
    said, generator_s = run_timed(command)
    seconds = time.perf_counter() - began
    used = read_processor_s(peer.process) - before
    found = re.search(r"(\d+) requests in", said)
    if found is None or "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"{case.name}: wrk says {said}")
    count = int(found[1])
    return Run(count / seconds, count / used, used / seconds, generator_s / seconds)


def ask(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Return the status and the ETag of one answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("ETag", "")
    finally:
        connection.close()


def run_timed(command: Sequence[str]) -> tuple[str, float]:
    """Return what a command says, and the processor time that it took, in seconds."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    return said, used.ru_utime + used.ru_stime


# ------------------------------------------------------------------------------- servers


def write_lists(publish: Path) -> list[PublishedList]:
    """Write lists, whose epochs are their sizes, and return them; none can be compressed."""
    random = Random(SEED)
    lists = []
    for size in SIZES:
        header, full = random.randbytes(HEADER_BYTES), random.randbytes(size)
        write_atomically(publish / "lists" / str(size) / "header", header)
        write_atomically(publish / "lists" / str(size) / "full", full)
        lists.append(PublishedList(size, header, True, True, full))
    return lists


@contextmanager
def run_service(folder: Path, lists: Sequence[PublishedList]) -> Iterator[Peer]:
    """Run the web process, to which these lists are pushed."""
    view = msgspec.to_builtins(make_view(lists), builtin_types=(bytes,))
    loop = asyncio.new_event_loop()
    server = Server({}, lambda: [("view", view)])
    loop.run_until_complete(server.start(folder / "s"))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    command = (
        *("-m", "registry.web_process", "--socket", str(folder / "s")),
        *("--publish", str(folder / "publish")),
    )
    try:
        with run_listening(lambda descriptor: (*command, "--fd", descriptor), lists) as peer:
            yield peer
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def make_view(lists: Sequence[PublishedList]) -> PushedView:
    """Return a view of a network that has nothing but lists."""
    epoch = lists[-1].epoch
    now_ms = time.time_ns() // 1_000_000
    zeros = bytes(32).hex()
    return PushedView(
        height=1,
        time_ms=now_ms,
        root=zeros,
        block_hash=zeros,
        epoch=epoch + 1,
        epoch_ends_ms=now_ms + 3_600_000,
        chain="bench",
        genesis=b"",
        ready=True,
        network=example_of(Network),
        lists=list(lists),
        latest=epoch,
        events=[],
    )


@contextmanager
def run_framework(publish: Path, lists: Sequence[PublishedList]) -> Iterator[Peer]:
    """Run FastAPI over a publication directory."""

    def command(descriptor: str) -> Sequence[str]:
        return ("-m", "bench.framework", descriptor, str(publish))

    with run_listening(command, lists) as peer:
        yield peer


@contextmanager
def run_listening(
    make_command: Callable[[str], Sequence[str]], lists: Sequence[PublishedList]
) -> Iterator[Peer]:
    """Run a Python program on a listening socket that it gets, until it serves the lists."""
    listening = listen(HOST, 0)
    port = listening.getsockname()[1]
    process = subprocess.Popen(
        python_command(*make_command(str(listening.fileno()))),
        pass_fds=(listening.fileno(),),
        stderr=subprocess.DEVNULL,
    )
    listening.close()
    try:
        wait_until_served(process, port, f"/v1/lists/{lists[0].epoch}/full")
        yield Peer(port, process.pid)
    finally:
        process.terminate()
        process.wait()


def wait_until_served(process: subprocess.Popen[bytes], port: int, path: str) -> None:
    """Wait for the first answer with a list."""
    deadline = time.perf_counter() + START_S
    while time.perf_counter() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            if ask(port, path)[0] == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing answers at port {port}")
