"""Messages of OxenMQ, part by part, without the identity that ZeroMQ puts before them.

    [HI]                             → [HELLO]
    [command, tag, body?]            → [REPLY, tag, "200", JSON]
                                     → [REPLY, tag, code, text]       400: the call; 500: the answer
                                     → [FORBIDDEN, REPLY, tag]
    [command] without a tag          → [NO_REPLY_TAG, command]
    [a command that nobody knows, …] → [UNKNOWNCOMMAND, command]
    [notify.block, height, hash]     pushed, to those who subscribed

- What the library at the far side handles itself, such as BYE and errors, is never answered: two
  programs that answer each other's errors do not come to an end.
- A tag comes back byte for byte. One that is longer than any library makes is not worked on.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

MAX_PARTS: Final = 8
"""Parts of a message; more of them are no message of OxenMQ."""

MAX_MESSAGE_BYTES: Final = 2**17
"""Longest message that is taken, all of its parts together."""

MAX_TAG_BYTES: Final = 128
MAX_SHOWN_BYTES: Final = 100
"""What an error repeats of a command."""

HELLO: Final = (b"HELLO",)
REPLY: Final = b"REPLY"
NOTIFY_BLOCK: Final = b"notify.block"

OK: Final = b"200"
BAD_REQUEST: Final = b"400"
FAILED: Final = b"500"

FORBIDDEN: Final = b"FORBIDDEN"
UNKNOWN_COMMAND: Final = b"UNKNOWNCOMMAND"
NO_REPLY_TAG: Final = b"NO_REPLY_TAG"

UNANSWERED: Final = frozenset(
    {
        *(b"HELLO", b"BYE", REPLY, FORBIDDEN, UNKNOWN_COMMAND, NO_REPLY_TAG),
        *(b"FORBIDDEN_SN", b"NOT_A_SERVICE_NODE"),
    }
)

Parts: TypeAlias = Sequence[bytes]


class Request(NamedTuple):
    """A command that wants an answer."""

    command: str
    tag: bytes
    body: bytes
    """JSON, or nothing."""


def read_command(parts: Parts) -> bytes:
    """Return the first part, which says what a message is; nothing of an empty one."""
    return parts[0] if parts else b""


def reply(tag: bytes, *data: bytes) -> Parts:
    """Return an answer."""
    return (REPLY, tag, *data)


def forbid(tag: bytes) -> Parts:
    """Return the answer to who may not use a command that exists."""
    return (FORBIDDEN, REPLY, tag)


def refuse_unknown(command: bytes) -> Parts:
    """Return the answer to a command that does not exist."""
    return (UNKNOWN_COMMAND, command[:MAX_SHOWN_BYTES])


def refuse_untagged(command: bytes) -> Parts:
    """Return the answer to a command that came without a tag."""
    return (NO_REPLY_TAG, command[:MAX_SHOWN_BYTES])


def notify_block(height: int, block_hash: bytes) -> Parts:
    """Return the message that there is a new block; `block_hash` has 32 bytes."""
    return (NOTIFY_BLOCK, b"%d" % height, block_hash)
