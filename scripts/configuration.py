"""Tables of settings, made from the classes that hold them, for `docs/configuration.md`.

What a setting means is the text below its field, its range that of the field, its flag that of the
command. A field without a text, or of a form that `FORMS` does not know, is refused.
"""

import ast
import inspect
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from registry import settings as service
from registry.agent import settings as agent
from registry.cli import GROUPS, load
from registry.warnings import settings as warnings

FORMS: Final[tuple[tuple[Any, str], ...]] = (
    (bool, "`true` or `false`"),
    (int, "integer"),
    (float, "number"),
    (str, "text"),
    (Path, "path"),
    (service.ClientLimits, "[table](#limits)"),
    (service.Peer, "`ID@HOST:PORT`"),
    (service.Address, "`HOST:PORT`, or empty"),
    (service.RpcUrl, "URL"),
    (agent.Url, "URL"),
    (agent.VersionText, "`MAJOR.MINOR.PATCH`"),
    (IPv4Address, "IPv4 address"),
    (IPv6Address, "IPv6 address"),
    (IPv4Address | IPv6Address, "address"),
    (IPv4Network | IPv6Network, "prefix"),
    (warnings.NodeName, "node, `wpn1…`"),
    (warnings.AccountName, "account, `wpa1…`"),
    (warnings.HttpUrl, "URL"),
    (warnings.ServiceUrl, "URL"),
    (warnings.HostPort, "`HOST:PORT`"),
    (warnings.MailAddress, "mail address"),
)
"""What a value looks like, by the type of its field."""

COLUMNS: Final = "| setting | form | default | meaning |"
PROGRAM_COLUMNS: Final = "| setting | flag | form | default | meaning |"


class Undescribed(Exception):
    """A field says not enough of itself to be shown."""


@dataclass(frozen=True)
class Program:
    """A program that has settings."""

    command: str
    """Its name behind `waypost`."""
    settings: type[BaseModel]

    def flags(self) -> dict[str, str]:
        """The long option of each setting that has one; an option may leave a plural's `s` away."""
        (group,) = (group for group in GROUPS if group.name == self.command)
        options = {one.name: max(one.opts, key=len) for one in load(group).params}
        named = {name: options.get(name) for name in self.settings.model_fields}
        plural = {name: options.get(name.removesuffix("s")) for name in named}
        return {name: flag for name in named if (flag := named[name] or plural[name])}


PROGRAMS: Final = (
    Program("run", service.Settings),
    Program("agent", agent.AgentSettings),
    Program("warn", warnings.WarnSettings),
)


def program_rows(program: Program) -> Iterator[str]:
    """A row for each setting of a program. Raises `Undescribed`."""
    flags = program.flags()
    for name, form, default, meaning in describe(program.settings):
        flag = f"`{flags[name]}`" if name in flags else "–"
        yield f"| `{name}` | {flag} | {form} | {default} | {meaning} |"


def limit_rows() -> Iterator[str]:
    """A row for each setting in the table `limits`. Raises `Undescribed`."""
    for name, form, default, meaning in describe(service.ClientLimits):
        yield f"| `{name}` | {form} | {default} | {meaning} |"


def describe(kind: type[BaseModel]) -> Iterator[tuple[str, str, str, str]]:
    """Name, form with range, default and meaning of each field but the home."""
    texts = read_texts(kind)
    hints = typing.get_type_hints(kind, include_extras=True)
    for name, field in kind.model_fields.items():
        if name == "home":
            continue
        if name not in texts:
            raise Undescribed(f"{kind.__name__}.{name} has no text below it")
        form = f"{show_form(hints[name])}{show_range(field)}"
        yield name, form, show_default(field), texts[name].replace("|", "\\|")


def read_texts(kind: type[BaseModel]) -> dict[str, str]:
    """The text below each field, in one line."""
    (body,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for line, below in pairwise(body.body):
        match line, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=text)):
                found[name] = " ".join(str(text).split())
    return found


def show_form(hint: Any) -> str:
    """What a value of a type looks like. Raises `Undescribed`."""
    for known, form in FORMS:
        if hint == known:
            return form
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return " or ".join(f"`{one}`" for one in arguments)
    if typing.get_origin(hint) is tuple:
        return f"list: {show_form(arguments[0])}"
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (one,) = (one for one in arguments if one is not types.NoneType)
        return show_form(one)
    raise Undescribed(f"{hint} has no row in FORMS")


def show_range(field: FieldInfo) -> str:
    """The least and the greatest value, if the field has them."""
    found = {
        bound: getattr(one, bound)
        for one in field.metadata
        for bound in ("ge", "le")
        if getattr(one, bound, None) is not None
    }
    if "ge" not in found:
        return ""
    return f", {found['ge']} … {found['le']}" if "le" in found else f", at least {found['ge']}"


def show_default(field: FieldInfo) -> str:
    """What counts if nobody says anything, as the file would say it."""
    default = field.default
    if default is PydanticUndefined:
        return "needed"
    if default is None or default in ((), ""):
        return "none"
    if isinstance(default, BaseModel):
        return "as below"
    if isinstance(default, tuple):
        return f"`[{', '.join(show_value(one) for one in default)}]`"
    return f"`{show_value(default)}`"


def show_value(value: Any) -> str:
    """A value in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else f'"{value}"'
