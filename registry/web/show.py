"""How keys, amounts, times and pictures look, for templates; and the templates themselves.

What a template shows is escaped, whoever wrote it. What is marked up here is made of numbers and of
what was escaped before.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import segno
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from registry.amounts import format_amount, format_duration, format_share, format_time

FOLDER: Final = Path(__file__).parent / "templates"
HEAD, TAIL = 10, 6
"""Characters of a key that stay where it is shortened."""


def make_environment(url_of: Callable[[str], str]) -> Environment:
    """Return the templates; `url_of` says where a static file is."""
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(FILTERS)
    made.globals.update({"asset": url_of, "qr": make_qr})
    made.globals["m"] = made.get_template("macros.html").module
    return made


def show_coins(units: int | str) -> str:
    """Return an amount in coins, with its thousands apart."""
    whole, dot, rest = format_amount(int(units)).partition(".")
    digits, space, unit = whole.partition(" ")
    return f"{int(digits):,}{space}{unit}{dot}{rest}"


def show_number(number: int | str) -> str:
    """Return a whole number with its thousands apart."""
    return f"{int(number):,}"


def show_time(time_ms: int) -> Markup:
    """Return a time, also for programs."""
    text = format_time(time_ms)
    iso = text.removesuffix(" UTC").replace(" ", "T") + "Z"
    if not text.endswith(" UTC"):
        return Markup("<span>{}</span>").format(text)
    return Markup('<time datetime="{}">{}</time>').format(iso, text)


def show_minute(time_ms: int) -> Markup:
    """Return a time to the minute, for tables."""
    text = format_time(time_ms)
    if not text.endswith(" UTC"):
        return show_time(time_ms)
    iso = text.removesuffix(" UTC").replace(" ", "T") + "Z"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso, text, text[:16])


def show_short(key: str) -> str:
    """Return the beginning and the end of a key."""
    return key if len(key) <= HEAD + TAIL + 1 else f"{key[:HEAD]}…{key[-TAIL:]}"


def show_left(time_ms: int, now_ms: int) -> str:
    """Return how far away a time is."""
    if time_ms > now_ms:
        return f"in {format_duration(time_ms - now_ms)}"
    return f"{format_duration(now_ms - time_ms)} ago"


def show_percent(part: int, whole: int) -> str:
    """Return a part of a whole, of which there may be nothing, in the nearest whole per cent."""
    return f"{(200 * part + whole) // (2 * whole) if whole else 0} %"


def show_code(text: str) -> Markup:
    """Return a text in which code stands between backquotes."""
    parts = (
        Markup("<code>{}</code>").format(part) if place % 2 else part
        for place, part in enumerate(text.split("`"))
    )
    return Markup("").join(parts)


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "code": show_code,
    "coins": show_coins,
    "duration": format_duration,
    "left": show_left,
    "minute": show_minute,
    "number": show_number,
    "percent": show_percent,
    "share": format_share,
    "short": show_short,
    "time": show_time,
}
"""By the name that templates know them by."""


@lru_cache(maxsize=16)
def make_qr(text: str, title: str) -> Markup:
    """Return a QR code as SVG, which the page holds itself."""
    code = segno.make(text, error="m", micro=False)
    drawn = code.svg_inline(omitsize=True, border=2, title=title, svgclass="qr", lineclass=None)
    return Markup(drawn)
