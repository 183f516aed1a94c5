"""What a client of 10,000 nodes pays for what changed: a delta, a slice, and a whole day.

- Of the nodes that change, 40 of a hundred leave, as many join, and 20 have another address; swarms
  follow by the ledger's own rule, with seven nodes each.
- Peers in the same run: the same change as an ed script of the text that the directory of Tor
  would carry, and as JSON that names what changed, both compressed in the same way.
- A day is 24 updates, one an hour and two epochs each, with one node in a thousand changing in
  each hour: the signed header, the trust path over one epoch, and the delta from two epochs before.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

from msgspec.structs import replace

from bench.figures import Limit, Section, repeat
from bench.networks import SEED, make_pairs
from ledger.crypto import SIGNATURE_BYTES, sha256
from ledger.merkle import audit_path, leaf_hash
from ledger.messages.contact import Contact
from ledger.messages.entries import Entry, make_swarm_leaves, pack_columns, read_columns
from ledger.messages.lists import HEADER_BYTES, SignedHeader, encode_signed_header
from ledger.rules.swarms import UNASSIGNED, reassign
from ledger.types import Key
from registry.formats.delta import apply_delta, encode_delta
from registry.formats.full import deflate
from registry.formats.slice import Slice, encode_slice
from registry.formats.trust import Hop, Path, encode_path

SIGNERS: Final = (3, 17)
"""Of 4 attestors, and of 25."""
REPETITIONS: Final = 7
HOURS: Final = 24

DELTA_GOAL: Final = Limit(2_000.0)
DAY_GOAL: Final = Limit(20.0)
SLICE_GOALS: Final = {2_000: Limit(1_250.0), 10_000: Limit(1_350.0)}


class World:
    """A network whose nodes come, go and move."""

    def __init__(self, contacts: Sequence[Contact], nodes: int) -> None:
        keys = [pair.public for pair in make_pairs(len(contacts))]
        self._random = Random(SEED)
        self._spare = list(zip(keys[nodes:], contacts[nodes:], strict=True))
        self.contacts = dict(zip(keys[:nodes], contacts[:nodes], strict=True))
        self.swarm_of: Mapping[Key, int] = reassign(dict.fromkeys(self.contacts, UNASSIGNED), 0)
        self._ends = 0

    def columns(self) -> bytes:
        """The list of now."""
        return pack_columns(
            [Entry(key, self.contacts[key], self.swarm_of[key]) for key in sorted(self.contacts)]
        )

    def change(self, nodes: int) -> None:
        """Let so many nodes change: two fifths leave, two fifths join, the rest move."""
        random, swarm_of = self._random, dict(self.swarm_of)
        for key in random.sample(sorted(self.contacts), 2 * nodes // 5):
            del self.contacts[key], swarm_of[key]
        for key in random.sample(sorted(self.contacts), nodes // 5):
            host = bytes([51 + random.randrange(49)]) + random.randbytes(3)
            self.contacts[key] = replace(self.contacts[key], ipv4=host)
        for _ in range(2 * nodes // 5):
            key, contact = self._spare.pop()
            self.contacts[key], swarm_of[key] = contact, UNASSIGNED
        self._ends += 1
        self.swarm_of = reassign(swarm_of, self._ends)


def signed_bytes(signers: int) -> int:
    """Return the length of a header that so many signed."""
    signatures = tuple((index, bytes(SIGNATURE_BYTES)) for index in range(signers))
    return len(encode_signed_header(SignedHeader(bytes(HEADER_BYTES), signatures)))


def run(section: Section, contacts: Sequence[Contact], nodes: int) -> None:
    """Measure; `contacts` are those of the nodes and of some hundreds that may join."""
    world = World(contacts, nodes)
    old = world.columns()
    world.change(nodes // 100)
    new = world.columns()
    delta = encode_delta(old, new)
    section.add("delta, 1 % changed, without header", "bytes", len(delta), DELTA_GOAL)
    for name, size in (
        ("  as an ed script of text, compressed", _ed_bytes(old, new)),
        ("  as JSON of what changed, compressed", _json_bytes(old, new)),
    ):
        section.add(name, "bytes", size, note=f"{size / len(delta):.2f} times the delta")
    before, expected = read_columns(old), sha256(new)
    for name, work in (
        ("  make it", lambda: encode_delta(old, new)),
        ("  apply and check it", lambda: apply_delta(before, delta, expected)),
    ):
        section.add(name, "ms", [1_000 * seconds for seconds in repeat(REPETITIONS, work)])
    _measure_day(section, world, nodes)
    _measure_slices(section, contacts)


def _measure_day(section: Section, world: World, nodes: int) -> None:
    deltas = []
    for _ in range(HOURS):
        before = world.columns()
        for _ in range(2):
            world.change(nodes // 2_000)
        deltas.append(len(encode_delta(before, world.columns())))
    path = len(encode_path(Path(hop=Hop(hashes=(bytes(32),)))))
    for signers in SIGNERS:
        kilobytes = (sum(deltas) + HOURS * (path + signed_bytes(signers))) / 1_000
        goal = DAY_GOAL if signers == SIGNERS[0] else None
        section.add(f"a day, 0.1 % an hour, {signers} signatures", "kB", kilobytes, goal)


def _measure_slices(section: Section, contacts: Sequence[Contact]) -> None:
    for nodes, goal in SLICE_GOALS.items():
        leaves = make_swarm_leaves(read_columns(World(contacts, nodes).columns()))
        hashes = [leaf_hash(leaf) for leaf in leaves]
        place = next(place for place, leaf in enumerate(leaves) if leaf[25] == 7)
        for signers in SIGNERS:
            parts = Slice(b"", place, leaves[place], tuple(audit_path(hashes, place)))
            size = signed_bytes(signers) + len(encode_slice(parts))
            limit = goal if signers == SIGNERS[0] else None
            section.add(f"slice of 7 of {nodes:,}, {signers} signatures", "bytes", size, limit)


# --------------------------------------------------------------------------------- peers


def _lines(columns: bytes) -> list[str]:
    """Return a line of text for each node: key, address, ports, versions and swarm."""
    rows = zip(*read_columns(columns).split(), strict=True)
    return [" ".join(cell.hex() for cell in row) for row in rows]


def _ed_bytes(old: bytes, new: bytes) -> int:
    """Return the length of what `diff --ed` says, from the last change to the first."""
    before, after = _lines(old), _lines(new)
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    script: list[str] = []
    for kind, first, last, start, stop in reversed(matcher.get_opcodes()):
        if kind == "equal":
            continue
        letter = {"delete": "d", "insert": "a", "replace": "c"}[kind]
        place = f"{first}" if kind == "insert" else f"{first + 1},{last}"
        script += [f"{place}{letter}", *after[start:stop], *(["."] if stop > start else [])]
    return len(deflate("\n".join(script).encode()))


def _json_bytes(old: bytes, new: bytes) -> int:
    """Return the length of the keys that are gone and of the rows that are new."""
    before, after = set(_lines(old)), set(_lines(new))
    keys = {line[:64] for line in after}
    gone = sorted(line[:64] for line in before if line[:64] not in keys)
    document = {"removed": gone, "changed": sorted(after - before)}
    return len(deflate(json.dumps(document, separators=(",", ":")).encode()))
