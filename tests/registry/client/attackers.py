"""What attacks are staged with: whose lists there are, a program that is attacked, and its sources.

make_chain      honest lists, each of which continues the one before
sign_with       the header of a list with other signatures
make_by         a list of other attestors
make_far        a header of any epoch, which continues what a client holds
Program         a client with a cache on disk, which starts anew whenever somebody wants it to
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path as FilePath
from typing import Any, Final, TypeAlias

import pytest

from ledger.crypto import sha256
from ledger.errors import Refusal
from ledger.merkle import History, leaf_hash, split_leaves
from ledger.messages.lists import (
    Attestor,
    SignedHeader,
    attestor_set_hash,
    encode_signed_header,
)
from registry.client import Status, TrustedLists
from registry.client.cache import ANCHOR, FULL, ListCache
from registry.client.http import Beyond, Fetched, fetch_lists
from registry.client.transport import Unavailable
from registry.formats.trust import Hop, Members, Path, encode_path
from tests.registry.client import factory
from tests.registry.client.factory import (
    EPOCH_MS,
    FRESH_MS,
    START_MS,
    VALID_MS,
    MadeList,
    digest,
    make_entries,
)
from tests.registry.client.server import Answer, Source, send

WEIGHTS: Final = (1, 1, 1, 1)
"""Four attestors, with seats 0 to 3; three of them make a header final."""

STRANGERS: Final = (10, 11, 12, 13)
"""Seats whose keys no genesis file names; the attacker has them."""

BEFORE, AFTER = (0, 1, 2, 3), (4, 5, 6, 7)
"""The seats of a set, and of the one that took over from it."""

TWIN: Final = factory.make_genesis(WEIGHTS, seed=digest("twin"))
"""Another network of the same attestors."""

Serve: TypeAlias = Callable[..., Source]
"""Starts an honest source that has some lists, the last of which is its newest."""

ALONE: Final = Beyond()
"""Nobody vouches for anything."""

LATEST: Final = "/v1/lists/latest"


def make_chain(
    *epochs: int, weights: Sequence[int] = WEIGHTS, after: Sequence[MadeList] = (), **options: Any
) -> list[MadeList]:
    """Return lists each of which continues the one before, no two with as many nodes."""
    chain = list(after)
    for epoch in epochs:
        entries = make_entries(14 + epoch % 16, 2 + epoch % 3)
        chain.append(
            factory.make_list(epoch, weights=weights, entries=entries, after=chain[-1:], **options)
        )
    return chain[len(after) :]


def time_of(made: MadeList, after_ms: int = 1000) -> int:
    """A reference time shortly after the end of the epoch of a list."""
    return made.header.valid_after_ms + after_ms


def claim(valid_after_ms: int) -> dict[str, Any]:
    """The times of a header that claims to be valid from then on."""
    return {
        "valid_after_ms": valid_after_ms,
        "fresh_until_ms": valid_after_ms + FRESH_MS,
        "valid_until_ms": valid_after_ms + VALID_MS,
    }


def full_at(made: MadeList) -> str:
    """Where a source has the whole list."""
    return f"/v1/lists/{made.header.epoch}/full"


def delta_at(made: MadeList, before: MadeList) -> str:
    """Where it has what changed since another one."""
    return f"/v1/lists/{made.header.epoch}/delta/{before.header.epoch}"


def trust_at(made: MadeList, before: MadeList | None = None) -> str:
    """Where it has the path from another one, or from genesis."""
    start = "" if before is None else f"?from={before.header.epoch}"
    return f"/v1/trust/{made.header.epoch}{start}"


# ---- Headers of who has keys ----


def make_members(seats: Sequence[int]) -> Members:
    """Return the set of the attestors with these seats, of weight 1 each."""
    return tuple(Attestor(factory.seat(number).public, 1) for number in seats)


def make_by(
    epoch: int,
    seats: Sequence[int],
    following: Sequence[int] | None = None,
    after: Sequence[MadeList] = (),
    **options: Any,
) -> MadeList:
    """Return a list by the attestors with these seats, which names those of the next one."""
    own = attestor_set_hash(make_members(seats))
    other = own if following is None else attestor_set_hash(make_members(following))
    made = make_chain(epoch, after=after, set_hash=own, next_set_hash=other, **options)[0]
    return sign_with(made, seats)


def sign_with(
    made: MadeList, seats: Sequence[int], places: Sequence[int] | None = None
) -> MadeList:
    """Return a list whose header is signed by these seats, at the indices `places` of its set."""
    indices = range(len(seats)) if places is None else places
    genesis_hash = sha256(made.genesis)
    signatures = tuple(
        (index, factory.sign_as(number, genesis_hash, made.raw_header))
        for index, number in zip(indices, seats, strict=True)
    )
    return replace(made, signed=encode_signed_header(SignedHeader(made.raw_header, signatures)))


def make_far(epoch: int, held: MadeList, **changes: Any) -> tuple[MadeList, bytes]:
    """Return a header of any epoch that continues `held`, signed by everybody, and the path to it.

    What lies between is made up: hashes of headers that nobody ever saw.
    """
    history = History()
    for leaf in (*held.leaves, leaf_hash(held.raw_header)):
        history = history.append(leaf)
    start = held.header.epoch + 1
    hashes = tuple(digest(f"made up {each.place}") for each in split_leaves(start, epoch))
    grown = history.extend(epoch, hashes)
    assert grown is not None
    options = {"genesis": held.genesis, "weights": WEIGHTS, "history_root": grown.root()}
    made = factory.make_list(epoch, **options | changes)
    return made, encode_path(Path((), Hop(hashes=hashes)))


# ---- A program that is attacked ----


class Program:
    """A client with a cache on disk."""

    def __init__(self, folder: FilePath, genesis: bytes, now_ms: int, **options: bool) -> None:
        self.folder = folder
        self.genesis = genesis
        self.now_ms = now_ms
        self._options = options
        self.start()

    def start(self, now_ms: int | None = None, **options: bool) -> None:
        """Begin anew, with nothing but what is on disk."""
        self.now_ms = self.now_ms if now_ms is None else now_ms
        self._options = options or self._options
        self.lists = TrustedLists(self.genesis, self.now_ms, **self._options)
        self.cache = ListCache(self.folder, self.genesis)

    def wait_until(self, now_ms: int) -> None:
        """Go on running until a later time."""
        self.now_ms = now_ms
        self.lists.start_update(now_ms)

    def fetch(
        self, *sources: Source | str, beyond: Beyond = ALONE, total_s: float = 20.0
    ) -> Fetched:
        """Fetch from these, in this order."""
        urls = [one if isinstance(one, str) else one.url for one in sources]
        return fetch_lists(
            urls, self.lists, self.cache, beyond=beyond, wait_s=total_s, total_s=total_s
        )

    @property
    def files(self) -> dict[str, bytes]:
        """All that is on disk."""
        if not self.folder.exists():
            return {}
        return {path.name: path.read_bytes() for path in sorted(self.folder.iterdir())}

    def holds(self, made: MadeList, status: Status = Status.FRESH) -> None:
        """Check that the client goes by this list, and would after a restart."""
        assert self.lists.header == made.header
        assert self.lists.entries == made.entries
        assert self.lists.status is status
        files = self.files
        assert made.raw_header in files[ANCHOR]
        assert files[FULL] == made.full
        assert self.resumed().entries == made.entries

    def resumed(self) -> TrustedLists:
        """Another client that takes up what is on disk."""
        again = TrustedLists(self.genesis, self.now_ms, **self._options)
        self.cache.resume(again)
        return again

    def refuses(
        self, code: str, *sources: Source | str, beyond: Beyond = ALONE, total_s: float = 20.0
    ) -> Refusal | Unavailable:
        """Check that nothing comes of these sources, now and after a restart; return the error.

        Neither what is held nor a byte on disk may change.
        """
        errors = []
        for restarts in (False, True):
            if restarts:
                self.start()
                self.cache.resume(self.lists)
            held, files = describe(self.lists), self.files
            with pytest.raises((Refusal, Unavailable)) as caught:
                self.fetch(*sources, beyond=beyond, total_s=total_s)
            error = caught.value
            assert isinstance(error, Refusal | Unavailable)
            assert error.code == code, str(error)
            assert describe(self.lists) == held
            assert self.files == files
            errors.append(error)
        return errors[0]


def describe(lists: TrustedLists) -> dict[str, object]:
    """All that a client holds, and what it says of it."""
    if lists.is_empty:
        return {"is_empty": True, "evidence": lists.evidence}
    try:
        entries: object = lists.entries
    except Refusal as refusal:
        entries = refusal.code
    return {
        "is_empty": False,
        "evidence": lists.evidence,
        "anchor": lists.anchor_file,
        "entries": entries,
        "status": lists.status,
        "fingerprint": lists.fingerprint,
    }


def notes_of(error: BaseException) -> list[str]:
    """What the user is told besides."""
    return list(getattr(error, "__notes__", []))


def codes_of(fetched: Fetched) -> dict[str, str]:
    """What was wrong with which source."""
    return {url: failure.code for url, failure in fetched.failures.items()}


# ---- Answers ----


def wait_and_send(
    body: bytes, wait_s: float, stop: threading.Event
) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer rightly, after a while."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if not stop.wait(wait_s):
            send(handler, body)

    return answer


def serve_history(source: Source, *chain: MadeList) -> Source:
    """Have a source answer like an honest one whose newest list is the last of these."""
    for made in chain[:-1]:
        source.add(made)
    source.serve(chain[-1])
    return source


def change(source: Source, answers: Mapping[str, Answer]) -> Source:
    """Have a source give other answers to some questions."""
    source.answers |= answers
    return source


def far_ahead(held: MadeList, epochs: int) -> int:
    """The time when as many epochs will have ended."""
    return START_MS + (held.header.epoch + epochs) * EPOCH_MS


OLD, MADE, NEW = make_chain(factory.EPOCH - 1, factory.EPOCH, factory.EPOCH + 1)
"""The lists that most attacks are about."""
