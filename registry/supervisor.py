"""The supervisor: starts the processes of one service, and ends them all, in order.

    workers → ledger → web → CometBFT      the order of starting; stopping goes the other way

It holds no state. Key files were opened before it starts anything, and it hands their seeds to the
ledger process alone, and the key of a validator to CometBFT alone. When one process ends by itself
the others are stopped too, and its exit code is the supervisor's. When the supervisor dies, however
it dies, its end of each child's lifeline closes and every child stops by itself.

CometBFT runs under the engine `comet` only. It knows no lifeline, but it ends when it loses the
ledger process; so it is started once that serves it. It may be dead inside while its process runs,
so what it says comes through a pipe: a line of `DEATHS` ends the service as a process's end does.
"""

import argparse
import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

import structlog

from ledger.errors import WaypostError
from registry.cometbft.home import Prepared, prepare
from registry.cometbft.output import DEATHS, Failure, Output
from registry.handover import Seeds, fill_pipe, hand_over
from registry.lifeline import NONE, until_stopped
from registry.settings import Settings
from registry.sockets import listen

STOP_S: Final = 10.0
"""How long a process may take to stop before it is killed."""

LOOK_S: Final = 0.05
"""How often it is looked whether the ledger process serves CometBFT already."""

EXIT_REFUSED: Final = 1
"""Exit code of a service that was refused, or of which a process just ended."""

EXIT_DEAD: Final = 6
"""Exit code where CometBFT ran and did nothing any more; the last line says what to do."""

SETTLE_S: Final = 5.0
"""How long it is waited whether a process ends that has to do with CometBFT's death: that one says
more about the reason."""

log = structlog.get_logger()


class HomeInUse(WaypostError):
    """Another service runs on this home."""


class Child:
    """One process, with the writing end of its lifeline if it knows lifelines."""

    def __init__(
        self,
        name: str,
        process: asyncio.subprocess.Process,
        lifeline: int | None = None,
        output: Output | None = None,
    ) -> None:
        self.name = name
        self.process = process
        self._lifeline = lifeline
        self._output = output

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

        It logs to standard error, or to `log_file`, which gets its standard output too.
        """
        reading, writing = os.pipe()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments, "--lifeline", str(reading)),
            pass_fds=(reading, *fds),
            # Ctrl-C reaches the supervisor alone, which stops the others in order
            start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log_file,
            stderr=log_file,
        )
        os.close(reading)
        return cls(name, process, writing)

    @classmethod
    async def start_program(
        cls,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        environment: Mapping[str, str],
        output: Output,
        fds: Sequence[int] = (),
        log_file: IO[bytes] | None = None,
    ) -> "Child":
        """Start somebody else's program, which knows no lifeline, in a folder; it inherits `fds`.

        What it prints goes to `output`, and its errors where others log.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=folder,
                env=environment,
                pass_fds=fds,
                start_new_session=True,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output.writing,
                stderr=log_file,
            )
        except BaseException:
            output.give_up()
            raise
        output.start()
        return cls(name, process, output=output)

    async def stop(self) -> None:
        """Ask the process to stop, and kill it if it does not."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.process.wait(), STOP_S)
            except TimeoutError:
                log.error("killed", name=self.name, reason=f"it did not stop within {STOP_S} s")
        await self.kill()

    async def kill(self) -> None:
        """End the process as a power cut does, if it still runs: it can say no last word."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        await self._let_go()

    async def _let_go(self) -> None:
        """Close what led to a process that has ended."""
        if self._output is not None:
            await asyncio.to_thread(self._output.join, STOP_S)
        if self._lifeline is not None:
            os.close(self._lifeline)


class Supervisor:
    """The processes of one service."""

    def __init__(
        self, settings: Settings, log_file: IO[bytes] | None = None, seeds: Seeds | None = None
    ) -> None:
        """Key files whose seeds are not among `seeds` are read where they are needed."""
        self._settings = settings
        self._log_file = log_file
        self._seeds = seeds or {}
        self._children: list[Child] = []
        self._lock: IO[str] | None = None
        self._failure: Failure | None = None
        """What ended CometBFT inside, if that ends this service."""
        self.port = settings.port

    async def run(self, lifeline: int = NONE) -> int:
        """Start everything, wait until told to stop or until a process ends; return its code.

        Raises `CannotListen`, `HomeInUse`, and under the engine `comet` what `prepare` raises.
        """
        try:
            prepared = await self._start()
            return await self._wait(lifeline, prepared)
        finally:
            for child in reversed(self._children):
                await child.stop()
            if self._failure is not None:
                # the last word, after all that the others say while they stop
                self._say_dead(self._failure)
            if self._lock is not None:
                self._lock.close()

    async def _start(self) -> Prepared | None:
        """Start all but CometBFT, which is returned if there is to be one."""
        settings = self._settings
        settings.run_path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._hold_home()
        prepared = None
        if settings.engine == "comet":
            prepared = await asyncio.to_thread(prepare, settings, self._seeds)
        if settings.web:
            await self._start_serving()
        else:
            await self._add_ledger()
        return prepared

    async def _start_serving(self) -> None:
        settings = self._settings
        listening = listen(settings.host, settings.port)
        self.port = listening.getsockname()[1]
        for path in settings.worker_sockets:
            await self._add("worker", "registry.workers", ["--socket", str(path)])
        await self._add_ledger()
        web = ["--socket", str(settings.ledger_socket), "--publish", str(settings.publish_path)]
        web += ["--limits", settings.limits.model_dump_json()]
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
        named = self._settings.ledger_key_files
        reading = hand_over({path: self._seeds[path] for path in named if path in self._seeds})
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

    async def _add_cometbft(self, prepared: Prepared, death: asyncio.Future[Failure]) -> None:
        """Start CometBFT once the ledger process listens for it; `death` is told of its own."""
        settings = self._settings
        loop = asyncio.get_running_loop()

        def note(failure: Failure) -> None:
            if not death.done():
                death.set_result(failure)

        def tell(failure: Failure) -> None:
            loop.call_soon_threadsafe(note, failure)

        while not settings.abci_socket.exists():
            await asyncio.sleep(LOOK_S)
        log_file = sys.stderr if self._log_file is None else self._log_file
        reading = fill_pipe(prepared.key)
        try:
            output = Output(log_file.fileno(), tell)
            child = await Child.start_program(
                "cometbft",
                (prepared.program, *prepared.arguments),
                settings.home,
                prepared.environment(reading),
                output,
                [reading],
                self._log_file,
            )
        finally:
            os.close(reading)
        self._children.append(child)
        log.info("cometbft started", node=prepared.node_id)

    async def _wait(self, lifeline: int, prepared: Prepared | None) -> int:
        stop = until_stopped(lifeline)
        death: asyncio.Future[Failure] = asyncio.get_running_loop().create_future()
        if prepared is not None:
            adding = asyncio.create_task(self._add_cometbft(prepared, death))
            await self._wait_for(stop, adding)
            if adding.done():
                adding.result()
            else:
                adding.cancel()
                await asyncio.wait([adding])
        ended = await self._wait_for(stop, death)
        is_dead = death.done() and not stop.done()
        if is_dead and not ended:
            ended = await self._wait_for(stop, timeout_s=SETTLE_S)
        stop.cancel()
        for child in ended:
            log.error("process ended", name=child.name, code=child.process.returncode)
        if ended:
            return ended[0].process.returncode or EXIT_REFUSED
        if is_dead:
            self._failure = death.result()
            return EXIT_DEAD
        return 0

    def _say_dead(self, failure: Failure) -> None:
        log.error(
            "cometbft is dead",
            said=failure.said,
            reason=failure.reason,
            meaning=DEATHS[failure.said].meaning,
            advice=failure.advice(self._settings),
        )

    async def _wait_for(
        self, *tasks: asyncio.Future[Any], timeout_s: float | None = None
    ) -> list[Child]:
        """Wait until one of the tasks is done or a process ended; return those that ended."""
        ends = {asyncio.create_task(child.process.wait()): child for child in self._children}
        await asyncio.wait([*tasks, *ends], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        return [child for end, child in ends.items() if end.done() and not end.cancelled()]


def main(settings: Settings, seeds: Seeds | None = None, lifeline: int = NONE) -> int:
    """Run a service until it is told to stop; return its exit code.

    `seeds` are those of its key files, for the ledger process alone.
    """
    from registry.logs import set_up_logs

    set_up_logs("supervisor")
    return asyncio.run(Supervisor(settings, seeds=seeds).run(lifeline))


def run_under(argv: Sequence[str] | None = None) -> int:
    """Run a service under somebody who holds its lifeline, with key files in the clear.

    That is how a development network runs its nodes. Returns the exit code.
    """
    parser = argparse.ArgumentParser(prog="waypost-supervisor")
    parser.add_argument("--settings", required=True)
    parser.add_argument("--lifeline", type=int, default=NONE)
    options = parser.parse_args(argv)
    settings = Settings.model_validate_json(options.settings)
    try:
        return main(settings, lifeline=options.lifeline)
    except WaypostError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_REFUSED


if __name__ == "__main__":
    sys.exit(run_under())
