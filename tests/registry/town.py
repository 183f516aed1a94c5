"""A network whose nodes can be tested: eight of them, each with an operator of its own.

make_town      the network
vote_of        the vote of one tester on a node
votes_of       those of all its testers, in the order of the draw
lives          blocks in which nodes come to every state there is
go_to_end      end the running epoch of a replica
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from ledger.messages.duty import Vote
from ledger.messages.state import ON_DUTY
from ledger.messages.tables import EPOCH, NODES
from ledger.transactions.judge import get_quorum
from registry.verdicts import SentVote
from tests.factory import (
    BLOCK_MS,
    PEOPLE,
    QUARTER,
    Network,
    attestor_roles,
    founding,
    make_genesis,
    public,
)
from tests.life import FAULTY, cast, duty_pair, header_evidence, judge, report, running
from tests.registry.factory import Node

NODES_NAMES: Final = tuple(f"town {place}" for place in range(8))
TESTERS: Final = 5
THRESHOLD: Final = 4


def make_town(names: Sequence[str] = NODES_NAMES, /, **params: int) -> Network:
    """Active nodes from the start; no more than `PEOPLE` of them."""
    rows = [
        founding(name, operator=operator)[0] for name, operator in zip(names, PEOPLE, strict=False)
    ]
    network = Network(make_genesis(params, nodes=tuple(sorted(rows, key=lambda row: row.node))))
    network.attesting = False
    return network


def vote_of(
    network: Network, node: str, tester: bytes, faults: int = FAULTY, **changes: Any
) -> SentVote:
    """The vote of a node on another, for the running epoch; `changes` are made after signing."""
    epoch = changes.pop("at", running(network))
    life = network.state.one(NODES, public(node)).life
    vote = Vote(epoch, public(node), life, faults)
    signature = cast(duty_pair(network, tester, epoch), network, vote)
    sent = SentVote(epoch, public(node), life, faults, tester, signature)
    return sent._replace(**changes)


def votes_of(
    network: Network, node: str, faults: int = FAULTY, count: int = TESTERS, **changes: Any
) -> list[SentVote]:
    """The votes of the first `count` testers of a node."""
    epoch = changes.get("at", running(network))
    quorum = get_quorum(network.state, epoch, public(node))
    return [vote_of(network, node, tester, faults, **changes) for tester in quorum[:count]]


class Next(NamedTuple):
    """A block to be committed before the next one is asked for."""

    raws: tuple[bytes, ...]
    ms: int


def lives(network: Network) -> Iterator[Next]:
    """Blocks of a town in which nodes come to every state; each is made when it is asked for."""
    roles = attestor_roles("liar")
    yield Next((network.register("waits", "alice", QUARTER),), BLOCK_MS)
    yield Next((network.register("liar", "bob", **roles),), BLOCK_MS)
    yield _end(network)
    evidence = header_evidence(network, roles["list_key"])
    yield Next((network.request_unlock("carol", NODES_NAMES[2]),), BLOCK_MS)
    yield Next((report(network, "leo", evidence),), BLOCK_MS)
    yield _end(network)
    while network.node(NODES_NAMES[0]).state in ON_DUTY:
        yield Next((judge(network, NODES_NAMES[0], FAULTY),), BLOCK_MS)
        yield _end(network)


def _end(network: Network) -> Next:
    end_ms = network.state.one(EPOCH).start_ms + network.params.epoch_ms
    return Next((), end_ms - network.chain.tip.time_ms)


async def go_to_end(node: Node) -> None:
    """Make the block that ends the running epoch, of what the pool has."""
    await node.block(ms=_end(node.network).ms)
