"""What several sources of lists serve, held against each other.

- Each source stands for itself first: from the genesis file on, as if there were no other.
- Then headers of the same epochs are compared, and newer ones with the history of older ones.
- Who signed two headers that contradict each other is proven by evidence, as `waypost report
  submit` takes it. A difference that nobody signed twice is shown, and proves nothing.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Final, NamedTuple

from ledger.errors import Refusal
from ledger.messages.lists import (
    MAX_SIGNED_HEADER_BYTES,
    SignedHeader,
    decode_header,
    decode_signed_header,
)
from ledger.messages.transactions import Report
from ledger.types import Epoch, Hash
from registry.client.http import TOTAL_S, WAIT_S, Failure, fetch_lists
from registry.client.transport import Transport, Unavailable
from registry.client.trusted import TrustedLists
from registry.evidence import Seen, compare_headers
from registry.formats.trust import MAX_PATH_BYTES, Members

EPOCHS: Final = 8
"""Epochs before the newest common one that are compared unless more are asked for."""


class Checked(NamedTuple):
    """One source by itself."""

    url: str
    trusted: TrustedLists
    """What holds of it; empty if nothing does."""
    failure: Failure | None
    """Why not all of it holds."""


class Difference(NamedTuple):
    """Two sources that contradict each other."""

    one: str
    other: str
    epoch: Epoch
    """The epoch of which they have two headers; or of the header that the other's history lacks."""
    in_history: bool
    """Whether it is the history that differs, and no header of the same epoch was found."""


class Comparison(NamedTuple):
    """The outcome."""

    sources: list[Checked]
    differences: list[Difference]
    evidence: list[Report]


def compare_sources(
    urls: Sequence[str],
    genesis: bytes,
    now_ms: int,
    epochs: int = EPOCHS,
    wait_s: float = WAIT_S,
    total_s: float = TOTAL_S,
) -> Comparison:
    """Verify what each source serves, and compare it.

    `epochs` before the newest that all of them have are compared too. Refuses like `read_genesis`.
    """
    sources = [_check(url, genesis, now_ms, wait_s, total_s) for url in dict.fromkeys(urls)]
    usable = [source for source in sources if not source.trusted.is_empty]
    with Transport(wait_s, total_s) as transport:
        comparison = _Comparison(usable, transport, epochs)
        comparison.run(genesis, now_ms)
    return Comparison(sources, comparison.differences, comparison.evidence)


def _check(url: str, genesis: bytes, now_ms: int, wait_s: float, total_s: float) -> Checked:
    trusted = TrustedLists(genesis, now_ms, allow_expired=True)
    try:
        fetch_lists([url], trusted, wait_s=wait_s, total_s=total_s)
    except (Refusal, Unavailable) as failure:
        return Checked(url, trusted, failure)
    return Checked(url, trusted, None)


class _Comparison:
    """Sources of which at least the newest header holds."""

    def __init__(self, sources: Sequence[Checked], transport: Transport, epochs: int) -> None:
        self._sources = sources
        self._transport = transport
        self._epochs = epochs
        self._sets: dict[Hash, Members] = {}
        self.differences: list[Difference] = []
        self.evidence: list[Report] = []

    def run(self, genesis: bytes, now_ms: int) -> None:
        """Compare headers, and then histories where no two headers differed."""
        for source in self._sources:
            self._sets.update(source.trusted.sets)
        served = {source.url: dict(self._read_headers(source)) for source in self._sources}
        for one, other in combinations(self._sources, 2):
            if not self._compare_headers(one, other, served):
                client = TrustedLists(genesis, now_ms, allow_expired=True)
                self._compare_histories(client, *sorted((one, other), key=_epoch_of))
        if self._sources:
            self._find_evidence(served)

    def _read_headers(self, source: Checked) -> Iterator[tuple[Epoch, SignedHeader]]:
        """Yield the headers that a source has of the epochs that are compared."""
        newest = [_epoch_of(each) for each in self._sources]
        wanted = {*newest, *range(max(0, min(newest) - self._epochs), min(newest))}
        yield _epoch_of(source), decode_signed_header(source.trusted.signed_header)
        for epoch in sorted(wanted - {_epoch_of(source)}):
            try:
                signed = decode_signed_header(self._get_header(source, epoch))
                if decode_header(signed.header).epoch == epoch:
                    yield epoch, signed
            except (Refusal, Unavailable):
                continue

    def _compare_headers(
        self, one: Checked, other: Checked, served: dict[str, dict[Epoch, SignedHeader]]
    ) -> bool:
        first, second = served[one.url], served[other.url]
        for epoch in sorted(first.keys() & second.keys()):
            if first[epoch].header != second[epoch].header:
                self.differences.append(Difference(one.url, other.url, epoch, in_history=False))
                return True
        return False

    def _compare_histories(self, client: TrustedLists, older: Checked, newer: Checked) -> None:
        """Look whether the newer one's history holds the older one's newest header."""
        held, wanted = _epoch_of(older), _epoch_of(newer)
        if held == wanted:
            return
        self._transport.start_time()
        try:
            path = self._transport.get(newer.url, f"/v1/trust/{wanted}?from={held}", MAX_PATH_BYTES)
            client.resume(older.trusted.anchor_file)
            client.update(newer.trusted.signed_header, path)
        except Unavailable:
            return
        except Refusal as refusal:
            if refusal.code in ("bad_history", "wrong_set"):
                self.differences.append(Difference(older.url, newer.url, held, in_history=True))

    def _find_evidence(self, served: dict[str, dict[Epoch, SignedHeader]]) -> None:
        seen = []
        for headers in served.values():
            for signed in headers.values():
                members = self._sets.get(decode_header(signed.header).set_hash)
                if members is not None:
                    seen.append(Seen(signed, members))
        genesis_hash = self._sources[0].trusted.genesis_hash
        self.evidence = compare_headers(genesis_hash, seen)

    def _get_header(self, source: Checked, epoch: Epoch) -> bytes:
        # each answer has a time of its own: with one for all of them the last would go missing
        self._transport.start_time()
        return self._transport.get(source.url, f"/v1/lists/{epoch}", MAX_SIGNED_HEADER_BYTES)


def _epoch_of(source: Checked) -> Epoch:
    return source.trusted.header.epoch
