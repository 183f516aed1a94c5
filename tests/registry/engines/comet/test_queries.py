"""Queries: a record of the state with its proof, or why there is none."""

from typing import Any

import pytest

from ledger.codec import encode
from ledger.errors import REFUSALS
from ledger.merkle import SparseProof, sparse_verify
from ledger.messages.tables import ACCOUNTS, EPOCH, NODES
from registry.engines.comet.translate import (
    GONE,
    NAMES,
    UNKNOWN_QUERY,
)
from tests.factory import public
from tests.registry.engines.comet.far import (
    served,
)
from tests.registry.factory import in_loop

# -------------------------------------------------------------------------------------- query


@in_loop
async def test_a_record_with_its_proof() -> None:
    async with served() as side:
        await side.decide(side.node.network.transfer("alice", "bob", 5))
        roots = {1: side.node.chain.tip.root}
        await side.decide(side.node.network.transfer("alice", "bob", 7))
        roots[2] = side.node.chain.tip.root
        key = ACCOUNTS.letter + public("bob")
        balances = {}
        for asked, height in ((0, 2), (2, 2), (1, 1)):
            answer = await side.query.ask(
                "query", path="/state", data=key, height=asked, prove=True
            )
            assert (answer.code, answer.key, answer.height) == (0, key, height)
            (op,) = answer.proof_ops.ops
            assert (op.type, op.key) == ("waypost:state", key)
            proof = SparseProof.decode(op.data)
            assert sparse_verify(roots[height], key, answer.value, proof)
            assert not sparse_verify(roots[3 - height], key, answer.value, proof)
            balances[height] = ACCOUNTS.codec.decode(answer.value).balance
        assert balances[2] == balances[1] + 7


@in_loop
async def test_a_record_that_is_not_there() -> None:
    async with served() as side:
        key = NODES.letter + bytes(32)
        answer = await side.query.ask("query", path="/state", data=key, prove=True)
        assert (answer.code, answer.value, answer.info) == (0, b"", "none")
        proof = SparseProof.decode(answer.proof_ops.ops[0].data)
        assert sparse_verify(side.node.chain.tip.root, key, None, proof)
        answer = await side.query.ask("query", path="/state", data=EPOCH.letter)
        assert answer.value == encode(side.node.chain.view().state.one(EPOCH))
        assert not answer.HasField("proof_ops")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"path": "", "data": b"e"}, UNKNOWN_QUERY),
        ({"path": "/store", "data": b"e"}, UNKNOWN_QUERY),
        ({"path": "/state", "data": b""}, UNKNOWN_QUERY),
        ({"path": "/state", "data": b"T"}, UNKNOWN_QUERY),
        ({"path": "/state", "data": b"\xff"}, UNKNOWN_QUERY),
        ({"path": "/state", "data": b"e" * 42}, UNKNOWN_QUERY),
        ({"path": "/state", "data": b"e", "height": 1}, GONE),
        ({"path": "/state", "data": b"e", "height": -1}, GONE),
        ({"path": "/state", "data": b"e", "height": 2**63 - 1}, GONE),
    ],
)
@in_loop
async def test_queries_without_an_answer(fields: dict[str, Any], code: int) -> None:
    async with served() as side:
        answer = await side.query.ask("query", prove=True, **fields)
        assert (answer.code, answer.info) == (code, NAMES[code])
        assert answer.codespace == "waypost"
        assert answer.log
        assert (answer.value, answer.HasField("proof_ops")) == (b"", False)


def test_codes_of_their_own() -> None:
    assert min(NAMES) > 2**16 - 1 >= max(row.number for row in REFUSALS.values())
    assert not {*NAMES.values()} & {*REFUSALS}
