"""Which CometBFT is taken, and what is said where there is none."""

from pathlib import Path

import pytest

from registry.cometbft import VERSION, version
from registry.cometbft.version import NoCometbft, find_program, is_usable
from tests.registry.cometbft.site import make_program


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the places where it is looked for: `path` and `checkout`, both empty."""
    (tmp_path / "path").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/usr/bin:/bin")
    monkeypatch.setattr(version, "CHECKOUT_FOLDER", tmp_path / "checkout")
    return tmp_path


VERSIONS = {
    VERSION: True,
    "0.38.26": True,
    "0.38.100": True,
    "0.38.24": False,
    "0.37.25": False,
    "0.39.0": False,
    "1.38.25": False,
}


@pytest.mark.parametrize(("text", "usable"), VERSIONS.items(), ids=VERSIONS)
def test_minor_versions_never_mix(text: str, usable: bool) -> None:
    assert is_usable(text) is usable


def test_the_path_goes_before_the_checkout(places: Path) -> None:
    in_checkout = make_program(places / "checkout" / "cometbft")
    assert find_program() == in_checkout
    on_path = make_program(places / "path" / "cometbft")
    assert find_program() == on_path


def test_a_wrong_version_on_the_path_is_passed_over(places: Path) -> None:
    make_program(places / "path" / "cometbft", "0.37.4")
    in_checkout = make_program(places / "checkout" / "cometbft")
    assert find_program() == in_checkout


def test_what_is_told_is_taken_or_nothing(places: Path) -> None:
    make_program(places / "path" / "cometbft")
    told = make_program(places / "told", "v0.38.26")
    assert find_program(told) == told
    make_program(told, "0.34.0")
    with pytest.raises(NoCometbft, match=r"told is 0\.34\.0\. scripts/install_cometbft"):
        find_program(told)


WRONG = {"another program": "hello", "a version of something": "0.38", "more": "0.38.25.1"}


@pytest.mark.parametrize("says", WRONG.values(), ids=WRONG)
def test_what_is_no_cometbft_is_named(places: Path, says: str) -> None:
    on_path = make_program(places / "path" / "cometbft", says)
    with pytest.raises(NoCometbft, match=f"{on_path} is no CometBFT"):
        find_program()


def test_a_program_that_fails_is_none(places: Path) -> None:
    told = make_program(places / "told")
    told.write_text(told.read_text() + "exit 1\n")
    with pytest.raises(NoCometbft, match="is no CometBFT"):
        find_program(told)
    with pytest.raises(NoCometbft, match="missing is no CometBFT"):
        find_program(places / "missing")


def test_where_there_is_none_it_says_how_to_get_it(places: Path) -> None:
    with pytest.raises(NoCometbft, match="scripts/install_cometbft makes one where Go is"):
        find_program()


@pytest.mark.parametrize("missing", ["google", "google.protobuf"])
def test_without_its_extra_it_says_which(
    places: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def find(name: str) -> None:
        if missing == "google":
            raise ModuleNotFoundError(name)

    make_program(places / "path" / "cometbft")
    monkeypatch.setattr("registry.cometbft.version.find_spec", find)
    with pytest.raises(NoCometbft, match=r"pip install 'waypost\[comet\]'"):
        find_program()
