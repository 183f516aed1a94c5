"""The list, verified in Chromium: what holds, what does not, and what only a person can know."""

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from typing import Final

import pytest
from mnemonic import Mnemonic
from playwright.sync_api import Browser, Page, expect

from ledger.messages.genesis import REGISTRY
from tests.browser.explorer import (
    Served,
    overflow_of,
    screenshots,
    serving,
    tampering,
    watching,
)
from tests.flip import flip
from tests.registry.web.explored import EPOCH_MS

# ---- What holds, and what does not ----


def test_a_good_list_is_verified(served: Served, browser: Browser) -> None:
    with watching(browser, served.url) as watched:
        page = watched.open("/verify")
        expect(page.locator("#verify")).to_have_attribute("data-state", "good")
        steps = page.locator(".steps li")
        expect(steps).to_have_count(4)
        expect(steps.nth(1)).to_contain_text("3 of 3 attestors signed")
        expect(steps.nth(2)).to_contain_text(re.compile(r"3\d nodes in 4 swarms"))
        # the words that the browser made are those that the page shows
        words = page.locator("#fingerprint li").all_text_contents()
        expect(steps.nth(3)).to_have_text(f"Fingerprint: {' '.join(words)}")
        # what it has come to is kept, and gone on from
        kept = page.evaluate("Object.keys(localStorage)")
        assert [name for name in kept if name.startswith("waypost.anchor.")]
        page = watched.open("/verify")
        expect(page.locator("#verify")).to_have_attribute("data-state", "good")


def test_only_the_network_that_somebody_trusts_is_verified(
    served: Served, browser: Browser
) -> None:
    with watching(browser, served.url) as watched:
        page = watched.open("/verify")
        expect(page.locator("#verify")).to_have_attribute("data-state", "good")
        page.get_by_label("Hash of the genesis file").fill("5f" * 32)
        page.get_by_role("button", name="Verify again").click()
        expect(page.locator("#verify")).to_have_attribute("data-state", "bad")
        expect(page.locator(".result")).to_contain_text("belongs to another network")
        # it is still trusted on the page of the network
        page = watched.open("/")
        expect(page.locator(".result")).to_contain_text("belongs to another network")
        page = watched.open("/verify")
        page.get_by_label("Hash of the genesis file").fill(served.ledger.network.hash.hex().upper())
        page.get_by_role("button", name="Verify again").click()
        expect(page.locator("#verify")).to_have_attribute("data-state", "good")
        expect(page.locator(".steps li").first).to_contain_text("it is the one that you trust")


def test_a_browser_that_cannot_check_says_so(served: Served, browser: Browser) -> None:
    """As one that shows a page over plain http: from another machine."""
    with watching(browser, served.url) as watched:
        gone = "Object.defineProperty(crypto, 'subtle', { value: undefined })"
        watched.page.add_init_script(gone)
        page = watched.open("/verify")
        expect(page.locator("#verify")).to_have_attribute("data-state", "bad")
        expect(page.locator(".result")).to_contain_text("cannot check signatures here")
        expect(page.locator(".steps li").last).to_contain_text("could not be checked")


# ---- What only a person can know ----


@pytest.fixture(scope="module")
def old(browser: Browser) -> Iterator[Served]:
    """A network whose attestors change, and whose genesis file is older than it may be trusted."""
    hour_ms = 6 * EPOCH_MS
    with serving(policy=REGISTRY, valid_ms=hour_ms, trust_ms=hour_ms) as made:
        yield made


def enter_fingerprint(page: Page, text: str) -> None:
    page.get_by_label("Fingerprint that somebody").fill(text)
    page.get_by_role("button", name="Verify again").click()


def digits_of(served: Served) -> str:
    """The fingerprint of the newest final list in hexadecimal, without a word of the page."""
    with urllib.request.urlopen(f"{served.url}/v1/network") as answer:
        words = json.load(answer)["fingerprint"]
    return Mnemonic("english").to_entropy(words).hex()


def test_an_old_genesis_file_needs_the_word_of_a_person(old: Served, browser: Browser) -> None:
    with watching(browser, old.url) as watched:
        page = watched.open("/")
        expect(page.locator("#verify")).to_have_attribute("data-state", "missing")
        expect(page.locator(".result")).to_contain_text("Not verified yet. Too much time")
        page.screenshot(path=screenshots() / "missing-network.png", full_page=True)
        page.locator("#verify").get_by_role("link", name="Go on at Verify").click()
        expect(page.locator("#verify")).to_have_attribute("data-state", "missing")
        expect(page.locator(".steps li").last).to_have_text("Signed header: needs a fingerprint.")
        assert overflow_of(page) == []
        page.screenshot(path=screenshots() / "missing-verify.png", full_page=True)
        page.get_by_role("button", name="Enter the fingerprint").click()
        expect(page.get_by_label("Fingerprint that somebody")).to_be_focused()
        # what somebody told, as people write it
        words = page.locator("#fingerprint li").all_text_contents()
        enter_fingerprint(page, f"  {'  '.join(words).upper()} ")
        expect(page.locator("#verify")).to_have_attribute("data-state", "good")
        expect(page.locator("#verify .next")).to_be_hidden()
        page.screenshot(path=screenshots() / "missing-entered.png", full_page=True)
        # the list that was verified is where it goes on from, with the words or without
        page = watched.open("/verify")
        expect(page.get_by_label("Fingerprint that somebody")).to_have_value(" ".join(words))
        expect(page.locator("#verify")).to_have_attribute("data-state", "good")
        enter_fingerprint(page, "")
        expect(page.locator(".steps li")).to_have_count(4)
        assert page.evaluate("localStorage.getItem('waypost.words')") is None
        expect(page.locator("#verify")).to_have_attribute("data-state", "good")


def test_a_fingerprint_is_kept_for_the_other_pages(old: Served, browser: Browser) -> None:
    with watching(browser, old.url) as watched:
        page = watched.open("/verify")
        enter_fingerprint(page, digits_of(old))
        expect(page.locator("#verify")).to_have_attribute("data-state", "good")
        page.evaluate(
            "Object.keys(localStorage).filter((name) => name.startsWith('waypost.anchor.'))"
            ".forEach((name) => localStorage.removeItem(name))"
        )
        page = watched.open("/")
        expect(page.locator("#verify")).to_have_attribute("data-state", "good")


def test_the_fingerprint_of_another_list_vouches_for_nothing(old: Served, browser: Browser) -> None:
    with watching(browser, old.url) as watched:
        page = watched.open("/verify")
        enter_fingerprint(page, "5f" * 16)
        expect(page.locator(".result")).to_contain_text("was entered is not that of the list")
        expect(page.locator("#verify")).to_have_attribute("data-state", "missing")


SLIPS: Final[dict[str, tuple[Callable[[list[str]], list[str]], str]]] = {
    "eleven words": (lambda words: words[:11], "twelve words"),
    "a word of no list": (lambda words: ["zzz", *words[1:]], 'the word "zzz"'),
    "another order": (lambda words: [*words[1:], words[0]], "in another order"),
    "digits too few": (lambda _words: ["5f" * 15], "twelve words"),
}
"""What somebody typed instead of the words, and what the field says of it."""


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_in_the_words_is_told_and_not_kept(old: Served, browser: Browser, name: str) -> None:
    change, told = SLIPS[name]
    # these words in another order are not by chance those of another list
    words = Mnemonic("english").to_mnemonic(bytes(range(16))).split()
    assert not Mnemonic("english").check(" ".join([*words[1:], words[0]]))
    with watching(browser, old.url) as watched:
        page = watched.open("/verify")
        expect(page.locator("#verify")).to_have_attribute("data-state", "missing")
        enter_fingerprint(page, " ".join(change(words)))
        # a function given as text would be waited for by eval, which these pages forbid
        expect(page.locator("#words")).not_to_have_js_property("validationMessage", "")
        assert told in page.locator("#words").evaluate("(input) => input.validationMessage")
        assert page.evaluate("localStorage.getItem('waypost.words')") is None


def test_a_genesis_file_that_changes_is_for_a_person_to_accept(
    served: Served, browser: Browser
) -> None:
    """Both are whole networks; one that is verified is not the one that was verified before."""
    source = served

    def change(path: str, body: bytes) -> bytes:
        if source is served or path.startswith("/static/"):
            return body
        with urllib.request.urlopen(source.url + path) as answer:
            return bytes(answer.read())

    with (
        serving(served.ledger.start_ms + 1) as other,
        tampering(served.url, change) as url,
        watching(browser, url) as watched,
    ):
        before, after = served.ledger.network.hash.hex(), other.ledger.network.hash.hex()
        page = watched.open("/verify")
        expect(page.locator("#verify")).to_have_attribute("data-state", "good")
        assert page.evaluate("localStorage.getItem('waypost.seen')") == before
        source = other
        page = watched.open("/")
        expect(page.locator("#verify")).to_have_attribute("data-state", "bad")
        result = page.locator(".result")
        for text in (before, after, "Not verified. Genesis file"):
            expect(result).to_contain_text(text)
        page.locator("#verify").get_by_role("link", name="Go on at Verify").click()
        expect(page.locator("#verify")).to_have_attribute("data-state", "bad")
        expect(page.locator(".steps li")).to_have_text("Genesis file: is another one than before.")
        page.screenshot(path=screenshots() / "genesis-changed.png", full_page=True)
        assert page.evaluate("localStorage.getItem('waypost.seen')") == before
        page.get_by_role("button", name="Accept the other genesis file").click()
        expect(page.locator("#verify")).to_have_attribute("data-state", "good")
        assert page.evaluate("localStorage.getItem('waypost.seen')") == after
        # a hash that somebody typed needs no other word
        page.get_by_label("Hash of the genesis file").fill(before)
        source = served
        page.get_by_role("button", name="Verify again").click()
        expect(page.locator(".steps li").first).to_contain_text("it is the one that you trust")
        watched.errors = [error for error in watched.errors if "503" not in error]


TAMPERED: Final = {
    "a node of the list": (r"/v1/lists/\d+/full", 40, "List of nodes", "bad_list|not the one"),
    "a signature": (r"/v1/lists/latest", 380, "Signed header", "forged or damaged"),
    "the hash of the list": (r"/v1/lists/latest", 90, "Signed header", "forged|damaged|Others"),
    "the genesis file": (r"/v1/genesis", 60, "Genesis file|Signed header", "Not verified"),
}
"""What is changed on the way, where, which step fails, and with which words."""


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_list_is_not(served: Served, browser: Browser, name: str) -> None:
    path, at, step, words = TAMPERED[name]

    def change(asked: str, body: bytes) -> bytes:
        return flip(body, at) if re.fullmatch(path, asked) else body

    with (
        tampering(served.url, change) as url,
        watching(browser, url) as watched,
    ):
        page = watched.open("/verify")
        expect(page.locator("#verify")).to_have_attribute("data-state", "bad")
        result = str(page.locator(".result").text_content())
        assert result.startswith("Not verified.")
        assert re.search(step, result)
        assert re.search(words, result)
        expect(page.locator(".steps li").last).to_contain_text("does not hold")
        page.screenshot(path=screenshots() / f"tampered-{at}.png")
        # the proxy has no stream
        watched.errors = [error for error in watched.errors if "503" not in error]


def test_the_same_list_through_an_honest_proxy_holds(served: Served, browser: Browser) -> None:
    """It is the changed byte that fails, not the proxy."""
    with (
        tampering(served.url, lambda _path, body: body) as url,
        watching(browser, url) as watched,
    ):
        page = watched.open("/verify")
        expect(page.locator("#verify")).to_have_attribute("data-state", "good")
        watched.errors = [error for error in watched.errors if "503" not in error]


def test_words_that_are_not_those_of_the_list_are_found(served: Served, browser: Browser) -> None:
    def change(asked: str, body: bytes) -> bytes:
        if asked != "/verify":
            return body
        return re.sub(rb"<li>[a-z]+</li>", b"<li>zebra</li>", body, count=1)

    with (
        tampering(served.url, change) as url,
        watching(browser, url) as watched,
    ):
        page = watched.open("/verify")
        expect(page.locator(".result")).to_contain_text("The words on this page are not those")
        watched.errors = [error for error in watched.errors if "503" not in error]
