"""Attackers at every face of a real service, while somebody else asks as usual.

Each story is bounded in what it sends and in how long it waits. In each, the other client is served
every time, the transactions that it sent stand in blocks, and no process holds much more memory.
"""

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import Coroutine, Iterator
from typing import Any, Final

import msgspec
import pytest

from registry.api.edge import BODY_S
from registry.api.problems import MAX_BODY_BYTES
from registry.api.wire import HEAD_S, MAX_HEAD_BYTES, MAX_PIPELINED
from tests.fuzz.hostile import (
    CLOSE,
    MALFORMED,
    PACKED,
    POSTS,
    SOURCES,
    Memory,
    Steady,
    connected,
    drip,
    get,
    post,
    read_all,
    read_answers,
    send_raw,
)
from tests.fuzz.lived import GOOD, Lived, lived
from tests.registry.api.processes import head_of
from tests.registry.town import votes_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc: Linux")

GROWTH: Final = 200_000_000
"""Bytes by which a process may grow: requests of 4 MB that are under way, many times over."""

AT_ONCE: Final = 8
"""Large requests under way at a time."""


@pytest.fixture(scope="module")
def service() -> Iterator[Lived]:
    with lived() as made:
        yield made
        assert made.stop() == 0
        failed = [line for line in made.said.splitlines() if "Traceback" in line]
        assert not failed, failed[0]


@pytest.fixture
def memory(service: Lived) -> Iterator[Memory]:
    made = Memory(service)
    yield made
    assert max(made.grown().values()) < GROWTH, made.grown()


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


async def at_most(limit: int, *jobs: Coroutine[Any, Any, Any]) -> list[Any]:
    """Return what jobs return, with so many under way at a time."""
    places = asyncio.Semaphore(limit)

    async def one(job: Coroutine[Any, Any, Any]) -> Any:
        async with places:
            return await job

    return await asyncio.gather(*map(one, jobs))


def statuses_of(raw: bytes) -> list[int]:
    return [answer.status for answer in read_answers(raw)]


def codes_of(raw: bytes) -> list[int]:
    """Status of each answer, whatever the bodies are."""
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", raw)]


def test_what_is_malformed_is_refused_one_by_one(service: Lived, memory: Memory) -> None:
    async def story() -> None:
        names = list(MALFORMED)
        raws = await at_most(AT_ONCE, *(send_raw(service, MALFORMED[name]) for name in names))
        assert len(names) > 150
        for name, raw in zip(names, raws, strict=True):
            answers = read_answers(raw)
            for answer in answers:
                is_page = answer.headers.get("content-type", "").startswith("text/html")
                assert answer.status < 500, (name, answer)
                if answer.status >= 400 and not is_page:
                    problem = json.loads(answer.body)
                    assert problem["status"] == answer.status, name
                    assert problem["type"] != "internal"
                if is_page:
                    assert b"<script>alert" not in answer.body
                    assert b"<img src=x" not in answer.body
                assert b"root:" not in answer.body, name
            # what came behind a request that was refused was not taken for another one
            assert len(answers) <= 1, name

    with Steady(service):
        play(story())


def test_what_is_malformed_does_not_succeed(service: Lived) -> None:
    """No body of the table was taken for something."""

    async def story() -> None:
        names = [name for name in MALFORMED if " to /v1/" in name]
        raws = await at_most(AT_ONCE, *(send_raw(service, MALFORMED[name]) for name in names))
        assert len(names) > 100
        for name, raw in zip(names, raws, strict=True):
            assert [status for status in statuses_of(raw) if status < 400] == [], name

    play(story())


def test_what_is_oversized_is_refused_and_not_held(service: Lived, memory: Memory) -> None:
    size = MAX_BODY_BYTES + 1
    chunk = b"100000\r\n" + bytes(0x100000) + b"\r\n"

    def chunked(path: str, count: int) -> list[bytes]:
        head = head_of(f"POST {path}", f"Content-Type: {PACKED}\r\nTransfer-Encoding: chunked\r\n")
        return [head, *[chunk] * count, b"0\r\n\r\n"]

    async def story() -> None:
        whole = [send_raw(service, post(path, bytes(size), PACKED, CLOSE)) for path in POSTS * 4]
        ended = [send_raw(service, chunked(path, 5)) for path in POSTS * 4]
        endless = [send_raw(service, chunked(path, 64)) for path in POSTS]
        heads = [
            send_raw(service, get("/v1/network", f"X: {'a' * MAX_HEAD_BYTES}\r\n"))
            for _ in range(100)
        ]
        for raw in await at_most(AT_ONCE, *whole, *ended):
            assert statuses_of(raw)[:1] == [413]
        # who sends on and on may be cut off before he reads why
        for raw in await at_most(AT_ONCE, *endless):
            assert statuses_of(raw)[:1] in ([413], [])
        for raw in await at_most(100, *heads):
            assert statuses_of(raw)[:1] in ([431], [])

    with Steady(service):
        play(story())


def test_who_sends_slowly_is_not_waited_for(service: Lived, memory: Memory) -> None:
    head = head_of(
        "POST /v1/transactions", f"Content-Type: {PACKED}\r\nContent-Length: 4000000\r\n"
    )
    chunked = head_of("POST /json_rpc", "Transfer-Encoding: chunked\r\n")

    async def story() -> None:
        limit_s = 2.0 * HEAD_S + 20
        heads = [drip(service, b"GET /v1/network HTTP/1.1\r\nX: ", b"a", 0.5, limit_s)
                 for _ in range(300)]  # fmt: skip
        limit_s = 2.0 * BODY_S + 20
        bodies = [drip(service, head, b"\x91", 0.5, limit_s) for _ in range(100)]
        bodies += [drip(service, chunked, b"1\r\na\r\n", 0.5, limit_s) for _ in range(100)]
        found = await asyncio.gather(*heads, *bodies)
        assert {tuple(statuses_of(raw)[:1]) for raw in found[:300]} == {(408,)}
        assert {tuple(statuses_of(raw)[:1]) for raw in found[300:]} <= {(408,), (400,)}
        assert sum(statuses_of(raw)[:1] == [408] for raw in found[300:400]) == 100

    with Steady(service):
        play(story())


def test_who_reads_slowly_costs_little(service: Lived, memory: Memory) -> None:
    """Streams, blocks and lists are asked for over and over, and none of it is read."""
    targets = ("/v1/events", "/v1/blocks?start=1&limit=200", "/v1/lists/latest/bundle", "/nodes")

    async def ask(target: str, until: asyncio.Event) -> None:
        async with connected(service) as (reader, writer):
            reader._transport.pause_reading()
            writer.write(get(target) * 50)
            await until.wait()

    async def story() -> None:
        until = asyncio.Event()
        asking = [asyncio.create_task(ask(target, until)) for target in targets * 40]
        for _ in range(20):
            await asyncio.sleep(0.5)
            assert max(memory.grown().values()) < GROWTH, memory.grown()
        until.set()
        await asyncio.gather(*asking)

    with Steady(service):
        play(story())


def test_who_asks_for_more_at_once_than_is_answered_is_cut_off(
    service: Lived, memory: Memory
) -> None:
    """Thousands of requests behind one that has no end, over each of many connections."""

    async def ask() -> bytes:
        async with connected(service) as (reader, writer):
            writer.write(get("/v1/events"))
            assert (await reader.read(12)).startswith(b"HTTP/1.1 200")
            with contextlib.suppress(OSError):
                writer.write(b"GET /v1/network HTTP/1.1\r\n\r\n" * 20_000)
                await writer.drain()
            return await read_all(reader)

    async def story() -> None:
        for raw in await at_most(40, *(ask() for _ in range(80))):
            assert b"HTTP/1.1" not in raw

    with Steady(service):
        play(story())


def test_what_is_repeated_is_answered_each_time(service: Lived, memory: Memory) -> None:
    """Thousands of requests that take work: signatures that do not fit, proofs, pages, searches."""
    service.follow()
    votes = votes_of(service.network, GOOD)
    wrong = [vote._replace(signature=bytes(64)) for vote in votes] * 200
    raw = service.network.transfer("kim", "leo", **service.terms)
    service.network.take_back("kim")
    forged = [raw[:-1] + bytes((number,)) for number in range(250)]
    wrong_votes = post("/v1/verdicts", msgspec.msgpack.encode(wrong), PACKED)
    forged_ones = post("/v1/transactions", msgspec.msgpack.encode(forged), PACKED)
    repeated = [
        *(wrong_votes, forged_ones, get("/v1/proofs/pool"), get("/search?q=zzz")),
        *(get("/nodes?q=a&sort=state"), get(f"/v1/nodes/{64 * '0'}"), get("/v1/nothing")),
        *(get("/v1/participation?epochs=96"), get("/v1/trust/1"), get("/v1/reports?limit=200")),
        post("/json_rpc", b'{"method":"get_service_nodes","params":{"limit":-1}}'),
    ]

    async def repeat(request: bytes, times: int) -> list[int]:
        last = request.replace(b"Host: ", b"Connection: close\r\nHost: ", 1)
        return codes_of(await send_raw(service, [*[request] * (times - 1), last]))

    async def story() -> None:
        times = {wrong_votes: 3, forged_ones: 3}
        jobs = [repeat(request, times.get(request, 40)) for request in repeated * 4]
        for request, codes in zip(repeated * 4, await at_most(16, *jobs), strict=True):
            assert len(codes) == times.get(request, 40)
            assert set(codes) <= {200, 202, 404, 503}, request[:60]

    with Steady(service):
        play(story())


def test_an_address_gets_its_share_and_others_theirs(service: Lived) -> None:
    """The same service with limits for this machine too: attackers hear 429, the other one none."""
    assert service.stop() == 0
    limits = "[limits]\nrate = 20\nconnections = 8\nstreams = 2\n"
    limits += "limit_local = true\ntrusted_proxies = []\n"
    (service.home / "config.toml").write_text(limits, encoding="utf-8")
    service.start()
    memory = Memory(service)

    async def flood(source: str) -> list[int]:
        last = get("/v1/rules", CLOSE)
        asked = [get("/v1/participation")] * (MAX_PIPELINED - 1) + [last]
        return [code for _ in range(7) for code in codes_of(await send_raw(service, asked, source))]

    async def crowd(source: str) -> list[int]:
        """Open more connections and streams than one gets."""
        streams = [send_raw(service, get("/v1/events", CLOSE), source) for _ in range(4)]
        asking = [asyncio.create_task(stream) for stream in streams]
        await asyncio.sleep(1)
        refused = [statuses_of(task.result())[0] for task in asking if task.done()]
        more = await asyncio.gather(*(hold(source) for _ in range(12)))
        for task in asking:
            task.cancel()
        return refused + [status for status in more if status]

    async def hold(source: str) -> int:
        async with connected(service, source) as (reader, _):
            try:
                async with asyncio.timeout(3):
                    return statuses_of(await reader.read())[0]
            except TimeoutError:
                return 0

    async def story() -> None:
        floods = await at_most(8, *(flood(next(SOURCES)) for _ in range(8)))
        for codes in floods:
            assert len(codes) == 7 * MAX_PIPELINED
            assert set(codes) == {200, 429}
            assert codes[:100] == [200] * 100
        crowds = await asyncio.gather(*(crowd(next(SOURCES)) for _ in range(4)))
        for refused in crowds:
            assert set(refused) == {429}
            # two streams too many; two of the connections are streams that run
            assert len(refused) == 2 + 12 - 6

    with Steady(service) as steady:
        # within its own share
        steady.PAUSE_S = 1.0  # type: ignore[misc]
        play(story())
    assert max(memory.grown().values()) < GROWTH, memory.grown()
    metrics = service.client.get("/metrics").text
    for limit in ("rate", "streams", "connections"):
        assert f'waypost_limited_total{{limit="{limit}"}}' in metrics
