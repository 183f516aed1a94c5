"""The verifier in JavaScript answers every vector as the one in Python: in Node and in Chromium.

What has to come out is read from the files; so a case that was not run is one that differs.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import pytest

from tests.registry.client.factory import NOW_MS, make_genesis
from tests.registry.client.verify.writing import all_steps, expected, read_bytes
from tests.web.programs import MODULE, Results, run_in_chromium, run_in_node

VECTORS: Final = MODULE.parents[3] / "tests" / "vectors"
NAMES: Final = [
    name
    for name in ("verify.json", "trust.json", "list_header.json", "delta.json", "slice.json")
    if (VECTORS / name).exists()
]
MOST_INFLATED: Final = 2**25
"""Bytes in one step: the largest list has 2^24.1, and what is read ahead comes on top."""

Vector: TypeAlias = dict[str, Any]
ENGINES: Final[dict[str, Callable[[Mapping[str, Any]], Results]]] = {
    "node": run_in_node,
    "chromium": run_in_chromium,
}


def read(name: str) -> Vector:
    """A file of vectors."""
    vector: Vector = json.loads((VECTORS / name).read_text())
    return vector


def given(vectors: Mapping[str, str]) -> dict[str, Any]:
    """What the runner gets: slices are of the network of the tests' lists."""
    return {"vectors": vectors, "genesis": make_genesis().hex(), "now_ms": NOW_MS}


# ---- What has to come of them ----


def scripts(vector: Vector) -> list[Any]:
    """Class, title and answers of each case."""
    return [
        [each["class"], case["title"], expected(all_steps(vector, case))]
        for each in vector["classes"]
        for case in each["cases"]
    ]


def trust(vector: Vector) -> list[Any]:
    """The same, then what comes of each bundle, and the histories with what is added."""
    names = vector["bytes"]
    bundles = [
        [
            row["title"],
            row.get("refused")
            or {
                "epoch": row["epoch"],
                "anchor": read_bytes(names, row["anchor"]).hex(),
                "nodes": row["nodes"],
            },
        ]
        for row in vector["bundles"]
    ]
    histories = [[row["extended_peaks"], row["extended_root"]] for row in vector["histories"]]
    return scripts(vector) + bundles + histories


def example(vector: Vector) -> dict[str, Any]:
    """The parts of the worked example that a client sees."""
    shown = ("genesis_hash", "header_fields", "signed_header", "fingerprint_bits")
    entries = [{k: v for k, v in row.items() if k != "packed"} for row in vector["entries"]]
    return {name: vector[name] for name in shown} | {"entries": entries}


def deltas(vector: Vector) -> list[Any]:
    """The columns that come out of each delta, or its code."""
    good = [[row["title"], row["columns"]] for row in vector["deltas"]]
    return good + [[row["title"], row["code"]] for row in vector["refused"]]


def slices(vector: Vector) -> list[Any]:
    """The nodes of the account's swarm, and the codes of what is refused."""
    good = vector["slices"][vector["place"]]["members"]
    return [["", good], *([row["title"], row["code"]] for row in vector["refused"])]


WANTED: Final[dict[str, Callable[[Vector], Any]]] = {
    "verify.json": scripts,
    "trust.json": trust,
    "list_header.json": example,
    "delta.json": deltas,
    "slice.json": slices,
}


def differences(wanted: list[Any], found: list[Any]) -> list[str]:
    """The cases of which something else came."""
    return [
        f"{want[:-1]}: {want[-1]} and not {got[-1]}"
        for want, got in zip(wanted, found, strict=True)
        if want != got
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_it_answers_as_the_files_say(engine: str) -> None:
    found = ENGINES[engine](given({name: (VECTORS / name).read_text() for name in NAMES}))
    assert list(found["results"]) == NAMES
    for name, results in found["results"].items():
        wanted = WANTED[name](read(name))
        assert len(results) == len(wanted)
        if isinstance(wanted, list):
            assert differences(wanted, results) == []
        assert results == wanted
    assert found["inflated"] <= MOST_INFLATED


# ---- These tests can fail ----


class Planted(NamedTuple):
    """An error in a copy of the module."""

    found_by: str
    """The class of `verify.json` that finds it."""
    text: str
    instead: str


# Engines differ in what they refuse by themselves of a signature: S ≥ L, small order. So that no
# engine hides an error, these rules are left to the vectors.
PLANTED: Final[dict[str, Planted]] = {
    "no signature is checked": Planted(
        "signatures: wrong", 'every(Boolean)) refuse("bad_signature")', "every(Boolean)) return"
    ),
    "a key of genesis may have mixed order": Planted(
        "genesis: keys of attestors", "return sum[0] === 0n && sum[1] === sum[2];", "return true;"
    ),
    "two thirds are enough": Planted(
        "signatures: too few", "3 * weight > 2 * total", "3 * weight >= 2 * total"
    ),
    "an older header is taken": Planted("client: roll-back", 'refuse("roll_back")', "false"),
    "a header may be of any time": Planted(
        "client: ahead of the clock", "header.validAfterMs > nowMs + MAX_AHEAD_MS || ", ""
    ),
    "epochs may be of any length": Planted(
        "client: more epochs than time", " || header.validAfterMs < earliest", ""
    ),
    "a list never expires": Planted(
        "client: expired", "if (nowMs > header.validUntilMs) refuse", "if (false) refuse"
    ),
    "a fork is forgotten": Planted(
        "client: fork", 'if (this.#evidence !== null) refuse("fork");', ""
    ),
    "times may be in any order": Planted("header: times", "freshUntilMs <= validUntilMs", "true"),
    "the hash of a list is not looked at": Planted(
        "full: hash", 'refuse("bad_list", "its hash is another one")', "return"
    ),
    "a file may have any length": Planted(
        "full: extended", 'if (data.length > limit) refuse("too_large");', ""
    ),
    "what is inflated has no bound": Planted("full: bounds", "if (size > limit) return null;", ""),
    "keys may be in any order": Planted(
        "columns: keys", 'refuse("bad_list", "its keys do not ascend")', "break"
    ),
    "flags may be any": Planted("columns: flags", "flags >= 1 && flags <= 3", "flags >= 0"),
    "a place may be beyond": Planted(
        "delta: numbers and places", "if (place >= count) refuse", "if (false) refuse"
    ),
    "a delta may have bytes left over": Planted("delta: extended", "  body.end();\n", ""),
    "any swarm serves an account": Planted(
        "slice: swarm and account",
        "positionOf(accountId)) !== swarmId)",
        "positionOf(accountId)) < 0n)",
    ),
    "a path leads anywhere": Planted(
        "slice: leaf, place and path",
        "if (root === null || !same(root, header.swarmRoot))",
        "if (false)",
    ),
    "an integer may be longer than it has to be": Planted(
        "genesis: encoding", "this.#check(value >= least);", ""
    ),
    "a parameter may be above its range": Planted(
        "genesis: parameters above their range", " || values[place] > high", ""
    ),
    "parameters need not fit each other": Planted(
        "genesis: relations of parameters",
        'if (!holds(params)) refuse("bad_relation"',
        'if (false) refuse("x"',
    ),
    "a header may continue any history": Planted("path: history", 'refuse("bad_history")', "false"),
    "strangers may take over": Planted(
        "path: sets", "!isVouched(known.get(anchor.nextSetHash) ?? [], members, signed)", "false"
    ),
    "anybody may recover": Planted("path: recovery", "!areKnown || ", ""),
    "trust has no end": Planted("path: trust period", 'refuse("trust_expired")', "return"),
    "a network goes on after its end": Planted("path: succession", 'refuse("succeeded")', "false"),
    "what was kept need not be signed": Planted(
        "resume", "await checkSignatures(this.#network.genesisHash, signed, members);", ""
    ),
}


@pytest.mark.parametrize("title", PLANTED)
def test_a_planted_error_is_found(title: str, tmp_path: Path) -> None:
    planted, text = PLANTED[title], MODULE.read_text()
    assert text.count(planted.text) == 1
    copy = tmp_path / "waypost.mjs"
    copy.write_text(text.replace(planted.text, planted.instead))
    vector = read("verify.json")
    vector["classes"] = [row for row in vector["classes"] if row["class"] == planted.found_by]
    results = run_in_node(given({"verify.json": json.dumps(vector)}), copy)
    differ = differences(scripts(vector), results["results"]["verify.json"])
    assert differ or results["inflated"] > MOST_INFLATED
