"""Which testers vote, and which attestors sign: a command of `waypost network`."""

from typing import Annotated, Final

import msgspec
import typer

from registry.cli.http import DEFAULT_URL, UrlOption
from registry.cli.output import Output, OutputOption, Table, emit, refusals

MOST_EPOCHS: Final = 96


class Tester(msgspec.Struct):
    """How a tester took part."""

    node: str
    drawn: int
    voted: int


class Attestor(msgspec.Struct):
    """How an attestor took part."""

    list_key: str
    signed: int


class Answer(msgspec.Struct):
    """How everybody took part."""

    epochs: int
    testers: list[Tester]
    headers: int
    attestors: list[Attestor]


def participation(
    epochs: Annotated[
        int, typer.Option(min=1, max=MOST_EPOCHS, help="Newest epochs that count.")
    ] = 16,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show how often each tester voted when it was drawn, and each attestor signed."""
    from registry.cli.http import Service, convert

    with refusals(), Service(url) as service:
        answer = service.get("/v1/participation", epochs=epochs)
        known = convert(answer, Answer)
        emit(answer, output, lambda: _tabulate(known))


def _tabulate(answer: Answer) -> Table:
    rows = [
        ["attestor", seat.list_key, f"signed {seat.signed} of {answer.headers} headers"]
        for seat in answer.attestors
    ]
    rows += [
        ["tester", row.node, f"voted in {row.voted} of {row.drawn} verdicts"]
        for row in answer.testers
    ]
    return Table(("role", "key", "took part"), rows, f"in the newest {answer.epochs} epochs")
