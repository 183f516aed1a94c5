"""Who stands for a seat, and whose turn it is, where the registry fills the seats.

- A node stands by naming a list key and a consensus key, while it is active and has a clean
  record. Who has stood longest comes first. Whoever lost a seat, or left it, or names keys anew,
  stands from then on only, so that nobody keeps others out by going and coming.
- The founding set serves until enough nodes stand. From then on lost seats go first, then seats
  without a node, then those of nodes that do not stand any more, or that older ones displace; nodes
  without a seat come in their place, and beside them, up to 25. A smaller set than the number of
  nodes that have to stand grows first: only what is lost goes from it.
- A node that named another list key has its seat moved. This comes last, so that nobody keeps
  others out by naming new keys again and again.
"""

from bisect import insort
from collections.abc import Collection, Generator
from itertools import chain
from typing import NamedTuple

from ledger.epochs.ending import PAUSE_LOOKS, Ending
from ledger.messages.lists import MAX_ATTESTORS, Attestor
from ledger.messages.state import AttestorSets, Node
from ledger.messages.tables import NODES
from ledger.nodes import is_off_duty
from ledger.offences.punish import is_barred
from ledger.params import Params
from ledger.rules.attestors import rotate
from ledger.state import State
from ledger.types import Key, TimeMs
from ledger.validators import get_holder, is_missing


class Standing(NamedTuple):
    """A node that stands for a seat; the oldest is the smallest."""

    since_ms: TimeMs
    """From when on it counts as standing."""
    node: Key
    list_key: Key


def is_lost(state: State, list_key: Key, params: Params) -> bool:
    """Whether a list key may have no seat any more."""
    return (
        is_barred(state, list_key)
        or is_off_duty(state, list_key)
        or is_missing(state, list_key, params)
    )


def choose_seats(
    state: State, sets: AttestorSets, ending: Ending
) -> Generator[None, None, tuple[Attestor, ...]]:
    """Return the set that follows on the current one, which is the current one if none does."""
    holders = {member.list_key: get_holder(state, member.list_key) for member in sets.current}
    seated = frozenset(holders.values())
    standing = yield from find_standing(state, seated, ending)
    key_of = {row.node: row.list_key for row in standing}
    lost, bare, unwanted, moving = [], [], [], []
    for list_key, holder in holders.items():
        if is_lost(state, list_key, ending.params):
            lost.append(list_key)
        elif holder == list_key:
            bare.append(list_key)
        elif holder not in key_of:
            unwanted.append(list_key)
        elif key_of[holder] != list_key:
            moving.append((list_key, key_of[holder]))
    floor = ending.params.founders_until
    if len(standing) < floor:
        return rotate(sets.current, lost, (), (), moving, floor)
    coming = [row.list_key for row in standing if row.node not in seated]
    return rotate(sets.current, lost, [*bare, *unwanted], coming, moving, floor)


def find_standing(
    state: State, seated: Collection[Key], ending: Ending
) -> Generator[None, None, list[Standing]]:
    """Return the nodes that stand for a seat, who has stood longest first, 25 at most.

    `seated` are the nodes that hold one: they stand while they are on duty.
    """
    down = sorted(key for key in seated if key not in ending.swarm_of)
    standing: list[Standing] = []
    for count, key in enumerate(chain(ending.swarm_of, down), 1):
        node = state.get(NODES, key)
        if node is not None and _opts_in(node, ending, is_seated=key in seated):
            row = Standing(max(node.activated_ms, node.stands_ms), key, node.list_key)
            is_among = len(standing) < MAX_ATTESTORS or row < standing[-1]
            if is_among and not is_lost(state, row.list_key, ending.params):
                insort(standing, row)
                del standing[MAX_ATTESTORS:]
        if count % PAUSE_LOOKS == 0:
            yield
    return standing


def _opts_in(node: Node, ending: Ending, *, is_seated: bool) -> bool:
    """Whether a node wants a seat and may have one, its list key aside.

    Who waits to leave would lose it at once.
    """
    is_leaving = 0 < node.exit_ms <= ending.time_ms and not is_seated
    has_keys = node.list_key and node.consensus_key
    return bool(has_keys) and not node.taken and not is_leaving
