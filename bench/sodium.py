"""The peer of execution: how many signatures libsodium verifies when it has both cores to itself.

    python -m bench.sodium FILE     verifies the signatures in FILE once for each line that it reads

Each process calls libsodium through PyNaCl's binding, buffers made beforehand, nothing in between
but the loop: what a call costs beyond libsodium is under one percent. The same signatures in each.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec
from nacl._sodium import ffi, lib  # type: ignore[import-not-found]

from bench.figures import python_command
from ledger.crypto import Signed

PROCESSES: Final = 2


class Sodium:
    """Processes that do nothing but verify, when told to."""

    def __init__(self, items: Sequence[Signed], folder: Path, processes: int = PROCESSES) -> None:
        path = folder / "signatures"
        path.write_bytes(msgspec.msgpack.encode([tuple(item) for item in items]))
        self._count = len(items)
        self._children = [
            subprocess.Popen(
                python_command("-m", "bench.sodium", str(path)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(processes)
        ]
        self._wait(self._children)

    @staticmethod
    def _wait(children: Sequence["subprocess.Popen[str]"]) -> None:
        for child in children:
            assert child.stdout is not None
            if not child.stdout.readline():
                raise RuntimeError("a process of the peer has died")

    def measure(self, processes: int = PROCESSES) -> float:
        """Return the signatures that all processes together verify in a second, now."""
        children = self._children[:processes]
        began = time.perf_counter()
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        self._wait(children)
        return processes * self._count / (time.perf_counter() - began)

    def close(self) -> None:
        """End the processes."""
        for child in self._children:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.close()
            child.wait()
            child.stdout.close()


def _prepare(items: Sequence[Signed]) -> list[tuple[Any, ...]]:
    """Return the arguments of each call."""
    prepared = []
    for key, message, signature in items:
        size = len(signature) + len(message)
        signed = ffi.new("unsigned char[]", signature + message)
        out = ffi.new("unsigned char[]", size)
        out_size = ffi.new("unsigned long long *")
        prepared.append((out, out_size, signed, size, ffi.new("unsigned char[]", key)))
    return prepared


def main(path: str, orders: TextIO) -> None:
    """Verify once for each order."""
    items = [Signed(*row) for row in msgspec.msgpack.decode(Path(path).read_bytes())]
    prepared = _prepare(items)
    verify = lib.crypto_sign_open
    print("ready", flush=True)
    for _ in orders:
        bad = sum(verify(*arguments) != 0 for arguments in prepared)
        print("done" if not bad else "bad", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.stdin)
