"""The time that is left of a batch, by how long its features took in the last batches.

Decides what counts as history. Where that says nothing of a feature which is not over, nothing is
estimated.
"""

from __future__ import annotations

from functools import partial
from heapq import heapify, heappop, heappush
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

from attrs import evolve

from testvibe_async.runner.words import seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from testvibe_async.cli.progress import Row
    from testvibe_async.runner.history import Batches, KeptBatch

    Durations: TypeAlias = Mapping[tuple[str, str | None], float]
    """The usual seconds of features with their configurations, by the keys of their items."""

BATCHES = 5
"""Number of the last batches that count."""


async def estimate_of(
    batch: KeptBatch, batches: Batches
) -> Callable[[Iterable[Row], float], float | None]:
    """Return a function that estimates when a batch ends, by its rows and the present."""
    found: dict[tuple[str, str | None], list[float]] = {}
    earlier = await batches.here(batch.place, kind=batch.kind)
    for heading in [each for each in earlier if each.number != batch.number][:BATCHES]:
        for item in (await batches.read(heading)).items:
            if seconds := seconds_of([evolve(item, earlier=())]):
                found.setdefault(item.key, []).append(seconds)
    usual = {key: median(seconds) for key, seconds in found.items()}
    return partial(remaining_seconds, usual, batch.spec.in_flight)


def remaining_seconds(
    usual: Durations, in_flight: int, rows: Iterable[Row], now: float
) -> float | None:
    """Return after how many seconds a batch is likely to end; None if history says nothing.

    Args:
        usual: How long its operations usually take.
        in_flight: Maximum number of operations in flight.
        rows: The operations.
        now: The present, by the clock of the rows.
    """
    ends: list[float] = []
    waiting: list[float] = []
    for row in rows:
        if row.is_final:
            continue
        if (seconds := usual.get(row.item.key)) is None:
            return None
        if row.item.ref is None:
            waiting.append(seconds)
        else:
            ends.append(max(seconds - row.elapsed(now), 0.0))
    heapify(ends)
    for seconds in waiting:
        begin = heappop(ends) if len(ends) >= in_flight else 0.0
        heappush(ends, begin + seconds)
    return max(ends, default=None)
