"""The list as clients of the Session network bundle it: one JSON object, without a signature.

    {"height": …, "service_node_states": [{…}, …]}

- An entry for each active node that has an IPv4 address, by ascending key: those fields of
  `SessionNode` that clients read.
- The reader takes what others publish in this form too: entries in any order, further fields, and
  without what no client insists on.
"""

import ipaddress
from collections.abc import Iterable
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from ledger.codec import U8, U16, U63
from ledger.crypto import convert_to_x25519, is_public_key
from ledger.errors import Refusal
from ledger.messages.contact import Version
from ledger.messages.lists import MAX_NODES
from ledger.types import Height, Key
from registry.formats.session import NO_SWARM, SessionNode, select_reachable

MAX_SESSION_JSON_BYTES: Final = 2**26
"""Room for 160,000 nodes."""

FIELDS: Final = (
    "public_ip", "storage_port", "storage_lmq_port", "pubkey_ed25519", "pubkey_x25519",
    "requested_unlock_height", "swarm_id", "storage_server_version", "service_node_version",
)  # fmt: skip
"""Fields of an entry that we write."""


def encode_session_json(height: Height, nodes: Iterable[SessionNode]) -> bytes:
    """Return the file of the list that was made at `height`, of its nodes by ascending key."""
    entries = [{name: getattr(node, name) for name in FIELDS} for node in select_reachable(nodes)]
    return msgspec.json.encode({"height": height, "service_node_states": entries})


# -------------------------------------------------------------------------------- reading


class PublishedNode(NamedTuple):
    """A node as a published list shows it; None for what the list does not say."""

    key: Key
    ipv4: bytes
    """4 bytes in network order; zeros if it has no address."""
    storage_port: int
    """0 if it is not known, as the next one."""
    router_port: int | None
    unlock_height: int
    """About the height at which it leaves; 0 if nobody asked."""
    swarm_id: int | None
    """`NO_SWARM` if it has none."""
    storage_version: Version | None
    router_version: Version | None
    active: bool
    """Whether it is funded and active; where `active` is not said, whether it has a swarm."""


class _Entry(msgspec.Struct):
    """An entry whose fields are not looked at yet.

    Only the key must be there, so that a file of tiny entries takes no room that counts.
    """

    pubkey_ed25519: Raw
    pubkey_x25519: Raw | UnsetType = UNSET
    public_ip: Raw | UnsetType = UNSET
    storage_port: Raw | UnsetType = UNSET
    storage_lmq_port: Raw | UnsetType = UNSET
    requested_unlock_height: Raw | UnsetType = UNSET
    swarm_id: Raw | UnsetType = UNSET
    storage_server_version: Raw | UnsetType = UNSET
    service_node_version: Raw | UnsetType = UNSET
    funded: Raw | UnsetType = UNSET
    active: Raw | UnsetType = UNSET


class _File(msgspec.Struct):
    height: Raw
    service_node_states: list[_Entry]


_KEY: Final = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_VERSION: Final = tuple[U8, U8, U8]

_TYPES: Final[dict[str, tuple[Any, str]]] = {
    "pubkey_ed25519": (_KEY, "64 lower-case hex digits"),
    "pubkey_x25519": (_KEY, "64 lower-case hex digits"),
    "public_ip": (str, "an IPv4 address"),
    "storage_port": (U16, "a port"),
    "requested_unlock_height": (U63, "a height"),
    "storage_lmq_port": (U16, "a port"),
    "swarm_id": (int, "a whole number below 2^64"),
    "storage_server_version": (_VERSION, "three whole numbers up to 255"),
    "service_node_version": (_VERSION, "three whole numbers up to 255"),
    "funded": (bool, "true or false"),
    "active": (bool, "true or false"),
}
"""What each field has to be, for the decoder and for people."""

_REQUIRED: Final = (
    "pubkey_ed25519", "pubkey_x25519", "public_ip", "storage_port", "requested_unlock_height",
)  # fmt: skip


def decode_session_json(data: bytes) -> tuple[Height, tuple[PublishedNode, ...]]:
    """Return height and nodes of a published list, in the order of the file.

    Refuses with `too_large`, and with `bad_list`: no such object, a field that is missing or of
    another form, a key that is none, an X25519 key that is another node's, a key that comes twice.
    """
    if len(data) > MAX_SESSION_JSON_BYTES:
        raise Refusal("too_large", size=len(data), limit=MAX_SESSION_JSON_BYTES)
    try:
        data.decode()  # of what it skips, the library does not see whether it is text
        file = msgspec.json.decode(data, type=_File)
    except (ValueError, RecursionError):
        # the library's own words differ between its versions, so they stay out
        why = "it is no JSON object with height and service_node_states, each with pubkey_ed25519"
        raise Refusal("bad_list", why=why) from None
    if len(file.service_node_states) > MAX_NODES:
        raise Refusal("bad_list", why=f"it has more than {MAX_NODES} entries")
    height = _decode(file.height, U63)
    if height is None:
        raise Refusal("bad_list", why="height is not a height")
    places: dict[Key, int] = {}
    nodes = []
    for index, entry in enumerate(file.service_node_states):
        node = _read_entry(index, entry)
        if node.key in places:
            raise _refuse(index, entry, f"it is entry {places[node.key]} again")
        places[node.key] = index
        nodes.append(node)
    return height, tuple(nodes)


def _read_entry(index: int, entry: _Entry) -> PublishedNode:
    fields: dict[str, Any] = {}
    for name, (form, what) in _TYPES.items():
        raw = getattr(entry, name)
        if raw is UNSET and name in _REQUIRED:
            raise _refuse(index, entry, f"{name} is missing")
        fields[name] = None if raw is UNSET else _decode(raw, form)
        if raw is not UNSET and fields[name] is None:
            raise _refuse(index, entry, f"{name} is not {what}")
    key = bytes.fromhex(fields["pubkey_ed25519"])
    if not is_public_key(key):
        raise _refuse(index, entry, "pubkey_ed25519 is not a usable Ed25519 key")
    if fields["pubkey_x25519"] != convert_to_x25519(key).hex():
        raise _refuse(index, entry, "pubkey_x25519 is not that key as an X25519 key")
    swarm_id = fields["swarm_id"]
    if swarm_id is not None and not 0 <= swarm_id <= NO_SWARM:
        raise _refuse(index, entry, f"swarm_id is not {_TYPES['swarm_id'][1]}")
    try:
        ipv4 = ipaddress.IPv4Address(fields["public_ip"]).packed
    except ValueError:
        raise _refuse(index, entry, f"public_ip is not {_TYPES['public_ip'][1]}") from None
    return PublishedNode(
        key=key,
        ipv4=ipv4,
        storage_port=fields["storage_port"],
        router_port=fields["storage_lmq_port"],
        unlock_height=fields["requested_unlock_height"],
        swarm_id=swarm_id,
        storage_version=_make_version(fields["storage_server_version"]),
        router_version=_make_version(fields["service_node_version"]),
        active=_is_active(fields["funded"], fields["active"], swarm_id),
    )


def _is_active(funded: bool | None, active: bool | None, swarm_id: int | None) -> bool:
    """Whether a node is on duty: lists that do not say it show others by their lack of a swarm."""
    if active is None:
        active = swarm_id != NO_SWARM
    return active and funded is not False


def _decode(raw: Raw, form: Any) -> Any:
    """Return a value of that form, or None; null is of no form."""
    try:
        return msgspec.json.decode(raw, type=form)
    except (ValueError, RecursionError):
        return None


def _make_version(parts: tuple[int, int, int] | None) -> Version | None:
    return None if parts is None else Version(*parts)


def _refuse(index: int, entry: _Entry, why: str) -> Refusal:
    key = _decode(entry.pubkey_ed25519, _KEY) or "no key"
    return Refusal("bad_list", why=f"entry {index} ({key}): {why}")
