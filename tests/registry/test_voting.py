"""Votes over HTTP, through the web side and a real ledger process, take a node off duty."""

import asyncio
from typing import Any, Final

import httpx2
import msgspec
import pytest

from ledger.messages.state import NODE_STATES
from ledger.messages.tables import EPOCH, NODES
from registry.addresses import encode_node
from registry.api.app import make_app
from registry.web_process import Link
from tests.factory import PEOPLE, founding, public
from tests.registry.factory import eventually, in_loop
from tests.registry.test_ledger_process import Asked, serving
from tests.registry.town import NODES_NAMES, TESTERS, THRESHOLD, votes_of

BAD: Final = NODES_NAMES[0]
MSGPACK: Final = {"content-type": "application/msgpack"}


class Voters:
    """Testers who send their votes over HTTP, each by himself, until they need not any more."""

    def __init__(self, asked: Asked, client: httpx2.AsyncClient) -> None:
        self.asked = asked
        self.client = client
        # what testers sign is made from the state that the service has
        asked.network.chain = asked.service.chain

    @property
    def epoch(self) -> int:
        """The running epoch."""
        return self.asked.service.chain.view().state.one(EPOCH).epoch

    @property
    def state(self) -> str:
        """Of the node that fails."""
        state = self.asked.service.chain.view().state
        return NODE_STATES[state.one(NODES, public(BAD)).state]

    async def vote(self, count: int = TESTERS) -> list[str]:
        """Send a failing vote of each tester, and return what became of them."""
        answers = [
            await self.client.post(
                "/v1/verdicts", content=msgspec.msgpack.encode([vote]), headers=MSGPACK
            )
            for vote in votes_of(self.asked.network, BAD, count=count)
        ]
        return [row["state"] for answer in answers for row in answer.json()["results"]]

    async def get(self, path: str) -> Any:
        """Return what is answered there."""
        answer = await self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()


@in_loop
async def test_votes_over_http_take_a_node_off_duty(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = zip(NODES_NAMES, PEOPLE, strict=False)
    nodes = sorted(
        (founding(name, operator=operator)[0] for name, operator in pairs),
        key=lambda row: row.node,
    )
    address = encode_node(public(BAD))
    async with serving(monkeypatch, tuple(nodes)) as (site, asked):
        link = Link(asked.service._settings.ledger_socket)
        app = make_app(link, asked.service._settings.publish_path)
        transport = httpx2.ASGITransport(app=app)
        async with (
            link.lifespan(app.framework),
            httpx2.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            await eventually(lambda: link.is_connected and app.live._newest)
            voters = Voters(asked, client)

            async def end_epoch() -> None:
                ending = voters.epoch
                while voters.epoch == ending:
                    site.clock.ms += 1_000
                    await asyncio.sleep(0.01)

            async def get_network() -> Any:
                # that page is of the newest view, which comes once its list is published
                height = asked.service.chain.tip.height
                await eventually(lambda: app.live.newest.view.height >= height)
                return await voters.get("/v1/network")

            await end_epoch()
            assert (await get_network())["quorums"] == "all"
            status = await voters.get(f"/v1/nodes/{address}")
            assert len(status["testers"]) == TESTERS
            assert status["removal"]["failing_epochs_left"] == 2

            # in the first epoch one tester says nothing, in the second all vote
            first = voters.epoch
            assert await voters.vote(THRESHOLD) == ["held"] * THRESHOLD
            held = await voters.get(f"/v1/verdicts/{first}/{address}")
            assert (held["fails"], held["needed"], held["judged"]) == (THRESHOLD, THRESHOLD, False)
            await end_epoch()
            assert set(await voters.vote()) <= {"held", "judged"}
            while set(await voters.vote()) != {"judged"}:
                await asyncio.sleep(0.01)
            assert voters.state == "active"
            await end_epoch()
            await end_epoch()
            assert voters.state == "decommissioned"

            status = await voters.get(f"/v1/nodes/{address}")
            assert status["state"] == "decommissioned"
            assert status["removal"]["threat"] == "deregistration"
            by_epoch = {row["epoch"]: row for row in status["verdicts"]}
            assert len(by_epoch[first]["votes"]) == THRESHOLD
            (silent,) = by_epoch[first]["silent"]
            assert by_epoch[first + 1]["silent"] == []
            taken = await voters.get("/v1/participation")
            missed = [row["node"] for row in taken["testers"] if row["voted"] < row["drawn"]]
            assert missed == [silent]
            network = await get_network()
            assert (network["nodes"]["decommissioned"], network["nodes_down"]) == (1, 1)
            assert "waypost_verdicts_made 2.0" in (await client.get("/metrics")).text
            app.close()
