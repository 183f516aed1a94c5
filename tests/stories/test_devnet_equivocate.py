"""`waypost devnet --equivocate 2`: two nodes cheat, a watcher reports both and collects."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest

from ledger.crypto import sha256
from ledger.messages.evidence import VoteEquivocation
from ledger.types import COIN
from registry.addresses import encode_account
from registry.devnet.cheating import CHEATS
from registry.devnet.story import POCKET
from registry.evidence import check_evidence
from tests.devnet import RunningDevnet

STORY_S: Final = 300.0
BOUNTY: Final = COIN // 20
"""A twentieth of one percent of a stake of 100 coins."""


@pytest.fixture
def devnet() -> Iterator[RunningDevnet]:
    with TemporaryDirectory(prefix="wp", dir="/tmp") as folder:
        network = RunningDevnet(Path(folder), "--equivocate", "2")
        yield network
        network.kill()
        network.wait_until_nothing_runs()


def test_cheats_are_reported_and_the_watcher_collects(devnet: RunningDevnet) -> None:
    devnet.wait_for("nodes 3 and 8 cheating", STORY_S)
    devnet.wait_for(r"the watcher earned 0\.1 coins: that is all of --equivocate", STORY_S)
    nodes = [devnet.cast().nodes[number] for number in CHEATS[:2]]
    reports = {report["penalty"]["node"]: report for report in devnet.get("/v1/reports")["reports"]}
    assert set(reports) == {node.address for node in nodes}
    watcher = encode_account(devnet.cast().account("watcher").public)
    for node in nodes:
        known = devnet.get(f"/v1/nodes/{node.address}")
        check_report(devnet, reports[node.address], known["duty_key"])
        assert reports[node.address]["reporter"] == watcher
        # it goes on, with less
        assert (known["state"], int(known["staked"])) == ("active", 99 * COIN)
        assert f"node {node.number}: a service has both votes" in devnet.said()
        assert f"node {node.number}: reported by the watcher" in devnet.said()
    assert int(devnet.get(f"/v1/accounts/{watcher}")["balance"]) == POCKET + 2 * BOUNTY
    assert devnet.interrupt() == 0
    assert devnet.processes() == []


def check_report(devnet: RunningDevnet, report: dict[str, Any], duty_key: str) -> None:
    """It is in the record with evidence that anybody can check."""
    penalty = report["penalty"]
    assert (penalty["offence"], penalty["key"]) == ("vote_equivocation", duty_key)
    assert (int(penalty["taken"]), int(penalty["bounty"])) == (COIN, BOUNTY)
    genesis = (devnet.folder / "genesis.bin").read_bytes()
    proven = check_evidence(bytes.fromhex(report["evidence"]), sha256(genesis))
    assert isinstance(proven.evidence, VoteEquivocation)
    assert proven.evidence.faults
    assert proven.offender.key.hex() == duty_key
