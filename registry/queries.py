"""Read-only answers, each from one committed height; nothing else outside the ledger reads state.

Answers are plain dicts in the shape that the API shows: amounts and swarm ids are decimal strings
(they pass 2^53), hashes are hex, accounts and nodes are addresses. None means "not there".
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, TypeAlias

from ledger.chain import Chain
from ledger.codec import Record
from ledger.errors import REFUSALS
from ledger.history import final_key, journal_key
from ledger.messages.blocks import block_hash
from ledger.messages.contact import Contact, Version
from ledger.messages.lists import (
    ListHeader,
    SignedHeader,
    decode_header,
    decode_signed_header,
    has_single_signer,
    is_final,
    weigh,
)
from ledger.messages.state import (
    ACTIVE,
    AWAITING,
    EXITED,
    NODE_STATES,
    QUEUED,
    AttestorSets,
    Node,
)
from ledger.state import (
    ATTESTATIONS,
    BINDINGS,
    CHAINLINKS,
    CONTACTS,
    DRAFT,
    EPOCH,
    HISTORIES,
    NODES,
    PENDING,
    POOL,
    QUEUE,
    SETS,
    SWARMS,
)
from ledger.transactions.envelope import Transaction
from ledger.transactions.stake import get_open
from ledger.types import Epoch, Hash, Height, Key
from ledger.views import View
from registry.addresses import encode_account, encode_node
from registry.census import Census
from registry.formats.fingerprint import fingerprint_words
from registry.ipc import Gone
from registry.pool import Pool

Answer: TypeAlias = dict[str, Any] | list[Any] | None

MAX_PAGE: Final = 200
"""Nodes or blocks in one answer."""

MAX_BLOCKS_BYTES: Final = 2**23
"""Blocks in one answer, together; at least one is always given."""


class Queries:
    """Answers by name, for the API. `QUERIES` lists them."""

    def __init__(self, chain: Chain, pool: Pool, census: Census) -> None:
        self._chain = chain
        self._pool = pool
        self._census = census
        self._searched: tuple[Epoch, SignedHeader | None] = (-1, None)
        """The newest final one of the frozen headers up to an epoch."""

    def answer(self, name: str, arguments: dict[str, Any], height: Height | None) -> dict[str, Any]:
        """Return `{"height": …, "result": …}` at `height`, or at the newest.

        Raises `Gone` for a height that is not kept any more.
        """
        view = self._chain.view() if height is None else self._chain.view_at(height)
        if view is None:
            raise Gone(f"height {height} is not kept any more")
        return {"height": view.tip.height, "result": QUERIES[name](self, view, **arguments)}

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
        sets = state.one(SETS)
        newest, latest = view.newest_header(), self.latest_final(view)
        return {
            "chain": self._chain.genesis.name.decode(),
            "genesis_hash": self._chain.genesis_hash.hex(),
            "engine": "solo",
            "height": tip.height,
            "time_ms": tip.time_ms,
            "epoch": epoch.epoch,
            "epoch_start_ms": epoch.start_ms,
            "epoch_ends_ms": epoch.start_ms + params.epoch_ms,
            "epoch_ms": params.epoch_ms,
            "block_ms": params.block_ms,
            "state_root": tip.root.hex(),
            "seed": epoch.seed.hex(),
            "nodes": self._census_at(view).by_state(),
            "swarms": decode_header(newest.header).swarm_count,
            "pool": str(pool.balance),
            "supply": str(pool.supply),
            "attestors": len(sets.current),
            "single_signer": _is_single_signer(sets),
            "newest_header": _header_summary(newest, sets),
            "latest_final": None if latest is None else _header_summary(latest, sets),
            "fingerprint": None if latest is None else list(self._fingerprint(latest)),
            "minimum_fee": str(params.minimum_fee),
            "staking_requirement": str(params.staking_requirement),
            "max_contributors": params.max_contributors,
            "operator_share": params.operator_share,
        }

    def latest_final(self, view: View) -> SignedHeader | None:
        """The newest header that more than two thirds of the weight signed."""
        sets = view.state.one(SETS)
        newest = view.newest_header()
        if _is_final(newest, sets):
            return newest
        last = decode_header(newest.header).epoch - 1
        if last > self._searched[0]:
            self._searched = (last, self._search(view, last))
        searched, found = self._searched
        return found if searched == last else self._search(view, last)

    def _search(self, view: View, last: Epoch) -> SignedHeader | None:
        """Return the newest final one of the frozen headers up to `last`, which never change."""
        sets = view.state.one(SETS)
        for epoch in range(last, -1, -1):
            if epoch == self._searched[0]:
                return self._searched[1]
            raw = view.reader.get(final_key(epoch))
            if raw is None:
                return None
            signed = decode_signed_header(raw)
            if _is_final(signed, sets):
                return signed
        return None

    def _fingerprint(self, signed: SignedHeader) -> tuple[str, ...]:
        return _cached_words(self._chain.genesis_hash, signed.header)

    def epoch(self, view: View, epoch: Epoch) -> Answer:
        """One epoch's header with its signatures."""
        signed = self._signed_header(view, epoch)
        if signed is None:
            return None
        sets = view.state.one(SETS)
        header = decode_header(signed.header)
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
                    "list_key": sets.current[index].list_key.hex(),
                    "signature": signature.hex(),
                }
                for index, signature in signed.signatures
            ],
            "is_final": _is_final(signed, sets),
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
        rows = []
        for index, seat in enumerate(sets.current):
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
                }
            )
        return {
            "attestors": rows,
            "total_weight": sum(seat.weight for seat in sets.current),
            "policy": "fixed",
            "single_signer": _is_single_signer(sets),
        }

    # ------------------------------------------------------------- nodes and accounts

    def node(self, view: View, key: Key) -> Answer:
        """Everything about one node."""
        node = view.state.get(NODES, key)
        return None if node is None else self._node(view, key, node, {})

    def nodes(self, view: View, after: Key, limit: int, state: str) -> Answer:
        """A page of nodes by ascending key, those behind `after`; `state` may name one state."""
        rows: list[Answer] = []
        last: Key | None = None
        places: dict[Key, int] = {}
        for key, node in view.state.items(NODES, after + b"\0" if after else b""):
            if state and NODE_STATES[node.state] != state:
                continue
            if len(rows) >= min(limit, MAX_PAGE):
                return {"nodes": rows, "next": last}
            rows.append(self._node(view, key, node, places))
            last = key
        return {"nodes": rows, "next": None}

    def _node(self, view: View, key: Key, node: Node, places: dict[Key, int]) -> dict[str, Any]:
        state, params = view.state, view.state.params()
        swarm = state.get(SWARMS, key)
        pending = state.get(PENDING, key)
        staked = sum(c.amount for c in node.contributions)
        free = get_open(node, params, view.tip.time_ms)
        return {
            "key": encode_node(key),
            "x25519": node.x25519.hex(),
            "state": NODE_STATES[node.state],
            "since_ms": node.since_ms,
            "since_height": node.since_height,
            "life": node.life,
            "operator": encode_account(node.operator),
            "fee": node.fee,
            "requirement": str(node.requirement),
            "staked": str(staked),
            "open": str(free.amount),
            "open_places": free.places if free.amount else 0,
            "contributions": [
                {
                    "account": encode_account(c.account),
                    "beneficiary": encode_account(c.beneficiary),
                    "amount": str(c.amount),
                }
                for c in node.contributions
            ],
            "reserved": [
                {"account": encode_account(p.account), "amount": str(p.amount)}
                for p in node.reserved
            ],
            "contact": _contact(state.one(CONTACTS, key)),
            "pending_contact": None if pending is None else _contact(pending.contact),
            "swarm": None if swarm is None else str(swarm.swarm_id),
            "registered_height": node.registered_height,
            "duty_key": node.duty_key.hex(),
            "list_key": node.list_key.hex() or None,
            "consensus_key": node.consensus_key.hex() or None,
            "contact_sequence": state.one(HISTORIES, key).sequence,
            "queue_position": self._queue_position(view, key, node, places),
            "exit_ms": node.exit_ms or None,
            "payout_ms": _payout_ms(node, params.unbonding_ms),
            "next_step": NEXT_STEPS[node.state],
        }

    @staticmethod
    def _queue_position(view: View, key: Key, node: Node, places: dict[Key, int]) -> int | None:
        """The place of a queued node; `places` keeps all of them for the rest of a page."""
        if node.state != QUEUED:
            return None
        if not places:
            queue = enumerate(view.state.items(QUEUE), 1)
            places.update((entry.node, place) for place, (_, entry) in queue)
        return places.get(key)

    def account(self, view: View, key: Key) -> Answer:
        """An account with its stakes; one that never existed is empty."""
        account = view.state.account(key)
        stakes = []
        for node_key in self._census_at(view).nodes_of(key):
            node = view.state.get(NODES, node_key)
            amounts = (
                [] if node is None else [c.amount for c in node.contributions if c.account == key]
            )
            stakes += [{"node": encode_node(node_key), "amount": str(a)} for a in amounts]
        return {
            "account": encode_account(key),
            "balance": str(account.balance),
            "nonce": account.nonce,
            "stakes": stakes,
        }

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
            block = view.block(location.height)
            raw = b"" if block is None else block.transactions[location.place]
            refusals = {row.number: name for name, row in REFUSALS.items()}
            code = refusals.get(location.code)
            where = {"height": location.height, "index": location.place}
            return _transaction(self._chain.decode(raw), "committed", where, code, None)
        fate = self._pool.fate(hash)
        if fate is None:
            return None
        tx = self._pool.get(hash)
        code = fate.refusal.code if fate.refusal else None
        detail = fate.refusal.text if fate.refusal else None
        if tx is None:
            return _fate(hash, fate.state, code, detail)
        return _transaction(tx, fate.state, {"height": None, "index": None}, code, detail)


QUERIES: Final[dict[str, Callable[..., Answer]]] = {
    "network": Queries.network,
    "epoch": Queries.epoch,
    "attestors": Queries.attestors,
    "node": Queries.node,
    "nodes": Queries.nodes,
    "account": Queries.account,
    "block": Queries.block,
    "blocks": Queries.blocks,
    "transaction": Queries.transaction,
}
"""Every question that the service answers from the state."""

NEXT_STEPS: Final = {
    AWAITING: "it waits for stake: contribute the open amount, or find contributors who do",
    QUEUED: "it is fully funded and becomes active at the end of an epoch: keep it reachable",
    ACTIVE: "it is on duty: keep it running, and send new contact data before its address changes",
    EXITED: "its duty has ended: its stake is paid out when it has been unbonding for long enough",
}
"""What an operator does next, by state."""


# ---------------------------------------------------------------------------------- shapes


def _payout_ms(node: Node, unbonding_ms: int) -> int | None:
    return node.since_ms + unbonding_ms if node.state == EXITED else None


def _is_final(signed: SignedHeader, sets: AttestorSets) -> bool:
    return is_final(*weigh(signed, sets.current))


def _is_single_signer(sets: AttestorSets) -> bool:
    return has_single_signer([seat.weight for seat in sets.current])


def _header_summary(signed: SignedHeader, sets: AttestorSets) -> dict[str, Any]:
    header: ListHeader = decode_header(signed.header)
    weight, total = weigh(signed, sets.current)
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


@lru_cache(maxsize=64)
def _cached_words(genesis_hash: Hash, header: bytes) -> tuple[str, ...]:
    return tuple(fingerprint_words(genesis_hash, header))


def _contact(contact: Contact) -> dict[str, Any]:
    return {
        "ipv4": address_text(contact.ipv4),
        "ipv6": address_text(contact.ipv6),
        "storage_port": contact.storage_port,
        "router_port": contact.router_port,
        "storage_version": _version(contact.storage_version),
        "router_version": _version(contact.router_version),
    }


def _version(version: Version) -> list[int]:
    return [version.major, version.minor, version.patch]


def address_text(packed: bytes) -> str | None:
    """Return an IPv4 or IPv6 address as text, None for none."""
    import ipaddress

    return str(ipaddress.ip_address(packed)) if packed else None


def _transaction(
    tx: Transaction, state: str, where: dict[str, Any], code: str | None, detail: str | None
) -> dict[str, Any]:
    answer = _fate(tx.hash, state, code, detail) | where
    body = {"kind": tx.kind.name, "raw": tx.raw.hex(), "body": _plain(tx.body)}
    if not tx.kind.is_free:
        body |= {
            "sender": encode_account(tx.sender),
            "nonce": tx.nonce,
            "fee": str(tx.fee),
            "expiry": tx.expiry,
        }
    return answer | body


def _fate(tx_hash: Hash, state: str, code: str | None, detail: str | None) -> dict[str, Any]:
    where = {"height": None, "index": None, "kind": None, "raw": None, "body": None}
    return {"hash": tx_hash.hex(), "state": state, "code": code, "detail": detail} | where


AMOUNTS: Final = ("amount", "stake")
"""Fields of transaction bodies that are shown as decimal strings."""


def _plain(value: Any) -> Any:
    """Return a record as JSON shows it: fields by name, bytes as hex, amounts as strings."""
    if isinstance(value, Record):
        fields = {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
        return fields | {name: str(fields[name]) for name in AMOUNTS if name in fields}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return value
