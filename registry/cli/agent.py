"""`waypost agent`: the program beside a service node.

(alone)   run it
status    what it does now, and what is wrong
"""

import sys
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from registry.cli.output import Output, OutputOption, align, emit, refusals
from registry.cli.passphrases import KeyFiles, PassphraseFd, PassphraseFile

HomeOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="WAYPOST_AGENT_HOME",
        help="Folder of this agent; `agent` in the home directory by default.",
    ),
]

NodeOption: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="KEYFILE", help="Key file of the service node.")
]
DutyOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="KEYFILE", help="Key file whose duty key signs, if it was changed."),
]
GenesisOption: TypeAlias = Annotated[Path | None, typer.Option(help="Genesis file of the network.")]
ServiceOption: TypeAlias = Annotated[
    list[str] | None, typer.Option(metavar="URL", help="A service; may be repeated.")
]
Ipv4Option: TypeAlias = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="IPv4 address of the node.")
]
Ipv6Option: TypeAlias = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="IPv6 address of the node.")
]
StoragePortOption: TypeAlias = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port of the storage server.")
]
RouterPortOption: TypeAlias = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port of the router.")
]
StorageVersionOption: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="VERSION", help="Version of the storage server, such as 2.11.3."),
]
RouterVersionOption: TypeAlias = Annotated[
    str | None, typer.Option(metavar="VERSION", help="Version of the router, such as 0.9.11.")
]
BindOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="ADDRESS", help="Where challenges are answered; may be repeated."),
]
NetworkOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PREFIX", help="Where nodes are probed, and nowhere else; may be repeated."
    ),
]
OxenmqOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="ADDRESS", help="Where OxenMQ is spoken; may be repeated."),
]

app = typer.Typer(invoke_without_command=True)


@app.callback()
def agent(
    context: typer.Context,
    home: HomeOption = None,
    node: NodeOption = None,
    duty: DutyOption = None,
    genesis: GenesisOption = None,
    service: ServiceOption = None,
    ipv4: Ipv4Option = None,
    ipv6: Ipv6Option = None,
    storage_port: StoragePortOption = None,
    router_port: RouterPortOption = None,
    storage_version: StorageVersionOption = None,
    router_version: RouterVersionOption = None,
    bind: BindOption = None,
    network: NetworkOption = None,
    oxenmq: OxenmqOption = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Run the agent of a service node: be there, test others, vote, keep the contact data right.

    The first start writes what its options say to `agent.toml` in its home; afterwards it needs
    none. An option counts over a variable `WAYPOST_AGENT_…`, and that over the file.
    """
    if context.invoked_subcommand is not None:
        context.obj = home
        return
    flags = {
        "node": node,
        "duty": duty,
        "genesis": genesis,
        "services": service,
        "ipv4": ipv4,
        "ipv6": ipv6,
        "storage_port": storage_port,
        "router_port": router_port,
        "storage_version": storage_version,
        "router_version": router_version,
        "bind": bind,
        "networks": network,
        "oxenmq": oxenmq,
        "passphrase_file": passphrase_file,
    }
    keys = KeyFiles(passphrase_file, passphrase_fd)
    given = {name: _as_setting(value) for name, value in flags.items()}
    raise typer.Exit(_run(_find_home(home), given, keys))


@app.command()
def status(
    context: typer.Context, home: HomeOption = None, output: OutputOption = Output.TEXT
) -> None:
    """Show what the agent of a home does now: epoch, duties, votes, check-in, and what is wrong."""
    from registry.agent.settings import STATUS
    from registry.agent.status import read_status

    with refusals():
        found = read_status(_find_home(home or context.obj) / STATUS)
        emit(found, output, align(list(_describe(found))))


def _find_home(home: Path | None) -> Path:
    from registry.agent.settings import default_agent_home

    return home or default_agent_home()


def _run(home: Path, flags: dict[str, Any], keys: KeyFiles) -> int:
    import asyncio

    from ledger.errors import WaypostError
    from registry.agent.agent import serve
    from registry.agent.settings import load_settings, write_settings
    from registry.cli.output import warn
    from registry.logs import set_up_logs

    try:
        settings = load_settings(home, flags)
        if keys.is_attended:
            keys = KeyFiles(settings.passphrase_file)
        seeds = keys.load_all(settings.key_files)
        settings.read_genesis()
        written = write_settings(home, flags)
        if written is not None:
            warn(f"these options are kept in {written}: `waypost agent` alone starts it again")
        set_up_logs("agent")
        asyncio.run(serve(settings, seeds))
    except WaypostError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _as_setting(value: Any) -> Any:
    """Return what a flag says, None if it was not given; a path leads there from anywhere."""
    if isinstance(value, list):
        return tuple(value) or None
    return value.absolute() if isinstance(value, Path) else value


def _describe(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the rows of what an agent told."""
    from registry.amounts import format_time

    votes, judged, check_in = (found.get(name) or {} for name in ("votes", "judged", "check_in"))
    duties, no_votes = found.get("duties") or {}, found.get("no_votes")
    failing = [row for row in judged.get("verdicts", ()) if row["faults"]]
    rows = [
        ("node", str(found.get("node"))),
        ("state", str(found.get("state") or "not registered")),
        ("written", format_time(found["written_ms"])),
        ("epoch", str(found.get("epoch"))),
        ("list", str(found.get("list"))),
        ("answers challenges at", ", ".join(found.get("answering") or ()) or "-"),
        ("check-in", format_time(check_in["at_ms"]) if check_in else "-"),
        ("has to test", f"{len(duties.get('tests', ()))} in epoch {duties.get('epoch', '-')}"),
        ("votes", _describe_votes(votes)),
    ]
    for service, counts in votes.get("services", {}).items():
        shown = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        rows.append((f"  at {service}", shown or "none"))
    rows += [("fails", f"{row['node']}: {'; '.join(row['reasons'])}") for row in failing]
    if no_votes:
        rows.append((f"no votes in {no_votes['epoch']}", no_votes["why"]))
    for name in ("problem", "clock", "contact_why"):
        if found.get(name):
            rows.append((name.replace("_why", ""), found[name]))
    rows += [("not answering at", problem) for problem in found.get("not_answering") or ()]
    return rows


def _describe_votes(votes: dict[str, Any]) -> str:
    if not votes:
        return "-"
    return f"epoch {votes['epoch']}: {votes['passes']} pass, {len(votes['fails'])} fail"
