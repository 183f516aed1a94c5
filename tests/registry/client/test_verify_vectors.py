"""What a verifier takes and refuses, written for every language: `tests/vectors/verify.json`.

    WAYPOST_REGENERATE=1 pytest tests/registry/client/test_verify_vectors.py

writes it anew. `tests/registry/client/verify` has its tables; the client in Python runs it here,
the one in JavaScript in `tests/web`.
"""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.errors import REFUSALS
from tests.registry.client.verify.script import Reader
from tests.registry.client.verify.writing import (
    all_steps,
    compose,
    expected,
    read_step,
    to_text,
)

VECTOR: Final = Path(__file__).resolve().parents[2] / "vectors" / "verify.json"
MOST_BYTES: Final = 550_000
"""So that nobody minds to have it in the repository, or to fetch it into a page."""
LEAST_INVALID: Final = 5


def make_text() -> str:
    """The file as the tables make it now."""
    from tests.registry.client.verify.page import PAGE

    return to_text(compose(PAGE))


if os.environ.get("WAYPOST_REGENERATE") == "1":
    VECTOR.write_text(make_text(), encoding="utf-8")

TEXT: Final = VECTOR.read_text(encoding="utf-8")
FILE: Final = json.loads(TEXT)
CLASSES: Final = {each["class"]: each["cases"] for each in FILE["classes"]}

OTHERS: Final = {
    *("not_canonical", "too_large", "bad_genesis", "bad_parameter", "bad_relation"),
    *("unknown_attestor", "bad_signature"),
}
"""Codes of a client that others give too."""


def codes_of(case: dict[str, Any]) -> list[str]:
    """What is refused in a case."""
    return [step["refused"] for step in all_steps(FILE, case) if "refused" in step]


def test_the_file_is_what_the_tables_make() -> None:
    assert make_text() == TEXT, (
        "the client does something else than tests/vectors/verify.json says, or its tables have "
        "other cases; WAYPOST_REGENERATE=1 writes the file anew"
    )


@pytest.mark.parametrize("name", CLASSES)
def test_the_client_answers_as_the_file_says(name: str) -> None:
    for case in CLASSES[name]:
        steps, reader = all_steps(FILE, case), Reader()
        answers = [reader.take(step["do"], read_step(FILE["bytes"], step)) for step in steps]
        assert answers == expected(steps), case["title"]


@pytest.mark.parametrize("name", CLASSES)
def test_each_class_has_what_is_taken_and_what_is_refused(name: str) -> None:
    invalid = [case for case in CLASSES[name] if codes_of(case)]
    assert len(invalid) >= LEAST_INVALID
    assert len(invalid) < len(CLASSES[name])


def test_titles_name_one_case_each() -> None:
    assert len(CLASSES) == len(FILE["classes"])
    for name, cases in CLASSES.items():
        assert len({case["title"] for case in cases}) == len(cases), name


def test_every_code_of_a_client_is_there() -> None:
    seen = Counter(code for cases in CLASSES.values() for case in cases for code in codes_of(case))
    of_clients = {code for code, row in REFUSALS.items() if 140 <= row.number < 160}
    assert set(seen) == (of_clients | OTHERS) - {"bad_proof"}


def test_any_language_reads_its_numbers() -> None:
    """Past 2^53 a reader that takes numbers for floating point loses some."""

    def walk(value: Any) -> None:
        if isinstance(value, dict | list):
            for each in value.values() if isinstance(value, dict) else value:
                walk(each)
        elif isinstance(value, int):
            assert abs(value) < 2**53

    walk(FILE)


def test_it_stays_small() -> None:
    assert len(TEXT) <= MOST_BYTES
