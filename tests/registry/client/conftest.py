"""A client that is attacked, and the sources that it asks."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.registry.client.attackers import MADE, NEW, OLD, Program, Serve, serve_history, time_of
from tests.registry.client.server import run_source


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start honest sources, each with the lists that it is given, until the test ends."""
    with ExitStack() as stack:
        yield lambda *chain: serve_history(stack.enter_context(run_source()), *chain)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """A client that holds nothing yet."""
    return Program(tmp_path / "cache", MADE.genesis, time_of(MADE))


@pytest.fixture
def holder(program: Program, serve: Serve) -> Program:
    """The same, once it holds `MADE` and the next epoch has ended."""
    program.fetch(serve(OLD, MADE))
    program.holds(MADE)
    program.wait_until(time_of(NEW))
    return program
