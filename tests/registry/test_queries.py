"""Every answer has the shape that the API shows, and comes from one height."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.errors import CorruptStore, Refusal
from ledger.history import journal_key
from ledger.messages.blocks import BLOCK, block_hash
from ledger.messages.lists import decode_header
from ledger.messages.tables import NODES
from ledger.messages.transactions import Report
from ledger.views import PINNED_HEIGHTS
from registry import queries as queries_module
from registry.addresses import encode_account, encode_node
from registry.api import agent_models, duty_models, models, rule_models
from registry.api.proofs import Proof
from registry.client.proofs import read_record
from registry.ipc import Gone
from registry.queries import QUERIES
from tests.factory import (
    PEOPLE,
    QUARTER,
    REQUIREMENT,
    Network,
    keys,
    make_contact,
    make_genesis,
    places,
    public,
)
from tests.life import OFFENCE, current, report, seats, set_attestors, vote_evidence
from tests.registry.factory import Node, in_loop, in_states, queries_of

EXACT = 2**53
"""Programs that read JSON numbers as floats read integers below this exactly."""


class Asked:
    """A node of a network where something of everything is, and its answers."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.network = node.network
        self.queries = queries_of(node)

    def __call__(self, name: str, pinned: int | None = None, /, **arguments: Any) -> Any:
        answer = self.queries.answer(name, arguments, pinned)
        assert answer.keys() == {"height", "result"}
        assert answer["height"] == (self.node.chain.tip.height if pinned is None else pinned)
        return answer["result"]


@asynccontextmanager
async def made() -> AsyncIterator[Asked]:
    """Six nodes in every state; blocks are committed by the replica, for the census hears of it."""
    network = Network(make_genesis({"activation_floor": 2, "activation_share": 0}))
    network.attesting = False
    node = Node(network)
    try:
        yield Asked(node)
    finally:
        await node.close()


async def fill(asked: Asked) -> None:
    network, node = asked.network, asked.node
    operators = ["alice", "alice", "bob", "carol"]
    await node.block(
        *(network.register(f"node {n}", who) for n, who in enumerate(operators)),
        network.register("open", "dave", QUARTER, reserved=places(("erin", QUARTER))),
    )
    await node.block(network.contribute("frank", QUARTER, "open"))
    await node.block(ms=10_000)
    await node.block(*(network.attest(index) for index in range(3)))
    await node.block(network.update_contact("node 0"), network.transfer("kim", "leo"))


def plain(value: Any) -> Iterator[Any]:
    """Every value inside of an answer."""
    if isinstance(value, dict):
        assert all(type(key) is str for key in value)
        for item in value.values():
            yield from plain(item)
    elif isinstance(value, list):
        for item in value:
            yield from plain(item)
    else:
        yield value


SHAPES: dict[str, tuple[dict[str, Any], type[BaseModel] | None]] = {
    "network": ({}, models.Network),
    "epoch": ({"epoch": 0}, models.Epoch),
    "attestors": ({}, models.Attestors),
    "node": ({"key": public("open")}, duty_models.NodeStatus),
    "duties": ({"key": public("node 0")}, agent_models.Duties),
    "swarm": ({"key": public("node 0"), "since": 0}, agent_models.SwarmFeed),
    "history": ({"key": public("node 0"), "epochs": 48}, agent_models.NodeHistory),
    "nodes": ({"after": b"", "limit": 3, "state": ""}, None),
    "account": ({"key": public("frank")}, models.Account),
    "block": ({"height": 1}, models.Block),
    "blocks": ({"start": 1, "limit": 3}, None),
    "transaction": ({"hash": bytes(32)}, models.Transaction),
    "accrued": ({"keys": [public("alice")]}, None),
    "participation": ({"epochs": 16}, duty_models.Participation),
    "votes": ({"epoch": 2, "key": public("node 0")}, duty_models.NodeVotes),
    "contradictions": ({}, duty_models.Votes),
    "proof": ({"epoch": 1, "table": "nodes", "key": public("open")}, Proof),
    "trust": ({"epoch": 1, "start": None}, None),
    "reports": ({"before": b"", "limit": 3}, None),
    "report": ({"height": 6, "index": 0}, rule_models.Report),
    "report_check": ({"evidence": b""}, rule_models.Penalty),
    "rules": ({}, rule_models.Rules),
}


def test_every_question_has_a_shape_here() -> None:
    assert SHAPES.keys() == QUERIES.keys()


@pytest.mark.parametrize(("name", "row"), SHAPES.items(), ids=SHAPES.keys())
@in_loop
async def test_answers_have_the_shape_that_the_api_shows(
    name: str, row: tuple[dict[str, Any], type[BaseModel] | None]
) -> None:
    arguments, shape = row
    async with made() as asked:
        await fill(asked)
        await asked.node.block(report(asked.network, "kim", vote_evidence(asked.network, "node 0")))
        if name == "transaction":
            block = asked.node.chain.view().block(5)
            assert block is not None
            arguments = {"hash": sha256(block.transactions[1])}
        if name == "report_check":
            evidence = vote_evidence(asked.network, "node 1")
            arguments = {"evidence": encode(Report(OFFENCE["vote_equivocation"], encode(evidence)))}
        result = asked(name, **arguments)
        if shape is not None:
            model = shape.model_validate(result)
            # nothing of the answer is lost, and nothing of the model is left to chance
            assert model.model_dump(mode="json") == msgspec.json.decode(msgspec.json.encode(result))
        for value in plain(result):
            assert type(value) in (int, str, bool, bytes, type(None))
            if type(value) is int:
                assert 0 <= value < EXACT
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(result)) == result


# ------------------------------------------------------------------------------- answers


@in_loop
async def test_the_network_in_one_page() -> None:
    async with made() as asked:
        await fill(asked)
        network, tip = asked.network, asked.node.chain.tip
        page = asked("network")
        assert page["genesis_hash"] == network.hash.hex()
        assert (page["height"], page["epoch"]) == (tip.height, 2)
        assert page["state_root"] == tip.root.hex()
        assert page["nodes"] == in_states(awaiting=1, queued=2, active=2)
        assert page["epoch_ends_ms"] == page["epoch_start_ms"] + network.params.epoch_ms
        assert (page["attestors"], page["single_signer"]) == (3, False)
        assert page["latest_final"] == page["newest_header"]
        assert page["newest_header"]["epoch"] == 1
        assert (page["newest_header"]["signed_weight"], page["newest_header"]["is_final"]) == (
            (3, True)
        )
        assert len(page["fingerprint"]) == 12
        assert int(page["supply"]) == (
            sum(network.balance(who) for who in PEOPLE)
            + int(page["pool"])
            + 4 * REQUIREMENT
            + 2 * QUARTER
        )


@in_loop
async def test_before_the_first_final_list_there_is_none() -> None:
    async with made() as asked:
        page = asked("network")
        assert (page["latest_final"], page["fingerprint"]) == (None, None)
        await asked.node.block(asked.network.attest(0), asked.network.attest(1))
        assert asked("network")["newest_header"]["signed_weight"] == 2
        assert asked("network")["latest_final"] is None
        await asked.node.block(asked.network.attest(2))
        assert asked("network")["latest_final"]["epoch"] == 0
        for _ in range(3):
            await asked.node.block(ms=10_000)
            await asked.node.block()
        # nobody attests any more: the newest final one stays
        assert asked("network")["newest_header"]["epoch"] == 3
        assert asked("network")["latest_final"]["epoch"] == 0


@in_loop
async def test_a_header_is_weighed_by_the_set_that_it_names() -> None:
    """After others took over there is no seat any more at the place of a signature."""
    async with made() as asked:
        network, block = asked.network, asked.node.block
        first, second, third = current(network)
        order = set_attestors(network, seats(network, kept=(first, second)))
        await block(order, *(network.attest(index) for index in range(3)))
        await block(ms=10_000)
        await block()
        await block(*(network.attest(index) for index in range(3)))
        await block(ms=10_000)
        assert current(network) == (first, second)
        for epoch in (0, 1):
            answer = asked("epoch", epoch=epoch)
            assert answer["is_final"]
            assert [row["list_key"] for row in answer["signatures"]] == [
                member.list_key.hex() for member in (first, second, third)
            ]
        latest = asked("network")["latest_final"]
        assert (latest["epoch"], latest["signed_weight"], latest["total_weight"]) == (1, 3, 3)
        await block()
        await block(*(network.attest(index) for index in range(2)))
        latest = asked("network")["latest_final"]
        assert (latest["epoch"], latest["signed_weight"], latest["total_weight"]) == (2, 2, 2)


@in_loop
async def test_an_epoch_is_its_header_with_signatures() -> None:
    async with made() as asked:
        await fill(asked)
        answer = asked("epoch", epoch=1)
        header = decode_header(asked.node.chain.newest_header().header)
        assert answer["header"]["hash"] == header.hash.hex()
        assert answer["header"]["node_count"] == 2
        assert [row["index"] for row in answer["signatures"]] == [0, 1, 2]
        seats = asked("attestors")["attestors"]
        assert [row["list_key"] for row in answer["signatures"]] == [
            seat["list_key"] for seat in seats
        ]
        assert all(seat["attested_newest"] and seat["accepted"] == 1 for seat in seats)
        assert answer["is_final"]
        assert asked("epoch", epoch=0)["signatures"] == []
        assert asked("epoch", epoch=2) is None
        # while the draft waits for the next block, the newest header is there already
        await asked.node.block(ms=10_000)
        assert asked("epoch", epoch=2)["epoch"] == 2
        assert not any(seat["attested_newest"] for seat in asked("attestors")["attestors"])


@in_loop
async def test_a_node_says_what_is_open_and_what_comes_next() -> None:
    async with made() as asked:
        await fill(asked)
        node = asked("node", key=public("open"))
        assert node["key"] == encode_node(public("open"))
        assert (node["state"], node["staked"]) == ("awaiting", str(2 * QUARTER))
        assert (node["open"], node["open_places"]) == (str(QUARTER), 7)
        assert [row["account"] for row in node["contributions"]] == [
            encode_account(public(who)) for who in ("dave", "frank")
        ]
        assert node["reserved"] == [
            {"account": encode_account(public("erin")), "amount": str(QUARTER)}
        ]
        assert (node["swarm"], node["queue_position"]) == (None, None)
        assert "waits for stake" in node["next_step"]
        first = asked("node", key=public("node 0"))
        assert first["contact"]["ipv4"] == "5.6.7.8"
        assert first["pending_contact"]["ipv4"] == "5.6.7.9"
        assert first["contact_sequence"] == 1
        assert asked("node", key=public("nobody")) is None
        states = [asked("node", key=public(f"node {n}")) for n in range(4)]
        # alice's second node is behind everybody's first
        assert [row["state"] for row in states] == ["active", "queued", "active", "queued"]
        assert [row["queue_position"] for row in states] == [None, 1, None, 2]
        for row in states:
            assert (row["swarm"] is None) == (row["state"] != "active")
            assert row["x25519"] != row["key"]
            assert (row["list_key"], row["consensus_key"]) == (None, None)


@in_loop
async def test_addresses_are_shown_as_people_write_them() -> None:
    async with made() as asked:
        contact = make_contact(ipv6=bytes.fromhex("2a01") + bytes(13) + b"\x07")
        await asked.node.block(asked.network.register("node", contact=contact))
        shown = asked("node", key=public("node"))["contact"]
        assert (shown["ipv4"], shown["ipv6"]) == ("5.6.7.8", "2a01::7")
        assert (shown["storage_version"], shown["router_version"]) == ([2, 11, 0], [11, 6, 0])


@in_loop
async def test_an_account_with_its_stakes() -> None:
    async with made() as asked:
        await fill(asked)
        alice = asked("account", key=public("alice"))
        assert alice["account"] == encode_account(public("alice"))
        assert (int(alice["balance"]), alice["nonce"]) == (asked.network.balance("alice"), 2)
        owned = sorted(public(f"node {n}") for n in (0, 1))
        assert alice["stakes"] == [
            {"node": encode_node(key), "amount": str(REQUIREMENT)} for key in owned
        ]
        nobody = asked("account", key=keys("nobody").public)
        assert (nobody["balance"], nobody["nonce"], nobody["stakes"]) == ("0", 0, [])


# --------------------------------------------------------------------------------- pages


@pytest.mark.parametrize("limit", [1, 2, 5, 200])
@in_loop
async def test_pages_of_nodes_come_to_all_of_them_by_ascending_key(limit: int) -> None:
    async with made() as asked:
        await fill(asked)
        rows, after = [], b""
        while True:
            page = asked("nodes", after=after, limit=limit, state="")
            assert len(page["nodes"]) <= limit
            rows += page["nodes"]
            if page["next"] is None:
                break
            after = page["next"]
        keys = [key for key, _ in asked.network.state.items(NODES)]
        assert [row["key"] for row in rows] == [encode_node(key) for key in keys]
        # one that is asked for by its key says more, and nothing else
        full = [asked("node", key=key) for key in keys]
        assert rows == [{name: node[name] for name in rows[0]} for node in full]


@in_loop
async def test_pages_of_one_state() -> None:
    async with made() as asked:
        await fill(asked)
        for state, count in (("active", 2), ("queued", 2), ("awaiting", 1)):
            page = asked("nodes", after=b"", limit=200, state=state)
            assert [row["state"] for row in page["nodes"]] == [state] * count
            assert page["next"] is None
        page = asked("nodes", after=b"", limit=1, state="queued")
        rest = asked("nodes", after=page["next"], limit=5, state="queued")
        assert len(page["nodes"]) == len(rest["nodes"]) == 1
        assert page["nodes"] != rest["nodes"]


@pytest.mark.parametrize("limit", [-1, 0])
@in_loop
async def test_a_limit_of_nothing_gives_nothing(limit: int) -> None:
    async with made() as asked:
        await fill(asked)
        assert asked("nodes", after=b"", limit=limit, state="")["nodes"] == []
        assert asked("blocks", start=1, limit=limit) == []


@in_loop
async def test_a_page_walks_the_queue_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with made() as asked:
        await fill(asked)
        walks = 0
        view = asked.node.chain.view()
        items = type(view.state).items

        def counting(self: Any, table: Any, start: bytes = b"") -> Any:
            nonlocal walks
            walks += table.letter == b"q"
            return items(self, table, start)

        monkeypatch.setattr(type(view.state), "items", counting)
        page = asked("nodes", after=b"", limit=200, state="queued")
        assert sorted(row["queue_position"] for row in page["nodes"]) == [1, 2]
        assert walks == 1


# ------------------------------------------------------------------ blocks, transactions


@in_loop
async def test_a_block_and_its_transactions() -> None:
    async with made() as asked:
        await fill(asked)
        block = asked.node.chain.view().block(1)
        assert block is not None
        answer = asked("block", height=1)
        assert answer["hash"] == block_hash(block.header).hex()
        assert answer["previous"] == asked.network.hash.hex()
        assert [row["kind"] for row in answer["transactions"]] == ["register"] * 5
        assert [row["hash"] for row in answer["transactions"]] == [
            sha256(raw).hex() for raw in block.transactions
        ]
        assert asked("block", height=2)["previous"] == answer["hash"]
        assert asked("block", height=0) is None
        assert asked("block", height=6) is None


@in_loop
async def test_followers_get_blocks_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    async with made() as asked:
        await fill(asked)
        raws = asked("blocks", start=1, limit=200)
        assert [BLOCK.decode(raw).header.height for raw in raws] == [1, 2, 3, 4, 5]
        reader = asked.node.chain.view().reader
        assert raws == [reader.get(journal_key(height)) for height in range(1, 6)]
        assert asked("blocks", start=4, limit=200) == raws[3:]
        assert asked("blocks", start=2, limit=2) == raws[1:3]
        assert asked("blocks", start=0, limit=1) == raws[:1]
        assert asked("blocks", start=6, limit=200) == []
        monkeypatch.setattr(queries_module, "MAX_PAGE", 2)
        assert asked("blocks", start=1, limit=200) == raws[:2]
        # one is always given, however large
        monkeypatch.setattr(queries_module, "MAX_BLOCKS_BYTES", 1)
        assert asked("blocks", start=1, limit=200) == raws[:1]


@in_loop
async def test_what_became_of_a_transaction() -> None:
    async with made() as asked:
        network, node = asked.network, asked.node
        raw = network.transfer("alice", "bob", 10**14)
        expires = network.transfer("carol", "bob", expiry=1)
        dropped = network.transfer("carol", "bob")
        assert asked("transaction", hash=sha256(raw)) is None
        await node.pool.add([expires, dropped, raw])
        answer = asked("transaction", hash=sha256(raw))
        assert (answer["state"], answer["height"], answer["index"]) == ("pending", None, None)
        assert (answer["kind"], answer["raw"]) == ("transfer", raw.hex())
        await node.block(network.transfer("kim", "leo"))
        gone = [asked("transaction", hash=sha256(tx)) for tx in (expires, dropped)]
        assert [(row["state"], row["code"], row["raw"]) for row in gone] == [
            ("expired", "expired", None),
            ("dropped", "nonce_skipped", None),
        ]
        await node.block()
        answer = asked("transaction", hash=sha256(raw))
        assert (answer["state"], answer["height"], answer["index"]) == ("committed", 2, 0)
        assert answer["body"] == {"recipient": public("bob").hex(), "amount": str(10**14)}
        assert (answer["sender"], answer["fee"]) == (encode_account(public("alice")), "1000")
        # at an older height it was not there yet
        assert asked("transaction", 1, hash=sha256(raw)) is None


@in_loop
async def test_a_transaction_whose_block_is_missing_is_damage_and_no_answer() -> None:
    async with made() as asked:
        raw = asked.network.transfer("kim", "leo")
        await asked.node.block(raw)
        asked.node.chain.store.write({journal_key(1): None})
        await asked.node.block()
        with pytest.raises(CorruptStore, match="block 1 is missing"):
            asked("transaction", hash=sha256(raw))


@pytest.mark.parametrize("amount", [1, 10**14])
@in_loop
async def test_amounts_in_bodies_are_strings_whatever_they_are(amount: int) -> None:
    async with made() as asked:
        network = asked.network
        transfer = network.transfer("alice", "bob", amount)
        register = network.register("node", "alice", QUARTER, reserved=places(("bob", QUARTER)))
        await asked.node.block(transfer, register)
        assert asked("transaction", hash=sha256(transfer))["body"]["amount"] == str(amount)
        body = asked("transaction", hash=sha256(register))["body"]
        assert body["stake"] == str(QUARTER)
        assert body["registration"]["reserved"][0]["amount"] == str(QUARTER)
        assert body["registration"]["fee"] == 500


# ------------------------------------------------------------------------------- proofs


@in_loop
async def test_a_proof_is_of_the_end_of_an_epoch_that_is_kept() -> None:
    async with made() as asked:
        await fill(asked)
        header = asked.network.header
        key = public("open")
        shown = asked("proof", epoch=header.epoch, table="nodes", key=key)
        assert (shown["height"], shown["epoch"]) == (header.height, header.epoch)
        assert read_record(header, NODES, key, bytes.fromhex(shown["proof"])) is not None
        assert asked("proof", epoch=header.epoch + 1, table="nodes", key=key) is None
        assert asked("proof", epoch=2**62, table="nodes", key=key) is None


@in_loop
async def test_a_proof_that_is_too_long_is_not_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async with made() as asked:
        await fill(asked)
        monkeypatch.setattr(queries_module, "MAX_PROOF_BYTES", 100)
        with pytest.raises(Refusal, match="too_large"):
            asked("proof", epoch=1, table="nodes", key=public("open"))


# ------------------------------------------------------------------------ pinned heights


@in_loop
async def test_an_answer_comes_from_the_height_that_was_asked_for() -> None:
    async with made() as asked:
        network, node = asked.network, asked.node
        questions: list[tuple[str, dict[str, Any]]] = [
            ("network", {}),
            ("account", {"key": public("bob")}),
            ("node", {"key": public("node")}),
            ("nodes", {"after": b"", "limit": 10, "state": ""}),
            ("epoch", {"epoch": 1}),
            ("attestors", {}),
            ("blocks", {"start": 1, "limit": 100}),
            ("block", {"height": 4}),
        ]
        steps = [
            (network.register("node", "alice", QUARTER), 100),
            (network.contribute("bob", QUARTER), 100),
            (network.withdraw("bob"), 100),
            (network.contribute("carol", 3 * QUARTER), 10_000),
            (network.transfer("kim", "leo"), 10_000),
            (network.attest(0), 100),
        ]
        told = []
        for raw, ms in steps:
            network.attesting = False
            await node.block(raw if raw != steps[-1][0] else network.attest(0), ms=ms)
            told.append([asked(name, **arguments) for name, arguments in questions])
        for height, answers in enumerate(told, 1):
            again = [asked(name, height, **arguments) for name, arguments in questions]
            assert again == answers


@in_loop
async def test_heights_that_are_not_kept_are_gone() -> None:
    async with made() as asked:
        for _ in range(PINNED_HEIGHTS + 2):
            await asked.node.block(asked.network.transfer("alice", "bob"))
        newest = asked.node.chain.tip.height
        assert asked("account", newest - PINNED_HEIGHTS + 1, key=public("alice"))["nonce"] == 3
        for height in (newest - PINNED_HEIGHTS, 0, newest + 1, -1):
            with pytest.raises(Gone, match="not kept"):
                asked("network", height)
