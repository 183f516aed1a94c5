"""Random lives of a key: crashes, failing disks, backups put back, forks; it never signs twice.

A step is an operation and a number. What was signed, or served, is written down outside of the
machine: for each number it is one and the same thing for ever.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import crypto
from ledger.crypto import sha256
from ledger.messages.blocks import BlockHeader, block_hash
from ledger.messages.lists import (
    ListHeader,
    SignedHeader,
    decode_header,
    encode_header,
    header_signing_bytes,
)
from ledger.types import ZERO_HASH, Epoch, Hash, Height, Key
from registry import files, signer, watermarks
from registry.signer import YOUNG_MS, BlockSigner, HeaderSigner, Known
from registry.watermarks import (
    Backup,
    SignerRefuses,
    WatermarkNotWritten,
    Watermarks,
    import_backup,
    make_backup,
)
from tests.factory import START_MS
from tests.registry.factory import Clock, seed_of

NETWORK: Final = sha256(b"a genesis file")
EPOCH_MS: Final = 150_000
"""The newest two headers are within the tolerance of the clock."""


class Died(BaseException):
    """The process is gone at this point."""


class Machine:
    """One home after the other, and the disk that they lie on."""

    def __init__(self, folder: Path) -> None:
        self.backups: list[Backup] = []
        self._error: BaseException | None = None
        self._landed = False
        self._folder = folder
        self._homes = 0
        self.held = self._open()

    def _open(self) -> Watermarks:
        return Watermarks(self._folder / str(self._homes), NETWORK)

    def restart(self) -> None:
        """A new process on the same home."""
        self.held.close()
        self.held = self._open()

    def lose_home(self) -> None:
        """A new process on an empty home."""
        self._homes += 1
        self.restart()

    def break_disk(self, number: int) -> None:
        """Have the next write fail, or kill the process, before or after it took effect."""
        self._error = (Died(), OSError("full"))[number % 2]
        self._landed = number % 4 > 1

    def write(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        """Stands in for `write_durably`."""
        error, self._error = self._error, None
        if error is None or self._landed:
            files.write_atomically(path, data, mode)
        if error is not None:
            raise error

    def numbers(self) -> dict[tuple[bytes, Key], int]:
        """What the watermarks say."""
        marks = make_backup(self.held.path, NETWORK).marks
        return {(mark.role, mark.key): mark.number for mark in marks}

    def export(self) -> None:
        """Make one more backup."""
        if self.numbers():
            self.backups.append(make_backup(self.held.path, NETWORK))

    def put_back(self, number: int) -> None:
        """Import one of the backups."""
        if self.backups:
            before = self.numbers()
            self._error = None
            import_backup(self.held, self.backups[number % len(self.backups)])
            after = self.numbers()
            assert all(after[place] >= low for place, low in before.items())


@contextmanager
def machine() -> Iterator[tuple[Machine, Clock]]:
    """A machine with a clock, whose disk never waits."""
    clock = Clock()
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(watermarks, "sync_folder", lambda _folder: None)
        made = Machine(Path(folder))
        monkeypatch.setattr(watermarks, "write_durably", made.write)
        monkeypatch.setattr(signer, "time", clock)
        monkeypatch.setattr(signer, "CHAIN_LINKS", 2)
        monkeypatch.setattr(signer, "CHECKPOINT_LINKS", 2)
        try:
            yield made, clock
        finally:
            made.held.close()


# ------------------------------------------------------------------------------- headers


class Attesting:
    """A list key, and the chain that its replica follows.

    A fork never takes back what stands in a chain or a backup: who signed that has contradicted
    himself already, whatever he signs next.
    """

    def __init__(self, held: Machine, clock: Clock) -> None:
        self.machine = held
        self.clock = clock
        self.chain = [_header(0, ZERO_HASH, clock.ms)]
        self.accepted: dict[Epoch, bytes] = {}
        """Epochs whose attestation by this key stands in the chain."""
        self.signed: dict[Epoch, bytes] = {}
        self.firm = 0
        """Headers that no fork takes back."""
        self.counts: Counter[str] = Counter()
        self.signer = self._start()

    def _start(self) -> HeaderSigner:
        never = not self.signed
        return HeaderSigner(seed_of("attestor"), self.machine.held, is_vouched=never)

    def live(self, number: int) -> None:
        """Some epochs, in time or late, whose headers are signed."""
        for turn in range(number, number + number % 25):
            self.clock.ms += EPOCH_MS + {3: 1, 7: EPOCH_MS // 2, 11: 3 * EPOCH_MS}.get(turn % 17, 0)
            self._grow(b"", self.clock.ms)
            self.sign(turn)

    def _grow(self, says: bytes, ms: int) -> None:
        self.chain.append(_header(len(self.chain), sha256(self.chain[-1] + says), ms))

    def fork(self, number: int) -> None:
        """Newer headers are replaced: by a single late one, or by all that there was time for."""
        keep = max(self.firm, len(self.chain) - number % 60, 1)
        self.counts["fork"] += keep < len(self.chain)
        del self.chain[keep:]
        self.clock.ms += EPOCH_MS
        says = self.clock.ms.to_bytes(8, "big")
        ms = decode_header(self.chain[-1]).valid_after_ms
        if number % 2:
            ms = self.clock.ms - EPOCH_MS
        while ms + EPOCH_MS <= self.clock.ms:
            ms += EPOCH_MS
            self._grow(says, ms)
        self.sign(number)

    def sign(self, number: int) -> None:
        """Sign a header of the chain, mostly the newest one, or one that is like it."""
        epoch = max(0, len(self.chain) - 1 - max(0, number % 8 - 5))
        self.counts["asked"] += 1
        raw = self.chain[epoch]
        if number % 97 == 0:
            raw = encode_header(decode_header(raw)._replace(seed=sha256(raw)))
        known = Known(self._frozen(epoch), len(self.accepted), EPOCH_MS, START_MS)
        try:
            self.signer.sign(raw, known)
        except (SignerRefuses, WatermarkNotWritten) as error:
            self.counts[type(error).__name__] += 1
            return
        except Died:
            self.counts["Died"] += 1
            self.restart(0)
            return
        self.counts["signed"] += 1
        assert self.signed.setdefault(epoch, raw) == raw, f"epoch {epoch} was signed twice"
        if raw == self.chain[epoch] and number % 13 == 0:
            self.accepted[epoch] = raw
            self.firm = max(self.firm, epoch + 1)

    def _frozen(self, before: Epoch) -> Callable[[Epoch], SignedHeader | None]:
        def frozen(epoch: Epoch) -> SignedHeader | None:
            if epoch >= before:
                return None
            raw = self.chain[epoch]
            if self.accepted.get(epoch) != raw:
                return SignedHeader(raw, ())
            own = crypto.sign(self.signer.pair, header_signing_bytes(NETWORK, raw))
            return SignedHeader(raw, ((0, own),))

        return frozen

    def break_disk(self, number: int) -> None:
        """The next signature meets a disk that fails."""
        self.machine.break_disk(number)

    def restart(self, _number: int) -> None:
        """The process ends and begins."""
        self.machine.restart()
        self.signer = self._start()

    def export(self, _number: int) -> None:
        """Make a backup, unless a fork took back what it would hold."""
        for number in self.machine.numbers().values():
            if number < len(self.chain) and self.signed.get(number) == self.chain[number]:
                self.firm = max(self.firm, number + 1)
                self.machine.export()

    def put_back(self, number: int) -> None:
        """Stop, import a backup, and start."""
        self.machine.restart()
        self.machine.put_back(number)
        self.restart(0)

    def lose_home(self, number: int) -> None:
        """Go on with an old backup, or with the keys alone once they cannot pass for new ones."""
        is_old = bool(self.accepted) or self.clock.ms > START_MS + YOUNG_MS
        if self.machine.backups or is_old or not self.signed:
            self.machine.lose_home()
            if not is_old or number % 2:
                self.machine.put_back(number)
            self.counts["lost"] += bool(self.signed)
            self.restart(0)


def _header(epoch: Epoch, root: Hash, ms: int) -> bytes:
    roots = (root, *(ZERO_HASH for _ in range(8)))
    return encode_header(ListHeader(1, 1, 1, epoch, epoch, ms, ms + 1, ms + 2, 0, 0, *roots))


HEADER_STEPS: Final = (
    *("live", "live", "live", "live", "sign", "restart", "break_disk", "break_disk", "export"),
    *("put_back", "lose_home", "fork"),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(HEADER_STEPS), st.integers(0, 999)), max_size=25))
def test_no_epoch_has_two_signed_headers(steps: list[tuple[str, int]]) -> None:
    with machine() as (held, clock):
        attesting = Attesting(held, clock)
        for name, number in steps:
            getattr(attesting, name)(number)


def test_no_epoch_of_a_long_life_has_two_signed_headers() -> None:
    counts: Counter[str] = Counter()
    for seed in range(4):
        chance = Random(seed)
        with machine() as (held, clock):
            attesting = Attesting(held, clock)
            for _ in range(250):
                getattr(attesting, chance.choice(HEADER_STEPS))(chance.randrange(1_000))
        counts += attesting.counts
    # it met everything, and it is not by never signing that it never signs twice
    met = ("fork", "lost", "SignerRefuses", "WatermarkNotWritten", "Died")
    assert min(counts[what] for what in met) > 2, counts
    assert counts["signed"] > 200, counts


# -------------------------------------------------------------------------------- blocks


class Producing:
    """A producer, its database, and a follower that has every block that was served."""

    def __init__(self, held: Machine, clock: Clock) -> None:
        self.machine = held
        self.clock = clock
        self.database: list[BlockHeader] = []
        self.copies: list[tuple[list[BlockHeader], dict[Path, bytes]]] = [([], {})]
        self.served: list[BlockHeader] = []
        self.counts: Counter[str] = Counter()
        self._made = 0
        self.signer: BlockSigner | None = None
        self._start(refills=False)

    def _start(self, *, refills: bool) -> None:
        """Start like the ledger process does; what it refuses leaves the producer stopped."""
        self.signer = None
        self.machine.restart()
        made = BlockSigner(seed_of("producer"), self.machine.held)
        if refills and not self._refill():
            return
        height = len(self.database)
        try:
            made.check_start(height, self._hash_of, START_MS, is_vouched=refills)
        except (SignerRefuses, WatermarkNotWritten, Died) as error:
            self.counts[type(error).__name__] += 1
            return
        self._serve()
        self.signer = made

    def _refill(self) -> bool:
        """Follow; whose database contradicts what was served cannot."""
        if self.database[: len(self.served)] != self.served[: len(self.database)]:
            return False
        self.database += self.served[len(self.database) :]
        self.counts["refilled"] += 1
        return True

    def _hash_of(self, height: Height) -> Hash | None:
        return block_hash(self.database[height - 1]) if height else NETWORK

    def _serve(self) -> None:
        for height, header in enumerate(self.database, 1):
            if height > len(self.served):
                self.served.append(header)
                # from here on a key without a watermark does not pass for a new one
                self.clock.ms = START_MS + YOUNG_MS + 1
            assert self.served[height - 1] == header, f"block {height} was served twice"

    def produce(self, number: int) -> None:
        """Some blocks, each sealed, committed, noted, served; it may die in between."""
        for turn in range(number, number + number % 5):
            if self.signer is None:
                return
            self._made += 1
            height, says = len(self.database) + 1, self._made.to_bytes(32, "big")
            header = BlockHeader(height, height, b"", ZERO_HASH, ZERO_HASH, says)
            self.signer.seal(header)
            if turn % 19 == 0:
                return self.start(number)
            self.database.append(header)
            if turn % 19 == 1:
                return self.start(number)
            try:
                self.signer.note(header)
            except (WatermarkNotWritten, Died) as error:
                self.counts[type(error).__name__] += 1
                return self.start(number)
            self._serve()
            self.counts["served"] += 1

    def start(self, number: int) -> None:
        """Start anew, with or without a node to refill from."""
        self._start(refills=bool(number % 3))

    def break_disk(self, number: int) -> None:
        """The next watermark meets a disk that fails."""
        self.machine.break_disk(number)

    def copy_home(self, _number: int) -> None:
        """Make a copy of database and watermark, as a backup of the machine does."""
        files = {path: path.read_bytes() for path in self.machine.held.path.glob("blocks-*")}
        self.copies.append((list(self.database), files))

    def old_database(self, number: int) -> None:
        """Go on with a copy of the database; the watermark stays."""
        self.database = list(self.copies[number % len(self.copies)][0])
        self.start(number)

    def old_home(self, number: int) -> None:
        """Go on with a copy of everything, which fits together; a refill is asked for."""
        database, copied = self.copies[number % len(self.copies)]
        for path in self.machine.held.path.glob("blocks-*"):
            path.unlink()
        for path, raw in copied.items():
            (self.machine.held.path / path.name).write_bytes(raw)
        self.database = list(database)
        self._start(refills=True)

    def export(self, _number: int) -> None:
        """Make a backup of the watermark."""
        self.machine.export()

    def put_back(self, number: int) -> None:
        """Stop, import a backup, and start."""
        self.machine.restart()
        self.machine.put_back(number)
        self.start(number)

    def lose_home(self, number: int) -> None:
        """Go on with a copy of the database or without one, and a watermark's backup or none."""
        self.machine.lose_home()
        self.database = list(self.copies[number % len(self.copies)][0])
        if number % 2:
            self.machine.put_back(number)
        self.counts["lost"] += 1
        self._start(refills=bool(number % 5))


BLOCK_STEPS: Final = (
    *("produce", "produce", "produce", "produce", "start", "break_disk", "break_disk"),
    *("copy_home", "old_database", "old_home", "export", "put_back", "lose_home"),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(BLOCK_STEPS), st.integers(0, 999)), max_size=25))
def test_no_height_has_two_served_blocks(steps: list[tuple[str, int]]) -> None:
    with machine() as (held, clock):
        producing = Producing(held, clock)
        for name, number in steps:
            getattr(producing, name)(number)


def test_no_height_of_a_long_life_has_two_served_blocks() -> None:
    counts: Counter[str] = Counter()
    for seed in range(4):
        chance = Random(seed)
        with machine() as (held, clock):
            producing = Producing(held, clock)
            for _ in range(350):
                getattr(producing, chance.choice(BLOCK_STEPS))(chance.randrange(1_000))
        counts += producing.counts
    met = ("lost", "refilled", "SignerRefuses", "WatermarkNotWritten", "Died")
    assert min(counts[what] for what in met) > 5, counts
    assert counts["served"] > 200, counts
