"""What a client needs to believe a node list and nobody's word for it.

    checks    what a header, a hop to it and a list have to pass
    trusted   bytes and a time go in, a verified list comes out; no clock, file or network
    cache     what was verified, kept from one run to the next
    http      fetches lists from several sources
    proofs    one record of the state, from a verified header
    routing   paths and swarms from the entries of a list, and nodes that failed

`trusted`, `proofs` and `routing` load neither `cache` nor `http`, which loads its library when it
first fetches.
"""

from registry.client.checks import Status
from registry.client.trusted import TrustedLists

__all__ = ["Status", "TrustedLists"]
