"""All rows of one block, and what of them somebody asked for: parameters as in JSON-RPC.

JSON of the sets of fields that were asked for last is kept, row by row and as a whole, so that many
who ask for the same get the same bytes.
"""

import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from registry.formats.session import NO_ADDRESS, SessionNode
from registry.oxenmq.rows import Row, ShortNode

TOP_FIELDS: Final = ("height", "target_height", "hardfork", "snode_revision", "block_hash")
"""Fields beside the rows that can be chosen like those of the rows."""

SHORT_NAMES: Final = frozenset((*TOP_FIELDS, *ShortNode.__struct_fields__))
ALL_NAMES: Final = frozenset((*TOP_FIELDS, *SessionNode.__struct_fields__))

MAX_KEPT: Final = 3
"""Sets of fields whose JSON is kept: those of storage servers, of routers, and of all fields."""

MAX_FIELDS: Final = 200
"""Names that may be asked for; there are fewer than half as many."""

ROWS_A_UNIT: Final = 50
"""Rows whose JSON costs as much as a message: see `allowance`."""

Names: TypeAlias = frozenset[str]

encode = msgspec.json.Encoder().encode

Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=64)]
Fields: TypeAlias = Annotated[dict[Name, bool], msgspec.Meta(max_length=MAX_FIELDS)]
FieldNames: TypeAlias = Annotated[list[Name], msgspec.Meta(max_length=MAX_FIELDS)]
AnyHex: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-fA-F]{64}\Z")]
AnyHexOrNone: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-fA-F]{64})?\Z")]


class Wanted(msgspec.Struct, dict=True):
    """Which nodes, and what of them; null for what was left out."""

    active_only: bool | None = None
    """On duty, and with an IPv4 address."""
    fields: Fields | FieldNames | None = None
    limit: int | None = None
    """0 for all, n > 0 for n at random, less than 0 for all in random order."""
    service_node_pubkeys: list[AnyHex] | None = None
    poll_block_hash: AnyHexOrNone | None = None
    """The newest block that the client knows: if it still is the newest, no rows are sent."""

    @cached_property
    def names(self) -> Names:
        """The fields that are asked for; with "all", `-name` takes one away again."""
        if isinstance(self.fields, dict):
            asked = {name for name, is_wanted in self.fields.items() if is_wanted}
        else:
            asked = set(self.fields or ())
        if not asked:
            return ALL_NAMES
        if "all" in asked:
            return ALL_NAMES - {name[1:] for name in asked if name.startswith("-")}
        return ALL_NAMES & asked


class Snapshot:
    """What is shown at one block."""

    def __init__(self, top: Mapping[str, Any], rows: Sequence[Row]) -> None:
        """Take the values of `TOP_FIELDS`, and the rows by ascending key."""
        self.top = dict(top)
        self._rows = rows
        self._places = {row.service_node_pubkey: place for place, row in enumerate(rows)}
        usable = [p for p, row in enumerate(rows) if row.active and row.public_ip != NO_ADDRESS]
        self._usable: dict[int, None] = dict.fromkeys(usable)
        self._kept: OrderedDict[Names, list[bytes]] = OrderedDict()
        self._wholes: dict[tuple[Names, bool], bytes] = {}

    @property
    def block_hash(self) -> str:
        """Hash of the block, 64 hex digits."""
        return str(self.top["block_hash"])

    def compute_cost(self, wanted: Wanted) -> int:
        """Return what an answer costs beyond a message, in the units of an allowance."""
        is_poll = bool(wanted.poll_block_hash)
        if is_poll and self._is_unchanged(wanted):
            return 0
        cost = 0 if self._entry_names(wanted) in self._kept else len(self._rows) // ROWS_A_UNIT
        if wanted.service_node_pubkeys or wanted.limit:
            cost += len(self._rows) // (10 * ROWS_A_UNIT)
        return cost

    def render(self, wanted: Wanted) -> bytes:
        """Return the answer as JSON."""
        names = wanted.names
        shown: dict[str, Any] = {"status": "OK"}
        shown |= {name: value for name, value in self.top.items() if name in names}
        if wanted.poll_block_hash:
            shown["unchanged"] = self._is_unchanged(wanted)
            if shown["unchanged"]:
                return encode(shown)
            shown["block_hash"] = self.block_hash
        raw = self._render_rows(wanted)
        return b'%s,"service_node_states":%s}' % (encode(shown)[:-1], raw)

    def _is_unchanged(self, wanted: Wanted) -> bool:
        return (wanted.poll_block_hash or "").lower() == self.block_hash

    @staticmethod
    def _entry_names(wanted: Wanted) -> Names:
        return wanted.names.difference(TOP_FIELDS)

    def _render_rows(self, wanted: Wanted) -> bytes:
        names, active_only = self._entry_names(wanted), bool(wanted.active_only)
        entries = self._encode_rows(names)
        if wanted.service_node_pubkeys or wanted.limit:
            places = self._choose(wanted, active_only)
            return b"[%s]" % b",".join([entries[place] for place in places])
        whole = self._wholes.get((names, active_only))
        if whole is None:
            chosen = [entries[place] for place in self._usable] if active_only else entries
            whole = self._wholes[names, active_only] = b"[%s]" % b",".join(chosen)
        return whole

    def _encode_rows(self, names: Names) -> list[bytes]:
        entries = self._kept.get(names)
        if entries is None:
            order = [name for name in SessionNode.__struct_fields__ if name in names]
            entries = [encode({name: getattr(row, name) for name in order}) for row in self._rows]
            self._kept[names] = entries
        self._kept.move_to_end(names)
        while len(self._kept) > MAX_KEPT:
            oldest, _ = self._kept.popitem(last=False)
            self._wholes.pop((oldest, True), None)
            self._wholes.pop((oldest, False), None)
        return entries

    def _choose(self, wanted: Wanted, active_only: bool) -> list[int]:
        """Return the places of some rows."""
        if wanted.service_node_pubkeys:
            asked = dict.fromkeys(key.lower() for key in wanted.service_node_pubkeys)
            places = [self._places[key] for key in asked if key in self._places]
            if active_only:
                places = [place for place in places if place in self._usable]
        else:
            places = list(self._usable) if active_only else list(range(len(self._rows)))
        limit = wanted.limit or 0
        if limit:
            places = random.sample(places, len(places) if limit < 0 else min(limit, len(places)))
        return places
