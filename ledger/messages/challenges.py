"""Challenges: a tester asks a node to prove that it answers at its address. No ledger sees one.

Each is one datagram, and so is whatever answers it. A request is never shorter than that, so that
nobody can have a node send more to a third party than he sends himself. A node signs only for who
sends back a cookie that it sent him: so he is where his datagrams say that they come from.
"""

from typing import Annotated, Final

import msgspec

from ledger.codec import U8, U63, Bytes32, Bytes64, Codec, Record, encode
from ledger.crypto import KeyPair, Signed, sign, signing_bytes
from ledger.messages import tags
from ledger.messages.contact import Version
from ledger.types import Hash, Key

CHALLENGE_VERSION: Final = 1

COOKIE_BYTES: Final = 16
NO_COOKIE: Final = bytes(COOKIE_BYTES)
"""What a tester sends that has no cookie yet."""

Cookie = Annotated[bytes, msgspec.Meta(min_length=COOKIE_BYTES, max_length=COOKIE_BYTES)]

MAX_REQUEST_BYTES: Final = 132
"""The longest request; the shortest has eight bytes fewer."""
MAX_ANSWER_BYTES: Final = 118
"""The longest answer: shorter than any request."""
MAX_COOKIE_BYTES: Final = 55
"""The longest cookie as it is sent, with a version that none has yet."""


class Challenge(Record, frozen=True):
    """What a tester asks."""

    target: Bytes32
    """The node that is to answer."""
    prober: Bytes32
    """The node that asks."""
    nonce: Bytes32
    """Random, for this one challenge."""
    epoch: U63
    """The epoch in which it is tested."""


class ChallengeRequest(Record, frozen=True):
    """A challenge as it is sent."""

    version: U8
    """`CHALLENGE_VERSION`."""
    challenge: Challenge
    cookie: Cookie
    """The one that the node sent for this challenge, or `NO_COOKIE`."""


class ChallengeCookie(Record, frozen=True):
    """What a node sends to who has to ask again with it."""

    version: U8
    """`CHALLENGE_VERSION`."""
    nonce: Bytes32
    """That of the challenge."""
    cookie: Cookie
    """Any bytes: they mean something to the node alone."""


class Answered(Record, frozen=True):
    """What a duty key signs, under the tag `CHALLENGE`: never a tester's bytes alone."""

    challenge: Challenge
    time_ms: U63
    """Clock of the machine that answers."""
    agent: Version
    """Version of the program that answers."""


class ChallengeAnswer(Record, frozen=True):
    """An answer as it is sent."""

    version: U8
    """`CHALLENGE_VERSION`."""
    nonce: Bytes32
    """That of the challenge."""
    time_ms: U63
    agent: Version
    signature: Bytes64
    """Of the `Answered`, by the duty key that the node has in the epoch of the challenge."""


REQUEST: Final[Codec[ChallengeRequest]] = Codec(ChallengeRequest, "challenge", MAX_REQUEST_BYTES)
ANSWER: Final[Codec[ChallengeAnswer]] = Codec(
    ChallengeAnswer, "answer to a challenge", MAX_ANSWER_BYTES
)
COOKIE: Final[Codec[ChallengeCookie]] = Codec(
    ChallengeCookie, "cookie for a challenge", MAX_COOKIE_BYTES
)


def encode_challenge(challenge: Challenge, cookie: bytes = NO_COOKIE) -> bytes:
    """Return the datagram that asks."""
    return encode(ChallengeRequest(CHALLENGE_VERSION, challenge, cookie))


def encode_cookie(challenge: Challenge, cookie: bytes) -> bytes:
    """Return the datagram that has a tester ask again."""
    return encode(ChallengeCookie(CHALLENGE_VERSION, challenge.nonce, cookie))


def challenge_bytes(genesis_hash: Hash, answered: Answered) -> bytes:
    """Return what a duty key signs to answer a challenge."""
    return signing_bytes(tags.CHALLENGE, genesis_hash, encode(answered))


def answer_challenge(
    genesis_hash: Hash, pair: KeyPair, challenge: Challenge, time_ms: int, agent: Version
) -> bytes:
    """Return the datagram that answers, signed by a duty key."""
    message = challenge_bytes(genesis_hash, Answered(challenge, time_ms, agent))
    answer = ChallengeAnswer(
        CHALLENGE_VERSION, challenge.nonce, time_ms, agent, sign(pair, message)
    )
    return encode(answer)


def challenge_signed(
    genesis_hash: Hash, duty_key: Key, challenge: Challenge, answer: ChallengeAnswer
) -> Signed:
    """Return what has to be verified for an answer."""
    answered = Answered(challenge, answer.time_ms, answer.agent)
    return Signed(duty_key, challenge_bytes(genesis_hash, answered), answer.signature)
