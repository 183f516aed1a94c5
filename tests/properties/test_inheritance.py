"""Random lives that end at any epoch's end: a network that begins with what is left keeps it all.

The rules are those of `test_ledger`; one more lets another network begin with the state of now, as
if its last header named it, and lets epochs pass there until everything due is paid.
"""

from typing import Any, Final

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.history import GENESIS_KEY, TIP_KEY, Tip
from ledger.invariants import find_violations
from ledger.merkle import sparse_root
from ledger.messages.genesis import COMET, FIXED, REGISTRY, SOLO, Genesis, GenesisAttestor
from ledger.messages.state import ACTIVE, AWAITING, DECOMMISSIONED, GONE, QUEUED
from ledger.messages.tables import (
    ACCOUNTS,
    DRAFT,
    EXITS,
    HISTORIES,
    MATURES,
    NODES,
    PAYOUTS,
    POOL,
    SWARMS,
    Table,
)
from ledger.nodes import get_credit, get_owed, get_stakes
from ledger.state import State, build_tree
from ledger.steps import run
from ledger.store import MemoryStore
from ledger.transition import begin_succession
from tests.factory import Network
from tests.ledger.moving import FOUNDERS, founders, make_successor
from tests.properties.lives.world import NUMBER
from tests.properties.test_ledger import Life

BATCHES: Final = 6
LIVES: Final = 10
STEPS: Final = 40
EPOCHS: Final = 8
"""As many as it takes until every stake that is locked is paid out."""

WAYS: Final = ((COMET, REGISTRY), (COMET, FIXED), (SOLO, FIXED))

seen: dict[str, int] = {}
"""How often a node moved in each state, and with its keys as those of a founder."""


def count(what: str) -> None:
    """Note that something happened."""
    seen[what] = seen.get(what, 0) + 1


def choose_founders(network: Network, number: int, engine: int) -> tuple[GenesisAttestor, ...]:
    """New founders, and some whose keys nodes have, or had in part."""
    rows = list(founders(*FOUNDERS))
    for place, (_, node) in enumerate(network.state.items(NODES)):
        if node.list_key and (number + place) % 4 == 0 and len(rows) < 9:
            own = node.consensus_key if (number + place) % 8 else b""
            rows.append(GenesisAttestor(node.list_key, 1, sha256(b"tip"), own))
            count("founders with keys of nodes")
    if engine == SOLO:
        rows = [replace(row, consensus_key=b"") for row in rows]
    return tuple(sorted(rows, key=lambda row: row.list_key))


def begin(network: Network, genesis: Genesis) -> Network:
    """The network of a file that begins with the state of another one."""
    state = State(MemoryStore())
    run(begin_succession(state, genesis, network.state))
    records = {key: raw for key, raw in state.changes().items() if raw is not None}
    genesis_hash = sha256(encode(genesis))
    tip = Tip(0, network.chain.tip.time_ms, sparse_root(build_tree(records.items())), genesis_hash)
    store = MemoryStore(records | {TIP_KEY: encode(tip), GENESIS_KEY: genesis_hash})
    return Network(genesis, store)


def check_kept(old: State, new: State, time_ms: int) -> None:
    """Nobody has a unit more or less, and nothing comes sooner or later."""
    kept: tuple[Table[Any], ...] = (ACCOUNTS, POOL, SWARMS, EXITS, PAYOUTS, MATURES)
    for table in kept:
        assert dict(new.items(table)) == dict(old.items(table)), table.name
    params = old.params()
    assert [key for key, _ in new.items(NODES)] == [key for key, _ in old.items(NODES)]
    for key, before in old.items(NODES):
        after = new.one(NODES, key)
        assert (after.state, after.life, after.taken) == (before.state, before.life, before.taken)
        assert get_stakes(after) == get_stakes(before)
        assert get_owed(after, new.one(POOL)) == get_owed(before, old.one(POOL))
        assert get_credit(after, time_ms, params) == get_credit(before, time_ms, params)
        assert after.payable_from_ms == before.payable_from_ms
        count(f"state {before.state}")
    for key, history in old.items(HISTORIES):
        assert new.one(HISTORIES, key) == history


class MovingLife(Life):
    """A life that may be carried on elsewhere at any epoch's end."""

    @rule(way=st.sampled_from(WAYS), a=NUMBER)
    def carry_on(self, way: tuple[int, int], a: int) -> None:
        """Another network begins with the state of the epoch's end."""
        self.move_to(way, a)

    def move_to(self, way: tuple[int, int], a: int) -> None:
        """An epoch ends, and another network begins."""
        self.pass_epoch()
        old = self.network
        if old.state.get(DRAFT) is None:
            return
        engine, policy = way
        genesis = make_successor(
            old,
            engine,
            params=tuple(old.params),
            policy=policy,
            attestors=choose_founders(old, a, engine),
        )
        new = begin(old, genesis)
        assert find_violations(new.state) == []
        check_kept(old.state, new.state, old.chain.tip.time_ms)
        leaving = [key for key, node in old.state.items(NODES) if node.state in GONE]
        new.attesting = False
        for number in range(EPOCHS):
            new.end_epoch(late_ms=30_000 if number % 2 else 0)
        assert new.state.one(POOL).supply == old.state.one(POOL).supply
        seated = [seat.list_key for seat in genesis.attestors]
        for key in leaving:
            node = new.state.get(NODES, key)
            assert node is None or node.list_key in seated
            count("payouts")

    def teardown(self) -> None:
        """At last it is carried on, whatever happened."""
        if self.is_whole:
            height = self.network.chain.tip.height
            self.move_to(WAYS[height % len(WAYS)], height)
        super().teardown()


def test_lives_that_go_on_elsewhere() -> None:
    seen.clear()
    for batch in range(BATCHES):
        run_state_machine_as_test(
            seed(batch)(MovingLife),
            settings=settings(
                max_examples=LIVES,
                stateful_step_count=STEPS,
                database=None,
                report_multiple_bugs=False,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    states = (AWAITING, QUEUED, ACTIVE, DECOMMISSIONED, *GONE)
    wanted = [*(f"state {state}" for state in states), "payouts", "founders with keys of nodes"]
    assert not [what for what in wanted if not seen.get(what)], seen
