"""What the processes of a service take, as the system counts it (Linux)."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
NAME: Final = re.compile(r"registry[./](\w+?)s?(?:_process)?(?:\.py)?\0")


def find_family(process: int) -> dict[int, str]:
    """Return a process and all that it started, with what each one is: `ledger`, `web`, …"""
    return dict(_walk(process))


def _walk(process: int) -> Iterator[tuple[int, str]]:
    arguments = Path(f"/proc/{process}/cmdline").read_text(encoding="utf-8", errors="replace")
    found = NAME.search(arguments)
    yield process, found[1] if found else "supervisor"
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            yield from _walk(int(child))


def read_processor_s(process: int) -> float:
    """Return the processor time that a process took, with all threads it ever had, in seconds.

    In steps of a hundredth.
    """
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def read_memory_mb(process: int) -> float:
    """Return the memory that a process holds, in MB."""
    return _read_status(process, "VmRSS")


def read_peak_mb(process: int) -> float:
    """Return the most memory that a process ever held, in MB."""
    return _read_status(process, "VmHWM")


def _read_status(process: int, name: str) -> float:
    text = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1_000
