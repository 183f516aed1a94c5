"""Where this program keeps its data, unless it is told otherwise."""

import os
import sys
from pathlib import Path
from typing import Final

DIRECTORY: Final = "waypost"

GENESIS: Final = "genesis.bin"
"""The genesis file of a home."""

INHERITANCE: Final = "inheritance"
"""What a network with a predecessor begins with, in the home of a node of it."""

WATERMARKS: Final = "watermarks"
"""Folder of a home in which the newest thing that each key signed is noted."""

LISTS: Final = "lists"
"""Folder of a home in which verified lists are kept, in a folder for each network."""


def default_home() -> Path:
    """Return the home: `WAYPOST_HOME`, else `waypost` in the platform's folder for user data.

    That folder is `XDG_DATA_HOME` or `~/.local/share`, and `~/Library/Application Support` on
    macOS. An empty variable counts as not set, and so does a relative `XDG_DATA_HOME`, as its
    specification demands. Nothing is created.
    """
    told = os.environ.get("WAYPOST_HOME", "")
    if told:
        return Path(told).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / DIRECTORY
    data = Path(os.environ.get("XDG_DATA_HOME", ""))
    return (data if data.is_absolute() else Path.home() / ".local" / "share") / DIRECTORY


def default_genesis(home: Path) -> Path:
    """Return the genesis file that a home names: its own, else that of the devnet inside it."""
    own, devnet = home / GENESIS, home / "devnet" / GENESIS
    return devnet if devnet.exists() and not own.exists() else own
