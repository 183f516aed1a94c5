"""Work that can be paused, so that a process can answer others while it goes on.

It is a generator. It yields None where it can be paused, and a list of `Signed` where it needs to
know which are valid: who drives it answers with as many booleans. Pausing changes no result.
"""

from collections.abc import Callable, Generator, Sequence
from typing import TypeAlias, TypeVar

from ledger import crypto
from ledger.crypto import Signed

T = TypeVar("T")

Steps: TypeAlias = Generator[list[Signed] | None, Sequence[bool] | None, T]
"""Pausable work with a result of type T."""


def run(
    steps: Steps[T] | Generator[None, None, T],
    verify: Callable[[list[Signed]], Sequence[bool]] = crypto.verify_all,
) -> T:
    """Drive pausable work to its end in place, verifying what it asks for."""
    answer: Sequence[bool] | None = None
    while True:
        try:
            asked = steps.send(answer)  # type: ignore[arg-type]
        except StopIteration as stop:
            result: T = stop.value
            return result
        answer = None if asked is None else verify(asked)
