"""A signer never contradicts itself: not after a restart, a failed write, or an old copy."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ledger import crypto
from ledger.crypto import sha256, verify
from ledger.errors import Refusal
from ledger.messages.blocks import BlockHeader, block_hash, block_seal
from ledger.messages.lists import ListHeader, attestation, decode_header, encode_header
from ledger.types import ZERO_HASH, Epoch
from registry import files, signer
from registry.signer import (
    CLOCK_TOLERANCE_MS,
    BlockSigner,
    HashChain,
    HeaderSigner,
    SignerRefuses,
    Watermark,
)
from tests.factory import START_MS, Network
from tests.registry.factory import seed_of

GENESIS_HASH = sha256(b"a genesis file")
ONE, TWO = sha256(b"one"), sha256(b"two")
LINKS = 35


@pytest.fixture(autouse=True)
def short_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real length takes a second to compute."""
    monkeypatch.setattr(signer, "CHAIN_LINKS", LINKS)
    monkeypatch.setattr(signer, "CHECKPOINT_LINKS", 16)


def refuses(says: str, act: Callable[..., object], *arguments: Any) -> None:
    with pytest.raises(SignerRefuses, match=says):
        act(*arguments)


# ---------------------------------------------------------------------------- watermarks


def test_a_watermark_begins_at_nothing_and_comes_back_after_a_restart(tmp_path: Path) -> None:
    mark = Watermark(tmp_path / "mark")
    assert (mark.number, mark.hash) == (0, ZERO_HASH)
    mark.advance(3, ONE)
    again = Watermark(tmp_path / "mark")
    assert (mark.number, mark.hash) == (again.number, again.hash) == (3, ONE)
    assert (tmp_path / "mark").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("restart", [False, True])
def test_a_watermark_only_goes_forward(tmp_path: Path, restart: bool) -> None:
    mark = Watermark(tmp_path / "mark")
    mark.advance(3, ONE)
    if restart:
        mark = Watermark(tmp_path / "mark")
    mark.advance(3, ONE)
    for number, digest in ((3, TWO), (2, ONE), (0, ZERO_HASH)):
        refuses("3 was signed already", mark.advance, number, digest)
    assert (mark.number, mark.hash) == (3, ONE)
    mark.advance(9, TWO)
    assert Watermark(tmp_path / "mark").number == 9


@pytest.mark.parametrize("damage", [b"", b"\x92\x03", b"garbage" * 20])
def test_a_damaged_watermark_is_no_fresh_start(tmp_path: Path, damage: bytes) -> None:
    Watermark(tmp_path / "mark").advance(3, ONE)
    (tmp_path / "mark").write_bytes(damage)
    with pytest.raises(Refusal, match="watermark"):
        Watermark(tmp_path / "mark")


class Disk:
    """Fails the first durable write before or after it took effect, or lets the process die."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, landed: bool) -> None:
        self._write = files.write_durably
        self._landed = landed
        self.failures = 1
        monkeypatch.setattr(signer, "write_durably", self.write)

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
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, landed: bool
) -> None:
    signs = HeaderSigner(seed_of("attestor"), tmp_path / "headers")
    Disk(monkeypatch, landed)
    with pytest.raises(OSError, match=r"no space|could not be synced"):
        sign(signs, header(5))
    # the process dies here, and the next one meets another header for the same epoch
    restarted = HeaderSigner(seed_of("attestor"), tmp_path / "headers")
    if landed:
        refuses("6 was signed already", sign, restarted, header(5, "other"))
        assert sign(restarted, header(5))
    else:
        assert sign(restarted, header(5, "other"))


@pytest.mark.parametrize("landed", [False, True], ids=["failed", "failed but there"])
def test_after_a_failed_write_the_same_process_can_sign(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, landed: bool
) -> None:
    signs = HeaderSigner(seed_of("attestor"), tmp_path / "headers")
    Disk(monkeypatch, landed)
    with pytest.raises(OSError, match=r"no space|could not be synced"):
        sign(signs, header(5))
    assert sign(signs, header(5))
    assert Watermark(tmp_path / "headers").number == 6


def test_the_watermark_is_on_the_disk_before_the_signature_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
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
    sign(HeaderSigner(seed_of("attestor"), tmp_path / "headers"), header(5))
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
) -> bytes:
    signature = signs.sign(GENESIS_HASH, raw, header_of, now_ms)
    assert verify(attestation(GENESIS_HASH, raw, signs.pair.public, signature))
    return signature


@pytest.mark.parametrize("restart", [False, True])
def test_one_epoch_has_one_signed_header(tmp_path: Path, restart: bool) -> None:
    signs = HeaderSigner(seed_of("attestor"), tmp_path / "headers")
    signature = sign(signs, header(0))
    if restart:
        signs = HeaderSigner(seed_of("attestor"), tmp_path / "headers")
    refuses("1 was signed already", sign, signs, header(0, "other"))
    assert sign(signs, header(0)) == signature


def test_a_later_header_extends_the_one_that_was_signed(tmp_path: Path) -> None:
    signs = HeaderSigner(seed_of("attestor"), tmp_path / "headers")
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
    tmp_path: Path, header_of: Callable[[Epoch], bytes | None]
) -> None:
    signs = HeaderSigner(seed_of("attestor"), tmp_path / "headers")
    sign(signs, header(3))
    refuses("epoch 3 that was signed is not in the history", sign, signs, header(4), header_of)
    assert Watermark(tmp_path / "headers").number == 4


def test_an_older_copy_of_the_ledger_is_refused(tmp_path: Path) -> None:
    signs = HeaderSigner(seed_of("attestor"), tmp_path / "headers")
    sign(signs, header(8))
    refuses("an older copy of the ledger", sign, signs, header(7), header)
    refuses("an older copy of the ledger", sign, signs, header(0), header)


@pytest.mark.parametrize("off_ms", [-CLOCK_TOLERANCE_MS, CLOCK_TOLERANCE_MS])
def test_a_header_may_be_five_minutes_off_the_clock_and_no_more(
    tmp_path: Path, off_ms: int
) -> None:
    signs = HeaderSigner(seed_of("attestor"), tmp_path / "headers")
    further = off_ms + (1 if off_ms > 0 else -1)
    refuses("300001 ms off", sign, signs, header(1), no_history, START_MS + further)
    assert Watermark(tmp_path / "headers").number == 0
    assert sign(signs, header(1), now_ms=START_MS + off_ms)


def test_signers_of_two_networks_do_not_sign_the_same_bytes(tmp_path: Path) -> None:
    signs = HeaderSigner(seed_of("attestor"), tmp_path / "headers")
    signature = signs.sign(GENESIS_HASH, header(0), no_history, START_MS)
    other = attestation(sha256(b"another"), header(0), signs.pair.public, signature)
    assert not verify(other)


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


def test_a_block_is_sealed_once_it_was_served(tmp_path: Path) -> None:
    signs = BlockSigner(seed_of("producer"), tmp_path / "blocks")
    signs.check_start(0, GENESIS_HASH, ZERO_HASH)
    seal = signs.seal(GENESIS_HASH, block(1))
    assert verify(block_seal(GENESIS_HASH, signs.pair.public, block(1), seal))
    signs.note(block(1))
    for height in (0, 1):
        refuses(f"block {height} was sealed already", signs.seal, GENESIS_HASH, block(height))
    assert signs.seal(GENESIS_HASH, block(2))


def test_a_block_that_was_never_served_may_be_made_again(tmp_path: Path) -> None:
    signs = BlockSigner(seed_of("producer"), tmp_path / "blocks")
    signs.seal(GENESIS_HASH, block(1))
    restarted = BlockSigner(seed_of("producer"), tmp_path / "blocks")
    restarted.check_start(0, GENESIS_HASH, ZERO_HASH)
    assert restarted.seal(GENESIS_HASH, block(1, "other"))


def test_a_database_behind_what_was_served_is_refused_with_advice(tmp_path: Path) -> None:
    signs = BlockSigner(seed_of("producer"), tmp_path / "blocks")
    signs.note(block(7))
    restarted = BlockSigner(seed_of("producer"), tmp_path / "blocks")
    refuses(
        "served block 7, the database ends at 5: .*refill",
        *(restarted.check_start, 5, block_hash(block(5)), block_hash(block(4))),
    )
    refuses("block 6 was sealed already", restarted.seal, GENESIS_HASH, block(6))


def test_another_block_at_the_height_that_was_served_is_refused(tmp_path: Path) -> None:
    signs = BlockSigner(seed_of("producer"), tmp_path / "blocks")
    signs.note(block(7))
    restarted = BlockSigner(seed_of("producer"), tmp_path / "blocks")
    refuses("an older copy", restarted.check_start, 7, block_hash(block(7, "other")), ONE)
    restarted.check_start(7, block_hash(block(7)), block_hash(block(6)))


def test_a_block_in_flight_when_the_process_died_is_taken_over(tmp_path: Path) -> None:
    signs = BlockSigner(seed_of("producer"), tmp_path / "blocks")
    signs.note(block(7))
    restarted = BlockSigner(seed_of("producer"), tmp_path / "blocks")
    refuses(
        "an older copy",
        *(restarted.check_start, 8, block_hash(block(8)), block_hash(block(7, "other"))),
    )
    restarted.check_start(8, block_hash(block(8)), block_hash(block(7)))
    # and from then on it counts as served
    again = BlockSigner(seed_of("producer"), tmp_path / "blocks")
    refuses("an older copy", again.check_start, 7, block_hash(block(7)), ONE)
    refuses("block 8 was sealed already", again.seal, GENESIS_HASH, block(8))


def test_a_watermark_that_is_an_older_copy_is_refused_with_advice(tmp_path: Path) -> None:
    signs = BlockSigner(seed_of("producer"), tmp_path / "blocks")
    signs.note(block(7))
    restarted = BlockSigner(seed_of("producer"), tmp_path / "blocks")
    refuses("ends at 9, but the watermark .* at 7", restarted.check_start, 9, ONE, ONE)
    # nobody vouches for a database that another watermark contradicts
    says = "ends at 9, but the watermark"
    with pytest.raises(SignerRefuses, match=says):
        restarted.check_start(9, ONE, ONE, is_new=True)


def test_a_database_without_a_watermark_needs_somebody_who_vouches_for_it(tmp_path: Path) -> None:
    signs = BlockSigner(seed_of("producer"), tmp_path / "blocks")
    refuses("new-watermark", signs.check_start, 9, block_hash(block(9)), ONE)
    signs.check_start(9, block_hash(block(9)), ONE, is_new=True)
    assert signs.height == 9
    again = BlockSigner(seed_of("producer"), tmp_path / "blocks")
    refuses("an older copy", again.check_start, 8, block_hash(block(8)), ONE)
    again.check_start(9, block_hash(block(9)), ONE)


def test_headers_of_a_real_chain_are_signed_one_after_the_other(tmp_path: Path) -> None:
    network = Network()
    signs = HeaderSigner(seed_of("attestor"), tmp_path / "headers")
    seen: dict[Epoch, bytes] = {}
    for _ in range(3):
        raw = network.chain.newest_header().header
        fields = decode_header(raw)
        signs.sign(network.hash, raw, seen.get, fields.valid_after_ms)
        seen[fields.epoch] = raw
        network.end_epoch()
    assert Watermark(tmp_path / "headers").number == 3
