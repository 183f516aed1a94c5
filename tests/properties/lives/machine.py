"""The machine without its rules: a network that lives, block by block, and is looked at in each.

- What rules send waits for the next block. A block that is full is made, and the epoch goes to its
  end, so that time passes in lives without a rule that lets it.
- After each block all invariants hold, a set of attestors moved no further than it may, the money
  is what the book says, refusals have changed nothing, a proposal of the same transactions takes
  the same ones, a replica has the same root.
- At a life's end everything is executed once more from the beginning.
"""

from collections.abc import Callable, Sequence
from typing import Final

from hypothesis.stateful import RuleBasedStateMachine

from ledger.chain import Executed
from ledger.codec import encode
from ledger.errors import REFUSALS
from ledger.invariants import find_violations
from ledger.messages.genesis import FIXED, REGISTRY
from ledger.messages.state import ACTIVE, DECOMMISSIONED, QUEUED, AttestorSets, Node
from ledger.messages.tables import (
    ABSENCES,
    ATTESTATIONS,
    BINDINGS,
    CHAINLINKS,
    EPOCH,
    HISTORIES,
    NODES,
    SETS,
)
from ledger.messages.transactions import BY_RECOVERY
from ledger.nodes import get_members
from ledger.replay import execute_block
from ledger.rules.attestors import compute_turnover, turnover_limit
from ledger.rules.quorums import has_quorum
from ledger.steps import run
from ledger.validators import get_validators
from tests import life
from tests.factory import LINKS, Network, attestor_roles, public, replay, verify_cached
from tests.ledger.refusals.rows import code_of, submit
from tests.properties.lives.counting import Tally
from tests.properties.lives.world import (
    ILL,
    LEAST_STAKE,
    NAME_OF,
    NAMES,
    SILENT,
    WELL,
    make_world,
    pick,
)
from tests.properties.money import Book

FULL: Final = 10
"""Transactions that rules send into one block."""
FREE: Final = 9
"""Names that are free at a time: few, so that nodes come again."""
TIMED: Final = {
    REFUSALS[code].number
    for code in (
        *("registration_expired", "unlock_too_early", "change_too_soon", "leaving_already"),
        *("stake_too_small", "stake_too_large", "too_many_places", "reserved_amount"),
    )
}
"""What a pool, which knows the newest block's time, may see in another way than the next block."""

tally = Tally()
"""What happened in all lives together."""


class Machine(RuleBasedStateMachine):
    """A network to which anything may be sent, a replica, and the book of its money."""

    POLICY = FIXED
    """How the set of attestors changes."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Network(make_world(self.POLICY))
        self.replica = replay(self.network.raw, [])
        self.book = Book(self.network)
        self.pending: list[tuple[bytes, str]] = []
        """Transactions of the next block, with the code that the check gave."""
        self.found: list[bytes] = []
        """What the engine will say of misbehaviour in the next block."""
        self.fares: dict[str, str] = {}
        """How nodes fare that are not well."""
        self.absent: frozenset[int] = frozenset()
        """Seats that do not attest."""
        self.is_whole = True
        """Whether the last block was looked at to its end."""

    # ------------------------------------------------------------------------ reading

    def nodes(self, *states: int) -> list[tuple[str, Node]]:
        """The nodes in one of these states, or all, by key."""
        rows = self.network.state.items(NODES)
        return [(NAME_OF[key], n) for key, n in rows if not states or n.state in states]

    def find(self, name: str) -> Node | None:
        """The node of this name, if there is one."""
        return self.network.state.get(NODES, public(name))

    def some_node(self, number: int, rows: Sequence[tuple[str, Node]] = ()) -> tuple[str, Node]:
        """One of these nodes, or of all where there is none of these."""
        return pick(rows or self.nodes() or self.open_node(), number)

    def free_names(self) -> list[str]:
        """Names of some nodes that are not there and may come, again or for the first time."""
        histories = ((n, self.network.state.get(HISTORIES, public(n))) for n in NAMES)
        may_come = (name for name, row in histories if not (row and row.tombstoned))
        return [name for name in may_come if self.find(name) is None][:FREE]

    def next_life(self, name: str) -> int:
        """The life in which a node of this name would come."""
        history = self.network.state.get(HISTORIES, public(name))
        return history.life + 1 if history else 1

    def next_sequence(self, name: str) -> int:
        """The first sequence number that a node has not used."""
        history = self.network.state.get(HISTORIES, public(name))
        return history.sequence + 1 if history else 1

    def running(self) -> int:
        """Number of the running epoch."""
        return self.network.state.one(EPOCH).epoch

    def quorum(self, node: Node, epoch: int) -> bool:
        """Whether there are testers of a node in an epoch that may still be judged."""
        if not self.running() - 1 <= epoch <= self.running() or epoch < 1:
            return False
        members = get_members(self.network.state, epoch)
        return has_quorum(members, node.operator, self.network.params.quorum_testers)

    # ------------------------------------------------------------------------ sending

    def send(self, raw: bytes, sender: str = "") -> None:
        """Send what a pool would take, and what it would not; a full block is made."""
        self.submit(raw, sender)
        if len(self.pending) >= FULL:
            self.pass_epoch()

    def submit(self, raw: bytes, sender: str = "") -> None:
        """Send to the next block, whatever is in it."""
        code = code_of(submit, self.network, raw)
        if code and sender:
            self.network.take_back(sender)
        self.pending.append((raw, code))

    def forget(self) -> None:
        """Nothing is on its way any more."""
        self.network.forget_sent()
        self.pending = []
        self.found = []

    def open_node(self) -> list[tuple[str, Node]]:
        """One node more waits for stake."""
        for name in self.free_names():
            self.start_node(name, "carol", LEAST_STAKE)
            node = self.find(name)
            if node is not None:
                return [(name, node)]
        return []

    def start_node(self, name: str, operator: str, stake: int) -> None:
        """A node is registered that is able to attest."""
        made = self.network.register(
            name,
            operator,
            stake,
            life=self.next_life(name),
            expiry_ms=self.network.chain.tip.time_ms + 10**6,
            **attestor_roles(name),
        )
        self.submit(made, operator)
        self.block(1)

    # --------------------------------------------------------------------------- time

    def pass_epoch(self, late_ms: int = 0) -> None:
        """The epoch goes to its end, with attestations and verdicts as everybody fares."""
        self.attest_all()
        self.judge_all()
        self.block(100)
        end_ms = self.network.state.one(EPOCH).start_ms + self.network.params.epoch_ms
        self.block(max(1, end_ms - self.network.chain.tip.time_ms) + late_ms)

    def pass_epochs_until(self, holds: Callable[[], bool], most: int) -> None:
        """Epochs pass until something has happened, or too many passed."""
        for _ in range(most):
            if holds():
                return
            self.pass_epoch()

    def attest_all(self) -> None:
        """Each seat that is there attests the newest header."""
        done = {key[0] for key, _ in self.network.state.items(ATTESTATIONS)}
        for index, seat in enumerate(self.network.state.one(SETS).current):
            if index not in done and index not in self.absent and self.has_links(seat.list_key):
                self.submit(self.network.attest(index))

    def has_links(self, list_key: bytes) -> bool:
        """Whether a hash chain goes on; in a long life it may come to its end."""
        return self.network.state.one(CHAINLINKS, list_key).accepted < LINKS

    def judge_all(self) -> None:
        """The testers say of each node what they find, where that can change something."""
        epoch = self.running()
        for name, node in self.nodes(ACTIVE, QUEUED, DECOMMISSIONED):
            fares = self.fares.get(name, WELL)
            is_useful = (
                node.state in ((QUEUED, DECOMMISSIONED), (ACTIVE, DECOMMISSIONED))[fares == ILL]
            )
            is_tested = 0 < node.tested_from <= epoch and not node.passed
            if fares != SILENT and is_useful and is_tested and self.quorum(node, epoch):
                self.submit(life.judge(self.network, name, int(fares == ILL)))

    # ------------------------------------------------------------------------- blocks

    def block(self, ms: int) -> None:
        """A block of everything that was sent; what its proposer would leave out is refused."""
        self.is_whole = False
        network = self.network
        raws = tuple(raw for raw, _ in self.pending)
        block = network.input(*raws, ms=ms)._replace(misbehaviour=tuple(self.found))
        good = [network.chain.decode(raw) for raw in raws if self.is_signed(raw)]
        proposal = run(
            network.chain.propose(block.height, block.time_ms, b"", good, block.misbehaviour)
        )
        before = dict(network.state.items(NODES))
        params, sets = network.params, network.state.one(SETS)
        validators = get_validators(network.state)
        executed = run(network.chain.finalize(block), verify_cached)
        accepted = [raw for raw, code in zip(raws, executed.codes, strict=True) if code == 0]
        assert proposal.transactions == tuple(accepted), "proposal and block disagree"
        if not self.found:
            self.compare_with_checks(executed.codes)
        if any(executed.codes):
            empty = [b"" if code else raw for raw, code in zip(raws, executed.codes, strict=True)]
            bare = network.input(*empty, ms=ms)._replace(misbehaviour=block.misbehaviour)
            result = run(network.chain.finalize(bare), verify_cached)
            assert result.root == executed.root, "a refused transaction changed something"
            assert run(network.chain.finalize(block), verify_cached) == executed
        network.blocks.append(network.chain.commit())
        assert find_violations(network.state) == []
        punished = self.book.follow(block, executed, params)
        execute_block(self.replica, network.blocks[-1])
        assert self.replica.tip == network.chain.tip
        kinds = [
            "" if code else network.chain.decode(raw).kind.name
            for raw, code in zip(raws, executed.codes, strict=True)
        ]
        tally.count_transactions(kinds, executed.codes)
        tally.count_offences(punished)
        tally.count_nodes(before, dict(network.state.items(NODES)))
        tally.count_event("epoch ends", executed.ended_epoch)
        self.check_seats(sets, validators, executed)
        tally.count_event("parameters changed", network.params != params)
        self.forget()
        self.is_whole = True

    def check_seats(
        self, before: AttestorSets, validators: Sequence[bytes], executed: Executed
    ) -> None:
        """A set moves within its limit, and always somebody agrees on blocks, each once."""
        state = self.network.state
        after, agreeing = state.one(SETS), get_validators(state)
        if before.ordered_by != BY_RECOVERY:
            moved = compute_turnover(before.current, after.current)
            assert moved <= turnover_limit(before.current)
        assert 1 <= len(agreeing) == len(set(agreeing)) == len(after.current)
        assert executed.validators == (None if agreeing == validators else tuple(agreeing))
        seated = [member.list_key for member in before.current]
        new = [member.list_key for member in after.current if member.list_key not in seated]
        nodes = [key for key in new if state.one(BINDINGS, key).node != key]
        tally.count_event("sets took over", after.current != before.current)
        tally.count_event("validators changed", agreeing != validators)
        if after.policy == REGISTRY:
            tally.count_event("nodes took their turns", bool(nodes))
            is_missing = any(True for _ in state.items(ABSENCES))
            tally.count_event("seats missed headers", executed.ended_epoch and is_missing)
            same = agreeing != validators and after.current == before.current
            tally.count_event("validators changed their keys", same)

    def is_signed(self, raw: bytes) -> bool:
        """Whether a transaction comes as far as to a proposer."""
        wrong = ("not_canonical", "unknown_kind", "too_large")
        if code_of(self.network.chain.decode, raw) in wrong:
            return False
        tx = self.network.chain.decode(raw)
        return not code_of(self.network.chain.signatures, tx) and all(
            verify_cached(self.network.chain.signatures(tx))
        )

    def compare_with_checks(self, codes: Sequence[int]) -> None:
        """The pool's check and the block agree, up to where the time makes a difference."""
        checked = [REFUSALS[code].number if code else 0 for _, code in self.pending]
        pairs = zip(checked, codes, strict=True)
        first = next(((check, code) for check, code in pairs if check != code), (0, 0))
        assert first == (0, 0) or {*first} & TIMED, f"check {first[0]}, block {first[1]}"

    def teardown(self) -> None:
        """At last a block, and everything once more from the beginning."""
        if not self.is_whole:
            return
        self.block(self.network.params.epoch_ms)
        chain = replay(self.network.raw, self.network.blocks)
        assert chain.tip == self.network.chain.tip
        for key, record in self.network.dump().items():
            assert chain.store.get(key) == encode(record)
