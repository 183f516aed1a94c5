"""`waypost genesis`: the file that comes out, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from ledger.codec import encode
from ledger.crypto import Signed, sha256, signing_bytes, verify
from ledger.genesis import load_genesis
from ledger.messages import tags
from ledger.messages.genesis import COMET, FIXED, REGISTRY, SOLO, GenesisAttestor
from ledger.params import PARAMETERS, Params, preset
from ledger.types import COIN, MAX_AMOUNT
from registry import signer
from registry.addresses import encode_account, encode_node
from registry.keystore import CHAIN, RECOVERY, derive, derive_secret
from registry.signer import HashChain
from tests.factory import founding, make_genesis, public
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.fake_service import account_of, save_keys, seed_of

ALICE = encode_account(account_of("alice"))
BOB = encode_account(account_of("bob"))
START = "1700000000000"
HOLDERS = ("first", "second")
OFFLINE = ("vault", "safe")


@pytest.fixture(autouse=True)
def _short_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signer, "CHAIN_LINKS", 2**11)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with key files."""
    for name in ("producer", "first", "second"):
        save_keys(tmp_path, name)
    return tmp_path


def words(keys: Path, *more: object, out: str = "genesis.bin", name: str = "net") -> list[object]:
    """A command line that is good as it is."""
    return [
        *("genesis", "new", "--name", name, "--preset", "minimal", "--start-ms", START),
        *("--producer", keys / "producer.json", "--attestor", keys / "first.json"),
        *("--out", keys / out, *more),
    ]


def test_everything_that_was_said_stands_in_the_file(keys: Path) -> None:
    made = call_json(
        *words(keys, "--attestor", f"{keys / 'second.json'}:3", "--pool", "7u"),
        *("--account", f"{ALICE}=1000.5", "--account", f"{BOB}=5u"),
        *("--set", "epoch_ms=20000", "--set", "minimum_fee=5"),
    )
    raw = (keys / "genesis.bin").read_bytes()
    genesis = load_genesis(raw)
    assert genesis.name == b"net"
    assert genesis.start_ms == int(START)
    assert genesis.producer == derive(seed_of("producer"), "producer").public
    assert {(seat.list_key, seat.weight) for seat in genesis.attestors} == {
        (derive(seed_of("first"), "list").public, 1),
        (derive(seed_of("second"), "list").public, 3),
    }
    assert HashChain(derive_secret(seed_of("first"), CHAIN)).tip in [
        seat.tip for seat in genesis.attestors
    ]
    assert {(row.account, row.balance) for row in genesis.accounts} == {
        (account_of("alice"), 1000 * COIN + COIN // 2),
        (account_of("bob"), 5),
    }
    assert genesis.pool == 7
    wanted = preset("minimal", {"epoch_ms": 20_000, "minimum_fee": 5})
    assert Params(*genesis.params) == wanted
    assert made["hash"] == sha256(raw).hex()
    assert made["supply"] == str(1000 * COIN + COIN // 2 + 5 + 7)
    assert made["single_signer"] is True
    assert made["differs_from_preset"] == {"preset": "minimal", "in": ["epoch_ms", "minimum_fee"]}


def test_founders_need_no_key_files_but_what_is_public_of_them(keys: Path) -> None:
    call(*words(keys, "--attestor", f"{keys / 'second.json'}:3"))
    seats = [call("keys", "seat", keys / f"{name}.json").stdout.strip() for name in HOLDERS]
    producer = derive(seed_of("producer"), "producer").public.hex()
    call(
        *("genesis", "new", "--name", "net", "--preset", "minimal", "--start-ms", START),
        *("--producer", producer, "--attestor", seats[0], "--attestor", f"{seats[1]}:3"),
        *("--out", keys / "public.bin"),
    )
    assert (keys / "public.bin").read_bytes() == (keys / "genesis.bin").read_bytes()


def test_seat_for_programs(keys: Path) -> None:
    shown = call_json("keys", "seat", keys / "first.json")
    assert shown["list_key"] == derive(seed_of("first"), "list").public.hex()
    assert shown["tip"] == HashChain(derive_secret(seed_of("first"), CHAIN)).tip.hex()
    assert shown["consensus_key"] == derive(seed_of("first"), "consensus").public.hex()
    assert shown["seat"] == f"{shown['list_key']}:{shown['tip']}:{shown['consensus_key']}"


def comet_words(keys: Path, *more: object, out: str = "comet.bin") -> list[object]:
    """The command line of a network of validators that is good but for its attestors."""
    return [
        *("genesis", "new", "--name", "net", "--preset", "minimal", "--start-ms", START),
        *("--engine", "comet", "--out", keys / out, *more),
    ]


def test_validators_by_file_and_in_public(keys: Path) -> None:
    files = [word for name in HOLDERS for word in ("--attestor", keys / f"{name}.json")]
    seats = [call("keys", "seat", keys / f"{name}.json").stdout.strip() for name in HOLDERS]
    public = [word for seat in seats for word in ("--attestor", seat)]
    made = call_json(*comet_words(keys, *files, "--policy", "registry"))
    call(*comet_words(keys, *public, "--policy", "registry", out="public.bin"))
    raw = (keys / "comet.bin").read_bytes()
    assert raw == (keys / "public.bin").read_bytes()
    genesis = load_genesis(raw)
    assert (genesis.engine, genesis.policy, genesis.producer) == (COMET, REGISTRY, b"")
    wanted = {
        (derive(seed_of(name), "list").public, derive(seed_of(name), "consensus").public)
        for name in HOLDERS
    }
    assert {(seat.list_key, seat.consensus_key) for seat in genesis.attestors} == wanted
    assert (made["engine"], made["policy"], made["producer"]) == ("comet", "registry", "")
    assert {(row["list_key"], row["consensus_key"]) for row in made["attestors"]} == {
        (list_key.hex(), consensus_key.hex()) for list_key, consensus_key in wanted
    }
    text = call("genesis", "check", keys / "comet.bin").stdout
    assert all(f"validator   {key.hex()}" in text for _, key in wanted)
    assert "policy      registry" in text


def test_the_predecessor_is_named_by_its_file(keys: Path) -> None:
    call(*words(keys))
    first = (keys / "genesis.bin").read_bytes()
    more = ("--attestor", keys / "first.json", "--predecessor", keys / "genesis.bin")
    made = call_json(*comet_words(keys, *more))
    assert load_genesis((keys / "comet.bin").read_bytes()).predecessor == sha256(first)
    assert made["predecessor"] == sha256(first).hex()
    text = call("genesis", "check", keys / "comet.bin").stdout
    assert f"predecessor  {sha256(first).hex()}" in text


def test_under_a_producer_nobody_validates(keys: Path) -> None:
    call(*words(keys))
    genesis = load_genesis((keys / "genesis.bin").read_bytes())
    assert (genesis.engine, genesis.policy) == (SOLO, FIXED)
    assert [seat.consensus_key for seat in genesis.attestors] == [b""]
    assert "validator" not in call("genesis", "check", keys / "genesis.bin").stdout


def test_a_seat_without_its_consensus_key_is_none_for_a_validator(keys: Path) -> None:
    seat = call("keys", "seat", keys / "first.json").stdout.strip().rpartition(":")[0]
    result = call(*comet_words(keys, "--attestor", seat), code=1)
    assert error_of(result) == "bad_genesis"
    assert "an attestor has no consensus key and needs one" in result.stderr
    assert not (keys / "comet.bin").exists()


@pytest.mark.parametrize("engine", ["solo", "comet"])
def test_a_producer_where_there_is_one_and_nowhere_else(keys: Path, engine: str) -> None:
    common = ("--name", "net", "--preset", "minimal", "--attestor", keys / "first.json")
    told = {"solo": (), "comet": ("--producer", keys / "producer.json")}[engine]
    out = ("--out", keys / "none.bin")
    call("genesis", "new", *common, "--engine", engine, *told, *out, code=2)
    assert not (keys / "none.bin").exists()


def test_the_node_behind_a_seat_has_to_be_in_the_file(keys: Path) -> None:
    node = encode_node(derive(seed_of("first"), "node").public)
    result = call(*comet_words(keys, "--attestor", f"{keys / 'first.json'}@{node}"), code=1)
    assert error_of(result) == "bad_genesis"
    assert "the node behind a seat is not one of the file" in result.stderr


def test_check_names_the_node_behind_a_seat(tmp_path: Path) -> None:
    nodes = founding("founder")
    seat = GenesisAttestor(public("one"), 1, bytes(32), public("two"), nodes[0].node)
    file = tmp_path / "comet.bin"
    genesis = make_genesis(engine=COMET, producer=b"", attestors=(seat,), nodes=nodes)
    file.write_bytes(encode(genesis))
    node = encode_node(nodes[0].node)
    (row,) = call_json("genesis", "check", file)["attestors"]
    assert row["node"] == node
    wanted = f"validator   {public('two').hex()}, behind it {node}"
    assert wanted in call("genesis", "check", file).stdout


def test_recovery_keys_by_file_and_in_public(keys: Path) -> None:
    for name in OFFLINE:
        save_keys(keys, name)
    wanted = sorted(derive(seed_of(name), RECOVERY).public.hex() for name in OFFLINE)
    shown = [call_json("keys", "recovery", keys / f"{name}.json")["recovery"] for name in OFFLINE]
    assert sorted(shown) == wanted
    files = [word for name in OFFLINE for word in ("--recovery", keys / f"{name}.json")]
    public = [word for key in shown for word in ("--recovery", key)]
    made = call_json(*words(keys, *files))
    call(*words(keys, *public, out="public.bin"))
    assert made["recovery"] == wanted
    raw = (keys / "genesis.bin").read_bytes()
    assert raw == (keys / "public.bin").read_bytes()
    assert [key.hex() for key in load_genesis(raw).recovery] == wanted
    text = call("genesis", "check", keys / "genesis.bin").stdout
    assert all(f"recovery key  {key}" in text for key in wanted)


def test_a_recovery_key_twice_is_refused(keys: Path) -> None:
    more = ["--recovery", keys / "first.json"] * 2
    assert error_of(call(*words(keys, *more), code=1)) == "bad_genesis"


def test_check_names_the_engine(tmp_path: Path) -> None:
    file = tmp_path / "comet.bin"
    file.write_bytes(encode(make_genesis(engine=COMET, producer=b"")))
    shown = call_json("genesis", "check", file)
    assert (shown["engine"], shown["producer"], shown["recovery"]) == ("comet", "", [])
    lines = call("genesis", "check", file).stdout.splitlines()
    assert [line.split() for line in lines if line.startswith("engine")] == [["engine", "comet"]]


def test_a_seat_with_the_proof_for_one_network(keys: Path) -> None:
    call(*words(keys))
    network = sha256((keys / "genesis.bin").read_bytes())
    shown = call_json("keys", "seat", keys / "first.json", "--genesis", keys / "genesis.bin")
    assert shown["seat"] == f"{shown['list_key']}:{shown['tip']}:{shown['proof']}"
    list_key, tip, proof = (bytes.fromhex(shown[name]) for name in ("list_key", "tip", "proof"))
    assert verify(Signed(list_key, signing_bytes(tags.SEAT, network, tip), proof))


def test_the_same_inputs_give_the_same_file(keys: Path) -> None:
    call(*words(keys, "--account", f"{ALICE}=1", "--account", f"{BOB}=2"))
    call(*words(keys, "--account", f"{BOB}=2", "--account", f"{ALICE}=1", out="again.bin"))
    call(*words(keys, "--account", f"{BOB}=3", "--account", f"{ALICE}=1", out="other.bin"))
    first, again, other = (
        (keys / name).read_bytes() for name in ("genesis.bin", "again.bin", "other.bin")
    )
    assert first == again
    assert load_genesis(first).seed != load_genesis(other).seed


def test_check_shows_the_hash_and_every_parameter_with_its_unit(keys: Path) -> None:
    call(*words(keys, "--account", f"{ALICE}=1", "--set", "epoch_ms=20000"))
    text = call("genesis", "check", keys / "genesis.bin").stdout
    assert sha256((keys / "genesis.bin").read_bytes()).hex() in text
    assert "those of the preset minimal but for epoch_ms" in text
    assert "SINGLE SIGNER" in text
    assert "supply      1 coin, reward pool included" in text
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    for row in PARAMETERS:
        assert row.unit in lines[row.name]
        assert row.meaning in lines[row.name]
    assert "20000" in lines["epoch_ms"]
    assert "20 s" in lines["epoch_ms"]
    shown: dict[str, Any] = call_json("genesis", "check", keys / "genesis.bin")
    assert shown["parameters"]["epoch_ms"] == {"value": "20000", "unit": "ms"}
    assert shown["accounts"] == [{"account": ALICE, "balance": str(COIN)}]


REFUSED = {
    "a parameter out of range": (["--set", "epoch_ms=5"], "bad_parameter"),
    "parameters that do not fit": (["--set", "fresh_ms=5000"], "bad_relation"),
    "an account twice": (
        ["--account", f"{ALICE}=1", "--account", f"{ALICE}=1"],
        "bad_genesis",
    ),
    "an account without coins": (["--account", f"{ALICE}=0"], "bad_genesis"),
    "an account that is no key": (["--account", f"{'00' * 32}=1"], "bad_genesis"),
    "too many coins": (
        ["--account", f"{ALICE}={MAX_AMOUNT}u", "--pool", "1u"],
        "bad_genesis",
    ),
    "no key file": (["--attestor", "missing.json"], "bad_key_file"),
}


@pytest.mark.parametrize(("more", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(keys: Path, more: list[str], code: str) -> None:
    assert error_of(call(*words(keys, *more), code=1)) == code
    assert not (keys / "genesis.bin").exists()


def test_an_attestor_twice_is_refused(keys: Path) -> None:
    result = call(*words(keys, "--attestor", keys / "first.json"), code=1)
    assert error_of(result) == "bad_genesis"


@pytest.mark.parametrize(
    "more",
    [["--set", "speed=1"], ["--account", ALICE], ["--pool", "-1"], ["--preset", "huge"]],
    ids=" ".join,
)
def test_a_wrong_command_line(keys: Path, more: list[str]) -> None:
    call(*words(keys, *more), code=2)
    assert not (keys / "genesis.bin").exists()


def test_too_many_recovery_keys(keys: Path) -> None:
    more = [word for _ in range(26) for word in ("--recovery", keys / "first.json")]
    assert "--recovery: there are at most 25" in call(*words(keys, *more), code=2).stderr


def test_too_many_attestors(keys: Path) -> None:
    more = [word for _ in range(25) for word in ("--attestor", keys / "first.json")]
    assert "at most 25" in call(*words(keys, *more), code=2).stderr


def test_a_file_is_never_overwritten(keys: Path) -> None:
    (keys / "genesis.bin").write_bytes(b"mine")
    assert error_of(call(*words(keys), code=1)) == "file_exists"
    assert (keys / "genesis.bin").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("content", "code"), [(b"", "not_canonical"), (b"\x90", "not_canonical"), (None, "io")]
)
def test_check_refuses(tmp_path: Path, content: bytes | None, code: str) -> None:
    file = tmp_path / "genesis.bin"
    if content is not None:
        file.write_bytes(content)
    assert error_of(call("genesis", "check", file, code=1)) == code


def test_check_refuses_a_file_in_which_one_byte_changed(keys: Path) -> None:
    call(*words(keys))
    raw = bytearray((keys / "genesis.bin").read_bytes())
    raw[1] ^= 2  # the version
    (keys / "genesis.bin").write_bytes(raw)
    assert error_of(call("genesis", "check", keys / "genesis.bin", code=1)) == "bad_genesis"
