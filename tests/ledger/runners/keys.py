"""The runner of `set_keys`."""

from typing import Any

from msgspec.structs import replace

from ledger.crypto import sha256
from ledger.messages.state import CONSENSUS_ROLE, DUTY_ROLE, LIST_ROLE, NODE_ROLE, Binding
from ledger.messages.tables import BINDINGS, HISTORIES, NEW_KEYS, NODES
from ledger.messages.transactions import KeyChange
from tests.factory import Network, public
from tests.ledger.effects import Sheet, expect_applied
from tests.life import set_keys


def run_set_keys(
    network: Network, node: str = "node", sequence: int = 1, duty: str = "node duty", **changed: Any
) -> None:
    """`set_keys`: the number and the bindings count at once, the keys wait for the epoch's end."""
    sheet = Sheet(network)
    key = public(node)
    record = sheet.get(NODES, key)
    change = KeyChange(
        node=key,
        life=record.life,
        sequence=sequence,
        duty_key=public(duty),
        list_key=changed.get("list_key", record.list_key),
        list_tip=changed.get("list_tip", b""),
        consensus_key=changed.get("consensus_key", record.consensus_key),
    )
    sheet.put(NEW_KEYS, key, change)
    sheet.put(HISTORIES, key, replace(sheet.get(HISTORIES, key), sequence=sequence))
    bind(sheet, key, change.duty_key, change.list_key, change.consensus_key)
    expect_applied(network, sheet, set_keys(network, node, sequence, duty, **changed))


def bind(sheet: Sheet, node: bytes, duty: bytes, list_key: bytes, consensus: bytes) -> None:
    """Each key has to be bound to its role of the node, a consensus key's address too."""
    address = sha256(consensus)[:20] if consensus else b""
    for role, key in (
        (NODE_ROLE, node),
        (DUTY_ROLE, duty),
        (LIST_ROLE, list_key),
        (CONSENSUS_ROLE, consensus),
        (CONSENSUS_ROLE, address),
    ):
        if key:
            sheet.put(BINDINGS, key, Binding(role, node))
