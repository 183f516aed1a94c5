"""Where a node begins that begins with a snapshot: a block that nobody has to vouch for.

- A signed list is verified from the genesis file, as any client does it. Its header names the root
  of the state after its last block, and a record under that root names the validators.
- CometBFT's header of the next block bears that root as well, and the one after it was agreed on by
  those validators. So both are asked for: the first has to bear the root, the second has to follow
  it and to have the votes of more than two thirds of them. A list may be out before them, so they
  are waited for.
- Snapshots are older than that block, since no evidence may reach below them. Each header names the
  one before it by its hash, so going back along them needs nobody's votes. CometBFT's light client
  would do that too, but one by one and within 30 seconds; here they come 20 at a time.
- There the node begins. From there on CometBFT's light client verifies by the votes of validators.
"""

import time
from collections.abc import Sequence
from typing import Final

import httpx2
import msgspec

from ledger.errors import Refusal, WaypostError, describe
from ledger.messages.genesis import GENESIS
from ledger.messages.lists import ListHeader
from ledger.messages.tables import VALIDATORS
from ledger.params import Params
from ledger.types import Hash, Height, Key, TimeMs
from registry.client import TrustedLists
from registry.client.http import fetch_lists
from registry.client.proofs import read_record
from registry.cometbft.config import Begin
from registry.cometbft.genesis import evidence_ages
from registry.cometbft.headers import (
    CometHeader,
    SignedBlock,
    hash_header,
    hash_validators,
    is_agreed,
    read_time_ms,
)

ANSWER_S: Final = 20.0
MAX_ANSWER_BYTES: Final = 2**20

PATIENCE_S: Final = 10.0
"""How long the two blocks after a list may be missing, beyond the time in which two are made."""

PAUSE_S: Final = 0.5

NOT_YET: Final = "must be less than or equal to the current blockchain height"
"""What CometBFT says of a block that is still to come; one that it let go is not waited for."""

PAGE: Final = 20
"""Headers that CometBFT gives at once."""

BACK: Final = 2
"""How many ages of evidence to go back. The newest that is offered is one to two of them old by
default, since as many epochs lie between two snapshots."""


class NoTrust(WaypostError):
    """There is no block to begin with; the message says who did not help, and how."""


def find_trust(
    genesis: bytes,
    chain: str,
    lists: Sequence[str],
    servers: Sequence[str],
    now_ms: TimeMs,
) -> Begin:
    """Return the block to trust, from before the snapshots that may be offered now.

    All `servers` agree on the block after the newest list; one of them shows those before it.
    `lists` are URLs of services, `servers` those of CometBFTs, `chain` is CometBFT's name of the
    network. Takes some seconds where the list is out before those blocks. Raises `NoTrust`, and
    what `fetch_lists` raises.
    """
    trusted = TrustedLists(genesis, now_ms)
    fetch_lists(lists, trusted, want_list=False)
    header = trusted.header
    validators = _fetch_validators(lists, header)
    params = Params(*GENESIS.decode(genesis).params)
    until_s = time.monotonic() + PATIENCE_S + 2 * params.block_ms / 1000
    found = {server: _check(server, chain, header, validators, until_s) for server in servers}
    hashes = {server: hash_header(block) for server, block in found.items()}
    if len(set(hashes.values())) != 1:
        said = ", ".join(f"{server} {digest.hex()}" for server, digest in hashes.items())
        raise NoTrust(
            f"validators agreed on two blocks {header.height + 2}, tell everybody: {said}"
        )
    lines = [go_back(server, block, params) for server, block in found.items()]
    # a witness has to have the block as well
    height = max(min(line) for line in lines)
    return Begin(height, next(line[height] for line in lines if height in line))


def go_back(server: str, newest: CometHeader, params: Params) -> dict[Height, Hash]:
    """Return the hash of each block from before the snapshots of now up to the newest, by height.

    As far back as the server has blocks, and no further than half of the time for which CometBFT's
    light client trusts a block. Each is named by the one after it.
    """
    ages, newest_ms = evidence_ages(params), read_time_ms(newest.time)
    floor = int(newest.height) - BACK * ages.blocks
    floor_ms = newest_ms - BACK * ages.ms
    least_ms = newest_ms - params.trust_ms // 2
    above, line = newest, {int(newest.height): hash_header(newest)}
    while True:
        height, time_ms = int(above.height), read_time_ms(above.time)
        if height == 1 or (height <= floor and time_ms <= floor_ms) or time_ms <= least_ms:
            return line
        below = _ask_before(server, above)
        if not below:
            return line
        for header in below:
            line[int(header.height)] = hash_header(header)
        above = below[-1]


def _ask_before(server: str, above: CometHeader) -> list[CometHeader]:
    """Return the headers before one, the newest first; none where the server has none."""
    last = int(above.height) - 1
    raw = _get(
        server, "/blockchain", {"minHeight": str(max(1, last - PAGE + 1)), "maxHeight": str(last)}
    )
    try:
        metas = msgspec.json.decode(raw, type=_Chain).result.block_metas
    except (ValueError, RecursionError):
        # it holds no block so old, as one that began with a snapshot itself
        return []
    headers = []
    for meta in metas:
        try:
            is_named = bytes.fromhex(above.last_block_id.hash) == hash_header(meta.header)
        except ValueError as error:
            raise NoTrust(f"{server}: its blocks cannot be read: {error}") from None
        if int(meta.header.height) != int(above.height) - 1 or not is_named:
            raise NoTrust(f"{server}: its blocks do not follow each other")
        above = meta.header
        headers.append(above)
    return headers


def _check(
    server: str, chain: str, header: ListHeader, validators: Sequence[Key], until_s: float
) -> CometHeader:
    """Return the header of the second block after a list, once all of it holds."""
    first, second = (_ask(server, header.height + after, until_s) for after in (1, 2))
    try:
        rules = (
            (
                all(block.header.chain_id == chain for block in (first, second)),
                f"it is of {first.header.chain_id}, not of {chain}",
            ),
            (
                _height(first) == header.height + 1 and _height(second) == header.height + 2,
                "it has other blocks than those that were asked for",
            ),
            (
                bytes.fromhex(first.header.app_hash) == header.state_root,
                f"it has another state after block {header.height} than the list of epoch "
                f"{header.epoch}",
            ),
            (
                bytes.fromhex(second.header.last_block_id.hash) == hash_header(first.header),
                "its blocks do not follow each other",
            ),
            (
                bytes.fromhex(second.header.validators_hash) == hash_validators(validators),
                "its validators are not those of the list's state",
            ),
            (is_agreed(second, validators), "too few validators agreed on its block"),
        )
        for holds, why in rules:
            if not holds:
                raise NoTrust(f"{server}: {why}")
        hash_header(second.header)
        return second.header
    except ValueError as error:
        raise NoTrust(f"{server}: its blocks cannot be read: {error}") from None


def _height(block: SignedBlock) -> Height:
    return int(block.header.height)


# ------------------------------------------------------------------------------- asking


class _Result(msgspec.Struct, frozen=True):
    signed_header: SignedBlock


class _Meta(msgspec.Struct, frozen=True):
    header: CometHeader


class _Metas(msgspec.Struct, frozen=True):
    block_metas: list[_Meta]


class _Chain(msgspec.Struct, frozen=True):
    result: _Metas


class _Error(msgspec.Struct, frozen=True):
    data: str = ""


class _Answer(msgspec.Struct, frozen=True):
    result: _Result | None = None
    error: _Error = _Error()


class _Proof(msgspec.Struct, frozen=True):
    proof: str


def _ask(server: str, height: Height, until_s: float) -> SignedBlock:
    """Return a block with its votes; wait for it up to a moment of `time.monotonic`."""
    while True:
        raw = _get(server, "/commit", {"height": str(height)})
        try:
            answer = msgspec.json.decode(raw, type=_Answer)
        except (ValueError, RecursionError) as error:
            answer = _Answer(error=_Error(str(error)))
        if answer.result is not None:
            return answer.result.signed_header
        if NOT_YET not in answer.error.data or time.monotonic() >= until_s:
            raise NoTrust(f"{server} has no block {height} to show: {answer.error.data}")
        time.sleep(PAUSE_S)


def _fetch_validators(lists: Sequence[str], header: ListHeader) -> Sequence[Key]:
    """Return the validators in force after a list, as the first proof shows that holds."""
    failures = []
    for source in lists:
        try:
            raw = _get(source, "/v1/proofs/validators", {"epoch": str(header.epoch)})
            proof = bytes.fromhex(msgspec.json.decode(raw, type=_Proof).proof)
            record = read_record(header, VALIDATORS, b"", proof)
        except (NoTrust, Refusal, ValueError, RecursionError) as error:
            failures.append(f"{source}: {error}")
            continue
        return [seat.consensus_key for seat in record.seats] if record is not None else ()
    raise NoTrust(
        f"nobody proves who the validators are after epoch {header.epoch}; a service that was "
        f"started in this epoch does not, before the next one: {'; '.join(failures)}"
    )


def _get(source: str, path: str, arguments: dict[str, str]) -> bytes:
    raw = bytearray()
    try:
        with (
            httpx2.Client(timeout=ANSWER_S, trust_env=False) as client,
            client.stream("GET", source.rstrip("/") + path, params=arguments) as response,
        ):
            for piece in response.iter_bytes():
                raw += piece
                if len(raw) > MAX_ANSWER_BYTES:
                    raise NoTrust(f"{source}: its answer is too long")
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise NoTrust(f"{source} does not answer: {describe(error)}") from None
    return bytes(raw)
