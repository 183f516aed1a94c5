"""What counts as a finding, what is kept of it, and how inputs are shared out: without atheris."""

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import msgspec
import pytest

from ledger.codec import Codec, Record, encode
from ledger.errors import Refusal
from tests.fuzzing import campaign, judge
from tests.fuzzing.campaign import fuzz_all
from tests.fuzzing.judge import Broken
from tests.fuzzing.mutators import find_mutator, is_json, is_record, mutate_by_form
from tests.fuzzing.target import Counts, Folders, place_of
from tests.mutations.rows import Decoder, of_codec


class Pair(Record, frozen=True):
    number: int
    name: bytes


PAIR = Codec[Pair](Pair, "pair")
RAW = encode(Pair(7, b"name"))


def fail(raw: bytes) -> None:
    raise KeyError(len(raw))


CALLS = itertools.count()


def test_what_a_decoder_takes_and_what_it_refuses() -> None:
    assert judge.judge(of_codec(RAW, PAIR), RAW)
    for raw in (b"", RAW[:-1], RAW + b"\0", b"\x92\xcc\x07\xc4\0"):
        assert not judge.judge(of_codec(RAW, PAIR), raw)


def test_what_is_no_number_is_the_same_when_it_is_read_again() -> None:
    raw = bytes.fromhex("cbffffffffffffffff")
    assert judge.judge(Decoder(raw, msgspec.msgpack.decode, msgspec.MsgspecError), raw)


BROKEN: dict[str, tuple[Decoder, type[Exception], str]] = {
    "an error that it does not declare": (Decoder(RAW, fail), KeyError, "8"),
    "a refusal of another decoder": (Decoder(RAW, PAIR.decode, KeyError), Refusal, "canonical"),
    "another answer": (Decoder(RAW, lambda _raw: next(CALLS)), Broken, "asked again"),
    "another encoding": (
        Decoder(RAW, PAIR.decode, encode=lambda pair: encode(pair) + b"\0"), Broken, "is written"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("decoder", "error", "says"), BROKEN.values(), ids=BROKEN)
def test_what_no_decoder_may_do(decoder: Decoder, error: type[Exception], says: str) -> None:
    raw = RAW[:-1] if error is Refusal else RAW
    with pytest.raises(error, match=says):
        judge.judge(decoder, raw)


@pytest.mark.parametrize(("limit", "says"), [("SLOW_S", "0.0 s"), ("ROOM_BYTES", "0 MiB")])
def test_time_and_room_are_limited(monkeypatch: pytest.MonkeyPatch, limit: str, says: str) -> None:
    monkeypatch.setattr(judge, limit, -1)
    with pytest.raises(Broken, match=f"it takes {says}"):
        judge.judge(of_codec(RAW, PAIR), RAW)


def test_room_is_that_of_one_input() -> None:
    filled = Decoder(RAW, lambda raw: len(b"\1" * (judge.ROOM_BYTES + 2**26)))
    with pytest.raises(Broken, match="MiB"):
        judge.judge(filled, RAW)


# ---- what is kept ----


def caught(act: Callable[[], Any]) -> Exception:
    try:
        act()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_of_each_place_the_shortest_input_is_kept(tmp_path: Path) -> None:
    folders, since = Folders(tmp_path, "table of {"), time.time() - 1
    refused = caught(lambda: PAIR.decode(b""))
    place = f"Refusal-{place_of(refused)}"
    assert place.startswith("Refusal-ledger.codec-")
    for raw in (b"longer", b"short", b"longest"):
        folders.keep(refused, raw)
    folders.keep(caught(lambda: fail(b"")), b"other")
    kept = {path.name: path.read_bytes() for path in folders.findings.glob("*[!t]")}
    assert kept == {place: b"short", "KeyError-tests": b"other"}
    assert "ledger/codec.py" in (folders.findings / f"{place}.txt").read_text()
    assert folders.findings == tmp_path / "findings" / "table-of-7b"
    assert folders.count_findings(since) == 2
    assert folders.count_findings(time.time() + 60) == 0


# ---- mutations ----

JSON = b'{"height":7,"names":["a","b"],"more":{"c":null}}'


@pytest.mark.parametrize(("taken", "is_one"), [(RAW, is_record), (JSON, is_json)])
def test_mutations_keep_the_form(taken: bytes, is_one: Callable[[bytes], bool]) -> None:
    made = [mutate_by_form(Random(seed), taken, taken) for seed in range(400)]
    assert made == [mutate_by_form(Random(seed), taken, taken) for seed in range(400)]
    mutants = [raw for raw in made if raw is not None]
    # half of them are left to libFuzzer; of the others, more than a third have the form still
    assert 150 < len(mutants) < 250
    assert sum(map(is_one, mutants)) > len(mutants) / 3
    assert len(set(mutants)) > len(mutants) / 3
    # what has lost its form is begun anew from what the decoder takes
    lost = [mutate_by_form(Random(seed), b"\xc1", taken) for seed in range(400)]
    assert lost == made


@pytest.mark.parametrize("raw", [b"", b"\x01", b"\x90", b"\x91\xc0", b"[]", b"\xc1", b"a text"])
def test_other_bytes_are_left_to_libfuzzer(raw: bytes) -> None:
    assert find_mutator(raw) is None
    assert all(mutate_by_form(Random(seed), raw, raw) is None for seed in range(20))


def test_records_hold_numbers_and_bytes() -> None:
    others: list[Any] = [[1.5], [None], ["text"], [True], [{}], [[b"", [0.5]]]]
    assert not any(is_record(msgspec.msgpack.encode(values)) for values in others)
    assert is_record(msgspec.msgpack.encode([b"", [1, [-1]]]))


# ---- shares ----


def stand_in(
    decoder: Decoder, folders: Folders, counts: Counts, runs: int, _seconds: int
) -> NoReturn:
    """Try what it is told; a decoder of nothing takes no more than three inputs, and breaks off."""
    most = runs if decoder.raw else 3
    for _ in range(most):
        counts.add(bool(decoder.raw))
    folders.log.write_bytes(b"#2\tINITED cov: 4 ft: 4\n#9\tDONE   cov: 12 ft: 4\n")
    os._exit(0 if decoder.raw else 70)


@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_what_one_leaves_undone_goes_to_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, jobs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(campaign, "fuzz", stand_in)
    raws = {"a": RAW, "b": b"", "c": RAW}
    targets = {name: Decoder(raw, PAIR.decode) for name, raw in raws.items()}
    rows = fuzz_all(targets, tmp_path, 300, 60, jobs)
    assert [row.counts.read() for row in rows] == [(149, 149), (3, 0), (149, 149)]
    assert [row.edges for row in rows] == [12] * 3
    assert [row.is_over for row in rows] == [False, True, False]
    campaign.print_table(rows, 1.0)
    out, err = capsys.readouterr()
    assert "b: 3 inputs, ended with code 70\n" in err
    assert out.splitlines()[-1] == "301 inputs on 3 targets in 1 s: 0 findings"


def test_nobody_goes_on_once_his_time_is_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(campaign, "fuzz", stand_in)
    rows = fuzz_all({"b": Decoder(RAW, PAIR.decode)}, tmp_path, 10, 0, 1)
    assert [(row.inputs, row.is_over) for row in rows] == [(10, True)]
