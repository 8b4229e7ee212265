"""A request with side effects: its body is written once, and records whether it was.

aiohttp asks a body to write itself once there is a connection, and holds the head back until then.
This is therefore the only place that can prove that nothing was sent, whatever the session, its
middlewares or a proxy do before. The body never decides whether a request may be sent: its
`before_writing` callback does.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol, Self

import aiohttp

from testvibe_async.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp.abc import AbstractStreamWriter

    from testvibe_async.errors import VibeError

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False)

NEVER_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
)
"""The errors of a request that had no connection."""

_COME_AFTER = (
    aiohttp.ClientConnectionError,
    aiohttp.ClientPayloadError,
    aiohttp.ClientResponseError,
    TimeoutError,
)
"""Errors that a session may raise after it has sent a request."""


class Sending(Protocol):
    """A request with side effects, while it is being sent; a `Dispatch` implements it."""

    @property
    def is_withdrawn(self) -> bool:
        """True if it must not be sent any more: cancelled, out of time, or the client closes."""
        ...

    @property
    def patience_left(self) -> float | None:
        """Seconds for which a rate-limited request is still retried; None for the retry policy."""
        ...

    async def before_writing(self) -> None:
        """Do what must precede the first byte, on each attempt that has its connection.

        An exception from this method stops the request.
        """

    def mark_written(self, now: float) -> None:
        """Note that writing begins: from now on, the request may have arrived."""

    def mark_answered(self, sent: float) -> None:
        """Note that an answer or error came, whether or not writing was observed."""

    async def mark_refused(self, error: VibeError) -> None:
        """Note that this attempt provably had no effect: it was not sent, or clearly refused."""


class NotRepeatedError(aiohttp.ClientError):
    """A session asked for the same body a second time. No retry logic knows this class."""


class RequestBody(aiohttp.BytesPayload):
    """A JSON object, or nothing, as the body of one request."""

    def __init__(
        self,
        document: Mapping[str, object] | None,
        before_writing: Callable[[], Awaitable[None]],
    ) -> None:
        """Encode the document.

        Args:
            document: The object to send; None for no body at all.
            before_writing: Awaited once there is a connection, before the first byte is written. An
                exception from it stops the request.

        Raises:
            ConfigError: The document can't be sent as JSON.
        """
        super().__init__(_encoded(document), content_type="application/json")
        self._before_writing = before_writing
        self._is_taken = False
        """True if aiohttp has made a request with the body."""
        self._is_asked = False
        """True if the body was asked to write itself."""
        self._is_over = False
        self.is_written: bool = False
        """True if writing began, or other code took the bytes: the request may have arrived."""
        self.is_repeated: bool = False
        """True if the body was asked to write itself a second time, in vain."""
        self.is_held: bool = False
        """True while `before_writing` is awaited."""
        self.refusal: Exception | None = None
        """The exception that `before_writing` raised."""

    def __deepcopy__(self, _memo: object) -> Self:
        """Return the body itself: aioresponses copies its arguments, and a body holds a loop."""
        return self

    @property
    def size(self) -> int | None:
        """Size in bytes; aiohttp asks for it when it makes a request with the body."""
        self._is_taken = True
        return super().size

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the text, and treat it as sent: a session may send it in a body of its own."""
        self.is_written = True
        return super().decode(encoding, errors)

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Return the bytes, and treat them as sent."""
        self.is_written = True
        return await super().as_bytes(encoding, errors)

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Write the body, once.

        Raises:
            NotRepeatedError: The body was asked before, or the request has ended.
        """
        if self._is_asked:
            self.is_repeated = True
            raise NotRepeatedError("a request that may act is sent once")
        self._is_asked = self.is_held = True
        try:
            await self._before_writing()
        except Exception as error:
            self.is_held, self.refusal = False, error
            raise
        self.is_held = False
        # The request may have been abandoned meanwhile, unnoticed by the awaited callback.
        if self._is_over:
            raise NotRepeatedError("the request is over")
        self.is_written = True
        await super().write_with_length(writer, content_length)

    def end(self) -> None:
        """Note that the request has ended: the body is not written any more."""
        self._is_over = True

    def may_be_sent(self, error: BaseException) -> bool:
        """Return whether the service may have received the request, after the session's error.

        A body that aiohttp took but did not write was not sent. A body that was not even taken
        proves nothing if the error names a connection: a replacement for aiohttp, such as a mock,
        may have sent another body.
        """
        if self.is_written or self._is_taken:
            return self.is_written
        return isinstance(error, _COME_AFTER) and not isinstance(error, NEVER_CONNECTED)


def _encoded(document: Mapping[str, object] | None) -> bytes:
    if not document:  # as nearly always
        return b"" if document is None else b"{}"
    try:
        return _encoder.encode(document).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"the request's body can't be sent as JSON: {error}") from error
