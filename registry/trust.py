"""Paths by which clients follow the attestors, found in the history that a chain keeps.

Only final headers that name another set as the next one stand on a path: from any header the first
of these can be taken, since the set that signs it was named before, or put in by a recovery. Those
after it are tried in turn, up to the first that cannot be taken: a set outlives few changes, so a
longer search would find little and cost the service much.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Final, NamedTuple

from ledger.errors import Refusal
from ledger.history import (
    RECOVERY_ROW,
    announcement_key,
    final_key,
    recovery_key,
    subtree_key,
)
from ledger.merkle import split_leaves
from ledger.messages.genesis import Genesis, founders_of
from ledger.messages.lists import (
    ListHeader,
    SignedHeader,
    attestor_set_hash,
    decode_header,
    decode_signed_header,
    encode_signed_header,
)
from ledger.types import Epoch, Hash
from ledger.views import View
from registry.client.checks import is_vouched
from registry.formats.trust import Hop, Members, Path, Recovery, Way

MAX_SETTLED: Final = 10_000
"""Hops that are remembered: from each change of the set one, and from where clients stood."""


class Stand(NamedTuple):
    """A place on a path: genesis, or a header that a client can hold."""

    epoch: Epoch
    start: int
    """The leaf of the history after it."""
    set_hash: Hash
    """The set that signed it."""
    next_set_hash: Hash


class _Signed(NamedTuple):
    """A header with its signatures, decoded once."""

    signed: SignedHeader
    header: ListHeader


class PathFinder:
    """Finds the paths of one chain, and remembers those of their hops that stay as they are."""

    def __init__(self, genesis: Genesis) -> None:
        """Begin where clients do that have nothing but the genesis file."""
        founders = attestor_set_hash(founders_of(genesis))
        self._start = Stand(0, 0, founders, founders)
        self._settled: dict[Stand, tuple[Way, ListHeader]] = {}

    def find(self, view: View, start: Epoch | None, end: Epoch) -> Path | None:
        """Return the path to the header of epoch `end` from that of `start`, or from genesis.

        None if one of the two is not there, or if the first is not the earlier. From a header to
        itself it has the history before it. Refuses with `bad_path` where what is needed is not
        kept.
        """
        target = _read(view, end)
        stand = self._start if start is None else _stand_at(view, start)
        if target is None or stand is None:
            return None
        if start is not None and start >= end:
            return Path((), Hop(hashes=_find_hashes(view, 0, end))) if start == end else None
        ways: list[Way] = []
        while True:
            way, header = self._choose(view, stand, target)
            if header is target.header:
                return Path(tuple(ways), way.hop)
            ways.append(way)
            stand = _stand_on(header)

    def _choose(self, view: View, stand: Stand, target: _Signed) -> tuple[Way, ListHeader]:
        """Return the hop to the last header that can be taken from a place, and the header."""
        settled = self._settled.get(stand)
        if settled is not None and settled[1].epoch < target.header.epoch:
            return settled
        chosen, is_settled = None, False
        for each in chain(_find_announcements(view, stand, target.header.epoch), (target,)):
            hop = _find_hop(view, stand, each)
            if hop is None:
                is_settled = True
                break
            chosen = each, hop
        if chosen is None:
            raise Refusal("bad_path", why="a set that it needs is not kept here")
        one, hop = chosen
        hop = hop._replace(hashes=_find_hashes(view, stand.start, one.header.epoch))
        found = Way(hop, encode_signed_header(one.signed)), one.header
        if is_settled and len(self._settled) < MAX_SETTLED:
            self._settled[stand] = found
        return found


def _find_announcements(view: View, stand: Stand, end: Epoch) -> Iterator[_Signed]:
    """Yield the next headers after a place that name another set as the next one."""
    for key, _ in view.reader.items(announcement_key(stand.start), announcement_key(end)):
        found = _read(view, int.from_bytes(key[1:], "big"))
        if found is not None:
            yield found


def _find_hop(view: View, stand: Stand, to: _Signed) -> Hop | None:
    """Return the hop from a place to a header, its hashes aside; None if there is none."""
    header = to.header
    members = view.attestors(header.set_hash)
    if not members:
        return None
    if header.set_hash == stand.next_set_hash:
        return Hop(_without_known(stand, members))
    recovery = _find_recovery(view, stand, header)
    if recovery is not None:
        return Hop(_without_known(stand, members), recovery)
    trusted = view.attestors(stand.next_set_hash)
    if not is_vouched(trusted, members, to.signed):
        return None
    return Hop(_without_known(stand, trusted, members))


def _without_known(stand: Stand, *sets: Members) -> tuple[Members, ...]:
    """Return those sets that whoever stands there does not know."""
    return tuple(members for members in sets if attestor_set_hash(members) != stand.set_hash)


def _find_recovery(view: View, stand: Stand, header: ListHeader) -> Recovery | None:
    """Return the order that replaced the attestors by the set of a header, if one did."""
    orders = view.reader.items(recovery_key(stand.start), recovery_key(header.epoch + 1))
    for key, raw in orders:
        begin, row = int.from_bytes(key[1:], "big"), RECOVERY_ROW.load(raw)
        first = _read(view, begin)
        # an order that lapsed has its row, and the header after it names another set
        if first is not None and first.header.set_hash == row.set_hash == header.set_hash:
            signers = tuple((signer.key, signer.signature) for signer in row.signers)
            return Recovery(begin, row.tips_hash, signers)
    return None


def _find_hashes(view: View, start: int, stop: int) -> tuple[Hash, ...]:
    roots = (view.reader.get(subtree_key(each)) for each in split_leaves(start, stop))
    found = tuple(root for root in roots if root is not None)
    if len(found) != len(split_leaves(start, stop)):
        raise Refusal("bad_path", why="headers from before a snapshot are not kept here")
    return found


def _stand_at(view: View, epoch: Epoch) -> Stand | None:
    held = _read(view, epoch)
    return None if held is None else _stand_on(held.header)


def _stand_on(header: ListHeader) -> Stand:
    return Stand(header.epoch, header.epoch + 1, header.set_hash, header.next_set_hash)


def _read(view: View, epoch: Epoch) -> _Signed | None:
    raw = view.reader.get(final_key(epoch))
    signed = view.newest_header() if raw is None else decode_signed_header(raw)
    header = decode_header(signed.header)
    return _Signed(signed, header) if header.epoch == epoch else None
