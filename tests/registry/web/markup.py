"""What has to hold for the markup of every page, whatever it shows.

Read        a page as its elements, in order
faults_of   what is wrong with one, in words
"""

from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from typing import Final, NamedTuple

VOID: Final = frozenset(
    ("br", "circle", "hr", "img", "input", "line", "link", "meta", "path", "rect")
)
FIELDS: Final = frozenset(("input", "select", "textarea"))
HEADINGS: Final = ("h1", "h2", "h3", "h4")


class Element(NamedTuple):
    """An element where it begins."""

    name: str
    attributes: dict[str, str]
    parents: tuple[str, ...]

    @property
    def id(self) -> str:
        """Its id, maybe empty."""
        return self.attributes.get("id", "")


class Read(HTMLParser):
    """A page as its elements and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.texts: list[str] = []
        self.wrong: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        self.wrong += [f"<{name}> is not closed" for name in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        self.wrong += [f"<{tag}> has {n} twice" for n, count in Counter(names).items() if count > 1]
        made = {name: value or "" for name, value in attrs}
        self.elements.append(Element(tag, made, tuple(self._open)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self._open or self._open[-1] != tag:
            self.wrong.append(f"</{tag}> inside {self._open[-1:]}")
            return
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All text, with single spaces."""
        return " ".join(" ".join(self.texts).split())

    def named(self, *names: str) -> list[Element]:
        """Elements with one of these names."""
        return [element for element in self.elements if element.name in names]

    def links(self) -> list[str]:
        """Where it leads."""
        return [element.attributes["href"] for element in self.named("a")]


def faults_of(page: str) -> list[str]:
    """What is wrong with a page."""
    read = Read(page)
    return [*read.wrong, *_structure(read), *_names(read), *_policy(read)]


def _structure(read: Read) -> Iterator[str]:
    for name, count in {"main": 1, "h1": 1, "title": 1, "header": 1, "footer": 1}.items():
        found = [element for element in read.named(name) if "svg" not in element.parents]
        if len(found) != count:
            yield f"{len(found)} times <{name}>"
    levels = [HEADINGS.index(element.name) for element in read.named(*HEADINGS)]
    for before, after in pairwise(levels):
        if after > before + 1:
            yield f"h{after + 1} follows h{before + 1}"
    ids = Counter(element.id for element in read.elements if element.id)
    yield from (f"id {name} {count} times" for name, count in ids.items() if count > 1)
    if read.named("html")[0].attributes.get("lang") != "en":
        yield "it does not say its language"
    for table in read.named("th"):
        if "scope" not in table.attributes:
            yield "a heading of a table has no scope"


def _names(read: Read) -> Iterator[str]:
    ids = {element.id for element in read.elements}
    labelled = {element.attributes.get("for") for element in read.named("label")}
    for element in read.elements:
        attributes = element.attributes
        is_hidden = attributes.get("type") == "hidden"
        if element.name in FIELDS and not is_hidden and element.id not in labelled:
            yield f"<{element.name}> {element.id} has no label"
        if element.name == "img" and "alt" not in attributes:
            yield "a picture has no text"
        for reference in ("aria-labelledby", "aria-describedby", "for"):
            for name in attributes.get(reference, "").split():
                if name not in ids:
                    yield f"{reference} names {name}, which is not there"
        if (
            element.name == "svg"
            and attributes.get("role") != "img"
            and "qr" not in attributes.get("class", "")
        ):
            yield "a drawing has no role"
        if attributes.get("role") == "region" and not (
            attributes.get("aria-label") or attributes.get("aria-labelledby")
        ):
            yield "a region has no name"


def _policy(read: Read) -> Iterator[str]:
    """What the policy would forbid, or what asks elsewhere."""
    for element in read.elements:
        for name, value in element.attributes.items():
            if name == "style" or name.startswith("on"):
                yield f"<{element.name}> has {name}"
            if name in ("src", "href", "action", "hx-get") and not value.startswith(("/", "#")):
                yield f"<{element.name}> asks {value}"
        if element.name == "style" or (
            element.name == "script" and "src" not in element.attributes
        ):
            yield f"<{element.name}> stands in the page"
