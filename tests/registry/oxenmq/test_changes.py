"""What clients see through a face while a real service changes, lies, goes away and comes back."""

import contextlib
import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from registry.api.models import HEIGHT
from registry.oxenmq import blocks
from registry.oxenmq.blocks import SUBSCRIPTION_S
from tests.registry.api.fake_ledger import (
    ACTIVE_NODES,
    SESSION_NODES,
    make_block_hash,
    make_node,
    make_view,
    plain,
    push_of,
)
from tests.registry.api.processes import LedgerProcess, Web, folder
from tests.registry.oxenmq.face import SERVER_KEY, Hand, client_of, run_face
from tests.registry.oxenmq.proven import make_proven, verify
from tests.registry.oxenmq_client import NoAnswer, OxenClient, subscribed
from tests.registry.session_client import STORAGE_SERVER, check_storage_server, fetch

SILENCE_MS = 300
"""For what should not come: long enough that it mostly would have come."""


class Network:
    """A service that a test can kill, and the blocks behind it, whose heights only grow."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._place = stack.enter_context(folder())
        self.ledger = LedgerProcess(self._place / "s")
        stack.callback(self.ledger.end)
        self.height = HEIGHT
        self.web = self._start()

    @property
    def url(self) -> str:
        """Where it answers, after a restart too."""
        return self.web.url

    def _start(self, *arguments: str) -> Web:
        web = Web(self._place, *arguments)
        self._stack.callback(web.process.communicate)
        self._stack.callback(web.process.kill)
        web.wait_for("GET /health/ready", lambda answer: "no view" not in str(answer.body))
        return web

    def kill(self) -> None:
        """End the service."""
        self.web.process.kill()
        self.web.process.wait()

    def restart(self) -> None:
        """Start it again where it was."""
        self.web = self._start("--listen", f"127.0.0.1:{self.web.port}")

    def make_block(self, nodes: object = None) -> int:
        """Make a block, and rows of nodes with it; return its height."""
        self.height += 1
        self.ledger.push(make_view(self.height), nodes)
        return self.height

    def make_blocks_until_told(self, client: OxenClient) -> int:
        """Make blocks until a client has heard of the newest; return its height.

        Of those that are made before a face follows its service nobody hears.
        """
        for _ in range(100):
            height = self.make_block()
            with contextlib.suppress(NoAnswer):
                while client.wait_for_block(SILENCE_MS).height != height:
                    pass
                return height
        raise AssertionError("no block was ever told")


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """A service that runs."""
    with ExitStack() as stack:
        yield Network(stack)


# ---- New blocks ----


@pytest.mark.parametrize("scheme", ["ipc", "tcp", "curve"])
def test_blocks_are_told_in_order(network: Network, scheme: str) -> None:
    with ExitStack() as stack:
        place = stack.enter_context(folder())
        address = f"ipc://{place}/omq" if scheme == "ipc" else f"{scheme}://127.0.0.1:0"
        face = stack.enter_context(run_face(network.url, address))
        key = SERVER_KEY if scheme == "curve" else ""
        clients = [
            stack.enter_context(subscribed(face.addresses[0], server_key=key)) for _ in range(3)
        ]
        silent = stack.enter_context(client_of(face, scheme))
        network.make_blocks_until_told(clients[0])
        heights = [network.make_block() for _ in range(5)]
        newest = make_block_hash(heights[-1])
        for client in clients:
            told = [client.wait_for_block()]
            while told[-1].height < heights[-1]:
                told.append(client.wait_for_block())
            assert [block.height for block in told][-5:] == heights
            assert told[-1].block_hash.hex() == newest
            state = client.request("rpc.get_service_nodes", STORAGE_SERVER).json
            assert (state["height"], state["block_hash"]) == (heights[-1], newest)
            assert client.request("sub.block").data == [b"ALREADY"]
        with pytest.raises(NoAnswer):
            silent.wait_for_block(SILENCE_MS)


def test_a_subscription_ends_after_half_an_hour(network: Network) -> None:
    clock = Hand()
    with run_face(network.url, clock=clock) as face, ExitStack() as stack:
        old, new = (stack.enter_context(subscribed(face.addresses[0])) for _ in range(2))
        height = network.make_blocks_until_told(new)
        while old.wait_for_block().height != height:
            pass
        clock.now_s += SUBSCRIPTION_S - 1
        assert new.request("sub.block").data == [b"ALREADY"]
        clock.now_s += 1
        height = network.make_block()
        assert new.wait_for_block().height == height
        with pytest.raises(NoAnswer):
            old.wait_for_block(SILENCE_MS)
        assert old.request("sub.block").data == [b"OK"]
        height = network.make_block()
        assert old.wait_for_block().height == new.wait_for_block().height == height


def test_a_client_that_starts_again_is_told_again(network: Network) -> None:
    with run_face(network.url) as face:
        with subscribed(face.addresses[0], identity=b"Lrouter") as client:
            network.make_blocks_until_told(client)
        before = network.make_block()
        with client_of(face, identity=b"Lrouter") as client:
            assert client.request("sub.block").data in ([b"OK"], [b"ALREADY"])
            assert network.make_blocks_until_told(client) > before


def test_who_has_gone_takes_no_place(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MAX_OF_ONE_HOST", 2)
    with run_face(network.url, "tcp://127.0.0.1:0") as face:
        (address,) = face.addresses
        with subscribed(address) as stays:
            with subscribed(address), client_of(face, "tcp") as late:
                answer = late.request("sub.block")
                assert answer.data == [b"500", b"there are too many subscriptions"]
            network.make_blocks_until_told(stays)
            with subscribed(address) as late:
                network.make_block()
                assert late.wait_for_block().height == network.height


# ---- A service that cannot be relied on ----


def test_a_service_is_lost_and_comes_back(network: Network) -> None:
    ask = {"height": [1]}
    with run_face(network.url) as face, subscribed(face.addresses[0]) as client:
        height = network.make_blocks_until_told(client)
        nodes = client.request("rpc.get_service_nodes", STORAGE_SERVER).json
        assert nodes["height"] == height
        network.kill()
        answer = client.request("rpc.get_block_hash", ask)
        assert answer.data == [b"500", b"no service answers: ask again in a moment"]
        # what was told of the newest block still is, for a while
        assert client.request("rpc.get_service_nodes", STORAGE_SERVER).json == nodes
        assert client.request("sub.block").data == [b"ALREADY"]
        network.restart()
        newest = network.make_blocks_until_told(client)
        assert client.request("rpc.get_service_nodes", STORAGE_SERVER).json["height"] == newest
        assert client.request("rpc.get_block_hash", ask).json["1"]


def test_a_service_that_lies_moves_nobody(network: Network) -> None:
    first, second = ACTIVE_NODES[0], ACTIVE_NODES[1]
    sybil = make_node(200)
    lies = [
        make_node(1, public_ip="127.66.6.6", storage_port=1),
        make_node(3, swarm_id=7),
        make_node(4, active=False, swarm_id=2**64 - 1),
        sybil,
    ]
    with run_face(network.url, lists=verify(make_proven())) as face, client_of(face) as client:
        height = network.make_block(push_of(*lies, removed=[second.service_node_pubkey]))
        shown_at = b'"height":%d' % height
        network.web.wait_for("GET /v1/network", lambda answer: shown_at in answer.body)
        # what the service tells those who believe it
        told = json.loads(fetch(network.url, "get_service_nodes", STORAGE_SERVER).body)["result"]
        believed = {row["service_node_pubkey"]: row for row in told["service_node_states"]}
        assert believed[first.service_node_pubkey]["public_ip"] == "127.66.6.6"
        assert second.service_node_pubkey not in believed
        assert believed[sybil.service_node_pubkey]["swarm_id"] == sybil.swarm_id
        # what comes through
        rows = check_storage_server(client.request("rpc.get_service_nodes", STORAGE_SERVER).data[1])
        assert rows is not None
        shown = {row["service_node_pubkey"]: row for row in rows}
        for node in ACTIVE_NODES:
            row, honest = shown[node.service_node_pubkey], plain(node)
            assert row == {name: honest[name] for name in row}
        assert shown[sybil.service_node_pubkey]["swarm_id"] == 2**64 - 1
        params = {"active_only": True, "fields": ["pubkey_ed25519"]}
        active = client.request("rpc.get_service_nodes", params).json["service_node_states"]
        keys = {node.pubkey_ed25519 for node in ACTIVE_NODES}
        assert {row["pubkey_ed25519"] for row in active} == keys
    network.make_block(push_of(*SESSION_NODES, first=True))


def test_a_list_that_expired_is_an_error(network: Network) -> None:
    trusted = verify(make_proven())
    trusted.start_update(trusted.header.valid_until_ms + 1)
    with run_face(network.url, lists=trusted) as face, client_of(face) as client:
        answer = client.request("rpc.get_service_nodes", STORAGE_SERVER)
        assert answer.status == "500"
        assert b"expired" in answer.data[1]
        assert client.request("rpc.get_info").status == "200"
        face.lists = None
        assert client.request("rpc.get_service_nodes", STORAGE_SERVER).status == "200"
