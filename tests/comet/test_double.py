"""Two processes with one key: what they sign is evidence, and it counts once."""

from typing import Final

from ledger.history import PENALTY_ROW
from ledger.messages.evidence import MISBEHAVIOUR
from ledger.messages.genesis import GENESIS
from ledger.messages.state import TOMBSTONED
from ledger.messages.tables import HISTORIES, NODES, SETS
from ledger.nodes import consensus_address, get_staked
from ledger.offences import BLOCK_EQUIVOCATION
from ledger.params import Params
from ledger.types import BASIS_POINTS
from registry.addresses import encode_node
from registry.keystore import derive
from tests.comet.network import seed_of, wait_for, watched

PARAMS: Final = {"block_ms": 250, "epoch_ms": 3_000, "set_change_ms": 0}
CULPRIT: Final = 3


def test_two_processes_with_one_key_are_slashed_once() -> None:
    with watched(4, PARAMS) as network:
        params = Params(*GENESIS.decode(network.genesis).params)
        first, culprit = network.validators[0], network.validators[CULPRIT]
        keys = {role: derive(seed_of(culprit.name), role) for role in ("node", "consensus")}
        node = encode_node(keys["node"].public)
        network.start()
        stake = int(first.get(f"/v1/nodes/{node}")["staked"])
        assert stake == params.staking_requirement

        # ---- the same key in a second place
        twin = network.join("twin", validator=culprit.settings.validator, attest=None)
        twin.start()
        wait_for(
            lambda: first.get(f"/v1/nodes/{node}")["state"] == "tombstoned",
            lambda: f"{first.get(f'/v1/nodes/{node}')}\n{twin.said[-2000:]}",
        )

        # ---- it has no seat any more, in neither set, and the others go on
        wait_for(
            lambda: len(first.get("/v1/attestors")["attestors"]) == 3, lambda: first.said[-2000:]
        )
        wait_for(
            lambda: int(first.consensus("validators")["total"]) == 3,
            lambda: str(first.consensus("validators")),
        )
        height = first.height
        first.wait_for_height(height + 20)
        network.stop()
        network.compare(*network.validators[:3], least=height)

        # ---- once, whatever came of it
        with first.opened() as view:
            blocks = [view.block(h) for h in range(1, view.tip.height + 1)]
            pieces = [MISBEHAVIOUR.decode(raw) for b in blocks if b for raw in b.misbehaviour]
            address = consensus_address(keys["consensus"].public)
            assert {piece.address for piece in pieces} == {address}
            rows = [PENALTY_ROW.decode(raw) for _, raw in view.reader.items(b"R", b"S")]
            penalty = stake * params.block_penalty // BASIS_POINTS
            assert [(row.offence, row.node, row.taken, row.bounty) for row in rows] == [
                (BLOCK_EQUIVOCATION.number, keys["node"].public, penalty, 0)
            ]
            record = view.state.one(NODES, keys["node"].public)
            assert record.state == TOMBSTONED
            assert get_staked(record) == stake - penalty
            assert view.state.one(HISTORIES, keys["node"].public).tombstoned
            lists = derive(seed_of(culprit.name), "list").public
            assert lists not in [seat.list_key for seat in view.state.one(SETS).current]
