"""The gauges show the facts of the last round, one series for each node."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ledger.messages.state import NODE_STATES
from ledger.params import HOUR
from registry.sockets import CannotListen
from registry.warnings import metrics
from registry.warnings.facts import Failed
from registry.warnings.metrics import MAX_CONNECTIONS, Gauges, serve
from registry.warnings.outbox import Standing
from registry.warnings.table import NEWS, WARNINGS, Scope
from tests.registry.factory import in_loop
from tests.registry.warnings.factory import (
    EPOCH,
    FIRST,
    HEIGHT,
    NODE,
    NOW_MS,
    PARAMS,
    SECOND,
    World,
    make_header,
    make_removal,
)

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(gauges: Gauges) -> Series:
    """Every series that a scrape shows, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(gauges.render().decode())
        for sample in family.samples
    }


def shown(world: World) -> Series:
    """What a round of a world shows."""
    gauges = Gauges()
    gauges.watch(lambda: {"mail": Standing(3, 2, "no")})
    gauges.show(world.look())
    return read(gauges)


def of_node(name: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The series of a gauge of the node."""
    return f"waypost_node_{name}", (("node", NODE),)


def test_before_the_first_round_there_is_nothing_to_show() -> None:
    assert read(Gauges()) == {}


def test_a_node_is_shown_by_numbers() -> None:
    world = World()
    world.node(
        state="decommissioned",
        removal=make_removal("deregistration", 5, 8, 3 * HOUR),
        penalties_taken="1500000000",
        payout_ms=NOW_MS + HOUR,
    )
    series = shown(world)
    assert {name: series[of_node(name)] for name in NODE_VALUES} == NODE_VALUES
    states = {
        dict(labels)["state"]: value
        for (name, labels), value in series.items()
        if name == "waypost_node_state"
    }
    assert states == dict.fromkeys([*NODE_STATES.values(), "unregistered"], 0.0) | {
        "decommissioned": 1.0
    }
    assert series["waypost_warn_round_timestamp_seconds", ()] == NOW_MS / 1000


NODE_VALUES: Final = {
    "credit_seconds": 7_200.0,
    "failing_epochs": 3.0,
    "failing_epochs_left": 5.0,
    "removal_seconds": 10_800.0,
    "check_in_age_seconds": 60.0,
    "claimable_coins": 7.0,
    "penalties_coins": 1.5,
    "payout_timestamp_seconds": (NOW_MS + HOUR) / 1000,
}


def test_what_is_not_known_is_left_out() -> None:
    world = World()
    world.node(credit_ms=None, removal=None, checked_in_ms=None)
    series = shown(world)
    for name in ("credit_seconds", "failing_epochs", "removal_seconds", "check_in_age_seconds"):
        assert of_node(name) not in series
    world.lose_node()
    series = shown(world)
    assert of_node("claimable_coins") not in series
    assert series["waypost_node_state", (("node", NODE), ("state", "unregistered"))] == 1.0


def test_every_warning_has_a_series_whether_it_is_due_or_not() -> None:
    world = World()
    world.node(penalties_taken="1")
    world.network(latest_final=make_header(EPOCH - 3))
    series = shown(world)
    due = {key: value for key, value in series.items() if key[0].endswith("_warning")}
    assert {dict(labels)["warning"] for _, labels in due} == {
        row.name for row in WARNINGS if row.name not in NEWS
    }
    assert {name for name, _ in due} == {f"waypost_{scope}_warning" for scope in Scope}
    assert [key for key, value in sorted(due.items()) if value] == [
        ("waypost_network_warning", (("warning", "list_not_final"),)),
        ("waypost_node_warning", (("node", NODE), ("warning", "slashed"))),
    ]


def test_services_lists_and_channels_are_shown() -> None:
    world = World(service=(FIRST, SECOND))
    world.answers[SECOND] = Failed("no")
    series = shown(world)
    first, second = (("service", FIRST),), (("service", SECOND),)
    assert series["waypost_service_up", first] == 1.0
    assert series["waypost_service_up", second] == 0.0
    assert series["waypost_service_height", first] == HEIGHT
    assert ("waypost_service_height", second) not in series
    assert series["waypost_service_block_age_seconds", first] == 5.0
    assert series["waypost_warn_list_age_seconds", ()] == (PARAMS.epoch_ms + 600_000) / 1000
    left_ms = PARAMS.fresh_ms - PARAMS.epoch_ms - 600_000
    assert series["waypost_warn_list_fresh_seconds", ()] == left_ms / 1000
    assert series["waypost_warn_messages_waiting", (("channel", "mail"),)] == 3.0
    assert series["waypost_warn_send_failures", (("channel", "mail"),)] == 2.0


def test_a_node_that_is_not_watched_any_more_has_no_series() -> None:
    world = World()
    gauges = Gauges()
    gauges.show(world.look())
    assert of_node("claimable_coins") in read(gauges)
    world.answers[FIRST] = Failed("no")
    gauges.show(world.look())
    assert not [key for key in read(gauges) if ("node", NODE) in key[1]]


def test_labels_are_few_and_bounded() -> None:
    labels = {name for _, pairs in shown(World()) for name, _ in pairs}
    assert labels == {"node", "state", "warning", "service", "channel"}


# ---------------------------------------------------------------------------------- the server


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[int]:
    """Gauges of a calm world on a free port."""
    gauges = Gauges()
    gauges.show(World().look())
    async with serve(gauges, "127.0.0.1", 0) as port:
        yield port


async def ask(port: int, request: bytes) -> bytes:
    """Send bytes over a connection of their own, and read all that comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@in_loop
async def test_a_scrape_gets_all_of_it() -> None:
    async with served() as port:
        answer = await ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"waypost_node_state{" in body


REQUESTS: dict[str, tuple[bytes, bytes]] = {
    "another path": (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 404"),
    "another method": (b"POST /metrics HTTP/1.1\r\n\r\n", b"HTTP/1.1 405"),
    "no HTTP": (b"\x16\x03\x01 hello\r\n\r\n", b"HTTP/1.1 404"),
    "a head without end": (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000, b""),
}


@pytest.mark.parametrize("name", REQUESTS)
@in_loop
async def test_anything_else_gets_nothing(name: str) -> None:
    request, begins = REQUESTS[name]
    async with served() as port:
        answer = await ask(port, request)
    assert answer.startswith(begins)
    assert b"waypost_node" not in answer


@in_loop
async def test_a_head_is_answered_without_a_body() -> None:
    async with served() as port:
        answer = await ask(port, b"HEAD /metrics HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n")


@in_loop
async def test_who_says_nothing_is_let_go_of_and_others_get_in() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "READ_S", 0.2)
        async with served() as port:
            lazy = [
                await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)
            ]
            # as many as there are places: the next one is turned away at once
            assert await ask(port, b"GET /metrics HTTP/1.1\r\n\r\n") == b""
            assert [await reader.read() for reader, _ in lazy] == [b""] * MAX_CONNECTIONS
            answer = await ask(port, b"GET /metrics HTTP/1.1\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200")
            for _, writer in lazy:
                writer.close()


@in_loop
async def test_a_port_that_is_taken_is_said() -> None:
    async with served() as port:
        with pytest.raises(CannotListen, match=f"port {port} is taken"):
            async with serve(Gauges(), "127.0.0.1", port):
                pass
