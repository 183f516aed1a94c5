"""A service over a ledger in memory, which proves what it says, or lies.

Town       a network of active nodes, each of an operator of its own, whose epochs began just now
Witness    a service that serves it over HTTP; `answers` says what it answers instead
"""

import time
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from ledger.codec import encode
from ledger.messages.lists import encode_signed_header
from ledger.messages.tables import TABLE_OF
from ledger.types import Epoch
from ledger.views import View
from registry.addresses import encode_node
from registry.formats.trust import encode_path
from registry.trust import PathFinder
from tests.factory import (
    EPOCH_MS,
    PEOPLE,
    Network,
    founding,
    make_contact,
    make_genesis,
    public,
)
from tests.registry.small_service import Answer, Asked, SmallService, problem, said

NODES: Final = 9


def name_of(number: int) -> str:
    """The name of a node."""
    return f"node {number}"


class Town:
    """A network of nodes that test each other; at first epoch 1 runs, and header 0 is final."""

    def __init__(self, nodes: int = NODES, **params: int) -> None:
        rows = [
            founding(
                name_of(number),
                operator=PEOPLE[number],
                contact=make_contact(ipv4=bytes((127, 30, number, 1))),
            )[0]
            for number in range(nodes)
        ]
        start_ms = time.time_ns() // 1_000_000 - EPOCH_MS // 2
        self.network = Network(
            make_genesis(
                params, start_ms=start_ms, nodes=tuple(sorted(rows, key=lambda row: row.node))
            )
        )
        self.ends: dict[Epoch, View] = {0: self.network.view}
        self.network.settle()

    @property
    def newest(self) -> Epoch:
        """Epoch of the newest header, which is final."""
        return max(self.ends)

    def end_epoch(self) -> None:
        """Go on to the next epoch, up to where its header is final."""
        self.network.end_epoch()
        self.ends[self.network.header.epoch] = self.network.view
        self.network.settle()

    @property
    def signed_header(self) -> bytes:
        """The newest header."""
        return encode_signed_header(self.network.chain.newest_header())


class Witness(SmallService):
    """A service of a town."""

    town: Town
    named: tuple[bytes, ...] = ()
    """Nodes that it names in `duties`."""

    def answer_else(self, asked: Asked) -> Answer:
        """Answer honestly."""
        url = urlsplit(asked.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        parts = url.path.removeprefix("/v1/").split("/")
        if parts == ["lists", "latest"]:
            return said(self.town.signed_header)
        if parts[0] == "trust":
            return self._path(int(parts[1]), query.get("from"))
        if parts[0] == "proofs":
            return self._proof(parts[1], bytes.fromhex("".join(parts[2:])), int(query["epoch"]))
        if parts[0] == "nodes" and parts[2:] == ["duties"]:
            return said({"tests": [{"node": encode_node(key)} for key in self.named]})
        return problem("not_found", HTTPStatus.NOT_FOUND)

    def _path(self, epoch: Epoch, start: str | None) -> Answer:
        paths = PathFinder(self.town.network.genesis)
        path = paths.find(self.town.network.view, None if start is None else int(start), epoch)
        return problem("not_found", 404) if path is None else said(encode_path(path))

    def _proof(self, table: str, key: bytes, epoch: Epoch) -> Answer:
        view = self.town.ends.get(epoch)
        if view is None:
            return problem("state_not_kept", 404)
        return said({"proof": self.prove(view, TABLE_OF[table].letter + key)})

    def prove(self, view: View, key: bytes) -> str:
        """Return a proof, as hex."""
        return encode(view.make_proof(key)).hex()


def serve_town(town: Town) -> Any:
    """What makes a `Witness` of a town."""

    def make(url: str) -> Witness:
        witness = Witness(url)
        witness.town = town
        return witness

    return make


def key_of(number: int) -> bytes:
    """The key of a node."""
    return public(name_of(number))
