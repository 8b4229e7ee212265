"""What went wrong, in the words of whoever typed the command."""

from __future__ import annotations

from typing import Any

import pytest

from testvibe_async import (
    ConfigError,
    FeatureNotGeneratedError,
    MalformedResponseError,
    NotSentError,
    ServerError,
    UnauthorizedError,
    VibeError,
)
from testvibe_async.cli.sentences import error_sentence

WHERE: dict[str, Any] = {"method": "GET", "url": "https://h.example/x"}


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ConfigError("as it is"), "as it is"),
        (NotSentError("refused", **WHERE), "GET https://h.example/x: refused"),
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
            MalformedResponseError(("x at $",), status=200, **WHERE),
            "GET https://h.example/x: 200: the answer could not be read: x at $",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_refusal_is_told_in_the_services_words(error: VibeError, sentence: str) -> None:
    """A refusal is the service's message with its code and what to do; the rest is as it is."""
    assert error_sentence(error) == sentence
