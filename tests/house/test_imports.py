"""The import contracts refuse what the layout forbids, also for modules that do not exist yet."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"

Imports = dict[str, str]
"""What stands in each file, by its path."""

ALLOWED: dict[str, Imports] = {
    "nothing yet": {},
    "the layers of the ledger": {
        "ledger/chain.py": "import ledger.transition",
        "ledger/transition.py": "import ledger.transactions",
        "ledger/transactions/__init__.py": "import ledger.offences",
        "ledger/offences/__init__.py": "import ledger.genesis, ledger.invariants, ledger.lists",
        "ledger/genesis.py": "import ledger.state",
        "ledger/invariants.py": "import ledger.state",
        "ledger/lists.py": "import ledger.state",
        "ledger/state.py": "import ledger.rules.swarms",
        "ledger/rules/__init__.py": "",
        "ledger/rules/swarms.py": "import ledger.messages, ledger.merkle, ledger.store",
        "ledger/messages/__init__.py": "import ledger.codec, ledger.crypto, ledger.params",
        "ledger/merkle.py": "import ledger.crypto, hashlib",
        "ledger/store.py": "import ledger.errors",
        "ledger/codec.py": "import ledger.errors, msgspec",
        "ledger/crypto.py": "import ledger.errors, nacl",
        "ledger/params.py": "import ledger.errors",
        "ledger/errors.py": "import ledger.types",
        "ledger/types.py": "",
        "ledger/leveldb.py": "import ledger.store, plyvel, plyvel_next",
    },
    "the layers of the service": {
        "registry/cli/__init__.py": "import registry.supervisor, ledger.leveldb",
        "registry/supervisor.py": "import registry.ledger_process, registry.web_process",
        "registry/ledger_process.py": "import registry.jobs, ledger.leveldb, registry.engines",
        "registry/web_process.py": "import registry.api",
        "registry/api/__init__.py": "import registry.web",
        "registry/web/__init__.py": "import registry.view",
        "registry/jobs.py": "import registry.pool",
        "registry/engines/__init__.py": "import registry.signer, ledger.chain",
        "registry/view.py": "import registry.client",
        "registry/pool.py": "import registry.queries, ledger.chain",
        "registry/queries.py": "import ledger.state",
        "registry/client/__init__.py": "import registry.formats, ledger.rules.swarms",
        "registry/signer.py": "import registry.keystore, registry.settings",
        "registry/formats/__init__.py": "import registry.metrics, ledger.merkle",
        "registry/keystore.py": "import registry.settings",
        "registry/settings.py": "import registry.metrics, ledger.params",
        "registry/metrics.py": "",
        "ledger/chain.py": "",
        "ledger/leveldb.py": "",
        "ledger/merkle.py": "",
        "ledger/params.py": "",
        "ledger/rules/__init__.py": "",
        "ledger/rules/swarms.py": "",
        "ledger/state.py": "",
    },
}

REFUSED: dict[str, tuple[Imports, str]] = {
    "upwards in the ledger": (
        {"ledger/rules/__init__.py": "import ledger.state", "ledger/state.py": ""},
        "Layers of the ledger",
    ),
    "sideways in the ledger": (
        {"ledger/merkle.py": "import ledger.store", "ledger/store.py": ""},
        "Layers of the ledger",
    ),
    "a module without a place in the ledger": ({"ledger/extra.py": ""}, "Layers of the ledger"),
    "the database inside the ledger": (
        {"ledger/chain.py": "import ledger.leveldb", "ledger/leveldb.py": ""},
        "Layers of the ledger",
    ),
    "upwards in the service": (
        {"registry/pool.py": "import registry.jobs", "registry/jobs.py": ""},
        "Layers of the service",
    ),
    "a module without a place in the service": (
        {"registry/extra.py": ""},
        "Layers of the service",
    ),
    "a circle between siblings": (
        {"registry/pool.py": "import registry.view", "registry/view.py": "import registry.pool"},
        "No circles",
    ),
    "the ledger sees the service": (
        {"ledger/chain.py": "import registry.pool", "registry/pool.py": ""},
        "The ledger never sees the service",
    ),
    "the ledger takes numpy": (
        {"ledger/rules/__init__.py": "import numpy"},
        "The ledger never sees the service",
    ),
    "the ledger takes asyncio": (
        {"ledger/chain.py": "import asyncio"},
        "The ledger never sees the service",
    ),
    "plyvel beside LevelDB's file": (
        {"ledger/store.py": "import plyvel"},
        "Only ledger.leveldb imports the database",
    ),
    "plyvel in the service": (
        {"registry/cli/doctor.py": "import plyvel_next", "registry/cli/__init__.py": ""},
        "Only ledger.leveldb imports the database",
    ),
    "the database opened elsewhere": (
        {"registry/queries.py": "import ledger.leveldb", "ledger/leveldb.py": ""},
        "Only the ledger process and the command line",
    ),
    "state in the client": (
        {"registry/client/__init__.py": "import ledger.state", "ledger/state.py": ""},
        "The client and the formats see only",
    ),
    "state in a format, by another's hand": (
        {
            "registry/formats/__init__.py": "import registry.metrics",
            "registry/metrics.py": "import ledger.chain",
            "ledger/chain.py": "",
        },
        "The client and the formats see only",
    ),
    "settings in the client": (
        {"registry/client/__init__.py": "import registry.settings", "registry/settings.py": ""},
        "The client and the formats see only",
    ),
}


def lint(folder: Path, imports: Imports) -> subprocess.CompletedProcess[str]:
    """Check a project of these files and nothing else against our contracts."""
    for name, text in {"ledger/__init__.py": "", "registry/__init__.py": "", **imports}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text + "\n", encoding="utf-8")
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    return subprocess.run(
        [*command, "--config", str(PYPROJECT), "--no-cache", "--no-logo"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("imports", ALLOWED.values(), ids=ALLOWED.keys())
def test_allowed(tmp_path: Path, imports: Imports) -> None:
    run = lint(tmp_path, imports)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(("imports", "contract"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(tmp_path: Path, imports: Imports, contract: str) -> None:
    run = lint(tmp_path, imports)
    assert run.returncode == 1, run.stdout + run.stderr
    broken = [line for line in run.stdout.splitlines() if line.endswith(" BROKEN")]
    assert any(line.startswith(contract) for line in broken), run.stdout
