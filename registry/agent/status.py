"""What an agent tells its operator: a file in its home, whole at every moment."""

import time
from pathlib import Path
from typing import Any, Final

import msgspec

from ledger.errors import WaypostError
from registry.files import write_atomically

MAX_STATUS_BYTES: Final = 2**20

MODE: Final = 0o644
"""Others on the machine may read it: nothing secret is in it."""


class NoStatus(WaypostError):
    """There is no status to show; the message says what to do."""


class Status:
    """Facts by name, written when one of them changes."""

    def __init__(self, path: Path, **facts: Any) -> None:
        self._path = path
        self._facts: dict[str, Any] = facts
        self._written: bytes = b""

    def put(self, **facts: Any) -> None:
        """Change some facts. A file that cannot be written stops nothing."""
        self._facts |= facts
        raw = msgspec.json.encode(self._facts)
        if raw == self._written:
            return
        now_ms = time.time_ns() // 1_000_000
        data = msgspec.json.encode({"written_ms": now_ms} | self._facts)
        try:
            write_atomically(self._path, msgspec.json.format(data, indent=1) + b"\n", MODE)
        except OSError:
            return
        self._written = raw

    def get(self, name: str) -> Any:
        """Return a fact, None if there is none."""
        return self._facts.get(name)


def read_status(path: Path) -> dict[str, Any]:
    """Return what an agent told last. Raises `NoStatus`."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_STATUS_BYTES), type=dict[str, Any])
    except FileNotFoundError:
        raise NoStatus(f"there is no {path}: start the agent with `waypost agent`") from None
    except (OSError, ValueError, RecursionError) as error:
        raise NoStatus(f"{path} cannot be read: {error}") from None
