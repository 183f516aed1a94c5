"""Where all lives begin, and who takes part in them.

PARAMS, OTHER_PARAMS      times of a few epochs each; what orders change
make_world                the genesis file
NAMES, PLAYERS, …         nodes, people and seats, by name
WHO, NUMBER, ENVELOPE     what a rule draws
pick, rarely              what a number means
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final, TypeVar

from hypothesis import strategies as st

from ledger.messages.genesis import COMET, FIXED, Genesis, GenesisAccount
from tests.factory import FEE, PEOPLE, founding, make_genesis, public

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
    "founders_until": 3,
    "absences_most": 3,
}
"""Everything that takes time takes a few epochs."""
OTHER_PARAMS: Final[tuple[dict[str, int], ...]] = (
    {"quorum_testers": 4, "quorum_threshold": 3},
    {"unbonding_ms": 70_000, "payable_ms": 0},
    {"vote_penalty": 1_200, "minimum_fee": FEE - 1},
    {"activation_verdict": 0, "max_contributors": 3},
    {"epoch_ms": EPOCH_MS + 1},
    {"unbonding_ms": 61_000},
    {"quorum_testers": 1},
)
"""What orders change; the last three are refused."""

LEAST_STAKE: Final = -(-REQUIREMENT // 4)
PLAYERS: Final = PEOPLE[:6]
STRANGER: Final = "a stranger"
FOUNDERS: Final = tuple(f"founder {number}" for number in range(9))
NAMES: Final = (*FOUNDERS, *(f"node {number}" for number in range(50)))
"""More than can be lost for good in one life."""
NAME_OF: Final = {public(name): name for name in NAMES}
PERSON_OF: Final = {public(who): who for who in (*PLAYERS, STRANGER)}
ATTESTORS: Final = ("attestor 0", "attestor 1", "attestor 2")
SPARE: Final = ("spare 0", "spare 1", "spare 2")
RECOVERY: Final = ("recovery 0", "recovery 1")
WAITS_MS: Final = (1, 100, 5_000, EPOCH_MS, 70_000)
TOO_MUCH: Final = 2**63 - 1

WELL, ILL, SILENT = "well", "ill", "silent"
"""How a node fares: its testers pass it, fail it, or say nothing."""


@cache
def make_world(policy: int = FIXED) -> Genesis:
    """Nine founding nodes of six operators, three attestors, and validators who may be caught.

    `policy` says whether attestors order their set, or nodes take their turns.
    """
    rows = [
        row
        for place, name in enumerate(FOUNDERS)
        for row in founding(name, operator=PLAYERS[place % len(PLAYERS)])
    ]
    return make_genesis(
        PARAMS,
        engine=COMET,
        producer=b"",
        policy=policy,
        pool=10**12,
        recovery=tuple(sorted(map(public, RECOVERY))),
        accounts=tuple(GenesisAccount(key, 10**8) for key in sorted(map(public, PLAYERS))),
        nodes=tuple(sorted(rows, key=lambda row: row.node)),
    )


ODD: Final[tuple[dict[str, Any], ...]] = (
    *[{}] * 42,
    {"nonce": 0},
    {"nonce": 99},
    {"fee": FEE - 1},
    {"fee": 10**9},
    {"expiry": 0},
    {"expiry": 10**6},
)
"""What may be wrong with an envelope; mostly nothing."""

WHO: Final = st.sampled_from((*4 * PLAYERS, STRANGER))
NUMBER: Final = st.integers(0, 255)
ENVELOPE: Final = st.sampled_from(ODD)


def pick(rows: Sequence[T], number: int) -> T:
    """One of some rows."""
    return rows[number % len(rows)]


def rarely(number: int, one_in: int) -> bool:
    """Whether this is one of the numbers, never 0, for which something goes wrong."""
    return number % one_in == one_in - 1
