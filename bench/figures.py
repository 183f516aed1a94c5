"""A figure is the median of its repetitions, shown with the smallest and the largest of them.

Times on a machine that others use say little by themselves. So a figure with a limit is a ratio to
a peer measured in between its repetitions wherever there is such a peer, and each section says how
much the same piece of work varied while it ran.
"""

import json
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

YARDSTICK_ROUNDS: Final = 10
YARDSTICK: Final = bytes(2**24)
"""Hashed once in each of two threads, some 10 ms for both if two cores are free."""


@dataclass(frozen=True)
class Limit:
    """What a figure has to keep."""

    value: float
    is_floor: bool = False
    """Whether it must not be below; else it must not be above."""

    def holds(self, value: float) -> bool:
        """Whether a figure keeps it."""
        return value >= self.value if self.is_floor else value <= self.value

    def __str__(self) -> str:
        return f"{'≥' if self.is_floor else '≤'} {_number(self.value)}"


@dataclass(frozen=True)
class Figure:
    """One line of the report."""

    name: str
    unit: str
    values: tuple[float, ...]
    """One for each repetition."""
    limit: Limit | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """The value that is reported."""
        return statistics.median(self.values)

    @property
    def holds(self) -> bool:
        """Whether it keeps its limit; one without a limit does."""
        return self.limit is None or self.limit.holds(self.median)

    def line(self) -> str:
        """Return the figure as a line of text."""
        shown = f"{_number(self.median)} {self.unit}".rstrip()
        spread = ""
        if len(self.values) > 1:
            low, high = _number(min(self.values)), _number(max(self.values))
            spread = f"{low} – {high}, {len(self.values)} times"
        verdict = ""
        if self.limit is not None:
            verdict = f"limit {self.limit}: {'kept' if self.holds else 'NOT KEPT'}"
        tail = "  ".join(part for part in (verdict, self.note) if part)
        return f"  {self.name:<44} {shown:>24}   {spread:<36} {tail}".rstrip()


@dataclass
class Section:
    """The figures of one section."""

    name: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    noise: float = 1.0
    """How many times its fastest the yardstick took, the median over the section."""
    noise_at_worst: float = 1.0
    seconds: float = 0.0
    _yardsticks: list[float] = field(default_factory=list)

    def add(
        self,
        name: str,
        unit: str,
        values: float | Sequence[float],
        limit: Limit | None = None,
        note: str = "",
    ) -> Figure:
        """Take in a figure and print it."""
        self._yardsticks.append(measure_yardstick())
        many = (values,) if isinstance(values, int | float) else tuple(values)
        figure = Figure(name, unit, many, limit, note)
        self.figures.append(figure)
        print(figure.line(), flush=True)
        return figure

    def say(self, text: str) -> None:
        """Print a remark and keep it."""
        self.notes.append(text)
        print(f"  {text}", flush=True)

    def gauge(self) -> None:
        """Take the yardstick to the machine as it is now."""
        self._yardsticks += [measure_yardstick() for _ in range(YARDSTICK_ROUNDS)]
        fastest, *_, slowest = sorted(self._yardsticks)
        self.noise = statistics.median(self._yardsticks) / fastest
        self.noise_at_worst = slowest / fastest


class Report:
    """All sections of a run."""

    def __init__(self) -> None:
        self._sections: list[Section] = []

    @contextmanager
    def section(self, name: str) -> Iterator[Section]:
        """Collect the figures of one section."""
        print(f"\n== {name}", flush=True)
        section = Section(name)
        began = time.perf_counter()
        section.gauge()
        yield section
        section.gauge()
        section.seconds = time.perf_counter() - began
        self._sections.append(section)
        print(
            f"  {section.seconds:.0f} s; a piece of work for two cores took {section.noise:.1f} "
            f"times its fastest meanwhile, {section.noise_at_worst:.1f} at worst",
            flush=True,
        )

    def missed(self) -> list[str]:
        """Return the names of the figures that do not keep their limit."""
        return [
            f"{section.name}: {figure.name}"
            for section in self._sections
            for figure in section.figures
            if not figure.holds
        ]

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        path.write_text(json.dumps(self._plain(), indent=1) + "\n", encoding="utf-8")

    def _plain(self) -> dict[str, Any]:
        return {
            "machine": {
                "cores": os.cpu_count(),
                "processor": platform.machine(),
                "system": platform.system(),
                "python": platform.python_version(),
                "load_average": [round(load, 2) for load in os.getloadavg()],
            },
            "sections": {section.name: _plain_section(section) for section in self._sections},
        }


def _plain_section(section: Section) -> dict[str, Any]:
    return {
        "seconds": round(section.seconds, 1),
        "noise": round(section.noise, 2),
        "noise_at_worst": round(section.noise_at_worst, 2),
        "notes": section.notes,
        "figures": [
            asdict(figure) | {"median": figure.median, "holds": figure.holds}
            for figure in section.figures
        ],
    }


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.3f}"


# -------------------------------------------------------------------------------- timing


def measure_yardstick() -> float:
    """Return the seconds that a fixed piece of work on two cores takes now."""
    threads = [threading.Thread(target=sha256, args=(YARDSTICK,)) for _ in range(2)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def repeat(times: int, work: Callable[[], object]) -> list[float]:
    """Return the seconds that each of `times` runs of `work` takes."""
    return [timed(work) for _ in range(times)]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def python_command(*arguments: str) -> list[str]:
    """Return the command that runs this Python with these arguments."""
    return [sys.executable, *arguments]
