"""A node's role keys: `set_keys`.

- Signed by the node key, with a sequence number above all that it used before, and by each key that
  it names. All role keys are named; one that stays is named again.
- The keys take effect at the epoch's end. Those before stay bound to the node, so that what they
  signed can be held against it.
- A hash chain goes on where its list key stays and no tip is given.
- Who is about to take a seat under an engine that has validators names a consensus key until then.
"""

from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import Signed
from ledger.errors import Refusal
from ledger.messages import tags
from ledger.messages.state import CONSENSUS_ROLE, DUTY_ROLE, GONE, LIST_ROLE, NODE_ROLE
from ledger.messages.tables import CHAINLINKS, HISTORIES, NEW_KEYS, SETS
from ledger.messages.transactions import SetKeys
from ledger.nodes import bind, get_node
from ledger.state import State
from ledger.transactions.envelope import Context, Transaction
from ledger.transactions.roles import check_pair, check_roles, prove_roles
from ledger.types import Hash, Key
from ledger.validators import get_holder, has_validators


def check_set_keys(state: State, tx: Transaction, _context: Context) -> None:
    """Refuses with `unknown_node`, `wrong_life`, `leaving_already`, `contact_sequence`,
    `keys_too_often`, `attestor_keys`, `keys_not_distinct`, `bad_key`, `key_in_use`.
    """
    body: SetKeys = tx.body
    change = body.change
    node = get_node(state, change.node, change.life)
    if node.state in GONE:
        raise Refusal("leaving_already")
    last = state.one(HISTORIES, change.node).sequence
    if change.sequence <= last:
        raise Refusal("contact_sequence", sequence=change.sequence, last=last)
    if state.get(NEW_KEYS, change.node) is not None:
        raise Refusal("keys_too_often")
    check_pair(change.list_key, body.list_signature)
    check_pair(change.consensus_key, body.consensus_signature)
    if len(change.list_tip) not in (0, 32) or (change.list_tip and not change.list_key):
        raise Refusal("attestor_keys", why="a tip belongs to a list key")
    check_roles(state, change.node, get_roles(body))
    has_chain = not change.list_key or state.get(CHAINLINKS, change.list_key) is not None
    if not has_chain and not change.list_tip:
        raise Refusal("attestor_keys", why="a new list key comes with its tip")
    if not change.consensus_key and _is_to_validate(state, change.node):
        raise Refusal("attestor_keys", why="its seat is to come and needs a consensus key")


def _is_to_validate(state: State, node: Key) -> bool:
    """Whether a node is to agree on blocks soon, and does not yet."""
    sets = state.one(SETS)
    now = [get_holder(state, member.list_key) for member in sets.current]
    soon = [get_holder(state, member.list_key) for member in sets.next]
    soon += [get_holder(state, seat.list_key) for seat in sets.ordered]
    return has_validators(state) and node in soon and node not in now


def get_roles(body: SetKeys) -> list[tuple[int, Key]]:
    """Return `(role, key)` of every key that a change names."""
    change = body.change
    roles = [
        (NODE_ROLE, change.node),
        (DUTY_ROLE, change.duty_key),
        (LIST_ROLE, change.list_key),
        (CONSENSUS_ROLE, change.consensus_key),
    ]
    return [(role, key) for role, key in roles if key]


def apply_set_keys(state: State, tx: Transaction, _context: Context, _index: int) -> None:
    """Count the sequence number and bind the keys at once, keep them for the epoch's end."""
    body: SetKeys = tx.body
    change = body.change
    history = state.one(HISTORIES, change.node)
    state.put(HISTORIES, replace(history, sequence=change.sequence), change.node)
    state.put(NEW_KEYS, change, change.node)
    for role, key in get_roles(body):
        bind(state, role, key, change.node)


def set_keys_signatures(_state: State, body: SetKeys, genesis_hash: Hash) -> list[Signed]:
    """Return the proofs of the node key and of every role key, each under its own tag."""
    change = body.change
    return prove_roles(
        genesis_hash,
        encode(change),
        [
            (tags.KEY_CHANGE, change.node, body.node_signature),
            (tags.DUTY_KEY, change.duty_key, body.duty_signature),
            (tags.LIST_KEY, change.list_key, body.list_signature),
            (tags.CONSENSUS_KEY, change.consensus_key, body.consensus_signature),
        ],
    )
