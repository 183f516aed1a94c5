"""Refusals of `claim_rewards`."""

from typing import Any

from tests.factory import Network
from tests.ledger.refusals.rows import Row, Sent, after
from tests.ledger.refusals.stake import lives_again, waiting
from tests.ledger.scenes import SHORT, earn, enter, let_go, pay_out


def claim(who: str = "alice", **changes: Any) -> Any:
    """A function that makes a claim."""
    return lambda network: network.claim_rewards(who, **changes)


def claimed(network: Network) -> None:
    """Everybody took what waited."""
    earn(network)
    network.block(*(network.claim_rewards(who) for who in ("alice", "bob", "carol")))


def all_the_operators(network: Network) -> None:
    """A node whose operator takes the whole reward as his fee."""
    enter(network, fee=10_000)
    network.end_epoch()
    network.end_epoch()


REWARDS: dict[str, Row] = {
    "claim from no node": Sent("unknown_node", claim()),
    "claim from another life": Sent("wrong_life", claim(life=2), waiting),
    "claim from the life before": Sent("wrong_life", claim(), lives_again),
    "claim of a stranger": Sent("no_contribution", claim("dave"), earn),
    "claim from a node that waits for stake": Sent("nothing_to_claim", claim(), waiting),
    "claim before the node earns": Sent("nothing_to_claim", claim(), enter),
    "second claim in an epoch": Sent("nothing_to_claim", claim(), claimed),
    "second claim of a contributor": Sent("nothing_to_claim", claim("carol"), claimed),
    "claim where all is the operator's": Sent("nothing_to_claim", claim("bob"), all_the_operators),
    "claim out of an empty pool": Sent("nothing_to_claim", claim(), earn, genesis={"pool": 0}),
    "claim after everything was paid out": Sent(
        "unknown_node", claim(), after(earn, let_go, pay_out), SHORT
    ),
}
