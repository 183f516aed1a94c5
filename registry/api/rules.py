"""The rules that orders change: parameters and attestors, in force and announced; a successor."""

from fastapi import APIRouter, Request, Response

from registry.api.answers import answer, at_height, described
from registry.api.live import Here
from registry.api.rule_models import Rules

routes = APIRouter(prefix="/v1/rules", tags=["network"])


@routes.get(
    "",
    summary="The rules in force, and those announced",
    operation_id="get_rules",
    response_model=Rules,
    responses=described(Rules, "The rules after the newest block.", "busy"),
)
async def get_rules(request: Request, live: Here) -> Response:
    """Parameters, attestor sets and successor, what was ordered, and from when on more can be."""
    height, result = await live.query("rules", {})
    return answer(request, Rules.model_validate(result), headers=at_height(height))
