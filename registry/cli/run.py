"""`waypost run`: one service, its processes under a supervisor."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from registry.cli.passphrases import KeyFiles, PassphraseFd, PassphraseFile
from registry.home import default_home

app = typer.Typer()


@app.command()
def run(
    home: Annotated[Path | None, typer.Option(help="Folder of this node.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    follow: Annotated[
        list[str] | None, typer.Option(help="URL of a node to follow; may be repeated.")
    ] = None,
    attest: Annotated[Path | None, typer.Option(help="Key file of an attestor.")] = None,
    producer: Annotated[Path | None, typer.Option(help="Key file of the producer.")] = None,
    refill: Annotated[
        list[str] | None,
        typer.Option(help="URL to bring a producer's database up from; each one has to answer."),
    ] = None,
    new_watermark: Annotated[
        bool | None,
        typer.Option(
            "--new-watermark",
            help="Vouch that what has no watermark was not signed by its key, once.",
        ),
    ] = None,
    web: Annotated[
        bool | None, typer.Option(help="Whether to serve; a replica may only attest.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; 0: one a core.")] = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Run a node: order blocks, or follow others and check every block.

    Key files are opened before anything starts; the passphrase file may be a setting too.
    """
    from ledger.errors import WaypostError
    from registry import supervisor
    from registry.settings import load_settings

    flags = {
        "host": host,
        "port": port,
        "engine": "follow" if follow else None,
        "follow": tuple(follow) if follow else None,
        "attest": None if attest is None else attest.absolute(),
        "producer": None if producer is None else producer.absolute(),
        "refill": tuple(refill) if refill else None,
        "new_watermark": new_watermark,
        "web": web,
        "workers": workers,
    }
    keys = KeyFiles(passphrase_file, passphrase_fd)
    try:
        settings = load_settings(home or default_home(), flags)
        if keys.is_attended:
            keys = KeyFiles(settings.passphrase_file)
        code = supervisor.main(settings, keys.load_all(settings.key_files))
    except WaypostError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    raise typer.Exit(code)
