"""What to do where a dispatch is refused because of the state that a feature is in.

Decides whether to raise the 409, to join or to outwait the generation in flight, or to generate the
tests that a run needs. It never reads the 409's message: it looks at the feature's generation.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Literal

from testvibe_async._wire import GET_GENERATION_STATUS
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
    from testvibe_async._http import Delivery
    from testvibe_async.models import Generation
    from testvibe_async.operations import RunOperation, Services

__all__ = ["Conflicts", "GenerateConflict", "RunConflict"]

GenerateConflict = Literal["raise", "attach", "wait"]
"""What to do where a generation of the feature is in flight already."""

RunConflict = Literal["raise", "generate"]
"""What to do where the feature has no tests."""

INVISIBLE_CONFLICTS = 3
"""How often in a row a 409 is believed although no generation is seen in flight."""

INVISIBLE_CONFLICT_SECONDS = 1.0
"""How long to wait after each of those."""

MIN_WAIT_SECONDS = 0.001
"""What is left for a wait whose time is as good as over."""


class Conflicts:
    """Dispatches for one project, and deals with its conflicts."""

    def __init__(self, project: str, *, services: Services, dispatcher: Dispatcher) -> None:
        self._project = project
        self._dispatcher = dispatcher
        self._services = services
        self._transport = services.transport

    async def generate(
        self,
        feature: int | str,
        *,
        site_url: str | None,
        on_conflict: GenerateConflict,
        deadline: float | None = None,
        delivery: Delivery | None = None,
    ) -> GenerationOperation:
        """Dispatch a generation; see `Project.generate_feature`.

        Args:
            feature: Its id or name.
            site_url: The site to explore.
            on_conflict: What to do about a 409.
            deadline: When to stop waiting for the one in flight, by the loop's clock.
            delivery: Told how far the dispatch has come.

        Raises:
            WaitTimeoutError: The deadline came; nothing was dispatched.
        """
        unseen = 0
        while True:
            try:
                return await self._dispatcher.generation(
                    self._project, feature, site_url=site_url, delivery=delivery
                )
            except GenerationInProgressError as conflict:
                running = await self._seen_in_flight(feature, deadline)
                if running is not None:
                    conflict.ref = running.ref
                # One that is over by what this client saw is no reason for the 409 either.
                unseen = unseen + 1 if running is None or running.done else 0
                if on_conflict == "raise" or unseen == INVISIBLE_CONFLICTS:
                    raise
            if running is None or running.done:
                await self._transport.sleep(INVISIBLE_CONFLICT_SECONDS)
            elif on_conflict == "attach":
                return running
            else:
                with suppress(OperationSupersededError):
                    await running.wait(timeout=_seconds_to(deadline))

    async def run(  # noqa: PLR0913 - `Project.run_feature`'s, and the deadline
        self,
        feature: int | str,
        *,
        config: str | None,
        site_url: str | None,
        on_conflict: RunConflict,
        retry_unknown: bool = False,
        deadline: float | None = None,
        delivery: Delivery | None = None,
    ) -> RunOperation:
        """Dispatch a run; see `Project.run_feature`.

        Args:
            feature: Its id or name.
            config: The run configuration.
            site_url: The site to test.
            on_conflict: What to do about a 409.
            retry_unknown: Whether to send it once more where nobody knows whether it took effect.
            deadline: When to stop waiting for tests to be generated, by the loop's clock.
            delivery: Told how far the run's own dispatch has come.

        Raises:
            WaitTimeoutError: The deadline came; no run was dispatched, and `ref` is the generation.
        """
        dispatch = partial(
            self._dispatcher.run,
            self._project,
            feature,
            config=config,
            site_url=site_url,
            retry_unknown=retry_unknown,
            delivery=delivery,
        )
        try:
            return await dispatch()
        except FeatureNotGeneratedError as conflict:
            if on_conflict == "raise":
                raise
            try:
                tests = await self._tests(
                    feature, site_url=site_url, deadline=deadline, delivery=delivery
                )
                tests.raise_for_status()
            except OutcomeError as failure:
                raise conflict from failure
        return await dispatch()

    async def _tests(
        self,
        feature: int | str,
        *,
        site_url: str | None,
        deadline: float | None,
        delivery: Delivery | None,
    ) -> Generation:
        """Generate a feature's tests, once, or wait for whoever does."""
        with suppress(TransportError, ResponseError):
            latest = await self._latest(feature, deadline)
            if latest.is_success:  # since the run was refused; another would cost credits
                return latest
        generation = await self.generate(
            feature, site_url=site_url, on_conflict="attach", deadline=deadline, delivery=delivery
        )
        with suppress(OperationSupersededError):
            return await generation.wait(timeout=_seconds_to(deadline))
        return await self.latest_outcome(feature, deadline)

    async def latest_outcome(self, feature: int | str, deadline: float | None) -> Generation:
        """Wait until a feature's latest generation is over, whatever takes its place meanwhile."""
        while True:
            latest = await self._latest(feature, deadline)
            running = self._in_flight(latest)
            if running is None:
                return latest
            with suppress(OperationSupersededError):
                return await running.wait(timeout=_seconds_to(deadline))

    async def _latest(self, feature: int | str, deadline: float | None) -> Generation:
        request = GET_GENERATION_STATUS.request(project=self._project, feature=feature)
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout_at(deadline):
                return await self._transport.call(request)
        except TimeoutError:
            what = f"the latest generation of feature {feature} was not seen"
            elapsed = loop.time() - began
            raise WaitTimeoutError(what, ref=None, status=None, elapsed=elapsed) from None

    async def _seen_in_flight(
        self, feature: int | str, deadline: float | None
    ) -> GenerationOperation | None:
        """Return the feature's generation in flight, as far as it can be seen."""
        try:
            return self._in_flight(await self._latest(feature, deadline))
        except (TransportError, ResponseError, WaitTimeoutError):
            return None

    def _in_flight(self, latest: Generation) -> GenerationOperation | None:
        """Return a handle on a generation, if it is in flight."""
        ref = GenerationRef.of(latest, server=self._transport.server, project=self._project)
        if latest.is_finished or ref is None:
            return None
        operation = GenerationOperation(ref, self._services, adopted=True)
        now = asyncio.get_running_loop().time()
        self._services.poller.state(ref).accept(latest, ticket=0, now=now)  # unless more is known
        return operation


def _seconds_to(deadline: float | None) -> float | None:
    """Return how long a wait may take that must end at an instant of the loop's clock."""
    if deadline is None:
        return None
    return max(MIN_WAIT_SECONDS, deadline - asyncio.get_running_loop().time())
