"""The guides work: the commands of their pages, one after the other, as they stand there."""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from ledger.codec import encode
from ledger.crypto import sha256
from ledger.genesis import load_genesis
from ledger.messages.genesis import COMET, REGISTRY
from ledger.messages.tables import NODES, PARAMS, SETS, SUCCESSION
from ledger.messages.transactions import BY_RECOVERY, Report
from ledger.params import PARAMETERS
from ledger.types import COIN
from registry import signer
from registry.addresses import encode_account, encode_node
from registry.cli import preflight
from registry.founding import make_seat
from registry.keystore import RECOVERY, derive
from registry.settings import load_settings
from tests.factory import founding, make_genesis
from tests.life import OFFENCE, vote_evidence
from tests.registry.cli.driver import call
from tests.registry.cli.fake_service import (
    FakeService,
    account_of,
    run_service,
    save_keys,
    seed_of,
)
from tests.registry.factory import LINKS

PAGES: Final = Path(__file__).resolve().parents[3] / "docs" / "operating"
HOLDERS: Final = ("first", "second", "third")
OFFLINE: Final = ("vault", "safe", "paper")


def read_commands(page: str) -> list[list[str]]:
    """The words of every command in the blocks of a page."""
    text = (PAGES / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith("waypost ") for line in lines)
    return [shlex.split(line)[1:] for line in lines]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    """A network, and somebody in a folder with its genesis file and all the key files."""
    monkeypatch.setattr(signer, "CHAIN_LINKS", LINKS)
    seats = sorted((make_seat(seed_of(name)) for name in HOLDERS), key=lambda row: row.list_key)
    fields = {
        "attestors": tuple(seats),
        "recovery": tuple(sorted(derive(seed_of(name), RECOVERY).public for name in OFFLINE)),
        "nodes": founding("founder"),
    }
    with run_service(fields) as running:
        running.network.attesting = False
        running.network.block()
        monkeypatch.setenv("WAYPOST_URL", running.url)
        monkeypatch.setenv("WAYPOST_HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        (tmp_path / "genesis.bin").write_bytes(running.network.raw)
        for name in (*HOLDERS, *OFFLINE, "fourth"):
            save_keys(tmp_path, name)
        save_keys(tmp_path, "alice").rename("account.json")
        yield running


def follow(page: str, stands_for: Callable[[str], str] = str) -> list[str]:
    """Run the commands of a page, and return what each of them prints."""
    return [call(*map(stands_for, words)).stdout for words in read_commands(page)]


def test_reporting(fake: FakeService) -> None:
    evidence = vote_evidence(fake.network, "founder")
    raw = encode(Report(OFFENCE["vote_equivocation"], encode(evidence)))
    Path("evidence.bin").write_bytes(raw)
    before = fake.network.state.account(account_of("alice")).balance
    checked, asked, submitted, listed, _, again = follow("reporting.md")
    assert "proves" in checked
    assert "a report now" in asked
    assert submitted.startswith("punished vote_equivocation")
    assert "1 report at height" in listed
    assert fake.network.state.account(account_of("alice")).balance > before
    assert Path("again.bin").read_bytes() == raw
    assert again == checked


def test_changing_rules(fake: FakeService) -> None:
    seat = call("keys", "seat", "fourth.json", "--genesis", "genesis.bin").stdout.strip()
    names = {"SEAT": seat, "LISTKEY": derive(seed_of("first"), "list").public.hex()}
    following = encode(make_genesis(name=b"another-net"))
    Path("following.bin").write_bytes(following)
    printed = follow("changing_rules.md", lambda word: names.get(word, word))
    assert seat in [text.strip() for text in printed]
    place = [row.name for row in PARAMETERS].index("bounty_share")
    assert fake.network.state.one(PARAMS).next[place] == 600
    assert fake.network.state.one(SUCCESSION).genesis_hash == sha256(following)
    # the recovery keys go before whatever was ordered
    assert fake.network.state.one(SETS).ordered_by == BY_RECOVERY
    fake.network.end_epoch()
    (only,) = fake.network.state.one(SETS).current
    assert only.list_key == derive(seed_of("fourth"), "list").public


def test_validators(fake: FakeService) -> None:
    """The founders' file is the one that the next commands make their homes of."""
    words = read_commands("validators.md")
    Path("genesis.bin").unlink()
    seats = {
        place: call("keys", "seat", f"{name}.json").stdout.strip()
        for place, name in zip(
            ("FIRST", "SECOND", "THIRD", "FOURTH"), (*HOLDERS, "fourth"), strict=True
        )
    }
    treasury = encode_account(account_of("alice"))

    def fill(word: str) -> str:
        return seats.get(word, word).replace("TREASURY", treasury)

    seat, _, checked, made, joined = follow("validators.md", fill)
    assert seat.strip() == seats["FIRST"]
    genesis = load_genesis(Path("genesis.bin").read_bytes())
    assert len(genesis.attestors) == 4
    assert (genesis.engine, genesis.policy) == (COMET, REGISTRY)
    assert all(row.consensus_key.hex() in checked for row in genesis.attestors)
    founder = load_settings(Path("validator"), {})
    assert founder.validator == founder.attest == Path("first.json").absolute()
    assert len(founder.peers) == 1
    assert re.search("^peer +[0-9a-f]{40}@HOST:26656$", made, re.MULTILINE)
    joiner = load_settings(Path("joined"), {})
    assert (len(joiner.state_sync), len(joiner.lists)) == (2, 1)
    assert "peer" in joined
    assert len(words) == 5


def test_nodes(fake: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.check_reached, "__defaults__", (0.1,))
    Path("account.json").rename("operator.json")
    save_keys(Path(), "node")
    save_keys(Path(), "bob").rename("contributor.json")
    key = derive(seed_of("node"), "node").public
    names = {
        "ADDRESS": "127.0.9.9",
        "NODE": encode_node(key),
        "ACCOUNT": encode_account(account_of("alice")),
    }
    printed = []
    for words in read_commands("nodes.md"):
        if words[0] == "rewards":
            for _ in range(4):
                fake.network.end_epoch()
        printed.append(call(*(names.get(word, word) for word in words)).stdout)
    registered, listed, contributed, card, past, duties, swarm, waits, claimed = printed
    assert "with 60 coins: in block" in registered
    assert "40 coins" in listed
    assert contributed.startswith("contributed 40 coins")
    assert "queued" in card
    assert past.split() == ["epoch", "ended", "verdict", "reward"]
    assert "tested by    nobody" in duties
    assert "none: only active nodes have one" in swarm
    assert names["NODE"] in waits
    assert "in block" in claimed
    assert len(fake.network.state.one(NODES, key).contributions) == 2


def test_offline(fake: FakeService) -> None:
    save_keys(Path(), "node")
    pair = derive(seed_of("node"), "node")
    names = {
        "ADDRESS": "127.0.9.9",
        "NODE": encode_node(pair.public),
        "DUTYKEY": derive(seed_of("node"), "duty").public.hex(),
        "ACCOUNT": encode_account(account_of("alice")),
        "OTHER": encode_account(account_of("bob")),
    }
    before = fake.network.state.account(account_of("bob")).balance
    printed = follow("offline.md", lambda word: names.get(word, word))
    assert len(printed) == 8
    assert "not signed" in printed[1]
    assert fake.network.state.account(account_of("bob")).balance == before + 5 * COIN
    assert fake.network.state.one(NODES, pair.public).operator == account_of("alice")


def test_auditing(fake: FakeService) -> None:
    network = fake.network
    network.block()
    network.end_epoch()
    exported, audited, replayed, same = follow("auditing.md", lambda w: w.replace("URL", fake.url))
    assert Path("history").read_bytes()[-32:].hex() in exported
    assert audited.startswith("everything holds")
    assert "everything holds" in replayed
    assert json.loads(Path("report.json").read_text())["height"] == network.chain.tip.height
    assert f"same up to    {network.chain.tip.height}" in same


def test_a_page_has_its_commands() -> None:
    assert len(read_commands("reporting.md")) == 6
    assert len(read_commands("changing_rules.md")) == 24
    assert len(read_commands("nodes.md")) == 9
