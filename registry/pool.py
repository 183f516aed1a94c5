"""Transactions that wait for a block, and what became of those that do not wait any more.

- What is here was decoded, its signatures were verified, and it passed `Chain.check` after all
  that came before it; a block takes from here in that order.
- After a commit everything left is checked again, in order; what does not pass is dropped.
- It is bounded: one transaction more is refused with `Busy`, never queued somewhere else.
- Of two transactions for the same thing the first one stays: the other is refused like one that
  comes after its block.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final, NamedTuple

from ledger.chain import PAUSE_TRANSACTIONS, Chain
from ledger.crypto import Signed
from ledger.errors import Refusal
from ledger.transactions.envelope import Transaction
from ledger.types import Hash
from registry.ipc import Busy
from registry.workers import Verifier

MAX_WAITING: Final = 50_000
"""Transactions that wait at most."""

MAX_WAITING_BYTES: Final = 2**26
MAX_FATES: Final = 10_000
"""Transactions that left without a block and are remembered."""


class Fate(NamedTuple):
    """What is known of a transaction that is in no block."""

    state: str
    """`pending`, `expired` or `dropped`."""
    refusal: Refusal | None
    """Why it was dropped."""


class Pool:
    """The pool of one chain; used on the chain's thread only."""

    def __init__(self, chain: Chain, verifier: Verifier) -> None:
        self._chain = chain
        self._verifier = verifier
        self._waiting: dict[Hash, Transaction] = {}
        self._bytes = 0
        # what is on its way in, so that what comes meanwhile finds no room twice
        self._arriving = 0
        self._arriving_bytes = 0
        self._fates: OrderedDict[Hash, Fate] = OrderedDict()
        self._followed: dict[Hash, list[asyncio.Future[None]]] = {}
        # held while the chain's scratch state is not that of everything in the pool
        self._checking = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, tx_hash: object) -> bool:
        """Whether a transaction waits, and so was verified: what `Chain.finalize` asks."""
        return tx_hash in self._waiting

    def candidates(self) -> list[Transaction]:
        """Return what waits, in the order in which it has to be applied."""
        return list(self._waiting.values())

    def get(self, tx_hash: Hash) -> Transaction | None:
        """Return a waiting transaction."""
        return self._waiting.get(tx_hash)

    def fate(self, tx_hash: Hash) -> Fate | None:
        """Return what became of a transaction that is in no block; None if it is unknown."""
        if tx_hash in self._waiting:
            return Fate("pending", None)
        return self._fates.get(tx_hash)

    # ---------------------------------------------------------------------- arrivals

    async def add(
        self, raws: Sequence[bytes], *, is_verified: bool = False
    ) -> list[Refusal | None]:
        """Take transactions in; for each None, or why it was refused.

        `is_verified` says that their signatures were verified before. Raises `Busy` if they do not
        all fit. What waits or stands in a block is no error.
        """
        count, size = len(raws), sum(map(len, raws))
        if len(self) + self._arriving + count > MAX_WAITING:
            raise Busy("the pool is full")
        if self._bytes + self._arriving_bytes + size > MAX_WAITING_BYTES:
            raise Busy("the pool is full")
        self._arriving += count
        self._arriving_bytes += size
        try:
            return await self._add(raws, is_verified)
        finally:
            self._arriving -= count
            self._arriving_bytes -= size

    async def _add(self, raws: Sequence[bytes], is_verified: bool) -> list[Refusal | None]:
        async with self._checking:
            outcomes = [self._decode(raw) for raw in raws]
        if not is_verified:
            await self._verify(outcomes)
        async with self._checking:
            return [
                outcome if isinstance(outcome, Refusal) else self._take(outcome)
                for outcome in outcomes
            ]

    def _decode(self, raw: bytes) -> Transaction | Refusal:
        try:
            tx = self._chain.decode(raw)
            if tx.kind.is_free and not self._is_known(tx):
                # a free one costs its sender nothing, so all that is cheap comes first
                self._chain.peek(tx)
        except Refusal as refusal:
            return refusal
        return tx

    def _is_known(self, tx: Transaction) -> bool:
        return tx.hash in self._waiting or self._chain.view().location(tx.hash) is not None

    async def _verify(self, outcomes: list[Transaction | Refusal]) -> None:
        """Verify all signatures in one go; a transaction with a bad one becomes a refusal."""
        items: list[Signed] = []
        wanted: list[tuple[int, int]] = []
        for place, outcome in enumerate(outcomes):
            if isinstance(outcome, Refusal) or self._is_known(outcome):
                continue
            try:
                added = self._chain.signatures(outcome)
            except Refusal as refusal:
                outcomes[place] = refusal
                continue
            wanted.append((place, len(added)))
            items += added
        answers = iter(await self._verifier.verify(items)) if items else iter(())
        for place, count in wanted:
            valid = list(islice(answers, count))
            # what no answer speaks of is not valid
            if len(valid) < count or not all(valid):
                outcomes[place] = Refusal("bad_signature")

    def _take(self, tx: Transaction) -> Refusal | None:
        if self._is_known(tx):
            return None
        try:
            self._chain.check(tx)
        except Refusal as refusal:
            return refusal
        self._waiting[tx.hash] = tx
        self._bytes += len(tx.raw)
        self._fates.pop(tx.hash, None)
        return None

    async def settled(self, tx_hash: Hash) -> None:
        """Return once a waiting transaction stands in a block, or has left the pool."""
        if tx_hash not in self._waiting:
            return
        future = asyncio.get_running_loop().create_future()
        self._followed.setdefault(tx_hash, []).append(future)
        await future

    # -------------------------------------------------------------------- departures

    async def committed(self, hashes: Iterable[Hash], end_commit: Callable[[], None]) -> None:
        """End a commit, let go of what its block took, and check the rest again.

        `end_commit` empties the chain's scratch state, so nothing is taken in from there on until
        the rest was checked.
        """
        async with self._checking:
            end_commit()
            for tx_hash in hashes:
                self._remove(tx_hash)
            for place, tx in enumerate(self.candidates(), 1):
                try:
                    self._chain.check(tx)
                except Refusal as refusal:
                    self._drop(tx, refusal)
                if place % PAUSE_TRANSACTIONS == 0:
                    await asyncio.sleep(0)

    def _drop(self, tx: Transaction, refusal: Refusal) -> None:
        self._remove(tx.hash)
        state = "expired" if refusal.code in ("expired", "attest_closed") else "dropped"
        self._fates[tx.hash] = Fate(state, refusal)
        if len(self._fates) > MAX_FATES:
            self._fates.popitem(last=False)

    def _remove(self, tx_hash: Hash) -> None:
        tx = self._waiting.pop(tx_hash, None)
        if tx is not None:
            self._bytes -= len(tx.raw)
        for future in self._followed.pop(tx_hash, ()):
            if not future.done():
                future.set_result(None)
