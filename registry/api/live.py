"""The newest view that the ledger process pushed, and how routes ask for what it does not hold.

- A view replaces the one before as a whole; a request sees one view from start to end.
- Nodes as Session programs see them come by themselves, and are shown with the view after them.
- Without a view everything answers `unavailable`. A lost ledger process leaves the last view:
  lists, the network's summary and events go on, what has to ask answers `unavailable`.
- Ready means: connected, and the newest final list is fresh by this machine's clock.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

import msgspec
import structlog
from fastapi import Depends, Request

from ledger.types import COIN
from registry.api.feed import Feed
from registry.api.models import Network
from registry.api.node_table import NodeTable
from registry.api.ports import Ledger
from registry.ipc import Busy, Lost
from registry.metrics import WebMetrics, WebState
from registry.verdicts import SentVote
from registry.view import PushedView

ASK_S: Final = 10.0
"""Seconds that the ledger process may take for an answer from the state."""

SUBMIT_S: Final = 30.0
"""Seconds that it may take to verify what was sent."""

WAIT_S: Final = 60.0
"""Seconds that `wait=commit` waits for blocks at most."""

MAX_WAITING: Final = 128
"""Requests that wait for blocks; below what the ledger process takes, so that reads get through."""

Clock: TypeAlias = Callable[[], int]
"""Returns Unix milliseconds."""

log = structlog.get_logger()


def wall_clock() -> int:
    """Return this machine's time, Unix milliseconds."""
    return time.time_ns() // 1_000_000


class Newest(NamedTuple):
    """A view with what is made of it once and shown often."""

    view: PushedView
    network: Network


class Live:
    """What the web process knows, and its way to what it does not."""

    def __init__(
        self,
        ledger: Ledger,
        feed: Feed,
        metrics: WebMetrics,
        on_view: Callable[[PushedView], None],
        clock: Clock = wall_clock,
        wait_s: float = WAIT_S,
    ) -> None:
        self.feed = feed
        self.nodes = NodeTable()
        self.metrics = metrics
        self.clock = clock
        self._ledger = ledger
        self._on_view = on_view
        self._wait_s = wait_s
        self._newest: Newest | None = None
        self._waiting = 0
        self._closing = asyncio.Event()
        metrics.watch(self.measure)
        ledger.subscribe(self._on_event)

    # -------------------------------------------------------------------------- views

    def _on_event(self, event: str, payload: Any) -> None:
        if event == "nodes":
            self.nodes.take(payload)
        elif event == "view":
            self._take_view(payload)

    def _take_view(self, payload: Any) -> None:
        """Take in a view. One that does not fit is logged: the view before stays."""
        try:
            view = msgspec.convert(payload, PushedView)
            network = Network.model_validate(view.network)
        except (msgspec.ValidationError, ValueError):
            log.exception("view refused")
            return
        self._on_view(view)
        self.nodes.show()
        self._newest = Newest(view, network)
        self.feed.extend(view.height, view.events)

    @property
    def newest(self) -> Newest:
        """The newest view. Raises `Lost` while there is none."""
        if self._newest is None:
            raise Lost("there is no view yet")
        return self._newest

    @property
    def is_connected(self) -> bool:
        """Whether the ledger process can be asked."""
        return self._ledger.is_connected

    def why_not_ready(self) -> list[str]:
        """Return what keeps the service from being ready; empty if nothing does."""
        reasons = [] if self.is_connected else ["the ledger process does not answer"]
        if self._newest is None:
            return [*reasons, "no view has arrived"]
        view, network = self._newest
        final = network.latest_final
        if final is None or view.latest is None:
            return [*reasons, "no list is final yet"]
        if self.clock() >= final.fresh_until_ms:
            reasons.append(f"the newest final list, {final.epoch}, is not fresh any more")
        return reasons

    def measure(self) -> WebState:
        """Return what the gauges show."""
        state = WebState(
            ready=not self.why_not_ready(),
            ledger_connected=self.is_connected,
            event_streams=self.feed.readers,
        )
        if self._newest is None:
            return state
        now, network = self.clock(), self._newest.network
        state = state._replace(
            height=network.height,
            epoch=network.epoch,
            nodes=network.nodes.model_dump(),
            pool_coins=int(network.pool) // COIN,
            view_age_seconds=(now - network.time_ms) / 1_000,
            votes_held=self._newest.view.votes_held,
            verdicts_made=self._newest.view.verdicts_made,
        )
        final = network.latest_final
        if final is None:
            return state
        return state._replace(
            final_list_epoch=final.epoch,
            final_list_age_seconds=(now - final.valid_after_ms) / 1_000,
            final_list_fresh_seconds=(final.fresh_until_ms - now) / 1_000,
        )

    def close(self) -> None:
        """Let go of everybody who waits: streams end, `wait=commit` answers what is known."""
        self._closing.set()
        self.feed.close()

    # ------------------------------------------------------------------------ questions

    async def query(
        self, name: str, arguments: dict[str, Any], height: int | None = None
    ) -> tuple[int, Any]:
        """Return the height that was read, and the result; None is "not there".

        Raises `Busy`, `Gone` (the height is not kept any more) and `Lost`.
        """
        answer = await self._ask(ASK_S, "query", name, arguments, height)
        return answer["height"], answer["result"]

    async def submit(self, raws: list[bytes], wait: bool) -> list[dict[str, Any]]:
        """Return what became of each transaction, after a block decided if `wait`.

        Whoever waits longer than `WAIT_S` gets what is known then. Raises `Busy` and `Lost`.
        """
        if wait:
            results = await self._wait_for_blocks(raws)
            if results is not None:
                return results
        now: list[dict[str, Any]] = await self._ask(SUBMIT_S, "submit", raws, False)
        return now

    async def vote(self, votes: Sequence[SentVote]) -> list[dict[str, Any]]:
        """Return what became of each vote. Raises `Busy` and `Lost`."""
        results: list[dict[str, Any]] = await self._ask(SUBMIT_S, "vote", votes)
        return results

    async def check_in(self, raw: bytes) -> dict[str, Any]:
        """Return what became of a signed check-in. Raises `Busy` and `Lost`."""
        result: dict[str, Any] = await self._ask(ASK_S, "check_in", raw)
        return result

    async def _wait_for_blocks(self, raws: list[bytes]) -> list[dict[str, Any]] | None:
        if self._waiting >= MAX_WAITING:
            raise Busy("too many requests wait for blocks")
        _ = self.newest  # nothing is answered before there is a view
        self._waiting += 1
        submitting = asyncio.ensure_future(self._ledger.call("submit", raws, True))
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait(
                {submitting, closing},
                timeout=self._wait_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            return submitting.result() if submitting.done() else None
        finally:
            self._waiting -= 1
            submitting.cancel()
            closing.cancel()

    async def _ask(self, limit_s: float, method: str, *arguments: Any) -> Any:
        _ = self.newest  # nothing is answered before there is a view
        try:
            async with asyncio.timeout(limit_s):
                return await self._ledger.call(method, *arguments)
        except TimeoutError:
            raise Lost(f"{method} took more than {limit_s:g} s") from None


async def get_live(request: Request) -> Live:
    """Return what `make_app` put together."""
    live: Live = request.app.state.live
    return live


Here: TypeAlias = Annotated[Live, Depends(get_live)]
"""How a route gets at it."""
