"""Rules of offences: what people report, and what the engine finds."""

from typing import Any

from hypothesis.stateful import rule

from ledger.codec import encode
from ledger.messages.evidence import Misbehaviour
from ledger.messages.state import (
    CONSENSUS_ROLE,
    DUTY_ROLE,
    LIST_ROLE,
)
from ledger.messages.tables import BINDINGS
from ledger.nodes import consensus_address
from tests import life
from tests.factory import pair_of, public
from tests.properties.lives.duty import DutyRules
from tests.properties.lives.world import (
    ATTESTORS,
    ENVELOPE,
    EPOCH_MS,
    NUMBER,
    SPARE,
    WHO,
    pick,
    rarely,
)


class OffenceRules(DutyRules):
    """What keys are held against those who hold them."""

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def report_votes(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """A pass and a fail by a duty key, of this epoch, an earlier or a later one."""
        duty = self.some_node(a)[1].duty_key if b % 2 else pick(self.bound(DUTY_ROLE), a)
        if rarely(b, 19):
            duty = public("nobody")
        epoch = max(0, self.running() + (0, 0, -1, 0, -2, 1, -5)[b % 7])
        self.report_pair(who, duty, epoch, faults=1 - rarely(b, 23), **odd)

    def report_pair(self, who: str, duty: bytes, epoch: int, faults: int = 1, **odd: Any) -> None:
        """Somebody reports a pass and a fail by a duty key."""
        pair = pair_of(duty)
        evidence = life.vote_evidence(self.network, "nobody", epoch=epoch, pair=pair, faults=faults)
        self.send(life.report(self.network, who, evidence, **odd), who)

    @rule(who=WHO, a=NUMBER, b=NUMBER, odd=ENVELOPE)
    def report_headers(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """Two headers by the list key of a node, or of an attestor."""
        list_keys = self.bound(LIST_ROLE)
        of_nodes = [key for key in list_keys if key not in map(public, (*ATTESTORS, *SPARE))]
        # founding attestors are few, and each can be punished once
        list_key = pick(list_keys if rarely(b, 6) else of_nodes or list_keys, a)
        make = life.fork_evidence if a % 2 else life.header_evidence
        self.send(life.report(self.network, who, make(self.network, list_key), **odd), who)

    @rule(a=NUMBER, b=NUMBER)
    def misbehave(self, a: int, b: int) -> None:
        """The engine says that a validator signed two blocks."""
        validators = self.bound(CONSENSUS_ROLE) or [public("nobody")]
        key = public("nobody") if rarely(b, 9) else pick(validators, a)
        self.sign_two_blocks(key, (1, 1, EPOCH_MS, 2 * EPOCH_MS, 200_000)[b % 5])
        if rarely(b, 11):
            self.found.append(b"nothing")

    def sign_two_blocks(self, key: bytes, since_ms: int) -> None:
        """The engine says so of a consensus key, and of a time that is so long past."""
        tip = self.network.chain.tip
        evidence = Misbehaviour(consensus_address(key), tip.height, tip.time_ms - since_ms)
        self.found.append(encode(evidence))

    def bound(self, role: int) -> list[bytes]:
        """The keys that are bound in a role, by ascending key."""
        rows = self.network.state.items(BINDINGS)
        return [key for key, row in rows if row.role == role and len(key) == 32]
