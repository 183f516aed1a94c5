"""Services are asked once for everybody, and what they tell is held against the verified list."""

import asyncio
import json
from typing import Any

import pytest

from registry.api.models import HEIGHT
from registry.client import TrustedLists
from registry.oxenmq.snapshot import ALL_NAMES, SHORT_NAMES, Wanted
from registry.oxenmq.upstream import (
    MAX_AGE_S,
    MAX_KEPT,
    MAX_LISTS_BEHIND,
    RETRY_S,
    BadCall,
    Failed,
    Upstream,
)
from tests.registry.api.fake_ledger import ACTIVE_NODES, make_block_hash
from tests.registry.client.factory import EPOCH, NOW_MS, VALID_MS
from tests.registry.factory import in_loop, settle
from tests.registry.oxenmq.face import Hand
from tests.registry.oxenmq.proven import HONEST, make_proven, verify
from tests.registry.oxenmq.services import Service

LIST = verify(make_proven())


class Asking:
    """An upstream over a service, with a clock and a list that a test sets."""

    def __init__(self) -> None:
        self.service = Service()
        self.clock = Hand()
        self.list: TrustedLists | None = None
        self.upstream = Upstream(self.service, lambda: self.list, self.clock)

    async def rows(self, names: frozenset[str] = SHORT_NAMES) -> list[Any]:
        """Return all rows with some fields."""
        snapshot = await self.upstream.take_snapshot(names)
        shown = json.loads(snapshot.render(Wanted(fields=sorted(names))))
        rows: list[Any] = shown["service_node_states"]
        return rows

    async def fails_with(self, text: str) -> None:
        """Check that there is no snapshot, and why."""
        with pytest.raises(Failed) as failed:
            await self.upstream.take_snapshot(SHORT_NAMES)
        assert text in str(failed.value)


# ---- Asked once ----


@in_loop
async def test_many_who_ask_at_once_make_one_question() -> None:
    asking = Asking()
    asking.service.gate.clear()
    waiting = [asyncio.ensure_future(asking.rows()) for _ in range(50)]
    await settle()
    asking.service.gate.set()
    answers = await asyncio.gather(*waiting)
    assert all(answer == answers[0] and len(answer) == 32 for answer in answers)
    params = {"fields": sorted(SHORT_NAMES), "active_only": False}
    assert asking.service.calls == [("get_service_nodes", params)]


@in_loop
async def test_who_wants_more_makes_one_question_more() -> None:
    asking = Asking()
    for names in (SHORT_NAMES, frozenset({"public_ip"}), ALL_NAMES, frozenset({"operator_fee"})):
        await asking.rows(names)
    fields = [params["fields"] for _, params in asking.service.calls]
    assert fields == [sorted(SHORT_NAMES), ["all"]]


@in_loop
async def test_a_new_block_is_asked_for() -> None:
    asking = Asking()
    await asking.rows()
    asking.service.height = HEIGHT + 1
    asking.upstream.note_block(HEIGHT + 1)
    snapshot = await asking.upstream.take_snapshot(SHORT_NAMES)
    assert snapshot.block_hash == make_block_hash(HEIGHT + 1)
    asking.upstream.note_block(HEIGHT + 1)
    await asking.rows()
    assert len(asking.service.calls) == 2


@in_loop
async def test_an_answer_grows_old() -> None:
    asking = Asking()
    await asking.rows()
    asking.clock.now_s += MAX_AGE_S - 0.1
    await asking.rows()
    assert len(asking.service.calls) == 1
    asking.clock.now_s += 0.1
    await asking.rows()
    assert len(asking.service.calls) == 2


@in_loop
async def test_a_service_that_is_behind_is_asked_again_soon() -> None:
    asking = Asking()
    asking.upstream.note_block(HEIGHT + 1)
    await asking.rows()
    await settle()
    asking.clock.now_s += RETRY_S
    await asking.rows()
    assert len(asking.service.calls) == 2


@in_loop
async def test_a_failure_holds_for_a_second_and_not_longer() -> None:
    asking = Asking()
    asking.service.is_away = True
    await asking.fails_with("no service answers")
    await settle()
    asking.service.is_away = False
    await asking.fails_with("no service answers")
    asking.clock.now_s += RETRY_S
    assert len(await asking.rows()) == 32
    assert len(asking.service.calls) == 2


@in_loop
async def test_who_gives_up_takes_the_answer_from_nobody() -> None:
    asking = Asking()
    asking.service.gate.clear()
    first, second = (asyncio.ensure_future(asking.rows()) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    asking.service.gate.set()
    assert len(await second) == 32
    assert len(asking.service.calls) == 1


@in_loop
async def test_calls_are_shared_by_their_parameters() -> None:
    asking = Asking()
    for params in ({"height": [1]}, {"height": [2]}, {"height": [1]}):
        result = await asking.upstream.call("get_block_hash", params)
        height = params["height"][0]
        assert result[str(height)] == make_block_hash(height)
    assert [params["height"] for _, params in asking.service.calls] == [[1], [2]]


@in_loop
async def test_answers_that_are_kept_are_bounded() -> None:
    asking = Asking()
    for height in range(MAX_KEPT + 1):
        await asking.upstream.call("get_block_hash", {"height": [height]})
    await asking.upstream.call("get_block_hash", {"height": [1]})
    assert len(asking.service.calls) == MAX_KEPT + 1
    await asking.upstream.call("get_block_hash", {"height": [0]})
    assert len(asking.service.calls) == MAX_KEPT + 2


@in_loop
async def test_errors_of_a_call_are_told_apart() -> None:
    asking = Asking()
    asking.service.error = {"code": -32602, "message": "send 1 to 100 heights as height"}
    with pytest.raises(BadCall, match="send 1 to 100 heights"):
        await asking.upstream.call("get_block_hash", {})
    asking.service.error = {"code": -32601, "message": "there is no such method"}
    with pytest.raises(Failed, match="no such method"):
        await asking.upstream.call("get_info", None)


NO_LISTS: dict[str, Any] = {
    "no rows": None,
    "rows by key": {},
    "a row that is none": [None],
    "a row without a key": [{}],
}


@pytest.mark.parametrize("name", NO_LISTS)
@in_loop
async def test_what_is_no_list_of_nodes_is_not_passed_on(name: str) -> None:
    asking = Asking()
    asking.service.rows = NO_LISTS[name]
    await asking.fails_with("no list of nodes")


@pytest.mark.parametrize(
    ("field", "value"),
    [("storage_port", "22021"), ("storage_port", 65_536), ("swarm_id", "7"), ("public_ip", None)],
)
@in_loop
async def test_rows_of_another_form_are_not_passed_on(field: str, value: Any) -> None:
    asking = Asking()
    asking.service.rows[0][field] = value
    await asking.fails_with("no list of nodes")


# ---- Held against the list ----


@in_loop
async def test_without_a_list_rows_are_shown_as_they_were_told() -> None:
    asking = Asking()
    asking.service.rows[0]["public_ip"] = "127.66.6.6"
    assert "127.66.6.6" in [row["public_ip"] for row in await asking.rows()]


@in_loop
async def test_with_one_they_say_what_it_says() -> None:
    asking = Asking()
    honest = await asking.rows(ALL_NAMES)
    asking.list = LIST
    assert await asking.rows(ALL_NAMES) == honest
    asking.service.rows = [
        row | {"public_ip": "127.66.6.6", "storage_port": 1} for row in asking.service.rows[3:]
    ]
    asking.upstream.note_block(HEIGHT + 1)
    shown = {row["pubkey_ed25519"]: row for row in await asking.rows()}
    proven = {node.pubkey_ed25519: node for node in ACTIVE_NODES}
    assert set(proven) <= set(shown)
    for key, node in proven.items():
        assert (shown[key]["public_ip"], shown[key]["storage_port"]) == (node.public_ip, 22_021)


@in_loop
async def test_a_newer_list_counts_at_once() -> None:
    asking = Asking()
    asking.list = LIST
    before = await asking.rows()
    newer = make_proven(HONEST[:-1], EPOCH + 1)
    asking.list = verify(newer, NOW_MS + VALID_MS // 2)
    after = await asking.rows()
    last = HONEST[-1].key.hex()
    active = [{row["pubkey_ed25519"] for row in rows if row["active"]} for rows in (before, after)]
    assert active[0] - active[1] == {last}
    assert len(asking.service.calls) == 1


@in_loop
async def test_a_list_that_stays_the_same_does_not_grow_old() -> None:
    """After epochs in which no node changed, the next that changes is waited for."""
    asking = Asking()
    asking.list = verify(make_proven())
    before = await asking.rows()
    quiet = make_proven(epoch=EPOCH + MAX_LISTS_BEHIND)
    asking.list = verify(quiet, quiet.header.valid_after_ms)
    assert await asking.rows() == before
    newest = make_proven(HONEST[:-1], EPOCH + MAX_LISTS_BEHIND + 1)
    asking.list = TrustedLists(newest.genesis, newest.header.valid_after_ms)
    asking.list.update(newest.signed, newest.path())
    assert await asking.rows() == before


@in_loop
async def test_an_expired_list_is_not_done_without() -> None:
    asking = Asking()
    asking.list = verify(make_proven())
    await asking.rows()
    asking.list.start_update(NOW_MS + 2 * VALID_MS)
    await asking.fails_with("expired")


@in_loop
async def test_a_fork_is_not_done_without() -> None:
    asking = Asking()
    asking.list = verify(make_proven())
    asking.list.evidence = (b"one", b"other")
    await asking.fails_with("fork")


@in_loop
async def test_a_header_whose_list_is_not_there_yet() -> None:
    asking = Asking()
    newest = make_proven(HONEST[:-1], EPOCH + MAX_LISTS_BEHIND)
    trusted = TrustedLists(newest.genesis, NOW_MS)
    now_ms = newest.header.valid_after_ms
    trusted.start_update(now_ms)
    trusted.update(newest.signed, newest.path())
    asking.list = trusted
    await asking.fails_with(f"the list of epoch {newest.header.epoch} was not fetched yet")
    # what was verified before goes on for a while
    other = Asking()
    other.list = LIST
    before = await other.rows()
    other.list = trusted
    assert await other.rows() == before
    later = make_proven(HONEST[:-1], EPOCH + MAX_LISTS_BEHIND + 1)
    trusted = TrustedLists(later.genesis, later.header.valid_after_ms)
    trusted.update(later.signed, later.path())
    other.list = trusted
    await other.fails_with("was not fetched yet")
