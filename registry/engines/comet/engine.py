"""The engine: CometBFT asks here for blocks, and tells the other validators what comes in here.

- It runs until CometBFT is gone or a call failed: neither side can go on without the other.
- A transaction that is submitted here, and a verdict that is made here, goes into the pool at once
  and then to CometBFT, which passes it on. Until CometBFT has taken it, or it left the pool, it is
  sent again.
- CometBFT passes a transaction on once, and a node whose pool was full lost it then. So what has
  waited for some blocks is taken out of CometBFT's pool, by the answer when it asks again, and is
  sent anew after the next block.
"""

import asyncio
import base64
from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec
import structlog

from ledger.chain import Executed
from ledger.crypto import sha256
from ledger.errors import Fault, describe
from ledger.messages.blocks import Block
from ledger.transactions.envelope import Transaction
from ledger.types import Hash, Height
from registry.engines.comet.application import Application
from registry.engines.comet.server import Connection, Server
from registry.engines.comet.snapshots import Snapshots
from registry.engines.local import WAIT_S, answer_all
from registry.ipc import Busy
from registry.pool import Pool
from registry.replica import Replica
from registry.verdicts import SentVote

CONSENSUS: Final = {
    *("init_chain", "prepare_proposal", "process_proposal", "extend_vote"),
    *("verify_vote_extension", "finalize_block", "commit"),
}
"""Requests of the connection without which no block comes any more."""

MAX_UNSENT: Final = 10_000
"""Transactions that wait for CometBFT at most; one that is submitted then is refused as busy."""

BATCH: Final = 10
"""Transactions in one request, as many as CometBFT takes."""

RETRY_S: Final = 1.0
STOPPING_S: Final = 2.0
"""Who stops this service stops CometBFT first: so long it is no fault that it is gone."""

TIMEOUT_S: Final = 20.0
AGAIN_BLOCKS: Final = 4
"""Blocks after which what still waits is sent anew."""

MAX_AGAIN: Final = 1_000
"""Transactions that are sent anew at a time, the oldest first."""

FULL: Final = "full"
"""Stands in CometBFT's words for having no room now."""

KNOWN: Final = "tx already exists in cache"
"""CometBFT's words for what it has, or had."""

log = structlog.get_logger()


class _Error(msgspec.Struct):
    """Why CometBFT did not look at a transaction."""

    message: str = ""
    data: str = ""


class _Answer(msgspec.Struct):
    """CometBFT's answer to one call of a batch."""

    id: int
    result: dict[str, Any] | None = None
    error: _Error | None = None


class Gossip:
    """Hands what waits in the pool to CometBFT, in the order in which it came.

    A sender's transactions have to come to others in the order of their nonces, so one request
    follows the other. CometBFT is not waited for to check one: the pool that it asks has it.
    """

    def __init__(self, pool: Pool, socket: Path) -> None:
        self.let_go: set[Hash] = set()
        """What CometBFT is to let go of when it asks again."""
        self._pool = pool
        self._waited: set[Hash] = set()
        self._unsent: OrderedDict[Hash, None] = OrderedDict()
        self._more = asyncio.Event()
        self._sending: asyncio.Task[bool] | None = None
        self._client = httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(uds=str(socket)),
            base_url="http://cometbft",
            timeout=TIMEOUT_S,
            trust_env=False,
        )

    def __len__(self) -> int:
        return len(self._unsent)

    def add(self, tx_hash: Hash) -> None:
        """Send a transaction of the pool when its turn comes."""
        self._unsent[tx_hash] = None
        self._more.set()

    async def on_commit(self, block: Block, _executed: Executed) -> None:
        """Let CometBFT go of what has waited for long, and send that anew after the next block."""
        is_time = block.header.height % AGAIN_BLOCKS == 0
        if not self.let_go and not is_time:
            return
        waiting = [tx.hash for tx in self._pool.candidates()]
        if self.let_go:
            # all in the order of the pool: what comes first of a sender has to be there first
            due = self.let_go | self._unsent.keys()
            self._unsent = OrderedDict.fromkeys(tx_hash for tx_hash in waiting if tx_hash in due)
            self.let_go.clear()
            self._more.set()
        if is_time:
            stale = (tx_hash for tx_hash in waiting if tx_hash in self._waited)
            self.let_go.update(islice(stale, MAX_AGAIN))
            self._waited = set(waiting)

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            while not self._unsent:
                self._more.clear()
                await self._more.wait()
            # a read that is cancelled as its bytes come is an error to anyio: `close` waits for it
            self._sending = asyncio.create_task(self._send_some())
            if not await asyncio.shield(self._sending):
                await asyncio.sleep(RETRY_S)

    async def _send_some(self) -> bool:
        """Send those whose turn it is; return whether all of them are done with."""
        turn = list(islice(self._unsent, BATCH))
        waiting = [tx for tx in map(self._pool.get, turn) if tx is not None]
        done = await self._send(waiting) if waiting else set()
        left = {tx.hash for tx in waiting} - done
        for tx_hash in turn:
            if tx_hash not in left:
                self._unsent.pop(tx_hash, None)
        return not left

    async def _send(self, transactions: Sequence[Transaction]) -> set[Hash]:
        """Return the hashes of those that CometBFT has now, or does not want."""
        calls = [
            {
                "jsonrpc": "2.0",
                "id": place,
                "method": "broadcast_tx_async",
                "params": {"tx": base64.b64encode(tx.raw).decode()},
            }
            for place, tx in enumerate(transactions)
        ]
        try:
            response = await self._client.post("/", json=calls)
            found = msgspec.json.decode(response.content, type=list[_Answer] | _Answer)
        except (httpx2.HTTPError, ValueError, RecursionError) as error:
            log.warning("not passed on", reason=describe(error))
            return set()
        # a batch of one is answered without a list
        answers = [found] if isinstance(found, _Answer) else found
        return {
            transactions[answer.id].hash
            for answer in answers
            if 0 <= answer.id < len(transactions) and _is_done(answer)
        }

    async def close(self) -> None:
        """End the connections, once the answer that is under way came or was waited for."""
        if self._sending is not None:
            await asyncio.wait([self._sending], timeout=STOPPING_S)
        await self._client.aclose()


def _is_done(answer: _Answer) -> bool:
    if answer.error is None:
        return answer.result is not None
    why = f"{answer.error.message} {answer.error.data}"
    if KNOWN not in why:
        log.warning("not passed on", reason=why)
    # one that it does not want must not hold up the others
    return FULL not in why


class Comet:
    """Executes what validators agree on."""

    def __init__(
        self,
        replica: Replica,
        server: Server,
        rpc: Path,
        snapshots: Snapshots | None = None,
        *,
        halt_height: Height = 0,
    ) -> None:
        """Answer on a server that was started; `rpc` is the socket on which CometBFT answers.

        `halt_height` is the last block to execute, 0 if there is none. Raises `Halted` for a
        replica that has it already.
        """
        self._replica = replica
        self._server = server
        self._snapshots = snapshots
        self._gossip = Gossip(replica.pool, rpc)
        self._application = Application(
            replica, snapshots, halt_height=halt_height, let_go=self._gossip.let_go
        )
        self._asked: set[str] = set()
        replica.verdicts.on_made = self._gossip.add
        replica.on_commit.append(self._gossip.on_commit)
        if snapshots is not None:
            snapshots.follow(replica)

    async def run(self) -> None:
        """Answer CometBFT until cancelled. Raises a `Fault` when it is gone, `Halted`, and what a
        call raises."""
        self._server.on_lost = self._on_lost
        self._server.use(self._application.handlers)
        gossip = asyncio.create_task(self._gossip.run())
        gossip.add_done_callback(self._on_gossip_end)
        try:
            await self._server.wait()
        finally:
            gossip.cancel()
            await asyncio.wait([gossip])

    def _on_gossip_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._server.fail(error)

    def _on_lost(self, connection: Connection) -> None:
        self._asked |= connection.asked
        is_last = not self._server.connections and "info" in self._asked
        if connection.asked & CONSENSUS or is_last:
            error = Fault("CometBFT closed its connection: its log says why")
            asyncio.get_running_loop().call_later(STOPPING_S, self._server.fail, error)

    async def submit(self, raws: list[bytes], wait: bool) -> list[dict[str, Any]]:
        """Take transactions into the pool, and pass them on. Raises `Busy` if they do not fit."""
        if len(self._gossip) + len(raws) > MAX_UNSENT:
            raise Busy("CometBFT has not taken what came before")
        outcomes = await self._replica.pool.add(raws)
        for raw, outcome in zip(raws, outcomes, strict=True):
            if outcome is None:
                self._gossip.add(sha256(raw))
        return await answer_all(self._replica, raws, outcomes, WAIT_S if wait else 0)

    async def vote(self, votes: list[SentVote]) -> list[dict[str, Any]]:
        """Collect votes. Raises `Busy` if they do not fit."""
        return await self._replica.verdicts.add(votes)

    async def close(self) -> None:
        """End the connections, and wait for a snapshot that is being written."""
        await self._server.close()
        await self._gossip.close()
        if self._snapshots is not None:
            await self._snapshots.close()
