"""A durable batch from its submission to its end, by workers that come and go."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import client_of
from tests.rooms.adapters.conftest import Nightly
from tests.support.raising import raised
from tests.support.timing import now, shift_local_clock
from testvibe_async import Client, RunRef, errors
from testvibe_async.adapters.durable import BatchStatus, DurableBatch
from testvibe_async.adapters.entries import EntryStore
from testvibe_async.testing import Emulator, Fault

FEATURES = ("Checkout", "Returns", "Wishlist")


async def test_a_whole_batch(nightly: Nightly, emulator: Emulator) -> None:
    """Each feature is dispatched once; a refusal is an item with its error."""
    assert await nightly.submit(*FEATURES, "Nothing")
    assert await nightly.verdicts() == ["waiting"] * 4
    assert await nightly.work() == ["succeeded", "failed", "succeeded", "error"]
    status = await nightly.batch.status()
    assert isinstance(status.items[3].error, errors.NotFoundError)
    assert (status.is_over, status.is_settled, status.workers) == (True, True, [])
    requests = len(emulator.requests)
    assert await nightly.batch.resume() == []
    await nightly.work()
    assert len(emulator.requests) == requests
    assert emulator.count("run_feature") == 4


async def test_workers_share_it(nightly: Nightly, emulator: Emulator) -> None:
    """Whatever one has claimed no other dispatches; each returns all items."""
    await nightly.submit(*nightly.add_features(12), max_in_flight=2)
    work = [asyncio.create_task(nightly.work()) for _ in range(3)]
    await asyncio.sleep(10)
    assert len((await nightly.batch.status()).workers) == 3
    assert len(emulator.runs) == 6
    assert await asyncio.gather(*work) == [["succeeded"] * 12] * 3
    assert emulator.count("run_feature") == 12


async def test_a_service_that_comes_back(nightly: Nightly, emulator: Emulator) -> None:
    """A worker waits for `max_outage`, and ends then; another one does the rest."""
    page = Fault.status(404, body=b"<html>")
    await nightly.submit(*nightly.add_features(5), max_in_flight=1)
    emulator.fail("*", page, skip=5, when=lambda _: now() < 1000)
    await raised(errors.NotSentError, nightly.work(max_outage=60.0))
    verdicts = await nightly.verdicts()
    assert set(verdicts[1:]) == {"error", "waiting"}
    await nightly.batch.resume()
    await asyncio.sleep(1000)
    assert await nightly.work() == ["succeeded"] * 5
    assert emulator.count("run_feature") < 15
    assert len(emulator.runs) == 5


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.status(401), errors.UnauthorizedError),
        (Fault.status(403), errors.ForbiddenError),
        (Fault.reset(), errors.ObservationError),
    ],
)
async def test_a_run_that_could_not_be_observed(
    nightly: Nightly, emulator: Emulator, fault: Fault, error: type[errors.VibeError]
) -> None:
    """It stays dispatched, with the error; resumed, it is attached to and never sent again."""
    await nightly.submit("Checkout")
    rules = [emulator.fail(name, fault) for name in ("get_run", "list_runs")]
    await nightly.work(max_outage=30.0)
    (item,) = await nightly.items()
    assert isinstance(item.error, error)
    assert item.ref is not None
    status = await nightly.batch.status()
    assert (status.is_settled, status.is_over) == (True, False)
    for rule in rules:
        rule.remove()
    assert await nightly.batch.resume() == ["Checkout"]
    await nightly.work()
    (resumed,) = await nightly.items()
    assert (resumed.ref, str(resumed.verdict)) == (item.ref, "succeeded")
    assert emulator.count("run_feature") == 1


async def test_cancel_and_resume(nightly: Nightly, emulator: Emulator) -> None:
    """Nothing more is dispatched, what is in flight is waited for, and all resumes later."""
    await nightly.submit(*FEATURES, max_in_flight=1)
    work = asyncio.create_task(nightly.work())
    await asyncio.sleep(5)
    await nightly.batch.cancel()
    assert await work == ["succeeded", "skipped", "skipped"]
    status = await nightly.batch.status()
    assert (status.is_over, status.is_settled, status.is_cancelled) == (True, True, True)
    assert await nightly.batch.resume() == ["Returns", "Wishlist"]
    assert not (await nightly.batch.status()).is_over
    assert await nightly.work() == ["succeeded", "failed", "succeeded"]
    assert emulator.count("run_feature") == 3


async def test_a_batch_that_is_resumed_as_a_worker_ends(
    nightly: Nightly, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker had nothing left to do, which is no error; the next one has."""
    await nightly.submit("Checkout")
    acts, read = [nightly.batch.cancel], EntryStore.read

    async def resume_first(store: EntryStore) -> BatchStatus:
        monkeypatch.setattr(EntryStore, "read", read)
        await nightly.batch.resume()
        return await read(store)

    monkeypatch.setattr(EntryStore, "read", resume_first)

    async def cancel_once(*_: object) -> None:
        if acts:
            await acts.pop()()

    nightly.before_intents(cancel_once)
    assert await nightly.work() == ["waiting"]
    assert await nightly.work() == ["succeeded"]


async def test_while_tests_are_generated(nightly: Nightly, emulator: Emulator) -> None:
    """The batch is not over before that generation has ended, whoever waits for it."""
    emulator.add_feature("Draft", status="draft")
    await nightly.submit("Draft", on_conflict="generate")
    works = [asyncio.create_task(nightly.work()) for _ in range(2)]
    await asyncio.sleep(5)
    await nightly.batch.cancel()
    status = await nightly.batch.status()
    assert (status.is_over, status.is_settled) == (False, False)
    await asyncio.gather(*works)
    assert now() > 60
    status = await nightly.batch.status()
    assert (status.is_over, status.is_settled) == (True, True)
    assert len(emulator.generations) == 1
    assert emulator.runs == {}


async def test_at_the_last_moment(nightly: Nightly, emulator: Emulator) -> None:
    """A dispatch that has its connection already is not sent."""
    nightly.before_intents(lambda _store, _entry: nightly.batch.cancel())
    await nightly.submit(*FEATURES)
    assert await nightly.work() == ["skipped"] * 3
    assert emulator.count("run_feature") == 0


async def _unknown(nightly: Nightly, emulator: Emulator) -> None:
    """Lose a dispatch that never arrived, with nothing after it that could prove so."""
    emulator.fail("run_feature", Fault.reset(), times=1)
    await nightly.submit("Checkout")
    await nightly.killed()
    assert await nightly.work() == ["unknown"]
    (item,) = await nightly.items()
    assert isinstance(item.error, errors.DispatchUnknownError)
    assert item.error.reason == "absent"
    status = await nightly.batch.status()
    assert (status.is_over, status.is_settled) == (False, True)


async def test_what_began_is_adopted(nightly: Nightly, emulator: Emulator) -> None:
    """The next worker finds the run, and waits for it; before that nothing is to decide."""
    await nightly.submit("Checkout")
    await nightly.killed()
    assert await nightly.verdicts() == ["unknown"]
    await raised(errors.ConfigError, nightly.batch.decide("resend"), match="nothing is unknown")
    assert await nightly.work() == ["succeeded"]
    assert emulator.count("run_feature") == 1


@pytest.mark.parametrize(
    ("decision", "verdict", "runs"), [("resend", "succeeded", 1), ("drop", "skipped", 0)]
)
async def test_decisions(
    nightly: Nightly, emulator: Emulator, decision: Any, verdict: str, runs: int
) -> None:
    """Somebody who knows better has it dispatched again, or left alone."""
    await _unknown(nightly, emulator)
    with pytest.raises(errors.ConfigError, match="nothing of feature 'Returns' is unknown"):
        await nightly.batch.decide(decision, feature="Returns")
    assert await nightly.batch.decide(decision, feature="Checkout") == ["Checkout"]
    assert await nightly.work() == [verdict]
    assert len(emulator.runs) == runs
    assert (await nightly.batch.status()).is_over


async def test_a_run_that_somebody_names(nightly: Nightly, emulator: Emulator) -> None:
    """A run of another feature leaves it unknown, and the right one can be named then."""
    await _unknown(nightly, emulator)
    elsewhere = RunRef(server=emulator.url, project="other", run_id=1)
    await raised(errors.ConfigError, nightly.batch.decide(elsewhere), match="same project")
    async with client_of(emulator) as client:
        wrong = await client.project().run_feature("Returns")
        await nightly.batch.decide(wrong.ref)
        assert await nightly.work() == ["unknown"]
        run = await client.project().run_feature("Checkout")
        await nightly.batch.decide(run.ref)
    assert await nightly.work() == ["succeeded"]
    assert [item.ref for item in await nightly.items()] == [run.ref]


@pytest.mark.parametrize(("pause", "verdict"), [(1, "unknown"), (90, "succeeded")])
async def test_a_run_of_another_batch(
    nightly: Nightly, weekly: Nightly, emulator: Emulator, pause: int, verdict: str
) -> None:
    """What another batch has dispatched is not adopted, and proves something if it is later."""
    emulator.fail("run_feature", Fault.reset(), times=1)
    await nightly.submit("Checkout")
    await nightly.killed()
    await asyncio.sleep(pause)
    await weekly.submit("Checkout")
    await weekly.work()
    assert await nightly.work() == [verdict]
    refs = {item.ref for item in (*await nightly.items(), *await weekly.items())}
    assert len(refs) == 2


@pytest.mark.parametrize("minutes", [-6, 0, 6])
@pytest.mark.parametrize("is_reversed", [False, True])
async def test_intents_of_machines_whose_clocks_differ(
    nightly: Nightly,
    weekly: Nightly,
    emulator: Emulator,
    *,
    minutes: float,
    is_reversed: bool,
) -> None:
    """Neither of two dispatches that a crash left open adopts the one run."""
    emulator.fail("run_feature", Fault.reset(), times=1)
    await nightly.submit("Checkout")
    await nightly.killed()
    with nightly.monkeypatch.context() as patch:
        shift_local_clock(patch, lambda: minutes * 60)
        await weekly.submit("Checkout")
        await weekly.killed()
    assert len(emulator.runs) == 1
    for each in (weekly, nightly) if is_reversed else (nightly, weekly):
        assert await each.work() == ["unknown"]


@pytest.mark.parametrize("minutes", [-10, 10])
@pytest.mark.parametrize("kind", ["run", "generation"])
async def test_a_machine_whose_clock_is_wrong_takes_over(
    nightly: Nightly,
    emulator: Emulator,
    *,
    kind: str,
    minutes: float,
) -> None:
    """Nothing is sent again before the first request has expired: after its 20 s, and 5 s more."""
    operation = "run_feature" if kind == "run" else "generate_feature"
    names = nightly.add_features(2, status="generated" if kind == "run" else "draft")
    emulator.fail(operation, Fault.hang(), times=1)
    await nightly.submit(*names, kind=kind, max_in_flight=1)
    await nightly.interrupted(0.5, timeout=20.0)
    with nightly.monkeypatch.context() as patch:
        shift_local_clock(patch, lambda: minutes * 60)
        assert await nightly.work(timeout=20.0) == ["succeeded"] * 2
    sent = [each.at for each in emulator.requests if each.operation == operation]
    assert sent[1] > 25


def test_the_database_is_a_file_or_postgresql() -> None:
    """Another one is refused, and the database is named without its password."""
    for url in ("mysql://x/y", "sqlite:///relative.db"):
        with pytest.raises(errors.ConfigError, match=r"a SQLite file or in postgresql://"):
            DurableBatch(url, id="x")
    for url in ("postgres//", "postgresql+psycopg://h/p"):
        assert DurableBatch(url, id="x")
    url = "postgresql://me:secret@db/tests?password=secret&sslmode=require"
    batch = DurableBatch(url, id="nightly")
    assert batch.database == "postgresql://me@db/tests?sslmode=require"
    assert batch.database in (shown := repr(batch))
    assert "nightly" in shown


async def test_one_sentence_each(
    nightly: Nightly, tmp_path: Path, client: Client, emulator: Emulator
) -> None:
    """No id, no batch, no feature, no folder, another server."""
    batch = nightly.batch
    with pytest.raises(errors.ConfigError, match="must not be empty"):
        DurableBatch(tmp_path / "a", id="")
    with pytest.raises(errors.ConfigError, match=r"no batch 'nightly' in .*sqlite: store it first"):
        await batch.status()
    assert not (tmp_path / "batches.sqlite").exists()
    await raised(errors.ConfigError, batch.submit(client, []), match="has no features")
    for asked in ({"max_generations": -1}, {"kind": "typo"}):
        with pytest.raises(errors.ConfigError, match=next(iter(asked))):
            await nightly.submit("Checkout", **asked)
    with pytest.raises(errors.ConfigError, match="can't be used: unable to open"):
        await DurableBatch(tmp_path / "no" / "a", id="nightly").submit(client)
    assert await batch.submit(client)
    assert not await batch.submit(client)
    status = await batch.status()
    assert status.plan.server == emulator.url
    assert status.created_at == datetime.fromtimestamp(now(), UTC)
    with pytest.raises(errors.ConfigError, match="'resend', 'drop' or a ref"):
        await batch.decide("again")  # type: ignore[arg-type]
    with pytest.raises(errors.ConfigError, match="other features or options"):
        await batch.submit(client, ["Checkout"])
    with pytest.raises(errors.ConfigError, match="no batch 'weekly'"):
        await DurableBatch(tmp_path / "batches.sqlite", id="weekly").status()
    async with Client("https://other.example", api_key="tvb_" + "k" * 43) as other:
        with pytest.raises(
            errors.ConfigError, match=r"this client's server is https://other.example"
        ):
            await batch.work(other)
    assert emulator.api_key.encode() not in (tmp_path / "batches.sqlite").read_bytes()


@pytest.mark.parametrize(
    "asked",
    [
        *({"features": "Checkout"}, {"on_conflict": "typo"}, {"config": []}),
        *({"max_in_flight": 0}, {"attempts": 0}),
    ],
)
async def test_what_run_features_refuses(
    tmp_path: Path, client: Client, emulator: Emulator, asked: Any
) -> None:
    """A batch that `run_features` refuses is refused in the same sentence, and not stored."""
    submitted = DurableBatch(tmp_path / "a", id="nightly").submit(client, **asked)
    refused = await raised(errors.ConfigError, submitted)
    with pytest.raises(errors.ConfigError) as expected:
        client.project().run_features(**asked)
    assert str(refused) == str(expected.value)
    assert emulator.requests == []
    assert not (tmp_path / "a").exists()


async def test_a_configuration_of_generations_is_refused(
    tmp_path: Path, client: Client, emulator: Emulator
) -> None:
    """Generations have no configuration, so one is refused rather than ignored."""
    batch = DurableBatch(tmp_path / "a", id="nightly")
    submitted = batch.submit(client, ["Checkout"], kind="generation", config="Mobile")
    assert str(await raised(errors.ConfigError, submitted)) == "generations take no configuration"
    assert emulator.requests == []


@pytest.mark.parametrize("is_named", [False, True])
async def test_the_list_of_runs_is_away(
    nightly: Nightly, emulator: Emulator, *, is_named: bool
) -> None:
    """Runs need no answer of `list_runs`, whoever names the features: each is dispatched."""
    features = nightly.add_features(5)
    emulator.add_feature("Draft", status="draft")
    await nightly.submit(*(features if is_named else ()), missing_only=is_named)
    emulator.fail("list_runs", Fault.status(429), times=None)
    assert set(await nightly.work()) <= {"succeeded", "failed"}
    assert emulator.count("run_feature") == len(await nightly.items())


async def test_the_list_of_features_is_waited_for(nightly: Nightly, emulator: Emulator) -> None:
    """A batch of all features is stored also by a service that is away for a minute."""
    away = emulator.fail("list_features", Fault.status(503))
    asyncio.get_running_loop().call_later(60, away.remove)
    assert await nightly.submit()


async def test_features_of_a_generator(nightly: Nightly, client: Client) -> None:
    """What can be read only once is checked without being read, and stored whole."""
    features = (name for name in ("Checkout", "Returns"))
    configs: Any = iter(("Chrome", "Firefox"))
    assert await nightly.batch.submit(client, features, config=configs)
    found = [f"{item.feature} {item.config}" for item in await nightly.items()]
    assert found == ["Checkout Chrome", "Checkout Firefox", "Returns Chrome", "Returns Firefox"]
