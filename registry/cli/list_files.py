"""Files of verified lists for other programs: once, or kept up to date.

bundle    one file with all that verifies it, for whoever cannot reach a source
watch     keep a file up to date
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from registry.cli.list_facts import describe, describe_node, format_facts
from registry.cli.output import Output, OutputOption, emit, refusals, warn
from registry.cli.sources import (
    DEFAULT_URL,
    AgreeOption,
    CacheOption,
    CheckpointOption,
    ExpiredOption,
    GenesisOption,
    Opened,
    SourcesOption,
    fetch_newest,
    now_ms,
    open_lists,
    read_beyond,
    trust,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.client.http import Beyond

SPREAD: Final = 0.5
"""Share of an epoch over which clients spread when they ask: so they do not all come at once."""

RETRY_S: Final = (5, 300)
"""Seconds until the next try where none succeeded: the first time, and at most."""


def bundle(
    file: Annotated[Path, typer.Argument(help="File to write.", show_default=False)],
    genesis: GenesisOption = None,
    url: SourcesOption = None,
    out: CacheOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Fetch the newest list, and write it with all that verifies it to one file.

    Whoever has the genesis file checks it with `waypost list verify`, by whatever way it came.
    """
    from registry.client.bundles import make_bundle
    from registry.client.http import TOTAL_S, WAIT_S
    from registry.client.transport import Transport
    from registry.files import write_durably

    urls = url or [DEFAULT_URL]
    with refusals():
        opened = open_lists(genesis, out, allow_expired=False)
        (trusted, cache), source = fetch_newest(urls, opened)
        reader = trust(cache.genesis, allow_expired=False)
        with Transport(WAIT_S, TOTAL_S) as transport:
            data = make_bundle([source, *urls], trusted, reader, transport)
        write_durably(file, data)
        facts = describe(trusted) | {"file": str(file), "bytes": len(data)}
        emit(facts, output, lambda: f"{format_facts(trusted)}\nwritten      {file}, {len(data)} B")


def watch(
    file: Annotated[Path, typer.Argument(help="File to keep up to date.", show_default=False)],
    genesis: GenesisOption = None,
    url: SourcesOption = None,
    out: CacheOption = None,
    allow_expired: ExpiredOption = False,
    checkpoint: CheckpointOption = "",
    agree: AgreeOption = 0,
    every: Annotated[
        float,
        typer.Option(min=0, help="Seconds between two looks; 0 follows the epochs of the network."),
    ] = 0,
    times: Annotated[
        int, typer.Option(min=0, help="End after so many looks; 0 goes on for ever.")
    ] = 0,
    output: OutputOption = Output.TEXT,
) -> None:
    """Keep the newest verified list in a JSON file, for programs that do not verify it themselves.

    The file holds what `waypost list show -o json --limit 0` prints, and is replaced as a whole
    when the list or its status changes; past its valid-until it names no nodes any more. Each
    change is told on a line. A fork ends it; all else is tried again.
    """
    beyond = read_beyond(checkpoint, agree)
    with refusals():
        opened = open_lists(genesis, out, allow_expired)
        _Watch(file, opened, url or [DEFAULT_URL], beyond, output).run(every, times)


class _Watch:
    """A file, and what it was last written from."""

    def __init__(
        self,
        file: Path,
        opened: Opened,
        urls: "Sequence[str]",
        beyond: "Beyond",
        output: Output,
    ) -> None:
        self._file = file
        self._opened = opened
        self._urls = urls
        self._beyond = beyond
        self._output = output
        self._shown: tuple[object, ...] = ()
        self._failures = 0

    def run(self, every: float, times: int) -> None:
        """Look, write, wait, and so on."""
        import time

        looks = 0
        while True:
            self._look()
            looks += 1
            if looks == times:
                return
            time.sleep(every or self._pause_s())

    def _look(self) -> None:
        from ledger.errors import Refusal
        from registry.client.transport import Unavailable

        trusted, _ = self._opened
        trusted.start_update(now_ms())
        try:
            self._opened, _ = fetch_newest(self._urls, self._opened, self._beyond)
            self._failures = 0
        except (Refusal, Unavailable) as failure:
            if trusted.evidence is not None:
                raise
            self._failures += 1
            warn(str(failure))
            for note in getattr(failure, "__notes__", ()):
                warn(f"  {note}")
        self._write()

    def _write(self) -> None:
        """Write the file, if what it says has changed."""
        import json

        from registry.files import write_durably

        trusted, _ = self._opened
        if trusted.is_empty or (trusted.is_usable and trusted.needs_list):
            return
        shown = (trusted.genesis_hash, trusted.header, trusted.signers, trusted.status)
        if shown == self._shown:
            return
        facts = describe(trusted)
        nodes = [describe_node(entry) for entry in trusted.entries] if trusted.is_usable else []
        text = json.dumps(facts | {"found": len(nodes), "nodes": nodes}, indent=2)
        write_durably(self._file, f"{text}\n".encode())
        self._shown = shown
        said = f"epoch {trusted.header.epoch}: {trusted.header.node_count} nodes, {trusted.status}"
        print(json.dumps(facts) if self._output is Output.JSON else said, flush=True)

    def _pause_s(self) -> float:
        """Return how long to wait: into the next epoch, by a random part of one."""
        from random import random

        if self._failures:
            first, longest = RETRY_S
            wait_s: float = min(longest, first * 2.0 ** (self._failures - 1))
            return wait_s * (1 + random())
        trusted, _ = self._opened
        next_ms = trusted.header.valid_after_ms + trusted.epoch_ms
        wait_ms = max(0, next_ms - now_ms()) + SPREAD * random() * trusted.epoch_ms
        return max(1.0, wait_ms / 1000)
