"""The description of a batch: what every surface asks for, and what is kept with the batch.

Decides the defaults, and which call of the SDK performs a batch. It selects no features: see
`selection`.
"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any, Literal, Self

from attrs import asdict, field, fields_dict, frozen

from testvibe_async.errors import ConfigError
from testvibe_async.runner.limit import with_limit_named
from testvibe_async.runner.quarantine import NO_QUARANTINE, Quarantine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from testvibe_async.batch import Batch, Features, StoredBatch
    from testvibe_async.errors import KindName
    from testvibe_async.outcomes import BatchItem
    from testvibe_async.project import Project


IN_FLIGHT: Mapping[KindName, int] = {"run": 100, "generation": 10}
"""Default maximum number of operations in flight, by their kind."""


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

    quarantine: Quarantine | None = None
    """The failures that are excused; None if it is not known which were."""

    left_out: Mapping[str, str] = field(factory=dict[str, str])
    """The features that were left out for want of tests, each with the reason."""

    project_name: str | None = None
    """The name that was given for the project; None if an id was given."""

    files: Mapping[str, Any] = field(factory=dict[str, Any])
    """The files to write, as the command line keeps them."""

    is_named: bool = True
    """True if a person chose the key; otherwise it is random, and not shown."""

    def __attrs_post_init__(self) -> None:
        """Refuse what a batch can't be."""
        url = self.site_url
        if url is not None and not re.match(r"https?://[^\s/]+(/\S*)?$", url):
            raise ConfigError(f"the site must be a URL such as https://shop.example, not {url!r}")
        if self.repeat > 1 and self.attempts > 1:
            raise ConfigError("repeated runs take no further attempts: each run counts by itself")
        if self.kind != "run" and max(self.repeat, self.attempts) > 1:
            raise ConfigError(f"{self.kind}s take no further attempts and no repetitions")

    @classmethod
    def of(cls, batch: StoredBatch) -> Self:
        """Return the description that a batch keeps; the defaults for another program's batch."""
        names = ("kind", "site_url", "attempts", "on_conflict")
        facts: dict[str, Any] = {name: getattr(batch, name) for name in names}
        try:
            kept: dict[str, Any] = batch.options["spec"]
            known = {name: kept[name] for name in fields_dict(cls) if name in kept}
            if kept["quarantine"] is not None:
                known["quarantine"] = Quarantine.from_dict(kept["quarantine"])
            return cls(**known | facts)
        except (AttributeError, KeyError, TypeError, ValueError):
            return cls(**facts)

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON object, as a batch keeps it."""
        return asdict(
            self, value_serializer=lambda _, __, v: v.isoformat() if isinstance(v, date) else v
        )

    @property
    def in_flight(self) -> int:
        """Number of operations in flight at once; of repeated runs one, to disturb no other."""
        usual = IN_FLIGHT[self.kind] if self.repeat == 1 else 1
        return usual if self.max_in_flight is None else self.max_in_flight

    def start(
        self,
        project: Project,
        features: Features | None,
        *,
        key: str,
        timeout: float | None = None,
    ) -> Batch[Any]:
        """Return the batch, not opened yet; its finished items are marked by the quarantine.

        Args:
            project: The features' project.
            features: The jobs of a `Selection`, or features; None for those that the batch of the
                key has.
            key: The key of the batch in the client's ledger, which keeps this with a new one.
            timeout: Seconds that it may take; None for as long as it takes.
        """
        common: dict[str, Any] = {
            "site_url": self.site_url,
            "max_in_flight": self.in_flight,
            "on_conflict": self.on_conflict,
            "timeout": timeout,
            "stop_on_failure": self.max_failures or False,
            "key": key,
            "options": {"spec": self.to_dict()},
        }
        batch: Batch[Any]
        match self.kind:
            case "run":
                common |= {"attempts": self.attempts, "repeat": self.repeat}
                batch = project.run_features(features, **common)
            case "generation":
                batch = project.generate_features(features, missing_only=self.is_all, **common)
        batch.mark_with(self.mark)
        return batch

    def mark(self, item: BatchItem[Any]) -> BatchItem[Any]:
        """Return an item of the batch, with the effect of its quarantine and of the limit."""
        return (self.quarantine or NO_QUARANTINE).mark(with_limit_named(item))
