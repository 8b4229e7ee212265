"""Generations cost credits: the service is paid for exactly what was asked for.

The cells are of each way of the library to start a generation, and of each mishap.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest
from attrs import define, field, frozen

from tests.conftest import Received, Send, Sent, client_of
from tests.support.amounts import amount, some
from tests.support.faults import NO_ID, edited
from tests.support.ledgers import copy_of_the_disk
from tests.support.raising import raised
from tests.support.timing import STEADY, now
from testvibe_async import (
    Client,
    ConfigError,
    FeatureNotGeneratedError,
    Project,
    SqliteLedger,
    Verdict,
    VibeError,
)
from testvibe_async.testing import Emulator, Fault

ANSWER_SECONDS = 2.0
"""How long an answer to a dispatch is on its way."""


HOUR = 3_600.0


@frozen
class Way:
    """A way to start a generation."""

    method: str
    options: dict[str, Any] = field(factory=dict[str, Any])
    key: str | None = None

    async def start(self, project: Project, name: str) -> Any:
        """Start it, and wait for its end."""
        call = getattr(project, self.method)
        if self.method.endswith("s"):
            (item,) = await call([name], key=self.key, **self.options)
            return item.outcome
        return await call(name, key=self.key, **self.options).wait()


JOIN = {"on_conflict": "attach"}
WAYS = {
    "`generate_feature`": Way("generate_feature"),
    "`generate_features`": Way("generate_features"),
    "`generate_feature`, key": Way("generate_feature", key="k"),
    "`generate_features`, key": Way("generate_features", key="k"),
    '`generate_features(on_conflict="attach")`, key': Way("generate_features", JOIN, key="k"),
}


@frozen
class World:
    """What the service and the program are like."""

    feature: str
    has_ids: bool = True
    """Whether the service shows the ids of generations."""
    is_quick: bool = False
    """Whether a generation ends before the answer to its dispatch is there."""
    pause: float = 0.0
    """Seconds until the program starts again."""


@define
class Program:
    """A program that generates one feature, in as many processes as it takes."""

    emulator: Emulator
    way: Way
    world: World
    folder: Path
    ledger: Path = field(init=False)
    is_killed: bool = False
    """Whether nothing leaves the process any more, and nothing arrives."""

    def __attrs_post_init__(self) -> None:
        self.ledger = self.folder / "ledger"

    @asynccontextmanager
    async def process(self) -> AsyncGenerator[Client]:
        """Make the client of one process; answers to its dispatches take 2 s."""
        self.is_killed = False

        async def pass_on(request: Sent, send: Send) -> Received:
            if self.is_killed:
                await asyncio.Event().wait()
            response = await send(request)
            if request.method == "POST":
                await asyncio.sleep(ANSWER_SECONDS)
            if self.is_killed:
                await asyncio.Event().wait()
            return response

        async with (
            aiohttp.ClientSession(middlewares=[pass_on]) as session,
            client_of(
                self.emulator, session=session, ledger=self.ledger, poll_interval=15
            ) as client,
        ):
            yield client

    async def call(self, client: Client) -> Any:
        """Do what the program is for."""
        return await self.way.start(client.project(), self.world.feature)

    @property
    def may_call_again(self) -> bool:
        """Whether the same call, after the time that there was, asks for no second generation."""
        is_in_flight = not self.world.is_quick and not self.world.pause
        return is_in_flight or self.way.key is not None

    async def recover(self) -> None:
        """Do what the program does at its next start: call again, if that asks for the same."""
        await asyncio.sleep(self.world.pause)
        if self.may_call_again:
            async with self.process() as client:
                with suppress(VibeError):
                    await self.call(client)

    async def kill(self, client: Client, *, after: float) -> None:
        """Call, and end the process so many seconds after the service has acted."""
        acted = asyncio.Event()

        def note(answer: Any) -> Any:
            acted.set()
            return answer

        self.emulator.fail("generate_feature", Fault.edit(note), times=1)
        call = asyncio.create_task(self.call(client))
        await acted.wait()
        await asyncio.sleep(after)
        self.is_killed = True
        left = self.folder / "left"
        copy_of_the_disk(self.ledger, left)
        self.ledger = left
        call.cancel()
        await asyncio.wait([call])


async def interrupted(program: Program, *, fault: Fault | None = None, seconds: float = 40) -> None:
    """Give the call so long, whose dispatch may meet a fault, and start the program again."""
    if fault is not None:
        program.emulator.fail("generate_feature", fault, times=1)
    async with program.process() as client:
        with suppress(TimeoutError, VibeError):
            async with asyncio.timeout(seconds):
                await program.call(client)
    await program.recover()


async def killed(program: Program, *, after: float) -> None:
    """End the process so long after the service has acted, and start it again."""
    async with program.process() as client:
        await program.kill(client, after=after)
    await program.recover()


async def given_up(program: Program, *, after: float) -> None:
    """Wait for the call so long, and call again at once."""
    async with program.process() as client:
        for _ in range(2 if program.may_call_again else 1):
            with suppress(TimeoutError, VibeError):
                async with asyncio.timeout(after):
                    await program.call(client)
    await program.recover()


async def called_twice_at_once(program: Program) -> None:
    """Call twice in one process."""
    async with program.process() as client:
        calls = (program.call(client), program.call(client))
        await asyncio.gather(*calls, return_exceptions=True)


AT_ONCE = "called twice at once"


PAGE = b"<!doctype html><title>Accepted</title>"


MISHAPS: dict[str, Callable[[Program], Awaitable[None]]] = {
    "answer lost": partial(interrupted, fault=Fault.lost()),
    "answer cut": partial(interrupted, fault=Fault.truncated()),
    "a page as the 2xx": partial(interrupted, fault=Fault.edit(lambda _: PAGE)),
    "a 2xx without an id": partial(interrupted, fault=Fault.edit(lambda _: {"unexpected": True})),
    "killed before the answer": partial(killed, after=1),
    "killed after the answer": partial(killed, after=3),
    "gave up before the answer": partial(given_up, after=1),
    "gave up as the answer came": partial(given_up, after=ANSWER_SECONDS),
    AT_ONCE: called_twice_at_once,
    "called again in flight": partial(interrupted, seconds=20),
}


WORLDS = [
    World("Draft", has_ids=False, is_quick=True),
    World("Checkout", pause=HOUR),
    World("Draft", has_ids=False),
    World("Checkout", is_quick=True),
    World("Checkout", has_ids=False),
    World("Draft", has_ids=False, pause=HOUR),
]
"""`Draft` has no tests; those of `Checkout` are replaced."""


CELLS = [
    (way, mishap, world)
    for world in WORLDS[: amount(6, few=2)]
    for way in WAYS
    for mishap in MISHAPS
    # Where the first one has finished before its answer, two calls without a key are two requests.
    if mishap != AT_ONCE or not world.is_quick or WAYS[way].key is not None
]


SCENARIO = STEADY


@pytest.fixture
def emulator(emulator: Emulator) -> Emulator:
    """The service, with a feature that has no tests."""
    emulator.add_feature("Draft", status="draft")
    return emulator


def paid(emulator: Emulator) -> int:
    """Return how many generations were dispatched and accepted."""
    return sum(made.created_at >= 0 for made in emulator.generations.values())


@pytest.mark.parametrize(("way", "mishap", "world"), some(CELLS, few=3))
async def test_one_request_is_paid_once(
    emulator: Emulator, tmp_path: Path, way: str, mishap: str, world: World
) -> None:
    """Whatever happens to the answer, the process or the caller, one generation is paid."""
    if not world.has_ids:
        emulator.fail("get_generation_status", NO_ID)
    if world.is_quick:
        emulator.fail("generate_feature", Fault.edit(partial(ended, emulator)))
    program = Program(emulator, WAYS[way], world, tmp_path)
    await MISHAPS[mishap](program)
    for _ in range(2 if program.way.key is not None else 0):
        await asyncio.sleep(HOUR)
        await program.recover()
    assert paid(emulator) == 1


def ended(emulator: Emulator, answer: Any) -> Any:
    """Finish a generation that was started just now."""
    emulator.finish_generation(answer["requestId"])
    return answer


@pytest.mark.parametrize("way", [name for name, way in WAYS.items() if way.key is not None])
@pytest.mark.parametrize("mishap", [each for each in MISHAPS if each != AT_ONCE])
async def test_the_call_is_paid(emulator: Emulator, tmp_path: Path, way: str, mishap: str) -> None:
    """The generation that was paid is the call's, and nothing is left to do."""
    program = Program(emulator, WAYS[way], World("Draft"), tmp_path)
    await MISHAPS[mishap](program)
    requests = emulator.count("generate_feature")
    async with program.process() as client:
        outcome = await program.call(client)
    assert outcome.is_success
    assert emulator.count("generate_feature") == requests


@pytest.mark.parametrize(
    ("way", "expected"), [(name, 2 if way.key is None else 1) for name, way in WAYS.items()]
)
async def test_naming_a_feature_again_pays_again_and_a_key_does_not(
    emulator: Emulator, tmp_path: Path, way: str, expected: int
) -> None:
    """Who names the feature again has it generated again; with a key it is the same call."""
    program = Program(emulator, WAYS[way], World("Draft"), tmp_path)
    for _ in range(2):
        async with program.process() as client:
            await program.call(client)
    assert paid(emulator) == expected


async def test_what_is_missing_is_generated_once(emulator: Emulator, project: Project) -> None:
    """Without names a batch generates what has no tests: a second one finds none of the first."""
    first = await project.generate_features()
    assert paid(emulator) == len(first) > 1
    assert await project.generate_features() == []
    assert paid(emulator) == len(first)


@pytest.mark.parametrize(
    "fault", [Fault.status(500), Fault.status(429), Fault.garbage(), Fault.hang()]
)
async def test_possible_tests_are_kept(emulator: Emulator, project: Project, fault: Fault) -> None:
    """A feature whose tests can't be seen is not generated by a batch of missing tests."""
    emulator.fail("get_generation_status", fault)

    (item,) = await project.generate_features(["Checkout"], missing_only=True)

    assert item.verdict is Verdict.ERROR
    assert paid(emulator) == 0


@pytest.mark.parametrize(
    "members",
    [{"featureStatus": None}, {"featureStatus": "ready"}, {"featureStatus": "", "requestId": None}],
)
async def test_words_that_say_too_little(
    emulator: Emulator, project: Project, members: dict[str, Any]
) -> None:
    """A feature is not paid for by a batch of missing tests, and the error names the status."""
    emulator.fail("get_generation_status", edited(**members))

    (item,) = await project.generate_features(["Checkout"], missing_only=True)

    assert isinstance(item.error, ConfigError)
    assert "it is unknown whether feature 'Checkout' has tests" in str(item.error)
    assert paid(emulator) == 0


@pytest.mark.parametrize("status", [{}, {"data": {"featureStatus": "generated"}}])
async def test_a_status_without_fields_is_that_of_the_feature(
    emulator: Emulator, project: Project, status: dict[str, Any]
) -> None:
    """What the status of the generation does not show, the feature itself does."""
    emulator.fail("get_generation_status", Fault.edit(lambda _: status))

    (item,) = await project.generate_features(["Checkout"], missing_only=True)

    assert item.verdict is Verdict.SUCCEEDED
    assert paid(emulator) == 0


async def test_neither_status_is_documented(emulator: Emulator, project: Project) -> None:
    """A feature that may have tests is not paid for where the service has words of its own."""
    emulator.fail("get_generation_status", Fault.body(b"{}"))
    emulator.fail("get_feature", edited(status="ready"))

    (item,) = await project.generate_features(["Checkout"], missing_only=True)

    assert "its status is 'ready'" in str(item.error)
    assert paid(emulator) == 0


@pytest.mark.parametrize("fault", [Fault.status(404), Fault.body(b"{}")])
async def test_one_without_a_generation(emulator: Emulator, project: Project, fault: Fault) -> None:
    """A service may answer 404, or show no field, for a feature that was never generated."""
    emulator.fail("get_generation_status", fault, times=1)

    (item,) = await project.generate_features(["Draft"], missing_only=True)

    assert item.verdict is Verdict.SUCCEEDED


async def test_tests_made_during_a_pause_are_not_paid(emulator: Emulator, project: Project) -> None:
    """A rate-limited generation of missing tests is not sent once another has made them."""
    emulator.fail("generate_feature", Fault.status(429, retry_after=120), times=1)
    batch = asyncio.ensure_future(project.generate_features(["Draft"], missing_only=True))
    await asyncio.sleep(2)
    async with client_of(emulator) as other:
        theirs = await other.project().generate_feature("Draft")
    emulator.finish_generation(theirs.request_id)

    (item,) = await batch

    assert item.verdict is Verdict.SUCCEEDED
    assert list(emulator.generations) == [theirs.request_id]


async def test_a_service_that_always_pauses(emulator: Emulator, project: Project) -> None:
    """A generation of missing tests is read again after each pause, for as long as any dispatch."""
    emulator.fail("generate_feature", Fault.status(429, retry_after=60))
    began = now()

    (item,) = await project.generate_features(["Draft"], missing_only=True)

    assert item.verdict is Verdict.ERROR
    assert now() - began < HOUR
    assert paid(emulator) == 0


@pytest.mark.parametrize("policy", ["raise", "wait"])
@pytest.mark.parametrize("is_batch", [True, False], ids=["batch", "one"])
async def test_a_run_pays_for_nothing(
    emulator: Emulator, project: Project, policy: Literal["raise", "wait"], *, is_batch: bool
) -> None:
    """Only what is called generate spends credits: a run without tests is refused."""
    if is_batch:
        (item,) = await project.run_features(["Draft"], on_conflict=policy)
        assert item.verdict is Verdict.ERROR
    else:
        await raised(FeatureNotGeneratedError, project.run_feature("Draft", on_conflict=policy))
    assert emulator.count("generate_feature") == 0


@pytest.mark.parametrize(("decision", "expected"), [("resend", 2), ("drop", 1)])
async def test_a_decision_is_what_pays_for_an_unknown_one(
    emulator: Emulator, tmp_path: Path, decision: Literal["resend", "drop"], expected: int
) -> None:
    """What stays unknown is dispatched again by `resend` alone, however often it is resumed."""
    emulator.fail("get_generation_status", NO_ID)
    way = WAYS["`generate_features`, key"]
    program = Program(emulator, way, World("Checkout", pause=HOUR), tmp_path)
    await MISHAPS["answer lost"](program)
    assert paid(emulator) == 1
    async with SqliteLedger(program.ledger) as ledger:
        (row,) = await ledger.decide("k", decision)
    assert row.feature == "Checkout"
    await program.recover()
    await program.recover()
    assert paid(emulator) == expected
