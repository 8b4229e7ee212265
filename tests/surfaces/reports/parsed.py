"""Reports as their readers take them: XML, JSON by its schema, HTML as a tree, read strictly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from attrs import define, field
from jsonschema import Draft7Validator
from markdown_it import MarkdownIt

from tests.surfaces.reports.items import Item
from testvibe_async.reports import to_ctrf, to_junit

SCHEMA = json.loads((Path(__file__).parent / "ctrf-schema-0.0.json").read_text())
VALIDATOR: Any = Draft7Validator(SCHEMA, format_checker=Draft7Validator.FORMAT_CHECKER)


def junit_of(*items: Item, **options: Any) -> ET.Element:
    """Return the JUnit report of items."""
    return ET.fromstring(to_junit(items, **options))  # noqa: S314 - written here


def ctrf_of(*items: Item, **options: Any) -> Any:
    """Return the CTRF report of items, which is valid."""
    document = json.loads(to_ctrf(items, **options).encode())
    VALIDATOR.validate(document)
    return document


VOID = {"meta", "link", "input", "br", "hr", "img"}


@define(eq=False)
class Node:
    """An element."""

    tag: str
    attributes: dict[str, str | None] = field(factory=dict[str, str | None])
    children: list[Node | str] = field(factory=list["Node | str"])

    @property
    def text(self) -> str:
        """The text of the element and all elements below."""
        return "".join(c if isinstance(c, str) else c.text for c in self.children)

    def __iter__(self) -> Iterator[Node]:
        """Iterate over the element and all elements below."""
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child

    def all(self, tag: str, class_: str | None = None) -> list[Node]:
        """Return the elements of this tag, and of this class if one is given."""
        return [
            node
            for node in self
            if node.tag == tag
            and (class_ is None or class_ in (node.attributes.get("class") or "").split())
        ]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack = [Node("document")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        node = Node(tag, dict(attrs))
        self.stack[-1].children.append(node)
        if tag not in VOID:
            self.stack.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.stack[-1].children.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data}")


def parsed(html: str) -> Node:
    """Read a page or a part of one."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    (document,) = reader.stack
    return document


def rendered(markdown: str) -> Node:
    """Render Markdown as GitHub does, as far as tables, links and HTML go, and read that."""
    renderer = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return parsed(renderer.render(markdown))
