"""Refusals of `request_unlock`, and what a node that leaves or has left is refused for."""

from typing import Any

from ledger.messages.tables import NODES
from tests.factory import BLOCK_MS, QUARTER, Network, public
from tests.ledger.refusals.rows import Row, Sent, after
from tests.ledger.refusals.stake import lives_again, waiting
from tests.ledger.scenes import (
    CIVIC,
    SHORT,
    WALLET,
    enter,
    expel,
    let_go,
    pay_out,
    share,
    take_down,
    wait_until,
)
from tests.life import header_evidence, report


def ask(who: str = "alice", **changes: Any) -> Any:
    """A function that makes a request that a node leaves."""
    return lambda network: network.request_unlock(who, **changes)


def asked(network: Network) -> None:
    """Alice asked her node that waits for stake to leave."""
    waiting(network)
    network.block(network.request_unlock())


def given_up(network: Network) -> None:
    """Bob had a stake in it, and it is gone."""
    waiting(network)
    network.block(network.contribute("bob", QUARTER), network.request_unlock())
    network.end_epoch()


def a_millisecond_early(network: Network) -> None:
    """The next block is one millisecond before contributors may ask."""
    enter(network)
    from_ms = network.node().activated_ms + network.params.contributor_wait_ms
    wait_until(network, from_ms - BLOCK_MS - 1)


def removed(network: Network) -> None:
    """A shared node is deregistered."""
    enter(network)
    take_down(network)
    expel(network)


def slashed(network: Network) -> None:
    """A shared node signed two headers, which was reported."""
    enter(network)
    network.block(report(network, "leo", header_evidence(network, public("node list"))))


def tombstoned(network: Network) -> None:
    """A shared node was tombstoned for it."""
    slashed(network)
    network.end_epoch()


def buried(network: Network) -> None:
    """And its stake was paid out."""
    tombstoned(network)
    pay_out(network)
    assert network.state.get(NODES, public("node")) is None


def funded(network: Network) -> None:
    """The same wallet needs coins to pay a fee."""
    enter(network)
    network.block(network.transfer("leo", WALLET, network.params.minimum_fee))


LEAVE: dict[str, Row] = {
    "unlock of no node": Sent("unknown_node", ask()),
    "unlock of another life": Sent("wrong_life", ask(life=2), waiting),
    "unlock of the life before": Sent("wrong_life", ask(), lives_again),
    "unlock by a stranger": Sent("no_contribution", ask("dave"), enter),
    "unlock by a beneficiary": Sent("no_contribution", ask(WALLET), funded),
    "unlock by a contributor before the node was active": Sent("not_activated", ask("bob"), share),
    "unlock by a contributor of a node in the queue": Sent(
        "not_activated",
        ask("bob"),
        after(share, Network.end_epoch),
        {"activation_verdict": 1},
        CIVIC,
    ),
    "unlock by a contributor as soon as the node is active": Sent(
        "unlock_too_early", ask("bob"), enter
    ),
    "unlock by a contributor a millisecond early": Sent(
        "unlock_too_early", ask("carol"), a_millisecond_early
    ),
    "second unlock": Sent("leaving_already", ask(), asked),
    "unlock by a contributor after the operator": Sent(
        "leaving_already", ask("bob"), after(enter, lambda n: n.block(n.request_unlock()))
    ),
    "unlock of a node that has left": Sent("leaving_already", ask(), after(enter, let_go)),
    "unlock of a deregistered node": Sent("leaving_already", ask(), removed, genesis=CIVIC),
    "unlock of a node that was slashed for equivocating": Sent("leaving_already", ask(), slashed),
    "unlock of a tombstoned node": Sent("leaving_already", ask(), tombstoned),
    "unlock of a node whose stake was paid out": Sent(
        "unknown_node", ask(), after(enter, let_go, pay_out), SHORT
    ),
    # those who come to one that leaves
    "contribution to a node that is given up": Sent(
        "leaving_already", lambda n: n.contribute("bob", QUARTER), asked
    ),
    "contribution to a node that has left": Sent(
        "not_awaiting", lambda n: n.contribute("dave", QUARTER), after(enter, let_go)
    ),
    "withdrawal from a node that has left": Sent(
        "not_awaiting", lambda n: n.withdraw("bob"), after(enter, let_go)
    ),
    "withdrawal after the node was given up": Sent(
        "unknown_node", lambda n: n.withdraw("bob"), given_up
    ),
    # those who come back
    "registration of a node that has left": Sent(
        "node_exists", lambda n: n.register(life=2), after(enter, let_go)
    ),
    "registration of a deregistered node": Sent(
        "node_exists", lambda n: n.register(life=2), removed, genesis=CIVIC
    ),
    "registration of a tombstoned key": Sent(
        "tombstoned", lambda n: n.register(life=2), buried, SHORT
    ),
    "registration of a tombstoned key by another operator": Sent(
        "tombstoned", lambda n: n.register(operator="dave", life=2), buried, SHORT
    ),
}
