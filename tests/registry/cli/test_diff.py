"""`waypost ledger diff`: the first block in which two histories differ, found with few reads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.messages.blocks import Block
from registry.cli.divergence import Comparison, Difference, DifferentNetworks
from registry.cli.histories import Finding
from tests.factory import Network
from tests.registry.cli.driver import call, error_of
from tests.registry.cli.fake_service import run_service
from tests.registry.cli.made import Made, Validated, reseal, write_file, write_home

LENGTH: Final = 40


def play(fork: int, make: Callable[[], Network] = Network, length: int = LENGTH) -> Network:
    """Blocks of a producer who from block `fork` on goes another way than he did with 0."""
    network = make()
    network.attesting = network.checking = False
    for height in range(1, length + 1):
        amount = 2 if height == fork else 1
        network.block(network.transfer("alice", "bob", amount) if height % 3 == 0 or
                      height == fork else network.transfer("carol", "bob", 1))  # fmt: skip
    return network


def find(one: Made, other: Made, **how: bool) -> tuple[Difference | None, int]:
    compared = Comparison(one, other)
    return compared.find(**how), compared.reads


BASE: Final = Made.of(play(0))


@pytest.mark.parametrize("fork", [1, 2, 3, 17, 39, 40])
def test_the_first_block_is_found(fork: int) -> None:
    other = Made.of(play(fork))
    found, reads = find(BASE, other)
    assert found is not None
    assert found.height == fork
    walked, _ = find(BASE, other, every_block=True)
    assert walked == found
    # the end, one for each halving, and the two that are compared with each other at last
    assert reads <= 1 + LENGTH.bit_length() + 2
    assert found.parts == ["state_root", "transactions", "seal"]
    assert found.transaction == 0


def test_the_same_takes_one_read() -> None:
    assert find(BASE, Made.of(play(0))) == (None, 1)


def test_what_one_has_yet_is_no_difference() -> None:
    longer = Made.of(play(0, length=LENGTH + 9))
    assert find(BASE, longer) == find(longer, BASE) == (None, 1)
    assert find(BASE, Made(BASE.genesis, [])) == (None, 0)


def test_a_fork_of_different_lengths() -> None:
    found, _ = find(Made.of(play(5, length=7)), BASE)
    assert found is not None
    assert found.height == 5


# --- what differs -------------------------------------------------------------------------------


def more(block: Block) -> Block:
    return replace(block, transactions=(*block.transactions, b"x"))


def less(block: Block) -> Block:
    return replace(block, transactions=())


PARTS: Final[dict[str, tuple[Callable[[Block], Block], dict[str, Any], list[str], int | None]]] = {
    "the outcome": (lambda b: b, {"state_root": bytes(32)}, ["state_root", "seal"], None),
    "the time": (lambda b: b, {"time_ms": 2**60}, ["time_ms", "seal"], None),
    "the proposer": (lambda b: b, {"proposer": b"x"}, ["proposer", "seal"], None),
    "a transaction more": (more, {}, ["transactions", "seal"], 1),
    "no transaction": (less, {}, ["transactions", "seal"], 0),
    "the evidence": (
        lambda b: replace(b, misbehaviour=(b"x",)),
        {},
        ["misbehaviour", "seal"],
        None,
    ),
}


@pytest.mark.parametrize(
    ("change", "header", "parts", "transaction"), PARTS.values(), ids=PARTS.keys()
)
def test_what_differs(
    change: Callable[[Block], Block],
    header: dict[str, Any],
    parts: list[str],
    transaction: int | None,
) -> None:
    other = Made(BASE.genesis, BASE.raws)
    other.put(reseal(BASE.genesis, change(BASE.decoded(LENGTH)), **header))
    found, _ = find(BASE, other)
    assert found is not None
    assert (found.height, found.parts, found.transaction) == (LENGTH, parts, transaction)


def test_a_seal_is_in_no_hash_and_is_found_by_who_looks_at_all() -> None:
    other = Made(BASE.genesis, BASE.raws)
    other.put(replace(BASE.decoded(9), seal=bytes(64)))
    assert find(BASE, other) == (None, 1)
    found, _ = find(BASE, other, every_block=True)
    assert found is not None
    assert (found.height, found.parts) == (9, ["seal"])


def test_blocks_of_validators_may_differ_and_lead_to_the_same() -> None:
    """Nobody's block hash covers the block before; one block has another time, the rest agree."""
    base = Made.of(play(0, Validated))
    other = Made(base.genesis, base.raws)
    block = base.decoded(7)
    other.put(replace(block, header=replace(block.header, time_ms=block.header.time_ms + 1)))
    found, reads = find(base, other)
    assert found is not None
    assert (found.height, found.parts) == (7, ["time_ms"])
    assert reads == 7
    assert find(base, Made(base.genesis, base.raws)) == (None, LENGTH)


# --- histories that are none --------------------------------------------------------------------


def test_other_networks_are_refused() -> None:
    with pytest.raises(DifferentNetworks) as caught:
        Comparison(BASE, Made.of(Network(epoch_ms=20_000)))
    assert sha256(BASE.genesis).hex() in str(caught.value)


@pytest.mark.parametrize(
    ("height", "change", "what", "says"),
    [
        (20, {"previous": bytes(32)}, "block_link", "bent: it does not follow the block before"),
        (1, {"previous": bytes(32)}, "block_link", "bent: it does not follow the block before"),
    ],
)
def test_a_block_that_follows_nothing_is_a_finding(
    height: int, change: dict[str, Any], what: str, says: str
) -> None:
    """All from there on is another chain, which does not link to the one before."""
    other = Made(BASE.genesis, BASE.raws, "bent")
    for place in range(height, LENGTH + 1):
        changes = change if place == height else {"time_ms": 2**60 + place}
        other.put(reseal(BASE.genesis, BASE.decoded(place), **changes))
    with pytest.raises(Finding) as caught:
        find(BASE, other)
    assert (caught.value.height, caught.value.what, caught.value.why) == (height, what, says)


def test_a_block_that_is_none_is_a_finding() -> None:
    other = Made(BASE.genesis, BASE.raws, "bent")
    other.raws[-1] = b"\x90"
    with pytest.raises(Finding, match=r"block 40: bent: not_canonical"):
        find(BASE, other)
    other.put(replace(BASE.decoded(LENGTH), transactions=()))
    with pytest.raises(Finding, match=r"block 40: bent: it does not carry"):
        find(BASE, other)


# --- the command --------------------------------------------------------------------------------


def test_files_homes_and_services_in_any_mix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_service() as service:
        network = service.network
        network.checking = False
        for _ in range(LENGTH):
            network.block()
        home = write_home(tmp_path / "home", network)
        made = Made.of(network)
        same = write_file(tmp_path / "same", made)
        network.block()
        for place in range(30, LENGTH + 1):
            previous = made.decoded(place - 1)
            header = {"time_ms": 2**50 + place, "previous": hash_of(previous)}
            made.put(reseal(made.genesis, made.decoded(place), **header))
        other = write_file(tmp_path / "other", made)

        for one in (home, same, service.url):
            for two in (home, same, service.url):
                if (one, two) != (home, home):
                    shown = call("ledger", "diff", one, two, "-o", "json").stdout
                    facts = json.loads(shown)
                    assert facts["differs_at"] is None
            result = call("ledger", "diff", one, other, "-o", "json", code=1)
            facts = json.loads(result.stdout)
            assert (facts["same_up_to"], facts["differs_at"]) == (29, 30)
            assert facts["differs_in"] == ["time_ms", "seal"]
            assert facts["other_block"]["time_ms"] == 2**50 + 30
            assert facts["reads"] <= 1 + LENGTH.bit_length() + 2


def hash_of(block: Block) -> bytes:
    return sha256(encode(block.header))


def test_people_see_what_differs(tmp_path: Path) -> None:
    one = write_file(tmp_path / "one", BASE)
    other = Made.of(play(17))
    two = write_file(tmp_path / "two", other)
    printed = call("ledger", "diff", one, two, code=1).stdout
    rows = [line.split() for line in printed.splitlines()]
    assert ["same", "up", "to", "16"] in rows
    assert ["differs", "at", "17"] in rows
    for made in (BASE, other):
        (raw,) = made.decoded(17).transactions
        assert ["transactions", "1,", "index", "0:", sha256(raw).hex()] in rows
    assert "same up to    40" in call("ledger", "diff", one, one).stdout


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    one = write_file(tmp_path / "one", BASE)
    two = write_file(tmp_path / "two", Made.of(Network(epoch_ms=20_000)))
    assert error_of(call("ledger", "diff", one, two, code=1)) == "different_networks"
    assert error_of(call("ledger", "diff", one, tmp_path / "none", code=1)) == "io"
    assert error_of(call("ledger", "diff", one, tmp_path, code=1)) == "io"
    two.write_bytes(b"no history")
    assert error_of(call("ledger", "diff", one, two, code=1)) == "bad_history_file"
