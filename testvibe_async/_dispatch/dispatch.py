"""One dispatch, which must not happen twice: its progress and its records.

A `Dispatch` is the only owner of that state. The request's body, the transport and the dispatcher
report to it, and a batch withdraws it. The two kinds, for a run and for a generation, decide what
is sent and which operation the answer names. They also decide what must be known before, so that
the operation can be recognized if the answer is lost. The dispatcher decides when a request is
sent.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast
from uuid import uuid4

from attrs import define, evolve, field

from testvibe_async._dispatch.finding import Finding, Progress
from testvibe_async._http import Moment, Outlook
from testvibe_async._util.waiting import is_cancelled
from testvibe_async._wire import Endpoints
from testvibe_async.errors import (
    DispatchUnknownError,
    NotFoundError,
    RecorderError,
    ResponseError,
    TransportError,
    VibeError,
)
from testvibe_async.events import logger
from testvibe_async.intents import INTENT_SECONDS, Intent, Recorder
from testvibe_async.models import FeatureStatus, Generation
from testvibe_async.operations import ClientParts, GenerationOperation, Operation, RunOperation
from testvibe_async.refs import GenerationRef, RunRef

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    from testvibe_async._dispatch.finding import Known
    from testvibe_async._wire import Request
    from testvibe_async.errors import KindName
    from testvibe_async.models import DispatchedGeneration, DispatchedRun
    from testvibe_async.refs import Ref

LATEST_RUN_SECONDS = 2.0
"""Maximum seconds to wait for the project's latest run before the first dispatch."""

FRESH_SECONDS = 10.0
"""Maximum age in seconds, at the dispatch, of the read of the feature's latest generation."""

END_SECONDS = 10.0
"""Seconds in which a recorder must note the result of a dispatch."""

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

    is_lost: bool = field(default=False, init=False)
    """True from the loss of its answer until it is reconciled."""

    is_withdrawn: bool = field(default=False, init=False)
    """True if it must not be sent any more: cancelled, out of time, or the client closes."""

    on_accepted: Callable[[Intent], object] | None = None
    """Called with its intent once it is known to have been accepted, by an unreadable answer."""

    missing_only: bool = False
    """True to generate nothing if the feature has tests by then."""

    gate: AbstractAsyncContextManager[None] | None = None
    """Held while it is under way; None for no limit."""

    generation: GenerationRef | None = None
    """The generation of a run's missing tests that an earlier process dispatched or joined."""

    ref: Ref | None = field(default=None, init=False)
    """The operation that was dispatched or joined last."""

    request: Request[Any] = field(init=False)
    """The request that starts the operation."""

    intent: Intent | None = field(default=None, init=False)
    """The intent of the last attempt; None before the first."""

    traceparent: str | None = field(default=None, init=False)
    """The dispatch's span, for its intents and its ref; None if no span is recorded."""

    _began: float = field(default=0.0, init=False)
    written_at: float = field(default=0.0, init=False)
    """The loop's clock when it was last sent."""

    is_under_way: bool = field(default=False, init=False)
    """True from its beginning to its end, answered or not."""
    _is_recorded: bool = field(default=False, init=False)
    """True if the recorders have the intent, but not its result yet."""
    _recording: asyncio.Lock | None = field(default=None, init=False)
    """Held while recorders are called: the result of an attempt comes after its intent."""
    _tests: GenerationDispatch | None = field(default=None, init=False)
    """The dispatch of the generation of a run's missing tests, while it is under way."""

    def __attrs_post_init__(self) -> None:
        """Build the request; a `ConfigError` describes what can't be sent."""
        self.request = self._build_request()

    @property
    def is_written(self) -> bool:
        """True if the service may have received and executed it, or the generation in its place."""
        return (self._tests or self).progress is Progress.WRITTEN

    @property
    def is_awaited(self) -> bool:
        """True while it, or the generation in its place, is written, and may still be answered."""
        return self.is_written and (self._tests or self).is_under_way

    @property
    def may_be_cancelled(self) -> bool:
        """True if neither it nor the generation in its place was sent."""
        return (self._tests or self).progress is Progress.PENDING

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
        self.progress, self.is_under_way = Progress.PENDING, True
        self._began = asyncio.get_running_loop().time()

    def renew_patience(self) -> None:
        """Note that it is sent now: the wait for the end of an outage is no rate limit."""
        self._began = asyncio.get_running_loop().time()

    def withdraw(self) -> None:
        """Keep the dispatch from being sent."""
        self.is_withdrawn = True
        if self._tests is not None:
            self._tests.is_withdrawn = True

    def begin_tests(self, tests: GenerationDispatch) -> None:
        """Note that the generation of missing tests is dispatched first."""
        tests.is_withdrawn, self._tests = self.is_withdrawn, tests

    def end_tests(self) -> None:
        """Note that the generation of missing tests has ended, and the run itself is next."""
        self._tests = None

    async def before_writing(self) -> None:
        """Have the recorders store the intent of an attempt, right before the request is written.

        Raises:
            RecorderError: A recorder failed, or took too long.
        """
        intent = self.new_intent()
        if not self.recorders:
            return
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
        """Note that an answer or error came, although writing was not observed.

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
        if seconds > intent.timeout:
            intent = evolve(intent, timeout=seconds)
        self.is_lost, self.intent = True, intent
        return intent

    def mark_accepted(self, intent: Intent) -> Intent:
        """Note that an attempt was accepted by an answer that can't be read; return its intent."""
        self.intent = evolve(intent, is_accepted=True)
        if self.on_accepted is not None:
            self.on_accepted(self.intent)
        return self.intent

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
        """Note that the dispatch has ended. If it may have arrived unanswered, it stays written."""
        self.is_under_way = self.is_lost = False
        if self.progress is Progress.PENDING:
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
        if self._tests is not None:
            return self._tests.unknown(what, finding)
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
        now, transport = asyncio.get_running_loop().time(), self.parts.transport
        self.intent = Intent(
            id=uuid4().hex,
            kind=self.kind,
            server=transport.server,
            project=self.project,
            feature=self.feature,
            config=self.config,
            site_url=self.site_url,
            intended_at=datetime.now(UTC),
            service_at=transport.clock.at(now),
            timeout=transport.timeout,
            traceparent=self.traceparent,
            **self._seen_before(),
        )
        return self.intent

    @abstractmethod
    def _build_request(self) -> Request[Any]: ...

    @abstractmethod
    async def prepare(self) -> VibeError | None:
        """Read the data needed to recognize the operation if the answer is lost.

        Returns:
            The failure to read the data, if any: no reason not to dispatch, unless a batch has the
            patience to wait for the end of an outage, or only missing tests are to be generated.
        """

    @abstractmethod
    async def send(self) -> Ref:
        """Send the request, and return the ref of the operation in the answer."""

    @abstractmethod
    def _seen_before(self) -> dict[str, Any]:
        """Return the fields of an intent that describe the state before the dispatch."""


@define(eq=False, kw_only=True)
class RunDispatch(Dispatch[RunOperation]):
    """The dispatch of a run. Its operation is recognized in the list of runs, by its higher id.

    The highest id must therefore be known before the dispatch. Each client reads the project's
    latest run before its first dispatch there. Stored ids, or ids seen while older runs were
    polled, do not show which run is the latest.
    """

    kind: ClassVar[KindName] = "run"
    operation_class: ClassVar[type[Operation[Any]]] = RunOperation

    def _build_request(self) -> Request[DispatchedRun]:
        body = {"config": self.config, "siteUrl": self.site_url}
        return Endpoints.RUN_FEATURE.request(project=self.project, feature=self.feature, body=body)

    async def prepare(self) -> VibeError | None:
        """Read the project's latest runs, if it is unknown which run is the latest."""
        loop, transport, run_ids = (
            asyncio.get_running_loop(),
            self.parts.transport,
            self.parts.run_ids,
        )
        is_needed = partial(run_ids.needs_list, self.project, service_time=transport.clock.at)
        if not is_needed(now=loop.time()):
            return None
        async with run_ids.locks[self.project]:
            if not is_needed(now=loop.time()):  # Another dispatch has read it meanwhile.
                return None
            request = Endpoints.LIST_RUNS.request(project=self.project, query={"limit": 2})
            request = evolve(request, timeout=LATEST_RUN_SECONDS)
            rows, began = None, Moment.now()
            try:
                rows = await transport.call_page(request, retries=False)
            except (TransportError, ResponseError) as error:
                if transport.outlook_after(error, request) in {Outlook.AWAY, Outlook.BUSY}:
                    run_ids.note_failure(self.project, now=loop.time())
                    return error
            run_ids.note_list(self.project, rows, at=began)
            return None

    def mark_dispatched(self, ref: Ref) -> None:
        """Note the run that the dispatch started: runs of later dispatches have higher ids."""
        self.parts.run_ids.note(self.project, cast("RunRef", ref).run_id)
        super().mark_dispatched(ref)

    def _seen_before(self) -> dict[str, Any]:
        run_ids = self.parts.run_ids
        return {
            "highest_run_id": run_ids.highest(self.project),
            "known_run_id": run_ids.known(self.project),
        }

    @asynccontextmanager
    async def _unlisted(self) -> AsyncGenerator[None]:
        """Hold a slot for a dispatch that no list would show.

        A crash loses what is under way, unless its id is among the next ones. So few dispatches are
        under way at once, and one alone as long as no id is known.
        """
        run_ids = self.parts.run_ids
        async with run_ids.unlisted[self.project]:
            async with run_ids.locks[self.project]:
                if run_ids.known(self.project) is None:
                    yield
                    return
            yield

    async def send(self) -> RunRef:
        """Send the request, and return the run's ref."""
        transport = self.parts.transport
        is_listed = self.parts.run_ids.highest(self.project) is not None
        async with nullcontext() if is_listed or not self.recorders else self._unlisted():
            answer: DispatchedRun = (await transport.read(self.request, sending=self))[1]
        return RunRef(
            server=transport.server,
            project=self.project,
            run_id=answer.run_id,
            feature_id=answer.feature_id,
            dispatched_at=self.dispatched_at,
            traceparent=self.traceparent,
        )


class TestsMadeError(VibeError):
    """Nothing was sent: the feature has tests, and only missing ones were to be generated."""

    def __init__(self, latest: Generation) -> None:
        super().__init__("the feature has tests by now")
        self.latest = latest
        """The generation that made them."""


class OutdatedError(VibeError):
    """Nothing was sent: the read that allows the dispatch is too old."""

    def __init__(self) -> None:
        super().__init__(f"whether the feature has tests was read over {FRESH_SECONDS:g} s ago")


@define(eq=False, kw_only=True)
class GenerationDispatch(Dispatch[GenerationOperation]):
    """The dispatch of a generation. The service shows only the feature's latest generation.

    The latest generation is therefore read before the dispatch, to recognize a new one after it.
    """

    kind: ClassVar[KindName] = "generation"
    operation_class: ClassVar[type[Operation[Any]]] = GenerationOperation

    before: Generation | None = None
    """The feature's latest generation before the dispatch; None if it is unknown."""

    read_at: Moment | None = None
    """The moment when `before` was read."""

    def _build_request(self) -> Request[DispatchedGeneration]:
        body = {"siteUrl": self.site_url}
        return Endpoints.GENERATE_FEATURE.request(
            project=self.project, feature=self.feature, body=body
        )

    @property
    def previous_id(self) -> str | None:
        """The `requestId` of the previous generation; None if it is unknown."""
        return self.before.request_id if self.before else None

    async def prepare(self) -> VibeError | None:
        """Read the feature's latest generation.

        A feature that was never generated has a status too, without a `requestId`. The latest
        generation is unknown after a failure, a 404, or an answer without any field of a status. It
        is also unknown if an unnamed generation is in flight. If the dispatch is then delayed for
        more than 10 s, such as by a pause, the answer counts as unknown too.

        Raises:
            TestsMadeError: The feature has tests, and only missing ones are to be generated.
        """
        request = Endpoints.GET_GENERATION_STATUS.request(
            project=self.project, feature=self.feature
        )
        latest, failure = Generation(), None
        try:
            latest = await self.parts.transport.call(evolve(request, is_uncached=True))
        except (TransportError, ResponseError) as error:
            is_never_generated = isinstance(error, NotFoundError) and error.code is not None
            failure = None if is_never_generated else error
        if self.missing_only and latest.is_success:
            raise TestsMadeError(latest)
        is_unnamed = latest.status == FeatureStatus.GENERATING and not latest.request_id
        self.before = None if is_unnamed or latest == Generation() else latest
        self.read_at = Moment.now()
        return failure

    async def before_writing(self) -> None:
        """Check that no tests can have been made meanwhile, if only missing ones are wanted.

        Raises:
            OutdatedError: Some can: a pause delayed the request.
            RecorderError: As for any dispatch.
        """
        if self.missing_only and not self._is_fresh:
            raise OutdatedError
        await super().before_writing()

    @property
    def _is_fresh(self) -> bool:
        """True if the latest generation was read just now."""
        return self.read_at is not None and not self.read_at.is_older_than(FRESH_SECONDS)

    def _seen_before(self) -> dict[str, Any]:
        is_fresh = self.before is not None and self._is_fresh
        return {
            "is_previous_known": is_fresh,
            "previous_id": self.previous_id if is_fresh else None,
        }

    async def send(self) -> GenerationRef:
        """Send the request, and return the generation's ref."""
        transport = self.parts.transport
        answer: DispatchedGeneration = (await transport.read(self.request, sending=self))[1]
        return GenerationRef(
            server=transport.server,
            project=self.project,
            request_id=answer.request_id,
            feature_id=answer.feature_id,
            dispatched_at=self.dispatched_at,
            traceparent=self.traceparent,
        )


DISPATCHES: Mapping[KindName, type[Dispatch[Any]]] = {
    "run": RunDispatch,
    "generation": GenerationDispatch,
}


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
