"""Runs whose answer was lost: reconciled with the list of runs, never dispatched twice."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conftest import client_of
from tests.promises.dispatch.lost_answers import ANSWER_LOST, NOTHING_DONE
from tests.support.peer import http, peer
from tests.support.timing import STEADY, now
from testvibe_async import (
    Client,
    DispatchUnknownError,
    MalformedResponseError,
    OutcomeUnknownError,
    Project,
    ServerError,
)
from testvibe_async.testing import Emulator, Fault


class TestLostRuns:
    @pytest.mark.parametrize("fault", ANSWER_LOST)
    async def test_the_one_new_run_is_adopted(
        self, emulator: Emulator, project: Project, fault: Fault
    ) -> None:
        """A lost answer is reconciled with the list: the one new run of the feature is adopted."""
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
        """Without a new run in the list it is not sent again; the error says what to check."""
        emulator.fail("run_feature", fault)

        with pytest.raises(DispatchUnknownError, match="look at the feature's runs") as caught:
            await project.run_feature("Checkout")

        assert (caught.value.project, caught.value.feature) == (project.id, "Checkout")
        assert isinstance(
            caught.value.__cause__, OutcomeUnknownError | ServerError | MalformedResponseError
        )
        assert emulator.count("run_feature") == 1

    async def test_other_runs_are_not_adopted(self, emulator: Emulator, project: Project) -> None:
        """A run that is known, older, or of another feature or configuration is not adopted."""
        await project.run_feature("Checkout")
        await asyncio.sleep(10)
        await project.run_feature("Checkout")
        await project.run_feature("Returns")
        async with client_of(emulator) as rival:
            await rival.project().run_feature("Checkout", config="Mobile")
        emulator.fail("run_feature", Fault.lost())

        operation = await project.run_feature("Checkout")

        assert operation.run_id == max(emulator.runs)

    async def test_a_list_without_filter_or_times_is_not_trusted(
        self, emulator: Emulator, client: Client, project: Project
    ) -> None:
        """Rows of other features and rows without a time are not adopted."""
        async with client_of(emulator) as rival:
            await rival.project().run_feature("Checkout")
            await asyncio.sleep(20)
            await rival.project().run_feature("Returns")
        unfiltered = await project.list_runs()
        assert len(unfiltered) == 2
        emulator.fail("run_feature", Fault.reset())
        rows = await client.request("GET", f"/projects/{project.id}/runs")
        timeless = [{**row, "createdUtc": None} for row in rows]
        emulator.fail("list_runs", Fault.edit(lambda _: [*rows, *timeless]))

        with pytest.raises(DispatchUnknownError):
            await project.run_feature("Checkout")

    async def test_a_feature_by_id(self, emulator: Emulator, project: Project) -> None:
        """A run of a feature that was named by its id is adopted as well."""
        feature = emulator.features["Checkout"].id
        emulator.fail("run_feature", Fault.lost())

        operation = await project.run_feature(feature)

        assert operation.feature_id == feature

    async def test_without_lists_it_is_unknown_at_once(self) -> None:
        """Where the service has no list of runs, DispatchUnknownError is raised at once."""
        async with Emulator(lists=False) as emulator, client_of(emulator) as client:
            emulator.fail("run_feature", Fault.lost())
            with pytest.raises(DispatchUnknownError):
                await client.project().run_feature("Checkout")

            assert emulator.count("run_feature") == 1
            assert now() == 0

    @pytest.mark.parametrize(
        ("fault", "strangers", "is_found"),
        [
            (Fault.lost(), 0, True),
            (Fault.lost(), 20, True),
            (Fault.lost(), 70, False),
            (Fault.reset(), 0, False),
        ],
    )
    async def test_without_lists_the_next_ids_are_read(
        self, fault: Fault, strangers: int, *, is_found: bool
    ) -> None:
        """A run with one of the next 64 is adopted; that there is none proves nothing."""
        async with (
            Emulator(lists=False, scenario=STEADY) as emulator,
            client_of(emulator) as client,
            client_of(emulator) as stranger,
        ):
            before = await client.project().run_feature("Returns")
            for _ in range(strangers):
                await stranger.project().run_feature("Wishlist")
            emulator.fail("run_feature", fault, times=1)
            if is_found:
                operation = await client.project().run_feature("Checkout")
                assert operation.run_id == before.run_id + strangers + 1
            else:
                with pytest.raises(DispatchUnknownError) as caught:
                    await client.project().run_feature("Checkout")
                assert caught.value.reason == "unseen"
            assert emulator.count("run_feature") == 2 + strangers
            assert emulator.count("get_run") < 100

    @pytest.mark.parametrize("when", ["before", "after", "undated"])
    async def test_without_lists_a_run_of_somebody_else(self, when: str) -> None:
        """It is not adopted if it began before, or if two may be it, or if it has no time."""
        async with (
            Emulator(lists=False, scenario=STEADY) as emulator,
            client_of(emulator) as client,
            client_of(emulator) as stranger,
        ):
            await client.project().run_feature("Returns")
            emulator.fail("run_feature", Fault.reset(), times=1, skip=int(when == "before"))
            if when == "before":
                await stranger.project().run_feature("Checkout")
                await asyncio.sleep(5)
            if when == "undated":
                undated = Fault.edit(lambda run: {**run, "createdUtc": None})
                emulator.fail("get_run", undated)
            dispatching = asyncio.create_task(client.project().run_feature("Checkout"))
            await asyncio.sleep(0.1)
            if when == "after":
                await stranger.project().run_feature("Checkout")
                await stranger.project().run_feature("Checkout")
            elif when == "undated":
                await stranger.project().run_feature("Checkout")
            with pytest.raises(DispatchUnknownError):
                await dispatching

    async def test_a_list_that_fails_is_retried(self, emulator: Emulator, project: Project) -> None:
        """Reconciling tolerates several failed list calls."""
        emulator.fail("run_feature", Fault.lost())
        emulator.fail("list_runs", Fault.status(429), times=4, skip=1)

        assert (await project.run_feature("Checkout")).adopted

    @pytest.mark.parametrize("held_up", ["rest", "queue"])
    async def test_a_run_that_began_before_the_post_is_not_adopted(
        self, emulator: Emulator, held_up: str
    ) -> None:
        """A run that another caller dispatched while this dispatch was delayed is never adopted."""
        async with client_of(emulator, max_connections=1) as client, client_of(emulator) as other:
            waits: list[asyncio.Future[Any]] = []
            if held_up == "rest":
                emulator.fail("run_feature", Fault.status(429, retry_after=25), times=1)
            else:
                emulator.fail("list_projects", Fault.delay(25), times=1)
                waits.append(asyncio.ensure_future(client.list_projects()))
                await asyncio.sleep(0)
            dispatch = asyncio.ensure_future(client.project().run_feature("Checkout"))
            await asyncio.sleep(10)
            emulator.fail("run_feature", Fault.reset(), skip=1)
            await other.project().run_feature("Checkout")

            with pytest.raises(DispatchUnknownError):
                await dispatch
            await asyncio.gather(*waits)

        assert len(emulator.runs) == 1

    async def test_a_service_without_a_clock_proves_nothing(self) -> None:
        """Where no answer has a Date header a run that was there before is not adopted either."""
        row = {"runId": 7, "status": "running", "featureId": 1, "featureName": "Checkout"}
        rows = json.dumps([row | {"createdUtc": datetime.now(UTC).isoformat()}]).encode()
        async with (
            peer(lambda head: http(200, rows) if head.startswith(b"GET") else b"") as service,
            service.client() as client,
        ):
            with pytest.raises(DispatchUnknownError):
                await client.project().run_feature("Checkout")
        asked = [request.split()[0] for request in service.received]
        assert asked == [b"GET", b"POST", b"GET", b"GET", b"GET"]


async def test_reconciling_ends_after_two_minutes(emulator: Emulator, project: Project) -> None:
    """A service that hangs delays the error of a lost dispatch by two minutes at most."""
    emulator.fail("run_feature", Fault.hang())
    emulator.fail("list_runs", Fault.hang(), skip=1)

    with pytest.raises(DispatchUnknownError):
        await project.run_feature("Checkout")

    assert now() == pytest.approx(30 + 120, abs=0.1)
