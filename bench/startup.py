"""How long starting takes: the command line, and a chain with many accounts.

- A command's start counts from the call to the end of the process. Peers: a Python that does
  nothing, and one that imports the library which reads the arguments.
- `waypost node status` asks a service, so a server stands there that refuses at once.
- A chain's start reads every record and builds the tree of the state: nothing of it is trusted.
"""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Final

from bench.figures import Limit, Section, python_command, repeat
from bench.networks import QUIET, WIDE, make_genesis, make_pairs, open_with_accounts
from ledger.chain import Chain
from ledger.leveldb import LevelStore
from ledger.types import COIN
from registry.addresses import encode_node

REPETITIONS: Final = 9
ACCOUNTS: Final = 100_000
CHAIN_REPETITIONS: Final = 5
GOAL: Final = Limit(0.3)
"""Seconds until a command has said something about itself."""
SHARE_GOAL: Final = Limit(6.0)
"""Times what the library of the command line takes alone, until a command was told by a service."""
TIMEOUT_S: Final = 60
PROBLEM: Final = (
    b'{"type":"not_found","title":"not found","status":404,"detail":"no such node","values":{}}'
)


class _Refusing(BaseHTTPRequestHandler):
    """Answers every request with a problem."""

    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("Content-Type", "application/problem+json")
        self.send_header("Content-Length", str(len(PROBLEM)))
        self.end_headers()
        self.wfile.write(PROBLEM)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def run(section: Section) -> None:
    """Measure the section."""
    with _refusing_service() as url:
        status = ("node", "status", encode_node(make_pairs(1)[0].public), "--url", url)
        waypost = ("-m", "registry")
        _measure(section, "python that does nothing", ("-c", "print('nothing')"), b"nothing")
        library = ("-c", "import typer; print(1)")
        alone = _measure(section, "python that imports typer", library, b"1")
        _measure(section, "waypost --help", (*waypost, "--help"), b"Usage", GOAL)
        _measure(section, "waypost node --help", (*waypost, "node", "--help"), b"Usage", GOAL)
        asked = _measure(section, "waypost node status", (*waypost, *status), b"no such node")
        section.add("  to python that imports typer", "times", asked / alone, SHARE_GOAL)
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as folder:
        _measure_chain(section, Path(folder))


@contextmanager
def _refusing_service() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _measure(
    section: Section,
    name: str,
    arguments: Sequence[str],
    expected: bytes,
    limit: Limit | None = None,
) -> float:
    """Add how long a program takes, and return the median in seconds."""
    environment = {name: value for name, value in os.environ.items() if "WAYPOST" not in name}

    def start() -> None:
        done = subprocess.run(
            python_command(*arguments),
            env=environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
        if expected not in done.stdout + done.stderr:
            raise RuntimeError(f"{name} answers something else: {done.stderr.decode()}")

    seconds = repeat(REPETITIONS, start)
    section.add(name, "s", seconds, limit)
    return median(seconds)


def _measure_chain(section: Section, folder: Path) -> None:
    genesis = make_genesis(time.time_ns() // 1_000_000, QUIET | WIDE)
    store = LevelStore(folder)
    accounts = [pair.public for pair in make_pairs(ACCOUNTS)]
    open_with_accounts(store, genesis, accounts, COIN)
    store.close()

    def start() -> None:
        store = LevelStore(folder, create=False)
        Chain(store, genesis)
        store.close()

    seconds = repeat(CHAIN_REPETITIONS, start)
    section.add(f"a chain with {ACCOUNTS:,} accounts", "s", seconds)
