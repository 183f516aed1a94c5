"""Schemathesis asks every operation of a service that has lived all that its description allows.

Each operation is asked with examples of the running network, with every boundary of its parameters,
and with random data, right and wrong. It has to answer as described, and with a success at least
once. The seed is fixed, so that the same description is asked the same.
"""

import copy
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import pytest
import schemathesis
from schemathesis.engine import Status, events, from_schema
from schemathesis.specs.openapi.schemas import OpenApiSchema

from ledger.errors import REFUSALS
from registry.api.app import make_app
from registry.api.problems import SERVICE_PROBLEMS, status_of
from tests.fuzz.lived import Lived, lived
from tests.registry.api.fake_ledger import FakeLedger

SEED: Final = 20_260_701
EXAMPLES: Final = 100
"""Random requests to each operation, beside its examples and its boundaries."""

MSGPACK: Final = "application/msgpack"
JSON: Final = "application/json"

DOCUMENT: Final = make_app(FakeLedger(), Path("nowhere")).framework.openapi()
OPERATIONS: Final = {
    f"{method.upper()} {path}": operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
}
"""By the name that Schemathesis gives each."""


BY_MEANING: Final = frozenset(("address", "cursor", "key"))
"""Parameters whose text means something that no schema says, such as a checksum."""

IN_THE_ANSWER: Final = frozenset(("POST /json_rpc",))
"""What is wrong with a call stands in a 200, as existing clients have it."""


@schemathesis.check
def problem_is_one_of_ours(_context: Any, response: Any, _case: Any) -> None:
    """A problem has a code that stands in the tables, with the status of that code."""
    if response.status_code >= 400:
        problem = json.loads(response.content)
        assert problem["type"] in SERVICE_PROBLEMS or problem["type"] in REFUSALS, problem
        assert problem["status"] == response.status_code == status_of(problem["type"])
        assert problem["title"]
        assert problem["detail"]
        assert "{" not in problem["detail"] or "{" in str(problem["values"])
        if response.status_code in (429, 503):
            assert int(response.headers["retry-after"][0]) >= 1


@schemathesis.check
def what_fits_is_refused_for_its_meaning_alone(_context: Any, response: Any, case: Any) -> None:
    """No parameter that fits its description is refused by its form."""
    if response.status_code == 400 and case.meta.generation.mode.is_positive:
        why = json.loads(response.content)["values"].get("why", "")
        assert not why.startswith(("query.", "path.", "header.")), why


@schemathesis.serializer(MSGPACK)
def send_as_it_is(_context: Any, value: Any) -> Any:
    """Send MessagePack, made here or made up by Schemathesis; what is no bytes becomes rubbish."""
    return value if isinstance(value, bytes | bytearray) else str(value).encode()


@pytest.fixture(scope="module")
def service() -> Iterator[Lived]:
    with lived() as made:
        yield made


@pytest.mark.parametrize("label", OPERATIONS)
def test_operation(service: Lived, label: str) -> None:
    schema = make_schema(service, label)
    statuses: Counter[int] = Counter()
    problems: list[str] = []
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            for interaction in event.recorder.interactions.values():
                if interaction.response is not None:
                    statuses[interaction.response.status_code] += 1
            problems += failures_of(event)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            problems.append(str(event.info if hasattr(event, "info") else event.exception))
    assert not problems, "\n\n".join(problems)
    assert [status for status in statuses if 200 <= status < 300], statuses
    # without parameters there is little to vary but the method
    takes_something = "requestBody" in OPERATIONS[label] or "{" in label
    assert statuses.total() > (EXAMPLES // 4 if takes_something else 6), statuses


def failures_of(event: events.ScenarioFinished) -> list[str]:
    """What Schemathesis finds wrong, each with the request that shows it."""
    found = []
    for case_id, checks in event.recorder.checks.items():
        for check in checks:
            if check.status is Status.FAILURE and check.failure_info is not None:
                request = event.recorder.interactions[case_id].request
                failure = check.failure_info.failure
                found.append(
                    f"{check.name} ({event.phase.value}): {request.method} {request.uri}\n"
                    f"{failure.title}: {failure.message}\n{check.failure_info.code_sample}"
                )
    return found


def make_schema(service: Lived, label: str) -> OpenApiSchema:
    """The description that the service hands out, with examples of what is there right now."""
    document = copy.deepcopy(service.get("/openapi.json"))
    method, path = label.split(" ")
    values = service.values()
    item = document["paths"][path]
    operation = item[method.lower()]
    for parameter in [*item.get("parameters", []), *operation.get("parameters", [])]:
        put_examples(parameter, find_values(values, path, parameter["name"]))
    if "requestBody" in operation:
        as_json, packed = service.bodies()[operation["operationId"]]
        content = operation["requestBody"]["content"]
        content[JSON].pop("examples", None)
        content[JSON]["example"] = as_json
        if packed is not None:
            content[MSGPACK]["example"] = packed
    config = schemathesis.Config.from_dict(make_config(service, values, label))
    schema = schemathesis.openapi.from_dict(document, config=config)
    return cast(OpenApiSchema, schema.include(name=label))


def find_values(values: dict[str, list[Any]], path: str, name: str) -> list[Any]:
    """The values of a parameter, for its own path or group if these have their own."""
    group = path.split("/")[2] if path.count("/") > 1 else path
    for key in (f"{name}@{path}", f"{name}@{group}", name):
        if key in values:
            return values[key]
    raise AssertionError(f"tests/fuzz/lived.py has no values for {name} of {path}")


def put_examples(parameter: dict[str, Any], values: list[Any]) -> None:
    """Have a parameter show these examples and no others."""
    parameter["schema"].pop("examples", None)
    parameter.pop("example", None)
    parameter["examples"] = {str(place): {"value": value} for place, value in enumerate(values)}


def make_config(service: Lived, values: dict[str, list[Any]], label: str) -> dict[str, Any]:
    """How Schemathesis is told to go about it."""
    path = label.partition(" ")[2]
    names = [name for name in values if "@" not in name]
    return {
        "seed": SEED,
        "base-url": service.url,
        "continue-on-failure": True,
        "request-timeout": 30,
        "suppress-health-check": ["all"],
        "generation": {"max-examples": EXAMPLES, "mode": "all", "database": "none"},
        "checks": make_checks(label),
        "dictionaries": {name: {"values": find_values(values, path, name)} for name in names},
        "parameters": {name: {"dictionary": name, "probability": 0.5} for name in names},
    }


def make_checks(label: str) -> dict[str, Any]:
    """What is expected beside what the description says: all checks, with the table of meanings."""
    operation = OPERATIONS[label]
    names = {parameter["name"] for parameter in operation.get("parameters", [])}
    accepted = ["2xx", "404"]
    if names & BY_MEANING:
        accepted += ["400", "410"]
    if "requestBody" in operation:
        accepted += ["400", "422"]
    return {
        "positive_data_acceptance": {"expected-statuses": accepted},
        "negative_data_rejection": {"enabled": label not in IN_THE_ANSWER},
    }


def test_the_service_describes_what_is_asked_here(service: Lived) -> None:
    assert service.get("/openapi.json") == json.loads(json.dumps(DOCUMENT))
