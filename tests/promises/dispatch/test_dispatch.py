"""A dispatch: when it is sent, what is reported of it, and how its caller or client ends."""

import asyncio
import gc
import inspect
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from tests.conftest import Received, Send, Sent, client_of, client_through
from tests.promises.conftest import Events
from tests.support.batches import client_tasks
from tests.support.peer import ONCE, hooks_into
from tests.support.raising import raised
from testvibe_async import Project, RunOperation, errors
from testvibe_async.events import Dispatched
from testvibe_async.operations import PendingOperation
from testvibe_async.testing import Emulator, Fault


async def test_an_answer_that_contradicts_the_request_names_no_operation(
    emulator: Emulator, project: Project
) -> None:
    """A 202 that names another feature is no ref: the run is searched for, and found."""
    feature = await project.get_feature("Checkout")
    emulator.fail("run_feature", Fault.edit(lambda answer: answer | {"featureId": 9999}), times=1)
    operation = await project.run_feature(feature)
    assert operation.feature_id == feature.id
    assert operation.adopted
    assert emulator.count("run_feature") == 1


async def test_the_id_of_another_run_is_searched_for(emulator: Emulator, project: Project) -> None:
    """A 202 with the id of a run in flight is an error of the service, never that run's outcome."""
    first = await project.run_feature("Checkout")
    emulator.fail(
        "run_feature", Fault.edit(lambda answer: answer | {"runId": first.run_id}), times=1
    )
    second = await project.run_feature("Returns")
    assert second.run_id != first.run_id
    assert second.adopted


DISPATCHING = ["run_feature", "generate_feature", "run_features", "generate_features"]


@pytest.mark.parametrize("name", DISPATCHING)
async def test_a_background_task_dispatches(
    emulator: Emulator, project: Project, name: str
) -> None:
    """What awaits coroutine functions alone, as Starlette's background tasks, awaits these."""
    method: Callable[..., Any] = getattr(project, name)
    if sys.version_info >= (3, 12):
        assert inspect.iscoroutinefunction(method)
    else:
        assert asyncio.iscoroutinefunction(method)  # pyright: ignore[reportDeprecated]
    draft = emulator.add_feature("New", status="draft" if "generate" in name else "generated")
    await method([draft.id] if name.endswith("s") else draft.id)
    assert emulator.count(name.removesuffix("s")) == 1


async def test_a_wrong_argument_is_raised_later(emulator: Emulator, project: Project) -> None:
    """One wrong call among several does not abandon the others."""
    wrong: Any = "never"
    results = await asyncio.gather(
        project.run_feature("Checkout"),
        project.run_feature("Returns", on_conflict=wrong),
        project.run_feature("Returns", site_url="shop"),
        project.run_feature("Returns").wait(timeout=-1),
        project.generate_feature("Returns", key=" "),
        return_exceptions=True,
    )
    assert [isinstance(result, errors.ConfigError) for result in results] == [False] + [True] * 4
    assert emulator.count("run_feature") == 1


WAYS: dict[str, Callable[[PendingOperation[RunOperation]], object]] = {
    "a task": asyncio.create_task,
    "a future": asyncio.ensure_future,
    "gather": asyncio.gather,
    "wait_for": lambda pending: asyncio.wait_for(pending, 60),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_it_is_a_coroutine(
    emulator: Emulator, project: Project, way: Callable[..., asyncio.Future[object]]
) -> None:
    """It can be whatever a coroutine can be, sends nothing before, and is awaited once."""
    pending = project.run_feature("Checkout")
    await asyncio.sleep(10)
    assert emulator.count("run_feature") == 0
    await way(pending)
    await raised(RuntimeError, pending, match="already awaited")
    assert emulator.count("run_feature") == 1


@pytest.mark.parametrize("awaited", ["the dispatch", "its outcome"])
async def test_a_task_that_is_cancelled(emulator: Emulator, project: Project, awaited: str) -> None:
    """A task that is cancelled before its first step sends nothing, and warns of nothing."""
    pending: Any = project.run_feature("Checkout")
    task = asyncio.create_task(pending if awaited == "the dispatch" else pending.wait())
    task.cancel()
    await raised(asyncio.CancelledError, task)
    assert emulator.count("run_feature") == 0
    del pending, task
    gc.collect()


@pytest.mark.parametrize("call", ["run_feature", "generate_feature"])
async def test_a_forgotten_await_warns(emulator: Emulator, project: Project, call: str) -> None:
    """A forgotten await warns as a coroutine does, and says what to do."""
    with pytest.warns(RuntimeWarning, match=rf"{call}\('Draft'\) was never awaited.*wait\(\)"):
        getattr(project, call)("Draft")
    getattr(project, call)("Draft").close()
    assert emulator.count(call) == 0


async def test_a_cancelled_task_is_unknown(emulator: Emulator, project: Project) -> None:
    """Cancelling the task of a POST raises an error for its caller; no other adopts its run."""
    caller = await dispatch_into(Fault.delay(5), emulator, project)
    for task in client_tasks():
        if task.get_name() == "testvibe_async dispatch":
            task.cancel()

    await raised(errors.DispatchUnknownError, caller, match="its task was cancelled")
    emulator.fail("run_feature", Fault.reset())
    error = await raised(errors.DispatchUnknownError, project.run_feature("Checkout"))

    assert error.reason == "ambiguous"
    assert {ref.key[-1] for ref in error.candidates} == {*emulator.runs}


async def dispatch_into(
    fault: Fault, emulator: Emulator, project: Project
) -> asyncio.Future[RunOperation]:
    """Return a dispatch that met a fault a second ago."""
    emulator.fail("run_feature", fault, times=1)
    caller = asyncio.ensure_future(project.run_feature("Checkout"))
    await asyncio.sleep(1)
    return caller


def at_each_end(act: Callable[[Any], Awaitable[None]]) -> aiohttp.ClientSession:
    """Return a session that does something at the end of each request."""
    trace = aiohttp.TraceConfig()

    async def end(_session: object, _context: object, params: object) -> None:
        await act(params)

    trace.on_request_end.append(end)
    return aiohttp.ClientSession(trace_configs=[trace])


@pytest.mark.parametrize("methods", [{"POST"}, {"POST", "GET"}], ids=["POST", "all"])
async def test_an_error_loses_no_id(emulator: Emulator, events: Events, methods: set[str]) -> None:
    """An error of a passed-in session after the POST is a lost answer, which it may not find."""

    async def fail(end: aiohttp.TraceRequestEndParams) -> None:
        if end.method in methods:
            raise ZeroDivisionError

    hooks = hooks_into(events)
    async with at_each_end(fail) as session, client_of(emulator, session=session, hooks=hooks) as c:
        dispatch = c.project().run_feature("Checkout")
        if "GET" in methods:
            await raised(errors.DispatchUnknownError, dispatch, match="the answer was lost")
        else:
            assert (await dispatch).adopted
            (event,) = events.of(Dispatched)
            assert ([event.ref.key[-1]], event.adopted) == (list(emulator.runs), True)
    assert len(emulator.runs) == 1


async def test_a_middleware_that_fails_before_the_post_sent_nothing(emulator: Emulator) -> None:
    """An error of a middleware before the POST proves that nothing was sent."""

    async def refuse(*_: object) -> Received:
        raise ZeroDivisionError("it broke")

    async with client_through(refuse, emulator, retry=ONCE) as client:
        with pytest.raises(errors.NotSentError, match=r"ZeroDivisionError\('it broke'\)"):
            await client.project().run_feature("Checkout")


@pytest.mark.parametrize("status", [401, 502])
async def test_a_session_that_retries_sends_no_second_post(emulator: Emulator, status: int) -> None:
    """A middleware that repeats what was refused or failed sends nothing, and the error says so."""
    tries: list[int] = []

    async def retry(request: Sent, send: Send) -> Received:
        response = await send(request)
        tries.append(response.status)
        return await send(request) if response.status >= 400 else response

    async with client_through(retry, emulator) as client:
        emulator.fail("run_feature", Fault.status(status), times=1)
        dispatch = client.project().run_feature("Checkout")
        error = await raised(errors.DispatchUnknownError, dispatch)
        assert "may not send it again" in error.what

    assert status in tries
    assert emulator.count("run_feature") == 1
