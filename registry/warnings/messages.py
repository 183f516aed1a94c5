"""A message about a warning, as programs and people read it.

As JSON it is an object of the fields below; `id` is the same whenever it is sent again, so that who
gets it twice can tell.
"""

import re
from typing import Any, Final, Literal, TypeAlias

import msgspec

from registry.amounts import format_duration, format_time

Kind: TypeAlias = Literal["new", "reminder", "over", "test"]
Proof: TypeAlias = Literal["proven", "waits", "unchecked"]

_HEADLINE: Final = re.compile("_")

PROOFS: Final[dict[Proof, str]] = {
    "proven": "by a header that more than two thirds of the attestors signed",
    "waits": "not yet: the list that proves it is not final",
    "unchecked": "",
}


class Message(msgspec.Struct, frozen=True):
    """What is told."""

    id: str
    """32 hex digits."""
    kind: Kind
    """`new`, `reminder` while it lasts, `over` once it has ended, or `test`."""
    warning: str
    """Name of a row of `WARNINGS`."""
    severity: str
    chain: str
    """Name of the network; empty before a service told it."""
    subject: str
    """The node, the URL of the service, or empty."""
    time_ms: int
    """When it was noticed, Unix milliseconds."""
    reason: str
    left_ms: int | None
    """Time left from then on until it gets worse, or until what it announces; null without."""
    next_step: str
    link: str | None
    """Page of the node."""
    proof: Proof
    """Whether the node's state was proven; `unchecked` without a genesis file."""

    @property
    def headline(self) -> str:
        """One line of printable characters that says what it is about."""
        what = _HEADLINE.sub(" ", self.warning)
        ending = {"new": "", "reminder": ", still", "over": ", over", "test": ""}[self.kind]
        about = f" of {_shorten(self.subject)}" if self.subject else ""
        return clean(f"[{self.severity}] {what}{about}{ending}")

    @property
    def left(self) -> str:
        """The time left, for people."""
        return "" if self.left_ms is None else format_duration(self.left_ms)


def to_json(message: Message) -> dict[str, Any]:
    """Return a message as an object for JSON, with its headline and what people read."""
    fields = {name: getattr(message, name) for name in message.__struct_fields__}
    return fields | {"headline": message.headline, "left": message.left or None}


def to_text(message: Message) -> str:
    """Return a message as lines of text."""
    facts = [
        ("what", message.headline),
        ("node" if message.subject.startswith("wpn1") else "about", message.subject),
        ("network", message.chain),
        ("when", format_time(message.time_ms)),
        ("why", message.reason),
        ("time left", message.left),
        ("next step", message.next_step),
        ("page", message.link or ""),
        ("proven", PROOFS[message.proof]),
    ]
    return "\n".join(f"{name:<10} {clean(value)}" for name, value in facts if value)


def clean(text: str) -> str:
    """Return a text as one line, whose control characters are spelt out."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _shorten(subject: str) -> str:
    return f"{subject[:10]}…{subject[-6:]}" if subject.startswith("wpn1") else subject
