"""Where a node begins that begins with a snapshot: a block that nobody has to vouch for.

- A signed list is verified from the genesis file, as any client does it. Its header names the root
  of the state after its last block, and a record under that root names the validators.
- CometBFT's header of the next block bears that root as well, and the one after it was agreed on by
  those validators. So both are asked for: the first has to bear the root, the second has to follow
  it and to have the votes of more than two thirds of them. There the node begins.
- From there on CometBFT's light client verifies by the votes of the validators.
"""

from collections.abc import Sequence
from typing import Final

import httpx2
import msgspec

from ledger.errors import Refusal, WaypostError
from ledger.messages.lists import ListHeader
from ledger.messages.tables import VALIDATORS
from ledger.types import Hash, Height, Key, TimeMs
from registry.client import TrustedLists
from registry.client.http import fetch_lists
from registry.client.proofs import read_record
from registry.cometbft.config import Begin
from registry.cometbft.headers import (
    SignedBlock,
    hash_header,
    hash_validators,
    is_agreed,
)

ANSWER_S: Final = 20.0
MAX_ANSWER_BYTES: Final = 2**20


class NoTrust(WaypostError):
    """There is no block to begin with; the message says who did not help, and how."""


def find_trust(
    genesis: bytes,
    chain: str,
    lists: Sequence[str],
    servers: Sequence[str],
    now_ms: TimeMs,
) -> Begin:
    """Return the block to trust, which `servers` have, all of them.

    `lists` are URLs of services, `servers` those of CometBFTs, `chain` is CometBFT's name of the
    network. Raises `NoTrust`, and what `fetch_lists` raises.
    """
    trusted = TrustedLists(genesis, now_ms)
    fetch_lists(lists, trusted, want_list=False)
    header = trusted.header
    validators = _fetch_validators(lists, header)
    found = {server: _check(server, chain, header, validators) for server in servers}
    height = header.height + 2
    if len(set(found.values())) != 1:
        said = ", ".join(f"{server} {digest.hex()}" for server, digest in found.items())
        raise NoTrust(f"validators agreed on two blocks {height}, tell everybody: {said}")
    return Begin(height, next(iter(found.values())))


def _check(server: str, chain: str, header: ListHeader, validators: Sequence[Key]) -> Hash:
    """Return the hash of the second block after a list, once all of it holds."""
    first, second = (_ask(server, header.height + after) for after in (1, 2))
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
        return hash_header(second.header)
    except ValueError as error:
        raise NoTrust(f"{server}: its blocks cannot be read: {error}") from None


def _height(block: SignedBlock) -> Height:
    return int(block.header.height)


# ------------------------------------------------------------------------------- asking


class _Result(msgspec.Struct, frozen=True):
    signed_header: SignedBlock


class _Answer(msgspec.Struct, frozen=True):
    result: _Result


class _Proof(msgspec.Struct, frozen=True):
    proof: str


def _ask(server: str, height: Height) -> SignedBlock:
    raw = _get(server, "/commit", {"height": str(height)})
    try:
        return msgspec.json.decode(raw, type=_Answer).result.signed_header
    except msgspec.MsgspecError as error:
        raise NoTrust(f"{server} has no block {height} to show: {error}") from None


def _fetch_validators(lists: Sequence[str], header: ListHeader) -> Sequence[Key]:
    """Return the validators in force after a list, as the first proof shows that holds."""
    failures = []
    for source in lists:
        try:
            raw = _get(source, "/v1/proofs/validators", {"epoch": str(header.epoch)})
            proof = bytes.fromhex(msgspec.json.decode(raw, type=_Proof).proof)
            record = read_record(header, VALIDATORS, b"", proof)
        except (NoTrust, Refusal, msgspec.MsgspecError, ValueError) as error:
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
        raise NoTrust(f"{source} does not answer: {error}") from None
    return bytes(raw)
