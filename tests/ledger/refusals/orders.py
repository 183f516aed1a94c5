"""Refusals of `set_attestors` and `set_params`."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import sign, signing_bytes
from ledger.messages import tags
from ledger.messages.genesis import GenesisAttestor
from ledger.messages.lists import Attestor
from ledger.messages.tables import SETS
from ledger.messages.transactions import (
    BY_ATTESTORS,
    BY_RECOVERY,
    ParamsOrder,
    Seat,
    SetAttestors,
    SetParams,
    Signer,
)
from ledger.transactions.orders import order_of
from tests.factory import (
    ATTESTORS,
    BLOCK_MS,
    QUARTER,
    Network,
    attestor_roles,
    links,
    pair_of,
    public,
)
from tests.ledger.refusals.envelope import SMALL_ORDER, other_network
from tests.ledger.refusals.rows import Checked, Row, Sent
from tests.ledger.scenes import SHORT, enter, let_go, pay_out
from tests.life import current, header_evidence, report, running, seats, set_attestors, set_params

MONTH_MS = 30 * 86_400_000

RECOVERY_NAMES = tuple(sorted(("recovery 0", "recovery 1", "recovery 2"), key=public))
RECOVERY = {"recovery": tuple(map(public, RECOVERY_NAMES))}
"""What a genesis file has otherwise to name keys for recovery."""


def with_weights(*weights: int) -> dict[str, Any]:
    """What a genesis file has otherwise for attestors of these weights, by ascending key."""
    names = sorted((f"attestor {place}" for place in range(len(weights))), key=public)
    rows = zip(names, weights, strict=True)
    return {
        "attestors": tuple(
            GenesisAttestor(public(name), weight, links(public(name))[-1]) for name, weight in rows
        )
    }


# ------------------------------------------------------------------------- set_attestors


def one_more(network: Network, name: str = "attestor 9") -> tuple[Seat, ...]:
    """The seats of now and a new one."""
    return seats(network, name, kept=current(network))


def orders(new: Callable[[Network], Sequence[Seat]] = one_more, **order: Any) -> Any:
    """A function that makes an order of these seats."""
    return lambda network: set_attestors(network, tuple(new(network)), **order)


def begins(time_ms: Callable[[Network], int], **order: Any) -> Any:
    """A function that makes an order for another time."""
    return lambda n: set_attestors(n, one_more(n), begin=time_ms(n), **order)


def body_of(network: Network, raw: bytes) -> SetAttestors:
    """What an order says."""
    body: SetAttestors = network.chain.decode(raw).body
    network.take_back("alice")
    return body


def altered(change: Callable[[SetAttestors], SetAttestors], **order: Any) -> Any:
    """A function that makes an order that was changed after it was signed."""

    def make(network: Network) -> bytes:
        body = body_of(network, set_attestors(network, one_more(network), **order))
        return network.paid("set_attestors", "alice", change(body))

    return make


def signers(change: Callable[[list[Signer]], list[Signer]]) -> Any:
    """A function that makes an order after something was done to who signed."""
    return altered(lambda body: replace(body, signers=tuple(change(list(body.signers)))))


def stranger(network: Network) -> bytes:
    """An order that somebody without a seat signed too."""
    body = body_of(network, orders()(network))
    message = signing_bytes(tags.SET_ORDER, network.hash, encode(order_of(body)))
    pair = pair_of(public("attestor 9"))
    rows = (*body.signers, Signer(pair.public, sign(pair, message)))
    ordered = tuple(sorted(rows, key=lambda row: row.key))
    return network.paid("set_attestors", "alice", replace(body, signers=ordered))


def signed_under(tag: bytes, genesis_hash: bytes = b"") -> Any:
    """A function that makes an order whose signatures are for something else."""

    def make(network: Network) -> bytes:
        body = body_of(network, orders()(network))
        message = signing_bytes(tag, genesis_hash or network.hash, encode(order_of(body)))
        rows = tuple(
            Signer(member.list_key, sign(pair_of(member.list_key), message))
            for member in current(network)
        )
        return network.paid("set_attestors", "alice", replace(body, signers=rows))

    return make


def claiming(authority: int, names: Sequence[str]) -> Any:
    """A function that makes an order by keys that have another authority than it says."""

    def make(network: Network) -> bytes:
        tag = tags.RECOVERY_ORDER if authority == BY_RECOVERY else tags.SET_ORDER
        body = replace(body_of(network, orders()(network)), authority=authority)
        message = signing_bytes(tag, network.hash, encode(order_of(body)))
        rows = tuple(Signer(key, sign(pair_of(key), message)) for key in sorted(map(public, names)))
        return network.paid("set_attestors", "alice", replace(body, signers=rows))

    return make


def new_seat(network: Network, **changes: Any) -> list[Seat]:
    """The seats of now and a new one that is not as it should be."""
    rows = [
        replace(seat, **changes) if seat.list_key == public("attestor 9") else seat
        for seat in one_more(network)
    ]
    return sorted(rows, key=lambda seat: seat.list_key)


def bad_seat(network: Network, key: bytes) -> list[Seat]:
    """The seats of now and one of a key of which nobody has the secret."""
    return new_seat(network, list_key=key)


def held_by(name: str) -> Callable[[Network], Sequence[Seat]]:
    """Seats of now and one of the key of a name, with its proof."""
    return lambda network: seats(network, name, kept=current(network))


def proof_of_another(network: Network) -> list[Seat]:
    """A new seat with the proof of another one."""
    (other,) = seats(network, "attestor 8")
    return new_seat(network, proof=other.proof)


def proof_for_another_network(network: Network) -> list[Seat]:
    """A new seat whose proof is for another network."""
    pair = pair_of(public("attestor 9"))
    tip = links(pair.public)[-1]
    return new_seat(network, proof=sign(pair, signing_bytes(tags.SEAT, other_network(), tip)))


def heavier(network: Network) -> tuple[Seat, ...]:
    """Seats of which one has so much more weight as may move, and another one unit more."""
    first, second, *rest = current(network)
    most = max(member.weight for member in current(network))
    rows = (
        replace(first, weight=first.weight + most),
        replace(second, weight=second.weight + 1),
        *rest,
    )
    return seats(network, kept=rows)


def ordered(network: Network) -> None:
    """An order waits for its time."""
    network.block(begins(lambda n: n.chain.tip.time_ms + 50_000)(network))


def announced(network: Network) -> None:
    """Another set is announced, and the header that names it is not final."""
    network.block(orders()(network))
    network.end_epoch()


def changed(network: Network) -> None:
    """Another set took over."""
    announced(network)
    network.end_epoch()


def left(network: Network) -> None:
    """A node has left."""
    enter(network)
    let_go(network)


def gone(network: Network) -> None:
    """Its stake was paid out too."""
    left(network)
    pay_out(network)


def slashed(network: Network) -> None:
    """A node was slashed for its list key."""
    network.block(network.register(**attestor_roles("node")))
    network.end_epoch()
    network.block(report(network, "leo", header_evidence(network, public("node list"))))


def with_seat_of_node(network: Network) -> tuple[Seat, ...]:
    """The seats of now and one of the list key of a node."""
    return seats(network, kept=(*current(network), Attestor(public("node list"), 1)))


OFF_DUTY: dict[str, Callable[[Network], object]] = {
    "awaiting stake": lambda n: n.block(n.register(stake=QUARTER, **attestor_roles("node"))),
    "queued": lambda n: n.block(n.register(**attestor_roles("node"))),
    "exited": left,
    "paid out": gone,
}
"""How the node of a list key comes to be off duty."""


def lost(network: Network) -> None:
    """An attestor without a node was reported; it has its seat to the epoch's end."""
    key = current(network)[0].list_key
    network.block(report(network, "leo", header_evidence(network, key)))


def recovers(**order: Any) -> Any:
    """A function that makes an order by recovery keys."""
    return orders(held_by("attestor 9"), **({"recovery": RECOVERY_NAMES} | order))


def earliest(network: Network) -> int:
    """From when on another set may be announced."""
    return network.state.one(SETS).changed_ms + network.params.set_change_ms


SEATS: dict[str, Row] = {
    # who signed
    "order that nobody signed": Sent("too_few_signers", orders(signers=())),
    "order signed by two thirds": Sent("too_few_signers", orders(signers=(0, 1))),
    "order one weight short": Sent(
        "too_few_signers", orders(signers=(0, 2)), genesis=with_weights(5, 3, 1)
    ),
    "order by two of three recovery keys": Sent(
        "too_few_signers", recovers(recovery=RECOVERY_NAMES[1:]), genesis=RECOVERY
    ),
    "signers out of order": Sent("bad_order", signers(lambda rows: rows[::-1])),
    "signer twice": Sent("bad_order", signers(lambda rows: [rows[0], *rows])),
    "signer without a seat": Sent("bad_order", stranger),
    "attestors for recovery keys": Sent(
        "bad_order", claiming(BY_RECOVERY, ATTESTORS), genesis=RECOVERY
    ),
    "recovery keys for attestors": Sent(
        "bad_order", claiming(BY_ATTESTORS, RECOVERY_NAMES), genesis=RECOVERY
    ),
    "recovery where there are no keys for it": Sent(
        "bad_order", altered(lambda body: replace(body, authority=BY_RECOVERY, signers=()))
    ),
    "order signed as a recovery": Sent("bad_signature", signed_under(tags.RECOVERY_ORDER)),
    "order signed as one of parameters": Sent("bad_signature", signed_under(tags.PARAMS_ORDER)),
    "order signed for another network": Sent(
        "bad_signature", signed_under(tags.SET_ORDER, other_network())
    ),
    "order with a forged signature": Sent(
        "bad_signature",
        signers(lambda rows: [replace(rows[0], signature=rows[1].signature), *rows[1:]]),
    ),
    "order whose time was changed after signing": Sent(
        "bad_signature", altered(lambda body: replace(body, begin=body.begin + 1))
    ),
    "order whose weights were changed after signing": Sent(
        "bad_signature",
        altered(
            lambda body: replace(body, seats=(replace(body.seats[0], weight=2), *body.seats[1:]))
        ),
    ),
    "order whose tip was left out after signing": Sent(
        "bad_signature",
        altered(
            lambda body: replace(
                body, seats=tuple(replace(seat, tip=b"", proof=b"") for seat in body.seats)
            )
        ),
    ),
    "seat with the proof of another one": Sent("bad_signature", orders(proof_of_another)),
    "seat with a proof for another network": Sent(
        "bad_signature", orders(proof_for_another_network)
    ),
    # the seats
    "seats out of order": Sent("bad_order", orders(lambda n: one_more(n)[::-1])),
    "seat twice": Sent("bad_order", orders(lambda n: [one_more(n)[0], *one_more(n)])),
    "seat without weight": Sent("bad_order", orders(lambda n: new_seat(n, weight=0))),
    "seat of a new key without a tip": Sent(
        "bad_order", orders(lambda n: new_seat(n, tip=b"", proof=b""))
    ),
    "tip without a proof": Checked("bad_order", orders(lambda n: new_seat(n, proof=b""))),
    "proof without a tip": Checked("bad_order", orders(lambda n: new_seat(n, tip=b""))),
    "tip of 31 bytes in a seat": Checked("bad_order", orders(lambda n: new_seat(n, tip=bytes(31)))),
    "no seats": Sent("not_canonical", orders(lambda _: ())),
    "26 seats": Sent(
        "not_canonical", orders(lambda n: seats(n, *(f"attestor {place}" for place in range(26))))
    ),
    "seat of a node key": Sent(
        "key_in_use", orders(held_by("node")), lambda n: n.block(n.register())
    ),
    "seat of a duty key": Sent(
        "key_in_use", orders(held_by("node duty")), lambda n: n.block(n.register())
    ),
    "seat of a key that was slashed with its node": Sent(
        "key_barred", orders(with_seat_of_node), slashed
    ),
    **{
        f"seat of a key of a node that is {state}": Sent(
            "not_on_duty", orders(with_seat_of_node), scene, SHORT
        )
        for state, scene in OFF_DUTY.items()
    },
    "seat that is lost": Sent("key_barred", orders(), lost),
    # when and how much
    "order while one waits": Sent("change_pending", orders(), ordered),
    "order while another set is announced": Sent("change_pending", orders(), announced),
    "second order by recovery keys": Sent(
        "change_pending",
        recovers(),
        lambda n: n.block(recovers()(n)),
        genesis=RECOVERY,
    ),
    "order by attestors after one by recovery keys": Sent(
        "change_pending", orders(), lambda n: n.block(recovers()(n)), genesis=RECOVERY
    ),
    "order for a millisecond ago": Sent(
        "change_too_soon", begins(lambda n: n.chain.tip.time_ms - 1)
    ),
    "order a millisecond too soon after the last": Sent(
        "change_too_soon", lambda n: next_order(n, earliest(n) - 1), changed
    ),
    "order for more than thirty days later than it could be": Sent(
        "bad_order", begins(lambda n: n.chain.tip.time_ms + BLOCK_MS + MONTH_MS + 1)
    ),
    "order that changes nothing": Sent("bad_order", orders(lambda n: seats(n, kept=current(n)))),
    "order that moves two seats": Sent(
        "turnover_too_high", orders(lambda n: seats(n, "attestor 8", "attestor 9", kept=current(n)))
    ),
    "order that moves one unit more than may move": Sent(
        "turnover_too_high", orders(heavier), genesis=with_weights(5, 3, 1)
    ),
    "order that replaces everybody": Sent(
        "turnover_too_high", orders(lambda n: seats(n, "attestor 7", "attestor 8", "attestor 9"))
    ),
    "recovery at the end of the epoch before": Sent(
        "bad_order",
        lambda n: recovers(begin=running(n) - 1)(n),
        Network.end_epoch,
        genesis=RECOVERY,
    ),
    "recovery at the end of the next epoch": Sent(
        "bad_order", lambda n: recovers(begin=running(n) + 1)(n), genesis=RECOVERY
    ),
}

SEATS |= {
    f"seat of a key {name}": Checked("bad_key", orders(partial(bad_seat, key=key)))
    for name, key in SMALL_ORDER.items()
}


def next_order(network: Network, begin: int) -> bytes:
    """An order after the set has changed once."""
    return set_attestors(network, one_more(network, "attestor 8"), begin=begin)


# ---------------------------------------------------------------------------- set_params


def params(**values: int) -> Any:
    """A function that makes an order of other parameters."""
    changed: dict[str, Any] = {"minimum_fee": 2_000} | values
    return lambda network: set_params(network, **changed)


def in_force(time_ms: Callable[[Network], int]) -> Any:
    """A function that makes an order of parameters for another time."""
    return lambda n: set_params(n, from_ms=time_ms(n), minimum_fee=2_000)


def notice(network: Network) -> int:
    """The first time from which on parameters may be in force that the next block orders."""
    return network.chain.tip.time_ms + BLOCK_MS + network.params.unbonding_ms


def valued(change: Callable[[tuple[int, ...]], tuple[int, ...]], tag: bytes = b"") -> Any:
    """A function that makes an order of these values, whatever they are."""

    def make(network: Network) -> bytes:
        order = ParamsOrder(notice(network), change(tuple(network.params)))
        message = signing_bytes(tag or tags.PARAMS_ORDER, network.hash, encode(order))
        rows = tuple(
            Signer(member.list_key, sign(pair_of(member.list_key), message))
            for member in current(network)
        )
        return network.paid("set_params", "alice", SetParams(order, rows))

    return make


def dearer(values: tuple[int, ...]) -> tuple[int, ...]:
    """The values with another one for the minimum fee."""
    return (*values[:7], 2_000, *values[8:])


def params_altered(change: Callable[[SetParams], SetParams]) -> Any:
    """A function that makes an order of parameters that was changed after it was signed."""

    def make(network: Network) -> bytes:
        body = network.chain.decode(params()(network)).body
        network.take_back("alice")
        return network.paid("set_params", "alice", change(body))

    return make


PARAMS_ROWS: dict[str, Row] = {
    "parameters that nobody signed": Sent(
        "too_few_signers", lambda n: set_params(n, signers=(), minimum_fee=2_000)
    ),
    "parameters signed by two thirds": Sent(
        "too_few_signers", lambda n: set_params(n, signers=(0, 2), minimum_fee=2_000)
    ),
    "parameters one weight short": Sent(
        "too_few_signers",
        lambda n: set_params(n, signers=(0, 2), minimum_fee=2_000),
        genesis=with_weights(5, 3, 1),
    ),
    "parameters with signers out of order": Sent(
        "bad_order", params_altered(lambda body: replace(body, signers=body.signers[::-1]))
    ),
    "parameters with a signer twice": Sent(
        "bad_order",
        params_altered(lambda body: replace(body, signers=(body.signers[0], *body.signers))),
    ),
    "parameters signed as an order of attestors": Sent(
        "bad_signature", valued(dearer, tags.SET_ORDER)
    ),
    "parameters changed after signing": Sent(
        "bad_signature",
        params_altered(
            lambda body: replace(body, order=replace(body.order, values=body.order.values[:-1]))
        ),
    ),
    "parameters whose time was changed after signing": Sent(
        "bad_signature",
        params_altered(
            lambda body: replace(body, order=replace(body.order, from_ms=body.order.from_ms + 1))
        ),
    ),
    "parameters while others are announced": Sent(
        "change_pending", params(minimum_fee=3_000), lambda n: n.block(params()(n))
    ),
    "parameters with a notice one millisecond short": Sent(
        "change_too_soon", in_force(lambda n: notice(n) - BLOCK_MS - 1)
    ),
    "parameters at once": Sent("change_too_soon", in_force(lambda n: n.chain.tip.time_ms)),
    "parameters for more than thirty days later than they could be": Sent(
        "bad_order", in_force(lambda n: notice(n) + MONTH_MS + 1)
    ),
    "parameters that are the same": Sent("bad_order", params(minimum_fee=1_000)),
    "one parameter less": Sent("bad_order", valued(lambda values: dearer(values)[:-1])),
    "one more parameter": Sent("bad_order", valued(lambda values: (*dearer(values), 0))),
    "no parameters": Sent("bad_order", valued(lambda _: ())),
    "parameter out of its range": Sent("bad_parameter", params(max_contributors=11)),
    "parameters that do not fit together": Sent(
        "bad_relation", params(quorum_testers=7, quorum_threshold=3)
    ),
    "shorter transactions": Sent("parameter_fixed", params(max_transaction_bytes=16_383)),
    "longer epochs": Sent("parameter_fixed", params(epoch_ms=10_001)),
    "shorter epochs": Sent("parameter_fixed", params(epoch_ms=9_999)),
    "longer trust": Sent("parameter_fixed", lambda n: params(trust_ms=n.params.trust_ms + 1)(n)),
    "shorter trust": Sent("parameter_fixed", lambda n: params(trust_ms=n.params.trust_ms - 1)(n)),
    "older evidence": Sent(
        "parameter_fixed", lambda n: params(evidence_ms=n.params.evidence_ms + 1)(n)
    ),
    "younger evidence": Sent(
        "parameter_fixed", lambda n: params(evidence_ms=n.params.evidence_ms - 1)(n)
    ),
    "shorter unbonding": Sent(
        "parameter_fixed", lambda n: params(unbonding_ms=n.params.unbonding_ms - 1)(n)
    ),
}

ORDERS: dict[str, Row] = SEATS | PARAMS_ROWS
