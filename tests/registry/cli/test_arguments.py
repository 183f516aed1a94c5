"""What people write on the command line: what is read, and what is said of the rest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from ledger.messages.state import NODE_STATES
from ledger.params import PRESETS
from ledger.types import COIN
from registry.addresses import encode_account, encode_node
from registry.cli import arguments
from registry.cli.arguments import (
    KeyWeight,
    NewSeat,
    ProgramVersion,
    ProvenSeat,
    PublicSeat,
    Seat,
    Setting,
    Share,
)
from registry.cli.histories import DATABASE
from registry.cli.init import CONFIG
from registry.cli.listing import State
from registry.settings import CONFIG as READ_CONFIG
from registry.settings import Settings

KEY = bytes(range(32))
ACCOUNT = encode_account(KEY)
NODE = encode_node(KEY)
PROOF = bytes(range(64))
PUBLIC = f"{KEY.hex()}:{KEY[::-1].hex()}"

READ: dict[str, tuple[Callable[[str], Any], str, object]] = {
    "account": (arguments.parse_account, ACCOUNT, KEY),
    "account as hex": (arguments.parse_account, KEY.hex(), KEY),
    "node": (arguments.parse_node, NODE, KEY),
    "share": (arguments.parse_share, f"{ACCOUNT}=2.5", Share(KEY, 5 * COIN // 2)),
    "share in units": (arguments.parse_share, f"{ACCOUNT}=7u", Share(KEY, 7)),
    "seat": (arguments.parse_seat, "a/b.json", Seat(Path("a/b.json"), 1)),
    "seat with a weight": (arguments.parse_seat, "b.json:3", Seat(Path("b.json"), 3)),
    "seat of a file with a colon": (arguments.parse_seat, "C:x", Seat(Path("C:x"), 1)),
    "seat in public": (arguments.parse_seat, PUBLIC, Seat(PublicSeat(KEY, KEY[::-1]), 1)),
    "seat in public with a weight": (
        arguments.parse_seat,
        f"{PUBLIC}:12",
        Seat(PublicSeat(KEY, KEY[::-1]), 12),
    ),
    "seat of a validator": (
        arguments.parse_seat,
        f"{PUBLIC}:{KEY.hex()}",
        Seat(PublicSeat(KEY, KEY[::-1], KEY), 1),
    ),
    "seat of a validator with weight and node": (
        arguments.parse_seat,
        f"{PUBLIC}:{KEY.hex()}:3@{NODE}",
        Seat(PublicSeat(KEY, KEY[::-1], KEY), 3, KEY),
    ),
    "seat of a file with a node": (arguments.parse_seat, f"a@b@{NODE}", Seat(Path("a@b"), 1, KEY)),
    "seat of a file with an at": (arguments.parse_seat, "a@b", Seat(Path("a@b"), 1)),
    "seat of a file that is named like half of one": (
        arguments.parse_seat,
        KEY.hex(),
        Seat(Path(KEY.hex()), 1),
    ),
    "new seat": (arguments.parse_new_seat, "b.json:3", NewSeat(Path("b.json"), 3)),
    "new seat with its proof": (
        arguments.parse_new_seat,
        f"{PUBLIC}:{PROOF.hex()}:4",
        NewSeat(ProvenSeat(KEY, KEY[::-1], PROOF), 4),
    ),
    "key": (arguments.parse_key, KEY.hex(), KEY),
    "key with a weight": (arguments.parse_key_weight, f"{KEY.hex()}=9", KeyWeight(KEY, 9)),
    "producer": (arguments.parse_holder, "p.json", Path("p.json")),
    "producer in public": (arguments.parse_holder, KEY.hex(), KEY),
    "setting": (arguments.parse_setting, "epoch_ms=20000", Setting("epoch_ms", 20_000)),
    "name": (arguments.parse_network_name, "my-net-2", "my-net-2"),
    "version": (arguments.parse_version, "2.11.0", ProgramVersion(2, 11, 0)),
    "IPv4": (arguments.parse_ipv4, "5.6.7.8", bytes((5, 6, 7, 8))),
    "no IPv4": (arguments.parse_ipv4, "none", b""),
    "IPv6": (arguments.parse_ipv6, "2001::1", bytes.fromhex("2001" + 26 * "0" + "01")),
    "no IPv6": (arguments.parse_ipv6, "none", b""),
}

REFUSED: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "a node for an account": (arguments.parse_account, NODE, "address of a node"),
    "an account for a node": (arguments.parse_node, ACCOUNT, "address of an account"),
    "a slip": (arguments.parse_account, ACCOUNT[:-1] + "q", "checksum"),
    "share without an amount": (arguments.parse_share, ACCOUNT, "ADDRESS=AMOUNT"),
    "share of nobody": (arguments.parse_share, "=5", "no address"),
    "share of nothing readable": (arguments.parse_share, f"{ACCOUNT}=x", "no amount"),
    "weight of zero": (arguments.parse_seat, "a:0", "no weight"),
    "weight beyond all": (arguments.parse_seat, f"a:{2**32}", "no weight"),
    "seat with a node that is none": (arguments.parse_seat, f"a@{NODE[:-1]}q", "checksum"),
    "new seat without its proof": (arguments.parse_new_seat, PUBLIC, "needs a proof"),
    "new seat with a consensus key for its proof": (
        arguments.parse_new_seat,
        f"{PUBLIC}:{KEY.hex()}",
        "needs a proof",
    ),
    "key that is too short": (arguments.parse_key, KEY.hex()[1:], "no public key"),
    "key without a weight": (arguments.parse_key_weight, KEY.hex(), "no weight"),
    "key with a weight beyond all": (
        arguments.parse_key_weight,
        f"{KEY.hex()}={2**32}",
        "no weight",
    ),
    "unknown parameter": (arguments.parse_setting, "speed=5", "no parameter 'speed'"),
    "parameter without a value": (arguments.parse_setting, "epoch_ms", "an integer"),
    "parameter with a unit": (arguments.parse_setting, "epoch_ms=20s", "an integer"),
    "negative parameter": (arguments.parse_setting, "epoch_ms=-1", "an integer"),
    "no name": (arguments.parse_network_name, "", "no name"),
    "name with capitals": (arguments.parse_network_name, "Net", "no name"),
    "long name": (arguments.parse_network_name, "a" * 41, "no name"),
    "short version": (arguments.parse_version, "2.11", "no version"),
    "version beyond all": (arguments.parse_version, "2.256.0", "no version"),
    "version in words": (arguments.parse_version, "v2.11.0", "no version"),
    "IPv4 with a part too many": (arguments.parse_ipv4, "1.2.3.4.5", "1.2.3.4.5"),
    "IPv6 for IPv4": (arguments.parse_ipv4, "2001::1", "2001::1"),
    "IPv6 with a zone": (arguments.parse_ipv6, "fe80::1%eth0", "own link"),
}


@pytest.mark.parametrize(("parse", "text", "value"), READ.values(), ids=READ.keys())
def test_read(parse: Callable[[str], Any], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(("parse", "text", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(parse: Callable[[str], Any], text: str, says: str) -> None:
    with pytest.raises(typer.BadParameter, match=says):
        parse(text)


def test_names_are_those_of_the_ledger_and_of_the_settings() -> None:
    assert get_args(arguments.Preset) == PRESETS
    assert get_args(State) == tuple(NODE_STATES.values())
    assert CONFIG == READ_CONFIG
    assert Settings(home=Path("/h")).database_path == Path("/h") / DATABASE
