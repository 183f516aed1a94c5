"""Service nodes: one by its key, or all of them in pages that are read from one height."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response

from ledger.messages.state import NODE_STATES
from registry.addresses import decode_node
from registry.api.answers import (
    answer,
    at_height,
    decode_cursor,
    described,
    encode_cursor,
    found,
    parsed,
)
from registry.api.duty_models import NodeStatus
from registry.api.live import Here
from registry.api.models import NODE, NodePage
from registry.api.problems import ProblemError

MAX_PAGE: Final = 200
STATES: Final = tuple(NODE_STATES.values())

routes = APIRouter(prefix="/v1/nodes", tags=["nodes"])


@routes.get(
    "",
    summary="Service nodes, in pages",
    operation_id="list_nodes",
    response_model=NodePage,
    responses=described(NodePage, "A page of nodes.", "bad_request", "height_gone", "busy"),
)
async def list_nodes(
    request: Request,
    live: Here,
    cursor: Annotated[
        str, Query(description="`next` of the page before; leave it out to start.", examples=[""])
    ] = "",
    limit: Annotated[
        int, Query(description="Nodes in a page.", ge=1, le=MAX_PAGE, examples=[100])
    ] = 100,
    state: Annotated[
        str,
        Query(
            description="Nodes in this state only; the same for all pages.",
            json_schema_extra={"enum": ["", *STATES]},
            examples=["active"],
        ),
    ] = "",
) -> Response:
    """Nodes by ascending key. All pages show the height of the first; it is kept for a while."""
    if state and state not in STATES:
        raise ProblemError("bad_request", why=f"state: one of {', '.join(STATES)}")
    at, after = decode_cursor(cursor) if cursor else (None, b"")
    height, result = await live.query(
        "nodes", {"after": after, "limit": limit, "state": state}, height=at
    )
    rest = result["next"]
    following = None if rest is None else encode_cursor(height, rest)
    page = NodePage.model_validate({"height": height, "nodes": result["nodes"], "next": following})
    return answer(request, page, headers=at_height(height))


@routes.get(
    "/{key}",
    summary="One service node",
    operation_id="get_node",
    response_model=NodeStatus,
    responses=described(NodeStatus, "The node.", "bad_request", "not_found", "busy"),
)
async def get_node(
    request: Request,
    live: Here,
    key: Annotated[
        str, Path(description="Address of the node, or its key as hex.", examples=[NODE])
    ],
) -> Response:
    """Stake, duty, verdicts, rewards, leaving, and what its operator does next."""
    height, result = await live.query("node", {"key": parsed(decode_node, key)})
    shape = NodeStatus.model_validate(found(result, f"node {key}: is it registered?"))
    return answer(request, shape, headers=at_height(height))
