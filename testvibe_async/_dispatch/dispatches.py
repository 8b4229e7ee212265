"""The two kinds of dispatch: of a run, and of a generation.

Each says what is sent, which operation the answer names, and how to recognize the operation if the
answer is lost. They differ in nothing else: `dispatcher` and `reconcile` treat both alike.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from attrs import define, field

from testvibe_async._http import Submission
from testvibe_async._wire import Endpoints
from testvibe_async.errors import ResponseError, TransportError
from testvibe_async.models import DEFAULT_CONFIG, Generation, Run
from testvibe_async.operations import GenerationOperation, Operation, RunOperation
from testvibe_async.refs import GenerationRef, RunRef

if TYPE_CHECKING:
    from testvibe_async._http import Transport
    from testvibe_async._wire import Request
    from testvibe_async.models import DispatchedGeneration, DispatchedRun, Listing
    from testvibe_async.refs import Ref

__all__ = ["Dispatch", "GenerationDispatch", "RunDispatch"]

RECONCILE_ROWS = 200
"""How many of a feature's latest runs are read: the lost one may be one of many started at once."""

CLOCK_SLACK = timedelta(seconds=2)
"""How far two HTTP dates and a timestamp, each in whole seconds, can be apart."""

FRESH_SECONDS = 10.0
"""How long before the dispatch the feature's latest generation may have been read, at most."""

OperationT = TypeVar("OperationT", bound="Operation[Any]")
SnapshotT = TypeVar("SnapshotT", bound=Run | Generation)


@define(eq=False, kw_only=True)
class Dispatch(ABC, Generic[SnapshotT, OperationT]):
    """One dispatch, which must not happen twice."""

    kind: ClassVar[Literal["run", "generation"]]
    """The kind of the operation."""

    where_to_look: ClassVar[str]
    """What shows whether it took effect, in words for programs, commands and tools alike."""

    project: str
    feature: int | str
    site_url: str | None = None
    config: str | None = None
    submission: Submission = field(factory=Submission)
    """How far it has come."""

    request: Request[Any] = field(init=False)
    """The request that starts the operation."""

    def __attrs_post_init__(self) -> None:
        """Build the request; a `ConfigError` says what can't be sent."""
        self.request = self._build_request()

    @abstractmethod
    def _build_request(self) -> Request[Any]: ...

    @property
    @abstractmethod
    def operation_class(self) -> type[OperationT]:
        """The class of the operation's handle."""

    async def prepare(self, transport: Transport) -> None:
        """Read what is needed to recognize the operation, should the answer be lost."""

    @abstractmethod
    async def send(self, transport: Transport) -> Ref:
        """Send the request, and return the name of the operation that the answer names."""

    @abstractmethod
    async def candidates(self, transport: Transport) -> list[SnapshotT]:
        """Return what the service shows that this dispatch may have started."""

    @abstractmethod
    def ref_of(self, candidate: SnapshotT, *, server: str) -> Ref | None:
        """Return a candidate's name; None where it does not say it."""

    def may_have_started(self, candidate: SnapshotT) -> bool:
        """Say whether this dispatch may have started an operation that another one found."""
        text = str(self.feature)
        # The service takes a name of digits alone for an id.
        if text.isdecimal():
            return text == str(candidate.feature_id)
        return text.casefold() == (candidate.feature_name or "").casefold()

    def asked_for_site_of(self, candidate: SnapshotT) -> bool:  # noqa: ARG002 - only a run has a site
        """Say whether this dispatch named the very site that a candidate has."""
        return False

    @property
    def previous_id(self) -> str | None:
        """The `requestId` of the generation before it; None for a run, or where it is unknown."""
        return None

    @property
    def dispatched_at(self) -> datetime:
        """When it was last sent, by the local clock, in UTC."""
        ago = asyncio.get_running_loop().time() - self.submission.sent_at
        return datetime.now(UTC) - timedelta(seconds=ago)


@define(eq=False, kw_only=True)
class RunDispatch(Dispatch[Run, RunOperation]):
    """The dispatch of a run. Its operation is recognized in the list of runs."""

    kind: ClassVar[Literal["run", "generation"]] = "run"
    where_to_look: ClassVar[str] = "the feature's runs"

    @property
    def operation_class(self) -> type[RunOperation]:
        """The class of the operation's handle."""
        return RunOperation

    def _build_request(self) -> Request[DispatchedRun]:
        body = {"config": self.config, "siteUrl": self.site_url}
        return Endpoints.RUN_FEATURE.request(project=self.project, feature=self.feature, body=body)

    async def send(self, transport: Transport) -> RunRef:
        """Send the request, and return the name of the run."""
        answer: DispatchedRun = await transport.call(self.request, submission=self.submission)
        return self._ref(transport.server, answer.run_id, answer.feature_id)

    async def candidates(self, transport: Transport) -> list[Run]:
        """Return the runs of the feature that were created since it was sent."""
        query = {"feature": self.feature, "limit": RECONCILE_ROWS}
        rows = await transport.call(Endpoints.LIST_RUNS.request(project=self.project, query=query))
        # By the service's clock, since rows have its times, and this machine's may be wrong.
        sent_at = transport.clock.at(self.submission.sent_at)
        if sent_at is None or not _has_all_since(sent_at - CLOCK_SLACK, rows):
            return []
        return [
            row
            for row in rows
            if row.created_at is not None
            and row.created_at >= sent_at - CLOCK_SLACK
            and self.may_have_started(row)
        ]

    def ref_of(self, candidate: Run, *, server: str) -> RunRef:
        """Return the name of a run."""
        return self._ref(server, candidate.run_id, candidate.feature_id)

    def _ref(self, server: str, run_id: int, feature_id: int | None) -> RunRef:
        return RunRef(
            server=server,
            project=self.project,
            run_id=run_id,
            feature_id=feature_id,
            dispatched_at=self.dispatched_at,
        )

    def may_have_started(self, candidate: Run) -> bool:
        """Compare feature, configuration and site, as far as each is known."""
        return (
            super().may_have_started(candidate)
            and candidate.config in {None, self.config or DEFAULT_CONFIG}
            and (self.site_url is None or candidate.site_url in {None, self.site_url})
        )

    def asked_for_site_of(self, candidate: Run) -> bool:
        """Say whether it named the very site that the run has."""
        return self.site_url is not None and candidate.site_url == self.site_url


def _has_all_since(since: datetime, rows: Listing[Run]) -> bool:
    """Say whether a list has all runs since an instant, and each says when it was created.

    Of a list that was cut, or whose order is unknown, one candidate may be seen and another not:
    then the one would be adopted that is not ours.
    """
    times = [row.created_at for row in rows if row.created_at is not None]
    if len(times) < len(rows):
        return False
    if rows.is_complete and len(rows) < RECONCILE_ROWS:
        return True
    is_newest_first = times == sorted(times, reverse=True)
    return is_newest_first and bool(times) and times[-1] < since


@define(eq=False, kw_only=True)
class GenerationDispatch(Dispatch[Generation, GenerationOperation]):
    """The dispatch of a generation. The service shows only the feature's latest one.

    So the latest one is read before the dispatch, to recognize a new one after it.
    """

    kind: ClassVar[Literal["run", "generation"]] = "generation"
    where_to_look: ClassVar[str] = "the status of the feature's generation"

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

    @property
    def _status_request(self) -> Request[Generation]:
        return Endpoints.GET_GENERATION_STATUS.request(project=self.project, feature=self.feature)

    async def prepare(self, transport: Transport) -> None:
        """Read which generation is the latest.

        A feature that was never generated has a status too, without a `requestId`. After a failure,
        a 404, or an answer without any field of a status it is unknown. If the dispatch is then
        held up for more than 10 s, such as by a pause, the answer counts as unknown too.
        """
        try:
            latest = await transport.call(self._status_request)
        except (TransportError, ResponseError):
            latest = Generation()
        self.before = None if latest == Generation() else latest
        self.read_at = asyncio.get_running_loop().time()

    async def send(self, transport: Transport) -> GenerationRef:
        """Send the request, and return the name of the generation."""
        answer: DispatchedGeneration = await transport.call(
            self.request, submission=self.submission
        )
        return self._ref(transport.server, answer.request_id, answer.feature_id)

    async def candidates(self, transport: Transport) -> list[Generation]:
        """Return the latest generation if it is another than before; none where that is unknown."""
        if self.before is None or self.submission.sent_at - self.read_at > FRESH_SECONDS:
            return []
        latest = await transport.call(self._status_request)
        return [] if latest.request_id == self.before.request_id else [latest]

    def ref_of(self, candidate: Generation, *, server: str) -> GenerationRef | None:
        """Return the name of a generation; None where it has no `requestId` or feature."""
        if not candidate.request_id or candidate.feature_id is None:
            return None
        return self._ref(server, candidate.request_id, candidate.feature_id)

    def _ref(self, server: str, request_id: str, feature_id: int) -> GenerationRef:
        return GenerationRef(
            server=server,
            project=self.project,
            request_id=request_id,
            feature_id=feature_id,
            dispatched_at=self.dispatched_at,
        )
