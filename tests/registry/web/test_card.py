"""A node's page says what `waypost node status` says, in its words, and shows how it fared."""

from typing import Any

import msgspec
import pytest

from ledger.messages.tables import NODES
from registry.addresses import encode_node
from registry.api.models import NODE, TIME_MS
from registry.cli.card import NodeStatus, format_card
from registry.web.history import Past, tell_history
from tests.registry.web.explored import EPOCHS, Explored, Site, key_of
from tests.registry.web.markup import Read

NAMES = ("town 0", "town 1", "town 2", "town 3", "shared", "kept", "waits", "late", "funded")


def lines_of(text: str) -> list[str]:
    """The lines of a card with single spaces; its first one names the node."""
    return [" ".join(line.split()) for line in text.splitlines()]


def status_of(site: Site, key: str) -> NodeStatus:
    """The status as the command reads it."""
    answer = site.client.get(f"/v1/nodes/{key}").json()
    return msgspec.convert(answer, NodeStatus, strict=False)


def check_words(site: Site, key: str) -> None:
    """Each line of the command's card stands on the page."""
    text = Read(site.get(f"/nodes/{key}").text).text.lower()
    assert site.now_ms is not None
    for line in lines_of(format_card(status_of(site, key), site.now_ms))[1:]:
        # of a verdict the page says "Epoch 3: failed"
        shown = line.replace(" ", ": ", 2).replace(": ", " ", 1)
        wanted = shown if line.startswith("epoch ") else line
        assert wanted.lower() in text, wanted


@pytest.mark.parametrize("name", NAMES)
def test_the_words_are_those_of_the_command(site: Site, name: str) -> None:
    check_words(site, encode_node(key_of(name)))


CHANGES: dict[str, dict[str, Any]] = {
    "an agent that is well": {
        "checked_in_ms": TIME_MS - 7_200_000,
        "agent_version": [1, 2, 3],
        "agent_faults": [],
    },
    "an agent that sees faults": {
        "checked_in_ms": TIME_MS,
        "agent_version": [1, 2, 3],
        "agent_faults": ["clock", "router port"],
    },
    "no agent": {"checked_in_ms": None, "agent_version": None, "agent_faults": None},
    "tombstoned": {"state": "tombstoned", "tombstoned": True},
    "on its way out": {"exit_ms": TIME_MS + 10**9, "exit_position": 3, "payout_ms": None},
    "a payout to come": {"state": "exited", "payout_ms": TIME_MS + 10**8},
    "no contact to come": {"pending_contact": None},
    "IPv6 only": {
        "contact": {
            "ipv4": None,
            "ipv6": "2001:db8::1",
            "storage_port": 1,
            "router_port": 2,
            "storage_version": [1, 2, 3],
            "router_version": [4, 5, 6],
        }
    },
    "an attestor": {"list_key": "ab" * 32},
    "no swarm": {"swarm": None},
    "penalties": {"penalties_taken": "1"},
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_words_of_what_is_rare(small: Site, name: str) -> None:
    small.ledger.results["node"] = small.ledger.results["node"] | CHANGES[name]
    small.ledger.results["history"] = {"epochs": []}
    check_words(small, NODE)


# ---- How it fared ----


def rows_of(page: str) -> list[tuple[int, str, str]]:
    """Epoch, verdict and reward of each row of the history."""
    rows = [e.attributes for e in Read(page).named("tr") if "data-epoch" in e.attributes]
    return [(int(r["data-epoch"]), r["data-verdict"], r["data-reward"]) for r in rows]


@pytest.mark.parametrize("name", ["town 0", "town 2", "town 4"])
def test_the_history_is_that_of_the_api(site: Site, name: str) -> None:
    key = encode_node(key_of(name))
    page = site.get(f"/nodes/{key}").text
    epochs = site.client.get(f"/v1/nodes/{key}/history").json()["epochs"]
    wanted = [(row["epoch"], row["verdict"], row["reward"] or "") for row in epochs]
    assert rows_of(page) == wanted[::-1]
    assert len(wanted) == EPOCHS - 1
    # the ledger was asked to judge in these epochs, and nowhere else
    failed = {"town 0": [9, 10, 11], "town 2": [3, 8], "town 4": [11]}[name]
    assert [row[0] for row in wanted if row[1] == "failed"] == failed


def test_a_node_that_waits_has_no_history(site: Site) -> None:
    page = site.get(f"/nodes/{encode_node(key_of('late'))}").text
    assert all(row[1:] == ("none", "") for row in rows_of(page))


def test_a_sentence_tells_what_the_plots_show() -> None:
    rows = [
        Past(7, TIME_MS, "passed", [], 5_000_000_000),
        Past(8, TIME_MS, "failed", ["clock"], 0),
        Past(9, TIME_MS, "none", [], None),
    ]
    assert tell_history(rows) == (
        "Epochs 7 to 9: 1 passed, 1 failed, 1 without a verdict. "
        "It was paid 5 coins in the 2 whose reward is known."
    )
    assert tell_history(rows[:2]).endswith("It was paid 5 coins in them.")
    assert tell_history(rows[2:]) == "Epochs 9 to 9: 0 passed, 0 failed, 1 without a verdict."
    assert "No epoch has ended" in tell_history([])


def test_every_node_has_a_page(site: Site) -> None:
    ledger = site.ledger
    assert isinstance(ledger, Explored)
    keys = [key for key, _ in ledger.network.state.items(NODES)]
    assert len(keys) > 30
    for key in keys[:10]:
        page = site.get(f"/nodes/{encode_node(key)}")
        assert encode_node(key) in page.text
