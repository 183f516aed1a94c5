"""What the simulator knows of the state: every record, kept up with what each block changes.

So it can look without reading the store, and add up all coins at every block in the time that the
changes take. Nobody walks through its tables: their order is that of arrival.
"""

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from ledger.codec import Record
from ledger.messages.state import Account, Node, Pool
from ledger.messages.tables import NODES, POOL, TABLES, Table
from ledger.nodes import get_staked
from ledger.state import STATE_START, STATE_STOP
from ledger.store import Reader
from ledger.types import Amount, Key

R = TypeVar("R", bound=Record)


class Change(NamedTuple):
    """What a block did to a node's record."""

    key: Key
    before: Node | None
    after: Node | None


class Mirror:
    """All records of a state by table and key."""

    def __init__(self, reader: Reader) -> None:
        self.tables: dict[bytes, dict[bytes, Record]] = {table.letter: {} for table in TABLES}
        codecs = {table.letter: table.codec for table in TABLES}
        for key, raw in reader.items(STATE_START, STATE_STOP):
            self.tables[key[:1]][key[1:]] = codecs[key[:1]].load(raw)
        self.coins: Amount = sum(
            count_coins(record) for table in self.tables.values() for record in table.values()
        )
        """Accounts + stakes + rewards that wait + pool."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mirror) and (self.tables, self.coins) == (
            other.tables,
            other.coins,
        )

    __hash__ = None  # type: ignore[assignment]

    def get(self, table: Table[R], key: bytes = b"") -> R | None:
        """Return the record under `key`, or None."""
        return self.tables[table.letter].get(key)  # type: ignore[return-value]

    def one(self, table: Table[R], key: bytes = b"") -> R:
        """Return a record that is there."""
        return self.tables[table.letter][key]  # type: ignore[return-value]

    @property
    def supply(self) -> Amount:
        """What accounts, stakes, waiting rewards and pool have to add up to."""
        return self.one(POOL).supply

    def apply(self, changed: Mapping[bytes, Record | None]) -> list[Change]:
        """Take over what a block changed, by store key; returns the nodes' records before it."""
        nodes = []
        for full, record in changed.items():
            table, key = self.tables[full[:1]], full[1:]
            before = table.get(key)
            self.coins += count_coins(record) - count_coins(before)
            if full[:1] == NODES.letter and before != record:
                nodes.append(Change(key, before, record))  # type: ignore[arg-type]
            if record is None:
                table.pop(key, None)
            else:
                table[key] = record
        return nodes


def count_coins(record: Record | None) -> Amount:
    """Return the atomic units that a record of the state holds."""
    if isinstance(record, Account):
        return record.balance
    if isinstance(record, Node):
        return get_staked(record)
    if isinstance(record, Pool):
        return record.accrued + record.balance
    return 0
