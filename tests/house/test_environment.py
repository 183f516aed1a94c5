"""The first start says what the machine lacks; a start that finds all complete asks nobody."""

import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "environment"
NOTHING = b"# nothing\n"
TOOLS = ("bash", "cat", "dirname", "rm", "sh", "sha256sum", "shasum")

OLD = """
case "$*" in
    *'(3, 11)'*) exit 1 ;;
    -V) echo 'Python 3.9.2' ;;
esac
"""
WITHOUT_VENV = """
case "$*" in
    *ensurepip*) exit 1 ;;
    *'version_info[:2]'*) echo 3.12 ;;
esac
"""
WITH_VENV_THAT_FAILS = """
case "$*" in
    *flock*) exec "$BASH_FOR_TEST" "$SCRIPT_FOR_TEST" --locked ;;
    '-m venv .venv') exit 1 ;;
    *'version_info[:2]'*) echo 3.13 ;;
    -V) echo 'Python 3.13.0' ;;
esac
"""
ANSWERS_WITH_AN_ERROR = "exit 127"

REFUSED = {
    "no Python": ({}, "there is no Python"),
    "a version manager's name": ({"python3": ANSWERS_WITH_AN_ERROR}, "there is no Python"),
    "Python too old": ({"python3": OLD}, "python3 is Python 3.9.2"),
    "Python without ensurepip": ({"python3": WITHOUT_VENV}, "Install the package python3.12-venv"),
    "an old Python and one without ensurepip": (
        {"python3": OLD, "python3.12": WITHOUT_VENV},
        "Install the package python3.12-venv",
    ),
    "an environment that cannot be made": (
        {"python3": OLD, "python3.13": WITH_VENV_THAT_FAILS},
        "Install the package python3.13-venv",
    ),
}


def make_checkout(folder: Path) -> Path:
    """As much of a checkout as the script looks at."""
    script = folder / "scripts" / "environment"
    script.parent.mkdir()
    shutil.copy(SCRIPT, script)
    (folder / "requirements.lock").write_bytes(NOTHING)
    (folder / "pyproject.toml").write_bytes(NOTHING)
    return script


def start(script: Path, programs: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the script on a machine that has these programs, a few basic ones, and no other."""
    path = script.parent.parent / "bin"
    path.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        if found is not None:
            (path / tool).symlink_to(found)
    for name, text in programs.items():
        (path / name).write_text(f"#!/bin/sh\n{text}", encoding="utf-8")
        (path / name).chmod(0o755)
    bash = str(path / "bash")
    environment = {"PATH": str(path), "BASH_FOR_TEST": bash, "SCRIPT_FOR_TEST": str(script)}
    return subprocess.run(
        [bash, str(script)], cwd="/", env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("programs", "advice"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_missing_is_named(tmp_path: Path, programs: dict[str, str], advice: str) -> None:
    run = start(make_checkout(tmp_path), programs)
    assert advice in run.stderr
    assert run.returncode == 3
    assert not list(tmp_path.glob(".venv/waypost-*"))


def complete(folder: Path) -> None:
    """Leave what a finished installation leaves, with a Python that says its version."""
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho cpython-311\n", encoding="utf-8")
    python.chmod(0o755)
    checksum = f"{sha256(NOTHING).hexdigest()}  -\n"
    (folder / ".venv" / "waypost-project").write_text(checksum, encoding="utf-8")
    (folder / ".venv" / "waypost-dependencies").write_text(
        f"{checksum}{folder.resolve()}\ncpython-311\n", encoding="utf-8"
    )


def test_a_complete_environment_needs_no_program(tmp_path: Path) -> None:
    script = make_checkout(tmp_path)
    complete(tmp_path)
    run = start(script, {})
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "other", ["requirements.lock", ".venv/waypost-dependencies", ".venv/bin/python"]
)
def test_dependencies_are_made_again(tmp_path: Path, other: str) -> None:
    script = make_checkout(tmp_path)
    complete(tmp_path)
    (tmp_path / other).write_text("#!/bin/sh\necho other\n", encoding="utf-8")
    assert "there is no Python" in start(script, {}).stderr
