"""Dispatching many operations without waiting for any.

It decides how many dispatches are under way at once. One that can't start is an item with its
error, never the end of the others.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import evolve

from testvibe_async import BatchItem, Feature, VibeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from testvibe_async import Generation, Operation, Run

__all__ = ["Item", "dispatch_all", "in_order", "jobs_of"]

Item: TypeAlias = "BatchItem[Run | Generation]"
"""What became of one feature, or is to become of it."""

DISPATCHES_AT_ONCE = 32


def jobs_of(
    features: Iterable[str | Feature], configs: Sequence[str | None] = (None,)
) -> list[Item]:
    """Return an item for each feature and configuration, of which nothing is known yet."""
    return [
        BatchItem(feature=feature.id, name=feature.name, config=config)
        if isinstance(feature, Feature)
        else BatchItem(feature=feature, config=config)
        for feature in features
        for config in configs
    ]


def in_order(items: Iterable[Item], jobs: Sequence[Item]) -> list[Item]:
    """Return items that came as they ended in the order in which they were asked for."""
    places = {(job.feature, job.config): place for place, job in enumerate(jobs)}
    return sorted(items, key=lambda item: places[item.feature, item.config])


async def dispatch_all(
    jobs: Sequence[Item], dispatch: Callable[[Item], Awaitable[Operation[Any]]]
) -> list[Item]:
    """Dispatch an operation for each job, and return the items with their refs and errors."""
    places = asyncio.Semaphore(DISPATCHES_AT_ONCE)

    async def dispatched(job: Item) -> Item:
        async with places:
            try:
                return evolve(job, ref=(await dispatch(job)).ref)
            except VibeError as error:
                return evolve(job, error=error)

    return await asyncio.gather(*map(dispatched, jobs))
