"""One round without I/O: what services answered and what is remembered go in, messages come out.

- Services are listened to in the order in which they were named: the first one that is of the right
  network and not behind says what holds. The others are compared with it.
- A check-in counts whichever service has it, but not one of the future.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from registry.warnings.cases import (
    Case,
    NetworkCase,
    NodeCase,
    ProgramCase,
    ServiceCase,
    behind_ms,
    remember,
)
from registry.warnings.facts import Failed, NodeFacts, Proven, Seen
from registry.warnings.memory import Memory
from registry.warnings.messages import Message
from registry.warnings.news import Due, Place, compare, look
from registry.warnings.settings import WarnSettings
from registry.warnings.table import NEWS
from registry.warnings.watch import MAX_NODES, Answers

MAX_AHEAD_MS: Final = 300_000
"""A block from further ahead makes no other service late, and such a check-in does not count."""


class Proofs(NamedTuple):
    """What is proven, and whether anything could be."""

    proven: Mapping[str, Proven] = {}
    is_on: bool = False
    refused: str = ""


class Outcome(NamedTuple):
    """What a round found."""

    now_ms: int
    source: str
    """URL of the service that was listened to; empty if none was."""
    seen: Seen | None
    answers: Answers
    nodes: Mapping[str, NodeFacts | None]
    """The nodes that are watched, as that service shows them."""
    due: tuple[Due, ...]
    messages: tuple[Message, ...]

    @property
    def active(self) -> tuple[Due, ...]:
        """What is due now, without what only tells news."""
        return tuple(due for due in self.due if due.row.name not in NEWS)


def list_watched(settings: WarnSettings, memory: Memory) -> list[str]:
    """Return the nodes to ask for: those named, and those of the operator that were seen."""
    own = [
        address
        for address, past in memory.nodes.items()
        if settings.operator is not None and past.operator == settings.operator
    ]
    return list(dict.fromkeys([*settings.node, *own]))


def choose(answers: Answers, genesis_hash: str, now_ms: int) -> str:
    """Return the URL of the service to listen to; empty if there is none."""
    fit = {
        url: seen.network
        for url, seen in answers.items()
        if isinstance(seen, Seen) and genesis_hash in ("", seen.network.genesis_hash)
    }
    newest_ms = _newest_ms(answers, genesis_hash, now_ms)
    for url, network in fit.items():
        if newest_ms - behind_ms(network) <= network.time_ms <= now_ms + MAX_AHEAD_MS:
            return url
    return next(iter(fit), "")


def list_final(answers: Answers, genesis_hash: str) -> dict[str, int]:
    """Return the epoch of the newest final list that each service of a network claims, by URL."""
    return {
        url: seen.network.latest_final.epoch
        for url, seen in answers.items()
        if isinstance(seen, Seen)
        and seen.network.genesis_hash == genesis_hash
        and seen.network.latest_final is not None
    }


def _newest_ms(answers: Answers, genesis_hash: str, now_ms: int) -> int:
    times = (
        seen.network.time_ms
        for seen in answers.values()
        if isinstance(seen, Seen)
        and genesis_hash in ("", seen.network.genesis_hash)
        and seen.network.time_ms <= now_ms + MAX_AHEAD_MS
    )
    return max(times, default=0)


def play(
    settings: WarnSettings, memory: Memory, answers: Answers, proofs: Proofs, now_ms: int
) -> Outcome:
    """Take a round into the memory, and return what it found."""
    source = choose(answers, memory.genesis_hash, now_ms)
    found = answers.get(source)
    seen = found if isinstance(found, Seen) else None
    _note_services(memory, answers, seen, now_ms)
    cases = list(_make_service_cases(settings, memory, answers, now_ms))
    nodes: dict[str, NodeFacts | None] = {}
    if seen is not None:
        memory.genesis_hash = seen.network.genesis_hash
        cases.append(
            NetworkCase(now_ms, seen.network, seen.rules, seen.versions, settings.list_epochs)
        )
        node_cases = list(_make_node_cases(settings, memory, source, answers, proofs, now_ms))
        cases += node_cases
        nodes = {case.address: case.facts for case in node_cases}
    looked = look(cases)
    due = sum(row.row.name not in NEWS for row in looked.due)
    program = look([_make_program_case(settings, memory, seen, nodes, proofs, due, now_ms)])
    looked = looked._replace(due=looked.due + program.due, endings=looked.endings | program.endings)
    page = (settings.page or settings.service[0]).rstrip("/")
    chain = "" if seen is None else seen.network.chain
    news = compare(looked, memory.told, Place(now_ms, chain, page))
    memory.told = news.told
    _forget(settings, memory, nodes, proofs)
    return Outcome(now_ms, source, seen, answers, nodes, looked.due, news.messages)


# -------------------------------------------------------------------------------------- services


def _note_services(memory: Memory, answers: Answers, seen: Seen | None, now_ms: int) -> None:
    memory.failing = {
        url: memory.failing.get(url, now_ms)
        for url, answer in answers.items()
        if isinstance(answer, Failed)
    }
    since = memory.blind_from_ms
    memory.blind_from_ms = None if seen is not None else now_ms if since is None else since


def _make_service_cases(
    settings: WarnSettings, memory: Memory, answers: Answers, now_ms: int
) -> Iterator[Case]:
    newest_ms = _newest_ms(answers, memory.genesis_hash, now_ms)
    for url, answer in answers.items():
        yield ServiceCase(
            url=url,
            now_ms=now_ms,
            answer=answer,
            failing_from_ms=memory.failing.get(url),
            patience_ms=settings.patience_s * 1000,
            newest_ms=newest_ms,
            genesis_hash=memory.genesis_hash,
        )


# ----------------------------------------------------------------------------------------- nodes


def _make_node_cases(
    settings: WarnSettings,
    memory: Memory,
    source: str,
    answers: Answers,
    proofs: Proofs,
    now_ms: int,
) -> Iterator[NodeCase]:
    """Make the case of each node that is watched, and remember what it was like."""
    seen = answers[source]
    assert isinstance(seen, Seen)
    for address, facts in seen.nodes.items():
        is_new = address not in memory.nodes and address not in settings.node
        if is_new and len(memory.nodes) >= MAX_NODES:
            continue  # a service that makes nodes up fills no memory
        witness = _find_witness(address, source, answers, now_ms)
        case = NodeCase(
            address=address,
            now_ms=now_ms,
            facts=facts and _take_check_in(facts, answers, witness),
            past=memory.nodes.get(address),
            network=seen.network,
            rules=seen.rules,
            check_in_ms=settings.check_in_s * 1000,
            patience_ms=settings.patience_s * 1000,
            claims=_list_claims(address, source, answers),
            proven=proofs.proven.get(address),
            proves=proofs.is_on,
            witness=witness if len(answers) > 1 else "",
        )
        past = remember(case)
        if past is not None:
            memory.nodes[address] = past
        yield case._replace(past=past)


def _find_witness(address: str, source: str, answers: Answers, now_ms: int) -> str:
    """Return the URL of the service with a node's newest check-in; empty if none has one.

    Its time is what an agent signed, but the signature is not shown: one from the future would
    hide for ever that the agent is silent.
    """
    times = {}
    for url in dict.fromkeys([source, *answers]):
        answer = answers[url]
        facts = answer.nodes.get(address) if isinstance(answer, Seen) else None
        time_ms = None if facts is None else facts.checked_in_ms
        if time_ms is not None and time_ms <= now_ms + MAX_AHEAD_MS:
            times[url] = time_ms
    return max(times, key=times.__getitem__, default="")


def _take_check_in(facts: NodeFacts, answers: Answers, witness: str) -> NodeFacts:
    """Return a node with the check-in that a service has of it, or with none."""
    answer = answers.get(witness)
    newest = answer.nodes.get(facts.key) if isinstance(answer, Seen) else None
    return msgspec.structs.replace(
        facts,
        checked_in_ms=newest.checked_in_ms if newest else None,
        agent_faults=newest.agent_faults if newest else None,
    )


def _list_claims(address: str, source: str, answers: Answers) -> dict[str, str]:
    """Return what services say of a node's state, if they contradict each other on one moment.

    States change at an epoch's end, or in a block that the record names: services of one epoch
    that both have seen these blocks say the same.
    """
    chosen = answers[source]
    assert isinstance(chosen, Seen)
    claims: dict[str, str] = {}
    for url, answer in answers.items():
        if not isinstance(answer, Seen) or url == source or address not in answer.nodes:
            continue
        one, two = chosen.network, answer.network
        if (one.genesis_hash, one.epoch) != (two.genesis_hash, two.epoch):
            continue
        mine, theirs = chosen.nodes.get(address), answer.nodes[address]
        begun = max(row.since_height for row in (mine, theirs) if row) if mine or theirs else 0
        if begun <= min(one.height, two.height) and _standing(mine) != _standing(theirs):
            claims |= {source: _standing(mine)[0], url: _standing(theirs)[0]}
    return claims


def _standing(facts: NodeFacts | None) -> tuple[str, int]:
    return ("not registered", 0) if facts is None else (facts.state, facts.life)


def _forget(
    settings: WarnSettings,
    memory: Memory,
    nodes: Mapping[str, NodeFacts | None],
    proofs: Proofs,
) -> None:
    """Forget what is not watched any more: an operator's nodes that are paid out, and others."""
    watched = list_watched(settings, memory)
    told = {row.subject for row in memory.told if row.warning == "paid_out"}
    for address, past in list(memory.nodes.items()):
        proven = proofs.proven.get(address)
        is_gone = address in nodes and nodes[address] is None and past.ended_life == past.life
        is_sure = not proofs.is_on or (proven is not None and not proven.state)
        is_paid = is_gone and is_sure and address in told and address not in settings.node
        if is_paid or address not in watched:
            del memory.nodes[address]
    services = {url.rstrip("/") for url in settings.service}
    subjects = {"", *services, *settings.node, *memory.nodes}
    memory.told = tuple(row for row in memory.told if row.subject in subjects)


# --------------------------------------------------------------------------------------- program


def _make_program_case(
    settings: WarnSettings,
    memory: Memory,
    seen: Seen | None,
    nodes: Mapping[str, NodeFacts | None],
    proofs: Proofs,
    due: int,
    now_ms: int,
) -> ProgramCase:
    known: Sequence[NodeFacts] = [facts for facts in nodes.values() if facts is not None]
    return ProgramCase(
        now_ms=now_ms,
        blind_from_ms=memory.blind_from_ms,
        patience_ms=settings.patience_s * 1000,
        refused=proofs.refused,
        heartbeat_ms=settings.heartbeat_h * 3_600_000,
        nodes=known,
        active=due,
        chain="" if seen is None else seen.network.chain,
    )
