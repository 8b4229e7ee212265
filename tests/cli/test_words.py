"""What the command line says in words."""

from __future__ import annotations

import pytest

from testvibe_async import ForbiddenError, NotSentError, VibeError
from testvibe_async.cli import words


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
def test_clean_text_does_nothing(text: str, expected: str) -> None:
    """Colours are left out; whatever else a terminal might obey is shown as an escape."""
    assert words.clean(text) == expected


def test_numbers_agree_with_their_nouns() -> None:
    """One is singular, and of the words for states only `error` has a plural."""
    assert (words.many(1, "test"), words.many(2, "test")) == ("1 test", "2 tests")
    assert (words.counted(2, "passed"), words.counted(2, "error")) == ("2 passed", "2 errors")


def test_usual_configuration_goes_without_saying() -> None:
    """What runs where no configuration is asked for is not named."""
    assert [words.unusual(config) for config in (None, "Default", "Mobile")] == [
        None,
        None,
        "Mobile",
    ]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1:00"), (92.7, "1:32"), (3605, "1:00:05")],
)
def test_duration_is_read_at_a_glance(seconds: float, expected: str) -> None:
    """Seconds have a tenth; from a minute on it is a clock."""
    assert words.duration(seconds) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            ForbiddenError("Not with this key.", status=403, method="POST", url="http://s"),
            "Not with this key.",
        ),
        (NotSentError("refused\x1b[2J", method="GET", url="http://s"), "refused\\x1b[2J"),
        (VibeError("something\nelse"), "something\\nelse"),
    ],
)
def test_reason_is_what_the_other_side_said(error: VibeError, expected: str) -> None:
    """Of an error the short part is shown, without the address that was asked."""
    assert words.reason(error) == expected
