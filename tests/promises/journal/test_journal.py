"""Journals: what a batch leaves in one, and how the next one goes on with it."""

# ruff: noqa: ASYNC240 - the files are small
import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from attrs import evolve

from tests.conftest import client_of
from tests.promises.journal.conftest import execute, leave_unknown, opened, ref_of, resumed
from tests.support.batches import verdicts
from tests.support.faults import NO_ID
from tests.support.raising import raised
from tests.support.timing import STEADY, now
from testvibe_async import Client, Generation, Journal, Project, RetryPolicy, errors
from testvibe_async.testing import Emulator, Fault, Outcome

OUTCOMES = {"Returns": Outcome(run_status="failed"), "Doomed": Outcome(generation_status="failed")}


FEATURES = ["Checkout", "Returns", "Wishlist"]
ENDS = ["succeeded", "failed", "succeeded"]


SCENARIO = evolve(STEADY, outcomes=OUTCOMES)


async def test_a_whole_batch(path: Path, project: Project, emulator: Emulator) -> None:
    """Its items are those of the batch, also when the file is opened again, without a request."""
    items = await resumed(path, project, [*FEATURES, "Nothing"])
    requests = len(emulator.requests)
    async with Journal(path) as journal:
        assert journal.is_over
        assert [item.to_dict() for item in journal.items] == [item.to_dict() for item in items]
        again = await project.run_features(journal=journal)
    assert [item.to_dict() for item in again] == [item.to_dict() for item in items]
    assert isinstance(again[3].error, errors.NotFoundError)
    assert again[3].error.status == 404
    assert len(emulator.requests) == requests
    assert not path.with_name(path.name + "-wal").exists()
    assert emulator.api_key.encode() not in path.read_bytes()


async def test_options_of_its_caller(path: Path, project: Project) -> None:
    """A new file keeps what its caller wants to know; one that has a batch keeps its own."""
    async with Journal(path, options={"attempts": 2}) as journal:
        await project.run_features(FEATURES, journal=journal)
    async with Journal(path, options={"attempts": 3}) as journal:
        assert journal.plan is not None
        assert journal.plan.options == {"attempts": 2}
        await project.run_features(journal=journal)
        assert journal.plan.options == {"attempts": 2}


@pytest.mark.parametrize("most", [3, 1])
async def test_a_batch_that_was_left(
    path: Path, emulator: Emulator, client: Client, most: int
) -> None:
    """Another client attaches to what is in flight, and dispatches what waited: nothing twice."""
    async with Journal(path) as journal, client_of(emulator) as first:
        async with first.project().run_features(FEATURES, journal=journal, max_in_flight=most):
            await asyncio.sleep(10)
        assert verdicts(journal.items) == ["in flight"] * most + ["waiting"] * (3 - most)
        assert repr(journal) == f"<Journal {path}>"
    items = await resumed(path, client.project(), FEATURES)
    assert verdicts(items) == ENDS
    assert [item.is_waiting for item in items] == [False] * 3
    assert emulator.count("run_feature") == 3


async def test_after_an_outage_it_goes_on(path: Path, emulator: Emulator, project: Project) -> None:
    """After an outage or a refusal that ends the batch, the runs are attached to again."""
    outage = emulator.fail("get_run", Fault.status(500))
    items = await resumed(path, project, FEATURES, timeout=60)
    assert verdicts(items) == ["in flight"] * 3
    async with Journal(path) as journal:
        (error, *_) = [item.error for item in journal.items]
        assert isinstance(error, errors.WaitTimeoutError)
        assert error.failures > 0
        assert error.last_seen_at is not None
        items = await project.run_features(journal=journal)
        assert all(isinstance(item.error, errors.ObservationError) for item in items)
    outage.remove()
    refused = emulator.fail("get_run", Fault.status(403))
    items = await resumed(path, project)
    assert verdicts(items) == ["in flight"] * 3
    assert all(isinstance(item.error, errors.ForbiddenError) for item in items)
    refused.remove()
    assert verdicts(await resumed(path, project)) == ENDS
    assert emulator.count("run_feature") == 3


REFUSALS = {
    **{str(status): Fault.status(status) for status in (400, 401, 403, 404, 409, 500)},
    "a page": Fault.status(403, body=b"<html><title>Blocked</title></html>"),
    "a redirect": Fault.status(302),
    "no document": Fault.body(b"{"),
    "no HTTP": Fault.garbage(),
    "reset": Fault.reset(),
}


@pytest.mark.parametrize("fault", REFUSALS.values(), ids=REFUSALS)
async def test_kept_errors(path: Path, emulator: Emulator, project: Project, fault: Fault) -> None:
    """The stored error of a feature is of the same class, and says the same."""
    emulator.fail("run_feature", fault)
    (item,) = await resumed(path, project, ["Checkout"], timeout=30)
    assert item.error is not None
    async with Journal(path) as journal:
        stored = journal.items[0].error
    assert stored is not None
    assert (type(stored), str(stored)) == (type(item.error), str(item.error))
    assert stored.brief == item.error.brief
    assert stored.to_dict() == item.error.to_dict()


async def test_missing_only_may_be_added(path: Path, emulator: Emulator, project: Project) -> None:
    """A resume that pays for missing tests alone leaves out what has tests by then."""
    names = ["Checkout", "Returns", "Draft"]
    async with Journal(path) as journal:
        await project.generate_features(names, journal=journal, timeout=0)
    emulator.add_feature("Draft", status="draft")
    async with Journal(path) as journal:
        await project.generate_features(names, journal=journal, missing_only=True)
    assert emulator.count("generate_feature") == 1


@pytest.mark.parametrize("options", [{"config": "Mobile"}, {"repeat": 2}])
async def test_another_plan_is_refused(
    path: Path, project: Project, options: dict[str, Any]
) -> None:
    """A resume without features names the plan's configurations and repetition, or none."""
    await resumed(path, project, ["Returns"], timeout=1)
    async with Journal(path) as journal:
        with pytest.raises(errors.ConfigError, match="without config= and repeat="):
            project.run_features(journal=journal, **options)
    async with Journal(path) as journal:
        await project.run_features(journal=journal, config="Default")


async def test_attempts_are_kept(path: Path, emulator: Emulator, project: Project) -> None:
    """A failed attempt counts after a crash, and the item has all runs."""
    await resumed(path, project, ["Returns"], attempts=2, timeout=40)
    async with Journal(path) as journal:
        (item,) = journal.items
        assert len(item.earlier) == 1
        (item,) = await project.run_features(journal=journal, attempts=2)
    assert [run.run_id for run in item.attempts] == [*emulator.runs]
    assert len(item.attempts) == 2
    async with Journal(path) as journal:
        assert journal.items[0].to_dict() == item.to_dict()


@pytest.mark.parametrize("request_id", ["as it is", None])
async def test_missing_tests_that_were_generated_meanwhile(
    path: Path, client: Client, emulator: Emulator, request_id: str | None
) -> None:
    """A batch of all features without tests pays for none that has tests by then, also resumed."""
    emulator.add_feature("Draft", status="draft")
    if request_id is None:  # Some services show none.
        emulator.fail("get_generation_status", NO_ID)
    async with Journal(path) as journal:
        batch = client.project().generate_features(max_in_flight=1, journal=journal)
        async with batch:
            await asyncio.sleep(5)  # The first is in flight.
    assert len(emulator.generations) == 1
    await client.project().generate_feature("Draft").wait()
    async with Journal(path) as journal:
        items = await client.project().generate_features(journal=journal)
        assert journal.is_over
    async with Journal(path) as journal:
        every = [*items, *journal.items]
    assert all(isinstance(item.outcome, Generation) for item in every)
    assert len(every) == 4
    assert verdicts(items) == ["succeeded", "succeeded"]
    assert len(emulator.generations) == 2


async def test_what_was_lost_is_dispatched(path: Path, emulator: Emulator, client: Client) -> None:
    """Where a later run shows that nothing began, it is dispatched."""
    await leave_unknown(path, emulator, FEATURES, fault=Fault.reset())
    await asyncio.sleep(70)
    await client.project().run_feature("Login functionality")
    assert verdicts(await resumed(path, client.project())) == ENDS
    assert emulator.count("run_feature") == 3 + 1 + 3


async def test_the_last_one_is_held_back(path: Path, emulator: Emulator, client: Client) -> None:
    """One that is still to be dispatched proves that those before it did not begin."""
    emulator.fail("run_feature", Fault.reset(), times=1)
    emulator.fail("list_runs", Fault.status(404), times=2)
    async with Journal(path) as journal, client_of(emulator) as first:
        batch = first.project().run_features(
            FEATURES, journal=journal, max_in_flight=1, stop_on_failure=True
        )
        assert verdicts(await batch) == ["unknown", "skipped", "skipped"]
    async with Journal(path) as journal:
        began = now()
        items = await client.project().run_features(journal=journal)
    assert verdicts(items) == ENDS
    assert emulator.count("run_feature") == 1 + 3
    assert len(emulator.runs) == 3
    assert now() - began > 35


async def test_a_late_one_shows_the_time(path: Path, emulator: Emulator, client: Client) -> None:
    """What was not seen to begin is asked for again once the next one was dispatched."""

    async def late() -> AsyncGenerator[str]:
        yield FEATURES[0]
        await asyncio.sleep(300)
        yield FEATURES[1]

    emulator.fail("run_feature", Fault.reset(), times=1)
    gone = emulator.fail("list_runs", Fault.status(404), skip=1)
    async with Journal(path) as journal, client_of(emulator) as first:
        items = await first.project().run_features(late(), journal=journal, stop_on_failure=True)
        assert verdicts(items) == ["unknown"]
    gone.remove()
    items = await resumed(path, client.project(), late())
    assert verdicts(items) == ["succeeded", "failed"]
    assert len(emulator.runs) == 2


async def test_what_is_unknown_stays_so(path: Path, emulator: Emulator, client: Client) -> None:
    """Without a later run it is unknown again, and can be gone on with later."""
    await leave_unknown(path, emulator, FEATURES, fault=Fault.reset())
    items = await resumed(path, client.project())
    assert verdicts(items) == ["unknown"] * 3
    assert all(getattr(item.error, "reason", "") == "absent" for item in items)
    async with Journal(path) as journal:
        assert not journal.is_over
        (error, *_) = [item.error for item in journal.items]
        assert isinstance(error, errors.DispatchUnknownError)
        assert error.intent is not None
    assert emulator.count("run_feature") == 3


async def test_a_time_out_ends_it(path: Path, emulator: Emulator, client: Client) -> None:
    """A batch that is out of time gives up looking, and the next one looks again."""
    await leave_unknown(path, emulator, FEATURES, fault=Fault.reset())
    began = now()
    async with Journal(path) as journal:
        items = await client.project().run_features(journal=journal, timeout=3)
        assert verdicts(items) == ["unknown"] * 3
        assert now() - began < 5
        assert len(journal.open_intents) == 3


async def test_a_wrong_plan_leaves_none(path: Path, emulator: Emulator, project: Project) -> None:
    """Where a later feature is another one, what was gone on with before it is let go."""
    await leave_unknown(path, emulator, FEATURES)
    tasks = asyncio.all_tasks()
    async with Journal(path) as journal:
        batch = project.run_features([*FEATURES[:2], "Else"], journal=journal)
        await raised(errors.ConfigError, batch, match="other features")
        assert not {task for task in asyncio.all_tasks() - tasks if "batch" in task.get_name()}


async def test_no_decision(path: Path, emulator: Emulator) -> None:
    """What is no decision, and a journal that is not open, are refused in a sentence."""
    await leave_unknown(path, emulator, FEATURES)
    journal, wrong = Journal(path), cast("Any", "retry")
    await raised(errors.ConfigError, journal.decide("drop"), match="open the journal")
    async with journal:
        said = "'resend', 'drop' or a ref, not 'retry'"
        await raised(errors.ConfigError, journal.decide(wrong), match=said)
        assert len(journal.open_intents) == 3


@pytest.mark.parametrize("feature", [None, "Returns"])
async def test_resend(path: Path, emulator: Emulator, client: Client, feature: str | None) -> None:
    """Somebody who knows better has them dispatched again, all or one."""
    await leave_unknown(path, emulator, FEATURES, fault=Fault.reset())
    async with Journal(path) as journal:
        decided = await journal.decide("resend", feature=feature)
    emulator.fail("list_runs", Fault.status(404))
    found = verdicts(await resumed(path, client.project()))
    if feature is None:
        assert (decided, found) == (FEATURES, ENDS)
    else:
        assert (decided, found) == ([feature], ["unknown", "failed", "unknown"])


async def test_drop(path: Path, emulator: Emulator, client: Client) -> None:
    """What is dropped is left alone, and the rest goes on."""
    await leave_unknown(path, emulator, FEATURES, fault=Fault.reset())
    async with Journal(path) as journal:
        await journal.decide("drop")
        assert journal.is_over
        assert verdicts(await client.project().run_features(journal=journal)) == ["skipped"] * 3
    assert emulator.count("run_feature") == 3


async def test_adopt(path: Path, emulator: Emulator, client: Client) -> None:
    """A run that somebody names is taken for it."""
    await leave_unknown(path, emulator, FEATURES)
    ref = ref_of(emulator, "Checkout")
    async with Journal(path) as journal:
        await raised(errors.ConfigError, journal.decide(ref), match="3 are unknown")
        await journal.decide(ref, feature="Checkout")
        await raised(errors.ConfigError, journal.decide(ref), match="2 are unknown")
        other = journal.decide("drop", feature="Gift card")
        await raised(errors.ConfigError, other, match="nothing of feature 'Gift card' is unknown")
    async with Journal(path) as journal:
        assert journal.items[0].ref == ref
        assert verdicts(await client.project().run_features(journal=journal)) == ENDS


@pytest.mark.parametrize("mishap", [Fault.hang(), Fault.status(503), Fault.status(401)])
async def test_an_adoption_outlives_a_failed_poll(
    path: Path, emulator: Emulator, client: Client, mishap: Fault
) -> None:
    """A decision holds until a poll of the named run shows whether it fits."""
    await leave_unknown(path, emulator, FEATURES)
    ref = ref_of(emulator, "Checkout")
    async with Journal(path) as journal:
        await journal.decide(ref, feature="Checkout")
    failing = emulator.fail("get_run", mishap)
    impatient = client_of(emulator, retry=RetryPolicy(attempts=1))
    async with Journal(path) as journal, impatient as other:
        await other.project().run_features(journal=journal, timeout=2)
        assert journal.items[0].ref == ref
    failing.remove()
    items = await resumed(path, client.project())
    assert items[0].outcome is not None
    assert items[0].outcome.run_id == ref.run_id


@pytest.fixture
async def planned(path: Path, project: Project) -> AsyncGenerator[Journal]:
    """A journal that has a batch, opened again."""
    await resumed(path, project, FEATURES, timeout=1)
    async with Journal(path) as journal:
        yield journal


@pytest.mark.parametrize(
    "features", [["Checkout"], [*FEATURES, "Gift card"], ["Checkout", "Wishlist", "Returns"]]
)
async def test_other_features(
    planned: Journal, project: Project, emulator: Emulator, features: list[str]
) -> None:
    """Other features are refused in one sentence, and nothing is dispatched."""
    batch = project.run_features(features, journal=planned)
    await raised(errors.ConfigError, batch, match="features")
    assert emulator.count("run_feature") == 3


async def test_another_place(planned: Journal, client: Client, emulator: Emulator) -> None:
    """Each is refused in one sentence that names both."""
    project = client.project()
    with pytest.raises(errors.ConfigError, match="for the site None, not https://x"):
        project.run_features(journal=planned, site_url="https://x")
    with pytest.raises(errors.ConfigError, match="another kind: run, not generation"):
        project.generate_features(journal=planned)
    with pytest.raises(errors.ConfigError, match="another project"):
        client.project("other").run_features(journal=planned)
    async with Client("https://other.example", api_key="tvb_" + "k" * 43) as other:
        with pytest.raises(errors.ConfigError, match="another server"):
            other.project(emulator.project_id).run_features(journal=planned)


async def test_one_batch_at_a_time(planned: Journal, project: Project) -> None:
    """A journal has one batch each time it is opened."""
    await project.run_features(journal=planned, timeout=1)
    with pytest.raises(errors.ConfigError, match="open it again"):
        project.run_features(journal=planned)


async def test_one_that_is_not_open(path: Path, project: Project) -> None:
    """It must be open, and is opened once."""
    journal = Journal(path)
    with pytest.raises(errors.ConfigError, match="async with"):
        project.run_features(journal=journal)
    async with journal:
        await raised(errors.ConfigError, journal.__aenter__(), match="open already")
    await journal.aclose()


OTHER_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_bytes(b"not a database" * 100), "is no journal"),
    "damaged": (lambda path: path.write_bytes(b"SQLite format 3\0" + b"x" * 4080), ""),
    "of another program": (
        lambda path: execute(path, "CREATE TABLE songs (title TEXT)"),
        "is another program's database",
    ),
    "of version 9": (lambda path: execute(path, "PRAGMA user_version = 9"), "is of version 9"),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
async def test_what_is_no_journal(path: Path, kind: str) -> None:
    """Another file is refused in a sentence, and what is no journal is left as it is."""
    write, problem = OTHER_FILES[kind]
    if kind == "of version 9":
        await opened(path)
    write(path)
    content = path.read_bytes()
    await raised(errors.ConfigError, opened(path), match=f"{path}.*{problem}")
    assert path.read_bytes() == content or kind == "of version 9"
    no_folder = path.parent / "no" / "journal"
    await raised(errors.ConfigError, opened(no_folder), match="can't be opened")


async def test_two_at_once(path: Path) -> None:
    """One process at a time has it, and it is free once that closes it."""
    async with Journal(path):
        await raised(errors.ConfigError, opened(path), match="in use, here or by another process")
    await opened(path)


async def test_a_read_only_file(
    path: Path, project: Project, monkeypatch: pytest.MonkeyPatch, emulator: Emulator
) -> None:
    """A file that can't be written is refused before anything is dispatched."""
    await resumed(path, project, FEATURES, timeout=1)
    connect = sqlite3.connect

    def read_only(name: Path, **options: Any) -> Any:
        return connect(f"file:{name}?mode=ro", uri=True, **options)

    monkeypatch.setattr(sqlite3, "connect", read_only)
    await raised(errors.ConfigError, opened(path), match=r"(can't|could not) be written")
    assert emulator.count("run_feature") == 3


async def test_a_commit_is_on_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with an SQLite that was built to leave it to the operating system."""
    modes: list[int] = []

    class Lax(sqlite3.Connection):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.execute("PRAGMA synchronous = OFF")

        def close(self) -> None:
            modes.extend(self.execute("PRAGMA synchronous").fetchone())
            super().close()

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Lax))
    await opened(path)
    assert modes == [2]  # FULL


@pytest.mark.parametrize("options", [{"features": {"Checkout"}}, [1, 2], "abc"])
async def test_options_that_are_no_json_object(path: Path, options: Any) -> None:
    """They are refused before there is a file."""
    with pytest.raises(errors.ConfigError, match="options of a journal must be a JSON object"):
        Journal(path, options=options)
    assert not path.exists()


async def test_a_lazy_source(path: Path, project: Project, emulator: Emulator) -> None:
    """A generator that was not read to its end is read again, and goes on where it was."""
    async with Journal(path) as journal:
        await project.run_features(iter(FEATURES), journal=journal, max_in_flight=1, timeout=40)
        assert not journal.is_complete
    async with Journal(path) as journal:
        items = await project.run_features(iter(FEATURES), journal=journal)
        assert journal.is_complete
    assert [item.feature for item in items] == FEATURES
    assert emulator.count("run_feature") == 3


async def test_what_waits_for_a_slot(path: Path, client: Client, emulator: Emulator) -> None:
    """What is in flight beyond the limit is not looked at then, but said to be in flight."""
    await resumed(path, client.project(), FEATURES, timeout=1)
    before = emulator.count("get_run")
    async with Journal(path) as journal, client_of(emulator) as other:
        items = await other.project().run_features(journal=journal, max_in_flight=1, timeout=5)
    assert verdicts(items) == ["in flight"] * 3
    late = [item.error for item in items if isinstance(item.error, errors.WaitTimeoutError)]
    assert [error.status for error in late].count(None) == 2
    assert emulator.count("get_run") - before <= 4


async def test_features_that_nobody_named(path: Path, client: Client, emulator: Emulator) -> None:
    """The list is read once: what it had is the plan."""
    items = await resumed(path, client.project(), timeout=1)
    lists = emulator.count("list_features")
    again = await resumed(path, client.project())
    assert [item.feature for item in again] == [item.feature for item in items]
    assert all(item.outcome is not None for item in again)
    assert emulator.count("list_features") - lists <= 20  # polls, none of them to plan


async def test_many_records_are_one_commit(path: Path, project: Project) -> None:
    """What is recorded at once goes to the disk at once."""
    configs = [None, *map(str, range(20))]
    async with Journal(path) as journal:
        await project.run_features(FEATURES, config=configs, journal=journal, timeout=5)
        assert journal.commits < 2 * 63  # as many were dispatched, each with two records or more


async def test_nothing_sent_is_decided(path: Path, emulator: Emulator, client: Client) -> None:
    """A decision is for what is unknown: the answer of a dispatch under way may still come."""
    emulator.fail("run_feature", Fault.delay(5), times=1)
    async with (
        Journal(path) as journal,
        client.project().run_features(["Checkout"], journal=journal) as batch,
    ):
        await asyncio.sleep(1)
        assert verdicts(batch.items) == ["unknown"]
        await raised(errors.ConfigError, journal.decide("resend"), match="nothing is unknown")


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_a_pause_is_over(path: Path, emulator: Emulator, client: Client, status: int) -> None:
    """A key that is refused, or a request too many, says nothing of the feature."""
    rule = emulator.fail("run_feature", Fault.status(status))
    async with Journal(path) as journal:
        batch = client.project().run_features(["Checkout"], journal=journal, timeout=1000)
        assert verdicts(await batch) == ["error"]
        assert not journal.is_over
    rule.remove()
    assert verdicts(await resumed(path, client.project())) == ["succeeded"]


async def test_a_wrong_argument_leaves_a_journal_unused(path: Path, project: Project) -> None:
    """What refuses the call has written no plan."""
    async with Journal(path) as journal:
        with pytest.raises(errors.ConfigError):
            project.run_features(["Checkout"], journal=journal, attempts=0)
        assert journal.plan is None
        assert verdicts(await project.run_features(["Checkout"], journal=journal)) == ["succeeded"]


@pytest.mark.parametrize("reason", ["absent", "ambiguous", "unseen"])
async def test_why_is_kept(path: Path, emulator: Emulator, client: Client, reason: str) -> None:
    """The reason, the candidates, the intent and the time of the last poll are read back."""
    emulator.fail("run_feature", Fault.lost() if reason == "ambiguous" else Fault.reset())
    if reason == "unseen":
        emulator.fail("list_runs", Fault.status(500))
    async with Journal(path) as journal:
        batch = client.project().run_features(["Checkout"], journal=journal)
        if reason == "ambiguous":
            async with client_of(emulator) as other:
                items, _ = await asyncio.gather(batch, other.project().run_features(["Checkout"]))
        else:
            items = await batch
        (intent,) = journal.open_intents
    error = items[0].error
    assert isinstance(error, errors.DispatchUnknownError)
    assert error.reason == reason
    async with Journal(path) as journal:
        kept = journal.items[0].error
        assert isinstance(kept, errors.DispatchUnknownError)
        assert (kept.reason, kept.candidates) == (error.reason, error.candidates)
        assert kept.polled_at == error.polled_at
        assert kept.intent == intent
        assert str(kept) == str(error)
