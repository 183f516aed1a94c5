"""Where records lie: keys and values of bytes, in order of key, written in atomic batches.

- A batch is in the store as a whole or not at all, whatever dies when.
- A synced batch survives the machine, and so does every batch before it.
- A write that raised may have landed or not. Nobody can tell before the store is opened again, so
  it takes no further write.
- Who reads while another thread writes reads through a snapshot that he opened before.

`MemoryStore` and `CrashStore` are here, `ledger.leveldb.LevelStore` is the one on disk; one suite
of tests holds all three to the same behaviour. To use what was closed is a caller's mistake.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn, Protocol

from ledger.errors import Misuse

# --- the port -----------------------------------------------------------------------------------


class Reader(Protocol):
    """Something to read records from."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value at `key`, or None where there is none."""

    def items(
        self, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Return keys and values from `start` up to, not including, `stop`, in order of key.

        Without `stop` up to the last key; `reverse` gives the same records in descending order.
        Writes after the call do not show in what it returns.
        """


class Snapshot(Reader, Protocol):
    """An unchanging picture of a store."""

    def close(self) -> None:
        """Let go of the picture. The store keeps what it shows until then."""


class Store(Reader, Protocol):
    """A store that can be written to, by one thread at a time."""

    def write(self, changes: Mapping[bytes, bytes | None], *, sync: bool = True) -> None:
        """Write all changes as one batch; None deletes, also what is not there.

        `sync` returns when the batch would survive a power cut. Raises OSError where the write
        failed; then the batch may be in the store or not, and every later write raises too.
        """

    def snapshot(self) -> Snapshot:
        """Return a picture of the store as it is now."""

    def close(self) -> None:
        """Close the store. Snapshots and iterators end with it; nobody may be reading."""


# --- in memory ----------------------------------------------------------------------------------


class _Table:
    """Records and their keys in order. What somebody looks at never changes: a write copies it."""

    __slots__ = ("_fresh", "_gone", "_keys", "lookers", "values")

    def __init__(self, values: dict[bytes, bytes]) -> None:
        self.values = values
        self.lookers = 0
        self._keys = sorted(values)
        # Keys that came or went since `_keys` was put in order; dicts, so that order is defined.
        self._fresh: dict[bytes, None] = {}
        self._gone: dict[bytes, None] = {}

    def copy(self) -> "_Table":
        """Return a table of its own with the same records; this one is settled."""
        other = _Table({})
        other.values = dict(self.values)
        other._keys = list(self._keys)
        return other

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                if self.values.pop(key, None) is not None:
                    _note(key, self._gone, unless=self._fresh)
                continue
            if key not in self.values:
                _note(key, self._fresh, unless=self._gone)
            self.values[key] = value

    def settle(self) -> None:
        """Put the keys in order; two sorted runs, so this is a merge and not a sort."""
        if self._gone:
            self._keys = [key for key in self._keys if key not in self._gone]
            self._gone = {}
        if self._fresh:
            self._keys.extend(sorted(self._fresh))
            self._keys.sort()
            self._fresh = {}

    def scan(
        self, start: bytes, stop: bytes | None, *, reverse: bool
    ) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over a table that is settled and has this looker counted already."""
        try:
            keys, values = self._keys, self.values
            low = bisect_left(keys, start)
            high = len(keys) if stop is None else bisect_left(keys, stop)
            span = range(low, high)
            for index in reversed(span) if reverse else span:
                yield keys[index], values[keys[index]]
        finally:
            self.lookers -= 1


def _note(key: bytes, here: dict[bytes, None], *, unless: dict[bytes, None]) -> None:
    """Note that a key came or went, unless that undoes what was noted before."""
    if key in unless:
        del unless[key]
    else:
        here[key] = None


class MemoryStore:
    """A store that lives in this process only.

    A snapshot or an iterator costs one copy, at the next write while it is open. `content` is
    copied.
    """

    def __init__(self, content: Mapping[bytes, bytes] | None = None) -> None:
        self._table: _Table | None = _Table(dict(content or {}))

    def get(self, key: bytes) -> bytes | None:
        return self._open().values.get(key)

    def items(
        self, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        return _look(self._open()).scan(start, stop, reverse=reverse)

    def write(self, changes: Mapping[bytes, bytes | None], *, sync: bool = True) -> None:
        table = self._open()
        if table.lookers:
            table = table.copy()
        table.apply(changes)
        self._table = table

    def snapshot(self) -> "MemorySnapshot":
        return MemorySnapshot(_look(self._open()))

    def close(self) -> None:
        self._table = None

    def _open(self) -> _Table:
        return self._table if self._table is not None else _closed()


class MemorySnapshot:
    """An unchanging picture of a `MemoryStore`."""

    def __init__(self, table: _Table) -> None:
        self._table: _Table | None = table

    def get(self, key: bytes) -> bytes | None:
        return self._open().values.get(key)

    def items(
        self, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        return _look(self._open()).scan(start, stop, reverse=reverse)

    def close(self) -> None:
        if self._table is not None:
            self._table.lookers -= 1
            self._table = None

    def _open(self) -> _Table:
        return self._table if self._table is not None else _closed()


def _look(table: _Table) -> _Table:
    """Settle a table and count one more looker, so that it stays as it is from now on."""
    table.settle()
    table.lookers += 1
    return table


def _closed() -> NoReturn:
    raise Misuse("the store or snapshot is closed")


# --- for tests ----------------------------------------------------------------------------------


class Crashed(BaseException):
    """The process died here, in a simulation. Not an Exception: nobody handles his own death."""


class CrashStore:
    """A store that dies where a test wants it to, and shows what would be left.

    Unsynced batches are volatile until a synced one follows. Whoever takes part in a write names
    the points that he passes with `at`; `write` itself passes "store.before_write" and
    "store.after_write". After death everything but `survivor` raises `Crashed`.
    """

    def __init__(self, content: Mapping[bytes, bytes] | None = None) -> None:
        self.passed: list[str] = []
        """The points passed, in order: a run without a crash lists the places for one."""

        self._live = MemoryStore(content)
        self._durable = dict(content or {})
        self._volatile: list[Mapping[bytes, bytes | None]] = []
        self._armed: tuple[str, int] | None = None
        self._fail_landed: bool | None = None
        self._failed = False
        self._died_at: str | None = None

    def arm(self, point: str, nth: int = 1) -> None:
        """Die when `point` is reached for the `nth` time from now on, 1 being the next time."""
        if nth < 1:
            raise Misuse(f"a point is never reached for the {nth}th time")
        self._armed = (point, nth)

    def at(self, point: str) -> None:
        """Pass a point, or die there."""
        self._live_or_dead()
        self.passed.append(point)
        if self._armed is None or self._armed[0] != point:
            return
        self._armed = (point, self._armed[1] - 1)
        if not self._armed[1]:
            self._died_at = point
            raise Crashed(point)

    def fail_next_write(self, landed: bool) -> None:
        """Make the next write raise OSError, after it took effect or without that it does."""
        self._fail_landed = landed

    def survivor(self, unsynced: int = 0) -> "CrashStore":
        """Return a store with what is durable by now, nothing armed.

        The first `unsynced` of the volatile batches reached the disk all the same: what was not
        synced may survive, in order, and that any of it is lost is not promised either.
        """
        content = dict(self._durable)
        for batch in self._volatile[:unsynced]:
            _merge(content, batch)
        return CrashStore(content)

    def get(self, key: bytes) -> bytes | None:
        self._live_or_dead()
        return self._live.get(key)

    def items(
        self, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        self._live_or_dead()
        return _while_alive(self._live_or_dead, self._live.items(start, stop, reverse=reverse))

    def write(self, changes: Mapping[bytes, bytes | None], *, sync: bool = True) -> None:
        self.at("store.before_write")
        if self._failed:
            raise OSError("a write failed before: open the store again")
        landed = self._fail_landed
        self._failed = landed is not None
        if landed is not False:
            self._land(dict(changes), sync)
        if self._failed:
            raise OSError("simulated failure of a write")
        self.at("store.after_write")

    def snapshot(self) -> "CrashSnapshot":
        self._live_or_dead()
        return CrashSnapshot(self._live_or_dead, self._live.snapshot())

    def close(self) -> None:
        self._live_or_dead()
        self._live.close()

    def _land(self, changes: Mapping[bytes, bytes | None], sync: bool) -> None:
        self._live.write(changes)
        self._volatile.append(changes)
        if sync:
            for batch in self._volatile:
                _merge(self._durable, batch)
            self._volatile = []

    def _live_or_dead(self) -> None:
        if self._died_at is not None:
            raise Crashed(self._died_at)


class CrashSnapshot:
    """An unchanging picture of a `CrashStore`; it dies with it."""

    def __init__(self, live_or_dead: Callable[[], None], picture: MemorySnapshot) -> None:
        self._live_or_dead = live_or_dead
        self._picture = picture

    def get(self, key: bytes) -> bytes | None:
        self._live_or_dead()
        return self._picture.get(key)

    def items(
        self, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        self._live_or_dead()
        return _while_alive(self._live_or_dead, self._picture.items(start, stop, reverse=reverse))

    def close(self) -> None:
        self._live_or_dead()
        self._picture.close()


def _while_alive(
    live_or_dead: Callable[[], None], items: Iterator[tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, bytes]]:
    for item in items:
        live_or_dead()
        yield item


def _merge(content: dict[bytes, bytes], batch: Mapping[bytes, bytes | None]) -> None:
    for key, value in batch.items():
        if value is None:
            content.pop(key, None)
        else:
            content[key] = value
