"""What commands do with the file that a network leaves to the one that goes on after it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from registry.cli.output import Output, align, emit
from registry.home import INHERITANCE

if TYPE_CHECKING:
    from ledger.chain import Chain
    from ledger.inheritance import Inheritance

InheritOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--inherit",
        help="What a network with a predecessor begins with: the file that `bequeath` wrote.",
    ),
]


def put_inheritance(
    file: Path, folder: Path, genesis: bytes, checkpoint: str = ""
) -> tuple[bytes, "Chain"]:
    """Check an inheritance for the network of a genesis file, and put it into a home.

    Returns the file, and the chain that begins with it. Refuses like `check_inheritance`.
    """
    from registry.files import create_durably
    from registry.inheritance import check_inheritance

    raw = file.read_bytes()
    begun = check_inheritance(raw, genesis, now_ms(), _vouch(checkpoint))
    create_durably(folder / INHERITANCE, raw)
    return raw, begun


def show_inheritance(raw: bytes, begun: "Chain", file: Path, output: Output) -> None:
    """Show what a file holds, and the root that founders compare."""
    from ledger.crypto import sha256
    from ledger.messages.tables import ACCOUNTS, NODES, POOL
    from registry.amounts import format_amount

    state = begun.view().state
    facts: dict[str, Any] = {
        "file": str(file),
        "bytes": len(raw),
        "hash": sha256(raw).hex(),
        "network": begun.genesis.name.decode(),
        "genesis_hash": begun.genesis_hash.hex(),
        "predecessor": begun.genesis.predecessor.hex(),
        "accounts": sum(1 for _ in state.items(ACCOUNTS)),
        "nodes": sum(1 for _ in state.items(NODES)),
        "supply": str(state.one(POOL).supply),
        "time_ms": begun.tip.time_ms,
        "state_root": begun.tip.root.hex(),
    }
    words = facts | {"supply": format_amount(state.one(POOL).supply)}
    shown = [(name.replace("_", " "), str(value)) for name, value in words.items()]
    emit(facts, output, lambda: align(shown))


def read_inherited(
    genesis: bytes, inherit: Path | None, home: Path | None, checkpoint: str = ""
) -> "Inheritance | None":
    """Return what a network begins with: of the file that was named, else of the home.

    A file that was named is believed no more than one that is put into a home: past the
    predecessor's trust period somebody vouches for a header on its way. What lies in the home was
    looked at when it was put there. Refuses like `open_inheritance`.
    """
    from registry.home import default_home
    from registry.inheritance import load_inheritance, open_inheritance

    if inherit is not None:
        return open_inheritance(inherit.read_bytes(), genesis, now_ms(), _vouch(checkpoint))
    return load_inheritance(home or default_home(), genesis, now_ms())


def _vouch(checkpoint: str) -> list[bytes]:
    """Return the fingerprints of headers that whoever runs a command answers for."""
    from registry.cli.sources import read_beyond

    beyond = read_beyond(checkpoint, 0).checkpoint
    return [] if beyond is None else [beyond.fingerprint]


def now_ms() -> int:
    """Return this machine's time, Unix milliseconds."""
    from time import time_ns

    return time_ns() // 1_000_000
