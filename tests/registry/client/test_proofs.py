"""Proofs of records: what an honest one shows, and that no other one shows anything."""

import json
import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger.codec import Record, encode
from ledger.errors import Refusal
from ledger.merkle import SparseProof
from ledger.messages.lists import ListHeader, decode_header, encode_header
from ledger.messages.proofs import (
    MAX_AROUND_BYTES,
    MAX_SPARSE_PROOF_BYTES,
    STATE_PROOF,
    StateProof,
    compute_proof_bound,
)
from ledger.messages.state import ACTIVE, Account
from ledger.messages.tables import (
    ACCOUNTS,
    CONTACTS,
    MAX_KEY_BYTES,
    NODES,
    PARAMS,
    ROSTERS,
    TABLES,
    Table,
)
from ledger.views import View
from registry.client.proofs import read_record
from tests.factory import Network, founding, make_contact, make_genesis, public
from tests.registry.client.clients import refused

VECTOR: Final = Path(__file__).resolve().parents[2] / "vectors" / "proof.json"
ALICE: Final = public("alice")
BOB: Final = public("bob")
NODE: Final = public("node")
NOBODY: Final = public("nobody at all")


class Ended(NamedTuple):
    """The end of an epoch, and what a client has of it."""

    header: ListHeader
    view: View

    def make(self, table: Table[Any], key: bytes = b"") -> StateProof:
        """The honest proof."""
        return self.view.make_proof(table.letter + key)

    def file(self, table: Table[Any], key: bytes = b"") -> bytes:
        """Its bytes."""
        return encode(self.make(table, key))

    def read(self, table: Table[Any], key: bytes, data: bytes) -> Record | None:
        """What a client makes of a proof."""
        return read_record(self.header, table, key, data)


@cache
def ends() -> tuple[Ended, Ended]:
    """Two epochs that ended one after the other; alice spent something in the second."""
    network = Network(make_genesis(nodes=founding("node", *(f"node {n}" for n in range(30)))))
    made = []
    for _ in range(2):
        network.block(network.transfer("alice", "bob", 7))
        made.append(Ended(network.end_epoch(), network.view))
    return made[0], made[1]


OLD, NEW = ends()
HONEST: Final = NEW.make(ACCOUNTS, ALICE)
ABSENT: Final = NEW.make(ACCOUNTS, NOBODY)

# ---- honest proofs ----


def test_a_record_is_shown() -> None:
    network_says = NEW.view.state
    account = read_record(NEW.header, ACCOUNTS, ALICE, NEW.file(ACCOUNTS, ALICE))
    assert account == network_says.account(ALICE)
    node = read_record(NEW.header, NODES, NODE, NEW.file(NODES, NODE))
    assert node is not None
    assert (node.state, node.operator) == (ACTIVE, ALICE)
    assert read_record(NEW.header, CONTACTS, NODE, NEW.file(CONTACTS, NODE)) == make_contact()
    params = read_record(NEW.header, PARAMS, b"", NEW.file(PARAMS))
    assert params is not None
    assert params.values == tuple(network_says.params())


def test_that_there_is_no_record_is_shown() -> None:
    for table, key in ((ACCOUNTS, NOBODY), (NODES, ALICE), (NODES, b""), (ROSTERS, bytes(8))):
        assert NEW.read(table, key, NEW.file(table, key)) is None


def test_every_record_of_the_state_can_be_shown() -> None:
    shown = 0
    for table in TABLES:
        after = bytes([table.letter[0] + 1])
        for key, raw in NEW.view.reader.items(table.letter, after):
            assert NEW.read(table, key[1:], NEW.file(table, key[1:])) == table.codec.load(raw)
            shown += 1
    assert shown > 200


def test_a_record_is_of_the_end_of_its_epoch() -> None:
    old, new = (end.read(ACCOUNTS, ALICE, end.file(ACCOUNTS, ALICE)) for end in (OLD, NEW))
    assert isinstance(old, Account)
    assert isinstance(new, Account)
    assert (old.nonce, new.nonce) == (1, 2)


def test_no_file_is_longer_than_its_bound() -> None:
    for table in TABLES:
        record = bytes(table.codec.max_bytes)
        largest = StateProof(
            1, 2**63 - 1, 2**63 - 1, bytes(MAX_KEY_BYTES), (record,), bytes(MAX_SPARSE_PROOF_BYTES)
        )
        bound = compute_proof_bound(table)
        assert bound - 8 < len(encode(largest)) <= bound
    full = SparseProof((b"\1" * 32,) * 256, (bytes(32), bytes(32)))
    assert len(full.encode()) == MAX_SPARSE_PROOF_BYTES


# ---- forged ones ----


def forged_record(end: Ended) -> tuple[bytes, ...]:
    """A record with a coin more than there is."""
    account = end.view.state.account(ALICE)
    return (encode(replace(account, balance=account.balance + 10**9)),)


def sparse_of(proof: StateProof) -> SparseProof:
    return SparseProof.decode(proof.proof)


def with_sparse(proof: StateProof, **changes: Any) -> StateProof:
    return replace(proof, proof=sparse_of(proof)._replace(**changes).encode())


LEAF: Final = sparse_of(HONEST).leaf
SIBLINGS: Final = sparse_of(HONEST).siblings

FORGED: Final[dict[str, tuple[StateProof, str, str]]] = {
    "the proof of another account": (NEW.make(ACCOUNTS, BOB), "bad_proof", "another record"),
    "another account's record and proof under this key": (
        replace(NEW.make(ACCOUNTS, BOB), key=HONEST.key), "bad_proof", "state root",
    ),
    "the proof of the same key in another table": (
        NEW.make(NODES, ALICE), "bad_proof", "another record",
    ),
    "a richer record": (replace(HONEST, record=forged_record(NEW)), "bad_proof", "state root"),
    "another record with its value hash": (
        replace(with_sparse(HONEST, leaf=sparse_of(NEW.make(ACCOUNTS, BOB)).leaf),
                record=NEW.make(ACCOUNTS, BOB).record), "bad_proof", "state root",
    ),
    "absence of a record that is there": (replace(HONEST, record=()), "bad_proof", "state root"),
    "absence by another record's proof": (
        replace(NEW.make(ACCOUNTS, BOB), key=HONEST.key, record=()), "bad_proof", "state root",
    ),
    "absence by an empty place": (
        replace(with_sparse(HONEST, leaf=None), record=()), "bad_proof", "state root",
    ),
    "absence by the proof of what is absent": (
        replace(ABSENT, key=HONEST.key), "bad_proof", "state root",
    ),
    "an empty tree": (
        replace(HONEST, record=(), proof=SparseProof((), None).encode()), "bad_proof", "state root",
    ),
    "a tree of this record alone": (
        with_sparse(HONEST, siblings=()), "bad_proof", "state root",
    ),
    "an empty record": (replace(HONEST, record=(b"",)), "bad_proof", "state root"),
    "the state of another epoch": (OLD.make(ACCOUNTS, ALICE), "bad_proof", "of epoch 1, not 2"),
    "the state of another epoch, said to be of this one": (
        replace(OLD.make(ACCOUNTS, ALICE), epoch=NEW.header.epoch, height=NEW.header.height),
        "bad_proof", "state root",
    ),
    "another height": (replace(HONEST, height=HONEST.height + 1), "bad_proof", "of epoch"),
    "another epoch": (replace(HONEST, epoch=HONEST.epoch + 1), "bad_proof", "of epoch 3, not 2"),
    "another version": (replace(HONEST, version=2), "unknown_format", "2"),
    "no version": (replace(HONEST, version=0), "unknown_format", "0"),
    "a sibling too few": (with_sparse(HONEST, siblings=SIBLINGS[1:]), "bad_proof", "state root"),
    "the nearest sibling left out": (
        with_sparse(HONEST, siblings=SIBLINGS[:1]), "bad_proof", "state root",
    ),
    "a sibling too many": (
        with_sparse(HONEST, siblings=(*SIBLINGS, bytes(31) + b"\1")), "bad_proof", "state root",
    ),
    "an empty sibling at the end": (
        with_sparse(HONEST, siblings=(*SIBLINGS, bytes(32))), "not_canonical", "sparse proof",
    ),
    "two siblings in the other order": (
        with_sparse(HONEST, siblings=(*SIBLINGS[1::-1], *SIBLINGS[2:])), "bad_proof", "state root",
    ),
    "no sparse proof": (replace(HONEST, proof=b""), "not_canonical", "sparse proof"),
    "a sparse proof that is cut off": (
        replace(HONEST, proof=HONEST.proof[:-1]), "not_canonical", "sparse proof",
    ),
    "a sparse proof with something behind it": (
        replace(HONEST, proof=HONEST.proof + b"\0"), "not_canonical", "sparse proof",
    ),
    "no key": (replace(HONEST, key=b""), "bad_proof", "another record"),
    "a key with something behind it": (
        replace(HONEST, key=HONEST.key + b"\0"), "bad_proof", "another record",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("proof", "code", "why"), FORGED.values(), ids=FORGED.keys())
def test_a_forged_proof_is_refused(proof: StateProof, code: str, why: str) -> None:
    refusal = refused(code, lambda: NEW.read(ACCOUNTS, ALICE, encode(proof)))
    assert why in refusal.text


def test_presence_of_what_is_absent_is_refused() -> None:
    account = encode(Account(10**9, 0))
    for proof in (
        replace(ABSENT, record=(account,)),
        replace(HONEST, key=ABSENT.key),
        replace(with_sparse(ABSENT, leaf=LEAF), record=HONEST.record),
    ):
        refused("bad_proof", partial(NEW.read, ACCOUNTS, NOBODY, encode(proof)))


def with_root(**changes: Any) -> Callable[[], object]:
    """Reading the honest proof with another header."""
    header = NEW.header._replace(**changes)
    return lambda: read_record(header, ACCOUNTS, ALICE, encode(HONEST))


def test_another_header_is_refused() -> None:
    refused("bad_proof", with_root(state_root=OLD.header.state_root))
    refused("bad_proof", with_root(state_root=bytes(32)))
    refused("bad_proof", with_root(epoch=NEW.header.epoch + 1))
    refused("bad_proof", with_root(height=NEW.header.height - 1))
    refused("bad_proof", lambda: OLD.read(ACCOUNTS, ALICE, encode(HONEST)))


BYTES: Final[dict[str, tuple[bytes, str]]] = {
    "nothing": (b"", "not_canonical"),
    "the first half": (encode(HONEST)[: len(encode(HONEST)) // 2], "not_canonical"),
    "the last byte missing": (encode(HONEST)[:-1], "not_canonical"),
    "a byte behind it": (encode(HONEST) + b"\0", "not_canonical"),
    "twice": (encode(HONEST) * 2, "not_canonical"),
    "two records": (
        encode((1, 2, 3, HONEST.key, (*HONEST.record, b""), HONEST.proof)), "not_canonical",
    ),
    "a key that is too long": (
        encode((1, 2, 3, bytes(MAX_KEY_BYTES + 1), (), HONEST.proof)), "not_canonical",
    ),
    "a sparse proof that is too long": (
        encode((1, 2, 3, HONEST.key, (), bytes(MAX_SPARSE_PROOF_BYTES + 1))), "not_canonical",
    ),
    "as long as may be": (bytes(compute_proof_bound(ACCOUNTS)), "not_canonical"),
    "a byte too long": (bytes(compute_proof_bound(ACCOUNTS) + 1), "too_large"),
    "a roster's length for an account": (bytes(2**24), "too_large"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "code"), BYTES.values(), ids=BYTES.keys())
def test_what_is_no_proof_is_refused(data: bytes, code: str) -> None:
    refused(code, lambda: NEW.read(ACCOUNTS, ALICE, data))


def test_a_roster_may_be_longer() -> None:
    assert compute_proof_bound(ROSTERS) > 2**24
    assert compute_proof_bound(ROSTERS) == ROSTERS.codec.max_bytes + MAX_AROUND_BYTES
    refused("not_canonical", lambda: NEW.read(ROSTERS, bytes(8), bytes(2**17)))
    assert STATE_PROOF.max_bytes == compute_proof_bound(ROSTERS)


CODES: Final = {"not_canonical", "bad_proof", "unknown_format"}
PROOFS: Final = (encode(HONEST), encode(ABSENT))
KEYS: Final = (ALICE, NOBODY)


@given(which=st.sampled_from((0, 1)), place=st.integers(0, 2**15))
def test_a_flipped_bit_is_refused(which: int, place: int) -> None:
    data = bytearray(PROOFS[which])
    place %= 8 * len(data)
    data[place >> 3] ^= 1 << (place & 7)
    with pytest.raises(Refusal) as caught:
        NEW.read(ACCOUNTS, KEYS[which], bytes(data))
    assert caught.value.code in CODES


@given(
    which=st.sampled_from((0, 1)),
    start=st.integers(0, 2**11),
    length=st.integers(0, 64),
    put=st.binary(max_size=64),
)
def test_other_bytes_in_its_place_are_refused(
    which: int, start: int, length: int, put: bytes
) -> None:
    honest = PROOFS[which]
    start %= len(honest) + 1
    data = honest[:start] + put + honest[start + length :]
    if data == honest:
        return
    with pytest.raises(Refusal) as caught:
        NEW.read(ACCOUNTS, KEYS[which], data)
    assert caught.value.code in CODES


# ---- vectors ----

SHOWN: Final[dict[str, tuple[Table[Any], bytes]]] = {
    "an account": (ACCOUNTS, ALICE),
    "an account that never was": (ACCOUNTS, NOBODY),
    "a node": (NODES, NODE),
    "a node that is not there": (NODES, ALICE),
    "contact data": (CONTACTS, NODE),
    "the parameters": (PARAMS, b""),
}


def compose() -> dict[str, Any]:
    """Records of one state, their absence, and what is refused for the first of them."""
    proofs = {title: NEW.make(table, key) for title, (table, key) in SHOWN.items()}
    forged = {title: (code, encode(proof)) for title, (proof, code, _) in FORGED.items()}
    broken = {title: (code, data) for title, (data, code) in BYTES.items() if len(data) < 10_000}
    return {
        "about": "Made by tests/registry/client/test_proofs.py; docs/spec/proofs.md has the form.",
        "header": encode_header(NEW.header).hex(),
        "proofs": [
            {
                "title": title,
                "table": proof.key[:1].hex(),
                "key": proof.key[1:].hex(),
                "proof": encode(proof).hex(),
                "record": proof.record[0].hex() if proof.record else None,
            }
            for title, proof in proofs.items()
        ],
        "refused": [
            {"title": title, "code": code, "proof": data.hex()}
            for title, (code, data) in (forged | broken).items()
        ],
    }


def test_vectors_are_what_is_made_now() -> None:
    text = json.dumps(compose(), indent=1) + "\n"
    if os.environ.get("WAYPOST_REGENERATE"):
        VECTOR.write_text(text)
    assert VECTOR.read_text() == text


def test_written_proofs_are_read() -> None:
    written = json.loads(VECTOR.read_text())
    header = decode_header(bytes.fromhex(written["header"]))
    tables = {table.letter.hex(): table for table in TABLES}
    for row in written["proofs"]:
        key, data = bytes.fromhex(row["key"]), bytes.fromhex(row["proof"])
        record = read_record(header, tables[row["table"]], key, data)
        assert row["record"] == (None if record is None else encode(record).hex())
    first = bytes.fromhex(written["proofs"][0]["key"])
    for bad in written["refused"]:
        data = bytes.fromhex(bad["proof"])
        refused(bad["code"], partial(read_record, header, ACCOUNTS, first, data))
