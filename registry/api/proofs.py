"""Proofs of records: what the state at an epoch's end holds, for clients that have its header."""

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response

from ledger.messages.tables import TABLE_OF
from ledger.types import MAX_AMOUNT
from registry.addresses import decode_record_key
from registry.api.answers import answer, at_height, described, parsed
from registry.api.live import Here, Live
from registry.api.models import ACCOUNT, EPOCH, HEIGHT, KEY, Shape, shown
from registry.api.problems import ProblemError


class Proof(Shape):
    """A record of the state at an epoch's end, with what proves it."""

    epoch: int = shown("The epoch whose header names the root of that state.", "epoch", EPOCH)
    height: int = shown("Last block of that epoch.", "height", HEIGHT)
    table: str = shown("The table that was asked for.", "name", "accounts")
    key: str = shown("Store key: the table's letter and the key in it.", "hex", "61" + KEY)
    record: str | None = shown(
        "The record's encoding; null if there is none.", "hex or null", "92ce3b9aca0004"
    )
    proof: str = shown(
        "The file `proof`: all of the above, with the sparse proof at its end.", "hex", "960130"
    )


TableName = Annotated[
    str,
    Path(
        description="Name of a table of the state.",
        json_schema_extra={"enum": [name for name, table in TABLE_OF.items() if any(table.sizes)]},
        examples=["accounts"],
    ),
]
SoleTableName = Annotated[
    str,
    Path(
        description="Name of a table of the state that has no keys.",
        json_schema_extra={
            "enum": [name for name, table in TABLE_OF.items() if not all(table.sizes)]
        },
        examples=["pool"],
    ),
]
OfEpoch = Annotated[
    int | None,
    Query(
        description="The epoch whose header you hold; that of the newest final list by default.",
        ge=0,
        le=MAX_AMOUNT,
        examples=[EPOCH],
    ),
]
RESPONSES: Final = described(
    Proof,
    "The proof.",
    "bad_request",
    "not_found",
    "not_due",
    "state_not_kept",
    "busy",
    "too_large",
)

routes = APIRouter(prefix="/v1/proofs", tags=["proofs"])


@routes.get(
    "/{table}",
    summary="Proof of a table's one record",
    operation_id="get_table_proof",
    response_model=Proof,
    responses=RESPONSES,
)
async def get_table_proof(
    request: Request, live: Here, table: SoleTableName, epoch: OfEpoch = None
) -> Response:
    """For tables without keys, such as `params`, `pool` and `sets`."""
    return await _answer(request, live, table, "", epoch)


@routes.get(
    "/{table}/{key}",
    summary="Proof of a record, or that there is none",
    operation_id="get_proof",
    response_model=Proof,
    responses=RESPONSES,
)
async def get_proof(
    request: Request,
    live: Here,
    table: TableName,
    key: Annotated[
        str,
        Path(
            description="Address of an account or a node, or the record's key in the table as hex.",
            examples=[ACCOUNT],
        ),
    ],
    epoch: OfEpoch = None,
) -> Response:
    """What the state at the end of an epoch holds under a key, with the proof of it.

    Check `proof` against a header that you verified. That state is kept of the newest epoch that
    ended, and of the newest one before it whose list was final by then.
    """
    return await _answer(request, live, table, key, epoch)


async def _answer(
    request: Request, live: Live, table: str, key: str, epoch: int | None
) -> Response:
    row = TABLE_OF.get(table)
    if row is None:
        raise ProblemError("bad_request", why=f"table: one of {', '.join(TABLE_OF)}")
    asked = parsed(partial(decode_record_key, row), key)
    epoch = _resolve(live, epoch)
    _, result = await live.query("proof", {"epoch": epoch, "table": table, "key": asked})
    if result is None:
        seconds = _seconds_to_end(live)
        headers = {"Retry-After": str(seconds)}
        raise ProblemError("state_not_kept", headers=headers, epoch=epoch, seconds=seconds)
    shape = Proof.model_validate(result)
    return answer(request, shape, headers=at_height(shape.height))


def _resolve(live: Live, epoch: int | None) -> int:
    """Return the epoch to prove from; ends with a problem if its header is not made yet."""
    view = live.newest.view
    if epoch is None:
        if view.latest is None:
            headers = {"Retry-After": str(_seconds_to_end(live))}
            raise ProblemError("not_found", headers=headers, what="final list yet")
        return view.latest
    if epoch >= view.epoch:
        seconds = _seconds_to_end(live, epoch - view.epoch)
        headers = {"Retry-After": str(seconds)}
        raise ProblemError("not_due", headers=headers, epoch=epoch, seconds=seconds)
    return epoch


def _seconds_to_end(live: Live, epochs: int = 0) -> int:
    """Return the seconds until the running epoch ends at the earliest, and `epochs` more."""
    view = live.newest.view
    epoch_ms: int = view.network["epoch_ms"]
    return max(1, -(-(view.epoch_ends_ms + epochs * epoch_ms - live.clock()) // 1_000))
