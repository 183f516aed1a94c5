"""The vectors of transitions are what the ledger makes now, and there is one for everything.

    WAYPOST_REGENERATE=1 pytest tests/ledger/vectors

writes them anew; whatever then differs is a change of the protocol.
"""

import os
from collections.abc import Callable, Iterator
from copy import copy
from typing import Final

import pytest

from ledger import transition
from ledger.epochs import EPOCH_STEPS
from ledger.epochs.ending import Ending, Pauses
from ledger.errors import REFUSALS
from ledger.messages.state import (
    ACTIVE,
    AWAITING,
    DECOMMISSIONED,
    DEREGISTERED,
    EXITED,
    QUEUED,
    TOMBSTONED,
)
from ledger.messages.tables import NODES, PUNISHED, TABLES
from ledger.offences import BLOCK_EQUIVOCATION, OFFENCES
from ledger.state import State
from ledger.transactions import TX_KINDS, WIRE
from tests.ledger.refusals.kinds import CODES
from tests.ledger.vectors.emit import FOLDER, make_files
from tests.ledger.vectors.runner import APPLIED, Json, Shelf, apply

MAX_BYTES: Final = 1_600_000
"""Of all files together, which others copy. Over it, let `MOST` be less."""

if os.environ.get("WAYPOST_REGENERATE") == "1":
    FILES = make_files()
    FOLDER.mkdir(exist_ok=True)
    for name in {path.name for path in FOLDER.glob("*")} - FILES.keys():
        (FOLDER / name).unlink()
    for name, text in FILES.items():
        (FOLDER / name).write_text(text, encoding="utf-8")

SHELF: Final = Shelf(FOLDER)
ALL: Final = [(file, vector) for file in SHELF.files for vector in SHELF.vectors(file)]


def test_vectors_are_what_the_ledger_makes() -> None:
    made = make_files()
    held = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*")}
    differing = sorted(
        name for name in made.keys() | held.keys() if made.get(name) != held.get(name)
    )
    assert differing == [], "WAYPOST_REGENERATE=1 pytest tests/ledger/vectors writes them anew"
    assert sum(map(len, held.values())) <= MAX_BYTES


# ---- nothing is left out ----

NOT_HERE: Final = {
    "bad_genesis": "a genesis file is refused before there is a state",
    **dict.fromkeys(
        ("bad_inheritance", "inheritance_missing"),
        "what a network begins with is refused before there is a state",
    ),
    "bad_snapshot": "a snapshot is refused by whoever fills a store with it",
    "store_layout": "a store is refused before anything of it is read",
    **dict.fromkeys(
        ("bad_list", "not_final", "wrong_set", "from_the_future", "list_expired"),
        "a reader refuses a list",
    ),
    "bad_proof": "a reader refuses the proof of a record",
    **dict.fromkeys(
        ("roll_back", "fork", "list_missing"), "a reader refuses a list after those that he has"
    ),
    **dict.fromkeys(
        ("bad_path", "bad_history", "trust_expired", "succeeded", "wrong_successor"),
        "a reader refuses what is to lead from one header to another",
    ),
    "outbid": "who keeps what waits for a block refuses it, no block does",
}
"""Codes that no transition is refused with, and why."""

NEVER_SEEN: Final = {"set_keys": {"bad_key"}, "set_attestors": {"bad_key"}}
"""Codes of a kind that no block shows: nobody can sign with such a key, so `bad_signature` comes
first."""

NO_KIND: Final = {"not_canonical", "too_large", "unknown_kind"}
"""Bytes that are no transaction are of no kind, and stand in a file of their own."""


def codes_of(vector: Json) -> Iterator[str]:
    """The codes that a vector shows."""
    post = vector["post"]
    for _, name in (*post.get("results", ()), post.get("refused", APPLIED)):
        yield name


def applied_in(vector: Json) -> Iterator[bytes]:
    """The transactions that a vector applies."""
    results = vector["post"].get("results", ())
    for raw, row in zip(vector["operation"].get("transactions", ()), results, strict=False):
        if row == APPLIED:
            yield bytes.fromhex(raw)


def test_every_kind_is_applied_in_its_file() -> None:
    kinds = {
        (file, WIRE.decode(raw).kind.name) for file, vector in ALL for raw in applied_in(vector)
    }
    assert {(kind.name, kind.name) for kind in TX_KINDS} <= kinds


def test_every_code_has_a_vector_or_a_reason() -> None:
    shown = {code for _, vector in ALL for code in codes_of(vector)} - {"applied"}
    assert shown | NOT_HERE.keys() == REFUSALS.keys()
    assert shown & NOT_HERE.keys() == set()


@pytest.mark.parametrize("kind", CODES)
def test_every_code_of_a_kind_has_a_vector(kind: str) -> None:
    shown = {code for file, vector in ALL if file == kind for code in codes_of(vector)}
    assert CODES[kind] - shown - NO_KIND == NEVER_SEEN.get(kind, set())


def test_page_names_each_code_that_is_not_here() -> None:
    page = (FOLDER.parents[2] / "docs" / "vectors.md").read_text(encoding="utf-8")
    assert [code for code in NOT_HERE if f"`{code}`" not in page] == []


def test_every_offence_is_punished() -> None:
    found = set()
    for _, vector in ALL:
        is_punished = any(key.startswith(PUNISHED.letter.hex()) for key in changes_of(vector))
        for raw in applied_in(vector) if is_punished else ():
            tx = WIRE.decode(raw)
            found |= {tx.body.offence} if tx.kind.name == "report" else set()
        if is_punished and vector["operation"]["misbehaviour"]:
            found.add(BLOCK_EQUIVOCATION.number)
    assert found == {offence.number for offence in OFFENCES}


def changes_of(vector: Json) -> dict[str, str | None]:
    """The records that a vector changes, by store key."""
    changes: dict[str, str | None] = vector["post"].get("changes", {})
    return changes


def test_every_table_of_the_state_changes() -> None:
    letters = {bytes.fromhex(key[:2]) for _, vector in ALL for key in changes_of(vector)}
    assert letters == {table.letter for table in TABLES}


Step = Callable[[State, Ending], Pauses]


def watched(step: Step, seen: set[str]) -> Step:
    """The same step; it is seen if it has an effect."""

    def run(state: State, ending: Ending) -> Pauses:
        before = dict(state.changed_records()), dict(state.archived), copy(ending)
        yield from step(state, ending)
        if before != (state.changed_records(), state.archived, ending):
            seen.add(step.__name__)

    return run


def test_every_step_of_an_end_has_an_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    steps = tuple(watched(step, seen) for step in EPOCH_STEPS)
    monkeypatch.setattr(transition, "EPOCH_STEPS", steps)
    for vector in SHELF.vectors("epoch_ends"):
        assert vector["post"]["ended_epoch"]
        apply(SHELF.open(vector["pre"]), vector["operation"])
    assert seen == {step.__name__ for step in EPOCH_STEPS}


GONE: Final = 0
MOVES: Final = {
    *((GONE, AWAITING), (GONE, QUEUED), (AWAITING, QUEUED), (QUEUED, ACTIVE)),
    *((AWAITING, GONE), (QUEUED, GONE)),
    *((ACTIVE, DECOMMISSIONED), (DECOMMISSIONED, ACTIVE), (DECOMMISSIONED, DEREGISTERED)),
    *((ACTIVE, EXITED), (ACTIVE, TOMBSTONED)),
    *((EXITED, GONE), (DEREGISTERED, GONE), (TOMBSTONED, GONE)),
}
"""How a node goes from state to state, there being none before its life and after it."""


def test_nodes_go_every_way() -> None:
    seen = set()
    for _, vector in ALL:
        before = SHELF.records(vector["pre"])
        for key, value in changes_of(vector).items():
            store_key = bytes.fromhex(key)
            if store_key[:1] == NODES.letter:
                after = None if value is None else bytes.fromhex(value)
                seen.add((state_in(before.get(store_key)), state_in(after)))
    assert seen >= MOVES


def state_in(raw: bytes | None) -> int:
    """The state of a node's record."""
    return GONE if raw is None else NODES.codec.load(raw).state
