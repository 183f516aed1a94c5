"""An engine in memory: random legal orders of calls, and deaths, against a plain replica.

The order of calls is the grammar of ABCI++ as CometBFT states it, in the words of the Chain:

    start        = clean-start | recovery
    clean-start  = (info init | state-sync) heights
    state-sync   = *bad-offer offer info
    recovery     = info [init] *(finalize commit) heights
    heights      = *height
    height       = *round finalize commit
    round        = propose [validate] | [validate]

Checks, views, proofs and snapshots come anywhere in between, also where work pauses. A process may
die at every named point, at every pause, and with a write that failed; the next one starts from
what survived. After each height the replica has to be where the reference is, which executes each
decided block once and remembers nothing between two. What both could do wrong in the same way is
held against rules of its own, in `driver_watch.py`.
"""

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import suppress
from random import Random
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from ledger.chain import CRASH_POINTS, Chain
from ledger.crypto import sha256
from ledger.errors import Refusal
from ledger.history import Tip, iterate_chunks, make_manifest, restore
from ledger.invariants import find_violations
from ledger.merkle import sparse_verify
from ledger.messages.blocks import BlockInput
from ledger.messages.lists import decode_header
from ledger.messages.tables import CHAINLINKS, EPOCH, NODES, SETS
from ledger.state import STATE_START, STATE_STOP
from ledger.steps import run
from ledger.store import Crashed, CrashStore, MemoryStore
from ledger.types import ZERO_HASH
from tests.factory import public, verify_cached
from tests.ledger.driver_acts import Mood, choose_acts, make_misbehaviour
from tests.ledger.driver_network import (
    PEOPLE,
    SMALL,
    TOWN,
    make_attest,
    make_paid,
    make_update,
)
from tests.ledger.driver_watch import Watch

T = TypeVar("T")

POINTS: Final = (*CRASH_POINTS, "store.before_write", "store.after_write")
TOWNS: Final = 0.12
"""Part of the sequences that are in the town."""

# -------------------------------------------------------------------------------- sequence


class Sequence:
    """One sequence of calls, wholly decided by its seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.network = TOWN if self.random.random() < TOWNS else SMALL
        self.mood = Mood(self.random)
        self.calls: list[str] = []
        self.counts: Counter[str] = Counter()
        self.watch = Watch(self.counts)
        self.reference = Chain(MemoryStore(self.network.first), self.network.genesis)
        self.decided: list[BlockInput] = []
        self.codes: dict[BlockInput, tuple[int, ...]] = {}
        self.tips: list[Tip] = [self.reference.tip]
        self.headers = [self.reference.newest_header()]
        self.votes: dict[BlockInput, str] = {}
        self.acts: list[bytes] = []
        """What nodes, testers and attestors do after the height `acts_height`."""
        self.acts_height = -1
        self.verified: set[bytes] = set()
        self.store = CrashStore()
        self.acknowledged = -1
        """Height that the engine knows to be committed; −1 before init returned."""
        self.is_synced = False
        """Whether a snapshot was just taken, which may be of any epoch's end."""
        self.began = 0
        """Height of the snapshot with which the store began; 0 if it began with genesis."""
        self.has_history = True
        """Whether the store came from no snapshot, so that it holds every block."""
        self.dies_at_pause = 0
        self.chain = self.reference
        """The replica, once a process runs."""

    def play(self) -> None:
        """Live and die until some heights are done, and compare what is left."""
        heights = self.random.choice(self.network.heights)
        lives = 0
        while True:
            lives += 1
            self.call("start" if lives == 1 else "restart")
            try:
                self.live(heights, may_die=lives < 4)
                break
            except Crashed as death:
                self.call(f"death at {death}")
                self.store = self.store.survivor()
            except OSError:
                self.call("death by a failed write")
                self.store = self.store.survivor()
        self.finish()

    def live(self, heights: int, may_die: bool) -> None:
        """One process: open, recover or begin, then consensus."""
        self.prepare_death(may_die)
        self.chain = Chain(self.store, self.network.genesis, self.store.at)
        self.info()
        if not self.chain.is_initialised:
            self.begin()
        self.recover()
        while len(self.decided) < heights:
            self.height()

    def prepare_death(self, may_die: bool) -> None:
        """Choose how this process will die, if it does."""
        self.dies_at_pause = 0  # counted down at each pause; from 0 on it never comes there
        if not may_die:
            return
        fate = self.random.random()
        if fate < 0.45:
            self.store.arm(self.random.choice(POINTS), self.random.randint(1, 3))
        elif fate < 0.55:
            self.dies_at_pause = self.random.randint(1, 12)
        elif fate < 0.65:
            self.store.fail_next_write(self.random.random() < 0.5)

    def call(self, text: str) -> None:
        """Write down what happens."""
        self.calls.append(text)
        self.counts[text.split(" #")[0]] += 1

    # ------------------------------------------------------------------------- start

    def info(self) -> None:
        """What was acknowledged is there, and at most one height more, if its block is decided."""
        height = self.chain.tip.height if self.chain.is_initialised else -1
        self.call(f"info #{height}")
        assert self.acknowledged <= height <= max(self.acknowledged + 1, 0) or self.is_synced
        assert height <= len(self.decided)
        if height >= 0:
            self.check_tip(self.chain.tip, height)
        self.acknowledged = height
        self.is_synced = False

    def check_tip(self, tip: Tip, height: int) -> None:
        """A tip is the reference's; but for its hash where a snapshot did not hold the block."""
        expected = self.tips[height]
        if height and height == self.began:
            expected = replace(expected, block_hash=ZERO_HASH)
        elif self.began and self.network is SMALL:
            # a producer's blocks bear the hash of the one before, and it was not there
            expected = replace(expected, block_hash=tip.block_hash)
        assert tip == expected

    def begin(self) -> None:
        """Begin with genesis, or with a snapshot of where the others are."""
        self.began = 0
        if self.random.random() < 0.8:
            self.call("init")
            self.chain.init()
            if self.random.random() < 0.1:
                self.chain.init()
        else:
            self.state_sync()
        self.acknowledged = self.chain.tip.height

    def state_sync(self) -> None:
        """Take a snapshot, perhaps after some that are refused."""
        while (
            len(self.decided) < self.random.randint(1, 3)
            or self.reference.view().ended_epoch is None
        ):
            self.decide(self.make_block(self.reference))
        reader = self.reference.view().reader
        manifest, chunks = make_manifest(reader), list(iterate_chunks(reader))
        root, tampered = self.reference.tip.root, [chunks[0][:-1], *chunks[1:]]
        while self.random.random() < 0.4:
            self.call("bad offer")
            with suppress(Refusal):
                restore(self.store, self.network.hash, manifest, tampered, root)
                raise AssertionError("a snapshot that was tampered with was taken")
        self.call("offer")
        self.is_synced = True
        self.has_history = False
        self.began = manifest.height
        restore(self.store, self.network.hash, manifest, chunks, root)
        self.chain = Chain(self.store, self.network.genesis, self.store.at)
        self.info()

    def recover(self) -> None:
        """Replay the blocks that were decided before and meanwhile."""
        while self.chain.tip.height and self.random.random() < 0.15:
            self.call("decided elsewhere")
            self.decide(self.make_block(self.reference))
        for block in self.decided[self.chain.tip.height :]:
            self.call(f"replay #{block.height}")
            self.finalize_and_commit(block)

    # --------------------------------------------------------------------- consensus

    def height(self) -> None:
        """Rounds, a decision, finalize, commit."""
        seen: list[BlockInput] = []
        for _ in range(self.random.choice((0, 1, 1, 1, 2, 3))):
            self.anywhere()
            if self.random.random() < 0.4:
                seen.append(self.propose())
                if self.random.random() < 0.3:
                    self.validate(seen[-1])
            else:
                seen.append(self.make_block(self.chain))
                if self.random.random() < 0.9:
                    self.validate(seen[-1])
        good = [block for block in seen if self.votes.get(block, "good") == "good"]
        if good and self.random.random() < 0.8:
            decided = self.random.choice(good)
        else:
            self.call("decided unseen")
            decided = self.make_block(self.chain)
        self.decide(decided)
        self.anywhere()
        self.finalize_and_commit(decided)

    def decide(self, block: BlockInput) -> None:
        """The others have decided: the reference executes the block."""
        # what it decoded for the block before is read from the store again
        self.reference._recent.clear()
        before = self.reference.view()
        executed = run(self.reference.finalize(block), verify_cached)
        self.reference.commit()
        self.decided.append(block)
        self.codes[block] = executed.codes
        self.tips.append(self.reference.tip)
        self.headers.append(self.reference.newest_header())
        self.watch.look(before, self.reference.view(), executed)
        limit = before.state.params().max_block_transactions
        is_good = not any(executed.codes) and len(executed.codes) <= limit
        assert self.votes.get(block, "good" if is_good else "bad") == ("good" if is_good else "bad")

    def propose(self) -> BlockInput:
        """This replica proposes what it would take from its pool."""
        tip = self.chain.tip
        candidates = []
        for raw in self.choose(self.chain):
            with suppress(Refusal):
                tx = self.chain.decode(raw)
                if all(verify_cached(self.chain.signatures(tx))):
                    candidates.append(tx)
        self.call(f"propose #{tip.height + 1}")
        height, time_ms = tip.height + 1, tip.time_ms + self.random.choice(self.network.steps_ms)
        pieces = make_misbehaviour(self.random, self.chain)
        block = self.drive(self.chain.propose(height, time_ms, b"here", candidates, pieces))
        assert self.votes.setdefault(block, "good") == "good"
        return block

    def validate(self, block: BlockInput) -> None:
        """This replica votes; a block has to be voted on in one way always."""
        self.call(f"validate #{block.height}")
        try:
            self.drive(self.chain.validate(block, self.verified))
            vote = "good"
        except Refusal as refusal:
            self.call(f"refuse {refusal.code}")
            vote = "bad"
        assert self.votes.setdefault(block, vote) == vote

    def finalize_and_commit(self, block: BlockInput) -> None:
        """Execute a decided block, make it last, and compare with the reference."""
        height = block.height
        executed = self.drive(self.chain.finalize(block, self.verified))
        if self.random.random() < 0.1:
            self.call("finalize again")
            assert self.drive(self.chain.finalize(block, self.verified)) == executed
        assert executed.codes == self.codes[block]
        assert executed.root == self.tips[height].root
        if self.random.random() < 0.7:
            self.call("commit")
            self.chain.commit()
        else:
            self.call("commit in parts")
            made, batch = self.chain.begin_commit()
            self.anywhere()
            self.store.write(batch)
            self.anywhere()
            self.chain.end_commit(made)
        self.acknowledged = height
        self.check_tip(self.chain.tip, height)
        assert self.chain.newest_header() == self.headers[height]

    def drive(self, steps: Generator[Any, Any, T]) -> T:
        """Run pausable work to its end; something may happen at each pause, death too."""
        answer = None
        while True:
            try:
                asked = steps.send(answer)
            except StopIteration as stop:
                result: T = stop.value
                return result
            self.dies_at_pause -= 1
            if self.dies_at_pause == 0:
                raise Crashed("a pause")
            if self.random.random() < 0.1:
                self.anywhere()
            answer = None if asked is None else verify_cached(asked)

    # -------------------------------------------------------------- blocks of others

    def make_block(self, chain: Chain) -> BlockInput:
        """A block of the others, sometimes with bad transactions in it."""
        tip = chain.tip
        time_ms = tip.time_ms + self.random.choice(self.network.steps_ms)
        raws = self.choose(chain)
        if self.random.random() < 0.7:
            raws = self.good_of(chain, raws)
        pieces = make_misbehaviour(self.random, chain)
        proposer = self.random.choice((b"", b"there"))
        return BlockInput(tip.height + 1, time_ms, proposer, pieces, tuple(raws))

    def good_of(self, chain: Chain, raws: list[bytes]) -> list[bytes]:
        """Those that fit together by kind and nonce: most of the others' blocks are good."""
        state, nonces, good = chain.view().state, dict[bytes, int](), []
        for raw in raws:
            with suppress(Refusal):
                tx = chain.decode(raw)
                is_likely_bad = tx.kind.name in ("contribute", "withdraw", "update_contact")
                if is_likely_bad and raw not in self.acts:
                    continue
                nonce = nonces.get(tx.sender, state.account(tx.sender).nonce)
                if tx.kind.is_free or tx.nonce == nonce:
                    nonces[tx.sender] = nonce + 1
                    good.append(raw)
        return good[: state.params().max_block_transactions]

    def choose(self, chain: Chain) -> list[bytes]:
        """Transactions that somebody might send now."""
        state, raws, network = chain.view().state, self.choose_acts(chain), self.network.hash
        for who in self.random.sample(PEOPLE, self.random.randint(0, 3)):
            nonce = state.account(public(who)).nonce
            for step in range(self.random.choice((1, 1, 2))):
                skip = self.random.choice((0, 0, 0, 0, 0, 1))
                variant = self.random.choice((0, 0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 18))
                raws.append(make_paid(network, who, nonce + step + skip, variant))
        if self.random.random() < 0.4:
            node = f"node of {self.random.choice(PEOPLE)}"
            raws.append(make_update(network, node, self.random.randint(1, 4)))
        if self.random.random() < 0.6:
            raws += self.attestations(chain)
        if self.random.random() < 0.05:
            raws.append(self.random.randbytes(self.random.randint(0, 40)))
        if raws and self.random.random() < 0.05:
            raws.append(self.random.choice(raws))
        return raws

    def choose_acts(self, chain: Chain) -> list[bytes]:
        """Some of what is done at this height, which is made once for all who look at it."""
        if self.acts_height != chain.tip.height:
            self.acts_height = chain.tip.height
            self.acts = choose_acts(self.random, chain, self.mood, self.network.activity)
        return [raw for raw in self.acts if self.random.random() < 0.8]

    def attestations(self, chain: Chain) -> list[bytes]:
        """Attestations of the newest header by some seats."""
        state, header = chain.view().state, chain.newest_header().header
        raws = []
        for index, seat in enumerate(state.one(SETS).current):
            if self.random.random() < self.mood.attests:
                accepted = state.one(CHAINLINKS, seat.list_key).accepted
                raws.append(make_attest(self.network.hash, header, index, seat.list_key, accepted))
        return raws

    # -------------------------------------------------------------------- in between

    def anywhere(self) -> None:
        """A call that may come at any time: it changes nothing and sees the committed height."""
        if self.random.random() < 0.6:
            return
        self.random.choice(ANYWHERE)(self)
        self.check_tip(self.chain.tip, self.acknowledged)

    def check(self) -> None:
        """Transactions come into the pool."""
        for raw in self.choose(self.chain)[:3]:
            with suppress(Refusal):
                tx = self.chain.decode(raw)
                if all(verify_cached(self.chain.signatures(tx))):
                    self.verified.add(tx.hash)
                    (self.chain.peek if tx.kind.is_free else self.chain.check)(tx)

    def query(self) -> None:
        """A record of a height that is kept is proven against its root."""
        height = self.random.randint(0, self.acknowledged)
        view = self.chain.view_at(height)
        if view is None:
            return
        self.check_tip(view.tip, height)
        assert view.newest_header() == self.headers[height]
        key = b"a" + public(self.random.choice((*PEOPLE, "nobody")))
        raw, proof = view.prove(key)
        assert sparse_verify(self.tips[height].root, key, raw, proof)
        list(view.state.items(NODES))

    def read_list(self) -> None:
        """The newest list is that of the newest header."""
        header = decode_header(self.chain.newest_header().header)
        assert header.list_hash == sha256(self.chain.newest_list().columns)
        assert header.epoch == self.chain.view().state.one(EPOCH).epoch - 1

    def take_snapshot(self) -> None:
        """A snapshot is offered to others, and none is taken by a store that is in use."""
        reader = self.chain.view().reader
        if self.acknowledged == 0 or self.chain.view().ended_epoch is None:
            return
        manifest = make_manifest(reader)
        assert [sha256(chunk) for chunk in iterate_chunks(reader)] == list(manifest.chunks)

    def wrong_place(self) -> None:
        """A block that does not follow is refused, and leaves what is ready as it was."""
        tip = self.chain.tip
        for height, ms in ((tip.height, 1), (tip.height + 2, 1), (tip.height + 1, 0)):
            block = BlockInput(height, tip.time_ms + ms, b"", (), ())
            with suppress(Refusal):
                run(self.chain.finalize(block))
                raise AssertionError("a block in the wrong place was executed")

    # ------------------------------------------------------------------------- end

    def finish(self) -> None:
        """The store holds what the reference holds, and opens to the same tip."""
        survivor = self.store.survivor()
        span = (b"", None) if self.has_history else (STATE_START, STATE_STOP)
        assert dict(survivor.items(*span)) == dict(self.reference.store.items(*span))
        assert find_violations(self.reference.view().state) == []
        chain = Chain(survivor, self.network.genesis)
        assert self.reference.tip == self.tips[-1]
        self.check_tip(chain.tip, self.reference.tip.height)
        assert chain.newest_list() == self.reference.newest_list()


ANYWHERE: Final[tuple[Callable[[Sequence], None], ...]] = (
    Sequence.check,
    Sequence.check,
    Sequence.query,
    Sequence.read_list,
    Sequence.take_snapshot,
    Sequence.wrong_place,
)


def play(seed: int) -> Counter[str]:
    """Play the sequence of a seed; a failure says how to repeat it."""
    sequence = Sequence(seed)
    try:
        sequence.play()
    except BaseException as error:
        last = ", ".join(sequence.calls[-25:])
        text = f"WAYPOST_DRIVER_SEED={seed} repeats this; it ended with: {last}"
        raise AssertionError(text) from error
    return sequence.counts
