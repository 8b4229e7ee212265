"""Polls that fail or say nothing, odd words, and a service under maintenance: what ends a wait."""

import asyncio
import json
import logging
from collections.abc import Iterable
from itertools import pairwise, product
from typing import Any

import pytest
from attrs import evolve

from tests.conftest import client_of
from tests.promises.conftest import Events
from tests.support.amounts import some
from tests.support.faults import NO_ID, edited
from tests.support.observing import dispatch_runs
from tests.support.raising import raised
from tests.support.timing import now
from testvibe_async import Client, Hooks, Project, Run, RunOperation, RunRef, errors
from testvibe_async.events import OutageEnded, OutageStarted, PollFailed
from testvibe_async.testing import Emulator, Fault


async def test_failures_slow_the_polling_of_one(emulator: Emulator, project: Project) -> None:
    """The interval grows where the polls of one operation fail alone, to 30 s at most."""
    failing, healthy = [await project.run_feature("Checkout") for _ in range(2)]
    emulator.fail("get_run", Fault.status(500), when=lambda each: each.run_id == failing.run_id)
    emulator.fail("get_run", edited(status="running"))
    other = asyncio.ensure_future(healthy.wait())

    await raised(errors.ObservationError, failing)
    other.cancel()

    polls = [each for each in emulator.requests if each.operation == "get_run"]
    at = [each.at for each in polls if each.run_id == failing.run_id]
    gaps = [later - earlier for earlier, later in pairwise(at)]
    assert len(at) < 20
    assert gaps == pytest.approx([3, 12, 24, *[30] * (len(gaps) - 3)], abs=0.5)


@pytest.mark.parametrize("is_seen", [False, True])
async def test_a_404_right_after_a_dispatch_is_tolerated(
    emulator: Emulator, operation: RunOperation, *, is_seen: bool
) -> None:
    """A 404 is tolerated for a run that another client dispatched just now, or that was seen."""
    ref = evolve(operation.ref, dispatched_at=None) if is_seen else operation.ref
    async with client_of(emulator) as other:
        attached = other.attach(ref)
        if is_seen:
            await attached.poll()
        emulator.fail("get_run", Fault.status(404), times=2)
        assert (await attached).is_success


async def test_what_was_never_observed_has_no_grace(emulator: Emulator, client: Client) -> None:
    """A 404 for an attached run that was never observed is raised at the first poll."""
    ref = RunRef(server=emulator.url, project=emulator.project_id, run_id=99999)

    await raised(errors.OperationNotFoundError, client.attach(ref))

    assert emulator.count("get_run") == 1
    assert now() < 1


PAGE = b"<!doctype html><title>We are back soon</title>"


ANSWERS = {
    "a page in place of the answer": Fault.body(PAGE, content_type="text/html"),
    "a redirect to a login": Fault.status(302, body=b""),
    "a proxy's 404": Fault.status(404, body=PAGE),
    "a 403 page": Fault.status(403, body=PAGE),
    "a bare 400": Fault.status(400, body=b""),
    "a bare 410": Fault.status(410, body=b""),
    "an empty 200": Fault.body(b""),
    "another document": Fault.body(b'{"status": "maintenance"}'),
    "a bare list": Fault.body(b"[]"),
    "a 503 page": Fault.status(503, body=PAGE),
}


STARTS = 7.0
"""When the service goes away: after polls at 3 s and 6 s that it answers."""


FEATURES = ["Checkout", "Returns", "Shopping cart"]


async def outcomes(client: Client, way: str) -> list[Run | None]:
    """Run a feature, or several, and come to the outcomes in one of the ways."""
    project = client.project()
    if way == "batch":
        return [item.outcome for item in await project.run_features(FEATURES)]
    if way == "finished":
        operations = [await project.run_feature(name) for name in FEATURES]
        return [operation.outcome async for operation in client.finished(operations)]
    operation = await project.run_feature("Checkout")
    if way == "wait":
        return [await operation]
    return [[transition.snapshot async for transition in operation][-1]]


WAYS = {"wait": 1, "iteration": 1, "finished": len(FEATURES), "batch": len(FEATURES)}
"""How runs are observed, and how many."""


STAND_INS = product(ANSWERS, WAYS, [60, 10])


@pytest.mark.parametrize(("answer", "way", "seconds"), some(STAND_INS, few=5))
async def test_a_stand_in(emulator: Emulator, answer: str, way: str, seconds: int) -> None:
    """The outage is announced within two polls, and so is its end; every outcome is seen."""
    failed: list[PollFailed] = []
    announced: list[tuple[float, OutageStarted]] = []
    ended: list[tuple[float, OutageEnded]] = []
    hooks = Hooks(
        on_poll_failed=failed.append,
        on_outage_started=lambda event: announced.append((now(), event)),
        on_outage_ended=lambda event: ended.append((now(), event)),
    )
    emulator.fail("*", ANSWERS[answer], when=lambda _: STARTS < now() < STARTS + seconds)
    async with client_of(emulator, hooks=hooks) as client:
        runs = await outcomes(client, way)

    assert [run is not None and run.is_success for run in runs] == [True] * WAYS[way]
    assert failed
    assert not any(event.is_final for event in failed)
    ((announced_at, outage),), ((ended_at, end),) = announced, ended
    assert STARTS < announced_at < STARTS + 3 + 6 + 1
    assert outage.server == emulator.url
    assert STARTS + seconds < ended_at < STARTS + seconds + 31
    assert end.seconds == pytest.approx(ended_at - STARTS, abs=3.5)


@pytest.mark.parametrize("answer", ANSWERS)
async def test_an_outage_ends_the_wait_after_max_outage(emulator: Emulator, answer: str) -> None:
    """The error says how long nothing was seen; a later wait continues."""
    outage = emulator.fail("get_run", ANSWERS[answer], skip=1)
    async with client_of(emulator, max_outage=100) as client:
        operation = await client.project().run_feature("Checkout")
        error = await raised(errors.ObservationError, operation)
        assert type(error) is errors.ObservationError
        assert error.ref == operation.ref
        assert 100 < now() < 140
        outage.remove()
        assert (await operation).is_success


@pytest.mark.parametrize(
    "answer", [name for name in ANSWERS if "404" not in name and "503" not in name]
)
async def test_the_third_equal_answer(emulator: Emulator, project: Project, answer: str) -> None:
    """Most likely the address is not the service's, and that must be said soon."""
    emulator.fail("get_run", ANSWERS[answer])
    operation = await project.run_feature("Checkout")
    error = await raised((errors.ObservationError, errors.ForbiddenError), operation)
    assert error.ref == operation.ref
    assert emulator.count("get_run") == 3
    if isinstance(error, errors.ObservationError):
        assert "the same answer 3 times: " in str(error)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_is_confirmed(emulator: Emulator, project: Project, status: int) -> None:
    """The service's own 401 or 403 ends a wait at the second poll, as the error that it is."""
    emulator.fail("get_run", Fault.status(status), skip=1, times=1)
    assert (await project.run_feature("Checkout").wait()).is_success
    rule = emulator.fail("get_run", Fault.status(status), skip=1)
    operation = await project.run_feature("Checkout")
    error = await raised((errors.UnauthorizedError, errors.ForbiddenError), operation)
    assert rule.hits == 2
    assert (error.status, error.ref) == (status, operation.ref)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_revoked_key(emulator: Emulator, project: Project, status: int) -> None:
    """A few refusals and one more decide for all in flight; a 403 may be of one project alone."""
    operations = [await project.run_feature("Checkout") for _ in range(100)]
    revoked = emulator.fail("*", Fault.status(status), when=lambda _: now() > STARTS)
    results = await asyncio.gather(*(each.wait() for each in operations), return_exceptions=True)
    kinds: dict[int, Any] = {401: errors.UnauthorizedError, 403: errors.ForbiddenError}
    assert {type(each) for each in results} == {kinds[status]}
    assert len({getattr(each, "ref", None) for each in results}) == 100
    assert (revoked.hits < 60) is (status == 401)


async def test_an_odd_status_ends_a_wait(emulator: Emulator, operation: RunOperation) -> None:
    """Nobody can say whether it is an end: the error names the word, and poll() shows it."""
    emulator.fail("get_run", Fault.edit(lambda run: {"runId": run["runId"], "status": "Timed_Out"}))
    said = "its status is 'Timed_Out', which is not documented"
    await raised(errors.ObservationError, operation, match=said)
    assert emulator.count("get_run") == 3
    assert (await operation.poll()).status == "Timed_Out"
    assert not operation.done
    await raised(errors.ObservationError, operation.wait())
    assert emulator.count("get_run") == 3 + 3  # the poll by hand is the first of these


async def test_a_number_beyond_all_sizes(emulator: Emulator, operation: RunOperation) -> None:
    """It is kept as it came, and is no number of the run."""
    emulator.fail("get_run", edited(featureId=10**400))
    run = await operation.poll()
    assert (run.feature_id, run.extra) == (None, {"featureId": 10**400})


async def test_much_that_is_unknown_is_cut_with_one_warning(
    emulator: Emulator, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    """Of fields without a place 64 KiB are kept; the log says so once a client and model."""
    emulator.fail("get_run", edited(note="x" * 70_000, hint="y"))
    for operation in await dispatch_runs(project, 3):
        assert (await operation.poll()).extra == {"hint": "y"}
    assert [each.getMessage() for each in caplog.records] == [
        "Run.extra is cut: only 64 KiB of an answer's other fields are kept"
    ]


async def test_fields_without_end_are_not_logged_without_end(
    emulator: Emulator, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    """A service that invents fields can't fill a disk."""
    deep: Any = json.loads("[" * 70 + "1" + "]" * 70)
    emulator.fail("get_feature", edited(**{f"field {number}": deep for number in range(500)}))
    await project.get_feature("Checkout")
    assert len(caplog.records) == 100


WORDS = ["executing", "In Progress", "in-progress", "IN_PROGRESS", "planning", "Queued", "pending"]


def while_in_flight(**members: Any) -> Fault:
    """Change members of an answer as long as the operation is in flight; None leaves one out."""
    without = {name for name, value in members.items() if value is ...}
    other = {name: value for name, value in members.items() if value is not ...}

    def change(document: dict[str, Any]) -> dict[str, Any]:
        if document.get("status", document.get("featureStatus")) not in {"running", "generating"}:
            return document
        return {name: value for name, value in {**document, **other}.items() if name not in without}

    return Fault.edit(change)


def warnings_in(records: Iterable[logging.LogRecord]) -> list[str]:
    """Return what was logged as a warning."""
    return [each.getMessage() for each in records if each.levelno == logging.WARNING]


@pytest.mark.parametrize("word", WORDS)
async def test_other_words_are_waited_for(
    emulator: Emulator, project: Project, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The word is compared without case, spaces and hyphens; nothing is warned of."""
    emulator.fail("get_run", while_in_flight(status=word, finishedUtc=...))
    emulator.fail("get_generation_status", while_in_flight(featureStatus=word, overallStatus=None))
    assert (await project.run_feature("Checkout").wait()).is_success
    assert (await project.generate_feature("Wishlist").wait()).is_success
    assert not warnings_in(caplog.records)


ODD: list[tuple[str, dict[str, Any]]] = [
    *(("run", {"status": "Odd", "finishedUtc": end}) for end in (None, "0001-01-01T00:00:00Z")),
    *(
        ("generation", {"featureStatus": "Odd", "overallStatus": word, "overallConclusion": None})
        for word in ("InProgress", "Queued")
    ),
]
"""Words that are not documented, and what says that the operation goes on."""


@pytest.mark.parametrize(("kind", "members"), ODD)
async def test_an_odd_word_without_an_end_means_in_flight(
    emulator: Emulator,
    project: Project,
    kind: str,
    members: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is waited for while there is no end, or no conclusion, with one warning."""
    start: Any = project.run_feature if kind == "run" else project.generate_feature
    emulator.fail("*", while_in_flight(**members), when=lambda sent: sent.method == "GET")
    for _ in range(2):
        assert (await start("Checkout").wait()).is_success
    (warning,) = warnings_in(caplog.records)
    assert "'Odd'" in warning


YEAR_ONE: list[str | int] = [
    *(f"0001-01-01T00:00:00{end}" for end in ("Z", ".0000000", "+02:00")),
    *("/Date(-62135596800000)/", -62135596800, -62135596800000),
]


@pytest.mark.parametrize("year", YEAR_ONE)
async def test_the_first_year_is_no_time(
    emulator: Emulator, project: Project, year: str | int, caplog: pytest.LogCaptureFixture
) -> None:
    """In each form it is None, and is neither kept nor warned of."""
    emulator.fail("get_run", while_in_flight(startedUtc=year, finishedUtc=year))
    run = await (await project.run_feature("Checkout")).poll()
    assert (run.started_at, run.finished_at) == (None, None)
    assert run.phase == "queued"
    assert not run.is_finished
    assert not run.extra
    assert not warnings_in(caplog.records)


@pytest.mark.parametrize("is_seen", [False, True])
async def test_an_older_end(emulator: Emulator, project: Project, *, is_seen: bool) -> None:
    """An end that names no generation may be an earlier one's: a copy may show that once more."""
    await (await project.generate_feature("Checkout"))
    ended = await project.get_generation_status("Checkout")
    operation = await project.generate_feature("Checkout")
    if is_seen:
        emulator.fail("get_generation_status", NO_ID, times=1)
        await operation.poll()
    shown = ended.to_dict() | {"requestId": None}
    emulator.fail("get_generation_status", Fault.edit(lambda _: shown))
    await raised(errors.ObservationError, operation)


async def test_an_unknown_word_is_an_error(emulator: Emulator, operation: RunOperation) -> None:
    """A word that nobody knows, with a null end, is polled as long as an outage, and then named."""
    emulator.fail("get_run", edited(status="ready", finishedUtc=None))
    await raised(errors.ObservationError, operation, match="ready")


async def test_a_404_that_stays_is_raised(emulator: Emulator, operation: RunOperation) -> None:
    """A minute after the dispatch a 404 is raised; a later wait polls again."""
    rule = emulator.fail("get_run", Fault.status(404))

    error = await raised(errors.OperationNotFoundError, operation)

    assert 60 <= now() <= 70
    assert error.ref == operation.ref
    rule.remove()
    assert (await operation).is_success


async def test_a_service_that_hangs(emulator: Emulator, operation: RunOperation) -> None:
    """The outage is announced after 10 s without an answer, and ends with the first one."""
    seen: list[tuple[str, Any]] = []
    hooks = Hooks(
        on_outage_started=lambda _: seen.append(("started", now())),
        on_outage_ended=lambda _: seen.append(("ended", now())),
    )
    emulator.fail("get_run", Fault.hang(), skip=1, times=1)
    async with client_of(emulator, hooks=hooks) as client:
        assert (await client.attach(operation.ref)).is_success
    hung_at = emulator.requests[-2].at
    assert seen[0] == ("started", pytest.approx(hung_at + 10, abs=0.1))
    assert seen[1:] == [("ended", pytest.approx(emulator.requests[-1].at, abs=0.1))]


async def test_a_route_that_fails_alone_is_no_outage_of_the_service(
    emulator: Emulator, client: Client, events: Events, operation: RunOperation
) -> None:
    """While another operation is seen, the service is there."""
    other, number = await client.project().run_feature("Checkout"), operation.run_id
    emulator.fail("get_run", Fault.status(500), times=3, when=lambda run: run.run_id == number)
    runs = await client.gather(operation, other)
    assert [run.is_success for run in runs] == [True, True]
    assert not events.of(OutageStarted)


@pytest.mark.parametrize("retry_after", [None, 2])
async def test_a_list_that_fails_delays_no_end(emulator: Emulator, retry_after: int | None) -> None:
    """What it would have shown is polled by id at the next tick."""
    async with client_of(emulator, poll_interval=1) as client:
        operations = await dispatch_runs(client.project(), 30)
        busy = Fault.status(503, retry_after=retry_after)
        emulator.fail("list_runs", busy, when=lambda _: now() > 27)
        await client.gather(*operations)
        assert now() < 32


async def test_a_service_that_names_no_generation(emulator: Emulator, project: Project) -> None:
    """What was in flight after the dispatch, and then ended, is what was dispatched."""
    emulator.fail("get_generation_status", NO_ID)
    generation = await (await project.generate_feature("Draft"))
    assert generation.is_success


async def test_a_poll_that_shows_another_run(emulator: Emulator, operation: RunOperation) -> None:
    """A replica that answers with another run is waited out, and its answer is no outcome."""
    emulator.fail("get_run", edited(runId=999, status="passed"), times=3)
    assert (await operation.wait()).run_id == operation.run_id
    assert emulator.count("get_run") > 3
