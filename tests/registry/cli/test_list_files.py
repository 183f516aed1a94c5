"""`waypost list bundle` and `watch`: files of verified lists for other programs."""

import json
import time
from pathlib import Path
from typing import Any, Final

import pytest

from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.recent import NEWEST, newest
from tests.registry.client.factory import (
    VALID_MS,
    MadeList,
    make_entries,
    make_list,
)
from tests.registry.client.server import Source

pytestmark = pytest.mark.usefixtures("home")

NOBODY: Final = "http://127.0.0.1:1"


def watch(file: Path, *urls: str, looks: int = 1, code: int = 0) -> Any:
    """Look so many times, without a rest."""
    named = [word for url in urls for word in ("--url", url)]
    return call("list", "watch", file, *named, "--times", looks, "--every", 0.01, code=code)


# --- bundles --------------------------------------------------------------------------------------


def test_a_bundle_is_verified_by_whoever_has_the_genesis_file(source: Source, home: Path) -> None:
    made = newest()
    source.serve(made)
    file = home / "bundle"
    facts = call_json("list", "bundle", file, "--url", source.url)
    assert facts["file"] == str(file)
    assert facts["bytes"] == file.stat().st_size
    verified = call_json("list", "verify", home / "genesis.bin", file)
    assert verified["list_verified"] is True
    assert (verified["epoch"], verified["node_count"]) == (NEWEST, len(made.entries))
    assert verified["fingerprint"] == facts["fingerprint"]


def test_a_damaged_bundle_is_refused(source: Source, home: Path) -> None:
    source.serve(newest())
    file = home / "bundle"
    call("list", "bundle", file, "--url", source.url)
    file.write_bytes(file.read_bytes()[:-1])
    refused = call("list", "verify", home / "genesis.bin", file, code=1)
    assert error_of(refused) == "bad_list"


def test_without_a_path_from_genesis_no_bundle_is_written(source: Source, home: Path) -> None:
    source.serve(newest())
    call("list", "fetch", "--url", source.url)
    source.answers[f"/v1/trust/{NEWEST}"] = 404
    refused = call("list", "bundle", home / "bundle", "--url", source.url, code=1)
    assert error_of(refused) == "unavailable"
    assert not (home / "bundle").exists()


def test_verify_takes_a_header_with_its_path(home: Path) -> None:
    made = newest()
    files = {"header": made.signed, "path": made.path(), "full": made.full}
    for name, data in files.items():
        (home / name).write_bytes(data)
    names = [home / name for name in ("genesis.bin", "header", "full")]
    assert call_json("list", "verify", *names, "--path", home / "path")["list_verified"] is True
    (home / "path").write_bytes(make_list(NEWEST - 1).path())
    refused = call("list", "verify", *names, "--path", home / "path", code=1)
    assert error_of(refused) == "bad_path"


# --- watching -------------------------------------------------------------------------------------


def test_a_file_is_kept_up_to_date(source: Source, home: Path) -> None:
    first = newest(20_000, NEWEST - 1)
    source.serve(first)
    file = home / "nodes.json"
    assert watch(file, source.url).stdout == f"epoch {NEWEST - 1}: 21 nodes, fresh\n"
    assert [node["node"] for node in json.loads(file.read_text())["nodes"]] == [
        node["node"] for node in call_json("list", "show", "--limit", 0)["nodes"]
    ]
    source.serve(newest(entries=make_entries(28, 4), after=[first]))
    assert watch(file, source.url).stdout == f"epoch {NEWEST}: 28 nodes, fresh\n"
    assert json.loads(file.read_text())["found"] == 28


def test_what_did_not_change_is_not_written_again(source: Source, home: Path) -> None:
    source.serve(newest())
    file = home / "nodes.json"
    said = watch(file, source.url, looks=3)
    assert len(said.stdout.splitlines()) == 1
    assert source.asked.count("/v1/lists/latest") == 3


def test_it_goes_on_while_no_source_answers(source: Source, home: Path) -> None:
    file = home / "nodes.json"
    said = watch(file, NOBODY, looks=2)
    assert said.stderr.count("warning: unavailable: ") == 2
    assert not file.exists()
    source.serve(newest())
    watch(file, NOBODY, source.url)
    assert file.exists()


def test_past_its_time_the_file_names_no_nodes(source: Source, home: Path) -> None:
    made = newest(VALID_MS - 2_000)
    source.serve(made)
    file = home / "nodes.json"
    assert "degraded" in watch(file, source.url).stdout
    assert json.loads(file.read_text())["found"] == 21
    time.sleep(2.1)
    assert "expired" in watch(file, NOBODY).stdout
    known = json.loads(file.read_text())
    assert (known["status"], known["nodes"]) == ("expired", [])


def test_a_fork_ends_it(source: Source, home: Path) -> None:
    made = newest()
    source.serve(made)
    file = home / "nodes.json"
    watch(file, source.url)
    source.serve(make_list(NEWEST, **_fields(made), state_root=bytes(32)))
    refused = watch(file, source.url, looks=5, code=1)
    assert error_of(refused) == "fork"


def _fields(made: MadeList) -> dict[str, Any]:
    names = ("valid_after_ms", "fresh_until_ms", "valid_until_ms")
    return {name: getattr(made.header, name) for name in names}
