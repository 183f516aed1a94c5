"""`waypost list fetch` past the trust period, and where a network goes on as another one."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from ledger.messages.genesis import REGISTRY
from ledger.params import preset
from registry.formats.fingerprint import fingerprint_words
from tests.registry.cli.driver import call, call_json, error_of
from tests.registry.cli.recent import NEWEST, newest
from tests.registry.client.factory import make_genesis, make_list
from tests.registry.client.server import Source, run_source

OLD: Final = make_genesis(policy=REGISTRY)
"""A network that began so long ago that nothing vouches for its attestors any more."""


@pytest.fixture(autouse=True)
def old(home: Path) -> None:
    """The network of this page is the one of that home."""
    (home / "genesis.bin").write_bytes(OLD)


@pytest.fixture
def sources() -> Iterator[tuple[Source, Source]]:
    with run_source() as one, run_source() as other:
        yield one, other


def test_past_the_trust_period_it_says_so(sources: tuple[Source, Source]) -> None:
    sources[0].serve(newest(genesis=OLD))
    refused = call("list", "fetch", "--url", sources[0].url, code=1)
    assert error_of(refused) == "trust_expired"
    assert f"for {preset('minimal').trust_ms} ms" in refused.stderr
    assert "take a newer checkpoint, or let several sources agree" in refused.stderr


def test_a_checkpoint_lets_it_go_on(sources: tuple[Source, Source]) -> None:
    made = newest(genesis=OLD)
    sources[0].serve(made)
    words = " ".join(fingerprint_words(sha256(OLD).digest(), made.raw_header))
    asked = ("list", "fetch", "--url", sources[0].url, "--checkpoint")
    other = " ".join(fingerprint_words(sha256(OLD).digest(), make_list(3).raw_header))
    assert error_of(call(*asked, f"{NEWEST} {other}", code=1)) == "trust_expired"
    assert call_json(*asked, f"{NEWEST} {words}")["epoch"] == NEWEST


@pytest.mark.parametrize("text", ["900", "x one two", "900 " + "zebra " * 12, "900 one two three"])
def test_a_checkpoint_is_an_epoch_and_twelve_words(text: str) -> None:
    assert "an epoch and twelve words" in call("list", "fetch", "--checkpoint", text, code=2).stderr


def test_sources_that_agree_let_it_go_on(sources: tuple[Source, Source]) -> None:
    one, other = sources
    made = newest(genesis=OLD)
    one.serve(made)
    asked = ("list", "fetch", "--url", one.url, "--url", other.url, "--agree", 2)
    assert error_of(call(*asked, code=1)) == "trust_expired"
    other.serve(made)
    assert call_json(*asked)["epoch"] == NEWEST


def test_a_network_that_goes_on_as_another_is_followed(
    sources: tuple[Source, Source], home: Path
) -> None:
    old, new = sources
    first = make_genesis()
    (home / "genesis.bin").write_bytes(first)
    genesis = make_genesis((1, 1), name=b"next")
    last = newest(genesis=first, successor=sha256(genesis).digest())
    old.serve(last)
    old.answers["/v1/genesis"] = genesis
    new.serve(newest(epoch=5, genesis=genesis, weights=(1, 1)))
    # until the new network has a list, the fetch fails and says why
    refused = call("list", "fetch", "--url", old.url, code=1)
    assert "the network goes on as" in refused.stderr
    facts = call_json("list", "fetch", "--url", new.url)
    assert facts["genesis_hash"] == sha256(genesis).digest().hex()
    assert (facts["epoch"], facts["signers"]["seats"]) == (5, 2)
    assert call_json("list", "show")["genesis_hash"] == facts["genesis_hash"]
