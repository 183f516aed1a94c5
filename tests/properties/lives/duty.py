"""Rules of nodes on duty: contact data, role keys, attestations, and how nodes fare in tests."""

from typing import Any

from hypothesis.stateful import rule

from ledger.messages.contact import Version
from ledger.messages.state import (
    ACTIVE,
    AWAITING,
    DECOMMISSIONED,
    QUEUED,
)
from ledger.messages.tables import NEW_KEYS, SETS
from tests import life
from tests.factory import attestor_roles, make_contact, public
from tests.properties.lives.machine import FREE, Machine
from tests.properties.lives.world import ILL, NAMES, NUMBER, SILENT, pick, rarely


class DutyRules(Machine):
    """What a node sends for itself, and what its testers send of it."""

    @rule(a=NUMBER, b=NUMBER)
    def update_contact(self, a: int, b: int) -> None:
        """The next sequence number, or one that was used; of a node that is there, mostly."""
        name = pick(NAMES[: 2 * FREE], b) if rarely(b, 11) else self.some_node(b)[0]
        node = self.find(name)
        self.send(
            self.network.update_contact(
                name,
                self.next_sequence(name) - rarely(a, 7),
                contact=make_contact(a, storage_version=Version(1 - rarely(b, 9), 0, 0)),
                life=node.life if node else 1,
            )
        )

    @rule(a=NUMBER, b=NUMBER)
    def set_keys(self, a: int, b: int) -> None:
        """Another duty key, and all or none of the keys that an attestor has."""
        new_keys = {key for key, _ in self.network.state.items(NEW_KEYS)}
        rows = self.nodes(AWAITING, QUEUED, ACTIVE, DECOMMISSIONED)
        free = [(name, node) for name, node in rows if public(name) not in new_keys]
        busy = [(name, node) for name, node in rows if public(name) in new_keys]
        name, node = self.some_node(b, busy if rarely(b, 9) else free)
        roles = {"list_key": b"", "consensus_key": b""} if rarely(a, 4) else attestor_roles(name)
        if node.list_key and a % 2:
            roles.pop("list_tip", None)
        # now and then the duty key of another node
        owner = pick(NAMES[: 2 * FREE], a) if rarely(a, 13) else name
        duty = f"{owner} duty" if a % 2 else f"{owner} duty {a % 8}"
        sequence = self.next_sequence(name) - rarely(b, 11)
        self.send(life.set_keys(self.network, name, sequence, duty, **roles))

    @rule(a=NUMBER, b=NUMBER)
    def attest(self, a: int, b: int) -> None:
        """Of a seat, or one that is not there."""
        changes: dict[str, Any] = {"reveal": bytes(32)} if rarely(b, 9) else {}
        members = self.network.state.one(SETS).current
        if self.has_links(members[min(a % 4, len(members) - 1)].list_key):
            self.send(self.network.attest(a % 4, **changes))

    @rule(a=NUMBER)
    def go_absent(self, a: int) -> None:
        """Some seats attest no more."""
        self.absent = frozenset(seat for seat in range(8) if a >> seat & 1 and rarely(a, 4))

    # ------------------------------------------------------------------------- tests

    @rule(a=NUMBER, b=NUMBER)
    def judge(self, a: int, b: int) -> None:
        """Any verdict on any node, of this epoch or another one."""
        name, node = self.some_node(a)
        epoch = self.running() - rarely(a, 3) - rarely(a, 9)
        changes: dict[str, Any] = {"life": node.life + 1} if rarely(b, 17) else {}
        if self.quorum(node, epoch):
            count = 1 if rarely(b, 13) else None
            self.send(life.judge(self.network, name, (1, 0, 2, 63)[b % 4], epoch, count, **changes))

    @rule(a=NUMBER, b=NUMBER)
    def fall_ill(self, a: int, b: int) -> None:
        """One or two nodes that are on duty fail their tests from now on."""
        rows = self.nodes(ACTIVE, DECOMMISSIONED)
        self.fares[self.some_node(a, rows)[0]] = SILENT if rarely(b, 8) else ILL
        self.fares[self.some_node(b, rows)[0]] = ILL

    @rule(a=NUMBER)
    def get_well(self, a: int) -> None:
        """A node passes its tests again."""
        if self.fares:
            del self.fares[pick(sorted(self.fares), a)]

    def change_keys(self, name: str, duty: str) -> None:
        """A node takes another duty key, and the list and consensus keys that are its own."""
        sequence = self.next_sequence(name)
        roles = attestor_roles(name)
        self.send(life.set_keys(self.network, name, sequence, duty, **roles))
