"""Events, as hooks and the log receive them."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from attrs import fields, fields_dict

from tests.conftest import client_of
from tests.support.ci_systems import WICKED, obeyed, wicked
from tests.support.raising import raised
from testvibe_async import Feature, Hooks, Phase, RetryPolicy, RunRef, Transition, errors, events
from testvibe_async.events import Dispatched, Emitter, Event, RequestFinished, StatusChanged
from testvibe_async.testing import Emulator, Fault

REF = RunRef(server="https://testvibe.example", project="p", run_id=214)


AT = datetime(2026, 6, 10, tzinfo=UTC)
ERROR = errors.NotSentError("refused", method="GET", url="https://testvibe.example/x")


EVENTS: dict[str, Event] = {
    "on_dispatched": Dispatched(REF),
    "on_request": RequestFinished("get_run", "GET", "https://h/x", status=None, seconds=0.0015408),
    "on_retry": events.RetryScheduled("get_run", ERROR, attempt=2, delay=0.476696),
    "on_dispatch_unknown": events.DispatchUnknown(ERROR, "run", "p", "Checkout", config="Mobile"),
    "on_transition": StatusChanged(REF, Transition(Phase.ACTIVE, "running", AT)),
    "on_poll_failed": events.PollFailed(REF, ERROR, is_final=True),
    "on_list_polling_suspended": events.ListPollingSuspended("list_runs", "p", 600.0, error=None),
    "on_pause": events.Paused(7.0, ERROR),
    "on_resume": events.Resumed("https://testvibe.example"),
    "on_outage_started": events.OutageStarted("https://testvibe.example", ERROR),
    "on_outage_ended": events.OutageEnded("https://testvibe.example", 12.0),
}
"""What each hook is for."""
LINES: dict[type[Event], str] = {
    Dispatched: "Dispatched ref=run 214 adopted=False",
    RequestFinished: (
        "RequestFinished operation=get_run method=GET url=https://h/x status=None seconds=0.00154"
    ),
    StatusChanged: "StatusChanged ref=run 214 transition=active running",
    events.DispatchUnknown: (
        f"DispatchUnknown error={ERROR} kind=run project=p feature=Checkout config=Mobile"
    ),
}
"""What some are in the log, word for word."""


KINDS = [kind for kind in Event.__subclasses__() if kind is getattr(events, kind.__name__)]
"""The classes of events, without those that attrs has replaced and the collector not yet freed."""


def test_every_event_has_its_own_hook() -> None:
    """The events and the hooks are as many, and none is forgotten here."""
    assert {type(event) for event in EVENTS.values()} == {*KINDS}
    assert sorted(EVENTS) == sorted(hook.name for hook in fields(Hooks))


@pytest.mark.parametrize("hook", EVENTS)
def test_an_event_goes_to_its_hook(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    """Its hook alone is called, once; one line of its level has all that it holds, as fields."""
    caplog.set_level(logging.DEBUG)
    event = EVENTS[hook]
    calls: list[tuple[str, object]] = []

    def hook_named(name: str) -> Callable[[object], None]:
        return lambda seen: calls.append((name, seen))

    hooks: dict[str, Any] = {name.name: hook_named(name.name) for name in fields(Hooks)}
    Emitter(Hooks(**hooks)).emit(event)
    assert calls == [(hook, event)]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("testvibe_async", event.level)
    assert record.getMessage().startswith(LINES.get(type(event), type(event).__name__))
    assert all(f" {name}=" in record.getMessage() for name in fields_dict(type(event)))
    assert record.getMessage().isprintable()
    found = {name: value for name, value in vars(record).items() if name.startswith("testvibe_")}
    assert found.pop("testvibe_event") == type(event).__name__
    assert {name.removeprefix("testvibe_") for name in found} == set(fields_dict(type(event)))
    assert all(value is None or isinstance(value, int | float | str) for value in found.values())
    if "testvibe_ref" in found:
        assert RunRef.from_json(found["testvibe_ref"]) == REF


@pytest.mark.parametrize("hook", [hook.name for hook in fields(Hooks)])
def test_an_async_hook_is_refused(hook: str) -> None:
    """An async function is no hook: the error says which, and what to do."""

    async def forgotten(_: object) -> None: ...

    with pytest.raises(errors.ConfigError, match=f"the hook {hook} must be a plain function"):
        Hooks(**{hook: cast("Any", forgotten)})
    with pytest.raises(errors.ConfigError, match=f"{hook} must be a function, not 'print'"):
        Hooks(**{hook: [cast("Any", "print")]})


@pytest.mark.parametrize("error", [OSError("full"), asyncio.CancelledError()])
def test_each_function_is_called(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """Each is called, also after one that failed, whose error is logged and goes no further."""
    first: list[Dispatched] = []
    second: list[Dispatched] = []

    def fail(_: Dispatched) -> None:
        raise error

    event = Dispatched(REF)
    Emitter(Hooks(on_dispatched=[first.append, fail, second.append])).emit(event)
    assert (first, second) == ([event], [event])
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "the hook on_dispatched failed" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error


async def test_results_of_hooks(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    """Only an awaitable would have to be awaited: it is logged as a failure, with the ref."""

    async def store(_: object) -> None: ...

    ignored: Any = id
    async with client_of(emulator, hooks=Hooks(on_dispatched=ignored)) as client:
        await client.project().run_feature("Checkout")
    assert "hook" not in caplog.text
    hooks = Hooks(on_dispatched=lambda event: cast("None", store(event)))
    async with client_of(emulator, hooks=hooks) as client:
        ref = (await client.project().run_feature("Checkout")).ref
    assert f"the hook on_dispatched failed on Dispatched ref={ref}" in caplog.text
    assert "returned an awaitable" in caplog.text


async def test_no_ci_commands(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing that a service sends, readable or not, is a command in a line of the log."""
    caplog.set_level(logging.DEBUG)

    def misled(document: Any) -> Any:
        return wicked(document | {"updatedUtc": "##vso[x]", "requestId": WICKED, "runId": 214})

    for operation in ("run_feature", "generate_feature", "get_run", "get_generation_status"):
        emulator.fail(operation, Fault.edit(misled))
    emulator.fail("cancel_generation", Fault.body(b"::error::a ##vso[x]", status=503))
    async with client_of(emulator, retry=RetryPolicy(attempts=2)) as client:
        project = client.project()
        await project.run_features([Feature(1, WICKED), "Checkout", Feature(1, WICKED)])
        generation = await project.generate_feature("Checkout")
        await raised(errors.ServerError, project.cancel_generation("Checkout"))
        emulator.fail("generate_feature", Fault.delay(5))
        task = asyncio.create_task(project.generate_feature("Returns"))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.sleep(60)
        assert "##vso[" in generation.request_id
    lines = [record.getMessage() for record in caplog.records if record.name == "testvibe_async"]
    for said in ("can't be read", "asked for twice", "caller was cancelled started"):
        assert [line for line in lines if said in line], said
    assert "# #vso[" in "\n".join(lines)
    assert not [line for line in lines if obeyed(line)]


def test_the_page_lists_each_event_with_its_level_and_fields() -> None:
    """The table of the page on logs is what is logged."""
    page = Path(events.__file__).parent / "_core" / "telemetry" / "README.md"
    for kind in KINDS:
        names = ", ".join(f"`{name}`" for name in fields_dict(kind))
        row = f"| `{kind.__name__}` | {logging.getLevelName(kind.level)} | {names} |"
        assert row in page.read_text(encoding="utf-8").splitlines()
