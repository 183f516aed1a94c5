"""What a sequence of blocks did: counted, and held against rules that are written down anew here.

A replica that goes wrong in the same way as the reference is equal to it. So here stands what no
comparison finds: the invariants of the state, and that verdicts alone move nodes on and off duty.

- Decommissioned: failing verdicts for both epochs before the one that ends.
- Deregistered: two failing verdicts at least, for epochs through which the node was down.
- Back: a passing verdict for the epoch before the one that ends, or no failing one for four.
- Paid out after duty: no key of the node holds a seat among the attestors, now or next.
"""

from collections import Counter

from ledger.chain import Executed
from ledger.history import ENGINE_INDEX, penalty_key
from ledger.invariants import find_violations
from ledger.messages.state import ACTIVE, DECOMMISSIONED, DEREGISTERED, GONE, NODE_STATES, Node
from ledger.messages.tables import BINDINGS, EPOCH, NODES, PARAMS, SETS
from ledger.offences import OFFENCES
from ledger.state import State
from ledger.transactions import WIRE
from ledger.transactions.envelope import Transaction
from ledger.views import View

OFFENCE_NAMES = {offence.number: offence.name for offence in OFFENCES}
QUIET = 4


class Watch:
    """Sees each decided block once, in their order."""

    def __init__(self, counts: Counter[str]) -> None:
        self.counts = counts
        self.failed: dict[bytes, set[int]] = {}
        """Epochs for which a node has a failing verdict."""
        self.passed: dict[bytes, set[int]] = {}
        self.down_from: dict[bytes, int] = {}
        """First epoch through which a node is down."""

    def look(self, before: View, after: View, executed: Executed) -> None:
        """Count what a block did, and check what its epoch's end made of verdicts."""
        for raw, code in zip(executed.input.transactions, executed.codes, strict=True):
            self.counts[f"code {code}"] += 1
            if code == 0:
                self.count(WIRE.decode(raw))
        for place in range(len(executed.input.misbehaviour)):
            key = penalty_key(executed.input.height, ENGINE_INDEX - place)
            self.counts["offence block_equivocation"] += after.reader.get(key) is not None
        if executed.ended_epoch:
            self.counts["epoch ends"] += 1
            self.compare(before, after)

    def count(self, tx: Transaction) -> None:
        """Count a transaction that was applied, and remember the verdicts."""
        self.counts[f"applied {tx.kind.name}"] += 1
        if tx.kind.name == "report":
            self.counts[f"offence {OFFENCE_NAMES[tx.body.offence]}"] += 1
        elif tx.kind.name == "judge":
            rows = self.failed if tx.body.votes[0].faults else self.passed
            rows.setdefault(tx.body.node, set()).add(tx.body.epoch)

    def compare(self, before: View, after: View) -> None:
        """Count what changed at an epoch's end; who changed his state had the verdicts for it."""
        ended = before.state.one(EPOCH).epoch
        self.counts["attestors change"] += (
            before.state.one(SETS).current != after.state.one(SETS).current
        )
        self.counts["parameters change"] += (
            before.state.one(PARAMS).values != after.state.one(PARAMS).values
        )
        now = dict(after.state.items(NODES))
        changed = [
            (key, old, now.get(key))
            for key, old in before.state.items(NODES)
            if key not in now or now[key].state != old.state
        ]
        for key, old, new in changed:
            self.counts[f"{name_state(old)} to {name_state(new)}"] += 1
            self.check_verdicts(key, old.state, new.state if new else 0, ended)
            if new is None:
                self.counts["payouts"] += old.state in GONE
                assert key not in seated_nodes(before.state), "paid out with a seat"
        # it reads everything, so only where the most can be wrong, and at the end of a sequence
        if changed:
            assert find_violations(after.state) == []

    def check_verdicts(self, key: bytes, old: int, new: int, ended: int) -> None:
        """Check that a change of state at the end of epoch `ended` follows from verdicts."""
        failed, passed = self.failed.get(key, set()), self.passed.get(key, set())
        if (old, new) == (ACTIVE, DECOMMISSIONED):
            assert {ended - 2, ended - 1} <= failed, "decommissioned without failing twice running"
            self.down_from[key] = ended + 1
        elif (old, new) == (DECOMMISSIONED, DEREGISTERED):
            while_down = [e for e in failed if self.down_from[key] <= e < ended]
            assert len(while_down) >= 2, "deregistered by one verdict"
        elif (old, new) == (DECOMMISSIONED, ACTIVE):
            quiet = all(e not in failed for e in range(ended - QUIET, ended))
            assert quiet or ended - 1 in passed, "back without having passed"
        else:
            assert new != DEREGISTERED, "deregistered from duty"


def seated_nodes(state: State) -> list[bytes]:
    """The nodes whose keys hold seats, now or next."""
    sets = state.one(SETS)
    bound = [state.get(BINDINGS, member.list_key) for member in (*sets.current, *sets.next)]
    return [binding.node for binding in bound if binding]


def name_state(node: Node | None) -> str:
    """The state of a node for people; one that is paid out has none."""
    return NODE_STATES[node.state] if node else "nothing"
