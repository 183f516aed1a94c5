"""Evidence of heights that a node never saw which began with a snapshot: nobody stops over it."""

import base64
from typing import Any, Final

import httpx2

from ledger.crypto import sha256, sign
from ledger.messages.evidence import MISBEHAVIOUR
from ledger.messages.genesis import GENESIS
from ledger.nodes import consensus_address
from ledger.params import Params
from ledger.types import Height
from registry.addresses import encode_node
from registry.cometbft.genesis import chain_id, evidence_ages
from registry.cometbft.headers import BlockId, Commit, PartSet, Vote, vote_bytes
from registry.keystore import derive
from tests.comet.network import Network, Validator, free_ports, seed_of, wait_for, watched

PARAMS: Final = {"block_ms": 250, "epoch_ms": 1_000, "attest_blocks": 4, "set_change_ms": 0}
CULPRIT: Final = 3
PRECOMMIT: Final = 2


def double_vote(network: Network, asked: Validator, height: Height) -> dict[str, Any]:
    """Genuine evidence: the culprit signed two precommits for blocks of one height."""
    genesis = GENESIS.decode(network.genesis)
    pair = derive(seed_of(network.validators[CULPRIT].name), "consensus")
    address = consensus_address(pair.public)
    time = asked.consensus("block", height=height)["block"]["header"]["time"]
    seats = sorted(consensus_address(seat.consensus_key) for seat in genesis.attestors)
    votes = []
    for tag in (b"one block", b"another block"):
        block = BlockId(sha256(tag).hex(), PartSet(1, sha256(tag + b" in parts").hex()))
        signed = vote_bytes(
            chain_id(genesis.name, network.genesis_hash),
            Commit(str(height), 0, block, []),
            Vote(PRECOMMIT, address.hex(), time, None),
        )
        votes.append(
            {
                "type": PRECOMMIT,
                "height": str(height),
                "round": 0,
                "block_id": {
                    "hash": block.hash.upper(),
                    "parts": {"total": 1, "hash": block.parts.hash.upper()},
                },
                "timestamp": time,
                "validator_address": address.hex().upper(),
                "validator_index": seats.index(address),
                "signature": base64.b64encode(sign(pair, signed)).decode(),
                "extension": None,
                "extension_signature": None,
            }
        )
    one, other = sorted(votes, key=lambda vote: str(vote["block_id"]))
    return {
        "type": "tendermint/DuplicateVoteEvidence",
        "value": {
            "vote_a": one,
            "vote_b": other,
            "TotalVotingPower": str(len(seats)),
            "ValidatorPower": "1",
            "Timestamp": time,
        },
    }


def send(asked: Validator, evidence: dict[str, Any]) -> str:
    """Hand evidence to a CometBFT; return what it says against it, nothing if it is taken."""
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "broadcast_evidence",
        "params": {"evidence": evidence},
    }
    transport = httpx2.HTTPTransport(uds=str(asked.settings.cometbft_rpc_socket))
    with httpx2.Client(transport=transport, base_url="http://cometbft", timeout=30.0) as client:
        told = client.post("/", json=call).json()
    return str(told["error"]["data"]) if "error" in told else ""


def test_evidence_of_old_heights_stops_nobody() -> None:
    with watched(4, PARAMS) as network:
        ages = evidence_ages(Params(*GENESIS.decode(network.genesis).params))
        first, *_ = network.validators
        for validator, port in zip(network.validators, free_ports(4), strict=True):
            changes = {"rpc": f"127.0.0.1:{port}", "snapshot_epochs": 12}
            validator.settings = validator.settings.model_copy(update=changes)
        network.start()
        wait_for(lambda: first.lines("snapshot"), lambda: first.said[-2000:])
        first.wait_for_height(first.lines("snapshot")[0]["height"] + ages.blocks + 2)
        joined = network.join(
            "newcomer",
            validator=None,
            attest=None,
            state_sync=tuple(f"http://{each.settings.rpc}" for each in network.validators[:2]),
            lists=(first.url,),
        )
        joined.start()
        joined.wait_for_height(first.height)
        (restored,) = joined.lines("snapshot restored")
        begun = restored["height"]

        # ---- from before its snapshot: nobody takes it any more, the newcomer cannot
        assert "too old" in send(first, double_vote(network, first, begun - 1))
        assert "too old" in send(first, double_vote(network, first, begun))
        assert "don't have header" in send(joined, double_vote(network, first, begun - 1))
        height = first.height
        joined.wait_for_height(height + 5)

        # ---- from before a snapshot that is too young to be offered: everybody punishes it
        young = first.lines("snapshot")[-1]["height"]
        assert begun < young
        assert send(first, double_vote(network, first, young - 1)) == ""
        node = encode_node(derive(seed_of(network.validators[CULPRIT].name), "node").public)
        for each in (first, joined):
            wait_for(
                lambda each=each: each.get(f"/v1/nodes/{node}")["state"] == "tombstoned",  # type: ignore[misc]
                lambda each=each: each.said[-2000:],  # type: ignore[misc]
            )
        # and nobody can begin with that one
        for each in network.validators:
            assert young in [line["height"] for line in each.lines("snapshot removed")]
            assert not (each.settings.snapshot_path / str(young)).exists()
        height = first.height
        joined.wait_for_height(height + 10)
        assert all(each.is_running for each in network.all)
        network.stop()
        network.compare(*network.validators, least=height)
        with first.opened() as whole, joined.opened() as part:
            blocks = [whole.block(h) for h in range(begun + 1, height + 1)]
            assert blocks == [part.block(h) for h in range(begun + 1, height + 1)]
            pieces = [raw for block in blocks if block for raw in block.misbehaviour]
            assert [MISBEHAVIOUR.decode(raw).height for raw in pieces] == [young - 1]
