"""Fixtures of the tests of telemetry: an SDK that keeps what it is handed."""

from collections.abc import Generator
from typing import Any

import pytest
from attrs import define
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from testvibe_async._telemetry import telemetry
from testvibe_async._telemetry.otel import OpenTelemetry


@define
class Sdk:
    """What was recorded."""

    tracer_provider: TracerProvider
    spans_exporter: InMemorySpanExporter
    reader: InMemoryMetricReader

    def spans(self, name: str) -> list[ReadableSpan]:
        """Return the ended spans of a name, in the order in which they began."""
        found = [span for span in self.spans_exporter.get_finished_spans() if span.name == name]
        return sorted(found, key=lambda span: span.start_time or 0)

    def span(self, name: str) -> ReadableSpan:
        """Return the one ended span of a name."""
        (span,) = self.spans(name)
        return span

    def below(self, span: ReadableSpan) -> list[str]:
        """Return the names of a span's children."""
        return [
            each.name
            for each in self.spans_exporter.get_finished_spans()
            if each.parent is not None
            and span.context is not None
            and each.parent.span_id == span.context.span_id
        ]

    def metric(self, name: str) -> dict[tuple[str, ...], Any]:
        """Return the points of a metric, by the values of their attributes."""
        data = self.reader.get_metrics_data()
        points: dict[tuple[str, ...], Any] = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == name:
                        for point in metric.data.data_points:
                            values = (point.attributes or {}).values()
                            points[tuple(map(str, values))] = point
        return points


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> Generator[Sdk]:
    """Record what the package tells, and the requests that aiohttp sends."""
    tracer_provider = TracerProvider()
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    meter_provider = MeterProvider([reader])
    recording = OpenTelemetry(tracer_provider, meter_provider)
    monkeypatch.setattr(telemetry(), "__dict__", vars(recording))
    instrumentor = AioHttpClientInstrumentor()
    instrumentor.instrument(tracer_provider=tracer_provider)
    yield Sdk(tracer_provider, exporter, reader)
    instrumentor.uninstrument()
    meter_provider.shutdown()
    tracer_provider.shutdown()
