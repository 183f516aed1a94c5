"""Accounts: balance, nonce, stakes."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from registry.addresses import decode_account
from registry.api.answers import answer, at_height, described, found, parsed
from registry.api.live import Here
from registry.api.models import ACCOUNT, Account

routes = APIRouter(prefix="/v1/accounts", tags=["accounts"])


@routes.get(
    "/{address}",
    summary="One account",
    operation_id="get_account",
    response_model=Account,
    responses=described(Account, "The account.", "bad_request"),
)
async def get_account(
    request: Request,
    live: Here,
    address: Annotated[
        str, Path(description="Address of the account, or its key as hex.", examples=[ACCOUNT])
    ],
) -> Response:
    """What it can spend, the nonce of its next transaction, and its stakes.

    An account that never existed is empty.
    """
    height, result = await live.query("account", {"key": parsed(decode_account, address)})
    shape = Account.model_validate(found(result, f"account {address}"))
    return answer(request, shape, headers=at_height(height))
