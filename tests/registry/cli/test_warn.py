"""`waypost warn`: one look, a test message, what is refused, and the guide as it stands."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import structlog

from registry.warnings.messages import to_json
from registry.warnings.metrics import Gauges
from registry.warnings.outbox import Standing
from registry.warnings.settings import WarnSettings
from registry.warnings.table import WARNINGS
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.fake_service import FakeService
from tests.registry.cli.test_guides import PAGES, read_commands
from tests.registry.warnings.factory import World
from tests.registry.warnings.receivers import make_message
from tests.registry.warnings.town import MINE, OPERATOR, fail, run_town

PAGE: Final = "warnings.md"
DEAD: Final = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def no_logs() -> Iterator[None]:
    """Logs of a command go to its own standard error, which is gone after it."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    """A service whose first node failed once."""
    with run_town() as service:
        fail(service.network)
        monkeypatch.setenv("WAYPOST_WARN_HOME", str(tmp_path))
        monkeypatch.setenv("WAYPOST_WARN_SERVICE", json.dumps([service.url]))
        yield service


def test_one_look_tells_what_is_new_and_shows_what_is_due(town: FakeService) -> None:
    first = call_json("warn", "--once", "--node", MINE)
    assert first["source"] == town.url
    assert first["nodes"] == [{"node": MINE, "state": "active"}]
    assert first["services"] == {town.url: None}
    due = {row["warning"]: row for row in first["due"]}
    assert (due["failing"]["subject"], due["failing"]["severity"]) == (MINE, "warning")
    assert "storage port" in due["failing"]["reason"]
    assert {"failing", "heartbeat"} <= {row["warning"] for row in first["told"]}
    assert first["channels"] == {"stdout": {"waiting": 0, "failures": 0, "error": ""}}
    second = call_json("warn", "--once", "--node", MINE)
    assert second["told"] == []
    assert "failing" in {row["warning"] for row in second["due"]}


def test_it_is_text_for_people(town: FakeService) -> None:
    text = call("warn", "--once", "--operator", OPERATOR).stdout
    assert re.search(f"^source +{town.url}$", text, re.MULTILINE)
    assert re.search(f"^node +{MINE} active$", text, re.MULTILINE)
    assert re.search(f"^due +warning failing {MINE}$", text, re.MULTILINE)
    assert re.search(r"^why +it failed in epoch 1 \(storage port\)", text, re.MULTILINE)


def test_without_a_service_it_fails_and_says_why(town: FakeService) -> None:
    result = call("warn", "--once", "--node", MINE, "--service", DEAD, "-o", "json", code=1)
    found = json.loads(result.stdout)
    assert found["source"] is None
    assert "did not answer" in found["services"][DEAD]


def test_a_message_that_cannot_be_sent_waits_and_is_shown(
    town: FakeService, tmp_path: Path
) -> None:
    (tmp_path / "warn.toml").write_text(f'webhook = "{DEAD}"')
    result = call("warn", "--once", "--node", MINE, "-o", "json", code=1)
    channel = json.loads(result.stdout)["channels"]["webhook"]
    assert (channel["failures"], channel["waiting"] >= 2) == (1, True)
    assert "was not reached" in channel["error"]


def test_a_test_message_is_printed_where_no_channel_is_set_up(town: FakeService) -> None:
    result = call("warn", "--test", "--node", MINE, "-o", "json")
    line, _, rest = result.stdout.partition("\n")
    assert json.loads(line)["kind"] == "test"
    assert json.loads(rest) == {"stdout": {"sent": True, "error": None}}


def test_a_test_message_that_fails_says_so(town: FakeService, tmp_path: Path) -> None:
    (tmp_path / "warn.toml").write_text(f'webhook = "{DEAD}"')
    result = call("warn", "--test", "--node", MINE, "-o", "json", code=1)
    assert json.loads(result.stdout)["webhook"]["sent"] is False
    assert call("warn", "--test", "--node", MINE, code=1).stdout.startswith("webhook  the webhook")


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "nothing to watch": (("--once",), "bad_settings"),
    "a genesis file that is not there": (
        ("--once", "--node", MINE, "--genesis", "nothing.bin"), "fault",
    ),
    "a service that is no URL": (("--once", "--node", MINE, "--service", "x"), "bad_settings"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_refused(name: str, town: FakeService) -> None:
    arguments, code = REFUSED[name]
    assert error_of(call("warn", *arguments, code=1)) == code


def test_a_memory_that_is_damaged_is_refused(town: FakeService, tmp_path: Path) -> None:
    (tmp_path / "memory.json").write_text("{")
    assert error_of(call("warn", "--once", "--node", MINE, code=1)) == "bad_memory"


@pytest.mark.parametrize(
    "arguments", [("--once", "--test"), ("--node", "wpn1x"), ("--operator", MINE)]
)
def test_a_wrong_command_line_is_refused(arguments: tuple[str, ...]) -> None:
    call("warn", *arguments, code=2)


# ------------------------------------------------------------------------------------- the guide


def test_the_guide_works(town: FakeService, tmp_path: Path) -> None:
    names = {"NODE": MINE, "ACCOUNT": OPERATOR, "SERVICE": town.url}
    words = read_commands(PAGE)
    looked, looked_again, tested = words
    text = call(*(names.get(word, word) for word in looked)).stdout
    assert MINE in text
    found = json.loads(call(*(names.get(word, word) for word in looked_again)).stdout)
    assert found["nodes"] == [{"node": MINE, "state": "active"}]
    (tmp_path / "warn.toml").write_text(f'node = ["{MINE}"]')
    assert "somebody asked for a test message" in call(*tested).stdout


def read_table(heading: str) -> list[list[str]]:
    """The cells of the rows of the first table below a heading."""
    text = (PAGES / PAGE).read_text(encoding="utf-8")
    rows = text.split(f"## {heading}\n", 1)[1].split("\n|---", 1)[1].split("\n")[1:]
    cells = []
    for row in rows:
        if not row.startswith("|"):
            break
        cells.append([cell.strip() for cell in row.strip("|").split(" | ")])
    return cells


def test_the_guide_names_every_warning() -> None:
    shown = [(name.strip("`"), severity) for name, severity, _ in read_table("What is told")]
    assert shown == [(row.name, str(row.severity)) for row in WARNINGS]


def test_the_guide_names_every_setting_and_its_default() -> None:
    shown = {
        name: default
        for names, default, _ in read_table("Setting up")
        for name in re.findall(r"`(\w+)`", names)
    }
    fields = WarnSettings.model_fields
    assert shown.keys() == fields.keys() - {"home"}
    for name, default in shown.items():
        value: Any = fields[name].default
        if isinstance(value, int) or (isinstance(value, str) and name != "service"):
            assert default.strip("`") == str(value)


def test_the_guide_names_every_gauge() -> None:
    gauges = Gauges()
    world = World()
    world.node(payout_ms=1)
    gauges.watch(lambda: {"mail": Standing(0, 0, "")})
    gauges.show(world.look())
    served = {
        re.sub(r"[{ ].*", "", line)
        for line in gauges.render().decode().splitlines()
        if not line.startswith("#")
    }
    named = {
        name for row in read_table("Prometheus") for name in re.findall(r"`(waypost_\w+)", row[0])
    }
    assert named == served


def test_the_guide_shows_a_message_as_it_is() -> None:
    text = (PAGES / PAGE).read_text(encoding="utf-8")
    shown = json.loads(re.findall(r"```json\n(.*?)```", text, re.DOTALL)[0])
    made = to_json(make_message()) | {"dropped_before": 0}
    assert list(shown) == list(made)
    for name in ("headline", "left", "warning", "kind", "proof", "subject", "left_ms"):
        assert shown[name] == made[name]
