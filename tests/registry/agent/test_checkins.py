"""Check-ins: signed by the node, to every service, with what the agent sees of its own node."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

import pytest

from ledger.crypto import sha256, verify
from ledger.messages.checkins import SIGNED_CHECK_IN, check_in_signed
from ledger.messages.contact import Version
from registry.agent.checkins import PING_SILENCE_S, Pings, check_in
from registry.client.services import Services
from tests.factory import keys
from tests.registry.factory import in_loop
from tests.registry.small_service import problem, running, said

NETWORK: Final = sha256(b"a genesis file")
NODE: Final = keys("node")
AGENT: Final = Version(1, 2, 3)
PATH: Final = "POST /v1/checkins"


@pytest.fixture
def make() -> Iterator[Any]:
    """Start services until the test ends."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(running())


@in_loop
async def test_every_service_gets_the_same_signed_check_in(make: Any) -> None:
    one, two, three = make(), make(), make()
    one.answers[PATH] = said({})
    two.answers[PATH] = problem("unknown_node")
    three.answers[PATH] = said({})
    services = Services([one.url, two.url, three.url])
    before_ms = time.time_ns() // 1_000_000
    checked = await check_in(services, NETWORK, NODE, AGENT, ["clock", "wrong address", "clock"])
    await services.close()
    assert checked.faults == ["wrong address", "clock"]
    assert checked.services == {one.url: "taken", two.url: "about unknown_node", three.url: "taken"}
    assert checked.was_taken
    (asked,) = one.asked
    assert two.asked[0].body == three.asked[0].body == asked.body
    sent = SIGNED_CHECK_IN.decode(bytes.fromhex(asked.json["check_in"]))
    assert verify(check_in_signed(NETWORK, sent))
    assert sent.check_in.node == NODE.public
    assert before_ms <= sent.check_in.time_ms == checked.at_ms <= time.time_ns() // 1_000_000
    assert sent.check_in.version == AGENT
    assert sent.check_in.faults == 8 + 16


@in_loop
async def test_where_no_service_takes_it_that_is_known(make: Any) -> None:
    service = make()
    services = Services([service.url])
    checked = await check_in(services, NETWORK, NODE, AGENT, [])
    await services.close()
    assert not checked.was_taken
    assert checked.faults == []


def test_a_storage_server_is_silent_after_five_minutes() -> None:
    now = [0.0]
    pings = Pings(lambda: now[0])

    def silent_after(seconds: float) -> bool:
        now[0] += seconds
        return pings.is_silent

    assert not silent_after(PING_SILENCE_S)
    assert silent_after(1)
    pings.note()
    assert not silent_after(PING_SILENCE_S)
    assert pings.count == 1
    assert silent_after(1)
