"""What an agent believes of the ledger: what is proven, from whomever it comes."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ledger.codec import encode
from ledger.errors import Refusal
from ledger.messages.lists import (
    decode_header,
    decode_signed_header,
    encode_header,
    encode_signed_header,
)
from ledger.messages.state import ACTIVE
from ledger.messages.tables import CONTACTS, NODES, PENDING, ROSTERS
from ledger.state import epoch_key
from ledger.views import View
from registry.agent import ledger as module
from registry.agent.ledger import Forked, Ledger, Unproven, now_ms
from registry.client.cache import ListCache
from registry.client.services import Services
from registry.client.transport import Unavailable
from tests.factory import EPOCH_MS, public
from tests.flip import flip
from tests.registry.agent.served import Town, Witness, key_of, serve_town
from tests.registry.factory import in_loop
from tests.registry.small_service import Asked, Said, problem, running, said

NOBODY = "http://127.0.0.1:1"
Make = Callable[..., Any]


class Agent:
    """What a test has of an agent, and the services that it asks."""

    def __init__(
        self, folder: Path, town: Town, *witnesses: Witness, more: tuple[str, ...] = ()
    ) -> None:
        self.town = town
        self.services = Services([*more, *(witness.url for witness in witnesses)])
        raw = town.network.raw
        self.ledger = Ledger(self.services, raw, ListCache(folder / "lists", raw))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make an agent and some services of one town."""
    with ExitStack() as stack:

        def make(
            town: Town | None = None, services: int = 1, more: tuple[str, ...] = ()
        ) -> tuple[Agent, list[Witness]]:
            town = town or Town()
            served = [stack.enter_context(running(serve_town(town))) for _ in range(services)]
            return Agent(tmp_path, town, *served, more=more), served

        yield make


@in_loop
async def test_records_come_with_their_proof(make: Make) -> None:
    agent, _ = make()
    ledger, town = agent.ledger, agent.town
    with pytest.raises(Unproven, match="no verified header"):
        await ledger.prove(NODES, key_of(0))
    assert await ledger.refresh()
    assert (ledger.header, ledger.running) == (town.network.header, 1)
    assert ledger.started_ms == town.network.genesis.start_ms
    node = await ledger.prove(NODES, key_of(0))
    assert node is not None
    assert node == town.network.node("node 0")
    assert node.state == ACTIVE
    assert await ledger.prove(PENDING, key_of(0)) is None
    assert await ledger.prove(NODES, public("nobody")) is None
    roster = await ledger.prove(ROSTERS, epoch_key(1))
    assert roster is not None
    assert len(roster.members) == 9 * 64


@in_loop
async def test_a_newer_header_is_taken_and_kept(make: Make, tmp_path: Path) -> None:
    agent, (witness,) = make()
    ledger, town = agent.ledger, agent.town
    await ledger.refresh()
    assert not await ledger.refresh()
    assert len([path for path in witness.paths() if path.startswith("/v1/trust")]) == 1
    town.end_epoch()
    assert await ledger.refresh()
    assert ledger.running == 2
    # what is proven is of the new state
    assert await ledger.prove(ROSTERS, epoch_key(2)) is not None
    kept = Ledger(agent.services, town.network.raw, ListCache(tmp_path / "lists", town.network.raw))
    assert kept.running == 2
    assert not await kept.refresh()


@in_loop
async def test_an_older_header_is_no_step_back(make: Make) -> None:
    agent, (witness,) = make()
    old = agent.town.signed_header
    agent.town.end_epoch()
    await agent.ledger.refresh()
    witness.answers["GET /v1/lists/latest"] = said(old)
    assert not await agent.ledger.refresh()
    assert agent.ledger.running == 2


@in_loop
async def test_who_keeps_a_newer_header_back_is_passed_over(make: Make) -> None:
    agent, (behind, current) = make(services=2, more=(NOBODY,))
    behind.answers["GET /v1/lists/latest"] = said(agent.town.signed_header)
    agent.town.end_epoch()
    assert await agent.ledger.refresh()
    assert agent.ledger.running == 2
    assert any(path.startswith("/v1/trust") for path in current.paths())


def claim(raw: bytes) -> Said:
    """A header that nobody signed, of an epoch that is far ahead."""
    signed = decode_signed_header(raw)
    header = decode_header(signed.header)._replace(epoch=10**6)
    return said(encode_signed_header(signed._replace(header=encode_header(header))))


def claim_and_serve(raw: bytes) -> Callable[[Asked], Said]:
    """Name another header when asked who has the newest one, and then serve that one."""
    answers = itertools.cycle([claim(raw), said(raw)])
    return lambda _: next(answers)


@in_loop
async def test_who_names_a_newer_header_and_serves_the_held_one_hides_nobody(make: Make) -> None:
    agent, (one, two, honest) = make(services=3)
    await agent.ledger.refresh()
    for liar in (one, two):
        liar.answers["GET /v1/lists/latest"] = claim_and_serve(agent.town.signed_header)
    agent.town.end_epoch()
    assert await agent.ledger.refresh()
    assert agent.ledger.running == 2
    assert honest.paths().count("/v1/lists/latest") == 3


@in_loop
async def test_who_names_a_header_that_there_is_not_is_told(make: Make) -> None:
    agent, (liar, _) = make(services=2)
    await agent.ledger.refresh()
    liar.answers["GET /v1/lists/latest"] = claim_and_serve(agent.town.signed_header)
    with pytest.raises(Unproven, match=liar.url):
        await agent.ledger.refresh()
    liar.answers["GET /v1/lists/latest"] = claim(agent.town.signed_header)
    with pytest.raises(Unproven, match=liar.url):
        await agent.ledger.refresh()
    assert agent.ledger.running == 1
    agent.town.end_epoch()
    assert await agent.ledger.refresh()


@in_loop
async def test_it_is_known_when_a_busy_service_may_be_asked_again(make: Make) -> None:
    agent, (one, two, three) = make(services=3)
    await agent.ledger.refresh()
    path = f"GET /v1/proofs/nodes/{key_of(0).hex()}"
    for witness, seconds in ((one, "9"), (two, "4")):
        busy = problem("too_many_requests", 429)
        witness.answers[path] = busy._replace(headers={"retry-after": seconds})
    three.answers[path] = problem("state_not_kept", 404)
    with pytest.raises(Unproven) as caught:
        await agent.ledger.prove(NODES, key_of(0))
    assert caught.value.wait_s == 4
    for witness in (one, two):
        witness.answers[path] = problem("state_not_kept", 404)
    with pytest.raises(Unproven) as caught:
        await agent.ledger.prove(NODES, key_of(0))
    assert caught.value.wait_s == 0


@in_loop
async def test_where_no_service_has_a_list_it_says_so(make: Make) -> None:
    agent, (witness,) = make()
    witness.answers["GET /v1/lists/latest"] = problem("not_found", 404)
    with pytest.raises(Unavailable):
        await agent.ledger.refresh()
    witness.answers["GET /v1/lists/latest"] = said(b"\1\2\3")
    with pytest.raises(Unavailable):
        await agent.ledger.refresh()
    assert agent.ledger.header is None


@in_loop
async def test_a_header_that_nobody_signed_is_refused(make: Make) -> None:
    agent, (witness,) = make()
    witness.answers["GET /v1/lists/latest"] = said(flip(agent.town.signed_header))
    with pytest.raises(Refusal):
        await agent.ledger.refresh()
    assert agent.ledger.running is None


def other_record(view: View, key: bytes) -> str:
    """The proof of somebody else's record."""
    return encode(view.make_proof(key[:1] + key_of(3))).hex()


def changed_record(view: View, key: bytes) -> str:
    """A proof whose record has other contact data in it."""
    proof = view.make_proof(key)
    return encode(replace(proof, record=(flip(proof.record[0]),))).hex()


def missing_record(view: View, key: bytes) -> str:
    """The proof that there is no such record, though there is one."""
    return encode(replace(view.make_proof(key), record=())).hex()


LIES: dict[str, Callable[[View, bytes], str]] = {
    "somebody else's record": other_record,
    "another record": changed_record,
    "no record": missing_record,
    "no proof": lambda view, key: "00ff",
    "no hexadecimal": lambda view, key: "xyz",
}


@pytest.mark.parametrize("name", LIES)
@in_loop
async def test_a_record_without_a_proof_is_none(
    make: Make, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, (liar, honest) = make(services=2)
    await agent.ledger.refresh()
    monkeypatch.setattr(liar, "prove", LIES[name])
    contact = await agent.ledger.prove(CONTACTS, key_of(0))
    assert contact is not None
    assert contact.ipv4 == bytes((127, 30, 0, 1))
    monkeypatch.setattr(honest, "prove", LIES[name])
    with pytest.raises(Unproven) as caught:
        await agent.ledger.prove(CONTACTS, key_of(0))
    assert liar.url in str(caught.value)
    assert honest.url in str(caught.value)


@in_loop
async def test_who_had_no_proof_is_asked_last_the_next_time(make: Make) -> None:
    agent, (one, two) = make(services=2)
    await agent.ledger.refresh()
    path = f"/v1/proofs/nodes/{key_of(0).hex()}"
    one.answers[f"GET {path}"] = problem("busy", 503)
    for _ in range(3):
        assert await agent.ledger.prove(NODES, key_of(0)) is not None
    assert len([asked for asked in one.paths() if asked.startswith(path)]) == 1
    assert len([asked for asked in two.paths() if asked.startswith(path)]) == 3


@in_loop
async def test_a_proof_of_another_epoch_is_none(make: Make) -> None:
    agent, (witness,) = make()
    old = agent.town.ends[0]
    agent.town.end_epoch()
    await agent.ledger.refresh()
    agent.town.ends[1] = old
    with pytest.raises(Unproven, match="epoch"):
        await agent.ledger.prove(NODES, key_of(0))
    assert witness.asked


@in_loop
async def test_after_a_fork_nothing_is_believed(make: Make) -> None:
    agent, _ = make()
    await agent.ledger.refresh()
    agent.ledger.lists.evidence = (b"one", b"two")
    with pytest.raises(Forked):
        await agent.ledger.refresh()


# --------------------------------------------------------------------------------- the clock


@in_loop
async def test_the_clock_bounds_which_epochs_can_run(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, _ = make()
    ledger, start_ms = agent.ledger, agent.town.network.genesis.start_ms
    at = [start_ms]
    monkeypatch.setattr(module, "now_ms", lambda: at[0])
    # nothing is known but the genesis file
    assert [epoch for epoch in range(9) if ledger.admits(epoch)] == [0, 1]
    at[0] = start_ms + 3 * EPOCH_MS
    assert [epoch for epoch in range(9) if ledger.admits(epoch)] == [0, 1, 2, 3, 4]
    at[0] = now_ms()
    await ledger.refresh()
    at[0] = start_ms
    assert [epoch for epoch in range(9) if ledger.admits(epoch)] == [0, 1, 2]
    # for as long as no service answers, the clock goes on
    at[0] = start_ms + 3 * EPOCH_MS
    assert [epoch for epoch in range(9) if ledger.admits(epoch)] == [0, 1, 2, 3, 4, 5]
    assert ledger.compute_latest(start_ms + EPOCH_MS - 1) == 1
    assert ledger.compute_latest(start_ms + EPOCH_MS) == 2
    assert ledger.compute_latest(start_ms - 1) == 0
