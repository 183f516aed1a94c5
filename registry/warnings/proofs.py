"""What is proven of nodes: their records at the end of an epoch whose list is final.

Headers are fetched and verified from the genesis file on, as every client does it; what was
verified is kept, so that no service leads back to an older one. Services that claim a newer header
than the one that came are asked too, so that one alone hides nothing.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import structlog

from ledger.errors import Refusal
from ledger.messages.state import NODE_STATES
from ledger.messages.tables import HISTORIES, NODES
from registry.addresses import decode_node
from registry.client import TrustedLists
from registry.client.cache import ListCache
from registry.client.http import fetch_lists
from registry.client.proofs import read_record
from registry.client.services import Busy, ServiceRefused, Services
from registry.client.transport import Unavailable
from registry.warnings.facts import Proven, Unreadable, read

WAIT_S: Final = 5.0
TOTAL_S: Final = 20.0
"""Seconds without a byte, and for all, that a source has for a header with its path."""

PROVE_S: Final = 60.0
"""Seconds of a round in which services may be asked for proofs."""

PAUSE_S: Final = 1.0
"""Seconds after which those that were asked too much are asked again."""

log = structlog.get_logger()


class _Proof(msgspec.Struct):
    proof: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2})+\Z")]


class Prover:
    """Proves states of nodes."""

    def __init__(self, genesis: bytes, folder: Path, services: Services, now_ms: int) -> None:
        """Start from a genesis file; refuses what `TrustedLists` refuses."""
        self._trusted = TrustedLists(genesis, now_ms, allow_expired=True)
        self._cache = ListCache(folder, genesis)
        self._services = services
        self._proven: dict[str, Proven] = {}
        self._was_busy = False
        self.refused = ""
        """Code of what is wrong with the lists; empty if nothing is."""

    @property
    def genesis_hash(self) -> str:
        """SHA-256 of the genesis file, as hex."""
        return self._trusted.genesis_hash.hex()

    async def update(self, now_ms: int, newest: Mapping[str, int]) -> None:
        """Verify the newest final header, if a service claims one of an epoch after the held one.

        `newest` is the epoch that each service claims, by its URL.
        """
        self._trusted.start_update(now_ms)
        held = self._epoch
        if self._trusted.evidence is not None or max(newest.values(), default=-1) <= held:
            return
        try:
            await asyncio.to_thread(self._fetch_newer, newest)
        except Refusal as refusal:
            self.refused = refusal.code
            log.warning("lists refused", why=str(refusal))
        except (Unavailable, OSError) as error:
            log.info("no list", why=str(error))
        else:
            self.refused = ""
        if self._epoch != held:
            self._proven.clear()

    @property
    def _epoch(self) -> int:
        return -1 if self._trusted.is_empty else self._trusted.header.epoch

    def _fetch_newer(self, newest: Mapping[str, int]) -> None:
        """Fetch; where nothing newer comes, a fresh header ended that: ask those named after it."""
        urls, held = self._services.urls, self._epoch
        self._fetch(urls)
        for start in range(1, len(urls)):
            claims = [newest.get(url, -1) for url in urls[start:]]
            if self._epoch != held or max(claims) <= held:
                return
            try:
                self._fetch(urls[start:])
            except (Refusal, Unavailable) as error:
                if self._trusted.evidence is not None:
                    raise
                # the lists that came before hold: who claims more cannot show it
                log.info("no newer list", why=str(error))

    def _fetch(self, urls: Sequence[str]) -> None:
        fetch_lists(
            urls,
            self._trusted,
            self._cache,
            want_list=False,
            wait_s=WAIT_S,
            total_s=TOTAL_S,
        )

    async def prove(self, addresses: Sequence[str]) -> dict[str, Proven]:
        """Return what is proven of nodes at the end of the held header's epoch, where it can be."""
        if self._trusted.is_empty or self._trusted.evidence is not None:
            return {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PROVE_S):
                while await self._prove_missing(addresses):
                    await asyncio.sleep(PAUSE_S)
        return {address: self._proven[address] for address in addresses if address in self._proven}

    async def _prove_missing(self, addresses: Sequence[str]) -> bool:
        """Prove what was not; say whether more may be proven a little later."""
        is_left = False
        for address in addresses:
            if address in self._proven:
                continue
            self._was_busy = False
            proven = await self._prove(decode_node(address))
            if proven is not None:
                self._proven[address] = proven
            is_left |= proven is None and self._was_busy
        return is_left

    async def _prove(self, key: bytes) -> Proven | None:
        header = self._trusted.header
        node = await self._find(NODES, key)
        if node is None:
            return None
        record = node[0]
        if record is not None:
            state = NODE_STATES.get(record.state, "")
            return Proven(header.epoch, header.height, state, record.life)
        # which life it was that is over is in a record that stays for ever
        history = await self._find(HISTORIES, key)
        life = 0 if history is None or history[0] is None else history[0].life
        return Proven(header.epoch, header.height, "", life)

    async def _find(self, table: Any, key: bytes) -> tuple[Any] | None:
        """Return the record that the first proof that holds shows; None if none of them does."""
        header = self._trusted.header
        for url in self._services.urls:
            path = f"/v1/proofs/{table.name}/{key.hex()}"
            try:
                answer = await self._services.get_from(url, path, epoch=header.epoch)
                data = bytes.fromhex(read(answer, _Proof).proof)
                return (read_record(header, table, key, data),)
            except (ServiceRefused, Unavailable, Unreadable, Refusal) as error:
                self._was_busy |= isinstance(error, Busy) and error.wait_s > 0
                log.info("no proof", service=url, why=str(error))
        return None
