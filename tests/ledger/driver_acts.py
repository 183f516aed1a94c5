"""What nodes, testers, attestors and an engine may do next in the driver's networks.

Each act looks at the committed state and returns the transactions it makes of it, most of them
good. What one act does not know is what the others do in the same block, so some are refused.
"""

from collections.abc import Callable
from random import Random
from typing import Any, Final

from ledger.chain import Chain
from ledger.codec import encode
from ledger.messages.evidence import Misbehaviour
from ledger.messages.state import (
    ACTIVE,
    AWAITING,
    DECOMMISSIONED,
    GONE,
    ON_DUTY,
    QUEUED,
    Node,
)
from ledger.messages.tables import BINDINGS, CHAINLINKS, HISTORIES, POOL, VERDICTS
from ledger.messages.tables import NODES as RECORDS
from ledger.messages.transactions import ClaimRewards, Contribute, RequestUnlock, Withdraw
from ledger.nodes import consensus_address, get_owed
from ledger.state import State, epoch_key
from ledger.succession import get_succession
from ledger.transactions.judge import get_quorum
from ledger.types import ZERO_HASH
from tests import life
from tests.factory import Network, links, public
from tests.ledger.driver_network import NODES, OPERATORS, PEOPLE

NAMES: Final = {public(who): who for who in (*PEOPLE, *OPERATORS)}
LIST_KEYS: Final = ("attestor 2", "attestor 3", *(f"{name} list" for name in NODES))
"""Keys that may get a seat, by name."""


class Onlooker(Network):
    """What anybody knows who follows a chain: enough to build what comes next in it."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.genesis = chain.genesis
        self.hash = chain.genesis_hash
        self._sent = {}
        self._state = State(chain.view().reader, {})

    @property
    def state(self) -> State:
        """The newest committed state; records are decoded once."""
        return self._state


class Mood:
    """What a sequence tends to: one node fails its tests, and comes back, or never does."""

    def __init__(self, random: Random) -> None:
        self.victim = public(random.choice(NODES[:6]))
        self.recovers = random.choice((0.0, 0.0, 0.5, 1.0))
        """How likely it passes once it is down."""
        self.attests = random.choice((0.9, 0.9, 0.5))
        """How likely each seat attests: mostly a header becomes final, or it rarely does."""


def choose_acts(random: Random, chain: Chain, mood: Mood, activity: float) -> list[bytes]:
    """Return what is done at a height, by all kinds of people."""
    network = Onlooker(chain)
    raws = judge(random, network, mood)
    for act, likely in ACTS.items():
        if random.random() < likely * activity:
            raws += act(random, network)
    return raws


# -------------------------------------------------------------------------------- verdicts


def judge(random: Random, network: Network, mood: Mood) -> list[bytes]:
    """Verdicts on the victim, on who is queued, and now and then on somebody else."""
    state, running, raws = network.state, life.running(network), []
    for key, node in state.items(RECORDS):
        chosen = key == mood.victim or node.state == QUEUED
        if random.random() > (0.95 if chosen else 0.05):
            continue
        for epoch in (running - 1, running):
            is_open = epoch > 0 and 0 < node.tested_from <= epoch and not node.passed
            is_judged = state.get(VERDICTS, epoch_key(epoch, key)) is not None
            if is_open and not is_judged and get_quorum(state, epoch, key):
                raws.append(life.judge(network, key, find(random, node, mood), epoch))
    return raws


def find(random: Random, node: Node, mood: Mood) -> int:
    """What testers find: faults, or none for a node that a pass can help."""
    fails = {ACTIVE: 1.0, DECOMMISSIONED: 1.0 - mood.recovers}.get(node.state, 0.0)
    return random.choice((1, 2, 33)) if random.random() < fails else 0


# ------------------------------------------------------------------------- stake and money


def share_stake(random: Random, network: Network) -> list[bytes]:
    """Somebody joins in a node that waits for stake, or takes his own back."""
    rows = [(k, n) for k, n in network.state.items(RECORDS) if n.state == AWAITING]
    if not rows:
        return []
    key, node = random.choice(rows)
    inside = [NAMES[c.account] for c in node.contributions]
    if len(inside) > 1 and random.random() < 0.5:
        return [network.paid("withdraw", inside[-1], Withdraw(key, node.life), fee=1)]
    who = random.choice([who for who in PEOPLE if who not in inside] or PEOPLE)
    body = Contribute(key, node.life, 38, public(who))
    return [network.paid("contribute", who, body, fee=1)]


def request_unlock(random: Random, network: Network) -> list[bytes]:
    """Somebody with stake in a node wants it to leave, sooner one whose key holds a seat."""
    seats = [member.list_key for member in life.current(network)]
    rows = [(k, n) for k, n in network.state.items(RECORDS) if n.state not in GONE]
    if not rows:
        return []
    key, node = random.choice([row for row in rows if row[1].list_key in seats] or rows)
    who = NAMES[random.choice(node.contributions).account]
    body = RequestUnlock(key, node.life)
    return [network.paid("request_unlock", who, body, fee=1)]


def claim_rewards(random: Random, network: Network) -> list[bytes]:
    """Somebody claims what his node earned, if it earned anything."""
    pool, owed = network.state.one(POOL), []
    for key, node in network.state.items(RECORDS):
        parts = zip(get_owed(node, pool), node.contributions, strict=True)
        owed += [(key, node.life, c.account) for part, c in parts if part]
    if not owed:
        return []
    key, number, account = random.choice(owed)
    body = ClaimRewards(key, number)
    return [network.paid("claim_rewards", NAMES[account], body, fee=1)]


# ------------------------------------------------------------------------------- role keys


def set_keys(random: Random, network: Network) -> list[bytes]:
    """A node gets another duty key, and keys for a seat and for blocks."""
    name = random.choice(NODES)
    node = network.state.get(RECORDS, public(name))
    if node is None or node.state in GONE:
        return []
    sequence = network.state.one(HISTORIES, public(name)).sequence + 1
    list_key = public(f"{name} list")
    is_known = network.state.get(CHAINLINKS, list_key) is not None
    return [
        life.set_keys(
            network,
            name,
            sequence,
            f"{name} duty {sequence}",
            list_key=list_key,
            list_tip=b"" if is_known and random.random() < 0.8 else links(list_key)[-1],
            consensus_key=public(f"{name} consensus"),
        )
    ]


# -------------------------------------------------------------------------------- offences


def report_vote(random: Random, network: Network) -> list[bytes]:
    """A tester is shown to have passed and failed one node."""
    tester = random.choice(NODES)
    node = network.state.get(RECORDS, public(tester))
    if node is None or not life.running(network):
        return []
    evidence = life.vote_evidence(network, tester)
    return [life.report(network, random.choice(PEOPLE), evidence, fee=1)]


def report_list(random: Random, network: Network) -> list[bytes]:
    """A list key is shown to have signed two headers, that of a node or of a seat."""
    seats = [member.list_key for member in life.current(network)]
    keys = [public(name) for name in LIST_KEYS]
    key = random.choice([*seats, *(k for k in keys if network.state.get(BINDINGS, k))])
    make = random.choice((life.header_evidence, life.fork_evidence))
    return [life.report(network, random.choice(PEOPLE), make(network, key), fee=1)]


def make_misbehaviour(random: Random, chain: Chain) -> tuple[bytes, ...]:
    """What an engine may say of validators: something, something twice, or nonsense."""
    pieces: list[bytes] = []
    if random.random() < 0.05:
        pieces.append(b"evidence")
    if random.random() < 0.25:
        state = chain.view().state
        keys = [public(f"{name} consensus") for name in NODES]
        key = random.choice([key for key in keys if state.get(BINDINGS, key)] or keys)
        address = consensus_address(key)
        time_ms = chain.tip.time_ms - random.choice((0, 1_000))
        pieces += [encode(Misbehaviour(address, chain.tip.height, time_ms))] * random.choice((1, 2))
    return tuple(pieces)


# ---------------------------------------------------------------------------------- orders


def set_attestors(random: Random, network: Network) -> list[bytes]:
    """A seat comes or goes, by the attestors' word or by the recovery keys'."""
    kept, state = list(life.current(network)), network.state
    seated = [member.list_key for member in kept]
    free = [name for name in LIST_KEYS if public(name) not in seated and may_sit(state, name)]
    of_nodes = [name for name in free if name in LIST_KEYS[2:]]
    names = [random.choice(of_nodes or free)] if free and random.random() < 0.6 else []
    if not names and len(kept) > 1:
        kept.remove(random.choice(kept))
    recovery = ("recovery",) if random.random() < 0.3 else ()
    begin = None if recovery else network.chain.tip.time_ms + random.choice((1_000, 7_000))
    new = life.seats(network, *names, kept=kept)
    who = random.choice(PEOPLE)
    return [life.set_attestors(network, new, who, begin, recovery=recovery, fee=1)]


def may_sit(state: State, name: str) -> bool:
    """Whether a list key has no node, or one that is on duty and has it now."""
    if name not in LIST_KEYS[2:]:
        return True
    binding = state.get(BINDINGS, public(name))
    node = None if binding is None else state.get(RECORDS, binding.node)
    return node is not None and node.state in ON_DUTY


def set_params(random: Random, network: Network) -> list[bytes]:
    """Another value of one parameter is ordered."""
    name, value = random.choice(tuple(VALUES.items()))
    order: dict[str, Any] = {name: value}
    return [life.set_params(network, random.choice(PEOPLE), envelope={"fee": 1}, **order)]


def set_successor(random: Random, network: Network) -> list[bytes]:
    """A successor is announced, or withdrawn; now and then nobody withdraws it."""
    who = random.choice(PEOPLE)
    if get_succession(network.state).genesis_hash != ZERO_HASH:
        return [life.withdraw_successor(network, who, fee=1)] if random.random() < 0.5 else []
    return [life.set_successor(network, who, fee=1)]


VALUES: Final = {
    "minimum_fee": 2,
    "activation_floor": 2,
    "reward_rate": 5_000,
    "max_block_transactions": 10,
    "stake_floor": 5_000,
    "set_change_ms": 2_000,
}

ACTS: Final[dict[Callable[[Random, Network], list[bytes]], float]] = {
    share_stake: 0.5,
    request_unlock: 0.06,
    claim_rewards: 0.2,
    set_keys: 0.5,
    report_vote: 0.08,
    report_list: 0.05,
    set_attestors: 0.3,
    set_params: 0.08,
    set_successor: 0.05,
}
"""How likely each is at a height."""
