"""Making transactions: what a holder of keys signs, ready to be sent.

Nothing here sends. A `Wallet` knows one network and one account's key; a node signs its own
registration and contact data with `sign_registration` and `sign_contact`.
"""

from typing import Any, Final, NamedTuple

from ledger.codec import encode
from ledger.crypto import KeyPair, sign, signing_bytes
from ledger.messages import tags
from ledger.messages.contact import Contact
from ledger.messages.transactions import (
    VERSION,
    ContactUpdate,
    Contribute,
    Envelope,
    Free,
    Paid,
    Place,
    Register,
    Registration,
    Transfer,
    UpdateContact,
    Withdraw,
)
from ledger.transactions import TX_KINDS
from ledger.types import Amount, Hash, Height, Key
from registry.keystore import CHAIN, derive, derive_secret
from registry.signer import HashChain

KIND_TAGS: Final = {kind.name: kind.tag for kind in TX_KINDS}
"""Number on the wire of each kind of transaction, by name."""


class Terms(NamedTuple):
    """What an envelope needs beside its body."""

    nonce: int
    fee: Amount
    expiry: Height


class Wallet:
    """Signs the transactions of one account on one network."""

    def __init__(self, genesis_hash: Hash, pair: KeyPair) -> None:
        self._genesis_hash = genesis_hash
        self._pair = pair

    @property
    def account(self) -> Key:
        """The account that pays."""
        return self._pair.public

    def transfer(self, terms: Terms, recipient: Key, amount: Amount) -> bytes:
        """Return a transfer, encoded and signed."""
        return self._paid("transfer", terms, Transfer(recipient, amount))

    def register(self, terms: Terms, registration: Register) -> bytes:
        """Return the transaction that begins the life which a node signed for this account."""
        return self._paid("register", terms, registration)

    def contribute(
        self, terms: Terms, node: Key, life: int, amount: Amount, beneficiary: Key | None = None
    ) -> bytes:
        """Return a contribution; rewards go to this account unless another is named."""
        body = Contribute(node, life, amount, beneficiary or self.account)
        return self._paid("contribute", terms, body)

    def withdraw(self, terms: Terms, node: Key, life: int) -> bytes:
        """Return the withdrawal of this account's stake in a node that waits for more."""
        return self._paid("withdraw", terms, Withdraw(node, life))

    def _paid(self, kind: str, terms: Terms, body: Any) -> bytes:
        envelope = Envelope(VERSION, KIND_TAGS[kind], self.account, *terms, body)
        message = signing_bytes(tags.TRANSACTION, self._genesis_hash, encode(envelope))
        return encode(Paid(envelope, sign(self._pair, message)))


class NodeTerms(NamedTuple):
    """What operator and node agree on before a registration is signed."""

    life: int
    operator: Key
    beneficiary: Key
    fee: int
    """The operator's fee, parts of 10,000."""
    reserved: tuple[Place, ...]
    contact: Contact
    expiry_ms: int
    attests: bool
    """Whether the node names a list key, to become an attestor."""


def sign_registration(
    genesis_hash: Hash, node_seed: bytes, terms: NodeTerms, stake: Amount
) -> Register:
    """Return a registration with the proofs of every key of the node."""
    node, duty, lists = (derive(node_seed, role) for role in ("node", "duty", "list"))
    registration = Registration(
        node=node.public,
        life=terms.life,
        operator=terms.operator,
        beneficiary=terms.beneficiary,
        fee=terms.fee,
        reserved=terms.reserved,
        contact=terms.contact,
        duty_key=duty.public,
        list_key=lists.public if terms.attests else b"",
        list_tip=HashChain(derive_secret(node_seed, CHAIN)).tip if terms.attests else b"",
        consensus_key=b"",
        expiry_ms=terms.expiry_ms,
    )
    payload = encode(registration)

    def proof(pair: KeyPair, tag: bytes) -> bytes:
        return sign(pair, signing_bytes(tag, genesis_hash, payload))

    return Register(
        registration=registration,
        node_signature=proof(node, tags.REGISTRATION),
        duty_signature=proof(duty, tags.DUTY_KEY),
        list_signature=proof(lists, tags.LIST_KEY) if terms.attests else b"",
        consensus_signature=b"",
        stake=stake,
    )


def sign_contact(
    genesis_hash: Hash, node_seed: bytes, life: int, sequence: int, contact: Contact
) -> bytes:
    """Return the transaction by which a node changes its contact data, encoded and signed."""
    node = derive(node_seed, "node")
    update = ContactUpdate(node.public, life, sequence, contact)
    message = signing_bytes(tags.CONTACT, genesis_hash, encode(update))
    body = UpdateContact(update, sign(node, message))
    return encode(Free(VERSION, KIND_TAGS["update_contact"], body))
