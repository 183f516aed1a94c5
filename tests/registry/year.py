"""A year in which the attestors change every week, on a real chain; and a client that was away.

    python -m tests.registry.year

prints how many headers and bytes it takes to come back, with 20 attestors and with 4, beside what
it would take along every change.
"""

from time import perf_counter
from typing import Final, NamedTuple

from ledger.messages.genesis import GenesisAttestor
from ledger.messages.lists import decode_header, encode_signed_header
from ledger.messages.tables import SETS
from ledger.rules.attestors import turnover_limit
from registry.client import TrustedLists
from registry.formats.trust import Path, encode_path
from registry.trust import PathFinder
from tests.factory import DAY_MS, Network, links, make_genesis, public
from tests.life import current, seats, set_attestors

WEEK_MS: Final = 7 * DAY_MS
EPOCHS_A_WEEK: Final = 4
WEEKS: Final = 52
TIMES: Final = {
    "epoch_ms": WEEK_MS // EPOCHS_A_WEEK,
    "fresh_ms": WEEK_MS,
    "valid_ms": WEEK_MS,
    "trust_ms": 12 * DAY_MS,
    "report_margin_ms": DAY_MS,
    "evidence_ms": 14 * DAY_MS,
    "unbonding_ms": 15 * DAY_MS,
    "lock_ms": 30 * DAY_MS,
    "set_change_ms": WEEK_MS,
}


class Return(NamedTuple):
    """How a client came back."""

    attestors: int
    changes: int
    steps: int
    """Headers that it verified, the newest one included."""
    path_bytes: int
    verify_ms: float


def begin(attestors: int) -> Network:
    """A chain with as many attestors of equal weight."""
    keys = sorted(public(f"founder {number}") for number in range(attestors))
    founders = tuple(GenesisAttestor(key, 1, links(key)[-1]) for key in keys)
    network = Network(make_genesis(TIMES, attestors=founders))
    network.checking = False
    return network


def live(network: Network, weeks: int = WEEKS) -> int:
    """Let that many weeks pass, in each of which as many seats change as may; count the changes."""
    changes = 0
    ages = [member.list_key for member in current(network)]
    for _ in range(weeks):
        count = turnover_limit(current(network))
        leaving, ages = ages[:count], ages[count:]
        kept = [member for member in current(network) if member.list_key not in leaving]
        names = [f"epoch {network.header.epoch} seat {number}" for number in range(count)]
        ages += map(public, names)
        before = network.header.next_set_hash
        begin_ms = max(
            network.state.one(SETS).changed_ms + WEEK_MS, network.chain.tip.time_ms + DAY_MS
        )
        ordered = seats(network, *names, kept=kept)
        network.block(set_attestors(network, ordered, begin=begin_ms))
        for _ in range(EPOCHS_A_WEEK):
            network.end_epoch()
        changes += network.header.next_set_hash != before
    network.settle()
    return changes


def finder(network: Network) -> PathFinder:
    """What finds paths in the history of a chain."""
    return PathFinder(network.genesis)


def path_between(network: Network, start: int | None, end: int) -> Path:
    """The path of a chain's service."""
    path = finder(network).find(network.view, start, end)
    assert path is not None
    return path


def newest(network: Network) -> bytes:
    """The newest header, as it travels."""
    return encode_signed_header(network.chain.newest_header())


def come_back(attestors: int) -> Return:
    """Let a client hold the first list, and take the one a year later."""
    network = begin(attestors)
    network.settle()
    client = TrustedLists(network.raw, network.chain.tip.time_ms)
    client.update(newest(network))
    changes = live(network)
    signed = newest(network)
    path = path_between(network, client.header.epoch, decode_header(signed[:342]).epoch)
    raw = encode_path(path)
    client.start_update(network.chain.tip.time_ms)
    started = perf_counter()
    client.update(signed, raw)
    verify_ms = 1000 * (perf_counter() - started)
    assert client.header == network.header
    return Return(attestors, changes, len(path.ways) + 1, len(raw), verify_ms)


def main() -> None:
    """Print the table."""
    print("attestors  changes  headers  path, bytes  verified in")
    for attestors in (20, 4):
        row = come_back(attestors)
        print(
            f"{row.attestors:9}  {row.changes:7}  {row.steps:7}  {row.path_bytes:11,}"
            f"  {row.verify_ms:8.1f} ms"
        )


if __name__ == "__main__":
    main()
