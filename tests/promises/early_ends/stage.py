"""Plays an early end: starts a wait, batch or dispatch, ends it, and keeps what is known then.

Each is played once, in an event loop of its own on virtual time, with an emulator and a client.
"""

import asyncio
import signal
from contextlib import suppress
from typing import Any, Literal
from unittest.mock import patch

from attrs import frozen

from tests.conftest import client_of
from tests.promises.early_ends.table import BodyError, Ending, Known, Subject
from tests.support.timing import STEADY, now
from testvibe_async import Batch, Client, Hooks, Operation, Ref, Verdict, errors
from testvibe_async.events import Dispatched, DispatchUnknown
from testvibe_async.testing import Emulator, Fault, VirtualTimeLoop

# By the loop's clock, from the begin: when it ends early, when an answer comes late or what it
# started is found, and when where nothing waits for that (a request may take longer).
END_SECONDS, ANSWER_SECONDS, TOO_LATE_SECONDS = 5.0, 6.0, 28.0

REST_SECONDS = 300.0
"""How long the program goes on after the end, unless the end is its own."""

ENDS_PROGRAM = Ending.SHUTDOWN | Ending.CTRL_C | Ending.CTRL_C_TWICE

FEATURES = {"run": ["Checkout", "Returns"], "generation": ["Draft", "Other draft"]}
"""The feature of the operation, and the one that waits behind it in a batch."""


@frozen
class Scene:
    """One early end, of one kind of operation."""

    subject: Subject
    ending: Ending
    known: Known
    kind: Literal["run", "generation"]
    way: str  # How it is waited for; see `WAYS`.
    has_acted: bool  # Whether the service acts on what it does not answer.
    is_inside_out: bool  # Whether a shutdown cancels the client's tasks before those of its users.

    def __str__(self) -> str:
        """Return it as the name of a test."""
        words = f"{self.subject.value}-{self.ending.name}-{self.known.name}-{self.kind}-{self.way}"
        words += "" if self.has_acted else "-not acted"
        words += "-inside out" if self.is_inside_out else ""
        return words.lower().replace("_", " ")


@frozen
class Said:
    """What the program knows of the operation at one moment."""

    verdict: Verdict | None = None
    ref: Ref | None = None
    error: errors.VibeError | None = None


class Stage:
    """Plays one scene."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.emulator = Emulator(scenario=STEADY)
        for name in FEATURES["generation"]:
            self.emulator.add_feature(name, status="draft")
        self.events: list[Dispatched | DispatchUnknown] = []
        # What the caller got in place of a result, what was known then, when that was, and whether
        # the operation was over at the service.
        self.raised: BaseException | None = None
        self.then, self.ended_at, self.was_over = Said(), 0.0, False
        self.is_interrupted = False  # Whether `asyncio.run` raised KeyboardInterrupt.
        self.batch: Batch[Any] | None = None
        self._operation: Operation[Any] | None = None
        self._client: Client
        self._caller: asyncio.Task[None] | None = None
        self._consumer: asyncio.Future[Any] | None = None

    def play(self) -> None:
        """Play it to the end of the program."""
        all_tasks = asyncio.all_tasks

        def ordered(loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[Any]]:
            return sorted(all_tasks(loop), key=_depth, reverse=self.scene.is_inside_out)

        # Where the tests run in the background of a shell, SIGINT is ignored.
        handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            # `asyncio.Runner` cancels the tasks in the order of a set, another one each time.
            with (
                patch.object(asyncio.tasks, "all_tasks", ordered),
                asyncio.Runner(loop_factory=VirtualTimeLoop) as runner,
            ):
                runner.run(self._main())
        except KeyboardInterrupt:
            self.is_interrupted = True
        finally:
            signal.signal(signal.SIGINT, handler)

    @property
    def later(self) -> Said:
        """What is known once nothing more comes."""
        if (said := self._said()).verdict is None and self.events:
            event = self.events[0]
            if isinstance(event, Dispatched):
                return Said(Verdict.IN_FLIGHT, event.ref)
            return Said(Verdict.UNKNOWN, error=event.error)
        return said

    @property
    def feature(self) -> str:
        """The name of the operation's feature."""
        return FEATURES[self.scene.kind][0]

    def begun(self, *, behind: bool = False) -> list[Any]:
        """Return what the service began for the feature, or for the one behind it."""
        feature = self.emulator.features[FEATURES[self.scene.kind][behind]]
        if self.scene.kind == "run":
            return [run for run in self.emulator.runs.values() if run.feature is feature]
        generations = self.emulator.generations.values()
        return [each for each in generations if each.feature_id == feature.id]

    def _said(self) -> Said:
        if self.batch is not None:
            item = self.batch.items[0]
            return Said(item.verdict, item.ref, item.error)
        error = self.raised if isinstance(self.raised, errors.VibeError) else None
        if self._operation is not None:
            verdict = Verdict.SUCCEEDED if self._operation.done else Verdict.IN_FLIGHT
            return Said(verdict, self._operation.ref, error)
        if isinstance(error, errors.DispatchUnknownError):
            return Said(Verdict.UNKNOWN, error=error)
        is_closed = isinstance(error, errors.ClientClosedError)
        return Said(Verdict.SKIPPED if is_closed else None, error=error)

    async def _main(self) -> None:
        loop, ending = asyncio.get_running_loop(), self.scene.ending
        if ending is Ending.SHUTDOWN:
            program = asyncio.create_task(self._program())
            await asyncio.sleep(END_SECONDS)
            assert not program.done()
            return
        if ending in ENDS_PROGRAM:
            loop.call_at(END_SECONDS, signal.raise_signal, signal.SIGINT)
        if ending is Ending.CTRL_C_TWICE:
            loop.call_at(END_SECONDS + 1, signal.raise_signal, signal.SIGINT)
        await self._program()

    async def _program(self) -> None:
        async with self.emulator:
            with suppress(BodyError):
                async with self._new_client() as self._client:
                    await self._prepare()
                    if self.scene.ending in ENDS_PROGRAM:
                        await self._call()
                    else:
                        self._caller = asyncio.create_task(self._call())
                        await self._end()
                        await asyncio.wait([self._caller])
                    await asyncio.sleep(REST_SECONDS)
            if self._caller is not None:
                await asyncio.gather(self._caller, return_exceptions=True)

    def _new_client(self) -> Client:
        scene, keep = self.scene, self.events.append
        options: dict[str, Any] = {"poll_interval": 1.0}
        if scene.known is Known.NOT_SENT:
            options["rate_limit"] = 0.01
        if scene.known is Known.ENDED:
            options["poll_interval"] = 100.0
        if scene.subject is Subject.DISPATCH and scene.ending is Ending.TIME_OUT:
            options["timeout"] = END_SECONDS
        hooks = Hooks(on_dispatched=keep, on_dispatch_unknown=keep)
        return client_of(self.emulator, hooks=hooks, **options)

    async def _prepare(self) -> None:
        """Have the operation come as far as it is known at the end."""
        loop, fail, known = asyncio.get_running_loop(), self.emulator.fail, self.scene.known
        send, find = "run_feature", "list_runs"
        if self.scene.kind == "generation":
            send, find = "generate_feature", "get_generation_status"
        match known:
            case Known.NOT_SENT:
                await self._client.list_projects()  # The next request has its turn after 100 s.
            case Known.LATE | Known.TOO_LATE:
                seconds = ANSWER_SECONDS if known is Known.LATE else TOO_LATE_SECONDS
                fail(send, Fault.delay(seconds), times=1)
            case Known.LOST:
                fail(send, Fault.lost(), times=1)
                fail(find, Fault.delay(ANSWER_SECONDS), skip=1, times=1)
            case Known.SILENT:
                fail(send, Fault.lost() if self.scene.has_acted else Fault.hang(), times=1)
                fail(find, Fault.hang(), skip=1)
            case Known.ENDED | Known.OVER:
                loop.call_later(1 if known is Known.OVER else END_SECONDS - 1, self._finish)
            case _:
                pass
        if self.scene.subject is Subject.WAIT:
            self._operation = await self._dispatch()
            if known is Known.OVER:
                await self._operation

    def _finish(self) -> None:
        """Let the operation end at the service."""
        for each in self.begun():
            if self.scene.kind == "run":
                self.emulator.finish_run(each.id)
            else:
                self.emulator.finish_generation(each.request_id)

    async def _end(self) -> None:
        """End it, unless it ends by itself."""
        await asyncio.sleep(END_SECONDS - now())
        match self.scene.ending:
            case Ending.CANCELLED if self._caller is not None:
                self._caller.cancel()
            case Ending.CONSUMER if self._consumer is not None:
                self._consumer.cancel()
            case Ending.CLOSE:
                await self._client.aclose()
            case Ending.BODY if self.scene.subject is Subject.DISPATCH:
                raise BodyError
            case _:
                pass

    async def _call(self) -> None:
        """Be the caller."""
        is_foreign = self.scene.ending is Ending.FOREIGN_TIME_OUT
        try:
            async with asyncio.timeout(END_SECONDS if is_foreign else None):
                match self.scene.subject:
                    case Subject.WAIT:
                        if self.scene.ending is Ending.CONSUMER:
                            self._consumer = asyncio.create_task(self._wait())
                        await self._wait()
                    case Subject.BATCH:
                        await self._run_batch()
                    case Subject.DISPATCH:
                        self._operation = await self._dispatch()
        except BaseException as error:
            self.raised = error
            raise
        finally:
            ends = [each.finished_at for each in self.begun()]
            self.then, self.ended_at = self._said(), now()
            self.was_over = bool(ends) and max(ends) <= self.emulator.now()

    async def _dispatch(self) -> Operation[Any]:
        project = self._client.project()
        if self.scene.kind == "run":
            return await project.run_feature(self.feature)
        return await project.generate_feature(self.feature)

    async def _wait(self) -> None:
        operation, timeout = self._operation, self._timeout
        assert operation is not None
        match self.scene.way:
            case "wait":
                await operation.wait(timeout=timeout)
            case "gather":
                await self._client.gather(operation)
            case "finished":
                async for _ in self._client.finished([operation], timeout=timeout):
                    pass
            case _:
                async for _ in operation:
                    await self._body()

    async def _run_batch(self) -> None:
        project, features = self._client.project(), FEATURES[self.scene.kind]
        is_run, has_consumer = self.scene.kind == "run", self.scene.ending is Ending.CONSUMER
        start: Any = project.run_features if is_run else project.generate_features
        self.batch = batch = start(features, max_in_flight=1, timeout=self._timeout)
        if self.scene.way == "await":
            if has_consumer:
                self._consumer = asyncio.create_task(_follow(batch))
            await batch
            return
        async with batch:
            if has_consumer:
                self._consumer = asyncio.ensure_future(anext(batch))
                await asyncio.wait([self._consumer])
            await self._body()
            async for _ in batch:
                pass

    async def _body(self) -> None:
        if self.scene.ending is Ending.BODY:
            await asyncio.sleep(END_SECONDS - now())
            raise BodyError

    @property
    def _timeout(self) -> float | None:
        return END_SECONDS if self.scene.ending is Ending.TIME_OUT else None


async def _follow(batch: Batch[Any]) -> None:
    await asyncio.sleep(0)  # The batch is open now.
    async for _ in batch.changes():
        pass


def _depth(task: asyncio.Task[Any]) -> int:
    """Return how many tasks wait for a task of the client, one for the other."""
    return {"testvibe_async batch": 1, "testvibe_async dispatch": 2}.get(task.get_name(), 0)
