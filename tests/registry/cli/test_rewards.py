"""`waypost rewards` and `waypost network participation`, on a real chain."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.messages.tables import NODES, POOL
from ledger.nodes import get_owed
from ledger.transactions.judge import get_quorum
from registry.addresses import decode_node, encode_account, encode_node
from registry.keystore import derive
from tests.factory import ATTESTORS, public
from tests.life import FAULTY, judge
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.fake_service import (
    FakeService,
    account_of,
    problem,
    run_service,
    save_keys,
    seed_of,
)
from tests.registry.town import NODES_NAMES, THRESHOLD, make_town

FEE = 1_000
NAMES = ("node", "other")
KEYS = [derive(seed_of(name), "node").public for name in NAMES]
NODE, OTHER = map(encode_node, KEYS)
ALICE, BOB = (encode_account(account_of(name)) for name in ("alice", "bob"))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    with run_service() as running:
        monkeypatch.setenv("WAYPOST_URL", running.url)
        yield running


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with key files."""
    for name in ("alice", "bob", "carol", *NAMES):
        save_keys(tmp_path, name)
    return tmp_path


def earn(fake: FakeService, keys: Path) -> None:
    """Two nodes of alice's, half of the one bob's, that earned for some epochs."""
    for name, stake in (("node", "50"), ("other", "100")):
        file = keys / f"{name}.json"
        who = ("--operator", keys / "alice.json", "--node", file)
        call("node", "register", *who, "--stake", stake, "--ipv4", "5.6.7.8")
    bob = ("--from", keys / "bob.json", "--node", NODE, "--amount", "50")
    call("node", "contribute", *bob)
    for _ in range(4):
        fake.network.end_epoch()


def owed(fake: FakeService, key: bytes) -> list[int]:
    """What waits in a node for each of its contributors."""
    state = fake.network.state
    return get_owed(state.one(NODES, key), state.one(POOL))


def balance(fake: FakeService, name: str) -> int:
    return fake.network.state.account(account_of(name)).balance


def test_what_waits_for_an_account(fake: FakeService, keys: Path) -> None:
    assert call_json("rewards", "show", ALICE) == {
        "account": ALICE,
        "claimable": "0",
        "rewards": [],
    }
    earn(fake, keys)
    shown = call_json("rewards", "show", ALICE)
    expected = {encode_node(key): str(owed(fake, key)[0]) for key in KEYS}
    assert {row["node"]: row["claimable"] for row in shown["rewards"]} == expected
    assert shown["claimable"] == str(sum(map(int, expected.values())))
    text = call("rewards", "show", account_of("alice").hex()).stdout
    assert NODE in text
    assert f"wait for {ALICE}" in text


def test_what_a_node_earns_and_for_whom(fake: FakeService, keys: Path) -> None:
    earn(fake, keys)
    shown = call_json("rewards", "show", NODE)
    assert shown["node"] == NODE
    rows = shown["rewards"]["contributors"]
    assert [row["account"] for row in rows] == [ALICE, BOB]
    assert [int(row["claimable"]) for row in rows] == owed(fake, KEYS[0])
    text = call("rewards", "show", NODE).stdout
    for part in ("earns", "an epoch", f"{BOB} 0."):
        assert part in text


def test_a_node_that_does_not_earn_yet(fake: FakeService, keys: Path) -> None:
    file = keys / "node.json"
    who = ("--operator", keys / "alice.json", "--node", file)
    call("node", "register", *who, "--stake", "100", "--ipv4", "5.6.7.8")
    assert "nothing now; once it is active" in call("rewards", "show", NODE).stdout


def test_everything_is_claimed_at_once(fake: FakeService, keys: Path) -> None:
    earn(fake, keys)
    before = balance(fake, "alice")
    wait = sum(owed(fake, key)[0] for key in KEYS)
    call("rewards", "claim", "--from", keys / "alice.json", "--all", "--node", NODE, code=2)
    made = call_json("rewards", "claim", "--from", keys / "alice.json", "--all")
    assert made["network"] == "test-net"
    assert {row["node"] for row in made["claims"]} == {NODE, OTHER}
    assert {row["state"] for row in made["claims"]} == {"committed"}
    assert all(row["height"] for row in made["claims"])
    assert balance(fake, "alice") == before + wait - 2 * FEE
    assert owed(fake, KEYS[0])[1] > 0
    result = call("rewards", "claim", "--from", keys / "alice.json", code=1)
    assert error_of(result) == "nothing_to_claim"


def test_what_one_node_refuses_is_said_beside_what_was_claimed(
    fake: FakeService, keys: Path
) -> None:
    earn(fake, keys)
    before, wait = balance(fake, "alice"), owed(fake, KEYS[0])[0]
    fake.answers[f"/v1/nodes/{OTHER}"] = problem(422, "nothing_to_claim", "wait", {})
    words = ("rewards", "claim", "--from", keys / "alice.json")
    result = call(*words, "-o", "json", code=1)
    rows = {row["node"]: row for row in json.loads(result.stdout)["claims"]}
    assert rows[NODE]["state"] == "committed"
    assert (rows[OTHER]["state"], rows[OTHER]["code"]) == ("refused", "nothing_to_claim")
    assert balance(fake, "alice") == before + wait - FEE
    assert owed(fake, KEYS[1])[0] > 0
    fake.network.end_epoch()
    assert "refused: nothing_to_claim: wait" in call(*words, code=1).stdout


def test_what_was_claimed_is_waited_for_if_the_last_node_refuses(
    fake: FakeService, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earn(fake, keys)
    first, last = (row["node"] for row in call_json("account", "show", ALICE)["rewards"])
    answer = fake.answer
    fake.is_holding = True

    def refuse(method: str, target: str, body: bytes) -> tuple[int, bytes]:
        if target == f"/v1/nodes/{last}":
            # from now on blocks come, with what waits and is waited for
            fake.is_holding = False
            return problem(422, "nothing_to_claim", "wait", {})
        return answer(method, target, body)

    monkeypatch.setattr(fake, "answer", refuse)
    height = fake.network.chain.tip.height
    result = call("rewards", "claim", "--from", keys / "alice.json", "-o", "json", code=1)
    rows = {row["node"]: row for row in json.loads(result.stdout)["claims"]}
    assert (rows[first]["state"], rows[first]["height"]) == ("committed", height + 1)
    assert rows[last]["state"] == "refused"
    assert owed(fake, decode_node(first))[0] == 0


def test_one_node_is_claimed(fake: FakeService, keys: Path) -> None:
    earn(fake, keys)
    before, wait = balance(fake, "bob"), owed(fake, KEYS[0])[1]
    text = call("rewards", "claim", "--from", keys / "bob.json", "--node", NODE).stdout
    assert f"{NODE}  in block" in text
    assert "network test-net" in text
    assert balance(fake, "bob") == before + wait - FEE


def test_claims_may_wait(fake: FakeService, keys: Path) -> None:
    earn(fake, keys)
    fake.is_holding = True
    made = call_json("rewards", "claim", "--from", keys / "alice.json", "--no-wait")
    assert [row["state"] for row in made["claims"]] == ["pending", "pending"]
    fake.release()
    assert [owed(fake, key)[0] for key in KEYS] == [0, 0]


REFUSED = {
    "who has no part": (["--from", "carol.json", "--node", NODE], "no_contribution"),
    "who has no part anywhere": (["--from", "carol.json"], "nothing_to_claim"),
    "a node that nobody knows": (
        ["--from", "bob.json", "--node", encode_node(bytes(32))],
        "not_found",
    ),
    "no key file": (["--from", "missing.json"], "bad_key_file"),
}


@pytest.mark.parametrize(("words", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(
    fake: FakeService, keys: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: str
) -> None:
    earn(fake, keys)
    monkeypatch.chdir(keys)
    before = [owed(fake, key) for key in KEYS]
    assert error_of(call("rewards", "claim", *words, code=1)) == code
    assert [owed(fake, key) for key in KEYS] == before


def test_a_wrong_address(fake: FakeService) -> None:
    assert "no address" in call("rewards", "show", "wpx1", code=2).stderr
    assert "checksum" in call("rewards", "show", NODE[:-1] + "q", code=2).stderr
    assert fake.asked == []


# ---------------------------------------------------------------------------- taking part


def test_who_takes_part(fake: FakeService) -> None:
    network = fake.network = make_town()
    network.block(judge(network, NODES_NAMES[0], FAULTY))
    quorum = get_quorum(network.state, 1, public(NODES_NAMES[0]))
    shown = call_json("network", "participation", "--epochs", "4")
    assert shown["epochs"] == 4
    votes = {row["node"]: row["voted"] for row in shown["testers"]}
    expected = {encode_node(key): int(place < THRESHOLD) for place, key in enumerate(quorum)}
    assert votes == expected
    assert len(shown["attestors"]) == len(ATTESTORS)
    text = call("network", "participation").stdout
    lines = [line.split() for line in text.splitlines()]
    for place in (0, -1):
        row = ["tester", encode_node(quorum[place]), "voted", "in", str(1 + place), "of", "1"]
        assert [*row, "verdicts"] in lines
    assert "signed 0 of 0 headers" in text
    assert "in the newest 16 epochs" in text


@pytest.mark.parametrize("epochs", ["0", "97", "x"])
def test_a_wrong_number_of_epochs(fake: FakeService, epochs: str) -> None:
    call("network", "participation", "--epochs", epochs, code=2)
    assert fake.asked == []
