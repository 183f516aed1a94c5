"""`waypost run`: one service, its processes under a supervisor."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer

from registry.cli.passphrases import KeyFiles, PassphraseFd, PassphraseFile
from registry.cli.validating import (
    CometbftOption,
    ExternalAddressOption,
    HaltHeightOption,
    ListsOption,
    P2pHostOption,
    P2pPortOption,
    PeerOption,
    RpcOption,
    StateSyncOption,
    ValidatorOption,
)
from registry.home import default_home

Engine: TypeAlias = Literal["solo", "follow", "comet"]

app = typer.Typer()


@app.command()
def run(
    home: Annotated[Path | None, typer.Option(help="Folder of this node.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    engine: Annotated[
        Engine | None, typer.Option(help="What orders blocks; config.toml says it too.")
    ] = None,
    follow: Annotated[
        list[str] | None, typer.Option(help="URL of a node to follow; may be repeated.")
    ] = None,
    attest: Annotated[Path | None, typer.Option(help="Key file of an attestor.")] = None,
    producer: Annotated[Path | None, typer.Option(help="Key file of the producer.")] = None,
    refill: Annotated[
        list[str] | None,
        typer.Option(help="URL to bring a producer's database up from; each one has to answer."),
    ] = None,
    validator: ValidatorOption = None,
    peer: PeerOption = None,
    p2p_host: P2pHostOption = None,
    p2p_port: P2pPortOption = None,
    external_address: ExternalAddressOption = None,
    rpc: RpcOption = None,
    state_sync: StateSyncOption = None,
    lists: ListsOption = None,
    halt_height: HaltHeightOption = None,
    cometbft: CometbftOption = None,
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
    """Run a node: order blocks, agree on them with others, or follow them and check every block.

    Key files are opened before anything starts; the passphrase file may be a setting too.
    """
    flags = {
        "host": host,
        "port": port,
        "engine": engine or ("follow" if follow else None),
        "follow": follow,
        "attest": attest,
        "producer": producer,
        "validator": validator,
        "peers": peer,
        "p2p_host": p2p_host,
        "p2p_port": p2p_port,
        "external_address": external_address,
        "rpc": rpc,
        "state_sync": state_sync,
        "lists": lists,
        "halt_height": halt_height,
        "cometbft": cometbft,
        "refill": refill,
        "new_watermark": new_watermark,
        "web": web,
        "workers": workers,
    }
    raise typer.Exit(_run(home or default_home(), flags, KeyFiles(passphrase_file, passphrase_fd)))


def _run(home: Path, flags: dict[str, Any], keys: KeyFiles) -> int:
    from ledger.errors import WaypostError
    from registry import supervisor
    from registry.settings import load_settings

    given = {name: _as_setting(value) for name, value in flags.items()}
    try:
        settings = load_settings(home, given)
        if keys.is_attended:
            keys = KeyFiles(settings.passphrase_file)
        return supervisor.main(settings, keys.load_all(settings.key_files))
    except WaypostError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _as_setting(value: Any) -> Any:
    """Return what a flag says, None if it was not given; a path leads there from anywhere."""
    if isinstance(value, list):
        return tuple(value) or None
    return value.absolute() if isinstance(value, Path) else value
