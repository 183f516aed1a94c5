"""Amounts and times as people write and read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.types import COIN, MAX_AMOUNT
from registry.amounts import (
    format_amount,
    format_share,
    format_span,
    format_time,
    parse_amount,
)

READ = {
    "0": 0,
    "1": COIN,
    "007": 7 * COIN,
    "0.5": COIN // 2,
    "1.50": COIN + COIN // 2,
    "0.000000001": 1,
    "12.000000000": 12 * COIN,
    "9223372036.854775807": MAX_AMOUNT,
    "0u": 0,
    "1u": 1,
    "9223372036854775807u": MAX_AMOUNT,
}

REFUSED = {
    "nothing": ("", "no amount"),
    "a sign": ("-1", "no amount"),
    "a plus": ("+1", "no amount"),
    "an exponent": ("1e9", "no amount"),
    "a comma": ("1,5", "no amount"),
    "thousands": ("1_000", "no amount"),
    "nothing before the point": (".5", "no amount"),
    "nothing behind the point": ("1.", "no amount"),
    "two points": ("1.2.3", "no amount"),
    "a space": (" 1", "no amount"),
    "a newline": ("1\n", "no amount"),
    "other digits": ("\u0661", "no amount"),
    "infinity": ("inf", "no amount"),
    "a part of a unit": ("1.5u", "no amount"),
    "ten decimals": ("0.0000000001", "more than 9 decimals"),
    "ten decimals that are zero": ("1.0000000000", "more than 9 decimals"),
    "one unit too many": ("9223372036854775808u", "more than an amount can be"),
    "coins beyond all": ("9223372037", "more than an amount can be"),
    "very long": ("1" * 5_000, "no amount"),
    "very long in units": ("1" * 5_000 + "u", "no amount"),
}


@pytest.mark.parametrize(("text", "amount"), READ.items(), ids=READ.keys())
def test_read(text: str, amount: int) -> None:
    assert parse_amount(text) == amount


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_amount(text)


@given(st.integers(0, MAX_AMOUNT))
def test_what_is_shown_reads_as_the_same(amount: int) -> None:
    assert parse_amount(format_amount(amount).split(" ")[0]) == amount
    assert parse_amount(f"{amount}u") == amount


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 coins"),
        (COIN, "1 coin"),
        (100 * COIN, "100 coins"),
        (COIN // 2, "0.5 coins"),
        (1, "0.000000001 coins"),
    ],
)
def test_amount_shown(amount: int, text: str) -> None:
    assert format_amount(amount) == text


@pytest.mark.parametrize(
    ("parts", "text"),
    [(0, "0 %"), (1, "0.01 %"), (500, "5 %"), (1_250, "12.5 %"), (10_000, "100 %")],
)
def test_share_shown(parts: int, text: str) -> None:
    assert format_share(parts) == text


@pytest.mark.parametrize(
    ("span_ms", "text"),
    [
        (0, "0 ms"),
        (1, "1 ms"),
        (1_000, "1 s"),
        (90_000, "90 s"),
        (1_800_000, "30 min"),
        (7_200_000, "2 h"),
        (1_209_600_000, "14 d"),
    ],
)
def test_span_shown(span_ms: int, text: str) -> None:
    assert format_span(span_ms) == text


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (1_700_000_000_999, "2023-11-14 22:13:20 UTC"),
        (2**63 - 1, "9223372036854775807 ms"),
    ],
)
def test_time_shown(time_ms: int, text: str) -> None:
    assert format_time(time_ms) == text
