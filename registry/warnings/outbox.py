"""A queue for each channel: in order, again and again until the channel takes it.

- One channel that fails holds up no other, and loses nothing: what waits is in the memory's file.
- A message is taken off its queue, durably, once the channel took it.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

import structlog

from registry.warnings.channels import Channel, NotSent
from registry.warnings.memory import Keeper
from registry.warnings.messages import Message

FIRST_WAIT_S: Final = 5.0
LONGEST_WAIT_S: Final = 600.0

log = structlog.get_logger()


class Standing(NamedTuple):
    """How a channel does."""

    waiting: int
    failures: int
    """Attempts that failed since it last took a message."""
    error: str
    """Why the last one failed; empty if it did not."""


class Outbox:
    """The queues of some channels."""

    def __init__(
        self,
        keeper: Keeper,
        channels: Sequence[Channel],
        first_wait_s: float = FIRST_WAIT_S,
        longest_wait_s: float = LONGEST_WAIT_S,
    ) -> None:
        self._keeper = keeper
        self._channels = channels
        self._first_wait_s = first_wait_s
        self._longest_wait_s = longest_wait_s
        self._failed: dict[str, tuple[int, str]] = {}
        self._news = {channel.name: asyncio.Event() for channel in channels}

    def put(self, messages: Sequence[Message]) -> None:
        """Have messages wait for every channel; they last once the keeper was saved."""
        for channel in self._channels:
            for message in messages:
                self._keeper.memory.put(channel.name, message)

    def wake(self) -> None:
        """Say that something may wait."""
        for event in self._news.values():
            event.set()

    @property
    def standings(self) -> dict[str, Standing]:
        """How each channel does, by its name."""
        queues = self._keeper.memory.queues
        return {
            channel.name: Standing(
                len(queues[channel.name].messages) if channel.name in queues else 0,
                *self._failed.get(channel.name, (0, "")),
            )
            for channel in self._channels
        }

    async def run(self) -> None:
        """Send for ever."""
        async with asyncio.TaskGroup() as group:
            for channel in self._channels:
                group.create_task(self._serve(channel))

    async def send_once(self) -> None:
        """Send what waits, each channel up to its first failure."""
        await asyncio.gather(*(self._send_all(channel) for channel in self._channels))

    async def close(self) -> None:
        """Let go of the channels' connections."""
        for channel in self._channels:
            await channel.close()

    async def _serve(self, channel: Channel) -> None:
        news = self._news[channel.name]
        while True:
            news.clear()
            if await self._send_all(channel):
                await news.wait()
            else:
                await asyncio.sleep(self._wait_s(channel.name))

    async def _send_all(self, channel: Channel) -> bool:
        """Send what waits for a channel; say whether nothing waits any more."""
        queue = self._keeper.memory.queue_of(channel.name)
        while queue.messages:
            dropped = queue.dropped
            try:
                await channel.send(queue.messages[0], dropped)
            except NotSent as failure:
                self._note_failure(channel, str(failure))
                return False
            except Exception as error:
                # a fault of this program: it must not end the other channels
                log.exception("channel failed", channel=channel.name)
                self._note_failure(channel, f"a fault of this program: {type(error).__name__}")
                return False
            self._failed.pop(channel.name, None)
            del queue.messages[0]
            queue.dropped -= dropped
            self._keeper.save()
        return True

    def _note_failure(self, channel: Channel, why: str) -> None:
        count = self._failed.get(channel.name, (0, ""))[0] + 1
        self._failed[channel.name] = (count, why)
        log.warning("message not sent", channel=channel.name, why=why, failures=count)

    def _wait_s(self, name: str) -> float:
        failures = self._failed[name][0]
        return min(self._longest_wait_s, self._first_wait_s * 2.0 ** min(failures - 1, 30))
