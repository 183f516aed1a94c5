"""Load: transfers that somebody waits for, requests that have to be refused, reads of every face.

What was acknowledged as committed is remembered, to be looked for at the end.
"""

import asyncio
import random
from collections import Counter
from typing import Any, Final

import httpx2

from ledger.crypto import sha256
from registry.addresses import encode_account, encode_node
from registry.wallet import Terms, Wallet
from tests.flip import flip
from tests.soak.town import Town

PAUSE_S: Final = 0.3
"""Time after a failure until the next attempt."""

READ_PAUSE_S: Final = 0.05
LIFETIME_BLOCKS: Final = 300
BATCH: Final = 30
"""Transfers of one sender that go out together."""

FEE: Final = 1_000

EXPECTED: Final = frozenset({200, 202, 304, 404, 429, 503})
"""What the service may answer to a request that is in order: it is there, it is not, or wait."""


class Load:
    """What is asked of the service, and what came of it."""

    def __init__(self, town: Town, chance: random.Random) -> None:
        self._town = town
        self._chance = chance
        self.committed: dict[str, int] = {}
        """Hash to height of every transaction that was acknowledged as committed."""
        self.refused: Counter[str] = Counter()
        """Codes of transactions that had to be refused."""
        self.answers: Counter[int] = Counter()
        """Statuses of reads."""
        self.cut = 0
        """Requests that a dying service did not answer."""
        self.wrong: list[str] = []
        """Answers that should not be."""

    async def run(self) -> None:
        """Send and read until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(len(self._town.senders)):
                group.create_task(self._send_on(number))
            group.create_task(self._read_on())

    # ------------------------------------------------------------------------ transfers

    async def _send_on(self, number: int) -> None:
        async with self._open(90.0) as client:
            while True:
                try:
                    await self._send(client, number)
                except (httpx2.HTTPError, KeyError, ValueError):
                    self.cut += 1
                    await asyncio.sleep(PAUSE_S)

    async def _send(self, client: httpx2.AsyncClient, number: int) -> None:
        senders = self._town.senders
        wallet = Wallet(self._town.genesis_hash, senders[number])
        other = senders[(number + 1) % len(senders)].public
        account = await _get(client, f"/v1/accounts/{encode_account(wallet.account)}")
        height = (await _get(client, "/v1/network"))["height"]
        terms = Terms(account["nonce"], FEE, height + LIFETIME_BLOCKS)
        raws = [
            wallet.transfer(terms._replace(nonce=terms.nonce + place), other, 1 + place)
            for place in range(BATCH)
        ]
        for row in await self._post(client, raws, {"wait": "commit"}):
            if row["state"] == "committed":
                self.committed[row["hash"]] = row["height"]
        if sha256(raws[0]).hex() in self.committed:
            await self._send_bad(client, raws[0])

    async def _send_bad(self, client: httpx2.AsyncClient, raw: bytes) -> None:
        """Send one that was there already, and one with a signature that does not hold."""
        broken = flip(raw)
        for row in await self._post(client, [raw, broken], {}):
            if row["state"] == "refused":
                self.refused[row["code"]] += 1
            elif row["hash"] not in self.committed:
                self.wrong.append(f"a bad transaction is {row['state']}")

    async def _post(
        self, client: httpx2.AsyncClient, raws: list[bytes], how: dict[str, str]
    ) -> list[dict[str, Any]]:
        body = {"transactions": [raw.hex() for raw in raws]}
        answer = await client.post("/v1/transactions", params=how, json=body)
        if answer.status_code not in EXPECTED:
            self.wrong.append(f"a transfer: {answer.status_code} {answer.text[:200]}")
        rows: list[dict[str, Any]] = answer.json().get("results", [])
        return rows

    # ------------------------------------------------------------------------ reads

    async def _read_on(self) -> None:
        async with self._open(20.0) as client:
            while True:
                path = self._choose_path()
                try:
                    answer = await client.get(path)
                except httpx2.HTTPError:
                    self.cut += 1
                    await asyncio.sleep(PAUSE_S)
                    continue
                self.answers[answer.status_code] += 1
                if answer.status_code not in EXPECTED:
                    self.wrong.append(f"{path}: {answer.status_code} {answer.text[:200]}")
                await asyncio.sleep(READ_PAUSE_S)

    def _choose_path(self) -> str:
        node = encode_node(self._chance.choice(self._town.cast.nodes).key)
        account = encode_account(self._chance.choice(self._town.senders).public)
        return self._chance.choice(
            (
                *("/v1/network", "/v1/nodes?limit=10", "/v1/lists/latest/full", "/metrics"),
                *(f"/v1/nodes/{node}", f"/v1/nodes/{node}/duties", f"/v1/nodes/{node}/history"),
                *(f"/v1/accounts/{account}", f"/nodes/{node}", "/", "/nodes", "/swarms", "/blocks"),
                *("/v1/reports", "/health/ready", f"/v1/nodes/{node}/swarm?since=1"),
            )
        )

    def _open(self, timeout_s: float) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self._town.url, timeout=timeout_s, trust_env=False)


async def _get(client: httpx2.AsyncClient, path: str) -> Any:
    response = await client.get(path)
    response.raise_for_status()
    return response.json()
