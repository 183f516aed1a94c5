"""What signs on behalf of a network, and never contradicts itself.

- Each signing role has a watermark: the number and hash of the newest thing it signed.
- The watermark is written durably, outside the database and its backups, before a signature
  leaves the process.
- Behind its watermark a role signs nothing but what it signed there.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ledger.codec import U63, Bytes32, Codec, Record, encode
from ledger.crypto import KeyPair, sha256, sign
from ledger.errors import Fault
from ledger.messages.blocks import BlockHeader, block_hash, seal_bytes
from ledger.messages.lists import decode_header, header_signing_bytes
from ledger.types import Epoch, Hash, Height
from registry.files import write_durably
from registry.keystore import CHAIN, derive, derive_secret

CHAIN_LINKS: Final = 2**20
"""Reveals in one hash chain: 60 years of half-hour epochs."""

CHECKPOINT_LINKS: Final = 2**10
"""Links between two that are kept in memory."""

CLOCK_TOLERANCE_MS: Final = 5 * 60 * 1000
"""How far a header's time may be off this machine's clock."""


class SignerRefuses(Fault):
    """Signing this would contradict what was signed before; the message says what to do."""


class _Mark(Record, frozen=True):
    number: U63
    hash: Bytes32


_MARK: Final[Codec[_Mark]] = Codec(_Mark, "watermark")
_NOTHING: Final = _Mark(0, bytes(32))


class Watermark:
    """The number and hash of the newest thing that a role signed, in a file of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mark = _MARK.decode(path.read_bytes()) if path.exists() else _NOTHING

    @property
    def number(self) -> int:
        """Number of the newest thing signed; 0 if nothing was."""
        return self._mark.number

    @property
    def hash(self) -> Hash:
        """Its hash."""
        return self._mark.hash

    def advance(self, number: int, digest: Hash) -> None:
        """Note durably that `number` is about to be signed. Raises `SignerRefuses`."""
        if number == self._mark.number and digest == self._mark.hash:
            return
        if number <= self._mark.number:
            raise SignerRefuses(
                f"{self.path.name}: number {self._mark.number} was signed already, and "
                f"{number} is something else: is this an older copy of the ledger, or does "
                "another process hold the same key?"
            )
        mark = _Mark(number, digest)
        write_durably(self.path, encode(mark), mode=0o600)
        self._mark = mark


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


class HeaderSigner:
    """Signs headers with a list key."""

    def __init__(self, seed: bytes, watermark: Path) -> None:
        self.pair: KeyPair = derive(seed, "list")
        self.chain = HashChain(derive_secret(seed, CHAIN))
        self._watermark = Watermark(watermark)

    def sign(
        self,
        genesis_hash: Hash,
        header: bytes,
        header_of: Callable[[Epoch], bytes | None],
        now_ms: int | None = None,
    ) -> bytes:
        """Return the signature of a header that this process's own replica made.

        `header_of` gives that replica's header of an epoch: the one signed last must be among
        them. Raises `SignerRefuses`.
        """
        fields = decode_header(header)
        now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        if abs(now - fields.valid_after_ms) > CLOCK_TOLERANCE_MS:
            raise SignerRefuses(
                f"the header of epoch {fields.epoch} is {abs(now - fields.valid_after_ms)} ms "
                "off this machine's clock: check the clock"
            )
        self._check_extends(fields.epoch, header_of)
        # epochs count from 0, watermarks from 1
        self._watermark.advance(fields.epoch + 1, sha256(header))
        return sign(self.pair, header_signing_bytes(genesis_hash, header))

    def _check_extends(self, epoch: Epoch, header_of: Callable[[Epoch], bytes | None]) -> None:
        signed = self._watermark.number - 1
        if signed < 0 or signed >= epoch:
            return
        ours = header_of(signed)
        if ours is None or sha256(ours) != self._watermark.hash:
            raise SignerRefuses(
                f"the header of epoch {signed} that was signed is not in the history of this "
                "replica: it is on another chain, or was restored from a copy that is too old"
            )


class BlockSigner:
    """Seals the blocks of a `solo` chain."""

    def __init__(self, seed: bytes, watermark: Path) -> None:
        self.pair: KeyPair = derive(seed, "producer")
        self._watermark = Watermark(watermark)

    @property
    def height(self) -> Height:
        """Height of the newest block that was served."""
        return self._watermark.number

    def check_start(
        self, height: Height, tip_hash: Hash, previous: Hash, *, is_new: bool = False
    ) -> None:
        """Check that a database ends where this producer has served up to, or one block later.

        That one block, which follows `previous`, was being written when the process died, and is
        served from now on. `is_new` says that somebody vouches for a database without a watermark.
        Raises `SignerRefuses`.
        """
        mark = self._watermark
        if is_new and mark.number == 0:
            return self.served(height, tip_hash)
        held = {mark.number: tip_hash, mark.number + 1: previous}.get(height)
        if height < mark.number or (mark.number and held not in (None, mark.hash)):
            raise SignerRefuses(
                f"this producer has served block {mark.number}, the database ends at {height}: "
                "it is an older copy. Start with --refill and the URL of a node that followed"
            )
        if height > mark.number + 1:
            raise SignerRefuses(
                f"the database ends at {height}, but the watermark {mark.path} is at "
                f"{mark.number}: one of them is an old copy, and this key may have served more. If "
                "nobody can have seen a later block, remove the file and start with --new-watermark"
            )
        self.served(height, tip_hash)

    def seal(self, genesis_hash: Hash, header: BlockHeader) -> bytes:
        """Return the seal of a block that is about to be committed."""
        if header.height <= self._watermark.number:
            raise SignerRefuses(f"block {header.height} was sealed already")
        return sign(self.pair, seal_bytes(genesis_hash, header))

    def served(self, height: Height, digest: Hash) -> None:
        """Note durably that a committed block is about to be served."""
        if height > 0:
            self._watermark.advance(height, digest)

    def note(self, header: BlockHeader) -> None:
        """`served`, for a block header."""
        self.served(header.height, block_hash(header))
