"""The web side over a ledger in memory, with a clock that a test sets."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from registry.api.app import App, make_app
from registry.api.models import TIME_MS
from tests.registry.api.fake_ledger import FakeLedger


class Site:
    """One web process without the process: client, application, ledger and clock."""

    def __init__(self, publish: Path) -> None:
        self.publish = publish
        self.now_ms = TIME_MS + 60_000
        self.ledger = FakeLedger()
        self.app: App = make_app(self.ledger, publish, clock=lambda: self.now_ms, wait_s=0.3)
        self.client = TestClient(self.app)
        self.logs: list[Any] = []
        """What was logged so far."""

    def push(self, view: dict[str, Any]) -> None:
        """Have the ledger push a view, on the application's own loop."""
        self.run(self.ledger.push, view)

    def push_nodes(self, payload: Any) -> None:
        """Have the ledger push nodes, on the application's own loop."""
        self.run(self.ledger.push_nodes, payload)

    def call(self, method: str, params: Any = None, **other: Any) -> Any:
        """Return the whole answer to a call by JSON-RPC."""
        body = {"jsonrpc": "2.0", "id": 0, "method": method, "params": params}
        answer = self.client.post("/json_rpc", json=body | other)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        return answer.json()

    def result(self, method: str, params: Any = None) -> dict[str, Any]:
        """Return the result of a call by JSON-RPC."""
        result: dict[str, Any] = self.call(method, params)["result"]
        return result

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call something on the application's own loop."""
        portal = self.client.portal
        assert portal is not None
        return portal.call(function, *arguments)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A web side with a view and a connected ledger."""
    made = Site(tmp_path)
    with capture_logs() as made.logs, made.client:
        yield made


@pytest.fixture
def blind(tmp_path: Path) -> Iterator[Site]:
    """A web side to which no view has come yet."""
    made = Site(tmp_path)
    made.app = make_app(_Silent(), tmp_path)
    made.client = TestClient(made.app)
    with made.client:
        yield made


class _Silent(FakeLedger):
    """A ledger that is not there."""

    def __init__(self) -> None:
        super().__init__()
        self.is_connected = False
        self.view = None
