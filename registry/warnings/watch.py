"""Asks services for everything that warnings depend on; each one by itself, so that they compare.

A service has one time for a round, and answers of a bounded number of nodes. One that gives each
address so much a second is asked no faster than that.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from registry.addresses import decode_node
from registry.client.services import Busy, ServiceRefused, Services
from registry.client.transport import Unavailable
from registry.warnings.facts import (
    Failed,
    NetworkFacts,
    NodeAddress,
    NodeFacts,
    Rules,
    Seen,
    Unreadable,
    Versions,
    read,
)

ROUND_S: Final = 60.0
"""Seconds that a service has for all answers of a round, but for those of nodes."""

NODE_S: Final = 0.1
"""Seconds that it has for each node more: twice what one takes by a service's usual limits."""

TRIES: Final = 8
"""Times that one question is asked of a service that says when to ask again."""

WAIT_S: Final = 10
"""Seconds that one such wait takes at most."""

MAX_NODES: Final = 2_000
"""Nodes of an operator that are watched."""

NOT_FOUND: Final = "not_found"

Answers: TypeAlias = Mapping[str, Seen | Failed]
"""What each service answered, by URL, in the order in which they were named."""


class _Stake(msgspec.Struct):
    node: NodeAddress


class _Account(msgspec.Struct):
    stakes: list[_Stake]


class _Epoch(msgspec.Struct):
    header: Versions


async def ask_all(services: Services, nodes: Sequence[str], operator: str | None) -> Answers:
    """Ask every service for these nodes, and for all those of an operator."""

    async def ask(url: str) -> Seen | Failed:
        begun_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(ROUND_S) as limit:
                return await _ask(services, url, nodes, operator, limit)
        except TimeoutError:
            total_s = (limit.when() or begun_s) - begun_s
            return Failed(f"it took longer than {total_s:.3g} s for all answers")
        except ServiceRefused as refused:
            return Failed(f"it refuses to answer: {refused.code}")
        except Unavailable as failure:
            return Failed(failure.text)
        except Unreadable as failure:
            return Failed(str(failure))

    found = await asyncio.gather(*(ask(url) for url in services.urls))
    return dict(zip(services.urls, found, strict=True))


async def _ask(
    services: Services,
    url: str,
    nodes: Sequence[str],
    operator: str | None,
    limit: asyncio.Timeout,
) -> Seen:
    network = read(await _get(services, url, "/v1/network"), NetworkFacts)
    rules = read(await _get(services, url, "/v1/rules"), Rules)
    epoch = await _get(services, url, f"/v1/epochs/{network.newest_header.epoch}")
    asked = dict.fromkeys(nodes)
    own = await _list_own(services, url, operator) if operator else []
    addresses = dict.fromkeys([*asked, *own])
    limit.reschedule((limit.when() or 0.0) + NODE_S * len(addresses))
    found: dict[str, NodeFacts | None] = {}
    for address in addresses:
        facts = await _find_node(services, url, address)
        is_own = facts is not None and facts.operator == operator
        if address in asked or is_own:
            found[address] = facts
    return Seen(network, rules, read(epoch, _Epoch).header, found)


async def _get(services: Services, url: str, path: str) -> Any:
    """Return an answer, also of a service that was asked too much: it says when to ask again."""
    for _ in range(TRIES - 1):
        try:
            return await services.get_from(url, path)
        except Busy as busy:
            if not busy.wait_s:
                raise
            wait_s = min(busy.wait_s, WAIT_S)
        await asyncio.sleep(wait_s)
    return await services.get_from(url, path)


async def _list_own(services: Services, url: str, operator: str) -> list[str]:
    """Return the nodes in which an operator has stake: his own are among them."""
    answer = read(await _get(services, url, f"/v1/accounts/{operator}"), _Account)
    nodes = [stake.node for stake in answer.stakes][:MAX_NODES]
    try:
        for address in nodes:
            decode_node(address)
    except ValueError:
        raise Unreadable("it names a node by what is no address") from None
    return nodes


async def _find_node(services: Services, url: str, address: str) -> NodeFacts | None:
    try:
        answer = await _get(services, url, f"/v1/nodes/{address}")
    except ServiceRefused as refused:
        if refused.code != NOT_FOUND:
            raise
        return None
    facts = read(answer, NodeFacts)
    if facts.key != address:
        raise Unreadable("it answers with another node than the one that was asked for")
    return facts
