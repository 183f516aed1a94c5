"""Transactions that wait for a block, and what became of those that do not wait any more.

- What is here was decoded, its signatures were verified, and it passed `Chain.check` after all
  that came before it; a block takes from here in that order.
- After a commit everything left is checked again, in order; what does not pass is dropped.
- It is bounded: one transaction more is refused with `Busy`, never queued somewhere else. Those
  that nobody pays for have room of their own, so that neither sort keeps the other out.
- A full pool lets go of what stands lowest for what pays more. A transaction stands at its fee, but
  no higher than the one before it of the same sender, since it cannot be taken before that one. So
  what goes is always a sender's last one, and the order of the others stays whole.
- The scratch state keeps what went until the next commit. Until then its sender gets nothing in,
  and what relies on it may be taken in; that is left out of the block, and dropped after it.
- Of two transactions for the same thing the first one stays: the other is refused like one that
  comes after its block.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Sequence
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

from ledger.chain import PAUSE_TRANSACTIONS, Chain
from ledger.crypto import Signed
from ledger.errors import Refusal
from ledger.messages.genesis import SOLO
from ledger.transactions.envelope import Transaction
from ledger.types import Amount, Hash, Key
from registry.ipc import Busy
from registry.workers import Verifier

MAX_WAITING: Final = 50_000
"""Paid transactions that wait at most."""

MAX_FREE: Final = 10_000
"""Those that nobody pays for, beside them."""

MAX_WAITING_BYTES: Final = 2**26
MAX_OUTBIDDING: Final = 5_000
"""Transactions on their way into a full pool at most, in the place of others."""

MAX_FATES: Final = 10_000
"""Transactions that left without a block and are remembered."""


class Fate(NamedTuple):
    """What is known of a transaction that is in no block."""

    state: str
    """`pending`, `expired` or `dropped`."""
    refusal: Refusal | None
    """Why it was dropped."""


Place: TypeAlias = tuple[Amount, int, Hash]
"""How a waiting transaction stands, its turn, less than that of all that came before, its hash."""


class Ranks:
    """How the paid transactions that wait stand, the lowest first; of equals the last to come.

    A pool that is not full only writes them down.
    """

    def __init__(self) -> None:
        self._heap: list[Place] = []
        self._is_heap = False
        self._last: dict[Key, Amount] = {}

    def standing(self, tx: Transaction) -> Amount:
        """Return how a transaction would stand behind those of its sender."""
        return min(tx.fee, self._last.get(tx.sender, tx.fee))

    def add(self, tx: Transaction, turn: int) -> None:
        """Take in the last one of its sender."""
        standing, before = tx.fee, self._last.get(tx.sender)
        if before is not None and before < standing:
            standing = before
        self._last[tx.sender] = standing
        if self._is_heap:
            heappush(self._heap, (standing, turn, tx.hash))
        else:
            self._heap.append((standing, turn, tx.hash))

    def lowest(self, waiting: Container[Hash]) -> Place | None:
        """Return the place of the lowest of those that wait; None if there is none."""
        if not self._is_heap:
            heapify(self._heap)
            self._is_heap = True
        while self._heap and self._heap[0][2] not in waiting:
            heappop(self._heap)
        return self._heap[0] if self._heap else None

    def pop(self) -> None:
        """Let go of the lowest, which `lowest` has just found."""
        heappop(self._heap)

    def put_back(self, places: Iterable[Place]) -> None:
        """Take in again what has not gone."""
        for place in places:
            heappush(self._heap, place)


class Pool:
    """The pool of one chain; used on the chain's thread only."""

    def __init__(self, chain: Chain, verifier: Verifier) -> None:
        self._chain = chain
        self._verifier = verifier
        self._is_solo = chain.genesis.engine == SOLO
        self._waiting: dict[Hash, Transaction] = {}
        self._bytes = 0
        self._free = 0
        self._ranks = Ranks()
        self._turn = 0
        # senders of whom something had to go since the last commit
        self._outbid: set[Key] = set()
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
        all fit, unless each of them pays more than what would have to go. What waits or stands in a
        block is no error.
        """
        count, size = len(raws), sum(map(len, raws))
        arriving, arriving_bytes = self._arriving + count, self._arriving_bytes + size
        has_room = (
            len(self) - self._free + arriving <= MAX_WAITING
            and self._free + arriving <= MAX_FREE
            and self._bytes + arriving_bytes <= MAX_WAITING_BYTES
        )
        if not has_room:
            self._check_room(raws, arriving, arriving_bytes)
        self._arriving += count
        self._arriving_bytes += size
        try:
            return await self._add(raws, is_verified)
        finally:
            self._arriving -= count
            self._arriving_bytes -= size

    def _check_room(self, raws: Sequence[bytes], arriving: int, arriving_bytes: int) -> None:
        """Look closer at a batch that may not fit, with all that is on its way. Raises `Busy`."""
        decoded = [self._decode_alone(raw) for raw in raws]
        paid = [tx for tx in decoded if tx is not None and not tx.kind.is_free]
        if len(paid) < len(raws) and self._free + arriving > MAX_FREE:
            raise Busy("there is no room for more that nobody pays for")
        is_full = (
            len(self) - self._free + arriving > MAX_WAITING
            or self._bytes + arriving_bytes > MAX_WAITING_BYTES
        )
        if not is_full:
            return
        lowest = self._ranks.lowest(self._waiting)
        is_better = lowest is not None and all(tx.fee > lowest[0] for tx in paid)
        if len(paid) < len(raws) or not is_better or arriving > MAX_OUTBIDDING:
            raise Busy("the pool is full")

    def _decode_alone(self, raw: bytes) -> Transaction | None:
        try:
            return self._chain.decode(raw)
        except Refusal:
            return None

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
        if tx.hash in self._waiting:
            return True
        if self._is_solo and not tx.kind.is_free and self._is_to_come(tx):
            return False
        return self._chain.view().location(tx.hash) is not None

    def _is_to_come(self, tx: Transaction) -> bool:
        """Whether no block can hold it yet, where blocks hold nothing that was refused.

        That is known without a look at the disk.
        """
        return tx.nonce >= self._chain.next_nonce(tx.sender)

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
        going: list[Place] = []
        try:
            self._find_room(tx, going)
            self._chain.check(tx)
        except Refusal as refusal:
            self._ranks.put_back(going)
            return refusal
        for place in going:
            outbid = self._waiting[place[2]]
            self._outbid.add(outbid.sender)
            self._drop(outbid, Refusal("outbid"))
        self._waiting[tx.hash] = tx
        self._bytes += len(tx.raw)
        if tx.kind.is_free:
            self._free += 1
        else:
            self._turn -= 1
            self._ranks.add(tx, self._turn)
        self._fates.pop(tx.hash, None)
        return None

    def _find_room(self, tx: Transaction, going: list[Place]) -> None:
        """Find out what has to go for a transaction. Refuses with `outbid`."""
        if tx.kind.is_free:
            return
        if tx.sender in self._outbid:
            raise Refusal("outbid")
        count, size = len(self) - self._free + 1, self._bytes + len(tx.raw)
        standing = self._ranks.standing(tx)
        while count > MAX_WAITING or size > MAX_WAITING_BYTES:
            place = self._ranks.lowest(self._waiting)
            if place is None or place[0] >= standing:
                raise Refusal("outbid")
            self._ranks.pop()
            going.append(place)
            count, size = count - 1, size - len(self._waiting[place[2]].raw)

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
            self._ranks, self._outbid = Ranks(), set()
            for place, tx in enumerate(self.candidates(), 1):
                try:
                    self._chain.check(tx)
                except Refusal as refusal:
                    self._drop(tx, refusal)
                else:
                    if not tx.kind.is_free:
                        self._turn -= 1
                        self._ranks.add(tx, self._turn)
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
            self._free -= tx.kind.is_free
        for future in self._followed.pop(tx_hash, ()):
            if not future.done():
                future.set_result(None)
