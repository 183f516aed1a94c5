"""What the routes share: the form of an answer, cursors, and how OpenAPI describes both.

- JSON unless `Accept` prefers `application/msgpack`; both have the same shape. Problems are JSON.
- A cursor is opaque to clients: base64url of u64 height ‖ the key that the page before ended with.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from fastapi import Request, Response
from pydantic import BaseModel

from registry.api import problems
from registry.api.models import example_of
from registry.api.problems import ProblemError

MSGPACK: Final = "application/msgpack"
JSON: Final = "application/json"

T = TypeVar("T")
MAX_CURSOR_CHARS: Final = 200

encode_msgpack = msgspec.msgpack.Encoder().encode
encode_json = msgspec.json.Encoder().encode
_decode_fields: Final = msgspec.json.Decoder(dict[str, str]).decode
_decode_binary: Final = msgspec.msgpack.Decoder(bytes).decode


# ---------------------------------------------------------------------------- negotiation


def wants_msgpack(request: Request) -> bool:
    """Whether `Accept` ranks MessagePack above JSON. A tie is JSON's if it was named."""
    accept = request.headers.get("accept", "").lower()
    if MSGPACK not in accept:
        return False
    ranks = _accepted(accept)
    rank = ranks.get(MSGPACK, 0)
    if JSON in ranks:
        return rank > ranks[JSON]
    return rank > 0 and rank >= ranks.get("application/*", ranks.get("*/*", 0))


def _accepted(accept: str) -> dict[str, int]:
    """Return the quality of each media range, 0 to 1000; what is not well-formed counts 0."""
    ranks: dict[str, int] = {}
    for part in accept.split(","):
        media, *parameters = [piece.strip() for piece in part.split(";")]
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            ranks[media] = max(0, min(1000, int(float(quality) * 1000)))
        except (ValueError, OverflowError):
            ranks[media] = 0
    return ranks


def answer(
    request: Request,
    shape: BaseModel,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a shape in the form that the request asks for."""
    if wants_msgpack(request):
        return _respond(encode_msgpack(shape.model_dump(mode="json")), MSGPACK, status, headers)
    return _respond(shape.model_dump_json().encode(), JSON, status, headers)


def answer_rows(request: Request, rows: Mapping[str, Any], *, status: int = 200) -> Response:
    """Return what has the names and the values of a shape already: there may be thousands of it."""
    if wants_msgpack(request):
        return _respond(encode_msgpack(rows), MSGPACK, status, None)
    return _respond(encode_json(rows), JSON, status, None)


def _respond(body: bytes, media: str, status: int, headers: Mapping[str, str] | None) -> Response:
    common = {"Vary": "Accept", "Cache-Control": "no-cache"}
    return Response(body, status, common | dict(headers or {}), media)


def read_body(content_type: str, body: bytes, read: Mapping[str, Callable[[bytes], T]]) -> T:
    """Return what a body holds, by the one of `read` for its media type.

    Raises `ProblemError` for another type; `read` says what is wrong with the bytes.
    """
    media = content_type.partition(";")[0].strip().lower()
    if media not in read:
        raise ProblemError("unsupported_media_type", accepted=" or ".join(read))
    return read[media](body)


async def read_bytes(request: Request, field: str) -> bytes:
    """Return the bytes of a body of one field; what they are is for others to say.

    They are hex in JSON, one binary in MessagePack. Ends with `bad_request` and
    `unsupported_media_type`.
    """
    readers = {JSON: lambda raw: _read_field(raw, field), MSGPACK: _decode_binary}
    content_type = request.headers.get("content-type", "")
    try:
        return read_body(content_type, await request.body(), readers)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError("bad_request", why=f"the body is not right: {error}") from None


def _read_field(body: bytes, field: str) -> bytes:
    fields = _decode_fields(body)
    if list(fields) != [field]:
        raise ProblemError("bad_request", why=f'send "{field}" and nothing else')
    try:
        return binascii.unhexlify(fields[field])
    except ValueError:
        raise ProblemError("bad_request", why=f"{field} is not hex") from None


def parsed(decode: Callable[[str], bytes], text: str) -> bytes:
    """Return the key of an address. Ends with `bad_request` and the decoder's own words."""
    try:
        return decode(text)
    except ValueError as error:
        raise ProblemError("bad_request", why=str(error)) from None


def found(result: Any, what: str) -> Any:
    """Return the result of a query; None is a 404 that says what is missing."""
    if result is None:
        raise ProblemError("not_found", what=what)
    return result


def at_height(height: int) -> dict[str, str]:
    """Return the header that tells the height from which an answer was read."""
    return {"Waypost-Height": str(height)}


# -------------------------------------------------------------------------------- cursors


def encode_cursor(height: int, after: bytes) -> str:
    """Return the cursor for what follows `after` at `height`."""
    raw = height.to_bytes(8, "big") + after
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> tuple[int, bytes]:
    """Return height and key of a cursor. Ends with `bad_request` if it is none of ours."""
    try:
        if len(cursor) > MAX_CURSOR_CHARS:
            raise ValueError
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        raw = base64.b64decode(padded, altchars=b"-_", validate=True)
        if len(raw) < 8:
            raise ValueError
    except (ValueError, binascii.Error):
        why = "cursor: it comes from `next` of the page before, unchanged; leave it out to start"
        raise ProblemError("bad_request", why=why) from None
    return int.from_bytes(raw[:8], "big"), raw[8:]


# -------------------------------------------------------------------------------- OpenAPI


def described(
    shape: type[BaseModel], description: str, *codes: str, status: int = 200
) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that answers with `shape` or one of the problems."""
    example = example_of(shape)
    forms = {
        JSON: {"example": example},
        MSGPACK: {"schema": {"$ref": f"#/components/schemas/{shape.__name__}"}, "example": example},
    }
    success = {"description": description, "content": forms}
    return {status: success, **problem_responses(*codes)}


def described_bytes(
    media: str, description: str, example: str, *codes: str
) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that answers with bytes or text."""
    kind = {"type": "string"} | ({} if media.startswith("text/") else {"format": "binary"})
    success = {
        "description": description,
        "content": {media: {"schema": kind, "example": example}},
    }
    return {200: success, **problem_responses(*codes)}


def describe_bytes(field: str, description: str) -> dict[str, Any]:
    """Return the `openapi_extra` of a route whose body is read by `read_bytes`."""
    hexadecimal = {"type": "string", "pattern": "^([0-9a-fA-F]{2})+$", "description": description}
    schema = {
        "type": "object",
        "required": [field],
        "properties": {field: hexadecimal},
        "additionalProperties": False,
    }
    binary = {"type": "string", "format": "binary", "description": f"{description} One binary."}
    content = {
        JSON: {"schema": schema, "example": {field: "9201c400"}},
        MSGPACK: {"schema": binary},
    }
    return {"requestBody": {"required": True, "content": content}}


def problem_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return how OpenAPI shows problems: those named, and "default" for all the others."""
    by_status: dict[int | str, list[str]] = {}
    for code in codes:
        by_status.setdefault(problems.status_of(code), []).append(code)
    shown: dict[int | str, dict[str, Any]] = {
        status: _problem_response(f"A problem: {', '.join(names)}.", names[0], int(status))
        for status, names in by_status.items()
    }
    shown["default"] = _problem_response("Any other problem.", "internal", 500)
    return shown


def _problem_response(description: str, code: str, status: int) -> dict[str, Any]:
    example = {
        "type": code,
        "title": code.replace("_", " "),
        "status": status,
        "detail": "what is wrong and what to do",
        "values": {},
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    content = {problems.MEDIA_TYPE: {"schema": schema, "example": example}}
    return {"description": description, "content": content}
