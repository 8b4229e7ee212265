"""Dispatches of one client, each in a task of its own.

Once sent, a dispatch completes even if its caller is cancelled: the id still reaches the ledger and
the `on_dispatched` hook. `machine` decides what each dispatch does.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, Any, TypeVar, assert_never, cast

from attrs import evolve

from testvibe_async._core.dispatch.kinds import GenerationDispatch, RunDispatch
from testvibe_async._core.dispatch.machine import Machine
from testvibe_async._core.dispatch.newest import Newest
from testvibe_async._core.dispatch.record import Record
from testvibe_async._core.telemetry import telemetry
from testvibe_async._core.util import escape
from testvibe_async._core.util.waiting import wait_uncancelled
from testvibe_async._core.wire import KINDS
from testvibe_async.errors import ClientClosedError, DispatchUnknownError, NotSentError
from testvibe_async.events import Dispatched, DispatchUnknown, Emitter, reported_logger

if TYPE_CHECKING:
    from testvibe_async._core.dispatch.dispatch import Dispatch
    from testvibe_async._core.telemetry import Attribute
    from testvibe_async.errors import KindName, VibeError
    from testvibe_async.ledger import Ledger
    from testvibe_async.models import Snapshot
    from testvibe_async.operations import ClientParts, Operation
    from testvibe_async.refs import Ref

OperationT = TypeVar("OperationT", bound="Operation[Any]")

CLOSE_SECONDS = 10.0
"""Seconds that a client or a batch that ends waits for the answers to sent dispatches."""

WITHDRAW_SECONDS = 1.0
"""Seconds that a cancelled caller waits until its unsent dispatch is recorded as such."""


class Dispatcher:
    """Makes and sends the dispatches of one client."""

    def __init__(self, parts: ClientParts, hooks: Emitter, ledger: Ledger) -> None:
        self.parts: ClientParts = parts
        self.ledger: Ledger = ledger
        """Keeps what is dispatched."""
        self._hooks = hooks
        self._machine = Machine(parts)
        self._newest: defaultdict[str, Newest] = defaultdict(Newest)
        """The newest run of each project."""
        self._under_way: dict[asyncio.Task[Any], Dispatch[Any]] = {}
        self._keeping: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self._close_deadline = 0.0

    def new_key(self) -> str:
        """Return a key for a dispatch or a batch to which the caller gave none."""
        return token_hex(16)

    def new_record(self, key: str | None) -> Record:
        """Return the record of a single dispatch, with the caller's key or a new one."""
        return Record(ledger=self.ledger, key=key or self.new_key(), is_keyed=key is not None)

    def new(self, kind: KindName, record: Record, *, project: str, **values: Any) -> Dispatch[Any]:  # noqa: ANN401 - the fields of a dispatch
        """Return a dispatch; sends nothing.

        Args:
            kind: The kind of the operation.
            record: The rows of the dispatch.
            project: The project's id.
            values: Further fields of a `Dispatch`.
        """
        common: dict[str, Any] = {"parts": self.parts, "record": record, "project": project}
        common |= values
        match kind:
            case "run":
                return RunDispatch(newest=self._newest[project], **common)
            case "generation":
                return GenerationDispatch(**common)
            case _:
                assert_never(kind)

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
        if self._is_closing:
            raise ClientClosedError
        self.parts.transport.check_wanted(dispatch.request, dispatch)
        # A task of its own, since the caller may be cancelled at any moment, and the id must not be
        # lost.
        task, ended = self._begin(dispatch)
        try:
            # Awaiting the task would cancel it with the caller; `asyncio.wait` costs twice as much.
            await ended
        except asyncio.CancelledError:
            may_be_cancelled = dispatch.may_be_cancelled
            _withdraw(task, dispatch)
            task.add_done_callback(_log_orphan)
            if may_be_cancelled:
                # Else a ledger that closes next would keep the row of what was never sent.
                until = asyncio.get_running_loop().time() + WITHDRAW_SECONDS
                await wait_uncancelled([task], until=until)
            raise
        if task.cancelled() and self._is_closing:
            # Before it was sent, unless its ledger was slow to store a dispatched operation.
            raise ClientClosedError(ref=dispatch.record.ref)
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
                if dispatch.record.ref is None:
                    trace.end(failure=failure)

    async def _start(self, dispatch: Dispatch[OperationT]) -> OperationT | DispatchUnknownError:
        """Carry a dispatch to its operation, and return the handle.

        A `DispatchUnknownError` is returned, not raised: at a shutdown of the event loop, asyncio
        logs an error that a task raises as unhandled, with a traceback.
        """
        try:
            await self._machine.run(dispatch)
        except DispatchUnknownError as error:
            self._hooks.emit(
                DispatchUnknown(
                    error, dispatch.kind, dispatch.project, dispatch.feature, dispatch.config
                )
            )
            return error
        record = dispatch.record
        row = record.row
        assert row is not None
        assert row.ref is not None
        # Telemetry ends the span of an operation when the ref of its handles is gone: the ledger
        # keeps its own.
        ref = row.ref if row.ref.traceparent is None else evolve(row.ref)
        operation = cast("type[OperationT]", dispatch.operation_class)(
            ref,
            dispatch.parts,
            adopted=row.adopted or not record.is_own,
            sent_at=dispatch.written_at if record.is_own else None,
            previous_id=dispatch.previous_id,
            row=row,
            keep=partial(self._keep, dispatch, ref)
            if record.is_keyed and not record.item
            else None,
        )
        if row.outcome is not None:
            self.parts.poller.restore(ref, row.outcome)
        if dispatch.asked_seconds is not None:
            self.parts.poller.known.operation(ref).asked_seconds = dispatch.asked_seconds
        # The hook comes before anything else can fail: its purpose is to store the ref.
        if self._hooks.is_enabled(Dispatched):
            self._hooks.emit(
                Dispatched(
                    ref,
                    adopted=operation.adopted,
                    feature=dispatch.feature,
                    config=dispatch.config,
                )
            )
        return operation

    async def _keep(self, dispatch: Dispatch[Any], ref: Ref, end: Snapshot | VibeError) -> None:
        """Have the ledger keep an operation's end, also if the caller is cancelled meanwhile."""
        keeping = asyncio.create_task(dispatch.keep(ref, end), name="testvibe_async ledger")
        self._keeping.add(keeping)
        keeping.add_done_callback(self._keeping.discard)
        await asyncio.shield(keeping)

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
            self._is_closing = self._machine.is_closing = True
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
            await wait_uncancelled([*tasks, *self._keeping])
            await self._machine.aclose()


def _attributes(dispatch: Dispatch[Any]) -> dict[str, Attribute]:
    """Return the span attributes of a dispatch that are known before it is sent."""
    return {
        "testvibe.project": dispatch.project,
        "testvibe.feature": dispatch.feature,
        "testvibe.config": dispatch.config,
        "cicd.pipeline.task.name": str(dispatch.feature),
        "cicd.pipeline.task.type": KINDS[dispatch.kind].task_type,
    }


def _withdraw(task: asyncio.Task[Any], dispatch: Dispatch[Any]) -> None:
    """Cancel a dispatch if it was not sent; otherwise let it end, but not be sent again."""
    dispatch.withdraw()
    if dispatch.may_be_cancelled:
        task.cancel()


def _log_orphan(task: asyncio.Task[Operation[Any] | DispatchUnknownError]) -> None:
    """Log the result of a dispatch whose caller was cancelled: its ref, or its error."""
    if task.cancelled():
        return
    error = task.exception()
    if isinstance(error, NotSentError):
        return  # As the caller wished.
    if isinstance(error, Exception):
        reported_logger.warning("a dispatch whose caller was cancelled failed: %s", error)
    elif error is None and not isinstance(result := task.result(), DispatchUnknownError):
        text = escape(result.ref.to_json())
        reported_logger.warning(
            "a dispatch whose caller was cancelled started an operation: %s", text
        )
