"""The two kinds of dispatch: of a run, and of a generation.

Each says what is sent, which operation the answer names, and what must be known before it so that
the operation can be recognized if the answer is lost. They differ in nothing else: `dispatcher` and
`reconcile` treat both alike.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar
from uuid import uuid4

from attrs import define, evolve, field

from testvibe_async._http import Submission
from testvibe_async._wire import Endpoints
from testvibe_async.errors import ResponseError, TransportError
from testvibe_async.intents import Intent, Recorder
from testvibe_async.models import FeatureStatus, Generation
from testvibe_async.operations import GenerationOperation, Operation, RunOperation
from testvibe_async.refs import GenerationRef, RunRef

if TYPE_CHECKING:
    from testvibe_async._http import Transport
    from testvibe_async._polling import RunIds
    from testvibe_async._wire import Request
    from testvibe_async.models import DispatchedGeneration, DispatchedRun
    from testvibe_async.refs import Ref

__all__ = ["Dispatch", "GenerationDispatch", "RunDispatch"]

LATEST_RUN_SECONDS = 2.0
"""How long the project's latest run may be waited for, before the first dispatch."""

FRESH_SECONDS = 10.0
"""How long before the dispatch the feature's latest generation may have been read, at most."""

OperationT = TypeVar("OperationT", bound="Operation[Any]")


@define(eq=False, kw_only=True)
class Dispatch(ABC, Generic[OperationT]):
    """One dispatch, which must not happen twice."""

    kind: ClassVar[Literal["run", "generation"]]
    """The kind of the operation."""

    project: str
    feature: int | str
    site_url: str | None = None
    config: str | None = None
    submission: Submission = field(factory=Submission)
    """How far it has come."""

    recorder: Recorder | None = None
    """Stores its intents, besides the client's recorder."""

    request: Request[Any] = field(init=False)
    """The request that starts the operation."""

    intent: Intent | None = field(default=None, init=False)
    """The last attempt; None before the first."""

    traceparent: str | None = field(default=None, init=False)
    """Its span, for its intents and its ref; None where none is recorded."""

    is_recorded: bool = field(default=False, init=False)
    """Whether a recorder was told of that intent, and not yet what came of it."""

    recording: asyncio.Lock = field(factory=asyncio.Lock, init=False)
    """Held while recorders are told: what came of an attempt is told after its intent."""

    def __attrs_post_init__(self) -> None:
        """Build the request; a `ConfigError` says what can't be sent."""
        self.request = self._build_request()

    @abstractmethod
    def _build_request(self) -> Request[Any]: ...

    @property
    @abstractmethod
    def operation_class(self) -> type[OperationT]:
        """The class of the operation's handle."""

    @abstractmethod
    async def prepare(self, transport: Transport, run_ids: RunIds) -> None:
        """Read what is needed to recognize the operation, should the answer be lost."""

    @abstractmethod
    async def send(self, transport: Transport) -> Ref:
        """Send the request, and return the name of the operation that the answer names."""

    @property
    def previous_id(self) -> str | None:
        """The `requestId` of the generation before it; None for a run, or where it is unknown."""
        return None

    @property
    def dispatched_at(self) -> datetime:
        """When it was last sent, by the local clock, in UTC."""
        ago = asyncio.get_running_loop().time() - self.submission.sent_at
        return datetime.now(UTC) - timedelta(seconds=ago)

    def new_intent(self, transport: Transport, run_ids: RunIds) -> Intent:
        """Return the intent of an attempt that is made now."""
        now = asyncio.get_running_loop().time()
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
            **self._seen_before(run_ids, now),
        )
        return self.intent

    @abstractmethod
    def _seen_before(self, run_ids: RunIds, now: float) -> dict[str, Any]:
        """Return the fields of an intent that say what was there before."""


@define(eq=False, kw_only=True)
class RunDispatch(Dispatch[RunOperation]):
    """The dispatch of a run. Its operation is recognized in the list of runs, by its higher id.

    So the highest id must be known before it: each client reads the project's latest run before
    its first dispatch there. Ids that were stored, or seen while older runs were polled, do not
    show which run is the latest.
    """

    kind: ClassVar[Literal["run", "generation"]] = "run"

    @property
    def operation_class(self) -> type[RunOperation]:
        """The class of the operation's handle."""
        return RunOperation

    def _build_request(self) -> Request[DispatchedRun]:
        body = {"config": self.config, "siteUrl": self.site_url}
        return Endpoints.RUN_FEATURE.request(project=self.project, feature=self.feature, body=body)

    async def prepare(self, transport: Transport, run_ids: RunIds) -> None:
        """Read the project's latest runs, where it is not known which one is the latest."""
        loop = asyncio.get_running_loop()

        def is_needed() -> bool:
            now = loop.time()
            has_clock = transport.clock.at(now) is not None
            return run_ids.needs_list(self.project, now=now, has_clock=has_clock)

        if not is_needed():
            return
        async with run_ids.locks[self.project]:
            if not is_needed():  # Another dispatch has read it meanwhile.
                return
            request = Endpoints.LIST_RUNS.request(project=self.project, query={"limit": 2})
            request = evolve(request, timeout=LATEST_RUN_SECONDS)
            rows, now = None, loop.time()
            # Without it a lost answer may stay unknown, which is no reason to dispatch nothing.
            with suppress(TransportError, ResponseError):
                rows = await transport.call_page(request, retries=False)
            run_ids.note_list(self.project, rows, now=now)

    def _seen_before(self, run_ids: RunIds, now: float) -> dict[str, Any]:  # noqa: ARG002
        return {"highest_run_id": run_ids.highest(self.project)}

    async def send(self, transport: Transport) -> RunRef:
        """Send the request, and return the name of the run."""
        answer: DispatchedRun = await transport.call(self.request, submission=self.submission)
        return RunRef(
            server=transport.server,
            project=self.project,
            run_id=answer.run_id,
            feature_id=answer.feature_id,
            dispatched_at=self.dispatched_at,
            traceparent=self.traceparent,
        )


@define(eq=False, kw_only=True)
class GenerationDispatch(Dispatch[GenerationOperation]):
    """The dispatch of a generation. The service shows only the feature's latest one.

    So the latest one is read before the dispatch, to recognize a new one after it.
    """

    kind: ClassVar[Literal["run", "generation"]] = "generation"

    before: Generation | None = None
    """The feature's latest generation before the dispatch; None where it is not known."""

    read_at: float = 0.0
    """When that was read, by the loop's clock."""

    def _build_request(self) -> Request[DispatchedGeneration]:
        body = {"siteUrl": self.site_url}
        return Endpoints.GENERATE_FEATURE.request(
            project=self.project, feature=self.feature, body=body
        )

    @property
    def operation_class(self) -> type[GenerationOperation]:
        """The class of the operation's handle."""
        return GenerationOperation

    @property
    def previous_id(self) -> str | None:
        """The `requestId` of the generation before it; None where it is unknown."""
        return self.before.request_id if self.before else None

    async def prepare(self, transport: Transport, run_ids: RunIds) -> None:  # noqa: ARG002
        """Read which generation is the latest.

        A feature that was never generated has a status too, without a `requestId`. After a failure,
        a 404, or an answer without any field of a status it is unknown, as it is where a generation
        is in flight that is not named. If the dispatch is then held up for more than 10 s, such as
        by a pause, the answer counts as unknown too.
        """
        request = Endpoints.GET_GENERATION_STATUS.request(
            project=self.project, feature=self.feature
        )
        try:
            latest = await transport.call(evolve(request, is_uncached=True))
        except (TransportError, ResponseError):
            latest = Generation()
        is_unnamed = latest.status == FeatureStatus.GENERATING and not latest.request_id
        self.before = None if is_unnamed or latest == Generation() else latest
        self.read_at = asyncio.get_running_loop().time()

    def _seen_before(self, run_ids: RunIds, now: float) -> dict[str, Any]:  # noqa: ARG002
        is_fresh = self.before is not None and now - self.read_at <= FRESH_SECONDS
        return {
            "is_previous_known": is_fresh,
            "previous_id": self.previous_id if is_fresh else None,
        }

    async def send(self, transport: Transport) -> GenerationRef:
        """Send the request, and return the name of the generation."""
        answer: DispatchedGeneration = await transport.call(
            self.request, submission=self.submission
        )
        return GenerationRef(
            server=transport.server,
            project=self.project,
            request_id=answer.request_id,
            feature_id=answer.feature_id,
            dispatched_at=self.dispatched_at,
            traceparent=self.traceparent,
        )
