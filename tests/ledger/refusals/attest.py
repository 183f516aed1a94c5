"""Refusals of `attest`."""

from typing import Any

from ledger.crypto import sha256, sign, signing_bytes
from ledger.messages import tags
from ledger.messages.lists import decode_header, encode_header, header_signing_bytes
from ledger.messages.tables import CHAINLINKS, SETS
from tests.factory import Network, links, pair_of
from tests.ledger.refusals.envelope import other_network
from tests.ledger.refusals.rows import Row, Sent, after


def silent(network: Network) -> None:
    """Attestors send nothing by themselves."""
    network.attesting = False


def ended(network: Network) -> None:
    """Nobody attests; epoch 1 ended and its header is stored."""
    silent(network)
    network.end_epoch()
    network.block()


def closed(network: Network) -> None:
    """Nobody attested header 0 while it was open."""
    silent(network)
    for _ in range(network.params.attest_blocks):
        network.block()


def attested(network: Network) -> None:
    """Seat 0 attested header 0."""
    silent(network)
    network.block(network.attest(0))


def seat_key(network: Network, index: int = 0) -> bytes:
    """The list key of a seat."""
    return network.state.one(SETS).current[index].list_key


def attest(network: Network, message: bytes, **changes: Any) -> bytes:
    """Seat 0 attests, but what it signs is `message`."""
    signature = sign(pair_of(seat_key(network)), message)
    return network.attest(0, signature=signature, **changes)


def other_header(network: Network) -> bytes:
    """A header that names more nodes than there are."""
    header = decode_header(network.chain.newest_header().header)
    return encode_header(header._replace(node_count=header.node_count + 1))


def draft(network: Network) -> bytes:
    """The header before its state root was put in."""
    header = decode_header(network.chain.newest_header().header)
    return encode_header(header._replace(state_root=bytes(32)))


def header_of_before(network: Network) -> bytes:
    """Seat 0 attests header 0 when epoch 2 runs."""
    old = Network(network.genesis)
    old.block()
    return old.attest(0)


def link(network: Network, back: int) -> bytes:
    """The value of seat 0's hash chain that lies `back` links behind the last accepted."""
    key = seat_key(network)
    return links(key)[-1 - back - network.state.one(CHAINLINKS, key).accepted]


def signed(network: Network) -> bytes:
    """What seat 0 has to sign."""
    return header_signing_bytes(network.hash, network.chain.newest_header().header)


def under(network: Network, tag: bytes, genesis_hash: bytes) -> bytes:
    """The newest header under another tag or for another network."""
    return signing_bytes(tag, genesis_hash, network.chain.newest_header().header)


ATTEST: dict[str, Row] = {
    "attestation after the window": Sent("attest_closed", lambda n: n.attest(0), closed),
    "attestation of an epoch before": Sent("attest_closed", header_of_before, ended),
    "attestation of an epoch to come": Sent(
        "attest_closed", lambda n: n.attest(0, epoch=1), silent
    ),
    "attestation of the last epoch there can be": Sent(
        "attest_closed", lambda n: n.attest(0, epoch=2**63 - 1), silent
    ),
    "seat that the set has not": Sent("unknown_attestor", lambda n: n.attest(3), silent),
    "seat 255": Sent("unknown_attestor", lambda n: n.attest(255), silent),
    "second attestation of a seat": Sent("attested_already", lambda n: n.attest(0), attested),
    "the same attestation again": Sent(
        "attested_already",
        lambda n: n.blocks[-1].transactions[0],
        attested,
    ),
    "reveal that was accepted": Sent(
        "bad_reveal", lambda n: n.attest(0, reveal=link(n, 0)), silent
    ),
    "reveal that leaves a link out": Sent(
        "bad_reveal", lambda n: n.attest(0, reveal=link(n, 2)), silent
    ),
    "reveal of another seat": Sent(
        "bad_reveal",
        lambda n: n.attest(0, reveal=links(seat_key(n, 1))[-2]),
        silent,
    ),
    "reveal of nothing": Sent("bad_reveal", lambda n: n.attest(0, reveal=bytes(32)), silent),
    "reveal used in the epoch before": Sent(
        "bad_reveal",
        lambda n: n.attest(0, reveal=link(n, 0)),
        after(attested, Network.end_epoch, Network.block),
    ),
    "attestation by another seat's key": Sent(
        "bad_signature", lambda n: n.attest(0, signature=signature_of(n, 1)), silent
    ),
    "attestation of another header": Sent(
        "bad_signature",
        lambda n: attest(n, header_signing_bytes(n.hash, other_header(n))),
        silent,
    ),
    "attestation of the draft": Sent(
        "bad_signature", lambda n: attest(n, header_signing_bytes(n.hash, draft(n))), silent
    ),
    "attestation of the header's hash": Sent(
        "bad_signature",
        lambda n: attest(n, header_signing_bytes(n.hash, sha256(signed(n)))),
        silent,
    ),
    "attestation under another tag": Sent(
        "bad_signature", lambda n: attest(n, under(n, tags.BLOCK, n.hash)), silent
    ),
    "attestation for another network": Sent(
        "bad_signature",
        lambda n: attest(n, under(n, tags.LIST_HEADER, other_network())),
        silent,
    ),
}


def signature_of(network: Network, index: int) -> bytes:
    """The newest header signed by another seat."""
    return sign(pair_of(seat_key(network, index)), signed(network))
