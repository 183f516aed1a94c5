"""Each call, over a socket: what is answered, and what it leaves."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from ledger.chain import Chain
from ledger.codec import encode
from ledger.crypto import sha256
from ledger.errors import REFUSALS, Diverged, Fault
from ledger.messages.blocks import BlockInput
from ledger.messages.evidence import Misbehaviour
from ledger.messages.genesis import COMET
from ledger.messages.tables import EPOCH, NODES
from ledger.steps import run
from ledger.store import MemoryStore
from ledger.validators import get_validators
from registry.engines.comet import abci_pb2 as abci
from registry.engines.comet.application import Application, Halted
from registry.engines.comet.server import HandlerFailed
from registry.engines.comet.translate import (
    COMMITTED,
    WrongNetwork,
    compute_time_ms,
    cut_to_fit,
    make_updates,
    read_misbehaviour,
    read_time_ms,
)
from tests.factory import EPOCH_MS, START_MS, Network, make_genesis, public, validator_of
from tests.ledger.scenes import enter, town
from tests.life import set_keys
from tests.registry.engines.comet.far import (
    PROPOSER,
    Refused,
    comet_genesis,
    init_fields,
    served,
    stamp,
)
from tests.registry.factory import in_loop, settle


def reference(genesis: bytes, *blocks: BlockInput) -> Chain:
    """A chain that executed the same blocks, and nothing else."""
    chain = Chain(MemoryStore(), genesis)
    chain.init()
    for block in blocks:
        run(chain.finalize(block))
        chain.commit()
    return chain


# -------------------------------------------------------------------------------------- start


@in_loop
async def test_info_speaks_of_what_lasts_and_of_nothing_else() -> None:
    async with served() as side:
        answer = await side.query.ask("info", version="0.38.25", abci_version="2.0.0")
        assert (answer.last_block_height, answer.last_block_app_hash) == (0, b"")
        assert (answer.app_version, answer.data) == (1, "waypost")
        await side.process(ms=500)
        executed = await side.finalize()
        answer = await side.query.ask("info")
        assert (answer.last_block_height, answer.last_block_app_hash) == (0, b"")
        await side.consensus.ask("commit")
        answer = await side.query.ask("info")
        assert (answer.last_block_height, answer.last_block_app_hash) == (1, executed.app_hash)
        assert executed.app_hash == side.node.chain.tip.root


@in_loop
async def test_init_chain_gives_the_root_of_the_genesis_state() -> None:
    genesis = comet_genesis()
    async with served(genesis) as side:
        # a crash before the first block brings it again
        for _ in range(2):
            answer = await side.consensus.ask("init_chain", **init_fields(genesis))
            assert answer.app_hash == reference(encode(genesis)).tip.root
            assert not answer.validators
            assert not answer.HasField("consensus_params")
            assert side.node.chain.tip.height == 0


def _validator(key: bytes, power: int = 1) -> abci.ValidatorUpdate:
    return abci.ValidatorUpdate(pub_key=abci.PublicKey(ed25519=key), power=power)


OTHERS = [validator_of(row.list_key) for row in comet_genesis().attestors]

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another name": ({"chain_id": "other-00000000"}, "its chain_id is other-00000000, not"),
    "no state": ({"app_state_bytes": b""}, "names the genesis file none, not"),
    "no JSON": ({"app_state_bytes": b"\xff"}, "names the genesis file none"),
    "another file": (
        {"app_state_bytes": b'{"genesis": "%s"}' % (b"00" * 32)},
        "names the genesis file 0000",
    ),
    "more than is known": (
        {"app_state_bytes": b'{"genesis": "00", "more": 1}'},
        "names the genesis file none",
    ),
    "a later start": ({"initial_height": 2}, "its initial_height is 2, not 1"),
    "another time": ({"time": stamp(START_MS + 1)}, "its genesis_time is not the network's start"),
    "a validator less": (
        {"validators": [_validator(key) for key in OTHERS[1:]]},
        "its validators are not the consensus keys",
    ),
    "a validator more": (
        {"validators": [_validator(key) for key in (*OTHERS, public("alice"))]},
        "its validators are not the consensus keys",
    ),
    "another validator": (
        {"validators": [_validator(key) for key in (*OTHERS[1:], public("alice"))]},
        "its validators are not the consensus keys",
    ),
    "more power": (
        {"validators": [_validator(key, 1 + (key == OTHERS[0])) for key in OTHERS]},
        "a validator has another power than 1",
    ),
    "another kind of key": (
        {
            "validators": [
                abci.ValidatorUpdate(pub_key=abci.PublicKey(secp256k1=key), power=1)
                for key in OTHERS
            ]
        },
        "its validators are not the consensus keys",
    ),
}


@pytest.mark.parametrize(("changes", "why"), WRONG.values(), ids=WRONG)
@in_loop
async def test_a_genesis_that_is_not_ours(changes: dict[str, Any], why: str) -> None:
    genesis = comet_genesis()
    async with served(genesis) as side:
        with pytest.raises(Refused) as refused:
            await side.consensus.ask("init_chain", **(init_fields(genesis) | changes))
        assert why in str(refused.value)
        assert "Remove the folder cometbft" in str(refused.value)
        with pytest.raises(WrongNetwork):
            await side.server.wait()


@in_loop
async def test_a_comet_that_begins_anew_beside_an_old_ledger() -> None:
    genesis = comet_genesis()
    async with served(genesis) as side:
        await side.decide()
        with pytest.raises(Refused, match="the ledger is at height 1: put both back"):
            await side.consensus.ask("init_chain", **init_fields(genesis))


# ------------------------------------------------------------------------------------- blocks


@in_loop
async def test_a_block_has_the_results_and_the_root_of_its_execution() -> None:
    genesis = comet_genesis()
    async with served(genesis) as side:
        network = side.node.network
        good = network.transfer("alice", "bob")
        early = network.transfer("carol", "bob", nonce=5)
        executed = await side.finalize(good, early, b"nonsense", ms=1_234)
        block = BlockInput(1, START_MS + 1_234, PROPOSER, (), (good, early, b"nonsense"))
        again = reference(encode(genesis), block)
        assert executed.app_hash == again.tip.root
        codes = [0, REFUSALS["nonce_skipped"].number, REFUSALS["unknown_kind"].number]
        assert [row.code for row in executed.tx_results][:2] == codes[:2]
        assert [row.log for row in executed.tx_results][:2] == ["", "nonce_skipped"]
        assert executed.tx_results[2].code != 0
        assert {row.data for row in executed.tx_results} == {b""}
        assert [row.codespace for row in executed.tx_results] == ["", "waypost", "waypost"]
        assert not executed.validator_updates
        # nothing lasts before the commit
        assert side.node.chain.tip.height == 0
        assert (await side.consensus.ask("commit")).retain_height == 0
        assert side.node.chain.tip == again.tip
        stored = side.node.chain.view().block(1)
        assert stored is not None
        assert (stored.input, stored.seal) == (block, b"")


@in_loop
async def test_times() -> None:
    async with served() as side:
        # CometBFT's first block has the time of the genesis file
        await side.decide(time=stamp(START_MS))
        assert side.node.chain.tip.time_ms == START_MS + 1
        await side.decide(time=stamp(START_MS + 1, 999_999))
        assert side.node.chain.tip.time_ms == START_MS + 2
        await side.decide(time=stamp(START_MS + 500, 999_999))
        assert side.node.chain.tip.time_ms == START_MS + 500
        assert await side.process(time=stamp(START_MS))
        assert not await side.process(time=stamp(2**63))


@pytest.mark.parametrize(
    ("seconds", "nanos", "ms"),
    [
        (0, 0, 0),
        (0, 999_999, 0),
        (0, 1_000_000, 1),
        (1_700_000_000, 123_999_999, 1_700_000_000_123),
        (-62_135_596_800, 0, -62_135_596_800_000),
        (-1, 999_999_999, -1),
    ],
)
def test_times_are_rounded_down(seconds: int, nanos: int, ms: int) -> None:
    time = abci.Timestamp(seconds=seconds, nanos=nanos)
    assert read_time_ms(time) == ms
    assert compute_time_ms(time, ms - 2) == ms
    assert compute_time_ms(time, ms - 1) == ms
    assert compute_time_ms(time, ms) == ms + 1
    assert compute_time_ms(time, ms + 9) == ms + 10


@in_loop
async def test_evidence_comes_to_the_ledger_in_order() -> None:
    network = town({"engine": COMET, "producer": b"", "nodes": town().genesis.nodes})
    enter(network)
    network.block()
    blocks = [block.input for block in network.blocks]
    async with served(network.genesis, store=network.store) as side:
        address = sha256(public("node consensus"))[:20]
        tip = side.node.chain.tip
        pieces = [
            abci.Misbehavior(
                type=kind,
                validator=abci.Validator(address=who, power=1),
                height=height,
                time=stamp(tip.time_ms, 5),
                total_voting_power=3,
            )
            for kind, who, height in (
                (abci.DUPLICATE_VOTE, b"\7" * 20, tip.height),
                (abci.LIGHT_CLIENT_ATTACK, address, tip.height),
                (abci.DUPLICATE_VOTE, address, tip.height - 1),
                (abci.DUPLICATE_VOTE, b"short", 0),
                (abci.DUPLICATE_VOTE, address, -1),
            )
        ]
        assert await side.process(misbehavior=pieces)
        executed = await side.decide(misbehavior=pieces)
        block = side.node.chain.view().block(tip.height + 1)
        assert block is not None
        assert block.misbehaviour == tuple(
            encode(Misbehaviour(piece.validator.address, piece.height, tip.time_ms))
            for piece in pieces
        )
        assert reference(network.raw, *blocks, block.input).tip.root == executed.app_hash
        node = side.node.chain.view().state.one(NODES, public("node"))
        assert node.taken > 0


def test_a_time_before_all_is_the_first_one() -> None:
    piece = abci.Misbehavior(validator=abci.Validator(address=bytes(20)), height=3, time=stamp(-7))
    assert read_misbehaviour([piece]) == (encode(Misbehaviour(bytes(20), 3, 0)),)


@in_loop
async def test_a_decided_block_that_does_not_follow_stops_the_replica() -> None:
    async with served() as side:
        with pytest.raises(Refused, match="block 2 diverges: it is decided, and block 2 does not"):
            await side.finalize(height=2)
        with pytest.raises(Diverged):
            await side.server.wait()
        assert side.node.chain.tip.height == 0


@in_loop
async def test_a_commit_without_a_block_stops_the_replica() -> None:
    async with served() as side:
        await side.decide()
        with pytest.raises(Refused, match="commits a block that was not executed"):
            await side.consensus.ask("commit")
        with pytest.raises(Fault):
            await side.server.wait()


@in_loop
async def test_a_commit_after_a_block_that_failed_stops_too() -> None:
    async with served() as side:
        await side.finalize()
        with pytest.raises(Refused):
            await side.finalize(height=7)
        await side.connect()
        with pytest.raises(Refused, match="commits a block that was not executed"):
            await side.consensus.ask("commit")
        assert side.node.chain.tip.height == 0


@in_loop
async def test_a_write_that_fails_stops_the_replica() -> None:
    async with served() as side:

        def fail(*_: Any, **__: Any) -> None:
            raise OSError("disk full")

        await side.finalize()
        side.node.chain.store.write = fail  # type: ignore[method-assign]
        with pytest.raises(Refused, match="disk full"):
            await side.consensus.ask("commit")
        with pytest.raises(HandlerFailed, match="disk full"):
            await side.server.wait()
        assert side.node.chain.tip.height == 0


@in_loop
async def test_votes_carry_nothing() -> None:
    async with served() as side:
        assert (await side.consensus.ask("extend_vote", height=1)).vote_extension == b""
        kinds = abci.ResponseVerifyVoteExtension
        for extension, status in ((b"", kinds.ACCEPT), (b"x", kinds.REJECT)):
            answer = await side.consensus.ask("verify_vote_extension", vote_extension=extension)
            assert answer.status == status


# --------------------------------------------------------------------------------- validators


def test_differences() -> None:
    a, b, c = sorted(map(public, ("alice", "bob", "carol")))
    rows = [(row.pub_key.ed25519, row.power) for row in make_updates([a, b], [b, c])]
    assert rows == [(a, 0), (c, 1)]
    assert make_updates([a, b], [a, b]) == []
    assert [row.power for row in make_updates([a], [a, b, c])] == [1, 1]


@in_loop
async def test_an_epoch_that_changes_a_validator_tells_of_it_once() -> None:
    # a founder's seat with a node behind it, which changes its consensus key
    base = town({"engine": COMET, "producer": b"", "nodes": town().genesis.nodes})
    seats = list(base.genesis.attestors)
    seats[0] = replace(seats[0], node=base.genesis.nodes[0].node)
    genesis = replace(base.genesis, attestors=tuple(seats))
    async with served(genesis) as side:
        network = side.node.network
        old = seats[0].consensus_key
        fresh = public("fresh consensus")
        names = {public(f"town {index}"): f"town {index}" for index in range(7)}
        name = names[seats[0].node]
        raw = set_keys(
            network, name, consensus_key=fresh, list_key=seats[0].list_key, list_tip=seats[0].tip
        )
        executed = await side.decide(raw)
        assert [row.code for row in executed.tx_results] == [0]
        assert not executed.validator_updates
        executed = await side.finalize(ms=EPOCH_MS)
        updates = {row.pub_key.ed25519: row.power for row in executed.validator_updates}
        assert updates == {old: 0, fresh: 1}
        assert [row.pub_key.ed25519 for row in executed.validator_updates] == sorted(updates)
        assert old in get_validators(side.node.chain.view().state)
        await side.consensus.ask("commit")
        after = get_validators(side.node.chain.view().state)
        assert fresh in after
        assert old not in after
        assert not (await side.decide(ms=EPOCH_MS)).validator_updates


# --------------------------------------------------------------------------------------- halt


@in_loop
async def test_it_stops_after_the_height_it_was_told() -> None:
    async with served(halt_height=2) as side:
        await side.decide()
        assert await side.process()
        executed = await side.decide()
        # what follows a commit is still answered: CometBFT has to note it
        await side.consensus.ask("flush")
        assert (await side.query.ask("info")).last_block_app_hash == executed.app_hash
        with pytest.raises(Refused, match="height 2 is committed, and this version was to stop"):
            await side.prepare()
        with pytest.raises(Halted):
            await side.server.wait()
        for call in (side.process, side.finalize):
            await side.connect()
            with pytest.raises(Refused, match="height 2 is committed"):
                await call()
        assert side.node.chain.tip.height == 2
        for height in (1, 2):
            with pytest.raises(Halted, match=f"height {height} is committed"):
                Application(side.node.replica, halt_height=height)
        Application(side.node.replica, halt_height=3)


# ------------------------------------------------------------------------------------ meanwhile


@in_loop
async def test_others_are_answered_while_a_block_is_worked_on() -> None:
    async with served() as side:
        await side.decide()
        network = side.node.network
        raws = [network.transfer("alice", "bob") for _ in range(300)]
        gate = side.node.verifier.gate
        gate.clear()
        side.consensus.send("finalize_block", **side.next_block(*raws))
        await settle()
        # from the last committed height
        assert (await side.query.ask("info")).last_block_height == 1
        answer = await side.query.ask("query", path="/state", data=EPOCH.letter)
        assert answer.height == 1
        gate.set()
        _, executed = await side.consensus.receive()
        assert {row.code for row in executed.tx_results} == {0}
        checks = asyncio.ensure_future(side.check(network.transfer("carol", "bob")))
        await side.consensus.ask("commit")
        assert await checks == [0]
        assert await side.check(raws[0]) == [COMMITTED]


def test_what_fits() -> None:
    raws = [b"x" * 126, b"y" * 128, b"", b"z" * 16_384]
    sizes = [128, 131, 2, 16_388]
    assert [abci.ResponsePrepareProposal(txs=[raw]).ByteSize() for raw in raws] == sizes
    for count in range(5):
        most = sum(sizes[:count])
        assert cut_to_fit(raws, most) == raws[:count]
        if count:
            assert cut_to_fit(raws, most - 1) == raws[: count - 1]
    assert cut_to_fit(raws, -1) == []


def test_the_same_network_has_the_same_reference() -> None:
    """The comparison above sees a difference: another block gives another root."""
    network = Network(make_genesis(engine=COMET, producer=b""))
    network.attesting = False
    block = network.input(network.transfer("alice", "bob"))
    other = block._replace(time_ms=block.time_ms + 1, transactions=())
    assert reference(network.raw, block).tip.root != reference(network.raw, other).tip.root
