"""What docs/using/client.md shows, run as it stands there."""

import re
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, TypeAlias

import pytest

from ledger.codec import encode
from registry.client.cache import ListCache
from registry.client.http import Beyond, Checkpoint, fetch_lists
from registry.client.routing import NoPath, RoutingTable, are_apart
from tests.factory import Network, public
from tests.registry.client.clients import holding
from tests.registry.client.factory import (
    EPOCH,
    EPOCH_MS,
    FRESH_MS,
    NOW_MS,
    VALID_MS,
    digest,
    make_list,
)
from tests.registry.client.places import node
from tests.registry.client.server import run_source

PAGE: Final = Path(__file__).parents[3] / "docs" / "using" / "client.md"
ENTRIES: Final = sorted(node(n, (n, n if n % 3 else None), n % 2 * 2**63) for n in range(60))
MADE: Final = make_list(entries=ENTRIES)
ACCOUNT: Final = b"\x05" + digest("account")
NOBODY: Final = "http://127.0.0.1:1"
"""A port on which no program listens."""

Run: TypeAlias = Callable[..., list[str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the program at a time, with sources, and return the lines that it prints."""
    program, genesis = tmp_path / "route.py", tmp_path / "genesis"
    program.write_text(find_program())
    genesis.write_bytes(MADE.genesis)

    def run(*urls: str, now_ms: int = NOW_MS) -> list[str]:
        arguments = [str(genesis), str(tmp_path / "cache"), ACCOUNT.hex(), *urls]
        monkeypatch.setattr(sys, "argv", [str(program), *arguments])
        monkeypatch.setattr(time, "time_ns", lambda: now_ms * 1_000_000)
        runpy.run_path(str(program), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


def find_program() -> str:
    """The block that is a whole program: the one that begins with a docstring."""
    (program,) = (block for block in find_blocks() if block.startswith('"""'))
    return program


def find_blocks() -> list[str]:
    """Everything on the page that is Python."""
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.S | re.M)


def check_way(line: str) -> None:
    """A way leads over three hops in distinct networks to a node of the account's swarm."""
    keys = line.split(" > ")
    *path, last = [entry for key in keys for entry in ENTRIES if entry.key.hex()[:8] == key]
    assert len(path) == 3
    assert are_apart(path)
    assert last not in path
    assert last in holding(MADE).swarm_of(ACCOUNT)


def test_the_program_of_the_page_finds_a_way(run: Run) -> None:
    with run_source() as source:
        source.serve(MADE)
        said, way = run(NOBODY, source.url)
    assert said == "60 nodes, fresh"
    check_way(way)
    assert source.asked == [
        "/v1/lists/latest",
        f"/v1/trust/{EPOCH}",
        f"/v1/lists/{EPOCH}/full",
    ]


def test_it_goes_on_with_what_it_kept_while_no_source_answers(run: Run) -> None:
    with run_source() as source:
        source.serve(MADE)
        run(source.url)
    failure, said, way = run(NOBODY, now_ms=NOW_MS + FRESH_MS)
    assert failure.startswith("not fetched: unavailable: ")
    assert said == "60 nodes, degraded"
    check_way(way)


def test_it_ends_with_a_reason_where_nothing_holds(run: Run) -> None:
    with pytest.raises(SystemExit, match=r"^list_missing: "):
        run(NOBODY)
    with run_source() as source:
        source.serve(make_list(entries=ENTRIES, signers=[0]))
        with pytest.raises(SystemExit, match=r"^list_missing: "):
            run(source.url)
        source.serve(MADE)
        run(source.url)
    with pytest.raises(SystemExit, match=r"^list_expired: "):
        run(NOBODY, now_ms=NOW_MS + VALID_MS)


def test_a_table_goes_on_with_the_next_list(tmp_path: Path) -> None:
    (update,) = (block for block in find_blocks() if block.startswith("trusted.start_update"))
    trusted, cache = holding(MADE), ListCache(tmp_path, MADE.genesis)
    table = RoutingTable(trusted.entries)
    table.strike(ENTRIES[1].key)
    with run_source() as source:
        source.serve(make_list(EPOCH + 1, entries=ENTRIES[1:], after=[MADE]))
        names = {"trusted": trusted, "cache": cache, "table": table, "fetch_lists": fetch_lists}
        exec(update, {**names, "urls": [source.url], "now_ms": NOW_MS + EPOCH_MS})
    assert trusted.entries == ENTRIES[1:]
    assert table.strikes_of(ENTRIES[1].key) == 1
    with pytest.raises(NoPath):
        table.path(guard=ENTRIES[0].key)


def test_a_record_is_read_from_its_proof() -> None:
    (reading,) = (block for block in find_blocks() if "read_record" in block)
    network, alice = Network(), public("alice")
    names: dict[str, Any] = {"trusted": SimpleNamespace(header=network.end_epoch()), "key": alice}
    exec(reading, names | {"proof": encode(network.view.make_proof(b"a" + alice))}, names)
    assert names["account"] == network.state.account(alice)


def test_the_settings_past_the_trust_period_are_real() -> None:
    (settings,) = (block for block in find_blocks() if block.startswith("Beyond()"))
    names = {"Beyond": Beyond, "Checkpoint": Checkpoint, "epoch": 5, "fingerprint": bytes(16)}
    made = [eval(line.split("#")[0].strip(), names) for line in settings.splitlines()]
    assert made == [Beyond(), Beyond(Checkpoint(5, bytes(16))), Beyond(agree=2)]
