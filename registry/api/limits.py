"""How much of the service one client gets, so that nobody takes all of it.

- A client is an IPv4 address, or the /64 of an IPv6 address: that is what one subscriber has.
- What costs work costs tokens (`COSTS`), and a body one more for each `BYTES_A_TOKEN`. A client has
  a bucket of `burst` tokens, and `rate` flow into it each second. A request begins if the bucket
  holds its tokens. Its body is charged as it arrives and may leave a debt, which takes time to pay.
- What lies ready costs nothing: lists and files, which `wire` hands out before anybody counts.
- A proxy that is trusted says in `X-Forwarded-For` for whom it asks. That is read from the right,
  past trusted proxies, up to the first address that is none; what stands to the left of it anybody
  may have written. What is no address ends the reading: then the proxy that passed it on pays.
- What comes from this machine itself without that header is a program of whoever runs the service,
  and is not limited, unless `limit_local` says so.
- The table of buckets is bounded. A full one lets go of those that owe the least, so that many
  addresses do not wipe out what one of them owes; who is let go of has a full bucket.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from math import ceil
from typing import Final, TypeAlias

from starlette.types import Scope

from registry.api.problems import ProblemAnswer, ProblemError, make_problem
from registry.metrics import WebMetrics
from registry.settings import ClientLimits

COSTS: Final[Mapping[tuple[str, str], int]] = {
    # ready, or made once for all
    ("GET", "genesis"): 0,
    ("GET", "health"): 0,
    ("GET", "lists"): 0,
    ("GET", "openapi.json"): 0,
    ("GET", "static"): 0,
    # pages, which are made anew each time; some look at all nodes, or ask many questions
    ("GET", "other"): 4,
    ("GET", "pages"): 4,
    ("GET", "pages of all nodes"): 10,
    ("GET", "pages of epochs"): 24,
    # each takes a question to the ledger process, or a search
    ("GET", "blocks"): 4,
    ("GET", "proofs"): 2,
    ("GET", "slices"): 2,
    ("GET", "trust"): 8,
    ("POST", "json_rpc"): 4,
    # each takes signatures to be verified
    ("POST", "checkins"): 4,
    ("POST", "reports"): 8,
    ("POST", "transactions"): 8,
    ("POST", "verdicts"): 8,
}
"""Tokens that a request takes, by method and group of its path; see `cost_of`."""

PAGES: Final[Mapping[str, str]] = {
    "/nodes": "pages of all nodes",
    "/open": "pages of all nodes",
    "/search": "pages of all nodes",
    "/swarms": "pages of all nodes",
    "/epochs": "pages of epochs",
}
"""Pages with a price of their own."""

OTHER_COST: Final = 2
"""Tokens that any other request takes, answered or not."""

BYTES_A_TOKEN: Final = 4_096
"""Bytes of a body that take one token."""

MAX_BUCKETS: Final = 16_384
"""Clients that are remembered. Whoever spent nothing lately is not."""

FREED: Final = MAX_BUCKETS // 4
"""Buckets that a full table lets go of at once, since it has to look at all of them."""

MAX_HOPS: Final = 16
"""Addresses of `X-Forwarded-For` that are looked at."""

STREAMS: Final = frozenset(("events",))
"""Groups of paths whose answers have no end."""

Address: TypeAlias = IPv4Address | IPv6Address
Client: TypeAlias = bytes
"""The 4 bytes of an IPv4 address, or the first 8 of an IPv6 address."""

LOOPBACK: Final = IPv4Address("127.0.0.1")


class Limits:
    """Admits requests and connections within the settings; used on one event loop only."""

    def __init__(
        self,
        settings: ClientLimits,
        metrics: WebMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` returns seconds that never go backwards."""
        self._settings = settings
        self._metrics = metrics
        self._buckets = Buckets(settings.rate, settings.burst, clock)
        self._streams = Counts(settings.streams)
        self._connections = Counts(settings.connections)

    # ----------------------------------------------------------------------- requests

    @contextmanager
    def admit(self, scope: Scope, group: str) -> Iterator[Callable[[int], None]]:
        """Hold what a request of a group takes for as long as it lasts.

        Yields what charges it for bytes of its body. Raises `ProblemError`.
        """
        client = self.find_client(scope)
        if client is None:
            yield lambda _size: None
            return
        wait_s = self._buckets.take(client, cost_of(scope["method"], scope["path"], group))
        if wait_s:
            self._metrics.count_limited("rate")
            headers = {"Retry-After": str(wait_s)}
            raise ProblemError("too_many_requests", headers=headers, seconds=wait_s)
        is_stream = scope["method"] == "GET" and group in STREAMS
        if is_stream and not self._streams.enter(client):
            self._metrics.count_limited("streams")
            raise ProblemError("too_many_streams", limit=self._settings.streams)
        try:
            yield lambda size: self._buckets.charge(client, size / BYTES_A_TOKEN)
        finally:
            if is_stream:
                self._streams.leave(client)

    def find_client(self, scope: Scope) -> Client | None:
        """Return who asks; None if that is not limited."""
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        peer = _parse_peer(scope)
        if peer.is_loopback and not forwarded and not self._settings.limit_local:
            return None
        return client_of(self._follow(peer, forwarded))

    def _follow(self, peer: Address, forwarded: Sequence[bytes]) -> Address:
        """Return the address behind the proxies that are trusted."""
        hops = b",".join(forwarded).rsplit(b",", MAX_HOPS)[-MAX_HOPS:] if forwarded else []
        address = peer
        for hop in reversed(hops):
            found = _parse(hop.strip().decode("latin-1")) if self._trusts(address) else None
            if found is None:
                break
            address = found
        return address

    def _trusts(self, address: Address) -> bool:
        return any(address in proxies for proxies in self._settings.trusted_proxies)

    # -------------------------------------------------------------------- connections

    def connect(self, peer: str | None) -> Client | ProblemAnswer | None:
        """Count a connection of an address until `disconnect`.

        Returns None if it is not limited: a proxy's are those of many. A problem turns it away.
        """
        address = _parse(peer or "") or LOOPBACK
        is_ours = address.is_loopback and not self._settings.limit_local
        if is_ours or self._trusts(address):
            return None
        client = client_of(address)
        if self._connections.enter(client):
            return client
        self._metrics.count_limited("connections")
        return make_problem("too_many_connections", {"limit": self._settings.connections})

    def disconnect(self, client: Client) -> None:
        """Note the end of a connection that was counted."""
        self._connections.leave(client)


def cost_of(method: str, path: str, group: str) -> int:
    """Return the tokens that a request takes, beside those of its body."""
    if method == "OPTIONS":
        return 0
    if group == "lists" and "/swarm/" in path:
        group = "slices"
    if group == "pages":
        is_swarm = path.startswith("/swarms/")
        group = PAGES.get("/swarms" if is_swarm else path, group)
    return COSTS.get(("GET" if method == "HEAD" else method, group), OTHER_COST)


def client_of(address: Address) -> Client:
    """Return the client that an address belongs to."""
    return address.packed[:8]


def _parse_peer(scope: Scope) -> Address:
    """Return the far side of a connection; one that has no address is on this machine."""
    client = scope.get("client")
    return (_parse(client[0]) if client else None) or LOOPBACK


def _parse(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


class Buckets:
    """A bucket of tokens for each client that spent some."""

    def __init__(self, rate: int, burst: int, clock: Callable[[], float]) -> None:
        """`rate` tokens flow into each in a second, up to `burst`; a rate of 0 limits nobody."""
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._full_at: dict[Client, float] = {}
        """When each bucket is full again. One that is full already need not be here."""

    def __len__(self) -> int:
        """Count the clients that are remembered."""
        return len(self._full_at)

    def take(self, client: Client, tokens: int) -> int:
        """Take tokens, no more than a full bucket; return 0, or the seconds to wait for them."""
        if not (self._rate and tokens):
            return 0
        tokens = min(tokens, self._burst)
        wait_s = self._owed_s(client) - (self._burst - tokens) / self._rate
        if wait_s > 0:
            return max(1, ceil(wait_s))
        self.charge(client, tokens)
        return 0

    def charge(self, client: Client, tokens: float) -> None:
        """Take tokens whether they are there or not."""
        if not self._rate:
            return
        owed_s = self._owed_s(client) + tokens / self._rate
        if client not in self._full_at and len(self._full_at) >= MAX_BUCKETS:
            self._make_room()
        self._full_at[client] = self._clock() + owed_s

    def _owed_s(self, client: Client) -> float:
        """Return the seconds until a bucket is full."""
        now = self._clock()
        return max(0.0, self._full_at.get(client, now) - now)

    def _make_room(self) -> None:
        owe_least_first = sorted(self._full_at, key=self._full_at.__getitem__)
        for client in owe_least_first[:FREED]:
            del self._full_at[client]


class Counts:
    """How many of something each client has open."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: dict[Client, int] = {}

    def enter(self, client: Client) -> bool:
        """Count one more; False if that is one too many."""
        count = self._open.get(client, 0)
        if count >= self._limit:
            return False
        self._open[client] = count + 1
        return True

    def leave(self, client: Client) -> None:
        """Count one less."""
        count = self._open.pop(client) - 1
        if count:
            self._open[client] = count
