"""Which CometBFT this version runs with, and where it is found.

Minor versions never mix in one network; `scripts/install_cometbft` reads `VERSION` from here.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from ledger.errors import WaypostError

VERSION: Final = "0.38.25"
"""What `scripts/install_cometbft` installs, and the oldest one that is taken."""

PROGRAM: Final = "cometbft"

CHECKOUT_FOLDER: Final = Path(__file__).resolve().parents[2] / ".bin"
"""Where `scripts/install_cometbft` puts it."""

ANSWER_S: Final = 30.0


class NoCometbft(WaypostError):
    """There is no CometBFT of the right version; the message says where it was looked for."""


def find_program(told: Path | None = None) -> Path:
    """Return the CometBFT to run: the one that was `told`, else the first of the right version.

    It is looked for on the path, then in `.bin` of the checkout. Raises `NoCometbft`, also where
    this program lacks the library that the two talk with.
    """
    if not _has_library():
        raise NoCometbft(
            f"the engine comet needs the extra `comet`: {sys.executable} -m pip install "
            "'waypost[comet]'"
        )
    wrong = []
    for path in [told] if told is not None else _candidates():
        version = read_version(path)
        if version is not None and is_usable(version):
            return path.absolute()
        wrong.append(f"{path} is {'no CometBFT' if version is None else version}")
    found = f": {', '.join(wrong)}" if wrong else ""
    raise NoCometbft(
        f"there is no CometBFT {VERSION}{found}. scripts/install_cometbft makes one where Go is; "
        "the setting cometbft names one that lies elsewhere"
    )


def _has_library() -> bool:
    """Whether protobuf is there, which only the extra `comet` brings."""
    try:
        return find_spec("google.protobuf") is not None
    except ModuleNotFoundError:
        return False


def _candidates() -> Iterator[Path]:
    on_path = shutil.which(PROGRAM)
    if on_path is not None:
        yield Path(on_path)
    own = CHECKOUT_FOLDER / PROGRAM
    if own.exists():
        yield own


def read_version(path: Path) -> str | None:
    """Return what a program says is its version, or None if it is no CometBFT that runs."""
    try:
        done = subprocess.run(
            [path, "version"], capture_output=True, text=True, timeout=ANSWER_S, check=True
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    said = re.match(r"v?(\d+\.\d+\.\d+)(?![.\d])", done.stdout)
    return None if said is None else said[1]


def is_usable(version: str) -> bool:
    """Whether it is of the same minor version as `VERSION`, and not older."""
    major, minor, patch = map(int, version.split("."))
    wanted_major, wanted_minor, oldest = map(int, VERSION.split("."))
    return (major, minor) == (wanted_major, wanted_minor) and patch >= oldest
