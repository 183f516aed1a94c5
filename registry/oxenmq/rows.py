"""Rows of nodes as a service tells them, held against a list that the agent has verified.

Who is active, under which address and ports and in which swarm, is what the list says:

- a row of a node that is in the list says what the list says;
- a node of the list that was left out is added, with zeros for what nobody told;
- a row that shows another node as active, or in a swarm, shows it as not active;
- a row of another node with a key of one in the list, or with two signing keys, is left out.

So a service that lies can hide nobody from a storage server, and can put nobody in its way. All
other fields, and nodes that are not active, are told and not proven.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import msgspec

from ledger.crypto import convert_to_x25519
from ledger.messages.contact import Version
from ledger.messages.entries import Entry
from ledger.types import Key
from registry.formats.session import NO_ADDRESS, NO_SWARM, SessionNode

Port: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Triple: TypeAlias = tuple[Port, Port, Port]
HexKey: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]

KEPT_CONVERSIONS: Final = 2**17
"""Keys whose X25519 form is remembered: those of the largest list."""


class ShortNode(msgspec.Struct, frozen=True):
    """What storage servers and routers ask of a node: some fields of `SessionNode`, in its order.

    A service is asked for no more than that, unless somebody here wants more.
    """

    service_node_pubkey: HexKey
    pubkey_ed25519: HexKey
    pubkey_x25519: HexKey
    public_ip: str
    storage_port: Port
    storage_lmq_port: Port
    requested_unlock_height: int
    storage_server_version: Triple
    service_node_version: Triple
    swarm_id: int
    swarm: str
    funded: bool
    active: bool


Row: TypeAlias = ShortNode | SessionNode
R = TypeVar("R", ShortNode, SessionNode)

NOT_ACTIVE: Final = {"swarm_id": NO_SWARM, "swarm": f"{NO_SWARM:x}", "active": False}

NOTHING_TOLD: Final[dict[str, Any]] = {
    "requested_unlock_height": 0,
    "state_height": 0,
    "registration_height": 0,
    "last_reward_block_height": 0,
    "last_uptime_proof": 0,
    "earned_downtime_blocks": 0,
    "decommission_count": 0,
    "staking_requirement": 0,
    "total_contributed": 0,
    "operator_fee": 0,
    "operator_address": "",
    "contributors": [],
}
"""What a row says that no service told, of fields that no list proves."""

Proven: TypeAlias = Mapping[str, Mapping[str, Any]]
"""The fields that a list proves, by node key as hex."""


def prove_rows(entries: Iterable[Entry]) -> dict[str, dict[str, Any]]:
    """Return the fields that the entries of a verified list prove."""
    return {entry.key.hex(): _prove(entry) for entry in entries}


def _prove(entry: Entry) -> dict[str, Any]:
    key, contact = entry.key.hex(), entry.contact
    return {
        "service_node_pubkey": key,
        "pubkey_ed25519": key,
        "pubkey_x25519": _convert(entry.key).hex(),
        "public_ip": str(IPv4Address(contact.ipv4)) if contact.ipv4 else NO_ADDRESS,
        "storage_port": contact.storage_port,
        "storage_lmq_port": contact.router_port,
        "storage_server_version": _triple(contact.storage_version),
        "service_node_version": _triple(contact.router_version),
        "swarm_id": entry.swarm_id,
        "swarm": f"{entry.swarm_id:x}",
        "funded": True,
        "active": True,
    }


@lru_cache(KEPT_CONVERSIONS)
def _convert(key: Key) -> Key:
    return convert_to_x25519(key)


def _triple(version: Version) -> tuple[int, int, int]:
    return version.major, version.minor, version.patch


def correct_rows(told: Iterable[R], proven: Proven, form: type[R]) -> list[R]:
    """Return rows that say of who is active what a list says, by ascending key."""
    taken = {fields["pubkey_x25519"] for fields in proven.values()}
    rows = {
        row.service_node_pubkey: _correct(row, proven)
        for row in told
        if row.service_node_pubkey in proven
        or (row.service_node_pubkey == row.pubkey_ed25519 and row.pubkey_x25519 not in taken)
    }
    left_out = ((key, fields) for key, fields in proven.items() if key not in rows)
    rows |= {key: _make(fields, form) for key, fields in left_out}
    return [rows[key] for key in sorted(rows)]


def _correct(row: R, proven: Proven) -> R:
    fields = proven.get(row.service_node_pubkey)
    if fields is not None:
        return msgspec.structs.replace(row, **fields)
    if row.active or row.swarm_id != NO_SWARM:
        return msgspec.structs.replace(row, **NOT_ACTIVE)
    return row


def _make(fields: Mapping[str, Any], form: type[R]) -> R:
    known = NOTHING_TOLD | dict(fields)
    return form(**{name: known[name] for name in form.__struct_fields__})
