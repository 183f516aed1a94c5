"""What people write on the command line, read into values: parsers for typer's options.

Each says in one sentence what is wrong, which typer shows with the option's name; exit code 2.
"""

import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias, TypeVar

import typer

from registry.cli import amounts

T = TypeVar("T")


class Share(NamedTuple):
    """`ADDRESS=AMOUNT`."""

    account: bytes
    amount: int


class PublicSeat(NamedTuple):
    """`LISTKEY:TIP`, which `waypost keys seat` prints: an attestor whose key file is elsewhere."""

    list_key: bytes
    tip: bytes


class Seat(NamedTuple):
    """`KEYFILE` or `LISTKEY:TIP`, either with `:WEIGHT` behind it."""

    holder: Path | PublicSeat
    weight: int


class Setting(NamedTuple):
    """`PARAMETER=VALUE`."""

    name: str
    value: int


class ProgramVersion(NamedTuple):
    """`MAJOR.MINOR.PATCH`."""

    major: int
    minor: int
    patch: int


Preset: TypeAlias = Literal["mainnet", "testnet", "minimal"]
"""A name in `ledger.params.PRESETS`."""

KEY_FILE: Final = "KEYFILE"
AMOUNT: Final = "AMOUNT"
ADDRESS: Final = "ADDRESS"
VERSION: Final = "X.Y.Z"
NAME: Final = "NAME"

NO_ADDRESS: Final = "none"
"""Stands for "no such address", where one is taken away."""


def parser(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Have typer show the sentence of a `ValueError` as it is."""

    @wraps(parse)
    def parse_for_typer(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parse_for_typer


parse_amount = parser(amounts.parse_amount)


@parser
def parse_account(text: str) -> bytes:
    """Return the key of an account's address."""
    from registry.addresses import decode_account

    return decode_account(text)


@parser
def parse_node(text: str) -> bytes:
    """Return the key of a node's address."""
    from registry.addresses import decode_node

    return decode_node(text)


@parser
def parse_share(text: str) -> Share:
    """Return an account with an amount."""
    address, sign, amount = text.partition("=")
    if not sign:
        raise ValueError(f"{text!r} is not ADDRESS=AMOUNT")
    return Share(parse_account(address), amounts.parse_amount(amount))


@parser
def parse_seat(text: str) -> Seat:
    """Return an attestor, by key file or in public, with its weight, 1 where none is given."""
    holder, sign, weight = text.rpartition(":")
    if not sign or not re.fullmatch("[0-9]{1,10}", weight):
        holder, weight = text, "1"
    if not 1 <= int(weight) < 2**32:
        raise ValueError(f"{weight} is no weight: 1 to {2**32 - 1}")
    public = re.fullmatch("([0-9a-f]{64}):([0-9a-f]{64})", holder)
    if public is None:
        return Seat(Path(holder), int(weight))
    return Seat(PublicSeat(*map(bytes.fromhex, public.groups())), int(weight))


@parser
def parse_producer(text: str) -> Path | bytes:
    """Return a producer's key file, or his public key of 64 hex digits."""
    return bytes.fromhex(text) if re.fullmatch("[0-9a-f]{64}", text) else Path(text)


@parser
def parse_setting(text: str) -> Setting:
    """Return a parameter's name and value; whether it is in range is for the genesis to say."""
    from ledger.params import Params

    name, _, value = text.partition("=")
    if name not in Params._fields:
        raise ValueError(f"there is no parameter {name!r}: {', '.join(Params._fields)}")
    if not re.fullmatch("[0-9]{1,19}", value):
        raise ValueError(f"{name}={value!r}: an integer in the parameter's own unit is needed")
    return Setting(name, int(value))


@parser
def parse_network_name(text: str) -> str:
    """Return the name of a network to be made."""
    if not re.fullmatch("[a-z0-9-]{1,40}", text):
        raise ValueError(f"{text!r} is no name: 1 to 40 of the letters a-z, 0-9 and -")
    return text


@parser
def parse_version(text: str) -> ProgramVersion:
    """Return a program's version."""
    parts = re.fullmatch(r"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})", text)
    numbers = tuple(map(int, parts.groups())) if parts else (256,)
    if max(numbers) > 255:
        raise ValueError(f"{text!r} is no version: three numbers up to 255, such as 2.11.0")
    return ProgramVersion(*numbers)


@parser
def parse_ipv4(text: str) -> bytes:
    """Return the 4 bytes of an IPv4 address, none for `none`."""
    from ipaddress import IPv4Address

    return b"" if text == NO_ADDRESS else IPv4Address(text).packed


@parser
def parse_ipv6(text: str) -> bytes:
    """Return the 16 bytes of an IPv6 address, none for `none`."""
    from ipaddress import IPv6Address

    address = None if text == NO_ADDRESS else IPv6Address(text)
    if address is not None and address.scope_id:
        raise ValueError(f"{text!r} is an address on one machine's own link only")
    return b"" if address is None else address.packed


HomeOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--home", help="Folder of the node; WAYPOST_HOME or the platform's by default."),
]
