"""The list of one epoch, built from the state: columns, swarms' tree, and the header's draft.

Nothing that a list shows changes within an epoch, so it can be built again from the state at any
time before the next epoch's end.
"""

from collections.abc import Generator, Mapping
from typing import Final, NamedTuple

from ledger.codec import encode
from ledger.crypto import sha256, tagged_hash
from ledger.errors import Misuse
from ledger.merkle import History, Subtree, leaf_hash, tree_root
from ledger.messages import tags
from ledger.messages.entries import (
    pack_cells,
    pack_columns_of,
    pack_contact,
    pack_swarm_leaves,
)
from ledger.messages.lists import (
    FORMAT_VERSION,
    RULES_VERSION,
    ListHeader,
    SignedHeader,
    attestor_set_hash,
    decode_header,
    encode_header,
)
from ledger.messages.state import HistoryState, RawHeader
from ledger.messages.tables import ATTESTATIONS, CONTACTS, HEADER, HEADERS, PARAMS, SETS, SWARMS
from ledger.state import State
from ledger.succession import get_successor
from ledger.types import ZERO_HASH, Epoch, Hash, Height, Key, TimeMs

PAUSE_NODES: Final = 2_000
"""Nodes between two pauses: some milliseconds of work."""

PAUSE_SWARMS: Final = 500
"""Leaves of swarms between two pauses."""


class BuiltList(NamedTuple):
    """Everything of a list that clients may ask for."""

    node_count: int
    swarm_ids: tuple[int, ...]
    columns: bytes
    leaves: tuple[bytes, ...]
    """Swarm leaves by ascending swarm id."""
    swarm_root: Hash
    """RFC 9162 root over the leaves."""


def read_swarms(state: State) -> Generator[None, None, dict[Key, int]]:
    """Return the swarm of each active node, by ascending key; pauses between pieces of work."""
    swarm_of: dict[Key, int] = {}
    for key, swarm in state.items(SWARMS):
        swarm_of[key] = swarm.swarm_id
        if len(swarm_of) % PAUSE_NODES == 0:
            yield
    return swarm_of


def build_list(
    state: State, swarm_of: Mapping[Key, int] | None = None
) -> Generator[None, None, BuiltList]:
    """Build the list of the active nodes; pauses between pieces of work.

    `swarm_of` may bring what `read_swarms` returns.
    """
    if swarm_of is None:
        swarm_of = yield from read_swarms(state)
    keys = list(swarm_of)
    swarm_ids = tuple(sorted(set(swarm_of.values())))
    members: dict[int, list[bytes]] = {swarm_id: [] for swarm_id in swarm_ids}
    pieces: list[tuple[bytes, ...]] = []
    for start in range(0, max(1, len(keys)), PAUSE_NODES):
        yield
        some = keys[start : start + PAUSE_NODES]
        rows = [pack_contact(state.one(CONTACTS, key)) for key in some]
        for key, row in zip(some, rows, strict=True):
            members[swarm_of[key]].append(b"".join((key, *row)))
        pieces.append(pack_cells(rows))
    yield
    cells = [b"".join(column) for column in zip(*pieces, strict=True)]
    columns = pack_columns_of(keys, list(swarm_of.values()), cells)
    yield
    leaves: list[bytes] = []
    hashes: list[Hash] = []
    for leaf in pack_swarm_leaves(swarm_ids, members.values()):
        leaves.append(leaf)
        hashes.append(leaf_hash(leaf))
        if len(leaves) % PAUSE_SWARMS == 0:
            yield
    return BuiltList(len(keys), swarm_ids, columns, tuple(leaves), tree_root(hashes))


def draft_header(
    state: State, built: BuiltList, epoch: Epoch, height: Height, time_ms: TimeMs, seed: Hash
) -> bytes:
    """Return the header of the epoch that ends now, its state root still zero.

    The root is that of the state that holds this draft, so `complete_header` puts it in when the
    next block begins; until then the header's other fields are proven by that root.
    """
    params = state.params()
    sets = state.one(SETS)
    return encode_header(
        ListHeader(
            format_version=FORMAT_VERSION,
            rules_version=RULES_VERSION,
            next_format=FORMAT_VERSION,
            epoch=epoch,
            height=height,
            valid_after_ms=time_ms,
            fresh_until_ms=time_ms + params.fresh_ms,
            valid_until_ms=time_ms + params.valid_ms,
            node_count=built.node_count,
            swarm_count=len(built.swarm_ids),
            list_hash=sha256(built.columns),
            swarm_root=built.swarm_root,
            set_hash=attestor_set_hash(sets.current),
            next_set_hash=attestor_set_hash(sets.next),
            history_root=get_history(state).root(),
            state_root=ZERO_HASH,
            params_digest=tagged_hash(tags.PARAMETERS, encode(state.one(PARAMS))),
            seed=seed,
            successor=get_successor(state, time_ms),
        )
    )


def complete_header(draft: bytes, state_root: Hash) -> bytes:
    """Return the header whose draft lies in the state that has `state_root`."""
    return encode_header(decode_header(draft)._replace(state_root=state_root))


def get_history(state: State) -> History:
    """Return the tree over all headers that were stored."""
    record = state.one(HEADERS)
    return History(record.size, record.peaks)


def store_header(state: State, header: bytes) -> list[tuple[Subtree, Hash]]:
    """Make `header` the one that the running epoch attests, and append it to the history.

    Returns the full subtrees that it ends there, with their roots.
    """
    before, leaf = get_history(state), leaf_hash(header)
    history = before.append(leaf)
    state.put(HEADERS, HistoryState(history.size, history.peaks))
    state.put(HEADER, RawHeader(header))
    return before.ended_by(leaf)


def get_signed_header(state: State) -> SignedHeader:
    """Return the header that the running epoch attests with the attestations accepted so far."""
    raw = state.get(HEADER)
    if raw is None:
        raise Misuse("no header was stored yet")
    signatures = tuple((key[0], record.signature) for key, record in state.items(ATTESTATIONS))
    return SignedHeader(raw.header, signatures)
