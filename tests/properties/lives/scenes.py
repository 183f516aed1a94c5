"""Rules that are a scene of several acts: what takes epochs, and seldom comes about by chance.

Each act is a transaction that somebody might send, or an epoch that passes. An act may fail, since
other transactions are in the same blocks; then the scene goes on as far as it can.
"""

from typing import Any, Final

from hypothesis.stateful import rule

from ledger.messages.genesis import REGISTRY
from ledger.messages.lists import Attestor
from ledger.messages.state import ACTIVE, AWAITING, DECOMMISSIONED, GONE, QUEUED, Node
from ledger.messages.tables import SETS
from ledger.nodes import get_duty_key
from ledger.validators import get_holder
from tests import life
from tests.factory import links, make_contact, public
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
    rarely,
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
        self.absent = frozenset()
        self.take_seat(name, pick(PLAYERS, b))
        self.pass_epochs_until(lambda: self.is_seated(name), 3)
        self.ask_to_leave(name)
        self.pass_epochs_until(lambda: self.find(name) is None, 10)

    def take_seat(self, name: str, who: str) -> None:
        """The attestors order a seat for a node, or as many nodes stand as have to."""
        network = self.network
        if network.state.one(SETS).policy == REGISTRY:
            for other, node in self.staying(ACTIVE)[: network.params.founders_until]:
                if not node.list_key:
                    self.change_keys(other, f"{other} duty")
            self.pass_epochs_until(lambda: self.is_seated(name), 4)
            return
        self.pass_epochs_until(self.is_set_settled, 3)
        members = network.state.one(SETS).current
        sitting = self.find(name)
        list_key = sitting.list_key if sitting else b""
        others = [m for m in members if get_holder(network.state, m.list_key) != public(name)]
        kept = others if len(others) < 3 else others[1:]
        seats = life.seats(network, kept=(*kept, Attestor(list_key, 1))) if list_key else ()
        if seats:
            self.send(life.set_attestors(network, seats, who), who)

    def is_seated(self, name: str) -> bool:
        """Whether a list key of a node has a seat."""
        state = self.network.state
        members = state.one(SETS).current
        return public(name) in [get_holder(state, member.list_key) for member in members]

    @rule(a=NUMBER, b=NUMBER)
    def change_all_keys(self, a: int, b: int) -> None:
        """A node, sooner one with a seat, names another consensus key, and a list key perhaps."""
        seated = [(n, node) for n, node in self.staying(ACTIVE) if self.is_seated(n)]
        name, _ = self.some_node(a, seated or self.staying(ACTIVE))
        roles: dict[str, Any] = {"consensus_key": public(f"{name} consensus {b % 4}")}
        if rarely(a, 3):
            list_key = public(f"{name} list {1 + b % 3}")
            roles |= {"list_key": list_key, "list_tip": links(list_key)[-1]}
        elif rarely(a, 5):
            roles = {"list_key": b"", "consensus_key": b""}
        sequence = self.next_sequence(name)
        self.send(life.set_keys(self.network, name, sequence, f"{name} duty", **roles))
        self.pass_epoch()

    @rule(a=NUMBER, b=NUMBER)
    def miss_headers(self, a: int, b: int) -> None:
        """One seat of many does not attest for some epochs, and is there again or never."""
        self.absent = frozenset((a % len(self.network.state.one(SETS).current),))
        self.pass_epochs_until(lambda: False, 2 + b % 4)
        if b % 2:
            self.absent = frozenset()

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
