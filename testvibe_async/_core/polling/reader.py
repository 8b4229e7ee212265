"""One poll by id: the request, its effect on the state, and the notification of listeners.

Decides the order of these steps. It never decides when to poll, nor what an answer or a failure
means: `polled` does.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from testvibe_async._core.http import Outlook
from testvibe_async._core.polling.known import FinishedOperations
from testvibe_async._core.polling.polled import OPERATIONS_A_TURN, Change
from testvibe_async._core.util.waiting import OFFLOAD_BYTES, offload
from testvibe_async._core.wire import UnreadableError, malformed, retry_after
from testvibe_async.errors import OutcomeUnknownError, VibeError
from testvibe_async.events import Emitter, PollFailed, StatusChanged

if TYPE_CHECKING:
    from collections.abc import Callable

    from testvibe_async._core.http import Transport
    from testvibe_async._core.polling.list_polling import Listed, Lists
    from testvibe_async._core.polling.polled import PolledOperation
    from testvibe_async._core.wire import UnreadableField


class Reader:
    """Reads operations for one client, and notifies their listeners."""

    def __init__(
        self,
        transport: Transport,
        lists: Lists,
        *,
        hooks: Emitter,
    ) -> None:
        """Create the reader; does no I/O.

        Args:
            transport: Sends the requests.
            lists: Compared with what a read by id shows.
            hooks: Notified of transitions and of failures.
        """
        self._transport = transport
        self._lists = lists
        self._availability = transport.availability
        self._hooks = hooks
        self._sequence = 0
        self._finished = FinishedOperations()

    async def read(
        self,
        polled: PolledOperation[Any],
        *,
        retries: bool,
        on_sent: Callable[[], object] | None = None,
    ) -> VibeError | None:
        """Read an operation by its id and notify its listeners; return the failure, if it failed.

        Args:
            polled: The operation.
            retries: True to retry a request that failed in transit. A scheduled poll is not
                retried: the next poll follows anyway.
            on_sent: Called once the request has its slot, if it is not retried.
        """
        loop = asyncio.get_running_loop()
        # Answers may overtake each other, so each request is numbered before it is sent.
        self._sequence += 1
        sequence, was_known = self._sequence, polled.phase is not None
        try:
            request = polled.request
            response = await (
                self._transport.fetch(request, is_poll=True)
                if retries
                else self._transport.fetch_once(request, is_poll=True, on_sent=on_sent)
            )
            is_asked = "Retry-After" in response.headers
            polled.asked_seconds = retry_after(response) if is_asked else None
            unreadable: list[UnreadableField] = []
            if len(response.body) < OFFLOAD_BYTES:
                snapshot = polled.decode(response, unreadable)
            else:
                snapshot = await offload(polled.decode, response, unreadable)
            if unreadable:
                self._transport.warn_of(unreadable)
            try:
                change = polled.accept(
                    snapshot, sequence=sequence, now=loop.time(), at=response.received_at
                )
            except UnreadableError as error:
                failure = malformed(request, response, *error.problems)
                failure.__cause__ = error
                return failure
        except VibeError as error:
            return error
        finally:
            self._transport.let_go()
            # Set after a failure too: the interval counts from the end of the last attempt.
            polled.polled_at = polled.read_at = loop.time()
            self._lists[polled.list_key].note_read(polled)
        self._availability.note_good_answer(request.endpoint.name)
        if polled.unclear is not None and polled.unclear.assumed_since is not None:
            self._transport.warn_of_status(polled.ref.kind, polled.status)
        if change is Change.END:
            self._finished.keep(polled, len(response.body))
        if change is not None:
            self.publish(polled, change, was_known=was_known)
        return None

    async def apply_rows(self, listed: Listed) -> None:
        """Apply a list's rows to operations still in flight, and notify their listeners."""
        now, at = asyncio.get_running_loop().time(), datetime.now(UTC)
        for number, polled in enumerate(listed.started, start=1):
            self.publish(polled, polled.see_started(at=at))
            if number % OPERATIONS_A_TURN == 0:
                await asyncio.sleep(0)
        for number, polled in enumerate(listed.running, start=1):
            polled.polled_at = now
            polled.forget_answer()
            if not listed.is_refused:
                polled.see_listed(now=now, at=at)
            if number % OPERATIONS_A_TURN == 0:
                await asyncio.sleep(0)

    def publish(
        self,
        polled: PolledOperation[Any],
        change: Change | None,
        *,
        by_poll: bool = True,
        was_known: bool = True,
    ) -> None:
        """Notify the listeners and the hook of a change. At an end, all listeners are released.

        Args:
            polled: The operation.
            change: The change that an answer made; None for no change.
            by_poll: True if a poll brought the change. The hook is notified of these changes alone.
            was_known: False if the operation was not observed before: it may have ended days ago.
        """
        if change is None:
            return
        is_transition = change is not Change.UPDATE
        listeners = polled.listeners
        if change is Change.END:
            polled.listeners = ()
            polled.forget_answer()
        for weak in listeners:
            if (listener := weak()) is not None and change <= listener.wants:
                listener.notify(polled)
        if is_transition and by_poll and self._hooks.is_enabled(StatusChanged):
            delay = self._delay(polled) if was_known else None
            self._hooks.emit(StatusChanged(polled.ref, polled.latest, delay))

    def _delay(self, polled: PolledOperation[Any]) -> float | None:
        """Return how late the end of an operation was observed, by the service's clock."""
        ended_at = polled.ended_at
        seen_at = self._transport.clock.at(asyncio.get_running_loop().time())
        if ended_at is None or seen_at is None:
            return None
        return max(0.0, (seen_at - ended_at).total_seconds())

    def outlook_after(self, polled: PolledOperation[Any], error: VibeError) -> Outlook:
        """Return the result that another poll of an operation may bring, after a failed one."""
        return self._availability.judge(error, polled.request.endpoint.name)

    def note_failure(self, polled: PolledOperation[Any], error: VibeError) -> None:
        """Handle a poll by id that failed."""
        outlook = self.outlook_after(polled, error)
        self._availability.note_failure(error, outlook)
        if not polled.is_finished:
            self.handle_failure(polled, error, outlook)

    def note_silence(self, polled: PolledOperation[Any], *, seconds: float) -> None:
        """Note a poll without an answer in time: its wait must not claim that it still runs."""
        request = polled.request
        what = f"no answer to the last poll within {seconds:g} s"
        error = OutcomeUnknownError(what, method=request.method, url=request.url(polled.ref.server))
        self.handle_failure(polled, error, Outlook.AWAY)

    def handle_failure(
        self,
        polled: PolledOperation[Any],
        error: VibeError,
        outlook: Outlook,
        *,
        is_shared: bool = False,
    ) -> None:
        """Count a failed poll: it may be one too many for the waits, or announce an outage.

        Args:
            polled: The operation.
            error: The failure.
            outlook: The result that another poll may bring.
            is_shared: True if another operation was polled on behalf of this one.
        """
        now = asyncio.get_running_loop().time()
        final = polled.note_failure(
            error, outlook, now=now, max_outage=self._availability.max_outage, is_shared=is_shared
        )
        self._hooks.emit(PollFailed(polled.ref, error, final is not None, is_shared))
        if final is not None:
            self.end_waits(polled, final)
        if polled.failures is not None:
            self._availability.announce(polled.failures)

    def check_status(self, polled: PolledOperation[Any]) -> None:
        """End the waits if it stays unknown whether the status is an end."""
        now = asyncio.get_running_loop().time()
        error = polled.note_status(now=now, max_outage=self._availability.max_outage)
        if error is not None:
            self._hooks.emit(PollFailed(polled.ref, error, is_final=True))
            self.end_waits(polled, error)

    @staticmethod
    def end_waits(polled: PolledOperation[Any], error: VibeError) -> None:
        """Release all listeners with the error. A later wait polls again."""
        polled.failures = None
        listeners, polled.listeners = polled.listeners, ()
        for weak in listeners:
            if (listener := weak()) is not None:
                listener.notify(polled, error)
