"""What all transactions share: wire form, the envelope's checks, what the sender pays.

- The sender's nonce is the number of transactions that he sent before.
- A transaction may stand in blocks up to its expiry, at most `max_lifetime_blocks` ahead.
- The fee is at least `minimum_fee`; fee and cost leave the account together.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from ledger.codec import Codec
from ledger.crypto import Signed, is_public_key, sha256, signing_bytes
from ledger.errors import Refusal
from ledger.messages import tags
from ledger.messages.state import Account
from ledger.messages.tables import ACCOUNTS, POOL
from ledger.messages.transactions import Free, Paid
from ledger.params import Params
from ledger.state import State
from ledger.types import Amount, Hash, Height, Key, TimeMs


class Context(NamedTuple):
    """What a transaction may depend on beside the state."""

    genesis_hash: Hash
    height: Height
    """Height of the block that carries it."""
    time_ms: TimeMs
    """Time of that block; for a check outside of blocks, of the newest."""
    params: Params


class Transaction(NamedTuple):
    """A decoded transaction."""

    raw: bytes
    hash: Hash
    """SHA-256 of `raw`."""
    kind: "TxKind"
    body: Any
    sender: Key
    """The account that pays; empty for a free kind, as are the next four."""
    nonce: int
    fee: Amount
    expiry: Height
    signature: bytes


Check = Callable[[State, Transaction, Context], None]
Apply = Callable[[State, Transaction, Context, int], None]


class TxKind(NamedTuple):
    """One row of `TX_KINDS`."""

    tag: int
    """Number on the wire, 0 to 127; never used again."""
    name: str
    body: Any
    check: Check
    """Refuses what must not be applied; reads the state, changes nothing."""
    apply: Apply
    """Applies what was checked, given its index in the block; cannot fail."""
    cost: Callable[[Any], Amount] | None
    """What leaves the sender's account beside the fee; None makes the kind a free one."""
    signatures: Callable[[State, Any, Hash], list[Signed]]
    """What has to be verified beside the sender's signature."""
    is_finishing: Callable[[Any], bool] = lambda _body: False
    """Whether it helps a header to become final, and so is taken after a network has moved."""

    @property
    def is_free(self) -> bool:
        """Whether nobody pays for it."""
        return self.cost is None


MIN_BYTES: Final = 5


class Wire:
    """Decodes transactions of the kinds of one table."""

    def __init__(self, kinds: tuple[TxKind, ...]) -> None:
        self._kinds: dict[int, tuple[TxKind, Codec[Any]]] = {
            kind.tag: (
                kind,
                Codec(
                    Free[kind.body] if kind.is_free else Paid[kind.body],  # type: ignore[name-defined]
                    "transaction",
                ),
            )
            for kind in kinds
        }

    def decode(self, raw: bytes) -> Transaction:
        """Return the transaction that `raw` encodes.

        Refuses with `not_canonical`, `too_large` and `unknown_kind`.
        """
        if len(raw) < MIN_BYTES:
            raise Refusal("not_canonical", what="transaction")
        # arrays of two hold an envelope (array of seven), arrays of three are free kinds;
        # the kind follows the version, and all of it is checked by the decoder of that kind
        is_paid = raw[0] == 0x92
        row = self._kinds.get(raw[3] if is_paid else raw[2])
        if row is None or row[0].is_free == is_paid:
            raise Refusal("unknown_kind", kind=raw[3] if is_paid else raw[2])
        kind, codec = row
        message = codec.decode(raw)
        if kind.is_free:
            return Transaction(raw, sha256(raw), kind, message.body, b"", 0, 0, 0, b"")
        envelope = message.envelope
        return Transaction(
            raw,
            sha256(raw),
            kind,
            envelope.body,
            envelope.sender,
            envelope.nonce,
            envelope.fee,
            envelope.expiry,
            message.signature,
        )


def get_signatures(state: State, tx: Transaction, genesis_hash: Hash) -> list[Signed]:
    """Return everything that has to be verified for a transaction.

    Refuses like the kind's own rule where the state names no key to verify with.
    """
    items = tx.kind.signatures(state, tx.body, genesis_hash)
    if not tx.kind.is_free:
        # the envelope's bytes: without the outer array's head and the signature with its head
        envelope = tx.raw[1:-66]
        message = signing_bytes(tags.TRANSACTION, genesis_hash, envelope)
        items.append(Signed(tx.sender, message, tx.signature))
    return items


def check_envelope(state: State, tx: Transaction, context: Context) -> None:
    """Check what every paid transaction must meet.

    Refuses with `too_large`, `expired`, `expiry_too_far`, `nonce_used`, `nonce_skipped`,
    `fee_too_low`, `balance_too_low`.
    """
    params = context.params
    if len(tx.raw) > params.max_transaction_bytes:
        raise Refusal("too_large", size=len(tx.raw), limit=params.max_transaction_bytes)
    if tx.kind.cost is None:
        return
    if tx.expiry < context.height:
        raise Refusal("expired", expiry=tx.expiry, height=context.height)
    if tx.expiry > context.height + params.max_lifetime_blocks:
        limit = context.height + params.max_lifetime_blocks
        raise Refusal("expiry_too_far", expiry=tx.expiry, limit=limit)
    account = state.account(tx.sender)
    if tx.nonce < account.nonce:
        raise Refusal("nonce_used", nonce=tx.nonce, expected=account.nonce)
    if tx.nonce > account.nonce:
        raise Refusal("nonce_skipped", nonce=tx.nonce, expected=account.nonce)
    if tx.fee < params.minimum_fee:
        raise Refusal("fee_too_low", fee=tx.fee, minimum=params.minimum_fee)
    needed = tx.fee + tx.kind.cost(tx.body)
    if needed > account.balance:
        raise Refusal("balance_too_low", needed=needed, balance=account.balance)


def apply_envelope(state: State, tx: Transaction) -> None:
    """Take fee and cost from the sender, count his nonce, and put the fee into the pool."""
    if tx.kind.cost is None:
        return
    account = state.account(tx.sender)
    left = account.balance - tx.fee - tx.kind.cost(tx.body)
    state.put(ACCOUNTS, Account(left, tx.nonce + 1), tx.sender)
    pool = state.one(POOL)
    state.put(POOL, replace(pool, balance=pool.balance + tx.fee))


def check_payee(state: State, key: Key, field: str) -> None:
    """Check that an account exists or could: somebody can hold its secret.

    Refuses with `bad_key`.
    """
    if state.get(ACCOUNTS, key) is None and not is_public_key(key):
        raise Refusal("bad_key", field=field)


def no_signatures(_state: State, _body: object, _genesis_hash: Hash) -> list[Signed]:
    """The sender's signature is enough."""
    return []
