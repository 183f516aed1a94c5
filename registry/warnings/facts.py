"""What services say of nodes and the network, as plain values.

Nothing here is believed, but everything has a type and a bound: no text of a stranger gets into a
message that is not a name, a number or an address.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from ledger.messages.state import (
    ACTIVE,
    AWAITING,
    DECOMMISSIONED,
    GONE,
    NODE_STATES,
    QUEUED,
)

T = TypeVar("T")

U63: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Word: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9 _.-]{0,63}\Z")]
"""A name, such as that of a state, a fault or a network."""
Units: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,19}\Z")]
"""Atomic units, or a parameter's value, as a decimal string."""
HexHash: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
NodeAddress: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^wpn1[0-9a-z]{58,60}\Z")]
AccountAddress: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^wpa1[0-9a-z]{58,60}\Z")]
IpAddress: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f.:]{2,45}\Z")]
Port: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=65_535)]

NAME_OF: Final = NODE_STATES
TESTED: Final = (NAME_OF[QUEUED], NAME_OF[ACTIVE], NAME_OF[DECOMMISSIONED])
"""States in which others test a node, so that its agent has to run."""
ENDED: Final = tuple(NAME_OF[state] for state in GONE)
"""States of a node whose duty is over."""
UNFUNDED: Final = (NAME_OF[AWAITING], NAME_OF[QUEUED])
"""States in which everybody gets his stake back if the node is given up."""


class Unreadable(ValueError):
    """A service answers in another way than this program expects."""


class Removal(msgspec.Struct, frozen=True):
    """How far a node is from being taken off duty, if each verdict to come fails."""

    threat: Word
    failing_epochs: U63
    failing_epochs_needed: U63
    failing_epochs_left: U63
    """Epochs that still have to fail; 0 once verdicts that wait are enough."""
    time_left_ms: U63


class Verdict(msgspec.Struct, frozen=True):
    """What testers found of a node in an epoch."""

    epoch: U63
    failed: bool
    faults: tuple[Word, ...]


class Contact(msgspec.Struct, frozen=True):
    """Where the ledger says that a node is reached."""

    ipv4: IpAddress | None
    ipv6: IpAddress | None
    storage_port: Port
    router_port: Port

    def __str__(self) -> str:
        addresses = " and ".join(text for text in (self.ipv4, self.ipv6) if text)
        return f"{addresses}, storage port {self.storage_port}, router port {self.router_port}"


class NodeFacts(msgspec.Struct, frozen=True):
    """One node, as a service shows it."""

    key: NodeAddress
    state: Word
    since_ms: U63
    since_height: U63
    life: U63
    operator: AccountAddress
    contact: Contact
    staked: Units
    credit_ms: U63 | None
    claimable: Units
    penalties_taken: Units
    tombstoned: bool
    exit_ms: U63 | None
    payout_ms: U63 | None
    removal: Removal | None
    verdicts: tuple[Verdict, ...]
    """The newest first."""
    checked_in_ms: U63 | None = None
    """When its agent last checked in, since the service started; None if it did not."""
    agent_faults: tuple[Word, ...] | None = None
    """What its agent sees of it."""

    @property
    def newest_failure(self) -> Verdict | None:
        """The newest verdict, if it failed."""
        newest = self.verdicts[0] if self.verdicts else None
        return newest if newest is not None and newest.failed else None


class Header(msgspec.Struct, frozen=True):
    """A list, in a few numbers."""

    epoch: U63
    height: U63
    valid_after_ms: U63
    fresh_until_ms: U63
    valid_until_ms: U63


class NetworkFacts(msgspec.Struct, frozen=True):
    """The network, as a service shows it."""

    chain: Word
    genesis_hash: HexHash
    height: U63
    time_ms: U63
    """Time of the newest block."""
    epoch: U63
    epoch_ms: U63
    block_ms: U63
    newest_header: Header
    latest_final: Header | None


class Parameter(msgspec.Struct, frozen=True):
    """A parameter, in force and announced."""

    name: Word
    value: Units
    next: Units | None


class Rules(msgspec.Struct, frozen=True):
    """What orders change."""

    parameters: tuple[Parameter, ...]
    parameters_from_ms: U63 | None
    successor: HexHash | None
    successor_from_ms: U63 | None

    def value_of(self, name: str) -> int | None:
        """Return the value of a parameter, None if there is none of that name."""
        return next((int(row.value) for row in self.parameters if row.name == name), None)


class Versions(msgspec.Struct, frozen=True):
    """Versions of the newest list's header."""

    format_version: U63
    rules_version: U63
    next_format: U63


class Seen(NamedTuple):
    """What one service answered in a round."""

    network: NetworkFacts
    rules: Rules
    versions: Versions
    nodes: Mapping[str, NodeFacts | None]
    """By address; None for one that it does not know."""


class Failed(NamedTuple):
    """That a service gave no answer of use."""

    why: str


class Proven(NamedTuple):
    """What a verified header proves of a node."""

    epoch: int
    height: int
    """Last block of that epoch."""
    state: str
    """Empty if no such node is registered."""
    life: int


def read(answer: Any, shape: type[T]) -> T:
    """Return what of an answer `shape` names. Raises `Unreadable`."""
    try:
        return msgspec.convert(answer, shape, strict=True)
    except msgspec.ValidationError as error:
        raise Unreadable(f"it answers in another way than this program expects: {error}") from None
