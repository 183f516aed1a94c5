"""The page of the API: whole, true to the description, and its commands are ones that work."""

import json
import shlex
from typing import Any, Final

import pytest

from registry.api.app import TAGS
from registry.web.reference import Operation, read_document
from registry.web.show import show_code
from tests.registry.api.test_openapi import DOCUMENT, OPERATIONS
from tests.registry.web.explored import Site
from tests.registry.web.markup import Read, faults_of

GROUPS: Final = read_document(DOCUMENT)
SHOWN: Final = {
    f"{operation.method} {operation.path}": operation
    for group in GROUPS
    for operation in group.operations
}

ENDLESS: Final = "GET /v1/events"
"""What the client of these tests would wait for."""


NOT_THERE: Final = ("not_canonical", "not_due", "not_found", "not_kept", "state_not_kept")
"""What a request is answered that is right, but whose example is not there."""


def test_it_shows_every_operation_once_by_area() -> None:
    assert SHOWN.keys() == OPERATIONS.keys()
    assert len(SHOWN) == sum(len(group.operations) for group in GROUPS)
    assert [group.name for group in GROUPS] == [tag["name"] for tag in TAGS]
    assert all(group.operations for group in GROUPS)


def test_the_page_is_whole_and_says_all_of_it(site: Site) -> None:
    answer = site.get("/api")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert faults_of(answer.text) == []
    text = Read(answer.text).text
    page = " ".join(answer.text.split())
    for name, operation in SHOWN.items():
        assert name in text
        for said in (operation.summary, operation.command, operation.example):
            assert " ".join(said.split()) in text, name
        for parameter in operation.parameters:
            assert str(parameter.example) in text
            assert " ".join(show_code(parameter.description).split()) in page
        for described in OPERATIONS[name]["responses"].values():
            assert " ".join(show_code(described["description"]).split()) in page
        for part in operation.description.split("\n\n"):
            assert " ".join(show_code(part).split()) in page
    assert 'href="/api"' in site.get("/").text


def read_command(command: str) -> tuple[str, str, dict[str, str], str | None]:
    """Return method, target, headers and body of a command, as a shell and curl read it."""
    words = iter(shlex.split(command.replace("$WAYPOST_URL", "")))
    assert next(words) == "curl"
    headers, body, target = {}, None, ""
    for word in words:
        if word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(words)
        elif word == "-o":
            assert next(words)
        elif word != "-N":
            assert not target
            target = word
    return "GET" if body is None else "POST", target, headers, body


@pytest.mark.parametrize("name", SHOWN)
def test_its_commands_are_understood(site: Site, name: str) -> None:
    method, target, headers, body = read_command(SHOWN[name].command)
    assert method == SHOWN[name].method
    assert "{" not in target
    if name == ENDLESS:
        assert (target, headers) == ("/v1/events", {"last-event-id": "8639"})
        return
    answer = site.client.request(method, target, headers=headers, content=body)
    # the keys in examples are nobody's, their epochs are to come, and what they send is made up
    if answer.status_code >= 300:
        problem = answer.json()
        assert problem["type"] in NOT_THERE, problem
        assert not problem["values"].get("what", "").startswith("path /"), problem


def test_what_is_said_of_a_parameter() -> None:
    def said(operation: Operation) -> dict[str, tuple[Any, ...]]:
        return {row.name: (row.place, row.is_required, row.kind) for row in operation.parameters}

    assert said(SHOWN["GET /v1/blocks"]) == {
        "start": ("query", True, f"whole number, 1 or more, at most {2**63 - 1}"),
        "limit": ("query", False, "whole number, 1 or more, at most 200, 50 by default"),
    }
    assert said(SHOWN["POST /v1/transactions"]) == {"wait": ("query", False, "“commit”")}
    assert said(SHOWN["GET /v1/lists/{epoch}"]) == {
        "epoch": ("path", True, "whole number, 0 or more")
    }


def test_what_a_shell_might_read_is_quoted() -> None:
    command = SHOWN["POST /json_rpc"].command
    *_, body = read_command(command)
    assert body is not None
    assert json.loads(body)["method"]
    assert command.endswith('"$WAYPOST_URL/json_rpc"')
