"""The cache: what a client still knows after a restart, and what cannot be put into it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.client import TrustedLists
from registry.client.cache import ANCHOR, EVIDENCE, FULL, GENESIS, LOCK, ListCache, read_bounded
from tests.flip import flip
from tests.registry.client.clients import refused
from tests.registry.client.factory import (
    EPOCH,
    EPOCH_MS,
    NOW_MS,
    MadeList,
    make_entries,
    make_genesis,
    make_list,
)

OLD, MADE, NEW = (make_list(EPOCH + step, entries=make_entries(21 + step)) for step in (-1, 0, 1))
LATER_MS = NOW_MS + EPOCH_MS


def restart(folder: Path, now_ms: int = LATER_MS, genesis: bytes = MADE.genesis) -> TrustedLists:
    """A client that has just been started."""
    trusted = TrustedLists(genesis, now_ms)
    ListCache(folder, genesis).resume(trusted)
    return trusted


def keep(folder: Path, made: MadeList, *, with_list: bool = True) -> None:
    """Let a client verify a list, keep it, and end."""
    trusted = TrustedLists(made.genesis, LATER_MS)
    trusted.update(made.signed, made.path())
    ListCache(folder, made.genesis).save(trusted, made.full if with_list else None)


def test_without_a_folder_there_is_nothing_and_none_is_made(tmp_path: Path) -> None:
    assert restart(tmp_path / "cache").is_empty
    assert not (tmp_path / "cache").exists()


def test_a_client_goes_on_where_it_stopped(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "cache"
    keep(folder, MADE)
    trusted = restart(folder)
    assert trusted.header == MADE.header
    assert trusted.entries == MADE.entries
    assert sorted(path.name for path in folder.iterdir()) == [ANCHOR, FULL, GENESIS, LOCK]
    assert (folder / GENESIS).read_bytes() == MADE.genesis


def test_roll_back_is_refused_after_a_restart(tmp_path: Path) -> None:
    keep(tmp_path, MADE)
    trusted = restart(tmp_path)
    refused("roll_back", lambda: trusted.update(OLD.signed))


def test_roll_back_is_refused_after_the_list_has_expired(tmp_path: Path) -> None:
    keep(tmp_path, MADE)
    trusted = restart(tmp_path, now_ms=MADE.header.valid_until_ms + 1)
    assert trusted.needs_list
    refused("roll_back", lambda: trusted.update(OLD.signed))
    refused("list_expired", lambda: trusted.entries)


def test_a_header_whose_list_did_not_come_is_kept(tmp_path: Path) -> None:
    keep(tmp_path, MADE)
    keep(tmp_path, NEW, with_list=False)
    trusted = restart(tmp_path)
    assert trusted.header == NEW.header
    assert trusted.needs_list


def test_a_list_that_stayed_the_same_needs_no_file_of_its_own(tmp_path: Path) -> None:
    keep(tmp_path, MADE)
    keep(tmp_path, make_list(EPOCH + 1, entries=MADE.entries), with_list=False)
    trusted = restart(tmp_path)
    assert (trusted.header.epoch, trusted.entries) == (EPOCH + 1, MADE.entries)


def test_a_newer_header_does_not_give_way(tmp_path: Path) -> None:
    keep(tmp_path, NEW)
    keep(tmp_path, MADE)
    trusted = restart(tmp_path)
    assert trusted.header == NEW.header
    assert trusted.entries == NEW.entries


def test_more_signatures_are_kept(tmp_path: Path) -> None:
    weights = (1, 1, 1, 1)
    few, all_of_them = (make_list(weights=weights, signers=who) for who in ((0, 1, 2), range(4)))
    keep(tmp_path, few)
    keep(tmp_path, all_of_them)
    trusted = restart(tmp_path, genesis=few.genesis)
    assert trusted.signers.signed == 4


def test_the_folder_of_another_network_is_refused(tmp_path: Path) -> None:
    keep(tmp_path, MADE)
    refused("bad_genesis", lambda: restart(tmp_path, genesis=make_genesis((1, 1))))


DAMAGES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "empty": ("bad_path", lambda raw: b""),
    "cut off": ("bad_path", lambda raw: raw[:-1]),
    "another format": ("unknown_format", lambda raw: b"\2" + raw[1:]),
    "another signature": ("bad_signature", lambda raw: raw[:400] + b"\0" + raw[401:]),
    "another header": ("bad_signature", lambda raw: raw[:200] + b"\0" + raw[201:]),
    "another set": ("wrong_set", lambda raw: raw[:560] + b"\0" + raw[561:]),
    "another history": ("bad_history", flip),
    "endless": ("too_large", lambda raw: raw + bytes(100_000)),
}


@pytest.mark.parametrize(("code", "change"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_header_is_refused_and_named(
    tmp_path: Path, code: str, change: Callable[[bytes], bytes]
) -> None:
    keep(tmp_path, MADE)
    (tmp_path / ANCHOR).write_bytes(change((tmp_path / ANCHOR).read_bytes()))
    refusal = refused(code, lambda: restart(tmp_path))
    assert str(tmp_path / ANCHOR) in refusal.__notes__[0]


@pytest.mark.parametrize("damaged", [b"", MADE.full[:-1], NEW.full, bytes(100)])
def test_a_damaged_list_is_fetched_again(tmp_path: Path, damaged: bytes) -> None:
    keep(tmp_path, MADE)
    (tmp_path / FULL).write_bytes(damaged)
    trusted = restart(tmp_path)
    assert trusted.header == MADE.header
    assert trusted.needs_list


def test_a_fork_is_remembered_until_a_person_takes_the_evidence_away(tmp_path: Path) -> None:
    other = make_list(entries=MADE.entries, state_root=bytes(32))
    keep(tmp_path, MADE)
    trusted = restart(tmp_path)
    refused("fork", lambda: trusted.update(other.signed))
    assert trusted.evidence is not None
    ListCache(tmp_path, MADE.genesis).save_evidence(trusted.evidence)
    assert [(tmp_path / name).read_bytes() for name in EVIDENCE] == [MADE.signed, other.signed]

    refusal = refused("fork", lambda: restart(tmp_path))
    assert str(tmp_path / EVIDENCE[0]) in refusal.__notes__[0]
    (tmp_path / EVIDENCE[0]).unlink()
    refused("fork", lambda: restart(tmp_path))
    (tmp_path / EVIDENCE[1]).unlink()
    assert restart(tmp_path).header == MADE.header


# --- writes that fail -----------------------------------------------------------------------------


class PowerCut(OSError):
    """The disk is gone."""


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_what_was_kept_stays_if_a_write_fails(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path, MADE)

    def fail(*_: object) -> None:
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(PowerCut):
            keep(tmp_path, NEW)
    assert sorted(path.name for path in tmp_path.iterdir()) == [ANCHOR, FULL, GENESIS, LOCK]
    trusted = restart(tmp_path)
    assert trusted.header == MADE.header
    assert trusted.entries == MADE.entries


def test_a_write_that_failed_but_is_there_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path, MADE)
    replace = os.replace

    def fail_afterwards(source: str, target: Path) -> None:
        replace(source, target)
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail_afterwards)
        with pytest.raises(OSError):  # noqa: PT011
            keep(tmp_path, NEW)
    trusted = restart(tmp_path)
    assert trusted.header == NEW.header
    assert trusted.needs_list
    keep(tmp_path, NEW)
    assert restart(tmp_path).entries == NEW.entries


def test_files_are_read_up_to_their_bound(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(10))
    assert read_bounded(path, 10) == bytes(10)
    refused("too_large", lambda: read_bounded(path, 9))
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "none", 9)
