"""What an agent tells its operator is whole at every moment, and stops nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from registry import files
from registry.agent import status as module
from registry.agent.status import NoStatus, Status, read_status


def test_facts_are_there_once_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "status.json"
    written = []
    real = files.write_atomically

    def counted(*arguments: Any) -> None:
        written.append(arguments)
        real(*arguments)

    monkeypatch.setattr(module, "write_atomically", counted)
    status = Status(path, node="wpn1")
    with pytest.raises(NoStatus, match="waypost agent"):
        read_status(path)
    status.put(epoch=1)
    status.put(epoch=1)
    status.put(epoch=2, problem=None)
    found = read_status(path)
    assert found.pop("written_ms") > 0
    assert found == {"node": "wpn1", "epoch": 2, "problem": None}
    assert len(written) == 2
    assert status.get("epoch") == 2
    assert status.get("nothing") is None
    assert json.loads(path.read_text())["epoch"] == 2


def test_a_full_disk_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = Status(tmp_path / "status.json")

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_atomically", fail)
        status.put(epoch=1)
    # the next time it is tried again, also if nothing changed
    status.put(epoch=1)
    assert read_status(tmp_path / "status.json")["epoch"] == 1


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"a":' * 10_000])
def test_what_is_no_status_is_said(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "status.json"
    path.write_bytes(data)
    with pytest.raises(NoStatus, match="cannot be read"):
        read_status(path)
