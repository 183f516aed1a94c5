"""CometBFT as an application sees it: random legal sequences of calls, from a seed.

The order of the calls is that of CometBFT's specification for ABCI 2.0
(`abci++_comet_expected_behavior.md`):

    start               = clean-start / recovery
    clean-start         = init-chain [state-sync] consensus-exec
    state-sync          = *state-sync-attempt success-sync info
    state-sync-attempt  = offer-snapshot *apply-chunk
    success-sync        = offer-snapshot 1*apply-chunk
    recovery            = info consensus-exec
    consensus-exec      = (inf)consensus-height
    consensus-height    = *consensus-round decide commit
    consensus-round     = proposer / non-proposer
    proposer            = *got-vote [prepare-proposal [process-proposal]] [extend]
    extend              = *got-vote extend-vote *got-vote
    non-proposer        = *got-vote [process-proposal] [extend]

- What may come at any time comes on the other connections in between.
- Version 0.38 leaves init-chain out before a state sync; before every start it asks for info, and
  sends init-chain again whenever that says height 0. So does this.
- The application may die at any point. What was decided by then is replayed to the next one.

The driver knows what every answer must be, from a history that a chain of its own executed.
"""

import asyncio
import random
from pathlib import Path
from typing import Any, Final

from ledger.chain import CRASH_POINTS, Chain
from ledger.errors import REFUSALS
from ledger.messages.tables import EPOCH
from ledger.store import Crashed, CrashStore
from registry.engines.comet import abci_pb2 as abci
from registry.engines.comet.application import Application
from registry.engines.comet.server import Server
from registry.engines.comet.snapshots import fill_store
from registry.engines.comet.translate import COMMITTED
from registry.replica import Replica
from tests.grammar.histories import HISTORIES, Decided, History, history
from tests.registry.engines.comet.far import Wire, init_fields
from tests.registry.factory import Direct

POINTS: Final = (*CRASH_POINTS, "store.before_write", "store.after_write")
MAX_LIVES: Final = 4
"""Times that the application is started in one sequence."""

MOST_BYTES: Final = 2**24
LETTERS: Final = {
    "init_chain": "i",
    "info": "n",
    "offer_snapshot": "o",
    "apply_snapshot_chunk": "a",
    "prepare_proposal": "p",
    "process_proposal": "q",
    "extend_vote": "e",
    "verify_vote_extension": "v",
    "finalize_block": "d",
    "commit": "c",
}
"""One letter for each terminal of the grammar."""


class Died(Exception):
    """The application died, as it was to."""


class Dying(CrashStore):
    """A store that knows the points of a commit too, once the chain is there."""

    is_open = False

    @property
    def died_at(self) -> str | None:
        """The point at which it died."""
        return self._died_at

    def write(self, changes: Any, *, sync: bool = True) -> None:
        if self.is_open:
            self.at("commit.before_write")
        super().write(changes, sync=sync)
        if self.is_open:
            self.at("commit.after_write")


class Life:
    """The application from one start to its death."""

    def __init__(self, store: Dying, past: History, made: type[Application], path: Path) -> None:
        self.store = store
        self.past = past
        self.path = path
        self.server = Server()
        self.letters = ""
        """What was called, in terminals of the grammar."""
        self.replica: Replica | None = None
        self._made = made
        self._filling: asyncio.Future[Chain] | None = None
        self.wires: dict[str, Wire] = {}

    async def start(self, *, is_joining: bool) -> None:
        """Start, as a process does; raises what kills it."""
        await self.server.start(self.path)
        if is_joining:
            self._filling = asyncio.ensure_future(
                fill_store(self.server, self.store, self.past.raw, at=self.store.at)
            )
        else:
            chain = Chain(self.store, self.past.raw, self.store.at)
            chain.init()
            self._take_over(chain)
        for name in ("query", "snapshot", "mempool", "consensus"):
            self.wires[name] = await Wire.open(self.path)

    def _take_over(self, chain: Chain) -> None:
        self.store.is_open = True
        self.replica = Replica(chain, Direct())

        async def done(*_: Any) -> None:
            self.store.at("commit.done")

        self.replica.on_commit.append(done)
        self.server.use(self._made(self.replica).handlers)

    async def filled(self) -> None:
        """Go on as an application, once the store was filled."""
        assert self._filling is not None
        self._take_over(await self._filling)

    async def ask(self, wire: str, name: str, **fields: Any) -> Any:
        """The answer to a call. Raises `Died` where there is none any more."""
        if wire == "consensus" or name in ("offer_snapshot", "apply_snapshot_chunk"):
            self.letters += LETTERS[name]
        try:
            return await self.wires[wire].ask(name, **fields)
        except (EOFError, ConnectionError):
            raise Died from None

    async def end(self) -> Dying:
        """Let it be dead, and return what its disk holds."""
        for wire in self.wires.values():
            wire.close()
        await self.server.close()
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.wait([self._filling])
            if not self._filling.cancelled():
                self._filling.exception()
        if self.replica is not None:
            await self.replica.close()
        return Dying(dict(self.store.survivor().items()))


class Sequence:
    """One random legal sequence of calls; the same one for the same seed."""

    def __init__(self, seed: int, made: type[Application], path: Path) -> None:
        self.dice = random.Random(seed)
        self.past = history(self.dice.randrange(HISTORIES))
        self.runs: list[str] = []
        """What was called in each life, in terminals of the grammar."""
        self.died_at: list[str] = []
        """Points at which the application died."""
        self._made = made
        self._path = path
        self._life: Life
        self._height = 0
        """What lasts."""
        self._may_be: set[int] = {0}
        """What may last, where the application died in the middle of making it last."""
        self._decided = 0
        """The newest block that CometBFT has stored."""
        self._base = 0
        """Height of the snapshot with which the store began."""
        self._waits = False
        """Whether the outsider's transaction is in the pool."""

    async def play(self) -> None:
        """Play it, to the end of the history or part of it. Raises AssertionError."""
        aim = self.dice.randint(1, len(self.past.blocks))
        is_joining = self.dice.random() < 0.25 and self._find_snapshot() is not None
        store = Dying({} if is_joining or self.dice.random() < 0.3 else self.past.content)
        for life in range(MAX_LIVES + 1):
            is_joining = is_joining and next(iter(store.items()), None) is None
            if life < MAX_LIVES and self.dice.random() < 0.7:
                store.arm(self.dice.choice(POINTS), self.dice.randint(1, 3))
            self._life = Life(store, self.past, self._made, self._path)
            self._waits = False
            is_over = await self._live(aim, is_joining, may_be_killed=life < MAX_LIVES)
            self.died_at += [] if store.died_at is None else [store.died_at]
            store = await self._life.end()
            self.runs.append(self._life.letters)
            if is_over:
                return
        raise AssertionError("it never came to its end")

    async def _live(self, aim: int, is_joining: bool, *, may_be_killed: bool) -> bool:
        """Return whether the aim was reached before the application died."""
        try:
            await self._life.start(is_joining=is_joining)
            await self._shake_hands(is_joining)
            while self._height < aim:
                if may_be_killed and self.dice.random() < 0.06:
                    await self._kill()
                    return False
                await self._go_on()
        except (Crashed, Died):
            return False
        return True

    # ------------------------------------------------------------------------- start

    async def _shake_hands(self, is_joining: bool) -> None:
        """What CometBFT does first: info, genesis or a snapshot, and a replay."""
        info = await self._life.ask("query", "info", version="0.38.25")
        height = info.last_block_height
        if is_joining:
            assert height == 0
            await self._sync()
            return
        assert height in self._may_be, (height, self._may_be)
        self._set_height(height)
        self._check_info(info)
        self._life.letters += "n"
        if height == 0:
            await self._begin()
        while self._height < self._decided:
            await self._decide(self.past.blocks[self._height])

    async def _begin(self) -> None:
        answer = await self._life.ask("consensus", "init_chain", **init_fields(self.past.genesis))
        assert answer.app_hash == self.past.root
        assert not answer.validators

    def _set_height(self, height: int) -> None:
        self._height = height
        self._may_be = {height}
        self._decided = max(self._decided, height)

    def _check_info(self, info: abci.ResponseInfo) -> None:
        assert info.last_block_height == self._height
        root = self.past.blocks[self._height - 1].root if self._height else b""
        assert info.last_block_app_hash == root
        assert info.app_version == 1

    # ------------------------------------------------------------------------ blocks

    async def _go_on(self) -> None:
        """One height: rounds, decision, commit."""
        block = self.past.blocks[self._height]
        for _ in range(self.dice.choice([0, 0, 1, 1, 1, 2, 3])):
            await self._round(block)
        await self._decide(block)

    async def _round(self, block: Decided) -> None:
        dice = self.dice
        await self._votes()
        if dice.random() < 0.5:
            if dice.random() < 0.8:
                proposed = await self._prepare(block)
                await self._meanwhile()
                if dice.random() < 0.7:
                    # what it proposes itself it accepts
                    await self._process(block.fields | {"txs": proposed}, is_good=True)
        elif dice.random() < 0.8:
            proposal = dice.choice(block.proposals)
            await self._process(proposal.fields, is_good=proposal.is_good)
        await self._meanwhile()
        if dice.random() < 0.2:
            await self._votes()
            extension = await self._life.ask("consensus", "extend_vote", height=self._height + 1)
            assert extension.vote_extension == b""
            await self._votes()

    async def _votes(self) -> None:
        for _ in range(self.dice.choice([0, 0, 0, 1, 2])):
            is_empty = self.dice.random() < 0.7
            answer = await self._life.ask(
                "consensus",
                "verify_vote_extension",
                height=self._height + 1,
                vote_extension=b"" if is_empty else b"x",
            )
            assert answer.status == (answer.ACCEPT if is_empty else answer.REJECT)

    async def _prepare(self, block: Decided) -> tuple[bytes, ...]:
        answer = await self._life.ask(
            "consensus",
            "prepare_proposal",
            max_tx_bytes=MOST_BYTES,
            **(block.fields | {"txs": (b"nonsense", *block.fields["txs"])}),
        )
        mine = (self.past.outsider,) if self._waits else ()
        assert tuple(answer.txs) == mine + block.fitting
        return tuple(answer.txs)

    async def _process(self, fields: dict[str, Any], *, is_good: bool) -> None:
        answer = await self._life.ask("consensus", "process_proposal", **fields)
        assert answer.status == (answer.ACCEPT if is_good else answer.REJECT)

    async def _decide(self, block: Decided) -> None:
        height = block.fields["height"]
        self._decided = max(self._decided, height)
        executed = await self._life.ask("consensus", "finalize_block", **block.fields)
        assert executed.app_hash == block.root
        assert [row.code for row in executed.tx_results] == block.codes
        powers = {row.pub_key.ed25519: row.power for row in executed.validator_updates}
        assert powers == block.updates
        assert len(executed.validator_updates) == len(powers)
        await self._meanwhile()
        # from here on it may have become lasting, whatever is heard of it
        self._may_be = {self._height, height}
        committed = await self._life.ask("consensus", "commit")
        assert committed.retain_height == 0
        self._set_height(height)
        await self._meanwhile()

    async def _kill(self) -> None:
        """Have it die between two calls, or in the middle of one."""
        block = self.past.blocks[self._height]
        what = self.dice.randrange(4)
        wire = self._life.wires["consensus"]
        if what == 0:
            return
        if what == 1:
            wire.send("process_proposal", **block.fields)
        else:
            self._decided = max(self._decided, block.fields["height"])
            wire.send("finalize_block", **block.fields)
        if what == 3:
            wire.send("commit")
            self._may_be = {self._height, block.fields["height"]}
        for _ in range(self.dice.randrange(12)):
            await asyncio.sleep(0)

    # --------------------------------------------------------------------- meanwhile

    async def _meanwhile(self) -> None:
        """What may be asked at any time; the answers speak of what lasts."""
        kind = self.dice.randrange(12)
        if kind == 0:
            self._check_info(await self._life.ask("query", "info"))
        elif kind == 1:
            await self._query()
        elif kind == 2:
            await self._check(self.past.outsider, 0)
            self._waits = True
        elif kind == 3:
            await self._check(b"nonsense", REFUSALS["unknown_kind"].number)
        elif kind == 4 and self._height > self._base:
            raws = self.past.blocks[self._height - 1].fields["txs"]
            for raw in raws:
                await self._check(raw, COMMITTED)
        elif kind == 5:
            answer = await self._life.ask("query", "echo", message="hello")
            assert answer.message == "hello"
            await self._life.ask("mempool", "flush")
        elif kind == 6:
            assert not (await self._life.ask("snapshot", "list_snapshots")).snapshots

    async def _query(self) -> None:
        answer = await self._life.ask("query", "query", path="/state", data=EPOCH.letter)
        wanted = self.past.blocks[self._height - 1].epoch if self._height else self.past.epoch
        assert (answer.height, answer.value) == (self._height, wanted)

    async def _check(self, raw: bytes, code: int) -> None:
        kind = self.dice.choice([abci.NEW, abci.RECHECK])
        answer = await self._life.ask("mempool", "check_tx", tx=raw, type=kind)
        assert answer.code == code

    # -------------------------------------------------------------------- state sync

    def _find_snapshot(self) -> Decided | None:
        found = [block for block in self.past.blocks[:-1] if block.snapshot is not None]
        return self.dice.choice(found) if found else None

    async def _sync(self) -> None:
        """Attempts that come to nothing, one that succeeds, and a look whether it did."""
        for _ in range(self.dice.choice([0, 0, 1, 2])):
            await self._attempt()
        block = self._find_snapshot()
        assert block is not None
        await self._offer(block, is_good=True)
        for index, chunk in enumerate(block.chunks):
            if self.dice.random() < 0.2:
                answer = await self._apply(index, chunk + b"x")
                assert answer.result == answer.RETRY
                assert (list(answer.refetch_chunks), list(answer.reject_senders)) == (
                    [index],
                    ["peer"],
                )
            self._base = block.fields["height"]
            self._may_be = {0, self._base}
            answer = await self._apply(index, chunk)
            assert answer.result == answer.ACCEPT
        self._set_height(self._base)
        self._check_info(await self._life.ask("query", "info"))
        self._life.letters += "n"
        await self._life.filled()

    async def _attempt(self) -> None:
        block = self._find_snapshot()
        assert block is not None
        is_good = self.dice.random() < 0.5
        await self._offer(block, is_good=is_good)
        if is_good:
            for index in range(self.dice.randrange(len(block.chunks))):
                answer = await self._apply(index, block.chunks[index])
                assert answer.result == answer.ACCEPT

    async def _offer(self, block: Decided, *, is_good: bool) -> None:
        snapshot = abci.Snapshot()
        assert block.snapshot is not None
        snapshot.CopyFrom(block.snapshot)
        wanted = abci.ResponseOfferSnapshot.ACCEPT
        if not is_good:
            wanted = abci.ResponseOfferSnapshot.REJECT_SENDER
            match self.dice.randrange(4):
                case 0:
                    snapshot.chunks += 1
                case 1:
                    snapshot.hash = bytes(32)
                case 2:
                    snapshot.height += 1
                case _:
                    snapshot.format = 2
                    wanted = abci.ResponseOfferSnapshot.REJECT_FORMAT
        answer = await self._life.ask(
            "snapshot", "offer_snapshot", snapshot=snapshot, app_hash=block.root
        )
        assert answer.result == wanted

    async def _apply(self, index: int, chunk: bytes) -> Any:
        return await self._life.ask(
            "snapshot", "apply_snapshot_chunk", index=index, chunk=chunk, sender="peer"
        )
