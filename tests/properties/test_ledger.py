"""Random lives of nodes: a state machine over every kind of transaction and every offence.

A rule is something that somebody may do; its numbers are read against the state, so that most of
what is sent is good, and everything that can be wrong is wrong now and then. Read in this order:

    lives/world       where lives begin, who takes part
    lives/machine     sending, time, a block and everything that is looked at in it
    lives/stake, duty, offences, orders       rules that are one transaction
    lives/scenes      rules that are a scene of several
    lives/counting    what happened, and how often it has to
    money             the book of the money

In every second batch the attestors do not order their set: nodes take their turns.

What happened is counted, held to a least number, and printed at the end of the run.
"""

from collections.abc import Callable
from typing import Final

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from ledger.messages.genesis import REGISTRY
from tests.properties.lives.machine import tally
from tests.properties.lives.scenes import SceneRules
from tests.properties.lives.world import NUMBER, WAITS_MS, pick

BATCHES: Final = 10
LIVES: Final = 10
"""In each batch. After ten good lives Hypothesis would only change details of those, and what
happens once would happen five times or never."""
STEPS: Final = 40


class Life(SceneRules):
    """All rules together, and those that let blocks and epochs pass."""

    @rule(a=NUMBER, b=NUMBER)
    def garbage(self, a: int, b: int) -> None:
        """The last transaction with another bit, again, or no transaction at all."""
        raw = bytearray(self.pending[-1][0] if self.pending else b"nothing")
        if a % 3 and raw:
            raw[a * b % len(raw)] ^= 1 << a % 8
        self.send(bytes(raw) if a % 4 else bytes(a % 50))

    @rule()
    def reopen(self) -> None:
        """The process starts anew; what was not in a block is forgotten."""
        tip, header = self.network.chain.tip, self.network.chain.newest_header()
        chain = self.network.reopen()
        assert (chain.tip, chain.newest_header()) == (tip, header)
        self.forget()

    @rule(a=NUMBER)
    def go_on(self, a: int) -> None:
        """A block of what was sent, soon or late; a late one may end an epoch."""
        self.block(pick(WAITS_MS, a))

    @rule(count=st.integers(1, 6), late=st.sampled_from((0, 0, 0, 1, 5_000, 50_000)))
    def live(self, count: int, late: int) -> None:
        """Some epochs pass, with attestations and verdicts as everybody fares."""
        for _ in range(count):
            self.pass_epoch(late)


class Turns(Life):
    """The same where the registry fills the seats."""

    POLICY = REGISTRY


def test_lives(record_property: Callable[[str, object], None]) -> None:
    tally.clear()
    for batch in range(BATCHES):
        run_state_machine_as_test(
            seed(batch)((Life, Turns)[batch % 2]),
            settings=settings(
                max_examples=LIVES,
                stateful_step_count=STEPS,
                database=None,
                report_multiple_bugs=False,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    record_property("table", tally.table())
    assert tally.shortfalls() == {}
