"""Static files: their names tell their bytes, and those of others are what was published."""

import hashlib
import re

import pytest
from mnemonic import Mnemonic

from registry.web import assets, show
from registry.web.assets import FOLDER, Assets
from tests.registry.web.explored import Site
from tests.registry.web.markup import Read

VENDORED = {
    "htmx.min.js": "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717",
    "htmx.LICENSE.txt": "d3d2456f76414f2456104660ebd65aff1c04cd7966b942bdabd63f3cdb316a38",
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uPlot.LICENSE.txt": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}
"""SHA-256 of the files of htmx.org 2.0.11 and uplot 1.6.32."""


def used(site: Site) -> set[str]:
    """Every file that pages name."""
    paths = ("/", "/nodes", "/verify", "/blocks", "/nodes/" + "00" * 32)
    node = next(link for link in Read(site.get("/nodes").text).links() if "/nodes/wpn1" in link)
    found = set()
    for path in (*paths[:4], node):
        found |= set(re.findall(r'"(/static/[^"]+)"', site.get(path).text))
    return found


def test_what_others_wrote_is_as_it_was_published() -> None:
    folder = FOLDER / "vendor"
    names = {path.name for path in folder.iterdir()} - {"README.md", "SHA256SUMS"}
    assert names == VENDORED.keys()
    for name, digest in VENDORED.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert sums == VENDORED


def test_what_pages_name_is_there_and_stays(site: Site) -> None:
    names = used(site)
    assert len(names) >= 9
    for path in names:
        answer = site.client.get(path)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
        digest = hashlib.sha256(answer.content).hexdigest()[:16]
        assert digest in path
        again = site.client.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert site.client.head(path).headers["content-length"] == str(len(answer.content))
        assert site.client.post(path).status_code == 405


KINDS = {
    "pages.css": "text/css; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "mark.svg": "image/svg+xml",
    "words.txt": "text/plain; charset=utf-8",
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds(site: Site, name: str) -> None:
    made = Assets({"words.txt": b"a\n"})
    url = made.url(name)
    if name != "words.txt":
        assert site.client.get(url).headers["content-type"] == KINDS[name]
    found = made.get(url.removeprefix("/static/"))
    assert found is not None
    assert found.media_type == KINDS[name]


def test_no_other_name_leads_to_a_file(site: Site) -> None:
    for path in (
        *("pages.css", "waypost.js", "vendor/SHA256SUMS", "vendor/README.md", ""),
        *("../templates/base.html", "%2e%2e/__init__.py", "pages.0000000000000000.css"),
    ):
        assert site.client.get(f"/static/{path}").status_code == 404


def test_programs_import_each_other_by_the_names_that_are_served() -> None:
    made = Assets({"words.txt": b""})
    verify = made.get(made.url("verify.js").removeprefix("/static/"))
    assert verify is not None
    module = made.url("waypost.js").removeprefix("/static/")
    assert f'from "./{module}"'.encode() in verify.body
    found = made.get(module)
    assert found is not None
    # what checks lists is served as it is
    assert found.body == (FOLDER / "waypost.js").read_bytes()
    assert b'"./waypost.js"' not in verify.body


def test_a_changed_file_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Assets({"words.txt": b"one"}).url("words.txt")
    assert Assets({"words.txt": b"two"}).url("words.txt") != before
    assert Assets({"words.txt": b"one"}).url("words.txt") == before


def test_the_words_are_those_that_the_program_expects(site: Site) -> None:
    url = re.findall(r'data-words="([^"]+)"', site.get("/verify").text)[0]
    words = site.client.get(url).text
    assert words.split() == Mnemonic("english").wordlist
    digest = hashlib.sha256(words.encode()).hexdigest()
    assert f'WORDS_SHA256 = "{digest}"' in (FOLDER / "verify.js").read_text()


def test_no_file_of_ours_asks_elsewhere() -> None:
    for path in (*FOLDER.glob("*.*"), *show.FOLDER.glob("*.html")):
        text = path.read_text()
        names = set(re.findall(r"https?://[^\s\"')>]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not names, path.name
    assert assets.PREFIX == "/static/"
