"""Every error that HTTP shows: a problem of RFC 9457 with a stable code.

    {"type": code, "title": …, "status": …, "detail": what is wrong and what to do, "values": {…}}

- `type` is a name in `ledger.errors.REFUSALS` or in `SERVICE_PROBLEMS`; it never changes.
- One code has one status. Refusals are 422, but for the few in `REFUSAL_STATUS`.
- `values` are the typed facts that the detail shows.
- What nobody expected is `internal`: the log says what happened, the answer does not.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from ledger.errors import REFUSALS, Refusal
from registry.ipc import Busy, Gone, Lost

MEDIA_TYPE: Final = "application/problem+json"
RETRY_S: Final = 1
"""Seconds after which it makes sense to ask a busy service again."""

Values: TypeAlias = Mapping[str, int | str | list[str]]

encode = msgspec.json.Encoder().encode


class ServiceProblem(NamedTuple):
    """One row of `SERVICE_PROBLEMS`."""

    status: int
    text: str
    """What is wrong and what to do, with `{names}` for the values."""


SERVICE_PROBLEMS: Final[dict[str, ServiceProblem]] = {
    "bad_request": ServiceProblem(400, "change the request, /openapi.json shows how: {why}"),
    "not_found": ServiceProblem(404, "check the request, or ask later: there is no {what}"),
    "not_due": ServiceProblem(404, "list {epoch} is due in {seconds} s: ask again then"),
    "not_kept": ServiceProblem(404, "list {epoch} is not kept here: ask a mirror or an archive"),
    "state_not_kept": ServiceProblem(
        404, "state {epoch} is not kept here: ask elsewhere, or in {seconds} s for a newer one"
    ),
    "method_not_allowed": ServiceProblem(405, "this path takes {allowed}, not {method}: use that"),
    "too_slow": ServiceProblem(408, "the request did not arrive within {seconds} s: send it again"),
    "height_gone": ServiceProblem(410, "that height is not kept any more: start at the first page"),
    "body_too_large": ServiceProblem(413, "a body has at most {limit} bytes: send several"),
    "too_many_transactions": ServiceProblem(413, "{count} are more than {limit}: send several"),
    "too_many_votes": ServiceProblem(413, "{count} are more than {limit}: send several"),
    "unsupported_media_type": ServiceProblem(415, "send {accepted} and say so in Content-Type"),
    "range_beyond": ServiceProblem(416, "there are {size} bytes: ask for a part of these"),
    "check_in_old": ServiceProblem(
        422, "the newest check-in of that node is from {newest_ms}: sign one that is newer"
    ),
    "check_in_time": ServiceProblem(
        422,
        "it says {time_ms}, but by the service's clock it is {now_ms}: set the clock, sign anew",
    ),
    "too_many_requests": ServiceProblem(
        429, "your address asked for more than its share: ask again in {seconds} s"
    ),
    "too_many_streams": ServiceProblem(
        429,
        "your address has {limit} streams of events, as many as one gets: use those, or end one",
    ),
    "too_many_connections": ServiceProblem(
        429, "your address has {limit} connections, as many as one gets: use those, or end one"
    ),
    "head_too_large": ServiceProblem(431, "a request's head has at most {limit} bytes: send less"),
    "internal": ServiceProblem(
        500, "tell who runs this service: it has a fault, and its log has the details"
    ),
    "busy": ServiceProblem(503, "the service has as much to do as it takes: ask again soon"),
    "unavailable": ServiceProblem(503, "the ledger process does not answer yet: ask again soon"),
    "not_ready": ServiceProblem(503, "the service is not ready, ask again soon: {reasons}"),
}
"""The service's own codes, beside `ledger.errors.REFUSALS`."""

REFUSAL_STATUS: Final = {"not_canonical": 400, "unknown_kind": 400, "too_large": 400, "outbid": 503}
"""Refusals of bytes that can never become a transaction, and of what may come in later; all the
others are 422."""

MAX_BODY_BYTES: Final = 4_000_000
"""Body of one request."""


class ProblemError(Exception):
    """Ends a request with a problem; `code` is a name in `SERVICE_PROBLEMS`."""

    def __init__(
        self, code: str, *, headers: Mapping[str, str] | None = None, **values: int | str
    ) -> None:
        super().__init__(code)
        self.code = code
        self.values = values
        self.headers = dict(headers or {})


class ProblemAnswer(NamedTuple):
    """A problem as it goes over the wire."""

    status: int
    body: bytes
    headers: dict[str, str]
    """Beside those that every answer has."""

    def response(self) -> Response:
        """Return it as an answer of the framework."""
        return Response(self.body, self.status, self.headers, MEDIA_TYPE)


def status_of(code: str) -> int:
    """Return the one HTTP status that a code has."""
    if code in SERVICE_PROBLEMS:
        return SERVICE_PROBLEMS[code].status
    return REFUSAL_STATUS.get(code, HTTPStatus.UNPROCESSABLE_ENTITY)


def make_problem(
    code: str,
    values: Values | None = None,
    *,
    detail: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> ProblemAnswer:
    """Return the problem of a code; `detail` takes the place of the code's own text."""
    values = dict(values or {})
    status = status_of(code)
    if detail is None:
        text = SERVICE_PROBLEMS[code].text if code in SERVICE_PROBLEMS else REFUSALS[code].text
        detail = text.format(**values)
    body = {
        "type": code,
        "title": code.replace("_", " "),
        "status": status,
        "detail": detail,
        "values": values,
    }
    extra = {"Cache-Control": "no-store"} | dict(headers or {})
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        extra.setdefault("Retry-After", str(RETRY_S))
    return ProblemAnswer(status, encode(body), extra)


def install(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Have every exception answered as a problem; the routers say which methods a path takes."""
    app.state.routers = routers
    for kind, to_problem in _HANDLERS.items():
        app.add_exception_handler(kind, _handler(to_problem))


def _handler(to_problem: Callable[[Request, Any], ProblemAnswer]) -> Any:
    async def handle(request: Request, error: Exception) -> Response:
        return to_problem(request, error).response()

    return handle


def _of_problem(_request: Request, error: ProblemError) -> ProblemAnswer:
    return make_problem(error.code, error.values, headers=error.headers)


def _of_refusal(_request: Request, refusal: Refusal) -> ProblemAnswer:
    return make_problem(refusal.code, refusal.values)


def _of_busy(_request: Request, _error: Busy) -> ProblemAnswer:
    return make_problem("busy")


def _of_gone(_request: Request, _error: Gone) -> ProblemAnswer:
    return make_problem("height_gone")


def _of_lost(_request: Request, _error: Lost) -> ProblemAnswer:
    # not logged: whoever lost the connection says so once, this would for each request
    return make_problem("unavailable")


def _of_framework(request: Request, error: HTTPException) -> ProblemAnswer:
    """Keep the status and the headers (`Allow` of a 405 above all), replace the body."""
    status, headers = error.status_code, dict(error.headers or {})
    if status == HTTPStatus.NOT_FOUND:
        return make_problem("not_found", {"what": f"path {request.url.path}"}, headers=headers)
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed(request) or headers["Allow"]
        values = {"allowed": headers["Allow"], "method": request.method}
        return make_problem("method_not_allowed", values, headers=headers)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return make_problem("body_too_large", {"limit": MAX_BODY_BYTES}, headers=headers)
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return make_problem("bad_request", {"why": str(error.detail)}, headers=headers)
    return make_problem("internal", headers=headers)


def _allowed(request: Request) -> str:
    """Return every method that a path takes; the framework names those of its first route alone."""
    routes = (route for router in request.app.state.routers for route in router.routes)
    matching = (route for route in routes if route.matches(request.scope)[0] is not Match.NONE)
    return ", ".join(sorted({method for route in matching for method in route.methods}))


def _of_validation(_request: Request, error: RequestValidationError) -> ProblemAnswer:
    """Say which parameter is wrong and how; several are joined."""
    whys = [f"{'.'.join(map(str, row['loc']))}: {row['msg']}" for row in error.errors()]
    return make_problem("bad_request", {"why": "; ".join(whys)})


def _of_half(_request: Request, _error: ClientDisconnect) -> ProblemAnswer:
    # nobody reads it, and a client that goes is no fault that the log should tell of
    return make_problem("bad_request", {"why": "it ended before its body was whole"})


def _of_unexpected(_request: Request, _error: Exception) -> ProblemAnswer:
    # `edge` logs it: the framework raises it again after it has answered
    return make_problem("internal")


_HANDLERS: Final[dict[type[Exception], Callable[[Request, Any], ProblemAnswer]]] = {
    ProblemError: _of_problem,
    Refusal: _of_refusal,
    Busy: _of_busy,
    Gone: _of_gone,
    Lost: _of_lost,
    HTTPException: _of_framework,
    RequestValidationError: _of_validation,
    ClientDisconnect: _of_half,
    Exception: _of_unexpected,
}


def code_table() -> str:
    """Return every code as a table in Markdown, as `docs/api.md` holds it."""
    rows = ["| code | status | what it says |", "|---|---|---|"]
    for code, service in SERVICE_PROBLEMS.items():
        rows.append(f"| `{code}` | {service.status} | {service.text} |")
    for code, refusal in REFUSALS.items():
        rows.append(f"| `{code}` | {status_of(code)} | {refusal.text} |")
    return "\n".join(rows) + "\n"


def fill(page: str) -> str:
    """Return a page with the table of codes between its markers made anew."""
    return _TABLE.sub(lambda match: f"{match[1]}{code_table()}{match[2]}", page)


_TABLE: Final = re.compile(r"(<!-- made: problems -->\n).*?(<!-- end: problems -->)", re.DOTALL)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(fill(Path(name).read_text(encoding="utf-8")), encoding="utf-8")
