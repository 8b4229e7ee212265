"""Traces: which spans there are, what hangs below them, and what they link to."""

import asyncio
import gc
import re
from pathlib import Path

import pytest
from attrs import evolve
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from tests.conftest import client_of
from tests.rooms.telemetry.conftest import Sdk
from tests.support.mcp_connection import connected
from tests.support.shop import DRAFT
from tests.support.timing import STEADY
from testvibe_async import (
    BatchSummary,
    DispatchUnknownError,
    FeatureNotGeneratedError,
    Journal,
    Project,
    Ref,
    WaitTimeoutError,
)
from testvibe_async.batch import _result_of
from testvibe_async.testing import Emulator, Fault, Outcome

SCENARIO = evolve(STEADY, outcomes={"Returns": Outcome(run_status="failed")})
"""Every run takes 30 s, and those of one feature fail."""


def _events(span: ReadableSpan) -> list[str]:
    return [
        " ".join([event.name, *map(str, (event.attributes or {}).values())])
        for event in span.events
    ]


def _id(span: ReadableSpan) -> int:
    assert span.context is not None
    number: int = span.context.span_id
    return number


async def test_a_run_lasts_from_the_dispatch_to_the_end(sdk: Sdk, project: Project) -> None:
    """Its transitions are events, requests are below it, and it is below its caller."""
    with sdk.tracer_provider.get_tracer("caller").start_as_current_span("caller"):
        operation = await project.run_feature("Checkout")
    await operation
    span = sdk.span("testvibe run")
    assert sdk.below(sdk.span("caller")) == ["testvibe run"]
    assert sdk.below(span).count("POST") == 1
    assert sdk.below(span).count("GET") > 5
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
    with pytest.raises(FeatureNotGeneratedError):
        await project.run_feature(DRAFT)
    emulator.fail("run_feature", Fault.reset())
    emulator.fail("list_runs", Fault.status(404), times=9)
    with pytest.raises(DispatchUnknownError) as error:
        await project.run_feature("Checkout")
    refused, unknown = sdk.spans("testvibe run")
    assert refused.status.description == "not dispatched: FeatureNotGeneratedError"
    assert dict(unknown.attributes or {})["testvibe.reason"] == error.value.reason
    assert unknown.status.description == "unknown whether it was dispatched"


async def test_an_end_that_nobody_sees(sdk: Sdk, emulator: Emulator) -> None:
    """A span ends also where the last handle is gone, or the client closes."""
    async with client_of(emulator) as client:
        operation = await client.project().run_feature("Checkout")
        assert not sdk.spans("testvibe run")
        del operation
        gc.collect()
        await asyncio.sleep(0.1)
        gc.collect()
        operation = await client.project().run_feature("Checkout")
    assert not operation.done
    assert [_events(span) for span in sdk.spans("testvibe run")] == [
        ["end not seen no handle on it was left"],
        ["end not seen the client was closed"],
    ]


async def test_what_is_attached_to_links_to_the_dispatch(sdk: Sdk, emulator: Emulator) -> None:
    """The ref has the context; one without it, or with nonsense, has a span without a link."""
    async with client_of(emulator) as client:
        ref = (await client.project().run_feature("Checkout")).ref
    bare, wrong = (evolve(ref, traceparent=text) for text in (None, "nonsense"))
    for each in (Ref.from_json(ref.to_json()), bare, wrong):
        async with client_of(emulator) as client:
            await client.attach(each)
    linked, *others = sdk.spans("testvibe run attached")
    assert [link.context.span_id for link in linked.links] == [_id(sdk.span("testvibe run"))]
    assert [span.links for span in others] == [(), ()]


async def test_waiting_again_makes_no_other(sdk: Sdk, project: Project) -> None:
    """One span serves all waits and polls of an operation."""
    operation = await project.run_feature("Checkout")
    with pytest.raises(WaitTimeoutError):
        await operation.wait(timeout=3)
    await asyncio.gather(operation.wait(), operation.wait())
    await operation.poll()
    assert len(sdk.spans("testvibe run")) == 1
    assert not sdk.spans("testvibe run attached")


async def test_its_operations_are_below(sdk: Sdk, project: Project) -> None:
    """Further attempts too; the counts are its attributes."""
    await project.run_features(["Checkout", "Returns"], attempts=2)
    batch = sdk.span("testvibe batch")
    assert sdk.below(batch).count("testvibe run") == 3
    attributes = dict(batch.attributes or {})
    assert attributes["testvibe.batch.succeeded"] == 1
    assert attributes["testvibe.batch.failed"] == 1
    assert attributes["cicd.pipeline.result"] == "failure"


async def test_a_batch_that_goes_on(sdk: Sdk, tmp_path: Path, emulator: Emulator) -> None:
    """What an earlier process dispatched is attached to below the new batch, with a link."""
    names = ["Checkout", "Returns"]
    async with (
        client_of(emulator) as client,
        Journal(tmp_path / "journal") as journal,
        client.project().run_features(names, journal=journal),
    ):
        await asyncio.sleep(5)
    gc.collect()
    async with client_of(emulator) as client, Journal(tmp_path / "journal") as journal:
        await client.project().run_features(names, journal=journal)
    first, second = sdk.spans("testvibe batch")
    assert sdk.below(first).count("testvibe run") == 2
    assert sdk.below(second).count("testvibe run attached") == 2
    dispatched = {_id(span) for span in sdk.spans("testvibe run")}
    links = [span.links[0] for span in sdk.spans("testvibe run attached")]
    assert {link.context.span_id for link in links} == dispatched


async def test_intents_have_the_context(sdk: Sdk, tmp_path: Path, emulator: Emulator) -> None:
    """A dispatch that a crash left open is found, and its span links to the dispatch."""
    emulator.fail("generate_feature", Fault.lost(), times=1)
    missing = emulator.fail("get_generation_status", Fault.status(404), skip=1)
    async with client_of(emulator) as client, Journal(tmp_path / "journal") as journal:
        (item,) = await client.project().generate_features([DRAFT], journal=journal)
        assert isinstance(item.error, DispatchUnknownError)
    missing.remove()
    async with client_of(emulator) as client, Journal(tmp_path / "journal") as journal:
        (item,) = await client.project().generate_features([DRAFT], journal=journal)
    assert item.outcome is not None
    (link,) = sdk.span("testvibe generation attached").links
    assert link.context.span_id == _id(sdk.span("testvibe generation"))


async def test_a_dispatch_hangs_below_the_call_of_a_tool(sdk: Sdk, emulator: Emulator) -> None:
    """The agent, its call of the MCP server, the batch and its runs are one trace."""
    tracer = sdk.tracer_provider.get_tracer("agent")
    async with connected(emulator) as mcp:
        with tracer.start_as_current_span("agent") as agent:
            await mcp.call_tool("run_features", {"features": ["Checkout"]})
    batch = sdk.span("testvibe batch")
    assert batch.parent is not None
    assert batch.parent.span_id == agent.get_span_context().span_id
    assert sdk.below(batch) == ["testvibe run"]


async def test_polls_by_list_hang_below_nothing(sdk: Sdk, emulator: Emulator) -> None:
    """A poll for many is nobody's child, also where the client was made within a span."""
    with sdk.tracer_provider.get_tracer("caller").start_as_current_span("start-up") as start_up:
        client = client_of(emulator)
    async with client:
        await client.project().run_features(["Checkout", "Gift card", "Wishlist", "Returns"])
    spans = sdk.spans("GET")
    assert all(
        span.parent is None or span.parent.span_id != start_up.get_span_context().span_id
        for span in spans
    )
    assert any(span.parent is None for span in spans)


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
