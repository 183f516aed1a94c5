"""The methods of JSON-RPC: parameters, and results as nodes of the Session network give them.

- Names, types and meanings are those of that network's own nodes, since its clients are strict.
  `null` stands for a parameter that was left out; parameters that nobody knows are not looked at.
- Lists of nodes come from memory, and so does all else but rewards and hashes of older blocks.
- What this ledger does not have is empty or 0, and `docs/operating/session_clients.md` says so.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from enum import IntEnum
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

import msgspec

from ledger.types import MAX_AMOUNT
from registry.addresses import decode_account
from registry.api.live import Live
from registry.api.models import ACCOUNT, HEIGHT
from registry.api.node_table import FIELDS, Names

OK: Final = "OK"

HARDFORK: Final = 21
"""The rules that the Session network runs by. A storage server compares it, with the revision, to
what it was made for, (19, 6) by now, and serves nobody below that."""

SNODE_REVISION: Final = 0

TOP_FIELDS: Final = ("height", "target_height", "hardfork", "snode_revision", "block_hash")
"""Fields beside the entries that can be chosen like those of the entries."""

ALL_NAMES: Final[Names] = frozenset((*TOP_FIELDS, *FIELDS))
ENTRY_NAMES: Final[Names] = frozenset(FIELDS)

MAX_HEIGHTS: Final = 100
AT_A_TIME: Final = 8
"""Blocks of one call that are looked up at a time."""

MAX_ADDRESSES: Final = 1_000
ACCOUNTS_AT_A_TIME: Final = 50
QUORUM_TYPES: Final = (0, 1, 2, 3)
ALL_QUORUMS: Final = 255

Result: TypeAlias = Sequence[bytes]
"""JSON in pieces."""

Height: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_AMOUNT)]

encode = msgspec.json.Encoder().encode

_HEX_32: Final = re.compile(r"[0-9a-fA-F]{64}\Z")


class ErrorCode(IntEnum):
    """Codes of JSON-RPC."""

    NOT_JSON = -32700
    NOT_A_CALL = -32600
    NO_METHOD = -32601
    BAD_PARAMS = -32602


class CallError(Exception):
    """Ends a call with an error; the message says what to do."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


# --------------------------------------------------------------------------- service nodes


class ServiceNodes(msgspec.Struct):
    """Which nodes, and what of them."""

    active_only: bool | None = None
    """On duty, and with an IPv4 address."""
    fields: dict[str, bool] | list[str] | None = None
    """Names, or names with true; none of them, or "all", stands for all."""
    limit: int | None = None
    """0 for all, n > 0 for n at random, less than 0 for all in random order."""
    service_node_pubkeys: list[str] | None = None
    """Keys as hex; none for all. Those that are not registered are left out."""
    poll_block_hash: str | None = None
    """The newest block that the client knows: if it still is the newest, no nodes are sent."""


async def get_service_nodes(live: Live, params: ServiceNodes) -> Result:
    """Return the nodes as they are after the newest block."""
    view = live.newest.view
    keys = [_hex(key, "service_node_pubkeys") for key in params.service_node_pubkeys or ()]
    names = _wanted(params.fields)
    values = (view.height, view.height, HARDFORK, SNODE_REVISION, view.block_hash)
    top = dict(zip(TOP_FIELDS, values, strict=True))
    shown: dict[str, Any] = {"status": OK} | {k: v for k, v in top.items() if k in names}
    if params.poll_block_hash:
        unchanged = _hex(params.poll_block_hash, "poll_block_hash") == view.block_hash
        shown["unchanged"] = unchanged
        if unchanged:
            return [encode(shown)]
        shown["block_hash"] = view.block_hash
    entry_names, active_only = names & ENTRY_NAMES, bool(params.active_only)
    if keys or params.limit:
        raw = live.nodes.render_some(entry_names, active_only, keys or None, params.limit or 0)
    else:
        raw = live.nodes.render(entry_names, active_only)
    return [encode(shown)[:-1], b',"service_node_states":', raw, b"}"]


def _wanted(fields: dict[str, bool] | list[str] | None) -> Names:
    """Return the names that are asked for; with "all", `-name` takes one away again."""
    if isinstance(fields, dict):
        asked = {name for name, is_wanted in fields.items() if is_wanted}
    else:
        asked = set(fields or ())
    if not asked:
        return ALL_NAMES
    if "all" in asked:
        return ALL_NAMES - {name[1:] for name in asked if name.startswith("-")}
    return ALL_NAMES & asked


def _hex(text: str, name: str) -> str:
    if not _HEX_32.match(text):
        raise CallError(ErrorCode.BAD_PARAMS, f"send 64 hex digits as {name}")
    return text.lower()


# ---------------------------------------------------------------------------------- blocks


class Nothing(msgspec.Struct):
    """No parameters."""


async def get_info(live: Live, _params: Nothing) -> Result:
    """Return what there is to know of the network in a few numbers."""
    view, network = live.newest
    info = {
        "status": OK,
        "height": _block_count(live),
        "target_height": view.height,
        "top_block_hash": view.block_hash,
        "hard_fork": HARDFORK,
        "target": network.block_ms // 1_000,
        "nettype": network.chain,
        "mainnet": False,
    }
    return [encode(info)]


class BlockHashes(msgspec.Struct):
    """Which blocks. Both names are in use."""

    height: list[Height] | Height | None = None
    heights: list[Height] | Height | None = None


async def get_block_hash(live: Live, params: BlockHashes) -> Result:
    """Return the hash of each block that was asked for, under its height."""
    view = live.newest.view
    heights = list(dict.fromkeys((*_listed(params.height), *_listed(params.heights))))
    if not 0 < len(heights) <= MAX_HEIGHTS:
        raise CallError(ErrorCode.BAD_PARAMS, f"send 1 to {MAX_HEIGHTS} heights as height")
    if max(heights) > view.height:
        raise CallError(ErrorCode.BAD_PARAMS, f"ask for heights up to {view.height}, the newest")
    hashes: dict[str, Any] = {"status": OK, "height": _block_count(live)}
    for start in range(0, len(heights), AT_A_TIME):
        some = heights[start : start + AT_A_TIME]
        found = await asyncio.gather(*(_hash_of(live, height) for height in some))
        hashes.update(zip(map(str, some), found, strict=True))
    return [encode(hashes)]


def _listed(heights: list[int] | int | None) -> list[int]:
    if heights is None:
        return []
    return [heights] if isinstance(heights, int) else heights


async def _hash_of(live: Live, height: int) -> str:
    view, network = live.newest
    if height == 0:
        # block 1 builds upon the genesis file
        return network.genesis_hash
    if height == view.height:
        return view.block_hash
    _, block = await live.query("block", {"height": height})
    if block is None:
        raise CallError(ErrorCode.BAD_PARAMS, f"ask another node: there is no block {height} here")
    block_hash: str = block["hash"]
    return block_hash


def _block_count(live: Live) -> int:
    """Return the height that the next block will have, which those nodes call the height."""
    return live.newest.view.height + 1


# --------------------------------------------------------------------- stake and its rewards


class AtHeight(msgspec.Struct):
    """A height; only the newest is answered."""

    height: Height | None = None


async def get_staking_requirement(live: Live, _params: AtHeight) -> Result:
    """Return the stake of a new node, atomic units."""
    requirement = int(live.newest.network.staking_requirement)
    answer = {"status": OK, "height": _block_count(live), "staking_requirement": requirement}
    return [encode(answer)]


class Accounts(msgspec.Struct):
    """Which accounts."""

    addresses: list[str] | None = None


async def get_accrued_rewards(live: Live, params: Accounts) -> Result:
    """Return what waits as rewards for each account: what claims would bring it now."""
    _ = live.newest  # nothing is answered before there is a view
    addresses = params.addresses or []
    if len(addresses) > MAX_ADDRESSES:
        raise CallError(ErrorCode.BAD_PARAMS, f"send {MAX_ADDRESSES} addresses at most")
    keys: dict[str, bytes] = {}
    for place, address in enumerate(addresses):
        try:
            keys[address] = decode_account(address)
        except ValueError as error:
            raise CallError(ErrorCode.BAD_PARAMS, f"correct addresses[{place}]: {error}") from None
    # an account may have a part in very many nodes, and there is one answer for each at most
    wanted = list(dict.fromkeys(keys.values()))
    found: dict[bytes, int] = {}
    height: int | None = None
    for start in range(0, len(wanted), ACCOUNTS_AT_A_TIME):
        some = wanted[start : start + ACCOUNTS_AT_A_TIME]
        height, amounts = await live.query("accrued", {"keys": some}, height)
        found.update(zip(some, map(int, amounts), strict=True))
    balances = {address: found[key] for address, key in keys.items()}
    return [encode({"status": OK, "balances": balances})]


# ------------------------------------------------------------------------- quorums and votes


class Quorums(msgspec.Struct):
    """Which quorums."""

    start_height: Height | None = None
    end_height: Height | None = None
    quorum_type: int | None = None


async def get_quorum_state(live: Live, params: Quorums) -> Result:
    """Return no quorums: here one is drawn for each node, and none tests several together."""
    _ = live.newest  # nothing is answered before there is a view
    if params.quorum_type not in (None, *QUORUM_TYPES, ALL_QUORUMS):
        known = ", ".join(map(str, QUORUM_TYPES))
        message = f"send {known}, or {ALL_QUORUMS} for all, as quorum_type"
        raise CallError(ErrorCode.BAD_PARAMS, message)
    return [encode({"status": OK, "quorums": []})]


class Range(msgspec.Struct):
    """Which blocks, both ends included."""

    start_height: Height | None = None
    end_height: Height | None = None


async def get_service_nodes_state_changes(live: Live, params: Range) -> Result:
    """Count transactions about nodes in some blocks: 0, since epochs change states here."""
    newest = live.newest.view.height
    start = params.start_height
    end = newest if params.end_height is None else params.end_height
    if start is None or not start <= end <= newest:
        message = f"send start_height, and end_height from there up to {newest}"
        raise CallError(ErrorCode.BAD_PARAMS, message)
    counts = dict.fromkeys(STATE_CHANGES, 0)
    return [encode({"status": OK, "start_height": start, "end_height": end} | counts)]


STATE_CHANGES: Final = (
    "total_deregister",
    "total_decommission",
    "total_recommission",
    "total_ip_change_penalty",
    "total_unlock",
)


# ----------------------------------------------------------------------------------- table


class Method(NamedTuple):
    """One row of `METHODS`."""

    summary: str
    params: Callable[[], Any]
    """Makes the parameters of a call that has none."""
    decode: Callable[[msgspec.Raw], Any]
    answer: Callable[[Live, Any], Awaitable[Result]]
    example: dict[str, Any]
    """Parameters, as a client sends them."""


def _method(
    summary: str,
    params: type[msgspec.Struct],
    answer: Callable[[Live, Any], Awaitable[Result]],
    **example: Any,
) -> Method:
    return Method(summary, params, msgspec.json.Decoder(params).decode, answer, example)


METHODS: Final = {
    "get_service_nodes": _method(
        "the nodes, or some of them, with the fields that were asked for",
        ServiceNodes,
        get_service_nodes,
        active_only=True,
        fields=["height", "pubkey_ed25519", "pubkey_x25519", "public_ip", "storage_port"],
    ),
    "get_info": _method("height, newest block and network", Nothing, get_info),
    "get_block_hash": _method(
        f"hashes of up to {MAX_HEIGHTS} blocks", BlockHashes, get_block_hash, height=[HEIGHT]
    ),
    "get_staking_requirement": _method(
        "stake of a new node", AtHeight, get_staking_requirement, height=0
    ),
    "get_accrued_rewards": _method(
        "rewards that wait for accounts",
        Accounts,
        get_accrued_rewards,
        addresses=[ACCOUNT],
    ),
    "get_quorum_state": _method(
        "quorums of that network's kind: none", Quorums, get_quorum_state, start_height=HEIGHT
    ),
    "get_service_nodes_state_changes": _method(
        "counts of transactions that change states: 0",
        Range,
        get_service_nodes_state_changes,
        start_height=1,
        end_height=HEIGHT,
    ),
}
"""Every method."""

ALIASES: Final = {
    "get_n_service_nodes": "get_service_nodes",
    "get_all_service_nodes": "get_service_nodes",
}
"""Other names."""
