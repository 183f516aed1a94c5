"""Rules of people and their money: coins, stake, rewards, the wish to leave."""

from typing import Any

from hypothesis.stateful import rule

from ledger.messages.state import ACTIVE, AWAITING, DECOMMISSIONED, GONE, QUEUED, Node
from ledger.messages.tables import POOL
from ledger.nodes import get_owed
from ledger.rules.stakes import minimum_contribution
from ledger.transactions.stake import get_open
from tests.factory import START_MS, attestor_roles, places, public
from tests.properties.lives.machine import FREE, Machine
from tests.properties.lives.world import (
    ENVELOPE,
    LEAST_STAKE,
    NAMES,
    NUMBER,
    PERSON_OF,
    PLAYERS,
    REQUIREMENT,
    STRANGER,
    TOO_MUCH,
    WHO,
    pick,
    rarely,
)


class StakeRules(Machine):
    """What an account sends for itself."""

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def transfer(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """Coins, to an account that is there or not."""
        amount = (10**9, TOO_MUCH, 0)[a % 3] if rarely(b, 9) else 1 + a
        to = ("bob", who, STRANGER, f"stranger {a}")[b % 4]
        self.send(self.network.transfer(who, to, amount, **odd), who)

    # ------------------------------------------------------------------------ coming

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def register(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """A node that is not there, mostly; funded at once, or with a part of its stake."""
        stakes = (REQUIREMENT, LEAST_STAKE, 400_000, REQUIREMENT, LEAST_STAKE + 1)
        stake = (LEAST_STAKE - 1, REQUIREMENT + 1)[a % 2] if rarely(a, 11) else pick(stakes, a)
        name = pick(NAMES[: 2 * FREE] if rarely(b, 9) else self.free_names(), b)
        kept = tuple(row for row in (("erin", 10**5), ("frank", b)) if row[0] != who)
        now_ms = self.network.chain.tip.time_ms
        self.send(
            self.network.register(
                name,
                who,
                stake,
                envelope=odd,
                life=self.next_life(name) + rarely(a, 17),
                fee=10_001 if rarely(b, 13) else (0, 500, 10_000, 3_333)[b % 4],
                reserved=places(*kept) if rarely(a, 4) else (),
                beneficiary=public(pick(PLAYERS, b)),
                expiry_ms=START_MS + 90_000 if rarely(a, 7) else now_ms + 10**6,
                **(attestor_roles(name) if b % 2 else {}),
            ),
            who,
        )

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def contribute(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """To a node that waits: an equal part, everything, what is kept, or not quite."""
        open_ones = self.open_for_more() or self.open_node()
        name, node = self.some_node(b, () if rarely(b, 9) else open_ones)
        who = who if rarely(a, 9) else self.newcomer(node, a)
        kept = [place.amount for place in node.reserved if place.account == public(who)]
        least, most = self.bounds(node)
        wrong = (most + 1, max(0, least - 1))
        amount = pick(wrong if rarely(a, 8) else (*kept, least, most), a)
        beneficiary = public(pick(PLAYERS, a)) if b % 2 else public(who)
        made = self.network.contribute(
            who, amount, name, node.life, envelope=odd, beneficiary=beneficiary
        )
        self.send(made, who)

    def open_for_more(self) -> list[tuple[str, Node]]:
        """Nodes that wait for stake, and have a place for it."""
        rows = [(name, node) for name, node in self.nodes(AWAITING) if not node.exit_ms]
        return [(name, node) for name, node in rows if self.bounds(node)[0]]

    def bounds(self, node: Node) -> tuple[int, int]:
        """The least and the most that somebody may stake in a node; zeros without a place."""
        free = get_open(node, self.network.params, self.network.chain.tip.time_ms)
        return (minimum_contribution(free), free.amount) if free.places > 0 else (0, 0)

    def newcomer(self, node: Node, number: int) -> str:
        """Somebody who does not contribute to a node yet, if there is anybody."""
        inside = {row.account for row in node.contributions}
        return pick([who for who in PLAYERS if public(who) not in inside] or PLAYERS, number)

    # ----------------------------------------------------------------------- leaving

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def withdraw(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """By a contributor, or by somebody who is none."""
        if not self.shared():
            self.share(a)
        name, node = self.some_node(b, self.shared())
        who = who if rarely(b, 7) else self.contributor(node, -1 if rarely(a, 7) else 0)
        self.send(self.network.withdraw(who, name, node.life, **odd), who)

    def shared(self) -> list[tuple[str, Node]]:
        """Nodes that wait for more than what others than the operator contribute."""
        return [(n, r) for n, r in self.nodes(AWAITING) if len(r.contributions) > 1]

    def share(self, number: int) -> None:
        """Somebody contributes the least that he may to a node that waits."""
        for name, node in (self.open_for_more() or self.open_node())[:1]:
            who = self.newcomer(node, number)
            made = self.network.contribute(who, self.bounds(node)[0], name, node.life)
            self.submit(made, who)
            self.block(1)

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def request_unlock(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """By the operator, by a contributor, or by somebody who is none."""
        staying = self.staying(AWAITING, QUEUED, ACTIVE, DECOMMISSIONED)
        name, node = self.some_node(b, () if rarely(a, 9) else staying)
        who = who if rarely(b, 7) else self.contributor(node, a if a % 2 else -1)
        self.send(self.network.request_unlock(who, name, node.life, **odd), who)

    def staying(self, *states: int) -> list[tuple[str, Node]]:
        """Nodes in one of these states that nobody asked to leave."""
        return [(name, node) for name, node in self.nodes(*states) if not node.exit_ms]

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def claim_rewards(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """By somebody for whom rewards wait, or by anybody."""
        if not self.owed():
            self.pass_epoch()
        name, node, owner = pick(self.owed() or [(*self.some_node(b), who)], b)
        who = who if rarely(a, 7) else owner
        self.send(self.network.claim_rewards(who, name, node.life, **odd), who)

    def owed(self) -> list[tuple[str, Node, str]]:
        """For whom something waits, and in which node."""
        pool = self.network.state.one(POOL)
        return [
            (name, node, PERSON_OF[part.account])
            for name, node in self.nodes(ACTIVE, DECOMMISSIONED, *GONE)
            for amount, part in zip(get_owed(node, pool), node.contributions, strict=True)
            if amount
        ]

    def claim(self, name: str, number: int) -> None:
        """Somebody claims what waits for him in a node, if that is something."""
        rows = [(node, who) for owed, node, who in self.owed() if owed == name]
        if rows:
            node, who = pick(rows, number)
            self.send(self.network.claim_rewards(who, name, node.life), who)

    def contributor(self, node: Node, number: int) -> str:
        """One of those who contribute to a node, the newest first; -1 is the operator."""
        return PERSON_OF[pick(node.contributions[::-1], number).account]
