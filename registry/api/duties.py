"""What a node's own programs ask: its duties, its swarm and how that changed, its history."""

from typing import Annotated, Final, TypeAlias

from fastapi import APIRouter, Path, Query, Request, Response

from ledger.types import MAX_AMOUNT
from registry.addresses import decode_node
from registry.api.agent_models import Duties, NodeHistory, SwarmFeed
from registry.api.answers import answer, at_height, described, found, parsed
from registry.api.live import Here
from registry.api.models import EPOCH, NODE
from registry.node_history import MAX_HISTORY_EPOCHS

USUAL_EPOCHS: Final = 48
"""A day on mainnet."""

routes = APIRouter(prefix="/v1/nodes", tags=["nodes"])

NodeKey: TypeAlias = Annotated[
    str, Path(description="Address of the node, or its key as hex.", examples=[NODE])
]


@routes.get(
    "/{key}/duties",
    summary="What a node has to do now",
    operation_id="get_duties",
    response_model=Duties,
    responses=described(Duties, "Its duties.", "bad_request", "not_found", "busy"),
)
async def get_duties(request: Request, live: Here, key: NodeKey) -> Response:
    """Whom it tests in the running epoch, who tests it, and with whom it stores.

    All of it follows from the state: an agent draws whom it tests from a roster that was proven.
    """
    height, result = await live.query("duties", {"key": parsed(decode_node, key)})
    shape = Duties.model_validate(found(result, f"node {key}: is it registered?"))
    return answer(request, shape, headers=at_height(height))


@routes.get(
    "/{key}/swarm",
    summary="A node's swarm, and how it changed",
    operation_id="get_swarm_feed",
    response_model=SwarmFeed,
    responses=described(SwarmFeed, "Swarm and changes.", "bad_request", "not_found", "busy"),
)
async def get_swarm_feed(
    request: Request,
    live: Here,
    key: NodeKey,
    since: Annotated[
        int | None,
        Query(
            description="Changes after this epoch; leave it out for none.",
            ge=0,
            le=MAX_AMOUNT,
            examples=[EPOCH],
        ),
    ] = None,
) -> Response:
    """Whom a storage node sends data to. Ask after each event `epoch`, with the `epoch` before.

    Changes of the newest 512 epochs are told; `gap` says that there were more.
    """
    arguments = {"key": parsed(decode_node, key), "since": since}
    height, result = await live.query("swarm", arguments)
    shape = SwarmFeed.model_validate(found(result, f"node {key}: is it registered?"))
    return answer(request, shape, headers=at_height(height))


@routes.get(
    "/{key}/history",
    summary="How a node fared",
    operation_id="get_node_history",
    response_model=NodeHistory,
    responses=described(NodeHistory, "Epoch by epoch.", "bad_request", "not_found", "busy"),
)
async def get_node_history(
    request: Request,
    live: Here,
    key: NodeKey,
    epochs: Annotated[
        int,
        Query(description="How many epochs.", ge=1, le=MAX_HISTORY_EPOCHS, examples=[USUAL_EPOCHS]),
    ] = USUAL_EPOCHS,
) -> Response:
    """Verdicts of this life and what the node was paid, in the newest epochs that ended."""
    arguments = {"key": parsed(decode_node, key), "epochs": epochs}
    height, result = await live.query("history", arguments)
    shape = NodeHistory.model_validate(found(result, f"node {key}: is it registered?"))
    return answer(request, shape, headers=at_height(height))
