"""The simulated world: the chain, what is known of it, and what is on its way to the next block."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from ledger.chain import Chain
from ledger.codec import Record, encode
from ledger.crypto import signing_bytes
from ledger.history import iterate_chunks, make_manifest, restore
from ledger.messages import tags
from ledger.messages.state import ON_DUTY, Node
from ledger.messages.tables import (
    ACCOUNTS,
    CHAINLINKS,
    EPOCH,
    HISTORIES,
    NODES,
    PARAMS,
    POOL,
    ROSTERS,
    SETS,
)
from ledger.messages.transactions import VERSION, Envelope, Paid
from ledger.params import Params
from ledger.rules.quorums import Members, unpack_members
from ledger.state import State, epoch_key
from ledger.store import CrashStore
from ledger.types import Amount, Epoch, Hash, Key, TimeMs
from tests.factory import TAG, free, public
from tests.simulation.mirror import Mirror
from tests.simulation.people import Machine, links, make_genesis, make_machines
from tests.simulation.plan import COLLUDING, Plan
from tests.simulation.stand_in import sign
from tests.simulation.tally import Tally

EXPIRES_AFTER: Final = 100
"""Blocks for which a transaction may wait."""


class Draft(NamedTuple):
    """A transaction that may be sent."""

    raw: bytes
    kind: str
    sender: Key
    """Who pays; empty for a free kind."""


class Sent(NamedTuple):
    """A transaction of the next block."""

    raw: bytes
    kind: str
    code: str
    """Code with which it has to be refused; empty if it has to be applied."""


@dataclass
class Equivocation:
    """Something that a key signed both ways, from the deed to the penalty."""

    offence: str
    machine: Machine
    key: bytes
    """The key; of a validator its address."""
    epoch: Epoch
    due: Epoch
    """Epoch in which a watcher reports it."""
    evidence: bytes
    outcome: str = ""
    """What its report, which is on its way, has to bring: `paid`, or `covered` if a heavier penalty
    of that node took it all."""
    cost: Amount = 0
    """What it has to cost then."""
    taken_before: Amount = 0
    """What penalties had taken of the node's stake by then."""


class Late(NamedTuple):
    """A verdict that is sent in the epoch after its own."""

    epoch: Epoch
    machine: Machine
    votes: tuple[tuple[int, Key, int], ...]
    reason: str


class World:
    """Everything that a run goes on from; pickled, it is a checkpoint."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = Random(f"world {plan.seed}")
        self.deaths = Random(f"deaths {plan.seed}")
        """Decides on crashes and nothing else: without them the rest is the same."""
        self.machines = make_machines(plan)
        self.by_key = {machine.key: machine for machine in self.machines}
        """Also those whose key is tombstoned."""
        self.genesis = make_genesis(plan, self.machines)
        self.tally = Tally()
        for machine in self.machines:
            self.tally.group(machine.group).nodes += 1
        self.colluders = 0
        """So many of the colluding group do collude: those with the lowest numbers."""
        self.equivocations: list[Equivocation] = []
        """Those that were not punished yet."""
        self.caught: list[Equivocation] = []
        self.late: list[Late] = []
        self.chains: dict[Key, int] = {}
        """Hash chains begun by each list key, less one."""
        self.bare_seats = 0
        """List keys without a node made for seats."""
        self.last_order: dict[str, Epoch] = {}
        """Epoch of the last order of each kind that is to be rare."""
        self.forgotten = 0
        """Height up to which no blocks are held."""
        self.open(CrashStore())
        self.chain.init()
        self.mirror = Mirror(self.store)
        self.begin_block()

    # ------------------------------------------------------------- store and chain

    def open(self, store: CrashStore) -> None:
        """Go on with the chain that a store holds, as a process that starts does."""
        self.store = store
        self.chain = Chain(store, self.genesis, store.at)
        self.hash: Hash = self.chain.genesis_hash

    def forget_history(self) -> None:
        """Go on from a snapshot of an epoch's end, so that memory does not grow with time."""
        view = self.chain.view()
        reader, root = view.reader, view.tip.root
        store = CrashStore()
        restore(store, self.hash, make_manifest(reader), iterate_chunks(reader), root)
        self.forgotten = view.tip.height
        self.open(store)

    def __getstate__(self) -> dict[str, Any]:
        kept = dict(self.__dict__)
        for name in ("chain", "store", "mirror"):
            del kept[name]
        return kept | {"content": dict(self.store.items())}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        content = kept.pop("content")
        self.__dict__.update(kept)
        self.open(CrashStore(content))
        self.mirror = Mirror(self.store)
        self.begin_block()

    # ---------------------------------------------------------------- the next block

    def begin_block(self) -> None:
        """Look at where the chain is; nothing is on its way to the next block."""
        running = self.mirror.one(EPOCH)
        self.epoch: Epoch = running.epoch
        self.height = self.chain.tip.height + 1
        self.params: Params = Params(*self.mirror.one(PARAMS).values)
        self.time_ms: TimeMs = running.start_ms + self.params.epoch_ms
        self.roster = self.mirror.one(ROSTERS, epoch_key(self.epoch))
        self.members: Members = unpack_members(self.roster.members)
        self.sets = self.mirror.one(SETS)
        self.accumulator: Amount = self.mirror.one(POOL).accumulator
        rows = [(machine, self.node(machine)) for machine in self.machines]
        self.on_duty = [(m, node) for m, node in rows if node and node.state in ON_DUTY]
        """Nodes that are on duty in this epoch, with their records at its start."""
        self.outbox: list[Sent] = []
        self.misbehaviour: list[bytes] = []
        self.busy: dict[Key, None] = {}
        """Nodes that something on its way is about: one thing at a time."""
        self.sent: dict[Key, int] = {}
        """Good transactions on their way, by sender."""

    def send(self, draft: Draft, code: str = "") -> None:
        """Put a transaction into the next block; `code` says with what it has to be refused."""
        if draft.sender and not code:
            self.sent[draft.sender] = self.sent.get(draft.sender, 0) + 1
        self.outbox.append(Sent(draft.raw, draft.kind, code))

    # ------------------------------------------------------------------------ reading

    @property
    def state(self) -> State:
        """The committed state, for what the mirror cannot answer."""
        return self.chain.view().state

    def node(self, machine: Machine) -> Node | None:
        """Return the record of a node's current life."""
        return self.mirror.get(NODES, machine.key)

    def is_colluding(self, machine: Machine) -> bool:
        """Whether a node colludes now."""
        return machine.group == COLLUDING and machine.place < self.colluders

    def is_in(self, machine: Machine, *states: int) -> bool:
        """Whether a node has a life in one of these states, and nothing about it is on its way."""
        node = self.node(machine)
        return node is not None and node.state in states and machine.key not in self.busy

    def find(self, is_wanted: Callable[[Machine], bool]) -> Machine | None:
        """Return some node that is wanted, each with about the same chance."""
        count = len(self.machines)
        first = self.random.randrange(count)
        rows = (self.machines[(first + step) % count] for step in range(count))
        return next(filter(is_wanted, rows), None)

    def find_in(self, *states: int) -> Machine | None:
        """Return some node in one of these states."""
        return self.find(lambda machine: self.is_in(machine, *states))

    def next_sequence(self, machine: Machine) -> int:
        """Return the next sequence number of a node's contact data and keys."""
        return self.mirror.one(HISTORIES, machine.key).sequence + 1

    def next_link(self, list_key: Key) -> Hash:
        """Return the preimage of the last accepted value of a list key's hash chain."""
        link = self.mirror.one(CHAINLINKS, list_key)
        for generation in range(self.chains.get(list_key, 0), -1, -1):
            chain = self.get_links(list_key, generation)
            if chain[-1 - link.accepted] == link.value:
                return chain[-2 - link.accepted]
        raise AssertionError("an attestor's hash chain is not known")

    def get_links(self, list_key: Key, generation: int) -> tuple[Hash, ...]:
        """Return a hash chain that lasts for the whole run."""
        return links(list_key, generation, self.plan.epochs + 9)

    # ------------------------------------------------------------------------- making

    def sign(self, key: Key, tag: bytes, payload: bytes) -> bytes:
        """Return the stand-in for a signature by `key` under a tag."""
        return sign(key, signing_bytes(tag, self.hash, payload))

    def paid(self, kind: str, sender: str, body: Record, /, **changes: Any) -> Draft:
        """Return a transaction with the sender's next nonce; `changes` are of its envelope."""
        key = public(sender)
        account = self.mirror.get(ACCOUNTS, key)
        envelope: Envelope[Any] = Envelope(
            version=VERSION,
            kind=TAG[kind],
            sender=key,
            nonce=(account.nonce if account else 0) + self.sent.get(key, 0),
            fee=self.params.minimum_fee,
            expiry=self.height + EXPIRES_AFTER,
            body=body,
        )
        envelope = replace(envelope, **changes)
        signature = self.sign(key, tags.TRANSACTION, encode(envelope))
        return Draft(encode(Paid(envelope, signature)), kind, key)

    def free(self, kind: str, body: Record) -> Draft:
        """Return a transaction that nobody pays for."""
        return Draft(free(kind, body), kind, b"")
