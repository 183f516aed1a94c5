"""Clients of the list: each verifies every list from the genesis file, over restarts of its own."""

import asyncio
from pathlib import Path
from typing import Final

from ledger.errors import Refusal
from registry.agent.ledger import now_ms
from registry.client import TrustedLists
from registry.client.cache import ListCache
from registry.client.http import fetch_lists
from registry.client.transport import Unavailable
from tests.soak.town import Town

PAUSE_S: Final = 2.0
RESTART_EVERY: Final = 20
"""Fetches after which a client forgets what it has in memory, and goes on from its cache."""


class Client:
    """One of them."""

    def __init__(self, town: Town, folder: Path) -> None:
        self._town = town
        self._cache = ListCache(folder, town.genesis)
        self.headers: dict[int, bytes] = {}
        """Hash of the list of each epoch that was verified."""
        self.wrong: list[str] = []

    @property
    def newest(self) -> int:
        """The newest epoch whose list was verified."""
        return max(self.headers, default=-1)

    async def run(self) -> None:
        """Fetch until cancelled."""
        lists = self._resume()
        for turn in range(1, 10**9):
            await asyncio.to_thread(self._fetch, lists)
            if turn % RESTART_EVERY == 0:
                lists = self._resume()
            await asyncio.sleep(PAUSE_S)

    def _resume(self) -> TrustedLists:
        lists = TrustedLists(self._town.genesis, now_ms())
        self._cache.resume(lists)
        if not lists.is_empty and lists.header.epoch < self.newest:
            self.wrong.append(f"a client went back to epoch {lists.header.epoch} by its cache")
        return lists

    def _fetch(self, lists: TrustedLists) -> None:
        before = self.newest
        try:
            lists.start_update(now_ms())
            fetch_lists([self._town.url], lists, self._cache)
        except Unavailable:
            return
        except Refusal as refusal:
            self.wrong.append(f"a client refuses: {refusal}")
            return
        epoch, list_hash = lists.header.epoch, bytes(lists.header.list_hash)
        if epoch < before or self.headers.setdefault(epoch, list_hash) != list_hash:
            self.wrong.append(f"epoch {epoch} after {before}, or another list for it")
