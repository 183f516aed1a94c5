"""From what somebody types to the page that shows it.

A whole address, a number behind its kind, or what only one page shows leads there at once; if
several do, they are offered.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import urlencode

from ledger.messages.blocks import BLOCK, block_hash
from registry.addresses import (
    ACCOUNT,
    ADDRESS_CHARACTERS,
    NODE,
    decode_account,
    decode_node,
    encode_account,
    encode_node,
)
from registry.web.swarms import is_account_id
from registry.web.table import Choice
from registry.web.visit import Elsewhere, Shown, Visit, is_hash, is_number

NEWEST_BLOCKS: Final = 50
"""Blocks that are searched for a hash: there is no index of the others."""

WORDS: Final = 12

_KIND: Final = re.compile(r"(epoch|block|height|swarm)\s*([0-9]{1,20})", re.ASCII)
_PATHS: Final = {"epoch": "/epochs", "block": "/blocks", "height": "/blocks", "swarm": "/swarms"}


class Hit(NamedTuple):
    """A page that shows what was typed."""

    title: str
    url: str


Hits: TypeAlias = Sequence[Hit]


async def search(visit: Visit) -> Shown:
    """The one page that shows what was typed, or the choice of them."""
    text = " ".join(visit.text("q").lower().split())
    hits: Hits = []
    for fits, find in RULES:
        if text and fits(text):
            hits = await find(visit, text)
            break
    if len(hits) == 1:
        raise Elsewhere(hits[0].url)
    return {"text": text, "hits": hits}


async def _find_kind(_visit: Visit, text: str) -> Hits:
    found = _KIND.fullmatch(text)
    assert found is not None  # it fitted
    return [Hit(text, f"{_PATHS[found[1]]}/{found[2]}")]


async def _find_number(visit: Visit, text: str) -> Hits:
    number, network = int(text), visit.network
    swarms = {row.swarm_id for row in visit.live.nodes.rows.values() if row.active}
    hits = [
        (number <= network.height, Hit(f"Block {number}", f"/blocks/{number}")),
        (number <= network.newest_header.epoch, Hit(f"Epoch {number}", f"/epochs/{number}")),
        (number in swarms, Hit(f"Swarm {number}", f"/swarms/{number}")),
    ]
    return [hit for is_there, hit in hits if is_there]


async def _find_node(visit: Visit, text: str) -> Hits:
    try:
        return [Hit("Node", f"/nodes/{encode_node(decode_node(text))}")]
    except ValueError:
        return await _find_beginning(visit, text)


async def _find_account(visit: Visit, text: str) -> Hits:
    try:
        return [Hit("Account", f"/accounts/{encode_account(decode_account(text))}")]
    except ValueError:
        return await _find_beginning(visit, text)


async def _find_beginning(visit: Visit, text: str) -> Hits:
    """Nodes by the beginning of an address. One that is whole has a slip in it, and is nobody's."""
    return [] if len(text) >= ADDRESS_CHARACTERS else await _find_rows(visit, text)


async def _find_account_id(_visit: Visit, text: str) -> Hits:
    return [Hit("The swarm of this account id", f"/swarms?{urlencode({'account': text})}")]


async def _find_hash(visit: Visit, text: str) -> Hits:
    """Many things have 32 bytes; those that are known come before an account id that may be one."""
    key = bytes.fromhex(text)
    hits = [*_known_hashes(visit, text), *await _find_block(visit, text)]
    if await visit.ask("node", key=key) is not None:
        hits.append(Hit("Node", f"/nodes/{encode_node(key)}"))
    if await visit.ask("transaction", hash=key) is not None:
        hits.append(Hit("Transaction", f"/transactions/{text}"))
    if _is_used(await visit.ask("account", key=key)):
        hits.append(Hit("Account", f"/accounts/{encode_account(key)}"))
    return hits or await _find_account_id(visit, text)


def _known_hashes(visit: Visit, text: str) -> Iterator[Hit]:
    network = visit.network
    if text == network.genesis_hash:
        yield Hit("The genesis file", "/verify")
    headers = {
        header.hash: header for header in (network.newest_header, network.latest_final) if header
    }
    if text in headers:
        epoch = headers[text].epoch
        yield Hit(f"Epoch {epoch}", f"/epochs/{epoch}")


async def _find_block(visit: Visit, text: str) -> Hits:
    start = max(1, visit.view.height - NEWEST_BLOCKS + 1)
    for raw in await visit.ask("blocks", start=start, limit=NEWEST_BLOCKS):
        header = BLOCK.decode(raw).header
        if block_hash(header).hex() == text:
            return [Hit(f"Block {header.height}", f"/blocks/{header.height}")]
    return []


def _is_used(account: dict[str, Any]) -> bool:
    return bool(account["nonce"] or int(account["balance"]) or account["stakes"])


async def _find_words(visit: Visit, text: str) -> Hits:
    network = visit.network
    if network.latest_final is None or network.fingerprint != text.split():
        return []
    epoch = network.latest_final.epoch
    return [Hit(f"Epoch {epoch}", f"/epochs/{epoch}")]


async def _find_rows(visit: Visit, text: str) -> Hits:
    """Nodes that have it somewhere."""
    choice = Choice(text=text)
    rows = visit.table.choose(visit.live.nodes.rows, visit.live.newest, choice)
    if len(rows) == 1:
        key = encode_node(bytes.fromhex(rows[0].service_node_pubkey))
        return [Hit("Node", f"/nodes/{key}")]
    return [Hit(f"{len(rows)} nodes", f"/nodes?{urlencode({'q': text})}")] if rows else []


RULES: Final[Sequence[tuple[Callable[[str], bool], Callable[[Visit, str], Awaitable[Hits]]]]] = (
    (lambda text: text.startswith(f"{NODE}1"), _find_node),
    (lambda text: text.startswith(f"{ACCOUNT}1"), _find_account),
    (is_number, _find_number),
    (is_hash, _find_hash),
    (is_account_id, _find_account_id),
    (lambda text: _KIND.fullmatch(text) is not None, _find_kind),
    (lambda text: len(text.split()) == WORDS, _find_words),
    (lambda _text: True, _find_rows),
)
"""The first that fits a text finds what it is."""
