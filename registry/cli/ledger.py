"""`waypost ledger`: execute a chain again from its genesis file, in memory; and hand it on.

replay    every block, comparing every state root
audit     that, and every seal, signature and invariant as well
bequeath  of a network that is over: the file with which the one that goes on begins
inherit   check such a file, and put it into the home of a node of that network

The blocks come from a stopped node's database, or over HTTP from one that runs. No database is
written.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from ledger.errors import StoreInUse, StoreMissing, WaypostError
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
    from ledger.store import Reader, Store
    from registry.cli.http import Service
    from registry.cli.replay import Replay, Source

DATABASE: Final = "ledger"
"""The database of a home; `registry.settings` says the same."""

FETCH_BLOCKS: Final = 200
"""Blocks in one request, as many as the service gives."""

UrlOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--url", help=f"Take the blocks from a running service, such as {DEFAULT_URL}."),
]
GenesisOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--genesis", help="Genesis file to begin with; the source's own by default."),
]

app = typer.Typer(no_args_is_help=True)


class NoDatabase(WaypostError):
    """The database's library is not there."""


@app.command()
def replay(
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

    with refusals(), _open(home, url, genesis) as (source, reader):
        inherited = read_inherited(source.genesis, inherit, home, checkpoint)
        _work(Replay(source.genesis, inherited), source, reader, output, "replayed")


@app.command()
def audit(
    home: HomeOption = None,
    url: UrlOption = None,
    genesis: GenesisOption = None,
    inherit: InheritOption = None,
    checkpoint: CheckpointOption = "",
    every: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Check the invariants after each N-th block only."),
    ] = 1,
    output: OutputOption = Output.TEXT,
) -> None:
    """Replay, and check every seal, signature and invariant: believe nobody.

    A finding ends it with exit code 1, and says at which block.
    """
    from registry.cli.replay import Audit

    with refusals(), _open(home, url, genesis) as (source, reader):
        inherited = read_inherited(source.genesis, inherit, home, checkpoint)
        _work(Audit(source.genesis, inherited, every), source, reader, output, "audited")


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
    from registry.cli.replay import Replay, UpTo
    from registry.files import create_durably
    from registry.inheritance import (
        check_inheritance,
        find_last_header,
        fingerprint_last,
        make_inheritance,
    )

    with refusals(), _open_home(home, None) as (source, store):
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


def _work(
    work: "Replay", source: "Source", reader: "Reader | None", output: Output, what: str
) -> None:
    work.run(source, _watch(source.height))
    if reader is not None:
        work.compare(reader)
    facts: dict[str, Any] = {
        "source": source.name,
        "network": work.chain.genesis.name.decode(),
        "genesis_hash": work.chain.genesis_hash.hex(),
        "height": work.chain.tip.height,
        "state_root": work.chain.tip.root.hex(),
        **work.counts,
    }
    shown = [(name.replace("_", " "), str(value)) for name, value in facts.items()]
    emit(facts, output, lambda: f"{what}, everything holds\n{align(shown)}")


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


# --- where the blocks come from -----------------------------------------------------------------


@contextmanager
def _open(
    home: Path | None, url: str | None, genesis: Path | None
) -> Iterator[tuple["Source", "Reader | None"]]:
    """Open a source, and the database if it is one."""
    if home is not None and url is not None:
        raise typer.BadParameter("name either --home or --url")
    if url is None:
        with _open_home(home, genesis) as opened:
            yield opened
        return
    from registry.cli.http import Service

    with Service(url) as service:
        yield UrlSource(service, None if genesis is None else genesis.read_bytes()), None


@contextmanager
def _open_home(home: Path | None, genesis: Path | None) -> Iterator[tuple["Source", "Store"]]:
    from registry.cli.replay import StoreSource
    from registry.home import default_home

    folder = home or default_home()
    raw = (genesis or folder / GENESIS).read_bytes()
    try:
        from ledger.leveldb import LevelStore

        store = LevelStore(folder / DATABASE, create=False)
    except ModuleNotFoundError:
        raise NoDatabase(
            f"there is no LevelDB for this Python here: take the blocks from a node that runs, "
            f"--url {DEFAULT_URL}"
        ) from None
    except StoreInUse as error:
        error.add_note(f"stop the node, or take the blocks from it: --url {DEFAULT_URL}")
        raise
    except StoreMissing as error:
        error.add_note(f"is {folder} the home of a node? Those of a devnet are in devnet/0 … 2")
        raise
    try:
        yield StoreSource(str(folder / DATABASE), raw, store), store
    finally:
        store.close()


class UrlSource:
    """A service that gives its blocks."""

    def __init__(self, service: "Service", genesis: bytes | None) -> None:
        """Take the chain up to the service's newest block of now."""
        from registry.cli.http import Tip, convert

        tip = convert(service.get("/v1/network"), Tip)
        self.name = service.url
        self.genesis = service.get_bytes("/v1/genesis") if genesis is None else genesis
        self.height = tip.height
        self.root = bytes.fromhex(tip.state_root)
        self._service = service

    def blocks(self) -> Iterator[bytes]:
        """Yield every block, some hundred with one request."""
        from registry.cli.replay import Finding

        height = 0
        while height < self.height:
            limit = min(FETCH_BLOCKS, self.height - height)
            found = self._fetch(height + 1, limit)[:limit]
            if not found:
                raise Finding(height + 1, f"{self.name} does not have it: ask another node")
            yield from found
            height += len(found)

    def _fetch(self, start: int, limit: int) -> list[bytes]:
        import msgspec

        from registry.cli.http import BadAnswer

        body = self._service.get_bytes("/v1/blocks", start=start, limit=limit)
        try:
            return msgspec.msgpack.decode(body, type=list[bytes])
        except msgspec.MsgspecError:
            raise BadAnswer(f"{self.name} answers with what are no blocks") from None
