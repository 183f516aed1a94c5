"""The units of systemd and the container file fit the program that they start."""

import json
import re
import shlex
import subprocess
from configparser import ConfigParser
from pathlib import Path
from typing import Any, Final

import pytest

from registry.cli import GROUPS, load
from registry.settings import PREFIX, Settings
from registry.supervisor import STOP_S
from scripts.generate_docs import ROOT

# ---- systemd ----

UNITS: Final = sorted((ROOT / "docs" / "operating").glob("*.service"))
KEYS: Final = ("waypost", "waypost-agent")
"""Units whose programs open key files."""
PROGRAM: Final = "/opt/waypost/bin/waypost"

HARDENING: Final = {
    "CapabilityBoundingSet": "",
    "LimitCORE": "0",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "NoNewPrivileges": "yes",
    "PrivateDevices": "yes",
    "PrivateTmp": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHome": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectSystem": "strict",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "RestrictNamespaces": "yes",
    "RestrictSUIDSGID": "yes",
    "StateDirectoryMode": "0700",
    "SystemCallArchitectures": "native",
}


def read_unit(path: Path) -> dict[str, str]:
    """The section `Service` of a unit; of what stands there twice, the last."""
    unit = ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(path.read_text(encoding="utf-8"))
    assert unit.sections() == ["Unit", "Service", "Install"]
    return dict(unit["Service"])


def parse(command: str) -> Any:
    """What `waypost` reads from a command line, which it does not run. Raises `UsageError`."""
    program, name, *words = shlex.split(command)
    assert program == PROGRAM
    (group,) = (group for group in GROUPS if group.name == name)
    return load(group).make_context(name, words).params


def command_of(unit: dict[str, str]) -> str:
    """The command that starts `waypost`, without the shell that may stand before it."""
    words = shlex.split(unit["ExecStart"])
    if words[:2] != ["/bin/sh", "-c"]:
        return unit["ExecStart"]
    exec_, _, command = words[2].partition(" ")
    assert exec_ == "exec"
    return command.partition(" 3<")[0]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_starts_the_program_on_its_home(path: Path) -> None:
    unit = read_unit(path)
    given = parse(command_of(unit))
    assert given["home"] == Path("/var/lib", unit["StateDirectory"])
    assert unit["User"] == unit["Group"] == unit["StateDirectory"] == path.stem
    assert given.get("passphrase_fd") == (3 if path.stem in KEYS else None)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_is_hardened(path: Path) -> None:
    unit = read_unit(path)
    assert unit | HARDENING == unit
    text = path.read_text(encoding="utf-8")
    assert "\nSystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources\n" in text


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_it_comes_back_and_never_gives_up(path: Path) -> None:
    assert read_unit(path)["Restart"] == "on-failure"
    assert (
        "\nStartLimitIntervalSec=0\n" in path.read_text(encoding="utf-8").partition("[Service]")[0]
    )


def test_the_supervisor_has_the_time_to_stop_its_processes_in_order() -> None:
    unit = read_unit(ROOT / "docs" / "operating" / "waypost.service")
    workers, others = 8, 3  # ledger, web, CometBFT
    assert int(unit["TimeoutStopSec"]) > (workers + others) * STOP_S
    assert unit["KillMode"] == "mixed"


@pytest.mark.parametrize("name", KEYS)
def test_the_passphrase_comes_through_the_descriptor(tmp_path: Path, name: str) -> None:
    unit = read_unit(ROOT / "docs" / "operating" / f"{name}.service")
    credential, _, source = unit["LoadCredential"].partition(":")
    assert source.startswith("/etc/waypost/")
    (tmp_path / credential).write_text("five random words\n", encoding="utf-8")
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\ncat <&3\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    command = unit["ExecStart"].replace("%d", str(tmp_path)).replace(PROGRAM, str(program))
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert said == ["five random words", *shlex.split(command_of(unit))[1:]]


# ---- The container ----


def read_containerfile() -> list[tuple[str, str]]:
    """Each instruction with what follows it; lines that go on are one."""
    text = (ROOT / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


INSTRUCTIONS: Final = read_containerfile()
STAGES: Final = [at for at, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM"]
BUILD: Final = INSTRUCTIONS[: STAGES[-1]]
LAST: Final = INSTRUCTIONS[STAGES[-1] :]


def only(name: str) -> str:
    """What follows the one instruction of this name in the last stage."""
    (found,) = (rest for instruction, rest in LAST if instruction == name)
    return found


def test_its_base_is_one_python_that_the_lock_has_wheels_for() -> None:
    bases = {rest.partition(" AS ")[0] for name, rest in INSTRUCTIONS if name == "FROM"}
    (base,) = bases
    version = re.fullmatch(r"docker\.io/library/python:(3\.\d+)-slim-bookworm", base)
    assert version is not None
    from scripts.check_wheels import PYTHONS

    assert version[1] in PYTHONS


def test_what_it_copies_is_in_the_checkout_and_in_its_context() -> None:
    copied = [word for name, rest in BUILD if name == "COPY" for word in rest.split()[:-1]]
    assert all((ROOT / word).exists() for word in copied)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied)
    assert "*" in ignored


def test_its_last_stage_runs_as_a_user_on_a_volume_and_builds_nothing() -> None:
    environment = dict(word.split("=", 1) for word in shlex.split(only("ENV")))
    home = environment["WAYPOST_HOME"]
    assert only("USER") == "waypost"
    assert only("VOLUME") == only("WORKDIR") == home
    (made,) = (rest for name, rest in LAST if name == "RUN")
    assert made.count(home) == 2
    assert not re.search(r"\b(apt|pip|gcc|make)\b", made)
    settings = {name.removeprefix(PREFIX).lower() for name in environment if PREFIX in name}
    assert settings <= Settings.model_fields.keys()
    assert environment["PATH"].startswith("/opt/waypost/bin:")


def test_it_starts_the_program_without_a_shell() -> None:
    command = json.loads(only("ENTRYPOINT")) + json.loads(only("CMD"))
    assert command == ["waypost", "run"]
    assert parse(shlex.join([PROGRAM, *command[1:]]))["home"] is None
    assert only("STOPSIGNAL") == "SIGTERM"
    assert int(only("EXPOSE")) == Settings.model_fields["port"].default
