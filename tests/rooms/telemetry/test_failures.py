"""Whatever the application has set up fails: no run is lost or doubled, and no wait hangs."""

import asyncio
import gc
import json
import logging
import sys
import weakref
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

import pytest
from opentelemetry.metrics import CallbackOptions
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler, SamplingResult

from tests.conftest import client_of
from tests.rooms.telemetry.conftest import Sdk
from testvibe_async import Client, Journal, Project, Ref, RunRef
from testvibe_async._telemetry import Telemetry, otel, telemetry
from testvibe_async._telemetry.otel import OpenTelemetry
from testvibe_async.testing import Emulator

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
    monkeypatch.setattr(telemetry(), "__dict__", vars(OpenTelemetry(provider)))
    monkeypatch.setattr(otel, "_failed", set[str]())


@pytest.mark.parametrize("step", ["on_start", "on_end", "sampler", "instruments"])
async def test_a_failure_costs_nothing(
    step: str,
    emulator: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A batch with a journal, waits and a close go on, and one warning says what failed."""
    provider = TracerProvider(sampler=_Sampler()) if step == "sampler" else TracerProvider()
    if step.startswith("on_"):
        provider.add_span_processor(type("", (SpanProcessor,), {step: _raise})())
    _use(monkeypatch, provider)
    if step == "instruments":
        for name in ("_requests", "_dispatches", "_ends"):
            monkeypatch.setattr(telemetry(), name, type("", (), {"add": _raise, "record": _raise}))
    caplog.set_level(logging.WARNING)
    async with client_of(emulator) as client, Journal(tmp_path / "journal") as journal:
        items = await client.project().run_features(["Checkout", "Returns"], journal=journal)
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


async def test_nothing_is_below_the_unsampled(
    sdk: Sdk, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The requests of a run that is dropped are dropped with it, and not traces of their own."""
    sdk.tracer_provider.sampler = ALWAYS_OFF
    monkeypatch.setattr(telemetry(), "_tracer", sdk.tracer_provider.get_tracer("dropping"))
    operation = await project.run_feature("Checkout")
    assert operation.ref.traceparent is not None
    assert int(operation.ref.traceparent[-2:], 16) & 1 == 0  # not sampled
    await operation
    assert not sdk.spans("POST")


@pytest.mark.parametrize(
    "text", ["", 5, ["a"], "nonsense", f"00-{'1' * 32}-{'2' * 16}-01-" + " " * 100_000 + "\nx"]
)
def test_a_forged_context_costs_neither_the_ref_nor_time(text: object) -> None:
    """What is no context of a span is left out, and the ref is good."""
    document = REF.to_json()[:-1] + ", " + f'"traceparent": {json.dumps(text)}' + "}"
    ref = Ref.from_json(document)
    assert ref == REF
    assert ref.traceparent is None


async def test_a_collection_ends_no_span_by_itself(sdk: Sdk, client: Client) -> None:
    """A processor may hold a lock while the collector runs: the event loop ends the span."""
    operation = await client.project().run_feature("Checkout")
    await asyncio.sleep(0.1)
    polled = weakref.ref(operation._polled)
    del operation
    gc.collect()
    assert polled() is None
    assert not sdk.spans("testvibe run")
    await asyncio.sleep(0.1)
    assert sdk.span("testvibe run")


def test_no_api_or_a_broken_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it is not installed nothing is told, and nothing said; where it fails, a warning."""
    name = "testvibe_async._telemetry.otel"
    monkeypatch.setitem(sys.modules, name, None)
    assert type(telemetry.__wrapped__()) is Telemetry
    assert not caplog.records
    broken = ModuleType(name)
    broken.OpenTelemetry = _raise  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, broken)
    assert type(telemetry.__wrapped__()) is Telemetry
    assert "the collector is gone" in caplog.text


def test_a_client_that_is_gone_counts_nothing() -> None:
    """What counted its operations is held weakly."""

    class Poller:
        def in_flight(self) -> dict[str, int]:
            return {"run": 3}

    recording, poller = OpenTelemetry(), Poller()
    recording.watch_in_flight(poller.in_flight)
    assert [each.value for each in recording._in_flight(CallbackOptions())] == [3, 0]
    del poller
    assert [each.value for each in recording._in_flight(CallbackOptions())] == [0, 0]


async def test_a_context_that_fails(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A context that fails leaves the requests without a parent, and the run as it is."""
    _use(monkeypatch, TracerProvider())
    context = SimpleNamespace(attach=_raise, Context=dict)
    monkeypatch.setattr("testvibe_async._telemetry.otel.otel_context", context)
    assert (await (await project.run_feature("Checkout"))).is_finished


async def test_a_dispatch_of_what_was_followed_before(sdk: Sdk, project: Project) -> None:
    """An operation has one span, until its end: that of a dispatch which names it again ends."""
    operation = await project.run_feature("Checkout")
    again = telemetry().trace("testvibe again", {})
    assert again is not None
    project._parts.poller.follow(operation.ref, again)
    assert sdk.span("testvibe again")
    assert operation._polled.trace is not None
    await operation
    assert operation._polled.trace is None
    assert len(sdk.spans("testvibe run")) == 1
