"""What a batch is to do, as a value that every surface makes, and that is stored with the batch.

It decides the defaults, and which call of the SDK a batch is. It chooses no features: see
`selection`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from attrs import asdict, fields_dict, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from testvibe_async._dispatch import Features
    from testvibe_async.batch import Batch
    from testvibe_async.journal import Journal
    from testvibe_async.operations import Operation
    from testvibe_async.project import Project

__all__ = ["BatchSpec"]

RUNS_IN_FLIGHT = 100
"""How many runs are in flight at once by default."""

GENERATIONS_IN_FLIGHT = 10
"""The same of generations."""


@frozen(kw_only=True)
class BatchSpec:
    """What a batch is to do."""

    kind: Literal["run", "generation"]
    features: Sequence[str] = ()
    """Names, ids, globs such as `Log*`, and exclusions such as `!Log*`."""

    is_all: bool = False
    """Whether all features are meant: those with tests for runs, those without for generations."""

    configs: Sequence[str] = ()
    """The configurations that each feature runs with; none for the service's default one."""

    site_url: str | None = None
    """The site to test or to explore; None for the project's own."""

    on_conflict: Literal["raise", "generate", "attach", "wait"] = "raise"
    """What to do with a feature that has no tests, or is generating."""

    max_in_flight: int | None = None
    """How many operations are in flight at once; None for the default of the kind."""

    stop_on_failure: bool = False
    """Whether nothing more is dispatched once one did not succeed."""

    attempts: int = 1
    """How often a feature may run."""

    repeat: int = 1
    """How often a feature runs whatever the results, which shows how stable it is."""

    stops_when_decided: bool = False
    """Whether nothing more is dispatched once the verdict on each feature's stability stands."""

    @property
    def runs_in_flight(self) -> int:
        """How many runs are in flight at once: repeated ones one by one, not to disturb others."""
        return self.max_in_flight or (RUNS_IN_FLIGHT if self.repeat == 1 else 1)

    @property
    def may_generate(self) -> bool:
        """Whether it may dispatch generations, which cost credits."""
        return self.kind == "generation" or self.on_conflict == "generate"

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON object, for `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Return what `to_dict` wrote; what this release does not know is left out."""
        return cls(**{name: document[name] for name in fields_dict(cls) if name in document})

    async def dispatch(
        self, project: Project, feature: int | str, config: str | None
    ) -> Operation[Any]:
        """Dispatch the operation of one feature, and wait for no more than that needs."""
        if self.kind == "generation":
            return await project.generate_feature(
                feature,
                site_url=self.site_url,
                on_conflict=self.on_conflict,  # type: ignore[arg-type]  # refused where it is none
            )
        return await project.run_feature(
            feature,
            config=config,
            site_url=self.site_url,
            on_conflict=self.on_conflict,  # type: ignore[arg-type]  # likewise
        )

    def start(
        self,
        project: Project,
        features: Features | None,
        configs: Sequence[str | None] | None = None,
        *,
        timeout: float | None,
        journal: Journal | None,
    ) -> Batch[Any]:
        """Return the batch, not opened yet.

        Args:
            project: The features' project.
            features: What `select` returned, or items of an earlier batch; None for those of a
                journal.
            configs: The configurations that `select` returned; None for the service's default one.
            timeout: Seconds that it may take; None for as long as it takes.
            journal: Where it is kept; None for nowhere.
        """
        if self.kind == "generation":
            return project.generate_features(
                features,
                site_url=self.site_url,
                max_in_flight=self.max_in_flight or GENERATIONS_IN_FLIGHT,
                on_conflict=self.on_conflict,  # type: ignore[arg-type]  # refused where it is none
                timeout=timeout,
                stop_on_failure=self.stop_on_failure,
                journal=journal,
            )
        return project.run_features(
            features,
            config=configs,
            site_url=self.site_url,
            max_in_flight=self.runs_in_flight,
            on_conflict=self.on_conflict,  # type: ignore[arg-type]  # likewise
            timeout=timeout,
            stop_on_failure=self.stop_on_failure,
            attempts=self.attempts,
            repeat=self.repeat,
            journal=journal,
        )
