"""A key as 24 words: shown to the person at the terminal, asked back, and typed in again.

- Words go to the terminal alone, on a page that is gone afterwards. Where the standard output leads
  somewhere else nobody may be looking at it, and they are not shown at all.
- A backup counts once three of its words were given back.
"""

import sys
from pathlib import Path
from typing import Final

from ledger.errors import WaypostError
from registry.cli.terminal import TRIES, NoAnswer, ask, has_terminal, page, say
from registry.words import WORDS, BadWords, is_word, read_words, split_words, write_words

ASKED_BACK: Final = 3
COLUMNS: Final = 4

BEFORE: Final = """\
These 24 words are the key, for good: whoever has them needs neither file nor passphrase.
Write them on paper, in this order. Type them nowhere but into `waypost keys restore`.
"""


class NoTerminal(WaypostError):
    """Words would be shown where no person looks at them."""


class NotConfirmed(WaypostError):
    """The words that were asked back were others."""


def can_show() -> bool:
    """Whether there is a person to show words to."""
    return sys.stdout.isatty() and has_terminal()


def check_can_show(file: Path) -> None:
    """Raise `NoTerminal` where there is nobody to show words to."""
    if not can_show():
        raise NoTerminal(
            f"the words of {file} are shown in a terminal alone: run this in one, unredirected"
        )


def show_and_confirm(seed: bytes) -> None:
    """Show the words of a seed and ask three of them back. Raises `NotConfirmed`."""
    from random import SystemRandom

    words = write_words(seed)
    for _ in range(TRIES):
        with page():
            say(f"{BEFORE}\n{_arrange(words)}\n\n")
            ask("Press Enter once they are on paper. ")
        say("Now from the paper:\n")
        places = sorted(SystemRandom().sample(range(WORDS), ASKED_BACK))
        if all(split_words(ask(f"Word {place + 1}: ")) == [words[place]] for place in places):
            say("All three are right.\n")
            return
        say("That is another word: look at them once more.\n")
    raise NotConfirmed("the words were not given back, so there is no backup yet: try again")


def read_typed() -> bytes:
    """Return the seed whose words a person types. Raises `NoAnswer`."""
    with page():
        say(f"Type the {WORDS} words, in one line or in several.\n")
        for _ in range(TRIES):
            try:
                return read_words(" ".join(_collect()))
            except BadWords as error:
                say(f"{error}: once more, from the first\n")
    raise NoAnswer("the words could not be read, so nothing was made")


def _collect() -> list[str]:
    """Return as many words of the list as a seed has, or some more."""
    words: list[str] = []
    while len(words) < WORDS:
        typed = split_words(ask(f"from word {len(words) + 1} on: "))
        unknown = next((word for word in typed if not is_word(word)), None)
        if unknown is None:
            words += typed
        else:
            say(f"{unknown!r} is none of the words: this line again\n")
    return words


def _arrange(words: list[str]) -> str:
    """Return the words with their numbers, in columns that are read downwards."""
    rows = WORDS // COLUMNS
    cells = [f"{place:2} {word:10}" for place, word in enumerate(words, 1)]
    return "\n".join("  ".join(cells[row::rows]).rstrip() for row in range(rows))
