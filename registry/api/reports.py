"""Offences: reporting them, what a report would do, and the public record.

- What is sent is a signed `report`, as `POST /v1/transactions` takes it too; here the answer says
  what it did.
- A check takes the evidence alone, which nobody has to sign. Its signatures are verified here, what
  it would cost whom comes from the ledger.
"""

from http import HTTPStatus
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from ledger.errors import REFUSALS
from ledger.transactions import WIRE
from ledger.types import MAX_AMOUNT
from registry.api.answers import (
    answer,
    at_height,
    decode_cursor,
    describe_bytes,
    described,
    encode_cursor,
    found,
    read_bytes,
)
from registry.api.live import Here, Live
from registry.api.models import HEIGHT, TransactionState
from registry.api.problems import ProblemError, make_problem
from registry.api.rule_models import Penalty, Report, ReportPage, SubmittedReport
from registry.api.transactions import SETTLED
from registry.evidence import check_evidence

MAX_PAGE: Final = 200
MAX_INDEX: Final = 2**32 - 1

TRANSACTION: Final = "transaction"
EVIDENCE: Final = "evidence"

routes = APIRouter(prefix="/v1/reports", tags=["reports"])


@routes.post(
    "",
    summary="Report an offence",
    operation_id="send_report",
    response_model=SubmittedReport,
    responses={
        **described(
            SubmittedReport,
            "A block punished what was proven.",
            *("bad_request", "not_canonical", "no_contradiction", "punished_already"),
            *("body_too_large", "unsupported_media_type", "too_slow", "busy"),
        ),
        **{
            202: described(SubmittedReport, "It waits for a block.")[200]
            | {"model": SubmittedReport}
        },
    },
    openapi_extra=describe_bytes(TRANSACTION, "The signed transaction, as hex."),
)
async def send_report(
    request: Request,
    live: Here,
    wait: Annotated[
        Literal["commit"] | None,
        Query(description="`commit`: answer after the block, 60 s at most.", examples=["commit"]),
    ] = None,
) -> Response:
    """Send a signed report; the answer says what it did, or the problem why it does nothing.

    Safe to repeat: the same bytes get the same answer. What was proven before is refused.
    """
    raw = await read_bytes(request, TRANSACTION)
    kind = WIRE.decode(raw).kind.name
    if kind != "report":
        why = f"this is the transaction {kind}, no report: send it to /v1/transactions"
        raise ProblemError("bad_request", why=why)
    (row,) = await live.submit([raw], wait is not None)
    live.metrics.count_transactions([row["state"]])
    if row["state"] not in SETTLED and row["code"] in REFUSALS:
        return make_problem(row["code"], row["values"], detail=row["detail"]).response()
    shape = SubmittedReport(
        hash=row["hash"], state=row["state"], report=await _find(live, row["height"], row["index"])
    )
    is_pending = shape.state is TransactionState.PENDING
    return answer(request, shape, status=HTTPStatus.ACCEPTED if is_pending else HTTPStatus.OK)


async def _find(live: Live, height: int | None, index: int | None) -> Report | None:
    """Return what a report did; None before its block is here, which may be after its source's."""
    if height is None:
        return None
    _, result = await live.query("report", {"height": height, "index": index})
    return None if result is None else Report.model_validate(result)


@routes.post(
    "/check",
    summary="What evidence would do",
    operation_id="check_report",
    response_model=Penalty,
    responses=described(
        Penalty,
        "What its report would cost whom now, and what it would bring.",
        *("bad_request", "not_canonical", "bad_signature", "no_contradiction"),
        *("punished_already", "body_too_large", "unsupported_media_type", "too_slow", "busy"),
    ),
    openapi_extra=describe_bytes(EVIDENCE, "The file that `waypost report check` takes, as hex."),
)
async def check_report(request: Request, live: Here) -> Response:
    """Check evidence without reporting it; nobody has to sign or pay, and nothing is changed."""
    raw = await read_bytes(request, EVIDENCE)
    check_evidence(raw, bytes.fromhex(live.newest.network.genesis_hash))
    height, result = await live.query("report_check", {"evidence": raw})
    return answer(request, Penalty.model_validate(result), headers=at_height(height))


@routes.get(
    "",
    summary="Every offence that was punished",
    operation_id="list_reports",
    response_model=ReportPage,
    responses=described(ReportPage, "A page.", "bad_request", "height_gone", "busy"),
)
async def list_reports(
    request: Request,
    live: Here,
    cursor: Annotated[
        str, Query(description="`next` of the page before; leave it out to start.", examples=[""])
    ] = "",
    limit: Annotated[
        int, Query(description="Reports in a page.", ge=1, le=MAX_PAGE, examples=[50])
    ] = 50,
) -> Response:
    """The public record with the evidence, the newest first. All pages show the first's height."""
    at, before = decode_cursor(cursor) if cursor else (None, b"")
    height, result = await live.query("reports", {"before": before, "limit": limit}, height=at)
    rest = result["next"]
    following = None if rest is None else encode_cursor(height, rest)
    page = {"height": height, "reports": result["reports"], "next": following}
    return answer(request, ReportPage.model_validate(page), headers=at_height(height))


@routes.get(
    "/{height}/{index}",
    summary="One offence that was punished",
    operation_id="get_report",
    response_model=Report,
    responses=described(Report, "The report.", "bad_request", "not_found"),
)
async def get_report(
    request: Request,
    live: Here,
    height: Annotated[int, Path(description="Its block.", ge=0, le=MAX_AMOUNT, examples=[HEIGHT])],
    index: Annotated[int, Path(description="Its place.", ge=0, le=MAX_INDEX, examples=[0])],
) -> Response:
    """What was done, by whom, what it cost, who reported it, and the evidence."""
    read_at, result = await live.query("report", {"height": height, "index": index})
    shape = Report.model_validate(found(result, f"report {height}/{index} here"))
    return answer(request, shape, headers=at_height(read_at))
