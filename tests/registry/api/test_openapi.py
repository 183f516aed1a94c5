"""The descriptions: complete, true to what is answered, and equal to `docs/api.md`."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from pydantic import BaseModel

from registry.addresses import decode_account, decode_node
from registry.api import agent_models, bare_paths, duty_models, models, proofs, rule_models
from registry.api.app import make_app
from registry.api.models import Shape, example_of
from registry.api.problems import MEDIA_TYPE, code_table, fill
from registry.api.rpc_methods import ALIASES, METHODS, ErrorCode
from registry.formats.session_json import FIELDS
from registry.manifest import FileRow, ListRow
from registry.metrics import _HELPS, WebMetrics, WebState
from tests.registry.api.fake_ledger import FakeLedger

ROOT = Path(__file__).resolve().parents[3]
DOCS = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")

DOCUMENT: dict[str, Any] = make_app(FakeLedger(), Path("nowhere")).framework.openapi()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every operation, by method and path."""
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield f"{method.upper()} {path}", operation


OPERATIONS = dict(operations())

FORMS = ("", "/full", "/bundle", "/session-json", "/session-binary")

PATHS = (
    *("POST /v1/transactions", "GET /v1/transactions/{hash}", "GET /v1/nodes"),
    *("GET /v1/nodes/{key}", "GET /v1/accounts/{address}", "GET /v1/network"),
    *(f"GET /v1/nodes/{{key}}/{part}" for part in ("duties", "swarm", "history")),
    "POST /v1/checkins",
    *("GET /v1/attestors", "GET /v1/epochs/{epoch}", "GET /v1/blocks/{height}"),
    *("GET /v1/proofs/{table}", "GET /v1/proofs/{table}/{key}"),
    *("GET /v1/blocks", "GET /v1/genesis", "GET /v1/events"),
    *("POST /v1/reports", "POST /v1/reports/check", "GET /v1/reports"),
    *("GET /v1/reports/{height}/{index}", "GET /v1/rules", "GET /v1/participation"),
    *("POST /v1/verdicts", "GET /v1/verdicts", "GET /v1/verdicts/{epoch}/{key}"),
    *(f"GET /v1/lists/{epoch}{form}" for epoch in ("latest", "{epoch}") for form in FORMS),
    *("GET /v1/lists/latest/swarm/{account}", "GET /v1/lists/{epoch}/swarm/{account}"),
    *(
        "GET /v1/lists/{epoch}/delta/{from}",
        "GET /v1/lists/manifest",
        "GET /v1/trust/{epoch}",
        "POST /json_rpc",
        "GET /health/live",
    ),
    *("GET /health/ready", "GET /metrics"),
)


def test_every_path_is_described() -> None:
    assert set(OPERATIONS) == set(PATHS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["summary"]
    assert operation["description"]
    assert operation["operationId"]
    assert operation["tags"]
    successes = {code: row for code, row in operation["responses"].items() if code < "300"}
    assert successes
    for response in successes.values():
        assert response["description"]
        assert response["content"]
        for media, content in response["content"].items():
            assert content["example"] not in (None, "", {}), media
            check_schema(media, content["schema"])


def check_schema(media: str, schema: dict[str, Any]) -> None:
    """An answer has a shape, which is named unless it is another network's, or is bytes or text."""
    if "$ref" in schema or schema["type"] == "object":
        shape = SCHEMAS[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        assert shape["type"] == "object"
        assert shape["properties"]
        assert not shape.get("additionalProperties")
    else:
        assert media not in ("application/json", MEDIA_TYPE)
        assert schema["type"] == "string"


OPEN = {
    "Transaction.body": "each kind has its own fields",
    "RpcAnswer.result": "each method has its own fields",
    "RpcAnswer.id": "it comes back as it was sent",
}
"""What answers may hold without a shape, and why."""


def unshaped(schema: dict[str, Any], where: str, seen: set[str]) -> Iterator[str]:
    """Name what is below a schema that says nothing of its shape, each part once."""
    if "$ref" in schema:
        where = schema["$ref"].rpartition("/")[2]
        if where not in seen:
            seen.add(where)
            yield from unshaped(SCHEMAS[where], where, seen)
        return
    parts = [part for kind in ("anyOf", "oneOf", "allOf") for part in schema.get(kind, ())]
    kinds = schema.get("type", [])
    names, rest = schema.get("properties", {}), schema.get("additionalProperties", False)
    says_nothing = not (kinds or parts or "enum" in schema or "const" in schema)
    is_bare = "object" in kinds and not names and not isinstance(rest, dict)
    is_bare_array = "array" in kinds and not ({"items", "prefixItems"} & set(schema))
    if says_nothing or is_bare or is_bare_array or rest is True or rest == {}:
        yield where
    for name, below in names.items():
        yield from unshaped(below, f"{where}.{name}", seen)
    for below in [*parts, *schema.get("prefixItems", ())]:
        yield from unshaped(below, where, seen)
    for below in (schema.get("items"), rest):
        if isinstance(below, dict):
            yield from unshaped(below, f"{where}[]", seen)


def test_answers_have_shapes() -> None:
    seen: set[str] = set()
    found = {
        where
        for name, operation in OPERATIONS.items()
        for code, response in operation["responses"].items()
        for content in response.get("content", {}).values()
        for where in unshaped(content["schema"], f"{name} {code}", seen)
    }
    assert found == set(OPEN)
    assert len(seen) > 50


SHAPELESS = {
    "anything": {},
    "an object": {"type": "object"},
    "an object of anything": {"type": "object", "additionalProperties": True},
    "an array of anything": {"type": "array"},
    "an array of objects": {"type": "array", "items": {"type": "object"}},
    "an object or nothing": {"anyOf": [{"type": "object"}, {"type": "null"}]},
    "deep below": {"type": "object", "properties": {"a": {"type": "array", "items": {}}}},
    "named, and more": {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "additionalProperties": True,
    },
    "a map of anything": {"type": "object", "additionalProperties": {"type": "object"}},
}


@pytest.mark.parametrize("schema", SHAPELESS.values(), ids=SHAPELESS.keys())
def test_what_has_no_shape_is_found(schema: dict[str, Any]) -> None:
    assert list(unshaped(schema, "x", set()))


@pytest.mark.parametrize("name", OPERATIONS)
def test_examples_are_true_to_their_schemas(name: str) -> None:
    """Of answers and of bodies; what is binary is shown in hex."""
    operation = OPERATIONS[name]
    contents = [row.get("content", {}) for row in operation["responses"].values()]
    contents.append(operation.get("requestBody", {}).get("content", {}))
    checked = 0
    for media, content in (item for row in contents for item in row.items()):
        examples = [content["example"]] if "example" in content else []
        examples += [row["value"] for row in content.get("examples", {}).values()]
        schema = content["schema"] | {"components": DOCUMENT["components"]}
        if schema.get("format") == "binary":
            assert media not in ("application/json", MEDIA_TYPE)
        else:
            assert examples, media
        for example in examples:
            jsonschema_rs.validator_for(schema).validate(example)
            checked += 1
    assert checked >= len(operation["responses"]) - ("304" in operation["responses"])


def test_parameters_have_true_examples() -> None:
    for path, item in DOCUMENT["paths"].items():
        named = set()
        for operation in (item[method] for method in item if method != "parameters"):
            for parameter in [*item.get("parameters", []), *operation.get("parameters", [])]:
                schema = parameter["schema"]
                examples = schema.get("examples") or [parameter["example"]]
                for example in examples:
                    jsonschema_rs.validator_for(schema).validate(example)
                assert parameter["description"]
                assert "null" not in str(schema), "a URL has no word for it"
                if parameter["in"] == "path":
                    named.add(parameter["name"])
        assert named == set(re.findall(r"{(\w+)}", path)), path


def test_lists_are_described_as_they_are_written() -> None:
    assert tuple(bare_paths.SESSION_NODE) == FIELDS
    assert tuple(bare_paths.MANIFEST_LIST) == ListRow.__struct_fields__
    assert tuple(bare_paths.MANIFEST_FILE) == FileRow.__struct_fields__


@pytest.mark.parametrize("name", OPERATIONS)
def test_problems_of_operation(name: str) -> None:
    responses = OPERATIONS[name]["responses"]
    assert "422" not in responses or MEDIA_TYPE in responses["422"]["content"]
    assert "default" in responses
    for code, response in responses.items():
        if code >= "400":
            assert list(response["content"]) == [MEDIA_TYPE]
            assert response["content"][MEDIA_TYPE]["schema"] == {
                "$ref": "#/components/schemas/Problem"
            }


def test_parameters_have_examples() -> None:
    for name, operation in OPERATIONS.items():
        for parameter in operation.get("parameters", []):
            assert parameter["description"], name
            assert parameter["schema"].get("examples") or "example" in parameter, name


def test_references_lead_somewhere() -> None:
    text = json.dumps(DOCUMENT)
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert names <= set(SCHEMAS)
    assert not [name for name in SCHEMAS if "Validation" in name]


MODELS = tuple(
    module.__name__ for module in (models, duty_models, agent_models, rule_models, proofs)
)


def below(shape: type[Shape]) -> Iterator[type[Shape]]:
    """Every shape that is made of another one."""
    for each in shape.__subclasses__():
        yield each
        yield from below(each)


SHAPES = [each for each in below(Shape) if each.__module__ in MODELS]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_shape(shape: type[BaseModel]) -> None:
    assert shape.__doc__
    for name, field in shape.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict), name
        unit = extra["x-unit"]
        assert field.description, name
        assert field.description.endswith(f"Unit: {unit}."), name
        assert unit == "object" or field.examples, name
    example = example_of(shape)
    made = shape.model_validate(example)
    assert shape.model_validate_json(made.model_dump_json()) == made


def test_addresses_in_examples_are_addresses() -> None:
    assert decode_account(models.ACCOUNT)
    assert decode_node(models.NODE)


# ---------------------------------------------------------------------------- docs/api.md


def test_docs_hold_the_codes() -> None:
    assert fill(DOCS) == DOCS, "run: python -m registry.api.problems docs/api.md"
    assert code_table() in DOCS


def test_docs_name_every_path_and_no_other() -> None:
    named = set(re.findall(r"`((?:GET|POST) /[^` ?]*)", DOCS))
    assert named == set(PATHS)


def test_docs_name_every_method_and_error_of_json_rpc() -> None:
    section = DOCS.partition("## JSON-RPC\n")[2].partition("\n## ")[0]
    said = dict(re.findall(r"^\| `(get_\w+)` \| (.*) \|$", section, re.MULTILINE))
    assert said == {name: row.summary for name, row in METHODS.items()} | dict.fromkeys(
        ALIASES, "the same"
    )
    codes = re.findall(r"^\| −(\d+) \|", section, re.MULTILINE)
    assert [-int(code) for code in codes] == [*ErrorCode]


def test_docs_name_every_metric() -> None:
    rendered = WebMetrics().render().decode()
    families = set(re.findall(r"^# TYPE (waypost_\w+)", rendered, re.MULTILINE))
    # the library adds when a counter began
    shown = {name for name in families if not name.endswith("_created")}
    assert set(re.findall(r"\| `(waypost_\w+)", DOCS)) == shown


def test_every_gauge_has_a_help_text() -> None:
    assert tuple(_HELPS) == WebState._fields
