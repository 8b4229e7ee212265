"""Starting operations, with a reaction to conflicts with the state of the feature.

Decides whether to raise a 409, to join the generation in flight, or to wait for its end. It never
reads the 409's message, but reads the feature's generation. The dispatcher sends the dispatches.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, Literal, cast

from testvibe_async._core.wire import GENERATION, Endpoints, says_in_flight
from testvibe_async.errors import (
    FeatureNotGeneratedError,
    GenerationInProgressError,
    NotFoundError,
    OperationSupersededError,
    ResponseError,
    TransportError,
    WaitTimeoutError,
)
from testvibe_async.models import OutcomeError
from testvibe_async.operations import GenerationOperation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from testvibe_async._core.dispatch.dispatch import Dispatch
    from testvibe_async._core.dispatch.dispatcher import Dispatcher
    from testvibe_async._core.dispatch.kinds import GenerationDispatch, RunDispatch
    from testvibe_async.errors import KindName
    from testvibe_async.models import Generation
    from testvibe_async.operations import ClientParts, Operation, RunOperation
    from testvibe_async.refs import GenerationRef

GenerateConflict = Literal["raise", "attach", "wait"]
"""The reaction to a generation of the feature that is already in flight."""

RunConflict = Literal["raise", "wait"]
"""The reaction to a feature without tests, whose generation may be in flight."""

MAX_UNSEEN_CONFLICTS = 3
"""Number of 409s in a row without an observed generation in flight at which the 409 is raised."""

UNSEEN_CONFLICT_SECONDS = 1.0
"""Seconds to wait after each of them: the generation may just have ended."""

QUEUED_SECONDS = 3.0
"""Seconds between two reads of a generation in flight that has no id yet."""

LAST_READ_SECONDS = 1.0
"""Seconds that a read of the latest generation may take, even past the deadline."""


class Starter:
    """Starts runs and generations for one client, and handles conflicts."""

    def __init__(self, dispatcher: Dispatcher, parts: ClientParts) -> None:
        self.parts: ClientParts = parts
        self.dispatcher: Dispatcher = dispatcher
        self._transport = parts.transport

    async def start(
        self, dispatch: Dispatch[Any], *, on_conflict: str, deadline: float | None
    ) -> Operation[Any]:
        """Dispatch a run or a generation; see `run` and `generate`."""
        starts: dict[KindName, Any] = {"run": self.run, "generation": self.generate}
        start = starts[dispatch.kind]
        operation: Operation[Any] = await start(
            dispatch, on_conflict=on_conflict, deadline=deadline
        )
        return operation

    async def generate(
        self,
        dispatch: GenerationDispatch,
        *,
        on_conflict: GenerateConflict,
        deadline: float | None = None,
    ) -> GenerationOperation:
        """Dispatch a generation; see `Project.generate_feature`.

        Args:
            dispatch: The dispatch.
            on_conflict: The reaction to a 409.
            deadline: The loop's clock at which to stop waiting for the generation in flight.

        Raises:
            GenerationInProgressError: Another generation is in flight, even at the deadline.
            WaitTimeoutError: The deadline passed while waiting for the generation in flight;
                nothing was dispatched.
        """
        unseen = 0
        while True:
            try:
                return await self.dispatcher.dispatch(dispatch)
            except GenerationInProgressError as conflict:
                running = await self._read_in_flight(
                    dispatch.project, dispatch.feature, deadline, is_enough=IS_ENOUGH[on_conflict]
                )
                if running is not None:
                    conflict.ref = running.ref
                # A generation that this client observed to finish does not explain the 409 either.
                unseen = unseen + 1 if running is None or running.done else 0
                left = _seconds_to(deadline)
                is_too_late = left is not None and left <= 0
                if on_conflict == "raise" or unseen == MAX_UNSEEN_CONFLICTS or is_too_late:
                    raise
            # The service may free the feature later than it shows the end of the generation.
            if running is None or running.done:
                await self._transport.sleep(UNSEEN_CONFLICT_SECONDS)
            elif on_conflict == "attach":
                if not await dispatch.join(running.ref):
                    continue  # Another call makes the attempt: recall that.
                joined = dispatch.record.ref
                if joined is None or joined == running.ref:
                    return running
                return GenerationOperation(cast("GenerationRef", joined), self.parts, adopted=True)
            else:
                with suppress(OperationSupersededError):
                    await running.wait(timeout=_seconds_to(deadline))

    async def run(
        self,
        dispatch: RunDispatch,
        *,
        on_conflict: RunConflict,
        deadline: float | None = None,
    ) -> RunOperation:
        """Dispatch a run; see `Project.run_feature`.

        Args:
            dispatch: The dispatch.
            on_conflict: The reaction to a 409.
            deadline: The loop's clock at which to stop waiting for the generation in flight.

        Raises:
            FeatureNotGeneratedError: The feature has no tests, also after that generation.
            WaitTimeoutError: The deadline passed; nothing was dispatched, and `ref` is the
                generation.
        """
        try:
            return await self.dispatcher.dispatch(dispatch)
        except FeatureNotGeneratedError as conflict:
            if on_conflict == "raise":
                running = await self._read_in_flight(
                    dispatch.project, dispatch.feature, deadline, is_enough=IS_ENOUGH[on_conflict]
                )
                if running is not None:
                    conflict.note_in_flight()
                raise
            try:
                latest = await self.latest_outcome(dispatch.project, dispatch.feature, deadline)
                latest.raise_for_status()
            except (NotFoundError, OutcomeError) as failure:
                raise conflict from failure
            if not latest.is_success:  # None is in flight, and none has ended.
                raise
        return await self.dispatcher.dispatch(dispatch)

    async def latest_outcome(
        self, project: str, feature: int | str, deadline: float | None
    ) -> Generation:
        """Wait until a feature's latest generation has finished, even if others follow it."""
        while True:
            latest = await self._read_until(_is_named_or_over, project, feature, deadline)
            running = self._in_flight(project, latest)
            if running is None:
                return latest
            with suppress(OperationSupersededError):
                return await running.wait(timeout=_seconds_to(deadline))

    async def _read_until(
        self,
        is_enough: Callable[[Generation], bool],
        project: str,
        feature: int | str,
        deadline: float | None,
    ) -> Generation:
        """Read the status of a feature's latest generation, and again until it says enough.

        Raises:
            WaitTimeoutError: The deadline passed first.
        """
        began = asyncio.get_running_loop().time()
        while not is_enough(latest := await self._read_latest(project, feature, deadline)):
            left = _seconds_to(deadline)
            if left is not None and left <= 0:
                what = f"the latest generation of feature {feature} was not seen to end"
                elapsed = asyncio.get_running_loop().time() - began
                raise WaitTimeoutError(what, ref=None, status=latest.status, elapsed=elapsed)
            await self._transport.sleep(min(QUEUED_SECONDS, inf if left is None else left))
        return latest

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
        self,
        project: str,
        feature: int | str,
        deadline: float | None,
        *,
        is_enough: Callable[[Generation], bool],
    ) -> GenerationOperation | None:
        """Return the feature's generation in flight, as far as it can be observed."""
        try:
            latest = await self._read_until(is_enough, project, feature, deadline)
            return self._in_flight(project, latest)
        except (TransportError, ResponseError, WaitTimeoutError):
            return None

    def _in_flight(self, project: str, latest: Generation) -> GenerationOperation | None:
        """Return a handle on a feature's latest generation, if that is in flight."""
        if latest.is_finished or not latest.request_id or latest.feature_id is None:
            return None
        ref = GENERATION.ref_of(latest, server=self._transport.server, project=project)
        operation = GenerationOperation(ref, self.parts, adopted=True)
        self.parts.poller.accept(ref, latest)
        return operation


def _is_named_or_over(latest: Generation) -> bool:
    """Return whether a generation has an id, or does not say that it is in flight.

    A service may name a generation only once it has left the queue, or never.
    """
    return bool(latest.request_id) or not says_in_flight(latest.status or "")


IS_ENOUGH: Mapping[GenerateConflict, Callable[[Generation], bool]] = {
    "raise": lambda _latest: True,
    "attach": lambda latest: bool(latest.runner_started) or _is_named_or_over(latest),
    "wait": _is_named_or_over,
}
"""Returns whether a status needs no further read, by the reaction to a generation in flight.

A generation that has left the queue without an id will have none, and can't be attached to.
"""


def _seconds_to(deadline: float | None) -> float | None:
    """Return the time-out of a wait that must end at an instant of the loop's clock."""
    if deadline is None:
        return None
    return max(0.0, deadline - asyncio.get_running_loop().time())
