"""What every kind of transaction is refused for, once for each; and the codes that each kind has.

`KINDS` has a row for each kind and each of `EVERY`; a paid kind has one for each of `PAID` too.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple

from ledger.crypto import KeyPair, sign, signing_bytes
from ledger.errors import REFUSALS
from ledger.messages import tags
from ledger.transactions import TX_KINDS
from tests.factory import QUARTER, RICH, Network, keys, pair_of
from tests.ledger.refusals import contact
from tests.ledger.refusals.attest import silent, under
from tests.ledger.refusals.contact import UNROUTABLE
from tests.ledger.refusals.envelope import SMALL_ORDER, at, flip, other_network
from tests.ledger.refusals.rows import Row, Scene, Sent, empty
from tests.ledger.refusals.stake import PART, PROOF_FAULTS, PROOFS, bob_gave, waiting

Make = Callable[[Network], bytes]


class Good(NamedTuple):
    """A good transaction of a kind; where there is an envelope, its fields may be others."""

    make: Callable[..., bytes]
    scene: Scene = empty
    again: str = "nonce_used"
    """Code of the same once more."""


GOOD: Final[dict[str, Good]] = {
    "transfer": Good(lambda n, **fields: n.transfer("alice", "bob", **fields)),
    "register": Good(lambda n, **fields: n.register(stake=QUARTER, envelope=fields)),
    "contribute": Good(lambda n, **fields: n.contribute("bob", PART, envelope=fields), waiting),
    "withdraw": Good(lambda n, **fields: n.withdraw("bob", **fields), bob_gave),
    "update_contact": Good(lambda n: n.update_contact(), waiting, "contact_sequence"),
    "attest": Good(lambda n: n.attest(0), silent, "attested_already"),
}


# --------------------------------------------------------------------------------- makers


def signed_with(
    kind: str, network: Network, *, who: str = "", tag: bytes = b"", genesis_hash: bytes = b""
) -> bytes:
    """A good transaction but for the key, the tag or the network of its last signature."""
    raw, genesis_hash = GOOD[kind].make(network), genesis_hash or network.hash
    if kind == "update_contact":
        if who:
            return network.update_contact(signer=who)
        return contact.signed_for(network, tag or tags.CONTACT, genesis_hash)
    if kind == "attest":
        message = under(network, tag or tags.LIST_HEADER, genesis_hash)
    else:
        message = signing_bytes(tag or tags.TRANSACTION, genesis_hash, raw[1:-66])
    pair = keys(who) if who else signer_of(network, raw)
    return raw[:-64] + sign(pair, message)


def signer_of(network: Network, raw: bytes) -> KeyPair:
    """Whose signature stands at the end of a good transaction."""
    tx = network.chain.decode(raw)
    return pair_of(network.chain.signatures(tx)[-1].key)


def again(kind: str, network: Network) -> bytes:
    """A transaction that a block has already."""
    raw = GOOD[kind].make(network)
    network.block(raw)
    return raw


def changed(kind: str, change: Callable[[bytes], bytes]) -> Make:
    """A function that makes a good transaction and changes its bytes."""
    return lambda network: change(GOOD[kind].make(network))


def enveloped(kind: str, **fields: Callable[[Network], int]) -> Make:
    """A function that makes a good transaction but for a field of its envelope."""

    def make(network: Network) -> bytes:
        return GOOD[kind].make(network, **{name: of(network) for name, of in fields.items()})

    return make


def set_byte(place: int, value: int) -> Callable[[bytes], bytes]:
    """Put a byte in the place of another."""
    return lambda raw: raw[:place] + bytes([value]) + raw[place + 1 :]


# ----------------------------------------------------------------------------------- rows


def every(kind: str, *, is_free: bool) -> dict[str, tuple[str, Make]]:
    """Code and maker of what is wrong with a transaction of whatever kind."""
    version = 1 if is_free else 2
    # arrays of two hold a paid kind, arrays of three a free one; the number is behind the version
    other = {"register": 1, "attest": 5, "update_contact": 6}.get(kind, 2)
    return {
        "signed by another key": ("bad_signature", partial(signed_with, kind, who="somebody")),
        "signed for another network": (
            "bad_signature",
            partial(signed_with, kind, genesis_hash=other_network()),
        ),
        "signed under another tag": ("bad_signature", partial(signed_with, kind, tag=tags.BLOCK)),
        "a bit of its signature turned": (
            "bad_signature",
            changed(kind, lambda raw: flip(raw, len(raw) - 1)),
        ),
        "sent again": (GOOD[kind].again, partial(again, kind)),
        "a byte behind it": ("not_canonical", changed(kind, lambda raw: raw + b"\0")),
        "cut off": ("not_canonical", changed(kind, lambda raw: raw[:-1])),
        "twice in one": ("not_canonical", changed(kind, lambda raw: 2 * raw)),
        "another version": ("not_canonical", changed(kind, set_byte(version, 2))),
        "another kind's number": ("not_canonical", changed(kind, set_byte(version + 1, other))),
        "a number that no kind has": ("unknown_kind", changed(kind, set_byte(version + 1, 127))),
        "longer than a record may be": (
            "too_large",
            changed(kind, lambda raw: raw.ljust(2**16 + 1, b"\0")),
        ),
    }


def paid(kind: str) -> dict[str, tuple[str, Make]]:
    """The same of what an account pays for."""
    return {
        "expired": ("expired", enveloped(kind, expiry=lambda n: at(n, -1))),
        "expires too late": (
            "expiry_too_far",
            enveloped(kind, expiry=lambda n: at(n, n.params.max_lifetime_blocks + 1)),
        ),
        "a nonce that was used": ("nonce_used", partial(used, kind)),
        "a nonce that leaves one out": (
            "nonce_skipped",
            enveloped(kind, nonce=lambda n: n.state.account(sender_of(n, kind)).nonce + 1),
        ),
        "a fee too low": (
            "fee_too_low",
            enveloped(kind, fee=lambda n: n.params.minimum_fee - 1),
        ),
        "a balance too low": ("balance_too_low", enveloped(kind, fee=lambda _: RICH)),
    }


def sender_of(network: Network, kind: str) -> bytes:
    """The account that pays for the good transaction of a kind."""
    return network.chain.decode(GOOD[kind].make(network)).sender


def used(kind: str, network: Network) -> bytes:
    """A good transaction, but for the nonce of one that its sender has sent."""
    sender = sender_of(network, kind)
    network.forget_sent()
    name = next(name for name in ("alice", "bob") if keys(name).public == sender)
    network.block(network.transfer(name, "carol"))
    return GOOD[kind].make(network, nonce=network.state.account(sender).nonce - 1)


EVERY: Final = tuple(every("transfer", is_free=False))
PAID: Final = tuple(paid("transfer"))

KINDS: Final[dict[str, Row]] = {
    f"{kind.name}: {what}": Sent(code, make, GOOD[kind.name].scene)
    for kind in TX_KINDS
    for what, (code, make) in (
        every(kind.name, is_free=kind.is_free) | ({} if kind.is_free else paid(kind.name))
    ).items()
}

# ---------------------------------------------------------------------------------- codes

WIRE_CODES: Final = frozenset(("not_canonical", "too_large", "unknown_kind", "bad_signature"))
ENVELOPE_CODES: Final = WIRE_CODES | {
    *("expired", "expiry_too_far", "nonce_used", "nonce_skipped", "fee_too_low"),
    "balance_too_low",
}
CONTACT_CODES: Final = frozenset(("bad_address", "bad_port", "bad_version"))

CODES: Final[dict[str, frozenset[str]]] = {
    "transfer": ENVELOPE_CODES | {"amount_zero", "bad_key"},
    "register": ENVELOPE_CODES
    | CONTACT_CODES
    | {"wrong_operator", "registration_expired", "registration_too_long", "node_exists"}
    | {"wrong_life", "fee_out_of_range", "attestor_keys", "keys_not_distinct", "bad_key"}
    | {"key_in_use", "stake_too_small", "stake_too_large", "bad_reservation"},
    "contribute": ENVELOPE_CODES
    | {"unknown_node", "wrong_life", "not_awaiting", "already_contributes", "reserved_amount"}
    | {"too_many_places", "stake_too_small", "stake_too_large", "bad_key"},
    "withdraw": ENVELOPE_CODES
    | {"unknown_node", "wrong_life", "not_awaiting", "operator_stays", "no_contribution"},
    "update_contact": WIRE_CODES
    | CONTACT_CODES
    | {"unknown_node", "wrong_life", "contact_sequence", "contact_too_often"},
    "attest": WIRE_CODES | {"attest_closed", "unknown_attestor", "attested_already", "bad_reveal"},
}
"""Every code with which each kind is refused: no other, and each has a row of that kind."""


def declared_codes(function: Callable[..., object]) -> Iterator[str]:
    """The codes that a rule's own description names."""
    for name in re.findall(r"`(\w+)`", function.__doc__ or ""):
        if name in REFUSALS:
            yield name


# ------------------------------------------------------------------------ what must be there

OWN: Final[dict[str, tuple[str, ...]]] = {
    "transfer": (
        *("balance one unit short", "transfer of nothing", "S is not below the order"),
        *(f"recipient {name}" for name in SMALL_ORDER),
    ),
    "register": (
        *(f"{role} proof {what}" for role in PROOFS for what in PROOF_FAULTS),
        *(f"another node's {taken} key as {given} key" for taken in PROOFS for given in PROOFS),
        *(f"a founding attestor's key as {given} key" for given in PROOFS),
        *("duty key is the node key", "list key is the duty key", "list key is the node key"),
        *(f"consensus key is the {role} key" for role in ("node", "duty", "list")),
        *("registration expired a millisecond ago", "registration of the life before"),
        *("registration sent by another than its operator", "expiry changed after signing"),
        *("operator cannot pay his stake", "one byte over the limit of a transaction"),
        *(f"{name}, {end}" for name in UNROUTABLE for end in ("first", "last")),
        *("no address", "no storage port", "no router port", "storage version 0.0.0"),
    ),
    "contribute": (
        *("contribution to the life before", "contribution to another life"),
        *("contributor cannot pay", "contribution to no node", "contribution of nothing"),
    ),
    "withdraw": ("withdrawal of the life before", "withdrawal of a stranger", "second withdrawal"),
    "update_contact": (
        *("update of the life before", "update with a sequence of the life before"),
        *("update with the last sequence", "update signed by the operator"),
        *("update signed by the duty key", "third update in an epoch"),
        *(f"update to {name}" for name in UNROUTABLE),
        *("update without an address", "update to port 0 of storage", "update without a port"),
        *("update to storage version 0.0.0", "update to version 0.0.0"),
    ),
    "attest": (
        *("attestation after the window", "attestation of an epoch before", "reveal of nothing"),
        *("reveal that was accepted", "attestation of another header", "attestation of the draft"),
        *("seat that the set has not", "second attestation of a seat"),
    ),
}
"""Rows that each kind must have beside those of `KINDS`."""
