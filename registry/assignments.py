"""What a node has to do in the running epoch, in one answer: whom it tests, with whom it stores.

Nobody has to believe it: a node draws whom it tests from the proven roster, and this says where to
look.
"""

from typing import Any

from ledger.messages.state import NODE_STATES
from ledger.messages.tables import CONTACTS, EPOCH, NODES, SWARMS, VERDICTS
from ledger.nodes import get_duty_key
from ledger.state import epoch_key
from ledger.types import Epoch, Key
from ledger.views import View
from registry.addresses import encode_account, encode_node
from registry.duties import Duties
from registry.status import show_contact
from registry.swarm_feed import Swarms, show_members


def show_duties(view: View, duties: Duties, swarms: Swarms, key: Key) -> dict[str, Any] | None:
    """Return whom a node tests and who tests it, and its swarm; None if there is no such node."""
    state = view.state
    if state.get(NODES, key) is None:
        return None
    epoch, swarm = state.one(EPOCH), state.get(SWARMS, key)
    members = [] if swarm is None else swarms.members(view)[swarm.swarm_id]
    return {
        "node": encode_node(key),
        "height": view.tip.height,
        "epoch": epoch.epoch,
        "epoch_start_ms": epoch.start_ms,
        "epoch_ends_ms": epoch.start_ms + state.params().epoch_ms,
        "testers_needed": duties.get_roster(view).threshold,
        "tests": [_show_test(view, tested, epoch.epoch) for tested in duties.tested_by(view, key)],
        "testers": [encode_node(tester) for tester in duties.testers_of(view, key)],
        "swarm": None if swarm is None else str(swarm.swarm_id),
        "members": show_members(view, members),
    }


def _show_test(view: View, key: Key, epoch: Epoch) -> dict[str, Any]:
    state = view.state
    node = state.one(NODES, key)
    return {
        "node": encode_node(key),
        "life": node.life,
        "state": NODE_STATES[node.state],
        "operator": encode_account(node.operator),
        "contact": show_contact(state.one(CONTACTS, key)),
        "duty_key": get_duty_key(node, epoch).hex(),
        "judged": state.get(VERDICTS, epoch_key(epoch, key)) is not None,
    }
