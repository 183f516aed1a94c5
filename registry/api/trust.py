"""Trust paths: what leads a client from what it trusts to a newer header."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Response

from ledger.types import MAX_AMOUNT
from registry.api.answers import at_height, described_bytes, found
from registry.api.live import Here
from registry.api.models import EPOCH
from registry.formats.trust import TRUST_MEDIA_TYPE

HEADERS: Final = {"Cache-Control": "public, max-age=10", "Access-Control-Allow-Origin": "*"}
"""A path stays good; the newest header may still gain signatures that make a shorter one. Pages of
any origin may check lists by themselves."""

routes = APIRouter(prefix="/v1/trust", tags=["lists"])


@routes.get(
    "/{epoch}",
    summary="The trust path to a header",
    operation_id="get_trust",
    response_class=Response,
    responses=described_bytes(
        TRUST_MEDIA_TYPE,
        "The path: one hop for each of the few headers that have to be passed.",
        "010000000000",
        "bad_request",
        "not_found",
        "bad_path",
        "busy",
    ),
)
async def get_trust(
    live: Here,
    epoch: Annotated[
        int,
        Path(description="Epoch of the header.", ge=0, le=MAX_AMOUNT, examples=[EPOCH]),
    ],
    start: Annotated[
        int | None,
        Query(
            alias="from",
            description="Epoch of the header that you hold; genesis by default.",
            ge=0,
            le=MAX_AMOUNT,
            examples=[EPOCH - 1],
        ),
    ] = None,
) -> Response:
    """What a client needs to take that header: past changes of the attestors, and that the header
    continues the history of the one that it holds. Nothing of it is believed. From an epoch to
    itself it has the history before it.
    """
    height, result = await live.query("trust", {"epoch": epoch, "start": start})
    path: bytes = found(result, f"path to epoch {epoch} from there")["path"]
    return Response(path, headers=at_height(height) | HEADERS, media_type=TRUST_MEDIA_TYPE)
