"""Rules that are a scene of several acts: what takes epochs, and seldom comes about by chance.

Each act is a transaction that somebody might send, or an epoch that passes. An act may fail, since
other transactions are in the same blocks; then the scene goes on as far as it can.
"""

from typing import Final

from hypothesis.stateful import rule

from ledger.messages.state import ACTIVE, AWAITING, DECOMMISSIONED, GONE, QUEUED, Node
from ledger.messages.tables import SETS
from ledger.nodes import get_duty_key
from tests import life
from tests.factory import make_contact, public
from tests.properties.lives.offences import OffenceRules
from tests.properties.lives.orders import OrderRules
from tests.properties.lives.stake import StakeRules
from tests.properties.lives.world import (
    ILL,
    LEAST_STAKE,
    NUMBER,
    OTHER_PARAMS,
    PERSON_OF,
    PLAYERS,
    REQUIREMENT,
    pick,
)

FEW: Final = 6
"""With fewer active nodes than this, one more is founded before another is driven out."""


class SceneRules(StakeRules, OffenceRules, OrderRules):
    """Lives as people mean them to be, or as they end."""

    @rule(a=NUMBER, b=NUMBER)
    def have_a_day(self, a: int, b: int) -> None:
        """People and nodes go about their business for an epoch, and nothing goes wrong."""
        who = pick(PLAYERS, a)
        self.send(self.network.transfer(who, pick(PLAYERS, b), 1 + a), who)
        name, node = self.some_node(a, self.staying(ACTIVE))
        self.claim(name, b)
        sequence = self.next_sequence(name)
        contact = make_contact(b)
        self.send(self.network.update_contact(name, sequence, contact=contact, life=node.life))
        name, _ = self.some_node(b, self.staying(AWAITING, QUEUED, ACTIVE))
        self.change_keys(name, f"{name} duty {a % 8}")
        self.pass_epoch()

    @rule(a=NUMBER, b=NUMBER)
    def change_rules(self, a: int, b: int) -> None:
        """The attestors order other parameters, which come into force."""
        self.pass_epochs_until(self.are_params_settled, 6)
        changes = pick(OTHER_PARAMS[:4], a)
        self.order_params(pick(PLAYERS, b), changes)
        self.pass_epochs_until(self.are_params_settled, 6)

    # ------------------------------------------------------------------------ coming

    @rule(a=NUMBER, b=NUMBER)
    def found_together(self, a: int, b: int) -> None:
        """Several found a node, or one does alone; it is tested and becomes active."""
        name = pick(self.free_names(), a)
        self.start_node(name, pick(PLAYERS, b), LEAST_STAKE if a % 3 else REQUIREMENT)
        self.fund(name, b)
        self.pass_epochs_until(lambda: self.is_in(name, ACTIVE), 4)

    @rule(a=NUMBER, b=NUMBER)
    def give_up_before_active(self, a: int, b: int) -> None:
        """An operator founds a node, perhaps with others, and gives it up as long as it waits."""
        name = pick(self.free_names(), a)
        self.start_node(name, pick(PLAYERS, b), LEAST_STAKE if a % 4 else REQUIREMENT)
        self.change_mind(name, b)
        if a % 3 == 0:
            self.fund(name, b)
        self.ask_to_leave(name)
        self.pass_epoch()

    def fund(self, name: str, number: int) -> None:
        """One after the other contributes an equal part, until nothing is missing."""
        for _ in range(self.network.params.max_contributors):
            node = self.find(name)
            if node is None or node.state != AWAITING or not self.bounds(node)[0]:
                return
            who = self.newcomer(node, number)
            made = self.network.contribute(who, self.bounds(node)[0], name, node.life)
            self.submit(made, who)
            self.block(1)

    def change_mind(self, name: str, number: int) -> None:
        """Somebody contributes, and takes it back."""
        node = self.find(name)
        if node is not None and node.state == AWAITING:
            who = self.newcomer(node, number)
            made = self.network.contribute(who, self.bounds(node)[0], name, node.life)
            self.submit(made, who)
            self.block(1)
            self.send(self.network.withdraw(who, name, node.life), who)
            self.block(1)

    # ----------------------------------------------------------------------- leaving

    @rule(a=NUMBER, b=NUMBER)
    def leave_and_pay_out(self, a: int, b: int) -> None:
        """A node leaves; an old offence may come up; it is paid out, and may come again."""
        name, _ = self.some_node(a, self.staying(ACTIVE))
        self.ask_to_leave(name)
        self.pass_epochs_until(lambda: self.is_in(name, *GONE), 3)
        node = self.find(name)
        if node is not None and node.state in GONE and a % 4:
            epoch = self.running() - 1
            self.report_pair(pick(PLAYERS, b), get_duty_key(node, epoch), epoch)
        self.claim(name, b)
        self.pass_epochs_until(lambda: self.find(name) is None, 6)
        if a % 2 and name in self.free_names():
            self.start_node(name, pick(PLAYERS, b), REQUIREMENT)

    @rule(a=NUMBER, b=NUMBER)
    def sit_and_leave(self, a: int, b: int) -> None:
        """A node takes a seat among the attestors, and leaves while it holds it."""
        name, node = self.some_node(a, self.staying(ACTIVE))
        if not node.list_key:
            self.change_keys(name, f"{name} duty")
            self.pass_epoch()
        who = pick(PLAYERS, b)
        self.absent = frozenset()
        self.pass_epochs_until(self.is_set_settled, 3)
        members = self.network.state.one(SETS).current
        others = [member for member in members if member.list_key != public(f"{name} list")]
        kept = others if len(others) < 3 else others[1:]
        seats = life.seats(self.network, f"{name} list", kept=kept)
        self.send(life.set_attestors(self.network, seats, who), who)
        self.pass_epochs_until(lambda: self.is_seated(name), 3)
        self.ask_to_leave(name)
        self.pass_epochs_until(lambda: self.find(name) is None, 10)

    def is_seated(self, name: str) -> bool:
        """Whether the list key of a node has a seat."""
        members = self.network.state.one(SETS).current
        return public(f"{name} list") in [member.list_key for member in members]

    def ask_to_leave(self, name: str) -> None:
        """The operator asks, if the node is there."""
        node = self.find(name)
        if node is not None:
            operator = PERSON_OF[node.operator]
            self.send(self.network.request_unlock(operator, name, node.life), operator)

    def is_in(self, name: str, *states: int) -> bool:
        """Whether a node is there, in one of these states."""
        node = self.find(name)
        return node is not None and node.state in states

    # ------------------------------------------------------------------ being put out

    @rule(a=NUMBER, b=NUMBER)
    def fall_ill_until_down(self, a: int, b: int) -> None:
        """A node fails its tests until it is decommissioned; it gets well, or is deregistered."""
        name, _ = self.driven_out(a, b)
        self.fares[name] = ILL
        self.pass_epochs_until(lambda: not self.is_in(name, ACTIVE), 5)
        if b % 3:
            del self.fares[name]
        self.pass_epochs_until(lambda: not self.is_in(name, DECOMMISSIONED), 5)
        self.fares.pop(name, None)

    @rule(a=NUMBER, b=NUMBER)
    def equivocate(self, a: int, b: int) -> None:
        """A node signs two headers or, as a validator, two blocks; it is caught and leaves."""
        name, node = self.driven_out(a, b)
        if not node.list_key:
            self.change_keys(name, f"{name} duty")
            self.pass_epoch()
        if b % 2:
            self.sign_two_blocks(public(f"{name} consensus"), 1 + a)
        else:
            who = pick(PLAYERS, b)
            evidence = life.header_evidence(self.network, public(f"{name} list"))
            self.send(life.report(self.network, who, evidence), who)
        self.pass_epoch()

    def driven_out(self, a: int, b: int) -> tuple[str, Node]:
        """One of the active nodes, of which there are more than a few, if that can be."""
        if len(self.nodes(ACTIVE)) < FEW:
            self.found_together(a, b)
        return self.some_node(a, self.staying(ACTIVE))
