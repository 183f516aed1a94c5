"""Sending transactions, and asking what became of them.

- A transaction is bytes: hex in JSON, binary in MessagePack.
- Sending one again changes nothing and says what became of it.
- One refused transaction is answered by its problem; of several each has its own code and detail.
"""

import binascii
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response

from ledger.errors import REFUSALS
from registry.api.answers import (
    JSON,
    MSGPACK,
    answer,
    answer_rows,
    at_height,
    described,
    found,
    read_body,
)
from registry.api.live import Here
from registry.api.models import Submission, Transaction, TransactionState
from registry.api.problems import ProblemError, make_problem

MAX_TRANSACTIONS: Final = 5_000
"""Transactions in one request."""

SETTLED: Final = (TransactionState.PENDING, TransactionState.COMMITTED)

routes = APIRouter(prefix="/v1/transactions", tags=["transactions"])


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON body: one of the two fields."""

    transactions: list[str] | msgspec.UnsetType = msgspec.UNSET
    """Hex of each."""
    transaction: str | msgspec.UnsetType = msgspec.UNSET
    """Hex of the one."""


_decode_json: Final = msgspec.json.Decoder(Body).decode
_decode_msgpack: Final = msgspec.msgpack.Decoder(bytes | list[bytes]).decode

BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        JSON: {
            "schema": {
                "oneOf": [
                    {
                        "type": "object",
                        "required": ["transactions"],
                        "properties": {
                            "transactions": {
                                "type": "array",
                                "description": "Transactions, each as hex.",
                                "items": {"type": "string", "pattern": "^([0-9a-fA-F]{2})+$"},
                                "minItems": 1,
                                "maxItems": MAX_TRANSACTIONS,
                            }
                        },
                        "additionalProperties": False,
                    },
                    {
                        "type": "object",
                        "required": ["transaction"],
                        "properties": {
                            "transaction": {
                                "type": "string",
                                "description": "One transaction as hex.",
                                "pattern": "^([0-9a-fA-F]{2})+$",
                            }
                        },
                        "additionalProperties": False,
                    },
                ]
            },
            "example": {"transactions": ["9296c0", "9296c1"]},
        },
        MSGPACK: {
            "schema": {
                "type": "string",
                "format": "binary",
                "description": "An array of binaries, or one binary.",
            }
        },
    },
}
"""How OpenAPI shows the body, which is read by hand since it comes in two forms."""


@routes.post(
    "",
    summary="Send transactions",
    operation_id="send_transactions",
    response_model=Submission,
    responses={
        **described(
            Submission,
            "A block decided about all of them, or they were refused.",
            *("bad_request", "nonce_used", "body_too_large", "too_many_transactions"),
            *("unsupported_media_type", "too_slow", "busy"),
        ),
        **{
            202: described(Submission, "At least one waits for a block.")[200]
            | {"model": Submission}
        },
    },
    openapi_extra={"requestBody": BODY},
)
async def send_transactions(
    request: Request,
    live: Here,
    wait: Annotated[
        Literal["commit"] | None,
        Query(description="`commit`: answer after the block, 60 s at most.", examples=["commit"]),
    ] = None,
) -> Response:
    """Send up to 5,000 transactions in one request of at most 4 MB; safe to repeat.

    Answers at once, or after the block with `wait=commit`. If exactly one was sent and refused,
    the answer is the problem itself, with status 422, or 400 if its bytes are no transaction.
    """
    raws = _parse(request.headers.get("content-type", ""), await request.body())
    results = await live.submit(raws, wait is not None)
    live.metrics.count_transactions(result["state"] for result in results)
    if len(results) == 1 and results[0]["state"] not in SETTLED and results[0]["code"] in REFUSALS:
        only = results[0]
        return make_problem(only["code"], only["values"], detail=only["detail"]).response()
    is_pending = any(result["state"] == TransactionState.PENDING for result in results)
    status = HTTPStatus.ACCEPTED if is_pending else HTTPStatus.OK
    return answer_rows(request, {"results": results}, status=status)


def _parse(content_type: str, body: bytes) -> list[bytes]:
    """Return the transactions of a body; that they are any is for the ledger to say."""
    readers = {JSON: _parse_json, MSGPACK: _parse_msgpack}
    raws = read_body(content_type, body, readers)
    if not raws:
        raise ProblemError("bad_request", why="there is no transaction in it")
    if len(raws) > MAX_TRANSACTIONS:
        raise ProblemError("too_many_transactions", count=len(raws), limit=MAX_TRANSACTIONS)
    return raws


def _parse_json(body: bytes) -> list[bytes]:
    try:
        fields = _decode_json(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError("bad_request", why=f"the JSON is not right: {error}") from None
    several, one = fields.transactions, fields.transaction
    if isinstance(several, list) and not isinstance(one, str):
        texts = several
    elif isinstance(one, str) and not isinstance(several, list):
        texts = [one]
    else:
        raise ProblemError("bad_request", why='send either "transactions" or "transaction"')
    return [_parse_hex(text, place) for place, text in enumerate(texts)]


def _parse_hex(text: str, place: int) -> bytes:
    try:
        return binascii.unhexlify(text)
    except ValueError:
        raise ProblemError("bad_request", why=f"transaction {place} is not hex") from None


def _parse_msgpack(body: bytes) -> list[bytes]:
    try:
        raws = _decode_msgpack(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        why = f"send one binary or an array of binaries, each with a transaction: {error}"
        raise ProblemError("bad_request", why=why) from None
    return [raws] if isinstance(raws, bytes) else raws


@routes.get(
    "/{hash}",
    summary="What became of a transaction",
    operation_id="get_transaction",
    response_model=Transaction,
    responses=described(Transaction, "The transaction.", "bad_request", "not_found"),
)
async def get_transaction(
    request: Request,
    live: Here,
    hash: Annotated[
        str,
        Path(
            description="SHA-256 of its bytes, hex.",
            pattern="^[0-9a-fA-F]{64}$",
            examples=["5f" * 32],
        ),
    ],
) -> Response:
    """Pending, committed, expired or dropped; what was never seen or is forgotten is a 404."""
    height, result = await live.query("transaction", {"hash": bytes.fromhex(hash)})
    shape = Transaction.model_validate(found(result, f"transaction {hash.lower()} here"))
    return answer(request, shape, headers=at_height(height))
