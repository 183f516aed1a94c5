"""Scripts about who signed a header, and how."""

from hashlib import sha256, sha512
from typing import Final

from nacl import bindings

from ledger.crypto import sign, signing_bytes
from ledger.messages import tags
from ledger.messages.lists import (
    Attestor,
    SignedHeader,
    attestor_set_hash,
    decode_signed_header,
    encode_signed_header,
    header_signing_bytes,
)
from tests.flip import flip
from tests.registry.client.factory import (
    EPOCH,
    START_MS,
    make_genesis,
    make_list,
    seat,
)
from tests.registry.client.verify.headers import (
    LATER_MS,
    NODES,
    ONE,
    TEN,
    WEIGHTS,
    of_four,
    refused,
    taken,
    with_bits,
)
from tests.registry.client.verify.script import Case, Cases, start, update

GENESIS_HASH: Final = sha256(TEN.genesis).digest()
RAW: Final = TEN.raw_header


def signed_over(*messages: bytes) -> bytes:
    """The header with what three attestors signed over something else."""
    each = messages * 3 if len(messages) == 1 else messages
    signatures = [(index, sign(seat(index), message)) for index, message in enumerate(each)]
    return encode_signed_header(SignedHeader(RAW, tuple(signatures)))


GOOD_MESSAGE: Final = header_signing_bytes(GENESIS_HASH, RAW)

NETWORKS: Final[Cases] = {
    "its own": taken(TEN),
    "the same attestors elsewhere": refused(
        "bad_signature", of_four(genesis=make_genesis(WEIGHTS, start_ms=START_MS - 1)).signed
    ),
    "the same attestors under another name": refused(
        "bad_signature", of_four(genesis=make_genesis(WEIGHTS, name=b"other")).signed
    ),
    "another hash of genesis": refused(
        "bad_signature", signed_over(header_signing_bytes(bytes(32), RAW))
    ),
    "another purpose": refused(
        "bad_signature", signed_over(signing_bytes(tags.BLOCK, GENESIS_HASH, RAW))
    ),
    "no purpose": refused("bad_signature", signed_over(RAW)),
    "a purpose that is not padded": refused(
        "bad_signature", signed_over(tags.LIST_HEADER + GENESIS_HASH + RAW)
    ),
    "the hash of what is to be signed": refused(
        "bad_signature", signed_over(sha256(GOOD_MESSAGE).digest())
    ),
    "one of three for another network": refused(
        "bad_signature",
        signed_over(GOOD_MESSAGE, header_signing_bytes(bytes(32), RAW), GOOD_MESSAGE),
    ),
}


def set_of(*seats: tuple[int, int]) -> bytes:
    """The hash of a set of these seats, each with its weight."""
    return attestor_set_hash([Attestor(seat(index).public, weight) for index, weight in seats])


SETS: Final[Cases] = {
    "that of genesis": taken(TEN),
    "other weights": refused("wrong_set", of_four(weights=(1, 1, 1, 2)).signed),
    "one less": refused("wrong_set", of_four(weights=(1, 1, 1)).signed),
    "one more": refused("wrong_set", of_four(weights=(1,) * 5).signed),
    "one of them alone": refused("wrong_set", of_four(weights=ONE, signers=(0,)).signed),
    "the same in another order": refused(
        "wrong_set", of_four(set_hash=set_of((1, 1), (0, 1), (2, 1), (3, 1))).signed
    ),
    "zeros": refused("wrong_set", of_four(set_hash=bytes(32)).signed),
    "another one signs than was named as the next": [
        start(TEN.genesis, LATER_MS),
        update((named := of_four(next_set_hash=set_of((5, 1)))).signed, named.path()),
        update(
            (next_one := of_four(EPOCH + 1, after=[named], set_hash=set_of((5, 1)))).signed,
            next_one.path(EPOCH),
        ).but("wrong_set"),
    ],
}  # fmt: skip


def of_weights(weights: tuple[int, ...], signers: tuple[int, ...], code: str = "") -> Case:
    """A client of a network with these weights is given a header that some of them signed."""
    made = make_list(weights=weights, signers=signers, entries=NODES)
    return [start(made.genesis), update(made.signed).but(code)]


LARGEST: Final = (2**32 - 1,) * 25

TOO_FEW: Final[Cases] = {
    "three of four": of_weights(WEIGHTS, (0, 1, 3)),
    "just more than two thirds of the weight": of_weights((5, 1, 1), (0,)),
    "seventeen of the heaviest twenty-five": of_weights(LARGEST, tuple(range(17))),
    "nobody": of_weights(WEIGHTS, (), "not_final"),
    "one of four": of_weights(WEIGHTS, (3,), "not_final"),
    "two of four": of_weights(WEIGHTS, (0, 3), "not_final"),
    "exactly two thirds": of_weights((1, 1, 1), (0, 2), "not_final"),
    "exactly two thirds of the weight": of_weights((4, 1, 1), (0,), "not_final"),
    "all but the one that weighs enough": of_weights((9, 1, 1), (1, 2), "not_final"),
    "sixteen of the heaviest twenty-five": of_weights(LARGEST, tuple(range(16)), "not_final"),
    "too few, and one of them wrong": refused(
        "not_final", of_four(signers=(0, 1), signatures={0: bytes(64)}).signed
    ),
}

UNKNOWN: Final[Cases] = {
    "all of four": taken(of_four(signers=(0, 1, 2, 3))),
    "a fifth": refused("unknown_attestor", of_four(signatures={4: bytes(64)}).signed),
    "the last that can be": refused("unknown_attestor", of_four(signatures={24: bytes(64)}).signed),
    "a fifth whose signature holds": refused(
        "unknown_attestor", of_four(signers=(0, 1, 2, 3, 4)).signed
    ),
    "a fifth for one of four": refused("unknown_attestor", of_four(signers=(0, 1, 4)).signed),
    "others only": refused("unknown_attestor", of_four(signers=(4, 5, 6, 7)).signed),
    "twenty-five": refused("unknown_attestor", with_bits(TEN.signed, 2**25 - 1)),
}

GOOD: Final = dict(decode_signed_header(TEN.signed).signatures)


def signatures(changed: dict[int, bytes]) -> Case:
    """A client of four refuses a header with other signatures."""
    return refused("bad_signature", of_four(signatures=changed).signed)


WRONG: Final[Cases] = {
    "all hold": taken(TEN),
    "zeros": signatures({1: bytes(64)}),
    "ones": signatures({1: b"\xff" * 64}),
    "two the wrong way round": signatures({0: GOOD[1], 1: GOOD[0]}),
    "one for all": signatures({1: GOOD[0], 2: GOOD[0]}),
    "its halves the wrong way round": signatures({2: GOOD[2][32:] + GOOD[2][:32]}),
    "that of the header before": signatures(
        {0: dict(decode_signed_header(of_four(EPOCH - 1).signed).signatures)[0]}
    ),
    "one too many, of four": signatures({3: GOOD[0]}),
}

ORDER: Final = 2**252 + 27742317777372353535851937790883648493
Y_OF_ORDER_8: Final = 2707385501144840649318225287225658788936804267575313519463743609750303402022
P: Final = 2**255 - 19
ORDER_8: Final = Y_OF_ORDER_8.to_bytes(32, "little")


def little(number: int) -> bytes:
    """32 bytes, the lowest first."""
    return number.to_bytes(32, "little")


def secret_scalar(pair_seed: bytes) -> int:
    """The scalar of a key, as RFC 8032 makes it of the seed."""
    low = int.from_bytes(sha512(pair_seed).digest()[:32], "little")
    return low & (2**254 - 8) | 2**254


def times_base(scalar: int) -> bytes:
    """A multiple of the base point."""
    return bindings.crypto_scalarmult_ed25519_base_noclamp(little(scalar % ORDER))


def respond(r_bytes: bytes, r: int, key: bytes, secret: int, message: bytes) -> bytes:
    """A signature with a chosen first half, of which r is believed to be the logarithm."""
    k = int.from_bytes(sha512(r_bytes + key + message).digest(), "little") % ORDER
    return r_bytes + little((r + k * secret) % ORDER)


def forge(r_bytes: bytes, r: int = 0) -> bytes:
    """What attestor 0 signs with a chosen first half."""
    pair = seat(0)
    return respond(r_bytes, r, pair.public, secret_scalar(pair.secret[:32]), GOOD_MESSAGE)


def larger(times: int) -> bytes:
    """The signature of attestor 0 with the order added to its second half."""
    return GOOD[0][:32] + little(int.from_bytes(GOOD[0][32:], "little") + times * ORDER)


R: Final = 2**200 + 7
NEUTRAL: Final = little(1)

MALLEABLE: Final[Cases] = {
    "made with another nonce": [
        start(TEN.genesis),
        update(of_four(signatures={0: forge(times_base(R), R)}).signed),
    ],
    "S and once the order": signatures({0: larger(1)}),
    "S and twice the order": signatures({0: larger(2)}),
    "S and as often the order as there is room": signatures({0: larger(14)}),
    "S is the order": signatures({0: GOOD[0][:32] + little(ORDER)}),
    "a bit above S": signatures({0: flip(GOOD[0], 63, 7)}),
    "R is the neutral element, for which the equation holds": signatures({0: forge(NEUTRAL)}),
    "R is that with the other sign": signatures({0: forge(little(1 | 1 << 255))}),
    "R is that, not reduced": signatures({0: forge(little(P + 1))}),
    "R is of order 2": signatures({0: forge(little(P - 1))}),
    "R is of order 4": signatures({0: forge(little(0))}),
    "R is of order 4, not reduced": signatures({0: forge(little(P))}),
    "R is of order 8": signatures({0: forge(ORDER_8)}),
    "R differs by a point of order 8": signatures(
        {0: forge(bindings.crypto_core_ed25519_add(times_base(R), ORDER_8), R)}
    ),
    "R is no point": signatures({0: forge(little(2), R)}),
}


CLASSES: Final[dict[str, Cases]] = {
    "signatures: of another network or for something else": NETWORKS,
    "signatures: another set": SETS,
    "signatures: too few": TOO_FEW,
    "signatures: unknown attestors": UNKNOWN,
    "signatures: wrong": WRONG,
    "signatures: malleable, or of small order": MALLEABLE,
}
"""Every class of this page."""

NAMES: Final = {
    "header of 25": make_list(weights=LARGEST, signers=tuple(range(17)), entries=NODES).signed,
}
"""Bytes that many cases share."""
