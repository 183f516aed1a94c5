"""Whether the process lives, whether it is of use, and its measurements."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from registry.api import models
from registry.api.answers import answer, described, described_bytes
from registry.api.live import Here
from registry.api.problems import ProblemError

routes = APIRouter(tags=["health"])


@routes.get(
    "/health/live",
    summary="Does the process answer?",
    operation_id="get_live",
    response_model=models.Live,
    responses=described(models.Live, "It does."),
)
async def get_live(request: Request) -> Response:
    """Always 200; if this does not answer, start the process again."""
    return answer(request, models.Live(status="live"))


@routes.get(
    "/health/ready",
    summary="Is the service of use?",
    operation_id="get_ready",
    response_model=models.Ready,
    responses=described(models.Ready, "It is.", "not_ready"),
)
async def get_ready(request: Request, live: Here) -> Response:
    """200 with a fresh final list and a ledger process that answers, else 503 with reasons."""
    reasons = live.why_not_ready()
    if reasons:
        raise ProblemError("not_ready", reasons="; ".join(reasons))
    network = live.newest.network
    final = network.latest_final
    assert final is not None
    ready = models.Ready(
        status="ready",
        height=network.height,
        epoch=network.epoch,
        final_epoch=final.epoch,
        fresh_until_ms=final.fresh_until_ms,
    )
    return answer(request, ready)


@routes.get(
    "/metrics",
    summary="Measurements for Prometheus",
    operation_id="get_metrics",
    response_class=Response,
    responses=described_bytes(
        "text/plain", "The text format of Prometheus.", "waypost_height 8640.0\n"
    ),
)
async def get_metrics(live: Here) -> Response:
    """The measurements of this process; `docs/api.md` names them."""
    return Response(live.metrics.render(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
