"""Answers that are ready to be sent, and those that are read from the publication directory."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from starlette.types import Message

from registry.formats import FORMATS, HEADER_MEDIA_TYPE
from registry.formats.bundle import BUNDLE_MEDIA_TYPE
from registry.formats.bundle import NAME as BUNDLE
from registry.formats.delta import DELTA_MEDIA_TYPE
from registry.formats.slice import SLICE_MEDIA_TYPE
from registry.formats.trust import TRUST_MEDIA_TYPE
from registry.manifest import NAME as MANIFEST

CACHE_BYTES: Final = 2**25
"""Files of older epochs that are kept in memory, together."""

MAX_FILE_BYTES: Final = 2**26
"""No list is longer: what is, is none of ours."""

FOREVER: Final = b"public, max-age=31536000, immutable"

CORS: Final = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"ETag, Retry-After"),
)

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

MEDIA_TYPES: Final = {
    "header": HEADER_MEDIA_TYPE.encode(),
    "delta": DELTA_MEDIA_TYPE.encode(),
    "slice": SLICE_MEDIA_TYPE.encode(),
    "trust": TRUST_MEDIA_TYPE.encode(),
    BUNDLE: BUNDLE_MEDIA_TYPE.encode(),
    "manifest": b"application/json",
    **{row.name: row.media_type.encode() for row in FORMATS.values()},
}
"""By name of the file, or of the folder that holds many of one form."""


class Ready(NamedTuple):
    """An answer with nothing left to compute."""

    body: bytes
    etag: bytes
    """Quoted, as it stands in the header."""
    caching: bytes
    """The value of Cache-Control."""
    start: Message
    """First ASGI message of a 200."""
    not_modified: Message
    """First ASGI message of a 304."""
    head: bytes
    """The headers of a 200 as they go over the wire, without the line of the status."""
    not_modified_head: bytes
    """The same of a 304."""

    def is_named_by(self, if_none_match: bytes) -> bool:
        """Whether a client that sends this header has these bytes already."""
        return self.etag in if_none_match or if_none_match.strip() == b"*"


def make_ready(form: str, body: bytes, caching: bytes) -> Ready:
    """Return the answer for a file; `form` is a name in `MEDIA_TYPES`."""
    etag = b'"%s"' % hashlib.sha256(body).digest()[:16].hex().encode()
    shared = [(b"etag", etag), (b"cache-control", caching), *CORS]
    own = [
        (b"content-type", MEDIA_TYPES[form]),
        (b"content-length", b"%d" % len(body)),
        (b"accept-ranges", b"bytes"),
        (b"x-content-type-options", b"nosniff"),
    ]
    return Ready(
        body,
        etag,
        caching,
        {"type": "http.response.start", "status": 200, "headers": own + shared},
        {"type": "http.response.start", "status": 304, "headers": shared},
        _to_wire(own + shared),
        _to_wire(shared),
    )


def _to_wire(headers: Headers) -> bytes:
    return b"".join(b"%s: %s\r\n" % header for header in headers)


class Library:
    """Files that are not in memory: `<folder>/lists/<epoch>/<form>`.

    What is there was written whole, and what it says of its list never changes, so what was read
    may be kept. Requests for the same file at the same time read it once.
    """

    def __init__(self, folder: Path, cache_bytes: int = CACHE_BYTES) -> None:
        self._folder = folder / "lists"
        self._cache_bytes = cache_bytes
        self._cache: OrderedDict[tuple[int, str], Ready] = OrderedDict()
        self._held = 0
        self._reading: dict[tuple[int, str], asyncio.Task[Ready | None]] = {}

    async def get(self, epoch: int, form: str, caching: bytes = FOREVER) -> Ready | None:
        """Return the answer for a file such as `full` or `delta/7`; None if there is none.

        A form has the same `caching` each time.
        """
        name = (epoch, form)
        ready = self._cache.get(name)
        if ready is not None:
            self._cache.move_to_end(name)
            return ready
        task = self._reading.get(name)
        if task is None:
            task = asyncio.create_task(self._read(name, caching))
            self._reading[name] = task
            task.add_done_callback(lambda _: self._reading.pop(name, None))
        # whoever asked first may hang up; the others still want the file
        return await asyncio.shield(task)

    async def read_manifest(self, caching: bytes) -> Ready | None:
        """Return the manifest as it is now; None if there is none."""
        body = await asyncio.to_thread(_read_bounded, self._folder.parent / MANIFEST)
        return None if body is None else make_ready("manifest", body, caching)

    async def _read(self, name: tuple[int, str], caching: bytes) -> Ready | None:
        epoch, form = name
        path = self._folder / str(epoch) / form
        body = await asyncio.to_thread(_read_bounded, path)
        if body is None:
            return None
        ready = make_ready(form.partition("/")[0], body, caching)
        self._keep(name, ready)
        return ready

    def _keep(self, name: tuple[int, str], ready: Ready) -> None:
        self._cache[name] = ready
        self._held += len(ready.body)
        while self._held > self._cache_bytes:
            _, oldest = self._cache.popitem(last=False)
            self._held -= len(oldest.body)


def _read_bounded(path: Path) -> bytes | None:
    """Return the bytes of a file; None if there is none, or one that cannot be ours."""
    try:
        with path.open("rb") as file:
            body = file.read(MAX_FILE_BYTES + 1)
    except OSError:
        return None
    return None if len(body) > MAX_FILE_BYTES else body
