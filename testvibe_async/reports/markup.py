"""HTML elements made so that text can't become markup: what is not `Html` is escaped.

Pure. It knows nothing of reports.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from testvibe_async._util import clean

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Html", "described", "element", "href", "joined", "slug"]

_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Surrogates that stand for no byte: no path of this system has them."""


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, *children: str | None, **attributes: str | int | bool | None) -> Html:
    """Return an element.

    Args:
        name: Its tag.
        children: What it holds: `Html` as it is, other text escaped; None is left out.
        attributes: Their names, with `_` for `-` and none at the end (`class_`). True gives one
            without a value; None and False give none.
    """
    opening = f"{name}{''.join(_attribute(*pair) for pair in attributes.items())}"
    return Html(f"<{opening}>{joined(*children)}</{name}>")


def joined(*children: str | None) -> Html:
    """Return them one after another; text that is not `Html` is escaped."""
    told = (child for child in children if child)
    return Html("".join(c if isinstance(c, Html) else html.escape(clean(c)) for c in told))


def described(facts: Mapping[str, str | None]) -> Html:
    """Return a list of names and what they are; what is None or empty is left out."""
    told = ((name, fact) for name, fact in facts.items() if fact)
    return element(
        "dl",
        *(element("div", element("dt", name), element("dd", fact)) for name, fact in told),
    )


def _attribute(name: str, value: str | int | bool | None) -> str:  # noqa: FBT001 - HTML has such
    name = name.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{html.escape(clean(str(value)))}"'


def href(file: Path) -> str:
    """Return the address of a file: relative if its path is; no name in it can be a scheme."""
    path = file.as_posix()
    if not file.is_absolute():
        return quote(_bytes(path))
    return "file://" + quote(_bytes(path if path.startswith("/") else f"/{path}"), safe="/:")


def _bytes(path: str) -> bytes:
    """Return a path as the operating system has it, also where that is not UTF-8."""
    return _NO_BYTE.sub("\ufffd", path).encode("utf-8", "surrogateescape")


def slug(word: str) -> str:
    """Return one of our own words as a name for a class."""
    return word.replace(" ", "-")
