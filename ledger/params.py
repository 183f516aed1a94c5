"""The numbers of a network: one table with unit, range and the value of each preset.

A genesis file holds the values in the order of `PARAMETERS`; new rows go to the end. Durations are
milliseconds of block time, amounts atomic units, shares parts of 10,000.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from ledger.errors import Misuse, Refusal
from ledger.types import BASIS_POINTS, COIN, MAX_AMOUNT

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

PRESETS: Final = ("mainnet", "testnet", "minimal")
"""Names of the ready-made columns of the table, in the order of `Parameter.presets`."""


class Parameter(NamedTuple):
    """One row: what a number means and which values it may take."""

    name: str
    unit: str
    low: int
    high: int
    presets: tuple[int, int, int]
    """Values of mainnet, testnet, minimal."""
    meaning: str


PARAMETERS: Final = (
    Parameter("block_ms", "ms", 100, HOUR, (10 * SECOND, 5 * SECOND, SECOND),
              "time from one block to the next, as engines aim for"),
    Parameter("epoch_ms", "ms", SECOND, 30 * DAY, (30 * MINUTE, 5 * MINUTE, 10 * SECOND),
              "shortest length of an epoch; it ends with the first block that is this much later"),
    Parameter("max_block_bytes", "bytes", 1_000, 2**24, (2_000_000, 2_000_000, 2_000_000),
              "transactions of one block, together"),
    Parameter("max_block_transactions", "transactions", 1, 100_000, (5_000, 5_000, 5_000),
              "transactions of one block"),
    Parameter("max_free_transactions", "transactions", 1, 100_000, (1_000, 1_000, 1_000),
              "transactions of one block that pay no fee"),
    Parameter("max_transaction_bytes", "bytes", 500, 65_536, (16_384, 16_384, 16_384),
              "one transaction"),
    Parameter("max_lifetime_blocks", "blocks", 1, 1_000_000, (8_640, 17_280, 3_600),
              "how far ahead of the chain a transaction may expire"),
    Parameter("minimum_fee", "atomic units", 0, COIN, (COIN // 1_000, COIN // 1_000, 1_000),
              "least fee of a transaction that pays one"),
    Parameter("staking_requirement", "atomic units", 10, MAX_AMOUNT,
              (25_000 * COIN, 100 * COIN, 100 * COIN),
              "stake of a fully funded node, fixed for the node when it registers"),
    Parameter("max_contributors", "accounts", 1, 10, (10, 10, 10),
              "accounts that share the stake of one node, its operator included"),
    Parameter("operator_share", "1/10000", 1, BASIS_POINTS, (2_500, 2_500, 2_500),
              "least part of the requirement that the operator stakes himself"),
    Parameter("registration_ms", "ms", MINUTE, 365 * DAY, (14 * DAY, 14 * DAY, 14 * DAY),
              "how far ahead of the chain a registration may expire"),
    Parameter("activation_floor", "nodes", 1, 100_000, (20, 20, 50),
              "nodes that one epoch may always activate"),
    Parameter("activation_share", "1/10000", 0, BASIS_POINTS, (200, 200, 1_000),
              "part of the active nodes that one epoch may activate, if that is more"),
    Parameter("attest_blocks", "blocks", 1, 100_000, (60, 30, 8),
              "blocks of an epoch that take attestations of the header before it"),
    Parameter("fresh_ms", "ms", 2 * SECOND, 30 * DAY, (3 * HOUR, 30 * MINUTE, MINUTE),
              "how long a list counts as fresh"),
    Parameter("valid_ms", "ms", 10 * SECOND, 90 * DAY, (7 * DAY, 2 * DAY, HOUR),
              "how long a list may be used at all"),
    Parameter("trust_ms", "ms", MINUTE, 365 * DAY, (12 * DAY, 2 * DAY, 2 * DAY),
              "how long a verified header vouches for the next one"),
    Parameter("report_margin_ms", "ms", SECOND, 30 * DAY, (DAY, 12 * HOUR, 12 * HOUR),
              "time in which a forged header is noticed and reported"),
    Parameter("evidence_ms", "ms", MINUTE, 365 * DAY, (14 * DAY, 3 * DAY, 3 * DAY),
              "how old an offence may be that is still punished"),
    Parameter("unbonding_ms", "ms", MINUTE, 730 * DAY, (15 * DAY, 4 * DAY, 4 * DAY),
              "from a node's last epoch of duty to the payout of its stake"),
    Parameter("allow_loopback", "0 or 1", 0, 1, (0, 0, 1),
              "whether nodes may have addresses that only their own machine reaches"),
    Parameter("reservation_ms", "ms", MINUTE, 365 * DAY, (7 * DAY, DAY, 10 * MINUTE),
              "how long a reserved place is kept; after that it is open to everybody"),
    Parameter("contributor_wait_ms", "ms", 0, 365 * DAY, (30 * DAY, 2 * DAY, MINUTE),
              "from a node's activation until any contributor may ask it to leave"),
    Parameter("lock_ms", "ms", MINUTE, 730 * DAY, (30 * DAY, 8 * DAY, 8 * DAY),
              "from a node's deregistration or tombstone to the payout of its stake"),
    Parameter("quorum_testers", "nodes", 1, 32, (20, 10, 5),
              "nodes that test one node in an epoch"),
    Parameter("quorum_threshold", "nodes", 1, 32, (14, 7, 4),
              "testers that have to agree for a verdict"),
    Parameter("activation_verdict", "0 or 1", 0, 1, (1, 1, 0),
              "whether a node needs a passing verdict to become active"),
    Parameter("credit_start_ms", "ms", 0, 30 * DAY, (2 * HOUR, 30 * MINUTE, 40 * SECOND),
              "uptime credit of a node that becomes active"),
    Parameter("credit_most_ms", "ms", 0, 90 * DAY, (48 * HOUR, 12 * HOUR, 10 * MINUTE),
              "uptime credit that a node has at most"),
    Parameter("removal_floor", "nodes", 0, 100_000, (3, 3, 5),
              "nodes that one epoch may always decommission or deregister, together"),
    Parameter("removal_share", "1/10000", 0, BASIS_POINTS, (100, 100, 1_000),
              "part of the active nodes that one epoch may so remove, if that is more"),
    Parameter("grace_ms", "ms", 0, 90 * DAY, (7 * DAY, DAY, MINUTE),
              "time after a change of rules in which verdicts remove nobody"),
    Parameter("payable_ms", "ms", 0, 30 * DAY, (DAY, 2 * HOUR, 10 * SECOND),
              "from the first activation of a node's life until it earns rewards"),
    Parameter("reward_rate", "1/10000", 0, BASIS_POINTS, (1_510, 1_510, 1_510),
              "part of the pool that is paid as rewards in a year"),
    Parameter("vote_penalty", "1/10000", 0, BASIS_POINTS, (100, 100, 100),
              "part of the stake that two contradicting votes cost"),
    Parameter("list_penalty", "1/10000", 0, BASIS_POINTS, (2_000, 2_000, 2_000),
              "part of the stake that two contradicting list headers cost"),
    Parameter("block_penalty", "1/10000", 0, BASIS_POINTS, (1_000, 1_000, 1_000),
              "part of the stake that two contradicting blocks cost"),
    Parameter("stake_floor", "1/10000", 0, BASIS_POINTS, (9_000, 9_000, 9_000),
              "part of its requirement that a node must keep after a penalty, or it has to leave"),
    Parameter("bounty_share", "1/10000", 0, BASIS_POINTS // 2, (500, 500, 500),
              "the reporter's part of what an operator's own stake lost"),
    Parameter("bounty_cap", "atomic units", 0, MAX_AMOUNT, (250 * COIN, COIN, COIN),
              "most that a reporter gets"),
    Parameter("set_change_ms", "ms", 0, 365 * DAY, (7 * DAY, DAY, MINUTE),
              "least time from one change of the attestors to the next"),
    Parameter("founders_until", "nodes", 1, 25, (7, 4, 4),
              "nodes that have to stand for a seat before they take over from the founders"),
    Parameter("absences_most", "headers", 1, 100_000, (144, 72, 12),
              "headers that a seat may miss, beyond those that it attested, before it is lost"),
)  # fmt: skip
"""Every parameter. A test holds `genesis/README.md` equal to this table."""


class Params(NamedTuple):
    """The values of a network, by name; units and ranges stand in `PARAMETERS`."""

    block_ms: int
    epoch_ms: int
    max_block_bytes: int
    max_block_transactions: int
    max_free_transactions: int
    max_transaction_bytes: int
    max_lifetime_blocks: int
    minimum_fee: int
    staking_requirement: int
    max_contributors: int
    operator_share: int
    registration_ms: int
    activation_floor: int
    activation_share: int
    attest_blocks: int
    fresh_ms: int
    valid_ms: int
    trust_ms: int
    report_margin_ms: int
    evidence_ms: int
    unbonding_ms: int
    allow_loopback: int
    reservation_ms: int
    contributor_wait_ms: int
    lock_ms: int
    quorum_testers: int
    quorum_threshold: int
    activation_verdict: int
    credit_start_ms: int
    credit_most_ms: int
    removal_floor: int
    removal_share: int
    grace_ms: int
    payable_ms: int
    reward_rate: int
    vote_penalty: int
    list_penalty: int
    block_penalty: int
    stake_floor: int
    bounty_share: int
    bounty_cap: int
    set_change_ms: int
    founders_until: int
    absences_most: int


if Params._fields != tuple(row.name for row in PARAMETERS):
    raise Misuse("Params and PARAMETERS name different parameters")


NEVER_CHANGE: Final = ("epoch_ms", "trust_ms", "evidence_ms")
"""Parameters that clients and locked stake rely on: no order changes them."""

ONLY_GROW: Final = ("max_transaction_bytes", "unbonding_ms")
"""Parameters that an order may only raise: a verdict, a report and an order that had room once have
it for ever, and stake is never locked for less."""


def check_fixed(before: Params, after: Params) -> None:
    """Check that parameters differ only as far as they may. Refuses with `parameter_fixed`."""
    for name in NEVER_CHANGE:
        if getattr(after, name) != getattr(before, name):
            raise Refusal("parameter_fixed", name=name, value=getattr(before, name))
    for name in ONLY_GROW:
        if getattr(after, name) < getattr(before, name):
            raise Refusal("parameter_fixed", name=name, value=getattr(before, name))


def preset(name: str, changes: Mapping[str, int] | None = None) -> Params:
    """Return the values of a preset with `changes` by name.

    Refuses with `bad_parameter` and `bad_relation`; an unknown name is a `Misuse`.
    """
    if name not in PRESETS:
        raise Misuse(f"there is no preset {name}: {', '.join(PRESETS)}")
    values = {row.name: row.presets[PRESETS.index(name)] for row in PARAMETERS}
    for key, value in (changes or {}).items():
        if key not in values:
            raise Misuse(f"there is no parameter {key}")
        values[key] = value
    return validate_params(values.values())


def validate_params(values: Iterable[int]) -> Params:
    """Return the values as `Params` if each is in range and they fit together.

    Refuses with `bad_genesis` (another number of values), `bad_parameter` and `bad_relation`.
    """
    numbers = tuple(values)
    if len(numbers) != len(PARAMETERS):
        raise Refusal("bad_genesis", why=f"{len(PARAMETERS)} parameters are needed")
    for row, value in zip(PARAMETERS, numbers, strict=True):
        if not row.low <= value <= row.high:
            raise Refusal("bad_parameter", name=row.name, value=value, low=row.low, high=row.high)
    params = Params(*numbers)
    for holds, why in _relations(params):
        if not holds:
            raise Refusal("bad_relation", why=why)
    return params


def _relations(p: Params) -> list[tuple[bool, str]]:
    """Every relation between parameters, with the sentence that says what it protects."""
    return [
        (p.block_ms <= p.epoch_ms, "an epoch lasts at least one block"),
        (p.attest_blocks * p.block_ms <= p.epoch_ms, "attestations end with the epoch at last"),
        (p.max_transaction_bytes <= p.max_block_bytes, "a block has room for one transaction"),
        (p.epoch_ms <= p.fresh_ms, "a list is fresh at least until the next one"),
        (p.fresh_ms <= p.valid_ms, "a list is valid at least while it is fresh"),
        (p.valid_ms <= p.trust_ms, "a list is not valid for longer than it is trusted"),
        (p.trust_ms + p.report_margin_ms <= p.evidence_ms, "a forger can be reported in time"),
        (p.evidence_ms < p.unbonding_ms, "stake is still locked when an offence is reported"),
        (p.unbonding_ms <= p.lock_ms, "who is removed is not paid sooner than who leaves"),
        (p.quorum_threshold <= p.quorum_testers, "a quorum can reach a verdict"),
        (
            p.quorum_testers < 2 * p.quorum_threshold,
            "a quorum cannot reach two verdicts that contradict",
        ),
        (p.credit_start_ms <= p.credit_most_ms, "a new node's credit is not above the most"),
    ]
