"""Every store keeps the same promises; then what the one for tests adds."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import Misuse
from ledger.leveldb import LevelStore
from ledger.store import Crashed, CrashStore, MemoryStore, Store

Opener: TypeAlias = Callable[[Path], Store]

OPENERS: dict[str, Opener] = {
    "memory": lambda _: MemoryStore(),
    "crash": lambda _: CrashStore(),
    "leveldb": lambda path: LevelStore(path / "db"),
}

LETTERS = {bytes([letter]): b"value " + bytes([letter]) for letter in b"abcde"}


@pytest.fixture(params=sorted(OPENERS))
def opener(request: pytest.FixtureRequest) -> Opener:
    return OPENERS[request.param]


@pytest.fixture
def store(opener: Opener, tmp_path: Path) -> Iterator[Store]:
    opened = opener(tmp_path)
    yield opened
    opened.close()


# ---- what every store promises ----


def test_a_record_is_there_until_it_is_deleted(store: Store) -> None:
    assert store.get(b"key") is None
    store.write({b"key": b"one"})
    assert store.get(b"key") == b"one"
    store.write({b"key": b"two"}, sync=False)
    assert store.get(b"key") == b"two"
    store.write({b"key": None, b"never there": None})
    assert store.get(b"key") is None
    assert list(store.items()) == []


def test_a_deleted_key_can_come_back(store: Store) -> None:
    store.write({b"a": b"1", b"b": b"1"})
    for value in (b"2", b"3"):
        store.write({b"a": None})
        assert [key for key, _ in store.items()] == [b"b"]
        store.write({b"a": value})
        assert list(store.items()) == [(b"a", value), (b"b", b"1")]
    store.write({b"a": None})
    store.write({b"a": b"4"})
    assert list(store.items()) == [(b"a", b"4"), (b"b", b"1")]


def test_empty_keys_and_values_are_records_too(store: Store) -> None:
    store.write({b"": b"at the empty key", b"a": b""})
    assert store.get(b"") == b"at the empty key"
    assert store.get(b"a") == b""
    assert list(store.items()) == [(b"", b"at the empty key"), (b"a", b"")]


def test_an_empty_batch_changes_nothing(store: Store) -> None:
    store.write({})
    assert list(store.items()) == []


def test_a_batch_deletes_and_writes(store: Store) -> None:
    store.write(dict(LETTERS))
    store.write({b"a": None, b"b": b"new", b"f": b"more"})
    assert [key for key, _ in store.items()] == [b"b", b"c", b"d", b"e", b"f"]
    assert store.get(b"b") == b"new"


@pytest.mark.parametrize("stop", [None, b"", b"a", b"b", b"bb", b"c", b"e", b"ee", b"zz"])
@pytest.mark.parametrize("start", [b"", b"0", b"a", b"b", b"bb", b"e", b"f"])
def test_items_start_inclusive_and_stop_exclusive(
    store: Store, start: bytes, stop: bytes | None
) -> None:
    store.write(dict(LETTERS))
    expected = [
        (key, value)
        for key, value in sorted(LETTERS.items())
        if start <= key and (stop is None or key < stop)
    ]
    assert list(store.items(start, stop)) == expected
    assert list(store.items(start, stop, reverse=True)) == expected[::-1]


def test_keys_are_ordered_as_bytes_and_shorter_first(store: Store) -> None:
    keys = [b"\xff", b"a\x00", b"a", b"\x00", b"\x7f", b"\x80", b"aa", b"", b"\xff\xff"]
    store.write(dict.fromkeys(keys, b"x"))
    assert [key for key, _ in store.items()] == sorted(keys)
    assert [key for key, _ in store.items(reverse=True)] == sorted(keys, reverse=True)


def test_an_iterator_does_not_see_later_writes(store: Store) -> None:
    store.write(dict(LETTERS))
    not_begun = store.items()
    begun = store.items(reverse=True)
    assert next(begun)[0] == b"e"
    store.write({b"a": None, b"b": b"other", b"aa": b"new"})
    assert dict(not_begun) == LETTERS
    assert [key for key, _ in begun] == [b"d", b"c", b"b", b"a"]
    assert dict(store.items())[b"b"] == b"other"


def test_an_iterator_may_be_left_in_the_middle(store: Store) -> None:
    store.write(dict(LETTERS))
    items = store.items()
    assert next(items)[0] == b"a"
    store.write({b"a": None})
    assert next(store.items(reverse=True))[0] == b"e"
    assert next(store.items())[0] == b"b"


def test_a_snapshot_does_not_change(store: Store) -> None:
    store.write(dict(LETTERS))
    snapshot = store.snapshot()
    store.write({b"a": None, b"b": b"other", b"bb": b"new"}, sync=False)
    later = store.snapshot()
    store.write({b"c": None})
    assert dict(snapshot.items()) == LETTERS
    assert snapshot.get(b"a") == LETTERS[b"a"]
    assert snapshot.get(b"bb") is None
    assert [key for key, _ in snapshot.items(b"b", b"d", reverse=True)] == [b"c", b"b"]
    assert [key for key, _ in later.items()] == [b"b", b"bb", b"c", b"d", b"e"]
    assert [key for key, _ in store.items()] == [b"b", b"bb", b"d", b"e"]
    snapshot.close()
    snapshot.close()
    assert later.get(b"b") == b"other"
    later.close()


def test_a_snapshot_holds_while_another_thread_writes(store: Store) -> None:
    store.write({b"%d" % number: b"old" for number in range(100)})
    snapshot = store.snapshot()

    def write_all() -> None:
        for number in range(100):
            store.write({b"%d" % number: b"new", b"extra %d" % number: b"new"}, sync=False)

    with ThreadPoolExecutor(max_workers=1) as writer:
        written = writer.submit(write_all)
        while not written.done():
            content = dict(snapshot.items())
            assert len(content) == 100
            assert b"".join(content.values()) == b"old" * 100
        written.result()
    snapshot.close()
    assert len(list(store.items())) == 200


def test_what_is_closed_cannot_be_used(store: Store) -> None:
    store.write(dict(LETTERS))
    snapshot = store.snapshot()
    snapshot.close()
    store.close()
    store.close()
    for use in (
        lambda: snapshot.get(b"a"),
        lambda: snapshot.items(),
        lambda: store.get(b"a"),
        lambda: store.items(),
        lambda: store.write({}),
        lambda: store.snapshot(),
    ):
        with pytest.raises(Misuse):
            use()


KEYS = st.binary(max_size=2)
BATCHES = st.dictionaries(KEYS, st.none() | st.binary(max_size=3), max_size=6)
STEPS = st.lists(
    st.tuples(st.just("write"), BATCHES) | st.tuples(st.just("look"), KEYS)
    | st.tuples(st.just("snapshot"), KEYS) | st.tuples(st.just("close"), KEYS),
    max_size=30,
)  # fmt: skip


@pytest.mark.parametrize("name", sorted(OPENERS))
@given(steps=STEPS)
def test_it_behaves_like_a_dict(name: str, steps: list[tuple[str, object]]) -> None:
    with TemporaryDirectory() as folder:
        store = OPENERS[name](Path(folder))
        model: dict[bytes, bytes] = {}
        pictures = []
        for step, argument in steps:
            if isinstance(argument, dict):
                store.write(argument, sync=False)
                model = updated(model, argument)
            elif isinstance(argument, bytes) and step == "look":
                expected = [item for item in sorted(model.items()) if item[0] >= argument]
                assert list(store.items(argument)) == expected
                assert store.get(argument) == model.get(argument)
            elif step == "snapshot":
                pictures.append((store.snapshot(), model))
            elif pictures:
                pictures.pop()[0].close()
        for snapshot, content in pictures:
            assert list(snapshot.items()) == sorted(content.items())
        assert list(store.items(reverse=True)) == sorted(model.items(), reverse=True)
        store.close()


def updated(model: dict[bytes, bytes], batch: dict[bytes, bytes | None]) -> dict[bytes, bytes]:
    """A new dictionary with the batch in it."""
    changed: dict[bytes, bytes | None] = {**model, **batch}
    return {key: value for key, value in changed.items() if value is not None}


# ---- the crash store ----


def test_unsynced_batches_are_lost_in_a_crash() -> None:
    store = CrashStore({b"a": b"0", b"b": b"0"})
    store.write({b"a": b"1", b"b": None})
    store.write({b"a": b"2", b"c": b"2"}, sync=False)
    store.write({b"d": b"3", b"a": None}, sync=False)
    assert dict(store.items()) == {b"c": b"2", b"d": b"3"}
    assert dict(store.survivor().items()) == {b"a": b"1"}
    assert dict(store.survivor(unsynced=1).items()) == {b"a": b"2", b"c": b"2"}
    assert dict(store.survivor(unsynced=2).items()) == {b"c": b"2", b"d": b"3"}


def test_a_synced_batch_makes_durable_what_came_before() -> None:
    store = CrashStore()
    store.write({b"a": b"1"}, sync=False)
    store.write({b"b": b"2"}, sync=True)
    store.write({b"c": b"3"}, sync=False)
    assert dict(store.survivor().items()) == {b"a": b"1", b"b": b"2"}


@pytest.mark.parametrize(
    ("point", "sync", "survives"),
    [
        ("store.before_write", True, {b"a": b"0"}),
        ("store.after_write", True, {b"a": b"1"}),
        ("store.after_write", False, {b"a": b"0"}),
    ],
)
def test_it_dies_at_the_armed_point(point: str, sync: bool, survives: dict[bytes, bytes]) -> None:
    store = CrashStore({b"a": b"0"})
    store.arm(point)
    with pytest.raises(Crashed, match=point):
        store.write({b"a": b"1"}, sync=sync)
    assert dict(store.survivor().items()) == survives


def test_it_dies_the_nth_time_counted_from_arming() -> None:
    store = CrashStore()
    store.at("commit")
    store.arm("commit", nth=2)
    store.at("other")
    store.at("commit")
    with pytest.raises(Crashed):
        store.at("commit")
    assert store.passed == ["commit", "other", "commit", "commit"]


def test_everything_but_the_survivor_is_dead_after_a_crash() -> None:
    store = CrashStore({b"a": b"0", b"b": b"0"})
    snapshot, begun = store.snapshot(), store.items()
    next(begun)
    store.arm("here")
    with pytest.raises(Crashed):
        store.at("here")
    for use in (
        lambda: store.get(b"a"),
        lambda: store.items(),
        lambda: next(begun),
        lambda: store.write({}),
        lambda: store.snapshot(),
        lambda: store.at("elsewhere"),
        lambda: store.close(),
        lambda: snapshot.get(b"a"),
        lambda: snapshot.items(),
        lambda: snapshot.close(),
    ):
        with pytest.raises(Crashed, match="here"):
            use()
    survivor = store.survivor()
    survivor.at("here")
    assert survivor.get(b"a") == b"0"


def test_a_death_is_no_exception_that_somebody_handles() -> None:
    assert not issubclass(Crashed, Exception)


def test_a_point_is_armed_for_a_time_that_comes() -> None:
    with pytest.raises(Misuse):
        CrashStore().arm("here", nth=0)


@pytest.mark.parametrize("landed", [True, False])
@pytest.mark.parametrize("sync", [True, False])
def test_a_failed_write_may_have_landed(landed: bool, sync: bool) -> None:
    store = CrashStore({b"a": b"0"})
    store.fail_next_write(landed=landed)
    with pytest.raises(OSError, match="simulated"):
        store.write({b"a": b"1"}, sync=sync)
    assert store.get(b"a") == (b"1" if landed else b"0")
    assert store.survivor().get(b"a") == (b"1" if landed and sync else b"0")
    with pytest.raises(OSError, match="open the store again"):
        store.write({b"a": b"2"})
    survivor = store.survivor()
    survivor.write({b"a": b"3"})
    assert survivor.get(b"a") == b"3"


def test_a_store_does_not_share_the_content_it_was_given() -> None:
    content = {b"a": b"0"}
    memory, crash = MemoryStore(content), CrashStore(content)
    memory.write({b"a": b"1"})
    crash.write({b"a": b"1"})
    assert content == {b"a": b"0"}
    assert memory.get(b"a") == crash.survivor().get(b"a") == b"1"
