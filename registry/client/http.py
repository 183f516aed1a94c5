"""Fetches lists: several sources, none of which is believed.

- Sources are asked in the order given, until one has a header that holds and is fresh. One that
  keeps newer lists back is found out when its list is no longer fresh, and the next one is asked.
- The list may come from any source, since its header names it. Who holds an earlier one asks for
  what changed since, in a few small files; whatever is wrong with them, it asks for all of it.
- Every answer is bounded, in bytes and in time, whatever the source sends and however slowly.
- A fork ends it at once: what is wrong then is not the source.
"""

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, TypeAlias

from ledger.errors import Misuse, Refusal, WaypostError
from ledger.messages.entries import join_columns
from registry.client.cache import EVIDENCE, ListCache
from registry.client.trusted import MAX_SIGNED_HEADER_BYTES, Status, TrustedLists
from registry.formats.full import compute_columns_bound, compute_full_bound, encode_full
from registry.formats.ladder import plan_steps

if TYPE_CHECKING:
    import httpx2

WAIT_S: Final = 10.0
"""Seconds without a byte after which a source is given up."""

TOTAL_S: Final = 60.0
"""Seconds after which an answer that is still not complete is given up."""


class Unavailable(WaypostError):
    """No source gave what was asked for, for reasons that may pass: try again later."""

    code: Final = "unavailable"

    def __init__(self, text: str) -> None:
        super().__init__(f"{self.code}: {text}")
        self.text = text


Failure: TypeAlias = Refusal | Unavailable


class Fetched(NamedTuple):
    """How a fetch went; what it brought is in the `TrustedLists`."""

    source: str
    """The source whose header was taken last."""
    failures: dict[str, Failure]
    """What was wrong with the sources that were of no use."""


def fetch_lists(
    urls: Sequence[str],
    trusted: TrustedLists,
    cache: ListCache | None = None,
    *,
    wait_s: float = WAIT_S,
    total_s: float = TOTAL_S,
) -> Fetched:
    """Bring `trusted` up to date from sources such as `https://example.org`.

    With a cache, what it keeps is taken up first if `trusted` is empty, and what is verified is
    kept as soon as it is. `total_s` bounds each answer, of which there are at most two a source.

    Raises the first source's `Refusal` if no header or no list held, `Unavailable` if none came;
    the notes name every source. `OSError` comes from the cache.
    """
    if not urls:
        raise Misuse("there is no source to fetch from")
    if cache is not None and trusted.is_empty:
        cache.resume(trusted)
    with _client(wait_s) as client:

        def get(url: str, limit: int) -> bytes:
            return _within(total_s, url, lambda: _read(client, url, limit, total_s))

        failures: dict[str, Failure] = {}
        source = _fetch_header(urls, trusted, cache, get, failures)
        if cache is not None:
            cache.save(trusted)
        if trusted.needs_list and not (cache is not None and cache.load_list(trusted)):
            full = None
            if not _fetch_deltas(source, trusted, get):
                full = _fetch_full([source, *urls], trusted, get, failures)
            if cache is not None:
                cache.save(trusted, full or encode_full(join_columns(trusted.columns)))
    return Fetched(source, failures)


_Get: TypeAlias = Callable[[str, int], bytes]


def _fetch_header(
    urls: Sequence[str],
    trusted: TrustedLists,
    cache: ListCache | None,
    get: _Get,
    failures: dict[str, Failure],
) -> str:
    """Take the first fresh header, or the newest of those that hold; return whose it was."""
    source = ""
    for url in urls:
        try:
            trusted.update(get(_join(url, "latest"), MAX_SIGNED_HEADER_BYTES))
        except (Refusal, Unavailable) as failure:
            if trusted.evidence is not None:
                failure.add_note(f"the second one came from {url}")
                if cache is not None:
                    cache.save_evidence(trusted.evidence)
                    failure.add_note(f"both are kept in {cache.folder}: {', '.join(EVIDENCE)}")
                raise
            failures[url] = failure
            continue
        source = url
        if trusted.status is Status.FRESH:
            break
    if not source:
        _give_up(failures)
    return source


def _fetch_deltas(url: str, trusted: TrustedLists, get: _Get) -> bool:
    """Go on from the list that is held; say whether that led to the new one.

    Nothing depends on it: the whole list leads to the same.
    """
    start, header = trusted.list_epoch, trusted.header
    steps = [] if start is None else plan_steps(start, header.epoch)
    if not steps:
        return False
    limit = compute_full_bound(compute_columns_bound(header.node_count, header.swarm_count))
    try:
        files = [get(_join(url, f"{step.end}/delta/{step.start}"), limit) for step in steps]
        trusted.load_deltas(*files)
    except (Refusal, Unavailable):
        return False
    return True


def _fetch_full(
    urls: Sequence[str], trusted: TrustedLists, get: _Get, failures: dict[str, Failure]
) -> bytes:
    """Load the list of the newest header from the first source that has it; return the file."""
    header = trusted.header
    limit = compute_full_bound(compute_columns_bound(header.node_count, header.swarm_count))
    asked: dict[str, Failure] = {}
    for url in dict.fromkeys(urls):
        try:
            full = get(_join(url, f"{header.epoch}/full"), limit)
            trusted.load_full(full)
        except (Refusal, Unavailable) as failure:
            asked[url] = failures[url] = failure
        else:
            return full
    _give_up(asked)


def _give_up(failures: dict[str, Failure]) -> NoReturn:
    """Raise the first refusal, since it says more than that a source is down, or `Unavailable`."""
    refusals = [failure for failure in failures.values() if isinstance(failure, Refusal)]
    error = refusals[0] if refusals else Unavailable("no source answered with a list")
    for url, failure in failures.items():
        error.add_note(f"{url}: {failure}")
    raise error


def _join(url: str, path: str) -> str:
    return f"{url.rstrip('/')}/v1/lists/{path}"


# ---- One answer ----


def _client(wait_s: float) -> "httpx2.Client":
    # Imported here: programs that only verify do without it.
    import httpx2

    # Lists are compressed already, and what a transfer inflates to would have no bound.
    headers = {"accept-encoding": "identity", "user-agent": "waypost"}
    # A proxy that the environment names is for other machines, not for this one.
    direct = dict.fromkeys(f"all://{host}" for host in ("127.0.0.1", "[::1]", "localhost"))
    return httpx2.Client(timeout=wait_s, headers=headers, mounts=direct)


def _read(client: "httpx2.Client", url: str, limit: int, total_s: float) -> bytes:
    """Return the body of a 200. Refuses with `too_large` past `limit`, at once."""
    import httpx2

    deadline = monotonic() + total_s
    body = bytearray()
    try:
        with client.stream("GET", url) as response:
            if response.status_code != httpx2.codes.OK:
                raise Unavailable(f"it answered {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise Unavailable("it answered in an encoding that was not asked for")
            for piece in response.iter_raw():
                body += piece
                if len(body) > limit:
                    raise Refusal("too_large", size=len(body), limit=limit)
                if monotonic() > deadline:
                    raise Unavailable(f"it took longer than {total_s:g} s")
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise Unavailable(f"it could not be read: {str(error) or type(error).__name__}") from error
    return bytes(body)


def _within(total_s: float, url: str, read: Callable[[], bytes]) -> bytes:
    """Return what `read` returns or raise what it raises, or `Unavailable` after `total_s`.

    A thread of its own, since neither the look-up of a name nor headers that come byte by byte
    have an end that the library knows of. One that is stuck is left behind, and dies with the
    program.
    """
    answers: SimpleQueue[bytes | BaseException] = SimpleQueue()

    def run() -> None:
        try:
            answers.put(read())
        except BaseException as error:
            answers.put(error)

    threading.Thread(target=run, name=f"fetch {url}", daemon=True).start()
    try:
        answer = answers.get(timeout=total_s)
    except Empty:
        raise Unavailable(f"it took longer than {total_s:g} s") from None
    if isinstance(answer, BaseException):
        raise answer
    return answer
