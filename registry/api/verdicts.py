"""Votes of testers: sending them, and what is held of them.

- JSON for people: faults by name or as bits, keys as addresses or hex. MessagePack for programs: an
  array of arrays [epoch, node, life, faults, tester, signature], keys and signatures as binaries.
- One refused vote is answered by its problem; of several each has its own code and detail.
"""

import binascii
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Path, Request, Response

from ledger.errors import REFUSALS
from ledger.messages.duty import FAULTS, MAX_FAULTS
from ledger.types import MAX_AMOUNT
from registry.addresses import decode_node
from registry.api.answers import (
    JSON,
    MSGPACK,
    answer,
    at_height,
    described,
    found,
    parsed,
    read_body,
)
from registry.api.duty_models import NodeVotes, VoteResults, Votes, VoteState
from registry.api.live import Here
from registry.api.models import EPOCH, NODE, SIGNATURE
from registry.api.problems import ProblemError, make_problem
from registry.verdicts import SentVote

MAX_VOTES: Final = 5_000
"""Votes in one request."""

SIGNATURE_BYTES: Final = 64

routes = APIRouter(prefix="/v1/verdicts", tags=["verdicts"])

_Epoch = Annotated[int, msgspec.Meta(ge=0, le=MAX_AMOUNT)]
_Life = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
_Faults = Annotated[int, msgspec.Meta(ge=0, le=MAX_FAULTS)]
_Key = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
_Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]


class JsonVote(msgspec.Struct, forbid_unknown_fields=True):
    """One vote in JSON."""

    epoch: _Epoch
    node: str
    life: _Life
    faults: _Faults | list[str]
    tester: str
    signature: str


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON body: one of the two fields."""

    votes: list[JsonVote] | msgspec.UnsetType = msgspec.UNSET
    vote: JsonVote | msgspec.UnsetType = msgspec.UNSET


class PackedVote(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """One vote in MessagePack."""

    epoch: _Epoch
    node: _Key
    life: _Life
    faults: _Faults
    tester: _Key
    signature: _Signature


_decode_json: Final = msgspec.json.Decoder(Body).decode
_decode_msgpack: Final = msgspec.msgpack.Decoder(list[PackedVote]).decode

EXAMPLE: Final[dict[str, Any]] = {
    "epoch": EPOCH,
    "node": NODE,
    "life": 1,
    "faults": ["storage port"],
    "tester": NODE,
    "signature": SIGNATURE,
}
_VOTE: Final[dict[str, Any]] = {
    "type": "object",
    "required": list(EXAMPLE),
    "properties": {
        "epoch": {"type": "integer", "minimum": 0, "description": "When it was tested."},
        "node": {"type": "string", "description": "The node that was tested."},
        "life": {"type": "integer", "minimum": 0, "description": "Its life."},
        "faults": {
            "description": "What was found, by name or as the sum of bits; none is a pass.",
            "oneOf": [
                {"type": "array", "items": {"type": "string", "enum": list(FAULTS.values())}},
                {"type": "integer", "minimum": 0, "maximum": MAX_FAULTS},
            ],
        },
        "tester": {"type": "string", "description": "The node that tested it."},
        "signature": {
            "type": "string",
            "pattern": "^[0-9a-fA-F]{128}$",
            "description": "By the duty key that the tester has in that epoch.",
        },
    },
    "additionalProperties": False,
}


def _one_field(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [name],
        "properties": {name: schema},
        "additionalProperties": False,
    }


BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        JSON: {
            "schema": {
                "oneOf": [
                    _one_field(
                        "votes",
                        {"type": "array", "items": _VOTE, "minItems": 1, "maxItems": MAX_VOTES},
                    ),
                    _one_field("vote", _VOTE),
                ]
            },
            "example": {"votes": [EXAMPLE]},
        },
        MSGPACK: {
            "schema": {
                "type": "string",
                "format": "binary",
                "description": "An array of [epoch, node, life, faults, tester, signature].",
            }
        },
    },
}
"""How OpenAPI shows the body, which is read by hand since it comes in two forms."""


@routes.post(
    "",
    summary="Send votes",
    operation_id="send_votes",
    response_model=VoteResults,
    responses={
        **described(
            VoteResults,
            "None of them needs to be sent again.",
            *("bad_request", "verdict_closed", "body_too_large", "too_many_votes"),
            *("unsupported_media_type", "too_slow", "busy"),
        ),
        **{
            202: described(VoteResults, "At least one waits for its verdict.")[200]
            | {"model": VoteResults}
        },
    },
    openapi_extra={"requestBody": BODY},
)
async def send_votes(request: Request, live: Here) -> Response:
    """Send up to 5,000 votes in one request of at most 4 MB; order and repetition do not matter.

    A vote that is `held` is in memory only: send it again until it is `judged`. One that is `noted`
    is held too, but a verdict like that would change nothing. If exactly one was sent and refused,
    the answer is the problem itself.
    """
    votes = _parse(request.headers.get("content-type", ""), await request.body())
    rows = await live.vote(votes)
    live.metrics.count_votes(row["state"] for row in rows)
    if len(rows) == 1 and rows[0]["state"] == VoteState.REFUSED and rows[0]["code"] in REFUSALS:
        only = rows[0]
        return make_problem(only["code"], only["values"], detail=only["detail"]).response()
    results = VoteResults.model_validate({"results": rows})
    waits = any(row.state is VoteState.HELD for row in results.results)
    return answer(request, results, status=HTTPStatus.ACCEPTED if waits else HTTPStatus.OK)


def _parse(content_type: str, body: bytes) -> list[SentVote]:
    """Return the votes of a body; that they count is for the ledger to say."""
    readers = {JSON: _parse_json, MSGPACK: _parse_msgpack}
    votes = read_body(content_type, body, readers)
    if not votes:
        raise ProblemError("bad_request", why="there is no vote in it")
    if len(votes) > MAX_VOTES:
        raise ProblemError("too_many_votes", count=len(votes), limit=MAX_VOTES)
    return votes


def _parse_json(body: bytes) -> list[SentVote]:
    try:
        fields = _decode_json(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError("bad_request", why=f"the JSON is not right: {error}") from None
    several, one = fields.votes, fields.vote
    if isinstance(several, list) and not isinstance(one, JsonVote):
        votes = several
    elif isinstance(one, JsonVote) and not isinstance(several, list):
        votes = [one]
    else:
        raise ProblemError("bad_request", why='send either "votes" or "vote"')
    return [_read(vote, place) for place, vote in enumerate(votes)]


def _read(vote: JsonVote, place: int) -> SentVote:
    try:
        signature = binascii.unhexlify(vote.signature)
    except ValueError:
        signature = b""
    if len(signature) != SIGNATURE_BYTES:
        raise ProblemError("bad_request", why=f"the signature of vote {place} is no 128 hex digits")
    return SentVote(
        vote.epoch,
        parsed(decode_node, vote.node),
        vote.life,
        vote.faults if isinstance(vote.faults, int) else _add_faults(vote.faults),
        parsed(decode_node, vote.tester),
        signature,
    )


def _add_faults(names: list[str]) -> int:
    bits = {name: bit for bit, name in FAULTS.items()}
    faults = 0
    for name in names:
        if name not in bits:
            raise ProblemError("bad_request", why=f"{name!r} is no fault: {', '.join(bits)}")
        faults |= bits[name]
    return faults


def _parse_msgpack(body: bytes) -> list[SentVote]:
    try:
        votes = _decode_msgpack(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        why = f"send an array of arrays, each with a vote: {error}"
        raise ProblemError("bad_request", why=why) from None
    return [SentVote(*msgspec.structs.astuple(vote)) for vote in votes]


@routes.get(
    "",
    summary="Votes that are held, and contradictions",
    operation_id="list_contradictions",
    response_model=Votes,
    responses=described(Votes, "What this service holds.", "busy"),
)
async def list_contradictions(request: Request, live: Here) -> Response:
    """How many votes wait here for their verdict, and who voted pass and fail on the same thing.

    A follower passes votes on, and holds none.
    """
    height, result = await live.query("contradictions", {})
    return answer(request, Votes.model_validate(result), headers=at_height(height))


@routes.get(
    "/{epoch}/{key}",
    summary="Votes on one node",
    operation_id="get_votes",
    response_model=NodeVotes,
    responses=described(NodeVotes, "The votes.", "bad_request", "not_found", "busy"),
)
async def get_votes(
    request: Request,
    live: Here,
    epoch: Annotated[int, Path(description="The epoch.", ge=0, le=MAX_AMOUNT, examples=[EPOCH])],
    key: Annotated[
        str, Path(description="Address of the node, or its key as hex.", examples=[NODE])
    ],
) -> Response:
    """The votes that are held here on a node, while its judging window is open."""
    arguments = {"epoch": epoch, "key": parsed(decode_node, key)}
    height, result = await live.query("votes", arguments)
    what = f"node {key} that is tested in epoch {epoch} and not judged for good"
    return answer(request, NodeVotes.model_validate(found(result, what)), headers=at_height(height))
