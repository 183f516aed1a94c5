"""Random histories: invariants hold, refusals change nothing, replicas agree."""

from contextlib import suppress
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ledger.chain import Chain
from ledger.codec import encode
from ledger.errors import Refusal
from ledger.invariants import find_violations
from ledger.messages.contact import Version
from ledger.replay import execute_block
from ledger.state import POOL, QUEUE
from ledger.steps import run
from ledger.store import MemoryStore
from tests.factory import (
    EPOCH_MS,
    Network,
    attestor_roles,
    make_contact,
    make_genesis,
    places,
    public,
    replay,
    verify_cached,
)
from tests.ledger.effects import coins

WHO = st.sampled_from(("alice", "bob", "carol", "dave", "a stranger"))
NODE = st.sampled_from(("node 1", "node 2", "node 3"))
REQUIREMENT = 1_000
AMOUNT = st.one_of(
    st.integers(0, REQUIREMENT + 1),
    st.sampled_from((0, 1, 83, 84, 250, 375, 750, REQUIREMENT, 10**6, 2**63 - 1)),
)
ODD: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.just({}),
    st.just({}),
    st.builds(dict, nonce=st.integers(0, 5)),
    st.builds(dict, fee=st.sampled_from((0, 999, 1_001, 10**9, 2**63 - 1))),
    st.builds(dict, expiry=st.sampled_from((0, 1, 5, 10_000))),
)
"""What may be wrong with an envelope; mostly nothing."""


class Histories(RuleBasedStateMachine):
    """Anything that people may send, in any order, in blocks of any size."""

    def __init__(self) -> None:
        super().__init__()
        accounts = make_genesis().accounts
        few = tuple(a for a in accounts if a.account in map(public, ("alice", "bob", "carol")))
        small = [type(a)(a.account, 10**6) for a in few]
        params = {
            "staking_requirement": REQUIREMENT,
            "max_contributors": 4,
            "activation_floor": 1,
            "max_block_transactions": 8,
        }
        self.network = Network(make_genesis(params, accounts=tuple(small)))
        self.network.attesting = False
        self.follower = replay(self.network.raw, [])
        self.pending: list[bytes] = []
        self.coins = coins(self.network.dump())
        self.sequence = 0

    # ------------------------------------------------------------------ transactions

    @rule(who=WHO, to=WHO, amount=AMOUNT, odd=ODD)
    def transfer(self, who: str, to: str, amount: int, odd: dict[str, Any]) -> None:
        self.pending.append(self.network.transfer(who, to, amount, **odd))

    @rule(
        node=NODE,
        who=WHO,
        stake=AMOUNT,
        reserved=st.lists(st.tuples(WHO, AMOUNT), max_size=3),
        life=st.sampled_from((1, 1, 1, 2)),
        roles=st.booleans(),
        odd=ODD,
    )
    def register(
        self,
        node: str,
        who: str,
        stake: int,
        reserved: list[tuple[str, int]],
        life: int,
        roles: bool,
        odd: dict[str, Any],
    ) -> None:
        kept = places(*reserved)
        changes: dict[str, Any] = attestor_roles(node) if roles else {}
        raw = self.network.register(
            node, who, stake, envelope=odd, life=life, reserved=kept, **changes
        )
        self.pending.append(raw)

    @rule(node=NODE, who=WHO, amount=AMOUNT, odd=ODD)
    def contribute(self, node: str, who: str, amount: int, odd: dict[str, Any]) -> None:
        self.pending.append(self.network.contribute(who, amount, node, envelope=odd))

    @rule(node=NODE, who=WHO)
    def withdraw(self, node: str, who: str) -> None:
        self.pending.append(self.network.withdraw(who, node))

    @rule(node=NODE, fresh=st.booleans(), major=st.integers(0, 3))
    def update_contact(self, node: str, fresh: bool, major: int) -> None:
        self.sequence += fresh
        contact = make_contact(major, storage_version=Version(major, 0, 0))
        raw = self.network.update_contact(node, self.sequence, contact=contact)
        self.pending.append(raw)

    @rule(index=st.integers(0, 3), spoil=st.booleans())
    def attest(self, index: int, spoil: bool) -> None:
        changes: dict[str, Any] = {"reveal": bytes(32)} if spoil else {}
        self.pending.append(self.network.attest(index, **changes))

    @rule(raw=st.binary(max_size=60))
    def garbage(self, raw: bytes) -> None:
        self.pending.append(raw)

    @rule(at=st.integers(0, 10_000), bit=st.integers(0, 7))
    def spoil(self, at: int, bit: int) -> None:
        if self.pending and self.pending[-1]:
            raw = bytearray(self.pending[-1])
            raw[at % len(raw)] ^= 1 << bit
            self.pending.append(bytes(raw))

    # ------------------------------------------------------------------------ blocks

    @rule(ms=st.sampled_from((1, 100, 100, EPOCH_MS // 2, EPOCH_MS, 10 * EPOCH_MS)))
    def block(self, ms: int) -> None:
        """A block of everything that is pending, good or bad."""
        network = self.network
        before = network.chain.tip.root
        network._sent.clear()
        block = network.input(*self.pending, ms=ms)
        executed = run(network.chain.finalize(block), verify_cached)
        empty = [
            b"" if code else raw for raw, code in zip(self.pending, executed.codes, strict=True)
        ]
        bare = run(network.chain.finalize(network.input(*empty, ms=ms)), verify_cached)
        assert bare.root == executed.root, "a refused transaction changed something"
        assert run(network.chain.finalize(block), verify_cached) == executed
        network.blocks.append(network.chain.commit())
        if not any(code == 0 for code in executed.codes) and ms == 1:
            # the first block of an epoch stores its header
            assert executed.root == before or network.chain.newest_header().signatures == ()
        self.pending = []

    @rule(ms=st.sampled_from((100, EPOCH_MS)))
    def proposal(self, ms: int) -> None:
        """A proposal of what is good of it; everybody votes for it, and nothing is refused."""
        network = self.network
        candidates = []
        for raw in self.pending:
            with suppress(Refusal):
                tx = network.chain.decode(raw)
                if all(verify_cached(network.chain.signatures(tx))):
                    candidates.append(tx)
        tip = network.chain.tip
        steps = network.chain.propose(tip.height + 1, tip.time_ms + ms, b"", candidates)
        block = run(steps, verify_cached)
        replay_here = Chain(network.store, network.raw)
        run(replay_here.validate(block), verify_cached)
        executed = run(network.chain.finalize(block), verify_cached)
        assert not any(executed.codes)
        network.blocks.append(network.chain.commit())
        network._sent.clear()
        self.pending = []

    @rule()
    def reopen(self) -> None:
        tip, header = self.network.chain.tip, self.network.chain.newest_header()
        chain = self.network.reopen()
        assert (chain.tip, chain.newest_header()) == (tip, header)

    # -------------------------------------------------------------------- invariants

    @invariant()
    def everything_that_must_hold_holds(self) -> None:
        assert find_violations(self.network.state) == []
        assert coins(self.network.dump()) == self.coins == self.network.state.one(POOL).supply
        assert len(list(self.network.state.items(QUEUE))) <= 3

    @invariant()
    def a_follower_agrees(self) -> None:
        for block in self.network.blocks[self.follower.tip.height :]:
            execute_block(self.follower, block)
        assert self.follower.tip == self.network.chain.tip

    def teardown(self) -> None:
        chain = replay(self.network.raw, self.network.blocks, MemoryStore())
        assert chain.tip == self.network.chain.tip
        for key, record in self.network.dump().items():
            assert chain.store.get(key) == encode(record)


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=40)
