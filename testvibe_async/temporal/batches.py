"""Batches on the engine, for a caller: start one, read its items, decide, cancel."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from temporalio.common import WorkflowIDReusePolicy

from testvibe_async.batch import item_from_dict
from testvibe_async.errors import ConfigError
from testvibe_async.temporal.workers import TASK_QUEUE
from testvibe_async.temporal.workflow import BatchWorkflow, problem_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import temporalio.client

    from testvibe_async.ledger import Decision
    from testvibe_async.outcomes import BatchItem


class TemporalBatch:
    """A batch on the engine: `await TemporalBatch.start(engine, {...}, key="nightly")`."""

    def __init__(self, engine: temporalio.client.Client, key: str) -> None:
        """Attach to a batch by its key, which is its workflow id; does no I/O."""
        self.key: str = key
        """The batch's key, which is its workflow id."""
        self._handle: temporalio.client.WorkflowHandle[Any, Any] = engine.get_workflow_handle(key)

    @classmethod
    async def start(
        cls,
        engine: temporalio.client.Client,
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
        await engine.start_workflow(
            BatchWorkflow.run,
            dict(request),
            id=key,
            task_queue=task_queue,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
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
        """Return the items of all chunks that have ended, in the requested order."""
        items: list[BatchItem[Any]] = []
        page, pages = 0, 1
        while page < pages:
            found = await self._handle.query("items", page)
            page, pages = page + 1, found["pages"]
            items += [item_from_dict(found["kind"], each) for each in found["items"]]
        return items

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
        """Dispatch nothing more, and wait for what is in flight. Nothing is cancelled there."""
        await self._handle.cancel()
