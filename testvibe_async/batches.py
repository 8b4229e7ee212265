"""Many features of a project at once: `run_features` and `generate_features`.

Decides what a batch is of, and how it goes on with its journal; the batch itself decides the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

from testvibe_async._batch import EntrySource, Plan, Workers
from testvibe_async._config import require_choice, require_count, require_timeout
from testvibe_async._dispatch import (
    GenerateConflict,
    GenerationDispatch,
    JobSource,
    RunConflict,
    RunDispatch,
)
from testvibe_async.batch import Batch
from testvibe_async.errors import ConfigError
from testvibe_async.operations import operation_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from testvibe_async._dispatch import Dispatch, Dispatcher, Features, Job, Starter
    from testvibe_async.errors import KindName
    from testvibe_async.intents import Recorder
    from testvibe_async.journal import Journal
    from testvibe_async.models import Feature, Generation, Listing, Run
    from testvibe_async.operations import (
        ClientParts,
        GenerationOperation,
        Operation,
        RunOperation,
    )
    from testvibe_async.refs import Ref

__all__ = ["Batches"]


class Batches(ABC):
    """What a project can do with many of its features at once."""

    id: str
    _parts: ClientParts
    _dispatcher: Dispatcher
    _starter: Starter

    @abstractmethod
    async def list_features(self, *, max_outage: float | None = None) -> Listing[Feature]:
        """List the project's features."""

    def run_features(  # noqa: PLR0913 - each by name, and each with a default
        self,
        features: Features | None = None,
        *,
        config: str | Sequence[str | None] | None = None,
        site_url: str | None = None,
        max_in_flight: int = 100,
        on_conflict: RunConflict | None = None,
        timeout: float | None = None,
        stop_on_failure: bool = False,
        attempts: int | None = None,
        journal: Journal | None = None,
    ) -> Batch[Run]:
        """Run many features at once. Await it, or open it with `async with` and iterate over it.

        It is a plain function: nothing is sent before the batch is awaited or opened. A batch runs
        once.

        Args:
            features: Names, ids or `Feature`s; None for all that are generated. An item of an
                earlier batch is run again with its own configuration. A generator, also an
                asynchronous one, is read only as far as there is room for more runs. A feature
                that is named twice, also in another case or by its id, is run once, and a warning
                says so.
            config: The run configuration; None for the service's `Default`. With several, each
                feature runs with each.
            site_url: The site to test; None for the project's own.
            max_in_flight: How many runs are dispatched and unfinished at any time, 1 or more.
            on_conflict: What to do with a feature that has no tests: `raise` makes it an item with
                its error; `generate` generates them first, which costs credits. None for what the
                journal's batch was made with, else `raise`.
            timeout: Seconds after which nothing more is dispatched or waited for; None for
                as long as it takes. What is in flight then keeps running at the service. Only the
                answers to dispatches that were sent are waited for up to 10 s longer, so that no id
                is lost.
            stop_on_failure: Whether to dispatch no more once one did not succeed. The batch still
                waits for what is in flight.
            attempts: How often a feature may run in total, 1 or more; None for what the journal's
                batch was made with, else 1. Only a run that failed is followed by another, before
                the next feature is dispatched; the item has all of them, and `is_flaky` where a
                later one passed.
            journal: An open journal that stores the batch; None for none. If it has a batch
                already, that one resumes: what was dispatched is attached to, what may have been is
                reconciled, and the rest is dispatched. Then name the same features, or none.

        Returns:
            A batch of one item for each feature and configuration. One that can't start is an item
            with its error.

        Raises:
            ConfigError: An argument is wrong, or the journal can't be used for this batch.

            When the batch is awaited or opened, and the features must be listed first:
            `WaitTimeoutError`, `IncompleteListError` where rows are missing,
            `EndpointNotFoundError` where the service has no list, `UnauthorizedError` and others of
            `list_features`.
        """
        if on_conflict is not None:
            require_choice("on_conflict", on_conflict, get_args(RunConflict))
        configs = [config] if config is None or isinstance(config, str) else list(config)
        if not configs:
            raise ConfigError(
                "config names no configuration: pass one, several, or None for the default"
            )

        def dispatch_of(job: Job, recorder: Recorder | None) -> RunDispatch:
            return RunDispatch(
                parts=self._parts,
                project=self.id,
                feature=job.feature,
                config=job.config,
                site_url=site_url,
                recorders=self._dispatcher.recorders_with(recorder),
            )

        def send(
            policy: RunConflict, dispatch: RunDispatch, deadline: float | None
        ) -> Awaitable[RunOperation]:
            return self._starter.run(dispatch, on_conflict=policy, deadline=deadline)

        return self._batch(
            "run",
            self._jobs(features, configs, default=lambda feature: feature.has_tests),
            dispatch_of,
            send,
            on_conflict=on_conflict,
            journal=journal,
            site_url=site_url,
            max_in_flight=max_in_flight,
            timeout=timeout,
            stop_on_failure=stop_on_failure,
            attempts=attempts,
        )

    def generate_features(  # noqa: PLR0913 - each by name, and each with a default
        self,
        features: Features | None = None,
        *,
        site_url: str | None = None,
        max_in_flight: int = 10,
        on_conflict: GenerateConflict | None = None,
        timeout: float | None = None,
        stop_on_failure: bool = False,
        journal: Journal | None = None,
    ) -> Batch[Generation]:
        """Generate the tests of many features at once. Each costs credits.

        Args:
            features: As in `run_features`; None for all that have no tests and are no suggestions.
            site_url: The site to explore; None for the project's own.
            max_in_flight: How many generations are dispatched and unfinished at any time, 1 or
                more.
            on_conflict: What to do where one is in flight: `raise` makes an item with its error,
                `attach` joins it, `wait` waits for its end and then dispatches. None for what the
                journal's batch was made with, else `raise`.
            timeout: As in `run_features`.
            stop_on_failure: As in `run_features`.
            journal: As in `run_features`.

        Returns:
            A batch of one item for each feature. One that can't start is an item with its error.

        Raises:
            ConfigError: As `run_features` raises, with what the batch raises later.
        """
        if on_conflict is not None:
            require_choice("on_conflict", on_conflict, get_args(GenerateConflict))

        def dispatch_of(job: Job, recorder: Recorder | None) -> GenerationDispatch:
            return GenerationDispatch(
                parts=self._parts,
                project=self.id,
                feature=job.feature,
                site_url=site_url,
                recorders=self._dispatcher.recorders_with(recorder),
            )

        def send(
            policy: GenerateConflict, dispatch: GenerationDispatch, deadline: float | None
        ) -> Awaitable[GenerationOperation]:
            return self._starter.generate(dispatch, on_conflict=policy, deadline=deadline)

        return self._batch(
            "generation",
            self._jobs(features, None, default=lambda feature: feature.needs_tests),
            dispatch_of,
            send,
            on_conflict=on_conflict,
            journal=journal,
            site_url=site_url,
            max_in_flight=max_in_flight,
            timeout=timeout,
            stop_on_failure=stop_on_failure,
        )

    def _batch(  # noqa: PLR0913 - each by name
        self,
        kind: KindName,
        source: JobSource,
        dispatch_of: Callable[[Job, Recorder | None], Dispatch[Any]],
        send: Callable[[Any, Any, float | None], Awaitable[Operation[Any]]],
        *,
        on_conflict: str | None,
        journal: Journal | None,
        site_url: str | None,
        max_in_flight: int,
        timeout: float | None,
        stop_on_failure: bool,
        attempts: int | None = None,
    ) -> Batch[Any]:
        """Make a batch; its journal is begun once no argument can be refused any more.

        Args:
            kind: What it dispatches.
            source: What has the features.
            dispatch_of: Makes the dispatch of a job.
            send: Sends one, by a conflict policy.
            on_conflict: The conflict policy; None for the one of the journal's plan, else `raise`.
            journal: The journal; None for none.
            site_url: The site.
            max_in_flight: How many may be in flight at once.
            timeout: Seconds after which nothing more is dispatched or waited for.
            stop_on_failure: Whether to dispatch no more once one did not succeed.
            attempts: How often a feature may run; None for what the journal's plan says, else once.
        """
        limits: dict[str, Any] = {
            "max_in_flight": require_count("max_in_flight", max_in_flight),
            "timeout": require_timeout(timeout),
        }
        plan = Plan(
            kind=kind,
            server=self._parts.transport.server,
            project=self.id,
            site_url=site_url,
            attempts=1 if attempts is None else require_count("attempts", attempts),
            on_conflict=on_conflict or "raise",
        )
        stored = plan if journal is None else journal.begin(plan)
        workers: Workers[Any] = Workers(
            EntrySource(source, journal, kind=kind),
            dispatch_of,
            partial(send, on_conflict or stored.on_conflict),
            kind=kind,
            attach=self._attach,
            dispatcher=self._dispatcher,
            poller=self._parts.poller,
            store=journal,
            stop_on_failure=stop_on_failure,
            attempts=attempts or stored.attempts,
            **limits,
        )
        return Batch(workers)

    def _attach(self, ref: Ref) -> Operation[Any]:
        return operation_of(ref, self._parts)

    def _jobs(
        self,
        features: Features | None,
        configs: Sequence[str | None] | None,
        *,
        default: Callable[[Feature], bool],
    ) -> JobSource:
        """Return the jobs of a batch; `default` selects the features where none are named."""
        if isinstance(features, str):
            raise ConfigError(f"features must be several, not {features!r}: pass [{features!r}]")
        # The start is as patient as what follows.
        list_features = partial(self.list_features, max_outage=self._parts.poller.max_outage)
        return JobSource(features, configs, list_features=list_features, default=default)
