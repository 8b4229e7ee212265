"""The words of the command line: numbers, durations, and a sentence for each error."""

from __future__ import annotations

from typing import Any

import pytest

from testvibe_async import (
    ConfigError,
    DispatchUnknownError,
    FeatureNotGeneratedError,
    ForbiddenError,
    IncompleteListError,
    MalformedResponseError,
    NotSentError,
    ServerError,
    UnauthorizedError,
    VibeError,
)
from testvibe_async.cli import words
from testvibe_async.cli.exits import error_sentence


def test_numbers_agree_with_their_nouns() -> None:
    """One is singular, and of the statuses only `error` has a plural."""
    assert (words.plural(1, "test"), words.plural(2, "test")) == ("1 test", "2 tests")
    assert (words.counted(2, "passed"), words.counted(2, "error")) == ("2 passed", "2 errors")


def test_usual_configuration_goes_without_saying() -> None:
    """The default configuration is not named."""
    assert [words.unless_default(config) for config in (None, "Default", "Mobile")] == [
        None,
        None,
        "Mobile",
    ]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1:00"), (92.7, "1:32"), (3605, "1:00:05")],
)
def test_duration_is_read_at_a_glance(seconds: float, expected: str) -> None:
    """Seconds have a tenth; from a minute on it is minutes and seconds."""
    assert words.duration(seconds) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            ForbiddenError("Not with this key.", status=403, method="POST", url="http://s"),
            'the answer is "Not with this key." (403)',
        ),
        (
            NotSentError("refused\x1b[2J", method="GET", url="http://s"),
            "the service was not reachable: refused\\x1b[2J",
        ),
        (VibeError("something\nelse"), "something\\nelse"),
    ],
)
def test_reason_is_what_the_other_side_said(error: VibeError, expected: str) -> None:
    """The reason is the short part of an error, without method and URL; foreign text is quoted."""
    assert words.reason(error) == expected


WHERE: dict[str, Any] = {"method": "GET", "url": "https://h.example/x"}


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ConfigError("as it is"), "as it is"),
        (NotSentError("refused", **WHERE), "h.example: the service was not reachable: refused"),
        (ServerError("Oops.", status=502, **WHERE), "Oops. (502)"),
        (
            UnauthorizedError("No key.", status=401, code="unauthorized", **WHERE),
            "No key. (401 unauthorized); testvibe-async settings shows the key in force",
        ),
        (
            FeatureNotGeneratedError("No tests.", status=409, code="conflict", **WHERE),
            "No tests. (409 conflict); generate it first",
        ),
        (
            IncompleteListError("the list of features is incomplete", status=200, **WHERE),
            "the list of features is incomplete",
        ),
        (
            MalformedResponseError(("x at $",), status=200, **WHERE),
            "the answer could not be read: x at $",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_refusal_is_in_the_services_words(error: VibeError, sentence: str) -> None:
    """A refusal is the service's message with code and advice; other errors are unchanged."""
    assert error_sentence(error) == sentence


def test_a_lost_dispatch_says_how_it_was_lost() -> None:
    """What may have started says why that is not known."""
    lost = DispatchUnknownError("lost", project="p", feature="Login", **WHERE)
    assert words.reason(lost) == "it may have started: the answer to its dispatch was lost"
    lost.__cause__ = MalformedResponseError(("got a web page",), status=200, **WHERE)
    assert words.reason(lost) == (
        "it may have started: the answer to its dispatch was lost: "
        "the answer could not be read: got a web page"
    )
