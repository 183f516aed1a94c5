"""What a client believes: it sees bytes and a reference time, and nothing else.

Rules, each quoted where it is enforced, in `registry.client.checks`; docs/spec/client.md and
docs/spec/trust.md have a heading for each check:

- Everything starts from the genesis file: its hash stands in all that is signed.
- A header is signed by the set whose turn it is: the one that was named as the next, one that the
  recovery keys ordered, or one for which more than two thirds of those who were named signed too.
- A header continues the history in which the newest verified one stands.
- An epoch older than the newest verified one is a roll-back.
- More than two thirds of the weight signed, and every signature that is there holds.
- Two final headers for one epoch are a fork: both are kept, and nothing is accepted any more.
- A header is at most 5 min ahead of the reference time.
- Each epoch since the newest verified header lasted `epoch_ms` at least.
- Past the trust period somebody has to vouch for a header on the way.
- The last header names the network that goes on.
- Past its valid-until a list is used only by those who asked for it.
- A list is the one that the header names: its hash, and as many nodes and swarms.
- One reference time holds for a whole update.

A refusal changes nothing, but for a fork, which stops everything.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ledger.crypto import sha256
from ledger.errors import Misuse, Refusal
from ledger.merkle import History
from ledger.messages.entries import Columns, Entry, make_entries
from ledger.messages.lists import (
    ListHeader,
    SignedHeader,
    decode_header,
    decode_signed_header,
    encode_signed_header,
    has_single_signer,
    weigh,
)
from ledger.rules.swarms import nearest_swarm, position_of
from ledger.types import ZERO_HASH, Epoch, Hash
from registry.client.checks import (
    Anchor,
    Network,
    Status,
    check_expiry,
    check_history,
    check_hop,
    check_list,
    check_order,
    check_signatures,
    check_time,
    check_trust,
    compute_status,
    read_network,
    start_anchor,
)
from registry.formats.bundle import decode_bundle
from registry.formats.delta import apply_delta
from registry.formats.fingerprint import fingerprint_words
from registry.formats.full import compute_columns_bound, decode_full
from registry.formats.slice import decode_slice, open_slice
from registry.formats.trust import (
    Hop,
    Members,
    Path,
    decode_anchor,
    decode_path,
    encode_anchor,
)


class Signers(NamedTuple):
    """Who signed the newest verified header, as far as is known."""

    signed: int
    """Attestors whose signatures were verified."""
    seats: int
    """Attestors in the set."""
    weight: int
    """Weight of those who signed."""
    total: int
    """Weight of all."""


class Held(NamedTuple):
    """A list that was loaded."""

    epoch: Epoch
    """The newest epoch whose header names it."""
    list_hash: Hash
    columns: Columns


class TrustedLists:
    """The newest header that was verified, and its list.

    What reads refuses with `list_missing` as long as there is nothing, with `fork` after one, and
    with `list_expired` past the valid-until, unless `allow_expired` was asked for.
    """

    genesis_hash: Hash
    """SHA-256 of the genesis file: what tells one network from another."""

    allow_expired: bool
    """Whether lists past their valid-until are used."""

    evidence: tuple[bytes, bytes] | None
    """Two signed headers of one epoch, both final, if there was a fork."""

    def __init__(self, genesis: bytes, now_ms: int, *, allow_expired: bool = False) -> None:
        """Start from a genesis file at a reference time, Unix milliseconds.

        Refuses what `read_genesis` refuses.
        """
        self.allow_expired = allow_expired
        self._now_ms = now_ms
        self._vouched: list[bytes] = []
        self._start(genesis)

    def _start(self, genesis: bytes) -> None:
        # Everything starts from the genesis file: its hash stands in all that is signed.
        self._network: Network = read_network(genesis)
        self.genesis_hash = self._network.genesis_hash
        self.evidence = None
        self._anchor: Anchor = start_anchor(self._network)
        self._header: ListHeader | None = None
        self._signed = SignedHeader(b"", ())
        # The newest list that was loaded, maybe of an earlier header: a delta begins there.
        self._held: Held | None = None
        self._entries: list[Entry] | None = None

    def start_update(self, now_ms: int) -> None:
        """Go on at another reference time, Unix milliseconds."""
        # One reference time holds for a whole update.
        self._now_ms = now_ms

    def vouch(self, fingerprint: bytes) -> None:
        """Count the trust period from a header with this fingerprint of 16 bytes, if one comes.

        For a word that comes from elsewhere: the program's own, a person's, or that of several
        sources which agree.
        """
        self._vouched.append(fingerprint)

    def update(self, header_and_signatures: bytes, path: bytes = b"") -> ListHeader:
        """Verify a signed header and take it as the newest; return it.

        `path` leads there from the header that is held, or from genesis; see `wants_path`. The
        newest header again is fine, and adds the signatures that it brings. A new one wants its
        list loaded, unless that stayed the same: see `needs_list`.

        Refuses with `bad_header`, `unknown_format`, `roll_back`, `too_large`, `bad_path`,
        `succeeded`, `trust_expired`, `wrong_set`, `unknown_attestor`, `not_final`, `bad_signature`,
        `fork`, `bad_history`, `from_the_future`, `list_expired`.
        """
        self._check_not_stopped()
        signed = decode_signed_header(header_and_signatures)
        header = decode_header(signed.header)
        check_order(header, self._anchor)
        anchor = self._follow(decode_path(path), header, signed)
        # the last header leads on however old it is
        if not self.allow_expired and header.successor == ZERO_HASH:
            check_expiry(header, self._now_ms)
        self._hold(header, signed, anchor)
        return header

    def learn_history(self, path: bytes) -> None:
        """Take the history before the header that is held, from the path that leads to itself.

        A newer header is taken only by who knows it. Refuses with `list_missing`, `too_large`,
        `unknown_format`, `bad_path`, `bad_history`.
        """
        header, raw = self.header, self._raw_header()
        before = check_history(self._anchor, decode_path(path).hop, header, raw)
        self._anchor = self._anchor._replace(before=before)

    def wants_path(self, header_and_signatures: bytes) -> bool:
        """Whether a signed header cannot be taken without a path, or teaches more with one.

        Refuses with `bad_header` and `unknown_format`.
        """
        header = decode_header(decode_signed_header(header_and_signatures).header)
        anchor = self._anchor
        if self.is_empty or anchor.before is None:
            return True
        is_next = header.epoch == anchor.epoch + 1 and header.set_hash == anchor.next_set_hash
        return header.epoch > anchor.epoch and not (is_next and header.set_hash in anchor.sets)

    @property
    def is_past_trust(self) -> bool:
        """Whether stake does not speak any more for what comes next: somebody has to vouch."""
        trust_ms = self._network.trust_ms
        return trust_ms is not None and self._now_ms > self._anchor.time_ms + trust_ms

    @property
    def knows_history(self) -> bool:
        """Whether the history before the newest header is known, so that a newer one can come."""
        return self._anchor.before is not None

    @property
    def anchor_file(self) -> bytes:
        """What to go on from after a restart, for `resume`."""
        anchor = self._anchor
        hashes = () if anchor.before is None else anchor.before.peaks
        return encode_anchor(self.signed_header, Hop(tuple(anchor.sets.values()), None, hashes))

    def resume(self, anchor_file: bytes) -> ListHeader:
        """Go on from what was kept before the program ended; return the header that was held.

        For a client that holds nothing yet.

        It may have expired: so a client that was off for long knows how far it had come, and
        refuses to go back. The list stays unreadable then. Who can write that file is believed,
        within what the checks leave open: what is damaged is found.

        Refuses with `bad_header`, `unknown_format`, `bad_path`, `wrong_set`, `unknown_attestor`,
        `not_final`, `bad_signature`, `bad_history`, `from_the_future`.
        """
        if not self.is_empty:
            raise Misuse("a client that holds a header goes on from that one")
        raw, hop = decode_anchor(anchor_file)
        signed = decode_signed_header(raw)
        header = decode_header(signed.header)
        members = hop.find_set(header.set_hash)
        if members is None:
            raise Refusal("wrong_set")
        check_signatures(self.genesis_hash, signed, members)
        sets = {header.set_hash: members}
        following = hop.find_set(header.next_set_hash)
        if following is not None:
            sets[header.next_set_hash] = following
        anchor = Anchor(
            epoch=header.epoch,
            time_ms=header.valid_after_ms,
            next_set_hash=header.next_set_hash,
            set_hash=header.set_hash,
            sets=sets,
            before=None if header.epoch else History(),
            header=signed.header,
        )
        anchor = anchor._replace(before=check_history(anchor, hop, header, signed.header))
        start = start_anchor(self._network)
        check_time(header, start, self._network.epoch_ms, self._now_ms)
        self._hold(header, signed, anchor)
        return header

    def succeed(self, genesis: bytes) -> None:
        """Go on with the network that the newest header names as its successor, from its start.

        Refuses with `wrong_successor` another genesis file, and like `TrustedLists` itself.
        """
        self._check_not_stopped()
        self.check_successor(genesis)
        self._start(genesis)

    def check_successor(self, genesis: bytes) -> None:
        """Refuse with `wrong_successor` a genesis file that the newest header does not name."""
        if sha256(genesis) != self.header.successor:
            raise Refusal("wrong_successor")

    def load_bundle(self, data: bytes) -> ListHeader:
        """Take path, header and list of a `bundle` file; return the header.

        It leads from genesis, so it is for a client that holds no header yet. Refuses like
        `decode_bundle`, `update` and `load_full`.
        """
        bundle = decode_bundle(data)
        header = self.update(bundle.signed_header, bundle.path)
        self.load_full(bundle.full)
        return header

    def load_full(self, data: bytes) -> None:
        """Take a `full` file as the list of the newest header.

        Refuses with `too_large`, `unknown_format`, `bad_list`, and like all that reads.
        """
        header = self._readable_header()
        bound = compute_columns_bound(header.node_count, header.swarm_count)
        self._hold_list(header, decode_full(data, header.list_hash, bound))

    def load_deltas(self, *files: bytes) -> None:
        """Take `delta` files that lead from the list that is held, of `list_epoch`, to the newest.

        Refuses with `list_missing` if none is held, with `too_large`, `unknown_format`, `bad_list`,
        and like all that reads. What is held stays then, for files from another source.
        """
        header = self._readable_header()
        if self._held is None or not files:
            raise Refusal("list_missing")
        columns = self._held.columns
        for data in files[:-1]:
            # what lies in between is not signed for: the last list has to be right
            columns = apply_delta(columns, data)
        counts = header.node_count, header.swarm_count
        self._hold_list(header, apply_delta(columns, files[-1], header.list_hash, counts))

    def read_slice(self, data: bytes, account_id: bytes, path: bytes = b"") -> list[Entry]:
        """Return the nodes of the swarm that serves an account from a `slice`, by ascending key.

        Its header is verified, and taken as the newest one; `path` leads there, as in `update`.
        The list is not needed. `account_id` has 33 bytes, or 32 without its prefix. Refuses like
        `update`, with `too_large` and, for what does not prove that swarm, with `bad_list`.
        """
        check_account_id(account_id)
        parts = decode_slice(data)
        return open_slice(parts, self.update(parts.signed_header, path), account_id)

    @property
    def is_empty(self) -> bool:
        """Whether no header was verified yet."""
        return self._header is None

    @property
    def epoch_ms(self) -> int:
        """Shortest length of an epoch, in milliseconds: so long no newer list can come."""
        return self._network.epoch_ms

    @property
    def header(self) -> ListHeader:
        """The newest verified header, also when it has expired or was forked."""
        if self._header is None:
            raise Refusal("list_missing")
        return self._header

    @property
    def signed_header(self) -> bytes:
        """That header with every signature that was verified, as `update` takes it."""
        return encode_signed_header(self._signed._replace(header=self._raw_header()))

    @property
    def successor(self) -> Hash | None:
        """SHA-256 of the genesis file of the network that continues this one; None if none does."""
        if self._header is None or self._header.successor == ZERO_HASH:
            return None
        return self._header.successor

    @property
    def fingerprint(self) -> list[str]:
        """That header as twelve words, for two people to compare."""
        return fingerprint_words(self.genesis_hash, self._raw_header())

    @property
    def status(self) -> Status:
        """How far that header can be relied on at the reference time."""
        return compute_status(self.header, self._now_ms)

    @property
    def signers(self) -> Signers:
        """Who signed that header."""
        members = self._anchor.sets[self.header.set_hash]
        weight, total = weigh(self._signed, members)
        return Signers(len(self._signed.signatures), len(members), weight, total)

    @property
    def sets(self) -> Mapping[Hash, Members]:
        """The sets whose members are known, by their hash: that of the header, and the next one."""
        return self._anchor.sets

    @property
    def is_single_signer(self) -> bool:
        """Whether one attestor has the weight to sign lists alone; said wherever lists are shown.

        Known from the beginning, without a header.
        """
        members = self._anchor.sets[self._anchor.set_hash]
        return has_single_signer([member.weight for member in members])

    @property
    def is_usable(self) -> bool:
        """Whether its list may be read, if it was loaded: it is valid, or expired ones are used."""
        return self.evidence is None and (self.allow_expired or self.status is not Status.EXPIRED)

    @property
    def needs_list(self) -> bool:
        """Whether there is a header whose list was not loaded."""
        return self._header is not None and not self._is_current()

    @property
    def list_epoch(self) -> Epoch | None:
        """Epoch of the newest list that was loaded, where a delta has to begin; None if none."""
        return None if self._held is None else self._held.epoch

    @property
    def columns(self) -> Columns:
        """The newest header's list as columns: what costs least to look at."""
        self._readable_header()
        if self._held is None or not self._is_current():
            raise Refusal("list_missing")
        return self._held.columns

    @property
    def entries(self) -> list[Entry]:
        """The nodes of the newest header's list, by ascending key."""
        return list(self._readable_entries())

    @property
    def swarm_ids(self) -> list[int]:
        """The swarms of that list, ascending."""
        return list(self.columns.swarm_ids)

    def swarm_of(self, account_id: bytes) -> list[Entry]:
        """Return the nodes of the swarm that serves an account, by ascending key.

        `account_id` has 33 bytes, or 32 without its prefix. None are returned if there are none.
        """
        check_account_id(account_id)
        swarm_id = nearest_swarm(self.swarm_ids, position_of(account_id[-32:]))
        return [entry for entry in self._readable_entries() if entry.swarm_id == swarm_id]

    # ---- What verifies, and what may be read ----

    def _follow(self, path: Path, header: ListHeader, signed: SignedHeader) -> Anchor:
        """Check all hops of a path, the last one to `signed`, and return that as an anchor."""
        anchor, network, now_ms = self._anchor, self._network, self._now_ms
        passed = []
        for way in path.ways:
            on_the_way = decode_signed_header(way.signed_header)
            epoch = decode_header(on_the_way.header).epoch
            if epoch >= header.epoch or (anchor.header and epoch <= anchor.epoch):
                raise Refusal("bad_path", why="the epochs of its headers do not ascend")
            anchor = check_hop(network, anchor, way.hop, on_the_way, now_ms)
            passed.append(anchor.header)
        try:
            reached = check_hop(network, anchor, path.hop, signed, now_ms)
        except Refusal as refusal:
            if refusal.code == "fork":
                # Two final headers for one epoch are a fork: both are kept, and nothing is accepted
                # any more.
                self.evidence = encode_signed_header(self._signed), encode_signed_header(signed)
            raise
        if self.is_empty or header.epoch > self._anchor.epoch:
            check_trust(network, self._anchor, [*passed, reached.header], self._vouched, now_ms)
        return reached

    def _hold(self, header: ListHeader, signed: SignedHeader, anchor: Anchor) -> None:
        self._anchor = anchor
        if signed.header == self._signed.header:
            known = dict(signed.signatures) | dict(self._signed.signatures)
            self._signed = SignedHeader(signed.header, tuple(sorted(known.items())))
            return
        if self._held is not None and self._held.list_hash == header.list_hash:
            self._held = self._held._replace(epoch=header.epoch)
        self._header, self._signed = header, signed

    def _hold_list(self, header: ListHeader, columns: Columns) -> None:
        check_list(header, columns.node_count, len(columns.swarm_ids))
        self._held, self._entries = Held(header.epoch, header.list_hash, columns), None

    def _is_current(self) -> bool:
        return self._held is not None and self._held.list_hash == self.header.list_hash

    def _check_not_stopped(self) -> None:
        if self.evidence is not None:
            raise Refusal("fork", epoch=self.header.epoch)

    def _raw_header(self) -> bytes:
        if self._header is None:
            raise Refusal("list_missing")
        return self._signed.header

    def _readable_header(self) -> ListHeader:
        self._check_not_stopped()
        if not self.allow_expired:
            check_expiry(self.header, self._now_ms)
        return self.header

    def _readable_entries(self) -> list[Entry]:
        columns = self.columns
        if self._entries is None:
            self._entries = make_entries(columns)
        return self._entries


def check_account_id(account_id: bytes) -> None:
    """Check a caller's account id. Raises `Misuse`."""
    if len(account_id) not in (32, 33):
        raise Misuse(f"an account id has 33 bytes, or 32 without its prefix: {len(account_id)}")
