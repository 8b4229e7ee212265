"""Traces and metrics by OpenTelemetry's API. If its SDK is not set up, the API drops them.

Requests are not traced here: OpenTelemetry's own instrumentation of aiohttp does that. The names
are listed in the package's README.
"""

from __future__ import annotations

import logging
from collections import deque
from functools import wraps
from threading import Lock
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, get_args
from weakref import WeakSet, finalize

from attrs import fields
from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import Link, Span, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from testvibe_async._core.telemetry.interface import Subscriber, Telemetry
from testvibe_async._core.util import __version__
from testvibe_async.errors import KindName
from testvibe_async.events import (
    Dispatched,
    DispatchUnknown,
    Paused,
    PollFailed,
    StatusChanged,
)
from testvibe_async.models import Phase, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from contextvars import Token

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from testvibe_async._core.telemetry.interface import Attribute
    from testvibe_async.models import Snapshot
    from testvibe_async.refs import Ref

NAME = "testvibe_async"
"""The name of the tracer and of the meter."""

KINDS = get_args(KindName)
"""The kinds of operations, each of which is reported even if none is in flight."""

_CASE_STATUSES = {"passed": "pass", "failed": "fail"}
"""The convention's words for the service's; other statuses are kept."""

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(NAME)


def _guarded(method: Callable[P, T]) -> Callable[P, T | None]:
    """Log a method's exception, and return None: no sampler, processor or exporter costs a run."""

    @wraps(method)
    def guarded(*arguments: P.args, **options: P.kwargs) -> T | None:
        try:
            return method(*arguments, **options)
        except Exception as error:  # noqa: BLE001 - any code of the application
            if method.__qualname__ not in _failed:
                _failed.add(method.__qualname__)
                logger.warning("OpenTelemetry failed in %s: %r", method.__qualname__, error)
            return None

    return guarded


_failed: set[str] = set()
"""The methods that have failed; each is logged once."""


class OpenTelemetry(Telemetry):
    """Passes all records to the providers that the application has set."""

    is_recording = True

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        """Create it; None for the providers that the application sets, whenever it sets them."""
        self._is_set = tracer_provider is not None or meter_provider is not None
        self._tracer = trace.get_tracer(NAME, __version__, tracer_provider)
        self._lock = Lock()
        self._propagator = TraceContextTextMapPropagator()
        self._subscribers: WeakSet[ClientSubscriber] = WeakSet()
        meter = metrics.get_meter(NAME, __version__, meter_provider)
        self.pauses = meter.create_histogram(
            "testvibe.pause.duration", "s", "Pauses of all traffic that the service asked for"
        )
        self.dispatches = meter.create_counter(
            "testvibe.dispatches", "{dispatch}", "Dispatches, by kind and outcome"
        )
        self.ends = meter.create_histogram(
            "testvibe.end.delay", "s", "From the end of an operation until it was seen, by kind"
        )
        meter.create_observable_gauge(
            "testvibe.operations.in_flight",
            [self._in_flight],
            "{operation}",
            "Operations that are known and not over, by kind",
        )

    @property
    def is_set(self) -> bool:
        """True once the application has set a provider: the API's own ones drop all records."""
        if not self._is_set:
            tracers, meters = trace.get_tracer_provider(), metrics.get_meter_provider()
            self._is_set = not (
                type(tracers).__module__.startswith(trace.__name__)
                and type(meters).__module__.startswith(metrics.__name__)
            )
        return self._is_set

    def subscriber(self) -> Subscriber:
        """Return the subscriber of a new client's events."""
        subscriber = ClientSubscriber(self)
        with self._lock:  # Clients of several threads may be created at once.
            self._subscribers.add(subscriber)
        return subscriber

    @_guarded
    def trace(self, name: str, attributes: Mapping[str, Attribute]) -> OperationTrace | None:
        """Start a span below the current one; return None if there is no SDK.

        A span that is not sampled is started too: the spans below it must not be sampled either.
        """
        span = self.start(name)
        if not span.get_span_context().is_valid:
            return None
        span.set_attributes(_known(attributes))
        return OperationTrace(span)

    def start(self, name: str, *, link: str | None = None) -> Span:
        """Start a span below the current one.

        Args:
            name: The name of the span.
            link: The `traceparent` of a span that this one continues; None for none.
        """
        carrier = {} if link is None else {"traceparent": link}
        linked = self._propagator.extract(carrier, otel_context.Context())
        context = trace.get_current_span(linked).get_span_context()
        return self._tracer.start_span(name, links=[Link(context)] if context.is_valid else [])

    @_guarded
    def traceparent(self) -> str | None:
        """Return the current span, in the form of W3C's Trace Context; None without one."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get("traceparent")

    def _in_flight(self, _options: CallbackOptions) -> Iterable[Observation]:
        """Count all operations in flight; called by the SDK, in a thread of its own."""
        total: dict[str, int] = dict.fromkeys(KINDS, 0)
        with self._lock:
            subscribers = [*self._subscribers]
        for subscriber in subscribers:
            for kind, number in subscriber.in_flight().items():
                total[kind] += number
        return [Observation(number, {"testvibe.kind": kind}) for kind, number in total.items()]


class ClientSubscriber(Subscriber):
    """Records the metrics of one client, and the spans of its operations from their dispatch on."""

    def __init__(self, telemetry: OpenTelemetry) -> None:
        """Create it without spans."""
        self._telemetry = telemetry
        self._spans: dict[tuple[object, ...], tuple[Span, finalize[Any, Any]]] = {}
        """The spans of operations that have not finished, by the key of their ref."""
        self._dropped: deque[tuple[object, ...]] = deque()
        """The keys of operations that nobody can observe any more."""
        self._functions: dict[str, Callable[[Any], None]] = {
            Dispatched.hook: self._note_dispatched,
            DispatchUnknown.hook: self._note_unknown,
            StatusChanged.hook: self._note_change,
            PollFailed.hook: self._note_failure,
            Paused.hook: self._note_pause,
        }

    def functions(self) -> Mapping[str, Callable[[Any], None]]:
        """Return the functions to call at events; none until the application sets a provider."""
        return self._functions if self._telemetry.is_set else {}

    @_guarded
    def close(self) -> None:
        """End the spans of operations whose end was not observed."""
        self._end_dropped()
        for key in [*self._spans]:
            self._end_unseen(key, "the client was closed")

    @_guarded
    def _note_dispatched(self, event: Dispatched) -> None:
        self._count_dispatch(event.ref.kind, "adopted" if event.adopted else "dispatched")
        self._end_dropped()
        # Another one is that of an earlier process, whose dispatch a call with its key returns.
        if event.ref.traceparent and event.ref.traceparent == self._telemetry.traceparent():
            span = trace.get_current_span()
            if event.ref.key in self._spans:
                span.end()
            else:
                self._keep(event.ref, span)

    @_guarded
    def _note_unknown(self, event: DispatchUnknown) -> None:
        self._count_dispatch(event.kind, "unknown")

    def _count_dispatch(self, kind: str, outcome: str) -> None:
        labels = {"testvibe.kind": kind, "testvibe.outcome": outcome}
        self._telemetry.dispatches.add(1, labels)

    @_guarded
    def _note_change(self, event: StatusChanged) -> None:
        if event.delay is not None:
            self._telemetry.ends.record(event.delay, {"testvibe.kind": event.ref.kind})
        span, transition = self._span_of(event.ref), event.transition
        status = _known({"testvibe.status": transition.status})
        span.add_event("transition", {"testvibe.phase": str(transition.phase), **status})
        if transition.phase is Phase.FINISHED:
            assert transition.snapshot is not None  # Only a snapshot ends an operation.
            span.set_attributes(status)
            _note_outcome(span, transition.snapshot)
            if transition.snapshot.is_failure:
                what = f"it ended with the status {transition.status}"
                span.set_status(Status(StatusCode.ERROR, what))
            self._end(event.ref.key)

    @_guarded
    def _note_failure(self, event: PollFailed) -> None:
        if not event.is_shared:
            name = type(event.error).__name__
            self._span_of(event.ref).add_event("poll failed", {"error.type": name})

    @_guarded
    def _note_pause(self, event: Paused) -> None:
        self._telemetry.pauses.record(event.seconds)

    def _span_of(self, ref: Ref) -> Span:
        """Return the span of an operation; one that was attached gets it at its first event."""
        self._end_dropped()
        if (found := self._spans.get(ref.key)) is not None:
            return found[0]
        span = self._telemetry.start(f"testvibe {ref.kind} attached", link=ref.traceparent)
        self._keep(ref, span)
        return span

    def _keep(self, ref: Ref, span: Span) -> None:
        """Keep the span of an operation until its end, or until no handle is left."""
        span.set_attributes(_ids(ref))
        # The garbage collector may call it anywhere, even where a span processor holds its lock, so
        # the next event ends the span.
        finalizer = finalize(ref, self._dropped.append, ref.key)
        finalizer.atexit = False
        self._spans[ref.key] = span, finalizer

    def _end(self, key: tuple[object, ...]) -> None:
        span, finalizer = self._spans.pop(key)
        finalizer.detach()
        span.end()

    def _end_dropped(self) -> None:
        while self._dropped:
            self._end_unseen(self._dropped.popleft(), "no handle on it was left")

    def _end_unseen(self, key: tuple[object, ...], why: str) -> None:
        self._spans[key][0].add_event("end not seen", {"testvibe.reason": why})
        self._end(key)


class OperationTrace:
    """The span of an operation or a batch."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def use(self) -> AbstractContextManager[object]:
        """Make this the parent of the spans that start inside."""
        return _Current(self._span)

    @_guarded
    def add(self, attributes: Mapping[str, Attribute]) -> None:
        """Set attributes."""
        self._span.set_attributes(_known(attributes))

    @_guarded
    def end(self, *, failure: str | None = None) -> None:
        """End the span."""
        if failure is not None:
            self._span.set_status(Status(StatusCode.ERROR, failure))
        self._span.end()


class _Current:
    """The part of a coroutine in which a span is the current one."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span
        self._token: Token[otel_context.Context] | None = None

    @_guarded
    def __enter__(self) -> None:
        self._token = otel_context.attach(trace.set_span_in_context(self._span))

    @_guarded
    def __exit__(self, *_exception: object) -> None:
        if self._token is not None:
            otel_context.detach(self._token)


def _note_outcome(span: Span, outcome: Snapshot) -> None:
    """Add an outcome by OpenTelemetry's conventions for pipelines and tests."""
    result = "success" if outcome.is_success else "failure" if outcome.is_failure else "error"
    span.set_attribute("cicd.pipeline.task.run.result", result)
    if isinstance(outcome, Run):
        names = {"test.suite.name": outcome.feature_name, "test.suite.run.status": result}
        span.set_attributes(_known(names))
        for test in outcome.tests:
            status = _CASE_STATUSES.get(test.status or "", test.status)
            case = {"test.case.name": test.name, "test.case.result.status": status}
            span.add_event("test case", _known(case))


def _ids(ref: Ref) -> dict[str, str | int | float | bool]:
    names = {each.name for each in fields(type(ref))} - {"dispatched_at", "traceparent"}
    ids = {f"testvibe.{name}": getattr(ref, name) for name in names}
    return _known(ids | {"cicd.pipeline.task.run.id": str(ref.key[-1])})


def _known(attributes: Mapping[str, Attribute]) -> dict[str, str | int | float | bool]:
    return {name: value for name, value in attributes.items() if value is not None}
