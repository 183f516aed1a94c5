"""Validators that stop and die: with three of four the chain goes on, and nothing is ever lost.

python -m tests.comet.test_deaths 10        so many rounds of every death, by hand
"""

import sys
import time
from collections.abc import Iterator
from random import Random
from typing import Final

import pytest

from ledger.types import Epoch, Hash, Height
from tests.comet.crowd import Crowd
from tests.comet.dying.sitecustomize import POINTS
from tests.comet.network import Network, Validator, wait_for, watched

PARAMS: Final = {"block_ms": 250, "epoch_ms": 3_000}

FAIL_POINTS: Final = range(10)
"""CometBFT's own points, around writing a block down and having it executed: it comes to about ten
of them with each block."""

STILL_S: Final = 6.0
"""Long enough for many blocks."""


class Story:
    """One network that goes through everything; no death may leave a trace."""

    def __init__(self, network: Network, seed: int) -> None:
        self.network = network
        self.crowd = Crowd(network.genesis, seed)
        self._rng = Random(seed)
        self._victim: Validator | None = None
        self.deaths = 0

    @property
    def others(self) -> list[Validator]:
        """Those that run."""
        return [each for each in self.network.validators if each.is_running]

    @property
    def height(self) -> Height:
        """The highest of those that run."""
        return max(each.height for each in self.others if each is not self._victim)

    def go_on(self, blocks: int = 3) -> None:
        """Let everybody who runs make some blocks, with transactions in them."""
        well = [each for each in self.others if each is not self._victim]
        target = max(each.height for each in well) + blocks
        self.crowd.act([self._rng.choice(well)], target, 3)
        for validator in well:
            validator.wait_for_height(target)

    def die_in_ledger(self, point: str) -> None:
        """Let a ledger process die at a point, while the others go on, and come back."""
        victim = self._choose()
        # not at the first one of its start: it executes blocks again then, or new ones
        count = 1 if point in ("info", "init_chain") else self._rng.randrange(1, 5)
        before = victim.said.count(f"dies at {point}")
        victim.start({"DIES_AT": f"{point}:{count}"})
        self._wait_for_death(victim)
        assert victim.said.count(f"dies at {point}") == before + 1
        self._come_back(victim)

    def die_in_cometbft(self, index: int) -> None:
        """Let a CometBFT end itself at one of its points, and come back."""
        victim = self._choose()
        before = victim.said.count("*** fail-test")
        victim.start({"FAIL_TEST_INDEX": str(index + 10 * self._rng.randrange(3))})
        self._wait_for_death(victim)
        assert victim.said.count("*** fail-test") == before + 1
        self._come_back(victim)

    def kill(self, part: str) -> None:
        """Kill a process of a service in the middle of anything."""
        victim = self._victim = self._rng.choice(self.others)
        time.sleep(self._rng.random())
        victim.kill(part)
        self._come_back(victim)

    def _choose(self) -> Validator:
        """Choose who dies next; it is stopped until then."""
        victim = self._victim = self._rng.choice(self.network.validators)
        assert victim.stop() == 0
        return victim

    def _wait_for_death(self, victim: Validator) -> None:
        def look() -> bool:
            if victim.is_running:
                self.go_on(1)
            return not victim.is_running

        wait_for(look, lambda: f"{victim.name} does not die: {victim.said[-2000:]}")

    def _come_back(self, victim: Validator) -> None:
        self.deaths += 1
        self.go_on(2)
        victim.start()
        victim.wait_for_height(self.height)
        self._victim = None
        self.go_on(1)

    def end(self) -> None:
        """Stop all of them; every block is the same everywhere, and holds what was taken."""
        self.go_on(8)
        height = self.height
        self.network.stop()
        self.network.compare(least=height)
        with self.network.validators[0].opened() as view:
            lost = [tx for tx in self.crowd.good if view.location(tx) is None]
        assert not lost


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    with watched(4, PARAMS) as network:
        network.start()
        story = Story(network, seed=5)
        yield story
        story.end()


def state_of(validator: Validator, tx: Hash) -> str:
    """What a service says of a transaction."""
    return str(validator.get(f"/v1/transactions/{tx.hex()}")["state"])


def final_by(validator: Validator) -> tuple[Epoch, int, int]:
    """The epoch of the newest final list that a service has, how many signed, and of how many."""
    header = validator.get("/v1/network")["latest_final"]
    return header["epoch"], header["signed_weight"], header["total_weight"]


def test_three_of_four_go_on_and_two_do_not(story: Story) -> None:
    network, crowd = story.network, story.crowd
    first, second, third, fourth = network.validators
    story.go_on()
    assert fourth.stop() == 0
    missed = first.get("/v1/network")["epoch"]
    story.go_on(5)
    wait_for(lambda: final_by(first)[0] >= missed, lambda: str(final_by(first)))
    assert final_by(first)[1:] == (3, 4)
    assert third.stop() == 0
    # what was agreed on already may still arrive
    time.sleep(1)
    still = story.height
    crowd.act([first], still, 3)
    waiting = [
        tx for tx in crowd.good if first.get(f"/v1/transactions/{tx.hex()}")["state"] == "pending"
    ]
    time.sleep(STILL_S)
    assert {first.height, second.height} == {still}
    assert waiting
    third.start()
    for validator in (first, second, third):
        validator.wait_for_height(still + 5)
    assert {state_of(first, tx) for tx in waiting} == {"committed"}
    fourth.start()
    fourth.wait_for_height(story.height)
    story.go_on()


@pytest.mark.parametrize("point", [point for point in POINTS if point != "init_chain"])
def test_a_ledger_process_dies(story: Story, point: str) -> None:
    story.die_in_ledger(point)


@pytest.mark.parametrize("index", FAIL_POINTS)
def test_a_cometbft_ends_itself(story: Story, index: int) -> None:
    story.die_in_cometbft(index)


@pytest.mark.parametrize("part", ["ledger", "cometbft", "web"])
def test_a_process_is_killed(story: Story, part: str) -> None:
    story.kill(part)


def test_a_ledger_process_dies_before_the_first_block() -> None:
    with watched(4, PARAMS) as network:
        first, *others = network.validators
        first.start({"DIES_AT": "init_chain:1"})
        first.wait_until_ended()
        assert "dies at init_chain" in first.said
        for validator in others:
            validator.start()
        first.start()
        network.wait_for_height(3)
        network.stop()
        network.compare(least=3)


def main(rounds: int) -> None:
    """Play every death so many times."""
    with watched(4, PARAMS) as network:
        network.start()
        story = Story(network, seed=rounds)
        for _ in range(rounds):
            for point in POINTS:
                if point != "init_chain":
                    story.die_in_ledger(point)
            for index in FAIL_POINTS:
                story.die_in_cometbft(index)
            for part in ("ledger", "cometbft", "web"):
                story.kill(part)
            print(f"{story.deaths} deaths, height {story.height}", flush=True)
        story.end()
    print("nothing was lost, all hold the same")


if __name__ == "__main__":
    main(int(sys.argv[1]))
