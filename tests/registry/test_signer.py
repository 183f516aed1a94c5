"""A signer never contradicts itself: not after a restart, a failed write, or an old copy."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from ledger import crypto
from ledger.crypto import KeyPair, sha256, verify
from ledger.messages.blocks import BlockHeader, block_hash, block_seal
from ledger.messages.lists import (
    ListHeader,
    SignedHeader,
    attestation,
    decode_header,
    encode_header,
    header_signing_bytes,
)
from ledger.types import ZERO_HASH, Epoch, Hash, Height
from registry import signer, watermarks
from registry.files import write_durably
from registry.keystore import derive
from registry.signer import (
    CLOCK_TOLERANCE_MS,
    YOUNG_MS,
    BlockSigner,
    HashChain,
    HeaderSigner,
    Known,
)
from registry.watermarks import (
    BLOCKS,
    HEADERS,
    Backup,
    Mark,
    SignerRefuses,
    SigningRole,
    Watermark,
    WatermarkNotWritten,
    Watermarks,
    import_backup,
)
from tests.factory import START_MS, Network
from tests.registry.factory import Clock, seed_of

GENESIS_HASH = sha256(b"a genesis file")
ONE, TWO = sha256(b"one"), sha256(b"two")
LINKS = 35
EPOCH_MS = 60_000
ATTESTOR: KeyPair = derive(seed_of("attestor"), "list")
PRODUCER: KeyPair = derive(seed_of("producer"), "producer")


@pytest.fixture(autouse=True)
def short_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real length takes a second to compute."""
    monkeypatch.setattr(signer, "CHAIN_LINKS", LINKS)
    monkeypatch.setattr(signer, "CHECKPOINT_LINKS", 16)


CLOCK: Final = Clock()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the machine."""
    CLOCK.ms, CLOCK.off_ms = START_MS, 0
    monkeypatch.setattr(signer, "time", CLOCK)
    return CLOCK


class Home:
    """The watermarks of a machine, and the signers that use them; `restart` makes them anew."""

    def __init__(self, folder: Path, network: Hash = GENESIS_HASH) -> None:
        self.held = Watermarks(folder / "watermarks", network)

    def headers(self) -> HeaderSigner:
        return HeaderSigner(seed_of("attestor"), self.held)

    def blocks(self) -> BlockSigner:
        return BlockSigner(seed_of("producer"), self.held)

    def mark(self, role: SigningRole = HEADERS) -> Watermark:
        return self.held.open(role, (ATTESTOR if role == HEADERS else PRODUCER).public)

    def restore(self, role: SigningRole, number: int, digest: Hash) -> None:
        """Have what a backup knows in place of whatever was there."""
        mark = self.mark(role)
        mark.path.unlink(missing_ok=True)
        key = (ATTESTOR if role == HEADERS else PRODUCER).public
        backup = Backup(1, self.held.network, (Mark(role.name.encode(), key, number, digest),))
        import_backup(self.held, backup)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def refuses(says: str, act: Callable[..., object], *arguments: Any, **named: Any) -> None:
    with pytest.raises(SignerRefuses, match=says):
        act(*arguments, **named)


# -------------------------------------------------------------------------------- writing


class Disk:
    """Fails the first durable write before or after it took effect."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, landed: bool) -> None:
        self._write = write_durably
        self._landed = landed
        self.failures = 1
        monkeypatch.setattr(watermarks, "write_durably", self.write)

    def write(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        if self.failures and not self._landed:
            self.failures -= 1
            raise OSError("no space left on device")
        self._write(path, data, mode)
        if self.failures:
            self.failures -= 1
            raise OSError("the folder could not be synced")


@pytest.mark.parametrize("landed", [False, True], ids=["failed", "failed but there"])
def test_no_signature_leaves_whose_watermark_could_not_be_written(
    monkeypatch: pytest.MonkeyPatch, home: Home, landed: bool
) -> None:
    signs = home.headers()
    Disk(monkeypatch, landed)
    with pytest.raises(WatermarkNotWritten, match=r"no space|could not be synced") as caught:
        sign(signs, header(5))
    assert str(home.mark().path) in str(caught.value)
    # the process dies here, and the next one meets another header for the same epoch
    restarted = home.headers()
    if landed:
        refuses("epoch 5 was signed already", sign, restarted, header(5, "other"))
        assert sign(restarted, header(5))
    else:
        assert sign(restarted, header(5, "other"))


@pytest.mark.parametrize("landed", [False, True], ids=["failed", "failed but there"])
def test_after_a_failed_write_the_same_process_can_sign(
    monkeypatch: pytest.MonkeyPatch, home: Home, landed: bool
) -> None:
    signs = home.headers()
    Disk(monkeypatch, landed)
    with pytest.raises(WatermarkNotWritten):
        sign(signs, header(5))
    if landed:
        refuses("epoch 5 was signed already", sign, signs, header(5, "other"))
    assert sign(signs, header(5))
    refuses("epoch 5 was signed already", sign, signs, header(5, "other"))
    assert home.mark().number == 5


def test_the_watermark_is_on_the_disk_before_the_signature_is_made(
    monkeypatch: pytest.MonkeyPatch, home: Home
) -> None:
    signs = home.headers()
    order: list[str] = []
    real_sync = os.fsync

    def fsync(handle: int) -> None:
        order.append("sync")
        real_sync(handle)

    def signed(*arguments: Any) -> bytes:
        order.append("sign")
        return crypto.sign(*arguments)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(signer, "sign", signed)
    sign(signs, header(5))
    # the file and the folder that names it, then the signature
    assert order == ["sync", "sync", "sign"]


# ------------------------------------------------------------------------------- headers


def header(epoch: Epoch, says: str = "", ms: int = START_MS) -> bytes:
    """A header that differs by what it says."""
    return encode_header(
        ListHeader(
            *(1, 1, 1, epoch, 10 * epoch, ms, ms + 10, ms + 20, 0, 0),
            *(sha256(says.encode()) for _ in range(9)),
        )
    )


def no_history(_epoch: Epoch) -> bytes | None:
    return None


def sign(
    signs: HeaderSigner,
    raw: bytes,
    header_of: Callable[[Epoch], bytes | None] = no_history,
    now_ms: int = START_MS,
    accepted: int = 0,
    attested: tuple[Epoch, ...] = (),
    start_ms: int = START_MS,
) -> bytes:
    """Sign with a replica's headers; those of the epochs `attested` bear this key's signature."""

    def frozen(epoch: Epoch) -> SignedHeader | None:
        ours = header_of(epoch)
        if ours is None:
            return None
        message = header_signing_bytes(GENESIS_HASH, ours)
        other = crypto.sign(PRODUCER, message)
        own = crypto.sign(ATTESTOR, message)
        return SignedHeader(ours, ((0, other), (3, own)) if epoch in attested else ((0, other),))

    CLOCK.ms = now_ms
    signature = signs.sign(raw, Known(frozen, accepted, EPOCH_MS, start_ms))
    assert verify(attestation(GENESIS_HASH, raw, signs.pair.public, signature))
    return signature


@pytest.mark.parametrize("restart", [False, True])
def test_one_epoch_has_one_signed_header(home: Home, restart: bool) -> None:
    signs = home.headers()
    signature = sign(signs, header(0))
    if restart:
        signs = home.headers()
    refuses("epoch 0 was signed already", sign, signs, header(0, "other"))
    assert sign(signs, header(0)) == signature


def test_a_later_header_extends_the_one_that_was_signed(home: Home) -> None:
    signs = home.headers()
    sign(signs, header(3))
    asked: list[Epoch] = []

    def ours(epoch: Epoch) -> bytes | None:
        asked.append(epoch)
        return header(epoch)

    assert sign(signs, header(4), ours)
    assert sign(signs, header(9), ours)
    assert asked == [3, 4]


@pytest.mark.parametrize(
    "header_of",
    [no_history, lambda epoch: header(epoch, "another history")],
    ids=["not in the history", "another header there"],
)
def test_a_header_that_does_not_extend_what_was_signed_is_refused(
    home: Home, header_of: Callable[[Epoch], bytes | None]
) -> None:
    signs = home.headers()
    sign(signs, header(3))
    refuses("epoch 3 that was signed is not in the history", sign, signs, header(4), header_of)
    assert home.mark().number == 3


def test_an_older_copy_of_the_ledger_is_refused(home: Home) -> None:
    signs = home.headers()
    sign(signs, header(8))
    refuses("an older copy of the ledger", sign, signs, header(7), header)
    refuses("an older copy of the ledger", sign, signs, header(0), header)


@pytest.mark.parametrize("off_ms", [-CLOCK_TOLERANCE_MS, CLOCK_TOLERANCE_MS])
def test_a_header_may_be_five_minutes_off_the_clock_and_no_more(home: Home, off_ms: int) -> None:
    signs = home.headers()
    further = off_ms + (1 if off_ms > 0 else -1)
    refuses("300001 ms off", sign, signs, header(1), no_history, START_MS + further)
    assert home.mark().number is None
    assert sign(signs, header(1), now_ms=START_MS + off_ms)


def test_signers_of_two_networks_do_not_sign_the_same_bytes(tmp_path: Path) -> None:
    signs = Home(tmp_path, sha256(b"another")).headers()
    signature = signs.sign(header(0), Known(lambda _: None, 0, EPOCH_MS, START_MS))
    other = attestation(GENESIS_HASH, header(0), signs.pair.public, signature)
    assert not verify(other)


# ------------------------------------------------------- headers without a certain watermark

START = 1_000
"""Epoch whose header is made when the process starts."""

LATEST = START + 2 * CLOCK_TOLERANCE_MS // EPOCH_MS
"""Newest header that may have been made by then, had the clocks been as wrong as they may be."""


def on_time(epoch: Epoch) -> bytes:
    """The header of a chain that was never late."""
    return header(epoch, ms=START_MS + (epoch - START) * EPOCH_MS)


def sign_on_time(signs: HeaderSigner, epoch: Epoch, **known: Any) -> bytes:
    raw = on_time(epoch)
    return sign(signs, raw, on_time, decode_header(raw).valid_after_ms, **known)


UNCERTAIN: dict[str, tuple[Callable[[Home], None], dict[str, Any]]] = {
    "lost, and attestations were accepted": (
        lambda home: None,
        {"accepted": 7, "attested": (3, 70, 997)},
    ),
    "lost, and an attestation stands in a frozen header": (
        lambda home: None,
        {"attested": (997,)},
    ),
    "lost, and the replica does not keep what was accepted": (
        lambda home: None,
        {"accepted": 1},
    ),
    "restored": (
        lambda home: home.restore(HEADERS, 900, sha256(on_time(900))),
        {},
    ),
    "restored, and more was accepted since": (
        lambda home: home.restore(HEADERS, 900, sha256(on_time(900))),
        {"accepted": 9, "attested": (950,)},
    ),
    "restored, from the moment before": (
        lambda home: home.restore(HEADERS, START, sha256(on_time(START))),
        {"accepted": 9, "attested": (950,)},
    ),
}


@pytest.mark.parametrize(("make", "known"), UNCERTAIN.values(), ids=UNCERTAIN.keys())
def test_what_may_have_been_signed_is_not_signed_until_that_is_impossible(
    home: Home,
    make: Callable[[Home], None],
    known: dict[str, Any],
) -> None:
    make(home)
    signs = home.headers()
    before = home.mark()
    for epoch in (START, START + 1, LATEST):
        says = f"may have signed up to epoch {LATEST} since: it signs again from epoch"
        refuses(says, sign_on_time, signs, epoch, **known)
    again = home.mark()
    assert (again.number, again.is_restored) == (before.number, before.is_restored)
    assert sign_on_time(signs, LATEST + 1, **known)
    again = home.mark()
    assert (again.number, again.is_restored) == (LATEST + 1, False)
    # it is certain again, after a restart too
    restarted = home.headers()
    refuses("was signed already", sign_on_time, restarted, LATEST, **known)
    assert sign_on_time(restarted, LATEST + 2, **known)


def test_a_restart_waits_from_its_own_start(home: Home, clock: Clock) -> None:
    home.restore(HEADERS, 900, sha256(on_time(900)))
    clock.ms += 5 * EPOCH_MS
    signs = home.headers()
    refuses(f"from epoch {LATEST + 6} on", sign_on_time, signs, LATEST + 5)
    assert sign_on_time(signs, LATEST + 6)


def test_a_chain_that_was_late_since_the_backup_is_waited_for(home: Home) -> None:
    """On another branch, epochs may have come in time, and been signed."""
    late = 50

    def ours(epoch: Epoch) -> bytes:
        return on_time(epoch) if epoch <= 900 else header(epoch, "late", START_MS)

    home.restore(HEADERS, 900, sha256(on_time(900)))
    signs = home.headers()
    for epoch in (START - late, START, LATEST):
        refuses(f"from epoch {LATEST + 1} on", sign, signs, ours(epoch), ours)
    assert sign(signs, ours(LATEST + 1), ours)


def test_what_stands_at_a_restored_watermark_is_not_signed_again(home: Home) -> None:
    home.restore(HEADERS, START, sha256(on_time(START)))
    signs = home.headers()
    refuses("is restored", sign_on_time, signs, START)
    refuses("is restored", sign_on_time, signs, START - 1)
    assert home.mark().is_restored


def test_a_restored_watermark_of_another_chain_is_never_followed(home: Home) -> None:
    home.restore(HEADERS, 900, ONE)
    signs = home.headers()
    refuses("epoch 900 that was signed is not in the history", sign_on_time, signs, LATEST + 99)


def test_a_key_that_never_signed_waits_for_nothing(home: Home) -> None:
    # others signed, this one did not
    assert sign_on_time(home.headers(), START)
    assert home.mark().number == START


def test_without_a_watermark_a_key_is_new_only_while_the_network_is(home: Home) -> None:
    """Nothing of what it signed has to stand in the history that it is shown."""
    young = START_MS - YOUNG_MS
    refuses(
        "put a backup back.*--new-watermark", sign, home.headers(), header(1), start_ms=young - 1
    )
    assert home.mark().number is None
    assert sign(home.headers(), header(1), start_ms=young)


def test_a_person_may_say_that_a_key_never_signed(home: Home) -> None:
    signs = HeaderSigner(seed_of("attestor"), home.held, is_vouched=True)
    assert sign(signs, header(1), start_ms=START_MS - YOUNG_MS - 1)


def test_nobody_vouches_for_a_key_that_is_known_to_have_signed(home: Home) -> None:
    signs = HeaderSigner(seed_of("attestor"), home.held, is_vouched=True)
    refuses("may have signed up to epoch", sign_on_time, signs, START, accepted=1)


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_was_wrong_at_the_start_does_not_move_the_limit(
    home: Home, clock: Clock, days: int
) -> None:
    """As on a machine that starts before it was told the time."""
    home.restore(HEADERS, 900, sha256(on_time(900)))
    clock.off_ms = days * 24 * 60 * 60 * 1000
    signs = home.headers()
    clock.off_ms = 0
    refuses(f"from epoch {LATEST + 1} on", sign_on_time, signs, LATEST)
    assert sign_on_time(signs, LATEST + 1)


def test_headers_of_a_real_chain_are_signed_one_after_the_other(tmp_path: Path) -> None:
    network = Network()
    home = Home(tmp_path, network.hash)
    signs = home.headers()
    seen: dict[Epoch, SignedHeader] = {}
    for _ in range(3):
        signed = network.chain.newest_header()
        fields = decode_header(signed.header)
        known = Known(seen.get, 0, network.params.epoch_ms, START_MS)
        CLOCK.ms = fields.valid_after_ms
        signs.sign(signed.header, known)
        seen[fields.epoch] = signed
        network.end_epoch()
    assert home.mark().number == 2


# --------------------------------------------------------------------------- hash chains


def test_a_hash_chain_reveals_each_preimage_down_to_its_secret() -> None:
    chain = HashChain(ONE)
    value = chain.tip
    for accepted in range(LINKS):
        reveal = chain.reveal(value, accepted)
        assert reveal is not None
        assert sha256(reveal) == value
        value = reveal
    assert value == ONE
    assert chain.reveal(value, LINKS) is None
    assert chain.reveal(value, LINKS + 1) is None


@pytest.mark.parametrize("accepted", [0, 1, 20, LINKS - 1])
def test_a_foreign_value_is_answered_by_nothing(accepted: int) -> None:
    chain, other = HashChain(ONE), HashChain(TWO)
    theirs = other.tip
    for link in range(accepted):
        theirs = other.reveal(theirs, link) or b""
    assert chain.reveal(theirs, accepted) is None
    # its own value at another place is none either
    assert chain.reveal(chain.tip, accepted + 1) is None


def test_what_was_not_accepted_yet_is_not_revealed() -> None:
    chain = HashChain(ONE)
    first = chain.reveal(chain.tip, 0)
    assert first is not None
    # the state says that nothing was accepted: the next preimage stays secret
    assert chain.reveal(first, 0) is None


# -------------------------------------------------------------------------------- blocks


def block(height: int, says: str = "") -> BlockHeader:
    return BlockHeader(height, START_MS + height, b"", ZERO_HASH, ZERO_HASH, sha256(says.encode()))


def hash_of(height: Height) -> Hash | None:
    """The blocks of a database."""
    return block_hash(block(height)) if height else None


def other_hash_of(height: Height) -> Hash | None:
    return block_hash(block(height, "other"))


def test_a_block_is_sealed_once_it_was_served(home: Home) -> None:
    signs = home.blocks()
    signs.check_start(0, hash_of, START_MS)
    seal = signs.seal(block(1))
    assert verify(block_seal(GENESIS_HASH, signs.pair.public, block(1), seal))
    signs.note(block(1))
    for height in (0, 1):
        refuses(f"block {height} was sealed already", signs.seal, block(height))
    assert signs.seal(block(2))


def test_a_block_that_was_never_served_may_be_made_again(home: Home) -> None:
    signs = home.blocks()
    signs.seal(block(1))
    restarted = home.blocks()
    restarted.check_start(0, hash_of, START_MS)
    assert restarted.seal(block(1, "other"))


def test_an_empty_database_is_a_first_start_only_while_the_network_is_new(
    home: Home, clock: Clock
) -> None:
    signs = home.blocks()
    for height in (0, 1):
        clock.ms = START_MS + YOUNG_MS
        signs.check_start(0, hash_of, START_MS)
        clock.ms += 1
        says = "is not there, .*--refill .*--new-watermark"
        refuses(says, signs.check_start, height, hash_of, START_MS)
    assert home.mark(BLOCKS).number is None
    signs.check_start(1, hash_of, START_MS, is_vouched=True)
    assert home.mark(BLOCKS).number == 1


def test_a_clock_that_was_behind_at_the_start_makes_no_network_new(
    home: Home, clock: Clock
) -> None:
    clock.off_ms = -365 * 24 * 60 * 60 * 1000
    signs = home.blocks()
    signs.check_start(0, hash_of, START_MS - YOUNG_MS)
    refuses("clock was wrong", signs.seal, block(1))
    signs.check_start(0, hash_of, START_MS - YOUNG_MS + 1)
    assert signs.seal(block(1))


def test_a_database_behind_what_was_served_is_refused_with_advice(home: Home) -> None:
    home.blocks().note(block(7))
    restarted = home.blocks()
    refuses(
        "served block 7, the database ends at 5: .*refill",
        restarted.check_start,
        5,
        hash_of,
        START_MS,
    )
    refuses("block 6 was sealed already", restarted.seal, block(6))


def test_another_block_at_the_height_that_was_served_is_refused(home: Home) -> None:
    home.blocks().note(block(7))
    restarted = home.blocks()
    refuses("an older copy", restarted.check_start, 7, other_hash_of, START_MS)
    restarted.check_start(7, hash_of, START_MS)


def test_a_block_in_flight_when_the_process_died_is_taken_over(home: Home) -> None:
    home.blocks().note(block(7))
    restarted = home.blocks()
    refuses("an older copy", restarted.check_start, 8, other_hash_of, START_MS)
    restarted.check_start(8, hash_of, START_MS)
    # and from then on it counts as served
    again = home.blocks()
    refuses("an older copy", again.check_start, 7, hash_of, START_MS)
    refuses("block 8 was sealed already", again.seal, block(8))


def test_a_watermark_that_is_an_older_copy_is_refused_with_advice(home: Home) -> None:
    home.blocks().note(block(7))
    restarted = home.blocks()
    says = "ends at 9, but the watermark .* at 7"
    refuses(says, restarted.check_start, 9, hash_of, START_MS)
    # nobody vouches for a database that another watermark contradicts
    refuses(says, restarted.check_start, 9, hash_of, START_MS, is_vouched=True)


def test_a_database_without_a_watermark_needs_somebody_who_vouches_for_it(home: Home) -> None:
    signs = home.blocks()
    assert not signs.is_certain
    refuses("is not there, .*refill .*new-watermark", signs.check_start, 9, hash_of, START_MS)
    signs.check_start(9, hash_of, START_MS, is_vouched=True)
    assert (signs.height, signs.is_certain) == (9, True)
    again = home.blocks()
    refuses("an older copy", again.check_start, 8, hash_of, START_MS)
    again.check_start(9, hash_of, START_MS)


@pytest.mark.parametrize("height", [7, 8, 9, 70])
def test_a_restored_watermark_needs_somebody_who_vouches_even_where_all_fits(
    home: Home, height: Height
) -> None:
    home.restore(BLOCKS, 7, block_hash(block(7)))
    signs = home.blocks()
    assert (signs.height, signs.is_certain) == (7, False)
    refuses("is restored, .*refill .*new-watermark", signs.check_start, height, hash_of, START_MS)
    refuses("is restored", signs.seal, block(height + 1))
    assert home.mark(BLOCKS).is_restored
    signs.check_start(height, hash_of, START_MS, is_vouched=True)
    assert (signs.height, signs.is_certain) == (height, True)
    assert signs.seal(block(height + 1))
    home.blocks().check_start(height, hash_of, START_MS)


@pytest.mark.parametrize(("height", "history"), [(6, hash_of), (7, other_hash_of)])
def test_nobody_vouches_for_what_a_restored_watermark_contradicts(
    home: Home, height: Height, history: Callable[[Height], Hash | None]
) -> None:
    home.restore(BLOCKS, 7, block_hash(block(7)))
    signs = home.blocks()
    refuses("served block 7", signs.check_start, height, history, START_MS, is_vouched=True)
    assert home.mark(BLOCKS).is_restored
