"""Who is told of new blocks, and where those come from.

- A subscription lasts `SUBSCRIPTION_S`; who asks again before that goes on, and hears so.
- Blocks are told in order. Those that nobody told this program of in time, because every service
  was away, are told late; of many only the newest `MAX_AT_A_TIME`.
- Their number is bounded, for each host too, so that nobody can take all places.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from registry.client.services import Event, Services
from registry.client.transport import Unavailable
from registry.oxenmq.allowance import Peer
from registry.oxenmq.rows import HexKey
from registry.oxenmq.upstream import BadCall, Failed, Upstream

SUBSCRIPTION_S: Final = 1_800.0
MAX_SUBSCRIBERS: Final = 256
MAX_OF_ONE_HOST: Final = 64

MAX_AT_A_TIME: Final = 100
"""Blocks whose hashes are asked for together."""

RETRY_S: Final = 1.0
"""Seconds until services are asked again, half of that to one and a half."""

EVENTS: Final = "/v1/events"

log = structlog.get_logger()


class TooMany(Exception):
    """There is no place for one more subscriber."""


class Subscribers:
    """Who is told."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._until_s: dict[Peer, float] = {}

    def add(self, peer: Peer) -> bool:
        """Have somebody told for `SUBSCRIPTION_S` from now; return whether he was not before.

        Raises `TooMany`.
        """
        self._let_go()
        is_new = peer not in self._until_s
        hosts = Counter(each.host for each in self._until_s if each.listener == peer.listener)
        if is_new and (
            hosts.total() >= MAX_SUBSCRIBERS or (peer.host and hosts[peer.host] >= MAX_OF_ONE_HOST)
        ):
            raise TooMany
        self._until_s[peer] = self._monotonic() + SUBSCRIPTION_S
        return is_new

    def remove(self, peer: Peer) -> None:
        """Tell somebody nothing any more."""
        self._until_s.pop(peer, None)

    def list_peers(self) -> list[Peer]:
        """Return whom to tell."""
        self._let_go()
        return list(self._until_s)

    def _let_go(self) -> None:
        now_s = self._monotonic()
        self._until_s = {peer: until for peer, until in self._until_s.items() if now_s < until}


class Follower:
    """Follows the events of a service, and says when there is a new block."""

    def __init__(
        self,
        services: Services,
        upstream: Upstream,
        on_block: Callable[[int, bytes], None],
    ) -> None:
        self._services = services
        self._upstream = upstream
        self._on_block = on_block
        self._last = 0
        """Height of the newest block that was told."""
        self._waiting: list[int] = []
        """Heights of blocks that are to be told, ascending."""
        self._came = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._tell())

    async def _listen(self) -> None:
        last_id = ""
        while True:
            is_first = True
            try:
                async for event in self._services.stream(EVENTS, last_id):
                    last_id = event.id or last_id
                    if is_first and (height := _read_height(event)):
                        self._begin_at(height)
                        is_first = False
                    self._take(event)
            except Unavailable as failure:
                log.info("events broke off", why=str(failure))
            await asyncio.sleep(RETRY_S * random.uniform(0.5, 1.5))

    def _begin_at(self, height: int) -> None:
        """Go on from what a service says first, if the one before told of blocks that are none."""
        if height + MAX_AT_A_TIME < self._newest:
            self._last = height - 1
            self._waiting.clear()
            self._upstream.forget_blocks()

    def _take(self, event: Event) -> None:
        height = _read_height(event)
        if height <= self._newest:
            return
        self._upstream.note_block(height)
        self._waiting = [*self._waiting[1 - MAX_AT_A_TIME :], height]
        self._came.set()

    @property
    def _newest(self) -> int:
        return self._waiting[-1] if self._waiting else self._last

    async def _tell(self) -> None:
        while True:
            await self._came.wait()
            heights = list(self._waiting)
            try:
                hashes = await self._upstream.call("get_block_hash", {"height": heights})
                found = [(height, _read_hash(hashes, height)) for height in heights]
            except (Failed, BadCall) as failure:
                log.info("no hashes of new blocks", why=str(failure))
                await asyncio.sleep(RETRY_S * random.uniform(0.5, 1.5))
                continue
            self._last = heights[-1]
            self._waiting = [height for height in self._waiting if height > self._last]
            if not self._waiting:
                self._came.clear()
            for height, block_hash in found:
                self._on_block(height, block_hash)


def _read_hash(hashes: Any, height: int) -> bytes:
    """Return the hash that stands under a height. Raises `Failed`."""
    try:
        return bytes.fromhex(msgspec.convert(hashes[str(height)], HexKey))
    except (KeyError, TypeError, msgspec.ValidationError):
        raise Failed(f"a service tells no hash of block {height}") from None


def _read_height(event: Event) -> int:
    """Return the height of the event of a block; 0 of any other."""
    height: Any = event.data.get("height") if isinstance(event.data, dict) else None
    is_block = event.name == "block" and type(height) is int
    return int(height) if is_block and height > 0 else 0
