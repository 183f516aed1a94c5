"""Addresses: which are taken, and how they come out; which are refused, and why."""

import pytest

from registry.oxenmq.addresses import BadAddress, Place, Scheme, is_loopback, parse_place

GOOD = {
    "ipc:///run/waypost/omq": Place(Scheme.IPC, "/run/waypost/omq", 0),
    "tcp://127.0.0.1:22026": Place(Scheme.TCP, "127.0.0.1", 22026),
    "curve://127.0.0.1:0": Place(Scheme.CURVE, "127.0.0.1", 0),
    "curve://[::1]:65535": Place(Scheme.CURVE, "::1", 65535),
}

BAD = {
    "ipc://relative": "write ipc:///path",
    "ipc:///" + "a" * 100: "at most 100 bytes",
    "tcp://localhost:22026": "write",
    "tcp://*:22026": "write",
    "tcp://127.0.0.1": "write",
    "tcp://127.0.0.1:22026/key": "write",
    "tcp://127.0.0.1:22026\n": "write",
    "tcp://127.0.0.256:22026": "127.0.0.256 is no IP address",
    "tcp://[127.0.0.1]:22026": "127.0.0.1 is no IP address",
    "tcp://[::1::]:22026": "no IP address",
    "tcp://192.0.2.1:22026": "others than this machine reach it",
    "tcp://0.0.0.0:22026": "others than this machine reach it",
    "curve://192.0.2.1:22026": "others than this machine reach it",
    "curve://[2001:db8::1]:22026": "others than this machine reach it",
    "tcp://127.0.0.1:65536": "a port is at most 65535",
    "http://127.0.0.1:22026": "write",
    "": "write",
}


@pytest.mark.parametrize("address", GOOD)
def test_what_is_taken(address: str) -> None:
    assert parse_place(address) == GOOD[address]
    assert str(GOOD[address]) == address


@pytest.mark.parametrize("address", BAD)
def test_what_is_refused(address: str) -> None:
    with pytest.raises(BadAddress) as refused:
        parse_place(address)
    assert BAD[address] in str(refused.value)
    assert str(refused.value).startswith(f"{address}: ")


def test_what_is_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1")))
    elsewhere = ("192.0.2.1", "0.0.0.0", "2001:db8::1", "::ffff:192.0.2.1", "localhost", "")
    assert not any(map(is_loopback, elsewhere))
