"""A published list of the Session network, made into the founding nodes of a network.

- The list says which nodes there are, where they answer, and which are leaving. What it lacks is
  told: who owns each node and its duty key by a map of operators, ports and versions for all.
- Who is not active there, or has no address, is left out and counted.
- A swarm id is taken where the list has it; a node without one gets its swarm from the genesis.
- A leaving node may go when the list's own height would have reached its unlocking.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from ledger.crypto import is_public_key
from ledger.errors import WaypostError
from ledger.messages.contact import Contact, Version
from ledger.messages.genesis import NEW_SWARM, GenesisNode
from ledger.rules.contacts import NO_VERSION
from ledger.types import MAX_AMOUNT, Height, Key, TimeMs
from registry.addresses import decode_account, decode_node, encode_node
from registry.formats.session_json import PublishedNode

MAX_OPERATORS_BYTES: Final = 2**26
"""No map of operators is longer."""

_HEX_32: Final = re.compile(r"[0-9a-fA-F]{64}")


class BadOperators(WaypostError):
    """A map of operators cannot be used; the message says where and why."""


class Incomplete(WaypostError):
    """Neither the list nor what was told says something that a founding node has."""


class TooLate(WaypostError):
    """A node leaves at a time that no block can have."""


class Owner(NamedTuple):
    """What the map of operators says of one node."""

    operator: Key
    """Account that owns the node and gets its stake back."""
    duty_key: Key


Owners: TypeAlias = Mapping[Key, Owner]


class Told(NamedTuple):
    """What holds for every node of which the list does not say it."""

    router_port: int | None
    storage_version: Version | None
    router_version: Version | None
    block_ms: int
    """Time between two blocks of the network that published the list."""


class Imported(NamedTuple):
    """The founding nodes that a list was made into, and what was left out."""

    nodes: tuple[GenesisNode, ...]
    """By ascending node key."""
    inactive: int
    """Nodes left out since the list says that they are not active."""
    unreachable: int
    """Nodes left out since they have no address or no port."""
    unlisted: int
    """Nodes of the map of operators that the list does not have, or that were left out."""


class _OwnerEntry(msgspec.Struct, forbid_unknown_fields=True):
    operator: str
    duty_key: str


def read_operators(raw: bytes) -> dict[Key, Owner]:
    """Return who owns which node.

    `raw` is a JSON object: a node, as address or 64 hex digits, to an object of `operator`, the
    address of an account or 64 hex digits, and `duty_key`, 64 hex digits. Keys are usable ones, and
    no duty key is another node's too. Raises `BadOperators`.
    """
    if len(raw) > MAX_OPERATORS_BYTES:
        raise BadOperators(f"the map of operators is longer than {MAX_OPERATORS_BYTES} bytes")
    try:
        entries = msgspec.convert(
            json.loads(raw, object_pairs_hook=_without_repeats), dict[str, _OwnerEntry]
        )
    except (ValueError, RecursionError) as error:
        raise BadOperators(
            'the map of operators is not of the form {"NODE": {"operator": "ADDRESS", '
            f'"duty_key": "HEX"}}, …}}: {error}'
        ) from None
    owners: dict[Key, Owner] = {}
    holders: dict[Key, str] = {}
    for name, entry in entries.items():
        node, owner = _read_owner(name, entry)
        if node in owners:
            raise BadOperators(f"the map of operators has {name} twice")
        holder = holders.setdefault(owner.duty_key, name)
        if holder != name:
            raise BadOperators(f"the map of operators, {name}: its duty_key is that of {holder}")
        owners[node] = owner
    return owners


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose names come once: else it would be a matter of luck who owns a node."""
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise ValueError(f"{name} comes twice")
        fields[name] = value
    return fields


def _read_owner(name: str, entry: _OwnerEntry) -> tuple[Key, Owner]:
    try:
        node, operator = decode_node(name), decode_account(entry.operator)
    except ValueError as error:
        raise BadOperators(f"the map of operators, {name}: {error}") from None
    if not _HEX_32.fullmatch(entry.duty_key):
        raise BadOperators(f"the map of operators, {name}: its duty_key is not 64 hex digits")
    duty_key = bytes.fromhex(entry.duty_key)
    for key, what in ((operator, "operator"), (duty_key, "duty_key")):
        if not is_public_key(key):
            raise BadOperators(f"the map of operators, {name}: its {what} is not a usable key")
    return node, Owner(operator, duty_key)


def import_nodes(
    published: Sequence[PublishedNode],
    height: Height,
    owners: Owners,
    told: Told,
    start_ms: TimeMs,
) -> Imported:
    """Return the founding nodes of a network that starts at `start_ms`.

    `published` is a list of the height `height`. Raises `Incomplete` and `TooLate`; whether the
    addresses are good is for the genesis to say.
    """
    active = [node for node in published if node.active]
    reachable = [node for node in active if any(node.ipv4) and node.storage_port]
    if not reachable:
        raise Incomplete("the list has no node that is active and has an address and a port")
    _check_complete(reachable, owners, told)
    nodes = [_make_node(node, height, owners[node.key], told, start_ms) for node in reachable]
    return Imported(
        tuple(sorted(nodes, key=lambda row: row.node)),
        len(published) - len(active),
        len(active) - len(reachable),
        len(owners) - len(nodes),
    )


def _check_complete(nodes: Sequence[PublishedNode], owners: Owners, told: Told) -> None:
    unowned = [node.key for node in nodes if node.key not in owners]
    if unowned:
        raise Incomplete(
            f"the map of operators lacks {len(unowned)} of {len(nodes)} nodes, the first of them "
            f"{encode_node(unowned[0])}"
        )
    for is_lacking, what in (
        (told.router_port is None and not all(n.router_port for n in nodes), "--router-port"),
        (
            told.storage_version is None and not all(_said(n.storage_version) for n in nodes),
            "--storage-version",
        ),
        (
            told.router_version is None and not all(_said(n.router_version) for n in nodes),
            "--router-version",
        ),
    ):
        if is_lacking:
            raise Incomplete(f"the list does not say it of every node: give {what}")


def _said(version: Version | None) -> Version | None:
    """Return a version that a list shows; zeros are shown of a node that never told its own."""
    return None if version == NO_VERSION else version


def _make_node(
    node: PublishedNode, height: Height, owner: Owner, told: Told, start_ms: TimeMs
) -> GenesisNode:
    return GenesisNode(
        node=node.key,
        operator=owner.operator,
        duty_key=owner.duty_key,
        contact=Contact(
            ipv4=node.ipv4,
            ipv6=b"",
            storage_port=node.storage_port,
            router_port=node.router_port or told.router_port or 0,
            storage_version=_said(node.storage_version) or told.storage_version or NO_VERSION,
            router_version=_said(node.router_version) or told.router_version or NO_VERSION,
        ),
        swarm_id=NEW_SWARM if node.swarm_id is None else node.swarm_id,
        exit_ms=_compute_exit_ms(node, height, told.block_ms, start_ms),
    )


def _compute_exit_ms(
    node: PublishedNode, height: Height, block_ms: int, start_ms: TimeMs
) -> TimeMs:
    """Return when the old network would have let the node go; at once if that is past."""
    if not node.unlock_height:
        return 0
    exit_ms = start_ms + max(1, (node.unlock_height - height) * block_ms)
    if exit_ms > MAX_AMOUNT:
        raise TooLate(
            f"{encode_node(node.key)} would leave later than time goes: is its "
            f"requested_unlock_height {node.unlock_height} right, and are --block-seconds?"
        )
    return exit_ms
