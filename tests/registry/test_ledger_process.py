"""The ledger process from the outside: what it answers, what it pushes, how it ends."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.errors import Fault, StoreInUse
from ledger.leveldb import LevelStore
from ledger.messages.blocks import block_hash
from ledger.messages.checkins import CheckIn
from ledger.messages.contact import Version
from ledger.messages.genesis import COMET, GenesisNode
from ledger.messages.lists import decode_header, decode_signed_header
from ledger.types import Key
from registry import ledger_process, workers
from registry import view as view_module
from registry.addresses import encode_node
from registry.engines import WrongEngine
from registry.engines.refill import Refill
from registry.home import GENESIS
from registry.ipc import Busy, Connection, Gone, Lost, Server
from registry.keystore import save_insecure_seed
from registry.ledger_process import Service
from registry.settings import Settings
from registry.view import PushedNodes, PushedView
from registry.wallet import sign_check_in
from registry.watermarks import BLOCKS, SignerRefuses, Watermarks, WatermarksInUse
from tests.factory import START_MS, Network, founding, keys, public
from tests.registry.engines.source import Source, make_chain, sources
from tests.registry.factory import (
    PRODUCER,
    Node,
    Site,
    eventually,
    in_loop,
    in_states,
    seed_of,
    short_folder,
)


class Asked:
    """A running service, a connection to it, and what it pushed."""

    def __init__(self, service: Service, connection: Connection, network: Network) -> None:
        self.service = service
        self.connection = connection
        self.network = network
        self.pushed: list[PushedNodes | PushedView] = []
        connection.subscribe(self._take)

    def _take(self, event: str, payload: Any) -> None:
        kind = {"nodes": PushedNodes, "view": PushedView}[event]
        self.pushed.append(msgspec.convert(payload, kind))

    @property
    def views(self) -> list[PushedView]:
        """The views among it."""
        return [push for push in self.pushed if isinstance(push, PushedView)]

    async def query(self, name: str, height: int | None = None, **arguments: Any) -> Any:
        return await self.connection.call("query", name, arguments, height)

    async def submit(self, *raws: bytes, wait: bool = False) -> Any:
        return await self.connection.call("submit", list(raws), wait)


def make_home(
    monkeypatch: pytest.MonkeyPatch, folder: Path, nodes: tuple[GenesisNode, ...] = ()
) -> tuple[Site, Settings]:
    site = Site(monkeypatch, folder, block_ms=100, attest_blocks=100)
    site.genesis = replace(site.genesis, nodes=nodes)
    site.clock.ms += 1
    (folder / GENESIS).write_bytes(encode(site.genesis))
    for name in ("producer", "attestor"):
        save_insecure_seed(folder / f"{name}.json", seed_of(name))
    settings = Settings(
        home=folder,
        producer=folder / "producer.json",
        attest=folder / "attestor.json",
        workers=1,
    )
    return site, settings


@asynccontextmanager
async def serving(
    monkeypatch: pytest.MonkeyPatch, nodes: tuple[GenesisNode, ...] = ()
) -> AsyncIterator[tuple[Site, Asked]]:
    """A service over a real database of its own, until its lifeline ends."""
    with short_folder() as folder, capture_logs():
        site, settings = make_home(monkeypatch, folder, nodes)
        async with started(site, settings) as asked:
            yield site, asked


@asynccontextmanager
async def started(site: Site, settings: Settings) -> AsyncIterator[Asked]:
    """The service of a home, with a worker beside it, until its lifeline ends."""
    settings.run_path.mkdir(exist_ok=True)
    worker = Server({"verify": workers._verify})
    await worker.start(settings.worker_sockets[0])
    reading, writing = os.pipe()
    service = Service(settings)
    running = asyncio.create_task(service.run(reading))
    await eventually(settings.ledger_socket.exists)
    connection = await Connection.open(settings.ledger_socket)
    yield Asked(service, connection, Network(site.genesis))
    os.close(writing)
    await running
    os.close(reading)
    await worker.close()
    await connection.close()
    assert not settings.ledger_socket.exists()
    # everything that was served is in the database that it left
    LevelStore(settings.database_path, create=False).close()


@in_loop
async def test_views_tell_of_every_block_epoch_and_final_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(monkeypatch) as (site, asked):
        answers = await asked.submit(asked.network.register("node"), wait=True)
        assert [row["state"] for row in answers] == ["committed"]
        await eventually(lambda: asked.views[-1].latest == 0)
        while not any(event.event == "epoch" for view in asked.views for event in view.events):
            site.clock.ms += 1_000
            await asyncio.sleep(0.01)
        await eventually(lambda: asked.views[-1].latest == 1)
        greeting, *pushed = asked.views
        assert greeting.events == []
        assert greeting.genesis == encode(site.genesis)
        heights = [view.height for view in asked.views]
        assert heights == list(range(heights[0], heights[-1] + 1))
        for view in pushed:
            block = await asked.connection.call("query", "block", {"height": view.height}, None)
            assert view.block_hash == block["result"]["hash"]
        events = [event for view in pushed for event in view.events]
        blocks = [event.height for event in events if event.event == "block"]
        assert blocks == heights[1:]
        others = [(e.event, e.data["epoch"]) for e in events if e.event != "block"]
        assert others == [("list_final", 0), ("epoch", 1), ("list_final", 1)]
        newest = pushed[-1]
        assert newest.network["nodes"] == in_states(active=1)
        assert (newest.network["height"], newest.epoch) == (newest.height, 2)
        assert [row.epoch for row in newest.lists] == [0, 1]
        header = decode_header(decode_signed_header(newest.lists[-1].header).header)
        assert (header.epoch, header.node_count) == (1, 1)
        # fresh by the clock of this machine, which is not that of this network
        assert newest.ready is False


@in_loop
async def test_nodes_come_before_the_view_that_they_belong_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(view_module, "MAX_PUSHED_ROWS", 2)
    names = [f"founder {number}" for number in range(4)]
    nodes = (*founding(*names), *founding("leaves", exit_ms=START_MS + 1))
    nodes = tuple(sorted(nodes, key=lambda row: row.node))
    async with serving(monkeypatch, nodes) as (site, asked):
        await eventually(lambda: asked.views)
        *greeting, view = asked.pushed[:4]
        assert isinstance(view, PushedView)
        pieces = [push for push in greeting if isinstance(push, PushedNodes)]
        assert [(push.first, len(push.rows), push.removed) for push in pieces] == [
            (True, 2, []), (False, 2, []), (False, 1, []),
        ]  # fmt: skip
        shown = [row for push in pieces for row in push.rows]
        assert {row.pubkey_ed25519 for row in shown} == {row.node.hex() for row in nodes}

        await asked.submit(asked.network.register("node"), wait=True)
        await asked.submit(asked.network.transfer("alice", "bob"), wait=True)
        await eventually(lambda: asked.views[-1].latest == 0)
        while asked.views[-1].epoch == 1:
            site.clock.ms += 1_000
            await asyncio.sleep(0.01)
        # behind the greeting, those that changed and no others, however many there are
        told = [
            (
                [(row.pubkey_ed25519, row.active, row.state_height) for row in push.rows],
                push.removed,
                asked.pushed[place + 1].height,  # type: ignore[union-attr]
            )
            for place, push in enumerate(asked.pushed)
            if isinstance(push, PushedNodes) and place > 3
        ]
        node, gone = public("node").hex(), public("leaves").hex()
        registered = asked.pushed[-1].network["nodes"]  # type: ignore[union-attr]
        assert registered == in_states(active=5, exited=1)
        [(first, no_one, funded), (second, removed, ended)] = told
        assert (first, no_one) == ([(node, False, funded)], [])
        assert (second, removed) == ([(node, True, ended)], [gone])

        # whoever comes later gets all that there is now
        late = Asked(
            asked.service,
            await Connection.open(asked.service._settings.ledger_socket),
            asked.network,
        )
        await eventually(lambda: late.views)
        rows = [row for push in late.pushed if isinstance(push, PushedNodes) for row in push.rows]
        assert len(rows) == 5
        assert gone not in {row.pubkey_ed25519 for row in rows}
        await late.connection.close()


@in_loop
async def test_a_network_without_nodes_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch) as (_, asked):
        await eventually(lambda: asked.views)
        assert asked.pushed[0] == PushedNodes(True, [], [])


@in_loop
async def test_questions_are_answered_from_one_height(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch) as (_, asked):
        raw = asked.network.transfer("alice", "bob", 7)
        [row] = await asked.submit(raw, wait=True)
        height = row["height"]
        answer = await asked.query("account", key=public("bob"))
        assert answer["height"] >= height
        before = await asked.query("account", height - 1, key=public("bob"))
        assert before["height"] == height - 1
        assert int(answer["result"]["balance"]) == int(before["result"]["balance"]) + 7
        assert (await asked.query("node", key=public("nobody")))["result"] is None
        with pytest.raises(Gone):
            await asked.query("network", 10**6)
        with capture_logs(), pytest.raises(Lost, match="query failed"):
            await asked.query("nonsense")
        found = await asked.query("transaction", hash=sha256(raw))
        assert (found["result"]["state"], found["result"]["height"]) == ("committed", height)


@in_loop
async def test_what_is_told_of_a_node_over_time_outlasts_a_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with short_folder() as folder, capture_logs():
        site, settings = make_home(monkeypatch, folder, founding("founder"))
        founder, new = public("founder"), public("node")
        async with started(site, settings) as asked:
            await asked.submit(asked.network.register("node"), wait=True)
            while asked.views[-1].epoch < 4:
                site.clock.ms += 1_000
                await asyncio.sleep(0.01)
            before = {key: await tell(asked, key) for key in (founder, new)}
        async with started(site, settings) as asked:
            assert {key: await tell(asked, key) for key in (founder, new)} == before
        feed, history, duties = before[founder]
        assert [row["joined"] for row in feed["changes"]] == [[encode_node(new)]]
        assert [row["node"] for row in feed["members"]] == list(
            map(encode_node, sorted((founder, new)))
        )
        assert [row["epoch"] for row in history["epochs"]][:3] == [1, 2, 3]
        assert duties["members"] == feed["members"]


async def tell(asked: Asked, key: Key) -> list[Any]:
    """What is told of a node's epochs up to the fourth, and of its swarm."""
    feed = (await asked.query("swarm", key=key, since=1))["result"]
    history = (await asked.query("history", key=key, epochs=48))["result"]
    duties = (await asked.query("duties", key=key))["result"]
    rows = [row for row in history["epochs"] if row["epoch"] < 4]
    return [feed | {"epoch": 4}, {"epochs": rows}, {"members": duties["members"]}]


@pytest.mark.parametrize("engine", ["solo", "follow"])
@in_loop
async def test_check_ins_are_held_by_each_service_until_it_ends(
    monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    key = public("founder")
    check_in = CheckIn(key, time.time_ns() // 1_000_000, Version(1, 2, 3), 2)
    with short_folder() as folder, capture_logs():
        site, settings = make_home(monkeypatch, folder, founding("founder"))
        # nobody answers there, and nobody has to
        changes = {"engine": engine, "follow": ("http://127.0.0.1:9",)}
        if engine == "follow":
            settings = settings.model_copy(update=changes)
        raw = sign_check_in(site.hash, keys("founder"), check_in)
        async with started(site, settings) as asked:
            forged = sign_check_in(site.hash, keys("node"), check_in)
            refused = await asked.connection.call("check_in", forged)
            assert refused["code"] == "bad_signature"
            taken = await asked.connection.call("check_in", raw)
            assert (taken["code"], taken["node"]) == (None, encode_node(key))
            status = (await asked.query("node", key=key))["result"]
            assert status["checked_in_ms"] == check_in.time_ms
            assert (status["agent_version"], status["agent_faults"]) == ([1, 2, 3], ["router port"])
        async with started(site, settings) as asked:
            status = (await asked.query("node", key=key))["result"]
            assert status["checked_in_ms"] is None


@in_loop
async def test_those_who_wait_for_blocks_do_not_keep_the_others_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger_process, "MAX_WAITS", 2)
    async with serving(monkeypatch) as (_, asked):
        monkeypatch.setattr(asked.service.replica.pool, "settled", lambda _hash: asyncio.sleep(60))
        raws = [asked.network.transfer("alice", "bob") for _ in range(4)]
        waits = [asyncio.create_task(asked.submit(raw, wait=True)) for raw in raws[:2]]
        await eventually(lambda: asked.service._waits == 2)
        with pytest.raises(Busy):
            await asked.submit(raws[2], wait=True)
        # who does not wait, and who asks, gets through
        [row] = await asked.submit(raws[2])
        assert row["state"] == "pending"
        assert (await asked.query("network"))["result"]["single_signer"]
        for task in waits:
            task.cancel()
        await asyncio.wait(waits)


@in_loop
async def test_a_database_in_use_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with short_folder() as folder:
        _, settings = make_home(monkeypatch, folder)
        held = LevelStore(settings.database_path)
        with pytest.raises(StoreInUse):
            Service(settings)
        held.close()


@in_loop
async def test_without_a_genesis_file_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with short_folder() as folder:
        _, settings = make_home(monkeypatch, folder)
        (folder / GENESIS).unlink()
        with pytest.raises(Fault, match=r"no genesis file .*: waypost init"):
            Service(settings)
        assert not settings.database_path.exists()


@in_loop
async def test_a_network_of_another_engine_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with short_folder() as folder:
        site, settings = make_home(monkeypatch, folder)
        comet = replace(site.genesis, engine=COMET, producer=b"")
        (folder / GENESIS).write_bytes(encode(comet))
        with pytest.raises(WrongEngine, match="with the engine comet, not with solo"):
            Service(settings)
        # nothing was made that stands in the way of a version that has it
        assert not settings.database_path.exists()


@in_loop
async def test_a_fault_at_the_start_lets_go_of_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with short_folder() as folder:
        _, settings = make_home(monkeypatch, folder)
        changes = {"web": False, "producer": None}
        service = Service(settings.model_copy(update=changes))
        with pytest.raises(Fault, match="--producer"):
            await service.run(-1)
        LevelStore(settings.database_path, create=False).close()


@in_loop
async def test_a_refill_asks_although_database_and_watermark_fit_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a copy of a whole home, which says nothing of what was served since."""
    with short_folder() as folder, capture_logs():
        site, settings = make_home(monkeypatch, folder)
        made = await make_chain(site, 12)
        store = LevelStore(settings.database_path)
        node = Node.at(site, store)
        with sources(Source(made.raws[:5]), Source(made.raws)) as (older, newest):
            await Refill(node.replica, [older]).fetch()
            await node.close()
            store.close()
            held = Watermarks(settings.watermark_path, site.hash)
            held.open(BLOCKS, PRODUCER.public).advance(5, block_hash(made.blocks[4].header))
            held.close()
            service = Service(settings.model_copy(update={"web": False, "refill": (newest,)}))
            with pytest.raises(SignerRefuses, match=r"ends at 12, but the watermark .* at 5"):
                await service.run(-1)


@in_loop
async def test_watermarks_that_another_process_holds_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with short_folder() as folder:
        site, settings = make_home(monkeypatch, folder)
        held = Watermarks(settings.watermark_path, site.hash)
        bare = settings.model_copy(update={"web": False})
        with pytest.raises(WatermarksInUse, match="another process holds"):
            await Service(bare).run(-1)
        held.close()
        # whoever was refused holds nothing either
        LevelStore(settings.database_path, create=False).close()
        Watermarks(settings.watermark_path, site.hash).close()
