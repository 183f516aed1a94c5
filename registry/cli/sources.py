"""Where lists come from, and what is believed of them: options and openings of several commands."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, TypeAlias

import typer

from registry.cli.output import warn

if TYPE_CHECKING:
    from registry.client.cache import ListCache
    from registry.client.http import Beyond
    from registry.client.trusted import TrustedLists

DEFAULT_URL: Final = "http://127.0.0.1:8420"

GenesisOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--genesis", help="Genesis file; that of the home directory by default."),
]
SourcesOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--url", envvar="WAYPOST_URL", help="A source; may be given several times."),
]
CacheOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--out", help="Folder of verified lists; one in the home by default."),
]
ExpiredOption: TypeAlias = Annotated[
    bool, typer.Option("--allow-expired", help="Use a list past its valid-until too.")
]
CheckpointOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--checkpoint",
        metavar="'EPOCH WORDS'",
        help="Past the trust period: the epoch and the twelve words of a header you vouch for.",
        show_default=False,
    ),
]
AgreeOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--agree",
        min=0,
        help="Past the trust period: go on if so many sources serve the same header.",
        show_default=False,
    ),
]


class Opened(NamedTuple):
    """What a client holds, and where it keeps it."""

    trusted: "TrustedLists"
    cache: "ListCache"


def read_beyond(checkpoint: str, agree: int) -> "Beyond":
    """Return what the client goes by past its trust period."""
    from registry.client.http import Beyond, Checkpoint
    from registry.formats.fingerprint import fingerprint_of

    if not checkpoint:
        return Beyond(None, agree)
    epoch, *words = checkpoint.split()
    try:
        return Beyond(Checkpoint(int(epoch), fingerprint_of(words)), agree)
    except ValueError:
        raise typer.BadParameter("a checkpoint is an epoch and twelve words") from None


def fetch_newest(
    urls: Sequence[str],
    opened: Opened,
    beyond: "Beyond | None" = None,
    want_list: bool = True,
) -> tuple[Opened, str]:
    """Bring what is held up to date; return it, and the source of its newest header.

    Where the network goes on as another one, its lists are fetched.
    """
    from registry.client.http import Beyond, fetch_lists

    while True:
        trusted, cache = opened
        fetched = fetch_lists(urls, trusted, cache, beyond=beyond or Beyond(), want_list=want_list)
        for source, failure in fetched.failures.items():
            warn(f"{source}: {failure}")
        if fetched.clock:
            warn(fetched.clock)
        if fetched.successor is None:
            warn_if_degraded(trusted)
            return opened, fetched.source
        opened = _succeed(opened, fetched.successor)
        warn(f"the network goes on as {opened.trusted.genesis_hash.hex()}: fetching its lists")


def open_lists(genesis: Path | None, folder: Path | None, allow_expired: bool) -> Opened:
    """Take up what is kept of a network, or of the one that it went on as."""
    from registry.client.cache import ListCache
    from registry.home import LISTS, default_genesis, default_home

    home = default_home()
    raw = read_genesis(genesis or default_genesis(home))
    trusted = trust(raw, allow_expired)
    # One folder a network, since a home may see several: a devnet that starts over is another.
    opened = Opened(trusted, ListCache(folder or home / LISTS / _name(trusted), raw))
    opened.cache.resume(trusted)
    while trusted.successor is not None and (following := opened.cache.successor) is not None:
        opened = _succeed(opened, following)
        opened.cache.resume(trusted)
    return opened


def resume(genesis: Path | None, folder: Path | None, allow_expired: bool) -> "TrustedLists":
    """Return what is kept, and say if it is not fresh."""
    trusted, _ = open_lists(genesis, folder, allow_expired)
    warn_if_degraded(trusted)
    return trusted


def _succeed(opened: Opened, genesis: bytes) -> Opened:
    from registry.client.cache import ListCache

    trusted, cache = opened
    trusted.succeed(genesis)
    return Opened(trusted, ListCache(cache.folder / _name(trusted), genesis))


def _name(trusted: "TrustedLists") -> str:
    return trusted.genesis_hash.hex()[:16]


def trust(genesis: bytes, allow_expired: bool) -> "TrustedLists":
    """Return a client of a network that holds nothing, at the time of this machine."""
    from registry.client.trusted import TrustedLists

    return TrustedLists(genesis, now_ms(), allow_expired=allow_expired)


def now_ms() -> int:
    """Return the time of this machine, Unix milliseconds."""
    from time import time_ns

    return time_ns() // 10**6


def read_genesis(path: Path) -> bytes:
    """Return the bytes of a genesis file."""
    from ledger.messages.genesis import MAX_GENESIS_BYTES
    from registry.client.cache import read_bounded

    try:
        return read_bounded(path, MAX_GENESIS_BYTES)
    except FileNotFoundError:
        raise typer.BadParameter(
            f"there is no genesis file {path}: name one, or set WAYPOST_HOME"
        ) from None


def warn_if_degraded(trusted: "TrustedLists") -> None:
    """Say if what is held is not fresh."""
    from registry.amounts import format_time
    from registry.client.checks import Status

    if trusted.is_empty or trusted.status is Status.FRESH:
        return
    until = format_time(trusted.header.fresh_until_ms)
    warn(f"the list is {trusted.status}: it was fresh until {until}")
