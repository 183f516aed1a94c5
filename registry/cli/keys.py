"""`waypost keys`: make a key file, and show what is public of one.

A key file holds one seed; every role has a key of its own that is derived from it.
"""

from pathlib import Path
from typing import Annotated, Final

import typer

from registry.cli.output import Output, OutputOption, align, emit, refusals, warn

INSECURE: Final = (
    "INSECURE: the seed stands in the file in the clear. Whoever reads the file has the keys; "
    "for development networks only"
)

app = typer.Typer(no_args_is_help=True)


@app.command()
def new(
    file: Annotated[Path, typer.Argument(help="The key file to make.", show_default=False)],
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a key file of mode 600 with a new random seed, in the clear: for development only."""
    from secrets import token_bytes

    from registry.keystore import save_seed

    with refusals():
        seed = token_bytes(32)
        save_seed(file, seed)
        warn(f"{file}: {INSECURE}")
        _emit(file, seed, output)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="The key file.", show_default=False)],
    output: OutputOption = Output.TEXT,
) -> None:
    """Show the address or the public key of each role; never the seed."""
    from registry.keystore import load_seed

    with refusals():
        _emit(file, load_seed(file), output)


def describe(seed: bytes) -> dict[str, str]:
    """Return what is public of each role: addresses of account and node, keys of the others."""
    from registry.addresses import encode_account, encode_node
    from registry.keystore import ROLES, derive

    shown = {role: derive(seed, role).public for role in ROLES}
    written = {"account": encode_account, "node": encode_node}
    return {role: written.get(role, bytes.hex)(key) for role, key in shown.items()}


def _emit(file: Path, seed: bytes, output: Output) -> None:
    roles = describe(seed)
    emit({"file": str(file), "insecure": True, **roles}, output, lambda: align([*roles.items()]))
