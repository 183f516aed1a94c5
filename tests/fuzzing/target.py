"""One decoder under atheris, in a process of its own, which ends with it."""

import mmap
import os
import re
import traceback
from pathlib import Path
from random import Random
from typing import Final, NoReturn

from tests.fuzzing.judge import judge
from tests.fuzzing.mutators import mutate_by_form
from tests.mutations.rows import Decoder

HANG_S: Final = 60
"""Seconds after which an input ends the process: what `judge` is too late for."""

RSS_MIB: Final = 2_048
MIN_INPUT_BYTES: Final = 8_192
"""Inputs may be as long, or twice as long as what the decoder takes."""

BOUNDARIES: Final = (
    *(number.to_bytes(size, "big") for size in (2, 4, 8) for number in (0, 1, 2 ** (8 * size) - 1)),
    *((2 ** (8 * size - 1)).to_bytes(size, "big") for size in (2, 4, 8)),
    # LEB128: 128, 2^14 - 1, 2^16, 2^21 - 1
    *(b"\x80\x01", b"\xff\x7f", b"\x80\x80\x04", b"\xff\xff\x7f"),
    # heads of MessagePack: no bytes, and more items and bytes than there are
    *(
        b"\xc4\0",
        b"\xc4\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x90",
        b"\xdc\xff\xff",
        b"\xdd\xff\xff\xff\xff",
    ),
)
"""Numbers at which something may end, as they are written here: libFuzzer puts them in."""

OURS: Final = re.compile(r"/((?:ledger|registry)/.*)\.py$")


class Counts:
    """Inputs so far, and those that were taken: of a process that this one has forked too."""

    def __init__(self) -> None:
        self._room = mmap.mmap(-1, 16)
        self._numbers = memoryview(self._room).cast("Q")

    def add(self, is_taken: bool) -> None:
        """Count an input."""
        self._numbers[0] += 1
        self._numbers[1] += is_taken

    def read(self) -> tuple[int, int]:
        """Return both."""
        return self._numbers[0], self._numbers[1]


class Folders:
    """Where the inputs of a decoder lie that are worth keeping."""

    def __init__(self, out: Path, name: str) -> None:
        stem = re.sub(r"[^A-Za-z0-9 -]", lambda found: f"{ord(found[0]):x}", name).replace(" ", "-")
        self.corpus = out / "corpus" / stem
        self.findings = out / "findings" / stem
        self.log = out / "logs" / f"{stem}.log"
        self.words = self.log.with_suffix(".words")
        for folder in (self.corpus, self.findings, self.log.parent):
            folder.mkdir(parents=True, exist_ok=True)

    def keep(self, error: BaseException, raw: bytes) -> None:
        """Keep what broke a decoder: of each place the shortest input."""
        path = self.findings / f"{type(error).__name__}-{place_of(error)}"
        if not path.exists() or path.stat().st_size > len(raw):
            path.write_bytes(raw)
            text = "".join(traceback.format_exception(error))
            path.with_name(path.name + ".txt").write_text(f"{text}\n{raw!r}\n")
        else:
            os.utime(path)

    def count_findings(self, since: float) -> int:
        """Return how many were seen since then, in seconds of the clock of files."""
        found = [path for path in self.findings.iterdir() if path.suffix != ".txt"]
        return sum(path.stat().st_mtime >= since for path in found)


def place_of(error: BaseException) -> str:
    """Return the last line of the ledger or the service where it went wrong, for a file's name."""
    place = "tests"
    for frame, line in traceback.walk_tb(error.__traceback__):
        found = OURS.search(frame.f_code.co_filename)
        if found is not None:
            place = f"{found[1].replace('/', '.')}-{line}"
    return place


def fuzz(decoder: Decoder, folders: Folders, counts: Counts, runs: int, seconds: int) -> NoReturn:
    """Try so many inputs, or for so long; what libFuzzer says goes to the log."""
    import atheris

    log = os.open(folders.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    (folders.corpus / "taken").write_bytes(decoder.raw)

    def try_input(raw: bytes) -> None:
        is_taken = False
        try:
            is_taken = judge(decoder, raw)
        except Exception as error:
            folders.keep(error, raw)
        counts.add(is_taken)

    def change(raw: bytes, most: int, seed: int) -> bytes:
        changed = mutate_by_form(Random(seed), raw, decoder.raw)
        if changed is None or len(changed) > most:
            mutated: bytes = atheris.Mutate(raw, most)
            return mutated
        return changed

    words = ("".join(f"\\x{byte:02x}" for byte in word) for word in BOUNDARIES)
    folders.words.write_text("".join(f'"{word}"\n' for word in words))
    options = {
        "dict": folders.words,
        "runs": runs,
        "max_total_time": seconds,
        "timeout": HANG_S,
        "rss_limit_mb": RSS_MIB,
        "max_len": max(MIN_INPUT_BYTES, 2 * len(decoder.raw)),
        "artifact_prefix": f"{folders.findings}/",
    }
    flags = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup(["fuzz", *flags, str(folders.corpus)], try_input, custom_mutator=change)
    atheris.Fuzz()
    os._exit(0)
