"""Every node on its way or on duty, as the Session network shows it, kept beside the chain.

- A row for each node that is registered and whose duty has not ended. It is made from the node's
  records at the start, and again when a block changes one of them; what stays equal counts as
  unchanged.
"""

from collections.abc import Generator, Mapping
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from ledger.codec import Record
from ledger.messages.contact import Contact, Version
from ledger.messages.state import (
    ACTIVE,
    AWAITING,
    DECOMMISSIONED,
    GONE,
    NODE_STATES,
    Failing,
    Node,
    Swarm,
)
from ledger.messages.tables import CONTACTS, FAILING, NODES, PARAMS, SWARMS, R, Table
from ledger.params import Params
from ledger.rules.credit import failing_epochs_to_removal
from ledger.state import State
from ledger.types import Key
from registry.addresses import encode_account
from registry.formats.session import (
    NO_ADDRESS,
    NO_SWARM,
    SessionContributor,
)
from registry.view import NodeRow

LETTERS: Final = frozenset(table.letter for table in (NODES, CONTACTS, SWARMS, FAILING))
"""Of the tables that a row is made from; in each, the node is the key."""

PAUSE_ROWS: Final = 200
"""Rows between two pauses: some milliseconds of work."""

MILLIONTHS: Final = 100
"""In one part of 10,000."""


class Changed(NamedTuple):
    """What became of the rows since it was last asked for."""

    rows: list[NodeRow]
    """New ones, and those that are not what they were."""
    removed: list[Key]


class Roster:
    """Rows by node key."""

    def __init__(self) -> None:
        self._rows: dict[Key, NodeRow] = {}
        self._changed: dict[Key, NodeRow | None] = {}

    def read_all(self, state: State) -> None:
        """Take in every node of one height."""
        params = state.params()
        for key, node in state.items(NODES):
            if node.state not in GONE:
                contact, swarm = state.one(CONTACTS, key), state.get(SWARMS, key)
                failing = state.get(FAILING, key)
                self._rows[key] = make_row(key, node, contact, swarm, failing, params)

    def prepare(
        self, changes: Mapping[bytes, Record | None], state: State
    ) -> Generator[None, None, dict[Key, NodeRow | None]]:
        """Return the rows that a block changes, None for those that go; with pauses.

        `changes` are its records by store key; all others are those of `state`, the one before it
        or the one behind it.
        """
        touched = {key[1:]: None for key in changes if key[:1] in LETTERS}
        changed: dict[Key, NodeRow | None] = {}

        def read(table: Table[R], key: Key = b"") -> R | None:
            # most of it just changed, and what the block holds need not be decoded again
            full = table.letter + key
            return changes[full] if full in changes else state.get(table, key)  # type: ignore[return-value]

        in_force = read(PARAMS)
        if in_force is None or not touched:
            return changed
        params = Params(*in_force.values)
        for count, key in enumerate(touched, 1):
            node, contact = read(NODES, key), read(CONTACTS, key)
            row = None
            if node is not None and contact is not None and node.state not in GONE:
                swarm, failing = read(SWARMS, key), read(FAILING, key)
                row = make_row(key, node, contact, swarm, failing, params)
            if row != self._rows.get(key):
                changed[key] = row
            if count % PAUSE_ROWS == 0:
                yield
        return changed

    def adopt(self, changed: Mapping[Key, NodeRow | None]) -> None:
        """Take in what `prepare` returned for the next block."""
        self._changed |= changed
        for key, row in changed.items():
            if row is None:
                del self._rows[key]
            else:
                self._rows[key] = row

    def all(self) -> list[NodeRow]:
        """Return every row."""
        return list(self._rows.values())

    def active(self) -> list[NodeRow]:
        """Return the rows of the active nodes, by ascending key: those of the newest list."""
        rows = (self._rows[key] for key in sorted(self._rows))
        return [row for row in rows if row.active]

    def take_changed(self) -> Changed:
        """Return what changed since the last call, and count it as told."""
        changed, self._changed = self._changed, {}
        rows = [row for row in changed.values() if row is not None]
        return Changed(rows, [key for key, row in changed.items() if row is None])


def make_row(
    key: Key,
    node: Node,
    contact: Contact,
    swarm: Swarm | None,
    failing: Failing | None,
    params: Params,
) -> NodeRow:
    """Return the row of a node from its records."""
    is_active = node.state == ACTIVE
    swarm_id = NO_SWARM if swarm is None else swarm.swarm_id
    return NodeRow(
        service_node_pubkey=key.hex(),
        pubkey_ed25519=key.hex(),
        pubkey_x25519=node.x25519.hex(),
        public_ip=str(IPv4Address(contact.ipv4)) if contact.ipv4 else NO_ADDRESS,
        storage_port=contact.storage_port,
        storage_lmq_port=contact.router_port,
        requested_unlock_height=compute_unlock_height(node, params.block_ms),
        storage_server_version=_parts(contact.storage_version),
        service_node_version=_parts(contact.router_version),
        swarm_id=swarm_id,
        swarm=f"{swarm_id:x}",
        funded=node.state != AWAITING,
        active=is_active,
        state_height=node.since_height,
        registration_height=node.registered_height,
        # nobody is next here: that network's programs expect the height from which it waits
        last_reward_block_height=node.since_height if is_active else node.registered_height,
        # the ledger has no proofs of uptime, and does not count the times that a node was down
        last_uptime_proof=0,
        earned_downtime_blocks=compute_downtime_blocks(node, failing, params),
        decommission_count=0,
        staking_requirement=node.requirement,
        total_contributed=sum(c.amount for c in node.contributions),
        operator_fee=node.fee * MILLIONTHS,
        operator_address=encode_account(node.operator),
        contributors=[
            SessionContributor(encode_account(c.account), c.amount) for c in node.contributions
        ],
        state=NODE_STATES[node.state],
        life=node.life,
        since_ms=node.since_ms,
        reserved=[place.amount for place in node.reserved],
        reserved_until_ms=node.since_ms + params.reservation_ms,
    )


def compute_downtime_blocks(node: Node, failing: Failing | None, params: Params) -> int:
    """Return the uptime credit in blocks of `block_ms`.

    Of an active node it is what it had when it became active, so that a row changes only with its
    node; of a decommissioned one what its failing epochs have left of it.
    """
    if node.state != DECOMMISSIONED:
        return node.credit_ms // params.block_ms
    used = 0 if failing is None else failing.count
    left = failing_epochs_to_removal(node.credit_ms, params.epoch_ms) - used
    return max(0, left) * params.epoch_ms // params.block_ms


def compute_unlock_height(node: Node, block_ms: int) -> int:
    """Return about the height at which a node's duty may end; 0 if nobody asked for that.

    It counts blocks of `block_ms` from where the node's state began, so it never moves.
    """
    if not node.exit_ms:
        return 0
    blocks = -((node.since_ms - node.exit_ms) // block_ms)
    return node.since_height + max(1, blocks)


def _parts(version: Version) -> tuple[int, int, int]:
    return version.major, version.minor, version.patch
