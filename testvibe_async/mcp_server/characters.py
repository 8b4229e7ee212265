"""Characters that a reader does not see, or that turn what it sees: shown as `<U+202E>`.

A name, a log or a page's text may hide instructions in them, or look like another text. None of
them reaches a model or a user; what a call sends back as `<U+200D>` is that character again. Pure.
"""

import re

__all__ = ["restored", "visible"]

_INVISIBLE = re.compile(
    "[\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Formats, fillers, selectors and tags; not U+FE0F, which follows many a picture in plain sight.

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
