"""What the first answer says of the server, the key and the clock. Pure.

It decides whether the answer is the service's at all: where it is not, no other answer is worth
asking for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from testvibe_async import ForbiddenError, MalformedResponseError, UnauthorizedError
from testvibe_async._config import is_documented_key, is_loopback
from testvibe_async.cli.doctor.findings import differs, holds
from testvibe_async.cli.words import reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testvibe_async._config import Settings
    from testvibe_async.cli.doctor.findings import Finding
    from testvibe_async.cli.doctor.judging import Answer

__all__ = ["about_address", "about_clock", "about_key", "what_is_there_instead"]

MAX_SKEW = 5.0
"""Seconds that two clocks may differ by: an HTTP date is good to one, and the way takes some."""

_NOTHING = "no command works"
_LOGIN = re.compile(r"log-?in|sign-?in|auth|sso|account", re.IGNORECASE)


def about_address(settings: Settings) -> Iterator[Finding]:
    """Say how the service is reached; it has answered."""
    parts = urlsplit(settings.server)
    if parts.scheme == "https":
        yield holds("server", "answers by HTTPS, with a certificate that is valid")
    elif is_loopback(parts.hostname or ""):
        yield holds("server", "answers by HTTP, on this machine")
    else:
        says = "answers by HTTP: the key and all else travel unencrypted"
        yield differs("server", says, means="everybody on the way can read the key: use https://")
    if parts.path:
        yield holds("server", "is below a path, as the settings say", quoted=parts.path)


def what_is_there_instead(answer: Answer) -> Finding | None:
    """Return what else the first answer comes from, or why the key is refused; None where it is
    the service's own.
    """
    error, response = answer.error, answer.response
    if error is None:
        return None
    if isinstance(error, UnauthorizedError | ForbiddenError):
        means = f"{_NOTHING}: testvibe-async login stores another one"
        return differs("key", f"refused: {response.status}", means=means, quoted=reason(error))
    if 300 <= response.status < 400:  # noqa: PLR2004 - what HTTP calls a redirection
        return _redirect(answer)
    if isinstance(error, MalformedResponseError) and response.body.lstrip().startswith(b"<"):
        says = "answers with a web page, such as a login form"
        means = f"{_NOTHING}: the address is not the service's, or something stands before it"
        return differs("server", says, means=means, quoted=reason(error))
    if response.status in {404, 405} and error.code is None:
        says = f"answers {response.status}, and not as the service does"
        means = (
            f"{_NOTHING}: if the service is below a path, give it with the server, such as "
            "https://testvibe.example/path"
        )
        return differs("server", says, means=means, quoted=reason(error))
    return None


def _redirect(answer: Answer) -> Finding:
    status, target = answer.response.status, answer.response.headers.get("Location", "")
    bare = target.partition("?")[0]
    if _LOGIN.search(target):
        says = f"redirects to what looks like a login ({status})"
    elif (
        bare.endswith("/") and urlsplit(bare).path.rstrip("/") == urlsplit(answer.response.url).path
    ):
        says = f"redirects to the same address with a slash at its end ({status})"
    else:
        says = f"redirects to elsewhere ({status})"
    means = f"{_NOTHING}: a redirection is not followed, since the key would go along"
    return differs("server", says, means=means, quoted=bare)


def about_key(settings: Settings) -> Finding:
    """Say of which form the key is, which was accepted."""
    if is_documented_key(settings.api_key):
        return holds("key", "accepted, and of the documented form")
    says = "accepted, and not of the documented form (tvb_ and 43 letters or digits)"
    return differs("key", says, means="used as it is", is_harmless=True)


def about_clock(answer: Answer) -> Finding:
    """Compare the service's clock with ours."""
    date, ours = answer.response.date, answer.response.received_at
    if date is None:
        means = "a run whose dispatch got no answer is not found"
        return differs("clock", "the service does not say what time it has", means=means)
    skew = round((date - ours).total_seconds())
    if abs(skew) <= MAX_SKEW:
        return holds("clock", "the service's and ours agree")
    means = "times that are shown are the service's"
    says = f"the service's is {abs(skew)} s {'ahead of' if skew > 0 else 'behind'} ours"
    return differs("clock", says, means=means, is_harmless=True)
