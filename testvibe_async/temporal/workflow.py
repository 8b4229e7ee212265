"""The workflow `testvibe.batch`: it hands out chunks of features, and adds up their results.

It runs in Temporal's sandbox, so that it imports the standard library and temporalio alone. It has
three commands: the activity that lists features, the activity that carries a chunk, and a timer.
What a dispatch is decides the core, in the activity.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

CHUNK_SIZE = 100
"""Maximum number of features of one activity."""

HEARTBEAT_TIMEOUT = timedelta(seconds=10)
"""Time without a heartbeat after which another worker takes over a chunk."""

YEAR = timedelta(days=365)
"""The time that a chunk may take: the engine requires one."""

_RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    maximum_interval=timedelta(seconds=10),
    maximum_attempts=0,  # Without a limit: each try first reads what the others dispatched.
)

_TEXTS = {"project", "siteUrl", "onConflict", "kind"}
_COUNTS = {"attempts", "maxInFlight", "maxFailures", "maxGenerations", "decideSeconds"}
_LISTS = {"features", "configs"}

_IN_FLIGHT = {"run": 100, "generation": 10}
"""The operations in flight of a batch that does not say how many."""


def problem_of(request: Any) -> str | None:  # noqa: ANN401 - whatever was sent
    """Return what is wrong with a request, in a sentence that names the member; None if nothing."""
    if not isinstance(request, dict):
        return "the input must be a JSON object such as {\"features\": [\"Checkout\"]}"
    members: dict[str, Any] = request
    for name, value in members.items():
        if name in _TEXTS:
            is_right = isinstance(value, str) and bool(value.strip())
            wanted = "a text"
        elif name in _COUNTS:
            is_right = type(value) is int and value >= 1
            wanted = "a whole number, 1 or more"
        elif name in _LISTS:
            is_right = isinstance(value, list) and bool(value) and all(map(_is_name, value))
            wanted = "a list of names, with at least one"
        else:
            known = ", ".join(sorted(_TEXTS | _COUNTS | _LISTS))
            return f"{name!r} is not a member of the input, which has {known}"
        if not is_right:
            return f"{name!r} must be {wanted}, not {value!r}"
    if (kind := members.get("kind", "run")) not in _IN_FLIGHT:
        return f"'kind' must be 'run' or 'generation', not {kind!r}"
    if kind == "generation" and {"configs", "attempts"} & set(members):
        return "generations have neither 'configs' nor 'attempts'"
    if kind == "run" and "maxGenerations" in members:
        return "a batch of runs generates nothing: leave out 'maxGenerations'"
    return None


def _is_name(value: object) -> bool:
    return (isinstance(value, str) and bool(value.strip())) or type(value) is int


def chunks_of(request: dict[str, Any], features: list[Any]) -> list[dict[str, Any]]:
    """Return the jobs of the activities: the limits of the batch are shared out among them."""
    parts = [features[at : at + CHUNK_SIZE] for at in range(0, len(features), CHUNK_SIZE)]
    in_flight = request.get("maxInFlight", _IN_FLIGHT[request.get("kind", "run")])
    generations = request.get("maxGenerations")
    jobs: list[dict[str, Any]] = []
    for index, part in enumerate(parts):
        at_once = min(len(parts), in_flight)
        share = in_flight // at_once + (index % at_once < in_flight % at_once)
        job = {"index": index, "request": request, "features": part, "maxInFlight": share}
        if generations is not None:
            job["maxGenerations"] = min(len(part), generations)
            generations -= job["maxGenerations"]
        jobs.append(job)
    return jobs


@workflow.defn(name="testvibe.batch")
class BatchWorkflow:
    """One batch of runs or generations, on any number of workers."""

    def __init__(self) -> None:
        self._is_cancelled = False
        self._is_stopped = False
        """True if chunks are to dispatch nothing more."""
        self._jobs: list[dict[str, Any]] = []
        self._results: dict[int, dict[str, Any]] = {}
        self._decisions: dict[int, list[dict[str, Any]]] = {}
        self._kind = "run"
        self._is_over = False

    @workflow.run
    async def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run the batch; return its summary, without items."""
        if (problem := problem_of(request)) is not None:
            raise ApplicationError(problem, type="ConfigError", non_retryable=True)
        info = workflow.info()
        if info.run_id != info.first_execution_run_id:
            # What was dispatched is known to the first run alone.
            what = "this run was reset, retried or continued, and would dispatch again: start a new"
            raise ApplicationError(f"{what} batch with another workflow id", non_retryable=True)
        main = asyncio.create_task(self._work(request))
        while not main.done():
            try:
                await asyncio.shield(main)
            except asyncio.CancelledError:
                if main.cancelled():
                    raise
                # A cancellation arrives once. Chunks see it, stop dispatching, and end.
                self._is_cancelled = self._is_stopped = True
        main.result()
        return {"summary": self.summary(), "cancelled": self._is_cancelled}

    async def _work(self, request: dict[str, Any]) -> None:
        self._kind = request.get("kind", "run")
        features = request.get("features")
        if features is None:
            features = await workflow.execute_activity(
                "testvibe.features",
                request,
                start_to_close_timeout=timedelta(minutes=10),
                retry_policy=_RETRIES,
            )
        self._jobs = chunks_of(request, features)
        slots = asyncio.Semaphore(request.get("maxInFlight", _IN_FLIGHT[self._kind]))
        await asyncio.gather(*(self._carry(job, slots) for job in self._jobs))
        seconds = request.get("decideSeconds", 0)
        while seconds and self.summary().get("unknown") and not self._is_cancelled:
            try:
                await workflow.wait_condition(
                    lambda: bool(self._decisions), timeout=timedelta(seconds=seconds)
                )
            except TimeoutError:
                break
            decided, self._decisions = self._decisions, {}
            again = [
                {**self._jobs[index], "rows": self._results[index]["rows"], "decisions": decisions}
                for index, decisions in decided.items()
            ]
            await asyncio.gather(*(self._carry(job, slots) for job in again))
        self._is_over = True

    async def _carry(self, job: dict[str, Any], slots: asyncio.Semaphore) -> None:
        async with slots:
            result = await workflow.execute_activity(
                "testvibe.chunk",
                job,
                start_to_close_timeout=YEAR,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=_RETRIES,
            )
        self._results[job["index"]] = result
        most, bad = job["request"].get("maxFailures"), ("failed", "error", "unknown")
        if most is not None and sum(self.summary().get(each, 0) for each in bad) >= most:
            self._is_stopped = True

    @workflow.query(name="stopped")
    def stopped(self) -> bool:
        """Return whether chunks are to dispatch nothing more."""
        return self._is_stopped

    @workflow.query(name="summary")
    def summary(self) -> dict[str, int]:
        """Return the number of items with each verdict; those of running chunks are `running`."""
        counts = Counter[str]()
        for job in self._jobs:
            result = self._results.get(job["index"])
            if result is None:
                counts["running"] += len(job["features"]) * len(job["request"].get("configs", [0]))
            else:
                counts.update(result["summary"])
        return dict(counts)

    @workflow.query(name="items")
    def items(self, page: int = 0) -> dict[str, Any]:
        """Return the items of one chunk, and the number of chunks; none while it runs."""
        found = self._results.get(page, {}).get("items", [])
        return {"kind": self._kind, "pages": len(self._jobs), "items": found}

    @workflow.update(name="decide")
    def decide(self, decision: dict[str, Any]) -> int:
        """Decide dispatches that are unknown; return the number of chunks that have them."""
        chosen = self._undecided(decision.get("feature"))
        for index in chosen:
            self._decisions.setdefault(index, []).append(decision)
        return len(chosen)

    @decide.validator
    def _check_decision(self, decision: dict[str, Any]) -> None:
        value = decision.get("decision")
        if value not in ("resend", "drop") and not isinstance(value, dict):
            raise ApplicationError("'decision' must be 'resend', 'drop' or a ref")
        if self._is_over or not self._undecided(decision.get("feature")):
            raise ApplicationError("nothing is unknown, or the batch has ended")

    def _undecided(self, feature: object) -> list[int]:
        """Return the chunks with an unknown item of a feature; None stands for any."""
        return [
            index
            for index, result in self._results.items()
            for item in result["items"]
            if item["verdict"] == "unknown" and feature in (None, item["feature"])
        ]
