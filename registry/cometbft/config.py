"""CometBFT's settings, made from ours: what differs from its defaults, and nothing else.

- Times follow the network's `block_ms`: a block takes that long where everybody is in reach.
- Sockets are named from our home, in which it runs: a socket's path has some 100 bytes at most.
- It keeps no index and no answers of blocks: the ledger has both.
"""

import json
from typing import Final, NamedTuple, TypeAlias

from ledger.params import PARAMETERS, Params
from registry.settings import ABCI_SOCKET, RPC_SOCKET, Settings

Value: TypeAlias = str | int | bool
Section: TypeAlias = dict[str, Value]

LOG_LEVEL: Final = "main:info,statesync:info,*:error"
"""Each block is worth several lines to it otherwise; those of the ledger say the same in one."""

CHECKED_BLOCKS: Final = 20
"""So many blocks without a vote of its key a validator wants to see that knows of no vote yet."""

FAST_MS: Final = 2_000
"""Blocks that are quicker than this leave no time for waiting until messages are worth a packet."""

LARGEST_TX_BYTES: Final = next(
    row.high for row in PARAMETERS if row.name == "max_transaction_bytes"
)
"""The largest transaction that any order may allow. CometBFT sizes a buffer by it, which has to be
equal on all nodes, and reads it at its start only: so it is the bound, and the ledger refuses what
is larger than the parameter of the day."""


class Begin(NamedTuple):
    """The block that a node trusts which begins with a snapshot."""

    height: int
    hash: bytes


def make_config(
    settings: Settings,
    params: Params,
    state_file: str,
    *,
    knows_votes: bool,
    begin: Begin | None = None,
) -> bytes:
    """Return CometBFT's `config.toml`.

    `state_file` is where it notes its votes; `knows_votes` says whether one stands there already.
    """
    sections: dict[str, Section] = {
        "": _base(state_file),
        "rpc": _rpc(settings),
        "p2p": _p2p(settings, params),
        "mempool": _mempool(params),
        "consensus": _consensus(params, knows_votes=knows_votes),
        "storage": {"discard_abci_responses": True},
        "tx_index": {"indexer": "null"},
    }
    if begin is not None:
        sections["statesync"] = _state_sync(settings, params, begin)
    lines = ["# Written by `waypost run` at each start; its own settings lie in the folder above."]
    for name, section in sections.items():
        lines += ["", f"[{name}]"] if name else []
        lines += [f"{key} = {json.dumps(value)}" for key, value in section.items()]
    return ("\n".join(lines) + "\n").encode()


def _base(state_file: str) -> Section:
    return {
        "proxy_app": f"unix://run/{ABCI_SOCKET}",
        "moniker": "waypost",
        "log_level": LOG_LEVEL,
        "log_format": "json",
        # a variable of the environment says where it really is: see `home`
        "priv_validator_key_file": "config/priv_validator_key.json",
        "priv_validator_state_file": state_file,
    }


def _rpc(settings: Settings) -> Section:
    tcp = f",tcp://{settings.rpc}" if settings.rpc else ""
    return {"laddr": f"unix://run/{RPC_SOCKET}{tcp}"}


def _p2p(settings: Settings, params: Params) -> Section:
    host = f"[{settings.p2p_host}]" if ":" in settings.p2p_host else settings.p2p_host
    # where nodes may be on loopback, several may be on one machine
    is_local = bool(params.allow_loopback)
    section: Section = {
        "laddr": f"tcp://{host}:{settings.p2p_port}",
        "external_address": settings.external_address,
        "persistent_peers": ",".join(settings.peers),
        "persistent_peers_max_dial_period": "10s",
        "addr_book_strict": not is_local,
        "allow_duplicate_ip": is_local,
    }
    if params.block_ms < FAST_MS:
        section["flush_throttle_timeout"] = "10ms"
    return section


def _mempool(params: Params) -> Section:
    size = 2 * params.max_block_transactions
    return {
        "type": "flood",
        "recheck": True,
        "recheck_timeout": _ms(_within(params.block_ms // 2, 1_000, 5_000)),
        "size": size,
        "max_txs_bytes": 4 * params.max_block_bytes,
        "max_tx_bytes": LARGEST_TX_BYTES,
        "cache_size": 2 * size,
    }


def _consensus(params: Params, *, knows_votes: bool) -> Section:
    aim = params.block_ms
    vote_ms = _within(aim // 2, 300, 1_000)
    return {
        "timeout_propose": _ms(_within(aim, 1_000, 3_000)),
        "timeout_prevote": _ms(vote_ms),
        "timeout_precommit": _ms(vote_ms),
        # the rest of a block's time is for proposing it and for two rounds of votes
        "timeout_commit": _ms(aim - min(aim // 5, 1_000)),
        "peer_gossip_sleep_duration": _ms(_within(aim // 20, 10, 100)),
        "double_sign_check_height": 0 if knows_votes else CHECKED_BLOCKS,
    }


def _state_sync(settings: Settings, params: Params, begin: Begin) -> Section:
    # it wants two: the second is a witness against the first
    servers = settings.state_sync * (2 if len(settings.state_sync) == 1 else 1)
    return {
        "enable": True,
        "rpc_servers": ",".join(servers),
        "trust_height": begin.height,
        "trust_hash": begin.hash.hex().upper(),
        "trust_period": _ms(params.trust_ms),
        "discovery_time": "5s",
        # beside its data, not on a disk that may be small
        "temp_dir": "cometbft/data",
    }


def _within(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))


def _ms(value: int) -> str:
    return f"{value}ms"
