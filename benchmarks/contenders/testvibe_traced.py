"""testvibe_async: `run_features` with OpenTelemetry's SDK, which drops what it has collected.

Spans are handed over in batches by a thread, as in an application, and metrics are collected once a
second. Requests are not traced by themselves. See `traced`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from benchmarks.contenders import testvibe_batch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.sdk.trace import ReadableSpan

    from benchmarks.contenders import FanOut, Service

__all__ = ["contend"]


class _Spans(SpanExporter):
    """Drops them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002
        return SpanExportResult.SUCCESS


class _Metrics(MetricExporter):
    """Drops them."""

    def export(
        self,
        metrics_data: MetricsData,  # noqa: ARG002
        timeout_millis: float = 10_000,  # noqa: ARG002
        **_options: object,
    ) -> MetricExportResult:
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_options: object) -> None:
        pass


@asynccontextmanager
async def contend(service: Service, interval: float) -> AsyncGenerator[FanOut]:
    """Open a client in an application that has set up the SDK."""
    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(BatchSpanProcessor(_Spans()))
    trace.set_tracer_provider(tracer_provider)
    reader = PeriodicExportingMetricReader(_Metrics(), export_interval_millis=1000)
    meter_provider = MeterProvider([reader])
    metrics.set_meter_provider(meter_provider)
    async with testvibe_batch.contend(service, interval) as fan_out:
        yield fan_out
    tracer_provider.shutdown()
    meter_provider.shutdown()
