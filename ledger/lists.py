"""The list of one epoch, built from the state: columns, swarms' tree, and the header's draft.

Nothing that a list shows changes within an epoch, so it can be built again from the state at any
time before the next epoch's end.
"""

from collections.abc import Generator
from typing import Final, NamedTuple

from ledger.codec import encode
from ledger.crypto import sha256, tagged_hash
from ledger.errors import Misuse
from ledger.merkle import History, leaf_hash, tree_root
from ledger.messages import tags
from ledger.messages.entries import Entry, contact_cells, pack_columns, pack_swarm_leaves
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
from ledger.types import ZERO_HASH, Epoch, Hash, Height, TimeMs

PAUSE_NODES: Final = 500
"""Nodes between two pauses: some milliseconds of work."""


class BuiltList(NamedTuple):
    """Everything of a list that clients may ask for."""

    node_count: int
    swarm_ids: tuple[int, ...]
    columns: bytes
    leaves: tuple[bytes, ...]
    """Swarm leaves by ascending swarm id."""


def build_list(state: State) -> Generator[None, None, BuiltList]:
    """Build the list of the active nodes; pauses between pieces of work."""
    entries: list[Entry] = []
    cells: list[tuple[bytes, ...]] = []
    members: dict[int, list[bytes]] = {}
    for key, swarm in state.items(SWARMS):
        contact = state.one(CONTACTS, key)
        entries.append(Entry(key, contact, swarm.swarm_id))
        cells.append(contact_cells(contact))
        members.setdefault(swarm.swarm_id, []).append(key + b"".join(cells[-1]))
        if len(entries) % PAUSE_NODES == 0:
            yield
    swarm_ids = tuple(sorted(members))
    columns = pack_columns(entries, cells)
    yield
    leaves: list[bytes] = []
    for leaf in pack_swarm_leaves(swarm_ids, (members[swarm_id] for swarm_id in swarm_ids)):
        if len(leaves) % PAUSE_NODES == 0:
            yield
        leaves.append(leaf)
    return BuiltList(len(entries), swarm_ids, columns, tuple(leaves))


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
            swarm_root=tree_root([leaf_hash(leaf) for leaf in built.leaves]),
            set_hash=attestor_set_hash(sets.current),
            next_set_hash=attestor_set_hash(sets.next),
            history_root=get_history(state).root(),
            state_root=ZERO_HASH,
            params_digest=tagged_hash(tags.PARAMETERS, encode(state.one(PARAMS))),
            seed=seed,
            successor=ZERO_HASH,
        )
    )


def complete_header(draft: bytes, state_root: Hash) -> bytes:
    """Return the header whose draft lies in the state that has `state_root`."""
    return encode_header(decode_header(draft)._replace(state_root=state_root))


def get_history(state: State) -> History:
    """Return the tree over all headers that were stored."""
    record = state.one(HEADERS)
    return History(record.size, record.peaks)


def store_header(state: State, header: bytes) -> None:
    """Make `header` the one that the running epoch attests, and append it to the history."""
    history = get_history(state).append(leaf_hash(header))
    state.put(HEADERS, HistoryState(history.size, history.peaks))
    state.put(HEADER, RawHeader(header))


def get_signed_header(state: State) -> SignedHeader:
    """Return the header that the running epoch attests with the attestations accepted so far."""
    raw = state.get(HEADER)
    if raw is None:
        raise Misuse("no header was stored yet")
    signatures = tuple((key[0], record.signature) for key, record in state.items(ATTESTATIONS))
    return SignedHeader(raw.header, signatures)
