"""What happens in the vectors: transactions that are applied, and what a BFT engine finds.

Played          a network, and what happens in it; the vector is its newest block
APPLIED         for each kind of transaction
MISBEHAVIOUR    for what an engine finds
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from ledger.codec import encode
from ledger.errors import REFUSALS
from ledger.messages.genesis import COMET
from ledger.messages.lists import Attestor
from ledger.nodes import consensus_address
from tests.factory import (
    BLOCK_MS,
    FEE,
    QUARTER,
    RICH,
    Network,
    attestor_roles,
    links,
    make_contact,
    make_genesis,
    places,
    public,
    validator_of,
)
from tests.ledger.refusals.kinds import GOOD
from tests.ledger.refusals.orders import RECOVERY, recovers
from tests.ledger.refusals.rows import Scene, after
from tests.ledger.refusals.stake import REST, kept_for_bob, lived_before, waiting, with_roles
from tests.ledger.refusals.successor import follows, withdrawn
from tests.ledger.runners.report import piece
from tests.ledger.scenes import CIVIC, earn, enter, let_go, share, take_down, wait_until
from tests.life import (
    FAULTY,
    current,
    fork_evidence,
    header_evidence,
    judge,
    report,
    seats,
    set_attestors,
    set_keys,
    set_successor,
    vote_evidence,
    withdraw_successor,
)

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
V6: Final = bytes.fromhex("26200000000000000000000000000001")


class Played(NamedTuple):
    """A network, and what happens in it; the vector is its newest block."""

    scene: Scene
    params: Mapping[str, int] = NOTHING
    genesis: Mapping[str, Any] = NOTHING

    def play(self) -> Network:
        """The network after all of it."""
        network = Network(make_genesis(self.params, **self.genesis))
        self.scene(network)
        return network


def sends(*makes: Callable[[Network], bytes], codes: tuple[str, ...] = ()) -> Scene:
    """A block of these transactions, and of nothing else; they are good, or have these codes."""

    def play(network: Network) -> None:
        network.settle()
        raws = [make(network) for make in makes]
        numbers = [REFUSALS[code].number if code else 0 for code in codes]
        network.block(*raws, codes=numbers or None)

    return play


def good(kind: str) -> Played:
    """The good transaction of a kind from which its refusals are made."""
    row = GOOD[kind]
    return Played(after(row.scene, sends(row.make)), genesis=row.genesis)


# --------------------------------------------------------------------------- transactions


def third_may_ask(network: Network) -> None:
    """The next block is the first in which contributors may ask a node to leave."""
    enter(network)
    from_ms = network.node().activated_ms + network.params.contributor_wait_ms
    wait_until(network, from_ms - BLOCK_MS)


def tested(network: Network) -> None:
    """A queued node is tested in the running epoch for the first time."""
    share(network)
    network.end_epoch()
    network.end_epoch()


def reports(make: Callable[[Network], Any]) -> Scene:
    """Leo reports it."""
    return sends(lambda n: report(n, "leo", make(n)))


APPLIED: Final[dict[str, dict[str, Played]]] = {
    "transfer": {
        "coins move": good("transfer"),
        "an account comes into being": Played(sends(lambda n: n.transfer("alice", "zoe", 5))),
        "to oneself: the fee leaves and the nonce counts": Played(
            sends(lambda n: n.transfer("alice", "alice", 5))
        ),
        "everything: an empty account stays": Played(
            sends(lambda n: n.transfer("alice", "bob", RICH - FEE))
        ),
        "three in one block: the second leaves a nonce out and changes nothing": Played(
            sends(
                lambda n: n.transfer("alice", "bob", 5, nonce=0),
                lambda n: n.transfer("alice", "bob", 6, nonce=2),
                lambda n: n.transfer("alice", "bob", 7, nonce=1),
                codes=("", "nonce_skipped", ""),
            )
        ),
    },
    "register": {
        "a quarter of the stake: the node waits for the rest": good("register"),
        "all of the stake: the node stands in the queue": Played(sends(lambda n: n.register())),
        "with a key for every role, and an IPv6 address": Played(
            sends(
                lambda n: n.register(
                    stake=QUARTER, contact=make_contact(ipv6=V6), **attestor_roles("node")
                )
            )
        ),
        "with reserved places": Played(
            sends(lambda n: n.register(stake=QUARTER, reserved=places(("bob", 7), ("carol", 9))))
        ),
        "a second life of a node key": Played(
            after(lived_before, sends(lambda n: n.register(life=2)))
        ),
    },
    "contribute": {
        "a part": good("contribute"),
        "the last unit: the node stands in the queue": Played(
            after(waiting, sends(lambda n: n.contribute("bob", REST)))
        ),
        "a reserved place": Played(after(kept_for_bob, sends(lambda n: n.contribute("bob", 7)))),
        "for another beneficiary": Played(
            after(
                waiting, sends(lambda n: n.contribute("bob", QUARTER, beneficiary=public("carol")))
            )
        ),
    },
    "withdraw": {"everything that he gave": good("withdraw")},
    "update_contact": {
        "of a node that waits for stake": good("update_contact"),
        "the second one in an epoch: it takes the first one's place": Played(
            after(
                waiting,
                lambda n: n.block(n.update_contact()),
                sends(lambda n: n.update_contact(sequence=2, contact=make_contact(10))),
            )
        ),
    },
    "attest": {"the newest header": good("attest")},
    "request_unlock": {
        "of a node that waits for stake": good("request_unlock"),
        "by the operator of an active node": Played(
            after(enter, sends(lambda n: n.request_unlock()))
        ),
        "by a contributor, as soon as he may": Played(
            after(third_may_ask, sends(lambda n: n.request_unlock("bob")))
        ),
    },
    "claim_rewards": {
        "by the operator: his fee, his part and what does not divide": good("claim_rewards"),
        "by a contributor": Played(after(earn, sends(lambda n: n.claim_rewards("bob")))),
        "for another beneficiary, whose account comes into being": Played(
            after(earn, sends(lambda n: n.claim_rewards("carol")))
        ),
    },
    "set_keys": {
        "another duty key": good("set_keys"),
        "other list and consensus keys": Played(
            after(
                with_roles,
                sends(
                    lambda n: set_keys(
                        n,
                        list_key=public("node 2 list"),
                        list_tip=links(public("node 2 list"))[-1],
                        consensus_key=public("node 2 consensus"),
                    )
                ),
            )
        ),
    },
    "judge": {
        "an active node failed": good("judge"),
        "a queued node passed": Played(
            after(tested, sends(judge)), {"activation_verdict": 1}, CIVIC
        ),
        "a decommissioned node passed": Played(
            after(enter, take_down, sends(judge)), genesis=CIVIC
        ),
        "a decommissioned node failed": Played(
            after(enter, take_down, sends(lambda n: judge(n, faults=FAULTY))), genesis=CIVIC
        ),
    },
    "report": {
        "a pass and a fail by one duty key": good("report"),
        "the same of a node with contributors: each pays his part": Played(
            after(enter, reports(lambda n: vote_evidence(n, "node")))
        ),
        "two headers for one epoch: the key is tombstoned": Played(
            after(enter, reports(lambda n: header_evidence(n, public("node list"))))
        ),
        "a header, and a later one whose history has another in its place": Played(
            after(enter, reports(lambda n: fork_evidence(n, public("node list"))))
        ),
        "two headers by an attestor without a node: its key is barred": Played(
            reports(lambda n: header_evidence(n, current(n)[0].list_key))
        ),
        "a node that has left and whose stake is locked": Played(
            after(enter, let_go, reports(lambda n: header_evidence(n, public("node list"))))
        ),
        "headers after votes: only what is missing is taken": Played(
            after(
                enter,
                reports(lambda n: vote_evidence(n, "node")),
                reports(lambda n: header_evidence(n, public("node list"))),
            )
        ),
    },
    "set_attestors": {
        "one seat more": good("set_attestors"),
        "a seat for the list key of a node on duty": Played(
            after(
                enter,
                sends(
                    lambda n: set_attestors(
                        n, seats(n, kept=(*current(n), Attestor(public("node list"), 1)))
                    )
                ),
            )
        ),
        "by recovery keys": Played(sends(recovers()), genesis=RECOVERY),
    },
    "set_params": {"a higher fee": good("set_params")},
    "set_successor": {
        "another network, announced": good("set_successor"),
        "withdrawn": Played(after(follows, sends(withdraw_successor))),
        "another one after a withdrawal": Played(after(withdrawn, sends(set_successor))),
    },
}


# --------------------------------------------------------------------------- misbehaviour

ENGINE: Final[dict[str, Any]] = {"engine": COMET, "producer": b""}
"""What a genesis file has otherwise where validators agree on blocks."""


def finds(*pieces: Callable[[Network], bytes]) -> Scene:
    """A block that carries these pieces, and nothing else."""

    def play(network: Network) -> None:
        network.settle()
        network.block(misbehaviour=tuple(make(network) for make in pieces))

    return play


def of(name: str, **changes: Any) -> Callable[[Network], bytes]:
    """A piece about the consensus key of a name."""
    return lambda network: encode(replace(piece(name, network), **changes))


def founder(network: Network) -> bytes:
    """A piece about the consensus key of the first attestor, who has no node."""
    key = validator_of(current(network)[0].list_key)
    return encode(replace(piece("node", network), address=consensus_address(key)))


def junk(text: str) -> Callable[[Network], bytes]:
    """A piece of these bytes."""
    return lambda _network: bytes.fromhex(text)


MISBEHAVIOUR: Final[dict[str, Played]] = {
    "a validator pays and is tombstoned": Played(after(enter, finds(of("node"))), genesis=ENGINE),
    "pieces that prove nothing have no effect, the good one between them has": Played(
        after(enter, finds(junk(""), junk("c0"), of("nobody"), of("node"), junk("939393"))),
        genesis=ENGINE,
    ),
    "the same twice counts once": Played(
        after(enter, finds(of("node"), of("node"))), genesis=ENGINE
    ),
    "the same again in a later block has no effect": Played(
        after(enter, finds(of("node")), finds(of("node"))), genesis=ENGINE
    ),
    "an offence at the time of genesis is one of epoch 0, and a later stake does not pay": Played(
        after(enter, finds(of("node", time_ms=make_genesis().start_ms))), genesis=ENGINE
    ),
    "a founder without a node: its list key is marked too": Played(finds(founder), genesis=ENGINE),
    "after votes only what is missing is taken": Played(
        after(enter, reports(lambda n: vote_evidence(n, "node")), finds(of("node"))),
        genesis=ENGINE,
    ),
    "the key of before is still the node's": Played(
        after(
            enter,
            lambda n: n.block(set_keys(n, consensus_key=public("node 2 consensus"))),
            Network.end_epoch,
            finds(of("node")),
        ),
        genesis=ENGINE,
    ),
    "under one producer it counts for nothing": Played(after(enter, finds(of("node")))),
    "none of it, and nothing happens": Played(after(enter, finds()), genesis=ENGINE),
}
