"""Refusals of what all transactions share, and of `transfer`."""

from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import sha256, sign, signing_bytes
from ledger.messages import tags
from ledger.messages.transactions import VERSION, Envelope, Paid, Transfer
from ledger.types import MAX_AMOUNT
from tests.factory import FEE, RICH, TAG, Network, attestor_roles, keys, make_genesis, public
from tests.flip import flip
from tests.ledger.refusals.rows import Row, Sent

ORDER = 2**252 + 27742317777372353535851937790883648493
"""Order of the group: a signature's second half is below it."""

SMALL_ORDER = {
    "of order one": bytes([1]) + bytes(31),
    "of order two": bytes([0xEC]) + bytes([0xFF]) * 30 + bytes([0x7F]),
    "of order four": bytes(32),
    "of order eight": bytes.fromhex(
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"
    ),
    "not canonical": bytes([0xEE]) + bytes([0xFF]) * 30 + bytes([0x7F]),
    "no point": bytes([2]) + bytes(31),
}
"""Keys that nobody can hold the secret of, or that stand for another key."""


def envelope(network: Network, **changes: object) -> "Envelope[Transfer]":
    """The envelope of a good transfer of alice to bob."""
    body = Transfer(public("bob"), 5)
    nonce = network.state.account(public("alice")).nonce
    good = Envelope(VERSION, TAG["transfer"], public("alice"), nonce, FEE, 50, body)
    return replace(good, **changes)


def signed_for(network: Network, tag: bytes, genesis_hash: bytes, signer: str = "alice") -> bytes:
    """A good transfer whose signature covers another tag, another network, or is another's."""
    what = envelope(network)
    message = signing_bytes(tag, genesis_hash, encode(what))
    return encode(Paid(what, sign(keys(signer), message)))


def with_signature(network: Network, signature: bytes) -> bytes:
    """A good transfer with this in place of its signature."""
    return encode(Paid(envelope(network), signature))


def flipped(network: Network, place: int, bit: int = 0) -> bytes:
    """A good transfer in which one bit is another; a negative place counts from the end."""
    return flip(network.transfer("alice", "bob"), place, bit)


def malleated(network: Network) -> bytes:
    """A good transfer whose S is larger by the group's order: the same equation holds."""
    raw = network.transfer("alice", "bob")
    number = int.from_bytes(raw[-32:], "little") + ORDER
    return raw[:-32] + number.to_bytes(32, "little")


def from_small_order(network: Network) -> bytes:
    """A transfer from the neutral element, for which every library but ours takes a signature."""
    neutral = SMALL_ORDER["of order one"]
    what = envelope(network, sender=neutral, nonce=0)
    return encode(Paid(what, neutral + bytes(32)))


def to_bad_key(key: bytes) -> Sent:
    """A transfer to a key that is none."""
    return Sent("bad_key", lambda n: n.transfer("alice", key))


def send_again(network: Network) -> bytes:
    """A transaction that is in a block already."""
    raw = network.transfer("alice", "bob")
    network.block(raw)
    return raw


def long_registration(network: Network) -> bytes:
    """A registration with a key for every role."""
    return network.register(**attestor_roles("node"))


LONG_BYTES = len(long_registration(Network()))
"""Its length."""


def at(network: Network, blocks: int) -> int:
    """The height that is `blocks` after the next block's."""
    return network.chain.tip.height + 1 + blocks


def other_network() -> bytes:
    """Hash of the genesis file of a network with another name."""
    return sha256(encode(make_genesis(name=b"other-net")))


ENVELOPE: dict[str, Row] = {
    # signatures
    "signed by another account": Sent(
        "bad_signature", lambda n: signed_for(n, tags.TRANSACTION, n.hash, "bob")
    ),
    "signed for another network": Sent(
        "bad_signature", lambda n: signed_for(n, tags.TRANSACTION, other_network())
    ),
    "signed under another tag": Sent(
        "bad_signature", lambda n: signed_for(n, tags.REGISTRATION, n.hash)
    ),
    "signed without a tag's padding": Sent(
        "bad_signature", lambda n: signed_for(n, tags.TRANSACTION.ljust(33, b"\0"), n.hash)
    ),
    "signature is zero": Sent("bad_signature", lambda n: with_signature(n, bytes(64))),
    "first bit of the signature": Sent("bad_signature", lambda n: flipped(n, -64)),
    "last bit of the signature": Sent("bad_signature", lambda n: flipped(n, -1, 7)),
    "S is not below the order": Sent("bad_signature", malleated),
    "sender of small order": Sent("bad_signature", from_small_order),
    "amount changed after signing": Sent("bad_signature", lambda n: flipped(n, -67)),
    "recipient changed after signing": Sent("bad_signature", lambda n: flipped(n, -69)),
    "nonce changed after signing": Sent("bad_signature", lambda n: flipped(n, 38, 1)),
    # expiry
    "expired in the block before": Sent(
        "expired", lambda n: n.transfer("alice", "bob", expiry=at(n, -1))
    ),
    "expiry is zero": Sent("expired", lambda n: n.transfer("alice", "bob", expiry=0)),
    "expiry one block too far": Sent(
        "expiry_too_far",
        lambda n: n.transfer("alice", "bob", expiry=at(n, n.params.max_lifetime_blocks + 1)),
    ),
    "expiry at the end of time": Sent(
        "expiry_too_far", lambda n: n.transfer("alice", "bob", expiry=2**63 - 1)
    ),
    # nonces
    "nonce of the last transaction": Sent(
        "nonce_used",
        lambda n: n.transfer("alice", "bob", nonce=0),
        lambda n: n.block(n.transfer("alice", "carol")),
    ),
    "the same transaction again": Sent("nonce_used", send_again),
    "nonce that leaves one out": Sent(
        "nonce_skipped", lambda n: n.transfer("alice", "bob", nonce=1)
    ),
    "largest nonce": Sent("nonce_skipped", lambda n: n.transfer("alice", "bob", nonce=2**63 - 1)),
    # money
    "fee one unit too low": Sent(
        "fee_too_low", lambda n: n.transfer("alice", "bob", fee=n.params.minimum_fee - 1)
    ),
    "no fee": Sent("fee_too_low", lambda n: n.transfer("alice", "bob", fee=0)),
    "balance one unit short": Sent(
        "balance_too_low", lambda n: n.transfer("alice", "bob", RICH - FEE + 1)
    ),
    "balance one unit short for the fee": Sent(
        "balance_too_low", lambda n: n.transfer("alice", "bob", 1, fee=RICH)
    ),
    "fee and amount above what an amount can be": Sent(
        "balance_too_low", lambda n: n.transfer("alice", "bob", MAX_AMOUNT, fee=MAX_AMOUNT)
    ),
    "account that does not exist": Sent(
        "balance_too_low", lambda n: n.transfer("a stranger", "bob", 1)
    ),
    "to oneself more than there is": Sent(
        "balance_too_low", lambda n: n.transfer("alice", "alice", RICH)
    ),
    # transfer
    "transfer of nothing": Sent("amount_zero", lambda n: n.transfer("alice", "bob", 0)),
    # size
    "one byte over the limit of a transaction": Sent(
        "too_large", long_registration, params={"max_transaction_bytes": LONG_BYTES - 1}
    ),
}

ENVELOPE |= {f"recipient {name}": to_bad_key(key) for name, key in SMALL_ORDER.items()}
