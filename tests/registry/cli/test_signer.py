"""`waypost signer`."""

import stat
from pathlib import Path
from typing import Final

import pytest

from ledger.codec import encode
from ledger.crypto import sha256
from registry.home import GENESIS
from registry.watermarks import BLOCKS, HEADERS, Watermark, Watermarks
from tests.factory import make_genesis
from tests.registry.cli.driver import call, call_json, error_of

ONE, TWO = sha256(b"one"), sha256(b"two")
PRODUCER, ATTESTOR = sha256(b"a producer's key"), sha256(b"an attestor's key")
RAW: Final = encode(make_genesis())


class Home:
    """The home of a node that signed."""

    def __init__(self, folder: Path, genesis: bytes = RAW) -> None:
        folder.mkdir()
        self.folder = folder
        self._genesis = genesis
        (folder / GENESIS).write_bytes(genesis)

    def hold(self) -> Watermarks:
        """As a running service does."""
        return Watermarks(self.folder / "watermarks", sha256(self._genesis))

    def sign(self, blocks: int, headers: int) -> None:
        held = self.hold()
        held.open(BLOCKS, PRODUCER).advance(blocks, ONE)
        held.open(HEADERS, ATTESTOR).advance(headers, TWO)
        held.close()

    def headers(self) -> Watermark:
        held = self.hold()
        held.close()
        return held.open(HEADERS, ATTESTOR)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.sign(70, 7)
    return made


def test_status_shows_what_each_key_signed(home: Home) -> None:
    rows = call_json("signer", "status", "--home", home.folder)
    folder = home.folder / "watermarks"
    assert rows == [
        {
            "role": role,
            "key": key.hex(),
            "number": number,
            "hash": digest.hex(),
            "restored": False,
            "file": str(folder / f"{role}-{key.hex()[:16]}"),
        }
        for role, key, number, digest in [
            ("blocks", PRODUCER, 70, ONE),
            ("headers", ATTESTOR, 7, TWO),
        ]
    ]
    text = call("signer", "status", "--home", home.folder).stdout
    assert text.splitlines()[0].split() == ["role", "key", "number", "hash", "state", "file"]
    assert text.count("certain") == 2


def test_status_of_a_home_that_signed_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert call_json("signer", "status", "--home", home.folder) == []
    assert "signed nothing yet" in call("signer", "status", "--home", home.folder).stdout
    assert not (home.folder / "watermarks").exists()


def test_a_backup_of_one_home_is_put_back_into_another(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    exported = call_json("signer", "export", file, "--home", home.folder)
    assert [(row["role"], row["number"]) for row in exported] == [("blocks", 70), ("headers", 7)]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    other = Home(tmp_path / "other")
    result = call("signer", "import", file, "--home", other.folder)
    assert "what a key signed after this backup was made is not known here" in result.stderr
    assert result.stdout.count("raised") == 2
    rows = call_json("signer", "status", "--home", other.folder)
    assert [(row["number"], row["restored"]) for row in rows] == [(70, True), (7, True)]
    assert call("signer", "status", "--home", other.folder).stdout.count("restored") == 2
    # a second time there is nothing to raise
    again = call("signer", "import", file, "--home", other.folder, "-o", "json")
    assert again.stderr == ""
    assert again.stdout.count('"kept"') == 2


def test_an_import_never_lowers(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    call("signer", "export", file, "--home", home.folder)
    home.sign(70, 9)
    rows = call_json("signer", "import", file, "--home", home.folder)
    assert [(row["number"], row["outcome"]) for row in rows] == [(70, "kept"), (9, "kept")]
    assert (home.headers().number, home.headers().is_restored) == (9, False)


def test_a_conflict_is_refused(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    held = other.hold()
    held.open(HEADERS, ATTESTOR).advance(7, ONE)
    held.close()
    call("signer", "export", tmp_path / "backup", "--home", other.folder)
    result = call("signer", "import", tmp_path / "backup", "--home", home.folder, code=1)
    assert error_of(result) == "bad_backup"
    assert "conflict" in result.stderr
    assert home.headers().hash == TWO


def test_with_a_running_service_nothing_is_imported_and_everything_shown(
    home: Home, tmp_path: Path
) -> None:
    file = tmp_path / "backup"
    call("signer", "export", file, "--home", home.folder)
    other = Home(tmp_path / "other")
    held = other.hold()
    result = call("signer", "import", file, "--home", other.folder, code=1)
    assert error_of(result) == "watermarks_in_use"
    assert "stop the service" in result.stderr
    assert call_json("signer", "status", "--home", other.folder) == []
    held.open(HEADERS, ATTESTOR).advance(3, ONE)
    assert len(call_json("signer", "export", tmp_path / "more", "--home", other.folder)) == 1
    held.close()
    call("signer", "import", file, "--home", other.folder)


def test_a_backup_that_knows_more_is_not_overwritten(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    call("signer", "export", file, "--home", home.folder)
    older = Home(tmp_path / "older")
    older.sign(60, 6)
    assert error_of(call("signer", "export", file, "--home", older.folder, code=1)) == "bad_backup"
    home.sign(80, 8)
    call("signer", "export", file, "--home", home.folder)


def test_nothing_to_export_is_said(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    result = call("signer", "export", tmp_path / "backup", "--home", home.folder, code=1)
    assert error_of(result) == "nothing_signed"
    assert not (tmp_path / "backup").exists()


def test_what_is_damaged_or_elsewhere_is_refused(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    call("signer", "export", file, "--home", home.folder)
    other = Home(tmp_path / "other", encode(make_genesis(name=b"other-net")))
    assert error_of(call("signer", "import", file, "--home", other.folder, code=1)) == "bad_backup"
    (tmp_path / "bad").write_bytes(file.read_bytes()[:-1])
    for name in ("bad", "missing"):
        result = call("signer", "import", tmp_path / name, "--home", home.folder, code=1)
        assert error_of(result) == ("bad_backup" if name == "bad" else "io")
    home.headers().path.write_bytes(b"")
    for words in (("status",), ("export", tmp_path / "new"), ("import", file)):
        result = call("signer", *words, "--home", home.folder, code=1)
        assert error_of(result) == "signer_refuses"
        assert "is damaged" in result.stderr


def test_without_a_genesis_file_there_is_no_home(tmp_path: Path) -> None:
    result = call("signer", "status", "--home", tmp_path, code=1)
    assert error_of(result) == "io"
    assert GENESIS in result.stderr
