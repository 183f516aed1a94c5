"""The `session-binary` file: 51 bytes a node, and what a reader refuses."""

import pytest

from ledger.errors import Refusal
from ledger.messages.contact import Version
from registry.formats.session import NO_ADDRESS, NO_SWARM
from registry.formats.session_binary import (
    ENTRY_BYTES,
    MAX_SESSION_BINARY_BYTES,
    BinaryNode,
    decode_session_binary,
    encode_session_binary,
)
from tests.registry.session_network import make_key, make_session_node

NUMBERS = sorted(range(1, 6), key=make_key)
ROWS = [make_session_node(number) for number in NUMBERS]
DATA = encode_session_binary(ROWS)


def with_bytes(at: int, new: bytes) -> bytes:
    """The file with other bytes in its second entry."""
    start = ENTRY_BYTES + at
    return DATA[:start] + new + DATA[start + len(new) :]


def test_the_bytes_are_these() -> None:
    node = make_session_node(
        1,
        swarm_id=0x0102030405060708,
        public_ip="127.1.2.3",
        storage_port=0x1122,
        storage_lmq_port=0x3344,
        storage_server_version=(2, 11, 3),
        service_node_version=(11, 6, 0),
    )
    data = encode_session_binary([node])
    assert len(data) == ENTRY_BYTES == 51
    assert data == make_key(1) + bytes.fromhex("0102030405060708 7f010203 1122 3344 020b03")


def test_what_is_written_is_read() -> None:
    assert decode_session_binary(DATA) == tuple(
        BinaryNode(
            make_key(number), 2**63, bytes([127, 0, 0, number]), 22021, 22020, Version(2, 11, 0)
        )
        for number in NUMBERS
    )
    assert encode_session_binary([]) == b""
    assert decode_session_binary(b"") == ()


def test_a_part_of_a_version_that_needs_more_than_a_byte_is_capped() -> None:
    [node] = decode_session_binary(
        encode_session_binary([make_session_node(storage_server_version=(255, 256, 65_535))])
    )
    assert node.storage_version == Version(255, 255, 255)


def test_nodes_without_ipv4_are_left_out() -> None:
    data = encode_session_binary([make_session_node(1, public_ip=NO_ADDRESS), *ROWS])
    assert data == DATA


REFUSED: dict[str, tuple[bytes, str]] = {
    "a byte too few": (DATA[:-1], "254 bytes are no multiple of 51"),
    "a byte too many": (DATA + b"\0", "256 bytes are no multiple of 51"),
    "a key that is none": (with_bytes(0, bytes(32)), "it is not a usable Ed25519 key"),
    "a key twice": (with_bytes(0, make_key(NUMBERS[0])), "the keys do not ascend"),
    "no order": (with_bytes(0, make_key(NUMBERS[4])), "the keys do not ascend"),
    "no swarm": (with_bytes(32, NO_SWARM.to_bytes(8, "big")), "it has no swarm"),
    "no address": (with_bytes(40, bytes(4)), "it has no address or no port"),
    "no HTTPS port": (with_bytes(44, bytes(2)), "it has no address or no port"),
    "no QUIC port": (with_bytes(46, bytes(2)), "it has no address or no port"),
}


@pytest.mark.parametrize(("data", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(data: bytes, why: str) -> None:
    with pytest.raises(Refusal) as caught:
        decode_session_binary(data)
    assert caught.value.code == "bad_list"
    assert str(caught.value.values["why"]).endswith(why)


def test_a_refusal_names_the_entry() -> None:
    with pytest.raises(
        Refusal, match=rf"entry 1 \({make_key(NUMBERS[1]).hex()}\): it has no swarm"
    ):
        decode_session_binary(with_bytes(32, b"\xff" * 8))
    # the order is wrong from the third on, since the second stands where the last one belongs
    with pytest.raises(Refusal, match=rf"entry 2 \({make_key(NUMBERS[2]).hex()}\)"):
        decode_session_binary(with_bytes(0, make_key(NUMBERS[4])))


def test_the_size_is_bounded() -> None:
    with pytest.raises(Refusal) as caught:
        decode_session_binary(bytes(MAX_SESSION_BINARY_BYTES + ENTRY_BYTES))
    assert caught.value.code == "too_large"
