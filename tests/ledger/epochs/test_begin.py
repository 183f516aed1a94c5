"""`apply_seed`, `freeze_attestations`, `write_roster`, `write_start`: what an epoch begins with."""

import pytest

from ledger.messages.tables import EPOCH, ROSTERS, STARTS
from ledger.nodes import get_members
from tests.factory import EPOCH_MS, SHORT_TIMES, START_MS, Network, public
from tests.ledger.epochs.ends import names_of, operator_of, put_down, run_end, village
from tests.life import running


def kept(network: Network, table: bytes) -> list[int]:
    """The epochs of a table whose keys begin with one."""
    keys = [key for key in network.dump() if key[:1] == table]
    return sorted(int.from_bytes(key[1:9], "big") for key in keys)


def test_an_end_of_which_nothing_is_expected() -> None:
    network = village()
    for _ in range(3):
        run_end(network)


def test_an_end_without_any_node() -> None:
    run_end(Network())


def test_an_end_that_nobody_attested() -> None:
    network = village()
    network.attesting = False
    for _ in range(2):
        run_end(network)


def test_an_end_after_some_attested() -> None:
    network = village()
    network.attesting = False
    network.block()
    network.block(network.attest(2), network.attest(0))
    run_end(network)


# ---- rosters ----


def test_rosters_of_the_running_epoch_and_the_one_before_are_kept() -> None:
    network = village()
    assert kept(network, b"w") == [1]
    for epoch in range(2, 6):
        run_end(network)
        assert kept(network, b"w") == [epoch - 1, epoch]


def test_roster_holds_the_active_nodes_by_key_and_their_operators() -> None:
    network = village()
    put_down(network, "v1")
    members = get_members(network.state, running(network))
    rows = sorted((public(name), public(operator_of(name))) for name in names_of(8) if name != "v1")
    assert list(zip(members.keys, members.operators, strict=True)) == rows


def test_roster_has_the_seed_of_its_epoch() -> None:
    network = village()
    for _ in range(2):
        run_end(network)
        roster = network.state.one(ROSTERS, running(network).to_bytes(8, "big"))
        assert roster.seed == network.state.one(EPOCH).seed == network.header.seed
        assert (roster.testers, roster.threshold) == (5, 4)


# ---- starts ----


def test_starts_are_kept_as_long_as_evidence_may_be_of_their_epochs() -> None:
    """Epochs of ten seconds, evidence for 61: the seven epochs before the one that begins."""
    network = village(**SHORT_TIMES)
    for epoch in range(2, 20):
        run_end(network)
        assert kept(network, b"z") == list(range(max(0, epoch - 7), epoch + 1))
        start = network.state.one(STARTS, epoch.to_bytes(8, "big"))
        assert start.start_ms == START_MS + (epoch - 1) * EPOCH_MS == network.chain.tip.time_ms


@pytest.mark.parametrize(
    ("late_ms", "oldest"), [(0, 0), (40_999, 0), (41_000, 1), (50_999, 1), (51_000, 2)]
)
def test_start_is_forgotten_once_its_epoch_ended_too_long_ago(late_ms: int, oldest: int) -> None:
    network = village(**SHORT_TIMES)
    run_end(network)
    run_end(network, late_ms)
    assert kept(network, b"z")[0] == oldest


def test_a_halt_is_one_epoch() -> None:
    network = village(**SHORT_TIMES)
    run_end(network, late_ms=1_000 * EPOCH_MS)
    assert running(network) == 2
    assert kept(network, b"z") == [1, 2]
    run_end(network)
    assert kept(network, b"z") == [1, 2, 3]
    assert network.header.valid_after_ms == START_MS + 1_002 * EPOCH_MS
