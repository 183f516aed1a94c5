"""Every page of the explorer, and the one way in which all are answered.

- A page is a path, a title, a template and a view: a function that asks what the template shows.
- What cannot be shown is a page too, with one sentence on what is wrong and one on what to do.
- Nothing on a page comes from elsewhere, and no program or style stands in it: the policy that goes
  with each page forbids both, so that a text that got through as markup could do nothing.
- Pages take GET and HEAD. What they show is public, and they keep nothing of who reads it.
"""

import hashlib
from collections.abc import Awaitable, Callable
from functools import cache
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeAlias

import structlog
from fastapi import FastAPI
from jinja2 import Environment
from mnemonic import Mnemonic
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ledger.errors import Refusal
from registry.api.library import FOREVER
from registry.api.live import Live
from registry.api.problems import SERVICE_PROBLEMS, ProblemError, make_problem, status_of
from registry.ipc import Busy, Gone, Lost
from registry.web import accounts, blocks, network, nodes, reference, reports, search, swarms
from registry.web.assets import PREFIX, Assets
from registry.web.show import make_environment
from registry.web.table import Table
from registry.web.visit import Download, Elsewhere, Shown, Visit

View: TypeAlias = Callable[[Visit], Awaitable[Shown | Download]]


class Page(NamedTuple):
    """One page."""

    path: str
    title: str
    template: str
    view: View
    is_in_menu: bool = False


async def _show_nothing(_visit: Visit) -> Shown:
    """A page that asks nothing."""
    return {}


PAGES: Final = (
    Page("/", "Network", "network.html", network.show_network, True),
    Page("/nodes", "Nodes", "nodes.html", nodes.show_table, True),
    Page("/open", "Open nodes", "open.html", nodes.show_open, True),
    Page("/accounts", "Account", "find_account.html", accounts.find_account, True),
    Page("/swarms", "Swarms", "swarms.html", swarms.show_swarms, True),
    Page("/epochs", "Epochs", "epochs.html", network.show_epochs, True),
    Page("/blocks", "Blocks", "blocks.html", blocks.show_blocks, True),
    Page("/attestors", "Attestors", "attestors.html", network.show_attestors, True),
    Page("/reports", "Reports", "reports.html", reports.show_reports, True),
    Page("/verify", "Verify", "verify.html", _show_nothing, True),
    Page("/search", "Search", "search.html", search.search),
    Page("/nodes/{key}", "Node", "node.html", nodes.show_node),
    Page("/accounts/{address}", "Account", "account.html", accounts.show_account),
    Page("/swarms/{swarm}", "Swarm", "swarm.html", swarms.show_swarm),
    Page("/epochs/{epoch}", "Epoch", "epoch.html", network.show_epoch),
    Page("/blocks/{height}", "Block", "block.html", blocks.show_block),
    Page("/transactions/{hash}", "Transaction", "transaction.html", blocks.show_transaction),
    Page("/reports/{height}/{index}", "Report", "report.html", reports.show_report),
    Page("/reports/{height}/{index}/evidence", "Evidence", "", reports.download_evidence),
)
"""Every page; those of the menu in its order."""

MENU: Final = tuple(page for page in PAGES if page.is_in_menu)

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

RETRY_S: Final = 5
"""Seconds after which a page that the service cannot show yet is asked for again."""

log = structlog.get_logger()


def install(framework: FastAPI, live: Live) -> None:
    """Have the pages served beside the API.

    What is not there, and who asks for too much, is told as a page to browsers.
    """
    site = Site(live)
    described = Page("/api", "API", "api.html", reference.make_view(framework))
    for page in (*PAGES, described):
        framework.add_route(page.path, site.answer(page), include_in_schema=False)
    framework.add_route(f"{PREFIX}{{name:path}}", site.send_asset, include_in_schema=False)
    handlers: dict[Any, Any] = framework.exception_handlers
    tell_http, tell_problem = handlers[HTTPException], handlers[ProblemError]

    async def tell_of_path(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == HTTPStatus.NOT_FOUND and is_for_people(request):
            what = f"page {request.url.path}"
            return site.refuse(request, ProblemError("not_found", what=what))
        problem: Response = await tell_http(request, error)
        return problem

    async def tell_of_share(request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        if error.code == "too_many_requests" and is_for_people(request):
            return site.refuse(request, error)
        problem: Response = await tell_problem(request, error)
        return problem

    framework.add_exception_handler(HTTPException, tell_of_path)
    framework.add_exception_handler(ProblemError, tell_of_share)


def is_for_people(request: Request) -> bool:
    """Whether a browser asks for something that no program would."""
    is_program = request.url.path.startswith(("/v1/", "/health/", PREFIX))
    return not is_program and "text/html" in request.headers.get("accept", "")


class Site:
    """The pages over what the web process knows."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._table = Table()
        self._assets, self._templates = _read_files()

    def answer(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        """Return what answers requests for a page."""

        async def answer(request: Request) -> Response:
            try:
                shown = await page.view(Visit(self._live, self._table, request))
                if isinstance(shown, Download):
                    return _send_file(shown)
                return self._render(request, page.template, {"title": page.title} | shown)
            except Elsewhere as elsewhere:
                return RedirectResponse(elsewhere.url, HTTPStatus.SEE_OTHER, HEADERS)
            except (ProblemError, Refusal, Busy, Gone, Lost) as error:
                return self.refuse(request, error)
            except Exception:
                log.exception("page failed", path=request.url.path)
                return self.refuse(request, ProblemError("internal"))

        return answer

    def refuse(self, request: Request, error: Exception) -> Response:
        """Return the page that says why there is none."""
        refused = _name(error, self._live)
        shown = {"title": refused.title, "refused": refused}
        response = self._render(request, "refused.html", shown, refused.status)
        response.headers["Cache-Control"] = "no-store"
        if refused.retry_s is not None:
            response.headers["Retry-After"] = str(refused.retry_s)
        return response

    def _render(
        self, request: Request, template: str, shown: Shown, status: int = HTTPStatus.OK
    ) -> Response:
        live = self._live
        try:
            view, summary = live.newest
        except Lost:
            view, summary = None, None
        common = {
            "menu": MENU,
            "path": request.url.path,
            "query": request.query_params,
            "view": view,
            "network": summary,
            "now_ms": live.clock(),
            "is_connected": live.is_connected,
        }
        body = self._templates.get_template(template).render(common | shown).encode()
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = HEADERS | {"Cache-Control": "no-cache", "ETag": etag}
        if status == HTTPStatus.OK and etag in request.headers.get("if-none-match", ""):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(body, status, headers, "text/html; charset=utf-8")

    async def send_asset(self, request: Request) -> Response:
        """Answer a request for a static file."""
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            return make_problem("not_found", {"what": f"file {request.url.path}"}).response()
        headers = {
            "Cache-Control": FOREVER.decode(),
            "ETag": asset.etag,
            "X-Content-Type-Options": "nosniff",
        }
        if asset.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(asset.body, headers=headers, media_type=asset.media_type)


def _send_file(file: Download) -> Response:
    headers = {
        "Content-Disposition": f'attachment; filename="{file.name}"',
        "Cache-Control": "no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(file.body, headers=headers, media_type="application/octet-stream")


@cache
def _read_files() -> tuple[Assets, Environment]:
    """Read what is served and what pages are made of, once for this process."""
    words = "\n".join(Mnemonic("english").wordlist) + "\n"
    assets = Assets({"words.txt": words.encode()})
    return assets, make_environment(assets.url)


# ------------------------------------------------------------------- what cannot be shown


class Refused(NamedTuple):
    """Why there is no page, for people."""

    status: int
    title: str
    text: str
    advice: str
    retry_s: int | None = None
    """Seconds after which the page asks again by itself."""


def _name(error: Exception, live: Live) -> Refused:
    match error:
        case ProblemError():
            code, values = error.code, error.values
        case Refusal():
            return Refused(status_of(error.code), "Refused", error.text, "Go back and try again.")
        case Busy():
            code, values = "busy", {}
        case Gone():
            code, values = "height_gone", {}
        case _:
            code, values = "unavailable", {}
    if code == "unavailable":
        return _name_silence(live)
    title, text, advice = _TEXTS[code]
    told = text.format(**values)
    status = SERVICE_PROBLEMS[code].status
    retry_s: Any = RETRY_S if code == "busy" else values.get("seconds")
    return Refused(status, title, told[:1].upper() + told[1:], advice, retry_s)


def _name_silence(live: Live) -> Refused:
    advice = "This page asks again by itself in a few seconds."
    try:
        height = live.newest.view.height
    except Lost:
        text = "The service has just started and waits for its ledger."
        return Refused(503, "The service is starting", text, advice, RETRY_S)
    text = f"The ledger does not answer. What is known here stands at height {height:,}."
    return Refused(503, "The ledger does not answer", text, advice, RETRY_S)


_TEXTS: Final = {
    "not_found": ("Not found", "There is no {what}.", "Check what you typed, or search for it."),
    "bad_request": ("This cannot be read", "{why}.", "Correct it and try again."),
    "busy": (
        "Too much to do",
        "The service has as much to do as it takes.",
        "This page asks again by itself in a few seconds.",
    ),
    "too_many_requests": (
        "Too many requests",
        "Your address has asked for more than its share, and can ask again in {seconds} s.",
        "This page asks again by itself then.",
    ),
    "height_gone": (
        "These pages are gone",
        "The list moved on while you read it.",
        "Start at its first page.",
    ),
    "internal": (
        "A fault",
        "The service has a fault, and its log has the details.",
        "Tell who runs it.",
    ),
}
"""Title, what is wrong, what to do; by the code of the problem."""
