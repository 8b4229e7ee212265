"""Text from outside, made harmless for messages, reports and terminals."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.ci_systems import COMMANDS, obeyed
from testvibe_async._core.util import LONGEST, OBEYED, clean, escape, plain, without_commands

PIECES = [
    *("\x1b[31m", "\x1b]0;t\x07", "\x9b2J", "\r\n", "\r", "\t", "\ud800", "\u202e", "\uffff"),
    *("a", "\n", "\xa0 ", ":", "::error::", "#", "##", "[", "vso[", "TeamCity["),
]

LETTERS = "plain, ünïcode, 買い物"

WILD = st.text() | st.lists(st.sampled_from(PIECES)).map("".join)
"""Any text, and texts that are mostly what a terminal obeys."""


@pytest.mark.parametrize(
    ("make", "text", "expected"),
    [
        *((make, LETTERS, LETTERS) for make in (plain, clean, escape)),
        (plain, "a\r\n  b\tc", "a b c"),
        (plain, "\x1b[2Jcleared", "[2Jcleared"),
        (plain, "\u202eflip\ud800", "flip"),
        (plain, "", ""),
        (plain, "ab" * LONGEST, "ab" * (LONGEST // 2)),
        (clean, "a\r\nb\rc\td\n", "a\nb\nc\td\n"),
        (clean, "\x1b[1;31mred\x1b[0m", "red"),
        (clean, "\x1b[2J\x1b]0;title\x07\x1b]8;;http://h\x1b\\link", "link"),
        (clean, "\x9b31mred\x1b(B\x1bM", "red"),
        (clean, "\x1b]0;never closed\nnext line", "0;never closed\nnext line"),
        (clean, "\x00\x08\x7f\x85\u2028\u202eflip\ud800\uffff", "\ufffd" * 6 + "flip\ufffd\ufffd"),
        (escape, "\x1b[1;31mred\x1b[0m", "red"),
        (escape, "\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        (escape, "a\r\nb\tc\x9b", "a\\r\\nb\\tc\\x9b"),
        (escape, "\u202eflip\u2066 \ud800", "\\u202eflip\\u2066 \\ud800"),
        (escape, "[bold]no markup[/bold]", "[bold]no markup[/bold]"),
    ],
)
def test_a_text_is_made_harmless(make: Callable[[str], str], text: str, expected: str) -> None:
    """A message quotes one line; a report keeps lines and tabs; an escaped text shows the rest."""
    assert make(text) == expected


@given(WILD)
def test_any_text_is_harmless(text: str) -> None:
    """A quotation is short and printable; nothing else has what a terminal obeys, but lines."""
    quoted = plain(text)
    assert len(quoted) <= LONGEST
    assert quoted.isprintable()
    assert set(OBEYED.findall(clean(text))) <= {"\t", "\n"}
    assert not OBEYED.search(escape(text))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_here_are_obeyed(command: str) -> None:
    """The tests below would fail where a command was left."""
    assert obeyed(command)
    assert obeyed(f"a\r\n\xa0{command}")


@given(WILD)
def test_no_text_holds_a_command(text: str) -> None:
    """No line of any text holds a command of a CI system, and a second pass changes nothing."""
    for harmless in (plain, clean, escape):
        assert not obeyed(harmless(text))
        assert harmless(harmless(text)) == harmless(text)
    assert not obeyed(without_commands(text.replace("\x1b", "")))
