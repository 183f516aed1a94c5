"""`tests/vectors/trust.json`: the same bytes as ever, and a client gives each answer in it."""

import json
import os
from typing import Any, Final

import pytest

from ledger.errors import REFUSALS
from ledger.merkle import History, split_leaves
from registry.client import TrustedLists
from tests.registry.client.clients import refused
from tests.registry.client.trust.vectors import SHOWN, VECTOR, compose, to_text
from tests.registry.client.verify.script import Reader
from tests.registry.client.verify.writing import all_steps, expected, read_bytes, read_step

MOST_BYTES: Final = 150_000

if os.environ.get("WAYPOST_REGENERATE") == "1":
    VECTOR.write_text(to_text(compose()), encoding="utf-8")

TEXT: Final = VECTOR.read_text(encoding="utf-8")
WRITTEN: Final[dict[str, Any]] = json.loads(TEXT)
CASES: Final = {
    f"{row['class']}: {case['title']}": all_steps(WRITTEN, case)
    for row in WRITTEN["classes"]
    for case in row["cases"]
}


def test_the_file_is_what_is_made_now() -> None:
    assert to_text(compose()) == TEXT, "WAYPOST_REGENERATE=1 writes tests/vectors/trust.json anew"


def test_it_is_small() -> None:
    assert len(TEXT) <= MOST_BYTES


@pytest.mark.parametrize("steps", CASES.values(), ids=CASES.keys())
def test_a_client_gives_the_answers_that_are_written(steps: list[dict[str, Any]]) -> None:
    reader = Reader()
    for step, answer in zip(steps, expected(steps), strict=True):
        assert reader.take(step["do"], read_step(WRITTEN["bytes"], step)) == answer


def test_most_cases_of_each_class_are_in_it() -> None:
    """What is left out for its size is a small part, and only what is refused."""
    for name, cases in SHOWN.items():
        missing = [title for title in cases if f"{name}: {title}" not in CASES]
        assert all(cases[title][-1].refused for title in missing), missing
        assert len(missing) * 2 < len(cases), missing
    assert len(CASES) <= sum(map(len, SHOWN.values()))


def test_the_codes_of_paths_are_shown() -> None:
    shown = {step.get("refused", "") for steps in CASES.values() for step in steps}
    assert shown <= {*REFUSALS, ""}
    assert shown >= {
        *("bad_path", "wrong_set", "bad_history", "bad_signature", "not_final", "trust_expired"),
        *("unknown_attestor", "succeeded", "wrong_successor", "unknown_format", "bad_header"),
        *("fork", "roll_back", "list_expired", "list_missing"),
    }


@pytest.mark.parametrize("row", WRITTEN["histories"])
def test_histories_are_extended_as_written(row: dict[str, Any]) -> None:
    size, stop = row["size"], row["extended_size"]
    before = History(size, tuple(map(bytes.fromhex, row["peaks"])))
    assert [list(each) for each in split_leaves(size, stop)] == row["subtrees"]
    after = before.extend(stop, [bytes.fromhex(root) for root in row["roots"]])
    assert after is not None
    assert [peak.hex() for peak in after.peaks] == row["extended_peaks"]
    assert after.root().hex() == row["extended_root"]


@pytest.mark.parametrize("row", WRITTEN["bundles"], ids=lambda row: row["title"])
def test_bundles_are_read_as_written(row: dict[str, Any]) -> None:
    genesis, data = (read_bytes(WRITTEN["bytes"], row[name]) for name in ("genesis", "bundle"))
    client = TrustedLists(genesis, row["now_ms"])
    if "refused" in row:
        refused(row["refused"], lambda: client.load_bundle(data))
        return
    client.load_bundle(data)
    assert client.header.epoch == row["epoch"]
    assert client.anchor_file == read_bytes(WRITTEN["bytes"], row["anchor"])
    assert [entry.key.hex() for entry in client.entries] == row["nodes"]
