"""The manifest: one small file that says what else there is in a publication directory.

    {"format": 1, "chain": …, "genesis": …, "newest": 49, "latest": 48, "oldest": 0,
     "lists": [{"epoch": 49, "final": false, "files": {"full": {"size": …, "sha256": …,
                                                                "immutable": true}, …}}, …]}

- It is replaced after everything that it names was written, so whoever copies what it names finds
  all of it.
- Lists in memory stand there with their files; of older ones a reader knows from `oldest` and the
  ladder what there is. So its length has a bound, and no file is read again to write it.
- It proves nothing and need not: what a header signs is checked by whoever reads a list.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from ledger.types import Epoch
from registry.formats import FORMATS
from registry.formats.bundle import NAME as BUNDLE
from registry.view import PublishedList

NAME: Final = "manifest.json"
FORMAT: Final = 1

PASSING: Final = frozenset((BUNDLE, *(row.name for row in FORMATS.values() if not row.decode)))
"""Files that are there for some epochs only, so nobody is to keep them for long."""


class FileRow(msgspec.Struct, frozen=True):
    """One file of a list."""

    size: int
    """Bytes."""
    sha256: str
    """Of these, as hex."""
    immutable: bool
    """Whether these bytes may be kept for ever under this name."""


class ListRow(msgspec.Struct, frozen=True):
    """One list with its files, by their path below `lists/<epoch>`."""

    epoch: int
    final: bool
    files: dict[str, FileRow]


class Manifest(msgspec.Struct, frozen=True):
    """The whole file."""

    format: int
    chain: str
    """Name of the network."""
    genesis: str
    """Hash of the genesis file, as hex."""
    newest: int
    """Epoch of the newest list, final or not."""
    latest: int | None
    """Epoch of the newest final list."""
    oldest: int
    """First epoch from which on lists are kept; headers are kept from before it too."""
    lists: list[ListRow]
    """The newest first."""


class Catalogue:
    """Sizes and hashes of the files that were written, until their list is forgotten."""

    def __init__(self) -> None:
        self._rows: dict[Epoch, dict[str, tuple[int, str]]] = {}

    def note(self, epoch: Epoch, name: str, data: bytes) -> None:
        """Take down a file that is there now; any thread may call it."""
        self._rows.setdefault(epoch, {})[name] = (len(data), hashlib.sha256(data).hexdigest())

    def forget(self, epochs: Iterable[Epoch]) -> None:
        """Let go of lists that no manifest will name any more."""
        for epoch in epochs:
            self._rows.pop(epoch, None)

    def files_of(self, row: PublishedList) -> dict[str, FileRow]:
        """Return the files of a list, in the order of their names."""
        noted = self._rows.get(row.epoch, {}).copy()
        return {
            name: FileRow(*noted[name], immutable=_is_immutable(name, row))
            for name in sorted(noted)
        }


def _is_immutable(name: str, row: PublishedList) -> bool:
    return row.is_frozen if name == "header" else name not in PASSING


def encode_manifest(
    catalogue: Catalogue,
    chain: str,
    genesis_hash: bytes,
    lists: Sequence[PublishedList],
    latest: Epoch | None,
    oldest: Epoch,
) -> bytes:
    """Return the manifest of these lists, which come by ascending epoch."""
    rows = [ListRow(row.epoch, row.is_final, catalogue.files_of(row)) for row in reversed(lists)]
    newest = lists[-1].epoch
    made = Manifest(FORMAT, chain, genesis_hash.hex(), newest, latest, oldest, rows)
    return msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n"


def decode_manifest(raw: bytes) -> Manifest:
    """Read a manifest. Raises `msgspec.DecodeError` for anything else."""
    try:
        return msgspec.json.decode(raw, type=Manifest)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None
