"""The engine over a socket: what it submits, how it passes that on, and when it stops."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import Fault
from ledger.messages.genesis import COMET
from ledger.messages.tables import NODES
from ledger.transactions.judge import get_quorum
from registry.engines import local
from registry.engines.comet import engine as engine_module
from registry.engines.comet.application import Halted
from registry.engines.comet.engine import Comet
from registry.engines.comet.server import Server
from registry.engines.comet.snapshots import Snapshots
from registry.engines.comet.translate import BUSY
from registry.ipc import Busy
from registry.verdicts import SentVote
from tests import life
from tests.factory import EPOCH_MS, Network, public
from tests.ledger.scenes import enter, town
from tests.registry.engines.comet.far import Refused, Side, comet_genesis
from tests.registry.factory import Node, eventually, in_loop, open_files, settle, short_folder


class Rpc:
    """The far side of CometBFT's JSON-RPC: notes what it is sent, answers what it is told."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.batches: list[int] = []
        self.answers: list[dict[str, Any] | bytes] = []
        """Answers for the next requests; after them every transaction is taken."""
        self.on_answer: Callable[[], object] = lambda: None
        """Called as an answer is on its way."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                calls = json.loads(await reader.readexactly(size))
                assert 0 < len(calls) <= 10
                raw = self.answer(calls)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(raw) + raw)
                self.on_answer()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, calls: list[dict[str, Any]]) -> bytes:
        """What is answered to a batch: what was told to the first, that it is taken to the rest."""
        self.batches.append(len(calls))
        rows = []
        told = self.answers.pop(0) if self.answers else None
        for call in calls:
            assert (call["jsonrpc"], call["method"]) == ("2.0", "broadcast_tx_async")
            self.sent.append(base64.b64decode(call["params"]["tx"]))
            rows.append({"jsonrpc": "2.0", "id": call["id"], "result": {"code": 0, "log": ""}})
        if isinstance(told, bytes):
            return told
        if told is not None:
            rows[0] = {"jsonrpc": "2.0", "id": calls[0]["id"]} | told
        # CometBFT answers a batch of one without a list
        return json.dumps(rows if len(rows) > 1 else rows[0]).encode()


class Running:
    """An engine that runs, with both its sockets."""

    def __init__(self, side: Side, engine: Comet, rpc: Rpc, rpc_path: Path) -> None:
        self.side = side
        self.engine = engine
        self.rpc = rpc
        self.rpc_path = rpc_path
        self.run = asyncio.ensure_future(engine.run())
        self._rpc_server: asyncio.Server | None = None

    async def start_rpc(self) -> None:
        """CometBFT answers from now on."""
        self._rpc_server = await asyncio.start_unix_server(self.rpc.serve, str(self.rpc_path))

    async def close(self) -> None:
        """End everything."""
        self.run.cancel()
        await asyncio.wait([self.run])
        await self.engine.close()
        if self._rpc_server is not None:
            self._rpc_server.close()


@asynccontextmanager
async def running(
    network: Network | None = None,
    snapshots: Snapshots | None = None,
    *,
    has_rpc: bool = True,
    halt_height: int = 0,
) -> AsyncIterator[Running]:
    network = network or Network(comet_genesis())
    network.attesting = False
    node = Node(network)
    with short_folder() as folder:
        server = Server()
        await server.start(folder / "abci.sock")
        rpc_path = folder / "rpc.sock"
        engine = Comet(node.replica, server, rpc_path, snapshots, halt_height=halt_height)
        side = Side(node, server, engine._application, folder / "abci.sock")
        far = Running(side, engine, Rpc(), rpc_path)
        if has_rpc:
            await far.start_rpc()
        await side.connect()
        try:
            yield far
        finally:
            side.hang_up()
            await far.close()
            await node.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause before something is sent again."""
    monkeypatch.setattr(engine_module, "RETRY_S", 0)


# -------------------------------------------------------------------------------- submissions


@in_loop
async def test_what_is_submitted_is_in_the_pool_at_once_and_is_passed_on() -> None:
    async with running() as far:
        network = far.side.node.network
        raws = [network.transfer("alice", "bob") for _ in range(3)]
        answers = await far.engine.submit([*raws, b"nonsense"], False)
        assert [row["state"] for row in answers] == ["pending"] * 3 + ["refused"]
        assert answers[3]["code"] == "unknown_kind"
        assert far.side.node.pool.candidates()[0].raw == raws[0]
        await eventually(lambda: len(far.rpc.sent) == 3)
        assert far.rpc.sent == raws
        # what CometBFT then asks is known
        assert await far.side.check(*raws) == [0, 0, 0]
        assert await far.side.prepare() == tuple(raws)


@in_loop
async def test_who_waits_hears_of_the_block_or_of_the_end() -> None:
    async with running() as far:
        network = far.side.node.network
        good, loses = network.transfer("alice", "bob"), network.transfer("carol", "bob")
        other = network.transfer("carol", "dave", nonce=0)
        waiting = asyncio.ensure_future(far.engine.submit([good, loses], True))
        await eventually(lambda: len(far.side.node.pool) == 2)
        await far.side.decide(good, other)
        answers = await waiting
        assert [row["state"] for row in answers] == ["committed", "dropped"]
        assert (answers[0]["height"], answers[0]["index"]) == (1, 0)
        assert answers[1]["code"] == "nonce_used"


@in_loop
async def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "WAIT_S", 0.01)
    assert local.WAIT_S > 1
    async with running() as far:
        answers = await far.engine.submit([far.side.node.network.transfer("alice", "bob")], True)
        assert [row["state"] for row in answers] == ["pending"]


@in_loop
async def test_more_than_cometbft_takes_is_refused(
    monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    monkeypatch.setattr(engine_module, "MAX_UNSENT", 5)
    async with running(has_rpc=False) as far:
        network = far.side.node.network
        raws = [network.transfer("alice", "bob") for _ in range(12)]
        with pytest.raises(Busy):
            await far.engine.submit(raws[:6], False)
        assert len(far.side.node.pool) == 0
        await far.engine.submit(raws[:5], False)
        await settle()
        with pytest.raises(Busy, match="CometBFT has not taken what came before"):
            await far.engine.submit(raws[5:6], False)
        assert len(far.side.node.pool) == 5
        await far.start_rpc()
        await eventually(lambda: len(far.rpc.sent) == 5)
        assert far.rpc.sent == raws[:5]
        await settle()
        await far.engine.submit(raws[5:6], False)


@in_loop
async def test_many_go_in_batches_and_in_their_order(quick: None) -> None:
    async with running(has_rpc=False) as far:
        network = far.side.node.network
        raws = [network.transfer("alice", "bob") for _ in range(25)]
        await far.engine.submit(raws, False)
        await settle()
        # the first of them is not taken, and comes again before what is behind it
        far.rpc.answers = [{"result": None, "error": {"code": 1, "data": "mempool is full"}}]
        await far.start_rpc()
        await eventually(lambda: len(far.rpc.sent) == 26)
        assert far.rpc.sent == [*raws[:10], raws[0], *raws[10:]]
        assert far.rpc.batches == [10, 10, 6]


@in_loop
async def test_it_may_end_as_an_answer_comes() -> None:
    async with running() as far:
        far.rpc.on_answer = far.run.cancel
        await far.engine.submit([far.side.node.network.transfer("alice", "bob")], False)
        await eventually(far.run.done)


FULL = {"result": None, "error": {"code": -32603, "message": "x", "data": "mempool is full"}}
KNOWN = {"result": None, "error": {"code": -32603, "data": "tx already exists in cache"}}

AGAIN: dict[str, Any] = {
    "its pool is full": FULL,
    "nonsense": b"nonsense",
    "text that is none": b'"\xff"',
    "nothing": b"",
    "another document": b"[1]",
    "an empty list": b"[]",
    "another number": b'{"id": 7, "result": {}}',
    "a number below": b'{"id": -1, "result": {}}',
    "neither": b'{"id": 0}',
}
DONE: dict[str, Any] = {
    "taken": {"result": {"code": 0}},
    "in a list": b'[{"id": 0, "result": {"code": 0}}]',
    "known": KNOWN,
    "not wanted": {"result": None, "error": {"code": -32603, "data": "Tx too large. Max size is"}},
}


@pytest.mark.parametrize("answer", AGAIN.values(), ids=AGAIN)
@in_loop
async def test_what_is_sent_again(quick: None, answer: Any) -> None:
    async with running() as far:
        far.rpc.answers = [answer, answer]
        raw = far.side.node.network.transfer("alice", "bob")
        await far.engine.submit([raw], False)
        await eventually(lambda: len(far.rpc.sent) == 3)
        await settle()
        assert far.rpc.sent == [raw] * 3


@pytest.mark.parametrize("answer", DONE.values(), ids=DONE)
@in_loop
async def test_what_is_sent_once(quick: None, answer: Any) -> None:
    async with running() as far:
        far.rpc.answers = [answer]
        network = far.side.node.network
        raw = network.transfer("alice", "bob")
        await far.engine.submit([raw], False)
        await eventually(lambda: len(far.rpc.sent) == 1)
        other = network.transfer("carol", "bob")
        await far.engine.submit([other], False)
        await eventually(lambda: len(far.rpc.sent) == 2)
        await settle()
        assert far.rpc.sent == [raw, other]


@in_loop
async def test_what_waits_for_long_is_let_go_of_and_sent_anew(quick: None) -> None:
    """Whoever it was passed on to may have lost it since."""
    async with running() as far:
        side, network = far.side, far.side.node.network
        raws = [network.transfer("alice", "bob") for _ in range(3)]
        await far.engine.submit(raws, False)
        await eventually(lambda: far.rpc.sent == raws)
        for height in range(1, 9):
            # nobody proposes them; at the second multiple of four they have waited for four blocks
            assert await side.check(*raws, again=True) == [0, 0, 0]
            assert (await side.decide()).app_hash
            assert side.node.chain.tip.height == height
            assert far.rpc.sent == raws
        assert await side.check(*raws, again=True) == [BUSY] * 3
        # who asks for the first time is not turned away
        assert await side.check(*raws) == [0, 0, 0]
        await side.decide(raws[0])
        await eventually(lambda: far.rpc.sent == [*raws, *raws[1:]])
        assert await side.check(*raws[1:], again=True) == [0, 0]
        await settle()
        assert far.rpc.sent == [*raws, *raws[1:]]


@in_loop
async def test_what_is_sent_anew_keeps_its_place(quick: None) -> None:
    """What comes first of a sender goes first, also before what was never sent."""
    async with running() as far:
        side, network = far.side, far.side.node.network
        old = [network.transfer("alice", "bob") for _ in range(2)]
        await far.engine.submit(old, False)
        await eventually(lambda: far.rpc.sent == old)
        for _ in range(8):
            await side.decide()
        far.rpc.answers = [b"no answer"] * 1_000_000
        new = [network.transfer("alice", "bob") for _ in range(2)]
        await far.engine.submit(new, False)
        await eventually(lambda: far.rpc.sent[-2:] == new)
        await side.decide()
        # what was under way at that block may still be answered as it was sent
        await eventually(lambda: far.rpc.sent[-4:] == [*old, *new])
        far.rpc.answers.clear()
        await eventually(lambda: not far.engine._gossip)
        await settle()
        assert far.rpc.sent[-4:] == [*old, *new]


@in_loop
async def test_what_left_the_pool_is_not_sent(quick: None) -> None:
    async with running(has_rpc=False) as far:
        network = far.side.node.network
        raw = network.transfer("alice", "bob")
        await far.engine.submit([raw], False)
        await settle()
        await far.side.decide(raw)
        await far.start_rpc()
        other = network.transfer("carol", "bob")
        await far.engine.submit([other], False)
        await eventually(lambda: far.rpc.sent)
        await settle()
        assert far.rpc.sent == [other]


# ---------------------------------------------------------------------------------- verdicts


@in_loop
async def test_a_verdict_that_is_made_here_is_passed_on() -> None:
    base = town().genesis.nodes
    network = town({"engine": COMET, "producer": b"", "nodes": base})
    enter(network)
    async with running(network) as far:
        votes = ballots_of(network)
        answers = await far.engine.vote(votes)
        assert {row["state"] for row in answers} == {"held"}
        # the last vote of the quorum makes it, or the end of the epoch
        await far.side.decide(ms=EPOCH_MS)
        (verdict,) = far.side.node.pool.candidates()
        assert verdict.kind.name == "judge"
        await eventually(lambda: far.rpc.sent)
        assert far.rpc.sent == [verdict.raw]
        assert await far.side.prepare() == (verdict.raw,)


def ballots_of(network: Network) -> list[SentVote]:
    """Votes of as many testers as a verdict needs, all of which found the same fault."""
    epoch, key = life.running(network), public("node")
    number = network.state.one(NODES, key).life
    quorum = get_quorum(network.state, epoch, key)
    rows = life.ballots(network, key, [life.FAULTY] * network.params.quorum_threshold)
    return [
        SentVote(epoch, key, number, row.faults, quorum[row.place], row.signature) for row in rows
    ]


# -------------------------------------------------------------------------------------- ends


LOST: dict[str, Callable[[Side], Any]] = {
    "consensus": lambda side: side.consensus.close(),
    "all": lambda side: side.hang_up(),
}


@pytest.mark.parametrize("lose", LOST.values(), ids=LOST)
@in_loop
async def test_it_ends_when_cometbft_is_gone(lose: Callable[[Side], Any]) -> None:
    async with running() as far:
        await far.side.query.ask("info")
        await far.side.decide()
        await far.side.query.ask("flush")
        lose(far.side)
        with pytest.raises(Fault, match="CometBFT closed its connection"):
            await far.run


@in_loop
async def test_it_ends_when_cometbft_is_gone_before_the_first_block() -> None:
    async with running() as far:
        await far.side.query.ask("info")
        far.side.hang_up()
        with pytest.raises(Fault, match="CometBFT closed its connection"):
            await far.run


@in_loop
async def test_it_goes_on_without_a_connection_that_others_replace() -> None:
    async with running() as far:
        await far.side.query.ask("info")
        await far.side.decide()
        for wire in (far.side.query, far.side.snapshot, far.side.mempool):
            wire.close()
        await eventually(lambda: len(far.side.server.connections) == 1)
        await far.side.decide()
        assert not far.run.done()
        assert far.side.node.chain.tip.height == 2


@in_loop
async def test_who_looks_in_before_cometbft_comes_ends_nothing() -> None:
    async with running() as far:
        await far.side.query.ask("echo", message="hello")
        far.side.hang_up()
        await eventually(lambda: not far.side.server.connections)
        await far.side.connect()
        await far.side.decide()
        assert not far.run.done()


@in_loop
async def test_it_ends_with_what_a_call_raises() -> None:
    async with running() as far:
        with pytest.raises(Refused):
            await far.side.finalize(height=9)
        with pytest.raises(Fault, match="block 9 diverges"):
            await far.run


@in_loop
async def test_it_ends_at_a_height() -> None:
    async with running(halt_height=1) as far:
        await far.side.decide()
        with pytest.raises(Refused, match="height 1 is committed"):
            await far.side.process()
        with pytest.raises(Halted):
            await far.run
        with pytest.raises(Halted):
            Comet(far.side.node.replica, Server(), far.rpc_path, halt_height=1)


@in_loop
async def test_it_ends_when_passing_on_fails_by_a_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    async with running() as far:
        monkeypatch.setattr(far.side.node.pool, "get", fail)
        await far.engine.submit([far.side.node.network.transfer("alice", "bob")], False)
        with pytest.raises(ZeroDivisionError):
            await far.run


@in_loop
async def test_it_makes_snapshots(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, 1)
    async with running(snapshots=snapshots) as far:
        await far.side.decide(ms=EPOCH_MS)
        await snapshots.close()
        assert [path.name for path in tmp_path.iterdir()] == ["1"]
        # it is too young yet
        assert not (await far.side.snapshot.ask("list_snapshots")).snapshots


@in_loop
async def test_it_lets_go_of_everything() -> None:
    before = open_files()
    async with running() as far:
        raw = far.side.node.network.transfer("alice", "bob")
        await far.engine.submit([raw], False)
        await eventually(lambda: far.rpc.sent)
        path = far.side.path
        assert path.exists()
    await settle()
    assert not path.exists()
    assert open_files() == before
