"""One dispatch, which must not happen twice: its progress and its records.

A `Dispatch` is the only owner of that state. The transport and the dispatcher report to it, and a
batch withdraws it. The dispatcher decides when a request is sent, and the two
kinds, in `kinds`, decide what is sent.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from attrs import define, evolve, field

from testvibe_async._dispatch.finding import Finding, Progress
from testvibe_async._util.waiting import NO_CONTEXT, is_cancelled
from testvibe_async._wire import KINDS
from testvibe_async.errors import DispatchUnknownError, RecorderError, VibeError
from testvibe_async.events import logger
from testvibe_async.intents import INTENT_SECONDS, LATE_SECONDS, Intent, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from testvibe_async._dispatch.finding import Known
    from testvibe_async._wire import Request
    from testvibe_async.errors import KindName
    from testvibe_async.operations import ClientParts, Operation
    from testvibe_async.refs import Ref

END_SECONDS = 10.0
"""Seconds in which a recorder must note the result of a dispatch."""

_AWAITED = (Progress.WRITTEN, Progress.LOST)
"""The progress of a dispatch that may still turn out to have taken effect."""

OperationT = TypeVar("OperationT", bound="Operation[Any]")


@define(eq=False, kw_only=True)
class Dispatch(ABC, Generic[OperationT]):
    """One dispatch, which must not happen twice."""

    kind: ClassVar[KindName]
    """The kind of the operation."""

    operation_class: ClassVar[type[Operation[Any]]]
    """The class of the operation's handle."""

    parts: ClientParts
    project: str
    feature: int | str
    site_url: str | None = None
    config: str | None = None

    recorders: tuple[Recorder, ...] = ()
    """The recorders that store the dispatch's intents."""

    patience: float | None = None
    """Seconds for which a rate-limited request is retried; None to follow the retry policy."""

    known: Known | None = None
    """Knows other dispatches, of other processes too; None if only this client dispatches."""

    on_ref: Callable[[Ref], object] | None = None
    """Called with each operation that was dispatched or joined."""

    progress: Progress = field(default=Progress.IDLE, init=False)
    """The progress of the dispatch, changed only by the methods here."""

    withdrawn_at: float | None = field(default=None, init=False)
    """The loop's clock when it was withdrawn; None if it may be sent."""

    on_accepted: Callable[[Intent], object] | None = None
    """Called with its intent once it is known to have been accepted, by an unreadable answer."""

    missing_only: bool = False
    """True to generate nothing if the feature has tests by then."""

    gate: AbstractAsyncContextManager[None] | None = None
    """Held while it is under way; None for no limit."""

    ref: Ref | None = field(default=None, init=False)
    """The operation that was dispatched or joined last."""

    request: Request[Any] = field(init=False)
    """The request that starts the operation."""

    _intent: Intent | Callable[[], Intent] | None = field(default=None, init=False)
    """The intent of the last attempt, or what makes it: of most dispatches nobody needs it."""

    traceparent: str | None = field(default=None, init=False)
    """The dispatch's span, for its intents and its ref; None if no span is recorded."""

    _began: float = field(default=0.0, init=False)
    written_at: float = field(default=0.0, init=False)
    """The loop's clock when it was last sent."""

    _is_recorded: bool = field(default=False, init=False)
    """True if the recorders have the intent, but not its result yet."""
    _recording: asyncio.Lock | None = field(default=None, init=False)
    """Held while recorders are called: the result of an attempt comes after its intent."""

    def __attrs_post_init__(self) -> None:
        """Build the request; a `ConfigError` describes what can't be sent."""
        self.request = self._build_request()

    @property
    def intent(self) -> Intent | None:
        """The intent of the last attempt; None before the first."""
        if callable(self._intent):
            self._intent = self._intent()
        return self._intent

    @intent.setter
    def intent(self, intent: Intent) -> None:
        self._intent = intent

    @property
    def is_withdrawn(self) -> bool:
        """True if it must not be sent any more: cancelled, out of time, or the client closes."""
        return self.withdrawn_at is not None

    @property
    def is_written(self) -> bool:
        """True if it was sent and has no answer."""
        return self.progress in (*_AWAITED, Progress.UNANSWERED)

    @property
    def is_awaited(self) -> bool:
        """True while it is written, and may still be answered."""
        return self.progress in _AWAITED

    @property
    def may_be_cancelled(self) -> bool:
        """True if it is under way, and so far without effect."""
        return self.progress is Progress.PENDING

    @property
    def patience_left(self) -> float | None:
        """Seconds for which a rate-limited request is still retried; None for the retry policy."""
        if self.patience is None:
            return None
        return self._began + self.patience - asyncio.get_running_loop().time()

    @property
    def previous_id(self) -> str | None:
        """The `requestId` of the previous generation; None for a run, or if it is unknown."""
        return None

    @property
    def dispatched_at(self) -> datetime:
        """The time when it was last sent, by the local clock, in UTC."""
        ago = asyncio.get_running_loop().time() - self.written_at
        return datetime.now(UTC) - timedelta(seconds=ago)

    def begin(self) -> None:
        """Note that the dispatch is under way, with nothing sent yet."""
        self.progress = Progress.PENDING
        self._began = asyncio.get_running_loop().time()

    def renew_patience(self) -> None:
        """Start its patience anew: the wait for the end of an outage is no rate limit."""
        self._began = asyncio.get_running_loop().time()

    def withdraw(self) -> None:
        """Keep the dispatch from being sent."""
        if self.withdrawn_at is None:
            self.withdrawn_at = asyncio.get_running_loop().time()

    async def before_writing(self) -> None:
        """Have the recorders store the intent of an attempt, right before the request is written.

        Raises:
            RecorderError: A recorder failed, or took too long.
        """
        self._intent = self._drafted()
        if not self.recorders:
            return
        intent = cast("Intent", self.intent)
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with self._lock():
            self._is_recorded = True
            try:
                async with asyncio.timeout(INTENT_SECONDS):
                    for recorder in self.recorders:
                        await recorder.intended(intent)
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled():
                    raise
                raise self._not_recorded(_why_not_recorded(error)) from error
        # The loop's clock stops while the machine sleeps, and the wall clock may be set back.
        waited = (datetime.now(UTC) - intent.intended_at).total_seconds()
        age = max(waited, loop.time() - began)
        if age > INTENT_SECONDS:
            raise self._not_recorded(
                f"its intent was recorded after {age:.3g} s, and {INTENT_SECONDS:g} s are allowed"
            )

    def mark_written(self, now: float) -> None:
        """Note that writing begins: from now on, the request may have arrived."""
        self.progress, self.written_at = Progress.WRITTEN, now

    def mark_answered(self, sent: float) -> None:
        """Note that an answer or error came, whether or not writing was observed.

        A mock of the session never asks the body to write itself.
        """
        if self.progress is Progress.PENDING:
            self.mark_written(sent)

    def mark_lost(self) -> Intent:
        """Note that the answer was lost; return the intent, which covers the time until now.

        If the machine slept meanwhile, the request took longer than its time-out.
        """
        intent = self.intent or self.new_intent()
        seconds = (datetime.now(UTC) - intent.intended_at).total_seconds()
        slept = max(0.0, seconds - INTENT_SECONDS - self.parts.transport.timeout)
        self.progress = Progress.LOST
        self.intent = intent = evolve(intent, expires_after=intent.expires_after + slept)
        return intent

    def mark_accepted(self, intent: Intent) -> Intent:
        """Note that an attempt was accepted by an answer that can't be read; return its intent."""
        self.intent = intent = evolve(intent, is_accepted=True)
        if self.on_accepted is not None:
            self.on_accepted(intent)
        return intent

    async def mark_refused(self, error: VibeError) -> None:
        """Note that this attempt provably had no effect: it was not sent, or clearly refused."""
        self.progress = Progress.PENDING
        await self.record(error)

    def mark_dispatched(self, ref: Ref) -> None:
        """Note the operation that the dispatch started."""
        self.progress = Progress.DISPATCHED
        self.note(ref)

    def note(self, ref: Ref) -> None:
        """Note the operation that serves its purpose: dispatched, or joined."""
        self.ref = ref
        if self.on_ref is not None:
            self.on_ref(ref)

    def end(self) -> None:
        """Note that the dispatch has ended."""
        if self.progress in _AWAITED:
            self.progress = Progress.UNANSWERED
        elif self.progress is Progress.PENDING:
            self.progress = Progress.IDLE

    async def record(self, result: Ref | VibeError) -> None:
        """Store the result of the last attempt: its operation, or the error if nothing started."""
        if not self._is_recorded:
            return
        intent = self.intent
        assert intent is not None
        async with self._lock():
            await record(self.recorders, intent, result)
            self._is_recorded = False  # Not before: a cancelled caller records it again.

    def unknown(self, what: str, finding: Finding | None = None) -> DispatchUnknownError:
        """Return the error of a dispatch that may or may not have taken effect.

        Args:
            what: Description of the failed answer, for the message.
            finding: The result of reconciling.
        """
        return (finding or Finding()).error(self.intent or self.new_intent(), what)

    def _lock(self) -> asyncio.Lock:
        if self._recording is None:
            self._recording = asyncio.Lock()
        return self._recording

    def _not_recorded(self, what: str) -> RecorderError:
        url = self.parts.transport.url_of(self.request)
        return RecorderError(f"not sent: {what}", method=self.request.method, url=url)

    def new_intent(self) -> Intent:
        """Return the intent of an attempt that is made now."""
        self.intent = intent = self._drafted()()
        return intent

    def _drafted(self) -> Callable[[], Intent]:
        """Return a function that makes the intent of an attempt that is made now."""
        now, transport = asyncio.get_running_loop().time(), self.parts.transport
        values: dict[str, Any] = {
            "kind": self.kind,
            "server": transport.server,
            "project": self.project,
            "feature": self.feature,
            "config": self.config,
            "site_url": self.site_url,
            "intended_at": datetime.now(UTC),
            "service_at": transport.clock.at(now),
            "expires_after": INTENT_SECONDS + max(LATE_SECONDS, 2 * transport.timeout),
            "traceparent": self.traceparent,
            **self._seen_before(),
        }
        return lambda: Intent(id=token_hex(16), **values)

    @abstractmethod
    def _build_request(self) -> Request[Any]: ...

    @abstractmethod
    async def prepare(self) -> VibeError | None:
        """Read the data needed to recognize the operation if the answer is lost.

        Returns:
            The failure to read the data, if any: no reason not to dispatch, unless a batch has the
            patience to wait for the end of an outage, or only missing tests are to be generated.
        """

    async def send(self) -> Ref:
        """Send the request, and return the ref of the operation in the answer."""
        transport = self.parts.transport
        async with self._slot():
            _, answer = await transport.read(self.request, sending=self)
        return KINDS[self.kind].ref_of(
            answer,
            server=transport.server,
            project=self.project,
            dispatched_at=self.dispatched_at,
            traceparent=self.traceparent,
        )

    def _slot(self) -> AbstractAsyncContextManager[None]:
        """Return what is held while the request is under way."""
        return NO_CONTEXT

    @abstractmethod
    def _seen_before(self) -> dict[str, Any]:
        """Return the fields of an intent that describe the state before the dispatch."""


async def record(recorders: Iterable[Recorder], intent: Intent, result: Ref | VibeError) -> None:
    """Have recorders store the result of a dispatch; a failure is only logged.

    Args:
        recorders: The recorders that have the intent.
        intent: The dispatch.
        result: Its operation, or the error if nothing started.
    """
    for recorder in recorders:
        try:
            async with asyncio.timeout(END_SECONDS):
                if isinstance(result, VibeError):
                    await recorder.not_dispatched(intent, result)
                else:
                    await recorder.dispatched(intent, result)
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled():
                raise
            text = str(result) if isinstance(result, VibeError) else result.to_json()
            logger.error("the result of %s could not be recorded (%r): %s", intent, error, text)


def _why_not_recorded(error: BaseException) -> str:
    """Describe how a recorder failed to store an intent."""
    if isinstance(error, TimeoutError):
        return f"its recorder did not store the intent within {INTENT_SECONDS:g} s"
    if isinstance(error, asyncio.CancelledError):
        return "its recorder was cancelled before it had stored the intent"
    return f"its intent could not be recorded: {error!r}"
