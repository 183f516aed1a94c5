"""Where secrets come from: a prompt on the terminal, a file, or an open descriptor.

- A passphrase is never an argument and never in the environment, where others can read it.
- Of a file or a descriptor the first line counts, without its line break; it serves all key files
  of the command. A file that others can read is refused, as a key file is.
- Without either, each key file is asked for by its name, up to three times.
- Key files in the clear need none: then nobody is asked and nothing is read.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from ledger.errors import WaypostError
from registry.cli.output import warn

if TYPE_CHECKING:
    from registry.handover import Seeds

MAX_SECRET_BYTES: Final = 4_096
"""What is read of a file or a descriptor at most."""

SHORT: Final = 12
"""A new passphrase with fewer characters is warned about."""

PassphraseFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH", help="File whose first line is the passphrase; else you are asked."
    ),
]
PassphraseFd: TypeAlias = Annotated[
    int | None,
    typer.Option(metavar="N", min=0, help="Open descriptor with the passphrase, such as 3."),
]


class NoPassphrase(WaypostError):
    """A passphrase is needed, and there is nobody to ask."""


class BadSource(WaypostError):
    """A file or descriptor from which a secret should come cannot be used."""


class KeyFiles:
    """Opens the key files of one command, each of them once."""

    def __init__(
        self, file: Path | None = None, fd: int | None = None, option: str = "--passphrase"
    ) -> None:
        """Take what the two options say, whose names begin with `option`; nothing is read yet."""
        if file is not None and fd is not None:
            raise typer.BadParameter(f"give {option}-file or {option}-fd, not both")
        self._option = option
        self._file = file
        self._fd = fd
        self._told: bytes | None = None
        self._seeds: dict[Path, bytes] = {}

    @property
    def is_attended(self) -> bool:
        """Whether a person is asked, since no option says where a passphrase is."""
        return self._file is None and self._fd is None

    def load(self, path: Path) -> bytes:
        """Return the seed of a key file.

        Raises `BadKeyFile`, `BadPassphrase`, `BadSource`, `NoPassphrase` and `NoAnswer`.
        """
        if path not in self._seeds:
            self._seeds[path] = self._open(path)
        return self._seeds[path]

    def load_all(self, paths: Sequence[Path]) -> "Seeds":
        """Return the seed of each of these key files."""
        return {path: self.load(path) for path in paths}

    def choose(self, what: str) -> bytes:
        """Return a new passphrase for `what`, typed twice by a person or told as always.

        Raises as `load` does.
        """
        passphrase = _ask_for_new(what, self._option) if self.is_attended else self._tell()
        if len(passphrase.decode()) < SHORT:
            warn(
                f"a passphrase of fewer than {SHORT} characters is soon guessed by who has the "
                "file: five random words are better, and `waypost keys passphrase` changes it"
            )
        return passphrase

    def _open(self, path: Path) -> bytes:
        from registry.keystore import (
            EncryptedKeyFile,
            naming,
            open_key_file,
            parse_key_file,
            read_key_file,
        )

        raw = read_key_file(path)
        with naming(path):
            if not isinstance(parse_key_file(raw), EncryptedKeyFile):
                return open_key_file(raw)
            return _ask_to_open(path, raw) if self.is_attended else open_key_file(raw, self._tell())

    def _tell(self) -> bytes:
        """Return what the file or the descriptor says, which is read once."""
        from registry.keystore import BadPassphrase, encode_passphrase

        if self._told is None:
            line = read_line(self._file, self._fd)
            try:
                self._told = encode_passphrase(line.decode())
            except (UnicodeError, BadPassphrase) as error:
                why = error if isinstance(error, BadPassphrase) else "it is no text in UTF-8"
                raise BadPassphrase(f"{_name(self._file, self._fd)}: {why}") from None
        return self._told


# --- from the terminal ---------------------------------------------------------------------------


def _ask_for_new(what: str, option: str) -> bytes:
    from registry.cli.terminal import TRIES, NoAnswer, ask_secret, say
    from registry.keystore import BadPassphrase, encode_passphrase

    _check_terminal(what, option)
    for _ in range(TRIES):
        text = ask_secret(f"New passphrase for {what}: ")
        try:
            passphrase = encode_passphrase(text)
        except BadPassphrase as error:
            say(f"{error}\n")
            continue
        if ask_secret("The same once more: ") == text:
            return passphrase
        say("these were two different ones: try again\n")
    raise NoAnswer("no passphrase was chosen, so nothing was done")


def _ask_to_open(path: Path, raw: bytes) -> bytes:
    from registry.cli.terminal import TRIES, ask_secret, say
    from registry.keystore import BadPassphrase, CannotOpen, encode_passphrase, open_key_file

    _check_terminal(str(path), "--passphrase")
    tries = 0
    while True:
        text = ask_secret(f"Passphrase for {path}: ")
        try:
            return open_key_file(raw, encode_passphrase(text))
        except (CannotOpen, BadPassphrase) as error:
            tries += 1
            if tries == TRIES:
                raise
            say(f"{error}: try again\n")


def _check_terminal(what: str, option: str) -> None:
    from registry.cli.terminal import has_terminal

    if not has_terminal():
        raise NoPassphrase(
            f"{what}: there is no terminal to ask for the passphrase: give {option}-file PATH or "
            f"{option}-fd N"
        )


# --- from files and descriptors ------------------------------------------------------------------


def read_line(file: Path | None, fd: int | None) -> bytes:
    """Return the first line of a file or a descriptor without its line break, and read no more.

    Raises `BadSource`.
    """
    with _open_source(file, fd) as handle:
        read = bytearray()
        while len(read) <= MAX_SECRET_BYTES and (byte := os.read(handle, 1)) not in (b"", b"\n"):
            read += byte
    _check_length(len(read), file, fd)
    return bytes(read).removesuffix(b"\r")


def read_all(file: Path | None, fd: int | None) -> bytes:
    """Return all that a file or a descriptor holds. Raises `BadSource`."""
    with _open_source(file, fd) as handle:
        read = bytearray()
        while len(read) <= MAX_SECRET_BYTES and (piece := os.read(handle, MAX_SECRET_BYTES)):
            read += piece
    _check_length(len(read), file, fd)
    return bytes(read)


@contextmanager
def _open_source(file: Path | None, fd: int | None) -> Iterator[int]:
    name = _name(file, fd)
    try:
        if file is None:
            assert fd is not None
            handle = os.dup(fd)
        else:
            handle = os.open(file, os.O_RDONLY)
    except OSError as error:
        raise BadSource(f"{name} cannot be read: {error.strerror}") from None
    try:
        if os.isatty(handle):
            raise BadSource(f"{name} is a terminal, which would show it: leave the option out")
        if file is not None and os.fstat(handle).st_mode & 0o077:
            raise BadSource(f"{name} can be read by others: chmod 600 it")
        yield handle
    except OSError as error:
        raise BadSource(f"{name} cannot be read: {error.strerror}") from None
    finally:
        os.close(handle)


def _check_length(count: int, file: Path | None, fd: int | None) -> None:
    if count > MAX_SECRET_BYTES:
        raise BadSource(f"{_name(file, fd)} holds more than any passphrase or words have")


def _name(file: Path | None, fd: int | None) -> str:
    return f"descriptor {fd}" if file is None else str(file)
