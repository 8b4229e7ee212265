"""Traces and metrics by OpenTelemetry's API. If its SDK is not set up, the API drops them.

The names are listed in the package's README.
"""

from __future__ import annotations

import logging
from functools import lru_cache, wraps
from threading import Lock
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, get_args
from urllib.parse import urlsplit
from weakref import WeakMethod

from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import INVALID_SPAN, Link, Span, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from testvibe_async._telemetry.interface import Telemetry
from testvibe_async._util import __version__
from testvibe_async.errors import KindName
from testvibe_async.events import (
    Dispatched,
    DispatchUnknown,
    Paused,
    RequestFinished,
    StatusChanged,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from contextvars import Context, Token

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from testvibe_async._telemetry.interface import Attribute

NAME = "testvibe_async"
"""The name of the tracer and of the meter."""

KINDS = get_args(KindName)
"""The kinds of operations, each of which is reported even if none is in flight."""

BAD_REQUEST = 400
"""The first status of an error."""

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
        self._is_metered = meter_provider is not None
        self._tracer = trace.get_tracer(NAME, __version__, tracer_provider)
        self._lock = Lock()
        self._propagator = TraceContextTextMapPropagator()
        self._counts: list[WeakMethod[Callable[[], Mapping[str, int]]]] = []
        meter = metrics.get_meter(NAME, __version__, meter_provider)
        self._requests = meter.create_histogram(
            "http.client.request.duration", "s", "Requests, by operation and outcome"
        )
        self._pauses = meter.create_histogram(
            "testvibe.pause.duration", "s", "Pauses of all traffic that the service asked for"
        )
        self._dispatches = meter.create_counter(
            "testvibe.dispatches", "{dispatch}", "Dispatches, by kind and outcome"
        )
        self._ends = meter.create_histogram(
            "testvibe.end.delay", "s", "From the end of an operation until it was seen, by kind"
        )
        meter.create_observable_gauge(
            "testvibe.operations.in_flight",
            [self._in_flight],
            "{operation}",
            "Operations that are known and not over, by kind",
        )
        self._subscribers: dict[str, Callable[[Any], None]] = {
            RequestFinished.hook: self._note_request,
            Paused.hook: self._note_pause,
            Dispatched.hook: self._note_dispatched,
            DispatchUnknown.hook: self._note_unknown,
            StatusChanged.hook: self._note_change,
        }

    def subscribers(self) -> Mapping[str, Callable[[Any], None]]:
        """Return the functions to call at events; none until the application sets a provider."""
        if not self._is_metered:
            # The API has a provider of its own, which drops all records.
            provider = type(metrics.get_meter_provider())
            self._is_metered = not provider.__module__.startswith(metrics.__name__)
        return self._subscribers if self._is_metered else {}

    @_guarded
    def trace(
        self, name: str, attributes: Mapping[str, Attribute], *, link: str | None = None
    ) -> OperationTrace | None:
        """Start a span below the current one; return None if there is no SDK.

        A span that is not sampled is started too: the spans below it must not be sampled either.
        """
        span = self._tracer.start_span(name, links=self._links(link))
        if not span.get_span_context().is_valid:
            return None
        if span.is_recording():
            span.set_attributes(_known(attributes))
        return OperationTrace(span)

    def _links(self, traceparent: str | None) -> list[Link]:
        if traceparent is None:
            return []
        found = self._propagator.extract({"traceparent": traceparent}, otel_context.Context())
        context = trace.get_current_span(found).get_span_context()
        return [Link(context)] if context.is_valid else []

    @_guarded
    def traceparent(self) -> str | None:
        """Return the current span, in the form of W3C's Trace Context; None without one."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get("traceparent")

    @_guarded
    def without_span(self, context: Context) -> None:
        """Clear the current span in a context."""
        context.run(otel_context.attach, trace.set_span_in_context(INVALID_SPAN))

    @_guarded
    def _note_request(self, event: RequestFinished) -> None:
        server = "/".join(event.url.split("/", 3)[:3])
        attributes = _of_request(event.operation, event.method, server, event.status)
        self._requests.record(event.seconds, attributes)

    @_guarded
    def _note_pause(self, event: Paused) -> None:
        self._pauses.record(event.seconds)

    @_guarded
    def _note_dispatched(self, event: Dispatched) -> None:
        self._count_dispatch(event.ref.kind, "adopted" if event.adopted else "dispatched")

    @_guarded
    def _note_unknown(self, event: DispatchUnknown) -> None:
        self._count_dispatch(event.kind, "unknown")

    def _count_dispatch(self, kind: str, outcome: str) -> None:
        self._dispatches.add(1, {"testvibe.kind": kind, "testvibe.outcome": outcome})

    @_guarded
    def _note_change(self, event: StatusChanged) -> None:
        if event.delay is not None:
            self._ends.record(event.delay, {"testvibe.kind": event.ref.kind})

    @_guarded
    def watch_in_flight(self, count: Callable[[], Mapping[str, int]]) -> None:
        """Register a function that returns the number of operations in flight, by kind."""
        with self._lock:  # Clients of several threads may be created at once.
            self._counts = [each for each in self._counts if each() is not None]
            self._counts.append(WeakMethod(count))

    def _in_flight(self, _options: CallbackOptions) -> Iterable[Observation]:
        """Count all operations in flight; called by the SDK, in a thread of its own."""
        total: dict[str, int] = dict.fromkeys(KINDS, 0)
        for weak in list(self._counts):
            if (count := weak()) is not None:
                for kind, number in count().items():
                    total[kind] += number
        return [Observation(number, {"testvibe.kind": kind}) for kind, number in total.items()]


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
        if self._span.is_recording():
            self._span.set_attributes(_known(attributes))

    @_guarded
    def event(self, name: str, attributes: Mapping[str, Attribute]) -> None:
        """Add an event that happened now."""
        if self._span.is_recording():  # Otherwise the application's log would have a warning.
            self._span.add_event(name, _known(attributes))

    @_guarded
    def end(self, *, failure: str | None = None) -> None:
        """End the span."""
        if self._span.is_recording():
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


@lru_cache(maxsize=256)
def _of_request(
    operation: str, method: str, server: str, status: int | None
) -> dict[str, str | int | float | bool]:
    """Return the attributes of a request; many requests share them."""
    address = urlsplit(server)
    is_error = status is None or status >= BAD_REQUEST
    attributes = {
        "http.request.method": method,
        "http.response.status_code": status,
        "error.type": str(status or "no answer") if is_error else None,
        "server.address": address.hostname,
        "server.port": address.port,
        "testvibe.operation": operation,
    }
    return _known(attributes)


def _known(attributes: Mapping[str, Attribute]) -> dict[str, str | int | float | bool]:
    return {name: value for name, value in attributes.items() if value is not None}
