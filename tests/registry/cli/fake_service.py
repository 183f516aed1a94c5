"""A service in memory: a real chain and the real answers behind a small server in a thread.

seed_of          the seed of a name's key file
save_keys        such a key file
FakeService      the service; what it is asked changes its chain, block by block
run_service      one that listens on a free port of this machine
dripping         somebody who answers byte after byte, for much too long
"""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit

import msgspec

from ledger.crypto import sha256
from ledger.errors import Refusal
from ledger.messages.genesis import GenesisAccount
from ledger.messages.lists import encode_signed_header
from ledger.transactions.envelope import Transaction
from ledger.types import COIN
from registry.addresses import decode_account, decode_node
from registry.census import Census
from registry.evidence import check_evidence
from registry.formats.full import encode_full
from registry.keystore import derive, save_insecure_seed
from registry.pool import Fate, Pool
from registry.queries import Queries
from registry.verdicts import Verdicts
from tests.factory import Network, make_genesis
from tests.registry.factory import Direct

PEOPLE: Final = ("alice", "bob", "carol")
RICH: Final = 1_000 * COIN

ENDLESS: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"
"""How an answer begins that does not end."""


def seed_of(name: str) -> bytes:
    """The seed of a name's key file."""
    return sha256(b"seed of " + name.encode())


def account_of(name: str) -> bytes:
    """The account of a name's key file."""
    return derive(seed_of(name), "account").public


def save_keys(folder: Path, name: str) -> Path:
    """Make the key file of a name, and return where it lies."""
    path = folder / f"{name}.json"
    save_insecure_seed(path, seed_of(name))
    return path


class Waiting:
    """What the queries ask of a pool."""

    def __init__(self) -> None:
        self.transactions: dict[bytes, Transaction] = {}

    def fate(self, tx_hash: bytes) -> Fate | None:
        """Whether a transaction waits."""
        return Fate("pending", None) if tx_hash in self.transactions else None

    def get(self, tx_hash: bytes) -> Transaction | None:
        """A waiting transaction."""
        return self.transactions.get(tx_hash)


class FakeService:
    """A service of a network on which `PEOPLE` are rich. Each transaction gets a block at once."""

    def __init__(self, genesis: Mapping[str, Any] | None = None, **params: int) -> None:
        accounts = tuple(GenesisAccount(key, RICH) for key in sorted(map(account_of, PEOPLE)))
        fields = {"accounts": accounts} | dict(genesis or {})
        self.network = Network(make_genesis(params, **fields))
        self.url = ""
        self.asked: list[str] = []
        """Paths in the order of the requests."""
        self.answers: dict[str, tuple[int, bytes]] = {}
        """What is answered instead, by path: status and body."""
        self.is_holding = False
        """Whether transactions wait, as between two blocks."""
        self._waiting = Waiting()

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body."""
        parts = urlsplit(target)
        self.asked.append(parts.path)
        if parts.path in self.answers:
            return self.answers[parts.path]
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        try:
            if method == "POST" and parts.path == "/v1/reports/check":
                return 200, self._check(body)
            if method == "POST":
                return 200, self._submit(body)
            return self._get(parts.path.removeprefix("/v1/").split("/"), asked)
        except Refusal as refusal:
            return problem(422, refusal.code, refusal.text, refusal.values)

    def _get(self, path: list[str], asked: dict[str, str]) -> tuple[int, bytes]:
        match path:
            case ["genesis"]:
                return 200, self.network.raw
            case ["blocks"]:
                start, limit = int(asked["start"]), int(asked["limit"])
                blocks = self._query("blocks", start=start, limit=limit)
                return 200, msgspec.msgpack.encode(blocks)
            case ["nodes"]:
                return 200, json.dumps(self._nodes(asked)).encode()
            case ["reports"]:
                return 200, json.dumps(self._reports(asked)).encode()
            case ["reports", height, index]:
                result = self._query("report", height=int(height), index=int(index))
            case ["network"]:
                result = self._query("network")
            case ["epochs", epoch]:
                result = self._query("epoch", epoch=int(epoch))
            case ["rules"]:
                result = self._query("rules")
            case ["participation"]:
                result = self._query("participation", epochs=int(asked.get("epochs", "16")))
            case ["proofs", table, *key]:
                at = {"epoch": int(asked["epoch"]), "key": bytes.fromhex("".join(key))}
                result = self._query("proof", table=table, **at)
            case ["lists", "latest"]:
                return 200, encode_signed_header(self.network.chain.newest_header())
            case ["trust", epoch]:
                held = int(asked["from"]) if "from" in asked else None
                result = self._query("trust", epoch=int(epoch), start=held)
                if result is not None:
                    return 200, result["path"]
            case ["lists", _, "full"]:
                return 200, encode_full(self.network.chain.newest_list().columns)
            case ["nodes", key, "duties"]:
                result = self._query("duties", key=decode_node(key))
            case ["nodes", key, "swarm"]:
                since = int(asked["since"]) if "since" in asked else None
                result = self._query("swarm", key=decode_node(key), since=since)
            case ["nodes", key, "history"]:
                result = self._query("history", key=decode_node(key), epochs=int(asked["epochs"]))
            case ["nodes", key]:
                result = self._query("node", key=decode_node(key))
            case ["accounts", address]:
                result = self._query("account", key=decode_account(address))
            case ["transactions", tx_hash]:
                result = self._query("transaction", hash=bytes.fromhex(tx_hash))
            case _:
                result = None
        if result is None:
            return problem(404, "not_found", f"there is no {'/'.join(path)}", {})
        return 200, json.dumps(result).encode()

    def _query(self, name: str, **arguments: Any) -> Any:
        census = Census()
        census.count_all(self.network.chain)
        chain, pool = self.network.chain, cast("Pool", self._waiting)
        queries = Queries(chain, pool, census, Verdicts(chain, pool, Direct()))
        return queries.answer(name, arguments, None)["result"]

    def _nodes(self, asked: dict[str, str]) -> dict[str, Any]:
        after = bytes.fromhex(asked.get("cursor", ""))
        limit, state = int(asked["limit"]), asked.get("state", "")
        page = self._query("nodes", after=after, limit=limit, state=state)
        following = None if page["next"] is None else page["next"].hex()
        return {"height": self.network.chain.tip.height, "nodes": page["nodes"], "next": following}

    def _reports(self, asked: dict[str, str]) -> dict[str, Any]:
        before = bytes.fromhex(asked.get("cursor", ""))
        page = self._query("reports", before=before, limit=int(asked["limit"]))
        following = None if page["next"] is None else page["next"].hex()
        height = self.network.chain.tip.height
        return {"height": height, "reports": page["reports"], "next": following}

    def _check(self, body: bytes) -> bytes:
        raw = bytes.fromhex(json.loads(body)["evidence"])
        check_evidence(raw, self.network.hash)
        return json.dumps(self._query("report_check", evidence=raw)).encode()

    def _submit(self, body: bytes) -> bytes:
        (text,) = json.loads(body)["transactions"]
        chain = self.network.chain
        tx = chain.decode(bytes.fromhex(text))
        is_known = tx.hash in self._waiting.transactions or self._location(tx.hash) is not None
        if not is_known:
            chain.check(tx)
            self._waiting.transactions[tx.hash] = tx
        if not self.is_holding:
            self.release()
        where = self._location(tx.hash) or {"height": None, "index": None}
        state = "pending" if where["height"] is None else "committed"
        row = {"hash": tx.hash.hex(), "state": state, **where}
        return json.dumps(
            {"results": [row | {"code": None, "detail": None, "values": {}}]}
        ).encode()

    def _location(self, tx_hash: bytes) -> dict[str, Any] | None:
        location = self.network.chain.view().location(tx_hash)
        return None if location is None else {"height": location.height, "index": location.place}

    def release(self) -> None:
        """Make a block of everything that waits; its signatures have to hold."""
        raws = [tx.raw for tx in self._waiting.transactions.values()]
        self._waiting.transactions.clear()
        if raws:
            self.network.block(*raws)


def problem(status: int, code: str, detail: str, values: Any) -> tuple[int, bytes]:
    """An error as the service answers it."""
    fields = {"type": code, "title": code, "status": status, "detail": detail, "values": values}
    return status, json.dumps(fields).encode()


@contextmanager
def run_service(genesis: Mapping[str, Any] | None = None, **params: int) -> Iterator[FakeService]:
    """Run a service; `params` are changes of the `minimal` preset, `genesis` fields of its file."""
    service = FakeService(genesis, **params)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, body: bytes) -> None:
            status, answer = service.answer(self.command, self.path, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        service.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def dripping(head: bytes = ENDLESS) -> Iterator[str]:
    """The URL of somebody who says this, then byte after byte; who listens has to hang up."""
    is_over, ran_out = threading.Event(), threading.Event()

    def speak(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(head)
            for _ in range(1_000):
                if is_over.wait(0.02):
                    return
                try:
                    connection.sendall(b"1")
                except OSError:
                    return
            ran_out.set()

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        thread = threading.Thread(target=speak, args=(server,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            is_over.set()
            thread.join()
            assert not ran_out.is_set()
