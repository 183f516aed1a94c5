"""What is kept from one run to the next: what was told, what waits, and what nodes were like.

- One file, written whole and synced before anything of it leaves the process. So a message is
  never lost: if the process dies between sending it and noting that, it is sent again, with the
  same id.
- One process at a time holds the folder, by a lock on its file `lock`.
- A file that is damaged is refused, since starting from nothing would tell everything again, or
  forget what waits.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import structlog

from ledger.errors import WaypostError
from registry.files import write_durably
from registry.warnings.cases import Past
from registry.warnings.messages import Message
from registry.warnings.news import Told

LOCK: Final = "lock"

MAX_BYTES: Final = 2**26

MAX_WAITING: Final = 1_000
"""Messages that wait for one channel; past that the oldest give way, and are counted."""


log = structlog.get_logger()


class BadMemory(WaypostError):
    """The file cannot be used; the message says what to do."""


class HomeInUse(WaypostError):
    """Another process has the home."""


class Queue(msgspec.Struct):
    """What waits for one channel, in order."""

    messages: list[Message] = []
    dropped: int = 0
    """Messages that gave way since the channel last took one."""


class Memory(msgspec.Struct):
    """All that is kept."""

    version: int = 1
    genesis_hash: str = ""
    """Of the network that is watched; empty before a service told it."""
    told: tuple[Told, ...] = ()
    nodes: dict[str, Past] = {}
    """By address."""
    blind_from_ms: int | None = None
    """Since when no service of the network gives an answer of use; None while one does."""
    failing: dict[str, int] = {}
    """Since when each service gives no answer of use, by URL."""
    queues: dict[str, Queue] = {}
    """By the name of a channel."""

    def queue_of(self, channel: str) -> Queue:
        """Return the queue of a channel."""
        return self.queues.setdefault(channel, Queue())

    def put(self, channel: str, message: Message) -> None:
        """Have a message wait for a channel."""
        queue = self.queue_of(channel)
        queue.messages.append(message)
        while len(queue.messages) > MAX_WAITING:
            # the first one may be on its way right now
            del queue.messages[1]
            queue.dropped += 1


class Keeper:
    """A memory with its file."""

    def __init__(self, path: Path) -> None:
        """Read what is kept. Raises `BadMemory`."""
        self._path = path
        self._written = b""
        self.memory = self._read()

    def save(self) -> bool:
        """Write what changed; once this returns true, it lasts.

        Where that fails it is logged, and tried again the next time: a warning that may come twice
        is better than none.
        """
        data = msgspec.json.encode(self.memory)
        if data != self._written:
            try:
                write_durably(self._path, data, 0o600)
            except OSError as error:
                log.error("memory not written", path=str(self._path), why=str(error))
                return False
            self._written = data
        return True

    def _read(self) -> Memory:
        try:
            with self._path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return Memory()
        try:
            memory = msgspec.json.decode(data, type=Memory)
            if memory.version != 1 or len(data) > MAX_BYTES:
                raise ValueError(f"version {memory.version}, {len(data)} bytes")
        except (ValueError, RecursionError) as error:
            raise BadMemory(
                f"{self._path} is damaged or of another version ({error}): move it away, and what "
                "is due is told again"
            ) from None
        self._written = data
        return memory


@contextmanager
def hold(home: Path) -> Iterator[None]:
    """Keep other processes off a home. Raises `HomeInUse`."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise HomeInUse(
                f"{home} is in use by another `waypost warn`: stop it, or name another --home"
            ) from None
        yield
