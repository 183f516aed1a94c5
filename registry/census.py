"""Counts and an index over the nodes of the newest height, kept beside the chain.

They answer "how many wait?" and "where does this account have a part?" without reading every
node. They are derived: counted once at the start, then brought up to date block by block.
"""

from collections import Counter
from collections.abc import Mapping

from ledger.chain import Chain
from ledger.codec import Record
from ledger.messages.state import NODE_STATES, Node
from ledger.messages.tables import NODES
from ledger.state import State
from ledger.types import Key


class Census:
    """Nodes by state, and nodes by account: contributors and beneficiaries."""

    def __init__(self) -> None:
        self._nodes: dict[Key, tuple[int, tuple[Key, ...]]] = {}
        self._by_state: Counter[int] = Counter()
        self._by_account: dict[Key, set[Key]] = {}

    def count_all(self, chain: Chain) -> None:
        """Count every node of the newest height."""
        self.count(chain.view().state)

    def count(self, state: State) -> None:
        """Count every node of one height."""
        for key, node in state.items(NODES):
            self._replace(key, node)

    def update(self, changes: Mapping[bytes, Record | None]) -> None:
        """Take in the records that a block changed, by store key."""
        for key, record in changes.items():
            if key[:1] == NODES.letter:
                self._replace(key[1:], record if isinstance(record, Node) else None)

    def _replace(self, key: Key, node: Node | None) -> None:
        old = self._nodes.pop(key, None)
        if old is not None:
            state, accounts = old
            self._by_state[state] -= 1
            for account in accounts:
                self._by_account[account].discard(key)
        if node is not None:
            rows = node.contributions
            accounts = tuple(
                dict.fromkeys((*(c.account for c in rows), *(c.beneficiary for c in rows)))
            )
            self._nodes[key] = (node.state, accounts)
            self._by_state[node.state] += 1
            for account in accounts:
                self._by_account.setdefault(account, set()).add(key)

    def by_state(self) -> dict[str, int]:
        """Return the number of nodes in each state, by its name."""
        return {name: self._by_state[state] for state, name in NODE_STATES.items()}

    def count_of(self, state: int) -> int:
        """Return the number of nodes in one state."""
        return self._by_state[state]

    def nodes_of(self, account: Key) -> list[Key]:
        """Return the nodes in which an account has stake or gets rewards, by ascending key."""
        return sorted(self._by_account.get(account, ()))
