"""What vectors cannot show of the module, and what its guide shows."""

import json
import re
from pathlib import Path
from typing import Final

import pytest

from tests.registry.client.factory import EPOCH, MadeList, make_entries
from tests.registry.client.verify.headers import ACCOUNT, ELEVEN, LATER_MS, TEN, full, of_four
from tests.web.programs import FOLDER, HANGS_S, MODULE, Pages, browse, run_script, serve

GUIDE: Final = MODULE.parents[3] / "docs" / "using" / "javascript.md"
BLOCK: Final = re.compile(r"^```(js|html)\n(.*?)^```$", re.S | re.M)
TWELVE: Final = of_four(EPOCH + 2, after=[ELEVEN])


def test_it_behaves(tmp_path: Path) -> None:
    given = {
        "genesis": TEN.genesis,
        "older": TEN.signed,
        "path": TEN.path(),
        "full": full(TEN),
        "newer": ELEVEN.signed,
        "path to newer": ELEVEN.path(),
        "latest": TWELVE.signed,
    }
    files = tmp_path / "files.json"
    files.write_text(json.dumps({k: v.hex() for k, v in given.items()} | {"now_ms": LATER_MS}))
    script = FOLDER / "behaviour.mjs"
    said = run_script(script, MODULE, files).splitlines()
    assert said == re.findall(r'^  async "(.+)"\(\)', script.read_text(), re.M)


def test_each_name_that_it_exports_is_documented() -> None:
    text = MODULE.read_text()
    exported = re.findall(r"^export (?:async )?(?:class|function|const) (\w+)", text, re.M)
    commented = re.findall(r"\*/\nexport (?:async )?(?:class|function|const) (\w+)", text)
    assert exported == commented
    for name in exported:
        assert f"`{name}" in GUIDE.read_text(), name
    assert "import " not in re.sub(r"/\*.*?\*/", "", text, flags=re.S)


# ---- The guide ----

LONG_MS: Final = 2**52
"""The guide takes the time of this machine; so these lists are valid for ever."""


def for_ever(epoch: int, nodes: int) -> MadeList:
    """A list that does not expire."""
    return of_four(
        epoch, entries=make_entries(nodes, 2), fresh_until_ms=LONG_MS, valid_until_ms=LONG_MS
    )


MADE: Final = for_ever(EPOCH, 8)


def blocks(language: str) -> list[str]:
    """Everything on the page in a language."""
    return [text for kind, text in BLOCK.findall(GUIDE.read_text()) if kind == language]


def answers(made: MadeList, held: int | None = None) -> Pages:
    """What a source answers."""
    octets, epoch = "application/octet-stream", made.header.epoch
    from_held = "" if held is None else f"?from={held}"
    return {
        "/v1/lists/latest": (octets, made.signed),
        f"/v1/lists/{epoch}/full": (octets, made.full),
        f"/v1/trust/{epoch}{from_held}": (octets, made.path(held)),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The programs of the page, beside the module."""
    lists, program = blocks("js")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "lists.js").write_text(lists)
    (tmp_path / "program.js").write_text(program)
    (tmp_path / "waypost.js").write_bytes(MODULE.read_bytes())
    (tmp_path / "genesis.bin").write_bytes(MADE.genesis)
    return tmp_path


def test_the_program_for_node_finds_the_nodes_of_an_account(folder: Path) -> None:
    with serve(answers(MADE)) as (url, _):
        said = run_script(
            folder / "program.js", folder / "genesis.bin", url.rstrip("/"), ACCOUNT.hex()
        ).splitlines()
    assert said[0] == "8 nodes, fresh"
    assert len(said) == 5
    assert set(said[1:]) < {entry.key.hex() for entry in MADE.entries}


TELL: Final = """
<script type="module">
  /* Tells the test what the page says, and comes back when the test says so. */
  const nodes = document.querySelector("#nodes");
  while (!nodes.textContent) await new Promise((next) => setTimeout(next, 20));
  await fetch("told", { method: "POST", body: nodes.textContent });
  while (!(await fetch("again")).ok) await new Promise((next) => setTimeout(next, 20));
  location.search = "?again";
</script>
"""


def test_the_page_shows_the_list_and_goes_on_from_it(folder: Path) -> None:
    (page,) = blocks("html")
    newer = of_four(
        EPOCH + 1,
        after=[MADE],
        entries=make_entries(9, 3),
        fresh_until_ms=LONG_MS,
        valid_until_ms=LONG_MS,
    )
    script, html = "text/javascript", ("text/html", (page + TELL).encode())
    pages = answers(MADE) | {
        "/": html,
        "/?again": html,
        "/lists.js": (script, (folder / "lists.js").read_bytes()),
        "/waypost.js": (script, MODULE.read_bytes()),
        "/genesis.bin": ("application/octet-stream", MADE.genesis),
    }
    with serve(pages) as (url, told), browse(url):
        assert told.get(timeout=HANGS_S) == b"8 nodes, fresh"
        pages |= answers(newer, EPOCH)
        pages["/again"] = ("text/plain", b"")
        assert told.get(timeout=HANGS_S) == b"9 nodes, fresh"
