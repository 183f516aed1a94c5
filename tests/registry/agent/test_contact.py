"""The node's contact data: what the settings say comes into the ledger, and nothing else does."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ledger.codec import encode
from ledger.crypto import sha256, verify
from ledger.messages.contact import Contact, Version
from ledger.messages.state import EXITED, KeyHistory, Node
from ledger.messages.tables import CONTACTS, HISTORIES, NODES
from ledger.messages.transactions import UpdateContact
from ledger.transactions import WIRE
from ledger.transactions.contact import update_contact_signatures
from registry.agent.agent import find_places
from registry.agent.contact import (
    KEPT,
    Renewal,
    compute_wanted,
    describe,
    keep,
    load_kept,
    renew,
)
from registry.agent.ledger import Ledger, Unproven
from registry.agent.settings import AgentSettings
from registry.client.cache import ListCache
from registry.client.services import Services
from registry.keystore import derive
from tests.factory import make_contact
from tests.flip import flip
from tests.registry.agent.served import Town, Witness, serve_town
from tests.registry.factory import in_loop, seed_of
from tests.registry.small_service import Said, problem, running, said

SEED: Final = seed_of("node")
KEY: Final = derive(SEED, "node").public
IN_FORCE: Final = make_contact(ipv4=bytes((127, 0, 0, 1)))
SENT: Final = "POST /v1/transactions"

Make = Callable[..., Any]


def settings(**changes: Any) -> AgentSettings:
    return AgentSettings(home=Path("/nowhere"), node=Path("/nowhere/node.json"), **changes)


class Ours(Town):
    """A town with a node whose seed is known."""

    def __init__(self) -> None:
        super().__init__()
        row = self.network.state.one(NODES, self.network.genesis.nodes[0].node)
        self.network.checking = False
        history = KeyHistory(row.life, 4, 0)
        self.network.rewrite(
            {
                NODES.letter + KEY: row,
                CONTACTS.letter + KEY: IN_FORCE,
                HISTORIES.letter + KEY: history,
            }
        )
        self.end_epoch()


class Agent:
    """What a test has of an agent of that node."""

    def __init__(self, folder: Path, town: Town, witnesses: list[Witness]) -> None:
        self.witnesses = witnesses
        self.services = Services([witness.url for witness in witnesses])
        raw = town.network.raw
        self.ledger = Ledger(self.services, raw, ListCache(folder / "lists", raw))
        self.node: Node | None = town.network.state.one(NODES, KEY)

    async def renew(self, **given: Any) -> Renewal:
        return await renew(self.ledger, self.services, settings(**given), SEED, KEY, self.node)

    def sent(self, number: int = 0) -> list[UpdateContact]:
        """The changes that came to a service."""
        asked = [each for each in self.witnesses[number].asked if each.method == "POST"]
        return [WIRE.decode(bytes.fromhex(each.json["transaction"])).body for each in asked]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make an agent of a node, and some services."""
    with ExitStack() as stack:

        async def make(services: int = 1) -> Agent:
            town = Ours()
            served = [stack.enter_context(running(serve_town(town))) for _ in range(services)]
            agent = Agent(tmp_path, town, served)
            await agent.ledger.refresh()
            return agent

        yield make


def taken(state: str = "pending") -> Said:
    return said({"results": [{"state": state, "code": None}]}, 202)


@in_loop
async def test_what_is_as_it_should_be_is_left_alone(make: Make) -> None:
    agent = await make()
    for given in ({}, {"ipv4": ip_address("127.0.0.1"), "storage_port": IN_FORCE.storage_port}):
        assert await agent.renew(**given) == Renewal(IN_FORCE, IN_FORCE)
    assert agent.sent() == []


@in_loop
async def test_a_change_is_signed_by_the_node_and_goes_to_everybody(make: Make) -> None:
    agent = await make(services=2)
    for witness in agent.witnesses:
        witness.answers[SENT] = taken()
    renewal = await agent.renew(ipv4=ip_address("127.0.0.9"), router_version="12.0.1")
    wanted = make_contact(ipv4=bytes((127, 0, 0, 9)), router_version=Version(12, 0, 1))
    assert renewal[:2] == (IN_FORCE, wanted)
    assert renewal.why.startswith("sent")
    (body,) = agent.sent(0)
    assert agent.sent(1) == [body]
    assert (body.update.node, body.update.life, body.update.sequence) == (KEY, 1, 5)
    assert body.update.contact == wanted
    (signed,) = update_contact_signatures(agent.ledger.header, body, agent.ledger.genesis_hash)
    assert verify(signed)
    # the same bytes again, for as long as it is not in force
    await agent.renew(ipv4=ip_address("127.0.0.9"), router_version="12.0.1")
    assert agent.sent(0) == [body, body]


@in_loop
async def test_one_service_that_takes_it_is_enough(make: Make) -> None:
    agent = await make(services=2)
    agent.witnesses[0].answers[SENT] = problem("contact_too_often")
    agent.witnesses[1].answers[SENT] = taken("committed")
    assert (await agent.renew(storage_port=5)).why.startswith("sent")
    assert len(agent.sent(0)) == len(agent.sent(1)) == 1


@in_loop
async def test_after_changes_in_the_same_epoch_the_next_numbers_are_tried(make: Make) -> None:
    agent = await make()
    replies = [problem("contact_sequence", sequence=5, last=6)] * 2 + [taken()]
    agent.witnesses[0].answers[SENT] = lambda asked: replies.pop(0)
    assert (await agent.renew(storage_port=5)).why.startswith("sent")
    assert [body.update.sequence for body in agent.sent()] == [5, 6, 7]


@in_loop
async def test_a_service_cannot_use_up_the_numbers(make: Make) -> None:
    agent = await make()
    agent.witnesses[0].answers[SENT] = problem("contact_sequence", sequence=5, last=2**62)
    assert "contact_sequence" in (await agent.renew(storage_port=5)).why
    assert [body.update.sequence for body in agent.sent()] == [5, 6, 7]


@pytest.mark.parametrize(
    "answer",
    [
        problem("bad_address"),
        problem("busy", 503),
        said({"results": [{"state": "refused", "code": "bad_port"}]}),
        said({"results": []}),
        said([]),
    ],
    ids=["problem", "busy", "refused", "no row", "no object"],
)
@in_loop
async def test_what_nobody_takes_is_said(make: Make, answer: Said) -> None:
    agent = await make()
    agent.witnesses[0].answers[SENT] = answer
    renewal = await agent.renew(storage_port=5)
    assert renewal.why.startswith(f"not taken: {agent.witnesses[0].url}: ")
    assert len(agent.sent()) == 1


@in_loop
async def test_what_is_not_proven_is_not_changed(make: Make) -> None:
    agent = await make()
    path = f"GET /v1/proofs/histories/{KEY.hex()}"
    agent.witnesses[0].answers[path] = problem("state_not_kept", 404)
    with pytest.raises(Unproven):
        await agent.renew(storage_port=5)
    assert agent.sent() == []


@pytest.mark.parametrize("is_there", [False, True])
@in_loop
async def test_a_node_without_duty_sends_nothing(make: Make, is_there: bool) -> None:
    agent = await make()
    agent.node = replace(agent.node, state=EXITED) if is_there else None
    renewal = await agent.renew(storage_port=5)
    assert renewal == Renewal(None, None, "the node is not registered")
    assert agent.sent() == []


# ------------------------------------------------------------------------------ plain values

WHOLE: Final[dict[str, Any]] = {
    "ipv6": "::1",
    "storage_port": 1,
    "router_port": 2,
    "storage_version": "1.2.3",
    "router_version": "4.5.6",
}


def test_settings_that_say_everything_need_no_ledger() -> None:
    contact = Contact(b"", bytes(15) + b"\1", 1, 2, Version(1, 2, 3), Version(4, 5, 6))
    assert compute_wanted(settings(**WHOLE), None) == contact
    for name in ("storage_port", "router_version"):
        less = {key: value for key, value in WHOLE.items() if key != name}
        assert compute_wanted(settings(**less), None) is None
    assert encode(contact)


def test_contact_data_is_shown_as_people_read_it() -> None:
    assert describe(compute_wanted(settings(**WHOLE), None)) == {"ipv4": None} | WHOLE
    assert describe(None) is None


@pytest.mark.parametrize(
    ("given", "addresses", "places"),
    [
        ({}, {"ipv4": "127.0.0.7"}, [("127.0.0.7", 22021)]),
        ({}, {"ipv4": "5.6.7.8"}, [("0.0.0.0", 22021)]),
        ({}, {"ipv4": "5.6.7.8", "ipv6": "2a00::1"}, [("0.0.0.0", 22021), ("::", 22021)]),
        ({}, {"ipv6": "::1"}, [("::1", 22021)]),
        ({"bind": ["10.0.0.1"]}, {"ipv4": "5.6.7.8", "ipv6": "2a00::1"}, [("10.0.0.1", 22021)]),
    ],
)
def test_challenges_are_answered_where_the_contact_data_leads(
    given: dict[str, Any], addresses: dict[str, str], places: list[Any]
) -> None:
    packed = {name: ip_address(text).packed for name, text in addresses.items()}
    contact = make_contact(ipv4=packed.get("ipv4", b""), ipv6=packed.get("ipv6", b""))
    assert find_places(settings(**given), contact) == places


# ------------------------------------------------------------------------------ what is kept

NETWORK: Final = bytes(range(32))


def keep_one(folder: Path) -> tuple[Path, Node]:
    """Keep a node in a home; return the file, and the node."""
    node = Town().network.node("node 0")
    keep(folder, NETWORK, KEY, node, IN_FORCE)
    return folder / KEPT, node


def test_what_was_proven_last_is_kept(tmp_path: Path) -> None:
    assert load_kept(tmp_path, NETWORK, KEY) is None
    path, node = keep_one(tmp_path)
    kept = load_kept(tmp_path, NETWORK, KEY)
    assert kept is not None
    assert (kept.node, kept.contact) == (node, IN_FORCE)
    assert path.stat().st_mode & 0o777 == 0o600
    newer = replace(IN_FORCE, storage_port=7)
    keep(tmp_path, NETWORK, KEY, node, newer)
    kept = load_kept(tmp_path, NETWORK, KEY)
    assert kept is not None
    assert kept.contact == newer
    # of somebody else's it says nothing
    assert load_kept(tmp_path, bytes(32), KEY) is None
    assert load_kept(tmp_path, NETWORK, bytes(32)) is None


def test_every_bit_of_it_is_checked(tmp_path: Path) -> None:
    path, _ = keep_one(tmp_path)
    raw = path.read_bytes()
    for place in range(len(raw)):
        path.write_bytes(flip(raw, place))
        assert load_kept(tmp_path, NETWORK, KEY) is None
    for data in (
        b"",
        raw[:31],
        raw[:-1],
        raw + b"\0",
        raw + bytes(2**18),
        sha256(b"\xff") + b"\xff",
    ):
        path.write_bytes(data)
        assert load_kept(tmp_path, NETWORK, KEY) is None
    path.write_bytes(raw)
    assert load_kept(tmp_path, NETWORK, KEY) is not None


def test_where_it_cannot_be_kept_or_read_nothing_stops(tmp_path: Path) -> None:
    keep_one(tmp_path / KEPT)
    (tmp_path / "other" / KEPT).mkdir(parents=True)
    keep_one(tmp_path / "other")
    assert load_kept(tmp_path / "other", NETWORK, KEY) is None
