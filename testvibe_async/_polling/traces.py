"""The span of each operation: from its dispatch, or the first poll after `attach`, to its end.

Decides when a span ends. The operation's observed state belongs to `state`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import finalize

from attrs import fields

from testvibe_async._polling.polled import OpenTrace
from testvibe_async._telemetry import telemetry
from testvibe_async.models import Run

if TYPE_CHECKING:
    from testvibe_async._polling.polled import PolledOperation
    from testvibe_async._telemetry import Attribute, Trace
    from testvibe_async.errors import VibeError
    from testvibe_async.models import Snapshot
    from testvibe_async.refs import Ref

_CASE_STATUSES = {"passed": "pass", "failed": "fail"}
"""The convention's words for the service's; other statuses are kept."""


def begin(polled: PolledOperation[Any]) -> None:
    """Start the span of an attached operation, linked to the span of its dispatch."""
    if polled.is_traced or polled.state.is_finished:
        return
    ref = polled.ref
    name = f"testvibe {ref.kind} attached"
    _set(polled, telemetry().trace(name, _ids(ref), link=ref.traceparent))


def follow(polled: PolledOperation[Any], trace: Trace) -> None:
    """Continue the span of a dispatch, now that its operation is known."""
    trace.add(_ids(polled.ref))
    if polled.is_traced or polled.state.is_finished:  # The operation was known before.
        trace.end()
    else:
        _set(polled, trace)


def _set(polled: PolledOperation[Any], trace: Trace | None) -> None:
    polled.is_traced = True
    if trace is not None:
        # The end of an operation without a handle cannot be observed. The garbage collector may
        # call the finalizer anywhere, even where a span processor holds its lock, so the loop ends
        # the span.
        loop = asyncio.get_running_loop()
        finalizer = finalize(polled, _abandon_soon, loop, trace)
        finalizer.atexit = False
        polled.trace = OpenTrace(trace, finalizer)


def _abandon_soon(loop: asyncio.AbstractEventLoop, trace: Trace) -> None:
    with suppress(RuntimeError):  # The loop is closed.
        loop.call_soon_threadsafe(_abandon, trace, "no handle on it was left")


def note_change(polled: PolledOperation[Any], *, is_transition: bool) -> None:
    """Add a transition to the span, and end the span with the operation."""
    if polled.trace is None:
        return
    trace, state = polled.trace.trace, polled.state
    status = None if state.status is None else str(state.status)
    if is_transition:
        trace.event("transition", {"testvibe.phase": str(state.phase), "testvibe.status": status})
    if state.is_finished:
        assert state.snapshot is not None  # Only a snapshot ends an operation.
        trace.add({"testvibe.status": status})
        _note_outcome(trace, state.snapshot)
        is_failure = state.snapshot.is_failure
        trace.end(failure=f"it ended with the status {status}" if is_failure else None)
        polled.trace.finalizer.detach()
        polled.trace = None


def _note_outcome(trace: Trace, outcome: Snapshot) -> None:
    """Add an outcome by OpenTelemetry's conventions for pipelines and tests."""
    result = "success" if outcome.is_success else "failure" if outcome.is_failure else "error"
    trace.add({"cicd.pipeline.task.run.result": result})
    if isinstance(outcome, Run):
        trace.add({"test.suite.name": outcome.feature_name, "test.suite.run.status": result})
        for test in outcome.tests:
            status = _CASE_STATUSES.get(test.status or "", test.status)
            name = {"test.case.name": test.name, "test.case.result.status": status}
            trace.event("test case", name)


def note_failure(polled: PolledOperation[Any], error: VibeError) -> None:
    """Add a failed poll to the span."""
    if polled.trace is not None:
        polled.trace.trace.event("poll failed", {"error.type": type(error).__name__})


def abandon(polled: PolledOperation[Any], why: str) -> None:
    """End the span of an operation whose end was not observed."""
    if polled.trace is not None:
        _abandon(polled.trace.trace, why)
        polled.trace.finalizer.detach()
        polled.trace = None


def _abandon(trace: Trace, why: str) -> None:
    trace.event("end not seen", {"testvibe.reason": why})
    trace.end()


def _ids(ref: Ref) -> dict[str, Attribute]:
    names = {each.name for each in fields(type(ref))} - {"dispatched_at", "traceparent"}
    ids = {f"testvibe.{name}": getattr(ref, name) for name in names}
    return ids | {"cicd.pipeline.task.run.id": str(ref.key[-1])}
