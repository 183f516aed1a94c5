"""Four validators: they agree on every block, whatever is sent, and their lists become final.

python -m tests.comet.test_four 3000 7      so many blocks, from a seed, by hand
"""

import sys
import time
from collections import Counter
from typing import Final

from ledger.types import Epoch, Height
from registry.client import TrustedLists
from registry.client.http import fetch_lists
from registry.client.transport import Unavailable
from tests.comet.crowd import Crowd
from tests.comet.network import Network, watched
from tests.factory import replay

BLOCKS: Final = 300
PARAMS: Final = {"block_ms": 250, "epoch_ms": 5_000}
BATCH: Final = 4

REFUSED: Final = (
    *("bad_signature", "not_canonical", "nonce_skipped", "fee_too_low", "expired"),
    *("expiry_too_far", "balance_too_low"),
)


class Clients:
    """A client of each service, and which lists it verified."""

    def __init__(self, network: Network) -> None:
        self._urls = [validator.url for validator in network.validators]
        self._lists = [TrustedLists(network.genesis, _now_ms()) for _ in self._urls]
        self.seen: dict[Epoch, set[str]] = {}
        """The fingerprints of the headers that were verified, by their epoch."""
        self.signers: Counter[int] = Counter()
        """By how many a list was signed, when it was verified."""

    def update(self) -> None:
        """Let each of them ask its service."""
        for url, lists in zip(self._urls, self._lists, strict=True):
            try:
                lists.start_update(_now_ms())
                fetch_lists([url], lists)
            except Unavailable:
                continue
            self.seen.setdefault(lists.header.epoch, set()).add(" ".join(lists.fingerprint))
            self.signers[lists.signers.signed] += 1


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_they_agree_whatever_is_sent() -> None:
    with watched(4, PARAMS) as network:
        play(network, BLOCKS, seed=1)


def play(network: Network, blocks: Height, seed: int) -> None:
    """Let a network make so many blocks while everybody sends; then hold all against each other."""
    crowd, clients = Crowd(network.genesis, seed), Clients(network)
    network.start()
    height = 0
    while height < blocks:
        height = max(height, *(validator.height for validator in network.validators))
        crowd.act(network.validators, height, BATCH)
        clients.update()
    # what was taken last has time to get into a block
    network.wait_for_height(height + 10)
    network.stop()
    shared = network.compare(least=blocks)
    check_transactions(network, crowd)
    check_replay(network)
    check_lists(clients, shared)


def check_transactions(network: Network, crowd: Crowd) -> None:
    """Everything that was taken stands in the chain, and of each pair one."""
    with network.validators[0].opened() as view:
        lost = [tx for tx in crowd.good if (found := view.location(tx)) is None or found.code]
        pairs = [[view.location(tx) for tx in pair] for pair in crowd.pairs]
    assert not lost, f"{len(lost)} of {len(crowd.good)} are lost"
    assert all(sum(found is not None for found in pair) == 1 for pair in pairs)
    assert crowd.pairs
    assert [code for code in REFUSED if not crowd.counts[code]] == []


def check_replay(network: Network) -> None:
    """Who executes the journal anew has the same root at each height."""
    blocks = network.validators[-1].blocks()
    assert replay(network.genesis, blocks).tip.root == blocks[-1].header.state_root
    assert len({block.header.proposer for block in blocks}) == 4


def check_lists(clients: Clients, height: Height) -> None:
    """Each list is the same everywhere, and three of four are enough."""
    assert len(clients.seen) > 3, clients.seen
    assert all(len(headers) == 1 for headers in clients.seen.values()), height
    assert set(clients.signers) <= {3, 4}


if __name__ == "__main__":
    with watched(4, PARAMS) as made:
        play(made, int(sys.argv[1]), int(sys.argv[2]))
        print(f"{sys.argv[1]} blocks from seed {sys.argv[2]}: all agree")
