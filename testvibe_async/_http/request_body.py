"""The body of a request that may act: it is written once, and knows whether it was.

aiohttp asks a body to write itself when the connection is had, and holds the head back until then.
So this is the one place that proves that nothing was sent, whatever the session, its middlewares or
a proxy do before it. It never decides whether a request may be sent; whom it asks does.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Self

import aiohttp

from testvibe_async.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp.abc import AbstractStreamWriter

__all__ = ["NEVER_CONNECTED", "RequestBody"]

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
"""Errors that a session may raise about a request that it has sent."""


class NotRepeatedError(aiohttp.ClientError):
    """A session asked for the same body a second time. No retry logic knows this class."""


class RequestBody(aiohttp.BytesPayload):
    """A JSON object, or nothing, as the body of one request."""

    def __init__(
        self,
        document: Mapping[str, object] | None,
        before_writing: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Encode it.

        Args:
            document: The object to send; None for no body at all.
            before_writing: Awaited when the connection is had, before the first byte is written.
                What it raises stops the request.

        Raises:
            ConfigError: It can't be sent as JSON.
        """
        super().__init__(_encoded(document), content_type="application/json")
        self._before_writing = before_writing
        self._is_taken = False
        """Whether aiohttp has made a request with it."""
        self._is_asked = False
        """Whether it was asked to write itself."""
        self._is_over = False
        self.is_written: bool = False
        """Whether it began to be written, or somebody took its bytes: it may have arrived."""
        self.is_repeated: bool = False
        """Whether it was asked a second time, in vain."""
        self.refusal: Exception | None = None
        """What `before_writing` raised."""

    def __deepcopy__(self, _memo: object) -> Self:
        """Return itself: aioresponses keeps copies of what it is passed, and this has a loop."""
        return self

    @property
    def size(self) -> int | None:
        """Its size in bytes: aiohttp asks for it when it makes a request of it."""
        self._is_taken = True
        return super().size

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return its text, and take it for sent: a session may send it in a body of its own."""
        self.is_written = True
        return super().decode(encoding, errors)

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Return its bytes, and take it for sent."""
        self.is_written = True
        return await super().as_bytes(encoding, errors)

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Write it, once.

        Raises:
            NotRepeatedError: It was asked before, or the request is over.
        """
        if self._is_asked:
            self.is_repeated = True
            raise NotRepeatedError("a request that may act is sent once")
        self._is_asked = True
        if self._before_writing is not None:
            try:
                await self._before_writing()
            except Exception as error:
                self.refusal = error
                raise
            # It may have been given up meanwhile, and what is awaited there may not notice.
            if self._is_over:
                raise NotRepeatedError("the request is over")
        self.is_written = True
        await super().write_with_length(writer, content_length)

    def end(self) -> None:
        """Note that the request is over: nothing of it is written any more."""
        self._is_over = True

    def may_be_sent(self, error: BaseException) -> bool:
        """Say whether the service may have seen the request, after the session raised an error.

        A body that aiohttp took and did not write was not sent. One that was not even taken is
        proof of nothing where the error names a connection: something in place of aiohttp, such
        as a mock, may have sent another.
        """
        if self.is_written or self._is_taken:
            return self.is_written
        return isinstance(error, _COME_AFTER) and not isinstance(error, NEVER_CONNECTED)


def _encoded(document: Mapping[str, object] | None) -> bytes:
    if document is None:
        return b""
    try:
        return _encoder.encode(document).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"the request's body can't be sent as JSON: {error}") from error
