"""Starting operations, also where the state of the feature stands in the way.

Decides whether to raise a 409, to join or wait out the generation in flight, or to generate the
tests that a run needs. It never reads the 409's message: it reads the feature's generation. The
dispatches themselves are the dispatcher's.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from testvibe_async._dispatch.dispatch import GenerationDispatch, RunDispatch
from testvibe_async._wire import Endpoints
from testvibe_async.errors import (
    FeatureNotGeneratedError,
    GenerationInProgressError,
    OperationSupersededError,
    ResponseError,
    TransportError,
    WaitTimeoutError,
)
from testvibe_async.models import OutcomeError
from testvibe_async.operations import GenerationOperation
from testvibe_async.refs import GenerationRef

if TYPE_CHECKING:
    from testvibe_async._dispatch.dispatcher import Dispatcher
    from testvibe_async.models import Generation
    from testvibe_async.operations import ClientParts, RunOperation

__all__ = ["GenerateConflict", "RunConflict", "Starter"]

GenerateConflict = Literal["raise", "attach", "wait"]
"""What to do where a generation of the feature is in flight already."""

RunConflict = Literal["raise", "generate"]
"""What to do where the feature has no tests."""

MAX_UNSEEN_CONFLICTS = 3
"""How often in a row a 409 is retried although no generation is seen in flight."""

UNSEEN_CONFLICT_SECONDS = 1.0
"""How long to wait after each of those: the generation may have ended just then."""

LAST_READ_SECONDS = 1.0
"""How long a read of the latest generation may take at least, also where the deadline has come."""


class Starter:
    """Starts runs and generations for one client, and deals with conflicts."""

    def __init__(self, parts: ClientParts, dispatcher: Dispatcher) -> None:
        self._parts = parts
        self._transport = parts.transport
        self._dispatcher = dispatcher

    async def generate(
        self,
        dispatch: GenerationDispatch,
        *,
        on_conflict: GenerateConflict,
        deadline: float | None = None,
    ) -> GenerationOperation:
        """Dispatch a generation; see `Project.generate_feature`.

        Args:
            dispatch: What to start.
            on_conflict: What to do about a 409.
            deadline: When to stop waiting for the one in flight, by the loop's clock.

        Raises:
            GenerationInProgressError: Another one is in flight, also at the deadline.
            WaitTimeoutError: The deadline came while that was waited for; nothing was dispatched.
        """
        unseen = 0
        while True:
            try:
                return await self._dispatcher.dispatch(dispatch)
            except GenerationInProgressError as conflict:
                running = await self._read_in_flight(dispatch.project, dispatch.feature, deadline)
                if running is not None:
                    conflict.ref = running.ref
                # A generation that this client saw finish is no reason for the 409 either.
                unseen = unseen + 1 if running is None or running.done else 0
                left = _seconds_to(deadline)
                is_too_late = left is not None and left <= 0
                if on_conflict == "raise" or unseen == MAX_UNSEEN_CONFLICTS or is_too_late:
                    raise
            # The service may be slower to free the feature than to show that the generation is
            # over.
            if running is None or running.done:
                await self._transport.sleep(UNSEEN_CONFLICT_SECONDS)
            elif on_conflict == "attach":
                dispatch.note(running.ref)
                return running
            else:
                with suppress(OperationSupersededError):
                    await running.wait(timeout=_seconds_to(deadline))

    async def run(
        self,
        dispatch: RunDispatch,
        *,
        on_conflict: RunConflict,
        retry_unknown: bool = False,
        deadline: float | None = None,
    ) -> RunOperation:
        """Dispatch a run; see `Project.run_feature`.

        Args:
            dispatch: What to start.
            on_conflict: What to do about a 409.
            retry_unknown: Whether to send it once more where nobody knows whether it took effect.
            deadline: When to stop waiting for tests to be generated, by the loop's clock.

        Raises:
            WaitTimeoutError: The deadline came; no run was dispatched, and `ref` is the generation.
        """
        try:
            return await self._dispatcher.dispatch(dispatch, retry_unknown=retry_unknown)
        except FeatureNotGeneratedError as conflict:
            if on_conflict == "raise":
                raise
            try:
                (await self._generate_tests(dispatch, deadline)).raise_for_status()
            except OutcomeError as failure:
                raise conflict from failure
        dispatch.in_turn()
        return await self._dispatcher.dispatch(dispatch, retry_unknown=retry_unknown)

    async def _generate_tests(self, run: RunDispatch, deadline: float | None) -> Generation:
        """Generate the tests that a run needs, once, or wait for a generation in flight."""
        if (known := run.ref) is not None:  # An earlier process dispatched it.
            assert isinstance(known, GenerationRef)
            generation = GenerationOperation(known, self._parts)
        else:
            generation = None
            with suppress(TransportError, ResponseError):
                latest = await self._read_latest(run.project, run.feature, deadline)
                if latest.is_success:  # It ended since the run was refused; another costs credits.
                    return latest
                generation = self._in_flight(run.project, latest)
        if generation is None:
            dispatch = GenerationDispatch(
                parts=self._parts,
                project=run.project,
                feature=run.feature,
                site_url=run.site_url,
                recorders=run.recorders,
                patience=run.patience,
                on_ref=run.note,
            )
            run.in_place(dispatch)
            generation = await self.generate(dispatch, on_conflict="attach", deadline=deadline)
        else:  # It may end before another dispatch, which then costs credits.
            run.note(generation.ref)
        with suppress(OperationSupersededError):
            return await generation.wait(timeout=_seconds_to(deadline))
        return await self.latest_outcome(run.project, run.feature, deadline)

    async def latest_outcome(
        self, project: str, feature: int | str, deadline: float | None
    ) -> Generation:
        """Wait until a feature's latest generation is over, also if others follow it meanwhile."""
        while True:
            latest = await self._read_latest(project, feature, deadline)
            running = self._in_flight(project, latest)
            if running is None:
                return latest
            with suppress(OperationSupersededError):
                return await running.wait(timeout=_seconds_to(deadline))

    async def _read_latest(
        self, project: str, feature: int | str, deadline: float | None
    ) -> Generation:
        """Read the status of a feature's latest generation."""
        request = Endpoints.GET_GENERATION_STATUS.request(project=project, feature=feature)
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            until = None if deadline is None else max(deadline, began + LAST_READ_SECONDS)
            async with asyncio.timeout_at(until):
                return await self._transport.call(request)
        except TimeoutError:
            what = f"the latest generation of feature {feature} was not seen"
            elapsed = loop.time() - began
            raise WaitTimeoutError(what, ref=None, status=None, elapsed=elapsed) from None

    async def _read_in_flight(
        self, project: str, feature: int | str, deadline: float | None
    ) -> GenerationOperation | None:
        """Return the feature's generation in flight, as far as it can be seen."""
        try:
            return self._in_flight(project, await self._read_latest(project, feature, deadline))
        except (TransportError, ResponseError, WaitTimeoutError):
            return None

    def _in_flight(self, project: str, latest: Generation) -> GenerationOperation | None:
        """Return a handle on a feature's latest generation, if that is in flight."""
        if latest.is_finished or not latest.request_id or latest.feature_id is None:
            return None
        ref = GenerationRef(
            server=self._transport.server,
            project=project,
            request_id=latest.request_id,
            feature_id=latest.feature_id,
        )
        operation = GenerationOperation(ref, self._parts, adopted=True)
        self._parts.poller.accept(ref, latest)
        return operation


def _seconds_to(deadline: float | None) -> float | None:
    """Return the time-out of a wait that must end at an instant of the loop's clock."""
    if deadline is None:
        return None
    return max(0.0, deadline - asyncio.get_running_loop().time())
