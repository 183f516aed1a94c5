"""What a submission is answered, one for each transaction."""

from typing import Any

from ledger.crypto import sha256
from ledger.errors import Refusal
from ledger.history import Location


def _answer(raw: bytes, state: str) -> dict[str, Any]:
    return {
        "hash": sha256(raw).hex(),
        "state": state,
        "height": None,
        "index": None,
        "code": None,
        "detail": None,
        "values": {},
    }


def pending_answer(raw: bytes) -> dict[str, Any]:
    """It waits for a block."""
    return _answer(raw, "pending")


def committed_answer(raw: bytes, location: Location) -> dict[str, Any]:
    """It stands in a block that lasts."""
    where = {"height": location.height, "index": location.place}
    return _answer(raw, "committed") | where


def refused_answer(raw: bytes, state: str, refusal: Refusal) -> dict[str, Any]:
    """It was refused at once (`refused`), or left the pool later (`expired`, `dropped`)."""
    why = {"code": refusal.code, "detail": refusal.text, "values": refusal.values}
    return _answer(raw, state) | why
