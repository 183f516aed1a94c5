"""What a client believes: it sees bytes and a reference time, and nothing else.

Rules, each quoted where it is enforced; docs/spec/client.md has a heading for each check:

- Everything starts from the genesis file: its hash stands in all that is signed.
- A header is signed by the set that the newest verified header named as the next one.
- An epoch older than the newest verified one is a roll-back.
- More than two thirds of the weight signed, and every signature that is there holds.
- Two final headers for one epoch are a fork: both are kept, and nothing is accepted any more.
- A header is at most 5 min ahead of the reference time.
- Each epoch since the newest verified header lasted `epoch_ms` at least.
- Past its valid-until a list is used only by those who asked for it.
- A list is the one that the header names: its hash, and as many nodes and swarms.
- One reference time holds for a whole update.

A refusal changes nothing, but for a fork, which stops everything.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from ledger.crypto import SIGNATURE_BYTES, is_public_key, sha256, verify_all
from ledger.errors import Misuse, Refusal
from ledger.messages.entries import Columns, Entry, make_entries
from ledger.messages.genesis import FIXED, GENESIS, GENESIS_VERSION, Genesis
from ledger.messages.lists import (
    HEADER_BYTES,
    MAX_ATTESTORS,
    Attestor,
    ListHeader,
    SignedHeader,
    attestation,
    attestor_set_hash,
    decode_header,
    decode_signed_header,
    encode_signed_header,
    has_single_signer,
    is_final,
    weigh,
)
from ledger.params import MINUTE, Params, validate_params
from ledger.rules.swarms import nearest_swarm, position_of
from ledger.types import Epoch, Hash, TimeMs
from registry.formats.delta import apply_delta
from registry.formats.fingerprint import fingerprint_words
from registry.formats.full import compute_columns_bound, decode_full
from registry.formats.slice import decode_slice, open_slice

MAX_AHEAD_MS: Final = 5 * MINUTE
"""How far the reference time may be behind that of the network."""

MAX_SIGNED_HEADER_BYTES: Final = HEADER_BYTES + 4 + MAX_ATTESTORS * SIGNATURE_BYTES
"""What everybody's signature makes of a header; nobody has to read more."""


class Status(StrEnum):
    """How far a list can still be relied on."""

    FRESH = "fresh"
    DEGRADED = "degraded"
    """Past its fresh-until: newer lists are kept back, or the network does not make any."""
    EXPIRED = "expired"
    """Past its valid-until."""


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


class Anchor(NamedTuple):
    """What the next header is held against: the newest verified one, or genesis."""

    epoch: Epoch
    time_ms: TimeMs
    next_set_hash: Hash


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
        # Everything starts from the genesis file: its hash stands in all that is signed.
        parsed, self._params = read_genesis(genesis)
        self.genesis_hash = sha256(genesis)
        self.allow_expired = allow_expired
        self.evidence = None
        self._now_ms = now_ms
        self._start_ms = parsed.start_ms
        members = tuple(Attestor(seat.list_key, seat.weight) for seat in parsed.attestors)
        self._founders = attestor_set_hash(members)
        # Sets whose members are known, by their hash. A change of the set adds one.
        self._sets = {self._founders: members}
        self._header: ListHeader | None = None
        self._signed = SignedHeader(b"", ())
        # The newest list that was loaded, maybe of an earlier header: a delta begins there.
        self._held: Held | None = None
        self._entries: list[Entry] | None = None

    def start_update(self, now_ms: int) -> None:
        """Go on at another reference time, Unix milliseconds."""
        # One reference time holds for a whole update.
        self._now_ms = now_ms

    def update(self, header_and_signatures: bytes) -> ListHeader:
        """Verify a signed header and take it as the newest; return it.

        The newest one again is fine, and adds the signatures that it brings. A new one wants its
        list loaded, unless that stayed the same: see `needs_list`.

        Refuses with `bad_header`, `unknown_format`, `wrong_set`, `roll_back`, `unknown_attestor`,
        `not_final`, `bad_signature`, `fork`, `from_the_future`, `list_expired`.
        """
        return self._take(header_and_signatures, self.allow_expired)

    def resume(self, header_and_signatures: bytes) -> ListHeader:
        """Verify what this client took before it ended: as `update`, but it may have expired.

        So a client that was off for long knows how far it had come, and refuses to go back. The
        list stays unreadable if it has expired.
        """
        return self._take(header_and_signatures, may_be_expired=True)

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

    def read_slice(self, data: bytes, account_id: bytes) -> list[Entry]:
        """Return the nodes of the swarm that serves an account from a `slice`, by ascending key.

        Its header is verified, and taken as the newest one; its list is not needed. `account_id`
        has 33 bytes, or 32 without its prefix. Refuses like `update`, with `too_large` and, for
        what does not prove that swarm, with `bad_list`.
        """
        check_account_id(account_id)
        parts = decode_slice(data)
        return open_slice(parts, self.update(parts.signed_header), account_id)

    @property
    def is_empty(self) -> bool:
        """Whether no header was verified yet."""
        return self._header is None

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
        members = self._sets[self.header.set_hash]
        weight, total = weigh(self._signed, members)
        return Signers(len(self._signed.signatures), len(members), weight, total)

    @property
    def is_single_signer(self) -> bool:
        """Whether one attestor has the weight to sign lists alone; said wherever lists are shown.

        Known from the beginning, without a header.
        """
        set_hash = self._founders if self._header is None else self._header.set_hash
        return has_single_signer([member.weight for member in self._sets[set_hash]])

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

    def _take(self, raw: bytes, may_be_expired: bool) -> ListHeader:
        self._check_not_stopped()
        signed = decode_signed_header(raw)
        header = decode_header(signed.header)
        anchor = self._anchor()
        check_set(header, anchor)
        check_order(header, anchor)
        members = self._sets.get(header.set_hash)
        if members is None:
            raise Refusal("wrong_set")
        check_signatures(self.genesis_hash, signed, members)
        # Before all that depends on time: whoever signed two headers is caught at any time.
        if self._header is not None and is_fork(self._signed.header, signed.header):
            # Two final headers for one epoch are a fork: both are kept, and nothing is accepted
            # any more.
            self.evidence = encode_signed_header(self._signed), encode_signed_header(signed)
            self._check_not_stopped()
        check_time(header, anchor, self._params.epoch_ms, self._now_ms)
        if not may_be_expired:
            check_expiry(header, self._now_ms)
        self._hold(header, signed)
        return header

    def _anchor(self) -> Anchor:
        if self._header is None:
            return Anchor(0, self._start_ms, self._founders)
        header = self._header
        return Anchor(header.epoch, header.valid_after_ms, header.next_set_hash)

    def _hold(self, header: ListHeader, signed: SignedHeader) -> None:
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


# ---- The checks, in the order in which they are made ----


def read_genesis(raw: bytes) -> tuple[Genesis, Params]:
    """Return a genesis file and its parameters, if a client can start from them.

    What only a ledger needs of it, such as the accounts, is not looked at.

    Refuses with `too_large`, `not_canonical`, `bad_genesis`, `bad_parameter`, `bad_relation`.
    """
    genesis = GENESIS.decode(raw)
    params = validate_params(genesis.params)
    keys = [seat.list_key for seat in genesis.attestors]
    rules = (
        (genesis.version == GENESIS_VERSION, f"its version is not {GENESIS_VERSION}"),
        (genesis.policy == FIXED, "its policy for attestors is unknown"),
        (keys == sorted(set(keys)), "its attestors are not in ascending order, once each"),
        (all(map(is_public_key, keys)), "a list key is not a usable key"),
        (all(seat.weight for seat in genesis.attestors), "an attestor has no weight"),
    )
    for holds, why in rules:
        if not holds:
            raise Refusal("bad_genesis", why=why)
    return genesis, params


def check_set(header: ListHeader, anchor: Anchor) -> None:
    """Refuse with `wrong_set` what other attestors sign than those whose turn it is."""
    # A header is signed by the set that the newest verified header named as the next one.
    if header.set_hash != anchor.next_set_hash:
        raise Refusal("wrong_set")


def check_order(header: ListHeader, anchor: Anchor) -> None:
    """Refuse with `roll_back` what is older than the newest verified header."""
    # An epoch older than the newest verified one is a roll-back.
    if header.epoch < anchor.epoch:
        raise Refusal("roll_back", epoch=header.epoch, newest=anchor.epoch)


def check_signatures(genesis_hash: Hash, signed: SignedHeader, members: Sequence[Attestor]) -> None:
    """Refuse with `unknown_attestor`, `not_final` or `bad_signature` what the set did not sign."""
    # More than two thirds of the weight signed, and every signature that is there holds.
    for index, _ in signed.signatures:
        if index >= len(members):
            raise Refusal("unknown_attestor", index=index)
    weight, total = weigh(signed, members)
    if not is_final(weight, total):
        raise Refusal("not_final", weight=weight, total=total)
    items = [
        attestation(genesis_hash, signed.header, members[index].list_key, signature)
        for index, signature in signed.signatures
    ]
    if not all(verify_all(items)):
        raise Refusal("bad_signature")


def is_fork(held: bytes, header: bytes) -> bool:
    """Whether two encoded headers, both final, contradict each other."""
    return held != header and decode_header(held).epoch == decode_header(header).epoch


def check_time(header: ListHeader, anchor: Anchor, epoch_ms: int, now_ms: int) -> None:
    """Refuse with `from_the_future` what cannot have been made yet, by its time or its number.

    Both together bound the epoch by the time that has passed since genesis, so that no header,
    whoever signed it, makes a client refuse all that come later.
    """
    # A header is at most 5 min ahead of the reference time.
    if header.valid_after_ms > now_ms + MAX_AHEAD_MS:
        raise Refusal("from_the_future", ahead_ms=header.valid_after_ms - now_ms)
    # Each epoch since the newest verified header lasted `epoch_ms` at least.
    earliest_ms = anchor.time_ms + (header.epoch - anchor.epoch) * epoch_ms
    if header.valid_after_ms < earliest_ms:
        raise Refusal("from_the_future", ahead_ms=earliest_ms - header.valid_after_ms)


def check_expiry(header: ListHeader, now_ms: int) -> None:
    """Refuse with `list_expired` what is past its valid-until."""
    # Past its valid-until a list is used only by those who asked for it.
    if compute_status(header, now_ms) is Status.EXPIRED:
        raise Refusal("list_expired", valid_until_ms=header.valid_until_ms)


def compute_status(header: ListHeader, now_ms: int) -> Status:
    """Return how far a header can be relied on at a reference time."""
    if now_ms > header.valid_until_ms:
        return Status.EXPIRED
    return Status.DEGRADED if now_ms > header.fresh_until_ms else Status.FRESH


def check_list(header: ListHeader, node_count: int, swarm_count: int) -> None:
    """Refuse with `bad_list` a list, its hash verified, that differs from its header in numbers."""
    # A list is the one that the header names: its hash, and as many nodes and swarms.
    if (node_count, swarm_count) != (header.node_count, header.swarm_count):
        raise Refusal("bad_list", why="it has not as many nodes and swarms as its header says")
