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

_RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    maximum_interval=timedelta(seconds=10),
    maximum_attempts=0,  # Without a limit: each try first reads what the others dispatched.
)

_IN_FLIGHT = {"run": 100, "generation": 10}
"""The operations in flight of a batch that does not say how many."""

RUNNING = "running"
"""The verdict of each item of a chunk that has not ended."""

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

_MEMBERS: dict[str, Member] = {
    "features": _LIST,
    "kind": ("'run' or 'generation'", lambda value: value in ("run", "generation")),
    **dict.fromkeys(("project", "siteUrl", "onConflict"), _TEXT),
    **dict.fromkeys(("maxInFlight", "maxFailures", "decideSeconds"), _COUNT),
}

_MEMBERS_OF: dict[str, dict[str, Member]] = {
    "run": {"configs": _LIST, "attempts": _count_to(5)},
    "generation": {"maxGenerations": _COUNT},
}


def problem_of(request: Any) -> str | None:  # noqa: ANN401 - whatever was sent
    """Return what is wrong with a request, in a sentence that names the member; None if nothing."""
    if not isinstance(request, dict):
        return 'the input must be a JSON object such as {"features": ["Checkout"]}'
    given = cast("dict[str, Any]", request)
    members = _MEMBERS | _MEMBERS_OF.get(str(given.get("kind", "run")), {})
    for name, value in given.items():
        if name not in members:
            return f"{name!r} is not a member of such an input, which has {', '.join(members)}"
        wanted, is_right = members[name]
        if not is_right(value):
            return f"{name!r} must be {wanted}, not {str(value)[:60]!r}"
    return None


def _configs_of(request: dict[str, Any]) -> list[Any]:
    return list(request.get("configs", [None]))


def _refused(problem: str) -> ApplicationError:
    return ApplicationError(problem, type="ConfigError", non_retryable=True)


def chunks_of(request: dict[str, Any], features: list[Any]) -> list[list[Any]]:
    """Return the features of each chunk, of nearly equal sizes."""
    count = min(-(-len(features) * len(_configs_of(request)) // CHUNK_SIZE), len(features))
    bounds = [len(features) * index // count for index in range(count + 1)]
    return [features[bounds[index] : bounds[index + 1]] for index in range(count)]


def shares_of(request: dict[str, Any], chunks: int) -> list[int]:
    """Return the operations in flight of each chunk that is handed out, at most `AT_ONCE`."""
    in_flight = request.get("maxInFlight", _IN_FLIGHT[request.get("kind", "run")])
    count = min(chunks, in_flight, AT_ONCE)
    return [in_flight // count + (index < in_flight % count) for index in range(count)]


def _page(request: dict[str, Any], features: list[Any], verdict: str) -> dict[str, Any]:
    """Return the result of a chunk that is running, or skipped."""
    items = [
        {"feature": each, "config": config, "verdict": verdict}
        for each in features
        for config in _configs_of(request)
    ]
    return {"summary": {verdict: len(items)}, "items": items, "undecided": []}


@workflow.defn(name="testvibe.batch")
class BatchWorkflow:
    """One batch of runs or generations, on any number of workers."""

    def __init__(self) -> None:
        self._request: dict[str, Any] = {}
        self._is_cancelled = False
        self._pages: list[dict[str, Any]] = []
        """The result of each chunk, whose items are `running` until it ends."""
        self._failures: dict[int, int] = {}
        """The number of failures of each chunk."""
        self._decisions: list[dict[str, Any]] = []
        self._shares: asyncio.Queue[int] = asyncio.Queue()
        """The operations in flight of each further chunk that may be handed out."""

    @workflow.run
    async def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run the batch; return its summary, without items."""
        if (problem := problem_of(request)) is not None:
            raise _refused(problem)
        self._request = request
        main = asyncio.create_task(self._carry_all())
        while not main.done():
            try:
                await workflow.wait([main])
            except asyncio.CancelledError:
                # It arrives once. Chunks learn of it, stop dispatching, and end.
                self._is_cancelled = True
        main.result()
        return {"summary": self.summary(), "cancelled": self._is_cancelled}

    async def _carry_all(self) -> None:
        request = self._request
        features = await self._features()
        most = request.get("maxGenerations", len(features))
        chunks, skipped = chunks_of(request, features[:most]), features[most:]
        self._pages = [_page(request, each, RUNNING) for each in chunks]
        if skipped:
            self._pages.append(_page(request, skipped, "skipped"))
        for share in shares_of(request, len(chunks)):
            self._shares.put_nowait(share)
        common = {
            "request": {name: value for name, value in request.items() if name != "features"},
            "runId": workflow.info().first_execution_run_id,
            "maxBytes": min(1_000_000, 16_000_000 // len(chunks)),
        }
        jobs = [
            common | {"index": index, "features": each, "rows": [], "decisions": []}
            for index, each in enumerate(chunks)
        ]
        await asyncio.gather(*map(self._carry, jobs))
        while self._undecided({}) and await self._has_decision():
            decisions, self._decisions = self._decisions, []
            again = [
                job | {"rows": page["rows"], "decisions": decisions}
                for job, page in zip(jobs, self._pages, strict=False)
                if page["undecided"]
            ]
            await asyncio.gather(*map(self._carry, again))

    async def _features(self) -> list[Any]:
        """Return the features of the batch."""
        features = self._request.get("features")
        if features is None:
            features = await workflow.execute_activity(
                "testvibe.features",
                self._request,
                start_to_close_timeout=timedelta(minutes=1),
                retry_policy=_RETRIES,
            )
        if len(features) * len(_configs_of(self._request)) > MAX_ITEMS:
            raise _refused(f"'features' must make at most {MAX_ITEMS} items: start several batches")
        return list(features)

    async def _carry(self, job: dict[str, Any]) -> None:
        """Have a chunk carried, once it may have its share of the operations in flight."""
        share, index = await self._shares.get(), job["index"]
        page = await workflow.execute_activity(
            "testvibe.chunk",
            job | {"maxInFlight": share},
            activity_id=f"chunk-{index}",
            start_to_close_timeout=timedelta(days=365),  # The engine requires one.
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=_RETRIES,
        )
        self._shares.put_nowait(share)
        self._pages[index] = page
        self.note_failures(index, sum(page["summary"].get(each, 0) for each in _BAD))

    async def _has_decision(self) -> bool:
        """Wait for a decision, for as long as the input says."""
        timeout = timedelta(seconds=self._request.get("decideSeconds", 0))
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: bool(self._decisions) or self._is_cancelled, timeout=timeout
            )
        return bool(self._decisions) and not self._is_cancelled

    @workflow.signal(name="failures")
    def note_failures(self, index: int, count: int) -> None:
        """Note the number of failures of a chunk, which counts for those of the batch."""
        self._failures[index] = count

    @workflow.query(name="stopped")
    def stopped(self) -> bool:
        """Return whether chunks are to dispatch nothing more."""
        most = self._request.get("maxFailures", MAX_ITEMS + 1)
        return self._is_cancelled or sum(self._failures.values()) >= most

    @workflow.query(name="summary")
    def summary(self) -> dict[str, int]:
        """Return the number of items with each verdict; those of running chunks are `running`."""
        counts = Counter[str]()
        for each in self._pages:
            counts.update(each["summary"])
        return dict(counts)

    @workflow.query(name="items")
    def items(self, page: int = 0) -> dict[str, Any]:
        """Return the items of one chunk, `running` until it ends, and the number of such pages."""
        found = [item for each in self._pages[page : page + 1] for item in each["items"]]
        kind = self._request.get("kind", "run")
        return {"kind": kind, "pages": len(self._pages), "items": found}

    @workflow.update(name="decide")
    def decide(self, decision: dict[str, Any]) -> int:
        """Decide dispatches that are unknown; return their number."""
        self._decisions.append(decision)
        return len(self._undecided(decision))

    @decide.validator
    def _check_decision(self, decision: dict[str, Any]) -> None:
        value = decision.get("decision")
        is_right = value in ("resend", "drop") or isinstance(value, dict)
        if not is_right or {*decision} - {"decision", "feature", "config"}:
            what = "a decision has 'decision' ('resend', 'drop' or a ref), 'feature' and 'config'"
            raise ApplicationError(what)
        if not self._undecided(decision):
            raise ApplicationError("nothing of that is unknown")

    def _undecided(self, decision: dict[str, Any]) -> list[Any]:
        """Return the items that are unknown, and that a decision is for."""
        feature, config = decision.get("feature"), decision.get("config")
        return [
            names
            for page in self._pages
            for *names, own in page["undecided"]
            if (feature is None or _folded(feature) in map(_folded, names))
            and config in (None, own)
        ]
