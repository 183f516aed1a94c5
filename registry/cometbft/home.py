"""Everything that has to be there before CometBFT starts, and how it is started.

- `prepare` writes the home of CometBFT anew, from our genesis file and our settings; it refuses
  before anything starts, and a second time writes the same.
- What is there already has to fit: data of another network are refused, never deleted.
- CometBFT reads the key that it votes with once, at its start. It gets it through a pipe; a node
  that does not validate gets a key that nobody knows.
- Variables by which CometBFT's settings could be changed do not reach it.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from ledger.crypto import KeyPair, sha256
from ledger.errors import Fault, Refusal, WaypostError
from ledger.genesis import load_genesis
from ledger.messages.genesis import COMET, GENESIS
from ledger.params import Params
from ledger.types import Hash, TimeMs
from registry.cometbft.config import Begin, make_config
from registry.cometbft.genesis import chain_id, encode_document, make_document
from registry.cometbft.keys import encode_consensus_key, hold_node_key, new_key
from registry.cometbft.trust import find_trust
from registry.cometbft.version import find_program
from registry.cometbft.votes import hold_votes, path_of, write_nothing
from registry.files import write_durably
from registry.handover import Seeds
from registry.keystore import derive, load_seed
from registry.settings import Settings

KEY_VARIABLE: Final = "CMT_PRIV_VALIDATOR_KEY_FILE"
"""Variable that tells CometBFT where to read the key that it votes with."""

ITS_PREFIXES: Final = ("CMT", "TM")
"""Variables that begin so change CometBFT's settings."""

NO_VOTES: Final = "data/priv_validator_state.json"
"""Note of the votes of a node that does not validate, in CometBFT's home."""


HALF_WRITTEN: Final = "write-file-atomic-*"
"""Names of files that CometBFT writes before they take the place of older ones."""

LOG_OF_VOTES: Final = "data/cs.wal/wal"
"""What CometBFT writes once it has caught up with the others, in its home."""


log = structlog.get_logger()


class CometHomeDiffers(Fault):
    """The home of CometBFT holds another network than ours does."""


class Prepared(NamedTuple):
    """A CometBFT that may be started."""

    program: Path
    arguments: tuple[str, ...]
    key: bytes
    """The file with the key that it votes with; it goes through a pipe."""
    node_id: str
    """What other nodes call it by."""

    def environment(self, fd: int) -> dict[str, str]:
        """Return its environment, if it inherits the pipe with its key as `fd`."""
        return bare_environment(os.environ) | {KEY_VARIABLE: f"/dev/fd/{fd}"}


def bare_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return an environment that says nothing to CometBFT."""
    return {k: v for k, v in variables.items() if not k.startswith(ITS_PREFIXES)}


def prepare(settings: Settings, seeds: Seeds, now_ms: int | None = None) -> Prepared:
    """Write CometBFT's home, and return how it is started; asks others before a state sync.

    A validator's key file that is not among `seeds` is read here, if it is in the clear. Raises
    `NoCometbft`, `CometHomeDiffers`, `ValidatorRefuses`, `BadNodeKey`, `NoTrust`, and what
    `fetch_lists` raises. The caller holds the home, and started nothing in it yet.
    """
    now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    program = find_program(settings.cometbft)
    raw, home = settings.read_genesis(), settings.cometbft_path
    genesis, network = GENESIS.decode(raw), sha256(raw)
    if genesis.engine != COMET:
        raise CometHomeDiffers(
            f"the network {genesis.name.decode()} has one producer and no validators: the engine "
            "comet is not for it"
        )
    _hold_document(home / "config" / "genesis.json", raw)
    node_id = prepare_node(settings)
    begin = _find_begin(settings, raw, chain_id(genesis.name, network), now)
    votes = _hold_votes(settings, network, genesis.start_ms, now, seeds)
    config = make_config(
        settings,
        Params(*genesis.params),
        os.path.relpath(votes.path, home),
        knows_votes=votes.knows,
        begin=begin,
    )
    write_durably(home / "config" / "config.toml", config)
    _clear(settings)
    key = encode_consensus_key(votes.pair)
    return Prepared(program, ("start", "--home", str(home)), key, node_id)


def _clear(settings: Settings) -> None:
    """Remove what a CometBFT left behind that was killed: sockets, and files half written."""
    for socket in (settings.abci_socket, settings.cometbft_rpc_socket):
        socket.unlink(missing_ok=True)
    for folder in (settings.cometbft_path / "config", settings.watermark_path):
        for half in folder.glob(HALF_WRITTEN):
            half.unlink()


def prepare_node(settings: Settings) -> str:
    """Make the key by which other nodes know this one, and return its id."""
    return hold_node_key(settings.cometbft_path / "config" / "node_key.json")


def _hold_document(path: Path, genesis: bytes) -> None:
    if not path.exists():
        # what was checked once need not be checked at each start
        load_genesis(genesis)
    document = encode_document(make_document(GENESIS.decode(genesis), sha256(genesis)))
    if not path.exists():
        write_durably(path, document)
    elif path.read_bytes() != document:
        raise CometHomeDiffers(
            f"{path} is of another network than the genesis file of this home, or was changed: put "
            "the genesis file back, or begin in a new home"
        )


class _Votes(NamedTuple):
    """The key that CometBFT votes with, and where it notes what for."""

    pair: KeyPair
    path: Path
    knows: bool
    """Whether a vote is noted there, or none can ever be."""


def _hold_votes(
    settings: Settings, network: Hash, start_ms: TimeMs, now_ms: TimeMs, seeds: Seeds
) -> _Votes:
    path = settings.validator
    if path is not None:
        pair = derive(seeds[path] if path in seeds else load_seed(path), "consensus")
        knows = hold_votes(settings, network, pair.public, start_ms, now_ms)
        return _Votes(pair, path_of(settings, network, pair.public), knows)
    note = settings.cometbft_path / NO_VOTES
    note.unlink(missing_ok=True)
    write_nothing(note)
    return _Votes(new_key(), note, True)


def _find_begin(settings: Settings, genesis: bytes, chain: str, now_ms: int) -> Begin | None:
    """Return the block to trust if this home is to begin with a snapshot, and has not begun.

    Where CometBFT has blocks it leaves that aside, so one too many does not matter.
    """
    if not settings.state_sync or has_begun(settings):
        return None
    if not settings.lists:
        raise Fault(
            "a state sync needs a service whose signed list says what is right: --lists URL"
        )
    try:
        return find_trust(genesis, chain, settings.lists, settings.state_sync, now_ms)
    except (WaypostError, Refusal) as error:
        if not settings.database_path.exists():
            raise
        # it may hold blocks already, and then it goes on from them whatever others say
        log.warning("no block to begin with", reason=str(error))
        return None


def has_begun(settings: Settings) -> bool:
    """Whether this home took part already, so that it goes on from the blocks that it has."""
    return (settings.cometbft_path / LOG_OF_VOTES).exists()
