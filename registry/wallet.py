"""Making transactions: what a holder of keys signs, ready to be sent.

Nothing here sends. A `Wallet` knows one network and one account's key; a node signs its own
registration, contact data and role keys with `sign_registration`, `sign_contact` and `sign_keys`,
and checks in with services by `sign_check_in`, which no ledger sees.
"""

from typing import Any, Final, NamedTuple

from ledger.codec import encode
from ledger.crypto import KeyPair, sign, signing_bytes
from ledger.messages import tags
from ledger.messages.checkins import CheckIn, SignedCheckIn, check_in_bytes
from ledger.messages.contact import Contact
from ledger.messages.duty import Vote, vote_bytes
from ledger.messages.transactions import (
    VERSION,
    ClaimRewards,
    ContactUpdate,
    Contribute,
    Envelope,
    Free,
    KeyChange,
    Paid,
    Place,
    Register,
    Registration,
    Report,
    RequestUnlock,
    SetAttestors,
    SetKeys,
    SetParams,
    SetSuccessor,
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

    def claim_rewards(self, terms: Terms, node: Key, life: int) -> bytes:
        """Return the claim of what waits in a node for this account, or for who it named."""
        return self._paid("claim_rewards", terms, ClaimRewards(node, life))

    def request_unlock(self, terms: Terms, node: Key, life: int) -> bytes:
        """Return the request that a node ends its duty, so that all its stake comes back."""
        return self._paid("request_unlock", terms, RequestUnlock(node, life))

    def report(self, terms: Terms, report: Report) -> bytes:
        """Return the report of an offence; the fee comes back where it proves one."""
        return self._paid("report", terms, report)

    def order(self, terms: Terms, order: SetAttestors | SetParams | SetSuccessor) -> bytes:
        """Return an order that others signed; this account pays for it."""
        kind = next(row.name for row in TX_KINDS if row.body is type(order))
        return self._paid(kind, terms, order)

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
    validates: bool = False
    """Whether it names a consensus key too, to agree on blocks."""


def sign_registration(
    genesis_hash: Hash, node_seed: bytes, terms: NodeTerms, stake: Amount
) -> Register:
    """Return a registration with the proofs of every key of the node."""
    node, duty = derive(node_seed, "node"), derive(node_seed, "duty")
    lists = derive(node_seed, "list") if terms.attests else None
    consensus = derive(node_seed, "consensus") if terms.validates else None
    registration = Registration(
        node=node.public,
        life=terms.life,
        operator=terms.operator,
        beneficiary=terms.beneficiary,
        fee=terms.fee,
        reserved=terms.reserved,
        contact=terms.contact,
        duty_key=duty.public,
        list_key=lists.public if lists else b"",
        list_tip=HashChain(derive_secret(node_seed, CHAIN)).tip if lists else b"",
        consensus_key=consensus.public if consensus else b"",
        expiry_ms=terms.expiry_ms,
    )
    payload = encode(registration)

    def proof(pair: KeyPair | None, tag: bytes) -> bytes:
        return b"" if pair is None else sign(pair, signing_bytes(tag, genesis_hash, payload))

    return Register(
        registration=registration,
        node_signature=proof(node, tags.REGISTRATION),
        duty_signature=proof(duty, tags.DUTY_KEY),
        list_signature=proof(lists, tags.LIST_KEY),
        consensus_signature=proof(consensus, tags.CONSENSUS_KEY),
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


def sign_vote(genesis_hash: Hash, duty: KeyPair, vote: Vote) -> bytes:
    """Return the signature of a vote by the duty key that its tester has in the vote's epoch.

    A watermark has to know of the vote first: see `registry.agent.votes`.
    """
    return sign(duty, vote_bytes(genesis_hash, vote))


class RolePairs(NamedTuple):
    """The keys that a node is to have, each with its secret."""

    duty: KeyPair
    lists: KeyPair | None
    """None for a node that does not attest."""
    list_tip: Hash
    """Tip of a new hash chain; none where that of the list key goes on."""
    consensus: KeyPair | None
    """None for a node that signs no blocks."""


def sign_keys(
    genesis_hash: Hash, node: KeyPair, life: int, sequence: int, roles: RolePairs
) -> bytes:
    """Return the transaction by which a node changes its role keys, signed by all of them."""
    change = KeyChange(
        node=node.public,
        life=life,
        sequence=sequence,
        duty_key=roles.duty.public,
        list_key=roles.lists.public if roles.lists else b"",
        list_tip=roles.list_tip,
        consensus_key=roles.consensus.public if roles.consensus else b"",
    )
    payload = encode(change)

    def proof(pair: KeyPair | None, tag: bytes) -> bytes:
        return b"" if pair is None else sign(pair, signing_bytes(tag, genesis_hash, payload))

    body = SetKeys(
        change=change,
        node_signature=proof(node, tags.KEY_CHANGE),
        duty_signature=proof(roles.duty, tags.DUTY_KEY),
        list_signature=proof(roles.lists, tags.LIST_KEY),
        consensus_signature=proof(roles.consensus, tags.CONSENSUS_KEY),
    )
    return encode(Free(VERSION, KIND_TAGS["set_keys"], body))


def sign_check_in(genesis_hash: Hash, node: KeyPair, check_in: CheckIn) -> bytes:
    """Return the check-in of a node, encoded and signed."""
    return encode(SignedCheckIn(check_in, sign(node, check_in_bytes(genesis_hash, check_in))))
