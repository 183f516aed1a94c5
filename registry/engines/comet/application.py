"""The calls of CometBFT, over a replica.

- Nothing lasts before `commit`. What a round proposed or checked leaves the chain as it was, so any
  number of rounds may go before a block is decided, and a decided one may come again.
- What is asked of a block depends on the committed state and the request, never on the pool, but
  for which candidates a proposal takes.
- What a proposer sends is refused, never raised. What is decided is executed; if it cannot be, this
  replica and the validators disagree about what comes next, and it stops.
"""

from collections.abc import Container, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Final

import structlog

from ledger.chain import Executed
from ledger.crypto import Signed, sha256
from ledger.errors import CODE_OF_NUMBER, Diverged, Fault, Refusal
from ledger.messages.tables import MAX_KEY_BYTES
from ledger.state import STATE_START, STATE_STOP
from ledger.succession import is_over
from ledger.transactions.envelope import Transaction
from ledger.types import Hash, Height
from ledger.validators import get_validators
from registry.engines.comet import abci_pb2 as abci
from registry.engines.comet.server import Handlers
from registry.engines.comet.snapshots import Snapshots
from registry.engines.comet.translate import (
    CODESPACE,
    GONE,
    UNKNOWN_QUERY,
    busy_answer,
    check_answer,
    check_init_chain,
    committed_answer,
    compute_time_ms,
    cut_to_fit,
    make_info,
    make_updates,
    query_refused,
    read_block,
    read_misbehaviour,
    state_answer,
)
from registry.ipc import Busy
from registry.replica import Replica

STATE_PATH: Final = "/state"
"""The one path of queries: its data is a store key."""

ACCEPT: Final = abci.ResponseProcessProposal.ACCEPT
REJECT: Final = abci.ResponseProcessProposal.REJECT

log = structlog.get_logger()


class Halted(Fault):
    """The last block that this version was to execute is committed."""


@cache
def find_version() -> str:
    """Return the version of this program."""
    try:
        return version("waypost")
    except PackageNotFoundError:
        return "unknown"


class Application:
    """Answers CometBFT for one replica; on that replica's loop only."""

    def __init__(
        self,
        replica: Replica,
        snapshots: Snapshots | None = None,
        *,
        halt_height: Height = 0,
        let_go: Container[Hash] = (),
    ) -> None:
        """Answer for a replica that holds the genesis state, or more.

        `halt_height` is the last block to execute, 0 if there is none; `let_go` holds what CometBFT
        is to let go of. Raises `Halted` for a replica that has it already.
        """
        self._replica = replica
        self._chain = replica.chain
        self._snapshots = snapshots
        self._halt_height = halt_height
        self._let_go = let_go
        self._version = find_version()
        self._executed: Executed | None = None
        if halt_height and self._chain.tip.height >= halt_height:
            raise self._halted()

    @property
    def handlers(self) -> Handlers:
        """The calls by the names of their requests."""
        return {
            "info": self.info,
            "init_chain": self.init_chain,
            "query": self.query,
            "check_tx": self.check_txs,
            "prepare_proposal": self.prepare_proposal,
            "process_proposal": self.process_proposal,
            "extend_vote": self.extend_vote,
            "verify_vote_extension": self.verify_vote_extension,
            "finalize_block": self.finalize_block,
            "commit": self.commit,
            "list_snapshots": self.list_snapshots,
            "load_snapshot_chunk": self.load_snapshot_chunk,
            "offer_snapshot": self.offer_snapshot,
            "apply_snapshot_chunk": self.apply_snapshot_chunk,
        }

    # ------------------------------------------------------------------------- start

    async def info(self, _request: abci.RequestInfo) -> abci.ResponseInfo:
        """Answer with what lasts."""
        tip = self._chain.tip
        return make_info(tip.height, tip.root, self._version)

    async def init_chain(self, request: abci.RequestInitChain) -> abci.ResponseInitChain:
        """Answer with the root of the genesis state. Raises `WrongNetwork`."""
        chain = self._chain
        check_init_chain(request, chain.genesis, chain.genesis_hash)
        if chain.tip.height:
            raise Fault(
                f"CometBFT begins anew, and the ledger is at height {chain.tip.height}: "
                "put both back from one backup, or remove both"
            )
        return abci.ResponseInitChain(app_hash=chain.tip.root)

    async def query(self, request: abci.RequestQuery) -> abci.ResponseQuery:
        """Answer with a record of the state, and the proof of it if that is wanted."""
        key = request.data
        if request.path != STATE_PATH:
            return query_refused(UNKNOWN_QUERY, f"the only path is {STATE_PATH}")
        if not STATE_START <= key < STATE_STOP or len(key) > MAX_KEY_BYTES:
            return query_refused(UNKNOWN_QUERY, "the data is no store key of the state")
        height = request.height or self._chain.tip.height
        view = self._chain.view_at(height)
        if view is None:
            return query_refused(GONE, f"the state of height {height} is not kept")
        return state_answer(view, key, request.prove)

    # ------------------------------------------------------------------ transactions

    async def check_txs(
        self, requests: Sequence[abci.RequestCheckTx]
    ) -> list[abci.ResponseCheckTx]:
        """Take transactions into the pool, together; say of those in it whether they still wait."""
        known = [self._find_known(request) for request in requests]
        fresh = [r.tx for r, answer in zip(requests, known, strict=True) if answer is None]
        try:
            outcomes = iter(await self._replica.pool.add(fresh) if fresh else ())
        except Busy as busy:
            return [busy_answer(str(busy)) if answer is None else answer for answer in known]
        return [
            self._taken(request.tx, next(outcomes)) if answer is None else answer
            for request, answer in zip(requests, known, strict=True)
        ]

    def _find_known(self, request: abci.RequestCheckTx) -> abci.ResponseCheckTx | None:
        """Return what is known of a transaction already; None for one that is to be checked."""
        tx_hash, is_again = sha256(request.tx), request.type == abci.RECHECK
        if is_again and tx_hash in self._let_go:
            return busy_answer("it is sent anew")
        fate = self._replica.pool.fate(tx_hash)
        # one whose fate is forgotten is checked like a new one
        if fate is None or (fate.refusal is not None and not is_again):
            return None
        return check_answer(fate.refusal)

    def _taken(self, raw: bytes, refusal: Refusal | None) -> abci.ResponseCheckTx:
        if refusal is None and self._chain.view().location(sha256(raw)) is not None:
            return committed_answer()
        return check_answer(refusal)

    # ------------------------------------------------------------------------ rounds

    async def prepare_proposal(
        self, request: abci.RequestPrepareProposal
    ) -> abci.ResponsePrepareProposal:
        """Answer with the transactions of a block that everybody accepts."""
        self._check_halt(request.height)
        chain, pool = self._chain, self._replica.pool
        if is_over(chain.view().state):
            return abci.ResponsePrepareProposal()
        candidates = pool.candidates()
        candidates += await self._verify([tx for tx in request.txs if sha256(tx) not in pool])
        try:
            block = await self._replica.drive(
                chain.propose(
                    request.height,
                    compute_time_ms(request.time, chain.tip.time_ms),
                    request.proposer_address,
                    candidates,
                    read_misbehaviour(request.misbehavior),
                )
            )
        except Refusal as refusal:
            log.warning("nothing to propose", height=request.height, reason=str(refusal))
            return abci.ResponsePrepareProposal()
        # what comes first never depends on what comes later
        return abci.ResponsePrepareProposal(
            txs=cut_to_fit(block.transactions, request.max_tx_bytes)
        )

    async def _verify(self, raws: Sequence[bytes]) -> list[Transaction]:
        """Return those that the pool does not have and that are signed well, in their order."""
        decoded: list[tuple[Transaction, list[Signed]]] = []
        for raw in raws:
            try:
                tx = self._chain.decode(raw)
                decoded.append((tx, self._chain.signatures(tx)))
            except Refusal:
                continue
        items = [item for _, signed in decoded for item in signed]
        answers = iter(await self._replica.verifier.verify(items) if items else ())
        good: list[Transaction] = []
        for tx, signed in decoded:
            valid = list(islice(answers, len(signed)))
            # what no answer speaks of is not valid
            if len(valid) == len(signed) and all(valid):
                good.append(tx)
        return good

    async def process_proposal(
        self, request: abci.RequestProcessProposal
    ) -> abci.ResponseProcessProposal:
        """Accept a block that the ledger would take as it is."""
        self._check_halt(request.height)
        chain = self._chain
        if is_over(chain.view().state):
            log.warning("proposal rejected: the network is over", height=request.height)
            return abci.ResponseProcessProposal(status=REJECT)
        try:
            block = read_block(request, chain.tip.time_ms)
            await self._replica.drive(chain.validate(block, self._replica.pool))
        except Refusal as refusal:
            log.warning("proposal rejected", height=request.height, reason=str(refusal))
            return abci.ResponseProcessProposal(status=REJECT)
        return abci.ResponseProcessProposal(status=ACCEPT)

    async def extend_vote(self, _request: abci.RequestExtendVote) -> abci.ResponseExtendVote:
        """Votes carry nothing of ours."""
        return abci.ResponseExtendVote()

    async def verify_vote_extension(
        self, request: abci.RequestVerifyVoteExtension
    ) -> abci.ResponseVerifyVoteExtension:
        """Accept a vote that carries nothing."""
        kinds = abci.ResponseVerifyVoteExtension
        status = kinds.REJECT if request.vote_extension else kinds.ACCEPT
        return abci.ResponseVerifyVoteExtension(status=status)

    # ------------------------------------------------------------------------ blocks

    async def finalize_block(
        self, request: abci.RequestFinalizeBlock
    ) -> abci.ResponseFinalizeBlock:
        """Execute a decided block up to its root. Raises `Diverged` if it does not follow."""
        self._check_halt(request.height)
        chain = self._chain
        block = read_block(request, chain.tip.time_ms)
        self._executed = None
        try:
            executed = await self._replica.finalize(block, self._replica.pool)
        except Refusal as refusal:
            raise Diverged(request.height, f"it is decided, and {refusal.text}") from None
        self._executed = executed
        updates = []
        if executed.validators is not None:
            updates = make_updates(get_validators(chain.view().state), executed.validators)
        return abci.ResponseFinalizeBlock(
            tx_results=[_result(code) for code in executed.codes],
            validator_updates=updates,
            app_hash=executed.root,
        )

    async def commit(self, _request: abci.RequestCommit) -> abci.ResponseCommit:
        """Make the executed block last; CometBFT keeps all blocks."""
        if self._executed is None:
            raise Fault("CometBFT commits a block that was not executed here")
        executed, self._executed = self._executed, None
        await self._replica.commit(executed, b"")
        return abci.ResponseCommit()

    def _check_halt(self, height: Height) -> None:
        if self._halt_height and height > self._halt_height:
            raise self._halted()

    def _halted(self) -> Halted:
        return Halted(
            f"height {self._halt_height} is committed, and this version was to stop there: go on "
            "with the version that comes next, or take halt_height out of the settings"
        )

    # --------------------------------------------------------------------- snapshots

    async def list_snapshots(
        self, _request: abci.RequestListSnapshots
    ) -> abci.ResponseListSnapshots:
        """Answer with what others may begin with."""
        found = () if self._snapshots is None else self._snapshots.list()
        return abci.ResponseListSnapshots(snapshots=found)

    async def load_snapshot_chunk(
        self, request: abci.RequestLoadSnapshotChunk
    ) -> abci.ResponseLoadSnapshotChunk:
        """Answer with a chunk, or with nothing where it is not kept."""
        chunk = b""
        if self._snapshots is not None:
            chunk = self._snapshots.load(request.height, request.format, request.chunk)
        return abci.ResponseLoadSnapshotChunk(chunk=chunk)

    async def offer_snapshot(
        self, _request: abci.RequestOfferSnapshot
    ) -> abci.ResponseOfferSnapshot:
        """Take none: this store has a state already."""
        return abci.ResponseOfferSnapshot(result=abci.ResponseOfferSnapshot.ABORT)

    async def apply_snapshot_chunk(
        self, _request: abci.RequestApplySnapshotChunk
    ) -> abci.ResponseApplySnapshotChunk:
        """Take none: this store has a state already."""
        return abci.ResponseApplySnapshotChunk(result=abci.ResponseApplySnapshotChunk.ABORT)


def _result(code: int) -> abci.ExecTxResult:
    """Return a transaction's result; its code alone is hashed."""
    if not code:
        return abci.ExecTxResult()
    return abci.ExecTxResult(code=code, log=CODE_OF_NUMBER[code], codespace=CODESPACE)
