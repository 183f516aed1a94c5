"""Accounts: what somebody has staked where, and what waits for him."""

from registry.addresses import decode_account, encode_account
from registry.api.answers import found
from registry.api.problems import ProblemError
from registry.web.visit import Elsewhere, Shown, Visit


async def find_account(visit: Visit) -> Shown:
    """A form for an address; with one, its page."""
    text = visit.text("address")
    if text:
        raise Elsewhere(f"/accounts/{encode_account(_read_account(text))}")
    return {}


def _read_account(text: str) -> bytes:
    try:
        return decode_account(text)
    except ValueError as error:
        raise ProblemError("bad_request", why=str(error)) from None


async def show_account(visit: Visit) -> Shown:
    """One account; one that never existed is empty."""
    key = visit.key("address", decode_account)
    account = found(await visit.ask("account", key=key), "such account")
    waiting = {row["node"]: int(row["claimable"]) for row in account["rewards"]}
    staked: dict[str, int] = {}
    for stake in account["stakes"]:
        staked[stake["node"]] = staked.get(stake["node"], 0) + int(stake["amount"])
    nodes = sorted(staked.keys() | waiting.keys())
    return {
        "title": f"Account {account['account'][:12]}…",
        "account": account,
        "rows": [(node, staked.get(node, 0), waiting.get(node, 0)) for node in nodes],
        "staked": sum(staked.values()),
    }
