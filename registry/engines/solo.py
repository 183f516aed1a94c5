"""The engine `solo`: one producer orders the blocks and seals them.

The producer can withhold and order as it likes; what it cannot do is break a rule, since every
follower executes and checks its blocks. When the network is over it makes no more of them, and goes
on serving what there is.
"""

import time
from typing import Any

import structlog

from ledger.messages.blocks import BlockHeader, block_hash
from ledger.succession import get_succession, is_over
from ledger.types import Hash, Height
from registry.engines.local import WAIT_S, answer_all
from registry.jobs import run_every
from registry.replica import Replica
from registry.signer import BlockSigner
from registry.verdicts import SentVote

log = structlog.get_logger()


class Solo:
    """Makes blocks from a timer and the pool."""

    def __init__(self, replica: Replica, signer: BlockSigner, *, is_vouched: bool = False) -> None:
        """Raises `SignerRefuses` like `BlockSigner.check_start`."""
        self._replica = replica
        self._signer = signer
        chain = replica.chain
        signer.check_start(
            chain.tip.height, self._hash_of, chain.genesis.start_ms, is_vouched=is_vouched
        )
        self._has_ended = False

    async def run(self) -> None:
        """Make a block every `block_ms`, until cancelled."""
        params = self._replica.chain.view().state.params()
        await run_every(params.block_ms, self.produce)

    async def produce(self) -> None:
        """Make the next block from what waits in the pool."""
        replica, chain = self._replica, self._replica.chain
        if is_over(chain.view().state):
            self._report_end()
            return
        now_ms = time.time_ns() // 1_000_000
        if chain.tip.height == 0 and now_ms <= chain.tip.time_ms:
            return  # the network's start is still to come
        # a clock that was put back delays the epochs, not the transactions
        now_ms = max(now_ms, chain.tip.time_ms + 1)
        block = await replica.drive(
            chain.propose(
                chain.tip.height + 1, now_ms, self._signer.pair.public, replica.pool.candidates()
            )
        )
        executed = await replica.finalize(block)
        header: BlockHeader = chain.header()
        seal = self._signer.seal(header)
        await replica.commit(executed, seal, lambda done: self._signer.note(done.header))

    def _report_end(self) -> None:
        """Say once why no block comes any more."""
        if not self._has_ended:
            record = get_succession(self._replica.chain.view().state)
            log.warning(
                "network is over: no more blocks",
                last_epoch=record.last_epoch,
                successor=record.genesis_hash.hex(),
            )
        self._has_ended = True

    async def submit(self, raws: list[bytes], wait: bool) -> list[dict[str, Any]]:
        """Take transactions into the pool. Raises `Busy` if they do not fit."""
        outcomes = await self._replica.pool.add(raws)
        return await answer_all(self._replica, raws, outcomes, WAIT_S if wait else 0)

    async def vote(self, votes: list[SentVote]) -> list[dict[str, Any]]:
        """Collect votes. Raises `Busy` if they do not fit."""
        return await self._replica.verdicts.add(votes)

    async def close(self) -> None:
        """There is nothing to let go of."""

    def _hash_of(self, height: Height) -> Hash | None:
        block = self._replica.chain.view().block(height)
        return None if block is None else block_hash(block.header)
