"""Where a passphrase comes from: the terminal, a file, a descriptor; never an argument."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from typer.core import TyperGroup

from registry.cli import GROUPS, load
from registry.cli.passphrases import MAX_SECRET_BYTES, BadSource, KeyFiles, read_all, read_line
from registry.keystore import (
    MINIMUM,
    BadKeyFile,
    BadPassphrase,
    CannotOpen,
    save_insecure_seed,
    save_seed,
)
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.fake_service import account_of, run_service, save_keys, seed_of
from tests.registry.cli.person import (
    PASSPHRASE,
    Person,
    at_terminal,
    pipe_of,
    run_without_terminal,
    write_passphrase,
)

BOB: Final = account_of("bob").hex()


def save_encrypted(folder: Path, name: str, passphrase: str = PASSPHRASE) -> Path:
    path = folder / f"{name}.json"
    save_seed(path, seed_of(name), passphrase.encode(), MINIMUM)
    return path


def write(folder: Path, data: bytes) -> Path:
    path = folder / "told"
    path.write_bytes(data)
    path.chmod(0o600)
    return path


# --- files and descriptors ----------------------------------------------------------------------

LINES: Final = {
    "one line": b"five words on no list\n",
    "no line break": b"five words on no list",
    "line break of another system": b"five words on no list\r\n",
    "more lines": b"five words on no list\nand a note\n",
    "much more": b"five words on no list\n" + b"x" * 3 * MAX_SECRET_BYTES,
}


@pytest.mark.parametrize("data", LINES.values(), ids=LINES.keys())
def test_the_first_line_is_the_passphrase(tmp_path: Path, data: bytes) -> None:
    key = save_encrypted(tmp_path, "alice")
    assert KeyFiles(write(tmp_path, data)).load(key) == seed_of("alice")
    reading, writing = os.pipe()
    try:
        os.write(writing, data)
        os.close(writing)
        assert KeyFiles(fd=reading).load(key) == seed_of("alice")
    finally:
        os.close(reading)


def test_blanks_belong_to_it(tmp_path: Path) -> None:
    key = save_encrypted(tmp_path, "alice", "  in blanks  ")
    assert KeyFiles(write(tmp_path, b"  in blanks  \n")).load(key) == seed_of("alice")
    with pytest.raises(CannotOpen):
        KeyFiles(write(tmp_path, b"in blanks\n")).load(key)


def test_letters_that_look_the_same_are_the_same(tmp_path: Path) -> None:
    key = save_encrypted(tmp_path, "alice", "Z\u00fcrich im Fr\u00fchling")
    told = "Zu\u0308rich im Fru\u0308hling".encode()
    assert KeyFiles(write(tmp_path, told)).load(key) == seed_of("alice")


def test_one_passphrase_serves_all_files_and_is_read_once(tmp_path: Path) -> None:
    files = [save_encrypted(tmp_path, name) for name in ("alice", "bob")]
    with pipe_of(PASSPHRASE.encode() + b"\nnext line\n") as fd:
        assert KeyFiles(fd=fd).load_all(files) == {
            file: seed_of(name) for file, name in zip(files, ("alice", "bob"), strict=True)
        }
        # what follows is left to others
        assert os.read(fd, 100) == b"next line\n"


def test_a_file_in_the_clear_reads_no_passphrase(tmp_path: Path) -> None:
    save_insecure_seed(tmp_path / "clear", seed_of("alice"))
    assert KeyFiles(tmp_path / "missing").load(tmp_path / "clear") == seed_of("alice")
    assert KeyFiles(fd=999).load(tmp_path / "clear") == seed_of("alice")


BAD: Final[dict[str, tuple[bytes, type[Exception], str]]] = {
    "nothing": (b"", BadPassphrase, "told: an empty passphrase"),
    "an empty line": (b"\nfive words on no list", BadPassphrase, "told: an empty passphrase"),
    "no text": (b"\xff\xfe\n", BadPassphrase, "told: it is no text in UTF-8"),
    "a line without end": (b"x" * (MAX_SECRET_BYTES + 1), BadSource, "more than any passphrase"),
    "another one": (b"six words on no list\n", CannotOpen, "alice.json: the passphrase is wrong"),
}


@pytest.mark.parametrize(("data", "error", "why"), BAD.values(), ids=BAD.keys())
def test_what_is_refused(tmp_path: Path, data: bytes, error: type[Exception], why: str) -> None:
    key = save_encrypted(tmp_path, "alice")
    with pytest.raises(error, match=why):
        KeyFiles(write(tmp_path, data)).load(key)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o602])
def test_a_passphrase_that_others_reach_is_refused(tmp_path: Path, mode: int) -> None:
    told = write(tmp_path, PASSPHRASE.encode())
    told.chmod(mode)
    with pytest.raises(BadSource, match="told can be read by others: chmod 600"):
        KeyFiles(told).load(save_encrypted(tmp_path, "alice"))


def test_sources_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="missing cannot be read: No such file"):
        read_line(tmp_path / "missing", None)
    tmp_path.chmod(0o700)
    with pytest.raises(BadSource, match="cannot be read: Is a directory"):
        read_line(tmp_path, None)
    with pytest.raises(BadSource, match="descriptor 999 cannot be read: Bad file descriptor"):
        read_line(None, 999)
    # it would be seen while it is typed
    master, slave = os.openpty()
    try:
        with pytest.raises(BadSource, match="is a terminal, which would show it"):
            read_line(None, slave)
    finally:
        os.close(slave)
        os.close(master)
    with pytest.raises(BadSource, match="more than any passphrase or words"):
        read_all(write(tmp_path, b"x" * (MAX_SECRET_BYTES + 1)), None)


def test_two_sources_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="--passphrase-file or --passphrase-fd, not both"):
        KeyFiles(tmp_path / "told", 0)


# --- the terminal -------------------------------------------------------------------------------


def test_each_file_is_asked_for_by_its_name_and_nothing_is_echoed(tmp_path: Path) -> None:
    alice = save_encrypted(tmp_path, "alice", "alice's own words")
    node = save_encrypted(tmp_path, "node", "the node's own words")
    with (
        run_service() as service,
        at_terminal(
            *("node", "register", "--operator", alice, "--node", node, "--ipv4", "5.6.7.8"),
            *("--stake", "100", "--url", service.url),
        ) as person,
    ):
        person.answer(f"Passphrase for {node}: ", "the node's own words")
        person.answer(f"Passphrase for {alice}: ", "alice's own words")
        person.wait_for("registered wpn1")
        assert person.end() == 0
    assert "own words" not in person.seen


def test_a_wrong_passphrase_is_asked_for_again(tmp_path: Path) -> None:
    key = save_encrypted(tmp_path, "alice")
    with at_terminal("keys", "check", key) as person:
        person.answer("Passphrase for", "a wrong one")
        person.wait_for("the passphrase is wrong, or the file was changed: try again")
        person.answer("Passphrase for", "")
        person.wait_for("an empty passphrase protects nothing: try again")
        person.answer("Passphrase for", PASSPHRASE)
        person.wait_for("account +wpa1")
        assert person.end() == 0
    assert PASSPHRASE not in person.seen
    assert "a wrong one" not in person.seen


def test_the_third_wrong_one_is_the_last(tmp_path: Path) -> None:
    key = save_encrypted(tmp_path, "alice")
    with at_terminal("keys", "check", key) as person:
        for _ in range(3):
            person.answer(f"Passphrase for {key}: ", "a wrong one")
        person.wait_for(f"error: bad_key_file: {key}: the passphrase is wrong")
        assert person.end() == 1
    assert person.seen.count("Passphrase for") == 3


@pytest.mark.parametrize(("key", "code"), [(b"\x03", 130), (b"\x04", 1)], ids=["Ctrl-C", "Ctrl-D"])
def test_a_person_may_leave(tmp_path: Path, key: bytes, code: int) -> None:
    file = save_encrypted(tmp_path, "alice")
    with at_terminal("keys", "check", file) as person:
        person.wait_for("Passphrase for")
        assert person.insist(key) == code
    assert "Traceback" not in person.seen


def test_a_redirected_output_still_asks_at_the_terminal(tmp_path: Path) -> None:
    key = save_encrypted(tmp_path, "alice")
    with (
        (tmp_path / "out").open("wb") as out,
        at_terminal("keys", "check", key, stdout=out.fileno()) as person,
    ):
        person.answer("Passphrase for", PASSPHRASE)
        assert person.end() == 0
    assert (tmp_path / "out").read_text().startswith("account ")


def choose(person: Person, *texts: str) -> None:
    for number, text in enumerate(texts):
        person.answer(("New passphrase for", "The same once more: ")[number % 2], text)


def test_a_new_passphrase_is_typed_twice(tmp_path: Path) -> None:
    file = tmp_path / "alice.json"
    with at_terminal("keys", "new", file) as person:
        choose(person, "one of several", "another of several")
        person.wait_for("these were two different ones: try again")
        person.answer("New passphrase for", "")
        person.wait_for("an empty passphrase protects nothing")
        choose(person, "short", "short")
        person.wait_for("warning: a passphrase of fewer than 12 characters")
        person.give_back(person.write_down())
        assert person.end() == 0
    assert "several" not in person.seen
    assert KeyFiles(write(tmp_path, b"short")).load(file)


def test_who_never_types_the_same_makes_nothing(tmp_path: Path) -> None:
    with at_terminal("keys", "new", tmp_path / "alice.json") as person:
        choose(person, *(f"passphrase number {number}" for number in range(6)))
        person.wait_for("error: no_answer: no passphrase was chosen")
        assert person.end() == 1
    assert list(tmp_path.iterdir()) == []


# --- nobody to ask ------------------------------------------------------------------------------


def test_without_a_terminal_the_options_are_named(tmp_path: Path) -> None:
    key = save_encrypted(tmp_path, "alice")
    # what a program pipes in is no answer of a person
    done = run_without_terminal("keys", "check", key, given=f"{PASSPHRASE}\n")
    assert done.returncode == 1
    assert done.stderr == (
        f"error: no_passphrase: {key}: there is no terminal to ask for the passphrase: "
        "give --passphrase-file PATH or --passphrase-fd N\n"
    )


def test_a_service_manager_gives_a_descriptor(tmp_path: Path) -> None:
    key = save_encrypted(tmp_path, "alice")
    with pipe_of(PASSPHRASE.encode()) as fd:
        done = run_without_terminal("keys", "check", key, "--passphrase-fd", fd, fds=[fd])
    assert done.returncode == 0, done.stderr
    assert run_without_terminal(
        *("keys", "check", key, "--passphrase-fd", 0), given=PASSPHRASE
    ).stdout.startswith("account ")


# --- every command ------------------------------------------------------------------------------


def commands(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from commands(inner, (*words, name))


EVERY: Final = [row for group in GROUPS for row in commands(load(group), (group.name,))]


def options_of(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


@pytest.mark.parametrize(("words", "command"), EVERY, ids=[" ".join(words) for words, _ in EVERY])
def test_a_passphrase_is_no_argument_of_any_command(words: tuple[str, ...], command: Any) -> None:
    options = options_of(command)
    assert "--passphrase" not in options
    assert ("--passphrase-file" in options) == ("--passphrase-fd" in options)
    sources = [one for one in command.params if any("passphrase" in name for name in one.opts)]
    assert [one.envvar for one in sources] == [None] * len(sources)


def send(key: Path, url: str) -> tuple[object, ...]:
    return ("account", "send", "--from", key, "--to", BOB, "--amount", "1", "--url", url)


def contribute(key: Path, url: str) -> tuple[object, ...]:
    return ("node", "contribute", "--from", key, "--node", "ab" * 32, "--amount", "1", "--url", url)


def withdraw(key: Path, url: str) -> tuple[object, ...]:
    return ("node", "withdraw", "--from", key, "--node", "ab" * 32, "--url", url)


def contact(key: Path, url: str) -> tuple[object, ...]:
    return ("node", "contact", "--node", key, "--ipv4", "5.6.7.8", "--url", url)


def register(key: Path, url: str) -> tuple[object, ...]:
    return (
        *("node", "register", "--operator", key, "--node", key, "--ipv4", "5.6.7.8"),
        *("--stake", "100", "--url", url),
    )


def check(key: Path, _url: str) -> tuple[object, ...]:
    return ("keys", "check", key)


def change(key: Path, _url: str) -> tuple[object, ...]:
    return ("keys", "passphrase", key)


def found(key: Path, _url: str) -> tuple[object, ...]:
    return (
        *("genesis", "new", "--name", "n", "--preset", "minimal", "--producer", key),
        *("--attestor", key, "--out", key.parent / "genesis.bin"),
    )


OPENING: Final = [send, contribute, withdraw, contact, register, check, change, found]


@pytest.mark.parametrize("words", OPENING)
def test_every_command_that_opens_a_key_file_wants_its_passphrase(
    tmp_path: Path, words: Callable[[Path, str], tuple[object, ...]]
) -> None:
    key = save_encrypted(tmp_path, "alice")
    told = write(tmp_path, b"a wrong one")
    # it is asked for before anything else is done
    result = call(*words(key, "http://127.0.0.1:1"), "--passphrase-file", told, code=1)
    assert error_of(result) == "bad_key_file"
    assert "the passphrase is wrong" in result.stderr


def test_a_passphrase_from_a_file_sends_coins(tmp_path: Path) -> None:
    key = save_encrypted(tmp_path, "alice")
    told = write_passphrase(tmp_path)
    with run_service() as service:
        sent = call_json(*send(key, service.url), "--passphrase-file", told)
        assert sent["state"] == "committed"
        node = save_encrypted(tmp_path, "node")
        registered = call_json(
            *("node", "register", "--operator", key, "--node", node, "--ipv4", "5.6.7.8"),
            *("--stake", "100", "--url", service.url, "--passphrase-file", told),
        )
        assert registered["state"] == "committed"
        changed = call_json(*contact(node, service.url), "--passphrase-file", told)
        assert changed["state"] == "committed"


def test_files_in_the_clear_and_encrypted_ones_go_together(tmp_path: Path) -> None:
    clear, key = save_keys(tmp_path, "bob"), save_encrypted(tmp_path, "alice")
    keys = KeyFiles(write_passphrase(tmp_path))
    assert keys.load_all([clear, key]) == {clear: seed_of("bob"), key: seed_of("alice")}
    with pytest.raises(BadKeyFile, match="there is no key file"):
        keys.load(tmp_path / "missing")
