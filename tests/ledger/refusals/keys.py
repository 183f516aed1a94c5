"""Refusals of `set_keys`."""

from functools import partial
from typing import Any

from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import sign, signing_bytes
from ledger.messages import tags
from ledger.messages.transactions import SetKeys
from tests.factory import (
    QUARTER,
    Network,
    attestor_roles,
    free,
    keys,
    links,
    public,
    sign_registration,
)
from tests.ledger.refusals.envelope import SMALL_ORDER, other_network
from tests.ledger.refusals.rows import Checked, Row, Sent, after
from tests.ledger.refusals.stake import (
    PROOFS,
    every_role,
    lives_again,
    name_of,
    waiting,
    with_roles,
)
from tests.ledger.scenes import enter, let_go
from tests.life import set_keys

TAGS = {role: tag for role, (_, tag) in PROOFS.items()} | {"node": tags.KEY_CHANGE}
"""The tag under which the key of each role proves itself."""

NEXT = {
    "list_key": public("node list 2"),
    "list_tip": links(public("node list 2"))[-1],
    "consensus_key": public("node consensus 2"),
}
"""Another key for each role beside the duty key."""


def change(**changes: Any) -> Any:
    """A function that makes a change of keys."""
    return lambda network: set_keys(network, **changes)


def forged(role: str, signer: str, tag: bytes = b"", genesis_hash: bytes = b"") -> Any:
    """A function that makes a change to new keys, in which one proof is not what it should be."""

    def make(network: Network) -> bytes:
        body = body_of(network)
        message = signing_bytes(
            tag or TAGS[role], genesis_hash or network.hash, encode(body.change)
        )
        return with_proof(body, role, sign(keys(signer), message))

    return make


def body_of(network: Network, **changes: Any) -> SetKeys:
    """A change to a new key for every role."""
    body: SetKeys = network.chain.decode(set_keys(network, **(NEXT | changes))).body
    return body


def with_proof(body: SetKeys, role: str, proof: bytes) -> bytes:
    """The transaction with this as the proof of one role's key."""
    return free("set_keys", replace(body, **{PROOFS[role][0]: proof}))


def without_proof(network: Network, role: str) -> bytes:
    """A good change but for zeros in the place of a proof."""
    return with_proof(body_of(network), role, bytes(64))


def new_name(role: str) -> str:
    """The name of the key that a role is to have."""
    return "node" if role == "node" else f"node {role} 2"


def registered_proof(network: Network) -> bytes:
    """The duty key's proof of the registration, for a change that names the same key."""
    body = body_of(network, duty="node duty")
    register = sign_registration(network.hash, every_role(), QUARTER)
    return with_proof(body, "duty", register.duty_signature)


def proof_of_another_change(network: Network) -> bytes:
    """The node key's proof of the change with the number before."""
    signed, other = body_of(network, sequence=1), body_of(network, sequence=2)
    return with_proof(other, "node", signed.node_signature)


def changed_after_signing(network: Network) -> bytes:
    """A change whose tip is another than every key signed for."""
    body = body_of(network)
    other = replace(body.change, list_tip=bytes(32))
    return free("set_keys", replace(body, change=other))


def changed(network: Network) -> None:
    """A node announced new keys in this epoch."""
    with_roles(network)
    network.block(set_keys(network, sequence=7))


def two_nodes(network: Network) -> None:
    """Two nodes wait, each with a key for every role."""
    with_roles(network)
    network.block(network.register("node 2", "bob", QUARTER, **attestor_roles("node 2")))


def given(role: str, key: bytes) -> Any:
    """The fields of a change in which a key has a role; proofs are whatever stands for them."""
    if role == "list":
        return {"list_key": key, "list_tip": bytes(32)}
    return {f"{role}_key": key}


def unproven(role: str, key: bytes) -> Any:
    """A function that names a key of which nobody has the secret."""

    def make(network: Network) -> bytes:
        body = body_of(network)
        named = replace(body.change, **given(role, key))
        return free("set_keys", replace(body, change=named))

    return make


def held(role: str, name: str) -> Any:
    """A function that names the key of a name in a role, with all proofs."""
    if role == "duty":
        return change(duty=name)
    return change(duty="node duty 2", **given(role, public(name)))


KEYS: dict[str, Row] = {
    "keys of no node": Sent("unknown_node", change()),
    "keys of another life": Sent("wrong_life", change(life=2), waiting),
    "keys of the life before": Sent("wrong_life", change(life=1, sequence=9), lives_again),
    "keys of a node that has left": Sent("leaving_already", change(), after(enter, let_go)),
    "keys with sequence zero": Sent("contact_sequence", change(sequence=0), with_roles),
    "keys with the number of the last change": Sent(
        "contact_sequence",
        change(sequence=7),
        after(changed, Network.end_epoch),
    ),
    "keys with the number of contact data": Sent(
        "contact_sequence",
        change(sequence=7),
        after(with_roles, lambda n: n.block(n.update_contact(sequence=7))),
    ),
    "keys with a number of the life before": Sent(
        "contact_sequence", change(sequence=5), lives_again
    ),
    "contact data with the number of a change of keys": Sent(
        "contact_sequence", lambda n: n.update_contact(sequence=7), changed
    ),
    "second change of keys in an epoch": Sent("keys_too_often", change(sequence=8), changed),
    # what belongs together
    "new list key without a tip": Sent(
        "attestor_keys", change(list_key=public("node list 2")), with_roles
    ),
    "tip without a list key of the node": Sent(
        "attestor_keys", change(list_key=b"", list_tip=bytes(32)), with_roles
    ),
    "tip of 31 bytes": Sent("attestor_keys", change(list_tip=bytes(31)), with_roles),
    "new list key without its proof": Checked(
        "attestor_keys", lambda n: with_proof(body_of(n), "list", b""), with_roles
    ),
    "new consensus key without its proof": Checked(
        "attestor_keys", lambda n: with_proof(body_of(n), "consensus", b""), with_roles
    ),
    "proof of a list key that is not named": Checked(
        "attestor_keys",
        lambda n: with_proof(body_of(n, list_key=b"", list_tip=b""), "list", bytes(64)),
        with_roles,
    ),
    # which keys
    "new duty key is the node key": Sent("keys_not_distinct", held("duty", "node"), with_roles),
    "new duty key is the list key": Sent(
        "keys_not_distinct", held("duty", "node list"), with_roles
    ),
    "new list key is the new duty key": Sent(
        "keys_not_distinct", held("list", "node duty 2"), with_roles
    ),
    "new consensus key is the list key": Sent(
        "keys_not_distinct", held("consensus", "node list"), with_roles
    ),
    "new duty key is the list key of before": Sent(
        "key_in_use", change(duty="node list", list_key=b""), with_roles
    ),
    "new duty key of a founding attestor": Sent(
        "key_in_use", held("duty", "attestor 1"), with_roles
    ),
    "new list key of a founding attestor": Sent(
        "key_in_use", held("list", "attestor 1"), with_roles
    ),
    "new duty key that another node announced": Sent(
        "key_in_use",
        held("duty", "node 2 duty 2"),
        after(two_nodes, lambda n: n.block(set_keys(n, "node 2", duty="node 2 duty 2"))),
    ),
    # who signed
    "keys signed by the operator": Sent("bad_signature", forged("node", "alice"), with_roles),
    "keys signed by the duty key of before": Sent(
        "bad_signature", forged("node", "node duty"), with_roles
    ),
    "keys signed for another number": Sent("bad_signature", proof_of_another_change, with_roles),
    "duty key's proof of its registration": Sent("bad_signature", registered_proof, with_roles),
    "tip changed after signing": Sent("bad_signature", changed_after_signing, with_roles),
    "keys signed as a registration": Sent(
        "bad_signature", forged("node", "node", tags.REGISTRATION), with_roles
    ),
}

KEYS |= {
    f"new {role} key that is another node's {taken} key": Sent(
        "key_in_use", held(role, name_of(taken).replace("node", "node 2")), two_nodes
    )
    for role in ("duty", "list", "consensus")
    for taken in PROOFS
}
KEYS |= {
    f"new {role} key {name}": Checked("bad_key", unproven(role, key), with_roles)
    for role in ("duty", "list", "consensus")
    for name, key in SMALL_ORDER.items()
}
for _role in PROOFS:
    KEYS |= {
        f"new keys, {_role} proof by another key": Sent(
            "bad_signature", forged(_role, "somebody"), with_roles
        ),
        f"new keys, {_role} proof under another tag": Sent(
            "bad_signature", forged(_role, new_name(_role), tags.CONTACT), with_roles
        ),
        f"new keys, {_role} proof for another network": Sent(
            "bad_signature",
            forged(_role, new_name(_role), genesis_hash=other_network()),
            with_roles,
        ),
        f"new keys, {_role} proof of zeros": Sent(
            "bad_signature",
            partial(without_proof, role=_role),
            with_roles,
        ),
    }
