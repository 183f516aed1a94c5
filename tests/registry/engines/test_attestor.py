"""Attesting: each header once, again until it stands in a block, and nothing without a seat."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from ledger.chain import Executed
from ledger.codec import encode
from ledger.crypto import sha256
from ledger.messages.blocks import Block
from ledger.messages.lists import decode_header, decode_signed_header, encode_header
from ledger.messages.tables import SETS
from ledger.messages.transactions import Attest
from ledger.transactions import WIRE
from registry import signer as signer_module
from registry import watermarks as watermarks_module
from registry.client import TrustedLists
from registry.engines.attestor import AGAIN_BLOCKS, Attestor
from registry.engines.solo import Solo
from registry.files import write_durably
from registry.ipc import Busy, Lost
from registry.publisher import Publisher
from registry.signer import CLOCK_TOLERANCE_MS, Known
from registry.watermarks import HEADERS, import_backup, make_backup
from tests.factory import START_MS, public
from tests.registry.factory import Node, Site, in_loop, produce, queries_of, settle

NAMES = ("one", "two", "three")


class Member:
    """One attestor on a replica of its own, and what it submitted."""

    def __init__(self, site: Site, name: str, node: Node) -> None:
        self.name = name
        self.node = node
        self.submitted: list[Attest] = []
        self.raws: list[bytes] = []
        self.fails: Exception | None = None
        self.to: Solo | None = None
        self.attestor = Attestor(node.replica, site.header_signer(name), self.submit)
        node.replica.on_commit.append(self.attestor.on_commit)

    async def submit(self, raws: list[bytes], wait: bool) -> list[dict[str, Any]]:
        assert not wait
        for raw in raws:
            self.raws.append(raw)
            self.submitted.append(WIRE.decode(raw).body)
        if self.fails is not None:
            raise self.fails
        if self.to is None:
            return [{"state": "pending", "code": None} for _ in raws]
        return await self.to.submit(raws, False)

    async def idle(self) -> None:
        """Return once it has done what the newest block gives it to do."""
        task = self.attestor._task
        if task is not None:
            await asyncio.wait([task])


class Group:
    """A producer, and an attestor for each name on a replica that executes every block."""

    def __init__(self, site: Site, *names: str) -> None:
        self.site = site
        self.producer = Node.at(site)
        self.solo = self.producer.solo(site)
        self.members = [
            Member(site, name, self.producer if number == 0 else Node.at(site))
            for number, name in enumerate(names)
        ]
        self.producer.replica.on_commit.append(self._feed)

    async def _feed(self, block: Block, _executed: Executed) -> None:
        for member in self.members[1:]:
            replica = member.node.replica
            executed = await replica.finalize(block.input)
            assert executed.root == block.header.state_root
            await replica.commit(executed, block.seal)

    async def blocks(self, count: int = 1, ms: int = 1_000) -> None:
        for _ in range(count):
            await produce(self.site, self.solo, ms=ms)
            for member in self.members:
                await member.idle()

    async def close(self) -> None:
        self.site.let_go()
        for node in {id(node): node for node in (self.producer, *self._nodes())}.values():
            await node.close()

    def _nodes(self) -> list[Node]:
        return [member.node for member in self.members]


@asynccontextmanager
async def group(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str, **params: int
) -> AsyncIterator[Group]:
    """Attestors with a seat are `NAMES`; who has no seat may be named too."""
    made = Group(Site(monkeypatch, folder, NAMES, **params), *names)
    try:
        yield made
    finally:
        await made.close()


# -------------------------------------------------------------------------- one attestor


@in_loop
async def test_each_epoch_is_attested_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with group(monkeypatch, tmp_path, "one") as made:
        [member] = made.members
        member.to = made.solo
        with capture_logs() as lines:
            await made.blocks(35)
        assert [attest.epoch for attest in member.submitted] == [0, 1, 2, 3]
        assert [(line["event"], line["state"]) for line in lines] == [("attested", "pending")] * 4
        # each reveal is the preimage of the one before
        reveals = [attest.reveal for attest in member.submitted]
        assert [sha256(reveal) for reveal in reveals[1:]] == reveals[:-1]
        seats = made.producer.chain.view().state.one(SETS).current
        key = made.site.header_signer("one").pair.public
        assert {seats[attest.index].list_key for attest in member.submitted} == {key}
        queries = queries_of(made.producer)
        for epoch in range(4):
            answer = queries.answer("epoch", {"epoch": epoch}, None)["result"]
            assert [row["list_key"] for row in answer["signatures"]] == [key.hex()]


@in_loop
async def test_one_that_no_block_takes_is_sent_again_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with group(monkeypatch, tmp_path, "one") as made:
        [member] = made.members
        with capture_logs():
            await made.blocks(1 + 2 * AGAIN_BLOCKS)
        # it goes nowhere: the same bytes again and again, never two signatures
        assert len(member.raws) == 3
        assert len(set(member.raws)) == 1
        member.to = made.solo
        with capture_logs():
            await made.blocks(4)
        assert len(set(member.raws)) == 1
        assert len(member.raws) == 4


@pytest.mark.parametrize("error", [Busy("full"), Lost("nobody")])
@in_loop
async def test_a_submission_that_fails_is_made_up_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    async with group(monkeypatch, tmp_path, "one") as made:
        [member] = made.members
        member.fails, member.to = error, made.solo
        with capture_logs() as lines:
            await made.blocks(2)
            member.fails = None
            await made.blocks(3)
        assert [line["event"] for line in lines] == ["attestation not submitted", "attested"]
        signed = made.producer.chain.newest_header()
        assert len(signed.signatures) == 1


@in_loop
async def test_without_a_seat_nothing_is_signed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with group(monkeypatch, tmp_path, "stranger") as made:
        [member] = made.members
        with capture_logs() as lines:
            await made.blocks(25)
        assert (member.submitted, lines) == ([], [])
        assert made.site.watermark("stranger", HEADERS).number is None


@in_loop
async def test_a_restart_in_the_middle_of_an_epoch_signs_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with group(monkeypatch, tmp_path, "one") as made:
        [member] = made.members
        with capture_logs():
            await made.blocks(1)
        again = Member(made.site, "one", made.producer)
        again.to = made.solo
        with capture_logs():
            await made.blocks(1)
            await again.idle()
        assert again.raws == member.raws[:1]


@in_loop
async def test_a_seat_that_attested_elsewhere_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with group(monkeypatch, tmp_path, "one") as made:
        [member] = made.members
        member.to = made.solo
        with capture_logs():
            await made.blocks(2)
        other = Member(made.site, "one", made.producer)
        with capture_logs():
            await made.blocks(5)
            await other.idle()
        assert other.raws == []


@in_loop
async def test_past_its_window_an_attestation_is_refused_and_said_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with group(monkeypatch, tmp_path, "one", attest_blocks=1) as made:
        [member] = made.members
        member.to = made.solo
        with capture_logs() as lines:
            await made.blocks(2)
        assert [line["event"] for line in lines] == ["attestation refused"]
        assert lines[0]["code"] == "attest_closed"


# ------------------------------------------------------------------------------ refusals


@in_loop
async def test_a_header_far_from_the_clock_is_not_signed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with group(monkeypatch, tmp_path, "one") as made:
        [member] = made.members
        await produce(made.site, made.solo, 10)
        await member.idle()
        # the machine's clock is put back by more than a signer bears
        made.site.clock.ms -= CLOCK_TOLERANCE_MS + 20_000
        with capture_logs() as lines:
            for _ in range(AGAIN_BLOCKS):
                await made.solo.produce()
                await member.idle()
        assert [line["event"] for line in lines] == ["header not attested"]
        assert "off this machine's clock" in lines[0]["reason"]
        assert lines[0]["log_level"] == "error"


@in_loop
async def test_an_exhausted_hash_chain_is_said_and_not_guessed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with group(monkeypatch, tmp_path, "one") as made:
        [member] = made.members
        with monkeypatch.context() as exhausted:
            exhausted.setattr(signer_module, "CHAIN_LINKS", 0)
            with capture_logs() as lines:
                await made.blocks(1)
        assert [line["event"] for line in lines] == ["header not attested"]
        assert "exhausted" in lines[0]["reason"]
        assert made.site.watermark("one", HEADERS).number is None
        assert member.submitted == []


@in_loop
async def test_another_history_is_not_signed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with group(monkeypatch, tmp_path, "one") as made:
        [member] = made.members
        signer = made.site.header_signer("one")
        # this key signed another header of epoch 0
        mine = decode_header(made.producer.chain.newest_header().header)
        changed = encode_header(mine._replace(seed=bytes(32)))
        signer.sign(changed, Known(lambda _: None, 0, 10_000, START_MS))
        member.attestor._signer = signer
        with capture_logs() as lines:
            await made.blocks(12)
        reasons = [line["reason"] for line in lines]
        assert "epoch 0 was signed already" in reasons[0]
        assert "the header of epoch 0 that was signed is not in the history" in reasons[-1]
        assert member.submitted == []


@in_loop
async def test_a_disk_that_fails_is_said_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with group(monkeypatch, tmp_path, "one") as made:
        [member] = made.members
        member.to = made.solo

        def fail(path: Path, data: bytes, mode: int = 0o644) -> None:
            if path.name.startswith("headers-"):
                raise OSError("no space left on device")
            write_durably(path, data, mode)

        with monkeypatch.context() as broken, capture_logs() as lines:
            broken.setattr(watermarks_module, "write_durably", fail)
            await made.blocks(1)
        assert [line["event"] for line in lines] == ["header not attested"]
        assert "no space left on device" in lines[0]["reason"]
        assert str(made.site.watermark("one", HEADERS).path) in lines[0]["reason"]
        assert member.submitted == []
        # the chain goes on, and so does the attestor
        with capture_logs():
            await made.blocks(AGAIN_BLOCKS + 1)
        assert len(made.producer.chain.newest_header().signatures) == 1


@pytest.mark.parametrize("has_backup", [False, True], ids=["lost", "restored"])
@in_loop
async def test_without_a_certain_watermark_only_what_cannot_have_been_signed_is_signed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_backup: bool
) -> None:
    async with group(monkeypatch, tmp_path, "one") as made:
        [member] = made.members
        member.to = made.solo
        with capture_logs():
            await made.blocks(15)
            backup = make_backup(tmp_path / "one", made.site.hash)
            await made.blocks(10)
        made.producer.replica.on_commit.remove(member.attestor.on_commit)
        # the machine dies, and another one takes over
        made.site.watermark("one", HEADERS).path.unlink()
        if has_backup:
            import_backup(made.site.watermarks("one"), backup)
        certain_ms = made.site.clock.ms + 2 * CLOCK_TOLERANCE_MS
        again = Member(made.site, "one", made.producer)
        again.to = made.solo
        with capture_logs() as lines:
            while not again.submitted:
                await made.blocks(1, ms=10_000)
                await again.idle()
        refused = [line for line in lines if line["event"] == "header not attested"]
        assert all("signs again from epoch" in line["reason"] for line in refused)
        # not a single epoch was left out, and none longer than it has to be
        first = again.submitted[0].epoch
        before = {attest.epoch for attest in member.submitted}
        epochs = {line["epoch"] for line in refused}
        assert epochs == set(range(min(epochs), first))
        assert min(epochs) <= max(before) + 1
        fields = decode_header(made.producer.chain.newest_header().header)
        assert fields.epoch == first
        assert certain_ms < fields.valid_after_ms <= certain_ms + 2 * 10_000
        # from then on it is certain: a restart has to wait for nothing
        mark = made.site.watermark("one", HEADERS)
        assert (mark.number, mark.is_restored) == (first, False)
        third = Member(made.site, "one", made.producer)
        third.to = made.solo
        with capture_logs() as lines:
            await made.blocks(10)
            await third.idle()
        assert "header not attested" not in {line["event"] for line in lines}


@in_loop
async def test_a_slow_submission_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with group(monkeypatch, tmp_path, "one") as made:
        [member] = made.members
        gate = asyncio.Event()

        async def slow(raws: list[bytes], wait: bool) -> list[dict[str, Any]]:
            member.raws += raws
            await gate.wait()
            return await made.solo.submit(raws, wait)

        monkeypatch.setattr(member.attestor, "_submit", slow)
        with capture_logs():
            await produce(made.site, made.solo, 6)
            assert made.producer.chain.tip.height == 6
            # one at a time
            await settle()
            assert len(member.raws) <= 1
            gate.set()
            await member.idle()
            await made.blocks(1)


# -------------------------------------------------------------------------- three of them


@in_loop
async def test_three_replicas_make_every_list_final(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with group(monkeypatch, tmp_path, *NAMES) as made:
        producer = made.producer
        publisher = Publisher(producer.chain, producer.replica.roster, tmp_path / "publish")
        await publisher.start()
        made.producer.replica.on_commit.append(lambda _block, _executed: publisher.update())
        for member in made.members:
            member.to = made.solo
        await made.producer.pool.add([made.producer.network.register("node")])
        with capture_logs():
            await made.blocks(33)
        assert {member.node.chain.tip for member in made.members} == {made.producer.chain.tip}
        epochs = [row.epoch for row in publisher.lists]
        assert epochs == [1, 2, 3]
        for row in publisher.lists:
            assert row.is_final
            assert len(decode_signed_header(row.header).signatures) == 3
        # a client that has nothing but the genesis file believes it
        newest = publisher.lists[-1]
        client = TrustedLists(encode(made.site.genesis), made.site.clock.ms)
        client.update(newest.header)
        client.load_full(newest.full)
        assert [entry.key for entry in client.entries] == [public("node")]


@in_loop
async def test_two_of_three_are_not_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with group(monkeypatch, tmp_path, *NAMES[:2]) as made:
        for member in made.members:
            member.to = made.solo
        with capture_logs():
            await made.blocks(12)
        queries = queries_of(made.producer)
        answer = queries.answer("epoch", {"epoch": 0}, None)["result"]
        assert (len(answer["signatures"]), answer["is_final"]) == (2, False)
        assert queries.answer("network", {}, None)["result"]["latest_final"] is None


@in_loop
async def test_their_reveals_make_the_next_seed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with group(monkeypatch, tmp_path, *NAMES) as made:
        with capture_logs():
            await made.blocks(10)
        silent = decode_header(made.producer.chain.newest_header().header)
        assert silent.epoch == 1
    async with group(monkeypatch, tmp_path / "again", *NAMES) as made:
        for member in made.members:
            member.to = made.solo
        with capture_logs():
            await made.blocks(10)
        spoken = decode_header(made.producer.chain.newest_header().header)
    assert silent.seed != spoken.seed
    assert silent.valid_after_ms == spoken.valid_after_ms
