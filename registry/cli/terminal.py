"""The person at the terminal: what is asked without an echo, and what leaves no trace.

Everything here goes through the process's own terminal, `/dev/tty`, wherever the standard streams
lead: what is secret never gets into a pipe or a file by a redirection.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ledger.errors import WaypostError

TRIES: Final = 3
"""How often a person may answer a question wrongly."""

_TTY: Final = Path("/dev/tty")
_ENTER_PAGE: Final = "\x1b[?1049h\x1b[2J\x1b[H"
_LEAVE_PAGE: Final = "\x1b[2J\x1b[?1049l"


class NoAnswer(WaypostError):
    """The person at the terminal closed it, or gave no answer that can be used."""


def has_terminal() -> bool:
    """Whether somebody can be asked."""
    try:
        os.close(os.open(_TTY, os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def say(text: str) -> None:
    """Show some text."""
    with _TTY.open("wb", buffering=0) as tty:
        tty.write(text.encode("utf-8", "replace"))


def ask(question: str) -> str:
    """Return one line that is typed, and seen while it is. Raises `NoAnswer`."""
    # unbuffered: what is typed ahead is for the next question
    with _TTY.open("r+b", buffering=0) as tty:
        tty.write(question.encode("utf-8", "replace"))
        line = tty.readline()
    if not line:
        raise NoAnswer("the terminal was closed before the answer")
    return line.decode("utf-8", "replace").rstrip("\r\n")


def ask_secret(question: str) -> str:
    """Return one line that is typed without an echo. Raises `NoAnswer`."""
    from getpass import getpass

    try:
        return getpass(question)
    except EOFError:
        raise NoAnswer("the terminal was closed before the answer") from None
    except UnicodeError:
        raise NoAnswer(
            "what was typed is not the terminal's own encoding: try plain letters"
        ) from None


@contextmanager
def page() -> Iterator[None]:
    """Show what is shown inside on a page of its own, which is gone afterwards, also from above."""
    has_pages = os.environ.get("TERM", "dumb") != "dumb"
    if has_pages:
        say(_ENTER_PAGE)
    try:
        yield
    finally:
        say(_LEAVE_PAGE if has_pages else "This terminal keeps what it shows: clear it.\n")
