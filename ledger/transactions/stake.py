"""A node's stake: `register`, `contribute`, `withdraw`.

- The node key signs the whole registration, each role key proves itself by signing it too.
- A key is bound for ever to one role of one node; a later life of that node may use it again.
- The operator stakes `operator_share` of the requirement at least, everybody else an equal part
  of what is still open; a reserved place is taken in one go by the account that it is kept for.
- A reserved place is kept for `reservation_ms`; then it is open like the rest.
- Fully funded, the node joins the queue at the place (height, index in the block).
- While a node waits for stake, anyone but its operator can take his back at once.
"""

from typing import Final

from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import Signed, convert_to_x25519
from ledger.errors import Refusal
from ledger.messages import tags
from ledger.messages.state import (
    AWAITING,
    CONSENSUS_ROLE,
    DUTY_ROLE,
    LIST_ROLE,
    NODE_ROLE,
    QUEUED,
    Chainlink,
    Contribution,
    KeyHistory,
    Node,
    Queued,
)
from ledger.messages.tables import CHAINLINKS, CONTACTS, EPOCH, HISTORIES, NODES, QUEUE
from ledger.messages.transactions import Contribute, Place, Register, Registration, Withdraw
from ledger.nodes import bind, get_node, get_staked, new_node
from ledger.params import Params
from ledger.rules.contacts import check_contact
from ledger.rules.stakes import (
    Open,
    compute_open,
    is_reserved,
    minimum_contribution,
    minimum_operator_stake,
)
from ledger.state import State
from ledger.transactions.envelope import Context, Transaction, check_payee
from ledger.transactions.roles import check_pair, check_roles, prove_roles
from ledger.types import BASIS_POINTS, Amount, Hash, Key, TimeMs

SEED_EPOCHS: Final = 2
"""Epochs from funding to the first test. The reveals that make the next seed are public before its
epoch begins: who chose a node key then could choose the testers of it."""

# ------------------------------------------------------------------------------ register


def check_register(state: State, tx: Transaction, context: Context) -> None:
    """Refuses with `wrong_operator`, `registration_expired`, `registration_too_long`,
    `node_exists`, `tombstoned`, `wrong_life`, `fee_out_of_range`, `attestor_keys`,
    `keys_not_distinct`, `bad_key`, `key_in_use`, those of the stake and those of the contact data.
    """
    body: Register = tx.body
    registration = body.registration
    if registration.operator != tx.sender:
        raise Refusal("wrong_operator")
    _check_time(registration, context)
    if state.get(NODES, registration.node) is not None:
        raise Refusal("node_exists")
    history = state.get(HISTORIES, registration.node)
    if history is not None and history.tombstoned:
        raise Refusal("tombstoned")
    expected = get_next_life(state, registration.node)
    if registration.life != expected:
        raise Refusal("wrong_life", life=registration.life, expected=expected)
    if registration.fee > BASIS_POINTS:
        raise Refusal("fee_out_of_range", limit=BASIS_POINTS)
    check_payee(state, registration.beneficiary, "beneficiary")
    for place in registration.reserved:
        check_payee(state, place.account, "account of a reserved place")
    _check_keys(state, body)
    check_operator_stake(body, context.params)
    check_contact(registration.contact, context.params)


def _check_time(registration: Registration, context: Context) -> None:
    if registration.expiry_ms < context.time_ms:
        raise Refusal("registration_expired", expiry_ms=registration.expiry_ms)
    limit = context.time_ms + context.params.registration_ms
    if registration.expiry_ms > limit:
        raise Refusal("registration_too_long", limit_ms=limit)


def get_next_life(state: State, node: Key) -> int:
    """Return the life number that a registration of this node key has to carry now."""
    history = state.get(HISTORIES, node)
    return 1 if history is None else history.life + 1


def _check_keys(state: State, body: Register) -> None:
    registration = body.registration
    check_pair(registration.list_key, body.list_signature)
    check_pair(registration.consensus_key, body.consensus_signature)
    if len(registration.list_tip) != len(registration.list_key):
        raise Refusal("attestor_keys", why="the list key and its tip come together")
    check_roles(state, registration.node, get_role_keys(registration))


def get_role_keys(registration: Registration) -> list[tuple[int, Key]]:
    """Return `(role, key)` of every key that a registration names."""
    roles = [
        (NODE_ROLE, registration.node),
        (DUTY_ROLE, registration.duty_key),
        (LIST_ROLE, registration.list_key),
        (CONSENSUS_ROLE, registration.consensus_key),
    ]
    return [(role, key) for role, key in roles if key]


def check_operator_stake(body: Register, params: Params) -> None:
    """Check a registration's stake and reserved places by themselves.

    Refuses with `stake_too_small`, `stake_too_large`, `bad_reservation`.
    """
    requirement = params.staking_requirement
    minimum = minimum_operator_stake(requirement, params.operator_share)
    if body.stake < minimum:
        raise Refusal("stake_too_small", minimum=minimum)
    if body.stake > requirement:
        raise Refusal("stake_too_large", open=requirement)
    places = body.registration.reserved
    accounts = [place.account for place in places]
    free = _open_for_all(body.stake, requirement, params.max_contributors - 1, body.registration)
    for holds, why in (
        (accounts == sorted(set(accounts)), "not in ascending order, once each"),
        (body.registration.operator not in accounts, "for the operator himself"),
        (all(place.amount for place in places), "for an amount of zero"),
        (free.amount >= 0, "for more than is open"),
        (free.places >= 0, "one too many"),
        (free.places > 0 or free.amount == 0, "the last one, and stake stays open"),
    ):
        if not holds:
            raise Refusal("bad_reservation", why=why)


def _open_for_all(
    staked: Amount, requirement: Amount, places: int, registration: Registration
) -> Open:
    reserved = tuple(place.amount for place in registration.reserved)
    return compute_open(requirement, staked, places, reserved)


def apply_register(state: State, tx: Transaction, context: Context, index: int) -> None:
    """Begin the life: node, history, bindings, contact data, hash chain; queue it if funded."""
    body: Register = tx.body
    registration = body.registration
    key = registration.node
    state.put(
        NODES,
        new_node(
            life=registration.life,
            state=AWAITING,
            since_ms=context.time_ms,
            since_height=context.height,
            registered_height=context.height,
            operator=registration.operator,
            fee=registration.fee,
            requirement=context.params.staking_requirement,
            contributions=(
                Contribution(registration.operator, registration.beneficiary, body.stake, 0),
            ),
            reserved=registration.reserved,
            duty_key=registration.duty_key,
            list_key=registration.list_key,
            list_tip=registration.list_tip,
            consensus_key=registration.consensus_key,
            x25519=convert_to_x25519(key),
        ),
        key,
    )
    history = state.get(HISTORIES, key) or KeyHistory(0, 0, 0)
    state.put(HISTORIES, replace(history, life=registration.life), key)
    state.put(CONTACTS, registration.contact, key)
    for role, role_key in get_role_keys(registration):
        bind(state, role, role_key, key)
    # a hash chain begins once: in a later life its key goes on where it was, and cannot choose
    # another chain after it has seen what others revealed
    list_key = registration.list_key
    if list_key and state.get(CHAINLINKS, list_key) is None:
        state.put(CHAINLINKS, Chainlink(registration.list_tip, 0), list_key)
    _queue_if_funded(state, key, context, index)


def register_signatures(_state: State, body: Register, genesis_hash: Hash) -> list[Signed]:
    """Return the proofs of the node key and of every role key, each under its own tag."""
    registration = body.registration
    payload = encode(registration)
    proofs = [
        (tags.REGISTRATION, registration.node, body.node_signature),
        (tags.DUTY_KEY, registration.duty_key, body.duty_signature),
        (tags.LIST_KEY, registration.list_key, body.list_signature),
        (tags.CONSENSUS_KEY, registration.consensus_key, body.consensus_signature),
    ]
    return prove_roles(genesis_hash, payload, proofs)


def register_cost(body: Register) -> Amount:
    """The operator's stake."""
    return body.stake


# ---------------------------------------------------------------------------- contribute


def check_contribute(state: State, tx: Transaction, context: Context) -> None:
    """Refuses with `unknown_node`, `wrong_life`, `not_awaiting`, `leaving_already`,
    `already_contributes`, `reserved_amount`, `too_many_places`, `stake_too_small`,
    `stake_too_large`, `bad_key`.
    """
    body: Contribute = tx.body
    node = _get_awaiting(state, body.node, body.life)
    if node.exit_ms:
        raise Refusal("leaving_already")
    check_payee(state, body.beneficiary, "beneficiary")
    if any(c.account == tx.sender for c in node.contributions):
        raise Refusal("already_contributes")
    for place in get_reserved(node, context.params, context.time_ms):
        if place.account == tx.sender:
            if body.amount != place.amount:
                raise Refusal("reserved_amount", amount=place.amount)
            return
    free = get_open(node, context.params, context.time_ms)
    if free.places < 1:
        raise Refusal("too_many_places", limit=context.params.max_contributors)
    if body.amount > free.amount:
        raise Refusal("stake_too_large", open=free.amount)
    minimum = minimum_contribution(free)
    if body.amount < max(1, minimum):
        raise Refusal("stake_too_small", minimum=minimum)


def get_reserved(node: Node, params: Params, time_ms: TimeMs) -> tuple[Place, ...]:
    """Return the places of a waiting node that are still kept for their accounts."""
    is_kept = is_reserved(node.since_ms, time_ms, params.reservation_ms)
    return node.reserved if is_kept else ()


def get_open(node: Node, params: Params, time_ms: TimeMs) -> Open:
    """Return what of a waiting node's stake is open to everybody."""
    return compute_open(
        node.requirement,
        get_staked(node),
        params.max_contributors - len(node.contributions),
        tuple(place.amount for place in get_reserved(node, params, time_ms)),
    )


def _get_awaiting(state: State, key: Key, life: int) -> Node:
    node = get_node(state, key, life)
    if node.state != AWAITING:
        raise Refusal("not_awaiting")
    return node


def apply_contribute(state: State, tx: Transaction, context: Context, index: int) -> None:
    """Add the contribution, close a reserved place that it takes, queue the node if funded."""
    body: Contribute = tx.body
    node = state.one(NODES, body.node)
    added = Contribution(tx.sender, body.beneficiary, body.amount, 0)
    state.put(
        NODES,
        replace(
            node,
            contributions=(*node.contributions, added),
            reserved=tuple(
                place
                for place in get_reserved(node, context.params, context.time_ms)
                if place.account != tx.sender
            ),
        ),
        body.node,
    )
    _queue_if_funded(state, body.node, context, index)


def contribute_cost(body: Contribute) -> Amount:
    """The contribution."""
    return body.amount


def _queue_if_funded(state: State, key: Key, context: Context, index: int) -> None:
    node = state.one(NODES, key)
    if get_staked(node) < node.requirement:
        return
    epoch = state.one(EPOCH).epoch
    queued = replace(
        node,
        state=QUEUED,
        since_ms=context.time_ms,
        since_height=context.height,
        # who staked cannot pay for what was done before he came
        liable_from=epoch + 1,
        tested_from=epoch + SEED_EPOCHS,
    )
    state.put(NODES, queued, key)
    place = context.height.to_bytes(8, "big") + index.to_bytes(4, "big")
    state.put(QUEUE, Queued(key), place)


# ------------------------------------------------------------------------------ withdraw


def check_withdraw(state: State, tx: Transaction, _context: Context) -> None:
    """Refuses with `unknown_node`, `wrong_life`, `not_awaiting`, `operator_stays`,
    `no_contribution`.
    """
    body: Withdraw = tx.body
    node = _get_awaiting(state, body.node, body.life)
    if tx.sender == node.operator:
        raise Refusal("operator_stays")
    if all(c.account != tx.sender for c in node.contributions):
        raise Refusal("no_contribution")


def apply_withdraw(state: State, tx: Transaction, _context: Context, _index: int) -> None:
    """Give the whole contribution back; a reserved place that it took stays closed."""
    body: Withdraw = tx.body
    node = state.one(NODES, body.node)
    kept = tuple(c for c in node.contributions if c.account != tx.sender)
    amount = sum(c.amount for c in node.contributions) - sum(c.amount for c in kept)
    state.put(NODES, replace(node, contributions=kept), body.node)
    state.credit(tx.sender, amount)


def withdraw_cost(_body: Withdraw) -> Amount:
    """Nothing beside the fee."""
    return 0
