"""An audit: a replay that believes the producer, the validators and the attestors nothing.

- Of each block: who made it and sealed it, its limits, every transaction in it with everything that
  has to be signed for it, and the invariants after it.
- Of each header: its place in the history of headers, the block that it names, who has to attest
  it, and each signature.

What signs nothing in a block cannot be checked: validators agree on blocks under `comet`, and their
signatures are kept by CometBFT. There the blocks stand up to the newest header that is final.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from ledger import crypto
from ledger.crypto import TAG_BYTES, Signed
from ledger.errors import CorruptStore
from ledger.history import final_key
from ledger.inheritance import Inheritance
from ledger.invariants import INVARIANTS, find_violations
from ledger.merkle import History, leaf_hash
from ledger.messages.blocks import Block
from ledger.messages.evidence import MISBEHAVIOUR
from ledger.messages.genesis import SOLO
from ledger.messages.lists import (
    Attestor,
    ListHeader,
    SignedHeader,
    attestation,
    attestor_set_hash,
    decode_header,
    decode_signed_header,
    is_final,
    weigh,
)
from ledger.messages.tables import EPOCH, SETS
from ledger.nodes import consensus_address
from ledger.replay import check_inputs, check_link, check_outcome, check_sealed
from ledger.steps import run
from ledger.transactions import TX_KINDS
from ledger.types import Hash, Height, TimeMs
from ledger.validators import get_validators
from registry.cli.histories import Finding, Source
from registry.cli.replay import Replay

VALIDATORS_DELAY: Final = 2
"""So many blocks later than the block that changes the validators, CometBFT goes by them."""


class End(NamedTuple):
    """The block that ended an epoch."""

    height: Height
    time_ms: TimeMs
    root: Hash


class Audit(Replay):
    """A replay that believes nothing."""

    def __init__(
        self, genesis: bytes, inheritance: Inheritance | None = None, every: int = 1
    ) -> None:
        """Check the invariants at the start, after each `every`-th block, and at the end."""
        super().__init__(genesis, inheritance)
        self._every = every
        self.counts |= {
            "seals": 0,
            "misbehaviour": 0,
            "signatures": 0,
            "headers": 0,
            "final_headers": 0,
            "attested_height": None,
            "attestations": 0,
            "invariant_checks": 0,
        }
        self._kinds: Counter[str] = Counter()
        self._signed: Counter[str] = Counter()
        self._history = History()
        """Of the headers that were checked so far."""
        self._ends = deque([self._end()])
        """How the epochs ended whose headers are still to be checked."""
        addresses = self._addresses()
        self._proposers = deque([addresses] * VALIDATORS_DELAY)
        """Who may propose the next blocks, first the very next one."""

    @property
    def facts(self) -> dict[str, Any]:
        """As `Replay.facts`, with what was checked of which kind and how often."""
        checks = self.counts["invariant_checks"]
        return super().facts | {
            "transactions_by_kind": {
                kind.name: self._kinds[kind.name] for kind in TX_KINDS if self._kinds[kind.name]
            },
            "signatures_by_tag": dict(sorted(self._signed.items())),
            "checks_by_invariant": {check.__name__: checks for check in INVARIANTS},
        }

    def run(self, source: Source, watch: Callable[[Iterator[bytes]], Iterator[bytes]]) -> None:
        """As `Replay.run`, from the first state on; the newest header is checked too, as far as it
        is signed.
        """
        self._check_invariants()
        super().run(source, watch)
        members = self.chain.view().state.one(SETS).current
        self._check_header(self.chain.newest_header(), members)

    # ----------------------------------------------------------------------------- blocks

    def _execute(self, block: Block, *, is_last: bool) -> None:
        chain, header = self.chain, block.header
        self._check_origin(block)
        members = chain.view().state.one(SETS).current
        run(chain.validate(block.input), self._verify)
        executed = run(chain.finalize(block.input), self._verify)
        check_outcome(chain, block)
        self._kinds.update(chain.decode(raw).kind.name for raw in block.transactions)
        chain.commit(block.seal)
        self._proposers.append(self._addresses())
        if executed.ended_epoch:
            self._ends.append(self._end())
            self._check_frozen(members)
        if is_last or header.height % self._every == 0:
            self._check_invariants()

    def _check_origin(self, block: Block) -> None:
        """Check who made a block, as far as its journal says it."""
        proposers = self._proposers.popleft()
        self.counts["misbehaviour"] += len(block.misbehaviour)
        if self.chain.genesis.engine == SOLO:
            check_sealed(self.chain, block)
            self.counts["seals"] += 1
            return
        check_link(self.chain, block)
        check_inputs(block)
        height = block.header.height
        if block.seal:
            raise Finding(height, "it has a seal, and validators make none", "block_seal")
        if block.header.proposer not in proposers:
            proposer = block.header.proposer.hex() or "nobody"
            raise Finding(height, f"{proposer} proposed it and was no validator", "proposer")
        for piece in map(MISBEHAVIOUR.decode, block.misbehaviour):
            if piece.height >= height:
                why = f"it holds evidence of height {piece.height}, which was still to come"
                raise Finding(height, why, "misbehaviour")

    def _addresses(self) -> list[bytes]:
        """Return the addresses of the validators that the newest block leaves."""
        return list(map(consensus_address, get_validators(self.chain.view().state)))

    def _verify(self, items: list[Signed]) -> Sequence[bool]:
        self.counts["signatures"] += len(items)
        self._signed.update(item.message[:TAG_BYTES].rstrip(b"\0").decode() for item in items)
        return crypto.verify_all(items)

    def _check_invariants(self) -> None:
        violations = find_violations(self.chain.view().state)
        self.counts["invariant_checks"] += 1
        if violations:
            raise Finding(self.chain.tip.height, "; ".join(violations), "invariant")

    # ---------------------------------------------------------------------------- headers

    def _end(self) -> End:
        tip = self.chain.tip
        return End(tip.height, tip.time_ms, tip.root)

    def _check_frozen(self, members: tuple[Attestor, ...]) -> None:
        """Check the header that the epoch which just ended has attested."""
        epoch = self.chain.view().state.one(EPOCH).epoch - 2
        raw = self._store.get(final_key(epoch))
        if raw is None:
            raise CorruptStore("of this chain", f"the header of epoch {epoch} was not frozen")
        self._check_header(decode_signed_header(raw), members)

    def _check_header(self, signed: SignedHeader, members: tuple[Attestor, ...]) -> None:
        """Check a header; they come by epoch, from that of epoch 0 on."""
        header, height = decode_header(signed.header), self.chain.tip.height
        self._check_place(header)
        if header.set_hash != attestor_set_hash(members):
            why = f"header {header.epoch} names other attestors than the state"
            raise Finding(height, why, "header")
        for index, signature in signed.signatures:
            key = members[index].list_key
            item = attestation(self.chain.genesis_hash, signed.header, key, signature)
            if not crypto.verify(item):
                why = f"attestor {index} did not sign header {header.epoch}"
                raise Finding(height, why, "attestation")
        self._history = self._history.append(leaf_hash(signed.header))
        self.counts["headers"] += 1
        self.counts["attestations"] += len(signed.signatures)
        if is_final(*weigh(signed, members)):
            self.counts["final_headers"] += 1
            self.counts["attested_height"] = header.height

    def _check_place(self, header: ListHeader) -> None:
        """Check that a header follows all earlier ones, and names the block that ended it."""
        end = self._ends.popleft()
        if header.epoch != self._history.size or header.history_root != self._history.root():
            why = f"header {header.epoch} does not extend the {self._history.size} before it"
            raise Finding(self.chain.tip.height, why, "header")
        if End(header.height, header.valid_after_ms, header.state_root) != end:
            why = f"header {header.epoch} names another block than {end.height}, which ended it"
            raise Finding(self.chain.tip.height, why, "header")
