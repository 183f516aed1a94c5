"""What keeps a validator from voting twice: when a key counts as new, and when it does not."""

import json
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.cometbft.home import prepare
from registry.cometbft.votes import ValidatorRefuses
from registry.keystore import derive, save_insecure_seed
from tests.factory import START_MS
from tests.registry.cli.fake_service import seed_of
from tests.registry.cometbft.site import YOUNG, Site

NOTHING = {"height": "0", "round": 0, "step": 0}
VOTED = {"height": "57", "round": 1, "step": 3, "signature": "AA==", "signbytes": "00"}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def note(site: Site, content: Any) -> None:
    """Have the home hold a note of votes."""
    site.votes.parent.mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    site.votes.write_text(text)


def checked_blocks(site: Site) -> int:
    """How many blocks CometBFT looks at before it votes."""
    config = (site.home / "cometbft" / "config" / "config.toml").read_text()
    count: int = tomllib.loads(config)["consensus"]["double_sign_check_height"]
    return count


# --- a key that is new ---------------------------------------------------------------------------


def test_in_a_young_network_an_empty_home_has_a_new_key(site: Site) -> None:
    prepare(site.settings(), {}, YOUNG)
    assert json.loads(site.votes.read_text()) == NOTHING
    assert stat.S_IMODE(site.votes.stat().st_mode) == 0o600
    assert stat.S_IMODE(site.votes.parent.stat().st_mode) == 0o700
    assert checked_blocks(site) == 20


def _database(site: Site) -> None:
    (site.home / "ledger").mkdir()


def _data(site: Site) -> None:
    path = site.home / "cometbft" / "data" / "state.db"
    path.mkdir(parents=True)


def _nothing(_site: Site) -> None:
    pass


REFUSED: dict[str, tuple[Callable[[Site], None], int, str]] = {
    "a database": (_database, START_MS, "this home has a database"),
    "data of CometBFT": (_data, START_MS, "CometBFT ran in this home"),
    "a network that is not young": (_nothing, YOUNG + 1, "started more than an hour ago"),
}


@pytest.mark.parametrize(("spoil", "now_ms", "why"), REFUSED.values(), ids=REFUSED)
def test_a_key_that_may_have_voted_does_not_vote(
    site: Site, spoil: Callable[[Site], None], now_ms: int, why: str
) -> None:
    spoil(site)
    with pytest.raises(ValidatorRefuses, match=f"it may have voted: .*{why}") as caught:
        prepare(site.settings(), {}, now_ms)
    assert site.votes.name in str(caught.value)
    assert "--new-watermark" in str(caught.value)
    assert not site.votes.exists()
    assert not (site.home / "cometbft" / "config" / "config.toml").exists()


@pytest.mark.parametrize(("spoil", "now_ms", "why"), REFUSED.values(), ids=REFUSED)
def test_a_person_vouches_once(
    site: Site, spoil: Callable[[Site], None], now_ms: int, why: str
) -> None:
    spoil(site)
    prepare(site.settings(new_watermark=True), {}, now_ms)
    assert json.loads(site.votes.read_text()) == NOTHING
    # and CometBFT looks whether that is so
    assert checked_blocks(site) == 20
    prepare(site.settings(), {}, now_ms)


# --- a key with a note ---------------------------------------------------------------------------


@pytest.mark.parametrize("vouched", [False, True], ids=["as always", "vouched for"])
def test_a_note_is_never_changed(site: Site, vouched: bool) -> None:
    _database(site)
    note(site, VOTED)
    prepare(site.settings(new_watermark=vouched), {}, YOUNG + 1)
    assert json.loads(site.votes.read_text()) == VOTED
    assert checked_blocks(site) == 0


def test_until_a_vote_is_noted_the_newest_blocks_are_looked_at(site: Site) -> None:
    note(site, NOTHING)
    prepare(site.settings(), {}, YOUNG + 1)
    assert checked_blocks(site) == 20


def test_a_note_by_hand_that_has_no_signature_is_taken(site: Site) -> None:
    note(site, {"height": "90", "round": 0, "step": 3})
    prepare(site.settings(), {}, YOUNG + 1)
    assert checked_blocks(site) == 0


HIGHEST = {
    "the highest height": {"height": str(2**63 - 1), "round": 2**31 - 1, "step": 3},
    "nothing in a round": {"height": "57", "round": 0, "step": 0},
    "a proposal": VOTED | {"step": 1},
    "a prevote": VOTED | {"step": 2},
}


@pytest.mark.parametrize("content", HIGHEST.values(), ids=HIGHEST)
def test_what_cometbft_may_write_is_taken(site: Site, content: dict[str, Any]) -> None:
    note(site, content)
    prepare(site.settings(), {}, YOUNG + 1)
    assert json.loads(site.votes.read_text()) == content
    assert checked_blocks(site) == 0


def changed(**fields: Any) -> str:
    """A note that is wrong in some fields."""
    return json.dumps(VOTED | fields)


DAMAGED = {
    "empty": "",
    "cut off": '{"height": "5"',
    "a list": "[]",
    "no height": '{"round": 0}',
    "no number": '{"height": "five"}',
    "below all": '{"height": "-1"}',
    "null": '{"height": null}',
    "a number for a text": changed(height=57),
    "true for a height": changed(height=True),
    "a zero before the height": changed(height="057"),
    "a sign before the height": changed(height="+57"),
    "spaces around the height": changed(height=" 57 "),
    "an underscore in the height": changed(height="5_7"),
    "digits of another script": changed(height="\u0665\u0667"),
    "a line's end after the height": changed(height="57\n"),
    "a height beyond all": changed(height=str(2**63)),
    "no round": '{"height": "57", "step": 3}',
    "a text for a round": changed(round="1"),
    "true for a round": changed(round=True),
    "a fraction for a round": changed(round=1.0),
    "a round below all": changed(round=-1),
    "a round beyond all": changed(round=2**31),
    "no step": '{"height": "57", "round": 1}',
    "a text for a step": changed(step="3"),
    "true for a step": changed(step=True),
    "a step below all": changed(step=-1),
    "a step beyond all": changed(step=4),
    "another field": changed(hight="60"),
    "a field in capitals": changed(Height="60"),
    "a signature alone": '{"height": "57", "round": 1, "step": 3, "signature": "AA=="}',
    "what was signed alone": '{"height": "57", "round": 1, "step": 3, "signbytes": "00"}',
    "no signature": changed(signature=None),
    "a signature that is no Base64": changed(signature="A!=="),
    "what was signed is no hex": changed(signbytes="0G"),
    "half a byte was signed": changed(signbytes="000"),
    "deeper than can be read": "[" * 100_000,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("vouched", [False, True], ids=["as always", "vouched for"])
def test_a_damaged_note_never_says_that_nothing_was_voted_for(
    site: Site, content: str, vouched: bool
) -> None:
    note(site, content)
    with pytest.raises(ValidatorRefuses, match="is damaged, and it alone says"):
        prepare(site.settings(new_watermark=vouched), {}, START_MS)
    assert site.votes.read_text() == content


# --- a note is bound to network and key ----------------------------------------------------------


def test_a_note_of_another_key_is_none(site: Site) -> None:
    note(site, VOTED)
    other = site.home / "other.json"
    save_insecure_seed(other, seed_of("another"))
    with pytest.raises(ValidatorRefuses) as caught:
        prepare(site.settings(validator=other), {}, YOUNG + 1)
    assert derive(seed_of("another"), "consensus").public.hex() in str(caught.value)


def test_a_note_of_another_network_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    site, other = Site(tmp_path / "a"), Site(tmp_path / "b", name=b"another")
    note(site, VOTED)
    other.votes.parent.mkdir()
    site.votes.rename(other.votes.parent / site.votes.name)
    with pytest.raises(ValidatorRefuses):
        prepare(other.settings(), {}, YOUNG + 1)


def test_who_does_not_validate_leaves_the_notes_alone(site: Site) -> None:
    note(site, VOTED)
    prepare(site.settings(validator=None), {}, YOUNG + 1)
    assert json.loads(site.votes.read_text()) == VOTED
    # its own data make it a node that may have voted, once it is to validate
    site.votes.unlink()
    with pytest.raises(ValidatorRefuses, match="CometBFT ran in this home"):
        prepare(site.settings(), {}, START_MS)
