"""Requests as fast as they are answered: a closed loop over several connections, in a process.

    python -m bench.flood PLAN RESULT

- Each connection sends its requests in turn, the next one when the one before was answered.
- Who is told 503 waits as long as `Retry-After` says and sends the same again, as a client should;
  a connection that was told so `patience` times gives up, and leaves the rest unsent.
- Answers are kept as they came; to read them is left to whoever made the plan.
"""

import asyncio
import gc
import re
import sys
import time
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from bench.load import Connection

BUSY: Final = 503
RETRY_AFTER: Final = re.compile(rb"retry-after: *(\d+)", re.IGNORECASE)


class Plan(msgspec.Struct, frozen=True):
    """What to send."""

    host: str
    port: int
    connections: list[list[bytes]]
    """Whole requests, for each connection in their order."""
    patience: int
    """Times that a connection takes 503 for an answer before it gives up."""


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """One answer."""

    at: float
    """Seconds since the first request was sent."""
    latency: float
    """Seconds from the first byte sent to the last one read."""
    status: int
    retry_after_s: int
    """0 if the answer does not say."""
    body: bytes


class Result(msgspec.Struct, frozen=True):
    """All that happened."""

    answers: list[Answer]
    cpu_s: float
    """Processor time that this process took."""


async def flood(plan: Plan) -> list[Answer]:
    """Send everything; return all answers."""
    answers: list[Answer] = []
    began = time.perf_counter()

    async def send(requests: list[bytes]) -> None:
        reader, writer = await asyncio.open_connection(plan.host, plan.port, limit=2**20)
        connection = Connection(reader, writer)
        patience = plan.patience
        for request in requests:
            while True:
                sent = time.perf_counter()
                status, head, body = await connection.ask(request)
                done = time.perf_counter()
                found = RETRY_AFTER.search(head)
                pause = int(found[1]) if found else 0
                answers.append(Answer(done - began, done - sent, status, pause, body))
                if status != BUSY:
                    break
                patience -= 1
                if patience < 0:
                    connection.close()
                    return
                await asyncio.sleep(max(1, pause))
        connection.close()

    await asyncio.gather(*map(send, plan.connections))
    return answers


def main(plan_path: str, result_path: str) -> None:
    """Run a plan and write what happened."""
    plan = msgspec.msgpack.decode(Path(plan_path).read_bytes(), type=Plan)
    gc.disable()
    before = time.process_time()
    answers = uvloop.run(flood(plan))
    result = Result(answers, time.process_time() - before)
    Path(result_path).write_bytes(msgspec.msgpack.encode(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
