"""Who lives in the network: nodes with their operators; and the genesis file they begin with."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.messages.contact import Contact
from ledger.messages.genesis import (
    COMET,
    GENESIS_VERSION,
    NEW_SWARM,
    Genesis,
    GenesisAccount,
    GenesisAttestor,
    GenesisNode,
)
from ledger.types import Epoch, Hash, Key
from tests.factory import make_contact, public
from tests.simulation.plan import (
    ATTESTORS,
    COLLUDING,
    CONTRIBUTORS,
    GROUPS,
    LATECOMERS,
    POOL,
    RECOVERY,
    RICH,
    SEAT_WEIGHT,
    START_MS,
    WATCHERS,
    Group,
    Plan,
)

DOWN: Final = "down"
CAPTURED: Final = "captured"
BUG: Final = "bug"
"""Why a node got a failing verdict: it was down, colluders had its quorum, or of the bug."""


@dataclass
class Machine:
    """One node, as its operator knows it."""

    name: str
    group: str
    place: int
    """Its number in its group; of those that collude the first ones do so first."""
    operator: str
    key: Key
    down_until: Epoch = 0
    """First epoch in which it is up again."""
    idle_until: Epoch = 0
    """First epoch in which its operator registers it, if it has no life."""
    generation: int = 0
    """Role keys made so far."""
    is_gone: bool = False
    """Whether its key is tombstoned: it never returns."""
    replaced: int = 0
    """How many nodes had its place before it."""
    fails: dict[Epoch, str] = field(default_factory=dict)
    """Why it got the failing verdicts of the last epochs."""
    wrongs: dict[str, int] = field(default_factory=dict)
    """Failing verdicts by reason since it was decommissioned."""
    held: int = 0
    """Epochs running for which it is healthy, decommissioned, and nobody failed it."""
    attacked: Epoch = 0
    """Last epoch in which colluders might have captured its quorum."""
    likely: float = 0.0
    """Chance that they did then."""

    def is_up(self, epoch: Epoch) -> bool:
        """Whether it works in an epoch."""
        return self.down_until <= epoch


def make_machines(plan: Plan) -> list[Machine]:
    """Return every node of a plan, group by group."""
    return [make_machine(group, place) for group in GROUPS for place in range(plan.count(group))]


def make_machine(group: Group, place: int, replaced: int = 0) -> Machine:
    """Return a node that has no life yet."""
    name = f"{group.name} {place}.{replaced}" if replaced else f"{group.name} {place}"
    operator = f"{group.name} operator {place // group.each}"
    return Machine(name, group.name, place, operator, public(name), replaced=replaced)


def contact_of(number: int) -> Contact:
    """Return contact data with one of some thousand addresses."""
    return make_contact(1 + number % 250, storage_port=20_000 + number // 250 % 1_000)


def is_founder(machine: Machine) -> bool:
    """Whether a node is active from the start."""
    return machine.group == COLLUDING or machine.place % LATECOMERS != LATECOMERS - 1


@lru_cache(maxsize=64)
def links(list_key: Key, generation: int, length: int) -> tuple[Hash, ...]:
    """Return a hash chain: each value is the SHA-256 of the one before, the last is the tip."""
    values = [sha256(b"links" + list_key + bytes([generation]))]
    for _ in range(length):
        values.append(sha256(values[-1]))
    return tuple(values)


def make_genesis(plan: Plan, machines: list[Machine]) -> bytes:
    """Return the genesis file of a plan."""
    operators = {machine.operator: None for machine in machines}
    accounts = [*operators, *CONTRIBUTORS, *WATCHERS]
    founders = sorted(filter(is_founder, machines), key=lambda machine: machine.key)
    return encode(
        Genesis(
            version=GENESIS_VERSION,
            name=b"simulation",
            start_ms=START_MS,
            engine=COMET,
            producer=b"",
            policy=plan.policy,
            seed=sha256(b"seed %d" % plan.seed),
            params=tuple(plan.params),
            pool=POOL,
            attestors=tuple(
                GenesisAttestor(
                    public(name),
                    SEAT_WEIGHT,
                    links(public(name), 0, plan.epochs + 9)[-1],
                    public(f"{name} consensus"),
                )
                for name in sorted(ATTESTORS, key=public)
            ),
            recovery=tuple(sorted(map(public, RECOVERY))),
            accounts=tuple(GenesisAccount(key, RICH) for key in sorted(map(public, accounts))),
            nodes=tuple(
                GenesisNode(
                    node=machine.key,
                    operator=public(machine.operator),
                    duty_key=public(f"{machine.name} duty 0"),
                    contact=contact_of(place),
                    swarm_id=NEW_SWARM,
                    exit_ms=0,
                )
                for place, machine in enumerate(founders)
            ),
        )
    )
