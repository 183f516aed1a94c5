"""What is proven of the ledger, whoever served it.

- Headers are verified from the genesis file on, by `registry.client`; the newest verified one is
  kept in the home, so that nobody rolls the agent back.
- The header of epoch e governs epoch e + 1: who is tested in it, by whom and at which contact all
  stands in the state whose root that header names. A record counts only with its proof from there.
- So a service can keep things back, and no more. All of them are asked, the newest header first.
- Where no header can be had, the running epoch is known by the clock: no epoch is shorter than
  `epoch_ms`. That serves to answer challenges, never to vote.
"""

import asyncio
import binascii
import time
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec
import structlog

from ledger.codec import Record
from ledger.errors import Refusal, WaypostError
from ledger.messages.lists import (
    MAX_SIGNED_HEADER_BYTES,
    ListHeader,
    decode_header,
    decode_signed_header,
)
from ledger.messages.proofs import compute_proof_bound
from ledger.messages.tables import Table
from ledger.types import Epoch, Hash, TimeMs
from registry.client import TrustedLists
from registry.client.cache import ListCache
from registry.client.checks import read_genesis
from registry.client.http import Beyond, Fetched, fetch_lists
from registry.client.proofs import read_record
from registry.client.services import Busy, ServiceRefused, Services
from registry.client.transport import Unavailable

log = structlog.get_logger()

R = TypeVar("R", bound=Record)

MAX_SERVED_BYTES: Final = 8_388_608
"""The longest proof that a service gives out."""

PATIENCE: Final = 4
"""Times that a service's time for an answer is what it has for a header with its path, or a list:
who stops the agent waits for no longer than that."""

AROUND_BYTES: Final = 4_096
"""Everything of an answer but the proof in it, and the record that is in that again."""


class Unproven(WaypostError):
    """No service has proven what was asked; the message says why each did not."""

    def __init__(self, text: str, wait_s: int = 0) -> None:
        """`wait_s` are the seconds after which the first that is busy may be asked again."""
        super().__init__(text)
        self.wait_s = wait_s


class Forked(WaypostError):
    """Two final headers contradict each other: nothing is believed any more."""


class _Proof(msgspec.Struct):
    proof: str


class Ledger:
    """The newest verified header, and records proven from it."""

    def __init__(
        self,
        services: Services,
        genesis: bytes,
        cache: ListCache,
        *,
        agree: int = 0,
        want_list: bool = False,
    ) -> None:
        """Take up what is kept. Refuses like `ListCache.resume`, and a genesis file that is none.

        `want_list` says whether the list of nodes is wanted too.
        """
        file, params = read_genesis(genesis)
        self.epoch_ms: int = params.epoch_ms
        self.block_ms: int = params.block_ms
        self._start_ms = file.start_ms
        self._services = services
        self._cache = cache
        self._beyond = Beyond(agree=agree)
        self._want_list = want_list
        self._sources = list(services.urls)
        """Who is asked for proofs; whoever had none last comes last."""
        self.lists = TrustedLists(genesis, now_ms())
        self.clock = ""
        """What is wrong with this machine's clock, if the services' clocks say so."""
        cache.resume(self.lists)

    @property
    def genesis_hash(self) -> Hash:
        """SHA-256 of the genesis file."""
        return self.lists.genesis_hash

    @property
    def header(self) -> ListHeader | None:
        """The newest verified header; None before the first."""
        return None if self.lists.is_empty else self.lists.header

    @property
    def running(self) -> Epoch | None:
        """The epoch that the newest verified header governs; None before the first."""
        return None if self.header is None else self.header.epoch + 1

    @property
    def started_ms(self) -> TimeMs:
        """When that epoch began; the start of the network where there is none."""
        return self._start_ms if self.header is None else self.header.valid_after_ms

    def compute_latest(self, at_ms: TimeMs) -> Epoch:
        """Return the highest epoch that can have run at a time."""
        running = 0 if self.running is None else self.running
        if at_ms < self.started_ms:
            return max(0, running - 1)
        return running + (at_ms - self.started_ms) // self.epoch_ms

    def admits(self, epoch: Epoch) -> bool:
        """Whether an epoch can be the running one by this machine's clock, or one beside it."""
        lowest = 0 if self.running is None else self.running - 1
        return lowest <= epoch <= self.compute_latest(now_ms()) + 1

    async def refresh(self) -> bool:
        """Take a newer header if some service has one; say whether one did.

        Raises `Unavailable` where none answers, `Refusal` where no header holds, `Forked`, and
        `Unproven` where some service names a newer one and none has it.
        """
        if self.lists.evidence is not None:
            raise Forked("two final headers contradict each other: ask people whom you know")
        urls = await self._find_newest()
        before = self.running
        if not urls:
            return False
        self.lists.start_update(now_ms())
        left = urls
        while left:
            fetched = await asyncio.to_thread(self._fetch, left)
            self.clock = fetched.clock
            if self.running != before:
                return True
            if fetched.successor is not None:
                return False
            # who named a newer header and served the one that is held must not hide the others
            done = left.index(fetched.source) + 1
            left = [url for url in left[done:] if url not in fetched.failures]
        raise Unproven(f"a newer header is named, and nobody has it: {', '.join(urls)}")

    def _fetch(self, urls: Sequence[str]) -> Fetched:
        wait_s = self._services.timeout_s
        return fetch_lists(
            urls,
            self.lists,
            self._cache,
            beyond=self._beyond,
            want_list=self._want_list,
            wait_s=wait_s,
            total_s=PATIENCE * wait_s,
        )

    async def _find_newest(self) -> list[str]:
        """Return the services by the header that they name, the newest first; none if all are old.

        Nothing of it is believed: it only says whom to ask first, and whether to ask at all.
        """
        answers = await self._services.get_bytes_from_all(
            "/v1/lists/latest", MAX_SIGNED_HEADER_BYTES
        )
        newest: dict[str, Epoch] = {}
        for url, answer in answers.items():
            if isinstance(answer, bytes):
                try:
                    newest[url] = decode_header(decode_signed_header(answer).header).epoch
                except Refusal as refusal:
                    log.warning("no header", service=url, reason=str(refusal))
        if not newest:
            raise Unavailable("no service has a signed list")
        held = -1 if self.header is None else self.header.epoch
        if max(newest.values()) <= held:
            return []
        return sorted(newest, key=lambda url: -newest[url])

    async def prove(self, table: Table[R], key: bytes) -> R | None:
        """Return a record of the state at the newest verified header, or None if there is none.

        Raises `Unproven`.
        """
        header = self.header
        if header is None:
            raise Unproven("there is no verified header yet")
        reasons, waits = [], []
        for url in list(self._sources):
            try:
                return read_record(header, table, key, await self._get_proof(url, table, key))
            except (Refusal, ServiceRefused, Unavailable) as error:
                reasons.append(f"{url}: {error}")
                waits += [error.wait_s] if isinstance(error, Busy) else []
                self._sources.sort(key=url.__eq__)
        what = f"{table.name} {key.hex()}".rstrip()
        why = f"nobody proves {what} of epoch {header.epoch}: {'; '.join(reasons)}"
        raise Unproven(why, min(waits, default=0))

    async def _get_proof(self, url: str, table: Table[R], key: bytes) -> bytes:
        header = self.lists.header
        # in hexadecimal, and the record stands beside the proof that holds it
        limit = 4 * min(compute_proof_bound(table), MAX_SERVED_BYTES) + AROUND_BYTES
        path = f"/v1/proofs/{table.name}" + (f"/{key.hex()}" if key else "")
        body = await self._services.get_bytes_from(url, path, limit, epoch=header.epoch)
        try:
            return binascii.unhexlify(msgspec.json.decode(body, type=_Proof).proof)
        except (ValueError, RecursionError) as error:
            raise Unavailable(f"it answers with no proof: {error}") from None


def now_ms() -> TimeMs:
    """Return the time of this machine, Unix milliseconds."""
    return time.time_ns() // 1_000_000
