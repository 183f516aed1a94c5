"""The vectors of transitions hold, run from their files alone; and the runner can tell."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ledger.crypto import sha256
from tests.ledger.vectors.runner import Json, Shelf, differs

SHELF = Shelf(Path(__file__).resolve().parents[2] / "vectors" / "transitions")


@pytest.mark.parametrize("file", SHELF.files)
def test_vectors_hold(file: str) -> None:
    found = {vector["title"]: differs(SHELF, vector) for vector in SHELF.vectors(file)}
    assert {title: lines for title, lines in found.items() if lines} == {}
    assert found


def test_states_are_what_they_are_called() -> None:
    seen: set[str] = set()
    for name, row in SHELF.states.items():
        assert row["block_hash"].startswith(name)
        assert row.get("base", name) in seen | {name}
        assert ("base" in row) == (row["height"] > 0)
        assert SHELF.open(name).tip.root.hex() == row["root"]
        seen.add(name)
    assert all(sha256(raw).hex().startswith(name) for name, raw in SHELF.genesis.items())


def test_titles_are_unique_in_their_file() -> None:
    for file in SHELF.files:
        titles = [vector["title"] for vector in SHELF.vectors(file)]
        assert len(set(titles)) == len(titles)


# ---- a vector that is wrong is found ----


def find(file: str, is_wanted: Callable[[Json], bool]) -> Json:
    """A vector of a file, to be changed."""
    vector = next(vector for vector in SHELF.vectors(file) if is_wanted(vector))
    assert differs(SHELF, vector) == []
    return copy.deepcopy(vector)


def applied() -> Json:
    """A transfer that is applied."""
    return find("transfer", lambda vector: bool(vector["post"]["changes"]))


def refused() -> Json:
    """A transfer that is refused."""
    return find("transfer", lambda vector: not vector["post"]["changes"])


def turn(text: str) -> str:
    """The same bytes but for the last bit."""
    return text[:-1] + f"{int(text[-1], 16) ^ 1:x}"


def wrong_value(post: Json) -> None:
    key = next(iter(post["changes"]))
    post["changes"][key] = turn(post["changes"][key])


def change_too_few(post: Json) -> None:
    post["changes"].popitem()


def change_too_many(post: Json) -> None:
    post["changes"]["61" + "00" * 32] = "920000"


def deleted(post: Json) -> None:
    post["changes"][next(iter(post["changes"]))] = None


def wrong_root(post: Json) -> None:
    post["root"] = turn(post["root"])


def other_end(post: Json) -> None:
    post["ended_epoch"] = True


def other_code(post: Json) -> None:
    post["results"] = [[12, "nonce_used"]]


@pytest.mark.parametrize(
    "plant",
    [wrong_value, change_too_few, change_too_many, deleted, wrong_root, other_end, other_code],
)
def test_wrong_post_state_is_found(plant: Callable[[Json], None]) -> None:
    vector = applied()
    plant(vector["post"])
    assert len(differs(SHELF, vector)) == 1


@pytest.mark.parametrize("results", [[[0, "applied"]], [[12, "nonce_skipped"]], [], None])
def test_wrong_code_is_found(results: Any) -> None:
    vector = refused()
    vector["post"]["results"] = results
    assert len(differs(SHELF, vector)) == 1


@pytest.mark.parametrize("code", [[101, "block_height"], [100, "block_time"]])
def test_wrong_code_of_a_block_is_found(code: list[Any]) -> None:
    vector = find("blocks", lambda vector: "refused" in vector["post"])
    vector["post"]["refused"] = code
    assert len(differs(SHELF, vector)) == 1


def test_block_that_should_have_been_refused_is_found() -> None:
    vector = applied()
    vector["post"] = {"refused": [101, "block_time"]}
    assert "refused: None and not [101, 'block_time']" in differs(SHELF, vector)


def test_block_that_should_not_have_been_refused_is_found() -> None:
    vector = find("blocks", lambda vector: "refused" in vector["post"])
    vector["post"] = applied()["post"]
    assert len(differs(SHELF, vector)) == 5


def test_other_operation_is_found() -> None:
    vector = applied()
    vector["operation"]["transactions"] = []
    assert differs(SHELF, vector)


def test_other_state_is_found() -> None:
    vector = find("epoch_ends", lambda _vector: True)
    vector["pre"] = max(SHELF.states, key=lambda name: int(SHELF.states[name]["height"]))
    assert differs(SHELF, vector)
