"""What the first answer says of the server, the key and the clock. Pure.

It decides whether the answer is the service's at all: where it is not, no other answer is worth
asking for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import frozen

from testvibe_async import (
    ForbiddenError,
    MalformedResponseError,
    TransportError,
    UnauthorizedError,
)
from testvibe_async._config import is_documented_key, is_loopback
from testvibe_async.cli.doctor.answers import rows_of
from testvibe_async.cli.doctor.findings import differs, holds
from testvibe_async.cli.words import reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from testvibe_async import VibeError
    from testvibe_async._config import Settings
    from testvibe_async.cli.doctor.answers import Answer
    from testvibe_async.cli.doctor.findings import Finding

__all__ = [
    "Choice",
    "about_address",
    "about_clock",
    "about_key",
    "about_no_answer",
    "choose_project",
    "what_is_there_instead",
]

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


def about_no_answer(error: VibeError) -> Finding:
    """Say that the first request got no answer, or none that is HTTP."""
    says = "can't be reached" if isinstance(error, TransportError) else "does not answer by HTTP"
    means = f"{_NOTHING}: check the address, the network and a proxy on the way"
    return differs("server", says, means=means, quoted=reason(error))


def what_is_there_instead(answer: Answer) -> Finding | None:
    """Return what the first answer is if it is no answer to the question; None where it is one."""
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


@frozen
class Choice:
    """The project to read."""

    id: str | None
    """None where there is none."""

    name: str | None
    findings: Sequence[Finding]
    is_listed: bool
    """Whether it is one of those that the key sees, as far as these are known."""


def choose_project(wanted: str | None, projects: Answer) -> Choice:
    """Choose the project to read: the one in force, else the first that the key sees.

    Args:
        wanted: The id of the one in force; None where none is.
        projects: The answer that lists them, usable or not.
    """
    rows = rows_of(projects)
    found = next((row for row in rows if wanted in {None, row.id}), None)
    name = None if found is None else found.name
    if found is not None and wanted is not None:
        said = [holds("project", "the one in force is one of the key's")]
    elif found is not None:
        says = "none is in force, and the first one is read here"
        means = "testvibe-async use chooses one"
        said = [differs("project", says, means=means, is_harmless=True)]
    elif wanted is not None and projects.error is None:
        says = "the key does not see the one in force"
        means = "commands that need it are refused: testvibe-async use chooses another"
        said = [differs("project", says, means=means)]
    else:
        said = []
    is_listed = found is not None or projects.error is not None
    return Choice(wanted or (found and found.id), name, said, is_listed)


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
