"""Check-ins of agents: nothing that the ledger sees, only a sign that somebody is there."""

from typing import Final

from fastapi import APIRouter, Request, Response

from registry.api.agent_models import CheckInTaken
from registry.api.answers import answer, describe_bytes, described, read_bytes
from registry.api.live import Here
from registry.api.problems import make_problem

CHECK_IN: Final = "check_in"

routes = APIRouter(prefix="/v1/checkins", tags=["nodes"])


@routes.post(
    "",
    summary="Check in",
    operation_id="check_in",
    response_model=CheckInTaken,
    responses=described(
        CheckInTaken,
        "It was taken.",
        *("bad_request", "not_canonical", "unknown_node", "bad_signature"),
        *("check_in_time", "check_in_old"),
        *("body_too_large", "unsupported_media_type", "too_slow", "busy"),
    ),
    openapi_extra=describe_bytes(CHECK_IN, "The signed check-in."),
)
async def check_in(request: Request, live: Here) -> Response:
    """Tell this service that a node's agent is there; the node's status shows it, for warnings.

    Each service holds the newest of each node in memory, for itself: send yours to all of them.
    Safe to repeat.
    """
    row = await live.check_in(await read_bytes(request, CHECK_IN))
    if row["code"] is not None:
        return make_problem(row["code"], row["values"]).response()
    return answer(request, CheckInTaken.model_validate(row))
