"""Show that the lock can be installed from wheels alone, wherever the project says it runs.

pip takes a target's wheels but evaluates the markers of a requirement for the interpreter it runs
on, so the lock is cut down to one target here, and pip gets what is left.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
GLIBC_MINOR = range(5, 29)
"""Every glibc 2.x up to the one of the oldest systems supported, Debian 10 and RHEL 8."""
MACOS_ARM = range(11, 15)
MACOS_INTEL = ("10_9", "10_12", "10_13", "10_14", "10_15", "11_0", "12_0", "13_0", "14_0")


@dataclass(frozen=True)
class System:
    """A system to download for."""

    name: str
    sys_platform: str
    machine: str
    tags: tuple[str, ...]
    """The platform tags of wheels that it can install."""


SYSTEMS = (
    System(
        "Linux x86-64",
        "linux",
        "x86_64",
        (
            "manylinux1_x86_64",
            "manylinux2010_x86_64",
            "manylinux2014_x86_64",
            *(f"manylinux_2_{minor}_x86_64" for minor in GLIBC_MINOR),
        ),
    ),
    System(
        "macOS arm64",
        "darwin",
        "arm64",
        tuple(
            f"macosx_{major}_0_{kind}" for major in MACOS_ARM for kind in ("arm64", "universal2")
        ),
    ),
    System(
        "macOS x86-64",
        "darwin",
        "x86_64",
        tuple(f"macosx_{v}_{kind}" for v in MACOS_INTEL for kind in ("x86_64", "universal2")),
    ),
)


def main() -> int:
    """Download for every Python on every system; non-zero if any of them lacks a wheel."""
    lock = tuple(read_lock(ROOT / "requirements.lock"))
    failures: list[str] = []
    print(f"{'system':<14} {'Python':<7} {'wheels':>6}  database", flush=True)
    for system in SYSTEMS:
        for python in PYTHONS:
            wanted = [(r, text) for r, text in lock if is_wanted(r, system, python)]
            database = [f"{r.name}{r.specifier}" for r, _ in wanted if r.name.startswith("plyvel")]
            error = download([text for _, text in wanted], system, python)
            result = str(len(wanted)) if error is None else "FAILED"
            print(
                f"{system.name:<14} {python:<7} {result:>6}  {', '.join(database) or '-'}",
                flush=True,
            )
            if error is not None:
                failures.append(f"{system.name}, Python {python}:\n{error}")
    print(*failures, sep="\n", file=sys.stderr, end="")
    return 1 if failures else 0


def read_lock(path: Path) -> Iterator[tuple[Requirement, str]]:
    """Each requirement with its hashes, as parsed and as pip reads it without its marker."""
    lines = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    for line in lines:
        if not line or line.lstrip().startswith("#"):
            continue
        hashes = re.findall(r"--hash=\S+", line)
        requirement = Requirement(line.partition("--hash=")[0].strip())
        yield requirement, f"{requirement.name}{requirement.specifier} {' '.join(hashes)}"


def is_wanted(requirement: Requirement, system: System, python: str) -> bool:
    """Whether the lock installs the requirement on this system with this CPython."""
    return requirement.marker is None or requirement.marker.evaluate(
        {
            "sys_platform": system.sys_platform,
            "platform_system": system.sys_platform.capitalize(),
            "platform_machine": system.machine,
            "os_name": "posix",
            "python_version": python,
            "python_full_version": f"{python}.0",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
        }
    )


def download(requirements: list[str], system: System, python: str) -> str | None:
    """What pip said if it found no wheel for one of the requirements, else nothing."""
    with tempfile.TemporaryDirectory(prefix="waypost-wheels-") as folder:
        lock = Path(folder, "requirements.lock")
        lock.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--no-input", "--only-binary", ":all:"]
        command += ["--require-hashes", "--python-version", python, "--implementation", "cp"]
        command += [f"--platform={tag}" for tag in system.tags]
        command += ["--dest", folder, "--requirement", str(lock)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if run.returncode == 0 else run.stderr


if __name__ == "__main__":
    sys.exit(main())
