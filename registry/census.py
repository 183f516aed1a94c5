"""Counts and an index over the nodes of the newest height, kept beside the chain.

They answer "how many wait?" and "where does this account have a part?" without reading every
node. They are derived: counted once at the start, then brought up to date block by block.
"""

from collections import Counter
from collections.abc import Generator, Mapping
from typing import Final, TypeAlias

from ledger.chain import Chain
from ledger.codec import Record
from ledger.messages.state import NODE_STATES, Node
from ledger.messages.tables import NODES
from ledger.state import State
from ledger.types import Key

PAUSE_RECORDS: Final = 1_000
"""Records between two pauses: some milliseconds of work."""


Standing: TypeAlias = tuple[int, tuple[Key, ...]]
"""State of a node; its contributors and beneficiaries, each once."""


class Census:
    """Nodes by state, and nodes by account: contributors and beneficiaries."""

    def __init__(self) -> None:
        self._nodes: dict[Key, Standing] = {}
        self._by_state: Counter[int] = Counter()
        self._by_account: dict[Key, set[Key]] = {}

    def count_all(self, chain: Chain) -> None:
        """Count every node of the newest height."""
        self.count(chain.view().state)

    def count(self, state: State) -> None:
        """Count every node of one height."""
        self.adopt({key: _find_standing(node) for key, node in state.items(NODES)})

    def prepare(
        self, changes: Mapping[bytes, Record | None]
    ) -> Generator[None, None, dict[Key, Standing | None]]:
        """Return the nodes whose standing a block changes, None for those that go; with pauses.

        `changes` are the block's records by store key.
        """
        changed: dict[Key, Standing | None] = {}
        for count, (key, record) in enumerate(changes.items(), 1):
            if key[:1] == NODES.letter:
                now = _find_standing(record) if isinstance(record, Node) else None
                if now != self._nodes.get(key[1:]):
                    changed[key[1:]] = now
            if count % PAUSE_RECORDS == 0:
                yield
        return changed

    def adopt(self, changed: Mapping[Key, Standing | None]) -> None:
        """Take in what `prepare` returned for the next block."""
        for key, standing in changed.items():
            self._replace(key, standing)

    def _replace(self, key: Key, new: Standing | None) -> None:
        old = self._nodes.pop(key, None)
        if old is not None:
            state, accounts = old
            self._by_state[state] -= 1
            for account in accounts:
                self._by_account[account].discard(key)
        if new is not None:
            state, accounts = new
            self._nodes[key] = new
            self._by_state[state] += 1
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


def _find_standing(node: Node) -> Standing:
    rows = node.contributions
    accounts = dict.fromkeys((*(c.account for c in rows), *(c.beneficiary for c in rows)))
    return node.state, tuple(accounts)
