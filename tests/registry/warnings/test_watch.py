"""What services answer is taken as facts, or not at all."""

import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest

from ledger.nodes import get_credit
from registry.addresses import encode_node
from registry.client.services import Services
from registry.warnings import watch
from registry.warnings.facts import Failed, NodeFacts, Seen
from registry.warnings.watch import ask_all
from tests.factory import public
from tests.registry.cli.fake_service import FakeService, problem
from tests.registry.factory import in_loop
from tests.registry.town import NODES_NAMES
from tests.registry.warnings.factory import OTHER
from tests.registry.warnings.receivers import run_hook, say_nothing
from tests.registry.warnings.town import (
    ME,
    MINE,
    OPERATOR,
    be_busy,
    fail,
    run_limited,
    run_town,
)


async def ask(*urls: str, nodes: Any = (MINE,), operator: str | None = None) -> Any:
    """Ask services in one round."""
    services = Services(urls)
    try:
        return await ask_all(services, nodes, operator)
    finally:
        await services.close()


async def ask_one(service: FakeService, **what: Any) -> Seen:
    """What one service answers, which has to be of use."""
    answer = (await ask(service.url, **what))[service.url]
    assert isinstance(answer, Seen), answer
    return answer


@in_loop
async def test_real_answers_are_facts() -> None:
    with run_town() as service:
        fail(service.network)
        seen = await ask_one(service)
        header = service.network.header
    assert (seen.network.chain, seen.network.height) == ("test-net", 2)
    assert seen.network.newest_header.epoch == header.epoch
    assert seen.versions.rules_version == header.rules_version
    assert seen.rules.value_of("epoch_ms") == service.network.params.epoch_ms
    node = seen.nodes[MINE]
    assert node is not None
    assert (node.key, node.state, node.operator) == (MINE, "active", OPERATOR)
    assert node.newest_failure is not None
    assert node.newest_failure.faults == ("storage port",)
    assert node.removal is not None
    assert (node.removal.threat, node.removal.failing_epochs_left) == ("decommission", 1)
    network = service.network
    credit_ms = get_credit(network.node(ME), network.chain.tip.time_ms, network.params)
    assert node.credit_ms == credit_ms


@in_loop
async def test_a_node_that_is_not_registered_is_none() -> None:
    with run_town() as service:
        seen = await ask_one(service, nodes=(MINE, OTHER))
    assert seen.nodes[OTHER] is None
    assert seen.nodes[MINE] is not None


@in_loop
async def test_all_nodes_of_an_operator_and_no_others() -> None:
    """He has stake in the node of another one too."""
    with run_town() as service:
        network = service.network
        network.block(network.register("theirs", "bob", 10**9 * 50))
        network.block(network.register("own", "alice"))
        network.block(network.contribute("alice", 10**9 * 20, "theirs"))
        seen = await ask_one(service, nodes=(), operator=OPERATOR)
        asked = [path for path in service.asked if path.startswith("/v1/nodes/")]
    mine = {address for address, node in seen.nodes.items() if node is not None}
    assert {len(seen.nodes), len(mine)} == {2}
    assert len(asked) == 3
    assert all(node is not None and node.operator == OPERATOR for node in seen.nodes.values())


@in_loop
async def test_services_are_asked_each_by_itself() -> None:
    with run_town() as one, run_town() as two:
        fail(two.network)
        dead = "http://127.0.0.1:1"
        answers = await ask(one.url, dead, two.url)
    assert list(answers) == [one.url, dead, two.url]
    heights = [answers[url].network.height for url in (one.url, two.url)]
    assert heights == [1, 2]
    assert "did not answer" in answers[dead].why


# ------------------------------------------------------------ services that limit a client


@in_loop
async def test_a_service_that_limits_a_client_is_asked_no_faster_than_it_wants() -> None:
    """The last of four nodes wants a wait; the time of a round grows with the nodes."""
    nodes = [*map(address, NODES_NAMES[:3]), OTHER]
    with pytest.MonkeyPatch.context() as patch, run_town() as town:
        patch.setattr(watch, "ROUND_S", 1.5)
        patch.setattr(watch, "NODE_S", 10.0)
        with run_limited(town, rate=1, burst=12) as service:
            seen = (await ask(service.url, nodes=nodes))[service.url]
    assert isinstance(seen, Seen), seen
    assert service.refused == [f"/v1/nodes/{OTHER}"]
    assert [seen.nodes[address] is not None for address in nodes] == [True, True, True, False]


@in_loop
async def test_a_service_that_is_busy_for_ever_is_given_up() -> None:
    with pytest.MonkeyPatch.context() as patch, run_town() as town:
        patch.setattr(watch, "WAIT_S", 0)
        with run_limited(town, rate=50, burst=400) as service:
            service.answers["GET /v1/rules"] = be_busy(600)
            answer = (await ask(service.url))[service.url]
            asked = service.paths().count("/v1/rules")
    assert answer == Failed("it answers 429: about too_many_requests")
    assert asked == watch.TRIES


# --------------------------------------------------------------------- answers of no use


@pytest.fixture(scope="module")
def failing() -> Iterator[FakeService]:
    """A service whose node failed, for tests that bend its answers."""
    with run_town() as service:
        fail(service.network)
        yield service


@pytest.fixture
def bent(failing: FakeService) -> FakeService:
    """The same, with nothing bent yet."""
    failing.answers.clear()
    return failing


INJECTION: Final = "active\r\nBcc: thief@example.org"

BENT: dict[str, tuple[str, tuple[str, ...], Any]] = {
    "a state with a line break": ("nodes", ("state",), INJECTION),
    "a state with a line break at its end": ("nodes", ("state",), "active\n"),
    "a fault with a line break": ("nodes", ("verdicts", "0", "faults"), [INJECTION]),
    "an operator that is no account": ("nodes", ("operator",), INJECTION),
    "an address with a line break": ("nodes", ("contact", "ipv4"), "1.2.3.4\r\nX: y"),
    "an amount that is none": ("nodes", ("claimable",), "1e9"),
    "an amount without end": ("nodes", ("claimable",), "9" * 5_000),
    "a negative time": ("nodes", ("since_ms",), -1),
    "a time past all": ("nodes", ("since_ms",), 2**63),
    "a time that is no integer": ("nodes", ("since_ms",), 1.5),
    "another node": ("nodes", ("key",), OTHER),
    "a key with a line break": ("nodes", ("key",), MINE + "\n"),
    "an agent's fault with a line break": ("nodes", ("agent_faults",), [INJECTION]),
    "a threat with a line break": ("nodes", ("removal", "threat"), INJECTION),
    "a network with a line break in its name": ("network", ("chain",), INJECTION),
    "a hash that is none": ("network", ("genesis_hash",), "no"),
    "a height that is missing": ("network", ("height",), None),
    "a parameter with a line break": ("rules", ("parameters", "0", "name"), INJECTION),
    "a successor that is none": ("rules", ("successor",), INJECTION),
}


@pytest.mark.parametrize("name", BENT)
@in_loop
async def test_an_answer_is_of_no_use_with(name: str, bent: FakeService) -> None:
    path, where, value = BENT[name]
    assert isinstance(await ask_one(bent), Seen)
    full = f"/v1/nodes/{MINE}" if path == "nodes" else f"/v1/{path}"
    status, body = bent.answer("GET", full, b"")
    shown = json.loads(body)
    bend(shown, where, value)
    bent.answers[full] = (status, json.dumps(shown).encode())
    answer = (await ask(bent.url))[bent.url]
    assert isinstance(answer, Failed)
    assert "another" in answer.why
    assert "\n" not in answer.why
    assert "thief" not in answer.why


def bend(shown: Any, where: tuple[str, ...], value: Any) -> None:
    """Change one field of an answer."""
    *way, last = where
    for step in way:
        shown = shown[int(step)] if step.isdigit() else shown[step]
    shown[last] = value


USELESS: dict[str, tuple[int, bytes, str]] = {
    "no JSON": (200, b"<html>", "no JSON"),
    "a list": (200, b"[]", "another way"),
    "nothing": (200, b"", "no JSON"),
    "deep JSON": (200, b"[" * 100_000, "no JSON"),
    "a problem": (*problem(400, "bad_request", "why\r\nBcc: x", {}), "bad_request"),
    "one that passes": (*problem(503, "busy", "later", {}), "503"),
    "a status alone": (418, b"", "418"),
}


@pytest.mark.parametrize("name", USELESS)
@in_loop
async def test_a_service_is_of_no_use_that_answers(name: str, bent: FakeService) -> None:
    status, body, why = USELESS[name]
    bent.answers["/v1/network"] = (status, body)
    answer = (await ask(bent.url))[bent.url]
    assert isinstance(answer, Failed)
    assert why in answer.why
    assert "Bcc" not in answer.why


@in_loop
async def test_a_service_that_is_slow_over_all_answers_is_given_up() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch, "ROUND_S", 0.2)
        async with run_hook(say_nothing) as hook:
            silent = f"http://127.0.0.1:{hook.port}"
            with run_town() as service:
                answers = await ask(silent, service.url)
    assert "took longer than 0.2 s" in answers[silent].why
    assert isinstance(answers[service.url], Seen)


@in_loop
async def test_a_node_by_what_is_no_address_is_of_no_use(bent: FakeService) -> None:
    slip = MINE[:-1] + ("q" if MINE[-1] != "q" else "p")
    body = json.dumps({"stakes": [{"node": slip, "amount": "1"}]}).encode()
    bent.answers[f"/v1/accounts/{OPERATOR}"] = (200, body)
    answer = (await ask(bent.url, nodes=(), operator=OPERATOR))[bent.url]
    assert answer == Failed("it names a node by what is no address")


@in_loop
async def test_no_more_nodes_are_asked_for_than_a_bound() -> None:
    with pytest.MonkeyPatch.context() as patch, run_town() as service:
        patch.setattr(watch, "MAX_NODES", 2)
        stakes = [{"node": address(name), "amount": "1"} for name in NODES_NAMES]
        body = json.dumps({"stakes": stakes}).encode()
        service.answers[f"/v1/accounts/{OPERATOR}"] = (200, body)
        await ask_one(service, nodes=(), operator=OPERATOR)
        asked = [path for path in service.asked if path.startswith("/v1/nodes/")]
    assert len(asked) == 2


def address(name: str) -> str:
    return encode_node(public(name))


def test_facts_have_no_text_of_strangers() -> None:
    """Whatever is a string has a pattern, so that it can stand in any message."""
    schema = msgspec.json.schema(NodeFacts)
    texts = list(_texts(schema))
    assert len(texts) > 10
    assert all("pattern" in text and text["pattern"].endswith("\\Z") for text in texts)


def _texts(schema: Any) -> Any:
    if isinstance(schema, dict):
        if schema.get("type") == "string":
            yield schema
        for part in schema.values():
            yield from _texts(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _texts(part)
