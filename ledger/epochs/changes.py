"""What nodes announced for the epoch's end: contact data and role keys."""

from msgspec.structs import replace

from ledger.epochs.ending import PAUSE_RECORDS, Ending, Pauses
from ledger.messages.state import QUEUED, Chainlink, Node
from ledger.messages.tables import CHAINLINKS, CONTACTS, NEW_KEYS, NODES, PENDING, SETS
from ledger.messages.transactions import KeyChange
from ledger.state import State
from ledger.validators import get_holder


def apply_contacts(state: State, ending: Ending) -> Pauses:
    """Put pending contact data in force; a queued node has to pass its test there anew."""
    for count, (key, pending) in enumerate(list(state.items(PENDING)), 1):
        state.put(CONTACTS, pending.contact, key)
        state.delete(PENDING, key)
        node = state.one(NODES, key)
        if node.state == QUEUED:
            tested_from = max(node.tested_from, ending.epoch + 1)
            state.put(NODES, replace(node, passed=0, tested_from=tested_from), key)
        if count % PAUSE_RECORDS == 0:
            yield


def apply_keys(state: State, ending: Ending) -> Pauses:
    """Put new role keys in force; votes for the epoch that ends are by the old duty key."""
    seated = [get_holder(state, member.list_key) for member in state.one(SETS).current]
    for count, (key, change) in enumerate(list(state.items(NEW_KEYS)), 1):
        node = state.one(NODES, key)
        is_new = change.duty_key != node.duty_key
        changed = replace(
            node,
            duty_key=change.duty_key,
            former_duty_key=node.duty_key if is_new else node.former_duty_key,
            keys_epoch=ending.epoch + 1 if is_new else node.keys_epoch,
            list_key=change.list_key,
            list_tip=change.list_tip or _keep_tip(node, change),
            consensus_key=change.consensus_key,
        )
        if _stands_anew(node, changed, is_seated=key in seated):
            changed = replace(changed, stands_ms=ending.time_ms)
        state.put(NODES, changed, key)
        if change.list_tip:
            state.put(CHAINLINKS, Chainlink(change.list_tip, 0), change.list_key)
        state.delete(NEW_KEYS, key)
        if count % PAUSE_RECORDS == 0:
            yield


def _stands_anew(before: Node, after: Node, *, is_seated: bool) -> bool:
    """Whether a node stands for a seat from now on, or with another list key than before.

    Who holds a seat may name another list key and be as old as before.
    """
    if not (after.list_key and after.consensus_key):
        return False
    stood = bool(before.list_key and before.consensus_key)
    return not stood or (not is_seated and after.list_key != before.list_key)


def _keep_tip(node: Node, change: KeyChange) -> bytes:
    """Return the tip that was registered, where the list key stays."""
    return node.list_tip if change.list_key == node.list_key else b""
