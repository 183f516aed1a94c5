"""The nodes as programs of the Session network ask for them: rows by key, and their JSON.

- Rows come with the event `nodes` and are shown from the view on that follows it, so that a
  request sees the rows of exactly that view's height, never half of a change.
- A push that does not fit leaves the rows unknown: from the next view on nothing is shown, until
  all rows come anew.
- JSON is made once and sent often: it is kept for the sets of fields that were asked for last,
  row by row, and only rows that changed are made again.
"""

import random
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, TypeAlias

import msgspec
import structlog

from registry.formats.session import SessionNode, is_reachable
from registry.ipc import Lost
from registry.view import NodeRow, PushedNodes

FIELDS: Final = SessionNode.__struct_fields__
"""Fields of an entry, in its order."""

MAX_KEPT: Final = 16
"""Sets of fields whose JSON is kept."""

KEEP_BYTES: Final = 2**26
"""JSON that is kept, together; the newest is kept whatever its size."""

Names: TypeAlias = frozenset[str]
"""Some of `FIELDS`."""

Rows: TypeAlias = Mapping[str, NodeRow]
"""By key."""

encode = msgspec.json.Encoder().encode
log = structlog.get_logger()


class NodeTable:
    """All rows of one height; used on one event loop only."""

    def __init__(self, keep_bytes: int = KEEP_BYTES) -> None:
        self._keep_bytes = keep_bytes
        self._coming: dict[str, NodeRow | None] = {}
        """What changes with the next view, None for rows that go."""
        self._is_new = False
        """Whether that is all there is."""
        self._is_known = False
        self._rows: dict[str, NodeRow] | None = None
        self._keys: dict[bool, list[str]] = {}
        """All keys, and those of `is_usable` rows, ascending."""
        self._kept: OrderedDict[Names, _Json] = OrderedDict()

    # -------------------------------------------------------------------------- rows

    def take(self, payload: Any) -> None:
        """Take in a push; what it changes is shown by the next `show`."""
        try:
            push = msgspec.convert(payload, PushedNodes)
        except msgspec.ValidationError:
            log.exception("nodes refused")
            self._is_known = False
            return
        if push.first:
            self._coming, self._is_new, self._is_known = {}, True, True
        if not self._is_known:
            # changes of rows that are not known
            return
        self._coming.update(dict.fromkeys(push.removed))
        self._coming.update((row.service_node_pubkey, row) for row in push.rows)

    def show(self) -> None:
        """Show what has come: a view with the same height is there."""
        before = self._rows
        if not self._is_known:
            self._rows, self._keys = None, {}
        elif self._is_new or before is None:
            rows = ((key, row) for key, row in self._coming.items() if row is not None)
            self._rows = dict(sorted(rows, key=itemgetter(0)))
            usable = [key for key, row in self._rows.items() if is_usable(row)]
            self._keys = {False: list(self._rows), True: usable}
        else:
            self._change(before)
        if self._coming or self._rows is not before:
            changed = self._coming if self._rows is before else before
            for json in self._kept.values():
                json.forget(changed or ())
        self._coming, self._is_new = {}, False

    def _change(self, rows: dict[str, NodeRow]) -> None:
        """Change some of many rows, which is all that most blocks do."""
        for key, row in self._coming.items():
            before = rows.pop(key, None) if row is None else rows.get(key)
            if row is not None:
                rows[key] = row
            _keep(self._keys[False], key, before is not None, row is not None)
            is_in = row is not None and is_usable(row)
            _keep(self._keys[True], key, before is not None and is_usable(before), is_in)

    @property
    def rows(self) -> Rows:
        """The rows of the newest view. Raises `Lost` while they are not known."""
        if self._rows is None:
            raise Lost("the nodes are not known yet")
        return self._rows

    # -------------------------------------------------------------------------- JSON

    def render(self, names: Names, active_only: bool) -> bytes:
        """Return an array of all entries, or of the usable ones. Raises `Lost`."""
        rows, json = self.rows, self._json(names)
        raw = json.whole(rows, self._keys[active_only], active_only)
        self._trim()
        return raw

    def render_some(
        self, names: Names, active_only: bool, keys: Iterable[str] | None, limit: int
    ) -> bytes:
        """Return an array of the entries with these keys, or of all if None; raises `Lost`.

        `limit` 0 leaves them in order, n > 0 takes n of them at random, less than 0 shuffles them.
        """
        rows, json = self.rows, self._json(names)
        chosen = self._keys[active_only]
        if keys is not None:
            known = [key for key in dict.fromkeys(keys) if key in rows]
            chosen = [key for key in known if is_usable(rows[key])] if active_only else known
        if limit:
            count = len(chosen) if limit < 0 else min(limit, len(chosen))
            chosen = random.sample(chosen, count)
        raw = json.array(rows, chosen)
        self._trim()
        return raw

    def _json(self, names: Names) -> "_Json":
        json = self._kept.setdefault(names, _Json(names))
        self._kept.move_to_end(names)
        return json

    def _trim(self) -> None:
        held = sum(json.size for json in self._kept.values())
        while len(self._kept) > 1 and (len(self._kept) > MAX_KEPT or held > self._keep_bytes):
            _, oldest = self._kept.popitem(last=False)
            held -= oldest.size


def _keep(keys: list[str], key: str, was_in: bool, is_in: bool) -> None:
    """Have a key in an ascending list, or not."""
    if was_in == is_in:
        return
    place = bisect_left(keys, key)
    if is_in:
        keys.insert(place, key)
    else:
        del keys[place]


def is_usable(row: NodeRow) -> bool:
    """Whether a node is on duty and can be reached by those who ask for active nodes only."""
    return row.active and is_reachable(row)


class _Json:
    """The JSON of rows with one set of fields, row by row and as whole arrays."""

    def __init__(self, names: Names) -> None:
        self._names = tuple(name for name in FIELDS if name in names)
        self._entries: dict[str, bytes] = {}
        self._wholes: dict[bool, bytes] = {}
        self.size = 0
        """Bytes that it holds."""

    def forget(self, changed: Iterable[str]) -> None:
        """Let go of rows that changed, and of what holds any."""
        self.size -= sum(map(len, self._wholes.values()))
        self._wholes.clear()
        for key in changed:
            self.size -= len(self._entries.pop(key, b""))

    def whole(self, rows: Rows, keys: Sequence[str], active_only: bool) -> bytes:
        """Return the array of these rows, which are all or all usable ones."""
        raw = self._wholes.get(active_only)
        if raw is None:
            raw = self._wholes[active_only] = self.array(rows, keys)
            self.size += len(raw)
        return raw

    def array(self, rows: Rows, keys: Sequence[str]) -> bytes:
        """Return the array of these rows."""
        entries = self._entries
        for key in keys:
            if key not in entries:
                row = rows[key]
                entry = encode({name: getattr(row, name) for name in self._names})
                entries[key] = entry
                self.size += len(entry)
        return b"[%s]" % b",".join([entries[key] for key in keys])
