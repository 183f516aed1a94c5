"""Clients at the start of a test, and what a refusal must leave alone."""

from collections.abc import Callable
from typing import Any

import pytest

from ledger.errors import Refusal
from registry.client import TrustedLists
from tests.registry.client.factory import NOW_MS, MadeList, make_genesis


def start(made: MadeList | None = None, now_ms: int = NOW_MS, **options: Any) -> TrustedLists:
    """A client of the network of `made`, which has not seen anything yet."""
    genesis = make_genesis() if made is None else made.genesis
    return TrustedLists(genesis, now_ms, **options)


def holding(made: MadeList, now_ms: int = NOW_MS, **options: Any) -> TrustedLists:
    """A client that has verified `made`."""
    client = start(made, now_ms, **options)
    client.update(made.signed, made.path())
    client.load_full(made.full)
    return client


def go_on(client: TrustedLists, made: MadeList) -> None:
    """Take the header of `made` from the one that the client holds."""
    client.update(made.signed, made.path(client.header.epoch))


def snapshot(client: TrustedLists) -> tuple[object, ...]:
    """Everything that an update may change."""
    if client.is_empty:
        return (client.needs_list, client.evidence)
    return (client.anchor_file, client.entries, client.swarm_ids, client.evidence)


def refused(code: str, act: Callable[[], object]) -> Refusal:
    """Expect a refusal with this code, and return it."""
    with pytest.raises(Refusal) as caught:
        act()
    assert caught.value.code == code
    return caught.value
