"""Starting an operation, at most once, and never losing its id.

The service knows no idempotency key, and a generation costs credits. So a dispatch is sent again
only where it provably did nothing, and one whose answer was lost is settled by looking. The POST
goes on when its caller is cancelled: the id still reaches the `on_dispatched` hook.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from attrs import frozen

from testvibe_async._http import Delivery
from testvibe_async._util.waiting import wait_uncancelled
from testvibe_async._wire import (
    GENERATE_FEATURE,
    GET_GENERATION_STATUS,
    LIST_RUNS,
    RUN_FEATURE,
)
from testvibe_async.errors import (
    ClientClosedError,
    DispatchUnknownError,
    MalformedResponseError,
    OutcomeUnknownError,
    RateLimitedError,
    ResponseError,
    ServerError,
    TransportError,
    VibeError,
)
from testvibe_async.events import Dispatched, Hooks, logger
from testvibe_async.models import (
    DEFAULT_CONFIG,
    DispatchedGeneration,
    DispatchedRun,
    Generation,
    Run,
)
from testvibe_async.operations import GenerationOperation, OperationT, RunOperation, Services
from testvibe_async.refs import GenerationRef, RunRef

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from testvibe_async._http import Transport
    from testvibe_async._wire import Request
    from testvibe_async.refs import Ref

__all__ = ["Dispatcher"]

T = TypeVar("T")

SETTLE_DELAYS = (0.0, 2.0, 5.0)
"""Seconds before each look for the work of a dispatch whose answer was lost."""

SETTLE_SECONDS = 120.0
"""How long these looks may take in all, tries and rests included."""

SETTLE_ROWS = 200
"""How many of a feature's latest runs are looked through: ours may be one of many begun at once."""

CLOCK_SLACK = timedelta(seconds=2)
"""What two HTTP dates and a timestamp, each in whole seconds, can be apart."""

FRESH_SECONDS = 10.0
"""How long before a dispatch a look may have been that is to say what was there before."""

REMEMBERED = 10_000
"""How many of a project's operations are known for dispatched here, in case an answer is lost."""

CLOSE_SECONDS = 10.0
"""How long a closing client waits for the answers to dispatches that were sent."""


class Dispatcher:
    """Dispatches for one client."""

    def __init__(self, services: Services, hooks: Hooks) -> None:
        self._services = services
        self._transport = services.transport
        self._poller = services.poller
        self._hooks = hooks
        self._under_way: dict[asyncio.Task[Any], Delivery] = {}
        self._unsettled: set[_Dispatch[Any]] = set()
        self._own_ids: defaultdict[str, deque[int | str]] = defaultdict(
            partial(deque[int | str], maxlen=REMEMBERED)
        )
        """By project, the ids of the runs and generations that were dispatched here."""
        self._is_closing = False
        self._close_deadline = 0.0

    async def run(  # noqa: PLR0913 - `Project.run_feature`'s, and the delivery
        self,
        project: str,
        feature: int | str,
        *,
        config: str | None,
        site_url: str | None,
        retry_unknown: bool,
        delivery: Delivery | None = None,
    ) -> RunOperation:
        """Dispatch a run; see `Project.run_feature`. `delivery` is told how far it has come."""
        body = {"config": config, "siteUrl": site_url}
        ours = _Dispatch(
            request=RUN_FEATURE.request(project=project, feature=feature, body=body),
            project=project,
            feature=feature,
            delivery=delivery or Delivery(),
            config=config,
        )

        async def dispatch() -> RunOperation:
            find = partial(self._find_run, ours)
            answer, is_found = await self._send(ours, find, retry_unknown=retry_unknown)
            self._own_ids[project].append(answer.run_id)
            ref = RunRef(
                server=self._transport.server,
                project=project,
                run_id=answer.run_id,
                feature_id=answer.feature_id,
                dispatched_at=_local_time(ours.delivery.sent_time),
            )
            return self._begun(RunOperation, ref, ours, is_found=is_found)

        return await self._shielded(dispatch, ours)

    async def generation(
        self,
        project: str,
        feature: int | str,
        *,
        site_url: str | None,
        delivery: Delivery | None = None,
    ) -> GenerationOperation:
        """Dispatch a generation; see `Project.generate_feature` and `run`."""
        body = {"siteUrl": site_url}
        ours = _Dispatch(
            request=GENERATE_FEATURE.request(project=project, feature=feature, body=body),
            project=project,
            feature=feature,
            delivery=delivery or Delivery(),
        )

        async def dispatch() -> GenerationOperation:
            before = await self._latest_generation(project, feature)
            looked = asyncio.get_running_loop().time()
            find = partial(self._find_generation, ours, before, looked=looked)
            answer, is_found = await self._send(ours, find, retry_unknown=False)
            self._own_ids[project].append(answer.request_id)
            ref = GenerationRef(
                server=self._transport.server,
                project=project,
                request_id=answer.request_id,
                feature_id=answer.feature_id,
                dispatched_at=_local_time(ours.delivery.sent_time),
            )
            return self._begun(GenerationOperation, ref, ours, is_found=is_found)

        return await self._shielded(dispatch, ours)

    def _begun(
        self, kind: type[OperationT], ref: Ref, ours: _Dispatch[Any], *, is_found: bool
    ) -> OperationT:
        """Make the handle of a new operation, and tell the hook before anything can go wrong."""
        ours.delivery.begun = ref
        operation = kind(ref, self._services, adopted=is_found, is_dispatched=True)
        if self._hooks.is_enabled(Dispatched):
            self._hooks.emit(
                Dispatched(ref, adopted=is_found, feature=ours.feature, config=ours.config)
            )
        return operation

    async def _shielded(
        self, dispatch: Callable[[], Coroutine[Any, Any, T]], ours: _Dispatch[Any]
    ) -> T:
        """Run a dispatch that a cancelled caller stops only while nothing was sent."""
        if self._is_closing:
            raise ClientClosedError
        delivery = ours.delivery
        self._transport.check_wanted(ours.request, delivery)
        delivery.is_under_way, delivery.may_have_arrived = True, False
        task = asyncio.create_task(dispatch(), name="testvibe_async dispatch")
        self._under_way[task] = delivery
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def end(task: asyncio.Task[T]) -> None:
            del self._under_way[task]
            if not over.done():
                over.set_result(None)

        task.add_done_callback(end)
        try:
            await over  # It costs half of what asyncio.wait does.
        except asyncio.CancelledError:
            _abandon(task, delivery)
            task.add_done_callback(_report_abandoned)
            raise
        finally:
            delivery.is_under_way = False
        if task.cancelled() and self._is_closing:
            raise ClientClosedError
        return task.result()

    async def _send(
        self,
        ours: _Dispatch[T],
        find: Callable[[], Awaitable[T | None]],
        *,
        retry_unknown: bool,
    ) -> tuple[T, bool]:
        """Send a dispatch; return the answer, and whether it had to be found by looking."""
        delivery = ours.delivery
        self._unsettled.add(ours)
        try:
            try:
                return await self._transport.call(ours.request, delivery=delivery), False
            except Exception as error:
                if not _is_answer_lost(error, delivery):
                    raise
                lost = error
            if (found := await _settle(find)) is not None:
                return found, True
        except asyncio.CancelledError as error:
            if not delivery.may_have_arrived:
                raise
            why = "the client was closed" if self._is_closing else "its task was cancelled"
            what = f"{why} before that could be settled"
            raise ours.unknown(what, self._transport) from error
        finally:
            self._unsettled.discard(ours)
        if retry_unknown and not delivery.is_abandoned:
            try:
                return await self._send(ours, find, retry_unknown=False)
            except DispatchUnknownError:
                raise
            except (Exception, asyncio.CancelledError) as error:
                what = f"the answer was lost: {lost}; and the second try failed: {error!r}"
                raise ours.unknown(what, self._transport) from error
        raise ours.unknown(f"the answer was lost: {lost}", self._transport) from lost

    def _may_be_anothers(self, found: Run | Generation, ours: _Dispatch[Any]) -> bool:
        """Say whether another dispatch that is not settled yet may have begun this."""
        return any(
            other.delivery.may_have_arrived and other.may_have_begun(found)
            for other in self._unsettled
            if other is not ours
            and (other.project, other.request.endpoint) == (ours.project, ours.request.endpoint)
            and not (ours.asked_for_the_site_of(found) and not other.asked_for_the_site_of(found))
        )

    async def _latest_generation(self, project: str, feature: int | str) -> Generation | None:
        """Look which generation is the latest before ours, to tell ours from it later.

        A feature that was never generated has a status too, without a `requestId`. None where
        nobody told: a failure, a 404, or an answer that holds nothing of a generation's status.
        """
        request = GET_GENERATION_STATUS.request(project=project, feature=feature)
        try:
            latest = await self._transport.call(request)
        except (TransportError, ResponseError):
            return None
        return None if latest == Generation() else latest

    async def _find_generation(
        self, ours: _Dispatch[DispatchedGeneration], before: Generation | None, *, looked: float
    ) -> DispatchedGeneration | None:
        """Find the generation that was not there before; none where nobody knows what was."""
        if before is None or ours.delivery.sent_time - looked > FRESH_SECONDS:
            return None
        request = GET_GENERATION_STATUS.request(project=ours.project, feature=ours.feature)
        latest = await self._transport.call(request)
        ref = GenerationRef.of(latest, server=self._transport.server, project=ours.project)
        if ref is None or ref.request_id in {before.request_id, *self._own_ids[ours.project]}:
            return None
        if self._poller.knows(ref) or self._may_be_anothers(latest, ours):
            return None
        return DispatchedGeneration(ref.request_id, ref.feature_id)

    async def _find_run(self, ours: _Dispatch[DispatchedRun]) -> DispatchedRun | None:
        """Find the one run of the feature that began since, and that this client did not know."""
        query = {"feature": ours.feature, "limit": SETTLE_ROWS}
        request = LIST_RUNS.request(project=ours.project, query=query)
        rows = await self._transport.call(request)
        sent_at = self._transport.service_time(ours.delivery.sent_time)
        if sent_at is None:
            return None
        own_ids = set(self._own_ids[ours.project])
        found = [
            row
            for row in rows
            if row.created_at is not None
            and row.created_at >= sent_at - CLOCK_SLACK
            and ours.may_have_begun(row)
            and row.run_id not in own_ids
            and not self._poller.knows(self._ref_of(row, ours.project))
        ]
        if len(found) != 1 or self._may_be_anothers(found[0], ours):
            return None
        return DispatchedRun(found[0].run_id, found[0].feature_id)

    def _ref_of(self, row: Run, project: str) -> RunRef:
        return RunRef(server=self._transport.server, project=project, run_id=row.run_id)

    async def aclose(self) -> None:
        """Cancel what was not sent, and wait up to 10 s for the answers to what was.

        Repeated and cancelled calls share one deadline.
        """
        loop = asyncio.get_running_loop()
        # A dispatch may itself be what closes the client, by something in a session passed in.
        this = asyncio.current_task()
        tasks = [task for task in self._under_way if task.get_loop() is loop and task is not this]
        if not self._is_closing:
            self._is_closing = True
            self._close_deadline = loop.time() + CLOSE_SECONDS
            for task in tasks:
                _abandon(task, self._under_way[task])
        try:
            await wait_uncancelled(tasks, until=self._close_deadline)
        finally:
            for task in tasks:
                task.cancel()
            await wait_uncancelled(tasks)


@frozen(eq=False)
class _Dispatch(Generic[T]):
    """A dispatch that must not happen twice."""

    request: Request[T]
    project: str
    feature: int | str
    delivery: Delivery
    config: str | None = None

    def may_have_begun(self, found: Run | Generation) -> bool:
        """Say whether this may be what it began, by feature, configuration and site."""
        if isinstance(found, Generation):
            return _is_of(found, self.feature)
        site = (self.request.body or {}).get("siteUrl", found.site_url)
        return (
            _is_of(found, self.feature)
            and found.config in {None, self.config or DEFAULT_CONFIG}
            and found.site_url in {None, site}
        )

    def asked_for_the_site_of(self, found: Run | Generation) -> bool:
        """Say whether it asked for the very site that this tells of."""
        site = (self.request.body or {}).get("siteUrl")
        return isinstance(found, Run) and site is not None and found.site_url == site

    def unknown(self, what: str, transport: Transport) -> DispatchUnknownError:
        """Return the error that says that nobody knows whether it took effect."""
        look_at = "list_runs" if self.request.endpoint is RUN_FEATURE else "get_generation_status"
        return DispatchUnknownError(
            f"{what}; it may have taken effect, so look at {look_at} before dispatching again",
            method=self.request.method,
            url=transport.url_of(self.request),
            project=self.project,
            feature=self.feature,
        )


async def _settle(find: Callable[[], Awaitable[T | None]]) -> T | None:
    """Look a few times for what a lost answer would have told."""
    with suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_SECONDS):
            for delay in SETTLE_DELAYS:
                await asyncio.sleep(delay)
                try:
                    if (found := await find()) is not None:
                        return found
                except (TransportError, ServerError, RateLimitedError):
                    continue
                except ResponseError:
                    return None
                except Exception as error:  # noqa: BLE001 - such as a session's own
                    logger.warning("looking for a dispatch failed in an unforeseen way: %r", error)
                    return None
    return None


def _is_answer_lost(error: Exception, delivery: Delivery) -> bool:
    """Say whether a dispatch that failed like this may have taken effect all the same."""
    if isinstance(error, VibeError):
        return isinstance(error, OutcomeUnknownError | ServerError | MalformedResponseError)
    return delivery.may_have_arrived


def _is_of(row: Run | Generation, feature: int | str) -> bool:
    """Say whether it is of a feature, named as it may be: by id, or by name in any case."""
    text = str(feature)
    if text.isdecimal():
        return text == str(row.feature_id)
    return text.casefold() == (row.feature_name or "").casefold()


def _local_time(at: float) -> datetime:
    """Return what the local clock said at an instant of the loop's clock, in UTC."""
    return datetime.now(UTC) - timedelta(seconds=asyncio.get_running_loop().time() - at)


def _abandon(task: asyncio.Task[Any], delivery: Delivery) -> None:
    """Let a dispatch come to its end if it may have arrived, and not be sent again in any case."""
    delivery.is_abandoned = True
    if not delivery.may_have_arrived:
        task.cancel()


def _report_abandoned(task: asyncio.Task[Any]) -> None:
    """Leave a trace of a dispatch that failed after its caller had gone."""
    if task.cancelled():
        return
    error = task.exception()
    if isinstance(error, Exception):
        logger.warning("a dispatch whose caller was cancelled failed: %s", error)
