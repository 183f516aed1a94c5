"""What was made by protoc is what the file beside it says; nobody needs protoc to see that."""

import re
from pathlib import Path
from typing import Any

import pytest

from registry.engines import comet
from registry.engines.comet import abci_pb2 as abci

SOURCE = Path(comet.__file__).with_name("abci.proto")
FIELD = re.compile(r"(?P<many>repeated )?(?P<type>\w+) (?P<name>\w+) = (?P<number>\d+);")
VALUE = re.compile(r"(?P<name>[A-Z_]+) = (?P<number>\d+);")
SCALARS = {3: "int64", 4: "uint64", 5: "int32", 8: "bool", 9: "string", 12: "bytes", 13: "uint32"}
"""Names of the types that are no message or enumeration, by protobuf's numbers."""

MESSAGE, ENUM = 11, 14


def parse(text: str) -> dict[str, Any]:
    """Every message and enumeration of a .proto file, by its full name."""
    found: dict[str, Any] = {}
    stack: list[tuple[str, str]] = []
    for raw in text.splitlines():
        line = raw.partition("//")[0].strip()
        names = [name for kind, name in stack if kind != "oneof"]
        if opened := re.fullmatch(r"(message|enum|oneof) (\w+) \{(\})?", line):
            if opened[1] != "oneof":
                found[".".join([*names, opened[2]])] = {}
            if not opened[3]:
                stack.append((opened[1], opened[2]))
        elif line == "}":
            stack.pop()
        elif stack and (field := FIELD.fullmatch(line)):
            oneof = stack[-1][1] if stack[-1][0] == "oneof" else None
            row = (field["number"], field["type"], bool(field["many"]), oneof)
            found[".".join(names)][field["name"]] = (int(row[0]), *row[1:])
        elif stack and (value := VALUE.fullmatch(line)):
            found[".".join(names)][value["name"]] = int(value["number"])
        else:
            assert not line or line.startswith(("syntax", "package")), line
    assert not stack
    return found


def type_of(field: Any) -> str:
    if field.type == MESSAGE:
        return str(field.message_type.name)
    return str(field.enum_type.name) if field.type == ENUM else SCALARS[field.type]


def describe() -> dict[str, Any]:
    """The same of what protoc made."""
    found: dict[str, Any] = {}

    def add_enum(enum: Any, prefix: str) -> None:
        found[prefix + enum.name] = {row.name: row.number for row in enum.values}

    def add(message: Any, prefix: str) -> None:
        found[prefix + message.name] = {
            field.name: (
                field.number,
                type_of(field),
                field.is_repeated,
                None if field.containing_oneof is None else field.containing_oneof.name,
            )
            for field in message.fields
        }
        for enum in message.enum_types:
            add_enum(enum, f"{prefix}{message.name}.")
        for nested in message.nested_types:
            add(nested, f"{prefix}{message.name}.")

    for message in abci.DESCRIPTOR.message_types_by_name.values():
        add(message, "")
    for enum in abci.DESCRIPTOR.enum_types_by_name.values():
        add_enum(enum, "")
    return found


def test_made_from_the_file_beside_it() -> None:
    assert describe() == parse(SOURCE.read_text())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("bytes app_hash = 5;", "bytes app_hash = 6;"),
        ("repeated bytes txs = 1;", "bytes txs = 1;"),
        ("int64 retain_height = 3;", "uint64 retain_height = 3;"),
        ("REJECT_SENDER = 5;", "REJECT_SENDER = 6;"),
        ("    RequestCommit commit = 11;\n", ""),
    ],
)
def test_a_difference_is_seen(old: str, new: str) -> None:
    text = SOURCE.read_text()
    assert old in text
    assert describe() != parse(text.replace(old, new))


def test_on_the_wire() -> None:
    """Bytes that CometBFT's own definitions give of the same values."""
    request = abci.Request()
    request.ParseFromString(
        bytes.fromhex(
            "a201290a01aa120912070a030a010318021a09080112030a01041806280732080880e2cfaa06100542020102"
        )
    )
    block = request.finalize_block
    assert (list(block.txs), block.height, block.proposer_address) == ([b"\xaa"], 7, b"\1\2")
    assert (block.time.seconds, block.time.nanos) == (1_700_000_000, 5)
    (piece,) = block.misbehavior
    assert (piece.type, piece.validator.address, piece.height) == (1, b"\4", 6)
    answer = abci.ResponseFinalizeBlock(
        tx_results=[abci.ExecTxResult(code=12, log="l")],
        validator_updates=[abci.ValidatorUpdate(pub_key=abci.PublicKey(ed25519=b"\5"), power=0)],
        app_hash=b"\6",
    )
    raw = abci.Response(finalize_block=answer).SerializeToString()
    assert raw == bytes.fromhex("aa01111205080c1a016c1a050a030a01052a0106")
