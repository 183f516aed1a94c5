"""`waypost devnet`: a whole network on this machine, to look at and to try things on.

One producer that serves and attests, two replicas that attest, 25 nodes with an agent beside each;
or validators who agree on each block, each with a CometBFT of its own. All keys come from one seed
that lies in the open, so it is worth nothing and protects nothing.
"""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from registry.cli.arguments import KEY_FILE
from registry.home import default_home

MOST: Final = 25
"""Validators that a network has at most."""

MOST_ACTORS: Final = 5
"""Nodes that fail, or cheat, at most: more would leave too few honest testers."""

app = typer.Typer(invoke_without_command=True)


@app.callback()
def devnet(
    context: typer.Context,
    home: Annotated[Path | None, typer.Option(help="Folder in which `devnet` is made.")] = None,
    port: Annotated[int, typer.Option(help="First port to try.")] = 8420,
    validators: Annotated[
        int,
        typer.Option(
            min=0, max=MOST, help="So many validators, each with a CometBFT; 0: one producer."
        ),
    ] = 0,
    serve_all: Annotated[
        bool, typer.Option("--serve-all", help="Each validator serves, on the ports that follow.")
    ] = False,
    agents: Annotated[
        bool,
        typer.Option(
            "--agents/--no-agents", help="Whether an agent runs beside each node and tests others."
        ),
    ] = True,
    fail: Annotated[
        int, typer.Option(min=0, max=MOST_ACTORS, help="So many nodes die, and come back later.")
    ] = 0,
    equivocate: Annotated[
        int,
        typer.Option(min=0, max=MOST_ACTORS, help="So many nodes cheat, and a watcher reports it."),
    ] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over from genesis.")] = False,
) -> None:
    """Run a development network until Ctrl-C; the next start goes on where it stopped.

    What `--fail` and `--equivocate` do takes about two minutes each, and is told as it happens.
    """
    from ledger.errors import WaypostError
    from registry.devnet.network import Devnet, Plan

    folder = (home or default_home()).absolute() / "devnet"
    context.obj = folder
    if context.invoked_subcommand is not None:
        return
    if (fail or equivocate) and not agents:
        raise typer.BadParameter("--fail and --equivocate take agents: leave --no-agents away")
    try:
        network = Devnet(folder, Plan(validators, serve_all, agents, fail, equivocate))
        if fresh:
            network.remove()
        code = network.run(port)
    except WaypostError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    raise typer.Exit(code)


@app.command()
def faucet(
    context: typer.Context,
    account: Annotated[str, typer.Argument(help="Address that gets the coins.")],
    coins: Annotated[int, typer.Argument(help="How many whole coins.")] = 1000,
    url: Annotated[
        str, typer.Option(help="The service.", envvar="WAYPOST_URL")
    ] = "http://127.0.0.1:8420",
) -> None:
    """Give coins of the development network to an account."""
    from ledger.errors import WaypostError
    from registry.addresses import decode_account
    from registry.devnet.network import Devnet

    try:
        height = Devnet(context.obj).give(url, decode_account(account), coins)
    except (WaypostError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(f"{coins} coins for {account} in block {height}")


@app.command()
def node(
    context: typer.Context,
    key_file: Annotated[Path, typer.Argument(metavar=KEY_FILE, help="Key file of the node.")],
    url: Annotated[
        str, typer.Option(help="The service.", envvar="WAYPOST_URL")
    ] = "http://127.0.0.1:8420",
) -> None:
    """Run an agent for a registered node of your own, and stand in for its servers, until Ctrl-C.

    The node has to have an IPv4 address on this machine, such as 127.0.9.9.
    """
    from ledger.errors import WaypostError
    from registry.devnet.own import run_own

    try:
        code = run_own(context.obj, key_file, url)
    except WaypostError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    raise typer.Exit(code)
