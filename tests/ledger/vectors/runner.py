"""Runs the vectors of transitions from their files alone, as another implementation would.

    Shelf       a folder of vectors: its files, the states that they begin from
    differs     what comes out otherwise than a vector says

It reads no scene and no factory. `docs/vectors.md` describes the files.
"""

import json
from pathlib import Path
from typing import Any

from ledger.chain import Chain, Executed
from ledger.codec import encode
from ledger.crypto import sha256
from ledger.errors import REFUSALS, Refusal
from ledger.history import BASE_KEY, GENESIS_KEY, TIP_KEY, Tip
from ledger.merkle import sparse_root
from ledger.messages.blocks import BLOCK, BlockInput
from ledger.replay import check_sealed, execute_block
from ledger.state import STATE_START, STATE_STOP, build_tree
from ledger.steps import run
from ledger.store import MemoryStore, Reader

Json = dict[str, Any]
Records = dict[bytes, bytes]

APPLIED = [0, "applied"]
NAMES = {row.number: name for name, row in REFUSALS.items()}
SHARED = ("genesis", "states")
"""Files that hold no vectors."""


class Shelf:
    """A folder of vectors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = sorted(path.stem for path in folder.glob("*.json"))
        self.files = [name for name in names if name not in SHARED]
        self.genesis: dict[str, bytes] = {
            name: bytes.fromhex(text) for name, text in self.read("genesis").items()
        }
        self.states: dict[str, Json] = self.read("states")
        self._records: dict[str, Records] = {}

    def read(self, file: str) -> Json:
        """What a file holds."""
        content: Json = json.loads((self.folder / f"{file}.json").read_text(encoding="utf-8"))
        return content

    def vectors(self, file: str) -> list[Json]:
        """The vectors of a file."""
        vectors: list[Json] = self.read(file)["vectors"]
        return vectors

    def genesis_of(self, state: str) -> bytes:
        """The genesis file of the network whose state it is."""
        return self.genesis[self.states[state]["genesis"]]

    def records(self, state: str) -> Records:
        """Every record of a state by store key."""
        if state not in self._records:
            row = self.states[state]
            if "base" in row:
                records = dict(self.records(row["base"]))
                patch(records, row["changes"])
            else:
                records = first_records(self.genesis_of(state))
            self._records[state] = records
        return self._records[state]

    def open(self, state: str) -> Chain:
        """A chain whose newest block left this state; it looks itself whether the root is right."""
        row, raw = self.states[state], self.genesis_of(state)
        tip = Tip(
            row["height"],
            row["time_ms"],
            bytes.fromhex(row["root"]),
            bytes.fromhex(row["block_hash"]),
        )
        beside = {
            TIP_KEY: encode(tip),
            GENESIS_KEY: sha256(raw),
            # its journal begins with the next block
            BASE_KEY: (tip.height + 1).to_bytes(8, "big"),
        }
        return Chain(MemoryStore(self.records(state) | beside), raw)


def patch(records: Records, changes: dict[str, str | None]) -> None:
    """Put the records of `changes` in, and take out what is null there."""
    for key, value in changes.items():
        if value is None:
            del records[bytes.fromhex(key)]
        else:
            records[bytes.fromhex(key)] = bytes.fromhex(value)


def first_records(genesis: bytes) -> Records:
    """The state of a genesis file."""
    chain = Chain(MemoryStore(), genesis)
    chain.init()
    return records_in(chain.store)


def records_in(store: Reader) -> Records:
    """Every record of the state that a store holds."""
    return dict(store.items(STATE_START, STATE_STOP))


def differs(shelf: Shelf, vector: Json) -> list[str]:
    """What comes out otherwise than a vector says; nothing if it holds."""
    chain, operation, post = shelf.open(vector["pre"]), vector["operation"], vector["post"]
    found = []
    try:
        executed = apply(chain, operation)
        got = outcome(executed, shelf.records(vector["pre"]), records_in(chain.store))
        if operation["kind"] == "execute":
            found += vote(shelf.open(vector["pre"]), operation, got["results"])
    except Refusal as refusal:
        got = {"refused": [refusal.number, refusal.code]}
        if records_in(chain.store) != shelf.records(vector["pre"]):
            found.append("a refusal changed the state")
    for name in sorted(got.keys() | post.keys()):
        if got.get(name) != post.get(name):
            found.append(f"{name}: {got.get(name)} and not {post.get(name)}")
    return found


def apply(chain: Chain, operation: Json) -> Executed:
    """Carry an operation out. Refuses as the chain does."""
    if operation["kind"] == "follow":
        block = BLOCK.decode(bytes.fromhex(operation["block"]))
        check_sealed(chain, block)
        return execute_block(chain, block)
    block_input = input_of(operation)
    if operation["kind"] == "validate":
        run(chain.validate(block_input))
    executed = run(chain.finalize(block_input))
    chain.commit()
    return executed


def input_of(operation: Json) -> BlockInput:
    """What an engine hands over."""
    return BlockInput(
        operation["height"],
        operation["time_ms"],
        bytes.fromhex(operation["proposer"]),
        tuple(map(bytes.fromhex, operation["misbehaviour"])),
        tuple(map(bytes.fromhex, operation["transactions"])),
    )


def outcome(executed: Executed, before: Records, after: Records) -> Json:
    """What a block did, as a vector tells it."""
    touched = sorted(before.keys() | after.keys())
    changed = {key: after.get(key) for key in touched if before.get(key) != after.get(key)}
    return {
        "results": [[code, NAMES[code]] if code else APPLIED for code in executed.codes],
        "ended_epoch": executed.ended_epoch,
        "changes": {
            key.hex(): None if value is None else value.hex() for key, value in changed.items()
        },
        "root": sparse_root(build_tree(after.items())).hex(),
    }


def vote(chain: Chain, operation: Json, results: list[list[int | str]]) -> list[str]:
    """A vote takes a block if each of its transactions is applied, and no other."""
    try:
        run(chain.validate(input_of(operation)))
        taken = True
    except Refusal:
        taken = False
    return [] if taken == all(row == APPLIED for row in results) else [f"voted for: {taken}"]
