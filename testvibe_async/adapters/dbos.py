"""Durable batches on DBOS: on one machine with a SQLite file, on many with PostgreSQL.

DBOS hands each feature to one worker, and to another when that is dead. What a feature needs is
decided in `worker`, what may be written in `store`, and when a worker is dead in `workers`, since
DBOS without its own cloud does not: nothing is dispatched twice, even where two processes work on
one feature.
"""

from __future__ import annotations

import asyncio
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Literal, Self
from uuid import uuid4

from attrs import evolve, frozen
from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer, EnqueueOptions

from testvibe_async._batch import EntryState, Plan
from testvibe_async._config import require_kind
from testvibe_async._dispatch import JobSource
from testvibe_async.adapters.database import Database
from testvibe_async.adapters.heartbeat import BEAT_SECONDS, Heartbeat
from testvibe_async.adapters.tables import StoreError
from testvibe_async.adapters.turns import Turns
from testvibe_async.adapters.worker import BatchWorker, surely
from testvibe_async.adapters.workers import DEAD_SECONDS, Workers
from testvibe_async.errors import ConfigError
from testvibe_async.outcomes import BatchItem, BatchSummary
from testvibe_async.refs import Ref

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    import sqlalchemy as sa

    from testvibe_async._dispatch import Features, Job, RunConflict
    from testvibe_async.adapters.store import Enqueue, Store
    from testvibe_async.client import Client
    from testvibe_async.models import Run

__all__ = ["BatchStatus", "DurableBatch"]

APPLICATION = "testvibe"
"""The application that owns the workflows in the database, where no other embeds them."""

APPLICATION_VERSION = "testvibe-1"
"""Pinned: DBOS hands out workflows to workers of the same version alone."""

WORKFLOW = "testvibe.feature"
"""The name of the workflow. With its arguments it is stored: never change them."""

DEQUEUE_SECONDS = 0.5
"""How often a worker asks for more features."""

BIND_SECONDS = 60.0
"""How long a feature waits in a process that is not bound to its batch, or not yet."""

_bound: dict[str, BatchWorker] = {}
"""What this process works on, by batch: DBOS has one database a process."""


@DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
async def _work_on_feature(batch: str, place: int, turn: int) -> None:
    """Work on one feature. What it does is not recorded here, so that it may change."""
    with suppress(TimeoutError):
        async with asyncio.timeout(BIND_SECONDS):
            while batch not in _bound:  # noqa: ASYNC110 - rare, and nobody else is told
                await asyncio.sleep(BEAT_SECONDS)
    if batch not in _bound:
        raise ConfigError(f"this process is not bound to batch {batch!r}: enter its bind(client)")
    await _bound[batch].perform(place, turn)


@frozen(kw_only=True)
class BatchStatus:
    """What is known of a durable batch, without asking the service."""

    items: Sequence[BatchItem[Run]]
    """One for each feature and configuration, in the order planned."""

    is_over: bool
    """Whether nothing is left to dispatch, to wait for or to reconcile."""

    is_cancelled: bool
    """Whether nothing more is dispatched."""

    workers: Sequence[str]
    """The workers of the database that are alive."""

    @property
    def summary(self) -> BatchSummary:
        """How many features have which verdict."""
        return BatchSummary.of(self.items)


class DurableBatch:
    """A batch of runs in a database, for any number of workers on any number of machines.

    It holds names, configurations, sites, ids and outcomes, and no key.
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        *,
        id: str,  # noqa: A002 - what it is
        application: str = APPLICATION,
        application_version: str = APPLICATION_VERSION,
    ) -> None:
        """Make it; no I/O is done.

        Args:
            url: A SQLite file, for the workers of one machine, or `postgresql://…`.
            id: The batch's own name.
            application: The `name` of the DBOS application that embeds it; leave it out where none
                does, and use `work`.
            application_version: The version of that application, as it tells DBOS.

        Raises:
            ConfigError: The URL is of another database, or the id is empty.
        """
        self.id: str = require_kind("id", id, str)
        """The batch's own name."""
        if not id:
            raise ConfigError("the id of a batch must not be empty")
        self._database = Database(url)
        self._application = application
        self._version = application_version
        self._queue = f"testvibe {id}"

    def __repr__(self) -> str:
        """Return the batch and its database, without a password."""
        return f"<DurableBatch {self.id!r} in {self._database.name}>"

    async def submit(  # noqa: PLR0913 - each by name, and each with a default
        self,
        client: Client,
        features: Features | None = None,
        *,
        project: str | None = None,
        config: str | Sequence[str | None] | None = None,
        site_url: str | None = None,
        max_in_flight: int = 100,
        on_conflict: RunConflict = "raise",
        attempts: int = 1,
    ) -> bool:
        """Store the batch for workers to work on. The same one again does nothing.

        Args:
            client: A client of the service; asked for the project's features where none are named.
            features: As in `run_features`.
            project: The project's id; None for the client's default project.
            config: As in `run_features`.
            site_url: As in `run_features`.
            max_in_flight: How many runs each worker has in flight, 1 or more.
            on_conflict: As in `run_features`.
            attempts: As in `run_features`.

        Returns:
            False where it was there already.

        Raises:
            ConfigError: There is another batch of that id, no feature, or no such database; or an
                argument is one that `run_features` refuses.
        """
        found = client.project(project)
        configs = [config] if config is None or isinstance(config, str) else list(config)
        # It refuses what it would refuse to run; a batch that nobody opens reads and sends nothing.
        found.run_features(
            features,
            config=configs,
            max_in_flight=max_in_flight,
            on_conflict=on_conflict,
            attempts=attempts,
        ).close()
        source = JobSource(
            features,
            configs,
            list_features=found.list_features,
            default=lambda feature: feature.has_tests,
        )
        jobs: list[Job] = []
        while (job := await source.read()) is not None:
            jobs.append(job)
        if not jobs:
            raise ConfigError(f"batch {self.id!r} has no features: name some, or generate tests")
        plan = Plan(
            kind="run",
            server=client.server,
            project=found.id,
            site_url=site_url,
            options={"on_conflict": on_conflict, "attempts": attempts},
        )
        async with self._database.store(self.id) as store:
            await asyncio.to_thread(DBOS.migrate, self._database.address)
            await store.create_tables()
            async with self._engine(store) as engine:
                await asyncio.to_thread(
                    engine.register_queue,
                    self._queue,
                    worker_concurrency=max_in_flight,
                    polling_interval_sec=DEQUEUE_SECONDS,
                )
                return await store.submit(plan, jobs, self._enqueue(engine))

    async def work(self, client: Client) -> list[BatchItem[Run]]:
        """Work on the batch until it is over, with others that do, and return all items.

        It runs DBOS in this process; an application that does so itself uses `bind`. When it is
        cancelled, what is in flight goes on at the service, and any worker goes on with it.

        Raises:
            ConfigError: There is no such batch, it is of another server, or DBOS runs already.
        """
        if _is_running():
            raise ConfigError("this process runs DBOS already: use bind(client) in place of work")
        executor = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        async with self._database.store(self.id) as store:
            await self._plan(store, client)
            await Workers(store).beat(executor)
            DBOS(
                config=DBOSConfig(
                    name=self._application,
                    system_database_url=self._database.address,
                    application_version=self._version,
                    executor_id=executor,
                    serializer=DBOSPortableJSONSerializer(),
                    sys_db_idle_transaction_timeout_sec=DEAD_SECONDS,
                    log_level="ERROR",
                )
            )
            try:
                DBOS.listen_queues([self._queue])
                async with self.bind(client), self._engine(store) as engine:
                    # In the running loop, so that workflows run there, where the client is.
                    DBOS.launch()
                    turns = self._turns(store, engine)
                    while await surely(turns.are_left):  # noqa: ASYNC110 - others end it
                        await asyncio.sleep(BEAT_SECONDS)
            finally:
                await asyncio.to_thread(DBOS.destroy, workflow_completion_timeout_sec=0)
                # DBOS leaves its own, closed executor behind.
                asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
            await Workers(store).forget([executor])
        return [*(await self.status()).items]

    @asynccontextmanager
    async def bind(self, client: Client) -> AsyncGenerator[Self]:
        """Work on the batch for as long as this is open, with the DBOS of this process.

        Enter it in the event loop in which DBOS was launched. Give each process an `executor_id`
        of its own, and import this module before the launch.

        Args:
            client: The client that sends all; keep it open.

        Raises:
            ConfigError: There is no such batch, it is of another server, or bound here already.
        """
        executor = DBOS.executor_id
        if executor == "local" and not self._database.is_file:
            raise ConfigError(
                "give the DBOS of each process an executor_id of its own: 'local' is that of all"
            )
        if self.id in _bound:
            raise ConfigError(f"batch {self.id!r} is bound in this process already")
        async with self._database.store(self.id) as store:
            plan = await self._plan(store, client)
            await Workers(store).beat(executor)
        # What the body raises is the application's own, also of a database.
        async with aclosing(self._database.open(self.id)) as store, self._engine(store) as engine:
            worker = BatchWorker(client, store, plan)
            heartbeat = Heartbeat(
                store, engine, self._turns(store, engine), queue=self._queue, executor=executor
            )
            beating = asyncio.create_task(heartbeat.run(), name="testvibe_async heartbeat")
            _bound[self.id] = worker
            try:
                yield self
            finally:
                _bound.pop(self.id, None)
                try:
                    await worker.aclose()
                finally:
                    beating.cancel()
                    await asyncio.wait([beating])
                    with suppress(StoreError):
                        await Workers(store).forget([executor])

    async def plan(self) -> Plan:
        """Return what the batch is to do: its server, its project, its site and its options.

        Raises:
            ConfigError: There is no such batch.
        """
        async with self._database.store(self.id) as store:
            return await self._plan(store)

    async def status(self) -> BatchStatus:
        """Return what is known of the batch. Asks the database alone.

        Raises:
            ConfigError: There is no such batch.
        """
        async with self._database.store(self.id) as store:
            await self._plan(store)
            rows, is_cancelled = await store.rows()
            workers = await Workers(store).read()
        items = [row.found.stored_item() for row in rows]
        if is_cancelled:
            items = [evolve(item, is_waiting=False) for item in items]
        return BatchStatus(
            items=items,
            # Of the same moment as the items: a later look might see the end of what is in flight.
            is_over=all(
                row.is_ended or (is_cancelled and row.found.state is EntryState.PLANNED)
                for row in rows
            ),
            is_cancelled=is_cancelled,
            workers=[each.id for each in workers if not each.is_dead],
        )

    async def cancel(self) -> None:
        """Have nothing more dispatched. What is in flight goes on, and is waited for.

        Raises:
            ConfigError: There is no such batch.
        """
        async with self._database.store(self.id) as store:
            await self._plan(store)
            await store.set_cancelled(is_cancelled=True)

    async def resume(self) -> list[int | str]:
        """Go on after `cancel`, or with what could not be sent or observed, or is unknown.

        What is dispatched already, and could not be observed any more, is attached to again.

        Returns:
            The features that a worker will look at again.

        Raises:
            ConfigError: There is no such batch.
        """
        async with self._database.store(self.id) as store, self._engine(store) as engine:
            await self._plan(store)
            await store.set_cancelled(is_cancelled=False)
            return await self._turns(store, engine).enqueue_failed()

    async def decide(
        self, decision: Literal["resend", "drop"] | Ref, *, feature: int | str | None = None
    ) -> list[int | str]:
        """Decide unknown dispatches: resend, drop, or name their operation.

        The arguments are those of `Journal.decide`.

        Raises:
            ConfigError: There is no such batch, nothing is unknown, or a ref was given for several.
        """
        if decision not in {"resend", "drop"} and not isinstance(decision, Ref):
            raise ConfigError(f"decide takes 'resend', 'drop' or a ref, not {decision!r}")
        async with self._database.store(self.id) as store, self._engine(store) as engine:
            await self._plan(store)
            return await self._turns(store, engine).decide(decision, feature)

    async def _plan(self, store: Store, client: Client | None = None) -> Plan:
        plan = await store.plan() if self._database.may_have_batches else None
        if plan is None:
            raise ConfigError(
                f"there is no batch {self.id!r} in {self._database.name}: submit it first"
            )
        if client is not None and client.server != plan.server:
            raise ConfigError(
                f"batch {self.id!r} is for {plan.server}, and this client's server is "
                f"{client.server}"
            )
        return plan

    def _turns(self, store: Store, engine: DBOSClient) -> Turns:
        return Turns(store, self._enqueue(engine))

    def _enqueue(self, engine: DBOSClient) -> Enqueue:
        """Return what enqueues a feature in a transaction."""

        def enqueue(connection: sa.Connection, place: int, turn: int) -> None:
            options = EnqueueOptions(
                workflow_name=WORKFLOW,
                queue_name=self._queue,
                workflow_id=f"testvibe:{self.id}:{place}:{turn}",
                app_version=self._version,
                application_name=self._application,
            )
            engine.enqueue_in_transaction(connection, options, self.id, place, turn)

        return enqueue

    @asynccontextmanager
    async def _engine(self, store: Store) -> AsyncGenerator[DBOSClient]:
        """Open what enqueues workflows in the store's transactions."""
        engine = DBOSClient(
            system_database_engine=store.engine,
            serializer=DBOSPortableJSONSerializer(),
            application_name=self._application,
            lazy=True,
        )
        try:
            yield engine
        finally:
            await asyncio.to_thread(engine.destroy)


def _is_running() -> bool:
    """Say whether this process runs DBOS. There is no public way to ask."""
    found: object = getattr(import_module("dbos._dbos"), "_dbos_global_instance", None)
    return found is not None
