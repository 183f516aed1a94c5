"""What services tell, asked once for everybody who wants to know it.

- An answer holds until there is a new block, and for `MAX_AGE_S` at most; a failure for `RETRY_S`.
- Rows are held against the verified list, where the agent has one. Where it had one that cannot be
  used any more, nothing is told instead: what a liar would have to reach is refused.
- Whatever fields are asked for, a service is asked for rows twice a block at most: for those that
  storage servers and routers want, and for all.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from ledger.errors import WaypostError
from ledger.types import Epoch, Hash
from registry.client import TrustedLists
from registry.client.services import ServiceRefused, Services
from registry.client.transport import Unavailable
from registry.formats.session import SessionNode
from registry.oxenmq.rows import HexKey, Proven, ShortNode, correct_rows, prove_rows
from registry.oxenmq.snapshot import SHORT_NAMES, Names, Snapshot

MAX_AGE_S: Final = 10.0
RETRY_S: Final = 1.0

MAX_KEPT: Final = 64
"""Answers that are kept."""

MAX_LISTS_BEHIND: Final = 2
"""Epochs that the list in use may be older than the newest verified header."""

PATH: Final = "/json_rpc"
BAD_PARAMS: Final = -32602

Lists: TypeAlias = Callable[[], TrustedLists | None]
"""What the agent has verified so far."""


class BadCall(WaypostError):
    """A call is wrong; the message says what to change."""


class Failed(WaypostError):
    """There is no answer now."""


class _Top(msgspec.Struct):
    height: int
    target_height: int
    hardfork: int
    snode_revision: int
    block_hash: HexKey


class _Error(msgspec.Struct):
    code: int
    message: str


class _Answer(msgspec.Struct):
    result: Any = None
    error: _Error | None = None


class _Told:
    """Rows as a service tells them."""

    def __init__(self, result: dict[str, Any], form: type[Any]) -> None:
        self.top = msgspec.to_builtins(msgspec.convert(result, _Top))
        states = msgspec.convert(result["service_node_states"], list[Any])
        self.rows = [msgspec.convert(row, form) for row in states]
        self.shown: tuple[Hash | None, Snapshot] | None = None
        """What was made of them, by the list that they were held against."""


class _List(NamedTuple):
    epoch: Epoch
    list_hash: Hash
    rows: Proven


class Upstream:
    """Answers of services, on one event loop."""

    def __init__(
        self,
        services: Services,
        lists: Lists,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._services = services
        self._lists = lists
        self._monotonic = monotonic
        self._newest = 0
        self._list: _List | None = None
        self._shared: OrderedDict[Any, tuple[float, asyncio.Task[Any]]] = OrderedDict()

    def note_block(self, height: int) -> None:
        """Let go of what was told before there was this block."""
        if height > self._newest:
            self._newest = height
            self._shared.clear()

    def forget_blocks(self) -> None:
        """Forget which block is the newest, and what was told."""
        self._newest = 0
        self._shared.clear()

    async def call(self, method: str, params: Any) -> Any:
        """Return the result of a method of JSON-RPC. Raises `BadCall` and `Failed`."""
        key = (method, msgspec.json.encode(params))
        return await self._share(key, lambda: self._call(method, params))

    async def take_snapshot(self, names: Names) -> Snapshot:
        """Return what there is to show with these fields. Raises `Failed`."""
        form: type[Any] = ShortNode if names <= SHORT_NAMES else SessionNode
        told: _Told = await self._share(form, lambda: self._ask_rows(form))
        proven = await self._find_list()
        list_hash = None if proven is None else proven.list_hash
        if told.shown is None or told.shown[0] != list_hash:
            rows = told.rows if proven is None else correct_rows(told.rows, proven.rows, form)
            told.shown = list_hash, Snapshot(told.top, rows)
        return told.shown[1]

    # ---- What services tell ----

    async def _ask_rows(self, form: type[Any]) -> _Told:
        names = sorted(SHORT_NAMES) if form is ShortNode else ["all"]
        result = await self._call("get_service_nodes", {"fields": names, "active_only": False})
        try:
            return _Told(result, form)
        except (msgspec.ValidationError, KeyError, TypeError):
            raise Failed("what a service answers is no list of nodes") from None

    async def _call(self, method: str, params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 0, "method": method, "params": params}
        try:
            answer = msgspec.convert(await self._services.post(PATH, body), _Answer)
        except Unavailable as failure:
            raise Failed(f"{failure.text}: ask again in a moment") from None
        except ServiceRefused as refused:
            raise Failed(refused.detail) from None
        except msgspec.ValidationError:
            raise Failed("what a service answers is no answer to a call") from None
        if answer.error is not None:
            if answer.error.code == BAD_PARAMS:
                raise BadCall(answer.error.message)
            raise Failed(answer.error.message)
        return answer.result

    async def _share(self, key: Any, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Return what `ask` returns, or what it returned for somebody else lately."""
        now_s = self._monotonic()
        until_s, task = self._shared.get(key, (0.0, None))
        if task is None or now_s >= until_s:
            task = asyncio.ensure_future(ask())
            task.add_done_callback(lambda done: self._shorten(key, done))
            self._shared[key] = (now_s + MAX_AGE_S, task)
            self._shared.move_to_end(key)
            while len(self._shared) > MAX_KEPT:
                self._shared.popitem(last=False)
        return await asyncio.shield(task)

    def _shorten(self, key: Any, task: asyncio.Task[Any]) -> None:
        """Ask again soon where there was no answer, or one that is behind."""
        if task.cancelled():
            return
        is_good = task.exception() is None
        if is_good and isinstance(task.result(), _Told):
            is_good = task.result().top["height"] >= self._newest
        if not is_good and self._shared.get(key, (0.0, None))[1] is task:
            self._shared[key] = (self._monotonic() + RETRY_S, task)

    # ---- What is proven ----

    async def _find_list(self) -> _List | None:
        """Return the list to hold rows against; None if nothing was verified yet."""
        trusted = self._lists()
        if trusted is None or trusted.is_empty:
            return None
        if not trusted.is_usable:
            raise Failed("the verified list has expired, or there was a fork: see the agent's log")
        header, held = trusted.header, self._list
        if held is not None and held.list_hash == header.list_hash:
            # the same list is that of the newer header too, and no older than it
            self._list = held._replace(epoch=header.epoch)
            return self._list
        if trusted.needs_list:
            if held is None or header.epoch > held.epoch + MAX_LISTS_BEHIND:
                raise Failed(f"the list of epoch {header.epoch} was not fetched yet")
            return held
        rows = await asyncio.to_thread(prove_rows, trusted.entries)
        self._list = _List(header.epoch, header.list_hash, rows)
        return self._list
