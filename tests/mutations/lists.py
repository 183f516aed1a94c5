"""Mutations of what clients read: headers, signature sets, columns, files."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from itertools import chain
from random import Random
from typing import Any, Final

from ledger.crypto import SIGNATURE_BYTES, sign, signing_bytes
from ledger.errors import Refusal
from ledger.messages import tags
from ledger.messages.entries import COLUMNS, Entry, pack_columns
from ledger.messages.lists import (
    HEADER_BYTES,
    MAX_NODES,
    MAX_SWARMS,
    SignedHeader,
    decode_signed_header,
    encode_header,
    encode_signed_header,
    header_signing_bytes,
    is_final,
)
from registry.client import TrustedLists
from registry.formats.full import FORMAT_BYTE, encode_full
from tests.mutations.engine import Sample, Subject, Target, cuts_of, mutate
from tests.registry.client.factory import (
    EPOCH,
    NOW_MS,
    MadeList,
    make_entries,
    make_genesis,
    make_list,
    seat,
    sign_as,
)

UPDATE: Final = frozenset(
    ("bad_header", "unknown_format", "wrong_set", "roll_back", "unknown_attestor", "not_final")
) | {"bad_signature", "fork", "bad_path", "bad_history", "from_the_future", "list_expired"}
"""Codes of `TrustedLists.update`."""

LOAD: Final = frozenset(("too_large", "unknown_format", "bad_list"))
"""Codes of `TrustedLists.load_full`."""

HEADER_CUTS: Final = cuts_of(2, 2, 2, 8, 8, 8, 8, 8, 4, 4, *[32] * 9)
EPOCH_AT: Final = 6
"""Where the epoch of a header stands."""
ORDER: Final = 2**252 + 27742317777372353535851937790883648493
"""Order of the group of Ed25519."""


class Reader:
    """A client that begins anew after each update that it took."""

    def __init__(
        self, genesis: bytes, held: MadeList | None = None, newer: Sequence[MadeList] = ()
    ) -> None:
        """Hold a list, and know the paths to newer ones."""
        self._genesis = genesis
        self._held = held
        start = None if held is None else held.header.epoch
        self._paths = {made.header.epoch: made.path(start) for made in newer}
        self.client = self._begin()

    def _begin(self) -> TrustedLists:
        client = TrustedLists(self._genesis, NOW_MS)
        if self._held is not None:
            client.update(self._held.signed, self._held.path())
            client.load_full(self._held.full)
        return client

    def update(self, raw: bytes) -> bytes:
        """Return the signed header that the client believes once it took this one."""
        client = self.client
        epoch = int.from_bytes(raw[EPOCH_AT : EPOCH_AT + 8], "big")
        try:
            client.update(raw, self._paths.get(epoch, b""))
        except Refusal:
            if client.evidence is not None:
                self.client = self._begin()
            raise
        self.client = self._begin()
        return client.signed_header

    def check(self) -> None:
        """What was refused changed nothing."""
        client, held = self.client, self._held
        assert client.evidence is None
        assert client.is_empty is (held is None)
        if held is not None:
            assert client.signed_header == held.signed
            assert client.entries == held.entries


# -------------------------------------------------------------------------------- headers


def made_lists(seed: int) -> list[MadeList]:
    """Three lists of one network, whose attestors did not all sign, and its list before them."""
    some = [(0, 1, 2, 3, 4), (1, 2, 3, 4), (2, 3, 4)]
    made: list[MadeList] = []
    for place in range(4):
        one = make_list(
            EPOCH - 3 + place,
            weights=(1, 2, 3, 4, 5),
            signers=some[(place + seed) % 3],
            entries=make_entries(4 + 3 * place + seed, 1 + (place + seed) % 4),
            after=made[-1:],
        )
        made.append(one)
    return made


def signed_cuts(signed: bytes) -> tuple[int, ...]:
    """Fields of a signed header."""
    return (*HEADER_CUTS, *range(HEADER_BYTES + 4, len(signed) + 1, SIGNATURE_BYTES))


def headers(seed: int) -> Subject:
    """Signed headers, changed anywhere, before a client with nothing or with an older list."""
    before, *made = made_lists(seed)
    reader = Reader(made[0].genesis, before if seed % 2 else None, made if seed % 2 else ())
    signatures = {
        (each.raw_header, *one)
        for each in (before, *made)
        for one in decode_signed_header(each.signed).signatures
    }

    def holds(_raw: bytes, believed: bytes) -> bool:
        signed = decode_signed_header(believed)
        return all((signed.header, *one) in signatures for one in signed.signatures)

    samples = [Sample(each.signed, signed_cuts(each.signed)) for each in made]
    return Subject(samples, reader.update, holds, reader.check)


def inside_headers(seed: int) -> Subject:
    """The 342 bytes, changed under the signatures that they had."""
    before, *made = made_lists(seed)
    reader = Reader(made[0].genesis, before if seed % 2 else None, made if seed % 2 else ())
    behind = {each.raw_header: each.signed[HEADER_BYTES:] for each in made}
    first = made[seed % 3]

    def offer(raw: bytes) -> bytes:
        return reader.update(raw + behind.get(raw, first.signed[HEADER_BYTES:]))

    def holds(raw: bytes, believed: bytes) -> bool:
        return raw in behind and believed == raw + behind[raw]

    samples = [Sample(each.raw_header, HEADER_CUTS) for each in made]
    return Subject(samples, offer, holds, reader.check, of_this_length(samples))


def of_this_length(samples: Sequence[Sample]) -> Callable[[Random], bytes]:
    """Mutations that stay as long as they were: what is longer or shorter is refused at once."""

    def mutation(random: Random) -> bytes:
        while True:
            raw = mutate(random, random.choice(samples), random.choice(samples))
            if len(raw) == HEADER_BYTES:
                return raw

    return mutation


def signed_headers(seed: int) -> Subject:
    """The 342 bytes, changed before their attestors signed them: they may sign nonsense."""
    genesis = make_genesis((1,))
    made = [make_list(EPOCH - 1 + place, weights=(1,)) for place in (0, 1)]
    reader = Reader(genesis, made[0] if seed % 2 else None)

    def offer(raw: bytes) -> bytes:
        return reader.update(signed_alone(genesis, raw))

    def holds(raw: bytes, believed: bytes) -> bool:
        return believed == signed_alone(genesis, raw)

    samples = [Sample(each.raw_header, HEADER_CUTS) for each in made]
    return Subject(samples, offer, holds, reader.check, of_this_length(samples))


def signed_alone(genesis: bytes, header: bytes) -> bytes:
    """A header signed by the only attestor."""
    signature = sign_as(0, sha256(genesis).digest(), header)
    return encode_signed_header(SignedHeader(header, ((0, signature),)))


# --------------------------------------------------------------------------- signature sets

SETS: Final[tuple[tuple[Sequence[int], Sequence[int]], ...]] = (
    ((1,), (0,)),
    ((1, 1, 1), (0, 1, 2)),
    ((1, 1, 1, 1), (0, 2, 3)),
    ((1,) * 25, range(17)),
    ((1, 2, 3, 4, 5), (1, 3, 4)),
    ((7, 1, 1), (0,)),
    ((2**32 - 2, 2**32 - 2, 2**32 - 2, 1), (0, 2, 3)),
    (range(1, 26), (24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 11)),
)
"""Weights, and who signed: together exactly the least weight that is final."""

TWO_THIRDS: Final[tuple[tuple[Sequence[int], Sequence[int]], ...]] = (
    ((1, 1, 1), (0, 2)),
    ((2, 1), (0,)),
    ((1, 2, 3), (0, 2)),
    ((2**32 - 1,) * 3, (1, 2)),
    ((1,) * 24, range(16)),
)
"""Weights, and who signed: exactly two thirds, which is not enough."""


def at_the_threshold(seed: int) -> Subject:
    """Signatures of exactly the least weight that is final: each of them is needed."""
    weights, signers = SETS[seed]
    weight, total = sum(weights[index] for index in signers), sum(weights)
    assert is_final(weight, total)
    assert not is_final(weight - 1, total)
    return signature_sets(weights, signers, are_good=True)


def at_two_thirds(seed: int) -> Subject:
    """Signatures of exactly two thirds, and whatever can be made of them."""
    weights, signers = TWO_THIRDS[seed]
    assert 3 * sum(weights[index] for index in signers) == 2 * sum(weights)
    return signature_sets(weights, signers, are_good=False)


def signature_sets(weights: Sequence[int], signers: Sequence[int], *, are_good: bool) -> Subject:
    made = make_list(weights=weights, signers=sorted(signers))
    reader = Reader(made.genesis)
    honest = dict(decode_signed_header(made.signed).signatures)
    others = other_signatures(made, sorted(signers))

    def mutation(random: Random) -> bytes:
        while True:
            change = random.choice(SET_CHANGES)
            raw = made.raw_header + change(random, dict(honest), others)
            if raw != made.signed:
                return raw

    return Subject(
        [Sample(made.signed)],
        reader.update,
        lambda raw, believed: raw == believed == made.signed,
        reader.check,
        mutation,
        are_good,
    )


Signatures = dict[int, bytes]
SetChange = Callable[[Random, Signatures, Mapping[int, Sequence[bytes]]], bytes]


def other_signatures(made: MadeList, signers: Sequence[int]) -> dict[int, Sequence[bytes]]:
    """What the same keys signed for something else: another header, network or purpose."""
    genesis_hash, raw = sha256(made.genesis).digest(), made.raw_header
    header = made.header
    messages = [
        header_signing_bytes(genesis_hash, encode_header(header._replace(epoch=header.epoch - 1))),
        header_signing_bytes(genesis_hash, encode_header(header._replace(node_count=1))),
        header_signing_bytes(sha256(b"another network").digest(), raw),
        signing_bytes(tags.BLOCK, genesis_hash, raw),
        raw,
    ]
    return {index: [sign(seat(index), message) for message in messages] for index in signers}


def part(signatures: Signatures, bits: int | None = None) -> bytes:
    """The bytes behind a header; the bit set may be another than that of the signatures."""
    if bits is None:
        bits = sum(1 << index for index in signatures)
    return bits.to_bytes(4, "big") + b"".join(signatures[index] for index in sorted(signatures))


def lose(random: Random, signatures: Signatures, _others: Any) -> bytes:
    del signatures[random.choice(list(signatures))]
    return part(signatures)


def damage(random: Random, signatures: Signatures, _others: Any) -> bytes:
    index = random.choice(list(signatures))
    damaged = bytearray(signatures[index])
    damaged[random.randrange(SIGNATURE_BYTES)] ^= 1 << random.randrange(8)
    return part(signatures | {index: bytes(damaged)})


def exchange(random: Random, signatures: Signatures, _others: Any) -> bytes:
    a, b = (random.choice(list(signatures)) for _ in range(2))
    return part(signatures | {a: signatures[b], b: signatures[a]})


def repeat(random: Random, signatures: Signatures, _others: Any) -> bytes:
    """One signature in the place of another, or for a seat that did not sign."""
    a = random.choice(list(signatures))
    return part(signatures | {random.randrange(32): signatures[a]})


def move(random: Random, signatures: Signatures, _others: Any) -> bytes:
    signature = signatures.pop(random.choice(list(signatures)))
    return part(signatures | {random.randrange(32): signature})


def rename(random: Random, signatures: Signatures, _others: Any) -> bytes:
    """Another bit set: as many others, one bit more or less, or any."""
    bits = sum(1 << index for index in signatures)
    kept = sum(1 << index for index in random.sample(range(25), len(signatures)))
    return part(signatures, random.choice((kept, bits ^ 1 << random.randrange(32), 2**25 - 1)))


def stale(random: Random, signatures: Signatures, others: Mapping[int, Sequence[bytes]]) -> bytes:
    """A signature by the same key for something else."""
    index = random.choice(list(signatures))
    return part(signatures | {index: random.choice(others[index])})


def forge(random: Random, signatures: Signatures, _others: Any) -> bytes:
    """Nothing, everything, noise, or the same equation with a larger S."""
    index = random.choice(list(signatures))
    larger = int.from_bytes(signatures[index][32:], "little") + ORDER
    forged = (
        *(bytes(64), b"\xff" * 64, b"\1" + bytes(63), random.randbytes(64)),
        signatures[index][:32] + larger.to_bytes(32, "little"),
        signatures[index][32:] + signatures[index][:32],
    )
    return part(signatures | {index: random.choice(forged)})


def bytes_of_it(random: Random, signatures: Signatures, _others: Any) -> bytes:
    """Whatever the engine makes of the bytes behind the header."""
    sample = Sample(part(signatures), cuts_of(4, *[SIGNATURE_BYTES] * len(signatures)))
    return mutate(random, sample, sample)


SET_CHANGES: Final[tuple[SetChange, ...]] = (
    *(lose, damage, exchange, repeat, move, rename, stale, forge, bytes_of_it),
)


# --------------------------------------------------------------------------------- columns


def columns_cuts(made: MadeList) -> tuple[int, ...]:
    """Counts, swarm ids, and every cell of every column; the file's order."""
    nodes, swarms = made.header.node_count, made.header.swarm_count
    flags = [1 + 2 * bool(entry.contact.ipv6) for entry in made.entries]
    cells = {"ipv4": sum(flag & 1 for flag in flags), "ipv6": sum(flag >> 1 for flag in flags)}
    widths = chain.from_iterable([width] * cells.get(name, nodes) for name, width in COLUMNS)
    return tuple(cut for cut in cuts_of(4, 4, *[8] * swarms, *widths) if cut <= len(made.columns))


def small_lists(seed: int) -> list[MadeList]:
    """Lists of few nodes, one of them signed by everybody in the end."""
    sizes = ((3, 1), (8, 2), (21, 3), (13, 4))
    return [
        make_list(EPOCH - 1, weights=(1,), entries=make_entries(count + seed, swarms))
        for count, swarms in (sizes[seed % 4], sizes[(seed + 1) % 4])
    ]


def columns(seed: int) -> Subject:
    """Columns, changed and compressed again, below a header that names others."""
    made, other = small_lists(seed)
    client = TrustedLists(made.genesis, NOW_MS)
    client.update(made.signed)
    samples = [Sample(made.columns, columns_cuts(made))]
    return Subject(
        samples,
        loaded(client, lambda raw: client.load_full(encode_full(raw))),
        lambda raw, entries: raw == made.columns and entries == made.entries,
        lambda: same_list(client, made),
        lambda random: mutate(random, samples[0], Sample(other.columns, columns_cuts(other))),
    )


def loaded(client: TrustedLists, load: Callable[[bytes], None]) -> Callable[[bytes], list[Entry]]:
    """Return what a client reads once it took bytes in this way."""

    def take(raw: bytes) -> list[Entry]:
        load(raw)
        return client.entries

    return take


def same_list(client: TrustedLists, made: MadeList) -> None:
    """What was refused took nothing away."""
    assert client.entries == made.entries
    assert client.header == made.header


def signed_columns(seed: int) -> Subject:
    """Columns, changed before their hash was signed: nonsense is refused, or says one thing."""
    made = small_lists(seed)
    genesis = made[0].genesis
    reader = Reader(genesis)

    def offer(raw: bytes) -> bytes:
        nodes, swarms = int.from_bytes(raw[:4], "big"), int.from_bytes(raw[4:8], "big")
        if nodes > MAX_NODES or swarms > min(nodes, MAX_SWARMS):
            # no header can say this
            nodes, swarms = made[0].header.node_count, made[0].header.swarm_count
        header = made[0].header._replace(
            node_count=nodes, swarm_count=swarms, list_hash=sha256(raw).digest()
        )
        client = reader.client
        reader.update(signed_alone(genesis, encode_header(header)))
        client.load_full(encode_full(raw))
        return pack_columns(sorted(client.entries, key=lambda entry: entry.key))

    samples = [Sample(each.columns, columns_cuts(each)) for each in made]
    return Subject(samples, offer, lambda raw, packed: raw == packed)


def files(seed: int) -> Subject:
    """The compressed file: a list may come as different files, but as no other list."""
    made, other = small_lists(seed)
    client = TrustedLists(made.genesis, NOW_MS)
    client.update(made.signed)
    samples = [Sample(deflated(made.columns, level), (0, 1, 6)) for level in (0, 1, 9)]
    strangers = [*samples, Sample(other.full)]
    return Subject(
        samples,
        loaded(client, client.load_full),
        lambda _raw, entries: entries == made.entries,
        lambda: same_list(client, made),
        lambda random: mutate(random, random.choice(samples), random.choice(strangers)),
    )


def deflated(data: bytes, level: int) -> bytes:
    """A file at another level of compression: stored blocks, fixed and dynamic codes."""
    stream = zlib.compressobj(level=level, wbits=-zlib.MAX_WBITS)
    return bytes([FORMAT_BYTE]) + stream.compress(data) + stream.flush()


HEADER, THRESHOLD, INSIDE_COLUMNS = "header", "threshold", "columns"

LISTS: Final = (
    Target("headers", headers, 6, 1_000, UPDATE),
    Target("inside headers", inside_headers, 8, 1_500, UPDATE, area=HEADER),
    Target("headers that were signed", signed_headers, 4, 1_500, UPDATE),
    Target("at the threshold", at_the_threshold, len(SETS), 1_500, UPDATE, area=THRESHOLD),
    Target("at two thirds", at_two_thirds, len(TWO_THIRDS), 500, UPDATE),
    Target("columns", columns, 8, 1_500, LOAD, area=INSIDE_COLUMNS),
    Target("columns that were signed", signed_columns, 8, 1_500, LOAD, area=INSIDE_COLUMNS),
    Target("files", files, 6, 1_500, LOAD),
)
