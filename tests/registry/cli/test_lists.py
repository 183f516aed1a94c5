"""`waypost list`: what each command prints, and with which exit code it ends."""

import json
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ledger.rules.swarms import nearest_swarm, position_of
from registry.addresses import encode_account, encode_node
from registry.cli.lists import app
from tests.flip import flip
from tests.registry.cli.recent import newest
from tests.registry.client.factory import (
    EPOCH_MS,
    FRESH_MS,
    VALID_MS,
    MadeList,
    digest,
    make_entries,
    make_genesis,
    make_list,
)
from tests.registry.client.server import Source

pytestmark = pytest.mark.usefixtures("home")

ROOT = Path(__file__).resolve().parents[3]
NOBODY = "http://127.0.0.1:1"
ACCOUNT = digest("account")


def call(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def call_json(*arguments: object) -> Any:
    return json.loads(call(*arguments, "-o", "json").stdout)


def fetched(source: Source, made: MadeList | None = None) -> MadeList:
    """Fetch a list into the cache."""
    made = made or newest()
    source.serve(made)
    call("fetch", "--url", source.url)
    return made


# --- fetch ----------------------------------------------------------------------------------------


def test_fetch_says_what_was_verified(source: Source) -> None:
    made = newest()
    source.serve(made)
    lines = call("fetch", "--url", source.url).stdout.splitlines()
    facts = {line[:13].strip(): line[13:] for line in lines}
    assert facts["epoch"] == str(made.header.epoch)
    assert facts["nodes"] == "21 in 3 swarms"
    assert facts["signed by"] == "3 of 3 attestors, 100 % of the weight"
    assert facts["status"].startswith("fresh: fresh until 20")
    assert facts["source"] == source.url
    assert sum(len(line[13:].split()) for line in lines[4:6]) == 12


def test_fetch_as_json(source: Source) -> None:
    made = newest(weights=(1, 1, 1), signers=(0, 1, 2))
    source.serve(made)
    facts = call_json("fetch", "--url", source.url)
    header = made.header
    assert facts == {
        "genesis_hash": facts["genesis_hash"],
        "epoch": header.epoch,
        "height": header.height,
        "header_hash": header.hash.hex(),
        "list_hash": header.list_hash.hex(),
        "node_count": 21,
        "swarm_count": 3,
        "valid_after_ms": header.valid_after_ms,
        "fresh_until_ms": header.fresh_until_ms,
        "valid_until_ms": header.valid_until_ms,
        "status": "fresh",
        "signers": {"signed": 3, "seats": 3, "weight": 3, "total": 3},
        "single_signer": False,
        "fingerprint": facts["fingerprint"],
        "source": source.url,
    }
    assert len(facts["fingerprint"]) == 12


def test_a_single_signer_is_called_one(source: Source, home: Path) -> None:
    (home / "genesis.bin").write_bytes(make_genesis((1,)))
    source.serve(newest(weights=(1,)))
    shown = call("fetch", "--url", source.url).stdout
    assert "1 of 1 attestors, 100 % of the weight (single signer)" in shown
    assert call_json("fetch", "--url", source.url)["single_signer"] is True


def test_fetch_names_the_sources_that_were_of_no_use(source: Source) -> None:
    source.serve(newest())
    result = call("fetch", "--url", NOBODY, "--url", source.url)
    assert result.stderr.startswith(f"warning: {NOBODY}: unavailable: ")
    assert result.stdout.splitlines()[-1] == f"source       {source.url}"


def test_fetch_takes_its_source_from_the_environment(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.serve(newest())
    monkeypatch.setenv("WAYPOST_URL", source.url)
    assert call_json("fetch")["source"] == source.url


def test_fetch_keeps_lists_where_it_is_told(source: Source, tmp_path: Path) -> None:
    genesis = tmp_path / "elsewhere"
    genesis.write_bytes(make_genesis())
    (tmp_path / "genesis.bin").unlink()
    source.serve(newest())
    where = ("--genesis", genesis, "--out", tmp_path / "cache")
    call("fetch", "--url", source.url, *where)
    assert (tmp_path / "cache" / "full").exists()
    assert call_json("show", *where)["found"] == 21


def test_a_degraded_list_is_said_to_be(source: Source) -> None:
    made = newest(age_ms=FRESH_MS + EPOCH_MS)
    source.serve(made)
    result = call("fetch", "--url", source.url)
    assert "warning: the list is degraded: it was fresh until 20" in result.stderr
    assert "warning: the list is degraded" in call("show").stderr


# --- refusals and usage ---------------------------------------------------------------------------


def test_a_refusal_is_one_line_and_exit_code_1(source: Source) -> None:
    made = fetched(source)
    source.serve(make_list(made.header.epoch - 1))
    result = call("fetch", "--url", source.url, code=1)
    assert result.stdout == ""
    first, second = result.stderr.splitlines()
    assert first.startswith("error: roll_back: epoch ")
    assert second.startswith(f"  {source.url}: roll_back: ")


def test_no_source_is_an_error() -> None:
    result = call("fetch", "--url", NOBODY, code=1)
    assert result.stderr.startswith("error: unavailable: no source answered with a list\n")


@pytest.mark.parametrize("arguments", [("show",), ("swarm", ACCOUNT.hex())])
def test_before_the_first_fetch_there_is_no_list(arguments: tuple[str, ...]) -> None:
    result = call(*arguments, code=1)
    assert result.stderr.startswith("error: list_missing: no list is verified yet: fetch one first")


def test_an_expired_list_is_shown_by_explicit_setting_only(source: Source) -> None:
    made = newest(age_ms=VALID_MS + 2 * EPOCH_MS)
    source.serve(made)
    arguments = ("fetch", "--url", source.url)
    assert "error: list_expired" in call(*arguments, code=1).stderr
    call(*arguments, "--allow-expired")
    assert "error: list_expired" in call("show", code=1).stderr
    result = call("show", "--allow-expired")
    assert "warning: the list is expired" in result.stderr
    assert len(result.stdout.splitlines()) == 22


USAGE: dict[str, tuple[object, ...]] = {
    "no such command": ("burn",),
    "no such output": ("show", "-o", "xml"),
    "a limit below zero": ("show", "--limit", "-1"),
    "no account": ("swarm",),
    "half an account": ("swarm", "05ab"),
    "a node for an account": ("swarm", encode_node(bytes(32))),
    "no genesis file": ("show", "--genesis", "/nowhere/genesis.bin"),
}


@pytest.mark.parametrize("arguments", USAGE.values(), ids=USAGE.keys())
def test_a_command_line_that_makes_no_sense_ends_with_2(arguments: tuple[object, ...]) -> None:
    assert call(*arguments, code=2).stdout == ""


def test_a_genesis_file_that_is_a_folder(tmp_path: Path) -> None:
    result = call("show", "--genesis", tmp_path, code=1)
    assert result.stderr == f"error: io: {tmp_path}: Is a directory\n"


# --- show -----------------------------------------------------------------------------------------


def test_show_prints_a_table(source: Source) -> None:
    made = fetched(source, newest(entries=make_entries(30)))
    lines = call("show", "--limit", "5").stdout.splitlines()
    assert lines[0].split("  ")[0] == "node"
    assert len(lines) == 7
    assert lines[-1] == f"5 of 30 nodes, epoch {made.header.epoch}"
    first = made.entries[0]
    assert lines[1].split() == [
        encode_node(first.key),
        str(first.swarm_id),
        str(ip_address(first.contact.ipv4)),
        str(ip_address(first.contact.ipv6)),
        *("22021", "22020", "2.8.0", "11.5.0"),
    ]


def test_show_as_json_shows_all_that_is_known(source: Source) -> None:
    made = fetched(source)
    facts = call_json("show", "--limit", 0)
    assert facts["found"] == len(facts["nodes"]) == 21
    for node, entry in zip(facts["nodes"], made.entries, strict=True):
        contact = entry.contact
        assert node == {
            "node": encode_node(entry.key),
            "swarm": str(entry.swarm_id),
            "ipv4": str(ip_address(contact.ipv4)) if contact.ipv4 else None,
            "ipv6": str(ip_address(contact.ipv6)) if contact.ipv6 else None,
            "storage_port": contact.storage_port,
            "router_port": contact.router_port,
            "storage_version": f"2.8.{contact.storage_version.patch}",
            "router_version": "11.5.0",
        }


def test_show_filters_before_it_limits(source: Source) -> None:
    made = fetched(source)
    swarm_id = made.entries[1].swarm_id
    facts = call_json("show", "--filter", swarm_id, "--limit", "2")
    assert facts["found"] == 7
    assert [node["swarm"] for node in facts["nodes"]] == [str(swarm_id)] * 2
    address = encode_node(made.entries[3].key)
    shown = call("show", "--filter", address.upper()).stdout.splitlines()
    assert shown[1].startswith(address)
    assert shown[2].startswith("1 of 1 nodes that match, of 21, epoch ")
    assert call_json("show", "--filter", "no such thing")["nodes"] == []


# --- swarm ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "account", ["05" + ACCOUNT.hex(), ACCOUNT.hex().upper(), encode_account(ACCOUNT)]
)
def test_swarm_names_who_serves_an_account(account: str, source: Source) -> None:
    made = fetched(source)
    ids = sorted({entry.swarm_id for entry in made.entries})
    expected = nearest_swarm(ids, position_of(ACCOUNT))
    facts = call_json("swarm", account)
    assert facts["swarm"] == str(expected)
    assert [node["node"] for node in facts["nodes"]] == [
        encode_node(entry.key) for entry in made.entries if entry.swarm_id == expected
    ]
    assert call("swarm", account).stdout.splitlines()[-1].startswith(f"swarm {expected}, epoch ")


def test_an_empty_list_has_no_swarm(source: Source) -> None:
    fetched(source, newest(entries=[]))
    assert call_json("swarm", ACCOUNT.hex())["swarm"] is None
    assert "no swarm: the list is empty" in call("swarm", ACCOUNT.hex()).stdout


# --- verify ---------------------------------------------------------------------------------------


def test_verify_checks_files(tmp_path: Path) -> None:
    made = newest()
    genesis, header, full = tmp_path / "genesis.bin", tmp_path / "header", tmp_path / "full"
    header.write_bytes(made.signed)
    full.write_bytes(made.full)
    assert call_json("verify", genesis, header)["list_verified"] is False
    assert call_json("verify", genesis, header, full)["list_verified"] is True
    assert "fingerprint" in call("verify", genesis, header, full).stdout

    full.write_bytes(made.full[:-1])
    assert call("verify", genesis, header, full, code=1).stderr.startswith("error: bad_list: ")
    header.write_bytes(flip(made.signed))
    assert call("verify", genesis, header, code=1).stderr.startswith("error: bad_signature: ")
    assert call("verify", genesis, tmp_path / "none", code=1).stderr.startswith("error: io: ")
    genesis.write_bytes(b"")
    assert call("verify", genesis, header, code=1).stderr.startswith("error: not_canonical: ")


# --- what it takes to say nothing -----------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["fetch", "--help"], ["swarm", "05ab"]])
def test_help_and_usage_load_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from registry.cli.lists import app\n"
        f"try: app({arguments!r})\n"
        "except SystemExit: pass\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(run.stderr.splitlines()[-1].split())
    heavy = {"httpx2", "numpy", "fastapi", "plyvel", "nacl", "msgspec", "mnemonic", "asyncio"}
    assert not loaded & heavy
