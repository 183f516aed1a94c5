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


if Params._fields != tuple(row.name for row in PARAMETERS):
    raise Misuse("Params and PARAMETERS name different parameters")


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
    ]
