"""What Linux tells of processes, in /proc."""

import os
from pathlib import Path


def find_children(parent: int) -> dict[int, list[str]]:
    """Return the running processes that one started, with the words of their commands."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            status = (path / "stat").read_text().rpartition(")")[2].split()
            if int(status[1]) == parent:
                found[int(path.name)] = (path / "cmdline").read_text().split("\0")[:-1]
        except OSError:
            continue
    return found


def read_memory(process: int) -> int:
    """Return the bytes that a process holds in memory. Raises `OSError` if it is gone.

    Pages of files do not count: a database has its tables mapped, and the system takes such pages
    back whenever it wants.
    """
    statm = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()
    resident, of_files = int(statm[1]), int(statm[2])
    return (resident - of_files) * os.sysconf("SC_PAGE_SIZE")
