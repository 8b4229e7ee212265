"""HTML elements: text can't become markup, and file names can't become addresses."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

import pytest

from tests.surfaces.reports.parsed import parsed
from testvibe_async.reports.markup import described, element, href, joined, slug

if TYPE_CHECKING:
    from pathlib import Path


def test_text_is_escaped_and_html_is_not() -> None:
    """Text in an element is escaped once; elements are kept."""
    html = element("p", "<b>&amp;", element("i", "x"), None, "")

    assert html == "<p>&lt;b&gt;&amp;amp;<i>x</i></p>"
    assert joined("<", html) == "&lt;" + html


def test_attributes() -> None:
    """`_` in a name is `-`, True is an attribute without a value, None and False are left out."""
    html = element("a", class_="x", data_id=3, open=True, hidden=False, id=None, title='"<&\n>')

    assert html == '<a class="x" data-id="3" open title="&quot;&lt;&amp;\n&gt;"></a>'
    assert parsed(html).all("a")[0].attributes["title"] == '"<&\n>'


def test_a_list_of_facts() -> None:
    """Empty facts are left out of a list."""
    assert described({"A": "1", "B": None, "C": ""}) == "<dl><div><dt>A</dt><dd>1</dd></div></dl>"


@pytest.mark.parametrize(
    "name",
    [
        "trace/a.zip",
        "javascript:alert(1)",
        "a b#c?d&e%41.png",
        "ä/\N{SNOWMAN}.png",
        "data:text/html,x",
        "../up.png",
    ],
)
def test_a_relative_path(name: str) -> None:
    """The URL of a relative path is relative, with any characters in its name."""
    address = href(cast("Path", PurePosixPath(name)))
    parts = urlsplit(address)

    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    assert unquote(parts.path) == name


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (PurePosixPath("/tmp/a b.zip"), "file:///tmp/a%20b.zip"),  # noqa: S108 - never opened
        (PurePosixPath("//evil.example/a"), "file:////evil.example/a"),
        (PureWindowsPath("C:\\out\\a.zip"), "file:///C:/out/a.zip"),
        (PurePosixPath("bad\udcff.png"), "bad%FF.png"),
        (PurePosixPath("worse\ud800.png"), "worse%EF%BF%BD.png"),
    ],
)
def test_other_paths(path: Any, expected: str) -> None:
    """Absolute paths are file URLs, and bytes that are not UTF-8 are kept."""
    assert href(path) == expected


def test_a_class() -> None:
    """A verdict becomes the name of a CSS class."""
    assert slug("in flight") == "in-flight"
