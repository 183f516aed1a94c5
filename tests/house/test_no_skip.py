"""A test that does not run is a test that does not hold anything: in CI it fails."""

import os
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).resolve().parent.parent / "conftest.py"
SKIPPING = """
import pytest

@pytest.mark.skip(reason="marked so")
def test_mark(): ...

@pytest.mark.skipif(True, reason="condition holds")
def test_condition(): ...

def test_call():
    pytest.skip("called it off")

@pytest.fixture
def missing():
    pytest.skip("fixture is missing")

def test_fixture(missing): ...
"""
SKIPPING_MODULE = """
import pytest

pytest.importorskip("a_library_nobody_has")

def test_never_seen(): ...
"""
PASSING = """
import pytest

def test_passes(): ...

@pytest.mark.xfail(strict=True)
def test_known_to_fail():
    assert False
"""


def run_pytest(
    folder: Path, files: dict[str, str], *arguments: str, no_skip: bool
) -> subprocess.CompletedProcess[str]:
    """Run these test files under the project's conftest in a process of their own."""
    (folder / "conftest.py").write_bytes(CONFTEST.read_bytes())
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    environment["WAYPOST_NO_SKIP"] = "1" if no_skip else ""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_each_way_to_skip_fails_with_its_reason(tmp_path: Path) -> None:
    files = {"test_skipping.py": SKIPPING}
    run = run_pytest(tmp_path, files, no_skip=True)
    assert run.returncode == 1, run.stdout
    for reason in ("marked so", "condition holds", "called it off", "fixture is missing"):
        assert f"lets no test be skipped. Skipped: {reason}" in run.stdout


def test_a_module_that_skips_itself_fails(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, {"test_module.py": SKIPPING_MODULE}, no_skip=True)
    assert run.returncode == 2, run.stdout
    assert "lets no test be skipped. Skipped: could not import" in run.stdout


def test_workers_fail_skipped_tests_too(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, {"test_skipping.py": SKIPPING}, "-n", "1", no_skip=True)
    assert run.returncode == 1, run.stdout
    assert "lets no test be skipped. Skipped: marked so" in run.stdout


def test_known_failures_are_no_skips(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, {"test_passing.py": PASSING}, no_skip=True)
    assert run.returncode == 0, run.stdout
    assert "1 passed, 1 xfailed" in run.stdout


def test_elsewhere_a_skip_is_a_skip(tmp_path: Path) -> None:
    files = {"test_skipping.py": SKIPPING, "test_passing.py": PASSING}
    run = run_pytest(tmp_path, files, no_skip=False)
    assert run.returncode == 0, run.stdout
    assert "4 skipped" in run.stdout


def test_a_run_that_tested_nothing_is_no_success(tmp_path: Path) -> None:
    files = {"test_skipping.py": SKIPPING}
    assert run_pytest(tmp_path, files, no_skip=False).returncode == 5
    assert run_pytest(tmp_path, files, "-n", "1", no_skip=False).returncode == 5
    assert run_pytest(tmp_path, files, "-k", "nothing", no_skip=False).returncode == 5
