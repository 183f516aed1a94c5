"""`waypost report watch`: what services caught is checked here, and reported where that pays.

- No service is believed: evidence is checked by its signatures before anybody is asked about it.
- A service that shows a contradiction is asked what a report would do. What brings no bounty, and
  what was punished already, is left alone, so a watcher may be stopped and started at any time.
- What one service says of it holds for that one only: none can talk us out of a report to another.
- Only what services show now is remembered, so that none of them can fill the memory.
- One that is slow, or answers with rubbish, is not in the way of the others: all are asked side by
  side, and what the quick ones show is reported first.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec
import typer

from ledger.errors import Refusal, WaypostError
from registry.amounts import format_amount
from registry.cli.arguments import KEY_FILE
from registry.cli.http import (
    DEFAULT_URL,
    Penalty,
    Refused,
    Report,
    ReportPage,
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

PATIENCE_S: Final = 180.0
"""For all that a service is asked to show, and again for all that one report takes with it."""

PAGE: Final = 100
"""Reports asked for at once."""

PUNISHED: Final = "punished_already"
SETTLED: Final = (PUNISHED, "evidence_too_old", "nothing_at_stake")
"""Refusals that stay: no later report of the same evidence does anything."""

NO_BOUNTY: Final = "no_bounty"
"""Why a report that would be taken is left alone."""


class Shown(msgspec.Struct):
    """A contradiction as a service shows it."""

    evidence: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{2})+$")]


class Votes(msgspec.Struct):
    """Of what a service holds the contradictions."""

    contradictions: list[Shown]


class Answer(NamedTuple):
    """What a service says when it is looked at."""

    service: Service
    target: "Target"
    evidence: list[bytes]


class Silence(NamedTuple):
    """What is wrong with a service instead."""

    service: Service
    error: Exception


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
        self._shown: dict[str, set[bytes]] = {}
        """Hashes of all the evidence that each service showed last."""
        self._sent: set[bytes] = set()
        self._counted: set[bytes] = set()
        """Hashes of the evidence that was sent, and of that whose report was seen in a block."""
        self._warned: dict[str, str] = {}
        """What was said last about each service, so that it is said once."""
        self._reported = 0
        self._earned = 0
        """Atomic units."""

    def look(self) -> int:
        """Look at every service once; return how many answered."""
        answered = 0
        for said in self._ask_all():
            url = said.service.url
            try:
                complaint = self._take(said)
                answered += 1
            except WaypostError as error:
                complaint = str(error)
            if complaint and self._warned.get(url) != complaint:
                warn(f"{url}: {complaint}")
            self._warned[url] = complaint
        shown = set().union(*self._shown.values())
        self._sent &= shown
        self._counted &= shown
        return answered

    def _ask_all(self) -> Iterable[Answer | Silence]:
        """Return what services show as they answer; in their order while no network is known.

        The first one that is named says which network is watched, not the one that is quickest.
        """
        said: SimpleQueue[Answer | Silence] = SimpleQueue()
        for service in self._services:
            # nobody waits for these threads once it is to end
            threading.Thread(target=self._ask, args=(service, said), daemon=True).start()
        arriving = (said.get() for _ in self._services)
        if self._network is not None or self._genesis is not None:
            return arriving
        return sorted(arriving, key=lambda one: self._services.index(one.service))

    def _ask(self, service: Service, said: "SimpleQueue[Answer | Silence]") -> None:
        try:
            service.give(PATIENCE_S)
            target = get_target(service, self._genesis)
            rows = convert(service.get("/v1/verdicts"), Votes).contradictions
            said.put(Answer(service, target, [bytes.fromhex(row.evidence) for row in rows]))
        except Exception as error:
            said.put(Silence(service, error))

    def counts(self) -> dict[str, Any]:
        """How many offences were reported, and what that earned."""
        return {"reported": self._reported, "earned": str(self._earned)}

    def end(self) -> dict[str, Any]:
        """The last event."""
        return {"event": "ended"} | self.counts()

    def _take(self, said: Answer | Silence) -> str:
        """Report what a service shows and is new; return what is wrong with it, if anything is.

        Raises what was wrong when it was asked, `ServiceError` and `WrongNetwork`.
        """
        from ledger.crypto import sha256

        if isinstance(said, Silence):
            raise said.error
        service, target, evidence = said
        self._check_same(target)
        complaint = ""
        done = self._done[service.url]
        shown = self._shown[service.url] = set(map(sha256, evidence))
        for raw in evidence:
            digest = sha256(raw)
            if digest not in done:
                service.give(PATIENCE_S)
                problem = self._judge(service, target, raw)
                complaint = problem or complaint
                if problem:
                    continue
            done.add(digest)
        done &= shown
        return complaint

    def _check_same(self, target: "Target") -> None:
        self._network = self._network or target.genesis_hash
        if target.genesis_hash != self._network:
            raise WrongNetwork(
                f"it serves the network {target.name} with the genesis "
                f"{target.genesis_hash.hex()}, the others that of {self._network.hex()}"
            )

    def _judge(self, service: Service, target: "Target", raw: bytes) -> str:
        """Check evidence, and report it if that pays; return why it has to be looked at again."""
        from ledger.crypto import sha256
        from registry.evidence import check_evidence

        digest = sha256(raw)
        try:
            proven = check_evidence(raw, target.genesis_hash)
        except Refusal as refusal:
            return f"it shows evidence that proves nothing: {refusal}"
        try:
            answer = service.post("/v1/reports/check", {"evidence": raw.hex()})
            if int(convert(answer, Penalty).bounty) == 0:
                self._leave(digest, proven, NO_BOUNTY)
            else:
                self._sent.add(digest)
                self._report(service, target, proven)
                self._counted.add(digest)
        except StillPending as pending:
            # the next look finds it punished, or reports it anew
            return str(pending)
        except Refused as refused:
            if refused.code not in SETTLED:
                return str(refused)
            is_open = digest in self._sent and digest not in self._counted
            if refused.code == PUNISHED and is_open and self._find_own(service, proven):
                self._counted.add(digest)
            else:
                self._leave(digest, proven, refused.code)
        return ""

    def _leave(self, digest: bytes, proven: "Proven", code: str) -> None:
        """Tell what is left alone, unless it was told of another service."""
        if not any(digest in known for known in (self._counted, *self._done.values())):
            self._note("left", proven, {"code": code})

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
        self._count(proven, row["hash"], answer)

    def _find_own(self, service: Service, proven: "Proven") -> bool:
        """Count a report that was sent before and is in a block, unless another account's is."""
        from registry.addresses import encode_account
        from registry.keystore import derive

        reporter = encode_account(derive(self._seed, "account").public)
        offender = proven.offender
        wanted = (proven.offence.name, offender.key.hex(), offender.epoch)
        cursor: dict[str, str] = {}
        while True:
            page = convert(service.get("/v1/reports", limit=PAGE, **cursor), ReportPage)
            for answer in page.reports:
                report = convert(answer, Report)
                penalty = report.penalty
                if (penalty.offence, penalty.key, penalty.epoch) == wanted:
                    if report.reporter == reporter:
                        self._count(proven, report.transaction, answer)
                    return report.reporter == reporter
            if page.next is None or not page.reports:
                return False
            cursor = {"cursor": page.next}

    def _count(self, proven: "Proven", tx_hash: str | None, answer: dict[str, Any]) -> None:
        report = convert(answer, Report)
        self._reported += 1
        self._earned += int(report.penalty.bounty)
        place = {"hash": tx_hash, "height": report.height, "index": report.index}
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
