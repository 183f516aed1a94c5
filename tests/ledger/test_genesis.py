"""Genesis files and parameters: what is good; the tables of refusals hold what is not."""

import pytest

from ledger.codec import encode
from ledger.errors import Misuse, Refusal
from ledger.genesis import load_genesis
from ledger.messages.genesis import GenesisAttestor
from ledger.params import PARAMETERS, PRESETS, Parameter, Params, preset, validate_params
from ledger.types import MAX_AMOUNT
from tests.factory import Network, founding, keys, links, make_genesis, public
from tests.ledger.refusals.rows import code_of


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_good(name: str) -> None:
    values = preset(name)
    assert validate_params(values) == values
    network = Network(make_genesis(tuple(values)))
    assert network.params == values
    network.block()


def test_presets_are_the_columns_of_the_table() -> None:
    for place, name in enumerate(PRESETS):
        assert tuple(preset(name)) == tuple(row.presets[place] for row in PARAMETERS)


def test_names_of_parameters_are_unique_and_explained() -> None:
    assert Params._fields == tuple(row.name for row in PARAMETERS)
    assert len({row.name for row in PARAMETERS}) == len(PARAMETERS)
    assert all(row.unit and row.meaning and row.low <= row.high for row in PARAMETERS)
    assert all(row.high <= MAX_AMOUNT for row in PARAMETERS)


def test_changes_of_a_preset() -> None:
    assert preset("minimal", {"minimum_fee": 7})._replace(minimum_fee=1_000) == preset("minimal")
    with pytest.raises(Misuse, match="no parameter speed"):
        preset("minimal", {"speed": 1})
    with pytest.raises(Misuse, match="no preset huge"):
        preset("huge")
    with pytest.raises(Refusal, match="bad_parameter"):
        preset("minimal", {"minimum_fee": -1})


@pytest.mark.parametrize("row", PARAMETERS, ids=[row.name for row in PARAMETERS])
def test_ends_of_a_range_are_in_range(row: Parameter) -> None:
    for value in (row.low, row.high):
        assert code_of(preset, "minimal", {row.name: value}) in ("", "bad_relation")


def test_genesis_is_what_its_bytes_say() -> None:
    genesis = make_genesis()
    assert load_genesis(encode(genesis)) == genesis


def test_largest_supply() -> None:
    genesis = make_genesis(accounts=(), pool=MAX_AMOUNT)
    assert load_genesis(encode(genesis)) == genesis


@pytest.mark.parametrize("count", [1, 25])
def test_as_many_attestors_as_there_may_be(count: int) -> None:
    seats = sorted(public(f"seat {i}") for i in range(count))
    attestors = tuple(GenesisAttestor(key, 2**32 - 1, links(key)[-1]) for key in seats)
    network = Network(make_genesis(attestors=attestors))
    header = network.chain.newest_header().header
    network.block()
    assert network.chain.newest_header().header == header
    assert len(network.chain.newest_header().signatures) == count


def test_everything_in_the_file_moves_its_hash() -> None:
    base = make_genesis()
    others = [
        make_genesis({"minimum_fee": 7}),
        make_genesis(name=b"other"),
        make_genesis(start_ms=base.start_ms + 1),
        make_genesis(seed=bytes(32)),
        make_genesis(pool=base.pool + 1),
        make_genesis(producer=keys("another").public),
        make_genesis(attestors=base.attestors[:1]),
        make_genesis(accounts=base.accounts[:1]),
        make_genesis(nodes=founding("node")),
        make_genesis(nodes=founding("node", swarm_id=5)),
        make_genesis(nodes=founding("node", exit_ms=base.start_ms + 1)),
        make_genesis(nodes=founding("node", operator="bob")),
    ]
    hashes = {Network(genesis).hash for genesis in (base, *others)}
    roots = {Network(genesis).chain.tip.root for genesis in (base, *others)}
    assert len(hashes) == 1 + len(others)
    # name and producer are no part of the state
    assert len(roots) == len(others) - 1
