"""`waypost report watch`: what services caught is checked here, and reported where that pays.

- No service is believed: evidence is checked by its signatures before anybody is asked about it.
- A service that shows a contradiction is asked what a report would do. What brings no bounty, and
  what was punished already, is left alone, so a watcher may be stopped and started at any time.
- Only what services show now is remembered, so that none of them can fill the memory.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from registry.amounts import format_amount
from registry.cli.arguments import KEY_FILE
from registry.cli.http import (
    DEFAULT_URL,
    Penalty,
    Refused,
    Report,
    Service,
    ServiceError,
    convert,
)
from registry.cli.output import Output, OutputOption, emit, printable, refusals, warn
from registry.cli.passphrases import KeyFiles, PassphraseFd, PassphraseFile
from registry.cli.sending import GenesisOption, StillPending, WrongNetwork, get_target, send_paid

if TYPE_CHECKING:
    from registry.cli.sending import Target
    from registry.evidence import Proven

INTERVAL_S: Final = 10

SETTLED: Final = ("punished_already", "evidence_too_old", "nothing_at_stake")
"""Refusals that stay: no later report of the same evidence does anything."""

NO_BOUNTY: Final = "no_bounty"
"""Why a report that would be taken is left alone."""


class Shown(msgspec.Struct):
    """A contradiction as a service shows it."""

    evidence: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{2})+$")]


class Votes(msgspec.Struct):
    """Of what a service holds the contradictions."""

    contradictions: list[Shown]


def watch(
    source: Annotated[
        Path, typer.Option("--from", metavar=KEY_FILE, help="Key file of the account that reports.")
    ],
    url: Annotated[
        list[str] | None,
        typer.Option(
            envvar="WAYPOST_URL",
            metavar="URL",
            help=f"A service to watch; may be repeated; {DEFAULT_URL} by default.",
        ),
    ] = None,
    every: Annotated[
        int, typer.Option(min=1, help="Seconds from one look to the next.")
    ] = INTERVAL_S,
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    genesis: GenesisOption = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    lifeline: Annotated[int, typer.Option(hidden=True)] = -1,
    output: OutputOption = Output.TEXT,
) -> None:
    """Report every vote equivocation that services show and that pays, each of them once.

    Runs until it is told to stop, and says what it reported and earned as it goes; with `-o json`
    in one line for each. With `--once` it looks once: exit code 1 means that no service answered.
    """
    keys = KeyFiles(passphrase_file, passphrase_fd)
    with refusals():
        seed = keys.load(source)
        events: list[dict[str, Any]] = []
        urls = url or [DEFAULT_URL]
        if once:
            watcher = Watcher(urls, genesis, seed, events.append)
            if not watcher.look():
                raise ServiceError("no service answered")
            facts = {"events": events, **watcher.counts()}
            emit(facts, output, lambda: "\n".join(map(_say_event, [*events, watcher.end()])))
            return
        watcher = Watcher(urls, genesis, seed, lambda event: _print_event(event, output))
        _end_with(lifeline)
        with suppress(KeyboardInterrupt):
            while True:
                watcher.look()
                time.sleep(every)
        _print_event(watcher.end(), output)


class Watcher:
    """One who reports: what it did, and what came of it."""

    def __init__(
        self,
        urls: Sequence[str],
        genesis: Path | None,
        seed: bytes,
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        """`tell` is called with each report, and with what is left alone."""
        self._services = [Service(url) for url in dict.fromkeys(urls)]
        self._genesis = genesis
        self._seed = seed
        self._tell = tell
        self._network: bytes | None = None
        """Hash of the genesis file of the network that is watched: the first one that is seen."""
        self._done: dict[str, set[bytes]] = {service.url: set() for service in self._services}
        """Hashes of the evidence that needs no more looks, of what each service showed last."""
        self._warned: dict[str, str] = {}
        """What was said last about each service, so that it is said once."""
        self._reported = 0
        self._earned = 0
        """Atomic units."""

    def look(self) -> int:
        """Look at every service once; return how many answered."""
        answered = 0
        for service in self._services:
            try:
                complaint = self._look_at(service)
                answered += 1
            except (ServiceError, WrongNetwork) as error:
                complaint = str(error)
            if complaint and self._warned.get(service.url) != complaint:
                warn(f"{service.url}: {complaint}")
            self._warned[service.url] = complaint
        return answered

    def counts(self) -> dict[str, Any]:
        """How many offences were reported, and what that earned."""
        return {"reported": self._reported, "earned": str(self._earned)}

    def end(self) -> dict[str, Any]:
        """The last event."""
        return {"event": "ended"} | self.counts()

    def _look_at(self, service: Service) -> str:
        """Report what a service shows and is new; return what is wrong with it, if anything is.

        Raises `ServiceError` and `WrongNetwork`.
        """
        from ledger.crypto import sha256

        target = self._get_target(service)
        complaint = ""
        done, shown = self._done[service.url], set()
        for row in convert(service.get("/v1/verdicts"), Votes).contradictions:
            raw = bytes.fromhex(row.evidence)
            digest = sha256(raw)
            shown.add(digest)
            if not any(digest in known for known in self._done.values()):
                problem = self._judge(service, target, raw)
                complaint = problem or complaint
                if problem:
                    continue
            done.add(digest)
        done &= shown
        return complaint

    def _get_target(self, service: Service) -> "Target":
        target = get_target(service, self._genesis)
        self._network = self._network or target.genesis_hash
        if target.genesis_hash != self._network:
            raise WrongNetwork(
                f"it serves the network {target.name} with the genesis "
                f"{target.genesis_hash.hex()}, the others that of {self._network.hex()}"
            )
        return target

    def _judge(self, service: Service, target: "Target", raw: bytes) -> str:
        """Check evidence, and report it if that pays; return why it has to be looked at again."""
        from ledger.errors import Refusal
        from registry.evidence import check_evidence

        try:
            proven = check_evidence(raw, target.genesis_hash)
        except Refusal as refusal:
            return f"it shows evidence that proves nothing: {refusal}"
        try:
            answer = service.post("/v1/reports/check", {"evidence": raw.hex()})
            if int(convert(answer, Penalty).bounty) == 0:
                self._note("left", proven, {"code": NO_BOUNTY})
            else:
                self._report(service, target, proven)
        except StillPending as pending:
            # the next look finds it punished, or reports it anew
            return str(pending)
        except Refused as refused:
            if refused.code not in SETTLED:
                return str(refused)
            self._note("left", proven, {"code": refused.code})
        return ""

    def _report(self, service: Service, target: "Target", proven: "Proven") -> None:
        """Send a report, and note what it did. Raises `ServiceError` and `StillPending`."""
        row = send_paid(
            service,
            target,
            self._seed,
            lambda wallet, terms: wallet.report(terms, proven.report),
            wait=True,
        )
        answer = service.get(f"/v1/reports/{row['height']}/{row['index']}")
        penalty = convert(answer, Report).penalty
        self._reported += 1
        self._earned += int(penalty.bounty)
        place = {name: row[name] for name in ("hash", "height", "index")}
        self._note("reported", proven, place | {"penalty": answer["penalty"]})

    def _note(self, event: str, proven: "Proven", facts: dict[str, Any]) -> None:
        what = {
            "offence": proven.offence.name,
            "key": proven.offender.key.hex(),
            "epoch": proven.offender.epoch,
        }
        self._tell({"event": event} | what | facts | self.counts())


# --- when it ends -------------------------------------------------------------------------------


def _end_with(lifeline: int) -> None:
    """Have SIGTERM, and the end of the lifeline, break off what runs as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if lifeline >= 0:
        threading.Thread(target=_hold, args=(lifeline,), daemon=True).start()


def _hold(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)


# --- how it is shown ----------------------------------------------------------------------------


def _print_event(event: dict[str, Any], output: Output) -> None:
    if output == Output.JSON:
        print(msgspec.json.encode(event).decode(), flush=True)
    else:
        print(printable(_say_event(event)), flush=True)


def _say_event(event: dict[str, Any]) -> str:
    earned = format_amount(int(event["earned"]))
    if event["event"] == "ended":
        return f"{event['reported']} reported, {earned} earned"
    what = f"{event['offence']} in epoch {event['epoch']} by the key {event['key']}"
    if event["event"] == "left":
        return f"left alone {what}: {event['code']}"
    penalty = convert(event["penalty"], Penalty)
    taken, bounty = (format_amount(int(units)) for units in (penalty.taken, penalty.bounty))
    return (
        f"reported {what} of {penalty.node or 'no node'} in block {event['height']}: {taken} "
        f"taken, {bounty} for the reporter, {earned} earned"
    )
