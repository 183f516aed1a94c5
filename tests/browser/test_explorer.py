"""Every page of the explorer in Chromium at two widths: what is drawn, what changes, what is heard.

Pictures of all pages are written to the folder `WAYPOST_SCREENSHOTS`, for people to look at.
"""

import re
import time
import urllib.request
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, expect

from registry.addresses import encode_account, encode_node
from registry.web.pages import MENU, PAGES
from tests.browser.explorer import (
    SIZES,
    Served,
    overflow_of,
    screenshots,
    serving,
    watching,
)
from tests.registry.web.explored import EPOCH_MS, EPOCHS, key_of

NODE: Final = f"/nodes/{encode_node(key_of('town 2'))}"

SHOWN: Final = {
    "network": "/",
    "nodes": "/nodes",
    "nodes-filtered": "/nodes?state=awaiting&sort=staked&order=down",
    "open": "/open",
    "find-account": "/accounts",
    "swarms": "/swarms?account=05" + "39" + 31 * "00",
    "epochs": "/epochs",
    "blocks": "/blocks",
    "attestors": "/attestors",
    "reports": "/reports",
    "verify": "/verify",
    "search": "/search?q=3",
    "node": NODE,
    "node-down": f"/nodes/{encode_node(key_of('town 0'))}",
    "node-open": f"/nodes/{encode_node(key_of('shared'))}",
    "account": f"/accounts/{encode_account(key_of('erin'))}",
    "swarm": "/swarms/0",
    "epoch": "/epochs/11",
    "block": "/blocks/2",
    "report": "/reports/3/0",
    "api": "/api",
    "transaction": "a link of block 2",
}
"""Each page with something on it, by the name of its picture."""


def path_of(served: Served, name: str) -> str:
    """Where a page is."""
    if name != "transaction":
        return SHOWN[name]
    with urllib.request.urlopen(served.url + SHOWN["block"]) as answer:
        links = re.findall(r'href="(/transactions/[0-9a-f]{64})"', answer.read().decode())
    return str(links[-1])


def test_every_page_has_a_picture(served: Served) -> None:
    shapes = [re.sub(r"\{[a-z]+\}", "[^/?]+", page.path) for page in PAGES if page.template]
    paths = [path_of(served, name).partition("?")[0] for name in SHOWN]
    assert [s for s in shapes if not any(re.fullmatch(s, path) for path in paths)] == []


def test_over_the_wire_head_has_no_body(served: Served) -> None:
    head, get = served.web.ask("HEAD /attestors"), served.web.ask("GET /attestors")
    assert (head.status, head.body) == (200, b"")
    assert len(get.body) == int(head.headers["content-length"])
    assert head.headers["etag"] == get.headers["etag"]


# ---- How it looks ----


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SHOWN)
def test_a_page(served: Served, browser: Browser, name: str, size: str, scheme: Any) -> None:
    with watching(browser, served.url, SIZES[size], color_scheme=scheme) as watched:
        page = watched.open(path_of(served, name))
        expect(page.locator("h1")).to_have_count(1)
        if name in ("network", "verify"):
            expect(page.locator(".result")).to_contain_text("Verified in this browser")
        if name == "node":
            expect(page.locator(".plot canvas")).to_have_count(2)
        assert overflow_of(page) == []
        page.screenshot(path=screenshots() / f"{name}-{size}-{scheme}.png", full_page=True)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", ["/nope", "/nodes/wpn1oops"])
def test_a_page_of_what_is_wrong(served: Served, browser: Browser, path: str, size: str) -> None:
    with watching(browser, served.url, SIZES[size]) as watched:
        page = watched.open(path)
        expect(page.locator(".note")).to_be_visible()
        assert overflow_of(page) == []
        page.screenshot(path=screenshots() / f"wrong-{len(path)}-{size}.png", full_page=True)
        # that the page itself was refused is what the console tells
        assert all("Failed to load resource" in error for error in watched.errors)
        watched.errors.clear()


def contrast_of(page: Page, selector: str) -> float:
    """How far the text of an element stands out from what is behind it, as WCAG counts."""
    ratio: float = page.evaluate(
        """(selector) => {
          const parse = (text) => text.match(/[0-9.]+/g).map(Number);
          const light = ([r, g, b]) => [r, g, b]
            .map((v) => v / 255)
            .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
            .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
          const element = document.querySelector(selector);
          let behind = element;
          while (behind) {
            const colour = parse(getComputedStyle(behind).backgroundColor);
            if (colour.length < 4 || colour[3] > 0) break;
            behind = behind.parentElement;
          }
          const back = behind ? parse(getComputedStyle(behind).backgroundColor) : [255, 255, 255];
          const [a, b] = [light(parse(getComputedStyle(element).color)), light(back)];
          return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        }""",
        selector,
    )
    return ratio


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read_in_both_schemes(served: Served, browser: Browser, scheme: Any) -> None:
    with watching(browser, served.url, color_scheme=scheme) as watched:
        page = watched.open("/nodes")
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", back)[:3])) > 3 * 128) == (scheme == "light")
        for selector in (
            *("h1", ".lead p", "td a", "thead th", ".menu a", ".foot", ".badge.good"),
            *(".badge.warn", ".find button", "#found", ".filters label"),
        ):
            assert contrast_of(page, selector) >= 4.5, selector
        page = watched.open(f"/nodes/{encode_node(key_of('town 0'))}")
        for selector in (".note.bad", ".badge.bad", ".facts dt"):
            assert contrast_of(page, selector) >= 4.5, selector


# ---- Without a program ----


def test_it_can_be_read_and_used_without_javascript(served: Served, browser: Browser) -> None:
    with watching(browser, served.url, java_script_enabled=False) as watched:
        page = watched.open("/")
        expect(page.locator("#fingerprint li")).to_have_count(12)
        expect(page.locator(".result")).to_contain_text("waypost list verify")
        page.get_by_role("link", name="awaiting").click()
        expect(page.locator("#found")).to_contain_text("of 3 nodes")
        page.get_by_label("State").select_option("decommissioned")
        page.get_by_role("button", name="Show").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        page.locator("tbody a.key").first.click()
        expect(page.locator("#history tbody tr").first).to_be_visible()
        page.get_by_role("searchbox").first.fill("block 2")
        page.get_by_role("button", name="Search").click()
        expect(page.locator("h1")).to_have_text("Block 2")


# ---- What changes by itself ----


def test_a_block_changes_the_page_and_nothing_that_somebody_did(
    served: Served, browser: Browser
) -> None:
    with watching(browser, served.url, SIZES["phone"]) as watched:
        page = watched.open("/nodes?sort=address")
        expect(page.locator("#news")).to_have_text("Up to date: it changes by itself.")
        page.locator("tbody a.key").nth(24).focus()
        page.locator("#operator").evaluate("(box) => { box.value = 'wpa1typed'; }")
        page.locator(".wide").evaluate("(box) => { box.scrollLeft = 120; }")
        page.evaluate("window.scrollTo(0, 700)")
        before = page.evaluate(
            "[scrollY, document.querySelector('.wide').scrollLeft, document.activeElement.href]"
        )
        expect(page.locator("tbody tr")).to_have_count(35)
        expiry = served.ledger.network.chain.tip.time_ms + 10**7
        served.go_on(served.ledger.network.register("new", "ivan", expiry_ms=expiry))
        expect(page.locator("tbody tr")).to_have_count(36)
        after = page.evaluate(
            "[scrollY, document.querySelector('.wide').scrollLeft, document.activeElement.href]"
        )
        assert after == before
        assert after[1] == 120
        assert page.locator("#operator").input_value() == "wpa1typed"


def test_height_and_countdown_follow(served: Served, browser: Browser) -> None:
    with watching(browser, served.url) as watched:
        page = watched.open("/")
        left = page.locator("[data-ends]")
        expect(left).to_have_text(re.compile(r"^\d+:\d\d$"))
        first = left.text_content()
        expect(left).not_to_have_text(str(first))
        height = served.go_on()
        expect(page.locator(f'a[href="/blocks/{height}"]')).to_be_visible()


def test_an_epoch_that_ends_is_spoken_and_verified_anew(browser: Browser) -> None:
    # its running epoch is about to end
    start_ms = time.time_ns() // 1_000_000 - EPOCHS * EPOCH_MS
    with serving(start_ms) as served, watching(browser, served.url) as watched:
        page = watched.open("/")
        expect(page.locator(".result")).to_contain_text("Verified in this browser")
        words = page.locator("#fingerprint").text_content()
        epoch = int(str(page.locator("#fingerprint").get_attribute("data-epoch")))
        served.go_on(ms=EPOCH_MS)
        expect(page.locator("#spoken")).to_have_text(f"Epoch {epoch + 1} has ended.")
        # the header is signed in the block after it
        served.go_on()
        expect(page.locator("#fingerprint")).to_have_attribute("data-epoch", str(epoch + 1))
        expect(page.locator("#fingerprint")).not_to_have_text(str(words))
        expect(page.locator(".result")).to_contain_text(f"the list of epoch {epoch + 1} is the one")


def test_what_somebody_opened_stays_open(served: Served, browser: Browser) -> None:
    with watching(browser, served.url) as watched:
        page = watched.open(NODE)
        page.locator("details summary").first.click()
        expect(page.locator("details li").first).to_be_visible()
        height = served.go_on()
        with urllib.request.urlopen(f"{served.url}/v1/network") as answer:
            assert f'"height":{height}' in answer.read().decode()
        expect(page.locator("#news")).to_have_text("Up to date: it changes by itself.")
        expect(page.locator("details li").first).to_be_visible()
        expect(page.locator(".plot canvas")).to_have_count(2)


def test_filters_work_without_leaving_the_page(served: Served, browser: Browser) -> None:
    with watching(browser, served.url) as watched:
        page = watched.open("/nodes")
        page.evaluate("window.isSamePage = true")
        page.get_by_label("Key, address, swarm").fill("5.6.7.11")
        expect(page.locator("tbody tr")).to_have_count(10)
        assert "q=5.6.7.11" in page.url
        expect(page.get_by_label("Key, address, swarm")).to_be_focused()
        page.get_by_label("takes stake").check()
        expect(page.locator("tbody tr")).to_have_count(0)
        expect(page.locator("#found")).to_have_text("No node is like that.")
        assert page.evaluate("window.isSamePage") is True


# ---- By keyboard, and heard ----


def test_a_walk_by_keyboard(served: Served, browser: Browser) -> None:
    with watching(browser, served.url) as watched:
        page = watched.open("/")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#main")).to_be_focused()
        page = watched.open("/nodes")
        seen = []
        for _ in range(60):
            page.keyboard.press("Tab")
            seen.append(
                page.evaluate(
                    """() => {
                      const e = document.activeElement, s = getComputedStyle(e);
                      const isSeen = s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2;
                      const name = e.ariaLabel || e.labels?.[0]?.textContent || e.textContent;
                      return [e.tagName, name.trim().split("\\n")[0].trim(), isSeen];
                    }"""
                )
            )
        assert all(is_seen for *_, is_seen in seen)
        assert all(name for _, name, _ in seen)
        names = [name for _, name, _ in seen]
        for page_of_menu in MENU:
            assert page_of_menu.title in names
        # in the order in which they stand: the menu, then filters, then the table
        order = [
            names.index(name) for name in ("Search", "Nodes", "State", "Show", "Table of nodes")
        ]
        assert order == sorted(order)


def test_a_screen_reader_finds_its_way(served: Served, browser: Browser) -> None:
    with watching(browser, served.url) as watched:
        page = watched.open("/nodes")
        roles: tuple[Any, ...] = ("banner", "navigation", "main", "contentinfo", "search")
        for role in roles:
            expect(page.get_by_role(role).first).to_be_visible()
        expect(page.get_by_role("region", name="Table of nodes")).to_be_visible()
        expect(page.get_by_role("columnheader", name="Stake")).to_be_visible()
        assert page.get_by_role("rowheader").count() > 30
        expect(page.locator('.menu [aria-current="page"]')).to_have_text("Nodes")
        page = watched.open(NODE)
        told = page.locator("#history-title + p")
        expect(told).to_contain_text("2 failed")
        assert page.locator(".plot[aria-hidden=true]").count() == 2
        page = watched.open("/swarms")
        expect(page.get_by_role("img", name=re.compile("The ring.*swarms"))).to_be_visible()
