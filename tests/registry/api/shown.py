"""The web side of a real chain, in this process: what is asked of the ledger comes from it."""

from pathlib import Path
from typing import Any, cast

from starlette.testclient import TestClient

from ledger.messages.lists import ListHeader
from ledger.state import State
from registry.api.app import make_app
from registry.census import Census
from registry.pool import Pool
from registry.queries import Queries
from registry.verdicts import Verdicts
from tests.factory import Network, founding, make_genesis
from tests.registry.api.fake_ledger import FakeLedger, make_view, plain
from tests.registry.factory import Direct


class ChainBehind(FakeLedger):
    """A ledger that answers from a real chain."""

    def __init__(self, network: Network) -> None:
        self.network = network
        super().__init__()

    async def _query(
        self, name: str, arguments: dict[str, Any], height: int | None
    ) -> dict[str, Any]:
        chain = self.network.chain
        pool = cast("Pool", None)
        queries = Queries(chain, pool, Census(), Verdicts(chain, pool, Direct()))
        answer: dict[str, Any] = plain(queries.answer(name, arguments, height))
        return answer


class Shown:
    """The web side of a network, whose newest view it shows."""

    def __init__(self, folder: Path) -> None:
        self.network = Network(make_genesis(nodes=founding("node")))
        self.ledger = ChainBehind(self.network)
        self.app = make_app(self.ledger, folder, clock=lambda: self.network.chain.tip.time_ms)
        self.client = TestClient(self.app)

    def end_epoch(self) -> ListHeader:
        """End the running epoch; its list is final once this is shown."""
        header = self.network.end_epoch()
        self.network.settle()
        self.show(header.epoch)
        return header

    def show(self, latest: int) -> None:
        """Push the view of the newest block."""
        chain = self.network.chain
        epoch = self.network.header.epoch + 1
        ends_ms = self.network.header.valid_after_ms + self.network.params.epoch_ms
        portal = self.client.portal
        assert portal is not None
        view = make_view(
            chain.tip.height, epoch=epoch, epoch_ends_ms=ends_ms, latest=latest, lists=[]
        )
        portal.call(self.ledger.push, view)

    def ask(self, path: str, **headers: str) -> Any:
        """Return what is answered with 200 for a proof."""
        answer = self.client.get(f"/v1/proofs/{path}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer

    def state(self, header: ListHeader) -> State:
        """Return the state that a header names."""
        end = self.network.chain.end_of(header.epoch)
        assert end is not None
        return end.state

    def file(self, path: str) -> bytes:
        """Return a proof."""
        return bytes.fromhex(self.ask(path).json()["proof"])
