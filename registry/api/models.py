"""The shapes of answers, the reference of the API.

Amounts and swarm ids are decimal strings, since they pass 2^53; hashes, keys and signatures are
lower-case hex, accounts and nodes addresses; heights, epochs and times are integers. Every field
says what it is, its unit, and an example; the examples of whole answers are put together from
those.
"""

from enum import StrEnum
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

EPOCH: Final = 48
HEIGHT: Final = 8_640
TIME_MS: Final = 1_795_132_800_000
HASH: Final = "5f" * 32
KEY: Final = "a7" * 32
SIGNATURE: Final = "3c" * 64
ACCOUNT: Final = "wpa1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0sm7f0qs"
NODE: Final = "wpn1zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygsgdg64f"
WORDS: Final = (
    "legal", "winner", "thank", "year", "wave", "sausage",
    "worth", "useful", "legal", "winner", "thank", "yellow",
)  # fmt: skip


def shown(description: str, unit: str, example: Any, **default: Any) -> Any:
    """Return the field of a model with what a reader has to know of it."""
    return Field(
        **default,
        description=f"{description} Unit: {unit}.",
        examples=[example],
        json_schema_extra={"x-unit": unit},
    )


def nested(description: str, **default: Any) -> Any:
    """Return the field of a model that holds other models, which say the rest."""
    return Field(
        **default,
        description=f"{description} Unit: object.",
        json_schema_extra={"x-unit": "object"},
    )


class Shape(BaseModel):
    """Base of every answer."""

    model_config = ConfigDict(frozen=True)


def example_of(shape: type[BaseModel]) -> dict[str, Any]:
    """Return an example of an answer, put together from those of its fields."""
    return {name: _example(field) for name, field in shape.model_fields.items()}


def _example(field: Any) -> Any:
    if field.examples:
        return field.examples[0]
    kind = field.annotation
    if get_origin(kind) in (Union, UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    if get_origin(kind) is list:
        return [example_of(get_args(kind)[0])]
    return example_of(kind)


# -------------------------------------------------------------------------------- problems


class Problem(Shape):
    """An error, as RFC 9457 has it."""

    type: str = shown("Stable code of what is wrong.", "code", "nonce_used")
    title: str = shown("The code in words.", "text", "nonce used")
    status: int = shown("The HTTP status.", "status", 422)
    detail: str = shown(
        "What is wrong and what to do.", "text", "nonce 4 was used already, the next is 5"
    )
    values: dict[str, int | str | list[str]] = shown(
        "The facts that the detail shows, by name.", "by name", {"nonce": 4, "expected": 5}
    )


# ------------------------------------------------------------------------------ the network


class HeaderSummary(Shape):
    """One epoch's list in a few numbers."""

    epoch: int = shown("The epoch that the list was made at the end of.", "epoch", EPOCH)
    height: int = shown("Last block of that epoch.", "height", HEIGHT)
    hash: str = shown("SHA-256 of the header.", "hex", HASH)
    node_count: int = shown("Nodes in the list.", "nodes", 2_000)
    swarm_count: int = shown("Swarms in the list.", "swarms", 290)
    valid_after_ms: int = shown("Time of that block.", "ms since 1970", TIME_MS)
    fresh_until_ms: int = shown("Past it clients warn.", "ms since 1970", TIME_MS + 10_800_000)
    valid_until_ms: int = shown("Past it clients refuse.", "ms since 1970", TIME_MS + 604_800_000)
    signed_weight: int = shown("Weight of the attestors that signed.", "weight", 3)
    total_weight: int = shown("Weight of all attestors.", "weight", 4)
    is_final: bool = shown("Whether more than two thirds signed.", "yes or no", True)


class NodeCounts(Shape):
    """How many nodes there are, by state."""

    awaiting: int = shown("Nodes that wait for stake.", "nodes", 12)
    queued: int = shown("Funded nodes that wait for their activation.", "nodes", 3)
    active: int = shown("Nodes on duty.", "nodes", 2_000)
    exited: int = shown("Nodes whose stake waits for its payout.", "nodes", 4)
    decommissioned: int = shown("Nodes off duty since they failed.", "nodes", 5)
    deregistered: int = shown("Nodes that were down for too long.", "nodes", 1)
    tombstoned: int = shown("Nodes that were slashed for equivocating.", "nodes", 0)


class Network(Shape):
    """The network in one page."""

    chain: str = shown("Name of the network.", "text", "waypost-testnet")
    genesis_hash: str = shown("SHA-256 of the genesis file.", "hex", HASH)
    engine: str = shown("What orders the blocks.", "name", "solo")
    height: int = shown("The newest block.", "height", HEIGHT)
    time_ms: int = shown("Time of the newest block.", "ms since 1970", TIME_MS)
    epoch: int = shown("The epoch that runs.", "epoch", EPOCH + 1)
    epoch_start_ms: int = shown("When it began.", "ms since 1970", TIME_MS)
    epoch_ends_ms: int = shown(
        "When it ends at the earliest.", "ms since 1970", TIME_MS + 1_800_000
    )
    epoch_ms: int = shown("Shortest length of an epoch.", "ms", 1_800_000)
    block_ms: int = shown("Time between blocks that the engine aims for.", "ms", 10_000)
    state_root: str = shown("Root of the state after the newest block.", "hex", HASH)
    seed: str = shown("Seed of the running epoch.", "hex", HASH)
    nodes: NodeCounts = nested("Nodes by state.")
    swarms: int = shown("Swarms of the newest list.", "swarms", 290)
    pool: str = shown("What waits to be paid out as rewards.", "atomic units", "51000000000000")
    supply: str = shown("Everything in existence.", "atomic units", "90000000000000000")
    accrued: str = shown("Rewards that wait to be claimed.", "atomic units", "800000000")
    earning: int = shown("Nodes that earn rewards now.", "nodes", 1_950)
    nodes_down: int = shown("Nodes that verdicts took off duty.", "nodes", 6)
    most_down: int = shown("A quarter: no verdict takes more off duty.", "nodes", 501)
    removal_limit: int = shown("Nodes that one epoch may take off duty.", "nodes", 20)
    quorum_testers: int = shown("Testers of one node in the running epoch.", "nodes", 20)
    quorum_threshold: int = shown("Of whom so many agree on a verdict.", "nodes", 14)
    quorums: str = shown(
        "Which nodes have enough testers of other operators: `all`, `some` or `none`.",
        "name",
        "all",
    )
    grace_until_ms: int | None = shown(
        "Until then verdicts remove nobody, since the rules changed; else null.",
        "ms since 1970",
        TIME_MS + 604_800_000,
    )
    parameters_change_ms: int | None = shown(
        "When other parameters come into force; null if none are announced. See `/v1/rules`.",
        "ms since 1970",
        TIME_MS + 1_296_000_000,
    )
    attestors_change: str | None = shown(
        "`ordered` or `announced` if other attestors are to come; else null.", "name", "ordered"
    )
    attestors: int = shown("Attestors of the running epoch.", "attestors", 4)
    single_signer: bool = shown(
        "Whether one attestor alone signs the lists: you trust it.", "yes or no", False
    )
    newest_header: HeaderSummary = nested("The newest list, final or not.")
    latest_final: HeaderSummary | None = nested("The newest final list; null before the first.")
    fingerprint: list[str] | None = shown(
        "Fingerprint of the newest final list: people compare it.", "12 words", list(WORDS)
    )
    minimum_fee: str = shown("Least fee of a transaction.", "atomic units", "1000000")
    staking_requirement: str = shown("Stake of a new node.", "atomic units", "100000000000")
    max_contributors: int = shown("Accounts that may share a node's stake.", "accounts", 10)
    operator_share: int = shown("Least part of it that is the operator's.", "1/10000", 2_500)


class AttestorSeat(Shape):
    """One seat of the attestor set."""

    index: int = shown("Place in the set, by ascending key.", "index", 0)
    list_key: str = shown("The key that signs lists.", "hex", KEY)
    weight: int = shown("Voting weight.", "weight", 1)
    node: str | None = shown("The node that has this key; null if none has.", "address", NODE)
    accepted: int = shown("Attestations accepted so far.", "attestations", 47)
    value: str | None = shown(
        "Last link of its hash chain that was revealed.", "hex", HASH, default=None
    )
    attested_newest: bool = shown("Whether it signed the newest list.", "yes or no", True)
    consensus_key: str | None = shown(
        "Key with which it agrees on blocks; null where one producer orders them.", "hex", HASH
    )
    absences: int = shown(
        "Final lists that it missed, less those that it signed; where nodes take the seats, one "
        "that misses too many is lost.",
        "lists",
        0,
    )


class Attestors(Shape):
    """Who signs the lists, and how reliably."""

    attestors: list[AttestorSeat] = nested("The seats by index.")
    total_weight: int = shown("Weight of all seats.", "weight", 4)
    policy: str = shown("How the set changes.", "name", "fixed")
    single_signer: bool = shown("Whether there is one seat only.", "yes or no", False)


class Header(Shape):
    """All fields of a list's header; the bytes that are signed are at `/v1/lists/{epoch}`."""

    format_version: int = shown("Version of header and list.", "version", 1)
    rules_version: int = shown("Version of the rules that made it.", "version", 1)
    next_format: int = shown("Version that the next headers will have.", "version", 1)
    epoch: int = shown("The epoch that it was made at the end of.", "epoch", EPOCH)
    height: int = shown("Last block of that epoch.", "height", HEIGHT)
    valid_after_ms: int = shown("Time of that block.", "ms since 1970", TIME_MS)
    fresh_until_ms: int = shown("Past it clients warn.", "ms since 1970", TIME_MS + 10_800_000)
    valid_until_ms: int = shown("Past it clients refuse.", "ms since 1970", TIME_MS + 604_800_000)
    node_count: int = shown("Nodes in the list.", "nodes", 2_000)
    swarm_count: int = shown("Swarms in the list.", "swarms", 290)
    list_hash: str = shown("SHA-256 of the list's columns.", "hex", HASH)
    swarm_root: str = shown("Root over the swarms.", "hex", HASH)
    set_hash: str = shown("Hash of the attestor set that signs it.", "hex", HASH)
    next_set_hash: str = shown("Hash of the set that will sign the next one.", "hex", HASH)
    history_root: str = shown("Root over all earlier headers.", "hex", HASH)
    state_root: str = shown("Root of the state at the epoch's end.", "hex", HASH)
    params_digest: str = shown("Digest of the parameters.", "hex", HASH)
    seed: str = shown("Seed of the epoch that it governs.", "hex", HASH)
    successor: str = shown("Hash of the next chain's genesis file, else zeros.", "hex", "00" * 32)
    hash: str = shown("SHA-256 of the header.", "hex", HASH)


class HeaderSignature(Shape):
    """One attestor's signature of a header."""

    index: int = shown("Place of the attestor in the set.", "index", 0)
    list_key: str | None = shown(
        "The key that signed; null if it is of an earlier set.", "hex", KEY
    )
    signature: str = shown("Ed25519 signature.", "hex", SIGNATURE)


class Epoch(Shape):
    """The header of one epoch with its signatures."""

    epoch: int = shown("Number of the epoch.", "epoch", EPOCH)
    header: Header = nested("The header that was made at its end.")
    signatures: list[HeaderSignature] = nested("Signatures by index.")
    is_final: bool = shown("Whether more than two thirds of the weight signed.", "yes or no", True)
    fingerprint: list[str] = shown("What people compare.", "12 words", list(WORDS))


class BlockTransaction(Shape):
    """A transaction as a block shows it."""

    hash: str = shown("SHA-256 of its bytes.", "hex", HASH)
    kind: str = shown("Its kind.", "name", "transfer")
    size: int = shown("Its length.", "bytes", 190)


class Block(Shape):
    """One block, its transactions by hash."""

    height: int = shown("Its number.", "height", HEIGHT)
    time_ms: int = shown("Its time.", "ms since 1970", TIME_MS)
    hash: str = shown("SHA-256 of its header.", "hex", HASH)
    previous: str = shown("Hash of the block before; under `comet` the state root.", "hex", HASH)
    proposer: str = shown("Who ordered it; may be empty.", "hex", KEY)
    state_root: str = shown("Root of the state after it.", "hex", HASH)
    seal: str = shown("The producer's signature; may be empty.", "hex", SIGNATURE)
    transactions: list[BlockTransaction] = nested("Its transactions, in order.")
    misbehaviour: int = shown("Pieces of evidence that the engine found.", "pieces", 0)


# ----------------------------------------------------------------------- nodes and accounts


class Contact(Shape):
    """Where a node can be reached."""

    ipv4: str | None = shown("IPv4 address; null if it has none.", "address", "203.0.113.7")
    ipv6: str | None = shown("IPv6 address; null if it has none.", "address", "2001:db8::7")
    storage_port: int = shown("Port of the storage server.", "port", 22021)
    router_port: int = shown("Port of QUIC and OxenMQ.", "port", 22020)
    storage_version: tuple[int, int, int] = shown("Storage server.", "version", (2, 8, 0))
    router_version: tuple[int, int, int] = shown("Service node.", "version", (11, 2, 0))


class Contribution(Shape):
    """One contributor's stake in a node."""

    account: str = shown("The contributor.", "address", ACCOUNT)
    beneficiary: str = shown("Who gets his rewards.", "address", ACCOUNT)
    amount: str = shown("His stake.", "atomic units", "25000000000")


class Reserved(Shape):
    """A place that is kept for one account."""

    account: str = shown("For whom.", "address", ACCOUNT)
    amount: str = shown("Taken in one go or not at all.", "atomic units", "25000000000")


class Node(Shape):
    """One node, as a page of nodes shows it; `/v1/nodes/{key}` says more."""

    key: str = shown("The node.", "address", NODE)
    x25519: str = shown("Its key for encryption.", "hex", KEY)
    state: str = shown("Where it is in its life.", "name", "active")
    since_ms: int = shown("When it entered that state.", "ms since 1970", TIME_MS)
    since_height: int = shown("Block in which it entered that state.", "height", 240)
    life: int = shown("Number of this life of the key, 1 at first.", "number", 1)
    operator: str = shown("Account that owns it.", "address", ACCOUNT)
    fee: int = shown("The operator's fee.", "1/10000", 1_000)
    requirement: str = shown("Stake of full funding.", "atomic units", "100000000000")
    staked: str = shown("Stake that it has.", "atomic units", "75000000000")
    open: str = shown("Stake that anyone may still add.", "atomic units", "0")
    open_places: int = shown("Contributors that may still come.", "accounts", 0)
    contributions: list[Contribution] = nested("The operator's first, then as they came.")
    reserved: list[Reserved] = nested("Reserved places that are still open.")
    reserved_until_ms: int | None = shown(
        "How long they are kept; null if there are none.", "ms since 1970", TIME_MS
    )
    contact: Contact = nested("Contact data in force.")
    pending_contact: Contact | None = nested("Contact data from the epoch's end on, if any.")
    swarm: str | None = shown("Its swarm; null unless active.", "swarm id", "8142508126285856")
    registered_height: int = shown("Block in which this life began.", "height", 120)
    activated_ms: int | None = shown(
        "When it was first active; null if it was not.", "ms since 1970", TIME_MS
    )
    duty_key: str = shown("Signs its verdicts and answers.", "hex", KEY)
    list_key: str | None = shown("Signs lists; null if it does not attest.", "hex", KEY)
    consensus_key: str | None = shown("Signs blocks; null if it does not.", "hex", KEY)
    contact_sequence: int = shown("Highest sequence number of contact data.", "number", 3)
    queue_position: int | None = shown("Place in the queue, 1 is next; else null.", "place", 1)
    credit_ms: int | None = shown(
        "Uptime credit; null unless it is on duty or decommissioned.", "ms", 7_200_000
    )
    credit_hours: str | None = shown("The same, cut after two decimals.", "hours", "2.00")
    claimable: str = shown("Rewards that wait in it.", "atomic units", "15000000")
    penalties_taken: str = shown("Stake that penalties took.", "atomic units", "0")
    tombstoned: bool = shown("Whether its key was slashed and never returns.", "yes or no", False)
    exit_ms: int | None = shown(
        "When its duty may end, since somebody asked it to leave; else null.",
        "ms since 1970",
        TIME_MS,
    )
    payout_ms: int | None = shown(
        "When its stake is paid out, once its duty has ended; else null.", "ms since 1970", TIME_MS
    )
    next_step: str = shown("What its operator does next.", "text", "it is on duty: keep it running")


class NodePage(Shape):
    """Some nodes by ascending key, all from one height."""

    height: int = shown("The height that all pages are from.", "height", HEIGHT)
    nodes: list[Node] = nested("The nodes of this page.")
    next: str | None = shown("Cursor of the next page; null at the end.", "cursor", "AAAAAAAAIcA")


class Stake(Shape):
    """An account's stake in one node."""

    node: str = shown("The node.", "address", NODE)
    amount: str = shown("The stake.", "atomic units", "25000000000")


class Claimable(Shape):
    """What waits in a node for an account."""

    node: str = shown("The node.", "address", NODE)
    claimable: str = shown("Rewards that can be claimed.", "atomic units", "15000000")


class Account(Shape):
    """An account; one that never existed is empty."""

    account: str = shown("The account.", "address", ACCOUNT)
    balance: str = shown("What it can spend now.", "atomic units", "7000000000")
    nonce: int = shown("Transactions that it sent: the nonce of the next.", "number", 5)
    stakes: list[Stake] = nested("Its stakes, by node.")
    rewards: list[Claimable] = nested("Rewards that wait for it as beneficiary, by node.")
    claimable: str = shown("All of these together.", "atomic units", "15000000")


# ----------------------------------------------------------------------------- transactions


class TransactionState(StrEnum):
    """What became of a transaction."""

    PENDING = "pending"
    COMMITTED = "committed"
    REFUSED = "refused"
    EXPIRED = "expired"
    DROPPED = "dropped"


class SubmittedTransaction(Shape):
    """What became of one transaction that was sent."""

    hash: str = shown("SHA-256 of its bytes: ask for it under this.", "hex", HASH)
    state: TransactionState = shown("What became of it.", "name", "committed")
    height: int | None = shown("The block that it is in; null if none.", "height", HEIGHT)
    index: int | None = shown("Its place in that block.", "index", 0)
    code: str | None = shown("Why it was refused; null if it was not.", "code", None)
    detail: str | None = shown("What is wrong and what to do.", "text", None)
    values: dict[str, int | str] = shown("The facts that the detail shows.", "by name", {})


class Submission(Shape):
    """What became of the transactions that were sent, in their order."""

    results: list[SubmittedTransaction] = nested("One for each transaction.")


class Transaction(Shape):
    """One transaction and what became of it."""

    hash: str = shown("SHA-256 of its bytes.", "hex", HASH)
    state: TransactionState = shown("What became of it.", "name", "committed")
    height: int | None = shown("The block that it is in; null if none.", "height", HEIGHT)
    index: int | None = shown("Its place in that block.", "index", 0)
    code: str | None = shown("Why it had no effect; null if it had.", "code", None)
    detail: str | None = shown("What is wrong and what to do.", "text", None)
    kind: str | None = shown("Its kind; null once it is forgotten.", "name", "transfer")
    raw: str | None = shown("Its bytes; null once they are forgotten.", "hex", "9296c0")
    body: dict[str, Any] | None = shown(
        "Its fields by name, as its kind has them.",
        "by name",
        {"recipient": KEY, "amount": 1_000_000_000},
    )
    sender: str | None = shown(
        "Who pays and signs; null if it is free.", "address", ACCOUNT, default=None
    )
    nonce: int | None = shown(
        "Transactions that the sender sent before.", "number", 4, default=None
    )
    fee: str | None = shown(
        "What it pays to the reward pool.", "atomic units", "1000000", default=None
    )
    expiry: int | None = shown(
        "Last block that it may stand in.", "height", HEIGHT + 100, default=None
    )


# --------------------------------------------------------------------------------- JSON-RPC


class RpcError(Shape):
    """Why a call has no result."""

    code: int = shown("Code of JSON-RPC.", "code", -32_602)
    message: str = shown("What is wrong and what to do.", "text", "send 64 hex digits")


class RpcAnswer(Shape):
    """The answer to a call: it has a result or an error."""

    jsonrpc: str = shown("Always the same.", "version", "2.0")
    id: Any = shown("The id of the call as it was sent; null without.", "any", 0)
    result: dict[str, Any] | None = shown(
        "As the method has it.", "by name", {"status": "OK"}, default=None
    )
    error: RpcError | None = nested("Why there is no result.", default=None)


# ----------------------------------------------------------------------------------- health


class Live(Shape):
    """The process answers."""

    status: str = shown("Always the same.", "name", "live")


class Ready(Shape):
    """The service has a fresh final list and a ledger that answers."""

    status: str = shown("Always the same; otherwise the answer is a problem.", "name", "ready")
    height: int = shown("The newest block.", "height", HEIGHT)
    epoch: int = shown("The epoch that runs.", "epoch", EPOCH + 1)
    final_epoch: int = shown("Epoch of the newest final list.", "epoch", EPOCH)
    fresh_until_ms: int = shown("How long that is fresh.", "ms since 1970", TIME_MS + 10_800_000)
