"""What every kind of transaction is refused for, once for each; and the codes that each kind has.

`KINDS` has a row for each kind and each of `EVERY`; a paid kind has one for each of `PAID` too.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from ledger.codec import encode
from ledger.crypto import KeyPair, sign, signing_bytes
from ledger.errors import REFUSALS
from ledger.messages import tags
from ledger.messages.duty import Vote
from ledger.transactions import TX_KINDS
from tests.factory import QUARTER, RICH, Network, keys, pair_of
from tests.flip import flip
from tests.ledger.refusals import contact
from tests.ledger.refusals.attest import silent, under
from tests.ledger.refusals.contact import UNROUTABLE
from tests.ledger.refusals.envelope import SMALL_ORDER, at, other_network
from tests.ledger.refusals.orders import one_more
from tests.ledger.refusals.rows import NO_PARAMS, Row, Scene, Sent, after, empty
from tests.ledger.refusals.stake import PART, PROOF_FAULTS, PROOFS, bob_gave, waiting, with_roles
from tests.ledger.refusals.successor import moved, over
from tests.ledger.scenes import CIVIC, earn
from tests.life import (
    FAULTY,
    judge,
    report,
    set_attestors,
    set_keys,
    set_params,
    set_successor,
    vote_evidence,
)

Make = Callable[[Network], bytes]


class Good(NamedTuple):
    """A good transaction of a kind; where there is an envelope, its fields may be others."""

    make: Callable[..., bytes]
    scene: Scene = empty
    again: str = "nonce_used"
    """Code of the same once more."""
    genesis: Mapping[str, Any] = NO_PARAMS


GOOD: Final[dict[str, Good]] = {
    "transfer": Good(lambda n, **fields: n.transfer("alice", "bob", **fields)),
    "register": Good(lambda n, **fields: n.register(stake=QUARTER, envelope=fields)),
    "contribute": Good(lambda n, **fields: n.contribute("bob", PART, envelope=fields), waiting),
    "withdraw": Good(lambda n, **fields: n.withdraw("bob", **fields), bob_gave),
    "update_contact": Good(lambda n: n.update_contact(), waiting, "contact_sequence"),
    "attest": Good(lambda n: n.attest(0), silent, "attested_already"),
    "request_unlock": Good(lambda n, **fields: n.request_unlock(**fields), waiting),
    "claim_rewards": Good(lambda n, **fields: n.claim_rewards(**fields), earn),
    "set_keys": Good(lambda n: set_keys(n), with_roles, "contact_sequence"),
    "judge": Good(lambda n: judge(n, "town 0", FAULTY), empty, "judged_already", CIVIC),
    "report": Good(
        lambda n, **fields: report(n, "alice", vote_evidence(n, "town 0"), **fields),
        waiting,
        genesis=CIVIC,
    ),
    "set_attestors": Good(lambda n, **fields: set_attestors(n, one_more(n), **fields), waiting),
    "set_params": Good(
        lambda n, **fields: set_params(n, minimum_fee=2_000, envelope=fields), waiting
    ),
    "set_successor": Good(lambda n, **fields: set_successor(n, **fields), waiting),
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
        own, payload = last_signed(network, kind, raw)
        message = signing_bytes(tag or own, genesis_hash, payload)
    pair = keys(who) if who else signer_of(network, raw)
    return raw[:-64] + sign(pair, message)


def last_signed(network: Network, kind: str, raw: bytes) -> tuple[bytes, bytes]:
    """Under which tag, and of what, the signature at the end of a good transaction is."""
    body = network.chain.decode(raw).body
    if kind == "set_keys":
        return tags.CONSENSUS_KEY, encode(body.change)
    if kind == "judge":
        return tags.VOTE, encode(Vote(body.epoch, body.node, body.life, body.votes[-1].faults))
    return tags.TRANSACTION, raw[1:-66]


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
    other = {"register": 1, "update_contact": 6}.get(kind, 5 if is_free else 2)
    return {
        "signed by another key": ("bad_signature", partial(signed_with, kind, who="somebody")),
        "signed for another network": (
            "bad_signature",
            partial(signed_with, kind, genesis_hash=other_network()),
        ),
        "signed under another tag": ("bad_signature", partial(signed_with, kind, tag=tags.BLOCK)),
        "a bit of its signature turned": (
            "bad_signature",
            changed(kind, flip),
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


MOVED: Final = "after the network has moved"
EVERY: Final = (*every("transfer", is_free=False), MOVED)
PAID: Final = tuple(paid("transfer"))

KINDS: Final[dict[str, Row]] = {
    f"{kind.name}: {what}": Sent(code, make, GOOD[kind.name].scene, genesis=GOOD[kind.name].genesis)
    for kind in TX_KINDS
    for what, (code, make) in (
        every(kind.name, is_free=kind.is_free) | ({} if kind.is_free else paid(kind.name))
    ).items()
}

KINDS.update(
    {
        f"{kind.name}: {MOVED}": Sent(
            "network_moved",
            GOOD[kind.name].make,
            # an attestation is what is taken up to the very end
            after(GOOD[kind.name].scene, moved) if kind.name != "attest" else over,
            genesis=GOOD[kind.name].genesis,
        )
        for kind in TX_KINDS
    }
)

# ---------------------------------------------------------------------------------- codes

FREE_CODES: Final = frozenset(
    ("not_canonical", "too_large", "unknown_kind", "bad_signature", "network_moved")
)
ENVELOPE_CODES: Final = FREE_CODES | {
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
    | {"key_in_use", "stake_too_small", "stake_too_large", "bad_reservation", "tombstoned"},
    "contribute": ENVELOPE_CODES
    | {"unknown_node", "wrong_life", "not_awaiting", "already_contributes", "reserved_amount"}
    | {"too_many_places", "stake_too_small", "stake_too_large", "bad_key", "leaving_already"},
    "withdraw": ENVELOPE_CODES
    | {"unknown_node", "wrong_life", "not_awaiting", "operator_stays", "no_contribution"},
    "update_contact": FREE_CODES
    | CONTACT_CODES
    | {"unknown_node", "wrong_life", "contact_sequence", "contact_too_often"},
    "attest": FREE_CODES | {"attest_closed", "unknown_attestor", "attested_already", "bad_reveal"},
    "request_unlock": ENVELOPE_CODES
    | {"unknown_node", "wrong_life", "no_contribution", "leaving_already", "not_activated"}
    | {"unlock_too_early"},
    "claim_rewards": ENVELOPE_CODES
    | {"unknown_node", "wrong_life", "no_contribution", "nothing_to_claim"},
    "set_keys": FREE_CODES
    | {"unknown_node", "wrong_life", "leaving_already", "contact_sequence", "keys_too_often"}
    | {"attestor_keys", "keys_not_distinct", "bad_key", "key_in_use"},
    "judge": FREE_CODES
    | {"verdict_closed", "unknown_node", "wrong_life", "not_tested", "judged_already"}
    | {"votes_differ", "verdict_useless", "no_quorum", "bad_testers", "too_few_votes"},
    "report": ENVELOPE_CODES
    | {"unknown_offence", "no_contradiction", "bad_header", "unknown_format", "unknown_offender"}
    | {"evidence_too_old", "evidence_early", "punished_already", "nothing_at_stake"},
    "set_attestors": ENVELOPE_CODES
    | {"bad_order", "too_few_signers", "bad_key", "key_in_use", "key_barred", "not_on_duty"}
    | {"change_pending", "change_too_soon", "turnover_too_high"},
    "set_params": ENVELOPE_CODES
    | {"bad_order", "too_few_signers", "change_pending", "change_too_soon", "bad_parameter"}
    | {"bad_relation", "parameter_fixed"},
    "set_successor": ENVELOPE_CODES
    | {"bad_order", "too_few_signers", "change_pending", "change_too_soon"},
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
        *("registration of a node that has left", "registration of a deregistered node"),
        *("registration of a tombstoned key",),
    ),
    "contribute": (
        *("contribution to the life before", "contribution to another life"),
        *("contributor cannot pay", "contribution to no node", "contribution of nothing"),
        *("contribution to a node that is given up", "contribution to a node that has left"),
    ),
    "withdraw": (
        *("withdrawal of the life before", "withdrawal of a stranger", "second withdrawal"),
        *("withdrawal from a node that has left", "withdrawal after the node was given up"),
    ),
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
    "request_unlock": (
        *("unlock of the life before", "unlock by a stranger", "second unlock"),
        *("unlock by a contributor a millisecond early", "unlock of a deregistered node"),
        *("unlock of a tombstoned node", "unlock of a node whose stake was paid out"),
    ),
    "claim_rewards": (
        *("claim from the life before", "claim of a stranger", "second claim in an epoch"),
        *("claim before the node earns", "claim after everything was paid out"),
    ),
    "set_keys": (
        *("keys of the life before", "keys of a node that has left", "keys signed by the operator"),
        *("keys with the number of the last change", "keys with the number of contact data"),
        *("second change of keys in an epoch", "duty key's proof of its registration"),
        *("new list key without a tip", "tip changed after signing"),
        *(f"new keys, {role} proof by another key" for role in PROOFS),
        *(
            f"new {role} key that is another node's {taken} key"
            for role in ("duty", "list", "consensus")
            for taken in PROOFS
        ),
    ),
    "judge": (
        *("verdict of the epoch before the last", "verdict of an epoch to come"),
        *("verdict on the life before", "verdict of the epoch before the node was active"),
        *("verdict of the epoch before the node was taken down", "verdict that is there already"),
        *("13 votes of 14", "one vote less than are needed", "one vote twice"),
        *("index that the quorum has not", "testers out of order", "vote of an outsider"),
        *("vote of one who did not take part", "forged vote", "vote for another network"),
        *("vote on another life", "vote on another node", "vote of another epoch"),
        *("vote with other faults", "vote that passes, carried as a fail"),
        *("votes of the last epoch by new duty keys", "votes of this epoch by old duty keys"),
    ),
    "report": (
        *("the same evidence again", "the same evidence a third time", "two identical headers"),
        *("votes of an epoch past the age of evidence", "votes by a duty key of the life before"),
        *("headers of one epoch in the wrong order", "path that leads nowhere"),
        *("headers of two epochs in the wrong order", "header that extends the other one"),
        *("report of what only an engine can prove", "votes on another network"),
        *("votes of an epoch to come", "votes where no stake is left"),
    ),
    "set_attestors": (
        *("order one weight short", "order signed by two thirds", "signer twice"),
        *("order that moves one unit more than may move", "order while one waits"),
        *("order a millisecond too soon after the last", "seat that is lost"),
        *("seat of a key that was slashed with its node", "order signed for another network"),
        *("order while another set is announced", "second order by recovery keys"),
    ),
    "set_params": (
        *("parameters one weight short", "parameters while others are announced"),
        *("parameters with a notice one millisecond short", "parameters that are the same"),
        *("parameters that do not fit together", "parameter out of its range"),
        *("longer epochs", "shorter trust", "older evidence", "shorter unbonding"),
    ),
    "set_successor": (
        *("successor one weight short", "successor while another one is announced"),
        *("successor with a notice one millisecond short", "network that goes on as itself"),
        *("withdrawal of nothing", "withdrawal of what was announced for another time"),
        *("withdrawal of a withdrawn successor", "withdrawn successor, sent again"),
    ),
}
"""Rows that each kind must have beside those of `KINDS`."""
