"""The runner of `request_unlock`, and what asking to leave does by whatever way."""

from msgspec.structs import replace

from ledger.messages.state import DECOMMISSIONED, Due
from ledger.messages.tables import EXITS, NODES
from tests.factory import Network, public
from tests.ledger.effects import Sheet, expect_applied


def run_request_unlock(network: Network, who: str = "alice", node: str = "node") -> None:
    """`request_unlock`: the node has its place among the exits from this block on."""
    sheet = Sheet(network)
    sheet.pay(who, 0)
    assert not 0 < sheet.get(NODES, public(node)).exit_ms <= sheet.time_ms
    leave(sheet, public(node))
    expect_applied(network, sheet, network.request_unlock(who, node))


def leave(sheet: Sheet, key: bytes, *, at_once: bool = False) -> None:
    """A node has to have a place among the exits: the one it has, or one of this block.

    A decommissioned one gets it when it returns, unless it goes at once.
    """
    record = sheet.get(NODES, key)
    if record.exit_ms > sheet.time_ms:
        sheet.delete(EXITS, place(record.exit_ms, key))
    if not 0 < record.exit_ms <= sheet.time_ms:
        record = replace(record, exit_ms=sheet.time_ms)
    sheet.put(NODES, key, record)
    if at_once or record.state != DECOMMISSIONED:
        sheet.put(EXITS, place(record.exit_ms, key), Due(key))


def place(time_ms: int, key: bytes) -> bytes:
    """Where a node stands in a queue by time."""
    return time_ms.to_bytes(8, "big") + key
