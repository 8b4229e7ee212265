"""Answers of tools: bounded, and without characters that hide.

Decides what is left out where an answer would be longer than a model should read, and says so in
the answer. A name, a log or a page's text may hide instructions in characters that a reader does
not see, or that turn what it sees: they are shown as `<U+202E>`, and what a call sends back so is
that character again. Each result holds its content twice, as structured content and as JSON text,
since some clients read only the one and some only the other; no tool declares its schema, which
would cost a model more than it says. Pure; it never asks the service.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from attrs import frozen
from mcp.types import Annotations, CallToolResult, TextContent

from testvibe_async._core.util import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

T = TypeVar("T")

Document: TypeAlias = dict[str, Any]
"""The structured content of an answer, which is an object of JSON."""

ROOM = 1_000
"""Characters reserved for an answer's other members and its text line."""

MAX_SENTENCE = 2_000
"""Length of an error, or of a progress report."""

MAX_QUOTED = 500
"""Maximum characters of the service's text in a sentence of ours."""

LENGTHS = (6_000, 3_000, 1_500, 800, 400, 200, 100, 60, 30)
"""Maximum characters of a text at each attempt to fit an answer; a list has a 30th as many rows."""

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Controls, formats, fillers, selectors and tags; not tabs, line ends, nor U+FE0F after a picture.

See "Default_Ignorable_Code_Point" in https://www.unicode.org/Public/UCD/latest/ucd/.
"""

_SHOWN = re.compile(r"<U\+([0-9A-F]{4,6})>")


def visible(text: str) -> str:
    """Return a text with its invisible characters shown, and no lone surrogates.

    JSON can hold those, and MCP's UTF-8 can't.
    """
    text = text.encode(errors="replace").decode()
    return _INVISIBLE.sub(lambda found: f"<U+{ord(found[0]):04X}>", text)


def restored(text: str) -> str:
    """Return a text with the characters that `visible` has shown in it."""
    return _SHOWN.sub(_restored, text)


def _restored(found: re.Match[str]) -> str:
    code = int(found[1], 16)
    is_ours = code <= 0x10FFFF and _INVISIBLE.fullmatch(chr(code))  # noqa: PLR2004 - Unicode's last
    return chr(code) if is_ours else found[0]


def quoted(text: str) -> str:
    """Return a text of the service in quotes that it can't close: it is data, and no advice."""
    return '"{}"'.format(" ".join(text[:MAX_QUOTED].replace('"', "'").split()))


def text_of(value: object) -> str:
    """Return a document, or a part of one, as JSON that hides nothing, and that MCP can send."""
    return json.dumps(_shown(value), ensure_ascii=False)


def _shown(value: Any) -> Any:  # noqa: ANN401 - any JSON
    match value:
        case str():
            return visible(value)
        case list():
            return [_shown(each) for each in cast("list[object]", value)]
        case dict():
            members = cast("dict[str, object]", value)
            return {visible(name): _shown(each) for name, each in members.items()}
        case _:
            return value


def sentence(text: str) -> str:
    """Return what happened, for a model to read in passing: shown, and no longer than it may be."""
    return visible(text)[:MAX_SENTENCE]


@frozen
class Answer:
    """The result of a call: a line for a person, and a document for the model."""

    line: str
    content: Document | None = None
    """The document; None for a failed call, whose reason is the line."""

    rest: str = ""
    """A sentence that names the call for the rest, if the document is too long."""

    def result(self, max_output: int) -> CallToolResult:
        """Return the answer as MCP has it, of at most so many characters."""
        if self.content is None:
            reason = TextContent(type="text", text=sentence(self.line))
            return CallToolResult(content=[reason], is_error=True)
        line = clean(visible(self.line))[:ROOM]
        text = text_of(fitted(self.content, max_output - len(line), rest=self.rest))
        return CallToolResult(
            content=[_block(line, "user"), _block(text, "assistant")],
            structured_content=json.loads(text),
        )


def _block(text: str, audience: Any) -> TextContent:  # noqa: ANN401 - a literal of the SDK
    return TextContent(type="text", text=text, annotations=Annotations(audience=[audience]))


def fitting(pieces: Iterable[T], room: int) -> list[T]:
    """Return as many pieces as fit into so many characters, but one at least."""
    taken: list[T] = []
    for piece in pieces:
        room -= len(text_of(piece)) + 2
        if room < 0 and taken:
            break
        taken.append(piece)
    return taken


def page(
    rows: Sequence[T], max_output: int, *, cursor: str | None, limit: int | None = None
) -> tuple[list[T], Document]:
    """Return as many rows as fit from a cursor on, and the members that say what else there is.

    Args:
        rows: All rows.
        max_output: Maximum characters of the answer.
        cursor: Start of the page; None for the first.
        limit: Maximum number of rows; None for all that fit.
    """
    start = int(cursor or 0)
    taken = fitting(rows[start:][:limit], max_output - ROOM)
    following = start + len(taken)
    more = {"nextCursor": str(following)} if following < len(rows) else {}
    return taken, {"total": len(rows), **more}


def lines_of(
    text: str | None, max_output: int, *, offset: int = 0, lines: int | None = None
) -> Document:
    """Return the lines of a text from an offset on, as many as fit.

    Args:
        text: The whole text.
        max_output: Maximum characters of the answer.
        offset: Number of lines to skip at the start.
        lines: Maximum number of lines; None for all that fit.
    """
    every = (text or "").splitlines(keepends=True)
    taken = fitting(every[offset:][:lines], max_output - ROOM)
    following = offset + len(taken)
    more = {"nextOffset": following} if following < len(every) else {}
    return {"content": "".join(taken), "totalLines": len(every), **more}


def fitted(document: Document, max_output: int, *, rest: str = "") -> Document:
    """Return a document of at most the given length, which marks omissions.

    Passed tests are omitted first, since failures matter most.

    Args:
        document: The whole document.
        max_output: Maximum characters of the text.
        rest: A sentence that names the call for the omitted rest.
    """
    if len(text_of(document)) <= max_output:
        return document
    rest = rest or str(document.get("leftOut", ""))[:300]  # Of a digest, what it has cut itself.
    why = f"Shortened, because it is too long for {max_output:,} characters. {rest}".rstrip()
    shorter = document
    if isinstance(tests := document.get("tests"), list):
        rows = cast("list[Document]", tests)
        shorter = {**document, "tests": [row for row in rows if row.get("status") != "passed"]}
    for length in LENGTHS:
        cut = cast("Document", _cut(shorter, length)) | {"leftOut": why}
        if len(text_of(cut)) <= max_output:
            return cut
    return {"leftOut": why}


def _cut(value: object, length: int) -> object:
    """Cut the texts and the lists in a value."""
    rows = length // 30
    match value:
        case str() if len(value) > length:
            return f"{value[:length]}… ({len(value) - length:,} more characters)"
        case list():
            return [_cut(each, length) for each in cast("list[object]", value)[:rows]]
        case dict():
            members = list(cast("dict[str, object]", value).items())
            return {name[:length]: _cut(each, length) for name, each in members[: 10 * rows]}
        case _:
            return value
