"""What services may say, minimal and calm, so that a test changes exactly one thing.

World          one node, one network, one or two services, and the memory of a program that warns
NODE, OTHER    addresses of nodes
FIRST, SECOND  URLs of services
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from ledger.messages.lists import FORMAT_VERSION, RULES_VERSION
from ledger.params import HOUR, MINUTE, preset
from registry.addresses import encode_account, encode_node
from registry.warnings.facts import (
    Contact,
    Failed,
    Header,
    NetworkFacts,
    NodeFacts,
    Parameter,
    Removal,
    Rules,
    Seen,
    Verdict,
    Versions,
)
from registry.warnings.memory import Memory
from registry.warnings.messages import Message
from registry.warnings.rounds import Outcome, Proofs, play
from registry.warnings.settings import WarnSettings

NODE: Final = encode_node(b"\x11" * 32)
OTHER: Final = encode_node(b"\x22" * 32)
OPERATOR: Final = encode_account(b"\x33" * 32)
FIRST: Final = "http://127.0.0.1:1"
SECOND: Final = "http://127.0.0.1:2"

PARAMS: Final = preset("mainnet")
EPOCH: Final = 48
HEIGHT: Final = 8_700
DAY_START_MS: Final = 1_795_132_800_000
"""Midnight, so that no heartbeat is due within a test that does not ask for one."""
NOW_MS: Final = DAY_START_MS + 10 * MINUTE


def make_node(**changes: Any) -> NodeFacts:
    """An active node that passes its tests, whose agent checked in a minute ago."""
    node = NodeFacts(
        key=NODE,
        state="active",
        since_ms=DAY_START_MS - 10 * 24 * HOUR,
        since_height=1_000,
        life=1,
        operator=OPERATOR,
        contact=Contact("203.0.113.7", None, 22021, 22020),
        staked="25000000000000",
        credit_ms=2 * HOUR,
        claimable="7000000000",
        penalties_taken="0",
        tombstoned=False,
        exit_ms=None,
        payout_ms=None,
        removal=make_removal("decommission", 2, 2, 90 * MINUTE),
        verdicts=(Verdict(EPOCH, False, ()),),
        checked_in_ms=NOW_MS - MINUTE,
        agent_faults=(),
    )
    return msgspec.structs.replace(node, **changes)


def make_removal(threat: str, left: int, needed: int, time_left_ms: int) -> Removal:
    """What threatens a node."""
    return Removal(threat, needed - left, needed, left, time_left_ms)


def make_network(**changes: Any) -> NetworkFacts:
    """A network whose newest list but one is final."""
    network = NetworkFacts(
        chain="test-net",
        genesis_hash="5f" * 32,
        height=HEIGHT,
        time_ms=NOW_MS - 5_000,
        epoch=EPOCH + 1,
        epoch_ms=PARAMS.epoch_ms,
        block_ms=PARAMS.block_ms,
        newest_header=make_header(EPOCH),
        latest_final=make_header(EPOCH - 1),
    )
    return msgspec.structs.replace(network, **changes)


def make_header(epoch: int) -> Header:
    """The list of an epoch; that of `EPOCH` is of midnight."""
    time_ms = DAY_START_MS + (epoch - EPOCH) * PARAMS.epoch_ms
    height = HEIGHT - 60 + (epoch - EPOCH) * 180
    fresh_until_ms, valid_until_ms = time_ms + PARAMS.fresh_ms, time_ms + PARAMS.valid_ms
    return Header(epoch, height, time_ms, fresh_until_ms, valid_until_ms)


def make_rules(**changes: Any) -> Rules:
    """The parameters of mainnet, and nothing announced."""
    rows = tuple(Parameter(name, str(value), None) for name, value in PARAMS._asdict().items())
    return msgspec.structs.replace(Rules(rows, None, None, None), **changes)


def make_seen(**changes: Any) -> Seen:
    """What a service answers when all is well."""
    versions = Versions(FORMAT_VERSION, RULES_VERSION, FORMAT_VERSION)
    return Seen(make_network(), make_rules(), versions, {NODE: make_node()})._replace(**changes)


def make_settings(**changes: Any) -> WarnSettings:
    """One node, one service, no channel; `WAYPOST_WARN_` must not be set."""
    fields: dict[str, Any] = {"home": Path("/nowhere"), "node": (NODE,), "service": (FIRST,)}
    return WarnSettings(**(fields | changes))


class World:
    """What there is to see, and a program that looks."""

    def __init__(self, **settings: Any) -> None:
        self.settings = make_settings(**settings)
        self.memory = Memory()
        self.now_ms = NOW_MS
        self.answers: dict[str, Seen | Failed] = {url: make_seen() for url in self.settings.service}
        self.proofs = Proofs()

    def look(self) -> Outcome:
        """Play a round."""
        return play(self.settings, self.memory, self.answers, self.proofs, self.now_ms)

    def told(self, warning: str) -> list[Message]:
        """Play a round, and return what it says of one warning."""
        return [message for message in self.look().messages if message.warning == warning]

    def wait(self, ms: int) -> None:
        """Let time go by; blocks, lists and check-ins go on with it."""
        self.now_ms += ms
        for url, answer in self.answers.items():
            if isinstance(answer, Seen):
                self.answers[url] = self._move(answer, ms)

    def _move(self, seen: Seen, ms: int) -> Seen:
        network = seen.network
        final = network.latest_final
        moved = msgspec.structs.replace(
            network,
            time_ms=network.time_ms + ms,
            newest_header=_later(network.newest_header, ms),
            latest_final=None if final is None else _later(final, ms),
        )
        nodes = {
            address: node
            and msgspec.structs.replace(
                node, checked_in_ms=None if node.checked_in_ms is None else node.checked_in_ms + ms
            )
            for address, node in seen.nodes.items()
        }
        return seen._replace(network=moved, nodes=nodes)

    def restart(self) -> None:
        """As if the program had ended and started again: only its file stays."""
        self.memory = msgspec.json.decode(msgspec.json.encode(self.memory), type=Memory)

    # ----------------------------------------------------------------- what may change

    def seen(self, url: str = FIRST) -> Seen:
        """What a service answers."""
        answer = self.answers[url]
        assert isinstance(answer, Seen)
        return answer

    def node(self, url: str = FIRST, **changes: Any) -> None:
        """Change the node."""
        before = self.seen(url).nodes[NODE] or make_node()
        node = msgspec.structs.replace(before, **changes)
        self.answers[url] = self.seen(url)._replace(nodes={NODE: node})

    def lose_node(self, url: str = FIRST) -> None:
        """Let the node be unknown."""
        self.answers[url] = self.seen(url)._replace(nodes={NODE: None})

    def network(self, url: str = FIRST, **changes: Any) -> None:
        """Change the network."""
        network = msgspec.structs.replace(self.seen(url).network, **changes)
        self.answers[url] = self.seen(url)._replace(network=network)

    def rules(self, **changes: Any) -> None:
        """Change the rules."""
        rules = msgspec.structs.replace(self.seen().rules, **changes)
        self.answers[FIRST] = self.seen()._replace(rules=rules)

    def versions(self, **changes: Any) -> None:
        """Change the versions of the newest header."""
        versions = msgspec.structs.replace(self.seen().versions, **changes)
        self.answers[FIRST] = self.seen()._replace(versions=versions)


Change = Callable[[World], object]


def _later(header: Header, ms: int) -> Header:
    return msgspec.structs.replace(
        header,
        valid_after_ms=header.valid_after_ms + ms,
        fresh_until_ms=header.fresh_until_ms + ms,
        valid_until_ms=header.valid_until_ms + ms,
    )
