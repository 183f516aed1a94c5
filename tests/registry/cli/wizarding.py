"""Somebody who sets a node up: key files, all answers, and the answers one by one."""

from pathlib import Path
from typing import Any, Final

from registry.addresses import encode_account, encode_node
from registry.cli.steps import STEPS
from registry.keystore import derive
from tests.registry.cli.fake_service import account_of, save_keys, seed_of
from tests.registry.cli.person import Person, at_terminal

KEY: Final = derive(seed_of("node"), "node").public
NODE: Final = encode_node(KEY)
ALICE, BOB = (encode_account(account_of(name)) for name in ("alice", "bob"))
QUESTIONS: Final = {step.name: step.question for step in STEPS}
"""What is asked, by the name of the step."""


def make_keys(folder: Path) -> Path:
    """Make key files in a folder; `poor` has no coins."""
    for name in ("alice", "bob", "poor", "node", "other"):
        save_keys(folder, name)
    return folder


def words(keys: Path, *more: object, node: str = "node", operator: str = "alice") -> list[object]:
    """All answers of a setup that works, but for the stake."""
    return [
        *("node", "setup", "--operator", keys / f"{operator}.json"),
        *("--node", keys / f"{node}.json", "--ipv4", "127.0.9.9", "--no-probe"),
        *more,
    ]


def answer(person: Person, **given: str) -> None:
    """Answer these questions as they come, and take what is proposed for the others."""
    for name, question in QUESTIONS.items():
        person.answer(question, given.get(name, ""))


def begin(url: str, keys: Path, *more: object, **who: str) -> Any:
    """Somebody who starts it in a terminal."""
    home = {"WAYPOST_HOME": str(keys / "home")}
    return at_terminal(*words(keys, "--url", url, *more, **who), environment=home)
