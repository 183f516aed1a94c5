"""What a node of validators is told, by `waypost init` and `waypost run` alike."""

from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from registry.cli.arguments import KEY_FILE

PEER: Final = "ID@HOST:PORT"
HOST_PORT: Final = "HOST:PORT"

ValidatorOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--validator",
        metavar=KEY_FILE,
        help="Key file to agree on blocks with, for the engine comet.",
    ),
]
PeerOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--peer", metavar=PEER, help="Another node, for the engine comet; may be repeated."
    ),
]
StateSyncOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--state-sync",
        metavar="URL",
        help="A CometBFT that answers, to begin with a snapshot; may be repeated.",
    ),
]
ListsOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--lists",
        metavar="URL",
        help="A service whose signed list says which snapshot is right; may be repeated.",
    ),
]
P2pHostOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--p2p-host", help="Address on which CometBFT listens for other nodes."),
]
P2pPortOption: TypeAlias = Annotated[
    int | None,
    typer.Option("--p2p-port", help="Port on which CometBFT listens for other nodes."),
]
ExternalAddressOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--external-address",
        metavar=HOST_PORT,
        help="Where other nodes reach CometBFT, if it listens elsewhere.",
    ),
]
RpcOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--rpc", metavar=HOST_PORT, help="Where CometBFT answers those who join by a snapshot."
    ),
]
HaltHeightOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--halt-height", help="Last block to execute, for the engine comet; 0 means none."
    ),
]
CometbftOption: TypeAlias = Annotated[
    Path | None, typer.Option("--cometbft", metavar="PATH", help="The program CometBFT.")
]
