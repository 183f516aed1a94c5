"""What a submission is answered, one for each transaction."""

from typing import Any

from ledger.errors import Refusal
from ledger.history import Location
from ledger.types import Hash


def _answer(tx_hash: Hash, state: str) -> dict[str, Any]:
    return {
        "hash": tx_hash.hex(),
        "state": state,
        "height": None,
        "index": None,
        "code": None,
        "detail": None,
        "values": {},
    }


def pending_answer(tx_hash: Hash) -> dict[str, Any]:
    """It waits for a block."""
    return _answer(tx_hash, "pending")


def committed_answer(tx_hash: Hash, location: Location) -> dict[str, Any]:
    """It stands in a block that lasts."""
    where = {"height": location.height, "index": location.place}
    return _answer(tx_hash, "committed") | where


def refused_answer(tx_hash: Hash, state: str, refusal: Refusal) -> dict[str, Any]:
    """It was refused at once (`refused`), or left the pool later (`expired`, `dropped`)."""
    why = {"code": refusal.code, "detail": refusal.text, "values": refusal.values}
    return _answer(tx_hash, state) | why
