"""A transaction as the API shows it, and what became of it."""

from typing import Any, Final

from ledger.codec import Record
from ledger.transactions.envelope import Transaction
from ledger.types import Hash
from registry.addresses import encode_account

AMOUNTS: Final = ("amount", "stake")
"""Fields of transaction bodies that are shown as decimal strings."""


def show_transaction(
    tx: Transaction, state: str, where: dict[str, Any], code: str | None, detail: str | None
) -> dict[str, Any]:
    """Return a transaction with its body; `where` is the height and index of its block."""
    answer = show_fate(tx.hash, state, code, detail) | where
    body = {"kind": tx.kind.name, "raw": tx.raw.hex(), "body": _plain(tx.body)}
    if not tx.kind.is_free:
        body |= {
            "sender": encode_account(tx.sender),
            "nonce": tx.nonce,
            "fee": str(tx.fee),
            "expiry": tx.expiry,
        }
    return answer | body


def show_fate(tx_hash: Hash, state: str, code: str | None, detail: str | None) -> dict[str, Any]:
    """Return what became of a transaction that is not here any more, or never was."""
    where = {"height": None, "index": None, "kind": None, "raw": None, "body": None}
    return {"hash": tx_hash.hex(), "state": state, "code": code, "detail": detail} | where


def _plain(value: Any) -> Any:
    """Return a record as JSON shows it: fields by name, bytes as hex, amounts as strings."""
    if isinstance(value, Record):
        fields = {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
        return fields | {name: str(fields[name]) for name in AMOUNTS if name in fields}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return value
