"""A face that runs in a thread of its own, before a service that a test starts."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ledger.crypto import KeyPair, convert_to_x25519, key_pair
from registry.client import TrustedLists
from registry.client.services import Services
from registry.oxenmq import Face, PeerReport, RouterPing, StoragePing
from tests.registry.factory import short_folder
from tests.registry.oxenmq_client import OxenClient

NODE: KeyPair = key_pair(bytes(31) + b"\x07")
SERVER_KEY = convert_to_x25519(NODE.public).hex()
PATIENCE_S = 20


class Hand:
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class RunningFace:
    """A face, what it was told, and the thread that it runs in."""

    def __init__(
        self,
        addresses: Sequence[str],
        url: str,
        lists: TrustedLists | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lists = lists
        self.storage_pings: list[StoragePing] = []
        self.router_pings: list[RouterPing] = []
        self.peer_reports: list[PeerReport] = []
        self._loop = asyncio.new_event_loop()
        self._services = Services([url], timeout_s=5.0)
        self._face = Face(
            addresses,
            self._services,
            NODE,
            lambda: self.lists,
            self.storage_pings.append,
            self.router_pings.append,
            self.peer_reports.append,
            monotonic=clock,
        )
        self._failure: BaseException | None = None
        self._task: asyncio.Task[None]
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()
        assert self._is_up.wait(PATIENCE_S)

    async def _run(self) -> None:
        self._task = asyncio.ensure_future(self._face.run())
        listening = asyncio.ensure_future(self._face.listening.wait())
        await asyncio.wait((listening, self._task), return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        self._is_up.set()
        await asyncio.wait((self._task,))
        self._failure = None if self._task.cancelled() else self._task.exception()
        await self._services.close()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens."""
        return self._face.addresses

    def end(self) -> None:
        """Stop it. Raises what made it stop before."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        self._loop.close()
        if self._failure is not None:
            raise self._failure


@contextmanager
def run_face(
    url: str,
    *addresses: str,
    lists: TrustedLists | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[RunningFace]:
    """A face at some addresses, by default at one Unix socket."""
    with short_folder() as place:
        running = RunningFace(addresses or [f"ipc://{place}/omq"], url, lists, clock)
        try:
            yield running
        finally:
            running.end()


@contextmanager
def client_of(face: RunningFace, scheme: str = "ipc", **options: Any) -> Iterator[OxenClient]:
    """A client that is connected."""
    address = next(each for each in face.addresses if each.startswith(scheme))
    key = SERVER_KEY if scheme == "curve" else ""
    with OxenClient(address, server_key=key, **options) as client:
        client.greet()
        yield client


def path_of(address: str) -> Path:
    """The socket of an address."""
    return Path(address.removeprefix("ipc://"))
