"""What happens in the life of a node, one call away: votes, verdicts, evidence, orders.

    townsfolk            founding nodes that can test each other
    cast, ballots        a tester's vote; those of the first testers of a node
    judge                a verdict of as many testers as are needed
    vote_evidence        a pass and a fail by one duty key
    header_evidence      two headers by one list key: of one epoch, or of two histories
    report               a report of one of them
    set_keys             new role keys of a node
    seats, set_attestors, set_params      orders, signed by as many as are needed
    set_successor        the order that the network goes on as another one

Each takes a `Network`, and returns the bytes of a transaction or a record that is good.
"""

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from ledger.codec import Record, encode
from ledger.crypto import KeyPair, sha256, sign, signing_bytes
from ledger.merkle import audit_path, leaf_hash, tree_root
from ledger.messages import tags
from ledger.messages.duty import Vote, vote_bytes
from ledger.messages.evidence import ListEquivocation, VoteEquivocation
from ledger.messages.genesis import GenesisNode
from ledger.messages.lists import Attestor, encode_header, header_signing_bytes
from ledger.messages.tables import EPOCH, NODES, SETS
from ledger.messages.transactions import (
    BY_ATTESTORS,
    BY_RECOVERY,
    Judge,
    KeyChange,
    ParamsOrder,
    Report,
    Seat,
    SetAttestors,
    SetKeys,
    SetParams,
    SetSuccessor,
    Signer,
    SuccessorOrder,
    TesterVote,
)
from ledger.nodes import get_duty_key
from ledger.offences import OFFENCES
from ledger.succession import get_succession
from ledger.transactions.judge import get_quorum
from ledger.transactions.orders import order_of
from ledger.types import ZERO_HASH
from tests.factory import Network, founding, free, keys, links, pair_of, public

OFFENCE = {offence.name: offence.number for offence in OFFENCES}
FAULTY = 1
"""Faults of a failing vote: the storage port."""


TOWN: Final = ("town 0", "town 1", "town 2", "town 3", "town 4", "town 5", "town 6")
TOWNSFOLK: Final = ("dave", "erin", "frank", "grace", "heidi", "ivan", "judy")


def townsfolk(
    names: Sequence[str] = TOWN, people: Sequence[str] = TOWNSFOLK
) -> tuple[GenesisNode, ...]:
    """Founding nodes, each with an operator of its own: enough of them for every quorum."""
    rows = [
        founding(name, operator=operator)[0] for name, operator in zip(names, people, strict=True)
    ]
    return tuple(sorted(rows, key=lambda row: row.node))


def running(network: Network) -> int:
    """Number of the running epoch."""
    return network.state.one(EPOCH).epoch


# -------------------------------------------------------------------------------- verdicts


def cast(pair: KeyPair, network: Network, vote: Vote) -> bytes:
    """A signature of a vote."""
    return sign(pair, vote_bytes(network.hash, vote))


def ballots(
    network: Network, node: str | bytes, faults: Sequence[int], epoch: int | None = None
) -> tuple[TesterVote, ...]:
    """The votes of the first testers of a node, who found these faults."""
    key = public(node)
    epoch = running(network) if epoch is None else epoch
    life = network.state.one(NODES, key).life
    quorum = get_quorum(network.state, epoch, key)
    return tuple(
        TesterVote(
            place,
            found,
            cast(duty_pair(network, tester, epoch), network, Vote(epoch, key, life, found)),
        )
        for place, (tester, found) in enumerate(zip(quorum, faults, strict=False))
    )


def judge(
    network: Network,
    node: str | bytes = "node",
    faults: int = 0,
    epoch: int | None = None,
    count: int | None = None,
    **changes: Any,
) -> bytes:
    """A `judge` by the first `count` testers, as many as are needed unless told otherwise."""
    key = public(node)
    epoch = running(network) if epoch is None else epoch
    life = network.state.one(NODES, key).life
    count = network.params.quorum_threshold if count is None else count
    votes = ballots(network, key, [faults] * count, epoch)
    return free("judge", replace(Judge(epoch, key, life, votes), **changes))


def duty_pair(network: Network, node: str | bytes, epoch: int) -> KeyPair:
    """The pair with which a node signs its votes for an epoch."""
    return pair_of(get_duty_key(network.state.one(NODES, public(node)), epoch))


# -------------------------------------------------------------------------------- evidence


def vote_evidence(network: Network, tester: str, **changes: Any) -> VoteEquivocation:
    """A pass and a fail by the tester's duty key, for the running epoch; of which node is open."""
    epoch = changes.pop("epoch", running(network))
    node = public(changes.pop("node", tester))
    faults = changes.pop("faults", FAULTY)
    pair = changes.pop("pair", None) or duty_pair(network, tester, epoch)
    good, bad = Vote(epoch, node, 1, 0), Vote(epoch, node, 1, faults)
    evidence = VoteEquivocation(
        duty_key=pair.public,
        epoch=epoch,
        node=node,
        life=1,
        pass_signature=cast(pair, network, good),
        faults=faults,
        fail_signature=cast(pair, network, bad),
    )
    return replace(evidence, **changes)


def header_evidence(network: Network, list_key: bytes, **changes: Any) -> ListEquivocation:
    """Two headers of the running epoch by one list key."""
    header = network.header._replace(epoch=running(network))
    raws = sorted(encode_header(h) for h in (header, header._replace(height=header.height + 1)))
    pair = pair_of(list_key)
    first, second = (sign(pair, header_signing_bytes(network.hash, raw)) for raw in raws)
    evidence = ListEquivocation(list_key, raws[0], first, raws[1], second, b"", ())
    return replace(evidence, **changes)


def fork_evidence(network: Network, list_key: bytes, **changes: Any) -> ListEquivocation:
    """A header of the running epoch, and one of the next whose history holds another one there."""
    earlier = network.header._replace(epoch=running(network))
    leaves = [leaf_hash(bytes([place])) for place in range(earlier.epoch + 1)]
    later = earlier._replace(epoch=earlier.epoch + 1, history_root=tree_root(leaves))
    pair = pair_of(list_key)
    raws = [encode_header(header) for header in (earlier, later)]
    signatures = [sign(pair, header_signing_bytes(network.hash, raw)) for raw in raws]
    path = tuple(audit_path(leaves, earlier.epoch))
    evidence = ListEquivocation(
        list_key, raws[0], signatures[0], raws[1], signatures[1], leaves[earlier.epoch], path
    )
    return replace(evidence, **changes)


def report(network: Network, who: str, evidence: Record, **envelope: Any) -> bytes:
    """A `report`; what is changed is the envelope."""
    name = {VoteEquivocation: "vote_equivocation", ListEquivocation: "list_equivocation"}
    offence = OFFENCE[name[type(evidence)]]
    return network.paid("report", who, Report(offence, encode(evidence)), **envelope)


# -------------------------------------------------------------------------------- role keys


def set_keys(
    network: Network,
    node: str = "node",
    sequence: int = 1,
    duty: str = "node duty 2",
    signer: str = "",
    proofs: dict[str, bytes] | None = None,
    **changes: Any,
) -> bytes:
    """A `set_keys` to another duty key; `changes` are fields of what the node signs."""
    record = network.state.get(NODES, public(node))
    change = KeyChange(
        node=public(node),
        life=record.life if record else 1,
        sequence=sequence,
        duty_key=public(duty),
        list_key=record.list_key if record else b"",
        list_tip=b"",
        consensus_key=record.consensus_key if record else b"",
    )
    change = replace(change, **changes)
    payload = encode(change)

    def prove(tag: bytes, key: bytes) -> bytes:
        return sign(pair_of(key), signing_bytes(tag, network.hash, payload)) if key else b""

    body = SetKeys(
        change=change,
        node_signature=sign(
            keys(signer or node), signing_bytes(tags.KEY_CHANGE, network.hash, payload)
        ),
        duty_signature=prove(tags.DUTY_KEY, change.duty_key),
        list_signature=prove(tags.LIST_KEY, change.list_key),
        consensus_signature=prove(tags.CONSENSUS_KEY, change.consensus_key),
    )
    return free("set_keys", replace(body, **(proofs or {})))


# ---------------------------------------------------------------------------------- orders


def current(network: Network) -> tuple[Attestor, ...]:
    """The set of attestors in force."""
    return network.state.one(SETS).current


def seats(network: Network, *names: str, kept: Sequence[Attestor] = ()) -> tuple[Seat, ...]:
    """Seats of those that are kept, and of new list keys by name, each with weight 1."""
    rows = [Seat(member.list_key, member.weight, b"", b"") for member in kept]
    for name in names:
        pair = keys(name)
        tip = links(pair.public)[-1]
        rows.append(
            Seat(pair.public, 1, tip, sign(pair, signing_bytes(tags.SEAT, network.hash, tip)))
        )
    return tuple(sorted(rows, key=lambda seat: seat.list_key))


def set_attestors(
    network: Network,
    new: tuple[Seat, ...],
    sender: str = "alice",
    begin: int | None = None,
    signers: Sequence[int] | None = None,
    recovery: Sequence[str] = (),
    **envelope: Any,
) -> bytes:
    """A `set_attestors` by all of the current set, or by recovery keys."""
    if begin is None:
        begin = running(network) if recovery else network.chain.tip.time_ms + 1_000
    authority = BY_RECOVERY if recovery else BY_ATTESTORS
    body = SetAttestors(authority, begin, new, ())
    tag = tags.RECOVERY_ORDER if recovery else tags.SET_ORDER
    message = signing_bytes(tag, network.hash, encode(order_of(body)))
    voters = network.genesis.recovery if recovery else tuple(m.list_key for m in current(network))
    names = {public(name) for name in recovery} if recovery else set(voters)
    rows = [
        Signer(key, sign(pair_of(key), message))
        for index, key in enumerate(voters)
        if key in names and (signers is None or index in signers)
    ]
    return network.paid("set_attestors", sender, replace(body, signers=tuple(rows)), **envelope)


def set_params(
    network: Network,
    sender: str = "alice",
    from_ms: int | None = None,
    signers: Sequence[int] | None = None,
    envelope: dict[str, Any] | None = None,
    **values: int,
) -> bytes:
    """A `set_params` by all of the current set; `values` are what changes, by name."""
    params = network.params
    if from_ms is None:
        from_ms = network.chain.tip.time_ms + params.unbonding_ms + 1_000
    order = ParamsOrder(from_ms, tuple(params._replace(**values)))
    rows = sign_by_set(network, tags.PARAMS_ORDER, order, signers)
    return network.paid("set_params", sender, SetParams(order, rows), **(envelope or {}))


SUCCESSOR: Final = sha256(b"the genesis file of another network")


def set_successor(
    network: Network,
    sender: str = "alice",
    successor: bytes = SUCCESSOR,
    from_ms: int | None = None,
    signers: Sequence[int] | None = None,
    **envelope: Any,
) -> bytes:
    """A `set_successor` by all of the current set, to be named as soon as may be."""
    if from_ms is None:
        from_ms = network.chain.tip.time_ms + 2 * network.params.unbonding_ms + 1_000
    order = SuccessorOrder(successor, from_ms)
    rows = sign_by_set(network, tags.SUCCESSOR_ORDER, order, signers)
    return network.paid("set_successor", sender, SetSuccessor(order, rows), **envelope)


def withdraw_successor(network: Network, sender: str = "alice", **envelope: Any) -> bytes:
    """A `set_successor` that withdraws the one that is announced."""
    from_ms = get_succession(network.state).from_ms
    return set_successor(network, sender, ZERO_HASH, from_ms, **envelope)


def sign_by_set(
    network: Network, tag: bytes, order: Record, signers: Sequence[int] | None = None
) -> tuple[Signer, ...]:
    """The signatures of an order by the current set, or by those of its places."""
    message = signing_bytes(tag, network.hash, encode(order))
    return tuple(
        Signer(member.list_key, sign(pair_of(member.list_key), message))
        for index, member in enumerate(current(network))
        if signers is None or index in signers
    )
