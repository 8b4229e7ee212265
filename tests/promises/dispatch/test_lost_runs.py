"""Runs whose answer was lost: which run is adopted, why it is unknown, never dispatched twice."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve

from tests.conftest import Received, Send, Sent, client_of, client_through
from tests.promises.conftest import Events
from tests.support.dialects import Dialect
from tests.support.peer import hooks_into
from tests.support.raising import raised
from tests.support.timing import STEADY, now
from testvibe_async import Project, Verdict, errors
from testvibe_async.events import Dispatched
from testvibe_async.testing import Answer, Emulator, Fault, Middleware, RecordedRequest


async def _unknown(project: Project) -> errors.DispatchUnknownError:
    return await raised(errors.DispatchUnknownError, project.run_feature("Checkout"))


@pytest.mark.service(lists=False, scenario=STEADY)
@pytest.mark.parametrize(
    ("fault", "strangers"),
    [(Fault.lost(), 0), (Fault.lost(), 20), (Fault.lost(), 70), (Fault.reset(), 0)],
)
async def test_the_next_ids_are_read(
    emulator: Emulator, project: Project, rival: Project, fault: Fault, strangers: int
) -> None:
    """A run with one of the next 64 is adopted; that there is none proves nothing."""
    before = await project.run_feature("Returns")
    for _ in range(strangers):
        await rival.run_feature("Wishlist")
    emulator.fail("run_feature", fault, times=1)
    if fault.kind == "lost" and strangers < 64:
        operation = await project.run_feature("Checkout")
        assert operation.run_id == before.run_id + strangers + 1
    else:
        assert (await _unknown(project)).reason == "unseen"
    assert emulator.count("run_feature") == 2 + strangers
    assert emulator.count("get_run") < 3 * 70


async def test_reconciling_ends_after_two_minutes(emulator: Emulator, project: Project) -> None:
    """A service that hangs delays the error of a lost dispatch by two minutes at most."""
    emulator.fail("run_feature", Fault.hang())
    emulator.fail("list_runs", Fault.hang(), skip=1)

    await _unknown(project)

    assert now() == pytest.approx(30 + 120, abs=0.1)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Fault.status(404), "no list shows its runs"),
        (Fault.status(500), "500"),
        (Fault.reset(), "the connection was lost"),
        (Fault.edit(lambda rows: [row | {"createdUtc": None} for row in rows] * 400), "is cut"),
    ],
)
async def test_the_reason_for_an_unseen_run_is_in_the_text(
    emulator: Emulator, project: Project, fault: Fault, why: str
) -> None:
    """Where the list could not be read, or shows a part, the reason is in the text."""
    for _ in range(3):
        await project.run_feature("Checkout")
    emulator.fail("run_feature", Fault.reset())
    emulator.fail("list_runs", fault)
    error = await _unknown(project)
    assert error.reason == "unseen"
    assert why in error.what
    assert "could not be polled for" in error.what


@pytest.mark.parametrize("dispatched", ["run_feature", "generate_feature"])
async def test_a_run_under_way_is_kept(emulator: Emulator, events: Events, dispatched: str) -> None:
    """While one dispatch waits for its answer, another of the feature does not adopt its run."""
    is_first = True

    async def delay_the_first_answer(request: Sent, send: Send) -> Received:
        nonlocal is_first
        is_delayed = is_first and request.method == "POST"
        is_first &= not is_delayed
        response = await send(request)
        await asyncio.sleep(4 if is_delayed else 0)
        return response

    hooks = hooks_into(events)
    async with client_through(delay_the_first_answer, emulator, hooks=hooks) as client:
        emulator.fail(dispatched, Fault.reset(), times=1, skip=1)
        dispatch: Callable[..., Awaitable[Any]] = getattr(client.project(), dispatched)
        feature = "Checkout" if dispatched == "run_feature" else "Draft"
        second = raised(errors.DispatchUnknownError, dispatch(feature))
        first, _ = await asyncio.gather(dispatch(feature, site_url="https://slow.example"), second)

    assert not first.adopted
    assert [event.ref for event in events.of(Dispatched)] == [first.ref]


@pytest.mark.service(scenario=STEADY, middleware=Dialect(refuses_limit=True))
async def test_a_refused_limit_leaves_it_unknown(emulator: Emulator, project: Project) -> None:
    """Where the list takes no limit, nobody says that nothing began."""
    emulator.fail("run_feature", Fault.lost(), times=1)
    assert "may have taken effect" in str(await _unknown(project))
    assert len(emulator.runs) == 1


@pytest.mark.parametrize("count", [0, 9])
async def test_once_shown_counts(emulator: Emulator, project: Project, count: int) -> None:
    """Where a list showed two runs that may be ours, later ones that show fewer decide nothing."""
    await project.run_feature("Returns")
    emulator.fail("run_feature", Fault.lost(), times=1)
    twin = Fault.edit(lambda rows: [rows[0] | {"runId": rows[0]["runId"] + 1}, *rows])
    emulator.fail("list_runs", twin, times=1)
    emulator.fail("list_runs", Fault.edit(lambda rows: rows[:count]), skip=1)

    error = await _unknown(project)

    ours = max(emulator.runs)
    assert error.reason == "ambiguous"
    assert {ref.key[-1] for ref in error.candidates} == {ours, ours + 1}


async def test_an_unknown_run_is_nobody_elses(emulator: Emulator, project: Project) -> None:
    """What appears after one dispatch was given up is its run: another one leaves it alone."""
    await project.run_feature("Returns")
    emulator.fail("run_feature", Fault.delay(38), times=1)  # given up after 30 s and 7 s
    emulator.fail("run_feature", Fault.reset(), times=1, skip=1)
    first = asyncio.ensure_future(project.run_feature("Checkout"))
    await asyncio.sleep(37.5)

    second = asyncio.ensure_future(project.run_feature("Checkout"))
    results = await asyncio.gather(first, second, return_exceptions=True)

    assert [run.feature.name for run in emulator.runs.values()] == ["Returns", "Checkout"]
    reasons = [getattr(result, "reason", None) for result in results]
    assert reasons == ["absent", "ambiguous"]


async def test_what_was_shown_once_is_not_sent_again(emulator: Emulator, project: Project) -> None:
    """Where a list showed a run that may be ours, a later list without it proves nothing."""
    emulator.fail("run_feature", Fault.lost(), times=1)
    emulator.fail("list_runs", Fault.status(503), times=1)
    emulator.fail("list_runs", Fault.edit(lambda _: []), skip=2)

    await raised(errors.DispatchUnknownError, project.run_feature("Checkout", key="pr-1"))

    assert emulator.count("run_feature") == 1


UNREADABLE = {
    "no JSON": Fault.edit(lambda _: b"started"),
    "no id": Fault.edit(lambda _: {"status": "accepted"}),
    "null": Fault.edit(lambda _: b"null"),
    "a page": Fault.edit(lambda _: b"<html><body>Accepted</body></html>"),
    "half an answer": Fault.truncated(),
}
"""Successes whose id can't be read, by what they are."""


@pytest.mark.parametrize("answer", UNREADABLE)
async def test_a_key_never_resends_it(
    emulator: Emulator, rival: Project, tmp_path: Path, answer: str
) -> None:
    """A dispatch that was accepted stays unknown, though a list shows nothing of it."""
    emulator.fail("run_feature", UNREADABLE[answer], times=1)
    hides_it = Fault.edit(lambda rows: [row for row in rows if row["featureName"] != "Checkout"])
    emulator.fail("list_runs", hides_it)
    for _ in range(3):
        async with client_of(emulator, ledger=tmp_path / "ledger") as client:
            items = await client.project().run_features(["Checkout"], key="nightly")
            assert [item.verdict for item in items] == [Verdict.UNKNOWN]
        await asyncio.sleep(60)
        await rival.run_feature("Returns")

    assert emulator.count("run_feature", feature="Checkout") == 1


@pytest.mark.parametrize("body", [b"", b"<html><title>Back soon</title>"])
async def test_a_page_in_place_of_an_answer_accepts_nothing(
    emulator: Emulator, project: Project, body: bytes
) -> None:
    """A page with 200 is no service's, so that a run is sent again once nothing is seen of it."""
    await project.run_feature("Returns")
    emulator.fail("run_feature", Fault.body(body, content_type="text/html"), times=1)
    assert (await _unknown(project)).reason == "absent"
    emulator.fail("run_feature", Fault.body(body, content_type="text/html"), times=1)
    (item,) = await project.run_features(["Wishlist"], key="nightly")
    assert item.verdict is Verdict.SUCCEEDED
    assert emulator.count("run_feature", feature="Wishlist") == 2


@pytest.mark.parametrize("answer", [Fault.lost(), Fault.reset()])
async def test_a_machine_that_slept(monkeypatch: pytest.MonkeyPatch, answer: Fault) -> None:
    """What it dispatches then is found, though its event loop's clock stood still meanwhile."""
    asleep = 0.0
    local_time = time.time
    monkeypatch.setattr(time, "time", lambda: local_time() + asleep)
    async with Emulator(scenario=STEADY, clock=lambda: now() + asleep) as emulator:
        async with client_of(emulator) as client, client_of(emulator) as other:
            await client.project().run_feature("Returns")
            asleep = 3600.0
            await other.project().run_feature("Checkout")
            emulator.fail("run_feature", answer, times=1)

            items = await client.project().run_features(["Checkout", "Returns"], max_in_flight=1)

        assert [item.verdict for item in items] == [Verdict.SUCCEEDED] * 2
        assert len(emulator.runs) == 4
        assert {ref.key[-1] for item in items if (ref := item.ref)} == {*[*emulator.runs][2:]}


@define
class Cache(Middleware):
    """A cache on the way, which has had the answers of one operation for some time."""

    operation: str
    seconds: int

    def after(self, request: RecordedRequest, answer: Answer) -> Answer:
        """Give the date of that time, and the age."""
        if request.operation != self.operation:
            return answer
        date = datetime.now(UTC) - timedelta(seconds=self.seconds)
        headers = {"Date": format_datetime(date, usegmt=True), "Age": f"{self.seconds}"}
        return evolve(answer, headers=headers)


@pytest.mark.service(scenario=STEADY, middleware=Cache("list_runs", 30))
async def test_a_list_from_a_cache_is_not_believed(emulator: Emulator, project: Project) -> None:
    """An answer that a cache has kept is asked for again, and proves nothing."""
    emulator.fail("run_feature", Fault.lost())
    error = await _unknown(project)
    assert error.reason == "unseen"
    assert "it comes from a cache on the way (Age: 30)" in error.what
    assert emulator.count("list_runs") == 1 + 3
    assert emulator.requests[-1].headers["Cache-Control"] == "no-cache"


async def test_a_reset_service_proves_nothing(emulator: Emulator, project: Project) -> None:
    """Where ids start anew, a later run with a lower id does not show that another is missing."""
    for _ in range(4):
        await project.run_feature("Returns")
    await emulator.aclose()
    port = int(emulator.url.rpartition(":")[2])
    async with Emulator(scenario=STEADY, port=port) as anew:
        anew.fail("run_feature", Fault.lost(), times=1)

        items = await project.run_features(["Checkout", "Returns"], max_in_flight=1)

        assert [item.verdict for item in items] == [Verdict.UNKNOWN, Verdict.SUCCEEDED]
        assert "the service was reset" in getattr(items[0].error, "what", "")
        assert len(anew.runs) == 2


@pytest.mark.service(scenario=STEADY)
async def test_an_answer_on_its_way_tells_which_run_is_whose(
    emulator: Emulator, project: Project
) -> None:
    """Of two equal requests, the lost one takes no run that the other's answer may name."""
    await project.run_feature("Returns")
    emulator.fail("run_feature", Fault.delay(1.0), times=1)
    emulator.fail("run_feature", Fault.slow(50), times=1)
    emulator.fail("run_feature", Fault.lost(), times=1)

    late, lost = await asyncio.gather(
        project.run_feature("Checkout"), project.run_feature("Checkout")
    )

    assert (late.adopted, lost.adopted) == (False, True)
    assert (lost.run_id, late.run_id) == (215, 216) == tuple(emulator.runs)[-2:]


@pytest.mark.parametrize("fault", [Fault.reset(), Fault.garbage(), Fault.status(502)])
async def test_no_new_run_is_unknown(emulator: Emulator, project: Project, fault: Fault) -> None:
    """Without a new run in the list it is not sent again; the error says what to check."""
    emulator.fail("run_feature", fault)

    error = await _unknown(project)

    assert (error.project, error.feature) == (project.id, "Checkout")
    assert (error.reason, error.candidates) == ("absent", ())
    assert error.polled_at is not None
    assert f"polled until {error.polled_at:%H:%M:%S} UTC, showed nothing of it" in error.what
    assert "most likely nothing started" in error.what
    assert "check the feature's runs" in str(error)
    kinds = (errors.OutcomeUnknownError, errors.ServerError, errors.MalformedResponseError)
    assert isinstance(error.__cause__, kinds)
    assert emulator.count("run_feature") == 1


async def test_ambiguous_candidates_are_named_and_not_adopted(
    emulator: Emulator, project: Project, rival: Project
) -> None:
    """Runs that may be it are named, and nothing is adopted."""
    emulator.fail("run_feature", Fault.lost())
    first, error = await asyncio.gather(_unknown(rival), _unknown(project))
    assert first.reason == error.reason == "ambiguous"
    assert {ref.key[-1] for ref in error.candidates} == {*emulator.runs}
    assert emulator.count("run_feature") == 2
    assert all(f"run {number}" in error.what for number in emulator.runs)
