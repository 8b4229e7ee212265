"""HTML elements, made so that text can't become markup: any text that is not `Html` is escaped.

Decides how elements, attributes and addresses of files are written. Pure; it never imports anything
of reports.
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
"""Surrogates that stand for no byte (PEP 383), and so never occur in a path of this system."""


class Html(str):
    """A text that is HTML already."""

    __slots__ = ()


def element(name: str, *children: str | None, **attributes: str | int | bool | None) -> Html:
    """Return an element.

    Args:
        name: The tag.
        children: The content: `Html` as it is, other text escaped; None is left out.
        attributes: The attributes, with `_` for `-` and any `_` at the end left out (`class_`).
            True gives an attribute without a value; None and False give none.
    """
    opening = f"{name}{''.join(_attribute(*pair) for pair in attributes.items())}"
    return Html(f"<{opening}>{joined(*children)}</{name}>")


def joined(*children: str | None) -> Html:
    """Return children one after another; text that is not `Html` is escaped, None left out."""
    present = (child for child in children if child)
    return Html("".join(c if isinstance(c, Html) else html.escape(clean(c)) for c in present))


def described(facts: Mapping[str, str | None]) -> Html:
    """Return a description list of facts; those that are None or empty are left out."""
    present = ((name, fact) for name, fact in facts.items() if fact)
    return element(
        "dl",
        *(element("div", element("dt", name), element("dd", fact)) for name, fact in present),
    )


def _attribute(name: str, value: str | int | bool | None) -> str:  # noqa: FBT001 - a value, no flag
    name = name.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{html.escape(clean(str(value)))}"'


def href(file: Path) -> str:
    """Return the URL of a file, relative if its path is. No part of a path becomes a scheme."""
    path = file.as_posix()
    if not file.is_absolute():
        return quote(_bytes(path))
    return "file://" + quote(_bytes(path if path.startswith("/") else f"/{path}"), safe="/:")


def _bytes(path: str) -> bytes:
    """Return a path's bytes in the file system, also where they are not UTF-8."""
    return _NO_BYTE.sub("\ufffd", path).encode("utf-8", "surrogateescape")


def slug(word: str) -> str:
    """Return a verdict as the name of a CSS class."""
    return word.replace(" ", "-")
