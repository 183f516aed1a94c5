"""Refusals of `set_successor`, and how a network comes to its end."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import sign, signing_bytes
from ledger.messages import tags
from ledger.messages.transactions import SetSuccessor, Signer, SuccessorOrder
from ledger.succession import get_succession
from tests.factory import BLOCK_MS, Network, pair_of
from tests.ledger.refusals.envelope import other_network
from tests.ledger.refusals.orders import MONTH_MS, notice, with_weights
from tests.ledger.refusals.rows import Row, Sent
from tests.life import SUCCESSOR, current, set_successor, withdraw_successor


def follows(network: Network) -> None:
    """A successor is announced."""
    network.block(set_successor(network, "leo"))


def withdrawn(network: Network) -> None:
    """A successor was announced, and is not any more."""
    follows(network)
    network.block(withdraw_successor(network, "leo"))


def moved(network: Network) -> None:
    """The newest header names the successor."""
    follows(network)
    network.end_epoch(late_ms=2 * network.params.unbonding_ms)


def over(network: Network) -> None:
    """The header that names it is final, and attestors send nothing any more."""
    moved(network)
    network.end_epoch()
    network.attesting = False


def named_from(time_ms: Callable[[Network], int], successor: bytes = SUCCESSOR) -> Any:
    """A function that makes an order of a successor for another time."""
    return lambda n: set_successor(n, successor=successor, from_ms=time_ms(n))


def long_notice(network: Network) -> int:
    """The first time from which headers may name a successor that the next block orders."""
    return notice(network) + network.params.unbonding_ms


def successor_altered(change: Callable[[SetSuccessor], SetSuccessor]) -> Any:
    """A function that makes an order of a successor that was changed after it was signed."""

    def make(network: Network) -> bytes:
        body = network.chain.decode(set_successor(network)).body
        network.take_back("alice")
        return network.paid("set_successor", "alice", change(body))

    return make


def successor_order(**fields: Any) -> Callable[[SetSuccessor], SetSuccessor]:
    """A function that changes what was signed."""
    return lambda body: replace(body, order=replace(body.order, **fields))


def successor_signed(tag: bytes, genesis_hash: bytes = b"") -> Any:
    """A function that makes an order of a successor whose signatures are for something else."""

    def make(network: Network) -> bytes:
        order = SuccessorOrder(SUCCESSOR, long_notice(network))
        message = signing_bytes(tag, genesis_hash or network.hash, encode(order))
        keys = [member.list_key for member in current(network)]
        rows = tuple(Signer(key, sign(pair_of(key), message)) for key in keys)
        return network.paid("set_successor", "alice", SetSuccessor(order, rows))

    return make


def announced_ms(network: Network) -> int:
    """For when a successor was announced last."""
    return get_succession(network.state).from_ms


SUCCESSIONS: dict[str, Row] = {
    "successor that nobody signed": Sent("too_few_signers", lambda n: set_successor(n, signers=())),
    "successor signed by two thirds": Sent(
        "too_few_signers", lambda n: set_successor(n, signers=(0, 2))
    ),
    "successor one weight short": Sent(
        "too_few_signers",
        lambda n: set_successor(n, signers=(0, 2)),
        genesis=with_weights(5, 3, 1),
    ),
    "withdrawal signed by two thirds": Sent(
        "too_few_signers", lambda n: withdraw_successor(n, signers=(0, 2)), follows
    ),
    "successor with signers out of order": Sent(
        "bad_order", successor_altered(lambda body: replace(body, signers=body.signers[::-1]))
    ),
    "successor with a signer twice": Sent(
        "bad_order",
        successor_altered(lambda body: replace(body, signers=(body.signers[0], *body.signers))),
    ),
    "successor signed as an order of parameters": Sent(
        "bad_signature", successor_signed(tags.PARAMS_ORDER)
    ),
    "successor signed for another network": Sent(
        "bad_signature", successor_signed(tags.SUCCESSOR_ORDER, other_network())
    ),
    "successor that was changed after signing": Sent(
        "bad_signature", successor_altered(successor_order(genesis_hash=32 * b"\1"))
    ),
    "successor whose time was changed after signing": Sent(
        "bad_signature", successor_altered(successor_order(from_ms=2**62))
    ),
    "network that goes on as itself": Sent(
        "bad_order", lambda n: set_successor(n, successor=n.hash)
    ),
    "successor while another one is announced": Sent(
        "change_pending", lambda n: set_successor(n, successor=32 * b"\1"), follows
    ),
    "successor that is announced already": Sent("change_pending", set_successor, follows),
    "successor with a notice one millisecond short": Sent(
        "change_too_soon", named_from(lambda n: long_notice(n) - BLOCK_MS - 1)
    ),
    "successor at once": Sent("change_too_soon", named_from(lambda n: n.chain.tip.time_ms)),
    "successor for more than thirty days later than it could be": Sent(
        "bad_order", named_from(lambda n: long_notice(n) + MONTH_MS + 1)
    ),
    "withdrawn successor, sent again": Sent(
        "change_too_soon", lambda n: named_from(announced_ms)(n), withdrawn
    ),
    "withdrawal of nothing": Sent("bad_order", withdraw_successor),
    "withdrawal of a withdrawn successor": Sent("bad_order", withdraw_successor, withdrawn),
    "withdrawal of what was announced for another time": Sent(
        "bad_order", named_from(lambda n: announced_ms(n) + 1, bytes(32)), follows
    ),
}
