"""The files of `tests/vectors/transitions`, as `docs/vectors.md` describes them.

Place     a state, and the block after which it stood
Book      takes vectors, and makes the text of every file of them
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ledger.crypto import sha256
from ledger.history import Tip
from ledger.messages.blocks import BlockInput
from ledger.messages.genesis import GENESIS
from ledger.state import STATE_START, STATE_STOP
from ledger.views import View
from tests.factory import Network

DIGITS: Final = 16
"""Hexadecimal digits of a hash that make a name."""

Records = dict[bytes, bytes]
Changes = dict[bytes, bytes | None]


class Place(NamedTuple):
    """A state, and the block after which it stood."""

    genesis: bytes
    tip: Tip
    records: Records

    @property
    def name(self) -> str:
        """The beginning of the block's hash."""
        return self.tip.block_hash.hex()[:DIGITS]


def place_of(network: Network, view: View | None = None) -> Place:
    """The newest state of a network, or an earlier one."""
    view = network.view if view is None else view
    return Place(network.raw, view.tip, dict(view.reader.items(STATE_START, STATE_STOP)))


def differences(before: Mapping[bytes, bytes], after: Mapping[bytes, bytes]) -> Changes:
    """The records that are others or new, and those that are gone, by ascending store key."""
    touched = sorted(before.keys() | after.keys())
    return {key: after.get(key) for key in touched if before.get(key) != after.get(key)}


def in_hex(changes: Changes) -> dict[str, str | None]:
    """Changes as they stand in a file."""
    return {key.hex(): None if raw is None else raw.hex() for key, raw in changes.items()}


def executes(block: BlockInput, kind: str = "execute") -> dict[str, Any]:
    """The operation that executes a block, or votes on it."""
    return {
        "kind": kind,
        "height": block.height,
        "time_ms": block.time_ms,
        "proposer": block.proposer.hex(),
        "misbehaviour": [raw.hex() for raw in block.misbehaviour],
        "transactions": [raw.hex() for raw in block.transactions],
    }


class Book:
    """Takes vectors, and makes the text of every file of them."""

    def __init__(self, subjects: Mapping[str, str]) -> None:
        """`subjects` says of each file what it is about."""
        self._subjects = subjects
        self._vectors: dict[str, list[dict[str, Any]]] = {file: [] for file in subjects}
        self._places: dict[str, Place] = {}

    def add(
        self, file: str, title: str, before: Place, operation: dict[str, Any], post: dict[str, Any]
    ) -> None:
        """Take a vector."""
        known = self._places.setdefault(before.name, before)
        assert known == before, f"{title}: two states after one block"
        self._vectors[file].append(
            {"title": title, "pre": before.name, "operation": operation, "post": post}
        )

    def files(self) -> dict[str, str]:
        """The text of each file, by its name."""
        pages: dict[str, Any] = {
            f"{file}.json": {"about": about, "vectors": self._vectors[file]}
            for file, about in self._subjects.items()
        }
        files = {place.genesis for place in self._places.values()}
        pages["genesis.json"] = {
            sha256(raw).hex()[:DIGITS]: raw.hex() for raw in sorted(files, key=sha256)
        }
        pages["states.json"] = self._states()
        return {name: _text(page) for name, page in sorted(pages.items())}

    def _states(self) -> dict[str, Any]:
        """Each state by its name; one that others begin from stands before them."""
        rows: dict[str, Any] = {}
        earlier: dict[bytes, list[Place]] = {}
        for place in sorted(self._with_first_states().values(), key=_order):
            bases = earlier.setdefault(place.genesis, [])
            row = {
                "genesis": sha256(place.genesis).hex()[:DIGITS],
                "height": place.tip.height,
                "time_ms": place.tip.time_ms,
                "block_hash": place.tip.block_hash.hex(),
                "root": place.tip.root.hex(),
            }
            if bases:
                costs = [_cost(base, place) for base in bases]
                base = bases[costs.index(min(costs))]
                row["base"] = base.name
                row["changes"] = in_hex(differences(base.records, place.records))
            rows[place.name] = row
            bases.append(place)
        return rows

    def _with_first_states(self) -> dict[str, Place]:
        """All states that vectors begin from, and the first one of each genesis file."""
        places = dict(self._places)
        for raw in {place.genesis for place in self._places.values()}:
            first = place_of(first_network(raw))
            places[first.name] = first
        return places


def first_network(raw: bytes) -> Network:
    """A network of this genesis file, before its first block."""
    return Network(GENESIS.decode(raw))


def _text(page: Any) -> str:
    """The text of a file; a number and its name stand in one line."""
    text = json.dumps(page, indent=1)
    return re.sub(r'\[\s+(\d+),\s+"(\w+)"\s+\]', r'[\1, "\2"]', text) + "\n"


def _order(place: Place) -> tuple[bytes, int, bytes]:
    return sha256(place.genesis), place.tip.height, place.tip.block_hash


def _cost(base: Place, place: Place) -> int:
    """About how many bytes it takes to tell one state by another."""
    changed = differences(base.records, place.records)
    return sum(len(key) + len(raw or b"") for key, raw in changed.items())
