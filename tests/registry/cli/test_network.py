"""`waypost network`: orders from the command line, signed by several holders, on a real chain."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ledger.codec import encode
from ledger.messages.tables import EPOCH, PARAMS, SETS, SUCCESSION
from ledger.params import preset
from registry import signer
from registry.founding import make_seat
from registry.keystore import RECOVERY, derive
from tests.factory import Network, make_genesis
from tests.flip import flip
from tests.ledger.moving import make_successor
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.fake_service import FakeService, run_service, save_keys, seed_of
from tests.registry.factory import LINKS

HOLDERS: Final = ("first", "second", "third")
OFFLINE: Final = ("vault", "safe", "paper")
FEE: Final = preset("minimal").minimum_fee


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    """A network whose attestors and recovery keys are in key files."""
    monkeypatch.setattr(signer, "CHAIN_LINKS", LINKS)
    fields = {
        "attestors": tuple(
            sorted((make_seat(seed_of(name)) for name in HOLDERS), key=lambda row: row.list_key)
        ),
        "recovery": tuple(sorted(derive(seed_of(name), RECOVERY).public for name in OFFLINE)),
    }
    with run_service(fields) as running:
        monkeypatch.setenv("WAYPOST_URL", running.url)
        # its attestors are processes of their own, which do not run here
        running.network.attesting = False
        running.network.block()
        yield running


@pytest.fixture
def home(tmp_path: Path, fake: FakeService, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the genesis file, and key files."""
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path))
    (tmp_path / "genesis.bin").write_bytes(fake.network.raw)
    for name in (*HOLDERS, *OFFLINE, "fourth", "alice"):
        save_keys(tmp_path, name)
    return tmp_path


def list_key(name: str) -> str:
    """The list key in a key file."""
    return derive(seed_of(name), "list").public.hex()


def recovery_key(name: str) -> str:
    """The recovery key in a key file."""
    return derive(seed_of(name), RECOVERY).public.hex()


def sign(home: Path, name: str, file: str = "order.bin", *more: object) -> Any:
    """Sign an order with a key file; what it prints."""
    return call_json("network", "sign", home / file, "--keys", home / f"{name}.json", *more)


def submit(home: Path, *files: str) -> list[object]:
    """A command line that sends an order."""
    paths = [home / file for file in files or ("order.bin",)]
    return ["network", "submit", *paths, "--from", home / "alice.json"]


def set_params(home: Path, *changes: str, out: str = "order.bin") -> list[object]:
    """A command line that orders parameters."""
    settings = [word for change in changes for word in ("--set", change)]
    return ["network", "set-params", *settings, "--out", home / out]


def set_attestors(home: Path, *more: object, out: str = "order.bin") -> list[object]:
    """A command line that orders attestors."""
    return ["network", "set-attestors", *more, "--out", home / out]


# ------------------------------------------------------------------------------- parameters


def test_parameters_from_the_order_until_they_are_in_force(home: Path, fake: FakeService) -> None:
    network = fake.network
    made = call_json(*set_params(home, f"minimum_fee={FEE + 1}", "bounty_share=600"))
    assert made["order"] == "set_params"
    assert made["changes"] == [
        {"what": "minimum_fee", "unit": "atomic units", "old": str(FEE), "new": str(FEE + 1)},
        {"what": "bounty_share", "unit": "1/10000", "old": "500", "new": "600"},
    ]
    assert (made["signed_weight"], made["total_weight"], made["is_enough"]) == (0, 3, False)
    for count, name in enumerate(HOLDERS, 1):
        signed = sign(home, name)
        assert signed["signed_weight"] == count
        assert signed["is_enough"] == (count == 3)
        assert {"key": list_key(name), "counts": True} in signed["signatures"]
    assert signed["missing"] == []
    sent = call_json(*submit(home))
    assert (sent["state"], sent["order"]["changes"]) == ("committed", made["changes"])
    assert network.state.one(PARAMS).from_ms == made["from_ms"]
    text = call("network", "rules").stdout
    assert "announced     in force from" in text
    network.end_epoch(late_ms=made["from_ms"] - network.chain.tip.time_ms)
    assert (network.params.minimum_fee, network.params.bounty_share) == (FEE + 1, 600)
    # and what is signed from now on pays that much
    other = call_json(*set_params(home, "bounty_share=500", out="other.bin"))
    assert [change["old"] for change in other["changes"]] == ["600"]


def test_an_order_in_words(home: Path) -> None:
    call(*set_params(home, "bounty_share=600", "grace_ms=120000"))
    sign(home, "second")
    text = call("network", "show", home / "order.bin").stdout
    for part in (
        "order       set_params",
        "in force    with the first end of an epoch from ",
        "change      bounty_share from 5 % to 6 %",
        "change      grace_ms from 1 min to 2 min",
        f"signed      {list_key('second')}",
        f"not signed  {list_key('first')}",
        f"not signed  {list_key('third')}",
        "weight      1 of 3 signed, 2 more needed",
    ):
        assert part in text
    for name in ("first", "third"):
        sign(home, name)
    text = call("network", "show", home / "order.bin").stdout
    assert "weight    3 of 3 signed, enough: more than two thirds" in text


def test_copies_are_put_together(home: Path, fake: FakeService) -> None:
    call(*set_params(home, "bounty_share=600"))
    raw = (home / "order.bin").read_bytes()
    for name in HOLDERS:
        (home / f"{name}.bin").write_bytes(raw)
        assert sign(home, name, f"{name}.bin")["signed_weight"] == 1
    call(*submit(home, *(f"{name}.bin" for name in HOLDERS)))
    assert fake.network.state.one(PARAMS).next != ()


REFUSED_PARAMS: Final = {
    "out of range": ("epoch_ms=5", "bad_parameter"),
    "what does not fit": ("quorum_threshold=2", "bad_relation"),
    "what never changes": ("evidence_ms=259200001", "parameter_fixed"),
    "what only grows": ("unbonding_ms=300000000", "parameter_fixed"),
    "nothing": ("bounty_share=500", "bad_order"),
}


@pytest.mark.parametrize(("change", "code"), REFUSED_PARAMS.values(), ids=REFUSED_PARAMS.keys())
def test_an_order_that_would_be_refused_is_not_made(home: Path, change: str, code: str) -> None:
    assert error_of(call(*set_params(home, change), code=1)) == code
    assert not (home / "order.bin").exists()


def test_notice_that_is_too_short_or_too_long(home: Path, fake: FakeService) -> None:
    now_ms = fake.network.chain.tip.time_ms
    soon = now_ms + fake.network.params.unbonding_ms - 1
    line = set_params(home, "bounty_share=600")
    assert error_of(call(*line, "--from-ms", soon, code=1)) == "change_too_soon"
    assert error_of(call(*line, "--from-ms", 2**53, code=1)) == "bad_order"
    assert call_json(*line, "--from-ms", soon + 1)["from_ms"] == soon + 1


def test_too_few_signatures_and_a_change_that_is_pending(home: Path, fake: FakeService) -> None:
    call(*set_params(home, "bounty_share=600"))
    for name in HOLDERS[:2]:
        sign(home, name)
    assert error_of(call(*submit(home), code=1)) == "too_few_signers"
    sign(home, HOLDERS[2])
    call(*submit(home))
    result = call(*set_params(home, "bounty_share=700", out="other.bin"), code=1)
    assert error_of(result) == "change_pending"


# -------------------------------------------------------------------------------- attestors


def test_one_attestor_comes_and_another_goes(home: Path, fake: FakeService) -> None:
    seat = call("keys", "seat", home / "fourth.json", "--genesis", home / "genesis.bin").stdout
    made = call_json(
        *set_attestors(home, "--add", seat.strip(), "--remove", list_key("first")),
    )
    weights = {change["what"]: (change["old"], change["new"]) for change in made["changes"]}
    assert weights == {list_key("first"): ("1", None), list_key("fourth"): (None, "1")}
    for name in HOLDERS:
        sign(home, name)
    call(*submit(home))
    text = call("network", "rules").stdout
    assert f"ordered by attestors  {list_key('fourth')}, weight 1" in text
    network = fake.network
    network.end_epoch(late_ms=max(0, made["begin_ms"] - network.chain.tip.time_ms))
    wanted = sorted(list_key(name) for name in ("second", "third", "fourth"))
    assert [row.list_key.hex() for row in network.state.one(SETS).next] == wanted
    text = call("network", "rules").stdout
    assert f"next          {list_key('fourth')}, weight 1" in text
    result = call(*set_attestors(home, "--remove", list_key("second"), out="more"), code=1)
    assert error_of(result) == "change_pending"


def test_an_attestor_by_his_key_file_with_a_weight(home: Path) -> None:
    made = call_json(*set_attestors(home, "--add", f"{home / 'fourth.json'}:1"))
    (change,) = made["changes"]
    assert change == {"what": list_key("fourth"), "unit": "weight", "old": None, "new": "1"}


def test_changes_of_attestors_in_words(home: Path) -> None:
    key = list_key("first")
    text = call(*set_attestors(home, "--weigh", f"{key}=2")).stdout
    assert f"change      attestor {key} from weight 1 to 2" in text
    assert "in force    announced with the first end of an epoch from" in text
    text = call(*set_attestors(home, "--remove", key, out="out.bin")).stdout
    assert f"change      attestor {key} goes, with weight 1" in text
    text = call(*set_attestors(home, "--add", home / "first.json", out="chain.bin")).stdout
    assert f"change      attestor {key} begins another hash chain" in text


REFUSED_SETS: Final = {
    "a stranger goes": (["--remove", "ab" * 32], "no_such_seat"),
    "a stranger gets a weight": (["--weigh", f"{'ab' * 32}=2"], "no_such_seat"),
    "two seats move": (
        ["--remove", list_key("first"), "--remove", list_key("second")],
        "turnover_too_high",
    ),
    "nobody stays": (
        [word for name in HOLDERS for word in ("--remove", list_key(name))],
        "no_such_seat",
    ),
    "no key file": (["--add", "missing.json"], "bad_key_file"),
    "notice of the past": (
        ["--remove", list_key("first"), "--begin-ms", "1"],
        "change_too_soon",
    ),
}


@pytest.mark.parametrize(("more", "code"), REFUSED_SETS.values(), ids=REFUSED_SETS.keys())
def test_an_order_of_attestors_that_is_not_made(home: Path, more: list[str], code: str) -> None:
    assert error_of(call(*set_attestors(home, *more), code=1)) == code
    assert not (home / "order.bin").exists()


# --------------------------------------------------------------------------------- recovery


def test_recovery_keys_replace_the_attestors(home: Path, fake: FakeService) -> None:
    network = fake.network
    made = call_json(*set_attestors(home, "--recovery", "--add", f"{home / 'fourth.json'}:7"))
    assert (made["signed_by"], made["epoch"]) == (RECOVERY, network.state.one(EPOCH).epoch)
    assert made["missing"] == sorted(recovery_key(name) for name in OFFLINE)
    asked = list(fake.asked)
    for name in OFFLINE:
        # on a machine without a network
        signed = sign(home, name, "order.bin", "--offline", "--url", "http://127.0.0.1:1")
    assert fake.asked == asked
    assert signed["is_enough"]
    text = call(*submit(home)).stdout
    assert f"in force  at the end of epoch {made['epoch']}, if it is sent in that epoch" in text
    assert "ordered by recovery" in call("network", "rules").stdout
    network.end_epoch()
    (only,) = network.state.one(SETS).current
    assert (only.list_key.hex(), only.weight) == (list_key("fourth"), 7)


def test_an_order_for_an_epoch_to_come(home: Path) -> None:
    line = set_attestors(home, "--recovery", "--add", home / "fourth.json")
    assert call_json(*line, "--epoch", "40")["epoch"] == 40
    for name in OFFLINE:
        sign(home, name)
    assert error_of(call(*submit(home), code=1)) == "bad_order"


def test_a_network_without_recovery_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signer, "CHAIN_LINKS", LINKS)
    save_keys(tmp_path, "fourth")
    with run_service() as running:
        line = set_attestors(tmp_path, "--recovery", "--add", tmp_path / "fourth.json")
        assert error_of(call(*line, "--url", running.url, code=1)) == "bad_order"


# -------------------------------------------------------------------------------- succession


def set_successor(home: Path, *more: object, out: str = "order.bin") -> list[object]:
    """A command line that orders a successor."""
    return ["network", "set-successor", *more, "--out", home / out]


def sign_by_all(home: Path, file: str = "order.bin") -> None:
    """Every holder signs."""
    for name in HOLDERS:
        sign(home, name, file)


@pytest.fixture
def following(home: Path) -> Path:
    """The genesis file of another network."""
    path = home / "following.bin"
    path.write_bytes(encode(make_genesis(name=b"another-net")))
    return path


def test_a_successor_from_the_order_until_the_network_is_over(
    home: Path, fake: FakeService, following: Path
) -> None:
    network, wanted = fake.network, sha256(following.read_bytes()).hexdigest()
    assert "successor     none; named 8 d after an order at the earliest" in call(*RULES).stdout
    made = call_json(*set_successor(home, following))
    assert made["order"] == "set_successor"
    assert made["changes"] == [
        {"what": "successor", "unit": "genesis file", "old": None, "new": wanted}
    ]
    sign_by_all(home)
    text = call("network", "show", home / "order.bin").stdout
    assert f"change    goes on by the genesis file {wanted}" in text
    assert "in force  with the first end of an epoch from " in text
    call(*submit(home))
    text = call(*RULES).stdout
    assert f"successor     genesis file {wanted}" in text
    assert "moves         headers name it from " in text
    assert error_of(call(*set_successor(home, following, out="b"), code=1)) == "change_pending"

    network.end_epoch(late_ms=made["from_ms"] - network.chain.tip.time_ms)
    assert "moves         the newest header names it" in call(*RULES).stdout
    last = network.header.epoch
    result = call(*set_successor(home, "--withdraw", out="c"), code=1)
    assert error_of(result) == "network_moved"
    # its attestors do not run here: this is what their signatures make of it
    record = network.state.one(SUCCESSION)
    network.rewrite({SUCCESSION.letter: replace(record, last_epoch=last)})
    over = f"moves         this network is over, its last epoch was {last}"
    assert over in call(*RULES).stdout


def test_a_successor_is_withdrawn(home: Path, fake: FakeService, following: Path) -> None:
    wanted = sha256(following.read_bytes()).hexdigest()
    assert error_of(call(*set_successor(home, "--withdraw"), code=1)) == "bad_order"
    call(*set_successor(home, following))
    sign_by_all(home)
    call(*submit(home))
    made = call_json(*set_successor(home, "--withdraw", out="back.bin"))
    assert made["changes"] == [
        {"what": "successor", "unit": "genesis file", "old": wanted, "new": None}
    ]
    sign_by_all(home, "back.bin")
    text = call(*submit(home, "back.bin")).stdout
    assert f"does not go on by the genesis file {wanted}" in text
    assert "as soon as it stands in a block" in text
    assert fake.network.state.one(SUCCESSION).genesis_hash == bytes(32)
    assert "successor     none; named " in call(*RULES).stdout


def test_a_successor_that_is_none(home: Path, fake: FakeService, following: Path) -> None:
    result = call(*set_successor(home, home / "genesis.bin"), code=1)
    assert error_of(result) == "bad_order"
    following.write_bytes(b"no genesis file")
    assert error_of(call(*set_successor(home, following), code=1)) == "not_canonical"
    following.write_bytes(encode(make_genesis(name=b"another-net")))
    soon = fake.network.chain.tip.time_ms + 2 * fake.network.params.unbonding_ms - 1
    line = set_successor(home, following, "--from-ms", soon)
    assert error_of(call(*line, code=1)) == "change_too_soon"
    assert not (home / "order.bin").exists()


def test_a_successor_that_inherits(home: Path, fake: FakeService, following: Path) -> None:
    assert "stay behind" in call(*set_successor(home, following)).stderr
    follows = make_successor(fake.network)
    following.write_bytes(encode(follows))
    made = call(*set_successor(home, following, out="inherits.bin"))
    assert made.stderr == ""
    following.write_bytes(encode(replace(follows, predecessor=bytes(32))))
    result = call(*set_successor(home, following, out="other.bin"), code=1)
    assert error_of(result) == "bad_order"
    place = fake.network.params._fields.index("max_transaction_bytes")
    values = list(follows.params)
    values[place] -= 1
    following.write_bytes(encode(replace(follows, params=tuple(values))))
    result = call(*set_successor(home, following, out="other.bin"), code=1)
    assert error_of(result) == "parameter_fixed"
    assert not (home / "other.bin").exists()


RULES: Final = ("network", "rules")

# ------------------------------------------------------------------------------------ files


def test_who_may_not_sign(home: Path) -> None:
    call(*set_params(home, "bounty_share=600"))
    before = (home / "order.bin").read_bytes()
    line = ("network", "sign", home / "order.bin", "--keys", home / "fourth.json")
    assert error_of(call(*line, code=1)) == "no_vote"
    assert (home / "order.bin").read_bytes() == before
    # offline only the first set is known, so it is no more than a warning
    result = call(*line, "--offline")
    assert "may not sign this order as the genesis file has it" in result.stderr
    assert f"{list_key('fourth')} (counts for nothing)" in result.stdout
    call(*set_attestors(home, "--recovery", "--add", home / "fourth.json", out="recovery.bin"))
    recovery = ("network", "sign", home / "recovery.bin", "--keys", home / "first.json")
    assert error_of(call(*recovery, "--offline", code=1)) == "no_vote"


def test_an_order_for_another_network(home: Path, fake: FakeService) -> None:
    call(*set_params(home, "bounty_share=600"))
    (home / "genesis.bin").write_bytes(Network().raw)
    line = ("network", "sign", home / "order.bin", "--keys", home / "first.json", "--offline")
    assert error_of(call(*line, code=1)) == "wrong_network"
    with run_service() as elsewhere:
        for words in (("show", home / "order.bin"), submit(home)[1:]):
            result = call("network", *words, "--url", elsewhere.url, code=1)
            assert error_of(result) == "wrong_network"
    assert fake.network.state.one(PARAMS).next == ()


def test_a_file_that_was_changed(home: Path) -> None:
    call(*set_params(home, "bounty_share=600"))
    sign(home, "first")
    order = home / "order.bin"
    order.write_bytes(flip(order.read_bytes()))
    for words in (("show", home / "order.bin"), submit(home)[1:]):
        assert error_of(call("network", *words, code=1)) == "bad_signature"


def test_a_file_is_never_overwritten(home: Path) -> None:
    (home / "order.bin").write_bytes(b"mine")
    assert error_of(call(*set_params(home, "bounty_share=600"), code=1)) == "io"
    assert (home / "order.bin").read_bytes() == b"mine"


def test_rules_for_programs_and_people(home: Path, fake: FakeService) -> None:
    rules = call_json("network", "rules")
    assert {row["list_key"] for row in rules["attestors"]} == set(map(list_key, HOLDERS))
    assert rules["recovery"] == sorted(map(recovery_key, OFFLINE))
    text = call("network", "rules").stdout
    for key in (*rules["recovery"], *map(list_key, HOLDERS)):
        assert key in text
    assert "parameters    change 4 d after an order at the earliest" in text
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert lines["bounty_share"].split() == ["bounty_share", "500", "1/10000", "5", "%"]


WRONG: Final = {
    "no change of attestors": ["set-attestors", "--out", "o"],
    "no change of parameters": ["set-params", "--out", "o"],
    "a recovery that removes": [
        "set-attestors", "--out", "o", "--recovery", "--remove", "ab" * 32],
    "an epoch without recovery": [
        "set-attestors", "--out", "o", "--remove", "ab" * 32, "--epoch", "3"],
    "a seat without its proof": [
        "set-attestors", "--out", "o", "--add", f"{'ab' * 32}:{'cd' * 32}"],
    "a weight of nothing": ["set-attestors", "--out", "o", "--weigh", f"{'ab' * 32}=0"],
    "a key that is none": ["set-attestors", "--out", "o", "--remove", "me"],
    "a parameter that there is not": ["set-params", "--out", "o", "--set", "speed=1"],
    "no successor": ["set-successor", "--out", "o"],
    "a successor that is withdrawn": ["set-successor", "g", "--withdraw", "--out", "o"],
    "a withdrawal for later": ["set-successor", "--withdraw", "--from-ms", "1", "--out", "o"],
    "nobody who pays": ["submit", "order.bin"],
    "nobody who signs": ["sign", "order.bin"],
}  # fmt: skip


@pytest.mark.parametrize("words", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_command_line(fake: FakeService, words: list[str]) -> None:
    call("network", *words, code=2)
    assert fake.asked == []
