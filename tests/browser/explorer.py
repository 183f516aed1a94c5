"""The explorer in a real web process over a network with something of everything, in Chromium.

Served     the two processes; `Served.go_on` makes a block that pages hear of
Tampering  a proxy before the service that changes a byte of some answer
serving    both ends for the time of a test
Watched    a page whose errors, and whose requests to elsewhere, are noted
"""

import contextlib
import os
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from tests.registry.api.processes import LedgerProcess, Web, folder
from tests.registry.web.explored import Explored
from tests.web.programs import QUIET, find_browser

PATIENCE_MS: Final = 30_000
SIZES: Final = {"phone": (360, 800), "desk": (1280, 900)}


# ---- The service ----


class Served:
    """A web process over a network that goes on when it is told to."""

    def __init__(self, web: Web, process: "ExploredProcess", ledger: Explored) -> None:
        self.web = web
        self.process = process
        self.ledger = ledger
        self.url = web.url

    def go_on(self, *raws: bytes, ms: int = 10_000) -> int:
        """Make a block, push what follows from it, and return its height."""
        self.process.run(self._go_on(raws, ms))
        return self.ledger.network.chain.tip.height

    async def _go_on(self, raws: tuple[bytes, ...], ms: int) -> None:
        for event, payload in await self.ledger.go_on(*raws, ms=ms):
            self.process.push_now(event, payload)


class ExploredProcess(LedgerProcess):
    """The ledger process of a network."""

    def push_now(self, event: str, payload: Any) -> None:
        """Push something, from its own loop."""
        self._server.push(event, payload)


@contextlib.contextmanager
def serving(start_ms: int | None = None, **changed: int) -> Iterator[Served]:
    """The service, on any free port of this machine, over a network as `Explored` makes it."""
    with folder() as place:
        ledger = Explored(place / "publish", start_ms, **changed)
        process = ExploredProcess(place / "s", ledger)
        process.run(ledger.start())
        # whoever subscribes from now on is greeted with what there is
        web = Web(place)
        try:
            assert web.port, web.first
            web.wait_for("GET /health/ready", lambda answer: answer.status == 200)
            yield Served(web, process, ledger)
        finally:
            if web.process.poll() is None:
                web.process.kill()
            web.process.communicate()
            process.end()


@contextlib.contextmanager
def tampering(url: str, change: Callable[[str, bytes], bytes]) -> Iterator[str]:
    """A proxy before a service; `change` gets path and body of each answer with 200."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            request = urllib.request.Request(url + self.path)
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(request, timeout=10) as answer:
                    kind = answer.headers["Content-Type"]
                    if kind.startswith("text/event-stream"):
                        self.send_error(503)
                        return
                    body = change(urlsplit(self.path).path, answer.read())
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


# ---- The browser ----


@contextlib.contextmanager
def browsing() -> Iterator[Browser]:
    """Chromium; the test is skipped if there is none."""
    expect.set_options(timeout=PATIENCE_MS)
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        quiet = [word for word in QUIET if word != "--headless=new"]
        browser = playwright.chromium.launch(
            executable_path=find_browser(), args=[*quiet, *root], timeout=PATIENCE_MS
        )
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page, with all that a console would show and all that it asked for."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._look(request.url))

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _look(self, url: str) -> None:
        if not url.startswith(self.url + "/"):
            self.elsewhere.append(url)

    def open(self, path: str) -> Page:
        """Go to a page, and wait until it is all there."""
        self.page.goto(self.url + path, wait_until="load")
        return self.page

    def check(self) -> None:
        """Nothing went wrong, and nothing came from elsewhere."""
        assert not self.errors, self.errors
        assert not self.elsewhere, self.elsewhere


@contextlib.contextmanager
def watching(
    browser: Browser, url: str, size: tuple[int, int] = SIZES["desk"], **options: Any
) -> Iterator[Watched]:
    """A page in a profile of its own, checked at its end."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
    try:
        watched = Watched(context.new_page(), url)
        yield watched
        watched.check()
    finally:
        with contextlib.suppress(Error):
            context.close()


def screenshots() -> Path:
    """Where pictures are written: `WAYPOST_SCREENSHOTS`, or a folder that is made for them."""
    named = os.environ.get("WAYPOST_SCREENSHOTS")
    path = Path(named) if named else Path(tempfile.gettempdir()) / "waypost-screenshots"
    path.mkdir(parents=True, exist_ok=True)
    return path


def overflow_of(page: Page) -> list[str]:
    """What is wider than the window, if the page can be scrolled to the side."""
    found: list[str] = page.evaluate(
        """() => {
          const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
          if (wide <= 0) return [];
          const limit = document.documentElement.clientWidth + 1;
          return [...document.querySelectorAll("body *")]
            .filter((e) => e.getBoundingClientRect().right > limit && !e.closest(".wide"))
            .map((e) => `${e.tagName}.${e.className}`)
            .concat([`the page by ${wide} px`]);
        }"""
    )
    return found
