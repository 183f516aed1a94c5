"""Random histories: invariants hold, refusals change nothing, check, block and replicas agree.

A step is an operation and some numbers, which are read against the state, so that most of what is
sent is good, and everything that can be wrong is wrong now and then.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.chain import Chain
from ledger.codec import encode
from ledger.errors import REFUSALS
from ledger.invariants import find_violations
from ledger.messages.contact import Version
from ledger.messages.state import AWAITING
from ledger.replay import execute_block
from ledger.rules.stakes import minimum_contribution
from ledger.state import NODES, POOL
from ledger.steps import run
from ledger.transactions.stake import get_open
from tests.factory import (
    EPOCH_MS,
    FEE,
    PEOPLE,
    SHORT_TIMES,
    START_MS,
    Network,
    attestor_roles,
    founding,
    make_contact,
    make_genesis,
    places,
    public,
    replay,
    verify_cached,
)
from tests.ledger.effects import coins
from tests.ledger.refusals.rows import code_of, submit

REQUIREMENT: Final = 1_000
NAMES: Final = ("node 1", "node 2", "node 3", "node 4", "node 5", "node 6")
FOUNDERS: Final = NAMES[4:]
"""Nodes that are active from the start, and are to leave."""
WAITS_MS: Final = (1, 100, EPOCH_MS // 2, EPOCH_MS, 10 * EPOCH_MS)
TOO_MUCH: Final = 2**63 - 1


class History:
    """A network to which anything may be sent, and a follower that executes its blocks."""

    def __init__(self) -> None:
        accounts = sorted((public(name), 10**6) for name in PEOPLE[:6])
        row = type(make_genesis().accounts[0])
        self.network = Network(
            make_genesis(
                {
                    "staking_requirement": REQUIREMENT,
                    "max_contributors": 4,
                    "activation_floor": 1,
                    **SHORT_TIMES,
                },
                nodes=founding(*FOUNDERS, operator=PEOPLE[0], exit_ms=START_MS + EPOCH_MS + 1),
                accounts=tuple(row(*account) for account in accounts),
            )
        )
        self.network.attesting = False
        self.follower = replay(self.network.raw, [])
        self.coins = coins(self.network.dump())
        self.pending: list[tuple[bytes, str]] = []
        """Transactions of the next block, with the code that the check gave."""
        self.outcomes: Counter[str] = Counter()

    def send(self, raw: bytes, sender: str = "") -> None:
        """Send what a pool would take, and what it would not, to the next block."""
        code = code_of(submit, self.network, raw)
        if code and sender:
            self.network.take_back(sender)
        self.pending.append((raw, code))

    # ------------------------------------------------------------------ transactions

    def transfer(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """Coins, to an account that is there or not."""
        amount = (0, 1, 500, 10**6, TOO_MUCH)[a % 5] if b % 3 == 0 else a
        to = ("bob", who, "a stranger", f"stranger {a}")[b % 4]
        self.send(self.network.transfer(who, to, amount, **odd), who)

    def register(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """A node, mostly with a quarter of its stake."""
        stake = (250, 250, 251, 400, REQUIREMENT, 249, REQUIREMENT + 1, 0)[a % 8]
        reserved = places(("erin", b), ("frank", 1)) if b % 3 == 0 else ()
        roles = attestor_roles(NAMES[b % 6]) if a % 4 == 0 else {}
        life = 2 if b % 17 == 0 else 1
        raw = self.network.register(
            NAMES[b % 6], who, stake, envelope=odd, reserved=reserved, life=life, **roles
        )
        self.send(raw, who)

    def contribute(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """To a node that waits: an equal part, everything, what is kept, or not quite."""
        waiting = [(key, node) for key, node in self.nodes() if node.state == AWAITING]
        key, node = (waiting or self.nodes() or [(b"", None)])[b % max(1, len(waiting))]
        if node is None:
            return
        kept = [place.amount for place in node.reserved if place.account == public(who)]
        free = get_open(node, self.network.params, self.network.chain.tip.time_ms)
        least = minimum_contribution(free) if free.places > 0 else 0
        amount = (least, least, free.amount, *kept, least - (least > 0), free.amount + 1)
        name = next(name for name in NAMES if public(name) == key)
        raw = self.network.contribute(who, amount[a % len(amount)], name, envelope=odd)
        self.send(raw, who)

    def withdraw(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """By a contributor, or by somebody who is none."""
        nodes = [(k, n) for k, n in self.nodes() if n.state == AWAITING] or self.nodes()
        if not nodes:
            return
        key, node = nodes[b % len(nodes)]
        owners = [n for n in PEOPLE for c in node.contributions if c.account == public(n)]
        who = owners[a % len(owners)] if b % 5 else who
        name = next(name for name in NAMES if public(name) == key)
        self.send(self.network.withdraw(who, name, **odd), who)

    def update_contact(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """The next sequence number, or one that was used."""
        name = NAMES[b % 6]
        contact = make_contact(a, storage_version=Version(b % 4, 0, 0))
        self.send(self.network.update_contact(name, a // 4 + 1, contact=contact))

    def attest(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """Of a seat, or one that is not there."""
        changes: dict[str, Any] = {"reveal": bytes(32)} if b % 9 == 0 else {}
        self.send(self.network.attest(a % 4, **changes))

    def garbage(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """The last transaction with another bit, again, or no transaction at all."""
        raw = bytearray(self.pending[-1][0] if self.pending else b"nothing")
        if a % 3 and raw:
            raw[a * b % len(raw)] ^= 1 << a % 8
        self.send(bytes(raw) if a % 4 else bytes(a % 50))

    def nodes(self) -> list[tuple[bytes, Any]]:
        """All nodes as they are committed."""
        return list(self.network.state.items(NODES))

    # ------------------------------------------------------------------------ blocks

    def block(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """A block of everything that was sent, good or bad."""
        network = self.network
        raws = [raw for raw, _ in self.pending]
        ms = WAITS_MS[a % 5]
        block = network.input(*raws, ms=ms)
        executed = run(network.chain.finalize(block), verify_cached)
        expected = [REFUSALS[code].number if code else 0 for _, code in self.pending]
        assert list(executed.codes) == expected, "check and block disagree"
        empty = [b"" if code else raw for raw, code in self.pending]
        bare = run(network.chain.finalize(network.input(*empty, ms=ms)), verify_cached)
        assert bare.root == executed.root, "a refused transaction changed something"
        assert run(network.chain.finalize(block), verify_cached) == executed
        self.outcomes.update(code or network.chain.decode(raw).kind.name
                             for raw, code in self.pending)  # fmt: skip
        self.committed()

    def proposal(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """A proposal of what is good of it; everybody votes for it, and nothing is refused."""
        network = self.network
        good = [network.chain.decode(raw) for raw, code in self.pending if not code]
        tip = network.chain.tip
        steps = network.chain.propose(tip.height + 1, tip.time_ms + WAITS_MS[a % 5], b"", good)
        block = run(steps, verify_cached)
        assert block.transactions == tuple(tx.raw for tx in good)
        run(Chain(network.store, network.raw).validate(block), verify_cached)
        assert not any(run(network.chain.finalize(block), verify_cached).codes)
        self.committed()

    def committed(self) -> None:
        """Commit, and look at everything that must hold."""
        network = self.network
        network.blocks.append(network.chain.commit())
        network.forget_sent()
        self.pending = []
        assert find_violations(network.state) == []
        assert coins(network.dump()) == self.coins == network.state.one(POOL).supply
        execute_block(self.follower, network.blocks[-1])
        assert self.follower.tip == network.chain.tip

    def reopen(self, who: str, a: int, b: int, odd: dict[str, Any]) -> None:
        """The process starts anew; what was not in a block is forgotten."""
        tip, header = self.network.chain.tip, self.network.chain.newest_header()
        chain = self.network.reopen()
        assert (chain.tip, chain.newest_header()) == (tip, header)
        self.network.forget_sent()
        self.pending = []


Operation = Callable[[History, str, int, int, dict[str, Any]], None]

OPERATIONS: Final[dict[Operation, int]] = {
    History.transfer: 4,
    History.register: 5,
    History.contribute: 6,
    History.withdraw: 2,
    History.update_contact: 3,
    History.attest: 3,
    History.garbage: 2,
    History.block: 5,
    History.proposal: 2,
    History.reopen: 1,
}
"""Each operation with how often it comes."""

ODD: Final[tuple[dict[str, Any], ...]] = (
    *[{}] * 20,
    {"nonce": 0},
    {"nonce": 99},
    {"fee": FEE - 1},
    {"fee": 10**6 + 1},
    {"expiry": 0},
    {"expiry": 10**6},
)
"""What may be wrong with an envelope; mostly nothing."""

STEP = st.tuples(
    st.sampled_from([operation for operation, times in OPERATIONS.items() for _ in range(times)]),
    st.sampled_from((*2 * PEOPLE[:6], "a stranger")),
    st.integers(0, 255),
    st.integers(0, 255),
    st.sampled_from(ODD),
)

reached: Counter[str] = Counter()


@given(steps=st.lists(STEP, min_size=20, max_size=80))
@settings(max_examples=120)
def test_histories(steps: list[tuple[Operation, str, int, int, dict[str, Any]]]) -> None:
    history = History()
    for operation, *values in steps:
        operation(history, *values)  # type: ignore[arg-type]
    history.block("", 3, 0, {})
    chain = replay(history.network.raw, history.network.blocks)
    assert chain.tip == history.network.chain.tip
    for key, record in history.network.dump().items():
        assert chain.store.get(key) == encode(record)
    reached.update(history.outcomes)
