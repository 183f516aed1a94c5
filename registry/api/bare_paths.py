"""How OpenAPI shows the lists, which the framework never sees: `bare` answers for them."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final, NamedTuple

from registry.api.answers import problem_responses
from registry.api.bare import LATEST, MANIFEST, NAMES, PREFIX
from registry.api.library import MEDIA_TYPES
from registry.api.models import EPOCH, HEIGHT, KEY
from registry.formats.bundle import NAME as BUNDLE


class _Shown(NamedTuple):
    """How OpenAPI shows the answers with one form of a list."""

    name: str
    """Part of the name of its operations."""
    summary: str
    description: str
    schema: dict[str, Any]
    example: Any


def _object(fields: Mapping[str, tuple[dict[str, Any], Any]]) -> dict[str, Any]:
    shapes = {name: shape for name, (shape, _) in fields.items()}
    return {"type": "object", "properties": shapes, "required": list(fields)}


def _example(fields: Mapping[str, tuple[dict[str, Any], Any]]) -> dict[str, Any]:
    return {name: example for name, (_, example) in fields.items()}


_PORT: Final = {"type": "integer", "minimum": 0, "maximum": 65_535}
_HEX_32: Final = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_VERSION: Final = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0},
    "minItems": 3,
    "maxItems": 3,
}

SESSION_NODE: Final[Mapping[str, tuple[dict[str, Any], Any]]] = {
    "public_ip": ({"type": "string", "format": "ipv4"}, "203.0.113.7"),
    "storage_port": (_PORT, 22_021),
    "storage_lmq_port": (_PORT, 22_020),
    "pubkey_ed25519": (_HEX_32, KEY),
    "pubkey_x25519": (_HEX_32, KEY),
    "requested_unlock_height": ({"type": "integer", "minimum": 0}, 0),
    "swarm_id": ({"type": "integer", "minimum": 0, "description": "Also past 2^53."}, 1_729),
    "storage_server_version": (_VERSION, [2, 11, 0]),
    "service_node_version": (_VERSION, [11, 6, 0]),
}
"""Shape and example of each field of an entry, in the order in which they are written."""

MANIFEST_FILE: Final[Mapping[str, tuple[dict[str, Any], Any]]] = {
    "size": ({"type": "integer", "minimum": 0, "description": "Bytes."}, 346),
    "sha256": (_HEX_32, 64 * "5"),
    "immutable": ({"type": "boolean", "description": "May it be kept for ever?"}, True),
}

MANIFEST_LIST: Final[Mapping[str, tuple[dict[str, Any], Any]]] = {
    "epoch": ({"type": "integer", "minimum": 0}, EPOCH),
    "final": ({"type": "boolean"}, True),
    "files": (
        {"type": "object", "additionalProperties": _object(MANIFEST_FILE)},
        {"header": _example(MANIFEST_FILE)},
    ),
}

_BYTES: Final = {"type": "string", "format": "binary"}
_UNSIGNED: Final = (
    "Of its active nodes those with IPv4, by key; not signed, and kept for some epochs."
)

_FORMS: Final = {
    "header": _Shown(
        "list",
        "Signed header",
        "The header's 342 bytes, u32 bit set of the signers, their signatures; final or not.",
        _BYTES,
        "00010001",
    ),
    "full": _Shown(
        "full_list",
        "The whole list",
        "Format byte 1, then the columns as raw deflate; their SHA-256 stands in the header.",
        _BYTES,
        "01c7",
    ),
    "delta": _Shown(
        "list_delta",
        "What changed since an earlier list",
        "Format byte 1, keys that join, the rest as raw deflate; right if its result has the hash "
        "that the header names.",
        _BYTES,
        "0100",
    ),
    "slice": _Shown(
        "swarm_slice",
        "The swarm that serves an account, with its proof",
        "Format byte 1, the signed header, the place of the swarm, its leaf and its audit path.",
        _BYTES,
        "0100",
    ),
    BUNDLE: _Shown(
        "bundle",
        "The list with all that verifies it",
        "Format byte 1, u32 length of the path, path from genesis, signed header, the list.",
        _BYTES,
        "0100000006",
    ),
    "session-json": _Shown(
        "session_json",
        "The list as Session clients bundle it",
        f"{_UNSIGNED} The fields are those of that network.",
        {
            "type": "object",
            "properties": {
                "height": {"type": "integer"},
                "service_node_states": {"type": "array", "items": _object(SESSION_NODE)},
            },
            "required": ["height", "service_node_states"],
        },
        {"height": HEIGHT, "service_node_states": [_example(SESSION_NODE)]},
    ),
    "session-binary": _Shown(
        "session_binary",
        "The list as Session storage servers hand it out",
        f"{_UNSIGNED} Each takes 51 bytes.",
        _BYTES,
        "a7a7a7a7",
    ),
    "manifest": _Shown(
        "manifest",
        "What there is to fetch",
        "The newest list and the newest final one, and the files of both and of some before them.",
        {
            "type": "object",
            "properties": {
                "format": {"type": "integer"},
                "chain": {"type": "string"},
                "genesis": {"type": "string"},
                "newest": {"type": "integer"},
                "latest": {"type": ["integer", "null"]},
                "oldest": {"type": "integer"},
                "lists": {"type": "array", "items": _object(MANIFEST_LIST)},
            },
            "required": ["format", "chain", "genesis", "newest", "latest", "oldest", "lists"],
        },
        {"format": 1, "chain": "my-network", "genesis": 64 * "a", "newest": EPOCH + 1,
         "latest": EPOCH, "oldest": 0, "lists": [_example(MANIFEST_LIST)]},
    ),
}  # fmt: skip
"""By name of the file."""

_EPOCH_PARAMETER: Final = {
    "name": "epoch",
    "in": "path",
    "required": True,
    "description": "The epoch at whose end the list was made.",
    "schema": {"type": "integer", "minimum": 0},
    "example": EPOCH,
}


def _describe(form: str, of: str, operation: str, *codes: str) -> dict[str, Any]:
    shown, media = _FORMS[form], MEDIA_TYPES[form].decode()
    success = {
        "description": shown.description,
        "content": {media: {"schema": shown.schema, "example": shown.example}},
        "headers": {
            "ETag": {"description": "Names these bytes.", "schema": {"type": "string"}},
            "Cache-Control": {"description": "How long they stay.", "schema": {"type": "string"}},
            "Accept-Ranges": {"description": "One range: 206.", "schema": {"type": "string"}},
        },
    }
    responses = {
        "200": success,
        "304": {"description": "They are the bytes that `If-None-Match` names."},
        **{str(status): problem for status, problem in problem_responses(*codes).items()},
    }
    return {
        "get": {
            "tags": ["lists"],
            "summary": f"{shown.summary}, {of}",
            "description": shown.description,
            "operationId": f"{operation}_{shown.name}",
            "responses": responses,
        }
    }


def _describe_both(form: str) -> Iterator[tuple[str, dict[str, Any]]]:
    last = "" if form == "header" else f"/{form}"
    codes = ("not_found", "not_kept", "unavailable")
    yield f"{LATEST}{last}", _describe(form, "newest final one", "get_latest", *codes)
    codes = ("not_due", "not_kept", "unavailable")
    own = _describe(form, "of one epoch", "get", *codes)
    yield f"{PREFIX}{{epoch}}{last}", {"parameters": [_EPOCH_PARAMETER]} | own


def _describe_slice() -> Iterator[tuple[str, dict[str, Any]]]:
    account = _EPOCH_PARAMETER | {
        "name": "account",
        "description": "An account id: 66 hex digits with its prefix, 64 without, in lower case.",
        "schema": {"type": "string", "pattern": "^([0-9a-f]{2})?[0-9a-f]{64}$"},
        "example": "05" + 64 * "a",
    }
    shown = _describe(
        "slice", "newest final one", "get_latest", "not_found", "not_kept", "unavailable"
    )
    yield f"{LATEST}/swarm/{{account}}", {"parameters": [account]} | shown
    shown = _describe("slice", "of one epoch", "get", "not_due", "not_kept", "unavailable")
    yield (
        f"{PREFIX}{{epoch}}/swarm/{{account}}",
        {"parameters": [_EPOCH_PARAMETER, account]} | shown,
    )


def _describe_delta() -> Iterator[tuple[str, dict[str, Any]]]:
    start = _EPOCH_PARAMETER | {
        "name": "from",
        "description": "The epoch of the list where it begins: 1, 2, 4, … 256 before.",
        "example": EPOCH - 1,
    }
    shown = _describe("delta", "of one epoch", "get", "not_due", "not_kept", "unavailable")
    parameters = {"parameters": [_EPOCH_PARAMETER, start]}
    yield f"{PREFIX}{{epoch}}/delta/{{from}}", parameters | shown


PATHS: Final = dict(
    chain(
        *(_describe_both(form) for form in ("header", *NAMES)),
        _describe_delta(),
        _describe_slice(),
        [(MANIFEST, _describe("manifest", "for mirrors", "get", "not_found", "unavailable"))],
    )
)
"""How OpenAPI shows what the framework never sees."""
