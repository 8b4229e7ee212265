"""Telemetry: which spans there are, what is counted, and what happens where all of it fails."""

import asyncio
import logging
import re
import sys
from collections.abc import Generator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

import pytest
from attrs import define, evolve
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import StatusCode

from tests.conftest import client_of
from tests.support.mcp_connection import connected
from tests.support.raising import raised
from tests.support.shop import DRAFT
from tests.support.timing import STEADY
from testvibe_async import BatchSummary, Project, Ref, RunRef, errors
from testvibe_async._core.telemetry import Telemetry, otel, telemetry
from testvibe_async._core.telemetry.otel import OpenTelemetry
from testvibe_async.batch import _result_of
from testvibe_async.events import Dispatched, PollFailed
from testvibe_async.testing import Emulator, Fault, Outcome

SCENARIO = evolve(STEADY, outcomes={"Returns": Outcome(run_status="failed")})
"""Every run takes 30 s, and those of one feature fail."""


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

    def children(self, span: ReadableSpan) -> list[ReadableSpan]:
        """Return the spans below a span."""
        found = self.spans_exporter.get_finished_spans()
        return [each for each in found if each.parent and each.parent.span_id == _id(span)]

    def below(self, span: ReadableSpan) -> list[str]:
        """Return the names of a span's children."""
        return [each.name for each in self.children(span)]

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


def _events(span: ReadableSpan) -> list[str]:
    return [" ".join([e.name, *map(str, (e.attributes or {}).values())]) for e in span.events]


def _id(span: ReadableSpan) -> int:
    assert span.context is not None
    number: int = span.context.span_id
    return number


async def test_a_run_lasts_from_the_dispatch_to_the_end(sdk: Sdk, project: Project) -> None:
    """Its transitions are events, its POST is below it, and it is below its caller."""
    with sdk.tracer_provider.get_tracer("caller").start_as_current_span("caller"):
        operation = await project.run_feature("Checkout")
    await operation
    span = sdk.span("testvibe run")
    assert sdk.below(sdk.span("caller")) == ["testvibe run"]
    assert sdk.below(span).count("POST") == 1
    transitions, cases = _events(span)[:2], _events(span)[2:]
    assert transitions == ["transition active running", "transition finished passed"]
    assert all(re.fullmatch(r"test case .+ pass", each) for each in cases)
    assert len(cases) > 1
    assert span.status.status_code is StatusCode.UNSET
    attributes = dict(span.attributes or {})
    assert attributes["testvibe.feature"] == "Checkout"
    assert attributes["testvibe.status"] == "passed"
    assert isinstance(attributes["testvibe.run_id"], int)
    assert attributes["cicd.pipeline.task.run.id"] == str(attributes["testvibe.run_id"])
    assert attributes["cicd.pipeline.task.run.result"] == "success"
    assert attributes["test.suite.run.status"] == "success"


async def test_a_failed_run_is_an_error(sdk: Sdk, emulator: Emulator, project: Project) -> None:
    """Its status says how it ended; each poll that failed is an event with its error's class."""
    operation = await project.run_feature("Returns")
    emulator.fail("get_run", Fault.status(503), times=2)
    await operation
    span = sdk.span("testvibe run")
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "it ended with the status failed"
    assert _events(span).count("poll failed ServerError") == 2


async def test_what_was_not_dispatched(sdk: Sdk, emulator: Emulator, project: Project) -> None:
    """A dispatch that is refused, or unknown, ends its span with the error, or the reason."""
    await raised(errors.FeatureNotGeneratedError, project.run_feature(DRAFT))
    emulator.fail("run_feature", Fault.reset())
    emulator.fail("list_runs", Fault.status(404), times=9)
    error = await raised(errors.DispatchUnknownError, project.run_feature("Checkout"))
    refused, unknown = sdk.spans("testvibe run")
    assert refused.status.description == "not dispatched: FeatureNotGeneratedError"
    assert dict(unknown.attributes or {})["testvibe.reason"] == error.reason
    assert unknown.status.description == "unknown whether it was dispatched"


async def test_intents_have_the_context(sdk: Sdk, tmp_path: Path, emulator: Emulator) -> None:
    """A dispatch that a crash left open is found, and its span links to the dispatch."""
    emulator.fail("generate_feature", Fault.lost(), times=1)
    missing = emulator.fail("get_generation_status", Fault.status(404), skip=1)
    async with client_of(emulator, ledger=tmp_path / "ledger") as client:
        (item,) = await client.project().generate_features([DRAFT], key="nightly")
        assert isinstance(item.error, errors.DispatchUnknownError)
    missing.remove()
    async with client_of(emulator, ledger=tmp_path / "ledger") as client:
        (item,) = await client.project().generate_features([DRAFT], key="nightly")
    assert item.outcome is not None
    (link,) = sdk.span("testvibe generation attached").links
    assert link.context.span_id == _id(sdk.span("testvibe generation"))


async def test_a_dispatch_hangs_below_the_call_of_a_tool(
    sdk: Sdk, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent, its call of the MCP server, the batch and its runs are one trace."""
    monkeypatch.setenv("TESTVIBE_LEDGER", str(tmp_path / "ledger.sqlite"))
    tracer = sdk.tracer_provider.get_tracer("agent")
    async with connected(emulator) as mcp:
        with tracer.start_as_current_span("agent") as agent:
            await mcp.call_tool("run_features", {"features": ["Checkout"]})
    batch = sdk.span("testvibe batch")
    assert batch.parent is not None
    assert batch.parent.span_id == agent.get_span_context().span_id
    assert sdk.below(batch) == ["testvibe run"]


@pytest.mark.parametrize(
    ("summary", "result"),
    [
        (BatchSummary(succeeded=1, quarantined=1), "success"),
        (BatchSummary(failed=1, errors=1, in_flight=1), "failure"),
        (BatchSummary(errors=1, in_flight=1), "error"),
        (BatchSummary(succeeded=1, unknown=1), "error"),
        (BatchSummary(succeeded=1, in_flight=1), "timeout"),
    ],
)
def test_results_of_batches(summary: BatchSummary, result: str) -> None:
    """They are OpenTelemetry's words for the results of a pipeline."""
    assert _result_of(summary) == result


async def test_dispatches_by_outcome(sdk: Sdk, emulator: Emulator, project: Project) -> None:
    """Operations that were dispatched or adopted, and unknown dispatches."""
    await project.run_feature("Checkout")
    emulator.fail("run_feature", Fault.lost(), times=1)
    await project.run_feature("Returns")
    emulator.fail("run_feature", Fault.reset(), times=1)
    emulator.fail("list_runs", Fault.status(404))
    await raised(errors.DispatchUnknownError, project.run_feature("Checkout"))
    points = {key: point.value for key, point in sdk.metric("testvibe.dispatches").items()}
    assert points == {("run", "dispatched"): 1, ("run", "adopted"): 1, ("run", "unknown"): 1}


async def test_how_late_an_end_is_seen(sdk: Sdk, emulator: Emulator, project: Project) -> None:
    """From `finishedUtc`, by the service's clock, to the poll that showed it; if it was in time."""
    operation = await project.run_feature("Checkout")
    await operation
    await asyncio.sleep(86_400)
    async with client_of(emulator) as other:
        await other.attach(operation.ref)  # What was over a day before is not late.
    point = sdk.metric("testvibe.end.delay")["run",]
    assert point.count == 1
    assert 0 <= point.sum <= 5


async def test_a_pause_is_measured(sdk: Sdk, emulator: Emulator, project: Project) -> None:
    """The pause that many refusals cause is measured."""
    emulator.fail("*", Fault.status(429, retry_after=2), times=5)
    await project.run_features(["Checkout", "Returns", "Wishlist", "Gift card"])
    assert sdk.metric("testvibe.pause.duration")[()].count >= 1


async def test_operations_work_without_opentelemetry(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If its API is not installed, an operation is as elsewhere, and its ref has no context."""
    monkeypatch.setattr(telemetry(), "__class__", Telemetry)
    async with client_of(emulator) as client:
        operation = await client.project().run_feature("Checkout")
        assert operation.ref.traceparent is None
        assert telemetry().traceparent() is None
        assert not (await operation.poll()).is_finished
        assert (await operation).status == "passed"
        (item,) = await client.project().run_features(["Checkout"])
        assert item.outcome is not None


REF = RunRef(server="https://testvibe.example", project="p", run_id=214)


class BrokenError(RuntimeError):
    """What the application has set up fails."""


def _raise(*_: Any, **__: Any) -> NoReturn:
    raise BrokenError("the collector is gone")


class _Sampler(Sampler):
    def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
        _raise()

    def get_description(self) -> str:
        return "fails"


def _use(monkeypatch: pytest.MonkeyPatch, provider: TracerProvider) -> None:
    monkeypatch.setattr(telemetry(), "__dict__", vars(OpenTelemetry(provider, MeterProvider())))
    monkeypatch.setattr(otel, "_failed", set[str]())


@pytest.mark.parametrize("step", ["on_start", "on_end", "sampler", "context", "instruments"])
async def test_a_failure_costs_nothing(
    step: str,
    emulator: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A batch with a ledger, waits and a close go on, and one warning says what failed."""
    provider = TracerProvider(sampler=_Sampler()) if step == "sampler" else TracerProvider()
    if step.startswith("on_"):
        provider.add_span_processor(type("", (SpanProcessor,), {step: _raise})())
    _use(monkeypatch, provider)
    if step == "context":
        monkeypatch.setattr(otel, "otel_context", SimpleNamespace(attach=_raise, Context=dict))
    if step == "instruments":
        for name in ("dispatches", "ends"):
            monkeypatch.setattr(telemetry(), name, type("", (), {"add": _raise, "record": _raise}))
    caplog.set_level(logging.WARNING)
    async with client_of(emulator, ledger=tmp_path / "ledger") as client:
        items = await client.project().run_features(["Checkout", "Returns"], key="nightly")
        assert all(item.outcome is not None for item in items)
        operation = await client.project().run_feature("Wishlist")
        waiting = [asyncio.ensure_future(operation.wait()) for _ in range(2)]
        await asyncio.sleep(1)
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error).__name__ for error in ended] == ["ClientClosedError"] * 2
    assert emulator.count("run_feature") == 3
    texts = [record.getMessage() for record in caplog.records if "OpenTel" in record.getMessage()]
    assert texts
    assert len(texts) == len(set(texts))


def test_without_an_api(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Where it is not installed nothing is told, and nothing said; where it fails, a warning."""
    name = "testvibe_async._core.telemetry.otel"
    monkeypatch.setitem(sys.modules, name, None)
    assert type(telemetry.__wrapped__()) is Telemetry
    assert not caplog.records
    broken = ModuleType(name)
    broken.OpenTelemetry = _raise  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, broken)
    assert type(telemetry.__wrapped__()) is Telemetry
    assert "the collector is gone" in caplog.text


def test_a_poll_that_failed_for_others_is_no_event(sdk: Sdk) -> None:
    """In an outage one poll serves all: thousands of spans would have an event for each."""
    subscriber = telemetry().subscriber()
    note = subscriber.functions()["on_poll_failed"]
    error = errors.NotSentError("refused", method="GET", url="/")
    note(PollFailed(REF, error, is_final=False, is_shared=True))
    note(PollFailed(REF, error, is_final=False))
    subscriber.close()
    seen = ["poll failed NotSentError", "end not seen the client was closed"]
    assert _events(sdk.span("testvibe run attached")) == seen


def test_an_operation_that_is_named_twice_has_one_span(sdk: Sdk) -> None:
    """The second dispatch of a span ends that, and the operation keeps its first."""
    subscriber = telemetry().subscriber()
    note = subscriber.functions()["on_dispatched"]
    refs: list[Ref] = []  # Handles keep them.
    for name in ("first", "second"):
        with sdk.tracer_provider.get_tracer("t").start_as_current_span(name, end_on_exit=False):
            refs.append(evolve(REF, traceparent=telemetry().traceparent()))
            note(Dispatched(refs[-1], adopted=False, feature="Checkout", config=None))
    assert sdk.span("second")
    assert not sdk.spans("first")
    subscriber.close()
    assert sdk.span("first")
