"""The command line starts fast, since a command loads what it needs and nothing else.

What is loaded is the same on every machine, so that is what is held here; times are not.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from registry.addresses import encode_node
from registry.keystore import derive
from tests.registry.cli.driver import call
from tests.registry.cli.fake_service import account_of, run_service, save_keys, seed_of

ROOT: Final = Path(__file__).resolve().parents[3]

SERVICE: Final = {"fastapi", "starlette", "uvicorn", "uvloop", "apscheduler", "prometheus_client"}
HEAVY: Final = SERVICE | {"plyvel", "plyvel_next", "numpy", "pydantic_settings", "rich"}

BOB: Final = account_of("bob").hex()

PROGRAM: Final = """
import json, sys
from registry.cli import main
try:
    main()
except SystemExit as end:
    print(json.dumps([end.code or 0, sorted(sys.modules)]), file=sys.stderr)
"""


def loaded_by(*words: object) -> set[str]:
    """The modules that are loaded once a command has ended well."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code == 0, done.stderr
    return set(modules)


@pytest.mark.parametrize("words", [["--help"], ["--version"]], ids=" ".join)
def test_the_program_alone_loads_no_group(words: list[str]) -> None:
    modules = loaded_by(*words)
    ours = {name for name in modules if name.startswith(("registry.", "ledger."))}
    # `output` comes with its errors as soon as a command may run
    assert ours <= {"registry.cli", "registry.cli.output", "ledger.errors"}
    assert not modules & (HEAVY | {"pydantic", "httpx2", "nacl", "msgspec", "asyncio"})


@pytest.mark.parametrize("group", ["init", "genesis", "keys", "node", "account", "tx", "ledger"])
def test_help_of_a_group_loads_neither_libraries_nor_other_groups(group: str) -> None:
    modules = loaded_by(group, "--help")
    # pydantic comes with typer, as soon as an option has a value
    assert not modules & (HEAVY | {"httpx2", "nacl", "asyncio"})
    groups = {"init", "genesis", "node", "accounts", "tx", "ledger", "lists", "run", "devnet"}
    loaded = {name for name in groups if f"registry.cli.{name}" in modules}
    assert len(loaded) <= 1


def test_a_question_loads_nothing_of_the_service(tmp_path: Path) -> None:
    alice, node = save_keys(tmp_path, "alice"), save_keys(tmp_path, "node")
    address = encode_node(derive(seed_of("node"), "node").public)
    with run_service() as service:
        call(
            *("node", "register", "--operator", alice, "--node", node, "--ipv4", "5.6.7.8"),
            *("--stake", "100", "--url", service.url),
        )
        modules = loaded_by("node", "status", address, "--url", service.url)
    assert "httpx2" in modules
    assert not modules & HEAVY
    assert not {name for name in modules if name.startswith(("registry.api", "ledger.chain"))}


def test_sending_loads_nothing_of_the_service(tmp_path: Path) -> None:
    alice = save_keys(tmp_path, "alice")
    with run_service() as service:
        modules = loaded_by(
            *("account", "send", "--from", alice, "--to", BOB, "--amount", "1"),
            *("--url", service.url),
        )
    assert not modules & HEAVY
