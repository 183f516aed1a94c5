"""What contact data has to say. Which addresses are refused stands in refusals/contact.py, which
address lies in which range in test_plain_rules.py; here is what passes, and what is said first.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import Refusal
from ledger.messages.contact import Contact, Version
from ledger.params import preset
from ledger.rules.contacts import check_contact
from tests.factory import make_contact
from tests.ledger.refusals.contact import packed

PARAMS = preset("mainnet")
NONE = Version(0, 0, 0)
PORTS = st.integers(1, 65_535)
VERSIONS = st.tuples(*[st.integers(0, 65_535)] * 3).filter(any).map(lambda row: Version(*row))


def refused(contact: Contact, **params: int) -> dict[str, Any]:
    """The code and the values with which contact data is refused; none if it is not."""
    try:
        check_contact(contact, PARAMS._replace(**params))
    except Refusal as refusal:
        return {"code": refusal.code} | dict(refusal.values)
    return {}


GOOD: dict[str, dict[str, Any]] = {
    "IPv4 alone": {},
    "IPv6 alone": {"ipv4": b"", "ipv6": packed("2620::1")},
    "both": {"ipv6": packed("2a02::1")},
    "lowest and highest port": {"storage_port": 1, "router_port": 65_535},
    "one port for both": {"storage_port": 7, "router_port": 7},
    "least versions": {"storage_version": Version(0, 0, 1), "router_version": Version(0, 1, 0)},
}


@pytest.mark.parametrize("name", GOOD)
def test_good_contact_data(name: str) -> None:
    assert refused(make_contact(**GOOD[name])) == {}


BAD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no address": (
        {"ipv4": b""},
        {"code": "bad_address", "address": "none", "why": "one of IPv4 and IPv6 is needed"},
    ),
    "IPv4 of three bytes": (
        {"ipv4": b"\x05\x06\x07"},
        {"code": "bad_address", "address": "05:0607", "why": "not 4 bytes"},
    ),
    "IPv4 address in the place of IPv6": (
        {"ipv6": b"\x05\x06\x07\x08"},
        {"code": "bad_address", "address": "5.6.7.8", "why": "not 16 bytes"},
    ),
    "IPv4 that others cannot reach": (
        {"ipv4": packed("10.1.2.3")},
        {"code": "bad_address", "address": "10.1.2.3", "why": "private"},
    ),
    "good IPv4 beside such an IPv6": (
        {"ipv6": packed("fe80::1")},
        {
            "code": "bad_address",
            "address": "fe80:0000:0000:0000:0000:0000:0000:0001",
            "why": "link-local",
        },
    ),
    "storage port": ({"storage_port": 0}, {"code": "bad_port", "port": 0}),
    "router port": ({"router_port": 0}, {"code": "bad_port", "port": 0}),
    "storage version": ({"storage_version": NONE}, {"code": "bad_version"}),
    "router version": ({"router_version": NONE}, {"code": "bad_version"}),
    # addresses before ports before versions
    "address and port": (
        {"ipv4": packed("10.1.2.3"), "router_port": 0},
        {"code": "bad_address", "address": "10.1.2.3", "why": "private"},
    ),
    "port and version": (
        {"storage_port": 0, "router_version": NONE},
        {"code": "bad_port", "port": 0},
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_contact_data(name: str) -> None:
    changes, expected = BAD[name]
    assert refused(make_contact(**changes)) == expected


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_loopback_is_for_networks_that_allow_it(address: str) -> None:
    raw = packed(address)
    contact = make_contact(ipv4=raw) if len(raw) == 4 else make_contact(ipv4=b"", ipv6=raw)
    assert refused(contact, allow_loopback=1) == {}
    assert refused(contact, allow_loopback=0)["why"] == "loopback"


@given(PORTS, PORTS, VERSIONS, VERSIONS)
def test_any_port_and_version_but_none(
    storage_port: int, router_port: int, storage: Version, router: Version
) -> None:
    contact = make_contact(
        storage_port=storage_port,
        router_port=router_port,
        storage_version=storage,
        router_version=router,
    )
    assert refused(contact) == {}
