"""Real services for the tests of faults: started, filled with transactions, ended, asked.

running        a service of a home, which is ended as its operator does
fill           many transactions of one sender in one request, all of them committed
check_there    what was acknowledged is told as it was
"""

import asyncio
import contextlib
import json
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx2

from ledger.crypto import sha256
from registry.addresses import encode_account
from registry.wallet import Terms, Wallet
from tests.faults.kill import (
    SENDERS,
    Acknowledged,
    Home,
    children,
    start_service,
    wait_gone,
    wait_ready,
)

PATIENCE_S: Final = 60.0


class Running(NamedTuple):
    """A service that runs."""

    process: subprocess.Popen[bytes]
    url: str

    def pid_of(self, name: str) -> int:
        """The process `ledger`, `web` or `worker`."""
        return children(self.process.pid)[name]

    async def wait_end(self) -> int:
        """Wait until it ends by itself; return its exit code."""
        left = list(children(self.process.pid).values())
        code = await asyncio.to_thread(self.process.wait, PATIENCE_S)
        await wait_gone(left)
        return code


@asynccontextmanager
async def running(folder: Path, *flags: str, **environment: str) -> AsyncIterator[Running]:
    """Run the service of a home for as long as this lasts, and stop it if it still runs."""
    process = start_service(folder, *flags, **environment)
    try:
        yield Running(process, await wait_ready(process))
        if process.poll() is None:
            left = list(children(process.pid).values())
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, PATIENCE_S) == 0
            await wait_gone(left)
    finally:
        process.kill()
        process.wait()


def stopped_for(folder: Path) -> list[str]:
    """Return why the ledger process of a home stopped by itself, each time."""
    log = (folder / "log").read_text(encoding="utf-8", errors="replace")
    lines = (json.loads(line) for line in log.splitlines() if line.startswith("{"))
    return [line["reason"] for line in lines if line["event"] == "stopped" and "reason" in line]


def connect(url: str, **options: Any) -> httpx2.AsyncClient:
    """Return a client of a service."""
    return httpx2.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False, **options)


async def height_of(url: str) -> int:
    """Return the height of a service's newest block."""
    async with connect(url) as client:
        return int((await client.get("/v1/network")).json()["height"])


async def fill(
    home: Home, url: str, count: int, acknowledged: Acknowledged, sender: int = 0
) -> None:
    """Have `count` transfers of one sender committed, and note them as acknowledged."""
    pair = home.senders[sender]
    wallet = Wallet(sha256(home.genesis), pair)
    other = home.senders[(sender + 1) % SENDERS].public
    async with connect(url) as client:
        account = (await client.get(f"/v1/accounts/{encode_account(pair.public)}")).json()
        height = (await client.get("/v1/network")).json()["height"]
        raws = [
            wallet.transfer(Terms(account["nonce"] + place, 1_000, height + 500), other, 1)
            for place in range(count)
        ]
        body = {"transactions": [raw.hex() for raw in raws]}
        answer = await client.post("/v1/transactions", params={"wait": "commit"}, json=body)
    rows = answer.json()["results"]
    assert [row["state"] for row in rows] == ["committed"] * count
    acknowledged.update((row["hash"], row["height"]) for row in rows)


async def check_there(url: str, acknowledged: Acknowledged) -> None:
    """Ask for everything that was acknowledged: each is committed at the height that was told."""
    async with connect(url) as client:
        for tx_hash, height in acknowledged.items():
            row = (await client.get(f"/v1/transactions/{tx_hash}")).json()
            assert (row["state"], row["height"]) == ("committed", height), tx_hash


async def eventually(holds: Callable[[], Any], what: str) -> None:
    """Wait until something holds; `what` says what did not."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            while not (await found if asyncio.iscoroutine(found := holds()) else found):
                await asyncio.sleep(0.05)
            return
    raise AssertionError(what)
