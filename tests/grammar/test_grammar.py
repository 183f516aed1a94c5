"""Ten thousand random legal sequences of calls; a failure names its seed.

    python -m tests.grammar.test_grammar SEED

plays one of them again.
"""

import asyncio
import re
import sys
from collections import Counter
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from registry.engines.comet import abci_pb2 as abci
from registry.engines.comet.application import Application
from tests.grammar.driver import LETTERS, MAX_LIVES, POINTS, Sequence
from tests.grammar.histories import HISTORIES, history
from tests.registry.engines.comet.far import Refused
from tests.registry.factory import short_folder

SEQUENCES: Final = 10_000
CHUNK: Final = 250
FINDS: Final = 400
"""Sequences in which each planted fault has to show."""

# Rounds are made of parts each of which may be missing, so that any of their calls may follow any
# other. What is cut off by a death is completed by what would have come.
HEIGHTS: Final = "([vpqe]*dc)*"
LEGAL: Final = re.compile(f"(ni?{HEIGHTS}|(oa*)*oa+n{HEIGHTS})")
COMPLETIONS: Final = ("", "c", "dc", "oan", "an", "n")


class Broken(AssertionError):
    """A sequence in which an answer was not the one that it must be."""


def is_legal(letters: str) -> bool:
    """Whether the calls of one life begin a sequence of the grammar."""
    return not letters or any(LEGAL.fullmatch(letters + tail) for tail in COMPLETIONS)


async def play(seeds: range, made: type[Application]) -> list[Sequence]:
    """Play sequences one after the other. Raises `Broken` with the seed."""
    # who dies in the middle of a write is not there to hear how it ended
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    played = []
    with short_folder() as folder:
        for seed in seeds:
            sequence = Sequence(seed, made, folder / f"{seed}")
            try:
                await asyncio.wait_for(sequence.play(), 60)
            except (AssertionError, Refused, TimeoutError) as error:
                raise Broken(f"seed {seed}: {type(error).__name__} {error}") from error
            played.append(sequence)
    return played


def play_all(seeds: range, made: type[Application] = Application) -> list[Sequence]:
    with capture_logs():
        return asyncio.run(play(seeds, made))


@pytest.mark.parametrize("first", range(0, SEQUENCES, CHUNK))
def test_every_answer_is_the_one_it_must_be(first: int) -> None:
    for sequence in play_all(range(first, first + CHUNK)):
        assert all(map(is_legal, sequence.runs)), sequence.runs


def test_the_sequences_go_everywhere() -> None:
    """Every call, every point of death and every kind of life is among the first few hundred."""
    played = play_all(range(CHUNK))
    calls = Counter("".join(letters for sequence in played for letters in sequence.runs))
    assert {*calls} == {*LETTERS.values()}
    assert min(calls.values()) > CHUNK // 10
    assert {point for sequence in played for point in sequence.died_at} == {*POINTS}
    lives = Counter(len(sequence.runs) for sequence in played)
    assert {*lives} == {*range(1, MAX_LIVES + 2)}
    starts = Counter(letters[:2] for sequence in played for letters in sequence.runs)
    assert min(starts[kind] for kind in ("ni", "nd", "oa", "nq", "np", "n")) > 0


def test_the_histories_have_something_to_lose() -> None:
    blocks = [block for number in range(HISTORIES) for block in history(number).blocks]
    # a block without transactions may change nothing
    assert len({block.root for block in blocks}) > len(blocks) // 2
    for what in ("updates", "snapshot", "fitting"):
        assert sum(bool(getattr(block, what)) for block in blocks) > 1, what
    assert sum(any(block.codes) for block in blocks) > 1
    assert sum(bool(block.fields["misbehavior"]) for block in blocks) > 3
    verdicts = Counter(row.is_good for block in blocks for row in block.proposals)
    assert min(verdicts[True], verdicts[False]) > len(blocks)


@pytest.mark.parametrize(
    ("letters", "is_good"),
    [
        ("", True),
        ("ni", True),
        ("nidc", True),
        ("nipqvdc", True),
        ("ndcd", True),
        ("oaoaaandc", True),
        ("ooaa", True),
        ("o", True),
        ("nic", False),
        ("nidd", False),
        ("ndci", False),
        ("ndco", False),
        ("nidpc", False),
        ("dc", False),
        ("on", False),
        ("a", False),
    ],
)
def test_what_is_legal(letters: str, is_good: bool) -> None:
    assert is_legal(letters) is is_good


# -------------------------------------------------------------------------- planted faults


class PersistsEarly(Application):
    """Makes a block last when it is executed."""

    async def finalize_block(self, request: Any) -> Any:
        answer = await super().finalize_block(request)
        await super().commit(abci.RequestCommit())
        return answer

    async def commit(self, _request: Any) -> Any:
        return abci.ResponseCommit()


class AnswersEarly(Application):
    """Says that a block lasts and writes it later, if it comes to that."""

    async def commit(self, _request: Any) -> Any:
        return abci.ResponseCommit()

    async def finalize_block(self, request: Any) -> Any:
        if self._executed is not None:
            await super().commit(abci.RequestCommit())
        return await super().finalize_block(request)


class InfoIsOffByOne(Application):
    async def info(self, request: Any) -> Any:
        answer = await super().info(request)
        answer.last_block_height += 1
        return answer


class InfoIsAhead(Application):
    """Speaks of what was executed and does not last yet."""

    async def info(self, request: Any) -> Any:
        answer = await super().info(request)
        if self._executed is not None:
            answer.last_block_app_hash = self._executed.root
        return answer


class InfoAtGenesis(Application):
    """Gives the root of height 0, where CometBFT expects none."""

    async def info(self, request: Any) -> Any:
        answer = await super().info(request)
        answer.last_block_app_hash = self._chain.tip.root
        return answer


class InitWithoutRoot(Application):
    async def init_chain(self, request: Any) -> Any:
        await super().init_chain(request)
        return abci.ResponseInitChain()


class OrdersByItself(Application):
    """Executes transactions in another order than the one that was decided."""

    async def finalize_block(self, request: Any) -> Any:
        raws = sorted(request.txs)
        del request.txs[:]
        request.txs.extend(raws)
        return await super().finalize_block(request)


class HasItsOwnTime(Application):
    async def finalize_block(self, request: Any) -> Any:
        request.time.nanos += 1_000_000
        return await super().finalize_block(request)


class LosesEvidence(Application):
    async def finalize_block(self, request: Any) -> Any:
        del request.misbehavior[:]
        return await super().finalize_block(request)


class ExecutesTheProposal(Application):
    """Takes what it accepted last for what was decided."""

    _last: Any = None

    async def process_proposal(self, request: Any) -> Any:
        self._last = request
        return await super().process_proposal(request)

    async def finalize_block(self, request: Any) -> Any:
        if self._last is not None and self._last.height == request.height:
            del request.txs[:]
            request.txs.extend(self._last.txs)
        return await super().finalize_block(request)


class AcceptsEverything(Application):
    async def process_proposal(self, request: Any) -> Any:
        answer = await super().process_proposal(request)
        answer.status = answer.ACCEPT
        return answer


class AcceptsNothing(Application):
    async def process_proposal(self, request: Any) -> Any:
        answer = await super().process_proposal(request)
        answer.status = answer.REJECT
        return answer


class ProposesEverything(Application):
    async def prepare_proposal(self, request: Any) -> Any:
        return abci.ResponsePrepareProposal(txs=request.txs)


class ProposesNothing(Application):
    async def prepare_proposal(self, request: Any) -> Any:
        return abci.ResponsePrepareProposal()


class TakesEverything(Application):
    async def check_txs(self, requests: Any) -> Any:
        await super().check_txs(requests)
        return [abci.ResponseCheckTx() for _ in requests]


class KeepsQuietOnValidators(Application):
    async def finalize_block(self, request: Any) -> Any:
        answer = await super().finalize_block(request)
        del answer.validator_updates[:]
        return answer


class RepeatsValidators(Application):
    """Tells of a change again in the next block."""

    _again: Any = ()

    async def finalize_block(self, request: Any) -> Any:
        answer = await super().finalize_block(request)
        again, self._again = self._again, list(answer.validator_updates)
        answer.validator_updates.extend(again)
        return answer


class AnswersFromTheFuture(Application):
    """Answers queries from a block that is executed and does not last."""

    async def query(self, request: Any) -> Any:
        answer = await super().query(request)
        if self._executed is not None:
            answer.height += 1
        return answer


FAULTS: Final = [
    PersistsEarly,
    AnswersEarly,
    InfoIsOffByOne,
    InfoIsAhead,
    InfoAtGenesis,
    InitWithoutRoot,
    OrdersByItself,
    HasItsOwnTime,
    LosesEvidence,
    ExecutesTheProposal,
    AcceptsEverything,
    AcceptsNothing,
    ProposesEverything,
    ProposesNothing,
    TakesEverything,
    KeepsQuietOnValidators,
    RepeatsValidators,
    AnswersFromTheFuture,
]


@pytest.mark.parametrize("made", FAULTS)
def test_a_planted_fault_is_found(made: type[Application]) -> None:
    with pytest.raises(Broken, match="seed"):
        play_all(range(FINDS), made)


def main(seed: int) -> None:
    """Play one sequence and print what was called."""
    print(asyncio.run(play(range(seed, seed + 1), Application))[0].runs)


if __name__ == "__main__":
    main(int(sys.argv[1]))
