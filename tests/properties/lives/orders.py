"""Rules of orders: other attestors, other parameters."""

from collections.abc import Sequence
from typing import Any, Final

from hypothesis.stateful import rule

from ledger.messages.lists import Attestor
from ledger.messages.state import ACTIVE
from ledger.messages.tables import PARAMS, SETS
from ledger.messages.transactions import Seat
from ledger.offences.punish import is_barred
from ledger.succession import get_succession
from ledger.types import ZERO_HASH
from ledger.validators import get_holder
from tests import life
from tests.factory import public
from tests.properties.lives.machine import Machine
from tests.properties.lives.world import (
    ATTESTORS,
    ENVELOPE,
    NAMES,
    NUMBER,
    OTHER_PARAMS,
    RECOVERY,
    SPARE,
    WHO,
    pick,
    rarely,
)

SEATABLE: Final = (
    *SPARE,
    *ATTESTORS,
    *(f"{name} list{more}" for name in NAMES for more in ("", " 1", " 2", " 3")),
)
"""Whose list keys may have a seat."""
SEATABLE_NAME_OF: Final = {public(name): name for name in SEATABLE}
MOST_SEATS: Final = 5


class OrderRules(Machine):
    """What the attestors decide, or those who hold the recovery keys."""

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def set_attestors(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """One seat more, one less, or too much at once; sometimes by the recovery keys."""
        if not rarely(a, 5):
            self.pass_epochs_until(self.is_set_settled, 3)
        network = self.network
        recovery = RECOVERY if rarely(b, 3) else ()
        begin = network.chain.tip.time_ms + (25_000, 1_000, 25_000, 60_000, 0)[b % 5]
        raw = life.set_attestors(
            network,
            self.other_seats(a, b),
            who,
            begin=self.running() if recovery else begin,
            signers=(0,) if rarely(a, 13) else None,
            recovery=recovery,
            **odd,
        )
        self.send(raw, who)

    def is_set_settled(self) -> bool:
        """Whether no other set is on its way."""
        sets = self.network.state.one(SETS)
        return not sets.ordered and sets.current == sets.next

    def other_seats(self, a: int, b: int) -> tuple[Seat, ...]:
        """Seats of another set: mostly one that may come next."""
        members = self.network.state.one(SETS).current
        gone = pick(members, b).list_key if len(members) > 2 else b""
        fewer = [member for member in members if member.list_key != gone]
        if rarely(a, 11):
            kept = [member for member in fewer if member.list_key not in map(public, SPARE)]
            return life.seats(self.network, *SPARE, kept=kept)
        new = self.seatable(members)
        if new and len(members) < MOST_SEATS:
            return life.seats(self.network, pick(new, a), kept=members if a % 2 else fewer)
        return life.seats(self.network, kept=fewer) if gone else self.renewed(members, a)

    def seatable(self, members: Sequence[Attestor]) -> list[str]:
        """Whose list keys could have a seat now, and have none: validators come from nodes."""
        holders = [get_holder(self.network.state, member.list_key) for member in members]
        return [
            SEATABLE_NAME_OF[node.list_key]
            for name, node in self.nodes(ACTIVE)
            if node.list_key and node.consensus_key and public(name) not in holders
            and not is_barred(self.network.state, node.list_key)
        ]  # fmt: skip

    def renewed(self, members: Sequence[Attestor], number: int) -> tuple[Seat, ...]:
        """The same seats, one of them with its hash chain from the beginning."""
        seat = pick(members, number)
        kept = [member for member in members if member != seat]
        return life.seats(self.network, SEATABLE_NAME_OF[seat.list_key], kept=kept)

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def set_params(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """Other values after their notice, or too soon, or what cannot be changed."""
        if not rarely(a, 5):
            self.pass_epochs_until(self.are_params_settled, 6)
        changes = pick(OTHER_PARAMS[4:] if rarely(a, 9) else OTHER_PARAMS[:4], b)
        self.order_params(
            who,
            changes,
            margin_ms=-1 if rarely(b, 11) else 25_000,
            signers=(0,) if rarely(a, 13) else None,
            envelope=odd,
        )

    def order_params(
        self,
        who: str,
        changes: dict[str, int],
        margin_ms: int = 25_000,
        signers: Sequence[int] | None = None,
        envelope: dict[str, Any] | None = None,
    ) -> None:
        """An order of other parameters, for a time so much later than it has to be."""
        network = self.network
        if all(getattr(network.params, name) == value for name, value in changes.items()):
            changes = {"reward_rate": network.params.reward_rate - 1}
        from_ms = network.chain.tip.time_ms + network.params.unbonding_ms + margin_ms
        raw = life.set_params(network, who, from_ms, signers, envelope, **changes)
        self.send(raw, who)

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def set_successor(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """A successor, mostly withdrawn at once; a network moves but rarely."""
        network = self.network
        last_ms = get_succession(network.state).from_ms
        margin_ms = -1 if rarely(b, 11) else 25_000
        from_ms = network.chain.tip.time_ms + 2 * network.params.unbonding_ms + margin_ms
        from_ms = max(from_ms, last_ms + 1)
        signers = (0,) if rarely(a, 13) else None
        self.send(life.set_successor(network, who, life.SUCCESSOR, from_ms, signers, **odd), who)
        if not rarely(a, 17):
            self.send(life.set_successor(network, who, ZERO_HASH, from_ms), who)

    def are_params_settled(self) -> bool:
        """Whether no other parameters are on their way."""
        return not self.network.state.one(PARAMS).next
