"""Paths that a service finds in its history: a client takes them, from wherever it stands."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import pytest

from ledger.errors import Refusal
from ledger.history import final_key, recovery_key, subtree_key
from ledger.merkle import History, Subtree, leaf_hash
from ledger.messages.genesis import founders_of
from ledger.messages.lists import attestor_set_hash, decode_header, decode_signed_header, is_final
from registry.client import TrustedLists
from registry.formats.trust import Path, encode_path
from tests.factory import Network, make_genesis, public
from tests.life import current, header_evidence, report, running, seats, set_attestors
from tests.registry.year import begin, come_back, finder, live, newest, path_between

RESCUERS: Final = ("rescue 0", "rescue 1", "rescue 2")


def signed_at(network: Network, epoch: int) -> bytes:
    """The signed header of an epoch, as the chain keeps it."""
    raw = network.view.reader.get(final_key(epoch))
    return newest(network) if raw is None else raw


def epochs(network: Network) -> range:
    """Those whose headers there are."""
    return range(network.header.epoch + 1)


def holding(network: Network, epoch: int | None) -> TrustedLists:
    """A client that holds the header of an epoch, or genesis only."""
    client = TrustedLists(network.raw, network.chain.tip.time_ms, allow_expired=True)
    if epoch is not None:
        take(client, network, epoch)
    return client


def take(client: TrustedLists, network: Network, epoch: int) -> Path:
    """Let a client take a header by the path that the service finds."""
    start = None if client.is_empty else client.header.epoch
    path = path_between(network, start, epoch)
    client.update(signed_at(network, epoch), encode_path(path))
    return path


def test_a_client_takes_any_header_from_any_other() -> None:
    network = begin(4)
    live(network, weeks=6)
    last = network.header.epoch
    for start in (None, *epochs(network)):
        for end in range(-1 if start is None else start, last + 1):
            client = holding(network, start)
            if end >= 0:
                take(client, network, end)
                assert client.header == decode_header(signed_at(network, end)[:342])
                assert client.knows_history


def test_each_change_is_passed_at_once_where_enough_of_those_before_sign() -> None:
    network = begin(20)
    changes = live(network, weeks=5)
    client = holding(network, None)
    assert changes == 5
    assert len(take(client, network, network.header.epoch).ways) == 1


@pytest.mark.parametrize(("attestors", "most"), [(20, 18), (4, 27)])
def test_a_year_of_weekly_changes_takes_few_headers(attestors: int, most: int) -> None:
    returned = come_back(attestors)
    assert returned.changes == 52
    assert returned.steps <= most


def test_who_does_not_sign_makes_the_way_longer_and_nothing_else() -> None:
    """Three of four sign, so what outlives a change is just not enough."""
    network = begin(4)
    live(network, weeks=1)
    network.attesting = False
    for _ in range(2):
        sparse_epoch(network)
    client = holding(network, 0)
    end = last_final(network)
    take(client, network, end)
    assert client.header.epoch == end


def sparse_epoch(network: Network) -> None:
    """An epoch whose header all but the last attestor sign."""
    network.block()
    network.block(*network.attestations()[:-1])
    network.end_epoch()


def last_final(network: Network) -> int:
    """The newest epoch whose frozen header is final."""
    return max(epoch for epoch in epochs(network) if is_frozen_final(network, epoch))


def is_frozen_final(network: Network, epoch: int) -> bool:
    raw = network.view.reader.get(final_key(epoch))
    return raw is not None and is_final(*network.view.weigh(decode_signed_header(raw)))


def test_a_set_that_was_announced_in_vain_is_on_no_path() -> None:
    """A header that is not final announces nothing; the one that repeats it does."""
    network = Network()
    network.block(set_attestors(network, seats(network, "new", kept=current(network)[1:])))
    network.end_epoch()
    network.attesting = False
    network.end_epoch()
    network.attesting = True
    for _ in range(3):
        network.end_epoch()
    network.settle()
    path = path_between(network, None, network.header.epoch)
    passed = [decode_header(way.signed_header[:342]) for way in path.ways]
    for header in passed:
        assert is_frozen_final(network, header.epoch)
        assert header.set_hash != header.next_set_hash
    holding(network, network.header.epoch)


def rescued() -> Network:
    """A chain whose attestors were lost, and replaced by the recovery keys."""
    network = Network(
        make_genesis({"set_change_ms": 0}, recovery=tuple(sorted(map(public, RESCUERS))))
    )
    network.end_epoch()
    network.attesting = False
    network.end_epoch()
    new = seats(network, "saved 0", "saved 1", "saved 2")
    network.block(set_attestors(network, new, recovery=RESCUERS))
    network.end_epoch()
    network.attesting = True
    network.end_epoch()
    network.settle()
    return network


def test_a_recovery_is_followed_by_its_order() -> None:
    network = rescued()
    client = holding(network, 0)
    path = take(client, network, network.header.epoch)
    recovery = path.hop.recovery
    assert recovery is not None
    assert len(recovery.signers) == 3
    assert client.header.set_hash == attestor_set_hash(current(network))


def test_after_a_recovery_the_set_changes_as_before() -> None:
    network = rescued()
    network.block(set_attestors(network, seats(network, "next", kept=current(network)[1:])))
    for _ in range(3):
        network.end_epoch()
    network.settle()
    for start in (None, 0, network.header.epoch - 1):
        take(holding(network, start), network, network.header.epoch)


def test_a_recovery_that_lapsed_is_on_no_path() -> None:
    """Its order is kept; but it names a set that never was, and proves no other."""
    network = Network(
        make_genesis({"set_change_ms": 0}, recovery=tuple(sorted(map(public, RESCUERS))))
    )
    network.block(set_attestors(network, seats(network, "new", kept=current(network)[1:])))
    for _ in range(3):
        network.end_epoch()
    kept = current(network)[:2]
    network.block(
        set_attestors(network, seats(network, kept=kept), recovery=RESCUERS),
        report(network, "leo", header_evidence(network, kept[0].list_key)),
    )
    lapsed = running(network)
    for _ in range(4):
        network.end_epoch()
    network.settle()
    assert network.view.reader.get(recovery_key(lapsed)) is not None
    last = network.header.epoch
    assert last > lapsed
    for end in range(lapsed, last + 1):
        for start in (None, 0, 1, lapsed - 1):
            client = holding(network, start)
            path = take(client, network, end)
            assert client.header.epoch == end
            assert path.hop.recovery is None
            assert all(way.hop.recovery is None for way in path.ways)


def test_from_a_header_to_itself_leads_the_history_before_it() -> None:
    network = begin(4)
    live(network, weeks=3)
    for epoch in epochs(network):
        client = TrustedLists(network.raw, network.chain.tip.time_ms, allow_expired=True)
        hop = path_between(network, epoch, epoch).hop
        assert History().extend(epoch, hop.hashes) is not None
        if decode_header(signed_at(network, epoch)[:342]).set_hash == attestor_set_hash(
            founders_of(network.genesis)
        ):
            client.update(signed_at(network, epoch))
            client.update(signed_at(network, epoch), encode_path(Path((), hop)))
            assert client.knows_history


NOWHERE: dict[str, tuple[int | None, int]] = {
    "a header that is still to come": (None, 10**6),
    "from one that is still to come": (10**6, 3),
    "backwards": (3, 2),
}


@pytest.mark.parametrize(("start", "end"), NOWHERE.values(), ids=NOWHERE.keys())
def test_nowhere_leads_no_path(start: int | None, end: int) -> None:
    network = begin(4)
    live(network, weeks=1)
    assert finder(network).find(network.view, start, end) is None


def test_what_is_remembered_changes_no_path() -> None:
    network = begin(20)
    found = finder(network)
    for _ in range(4):
        live(network, weeks=3)
        last = network.header.epoch
        for end in range(0, last + 1, 3):
            for start in (None, *range(0, end, 5)):
                path = found.find(network.view, start, end)
                assert path == path_between(network, start, end)


def test_what_is_not_kept_is_refused() -> None:
    network = begin(4)
    live(network, weeks=2)
    network.store.write(dict.fromkeys(kept_subtrees(network)), sync=True)
    network.reopen()
    with pytest.raises(Refusal) as caught:
        finder(network).find(network.view, 0, network.header.epoch)
    assert caught.value.code == "bad_path"


def kept_subtrees(network: Network) -> Iterator[bytes]:
    first, last = subtree_key(Subtree(0, 0)), subtree_key(Subtree(63, 0))
    yield from (key for key, _ in list(network.view.reader.items(first, last)))


def test_the_subtrees_that_are_kept_are_those_of_the_history() -> None:
    network = begin(4)
    live(network, weeks=2)
    history = History()
    for epoch, following in pairwise(epochs(network)):
        raw = signed_at(network, epoch)[:342]
        for subtree, root in history.ended_by(leaf_hash(raw)):
            assert network.view.reader.get(subtree_key(subtree)) == root
        history = history.append(leaf_hash(raw))
        assert decode_header(signed_at(network, following)[:342]).history_root == history.root()
