"""One process's work on a durable batch: each feature from where it stands to its end.

It decides what a feature needs next: to be dispatched, reconciled, or waited for. Where it stands
is read from the store each time, so that it makes no difference which process worked on it before.
When and where a feature is worked on is the engine's business.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from uuid import uuid4

from testvibe_async._batch import EntryState, named_operation
from testvibe_async.adapters.tables import UNAVAILABLE
from testvibe_async.errors import (
    ClientClosedError,
    DispatchUnknownError,
    NotSentError,
    OperationSupersededError,
    RateLimitedError,
    RecorderError,
    VibeError,
)
from testvibe_async.events import logger
from testvibe_async.intents import Intent
from testvibe_async.refs import RunRef

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from testvibe_async._batch import Plan
    from testvibe_async.adapters.store import Claim, Store
    from testvibe_async.client import Client
    from testvibe_async.models import Generation, Run
    from testvibe_async.operations import GenerationOperation, RunOperation
    from testvibe_async.refs import Ref

__all__ = ["BatchWorker", "surely"]

P = ParamSpec("P")
T = TypeVar("T")

HOLD_BACK_SECONDS = 60.0
"""How long the last feature may be held back, see `Claim.is_to_wait`."""

OUTAGE_SECONDS = 300.0
"""How long a feature is tried to be sent again, where it provably was not."""

RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0)
"""The pauses between such tries; the last one is repeated."""

CLOSE_SECONDS = 10.0
"""How long a worker that ends waits for the answers to dispatches under way."""


class ClaimLostError(Exception):
    """Another process holds the feature, or its batch was cancelled: nothing may be sent."""


class BatchWorker:
    """Works on the features of one batch with one client."""

    def __init__(self, client: Client, store: Store, plan: Plan) -> None:
        self._client = client
        self._store = store
        self._plan = plan
        self._project = client.project(plan.project)
        self._attempts = int(plan.options.get("attempts", 1))
        self._tasks: set[asyncio.Task[object]] = set()
        self._open: set[str] = set()
        """The intents of requests under way."""

    async def perform(self, place: int, turn: int) -> None:
        """Bring a feature to its end, unless another process does.

        Args:
            place: Its place in the batch.
            turn: The turn that it was enqueued for.
        """
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await _Feature(self, place, turn).perform()
        finally:
            self._tasks.discard(task)

    async def aclose(self) -> None:
        """Stop; what is in flight goes on at the service, and another worker goes on with it.

        Dispatches under way get up to 10 s to end, so that their refs are stored.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CLOSE_SECONDS
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        while self._open and loop.time() < deadline:  # noqa: ASYNC110 - it ends the process
            await asyncio.sleep(0.05)

    async def intended(self, place: int, holder: str, intent: Intent) -> None:
        """Store an intent.

        Raises:
            ClaimLostError: It may not be sent.
        """
        if not await self._store.note_intent(place, holder, intent):
            raise ClaimLostError
        self._open.add(intent.id)

    async def answered(self, intent: Intent, result: Ref | None) -> bool:
        """Note what came of an intent; see `Store.note_result`."""
        try:
            return await surely(self._store.note_result, intent, result)
        finally:
            self._open.discard(intent.id)

    @property
    def store(self) -> Store:
        """Where the batch is."""
        return self._store

    @property
    def attempts(self) -> int:
        """How often a feature may run."""
        return self._attempts

    async def operation(
        self, claim: Claim, holder: str
    ) -> RunOperation | GenerationOperation | None:
        """Return the operation of a feature, or None where its row says what to do next.

        Raises:
            VibeError: There is none; see `Project.run_feature` and `Client.reconcile`.
        """
        found = claim.found
        if found.state is EntryState.DISPATCHED:
            assert found.ref is not None
            return self._client.attach(found.ref)
        if found.state is EntryState.INTENDED:
            assert found.intent is not None
            return await self._reconciled(found.intent, named=found.named)
        on_conflict = self._plan.options.get("on_conflict", "raise")
        if found.generation is not None:
            # It was dispatched for this run: whatever became of it, none is to follow.
            on_conflict = "raise"
            with suppress(OperationSupersededError):
                await self._client.attach(found.generation)
        try:
            return await self._project.run_feature(
                claim.job.feature,
                config=claim.job.config,
                site_url=self._plan.site_url,
                on_conflict=on_conflict,
                recorder=_Recorder(self, claim.place, holder),
            )
        except DispatchUnknownError as error:
            if isinstance(error.intent, Intent):
                self._open.discard(error.intent.id)  # Nothing more comes of it.
            raise

    async def _reconciled(
        self, intent: Intent, *, named: Ref | None
    ) -> RunOperation | GenerationOperation | None:
        operation: RunOperation | GenerationOperation | None
        if named is None:
            known = await surely(self._store.refs)
            operation = await self._client.reconcile(intent, known=known)
        else:
            operation = self._client.attach(named)
            await named_operation(operation, intent)
        ref = None if operation is None else operation.ref
        if await self.answered(intent, ref) and isinstance(ref, RunRef):
            return operation
        return None


class _Recorder:
    """Stores the intents of one feature for its holder."""

    def __init__(self, worker: BatchWorker, place: int, holder: str) -> None:
        self._worker = worker
        self._place = place
        self._holder = holder

    async def intended(self, intent: Intent) -> None:
        await self._worker.intended(self._place, self._holder, intent)

    async def dispatched(self, intent: Intent, ref: Ref) -> None:
        if not await self._worker.answered(intent, ref):
            logger.warning("it was decided before what came of %s: %s", intent, ref.to_json())

    async def not_dispatched(self, intent: Intent, error: VibeError) -> None:  # noqa: ARG002
        await self._worker.answered(intent, None)


class _Feature:
    """One turn of one feature."""

    def __init__(self, worker: BatchWorker, place: int, turn: int) -> None:
        self._worker = worker
        self._store = worker.store
        self._place = place
        self._turn = turn
        self._holder = uuid4().hex
        self._claims = 0
        self._failures = 0
        self._failing_since = 0.0

    async def perform(self) -> None:
        """Bring it to its end."""
        while (claim := await self._claim()) is not None:
            try:
                operation = await self._worker.operation(claim, self._holder)
                if operation is None:
                    continue
                outcome = await operation.wait()
            except ClientClosedError:
                raise
            except (NotSentError, RateLimitedError) as error:
                if await self._is_tried_again(error):
                    continue
            except VibeError as error:
                if not await self._end(error=error):
                    continue  # Somebody knows more by now: see what is to be done.
            else:
                self._failures = 0
                if await self._note_outcome(claim, outcome):
                    continue
            return

    async def _is_tried_again(self, error: NotSentError | RateLimitedError) -> bool:
        """Say whether to try again what had no effect, after a pause; else note why it ends."""
        if isinstance(error, RecorderError) and isinstance(error.__cause__, ClaimLostError):
            return False
        return await self._pause() or not await self._end(error=error)

    async def _note_outcome(self, claim: Claim, outcome: Run | Generation) -> bool:
        """Note an outcome; True where another attempt follows."""
        earlier = claim.found.outcomes
        if outcome.is_failure and len(earlier) + 1 < self._worker.attempts:
            outcomes = [*earlier, outcome]
            await surely(self._store.note_attempt, self._place, self._holder, outcomes)
            return True
        await surely(self._store.note_end, self._place, self._holder, outcome=outcome)
        return False

    async def _claim(self) -> Claim | None:
        """Become or stay the holder; the last to be dispatched waits: see `Claim.is_to_wait`."""
        deadline = asyncio.get_running_loop().time() + HOLD_BACK_SECONDS
        while True:
            claim = await surely(
                self._store.claim,
                self._place,
                turn=self._turn,
                holder=self._holder,
                is_first=self._claims == 0,
            )
            self._claims += 1
            is_late = asyncio.get_running_loop().time() >= deadline
            if claim is None or not claim.is_to_wait or is_late:
                return claim
            await asyncio.sleep(0.5)

    async def _end(self, *, error: VibeError) -> bool:
        return await surely(self._store.note_end, self._place, self._holder, error=error)

    async def _pause(self) -> bool:
        """Wait before another try of what was not sent; False where there is to be none."""
        now = asyncio.get_running_loop().time()
        if self._failures == 0:
            self._failing_since = now
        pause = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
        self._failures += 1
        if now + pause - self._failing_since > OUTAGE_SECONDS:
            return False
        await asyncio.sleep(pause)
        return True


async def surely(call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Ask the database until it answers: what is asked may be asked again."""
    pause = 0.1
    while True:
        try:
            return await call(*args, **kwargs)
        except UNAVAILABLE as error:
            logger.warning("the database of a durable batch failed, and is asked again: %s", error)
        await asyncio.sleep(pause)
        pause = min(5.0, pause * 2)
