"""The life of a client: opened and closed in any task, once, in one event loop."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from tests.conftest import KEY, Received, Send, Sent, client_of, client_through
from tests.support.peer import ONCE
from tests.support.raising import raised
from tests.support.timing import now
from testvibe_async import Client, Project, RetryPolicy, RunOperation, RunRef, errors
from testvibe_async.testing import Emulator, Fault

SERVER = "https://testvibe.example"


async def test_many_waits_time_out_in_turns(emulator: Emulator, client: Client) -> None:
    """Other tasks run while thousands of waits end, and their errors are collected."""
    emulator.fail("*", Fault.hang())
    refs = [
        RunRef(server=emulator.url, project=emulator.project_id, run_id=number)
        for number in range(1, 3_001)
    ]
    operations = [client.attach(ref) for ref in refs]
    step = asyncio.ensure_future(anext(client.finished(operations, timeout=1)))
    await asyncio.sleep(2.0)  # The last poll has ended, and so have the waits.
    turns = 0
    while not step.done() and turns < 1_000:
        turns += 1
        await asyncio.sleep(0)
    await raised(errors.WaitTimeoutError, step)
    assert turns > 10


async def test_a_closed_client_refuses_everything(client: Client, project: Project) -> None:
    """Each way to use a closed client raises ClientClosedError, with the ref if it has one."""
    operation = await project.run_feature("Checkout")
    await client.aclose()

    await raised(errors.ClientClosedError, client.list_projects())
    await raised(errors.ClientClosedError, project.run_feature("Checkout"))
    await raised(errors.ClientClosedError, project.run_features(["Checkout"]))
    await raised(errors.ClientClosedError, project.generate_feature("Checkout"))
    with pytest.raises(errors.ClientClosedError):
        client.attach(operation.ref)
    await raised(errors.ClientClosedError, client.__aenter__())
    for use in (operation.wait, operation.poll, operation.__aiter__().__anext__):
        error = await raised(errors.ClientClosedError, use())
        assert error.ref == operation.ref


SLOW = RetryPolicy(attempts=9, base_delay=60.0, max_delay=60.0)


WAITING: dict[str, tuple[dict[str, Any], Fault, int]] = {
    "is queued": ({"max_connections": 1}, Fault.hang(), 1),
    "waits for Retry-After": ({"retry": SLOW}, Fault.status(429, retry_after=60), 1),
    "backs off": ({"retry": SLOW}, Fault.status(500), 1),
    "waits for the end of a pause": ({"retry": ONCE}, Fault.status(429, retry_after=60), 3),
}
"""Why a call waits: the client's options, what meets its first calls, and how many those are."""


@pytest.mark.parametrize("why", WAITING)
async def test_a_close_ends_waiting_calls_unsent(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """It raises ClientClosedError at once, and is not sent."""
    monkeypatch.setattr(random, "random", lambda: 1.0)
    options, fault, calls = WAITING[why]
    client = client_of(emulator, **options)
    emulator.fail("list_projects", fault)
    first: list[asyncio.Future[Any]]
    first = [asyncio.ensure_future(client.list_projects()) for _ in range(calls)]
    await asyncio.sleep(0.5)
    last: asyncio.Future[Any] = asyncio.ensure_future(client.get_project(emulator.project_id))
    await asyncio.sleep(0.5)
    await client.aclose()

    results = await asyncio.gather(*first, last, return_exceptions=True)
    expected = errors.RateLimitedError if options.get("retry") is ONCE else errors.ClientClosedError
    assert {type(result) for result in results[:-1]} == {expected}
    assert emulator.count("list_projects") == calls
    assert now() == 1
    if why in {"is queued", "waits for the end of a pause"}:
        assert isinstance(results[-1], errors.ClientClosedError)
        assert emulator.count("get_project") == 0


async def test_a_close_from_within_a_poll(emulator: Emulator) -> None:
    """A session's middleware that closes the client does not wait for its own poll."""
    closing: list[Client] = []

    async def close(request: Sent, send: Send) -> Received:
        if "/runs/" in request.url.path and closing:
            await closing.pop().aclose()
        return await send(request)

    async with client_through(close, emulator) as client:
        operation = await client.project().run_feature("Checkout")
        closing.append(client)
        await raised(errors.ClientClosedError, operation.wait())
    assert now() < 60


async def test_a_cancelled_close_still_closes(emulator: Emulator) -> None:
    """Cancelling aclose() in the middle leaves no wait behind and no session open."""
    client = client_of(emulator)
    operation = await client.project().run_feature("Checkout")
    wait = asyncio.ensure_future(operation.wait())
    emulator.fail("run_feature", Fault.hang())
    dispatch = asyncio.ensure_future(client.project().run_feature("Returns"))
    await asyncio.sleep(1)

    closing = asyncio.ensure_future(client.aclose())
    await asyncio.sleep(1)
    closing.cancel()
    await raised(asyncio.CancelledError, closing)
    await raised(errors.ClientClosedError, wait)
    await raised(errors.DispatchUnknownError, dispatch)
    assert not [task for task in asyncio.all_tasks() if "testvibe" in task.get_name()]


def test_a_second_loop_is_refused() -> None:
    """Another event loop gets a ConfigError that says what to do, whatever is awaited there."""
    client = Client(SERVER, api_key=KEY, project="p")

    async def attached() -> RunOperation:
        return client.attach(RunRef(server=SERVER, project="p", run_id=1))

    async def used_elsewhere(operation: RunOperation) -> None:
        batch = client.project().run_features(["Checkout"])
        uses: list[Awaitable[object]] = [client.list_projects(), client.__aenter__()]
        for use in (*uses, operation, batch):
            await raised(errors.ConfigError, use, match="one Client for each event loop")

    asyncio.run(used_elsewhere(asyncio.run(attached())))
    asyncio.run(client.aclose())


async def test_what_is_no_ref_is_refused(client: Client) -> None:
    """attach() says what it takes."""
    not_a_ref: Any = 214

    with pytest.raises(errors.ConfigError, match="a ref of an operation, not 214"):
        client.attach(not_a_ref)


async def test_an_unknown_route_can_be_asked(client: Client, emulator: Emulator) -> None:
    """request() returns the JSON of any route as it is."""
    path = f"/projects/{emulator.project_id}/runs"

    assert await client.request("GET", path, query={"limit": 1}) == []
    assert emulator.requests[-1].query == {"limit": "1"}
    path = f"/projects/{emulator.project_id}/features"
    answer = await client.request("POST", path, body={"name": "Näme", "gherkin": "Feature: Näme"})
    assert answer["name"] == "Näme"


NUMBERS = (0, -1, float("nan"), float("inf"), "3")


@pytest.mark.parametrize(
    ("option", "values", "what"),
    [
        ("timeout", NUMBERS, "a number of seconds"),
        ("poll_interval", NUMBERS, "a number of seconds"),
        ("max_outage", NUMBERS, "a number of seconds"),
        ("max_connections", (0, -1, 1.5, True, "8"), "a whole number"),
        ("rate_limit", (*NUMBERS, True), "a number of requests a second"),
        ("retry", (3,), "a RetryPolicy, not 3"),
        ("hooks", (7,), "a Hooks, not 7"),
        ("poll_plan", (3,), "a function, not 3"),
        ("session", (1,), "an aiohttp.ClientSession, not 1"),
    ],
)
def test_wrong_options_are_refused(option: str, values: tuple[object, ...], what: str) -> None:
    """What an option must be is said when the client is made."""
    for value in values:
        wrong: dict[str, Any] = {option: value}
        with pytest.raises(errors.ConfigError, match=f"{option} must be {what}"):
            Client(SERVER, api_key=KEY, **wrong)


SECONDS = (-1, float("nan"), float("inf"), True, "5")


OF_SECONDS = "timeout must be a number of seconds"


CALLS: dict[str, tuple[Callable[[Project, Any], object], tuple[Any, ...], str]] = {
    "a dispatch's wait": (lambda p, x: p.run_feature("A").wait(timeout=x), SECONDS, OF_SECONDS),
    "a wait": (lambda p, x: p.run_operation(1).wait(timeout=x), SECONDS, OF_SECONDS),
    "wait_for_run": (lambda p, x: p.wait_for_run(1, timeout=x), SECONDS, OF_SECONDS),
    "wait_for_generation": (lambda p, x: p.wait_for_generation("A", timeout=x), SECONDS, "timeout"),
    "poll": (lambda p, x: p.run_operation(1).poll(max_age=x), (*SECONDS, None), "max_age must be"),
    "a list": (lambda p, x: p.list_features(max_outage=x), (0, -1, 1e999, "10"), "max_outage"),
    "run_operation": (lambda p, x: p.run_operation(x), (0, -1, "2", 1.5, True), "run_id must be a"),
    "a configuration": (lambda p, x: p.run_feature("A", config=x), (3, ["Mobile"]), "name of one"),
    "on_conflict": (lambda p, x: p.run_feature("A", on_conflict=x), ("attach",), "on_conflict"),
    "a key": (lambda p, x: p.generate_feature("A", key=x), ("", " ", 7), "a key is a text"),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_wrong_argument_is_refused_in_one_sentence(
    emulator: Emulator, project: Project, call: str
) -> None:
    """It is refused in one sentence that says what is taken."""
    do, values, said = CALLS[call]

    async def use(value: object) -> None:
        pending: Any = do(project, value)
        await pending

    for value in values:
        await raised(errors.ConfigError, use(value), match=said)
    assert emulator.requests == []


async def test_a_session_with_its_own_credentials_is_refused() -> None:
    """A session's `auth` and the API key can't both be sent."""
    with pytest.warns(DeprecationWarning, match="auth"):  # aiohttp's own
        session = aiohttp.ClientSession(auth=aiohttp.BasicAuth("me", "word"))
    async with session:
        with pytest.raises(errors.ConfigError, match="has an auth= of its own") as caught:
            Client("http://127.0.0.1:1", api_key=KEY, session=session)
    assert "word" not in str(caught.value)


async def test_operations_of_another_client_are_refused(client: Client, rival: Project) -> None:
    """An operation is looked up where it is: by the client that has it."""
    operation = await rival.run_feature("Checkout")
    said = r"run \d+ is of another Client"
    await raised(errors.ConfigError, client.gather(operation), match=said)
    for wait in (client.finished, client.changes):
        with pytest.raises(errors.ConfigError, match=said):
            wait([operation])


async def test_what_is_no_operation_is_refused(client: Client, project: Project) -> None:
    """A dispatch that was not awaited is no operation yet, a ref is to be attached."""
    dispatch: Any = project.run_feature("Checkout")
    await raised(errors.ConfigError, client.gather(dispatch), match="is an await missing")
    ref: Any = (await dispatch).ref
    said = r"run \d+ is a ref here: pass client.attach\(ref\)"
    await raised(errors.ConfigError, client.gather(ref), match=said)
    nothing: Any = []
    await raised(errors.ConfigError, client.gather(nothing), match="unpack it")
    with pytest.raises(errors.ConfigError, match=OF_SECONDS):
        client.finished(nothing, timeout=-1)


async def test_a_poll_in_progress_ends_as_closed(emulator: Emulator) -> None:
    """Waits and polls whose request is in progress at the close raise ClientClosedError."""
    client = client_of(emulator)
    operation = await client.project().run_feature("Checkout")
    emulator.fail("get_run", Fault.hang())
    uses = [asyncio.ensure_future(operation.wait()), asyncio.ensure_future(operation.poll())]
    await asyncio.sleep(4)

    await client.aclose()
    results = await asyncio.gather(*uses, return_exceptions=True)

    assert [type(result) for result in results] == [errors.ClientClosedError] * 2
    assert {getattr(result, "ref", None) for result in results} == {operation.ref}
