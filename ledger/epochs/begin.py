"""The epoch that begins: who tests in it, when it started, and the header of the one before."""

from collections.abc import Generator

from ledger.epochs.ending import PAUSE_RECORDS, Ending, Pauses
from ledger.lists import BuiltList, build_list, draft_header
from ledger.messages.state import EpochStart, EpochState, RawHeader, Roster
from ledger.messages.tables import DRAFT, EPOCH, NODES, ROSTERS, STARTS, SWARMS
from ledger.rules.quorums import pack_members
from ledger.state import State, epoch_key
from ledger.types import Key


def write_roster(state: State, ending: Ending) -> Pauses:
    """Write down who may test in the next epoch; the last one but this is not needed any more."""
    members: list[tuple[Key, Key]] = []
    for count, (key, _) in enumerate(state.items(SWARMS), 1):
        members.append((key, state.one(NODES, key).operator))
        if count % PAUSE_RECORDS == 0:
            yield
    params = ending.params
    roster = Roster(
        ending.seed, params.quorum_testers, params.quorum_threshold, pack_members(members)
    )
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
    built = yield from build_list(state)
    draft = draft_header(state, built, ending.epoch, ending.height, ending.time_ms, ending.seed)
    state.put(DRAFT, RawHeader(draft))
    state.put(EPOCH, EpochState(ending.epoch + 1, ending.time_ms, ending.height, ending.seed))
    return built
