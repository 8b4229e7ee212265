"""The jobs of a command: one for each feature and configuration, and the items that they become.

It decides how many dispatches are under way at once, and waits for no operation. Which features are
meant is decided in `testvibe_async.runner`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import evolve

from testvibe_async import BatchItem, Feature, Run, VibeError
from testvibe_async.cli.words import unless_default
from testvibe_async.runner.generation_limit import with_limit_named

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from testvibe_async import Generation, Operation

__all__ = [
    "Item",
    "dispatch_all",
    "in_order",
    "item_name",
    "jobs_of",
]

Item: TypeAlias = "BatchItem[Run | Generation]"
"""A job, and from its dispatch on its ref, its outcome or its error."""

DISPATCHES_AT_ONCE = 32


def jobs_of(
    features: Iterable[str | Feature], configs: Sequence[str | None] = (None,)
) -> list[Item]:
    """Return a job for each feature and configuration: an item without ref and outcome."""
    return [
        BatchItem(feature=feature.id, name=feature.name, config=config)
        if isinstance(feature, Feature)
        else BatchItem(feature=feature, config=config)
        for feature in features
        for config in configs
    ]


def in_order(items: Iterable[Item], jobs: Sequence[Item]) -> list[Item]:
    """Return items, which come in order of completion, in the order of their jobs."""
    places = {(job.feature, job.config): place for place, job in enumerate(jobs)}
    return sorted(items, key=lambda item: places[item.feature, item.config])


def item_name(item: Item) -> str:
    """Return a feature's name, and the configuration where it is not the default one."""
    config = item.config
    if config is None and isinstance(item.outcome, Run):
        config = item.outcome.config
    config = unless_default(config)
    return f"{item.feature_name} [{config}]" if config else item.feature_name


async def dispatch_all(
    jobs: Sequence[Item], dispatch: Callable[[Item], Awaitable[Operation[Any]]]
) -> list[Item]:
    """Dispatch an operation for each job, and return the items with their refs or errors.

    A job that can't be dispatched becomes an item with its error; the others go on.
    """
    slots = asyncio.Semaphore(DISPATCHES_AT_ONCE)

    async def dispatched(job: Item) -> Item:
        async with slots:
            try:
                return evolve(job, ref=(await dispatch(job)).ref)
            except VibeError as error:
                return with_limit_named(evolve(job, error=error))

    return await asyncio.gather(*map(dispatched, jobs))
