"""What signs on behalf of a network, and never contradicts itself.

- Each signing role has a watermark (`registry.watermarks`), written durably before a signature
  leaves the process. Behind it a role signs nothing but what it signed there.
- A watermark that came out of a backup, or is lost, says less than the key signed. Then a role
  signs nothing until it is certain that it cannot contradict what was signed meanwhile.
- For headers that is a matter of time. Epochs are never shorter than `epoch_ms`, and a header is
  signed only near its time: so up to the start of this process no epoch above a certain one can
  have been signed. It is counted from the newest header of which we know that this key signed it;
  a replica that is behind, or a source that keeps blocks back, cannot make it lower.
- After the last header of a network, which names its successor and is final, none is signed.
- For blocks somebody has to know: a follower that is asked, or a person who vouches.
- A key without a watermark of which nothing is known that it signed counts as new only while its
  network is young. Later a person has to say so: what it signed may stand in another history.
"""

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from ledger.crypto import KeyPair, sha256, sign, verify
from ledger.messages.blocks import BlockHeader, block_hash, seal_bytes
from ledger.messages.lists import (
    ListHeader,
    SignedHeader,
    attestation,
    decode_header,
    header_signing_bytes,
)
from ledger.types import Epoch, Hash, Height, TimeMs
from registry.keystore import CHAIN, derive, derive_secret
from registry.watermarks import BLOCKS, HEADERS, SignerRefuses, Watermarks

CHAIN_LINKS: Final = 2**20
"""Reveals in one hash chain: 60 years of half-hour epochs."""

CHECKPOINT_LINKS: Final = 2**10
"""Links between two that are kept in memory."""

CLOCK_TOLERANCE_MS: Final = 5 * 60 * 1000
"""How far a header's time may be off this machine's clock."""

YOUNG_MS: Final = 60 * 60 * 1000
"""How long after its start a network counts as young."""


class HashChain:
    """An attestor's hash chain: `value(CHAIN_LINKS)` is the tip that others know at first."""

    def __init__(self, secret: bytes) -> None:
        self._kept = [secret]
        value = secret
        for link in range(1, CHAIN_LINKS + 1):
            value = sha256(value)
            if link % CHECKPOINT_LINKS == 0:
                self._kept.append(value)
        self.tip: Hash = value

    def reveal(self, value: Hash, accepted: int) -> Hash | None:
        """Return the preimage of the last accepted `value`, the `accepted`-th after the tip.

        None if that is not this chain, or if it is exhausted.
        """
        link = CHAIN_LINKS - accepted
        return self._at(link - 1) if link > 0 and self._at(link) == value else None

    def _at(self, link: int) -> Hash:
        value = self._kept[link // CHECKPOINT_LINKS]
        for _ in range(link % CHECKPOINT_LINKS):
            value = sha256(value)
        return value


class Known(NamedTuple):
    """What the replica that made a header knows of what was signed before."""

    frozen: Callable[[Epoch], SignedHeader | None]
    """Its header of an epoch that takes no attestations any more; None where it keeps none."""
    accepted: int
    """Attestations of the signing key that its ledger took."""
    epoch_ms: int
    """Shortest time between two headers."""
    start_ms: TimeMs
    """When the network started."""
    is_over: bool = False
    """Whether its last header is final, which names the successor."""


class HeaderSigner:
    """Signs headers with a list key."""

    def __init__(self, seed: bytes, watermarks: Watermarks, *, is_vouched: bool = False) -> None:
        """Raises `SignerRefuses` where the watermark cannot be used.

        `is_vouched` says that a key never signed of which nothing else is known.
        """
        self.pair: KeyPair = derive(seed, "list")
        self.chain = HashChain(derive_secret(seed, CHAIN))
        self._network = watermarks.network
        self._watermark = watermarks.open(HEADERS, self.pair.public)
        self._is_vouched = is_vouched
        self._started_ns = time.monotonic_ns()

    def sign(self, header: bytes, known: Known) -> bytes:
        """Return the signature of a header that this process's own replica made.

        Raises `SignerRefuses` and `WatermarkNotWritten`.
        """
        fields = decode_header(header)
        if known.is_over:
            raise SignerRefuses(
                f"the header of epoch {fields.epoch} is none of this network any more: its last "
                f"header is final, and names the successor {fields.successor.hex()}"
            )
        now_ms = _now_ms()
        off_ms = abs(now_ms - fields.valid_after_ms)
        if off_ms > CLOCK_TOLERANCE_MS:
            raise SignerRefuses(
                f"the header of epoch {fields.epoch} is {off_ms} ms off this machine's clock: "
                "check the clock"
            )
        self._check_extends(fields.epoch, known)
        self._check_certain(fields, known, now_ms)
        self._watermark.advance(fields.epoch, sha256(header))
        return sign(self.pair, header_signing_bytes(self._network, header))

    def _check_extends(self, epoch: Epoch, known: Known) -> None:
        signed = self._watermark.number
        if signed is None or signed >= epoch:
            return
        ours = known.frozen(signed)
        if ours is None or sha256(ours.header) != self._watermark.hash:
            raise SignerRefuses(
                f"the header of epoch {signed} that was signed is not in the history of this "
                "replica: it is on another chain, or was restored from a copy that is too old"
            )

    def _check_certain(self, header: ListHeader, known: Known, now_ms: TimeMs) -> None:
        """Refuse a header that this key may have signed after what its watermark says."""
        mark = self._watermark
        if mark.number is not None and not mark.is_restored:
            return
        signed = self._find_signed(header, known)
        if signed is None:
            self._check_new(known)
            return
        # by the clock as it is now, which agrees with the header: at the start it may have been off
        started_ms = now_ms - (time.monotonic_ns() - self._started_ns) // 1_000_000
        # once for the clock that it had then, and once for ours now
        latest_ms = started_ms + 2 * CLOCK_TOLERANCE_MS
        limit = signed.epoch + (latest_ms - signed.valid_after_ms) // known.epoch_ms
        if header.epoch <= limit or (mark.number is not None and header.epoch <= mark.number):
            raise SignerRefuses(
                f"the watermark {mark.path} is {'restored' if mark.is_restored else 'lost'}, and "
                f"this key may have signed up to epoch {limit} since: it signs again from epoch "
                f"{limit + 1} on, nothing has to be done"
            )

    def _check_new(self, known: Known) -> None:
        """Refuse a key that may have signed in a history that this replica does not know."""
        if not (self._is_vouched or _is_young(known.start_ms)):
            raise SignerRefuses(
                f"the watermark {self._watermark.path} is not there, and the network is not new: "
                "put a backup back (waypost signer import), or, if this key never signed a header "
                "of this network, start once with --new-watermark"
            )

    def _find_signed(self, header: ListHeader, known: Known) -> ListHeader | None:
        """Return the newest header of which it is known that this key signed it.

        Where it did sign, and the replica does not keep what, the oldest that it keeps is as good:
        what was signed before that is below any limit counted from there.
        """
        oldest = header
        for epoch in range(header.epoch - 1, -1, -1):
            signed = known.frozen(epoch)
            if signed is None:
                break
            oldest = decode_header(signed.header)
            if epoch == self._watermark.number or self._is_signed(signed):
                return oldest
        # before header 0 there is none to sign: what was accepted was so by a predecessor
        has_signed = header.epoch > 0 and known.accepted
        return oldest if has_signed or self._watermark.is_restored else None

    def _is_signed(self, signed: SignedHeader) -> bool:
        return any(
            verify(attestation(self._network, signed.header, self.pair.public, signature))
            for _, signature in signed.signatures
        )


class BlockSigner:
    """Seals the blocks of a `solo` chain."""

    def __init__(self, seed: bytes, watermarks: Watermarks) -> None:
        """Raises `SignerRefuses` where the watermark cannot be used."""
        self.pair: KeyPair = derive(seed, "producer")
        self._network = watermarks.network
        self._watermark = watermarks.open(BLOCKS, self.pair.public)
        self._first_until_ms: TimeMs | None = None

    @property
    def height(self) -> Height:
        """Height of the newest block of which it is known that it was served."""
        return self._watermark.number or 0

    @property
    def is_certain(self) -> bool:
        """Whether no later block can have been served."""
        return self._watermark.number is not None and not self._watermark.is_restored

    def check_start(
        self,
        height: Height,
        hash_of: Callable[[Height], Hash | None],
        start_ms: TimeMs,
        *,
        is_vouched: bool = False,
    ) -> None:
        """Check that a database ends where this producer has served up to, or one block later.

        That one block was being written when the process died, and is served from now on.
        `hash_of` gives the database's block hash of a height; the network started at `start_ms`.
        Where it is not certain what was served, `is_vouched` says that nobody can have seen a block
        after `height`. Raises `SignerRefuses`.
        """
        mark, served = self._watermark, self.height
        if height < served or (served and hash_of(served) != mark.hash):
            raise SignerRefuses(
                f"this producer has served block {served}, the database ends at {height}: it is an "
                f"older copy. Start with --refill and the URL of a node that has block {served}; "
                f"where no node has it, move the watermark {mark.path} away first"
            )
        if height > served + 1 and self.is_certain:
            raise SignerRefuses(
                f"the database ends at {height}, but the watermark {mark.path} is at "
                f"{served}: one of them is an old copy, and this key may have served more. Remove "
                "the file and start with --refill and the URL of a node that followed; or, if "
                "nobody can have seen a later block, with --new-watermark"
            )
        is_first_start = height <= 1 and not mark.is_restored and _is_young(start_ms)
        if not (self.is_certain or is_first_start or is_vouched):
            raise SignerRefuses(
                f"the watermark {mark.path} is {'restored' if mark.is_restored else 'not there'}, "
                f"and this key may have served more than block {height}, at which the database "
                "ends. Start with --refill and the URL of a node that followed; or, if nobody can "
                "have seen a later block, with --new-watermark"
            )
        if not (self.is_certain or is_vouched):
            self._first_until_ms = start_ms + YOUNG_MS
        self._served(height, hash_of(height))

    def seal(self, header: BlockHeader) -> bytes:
        """Return the seal of a block that is about to be committed. Raises `SignerRefuses`."""
        if header.height <= self.height:
            raise SignerRefuses(f"block {header.height} was sealed already")
        if self._watermark.is_restored:
            raise SignerRefuses(f"the watermark {self._watermark.path} is restored")
        first_until_ms = self._first_until_ms
        if first_until_ms and self._watermark.number is None and header.time_ms > first_until_ms:
            raise SignerRefuses(
                "this machine's clock was wrong when the process started: the network is not new. "
                "Start again"
            )
        return sign(self.pair, seal_bytes(self._network, header))

    def note(self, header: BlockHeader) -> None:
        """Note durably that a committed block is about to be served.

        Raises `SignerRefuses` and `WatermarkNotWritten`.
        """
        self._served(header.height, block_hash(header))

    def _served(self, height: Height, digest: Hash | None) -> None:
        # genesis is nothing that anybody signed
        if height > 0 and digest is not None:
            self._watermark.advance(height, digest)


def _is_young(start_ms: TimeMs) -> bool:
    return _now_ms() <= start_ms + YOUNG_MS


def _now_ms() -> TimeMs:
    return time.time_ns() // 1_000_000
