"""The description of a batch, as a value that every surface creates and that is stored with it.

Decides the defaults, which call of the SDK performs a batch, and what the service will refuse for
certain. It selects no features: see
`selection`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, Self, assert_never

from attrs import asdict, evolve, field, fields_dict, frozen

from testvibe_async.errors import ConfigError
from testvibe_async.runner.generation_limit import with_limit_named
from testvibe_async.runner.kinds import POLICIES
from testvibe_async.runner.quarantine import NO_QUARANTINE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from testvibe_async.batch import Batch, Features
    from testvibe_async.errors import KindName
    from testvibe_async.outcomes import BatchItem
    from testvibe_async.project import Project
    from testvibe_async.runner.quarantine import Quarantine


@frozen
class Forecast:
    """The known dispatches that a batch will make."""

    dispatched: list[BatchItem[Any]] = field(factory=list["BatchItem[Any]"])
    refused: list[BatchItem[Any]] = field(factory=list["BatchItem[Any]"])
    """Runs of a feature without tests, and generations of one that is being generated."""

    limited: list[BatchItem[Any]] = field(factory=list["BatchItem[Any]"])
    """Generations beyond the limit."""


@frozen(kw_only=True)
class BatchSpec:
    """The description of a batch.

    Raises:
        ConfigError: The site is no URL; repeated runs are to have further attempts; or the kind
            takes neither.
    """

    kind: KindName
    features: Sequence[str] = ()
    """Names, ids, globs such as `Log*`, and exclusions such as `!Log*`."""

    is_all: bool = False
    """True to select all features: for runs those with tests, for generations those without."""

    configs: Sequence[str] = ()
    """The configurations that each feature runs with; none for the service's default one."""

    site_url: str | None = None
    """The site to test or to explore; None for the project's own."""

    on_conflict: Literal["raise", "attach", "wait"] = "raise"
    """The treatment of a feature that is generating."""

    max_in_flight: int | None = None
    """Maximum number of operations in flight; None for the default of the kind."""

    max_failures: int | None = None
    """Number of failures after which nothing more is dispatched; None for no limit."""

    attempts: int = 1
    """Maximum number of attempts for each feature."""

    repeat: int = 1
    """Number of runs of each feature, independent of their results, to show its stability."""

    def __attrs_post_init__(self) -> None:
        """Refuse what a batch can't be."""
        url = self.site_url
        if url is not None and not re.match(r"https?://[^\s/]+(/\S*)?$", url):
            raise ConfigError(f"the site must be a URL such as https://shop.example, not {url!r}")
        if self.repeat > 1 and self.attempts > 1:
            raise ConfigError("repeated runs take no further attempts: each run counts by itself")
        if max(self.repeat, self.attempts) > 1 and not POLICIES[self.kind].is_repeatable:
            raise ConfigError(f"{self.kind}s take no further attempts and no repetitions")

    @property
    def in_flight(self) -> int:
        """Number of operations in flight at once; of repeated runs one, to disturb no other."""
        usual = POLICIES[self.kind].in_flight if self.repeat == 1 else 1
        return usual if self.max_in_flight is None else self.max_in_flight

    def repeated(self, jobs: Sequence[BatchItem[Any]]) -> list[BatchItem[Any]]:
        """Return an item for each run of these jobs."""
        numbers = range(1, self.repeat + 1)
        return [evolve(job, repetition=number) for job in jobs for number in numbers]

    def forecast(
        self,
        jobs: Iterable[BatchItem[Any]],
        states: Mapping[int | str, str],
        *,
        max_generations: int | None = None,
    ) -> Forecast:
        """Return what the batch will do with its jobs, for certain or at most.

        Args:
            jobs: An item for each operation.
            states: The states of a `Selection`.
            max_generations: Maximum number of generations; None for no limit.
        """
        found, policy = Forecast(), POLICIES[self.kind]
        for job in jobs:
            if self.on_conflict == "raise" and states.get(job.feature) in policy.conflicts:
                found.refused.append(job)
            elif max_generations is not None and len(found.dispatched) >= max_generations:
                found.limited.append(job)
            else:
                found.dispatched.append(job)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON object, for `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Return the spec that `to_dict` wrote; unknown members are ignored."""
        return cls(**{name: document[name] for name in fields_dict(cls) if name in document})

    def start(  # noqa: PLR0913 - each by name
        self,
        project: Project,
        features: Features | None,
        configs: Sequence[str | None] | None = None,
        *,
        timeout: float | None = None,
        key: str | None = None,
        options: Mapping[str, Any] | None = None,
        quarantine: Quarantine = NO_QUARANTINE,
    ) -> Batch[Any]:
        """Return the batch, not opened yet.

        Args:
            project: The features' project.
            features: The features or the jobs of a `Selection`, or items of an earlier batch; None
                for those that the batch of the key has.
            configs: The configurations that each feature runs with; None for the default one. An
                item has its own.
            timeout: Seconds that it may take; None for as long as it takes.
            key: The key of the batch in the client's ledger; None for none.
            options: Values that are kept with a new key.
            quarantine: The failures that are excused.
        """
        common: dict[str, Any] = {
            "site_url": self.site_url,
            "max_in_flight": self.in_flight,
            "on_conflict": self.on_conflict,
            "timeout": timeout,
            "stop_on_failure": self.max_failures or False,
            "key": key,
            "options": options,
        }
        batch: Batch[Any]
        match self.kind:
            case "run":
                batch = project.run_features(
                    features, config=configs, attempts=self.attempts, repeat=self.repeat, **common
                )
            case "generation":
                batch = project.generate_features(features, missing_only=self.is_all, **common)
            case _:
                assert_never(self.kind)
        batch.mark_with(lambda item: quarantine.mark(with_limit_named(item)))
        return batch
