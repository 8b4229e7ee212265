"""How much of a result is answered: pages of lists, lines of texts, and a limit on all of it.

Decides what is left out where an answer would be longer than a model should read, and says so in
the answer. Pure; it never asks the service.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from mcp.server.mcpserver.exceptions import ToolError

from testvibe_async.mcp_server.characters import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_OUTPUT", "ROOM", "Document", "fitted", "lines_of", "page", "start_of", "text_of"]

Document: TypeAlias = dict[str, Any]
"""The structured content of an answer, which is an object of JSON."""

MAX_OUTPUT = 20_000
"""Length of an answer in characters, by default."""

ROOM = 1_000
"""What is kept free for an answer's other members, and for its line."""

MAX_MEMBERS, MAX_MEMBER = 20, 50
"""How many members are kept of what can't be made to fit, such as a status, and how long ones."""

_STEPS = (
    (6_000, 300),
    (3_000, 100),
    (1_500, 50),
    (800, 30),
    (400, 20),
    (200, 10),
    (100, 5),
    (60, 2),
    (30, 1),
)
"""How long texts and lists may be at each attempt to make an answer fit."""


def text_of(document: Document) -> str:
    """Return a document as JSON that hides nothing, and that MCP can send."""
    return visible(json.dumps(document, ensure_ascii=False))


def start_of(cursor: str | None) -> int:
    """Return where a page starts.

    Raises:
        ToolError: It is no cursor of ours.
    """
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal()):
        raise ToolError(f"{cursor[:40]!r} is no cursor: pass the nextCursor of an earlier answer.")
    return int(cursor)


def page(
    name: str,
    rows: Sequence[Document],
    *,
    cursor: str | None,
    limit: int | None,
    max_output: int,
) -> Document:
    """Return the rows of a list from a cursor on, as many as fit.

    Args:
        name: What the list is called in the document.
        rows: All rows.
        cursor: Where to start; None for the first.
        limit: How many at most; None for all that fit.
        max_output: How many characters the answer may have.
    """
    start, left, taken = start_of(cursor), max_output - ROOM, list[Document]()
    for row in rows[start : None if limit is None else start + limit]:
        left -= len(text_of(row)) + 2
        if left < 0 and taken:
            break
        taken.append(row)
    document: Document = {name: taken, "total": len(rows)}
    if start + len(taken) < len(rows):
        document["nextCursor"] = str(start + len(taken))
    return document


def lines_of(text: str, *, offset: int, lines: int | None, max_output: int) -> Document:
    """Return the lines of a text from an offset on, as many as fit.

    Args:
        text: The whole text.
        offset: How many lines to leave out at the start.
        lines: How many at most; None for all that fit.
        max_output: How many characters the answer may have.
    """
    every = text.splitlines(keepends=True)
    left, taken = max_output - ROOM, list[str]()
    for line in every[offset : None if lines is None else offset + lines]:
        left -= len(visible(json.dumps(line, ensure_ascii=False)))
        if left < 0 and taken:
            break
        taken.append(line)
    document: Document = {"content": "".join(taken), "totalLines": len(every)}
    if offset + len(taken) < len(every):
        document["nextOffset"] = offset + len(taken)
    return document


def fitted(document: Document, max_output: int, *, rest: str = "") -> Document:
    """Return a document that is no longer than it may be, and says where something is missing.

    Of tests, those that passed go first: what did not succeed is what is asked for.

    Args:
        document: The whole document.
        max_output: How many characters it may have.
        rest: A sentence that says which call reads what is missing.
    """
    if len(text_of(document)) <= max_output:
        return document
    shorter = _without_passed(document)
    for characters, rows in _STEPS:
        left_out: list[str] = []
        cut = cast("Document", _cut(shorter, characters, rows, left_out, ""))
        cut["leftOut"] = (
            f"Too long for {max_output:,} characters. Shortened: "
            f"{', '.join(dict.fromkeys(left_out))[:200] or 'the tests that passed'}. {rest}"
        ).rstrip()
        if len(text_of(cut)) <= max_output:
            return cut
    short = {
        name: value
        for name, value in list(document.items())[:MAX_MEMBERS]
        if not isinstance(value, dict | list) and len(text_of({name: value})) <= MAX_MEMBER
    }
    return {**short, "leftOut": f"The answer does not fit into {max_output:,} characters. {rest}"}


def _without_passed(document: Document) -> Document:
    tests = document.get("tests")
    if not isinstance(tests, list):
        return document
    rows = cast("list[Document]", tests)
    return {**document, "tests": [row for row in rows if row.get("status") != "passed"]}


def _cut(value: object, characters: int, rows: int, left_out: list[str], name: str) -> object:
    """Cut texts and lists in a value, and note the names of those that were cut."""
    match value:
        case str() if len(value) > characters:
            left_out.append(name)
            return f"{value[:characters]}… ({len(value) - characters:,} more characters)"
        case list():
            items = cast("list[object]", value)
            if len(items) > rows:
                left_out.append(f"{name} ({rows} of {len(items):,})")
            return [_cut(each, characters, rows, left_out, name) for each in items[:rows]]
        case dict():
            members = cast("dict[str, object]", value)
            if len(members) > 10 * rows:
                left_out.append(name)
            kept = list(members.items())[: 10 * rows]
            return {
                key[:characters]: _cut(each, characters, rows, left_out, key) for key, each in kept
            }
        case _:
            return value
