"""A node that cheats: what it signs proves that it did, and it does not end before that is seen."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.crypto import sha256
from ledger.messages.duty import Vote
from registry.addresses import decode_node, encode_node
from registry.client.services import Services
from registry.devnet import cheat
from registry.evidence import Cast, compare_votes
from registry.keystore import derive, save_insecure_seed

GENESIS_HASH: Final = sha256(b"a network")
SEED: Final = sha256(b"a cheat")
NODE: Final = derive(SEED, "node").public
DUTY: Final = derive(SEED, "duty")
TESTED: Final = encode_node(derive(sha256(b"tested"), "node").public)
EPOCH: Final = 9


class Site:
    """A service that is asked for duties, and takes votes."""

    def __init__(self) -> None:
        self.url = ""
        self.tests: list[list[str]] = []
        """Whom the node tests, at each look in turn; the last one stays."""
        self.states: list[list[str]] = []
        """What becomes of the votes that arrive, likewise."""
        self.taken: list[list[dict[str, Any]]] = []

    def get(self, path: str) -> Any:
        if path == f"/v1/nodes/{encode_node(NODE)}":
            return {"tests": next_of(self.tests), "life": 1}
        return {"/v1/network": {"epoch": EPOCH}, f"/v1/nodes/{TESTED}": {"life": 3}}[path]

    def post(self, path: str, body: Any) -> Any:
        assert path == "/v1/verdicts"
        self.taken.append(body["votes"])
        return {"results": [{"state": state} for state in next_of(self.states)]}


def next_of(rows: list[list[str]]) -> list[str]:
    return rows.pop(0) if len(rows) > 1 else rows[0]


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(made.get(self.path))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(made.post(self.path, json.loads(body)))

        def answer(self, value: Any) -> None:
            raw = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cheat, "LOOK_S", 0.01)


def run(site: Site) -> None:
    async def play() -> None:
        services = Services([site.url])
        await cheat.cheat(services, GENESIS_HASH, SEED)
        await services.close()

    asyncio.run(play())


def as_cast(row: dict[str, Any]) -> Cast:
    assert row["tester"] == encode_node(NODE)
    vote = Vote(row["epoch"], decode_node(row["node"]), row["life"], row["faults"])
    return Cast(vote, bytes.fromhex(row["signature"]))


def test_its_two_votes_are_evidence(site: Site) -> None:
    site.tests, site.states = [[TESTED]], [["noted", "contradiction"]]
    run(site)
    ((one, other),) = site.taken
    assert (one["node"], one["epoch"], one["life"]) == (TESTED, EPOCH, 3)
    assert (one["faults"], other["faults"]) == (0, cheat.LIE)
    assert compare_votes(GENESIS_HASH, DUTY.public, as_cast(one), as_cast(other)) is not None


def test_it_waits_until_it_has_somebody_to_test(site: Site) -> None:
    site.tests, site.states = [[], [], [TESTED]], [["noted", "contradiction"]]
    run(site)
    assert len(site.taken) == 1


def test_it_goes_on_until_somebody_saw_it(site: Site) -> None:
    """Votes that come when an epoch ends are refused; those of the next one are not."""
    site.tests = [[TESTED]]
    site.states = [["refused", "refused"], ["noted", "contradiction"]]
    run(site)
    assert len(site.taken) == 2


def test_the_program_ends_once_it_was_seen(site: Site, tmp_path: Path) -> None:
    site.tests, site.states = [[TESTED]], [["held", "contradiction"]]
    save_insecure_seed(tmp_path / "node.json", SEED)
    (tmp_path / "genesis.bin").write_bytes(b"a network")
    words = ["--node", tmp_path / "node.json", "--genesis", tmp_path / "genesis.bin"]
    assert cheat.main([*map(str, words), "--service", site.url]) == 0
    ((one, other),) = site.taken
    assert compare_votes(GENESIS_HASH, DUTY.public, as_cast(one), as_cast(other)) is not None
