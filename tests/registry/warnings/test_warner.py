"""The whole program without its process: against a real chain, and over restarts."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import Fault, Refusal
from ledger.messages.state import ACTIVE, DECOMMISSIONED, DEREGISTERED
from registry.warnings import proofs, warner
from registry.warnings.channels import Channel
from registry.warnings.memory import HomeInUse, hold
from registry.warnings.messages import Message
from registry.warnings.settings import WarnSettings
from registry.warnings.warner import Warner, send_test, warn_once
from tests.factory import Network, public
from tests.flip import flip
from tests.registry.cli.fake_service import FakeService
from tests.registry.factory import eventually, in_loop
from tests.registry.small_service import Answer, Asked
from tests.registry.warnings.factory import make_settings
from tests.registry.warnings.test_outbox import Line, kept_at
from tests.registry.warnings.town import ME, MINE, be_busy, fail, run_limited, run_town


class Program:
    """A program whose clock is the chain's."""

    def __init__(self, service: FakeService, home: Path, /, **settings: Any) -> None:
        self.network: Network = service.network
        fields = {"home": home, "node": (MINE,), "service": (service.url,)}
        self.settings: WarnSettings = make_settings(**(fields | settings))
        self.line = Line("stdout")
        self._start()

    def _start(self) -> None:
        clock = lambda: self.network.chain.tip.time_ms  # noqa: E731
        self._warner = Warner(self.settings, [self.line], clock)

    async def look(self) -> list[Message]:
        """Play a round and send what is new; return that."""
        before = len(self.line.sent)
        await self._warner.run_round()
        await self._warner.outbox.send_once()
        return self.line.sent[before:]

    async def names(self) -> list[str]:
        """The names of what a round tells."""
        return [f"{m.kind} {m.warning}" for m in await self.look()]

    async def restart(self) -> None:
        """End and start again with what the home holds."""
        await self._warner.close()
        self._start()

    async def run(self) -> None:
        """Go on for ever."""
        await self._warner.run()

    async def close(self) -> None:
        """End it."""
        await self._warner.close()


@in_loop
async def test_a_node_that_fails_is_warned_before_every_step() -> None:
    """In real blocks, from the first failing verdict to the loss of its place."""
    with run_town() as service, kept_at() as path:
        network = service.network
        program = Program(service, path.parent)
        network.end_epoch()
        assert await program.names() == ["new heartbeat"]

        fail(network)
        assert await program.names() == ["new failing"]
        assert network.node(ME).state == ACTIVE
        network.end_epoch()
        await program.restart()
        assert await program.names() == []

        fail(network)
        assert await program.names() == ["new decommission_due"]
        assert network.node(ME).state == ACTIVE
        network.end_epoch()
        assert await program.names() == []
        network.end_epoch()
        assert network.node(ME).state == DECOMMISSIONED
        assert "new decommissioned" in await program.names()

        told: list[str] = []
        while network.node(ME).state != DEREGISTERED:
            if network.node(ME).tested_from <= network.header.epoch + 1:
                fail(network)
            told += await program.names()
            await program.restart()
            before = set(told)
            network.end_epoch()
        # both were said before it lost its place, and each once
        assert {"new half_credit_used", "new last_hour"} <= before
        assert len(told) == len(set(told))
        assert await program.names() == ["new deregistered"]
        assert await program.names() == []
        await program.close()


@in_loop
async def test_one_that_comes_back_is_said_to_be_back() -> None:
    with run_town() as service, kept_at() as path:
        network = service.network
        program = Program(service, path.parent)
        network.end_epoch()
        for _ in range(2):
            fail(network)
            network.end_epoch()
        network.end_epoch()
        assert {"new decommissioned", "new heartbeat"} <= set(await program.names())
        while network.node(ME).state == DECOMMISSIONED:
            network.end_epoch()
        messages = await program.look()
        assert ("over", "decommissioned") in {(m.kind, m.warning) for m in messages}
        (back,) = [m for m in messages if m.warning == "decommissioned"]
        assert "on duty again" in back.reason
        await program.close()


# ------------------------------------------------------------------------------------ proofs


def finish(network: Network) -> None:
    """Have the newest list become final."""
    network.settle()


def go_down(network: Network) -> None:
    """Have the node lose its place on duty, and the list that proves it become final."""
    for _ in range(2):
        fail(network)
        network.end_epoch()
    network.end_epoch()
    finish(network)


@in_loop
async def test_with_a_genesis_file_states_are_proven() -> None:
    with run_town() as service, kept_at() as path:
        network = service.network
        genesis = path.parent / "genesis.bin"
        genesis.write_bytes(network.raw)
        network.end_epoch()
        finish(network)
        program = Program(service, path.parent, genesis=genesis)
        assert await program.names() == ["new heartbeat"]
        go_down(network)
        found = {m.warning: m.proof for m in await program.look()}
        assert found["decommissioned"] == "proven"
        await program.close()


@in_loop
async def test_a_service_that_hides_a_decommission_is_found_out() -> None:
    with run_town() as service, kept_at() as path:
        network = service.network
        genesis = path.parent / "genesis.bin"
        genesis.write_bytes(network.raw)
        network.end_epoch()
        _, honest = service.answer("GET", f"/v1/nodes/{MINE}", b"")
        go_down(network)
        service.answers[f"/v1/nodes/{MINE}"] = (200, honest)
        program = Program(service, path.parent, genesis=genesis)
        (message,) = [m for m in await program.look() if m.warning == "contradicted"]
        assert "says that it is active" in message.reason
        assert "proves that it is decommissioned" in message.reason
        await program.close()


@in_loop
async def test_a_service_that_was_asked_too_much_is_asked_again_for_proofs() -> None:
    with pytest.MonkeyPatch.context() as patch, run_town() as town, kept_at() as path:
        patch.setattr(proofs, "PAUSE_S", 0)
        genesis = path.parent / "genesis.bin"
        genesis.write_bytes(town.network.raw)
        go_down(town.network)
        where = f"GET /v1/proofs/nodes/{public(ME).hex()}"
        with run_limited(town, rate=50, burst=400) as service:

            def refuse_once(asked: Asked) -> Answer:
                del service.answers[where]
                return be_busy(1)

            service.answers[where] = refuse_once
            program = Program(town, path.parent, genesis=genesis, service=(service.url,))
            found = {m.warning: m.proof for m in await program.look()}
        assert where not in service.answers
        assert found["decommissioned"] == "proven"
        await program.close()


@pytest.mark.parametrize("claims", ["what it serves", "the newest list of all"])
@in_loop
async def test_a_service_that_keeps_the_newest_list_back_hides_nothing(claims: str) -> None:
    """It is named first, and what it serves is fresh; its own state of the node is an old one."""
    with run_town() as liar, run_town() as honest, kept_at() as path:
        genesis = path.parent / "genesis.bin"
        genesis.write_bytes(honest.network.raw)
        for town in (liar, honest):
            town.network.end_epoch()
            finish(town.network)
        services = (liar.url, honest.url)
        program = Program(honest, path.parent, genesis=genesis, service=services)
        assert await program.names() == ["new heartbeat"]

        for path_kept in ("/v1/lists/latest", f"/v1/nodes/{MINE}"):
            liar.answers[path_kept] = liar.answer("GET", path_kept, b"")
        kept = json.loads(liar.answer("GET", "/v1/network", b"")[1])["latest_final"]
        for town in (liar, honest):
            go_down(town.network)
        shown = json.loads(honest.answer("GET", "/v1/network", b"")[1])
        shown["latest_final"] = kept if claims == "what it serves" else kept | {"epoch": 10**6}
        liar.answers["/v1/network"] = (200, json.dumps(shown).encode())
        (message,) = [m for m in await program.look() if m.warning == "contradicted"]
        assert "proves that it is decommissioned" in message.reason
        await program.close()


FORGERIES: dict[str, Any] = {
    "no proof": b"{}",
    "another proof": json.dumps({"proof": "9301"}).encode(),
    "no hex": json.dumps({"proof": "xy\r\n"}).encode(),
}


@pytest.mark.parametrize("name", FORGERIES)
@in_loop
async def test_a_forged_proof_proves_nothing(name: str) -> None:
    with run_town() as service, kept_at() as path:
        network = service.network
        genesis = path.parent / "genesis.bin"
        genesis.write_bytes(network.raw)
        go_down(network)
        service.answers[f"/v1/proofs/nodes/{public(ME).hex()}"] = (200, FORGERIES[name])
        program = Program(service, path.parent, genesis=genesis)
        found = {m.warning: m.proof for m in await program.look()}
        assert found["decommissioned"] == "waits"
        assert "contradicted" not in found
        await program.close()


@in_loop
async def test_lists_that_do_not_hold_are_told() -> None:
    with run_town() as service, kept_at() as path:
        network = service.network
        genesis = path.parent / "genesis.bin"
        genesis.write_bytes(network.raw)
        network.end_epoch()
        finish(network)
        raw = service.answer("GET", "/v1/lists/latest", b"")[1]
        service.answers["/v1/lists/latest"] = (200, flip(raw))
        program = Program(service, path.parent, genesis=genesis)
        assert "new lists_refused" in await program.names()
        del service.answers["/v1/lists/latest"]
        assert await program.names() == ["over lists_refused"]
        await program.close()


@in_loop
async def test_another_network_is_found_out_by_the_genesis_file() -> None:
    with run_town() as service, run_town(reward_rate=7) as other, kept_at() as path:
        genesis = path.parent / "genesis.bin"
        genesis.write_bytes(other.network.raw)
        program = Program(service, path.parent, genesis=genesis)
        names = await program.names()
        assert "new other_network" in names
        assert not [m for m in program.line.sent if m.subject == MINE]
        await program.close()


@in_loop
async def test_without_its_genesis_file_it_does_not_start() -> None:
    with run_town() as service, kept_at() as path:
        with pytest.raises(Fault, match=r"nothing\.bin"):
            Program(service, path.parent, genesis=path.parent / "nothing.bin")
        (path.parent / "bad.bin").write_bytes(b"no genesis")
        with pytest.raises(Refusal):
            Program(service, path.parent, genesis=path.parent / "bad.bin")


@in_loop
async def test_a_round_that_fails_ends_neither_the_next_nor_what_waits() -> None:
    with run_town() as service, kept_at() as path, pytest.MonkeyPatch.context() as patch:
        fail(service.network)
        program = Program(service, path.parent, every_s=1)
        rounds = 0

        async def stumble(*_: object) -> None:
            nonlocal rounds
            rounds += 1
            if rounds == 1:
                raise ZeroDivisionError
            patch.undo()

        patch.setattr(warner, "ask_all", stumble)
        task = asyncio.ensure_future(program.run())
        await eventually(lambda: "failing" in {m.warning for m in program.line.sent})
        assert rounds == 2
        task.cancel()
        await asyncio.wait([task])
        await program.close()


# -------------------------------------------------------------------------------- once, a test


@in_loop
async def test_a_look_is_one_round_and_one_attempt() -> None:
    with run_town() as service, kept_at() as path:
        fail(service.network)
        fields = {"home": path.parent, "service": (service.url,), "node": (MINE,)}
        settings = make_settings(**fields)
        line = Line("stdout")
        channels: list[Channel] = [line]
        once = await warn_once(settings, channels)
        assert {"heartbeat", "failing"} <= {m.warning for m in line.sent}
        assert "failing" in {due.row.name for due in once.outcome.active}
        assert once.channels["stdout"] == (0, 0, "")
        line.sent.clear()
        await warn_once(settings, channels)
        assert line.sent == []
        with hold(path.parent), pytest.raises(HomeInUse):
            await warn_once(settings, channels)


@in_loop
async def test_a_test_message_goes_through_each_channel_and_is_not_kept() -> None:
    good, bad = Line("good"), Line("bad")
    bad.is_broken = True
    assert await send_test([good, bad], 7) == {"good": "", "bad": "the line is dead"}
    (message,) = good.sent
    assert (message.kind, message.warning) == ("test", "test")
