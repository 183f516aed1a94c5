"""What people write on the command line, read into values: parsers for typer's options.

Each says in one sentence what is wrong, which typer shows with the option's name; exit code 2.
"""

import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias, TypeVar

import typer

from registry import amounts

T = TypeVar("T")


class Share(NamedTuple):
    """`ADDRESS=AMOUNT`."""

    account: bytes
    amount: int


class PublicSeat(NamedTuple):
    """`LISTKEY:TIP:CONSENSUSKEY`, which `waypost keys seat` prints of a key file that is elsewhere.

    Only validators need the last.
    """

    list_key: bytes
    tip: bytes
    consensus_key: bytes = b""


class Seat(NamedTuple):
    """`KEYFILE` or `LISTKEY:TIP:CONSENSUSKEY`, either with `:WEIGHT` and `@NODE` behind it."""

    holder: Path | PublicSeat
    weight: int
    node: bytes = b""
    """The founding node whose stake stands behind the seat; none without one."""


class ProvenSeat(NamedTuple):
    """`LISTKEY:TIP:PROOF`, which `waypost keys seat --genesis` prints."""

    list_key: bytes
    tip: bytes
    proof: bytes


class NewSeat(NamedTuple):
    """`KEYFILE` or `LISTKEY:TIP:PROOF`, either with `:WEIGHT` behind it."""

    holder: Path | ProvenSeat
    weight: int


class KeyWeight(NamedTuple):
    """`LISTKEY=WEIGHT`."""

    list_key: bytes
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

Engine: TypeAlias = Literal["solo", "comet"]
"""A name in `ledger.messages.genesis.ENGINES`."""

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
def parse_party(text: str) -> str:
    """Return the address of a node or an account; 64 hex digits are an account."""
    from registry.addresses import NODE, decode_account, decode_node, encode_account, encode_node

    if text.lower().startswith(NODE):
        return encode_node(decode_node(text))
    return encode_account(decode_account(text))


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
    from registry.addresses import NODE

    rest, sign, node = text.rpartition("@")
    if not sign or not node.startswith(NODE):
        rest, node = text, ""
    behind = parse_node(node) if node else b""
    holder, weight = _split_weight(rest)
    public = _read_public_seat(holder)
    return Seat(Path(holder) if public is None else public, weight, behind)


@parser
def parse_public_seat(text: str) -> PublicSeat:
    """Return an attestor in public."""
    public = _read_public_seat(text)
    if public is None:
        raise ValueError(f"{text!r} is no seat: `waypost keys seat` prints it")
    return public


def _read_public_seat(text: str) -> PublicSeat | None:
    public = re.fullmatch("([0-9a-f]{64}):([0-9a-f]{64})(?::([0-9a-f]{64}))?", text)
    return None if public is None else PublicSeat(*map(bytes.fromhex, public.groups("")))


@parser
def parse_new_seat(text: str) -> NewSeat:
    """Return an attestor for an order, by key file or with its proof; the weight as for others."""
    holder, weight = _split_weight(text)
    proven = re.fullmatch("([0-9a-f]{64}):([0-9a-f]{64}):([0-9a-f]{128})", holder)
    if proven is not None:
        return NewSeat(ProvenSeat(*map(bytes.fromhex, proven.groups())), weight)
    if re.fullmatch("[0-9a-f]{64}(:[0-9a-f]{64}){0,2}", holder):
        raise ValueError(
            "a seat in an order needs a proof: `waypost keys seat --genesis` prints it"
        )
    return NewSeat(Path(holder), weight)


def _split_weight(text: str) -> tuple[str, int]:
    """Return what stands before a weight, and the weight, 1 where none is given."""
    holder, sign, weight = text.rpartition(":")
    if not sign or not re.fullmatch("[0-9]{1,10}", weight):
        return text, 1
    return holder, _parse_weight(weight)


def _parse_weight(text: str) -> int:
    if not re.fullmatch("[0-9]{1,10}", text) or not 1 <= int(text) < 2**32:
        raise ValueError(f"{text} is no weight: 1 to {2**32 - 1}")
    return int(text)


@parser
def parse_key(text: str) -> bytes:
    """Return a public key of 64 hex digits."""
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError(f"{text!r} is no public key: 64 hex digits")
    return bytes.fromhex(text)


@parser
def parse_key_weight(text: str) -> KeyWeight:
    """Return a list key with another weight."""
    key, _, weight = text.partition("=")
    return KeyWeight(parse_key(key), _parse_weight(weight))


@parser
def parse_holder(text: str) -> Path | bytes:
    """Return the key file of a producer or of who may recover, or the public key, 64 hex digits."""
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
