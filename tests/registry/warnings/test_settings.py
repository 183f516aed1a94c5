"""What the program is told: flags over environment over its file; what is unknown is refused."""

import os
from pathlib import Path
from typing import Any

import pytest

from registry.home import default_home
from registry.settings import BadSettings
from registry.warnings.settings import (
    PREFIX,
    WarnSettings,
    default_warn_home,
    load_warn_settings,
)
from tests.registry.warnings.factory import NODE, OPERATOR, OTHER


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ:
        if variable.startswith(PREFIX):
            monkeypatch.delenv(variable)


def load(home: Path, text: str = "", **flags: Any) -> WarnSettings:
    """Settings of a home with this file."""
    (home / "warn.toml").write_text(text)
    return load_warn_settings(home, flags)


def refused(home: Path, text: str = "", **flags: Any) -> str:
    with pytest.raises(BadSettings) as caught:
        load(home, text, **flags)
    return str(caught.value)


def test_a_node_is_all_that_it_takes(tmp_path: Path) -> None:
    settings = load(tmp_path, node=(NODE,))
    assert (settings.node, settings.operator) == ((NODE,), None)
    assert settings.service == ("http://127.0.0.1:8420",)
    assert (settings.webhook, settings.mail_host, settings.metrics_address) == (None, None, None)
    assert settings.memory_path == tmp_path / "memory.json"


def test_flags_go_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f'node = ["{NODE}"]\nevery_s = 5\nheartbeat_h = 7'
    monkeypatch.setenv("WAYPOST_WARN_EVERY_S", "6")
    monkeypatch.setenv("WAYPOST_WARN_HOME", "/elsewhere")
    settings = load(tmp_path, text, node=(OTHER,))
    assert (settings.node, settings.every_s, settings.heartbeat_h) == ((OTHER,), 6, 7)


def test_keys_as_hex_become_addresses(tmp_path: Path) -> None:
    settings = load(tmp_path, node=("11" * 32,), operator="33" * 32)
    assert (settings.node, settings.operator) == ((NODE,), OPERATOR)


ADDRESSES: dict[str, tuple[str, int]] = {
    "127.0.0.1:9420": ("127.0.0.1", 9420),
    "[::1]:9420": ("::1", 9420),
    "localhost:1": ("localhost", 1),
}


@pytest.mark.parametrize("text", ADDRESSES)
def test_where_gauges_are_served(tmp_path: Path, text: str) -> None:
    settings = load(tmp_path, f'metrics = "{text}"', node=(NODE,))
    assert settings.metrics_address == ADDRESSES[text]


NODE_LINE = f'node = ["{NODE}"]\n'
MAIL = 'mail_host = "mail.example.org"\nmail_from = "a@example.org"\nmail_to = ["b@example.org"]\n'

BAD: dict[str, tuple[str, str]] = {
    "nothing to watch": ("", "name --node or --operator"),
    "no service": (NODE_LINE + "service = []", "name a service"),
    "an unknown name": (NODE_LINE + "mail_form = 1", "there is no setting mail_form"),
    "a password in the file": (NODE_LINE + 'mail_password = "x"', "no setting mail_password"),
    "a secret in the file": (NODE_LINE + 'webhook_secret = "x"', "no setting webhook_secret"),
    "a node that is none": ('node = ["wpn1x"]', "setting node"),
    "an account as a node": (f'node = ["{OPERATOR}"]', "setting node"),
    "mail without recipients": (
        NODE_LINE + 'mail_host = "x"\nmail_from = "a@example.org"', "mail_from and mail_to"
    ),
    "a user without a password": (NODE_LINE + MAIL + 'mail_user = "me"', "go together"),
    "a password in the clear": (
        NODE_LINE + MAIL + 'mail_user = "me"\nmail_password_file = "x"\nmail_security = "none"',
        "over TLS only",
    ),
    "a secret without a webhook": (NODE_LINE + 'webhook_secret_file = "x"', "needs a webhook"),
    "a sender with a line break": (
        NODE_LINE + MAIL.replace("a@", "a\\r\\nBcc: x@"), "setting mail_from"
    ),
    "a recipient that is two": (NODE_LINE + MAIL.replace("b@", "c@x, b@"), "setting mail_to"),
    "a sender with two dots": (NODE_LINE + MAIL.replace("a@", "a..b@"), "setting mail_from"),
    "a recipient beyond ASCII": (NODE_LINE + MAIL.replace("b@", "ß@"), "setting mail_to"),
    "a service with a password": (
        NODE_LINE + 'service = ["http://me:secret@localhost"]', "setting service"
    ),
    "a service that is no URL": (NODE_LINE + 'service = ["localhost"]', "setting service"),
    "a webhook that is no URL": (NODE_LINE + 'webhook = "file:///etc/passwd"', "setting webhook"),
    "a round without end": (NODE_LINE + "every_s = 0", "setting every_s"),
    "an address without a port": (NODE_LINE + 'metrics = "localhost"', "setting metrics"),
    "a home in the file": (NODE_LINE + 'home = "x"', "there is no setting home"),
    "no TOML": ("node = ", "warn.toml"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_refused_by_name(name: str, tmp_path: Path) -> None:
    text, why = BAD[name]
    assert why in refused(tmp_path, text)


def test_a_variable_that_does_not_exist_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYPOST_WARN_NOED", "1")
    assert "WAYPOST_WARN_NOED: there is no setting noed" in refused(tmp_path, NODE_LINE)


def test_its_home_lies_in_that_of_a_service() -> None:
    assert default_warn_home() == default_home() / "warn"
