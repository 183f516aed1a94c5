"""Mutations of files that nobody signs: keys, watermarks, lists for clients that cannot check."""

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from ledger.codec import encode
from ledger.crypto import convert_to_x25519, sha256, tagged_hash
from ledger.messages.contact import Version
from registry.formats.session import NO_ADDRESS, NO_SWARM, SessionNode
from registry.formats.session_binary import (
    ENTRY_BYTES,
    BinaryNode,
    decode_session_binary,
    encode_session_binary,
)
from registry.formats.session_json import (
    PublishedNode,
    decode_session_json,
    encode_session_json,
)
from registry.keystore import (
    MINIMUM,
    BadKeyFile,
    open_key_file,
    save_insecure_seed,
    seal_key_file,
)
from registry.watermarks import (
    HEADERS,
    VERSION,
    Backup,
    BadBackup,
    Held,
    Mark,
    SignerRefuses,
    read_backup,
    read_watermark,
)
from tests.factory import public
from tests.mutations.engine import (
    Sample,
    Subject,
    Target,
    cuts_of,
    msgpack_cuts,
    mutate,
    of_records,
    packed,
)
from tests.registry.client.factory import make_entries

TOKEN: Final = re.compile(rb'"[^"]*"|[0-9]+|[a-z]+|[^\s]|\s+')


def json_sample(raw: bytes) -> Sample:
    """The sample of a JSON file, whose fields are its tokens."""
    return Sample(raw, (*(match.start() for match in TOKEN.finditer(raw)), len(raw)))


# ----------------------------------------------------------------------------------- keys

PASSPHRASE: Final = b"correct horse"


def key_files(seed: int) -> Subject:
    """Key files under a passphrase: only the one that was written gives its seed."""
    secret, other = sha256(b"one"), sha256(b"another")
    files = {
        raw: content
        for content in (secret, other)
        for raw in [seal_key_file(content, PASSPHRASE, MINIMUM, content[:16], content[:24])]
    }
    samples = list(map(json_sample, files))
    return Subject(
        samples[:1],
        lambda raw: open_key_file(raw, PASSPHRASE),
        lambda raw, opened: files.get(raw) == opened,
        mutation=lambda random: mutate(random, samples[0], random.choice(samples)),
    )


def insecure_key_files(seed: int) -> Subject:
    """Key files in the clear: they say one thing, in one way."""
    samples = [json_sample(write_insecure(sha256(bytes([number])))) for number in range(2)]
    return Subject(
        samples,
        lambda raw: open_key_file(raw, PASSPHRASE),
        lambda raw, opened: raw == write_insecure(opened),
        mutation=lambda random: mutate(random, samples[0], random.choice(samples)),
    )


def write_insecure(seed: bytes) -> bytes:
    """The bytes of a key file in the clear."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "key"
        save_insecure_seed(path, seed)
        return path.read_bytes()


# ----------------------------------------------------------------------------- watermarks

NETWORK: Final = sha256(b"a network")


def mark_of(number: int) -> Mark:
    return Mark(HEADERS.name.encode(), public("attestor 0"), number, sha256(b"%d" % number))


def sealed(tag: bytes, body: bytes) -> bytes:
    """A record with its checksum."""
    return body + tagged_hash(tag, body)


class Folder:
    """A file that is written and read again."""

    def __init__(self, read: Callable[[Path], Any], name: str = "file") -> None:
        self._folder = TemporaryDirectory()
        self._path = Path(self._folder.name) / name
        self._read = read

    def read(self, raw: bytes) -> Any:
        """Return what is read of a file that holds these bytes."""
        self._path.write_bytes(raw)
        return self._read(self._path)


def read_mark(path: Path) -> Held | None:
    """Read the watermark of the key that signs here."""
    return read_watermark(path, HEADERS, NETWORK, public("attestor 0"))


def read_marks(path: Path) -> Backup:
    """Read a backup of this network."""
    return read_backup(path, NETWORK)


def watermarks(seed: int) -> Subject:
    """Watermarks, in every other seed with a checksum that fits; none reads as "nothing signed"."""
    return of_checksummed(
        seed,
        b"waypost watermark",
        [Held(VERSION, NETWORK, mark_of(number), number % 2) for number in (1, 70_000)],
        read_mark,
    )


def backups(seed: int) -> Subject:
    """Backups of watermarks."""
    marks = tuple(Mark(role, key, 9, NETWORK) for role, key in (
        (b"blocks", public("producer")), *((b"headers", key) for key in
        sorted(map(public, ("attestor 0", "attestor 1")))),
    ))  # fmt: skip
    return of_checksummed(
        seed,
        b"waypost watermarks",
        [Backup(VERSION, NETWORK, marks[:count]) for count in (3, 1)],
        read_marks,
    )


def of_checksummed(
    seed: int, tag: bytes, records: list[Any], read: Callable[[Path], Any]
) -> Subject:
    """Files of a record and a checksum, which in every other seed is made anew."""
    folder = Folder(read)
    bodies = list(map(encode, records))
    if seed % 2:
        samples = list(map(packed, bodies))
        return Subject(
            samples,
            lambda body: folder.read(sealed(tag, body)),
            lambda body, read: read is not None and encode(read) == body,
            mutation=of_records(samples, samples),
        )
    raws = [sealed(tag, body) for body in bodies]
    return Subject(
        [Sample(raw, (*msgpack_cuts(raw[:-32]), len(raw))) for raw in raws],
        folder.read,
        lambda raw, read: raw in raws and read is not None and sealed(tag, encode(read)) == raw,
    )


# -------------------------------------------------------------------------- session's files


def session_nodes(count: int) -> list[SessionNode]:
    """Active nodes with an IPv4 address, by ascending key."""
    return [session_node(public(f"session {number}"), number) for number in range(count)]


def session_node(key: bytes, number: int) -> SessionNode:
    contact = make_entries()[number].contact
    address = ".".join(map(str, contact.ipv4)) if contact.ipv4 else NO_ADDRESS
    known: dict[str, Any] = {
        "service_node_pubkey": key.hex(),
        "pubkey_ed25519": key.hex(),
        "pubkey_x25519": convert_to_x25519(key).hex(),
        "public_ip": address,
        "storage_port": contact.storage_port,
        "storage_lmq_port": contact.router_port,
        "requested_unlock_height": 70_000 * (number % 2),
        "storage_server_version": (2, 8, number),
        "service_node_version": (11, 6, 0),
        "swarm_id": number * 2**61,
        "swarm": f"{number * 2**61:x}",
        "funded": True,
        "active": True,
        "operator_address": "",
        "contributors": [],
    }
    zeros: dict[str, Any] = {name: 0 for name in SessionNode.__struct_fields__ if name not in known}
    return SessionNode(**known, **zeros)


def session_lists(seed: int) -> list[SessionNode]:
    """A few nodes in the order of their keys."""
    nodes = session_nodes(2 + seed % 3)
    return sorted(nodes, key=lambda node: node.pubkey_ed25519)


def session_binary(seed: int) -> Subject:
    """51 bytes a node: what is taken is packed like that again."""
    nodes = session_lists(seed)
    samples = [
        Sample(encode_session_binary(some), cuts_of(*[32, 8, 4, 2, 2, 1, 1, 1] * len(some)))
        for some in (nodes, nodes[:1])
    ]
    return Subject(
        samples,
        decode_session_binary,
        lambda raw, found: (
            b"".join(map(pack_node, found)) == raw and len(found) * ENTRY_BYTES == len(raw)
        ),
        mutation=lambda random: mutate(random, samples[0], random.choice(samples)),
    )


def pack_node(node: BinaryNode) -> bytes:
    """The rule of the format, written down a second time."""
    version = node.storage_version
    ports = struct.pack(">HH", node.storage_port, node.router_port)
    parts = bytes((version.major, version.minor, version.patch))
    return node.key + node.swarm_id.to_bytes(8, "big") + node.ipv4 + ports + parts


def session_json(seed: int) -> Subject:
    """The JSON file: what is taken is what any reader of JSON sees in it."""
    nodes = session_lists(seed)
    samples = [json_sample(encode_session_json(7 + len(some), some)) for some in (nodes, nodes[:1])]
    return Subject(
        samples,
        decode_session_json,
        lambda raw, found: found == read_by_another(raw),
        mutation=lambda random: mutate(random, samples[0], random.choice(samples)),
    )


def read_by_another(raw: bytes) -> Any:
    """Height and nodes as the standard library's JSON has them."""
    file = json.loads(raw)
    return file["height"], tuple(map(see, file["service_node_states"]))


def see(entry: dict[str, Any]) -> Any:
    """A node as another reader sees it."""

    def version(name: str) -> Version | None:
        return Version(*entry[name]) if name in entry else None

    swarm_id = entry.get("swarm_id")
    assert swarm_id is None or swarm_id <= NO_SWARM
    return PublishedNode(
        key=bytes.fromhex(entry["pubkey_ed25519"]),
        ipv4=bytes(int(part) for part in entry["public_ip"].split(".")),
        storage_port=entry["storage_port"],
        router_port=entry.get("storage_lmq_port"),
        unlock_height=entry["requested_unlock_height"],
        swarm_id=swarm_id,
        storage_version=version("storage_server_version"),
        router_version=version("service_node_version"),
        active=entry.get("funded", True) and entry.get("active", True),
    )


LIST: Final = frozenset(("too_large", "bad_list"))

FILES: Final = (
    Target("key files", key_files, 2, 1_000, frozenset(), (BadKeyFile,)),
    Target("insecure key files", insecure_key_files, 2, 1_000, frozenset(), (BadKeyFile,)),
    Target("watermarks", watermarks, 2, 500, frozenset(), (SignerRefuses,)),
    Target("backups", backups, 2, 500, frozenset(), (BadBackup,)),
    Target("binary lists", session_binary, 3, 1_000, LIST),
    Target("JSON lists", session_json, 3, 2_000, LIST),
)
