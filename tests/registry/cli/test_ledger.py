"""`waypost ledger`: a chain that holds, and what is found in one that does not, and where."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest
from msgspec.structs import replace

from ledger.codec import encode
from ledger.errors import REFUSALS
from ledger.history import BASE_KEY, LAYOUT_KEY, final_key, journal_key, location_key
from ledger.leveldb import LevelStore
from ledger.messages.blocks import BLOCK
from ledger.messages.state import Account
from ledger.messages.tables import ACCOUNTS
from registry.cli import auditing, histories
from registry.cli import ledger as commands
from registry.home import GENESIS
from tests import factory
from tests.factory import Network, public
from tests.flip import flip
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.fake_service import FakeService, run_service

ATTESTORS: Final = 3


def play(network: Network) -> None:
    """Blocks with and without transactions, over the ends of two epochs."""
    first = network.transfer("alice", "bob")
    network.block(first, network.register("node", "carol"))
    network.block(network.update_contact("node"))
    network.end_epoch()
    network.block(network.transfer("bob", "alice"))
    network.end_epoch()
    network.settle()


class Made:
    """The blocks of a network, as a source."""

    def __init__(self, network: Network) -> None:
        self.name, self.genesis = "made", network.raw
        self.height = network.chain.tip.height
        self.root: bytes | None = network.chain.tip.root
        self._blocks = [encode(block) for block in network.blocks]

    def blocks(self) -> Iterator[bytes]:
        return iter(self._blocks)

    def block(self, height: int) -> bytes:
        return self._blocks[height - 1]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a stopped node."""
    monkeypatch.delenv("WAYPOST_URL", raising=False)
    store = LevelStore(tmp_path / "ledger")
    network = Network(store=store)
    play(network)
    (tmp_path / GENESIS).write_bytes(network.raw)
    store.close()
    return tmp_path


@pytest.fixture
def fake() -> Iterator[FakeService]:
    with run_service() as running:
        network = running.network
        for _ in range(3):
            network.block()
        network.end_epoch()
        network.settle()
        yield running


def blocks_of(home: Path) -> int:
    store = LevelStore(home / "ledger", create=False)
    count = sum(1 for _ in store.items(journal_key(0), journal_key(2**32)))
    store.close()
    return count


# --- chains that hold ---------------------------------------------------------------------------


def test_a_stopped_node_is_replayed(home: Path) -> None:
    shown = call_json("ledger", "replay", "--home", home)
    count = blocks_of(home)
    assert (shown["height"], shown["blocks"]) == (count, count)
    assert shown["network"] == "test-net"
    assert shown["records"] > 20
    assert "everything holds" in call("ledger", "replay", "--home", home).stdout


def test_a_stopped_node_is_audited(home: Path) -> None:
    shown = call_json("ledger", "audit", "--home", home)
    count = blocks_of(home)
    # the first state is looked at too
    assert (shown["seals"], shown["invariant_checks"]) == (count, count + 1)
    # epochs 0 and 1 are frozen, that of epoch 2 is the newest; all of them are signed by all
    assert (shown["headers"], shown["final_headers"]) == (3, 3)
    assert shown["attestations"] == 3 * ATTESTORS
    # two of transfers, three of the registration, one of the contact data
    assert shown["transactions"] == 4 + 3 * ATTESTORS
    assert shown["signatures"] == 6 + 3 * ATTESTORS


def test_the_home_is_the_one_of_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYPOST_HOME", str(home))
    call("ledger", "replay")


def test_invariants_may_be_checked_now_and_then(home: Path) -> None:
    count = blocks_of(home)
    shown = call_json("ledger", "audit", "--home", home, "--every", 4)
    assert shown["invariant_checks"] == 1 + count // 4 + (count % 4 != 0)


@pytest.mark.parametrize("command", ["replay", "audit"])
def test_a_running_node_is_asked(
    fake: FakeService, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "FETCH_BLOCKS", 4)
    shown = call_json("ledger", command, "--url", fake.url)
    tip = fake.network.chain.tip
    assert (shown["height"], shown["state_root"]) == (tip.height, tip.root.hex())
    assert shown["blocks"] == tip.height
    assert fake.asked.count("/v1/blocks") == -(-tip.height // 4)


def test_a_chain_without_blocks_holds(tmp_path: Path) -> None:
    with run_service() as service:
        assert call_json("ledger", "audit", "--url", service.url)["height"] == 0


def test_what_the_service_makes_meanwhile_is_left_out(fake: FakeService) -> None:
    network = fake.answer("GET", "/v1/network", b"")
    height = fake.network.chain.tip.height
    fake.answers["/v1/network"] = network
    fake.network.block()
    assert call_json("ledger", "replay", "--url", fake.url)["height"] == height


# --- chains that do not hold --------------------------------------------------------------------


class Damage:
    """A database whose records a test changes."""

    def __init__(self, store: LevelStore) -> None:
        self.store = store

    def put(self, key: bytes, value: bytes | None) -> None:
        self.store.write({key: value})

    def change_block(self, height: int, **changes: object) -> None:
        """Change fields of a block, or of its header."""
        block = BLOCK.decode(self.store.get(journal_key(height)) or b"")
        if "seal" in changes:
            block = replace(block, **changes)
        else:
            block = replace(block, header=replace(block.header, **changes))
        self.put(journal_key(height), encode(block))

    def change_first(self, letter: bytes) -> None:
        """Change a bit of the first record whose store key begins with a letter."""
        key, value = next(iter(self.store.items(letter, bytes([letter[0] + 1]))))
        self.put(key, flip(value))


def forge_header(damage: Damage) -> None:
    raw = damage.store.get(final_key(1)) or b""
    damage.put(final_key(1), flip(raw))


FOUND: dict[str, tuple[Callable[[Damage], object], str, str]] = {
    "a block is missing": (
        lambda d: d.put(journal_key(3), None),
        "replay",
        "block 3: it is missing in the journal",
    ),
    "the journal begins later": (
        lambda d: d.store.write({journal_key(1): None, BASE_KEY: (2).to_bytes(8, "big")}),
        "replay",
        "block 1: the journal begins with block 2",
    ),
    "a block is no block": (lambda d: d.put(journal_key(3), b"\x90"), "replay", "block 3: "),
    "a block has another root": (
        lambda d: d.change_block(3, state_root=bytes(32)),
        "replay",
        "block 3: state root",
    ),
    "a block follows another": (
        lambda d: d.change_block(3, previous=bytes(32)),
        "replay",
        "block 3: block_link",
    ),
    "a block carries something else": (
        lambda d: d.change_block(3, inputs=bytes(32)),
        "replay",
        "block 3: block_inputs",
    ),
    "a seal is another's": (
        lambda d: d.change_block(4, seal=bytes(64)),
        "audit",
        "block 4: block_seal",
    ),
    "an account has other coins": (
        lambda d: d.put(ACCOUNTS.letter + public("alice"), encode(Account(1, 1))),
        "replay",
        "(balance and nonce)",
    ),
    "a record too many": (
        lambda d: d.put(b"a" + bytes(32), encode(Account(1, 1))),
        "replay",
        "(balance and nonce)",
    ),
    "a record of nothing": (lambda d: d.put(b"~", b"x"), "replay", "(nothing that is known)"),
    "a record is missing": (
        lambda d: d.put(ACCOUNTS.letter + public("alice"), None),
        "replay",
        "(balance and nonce)",
    ),
    "a block too many": (
        lambda d: d.put(journal_key(2**32), b"\x90"),
        "replay",
        "4a0000000100000000 (a block)",
    ),
    "a block before the first": (lambda d: d.put(journal_key(0), b"\x90"), "audit", "(a block)"),
    "a transaction stands elsewhere": (
        lambda d: d.change_first(b"X"),
        "replay",
        "(where a transaction stands)",
    ),
    "a frozen header's signature is forged": (
        forge_header,
        "replay",
        "(the frozen header of an epoch)",
    ),
}


@pytest.mark.parametrize(("damage", "command", "says"), FOUND.values(), ids=FOUND.keys())
def test_found(home: Path, damage: Callable[[Damage], object], command: str, says: str) -> None:
    store = LevelStore(home / "ledger", create=False)
    damage(Damage(store))
    store.close()
    result = call("ledger", command, "--home", home, code=1)
    assert error_of(result) == "finding"
    assert says in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("command", ["replay", "audit"])
def test_a_store_of_another_version_is_refused(home: Path, command: str) -> None:
    store = LevelStore(home / "ledger", create=False)
    store.write({LAYOUT_KEY: b"\0\2"})
    store.close()
    assert error_of(call("ledger", command, "--home", home, code=1)) == "store_layout"


def test_what_only_an_audit_finds(tmp_path: Path) -> None:
    """A producer that puts a refused transaction into a block breaks a rule of `solo` only."""
    store = LevelStore(tmp_path / "ledger")
    network = Network(store=store)
    bad = network.transfer("alice", "bob", nonce=5)
    network.block(bad, codes=[REFUSALS["nonce_skipped"].number])
    (tmp_path / GENESIS).write_bytes(network.raw)
    assert store.get(location_key(network.chain.decode(bad).hash)) is not None
    store.close()
    call("ledger", "replay", "--home", tmp_path)
    result = call("ledger", "audit", "--home", tmp_path, code=1)
    assert "block 1: block_transaction" in result.stderr
    assert "nonce_skipped" in result.stderr


@pytest.mark.parametrize("at", [0, 3])
def test_an_invariant_that_does_not_hold(
    home: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    heights = iter(range(100))
    monkeypatch.setattr(
        auditing, "find_violations", lambda _: ["supply: 1 too many"] if next(heights) == at else []
    )
    result = call("ledger", "audit", "--home", home, code=1)
    assert f"error: finding: block {at}: supply: 1 too many" in result.stderr


def test_a_forged_attestation_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Execution would refuse it; here both sides are told that every signature is good."""
    monkeypatch.setattr(factory, "verify_cached", lambda items: [True] * len(items))
    monkeypatch.setattr(auditing.Audit, "_verify", lambda _, items: [True] * len(items))
    network = Network()
    network.attesting = False
    network.block(network.attest(0, signer="somebody"))
    network.end_epoch()
    audit = auditing.Audit(network.raw)
    with pytest.raises(histories.Finding, match="attestor 0 did not sign header 0"):
        audit.run(Made(network), lambda blocks: blocks)


BAD_SERVICES: dict[str, tuple[str, Callable[[FakeService], bytes], str, str]] = {
    "blocks are missing": (
        "/v1/blocks",
        lambda _: msgspec.msgpack.encode([]),
        "finding",
        "block 1: http",
    ),
    "no blocks": ("/v1/blocks", lambda _: b"<html>", "bad_answer", "no blocks"),
    "other blocks": (
        "/v1/blocks",
        lambda _: msgspec.msgpack.encode([b"\x90"]),
        "finding",
        "block 1: not_canonical",
    ),
    "another root": (
        "/v1/network",
        lambda fake: json.dumps(
            {"height": fake.network.chain.tip.height, "state_root": "00" * 32}
        ).encode(),
        "finding",
        "claims the root 0000",
    ),
}


@pytest.mark.parametrize(
    ("path", "answer", "code", "says"), BAD_SERVICES.values(), ids=BAD_SERVICES.keys()
)
def test_a_service_that_does_not_hold(
    fake: FakeService, path: str, answer: Callable[[FakeService], bytes], code: str, says: str
) -> None:
    fake.answers[path] = 200, answer(fake)
    result = call("ledger", "audit", "--url", fake.url, code=1)
    assert error_of(result) == code
    assert says in result.stderr


# --- what cannot be opened ----------------------------------------------------------------------


def test_a_database_in_use_names_the_other_way(home: Path) -> None:
    store = LevelStore(home / "ledger", create=False)
    result = call("ledger", "audit", "--home", home, code=1)
    store.close()
    assert error_of(result) == "store_in_use"
    assert "--url http://127.0.0.1:8420" in result.stderr


def test_a_home_without_a_database(home: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert error_of(call("ledger", "replay", "--home", empty, code=1)) == "io"
    (empty / GENESIS).write_bytes((home / GENESIS).read_bytes())
    assert error_of(call("ledger", "replay", "--home", empty, code=1)) == "store_missing"
    LevelStore(empty / "ledger").close()
    assert error_of(call("ledger", "replay", "--home", empty, code=1)) == "bad_genesis"


def test_a_machine_without_the_database_library(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ledger.leveldb", None)
    result = call("ledger", "replay", "--home", home, code=1)
    assert error_of(result) == "no_database"
    assert "--url" in result.stderr


def test_a_genesis_file_says_which_network(home: Path, fake: FakeService, tmp_path: Path) -> None:
    other = tmp_path / "other.bin"
    other.write_bytes(Network(epoch_ms=20_000).raw)
    named = ("--genesis", other)
    assert error_of(call("ledger", "replay", "--home", home, *named, code=1)) == "bad_genesis"
    assert error_of(call("ledger", "audit", "--url", fake.url, *named, code=1)) == "bad_genesis"
    other.write_bytes(fake.network.raw)
    call("ledger", "audit", "--url", fake.url, *named)


def test_a_wrong_command_line(home: Path) -> None:
    call("ledger", "replay", "--home", home, "--url", "http://127.0.0.1:1", code=2)
    call("ledger", "audit", "--home", home, "--every", "0", code=2)


def test_a_terminal_sees_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", screen)
    assert list(commands._watch(3)(iter([b"1", b"2", b"3"]))) == [b"1", b"2", b"3"]
    assert "blocks" in screen.getvalue()
