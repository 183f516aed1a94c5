"""What a page is asked for, and how it asks the service.

- What stands in an address is a stranger's: it is short, of the kind that the page expects, or
  refused with `bad_request` and a sentence.
- A page asks `Live`, as the routes of the API do, and is refused in the same ways.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from starlette.requests import Request

from ledger.types import MAX_AMOUNT
from registry.api.answers import decode_cursor, encode_cursor, parsed
from registry.api.live import Live
from registry.api.models import Network
from registry.api.problems import ProblemError
from registry.view import PushedView
from registry.web.table import Table

MAX_TEXT: Final = 200
"""Characters of a text in an address: more than the longest key, hash or list of words needs."""

MAX_DIGITS: Final = 20
"""Of a number: swarms have 64 bits."""

Shown: TypeAlias = dict[str, Any]
"""What a template is filled with."""


class Elsewhere(Exception):
    """The page for that is another one."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


class Download(NamedTuple):
    """A file instead of a page."""

    name: str
    body: bytes


class Visit:
    """One request for a page."""

    def __init__(self, live: Live, table: Table, request: Request) -> None:
        self.live = live
        self.table = table
        self._path: Mapping[str, str] = request.path_params
        self._query = request.query_params

    # ------------------------------------------------------------- what the service shows

    @property
    def view(self) -> PushedView:
        """The newest view. Raises `Lost` while there is none."""
        return self.live.newest.view

    @property
    def network(self) -> Network:
        """The network's summary in that view."""
        return self.live.newest.network

    @property
    def now_ms(self) -> int:
        """This machine's time."""
        return self.live.clock()

    async def ask(self, name: str, **arguments: Any) -> Any:
        """Return the answer to a query; None is "not there"."""
        return (await self.live.query(name, arguments))[1]

    async def ask_page(self, name: str, cursor: str, **arguments: Any) -> tuple[Any, str]:
        """Return a page of a query that `before` cuts, and the cursor of the next, maybe empty."""
        height, before = decode_cursor(cursor) if cursor else (None, b"")
        height, page = await self.live.query(name, arguments | {"before": before}, height)
        rest = page["next"]
        return page, "" if rest is None else encode_cursor(height, rest)

    # ------------------------------------------------------------- what the address says

    def text(self, name: str) -> str:
        """Return a parameter of the query without white space round it; empty if there is none."""
        text = self._query.get(name, "").strip()
        if len(text) > MAX_TEXT:
            raise ProblemError("bad_request", why=f"{name}: at most {MAX_TEXT} characters")
        return text

    def choice(self, name: str, options: Collection[str], usual: str) -> str:
        """Return one of some words."""
        text = self.text(name)
        if text and text not in options:
            raise ProblemError("bad_request", why=f"{name}: one of {', '.join(options)}")
        return text or usual

    def number(self, name: str, usual: int, least: int = 0, most: int = MAX_AMOUNT) -> int:
        """Return a whole number within its bounds, from the path or from the query."""
        text = self._path[name] if name in self._path else self.text(name)
        return _read_number(name, text, least, most) if text else usual

    def key(self, name: str, decode: Callable[[str], bytes]) -> bytes:
        """Return the key of an address in the path."""
        return parsed(decode, self._path[name])

    def hash(self, name: str) -> bytes:
        """Return the hash in the path."""
        text = self._path[name]
        if not is_hash(text):
            raise ProblemError("bad_request", why=f"{name}: 64 hex digits")
        return bytes.fromhex(text)


def is_hash(text: str) -> bool:
    """Whether a text is the hex of 32 bytes."""
    return len(text) == 64 and all(letter in "0123456789abcdefABCDEF" for letter in text)


def is_number(text: str) -> bool:
    """Whether a text is a whole number as people write one, no longer than those that we have."""
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS


def _read_number(name: str, text: str, least: int, most: int) -> int:
    if not is_number(text) or not least <= int(text) <= most:
        raise ProblemError("bad_request", why=f"{name}: a number from {least} to {most}")
    return int(text)
