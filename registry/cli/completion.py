"""`waypost completion`: what makes a shell complete commands, options and their choices.

The script asks this very program what can follow, through the library that reads the command line,
so it is never out of date; as for any command, only the group that is meant is imported.
"""

from enum import StrEnum
from typing import Annotated, Final

import typer

from registry.cli import COMPLETION
from registry.cli.output import Output, OutputOption, emit

PROGRAM: Final = "waypost"


class Shell(StrEnum):
    """A shell for which there is a script."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


INSTALL: Final = {
    Shell.BASH: '# in ~/.bashrc:  eval "$(waypost completion bash)"',
    Shell.ZSH: '# in ~/.zshrc, behind compinit:  eval "$(waypost completion zsh)"',
    Shell.FISH: "# once:  waypost completion fish > ~/.config/fish/completions/waypost.fish",
}
"""How each script comes to its shell."""

app = typer.Typer()


@app.command()
def completion(
    shell: Annotated[Shell, typer.Argument(help="The shell.", show_default=False)],
    output: OutputOption = Output.TEXT,
) -> None:
    """Print the script that makes a shell complete what is typed; its first line says where to.

    The shell then completes commands, options, choices, and file names where those are wanted.
    """
    # the counterpart of what answers the script, in the same library
    from typer._completion_shared import get_completion_script

    script = get_completion_script(
        prog_name=PROGRAM, complete_var=COMPLETION, shell=shell.value
    ).strip()
    text = f"{INSTALL[shell]}\n{script}"
    emit({"shell": shell.value, "script": text}, output, text)
