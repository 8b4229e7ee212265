"""Text from outside, made harmless for messages, reports and terminals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testvibe_async._util import LONGEST, OBEYED, clean, escape, plain

PIECES = [
    "\x1b[31m",
    "\x1b]0;t\x07",
    "\x9b2J",
    "\r\n",
    "\r",
    "\t",
    "\ud800",
    "\u202e",
    "\uffff",
    "a",
]

WILD = st.text() | st.lists(st.sampled_from(PIECES)).map("".join)
"""Any text, and texts that are mostly what a terminal obeys."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, ünïcode, 買い物", "plain, ünïcode, 買い物"),
        ("a\r\n  b\tc", "a b c"),
        ("\x1b[2Jcleared", "[2Jcleared"),
        ("\u202eflip\ud800", "flip"),
        ("", ""),
    ],
)
def test_plain_text_is_one_line(text: str, expected: str) -> None:
    """A message quotes one line, with spaces in place of anything that can't be printed."""
    assert plain(text) == expected


@given(WILD)
def test_any_plain_text_is_short_and_printable(text: str) -> None:
    """Any text becomes a printable quotation no longer than the limit."""
    quoted = plain(text)
    assert len(quoted) <= LONGEST
    assert quoted.isprintable()


def test_a_long_text_is_cut() -> None:
    """Only the beginning of a long text is quoted."""
    assert plain("ab" * LONGEST) == "ab" * (LONGEST // 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, ünïcode, 買い物", "plain, ünïcode, 買い物"),
        ("a\r\nb\rc\td\n", "a\nb\nc\td\n"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b]0;title\x07\x1b]8;;http://h\x1b\\link", "link"),
        ("\x9b31mred\x1b(B", "red"),
        ("\x07\u202eflip\ud800\uffff", "\ufffd\ufffdflip\ufffd\ufffd"),
    ],
)
def test_a_clean_text_keeps_its_lines(text: str, expected: str) -> None:
    """A report has a text's lines and tabs, no terminal sequence, and U+FFFD for other controls."""
    assert clean(text) == expected


@given(WILD)
def test_any_clean_text_is_harmless(text: str) -> None:
    """A clean text contains nothing that a terminal obeys except line ends and tabs."""
    assert set(OBEYED.findall(clean(text))) <= {"\t", "\n"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, ünïcode, 買い物", "plain, ünïcode, 買い物"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("a\r\nb\tc\x9b", "a\\r\\nb\\tc\\x9b"),
        ("\u202eflip\u2066 \ud800", "\\u202eflip\\u2066 \\ud800"),
        ("[bold]no markup[/bold]", "[bold]no markup[/bold]"),
    ],
)
def test_escaped_text_does_nothing(text: str, expected: str) -> None:
    """Colours are removed; anything else that a terminal might obey is shown as an escape."""
    assert escape(text) == expected


@given(WILD)
def test_any_escaped_text_is_harmless(text: str) -> None:
    """An escaped text contains nothing that a terminal obeys."""
    assert not OBEYED.search(escape(text))
