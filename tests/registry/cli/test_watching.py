"""`waypost report watch`: on a real chain, behind services that show what they caught."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ledger.codec import Record, encode
from ledger.crypto import sha256
from ledger.messages.evidence import VoteEquivocation
from ledger.messages.transactions import Report
from ledger.types import COIN
from registry.addresses import encode_account, encode_node
from registry.cli import watching
from registry.cli.watching import Watcher
from registry.keystore import derive
from registry.wallet import Terms, Wallet
from tests.factory import founding, public
from tests.life import OFFENCE, header_evidence, running, vote_evidence
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.fake_service import (
    RICH,
    FakeService,
    account_of,
    dripping,
    problem,
    run_service,
    save_keys,
    seed_of,
)

NODE: Final = "founder"
BOUNTY: Final = COIN // 20
NOBODY: Final = "http://127.0.0.1:1"


@pytest.fixture
def fake() -> Iterator[FakeService]:
    """A service that caught nobody so far."""
    with run_service({"nodes": founding(NODE)}) as service:
        service.network.block()
        show(service)
        yield service


@pytest.fixture
def alice(tmp_path: Path) -> Path:
    """The key file of who watches."""
    return save_keys(tmp_path, "alice")


def show(service: FakeService, *pieces: Record) -> None:
    """Have a service show these contradictions."""
    rows = [{"evidence": as_file(piece).hex()} for piece in pieces]
    answer = {"held": 0, "made": 0, "contradictions": rows}
    service.answers["/v1/verdicts"] = (200, json.dumps(answer).encode())


def as_file(piece: Record) -> bytes:
    """The evidence file of a piece."""
    kind = "vote" if isinstance(piece, VoteEquivocation) else "list"
    return encode(Report(OFFENCE[f"{kind}_equivocation"], encode(piece)))


def watch_once(alice: Path, *services: FakeService) -> Any:
    urls = [word for service in services for word in ("--url", service.url)]
    return call_json("report", "watch", "--from", alice, "--once", *urls)


def balance(service: FakeService, name: str = "alice") -> int:
    return service.network.state.account(account_of(name)).balance


def report_as_bob(service: FakeService, piece: Record) -> None:
    """Somebody else is faster."""
    network = service.network
    wallet = Wallet(network.hash, derive(seed_of("bob"), "account"))
    nonce = network.state.account(wallet.account).nonce
    terms = Terms(nonce, 1_000, network.chain.tip.height + 100)
    network.block(wallet.report(terms, Report(OFFENCE["vote_equivocation"], encode(piece))))


# ------------------------------------------------------------------------------------- once


def test_what_pays_is_reported_and_the_bounty_collected(alice: Path, fake: FakeService) -> None:
    show(fake, vote_evidence(fake.network, NODE))
    done = watch_once(alice, fake)
    (event,) = done["events"]
    assert (event["event"], event["offence"]) == ("reported", "vote_equivocation")
    assert event["key"] == public(f"{NODE} duty").hex()
    assert event["epoch"] == running(fake.network)
    penalty = event["penalty"]
    assert penalty["node"] == encode_node(public(NODE))
    assert (penalty["taken"], penalty["bounty"]) == (str(COIN), str(BOUNTY))
    assert (done["reported"], done["earned"]) == (1, str(BOUNTY))
    assert balance(fake) == RICH + BOUNTY
    (listed,) = call_json("report", "list", "--url", fake.url)["reports"]
    assert (listed["height"], listed["index"]) == (event["height"], event["index"])
    assert listed["transaction"] == event["hash"]


def test_what_was_punished_already_is_left_alone(alice: Path, fake: FakeService) -> None:
    piece = vote_evidence(fake.network, NODE)
    show(fake, piece)
    report_as_bob(fake, piece)
    height = fake.network.chain.tip.height
    done = watch_once(alice, fake)
    (event,) = done["events"]
    assert (event["event"], event["code"]) == ("left", "punished_already")
    assert (done["reported"], done["earned"]) == (0, "0")
    assert fake.network.chain.tip.height == height
    assert balance(fake) == RICH


def test_what_brings_no_bounty_is_left_alone(alice: Path, fake: FakeService) -> None:
    """An attestor without a node has no stake to take."""
    show(fake, header_evidence(fake.network, fake.network.genesis.attestors[0].list_key))
    height = fake.network.chain.tip.height
    (event,) = watch_once(alice, fake)["events"]
    assert (event["event"], event["code"]) == ("left", "no_bounty")
    assert fake.network.chain.tip.height == height


UNPROVEN: Final = {
    "a forged signature": ("bad_signature", {"fail_signature": bytes(64)}),
    "two passes": ("no_contradiction", {"faults": 0}),
}


@pytest.mark.parametrize(("code", "changes"), UNPROVEN.values(), ids=UNPROVEN)
def test_a_service_is_not_believed(
    alice: Path, fake: FakeService, code: str, changes: dict[str, bytes | int]
) -> None:
    good = vote_evidence(fake.network, NODE)
    show(fake, replace(good, **changes), good)
    result = call("report", "watch", "--from", alice, "--once", "--url", fake.url)
    assert f"{fake.url}: it shows evidence that proves nothing: {code}" in result.stderr
    # nobody was asked about it, and it is not in the way of what does prove something
    assert fake.asked.count("/v1/reports/check") == 1
    assert "1 reported, 0.05 coins earned" in result.stdout


def test_each_of_several_services_is_asked(alice: Path, fake: FakeService) -> None:
    show(fake, vote_evidence(fake.network, NODE))
    with run_service({"nodes": founding(NODE)}) as idle:
        idle.network = fake.network
        show(idle)
        done = watch_once(alice, idle, fake)
    assert (done["reported"], done["earned"]) == (1, str(BOUNTY))


def test_one_that_is_silent_is_not_in_the_way(alice: Path, fake: FakeService) -> None:
    show(fake, vote_evidence(fake.network, NODE))
    words = ("report", "watch", "--from", alice, "--once")
    result = call(*words, "--url", NOBODY, "--url", fake.url)
    assert f"warning: {NOBODY}: nothing answers" in result.stderr
    assert "1 reported, 0.05 coins earned" in result.stdout


def test_none_that_answers_is_a_failure(alice: Path) -> None:
    result = call("report", "watch", "--from", alice, "--once", "--url", NOBODY, code=1)
    assert error_of(result) == "service_error"
    assert result.stdout == ""


def test_services_of_two_networks_are_not_mixed_up(alice: Path, fake: FakeService) -> None:
    show(fake, vote_evidence(fake.network, NODE))
    with run_service() as other:
        show(other)
        words = ("report", "watch", "--from", alice, "--once")
        result = call(*words, "--url", other.url, "--url", fake.url)
    assert f"{fake.url}: it serves the network" in result.stderr
    assert "0 reported" in result.stdout
    assert balance(fake) == RICH


def test_nothing_is_reported_to_another_network_than_the_one_named(
    alice: Path, fake: FakeService, tmp_path: Path
) -> None:
    show(fake, vote_evidence(fake.network, NODE))
    genesis = tmp_path / "genesis.bin"
    with run_service() as other:
        genesis.write_bytes(other.network.raw)
    words = ("--from", alice, "--once", "--url", fake.url, "--genesis", genesis)
    result = call("report", "watch", *words, code=1)
    assert f"{fake.url} serves the network" in result.stderr
    assert balance(fake) == RICH


# -------------------------------------------------------------------------------- look by look


def make_watcher(told: list[dict[str, Any]], *services: FakeService) -> Watcher:
    urls: Sequence[str] = [service.url for service in services]
    return Watcher(urls, None, seed_of("alice"), told.append)


def test_each_is_reported_once(fake: FakeService) -> None:
    told: list[dict[str, Any]] = []
    watcher = make_watcher(told, fake)
    first = vote_evidence(fake.network, NODE)
    show(fake, first)
    assert [watcher.look(), watcher.look()] == [1, 1]
    assert [event["event"] for event in told] == ["reported"]
    fake.network.end_epoch()
    show(fake, first, vote_evidence(fake.network, NODE))
    watcher.look()
    watcher.look()
    assert [event["event"] for event in told] == ["reported", "reported"]
    assert watcher.counts() == {"reported": 2, "earned": str(balance(fake) - RICH)}
    assert balance(fake) > RICH + BOUNTY


def test_the_next_run_finds_out_what_was_done(fake: FakeService) -> None:
    told: list[dict[str, Any]] = []
    show(fake, vote_evidence(fake.network, NODE))
    make_watcher(told, fake).look()
    make_watcher(told, fake).look()
    assert [event["event"] for event in told] == ["reported", "left"]
    assert told[1]["code"] == "punished_already"


def test_what_two_services_show_is_reported_once(fake: FakeService) -> None:
    told: list[dict[str, Any]] = []
    show(fake, vote_evidence(fake.network, NODE))
    with run_service() as other:
        other.network = fake.network
        show(other, vote_evidence(fake.network, NODE))
        watcher = make_watcher(told, fake, other)
        watcher.look()
        watcher.look()
    assert [event["event"] for event in told] == ["reported"]


def test_what_cannot_be_reported_yet_is_tried_again(
    fake: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[dict[str, Any]] = []
    watcher = make_watcher(told, fake)
    show(fake, vote_evidence(fake.network, NODE))
    fake.answers["/v1/reports/check"] = problem(422, "unknown_offender", "not known here", {})
    watcher.look()
    watcher.look()
    assert told == []
    # it is not said at each look
    assert capsys.readouterr().err.count("not known here") == 1
    del fake.answers["/v1/reports/check"]
    watcher.look()
    assert [event["event"] for event in told] == ["reported"]


def test_what_no_service_shows_any_more_is_forgotten(fake: FakeService) -> None:
    told: list[dict[str, Any]] = []
    watcher = make_watcher(told, fake)
    piece = vote_evidence(fake.network, NODE)
    for pieces in ([piece], [], [piece]):
        show(fake, *pieces)
        watcher.look()
    assert [event["event"] for event in told] == ["reported", "left"]


def test_a_report_is_counted_although_it_could_not_be_read_back(fake: FakeService) -> None:
    told: list[dict[str, Any]] = []
    watcher = make_watcher(told, fake)
    show(fake, vote_evidence(fake.network, NODE))
    where = f"/v1/reports/{fake.network.chain.tip.height + 1}/0"
    fake.answers[where] = problem(503, "busy", "ask again soon", {})
    watcher.look()
    assert (told, balance(fake)) == ([], RICH + BOUNTY)
    watcher.look()
    (event,) = told
    (listed,) = call_json("report", "list", "--url", fake.url)["reports"]
    assert (event["event"], event["hash"]) == ("reported", listed["transaction"])
    assert (event["height"], event["index"]) == (listed["height"], listed["index"])
    assert event["penalty"] == listed["penalty"]
    assert watcher.counts() == {"reported": 1, "earned": str(BOUNTY)}
    watcher.look()
    assert len(told) == 1


def test_a_report_of_somebody_else_is_not_counted(
    fake: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[dict[str, Any]] = []
    watcher = make_watcher(told, fake)
    piece = vote_evidence(fake.network, NODE)
    show(fake, piece)
    fake.is_holding = True
    watcher.look()
    assert "no block took the transaction yet" in capsys.readouterr().err
    report_as_bob(fake, piece)
    watcher.look()
    assert [(event["event"], event.get("code")) for event in told] == [("left", "punished_already")]
    assert watcher.counts() == {"reported": 0, "earned": "0"}
    assert "/v1/reports" in fake.asked


def test_one_that_denies_a_report_does_not_hide_it(fake: FakeService) -> None:
    """Another one knows of it."""
    told: list[dict[str, Any]] = []
    piece = vote_evidence(fake.network, NODE)
    with run_service() as liar:
        liar.network = fake.network
        show(liar, piece)
        show(fake)
        watcher = make_watcher(told, liar, fake)
        for path in (f"/v1/reports/{fake.network.chain.tip.height + 1}/0", "/v1/reports"):
            liar.answers[path] = problem(503, "busy", "ask again soon", {})
        watcher.look()
        page = {"height": 1, "reports": [], "next": None}
        liar.answers["/v1/reports"] = 200, json.dumps(page).encode()
        watcher.look()
        show(fake, piece)
        watcher.look()
    assert [event["event"] for event in told] == ["left", "reported"]
    assert watcher.counts() == {"reported": 1, "earned": str(BOUNTY)}
    assert balance(fake) == RICH + BOUNTY


# ----------------------------------------------------------------------- services that are bad


def serve_rubbish_genesis(bad: FakeService) -> None:
    summary = json.loads(bad.answer("GET", "/v1/network", b"")[1])
    summary["genesis_hash"] = sha256(b"rubbish").hex()
    bad.answers["/v1/network"] = 200, json.dumps(summary).encode()
    bad.answers["/v1/genesis"] = 200, b"rubbish"


def serve_huge_nonce(bad: FakeService) -> None:
    path = f"/v1/accounts/{encode_account(account_of('alice'))}"
    answer = json.loads(bad.answer("GET", path, b"")[1]) | {"nonce": 2**70}
    bad.answers[path] = 200, json.dumps(answer).encode()


def ask_for_huge_nonce(bad: FakeService) -> None:
    bad.answers["/v1/transactions"] = problem(422, "nonce_used", "used", {"expected": 2**70})


def say_it_is_settled(bad: FakeService) -> None:
    bad.answers["/v1/reports/check"] = problem(422, "nothing_at_stake", "believe me", {})


BAD: Final = {
    "a genesis file that is none": (serve_rubbish_genesis, "names rules that no network has"),
    "a nonce that is none": (serve_huge_nonce, "answers in another way"),
    "the next nonce that is none": (ask_for_huge_nonce, "answers in another way"),
    "that nothing is to be done": (say_it_is_settled, ""),
}


@pytest.mark.parametrize(("breaks", "says"), BAD.values(), ids=BAD.keys())
def test_one_that_answers_with_rubbish_is_not_in_the_way(
    alice: Path, fake: FakeService, breaks: Callable[[FakeService], None], says: str
) -> None:
    piece = vote_evidence(fake.network, NODE)
    show(fake, piece)
    with run_service() as bad:
        bad.network = fake.network
        show(bad, piece)
        breaks(bad)
        asked = len(bad.asked)
        urls = ("--url", bad.url, "--url", fake.url)
        result = call("report", "watch", "--from", alice, "--once", *urls)
        assert len(bad.asked) > asked
    assert says in result.stderr
    assert bool(result.stderr) is bool(says)
    assert "1 reported, 0.05 coins earned" in result.stdout
    assert balance(fake) == RICH + BOUNTY


def test_one_that_never_ends_is_not_in_the_way(
    alice: Path, fake: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "PATIENCE_S", 2.0)
    show(fake, vote_evidence(fake.network, NODE))
    with dripping() as url:
        words = ("report", "watch", "--from", alice, "--once")
        result = call(*words, "--url", url, "--url", fake.url)
    assert f"warning: {url}: {url} took longer than" in result.stderr
    assert "1 reported, 0.05 coins earned" in result.stdout


def test_nobody_waits_for_one_that_is_slow(
    fake: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers only once the other one was served."""
    show(fake, vote_evidence(fake.network, NODE))
    is_served = threading.Event()
    waits: list[bool] = []
    genesis = tmp_path / "genesis.bin"
    genesis.write_bytes(fake.network.raw)
    with run_service() as slow:
        slow.network = fake.network
        show(slow)
        answer = slow.answer

        def wait_and_answer(method: str, target: str, body: bytes) -> tuple[int, bytes]:
            waits.append(is_served.wait(10))
            return answer(method, target, body)

        monkeypatch.setattr(slow, "answer", wait_and_answer)
        urls = [slow.url, fake.url]
        watcher = Watcher(urls, genesis, seed_of("alice"), lambda _: is_served.set())
        assert watcher.look() == 2
    assert waits
    assert all(waits)
    assert watcher.counts() == {"reported": 1, "earned": str(BOUNTY)}


# ------------------------------------------------------------------------------- as a process


def start(alice: Path, service: FakeService, *words: str, **more: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "registry", "report", "watch", "--from", str(alice)]
    command += ["--url", service.url, "--every", "1", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **more)


def test_it_tells_as_it_goes_until_it_is_stopped(alice: Path, fake: FakeService) -> None:
    show(fake, vote_evidence(fake.network, NODE))
    process = start(alice, fake, "-o", "json")
    assert process.stdout is not None
    event = json.loads(process.stdout.readline())
    assert (event["event"], event["earned"]) == ("reported", str(BOUNTY))
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=30)
    assert json.loads(rest) == {"event": "ended", "reported": 1, "earned": str(BOUNTY)}
    assert process.returncode == 0


def test_it_ends_with_who_started_it(alice: Path, fake: FakeService) -> None:
    show(fake, vote_evidence(fake.network, NODE))
    reading, writing = os.pipe()
    process = start(alice, fake, "--lifeline", str(reading), pass_fds=[reading])
    os.close(reading)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("reported vote_equivocation in epoch 1")
    assert process.poll() is None
    os.close(writing)
    rest, _ = process.communicate(timeout=30)
    assert rest == "1 reported, 0.05 coins earned\n"
    assert process.returncode == 0
