"""`waypost report`: evidence without a server, and reporting it on a real chain."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from ledger.codec import Record, encode
from ledger.messages.evidence import VoteEquivocation
from ledger.messages.transactions import Report
from ledger.types import COIN
from registry.addresses import encode_account, encode_node
from registry.cli import report as commands
from registry.evidence import MAX_FILE_BYTES
from registry.keystore import derive
from registry.wallet import Terms, Wallet
from tests.factory import Network, founding, public
from tests.life import OFFENCE, header_evidence, running, vote_evidence
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.fake_service import (
    RICH,
    FakeService,
    account_of,
    problem,
    run_service,
    save_keys,
    seed_of,
)

NODE: Final = "founder"
ADDRESS: Final = encode_node(public(NODE))
BOUNTY: Final = COIN // 20


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    with run_service({"nodes": founding(NODE)}) as running_service:
        monkeypatch.setenv("WAYPOST_URL", running_service.url)
        running_service.network.block()
        yield running_service


@pytest.fixture
def home(tmp_path: Path, fake: FakeService, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the genesis file, and key files."""
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path))
    (tmp_path / "genesis.bin").write_bytes(fake.network.raw)
    for name in ("alice", "bob"):
        save_keys(tmp_path, name)
    return tmp_path


def save(folder: Path, evidence: Record, name: str = "evidence.bin") -> Path:
    """A file of evidence."""
    kind = "vote" if isinstance(evidence, VoteEquivocation) else "list"
    path = folder / name
    path.write_bytes(encode(Report(OFFENCE[f"{kind}_equivocation"], encode(evidence))))
    return path


def votes(network: Network) -> VoteEquivocation:
    return vote_evidence(network, NODE)


# ------------------------------------------------------------------------------------ check


def test_check_needs_no_server(home: Path, fake: FakeService) -> None:
    file = save(home, votes(fake.network))
    asked = list(fake.asked)
    shown = call_json("report", "check", file, "--url", "http://127.0.0.1:1")
    assert shown["offence"] == "vote_equivocation"
    assert (shown["key"], shown["role"]) == (public(f"{NODE} duty").hex(), "duty")
    assert shown["epoch"] == running(fake.network)
    assert (shown["network"], shown["genesis_hash"]) == ("test-net", fake.network.hash.hex())
    assert ADDRESS in shown["proves"]
    assert "only a ledger knows" in shown["unknown"]
    assert "now" not in shown
    text = call("report", "check", file).stdout
    assert f"proves   {shown['proves']}" in text
    assert f"unknown  {shown['unknown']}" in text
    assert fake.asked == asked


def test_check_of_headers_names_both(home: Path, fake: FakeService) -> None:
    key = fake.network.genesis.attestors[1].list_key
    file = save(home, header_evidence(fake.network, key))
    shown = call_json("report", "check", file, "--genesis", home / "genesis.bin")
    assert (shown["offence"], shown["key"]) == ("list_equivocation", key.hex())
    assert "signed two headers of epoch 1" in shown["proves"]


def test_check_asks_what_a_report_would_do_if_it_is_told_to(home: Path, fake: FakeService) -> None:
    file = save(home, votes(fake.network))
    before = fake.network.dump()
    shown = call_json("report", "check", file, "--ask")
    assert (shown["now"]["taken"], shown["now"]["bounty"]) == (str(COIN), str(BOUNTY))
    text = call("report", "check", file, "--ask").stdout
    assert f"a report now  1 coin from {ADDRESS}; 0.05 coins of it to the reporter" in text
    assert fake.network.dump() == before


USELESS: Final = {
    "a forged signature": ("bad_signature", {"fail_signature": bytes(64)}),
    "two passes": ("no_contradiction", {"faults": 0}),
}


@pytest.mark.parametrize(("code", "changes"), USELESS.values(), ids=USELESS.keys())
def test_check_and_submit_refuse_what_proves_nothing(
    home: Path, fake: FakeService, code: str, changes: dict[str, bytes | int]
) -> None:
    file = save(home, replace(votes(fake.network), **changes))
    result = call("report", "check", file, code=1)
    assert (error_of(result), result.stdout) == (code, "")
    result = call("report", "submit", file, "--from", home / "alice.json", code=1)
    assert (error_of(result), result.stdout) == (code, "")
    assert fake.network.state.account(account_of("alice")).nonce == 0


FILES: Final = {
    "nothing": (b"", "not_canonical"),
    "a text": (b"he did it", "not_canonical"),
    "a long file": (bytes(MAX_FILE_BYTES + 1), "too_large"),
}


@pytest.mark.parametrize(("content", "code"), FILES.values(), ids=FILES.keys())
def test_what_is_no_evidence(home: Path, content: bytes, code: str) -> None:
    (home / "evidence.bin").write_bytes(content)
    assert error_of(call("report", "check", home / "evidence.bin", code=1)) == code


def test_files_that_are_not_there(home: Path, fake: FakeService) -> None:
    assert error_of(call("report", "check", home / "none.bin", code=1)) == "io"
    file = save(home, votes(fake.network))
    (home / "genesis.bin").unlink()
    assert error_of(call("report", "check", file, code=1)) == "io"


def test_evidence_of_another_network(home: Path, fake: FakeService) -> None:
    (home / "genesis.bin").write_bytes(Network().raw)
    file = save(home, votes(fake.network))
    assert error_of(call("report", "check", file, code=1)) == "bad_signature"


# ----------------------------------------------------------------------------------- submit


def test_submit_says_what_was_done(home: Path, fake: FakeService) -> None:
    file = save(home, votes(fake.network))
    done = call_json("report", "submit", file, "--from", home / "alice.json")
    assert (done["state"], done["network"]) == ("committed", "test-net")
    assert done["report"]["penalty"] == {
        "offence": "vote_equivocation",
        "key": public(f"{NODE} duty").hex(),
        "role": "duty",
        "node": ADDRESS,
        "epoch": running(fake.network),
        "taken": str(COIN),
        "bounty": str(BOUNTY),
        "tombstones": False,
    }
    assert done["report"]["reporter"] == encode_account(account_of("alice"))
    assert done["report"]["transaction"] == done["hash"]
    # the fee came back with the bounty
    assert fake.network.state.account(account_of("alice")).balance == RICH + BOUNTY


def test_submit_in_words(home: Path, fake: FakeService) -> None:
    network = fake.network
    file = save(home, votes(network))
    text = call("report", "submit", file, "--from", home / "alice.json").stdout
    what = f"punished vote_equivocation in epoch 1, 1 coin from {ADDRESS}; 0.05 coins of it"
    assert text.startswith(f"{what} to the reporter: in block 2\n")
    key = network.genesis.attestors[0].list_key
    file = save(home, header_evidence(network, key), "headers.bin")
    text = call("report", "submit", file, "--from", home / "alice.json").stdout
    assert f"0 coins from the key {key.hex()}, which is barred for good" in text


def test_what_was_punished_is_refused_and_costs_nothing(home: Path, fake: FakeService) -> None:
    file = save(home, votes(fake.network))
    call("report", "submit", file, "--from", home / "alice.json")
    result = call("report", "submit", file, "--from", home / "bob.json", code=1)
    assert error_of(result) == "punished_already"
    assert "at height 2" in result.stderr
    assert fake.network.state.account(account_of("bob")).balance == RICH
    assert error_of(call("report", "check", file, "--ask", code=1)) == "punished_already"


def test_submit_without_waiting_did_nothing_yet(home: Path, fake: FakeService) -> None:
    fake.is_holding = True
    file = save(home, votes(fake.network))
    sent = call_json("report", "submit", file, "--from", home / "alice.json", "--no-wait")
    assert (sent["state"], sent["report"]) == ("pending", None)
    assert call_json("report", "list")["reports"] == []


# ---------------------------------------------------------------------------- list and show


def report_some(fake: FakeService, count: int) -> None:
    """Punish one node in as many epochs."""
    for _ in range(count):
        fake.network.block(fake_report(fake))
        fake.network.end_epoch()


def fake_report(fake: FakeService) -> bytes:
    """A report by bob, whose key is in his key file."""
    network = fake.network
    wallet = Wallet(network.hash, derive(seed_of("bob"), "account"))
    nonce = network.state.account(wallet.account).nonce
    body = Report(OFFENCE["vote_equivocation"], encode(votes(network)))
    return wallet.report(Terms(nonce, 1_000, network.chain.tip.height + 100), body)


def test_the_record_has_the_newest_first_and_all_pages(
    home: Path, fake: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "0 reports at height 1" in call("report", "list").stdout
    report_some(fake, 5)
    monkeypatch.setattr(commands, "PAGE", 2)
    shown = call_json("report", "list")
    assert [row["penalty"]["epoch"] for row in shown["reports"]] == [5, 4, 3, 2, 1]
    assert shown["more"] is False
    some = call_json("report", "list", "--limit", "3")
    assert some["reports"] == shown["reports"][:3]
    assert some["more"] is True
    text = call("report", "list", "--limit", "3").stdout
    assert f"3 reports at height {shown['height']}; there are more" in text
    assert text.count(ADDRESS) == 3


def test_what_the_record_holds_can_be_checked_again(home: Path, fake: FakeService) -> None:
    report_some(fake, 1)
    (row,) = call_json("report", "list")["reports"]
    place = row["height"], row["index"]
    assert call_json("report", "show", *place) == row
    out = home / "again.bin"
    text = call("report", "show", *place, "--out", out).stdout
    for part in (ADDRESS, "1 coin", "0.05 coins", encode_account(account_of("bob")), str(out)):
        assert part in text
    assert out.read_bytes().hex() == row["evidence"]
    assert ADDRESS in call_json("report", "check", out)["proves"]
    assert error_of(call("report", "show", *place, "--out", out, code=1)) == "io"


def test_a_report_that_there_is_not(home: Path) -> None:
    assert error_of(call("report", "show", "1", "0", code=1)) == "not_found"


def test_a_wrong_command_line(home: Path, fake: FakeService) -> None:
    asked = list(fake.asked)
    call("report", "submit", home / "evidence.bin", code=2)
    call("report", "list", "--limit", "0", code=2)
    call("report", "show", "1", code=2)
    assert fake.asked == asked


def test_a_service_that_answers_otherwise(home: Path, fake: FakeService) -> None:
    fake.answers["/v1/reports/1/0"] = 200, b'{"height": 1}'
    assert error_of(call("report", "show", "1", "0", code=1)) == "bad_answer"
    fake.answers["/v1/reports"] = problem(410, "height_gone", "start at the first page", {})
    assert error_of(call("report", "list", code=1)) == "height_gone"
