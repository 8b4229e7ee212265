"""Texts, counts and durations: clean, bounded, on one line where asked."""

from __future__ import annotations

import pytest

from tests.support.ci_systems import obeyed
from testvibe_async._util import clean
from testvibe_async.reports.text import (
    counted,
    cut,
    distinct,
    duration,
    essence,
    one_line,
    quoted,
    tail,
)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("\x1b[31mred\x1b[39m \x1b[2K\x1b[1;32mgreen\x1b[0m", "red green"),
        ("\x9b31mred\x9b0m", "red"),
        ("\x1b]8;;https://x.example\x1b\\link\x1b]8;;\x07", "link"),
        ("\x1b]0;never closed\nnext line", "0;never closed\nnext line"),
        ("\x1b(Bplain\x1bM", "plain"),
        ("one\r\ntwo\rthree\n", "one\ntwo\nthree\n"),
        ("tab\tand \u00e4 \U0001f600", "tab\tand \u00e4 \U0001f600"),
        ("\x00\x08\x7f\x85\ud800\udfff\ufffe\uffff", "\ufffd" * 8),
        ("\u2028\u200f\u202e\u2066", "\ufffd" * 4),
    ],
)
def test_clean(raw: str, expected: str) -> None:
    """Terminal codes go, line ends are Unix's, and what nothing may obey is replaced."""
    assert clean(raw) == expected


def test_one_line() -> None:
    """White space of any kind is one blank, and a text that is too long ends in an ellipsis."""
    assert one_line("  a\n\tb\u00a0c\x1b[0m  ") == "a b c"
    assert one_line("a\u2028b") == "a\ufffdb"
    assert one_line("abcdef", 6) == "abcdef"
    assert one_line("abcdefg", 6) == "abcde…"
    assert one_line("a" * 10_000_000, 6) == "aaaaa…"
    assert one_line("a" + " " * 100 + "b", 6) == "a…"


def test_cut() -> None:
    """The middle of a long text is left out with a note; its ends stay."""
    assert cut("\n  indented\nlast\n\n") == "  indented\nlast"
    assert cut("a" * 100, 100) == "a" * 100
    assert cut("a" * 750 + "b" * 1000 + "c" * 250, 1000) == (
        f"{'a' * 750}\n… 1,000 characters left out …\n{'c' * 250}"
    )


def test_tail() -> None:
    """The last lines of a log stay, with a note on the lines before them."""
    assert tail("a\nb\n", lines=2) == "a\nb"
    assert tail("a\nb\nc\n", lines=2) == "… 1 earlier lines left out …\nb\nc"
    assert len(tail("x" * 100_000)) < 21_000
    assert tail("") == ""


def test_quoted() -> None:
    """A text of the service is on one line, in quotes that it can't close."""
    assert quoted('no\n"tests"') == "\"no 'tests'\""


def test_distinct() -> None:
    """Names that repeat are numbered, and no number makes two names the same."""
    assert distinct(["a", "b", "a", "a (2)", "a", "a (2)"]) == [
        *("a", "b", "a (2)"),
        *("a (2) (2)", "a (3)", "a (2) (3)"),
    ]
    assert len(set(distinct(["same"] * 20_000))) == 20_000


def test_counted() -> None:
    """A number agrees with what it counts."""
    assert [counted(n, "test") for n in (0, 1, 1234)] == ["0 tests", "1 test", "1,234 tests"]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, ""),
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3599.9, "1 h 0 min"),
        (3840, "1 h 4 min"),
    ],
)
def test_duration(seconds: float | None, expected: str) -> None:
    """A duration has its two greatest units."""
    assert duration(seconds) == expected


def test_errors_of_one_cause_have_one_essence() -> None:
    """Places in the code, what was tried and how long it took make no difference; words do."""
    error = "\x1b[31mError: no button\x1b[0m\n\nExpected: 1\nReceived: {}\n\nCall log:\n  - {} ms\n"
    stack = "    at pay.ts:{}:9\n  > 3 | await page.click()\n      |       ^\n"
    plain = "Error: no button\n\nExpected: 1\nReceived: 2\n"
    both = [essence(plain + stack.format(n)) for n in (1, 2)]
    assert both[0] == both[1] == "Error: no button\nExpected: 1\nReceived: 2"
    assert essence(error.format(2, 50)) == both[0]
    assert essence(error.format(3, 50)) != both[0]


@pytest.mark.parametrize("offset", range(9))
def test_what_is_left_out_uncovers_no_command(offset: int) -> None:
    """A line that begins where a part was left out is no command of a CI system either."""
    text = "::error::" * 50 + "x" * offset
    assert not obeyed(cut(text, 100))
    assert not obeyed(tail(text, limit=100))
