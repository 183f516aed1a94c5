"""Chromium, and the service that it shows; one of each for the tests of a module."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.explorer import Served, browsing, serving
from tests.web.programs import find_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    find_browser()
    with browsing() as made:
        yield made


@pytest.fixture(scope="module")
def served(browser: Browser) -> Iterator[Served]:
    """The service; tests go on with its network, and ask for nothing that a block changes."""
    with serving() as made:
        yield made
