"""The page of the API: every operation with its parameters, a request and an answer, as examples.

All of it is the OpenAPI document, made readable; nothing is written down twice. Requests are
commands of curl, for any shell, over `$WAYPOST_URL`.
"""

import json
import shlex
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from fastapi import FastAPI

from registry.api.answers import JSON
from registry.web.visit import Shown, Visit

METHODS: Final = ("get", "post")


class Parameter(NamedTuple):
    """A parameter of an operation."""

    name: str
    place: str
    """Where it stands: path, query, header or body."""
    is_required: bool
    kind: str
    """Its type, with its range."""
    description: str
    example: Any


class Answer(NamedTuple):
    """A status that an operation may answer with."""

    status: str
    description: str
    media: tuple[str, ...]


class Operation(NamedTuple):
    """One operation."""

    name: str
    """Of the anchor on the page."""
    method: str
    path: str
    summary: str
    description: str
    parameters: tuple[Parameter, ...]
    command: str
    """A request as a command of curl."""
    answers: tuple[Answer, ...]
    example: str
    """What the first of the answers looks like: JSON, text, or bytes in hex."""


class Group(NamedTuple):
    """The operations of one area."""

    name: str
    description: str
    operations: tuple[Operation, ...]


def make_view(framework: FastAPI) -> Callable[[Visit], Awaitable[Shown]]:
    """Return the view of a page that shows what a framework describes."""

    @cache
    def read() -> tuple[Group, ...]:
        return read_document(framework.openapi())

    async def show(_visit: Visit) -> Shown:
        return {"groups": read()}

    return show


def read_document(document: Mapping[str, Any]) -> tuple[Group, ...]:
    """Return what a page shows of an OpenAPI document, by its tags."""
    operations = [
        (operation["tags"][0], _read(path, method, operation, item.get("parameters", ())))
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]
    return tuple(
        Group(
            tag["name"],
            tag["description"],
            tuple(operation for name, operation in operations if name == tag["name"]),
        )
        for tag in document["tags"]
    )


def _read(path: str, method: str, operation: Mapping[str, Any], shared: Any) -> Operation:
    described = [*shared, *operation.get("parameters", ())]
    parameters = tuple(_read_parameter(parameter) for parameter in described)
    body = operation.get("requestBody", {}).get("content", {})
    successes = [row for status, row in operation["responses"].items() if status.startswith("2")]
    media, form = next(iter(successes[0]["content"].items()))
    return Operation(
        name=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation["description"],
        parameters=parameters,
        command=_make_command(method, path, parameters, body, media),
        answers=tuple(
            Answer(status, row["description"], tuple(row.get("content", ())))
            for status, row in operation["responses"].items()
        ),
        example=_show(form["example"]),
    )


def _read_parameter(parameter: Mapping[str, Any]) -> Parameter:
    schema = parameter["schema"]
    example = parameter["example"] if "example" in parameter else schema["examples"][0]
    return Parameter(
        parameter["name"],
        parameter["in"],
        parameter.get("required", False),
        ", ".join(_name_kind(schema)),
        parameter["description"],
        example,
    )


def _name_kind(schema: Mapping[str, Any]) -> Iterator[str]:
    """Name what a value has to be, in words."""
    if "const" in schema:
        yield f"“{schema['const']}”"
        return
    if "enum" in schema:
        yield " or ".join(f"“{value}”" for value in schema["enum"])
        return
    yield {"integer": "whole number", "string": "text"}.get(schema["type"], schema["type"])
    if "minimum" in schema:
        yield f"{schema['minimum']} or more"
    if "maximum" in schema:
        yield f"at most {schema['maximum']}"
    if schema.get("default") not in (None, ""):
        yield f"{schema['default']} by default"


def _make_command(
    method: str,
    path: str,
    parameters: tuple[Parameter, ...],
    body: Mapping[str, Any],
    media: str,
) -> str:
    """Return the command of curl that asks for the examples."""
    queries = {}
    headers = []
    for parameter in parameters:
        text = str(parameter.example)
        if parameter.place == "path":
            path = path.replace(f"{{{parameter.name}}}", quote(text, safe=""))
        elif parameter.place == "query" and text:
            queries[parameter.name] = text
        elif parameter.place == "header":
            headers += ["-H", f"{parameter.name}: {text}"]
    target = f'"$WAYPOST_URL{path}{f"?{urlencode(queries)}" if queries else ""}"'
    words = ["curl"]
    if method == "post":
        form = body[JSON]
        example = form["example"] if "example" in form else _first(form["examples"])
        words += ["-H", f"Content-Type: {JSON}", "-d", json.dumps(example)]
    if media == "text/event-stream":
        words.append("-N")
    elif media != JSON and not media.startswith("text/"):
        words += ["-o", path.rpartition("/")[2]]
    # the address is left to the shell, everything else is quoted
    return " ".join([shlex.join([*words, *headers]), target])


def _first(examples: Mapping[str, Any]) -> Any:
    return next(iter(examples.values()))["value"]


def _show(example: Any) -> str:
    if isinstance(example, str):
        return example
    return json.dumps(example, indent=2, ensure_ascii=False)
