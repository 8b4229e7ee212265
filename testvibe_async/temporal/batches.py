"""Batches on the engine, for a caller: connect, start one, read its items, decide, cancel."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, WorkflowQueryFailedError, WorkflowQueryRejectedError
from temporalio.common import WorkflowIDReusePolicy
from temporalio.envconfig import ClientConfig
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig
from temporalio.service import RPCError

from testvibe_async.batch import item_from_dict, items_of_rows
from testvibe_async.errors import ConfigError
from testvibe_async.ledger import Row
from testvibe_async.outcomes import BatchItem
from testvibe_async.temporal.workers import TASK_QUEUE
from testvibe_async.temporal.workflow import RUNNING, problem_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from temporalio.client import WorkflowHandle

    from testvibe_async.ledger import Decision

ANSWER_SECONDS = timedelta(seconds=5)
"""Seconds in which the engine must answer."""


UNREACHABLE = (RuntimeError, RPCError, WorkflowQueryFailedError, WorkflowQueryRejectedError)
"""The errors of a server that does not answer, that refuses, or that has no such batch."""


@cache
def _runtime() -> Runtime:
    """Return a runtime that does not print each retry of a call to standard output."""
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter="error")))


async def connect(address: str | None = None, *, namespace: str | None = None) -> Client:
    """Connect to the engine, by arguments, variables and the file of the command `temporal`.

    Args:
        address: Host and port; None for those of `TEMPORAL_ADDRESS`, or of the file.
        namespace: The namespace; None for that of `TEMPORAL_NAMESPACE`, or of the file, or
            `default`.

    Raises:
        ConfigError: No address is set, or a setting is wrong.
        RuntimeError: The engine does not answer, or refuses.
    """
    try:
        settings: dict[str, Any] = {**ClientConfig.load_client_connect_config()}
    except Exception as error:
        raise ConfigError(f"the settings of Temporal can't be read: {error}") from error
    given = {"target_host": address, "namespace": namespace}
    settings |= {name: value for name, value in given.items() if value}
    if not settings.get("target_host"):
        raise ConfigError("no address of Temporal: pass --address, or set TEMPORAL_ADDRESS")
    return await Client.connect(**settings, connect_timeout=ANSWER_SECONDS, runtime=_runtime())


async def failure_of(engine: Client) -> str | None:
    """Return why the engine does not answer, or has no such namespace; None if it does."""
    request = DescribeNamespaceRequest(namespace=engine.namespace)
    try:
        await engine.workflow_service.describe_namespace(request, timeout=ANSWER_SECONDS)
    except RPCError as error:
        return error.message
    return None


class TemporalBatch:
    """A batch on the engine: `await TemporalBatch.start(engine, {...}, key="nightly")`."""

    def __init__(self, engine: Client, key: str) -> None:
        """Attach to a batch by its key, which is its workflow id; does no I/O."""
        self.key: str = key
        """The batch's key, which is its workflow id."""
        self._engine = engine
        self._handle: WorkflowHandle[Any, Any] = engine.get_workflow_handle(key)

    @classmethod
    async def start(
        cls,
        engine: Client,
        request: Mapping[str, Any],
        *,
        key: str,
        task_queue: str = TASK_QUEUE,
    ) -> TemporalBatch:
        """Start a batch, unless the engine has one of that key, running or finished.

        Args:
            engine: The connection to the engine.
            request: The input: `features` (absent for all that have tests), `project`, `kind`,
                `configs`, `attempts`, `maxInFlight`, `maxFailures`, `onConflict`, `siteUrl`,
                `maxGenerations`, and `decideSeconds`, for which the batch waits for a decision
                about what is unknown.
            key: The batch's key, which becomes the workflow id.
            task_queue: The task queue of the workers.

        Raises:
            ConfigError: The request is wrong.
            temporalio.exceptions.WorkflowAlreadyStartedError: The key is used: attach to it.
        """
        if (problem := problem_of(dict(request))) is not None:
            raise ConfigError(problem)
        policy = WorkflowIDReusePolicy.REJECT_DUPLICATE
        await engine.start_workflow(
            "testvibe.batch", dict(request), id=key, task_queue=task_queue, id_reuse_policy=policy
        )
        return cls(engine, key)

    async def result(self) -> dict[str, Any]:
        """Wait for the end; return the summary, and whether the batch was cancelled."""
        result: dict[str, Any] = await self._handle.result()
        return result

    async def summary(self) -> dict[str, int]:
        """Return the number of items with each verdict; those of running chunks are `running`."""
        summary: dict[str, int] = await self._handle.query("summary")
        return summary

    async def items(self) -> list[BatchItem[Any]]:
        """Return the current item of each feature, in the requested order.

        Like those of a local batch, they may be read at any time. The items of a running chunk are
        as its worker reported them, at most some seconds ago.
        """
        live = await self._live()
        items: list[BatchItem[Any]] = []
        page, pages = 0, 1
        while page < pages:
            found = await self._handle.query("items", page)
            items += _items(found, live.get(page, []))
            page, pages = page + 1, found["pages"]
        return items

    async def _live(self) -> dict[int, list[BatchItem[Any]]]:
        """Return the items of the chunks under way, by the last heartbeat of each."""
        described = await self._handle.describe()
        live: dict[int, list[BatchItem[Any]]] = {}
        for each in described.raw_description.pending_activities:
            found = await self._engine.data_converter.decode(each.heartbeat_details.payloads)
            if found and found[0] and each.activity_id.startswith("chunk-"):
                rows = [Row.from_json(document) for document in found[0]]
                live[int(each.activity_id.removeprefix("chunk-"))] = items_of_rows(rows)
        return live

    async def decide(
        self, decision: Decision, *, feature: int | str | None = None, config: str | None = None
    ) -> int:
        """Decide what to do with dispatches that are unknown.

        Args:
            decision: See `testvibe_async.Ledger.decide`.
            feature: The feature, as requested; None for all that are unknown.
            config: Its configuration, if it is unknown with several; None for any.

        Returns:
            The number of dispatches that are decided.

        Raises:
            temporalio.client.WorkflowUpdateFailedError: Nothing of that is unknown.
            temporalio.service.RPCError: The batch has ended.
        """
        value = decision if isinstance(decision, str) else json.loads(decision.to_json())
        document = {"decision": value, "feature": feature, "config": config}
        handle: Any = self._handle  # One of its types is not known.
        count: int = await handle.execute_update("decide", document)
        return count

    async def cancel(self) -> None:
        """Stop dispatching, and wait for the operations in flight, which are not cancelled."""
        await self._handle.cancel()


def _items(page: Mapping[str, Any], live: list[BatchItem[Any]]) -> list[BatchItem[Any]]:
    """Return the items of a page of the query `items`; of a running chunk, its live ones."""
    documents = page["items"]
    if all(each["verdict"] != RUNNING for each in documents):
        return [item_from_dict(page["kind"], each) for each in documents]
    return live or [
        BatchItem(feature=each["feature"], config=each["config"], is_waiting=True)
        for each in documents
    ]
