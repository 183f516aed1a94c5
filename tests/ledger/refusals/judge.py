"""Refusals of `judge`: every way in which a verdict may be none."""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import sign, signing_bytes
from ledger.messages import tags
from ledger.messages.duty import Vote, vote_bytes
from ledger.messages.transactions import Judge, TesterVote
from ledger.transactions.judge import get_quorum
from tests.factory import Network, attestor_roles, free, keys, pair_of, public
from tests.ledger.refusals.envelope import other_network
from tests.ledger.refusals.rows import Row, Sent, after
from tests.ledger.refusals.stake import waiting
from tests.ledger.scenes import CIVIC, SHORT, enter, let_go, pay_out, share, take_down
from tests.life import FAULTY, TOWN, ballots, duty_pair, judge, running, set_keys, townsfolk

SUBJECT = "town 0"
"""The node that is judged; five of the six others test it."""

FAILS = (FAULTY,) * 4


def votes_on(network: Network, *faults: int) -> list[TesterVote]:
    """The votes of the first testers of the node for the running epoch."""
    return list(ballots(network, SUBJECT, faults or FAILS))


def sent(votes: Callable[[list[TesterVote]], Sequence[TesterVote]], *faults: int) -> Any:
    """A function that makes a verdict of these votes, after something was done to them."""
    return lambda n: judge(n, SUBJECT, votes=tuple(votes(votes_on(n, *faults))))


def bound(**other: Any) -> Any:
    """A function that makes a verdict in which one tester signed another vote than it carries."""

    def make(network: Network) -> bytes:
        key = public(SUBJECT)
        vote = Vote(running(network), key, 1, FAULTY)
        tester = get_quorum(network.state, vote.epoch, key)[2]
        pair = duty_pair(network, tester, vote.epoch)
        return third_signature(
            network, sign(pair, vote_bytes(network.hash, replace(vote, **other)))
        )

    return make


def third_signature(network: Network, signature: bytes) -> bytes:
    """A verdict in which the third vote has this signature."""
    votes = votes_on(network)
    votes[2] = replace(votes[2], signature=signature)
    return judge(network, SUBJECT, votes=tuple(votes))


def by(signer: str, tag: bytes = tags.VOTE, genesis_hash: bytes = b"") -> Any:
    """A function that makes a verdict whose third vote somebody else signed, or otherwise."""

    def make(network: Network) -> bytes:
        vote = Vote(running(network), public(SUBJECT), 1, FAULTY)
        message = signing_bytes(tag, genesis_hash or network.hash, encode(vote))
        pair = keys(signer) if signer else pair_of(third_tester(network))
        return third_signature(network, sign(pair, message))

    return make


def third_tester(network: Network) -> bytes:
    """The duty key of the third tester."""
    tester = get_quorum(network.state, running(network), public(SUBJECT))[2]
    return duty_pair(network, tester, running(network)).public


def outsider(network: Network) -> str:
    """The duty key of the one node that does not test."""
    quorum = get_quorum(network.state, running(network), public(SUBJECT))
    name = next(name for name in TOWN[1:] if public(name) not in quorum)
    return f"{name} duty"


def in_epoch_1(make: Callable[[Network], bytes]) -> Any:
    """A function that makes what was made right after genesis."""
    return lambda network: make(Network(network.genesis))


def epochs(count: int) -> Any:
    """A scene in which so many epochs end."""

    def play(network: Network) -> None:
        for _ in range(count):
            network.end_epoch()

    return play


def fails(network: Network) -> bytes:
    """The good verdict that the node failed."""
    return judge(network, SUBJECT, FAULTY)


def judged(network: Network) -> None:
    """It is in a block already."""
    network.block(fails(network))


def unsigned(
    network: Network, node: str, epoch: int | None = None, life: int = 1, faults: int = FAULTY
) -> bytes:
    """A verdict whose votes nobody signed: it is refused before anybody looks at them."""
    votes = tuple(TesterVote(place, faults, bytes(64)) for place in range(4))
    at = running(network) if epoch is None else epoch
    return free("judge", Judge(at, public(node), life, votes))


def came_back(network: Network) -> None:
    """A shared node was paid out; its key begins a second life, which is active."""
    enter(network)
    let_go(network)
    pay_out(network)
    network.block(network.register(life=2, **attestor_roles("node")))
    network.end_epoch()


def passed_but_waits(network: Network) -> None:
    """Two nodes passed their test, and only one of them has become active."""
    for name, operator in (("node", "alice"), ("node 2", "bob")):
        network.block(network.register(name, operator))
    epochs(2)(network)
    network.block(*(judge(network, name) for name in ("node", "node 2")))
    epochs(2)(network)


def waits(network: Network) -> str:
    """The one that is still in the queue."""
    return next(name for name in ("node", "node 2") if network.node(name).passed)


def rotated(network: Network) -> None:
    """Every node of the town has another duty key since the last epoch's end."""
    network.block(*(set_keys(network, name, duty=f"{name} duty 2") for name in TOWN))
    network.end_epoch()


def by_keys(suffix: str, ago: int) -> Any:
    """A function that makes a verdict of this or the last epoch, signed by old or by new keys."""

    def make(network: Network) -> bytes:
        epoch = running(network) - ago
        vote = Vote(epoch, public(SUBJECT), 1, FAULTY)
        names = {public(name): name for name in TOWN}
        quorum = get_quorum(network.state, epoch, vote.node)
        pairs = [keys(f"{names[tester]} duty{suffix}") for tester in quorum[:4]]
        votes = tuple(
            TesterVote(place, FAULTY, sign(pair, vote_bytes(network.hash, vote)))
            for place, pair in enumerate(pairs)
        )
        return judge(network, SUBJECT, epoch=epoch, votes=votes)

    return make


QUORUM_OF_20 = {"quorum_testers": 20, "quorum_threshold": 14}
CITY = {
    "nodes": townsfolk(
        tuple(f"town {place}" for place in range(21)), ("bob", *("dave", "erin") * 10)
    )
}
"""Twenty nodes that can test a twenty-first."""

HAMLET = {"nodes": townsfolk(TOWN[:5], ("dave", "erin", "frank", "grace", "heidi"))}
"""Nodes of which each has one tester less than a quorum needs."""

MONOPOLY = {"nodes": townsfolk(TOWN, ("dave",) * 7)}

JUDGE: dict[str, Row] = {
    # which epoch
    "verdict of the epoch before the last": Sent(
        "verdict_closed", in_epoch_1(fails), epochs(2), genesis=CIVIC
    ),
    "verdict of long ago": Sent("verdict_closed", in_epoch_1(fails), epochs(6), genesis=CIVIC),
    "verdict of an epoch to come": Sent(
        "verdict_closed", lambda n: unsigned(n, SUBJECT, running(n) + 1), genesis=CIVIC
    ),
    "verdict of epoch 0": Sent("verdict_closed", lambda n: unsigned(n, SUBJECT, 0), genesis=CIVIC),
    "verdict of the last epoch that there can be": Sent(
        "verdict_closed", lambda n: unsigned(n, SUBJECT, 2**63 - 1), genesis=CIVIC
    ),
    # on which node
    "verdict on no node": Sent("unknown_node", lambda n: unsigned(n, "nobody"), genesis=CIVIC),
    "verdict on another life": Sent(
        "wrong_life", lambda n: unsigned(n, SUBJECT, life=2), genesis=CIVIC
    ),
    "verdict on the life before": Sent(
        "wrong_life", lambda n: unsigned(n, "node"), came_back, SHORT, CIVIC
    ),
    "verdict on a node that waits for stake": Sent(
        "not_tested", lambda n: judge(n, "node", FAULTY), waiting, genesis=CIVIC
    ),
    "verdict of the epoch in which the node was funded": Sent(
        "not_tested", lambda n: judge(n, "node"), share, {"activation_verdict": 1}, CIVIC
    ),
    "verdict of the epoch before the node was active": Sent(
        "not_tested",
        lambda n: unsigned(n, "node", running(n) - 1),
        enter,
        genesis=CIVIC,
    ),
    "verdict of the epoch before the node was taken down": Sent(
        "not_tested",
        lambda n: judge(n, "node", FAULTY, running(n) - 1),
        after(enter, take_down),
        genesis=CIVIC,
    ),
    "verdict on a node that has left": Sent(
        "not_tested", lambda n: judge(n, "node", FAULTY), after(enter, let_go), genesis=CIVIC
    ),
    "verdict of the first epoch after the node was funded": Sent(
        "not_tested",
        lambda n: judge(n, "node"),
        after(share, Network.end_epoch),
        {"activation_verdict": 1},
        CIVIC,
    ),
    "pass of a node that changed its address in the epoch in which it was funded": Sent(
        "not_tested",
        lambda n: judge(n, "node"),
        after(share, lambda n: n.block(n.update_contact()), Network.end_epoch),
        {"activation_verdict": 1},
        CIVIC,
    ),
    "pass of a node before its new address was in force": Sent(
        "not_tested",
        lambda n: judge(n, "node", epoch=running(n) - 1),
        after(share, epochs(2), lambda n: n.block(n.update_contact()), Network.end_epoch),
        {"activation_verdict": 1},
        CIVIC,
    ),
    # to what purpose
    "verdict that is there already": Sent("judged_already", fails, judged, genesis=CIVIC),
    "verdict of other testers on the same node": Sent(
        "judged_already",
        lambda n: judge(n, SUBJECT, votes=ballots(n, SUBJECT, (2,) * 5)[1:]),
        judged,
        genesis=CIVIC,
    ),
    "verdict of the last epoch that is there already": Sent(
        "judged_already",
        in_epoch_1(fails),
        after(judged, Network.end_epoch),
        genesis=CIVIC,
    ),
    "votes that pass and votes that fail": Sent(
        "votes_differ", sent(list, 1, 1, 0, 1), genesis=CIVIC
    ),
    "enough votes that agree, and one that does not": Sent(
        "votes_differ", sent(list, 1, 1, 1, 1, 0), genesis=CIVIC
    ),
    "pass of an active node": Sent("verdict_useless", lambda n: judge(n, SUBJECT), genesis=CIVIC),
    "fail of a queued node": Sent(
        "verdict_useless",
        lambda n: judge(n, "node", FAULTY),
        after(share, epochs(2)),
        {"activation_verdict": 1},
        CIVIC,
    ),
    "second pass of a queued node": Sent(
        "verdict_useless",
        lambda n: judge(n, waits(n)),
        passed_but_waits,
        {"activation_verdict": 1, "activation_floor": 1, "activation_share": 0},
        CIVIC,
    ),
    # by which testers
    "13 votes of 14": Sent(
        "too_few_votes",
        lambda n: judge(n, SUBJECT, FAULTY, count=13),
        params=QUORUM_OF_20,
        genesis=CITY,
    ),
    "one vote less than are needed": Sent(
        "too_few_votes", sent(lambda votes: votes[1:]), genesis=CIVIC
    ),
    "one vote": Sent("too_few_votes", sent(lambda votes: votes[:1]), genesis=CIVIC),
    "one tester too few for a quorum": Sent(
        "no_quorum", lambda n: unsigned(n, SUBJECT), genesis=HAMLET
    ),
    "testers who are all of one operator": Sent(
        "no_quorum", lambda n: unsigned(n, SUBJECT), genesis=MONOPOLY
    ),
    "testers out of order": Sent("bad_testers", sent(lambda votes: votes[::-1]), genesis=CIVIC),
    "two testers out of order": Sent(
        "bad_testers", sent(lambda v: [v[0], v[2], v[1], v[3]]), genesis=CIVIC
    ),
    "one vote twice": Sent("bad_testers", sent(lambda v: [v[0], v[1], v[2], v[2]]), genesis=CIVIC),
    "enough votes, and one of them twice": Sent(
        "bad_testers", sent(lambda v: [*v, v[3]]), genesis=CIVIC
    ),
    "index that the quorum has not": Sent(
        "bad_testers", sent(lambda v: [*v, replace(v[3], place=5)]), genesis=CIVIC
    ),
    "index 255": Sent(
        "bad_testers", sent(lambda v: [*v[:3], replace(v[3], place=255)]), genesis=CIVIC
    ),
    # who signed what
    "vote of an outsider": Sent("bad_signature", lambda n: by(outsider(n))(n), genesis=CIVIC),
    "vote of another tester": Sent(
        "bad_signature",
        sent(lambda v: [*v[:3], replace(v[3], signature=v[2].signature)]),
        genesis=CIVIC,
    ),
    "vote of one who did not take part": Sent(
        "bad_signature", sent(lambda v: [*v[:3], replace(v[3], place=4)]), genesis=CIVIC
    ),
    "vote of the node itself": Sent("bad_signature", by("town 0 duty"), genesis=CIVIC),
    "vote of an operator": Sent("bad_signature", by("erin"), genesis=CIVIC),
    "forged vote": Sent("bad_signature", by("somebody"), genesis=CIVIC),
    "vote of zeros": Sent("bad_signature", lambda n: third_signature(n, bytes(64)), genesis=CIVIC),
    "vote under another tag": Sent("bad_signature", by("", tags.DUTY_KEY), genesis=CIVIC),
    "vote for another network": Sent(
        "bad_signature", by("", genesis_hash=other_network()), genesis=CIVIC
    ),
    "vote on another life": Sent("bad_signature", bound(life=2), genesis=CIVIC),
    "vote on another node": Sent("bad_signature", bound(node=public("town 1")), genesis=CIVIC),
    "vote of another epoch": Sent("bad_signature", bound(epoch=2), genesis=CIVIC),
    "vote with other faults": Sent("bad_signature", bound(faults=2), genesis=CIVIC),
    "vote that passes, carried as a fail": Sent("bad_signature", bound(faults=0), genesis=CIVIC),
    "votes of the last epoch by new duty keys": Sent(
        "bad_signature", by_keys(" 2", 1), rotated, genesis=CIVIC
    ),
    "votes of this epoch by old duty keys": Sent(
        "bad_signature", by_keys("", 0), rotated, genesis=CIVIC
    ),
    "votes by duty keys that come at the epoch's end": Sent(
        "bad_signature",
        by_keys(" 2", 0),
        lambda n: n.block(*(set_keys(n, name, duty=f"{name} duty 2") for name in TOWN)),
        genesis=CIVIC,
    ),
    # what is no verdict
    "verdict without votes": Sent("not_canonical", sent(lambda _: ()), genesis=CIVIC),
    "verdict of 33 votes": Sent("not_canonical", sent(lambda v: v * 8 + v[:1]), genesis=CIVIC),
    "fault that has no name": Sent(
        "not_canonical", sent(lambda v: [replace(row, faults=64) for row in v]), genesis=CIVIC
    ),
}
