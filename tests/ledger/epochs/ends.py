"""One runner for each step of an epoch's end; together they say what the whole state has to be.

A case names who is touched, and how. What that does to every record is worked out here a second
time, from the rules as the specification tells them, and `run_end` compares all tables before and
after: nothing else may change.

    village            a network whose founding nodes can test each other
    judge_all          verdicts on several nodes in one block
    put_down           fail nodes until they are decommissioned
    Expected           who is touched at an end
    RUNNERS            a runner for each step, in the order of `EPOCH_STEPS`
    run_end            end the running epoch and compare everything
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from msgspec.structs import replace

from ledger.codec import Record, encode
from ledger.history import AttestorSet, EpochRow, SwarmMove, SwarmRow, final_key, set_key
from ledger.lists import build_list, draft_header
from ledger.merkle import sparse_root
from ledger.messages.genesis import REGISTRY
from ledger.messages.lists import Attestor, attestor_set_hash, encode_signed_header
from ledger.messages.state import (
    ACTIVE,
    DECOMMISSIONED,
    DEREGISTERED,
    EXITED,
    QUEUED,
    TOMBSTONED,
    Absence,
    Account,
    Chainlink,
    Due,
    EpochStart,
    EpochState,
    Failing,
    Node,
    ParamsState,
    RawHeader,
    Roster,
    Swarm,
    Validator,
    Validators,
)
from ledger.messages.tables import (
    ABSENCES,
    ACCOUNTS,
    ATTESTATIONS,
    BINDINGS,
    CHAINLINKS,
    CONTACTS,
    DRAFT,
    EPOCH,
    EXITS,
    FAILING,
    MATURES,
    NEW_KEYS,
    NODES,
    PARAMS,
    PAYOUTS,
    PENDING,
    POOL,
    QUEUE,
    ROSTERS,
    SETS,
    STARTS,
    SUCCESSION,
    SWARMS,
    VALIDATORS,
    VERDICTS,
)
from ledger.params import Params
from ledger.state import STATE_START, STATE_STOP, State, build_tree
from ledger.steps import run
from ledger.store import MemoryStore
from tests.factory import (
    PEOPLE,
    SHORT_TIMES,
    Network,
    founding,
    make_genesis,
    next_seed,
    public,
)
from tests.ledger.effects import Sheet, changes, coins
from tests.ledger.rules import swarms_reference
from tests.life import FAULTY, judge

WHOLE: Final = 10_000
YEAR_MS: Final = 365 * 86_400_000

SHORT_LOCK: Final = {**SHORT_TIMES, "lock_ms": SHORT_TIMES["unbonding_ms"]}
"""Parameters under which stake is locked for a minute, whatever the reason."""


def names_of(count: int) -> tuple[str, ...]:
    """The names of the nodes of a village."""
    return tuple(f"v{number}" for number in range(count))


def operator_of(name: str) -> str:
    """Who operates a node of a village."""
    return PEOPLE[int(name[1:]) % len(PEOPLE)]


def village(count: int = 8, genesis: Mapping[str, Any] | None = None, /, **params: int) -> Network:
    """A network that begins with active nodes, operated by the people in turns; `genesis` are
    changes of the file, `params` those of the preset.
    """
    rows = [founding(name, operator=operator_of(name))[0] for name in names_of(count)]
    nodes = tuple(sorted(rows, key=lambda row: row.node))
    return Network(make_genesis(params, nodes=nodes, **(genesis or {})))


def judge_all(network: Network, *names: str, faults: int = FAULTY, **changes: Any) -> None:
    """A block with a verdict on each of these nodes, for the running epoch unless told."""
    network.block(*[judge(network, name, faults, **changes) for name in names])


def put_down(network: Network, *names: str) -> None:
    """Fail nodes in this epoch and the next; they are down when the one after has ended."""
    for _ in range(2):
        judge_all(network, *names)
        run_end(network)
    run_end(network, down=names)


# ------------------------------------------------------------------------------- the sheet


@dataclass(frozen=True)
class Expected:
    """Who is touched at an epoch's end; whoever is not named is not."""

    down: tuple[str, ...] = ()
    """Decommissioned."""
    removed: tuple[str, ...] = ()
    """Deregistered."""
    back: tuple[str, ...] = ()
    """Decommissioned nodes that are active again."""
    void: tuple[str, ...] = ()
    """Whose verdict speaks of what the node is not any more."""
    exited: tuple[str, ...] = ()
    refunded: tuple[str, ...] = ()
    """Not active yet, and gone with everything given back."""
    banned: tuple[str, ...] = ()
    """Tombstoned, and gone."""
    paid: tuple[str, ...] = ()
    """Paid out, so that their life ends."""
    joined: tuple[str, ...] = ()
    """Active for the first time."""
    sets: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the attestor sets that change."""
    tips: Mapping[bytes, bytes] = field(default_factory=dict)
    """Hash chains that begin with the attestors: list key to tip."""
    delayed: tuple[str, ...] = ()
    """Whose seat ended, so that the payout comes an unbonding time later."""
    validators: Mapping[bytes, bytes] = field(default_factory=dict)
    """List key to consensus key, of seats that agree on blocks from now on, or with another key."""
    rules: bool = False
    """Whether announced parameters come into force."""


class End(Sheet):
    """What the state has to be after the block that ends the running epoch."""

    def __init__(self, network: Network, late_ms: int, expected: Expected) -> None:
        super().__init__(network)
        self.running: EpochState = self.get(EPOCH)
        self.epoch = self.running.epoch
        self.params = network.params
        end_ms = self.running.start_ms + self.params.epoch_ms + late_ms
        self.time_ms = max(network.chain.tip.time_ms + 1, end_ms)
        self.network = network
        self.expected = expected
        self.seed = b""
        self.is_final = False
        self.archived: dict[bytes, bytes] = {}

    def drop(self, table: Any, key: bytes) -> None:
        """The record has to be gone, if it was there."""
        self.after.pop(table.letter + key, None)

    def rows(self, table: Any) -> Iterator[tuple[bytes, Any]]:
        """The records of a table as they will be, by ascending key."""
        for key in sorted(self.after):
            if key[:1] == table.letter:
                yield key[1:], self.after[key]

    def change(self, name: str | bytes, **fields: Any) -> Node:
        """A node has to have these fields."""
        node: Node = self.get(NODES, public(name))
        changed = replace(node, **fields)
        self.put(NODES, public(name), changed)
        return changed

    def enter(self, name: str, state: int) -> None:
        """A node has to have entered a state in this block."""
        self.change(name, state=state, since_ms=self.time_ms, since_height=self.height)

    def add_to_pool(self, **amounts: int) -> None:
        """The pool's fields have to be so much more."""
        pool = self.get(POOL)
        moved = {name: getattr(pool, name) + amount for name, amount in amounts.items()}
        self.put(POOL, b"", replace(pool, **moved))

    def start_earning(self, name: str | bytes) -> None:
        """A node has to earn from now on."""
        self.change(name, earning=1, entry=self.get(POOL).accumulator)
        self.add_to_pool(earning=1)

    def stop_earning(self, name: str) -> None:
        """A node has to keep what it earned, and earn no more."""
        node = self.get(NODES, public(name))
        if node.earning:
            earned = self.get(POOL).accumulator - node.entry
            self.change(name, earning=0, accrued=node.accrued + earned)
            self.add_to_pool(earning=-1)

    def leave(self, name: str, state: int, wait_ms: int) -> None:
        """A node's duty has to have ended; its payout is due after `wait_ms`."""
        key = public(name)
        self.stop_earning(name)
        self.enter(name, state)
        node = self.change(name, passed=0, tested_from=0)
        if node.exit_ms:
            self.drop(EXITS, at(node.exit_ms, key))
        self.drop_place(name)
        self.drop(SWARMS, key)
        self.drop(FAILING, key)
        self.put(PAYOUTS, at(self.time_ms + wait_ms, key), Due(key))

    def drop_place(self, name: str) -> None:
        """A node has to have no place in the queue."""
        for place, row in list(self.rows(QUEUE)):
            if row.node == public(name):
                self.drop(QUEUE, place)

    def give_back(self, name: str) -> None:
        """All stake and rewards have to be with those they belong to, and the node forgotten."""
        key = public(name)
        self.stop_earning(name)
        node = self.get(NODES, key)
        for c, part in zip(node.contributions, divide(node), strict=True):
            self.move_to(c.beneficiary, part - c.paid)
            self.move_to(c.account, c.amount)
            self.add_to_pool(accrued=c.paid - part)
        for table in (NODES, CONTACTS, PENDING, NEW_KEYS):
            self.drop(table, key)

    def move_to(self, key: bytes, amount: int) -> None:
        """The account of a key has to have so much more."""
        if amount:
            account = self.get(ACCOUNTS, key) or Account(0, 0)
            self.put(ACCOUNTS, key, replace(account, balance=account.balance + amount))


def at(time_ms: int, key: bytes = b"") -> bytes:
    """A place in a queue by time, or what belongs to an epoch."""
    return time_ms.to_bytes(8, "big") + key


def divide(node: Node) -> list[int]:
    """A period's rewards by contribution: parts rounded down, and the operator has the rest."""
    staked = sum(c.amount for c in node.contributions)
    kept = WHOLE - node.fee
    others = [
        node.accrued * kept * c.amount // (WHOLE * staked) if staked else 0
        for c in node.contributions[1:]
    ]
    return [node.accrued - sum(others), *others]


# --------------------------------------------------------------------- one for each step


def expect_seed(end: End) -> None:
    """The next seed follows from the reveals."""
    reveals = [(key[0], row.reveal) for key, row in end.rows(ATTESTATIONS)]
    end.seed = next_seed(end.running.seed, *reveals)


def expect_frozen(end: End) -> None:
    """The header and its attestations are history."""
    signed = end.network.chain.newest_header()
    weights = [seat.weight for seat in end.get(SETS).current]
    end.is_final = 3 * sum(weights[place] for place, _ in signed.signatures) > 2 * sum(weights)
    end.archived[final_key(end.epoch - 1)] = encode_signed_header(signed)
    members = end.get(SETS).current
    end.archived[set_key(attestor_set_hash(members))] = encode(AttestorSet(members))
    for key, _ in list(end.rows(ATTESTATIONS)):
        end.drop(ATTESTATIONS, key)
    if end.is_final and end.get(SETS).policy == REGISTRY:
        _expect_absences(end, [place for place, _ in signed.signatures])
    record = end.get(SUCCESSION)
    if end.is_final and signed.header[310:] != bytes(32) and record.last_epoch == 0:
        end.put(SUCCESSION, b"", replace(record, last_epoch=end.epoch - 1))


def _expect_absences(end: End, attested: list[int]) -> None:
    for place, seat in enumerate(end.get(SETS).current):
        row = end.get(ABSENCES, seat.list_key)
        count = row.count if row else 0
        if count > end.params.absences_most:
            continue
        end.drop(ABSENCES, seat.list_key)
        moved = count - 1 if place in attested else count + 1
        if moved > 0:
            end.put(ABSENCES, seat.list_key, Absence(moved))


def expect_verdicts(end: End) -> None:
    """Verdicts of the epoch before are counted; who is named is down, or gone."""
    judged = end.epoch - 1
    changed_ms = end.get(PARAMS).changed_ms
    is_grace = changed_ms > 0 and end.time_ms - changed_ms < end.params.grace_ms
    for place, verdict in list(end.rows(VERDICTS)):
        key = place[8:]
        if place[:8] != at(judged):
            continue
        end.drop(VERDICTS, place)
        if key in map(public, end.expected.void):
            continue
        if verdict.faults:
            _expect_failing(end, key, judged, is_grace)
        elif end.get(NODES, key).state == QUEUED:
            end.change(key, passed=1)
    for key, failing in list(end.rows(FAILING)):
        if end.get(NODES, key).state == ACTIVE and failing.newest != judged:
            end.drop(FAILING, key)
    for name in end.expected.down:
        _expect_down(end, name)
    for name in end.expected.removed:
        end.leave(name, DEREGISTERED, end.params.lock_ms)


def _expect_failing(end: End, key: bytes, judged: int, is_grace: bool) -> None:
    before, is_down = end.get(FAILING, key), end.get(NODES, key).state == DECOMMISSIONED
    count = before.count if before and (is_down or before.newest == judged - 1) else 0
    end.put(FAILING, key, Failing(count + (not (is_down and is_grace)), judged))


def _expect_down(end: End, name: str) -> None:
    end.stop_earning(name)
    node = end.get(NODES, public(name))
    earned_ms = (end.time_ms - node.since_ms) * 24 // 720
    credit_ms = min(end.params.credit_most_ms, node.credit_ms + earned_ms)
    end.change(name, credit_ms=credit_ms, tested_from=end.epoch + 1)
    end.enter(name, DECOMMISSIONED)
    end.put(FAILING, public(name), Failing(0, end.epoch))
    end.drop(SWARMS, public(name))
    end.drop(EXITS, at(node.exit_ms, public(name)))


def expect_rewards(end: End) -> None:
    """Those earn whose time has come, and each gets an equal share of what the epoch pays."""
    for place, row in list(end.rows(MATURES)):
        if place[:8] <= at(end.time_ms):
            end.drop(MATURES, place)
            node = end.get(NODES, row.node)
            if node is not None and node.state == ACTIVE and not node.earning:
                end.start_earning(row.node)
    pool, params = end.get(POOL), end.params
    paid = pool.balance * params.reward_rate * params.epoch_ms // (WHOLE * YEAR_MS)
    share = paid // pool.earning if pool.earning else 0
    all_shares = share * pool.earning
    end.add_to_pool(balance=-all_shares, accrued=all_shares, accumulator=share)
    after = end.get(POOL)
    end.archived[b"E" + at(end.epoch)] = encode(
        EpochRow(end.height, end.time_ms, share, pool.earning, after.balance, after.accumulator)
    )


def expect_exits(end: End) -> None:
    """Who is named has left its duty; who was not active yet is gone."""
    for name in end.expected.exited:
        end.leave(name, EXITED, end.params.unbonding_ms)
    for name in end.expected.banned:
        end.leave(name, TOMBSTONED, end.params.lock_ms)
    for name in end.expected.refunded:
        end.drop(EXITS, at(end.get(NODES, public(name)).exit_ms, public(name)))
        end.drop_place(name)
        end.give_back(name)


def expect_payouts(end: End) -> None:
    """Who is named has its stake back."""
    for name in end.expected.paid:
        end.give_back(name)
        for place, row in list(end.rows(PAYOUTS)):
            if row.node == public(name):
                end.drop(PAYOUTS, place)


def expect_contacts(end: End) -> None:
    """Contact data that waited is in force; who is queued has to pass there anew."""
    for key, pending in list(end.rows(PENDING)):
        end.drop(PENDING, key)
        end.put(CONTACTS, key, pending.contact)
        node = end.get(NODES, key)
        if node.state == QUEUED:
            end.change(key, passed=0, tested_from=max(node.tested_from, end.epoch + 1))


def expect_keys(end: End) -> None:
    """Role keys that waited are in force, and a new tip begins a chain."""
    for key, change in list(end.rows(NEW_KEYS)):
        end.drop(NEW_KEYS, key)
        node = end.get(NODES, key)
        if change.duty_key != node.duty_key:
            end.change(key, former_duty_key=node.duty_key, keys_epoch=end.epoch + 1)
        kept_tip = node.list_tip if change.list_key == node.list_key else b""
        end.change(
            key,
            duty_key=change.duty_key,
            list_key=change.list_key,
            list_tip=change.list_tip or kept_tip,
            consensus_key=change.consensus_key,
        )
        stood = node.list_key and node.consensus_key
        stays = change.list_key == node.list_key or key in holders(end, end.get(SETS).current)
        if change.list_key and change.consensus_key and not (stood and stays):
            end.change(key, stands_ms=end.time_ms)
        if change.list_tip:
            end.put(CHAINLINKS, change.list_key, Chainlink(change.list_tip, 0))


def expect_activations(end: End) -> None:
    """Who is named is active, again or for the first time."""
    for name in end.expected.back:
        failing = end.get(FAILING, public(name)).count
        node = end.get(NODES, public(name))
        left_ms = node.credit_ms - 2 * failing * end.params.epoch_ms
        end.change(name, credit_ms=max(0, left_ms), tested_from=end.epoch + 1)
        end.enter(name, ACTIVE)
        end.drop(FAILING, public(name))
        if node.payable_from_ms <= end.time_ms:
            end.start_earning(name)
        if node.exit_ms:
            end.put(EXITS, at(node.exit_ms, public(name)), Due(public(name)))
    for name in end.expected.joined:
        _expect_joined(end, name)


def _expect_joined(end: End, name: str) -> None:
    end.drop_place(name)
    from_ms = end.time_ms + end.params.payable_ms
    end.enter(name, ACTIVE)
    end.change(
        name,
        passed=0,
        tested_from=end.epoch + 1,
        activated_ms=end.time_ms,
        payable_from_ms=from_ms,
        credit_ms=end.params.credit_start_ms,
    )
    if end.params.payable_ms == 0:
        end.start_earning(name)
    else:
        end.put(MATURES, at(from_ms, public(name)), Due(public(name)))


def expect_swarms(end: End) -> None:
    """Who has joined or come back has a swarm, by the slow rules."""
    swarm_of = {key: row.swarm_id for key, row in end.rows(SWARMS)}
    for name in (*end.expected.back, *end.expected.joined):
        swarm_of[public(name)] = swarms_reference.UNASSIGNED
    seed = int.from_bytes(end.seed[:8], "little")
    for key, swarm_id in swarms_reference.reassign(swarm_of, seed).items():
        end.put(SWARMS, key, Swarm(swarm_id))
    moves = []
    for place in sorted({key for key in (*end.before, *end.after) if key[:1] == SWARMS.letter}):
        rows = (end.before.get(place), end.after.get(place))
        before, after = (row.swarm_id if isinstance(row, Swarm) else 2**64 - 1 for row in rows)
        moves += [SwarmMove(place[1:], before, after)] if before != after else []
    end.archived[b"S" + at(end.epoch)] = encode(SwarmRow(tuple(moves)))


def holders(end: End, members: Sequence[Attestor]) -> dict[bytes, bytes]:
    """The nodes whose keys have these seats, each with its list key."""
    return {end.get(BINDINGS, member.list_key).node: member.list_key for member in members}


def expect_attestors(end: End) -> None:
    """The sets are what the case says, and the chains that they bring begin.

    Who has no seat any more stands anew; who has it under another list key missed what it missed.
    """
    before = holders(end, end.get(SETS).current)
    end.put(SETS, b"", replace(end.get(SETS), **end.expected.sets))
    after = holders(end, end.get(SETS).current)
    for key, list_key in before.items():
        node = end.after.get(NODES.letter + key)
        absence = end.after.get(ABSENCES.letter + list_key)
        is_on_duty = isinstance(node, Node) and node.state in (ACTIVE, DECOMMISSIONED)
        if key not in after and is_on_duty:
            end.change(key, stands_ms=end.time_ms)
        if after.get(key, list_key) != list_key and absence is not None:
            end.put(ABSENCES, after[key], absence)
    for key, tip in end.expected.tips.items():
        end.put(CHAINLINKS, key, Chainlink(tip, 0))
    for name in end.expected.delayed:
        for place, row in list(end.rows(PAYOUTS)):
            if row.node == public(name):
                end.drop(PAYOUTS, place)
        end.put(PAYOUTS, at(end.time_ms + end.params.unbonding_ms, public(name)), Due(public(name)))


def expect_validators(end: End) -> None:
    """Under validators each seat has the key that the case says, or the one that it had."""
    record = end.get(VALIDATORS)
    if record is None:
        assert not end.expected.validators
        return
    keys = {row.list_key: row.consensus_key for row in record.seats} | dict(end.expected.validators)
    seats = end.get(SETS).current
    assert set(end.expected.validators) <= {seat.list_key for seat in seats}
    rows = tuple(Validator(seat.list_key, keys[seat.list_key]) for seat in seats)
    end.put(VALIDATORS, b"", Validators(rows))


def expect_params(end: End) -> None:
    """Parameters that were announced are in force, if the case says so."""
    if end.expected.rules:
        values = end.get(PARAMS).next
        end.put(PARAMS, b"", ParamsState(values, end.time_ms, (), 0))
        end.params = Params(*values)


def expect_forgotten(end: End) -> None:
    """What is known of keys without a seat is only that they missed too much."""
    seated = [seat.list_key for seat in end.get(SETS).current]
    for key, row in list(end.rows(ABSENCES)):
        if key not in seated and row.count <= end.params.absences_most:
            end.drop(ABSENCES, key)


def expect_roster(end: End) -> None:
    """Who has a swarm may test in the next epoch; two rosters are kept."""
    members = b"".join(key + end.get(NODES, key).operator for key, _ in end.rows(SWARMS))
    params = end.params
    roster = Roster(end.seed, params.quorum_testers, params.quorum_threshold, members)
    end.put(ROSTERS, at(end.epoch + 1), roster)
    end.drop(ROSTERS, at(end.epoch - 1))


def expect_start(end: End) -> None:
    """The next epoch's start is there; gone is who ended before the age of evidence."""
    end.put(STARTS, at(end.epoch + 1), EpochStart(end.time_ms))
    rows = list(end.rows(STARTS))
    for (key, _), (_, following) in pairwise(rows):
        if following.start_ms <= end.time_ms - end.params.evidence_ms:
            end.drop(STARTS, key)


RUNNERS: Final[dict[str, Callable[[End], None]]] = {
    "apply_seed": expect_seed,
    "freeze_attestations": expect_frozen,
    "apply_verdicts": expect_verdicts,
    "pay_rewards": expect_rewards,
    "apply_exits": expect_exits,
    "apply_payouts": expect_payouts,
    "apply_contacts": expect_contacts,
    "apply_keys": expect_keys,
    "apply_activations": expect_activations,
    "apply_swarms": expect_swarms,
    "apply_attestors": expect_attestors,
    "apply_validators": expect_validators,
    "apply_params": expect_params,
    "forget_absences": expect_forgotten,
    "write_roster": expect_roster,
    "write_start": expect_start,
}


def expect_header(end: End) -> None:
    """The draft is that of exactly the state that is expected, and the next epoch runs."""
    state = State(MemoryStore({key: encode(record) for key, record in end.after.items()}))
    built = run(build_list(state))
    draft = draft_header(state, built, end.epoch, end.height, end.time_ms, end.seed)
    end.put(DRAFT, b"", RawHeader(draft))
    end.put(EPOCH, b"", EpochState(end.epoch + 1, end.time_ms, end.height, end.seed))


def run_end(network: Network, late_ms: int = 0, **expected: Any) -> None:
    """End the running epoch, `late_ms` after its time, and compare everything with the sheet."""
    end = End(network, late_ms, Expected(**expected))
    for runner in RUNNERS.values():
        runner(end)
    expect_header(end)
    executed = network.block(ms=end.time_ms - network.chain.tip.time_ms)
    assert executed.ended_epoch
    assert executed.validators == new_validators(end)
    after = network.dump()
    assert named(changes(end.before, after)) == named(changes(end.before, end.after))
    assert coins(after) == coins(end.before)
    assert executed.root == sparse_root(build_tree(network.store.items(STATE_START, STATE_STOP)))
    assert {key: network.store.get(key) for key in end.archived} == end.archived


def new_validators(end: End) -> tuple[bytes, ...] | None:
    """The consensus keys that an engine has to be told at this end; None if they stay."""
    before, after = end.before.get(VALIDATORS.letter), end.after.get(VALIDATORS.letter)
    if not isinstance(before, Validators) or not isinstance(after, Validators):
        return None
    old, new = (sorted(row.consensus_key for row in record.seats) for record in (before, after))
    return None if old == new else tuple(new)


def named(rows: Mapping[bytes, Record | None]) -> dict[str, Record | None]:
    """Records by their table's letter and their key in hex, so that a failure can be read."""
    return {f"{key[:1].decode()} {key[1:].hex()}": row for key, row in rows.items()}
