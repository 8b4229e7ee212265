"""What a command dispatches: the features chosen by name, id, glob or `--all`, one job for each.

It decides what was meant by what was typed, and how many dispatches are under way at once. It asks
the service for its list of features only where that is needed, and waits for no operation.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import evolve

from testvibe_async import (
    BatchItem,
    ConfigError,
    Feature,
    ResponseError,
    Run,
    TransportError,
    VibeError,
)
from testvibe_async._dispatch import select_features
from testvibe_async._util import escape
from testvibe_async.cli import cache
from testvibe_async.cli.words import unless_default
from testvibe_async.runner.generation_limit import with_limit_named

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from testvibe_async import Generation, Operation, Project

__all__ = [
    "Item",
    "choose",
    "dispatch_all",
    "in_order",
    "item_name",
    "jobs_of",
    "matches_several",
]

Item: TypeAlias = "BatchItem[Run | Generation]"
"""A job, and from its dispatch on its ref, its outcome or its error."""

DISPATCHES_AT_ONCE = 32

SHOWN_NAMES = 3
"""How many names are given as examples where a glob matches none."""


async def choose(
    project: Project,
    typed: Sequence[str],
    *,
    everything: Callable[[Feature], bool] | None,
    note: Callable[[str], object] = lambda _: None,
) -> list[str | Feature]:
    """Return the features that a command is about, each once, in the order typed.

    Args:
        project: The features' project.
        typed: Names, ids and globs.
        everything: With `--all`, which features to take; None without it.
        note: Is told what was left out, and what was named twice.

    Raises:
        ConfigError: Nothing was typed, or names as well as `--all`, or a glob matches no feature.
        IncompleteListError: The list of features is needed, and not whole.
    """
    if everything is not None:
        if typed:
            raise ConfigError(f"--all takes no names: leave out --all, or {typed[0]!r}")
        listing = await project.list_features()
        cache.keep(project.id, features=[each.name for each in listing])
        chosen = select_features(listing, everything)
        if left_out := _left_out(listing, chosen):
            note(f"Left out: {left_out}.")
        return [*chosen]
    if not typed:
        raise ConfigError("which features? Give names, ids or globs such as 'Log*', or --all")
    if any(map(_is_glob, typed)):
        return _matching(await _listed(project), typed, note)
    names = {name.casefold(): name for name in typed}
    if 0 < sum(name.isdecimal() for name in names.values()) < len(names):
        # Only the list says which name has which id.
        with suppress(ResponseError, TransportError):
            return _matching(await project.list_features(), typed, note)
    if len(names) < len(typed):
        note(_twice(name for name, times in Counter(map(str.casefold, typed)).items() if times > 1))
    return [*names.values()]


def _left_out(listing: Iterable[Feature], chosen: Sequence[Feature]) -> str:
    """Say which features `--all` does not mean, and why; empty where it means each."""
    ids = {each.id for each in chosen}
    by_reason: dict[str, list[str]] = {}
    for each in listing:
        if each.id not in ids and (why := _why_left_out(each)):
            by_reason.setdefault(why, []).append(escape(each.name))
    return "; ".join(f"{why}: {_some(names)}" for why, names in by_reason.items())


def _why_left_out(feature: Feature) -> str | None:
    """Return why `--all` leaves a feature out; None where nobody would think otherwise."""
    if feature.is_suggestion:
        return "suggested only"
    if feature.has_undocumented_status:
        return f"status {escape(str(feature.status))!r}, which is not documented"
    return None if feature.has_tests else f"without tests ({escape(str(feature.status))})"


def _some(names: Sequence[str]) -> str:
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def _twice(names: Iterable[str]) -> str:
    return f"Named twice, and meant once: {', '.join(escape(name) for name in names)}."


def matches_several(typed: Sequence[str], chosen: Iterable[str | Feature]) -> bool:
    """Return whether one of the words that were typed matches several of the features chosen."""
    features = [each for each in chosen if not isinstance(each, str)]
    return any(len(_matches_of(word, features)) > 1 for word in typed)


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


async def _listed(project: Project) -> list[Feature]:
    listing = (await project.list_features()).require_complete()
    cache.keep(project.id, features=[each.name for each in listing])
    return [each for each in listing if not each.is_suggestion]


def _is_glob(text: str) -> bool:
    return any(sign in text for sign in "*?[")


def _matching(
    features: Sequence[Feature], typed: Sequence[str], note: Callable[[str], object]
) -> list[str | Feature]:
    """Return what each pattern matches; a name that is not listed is kept for the service."""
    chosen: dict[int | str, str | Feature] = {}
    twice: list[str] = []
    for pattern in typed:
        found = _matches_of(pattern, features)
        if not found and _is_glob(pattern):
            raise ConfigError(f"no feature matches {pattern!r}: {_examples(features)}")
        twice += [each.name for each in found if each.id in chosen and not _is_glob(pattern)]
        for each in found:
            chosen[each.id] = each
        if not found:
            chosen[pattern.casefold()] = pattern
    if twice:
        note(_twice(dict.fromkeys(twice)))
    return list(chosen.values())


def _matches_of(pattern: str, features: Sequence[Feature]) -> list[Feature]:
    """Return the feature of that name or id; else those whose names match it as a glob."""
    pattern = pattern.casefold()
    exact = [each for each in features if pattern in {each.name.casefold(), str(each.id)}]
    return exact or [each for each in features if fnmatchcase(each.name.casefold(), pattern)]


def _examples(features: Sequence[Feature]) -> str:
    if not features:
        return "the project has none"
    names = ", ".join(repr(each.name) for each in features[:SHOWN_NAMES] if each.name)
    if not names:
        return "the service lists its features without names, so give ids"
    return f"the project has {len(features)}, such as {names}"
