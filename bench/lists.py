"""The list of 10,000 nodes: how many bytes it costs, and how long it takes.

- The nodes are like those of the network that exists: IPv4 only, three nodes to two hosts, ports
  that differ where a host has several, most nodes on the newest version.
- Peers in the same run: the same list as JSON with the names that clients of that network read,
  the five fields of it that such a client fetches, and its unsigned binary form of 51 bytes a node.
- Everything is compressed in the same way, raw deflate at its best.
"""

import json
from collections.abc import Sequence
from random import Random
from typing import Any, Final

from bench import changes
from bench.figures import Limit, Section, repeat
from bench.networks import SEED, make_pairs
from ledger.crypto import (
    SIGNATURE_BYTES,
    Signed,
    convert_to_x25519,
    sha256,
    sign,
    verify_all,
)
from ledger.lists import BuiltList, build_list
from ledger.messages.contact import Contact, Version
from ledger.messages.entries import Entry, make_entries, unpack_columns
from ledger.messages.lists import HEADER_BYTES, SignedHeader, encode_signed_header
from ledger.messages.state import Swarm
from ledger.messages.tables import CONTACTS, SWARMS
from ledger.rules.swarms import UNASSIGNED, reassign
from ledger.state import State
from ledger.steps import run as run_steps
from ledger.store import MemoryStore
from registry.formats import FORMATS
from registry.formats.full import decode_full, deflate, encode_full
from registry.status import address_text

NODES: Final = 10_000
SIGNERS: Final = 3
REPETITIONS: Final = 7
JOINING: Final = 400
"""Nodes that may join while the section runs."""
GOAL: Final = Limit(40.0)
"""Bytes a node, signed header included."""
VERIFY_GOAL: Final = Limit(2.0)
"""Milliseconds."""
SIGNED: Final = [
    Signed(pair.public, bytes(HEADER_BYTES), sign(pair, bytes(HEADER_BYTES)))
    for pair in make_pairs(SIGNERS)
]
"""What has to be verified of a header."""

STORAGE_VERSIONS: Final = (Version(2, 11, 0),) * 9 + (Version(2, 10, 1),)
ROUTER_VERSIONS: Final = (Version(11, 6, 0),) * 9 + (Version(11, 6, 1),)


def make_contacts(count: int, dual_stack: int = 0) -> list[Contact]:
    """Return contact data of that many nodes; `dual_stack` of 100 have an IPv6 address too."""
    random = Random(SEED)
    hosts = [(bytes([51 + random.randrange(49)]) + random.randbytes(3)) for _ in range(count)]
    used: dict[bytes, int] = {}
    contacts = []
    for _ in range(count):
        host = hosts[random.randrange(2 * count // 3)]
        place = used.get(host, 0)
        used[host] = place + 1
        has_ipv6 = random.randrange(100) < dual_stack
        ipv6 = b"\x2a\x01" + random.randbytes(6) + bytes(7) + b"\1" if has_ipv6 else b""
        contacts.append(
            Contact(
                host,
                ipv6,
                22_021 + 100 * place,
                22_020 + 100 * place,
                random.choice(STORAGE_VERSIONS),
                random.choice(ROUTER_VERSIONS),
            )
        )
    return contacts


def make_state(contacts: Sequence[Contact]) -> State:
    """Return a state in which nodes with these contact data are active."""
    keys = [pair.public for pair in make_pairs(len(contacts))]
    swarm_of = reassign(dict.fromkeys(keys, UNASSIGNED), 7)
    state = State(MemoryStore())
    for key, contact in zip(keys, contacts, strict=True):
        state.put(CONTACTS, contact, key)
        state.put(SWARMS, Swarm(swarm_of[key]), key)
    written = {key: raw for key, raw in state.changes().items() if raw is not None}
    return State(MemoryStore(written))


def run(section: Section) -> None:
    """Measure the section."""
    header = SignedHeader(
        bytes(HEADER_BYTES), tuple((index, bytes(SIGNATURE_BYTES)) for index in range(SIGNERS))
    )
    header_bytes = len(encode_signed_header(header))
    state = make_state(make_contacts(NODES))
    built = run_steps(build_list(state))
    full = FORMATS["full"].encode(built.columns)
    section.add(
        f"full, with a header that {SIGNERS} signed",
        "bytes a node",
        (len(full) + header_bytes) / NODES,
        GOAL,
    )
    dual = run_steps(build_list(make_state(make_contacts(NODES, 20))))
    section.add(
        "full, if a fifth has IPv6 too",
        "bytes a node",
        (len(encode_full(dual.columns)) + header_bytes) / NODES,
    )
    _measure_times(section, state, built, full)
    _measure_peers(section, unpack_columns(built.columns), len(full) + header_bytes)
    changes.run(section, make_contacts(NODES + JOINING), NODES)


def _measure_times(section: Section, state: State, built: BuiltList, full: bytes) -> None:
    list_hash = sha256(built.columns)
    for name, work in (
        ("build from the state, leaves included", lambda: run_steps(build_list(state))),
        ("encode", lambda: encode_full(built.columns)),
        ("decode into entries", lambda: make_entries(decode_full(full, list_hash))),
    ):
        section.add(name, "ms", [1_000 * seconds for seconds in repeat(REPETITIONS, work)])
    verify = repeat(REPETITIONS, lambda: _verify(full, list_hash))
    section.add(
        f"decode and verify, {SIGNERS} signatures",
        "ms",
        [1_000 * seconds for seconds in verify],
        VERIFY_GOAL,
    )


def _verify(full: bytes, list_hash: bytes) -> None:
    """What a client does that starts anew: the signatures of the header, and the whole list."""
    assert all(verify_all(SIGNED))
    decode_full(full, list_hash)


# --------------------------------------------------------------------------------- peers


def _measure_peers(section: Section, entries: Sequence[Entry], ours: int) -> None:
    rows = [_named(entry) for entry in entries]
    fetched = ("public_ip", "storage_port", "pubkey_ed25519", "pubkey_x25519",
               "requested_unlock_height")  # fmt: skip
    whole = _to_json(rows)
    for name, raw in (
        ("the same as JSON", whole),
        (
            "JSON of the five fields that clients fetch",
            _to_json([{f: r[f] for f in fetched} for r in rows]),
        ),
        ("unsigned binary, 51 bytes a node", b"".join(map(_binary, entries))),
    ):
        section.add(name, "bytes a node", len(raw) / NODES, note=_times(len(raw), ours))
        packed = len(deflate(raw))
        section.add("  compressed", "bytes a node", packed / NODES, note=_times(packed, ours))
    reading = repeat(REPETITIONS, lambda: json.loads(whole))
    section.add("parsing the JSON, nothing checked", "ms", [1_000 * one for one in reading])


def _times(size: int, ours: int) -> str:
    return f"{size / ours:.2f} times `full`"


def _named(entry: Entry) -> dict[str, Any]:
    """Return an entry in the words of the network that exists."""
    contact = entry.contact
    storage, router = contact.storage_version, contact.router_version
    return {
        "public_ip": address_text(contact.ipv4),
        "storage_port": contact.storage_port,
        "storage_lmq_port": contact.router_port,
        "pubkey_ed25519": entry.key.hex(),
        "pubkey_x25519": convert_to_x25519(entry.key).hex(),
        "requested_unlock_height": 0,
        "storage_server_version": [storage.major, storage.minor, storage.patch],
        "service_node_version": [router.major, router.minor, router.patch],
        "swarm_id": entry.swarm_id,
    }


def _binary(entry: Entry) -> bytes:
    """Return an entry in 51 bytes: key, swarm id, IPv4, two ports, one version."""
    contact = entry.contact
    version = contact.storage_version
    return b"".join((
        entry.key,
        entry.swarm_id.to_bytes(8, "big"),
        contact.ipv4,
        contact.storage_port.to_bytes(2, "big"),
        contact.router_port.to_bytes(2, "big"),
        bytes((version.major, version.minor, version.patch)),
    ))  # fmt: skip


def _to_json(rows: Sequence[dict[str, Any]]) -> bytes:
    document = {"height": 1, "service_node_states": rows}
    return json.dumps(document, separators=(",", ":")).encode()
