"""`waypost warn` as a process: beside a real service, killed at the worst moment, told to stop."""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

from ledger.codec import encode
from ledger.crypto import sha256, sign
from ledger.messages.duty import Vote, vote_bytes
from ledger.messages.genesis import GenesisAttestor
from registry.addresses import encode_node
from registry.client.services import Services
from registry.client.transport import Unavailable
from registry.home import GENESIS
from registry.keystore import derive, save_insecure_seed
from tests.factory import PEOPLE, founding, make_genesis, pair_of, public
from tests.registry.factory import PRODUCER, in_loop, seed_of, short_folder
from tests.registry.test_supervisor import list_tip
from tests.registry.town import NODES_NAMES
from tests.registry.warnings.receivers import Hook, answer_with, run_hook, say_nothing
from tests.registry.warnings.town import ME, MINE, fail, run_town

ROOT: Final = Path(__file__).parents[2]
PATIENCE_S: Final = 240.0
"""How long anything may take on a busy machine."""

ADDRESS_OF: Final = {encode_node(public(name)): name for name in NODES_NAMES}


async def start(*arguments: object, **pipes: Any) -> asyncio.subprocess.Process:
    """Run a command of Waypost."""
    bare = {name: value for name, value in os.environ.items() if "WAYPOST" not in name}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "registry", *map(str, arguments)),
        env=bare | {"PYTHONPATH": str(ROOT)},
        **pipes,
    )


async def stop(process: asyncio.subprocess.Process, number: int = signal.SIGTERM) -> None:
    """End a process, and wait for that."""
    process.send_signal(number)
    await process.communicate()


async def until(holds: Any) -> None:
    """Return once something holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.05)


def write_settings(home: Path, hook: Hook, url: str, heartbeat_h: int = 0) -> Path:
    """A file with a webhook and fast rounds."""
    home.mkdir(exist_ok=True)
    (home / "warn.toml").write_text(
        f'webhook = "{hook.url}"\nnode = ["{MINE}"]\nservice = ["{url}"]\n'
        f"every_s = 1\nheartbeat_h = {heartbeat_h}\n"
    )
    return home


def bodies(hook: Hook) -> list[dict[str, Any]]:
    """What a webhook got."""
    return [json.loads(body) for body in hook.bodies]


def names(hook: Hook) -> list[str]:
    """The warnings that a webhook got."""
    return [row["warning"] for row in bodies(hook)]


# ------------------------------------------------------------------------------ a real service


class Site:
    """A network whose nodes found it, and whose service runs."""

    def __init__(self, home: Path) -> None:
        self.home = home
        key = derive(seed_of("attestor"), "list").public
        rows = [
            founding(name, operator=operator)[0]
            for name, operator in zip(NODES_NAMES, PEOPLE, strict=False)
        ]
        genesis = make_genesis(
            {
                "block_ms": 250,
                "epoch_ms": 3_000,
                "attest_blocks": 8,
                "credit_start_ms": 24_000,
                "credit_most_ms": 60_000,
                "fresh_ms": 60_000,
            },
            start_ms=time.time_ns() // 1_000_000 - 1,
            producer=PRODUCER.public,
            attestors=(GenesisAttestor(key, 1, list_tip()),),
            nodes=tuple(sorted(rows, key=lambda row: row.node)),
        )
        self.genesis = encode(genesis)
        home.mkdir()
        (home / GENESIS).write_bytes(self.genesis)
        for name in ("producer", "attestor"):
            save_insecure_seed(home / f"{name}.json", seed_of(name))

    async def start(self) -> asyncio.subprocess.Process:
        """Start the service; return its process once it answers."""
        keys = ("--producer", self.home / "producer.json", "--attest", self.home / "attestor.json")
        self.port = 20_000 + os.getpid() % 20_000
        flags = ("--home", self.home, *keys, "--workers", 1, "--port", self.port)
        log = (self.home / "log").open("wb")
        process = await start("run", *flags, stderr=log.fileno())
        log.close()
        self.services = Services([self.url])
        async with asyncio.timeout(PATIENCE_S):
            while await self.find("/v1/network") is None:
                assert process.returncode is None, (self.home / "log").read_text()
                await asyncio.sleep(0.2)
        return process

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    async def find(self, path: str) -> Any:
        """What it answers; None if it does not."""
        try:
            return await self.services.get(path)
        except Unavailable:
            return None

    async def fail(self) -> str:
        """Have every tester of the node vote that it failed in the running epoch; its state."""
        network, node = await self.find("/v1/network"), await self.find(f"/v1/nodes/{MINE}")
        if network is None or node is None:
            return ""
        vote = Vote(network["epoch"], public(ME), node["life"], 1)
        votes = [
            {
                "epoch": vote.epoch,
                "node": MINE,
                "life": vote.life,
                "faults": ["storage port"],
                "tester": tester,
                "signature": self._sign(ADDRESS_OF[tester], vote).hex(),
            }
            for tester in node["testers"]
        ]
        if votes:
            await self.services.post_to_all("/v1/verdicts", {"votes": votes})
        return str(node["state"])

    def _sign(self, tester: str, vote: Vote) -> bytes:
        pair = pair_of(public(f"{tester} duty"))
        return sign(pair, vote_bytes(sha256(self.genesis), vote))


STEPS: Final = (
    "failing", "decommission_due", "decommissioned", "half_credit_used", "last_hour",
    "deregistered",
)  # fmt: skip


def test_a_node_that_fails_is_warned_before_every_step() -> None:
    """By what its testers say and blocks hold, over a real service."""
    told, states = asyncio.run(play_a_node_that_fails())
    check_steps([row for row in told if row["warning"] in STEPS], states)


async def play_a_node_that_fails() -> tuple[list[dict[str, Any]], dict[str, int]]:
    """What was told anew of the node, and when it was seen first in each state."""
    with short_folder() as folder:
        site = Site(folder / "service")
        service = await site.start()
        async with run_hook() as hook:
            home = write_settings(folder / "warn", hook, site.url, heartbeat_h=24)
            flags = ("--home", home, "--genesis", site.home / GENESIS)
            program = await start("warn", *flags)
            states: dict[str, int] = {}
            # who has to warn is there before anything happens
            await until(lambda: "heartbeat" in names(hook))
            is_first = True
            async with asyncio.timeout(PATIENCE_S):
                while "deregistered" not in names(hook):
                    states.setdefault(await site.fail(), time.time_ns() // 1_000_000)
                    if is_first and "decommissioned" in names(hook):
                        await stop(program, signal.SIGKILL)
                        program = await start("warn", *flags)
                        is_first = False
                    await asyncio.sleep(0.2)
            # told before it was looked at once more
            states.setdefault("deregistered", time.time_ns() // 1_000_000)
            await stop(program)
            assert program.returncode == 0
        await site.services.close()
        await stop(service)
    told = [row for row in bodies(hook) if row["subject"] == MINE and row["kind"] == "new"]
    return told, states


def check_steps(told: list[dict[str, Any]], states: dict[str, int]) -> None:
    """Each step was told once, in order, and before what it warns of."""
    steps = list(dict.fromkeys(row["warning"] for row in told))
    assert steps == list(STEPS)
    # killed in between it may have sent one twice, under the same id
    assert len({row["id"] for row in told}) == len(STEPS)
    at = {row["warning"]: row["time_ms"] for row in told}
    assert at["failing"] < states["decommissioned"]
    assert at["decommission_due"] < states["decommissioned"]
    assert max(at["half_credit_used"], at["last_hour"]) < states["deregistered"]
    assert all(row["proof"] in ("proven", "waits") for row in told if row["warning"] in PROVABLE)


PROVABLE: Final = ("decommissioned", "deregistered")


# -------------------------------------------------------------------------------- the process


@in_loop
async def test_killed_between_sending_and_noting_it_sends_again_and_loses_nothing() -> None:
    with run_town() as service, short_folder() as home:
        service.network.end_epoch()
        fail(service.network)
        async with run_hook(say_nothing) as hook:
            write_settings(home, hook, service.url)
            process = await start("warn", "--home", home)
            # the message is there, and nobody says so to the one who sent it
            await until(lambda: hook.ids)
            await stop(process, signal.SIGKILL)
            first = hook.ids[0]
            hook.answer = answer_with(200)
            process = await start("warn", "--home", home)
            wanted = {"failing", "service_behind"}
            await until(lambda: wanted <= {row["warning"] for row in bodies(hook)[1:]})
            await stop(process)
            assert process.returncode == 0
    # the same message under the same id, and every one once from then on
    again = hook.ids[1:]
    assert first in again
    assert len(again) == len(set(again))


@in_loop
async def test_without_a_channel_it_prints_serves_gauges_and_stops_when_it_is_told_to() -> None:
    with run_town() as service, short_folder() as home:
        pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
        (home / "warn.toml").write_text('metrics = "127.0.0.1:0"')
        flags = ("--home", home, "--node", MINE, "--service", service.url, "-o", "json")
        process = await start("warn", *flags, **pipes)
        assert process.stdout is not None
        assert process.stderr is not None
        first = json.loads(await process.stderr.readline())
        assert first["event"] == "metrics"
        lines = [json.loads(await process.stdout.readline()) for _ in range(3)]
        assert {line["warning"] for line in lines} == {
            "heartbeat",
            "service_behind",
            "list_not_fresh",
        }
        shown = await scrape(first["port"])
        assert f'waypost_node_state{{node="{MINE}",state="active"}} 1.0' in shown
        labels = f'service="{service.url}",warning="service_behind"'
        assert f"waypost_service_warning{{{labels}}} 1.0" in shown
        process.send_signal(signal.SIGINT)
        _, said = await process.communicate()
        assert process.returncode == 0, said
        assert b"Traceback" not in said


async def scrape(port: int) -> list[str]:
    """The lines that Prometheus gets."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
    lines = (await reader.read()).decode().splitlines()
    writer.close()
    return lines


@in_loop
async def test_two_of_them_do_not_share_a_home() -> None:
    with run_town() as service, short_folder() as home:
        pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
        flags = ("--home", home, "--node", MINE, "--service", service.url)
        first = await start("warn", *flags, **pipes)
        assert first.stdout is not None
        await first.stdout.readline()
        second = await start("warn", *flags, **pipes)
        _, said = await second.communicate()
        assert second.returncode == 1
        assert b"error: home_in_use: " in said
        await stop(first)
