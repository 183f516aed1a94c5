"""The command line, `waypost`. In reading order:

output, arguments                what all commands share: printing, reading what people write
terminal, passphrases, backups   asking a person, opening key files, 24 words
http, sending                    asking a service, and sending it what a key file signs
genesis_facts, genesis, keys     making a network, and its keys
validating, init                 making a node's home
run, devnet                      starting a node, or a whole network on this machine
agent                            the program beside a service node
signer                           what its keys have signed: showing it, backup and restore
node, card, duty, accounts, rewards, tx, lists, proof
                                 what a network holds, and changing it
warn                             what happens to nodes, told in time
report, network, participation   offences; orders that change its rules; who takes part
registering, listing             what a registration needs; all nodes, or the open ones
findings, preflight              what checks find; what is looked at before somebody signs
steps, plan, wizard              a registration step by step
offline, building                signing where no network is
examining, doctor                whether all is well, and what to do
ledger                           replay, audit and export of a chain; where two of them part
completion                       what makes a shell complete commands
reference                        docs/cli.md, made from the help

A group's module is imported when the group is used: the help of the others needs `GROUPS` alone.
What a command needs beyond that it imports in its own body, so that asking for help is instant.
"""

import os
from importlib import import_module
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

import typer
from typer.core import TyperCommand, TyperGroup

Command: TypeAlias = TyperCommand | TyperGroup


class Group(NamedTuple):
    """One row of `GROUPS`."""

    name: str
    module: str
    """Holds the group's `app`; one with a single command and no callback is that command."""
    help: str


GROUPS: Final = (
    Group("devnet", "registry.cli.devnet", "Run a whole network on this machine, to try out."),
    Group("init", "registry.cli.init", "Make the home of a new network, or of a follower."),
    Group("run", "registry.cli.run", "Run a node: order blocks, or follow and check them."),
    Group("agent", "registry.cli.agent", "Run the agent of a service node, and see what it does."),
    Group("signer", "registry.cli.signer", "Show, back up and restore what keys have signed."),
    Group("genesis", "registry.cli.genesis", "Make and check genesis files."),
    Group("keys", "registry.cli.keys", "Make key files and backups, show what is public of them."),
    Group("node", "registry.cli.node", "Register service nodes, fund them, look after them."),
    Group("warn", "registry.cli.warn", "Warn of what happens to nodes, by webhook and mail."),
    Group("account", "registry.cli.accounts", "Show accounts, and send coins."),
    Group("rewards", "registry.cli.rewards", "Show what nodes earned for whom, and claim it."),
    Group("tx", "registry.cli.tx", "Show transactions, and send those that are signed already."),
    Group("list", "registry.cli.lists", "Fetch, show and check the signed node list."),
    Group("proof", "registry.cli.proof", "Show a record of the ledger with its proof checked."),
    Group("report", "registry.cli.report", "Check and report offences, show those punished."),
    Group("doctor", "registry.cli.doctor", "Look whether all is well, and say what to do."),
    Group("network", "registry.cli.network", "Change attestors and parameters by signed orders."),
    Group("ledger", "registry.cli.ledger", "Execute a chain again and check every block."),
    Group("completion", "registry.cli.completion", "Print what makes a shell complete commands."),
)
"""Every group, in the order of the help. One more is a row here and a module."""


class LazyGroup(TyperGroup):
    """The commands of `GROUPS`, imported one at a time."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for group in GROUPS:
            # stands in for the command where its name is enough
            self.add_command(TyperCommand(group.name))

    def get_command(self, ctx: Any, cmd_name: str) -> Command | None:
        """Return a group's command, and import its module now."""
        return next((load(group) for group in GROUPS if group.name == cmd_name), None)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Show what the table says, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(group.name, group.help) for group in GROUPS])

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Return what can follow in a shell, from the table too."""
        from typer._click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(group.name, help=group.help)
            for group in GROUPS
            if group.name.startswith(incomplete)
        ]

    def invoke(self, ctx: Any) -> Any:
        """Run a command; an expected error that it let through is printed like all others."""
        from registry.cli.output import refusals

        with refusals():
            return super().invoke(ctx)


def load(group: Group) -> Command:
    """Import a group's module and return its command, in this program's style."""
    app: typer.Typer = import_module(group.module).app
    parent = _make_app(TyperGroup)
    is_single = not app.registered_callback and len(app.registered_commands) == 1
    parent.add_typer(app, name=None if is_single else group.name)
    # A group of its own, else typer would take a single command for the whole program.
    parent.callback()(lambda: None)
    made = typer.main.get_command(parent)
    assert isinstance(made, TyperGroup)
    (command,) = made.commands.values()
    assert isinstance(command, TyperCommand | TyperGroup)
    command.name = group.name
    command.help = command.help or group.help
    return command


def _make_app(cls: type[TyperGroup]) -> typer.Typer:
    # Plain text: what draws boxes takes longer to load than most commands to run.
    return typer.Typer(
        name="waypost",
        cls=cls,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        # `waypost completion` prints the script, and writes nothing into anybody's files
        add_completion=False,
    )


app = _make_app(LazyGroup)


def _print_version(is_wanted: bool) -> None:
    if not is_wanted:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        print(f"waypost {version('waypost')}")
    except PackageNotFoundError:
        print("waypost, not installed")
    raise typer.Exit


@app.callback()
def waypost(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Waypost: a ledger of service nodes that publishes their signed list."""


COMPLETION: Final = "_WAYPOST_COMPLETE"
"""Variable by which a shell asks what can follow; the library answers instead of the program."""


def main() -> None:
    """Run the command line; the console script and `python -m registry` come here."""
    if COMPLETION in os.environ:
        from typer._completion_classes import completion_init

        completion_init()
    app(prog_name="waypost")
