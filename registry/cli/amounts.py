"""Amounts and times as people write and read them: `registry.amounts`, which pages share."""

from registry.amounts import (
    DECIMALS,
    MAX_LETTERS,
    format_amount,
    format_duration,
    format_in_unit,
    format_share,
    format_span,
    format_time,
    parse_amount,
)

__all__ = [
    "DECIMALS",
    "MAX_LETTERS",
    "format_amount",
    "format_duration",
    "format_in_unit",
    "format_share",
    "format_span",
    "format_time",
    "parse_amount",
]
