"""Rows of the tables of refusals, and the runners that hold a refusal to changing nothing.

Sent      a transaction that is refused on every way into the ledger
Checked   a transaction that its check refuses, where its signatures alone would pass first
Done      anything else that raises a refusal
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import pytest

from ledger.errors import Refusal
from ledger.steps import run
from ledger.transactions import WIRE
from ledger.transactions.envelope import Transaction
from tests.factory import Network, make_genesis, public, verify_cached
from tests.ledger.effects import expect_refused

Scene: TypeAlias = Callable[[Network], object]
NO_PARAMS: Mapping[str, int] = MappingProxyType({})


def empty(_network: Network) -> None:
    """Nothing happened since genesis."""


def after(*scenes: Scene) -> Scene:
    """One scene after another."""

    def play(network: Network) -> None:
        for scene in scenes:
            scene(network)

    return play


class Sent(NamedTuple):
    """The bytes of `make`, made where `scene` leads, are refused with `code`."""

    code: str
    make: Callable[[Network], bytes]
    scene: Scene = empty
    params: Mapping[str, int] = NO_PARAMS
    genesis: Mapping[str, Any] = NO_PARAMS


class Checked(NamedTuple):
    """The same, but it takes a caller who did not look at the signatures to see `code`."""

    code: str
    make: Callable[[Network], bytes]
    scene: Scene = empty
    params: Mapping[str, int] = NO_PARAMS
    genesis: Mapping[str, Any] = NO_PARAMS


class Done(NamedTuple):
    """`act` is refused with `code`, and for this reason where one code has many."""

    code: str
    act: Callable[[Network], object]
    scene: Scene = empty
    params: Mapping[str, int] = NO_PARAMS
    why: str = ""
    genesis: Mapping[str, Any] = NO_PARAMS


Row: TypeAlias = Sent | Checked | Done

ADVICE: Final = re.compile(
    r"\b(ask|attest|change|check|choose|encode|fetch|fund|get|give|leave|make|pay|put|report|send"
    r"|sign|stake|start|stop|tell|use|wait"
    r"|is it|is this|was it|can send|comes back|can begin|until it leaves)\b"
)
"""What a text has that says what to do, and not only what is wrong."""


def network_of(row: Row) -> Network:
    """The network that a row is about, where a block without transactions changes nothing."""
    network = Network(make_genesis(row.params, **row.genesis))
    row.scene(network)
    network.settle()
    return network


def submit(network: Network, raw: bytes) -> Transaction:
    """Take a transaction in as a pool does: decode, verify, check."""
    tx = network.chain.decode(raw)
    if not all(verify_cached(network.chain.signatures(tx))):
        raise Refusal("bad_signature")
    network.chain.check(tx)
    return tx


def expect(code: str, act: Callable[..., object], *values: Any) -> Refusal:
    """Call `act`, which has to be refused with `code`; every value of its text is there."""
    with pytest.raises(Refusal) as caught:
        act(*values)
    assert caught.value.code == code, str(caught.value)
    assert "{" not in caught.value.text
    return caught.value


def code_of(act: Callable[..., object], *values: Any) -> str:
    """The code with which a call is refused, or none."""
    try:
        act(*values)
    except Refusal as refusal:
        return refusal.code
    return ""


def run_sent(row: Sent) -> None:
    """Refused by pool, proposal, vote and block; nothing of it stays."""
    network = network_of(row)
    raw = row.make(network)
    stored = dict(network.store.items())
    expect(row.code, submit, network, raw)
    if row.code not in ("bad_signature", "not_canonical", "unknown_kind", "too_large"):
        tx = network.chain.decode(raw)
        expect(row.code, network.chain.peek, tx)
        tip = network.chain.tip
        proposal = network.chain.propose(tip.height + 1, tip.time_ms + 1, b"", [tx])
        assert run(proposal).transactions == ()
    block = network.input(raw)
    refusal = expect("block_transaction", lambda: run(network.chain.validate(block)))
    assert refusal.values["index"] == 0
    assert dict(network.store.items()) == stored
    expect_refused(network, raw, row.code)


def run_checked(row: Checked) -> None:
    """Refused by check and peek; the block before any other reason finds a bad signature."""
    network = network_of(row)
    raw = row.make(network)
    stored = dict(network.store.items())
    tx = network.chain.decode(raw)
    expect(row.code, network.chain.peek, tx)
    expect(row.code, network.chain.check, tx)
    assert dict(network.store.items()) == stored
    expect_refused(network, raw, "bad_signature")


def run_done(row: Done) -> None:
    """Refused; store and tip stay as they were, and the chain goes on."""
    network = network_of(row)
    stored, tip = dict(network.store.items()), network.chain.tip
    assert row.why in expect(row.code, row.act, network).text
    assert dict(network.store.items()) == stored
    assert network.chain.tip == tip
    nonce = network.state.account(public("alice")).nonce
    network.block(network.transfer("alice", "bob", nonce=nonce))


def text_of(row: Sent | Checked) -> str:
    """What people read when the transaction of a row is refused."""
    network = network_of(row)
    raw = row.make(network)
    try:
        submit(network, raw) if isinstance(row, Sent) else network.chain.peek(WIRE.decode(raw))
    except Refusal as refusal:
        return refusal.text
    return "it was taken"


def run_row(row: Row) -> None:
    """Run a row of whichever table."""
    if isinstance(row, Sent):
        run_sent(row)
    elif isinstance(row, Checked):
        run_checked(row)
    else:
        run_done(row)
