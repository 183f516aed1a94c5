"""The supervisor: starts the processes of one service, and ends them all, in order.

    workers → ledger → web      the order of starting; stopping goes the other way

It holds no state. Key files were opened before it starts anything, and it hands their seeds to the
ledger process alone. When one process ends by itself the others are stopped too, and its exit code
is the supervisor's. When the supervisor dies, however it dies, its end of each child's lifeline
closes and every child stops by itself.
"""

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import Sequence
from typing import IO, Final

import structlog

from ledger.errors import WaypostError
from registry.handover import Seeds, hand_over
from registry.lifeline import NONE, until_stopped
from registry.settings import Settings
from registry.sockets import listen

STOP_S: Final = 10.0
"""How long a process may take to stop before it is killed."""

log = structlog.get_logger()


class HomeInUse(WaypostError):
    """Another service runs on this home."""


class Child:
    """One process, with the writing end of its lifeline."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, lifeline: int) -> None:
        self.name = name
        self.process = process
        self._lifeline = lifeline

    @classmethod
    async def start(
        cls,
        name: str,
        module: str,
        arguments: Sequence[str],
        fds: Sequence[int] = (),
        log_file: IO[bytes] | None = None,
    ) -> "Child":
        """Start `python -m module` with a lifeline; it inherits `fds` too.

        It logs to standard error, or to `log_file`.
        """
        reading, writing = os.pipe()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments, "--lifeline", str(reading)),
            pass_fds=(reading, *fds),
            # Ctrl-C reaches the supervisor alone, which stops the others in order
            start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=log_file,
        )
        os.close(reading)
        return cls(name, process, writing)

    async def stop(self) -> None:
        """Ask the process to stop, and kill it if it does not."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.process.wait(), STOP_S)
            except TimeoutError:
                log.error("killed", name=self.name, reason=f"it did not stop within {STOP_S} s")
                self.process.kill()
                await self.process.wait()
        os.close(self._lifeline)


class Supervisor:
    """The processes of one service."""

    def __init__(
        self, settings: Settings, log_file: IO[bytes] | None = None, seeds: Seeds | None = None
    ) -> None:
        """Key files whose seeds are not among `seeds` are read by the ledger process itself."""
        self._settings = settings
        self._log_file = log_file
        self._seeds = seeds or {}
        self._children: list[Child] = []
        self._lock: IO[str] | None = None
        self.port = settings.port

    async def run(self, lifeline: int = NONE) -> int:
        """Start everything, wait until told to stop or until a process ends; return its code.

        Raises `CannotListen` and `HomeInUse`.
        """
        try:
            await self._start()
            return await self._wait(lifeline)
        finally:
            for child in reversed(self._children):
                await child.stop()
            if self._lock is not None:
                self._lock.close()

    async def _start(self) -> None:
        settings = self._settings
        settings.run_path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._hold_home()
        if not settings.web:
            await self._add_ledger()
            return
        listening = listen(settings.host, settings.port)
        self.port = listening.getsockname()[1]
        for path in settings.worker_sockets:
            await self._add("worker", "registry.workers", ["--socket", str(path)])
        await self._add_ledger()
        web = ["--socket", str(settings.ledger_socket), "--publish", str(settings.publish_path)]
        fd = listening.fileno()
        await self._add("web", "registry.web_process", [*web, "--fd", str(fd)], [fd])
        listening.close()

    def _hold_home(self) -> None:
        """Keep others off this home, whose sockets they would take; it ends with this process."""
        self._lock = (self._settings.run_path / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise HomeInUse(
                f"{self._settings.home} is in use by another service: stop it first"
            ) from None

    async def _add_ledger(self) -> None:
        reading = hand_over(self._seeds)
        arguments = ["--settings", self._settings.model_dump_json(), "--seeds", str(reading)]
        try:
            await self._add("ledger", "registry.ledger_process", arguments, [reading])
        finally:
            os.close(reading)

    async def _add(
        self, name: str, module: str, arguments: list[str], fds: Sequence[int] = ()
    ) -> None:
        child = await Child.start(name, module, arguments, fds, self._log_file)
        self._children.append(child)

    async def _wait(self, lifeline: int) -> int:
        stop = asyncio.create_task(until_stopped(lifeline))
        ends = {asyncio.create_task(child.process.wait()): child for child in self._children}
        await asyncio.wait([stop, *ends], return_when=asyncio.FIRST_COMPLETED)
        for task in (stop, *ends):
            task.cancel()
        for child in self._children:
            if child.process.returncode is not None:
                log.error("process ended", name=child.name, code=child.process.returncode)
                return child.process.returncode or 1
        return 0


def main(settings: Settings, seeds: Seeds | None = None, lifeline: int = NONE) -> int:
    """Run a service until it is told to stop; return its exit code.

    `seeds` are those of its key files, for the ledger process alone.
    """
    from registry.logs import set_up_logs

    set_up_logs("supervisor")
    return asyncio.run(Supervisor(settings, seeds=seeds).run(lifeline))
