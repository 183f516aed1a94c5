"""Bundles: what a client holds, with the path from genesis, as one file for others."""

from collections.abc import Sequence

from ledger.errors import Refusal
from ledger.messages.entries import join_columns
from registry.client.transport import Transport, Unavailable
from registry.client.trusted import TrustedLists
from registry.formats.bundle import Bundle, encode_bundle
from registry.formats.full import encode_full
from registry.formats.trust import MAX_PATH_BYTES


def make_bundle(
    urls: Sequence[str], trusted: TrustedLists, reader: TrustedLists, transport: Transport
) -> bytes:
    """Return the bundle of the list that `trusted` holds, with the path of the first fit source.

    `reader`, which holds nothing yet, verifies the bundle as whoever gets it will. Raises the last
    source's `Refusal` or `Unavailable` if none has a path that holds.
    """
    full = encode_full(join_columns(trusted.columns))
    failure: Refusal | Unavailable = Unavailable("there is no source to fetch from")
    for url in urls:
        transport.start_time()
        try:
            path = transport.get(url, f"/v1/trust/{trusted.header.epoch}", MAX_PATH_BYTES)
            data = encode_bundle(Bundle(path, trusted.signed_header, full))
            reader.load_bundle(data)
        except (Refusal, Unavailable) as error:
            failure = error
        else:
            return data
    raise failure
