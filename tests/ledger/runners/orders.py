"""The runners of `set_attestors`, `set_params` and `set_successor`."""

from typing import Any

from msgspec.structs import replace

from ledger.messages.state import LIST_ROLE, Binding, Succession
from ledger.messages.tables import BINDINGS, PARAMS, SETS, SUCCESSION
from ledger.messages.transactions import BY_ATTESTORS, BY_RECOVERY, Seat
from ledger.params import Params
from tests.factory import Network
from tests.ledger.effects import Sheet, expect_applied
from tests.life import SUCCESSOR, running, set_attestors, set_params, set_successor


def run_set_attestors(
    network: Network, new: tuple[Seat, ...], sender: str = "alice", **order: Any
) -> None:
    """`set_attestors`: the order waits, and keys that nobody holds are bound to themselves."""
    sheet = Sheet(network)
    sheet.pay(sender, 0)
    is_recovery = bool(order.get("recovery"))
    begin = running(network) if is_recovery else sheet.time_ms + 900
    begin = order.pop("begin", begin)
    for seat in new:
        if sheet.get(BINDINGS, seat.list_key) is None:
            sheet.put(BINDINGS, seat.list_key, Binding(LIST_ROLE, seat.list_key))
    authority = BY_RECOVERY if is_recovery else BY_ATTESTORS
    sets = sheet.get(SETS)
    sheet.put(SETS, b"", replace(sets, ordered=new, ordered_by=authority, begin=begin))
    expect_applied(network, sheet, set_attestors(network, new, sender, begin, **order))


def run_set_params(
    network: Network, sender: str = "alice", from_ms: int | None = None, **values: int
) -> None:
    """`set_params`: the values are announced, and in force no sooner than they say."""
    sheet = Sheet(network)
    sheet.pay(sender, 0)
    state = sheet.get(PARAMS)
    params = Params(*state.values)
    from_ms = sheet.time_ms + params.unbonding_ms if from_ms is None else from_ms
    announced = tuple(params._replace(**values))
    sheet.put(PARAMS, b"", replace(state, next=announced, from_ms=from_ms))
    expect_applied(network, sheet, set_params(network, sender, from_ms, None, None, **values))


def run_set_successor(
    network: Network,
    sender: str = "alice",
    successor: bytes = SUCCESSOR,
    from_ms: int | None = None,
    **order: Any,
) -> None:
    """`set_successor`: it is announced, or withdrawn, and nothing is over."""
    sheet = Sheet(network)
    sheet.pay(sender, 0)
    if from_ms is None:
        from_ms = sheet.time_ms + 2 * Params(*sheet.get(PARAMS).values).unbonding_ms
    sheet.put(SUCCESSION, b"", Succession(successor, from_ms, 0))
    expect_applied(network, sheet, set_successor(network, sender, successor, from_ms, **order))
