"""Read-only answers, each from one committed height; nothing else outside the ledger reads state.

Answers are plain dicts in the shape that the API shows: amounts and swarm ids are decimal strings
(they pass 2^53), hashes are hex, accounts and nodes are addresses. None means "not there".
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

from ledger.chain import Chain
from ledger.codec import encode
from ledger.errors import CODE_OF_NUMBER, Refusal
from ledger.history import final_key, journal_key
from ledger.messages.blocks import block_hash
from ledger.messages.checkins import CheckIn
from ledger.messages.genesis import ENGINES, POLICIES
from ledger.messages.lists import (
    ListHeader,
    SignedHeader,
    decode_header,
    decode_signed_header,
    has_single_signer,
    is_final,
)
from ledger.messages.proofs import StateProof
from ledger.messages.state import DECOMMISSIONED, DEREGISTERED, NODE_STATES, AttestorSets
from ledger.messages.tables import (
    ABSENCES,
    ATTESTATIONS,
    BINDINGS,
    CHAINLINKS,
    DRAFT,
    EPOCH,
    NODES,
    POOL,
    SETS,
    TABLE_OF,
    VALIDATORS,
)
from ledger.types import Epoch, Hash, Height, Key
from ledger.views import View
from registry.addresses import encode_account, encode_node
from registry.announcements import get_rules
from registry.assignments import show_duties
from registry.census import Census
from registry.checkins import show_check_in
from registry.duties import USUAL_EPOCHS, Duties, show_duty, show_participation
from registry.fates import show_fate, show_transaction
from registry.formats.fingerprint import fingerprint_words
from registry.formats.trust import encode_path
from registry.ipc import Gone
from registry.node_history import show_history
from registry.pool import Pool
from registry.reports import check_report, get_report, list_reports
from registry.status import Places, describe, get_status, list_claimable, sum_claimable
from registry.swarm_feed import Swarms, show_swarm
from registry.trust import PathFinder
from registry.verdicts import Verdicts

Answer: TypeAlias = dict[str, Any] | list[Any] | None

MAX_PAGE: Final = 200
"""Nodes or blocks in one answer."""

MAX_BLOCKS_BYTES: Final = 2**23
"""Blocks in one answer, together; at least one is always given."""

MAX_PROOF_BYTES: Final = 2**23
"""A proof in one answer; only a roster of more than 131,000 nodes is longer."""


class Queries:
    """Answers by name, for the API. `QUERIES` lists them."""

    def __init__(
        self,
        chain: Chain,
        pool: Pool,
        census: Census,
        verdicts: Verdicts,
        check_ins: Mapping[Key, CheckIn] | None = None,
    ) -> None:
        """`check_ins` are the newest ones, by node, as they come; None where none are taken."""
        self._chain = chain
        self._pool = pool
        self._census = census
        self._verdicts = verdicts
        self._check_ins = {} if check_ins is None else check_ins
        self._duties = Duties()
        self._swarms = Swarms()
        self._paths = PathFinder(chain.genesis)
        self._searched: tuple[Epoch, SignedHeader | None] = (-1, None)
        """The newest final one of the frozen headers up to an epoch."""

    def answer(self, name: str, arguments: dict[str, Any], height: Height | None) -> dict[str, Any]:
        """Return `{"height": …, "result": …}` at `height`, or at the newest.

        Raises `Gone` for a height that is not kept any more.
        """
        view = self._view(height)
        return {"height": view.tip.height, "result": QUERIES[name](self, view, **arguments)}

    async def prepare(self, name: str, arguments: dict[str, Any], height: Height | None) -> Height:
        """Do in pieces what takes long of an answer; return the height to answer from."""
        view = self._view(height)
        if name == "node":
            await self._duties.prepare(view, USUAL_EPOCHS, assignments=True)
        elif name == "duties":
            await self._duties.prepare(view, 0, assignments=True)
            await self._swarms.prepare(view)
        elif name == "swarm":
            await self._swarms.prepare(view, arguments.get("since"))
        elif name == "participation":
            await self._duties.prepare(view, arguments["epochs"], assignments=False)
        return view.tip.height

    def _view(self, height: Height | None) -> View:
        view = self._chain.view() if height is None else self._chain.view_at(height)
        if view is None:
            raise Gone(f"height {height} is not kept any more")
        return view

    def _census_at(self, view: View) -> Census:
        """The census of a height; that of the newest one is kept, any other is counted."""
        if view is self._chain.view():
            return self._census
        census = Census()
        census.count(view.state)
        return census

    # ----------------------------------------------------------------------- network

    def network(self, view: View) -> Answer:
        """The network in one page."""
        state, tip, params = view.state, view.tip, view.state.params()
        epoch, pool = state.one(EPOCH), state.one(POOL)
        sets, census = state.one(SETS), self._census_at(view)
        down = census.count_of(DECOMMISSIONED) + census.count_of(DEREGISTERED)
        newest, latest = view.newest_header(), self.latest_final(view)
        return {
            "chain": self._chain.genesis.name.decode(),
            "genesis_hash": self._chain.genesis_hash.hex(),
            "engine": ENGINES[self._chain.genesis.engine],
            "height": tip.height,
            "time_ms": tip.time_ms,
            "epoch": epoch.epoch,
            "epoch_start_ms": epoch.start_ms,
            "epoch_ends_ms": epoch.start_ms + params.epoch_ms,
            "epoch_ms": params.epoch_ms,
            "block_ms": params.block_ms,
            "state_root": tip.root.hex(),
            "seed": epoch.seed.hex(),
            "nodes": census.by_state(),
            "swarms": decode_header(newest.header).swarm_count,
            "pool": str(pool.balance),
            "supply": str(pool.supply),
            "accrued": str(pool.accrued),
            "earning": pool.earning,
            **show_duty(view, self._duties, down),
            "attestors": len(sets.current),
            "single_signer": _is_single_signer(sets),
            "newest_header": _header_summary(view, newest),
            "latest_final": None if latest is None else _header_summary(view, latest),
            "fingerprint": None if latest is None else list(self._fingerprint(latest)),
            "minimum_fee": str(params.minimum_fee),
            "staking_requirement": str(params.staking_requirement),
            "max_contributors": params.max_contributors,
            "operator_share": params.operator_share,
        }

    def latest_final(self, view: View) -> SignedHeader | None:
        """The newest header that more than two thirds of the weight signed."""
        newest = view.newest_header()
        if is_final(*view.weigh(newest)):
            return newest
        last = decode_header(newest.header).epoch - 1
        if last > self._searched[0]:
            self._searched = (last, self._search(view, last))
        searched, found = self._searched
        return found if searched == last else self._search(view, last)

    def _search(self, view: View, last: Epoch) -> SignedHeader | None:
        """Return the newest final one of the frozen headers up to `last`, which never change."""
        for epoch in range(last, -1, -1):
            if epoch == self._searched[0]:
                return self._searched[1]
            raw = view.reader.get(final_key(epoch))
            if raw is None:
                return None
            signed = decode_signed_header(raw)
            if is_final(*view.weigh(signed)):
                return signed
        return None

    def _fingerprint(self, signed: SignedHeader) -> tuple[str, ...]:
        return _cached_words(self._chain.genesis_hash, signed.header)

    def epoch(self, view: View, epoch: Epoch) -> Answer:
        """One epoch's header with its signatures."""
        signed = self._signed_header(view, epoch)
        if signed is None:
            return None
        header = decode_header(signed.header)
        members = view.attestors(header.set_hash)
        fields = {
            name: value.hex() if isinstance(value, bytes) else value
            for name, value in header._asdict().items()
        }
        return {
            "epoch": epoch,
            "header": fields | {"hash": header.hash.hex()},
            "signatures": [
                {
                    "index": index,
                    "list_key": members[index].list_key.hex() if members else None,
                    "signature": signature.hex(),
                }
                for index, signature in signed.signatures
            ],
            "is_final": is_final(*view.weigh(signed)),
            "fingerprint": list(self._fingerprint(signed)),
        }

    def _signed_header(self, view: View, epoch: Epoch) -> SignedHeader | None:
        newest = view.newest_header()
        if decode_header(newest.header).epoch == epoch:
            return newest
        raw = view.reader.get(final_key(epoch))
        return None if raw is None else decode_signed_header(raw)

    def attestors(self, view: View) -> Answer:
        """Who signs the lists, and how reliably."""
        state = view.state
        sets = state.one(SETS)
        is_open = state.get(DRAFT) is None
        validators = state.get(VALIDATORS)
        agreeing = () if validators is None else validators.seats
        consensus = {row.list_key: row.consensus_key.hex() for row in agreeing}
        rows = []
        for index, seat in enumerate(sets.current):
            absence = state.get(ABSENCES, seat.list_key)
            binding = state.get(BINDINGS, seat.list_key)
            own = binding is None or binding.node == seat.list_key
            attested = is_open and state.get(ATTESTATIONS, bytes([index])) is not None
            rows.append(
                {
                    "index": index,
                    "list_key": seat.list_key.hex(),
                    "weight": seat.weight,
                    "node": None if own or binding is None else encode_node(binding.node),
                    "accepted": state.one(CHAINLINKS, seat.list_key).accepted,
                    "value": state.one(CHAINLINKS, seat.list_key).value.hex(),
                    "attested_newest": attested,
                    "consensus_key": consensus.get(seat.list_key),
                    "absences": 0 if absence is None else absence.count,
                }
            )
        return {
            "attestors": rows,
            "total_weight": sum(seat.weight for seat in sets.current),
            "policy": POLICIES[sets.policy],
            "single_signer": _is_single_signer(sets),
        }

    # ------------------------------------------------------------- nodes and accounts

    def node(self, view: View, key: Key) -> Answer:
        """Everything about one node."""
        node = view.state.get(NODES, key)
        if node is None:
            return None
        agent = show_check_in(self._check_ins.get(key))
        return get_status(view, key, node, self._duties) | agent

    def duties(self, view: View, key: Key) -> Answer:
        """What a node has to do in the running epoch."""
        return show_duties(view, self._duties, self._swarms, key)

    def swarm(self, view: View, key: Key, since: Epoch | None = None) -> Answer:
        """A node's swarm, and how it changed with each epoch after `since`."""
        return show_swarm(view, self._swarms, key, since)

    def nodes(self, view: View, after: Key, limit: int, state: str) -> Answer:
        """A page of nodes by ascending key, those behind `after`; `state` may name one state."""
        rows: list[Answer] = []
        last: Key | None = None
        places = Places(view.state)
        for key, node in view.state.items(NODES, after + b"\0" if after else b""):
            if state and NODE_STATES[node.state] != state:
                continue
            if len(rows) >= min(limit, MAX_PAGE):
                return {"nodes": rows, "next": last}
            rows.append(describe(view, key, node, places))
            last = key
        return {"nodes": rows, "next": None}

    def account(self, view: View, key: Key) -> Answer:
        """An account with its stakes; one that never existed is empty."""
        account = view.state.account(key)
        stakes: list[Answer] = []
        nodes = self._census_at(view).nodes_of(key)
        for node_key in nodes:
            node = view.state.get(NODES, node_key)
            amounts = (
                [] if node is None else [c.amount for c in node.contributions if c.account == key]
            )
            stakes += [{"node": encode_node(node_key), "amount": str(a)} for a in amounts]
        rewards = list_claimable(view, nodes, key)
        return {
            "account": encode_account(key),
            "balance": str(account.balance),
            "nonce": account.nonce,
            "stakes": stakes,
            "rewards": rewards,
            "claimable": str(sum(int(row["claimable"]) for row in rewards)),
        }

    def accrued(self, view: View, keys: list[Key]) -> Answer:
        """What waits as rewards for each of some accounts, as beneficiary."""
        census = self._census_at(view)
        return [sum_claimable(view, census.nodes_of(key), key) for key in keys]

    def proof(self, _view: View, epoch: Epoch, table: str, key: bytes) -> Answer:
        """A record of the state at an epoch's end, with its proof; None if that is not kept."""
        end = self._chain.end_of(epoch)
        return (
            None
            if end is None
            else _show_proof(end.make_proof(TABLE_OF[table].letter + key), table)
        )

    def trust(self, view: View, epoch: Epoch, start: Epoch | None) -> Answer:
        """The path to the header of an epoch from that of another, or from genesis; None if there
        is no such header. Refuses with `bad_path`."""
        path = self._paths.find(view, start, epoch)
        return None if path is None else {"path": encode_path(path)}

    # ------------------------------------------------------------------ votes, taking part

    def participation(self, view: View, epochs: int) -> Answer:
        """How each tester and each attestor took part in the newest `epochs` epochs."""
        return show_participation(view, self._duties, epochs)

    def votes(self, view: View, epoch: Epoch, key: Key) -> Answer:
        """The votes that are held here on a node in an epoch."""
        return self._verdicts.show(view, epoch, key)

    def contradictions(self, _view: View) -> Answer:
        """Evidence against testers, and how many votes are held here."""
        return self._verdicts.list_evidence()

    # -------------------------------------------------------- blocks and transactions

    def block(self, view: View, height: Height) -> Answer:
        """One block, its transactions by hash."""
        block = view.block(height) if height <= view.tip.height else None
        if block is None:
            return None
        header = block.header
        decoded = [self._chain.decode(raw) for raw in block.transactions]
        return {
            "height": header.height,
            "time_ms": header.time_ms,
            "hash": block_hash(header).hex(),
            "previous": header.previous.hex(),
            "proposer": header.proposer.hex(),
            "state_root": header.state_root.hex(),
            "seal": block.seal.hex(),
            "transactions": [
                {"hash": tx.hash.hex(), "kind": tx.kind.name, "size": len(tx.raw)} for tx in decoded
            ],
            "misbehaviour": len(block.misbehaviour),
        }

    def blocks(self, view: View, start: Height, limit: int) -> Answer:
        """Encoded blocks from `start` on, as followers fetch them."""
        found: list[bytes] = []
        size = 0
        for height in range(max(1, start), view.tip.height + 1):
            raw = view.reader.get(journal_key(height))
            if raw is None or len(found) >= min(limit, MAX_PAGE):
                break
            size += len(raw)
            if found and size > MAX_BLOCKS_BYTES:
                break
            found.append(raw)
        return found

    def transaction(self, view: View, hash: Hash) -> Answer:
        """A transaction and what became of it; None if it was never seen or is forgotten."""
        location = view.location(hash)
        if location is not None:
            block = view.committed_block(location.height)
            code = CODE_OF_NUMBER.get(location.code)
            where = {"height": location.height, "index": location.place}
            committed = self._chain.decode(block.transactions[location.place])
            return show_transaction(committed, "committed", where, code, None)
        fate = self._pool.fate(hash)
        if fate is None:
            return None
        tx = self._pool.get(hash)
        code = fate.refusal.code if fate.refusal else None
        detail = fate.refusal.text if fate.refusal else None
        if tx is None:
            return show_fate(hash, fate.state, code, detail)
        return show_transaction(tx, fate.state, {"height": None, "index": None}, code, detail)


def _of_view(ask: Callable[..., Answer]) -> Callable[..., Answer]:
    """A question that a height alone answers."""
    return lambda _queries, view, **arguments: ask(view, **arguments)


QUERIES: Final[dict[str, Callable[..., Answer]]] = {
    "network": Queries.network,
    "epoch": Queries.epoch,
    "attestors": Queries.attestors,
    "node": Queries.node,
    "duties": Queries.duties,
    "swarm": Queries.swarm,
    "history": _of_view(show_history),
    "nodes": Queries.nodes,
    "account": Queries.account,
    "block": Queries.block,
    "blocks": Queries.blocks,
    "transaction": Queries.transaction,
    "accrued": Queries.accrued,
    "proof": Queries.proof,
    "trust": Queries.trust,
    "participation": Queries.participation,
    "votes": Queries.votes,
    "contradictions": Queries.contradictions,
    "reports": _of_view(list_reports),
    "report": _of_view(get_report),
    "report_check": _of_view(check_report),
    "rules": _of_view(get_rules),
}
"""Every question that the service answers from the state."""

# ---------------------------------------------------------------------------------- shapes


def _is_single_signer(sets: AttestorSets) -> bool:
    return has_single_signer([seat.weight for seat in sets.current])


def _header_summary(view: View, signed: SignedHeader) -> dict[str, Any]:
    header: ListHeader = decode_header(signed.header)
    weight, total = view.weigh(signed)
    return {
        "epoch": header.epoch,
        "height": header.height,
        "hash": header.hash.hex(),
        "node_count": header.node_count,
        "swarm_count": header.swarm_count,
        "valid_after_ms": header.valid_after_ms,
        "fresh_until_ms": header.fresh_until_ms,
        "valid_until_ms": header.valid_until_ms,
        "signed_weight": weight,
        "total_weight": total,
        "is_final": is_final(weight, total),
    }


def _show_proof(proof: StateProof, table: str) -> dict[str, Any]:
    """Return a proof as the API shows it. Refuses with `too_large`."""
    file = encode(proof)
    if len(file) > MAX_PROOF_BYTES:
        raise Refusal("too_large", size=len(file), limit=MAX_PROOF_BYTES)
    return {
        "epoch": proof.epoch,
        "height": proof.height,
        "table": table,
        "key": proof.key.hex(),
        "record": proof.record[0].hex() if proof.record else None,
        "proof": file.hex(),
    }


@lru_cache(maxsize=64)
def _cached_words(genesis_hash: Hash, header: bytes) -> tuple[str, ...]:
    return tuple(fingerprint_words(genesis_hash, header))
