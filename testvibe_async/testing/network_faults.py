"""Faults of a network, and the rules for which requests get them.

It decides when a fault applies. It never touches a socket: `faulty_connection` carries faults out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NetworkFault", "NetworkRule"]

_PIECE_BYTES = 65_536
_PIECES_A_SECOND = 10
_NOT_HTTP = b"\x15\x03\x01\x00\x02\x02\x46 this is no HTTP\r\n\r\n"


@attrs.frozen(kw_only=True)
class NetworkFault:
    """A failure on the network; make it with one of the class methods."""

    kind: Literal[
        "reset_on_accept",
        "reset_request",
        "reset_answer",
        "swallow_request",
        "swallow_answer",
        "cut_head",
        "cut_body",
        "garbage",
        "slow",
    ]
    content: bytes = b""
    """The bytes that are sent in place of an answer."""
    piece_bytes: int = _PIECE_BYTES
    """The largest piece of an answer that is sent at a time."""
    pause: float = 0.0
    """Seconds after each piece."""

    @classmethod
    def reset_on_accept(cls) -> NetworkFault:
        """Reset a connection as soon as it is made; it applies to connections, not to requests."""
        return cls(kind="reset_on_accept")

    @classmethod
    def reset_request(cls) -> NetworkFault:
        """Read the request, then reset the connection: the server never sees it."""
        return cls(kind="reset_request")

    @classmethod
    def reset_answer(cls) -> NetworkFault:
        """Let the server act and answer, then reset the connection in place of the answer."""
        return cls(kind="reset_answer")

    @classmethod
    def swallow_request(cls) -> NetworkFault:
        """Read the request and never answer: the server never sees it."""
        return cls(kind="swallow_request")

    @classmethod
    def swallow_answer(cls) -> NetworkFault:
        """Let the server act and answer, but never pass the answer on."""
        return cls(kind="swallow_answer")

    @classmethod
    def cut_head(cls) -> NetworkFault:
        """Let the server act, then send half of the answer's head and close."""
        return cls(kind="cut_head")

    @classmethod
    def cut_body(cls) -> NetworkFault:
        """Let the server act, then send the answer's head and half of its body, and close."""
        return cls(kind="cut_body")

    @classmethod
    def garbage(cls, content: bytes = _NOT_HTTP) -> NetworkFault:
        """Send bytes that are not HTTP and close: the server never sees the request."""
        return cls(kind="garbage", content=content)

    @classmethod
    def slow(cls, bytes_per_second: float) -> NetworkFault:
        """Pass the answer on slowly, by the event loop's clock.

        Args:
            bytes_per_second: The rate, above 0.

        Raises:
            ValueError: The rate is not a number above 0.
        """
        if not 0 < bytes_per_second < float("inf"):
            raise ValueError(f"A pace needs to be above 0 bytes a second, got {bytes_per_second}.")
        piece_bytes = max(1, round(bytes_per_second / _PIECES_A_SECOND))
        return cls(kind="slow", piece_bytes=piece_bytes, pause=piece_bytes / bytes_per_second)

    @classmethod
    def byte_by_byte(cls) -> NetworkFault:
        """Pass the whole answer on, each byte in a packet of its own."""
        return cls(kind="slow", piece_bytes=1)


@attrs.define(eq=False, kw_only=True)
class NetworkRule:
    """The rule for one fault; `FaultProxy.fail` makes it, and explains the fields."""

    fault: NetworkFault
    times: int | None
    skip: int
    when: Callable[[str, str], bool] | None
    hits: int = 0
    """Number of requests, or connections, that got the fault."""
    removed: bool = False

    def remove(self) -> None:
        """End the rule, which may be done twice; requests that it already holds stay held."""
        self.removed = True

    def applies_to(self, request: tuple[str, str] | None) -> bool:
        """Return True if the fault applies, and count that.

        Args:
            request: The method and the target of a request. None: a new connection.
        """
        if self.removed or self.hits == self.times:
            return False
        if (request is None) != (self.fault.kind == "reset_on_accept"):
            return False
        if request is not None and self.when is not None and not self.when(*request):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.hits += 1
        return True
