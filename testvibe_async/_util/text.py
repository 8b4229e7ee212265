"""Text from outside, made fit for one line of a message."""

from __future__ import annotations

__all__ = ["plain"]

LONGEST = 200


def plain(text: str) -> str:
    """Return the beginning of a text, without what a terminal or a log might obey."""
    printable = "".join(char if char.isprintable() else " " for char in text[: 4 * LONGEST])
    return " ".join(printable.split())[:LONGEST]
