"""Amounts and times as people write and read them; never a float.

- An amount is in coins, with up to nine decimals: `12`, `0.5`, `1000.000000001`.
- With a `u` behind it, it is in atomic units: `500000000u` is half a coin.
"""

import re
from typing import Final

from ledger.types import BASIS_POINTS, COIN, MAX_AMOUNT, Amount

DECIMALS: Final = 9
"""Digits behind the point of an amount in coins."""

MAX_LETTERS: Final = 40
"""Twice as long as any amount has to be."""

_COINS: Final = re.compile(r"([0-9]+)(?:\.([0-9]+))?")
_UNITS: Final = re.compile(r"([0-9]+)u")

SPANS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))
"""Larger units of time in milliseconds, largest first."""


def parse_amount(text: str) -> Amount:
    """Return the atomic units of an amount; `ValueError` says what is wrong."""
    units, coins = _UNITS.fullmatch(text), _COINS.fullmatch(text)
    if units is not None and len(text) <= MAX_LETTERS:
        return _bounded(int(units[1]))
    if coins is None or len(text) > MAX_LETTERS:
        raise ValueError(
            f"{text!r} is no amount: write coins such as 12 or 0.5, or atomic units such as 500u"
        )
    decimals = coins[2] or ""
    if len(decimals) > DECIMALS:
        raise ValueError(f"{text!r} has more than {DECIMALS} decimals: a coin has 10^9 units")
    return _bounded(int(coins[1]) * COIN + int(decimals.ljust(DECIMALS, "0")))


def _bounded(amount: int) -> Amount:
    if amount > MAX_AMOUNT:
        raise ValueError(f"this is more than an amount can be: {format_amount(MAX_AMOUNT)}")
    return amount


def format_amount(amount: Amount) -> str:
    """Return an amount in coins, every digit of it, as `parse_amount` takes it, and the unit."""
    whole, rest = divmod(amount, COIN)
    decimals = f"{rest:0{DECIMALS}}".rstrip("0")
    digits = f"{whole}.{decimals}" if decimals else str(whole)
    return f"{digits} {'coin' if amount == COIN else 'coins'}"


def format_share(parts: int) -> str:
    """Return parts of 10,000 in per cent."""
    whole, rest = divmod(parts, BASIS_POINTS // 100)
    decimals = f"{rest:02}".rstrip("0")
    return f"{whole}.{decimals} %" if decimals else f"{whole} %"


def format_span(span_ms: int) -> str:
    """Return a length of time in the largest unit that it is a multiple of."""
    for size, name in SPANS:
        if span_ms and span_ms % size == 0:
            return f"{span_ms // size} {name}"
    return f"{span_ms} ms"


def format_duration(span_ms: int) -> str:
    """Return about how long a time is, in the largest unit of which there are two or more."""
    for size, name in SPANS:
        if span_ms >= 2 * size:
            return f"{span_ms // size} {name}"
    return f"{span_ms} ms"


def format_in_unit(value: int, unit: str) -> str:
    """Return a parameter's value in a larger unit, where there is one for it; else nothing."""
    match unit:
        case "ms":
            return format_span(value)
        case "atomic units":
            return format_amount(value)
        case "1/10000":
            return format_share(value)
        case _:
            return ""


def format_time(time_ms: int) -> str:
    """Return Unix milliseconds as a date, to the second."""
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"  # later than the calendar goes
