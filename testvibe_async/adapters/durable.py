"""Durable batches: workers on one machine share a SQLite file; on many machines, PostgreSQL.

A worker carries entries as every batch does, by `run_features`; it claims them in the database.
What a worker may claim and write is decided in `store`, so that nothing is dispatched twice, even
where two processes work on one feature.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from attrs import evolve
from sqlalchemy.exc import DBAPIError

from testvibe_async._batch import EntryState, decided, is_futile
from testvibe_async._config import require_choice, require_count, require_kind
from testvibe_async._util import plain
from testvibe_async.adapters.database import Database
from testvibe_async.adapters.entries import BatchStatus
from testvibe_async.adapters.store import DurableStore
from testvibe_async.errors import ConfigError, KindName, VibeError
from testvibe_async.runner.kinds import POLICIES
from testvibe_async.runner.spec import BatchSpec
from testvibe_async.runner.stored import Worker

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from testvibe_async._dispatch import Features, GenerateConflict, Job, RunConflict
    from testvibe_async.client import Client
    from testvibe_async.journal import Journal
    from testvibe_async.outcomes import BatchItem
    from testvibe_async.refs import Ref

__all__ = ["BatchStatus", "DurableBatch", "Worker"]


class DurableBatch:
    """A batch in a database, for any number of workers on any number of machines.

    It holds names, configurations, sites, ids and outcomes, and no key.
    """

    def __init__(self, url: str | os.PathLike[str], *, id: str) -> None:  # noqa: A002 - what it is
        """Make it; no I/O is done.

        Args:
            url: A SQLite file, for the workers of one machine, or `postgresql://…`.
            id: The batch's own name.

        Raises:
            ConfigError: The URL is of another database, or the id is empty.
        """
        self.id: str = require_kind("id", id, str)
        """The batch's own name."""
        if not id:
            raise ConfigError("the id of a batch must not be empty")
        self._database = Database(url)

    @property
    def database(self) -> str:
        """The file of its database, or the URL without a password."""
        return str(self._database)

    def __repr__(self) -> str:
        """Return the batch and its database, without a password."""
        return f"<DurableBatch {self.id!r} in {self._database}>"

    async def submit(  # noqa: PLR0913 - each by name, and each with a default
        self,
        client: Client,
        features: Features | None = None,
        *,
        kind: KindName = "run",
        project: str | None = None,
        config: str | Sequence[str | None] | None = None,
        site_url: str | None = None,
        max_in_flight: int | None = None,
        on_conflict: RunConflict | GenerateConflict = "raise",
        attempts: int = 1,
        max_generations: int | None = None,
        missing_only: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> bool:
        """Store the batch, for workers to carry. Submitting the same batch again does nothing.

        Args:
            client: A client of the service; asked for the project's features if none are named.
            features: As in `run_features` or `generate_features`.
            kind: The kind of its operations.
            project: The project's id; None for the client's default project.
            config: As in `run_features`; generations take none.
            site_url: As in `run_features`.
            max_in_flight: Maximum operations in flight per worker, 1 or more; None for 100 runs or
                10 generations.
            on_conflict: As in `run_features` or `generate_features`.
            attempts: As in `run_features`; 1 for generations.
            max_generations: Maximum number of generations that all workers together may dispatch,
                including those of missing tests, 0 or more; None for no limit. Each costs credits.
            missing_only: As in `generate_features`; of no effect on runs.
            options: Values that you want back, a JSON object: `status` has them as `plan.options`.
                The same batch has the same ones.

        Returns:
            False if it was there already.

        Raises:
            ConfigError: There is another batch of that id, no feature, or no such database; or an
                argument is one that `run_features` refuses.
        """
        require_choice("kind", kind, get_args(KindName))
        if config is not None and not POLICIES[kind].is_repeatable:
            raise ConfigError(f"{kind}s take no configuration")
        configs = [config] if config is None or isinstance(config, str) else list(config)
        spec = BatchSpec(
            kind=kind,
            site_url=site_url,
            max_in_flight=max_in_flight,
            on_conflict=on_conflict,
            attempts=attempts,
        )
        if max_generations:
            require_count("max_generations", max_generations)
        # It refuses what it would refuse to run; a batch that is not opened sends nothing.
        batch = evolve(spec, is_all=missing_only).start(client.project(project), features, configs)
        batch.close()
        workers = batch._workers  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        jobs: list[Job] = []
        while (entry := await workers.source.read()) is not None:
            jobs.append(entry.job)
        if not jobs:
            raise ConfigError(f"batch {self.id!r} has no features: name some, or generate tests")
        limit = {"batch": spec.to_dict(), "max_generations": max_generations}
        plan = evolve(workers.plan, options={**(options or {}), **limit})
        async with self._opened(is_planned=False) as store:
            return await store.submit(plan, jobs)

    async def work(self, client: Client) -> list[BatchItem[Any]]:
        """Work on the batch, with all other workers, until nothing is left to do; return all items.

        When it is cancelled, what is in flight keeps running at the service, and another worker
        resumes it.

        Raises:
            ConfigError: There is no such batch, it is of another server, or the database fails.
            UnauthorizedError, ForbiddenError: The service refuses the key.
            NotSentError: The service was away for longer than the client's `max_outage`.
        """
        futile: VibeError | None = None
        async with self._opened() as store:
            plan = store.plan
            if client.server != plan.server:
                raise ConfigError(
                    f"batch {self.id!r} is for {plan.server}, and this client's server is "
                    f"{client.server}"
                )
            spec = BatchSpec.from_dict(plan.options["batch"])
            project = client.project(plan.project)
            # The store claims entries one by one where a journal has them all.
            journal = cast("Journal", store)
            async with store.working(max_in_flight=spec.in_flight):
                async with spec.start(project, None, timeout=None, journal=journal) as batch:
                    try:
                        async for item in batch:
                            futile = item.error if is_futile(item.error) else futile
                    finally:
                        store.is_leaving = True
                status = await store.read()
        if futile is not None and not status.is_settled:
            raise futile
        return [*status.items]

    async def status(self) -> BatchStatus:
        """Return the stored state of the batch, without a request to the service.

        Raises:
            ConfigError: There is no such batch.
        """
        async with self._opened() as store:
            return await store.read()

    async def cancel(self) -> None:
        """Stop further dispatches. The workers still wait for the operations in flight.

        Raises:
            ConfigError: There is no such batch.
        """
        async with self._opened() as store:
            await store.set_cancelled(is_cancelled=True)

    async def resume(self, *, max_generations: int | None = None) -> list[int | str]:
        """Resume after `cancel`, and retry what could not be sent or observed, or is unknown.

        A dispatched operation that could no longer be observed is attached to again.

        Args:
            max_generations: Maximum number of further generations that all workers together may
                dispatch, 0 or more; None to keep the batch's limit. Each costs credits.

        Returns:
            The features that a worker will carry.

        Raises:
            ConfigError: There is no such batch.
        """
        if max_generations:
            require_count("max_generations", max_generations)
        async with self._opened() as store:
            if max_generations is not None:
                await store.allow(max_generations)
            await store.set_cancelled(is_cancelled=False)
            entries = (await store.read()).entries
            found = [
                entry
                for entry in entries
                if entry.is_left and (entry.state is EntryState.PLANNED or not entry.is_carried)
            ]
            await store.reopen(found)
        return [entry.job.feature for entry in found]

    async def decide(
        self, decision: Literal["resend", "drop"] | Ref, *, feature: int | str | None = None
    ) -> list[int | str]:
        """Decide unknown dispatches: resend, drop, or name their operation.

        The arguments are those of `testvibe_async.Journal.decide`.

        Raises:
            ConfigError: There is no such batch, or as `testvibe_async.Journal.decide` raises.
        """
        async with self._opened() as store:
            entries = (await store.read()).entries
            found = decided(entries, decision, feature=feature, where=f"batch {self.id!r}")
            found = await store.reopen(found)
        return [entry.job.feature for entry in found]

    @asynccontextmanager
    async def _opened(self, *, is_planned: bool = True) -> AsyncGenerator[DurableStore]:
        """Open the store of the batch, and read its plan if it is planned.

        Raises:
            ConfigError: There is no such batch, or the database can't be used.
        """
        store = DurableStore(self._database, self.id)
        try:
            if is_planned:
                await store.read_plan()
            yield store
        except DBAPIError as error:
            raise ConfigError(
                f"the database {self._database} can't be used: {plain(str(error.orig))}"
            ) from error
        finally:
            await store.aclose()
