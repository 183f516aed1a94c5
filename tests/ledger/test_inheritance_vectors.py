"""The file `tests/vectors/inheritance.json`: states that networks left, and what becomes of them.

`WAYPOST_REGENERATE=1` writes it anew.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ledger.chain import Chain
from ledger.codec import encode
from ledger.errors import Refusal
from ledger.history import CHUNK, Chunk
from ledger.inheritance import Inheritance
from ledger.messages.genesis import REGISTRY, SOLO, Genesis
from ledger.messages.lists import decode_header, encode_header
from ledger.state import STATE_START, STATE_STOP
from ledger.store import MemoryStore
from tests.factory import Network, public
from tests.ledger.moving import everything, founders, hand_over, make_successor
from tests.ledger.vectors.book import differences, in_hex

FILE: Final = Path(__file__).resolve().parents[1] / "vectors" / "inheritance.json"

Case = tuple[bytes, Inheritance]
"""The file of a network, and what it is to begin with."""


def life(engine: int = SOLO, **changes: Any) -> Case:
    """A life with nodes in every state."""
    network, successor = everything(lambda old: make_successor(old, engine, **changes))
    return encode(successor), hand_over(network)


def founded_by_nodes() -> Case:
    """Founders whose keys a node names, in whole and in part."""

    def successor_of(network: Network) -> Genesis:
        (named,), (half,) = founders("node list"), founders("node 6 list")
        seats = (replace(named, consensus_key=public("node consensus")), half)
        rows = sorted((*seats, *founders("new founder 0")), key=lambda seat: seat.list_key)
        return make_successor(network, policy=REGISTRY, attestors=tuple(rows))

    network, successor = everything(successor_of)
    return encode(successor), hand_over(network)


def started_later() -> Case:
    """A start after the end of the predecessor."""
    _, first = life()
    start_ms = decode_header(first.header).valid_after_ms + 60_000
    return life(start_ms=start_ms)


def without_a_record() -> Case:
    genesis, inheritance = life()
    (chunk,) = inheritance.chunks
    records = CHUNK.decode(chunk).records[1:]
    return genesis, inheritance._replace(chunks=(encode(Chunk(records)),))


def of_another_header() -> Case:
    genesis, inheritance = life()
    header = decode_header(inheritance.header)._replace(height=1)
    return genesis, inheritance._replace(header=encode_header(header))


def for_another_network() -> Case:
    return life()[0], life(name=b"test-net-3")[1]


def with_a_lower_parameter() -> Case:
    values = list(everything()[1].params)
    place = Network().params._fields.index("max_transaction_bytes")
    values[place] -= 1
    return life(params=tuple(values))


def with_a_key_in_use() -> Case:
    return life(attestors=founders("town 1 duty"))


CASES: Final[dict[str, Callable[[], Case]]] = {
    "a life with nodes in every state, to validators": lambda: life(engine=2),
    "the same, to a producer": life,
    "founders whose keys a node names, in whole and in part": founded_by_nodes,
    "a start after the end of the predecessor": started_later,
    "a record is missing": without_a_record,
    "a header that was not drafted in this state": of_another_header,
    "left to another network": for_another_network,
    "a parameter that must not fall": with_a_lower_parameter,
    "a founder's list key is a duty key": with_a_key_in_use,
}


def read_records(inheritance: Inheritance) -> dict[bytes, bytes]:
    """The records of all chunks."""
    return {key: raw for chunk in inheritance.chunks for key, raw in CHUNK.decode(chunk).records}


def begin(genesis: bytes, inheritance: Inheritance) -> dict[str, Any]:
    """What comes of it."""
    chain = Chain(MemoryStore(), genesis)
    try:
        chain.init(inheritance)
    except Refusal as refusal:
        return {"refused": [refusal.number, refusal.code]}
    after = dict(chain.store.items(STATE_START, STATE_STOP))
    return {
        "time_ms": chain.tip.time_ms,
        "root": chain.tip.root.hex(),
        "changes": in_hex(differences(read_records(inheritance), after)),
    }


def compose() -> str:
    """The text of the file."""
    rows = []
    for title, make in CASES.items():
        genesis, inheritance = make()
        rows.append(
            {
                "title": title,
                "genesis": genesis.hex(),
                "predecessor": inheritance.genesis.hex(),
                "header": inheritance.header.hex(),
                "records": {key.hex(): raw.hex() for key, raw in read_records(inheritance).items()},
                **begin(genesis, inheritance),
            }
        )
    return json.dumps(rows, indent=1) + "\n"


def test_the_file_is_what_the_ledger_makes() -> None:
    text = compose()
    if os.environ.get("WAYPOST_REGENERATE") == "1":
        FILE.write_text(text, encoding="utf-8")
    assert FILE.read_text(encoding="utf-8") == text


# ---- the file by itself, as another implementation reads it ----


@pytest.mark.parametrize("place", range(len(CASES)))
def test_the_file_by_itself(place: int) -> None:
    row = json.loads(FILE.read_text(encoding="utf-8"))[place]
    records = {bytes.fromhex(key): bytes.fromhex(raw) for key, raw in row["records"].items()}
    chunk = encode(Chunk(tuple(sorted(records.items()))))
    inheritance = Inheritance(
        bytes.fromhex(row["predecessor"]), bytes.fromhex(row["header"]), (chunk,)
    )
    came = begin(bytes.fromhex(row["genesis"]), inheritance)
    assert came == {name: row[name] for name in came}
    assert ("refused" in row) == ("refused" in came)


def test_most_of_what_may_happen_is_shown() -> None:
    rows = json.loads(FILE.read_text(encoding="utf-8"))
    codes = [row["refused"][1] for row in rows if "refused" in row]
    assert codes == ["bad_inheritance"] * 3 + ["parameter_fixed", "key_in_use"]
    assert sum("changes" in row for row in rows) == 4
