"""The money of a network, counted a second time, with arithmetic of its own.

What becomes of nodes is read from the ledger's records; what that costs and pays is worked out
here, from the transactions that were applied and from the rules as the specification tells them.
After every block each account, each stake and the pool have to be what this book says.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from ledger.chain import Executed
from ledger.history import ENGINE_INDEX, PENALTY_ROW, PenaltyRow, penalty_key
from ledger.messages.blocks import BlockInput
from ledger.messages.evidence import MISBEHAVIOUR, ListEquivocation
from ledger.messages.lists import decode_header
from ledger.messages.state import (
    ACTIVE,
    AWAITING,
    DECOMMISSIONED,
    DEREGISTERED,
    EXITED,
    GONE,
    QUEUED,
)
from ledger.messages.tables import ACCOUNTS, BINDINGS, EPOCH, NODES, POOL, SETS
from ledger.params import Params
from ledger.transactions import WIRE
from ledger.transactions.report import identify
from tests.factory import Network

WHOLE: Final = 10_000
YEAR_MS: Final = 365 * 86_400_000
VOTES, LISTS, BLOCKS = 1, 2, 3
"""Numbers of the offences."""


@dataclass
class Part:
    """One contributor's part of a stake."""

    account: bytes
    beneficiary: bytes
    amount: int
    paid: int = 0


@dataclass
class Stake:
    """A node as far as it is about money."""

    fee: int
    requirement: int
    liable_from: int
    """First epoch whose offences it pays for, once it is funded."""
    parts: list[Part]
    """The operator's first."""
    state: int
    taken: int = 0
    earned: int = 0
    """In the running period."""
    earns_from_ms: int = 0
    due_ms: int = 0
    """From when on a node that has left is paid out."""

    @property
    def amount(self) -> int:
        """All that is staked."""
        return sum(part.amount for part in self.parts)

    def owed(self) -> list[int]:
        """What each part has earned in this period, rounded down."""
        if not self.amount:
            return [self.earned, *(0 for _ in self.parts[1:])]
        operator, others = Fraction(self.fee, WHOLE), Fraction(WHOLE - self.fee, WHOLE)
        shares = [others * part.amount / self.amount for part in self.parts]
        shares[0] += operator
        return [int(self.earned * share) for share in shares]


@dataclass
class Book:
    """Accounts, stakes and the pool."""

    network: Network
    balances: dict[bytes, int] = field(default_factory=dict)
    stakes: dict[bytes, Stake] = field(default_factory=dict)
    pool: int = 0
    supply: int = 0
    starts: dict[int, int] = field(default_factory=dict)
    """When each epoch started, by block time."""
    seated: list[bytes] = field(default_factory=list)
    """List keys that hold a seat among the attestors."""
    following: list[bytes] = field(default_factory=list)
    """Those of the next set."""
    ordered: list[bytes] = field(default_factory=list)
    """Those of an order that waits."""
    tombstoned: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        genesis, params = self.network.genesis, self.network.params
        self.balances = {row.account: row.balance for row in genesis.accounts}
        for row in genesis.nodes:
            requirement = params.staking_requirement
            part = Part(row.operator, row.operator, requirement)
            self.stakes[row.node] = Stake(0, requirement, 0, [part], ACTIVE)
            self.stakes[row.node].earns_from_ms = genesis.start_ms + params.payable_ms
        self.pool = genesis.pool
        self.supply = self.total()
        self.starts = {0: genesis.start_ms, 1: genesis.start_ms}
        self.read_seats()

    def total(self) -> int:
        """Every atomic unit that is anywhere."""
        waiting = sum(s.earned - sum(p.paid for p in s.parts) for s in self.stakes.values())
        staked = sum(stake.amount for stake in self.stakes.values())
        return sum(self.balances.values()) + staked + waiting + self.pool

    def give(self, account: bytes, amount: int) -> None:
        """An account has so much more."""
        self.balances[account] = self.balances.get(account, 0) + amount

    # ----------------------------------------------------------------------- blocks

    def follow(self, block: BlockInput, executed: Executed, params: Params) -> list[int]:
        """Write a committed block down, and compare; returns the offences that were punished.

        `params` are those that were in force in it.
        """
        punished = self.punish_what_the_engine_found(block, params)
        for index, (raw, code) in enumerate(zip(block.transactions, executed.codes, strict=True)):
            if code == 0:
                tx = WIRE.decode(raw)
                if not tx.kind.is_free:
                    self.give(tx.sender, -tx.fee)
                    self.pool += tx.fee
                if tx.kind.name == "report":
                    punished.append(self.report(tx, block, index, params))
                elif tx.kind.name in MOVES:
                    MOVES[tx.kind.name](self, tx, params)
        self.queue_the_funded()
        if executed.ended_epoch:
            self.end_epoch(block.time_ms, params)
        self.compare()
        return punished

    def transfer(self, tx: Any, params: Params) -> None:
        """Coins go to another account."""
        self.give(tx.sender, -tx.body.amount)
        self.give(tx.body.recipient, tx.body.amount)

    def register(self, tx: Any, params: Params) -> None:
        """The operator's stake is locked."""
        registration = tx.body.registration
        self.give(tx.sender, -tx.body.stake)
        part = Part(tx.sender, registration.beneficiary, tx.body.stake)
        assert registration.node not in self.stakes
        self.stakes[registration.node] = Stake(
            registration.fee, params.staking_requirement, 0, [part], AWAITING
        )

    def contribute(self, tx: Any, params: Params) -> None:
        """So is a contributor's."""
        self.give(tx.sender, -tx.body.amount)
        part = Part(tx.sender, tx.body.beneficiary, tx.body.amount)
        self.stakes[tx.body.node].parts.append(part)

    def withdraw(self, tx: Any, params: Params) -> None:
        """A contributor takes his whole stake back."""
        stake = self.stakes[tx.body.node]
        [own] = [part for part in stake.parts if part.account == tx.sender]
        assert stake.state == AWAITING
        stake.parts.remove(own)
        self.give(tx.sender, own.amount)

    def set_attestors(self, tx: Any, params: Params) -> None:
        """Whoever is to have a seat is not paid out; the order before is forgotten."""
        self.ordered = [seat.list_key for seat in tx.body.seats]

    def claim_rewards(self, tx: Any, params: Params) -> None:
        """What waits for the sender goes to the beneficiaries."""
        stake = self.stakes[tx.body.node]
        for owed, part in zip(stake.owed(), stake.parts, strict=True):
            if tx.sender in (part.account, part.beneficiary):
                self.give(part.beneficiary, owed - part.paid)
                part.paid = owed

    def queue_the_funded(self) -> None:
        """Within an epoch a node changes in one way only: it is funded."""
        for stake in self.stakes.values():
            if stake.state == AWAITING and stake.amount + stake.taken == stake.requirement:
                stake.state = QUEUED
                stake.liable_from = max(self.starts) + 1

    # -------------------------------------------------------------------- penalties

    def punish_what_the_engine_found(self, block: BlockInput, params: Params) -> list[int]:
        """Misbehaviour that counted left a row, and costs what its offence costs."""
        punished = []
        for place, raw in enumerate(block.misbehaviour):
            row = self.row(block.height, ENGINE_INDEX - place)
            if row is not None:
                evidence = MISBEHAVIOUR.decode(raw)
                earlier = [e for e, ms in self.starts.items() if ms < evidence.time_ms]
                # the first block may have the time of genesis
                epoch = max(earlier or [0])
                self.punish(row, BLOCKS, evidence.address, epoch, params, b"")
                punished.append(BLOCKS)
        return punished

    def row(self, height: int, index: int) -> PenaltyRow | None:
        """What the ledger says of a penalty."""
        raw = self.network.store.get(penalty_key(height, index))
        return None if raw is None else PENALTY_ROW.decode(raw)

    def report(self, tx: Any, block: BlockInput, index: int, params: Params) -> int:
        """Whoever proved something has his fee back and the bounty."""
        offence, _ = identify(tx.body)
        evidence = offence.codec.decode(tx.body.evidence)
        if isinstance(evidence, ListEquivocation):
            number, key, epoch = LISTS, evidence.list_key, decode_header(evidence.first).epoch
        else:
            number, key, epoch = VOTES, evidence.duty_key, evidence.epoch
        row = self.row(block.height, index)
        assert row is not None
        self.pool -= tx.fee
        self.give(tx.sender, tx.fee)
        self.punish(row, number, key, epoch, params, tx.sender)
        return number

    def punish(
        self,
        row: PenaltyRow,
        number: int,
        key: bytes,
        epoch: int,
        params: Params,
        reporter: bytes,
    ) -> None:
        """The life that held the key pays: the operator first, the others in proportion."""
        node = self.network.state.one(BINDINGS, key).node
        stake = self.stakes.get(node)
        is_liable = stake is not None and stake.state != AWAITING and epoch >= stake.liable_from
        # a heavier offence costs what it costs more than those before; so does all that comes then
        is_difference = number in (LISTS, BLOCKS) or node in self.tombstoned
        if number in (LISTS, BLOCKS) and (is_liable or stake is None):
            self.tombstoned.add(node)
        assert (row.offence, row.node, row.epoch) == (number, node, epoch)
        if stake is None or not is_liable:
            assert (row.taken, row.bounty) == (0, 0)
            return
        self.close(stake)
        share = (params.vote_penalty, params.list_penalty, params.block_penalty)[number - 1]
        due = (stake.amount + stake.taken) * share // WHOLE - is_difference * stake.taken
        penalty = min(max(0, due), stake.amount)
        own = min(penalty, stake.parts[0].amount)
        take_from(stake.parts, penalty)
        stake.taken += penalty
        bounty = min(own * params.bounty_share // WHOLE, params.bounty_cap) if reporter else 0
        assert (row.taken, row.bounty) == (penalty, bounty)
        assert bounty < own or own == 0, "a reporter gains by reporting himself"
        self.pool += penalty - bounty
        if bounty:
            self.give(reporter, bounty)

    def close(self, stake: Stake) -> None:
        """A period ends: all that waits is paid, and what rounding left is the operator's."""
        owed = stake.owed()
        owed[0] += stake.earned - sum(owed)
        for amount, part in zip(owed, stake.parts, strict=True):
            assert amount >= part.paid
            if amount > part.paid:
                self.give(part.beneficiary, amount - part.paid)
            part.paid = 0
        stake.earned = 0

    # ------------------------------------------------------------------- epoch's end

    def end_epoch(self, time_ms: int, params: Params) -> None:
        """Rewards for who is still on duty, then the payouts; who comes and who goes is read."""
        nodes = dict(self.network.state.items(NODES))
        waiting = self.nodes_of([*self.seated, *self.following, *self.ordered])
        self.pay(time_ms, params, {key: node.state for key, node in nodes.items()})
        for key in sorted(self.stakes.keys() - nodes.keys()):
            assert key not in waiting, "an attestor was paid out"
            self.pay_out(self.stakes.pop(key), time_ms)
        for key, node in nodes.items():
            stake = self.stakes[key]
            if (stake.state, node.state) == (QUEUED, ACTIVE):
                stake.earns_from_ms = time_ms + params.payable_ms
            if stake.state not in GONE and node.state in GONE:
                wait_ms = params.unbonding_ms if node.state == EXITED else params.lock_ms
                stake.due_ms = time_ms + wait_ms
            assert stake.state not in GONE or stake.state == node.state
            is_late = stake.state in GONE and time_ms >= stake.due_ms and key not in waiting
            assert not is_late, "a payout is late"
            stake.state = node.state
        seats = self.seated
        self.read_seats()
        for key in self.nodes_of([key for key in seats if key not in self.seated]):
            if key in self.stakes and self.stakes[key].state in GONE:
                stake = self.stakes[key]
                stake.due_ms = max(stake.due_ms, time_ms + params.unbonding_ms)
        self.starts[max(self.starts) + 1] = time_ms

    def read_seats(self) -> None:
        """Who has a seat is read; what that means for payouts is worked out here."""
        sets = self.network.state.one(SETS)
        self.seated = [member.list_key for member in sets.current]
        self.following = [member.list_key for member in sets.next]
        self.ordered = [seat.list_key for seat in sets.ordered]

    def nodes_of(self, list_keys: Sequence[bytes]) -> list[bytes]:
        """The nodes whose keys these are; a key without a node is its own."""
        return [self.network.state.one(BINDINGS, key).node for key in list_keys]

    def pay(self, time_ms: int, params: Params, states: dict[bytes, int]) -> None:
        """Equal shares to those who were active all the epoch and are after the verdicts."""
        earners = [
            stake
            for key, stake in self.stakes.items()
            if stake.state == ACTIVE
            and states.get(key) not in (DECOMMISSIONED, DEREGISTERED)
            and stake.earns_from_ms <= time_ms
        ]
        if earners:
            paid = Fraction(self.pool * params.reward_rate * params.epoch_ms, WHOLE * YEAR_MS)
            share = int(paid / len(earners))
            for stake in earners:
                stake.earned += share
                self.pool -= share

    def pay_out(self, stake: Stake, time_ms: int) -> None:
        """Everything comes back: after its time of waiting, or since the node never was active."""
        assert stake.state in (AWAITING, QUEUED, *GONE)
        assert time_ms >= stake.due_ms, "a payout came too soon"
        self.close(stake)
        for part in stake.parts:
            if part.amount:
                self.give(part.account, part.amount)

    # -------------------------------------------------------------------- comparing

    def compare(self) -> None:
        """The ledger has to say the same, to the unit."""
        state = self.network.state
        accounts = {key: account.balance for key, account in state.items(ACCOUNTS)}
        assert accounts == self.balances
        assert all(balance >= 0 for balance in accounts.values())
        nodes = {
            key: (
                node.state,
                node.taken,
                [Part(c.account, c.beneficiary, c.amount, c.paid) for c in node.contributions],
            )
            for key, node in state.items(NODES)
        }
        stakes = {key: (s.state, s.taken, s.parts) for key, s in sorted(self.stakes.items())}
        assert nodes == stakes
        pool = state.one(POOL)
        waiting = sum(s.earned - sum(p.paid for p in s.parts) for s in self.stakes.values())
        assert (pool.balance, pool.accrued) == (self.pool, waiting)
        assert pool.supply == self.supply == self.total()
        assert state.one(EPOCH).epoch == max(self.starts)


MOVES: Final[dict[str, Callable[[Book, Any, Params], None]]] = {
    "transfer": Book.transfer,
    "register": Book.register,
    "contribute": Book.contribute,
    "withdraw": Book.withdraw,
    "claim_rewards": Book.claim_rewards,
    "set_attestors": Book.set_attestors,
}
"""What does more than cost its fee; a report is written down where it is met."""


def take_from(parts: list[Part], penalty: int) -> None:
    """The operator's part goes first; the others lose alike, and then a unit each in turn."""
    own = min(penalty, parts[0].amount)
    parts[0].amount -= own
    rest, whole = penalty - own, sum(part.amount for part in parts[1:])
    before = [part.amount for part in parts[1:]]
    for part, amount in zip(parts[1:], before, strict=True):
        part.amount -= int(Fraction(rest * amount, whole)) if amount else 0
    missing = rest - sum(before) + sum(part.amount for part in parts[1:])
    for part in parts[1:]:
        if missing and part.amount:
            part.amount -= 1
            missing -= 1
