"""`waypost keys`: what it makes, what it shows, and to whom."""

import json
import os
import stat
from pathlib import Path
from typing import Final

import pytest

from registry import keystore
from registry.addresses import decode_account, decode_node
from registry.keystore import (
    INSECURE,
    MINIMUM,
    MODERATE,
    ROLES,
    BadKeyFile,
    CannotOpen,
    derive,
    describe,
    load_seed,
    parse_key_file,
    save_seed,
)
from registry.words import read_words, write_words
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.fake_service import save_keys, seed_of
from tests.registry.cli.person import (
    PASSPHRASE,
    at_terminal,
    pipe_of,
    run_without_terminal,
    write_passphrase,
)

WORDS: Final = write_words(seed_of("alice"))
ENTER_PAGE: Final = "\x1b[?1049h"
LEAVE_PAGE: Final = "\x1b[?1049l"


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that cost nothing to open, made by the commands in this process."""
    monkeypatch.setattr(keystore, "MODERATE", MINIMUM)


def save_encrypted(folder: Path, name: str = "alice") -> Path:
    path = folder / f"{name}.json"
    save_seed(path, seed_of(name), PASSPHRASE.encode(), MINIMUM)
    return path


def open_it(path: Path, passphrase: str = PASSPHRASE) -> bytes:
    return load_seed(path, lambda: passphrase.encode())


def write_words_file(folder: Path, text: str) -> Path:
    path = folder / "words"
    path.write_text(text)
    path.chmod(0o600)
    return path


# --- new ----------------------------------------------------------------------------------------


def test_a_new_key_is_backed_up_by_the_person_who_makes_it(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "node.json"
    with at_terminal("keys", "new", file) as person:
        person.answer(f"New passphrase for {file}: ", PASSPHRASE)
        person.answer("The same once more: ", PASSPHRASE)
        words = person.write_down()
        # nothing is made before there is a backup
        assert not file.exists()
        person.give_back(words)
        person.wait_for("All three are right")
        assert person.end() == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    seed = open_it(file)
    assert read_words(" ".join(words)) == seed
    assert derive(seed, "duty").public.hex() in person.seen
    assert PASSPHRASE not in person.seen
    assert seed.hex() not in person.seen
    # the words stood on a page that is gone
    before, page, after = person.seen.replace(LEAVE_PAGE, ENTER_PAGE).split(ENTER_PAGE)
    assert " ".join(words[:3]) not in before + after
    assert words[0] in page
    assert f" 1 {words[0]}" not in before + after


def test_unattended_it_says_that_there_is_no_backup(tmp_path: Path, cheap: None) -> None:
    file = tmp_path / "node.json"
    result = call("keys", "new", file, "--passphrase-file", write_passphrase(tmp_path))
    assert f"{file} has no backup yet: `waypost keys backup {file}` in a terminal" in result.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    seed = open_it(file)
    assert derive(seed, "duty").public.hex() in result.stdout
    assert not contains_words(result.output, seed)


def test_unattended_in_a_terminal_it_shows_no_words_either(tmp_path: Path) -> None:
    told = write_passphrase(tmp_path)
    with at_terminal("keys", "new", tmp_path / "a", "--passphrase-file", told) as person:
        person.wait_for("has no backup yet")
        assert person.end() == 0
    assert not contains_words(person.seen, open_it(tmp_path / "a"))


@pytest.mark.parametrize("output", ["text", "json"])
def test_words_never_go_where_the_output_leads(tmp_path: Path, output: str) -> None:
    file = tmp_path / "a"
    with (
        (tmp_path / "out").open("wb") as out,
        at_terminal("keys", "new", file, "-o", output, stdout=out.fileno()) as person,
    ):
        person.answer("New passphrase", PASSPHRASE)
        person.answer("The same once more", PASSPHRASE)
        person.wait_for("has no backup yet")
        assert person.end() == 0
    for shown in (person.seen, (tmp_path / "out").read_text()):
        assert not contains_words(shown, open_it(file))


def test_words_never_stand_in_json(tmp_path: Path) -> None:
    with at_terminal("keys", "new", tmp_path / "a", "-o", "json") as person:
        person.answer("New passphrase", PASSPHRASE)
        person.answer("The same once more", PASSPHRASE)
        words = person.write_down()
        person.give_back(words)
        assert person.end() == 0
    printed = person.seen[person.seen.rindex(LEAVE_PAGE) :]
    facts = json.loads(printed[printed.index("{") :])
    assert set(facts) == {"file", "insecure", "checked", *ROLES}
    assert not set(words) & set(str(facts).split())


def test_who_cannot_give_the_words_back_makes_nothing(tmp_path: Path) -> None:
    with at_terminal("keys", "new", tmp_path / "a") as person:
        person.answer("New passphrase", PASSPHRASE)
        person.answer("The same once more", PASSPHRASE)
        for _ in range(3):
            words = person.write_down()
            person.give_back(["zoo" if word != "zoo" else "zebra" for word in words], count=1)
            person.wait_for("That is another word: look at them once more")
        person.wait_for("error: not_confirmed: the words were not given back")
        assert person.end() == 1
    assert list(tmp_path.iterdir()) == []


def test_a_slip_shows_the_same_words_again(tmp_path: Path) -> None:
    with at_terminal("keys", "new", tmp_path / "a") as person:
        person.answer("New passphrase", PASSPHRASE)
        person.answer("The same once more", PASSPHRASE)
        words = person.write_down()
        person.give_back(words, count=2)
        person.give_back([f"{word}s" for word in words], count=1)
        assert person.write_down() == words
        person.give_back([word.upper() for word in words])
        assert person.end() == 0
    assert read_words(" ".join(words)) == open_it(tmp_path / "a")


def test_leaving_at_the_words_takes_them_off_the_screen(tmp_path: Path) -> None:
    with at_terminal("keys", "new", tmp_path / "a") as person:
        person.answer("New passphrase", PASSPHRASE)
        person.answer("The same once more", PASSPHRASE)
        person.wait_for("Press Enter")
        assert person.insist(b"\x03") == 130
    assert person.seen.rindex(LEAVE_PAGE) > person.seen.rindex(ENTER_PAGE)
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_without_pages_is_to_be_cleared(tmp_path: Path) -> None:
    file = save_encrypted(tmp_path)
    with at_terminal("keys", "backup", file, environment={"TERM": "dumb"}) as person:
        person.answer("Passphrase for", PASSPHRASE)
        person.give_back(person.write_down())
        person.wait_for("the backup of")
        assert person.end() == 0
    assert "\x1b" not in person.seen
    assert "This terminal keeps what it shows: clear it" in person.seen


def test_the_clear_form_is_asked_for_and_says_what_it_is_worth(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "node.json"
    result = call("keys", "new", file, "--insecure")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "INSECURE" in result.stderr
    assert "development" in result.stderr
    assert INSECURE in file.read_text()
    seed = load_seed(file)
    assert seed.hex() not in result.output
    assert derive(seed, "duty").public.hex() in result.stdout


def test_two_files_have_two_seeds(tmp_path: Path) -> None:
    call("keys", "new", tmp_path / "a", "--insecure")
    call("keys", "new", tmp_path / "b", "--insecure")
    assert load_seed(tmp_path / "a") != load_seed(tmp_path / "b")


def test_nothing_is_overwritten_and_nobody_asked_in_vain(tmp_path: Path) -> None:
    file = save_keys(tmp_path, "alice")
    missing = tmp_path / "no passphrase"
    for words in (
        ["new", file, "--insecure"],
        ["new", file, "--passphrase-file", missing],
        ["restore", file, "--words-file", missing, "--passphrase-file", missing],
    ):
        assert error_of(call("keys", *words, code=1)) == "bad_key_file"
    assert load_seed(file) == seed_of("alice")


@pytest.mark.parametrize(
    "words",
    [
        ["new", "f", "--insecure", "--passphrase-file", "p"],
        ["new", "f", "--insecure", "--passphrase-fd", "0"],
        ["new", "f", "--passphrase-file", "p", "--passphrase-fd", "0"],
        ["new", "f", "--passphrase", "secret"],
        ["check", "f", "--passphrase-file", "p", "--passphrase-fd", "0"],
        ["restore", "f", "--words-file", "w", "--words-fd", "0"],
        ["restore", "f", "--words-fd", "0", "--passphrase-fd", "0"],
        ["restore", "f", *WORDS],
        ["passphrase", "f", "--new-passphrase-file", "p", "--new-passphrase-fd", "0"],
        ["show", "f", "--passphrase-file", "p"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    call("keys", *words, code=2)
    assert list(tmp_path.iterdir()) == []


# --- show, check --------------------------------------------------------------------------------


@pytest.mark.parametrize("is_insecure", [True, False], ids=["insecure", "encrypted"])
def test_show_gives_what_is_public_of_each_role(tmp_path: Path, is_insecure: bool) -> None:
    file = save_keys(tmp_path, "alice") if is_insecure else save_encrypted(tmp_path)
    shown = call_json("keys", "show", file)
    assert decode_account(shown["account"]) == derive(seed_of("alice"), "account").public
    assert decode_node(shown["node"]) == derive(seed_of("alice"), "node").public
    for role in ("duty", "list", "consensus", "producer"):
        assert shown[role] == derive(seed_of("alice"), role).public.hex()
    assert set(shown) == {"file", "insecure", "checked", *ROLES}
    # of an encrypted file nothing is proven without the passphrase, and that is said
    assert (shown["insecure"], shown["checked"]) == (is_insecure, is_insecure)
    text = call("keys", "show", file).output
    assert shown["account"] in text
    assert ("waypost keys check" in text) == (not is_insecure)
    assert seed_of("alice").hex() not in text
    assert all(derive(seed_of("alice"), role).secret[:32].hex() not in text for role in ROLES)


def test_check_opens_the_file(tmp_path: Path) -> None:
    file = save_encrypted(tmp_path)
    told = write_passphrase(tmp_path)
    shown = call_json("keys", "check", file, "--passphrase-file", told)
    assert shown == {"file": str(file), "insecure": False, "checked": True} | describe(
        seed_of("alice")
    )
    # the name of another account, which show believes
    another = describe(seed_of("bob"))["account"]
    file.write_text(file.read_text().replace(shown["account"], another))
    assert call_json("keys", "show", file)["account"] == another
    assert error_of(call("keys", "check", file, "--passphrase-file", told, code=1)) == (
        "bad_key_file"
    )


def test_what_is_no_private_key_file_is_refused(tmp_path: Path) -> None:
    file = save_keys(tmp_path, "alice")
    file.chmod(0o644)
    (tmp_path / "junk").write_text("{}")
    for path in (file, tmp_path / "junk", tmp_path / "missing"):
        for command in ("show", "check", "passphrase"):
            assert error_of(call("keys", command, path, code=1)) == "bad_key_file"


# --- backup, restore ----------------------------------------------------------------------------


def test_a_backup_shows_the_words_of_the_file(tmp_path: Path) -> None:
    file = save_encrypted(tmp_path)
    with at_terminal("keys", "backup", file) as person:
        person.answer("Passphrase for", PASSPHRASE)
        assert person.write_down() == WORDS
        person.give_back(WORDS)
        person.wait_for("the backup of .* is right")
        assert person.end() == 0
    assert PASSPHRASE not in person.seen


def test_a_backup_that_is_not_given_back_is_none(tmp_path: Path) -> None:
    with at_terminal("keys", "backup", save_encrypted(tmp_path)) as person:
        person.answer("Passphrase for", PASSPHRASE)
        for _ in range(3):
            person.write_down()
            person.give_back(["bitcoin"] * 24, count=1)
        person.wait_for("error: not_confirmed")
        assert person.end() == 1


def test_a_backup_is_for_a_person_alone(tmp_path: Path) -> None:
    file, told = save_encrypted(tmp_path), write_passphrase(tmp_path)
    words = ("keys", "backup", file, "--passphrase-file", told)
    done = run_without_terminal(*words)
    assert done.returncode == 1
    assert "error: no_terminal: the words of" in done.stderr
    assert not contains_words(done.stdout + done.stderr, seed_of("alice"))
    out = tmp_path / "out"
    with out.open("wb") as target, at_terminal(*words, stdout=target.fileno()) as person:
        person.wait_for("error: no_terminal")
        assert person.end() == 1
    assert not contains_words(person.seen + out.read_text(), seed_of("alice"))


def test_words_bring_the_key_back(tmp_path: Path) -> None:
    file = tmp_path / "again.json"
    with at_terminal("keys", "restore", file) as person:
        person.answer("from word 1 on: ", " ".join(WORDS[:10]).upper())
        person.answer("from word 11 on: ", "bitcoin " + " ".join(WORDS[10:]))
        person.answer("'bitcoin' is none of the words: this line again", "  ".join(WORDS[10:]))
        person.answer(f"New passphrase for {file}: ", "another passphrase")
        person.answer("The same once more: ", "another passphrase")
        person.wait_for(describe(seed_of("alice"))["account"])
        assert person.end() == 0
    assert open_it(file, "another passphrase") == seed_of("alice")
    # what was typed is gone from the screen
    assert person.seen.index(LEAVE_PAGE) > person.seen.rindex(WORDS[-1])


def test_words_that_do_not_fit_together_are_asked_for_again(tmp_path: Path) -> None:
    wrong = [*WORDS[:23], "zoo" if WORDS[23] != "zoo" else "zebra"]
    with at_terminal("keys", "restore", tmp_path / "again.json") as person:
        person.answer("from word 1 on: ", " ".join(wrong))
        person.answer("the words do not fit together", " ".join([*WORDS, "zoo"]))
        person.answer("these are 25 words, and a key has 24", " ".join(wrong))
        person.wait_for("error: no_answer: the words could not be read, so nothing was made")
        assert person.end() == 1
    assert list(tmp_path.iterdir()) == []


def test_words_from_a_file_bring_the_key_back(tmp_path: Path, cheap: None) -> None:
    words = write_words_file(tmp_path, "\n".join(WORDS) + "\n")
    told = write_passphrase(tmp_path)
    made = call_json(
        *("keys", "restore", tmp_path / "again.json"),
        *("--words-file", words, "--passphrase-file", told),
    )
    assert made["account"] == describe(seed_of("alice"))["account"]
    assert open_it(tmp_path / "again.json") == seed_of("alice")


def test_words_from_a_descriptor_bring_the_key_back(tmp_path: Path) -> None:
    file = tmp_path / "again.json"
    with pipe_of(" ".join(WORDS).encode()) as words, pipe_of(PASSPHRASE.encode()) as told:
        done = run_without_terminal(
            *("keys", "restore", file, "--words-fd", words, "--passphrase-fd", told),
            fds=[words, told],
        )
    assert done.returncode == 0, done.stderr
    assert open_it(file) == seed_of("alice")
    assert not contains_words(done.stdout + done.stderr, seed_of("alice"))


REFUSED: Final = {
    "no words": ("", "these are 0 words"),
    "23 words": (" ".join(WORDS[1:]), "these are 23 words"),
    "another word": (" ".join(["bitcoin", *WORDS[1:]]), "word 1 is none"),
    "another order": (" ".join([*WORDS[1::-1], *WORDS[2:]]), "do not fit together"),
}


@pytest.mark.parametrize(("text", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_words_that_are_none(tmp_path: Path, text: str, why: str) -> None:
    words = write_words_file(tmp_path, text)
    told = write_passphrase(tmp_path)
    result = call(
        *("keys", "restore", tmp_path / "again.json"),
        *("--words-file", words, "--passphrase-file", told),
        code=1,
    )
    assert error_of(result) == "bad_words"
    assert why in result.stderr
    assert not (tmp_path / "again.json").exists()
    assert not contains_words(result.output, seed_of("alice"))


def test_words_that_others_reach_are_refused(tmp_path: Path) -> None:
    words = write_words_file(tmp_path, " ".join(WORDS))
    words.chmod(0o644)
    result = call("keys", "restore", tmp_path / "again.json", "--words-file", words, code=1)
    assert error_of(result) == "bad_source"
    assert "can be read by others" in result.stderr
    words.chmod(0o600)
    words.write_bytes(b"\xff" * 100)
    result = call("keys", "restore", tmp_path / "again.json", "--words-file", words, code=1)
    assert error_of(result) == "bad_words"


def test_words_are_not_taken_from_whoever_happens_to_write(tmp_path: Path) -> None:
    done = run_without_terminal("keys", "restore", tmp_path / "a", given=" ".join(WORDS))
    assert done.returncode == 1
    assert "no terminal to ask for the words: give --words-file or --words-fd" in done.stderr


# --- passphrase ---------------------------------------------------------------------------------


def test_a_passphrase_is_changed_at_the_terminal(tmp_path: Path) -> None:
    file = save_encrypted(tmp_path)
    with at_terminal("keys", "passphrase", file) as person:
        person.answer(f"Passphrase for {file}: ", PASSPHRASE)
        person.answer(f"New passphrase for {file}: ", "another passphrase")
        person.answer("The same once more: ", "another passphrase")
        assert person.end() == 0
    assert open_it(file, "another passphrase") == seed_of("alice")
    with pytest.raises(CannotOpen):
        open_it(file)
    assert "another passphrase" not in person.seen
    assert sorted(os.listdir(tmp_path)) == ["alice.json"]


def test_it_is_changed_by_descriptors_too(tmp_path: Path) -> None:
    file = save_encrypted(tmp_path)
    with pipe_of(f"{PASSPHRASE}\nanother passphrase\n".encode()) as fd:
        done = run_without_terminal(
            *("keys", "passphrase", file, "--passphrase-fd", fd, "--new-passphrase-fd", fd),
            fds=[fd],
        )
    assert done.returncode == 0, done.stderr
    assert open_it(file, "another passphrase") == seed_of("alice")


def test_without_the_old_one_nothing_changes(tmp_path: Path) -> None:
    file = save_encrypted(tmp_path)
    before = file.read_bytes()
    told = write_passphrase(tmp_path, "a wrong one")
    result = call(
        *("keys", "passphrase", file, "--passphrase-file", told, "--new-passphrase-file", told),
        code=1,
    )
    assert error_of(result) == "bad_key_file"
    done = run_without_terminal(
        "keys", "passphrase", file, "--passphrase-file", write_passphrase(tmp_path)
    )
    assert "give --new-passphrase-file PATH or --new-passphrase-fd N" in done.stderr
    assert file.read_bytes() == before


def test_a_file_in_the_clear_gets_one(tmp_path: Path) -> None:
    file = save_keys(tmp_path, "alice")
    told = write_passphrase(tmp_path)
    result = call("keys", "passphrase", file, "--new-passphrase-file", told)
    assert "was in the clear until now" in result.stderr
    with pytest.raises(BadKeyFile, match="encrypted"):
        load_seed(file)
    assert open_it(file) == seed_of("alice")
    made = parse_key_file(file.read_bytes())
    assert isinstance(made, keystore.EncryptedKeyFile)
    assert made.cost == MODERATE


def contains_words(text: str, seed: bytes) -> bool:
    """Whether more of a seed's words stand in a text than could by chance."""
    return len({*write_words(seed)} & {*text.split()}) > 8
