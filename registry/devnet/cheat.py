"""A node that cheats: it signs that another node passed, and that it failed, and sends both.

    python -m registry.devnet.cheat --node KEYFILE --genesis FILE --service URL [--service URL …]

It has the node's key file and nothing of the agent, whose watermark would not let it. It ends once
a service has seen the contradiction, with exit code 0.
"""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ledger.crypto import KeyPair, sha256, sign
from ledger.messages.duty import FAULTS, Vote, vote_bytes
from ledger.types import Hash
from registry.addresses import decode_node, encode_node
from registry.client.services import ServiceRefused, Services
from registry.client.transport import Unavailable
from registry.keystore import derive, load_seed
from registry.lifeline import NONE, until_stopped

LIE: Final = next(bit for bit, name in FAULTS.items() if name == "storage port")

LOOK_S: Final = 1.0
"""Time between two tries."""


async def cheat(services: Services, genesis_hash: Hash, seed: bytes) -> None:
    """Try until a service has two votes that cannot both be honest."""
    node, duty = derive(seed, "node").public, derive(seed, "duty")
    while True:
        with contextlib.suppress(Unavailable, ServiceRefused):
            vote = await choose(services, encode_node(node))
            if vote is not None:
                answers = await services.post_to_all(
                    "/v1/verdicts",
                    {"votes": [sign_vote(genesis_hash, duty, one, node) for one in both(vote)]},
                )
                if any(map(is_seen, answers.values())):
                    return
        await asyncio.sleep(LOOK_S)


async def choose(services: Services, address: str) -> Vote | None:
    """Return a vote that the node may cast in the running epoch; None if it has nobody to test."""
    tests = (await services.get(f"/v1/nodes/{address}"))["tests"]
    if not tests:
        return None
    epoch = (await services.get("/v1/network"))["epoch"]
    tested = await services.get(f"/v1/nodes/{tests[0]}")
    return Vote(epoch, decode_node(tests[0]), tested["life"], 0)


def both(vote: Vote) -> tuple[Vote, Vote]:
    """Return the pass, and the lie beside it."""
    return vote, Vote(vote.epoch, vote.node, vote.life, LIE)


def sign_vote(genesis_hash: Hash, duty: KeyPair, vote: Vote, tester: bytes) -> dict[str, Any]:
    """Return a vote as services take it."""
    return {
        "epoch": vote.epoch,
        "node": encode_node(vote.node),
        "life": vote.life,
        "faults": vote.faults,
        "tester": encode_node(tester),
        "signature": sign(duty, vote_bytes(genesis_hash, vote)).hex(),
    }


def is_seen(answer: Any) -> bool:
    """Whether a service says that the votes contradict each other."""
    return isinstance(answer, dict) and any(
        row["state"] == "contradiction" for row in answer["results"]
    )


async def _run(services: Services, genesis_hash: Hash, seed: bytes, lifeline: int) -> None:
    cheating = asyncio.create_task(cheat(services, genesis_hash, seed))
    stopping = until_stopped(lifeline)
    await asyncio.wait([cheating, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if cheating.done():
        cheating.result()
    cheating.cancel()
    await services.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Cheat once, or until told to stop; return the exit code."""
    parser = argparse.ArgumentParser(prog="waypost-devnet-cheat", description=__doc__)
    parser.add_argument("--node", type=Path, required=True)
    parser.add_argument("--genesis", type=Path, required=True)
    parser.add_argument("--service", action="append", required=True)
    parser.add_argument("--lifeline", type=int, default=NONE)
    options = parser.parse_args(argv)
    genesis_hash = sha256(options.genesis.read_bytes())
    services = Services(options.service)
    asyncio.run(_run(services, genesis_hash, load_seed(options.node), options.lifeline))
    return 0


if __name__ == "__main__":
    sys.exit(main())
