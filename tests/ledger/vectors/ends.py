"""Ends of epochs in the vectors, and the blocks after them.

ENDS         what each step of an end does, and what makes it do nothing
BEGINNINGS   the first block of an epoch, which completes the header
"""

from typing import Any, Final

from ledger.messages.genesis import COMET, REGISTRY
from ledger.messages.lists import Attestor
from tests.factory import EPOCH_MS, QUARTER, Network, attestor_roles, links, public
from tests.ledger.refusals.blocks import quiet
from tests.ledger.refusals.leave import slashed
from tests.ledger.refusals.orders import (
    RECOVERY,
    RECOVERY_NAMES,
    announced,
    lost,
    orders,
    recovers,
)
from tests.ledger.refusals.rows import Scene, after
from tests.ledger.refusals.seats import FOUR
from tests.ledger.refusals.stake import queued, waiting
from tests.ledger.refusals.successor import follows, moved
from tests.ledger.scenes import (
    CIVIC,
    SHORT,
    earn,
    enter,
    expel,
    fail,
    let_go,
    pay_out,
    share,
    take_down,
)
from tests.ledger.vectors.scenes import Played, tested
from tests.life import FAULTY, TOWN, current, judge, seats, set_attestors, set_keys, set_params

WATCHED: Final[dict[str, int]] = {"activation_verdict": 1}
"""Parameters under which a node has to pass a test before it is active."""

ONE_A_TIME: Final[dict[str, int]] = {"removal_floor": 1, "removal_share": 0}
"""Parameters under which verdicts remove one node an epoch."""

SEATS: Final[dict[str, int]] = SHORT | {"set_change_ms": 0}
"""Parameters under which one change of the attestors follows on the other."""


def end(network: Network) -> None:
    """The running epoch ends in time."""
    network.end_epoch()


def ends(count: int) -> Scene:
    """So many epochs end."""
    return after(*[end] * count)


def late(ms: int) -> Scene:
    """The running epoch ends so much later than it could."""
    return lambda network: network.end_epoch(late_ms=ms)


def asks(*who: tuple[str, str]) -> Scene:
    """Operators ask their nodes to leave."""
    return lambda n: n.block(*[n.request_unlock(operator, node) for operator, node in who])


def fails(*nodes: str) -> Scene:
    """An epoch in which these nodes failed their tests."""

    def play(network: Network) -> None:
        network.block(*[judge(network, node, FAULTY) for node in nodes])
        network.end_epoch()

    return play


def crowded(network: Network) -> None:
    """Three nodes of one operator stand in the queue, and behind them one of another's."""
    network.block(
        *(network.register(f"node {number}", "kim") for number in range(3)),
        network.register("node 3", "leo"),
    )


def passes(network: Network) -> None:
    """The node passed its test."""
    network.block(judge(network))


def updates(network: Network) -> None:
    """The node sent other contact data."""
    network.block(network.update_contact())


def changes_keys(network: Network) -> None:
    """The node sent other keys for every role."""
    list_key = public("node 2 list")
    network.block(
        set_keys(
            network,
            list_key=list_key,
            list_tip=links(list_key)[-1],
            consensus_key=public("node 2 consensus"),
        )
    )


def seated(network: Network) -> None:
    """The list key of an active node has a seat."""
    enter(network)
    member = Attestor(public("node list"), 1)
    network.block(set_attestors(network, seats(network, kept=(*current(network), member))))
    network.end_epoch()
    network.end_epoch()
    assert member in current(network)


def unattested(network: Network) -> None:
    """A set is announced, and nobody attests the header that names it."""
    announced(network)
    quiet(network)
    network.block()


def stand(network: Network) -> None:
    """Three nodes with every key are active, and the oldest is to come for a founder."""
    names = ("node", "node 2", "node 3")
    for name, who in zip(names, ("kim", "leo", "alice"), strict=True):
        network.block(network.register(name, who, **attestor_roles(name)))
        network.end_epoch()


def another_validator(network: Network) -> None:
    """A node with a seat names another consensus key."""
    network.block(set_keys(network, consensus_key=public("node 2 other consensus")))


def names_another_list_key(network: Network) -> None:
    """A node with a seat names another list key."""
    key = public("node other list")
    network.block(set_keys(network, list_key=key, list_tip=links(key)[-1]))


def another_waits_anew(network: Network) -> None:
    """A node that stands without a seat names another list key."""
    key = public("node 3 other list")
    network.block(set_keys(network, "node 3", list_key=key, list_tip=links(key)[-1]))


def opts_out(network: Network) -> None:
    """A node with a seat names no list key any more."""
    network.block(set_keys(network, list_key=b""))


def recovery_of_a_lost_seat(network: Network) -> None:
    """A set is announced; recovery keys order another one, and one of its seats is lost."""
    announced(network)
    kept = seats(network, kept=current(network)[:2])
    network.block(set_attestors(network, kept, recovery=RECOVERY_NAMES))
    lost(network)


def missing(network: Network) -> None:
    """One founding seat of four attests nothing for two epochs."""
    network.attesting = False
    for _ in range(2):
        network.block()
        network.block(*(network.attest(place) for place in (1, 2, 3)))
        network.end_epoch()
    network.attesting = True


def slashed_seat(network: Network) -> None:
    """That seat signed two headers: a set without it is announced."""
    lost(network)
    network.end_epoch()


def raised(network: Network) -> None:
    """Other parameters are announced."""
    network.block(set_params(network, reward_rate=1_000))


TURNS: Final[dict[str, int]] = SEATS | {"founders_until": 3}
"""Parameters under which three nodes take over from the founders."""

TAKEN: Final[dict[str, Any]] = {"policy": REGISTRY, "engine": COMET, "producer": b""}
"""What a genesis file has otherwise where nodes take their turns and agree on blocks."""

ALONE: Final = {"attestors": FOUR["attestors"][:1]}
"""What a genesis file has otherwise that names one founder."""

IN_TOWN: Final[dict[str, Any]] = {"genesis": CIVIC}

ENDS: Final[dict[str, Played]] = {
    # seed and header
    "a network without nodes: seed, header, roster, start": Played(end),
    "nobody attested: the seed takes no reveal": Played(after(quiet, end)),
    "one seat of three attested": Played(after(quiet, lambda n: n.block(n.attest(1)), end)),
    "an end that comes late is one epoch and not many": Played(late(5 * EPOCH_MS), **IN_TOWN),
    "starts that evidence is too old for are forgotten": Played(after(ends(8), end), SHORT),
    # verdicts
    "a failing epoch is counted": Played(after(enter, fail, end), **IN_TOWN),
    "a second failing epoch running: decommissioned, and in no swarm": Played(
        after(enter, fail, fail, end), **IN_TOWN
    ),
    "an epoch without a verdict breaks the run": Played(after(enter, fail, end, end), **IN_TOWN),
    "a failing epoch of a decommissioned node takes of its credit": Played(
        after(enter, take_down, fail, end), **IN_TOWN
    ),
    "down time reaches the credit: deregistered": Played(after(enter, take_down, expel), **IN_TOWN),
    "a pass brings a decommissioned node back": Played(
        after(enter, take_down, passes, end, end), **IN_TOWN
    ),
    "three quiet judging windows do not bring it back": Played(
        after(enter, take_down, ends(4)), **IN_TOWN
    ),
    "four quiet judging windows do": Played(after(enter, take_down, ends(5)), **IN_TOWN),
    "two failed, and one may be removed: the hash with the seed decides": Played(
        after(fails("town 1", "town 2"), fails("town 1", "town 2"), end),
        ONE_A_TIME,
        CIVIC,
    ),
    "who had no turn and failed a third time goes before those who failed twice": Played(
        after(
            enter,
            fails("town 1", "town 2"),
            fails(*TOWN),
            fails(*TOWN),
            end,
        ),
        ONE_A_TIME,
        CIVIC,
    ),
    "three failed, and no more than a quarter may be down": Played(
        after(fails("town 1", "town 2", "town 3"), fails("town 1", "town 2", "town 3"), end),
        **IN_TOWN,
    ),
    "in the time of grace nobody is decommissioned": Played(
        after(raised, late(SHORT["unbonding_ms"]), enter, fail, fail, end),
        SHORT | {"grace_ms": 86_400_000},
        CIVIC,
    ),
    # rewards
    "a node begins to earn": Played(after(enter, end), **IN_TOWN),
    "each node has an equal share, what does not divide stays in the pool": Played(
        after(earn, end), **IN_TOWN
    ),
    # exits and payouts
    "who asked has left: its stake is locked": Played(after(enter, let_go), **IN_TOWN),
    "two asked, one leaves": Played(
        after(asks(("dave", "town 0"), ("erin", "town 1")), end), **IN_TOWN
    ),
    "given up while it waits for stake: everybody has his stake back": Played(
        after(
            waiting,
            lambda n: n.block(n.contribute("bob", QUARTER)),
            asks(("alice", "node")),
            end,
        )
    ),
    "given up while it stands in the queue": Played(
        after(share, asks(("alice", "node")), end), **IN_TOWN
    ),
    "slashed for two headers: tombstoned": Played(after(slashed, end), **IN_TOWN),
    "payout of a node that has left": Played(after(enter, let_go, pay_out), SHORT, CIVIC),
    "payout of a deregistered node": Played(after(enter, take_down, expel, pay_out), SHORT, CIVIC),
    "payout of a tombstoned node": Played(after(slashed, end, pay_out), SHORT, CIVIC),
    "a node with a seat leaves: a set without it is announced": Played(
        after(seated, let_go), SEATS, CIVIC
    ),
    "payout is due while the seat counts: it waits from the end at which the seat is gone": Played(
        after(seated, let_go, late(SHORT["lock_ms"])), SEATS, CIVIC
    ),
    "payout after the seat is gone": Played(
        after(seated, let_go, late(SHORT["lock_ms"]), pay_out), SEATS, CIVIC
    ),
    # contact data and keys
    "other contact data is in force": Played(after(enter, updates, end), **IN_TOWN),
    "other role keys are in force": Played(after(enter, changes_keys, end), **IN_TOWN),
    "other contact data voids the pass of a queued node": Played(
        after(tested, passes, end, updates, end), WATCHED, CIVIC
    ),
    # activations
    "a funded node is active, in a swarm": Played(after(queued, end)),
    "the same where others are": Played(after(share, end), **IN_TOWN),
    "four are funded and two may be active: operators take turns": Played(
        after(crowded, end), {"activation_floor": 2, "activation_share": 0}, CIVIC
    ),
    "a queued node that did not pass waits": Played(after(tested, end), WATCHED, CIVIC),
    "a queued node that passed is active": Played(after(tested, passes, end, end), WATCHED, CIVIC),
    # attestors
    "a set is announced": Played(after(lambda n: n.block(orders()(n)), end)),
    "a set takes over": Played(after(announced, end)),
    "a set whose header is not final does not": Played(after(unattested, end)),
    "a barred seat goes": Played(after(lost, end)),
    "recovery keys replace the set at once": Played(
        after(lambda n: n.block(recovers()(n)), end), genesis=RECOVERY
    ),
    "recovery keys name a seat that is lost by then: the set that was announced takes over": Played(
        after(recovery_of_a_lost_seat, end), SEATS, RECOVERY
    ),
    "the registry fills the seats: a node comes for a founder": Played(stand, TURNS, TAKEN),
    "it takes over and agrees on blocks, and the next one comes": Played(
        after(stand, end), TURNS, TAKEN
    ),
    "a validator's other consensus key is in force": Played(
        after(stand, ends(3), another_validator, end), TURNS, TAKEN
    ),
    "a node that names another list key has its seat moved": Played(
        after(stand, ends(4), names_another_list_key, end), TURNS, TAKEN
    ),
    "one founder stays until as many seats are taken as nodes have to stand": Played(
        after(stand, ends(2)), TURNS, TAKEN | ALONE
    ),
    "who waits for a seat and names another list key stands anew": Played(
        after(stand, another_waits_anew, end), TURNS, TAKEN
    ),
    "who has no seat any more stands anew": Played(
        after(stand, ends(4), opts_out, ends(3)), TURNS | {"founders_until": 2}, TAKEN
    ),
    "a seat missed a header that is final without it": Played(
        after(quiet, Network.block, lambda n: n.block(*(n.attest(p) for p in (1, 2, 3))), end),
        TURNS,
        TAKEN | FOUR,
    ),
    "a seat that attested makes up for what it missed": Played(
        after(missing, end), TURNS, TAKEN | FOUR
    ),
    "a seat that missed too many headers is lost": Played(
        after(missing), TURNS | {"absences_most": 1}, TAKEN | FOUR
    ),
    "what a seat missed is forgotten with the seat": Played(
        after(missing, missing, slashed_seat, end), TURNS, TAKEN | FOUR
    ),
    # parameters
    "parameters that wait": Played(after(raised, end)),
    "parameters are in force": Played(after(raised, late(SHORT["unbonding_ms"])), SHORT),
    # succession
    "a successor that is announced is not named yet": Played(after(follows, end)),
    "the header names the successor": Played(
        after(follows, late(2 * SHORT["unbonding_ms"])), SHORT
    ),
    "the header that names it is final: the network is over": Played(after(moved, end), SHORT),
    "it is not final: the next one names it again": Played(
        after(moved, quiet, Network.block, end), SHORT
    ),
}

BEGINNINGS: Final[dict[str, Played]] = {
    "first block of an epoch: the header has its state root, and the history one leaf more": Played(
        after(quiet, end, Network.block)
    ),
    "first block of an epoch, with attestations of its header": Played(after(end, Network.block)),
}
