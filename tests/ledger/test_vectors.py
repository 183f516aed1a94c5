"""Golden vectors for other implementations: made again here and compared byte for byte.

`WAYPOST_REGENERATE=1` writes them anew; whatever then differs is a change of the protocol.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ledger.chain import Chain
from ledger.codec import encode
from ledger.crypto import Signed, key_pair, sha256, verify
from ledger.messages.blocks import BLOCK
from ledger.messages.genesis import GENESIS
from ledger.messages.state import ACTIVE, DECOMMISSIONED, DEREGISTERED, EXITED, TOMBSTONED
from ledger.messages.tables import NODES
from ledger.replay import check_sealed, execute_block
from ledger.rules.seeds import compute_next_seed, swarm_seed
from ledger.store import MemoryStore
from ledger.transactions import TX_KINDS, WIRE
from tests.factory import (
    EPOCH_MS,
    QUARTER,
    REQUIREMENT,
    SHORT_TIMES,
    Network,
    attestor_roles,
    founding,
    links,
    make_contact,
    make_genesis,
    places,
    public,
)
from tests.life import (
    current,
    fork_evidence,
    header_evidence,
    judge,
    report,
    seats,
    set_attestors,
    set_keys,
    set_params,
    set_successor,
    vote_evidence,
)

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
V6 = bytes.fromhex("26200000000000000000000000000001")

NAMES = (
    *("alice", "bob", "carol", "producer", "attestor 0", "attestor 1", "attestor 2"),
    *("node", "node duty", "node list", "node consensus", "node 2", "node 2 duty"),
    *("node duty 2", "a duty", "b duty", "c duty", "d duty", "e duty", "attestor 3"),
)
"""Every name whose key signs something in the vectors."""


def seeds() -> dict[str, str]:
    """The 32-byte seed of each key: SHA-256 of its name."""
    return {name: sha256(name.encode()).hex() for name in NAMES}


def make_network() -> Network:
    """The network of the transactions: five founding nodes, so that a sixth has its quorum."""
    return Network(make_genesis(nodes=founding("a", "b", "c", "d", "e", operator="carol")))


def samples() -> dict[str, tuple[Network, bytes]]:
    """A network and a transaction of each kind, with something in every field."""
    network = make_network()
    register = network.register(
        stake=QUARTER,
        contact=make_contact(ipv6=V6),
        reserved=places(("bob", 7), ("carol", 2**40)),
        **attestor_roles("node"),
    )
    return {
        "transfer": (network, network.transfer("alice", "bob", 300, nonce=0)),
        "register": (network, register),
        "contribute": (network, network.contribute("bob", 2**40)),
        "withdraw": (network, network.withdraw("carol")),
        "update_contact": (network, network.update_contact(sequence=70_000)),
        "attest": (network, network.attest(1)),
        **late_samples(),
    }


def late_samples() -> dict[str, tuple[Network, bytes]]:
    """The same of what takes a node on duty: in epoch 2, with six nodes."""
    network = make_network()
    network.block(network.register(**attestor_roles("node")))
    network.end_epoch()
    list_key = public("attestor 0")
    added = seats(network, "attestor 3", kept=current(network))
    return {
        "request_unlock": (network, network.request_unlock()),
        "claim_rewards": (network, network.claim_rewards("carol", "a")),
        "set_keys": (network, set_keys(network, sequence=70_000)),
        "judge": (network, judge(network, faults=33)),
        "report": (network, report(network, "bob", fork_evidence(network, list_key))),
        "set_attestors": (network, set_attestors(network, added)),
        "set_params": (network, set_params(network, minimum_fee=70_000)),
        "set_successor": (network, set_successor(network)),
    }


def transaction_vectors() -> Any:
    """For each kind its bytes, its hash, and everything that its signatures cover."""
    kinds = []
    for name, (network, raw) in samples().items():
        tx = WIRE.decode(raw)
        signed = network.chain.signatures(tx)
        kinds.append(
            {
                "kind": name,
                "tag": tx.kind.tag,
                "raw": raw.hex(),
                "hash": tx.hash.hex(),
                "signatures": [
                    {part: value.hex() for part, value in item._asdict().items()} for item in signed
                ],
            }
        )
    network = make_network()
    return {
        "genesis_hash": network.hash.hex(),
        "header": network.chain.newest_header().header.hex(),
        "seeds": seeds(),
        "transactions": kinds,
    }


def seed_vectors() -> Any:
    """A hash chain, and seeds that follow from reveals."""
    network = Network()
    network.attesting = False
    seats = [seat.list_key for seat in network.genesis.attestors]
    epochs = []
    for seated in ((2, 0), (), (0, 1, 2), (1,)):
        before = network.header.seed
        raws = [network.attest(index) for index in seated]
        reveals = [
            [body.index, body.reveal.hex()] for body in (WIRE.decode(raw).body for raw in raws)
        ]
        network.block(*raws)
        after = network.end_epoch().seed
        epochs.append(
            {
                "seed": before.hex(),
                "reveals": sorted(reveals),
                "next_seed": after.hex(),
                "swarm_seed": swarm_seed(after),
            }
        )
    chain = links(public("attestor 0"), 4)
    return {
        "chain": {"first": chain[0].hex(), "links": 4, "tip": chain[-1].hex()},
        "attestors": [{"key": key.hex(), "tip": links(key)[-1].hex()} for key in seats],
        "epochs": epochs,
    }


def epoch_vectors() -> Any:
    """A small history: genesis, blocks, and the root after each."""
    network = Network()
    root = network.chain.tip.root.hex()
    network.block(
        network.register(stake=QUARTER, reserved=places(("bob", 7)), **attestor_roles("node")),
        network.register("node 2", "carol", contact=make_contact(9, ipv6=V6)),
    )
    network.block(network.contribute("bob", 7), network.transfer("alice", "bob", 5))
    network.block(network.withdraw("bob"), b"no transaction", codes=[0, 3])
    headers = [network.chain.newest_header().header.hex()]
    for sequence in (1, 2):
        network.block(network.update_contact("node 2", sequence), ms=EPOCH_MS)
        headers.append(network.chain.newest_header().header.hex())
        network.block(network.transfer("bob", "carol", 5))
    return {
        "genesis": network.raw.hex(),
        "root": root,
        "blocks": block_rows(network),
        "headers": headers,
    }


def life_vectors() -> Any:
    """The same of the whole life of nodes: every step of an epoch's end has something to do."""
    owners = ("carol", "dave", "erin", "frank", "grace", "heidi", "ivan")
    nodes = [
        founding(name, operator=owner)[0] for name, owner in zip("abcdefg", owners, strict=True)
    ]
    genesis = make_genesis(
        SHORT_TIMES,
        nodes=tuple(sorted(nodes, key=lambda row: row.node)),
        recovery=(public("recovery"),),
    )
    network = Network(genesis)
    root, headers = network.chain.tip.root.hex(), [network.chain.newest_header().header.hex()]

    def epoch(*raws: bytes, wait_ms: int = 0) -> None:
        network.block(*raws)
        network.end_epoch(late_ms=wait_ms)
        headers.append(network.chain.newest_header().header.hex())

    epoch(
        network.register(stake=QUARTER, **attestor_roles("node")),
        network.contribute("bob", REQUIREMENT - QUARTER),
        network.register("node 2", "judy", **attestor_roles("node 2")),
    )
    for _ in range(2):
        epoch(judge(network, faults=5), judge(network, "a", faults=2))
    epoch(set_keys(network), network.claim_rewards("dave", "b"))
    assert network.node().state == network.node("a").state == DECOMMISSIONED
    epoch(judge(network, "a"), judge(network, faults=1))
    for _ in range(4):
        epoch(judge(network, faults=1))
    assert network.node("a").state == ACTIVE
    epoch(network.request_unlock("carol", "a"), report(network, "bob", vote_evidence(network, "b")))
    assert (network.node().state, network.node("a").state) == (DEREGISTERED, EXITED)
    added = seats(network, "attestor 3", kept=current(network))
    epoch(set_attestors(network, added), set_params(network, minimum_fee=2_000))
    offenders = (current(network)[0].list_key, public("node 2 list"))
    evidence = [header_evidence(network, key) for key in offenders]
    epoch(*(report(network, "bob", one) for one in evidence), wait_ms=70_000)
    assert (network.node("node 2").state, network.state.get(NODES, public("a"))) == (
        TOMBSTONED,
        None,
    )
    for _ in range(8):
        epoch()
    assert (network.params.minimum_fee, len(current(network))) == (2_000, 3)
    assert public("attestor 3") in [seat.list_key for seat in current(network)]
    new = seats(network, "attestor 4")
    epoch(set_attestors(network, new, recovery=("recovery",), fee=2_000))
    assert [seat.list_key for seat in current(network)] == [public("attestor 4")]
    return {
        "genesis": network.raw.hex(),
        "root": root,
        "blocks": block_rows(network),
        "headers": headers,
    }


def block_rows(network: Network) -> list[dict[str, Any]]:
    """Each block with its root and the results of its transactions."""
    return [
        {
            "block": encode(block).hex(),
            "root": block.header.state_root.hex(),
            "codes": [location_code(network, raw) for raw in block.transactions],
        }
        for block in network.blocks
    ]


def location_code(network: Network, raw: bytes) -> int:
    """The result of a transaction that stands in one block."""
    location = network.view.location(sha256(raw))
    assert location is not None
    return location.code


MAKERS: dict[str, Callable[[], Any]] = {
    "transactions.json": transaction_vectors,
    "seed.json": seed_vectors,
    "epoch.json": epoch_vectors,
    "life.json": life_vectors,
}


@pytest.mark.parametrize("name", MAKERS)
def test_vectors_are_what_the_ledger_makes(name: str) -> None:
    text = json.dumps(MAKERS[name](), indent=1) + "\n"
    if os.environ.get("WAYPOST_REGENERATE") == "1":
        (VECTORS / name).write_text(text, encoding="utf-8")
    assert (VECTORS / name).read_text(encoding="utf-8") == text


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


# ---- the files by themselves, as another implementation reads them ----


def test_every_kind_has_a_vector() -> None:
    listed = load("transactions.json")["transactions"]
    assert [(row["kind"], row["tag"]) for row in listed] == [
        (kind.name, kind.tag) for kind in TX_KINDS
    ]


def test_signatures_of_the_vectors_are_valid() -> None:
    vectors = load("transactions.json")
    keys = {key_pair(bytes.fromhex(seed)).public for seed in vectors["seeds"].values()}
    for row in vectors["transactions"]:
        raw = bytes.fromhex(row["raw"])
        assert sha256(raw).hex() == row["hash"]
        assert row["signatures"]
        for item in row["signatures"]:
            signed = Signed(**{part: bytes.fromhex(value) for part, value in item.items()})
            assert verify(signed)
            assert signed.key in keys
            assert signed.signature in raw
            assert signed.message[32:64].hex() == vectors["genesis_hash"]


def test_seeds_of_the_vectors_follow() -> None:
    vectors = load("seed.json")
    value = bytes.fromhex(vectors["chain"]["first"])
    for _ in range(vectors["chain"]["links"]):
        value = sha256(value)
    assert value.hex() == vectors["chain"]["tip"]
    accepted = [bytes.fromhex(attestor["tip"]) for attestor in vectors["attestors"]]
    for epoch in vectors["epochs"]:
        reveals = [(index, bytes.fromhex(reveal)) for index, reveal in epoch["reveals"]]
        for index, reveal in reveals:
            assert sha256(reveal) == accepted[index]
            accepted[index] = reveal
        after = compute_next_seed(bytes.fromhex(epoch["seed"]), reveals)
        assert after.hex() == epoch["next_seed"]
        assert int.from_bytes(after[:8], "little") == epoch["swarm_seed"]


@pytest.mark.parametrize("name", ["epoch.json", "life.json"])
def test_history_of_the_vectors_replays(name: str) -> None:
    vectors = load(name)
    raw = bytes.fromhex(vectors["genesis"])
    assert encode(GENESIS.decode(raw)) == raw
    chain = Chain(MemoryStore(), raw)
    chain.init()
    assert chain.tip.root.hex() == vectors["root"]
    headers = [chain.newest_header().header.hex()]
    for row in vectors["blocks"]:
        block = BLOCK.decode(bytes.fromhex(row["block"]))
        check_sealed(chain, block)
        executed = execute_block(chain, block)
        assert executed.root.hex() == row["root"]
        assert list(executed.codes) == row["codes"]
        if executed.ended_epoch:
            headers.append(chain.newest_header().header.hex())
    assert headers == vectors["headers"]
