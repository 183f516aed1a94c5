"""`waypost ledger`: execute a chain again from its genesis file, in memory; and hand it on.

replay    every block, comparing every state root
audit     that, and every seal, signature and invariant as well, with a report
export    the history as one file, for a machine without database and network
diff      the first block in which two histories differ
bequeath  of a network that is over: the file with which the one that goes on begins
inherit   check such a file, and put it into the home of a node of that network

The blocks come from a stopped node's database, over HTTP from one that runs, or from a file that
`export` wrote. No database is written.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from registry.cli.arguments import HomeOption
from registry.cli.http import DEFAULT_URL
from registry.cli.inheriting import (
    InheritOption,
    now_ms,
    put_inheritance,
    read_inherited,
    show_inheritance,
)
from registry.cli.output import Output, OutputOption, align, emit, refusals
from registry.cli.sources import CheckpointOption
from registry.home import GENESIS, INHERITANCE

if TYPE_CHECKING:
    from ledger.store import Reader
    from registry.cli.divergence import Comparison, Difference
    from registry.cli.histories import Finding, Source
    from registry.cli.replay import Replay

REPORT_VERSION: Final = 1
"""Of the report's form, which docs/operating/auditing.md describes."""

OF_PROGRAMS: Final = ("format", "holds", "finding", "checks_by_invariant")
"""Fields of the report that people are not shown: a line above says it, or one beside."""

EXIT_DIFFERENT: Final = 1

FileArgument: TypeAlias = Annotated[
    Path | None,
    typer.Argument(help="A file that `export` wrote, instead of a node.", show_default=False),
]
UrlOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--url", help=f"Take the blocks from a running service, such as {DEFAULT_URL}."),
]
GenesisOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--genesis", help="Genesis file that it has to begin with; the source's own by default."
    ),
]

app = typer.Typer(no_args_is_help=True)


@app.command()
def replay(
    file: FileArgument = None,
    home: HomeOption = None,
    url: UrlOption = None,
    genesis: GenesisOption = None,
    inherit: InheritOption = None,
    checkpoint: CheckpointOption = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Execute every block again and compare every state root.

    A finding ends it with exit code 1, and says at which block.
    """
    from registry.cli.replay import Replay

    with refusals(), _open(file, home, url, genesis) as (source, reader):
        inherited = read_inherited(source.genesis, inherit, home, checkpoint)
        _work(Replay(source.genesis, inherited), source, reader, output, None)


@app.command()
def audit(
    file: FileArgument = None,
    home: HomeOption = None,
    url: UrlOption = None,
    genesis: GenesisOption = None,
    inherit: InheritOption = None,
    checkpoint: CheckpointOption = "",
    every: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Check the invariants after each N-th block only."),
    ] = 1,
    report: Annotated[
        Path | None,
        typer.Option(help="File for the report, in JSON; it says a finding too."),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Replay, and check every seal, signature, header and invariant: believe nobody.

    A finding ends it with exit code 1, and says at which block.
    """
    from registry.cli.auditing import Audit

    with refusals(), _open(file, home, url, genesis) as (source, reader):
        inherited = read_inherited(source.genesis, inherit, home, checkpoint)
        _work(Audit(source.genesis, inherited, every), source, reader, output, report)


@app.command()
def export(
    to: Annotated[Path, typer.Argument(metavar="FILE", help="File to write.", show_default=False)],
    home: HomeOption = None,
    url: UrlOption = None,
    genesis: GenesisOption = None,
    height: Annotated[
        int | None,
        typer.Option(min=0, help="The last block; the newest one by default.", show_default=False),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Write the whole history into one file, for `audit`, `replay` and `diff` anywhere.

    The same history gives the same bytes, whoever writes it. Nothing is executed: that each block
    follows the one before, and carries what its header names, is all that is looked at.
    """
    from errno import EEXIST

    from ledger.crypto import sha256
    from registry.cli.histories import UpTo, follow
    from registry.files import creating_durably
    from registry.history_file import write_history

    with refusals(), _open(None, home, url, genesis) as (source, _):
        if to.exists():
            raise FileExistsError(EEXIST, "it is there already", str(to))
        if height is not None and height > source.height:
            raise typer.BadParameter(f"{source.name} ends with block {source.height}")
        if height is not None and height < source.height:
            source = UpTo(source, height, None)
        with creating_durably(to) as stream:
            blocks = _watch(source.height)(follow(source))
            written = write_history(stream, source.genesis, blocks)
        facts: dict[str, Any] = {
            "file": str(to),
            "source": source.name,
            "genesis_hash": sha256(source.genesis).hex(),
            "height": written.height,
            "bytes": to.stat().st_size,
            "hash": written.hash.hex(),
        }
        emit(facts, output, lambda: _list(facts))


@app.command()
def diff(
    one: Annotated[str, typer.Argument(metavar="A", help="A file, a home, or a URL.")],
    other: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    every_block: Annotated[
        bool,
        typer.Option("--every-block", help="Compare all bytes of all blocks, seals too."),
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Find the first block in which two histories of a network differ.

    Exit code 1 if there is one. What only one of them has yet is no difference.
    """
    from registry.cli.divergence import Comparison
    from registry.cli.histories import open_named

    with refusals(), open_named(one) as first, open_named(other) as second:
        compared = Comparison(first, second)
        found = compared.find(every_block=every_block)
        _show_difference(compared, found, output)
    if found is not None:
        raise typer.Exit(EXIT_DIFFERENT)


@app.command()
def bequeath(
    successor: Annotated[
        Path,
        typer.Option(help="Genesis file of the network that goes on.", show_default=False),
    ],
    to: Annotated[Path, typer.Option(help="File to write.", show_default=False)],
    home: HomeOption = None,
    inherit: InheritOption = None,
    checkpoint: CheckpointOption = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Write what a network that is over leaves to the one that goes on after it.

    The home is that of a stopped node which has the whole chain. It is executed again up to the
    last header; everybody who does so gets the same bytes.
    """
    from ledger.chain import Chain
    from registry.cli.histories import UpTo, open_home
    from registry.cli.replay import Replay
    from registry.files import create_durably
    from registry.inheritance import (
        check_inheritance,
        find_last_header,
        fingerprint_last,
        make_inheritance,
    )

    with refusals(), open_home(home) as (source, store):
        following = successor.read_bytes()
        chain = Chain(store, source.genesis)
        last = find_last_header(chain.view())
        inherited = read_inherited(source.genesis, inherit, home, checkpoint)
        end = Replay(source.genesis, inherited)
        end.run(UpTo(source, last.height, last.state_root), _watch(last.height))
        raw = make_inheritance(chain, end.reader)
        begun = check_inheritance(raw, following, now_ms(), [fingerprint_last(raw)])
        create_durably(to, raw)
        show_inheritance(raw, begun, to, output)


@app.command("inherit")
def take_inheritance(
    file: Annotated[Path, typer.Argument(help="What the predecessor left.", show_default=False)],
    home: HomeOption = None,
    checkpoint: CheckpointOption = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Check what a network begins with, and put it into the home of a node of that network.

    Nobody who passed it on is believed. Compare the state root with the other founders: who begins
    with another one agrees with them on no block.
    """
    from registry.home import default_home

    with refusals():
        folder = home or default_home()
        raw, begun = put_inheritance(file, folder, (folder / GENESIS).read_bytes(), checkpoint)
        show_inheritance(raw, begun, folder / INHERITANCE, output)


def _open(
    file: Path | None, home: Path | None, url: str | None, genesis: Path | None
) -> "AbstractContextManager[tuple[Source, Reader | None]]":
    """Open the source that is named, and the database if it is one."""
    from registry.cli.histories import open_source

    if sum(one is not None for one in (file, home, url)) > 1:
        raise typer.BadParameter("name one of them: a file, --home, or --url")
    return open_source(file, home, url, genesis)


def _work(
    work: "Replay",
    source: "Source",
    reader: "Reader | None",
    output: Output,
    report: Path | None,
) -> None:
    from time import monotonic

    from registry.cli.histories import Finding

    began = monotonic()
    try:
        work.run(source, _watch(source.height))
        if reader is not None:
            work.compare(reader)
    except Finding as finding:
        _write(report, _report(work, source, monotonic() - began, finding))
        raise
    facts = _report(work, source, monotonic() - began, None)
    _write(report, facts)
    shown = {name: value for name, value in facts.items() if name not in OF_PROGRAMS}
    emit(facts, output, lambda: f"everything holds\n{_list(shown)}")


def _report(
    work: "Replay", source: "Source", seconds: float, finding: "Finding | None"
) -> dict[str, Any]:
    """Return the report, in terms of JSON."""
    found = finding and {"height": finding.height, "what": finding.what, "why": finding.why}
    return {
        "format": REPORT_VERSION,
        "holds": finding is None,
        "finding": found,
        "source": source.name,
        **work.facts,
        "seconds": round(seconds, 3),
    }


def _write(report: Path | None, facts: dict[str, Any]) -> None:
    import json

    from registry.files import write_durably

    if report is not None:
        write_durably(report, json.dumps(facts, indent=2).encode() + b"\n")


def _list(facts: dict[str, Any]) -> str:
    """Return facts below each other, those of a group a step to the right."""
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        group = value if isinstance(value, dict) else {}
        rows.append((name.replace("_", " "), "" if group else _word(value)))
        rows += [(f"  {key.replace('_', ' ')}", _word(one)) for key, one in group.items()]
    return align(rows)


def _word(value: object) -> str:
    if isinstance(value, list | dict):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _show_difference(compared: "Comparison", found: "Difference | None", output: Output) -> None:
    from ledger.crypto import sha256
    from registry.cli.divergence import describe

    one, other = compared.sources
    facts: dict[str, Any] = {
        "one": one.name,
        "other": other.name,
        "genesis_hash": sha256(one.genesis).hex(),
        "heights": [one.height, other.height],
        "same_up_to": compared.common if found is None else found.height - 1,
        "differs_at": None if found is None else found.height,
        "reads": compared.reads,
    }
    if found is not None:
        facts |= {"differs_in": found.parts, "first_transaction": found.transaction}
        blocks = dict(zip(("one_block", "other_block"), map(describe, found.blocks), strict=True))
        emit(facts | blocks, output, lambda: _list(facts | _beside(found, blocks)))
        return
    emit(facts, output, lambda: _list(facts))


def _beside(found: "Difference", blocks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what differs of two blocks; of their transactions the first that does."""
    at = found.transaction
    shown: dict[str, Any] = {}
    for name, block in blocks.items():
        rows = {part: block[part] for part in found.parts}
        if at is not None:
            rows["transactions"] = f"{len(rows['transactions'])}, index {at}: " + (
                rows["transactions"][at] if at < len(rows["transactions"]) else "none"
            )
        shown[name] = rows
    return shown


def _watch(total: int) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    """Return what shows on a terminal how far a pass has come."""
    import sys

    def quiet(blocks: Iterator[bytes]) -> Iterator[bytes]:
        return blocks

    def with_bar(blocks: Iterator[bytes]) -> Iterator[bytes]:
        from rich.console import Console
        from rich.progress import track

        console = Console(stderr=True)
        yield from track(blocks, "blocks", total=total, console=console, transient=True)

    return with_bar if sys.stderr.isatty() else quiet
