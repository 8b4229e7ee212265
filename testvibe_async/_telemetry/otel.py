"""Traces and metrics by OpenTelemetry's API. Where its SDK is not set up, the API drops them.

The names are listed in the package's README.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakMethod

from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import INVALID_SPAN, Link, Span, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from testvibe_async._telemetry.interface import Telemetry
from testvibe_async._util import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from contextvars import Context

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from testvibe_async._telemetry.interface import Attribute

__all__ = ["OpenTelemetry"]

NAME = "testvibe_async"
"""The name of the tracer and of the meter."""

MAX_TRIES = 3
"""How often operations in flight are counted anew that change while they are counted."""


class OpenTelemetry(Telemetry):
    """Hands all to the providers that the application has set."""

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        """Make it; None for the providers that the application sets, whenever it does."""
        self._tracer = trace.get_tracer(NAME, __version__, tracer_provider)
        self._propagator = TraceContextTextMapPropagator()
        self._counts: list[WeakMethod[Callable[[], Mapping[str, int]]]] = []
        meter = metrics.get_meter(NAME, __version__, meter_provider)
        self._requests = meter.create_histogram(
            "testvibe.request.duration", "s", "Requests, by operation and outcome"
        )
        self._polls = meter.create_counter(
            "testvibe.polls", "{poll}", "Polls, by way (list, id) and outcome"
        )
        self._pauses = meter.create_histogram(
            "testvibe.pause.duration", "s", "Pauses of all traffic that the service asked for"
        )
        self._refusals = meter.create_counter(
            "testvibe.refusals", "{request}", "Requests that were refused for their rate"
        )
        self._dispatches = meter.create_counter(
            "testvibe.dispatches", "{dispatch}", "Dispatches, by kind and outcome"
        )
        self._ends = meter.create_histogram(
            "testvibe.end.delay", "s", "From the end of an operation until it was seen, by kind"
        )
        self._commits = meter.create_histogram(
            "testvibe.journal.commit.duration", "s", "Commits of journals"
        )
        meter.create_observable_gauge(
            "testvibe.operations.in_flight",
            [self._in_flight],
            "{operation}",
            "Operations that are known and not over, by kind",
        )

    def trace(
        self, name: str, attributes: Mapping[str, Attribute], *, link: str | None = None
    ) -> OperationTrace | None:
        """Begin a span below the current one; None where nobody records it."""
        span = self._tracer.start_span(name, links=self._links(link))
        if not span.is_recording():
            return None
        span.set_attributes(_known(attributes))
        return OperationTrace(span)

    def _links(self, traceparent: str | None) -> list[Link]:
        if traceparent is None:
            return []
        found = self._propagator.extract({"traceparent": traceparent}, otel_context.Context())
        context = trace.get_current_span(found).get_span_context()
        return [Link(context)] if context.is_valid else []

    def traceparent(self) -> str | None:
        """Return the current span, as W3C's Trace Context writes it; None without one."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get("traceparent")

    def without_span(self, context: Context) -> None:
        """Let no span be the current one in a context."""
        context.run(otel_context.attach, trace.set_span_in_context(INVALID_SPAN))

    def request(self, operation: str, outcome: str, seconds: float) -> None:
        """Count a request."""
        self._requests.record(
            seconds, {"testvibe.operation": operation, "testvibe.outcome": outcome}
        )

    def poll(self, way: str, outcome: str) -> None:
        """Count a poll."""
        self._polls.add(1, {"testvibe.way": way, "testvibe.outcome": outcome})

    def pause(self, seconds: float) -> None:
        """Count a pause of all traffic."""
        self._pauses.record(seconds)

    def refusal(self) -> None:
        """Count a request that was refused for its rate."""
        self._refusals.add(1)

    def dispatch(self, kind: str, outcome: str) -> None:
        """Count a dispatch."""
        self._dispatches.add(1, {"testvibe.kind": kind, "testvibe.outcome": outcome})

    def end_seen(self, kind: str, delay: float) -> None:
        """Record how late an end was seen."""
        self._ends.record(delay, {"testvibe.kind": kind})

    def commit(self, seconds: float) -> None:
        """Record a commit of a journal."""
        self._commits.record(seconds)

    def watch_in_flight(self, count: Callable[[], Mapping[str, int]]) -> None:
        """Ask now and then how many operations of each kind are in flight."""
        self._counts = [each for each in self._counts if each() is not None]
        self._counts.append(WeakMethod(count))

    def _in_flight(self, _options: CallbackOptions) -> Iterable[Observation]:
        """Sum up the operations in flight; called by the SDK, in a thread of its own."""
        total: dict[str, int] = {}
        for weak in list(self._counts):
            if (count := weak()) is not None:
                for kind, number in _counted(count).items():
                    total[kind] = total.get(kind, 0) + number
        return [Observation(number, {"testvibe.kind": kind}) for kind, number in total.items()]


class OperationTrace:
    """The span of an operation or a batch."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def use(self) -> AbstractContextManager[object]:
        """Let the spans that begin inside be its children."""
        return trace.use_span(self._span, record_exception=False, set_status_on_exception=False)

    def add(self, attributes: Mapping[str, Attribute]) -> None:
        """Set attributes."""
        self._span.set_attributes(_known(attributes))

    def event(self, name: str, attributes: Mapping[str, Attribute]) -> None:
        """Add something that happened now."""
        if self._span.is_recording():  # Else it would be a warning in the application's log.
            self._span.add_event(name, _known(attributes))

    def end(self, *, failure: str | None = None) -> None:
        """End it."""
        if self._span.is_recording():
            if failure is not None:
                self._span.set_status(Status(StatusCode.ERROR, failure))
            self._span.end()


def _known(attributes: Mapping[str, Attribute]) -> dict[str, str | int | float | bool]:
    return {name: value for name, value in attributes.items() if value is not None}


def _counted(count: Callable[[], Mapping[str, int]]) -> Mapping[str, int]:
    """Call a count, which the event loop may disturb in its own thread."""
    for _ in range(MAX_TRIES):
        try:
            return count()
        except RuntimeError:  # What it iterates over has changed.
            continue
    return {}
