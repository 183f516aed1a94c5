"""All of it put together: `make_app` returns the ASGI application of the web process."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, TypeAlias

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from registry.api import (
    accounts,
    bare_paths,
    checkins,
    duties,
    events,
    health,
    json_rpc,
    models,
    network,
    nodes,
    problems,
    proofs,
    reports,
    rules,
    transactions,
    trust,
    verdicts,
)
from registry.api.bare import AtOnce, Lists
from registry.api.edge import Edge
from registry.api.feed import Feed
from registry.api.library import Headers, Library
from registry.api.limits import Limits
from registry.api.live import WAIT_S, Clock, Live, wall_clock
from registry.api.ports import Ledger
from registry.metrics import WebMetrics
from registry.settings import ClientLimits

Lifespan: TypeAlias = Callable[[FastAPI], AbstractAsyncContextManager[None]]

ROUTES: Final = (
    transactions.routes,
    nodes.routes,
    duties.routes,
    checkins.routes,
    accounts.routes,
    proofs.routes,
    trust.routes,
    network.routes,
    reports.routes,
    rules.routes,
    verdicts.routes,
    events.routes,
    json_rpc.routes,
    health.routes,
)
"""Every route of the framework, by area; `bare_paths.PATHS` are the others."""

TAGS: Final = [
    {"name": "transactions", "description": "Send them, and see what became of them."},
    {"name": "lists", "description": "Signed lists, for programs that check them."},
    {"name": "network", "description": "The network, its epochs and blocks."},
    {"name": "nodes", "description": "Service nodes."},
    {"name": "accounts", "description": "Accounts and their stakes."},
    {"name": "proofs", "description": "Records of the state, for programs that check them."},
    {"name": "verdicts", "description": "Votes of testers, on their way to a verdict."},
    {"name": "reports", "description": "Offences: reporting them, and the public record."},
    {"name": "events", "description": "What happens, as it happens."},
    {"name": "json_rpc", "description": "For existing clients of the Session network."},
    {"name": "health", "description": "For those who run the service."},
]

DESCRIPTION: Final = (
    "Nodes, stake and the signed node list of a service node network. Answers are JSON, or "
    "MessagePack of the same shape with `Accept: application/msgpack`. Errors are problems of "
    "RFC 9457, whose `type` is a stable code."
)


class App:
    """The ASGI application; `live` is what it knows, `close` lets go of everybody who waits.

    `limits` is what each client address gets of it.
    """

    def __init__(
        self, lists: Lists, metrics: WebMetrics, framework: FastAPI, live: Live, limits: Limits
    ) -> None:
        self._lists = lists
        self._metrics = metrics
        self._edge = Edge(lists, metrics, limits, self._tell)
        self.limits = limits
        self.framework = framework
        self.live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._edge(scope, receive, send)

    def answer_at_once(self, target: bytes, headers: Headers) -> AtOnce | None:
        """Return the answer to a GET that takes no more than a look-up (`bare.Lists`), counted."""
        found = self._lists.answer_at_once(target, headers)
        if found is not None:
            self._metrics.count_request("lists", found.status)
        return found

    async def _tell(self, request: Request, refused: problems.ProblemError) -> Response:
        """Answer who is turned away as the framework answers the same problem."""
        handler: Any = self.framework.exception_handlers[problems.ProblemError]
        answer: Response = await handler(request, refused)
        return answer

    def close(self) -> None:
        """End streams and waiting requests, so that the server can stop."""
        self.live.close()


def make_app(
    ledger: Ledger,
    publish: Path,
    *,
    lifespan: Lifespan | None = None,
    clock: Clock = wall_clock,
    feed: Feed | None = None,
    wait_s: float = WAIT_S,
    limits: ClientLimits | None = None,
) -> App:
    """Return the web side over a ledger process and the publication directory of its lists."""
    framework = _Framework(
        title="Waypost",
        version=_version(),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        # `send_description` answers, and the pages of the framework load programs from elsewhere
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    for router in ROUTES:
        framework.include_router(router)
    framework.add_route("/openapi.json", framework.send_description, include_in_schema=False)
    problems.install(framework, ROUTES)
    metrics = WebMetrics()
    lists = Lists(framework, Library(publish), clock)
    live = Live(ledger, feed or Feed(), metrics, lists.show, clock, wait_s)
    framework.state.live = live
    return App(lists, metrics, framework, live, Limits(limits or ClientLimits(), metrics))


class _Framework(FastAPI):
    """FastAPI, whose description tells of the lists and of problems too."""

    _description: Response | None = None

    async def send_description(self, request: Request) -> Response:
        """Answer with the OpenAPI document, whose bytes are made once."""
        if self._description is None:
            made = JSONResponse(self.openapi(), headers={"Cache-Control": "no-cache"})
            made.headers["ETag"] = f'"{hashlib.sha256(made.body).hexdigest()[:32]}"'
            self._description = made
        etag = self._description.headers["ETag"]
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers={"Cache-Control": "no-cache", "ETag": etag})
        return self._description

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            _say_what_is_sent(document["paths"])
            _put_nulls_back(document["paths"])
            document["paths"].update(bare_paths.PATHS)
            shape = models.Problem.model_json_schema()
            document["components"]["schemas"]["Problem"] = shape
        assert self.openapi_schema is not None
        return self.openapi_schema


def _say_what_is_sent(paths: dict[str, Any]) -> None:
    """Take null out of parameters: who has none leaves it out, since a URL has no word for it."""
    for item in paths.values():
        for operation in item.values():
            for parameter in operation.get("parameters", ()):
                kinds = parameter["schema"].pop("anyOf", None)
                for kind in kinds or ():
                    if kind != {"type": "null"}:
                        parameter["schema"].update(kind)


def _put_nulls_back(paths: dict[str, Any]) -> None:
    """Have examples as they were written: the framework leaves out the fields that are null."""
    routes = [route for router in ROUTES for route in router.routes if isinstance(route, APIRoute)]
    for route in (route for route in routes if route.include_in_schema):
        for method in route.methods or ():
            shown = paths[route.path_format][method.lower()]["responses"]
            for status, response in route.responses.items():
                code = status if isinstance(status, str) else str(int(status))
                for media, form in response.get("content", {}).items():
                    shown[code]["content"][media].update(form)


def _version() -> str:
    """Return the version of the project, also where it is not installed."""
    try:
        return version("waypost")
    except PackageNotFoundError:
        return "0"
