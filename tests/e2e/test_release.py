"""What is released: two files that hold what they should, and run where no checkout is.

Each environment here has the distributions that the wheel asks for, as links into that of the
tests, and no others: what it forgot to ask for is missing, and pip, which may look nowhere else,
says so.
"""

import email
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
from collections.abc import Iterator
from http import HTTPStatus
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import httpx2
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.release import LEFT_BEHIND, ROOT, Release, make_release
from tests.devnet import WAIT_S, RunningDevnet

PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: Final = tuple(sorted(PROJECT["optional-dependencies"].keys() - {"dev"}))
CONTAINERFILE: Final = (ROOT / "Containerfile").read_text(encoding="utf-8")
PACKAGES: Final = ("ledger", "registry")
READ: Final = ("docs", "genesis")
"""Folders that people read."""

IMPORT_ALL: Final = """
import importlib, json, pkgutil
missing = {}
for package in map(importlib.import_module, ("ledger", "registry")):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if found.name.endswith(".__main__"):
            continue  # runs a program
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            missing[found.name] = error.name.partition(".")[0]
print(json.dumps([package.__path__[0], missing]))
"""


# ---- What is made ----


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return make_release(tmp_path_factory.mktemp("dist"))


def files_of(*folders: str) -> set[str]:
    """Every file of these folders of the checkout that belongs into a commit."""
    return {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not any(path.match(f"**/{name}/*") for name in LEFT_BEHIND)
    }


def test_the_wheel_holds_the_packages_with_their_data_and_nothing_else(release: Release) -> None:
    with ZipFile(release.wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert names == files_of(*PACKAGES)
        assert {"registry/engines/comet/abci.proto", "registry/py.typed"} < names
        assert all(archive.read(name) == (ROOT / name).read_bytes() for name in names)


def test_the_source_distribution_holds_what_people_read_too(release: Release) -> None:
    with tarfile.open(release.sdist) as archive:
        names = {
            name.partition("/")[2]
            for name in archive.getnames()
            if archive.getmember(name).isfile()
        }
    assert files_of(*PACKAGES, *READ) < names
    own = {name for name in names if "/" not in name}
    assert own - {"PKG-INFO", "setup.cfg"} == {
        *("CHANGELOG.md", "CONTRIBUTING.md", "Containerfile", "LICENSE", "MANIFEST.in"),
        *("README.md", "SECURITY.md", "pyproject.toml", "requirements.lock"),
    }
    assert {name.partition("/")[0] for name in names - own} == {
        *PACKAGES,
        *READ,
        "waypost.egg-info",
    }


def test_the_container_makes_the_same_wheel_of_what_it_copies(
    release: Release, tmp_path: Path
) -> None:
    for copied, target in re.findall(r"^COPY (?!--)(.+) (\S+)$", CONTAINERFILE, re.MULTILINE):
        for name in copied.split():
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, tmp_path / target)
            else:
                shutil.copy(source, tmp_path)
    (command,) = re.findall(r"^RUN pip (wheel .+)$", CONTAINERFILE, re.MULTILINE)
    pip = [sys.executable, "-m", "pip", *shlex.split(command)]
    subprocess.run(pip, cwd=tmp_path, capture_output=True, check=True)
    (made,) = (tmp_path / "wheels").iterdir()
    with ZipFile(made) as one, ZipFile(release.wheel) as other:
        assert {name: one.read(name) for name in one.namelist() if "dist-info" not in name} == {
            name: other.read(name) for name in other.namelist() if "dist-info" not in name
        }


# ---- Where it is installed ----


def read_requirements(wheel: Path) -> list[Requirement]:
    """What a wheel asks for, extras by their markers."""
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    return [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]


def find_wanted(asked: list[Requirement], extras: tuple[str, ...]) -> set[str]:
    """The names of the distributions that are asked for, and of those that these ask for."""
    found = set[str]()
    todo = [(one, extras) for one in asked]
    while todo:
        one, with_extras = todo.pop()
        wanted = one.marker is None or any(
            one.marker.evaluate({"extra": extra}) for extra in ("", *with_extras)
        )
        name = canonicalize_name(one.name)
        if wanted and name not in found:
            found.add(name)
            below = distribution(name).requires or ()
            todo += [(Requirement(text), tuple(one.extras)) for text in below]
    return found


def install(folder: Path, wheel: Path, *extras: str) -> Path:
    """Make an environment with a wheel in it, and return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in find_wanted(read_requirements(wheel), extras):
        link(name, site)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    asked = f"{wheel}[{','.join(extras)}]" if extras else str(wheel)
    done = subprocess.run(
        [*pip, "install", "--no-index", asked], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return python


def link(name: str, site: Path) -> None:
    """Have the modules and the metadata of a distribution appear in an environment too."""
    for file in distribution(name).files or ():
        source = Path(str(file.locate()))
        if ".." not in file.parts and source.exists():
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)


@pytest.fixture(scope="module")
def plain(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment without extras."""
    return install(tmp_path_factory.mktemp("plain"), release.wheel)


def import_all(python: Path) -> tuple[Path, dict[str, str]]:
    """Import every module; where the packages lie, and the library that each module missed."""
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8"}
    done = subprocess.run(
        [python, "-I", "-c", IMPORT_ALL],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    place, missing = json.loads(done.stdout)
    return Path(place), missing


def test_without_extras_only_what_they_bring_is_missing(plain: Path, release: Release) -> None:
    place, missing = import_all(plain)
    assert place.is_relative_to(plain.parents[1])
    asked = read_requirements(release.wheel)
    brought = find_wanted(asked, EXTRAS) - find_wanted(asked, ())
    names = {
        name
        for name, distributions in packages_distributions().items()
        if brought & set(map(canonicalize_name, distributions))
    }
    assert set(missing.values()) <= names
    assert all(".comet" in module or ".oxenmq" in module for module in missing)
    assert "registry.engines.comet.server" in missing


def test_with_its_extras_every_module_is_there(release: Release, tmp_path: Path) -> None:
    place, missing = import_all(install(tmp_path, release.wheel, *EXTRAS))
    assert place.is_relative_to(tmp_path)
    assert missing == {}


# ---- What it does there ----


@pytest.fixture(scope="module")
def devnet(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDevnet]:
    network = RunningDevnet(tmp_path_factory.mktemp("home"), "--no-agents", installed=plain)
    yield network
    network.kill()
    network.wait_until_nothing_runs()


def test_a_network_runs_and_a_list_is_verified(devnet: RunningDevnet) -> None:
    devnet.wait_for("list of 25 nodes in 3 swarms, final by 3 of 3 attestors, verified from the")
    done = devnet.run("which waypost; waypost --version; waypost node list; waypost list fetch")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == [str(devnet.python.parent / "waypost"), f"waypost {PROJECT['version']}"]
    assert done.stdout.count("wpn1") >= 25
    assert "fingerprint" in done.stdout
    assert "checkout" not in done.stdout


@pytest.mark.parametrize("page", ["/", "/nodes", "/verify", "/epochs", "/api"])
def test_pages_come_with_their_files(devnet: RunningDevnet, page: str) -> None:
    with httpx2.Client(base_url=devnet.url(), trust_env=False) as client:
        text = client.get(page, headers={"accept": "text/html"}).raise_for_status().text
        files = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', text))
        assert {path.rpartition(".")[2] for path in files} >= {"css", "js", "svg"}
        for path in files:
            assert client.get(path).raise_for_status().content


@pytest.mark.parametrize("is_there", [True, False])
def test_the_health_of_a_container_is_that_of_its_service(
    devnet: RunningDevnet, is_there: bool
) -> None:
    (check,) = re.findall(r"HEALTHCHECK .*\\\n +CMD (.+)$", CONTAINERFILE, re.MULTILINE)
    program, *words = json.loads(check)
    port = devnet.url().rpartition(":")[2] if is_there else "1"
    words = [word.replace("8420", port) for word in words]
    done = subprocess.run([devnet.python.parent / program, *words], stderr=subprocess.DEVNULL)
    assert (done.returncode == 0) == is_there


def test_a_network_of_ones_own_starts_and_stops(devnet: RunningDevnet) -> None:
    made = devnet.run("waypost init --home founder --preset minimal --name mine --insecure")
    assert made.returncode == 0, made.stderr
    process = subprocess.Popen(
        [devnet.python.parent / "waypost", "run", "--home", "founder", "--port", "0"],
        cwd=devnet.home / "work",
        env=devnet.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        port = next(json.loads(line)["port"] for line in process.stderr if '"listening"' in line)
        genesis = wait_for_answer(f"http://127.0.0.1:{port}/v1/genesis")
        assert genesis == (devnet.home / "work" / "founder" / "genesis.bin").read_bytes()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT_S)
    assert process.returncode == 0


def wait_for_answer(url: str) -> bytes:
    """Return what a service answers once its ledger process does: it listens before that."""
    deadline = time.monotonic() + WAIT_S
    answer = httpx2.get(url, trust_env=False)
    while answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE and time.monotonic() < deadline:
        time.sleep(0.05)
        answer = httpx2.get(url, trust_env=False)
    return answer.raise_for_status().content


def test_validators_are_told_which_extra_they_need(devnet: RunningDevnet) -> None:
    made = devnet.run("waypost init --engine comet --home validator --name ours --insecure")
    assert made.returncode == 0, made.stderr
    done = devnet.run("waypost run --home validator --port 0 --workers 1 || echo exit code $?")
    assert "pip install 'waypost[comet]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == "exit code 1\n"
