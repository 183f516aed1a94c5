"""Random lives of nodes: a state machine over every kind of transaction and every offence.

A rule is something that somebody may do; its numbers are read against the state, so that most of
what is sent is good, and everything that can be wrong is wrong now and then. After every block all
invariants hold, the money is what a book of its own says, refusals have changed nothing, a
proposal of the same transactions takes the same ones, and a replica comes to the same root.

What happened is counted, held to a least number, and printed at the end of the run.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from ledger.codec import encode
from ledger.errors import REFUSALS
from ledger.invariants import find_violations
from ledger.messages.contact import Version
from ledger.messages.evidence import Misbehaviour
from ledger.messages.genesis import COMET, Genesis, GenesisAccount
from ledger.messages.state import (
    ACTIVE,
    AWAITING,
    CONSENSUS_ROLE,
    DECOMMISSIONED,
    DEREGISTERED,
    DUTY_ROLE,
    GONE,
    LIST_ROLE,
    NODE_STATES,
    QUEUED,
    Node,
)
from ledger.nodes import get_members
from ledger.offences import OFFENCES
from ledger.offences.punish import consensus_address
from ledger.replay import execute_block
from ledger.rules.quorums import has_quorum
from ledger.rules.stakes import minimum_contribution
from ledger.state import BINDINGS, EPOCH, HISTORIES, NODES, SETS
from ledger.steps import run
from ledger.transactions import TX_KINDS
from ledger.transactions.stake import get_open
from tests import life
from tests.factory import (
    FEE,
    PEOPLE,
    START_MS,
    Network,
    attestor_roles,
    founding,
    make_contact,
    make_genesis,
    pair_of,
    places,
    public,
    replay,
    verify_cached,
)
from tests.ledger.refusals.rows import code_of, submit
from tests.properties.money import Book

T = TypeVar("T")

EPOCH_MS: Final = 20_000
REQUIREMENT: Final = 1_000_003
"""No round number, so that parts of it have to be rounded."""
PARAMS: Final = {
    "block_ms": 100,
    "epoch_ms": EPOCH_MS,
    "attest_blocks": 100,
    "minimum_fee": FEE,
    "staking_requirement": REQUIREMENT,
    "max_contributors": 4,
    "activation_floor": 2,
    "activation_verdict": 1,
    "valid_ms": 60_000,
    "trust_ms": 60_000,
    "report_margin_ms": 1_000,
    "evidence_ms": 61_000,
    "unbonding_ms": 61_001,
    "lock_ms": 90_000,
    "reservation_ms": 60_000,
    "contributor_wait_ms": 25_000,
    "quorum_testers": 3,
    "quorum_threshold": 2,
    "credit_start_ms": 30_000,
    "removal_floor": 2,
    "grace_ms": 30_000,
    "payable_ms": 15_000,
    "reward_rate": 10_000,
    "vote_penalty": 400,
    "bounty_cap": 1_500,
    "set_change_ms": 20_000,
}
"""Everything that takes time takes a few epochs."""
OTHER_PARAMS: Final[tuple[dict[str, int], ...]] = (
    {"quorum_testers": 4, "quorum_threshold": 3},
    {"unbonding_ms": 70_000, "payable_ms": 0},
    {"vote_penalty": 1_200, "minimum_fee": FEE + 1},
    {"activation_verdict": 0, "max_contributors": 3},
    {"epoch_ms": EPOCH_MS + 1},
    {"unbonding_ms": 61_000},
    {"quorum_testers": 1},
)
"""What orders change; the last three are refused."""

LEAST_STAKE: Final = -(-REQUIREMENT // 4)
PLAYERS: Final = PEOPLE[:6]
FOUNDERS: Final = tuple(f"founder {number}" for number in range(9))
NAMES: Final = (*FOUNDERS, *(f"node {number}" for number in range(6)))
ATTESTORS: Final = ("attestor 0", "attestor 1", "attestor 2")
SPARE: Final = ("spare 0", "spare 1", "spare 2")
RECOVERY: Final = ("recovery 0", "recovery 1")
WAITS_MS: Final = (1, 100, 5_000, EPOCH_MS, 70_000)
TOO_MUCH: Final = 2**63 - 1

WELL, ILL, SILENT = "well", "ill", "silent"
"""How a node fares: its testers pass it, fail it, or say nothing."""

TIMED: Final = {
    REFUSALS[code].number
    for code in (
        *("registration_expired", "unlock_too_early", "change_too_soon", "leaving_already"),
        *("stake_too_small", "stake_too_large", "too_many_places", "reserved_amount"),
    )
}
"""What a pool, which knows the newest block's time, may see in another way than the next block."""


@cache
def make_world() -> Genesis:
    """Nine founding nodes of six operators, three attestors, and validators who may be caught."""
    rows = [
        row
        for place, name in enumerate(FOUNDERS)
        for row in founding(name, operator=PLAYERS[place % len(PLAYERS)])
    ]
    return make_genesis(
        PARAMS,
        engine=COMET,
        producer=b"",
        pool=10**12,
        recovery=tuple(sorted(map(public, RECOVERY))),
        accounts=tuple(GenesisAccount(key, 10**8) for key in sorted(map(public, PLAYERS))),
        nodes=tuple(sorted(rows, key=lambda row: row.node)),
    )


def pick(rows: Sequence[T], number: int) -> T:
    """One of some rows."""
    return rows[number % len(rows)]


def rarely(number: int, one_in: int) -> bool:
    """Whether this is one of the numbers, never 0, for which something goes wrong."""
    return number % one_in == one_in - 1


NAME_OF: Final = {public(name): name for name in NAMES}
ODD: Final[tuple[dict[str, Any], ...]] = (
    *[{}] * 24,
    {"nonce": 0},
    {"nonce": 99},
    {"fee": FEE - 1},
    {"fee": 10**9},
    {"expiry": 0},
    {"expiry": 10**6},
)
"""What may be wrong with an envelope; mostly nothing."""

WHO: Final = st.sampled_from((*4 * PLAYERS, "a stranger"))
NUMBER: Final = st.integers(0, 255)
ENVELOPE: Final = st.sampled_from(ODD)

reached: dict[str, Counter[str]] = {
    name: Counter() for name in ("kinds", "offences", "states", "events", "refusals")
}
"""What happened in all lives together."""


class Life(RuleBasedStateMachine):
    """A network to which anything may be sent, a replica, and the book of its money."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Network(make_world())
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

    def running(self) -> int:
        """Number of the running epoch."""
        return self.network.state.one(EPOCH).epoch

    def bound(self, role: int) -> list[bytes]:
        """The keys that are bound in a role, by ascending key."""
        rows = self.network.state.items(BINDINGS)
        return [key for key, row in rows if row.role == role and len(key) == 32]

    def send(self, raw: bytes, sender: str = "") -> None:
        """Send what a pool would take, and what it would not, to the next block."""
        code = code_of(submit, self.network, raw)
        if code and sender:
            self.network.take_back(sender)
        self.pending.append((raw, code))

    # ------------------------------------------------------------------------- stake

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def transfer(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """Coins, to an account that is there or not."""
        amount = (10**9, TOO_MUCH, 0)[a % 3] if rarely(b, 6) else 1 + a
        to = ("bob", who, "a stranger", f"stranger {a}")[b % 4]
        self.send(self.network.transfer(who, to, amount, **odd), who)

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def register(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """A node that is not there, mostly; funded at once, or with a part of its stake."""
        stakes = (REQUIREMENT, LEAST_STAKE, 400_000, REQUIREMENT, LEAST_STAKE + 1)
        stake = (LEAST_STAKE - 1, REQUIREMENT + 1)[a % 2] if rarely(a, 11) else pick(stakes, a)
        there = {name for name, _ in self.nodes()}
        names = NAMES if rarely(b, 9) else [name for name in NAMES if name not in there] or NAMES
        name = pick(names, b)
        history = self.network.state.get(HISTORIES, public(name))
        last = history.life if history else 0
        kept = tuple(row for row in (("erin", 10**5), ("frank", b)) if row[0] != who)
        now_ms = self.network.chain.tip.time_ms
        self.send(
            self.network.register(
                name,
                who,
                stake,
                envelope=odd,
                life=last + 1 + rarely(a, 17),
                fee=10_001 if rarely(b, 13) else (0, 500, 10_000, 3_333)[b % 4],
                reserved=places(*kept) if rarely(a, 4) else (),
                beneficiary=public(pick(PLAYERS, b)),
                expiry_ms=START_MS + 90_000 if rarely(a, 7) else now_ms + 10**6,
                **(attestor_roles(name) if b % 2 else {}),
            ),
            who,
        )

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def contribute(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """To a node that waits: an equal part, everything, what is kept, or not quite."""
        if not self.nodes(AWAITING):
            self.open_node()
        waiting = [] if rarely(b, 9) else self.nodes(AWAITING)
        name, node = pick(waiting or self.nodes(), b)
        kept = [place.amount for place in node.reserved if place.account == public(who)]
        free = get_open(node, self.network.params, self.network.chain.tip.time_ms)
        least = minimum_contribution(free) if free.places > 0 else 0
        wrong = (free.amount + 1, max(0, least - 1))
        amount = pick(wrong if rarely(a, 8) else (*kept, least, free.amount), a)
        beneficiary = public(pick(PLAYERS, a)) if b % 2 else public(who)
        self.send(
            self.network.contribute(
                who, amount, name, node.life, envelope=odd, beneficiary=beneficiary
            ),
            who,
        )

    def open_node(self) -> None:
        """A node waits for stake, unless there is nobody left who could register one."""
        there = {name for name, _ in self.nodes()}
        history = {name: self.network.state.get(HISTORIES, public(name)) for name in NAMES}
        free = [name for name, row in history.items() if not (row and row.tombstoned)]
        free = [name for name in free if name not in there]
        row = history[free[0]]
        raw = self.network.register(
            free[0], "carol", LEAST_STAKE, life=row.life + 1 if row else 1,
            expiry_ms=self.network.chain.tip.time_ms + 10**6,
        )  # fmt: skip
        self.send(raw, "carol")
        self.block(1)

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def withdraw(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """By a contributor, or by somebody who is none."""
        rows = [(n, r) for n, r in self.nodes(AWAITING) if len(r.contributions) > 1]
        name, node = pick(rows or self.nodes(), b)
        who = who if rarely(b, 5) else self.contributor(node, a)
        self.send(self.network.withdraw(who, name, node.life, **odd), who)

    def contributor(self, node: Node, number: int) -> str:
        """One of those who contribute to a node, the newest first."""
        account = pick(node.contributions[::-1], number).account
        return next(who for who in (*PLAYERS, "a stranger") if public(who) == account)

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def request_unlock(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """By the operator, by a contributor, or by somebody who is none."""
        rows = [(n, r) for n, r in self.nodes() if not r.exit_ms] or self.nodes()
        name, node = pick(rows, b)
        who = who if rarely(b, 7) else self.contributor(node, a)
        self.send(self.network.request_unlock(who, name, node.life, **odd), who)

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def claim_rewards(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """By a contributor, a beneficiary, or somebody who is neither."""
        rows = [(n, r) for n, r in self.nodes() if r.earning or r.accrued] or self.nodes()
        name, node = pick(rows, b)
        who = who if rarely(b, 7) else self.contributor(node, a)
        self.send(self.network.claim_rewards(who, name, node.life, **odd), who)

    # -------------------------------------------------------------------------- duty

    @rule(a=NUMBER, b=NUMBER)
    def update_contact(self, a: int, b: int) -> None:
        """The next sequence number, or one that was used."""
        name = pick(NAMES, b)
        history = self.network.state.get(HISTORIES, public(name))
        contact = make_contact(a, storage_version=Version(1 - rarely(b, 9), 0, 0))
        self.send(
            self.network.update_contact(
                name,
                (history.sequence if history else 0) + (not rarely(a, 7)),
                contact=contact,
                life=history.life if history else 1,
            )
        )

    @rule(a=NUMBER, b=NUMBER)
    def set_keys(self, a: int, b: int) -> None:
        """Another duty key, and all or none of the keys that an attestor has."""
        name, node = pick(self.nodes(), b)
        roles = {"list_key": b"", "consensus_key": b""} if rarely(a, 4) else attestor_roles(name)
        if node.list_key and a % 2:
            roles.pop("list_tip", None)
        sequence = self.network.state.one(HISTORIES, public(name)).sequence + (not rarely(b, 11))
        # now and then the duty key of another node
        owner = pick(NAMES, a) if rarely(a, 13) else name
        duty = f"{owner} duty" if a % 2 else f"{owner} duty {a % 8}"
        self.send(life.set_keys(self.network, name, sequence, duty, **roles))

    @rule(a=NUMBER, b=NUMBER)
    def attest(self, a: int, b: int) -> None:
        """Of a seat, or one that is not there."""
        changes: dict[str, Any] = {"reveal": bytes(32)} if rarely(b, 9) else {}
        self.send(self.network.attest(a % 4, **changes))

    @rule(a=NUMBER)
    def go_absent(self, a: int) -> None:
        """Some seats attest no more."""
        self.absent = frozenset(seat for seat in range(8) if a >> seat & 1 and a % 2)

    @rule(a=NUMBER, b=NUMBER)
    def judge(self, a: int, b: int) -> None:
        """Any verdict on any node, of this epoch or another one."""
        name, node = pick(self.nodes(), a)
        epoch = self.running() - rarely(a, 3) - rarely(a, 9)
        changes: dict[str, Any] = {"life": node.life + 1} if rarely(b, 17) else {}
        if self.quorum(node, epoch):
            count = 1 if rarely(b, 13) else None
            self.send(life.judge(self.network, name, (1, 0, 2, 63)[b % 4], epoch, count, **changes))

    def quorum(self, node: Node, epoch: int) -> bool:
        """Whether there are testers of a node in an epoch that may still be judged."""
        if not self.running() - 1 <= epoch <= self.running() or epoch < 1:
            return False
        members = get_members(self.network.state, epoch)
        return has_quorum(members, node.operator, self.network.params.quorum_testers)

    @rule(a=NUMBER, b=NUMBER)
    def fall_ill(self, a: int, b: int) -> None:
        """One or two nodes that are on duty fail their tests from now on."""
        rows = self.nodes(ACTIVE, DECOMMISSIONED) or self.nodes()
        self.fares[pick(rows, a)[0]] = SILENT if rarely(b, 8) else ILL
        self.fares[pick(rows, b)[0]] = ILL

    @rule(a=NUMBER)
    def get_well(self, a: int) -> None:
        """A node passes its tests again."""
        if self.fares:
            del self.fares[pick(sorted(self.fares), a)]

    # ---------------------------------------------------------------------- offences

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def report_votes(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """A pass and a fail by a duty key, of this epoch, an earlier or a later one."""
        duty = pick(self.bound(DUTY_ROLE), a)
        epoch = self.running() + (0, 0, -1, 0, -2, 1, -5)[b % 7]
        if rarely(b, 19):
            duty = public("nobody")
        evidence = life.vote_evidence(
            self.network,
            "nobody",
            epoch=max(0, epoch),
            pair=pair_of(duty),
            faults=1 - rarely(b, 23),
        )
        self.send(life.report(self.network, who, evidence, **odd), who)

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def report_headers(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """Two headers by the list key of a node, or of an attestor."""
        list_keys = self.bound(LIST_ROLE)
        of_nodes = [key for key in list_keys if key not in map(public, (*ATTESTORS, *SPARE))]
        # founding attestors are few, and each can be punished once
        list_key = pick(list_keys if rarely(b, 6) else of_nodes or list_keys, a)
        make = life.fork_evidence if a % 2 else life.header_evidence
        self.send(life.report(self.network, who, make(self.network, list_key), **odd), who)

    @rule(a=NUMBER, b=NUMBER)
    def misbehave(self, a: int, b: int) -> None:
        """The engine says that a validator signed two blocks."""
        validators = self.bound(CONSENSUS_ROLE) or [public("nobody")]
        address = consensus_address(public("nobody") if rarely(b, 9) else pick(validators, a))
        since_ms = (1, 1, EPOCH_MS, 2 * EPOCH_MS, 200_000)[b % 5]
        time_ms = self.network.chain.tip.time_ms - since_ms
        evidence = Misbehaviour(address, self.network.chain.tip.height, time_ms)
        self.found.append(b"nothing" if rarely(b, 11) else encode(evidence))

    # ------------------------------------------------------------------------ orders

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def set_attestors(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """One seat more, one less, or too much at once; sometimes by the recovery keys."""
        network = self.network
        members = network.state.one(SETS).current
        seated = {member.list_key for member in members}
        new = [name for name in (*SPARE, *ATTESTORS) if public(name) not in seated]
        new += [f"{name} list" for name, node in self.nodes(ACTIVE)
                if node.list_key and node.list_key not in seated]  # fmt: skip
        gone = pick(members, b).list_key if len(members) > 2 else b""
        kept = [member for member in members if member.list_key != gone]
        added = [pick(new, a)] if len(members) < 5 and new else []
        seats = life.seats(network, *added, kept=members if a % 2 and added else kept)
        begin = network.chain.tip.time_ms + (25_000, 25_000, 90_000, 0)[b % 4]
        recovery = RECOVERY if rarely(b, 3) else ()
        if rarely(a, 11):
            seats = life.seats(network, *SPARE, kept=kept)
            seats = tuple({seat.list_key: seat for seat in seats}.values())
        raw = life.set_attestors(
            network,
            seats,
            who,
            begin=self.running() if recovery else begin,
            signers=(0,) if rarely(a, 13) else None,
            recovery=recovery,
            **odd,
        )
        self.send(raw, who)

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def set_params(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """Other values after their notice, or too soon, or what cannot be changed."""
        network = self.network
        notice_ms = network.params.unbonding_ms + (-1 if rarely(b, 7) else 25_000)
        changes = pick(OTHER_PARAMS[4:] if rarely(a, 5) else OTHER_PARAMS[:4], b)
        if all(getattr(network.params, name) == value for name, value in changes.items()):
            changes = {"reward_rate": network.params.reward_rate - 1}
        raw = life.set_params(
            network,
            who,
            from_ms=network.chain.tip.time_ms + notice_ms,
            signers=(0,) if rarely(a, 13) else None,
            envelope=odd,
            **changes,
        )
        self.send(raw, who)

    # ------------------------------------------------------------------------ blocks

    @rule(a=NUMBER, b=NUMBER)
    def garbage(self, a: int, b: int) -> None:
        """The last transaction with another bit, again, or no transaction at all."""
        raw = bytearray(self.pending[-1][0] if self.pending else b"nothing")
        if a % 3 and raw:
            raw[a * b % len(raw)] ^= 1 << a % 8
        self.send(bytes(raw) if a % 4 else bytes(a % 50))

    @rule()
    def reopen(self) -> None:
        """The process starts anew; what was not in a block is forgotten."""
        tip, header = self.network.chain.tip, self.network.chain.newest_header()
        chain = self.network.reopen()
        assert (chain.tip, chain.newest_header()) == (tip, header)
        self.forget()

    @rule(a=NUMBER)
    def go_on(self, a: int) -> None:
        """A block of what was sent, soon or late; a late one may end an epoch."""
        self.block(WAITS_MS[a % 5])

    @rule(count=st.integers(1, 6), late=st.sampled_from((0, 0, 0, 1, 5_000, 50_000)))
    def live(self, count: int, late: int) -> None:
        """Some epochs pass, with attestations and verdicts as everybody fares."""
        for _ in range(count):
            self.attestations()
            self.verdicts()
            self.block(100)
            start_ms = self.network.state.one(EPOCH).start_ms
            left_ms = start_ms + EPOCH_MS - self.network.chain.tip.time_ms
            self.block(max(1, left_ms) + late)

    def attestations(self) -> None:
        """Each seat that is there attests the newest header."""
        for raw in self.network.attestations():
            if self.network.chain.decode(raw).body.index not in self.absent:
                self.send(raw)

    def verdicts(self) -> None:
        """The testers say of each node what they find, where that can change something."""
        epoch = self.running()
        for name, node in self.nodes(ACTIVE, QUEUED, DECOMMISSIONED):
            fares = self.fares.get(name, WELL)
            is_useful = (
                node.state in ((QUEUED, DECOMMISSIONED), (ACTIVE, DECOMMISSIONED))[fares == ILL]
            )
            is_tested = 0 < node.tested_from <= epoch and not node.passed
            if fares != SILENT and is_useful and is_tested and self.quorum(node, epoch):
                self.send(life.judge(self.network, name, int(fares == ILL)))

    def block(self, ms: int) -> None:
        """A block of everything that was sent; what its proposer would leave out is refused."""
        self.is_whole = False
        network = self.network
        raws = tuple(raw for raw, _ in self.pending)
        block = network.input(*raws, ms=ms)._replace(misbehaviour=tuple(self.found))
        good = [network.chain.decode(raw) for raw, code in self.pending if self.is_signed(raw)]
        proposal = run(
            network.chain.propose(block.height, block.time_ms, b"", good, block.misbehaviour)
        )
        before = dict(network.state.items(NODES))
        params, sets = network.params, network.state.one(SETS)
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
        self.count(executed.codes, punished)
        self.count_changes(before, executed.ended_epoch)
        self.count_rules(sets, params)
        self.forget()
        self.is_whole = True

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

    def forget(self) -> None:
        """Nothing is on its way any more."""
        self.network.forget_sent()
        self.pending = []
        self.found = []

    # ---------------------------------------------------------------------- counting

    def count(self, codes: Sequence[int], punished: Sequence[int]) -> None:
        """What was applied, refused, punished."""
        numbers = {row.number: code for code, row in REFUSALS.items()}
        for (raw, _), code in zip(self.pending, codes, strict=True):
            if code:
                reached["refusals"][numbers[code]] += 1
            else:
                reached["kinds"][self.network.chain.decode(raw).kind.name] += 1
        names = {offence.number: offence.name for offence in OFFENCES}
        reached["offences"].update(names[number] for number in punished)

    def count_changes(self, before: dict[bytes, Node], ended_epoch: bool) -> None:
        """Who entered which state, and what else became of nodes."""
        events, after = reached["events"], dict(self.network.state.items(NODES))
        events["epoch ends"] += ended_epoch
        for key, node in after.items():
            was = before.get(key)
            if was is None or was.state != node.state:
                reached["states"][NODE_STATES[node.state]] += 1
            if was is None:
                events["later lives"] += node.life > 1
            elif was.state == DECOMMISSIONED and node.state == ACTIVE:
                events["came back"] += 1
            elif was.state in GONE and node.taken > was.taken:
                events["slashed after leaving"] += 1
        for key in before.keys() - after.keys():
            events["payouts" if before[key].state in GONE else "refunds"] += 1
        down = [node for node in after.values() if node.state in (DECOMMISSIONED, DEREGISTERED)]
        events["down at once"] = max(events["down at once"], len(down))

    def count_rules(self, sets: Any, params: Any) -> None:
        """Which rules changed."""
        now = self.network.state.one(SETS)
        reached["events"]["sets took over"] += now.current != sets.current
        reached["events"]["parameters changed"] += self.network.params != params

    def teardown(self) -> None:
        """At last a block, and everything once more from the beginning."""
        if not self.is_whole:
            return
        self.block(EPOCH_MS)
        chain = replay(self.network.raw, self.network.blocks)
        assert chain.tip == self.network.chain.tip
        for key, record in self.network.dump().items():
            assert chain.store.get(key) == encode(record)


LEAST: Final[dict[str, dict[str, int]]] = {
    "kinds": {kind.name: 50 for kind in TX_KINDS},
    "offences": {offence.name: 5 for offence in OFFENCES},
    "states": dict.fromkeys(NODE_STATES.values(), 20),
    "events": {
        **{"epoch ends": 500, "payouts": 20, "refunds": 20, "later lives": 5, "came back": 20},
        **{"slashed after leaving": 5, "sets took over": 20, "parameters changed": 20},
    },
}
"""How often everything has to happen at least."""


def table(counts: dict[str, Counter[str]]) -> str:
    """What happened, one line for each group."""
    return "\n".join(
        f"{group:9} " + " · ".join(f"{name} {row[name]:,}" for name in sorted(row))
        for group, row in counts.items()
    )


def test_lives(record_property: Callable[[str, object], None]) -> None:
    for row in reached.values():
        row.clear()
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=100,
            stateful_step_count=50,
            derandomize=True,
            database=None,
            report_multiple_bugs=False,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    record_property("table", table(reached))
    short = {
        f"{group}: {name}": reached[group][name]
        for group, row in LEAST.items()
        for name, least in row.items()
        if reached[group][name] < least
    }
    assert short == {}
