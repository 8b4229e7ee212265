"""The jobs of a batch, made from the requested features one by one.

Decides which features are the same and thus dispatched once, and how far ahead the caller's
features are read. It never dispatches.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from attrs import evolve, frozen

from testvibe_async._core.util import id_in, plain
from testvibe_async.errors import ConfigError, ResponseError, TransportError
from testvibe_async.events import reported_logger
from testvibe_async.ledger import folded, folded_config
from testvibe_async.models import DEFAULT_CONFIG, Feature
from testvibe_async.outcomes import BatchItem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from testvibe_async.models import Listing

T = TypeVar("T")

Named: TypeAlias = int | str | Feature
"""A feature as the caller names it: its id, its name, or its listed `Feature`."""

Features: TypeAlias = "Iterable[Named | BatchItem[Any]] | AsyncIterable[Named | BatchItem[Any]]"
"""The features of a batch; an item of an earlier batch also carries its configuration."""


@frozen
class Job:
    """One dispatch to make."""

    feature: int | str
    name: str | None = None
    """The feature's name, if known."""

    config: str | None = None
    repetition: int = 1
    """The number of the job among the jobs of the same feature and configuration."""


class JobSource:
    """The jobs of a batch that remain to be read, one by one."""

    def __init__(
        self,
        features: Features | None,
        configs: Sequence[str | None] | None,
        *,
        list_features: Callable[[], Awaitable[Listing[Feature]]],
        default: Callable[[Feature], bool],
        repeat: int = 1,
    ) -> None:
        """Create it; reads nothing yet, but copies a collection.

        Args:
            features: Names, ids, `Feature`s or items of an earlier batch; None for the project's
                features that `default` selects.
            configs: Each feature makes one job for each configuration, and an item one job with its
                own. None for no configurations, in a batch of generations.
            list_features: Lists the project's features.
            default: Selects the features if none are named.
            repeat: Number of jobs for each pair of feature and configuration.
        """
        if isinstance(features, Collection):
            features = list(features)
        self.is_lazy: bool = features is not None and not isinstance(features, list)
        """True if features are read only as slots become free."""
        self.is_named: bool = features is not None
        """True if the caller named features."""
        self._features = features
        self.configs: Sequence[str | None] | None = configs
        """The configurations of each feature; None in a batch of generations."""
        self._list_features = list_features
        self._default = default
        self.repeat: int = repeat
        """Number of jobs for each pair of feature and configuration."""
        self._distinct = _Distinct(list_features)
        self._reader: AsyncIterator[Job] | None = None
        self._failure: Exception | None = None
        """The error that ended the reading."""
        self._lock = asyncio.Lock()

    def has_variants_of(self, jobs: Sequence[Job]) -> bool:
        """Return whether the configurations and repetitions are those of jobs, if any are given."""
        configs = {config or DEFAULT_CONFIG for config in self.configs or ()}
        has_configs = any(self.configs or ())
        is_other = has_configs and configs != {job.config or DEFAULT_CONFIG for job in jobs}
        repeats = max((job.repetition for job in jobs), default=1)
        return not is_other and self.repeat in {1, repeats}

    async def read(self) -> Job | None:
        """Return the next job; None after the last. Concurrent calls are served one by one."""
        async with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._reader is None:
                self._reader = self._jobs()
            try:
                return await anext(self._reader, None)
            except BaseException as error:
                # Whatever a generator raises ends it: it must not seem to have had no more.
                what = "the features can't be read any more: the reading was cancelled"
                self._failure = error if isinstance(error, Exception) else ConfigError(what)
                raise

    async def _jobs(self) -> AsyncIterator[Job]:
        async for chosen in self._chosen():
            if isinstance(chosen, BatchItem):
                feature: Named = chosen.feature
                configs: Sequence[str | None] = [chosen.config if self.configs else None]
            else:
                feature, configs = chosen, self.configs or [None]
            new = [config for config in configs if await self._distinct.is_new(feature, config)]
            if len(new) < len(configs):
                name = plain(str(feature.name)) if isinstance(feature, Feature) else feature
                reported_logger.warning(
                    "feature %r was asked for twice, and is dispatched once", name
                )
            for config in new:
                job = _job(feature, config)
                job = evolve(job, name=job.name or getattr(chosen, "name", None))
                for repetition in range(1, self.repeat + 1):
                    yield evolve(job, repetition=repetition) if repetition > 1 else job

    async def _chosen(self) -> AsyncIterator[Named | BatchItem[Any]]:
        if self._features is None:
            for row in select_features(await self._list_features(), self._default):
                yield row
        elif isinstance(self._features, AsyncIterable):
            async for feature in self._features:
                yield feature
        else:
            for feature in self._features:
                yield feature


def select_features(
    listing: Listing[Feature], is_meant: Callable[[Feature], bool]
) -> list[Feature]:
    """Return the features of a project that are selected by default, without suggestions.

    A warning names undocumented statuses: features with such a status are neither run nor generated
    unless they are named.

    Raises:
        IncompleteListError: The list lacks features.
        ConfigError: It is unknown which features have tests: none of them has a status, or some
            have an undocumented one and no other is selected.
    """
    features = [row for row in listing.require_complete() if not row.is_suggestion]
    if features and all(row.status is None for row in features):
        raise ConfigError("the service says of no feature whether it has tests: name the features")
    unknown = {row.status for row in features if row.has_undocumented_status}
    meant = [row for row in features if is_meant(row)]
    if unknown:
        words = ", ".join(sorted(repr(plain(str(word))) for word in unknown))
        if not meant:
            raise ConfigError(
                f"the service gives features an undocumented status ({words}), and none of the "
                "others is meant: name the features"
            )
        reported_logger.warning(
            "features with an undocumented status (%s) are left out: name them to include them",
            words,
        )
    return meant


class _Distinct:
    """Recognizes a feature that was named before: in any case, by its id, or as it was listed."""

    def __init__(self, list_features: Callable[[], Awaitable[Listing[Feature]]]) -> None:
        self._list_features = list_features
        self._is_listed = False
        self._ids_by_name: dict[str, int] = {}
        # Tuples, since a set for each feature would take 0.2 KiB.
        self._ids: dict[int, tuple[str, ...]] = {}
        """The configurations with which each feature was named."""
        self._bare_names: dict[str, tuple[str, ...]] = {}
        """The same for names whose id is unknown."""

    async def is_new(self, feature: Named, config: str | None) -> bool:
        """Record a feature with a configuration; return False if it was named before."""
        name, number = _identity(feature)
        if name is not None and number is not None:
            self._learn(name, number)
        elif name is not None:
            number = await self._id_of(name)
        elif self._bare_names:
            await self._list()
        if number is not None:
            return _add(config, self._ids, number)
        return name is None or _add(config, self._bare_names, name)

    async def _id_of(self, name: str) -> int | None:
        """Return a feature's id if known; read it if a named id may be the same feature."""
        if self._ids and name not in self._ids_by_name:
            await self._list()
        return self._ids_by_name.get(name)

    async def _list(self) -> None:
        """Read the ids of all names, once: only the service knows which name has which id."""
        if self._is_listed:
            return
        self._is_listed = True
        # Without the list, a feature that is named by name and by id runs twice.
        with suppress(TransportError, ResponseError):
            for row in await self._list_features():
                self._learn(folded(row.name), row.id)

    def _learn(self, name: str, number: int) -> None:
        self._ids_by_name[name] = number
        for config in self._bare_names.pop(name, ()):
            _add(config, self._ids, number)


def _add(config: str | None, named: dict[T, tuple[str, ...]], key: T) -> bool:
    """Add a configuration to a feature's configurations; return False if it was present."""
    configs, config = named.get(key, ()), folded_config(config)
    if config in configs:
        return False
    named[key] = (*configs, config)
    return True


def _identity(feature: Named) -> tuple[str | None, int | None]:
    """Return a feature's folded name and its id, each None if it is not given.

    A value that is neither has no identity, and the dispatch refuses it later.
    """
    if isinstance(feature, Feature):
        return folded(feature.name) or None, feature.id
    if isinstance(feature, str):
        number = id_in(feature)
        return (folded(feature) if number is None else None), number
    return None, feature if type(feature) is int else None


def _job(feature: Named, config: str | None) -> Job:
    if isinstance(feature, Feature):
        return Job(feature.id, feature.name, config)
    return Job(feature, feature if isinstance(feature, str) else None, config)
