"""A service with the real CometBFT: started last, stopped first, and never left behind."""

import base64
import contextlib
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.crypto import sha256
from registry.cometbft import VERSION
from registry.cometbft.home import prepare_node
from registry.cometbft.output import Failure
from registry.cometbft.votes import path_of
from registry.keystore import derive
from registry.supervisor import EXIT_DEAD
from tests.comet.network import (
    PARTS,
    Network,
    Validator,
    free_ports,
    seed_of,
    wait_for,
    watched,
)

KEY: Final = derive(seed_of("validator 0"), "consensus")


@pytest.fixture
def network() -> Iterator[Network]:
    with watched(1, {"block_ms": 200}) as made:
        yield made


@pytest.fixture
def alone(network: Network) -> Validator:
    """A validator that agrees with itself; it is not started yet."""
    return network.validators[0]


def begin(validator: Validator) -> dict[str, int]:
    """Start a service that is to come to a next block; return the ids of its processes."""
    validator.start()
    validator.wait_for_height(1)
    return {part: validator.pid_of(part) for part in PARTS}


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def note_of(validator: Validator) -> Path:
    network = sha256(validator.settings.genesis_path.read_bytes())
    return path_of(validator.settings, network, KEY.public)


def test_cometbft_takes_its_home_as_it_is_written(alone: Validator) -> None:
    begin(alone)
    status = alone.consensus("status")
    assert status["node_info"]["version"] == VERSION
    assert status["node_info"]["id"] == prepare_node(alone.settings)
    assert status["node_info"]["listen_addr"] == f"tcp://127.0.0.1:{alone.settings.p2p_port}"
    assert status["node_info"]["other"]["tx_index"] == "off"
    key = base64.b64encode(KEY.public).decode()
    assert status["validator_info"]["pub_key"]["value"] == key
    # what it took for its genesis is what we wrote, to the last field
    document = json.loads((alone.settings.cometbft_path / "config" / "genesis.json").read_text())
    shown = alone.consensus("genesis")["genesis"]
    # but for zeros at the end of a time
    assert shown.pop("genesis_time").rstrip("Z") in document.pop("genesis_time")
    assert shown == document
    assert alone.stop() == 0


def test_the_key_is_nowhere_but_in_the_process(alone: Validator) -> None:
    pids = begin(alone)
    secrets = {
        KEY.secret[:32],
        KEY.secret[:32].hex().encode(),
        base64.b64encode(KEY.secret),
        base64.b64encode(KEY.secret)[:40],
    }
    told = [Path(f"/proc/{pid}") / name for pid in pids.values() for name in ("cmdline", "environ")]
    home = alone.settings.home
    files = [path for path in home.rglob("*") if path.is_file() and path.name != "key.json"]
    contents = {path: path.read_bytes() for path in told}
    for path in files:
        # a file that is being written has its name for a moment only
        with contextlib.suppress(FileNotFoundError):
            contents[path] = path.read_bytes()
    assert any(path.name == "config.toml" for path in contents)
    for path, content in contents.items():
        assert not any(secret in content for secret in secrets), path
    environment = Path(f"/proc/{pids['cometbft']}/environ").read_bytes()
    assert b"CMT_PRIV_VALIDATOR_KEY_FILE=/dev/fd/" in environment
    assert alone.stop() == 0


def test_cometbft_is_stopped_first(alone: Validator) -> None:
    pids = begin(alone)
    assert alone.process is not None
    alone.process.send_signal(signal.SIGTERM)
    # the ledger process ends with it or later, never before
    gone: list[str] = []
    while len(gone) < len(pids):
        ended = {part for part, pid in pids.items() if not is_running(pid)}
        gone += [part for part in ("cometbft", "web", "ledger") if part in ended - set(gone)]
        assert gone[:1] in ([], ["cometbft"])
    assert alone.process.wait() == 0
    assert alone.lines("process ended") == []
    assert alone.lines("killed") == []
    assert list(alone.settings.run_path.glob("*.sock")) == []


def test_a_supervisor_that_is_killed_takes_cometbft_along(alone: Validator) -> None:
    pids = begin(alone)
    assert alone.process is not None
    alone.process.kill()
    alone.process.wait()
    wait_for(lambda: not any(map(is_running, pids.values())), lambda: alone.said[-2000:])
    # and the next one goes on
    height = alone.tip_height()
    alone.start()
    alone.wait_for_height(height + 1)
    assert alone.stop() == 0


@pytest.mark.parametrize("victim", ["cometbft", "ledger"])
def test_one_that_is_killed_ends_everything(alone: Validator, victim: str) -> None:
    pids = begin(alone)
    os.kill(pids[victim], signal.SIGKILL)
    assert alone.wait_until_ended() != 0
    assert not any(map(is_running, pids.values()))
    ended = {line["name"]: line["code"] for line in alone.lines("process ended")}
    assert ended
    assert ended.get(victim, -signal.SIGKILL) == -signal.SIGKILL
    height = alone.tip_height()
    alone.start()
    alone.wait_for_height(height + 1)
    assert alone.stop() == 0


def test_one_that_is_dead_inside_ends_everything(alone: Validator) -> None:
    pids = begin(alone)
    # the note cannot be replaced any more: CometBFT's consensus ends, and its process would stay
    noted = note_of(alone)
    noted.rename(noted.with_suffix(".kept"))
    noted.mkdir()
    assert alone.wait_until_ended() == EXIT_DEAD
    assert not any(map(is_running, pids.values()))
    assert alone.lines("process ended") == []
    [dead] = alone.lines("cometbft is dead")
    assert dead["said"] == "CONSENSUS FAILURE!!!"
    assert noted.name in dead["reason"]
    assert dead["meaning"] == "its consensus has ended"
    assert dead["advice"] == Failure(dead["said"], "").advice(alone.settings)
    # the last word
    assert json.loads(alone.said.splitlines()[-1]) == dead
    # its own line is in the log as it was, with the stack
    [line] = [row for row in cometbft_lines(alone) if row["_msg"] == dead["said"]]
    assert line["err"] == dead["reason"]
    assert "goroutine" in line["stack"]
    # the next start goes on
    height = alone.tip_height()
    noted.rmdir()
    noted.with_suffix(".kept").rename(noted)
    alone.start()
    alone.wait_for_height(height + 1)
    assert alone.stop() == 0


def cometbft_lines(validator: Validator) -> list[dict[str, Any]]:
    """What CometBFT said, of its whole lines."""
    rows = [json.loads(line) for line in validator.said.splitlines() if line.startswith('{"_msg')]
    assert rows
    return rows


@pytest.fixture
def hasty() -> Iterator[Network]:
    """A network whose snapshots are old enough soon."""
    with watched(1, {"block_ms": 100, "epoch_ms": 1_000, "attest_blocks": 4}) as made:
        yield made


def test_a_state_sync_that_was_interrupted_says_what_to_move_away(hasty: Network) -> None:
    network, first = hasty, hasty.validators[0]
    [port] = free_ports(1)
    first.start(rpc=f"127.0.0.1:{port}", snapshot_epochs=12)
    wait_for(lambda: first.lines("snapshot"), lambda: first.said[-2000:])
    joining = network.join(
        "newcomer",
        state_sync=(f"http://127.0.0.1:{port}",),
        lists=(first.url,),
        validator=None,
        attest=None,
    )
    joining.start()
    joining.wait_for_height(1)
    assert joining.lines("snapshot restored")
    assert joining.stop() == 0
    # as after a death between the ledger's last write of the snapshot and CometBFT's first
    data = joining.settings.cometbft_path / "data"
    shutil.rmtree(data)
    joining.start()
    assert joining.wait_until_ended() == EXIT_DEAD
    [dead] = joining.lines("cometbft is dead")
    assert (dead["said"], dead["reason"]) == ("State sync failed", "state sync aborted")
    assert f"move {joining.settings.database_path} and {data} away" in dead["advice"]
    # and so it is
    shutil.rmtree(data)
    joining.settings.database_path.rename(joining.settings.home / "away")
    restored = len(joining.lines("snapshot restored"))
    joining.start()
    joining.wait_for_height(first.height)
    assert len(joining.lines("snapshot restored")) == restored + 1
    network.stop()


def test_a_program_of_another_version_is_refused(alone: Validator, tmp_path: Path) -> None:
    other = tmp_path / "cometbft"
    other.write_text("#!/bin/sh\necho 0.37.4\n")
    other.chmod(0o755)
    alone.start(cometbft=other)
    assert alone.wait_until_ended() == 1
    assert f"there is no CometBFT {VERSION}: {other} is 0.37.4" in alone.said
    assert "Traceback" not in alone.said
    # nothing was begun
    assert not alone.settings.database_path.exists()


def test_votes_are_noted_where_no_backup_reaches(alone: Validator) -> None:
    begin(alone)
    assert alone.stop() == 0
    noted = json.loads(note_of(alone).read_text())
    assert int(noted["height"]) >= alone.tip_height() > 0
    assert note_of(alone).parent == alone.settings.watermark_path
    # CometBFT keeps no second one
    assert not (alone.settings.cometbft_path / "data" / "priv_validator_state.json").exists()


def test_without_its_note_it_votes_only_above_the_newest_block(alone: Validator) -> None:
    begin(alone)
    assert alone.stop() == 0
    height = alone.tip_height()
    note_of(alone).unlink()
    alone.start()
    assert alone.wait_until_ended() == 1
    assert "there is no note of the votes of the key" in alone.said
    assert not note_of(alone).exists()
    # who vouches wrongly is found out by the blocks, which bear the votes of the key
    alone.start(new_watermark=True)
    assert alone.wait_until_ended() != 0
    assert "found signature from the same key" in alone.said
    assert alone.tip_height() == height
    # there is no other node that may have seen a vote for the next block
    write_note(note_of(alone), height + 1, 0, 0)
    alone.start(new_watermark=False)
    alone.wait_for_height(height + 1)
    assert alone.stop() == 0


def write_note(path: Path, height: int, round_: int, step: int) -> None:
    """Write a note of votes by hand."""
    path.write_text(json.dumps({"height": str(height), "round": round_, "step": step}))


def newest_vote(others: list[Validator], digits: str) -> tuple[int, int, int]:
    """What the guide says to write: the newest vote of a key that any of these nodes shows."""
    states = [each.consensus("dump_consensus_state")["round_state"] for each in others]
    height = max(int(state["height"]) for state in states)
    found = [(height, 0, 0)]
    for state in states:
        if int(state["height"]) < height:
            continue
        if state["proposal"] and state["validators"]["proposer"]["address"].startswith(digits):
            found.append((height, state["round"], 1))
        for row in state["votes"]:
            # Vote{PLACE:DIGITS HEIGHT/ROUND/…}
            bears = re.compile(rf"Vote{{\d+:{digits} {height}/{row['round']:02}/").match
            found += [
                (height, row["round"], step)
                for step, kind in ((2, "prevotes"), (3, "precommits"))
                if any(map(bears, row[kind]))
            ]
    return max(found)


def test_where_the_network_stands_still_a_note_by_hand_lets_it_go_on() -> None:
    with watched(4, {"block_ms": 300}) as network:
        first, second, third, lost = network.validators
        network.start()
        network.wait_for_height(3)
        # two of four: nothing is decided any more
        assert third.stop() == 0
        assert lost.stop() == 0
        digits = sha256(derive(seed_of(lost.name), "consensus").public)[:6].hex().upper()
        stays: list[dict[str, Any]] = []

        def has_both_votes() -> bool:
            stays[:] = [
                each.consensus("dump_consensus_state")["round_state"] for each in (first, second)
            ]
            own = [
                sum(vote.startswith("Vote{") for row in state["votes"] for vote in row["prevotes"])
                for state in stays
            ]
            return bool(stays[0]["height"] == stays[1]["height"]) and min(own) >= 2

        wait_for(has_both_votes, lambda: str(stays))
        path = path_of(
            lost.settings, network.genesis_hash, derive(seed_of(lost.name), "consensus").public
        )
        true = json.loads(path.read_text())
        path.unlink()
        written = newest_vote([first, second], digits)
        # what was voted for and reached nobody is more, and harms nobody
        assert (first.height + 1, 0, 0) <= written
        assert written <= max(
            (written[0], 0, 0), (int(true["height"]), true["round"], true["step"])
        )
        write_note(path, *written)
        lost.start()
        height = first.height
        for each in (first, second, lost):
            each.wait_for_height(height + 5)
        network.stop()
        # they agree on every block, and nobody was found to vote twice
        assert network.compare(first, second, lost, least=height + 5)
        assert not [block for block in first.blocks() if block.misbehaviour]
