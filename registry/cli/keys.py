"""`waypost keys`: make key files, back them up in words, and show what is public of them.

new           a new key, encrypted with a passphrase
show          the address or public key of each role; needs no passphrase
check         the same, once the file was opened and found whole
seat          what founders need of an attestor, or an order of attestors
recovery      the key that a genesis file may name to replace the attestors
backup        the 24 words of a key, to write down
restore       a key file from its words
passphrase    another passphrase for a key file
"""

from pathlib import Path
from typing import Annotated, Final

import typer

from registry.cli.output import Output, OutputOption, align, emit, refusals, warn
from registry.cli.passphrases import KeyFiles, PassphraseFd, PassphraseFile, read_all

INSECURE: Final = (
    "INSECURE: the seed stands in the file in the clear. Whoever reads the file has the keys; "
    "for development networks only"
)
UNPROVEN: Final = "(as the file says: `waypost keys check` opens it and compares)"

KEY_FILE: Final = typer.Argument(help="The key file.", show_default=False)
NEW_FILE: Final = typer.Argument(help="The key file to make.", show_default=False)

app = typer.Typer(no_args_is_help=True)


@app.command()
def new(
    file: Annotated[Path, NEW_FILE],
    insecure: Annotated[
        bool, typer.Option("--insecure", help="No passphrase: for development networks only.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a key file with a new random key, encrypted with a passphrase.

    In a terminal it also shows the 24 words of the key, which are its backup.
    """
    keys = KeyFiles(passphrase_file, passphrase_fd)
    if insecure and not keys.is_attended:
        raise typer.BadParameter("--insecure and a passphrase exclude each other")
    with refusals():
        _emit_seed(file, make_key_file(file, keys, insecure), output)


@app.command()
def show(file: Annotated[Path, KEY_FILE], output: OutputOption = Output.TEXT) -> None:
    """Show the address or the public key of each role. Needs no passphrase."""
    from registry.keystore import describe_file

    with refusals():
        roles, is_insecure = describe_file(file)
        _emit(file, roles, output, is_insecure=is_insecure, is_checked=is_insecure)


@app.command()
def check(
    file: Annotated[Path, KEY_FILE],
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Open a key file, and show the public keys that it really has."""
    keys = KeyFiles(passphrase_file, passphrase_fd)
    with refusals():
        _emit_seed(file, keys.load(file), output)


@app.command()
def seat(
    file: Annotated[Path, KEY_FILE],
    genesis: Annotated[
        Path | None,
        typer.Option(help="Genesis file of the network to prove the seat for, for an order."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Print an attestor's seat: what founders put into a genesis file. All of it is public.

    It is the list key, the tip of the hash chain, and the consensus key, which validators need:
    `genesis new --attestor SEAT` takes it. A network that runs takes the first two with a proof,
    for which `--genesis` names the network: `network set-attestors --add SEAT`.
    """
    from ledger.crypto import sha256
    from registry.keystore import derive
    from registry.orders import prove_seat

    keys = KeyFiles(passphrase_file, passphrase_fd)
    with refusals():
        network = b"" if genesis is None else sha256(genesis.read_bytes())
        seed = keys.load(file)
        made = prove_seat(network, seed)
        facts = {"list_key": made.list_key.hex(), "tip": made.tip.hex()}
        if genesis is None:
            facts["consensus_key"] = derive(seed, "consensus").public.hex()
        else:
            facts["proof"] = made.proof.hex()
        shown = ":".join(facts.values())
        emit(facts | {"seat": shown}, output, shown)


@app.command()
def recovery(
    file: Annotated[Path, KEY_FILE],
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Print the public key with which this file may recover a network. It is for `genesis new`.

    More than two thirds of the recovery keys that a genesis file names may replace the attestors.
    Keep such a file offline, and use it for nothing else.
    """
    from registry.keystore import RECOVERY, derive

    keys = KeyFiles(passphrase_file, passphrase_fd)
    with refusals():
        key = derive(keys.load(file), RECOVERY).public.hex()
        emit({"recovery": key}, output, key)


@app.command()
def backup(
    file: Annotated[Path, KEY_FILE],
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show the 24 words of a key in the terminal, and ask three of them back."""
    from registry.cli.backups import check_can_show, show_and_confirm

    keys = KeyFiles(passphrase_file, passphrase_fd)
    with refusals():
        check_can_show(file)
        show_and_confirm(keys.load(file))
        emit(
            {"file": str(file), "backup": True},
            output,
            f"the backup of {file} is right: keep it away from the file and from the passphrase",
        )


@app.command()
def restore(
    file: Annotated[Path, NEW_FILE],
    words_file: Annotated[
        Path | None, typer.Option(metavar="PATH", help="File with the words; else you are asked.")
    ] = None,
    words_fd: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Open descriptor with the words.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a key file from the 24 words of a key, with a passphrase of its own."""
    from registry.keystore import save_seed

    keys = KeyFiles(passphrase_file, passphrase_fd)
    if words_file is not None and words_fd is not None:
        raise typer.BadParameter("give --words-file or --words-fd, not both")
    if words_fd is not None and words_fd == passphrase_fd:
        raise typer.BadParameter("the words and the passphrase need a descriptor each")
    with refusals():
        _check_unused(file)
        seed = _read_words(words_file, words_fd)
        save_seed(file, seed, keys.choose(str(file)))
        _emit_seed(file, seed, output)


@app.command()
def passphrase(
    file: Annotated[Path, KEY_FILE],
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    new_passphrase_file: PassphraseFile = None,
    new_passphrase_fd: PassphraseFd = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Change the passphrase of a key file, or give one to a file in the clear.

    Older copies of the file keep the passphrase that they had.
    """
    from registry.keystore import change_passphrase, describe_file

    keys = KeyFiles(passphrase_file, passphrase_fd)
    new_keys = KeyFiles(new_passphrase_file, new_passphrase_fd, "--new-passphrase")
    with refusals():
        _, was_insecure = describe_file(file)
        seed = keys.load(file)
        change_passphrase(file, seed, new_keys.choose(str(file)))
        if was_insecure:
            warn(f"{file}: the seed was in the clear until now, and copies and disks may keep it")
        _emit_seed(file, seed, output)


def make_key_file(file: Path, keys: KeyFiles, insecure: bool) -> bytes:
    """Make a key file with a new random key, and return its seed.

    A person at a terminal writes the words down first. Raises `BadKeyFile` where there is a file
    already, and what the terminal and the passphrase raise; then there is no file.
    """
    from secrets import token_bytes

    from registry.cli.backups import can_show, show_and_confirm
    from registry.keystore import save_insecure_seed, save_seed

    _check_unused(file)
    seed = token_bytes(32)
    if insecure:
        save_insecure_seed(file, seed)
        warn(f"{file}: {INSECURE}")
        return seed
    passphrase = keys.choose(str(file))
    is_backed_up = keys.is_attended and can_show()
    if is_backed_up:
        show_and_confirm(seed)
    save_seed(file, seed, passphrase)
    if not is_backed_up:
        warn_of_backup(file)
    return seed


def warn_of_backup(*files: Path) -> None:
    """Say of new key files that losing them loses the keys."""
    for file in files:
        warn(f"{file} has no backup yet: `waypost keys backup {file}` in a terminal makes one")


def _check_unused(file: Path) -> None:
    """Refuse early, before anybody typed anything; `save_seed` makes sure of it."""
    from registry.keystore import BadKeyFile

    if file.exists():
        raise BadKeyFile(f"{file} exists already: a key file is never overwritten")


def _read_words(file: Path | None, fd: int | None) -> bytes:
    from registry.cli.backups import NoTerminal, read_typed
    from registry.cli.terminal import has_terminal
    from registry.words import BadWords, read_words

    if file is None and fd is None:
        if not has_terminal():
            raise NoTerminal("no terminal to ask for the words: give --words-file or --words-fd")
        return read_typed()
    try:
        return read_words(read_all(file, fd).decode())
    except UnicodeError:
        raise BadWords("the words are no text in UTF-8") from None


def _emit_seed(file: Path, seed: bytes, output: Output) -> None:
    """Show what is public of a key file that was just opened or made."""
    from registry.keystore import describe, describe_file

    _, is_insecure = describe_file(file)
    _emit(file, describe(seed), output, is_insecure=is_insecure, is_checked=True)


def _emit(
    file: Path, roles: dict[str, str], output: Output, *, is_insecure: bool, is_checked: bool
) -> None:
    facts = {"file": str(file), "insecure": is_insecure, "checked": is_checked, **roles}
    shown = align([*roles.items()])
    emit(facts, output, shown if is_checked else f"{shown}\n{UNPROVEN}")
