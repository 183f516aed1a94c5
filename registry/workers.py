"""Where signatures get verified: on other cores, in chunks, without state.

    WorkerVerifier    worker processes (`python -m registry.workers`), one for each core
    ThreadVerifier    threads of this process, for a replica that only attests

libsodium runs without the interpreter's lock, but its results are handled under it, so a process
that serves others too leaves the work to workers.
"""

import argparse
import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol

from ledger.crypto import Signed, verify_all
from registry.ipc import Connection, Lost, Server

CHUNK: Final = 256
"""Signatures in one piece of work: about 10 ms."""

CONNECT_TRIES: Final = 100
CONNECT_PAUSE_S: Final = 0.1


class Verifier(Protocol):
    """Verifies signatures somewhere else."""

    async def verify(self, items: Sequence[Signed]) -> list[bool]:
        """Return for each item whether its signature is valid."""

    async def close(self) -> None:
        """Let go of what it holds."""


def _chunks(items: Sequence[Signed]) -> list[list[Signed]]:
    # enough pieces for every core even when there is little to do
    size = min(CHUNK, max(16, -(-len(items) // 4)))
    return [list(items[i : i + size]) for i in range(0, len(items), size)]


class ThreadVerifier:
    """Verifies on threads of this process."""

    def __init__(self, threads: int | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads or os.cpu_count(), thread_name_prefix="verify")

    async def verify(self, items: Sequence[Signed]) -> list[bool]:
        """Return for each item whether its signature is valid."""
        loop = asyncio.get_running_loop()
        answers = await asyncio.gather(
            *(loop.run_in_executor(self._pool, verify_all, chunk) for chunk in _chunks(items))
        )
        return [valid for chunk in answers for valid in chunk]

    async def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class WorkerVerifier:
    """Verifies in worker processes; a chunk whose worker died goes to another."""

    def __init__(self, sockets: Sequence[Path]) -> None:
        self._connections: dict[Path, Connection] = {}
        self._connecting = asyncio.Lock()
        self._free: asyncio.Queue[Path] = asyncio.Queue()
        for path in (*sockets, *sockets):
            # two pieces of work for each worker, so that none waits for the next
            self._free.put_nowait(path)

    async def verify(self, items: Sequence[Signed]) -> list[bool]:
        """Return for each item whether its signature is valid."""
        answers = await asyncio.gather(*(self._verify_chunk(chunk) for chunk in _chunks(items)))
        return [valid for chunk in answers for valid in chunk]

    async def _verify_chunk(self, chunk: list[Signed]) -> list[bool]:
        for _ in range(CONNECT_TRIES):
            path = await self._free.get()
            connection: Connection | None = None
            try:
                connection = await self._connect(path)
                bits: bytes = await connection.call("verify", [tuple(item) for item in chunk])
                if len(bits) == len(chunk):
                    return [bit == 1 for bit in bits]
                raise Lost("a worker answers something else than it was asked")
            except Lost:
                # another chunk may have connected again in the meantime
                if connection is not None and self._connections.get(path) is connection:
                    del self._connections[path]
                    await connection.close()
                await asyncio.sleep(CONNECT_PAUSE_S)
            finally:
                self._free.put_nowait(path)
        raise Lost("no worker answers")

    async def _connect(self, path: Path) -> Connection:
        async with self._connecting:
            connection = self._connections.get(path)
            if connection is None:
                connection = await Connection.open(path)
                self._connections[path] = connection
            return connection

    async def close(self) -> None:
        """End the connections."""
        # work that is being let go of may take a connection out meanwhile
        while self._connections:
            _, connection = self._connections.popitem()
            await connection.close()


async def _verify(items: list[Any]) -> bytes:
    return bytes(verify_all(Signed(*item) for item in items))


async def _serve(path: Path, lifeline: int) -> None:
    from registry.lifeline import until_stopped

    server = Server({"verify": _verify})
    stopped = until_stopped(lifeline)
    await server.start(path)
    await stopped
    await server.close()


def main(argv: Sequence[str] | None = None) -> None:
    """Run one worker process."""
    parser = argparse.ArgumentParser(prog="waypost-worker")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--lifeline", type=int, default=-1)
    options = parser.parse_args(argv)
    asyncio.run(_serve(options.socket, options.lifeline))


if __name__ == "__main__":
    main()
