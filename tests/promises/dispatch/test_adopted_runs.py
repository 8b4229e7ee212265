"""Which run a dispatch without an answer may adopt: its own, never that of another caller."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

from tests.conftest import Received, Send, Sent, client_of, client_through
from tests.support.dialects import Dialect
from tests.support.timing import STEADY
from testvibe_async import Client, DispatchUnknownError, Hooks, Project, Ref, RunOperation
from testvibe_async.testing import Emulator, Fault, FaultProxy, NetworkFault


@pytest.mark.parametrize("dispatched", ["run_feature", "generate_feature"])
async def test_a_dispatch_under_way_keeps_its_run_from_another(
    emulator: Emulator, dispatched: str
) -> None:
    """While one dispatch waits for its answer, another of the feature does not adopt its run."""
    refs: list[Ref] = []
    hooks = Hooks(on_dispatched=lambda event: refs.append(event.ref))
    is_first = True

    async def delay_the_first_answer(request: Sent, send: Send) -> Received:
        nonlocal is_first
        is_delayed = is_first and request.method == "POST"
        is_first &= not is_delayed
        response = await send(request)
        await asyncio.sleep(4 if is_delayed else 0)
        return response

    async with client_through(delay_the_first_answer, emulator, hooks=hooks) as client:
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


async def test_a_dispatch_to_another_project_does_not_block_adoption(
    emulator: Emulator, client: Client
) -> None:
    """A dispatch that waits for its answer in one project claims no run of another project."""
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


async def test_a_run_of_another_site_is_not_adopted(emulator: Emulator, project: Project) -> None:
    """A run on another site than the one asked for is not adopted."""
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


async def test_a_run_belongs_to_the_dispatch_that_named_its_site(
    emulator: Emulator, project: Project
) -> None:
    """Of two lost dispatches, the one without a site does not adopt the run of the other's site."""
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


async def test_an_attached_run_is_not_adopted(emulator: Emulator) -> None:
    """A run that this client already has a handle on is not adopted."""
    async with client_of(emulator) as client, client_of(emulator) as other:
        theirs = client.attach((await other.project().run_feature("Checkout")).ref)
        emulator.fail("run_feature", Fault.reset())

        with pytest.raises(DispatchUnknownError):
            await client.project().run_feature("Checkout")

        assert not theirs.done


async def test_a_feature_named_like_the_id_of_another(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """A number names a feature by its id alone, as it does at the service."""
    feature_id = emulator.features["Checkout"].id
    namesake = emulator.add_feature(str(feature_id))
    async with client_of(emulator) as other:
        await other.project().run_feature(namesake.id)
    rows = await client.request("GET", f"/projects/{project.id}/runs")
    emulator.fail("list_runs", Fault.edit(lambda _: rows))
    emulator.fail("run_feature", Fault.reset())

    with pytest.raises(DispatchUnknownError):
        await project.run_feature(feature_id)


async def test_one_of_many_runs_of_a_feature_is_found(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """A run whose answer was lost is found among all that were dispatched with it."""
    emulator.fail("run_feature", Fault.lost(), times=1)

    operations = await asyncio.gather(*(project.run_feature("Checkout") for _ in range(60)))
    runs = await client.gather(*operations)

    assert {run.status for run in runs} == {"passed"}
    assert {run.run_id for run in runs} == set(emulator.runs)
    assert len(emulator.runs) == 60


async def test_a_slow_answer_is_no_clock_sample(emulator: Emulator) -> None:
    """A list that arrives late does not make an older run of another caller seem new."""
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


class TestCutLists:
    """A list that may lack a candidate is no reason to adopt the one that it shows."""

    @pytest.fixture
    async def emulator(self) -> AsyncGenerator[Emulator]:
        """A service that shows the two latest runs, and says that there are more."""
        dialect = Dialect(paging="has_more", page_size=2)
        async with Emulator(scenario=STEADY, middleware=dialect) as emulator:
            yield emulator

    async def test_anothers_run_is_not_adopted(self, emulator: Emulator, project: Project) -> None:
        """Where the list is cut above our run, the others that it shows are left alone."""
        emulator.fail("run_feature", Fault.lost(), times=1)
        emulator.fail("list_runs", Fault.status(503), times=1)

        async def rival() -> None:
            async with client_of(emulator) as other:
                await other.project().run_feature("Checkout", config="Mobile")
                await other.project().run_feature("Checkout")

        result, _ = await asyncio.gather(
            project.run_feature("Checkout"), rival(), return_exceptions=True
        )

        assert len(emulator.runs) == 3
        assert isinstance(result, DispatchUnknownError)

    async def test_our_run_is_adopted_above_an_older_one(
        self, emulator: Emulator, project: Project
    ) -> None:
        """Where the list is the newest first, and reaches back far enough, it is as good as all."""
        for _ in range(3):
            await project.run_feature("Checkout")
        await asyncio.sleep(10)
        emulator.fail("run_feature", Fault.lost(), times=1)

        operation = await project.run_feature("Checkout")

        assert (operation.adopted, operation.run_id) == (True, max(emulator.runs))

    async def test_nothing_is_adopted_from_an_odd_order(self) -> None:
        """A list of as many rows as were asked for, the oldest first, may lack the newest."""
        async with Emulator(scenario=STEADY) as emulator, client_of(emulator) as client:
            emulator.fail("run_feature", Fault.lost(), times=1)

            def after_older_ones(rows: Any) -> Any:
                old = {**rows[0], "createdUtc": "2026-06-01T00:00:00Z"}
                return [*({**old, "runId": number} for number in range(1, 200)), rows[0]]

            emulator.fail("list_runs", Fault.edit(after_older_ones))
            with pytest.raises(DispatchUnknownError):
                await client.project().run_feature("Checkout")

        assert len(emulator.runs) == 1

    async def test_a_refused_limit_leaves_it_unknown(self) -> None:
        """Where the list takes no limit, nobody says that nothing began."""
        dialect = Dialect(refuses_limit=True)
        async with (
            Emulator(scenario=STEADY, middleware=dialect) as emulator,
            client_of(emulator) as client,
        ):
            emulator.fail("run_feature", Fault.lost(), times=1)
            with pytest.raises(DispatchUnknownError, match="may have taken effect"):
                await client.project().run_feature("Checkout")

        assert len(emulator.runs) == 1
