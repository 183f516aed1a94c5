"""A verdict on a node: `judge`.

- It is for the running epoch or the one before, for the life that the node is in, and only one for
  each node and epoch; it has its effect when its judging window ends, at the end of the next epoch.
- A fail is for a node on duty, a pass for one that is queued or decommissioned: others change
  nothing. Only epochs count through which the node was what it is now.
- The votes come from the quorum that was drawn for that node and epoch, each by the duty key of
  then. They agree on pass or fail; their faults may differ.
"""

from ledger.codec import encode
from ledger.crypto import Signed
from ledger.errors import Refusal
from ledger.history import VerdictRow, verdict_key
from ledger.messages.duty import Vote, vote_signed
from ledger.messages.state import (
    ACTIVE,
    DECOMMISSIONED,
    NODE_STATES,
    QUEUED,
    Node,
    Verdict,
)
from ledger.messages.tables import EPOCH, NODES, ROSTERS, VERDICTS
from ledger.messages.transactions import Judge
from ledger.nodes import get_duty_key, get_members, get_node
from ledger.rules.quorums import draw_testers
from ledger.state import State, epoch_key
from ledger.transactions.envelope import Context, Transaction
from ledger.types import Epoch, Hash, Key


def check_judge(state: State, tx: Transaction, _context: Context) -> None:
    """Refuses with `verdict_closed`, `unknown_node`, `wrong_life`, `not_tested`,
    `judged_already`, `votes_differ`, `verdict_useless`, `no_quorum`, `bad_testers`,
    `too_few_votes`.
    """
    body: Judge = tx.body
    node = check_tested(state, body.epoch, body.node, body.life)
    if state.get(VERDICTS, epoch_key(body.epoch, body.node)) is not None:
        raise Refusal("judged_already", epoch=body.epoch)
    fails = [vote.faults != 0 for vote in body.votes]
    if any(fails) != all(fails):
        raise Refusal("votes_differ")
    check_useful(node, is_fail=fails[0])
    _check_places(state, body)


def check_tested(state: State, epoch: Epoch, key: Key, life: int) -> Node:
    """Return a node that may be voted on for an epoch.

    Refuses with `verdict_closed`, `unknown_node`, `wrong_life`, `not_tested`.
    """
    running = state.one(EPOCH).epoch
    if epoch not in (running, running - 1) or epoch == 0:
        raise Refusal("verdict_closed", epoch=epoch)
    node = get_node(state, key, life)
    if not 0 < node.tested_from <= epoch:
        raise Refusal("not_tested", epoch=epoch)
    return node


def check_useful(node: Node, *, is_fail: bool) -> None:
    """Check that a verdict can change something. Refuses with `verdict_useless`."""
    useful = (ACTIVE, DECOMMISSIONED) if is_fail else (QUEUED, DECOMMISSIONED)
    if node.state not in useful or node.passed:
        raise Refusal("verdict_useless", state=NODE_STATES[node.state])


def _check_places(state: State, body: Judge) -> None:
    places = [vote.place for vote in body.votes]
    quorum = get_quorum(state, body.epoch, body.node)
    if not quorum:
        raise Refusal("no_quorum")
    if places != sorted(set(places)) or places[-1] >= len(quorum):
        raise Refusal("bad_testers")
    threshold = state.one(ROSTERS, epoch_key(body.epoch)).threshold
    if len(places) < threshold:
        raise Refusal("too_few_votes", count=len(places), threshold=threshold)


def get_quorum(state: State, epoch: Epoch, key: Key) -> tuple[Key, ...]:
    """Return the testers of a node in the running epoch or the one before, in their order.

    None where there are too few, or where the node is not known.
    """
    node, roster = state.get(NODES, key), state.get(ROSTERS, epoch_key(epoch))
    if node is None or roster is None:
        return ()
    members = get_members(state, epoch)
    return draw_testers(members, roster.seed, key, node.operator, roster.testers)


def apply_judge(state: State, tx: Transaction, _context: Context, _index: int) -> None:
    """Keep the verdict until its window ends, and who voted what for ever."""
    body: Judge = tx.body
    faults = 0
    for vote in body.votes:
        faults |= vote.faults
    state.put(VERDICTS, Verdict(body.life, faults), epoch_key(body.epoch, body.node))
    quorum = get_quorum(state, body.epoch, body.node)
    voted = {vote.place: vote.faults for vote in body.votes}
    row = VerdictRow(
        body.life,
        tuple((quorum[place], faults) for place, faults in voted.items()),
        tuple(tester for place, tester in enumerate(quorum) if place not in voted),
    )
    state.archived[verdict_key(body.epoch, body.node)] = encode(row)


def judge_signatures(state: State, body: Judge, genesis_hash: Hash) -> list[Signed]:
    """Return each vote, by the duty key that its tester had in that epoch.

    Refuses with `verdict_closed`, `unknown_node`, `wrong_life`, `not_tested`, `no_quorum`,
    `bad_testers`: where there is no such tester.
    """
    check_tested(state, body.epoch, body.node, body.life)
    quorum = get_quorum(state, body.epoch, body.node)
    if not quorum:
        raise Refusal("no_quorum")
    items = []
    for row in body.votes:
        if row.place >= len(quorum):
            raise Refusal("bad_testers")
        tester = state.one(NODES, quorum[row.place])
        vote = Vote(body.epoch, body.node, body.life, row.faults)
        key = get_duty_key(tester, body.epoch)
        items.append(vote_signed(genesis_hash, key, vote, row.signature))
    return items
