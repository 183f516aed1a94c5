"""What a rule costs: records of the state that it reads and writes, counted and never timed.

- The rewards of an epoch cost the same for any number of nodes and contributors; more is only due
  for those who begin to earn in it.
- Verdicts cost in proportion to their number, whatever the size of the network.
- What somebody sends costs the same in every network. At an end each node that leaves, or is paid
  out, costs the same; a single reading of the queue comes to it, and of the set of attestors.

A roster is one record, whatever its size.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ledger.codec import Record, encode
from ledger.crypto import sha256
from ledger.epochs import EPOCH_STEPS
from ledger.epochs.ending import Ending
from ledger.messages.genesis import FIXED
from ledger.messages.lists import Attestor
from ledger.messages.state import (
    ACTIVE,
    DECOMMISSIONED,
    EXITED,
    QUEUED,
    AttestorSets,
    Binding,
    Contribution,
    Due,
    EpochState,
    Failing,
    KeyHistory,
    ParamsState,
    Pool,
    Queued,
    Roster,
    Swarm,
    Verdict,
)
from ledger.messages.tables import (
    BINDINGS,
    EPOCH,
    EXITS,
    FAILING,
    HISTORIES,
    MATURES,
    NODES,
    PARAMS,
    PAYOUTS,
    POOL,
    QUEUE,
    ROSTERS,
    SETS,
    SWARMS,
    VERDICTS,
    Table,
)
from ledger.nodes import new_node
from ledger.params import Params, preset
from ledger.rules.quorums import pack_members
from ledger.state import State, due_key, epoch_key
from ledger.store import MemoryStore
from ledger.transactions.envelope import Context
from ledger.transition import apply_transaction, check_transaction
from tests.factory import EPOCH_MS, REQUIREMENT, START_MS, Network, founding, make_genesis
from tests.life import FAULTY, report, vote_evidence

SIZES: Final = (10, 100, 1_000)
EPOCH_NUMBER: Final = 5
"""The epoch that ends."""
NOW_MS: Final = START_MS + EPOCH_NUMBER * EPOCH_MS
UNIT: Final = REQUIREMENT // 10


class Counting(State):
    """A state that counts each record that is read, each that is walked over, and each written."""

    def __init__(self, base: Any) -> None:
        super().__init__(base)
        self.counts: Counter[str] = Counter()

    def get(self, table: Table[Any], key: bytes = b"") -> Any:
        self.counts["read"] += 1
        return super().get(table, key)

    def put(self, table: Table[Any], record: Any, key: bytes = b"") -> None:
        self.counts["written"] += 1
        super().put(table, record, key)

    def delete(self, table: Table[Any], key: bytes = b"") -> None:
        self.counts["written"] += 1
        super().delete(table, key)

    def items(self, table: Table[Any], start: bytes = b"") -> Iterator[tuple[bytes, Any]]:
        for item in super().items(table, start):
            self.counts["walked"] += 1
            yield item


# ------------------------------------------------------------------------ states made by hand


def key_of(number: int) -> bytes:
    """The key of a node by its number."""
    return sha256(number.to_bytes(4, "big"))


def make_state(
    nodes: int, contributors: int = 1, params: Params | None = None, **changes: Any
) -> dict[bytes, Record]:
    """What a network of so many active nodes that earn has at an epoch's end, by store key."""
    keys = sorted(key_of(number) for number in range(nodes))
    part = REQUIREMENT // contributors
    rows = tuple(Contribution(key_of(2**31 + place), key_of(2**31 + place), part, 0)
                 for place in range(contributors))  # fmt: skip
    fields: dict[str, Any] = {
        "life": 1, "state": ACTIVE, "since_ms": START_MS, "since_height": 0,
        "registered_height": 0, "operator": rows[0].account, "fee": 500, "requirement": REQUIREMENT,
        "contributions": rows, "reserved": (), "duty_key": bytes(32), "list_key": b"",
        "list_tip": b"", "consensus_key": b"", "x25519": bytes(32), "tested_from": 1,
        "activated_ms": START_MS, "payable_from_ms": START_MS, "earning": 1,
    }  # fmt: skip
    node = new_node(**(fields | changes))
    seats = (Attestor(key_of(2**32 - 1), 1),)
    roster = pack_members((key, node.operator) for key in keys)
    state: dict[bytes, Record] = {
        PARAMS.letter: ParamsState(tuple(params or preset("minimal")), 0, (), 0),
        POOL.letter: Pool(10**15, 10**18, 0, 0, nodes * node.earning),
        EPOCH.letter: EpochState(EPOCH_NUMBER, NOW_MS - EPOCH_MS, 40, bytes(32)),
        SETS.letter: AttestorSets(seats, seats, 0, (), 0, 0, (), FIXED),
        BINDINGS.letter + seats[0].list_key: Binding(3, seats[0].list_key),
        ROSTERS.letter + epoch_key(EPOCH_NUMBER): Roster(bytes(32), 5, 4, roster),
    }
    for key in keys:
        state[NODES.letter + key] = node
        state[HISTORIES.letter + key] = KeyHistory(1, 0, 0)
        state[SWARMS.letter + key] = Swarm(7)
    return state


def cost(step: str, state: dict[bytes, Record]) -> Counter[str]:
    """What a step of an epoch's end reads and writes."""
    counting = Counting(MemoryStore({key: encode(record) for key, record in state.items()}))
    ending = Ending(EPOCH_NUMBER, 50, NOW_MS, counting.params(), bytes(32))
    counting.counts.clear()
    run = next(run for run in EPOCH_STEPS if run.__name__ == step)
    for _ in run(counting, ending):
        pass
    return counting.counts


# -------------------------------------------------------------------------------- rewards


@pytest.mark.parametrize("contributors", [1, 10])
@pytest.mark.parametrize("nodes", SIZES)
def test_rewards_cost_the_same_for_any_number_of_nodes_and_contributors(
    nodes: int, contributors: int
) -> None:
    """The pool is read, and written, and that is all."""
    assert cost("pay_rewards", make_state(nodes, contributors)) == {"read": 1, "written": 1}


@pytest.mark.parametrize("contributors", [1, 10])
@pytest.mark.parametrize("nodes", SIZES)
@pytest.mark.parametrize("beginners", [1, 2, 10])
def test_rewards_cost_more_for_those_who_begin_to_earn_and_for_nobody_else(
    beginners: int, nodes: int, contributors: int
) -> None:
    state = make_state(nodes, contributors, earning=0)
    for number in range(beginners):
        state[MATURES.letter + due_key(NOW_MS, key_of(number))] = Due(key_of(number))
    # who matures later is not looked at, but for the first of them
    later = [due_key(NOW_MS + 1, key_of(number)) for number in range(2)]
    state |= {MATURES.letter + place: Due(place[8:]) for place in later}
    # each: its node and the pool are read; node, pool, and its place among those who mature written
    assert cost("pay_rewards", state) == {
        "read": 1 + 2 * beginners,
        "written": 1 + 3 * beginners,
        "walked": 1 + beginners,
    }


# -------------------------------------------------------------------------------- verdicts

JUDGED: Final = (25, 50, 75, 100)


def judged(
    verdicts: int,
    nodes: int = 100,
    failing: int | None = None,
    state: int = ACTIVE,
    faults: int = FAULTY,
    removed: int = 3,
) -> dict[bytes, Record]:
    """So many nodes were judged for the epoch before; each has failed for so many before that, and
    at the most so many are removed.
    """
    params = preset("minimal", {"removal_floor": removed, "removal_share": 0})
    made = make_state(nodes, params=params)
    for number in range(verdicts):
        key = key_of(number)
        made[VERDICTS.letter + epoch_key(EPOCH_NUMBER - 1, key)] = Verdict(1, faults)
        if state != ACTIVE:
            node: Any = made[NODES.letter + key]
            made[NODES.letter + key] = replace(node, state=state, earning=0)
        if failing is not None:
            made[FAILING.letter + key] = Failing(failing, EPOCH_NUMBER - 2)
    return made


VERDICTS_ON: Final[dict[str, dict[str, int]]] = {
    "nodes that fail for the first time": {},
    "nodes that fail again": {"failing": 1},
    "nodes that are down and fail": {"failing": 0, "state": DECOMMISSIONED},
    "nodes that are down and pass": {"failing": 0, "state": DECOMMISSIONED, "faults": 0},
    "nodes that are queued and pass": {"state": QUEUED, "faults": 0},
}


@pytest.mark.parametrize("name", VERDICTS_ON)
def test_verdicts_cost_in_proportion_to_their_number(name: str) -> None:
    """Each further one the same, to the record, and no more than ten reads and three writes."""
    costs = [cost("apply_verdicts", judged(count, **VERDICTS_ON[name])) for count in JUDGED]
    steps = [after - before for before, after in pairwise(costs)]
    assert steps[0] == steps[1] == steps[2] != {}
    assert steps[0]["read"] <= 10 * 25
    assert steps[0]["written"] <= 3 * 25
    assert steps[0]["walked"] <= 4 * 25


@pytest.mark.parametrize("name", VERDICTS_ON)
def test_verdicts_cost_the_same_in_every_network(name: str) -> None:
    small, large = (
        cost("apply_verdicts", judged(10, nodes, **VERDICTS_ON[name])) for nodes in (100, 1_000)
    )
    assert small == large


def test_removals_cost_in_proportion_to_those_who_are_removed() -> None:
    """So an epoch's limit bounds them; who has no turn is read and nothing else."""
    costs = [cost("apply_verdicts", judged(20, failing=1, removed=most)) for most in (0, 5, 10)]
    steps = [after - before for before, after in pairwise(costs)]
    assert [step["written"] for step in steps] == [5 * 4, 5 * 4]
    assert all(step["read"] <= 5 * 6 for step in steps)
    assert all(step["walked"] == 0 for step in steps)


@pytest.mark.parametrize("nodes", SIZES)
def test_an_epoch_without_verdicts_costs_next_to_nothing(nodes: int) -> None:
    assert cost("apply_verdicts", make_state(nodes)) == {"read": 1}


# ------------------------------------------------------------------------ what people send


def sent_to(count: int) -> Network:
    """A network of so many nodes of alice, and one of bob that earns."""
    rows = (
        *founding(*(f"founder {number}" for number in range(count))),
        *founding("node", operator="bob"),
    )
    nodes = tuple(sorted(rows, key=lambda row: row.node))
    network = Network(make_genesis({"payable_ms": 0}, nodes=nodes))
    network.end_epoch()
    network.settle()
    return network


def cost_of(network: Network, raw: bytes) -> Counter[str]:
    """What the check of a transaction and its effects read and write."""
    network.forget_sent()
    counting = Counting(network.store)
    tip = network.chain.tip
    context = Context(network.hash, tip.height + 1, tip.time_ms + 1, network.params)
    tx = network.chain.decode(raw)
    check_transaction(counting, tx, context)
    apply_transaction(counting, tx, context, 0)
    return counting.counts


SENT: Final[dict[str, Callable[[Network], bytes]]] = {
    "a claim of rewards": lambda network: network.claim_rewards("bob"),
    "a registration": lambda network: network.register("another", "carol"),
    "a request to leave": lambda network: network.request_unlock("bob"),
    "a report of votes": lambda network: report(network, "carol", vote_evidence(network, "node")),
}


@pytest.fixture(scope="module")
def networks() -> tuple[Network, Network]:
    """A small one, and one of ten times the size."""
    return sent_to(6), sent_to(60)


@pytest.mark.parametrize("name", SENT)
def test_what_is_sent_costs_the_same_in_every_network(
    networks: tuple[Network, Network], name: str
) -> None:
    small, large = (cost_of(network, SENT[name](network)) for network in networks)
    assert small == large
    assert small["read"] <= 30
    assert small["written"] <= 15
    assert small["walked"] <= 2


# ------------------------------------------------------------------------ who leaves


def leaving(
    nodes: int, leave: int, contributors: int = 1, state: int = ACTIVE, queue: int = 0
) -> dict[bytes, Record]:
    """So many nodes are to leave, or to be paid out."""
    made = make_state(nodes, contributors, exit_ms=NOW_MS, state=state,
                      earning=int(state == ACTIVE))  # fmt: skip
    table = EXITS if state == ACTIVE else PAYOUTS
    for number in range(leave):
        made[table.letter + due_key(NOW_MS, key_of(number))] = Due(key_of(number))
    for number in range(queue):
        made[QUEUE.letter + number.to_bytes(12, "big")] = Queued(key_of(2**30 + number))
    return made


@pytest.mark.parametrize(("step", "state"), [("apply_exits", ACTIVE), ("apply_payouts", EXITED)])
def test_who_leaves_costs_the_same_in_every_network(step: str, state: int) -> None:
    small, large = (cost(step, leaving(nodes, 1, state=state)) for nodes in (10, 199))
    assert small == large


@pytest.mark.parametrize(("nodes", "leave"), [(10, 1), (200, 2), (1_000, 10)])
def test_exits_cost_in_proportion_to_those_who_leave(nodes: int, leave: int) -> None:
    """Beside what each reads and writes, the roster is read once, and for one the queue."""
    one = cost("apply_exits", leaving(10, 1))
    many = cost("apply_exits", leaving(nodes, leave))
    assert many["written"] == leave * one["written"] <= leave * 7
    assert many["read"] - 1 == leave * (one["read"] - 1) <= leave * 5
    assert many["walked"] == leave


def test_exits_read_the_queue_once_if_anybody_leaves() -> None:
    for queue in (0, 10, 100):
        walked = {leave: cost("apply_exits", leaving(1_000, leave, queue=queue))["walked"]
                  for leave in (0, 1, 10)}  # fmt: skip
        assert walked == {0: 0, 1: 1 + queue, 10: 10 + queue}


def test_payouts_cost_in_proportion_to_the_contributors_of_those_who_are_paid() -> None:
    """Each of them gets his rewards and his stake, if there are any; nothing else grows."""
    base, one, two = (cost("apply_payouts", leaving(50, paid, state=EXITED)) for paid in (0, 1, 2))
    assert base == {}
    ten = cost("apply_payouts", leaving(50, 1, contributors=10, state=EXITED))
    assert ten["written"] - one["written"] == ten["read"] - one["read"] == 9
    assert two["written"] == 2 * one["written"]
