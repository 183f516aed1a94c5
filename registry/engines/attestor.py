"""Attesting: this replica's signature of each header that it made itself.

It looks at the chain after each block, signs the newest header if its key has a seat and the seat
did not attest yet, and submits the attestation until it stands in a block or is too late. Once the
network is over it is silent.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from ledger.chain import Executed
from ledger.codec import encode
from ledger.errors import Fault
from ledger.history import final_key
from ledger.messages.blocks import Block
from ledger.messages.lists import SignedHeader, decode_header, decode_signed_header
from ledger.messages.tables import CHAINLINKS, SETS
from ledger.messages.transactions import VERSION, Attest, Free
from ledger.succession import is_over
from ledger.types import Epoch
from ledger.views import View
from registry.ipc import Busy, Lost
from registry.replica import Replica
from registry.signer import HeaderSigner, Known
from registry.wallet import KIND_TAGS
from registry.watermarks import SignerRefuses

AGAIN_BLOCKS: Final = 2
"""Blocks after which an attestation that no block took is submitted again."""

log = structlog.get_logger()


class Attestor:
    """Attests with one list key on behalf of one replica."""

    def __init__(
        self,
        replica: Replica,
        signer: HeaderSigner,
        submit: Callable[[list[bytes], bool], Awaitable[list[dict[str, Any]]]],
    ) -> None:
        self._replica = replica
        self._signer = signer
        self._submit = submit
        self._tried: tuple[Epoch, int] = (-1, 0)
        self._task: asyncio.Task[None] | None = None

    async def on_commit(self, _block: Block, _executed: Executed) -> None:
        """Look at the newest header; the work itself never holds up the chain."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._attest())

    async def _attest(self) -> None:
        view = self._replica.chain.view()
        if is_over(view.state):
            return
        signed = view.newest_header()
        epoch = decode_header(signed.header).epoch
        index = self._seat(view)
        if index is None or any(index == attested for attested, _ in signed.signatures):
            return
        tried_epoch, tried_height = self._tried
        if epoch == tried_epoch and view.tip.height < tried_height + AGAIN_BLOCKS:
            return
        self._tried = (epoch, view.tip.height)
        try:
            raw = await self._make(view, signed, index)
            answers = await self._submit([raw], False)
        except Fault as fault:
            # no signature left; a later block tries again
            log.error("header not attested", epoch=epoch, reason=str(fault))
        except (Busy, Lost) as error:
            log.warning("attestation not submitted", epoch=epoch, reason=str(error))
        else:
            self._report(epoch, index, answers[0])

    @staticmethod
    def _report(epoch: Epoch, index: int, answer: dict[str, Any]) -> None:
        if answer["state"] in ("pending", "committed"):
            log.info("attested", epoch=epoch, index=index, state=answer["state"])
        else:
            log.warning("attestation refused", epoch=epoch, index=index, code=answer["code"])

    def _seat(self, view: View) -> int | None:
        keys = [seat.list_key for seat in view.state.one(SETS).current]
        key = self._signer.pair.public
        return keys.index(key) if key in keys else None

    async def _make(self, view: View, signed: SignedHeader, index: int) -> bytes:
        link = view.state.one(CHAINLINKS, self._signer.pair.public)
        reveal = self._signer.chain.reveal(link.value, link.accepted)
        if reveal is None:
            raise SignerRefuses("the hash chain of this key is exhausted, or not the one in force")
        known = Known(
            lambda epoch: _frozen_header(view, epoch),
            link.accepted,
            view.state.params().epoch_ms,
            self._replica.chain.genesis.start_ms,
            is_over(view.state),
        )
        signature = await asyncio.to_thread(self._signer.sign, signed.header, known)
        epoch = decode_header(signed.header).epoch
        return encode(Free(VERSION, KIND_TAGS["attest"], Attest(epoch, index, reveal, signature)))

    async def close(self) -> None:
        """Give up what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


def _frozen_header(view: View, epoch: Epoch) -> SignedHeader | None:
    """Return this replica's signed header of an epoch that takes no attestations any more."""
    raw = view.reader.get(final_key(epoch))
    return None if raw is None else decode_signed_header(raw)
