"""Every probe over real sockets: what is wrong is found, and nothing else is."""

import asyncio
import errno
import os
from typing import Any, Final

import pytest

from ledger.messages.contact import Version
from ledger.messages.duty import FAULTS
from registry.agent import challenge, probes
from registry.agent.probes import (
    CLOCK_TOLERANCE_MS,
    CONNECTS,
    LOCAL,
    MAX_HEAD_BYTES,
    PROBES,
    Looked,
    compute_faults,
    look,
)
from tests.factory import keys
from tests.registry.agent.stand_in import PROBER, StandIn, standing_in
from tests.registry.factory import in_loop

SOON: Final = PROBER._replace(wait_s=0.4)
"""For what never comes."""

ALL: Final = {probe.name for probe in PROBES}


def found(looked: Looked | None) -> dict[str, str]:
    """The fault that each probe found."""
    assert looked is not None
    return {finding.probe: finding.fault for finding in looked.findings}


def test_every_fault_is_one_of_the_ledgers() -> None:
    assert {probe.fault for probe in PROBES} == set(FAULTS.values())
    assert len(ALL) == len(PROBES)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@in_loop
async def test_a_good_node_has_no_fault(host: str) -> None:
    async with standing_in(host=host) as node:
        looked = await look(PROBER, node.target, node.address)
    assert looked == Looked(6 if ":" in host else 4, (), True, True)
    assert compute_faults(looked.findings) == 0
    (head,) = node.pings
    assert head.startswith(b"POST /ping_test/v1 HTTP/1.1\r\n")
    named = f"[{host}]" if ":" in host else host
    assert f"Host: {named}:{node.contact.storage_port}\r\n".encode() in head


BROKEN: Final[dict[str, tuple[dict[str, Any], dict[str, str], int]]] = {
    "it answers no challenge": (
        {"duty": None},
        {"challenge": "wrong address"},
        8,
    ),
    "somebody else answers its challenges": (
        {"duty": keys("mallory")},
        {"challenge": "wrong address"},
        8,
    ),
    "its clock is ahead": (
        {"clock_ms": CLOCK_TOLERANCE_MS + 60_000},
        {"clock": "clock"},
        16,
    ),
    "its clock is behind": (
        {"clock_ms": -CLOCK_TOLERANCE_MS - 60_000},
        {"clock": "clock"},
        16,
    ),
    "nobody listens on the storage port": (
        {"has_storage": False},
        {"storage TCP": "storage port"},
        1,
    ),
    "no TLS on the storage port": (
        {"tls": None},
        {"storage HTTPS": "storage port"},
        1,
    ),
    "the storage server is broken": (
        {"answer": b"HTTP/1.1 500 Internal Server Error\r\n\r\n"},
        {"storage ping": "storage failure"},
        32,
    ),
    "the storage server knows no ping": (
        {"answer": b"HTTP/1.1 404 Not Found\r\n\r\n"},
        {"storage ping": "storage failure"},
        32,
    ),
    "what answers is no storage server": (
        {"answer": b"SSH-2.0-OpenSSH_9.6\r\n"},
        {"storage ping": "storage failure"},
        32,
    ),
    "it hangs up": (
        {"answer": b""},
        {"storage ping": "storage failure"},
        32,
    ),
    "it never comes to the end of a line": (
        {"answer": b"HTTP/1.1 200" + b" " * (4 * MAX_HEAD_BYTES)},
        {"storage ping": "storage failure"},
        32,
    ),
    "the storage server says nothing": (
        {"answer": None},
        {"storage ping": "storage failure"},
        32,
    ),
    "nobody listens on the router port": (
        {"has_router": False},
        {"router TCP": "router port"},
        2,
    ),
    "everything at once": (
        {"duty": None, "has_storage": False, "has_router": False},
        {"challenge": "wrong address", "storage TCP": "storage port", "router TCP": "router port"},
        11,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
@in_loop
async def test_what_is_wrong_is_found_and_nothing_else(name: str) -> None:
    changes, faults, bits = BROKEN[name]
    async with standing_in(**changes) as node:
        waits = {"duty", "tls"} & changes.keys() or node.answer is None
        prober = SOON if waits else PROBER
        looked = await look(prober, node.target, node.address)
    assert found(looked) == faults
    assert looked is not None
    assert compute_faults(looked.findings) == bits
    assert looked.was_heard is ("challenge" not in faults)
    assert looked.was_reached is not (faults.keys() >= CONNECTS)
    assert all(finding.why for finding in looked.findings)


@pytest.mark.parametrize("clock_ms", [CLOCK_TOLERANCE_MS - 60_000, 60_000 - CLOCK_TOLERANCE_MS])
@in_loop
async def test_a_clock_may_be_off_a_little(clock_ms: int) -> None:
    async with standing_in(clock_ms=clock_ms) as node:
        assert found(await look(PROBER, node.target, node.address)) == {}


@pytest.mark.parametrize(
    ("storage", "router", "outdated"),
    [
        (Version(2, 11, 0), Version(11, 6, 0), False),
        (Version(2, 10, 255), Version(11, 5, 9), False),
        (Version(2, 11, 1), Version(11, 6, 0), True),
        (Version(2, 11, 0), Version(11, 6, 1), True),
        (Version(3, 0, 0), Version(0, 0, 0), True),
    ],
)
@in_loop
async def test_a_version_below_the_required_one_is_outdated(
    storage: Version, router: Version, outdated: bool
) -> None:
    prober = PROBER._replace(required_storage=storage, required_router=router)
    async with standing_in() as node:
        looked = await look(prober, node.target, node.address)
    assert found(looked) == ({"version": "outdated version"} if outdated else {})


@in_loop
async def test_a_node_on_another_address_than_committed_is_not_found() -> None:
    async with standing_in() as node:
        elsewhere = bytes((127, 0, 0, 77))
        looked = await look(SOON, node.target, elsewhere)
    assert found(looked) == {
        "challenge": "wrong address",
        "storage TCP": "storage port",
        "router TCP": "router port",
    }


@in_loop
async def test_without_a_way_there_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def cut_off(*_: Any) -> None:
        raise challenge.Unroutable("no way")

    monkeypatch.setattr(probes, "ask", cut_off)
    async with standing_in() as node:
        assert await look(PROBER, node.target, node.address) is None


@pytest.mark.parametrize("port", ["storage_port", "router_port"])
@pytest.mark.parametrize("number", sorted(LOCAL), ids=errno.errorcode.get)
@in_loop
async def test_what_this_machine_lacks_is_no_fault_of_a_node(
    port: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = asyncio.open_connection

    async def fail(host: str, at: int, **options: Any) -> Any:
        if at == getattr(node.contact, port):
            raise OSError(number, os.strerror(number))
        return await real(host, at, **options)

    monkeypatch.setattr(asyncio, "open_connection", fail)
    async with standing_in() as node:
        assert await look(PROBER, node.target, node.address) is None


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES])
@in_loop
async def test_what_a_node_can_bring_about_itself_is_a_fault(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall that rejects connections by ICMP must not keep a node from failing."""

    async def reject(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(asyncio, "open_connection", reject)
    async with standing_in() as node:
        looked = await look(PROBER, node.target, node.address)
    assert found(looked) == {"storage TCP": "storage port", "router TCP": "router port"}


@in_loop
async def test_a_port_that_takes_connections_and_no_more_has_its_time() -> None:
    """A TCP port that never says anything: no TLS there, and nobody waits for ever."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    node = StandIn()
    node.contact = node.contact.__class__(
        bytes((127, 0, 0, 1)), b"", port, port, Version(1, 0, 0), Version(1, 0, 0)
    )
    looked = await look(SOON, node.target, node.address)
    assert found(looked) == {"challenge": "wrong address", "storage HTTPS": "storage port"}
    server.close()
