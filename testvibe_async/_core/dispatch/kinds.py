"""The two kinds of dispatches: what is sent, and what must be known before.

What is known before lets the operation be recognized if the answer is lost.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, cast

from attrs import define, evolve, field

from testvibe_async._core.dispatch.candidates import BEFORE_SECONDS
from testvibe_async._core.dispatch.dispatch import Dispatch
from testvibe_async._core.http import Moment, Outlook
from testvibe_async._core.util import plain
from testvibe_async._core.util.waiting import NO_CONTEXT
from testvibe_async._core.wire import Endpoints
from testvibe_async.errors import (
    ConfigError,
    NotFoundError,
    ResponseError,
    TransportError,
    UnauthorizedError,
    VibeError,
)
from testvibe_async.models import DRAFT, FeatureStatus, Generation
from testvibe_async.operations import GenerationOperation, Operation, RunOperation

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

    from testvibe_async._core.dispatch.newest import Newest
    from testvibe_async._core.wire import Request
    from testvibe_async.errors import KindName
    from testvibe_async.models import DispatchedGeneration, DispatchedRun
    from testvibe_async.refs import Ref, RunRef

NEWEST_SECONDS = 2.0
"""Maximum seconds to wait for the project's newest run before a dispatch."""


@define(eq=False, kw_only=True)
class RunDispatch(Dispatch[RunOperation]):
    """The dispatch of a run. Its operation is recognized by its id, higher than all before."""

    kind: ClassVar[KindName] = "run"
    operation_class: ClassVar[type[Operation[Any]]] = RunOperation

    newest: Newest
    """The newest run of the project."""

    _sent: Moment | None = field(default=None, init=False)
    """The moment right before the request of the last attempt is written."""

    def _build_request(self) -> Request[DispatchedRun]:
        body = {"config": self.config, "siteUrl": self.site_url}
        return Endpoints.RUN_FEATURE.request(project=self.project, feature=self.feature, body=body)

    async def prepare(self) -> VibeError | None:
        """Read the project's newest run, if it is unknown which one that is."""
        newest, transport = self.newest, self.parts.transport
        if not newest.needs_list():
            return None
        async with newest.lock:
            if not newest.needs_list():  # Another dispatch has read it meanwhile.
                return None
            request = Endpoints.LIST_RUNS.request(project=self.project, query={"limit": 2})
            request = evolve(request, timeout=NEWEST_SECONDS)
            rows, began = None, Moment.now()
            try:
                rows = await transport.call_page(request, retries=False)
            except (TransportError, ResponseError) as error:
                outlook = transport.availability.judge(error, request.endpoint.name)
                # A refusal of the key passes, unless the next poll confirms it.
                is_passing = isinstance(error, UnauthorizedError)
                if is_passing or outlook in {Outlook.AWAY, Outlook.BUSY}:
                    newest.note_failure()
                    return error
            newest.note_list(rows, at=began)
            return None

    def note_started(self, ref: Ref) -> None:
        """Note the run that the dispatch started: runs of later dispatches have higher ids."""
        assert self._sent is not None
        self.newest.note_dispatched(cast("RunRef", ref).run_id, sent=self._sent)

    def _before(self) -> dict[str, Any]:
        self._sent = Moment.now()
        return {"before": self.newest.id, "is_before_known": self.newest.is_known}

    @asynccontextmanager
    async def _unlisted(self) -> AsyncGenerator[None]:
        """Hold a slot for a dispatch that no list would show.

        Only reads by id find it, so that its id must be among the next ones. Therefore, only a few
        dispatches are under way at once, and one alone as long as no id is known.
        """
        newest = self.newest
        async with newest.unlisted:
            async with newest.lock:
                if newest.id is None:
                    yield
                    return
            yield

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Limit the dispatches that no list would show, if another process may look for them."""
        return NO_CONTEXT if self.newest.is_listed or not self.record.is_keyed else self._unlisted()


class TestsMadeError(VibeError):
    """Nothing was sent: the feature has tests, and only missing ones were to be generated."""

    def __init__(self, latest: Generation) -> None:
        super().__init__("the feature has tests by now")
        self.latest = latest
        """The generation that made them."""


class OutdatedError(VibeError):
    """Nothing was sent: the read that allows the dispatch is too old."""

    def __init__(self) -> None:
        super().__init__(f"whether the feature has tests was read over {BEFORE_SECONDS:g} s ago")


@define(eq=False, kw_only=True)
class GenerationDispatch(Dispatch[GenerationOperation]):
    """The dispatch of a generation. The service shows only the feature's latest generation.

    The latest generation is therefore read before the dispatch, to recognize a new one after it.
    """

    kind: ClassVar[KindName] = "generation"
    operation_class: ClassVar[type[Operation[Any]]] = GenerationOperation

    latest: Generation | None = None
    """The feature's latest generation before the dispatch; None if it is unknown."""

    read_at: Moment | None = None
    """The moment when `latest` was read."""

    def _build_request(self) -> Request[DispatchedGeneration]:
        body = {"siteUrl": self.site_url}
        return Endpoints.GENERATE_FEATURE.request(
            project=self.project, feature=self.feature, body=body
        )

    @property
    def previous_id(self) -> str | None:
        """The `requestId` of the previous generation; None if it is unknown."""
        return self.latest.request_id if self.latest else None

    async def prepare(self) -> VibeError | None:
        """Read the feature's latest generation.

        A feature that was never generated has a status too, without a `requestId`. The latest
        generation is unknown after a failure, a 404, or an answer without any field of a status. It
        is also unknown if an unnamed generation is in flight. If the dispatch is then delayed for
        more than 10 s, such as by a pause, the answer counts as unknown too.

        Raises:
            TestsMadeError: The feature has tests, and only missing ones are to be generated.
            ConfigError: The same, and the service's words do not say whether it has tests.
        """
        request = Endpoints.GET_GENERATION_STATUS.request(
            project=self.project, feature=self.feature
        )
        latest, failure = Generation(), None
        try:
            latest = await self.parts.transport.call(evolve(request, is_uncached=True))
            if self.missing_only:
                await self._require_missing(latest)
        except (TransportError, ResponseError) as error:
            is_never_generated = isinstance(error, NotFoundError) and error.code is not None
            failure = None if is_never_generated else error
        is_unnamed = latest.status == FeatureStatus.GENERATING and not latest.request_id
        self.latest = None if is_unnamed or latest == Generation() else latest
        self.read_at = Moment.now()
        return failure

    async def _require_missing(self, latest: Generation) -> None:
        """Check that the feature has no tests, by its latest generation, or else by its status.

        For a feature that was never generated, the service may show no field of a generation.
        """
        if latest.is_success:
            raise TestsMadeError(latest)
        if latest.is_failure or latest.status == FeatureStatus.GENERATING:
            return
        feature, status = self.feature, latest.status
        if status is None and latest.request_id is None and latest.overall_conclusion is None:
            request = Endpoints.GET_FEATURE.request(project=self.project, feature=feature)
            row = await self.parts.transport.call(evolve(request, is_uncached=True))
            if row.has_tests:
                raise TestsMadeError(evolve(latest, feature_id=row.id, feature_status=row.status))
            if row.needs_tests:
                return
            status = row.status
        elif status is not None and status.casefold() == DRAFT:
            return
        raise ConfigError(
            f"it is unknown whether feature {feature!r} has tests: its status is "
            f"{plain(str(status))!r}, which is not documented; to generate it in any case, leave "
            "out missing_only"
        )

    async def before_writing(self) -> None:
        """Check that no tests can have been made meanwhile, if only missing ones are wanted.

        Raises:
            OutdatedError: Some can: a pause delayed the request.
            VibeError: As for any dispatch.
        """
        if self.missing_only and not self._is_fresh:
            raise OutdatedError
        await super().before_writing()

    @property
    def _is_fresh(self) -> bool:
        """True if the latest generation was read just now."""
        return self.read_at is not None and not self.read_at.is_older_than(BEFORE_SECONDS)

    def note_started(self, ref: Ref) -> None:
        """Do nothing: the next dispatch reads the latest generation anew."""

    def _before(self) -> dict[str, Any]:
        if self.latest is None or not self._is_fresh:
            return {}
        before_at = self.latest.updated_at
        return {"before": self.previous_id, "before_at": before_at, "is_before_known": True}
