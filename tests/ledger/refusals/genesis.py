"""Refusals of genesis files and their parameters."""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from ledger.chain import Chain
from ledger.codec import encode
from ledger.errors import Refusal
from ledger.genesis import load_genesis
from ledger.messages.contact import Version
from ledger.messages.genesis import (
    COMET,
    MAX_GENESIS_BYTES,
    NEW_SWARM,
    Genesis,
    GenesisAccount,
    GenesisAttestor,
    GenesisNode,
)
from ledger.params import PARAMETERS, preset
from ledger.types import MAX_AMOUNT
from tests.factory import (
    REQUIREMENT,
    RICH,
    START_MS,
    Network,
    founding,
    links,
    make_contact,
    make_genesis,
    public,
)
from tests.ledger.refusals.envelope import SMALL_ORDER
from tests.ledger.refusals.rows import Done, Row

NO_KEY = SMALL_ORDER["of order four"]


def load(genesis: Genesis) -> Callable[[Network], object]:
    """Read a genesis file from its bytes."""
    return lambda _network: load_genesis(encode(genesis))


def bad(_why: str, **changes: Any) -> Row:
    """A genesis file that would be good but for this."""
    return Done("bad_genesis", load(make_genesis(**changes)), why=_why)


def accounts(*names: str | bytes) -> tuple[GenesisAccount, ...]:
    """Accounts in this order."""
    return tuple(GenesisAccount(public(name), RICH) for name in names)


def seats(*names: str | bytes, weight: int = 1) -> tuple[GenesisAttestor, ...]:
    """Attestors in this order."""
    return tuple(GenesisAttestor(public(n), weight, links(public(n))[-1]) for n in names)


def crowded(why: str, count: int, first: int = 0, swarms: int = 1) -> Row:
    """A genesis file of many nodes, dealt out to swarms; `first` is the id of the first swarm.

    Their keys are none, which is said after everything that is counted.
    """
    (row,) = founding("a")
    ids = [first, *range(1, swarms)]

    def make(number: int) -> GenesisNode:
        return replace(
            row,
            node=number.to_bytes(32, "big"),
            duty_key=(2**64 + number).to_bytes(32, "big"),
            swarm_id=ids[number % swarms],
        )

    def read(network: Network) -> object:
        return load(make_genesis(nodes=tuple(map(make, range(count)))))(network)

    return Done("bad_genesis", read, why=why)


def sorted_names(*names: str) -> list[str]:
    """Names in the order of their keys."""
    return sorted(names, key=public)


def with_param(name: str, value: int) -> Genesis:
    """A genesis file with one parameter as it is, unchecked."""
    values = list(preset("minimal"))
    values[[row.name for row in PARAMETERS].index(name)] = value
    return make_genesis(tuple(values))


def at(**changes: Any) -> tuple[GenesisNode, ...]:
    """A node with other contact data."""
    return founding("a", contact=make_contact(**changes))


def opened_for(genesis: Genesis) -> Callable[[Network], object]:
    """Open a network's store with another genesis file."""
    return lambda network: Chain(network.store, encode(genesis))


def tampered(change: Callable[[bytes], bytes]) -> Callable[[Network], object]:
    """Read a genesis file whose bytes were changed."""
    return lambda network: load_genesis(change(network.raw))


NODES = founding("a", "b")
FIRST, SECOND = sorted_names("alice", "bob")
SEAT_1, SEAT_2 = sorted_names("attestor 0", "attestor 1")
OTHER = make_genesis(name=b"other-net")

GENESIS: dict[str, Row] = {
    "genesis of version 2": bad("its version is not 1", version=2),
    "name with a capital": bad("its name", name=b"Test"),
    "name with a space": bad("its name", name=b"test net"),
    "name outside of ASCII": bad("its name", name="tést".encode()),
    "engine that nobody knows": bad("its engine", engine=3),
    "engine zero": bad("its engine", engine=0),
    "no producer": bad("its producer", producer=b""),
    "producer of 31 bytes": bad("its producer", producer=bytes(31)),
    "producer that is no key": bad("its producer", producer=NO_KEY),
    "policy that nobody knows": bad("its policy", policy=3),
    "producer where validators agree": bad("its producer", engine=COMET),
    "recovery keys out of order": bad(
        "its recovery keys are not in ascending order",
        recovery=(public(SECOND), public(FIRST)),
    ),
    "recovery key twice": bad(
        "its recovery keys are not in ascending order", recovery=(public(FIRST),) * 2
    ),
    "recovery key that is no key": bad("a recovery key is not a usable key", recovery=(NO_KEY,)),
    "accounts out of order": bad(
        "its accounts are not in ascending order", accounts=accounts(SECOND, FIRST)
    ),
    "account twice": bad(
        "its accounts are not in ascending order", accounts=accounts("alice", "alice")
    ),
    "account that is no key": bad("an account is not a usable key", accounts=accounts(NO_KEY)),
    "account without coins": bad(
        "an account has no balance", accounts=(GenesisAccount(public("alice"), 0),)
    ),
    "attestors out of order": bad(
        "its attestors are not in ascending order", attestors=seats(SEAT_2, SEAT_1)
    ),
    "attestor twice": bad(
        "its attestors are not in ascending order", attestors=seats(SEAT_1, SEAT_1)
    ),
    "attestor that is no key": bad("a list key is not a usable key", attestors=seats(NO_KEY)),
    "attestor without weight": bad("an attestor has no weight", attestors=seats(SEAT_1, weight=0)),
    "supply one unit above the largest amount": bad(
        "its supply", accounts=accounts("alice"), pool=MAX_AMOUNT - RICH + 1
    ),
    "nodes out of order": bad("its nodes are not in ascending order", nodes=NODES[::-1]),
    "node twice": bad("its nodes are not in ascending order", nodes=NODES[:1] * 2),
    "nodes more than a list holds": crowded("more than 262144 nodes", 2**18 + 1),
    "swarms more than a list holds": crowded("more than 65536 swarms", 2**16 + 1, 0, 2**16 + 1),
    "as many swarms as a list holds, beside nodes that have none": crowded(
        "is not a usable key", 2**16 + 1, NEW_SWARM, 2**16 + 1
    ),
    "more nodes in a swarm than its leaf can count": crowded("more than 65535 nodes", 2**16),
    "as many nodes in a swarm as its leaf can count": crowded("is not a usable key", 2**16 - 1),
    "any number of nodes without a swarm": crowded("is not a usable key", 2**16, NEW_SWARM),
    "node that is no key": bad("is not a usable key", nodes=founding("a", node=NO_KEY)),
    "duty key that is no key": bad("is not a usable key", nodes=founding("a", duty_key=NO_KEY)),
    "operator that is no key": bad(
        "an operator is not a usable key", nodes=founding("a", operator=NO_KEY)
    ),
    "duty key of two nodes": bad("serves twice", nodes=founding("a", "b", duty_key=public("c"))),
    "duty key that is the node key": bad("serves twice", nodes=founding("a", duty_key=public("a"))),
    "duty key that is another's node key": bad(
        "serves twice",
        nodes=tuple(
            sorted((*founding("a", duty_key=public("b")), *founding("b")), key=lambda n: n.node)
        ),
    ),
    "node key that is a list key": bad("serves twice", nodes=founding("attestor 0")),
    "duty key that is a list key": bad(
        "serves twice", nodes=founding("a", duty_key=public("attestor 0"))
    ),
    "node that left before the start": bad(
        "leaves before the start", nodes=founding("a", exit_ms=START_MS)
    ),
    "stakes one unit above the largest amount": bad(
        "its supply", accounts=(), nodes=NODES, pool=MAX_AMOUNT - 2 * REQUIREMENT + 1
    ),
    "founding node on loopback where that is not allowed": Done(
        "bad_address",
        load(make_genesis({"allow_loopback": 0}, nodes=at(ipv4=bytes((127, 0, 0, 1))))),
    ),
    "founding node without an address": Done("bad_address", load(make_genesis(nodes=at(ipv4=b"")))),
    "founding node without a port": Done("bad_port", load(make_genesis(nodes=at(router_port=0)))),
    "founding node of version 0.0.0": Done(
        "bad_version", load(make_genesis(nodes=at(router_version=Version(0, 0, 0))))
    ),
    "one parameter missing": Done("bad_genesis", load(make_genesis(tuple(preset("minimal"))[:-1]))),
    "one parameter more": Done("bad_genesis", load(make_genesis((*preset("minimal"), 0)))),
    "store of another network at height 0": Done("bad_genesis", opened_for(OTHER)),
    "store of another network": Done("bad_genesis", opened_for(OTHER), lambda n: n.block()),
    "genesis with a byte behind it": Done("not_canonical", tampered(lambda raw: raw + b"\0")),
    "genesis cut off": Done("not_canonical", tampered(lambda raw: raw[:-1])),
    "empty genesis": Done("not_canonical", tampered(lambda _raw: b"")),
    "no attestors": Done("not_canonical", load(make_genesis(attestors=()))),
    "26 attestors": Done(
        "not_canonical",
        load(make_genesis(attestors=seats(*sorted_names(*[f"seat {i}" for i in range(26)])))),
    ),
    "26 recovery keys": Done(
        "not_canonical",
        load(
            make_genesis(recovery=tuple(sorted(public(f"recovery {place}") for place in range(26))))
        ),
    ),
    "no name": Done("not_canonical", load(make_genesis(name=b""))),
    "name of 41 letters": Done("not_canonical", load(make_genesis(name=b"a" * 41))),
    "seed of 31 bytes": Done("not_canonical", load(make_genesis(seed=bytes(31)))),
    "genesis of 64 MiB and a byte": Done(
        "too_large", lambda _n: load_genesis(bytes(MAX_GENESIS_BYTES + 1))
    ),
}

GENESIS |= {
    f"{row.name} below its range": Done("bad_parameter", load(with_param(row.name, row.low - 1)))
    for row in PARAMETERS
    if row.low
}
GENESIS |= {
    f"{row.name} above its range": Done("bad_parameter", load(with_param(row.name, row.high + 1)))
    for row in PARAMETERS
    if row.high < MAX_AMOUNT
}
GENESIS["staking_requirement above its range"] = Done(
    "not_canonical", load(with_param("staking_requirement", MAX_AMOUNT + 1))
)

RELATIONS: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "epoch shorter than a block": (
        {"block_ms": 10_001, "attest_blocks": 1},
        {"block_ms": 10_000, "attest_blocks": 1},
    ),
    "attestations after the epoch": ({"attest_blocks": 11}, {"attest_blocks": 10}),
    "transaction larger than a block": (
        {"max_transaction_bytes": 1_001, "max_block_bytes": 1_000},
        {"max_transaction_bytes": 1_000, "max_block_bytes": 1_000},
    ),
    "list stale before the next": ({"fresh_ms": 9_999}, {"fresh_ms": 10_000}),
    "list fresh but not valid": (
        {"fresh_ms": 10_001, "valid_ms": 10_000},
        {"fresh_ms": 10_000, "valid_ms": 10_000},
    ),
    "list valid for longer than it is trusted": (
        {"valid_ms": 172_800_001},
        {"valid_ms": 172_800_000},
    ),
    "forger safe before the report": (
        {"evidence_ms": 172_800_000 + 43_200_000 - 1},
        {"evidence_ms": 172_800_000 + 43_200_000},
    ),
    "who is removed is paid sooner than who leaves": (
        {"lock_ms": 345_599_999},
        {"lock_ms": 345_600_000},
    ),
    "threshold above the quorum": (
        {"quorum_testers": 5, "quorum_threshold": 6},
        {"quorum_testers": 5, "quorum_threshold": 5},
    ),
    "quorum that can contradict itself": (
        {"quorum_testers": 8, "quorum_threshold": 4},
        {"quorum_testers": 7, "quorum_threshold": 4},
    ),
    "first credit above the most": (
        {"credit_start_ms": 600_001},
        {"credit_start_ms": 600_000},
    ),
    "stake gone before the report": (
        {"unbonding_ms": 259_200_000},
        {"unbonding_ms": 259_200_001},
    ),
}
"""Parameters that just do not fit together, and those that just do."""


def related(changes: Mapping[str, int]) -> Callable[[Network], object]:
    """Read a genesis file whose parameters are each in range."""
    values = preset("minimal")._replace(**changes)
    return load(make_genesis(tuple(values)))


GENESIS |= {
    name: Done("bad_relation", related(bad_values))
    for name, (bad_values, _good_values) in RELATIONS.items()
}


def is_good(changes: Mapping[str, int]) -> bool:
    """Whether a genesis file with these parameters is taken."""
    try:
        related(changes)(Network())
    except Refusal:
        return False
    return True
