"""Services in memory: what they were asked, and what they answer."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from registry.api.models import HEIGHT
from registry.client.services import Event, Services
from registry.client.transport import Unavailable
from tests.registry.api.fake_ledger import SESSION_NODES, make_block_hash, plain


class Service(Services):
    """One service behind the class that asks it, without a network in between."""

    def __init__(self) -> None:
        super().__init__(["http://127.0.0.1:1"])
        self.height = HEIGHT
        self.rows: list[Any] = plain(SESSION_NODES)
        self.calls: list[tuple[str, Any]] = []
        """Methods that were called, with their parameters."""
        self.error: dict[str, Any] | None = None
        """What each call fails with."""
        self.is_away = False
        self.gate = asyncio.Event()
        """Calls wait until it is open."""
        self.gate.set()
        self.last_ids: list[str] = []
        """Where streams of events were to go on."""
        self.events: asyncio.Queue[Event | None] = asyncio.Queue()
        """What a stream tells; None breaks it off."""

    async def post(self, path: str, body: Any) -> Any:
        """Answer a call."""
        assert (path, body["jsonrpc"]) == ("/json_rpc", "2.0")
        self.calls.append((body["method"], body["params"]))
        height = self.height
        await self.gate.wait()
        if self.is_away:
            raise Unavailable("no service answers")
        if self.error is not None:
            return {"jsonrpc": "2.0", "id": body["id"], "error": self.error}
        result = getattr(self, body["method"])(height, body["params"])
        return {"jsonrpc": "2.0", "id": body["id"], "result": result}

    def get_info(self, height: int, _params: Any) -> Any:
        """The network in a few numbers."""
        return {"status": "OK", "height": height + 1}

    def get_block_hash(self, height: int, params: Any) -> Any:
        """Hashes of blocks."""
        hashes = {str(each): make_block_hash(each) for each in params["height"]}
        return {"status": "OK", "height": height + 1} | hashes

    def get_service_nodes(self, height: int, _params: Any) -> Any:
        """All rows with all fields."""
        return {
            "status": "OK",
            "height": height,
            "target_height": height,
            "hardfork": 21,
            "snode_revision": 0,
            "block_hash": make_block_hash(height),
            "service_node_states": self.rows,
        }

    async def stream(self, path: str, last_id: str = "") -> AsyncIterator[Event]:
        """Tell what happens."""
        assert path == "/v1/events"
        self.last_ids.append(last_id)
        while (event := await self.events.get()) is not None:
            yield event
        raise Unavailable("it broke off")

    def tell_block(self, height: int, name: str = "block") -> None:
        """Have an event told."""
        self.height = max(self.height, height)
        self.events.put_nowait(Event(name, {"height": height}, str(height)))
