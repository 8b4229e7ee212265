"""Starting an operation at most once, without ever losing its id.

The service has no idempotency key, and a generation costs credits. A dispatch is therefore sent
again only if it provably had no effect. A dispatch whose answer was lost is reconciled with the
service. Once sent, a dispatch completes even if its caller is cancelled: the id still reaches the
`on_dispatched` hook.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, cast

from testvibe_async._dispatch.dispatch import record
from testvibe_async._dispatch.finding import Finding, Progress
from testvibe_async._dispatch.hold import Hold
from testvibe_async._dispatch.kinds import OutdatedError
from testvibe_async._dispatch.reconcile import Reconciler
from testvibe_async._telemetry import telemetry
from testvibe_async._util import escape
from testvibe_async._util.waiting import NO_CONTEXT, wait_uncancelled
from testvibe_async._wire import KINDS, SUCCESS
from testvibe_async.errors import (
    ClientClosedError,
    DispatchUnknownError,
    NotSentError,
    ResponseError,
    VibeError,
)
from testvibe_async.events import Dispatched, DispatchUnknown, Emitter, reported_logger
from testvibe_async.operations import operation_of

if TYPE_CHECKING:
    from testvibe_async._dispatch.dispatch import Dispatch
    from testvibe_async._dispatch.finding import Known
    from testvibe_async._telemetry import Attribute
    from testvibe_async.intents import Intent, Recorder
    from testvibe_async.operations import (
        ClientParts,
        GenerationOperation,
        Operation,
        RunOperation,
    )
    from testvibe_async.refs import Ref

OperationT = TypeVar("OperationT", bound="Operation[Any]")

OUTAGE_TRIES = 3
"""Number of attempts of a dispatch that fails as in an outage, although reads are answered."""

CLOSE_SECONDS = 10.0
"""Seconds that a client or a batch that ends waits for the answers to sent dispatches."""

WITHDRAW_SECONDS = 1.0
"""Seconds that a cancelled caller waits until its unsent dispatch is recorded as such."""


class Dispatcher:
    """Sends the dispatches of one client, each in a task of its own."""

    def __init__(
        self, parts: ClientParts, hooks: Emitter, recorder: Recorder | None = None
    ) -> None:
        self._parts = parts
        self._recorders = () if recorder is None else (recorder,)
        self._transport = parts.transport
        self._hooks = hooks
        self._reconciler = Reconciler(parts)
        self.hold: Hold = Hold(parts.transport, max_outage=parts.poller.max_outage)
        """Holds dispatches back while the service is away."""
        self._under_way: dict[asyncio.Task[Any], Dispatch[Any]] = {}
        self._is_closing = False
        self._close_deadline = 0.0

    def recorders_with(self, recorder: Recorder | None) -> tuple[Recorder, ...]:
        """Return the client's recorder and the recorder of one dispatch, where they exist."""
        return self._recorders if recorder is None else (*self._recorders, recorder)

    async def dispatch(self, dispatch: Dispatch[OperationT]) -> OperationT:
        """Start an operation. A cancelled caller stops the dispatch only if nothing was sent.

        Args:
            dispatch: The dispatch. It may be used again once this call has ended.

        Raises:
            ConflictError: The state of the feature does not allow the dispatch.
            DispatchUnknownError: It is unknown whether the dispatch took effect.
            NotSentError: The dispatch was withdrawn, or the service could not be reached.
            ClientClosedError: The client is closed.
        """
        async with dispatch.gate or NO_CONTEXT:
            if self._is_closing:
                raise ClientClosedError
            self._transport.check_wanted(dispatch.request, dispatch)
            # A task of its own, since the caller may be cancelled at any moment, and the id must
            # not be lost.
            task, ended = self._begin(dispatch)
            try:
                # Awaiting the task would cancel it with the caller; `asyncio.wait` costs twice as
                # much.
                await ended
            except asyncio.CancelledError:
                _withdraw(task, dispatch)
                task.add_done_callback(_log_orphan)
                if dispatch.progress is Progress.PENDING:
                    # Else a store that closes next would keep the intent of what was never sent.
                    until = asyncio.get_running_loop().time() + WITHDRAW_SECONDS
                    await wait_uncancelled([task], until=until)
                raise
        if task.cancelled() and self._is_closing:
            # Before it was sent, unless its recorder was slow to store a dispatched operation.
            is_dispatched = dispatch.progress is Progress.DISPATCHED
            raise ClientClosedError(ref=dispatch.ref if is_dispatched else None)
        result = task.result()
        if isinstance(result, DispatchUnknownError):
            raise result
        return result

    def _begin(
        self, dispatch: Dispatch[OperationT]
    ) -> tuple[asyncio.Task[OperationT | DispatchUnknownError], asyncio.Future[None]]:
        """Start the task of a dispatch; return it, and a future that is done at its end."""
        dispatch.begin()
        start = self._trace if telemetry().is_recording else self._start
        task = asyncio.create_task(start(dispatch), name="testvibe_async dispatch")
        self._under_way[task] = dispatch
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def end(task: asyncio.Task[OperationT | DispatchUnknownError]) -> None:
            del self._under_way[task]
            dispatch.end()
            if not ended.done():
                ended.set_result(None)

        task.add_done_callback(end)
        return task, ended

    async def _trace(self, dispatch: Dispatch[OperationT]) -> OperationT | DispatchUnknownError:
        """Send a dispatch within its span, which continues until the end of its operation."""
        trace = telemetry().trace(f"testvibe {dispatch.kind}", _attributes(dispatch))
        if trace is None:
            return await self._start(dispatch)
        failure = "unknown whether it was dispatched"
        with trace.use():
            dispatch.traceparent = telemetry().traceparent()
            try:
                result = await self._start(dispatch)
            except BaseException as error:
                failure = f"not dispatched: {type(error).__name__}"
                raise
            else:
                if isinstance(result, DispatchUnknownError):
                    trace.add({"testvibe.reason": result.reason})
                return result
            finally:
                if dispatch.progress is not Progress.DISPATCHED:
                    trace.end(failure=failure)

    async def _start(self, dispatch: Dispatch[OperationT]) -> OperationT | DispatchUnknownError:
        """Send a dispatch, reconcile it if need be, and create the handle of its operation.

        A `DispatchUnknownError` is returned, not raised: at a shutdown of the event loop, asyncio
        logs an error that a task raises as unhandled, with a traceback.
        """
        tries_left = OUTAGE_TRIES
        while True:
            tries_left -= 1
            if not await self._is_prepared(dispatch, may_repeat=tries_left > 0):
                continue
            try:
                ref, adopted = await self._send_or_find(dispatch)
                break
            except DispatchUnknownError as error:
                self._hooks.emit(
                    DispatchUnknown(
                        error, dispatch.kind, dispatch.project, dispatch.feature, dispatch.config
                    )
                )
                return error
            except OutdatedError as error:
                left = dispatch.patience_left
                is_last = tries_left <= 0 if left is None else left < 0
                if is_last:
                    raise self._not_sent(dispatch, f"not sent: {error}") from error
            except (NotSentError, ResponseError) as error:
                is_final = dispatch.patience is None or dispatch.is_withdrawn
                if is_final or not self.hold.note_failure(error) or tries_left <= 0:
                    raise
        self._reconciler.remember(ref, dispatch.intent if adopted or dispatch.recorders else None)
        dispatch.mark_dispatched(ref)
        operation = cast("type[OperationT]", dispatch.operation_class)(
            ref,
            self._parts,
            adopted=adopted,
            sent_at=dispatch.written_at,
            previous_id=dispatch.previous_id,
        )
        # The hook comes before anything else can fail: its purpose is to store the ref.
        if self._hooks.is_enabled(Dispatched):
            self._hooks.emit(
                Dispatched(ref, adopted=adopted, feature=dispatch.feature, config=dispatch.config)
            )
        await dispatch.record(ref)
        _log_other_feature(dispatch, ref)
        return operation

    async def _is_prepared(self, dispatch: Dispatch[Any], *, may_repeat: bool) -> bool:
        """Read what a dispatch needs; return False if that is to be repeated after an outage.

        Raises:
            NotSentError, ResponseError: The service is away for too long; or only missing tests are
                to be generated, and it is unknown whether the feature has tests.
        """
        is_patient = dispatch.patience is not None
        if is_patient and self.hold.is_on:
            await self.hold.wait(dispatch)
            dispatch.renew_patience()
        failure = await dispatch.prepare()
        if is_patient and may_repeat:
            if failure is not None:
                self.hold.note_failure(failure)
            if self.hold.is_on:
                return False
        if failure is not None and dispatch.missing_only:
            if isinstance(failure, ResponseError):
                raise failure
            what = f"not sent: it is unknown whether the feature has tests ({failure.brief})"
            raise self._not_sent(dispatch, what) from failure
        return True

    async def _send_or_find(self, dispatch: Dispatch[Any]) -> tuple[Ref, bool]:
        """Send a dispatch; return its operation's ref, and True if it had to be found."""
        # Until it is reconciled: if two answers are lost at once, an operation may belong to either
        # dispatch.
        self._reconciler.pending.add(dispatch)
        try:
            try:
                return await dispatch.send(), False
            except VibeError as error:
                if dispatch.progress is not Progress.WRITTEN:
                    raise
                lost = error
            intent = dispatch.mark_lost()
            self.hold.note_failure(lost)
            if _is_accepted(lost):
                intent = dispatch.mark_accepted(intent)
            finding = await self._find(dispatch, intent)
            if finding.ref is not None:
                return finding.ref, True
        except (asyncio.CancelledError, ClientClosedError) as error:
            # A caller's cancellation does not reach this point once it was sent; a shutdown's does.
            if not dispatch.is_written:
                why = "withdrawn before it was sent"
                await dispatch.record(self._not_sent(dispatch, why))
                raise
            why = "the client was closed" if self._is_closing else "its task was cancelled"
            raise self._unknown(dispatch, f"{why} before it could be reconciled") from error
        finally:
            self._reconciler.pending.discard(dispatch)
        raise self._unknown(dispatch, _loss(lost), finding) from lost

    async def _find(self, dispatch: Dispatch[Any], intent: Intent) -> Finding:
        """Search for the operation of a lost answer; if patient, once the service is not away."""
        try:
            if dispatch.patience is not None:
                await self.hold.wait(dispatch)
            return await self._reconciler.find(intent, known=dispatch.known)
        except NotSentError as error:  # The service is away for too long.
            return Finding(why=error.brief)

    def _unknown(
        self, dispatch: Dispatch[Any], what: str, finding: Finding | None = None
    ) -> DispatchUnknownError:
        """Return the error of a dispatch that stays unknown; no other adopts its operation."""
        error = dispatch.unknown(what, finding)
        self._reconciler.keep(cast("Intent", error.intent))
        return error

    def _not_sent(self, dispatch: Dispatch[Any], what: str) -> NotSentError:
        url = self._transport.url_of(dispatch.request)
        return NotSentError(what, method=dispatch.request.method, url=url)

    async def reconcile(
        self, intent: Intent, *, known: Known | None = None, outlasts: bool = False
    ) -> RunOperation | GenerationOperation | None:
        """Find the operation of a dispatch of any process; see `Client.reconcile`.

        Args:
            intent: The dispatch.
            known: Knows the dispatches that this client never observed; None if there are none.
            outlasts: True to wait for the end of an outage, and to poll again after it.
        """
        finding = await self._reconciler.find(intent, known=known, until_expired=True)
        if outlasts and finding.is_unseen and await self.hold.outlast(intent):
            finding = await self._reconciler.find(intent, known=known, until_expired=True)
        if (ref := finding.ref) is not None:
            self._reconciler.remember(ref, intent)
            self._reconciler.forget(intent)
            operation = operation_of(ref, self._parts, adopted=True, previous_id=intent.previous_id)
            self._hooks.emit(
                Dispatched(ref, adopted=True, feature=intent.feature, config=intent.config)
            )
            await record(self.recorders_with(None), intent, ref)
            return operation
        if finding.is_nothing:
            self._reconciler.forget(intent)
            nothing = NotSentError("nothing started", method="POST", url=intent.server)
            await record(self.recorders_with(None), intent, nothing)
            return None
        raise finding.error(intent, "its answer was lost")

    async def aclose(self) -> None:
        """Cancel unsent dispatches, and wait for the answers to sent ones.

        Each has 10 s from its withdrawal, which may have come from a batch that timed out. Repeated
        and cancelled calls share one deadline.
        """
        loop = asyncio.get_running_loop()
        # A dispatch that runs this call would wait for itself: code in a caller's session may close
        # the client.
        this = asyncio.current_task()
        tasks = [task for task in self._under_way if task.get_loop() is loop and task is not this]
        if not self._is_closing:
            self._is_closing = True
            for task in tasks:
                _withdraw(task, self._under_way[task])
            last = max((self._under_way[task].withdrawn_at or 0.0 for task in tasks), default=0.0)
            self._close_deadline = last + CLOSE_SECONDS
        # A cancelled or impatient closer must not interrupt the answers either.
        try:
            await wait_uncancelled(tasks, until=self._close_deadline)
        finally:
            for task in tasks:
                task.cancel()
            await wait_uncancelled(tasks)


def _attributes(dispatch: Dispatch[Any]) -> dict[str, Attribute]:
    """Return the span attributes of a dispatch that are known before it is sent."""
    return {
        "testvibe.project": dispatch.project,
        "testvibe.feature": dispatch.feature,
        "testvibe.config": dispatch.config,
        "cicd.pipeline.task.name": str(dispatch.feature),
        "cicd.pipeline.task.type": KINDS[dispatch.kind].task_type,
    }


def _loss(error: VibeError) -> str:
    """Describe why it is unknown whether a dispatch took effect."""
    what = "it was not acknowledged" if isinstance(error, ResponseError) else "the answer was lost"
    return f"{what}: {error.brief}"


def _is_accepted(error: VibeError) -> bool:
    """Return whether a dispatch with this error provably started: its answer was a success."""
    return getattr(error, "status", None) in SUCCESS


def _withdraw(task: asyncio.Task[Any], dispatch: Dispatch[Any]) -> None:
    """Cancel a dispatch if it was not sent; otherwise let it end, but not be sent again."""
    dispatch.withdraw()
    if dispatch.progress is Progress.PENDING:
        task.cancel()


def _log_orphan(task: asyncio.Task[Operation[Any] | DispatchUnknownError]) -> None:
    """Log the result of a dispatch whose caller was cancelled: its ref, or its error."""
    if task.cancelled():
        return
    if isinstance(error := task.exception(), Exception):
        reported_logger.warning("a dispatch whose caller was cancelled failed: %s", error)
    elif error is None and not isinstance(result := task.result(), DispatchUnknownError):
        text = escape(result.ref.to_json())
        reported_logger.warning(
            "a dispatch whose caller was cancelled started an operation: %s", text
        )


def _log_other_feature(dispatch: Dispatch[Any], ref: Ref) -> None:
    """Log that the service started another feature than requested; the ref names the actual one."""
    feature_id = getattr(ref, "feature_id", None)
    if isinstance(dispatch.feature, int) and feature_id not in {None, dispatch.feature}:
        reported_logger.warning(
            "asked for feature %s, the service answered with feature %s: %s",
            dispatch.feature,
            feature_id,
            escape(ref.to_json()),
        )
