"""Static files, read once and served from memory.

- A file's name holds the first 16 digits of its SHA-256, so that it may be kept for ever: another
  content has another name.
- Programs import each other by the plain name beside them. In what is served, that name is the one
  with the digits.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

FOLDER: Final = Path(__file__).parent / "static"
PREFIX: Final = "/static/"
DIGITS: Final = 16

MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
"""By suffix; other files are for who reads the folder, and are not served."""

_IMPORT: Final = re.compile(r'(?<=from "\./)([a-z_]+\.js)(?=")')


class Asset(NamedTuple):
    """A file as it is served."""

    name: str
    """With its digits, below `PREFIX`."""
    body: bytes
    media_type: str
    etag: str


class Assets:
    """Every file that is served."""

    def __init__(self, made: Mapping[str, bytes] | None = None) -> None:
        """Read the folder; `made` are further files by name, that nobody has to write."""
        self._plain = {
            path.relative_to(FOLDER).as_posix(): path.read_bytes()
            for path in sorted(FOLDER.rglob("*"))
            if path.suffix in MEDIA_TYPES and path.is_file()
        } | dict(made or {})
        self._by_plain: dict[str, Asset] = {}
        for name in self._plain:
            self._add(name)
        self._by_name = {asset.name: asset for asset in self._by_plain.values()}

    def url(self, name: str) -> str:
        """Return the path of a file by its plain name, such as `pages.css`."""
        return PREFIX + self._by_plain[name].name

    def get(self, name: str) -> Asset | None:
        """Return a file by its name with digits."""
        return self._by_name.get(name)

    def _add(self, name: str) -> Asset:
        known = self._by_plain.get(name)
        if known is not None:
            return known
        path = Path(name)
        body = self._plain[name]
        if path.suffix == ".js" and len(path.parts) == 1:
            text = _IMPORT.sub(lambda found: self._add(found[1]).name, body.decode())
            body = text.encode()
        digest = hashlib.sha256(body).hexdigest()[:DIGITS]
        named = path.with_name(f"{path.stem}.{digest}{path.suffix}").as_posix()
        asset = Asset(named, body, MEDIA_TYPES[path.suffix], f'"{digest}"')
        self._by_plain[name] = asset
        return asset
