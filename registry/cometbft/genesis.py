"""CometBFT's genesis file, made from ours.

It holds what CometBFT has to know before it first asks the ledger: its own name of the network, the
first validators, and the limits of blocks and of evidence. Everybody makes the same bytes of it.
"""

import base64
import json
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from ledger.messages.genesis import Genesis
from ledger.nodes import consensus_address
from ledger.params import Params
from ledger.types import Hash, Key, TimeMs

HASH_DIGITS: Final = 8
"""Hex digits of the genesis hash in CometBFT's name of a network."""

VOTING_POWER: Final = 1
"""Of each validator."""

APP_VERSION: Final = 1

BYTES_BESIDE: Final = 2**20
"""Room in a block for what is no transaction: header, commit and evidence."""

BYTES_BESIDE_TRANSACTION: Final = 16
"""Room for what stands around one transaction; tag and length take less."""

MAX_EVIDENCE_BYTES: Final = 2**20

EVIDENCE_EPOCHS: Final = 24
"""So many epochs are as old as evidence may be for CometBFT. The ledger's own limit is longer: this
one is how long a snapshot waits before anybody may begin with it."""

ED25519: Final = "tendermint/PubKeyEd25519"


def chain_id(name: bytes, genesis_hash: Hash) -> str:
    """Return CometBFT's name of a network, at most 49 characters of the 50 that it takes."""
    return f"{name.decode()}-{genesis_hash.hex()[:HASH_DIGITS]}"


def make_document(genesis: Genesis, genesis_hash: Hash) -> dict[str, Any]:
    """Return the fields of CometBFT's genesis file; numbers are texts there, as it wants them."""
    return {
        "genesis_time": format_time(genesis.start_ms),
        "chain_id": chain_id(genesis.name, genesis_hash),
        "initial_height": "1",
        "consensus_params": _consensus_params(Params(*genesis.params)),
        "validators": [_validator(seat.consensus_key) for seat in genesis.attestors],
        # the ledger says it when it is asked to begin
        "app_hash": "",
        "app_state": {"genesis": genesis_hash.hex()},
    }


def encode_document(document: dict[str, Any]) -> bytes:
    """Return the bytes of a genesis file."""
    return json.dumps(document, indent=2).encode() + b"\n"


def format_time(time_ms: TimeMs) -> str:
    """Return a time as RFC 3339 has it, in UTC with three digits of a second."""
    seconds, rest = divmod(time_ms, 1_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03}Z"


class Ages(NamedTuple):
    """How old evidence may be; CometBFT drops it only once it is past both."""

    ms: int
    blocks: int


def evidence_ages(params: Params) -> Ages:
    """Return the ages of evidence under the parameters of a genesis file."""
    ms = EVIDENCE_EPOCHS * params.epoch_ms
    return Ages(ms, -(-ms // params.block_ms))


def _consensus_params(params: Params) -> dict[str, Any]:
    around = BYTES_BESIDE_TRANSACTION * params.max_block_transactions + BYTES_BESIDE
    ages = evidence_ages(params)
    return {
        "block": {"max_bytes": str(params.max_block_bytes + around), "max_gas": "-1"},
        "evidence": {
            "max_age_num_blocks": str(ages.blocks),
            "max_age_duration": str(ages.ms * 1_000_000),
            "max_bytes": str(MAX_EVIDENCE_BYTES),
        },
        "validator": {"pub_key_types": ["ed25519"]},
        "version": {"app": str(APP_VERSION)},
        "abci": {"vote_extensions_enable_height": "0"},
    }


def _validator(key: Key) -> dict[str, Any]:
    return {
        "address": consensus_address(key).hex().upper(),
        "pub_key": {"type": ED25519, "value": base64.b64encode(key).decode()},
        "power": str(VOTING_POWER),
        "name": "",
    }
