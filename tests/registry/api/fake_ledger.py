"""A ledger in memory behind `registry.api.ports.Ledger`, and what it pushes.

`FakeLedger()` answers every question with the example of the model that shows it; a test changes
the one thing that it is about. `handlers` and `greeting` put the same ledger behind a real socket.
What it pushes is what arrives behind one: plain values.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from nacl.bindings import crypto_sign_seed_keypair

from ledger.crypto import convert_to_x25519
from ledger.errors import Refusal
from registry.addresses import encode_node
from registry.api import agent_models, duty_models, models, rule_models
from registry.api.models import EPOCH, HEIGHT, TIME_MS, example_of
from registry.api.node_table import FIELDS
from registry.api.ports import OnEvent
from registry.api.proofs import Proof
from registry.formats.session import NO_ADDRESS, SessionContributor
from registry.ipc import Gone
from registry.view import Event, NodeRow, PublishedList, PushedNodes, PushedView, cut_nodes

NODE_KEYS = [bytes([index]) * 32 for index in range(1, 8)]
GENESIS = b"a genesis file"
FRESH_UNTIL_MS = TIME_MS + 10_800_000
EPOCH_ENDS_MS = TIME_MS + 1_800_000


def make_header(epoch: int, signatures: int = 1) -> bytes:
    """Bytes of the length of a signed header, different for each epoch."""
    return hashlib.sha256(b"%d" % epoch).digest() + bytes(314) + bytes(64 * signatures)


def make_full(epoch: int, size: int = 1_000) -> bytes:
    """Bytes for a whole list, different for each epoch."""
    return b"\x01" + (hashlib.sha256(b"full %d" % epoch).digest() * (size // 32 + 1))[:size]


def make_list(epoch: int, *, is_final: bool = True, is_frozen: bool = True) -> PublishedList:
    """The published list of an epoch."""
    return PublishedList(epoch, make_header(epoch), is_final, is_frozen, make_full(epoch))


def make_view(height: int = HEIGHT, **changes: Any) -> dict[str, Any]:
    """A push: the running epoch is 49, list 48 is final and takes attestations, 47 is frozen."""
    network = example_of(models.Network) | {"height": height, "epoch": EPOCH + 1}
    network |= changes.pop("network", {})
    fields: dict[str, Any] = {
        "height": height,
        "time_ms": TIME_MS,
        "root": network["state_root"],
        "block_hash": make_block_hash(height),
        "epoch": EPOCH + 1,
        "epoch_ends_ms": EPOCH_ENDS_MS,
        "chain": network["chain"],
        "genesis": GENESIS,
        "ready": True,
        "network": network,
        "lists": [make_list(EPOCH - 1), make_list(EPOCH, is_frozen=False)],
        "latest": EPOCH,
        "events": [make_event(height)],
    }
    made: dict[str, Any] = plain(PushedView(**fields | changes))
    return made


def make_block_hash(height: int) -> str:
    """The hash of the block at a height."""
    return hashlib.sha256(b"block %d" % height).hexdigest()


def make_node(index: int, **changes: Any) -> NodeRow:
    """The row of an active node, whose keys are real ones."""
    key, _ = crypto_sign_seed_keypair(index.to_bytes(32, "big"))
    fields: dict[str, Any] = {
        "service_node_pubkey": key.hex(),
        "pubkey_ed25519": key.hex(),
        "pubkey_x25519": convert_to_x25519(key).hex(),
        "public_ip": f"127.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}",
        "storage_port": 22_021,
        "storage_lmq_port": 22_020,
        "requested_unlock_height": 0,
        "storage_server_version": (2, 11, 0),
        "service_node_version": (11, 6, 0),
        # past 2^53, so that no reader may take it for a float
        "swarm_id": 2**63 + index % 3,
        "funded": True,
        "active": True,
        "state_height": 240,
        "registration_height": 120,
        "last_reward_block_height": 240,
        "last_uptime_proof": 0,
        "earned_downtime_blocks": 0,
        "decommission_count": 0,
        "staking_requirement": 100_000_000_000,
        "total_contributed": 100_000_000_000,
        "operator_fee": 100_000,
        "operator_address": models.ACCOUNT,
        "contributors": [SessionContributor(models.ACCOUNT, 100_000_000_000)],
        "state": "active",
        "life": 1,
        "since_ms": TIME_MS,
        "reserved": [],
        "reserved_until_ms": TIME_MS,
    }
    fields |= changes
    return NodeRow(**fields | {"swarm": f"{fields['swarm_id']:x}"})


ACTIVE_NODES = [make_node(index) for index in range(1, 31)]
UNREACHABLE_NODE = make_node(31, public_ip=NO_ADDRESS)
WAITING_NODE = make_node(32, funded=False, active=False, swarm_id=2**64 - 1, state="awaiting")
SESSION_NODES = sorted(
    [*ACTIVE_NODES, UNREACHABLE_NODE, WAITING_NODE], key=lambda row: row.service_node_pubkey
)


def push_of(*rows: NodeRow, first: bool = False, removed: Sequence[str] = ()) -> Any:
    """One push of nodes."""
    return plain(PushedNodes(first, rows, removed))


def plain(value: Any) -> Any:
    """What the far side of a socket sees."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value))


def entries_of(rows: Sequence[NodeRow]) -> Any:
    """The rows as programs of the Session network see them."""
    return plain([{name: getattr(row, name) for name in FIELDS} for row in rows])


def make_event(height: int, name: str = "block") -> Event:
    """An event as the ledger process makes it."""
    return Event(name, height, {"transactions": 3})


def make_fate(raw: bytes, state: str = "pending", **changes: Any) -> dict[str, Any]:
    """What the ledger process says of one transaction that was sent."""
    fate: dict[str, Any] = {
        "hash": hashlib.sha256(raw).hexdigest(),
        "state": state,
        "height": None,
        "index": None,
        "code": None,
        "detail": None,
        "values": {},
    }
    return fate | changes


def refused(raw: bytes, code: str, **values: int | str) -> dict[str, Any]:
    """What it says of one that it refuses."""
    text = Refusal(code, **values).text
    return make_fate(raw, "refused", code=code, detail=text, values=values)


class FakeLedger:
    """A ledger process in memory."""

    def __init__(self) -> None:
        self.is_connected = True
        self.calls: list[tuple[Any, ...]] = []
        """Every call: the method, then its arguments."""
        self.error: Exception | None = None
        """What each call raises."""
        self.fates: dict[bytes, dict[str, Any]] = {}
        """What becomes of a transaction, if it is not that it waits for a block."""
        self.vote_fates: dict[bytes, dict[str, Any]] = {}
        """What becomes of a vote, by its signature, if it is not that it is held."""
        self.check_in_fate: dict[str, Any] = {"code": None, "values": {}}
        """What becomes of a check-in."""
        self.never_commits = False
        """Whether waiting for a block never ends."""
        self.results: dict[str, Any] = {
            "node": example_of(duty_models.NodeStatus),
            "duties": example_of(agent_models.Duties),
            "swarm": example_of(agent_models.SwarmFeed),
            "history": example_of(agent_models.NodeHistory),
            "accrued": ["15000000"],
            "participation": example_of(duty_models.Participation),
            "votes": example_of(duty_models.NodeVotes),
            "contradictions": example_of(duty_models.Votes),
            "account": example_of(models.Account),
            "epoch": example_of(models.Epoch),
            "block": example_of(models.Block),
            "blocks": [b"block one", b"block two"],
            "transaction": example_of(models.Transaction),
            "attestors": example_of(models.Attestors),
            "report": example_of(rule_models.Report),
            "reports": {"reports": [example_of(rule_models.Report)], "next": None},
            "report_check": example_of(rule_models.Penalty),
            "rules": example_of(rule_models.Rules),
            "proof": example_of(Proof),
        }
        """What is answered to each question, but for `nodes`."""
        self.kept = {HEIGHT}
        self.view: dict[str, Any] | None = make_view()
        self.nodes: list[NodeRow] = SESSION_NODES
        """What a new subscriber is greeted with, as the view is."""
        self._on_event: OnEvent = lambda _event, _payload: None

    # ------------------------------------------------------------- api.ports.Ledger

    async def call(self, method: str, *arguments: Any) -> Any:
        answer: Callable[..., Awaitable[Any]] = self.handlers()[method]
        return await answer(*arguments)

    def subscribe(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        for event in self.greeting():
            on_event(*event)

    def push(self, view: dict[str, Any]) -> None:
        """Hand a view to whoever subscribed."""
        self.view = view
        self._on_event("view", view)

    def push_nodes(self, payload: Any) -> None:
        """Hand nodes to whoever subscribed, before the view that they belong to."""
        self._on_event("nodes", payload)

    # ------------------------------------------------------- behind registry.ipc.Server

    def handlers(self) -> dict[str, Callable[..., Awaitable[Any]]]:
        """The methods, by name."""
        return {
            "submit": self._submit,
            "vote": self._vote,
            "check_in": self._check_in,
            "query": self._query,
        }

    def greeting(self) -> list[tuple[str, Any]]:
        """What a new subscriber gets first."""
        if self.view is None:
            return []
        pieces = [("nodes", plain(piece)) for piece in cut_nodes(self.nodes, first=True)]
        return [*pieces, ("view", self.view)]

    async def _submit(self, raws: Sequence[bytes], wait: bool) -> list[dict[str, Any]]:
        self._take_down("submit", list(raws), wait)
        if wait and self.never_commits:
            await asyncio.Event().wait()
        usual: dict[str, Any] = {"state": "pending"}
        if wait:
            usual = {"state": "committed", "height": HEIGHT + 1, "index": 0}
        return [self.fates.get(raw) or make_fate(raw, **usual) for raw in raws]

    async def _vote(self, votes: Sequence[Any]) -> list[dict[str, Any]]:
        self._take_down("vote", [tuple(vote) for vote in votes])
        usual = example_of(duty_models.VoteResult)
        return [self.vote_fates.get(signature, usual) for *_, signature in votes]

    async def _check_in(self, raw: bytes) -> dict[str, Any]:
        self._take_down("check_in", raw)
        return example_of(agent_models.CheckInTaken) | self.check_in_fate

    async def _query(
        self, name: str, arguments: dict[str, Any], height: int | None
    ) -> dict[str, Any]:
        self._take_down("query", name, arguments, height)
        if height is not None and height not in self.kept:
            raise Gone("not kept")
        result = self._page(**arguments) if name == "nodes" else self.results[name]
        if name == "accrued":
            result = self.results[name] * len(arguments["keys"])
        return {"height": HEIGHT if height is None else height, "result": result}

    def _take_down(self, *call: Any) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error

    @staticmethod
    def _page(after: bytes, limit: int, state: str) -> dict[str, Any]:
        found = [key for key in NODE_KEYS if key > after and state in ("", "active")]
        rows = [example_of(models.Node) | {"key": encode_node(key)} for key in found[:limit]]
        return {"nodes": rows, "next": found[limit - 1] if len(found) > limit else None}
