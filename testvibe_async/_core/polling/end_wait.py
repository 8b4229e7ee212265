"""The wait of one task for the end of one operation, or until its time-out.

It starts no task, and cancelling it ends no other wait. The poller decides when the operation is
polled, and holds the wait while its task waits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from weakref import ref as weak_ref

from testvibe_async._core.polling.polled import Change, own_copy
from testvibe_async._core.util.waiting import NO_CONTEXT
from testvibe_async.errors import ClientClosedError, VibeError

if TYPE_CHECKING:
    from testvibe_async._core.polling.polled import Listener, PolledOperation
    from testvibe_async._core.polling.poller import Poller


class EndWait:
    """A listener for the end of one operation; for one call of `end_of`."""

    __slots__ = ("__weakref__", "_ended", "_error", "_poller", "is_open", "wants", "weakly")

    def __init__(self, poller: Poller) -> None:
        """Create it; nothing is polled yet."""
        self._poller = poller
        self._ended: asyncio.Future[None] | None = None
        self._error: VibeError | None = None
        self.is_open: bool = True
        """True until the end, an error or `close`."""
        self.wants: Change = Change.END
        """The changes that matter."""
        self.weakly: tuple[weak_ref[Listener], ...] = (weak_ref(self),)
        """A reference to this, for an operation that has no other listener."""

    async def end_of(
        self, polled: PolledOperation[Any], *, began: float, deadline: float | None
    ) -> VibeError | None:
        """Wait for the end of an operation; at the deadline, poll it once more.

        Args:
            polled: The operation.
            began: The loop's clock when the caller began to wait, for the error.
            deadline: The loop's clock at which to stop waiting; None for no limit.

        Returns:
            The error that ended the observation; None if the operation has finished, or after
            `close`.
        """
        loop = asyncio.get_running_loop()
        ended = self._ended = loop.create_future()
        self._poller.awaited.add(self)
        try:
            self._listen(polled, is_passive=deadline is not None and deadline <= loop.time())
            async with NO_CONTEXT if deadline is None else asyncio.timeout_at(deadline):
                await ended
        except TimeoutError:
            await self._poller.poll_last([polled])
            is_unanswered = self._error is None or isinstance(self._error, ClientClosedError)
            if is_unanswered and not polled.is_finished:
                self._error = polled.timed_out(elapsed=loop.time() - began)
        finally:
            self._poller.awaited.discard(self)
            self.is_open = False
        # Once it is raised, its traceback must not lead back to it.
        error, self._error = self._error, None
        return error

    def _listen(self, polled: PolledOperation[Any], *, is_passive: bool) -> None:
        """Have an operation polled, unless it has finished."""
        if not polled.is_finished:
            try:
                self._poller.listen(polled, self, is_passive=is_passive)
            except VibeError as error:
                self.notify(polled, error)
        if polled.is_finished:
            self.notify(polled)

    def notify(self, polled: PolledOperation[Any], error: VibeError | None = None) -> None:  # noqa: ARG002 - for subscriptions
        """Note that the operation has finished, or the error that ends its observation."""
        if self.is_open:
            self._error = None if error is None else own_copy(error)
            self.close()

    def close(self) -> None:
        """End the wait without a result, and request no more polls."""
        self.is_open = False
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
