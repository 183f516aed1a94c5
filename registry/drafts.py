"""Drafts: transactions on their way to those who sign them, on machines without a network.

- A draft is a whole transaction for one network. A signature that is missing is 64 zero bytes.
- A key signs what its own rule says, over the bytes that stand there. An account signs last, since
  its signature covers those of the node.
- The file is JSON and says in words what its bytes say. One that says anything else, or is written
  in any other way, is refused: whoever reads it reads what is signed.
- A file that holds a signature which does not fit is refused whole.

docs/operating/offline.md has the format.
"""

from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace

from ledger.codec import Record, encode
from ledger.crypto import KeyPair, Signed, sha256, sign, signing_bytes, verify
from ledger.errors import Refusal, WaypostError
from ledger.messages import tags
from ledger.messages.transactions import (
    VERSION,
    Envelope,
    Free,
    Paid,
    Register,
    SetKeys,
    UpdateContact,
)
from ledger.transactions import TX_KINDS, WIRE
from ledger.transactions.envelope import Transaction
from ledger.types import Amount, Hash, Key
from registry.addresses import KEY_BYTES, encode_account, encode_node
from registry.keystore import derive

FORMAT: Final = 1
"""Version of the file."""

MAX_FILE_BYTES: Final = 2**18
UNSIGNED: Final = bytes(64)
"""Stands where a signature is missing."""

DRAFTED: Final = (
    "transfer", "register", "contribute", "withdraw", "request_unlock", "claim_rewards",
    "update_contact", "set_keys",
)  # fmt: skip
"""Kinds that holders of keys make by hand; all others have files or programs of their own."""

ACCOUNTS: Final = ("sender", "recipient", "operator", "beneficiary", "account")
AMOUNTS: Final = ("amount", "stake")
"""Fields of a body that are shown as addresses of accounts, and as decimal strings."""

Message: TypeAlias = Paid[Any] | Free[Any]


class BadDraft(WaypostError):
    """A file is no draft that can be used; the message says why."""


class NotSigned(WaypostError):
    """Signatures are missing; the message says whose."""


class NothingToSign(WaypostError):
    """No signature that is missing is one of the keys at hand."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields of a file, in their order."""

    version: Annotated[int, msgspec.Meta(ge=FORMAT, le=FORMAT)] = msgspec.field(
        name="waypost transaction"
    )
    network: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,40}\Z")]
    genesis_hash: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    says: dict[str, Any]
    missing: list[dict[str, str]]
    transaction: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2})+\Z")]


class Draft(NamedTuple):
    """A transaction with the network that it is for."""

    network: str
    """The name that its maker gives the network; only the hash is signed."""
    genesis_hash: Hash
    message: Message
    transaction: Transaction
    """The same, decoded; its hash is final once no signature is missing."""


class Slot(NamedTuple):
    """A place for a signature."""

    role: Literal["account", "node", "duty", "list", "consensus"]
    """The role of the key, as in a key file."""
    key: Key
    message: bytes
    """What is signed."""
    signature: bytes
    field: str
    """Its field in the body; empty for the envelope's."""

    @property
    def is_missing(self) -> bool:
        """Whether nobody has signed here."""
        return self.signature == UNSIGNED


# --- making and reading -------------------------------------------------------------------------


def make_draft(network: str, genesis_hash: Hash, message: Message) -> Draft:
    """Return the draft of a transaction, whatever of it is signed."""
    return Draft(network, genesis_hash, message, WIRE.decode(encode(message)))


def draft_paid(
    network: str, genesis_hash: Hash, sender: Key, terms: tuple[int, Amount, int], body: Record
) -> Draft:
    """Return an unsigned transaction that an account pays for; `terms` are nonce, fee, expiry."""
    envelope = Envelope(VERSION, _tag_of(body), sender, *terms, body)
    return make_draft(network, genesis_hash, Paid(envelope, UNSIGNED))


def draft_free(network: str, genesis_hash: Hash, body: Record) -> Draft:
    """Return a transaction that carries the signatures of its body, if they are made."""
    return make_draft(network, genesis_hash, Free(VERSION, _tag_of(body), body))


def _tag_of(body: Record) -> int:
    return next(kind.tag for kind in TX_KINDS if kind.body is type(body))


def write_draft(draft: Draft) -> bytes:
    """Return the file of a draft."""
    file = _File(
        version=FORMAT,
        network=draft.network,
        genesis_hash=draft.genesis_hash.hex(),
        says=describe(draft.transaction),
        missing=[{"role": slot.role, "key": slot.key.hex()} for slot in list_missing(draft)],
        transaction=draft.transaction.raw.hex(),
    )
    return msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n"


def read_draft(raw: bytes) -> Draft:
    """Return what a file holds, every signature in it verified. Raises `BadDraft`."""
    if len(raw) > MAX_FILE_BYTES:
        raise BadDraft(f"it is longer than {MAX_FILE_BYTES} bytes, so it is no transaction")
    try:
        file = msgspec.json.decode(raw, type=_File)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadDraft(f"it is no file of `waypost tx build`: {error}") from None
    try:
        tx = WIRE.decode(bytes.fromhex(file.transaction))
    except Refusal as refusal:
        raise BadDraft(f"its transaction is none: {refusal.text}") from None
    if tx.kind.name not in DRAFTED:
        raise BadDraft(f"transactions of the kind {tx.kind.name} are not signed by hand")
    draft = Draft(file.network, bytes.fromhex(file.genesis_hash), _message_of(tx), tx)
    if write_draft(draft) != raw:
        raise BadDraft("it says something else than its bytes, or was changed: build it anew")
    for slot in list_slots(draft):
        if not slot.is_missing and not verify(Signed(slot.key, slot.message, slot.signature)):
            raise BadDraft(f"the signature of the {slot.role} key {slot.key.hex()} does not fit")
    return draft


def _message_of(tx: Transaction) -> Message:
    if tx.kind.is_free:
        return Free(VERSION, tx.kind.tag, tx.body)
    envelope = Envelope(VERSION, tx.kind.tag, tx.sender, tx.nonce, tx.fee, tx.expiry, tx.body)
    return Paid(envelope, tx.signature)


# --- signing ------------------------------------------------------------------------------------


def list_slots(draft: Draft) -> list[Slot]:
    """Return every place for a signature, in the order in which they are filled."""
    message = draft.message
    if isinstance(message, Free):
        return _list_proofs(message.body, draft.genesis_hash)
    envelope = message.envelope
    signed = signing_bytes(tags.TRANSACTION, draft.genesis_hash, encode(envelope))
    own = Slot("account", envelope.sender, signed, message.signature, "")
    return [*_list_proofs(envelope.body, draft.genesis_hash), own]


def list_missing(draft: Draft) -> list[Slot]:
    """Return the places that nobody has signed."""
    return [slot for slot in list_slots(draft) if slot.is_missing]


def _list_proofs(body: Record, genesis_hash: Hash) -> list[Slot]:
    """Return the places for signatures that a body carries itself."""
    payload: Any
    match body:
        case Register():
            payload, node_tag = body.registration, tags.REGISTRATION
        case SetKeys():
            payload, node_tag = body.change, tags.KEY_CHANGE
        case UpdateContact():
            message = signing_bytes(tags.CONTACT, genesis_hash, encode(body.update))
            return [Slot("node", body.update.node, message, body.signature, "signature")]
        case _:
            return []
    proofs: tuple[tuple[Any, Key, bytes], ...] = (
        ("node", payload.node, node_tag),
        ("duty", payload.duty_key, tags.DUTY_KEY),
        ("list", payload.list_key, tags.LIST_KEY),
        ("consensus", payload.consensus_key, tags.CONSENSUS_KEY),
    )
    return [
        Slot(
            role,
            key,
            signing_bytes(tag, genesis_hash, encode(payload)),
            getattr(body, f"{role}_signature"),
            f"{role}_signature",
        )
        for role, key, tag in proofs
        if key
    ]


def sign_draft(draft: Draft, seeds: Iterable[bytes]) -> tuple[Draft, list[Slot]]:
    """Return the draft with all that these seeds can sign now, and what they signed.

    Raises `NothingToSign`, and `NotSigned` where an account would sign before its node did.
    """
    held = list(seeds)
    signed: list[Slot] = []
    # the account's comes last, and its message is that of the body with its proofs in it
    while (slot := _find_next(draft, held)) is not None:
        others = [each for each in list_missing(draft) if each.field]
        if not slot.field and others:
            raise NotSigned(
                f"{_name(others)} has to sign first: the account's signature covers what it signs"
            )
        pair = next(pair for pair in _pairs(held, slot.role) if pair.public == slot.key)
        signature = sign(pair, slot.message)
        draft = _fill(draft, slot, signature)
        signed.append(slot._replace(signature=signature))
    if not signed:
        missing = list_missing(draft)
        raise NothingToSign(
            f"these key files do not have the key that is missing: {_name(missing)}"
            if missing
            else "every signature is there already: `waypost tx send` sends it"
        )
    return draft, signed


def _find_next(draft: Draft, seeds: list[bytes]) -> Slot | None:
    for slot in list_missing(draft):
        if any(pair.public == slot.key for pair in _pairs(seeds, slot.role)):
            return slot
    return None


def _pairs(seeds: list[bytes], role: str) -> list[KeyPair]:
    return [derive(seed, role) for seed in seeds]


def _fill(draft: Draft, slot: Slot, signature: bytes) -> Draft:
    message = draft.message
    if not slot.field:
        assert isinstance(message, Paid)
        filled: Message = Paid(message.envelope, signature)
    elif isinstance(message, Paid):
        body = replace(message.envelope.body, **{slot.field: signature})
        filled = Paid(replace(message.envelope, body=body), message.signature)
    else:
        body = replace(message.body, **{slot.field: signature})
        filled = Free(message.version, message.kind, body)
    return make_draft(draft.network, draft.genesis_hash, filled)


def finish(draft: Draft) -> bytes:
    """Return the bytes of a transaction that is signed. Raises `NotSigned`."""
    missing = list_missing(draft)
    if missing:
        raise NotSigned(f"not signed yet by {_name(missing)}: `waypost tx sign` does that")
    return draft.transaction.raw


def _name(slots: list[Slot]) -> str:
    return ", ".join(f"the {slot.role} key {_spell_key(slot)}" for slot in slots)


def _spell_key(slot: Slot) -> str:
    spell: dict[str, Callable[[Key], str]] = {"account": encode_account, "node": encode_node}
    return spell.get(slot.role, bytes.hex)(slot.key)


# --- what it says -------------------------------------------------------------------------------


def describe(tx: Transaction) -> dict[str, Any]:
    """Return what a transaction says, by the names of its fields, and what it takes in all."""
    facts: dict[str, Any] = {"kind": tx.kind.name}
    if tx.kind.cost is not None:
        facts |= {
            "sender": encode_account(tx.sender),
            "nonce": tx.nonce,
            "fee": str(tx.fee),
            "expiry": tx.expiry,
            "takes": str(tx.fee + tx.kind.cost(tx.body)),
        }
    return facts | {"body": _spell_record(tx.body)}


def hash_of(draft: Draft) -> str | None:
    """Return the transaction's hash as hex; None while a signature is missing."""
    return None if list_missing(draft) else sha256(draft.transaction.raw).hex()


def _spell_record(record: Any) -> dict[str, Any]:
    return {
        name: _spell(name, getattr(record, name))
        for name in record.__struct_fields__
        if not name.endswith("signature")
    }


def _spell(name: str, value: Any) -> Any:
    """Return a field as people read it."""
    if name.endswith("_version"):
        return f"{value.major}.{value.minor}.{value.patch}"
    if isinstance(value, Record):
        return _spell_record(value)
    if isinstance(value, tuple):
        return [_spell_record(item) for item in value]
    if isinstance(value, int):
        return str(value) if name in AMOUNTS else value
    if name in ("ipv4", "ipv6"):
        return str(ip_address(value)) if value else ""
    if len(value) == KEY_BYTES:
        if name in ACCOUNTS:
            return encode_account(value)
        if name == "node":
            return encode_node(value)
    return value.hex()
