"""The network as a whole, its attestors, its epochs, and its blocks."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response

from ledger.types import MAX_AMOUNT
from registry.api.answers import (
    MSGPACK,
    answer,
    at_height,
    described,
    described_bytes,
    encode_msgpack,
    found,
)
from registry.api.duty_models import Participation
from registry.api.live import Here
from registry.api.models import EPOCH, HEIGHT, Attestors, Block, Epoch, Network
from registry.duties import MAX_EPOCHS, USUAL_EPOCHS

MAX_BLOCKS: Final = 200
LARGEST: Final = MAX_AMOUNT
"""Heights and epochs fit 63 bits."""

GENESIS_MEDIA: Final = "application/vnd.waypost.genesis"

routes = APIRouter(prefix="/v1", tags=["network"])


@routes.get(
    "/network",
    summary="The network in one page",
    operation_id="get_network",
    response_model=Network,
    responses=described(Network, "The network after its newest block.", "unavailable"),
)
async def get_network(request: Request, live: Here) -> Response:
    """Height, epoch, nodes, pool, newest lists and their fingerprint, and what staking takes."""
    view, network = live.newest
    return answer(request, network, headers=at_height(view.height))


@routes.get(
    "/attestors",
    summary="Who signs the lists",
    operation_id="get_attestors",
    response_model=Attestors,
    responses=described(Attestors, "The attestor set of the running epoch.", "busy"),
)
async def get_attestors(request: Request, live: Here) -> Response:
    """The seats of the attestor set, with weight and what each one signed."""
    height, result = await live.query("attestors", {})
    return answer(request, Attestors.model_validate(result), headers=at_height(height))


@routes.get(
    "/participation",
    summary="Who takes part",
    operation_id="get_participation",
    response_model=Participation,
    responses=described(Participation, "Testers and attestors.", "bad_request", "busy"),
)
async def get_participation(
    request: Request,
    live: Here,
    epochs: Annotated[
        int,
        Query(
            description="Newest epochs, the running one included.",
            ge=1,
            le=MAX_EPOCHS,
            examples=[USUAL_EPOCHS],
        ),
    ] = USUAL_EPOCHS,
) -> Response:
    """How often each tester was drawn for a verdict and voted, and what each attestor signed."""
    height, result = await live.query("participation", {"epochs": epochs})
    return answer(request, Participation.model_validate(result), headers=at_height(height))


@routes.get(
    "/epochs/{epoch}",
    summary="One epoch's header and signatures",
    operation_id="get_epoch",
    response_model=Epoch,
    responses=described(Epoch, "The header, decoded.", "bad_request", "not_found"),
)
async def get_epoch(
    request: Request,
    live: Here,
    epoch: Annotated[int, Path(description="The epoch.", ge=0, le=LARGEST, examples=[EPOCH])],
) -> Response:
    """The header that was made at the end of an epoch. Programs take `/v1/lists/{epoch}`."""
    height, result = await live.query("epoch", {"epoch": epoch})
    shape = Epoch.model_validate(found(result, f"header of epoch {epoch} here"))
    return answer(request, shape, headers=at_height(height))


@routes.get(
    "/blocks",
    summary="Encoded blocks, for followers",
    operation_id="list_blocks",
    response_class=Response,
    responses=described_bytes(
        MSGPACK,
        "MessagePack array of binaries, each an encoded block; empty past the newest.",
        "90",
        "bad_request",
        "busy",
    ),
)
async def list_blocks(
    live: Here,
    start: Annotated[
        int, Query(description="Height of the first block.", ge=1, le=LARGEST, examples=[1])
    ],
    limit: Annotated[
        int,
        Query(
            description="Blocks at most; there may be fewer.", ge=1, le=MAX_BLOCKS, examples=[50]
        ),
    ] = 50,
) -> Response:
    """Blocks in the form in which they were sealed, from one height on, always as MessagePack."""
    height, blocks = await live.query("blocks", {"start": start, "limit": limit})
    return Response(encode_msgpack(blocks), headers=at_height(height), media_type=MSGPACK)


@routes.get(
    "/blocks/{height}",
    summary="One block",
    operation_id="get_block",
    response_model=Block,
    responses=described(Block, "The block.", "bad_request", "not_found"),
)
async def get_block(
    request: Request,
    live: Here,
    height: Annotated[int, Path(description="The height.", ge=0, le=LARGEST, examples=[HEIGHT])],
) -> Response:
    """A block's header, and its transactions by hash."""
    read_at, result = await live.query("block", {"height": height})
    shape = Block.model_validate(found(result, f"block {height} here"))
    return answer(request, shape, headers=at_height(read_at))


@routes.get(
    "/genesis",
    summary="The genesis file",
    operation_id="get_genesis",
    response_class=Response,
    responses=described_bytes(
        GENESIS_MEDIA, "The file, from which every check starts.", "9b01ac", "unavailable"
    ),
)
async def get_genesis(live: Here) -> Response:
    """The bytes of the genesis file. Compare their SHA-256 with one that you got elsewhere."""
    view, network = live.newest
    headers = {"ETag": f'"{network.genesis_hash}"', "Cache-Control": "public, max-age=3600"}
    return Response(view.genesis, headers=headers, media_type=GENESIS_MEDIA)
