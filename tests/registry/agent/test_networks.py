"""Which addresses are probed: the settings say, and no service, node or list can."""

from ipaddress import ip_address, ip_network

import pytest

from registry.agent.networks import Networks
from tests.factory import make_contact

PUBLIC = Networks()
DEVNET = Networks([ip_network("127.0.0.0/8")])
OWN = Networks([ip_network("10.1.0.0/16"), ip_network("fd00::/8")])


@pytest.mark.parametrize(
    ("networks", "address", "may"),
    [
        (PUBLIC, "5.6.7.8", True),
        (PUBLIC, "2a00::1", True),
        (PUBLIC, "127.0.0.1", False),
        (PUBLIC, "10.1.2.3", False),
        (PUBLIC, "192.168.1.1", False),
        (PUBLIC, "169.254.169.254", False),
        (PUBLIC, "224.0.0.1", False),
        (PUBLIC, "255.255.255.255", False),
        (PUBLIC, "0.0.0.0", False),
        (PUBLIC, "::1", False),
        (PUBLIC, "::ffff:5.6.7.8", False),
        (PUBLIC, "fe80::1", False),
        (PUBLIC, "64:ff9b::5.6.7.8", False),
        (DEVNET, "127.255.0.1", True),
        (DEVNET, "128.0.0.1", False),
        (DEVNET, "5.6.7.8", False),
        (DEVNET, "::1", False),
        (DEVNET, "::ffff:127.0.0.1", False),
        (OWN, "10.1.255.255", True),
        (OWN, "10.2.0.0", False),
        (OWN, "fd00::1", True),
        (OWN, "2a00::1", False),
    ],
)
def test_an_address_may_be_probed_or_not(networks: Networks, address: str, may: bool) -> None:
    assert (networks.find_reason(ip_address(address).packed) == "") is may


def test_of_a_node_those_addresses_are_left_that_may_be_probed() -> None:
    inside, outside = ip_address("127.1.2.3").packed, ip_address("2a00::1").packed
    contact = make_contact(ipv4=inside, ipv6=outside)
    assert DEVNET.select(contact) == [inside]
    assert PUBLIC.select(contact) == [outside]
    assert OWN.select(contact) == []
    assert PUBLIC.select(make_contact(ipv4=b"", ipv6=outside)) == [outside]
