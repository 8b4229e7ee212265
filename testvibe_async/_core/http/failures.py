"""Translation of errors from aiohttp, or from a caller's session, into this package's errors.

Pure. The result contains nothing that came over a connection, nor a URL with its query, except
through `redact`. This module never decides whether to retry; `retry` does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from testvibe_async._core.http.request_body import NEVER_CONNECTED
from testvibe_async._core.util import plain
from testvibe_async.errors import MalformedResponseError, NotSentError, OutcomeUnknownError

if TYPE_CHECKING:
    from collections.abc import Callable


def failure_of(  # noqa: PLR0913 - each by name
    error: Exception,
    *,
    method: str,
    url: str,
    seconds: float | None,
    redact: Callable[[str], str],
    is_sent: bool | None = None,
) -> NotSentError | MalformedResponseError | OutcomeUnknownError:
    """Return the error for a request without a complete answer.

    Its cause is the original error if that may be shown. Raise the result outside of the original's
    handler, so that the original is not chained to it otherwise.

    Args:
        error: The original error.
        method: The request's method.
        url: The request's URL, without its query.
        seconds: The seconds allowed for the answer.
        redact: Removes secrets from a text.
        is_sent: True if the other side may have received the request; None to derive it from
            `error`.
    """
    failure: NotSentError | MalformedResponseError | OutcomeUnknownError
    if is_sent is None:
        is_sent = not isinstance(error, NEVER_CONNECTED)
    if not is_sent:
        why = _why_not_sent(error, seconds, redact)
        failure = NotSentError(why, method=method, url=url)
    elif isinstance(error, aiohttp.ClientResponseError | HttpProcessingError):
        first_line = error.message.partition("\n")[0].rstrip(":")
        problem = f"not HTTP: {plain(redact(first_line))}"
        failure = MalformedResponseError((problem,), status=None, method=method, url=url)
    else:
        why = _why_lost(error, seconds, redact)
        failure = OutcomeUnknownError(why, method=method, url=url)
    failure.__cause__ = error if _is_safe_to_show(error) else None
    return failure


def _why_not_sent(error: Exception, seconds: float | None, redact: Callable[[str], str]) -> str:
    """Describe why the other side never received a request."""
    if isinstance(error, NEVER_CONNECTED):
        return f"could not connect: {_why_not_connected(error)}"
    if isinstance(error, TimeoutError):
        return f"no connection to send it on within {seconds:g} s"
    return _session_failed(error, redact)


def _why_not_connected(error: aiohttp.ClientError) -> str:
    """Describe, in the operating system's words, why there is no connection."""
    if isinstance(error, TimeoutError):
        return "it took too long"  # aiohttp's own text holds the URL's query
    cause = getattr(error, "os_error", None)
    if cause is None or isinstance(error, aiohttp.ClientSSLError):
        return str(error)
    return os.strerror(cause.errno) if (cause.errno or 0) > 0 else cause.strerror or str(cause)


def _why_lost(error: Exception, seconds: float | None, redact: Callable[[str], str]) -> str:
    """Describe why there is no answer, without anything that came over the connection."""
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s"
    if isinstance(error, OSError) and error.errno:
        return f"the connection was lost ({os.strerror(error.errno)})"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection was lost (before the end of the body)"
    if isinstance(error, aiohttp.ClientError | OSError):
        return "the connection was lost (closed by the other side)"
    return _session_failed(error, redact)


def _session_failed(error: Exception, redact: Callable[[str], str]) -> str:
    """Describe a failure of neither the network nor the other side."""
    return f"the session failed with {plain(redact(repr(error)))}"


def _is_safe_to_show(error: Exception) -> bool:
    """Return whether an error may be shown as a cause: most of aiohttp's may hold a key or link."""
    if isinstance(error, TimeoutError):
        return not isinstance(error, aiohttp.ClientError)
    is_of_http = isinstance(error, aiohttp.ClientError | HttpProcessingError)
    return not is_of_http or isinstance(error, OSError | aiohttp.ClientHttpProxyError)
