"""Blocks and the transactions in them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from ledger.messages.blocks import BLOCK, Block, block_hash
from registry.addresses import encode_account, encode_node
from registry.api.answers import found
from registry.web.visit import Shown, Visit

PAGE: Final = 25

ADDRESSES: Final[Mapping[str, Callable[[bytes], str]]] = {
    "account": encode_account,
    "beneficiary": encode_account,
    "node": encode_node,
    "operator": encode_account,
    "recipient": encode_account,
}
"""By the fields of a transaction that name somebody, what makes an address of the key there."""


class Field(NamedTuple):
    """A field of a transaction's body."""

    name: str
    """With the names of those that it is inside of, as `a.b`."""
    value: str
    is_address: bool


class Row(NamedTuple):
    """A block as a row of the table shows it."""

    height: int
    time_ms: int
    hash: str
    transactions: int
    size: int
    misbehaviour: int


async def show_blocks(visit: Visit) -> Shown:
    """Blocks, the newest first."""
    height = visit.view.height
    last = min(visit.number("before", height + 1, 1) - 1, height)
    first = max(1, last - PAGE + 1)
    raws = await visit.ask("blocks", start=first, limit=PAGE) if last else []
    rows = [_make_row(BLOCK.decode(raw), len(raw)) for raw in raws]
    rows = [row for row in rows if row.height <= last]
    return {
        "blocks": rows[::-1],
        "older": first if first > 1 else None,
        "newer": min(last + PAGE, height) + 1 if last < height else None,
    }


def _make_row(block: Block, size: int) -> Row:
    header = block.header
    return Row(
        header.height,
        header.time_ms,
        block_hash(header).hex(),
        len(block.transactions),
        size,
        len(block.misbehaviour),
    )


async def show_block(visit: Visit) -> Shown:
    """One block with its transactions."""
    height = visit.number("height", 0)
    block = found(await visit.ask("block", height=height), f"block {height} here")
    return {
        "title": f"Block {height}",
        "block": block,
        "before": height - 1 if height > 1 else None,
        "after": height + 1 if height < visit.view.height else None,
    }


async def show_transaction(visit: Visit) -> Shown:
    """One transaction and what became of it."""
    key = visit.hash("hash")
    transaction = found(await visit.ask("transaction", hash=key), "transaction with this hash here")
    return {
        "title": f"Transaction {transaction['hash'][:12]}…",
        "tx": transaction,
        "fields": list(_flatten(transaction["body"] or {})),
    }


def _flatten(value: Any, name: str = "") -> Iterator[Field]:
    """Yield the fields of a transaction's body, those inside others one by one."""
    rows: Iterator[tuple[str, Any]]
    if isinstance(value, dict):
        rows = iter(value.items())
    elif isinstance(value, list):
        rows = ((str(place), item) for place, item in enumerate(value))
    else:
        encode = ADDRESSES.get(name.rpartition(".")[2])
        yield Field(name, encode(bytes.fromhex(value)) if encode else str(value), bool(encode))
        return
    for key, item in rows:
        yield from _flatten(item, f"{name}.{key}" if name else key)
