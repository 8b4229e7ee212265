"""One key over several processes, which are killed, time out or are closed, also two at once.

All of them make the same call, on one ledger file: a batch, or a single dispatch. Between them
somebody else uses the same project. The service may hide the ids of generations, and answer a
dispatch with a body that can't be read. What the call may not do is at the end: it holds whatever
the schedule was.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias

import detangle
from attrs import define, evolve, field, frozen

from tests.promises.simulation import restart_invariants
from tests.promises.simulation.plan import GENERATIONS, NEIGHBOUR, Plan, draw_plan
from tests.promises.simulation.process import Process
from tests.promises.simulation.record import CALLER, Id, Record, id_of
from tests.promises.simulation.service import HIDDEN_IDS, READY, SimulatedService
from tests.support.mortal import MortalLedger
from testvibe_async import (
    Batch,
    BatchItem,
    ClientClosedError,
    Project,
    Ref,
    VibeError,
    WaitTimeoutError,
)
from testvibe_async.ledger import Row

Work: TypeAlias = Literal[
    "runs", "generations", "runs, once generated", "a single run", "a single generation"
]
End: TypeAlias = Literal["kill", "time-out", "close"]

WORKS: tuple[Work, ...] = (
    *("runs", "generations", "generations", "runs, once generated"),
    *("a single run", "a single generation"),
)
CALLER_NUMBER = 1
KEY, NEIGHBOUR_KEY = "nightly", "hourly"
LAST_LIFE = 300.0
"""Seconds after which a batch is over that nothing disturbs any more."""
NEIGHBOUR_SECONDS = 6.0
"""Seconds after which the other key's call is left."""
SAMPLE = 0.25
"""Seconds between two reads of what the batch knows."""
_SHM = Path("/dev/shm")  # noqa: S108 - for files of a test
MEMORY = _SHM if _SHM.is_dir() else None
"""Where commits cost nothing; None for where files are otherwise."""

SOMETIMES = (
    *("a 202 that can't be read", "a call that was closed"),
    *("a call with operations in flight at its end", "a dispatch that acted"),
    *("a generation that was joined", "a kill", "after restarts: error", "after restarts: failed"),
    *("after restarts: succeeded", "after restarts: unknown", "an outcome after a restart"),
    "a run that was dispatched again once it had expired",
)
"""What schedules have to see sometimes: else they prove less than they seem to."""


@frozen
class Life:
    """One process: when it starts in its round, and how it ends."""

    end: End
    after: float
    """Seconds from its start to its end."""
    delay: float = 0.0
    """Seconds from the begin of its round to its start."""


@frozen
class Round:
    """The processes that make the call at one time, and what happens until the next ones start."""

    lives: tuple[Life, ...]
    pause: float
    """Seconds until the next round."""
    rivals: tuple[tuple[str, str | None], ...]
    """What somebody else starts in the middle of the pause: a feature, and the configuration of a
    run or None for a generation."""


@frozen(kw_only=True)
class RestartPlan:
    """The choices of one schedule."""

    work: Work
    on_conflict: Literal["raise", "attach", "wait"]
    """Of generations."""
    max_in_flight: int
    rounds: tuple[Round, ...]
    rival_before: bool
    """Whether somebody else's generation is in flight when the first process starts."""
    is_rebooted: bool
    """Whether the machine starts again between the rounds, so that its clock does."""

    @property
    def is_batch(self) -> bool:
        return not self.work.startswith("a single")


@define
class Restarts:
    """All that there is in one schedule."""

    processes_at_once: int = 1
    plan: Plan = field(init=False)
    restarts: RestartPlan = field(init=False)
    seen: Counter[str] = field(factory=Counter[str])
    record: Record = field(factory=Record)
    service: SimulatedService = field(init=False)
    shown: defaultdict[tuple[str, str | None], dict[Ref, float]] = field(
        factory=lambda: defaultdict[tuple[str, "str | None"], dict["Ref", float]](dict)
    )
    """When the call showed each operation first, by feature and configuration."""
    last_shown: dict[Ref, float] = field(factory=dict["Ref", float])
    """When the call showed each operation last."""
    items: list[BatchItem[Any]] = field(factory=list["BatchItem[Any]"])
    """What the last process ended with."""
    rows: list[Row] = field(factory=list[Row])
    """What its ledger had in the end."""
    taken: set[Id] = field(factory=set["Id"])
    """The operations that the other key has."""
    _closing: list[asyncio.Task[None]] = field(factory=list["asyncio.Task[None]"])
    _path: Path = field(init=False)

    async def play(self) -> None:
        self.plan, self.restarts = _service_plan(draw_plan()), _draw(self.processes_at_once)
        self.service = SimulatedService(self.plan, self.record, self.seen)
        await self.service.start()
        with TemporaryDirectory(prefix="testvibe_async", dir=MEMORY) as folder:
            self._path = Path(folder) / "testvibe.sqlite"
            await self._live()
        await self.service.aclose()
        restart_invariants.check(self)

    async def _live(self) -> None:
        CALLER.set(CALLER_NUMBER)
        detangle.note(f"{self.restarts}, request ids: {self.plan.hides_ids}")
        if self.restarts.rival_before:
            self.service.let_a_rival_act(detangle.choice((*READY, "Draft")), None)
        for number, each in enumerate(self.restarts.rounds):
            boot = f"boot {number}" if self.restarts.is_rebooted else "a boot"
            lives = [self._live_once(life, boot) for life in each.lives]
            await asyncio.gather(*lives, *self._neighbours(boot))
            await asyncio.sleep(each.pause / 2)
            for feature, config in each.rivals:
                self.service.let_a_rival_act(feature, config)
            await asyncio.sleep(each.pause / 2)
        self.service.calm()
        await self._live_once(Life("close", LAST_LIFE), "the last boot")
        await asyncio.gather(*self._closing)
        async with MortalLedger(self._path) as ledger:
            self.rows = await ledger.rows(KEY)
            others = await ledger.rows(NEIGHBOUR_KEY)
            self.taken = {id_of(row.ref) for row in others if row.ref is not None}

    async def _live_once(self, life: Life, boot: str) -> None:
        """Make the call in one more process."""
        await asyncio.sleep(life.delay)
        ledger = MortalLedger(self._path)
        ledger.seconds = self.plan.disk_seconds
        process = Process(
            self.service.emulator, self.plan, self.record, self.seen, ledger=ledger, boot=boot
        )
        call = await self._call(process, ledger, life)
        work = asyncio.create_task(call.to_the_end(), name="the process")
        watch = asyncio.create_task(self._watch(call), name="a look at the call")
        _, running = await asyncio.wait([work], timeout=life.after)
        watch.cancel()
        if running and life.end == "kill":
            self.seen["a kill"] += 1
            detangle.note("the process is killed")
            process.is_killed = True
            ledger.kill()
            work.cancel()
            # What is left of it can do no more harm, and must not delay the others.
            self._closing.append(asyncio.create_task(_end(process, ledger, work)))
            return
        if running and life.end == "close":
            self.seen["a call that was closed"] += 1
            await process.close()
            work.cancel()
        elif running:
            await asyncio.wait([work])
        # A disk may be too slow for a batch even to be read.
        with suppress(asyncio.CancelledError, ClientClosedError, WaitTimeoutError):
            await work
        self.items = call.items
        if any(item.is_unfinished for item in self.items):
            self.seen["a call with operations in flight at its end"] += 1
        ended = [f"{i.feature}, {i.config}: {i.verdict}, {i.ref}" for i in self.items]
        detangle.note(f"the process ended with {'; '.join(ended)}")
        await _end(process, ledger, work)

    def _neighbours(self, boot: str) -> list[Coroutine[Any, Any, None]]:
        """Return what makes the same call with another key, if anything does."""
        is_free = self.restarts.work not in GENERATIONS
        return [self._neighbour(boot)] if self.plan.has_neighbour and is_free else []

    async def _neighbour(self, boot: str) -> None:
        CALLER.set(NEIGHBOUR)
        ledger = MortalLedger(self._path)
        process = Process(
            self.service.emulator, self.plan, self.record, self.seen, ledger=ledger, boot=boot
        )
        call = await self._call(process, ledger, Life("close", LAST_LIFE), key=NEIGHBOUR_KEY)
        work = asyncio.create_task(call.to_the_end(), name="the neighbour")
        await asyncio.wait([work], timeout=NEIGHBOUR_SECONDS)
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
        await _end(process, ledger, work)

    async def _call(
        self, process: Process, ledger: MortalLedger, life: Life, *, key: str = KEY
    ) -> "AnyCall":
        project, plan = process.client.project(), self.restarts
        timeout = life.after if life.end == "time-out" else None
        if not plan.is_batch:
            return SingleCall(project, plan, key)
        is_known = any(row.is_plan for row in await ledger.rows(key))
        features = None if is_known and detangle.flip(0.5) else (*READY, "Draft")
        options: dict[str, Any] = {
            "max_in_flight": plan.max_in_flight,
            "timeout": timeout,
            "key": key,
        }
        if plan.work == "generations":
            batch: Batch[Any] = project.generate_features(
                features, on_conflict=plan.on_conflict, **options
            )
        elif plan.work == "runs":
            named = None if features is None else READY
            configs = None if features is None else (None, "Mobile")
            batch = project.run_features(named, config=configs, **options)
        else:
            batch = project.run_features(features, on_conflict="wait", **options)
        return BatchCall(batch)

    async def _watch(self, call: "AnyCall") -> None:
        """Note what the call shows while it goes on."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SAMPLE)
            for item in call.items:
                if item.ref is not None:
                    shown = self.shown[str(item.feature), item.config]
                    shown.setdefault(item.ref, loop.time())
                    self.last_shown[item.ref] = loop.time()


@define
class BatchCall:
    """A batch of one process."""

    batch: Batch[Any]

    @property
    def items(self) -> list[BatchItem[Any]]:
        return self.batch.items

    async def to_the_end(self) -> None:
        async with self.batch:
            async for _ in self.batch:
                pass


@define
class SingleCall:
    """A single dispatch of one process, and its wait."""

    project: Project
    plan: RestartPlan
    key: str
    items: list[BatchItem[Any]] = field(factory=list["BatchItem[Any]"])

    async def to_the_end(self) -> None:
        item: BatchItem[Any] = BatchItem(feature="Alpha", is_waiting=True)
        self.items = [item]
        try:
            operation: Any
            if self.plan.work == "a single run":
                operation = await self.project.run_feature("Alpha", key=self.key)
            else:
                operation = await self.project.generate_feature(
                    "Alpha", on_conflict=self.plan.on_conflict, key=self.key
                )
            self.items = [evolve(item, ref=operation.ref, is_waiting=False)]
            outcome = await operation
            self.items = [evolve(self.items[0], outcome=outcome)]
        except VibeError as error:
            self.items = [evolve(self.items[0], error=error, is_waiting=False)]
            if isinstance(error, ClientClosedError):
                raise


AnyCall: TypeAlias = BatchCall | SingleCall


async def _end(process: Process, ledger: MortalLedger, work: asyncio.Task[None]) -> None:
    await asyncio.wait([work])
    await process.close()
    await process.session.close()
    await ledger.aclose()


async def play_restarts(processes_at_once: int = 1) -> Counter[str]:
    """Play one schedule, hold it against the invariants, and return what was seen in it."""
    world = Restarts(processes_at_once)
    await world.play()
    return world.seen


async def play_shared() -> Counter[str]:
    """Play one schedule in which two processes make the same call at once."""
    return await play_restarts(2)


def _service_plan(plan: Plan) -> Plan:
    """Return a service that loses more answers, and whose disturbances are the restarts."""
    return evolve(
        plan,
        disturbances=(),
        close_at=None,
        dispatch_risk=detangle.choice((0.5, 0.0, 0.8)),
        hides_ids=detangle.choice(HIDDEN_IDS),
        unreadable_rate=detangle.choice((0.0, 0.5)),
        warm_up=detangle.choice((1.0, 8.0, 40.0)),
        disk_seconds=detangle.choice((0.0, 0.0, 0.3)),
        has_neighbour=detangle.flip(0.3),
    )


def _draw(processes_at_once: int) -> RestartPlan:
    work: Work = detangle.choice(WORKS)
    return RestartPlan(
        work=work,
        on_conflict=detangle.choice(("raise", "attach", "wait", "attach")),
        max_in_flight=detangle.choice((100, 1, 2)),
        rounds=tuple(_draw_round(work, processes_at_once) for _ in range(detangle.randint(1, 3))),
        rival_before=detangle.flip(0.5),
        is_rebooted=detangle.flip(0.3),
    )


def _draw_round(work: Work, processes_at_once: int) -> Round:
    configs = ("Default", "Mobile") if work == "runs" else (None, None, "Default")
    features = (*READY, "Draft") if "generat" in work else READY
    return Round(
        lives=tuple(_draw_life() for _ in range(processes_at_once)),
        pause=detangle.choice((0.5, 30.0, 600.0)),
        rivals=tuple(
            (detangle.choice(features), detangle.choice(configs))
            for _ in range(detangle.randint(0, 3))
        ),
    )


def _draw_life() -> Life:
    return Life(
        end=detangle.choice(("kill", "kill", "time-out", "close")),
        # Early, so that it meets dispatches more often than not.
        after=detangle.uniform(0.05, detangle.choice((0.6, 6.0))),
        delay=detangle.uniform(0.0, detangle.choice((0.0, 0.3, 5.0))),
    )
