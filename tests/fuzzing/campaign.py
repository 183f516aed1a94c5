"""Fuzzes many decoders, some beside each other, and counts what became of it."""

import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Final

from tests.fuzzing.target import Counts, Folders, fuzz
from tests.mutations.rows import Decoder

FORK: Final = get_context("fork")
"""What was instrumented once is so in every process."""

EDGES: Final = re.compile(r"cov: (\d+)")


@dataclass
class Row:
    """What one decoder was given, and what became of it."""

    name: str
    decoder: Decoder
    folders: Folders
    counts: Counts = field(default_factory=Counts)
    edges: int = 0
    """Of the ledger and the service, that some input went through."""
    seconds: float = 0.0
    findings: int = 0
    is_over: bool = False
    """It has had its time, or its process broke off."""

    @property
    def inputs(self) -> int:
        """How many it was given."""
        return self.counts.read()[0]


def fuzz_all(
    targets: Mapping[str, Decoder], out: Path, runs: int, seconds: int, jobs: int
) -> list[Row]:
    """Share `runs` inputs out over the targets, each of which takes `seconds` at most."""
    rows = [Row(name, decoder, Folders(out, name)) for name, decoder in targets.items()]
    since = time.time()
    while True:
        going = [row for row in rows if not row.is_over]
        left = runs - sum(row.inputs for row in rows)
        if left <= 0 or not going:
            break
        fuzz_each(going, -(-left // len(going)), seconds, jobs)
    for row in rows:
        row.findings = row.folders.count_findings(since)
    return rows


def fuzz_each(rows: Sequence[Row], share: int, seconds: int, jobs: int) -> None:
    """Give each row so many inputs, `jobs` rows at a time."""
    waiting, under_way = iter(rows), dict[int, tuple[Row, ForkProcess, float]]()
    while True:
        while len(under_way) < jobs and (row := next(waiting, None)) is not None:
            left_s = max(1, round(seconds - row.seconds))
            told = (row.decoder, row.folders, row.counts, share, left_s)
            process = FORK.Process(target=fuzz, args=told)
            process.start()
            under_way[process.sentinel] = row, process, time.monotonic()
        if not under_way:
            return
        for sentinel in wait(list(under_way)):
            assert isinstance(sentinel, int)
            row, process, began = under_way.pop(sentinel)
            process.join()
            row.seconds += time.monotonic() - began
            row.is_over = process.exitcode != 0 or row.seconds >= seconds
            finish(row, process.exitcode)


def finish(row: Row, code: int | None) -> None:
    """Note what libFuzzer said of a row, and tell that it is done."""
    row.edges = read_edges(row.folders.log)
    note = f", ended with code {code}" if code else ""
    print(f"{row.name}: {row.inputs:,} inputs{note}", file=sys.stderr, flush=True)


def read_edges(log: Path) -> int:
    """Return the newest count of edges in what libFuzzer said."""
    found = EDGES.findall(log.read_text(errors="replace"))
    return int(found[-1]) if found else 0


def print_table(rows: Sequence[Row], seconds: float) -> None:
    """Print what became of each target, and of all."""
    print("| target | inputs | taken | edges | corpus | seconds | findings |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for row in rows:
        inputs, taken = row.counts.read()
        corpus = len(list(row.folders.corpus.iterdir()))
        cells = (f"{inputs:,}", f"{taken:,}", row.edges, corpus, f"{row.seconds:.0f}", row.findings)
        name = row.name.replace("|", r"\|")
        print(f"| {name} | {' | '.join(map(str, cells))} |")
    inputs = sum(row.inputs for row in rows)
    findings = sum(row.findings for row in rows)
    print(f"{inputs:,} inputs on {len(rows)} targets in {seconds:.0f} s: {findings} findings")
    for row in rows:
        if row.findings:
            print(f"  {row.folders.findings}")
