"""A real service over a ledger in which everything has happened once, and what fits its paths.

    lived            starts one and lets it live: nodes in several states, verdicts, a report,
                     a contradiction, epochs whose lists are final; yields a `Lived`
    Lived.values     a value for each parameter of a path, as they are right now
    Lived.bodies     a body for each operation that takes one, as bytes and as JSON

The testers, reporters and accounts are keys of the test, which follows the chain by the blocks that
the service hands out, as any follower does.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec
from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.messages.blocks import BLOCK
from ledger.messages.checkins import CheckIn
from ledger.messages.contact import Version
from ledger.messages.state import ACTIVE, ON_DUTY
from ledger.messages.tables import EPOCH, NODES
from ledger.messages.transactions import Report
from ledger.params import preset
from ledger.replay import execute_block
from registry.addresses import encode_account, encode_node
from registry.home import GENESIS
from registry.keystore import CHAIN, derive, derive_secret, save_insecure_seed
from registry.signer import HashChain
from registry.verdicts import SentVote
from registry.wallet import sign_check_in
from tests.factory import (
    DAY_MS,
    PEOPLE,
    QUARTER,
    Network,
    attestor_roles,
    founding,
    keys,
    make_genesis,
    public,
)
from tests.life import FAULTY, OFFENCE, header_evidence, report
from tests.registry.factory import PRODUCER, seed_of, short_folder
from tests.registry.town import NODES_NAMES, votes_of

ROOT: Final = Path(__file__).parents[2]
PATIENCE_S: Final = 60.0
EPOCH_MS: Final = 3_000
PARAMS: Final = {
    **{"block_ms": 150, "epoch_ms": EPOCH_MS, "attest_blocks": 16},
    # a node goes off duty by its second failing verdict
    **{"credit_start_ms": 1, "grace_ms": 0},
}

BAD, LEAVER, GOOD, DOUBTED = NODES_NAMES[:4]
"""Who fails, who leaves, who does neither, and whom one tester passes and fails."""


class Lived:
    """A running service, and the test's own copy of its chain."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self._log = folder / "log"
        self.network = make_network()
        (self.home / GENESIS).write_bytes(self.network.raw)
        for name in ("producer", "attestor"):
            save_insecure_seed(self.home / f"{name}.json", seed_of(name))
        self._starts = 0
        self._sent_report = b""
        self._clients: list[httpx2.Client] = []

    # ------------------------------------------------------------------------ the service

    def start(self, *flags: str) -> None:
        """Start it; what it is told goes before what its home says."""
        command = [sys.executable, "-m", "registry", "run", "--home", str(self.home)]
        command += ["--producer", str(self.home / "producer.json")]
        command += ["--attest", str(self.home / "attestor.json"), "--workers", "1", "--port", "0"]
        bare = {name: value for name, value in os.environ.items() if "WAYPOST" not in name}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=bare | {"PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )
        # the newest start's, after a restart
        self._starts += 1
        listening = self._wait_for(lambda: self.logged("listening")[self._starts - 1 :])
        self.port = int(listening[0]["port"])
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx2.Client(base_url=self.url, timeout=PATIENCE_S, trust_env=False)
        self._clients.append(self.client)
        self._wait_for(lambda: self.client.get("/v1/network").status_code == 200)

    def stop(self) -> int:
        """Have it stop as its operator does; return its exit code."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    @property
    def said(self) -> str:
        """Everything that its processes said."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines about an event."""
        lines = (json.loads(line) for line in self.said.splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == event]

    def pid_of(self, module: str) -> int:
        """The process that runs a module, such as `web_process`."""
        listed = subprocess.run(
            ["ps", "-axwwo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
        ).stdout
        rows = [line.split(maxsplit=2) for line in listed.splitlines()]
        (pid,) = [
            int(pid)
            for pid, parent, args in rows
            if int(parent) == self.process.pid and f"registry.{module}" in args
        ]
        return pid

    def get(self, path: str) -> Any:
        """Return what is answered there."""
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def _wait_for(self, holds: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.said
            if found := holds():
                return found
            time.sleep(0.02)
        raise AssertionError(self.said)

    # -------------------------------------------------------------------------- its ledger

    def follow(self) -> None:
        """Execute the blocks that there are."""
        chain = self.network.chain
        while True:
            answer = self.client.get("/v1/blocks", params={"start": chain.tip.height + 1})
            raws = msgspec.msgpack.decode(answer.content, type=list[bytes])
            for raw in raws:
                execute_block(chain, BLOCK.decode(raw))
            if not raws:
                return

    def send(self, *raws: bytes) -> None:
        """Have transactions stand in blocks, without a code, and follow up to there."""
        body = {"transactions": [raw.hex() for raw in raws]}
        answer = self.client.post("/v1/transactions?wait=commit", json=body)
        rows = answer.json()["results"]
        assert [(row["state"], row["code"]) for row in rows] == [("committed", None)] * len(rows)
        self.follow()
        self.network.forget_sent()

    def vote(self, node: str, faults: int, count: int = 5) -> None:
        """Send the votes of a node's testers for the running epoch."""
        self.follow()
        body = pack(votes_of(self.network, node, faults, count))
        headers = {"content-type": "application/msgpack"}
        answer = self.client.post("/v1/verdicts", content=body, headers=headers)
        assert answer.status_code in (200, 202, 422), answer.text

    @property
    def epoch(self) -> int:
        """The running epoch."""
        return self.network.state.one(EPOCH).epoch

    @property
    def terms(self) -> dict[str, int]:
        """What the envelope of a transaction says here: blocks come quickly."""
        return {"expiry": self.network.chain.tip.height + 3_000}

    def live(self) -> None:
        """Let everything happen once."""
        network = self.network
        self.follow()
        expiry: dict[str, Any] = {
            "expiry_ms": network.chain.tip.time_ms + DAY_MS,
            "envelope": self.terms,
        }
        liars = {name: attestor_roles(name) for name in ("liar", "other liar")}
        self.send(
            network.register("waits", "alice", QUARTER, **expiry),
            network.register("liar", "bob", **liars["liar"], **expiry),
            network.register("other liar", "carol", **liars["other liar"], **expiry),
            network.request_unlock(PEOPLE[1], LEAVER, **self.terms),
            network.transfer("leo", "kim", **self.terms),
        )
        self._wait_for(lambda: self._is_active("liar") and self._is_active("other liar"))
        evidence = header_evidence(network, liars["liar"]["list_key"])
        self._sent_report = report(network, "leo", evidence, **self.terms)
        self.send(self._sent_report)
        self._evidence = header_evidence(network, liars["other liar"]["list_key"])
        while network.node(BAD).state == ACTIVE:
            self._vote_in_time(BAD, FAULTY)
        self._contradict()
        self._wait_for(lambda: self.get("/v1/network")["latest_final"]["epoch"] >= 4)
        self.follow()

    def _is_active(self, name: str) -> bool:
        self.follow()
        return network_has(self.network, name) and self.network.node(name).state in ON_DUTY

    def _vote_in_time(self, node: str, faults: int) -> None:
        """Vote on a node until a block judged it for one epoch."""
        while True:
            self.vote(node, faults)
            epoch = self.epoch
            while self.epoch == epoch:
                rows = self.get(f"/v1/nodes/{encode_node(public(node))}")["verdicts"]
                if epoch in [row["epoch"] for row in rows]:
                    self._wait_for_epoch(epoch + 1)
                    return
                time.sleep(0.05)
                self.follow()

    def _wait_for_epoch(self, epoch: int) -> None:
        def has_come() -> bool:
            self.follow()
            return self.epoch >= epoch

        self._wait_for(has_come)

    def _contradict(self) -> None:
        """Have a tester pass and fail a node in one epoch."""
        self._wait_for_epoch(self.epoch + 1)
        self.vote(DOUBTED, 0, count=1)
        self.vote(DOUBTED, FAULTY, count=1)
        assert self.get("/v1/verdicts")["contradictions"]

    # ---------------------------------------------------------------------- what fits where

    def values(self) -> dict[str, list[Any]]:
        """Values by the name of the parameter; `epoch@lists` is that of a group of paths."""
        self.follow()
        network = self.get("/v1/network")
        height, latest = network["height"], network["latest_final"]["epoch"]
        nodes = [encode_node(public(name)) for name in (GOOD, BAD, "waits", "liar")]
        (reported,) = self.get("/v1/reports")["reports"]
        page = self.get("/v1/nodes?limit=2")
        record = public(GOOD).hex()
        return {
            "key": [nodes[0], record, *nodes[1:]],
            "key@proofs": [record],
            "key@verdicts": [nodes[0]],
            "table": ["nodes"],
            "table@/v1/proofs/{table}": ["params", "pool"],
            "epoch@proofs": [latest],
            "address": [encode_account(public(name)) for name in PEOPLE[:2]],
            "hash": [sha256(self._sent_report).hex()],
            "epoch": [latest],
            "epoch@verdicts": [self.epoch],
            "from": [latest - 1, latest - 2],
            "from@trust": [latest - 1, latest - 2],
            "account": [64 * "a", "05" + 64 * "b"],
            "height": [height, 1],
            "height@reports": [reported["height"]],
            "index": [reported["index"]],
            "start": [1, height],
            "since": [1, latest],
            "epochs": [4],
            "limit": [2, 10],
            "cursor": ["", page["next"]],
            "cursor@reports": [""],
            "state": ["active", "awaiting", ""],
            "wait": ["commit"],
            "Last-Event-ID": [str(height - 2)],
            "last-event-id": [str(height - 2)],
        }

    def bodies(self) -> dict[str, tuple[Any, bytes | None]]:
        """JSON and MessagePack by the name of the operation; None where there is no such form."""
        self.follow()
        network = self.network
        # it would change nothing, so that it gets the same answer whenever it is sent in time
        vote = votes_of(network, GOOD, 0, count=1)[0]
        transfer = network.transfer("leo", "kim", **self.terms)
        network.take_back("leo")
        check_in = CheckIn(public(GOOD), time.time_ns() // 1_000_000, Version(1, 0, 0), 0)
        signed = sign_check_in(network.hash, keys(GOOD), check_in)
        evidence = encode(Report(OFFENCE["list_equivocation"], encode(self._evidence)))
        return {
            "send_transactions": ({"transaction": transfer.hex()}, pack(transfer)),
            "send_report": ({"transaction": self._sent_report.hex()}, pack(self._sent_report)),
            "check_report": ({"evidence": evidence.hex()}, pack(evidence)),
            "send_votes": ({"vote": as_json(vote)}, pack([vote])),
            "check_in": ({"check_in": signed.hex()}, pack(signed)),
            "call_json_rpc": ({"method": "get_service_nodes", "params": {"limit": 2}}, None),
        }


def make_network() -> Network:
    """The network: eight nodes from the start, each with an operator, and one attestor."""
    pairs = zip(NODES_NAMES, PEOPLE, strict=False)
    rows = sorted(
        (founding(name, operator=operator)[0] for name, operator in pairs),
        key=lambda row: row.node,
    )
    seat = derive(seed_of("attestor"), "list").public
    tip = HashChain(derive_secret(seed_of("attestor"), CHAIN)).tip
    genesis = make_genesis(
        tuple(preset("minimal", PARAMS)), nodes=tuple(rows), producer=PRODUCER.public
    )
    founder = replace(genesis.attestors[0], list_key=seat, tip=tip)
    start_ms = time.time_ns() // 1_000_000 - 1
    network = Network(replace(genesis, start_ms=start_ms, attestors=(founder,)))
    network.attesting = False
    return network


def network_has(network: Network, name: str) -> bool:
    """Whether a node is registered."""
    return network.state.get(NODES, public(name)) is not None


def as_json(vote: SentVote) -> dict[str, Any]:
    """A vote as people write it."""
    return {
        "epoch": vote.epoch,
        "node": encode_node(vote.node),
        "life": vote.life,
        "faults": vote.faults,
        "tester": encode_node(vote.tester),
        "signature": vote.signature.hex(),
    }


def pack(value: Any) -> bytes:
    """MessagePack."""
    return msgspec.msgpack.encode(value)


@contextmanager
def lived(*flags: str) -> Iterator[Lived]:
    """A service in which everything has happened; afterwards nothing of it runs."""
    with short_folder() as folder:
        made = Lived(folder)
        made.start(*flags)
        try:
            made.live()
            yield made
        finally:
            made.stop()
