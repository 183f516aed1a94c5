"""A minimal signed list that holds is one call away, so that a test breaks exactly one thing.

    make_entries    nodes in swarms
    make_genesis    a genesis file; any field may be another
    make_list       a list with its header, signatures and file; any field of the header may be
                    another, signatures may be missing or wrong

Everything follows from the arguments: the same call gives the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any, Final

from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import KeyPair, key_pair, sign
from ledger.merkle import EMPTY_TREE_ROOT, History, leaf_hash, split_leaves, tree_root
from ledger.messages.contact import Contact, Version
from ledger.messages.entries import Entry, pack_columns, pack_entry, pack_swarm_leaf
from ledger.messages.genesis import (
    FIXED,
    GENESIS_VERSION,
    SOLO,
    Genesis,
    GenesisAttestor,
)
from ledger.messages.lists import (
    FORMAT_VERSION,
    RULES_VERSION,
    Attestor,
    ListHeader,
    SignedHeader,
    attestor_set_hash,
    encode_header,
    encode_signed_header,
    header_signing_bytes,
)
from ledger.params import preset
from ledger.types import ZERO_HASH
from registry.formats.full import encode_full
from registry.formats.trust import Hop, Members, Path, Recovery, encode_path

START_MS: Final = 1_700_000_000_000
EPOCH_MS: Final = preset("minimal").epoch_ms
FRESH_MS: Final = preset("minimal").fresh_ms
VALID_MS: Final = preset("minimal").valid_ms
EPOCH: Final = 10
USUAL_EPOCHS: Final = 1000
"""Epochs of whose headers histories are made."""
NOW_MS: Final = START_MS + EPOCH * EPOCH_MS + 1_000
"""A second after the end of epoch 10: the reference time unless a test says otherwise."""


@cache
def seat(number: int) -> KeyPair:
    """The key of attestor `number`, who has this index in every set, since keys ascend."""
    pairs = sorted(key_pair(digest(f"attestor {n}")) for n in range(25))
    return pairs[number]


def digest(what: str) -> bytes:
    """32 bytes that say nothing."""
    return sha256(what.encode()).digest()


def make_entries(count: int = 21, swarms: int = 3) -> list[Entry]:
    """Return nodes by ascending key: every third with both addresses, one in seven IPv6 only."""
    entries = []
    for number, key in enumerate(sorted(digest(f"node {n}") for n in range(count))):
        has_ipv4, has_ipv6 = number % 7 != 6, number % 3 == 0 or number % 7 == 6
        contact = Contact(
            bytes([45, 76, 0, number % 256]) if has_ipv4 else b"",
            bytes.fromhex("2a01") + bytes(13) + bytes([number % 256]) if has_ipv6 else b"",
            22021,
            22020 + number % 2,
            Version(2, 8, number % 3),
            Version(11, 5, 0),
        )
        entries.append(Entry(key, contact, (number % swarms) * (2**64 // swarms)))
    return entries


def make_genesis(weights: Sequence[int] = (1, 1, 1), **changes: Any) -> bytes:
    """Return a genesis file whose attestor with index i has `weights[i]`."""
    genesis = Genesis(
        version=GENESIS_VERSION,
        name=b"test",
        start_ms=START_MS,
        engine=SOLO,
        producer=key_pair(digest("producer")).public,
        policy=FIXED,
        seed=digest("seed"),
        params=tuple(preset("minimal")),
        pool=0,
        attestors=tuple(
            GenesisAttestor(seat(index).public, weight, digest(f"tip {index}"))
            for index, weight in enumerate(weights)
        ),
        recovery=(),
        accounts=(),
        nodes=(),
    )
    return encode(replace(genesis, **changes))


@dataclass(frozen=True)
class MadeList:
    """A list of one epoch, and all that a client gets to see of it."""

    genesis: bytes
    entries: list[Entry]
    columns: bytes
    header: ListHeader
    signed: bytes
    """The header with its signatures, as it travels."""
    full: bytes
    leaves: tuple[bytes, ...]
    """Leaf hashes of the headers before it, by epoch."""

    def path(self, held: int | None = None, *sets: Members) -> bytes:
        """Return the path to it in one hop, from the header of epoch `held` or from genesis."""
        return encode_path(Path((), self.hop(held, *sets)))

    def hop(self, held: int | None = None, *sets: Members, recovery: Recovery | None = None) -> Hop:
        """Return that hop."""
        start = 0 if held is None else held + 1
        return Hop(sets, recovery, make_hashes(self.leaves, start))

    @property
    def raw_header(self) -> bytes:
        """The 342 bytes that are signed."""
        return encode_header(self.header)


def make_list(
    epoch: int = EPOCH,
    *,
    genesis: bytes | None = None,
    weights: Sequence[int] = (1, 1, 1),
    signers: Sequence[int] | None = None,
    signatures: Mapping[int, bytes] | None = None,
    entries: Sequence[Entry] | None = None,
    after: Sequence["MadeList"] = (),
    **changes: Any,
) -> MadeList:
    """Return the list of the end of `epoch`, signed by everybody.

    `signers` are the indices of those who sign, `signatures` puts others in the place of theirs,
    `after` are lists that its history has in the place of the usual ones, `changes` fields of the
    header, which is signed with them.
    """
    genesis = make_genesis(weights) if genesis is None else genesis
    nodes = make_entries() if entries is None else list(entries)
    columns = pack_columns(nodes)
    leaves = make_leaves(epoch, tuple(weights), after)
    header = make_header(epoch, weights, nodes, columns)
    header = header._replace(**({"history_root": tree_root(leaves)} | changes))
    genesis_hash, raw = sha256(genesis).digest(), encode_header(header)
    who = range(len(weights)) if signers is None else signers
    made = {index: sign_as(index, genesis_hash, raw) for index in who}
    made |= signatures or {}
    signed = encode_signed_header(SignedHeader(raw, tuple(sorted(made.items()))))
    return MadeList(genesis, nodes, columns, header, signed, encode_full(columns), leaves)


def make_leaves(
    epoch: int, weights: tuple[int, ...], after: Sequence[MadeList] = ()
) -> tuple[bytes, ...]:
    """Return the leaf hashes of the headers before that of `epoch`; none of those far from now."""
    leaves = list(_usual_leaves(weights)[:epoch])
    for made in after:
        leaves[: made.header.epoch + 1] = (*made.leaves, leaf_hash(made.raw_header))
    return tuple(leaves)


@cache
def _usual_leaves(weights: tuple[int, ...]) -> tuple[bytes, ...]:
    """The headers of the first epochs, each with the same list, unless a test makes another."""
    entries = make_entries()
    columns = pack_columns(entries)
    history, leaves = History(), []
    for epoch in range(USUAL_EPOCHS):
        header = make_header(epoch, weights, entries, columns)
        raw = encode_header(header._replace(history_root=history.root()))
        leaves.append(leaf_hash(raw))
        history = history.append(leaves[-1])
    return tuple(leaves)


def make_hashes(leaves: Sequence[bytes], start: int) -> tuple[bytes, ...]:
    """Return the roots of the full subtrees from leaf `start` on."""
    return tuple(
        tree_root(leaves[each.place << each.level : each.stop])
        for each in split_leaves(start, len(leaves))
    )


def make_header(
    epoch: int, weights: Sequence[int], entries: Sequence[Entry], columns: bytes
) -> ListHeader:
    """Return the header of a list by a set with these weights."""
    members = [Attestor(seat(index).public, weight) for index, weight in enumerate(weights)]
    time_ms = START_MS + epoch * EPOCH_MS
    return ListHeader(
        format_version=FORMAT_VERSION,
        rules_version=RULES_VERSION,
        next_format=FORMAT_VERSION,
        epoch=epoch,
        height=10 * epoch,
        valid_after_ms=time_ms,
        fresh_until_ms=time_ms + FRESH_MS,
        valid_until_ms=time_ms + VALID_MS,
        node_count=len(entries),
        swarm_count=len({entry.swarm_id for entry in entries}),
        list_hash=sha256(columns).digest(),
        swarm_root=tree_root([leaf_hash(leaf) for leaf in make_swarm_leaves(entries)]),
        set_hash=attestor_set_hash(members),
        next_set_hash=attestor_set_hash(members),
        history_root=EMPTY_TREE_ROOT,
        state_root=digest(f"state {epoch}"),
        params_digest=digest("parameters"),
        seed=digest(f"seed {epoch}"),
        successor=ZERO_HASH,
    )


def make_swarm_leaves(entries: Sequence[Entry]) -> list[bytes]:
    """Return the leaves of a list's swarms, by ascending swarm id."""
    ids = sorted({entry.swarm_id for entry in entries})
    return [
        pack_swarm_leaf(
            ids[place - 1],
            swarm_id,
            ids[(place + 1) % len(ids)],
            [pack_entry(entry) for entry in entries if entry.swarm_id == swarm_id],
        )
        for place, swarm_id in enumerate(ids)
    ]


def sign_as(index: int, genesis_hash: bytes, header: bytes) -> bytes:
    """Return the signature of one attestor."""
    return sign(seat(index), header_signing_bytes(genesis_hash, header))
