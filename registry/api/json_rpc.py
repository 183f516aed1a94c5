"""JSON-RPC for programs of the Session network, which take this service as one of their seeds.

    POST /json_rpc    {"method": …, "params": {…}, "id": …}
    → 200             {"jsonrpc":"2.0","id":…,"result":{…}}  or  {…,"error":{"code":…,"message":…}}

- The body is read as JSON whatever its Content-Type says; `id`, `params` and `jsonrpc` may be left
  out. The id comes back as it was written, byte for byte.
- The answer's type is `application/json` and nothing more: clients compare the whole header.
- What is wrong with the call is an error inside a 200. What is wrong with the service, or with the
  request as HTTP, is a problem like everywhere else, so that a client turns to its next seed.
- Nothing here is signed, and nothing changes anything.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.types import Receive, Scope, Send

from registry.api.answers import JSON, problem_responses
from registry.api.live import Here, Live
from registry.api.models import HASH, HEIGHT, KEY, RpcAnswer
from registry.api.rpc_methods import ALIASES, METHODS, CallError, ErrorCode, encode

PATH: Final = "/json_rpc"
ANYBODY: Final = {"Access-Control-Allow-Origin": "*"}

SHORT_BYTES: Final = 2**16
"""Neighbours that are not longer go as one piece."""

MISSING: Final = msgspec.Raw(b"null")

routes = APIRouter(tags=["json_rpc"])


class Call(msgspec.Struct):
    """A request's body. The fields keep their bytes, of which some are sent back."""

    method: msgspec.Raw = MISSING
    params: msgspec.Raw = MISSING
    id: msgspec.Raw = MISSING


_decode_call: Final = msgspec.json.Decoder(Call).decode
_decode_method: Final = msgspec.json.Decoder(str).decode
_decode_nothing: Final = msgspec.json.Decoder(tuple[()] | None).decode
_skip: Final = msgspec.json.Decoder(msgspec.Raw).decode

EXAMPLE: Final = {
    "jsonrpc": "2.0",
    "id": 0,
    "result": {
        "status": "OK",
        "height": HEIGHT,
        "block_hash": HASH,
        "service_node_states": [
            {
                "pubkey_ed25519": KEY,
                "pubkey_x25519": KEY,
                "public_ip": "203.0.113.7",
                "storage_port": 22021,
                "requested_unlock_height": 0,
            }
        ],
    },
}

BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        JSON: {
            "schema": {
                "type": "object",
                "required": ["method"],
                "properties": {
                    "method": {"type": "string", "enum": [*METHODS, *ALIASES]},
                    "params": {"type": "object", "description": "As the method has them."},
                    "id": {"description": "Anything; it comes back."},
                    "jsonrpc": {"type": "string", "description": "Not looked at."},
                },
            },
            "examples": {
                name: {
                    "summary": method.summary,
                    "value": {"method": name, "params": method.example},
                }
                for name, method in METHODS.items()
            },
        }
    },
}
"""How OpenAPI shows the body, which is read by hand since its type is not looked at."""


@routes.post(
    PATH,
    summary="Call a method by JSON-RPC",
    operation_id="call_json_rpc",
    response_model=RpcAnswer,
    responses={
        200: {
            "description": "A result, or an error with its code.",
            "content": {JSON: {"example": EXAMPLE}},
        },
        **problem_responses("body_too_large", "too_slow", "busy", "unavailable"),
    },
    openapi_extra={"requestBody": BODY},
)
async def call_json_rpc(request: Request, live: Here) -> Response:
    """What existing clients of the Session network ask of a seed; `docs/api.md` has the methods.

    For new programs there are better ways: the other paths, and lists that can be checked.
    """
    return Pieces(await answer_call(live, await request.body()))


@routes.options(PATH, include_in_schema=False)
async def allow_json_rpc() -> Response:
    """Let pages of every origin send a body that says it is JSON."""
    allowed = {
        "Allow": "POST, OPTIONS",
        "Access-Control-Allow-Methods": "POST, OPTIONS",
        "Access-Control-Allow-Headers": "Content-Type",
        "Access-Control-Max-Age": "86400",
    }
    return Response(status_code=204, headers=ANYBODY | allowed)


async def answer_call(live: Live, body: bytes) -> Sequence[bytes]:
    """Return the answer to a call, in pieces. Raises `Busy`, `Gone` and `Lost`."""
    call_id: bytes = b"null"
    try:
        call = _parse(body)
        call_id = bytes(call.id)
        result = await _call(live, call)
    except CallError as error:
        shown = encode({"code": error.code, "message": str(error)})
        return [b'{"jsonrpc":"2.0","id":', call_id, b',"error":', shown, b"}"]
    return [b'{"jsonrpc":"2.0","id":', call_id, b',"result":', *result, b"}"]


def _parse(body: bytes) -> Call:
    try:
        # the decoder looks into those strings only that it needs, and an id is sent back
        body.decode()
        return _decode_call(body)
    except msgspec.ValidationError:
        raise _make_shape_error(body) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CallError(ErrorCode.NOT_JSON, f"send one JSON object in UTF-8: {error}") from None
    except RecursionError:
        raise CallError(ErrorCode.NOT_JSON, "it is nested too deeply: send a flat call") from None


def _make_shape_error(body: bytes) -> CallError:
    """Return the error of what is no object: if it is JSON at all, it is no call."""
    try:
        _skip(body)
    except (msgspec.DecodeError, RecursionError):
        return CallError(ErrorCode.NOT_JSON, "send one JSON object in UTF-8")
    return CallError(ErrorCode.NOT_A_CALL, "send one object; several calls take several requests")


async def _call(live: Live, call: Call) -> Sequence[bytes]:
    try:
        name = _decode_method(call.method)
    except msgspec.DecodeError:
        raise CallError(ErrorCode.NOT_A_CALL, "say the method's name in `method`") from None
    method = METHODS.get(ALIASES.get(name, name))
    if method is None:
        known = ", ".join((*METHODS, *ALIASES))
        raise CallError(ErrorCode.NO_METHOD, f"there is no such method: take one of {known}")
    try:
        params = method.params() if _is_nothing(call.params) else method.decode(call.params)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CallError(ErrorCode.BAD_PARAMS, f"change the params of {name}: {error}") from None
    return await method.answer(live, params)


def _is_nothing(params: msgspec.Raw) -> bool:
    """Whether parameters are null, or the empty array that some clients send."""
    try:
        _decode_nothing(params)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


class Pieces(Response):
    """An answer whose long pieces are shared by many, so that none is copied for each."""

    media_type = JSON

    def __init__(self, pieces: Sequence[bytes]) -> None:
        size = sum(map(len, pieces))
        super().__init__(headers=ANYBODY | {"Content-Length": str(size)})
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces one after the other."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        for piece in _join_short(self._pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _join_short(pieces: Sequence[bytes]) -> Iterator[bytes]:
    short: list[bytes] = []
    for piece in pieces:
        if len(piece) > SHORT_BYTES:
            yield b"".join(short)
            yield piece
            short = []
        else:
            short.append(piece)
    yield b"".join(short)
