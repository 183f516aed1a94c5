"""Headers of one network, epoch after epoch, whose attestors change: what a path leads along.

    Seats           a set of attestors, by the numbers of their seats
    Line            the headers; each continues the history of those before it
    Line.branch     the same up to an epoch, and others from there on
    Line.path       the bytes of a path by some of them
    to              one header of a path, with what its hop has
    make_recovery   the order of the recovery keys for a set

Everything follows from the arguments: the same call gives the same bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any, Final, NamedTuple, TypeAlias

from ledger.codec import encode
from ledger.crypto import KeyPair, key_pair, sign, signing_bytes
from ledger.merkle import History, leaf_hash
from ledger.messages import tags
from ledger.messages.entries import pack_columns
from ledger.messages.genesis import GenesisAttestor
from ledger.messages.lists import (
    Attestor,
    SignedHeader,
    attestor_set_hash,
    decode_signed_header,
    encode_header,
    encode_signed_header,
)
from ledger.messages.transactions import SetOrder
from registry.formats.full import encode_full
from registry.formats.trust import Members, Path, Recovery, Way, encode_path
from tests.registry.client.factory import (
    MadeList,
    digest,
    make_entries,
    make_genesis,
    make_header,
    seat,
    sign_as,
)

Seats: TypeAlias = Mapping[int, int]
"""The weight of each seat of a set, by ascending number, which is the order of their keys."""

ENTRIES: Final = make_entries(3, 1)
"""The list of every epoch: what is in it does not matter here."""


def members_of(seats: Seats) -> Members:
    """Return the set of some seats."""
    return tuple(Attestor(seat(number).public, seats[number]) for number in sorted(seats))


def set_hash_of(seats: Seats) -> bytes:
    """Return the hash of that set."""
    return attestor_set_hash(members_of(seats))


def found(seats: Seats, **changes: Any) -> bytes:
    """Return a genesis file whose attestors have these seats."""
    attestors = tuple(
        GenesisAttestor(seat(number).public, seats[number], digest(f"tip {number}"))
        for number in sorted(seats)
    )
    return make_genesis(attestors=attestors, **changes)


# ---- Recoveries ----


@cache
def recovery_pairs() -> tuple[KeyPair, ...]:
    """The six recovery keys, ascending."""
    return tuple(sorted(key_pair(digest(f"recovery {number}")) for number in range(6)))


def make_recovery(
    genesis: bytes,
    begin: int,
    seats: Seats,
    signers: Sequence[KeyPair] | None = None,
    *,
    tag: bytes = tags.RECOVERY_ORDER,
) -> Recovery:
    """Return the order by which a set takes over at the end of epoch `begin`.

    Five of six recovery keys sign it, the least number that is enough, unless others are named.
    """
    pairs = recovery_pairs()[:5] if signers is None else signers
    tips_hash = digest(f"tips at {begin}")
    order = SetOrder(begin, set_hash_of(seats), tips_hash)
    message = signing_bytes(tag, sha256(genesis).digest(), encode(order))
    return Recovery(begin, tips_hash, tuple((pair.public, sign(pair, message)) for pair in pairs))


# ---- Headers ----


class Stop(NamedTuple):
    """A header of a path, and what the hop that leads to it has beside its hashes."""

    epoch: int
    sets: tuple[Members, ...] = ()
    recovery: Recovery | None = None


def to(epoch: int, *sets: Seats, recovery: Recovery | None = None) -> Stop:
    """Return one stop of a path."""
    return Stop(epoch, tuple(map(members_of, sets)), recovery)


@dataclass(frozen=True)
class Line:
    """Lists of a network, one for each epoch from 0 on, with a real history behind each."""

    genesis: bytes
    turns: Mapping[int, Seats]
    """The set that takes over, by the epoch of the first header that it signs."""
    made: tuple[MadeList, ...] = ()

    def __getitem__(self, epoch: int) -> MadeList:
        return self.made[epoch]

    def seats_at(self, epoch: int) -> Seats:
        """Return the set that signs the header of an epoch."""
        return self.turns[max(first for first in self.turns if first <= epoch)]

    def branch(
        self,
        start: int,
        stop: int,
        turns: Mapping[int, Seats] | None = None,
        signers: Iterable[int] | None = None,
        **changes: Any,
    ) -> "Line":
        """Return the headers before `start` as they are, and others from there to before `stop`.

        `turns` are sets that take over at another epoch than on this line. `signers` are the seats
        that sign the header of `start`, if not all do, and `changes` are fields of that header.
        """
        earlier = {first: seats for first, seats in self.turns.items() if first < start}
        line = Line(self.genesis, (self.turns if turns is None else earlier | dict(turns)))
        made = list(self.made[:start])
        for epoch in range(start, stop):
            own = changes if epoch == start else {}
            made.append(line._make(epoch, made, signers if epoch == start else None, own))
        return Line(line.genesis, line.turns, tuple(made))

    def path(self, held: int | None, *stops: Stop) -> bytes:
        """Return a path from a header that is held, or from genesis, to the last of `stops`."""
        return encode_path(self.parts(held, *stops))

    def parts(self, held: int | None, *stops: Stop) -> Path:
        """Return the parts of that path."""
        hops = []
        for stop in stops:
            made = self[stop.epoch]
            hops.append(made.hop(held, *stop.sets, recovery=stop.recovery))
            held = stop.epoch
        signed = [self[stop.epoch].signed for stop in stops[:-1]]
        return Path(tuple(map(Way, hops, signed)), hops[-1])

    def along(self, epoch: int, held: int | None = None) -> bytes:
        """Return the path to a header by each one that named another set as the next."""
        known = self.seats_at(0 if held is None else held)
        stops = []
        for number in range(0 if held is None else held + 1, epoch + 1):
            seats = self.seats_at(number)
            header = self[number].header
            if number == epoch or header.next_set_hash != header.set_hash:
                stops.append(to(number, *([] if seats == known else [seats])))
                known = seats
        return self.path(held, *stops)

    def _make(
        self,
        epoch: int,
        before: Sequence[MadeList],
        signers: Iterable[int] | None,
        changes: Mapping[str, Any],
    ) -> MadeList:
        seats = self.seats_at(epoch)
        columns = pack_columns(ENTRIES)
        leaves = tuple(leaf_hash(made.raw_header) for made in before)
        header = make_header(epoch, (1,), ENTRIES, columns)._replace(
            set_hash=set_hash_of(seats),
            next_set_hash=set_hash_of(self.seats_at(epoch + 1)),
            history_root=history_of(leaves).root(),
        )
        header = header._replace(**changes)
        signed = sign_header(self.genesis, encode_header(header), seats, signers)
        return MadeList(
            self.genesis, ENTRIES, columns, header, signed, encode_full(columns), leaves
        )


def make_line(genesis: bytes, turns: Mapping[int, Seats], stop: int) -> Line:
    """Return the line of the epochs before `stop`."""
    return Line(genesis, turns).branch(0, stop)


def history_of(leaves: Iterable[bytes]) -> History:
    """Return the history of some leaves."""
    history = History()
    for leaf in leaves:
        history = history.append(leaf)
    return history


def sign_header(
    genesis: bytes, raw: bytes, seats: Seats, signers: Iterable[int] | None = None
) -> bytes:
    """Return a header signed by seats of a set, or by all of it."""
    who = seats if signers is None else signers
    genesis_hash = sha256(genesis).digest()
    signatures = tuple(
        (index, sign_as(number, genesis_hash, raw))
        for index, number in enumerate(sorted(seats))
        if number in who
    )
    return encode_signed_header(SignedHeader(raw, signatures))


# ---- Signed headers that are broken ----


def with_signature(signed: bytes, index: int, signature: bytes = bytes(64)) -> bytes:
    """Return a signed header with another signature at an index, be there one or not."""
    parts = decode_signed_header(signed)
    signatures = dict(parts.signatures) | {index: signature}
    return encode_signed_header(SignedHeader(parts.header, tuple(sorted(signatures.items()))))
