"""What is held of every decoder, whatever bytes it is given.

- It takes them, or refuses them with what it declares: nothing else comes out of it.
- It does so in reasonable time and room, and says the same when it is asked again.
- Where one value has one encoding, what it takes is that encoding.
"""

import time
from typing import Any, Final, NamedTuple

from tests.mutations.bombs import peak_bytes
from tests.mutations.rows import Decoder

SLOW_S: Final = 2.0
"""Seconds of the processor for one input; no input has more than some kilobytes."""

ROOM_BYTES: Final = 2**27
"""By how much the most memory that the process ever had may grow with one input."""


class Broken(Exception):
    """A decoder does what it must not do; the message says what."""


class Answer(NamedTuple):
    """What becomes of bytes."""

    is_taken: bool
    said: Any
    """The value, or kind and words of the refusal."""


def judge(decoder: Decoder, raw: bytes) -> bool:
    """Return whether bytes are taken. Raises `Broken`, and what the decoder does not declare."""
    began, room = time.thread_time(), peak_bytes()
    answer = answer_of(decoder, raw)
    took_s, took_bytes = time.thread_time() - began, peak_bytes() - room
    if took_s > SLOW_S:
        raise Broken(f"it takes {took_s:.1f} s")
    if took_bytes > ROOM_BYTES:
        raise Broken(f"it takes {took_bytes >> 20} MiB")
    if not is_same(answer_of(decoder, raw), answer):
        raise Broken("it says something else when it is asked again")
    if answer.is_taken and decoder.encode is not None and decoder.encode(answer.said) != raw:
        raise Broken("what it takes is not how its value is written")
    return answer.is_taken


def is_same(one: Answer, other: Answer) -> bool:
    """Whether two answers are the same. A float that is no number differs from itself."""
    return one == other or repr(one) == repr(other)


def answer_of(decoder: Decoder, raw: bytes) -> Answer:
    """Return what becomes of the bytes. Raises what the decoder does not declare."""
    try:
        return Answer(True, decoder.decode(raw))
    except decoder.errors as error:
        return Answer(False, (type(error), str(error)))
