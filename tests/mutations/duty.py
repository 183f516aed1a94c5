"""Mutations of what nodes and attestors sign beside transactions, and of what carries it.

votes            inside a verdict
changes of keys  signed by the node key and by every role key
evidence         changed before the offender signed it; as a file
orders           changed before the attestors signed them; as a file
misbehaviour     what a BFT engine gives
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from ledger.codec import Codec, encode
from ledger.crypto import sign, signing_bytes
from ledger.errors import Refusal
from ledger.messages import tags
from ledger.messages.duty import Vote, vote_bytes
from ledger.messages.evidence import (
    MISBEHAVIOUR,
    ListEquivocation,
    VoteEquivocation,
)
from ledger.messages.genesis import COMET
from ledger.messages.lists import header_signing_bytes
from ledger.messages.transactions import (
    BY_RECOVERY,
    SetAttestors,
    SetParams,
    Signer,
)
from ledger.steps import run
from ledger.transactions.orders import order_of
from registry.evidence import check_evidence
from registry.orders import OrderFile, get_message, make_order, read_order, sign_order
from tests.factory import (
    Network,
    attestor_roles,
    make_genesis,
    pair_of,
    verify_cached,
)
from tests.ledger.refusals.kinds import CODES
from tests.ledger.runners.report import piece
from tests.life import current, townsfolk
from tests.mutations.engine import Subject, Target, Unproven, of_records, packed
from tests.mutations.ledger import Ledger, close, network_of, transactions_of

EVIDENCE: Final = frozenset(
    ("not_canonical", "too_large", "unknown_offence", "no_contradiction", "bad_signature")
) | {"bad_header", "unknown_format"}
ORDER: Final = frozenset(("not_canonical", "too_large", "bad_order", "bad_signature"))


def signed_votes(seed: int) -> Subject:
    """Votes, changed before a tester signed them for a verdict that carries them as they were."""
    network = network_of(seed)
    raw = transactions_of(network, "judge")[seed % 2]
    tx = network.chain.decode(raw)
    body = tx.body
    first = body.votes[0]
    vote = Vote(body.epoch, body.node, body.life, first.faults)
    pair = pair_of(network.chain.signatures(tx)[0].key)

    def sent(inner: bytes) -> bytes:
        message = signing_bytes(tags.VOTE, network.hash, inner)
        return raw.replace(first.signature, sign(pair, message), 1)

    return signed_again(network, encode(vote), sent)


def signed_again(network: Network, inner: bytes, sent: Callable[[bytes], bytes]) -> Subject:
    """What is inside a transaction, changed before it was signed: `sent` signs and encloses it."""
    ledger = Ledger(network)
    samples = [packed(inner)]
    return Subject(
        samples,
        lambda raw: ledger.take(sent(raw)),
        lambda raw, taken: taken == sent(raw),
        ledger.check,
        of_records(samples, samples),
    )


def signed_changes(seed: int) -> Subject:
    """Changes of keys, changed before every key that they name signed them."""
    network = network_of(seed)
    raw = transactions_of(network, "set_keys")[seed % 2]
    body = network.chain.decode(raw).body
    change = body.change
    proofs = [
        (tags.KEY_CHANGE, change.node, body.node_signature),
        (tags.DUTY_KEY, change.duty_key, body.duty_signature),
        (tags.LIST_KEY, change.list_key, body.list_signature),
        (tags.CONSENSUS_KEY, change.consensus_key, body.consensus_signature),
    ]

    def sent(inner: bytes) -> bytes:
        made = raw.replace(encode(change), inner, 1)
        for tag, key, old in proofs:
            if key:
                new = sign(pair_of(key), signing_bytes(tag, network.hash, inner))
                made = made.replace(old, new, 1)
        return made

    return signed_again(network, encode(change), sent)


# ------------------------------------------------------------------------------- evidence


def signed_evidence(place: int, seed: int) -> Subject:
    """Evidence, changed before the offender signed what it shows, and before it was reported."""
    network = network_of(seed)
    raw = transactions_of(network, "report")[place]
    tx = network.chain.decode(raw)
    codec: Codec[Any] = Codec((VoteEquivocation, ListEquivocation)[tx.body.offence - 1], "evidence")
    evidence = codec.decode(tx.body.evidence)

    def sent(inner: bytes) -> bytes:
        try:
            made = encode(offend(network, codec.decode(inner)))
        except Refusal:
            made = inner
        body = replace(tx.body, evidence=made)
        envelope = raw[1:-66].replace(encode(tx.body), encode(body), 1)
        return close(network, envelope, pair_of(tx.sender))

    return signed_again(network, encode(evidence), sent)


def offend(network: Network, evidence: Any) -> Any:
    """Evidence whose statements the offender signed as they are, if somebody knows his key."""
    key = evidence.duty_key if isinstance(evidence, VoteEquivocation) else evidence.list_key
    try:
        pair = pair_of(key)
    except KeyError:
        return evidence
    if isinstance(evidence, ListEquivocation):
        messages = [
            header_signing_bytes(network.hash, raw) for raw in (evidence.first, evidence.second)
        ]
        first, second = (sign(pair, message) for message in messages)
        return replace(evidence, first_signature=first, second_signature=second)
    votes = [
        Vote(evidence.epoch, evidence.node, evidence.life, faults)
        for faults in (0, evidence.faults)
    ]
    good, bad = (sign(pair, vote_bytes(network.hash, vote)) for vote in votes)
    return replace(evidence, pass_signature=good, fail_signature=bad)


def evidence_files(seed: int) -> Subject:
    """Files of evidence, as people hand them round."""
    network = network_of(seed)
    bodies = [network.chain.decode(raw).body for raw in transactions_of(network, "report")]
    good = [encode(body) for body in bodies]
    samples = list(map(packed, good))
    return Subject(
        samples,
        lambda raw: encode(check_evidence(raw, network.hash).report),
        lambda raw, proven: raw == proven and raw in good,
        mutation=of_records(samples, samples),
    )


# --------------------------------------------------------------------------------- orders


def signed_orders(kind: str, seed: int) -> Subject:
    """Orders, changed before the attestors signed them."""
    network = network_of(seed)
    raw = transactions_of(network, kind)[seed % 2]
    tx = network.chain.decode(raw)
    codec: Codec[Any] = Codec(type(tx.body), "order")

    def sent(inner: bytes) -> bytes:
        try:
            made = encode(signed_by_all(network, codec.decode(inner)))
        except Refusal:
            made = inner
        envelope = raw[1:-66].replace(encode(tx.body), made, 1)
        return close(network, envelope, pair_of(tx.sender))

    return signed_again(network, encode(replace(tx.body, signers=())), sent)


def signed_by_all(network: Network, body: Any) -> Any:
    """An order that the whole current set signed, whatever it says."""
    if isinstance(body, SetAttestors):
        tag = tags.RECOVERY_ORDER if body.authority == BY_RECOVERY else tags.SET_ORDER
        message = signing_bytes(tag, network.hash, encode(order_of(body)))
    else:
        tag = tags.PARAMS_ORDER if isinstance(body, SetParams) else tags.SUCCESSOR_ORDER
        message = signing_bytes(tag, network.hash, encode(body.order))
    rows = tuple(
        Signer(member.list_key, sign(pair_of(member.list_key), message))
        for member in current(network)
    )
    return replace(body, signers=rows)


def order_files(seed: int) -> Subject:
    """Files of orders, as they go from holder to holder."""
    network = network_of(seed)
    kinds = ("set_attestors", "set_params", "set_successor")
    bodies = [network.chain.decode(transactions_of(network, kind)[0]).body for kind in kinds]
    good = []
    for body in bodies:
        file = make_order(network.hash, body)
        for member in current(network)[: 1 + seed]:
            file = sign_order(file, pair_of(member.list_key))
        good.append(file)
    samples = [packed(encode(file)) for file in good]

    messages = list(map(get_message, good))

    def says_the_same(raw: bytes, taken: OrderFile) -> bool:
        """What was signed is in it, or nobody signed; a seat's own proof stands for itself."""
        return encode(taken) == raw and (get_message(taken) in messages or not taken.signatures)

    return Subject(samples, read_order, says_the_same, mutation=of_records(samples, samples))


# ---------------------------------------------------------------------------- misbehaviour


def misbehaviour(seed: int) -> Subject:
    """Pieces of evidence that an engine gives, each in a block of its own."""
    network = Network(make_genesis(engine=COMET, producer=b"", nodes=townsfolk()))
    network.block(network.register(**attestor_roles("node")))
    network.end_epoch()
    network.settle()
    samples = [packed(encode(piece("node", network, ago_ms=ago))) for ago in (0, seed, 5_000)]
    stored, tip = dict(network.store.items()), network.chain.tip

    def take(raw: bytes) -> bytes:
        executed = run(network.chain.finalize(network.input(misbehaviour=(raw,))), verify_cached)
        if executed.root == tip.root:
            raise Unproven
        return raw

    def is_the_validators(raw: bytes, _taken: bytes) -> bool:
        """Nobody else can be punished, and the time is one at which it was there."""
        made = MISBEHAVIOUR.decode(raw)
        return (
            encode(made) == raw
            and made.address == MISBEHAVIOUR.decode(samples[0].raw).address
            and made.time_ms > network.genesis.start_ms
        )

    def check() -> None:
        assert dict(network.store.items()) == stored
        assert network.chain.tip == tip

    return Subject(samples, take, is_the_validators, check, of_records(samples, samples))


DUTY: Final = (
    Target("votes that were signed", signed_votes, 2, 1_000, CODES["judge"]),
    Target("changes of keys that were signed", signed_changes, 2, 1_500, CODES["set_keys"]),
    Target("contradicting votes", partial(signed_evidence, 0), 2, 1_500, CODES["report"]),
    Target("contradicting headers", partial(signed_evidence, 1), 2, 1_500, CODES["report"]),
    Target("headers of two histories", partial(signed_evidence, 2), 2, 1_500, CODES["report"]),
    Target("evidence files", evidence_files, 2, 1_500, EVIDENCE),
    Target("attestor orders that were signed", partial(signed_orders, "set_attestors"), 2, 1_500,
           CODES["set_attestors"]),
    Target("parameter orders that were signed", partial(signed_orders, "set_params"), 2, 1_500,
           CODES["set_params"]),
    Target("successor orders that were signed", partial(signed_orders, "set_successor"), 2, 1_500,
           CODES["set_successor"]),
    Target("order files", order_files, 2, 1_500, ORDER),
    Target("misbehaviour", misbehaviour, 2, 1_500, frozenset(), (Unproven,)),
)  # fmt: skip
