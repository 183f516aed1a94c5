"""`waypost warn`: tells operators what happens to their nodes before it costs them money."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry.cli.arguments import ADDRESS, parse_account, parse_node
from registry.cli.output import EXIT_REFUSED, Output, OutputOption, emit, refusals

if TYPE_CHECKING:
    from registry.warnings.messages import Message
    from registry.warnings.news import Due
    from registry.warnings.outbox import Standing
    from registry.warnings.settings import WarnSettings
    from registry.warnings.warner import Once

app = typer.Typer()


@app.command()
def warn(
    node: Annotated[
        list[bytes] | None,
        typer.Option(parser=parse_node, metavar=ADDRESS, help="A node to watch; may be repeated."),
    ] = None,
    operator: Annotated[
        bytes | None,
        typer.Option(
            parser=parse_account, metavar=ADDRESS, help="Account whose nodes are all watched."
        ),
    ] = None,
    service: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A service to ask; may be repeated, and they compare."),
    ] = None,
    genesis: Annotated[
        Path | None, typer.Option(help="Genesis file, to have states of nodes proven.")
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option(
            envvar="WAYPOST_WARN_HOME", help="Folder of `warn.toml` and of what was told."
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Look once, tell what is new, show what is due; exit.")
    ] = False,
    test: Annotated[
        bool, typer.Option("--test", help="Send a test message through each channel, and exit.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Warn of what happens to nodes, by webhook and mail; on standard output if none is set up.

    Channels are set up in `warn.toml`. What was told is not told again.
    """
    from registry.addresses import encode_account, encode_node
    from registry.logs import set_up_logs
    from registry.warnings.settings import default_warn_home, load_warn_settings

    flags: dict[str, Any] = {
        "node": tuple(map(encode_node, node)) if node else None,
        "operator": None if operator is None else encode_account(operator),
        "service": tuple(service) if service else None,
        "genesis": None if genesis is None else genesis.absolute(),
    }
    if once and test:
        raise typer.BadParameter("--once or --test, not both")
    with refusals():
        settings = load_warn_settings(home or default_warn_home(), flags)
        set_up_logs("warn")
        if test:
            _test(settings, output)
        elif once:
            _look_once(settings, output)
        else:
            _run(settings, output)


def _run(settings: "WarnSettings", output: Output) -> None:
    import asyncio

    from registry.warnings.channels import Standard, make_channels
    from registry.warnings.warner import warn as run

    channels = make_channels(settings) or [Standard(output is Output.JSON)]
    asyncio.run(run(settings, channels))


# --- one look -----------------------------------------------------------------------------------


def _look_once(settings: "WarnSettings", output: Output) -> None:
    import asyncio

    from registry.warnings.channels import Collected, make_channels
    from registry.warnings.warner import warn_once

    collected = Collected()
    found = asyncio.run(warn_once(settings, make_channels(settings) or [collected]))
    told = [*collected.messages] or [*found.outcome.messages]
    emit(_describe(found, told), output, lambda: _format(found, told))
    has_failed = any(row.error for row in found.channels.values())
    if not found.outcome.source or has_failed:
        raise typer.Exit(EXIT_REFUSED)


def _describe(found: "Once", told: "list[Message]") -> dict[str, Any]:
    from registry.warnings.facts import Failed
    from registry.warnings.messages import to_json

    outcome = found.outcome
    return {
        "time_ms": outcome.now_ms,
        "source": outcome.source or None,
        "services": {
            url: answer.why if isinstance(answer, Failed) else None
            for url, answer in outcome.answers.items()
        },
        "nodes": [
            {"node": address, "state": None if facts is None else facts.state}
            for address, facts in outcome.nodes.items()
        ],
        "due": [_describe_due(due) for due in outcome.active],
        "told": [to_json(message) for message in told],
        "channels": {name: row._asdict() for name, row in found.channels.items()},
    }


def _describe_due(due: "Due") -> dict[str, Any]:
    return {
        "warning": due.row.name,
        "severity": str(due.row.severity),
        "subject": due.subject,
        "reason": due.finding.reason,
        "left_ms": due.finding.left_ms,
        "next_step": due.finding.next_step,
        "proof": due.proof,
    }


def _format(found: "Once", told: "list[Message]") -> str:
    from registry.cli.output import align
    from registry.warnings.facts import Failed
    from registry.warnings.messages import to_text

    outcome = found.outcome
    facts = [("source", outcome.source or "none: no service answers")]
    for url, answer in outcome.answers.items():
        if isinstance(answer, Failed):
            facts.append(("failed", f"{url}: {answer.why}"))
    for address, node in outcome.nodes.items():
        facts.append(("node", f"{address} {'not registered' if node is None else node.state}"))
    shown = [f"{due.row.severity} {due.row.name} {due.subject}".rstrip() for due in outcome.active]
    facts += [("due", text) for text in shown or ["nothing"]]
    facts += [(name, _tell_standing(row)) for name, row in found.channels.items()]
    return "\n\n".join([align(facts), *map(to_text, told)])


def _tell_standing(row: "Standing") -> str:
    return f"{row.waiting} messages wait: {row.error}" if row.error else "nothing waits"


# --- a test -------------------------------------------------------------------------------------


def _test(settings: "WarnSettings", output: Output) -> None:
    import asyncio

    from registry.cli.output import align
    from registry.warnings.channels import Standard, make_channels
    from registry.warnings.warner import send_test, wall_clock

    channels = make_channels(settings) or [Standard(output is Output.JSON)]
    found = asyncio.run(send_test(channels, wall_clock()))
    facts = {name: {"sent": not why, "error": why or None} for name, why in found.items()}
    emit(facts, output, lambda: align([(name, why or "sent") for name, why in found.items()]))
    if any(found.values()):
        raise typer.Exit(EXIT_REFUSED)
