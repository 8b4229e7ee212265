"""The workflow `testvibe.batch`: it hands out chunks of features, and adds up their results.

Its commands are a stored format, which later releases must replay: the activity that lists
features, the activity that carries a chunk, and a timer. It imports the standard library and
temporalio alone. What a dispatch is decides the core, in the activity.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK_SIZE = 100
"""Maximum number of dispatches of one activity, without further attempts."""

AT_ONCE = 8
"""Maximum number of chunks that are handed out at once, which share the operations in flight."""

MAX_ITEMS = 10_000
"""Maximum number of dispatches of a batch: a history may have 50 MB."""

HEARTBEAT_TIMEOUT = timedelta(seconds=10)
"""Time without a heartbeat after which another worker takes over a chunk."""

YEAR = timedelta(days=365)
"""The time that a chunk may take: the engine requires one."""

_RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    maximum_interval=timedelta(seconds=10),
    maximum_attempts=0,  # Without a limit: each try first reads what the others dispatched.
)

_IN_FLIGHT = {"run": 100, "generation": 10}
"""The operations in flight of a batch that does not say how many."""

_BAD = ("failed", "error", "unknown")
"""The verdicts that count as failures."""

Member = tuple[str, "Callable[[Any], bool]"]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_id(value: object) -> bool:
    return type(value) is int or (isinstance(value, str) and value.isdecimal())


def _is_list(value: Any) -> bool:  # noqa: ANN401 - whatever was sent
    """Return whether a value is a list of names or of ids, each once: a pair would run twice."""
    names = cast("list[object]", value if isinstance(value, list) else [])
    if not all(_is_text(each) or _is_id(each) for each in names):
        return False
    # Only the service knows which name has which id.
    return len({*map(_is_id, names)}) == 1 and len({*map(_folded, names)}) == len(names)


def _folded(value: object) -> str:
    return " ".join(unicodedata.normalize("NFKC", str(value)).split()).casefold()


def _count_to(most: int) -> Member:
    return f"a whole number, 1 to {most}", lambda value: type(value) is int and 1 <= value <= most


_TEXT: Member = "a text", _is_text
_COUNT = _count_to(10_000_000)
_LIST: Member = "a list of names, or of ids, with at least one, and each once", _is_list
_KIND: Member = "'run' or 'generation'", lambda value: value in ("run", "generation")

_MEMBERS = {
    "features": _LIST,
    "kind": _KIND,
    **dict.fromkeys(("project", "siteUrl", "onConflict"), _TEXT),
    **dict.fromkeys(("maxInFlight", "maxFailures", "decideSeconds"), _COUNT),
}

_MEMBERS_OF = {
    "run": {"configs": _LIST, "attempts": _count_to(5)},
    "generation": {"maxGenerations": _COUNT},
}


def problem_of(request: Any) -> str | None:  # noqa: ANN401 - whatever was sent
    """Return what is wrong with a request, in a sentence that names the member; None if nothing."""
    if not isinstance(request, dict):
        return 'the input must be a JSON object such as {"features": ["Checkout"]}'
    given = cast("dict[str, Any]", request)
    members: dict[str, Member] = _MEMBERS | _MEMBERS_OF.get(str(given.get("kind", "run")), {})
    for name, value in given.items():
        if name not in members:
            return f"{name!r} is not a member of such an input, which has {', '.join(members)}"
        wanted, is_right = members[name]
        if not is_right(value):
            return f"{name!r} must be {wanted}, not {str(value)[:60]!r}"
    return None


def _configs_of(request: dict[str, Any]) -> int:
    return len(request.get("configs", [None]))


def chunks_of(request: dict[str, Any], features: list[Any]) -> list[dict[str, Any]]:
    """Return the jobs of the activities: the limits of the batch are shared out among them."""
    count = min(-(-len(features) * _configs_of(request) // CHUNK_SIZE), len(features))
    bounds = [len(features) * index // count for index in range(count + 1)]
    return [
        {
            "index": index,
            "request": {name: value for name, value in request.items() if name != "features"},
            "features": features[first:end],
            "maxBytes": min(1_000_000, 16_000_000 // count),
        }
        for index, (first, end) in enumerate(pairwise(bounds))
    ]


def shares_of(request: dict[str, Any], chunks: int) -> list[int]:
    """Return the operations in flight of each chunk that is handed out, at most `AT_ONCE`."""
    in_flight = request.get("maxInFlight", _IN_FLIGHT[request.get("kind", "run")])
    count = min(chunks, in_flight, AT_ONCE)
    return [in_flight // count + (index < in_flight % count) for index in range(count)]


@workflow.defn(name="testvibe.batch")
class BatchWorkflow:
    """One batch of runs or generations, on any number of workers."""

    def __init__(self) -> None:
        self._request: dict[str, Any] = {}
        self._is_cancelled = False
        self._is_stopped = False
        """True if chunks are to dispatch nothing more."""
        self._jobs: list[dict[str, Any]] = []
        self._results: dict[int, dict[str, Any]] = {}
        self._failures = Counter[int]()
        """The number of failures of each running chunk."""
        self._decisions: list[dict[str, Any]] = []
        self._shares: asyncio.Queue[int] = asyncio.Queue()
        """The operations in flight of each further chunk that may be handed out."""

    @workflow.run
    async def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run the batch; return its summary, without items."""
        if (problem := problem_of(request)) is not None:
            raise ApplicationError(problem, type="ConfigError", non_retryable=True)
        self._request = request
        main = asyncio.create_task(self._work())
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

    async def _work(self) -> None:
        request = self._request
        features = request.get("features")
        if features is None:
            features = await workflow.execute_activity(
                "testvibe.features",
                request,
                start_to_close_timeout=timedelta(minutes=1),
                retry_policy=_RETRIES,
            )
        if len(features) * _configs_of(request) > MAX_ITEMS:
            problem = f"'features' must make at most {MAX_ITEMS} items: start several batches"
            raise ApplicationError(problem, type="ConfigError", non_retryable=True)
        most = request.get("maxGenerations", len(features))
        self._jobs = chunks_of(request, features[:most])
        if left := features[most:]:
            items = [{"feature": each, "verdict": "skipped"} for each in left]
            skipped = {"summary": {"skipped": len(left)}, "items": items, "undecided": []}
            self._results[len(self._jobs)] = skipped
        for share in shares_of(request, len(self._jobs)):
            self._shares.put_nowait(share)
        await asyncio.gather(*map(self._carry, self._jobs))
        while self._undecided() and await self._has_decision():
            decisions, self._decisions = self._decisions, []
            again = [
                job | {"rows": result["rows"], "decisions": decisions}
                for job in self._jobs
                if (result := self._results[job["index"]])["undecided"]
            ]
            await asyncio.gather(*map(self._carry, again))

    async def _carry(self, job: dict[str, Any]) -> None:
        share = await self._shares.get()
        result = await workflow.execute_activity(
            "testvibe.chunk",
            job | {"maxInFlight": share, "runId": workflow.info().first_execution_run_id},
            activity_id=f"chunk-{job['index']}",
            start_to_close_timeout=YEAR,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=_RETRIES,
        )
        self._shares.put_nowait(share)
        self._results[job["index"]] = result
        self.note_failures(job["index"], sum(result["summary"].get(each, 0) for each in _BAD))

    async def _has_decision(self) -> bool:
        """Wait for a decision, for as long as the input says."""
        timeout = timedelta(seconds=self._request.get("decideSeconds", 0))
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: bool(self._decisions) or self._is_cancelled, timeout=timeout
            )
        return bool(self._decisions) and not self._is_cancelled

    @property
    def _kind(self) -> str:
        return str(self._request.get("kind", "run"))

    @workflow.signal(name="failures")
    def note_failures(self, index: int, count: int) -> None:
        """Note the number of failures of a chunk, which counts for those of the batch."""
        self._failures[index] = count
        if self._failures.total() >= self._request.get("maxFailures", MAX_ITEMS + 1):
            self._is_stopped = True

    @workflow.query(name="stopped")
    def stopped(self) -> bool:
        """Return whether chunks are to dispatch nothing more."""
        return self._is_stopped

    @workflow.query(name="summary")
    def summary(self) -> dict[str, int]:
        """Return the number of items with each verdict; those of running chunks are `running`."""
        counts = Counter[str]()
        for result in self._results.values():
            counts.update(result["summary"])
        running = [job for job in self._jobs if job["index"] not in self._results]
        left = sum(len(job["features"]) for job in running) * _configs_of(self._request)
        return dict(+(counts + Counter(running=left)))

    @workflow.query(name="items")
    def items(self, page: int = 0) -> dict[str, Any]:
        """Return the items of one chunk, and the number of chunks; none while it runs."""
        pages = max([len(self._jobs), *(index + 1 for index in self._results)])
        found = self._results.get(page, {}).get("items", [])
        return {"kind": self._kind, "pages": pages, "items": found}

    @workflow.update(name="decide")
    def decide(self, decision: dict[str, Any]) -> int:
        """Decide dispatches that are unknown; return their number."""
        self._decisions.append(decision)
        return len(self._undecided(decision))

    @decide.validator
    def _check_decision(self, decision: dict[str, Any]) -> None:
        value = decision["decision"]
        is_right = value in ("resend", "drop") or isinstance(value, dict)
        if not is_right or {*decision} - {"decision", "feature", "config"}:
            what = "a decision has 'decision' ('resend', 'drop' or a ref), 'feature' and 'config'"
            raise ApplicationError(what)
        if not self._undecided(decision):
            raise ApplicationError("nothing of that is unknown")

    def _undecided(self, decision: dict[str, Any] | None = None) -> list[Any]:
        """Return what is unknown: all, or what a decision means."""
        asked = decision or {}
        feature, config = asked.get("feature"), asked.get("config")
        return [
            [each, name]
            for result in self._results.values()
            for each, name, own in result["undecided"]
            if (feature is None or _folded(feature) in (_folded(each), _folded(name)))
            and config in (None, own)
        ]
