"""`waypost list audit`: what several sources serve, verified and compared."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry.cli.list_facts import describe
from registry.cli.output import EXIT_REFUSED, Output, OutputOption, Table, emit, refusals, warn
from registry.cli.sources import GenesisOption, now_ms, read_genesis

if TYPE_CHECKING:
    from registry.comparison import Checked, Comparison


def audit(
    urls: Annotated[
        list[str], typer.Argument(metavar="URL...", help="The sources.", show_default=False)
    ],
    genesis: GenesisOption = None,
    epochs: Annotated[
        int, typer.Option(min=0, help="Epochs before the newest whose headers are compared too.")
    ] = 8,
    evidence: Annotated[Path, typer.Option(help="Folder for evidence, if any is found.")] = Path(),
    output: OutputOption = Output.TEXT,
) -> None:
    """Verify what several sources serve, each from the genesis file on, and compare it.

    Where attestors signed two headers that contradict each other, the evidence is written to files
    that `waypost report submit` takes. Exit code 1 if anything does not hold or differs.
    """
    from registry.comparison import compare_sources
    from registry.home import default_genesis, default_home

    with refusals():
        raw = read_genesis(genesis or default_genesis(default_home()))
        found = compare_sources(urls, raw, now_ms(), epochs)
        files = _write_evidence(found, evidence)
        facts = {
            "sources": [_describe(source) for source in found.sources],
            "differences": [difference._asdict() for difference in found.differences],
            "evidence": [str(file) for file in files],
        }
        emit(facts, output, lambda: _tabulate(found))
        for line in _say(found, files):
            warn(line)
        if found.differences or any(source.failure for source in found.sources):
            raise typer.Exit(EXIT_REFUSED)


def _write_evidence(found: "Comparison", folder: Path) -> list[Path]:
    from ledger.codec import encode
    from ledger.crypto import sha256
    from registry.files import write_durably

    files = []
    for report in found.evidence:
        data = encode(report)
        file = folder / f"evidence-{sha256(data).hex()[:16]}"
        write_durably(file, data)
        files.append(file)
    return files


def _describe(source: "Checked") -> dict[str, Any]:
    known = {} if source.trusted.is_empty else describe(source.trusted)
    return {"url": source.url, "failure": str(source.failure or ""), **known}


def _tabulate(found: "Comparison") -> Table:
    rows = [_row(source) for source in found.sources]
    headings = ("source", "epoch", "nodes", "signed by", "status", "fingerprint begins")
    if found.differences:
        return Table(headings, rows, "they contradict each other")
    usable = sum(not source.trusted.is_empty for source in found.sources)
    return Table(headings, rows, f"{usable} of {len(rows)} sources hold, and agree")


def _row(source: "Checked") -> list[str]:
    trusted = source.trusted
    if trusted.is_empty:
        return [source.url, "-", "-", "-", str(source.failure), "-"]
    header, signers = trusted.header, trusted.signers
    return [
        source.url,
        str(header.epoch),
        str(header.node_count),
        f"{signers.signed} of {signers.seats}",
        str(trusted.status),
        " ".join(trusted.fingerprint[:3]),
    ]


def _say(found: "Comparison", files: list[Path]) -> list[str]:
    lines = [
        f"{source.url}: {source.failure}" for source in found.sources if source.failure is not None
    ]
    for one, other, epoch, in_history in found.differences:
        what = (
            f"the history of {other} does not hold what {one} has"
            if in_history
            else (f"{one} and {other} have two headers")
        )
        lines.append(f"{what} for epoch {epoch}")
    lines += [f"evidence for `waypost report submit`: {file}" for file in files]
    if found.differences and not files:
        lines.append("no attestor signed both, so nothing can be reported")
    return lines
