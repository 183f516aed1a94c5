"""Kill -9 of each process of a real service, under load, again and again.

Whatever was acknowledged as committed must be there afterwards, at the height that was told, and
the journal must replay to the very state that is held. Run by hand with the number of kills:

    python -m tests.faults.kill 100
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import httpx2

from ledger.chain import Chain
from ledger.crypto import sha256
from ledger.invariants import find_violations
from ledger.leveldb import LevelStore
from ledger.replay import execute_block
from ledger.store import MemoryStore
from ledger.types import COIN
from registry.founding import make_genesis, make_seat
from registry.home import GENESIS
from registry.keystore import derive, named_seed, save_insecure_seed
from registry.wallet import Terms, Wallet
from tests.processes import find_children

SENDERS: Final = 8
TARGETS: Final = ("ledger", "web", "worker", "supervisor")
READY_S: Final = 120.0
LOAD_S: Final = (0.3, 2.0)
"""Shortest and longest time under load before a kill."""


class Acknowledged(dict[str, int]):
    """Hash to height of every transaction that was acknowledged as committed."""


class Home:
    """The home of a solo network whose accounts the test knows."""

    def __init__(self, folder: Path, seed: bytes) -> None:
        self.folder = folder
        self.seed = seed
        self.senders = [derive(named_seed(seed, f"sender {n}"), "account") for n in range(SENDERS)]
        attestor = named_seed(seed, "attestor")
        self.genesis = make_genesis(
            "killed",
            "minimal",
            {"block_ms": 200, "epoch_ms": 2_000, "attest_blocks": 5},
            derive(seed, "producer").public,
            [make_seat(attestor)],
            [(pair.public, 1_000 * COIN) for pair in self.senders],
            pool=0,
        )
        folder.mkdir(parents=True)
        (folder / GENESIS).write_bytes(self.genesis)
        save_insecure_seed(folder / "producer.json", seed)
        save_insecure_seed(folder / "attestor.json", attestor)

    @property
    def keys(self) -> tuple[str, ...]:
        """What its service is told of its keys."""
        producer, attestor = self.folder / "producer.json", self.folder / "attestor.json"
        return ("--producer", str(producer), "--attest", str(attestor))


def start_service(folder: Path, *flags: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start the service of a home on a free port; its log goes to a file."""
    command = [sys.executable, "-m", "registry", "run", "--home", str(folder)]
    command += ["--port", "0", "--workers", "2"]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [*command, *flags], stderr=log, stdout=log, env=os.environ | environment
        )


def children(pid: int) -> dict[str, int]:
    """Return the running children of a supervisor by what they are."""
    return {
        name: child
        for child, words in find_children(pid).items()
        for name in ("ledger", "web", "worker")
        if any(f"registry.{name}" in word for word in words)
    }


def find_url(pid: int) -> str | None:
    """Return where the web process of a supervisor listens, once it does."""
    web = children(pid).get("web")
    if web is None:
        return None
    inodes = {
        os.readlink(link)
        for link in Path(f"/proc/{web}/fd").iterdir()
        if link.is_symlink() and os.path.lexists(link)
    }
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
            return f"http://127.0.0.1:{int(fields[1].split(':')[1], 16)}"
    return None


async def wait_ready(process: subprocess.Popen[bytes]) -> str:
    """Return the service's URL once it answers."""
    deadline = time.monotonic() + READY_S
    async with httpx2.AsyncClient(trust_env=False) as client:
        while time.monotonic() < deadline:
            assert process.poll() is None, f"the service ended with {process.returncode}"
            try:
                url = find_url(process.pid)
                if url and (await client.get(f"{url}/v1/network")).status_code == 200:
                    return url
            except (OSError, httpx2.HTTPError):
                pass
            await asyncio.sleep(0.05)
    raise AssertionError("the service does not get ready")


async def load(home: Home, url: str, acknowledged: Acknowledged) -> None:
    """Send transfers, each sender one after the other, until the service is gone."""
    async with httpx2.AsyncClient(base_url=url, timeout=10, trust_env=False) as client:
        await asyncio.gather(
            *(_send(home, client, number, acknowledged) for number in range(SENDERS))
        )


async def _send(
    home: Home, client: httpx2.AsyncClient, number: int, acknowledged: Acknowledged
) -> None:
    from registry.addresses import encode_account

    pair = home.senders[number]
    wallet = Wallet(sha256(home.genesis), pair)
    other = home.senders[(number + 1) % SENDERS].public
    try:
        while True:
            account = await _get(client, f"/v1/accounts/{encode_account(pair.public)}")
            network = await _get(client, "/v1/network")
            raw = wallet.transfer(
                Terms(account["nonce"], 1_000, network["height"] + 500), other, 1 + number
            )
            response = await client.post(
                "/v1/transactions", params={"wait": "commit"}, json={"transaction": raw.hex()}
            )
            if response.status_code == 200:
                row = response.json()["results"][0]
                if row["state"] == "committed":
                    acknowledged[row["hash"]] = row["height"]
    except (httpx2.HTTPError, KeyError, ValueError):
        return


async def _get(client: httpx2.AsyncClient, path: str) -> Any:
    response = await client.get(path)
    response.raise_for_status()
    return response.json()


async def run(kills: int, seed: int, folder: Path) -> dict[str, int]:
    """Kill `kills` times and check everything; return how often which process was killed."""
    chance = random.Random(seed)
    home = Home(folder / "home", sha256(seed.to_bytes(8, "big")))
    acknowledged = Acknowledged()
    counts = dict.fromkeys(TARGETS, 0)
    for number in range(kills + 1):
        process = start_service(home.folder, *home.keys)
        try:
            try:
                url = await wait_ready(process)
            except AssertionError:
                print((home.folder / "log").read_text()[-4_000:], file=sys.stderr)
                raise
            await _check_all(url, acknowledged)
            loading = asyncio.create_task(load(home, url, acknowledged))
            await asyncio.sleep(chance.uniform(*LOAD_S))
            if number == kills:
                process.send_signal(signal.SIGTERM)
            else:
                target = TARGETS[number % len(TARGETS)]
                counts[target] += 1
                pids = children(process.pid) | {"supervisor": process.pid}
                os.kill(pids[target], signal.SIGKILL)
            left = list(children(process.pid).values())
            await loading
            await asyncio.to_thread(process.wait, 30)
            await wait_gone(left)
        finally:
            process.kill()
            process.wait()
    check_replay(home, acknowledged)
    return counts | {"acknowledged": len(acknowledged)}


async def wait_gone(pids: list[int]) -> None:
    """Children that outlive their supervisor must end by themselves."""
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, f"left behind: {pids}"
        await asyncio.sleep(0.05)


async def _check_all(url: str, acknowledged: Acknowledged) -> None:
    """Ask for a sample of what was acknowledged, the newest ones always among it."""
    newest = sorted(acknowledged, key=lambda tx_hash: acknowledged[tx_hash])[-50:]
    async with httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
        for tx_hash in newest:
            row = await _get(client, f"/v1/transactions/{tx_hash}")
            assert (row["state"], row["height"]) == ("committed", acknowledged[tx_hash]), tx_hash


def check_replay(home: Home, acknowledged: Acknowledged) -> int:
    """Check that every acknowledged transaction is in the journal, which gives the state held.

    Returns the height.
    """
    store = LevelStore(home.folder / "ledger", create=False)
    chain = Chain(store, home.genesis)
    replayed = Chain(MemoryStore(), home.genesis)
    replayed.init()
    found = {}
    for height in range(1, chain.tip.height + 1):
        block = chain.view().block(height)
        assert block is not None, f"block {height} is lost"
        execute_block(replayed, block)
        found.update({sha256(raw).hex(): height for raw in block.transactions})
    assert replayed.tip == chain.tip
    assert not find_violations(chain.view().state)
    lost = {tx_hash for tx_hash, height in acknowledged.items() if found.get(tx_hash) != height}
    assert not lost, f"{len(lost)} acknowledged transactions are lost"
    store.close()
    return replayed.tip.height


def main() -> None:
    """Run by hand: number of kills, and optionally a seed."""
    kills = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as folder:
        print(f"seed {seed}: {asyncio.run(run(kills, seed, Path(folder)))}")


if __name__ == "__main__":
    main()
