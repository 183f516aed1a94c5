"""What orders change, in words and for programs: the old values beside the new ones."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from registry.amounts import format_in_unit, format_span, format_time
from registry.cli.http import ParameterValue, Rules, SetSeat
from registry.cli.output import Table, align, format_table

if TYPE_CHECKING:
    from ledger.messages.genesis import Genesis
    from ledger.messages.transactions import SetAttestors, SetParams, SetSuccessor
    from registry.orders import Order, OrderFile

GENESIS_FILE: Final = "genesis file"
"""Unit of a hash that an order of a successor names."""


def rules_of(genesis: "Genesis") -> Rules:
    """Return the rules that a genesis file begins with, as the service would show them."""
    from ledger.params import PARAMETERS, Params

    seats = [SetSeat(row.list_key.hex(), row.weight) for row in genesis.attestors]
    return Rules(
        time_ms=genesis.start_ms,
        epoch=1,
        parameters=[
            ParameterValue(row.name, row.unit, str(value), None)
            for row, value in zip(PARAMETERS, genesis.params, strict=True)
        ],
        parameters_from_ms=None,
        parameters_earliest_ms=genesis.start_ms + Params(*genesis.params).unbonding_ms,
        attestors=seats,
        next_attestors=seats,
        ordered=[],
        ordered_by=None,
        ordered_begin=None,
        attestors_earliest_ms=genesis.start_ms,
        recovery=[key.hex() for key in genesis.recovery],
        successor=None,
        successor_from_ms=None,
        successor_earliest_ms=genesis.start_ms + 2 * Params(*genesis.params).unbonding_ms,
        has_moved=False,
        last_epoch=None,
    )


def get_voters(file: "OrderFile", rules: Rules) -> list[SetSeat]:
    """Return who may sign an order, by their places, with the weight of each."""
    from registry.keystore import RECOVERY
    from registry.orders import get_order, get_role

    if get_role(get_order(file)) == RECOVERY:
        return [SetSeat(key, 1) for key in rules.recovery]
    return rules.attestors


# --- for programs -------------------------------------------------------------------------------


def describe_order(file: "OrderFile", rules: Rules) -> dict[str, Any]:
    """Return what an order changes of the rules in force, from when on, and who signed it."""
    from ledger.messages.lists import is_final
    from registry.orders import ORDERS, get_order, get_role

    order = get_order(file)
    signed = [row.key.hex() for row in file.signatures]
    voters = get_voters(file, rules)
    weight = sum(seat.weight for seat in voters if seat.list_key in signed)
    total = sum(seat.weight for seat in voters)
    return {
        "order": ORDERS[file.kind].name,
        "signed_by": get_role(order),
        **_begin(order),
        "changes": _compare(order, rules),
        "signatures": [
            {"key": key, "counts": key in [seat.list_key for seat in voters]} for key in signed
        ],
        "missing": [seat.list_key for seat in voters if seat.list_key not in signed],
        "signed_weight": weight,
        "total_weight": total,
        "is_enough": is_final(weight, total),
    }


def _begin(order: "Order") -> dict[str, int]:
    from ledger.messages.transactions import BY_RECOVERY, SetAttestors

    if not isinstance(order, SetAttestors):
        return {"from_ms": order.order.from_ms}
    return {"epoch" if order.authority == BY_RECOVERY else "begin_ms": order.begin}


def _compare(order: "Order", rules: Rules) -> list[dict[str, Any]]:
    from ledger.messages.transactions import SetAttestors, SetParams

    if isinstance(order, SetAttestors):
        return _compare_seats(order, rules)
    if isinstance(order, SetParams):
        return _compare_params(order, rules)
    return _compare_successor(order, rules)


def _compare_successor(order: "SetSuccessor", rules: Rules) -> list[dict[str, Any]]:
    from ledger.types import ZERO_HASH

    ordered = order.order.genesis_hash
    new = None if ordered == ZERO_HASH else ordered.hex()
    return [{"what": "successor", "unit": GENESIS_FILE, "old": rules.successor, "new": new}]


def _compare_params(order: "SetParams", rules: Rules) -> list[dict[str, Any]]:
    return [
        {"what": row.name, "unit": row.unit, "old": row.value, "new": str(value)}
        for row, value in zip(rules.parameters, order.order.values, strict=False)
        if row.value != str(value)
    ]


def _compare_seats(order: "SetAttestors", rules: Rules) -> list[dict[str, Any]]:
    """Return each seat that comes, goes, gets another weight or begins another hash chain."""
    old = {seat.list_key: seat.weight for seat in rules.attestors}
    new = {seat.list_key.hex(): seat.weight for seat in order.seats}
    begun = {seat.list_key.hex() for seat in order.seats if seat.tip}
    return [
        {
            "what": key,
            "unit": "weight",
            "old": str(old[key]) if key in old else None,
            "new": str(new[key]) if key in new else None,
        }
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key) or key in begun
    ]


# --- for people ---------------------------------------------------------------------------------


def format_order(facts: dict[str, Any]) -> str:
    """Return what `describe_order` says, in words."""
    lines = [(name.replace("_", " "), facts[name]) for name in ("file", "network") if name in facts]
    lines += [
        ("order", facts["order"]),
        ("in force", _format_begin(facts)),
        *(("change", _format_change(change)) for change in facts["changes"]),
        *(
            ("signed", row["key"] + ("" if row["counts"] else " (counts for nothing)"))
            for row in facts["signatures"]
        ),
        *(("not signed", key) for key in facts["missing"]),
        ("weight", _format_weight(facts)),
    ]
    return align(lines)


def _format_begin(facts: dict[str, Any]) -> str:
    if any(change["unit"] == GENESIS_FILE and not change["new"] for change in facts["changes"]):
        return "as soon as it stands in a block, unless a header names the successor by then"
    if "epoch" in facts:
        return f"at the end of epoch {facts['epoch']}, if it is sent in that epoch"
    if "from_ms" in facts:
        return f"with the first end of an epoch from {format_time(facts['from_ms'])} on"
    return (
        f"announced with the first end of an epoch from {format_time(facts['begin_ms'])} on, in "
        "force once the header that names it is final"
    )


def _format_change(change: dict[str, Any]) -> str:
    what, unit, old, new = (change[name] for name in ("what", "unit", "old", "new"))
    if unit == GENESIS_FILE:
        return f"goes on by the {unit} {new}" if new else f"does not go on by the {unit} {old}"
    if unit != "weight":
        return f"{what} from {_spell(int(old), unit)} to {_spell(int(new), unit)}"
    if old is None:
        return f"attestor {what} comes, with weight {new}"
    if new is None:
        return f"attestor {what} goes, with weight {old}"
    if old == new:
        return f"attestor {what} begins another hash chain"
    return f"attestor {what} from weight {old} to {new}"


def _spell(value: int, unit: str) -> str:
    return format_in_unit(value, unit) or f"{value} {unit}"


def _format_weight(facts: dict[str, Any]) -> str:
    weight, total = facts["signed_weight"], facts["total_weight"]
    missing = 2 * total // 3 + 1 - weight
    rest = "enough: more than two thirds" if facts["is_enough"] else f"{missing} more needed"
    return f"{weight} of {total} signed, {rest}"


def format_rules(rules: Rules) -> str:
    """Return the rules in force and those announced, in words."""
    lines = [
        *_format_set("attestor", rules.attestors),
        *(
            _format_set("next", rules.next_attestors)
            if rules.next_attestors != rules.attestors
            else ()
        ),
        *_format_set(f"ordered by {rules.ordered_by}", rules.ordered),
        *(("recovery key", key) for key in rules.recovery),
    ]
    if rules.ordered_begin is not None:
        recovery = rules.ordered_by == "recovery"
        begin = f"epoch {rules.ordered_begin}" if recovery else format_time(rules.ordered_begin)
        lines.append(("to begin", begin))
    lines.append(("another set", f"from {format_time(rules.attestors_earliest_ms)} on"))
    notice = format_span(rules.parameters_earliest_ms - rules.time_ms)
    lines.append(("parameters", f"change {notice} after an order at the earliest"))
    if rules.parameters_from_ms is not None:
        lines.append(("announced", f"in force from {format_time(rules.parameters_from_ms)} on"))
    lines += _format_succession(rules)
    rows = [
        [
            row.name,
            row.value,
            row.unit,
            format_in_unit(int(row.value), row.unit),
            "" if row.next in (None, row.value) else _spell(int(row.next or 0), row.unit),
        ]
        for row in rules.parameters
    ]
    table = Table(("parameter", "value", "unit", "that is", "announced"), rows)
    return f"{align(lines)}\n\n{format_table(table)}"


def _format_succession(rules: Rules) -> list[tuple[str, str]]:
    """Return what follows on this network, and what could."""
    if rules.successor is None or rules.successor_from_ms is None:
        notice = format_span(rules.successor_earliest_ms - rules.time_ms)
        return [("successor", f"none; named {notice} after an order at the earliest")]
    if rules.last_epoch is not None:
        when = f"this network is over, its last epoch was {rules.last_epoch}"
    elif rules.has_moved:
        when = "the newest header names it, nothing is taken any more"
    else:
        when = f"headers name it from {format_time(rules.successor_from_ms)} on"
    return [("successor", f"{GENESIS_FILE} {rules.successor}"), ("moves", when)]


def _format_set(name: str, seats: Sequence[SetSeat]) -> list[tuple[str, str]]:
    return [(name, f"{seat.list_key}, weight {seat.weight}") for seat in seats]
