"""Where the blocks of a chain come from: a stopped node's database, a running service, a file.

    Source        what each of them is
    open_source   the one that a command's options name
    open_named    the one that a word names: a URL, a home, a file
    follow        its blocks, if each follows the one before

Nothing that a source says is believed here but which network it means to be of.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from ledger.crypto import sha256
from ledger.errors import Refusal, StoreInUse, StoreMissing, WaypostError
from ledger.history import (
    BASE_KEY,
    GENESIS_KEY,
    TIP,
    TIP_KEY,
    Tip,
    check_layout,
    journal_key,
    link_to,
)
from ledger.messages.blocks import BLOCK, Block, BlockHeader, block_hash
from ledger.messages.genesis import GENESIS, SOLO
from ledger.types import ZERO_HASH, Hash, Height
from registry.cli.http import DEFAULT_URL
from registry.home import GENESIS as GENESIS_FILE

if TYPE_CHECKING:
    from ledger.store import Reader, Store
    from registry.cli.http import Service

DATABASE: Final = "ledger"
"""The database of a home; `registry.settings` says the same."""

FETCH_BLOCKS: Final = 200
"""Blocks in one request, as many as the service gives."""


class NoDatabase(WaypostError):
    """The database's library is not there."""


class Finding(WaypostError):
    """A chain does not hold; the text says at which block, and why."""

    code = "finding"

    def __init__(self, height: Height, why: str, what: str) -> None:
        """`what` is one word for it: a refusal's code, or one of docs/operating/auditing.md."""
        super().__init__(f"block {height}: {why}")
        self.text = f"block {height}: {why}"
        self.height = height
        self.why = why
        self.what = what


class Source(Protocol):
    """Where the blocks come from."""

    name: str
    genesis: bytes
    height: Height
    """The newest block."""
    root: Hash | None
    """The state root that is claimed for it; None where nobody but the block says one."""

    def blocks(self) -> Iterator[bytes]:
        """Yield every encoded block from 1 to `height`. Raises `Finding` where one is missing."""

    def block(self, height: Height) -> bytes:
        """Return one of them. Raises `Finding` where it is missing."""


class StoreSource:
    """A database."""

    def __init__(self, name: str, genesis: bytes, reader: "Reader") -> None:
        """Refuses with `bad_genesis` a database of another network, or an empty one.

        Refuses like `check_layout` before.
        """
        self.name = name
        self.genesis = genesis
        self._reader = reader
        check_layout(reader)
        raw, made_from = reader.get(TIP_KEY), reader.get(GENESIS_KEY)
        if raw is None or made_from != sha256(genesis):
            raise Refusal("bad_genesis", why=f"{name} holds no chain that begins with it")
        tip = TIP.load(raw)
        self.height = tip.height
        self.root: Hash | None = tip.root

    def blocks(self) -> Iterator[bytes]:
        """Yield every block of the journal."""
        return map(self.block, range(1, self.height + 1))

    def block(self, height: Height) -> bytes:
        """Return a block of the journal."""
        raw = self._reader.get(journal_key(height))
        if raw is None:
            raise Finding(height, self._explain_gap(), "missing")
        return raw

    def _explain_gap(self) -> str:
        base = int.from_bytes(self._reader.get(BASE_KEY) or b"\1", "big")
        if base > 1:
            return f"the journal begins with block {base}: take a node that has the whole chain"
        return "it is missing in the journal"


class UrlSource:
    """A service that gives its blocks."""

    def __init__(self, service: "Service", genesis: bytes | None) -> None:
        """Take the chain up to the service's newest block of now.

        Refuses with `bad_genesis` a service of another network than that of `genesis`.
        """
        from registry.cli.http import Tip, convert

        tip = convert(service.get("/v1/network"), Tip)
        self.name = service.url
        self.genesis = service.get_bytes("/v1/genesis")
        if genesis not in (None, self.genesis):
            raise Refusal("bad_genesis", why=f"{service.url} serves another network")
        self.height = tip.height
        self.root: Hash | None = bytes.fromhex(tip.state_root)
        self._service = service

    def blocks(self) -> Iterator[bytes]:
        """Yield every block, some hundred with one request."""
        height = 0
        while height < self.height:
            found = self._fetch(height + 1, min(FETCH_BLOCKS, self.height - height))
            yield from found
            height += len(found)

    def block(self, height: Height) -> bytes:
        """Ask for one block."""
        return self._fetch(height, 1)[0]

    def _fetch(self, start: int, limit: int) -> list[bytes]:
        import msgspec

        from registry.cli.http import BadAnswer

        body = self._service.get_bytes("/v1/blocks", start=start, limit=limit)
        try:
            found = msgspec.msgpack.decode(body, type=list[bytes])[:limit]
        except msgspec.MsgspecError:
            raise BadAnswer(f"{self.name} answers with what are no blocks") from None
        if not found:
            raise Finding(start, f"{self.name} does not have it: ask another node", "missing")
        return found


class UpTo:
    """The first blocks of a source, up to a height with a root that somebody may vouch for."""

    def __init__(self, source: Source, height: Height, root: Hash | None) -> None:
        self.name = source.name
        self.genesis = source.genesis
        self.height = height
        self.root = root
        self._source = source

    def blocks(self) -> Iterator[bytes]:
        """Yield every encoded block up to the height."""
        return islice(self._source.blocks(), self.height)

    def block(self, height: Height) -> bytes:
        """Return a block of the source."""
        return self._source.block(height)


# --- opening one --------------------------------------------------------------------------------


@contextmanager
def open_source(
    file: Path | None, home: Path | None, url: str | None, genesis: Path | None
) -> Iterator[tuple[Source, "Reader | None"]]:
    """Open the one that is named, the default home if none is; and its database, if it is one."""
    if file is not None:
        with open_file(file, genesis) as history:
            yield history, None
    elif url is not None:
        with open_url(url, genesis) as service:
            yield service, None
    else:
        with open_home(home, genesis) as opened:
            yield opened


@contextmanager
def open_named(name: str) -> Iterator[Source]:
    """Open what a word names: a URL, the home of a stopped node, or a file."""
    if "://" in name:
        with open_url(name) as service:
            yield service
    elif Path(name).is_dir():
        with open_home(Path(name)) as (source, _):
            yield source
    else:
        with open_file(Path(name)) as history:
            yield history


@contextmanager
def open_file(path: Path, genesis: Path | None = None) -> Iterator[Source]:
    """Open a history. Refuses with `bad_genesis` one of another network than that of `genesis`."""
    from registry.history_file import HistoryFile

    with path.open("rb") as stream:
        history = HistoryFile(str(path), stream)
        if genesis is not None and history.genesis != genesis.read_bytes():
            raise Refusal("bad_genesis", why=f"{path} is the history of another network")
        yield history


@contextmanager
def open_url(url: str, genesis: Path | None = None) -> Iterator[Source]:
    """Open a service."""
    from registry.cli.http import Service

    with Service(url) as service:
        yield UrlSource(service, None if genesis is None else genesis.read_bytes())


@contextmanager
def open_home(
    home: Path | None, genesis: Path | None = None
) -> Iterator[tuple[StoreSource, "Store"]]:
    """Open the database of a stopped node."""
    from registry.home import default_home

    folder = home or default_home()
    raw = (genesis or folder / GENESIS_FILE).read_bytes()
    try:
        from ledger.leveldb import LevelStore

        store = LevelStore(folder / DATABASE, create=False)
    except ModuleNotFoundError:
        raise NoDatabase(
            f"there is no LevelDB for this Python here: take the blocks from a node that runs, "
            f"--url {DEFAULT_URL}"
        ) from None
    except StoreInUse as error:
        error.add_note(f"stop the node, or take the blocks from it: --url {DEFAULT_URL}")
        raise
    except StoreMissing as error:
        error.add_note(f"is {folder} the home of a node? Those of a devnet are in devnet/0 … 2")
        raise
    try:
        yield StoreSource(str(folder / DATABASE), raw, store), store
    finally:
        store.close()


# --- what follows what --------------------------------------------------------------------------


def follow(source: Source) -> Iterator[bytes]:
    """Yield the blocks of a source, each of which carries its inputs and follows the one before.

    The last one has the root that the source claims. Raises `Finding`.
    """
    engine = GENESIS.decode(source.genesis).engine
    tip, root = tip_of_genesis(source), source.root
    for height, raw in enumerate(source.blocks(), 1):
        header = read_block(raw, height).header
        check_follows(tip, header, engine)
        tip, root = tip_of(header), header.state_root
        yield raw
    if source.root not in (None, root):
        raise Finding(source.height, f"{source.name} claims another root than it", "claim")


def read_block(raw: bytes, height: Height) -> Block:
    """Return a block that has this height and carries its inputs. Raises `Finding`."""
    try:
        block = BLOCK.decode(raw)
    except Refusal as refusal:
        raise Finding(height, str(refusal), refusal.code) from None
    if block.header.height != height:
        raise Finding(height, f"block {block.header.height} stands in its place", "block_link")
    if not block.has_its_inputs():
        raise Finding(height, "it does not carry what its header names", "block_inputs")
    return block


def tip_of_genesis(source: Source) -> Tip:
    """Return what block 1 follows, as far as a genesis file alone tells."""
    return Tip(0, 0, ZERO_HASH, sha256(source.genesis))


def tip_of(header: BlockHeader) -> Tip:
    """Return what the next block follows."""
    return Tip(header.height, header.time_ms, header.state_root, block_hash(header))


def check_follows(tip: Tip, header: BlockHeader, engine: int) -> None:
    """Check that a header links to a tip. Raises `Finding`."""
    # only who executes genesis knows the root to which the first block of validators links
    is_known = engine == SOLO or tip.height > 0
    if is_known and header.previous != link_to(tip, engine):
        raise Finding(header.height, "it does not follow the block before", "block_link")
