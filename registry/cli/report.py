"""`waypost report`: evidence of offences, and the public record of those that were punished.

check     verify a file of evidence without any server, and say what it proves
submit    report it, and say what that did
watch     report whatever services caught, as long as it runs (`registry.cli.watching`)
list      the public record, the newest first
show      one report of it, and its evidence as a file
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from registry.amounts import format_amount, format_time
from registry.cli.arguments import KEY_FILE
from registry.cli.http import DEFAULT_URL, UrlOption
from registry.cli.output import Output, OutputOption, Table, align, emit, refusals
from registry.cli.passphrases import KeyFiles, PassphraseFd, PassphraseFile
from registry.cli.sending import GenesisOption, WaitOption
from registry.cli.watching import watch

if TYPE_CHECKING:
    from registry.cli import http
    from registry.evidence import Proven

PAGE: Final = 50

UNKNOWN: Final = (
    "whether that key is one of a node or an attestor of this network, whether this was punished "
    "already, and whether anything is still at stake: only a ledger knows, and --ask asks one"
)
"""What evidence alone cannot tell."""

EVIDENCE_FILE: Final = typer.Argument(help="File of evidence.", show_default=False)

app = typer.Typer(no_args_is_help=True)


@app.command()
def check(
    file: Annotated[Path, EVIDENCE_FILE],
    genesis: Annotated[
        Path | None,
        typer.Option(help="Genesis file of the network; that of the home directory by default."),
    ] = None,
    ask: Annotated[
        bool, typer.Option("--ask", help="Ask a service too what a report would do now.")
    ] = False,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TEXT,
) -> None:
    """Verify evidence without any server, and say what it proves, and what it cannot.

    It is checked that both statements are signed by the same key, and that they contradict each
    other. Exit code 1 means that nothing is proven. `--ask` changes nothing, either.
    """
    from ledger.crypto import sha256
    from ledger.genesis import load_genesis
    from registry.cli.http import Penalty, Service, convert
    from registry.evidence import check_evidence
    from registry.home import default_genesis, default_home

    with refusals():
        network = (genesis or default_genesis(default_home())).read_bytes()
        name = load_genesis(network).name.decode()
        raw = _read(file)
        proven = check_evidence(raw, sha256(network))
        facts = _describe(proven) | {"network": name, "genesis_hash": sha256(network).hex()}
        asked = None
        if ask:
            with Service(url) as service:
                answer = service.post("/v1/reports/check", {"evidence": raw.hex()})
                asked = convert(answer, Penalty)
                facts["now"] = answer
        emit(facts | {"file": str(file)}, output, lambda: _format_check(facts, asked))


@app.command()
def submit(
    file: Annotated[Path, EVIDENCE_FILE],
    source: Annotated[
        Path, typer.Option("--from", metavar=KEY_FILE, help="Key file of the account that reports.")
    ],
    url: UrlOption = DEFAULT_URL,
    genesis: GenesisOption = None,
    wait: WaitOption = True,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Report an offence, and say what that did. The fee comes back with the bounty.

    Evidence that proves nothing, or nothing new, is refused, and costs nothing.
    """
    from registry.cli.http import Service
    from registry.cli.sending import emit_sent, get_target, send_paid
    from registry.evidence import check_evidence

    keys = KeyFiles(passphrase_file, passphrase_fd)
    with refusals(), Service(url) as service:
        raw = _read(file)
        target = get_target(service, genesis)
        proven = check_evidence(raw, target.genesis_hash)
        seed = keys.load(source)
        row = send_paid(
            service,
            target,
            seed,
            lambda wallet, terms: wallet.report(terms, proven.report),
            wait,
        )
        answer = _find(service, row)
        what = f"reported {proven.offence.name}" if answer is None else _say(answer)
        emit_sent(row, output, what, target, report=answer)


app.command()(watch)


@app.command("list")
def list_reports(
    limit: Annotated[int, typer.Option(min=1, help="Reports to show, the newest first.")] = 20,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TEXT,
) -> None:
    """List the offences that were punished, the newest first: who did what, and what it cost."""
    from registry.cli.http import Report, ReportPage, Service, convert

    with refusals(), Service(url) as service:
        reports: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            wanted = min(PAGE, limit - len(reports))
            page = convert(service.get("/v1/reports", limit=wanted, **cursor), ReportPage)
            reports += page.reports
            if page.next is None or not page.reports or len(reports) >= limit:
                break
            cursor = {"cursor": page.next}
        known = convert(reports, list[Report])
        more = "" if page.next is None else "; there are more"
        count = f"{len(reports)} report{'' if len(reports) == 1 else 's'}"
        caption = f"{count} at height {page.height}{more}"
        facts = {"height": page.height, "reports": reports, "more": page.next is not None}
        emit(facts, output, lambda: _tabulate(known, caption))


@app.command()
def show(
    height: Annotated[int, typer.Argument(min=0, help="Its block.", show_default=False)],
    index: Annotated[int, typer.Argument(min=0, help="Its place in it.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="File to write the evidence to, for `waypost report check`.")
    ] = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show one report of the public record, and write its evidence to a file if asked to."""
    from registry.cli.http import Report, Service, convert
    from registry.files import create_durably

    with refusals(), Service(url) as service:
        answer = service.get(f"/v1/reports/{height}/{index}")
        known = convert(answer, Report)
        if out is not None:
            create_durably(out, bytes.fromhex(known.evidence))
        emit(answer, output, lambda: _format_report(known, out))


# --- files and answers --------------------------------------------------------------------------


def _read(file: Path) -> bytes:
    from registry.client.cache import read_bounded
    from registry.evidence import MAX_FILE_BYTES

    return read_bounded(file, MAX_FILE_BYTES)


def _find(service: "http.Service", row: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a report did; None before its block is there."""
    if row["height"] is None:
        return None
    return service.find(f"/v1/reports/{row['height']}/{row['index']}")


# --- how it is shown ----------------------------------------------------------------------------


def _describe(proven: "Proven") -> dict[str, Any]:
    from ledger.messages.state import ROLES
    from registry.evidence import explain

    return {
        "offence": proven.offence.name,
        "key": proven.offender.key.hex(),
        "role": ROLES[proven.offender.role],
        "epoch": proven.offender.epoch,
        "proves": explain(proven),
        "unknown": UNKNOWN,
    }


def _format_check(facts: dict[str, Any], asked: "http.Penalty | None") -> str:
    lines = [
        ("offence", facts["offence"]),
        ("key", f"{facts['key']} ({facts['role']})"),
        ("epoch", str(facts["epoch"])),
        ("network", f"{facts['network']} {facts['genesis_hash']}"),
        ("proves", facts["proves"]),
    ]
    if asked is None:
        return align([*lines, ("unknown", facts["unknown"])])
    return align([*lines, ("a report now", _say_cost(asked))])


def _say(answer: dict[str, Any]) -> str:
    """Return what a report did."""
    from registry.cli.http import Report, convert

    penalty = convert(answer, Report).penalty
    return f"punished {penalty.offence} in epoch {penalty.epoch}, {_say_cost(penalty)}"


def _say_cost(penalty: "http.Penalty") -> str:
    if penalty.node is None:
        whose = f"the key {penalty.key}, which is barred for good"
    else:
        whose = f"{penalty.node}{', which never returns' if penalty.tombstones else ''}"
    taken, bounty = (format_amount(int(units)) for units in (penalty.taken, penalty.bounty))
    return f"{taken} from {whose}; {bounty} of it to the reporter"


def _tabulate(reports: "list[http.Report]", caption: str) -> Table:
    rows = [
        [
            f"{report.height} {report.index}",
            format_time(report.time_ms),
            report.penalty.offence,
            str(report.penalty.epoch),
            report.penalty.node or report.penalty.key,
            format_amount(int(report.penalty.taken)),
            format_amount(int(report.penalty.bounty)),
        ]
        for report in reports
    ]
    columns = ("report", "time", "offence", "epoch", "node or key", "taken", "bounty")
    return Table(columns, rows, caption)


def _format_report(report: "http.Report", out: Path | None) -> str:
    penalty = report.penalty
    return align(
        [
            ("report", f"{report.height} {report.index}"),
            ("time", format_time(report.time_ms)),
            ("offence", f"{penalty.offence} in epoch {penalty.epoch}"),
            ("key", f"{penalty.key} ({penalty.role})"),
            ("node", penalty.node or "none has this key"),
            ("taken", format_amount(int(penalty.taken))),
            ("bounty", format_amount(int(penalty.bounty))),
            ("tombstone", "yes: it never returns" if penalty.tombstones else "no"),
            ("reporter", report.reporter or "the engine"),
            ("transaction", report.transaction or "none"),
            ("evidence", str(out) if out else "--out FILE writes it"),
        ]
    )
