"""Answers of sources, bounded in bytes and in time whatever a source sends.

- Redirects are not followed, and nothing is decoded: lists are compressed already, and what a
  transfer inflates to would have no bound.
- A proxy that the environment names is for other machines, not for this one.
- Several answers share one time, so that a source does not win hours by many that are slow.
- An answer that is given up is not read any further: its connection is closed.
- What the sources' clocks show is noted; nothing is believed of it.
"""

import threading
from email.utils import parsedate_to_datetime
from functools import cache
from queue import Empty, SimpleQueue
from statistics import median
from time import monotonic, time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Final

from ledger.errors import Refusal, WaypostError, describe

if TYPE_CHECKING:
    import ssl

    import httpx2


NOT_THERE: Final = (403, 404, 410, 422)
"""Statuses by which services and plain mirrors say that they have no such file."""


class Unavailable(WaypostError):
    """No source gave what was asked for, for reasons that may pass: try again later."""

    code: Final = "unavailable"

    def __init__(self, text: str) -> None:
        super().__init__(f"{self.code}: {text}")
        self.text = text


class NotServed(Unavailable):
    """The source answered that it has not what was asked for."""


class Transport:
    """Asks sources; a context manager."""

    def __init__(self, wait_s: float, total_s: float) -> None:
        """Give up after `wait_s` seconds without a byte, or `total_s` for what shares a time."""
        self._wait_s = wait_s
        self._total_s = total_s
        self._client = self._open()
        self._ahead_ms: dict[str, int] = {}
        self.start_time()

    def _open(self) -> "httpx2.Client":
        # Imported here: programs that only verify do without it.
        import httpx2

        headers = {"accept-encoding": "identity", "user-agent": "waypost"}
        direct = dict.fromkeys(f"all://{host}" for host in ("127.0.0.1", "[::1]", "localhost"))
        return httpx2.Client(
            verify=load_certificates(), timeout=self._wait_s, headers=headers, mounts=direct
        )

    def __enter__(self) -> "Transport":
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._client.close()

    @property
    def ahead_ms(self) -> int | None:
        """How far the sources' clocks are ahead of this machine's, as a median; None if unknown."""
        return round(median(self._ahead_ms.values())) if self._ahead_ms else None

    def start_time(self) -> None:
        """Give `total_s` seconds to all that is asked from now on, until this is called again."""
        self._until = monotonic() + self._total_s

    def get(self, source: str, path: str, limit: int) -> bytes:
        """Return the body of a 200, of at most `limit` bytes.

        Raises `Unavailable`. Refuses with `too_large`, at once.
        """
        answers: SimpleQueue[bytes | BaseException] = SimpleQueue()
        url, until = source.rstrip("/") + path, self._until

        def run() -> None:
            try:
                answers.put(self._read(source, url, limit, until))
            except BaseException as error:
                answers.put(error)

        # A thread of its own, since neither the look-up of a name nor heads that come byte by byte,
        # or one after another, have an end that the library knows of.
        threading.Thread(target=run, name=f"fetch {url}", daemon=True).start()
        try:
            answer = answers.get(timeout=max(0.0, until - monotonic()))
        except Empty:
            self._drop_connections()
            raise self._too_slow() from None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _drop_connections(self) -> None:
        # What the thread reads next fails; one that waits, for a byte or a name, ends after that.
        self._client.close()
        self._client = self._open()

    def _too_slow(self) -> Unavailable:
        return Unavailable(f"it took longer than {self._total_s:g} s")

    def _read(self, source: str, url: str, limit: int, until: float) -> bytes:
        import httpx2

        body = bytearray()
        try:
            with self._client.stream("GET", url) as response:
                self._note_clock(source, response.headers.get("date", ""))
                _check_head(response)
                for piece in response.iter_raw():
                    body += piece
                    if len(body) > limit:
                        raise Refusal("too_large", size=len(body), limit=limit)
                    if monotonic() > until:
                        raise self._too_slow()
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
            raise Unavailable(f"it did not answer: {describe(error)}") from error
        return bytes(body)

    def _note_clock(self, source: str, date: str) -> None:
        ahead_ms = find_ahead_ms(date)
        if ahead_ms is not None:
            self._ahead_ms[source] = ahead_ms


def find_ahead_ms(date: str) -> int | None:
    """Return how far the clock of who sent a `Date` is ahead of ours; None if that says no time."""
    try:
        theirs_ms = round(1000 * parsedate_to_datetime(date).timestamp())
    except (ValueError, OverflowError):
        return None
    return theirs_ms - time_ns() // 10**6


@cache
def load_certificates() -> "ssl.SSLContext":
    """Return whom this machine believes who a source is; read once, since that takes a while."""
    import httpx2

    return httpx2.create_ssl_context()


def _check_head(response: "httpx2.Response") -> None:
    status = response.status_code
    if status in NOT_THERE:
        raise NotServed(f"it answered {status}")
    if status != 200:
        raise Unavailable(f"it answered {status}")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Unavailable("it answered in an encoding that was not asked for")
