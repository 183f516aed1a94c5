"""Damage to each kind of file of a real database: at rest, at the start, and while it is served.

count_outcomes     what a chain says of a copy of its database in which one thing is harmed
refuse_and_heal    a real producer on a harmed database: it says so, and another node heals it
harm_while_served  tables that turn bad under a service that runs
"""

import asyncio
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import httpx2

from ledger.chain import Chain
from ledger.crypto import sha256
from ledger.errors import CorruptStore
from ledger.leveldb import LevelStore
from ledger.replay import execute_block
from ledger.store import MemoryStore
from registry.handover import EXIT_FAULT
from registry.home import GENESIS
from tests.faults.kill import Acknowledged, Home, start_service, wait_ready
from tests.faults.services import (
    check_there,
    connect,
    eventually,
    fill,
    height_of,
    running,
    stopped_for,
)

Harm: TypeAlias = Callable[[Path, random.Random], None]

PAGE: Final = 4_096


def flip(file: Path, chance: random.Random) -> None:
    """Turn one bit of a file round."""
    raw = bytearray(file.read_bytes())
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    file.write_bytes(raw)


def blank(file: Path, chance: random.Random) -> None:
    """Put zeros where up to a page of a file was."""
    raw = bytearray(file.read_bytes())
    start = chance.randrange(len(raw))
    raw[start : start + PAGE] = bytes(len(raw[start : start + PAGE]))
    file.write_bytes(raw)


def cut(file: Path, chance: random.Random) -> None:
    """Leave a beginning of a file only."""
    file.write_bytes(file.read_bytes()[: chance.randrange(file.stat().st_size)])


def remove(file: Path, _chance: random.Random) -> None:
    """Leave nothing of a file."""
    file.unlink()


FILES: Final = ("CURRENT", "MANIFEST-*", "*.ldb", "*.log")
"""Every kind of file in which LevelDB keeps something."""

HARMS: Final[Mapping[str, Harm]] = {"flip": flip, "blank": blank, "cut": cut, "remove": remove}

NOTICED: Final = "refused at the start"
AT_A_READ: Final = "refused at a read"
SHORTER: Final = "an earlier height, whole"
WHOLE: Final = "nothing is missing"
"""What a chain says of a harmed database; anything else is wrong."""


def file_of(database: Path, pattern: str) -> Path:
    """Return the largest file of a kind."""
    return max(database.glob(pattern), key=lambda file: file.stat().st_size)


class Heights:
    """What the database of a home holds at each height, by executing its journal again."""

    def __init__(self, genesis: bytes, store: LevelStore) -> None:
        chain, again = Chain(store, genesis), Chain(MemoryStore(), genesis)
        again.init()
        self.genesis = genesis
        self._contents = [dict(again.store.items())]
        for height in range(1, chain.tip.height + 1):
            block = chain.view().block(height)
            assert block is not None
            execute_block(again, block)
            self._contents.append(dict(again.store.items()))
        assert self._contents[-1] == dict(store.items())
        self.newest = chain.tip.height

    def judge(self, database: Path) -> str:
        """Return what a chain says of a database; raises AssertionError where it is wrong."""
        store = None
        try:
            store = LevelStore(database)
            chain = Chain(store, self.genesis)
        except CorruptStore:
            return NOTICED
        else:
            height = chain.tip.height if chain.is_initialised else None
            expected = {} if height is None else self._contents[height]
            return self._judge_reads(store, expected, height == self.newest)
        finally:
            if store is not None:
                store.close()

    def _judge_reads(
        self, store: LevelStore, expected: Mapping[bytes, bytes], is_newest: bool
    ) -> str:
        refused = False
        for key, value in expected.items():
            try:
                assert store.get(key) == value, key.hex()
            except CorruptStore:
                refused = True
        if refused:
            return AT_A_READ
        assert dict(store.items()) == expected
        return WHOLE if is_newest else SHORTER


def count_outcomes(home: Path, tries: int, seed: int) -> dict[tuple[str, str], Counter[str]]:
    """Harm copies of a stopped home's database so often for each kind of file and of harm.

    Returns how often a chain said what. Raises AssertionError where it served a wrong record.
    """
    chance = random.Random(seed)
    sound, copy = home / "ledger", home / "harmed"
    genesis = (home / GENESIS).read_bytes()
    shutil.copytree(sound, copy)
    store = LevelStore(copy)
    heights = Heights(genesis, store)
    store.close()
    counts: dict[tuple[str, str], Counter[str]] = {}
    for pattern in FILES:
        for name, harm in HARMS.items():
            outcomes = counts[pattern, name] = Counter()
            for _ in range(1 if name == "remove" else tries):
                shutil.rmtree(copy)
                shutil.copytree(sound, copy)
                harm(file_of(copy, pattern), chance)
                outcomes[heights.judge(copy)] += 1
    shutil.rmtree(copy)
    return counts


# ------------------------------------------------------------------------- real processes


async def make_home(folder: Path) -> tuple[Home, Acknowledged]:
    """Return a stopped home with a table and a log of some size, and what it acknowledged."""
    home, acknowledged = Home(folder / "home", sha256(b"harmed")), Acknowledged()
    for sender in range(2):
        async with running(home.folder, *home.keys) as service:
            await fill(home, service.url, 300, acknowledged, sender)
    return home, acknowledged


PARTS: Final = ("ledger", "watermarks", "publish")
"""Folders of a home that change while it runs."""

CASES: Final = tuple((pattern, name) for pattern in FILES for name in HARMS)


async def refuse_and_heal(
    home: Home, acknowledged: Acknowledged, seed: int, cases: Sequence[tuple[str, str]]
) -> dict[str, int]:
    """Harm the database of a producer in each of these ways, and start it.

    It ends by itself with its code and says what to do, or nothing that it answers is wrong. With
    the database moved away, and refilled from a follower, it has all that was acknowledged. Returns
    how often it did what.
    """
    chance = random.Random(seed)
    acknowledged = Acknowledged(acknowledged)
    peer, sound = home.folder / "peer", home.folder / "sound"
    peer.mkdir()
    (peer / GENESIS).write_bytes(home.genesis)
    async with running(home.folder, *home.keys) as service:
        following = start_service(peer, "--engine", "follow", "--follow", service.url)
        peer_url = await wait_ready(following)
        newest = await height_of(service.url)

        async def has_caught_up() -> bool:
            return await height_of(peer_url) >= newest

        await eventually(has_caught_up, "the follower does not catch up")
    counts: Counter[str] = Counter(acknowledged=len(acknowledged))
    try:
        for part in PARTS:
            shutil.copytree(home.folder / part, sound / part, symlinks=True)
        for pattern, name in cases:
            _put_back(home, sound)
            HARMS[name](file_of(home.folder / "ledger", pattern), chance)
            counts[await _start_harmed(home, acknowledged)] += 1
        _put_back(home, sound)
        await _heal(home, peer_url, acknowledged)
    finally:
        following.terminate()
        following.wait()
    return dict(counts)


def _put_back(home: Home, sound: Path) -> None:
    for part in PARTS:
        shutil.rmtree(home.folder / part)
        shutil.copytree(sound / part, home.folder / part, symlinks=True)


async def _start_harmed(home: Home, acknowledged: Acknowledged) -> str:
    """Start a producer on a harmed database; return what it did. Anything else is wrong.

    Where it ends, at the start or at a question, it says which folder is damaged or too old and
    what helps; all that it answers is right.
    """
    before = len(stopped_for(home.folder))
    process = start_service(home.folder, *home.keys)
    counts = Counter[str]()
    try:
        try:
            url = await wait_ready(process)
        except AssertionError:
            did = NOTICED
        else:
            counts = await _ask_all(process, url, acknowledged)
            did = AT_A_READ if counts["failed"] else WHOLE
        if did == WHOLE:
            process.terminate()
        code = await asyncio.to_thread(process.wait, 60)
    finally:
        process.kill()
        process.wait()
    if did == WHOLE:
        assert code == 0
        return did
    assert code == EXIT_FAULT
    reason = stopped_for(home.folder)[before]
    assert "--refill" in reason, reason
    assert str(home.folder / "ledger") in reason or "older copy" in reason, reason
    return did


async def _ask_all(
    process: subprocess.Popen[bytes], url: str, acknowledged: Acknowledged
) -> Counter[str]:
    """Ask for all that was acknowledged for as long as the service runs."""
    counts = Counter[str]()
    async with connect(url) as client:
        for tx_hash, height in acknowledged.items():
            if process.poll() is None:
                counts[await _ask(client, tx_hash, height)] += 1
    return counts


async def _heal(home: Home, peer_url: str, acknowledged: Acknowledged) -> None:
    """Do what the messages say: first without the database, then without its watermark too."""
    shutil.rmtree(home.folder / "ledger")
    # the last block or two before it stopped may have reached nobody
    for mark in (home.folder / "watermarks").glob("blocks-*"):
        mark.rename(home.folder / mark.name)
    async with running(home.folder, *home.keys, "--refill", peer_url) as service:
        await check_there(service.url, acknowledged)
        await fill(home, service.url, 10, acknowledged)


async def harm_while_served(home: Home, acknowledged: Acknowledged) -> dict[str, int]:
    """Turn bits in every 256 bytes of the records of a producer that runs, and ask it for all.

    Returns how often it answered right and not at all before it ended by itself. Nothing else
    happens. What lies behind the records in a table is left as it is: LevelDB does not look again
    whether the index of a small table holds (docs/reliability.md).
    """
    async with running(home.folder, *home.keys) as service:
        for table in (home.folder / "ledger").glob("*.ldb"):
            # in place: the process has the file open, or in its memory
            with table.open("r+b") as file:
                raw = file.read()
                # the index takes less than a twentieth, at its end
                for offset in range(100, len(raw) * 19 // 20, 256):
                    file.seek(offset)
                    file.write(bytes([raw[offset] ^ 1]))
        counts = await _ask_all(service.process, service.url, acknowledged)
        assert await service.wait_end() == EXIT_FAULT
    assert counts["failed"], "nothing that is damaged was read"
    reason = stopped_for(home.folder)[-1]
    assert "is damaged" in reason, reason
    assert str(home.folder / "ledger") in reason, reason
    return dict(counts)


async def _ask(client: httpx2.AsyncClient, tx_hash: str, height: int) -> str:
    """Return whether a transaction is answered right, or not; any other answer is wrong."""
    try:
        answer = await client.get(f"/v1/transactions/{tx_hash}")
    except httpx2.HTTPError:
        return "failed"
    if answer.status_code >= 500:
        return "failed"
    row = answer.json()
    assert (answer.status_code, row["state"], row["height"]) == (200, "committed", height)
    return "right"
