"""Fetches lists: several sources, none of which is believed.

- Sources are asked in the order given, until one has a header that holds and is fresh. One that
  keeps newer lists back is found out when its list is no longer fresh, and the next one is asked.
- The path to a header comes from the source of the header. One that has none from where this
  client stands has those that lead a few epochs on: they are put together.
- The list may come from any source, since its header names it. Who holds an earlier one asks for
  what changed since, in a few small files; whatever is wrong with them, it asks for all of it.
- Past the trust period a checkpoint has to lie on the path, or several sources have to agree,
  whichever the caller wants; else nothing is taken.
- A source has one time for a header with all that leads there, and one for a list, in however many
  answers; the parts of a path, and deltas, have together no more bytes than one file of their kind.
- A fork ends it at once: what is wrong then is not the source. A header that does not continue
  what is held may be of one, so its source is asked for the header of that epoch.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, NoReturn, TypeAlias

from ledger.errors import Misuse, Refusal
from ledger.messages.entries import join_columns
from ledger.messages.genesis import MAX_GENESIS_BYTES
from ledger.messages.lists import (
    MAX_SIGNED_HEADER_BYTES,
    decode_header,
    decode_signed_header,
    fingerprint_bits,
)
from ledger.types import Epoch
from registry.client.cache import EVIDENCE, ListCache
from registry.client.checks import MAX_AHEAD_MS, Status
from registry.client.transport import NotServed, Transport, Unavailable
from registry.client.trusted import TrustedLists
from registry.formats.full import compute_columns_bound, compute_full_bound, encode_full
from registry.formats.ladder import LONGEST, Step, plan_steps
from registry.formats.trust import MAX_PATH_BYTES, Path, decode_path, encode_path, join_paths

WAIT_S: Final = 10.0
"""Seconds without a byte after which a source is given up."""

TOTAL_S: Final = 60.0
"""Seconds that a source has for a header with its path, and again for a list."""

MOST_STEPS: Final = 128
"""Parts of which a path is put together at most: a year and more, with epochs of half an hour."""

SIGNS_OF_A_FORK: Final = ("bad_history", "wrong_set", "succeeded")
"""What is wrong with a header that follows another one than the header that is held."""

Failure: TypeAlias = Refusal | Unavailable


class Checkpoint(NamedTuple):
    """A header that a program or a person vouches for."""

    epoch: Epoch
    fingerprint: bytes
    """16 bytes, or what twelve words stand for."""


class Beyond(NamedTuple):
    """What a client goes by once its trust period is over; with neither of these it refuses."""

    checkpoint: Checkpoint | None = None
    agree: int = 0
    """So many of the sources have to serve the same header; 0 asks none of them."""


class Fetched(NamedTuple):
    """How a fetch went; what it brought is in the `TrustedLists`."""

    source: str
    """The source whose header was taken last; none where no source has the network's last one,
    which is held, and one has the network that goes on."""
    failures: dict[str, Failure]
    """What was wrong with the sources that were of no use."""
    successor: bytes | None = None
    """Genesis file of the network that the header names as the one that goes on, if one had it."""
    clock: str = ""
    """What is wrong with the clock of this machine, if the sources' clocks say so."""


def fetch_lists(
    urls: Sequence[str],
    trusted: TrustedLists,
    cache: ListCache | None = None,
    *,
    beyond: Beyond = Beyond(),  # noqa: B008
    want_list: bool = True,
    wait_s: float = WAIT_S,
    total_s: float = TOTAL_S,
) -> Fetched:
    """Bring `trusted` up to date from sources such as `https://example.org`.

    With a cache, what it keeps is taken up first if `trusted` is empty, and what is verified is
    kept as soon as it is. A source is given up after `wait_s` seconds without a byte; it has
    `total_s` for a header with its path, and again for a list. Without `want_list` only the header
    comes.

    Raises the first source's `Refusal` if no header or no list held, `Unavailable` if none came;
    the notes name every source. `OSError` comes from the cache.
    """
    if not urls:
        raise Misuse("there is no source to fetch from")
    if cache is not None and trusted.is_empty:
        cache.resume(trusted)
    if trusted.evidence is not None:
        raise Refusal("fork", epoch=trusted.header.epoch)
    # One that is named twice has one voice.
    named = list({url.rstrip("/"): url for url in urls}.values())
    with Transport(wait_s, total_s) as transport:
        fetch = _Fetch(named, trusted, cache, beyond, transport)
        try:
            source = fetch.take_header()
        except (Refusal, Unavailable):
            # Sources of the network that goes on have nothing of the one that is over.
            following = fetch.find_successor()
            if following is None:
                raise
            return Fetched("", fetch.failures, following)
        if want_list and trusted.needs_list and trusted.is_usable:
            fetch.take_list(source)
        return Fetched(source, fetch.failures, fetch.find_successor(source), fetch.describe_clock())


class _Fetch:
    """One update from all sources."""

    def __init__(
        self,
        urls: Sequence[str],
        trusted: TrustedLists,
        cache: ListCache | None,
        beyond: Beyond,
        transport: Transport,
    ) -> None:
        self._urls = urls
        self._trusted = trusted
        self._cache = cache
        self._beyond = beyond
        self._transport = transport
        self._served: dict[tuple[str, Epoch], bytes] = {}
        self.failures: dict[str, Failure] = {}

    # ---- The header ----

    def take_header(self) -> str:
        """Take the first fresh header, or the newest of those that hold; return whose it was."""
        if self._beyond.checkpoint is not None:
            self._trusted.vouch(self._beyond.checkpoint.fingerprint)
        source = ""
        for url in self._urls:
            try:
                self._take_from(url)
            except (Refusal, Unavailable) as failure:
                if self._trusted.evidence is not None:
                    self._keep_evidence(url, failure)
                    raise
                self.failures[url] = failure
                continue
            source = url
            if self._trusted.status is Status.FRESH:
                break
        if not source:
            self._give_up(self.failures)
        if self._cache is not None:
            self._cache.save(self._trusted)
        return source

    def _take_from(self, url: str) -> None:
        self._transport.start_time()
        raw = self._get(url, "lists/latest", MAX_SIGNED_HEADER_BYTES)
        path = self._fetch_path(url, raw) if self._trusted.wants_path(raw) else b""
        try:
            self._trusted.update(raw, path)
        except Refusal as refusal:
            if refusal.code in SIGNS_OF_A_FORK:
                self._look_for_fork(url)
            if refusal.code != "trust_expired" or not self._is_agreed(raw):
                raise
            self._trusted.update(raw, path)

    def _fetch_path(self, url: str, raw: bytes) -> bytes:
        """Return the path from where the client stands to a signed header."""
        epoch = decode_header(decode_signed_header(raw).header).epoch
        held = None if self._trusted.is_empty else self._trusted.header.epoch
        if held is not None and not self._trusted.knows_history:
            self._trusted.learn_history(self._get_path(url, held, held))
            if not self._trusted.wants_path(raw):
                return b""
        point = self._beyond.checkpoint if self._trusted.is_past_trust else None
        if point is None or not (-1 if held is None else held) < point.epoch < epoch:
            return self._climb(url, held, epoch)
        through = self._get_header(url, point.epoch)
        first, second = self._climb(url, held, point.epoch), self._climb(url, point.epoch, epoch)
        return encode_path(join_paths(decode_path(first), through, decode_path(second)))

    def _climb(self, url: str, held: Epoch | None, epoch: Epoch) -> bytes:
        """Return a path in one piece, or put together of the steps that every mirror has."""
        try:
            return self._get_path(url, held, epoch)
        except NotServed:
            steps = [] if held is None else plan_climb(held, epoch)
            if len(steps) < 2:
                raise
        path: Path | None = None
        header, left = b"", MAX_PATH_BYTES
        for step in steps:
            raw = self._get_path(url, step.start, step.end, left)
            left -= len(raw)
            part = decode_path(raw)
            path = part if path is None else join_paths(path, header, part)
            header = self._get_header(url, step.end) if step.end != epoch else b""
        return encode_path(path or Path())

    def _get_path(
        self, url: str, held: Epoch | None, epoch: Epoch, limit: int = MAX_PATH_BYTES
    ) -> bytes:
        start = "" if held is None else f"?from={held}"
        return self._get(url, f"trust/{epoch}{start}", limit)

    def _get_header(self, url: str, epoch: Epoch) -> bytes:
        return self._get(url, f"lists/{epoch}", MAX_SIGNED_HEADER_BYTES)

    def _look_for_fork(self, url: str) -> None:
        """Ask who serves another history for the header of the epoch that is held."""
        if self._trusted.is_empty:
            return
        self._transport.start_time()
        try:
            self._trusted.update(self._get_header(url, self._trusted.header.epoch))
        except (Refusal, Unavailable):
            if self._trusted.evidence is not None:
                raise

    def _is_agreed(self, raw: bytes) -> bool:
        """Whether as many sources as are wanted serve a header, and if so vouch for it."""
        if not self._beyond.agree:
            return False
        header = decode_signed_header(raw).header
        epoch = decode_header(header).epoch
        found = sum(self._ask_for(url, epoch) == header for url in self._urls)
        if found < self._beyond.agree:
            return False
        self._trusted.vouch(fingerprint_bits(self._trusted.genesis_hash, header))
        return True

    def _ask_for(self, url: str, epoch: Epoch) -> bytes:
        """Return the header of an epoch as a source serves it, none if it does not; asked once."""
        if (url, epoch) not in self._served:
            self._transport.start_time()
            try:
                header = decode_signed_header(self._get_header(url, epoch)).header
            except (Refusal, Unavailable):
                header = b""
            self._served[url, epoch] = header
        return self._served[url, epoch]

    def _keep_evidence(self, url: str, failure: Failure) -> None:
        failure.add_note(f"the second one came from {url}")
        if self._cache is not None and self._trusted.evidence is not None:
            self._cache.save_evidence(self._trusted.evidence)
            failure.add_note(f"both are kept in {self._cache.folder}: {', '.join(EVIDENCE)}")

    # ---- The list ----

    def take_list(self, source: str) -> None:
        """Load the list of the header, first from the source that gave it."""
        if self._cache is not None and self._cache.load_list(self._trusted):
            return
        full = None
        if not self._take_deltas(source):
            full = self._take_full([source, *self._urls])
        if self._cache is not None:
            full = full or encode_full(join_columns(self._trusted.columns))
            self._cache.save(self._trusted, full)

    def _take_deltas(self, url: str) -> bool:
        """Go on from the list that is held; say whether that led to the new one.

        Nothing depends on it: the whole list leads to the same.
        """
        start, header = self._trusted.list_epoch, self._trusted.header
        steps = [] if start is None else plan_steps(start, header.epoch)
        if not steps:
            return False
        self._transport.start_time()
        files, left = [], self._full_bound()
        try:
            for step in steps:
                files.append(self._get(url, f"lists/{step.end}/delta/{step.start}", left))
                left -= len(files[-1])
            self._trusted.load_deltas(*files)
        except (Refusal, Unavailable):
            return False
        return True

    def _take_full(self, urls: Sequence[str]) -> bytes:
        """Load the list of the newest header from the first source that has it; return the file."""
        epoch, limit = self._trusted.header.epoch, self._full_bound()
        asked: dict[str, Failure] = {}
        for url in dict.fromkeys(urls):
            self._transport.start_time()
            try:
                full = self._get(url, f"lists/{epoch}/full", limit)
                self._trusted.load_full(full)
            except (Refusal, Unavailable) as failure:
                asked[url] = self.failures[url] = failure
            else:
                return full
        self._give_up(asked)

    def _full_bound(self) -> int:
        header = self._trusted.header
        return compute_full_bound(compute_columns_bound(header.node_count, header.swarm_count))

    # ---- The network that goes on, and how it ends ----

    def find_successor(self, source: str = "") -> bytes | None:
        """Return the genesis file that the newest header names, and keep it, if one has it.

        Where two headers contradict each other nothing is followed.
        """
        if self._trusted.successor is None or self._trusted.evidence is not None:
            return None
        kept = self._kept_successor()
        if kept is not None:
            return kept
        for url in dict.fromkeys([source or self._urls[0], *self._urls]):
            self._transport.start_time()
            try:
                genesis = self._get(url, "genesis", MAX_GENESIS_BYTES)
                self._trusted.check_successor(genesis)
            except (Refusal, Unavailable) as failure:
                self.failures[url] = failure
                continue
            if self._cache is not None:
                self._cache.save_successor(genesis)
            return genesis
        return None

    def _kept_successor(self) -> bytes | None:
        try:
            genesis = None if self._cache is None else self._cache.successor
            if genesis is not None:
                self._trusted.check_successor(genesis)
        except Refusal:
            return None  # that of another time, or damaged: it can be fetched again
        return genesis

    def _give_up(self, failures: dict[str, Failure]) -> NoReturn:
        """Raise the first refusal, since it says more than that a source is down."""
        refusals = [failure for failure in failures.values() if isinstance(failure, Refusal)]
        error = refusals[0] if refusals else Unavailable("no source answered with a list")
        for url, failure in failures.items():
            error.add_note(f"{url}: {failure}")
        if self.describe_clock():
            error.add_note(self.describe_clock())
        raise error

    def describe_clock(self) -> str:
        """Say how far this machine's clock is off, if the sources' clocks say that it is."""
        ahead_ms = self._transport.ahead_ms
        if ahead_ms is None or abs(ahead_ms) <= MAX_AHEAD_MS:
            return ""
        where = "behind" if ahead_ms > 0 else "ahead of"
        seconds = abs(ahead_ms) // 1000
        return f"the clock of this machine is {seconds} s {where} those of the sources"

    def _get(self, url: str, path: str, limit: int) -> bytes:
        return self._transport.get(url, f"/v1/{path}", limit)


def plan_climb(start: Epoch, end: Epoch) -> list[Step]:
    """Return the steps of the ladder from one epoch to another, however far; none if too many."""
    count = max(0, end - start) // LONGEST
    if count > MOST_STEPS:
        return []
    far = start + count * LONGEST
    long = [Step(each, each + LONGEST) for each in range(start, far, LONGEST)]
    return long + plan_steps(far, end)
