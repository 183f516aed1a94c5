"""The epoch that begins: who tests in it, when it started, and the header of the one before."""

from collections.abc import Generator

from ledger.epochs.ending import PAUSE_LOOKS, Ending, Pauses
from ledger.lists import BuiltList, build_list, draft_header
from ledger.messages.state import EpochStart, EpochState, RawHeader, Roster
from ledger.messages.tables import DRAFT, EPOCH, NODES, ROSTERS, STARTS
from ledger.rules.quorums import pack_members
from ledger.state import State, epoch_key


def write_roster(state: State, ending: Ending) -> Pauses:
    """Write down who may test in the next epoch; the last one but this is not needed any more."""
    keys = list(ending.swarm_of)
    members: list[bytes] = []
    for start in range(0, len(keys), PAUSE_LOOKS):
        some = keys[start : start + PAUSE_LOOKS]
        members.append(pack_members((key, state.one(NODES, key).operator) for key in some))
        yield
    params = ending.params
    roster = Roster(ending.seed, params.quorum_testers, params.quorum_threshold, b"".join(members))
    state.put(ROSTERS, roster, epoch_key(ending.epoch + 1))
    if ending.epoch > 1:
        state.delete(ROSTERS, epoch_key(ending.epoch - 1))
    yield


def write_start(state: State, ending: Ending) -> Pauses:
    """Write down when the next epoch started, and forget those that evidence is too old for.

    An epoch is past the age of evidence once it ended, so the next one began, that long ago.
    """
    state.put(STARTS, EpochStart(ending.time_ms), epoch_key(ending.epoch + 1))
    oldest_ms = ending.time_ms - ending.params.evidence_ms
    rows = state.items(STARTS)
    before, _ = next(rows)
    old = []
    for key, row in rows:
        if row.start_ms > oldest_ms:
            break
        old.append(before)
        before = key
    for key in old:
        state.delete(STARTS, key)
    yield


def make_header(state: State, ending: Ending) -> Generator[None, None, BuiltList]:
    """Build the list, leave the header's draft, and begin the next epoch: the last step."""
    built = yield from build_list(state, ending.swarm_of)
    draft = draft_header(state, built, ending.epoch, ending.height, ending.time_ms, ending.seed)
    state.put(DRAFT, RawHeader(draft))
    state.put(EPOCH, EpochState(ending.epoch + 1, ending.time_ms, ending.height, ending.seed))
    return built
