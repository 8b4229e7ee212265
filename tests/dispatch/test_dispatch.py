"""Dispatching: never twice, and never lost."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.conftest import KEY, client_of
from testvibe_async import (
    Client,
    ClientClosedError,
    ConfigError,
    ConflictError,
    Dispatched,
    DispatchUnknownError,
    FeatureNotGeneratedError,
    GenerationFailedError,
    GenerationInProgressError,
    Hooks,
    InvalidRequestError,
    MalformedResponseError,
    NotSentError,
    Operation,
    OutcomeUnknownError,
    RateLimitedError,
    RequestFinished,
    RetryPolicy,
    RunOperation,
    ServerError,
)
from testvibe_async._wire import endpoints as _endpoints
from testvibe_async.testing import Emulator, Fault, FaultProxy, NetworkFault, Scenario
from testvibe_async.testing.emulator.scenario import Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from testvibe_async import Project, Ref
    from testvibe_async._wire.endpoints import Request
    from testvibe_async._wire.protocol import Response

ANSWER_LOST = [
    Fault.lost(),
    Fault.truncated(),
    Fault.edit(lambda _: {"unexpected": True}),
]
"""The service acts, and its answer does not arrive in one piece."""

NOTHING_DONE = [
    Fault.reset(),
    Fault.hang(),
    Fault.garbage(),
    Fault.status(500),
    Fault.status(502, body=b"<html>bad gateway</html>"),
    Fault.status(503, retry_after=1),
]
"""The service did not act, but nobody can tell."""


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    """Runs take 30 s, generations 65 s; those of "Broken" fail."""
    scenario = Scenario(
        run_queue=(5, 5),
        run_duration=(25, 25),
        failing_runs=0,
        generation_warm_up=(20, 20),
        generation_section=(35, 35),
        verification=(10, 10),
        failing_generations=0,
        outcomes={"Broken": Outcome(generation_status="failed")},
    )
    async with Emulator(scenario=scenario) as emulator:
        emulator.add_feature("Draft", status="draft")
        emulator.add_feature("Broken", status="draft")
        yield emulator


async def _rows(project: Project) -> list[dict[str, Any]]:
    path = f"/projects/{project.id}/runs"
    answer: list[dict[str, Any]] = await project._transport.call(
        _endpoints.custom_request("GET", path)
    )
    return answer


def now() -> float:
    return asyncio.get_running_loop().time()


class TestRetries:
    @pytest.mark.parametrize("fault", [Fault.status(429, retry_after=7)])
    async def test_a_429_with_retry_after_is_sent_again(
        self, emulator: Emulator, project: Project, fault: Fault
    ) -> None:
        """The service says when to come back, and that it did nothing."""
        emulator.fail("run_feature", fault, times=2)

        await project.run_feature("Checkout")

        assert now() == pytest.approx(14, abs=0.1)
        assert emulator.count("run_feature") == 3
        assert len(emulator.runs) == 1

    async def test_a_429_without_retry_after_is_not(
        self, emulator: Emulator, project: Project
    ) -> None:
        """A 429 that does not say when is the caller's to decide."""
        emulator.fail("run_feature", Fault.status(429))

        with pytest.raises(RateLimitedError):
            await project.run_feature("Checkout")

        assert emulator.count("run_feature") == 1

    async def test_what_was_not_sent_is_tried_again(self, emulator: Emulator) -> None:
        """Where no connection can be made the dispatch is tried again, then raised as not sent."""
        client = client_of(emulator, retry=RetryPolicy(attempts=3))
        await emulator.aclose()

        with pytest.raises(NotSentError) as caught:
            await client.project().run_feature("Checkout")

        assert caught.value.attempts == 3
        await client.aclose()

    @pytest.mark.parametrize("status", [400, 404, 409])
    async def test_a_refusal_is_final(
        self, emulator: Emulator, project: Project, status: int
    ) -> None:
        """A clear no is raised at once, after one request and no looking around."""
        emulator.fail("run_feature", Fault.status(status))

        with pytest.raises(Exception, match=str(status)):
            await project.run_feature("Checkout")

        assert [request.operation for request in emulator.requests] == ["run_feature"]


class TestLostRuns:
    @pytest.mark.parametrize("fault", ANSWER_LOST)
    async def test_the_one_new_run_is_ours(
        self, emulator: Emulator, project: Project, fault: Fault
    ) -> None:
        """A lost answer is settled by the list: exactly one new run of the feature is ours."""
        await project.run_feature("Checkout")
        await asyncio.sleep(10)
        emulator.fail("run_feature", fault, times=1)

        operation = await project.run_feature("checkout", config="Mobile")

        assert operation.adopted
        assert operation.run_id == max(emulator.runs)
        assert emulator.count("run_feature") == 2
        assert (await operation).config == "Mobile"

    @pytest.mark.parametrize("fault", NOTHING_DONE)
    async def test_no_new_run_is_unknown(
        self, emulator: Emulator, project: Project, fault: Fault
    ) -> None:
        """Where nothing is to be seen it is not sent again, and the error says where to look."""
        emulator.fail("run_feature", fault)

        with pytest.raises(DispatchUnknownError, match="look at list_runs") as caught:
            await project.run_feature("Checkout")

        assert (caught.value.project, caught.value.feature) == (project.id, "Checkout")
        assert isinstance(
            caught.value.__cause__, OutcomeUnknownError | ServerError | MalformedResponseError
        )
        assert emulator.count("run_feature") == 1

    async def test_two_new_runs_are_nobodys(self, emulator: Emulator, project: Project) -> None:
        """Where a stranger ran the feature too, nobody can tell which is ours."""
        emulator.fail("run_feature", Fault.lost(), times=2)
        async with client_of(emulator) as stranger:
            results = await asyncio.gather(
                project.run_feature("Checkout"),
                stranger.project().run_feature("Checkout"),
                return_exceptions=True,
            )

        assert [type(result) for result in results] == [DispatchUnknownError] * 2
        assert emulator.count("run_feature") == 2

    async def test_runs_of_others_are_not_ours(self, emulator: Emulator, project: Project) -> None:
        """Runs that we know, of another feature, of another configuration or older are not it."""
        await project.run_feature("Checkout")
        await asyncio.sleep(10)
        await project.run_feature("Checkout")
        await project.run_feature("Returns")
        async with client_of(emulator) as stranger:
            await stranger.project().run_feature("Checkout", config="Mobile")
        emulator.fail("run_feature", Fault.lost())

        operation = await project.run_feature("Checkout")

        assert operation.run_id == max(emulator.runs)

    async def test_what_a_careless_list_shows_is_not_ours(
        self, emulator: Emulator, project: Project
    ) -> None:
        """A list that ignores the filter, or knows no times, does not mislead."""
        async with client_of(emulator) as stranger:
            await stranger.project().run_feature("Checkout")
            await asyncio.sleep(20)
            await stranger.project().run_feature("Returns")
        unfiltered = await project.list_runs()
        assert len(unfiltered) == 2
        emulator.fail("run_feature", Fault.reset())
        rows = await _rows(project)
        timeless = [{**row, "createdUtc": None} for row in rows]
        emulator.fail("list_runs", Fault.edit(lambda _: [*rows, *timeless]))

        with pytest.raises(DispatchUnknownError):
            await project.run_feature("Checkout")

    async def test_a_feature_by_id(self, emulator: Emulator, project: Project) -> None:
        """A run of a feature that was named by its id is found as well."""
        feature = emulator.features["Checkout"].id
        emulator.fail("run_feature", Fault.lost())

        operation = await project.run_feature(feature)

        assert operation.feature_id == feature

    async def test_without_lists_it_is_unknown_at_once(self) -> None:
        """Where the service has no list of runs there is nothing to wait for."""
        async with Emulator(lists=False) as emulator, client_of(emulator) as client:
            emulator.fail("run_feature", Fault.lost())
            with pytest.raises(DispatchUnknownError):
                await client.project().run_feature("Checkout")

            assert emulator.count("run_feature") == 1
            assert now() == 0

    async def test_a_list_that_fails_is_asked_again(
        self, emulator: Emulator, project: Project
    ) -> None:
        """Settling bears with a service that is not itself yet."""
        emulator.fail("run_feature", Fault.lost())
        emulator.fail("list_runs", Fault.status(429), times=4)

        assert (await project.run_feature("Checkout")).adopted

    @pytest.mark.parametrize("held_up", ["rest", "queue"])
    async def test_a_run_that_began_before_ours_was_sent_is_not_ours(
        self, emulator: Emulator, held_up: str
    ) -> None:
        """What a stranger dispatched while ours was held up on this side is never adopted."""
        async with client_of(emulator, max_connections=1) as client, client_of(emulator) as other:
            waits: list[asyncio.Future[Any]] = []
            if held_up == "rest":
                emulator.fail("run_feature", Fault.status(429, retry_after=25), times=1)
            else:
                emulator.fail("list_projects", Fault.delay(25), times=1)
                waits.append(asyncio.ensure_future(client.list_projects()))
                await asyncio.sleep(0)
            ours = asyncio.ensure_future(client.project().run_feature("Checkout"))
            await asyncio.sleep(10)
            emulator.fail("run_feature", Fault.reset(), skip=1)
            await other.project().run_feature("Checkout")

            with pytest.raises(DispatchUnknownError):
                await ours
            await asyncio.gather(*waits)

        assert len(emulator.runs) == 1

    async def test_a_service_without_a_clock_settles_nothing(self) -> None:
        """Where no answer has a date nobody can tell which run is new, so none is adopted."""
        row = {"runId": 7, "status": "running", "featureId": 1, "featureName": "Checkout"}
        rows = json.dumps([row | {"createdUtc": datetime.now(UTC).isoformat()}])
        asked: list[str] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append((await reader.readuntil(b"\r\n\r\n")).decode().split()[0])
            if asked[-1] == "GET":
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(rows)}\r\nConnection: close\r\n"
                writer.write(f"{head}\r\n{rows}".encode())
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with Client(url, api_key=KEY, project="p") as client:
                with pytest.raises(DispatchUnknownError):
                    await client.project().run_feature("Checkout")

        assert asked == ["POST", "GET", "GET", "GET"]

    @pytest.mark.parametrize("second", [Fault.status(409), Fault.status(401), Fault.reset()])
    async def test_where_the_second_try_is_refused_nobody_knows_still(
        self, emulator: Emulator, second: Fault
    ) -> None:
        """A refusal of what was sent again does not tell what the first did."""
        async with client_of(emulator) as client:
            emulator.fail("list_runs", Fault.status(404))
            emulator.fail("run_feature", Fault.lost(), times=1)
            emulator.fail("run_feature", second)

            with pytest.raises(DispatchUnknownError, match="the answer was lost"):
                await client.project().run_feature("Checkout", retry_unknown=True)

        assert len(emulator.runs) == 1
        assert emulator.count("run_feature") == 2

    async def test_where_the_second_try_is_not_sent_nobody_knows_still(
        self, emulator: Emulator
    ) -> None:
        """That the second POST found no connection does not tell what the first did."""
        async with client_of(emulator, retry=RetryPolicy(attempts=1)) as client:
            emulator.fail("list_runs", Fault.status(404))
            emulator.fail("run_feature", Fault.lost(), times=1)
            send = client._transport._http.send
            posts = 0

            async def unreachable_after_the_first(request: Request[Any]) -> Response:
                nonlocal posts
                posts += request.method == "POST"
                if posts > 1:
                    raise NotSentError("could not connect", method="POST", url="")
                return await send(request)

            client._transport._http.send = unreachable_after_the_first  # type: ignore[method-assign]

            with pytest.raises(DispatchUnknownError, match=r"second try failed: .*not connect"):
                await client.project().run_feature("Checkout", retry_unknown=True)

        assert posts == 2
        assert len(emulator.runs) == 1

    @pytest.mark.parametrize("end", ["close", "cancel", "session"])
    async def test_whatever_ends_the_second_try_nobody_knows_still(
        self, emulator: Emulator, caplog: pytest.LogCaptureFixture, end: str
    ) -> None:
        """A close, a cancellation or a session that is gone does not make the first POST undone."""
        session = aiohttp.ClientSession()
        client = client_of(emulator, session=session)
        emulator.fail("list_runs", Fault.edit(lambda _: []))
        emulator.fail("run_feature", Fault.lost(), times=1)
        emulator.fail("run_feature", Fault.status(429, retry_after=60))
        caller = asyncio.ensure_future(client.project().run_feature("Checkout", retry_unknown=True))
        await asyncio.sleep(5 if end == "session" else 10)
        if end == "close":
            await client.aclose()
        elif end == "session":
            await session.close()
        else:
            caller.cancel()
        (result,) = await asyncio.gather(caller, return_exceptions=True)
        await client.aclose()
        await session.close()

        if end == "cancel":
            assert isinstance(result, asyncio.CancelledError)
            assert "may have taken effect" in caplog.text
        else:
            assert isinstance(result, DispatchUnknownError)
        assert len(emulator.runs) == 1

    async def test_it_is_sent_again_where_that_was_asked_for(
        self, emulator: Emulator, project: Project
    ) -> None:
        """retry_unknown=True sends a run that could not be settled once more, and only once."""
        emulator.fail("run_feature", Fault.reset(), times=1)
        operation = await project.run_feature("Checkout", retry_unknown=True)
        assert not operation.adopted

        emulator.fail("run_feature", Fault.reset())
        with pytest.raises(DispatchUnknownError):
            await project.run_feature("Checkout", retry_unknown=True)

        assert emulator.count("run_feature") == 4


@pytest.mark.parametrize("dispatched", ["run_feature", "generate_feature"])
async def test_what_a_late_answer_tells_of_is_not_found_by_another(
    emulator: Emulator, dispatched: str
) -> None:
    """While one dispatch waits for its answer, another of the feature does not adopt its work."""
    refs: list[Ref] = []
    hooks = Hooks(on_dispatched=lambda event: refs.append(event.ref))
    async with client_of(emulator, hooks=hooks) as client:
        send = client._transport._http.send

        async def slow_for_the_first(request: Request[Any]) -> Response:
            response = await send(request)
            if (request.body or {}).get("siteUrl") == "https://slow.example":
                await asyncio.sleep(4)
            return response

        client._transport._http.send = slow_for_the_first  # type: ignore[method-assign]
        emulator.fail(dispatched, Fault.reset(), times=1, skip=1)
        dispatch: Callable[..., Awaitable[Any]] = getattr(client.project(), dispatched)
        feature = "Checkout" if dispatched == "run_feature" else "Draft"
        results: tuple[Any, ...] = await asyncio.gather(
            dispatch(feature, site_url="https://slow.example"),
            dispatch(feature),
            return_exceptions=True,
        )

    first, second = results
    assert not first.adopted
    assert isinstance(second, DispatchUnknownError)
    assert refs == [first.ref]


async def test_a_dispatch_to_another_project_hinders_no_finding(
    emulator: Emulator, client: Client
) -> None:
    """What waits for its answer in one project has no claim on a run of another."""
    other = emulator.add_project("Other")
    emulator.add_feature("Checkout", project=other)
    emulator.fail("run_feature", Fault.delay(10), times=1)
    emulator.fail("run_feature", Fault.lost(), skip=1, times=1)
    waiting = asyncio.ensure_future(client.project(other.id).run_feature("Checkout"))
    await asyncio.sleep(0.5)

    operation = await client.project().run_feature("Checkout")

    assert operation.adopted
    assert not waiting.done()
    assert not (await waiting).adopted


async def test_a_run_of_another_site_is_not_ours(emulator: Emulator, project: Project) -> None:
    """A run that began on another site than the one asked for is not adopted."""
    emulator.fail("run_feature", Fault.reset(), times=1)
    emulator.fail("run_feature", Fault.lost(), times=1)

    did_not, acted = await asyncio.gather(
        project.run_feature("Checkout", site_url="https://b.example"),
        project.run_feature("Checkout", site_url="https://a.example"),
        return_exceptions=True,
    )

    assert isinstance(acted, RunOperation)
    assert acted.adopted
    assert (await acted).site_url == "https://a.example"
    assert isinstance(did_not, DispatchUnknownError)


async def test_a_run_is_that_of_the_dispatch_which_named_its_site(
    emulator: Emulator, project: Project
) -> None:
    """Of two dispatches lost at once, the one that left the site open adopts no other's run."""
    emulator.fail("run_feature", Fault.reset(), times=1)
    emulator.fail("run_feature", Fault.lost(), times=1)

    open_site, own_site = await asyncio.gather(
        project.run_feature("Checkout"),
        project.run_feature("Checkout", site_url="https://a.example"),
        return_exceptions=True,
    )

    assert len(emulator.runs) == 1
    assert isinstance(open_site, DispatchUnknownError)
    assert isinstance(own_site, RunOperation)
    assert own_site.adopted


async def test_an_attached_run_is_not_ours(emulator: Emulator) -> None:
    """A run that this client holds a handle on can't be the one that was lost."""
    async with client_of(emulator) as client, client_of(emulator) as other:
        theirs = client.attach((await other.project().run_feature("Checkout")).ref)
        emulator.fail("run_feature", Fault.reset())

        with pytest.raises(DispatchUnknownError):
            await client.project().run_feature("Checkout")

        assert not theirs.done


async def test_a_feature_named_like_the_id_of_ours(emulator: Emulator, project: Project) -> None:
    """A number names a feature by its id alone, as it does at the service."""
    ours = emulator.features["Checkout"].id
    namesake = emulator.add_feature(str(ours))
    async with client_of(emulator) as other:
        await other.project().run_feature(namesake.id)
    rows = await _rows(project)
    emulator.fail("list_runs", Fault.edit(lambda _: rows))
    emulator.fail("run_feature", Fault.reset())

    with pytest.raises(DispatchUnknownError):
        await project.run_feature(ours)


async def test_one_of_many_runs_of_a_feature_is_found(emulator: Emulator, project: Project) -> None:
    """The run whose answer was lost is found behind all those that were begun with it."""
    emulator.fail("run_feature", Fault.lost(), times=1)

    items = await project.run_features(["Checkout"] * 60)

    assert {item.verdict for item in items} == {"succeeded"}
    assert len(emulator.runs) == 60


async def test_a_slow_answer_tells_no_time(emulator: Emulator) -> None:
    """A list that is long on its way does not make a run look new that a stranger began before."""
    async with (
        FaultProxy(emulator.url) as proxy,
        Client(proxy.url, api_key=emulator.api_key, project=emulator.project_id) as client,
        client_of(emulator) as other,
    ):
        await other.project().run_feature("Checkout")
        await asyncio.sleep(6)
        proxy.fail(NetworkFault.reset_request(), when=lambda method, _: method == "POST")
        proxy.fail(NetworkFault.slow(150), when=lambda method, _: method == "GET")

        with pytest.raises(DispatchUnknownError):
            await client.project().run_feature("Checkout")

    assert len(emulator.runs) == 1


async def test_settling_comes_to_an_end(emulator: Emulator, project: Project) -> None:
    """A service that hangs keeps a lost dispatch from its error for two minutes at most."""
    emulator.fail("run_feature", Fault.hang())
    emulator.fail("list_runs", Fault.hang())

    with pytest.raises(DispatchUnknownError):
        await project.run_feature("Checkout")

    assert now() == pytest.approx(30 + 120, abs=0.1)


class TestLostGenerations:
    @pytest.mark.parametrize("fault", ANSWER_LOST)
    async def test_the_new_generation_is_ours(
        self, emulator: Emulator, project: Project, fault: Fault
    ) -> None:
        """A generation that was not there before the dispatch is ours."""
        emulator.fail("generate_feature", fault)

        operation = await project.generate_feature("Draft")

        assert operation.adopted
        assert list(emulator.generations) == [operation.request_id]
        assert emulator.count("generate_feature") == 1
        assert (await operation).is_success

    async def test_one_that_is_over_already_is_ours_too(
        self, emulator: Emulator, project: Project
    ) -> None:
        """It need not be in flight any more: it is enough that it was not there before."""
        await (await project.generate_feature("Draft"))
        emulator.fail("generate_feature", Fault.lost())
        emulator.fail("get_generation_status", Fault.status(500), skip=1, times=4)
        dispatch = asyncio.ensure_future(project.generate_feature("Draft"))
        await asyncio.sleep(1)
        request_id = list(emulator.generations)[-1]
        emulator.finish_generation(request_id)

        operation = await dispatch

        assert operation.request_id == request_id
        assert (await operation).is_success

    @pytest.mark.parametrize("fault", NOTHING_DONE)
    async def test_no_new_generation_is_unknown(
        self, emulator: Emulator, project: Project, fault: Fault
    ) -> None:
        """A paid dispatch whose fate is unknown is never sent a second time."""
        await (await project.generate_feature("Draft"))
        emulator.fail("generate_feature", fault)

        with pytest.raises(DispatchUnknownError, match="look at get_generation_status") as caught:
            await project.generate_feature("Draft")

        assert caught.value.feature == "Draft"
        assert emulator.count("generate_feature") == 2
        assert len(emulator.generations) == 1

    async def test_a_feature_that_was_never_generated_has_nothing_to_show(
        self, emulator: Emulator, project: Project
    ) -> None:
        """A status that names no generation does not settle anything."""
        emulator.fail("generate_feature", Fault.reset())

        with pytest.raises(DispatchUnknownError):
            await project.generate_feature("Draft")

        assert emulator.generations == {}

    async def test_without_the_look_before_nothing_is_ours(
        self, emulator: Emulator, project: Project
    ) -> None:
        """Where nobody knows what was there before, a generation in flight may be anybody's."""
        emulator.fail("get_generation_status", Fault.status(500), times=RetryPolicy().attempts)
        emulator.fail("generate_feature", Fault.lost())

        with pytest.raises(DispatchUnknownError):
            await project.generate_feature("Draft")

        assert emulator.count("generate_feature") == 1

    async def test_the_look_before_is_tried_again(
        self, emulator: Emulator, project: Project
    ) -> None:
        """A look before that fails once does not spoil the settling."""
        emulator.fail("get_generation_status", Fault.status(500), times=1)
        emulator.fail("generate_feature", Fault.lost())

        operation = await project.generate_feature("Draft")

        assert list(emulator.generations) == [operation.request_id]

    @pytest.mark.parametrize("fault", [Fault.status(404), Fault.body(b'{"hello": 1}')])
    async def test_a_look_before_that_shows_nothing_does_not_say_that_there_was_none(
        self, emulator: Emulator, project: Project, fault: Fault
    ) -> None:
        """An older generation that the look before should have shown is never taken for ours."""
        async with client_of(emulator) as other:
            await (await other.project().generate_feature("Draft"))
        emulator.fail("get_generation_status", fault, times=1)
        emulator.fail("generate_feature", Fault.reset())

        with pytest.raises(DispatchUnknownError):
            await project.generate_feature("Draft")

        assert len(emulator.generations) == 1

    async def test_the_first_generation_of_a_feature_is_found(
        self, emulator: Emulator, project: Project
    ) -> None:
        """A status without a generation says that there was none before."""
        emulator.fail("generate_feature", Fault.lost())

        assert (await project.generate_feature("Draft")).adopted
        assert len(emulator.generations) == 1

    async def test_a_known_one_is_not_ours(self, emulator: Emulator) -> None:
        """A generation that this client holds a handle on can't be the one that was lost."""
        async with client_of(emulator) as client, client_of(emulator) as rival:
            project = client.project()
            send = client._transport._http.send
            known: list[Operation[Any]] = []

            async def raced(request: Request[Any]) -> Response:
                if request.endpoint.name == "generate_feature":
                    theirs = await rival.project().generate_feature("Draft")
                    known.append(client.attach(theirs.ref))
                    emulator.fail("generate_feature", Fault.reset())
                return await send(request)

            client._transport._http.send = raced  # type: ignore[method-assign]

            with pytest.raises(DispatchUnknownError):
                await project.generate_feature("Draft")

            assert not known[0].done

    async def test_one_that_began_while_ours_was_held_up_is_not_ours(
        self, emulator: Emulator, client: Client
    ) -> None:
        """A look long before the POST does not say what was there before it."""
        emulator.fail("generate_feature", Fault.status(429, retry_after=100), times=1)
        ours = asyncio.ensure_future(client.project().generate_feature("Draft"))
        await asyncio.sleep(20)
        async with client_of(emulator) as stranger:
            await stranger.project().generate_feature("Draft")
        emulator.fail("generate_feature", Fault.reset())

        with pytest.raises(DispatchUnknownError):
            await ours

    async def test_an_own_one_that_nobody_holds_is_not_the_lost_one(
        self, emulator: Emulator
    ) -> None:
        """What this client dispatched is known to it, though its handle was dropped."""
        heard: list[Dispatched] = []
        async with client_of(emulator, hooks=Hooks(on_dispatched=heard.append)) as client:
            emulator.fail("generate_feature", Fault.reset(), skip=1)
            first = asyncio.ensure_future(client.project().generate_feature("Draft"))
            second = asyncio.ensure_future(
                client.project().generate_feature("Draft", site_url="https://b.example")
            )
            await first
            del first

            with pytest.raises(DispatchUnknownError):
                await second

        assert [event.adopted for event in heard] == [False]


class TestHooks:
    async def test_every_dispatch_is_told(self, emulator: Emulator) -> None:
        """on_dispatched gets the ref of each operation, found or answered."""
        heard: list[Dispatched] = []
        async with client_of(emulator, hooks=Hooks(on_dispatched=heard.append)) as client:
            project = client.project()
            run = await project.run_feature("Checkout")
            emulator.fail("generate_feature", Fault.lost())
            generation = await project.generate_feature("Draft")

        assert [(event.ref, event.adopted) for event in heard] == [
            (run.ref, False),
            (generation.ref, True),
        ]

    async def test_a_hook_that_raises_loses_nothing(
        self, emulator: Emulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The operation is returned all the same, and the ref is in the log."""

        def broken(_: Dispatched) -> None:
            raise ZeroDivisionError

        async with client_of(emulator, hooks=Hooks(on_dispatched=broken)) as client:
            operation = await client.project().run_feature("Checkout")

        assert f"the hook on_dispatched failed on Dispatched ref={operation.ref}" in caplog.text

    async def test_a_log_that_fails_loses_nothing(
        self, emulator: Emulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A logging filter that raises keeps neither the hook nor the caller from the ref."""
        heard: list[Dispatched] = []

        def broken(_record: logging.LogRecord) -> bool:
            raise ZeroDivisionError

        log = logging.getLogger("testvibe_async")
        log.addFilter(broken)
        try:
            with caplog.at_level(logging.DEBUG, "testvibe_async"):
                async with client_of(emulator, hooks=Hooks(on_dispatched=heard.append)) as client:
                    operation = await client.project().run_feature("Checkout")
        finally:
            log.removeFilter(broken)

        assert [event.ref for event in heard] == [operation.ref]

    async def test_a_hook_that_turns_out_async_is_told_of(
        self, emulator: Emulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What nobody awaits stores nothing, and the log says so, with the ref."""

        async def store(_ref: Ref) -> None:
            pass

        hooks = Hooks(on_dispatched=lambda event: store(event.ref))
        async with client_of(emulator, hooks=hooks) as client:
            operation = await client.project().run_feature("Checkout")

        assert f"the hook on_dispatched failed on Dispatched ref={operation.ref}" in caplog.text
        assert "nobody awaits it" in caplog.text

    async def test_a_hook_that_attaches_takes_nothing_away(self, emulator: Emulator) -> None:
        """A 404 right after a dispatch is waited out, also where the hook made a handle first."""
        kept: list[RunOperation] = []

        def attach(event: Dispatched) -> None:
            operation = client.attach(event.ref)
            assert isinstance(operation, RunOperation)
            kept.append(operation)

        async with client_of(emulator, hooks=Hooks(on_dispatched=attach)) as client:
            emulator.fail("get_run", Fault.status(404), when=lambda _: emulator.now() < 6)
            operation = await client.project().run_feature("Checkout")

            assert (operation.phase, kept[0].phase) == ("queued", "queued")
            assert (await operation).is_success

    async def test_the_ref_says_when_it_was_sent(self, emulator: Emulator, client: Client) -> None:
        """A rest that the service asked for before the dispatch makes the operation no older."""
        emulator.fail("run_feature", Fault.status(429, retry_after=70), times=1)
        operation = await client.project().run_feature("Checkout")

        assert operation.ref.dispatched_at is not None
        age = datetime.now(UTC) - operation.ref.dispatched_at
        assert age.total_seconds() < 5


class TestCancelling:
    async def test_a_dispatch_that_is_cancelled_itself_tells_of_it(
        self, emulator: Emulator, client: Client
    ) -> None:
        """Who cancels all tasks cancels a POST too; its caller hears that it may have acted."""
        emulator.fail("run_feature", Fault.delay(5))
        caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
        await asyncio.sleep(1)
        for task in asyncio.all_tasks():
            if task.get_name() == "testvibe_async dispatch":
                task.cancel()

        with pytest.raises(DispatchUnknownError, match="its task was cancelled"):
            await caller

    async def test_a_shutdown_that_cancels_all_tasks_leaves_a_trace(
        self, emulator: Emulator, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Where caller and POST are cancelled together the log says what may have begun."""
        emulator.fail("run_feature", Fault.delay(5))
        caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
        await asyncio.sleep(1)
        posts = [t for t in asyncio.all_tasks() if t.get_name() == "testvibe_async dispatch"]
        tasks = [caller, *posts]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

        assert len(tasks) == 2
        assert "may have taken effect" in caplog.text

    async def test_a_cancelled_caller_does_not_lose_the_id(self, emulator: Emulator) -> None:
        """The POST goes on when its caller is cancelled, and the hook has the ref."""
        heard: list[Dispatched] = []
        async with client_of(emulator, hooks=Hooks(on_dispatched=heard.append)) as client:
            emulator.fail("run_feature", Fault.delay(5))
            caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
            await asyncio.sleep(1)
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            assert now() == 1
            await asyncio.sleep(10)

            assert [event.ref.key[-1] for event in heard] == list(emulator.runs)

    async def test_a_caller_cancelled_in_the_queue_sends_nothing(self, emulator: Emulator) -> None:
        """What had not been sent yet when its caller was cancelled is never sent."""
        async with client_of(emulator, max_connections=1) as client:
            emulator.fail("run_feature", Fault.delay(5))
            callers = [
                asyncio.ensure_future(client.project().run_feature("Checkout")) for _ in range(5)
            ]
            await asyncio.sleep(1)
            for caller in callers:
                caller.cancel()
            await asyncio.sleep(60)

        assert len(emulator.runs) == 1

    async def test_a_failure_after_the_caller_left_is_logged(
        self, emulator: Emulator, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A dispatch that nobody waits for any more leaves a trace where it fails."""
        emulator.fail("run_feature", Fault.hang())
        caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
        await asyncio.sleep(1)
        caller.cancel()
        with caplog.at_level(logging.WARNING):
            await asyncio.sleep(60)

        assert "a dispatch whose caller was cancelled failed" in caplog.text
        assert "may have taken effect" in caplog.text

    async def test_a_caller_cancelled_before_a_retry_sends_nothing_more(
        self, emulator: Emulator, client: Client
    ) -> None:
        """While a dispatch only waits to be sent again, cancelling its caller ends it."""
        emulator.fail("run_feature", Fault.status(429, retry_after=30), times=1)
        caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
        await asyncio.sleep(10)
        caller.cancel()
        await asyncio.sleep(60)

        assert emulator.count("run_feature") == 1

    @pytest.mark.parametrize(
        ("fault", "options"),
        [
            (Fault.status(429, retry_after=3), {}),
            (Fault.reset(), {"retry_unknown": True}),
        ],
        ids=["429", "retry_unknown"],
    )
    async def test_what_nobody_wants_any_more_is_not_sent_again(
        self, emulator: Emulator, client: Client, fault: Fault, options: dict[str, Any]
    ) -> None:
        """A POST whose caller was cancelled is not repeated, though it may be if he were there."""
        emulator.fail("run_feature", fault, times=1)
        emulator.fail("run_feature", Fault.delay(5), times=1)
        caller = asyncio.ensure_future(client.project().run_feature("Checkout", **options))
        await asyncio.sleep(1)
        caller.cancel()
        await asyncio.sleep(60)

        assert emulator.count("run_feature") == 1
        assert emulator.runs == {}

    async def test_a_second_post_that_waits_for_its_turn_is_not_sent(self) -> None:
        """A caller who is cancelled before the second POST of retry_unknown gets no second run."""
        async with Emulator(lists=False) as emulator, client_of(emulator, rate_limit=0.1) as client:
            emulator.fail("run_feature", Fault.lost(), times=1)
            caller = asyncio.ensure_future(
                client.project().run_feature("Checkout", retry_unknown=True)
            )
            await asyncio.sleep(15)  # the second POST may begin at 20 s
            caller.cancel()
            await asyncio.sleep(60)

            assert emulator.count("run_feature") == 1

    @pytest.mark.parametrize("fault", ANSWER_LOST)
    async def test_a_lost_answer_is_settled_after_the_caller_left(
        self, emulator: Emulator, fault: Fault
    ) -> None:
        """The id of a run whose answer was lost still reaches the hook of a cancelled caller."""
        heard: list[Dispatched] = []
        async with client_of(emulator, hooks=Hooks(on_dispatched=heard.append)) as client:
            emulator.fail("run_feature", fault)
            emulator.fail("list_runs", Fault.delay(0.9))
            caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
            await asyncio.sleep(0.5)
            caller.cancel()
            await asyncio.sleep(30)

        assert [(event.ref.key[-1], event.adopted) for event in heard] == [
            (run_id, True) for run_id in emulator.runs
        ]
        assert len(heard) == 1


async def one_under_way(
    emulator: Emulator, fault: Fault
) -> tuple[Client, asyncio.Future[RunOperation]]:
    """Make a client and dispatch a run that meets a fault, a second ago."""
    client = client_of(emulator)
    emulator.fail("run_feature", fault)
    caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
    await asyncio.sleep(1)
    return client, caller


class TestClosing:
    async def test_closing_while_a_lost_answer_is_settled(self, emulator: Emulator) -> None:
        """A client that closes before a lost answer was settled says that nobody knows."""
        client = client_of(emulator)
        emulator.fail("run_feature", Fault.lost())
        emulator.fail("list_runs", Fault.hang())
        caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
        await asyncio.sleep(1)

        await client.aclose()

        with pytest.raises(DispatchUnknownError, match="closed before that could be settled"):
            await caller
        assert now() == pytest.approx(11, abs=0.1)

    async def test_closing_while_a_dispatch_rests(self, emulator: Emulator) -> None:
        """A dispatch that only waits to be sent again is called back at once."""
        client, caller = await one_under_way(emulator, Fault.status(429, retry_after=60))

        await client.aclose()

        with pytest.raises(ClientClosedError):
            await caller
        assert now() == 1
        assert emulator.count("run_feature") == 1

    async def test_closing_waits_for_the_answer(self, emulator: Emulator) -> None:
        """A POST under way at the close is finished: its caller gets the operation."""
        client, caller = await one_under_way(emulator, Fault.delay(5))

        await client.aclose()

        assert (await caller).run_id in emulator.runs
        assert now() == pytest.approx(5, abs=0.1)

    async def test_closing_does_not_wait_for_ever(self, emulator: Emulator) -> None:
        """A POST without an answer is given up after 10 s, as of unknown effect."""
        client, caller = await one_under_way(emulator, Fault.hang())

        await client.aclose()

        with pytest.raises(DispatchUnknownError, match="closed before that could be settled"):
            await caller
        assert now() == pytest.approx(11, abs=0.1)

    async def test_what_was_not_sent_is_called_back(self, emulator: Emulator) -> None:
        """A dispatch in the queue is not sent any more; its caller hears that the client closed."""
        client = client_of(emulator, max_connections=1)
        emulator.fail("run_feature", Fault.delay(5))
        sent, queued = [
            asyncio.ensure_future(client.project().run_feature("Checkout")) for _ in range(2)
        ]
        await asyncio.sleep(1)

        await client.aclose()

        with pytest.raises(ClientClosedError):
            await queued
        assert (await sent).run_id in emulator.runs
        assert len(emulator.runs) == 1

    async def test_a_close_that_is_cancelled_twice_loses_no_id(self, emulator: Emulator) -> None:
        """Time-outs within each other cancel a close twice; the POST is still finished."""
        heard: list[Dispatched] = []
        emulator.fail("run_feature", Fault.delay(5))

        async def body() -> None:
            async with client_of(emulator, hooks=Hooks(on_dispatched=heard.append)) as client:
                await client.project().run_feature("Checkout")

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2), asyncio.timeout(1):
                await body()

        assert [event.ref.key[-1] for event in heard] == list(emulator.runs)
        assert len(heard) == 1
        assert now() == pytest.approx(5, abs=0.1)

    async def test_an_impatient_second_close_spoils_nothing(self, emulator: Emulator) -> None:
        """One close that is cancelled does not end the time that another one gives."""
        client, caller = await one_under_way(emulator, Fault.delay(5))
        patient = asyncio.ensure_future(client.aclose())

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.aclose(), 0.5)

        await patient
        assert (await caller).run_id in emulator.runs

    async def test_a_second_close_gives_no_more_time(self, emulator: Emulator) -> None:
        """However often a client is closed, a POST has 10 s from the first."""
        client, caller = await one_under_way(emulator, Fault.hang())
        first = asyncio.ensure_future(client.aclose())
        await asyncio.sleep(9)
        await client.aclose()

        assert now() == pytest.approx(11, abs=0.1)
        await first
        with pytest.raises(DispatchUnknownError):
            await caller

    async def test_no_dispatch_after_the_close_began(self, emulator: Emulator) -> None:
        """While a client closes it takes no new dispatches."""
        client, caller = await one_under_way(emulator, Fault.delay(5))
        closing = asyncio.ensure_future(client.aclose())
        await asyncio.sleep(1)

        with pytest.raises(ClientClosedError):
            await client.project().run_feature("Checkout")
        await asyncio.gather(caller, closing)


class TestConflicts:
    async def test_a_generation_in_flight_is_named(self, project: Project) -> None:
        """A 409 of generate_feature carries the ref of the one in flight."""
        running = await project.generate_feature("Draft")

        with pytest.raises(GenerationInProgressError) as caught:
            await project.generate_feature("Draft")

        assert caught.value.ref is not None
        assert caught.value.ref.key == running.ref.key
        assert caught.value.code == "conflict"

    async def test_one_that_can_not_be_seen_has_no_ref(
        self, emulator: Emulator, project: Project
    ) -> None:
        """Where the look fails the conflict is raised all the same."""
        await project.generate_feature("Draft")
        emulator.fail("get_generation_status", Fault.status(404))

        with pytest.raises(GenerationInProgressError) as caught:
            await project.generate_feature("Draft")

        assert caught.value.ref is None

    async def test_attaching_joins_the_one_in_flight(
        self, emulator: Emulator, project: Project
    ) -> None:
        """on_conflict="attach" returns a handle on the one in flight, and pays for no other."""
        running = await project.generate_feature("Draft")

        joined = await project.generate_feature("Draft", on_conflict="attach")

        assert joined.adopted
        assert not running.adopted
        assert joined.request_id == running.request_id
        assert (await joined) is (await running)
        assert len(emulator.generations) == 1

    async def test_attaching_to_nothing_dispatches(self, project: Project) -> None:
        """on_conflict="attach" starts a generation where none is in flight."""
        operation = await project.generate_feature("Draft", on_conflict="attach")

        assert not operation.adopted

    async def test_waiting_dispatches_after_the_one_in_flight(
        self, emulator: Emulator, project: Project
    ) -> None:
        """on_conflict="wait" waits for the one in flight and then starts its own."""
        running = await project.generate_feature("Draft")

        own = await project.generate_feature("Draft", on_conflict="wait")

        assert running.done
        assert own.request_id != running.request_id
        assert not own.adopted
        assert list(emulator.generations) == [running.request_id, own.request_id]

    async def test_two_that_wait_for_one_both_have_their_turn(self, emulator: Emulator) -> None:
        """Whoever loses the race for the next turn waits for that one too, and then has its own."""
        async with client_of(emulator) as client, client_of(emulator) as other:
            first = await client.project().generate_feature("Draft")

            operations = await asyncio.gather(
                client.project().generate_feature("Draft", on_conflict="wait"),
                other.project().generate_feature("Draft", on_conflict="wait"),
            )

            assert sorted(emulator.generations) == sorted(
                operation.request_id for operation in (first, *operations)
            )
            assert {operation.adopted for operation in operations} == {False}

    async def test_waiting_for_one_that_another_took_the_place_of(
        self, emulator: Emulator, project: Project
    ) -> None:
        """on_conflict="wait" goes on where the one in flight is gone and a third is there."""
        running = await project.generate_feature("Draft")
        own = asyncio.ensure_future(project.generate_feature("Draft", on_conflict="wait"))
        await asyncio.sleep(10)
        emulator.finish_generation(running.request_id)
        async with client_of(emulator) as stranger:
            third = await stranger.project().generate_feature("Draft")

        operation = await own

        assert list(emulator.generations) == [
            running.request_id,
            third.request_id,
            operation.request_id,
        ]

    async def test_one_that_ended_meanwhile_is_no_conflict(
        self, emulator: Emulator, project: Project
    ) -> None:
        """Where nothing is in flight any more by the time of the look, ours is dispatched."""
        emulator.fail("generate_feature", Fault.status(409), times=2)

        operation = await project.generate_feature("Draft", on_conflict="attach")

        assert list(emulator.generations) == [operation.request_id]

    async def test_a_conflict_that_nobody_can_see_is_raised(
        self, emulator: Emulator, project: Project
    ) -> None:
        """A 409 that comes again and again with nothing in flight is not fought for ever."""
        emulator.fail("generate_feature", Fault.status(409))

        with pytest.raises(GenerationInProgressError):
            await project.generate_feature("Draft", on_conflict="wait")

        assert emulator.count("generate_feature") == 3

    async def test_one_that_was_seen_to_be_over_is_none_to_wait_for(
        self, emulator: Emulator, project: Project
    ) -> None:
        """A service that lags, and calls over what still goes on, is asked once a second."""
        over = await project.generate_feature("Draft")
        await over
        emulator.fail("generate_feature", Fault.status(409))
        lagging = {
            "featureStatus": "generating",
            "overallStatus": "in_progress",
            "overallConclusion": None,
        }
        emulator.fail("get_generation_status", Fault.edit(lambda answer: {**answer, **lagging}))
        began, asked = now(), emulator.count("generate_feature")

        with pytest.raises(GenerationInProgressError):
            await project.generate_feature("Draft", on_conflict="wait")

        assert emulator.count("generate_feature") - asked == 3
        assert now() - began == pytest.approx(2, abs=0.1)

    async def test_one_that_is_joined_is_known(self, emulator: Emulator, client: Client) -> None:
        """What was seen in flight is known: its status is there, and a 404 is waited out."""
        async with client_of(emulator) as other:
            await other.project().generate_feature("Draft")
        joined = await client.project().generate_feature("Draft", on_conflict="attach")
        emulator.fail("get_generation_status", Fault.status(404), times=1)

        assert joined.status == "generating"
        assert joined.snapshot is not None
        assert (await joined).is_success

    async def test_a_feature_without_tests(self, emulator: Emulator, project: Project) -> None:
        """A 409 of run_feature says that there is nothing to run."""
        with pytest.raises(FeatureNotGeneratedError) as caught:
            await project.run_feature("Draft")

        assert isinstance(caught.value, ConflictError)
        assert emulator.count("generate_feature") == 0

    async def test_generating_first(self, emulator: Emulator, project: Project) -> None:
        """on_conflict="generate" generates the tests and then runs them."""
        operation = await project.run_feature("Draft", on_conflict="generate")

        assert (await operation).is_success
        assert len(emulator.generations) == 1

    async def test_generating_first_joins_one_in_flight(
        self, emulator: Emulator, project: Project
    ) -> None:
        """on_conflict="generate" does not pay twice where a generation is in flight."""
        await project.generate_feature("Draft")

        await project.run_feature("Draft", on_conflict="generate")

        assert len(emulator.generations) == 1

    async def test_generating_first_pays_once(self, emulator: Emulator, project: Project) -> None:
        """Where another generation takes the place of ours, its tests are good enough."""
        own = asyncio.ensure_future(project.run_feature("Draft", on_conflict="generate"))
        await asyncio.sleep(10)
        (ours,) = emulator.generations
        await asyncio.sleep(1.9)
        emulator.finish_generation(ours)
        async with client_of(emulator) as rival:
            theirs = await rival.project().generate_feature("Draft")
            emulator.finish_generation(theirs.request_id)

        assert (await (await own)).is_success
        assert list(emulator.generations) == [ours, theirs.request_id]

    async def test_tests_that_came_meanwhile_are_not_paid_for_again(
        self, emulator: Emulator
    ) -> None:
        """Where a stranger's generation ends right after the 409, its tests are run."""
        async with client_of(emulator) as other:
            theirs = await other.project().generate_feature("Draft")

        def end_theirs(request: RequestFinished) -> None:
            if request.status == 409:
                emulator.finish_generation(theirs.request_id)

        async with client_of(emulator, hooks=Hooks(on_request=end_theirs)) as client:
            run = await (await client.project().run_feature("Draft", on_conflict="generate"))

        assert run.is_success
        assert list(emulator.generations) == [theirs.request_id]

    async def test_closing_ends_a_wait_for_a_conflict_that_nobody_can_see(
        self, emulator: Emulator
    ) -> None:
        """A call that waits before it dispatches again ends with the client, at once."""
        emulator.fail("generate_feature", Fault.status(409))
        client = client_of(emulator)
        call = asyncio.ensure_future(
            client.project().generate_feature("Checkout", on_conflict="attach")
        )
        await asyncio.sleep(0.5)
        closed_at = now()
        await client.aclose()

        with pytest.raises(ClientClosedError):
            await call
        assert now() - closed_at < 0.1

    async def test_generating_first_may_fail(self, emulator: Emulator, project: Project) -> None:
        """Where the generation fails there is nothing to run, and the cause says so."""
        with pytest.raises(FeatureNotGeneratedError) as caught:
            await project.run_feature("Broken", on_conflict="generate")

        assert isinstance(caught.value.__cause__, GenerationFailedError)
        assert emulator.runs == {}

    async def test_choices_are_checked(self, project: Project, emulator: Emulator) -> None:
        """An on_conflict that does not exist is refused before anything is sent."""
        choice: Any = "ignore"

        with pytest.raises(ConfigError, match="'raise', 'attach', 'wait', not 'ignore'"):
            await project.generate_feature("Draft", on_conflict=choice)
        with pytest.raises(ConfigError, match="'raise', 'generate', not 'ignore'"):
            await project.run_feature("Draft", on_conflict=choice)
        assert emulator.requests == []


async def test_a_refused_body_is_no_lost_answer(emulator: Emulator, project: Project) -> None:
    """A 400 is raised as it is."""
    emulator.fail("generate_feature", Fault.status(400))

    with pytest.raises(InvalidRequestError):
        await project.generate_feature("Draft")


class TestRepeatingSessions:
    @pytest.mark.parametrize("dispatched", ["run_feature", "generate_feature"])
    async def test_a_session_that_retries_sends_no_dispatch_twice(
        self, emulator: Emulator, dispatched: str
    ) -> None:
        """A middleware that repeats what failed gets no second POST; the first one is settled."""

        async def retry(
            request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            for _ in range(2):
                try:
                    return await send(request)
                except aiohttp.ClientConnectionError:
                    continue
            return await send(request)

        async with (
            aiohttp.ClientSession(middlewares=[retry]) as session,
            client_of(emulator, session=session) as client,
        ):
            emulator.fail(dispatched, Fault.lost(), times=1)
            dispatch: Callable[..., Awaitable[Any]] = getattr(client.project(), dispatched)
            operation = await dispatch("Checkout")

        assert operation.adopted
        assert emulator.count(dispatched) == 1

    async def test_a_session_that_retries_whatever_fails_gets_no_second_post(
        self, emulator: Emulator
    ) -> None:
        """A middleware that repeats a 5xx is told that the answer was lost."""
        tries: list[int] = []

        async def retry(
            request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            response = await send(request)
            tries.append(response.status)
            return await send(request) if response.status >= 500 else response

        async with (
            aiohttp.ClientSession(middlewares=[retry]) as session,
            client_of(emulator, session=session) as client,
        ):
            emulator.fail("run_feature", Fault.status(502), times=1)
            with pytest.raises(DispatchUnknownError, match="may not send it again"):
                await client.project().run_feature("Checkout")

        assert tries[0] == 502
        assert emulator.count("run_feature") == 1

    async def test_what_is_sent_and_then_finds_no_connection_may_have_acted(
        self, emulator: Emulator
    ) -> None:
        """A middleware's second try that finds no connection does not prove the first undone."""
        tries: list[str] = []

        async def retry(
            request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            try:
                return await send(request)
            except aiohttp.ClientError:
                tries.append(request.method)
                raise aiohttp.ClientConnectorError(
                    SimpleNamespace(host="h", port=1, ssl=False, is_ssl=False),  # type: ignore[arg-type]
                    OSError(errno.ECONNREFUSED, "refused"),
                ) from None

        async with (
            aiohttp.ClientSession(middlewares=[retry]) as session,
            client_of(emulator, session=session) as client,
        ):
            emulator.fail("generate_feature", Fault.lost(), times=1)
            operation = await client.project().generate_feature("Draft")

        assert tries == ["POST"]
        assert operation.adopted
        assert emulator.count("generate_feature") == 1

    async def test_a_refusal_may_be_answered(self, emulator: Emulator) -> None:
        """A middleware that answers a 401 by sending credentials is let through."""

        async def authorise(
            request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            response = await send(request)
            return await send(request) if response.status == 401 else response

        emulator.fail("run_feature", Fault.status(401), times=1)
        async with (
            aiohttp.ClientSession(middlewares=[authorise]) as session,
            client_of(emulator, session=session) as client,
        ):
            operation = await client.project().run_feature("Checkout")

        assert not operation.adopted
        assert len(emulator.runs) == 1


async def test_a_session_that_closes_the_client_midway(emulator: Emulator) -> None:
    """A close from within a dispatch does not wait for itself."""
    trace = aiohttp.TraceConfig()

    async def close(
        _session: aiohttp.ClientSession, _context: Any, end: aiohttp.TraceRequestEndParams
    ) -> None:
        if end.response.status == 400:
            await client.aclose()

    trace.on_request_end.append(close)
    emulator.fail("run_feature", Fault.status(400))
    async with aiohttp.ClientSession(trace_configs=[trace]) as session:
        client = client_of(emulator, session=session)

        with pytest.raises(InvalidRequestError):
            await client.project().run_feature("Checkout")
    assert now() < 1


class TestUnforeseen:
    async def test_an_error_that_is_not_ours_loses_no_id(self, emulator: Emulator) -> None:
        """What a session that was passed in raises after the POST is an answer that was lost."""
        heard: list[Dispatched] = []
        trace = aiohttp.TraceConfig()

        async def fail(
            _session: aiohttp.ClientSession, _context: Any, end: aiohttp.TraceRequestEndParams
        ) -> None:
            if end.method == "POST":
                raise ZeroDivisionError

        trace.on_request_end.append(fail)
        async with (
            aiohttp.ClientSession(trace_configs=[trace]) as session,
            client_of(emulator, session=session, hooks=Hooks(on_dispatched=heard.append)) as client,
        ):
            operation = await client.project().run_feature("Checkout")

        assert operation.adopted
        assert [event.ref.key[-1] for event in heard] == list(emulator.runs)

    async def test_looking_can_fail_so_too(self, emulator: Emulator) -> None:
        """Where looking fails in an unforeseen way as well, nobody knows."""
        trace = aiohttp.TraceConfig()

        async def fail(*_: object) -> None:
            raise ZeroDivisionError

        trace.on_request_end.append(fail)
        async with (
            aiohttp.ClientSession(trace_configs=[trace]) as session,
            client_of(emulator, session=session) as client,
        ):
            with pytest.raises(DispatchUnknownError, match="the answer was lost"):
                await client.project().run_feature("Checkout")
        assert len(emulator.runs) == 1

    async def test_an_error_of_a_middleware_is_of_unknown_effect(self, emulator: Emulator) -> None:
        """Whether a middleware that fails has sent anything, nobody knows."""

        async def refuse(*_: object) -> aiohttp.ClientResponse:
            raise ZeroDivisionError("it broke")

        async with (
            aiohttp.ClientSession(middlewares=[refuse]) as session,
            client_of(emulator, session=session) as client,
        ):
            with pytest.raises(DispatchUnknownError, match="the answer was lost: it broke"):
                await client.project().run_feature("Checkout")

    async def test_an_answer_with_an_empty_id_is_settled(
        self, emulator: Emulator, project: Project
    ) -> None:
        """An answer that names no generation is one that was lost."""
        emulator.fail(
            "generate_feature", Fault.edit(lambda answer: {**answer, "requestId": ""}), times=1
        )
        operation = await project.generate_feature("Draft")
        assert operation.adopted

    async def test_a_generation_without_an_id_is_nobodys(
        self, emulator: Emulator, project: Project
    ) -> None:
        """A lost generation is not settled by a status that names none."""
        emulator.fail("generate_feature", Fault.lost())
        emulator.fail(
            "get_generation_status", Fault.edit(lambda status: {**status, "requestId": ""}), skip=1
        )
        with pytest.raises(DispatchUnknownError):
            await project.generate_feature("Draft")

    async def test_a_poll_interval_may_be_endless(self, emulator: Emulator) -> None:
        """An interval beyond all dates keeps no dispatch from its handle."""
        async with client_of(emulator, poll_interval=1e300) as client:
            operation = await client.project().run_feature("Checkout")
        assert operation.run_id in emulator.runs
