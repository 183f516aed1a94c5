"""Refusals of `register`, `contribute` and `withdraw`."""

from typing import Any

from msgspec.structs import replace

from ledger.codec import Record, encode
from ledger.crypto import sign, signing_bytes
from ledger.messages import tags
from ledger.messages.state import ROLES, Binding, KeyHistory
from ledger.messages.tables import BINDINGS, HISTORIES
from ledger.messages.transactions import Place, Registration
from tests.factory import (
    DAY_MS,
    FEE,
    QUARTER,
    REQUIREMENT,
    RICH,
    START_MS,
    Network,
    attestor_roles,
    keys,
    links,
    make_registration,
    places,
    public,
    sign_registration,
)
from tests.ledger.refusals.envelope import SMALL_ORDER, other_network
from tests.ledger.refusals.rows import Checked, Row, Sent, after

REST = REQUIREMENT - QUARTER
NINE = ("bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy")


# -------------------------------------------------------------------------------- scenes


def waiting(network: Network) -> None:
    """A node of alice waits for three quarters of its stake."""
    network.block(network.register(stake=QUARTER))


def queued(network: Network) -> None:
    """A node of alice is funded."""
    network.block(network.register())


def active(network: Network) -> None:
    """A node of alice is active."""
    queued(network)
    network.end_epoch()


def with_roles(network: Network) -> None:
    """A node of alice waits, and has keys for every role."""
    network.block(network.register(stake=QUARTER, **attestor_roles("node")))


def kept_for_bob(network: Network) -> None:
    """A node of alice waits and keeps a place of 7 for bob."""
    network.block(network.register(stake=QUARTER, reserved=places(("bob", 7))))


def all_kept(network: Network) -> None:
    """Every place of a node is kept for somebody."""
    rows = [(name, 1) for name in NINE[1:]]
    reserved = places(*rows, (NINE[0], REST - len(rows)))
    network.block(network.register(stake=QUARTER, reserved=reserved))


def lived_before(network: Network) -> None:
    """A node key that lived once, and sent contact data then."""
    history = {HISTORIES.letter + public("node"): KeyHistory(1, 5, 0)}
    network.rewrite(dict[bytes, Record | None](history))


def lived_with_roles(network: Network) -> None:
    """A node key that lived once, with keys in every role."""
    lived_before(network)
    bindings = {
        BINDINGS.letter + public(name_of(role)): Binding(number, public("node"))
        for number, role in ROLES.items()
    }
    network.rewrite(dict[bytes, Record | None](bindings))


def lives_again(network: Network) -> None:
    """The same node key in its second life, waiting for stake."""
    lived_before(network)
    network.block(network.register(stake=QUARTER, life=2))


# ------------------------------------------------------------------------------ register


def proof(
    network: Network, field: str, tag: bytes, signer: str, genesis_hash: bytes = b""
) -> bytes:
    """A registration with every role; one of its proofs is made otherwise than it should be."""
    registration = make_registration(**attestor_roles("node"))
    message = signing_bytes(tag, genesis_hash or network.hash, encode(registration))
    made = {field: sign(keys(signer), message)}
    body = sign_registration(network.hash, registration, QUARTER, **made)
    return network.paid("register", "alice", body)


def without(network: Network, field: str) -> bytes:
    """A registration with every role that lacks one proof."""
    registration = make_registration(**attestor_roles("node"))
    body = sign_registration(network.hash, registration, QUARTER, **{field: b""})
    return network.paid("register", "alice", body)


def signed_before(network: Network, **changes: Any) -> bytes:
    """A registration that was changed after every key had signed it."""
    registration = make_registration(**attestor_roles("node"))
    body = sign_registration(network.hash, registration, QUARTER)
    return network.paid(
        "register", "alice", replace(body, registration=replace(registration, **changes))
    )


def by_another(network: Network) -> bytes:
    """The registration that names alice, sent by bob."""
    body = sign_registration(network.hash, make_registration(), REQUIREMENT)
    return network.paid("register", "bob", body)


def register(**changes: Any) -> Any:
    """A function that makes a good registration but for `changes`."""

    def make(network: Network) -> bytes:
        return network.register(**({"stake": QUARTER} | changes))

    return make


def role(name: str, key: bytes) -> Any:
    """A registration with this key in one role, and whatever stands for its proof."""
    roles = attestor_roles("node")
    return register(**(roles | {name: key}))


def fields_of(which: str, holder: str) -> dict[str, Any]:
    """The fields of a registration in which the key of a name has a role."""
    if which == "node":
        return {"node": holder}
    fields: dict[str, Any] = {f"{which}_key": public(holder)}
    return fields | ({"list_tip": links(public(holder))[-1]} if which == "list" else {})


def proof_of(network: Network, field: str, good: Registration, signed: Registration) -> bytes:
    """A registration in which one proof was made for another one."""
    stolen = getattr(sign_registration(network.hash, signed), field)
    body = sign_registration(network.hash, good, QUARTER, **{field: stolen})
    return network.paid("register", "alice", body)


PROOFS = {
    "node": ("node_signature", tags.REGISTRATION),
    "duty": ("duty_signature", tags.DUTY_KEY),
    "list": ("list_signature", tags.LIST_KEY),
    "consensus": ("consensus_signature", tags.CONSENSUS_KEY),
}


def name_of(which: str) -> str:
    """The name of the key in a role of `node`."""
    return "node" if which == "node" else f"node {which}"


def proof_rows(which: str, field: str, tag: bytes) -> dict[str, Row]:
    """What can be wrong with the proof of one role's key, and what is declared of it."""
    signer, other_tag = name_of(which), tags.DUTY_KEY if which != "duty" else tags.LIST_KEY
    # every node has the first two keys, so that their proofs always have 64 bytes
    missing = "not_canonical" if which in ("node", "duty") else "bad_signature"
    rows: dict[str, Row] = {
        "by another key": Sent("bad_signature", lambda n: proof(n, field, tag, "somebody")),
        "under another role's tag": Sent(
            "bad_signature", lambda n: proof(n, field, other_tag, signer)
        ),
        "for another network": Sent(
            "bad_signature", lambda n: proof(n, field, tag, signer, other_network())
        ),
        "of another registration": Sent(
            "bad_signature", lambda n: proof_of(n, field, every_role(), every_role(fee=1))
        ),
        "of the life before": Sent(
            "bad_signature",
            lambda n: proof_of(n, field, every_role(life=2), every_role()),
            lived_with_roles,
        ),
        "of a registration that expired": Sent(
            "bad_signature",
            lambda n: proof_of(n, field, every_role(), every_role(expiry_ms=START_MS)),
        ),
        "of zeros": Sent("bad_signature", lambda n: with_proof(n, field, bytes(64))),
        "left out": Sent(missing, lambda n: with_proof(n, field, b"")),
    }
    assert tuple(rows) == PROOF_FAULTS
    return {f"{which} proof {what}": row for what, row in rows.items()}


PROOF_FAULTS = (
    *("by another key", "under another role's tag", "for another network"),
    *("of another registration", "of the life before", "of a registration that expired"),
    *("of zeros", "left out"),
)
"""What may be wrong with the proof that somebody holds a key."""


def every_role(**changes: Any) -> Registration:
    """A registration with a key for every role."""
    return make_registration(**(attestor_roles("node") | changes))


def with_proof(network: Network, field: str, proof: bytes) -> bytes:
    """A registration with every role and these bytes as one of its proofs."""
    body = sign_registration(network.hash, every_role(), QUARTER, **{field: proof})
    return network.paid("register", "alice", body)


REGISTER: dict[str, Row] = {
    "registration sent by another than its operator": Sent("wrong_operator", by_another),
    "registration expired a millisecond ago": Sent(
        "registration_expired", lambda n: n.register(expiry_ms=n.chain.tip.time_ms - 1)
    ),
    "registration too long by a millisecond": Sent(
        "registration_too_long",
        # a check outside of blocks counts from the newest block, so this is refused by both
        lambda n: n.register(expiry_ms=n.chain.tip.time_ms + 14 * DAY_MS + 101),
    ),
    "registration without an end": Sent("registration_too_long", register(expiry_ms=2**63 - 1)),
    "node that waits": Sent("node_exists", register(), waiting),
    "node that is active": Sent("node_exists", register(life=2), active),
    "first life is number 1": Sent("wrong_life", register(life=0)),
    "first life is not number 2": Sent("wrong_life", register(life=2)),
    "registration of the life before": Sent("wrong_life", register(), lived_before),
    "registration of a life to come": Sent("wrong_life", register(life=3), lived_before),
    "operator's fee above the whole": Sent("fee_out_of_range", register(fee=10_001)),
    "operator's stake one unit below a quarter": Sent(
        "stake_too_small", register(stake=QUARTER - 1)
    ),
    "operator's stake one unit below an uneven quarter": Sent(
        "stake_too_small", register(stake=25), params={"staking_requirement": 101}
    ),
    "operator without a stake": Sent("stake_too_small", register(stake=0)),
    "operator's stake one unit above the requirement": Sent(
        "stake_too_large", register(stake=REQUIREMENT + 1)
    ),
    "operator cannot pay his stake": Sent(
        "balance_too_low",
        register(stake=QUARTER),
        lambda n: n.block(n.transfer("alice", "bob", RICH - QUARTER - 2 * FEE + 1)),
    ),
    "expired envelope of a registration": Sent(
        "expired", lambda n: n.register(envelope={"expiry": n.chain.tip.height})
    ),
    # what the node keys vouch for
    "expiry changed after signing": Sent(
        "bad_signature", lambda n: signed_before(n, expiry_ms=START_MS + 2 * DAY_MS)
    ),
    "fee changed after signing": Sent("bad_signature", lambda n: signed_before(n, fee=10_000)),
    "beneficiary changed after signing": Sent(
        "bad_signature", lambda n: signed_before(n, beneficiary=public("bob"))
    ),
    "place added after signing": Sent(
        "bad_signature", lambda n: signed_before(n, reserved=places(("bob", 7)))
    ),
    "life changed after signing": Sent(
        "bad_signature", lambda n: signed_before(n, life=2), lived_before
    ),
    "no proof of the list key": Sent("bad_signature", lambda n: without(n, "list_signature")),
    "no proof of the consensus key": Sent(
        "bad_signature", lambda n: without(n, "consensus_signature")
    ),
    "list key without a proof": Checked("attestor_keys", lambda n: without(n, "list_signature")),
    "consensus key without a proof": Checked(
        "attestor_keys", lambda n: without(n, "consensus_signature")
    ),
    "proof without a list key": Checked(
        "attestor_keys",
        lambda n: n.paid(
            "register",
            "alice",
            sign_registration(n.hash, make_registration(), QUARTER, list_signature=bytes(64)),
        ),
    ),
    "list key without a tip": Sent(
        "attestor_keys", register(**(attestor_roles("node") | {"list_tip": b""}))
    ),
    "tip without a list key": Sent("attestor_keys", register(list_tip=bytes(32))),
    "list key of 31 bytes": Checked("attestor_keys", role("list_key", bytes(31))),
    # which keys
    "duty key is the node key": Sent("keys_not_distinct", register(duty_key=public("node"))),
    "list key is the duty key": Sent(
        "keys_not_distinct",
        register(**(attestor_roles("node") | {"list_key": public("node duty")})),
    ),
    "consensus key is the list key": Sent(
        "keys_not_distinct",
        register(**(attestor_roles("node") | {"consensus_key": public("node list")})),
    ),
    "list key is the node key": Sent("keys_not_distinct", register(**fields_of("list", "node"))),
    "consensus key is the duty key": Sent(
        "keys_not_distinct", register(**fields_of("consensus", "node duty"))
    ),
    "consensus key is the node key": Sent(
        "keys_not_distinct",
        register(**(attestor_roles("node") | {"consensus_key": public("node")})),
    ),
    # reserved places
    "places out of order": Sent(
        "bad_reservation", register(reserved=places(("bob", 7), ("carol", 7))[::-1])
    ),
    "one account has two places": Sent(
        "bad_reservation", register(reserved=places(("bob", 7), ("bob", 8)))
    ),
    "place for the operator": Sent("bad_reservation", register(reserved=places(("alice", 7)))),
    "place for nothing": Sent("bad_reservation", register(reserved=places(("bob", 0)))),
    "places for one unit more than is open": Sent(
        "bad_reservation", register(reserved=places(("bob", REST)), stake=QUARTER + 1)
    ),
    "places of a node that is funded": Sent(
        "bad_reservation", register(reserved=places(("bob", 1)), stake=REQUIREMENT)
    ),
    "ten places": Sent(
        "bad_reservation",
        register(reserved=places(*[(name, 1) for name in (*NINE, "kim")])),
    ),
    "nine places that leave stake open": Sent(
        "bad_reservation", register(reserved=places(*[(name, 1) for name in NINE]))
    ),
    "stake left open where nobody else may contribute": Sent(
        "bad_reservation", register(), params={"max_contributors": 1}
    ),
}

REGISTER |= {
    f"another node's {taken} key as {given} key": Sent(
        "node_exists" if taken == given == "node" else "key_in_use",
        register(**({"node": "node 2"} | fields_of(given, name_of(taken)))),
        with_roles,
    )
    for taken in PROOFS
    for given in PROOFS
}
REGISTER |= {
    f"the node's own {taken} key as {given} key in its next life": Sent(
        "key_in_use",
        register(life=2, **({"duty_key": public("new")} | fields_of(given, name_of(taken)))),
        lived_with_roles,
    )
    for taken in ("duty", "list", "consensus")
    for given in ("duty", "list", "consensus")
    if taken != given
}
REGISTER |= {
    f"a founding attestor's key as {given} key": Sent(
        "key_in_use", register(**fields_of(given, "attestor 1"))
    )
    for given in PROOFS
}

for _which, (_field, _tag) in PROOFS.items():
    REGISTER |= proof_rows(_which, _field, _tag)

REGISTER |= {
    f"place for an account {name}": Sent("bad_key", register(reserved=(Place(key, 7),)))
    for name, key in SMALL_ORDER.items()
}
REGISTER |= {
    f"beneficiary {name}": Sent("bad_key", register(beneficiary=key))
    for name, key in SMALL_ORDER.items()
}
REGISTER |= {
    f"{field} {name}": Checked("bad_key", role(field, key))
    for field in ("duty_key", "list_key", "consensus_key")
    for name, key in SMALL_ORDER.items()
}


# --------------------------------------------------------------- contribute and withdraw

PART = -(-REST // 9)
"""The least contribution to a node with nine places open."""


def give(amount: int = PART, who: str = "bob", **changes: Any) -> Any:
    """A function that makes a good contribution but for `changes`."""
    return lambda network: network.contribute(who, amount, **changes)


def take(who: str = "bob", **changes: Any) -> Any:
    """A function that makes a withdrawal."""
    return lambda network: network.withdraw(who, **changes)


def bob_gave(network: Network) -> None:
    """Bob has a stake in the node that waits."""
    waiting(network)
    network.block(network.contribute("bob", PART))


def bob_took(network: Network) -> None:
    """Bob had a stake and withdrew it."""
    bob_gave(network)
    network.block(network.withdraw("bob"))


STAKE: dict[str, Row] = {
    "contribution to no node": Sent("unknown_node", give()),
    "contribution to another life": Sent("wrong_life", give(life=2), waiting),
    "contribution to the life before": Sent("wrong_life", give(), lives_again),
    "contribution to a queued node": Sent("not_awaiting", give(), queued),
    "contribution to an active node": Sent("not_awaiting", give(), active),
    "second contribution": Sent("already_contributes", give(), bob_gave),
    "contribution of the operator": Sent("already_contributes", give(who="alice"), waiting),
    "contribution one unit below an equal part": Sent("stake_too_small", give(PART - 1), waiting),
    "contribution of nothing": Sent("stake_too_small", give(0), waiting),
    "contribution one unit above what is open": Sent("stake_too_large", give(REST + 1), waiting),
    "contribution that would take a reserved place": Sent(
        "stake_too_large", give(REST - 6, who="carol"), kept_for_bob
    ),
    "last of the places for less than what is open": Sent(
        "stake_too_small", give(REST - 1), waiting, {"max_contributors": 2}
    ),
    "reserved place for one unit less": Sent("reserved_amount", give(6), kept_for_bob),
    "reserved place for one unit more": Sent("reserved_amount", give(8), kept_for_bob),
    "reserved place for everything": Sent("reserved_amount", give(REST), kept_for_bob),
    "contribution where all places are kept": Sent("too_many_places", give(1, who="kim"), all_kept),
    "contributor cannot pay": Sent(
        "balance_too_low",
        give(),
        after(waiting, lambda n: n.block(n.transfer("bob", "carol", RICH - PART - 2 * FEE + 1))),
    ),
    "contributor's beneficiary is no key": Sent(
        "bad_key", give(beneficiary=SMALL_ORDER["of order four"]), waiting
    ),
    "withdrawal from no node": Sent("unknown_node", take()),
    "withdrawal from another life": Sent("wrong_life", take(life=2), bob_gave),
    "withdrawal of the life before": Sent("wrong_life", take(), lives_again),
    "withdrawal from a queued node": Sent(
        "not_awaiting",
        take(),
        after(waiting, lambda n: n.block(n.contribute("bob", REST))),
    ),
    "withdrawal from an active node": Sent("not_awaiting", take("alice"), active),
    "withdrawal of the operator": Sent("operator_stays", take("alice"), waiting),
    "withdrawal of a stranger": Sent("no_contribution", take(), waiting),
    "withdrawal of a place that was not taken": Sent("no_contribution", take(), kept_for_bob),
    "second withdrawal": Sent("no_contribution", take(), bob_took),
}
