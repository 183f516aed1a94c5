"""Refusals of `report`: what proves nothing, nothing new, or nothing that can still be punished."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from ledger.codec import Record, encode
from ledger.crypto import sign
from ledger.errors import REFUSALS
from ledger.merkle import leaf_hash
from ledger.messages.evidence import MAX_EVIDENCE_BYTES, ListEquivocation, VoteEquivocation
from ledger.messages.lists import ListHeader, encode_header, header_signing_bytes
from ledger.messages.tables import STARTS
from ledger.messages.transactions import Report
from tests.factory import (
    EPOCH_MS,
    Network,
    attestor_roles,
    keys,
    make_genesis,
    pair_of,
    public,
)
from tests.ledger.refusals.rows import Row, Sent, after
from tests.ledger.runners.report import BLOCK, LIST, VOTE, piece
from tests.ledger.scenes import CIVIC, SHORT, enter, let_go, pay_out
from tests.life import fork_evidence, header_evidence, report, running, set_keys, vote_evidence

LIST_KEY = public("attestor 0")

# --------------------------------------------------------------------------------- makers


def sends(make: Callable[[Network], Record]) -> Any:
    """A function that makes a report of what is made."""
    return lambda network: report(network, "leo", make(network))


def votes(who: str = "town 0", **changes: Any) -> Any:
    """A function that makes a report of contradicting votes."""
    return sends(lambda network: vote_evidence(network, who, **changes))


def headers(name: str = "node list", **changes: Any) -> Any:
    """A function that makes a report of contradicting headers of the newest epoch."""
    return sends(lambda network: header_evidence(network, public(name), **changes))


def forked(**changes: Any) -> Any:
    """A function that makes a report of headers of two histories."""
    return sends(lambda network: fork_evidence(network, LIST_KEY, **changes))


def raw(offence: int, make: Callable[[Network], bytes]) -> Any:
    """A function that makes a report of these bytes."""
    return lambda n: n.paid("report", "leo", Report(offence, make(n)))


def encoded_votes(network: Network) -> bytes:
    """Evidence that would prove something."""
    return encode(vote_evidence(network, "town 0"))


def signed(
    first: Callable[[ListHeader], ListHeader],
    second: Callable[[ListHeader], ListHeader],
    key: bytes = LIST_KEY,
    genesis_hash: bytes = b"",
) -> Any:
    """A function that makes a report of two headers that are made of the newest one."""

    def make(network: Network) -> ListEquivocation:
        pair = pair_of(key)
        raws = [encode_header(change(network.header)) for change in (first, second)]
        messages = [header_signing_bytes(genesis_hash or network.hash, header) for header in raws]
        proofs = [sign(pair, message) for message in messages]
        return ListEquivocation(key, raws[0], proofs[0], raws[1], proofs[1], b"", ())

    return sends(make)


def as_it_is(header: ListHeader) -> ListHeader:
    """The newest header."""
    return header


def higher(header: ListHeader) -> ListHeader:
    """The same, one block later."""
    return header._replace(height=header.height + 1)


def swapped(network: Network) -> ListEquivocation:
    """Two headers of one epoch, the greater one first."""
    good = header_evidence(network, LIST_KEY)
    return replace(
        good,
        first=good.second,
        first_signature=good.second_signature,
        second=good.first,
        second_signature=good.first_signature,
    )


def backwards(network: Network) -> ListEquivocation:
    """Headers of two histories, the later one first."""
    good = fork_evidence(network, LIST_KEY)
    return replace(
        good,
        first=good.second,
        first_signature=good.second_signature,
        second=good.first,
        second_signature=good.first_signature,
    )


def extended(network: Network) -> ListEquivocation:
    """The newest header, and one after it whose history has just that one."""
    good = fork_evidence(network, LIST_KEY)
    return replace(good, leaf=leaf_hash(good.first))


def half_signed(network: Network) -> ListEquivocation:
    """Two headers, of which somebody else signed the second."""
    good = header_evidence(network, LIST_KEY)
    message = header_signing_bytes(network.hash, good.second)
    return replace(good, second_signature=sign(keys("attestor 1"), message))


def cross_signed(network: Network) -> VoteEquivocation:
    """A pass by one tester and a fail by another."""
    one, other = vote_evidence(network, "town 0"), vote_evidence(network, "town 1", node="town 0")
    return replace(one, fail_signature=other.fail_signature)


def elsewhere(network: Network) -> VoteEquivocation:
    """Contradicting votes by the same key on another network."""
    other = Network(make_genesis(name=b"other-net", nodes=network.genesis.nodes))
    return vote_evidence(other, "town 0")


def one_bit_of(header: bytes, place: int, bit: int) -> bytes:
    """A header with one bit turned."""
    return header[:place] + bytes([header[place] ^ bit]) + header[place + 1 :]


def damaged(place: int, bit: int) -> Any:
    """A function that makes a report of headers of which the second is damaged, and signed so."""

    def make(network: Network) -> ListEquivocation:
        good = header_evidence(network, LIST_KEY)
        second = one_bit_of(good.second, place, bit)
        signature = sign(pair_of(LIST_KEY), header_signing_bytes(network.hash, second))
        return replace(good, second=second, second_signature=signature)

    return sends(make)


# --------------------------------------------------------------------------------- scenes


def once(make: Callable[[Network], bytes]) -> Any:
    """A scene in which a report is in a block."""
    return lambda network: network.block(make(network))


def resent(network: Network) -> bytes:
    """The evidence of the first report in a block, sent by somebody else."""
    sent = (network.chain.decode(raw) for block in network.blocks for raw in block.transactions)
    body = next(tx.body for tx in sent if tx.kind.name == "report")
    return network.paid("report", "kim", body)


def twice(network: Network) -> None:
    """The same evidence arrived, and arrived again with no effect."""
    network.block(votes()(network))
    network.block(resent(network), codes=[REFUSALS["punished_already"].number])


def aged(network: Network) -> None:
    """Epoch 1 is past the age of evidence, by just one epoch."""
    while next(network.state.items(STARTS))[0] < (2).to_bytes(8, "big"):
        network.end_epoch()


def paid_out(network: Network) -> None:
    """A shared node has its stake back."""
    enter(network)
    let_go(network)
    pay_out(network)


def reborn(network: Network) -> None:
    """And begins another life."""
    paid_out(network)
    expiry_ms = network.chain.tip.time_ms + EPOCH_MS
    network.block(network.register(life=2, **attestor_roles("node"), expiry_ms=expiry_ms))
    network.end_epoch()


def announced(network: Network) -> None:
    """A node is to have another duty key at the epoch's end."""
    network.block(set_keys(network))


def other_list_key(network: Network) -> None:
    """A shared node changed its list key, and was slashed for the old one."""
    enter(network)
    roles = attestor_roles("node 2")
    network.block(
        set_keys(network, duty="node duty", list_key=roles["list_key"], list_tip=roles["list_tip"])
    )
    network.end_epoch()
    network.block(headers()(network))


REPORT: dict[str, Row] = {
    # what it says it is
    "report of offence 0": Sent("unknown_offence", raw(0, encoded_votes), genesis=CIVIC),
    "report of an offence that there is not": Sent(
        "unknown_offence", raw(99, encoded_votes), genesis=CIVIC
    ),
    "report of what only an engine can prove": Sent(
        "unknown_offence", raw(BLOCK, lambda n: encode(piece("node", n))), enter
    ),
    "report without evidence": Sent("not_canonical", raw(VOTE, lambda _: b""), genesis=CIVIC),
    "report of evidence with a byte behind it": Sent(
        "not_canonical", raw(VOTE, lambda n: encoded_votes(n) + b"\0"), genesis=CIVIC
    ),
    "report of evidence that is cut off": Sent(
        "not_canonical", raw(VOTE, lambda n: encoded_votes(n)[:-1]), genesis=CIVIC
    ),
    "report of another offence than the evidence is of": Sent(
        "not_canonical", raw(LIST, encoded_votes), genesis=CIVIC
    ),
    "report of evidence that is too long": Sent(
        "not_canonical", raw(VOTE, lambda _: bytes(MAX_EVIDENCE_BYTES + 1)), genesis=CIVIC
    ),
    # what proves nothing
    "two votes that pass": Sent("no_contradiction", votes(faults=0), genesis=CIVIC),
    "two identical headers": Sent("no_contradiction", signed(as_it_is, as_it_is)),
    "headers of one epoch in the wrong order": Sent("no_contradiction", sends(swapped)),
    "headers of one epoch with a path": Sent(
        "no_contradiction", headers("attestor 0", path=(bytes(32),))
    ),
    "headers of one epoch with a leaf": Sent(
        "no_contradiction", headers("attestor 0", leaf=bytes(32))
    ),
    "headers of two epochs in the wrong order": Sent("no_contradiction", sends(backwards)),
    "header that extends the other one": Sent("no_contradiction", sends(extended)),
    "path that leads nowhere": Sent("no_contradiction", forked(path=(bytes(32),))),
    "path that is left out": Sent("no_contradiction", forked(path=()), Network.end_epoch),
    "path from another leaf": Sent("no_contradiction", forked(leaf=leaf_hash(b"invented"))),
    "path to the header of another epoch": Sent(
        "no_contradiction",
        signed(as_it_is, lambda header: header._replace(epoch=header.epoch + 2)),
    ),
    "header of an epoch that there cannot be": Sent(
        "no_contradiction", signed(as_it_is, lambda header: header._replace(epoch=2**64 - 1))
    ),
    "header of another format": Sent("unknown_format", damaged(1, 2)),
    "header whose times are out of order": Sent(
        "bad_header",
        signed(as_it_is, lambda header: header._replace(valid_until_ms=0)),
    ),
    "header with more swarms than nodes": Sent(
        "bad_header",
        signed(as_it_is, lambda header: header._replace(swarm_count=header.node_count + 1)),
    ),
    # who signed
    "vote that another tester signed": Sent("bad_signature", sends(cross_signed), genesis=CIVIC),
    "vote that nobody signed": Sent(
        "bad_signature", votes(fail_signature=bytes(64)), genesis=CIVIC
    ),
    "votes of which the evidence names another node": Sent(
        "bad_signature",
        sends(lambda n: replace(vote_evidence(n, "town 0"), node=public("town 1"))),
        genesis=CIVIC,
    ),
    "votes of which the evidence names another epoch": Sent(
        "bad_signature",
        sends(lambda n: replace(vote_evidence(n, "town 0"), epoch=0)),
        genesis=CIVIC,
    ),
    "votes of which the evidence names another life": Sent(
        "bad_signature", sends(lambda n: replace(vote_evidence(n, "town 0"), life=2)), genesis=CIVIC
    ),
    "votes on another network": Sent("bad_signature", sends(elsewhere), genesis=CIVIC),
    "header that another attestor signed": Sent("bad_signature", sends(half_signed)),
    "header that nobody signed": Sent(
        "bad_signature", headers("attestor 0", first_signature=bytes(64))
    ),
    "headers for another network": Sent(
        "bad_signature", signed(as_it_is, higher, genesis_hash=bytes(32))
    ),
    # whose key
    "votes by a key that nobody has": Sent(
        "unknown_offender", votes(pair=keys("somebody")), genesis=CIVIC
    ),
    "votes by a list key": Sent("unknown_offender", votes("node", pair=keys("node list")), enter),
    "votes by a node key": Sent("unknown_offender", votes("node", pair=keys("node")), enter),
    "votes by an operator": Sent("unknown_offender", votes("node", pair=keys("alice")), enter),
    "headers by a key that never had a seat": Sent("unknown_offender", headers("somebody")),
    "headers by a duty key": Sent("unknown_offender", headers("node duty"), enter),
    # when
    "votes of an epoch past the age of evidence": Sent(
        "evidence_too_old", votes("town 0", epoch=1), aged, SHORT, CIVIC
    ),
    "votes of an epoch in which the stake was locked that is paid out": Sent(
        "evidence_too_old",
        votes("node", epoch=2, pair=keys("node duty")),
        paid_out,
        SHORT,
        CIVIC,
    ),
    "votes of an epoch to come": Sent(
        "evidence_early",
        sends(lambda n: vote_evidence(n, "town 0", epoch=running(n) + 1)),
        genesis=CIVIC,
    ),
    "votes of the last epoch that there can be": Sent(
        "evidence_early", votes(epoch=2**63 - 1, pair=keys("town 0 duty")), genesis=CIVIC
    ),
    "headers past the age of evidence": Sent(
        "evidence_too_old",
        lambda n: report(n, "leo", header_evidence(Network(n.genesis), LIST_KEY)),
        aged,
        SHORT,
    ),
    "votes by a duty key of the life before": Sent(
        "nothing_at_stake",
        sends(
            lambda n: vote_evidence(
                n, "node", epoch=n.node().liable_from - 1, pair=keys("node duty")
            )
        ),
        reborn,
        SHORT,
    ),
    # once only
    "the same evidence again": Sent("punished_already", resent, once(votes()), genesis=CIVIC),
    "the same evidence a third time": Sent("punished_already", resent, twice, genesis=CIVIC),
    "the same evidence in a later epoch": Sent(
        "punished_already", resent, after(once(votes()), Network.end_epoch), genesis=CIVIC
    ),
    "other votes of the same key and epoch": Sent(
        "punished_already", votes(node="town 1", faults=2), once(votes()), genesis=CIVIC
    ),
    "other headers of the same key and epoch": Sent(
        "punished_already", forked(), once(headers("attestor 0"))
    ),
    "headers in the other form": Sent("punished_already", headers("attestor 0"), once(forked())),
    # what is left to lose
    "votes by the duty key of a stake that was paid out": Sent(
        "nothing_at_stake", votes("node", pair=keys("node duty")), paid_out, SHORT
    ),
    "votes where no stake is left": Sent(
        "nothing_at_stake",
        votes("node"),
        after(enter, once(votes("node")), Network.end_epoch),
        {"vote_penalty": 10_000},
    ),
    "votes that cost less than headers did": Sent(
        "nothing_at_stake", votes("node"), after(enter, once(headers()))
    ),
    "headers of another epoch": Sent(
        "nothing_at_stake", headers(), after(enter, once(headers()), Network.end_epoch)
    ),
    "headers by another list key of a slashed node": Sent(
        "nothing_at_stake", headers("node 2 list"), other_list_key
    ),
    "headers of another epoch by a key without a node": Sent(
        "nothing_at_stake",
        headers("attestor 0"),
        after(once(headers("attestor 0")), Network.end_epoch),
    ),
    "votes by a node that has to leave for it already": Sent(
        "nothing_at_stake",
        votes("node", epoch=1, pair=keys("node duty")),
        after(enter, once(votes("node"))),
        {"vote_penalty": 1_001},
    ),
    "votes for this epoch by the duty key of before": Sent(
        "nothing_at_stake",
        votes("node", pair=keys("node duty")),
        after(enter, announced, Network.end_epoch),
    ),
    "votes by a duty key that comes at the epoch's end": Sent(
        "nothing_at_stake", votes("node", pair=keys("node duty 2")), after(enter, announced)
    ),
    "votes that cost nothing": Sent(
        "nothing_at_stake", votes(), params={"vote_penalty": 0}, genesis=CIVIC
    ),
}
