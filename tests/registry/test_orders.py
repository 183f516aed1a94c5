"""Order files: several holders sign one, apart or one after the other, and the ledger takes it."""

from collections.abc import Callable
from typing import Final

import pytest
from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import KeyPair, key_pair
from ledger.errors import Refusal
from ledger.messages.tables import PARAMS, SETS, SUCCESSION
from ledger.messages.transactions import (
    BY_ATTESTORS,
    BY_RECOVERY,
    ParamsOrder,
    Seat,
    SetAttestors,
    SetParams,
    SetSuccessor,
    Signer,
    SuccessorOrder,
)
from ledger.transactions import TX_KINDS
from registry import signer
from registry.keystore import RECOVERY, derive
from registry.orders import (
    MAX_FILE_BYTES,
    ORDERS,
    OrderFile,
    fill_order,
    get_message,
    get_order,
    get_role,
    make_order,
    prove_seat,
    read_order,
    sign_order,
    unite_orders,
)
from registry.wallet import Terms, Wallet
from tests.factory import FEE, Network, keys, make_genesis, pair_of
from tests.life import SUCCESSOR
from tests.registry.factory import LINKS, seed_of

HOLDERS: Final = tuple(derive(seed_of(f"holder {n}"), RECOVERY) for n in range(3))


@pytest.fixture(autouse=True)
def _short_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signer, "CHAIN_LINKS", LINKS)


@pytest.fixture
def network() -> Network:
    """A network with three attestors and three recovery keys."""
    return Network(make_genesis(recovery=tuple(sorted(pair.public for pair in HOLDERS))))


def attestors(network: Network) -> list[KeyPair]:
    """The pairs of the attestors, by index."""
    return [pair_of(row.list_key) for row in network.genesis.attestors]


def order_params(network: Network) -> OrderFile:
    """An order of another fee."""
    begin = network.chain.tip.time_ms + network.params.unbonding_ms + 1_000
    values = tuple(network.params._replace(minimum_fee=7))
    return make_order(network.hash, SetParams(ParamsOrder(begin, values), ()))


def order_seat(network: Network) -> OrderFile:
    """An order in which one seat gives way to another."""
    kept = [Seat(row.list_key, 1, b"", b"") for row in network.genesis.attestors[1:]]
    seats = sorted([*kept, prove_seat(network.hash, seed_of("new"))], key=lambda s: s.list_key)
    begin = network.chain.tip.time_ms + 1_000
    return make_order(network.hash, SetAttestors(BY_ATTESTORS, begin, tuple(seats), ()))


def order_recovery(network: Network) -> OrderFile:
    """An order of a wholly new set."""
    seats = (prove_seat(network.hash, seed_of("new"), 3),)
    return make_order(network.hash, SetAttestors(BY_RECOVERY, 1, seats, ()))


def order_successor(network: Network) -> OrderFile:
    """An order that the network goes on as another one."""
    from_ms = network.chain.tip.time_ms + 2 * network.params.unbonding_ms + 1_000
    return make_order(network.hash, SetSuccessor(SuccessorOrder(SUCCESSOR, from_ms), ()))


MAKERS: Final[dict[str, Callable[[Network], OrderFile]]] = {
    "a successor": order_successor,
    "parameters": order_params,
    "a seat": order_seat,
    "recovery": order_recovery,
}


def holders_of(network: Network, file: OrderFile) -> list[KeyPair]:
    """Who may sign an order, by their places."""
    if get_role(get_order(file)) == RECOVERY:
        return sorted(HOLDERS)
    return attestors(network)


def send(network: Network, file: OrderFile) -> None:
    """Have alice pay for an order."""
    voters = [pair.public for pair in holders_of(network, file)]
    nonce = network.state.account(keys("alice").public).nonce
    wallet = Wallet(network.hash, keys("alice"))
    terms = Terms(nonce, FEE, network.chain.tip.height + 100)
    network.block(wallet.order(terms, fill_order(file, voters)))


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_three_holders_sign_one_after_the_other(
    network: Network, make: Callable[[Network], OrderFile]
) -> None:
    raw = encode(make(network))
    for count, pair in enumerate(holders_of(network, make(network)), 1):
        raw = encode(sign_order(read_order(raw), pair))
        assert len(read_order(raw).signatures) == count
    file = read_order(raw)
    send(network, file)
    ordered = get_order(file)
    if isinstance(ordered, SetParams):
        assert network.state.one(PARAMS).next == ordered.order.values
    elif isinstance(ordered, SetSuccessor):
        assert network.state.one(SUCCESSION).genesis_hash == ordered.order.genesis_hash
    else:
        assert network.state.one(SETS).ordered == ordered.seats


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_copies_that_were_signed_apart_are_one_order(
    network: Network, make: Callable[[Network], OrderFile]
) -> None:
    file = make(network)
    pairs = holders_of(network, file)
    copies = [sign_order(file, pair) for pair in pairs]
    in_turn = sign_order(sign_order(sign_order(file, pairs[2]), pairs[0]), pairs[1])
    assert unite_orders(copies) == unite_orders(copies[::-1]) == in_turn
    assert unite_orders([*copies, copies[0]]) == in_turn
    send(network, in_turn)


def test_two_of_three_are_too_few(network: Network) -> None:
    file = order_params(network)
    for pair in attestors(network)[:2]:
        file = sign_order(file, pair)
    with pytest.raises(Refusal) as refused:
        _check(network, file)
    assert refused.value.code == "too_few_signers"
    assert refused.value.values == {"weight": 2, "total": 3}


def _check(network: Network, file: OrderFile) -> None:
    voters = [pair.public for pair in holders_of(network, file)]
    wallet = Wallet(network.hash, keys("alice"))
    raw = wallet.order(Terms(0, FEE, 100), fill_order(file, voters))
    network.chain.check(network.chain.decode(raw))


def test_signing_again_changes_nothing(network: Network) -> None:
    file = sign_order(order_params(network), attestors(network)[0])
    assert sign_order(file, attestors(network)[0]) == file


def test_who_has_no_vote_is_left_out(network: Network) -> None:
    file = sign_order(order_params(network), keys("stranger"))
    file = sign_order(file, attestors(network)[1])
    body = fill_order(file, [pair.public for pair in attestors(network)])
    assert [row.key for row in body.signers] == [attestors(network)[1].public]


def test_the_kinds_are_those_of_the_ledger() -> None:
    kinds = {kind.tag: (kind.name, kind.body) for kind in TX_KINDS}
    assert {tag: (row.name, row.body) for tag, row in ORDERS.items()} == {
        tag: kinds[tag] for tag in ORDERS
    }
    assert {row.name for row in ORDERS.values()} == {
        *("set_attestors", "set_params", "set_successor")
    }


def _signed(network: Network) -> OrderFile:
    file = order_params(network)
    for pair in attestors(network)[:2]:
        file = sign_order(file, pair)
    return file


def _other_values(network: Network) -> OrderFile:
    values = tuple(network.params._replace(minimum_fee=8))
    order = get_order(_signed(network))
    assert isinstance(order, SetParams)
    changed = replace(order, order=replace(order.order, values=values))
    return replace(_signed(network), order=encode(changed))


def _with_signers(network: Network) -> OrderFile:
    order = replace(get_order(_signed(network)), signers=(Signer(bytes(32), bytes(64)),))
    return replace(_signed(network), order=encode(order))


BROKEN: Final[dict[str, tuple[Callable[[Network], bytes], str]]] = {
    "other values than were signed": (lambda n: encode(_other_values(n)), "bad_signature"),
    "another network": (
        lambda n: encode(replace(_signed(n), genesis_hash=bytes(32))), "bad_signature"),
    "a signature of nobody": (
        lambda n: encode(replace(
            _signed(n), signatures=(Signer(key_pair(bytes(32)).public, bytes(64)),))),
        "bad_signature"),
    "signatures in another order": (
        lambda n: encode(replace(_signed(n), signatures=_signed(n).signatures[::-1])),
        "bad_order"),
    "a signature twice": (
        lambda n: encode(replace(_signed(n), signatures=_signed(n).signatures[:1] * 2)),
        "bad_order"),
    "a kind that is no order": (lambda n: encode(replace(_signed(n), kind=1)), "bad_order"),
    "the other kind": (lambda n: encode(replace(_signed(n), kind=12)), "not_canonical"),
    "signers where none belong": (lambda n: encode(_with_signers(n)), "bad_order"),
    "nothing": (lambda _: b"", "not_canonical"),
    "a file that is cut off": (lambda n: encode(_signed(n))[:-1], "not_canonical"),
    "a file that is too long": (lambda _: bytes(MAX_FILE_BYTES + 1), "too_large"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "code"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_refused_whole(
    network: Network, make: Callable[[Network], bytes], code: str
) -> None:
    with pytest.raises(Refusal) as refused:
        read_order(make(network))
    assert refused.value.code == code


def test_files_of_two_orders_do_not_go_together(network: Network) -> None:
    with pytest.raises(Refusal) as refused:
        unite_orders([order_params(network), order_seat(network)])
    assert refused.value.code == "bad_order"


def test_each_kind_is_signed_under_a_tag_of_its_own(network: Network) -> None:
    heads = {get_message(make(network))[:32] for make in MAKERS.values()}
    assert len(heads) == len(MAKERS)
    assert all(get_message(make(network))[32:64] == network.hash for make in MAKERS.values())
