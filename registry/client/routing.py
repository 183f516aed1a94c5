"""Which nodes a message goes through: entries of a verified list go in, paths and swarms come out.

    path       hops that share no network, the first one kept from before if the caller likes
    swarm_of   the nodes that serve an account, in random order so that load spreads
    strike     a node failed; after a few times it is avoided, until `forgive`

- A network is a /24 of IPv4 or a /48 of IPv6. A node with both addresses stands in two networks.
- No two hops of a path share a network, and the own node is no hop and no member of a swarm.
- Every path that is allowed is as likely as any other, unless they are so few that one has to be
  searched for.
- A node that is avoided is drawn only if there is no path, or nobody in the swarm, without one;
  then those with the fewest strikes come first.
- Strikes stay while a node is listed, and go when it leaves the list.

Randomness comes from the caller, by default from the system. Nothing here knows a clock, a file or
the network, so strikes do not fade by themselves. One thread uses a table at a time.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from random import Random, SystemRandom
from typing import Final

from ledger.errors import Misuse, WaypostError
from ledger.messages.entries import Entry
from ledger.rules.swarms import nearest_swarm, position_of
from ledger.types import Key
from registry.client.trusted import check_account_id

HOPS: Final = 3
"""Nodes of a path unless the caller says otherwise."""

MAX_HOPS: Final = 5
"""Nodes of a path at most: searching for a path is bounded by it."""

MAX_STRIKES: Final = 3
"""Strikes after which a node is avoided, unless the caller says otherwise."""

TRIES: Final = 300
"""Draws before a path is searched for: enough wherever one draw in fifty gives a path."""

IPV4_NETWORK_BYTES: Final = 3
"""A /24."""

IPV6_NETWORK_BYTES: Final = 6
"""A /48."""


class NoPath(WaypostError):
    """The list gives no such path; `text` says why. Without a guard, or with fewer hops, it may."""

    code: Final = "no_path"

    def __init__(self, text: str) -> None:
        super().__init__(f"{self.code}: {text}")
        self.text = text


class RoutingTable:
    """The nodes of one verified list, and how often each of them failed this program."""

    def __init__(
        self,
        entries: Iterable[Entry],
        *,
        own_key: Key | None = None,
        max_strikes: int = MAX_STRIKES,
        rng: Random | None = None,
    ) -> None:
        """Start from the entries of a list, without strikes.

        `own_key` is the node that this program runs beside, if any. `max_strikes`, 1 or more, is
        how many make a node avoided. `rng` is for tests: what others can foresee hides nobody.
        """
        if max_strikes < 1:
            raise Misuse(f"a node is avoided after one strike at least: {max_strikes}")
        self._own_key = own_key
        self._max_strikes = max_strikes
        self._rng = SystemRandom() if rng is None else rng
        self._strikes: dict[Key, int] = {}
        self.update(entries)

    def update(self, entries: Iterable[Entry]) -> None:
        """Go on with the entries of another list; nodes that stay keep their strikes."""
        listed = list(entries)
        # Every swarm counts for who is nearest, also one that has no other member than this node.
        self._swarm_ids = sorted({entry.swarm_id for entry in listed})
        self._nodes = {entry.key: entry for entry in listed if entry.key != self._own_key}
        self._swarms: dict[int, list[Entry]] = {}
        for entry in self._nodes.values():
            self._swarms.setdefault(entry.swarm_id, []).append(entry)
        self._strikes = {key: n for key, n in self._strikes.items() if key in self._nodes}
        # The nodes that are not avoided, and where each stands: paths are drawn from these without
        # looking at any other, and one comes or goes without moving the rest.
        self._pool = [entry for entry in self._nodes.values() if not self.is_avoided(entry.key)]
        self._place = {entry.key: place for place, entry in enumerate(self._pool)}

    def path(self, hops: int = HOPS, guard: Key | None = None) -> list[Entry]:
        """Return `hops` nodes, 1 to 5, no two of which share a network; the first is nearest.

        `guard` is the key of the first one, for who keeps it: few nodes then ever learn where this
        program is.

        Raises `NoPath` if the list has no such path, or the guard has left it or is avoided.
        """
        if not 1 <= hops <= MAX_HOPS:
            raise Misuse(f"a path has 1 to {MAX_HOPS} hops: {hops}")
        kept = [] if guard is None else [self._find_guard(guard)]
        count = hops - len(kept)
        # Whole paths are drawn until one is allowed: whoever mended one hop of a draw would make
        # some paths likelier than others.
        for _ in range(TRIES if count <= len(self._pool) else 0):
            path = kept + self._rng.sample(self._pool, count)
            if are_apart(path):
                return path
        return self._search(kept, hops)

    def swarm_of(self, account_id: bytes) -> list[Entry]:
        """Return the nodes of the swarm that serves an account, in random order.

        `account_id` has 33 bytes, or 32 without its prefix. Nodes that are avoided are left out, if
        others are there. None are returned if the swarm has none.
        """
        check_account_id(account_id)
        swarm_id = nearest_swarm(self._swarm_ids, position_of(account_id[-32:]))
        members = self._swarms.get(swarm_id, [])
        mixed = self._rng.sample(members, len(members))
        liked = [entry for entry in mixed if not self.is_avoided(entry.key)]
        return liked or sorted(mixed, key=self._rank)

    def strike(self, key: Key) -> None:
        """Count a failure against a node. Nothing happens if it is not, or no longer, listed."""
        if key not in self._nodes:
            return
        self._strikes[key] = self.strikes_of(key) + 1
        if self.is_avoided(key) and key in self._place:
            place, last = self._place.pop(key), self._pool.pop()
            if last.key != key:
                self._pool[place], self._place[last.key] = last, place

    def forgive(self, key: Key) -> None:
        """Clear a node's strikes: because it did what it should, or after a while."""
        if self._strikes.pop(key, 0) and key not in self._place:
            self._place[key] = len(self._pool)
            self._pool.append(self._nodes[key])

    def strikes_of(self, key: Key) -> int:
        """Return how many strikes a node has."""
        return self._strikes.get(key, 0)

    def is_avoided(self, key: Key) -> bool:
        """Whether a node has so many strikes that others are taken."""
        return self.strikes_of(key) >= self._max_strikes

    # ---- What is needed when drawing alone does not do ----

    def _rank(self, entry: Entry) -> int:
        return self.strikes_of(entry.key)

    def _find_guard(self, key: Key) -> Entry:
        entry = self._nodes.get(key)
        if entry is None:
            raise NoPath("the guard is not in the list, or is the own node: choose another one")
        if self.is_avoided(key):
            raise NoPath(
                f"the guard has {self.strikes_of(key)} strikes: forgive it, or choose another one"
            )
        return entry

    def _search(self, kept: list[Entry], hops: int) -> list[Entry]:
        """Find a path if there is one, with as few strikes for its worst node as can be.

        This looks at every node. No chance is promised to any path, since this is for lists that
        hardly have one, and for times when nearly all nodes have failed.
        """
        mixed = self._rng.sample(list(self._nodes.values()), len(self._nodes))
        candidates = Candidates(hops)
        for _, level in groupby(sorted(mixed, key=self._rank), key=self._rank):
            candidates.extend(level)
            path = complete(kept, candidates.entries, hops)
            if path is not None:
                drawn = path[len(kept) :]
                return kept + self._rng.sample(drawn, len(drawn))
        with_guard = " with this guard" if kept else ""
        raise NoPath(f"no {hops} nodes of the list are in distinct networks{with_guard}")


# ---- Networks ----


def networks_of(entry: Entry) -> tuple[bytes, ...]:
    """Return the networks that a node stands in: 3 bytes for a /24, 6 bytes for a /48."""
    contact = entry.contact
    prefixes = contact.ipv4[:IPV4_NETWORK_BYTES], contact.ipv6[:IPV6_NETWORK_BYTES]
    return tuple(prefix for prefix in prefixes if prefix)


def are_apart(entries: Iterable[Entry]) -> bool:
    """Whether no two nodes share a network. The same node twice does."""
    networks = [network for entry in entries for network in networks_of(entry)]
    return len(set(networks)) == len(networks)


# ---- Searching ----


class Candidates:
    """So few nodes that all paths among them can be tried, and enough that one is found.

    Of the nodes in one network only the first `hops` count, each in another pair of networks. The
    other hops of a path are fewer than that, and each has one network on that other side at most,
    so one of these nodes is free to stand in for any that came later. Where no path is among the
    nodes that count, they are at most 2 · hops · (hops − 1): everyone shares one of the networks,
    two a hop, of a path that cannot be made longer.
    """

    def __init__(self, hops: int) -> None:
        """Start with nobody, for paths of so many nodes, a guard included."""
        self.entries: list[Entry] = []
        self._hops = hops
        self._pairs: set[tuple[bytes, ...]] = set()
        self._counts: Counter[bytes] = Counter()

    def extend(self, entries: Iterable[Entry]) -> None:
        """Add those nodes that count."""
        for entry in entries:
            networks = networks_of(entry)
            is_full = any(self._counts[network] == self._hops for network in networks)
            if not is_full and networks not in self._pairs:
                self.entries.append(entry)
                self._pairs.add(networks)
                self._counts.update(networks)


def complete(path: list[Entry], entries: Sequence[Entry], hops: int) -> list[Entry] | None:
    """Return a path made `hops` long by nodes out of `entries`, early ones first; None if none."""
    if len(path) == hops:
        return path
    for place, entry in enumerate(entries):
        longer = [*path, entry]
        if are_apart(longer):
            found = complete(longer, entries[place + 1 :], hops)
            if found is not None:
                return found
    return None
