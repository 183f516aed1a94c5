"""Bytes that are almost right."""


def flip(raw: bytes, place: int = -1, bit: int = 0) -> bytes:
    """Return them with one bit turned in the byte at `place`, 0 being the lowest.

    So they are never the same; a byte that is set to something may have been that already.
    """
    changed = bytearray(raw)
    changed[place] ^= 1 << bit
    return bytes(changed)
