"""The face: listeners, and the desk that answers what comes over them."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from ledger.crypto import KeyPair
from registry.client.services import Services
from registry.oxenmq.addresses import parse_place
from registry.oxenmq.allowance import Peer
from registry.oxenmq.blocks import Follower
from registry.oxenmq.commands import (
    Callbacks,
    Desk,
    PeerReport,
    RouterPing,
    StoragePing,
    Work,
    ignore,
)
from registry.oxenmq.listener import Listener
from registry.oxenmq.upstream import Lists
from registry.oxenmq.wire import Parts, notify_block

ASKED_BYTES_A_UNIT: Final = 2**12
TOLD_BYTES_A_UNIT: Final = 2**20
"""Bytes of a message and of an answer that cost as much as a message does."""

CHECK_S: Final = 0.1
"""Seconds between looks at connections."""

log = structlog.get_logger()


class Face:
    """What storage servers and routers see of the agent, at some addresses."""

    def __init__(
        self,
        addresses: Sequence[str],
        services: Services,
        node_key: KeyPair,
        lists: Lists,
        on_storage_ping: Callable[[StoragePing], None] = ignore,
        on_router_ping: Callable[[RouterPing], None] = ignore,
        on_peer_report: Callable[[PeerReport], None] = ignore,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; `run` listens. Raises `BadAddress`.

        `addresses` are such as `ipc:///path`, `tcp://127.0.0.1:22026` and `curve://127.0.0.1:22026`;
        the last has the X25519 form of `node_key` as the server's key. `lists` gives the lists that
        the agent has verified. The callbacks are called on the event loop and have to be quick.
        """
        self._places = [parse_place(address) for address in addresses]
        self._node_key = node_key
        self._monotonic = monotonic
        callbacks = Callbacks(on_storage_ping, on_router_ping, on_peer_report)
        self._desk = Desk(services, node_key.public, lists, callbacks, monotonic)
        self._follower = Follower(services, self._desk.upstream, self._tell_block)
        self._listeners: list[Listener] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self.listening = asyncio.Event()
        """Set once it listens at every address."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens, each with the port that it got."""
        return tuple(listener.address for listener in self._listeners)

    async def run(self) -> None:
        """Listen and answer until cancelled. Raises `CannotListen`."""
        try:
            for number, place in enumerate(self._places):
                listener = await Listener.start(
                    number,
                    place,
                    self._node_key,
                    self._take,
                    self._desk.subscribers.remove,
                    self._monotonic,
                )
                self._listeners.append(listener)
            self.listening.set()
            log.info("oxenmq listens", addresses=self.addresses)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follower.run())
                group.create_task(self._check())
        finally:
            self.listening.clear()
            for task in self._under_way:
                task.cancel()
            for listener in self._listeners:
                listener.close()
            self._listeners.clear()

    def _take(self, peer: Peer, parts: Parts | None) -> None:
        """Answer a message, or have it answered; None is a command, which costs as much."""
        size = sum(map(len, parts or ()))
        if not self._desk.allowance.take(peer.host, 1 + size // ASKED_BYTES_A_UNIT):
            # It would take the time of the others. Its library connects again.
            self._listeners[peer.listener].connections.cut_peer(peer)
            return
        answer = None if parts is None else self._desk.take(peer, parts)
        if callable(answer):
            task = asyncio.create_task(self._answer(peer, answer))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        elif answer is not None:
            self._send(peer, answer)

    async def _answer(self, peer: Peer, work: Work) -> None:
        answer = await work()
        if not self._send(peer, answer):
            # who went before he was answered may have subscribed since
            self._desk.subscribers.remove(peer)

    def _send(self, peer: Peer, parts: Parts) -> bool:
        size = sum(map(len, parts))
        self._desk.allowance.charge(peer.host, size // TOLD_BYTES_A_UNIT)
        return self._listeners[peer.listener].connections.send(peer, parts)

    def _tell_block(self, height: int, block_hash: bytes) -> None:
        parts = notify_block(height, block_hash)
        for peer in self._desk.subscribers.list_peers():
            self._send(peer, parts)

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            for listener in self._listeners:
                listener.connections.check()
