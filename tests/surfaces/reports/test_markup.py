"""Addresses of files on the page: names can't become addresses of other places."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

import pytest

from testvibe_async.reports.page import href

if TYPE_CHECKING:
    from pathlib import Path


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
