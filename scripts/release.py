"""Make the source distribution from a checkout, and the wheel from that distribution.

    python -m scripts.release [FOLDER]     writes both into FOLDER, `dist` unless it is named

Both are made in folders of their own: the backend puts into a wheel what an earlier build left in
`build`, files that have been deleted since among it. What the two hold is said by `MANIFEST.in` and
by `pyproject.toml`; tests/e2e/test_release.py looks at it, and installs the wheel.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, Literal, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent

LEFT_BEHIND: Final = (".*", "__pycache__", "build", "dist", "*.egg-info")
"""Names in a checkout that no commit holds."""


class Release(NamedTuple):
    """The two files."""

    sdist: Path
    wheel: Path


def main() -> None:
    """Write both, and say where."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"
    for path in make_release(folder.absolute()):
        print(path)


def make_release(folder: Path) -> Release:
    """Write both into a folder, which is made. Raises `CalledProcessError`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="waypost-release-") as work:
        checkout, unpacked = Path(work, "checkout"), Path(work, "unpacked")
        shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
        sdist = build("sdist", checkout, folder)
        shutil.unpack_archive(sdist, unpacked)
        (source,) = unpacked.iterdir()
        return Release(sdist, build("wheel", source, folder))


def build(kind: Literal["sdist", "wheel"], source: Path, folder: Path) -> Path:
    """Have the backend of this environment build one kind, and return the file."""
    call = f"import sys, setuptools.build_meta as m; print(m.build_{kind}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", call, str(folder)],
        cwd=source,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return folder / done.stdout.splitlines()[-1]


if __name__ == "__main__":
    main()
