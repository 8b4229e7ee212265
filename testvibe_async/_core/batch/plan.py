"""The plan of a batch, as the ledger keeps it in the batch's first row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from attrs import astuple, evolve, field, frozen

from testvibe_async._core.batch.jobs import Job
from testvibe_async._core.config import require_count, require_timeout
from testvibe_async.errors import ConfigError
from testvibe_async.ledger import Row, RowState, describe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from testvibe_async.errors import KindName


@frozen(kw_only=True)
class Plan:
    """The settings common to all features of a batch."""

    kind: KindName
    server: str
    project: str
    key: str
    is_keyed: bool
    """True if the caller named the batch, so that the same call resumes it."""

    site_url: str | None = None
    """The site of all operations; None for that of the first call, or the project's own."""

    attempts: int = 1
    """Maximum number of runs of a feature in total."""

    on_conflict: str = "raise"
    """The reaction to a feature whose state does not allow the dispatch."""

    missing_only: bool = False
    """True to generate nothing of a feature that has tests by then."""

    said: Mapping[str, Any] = field(factory=dict[str, Any])
    """The attempts, reaction and `missing_only` that this call, and not the first, sets."""

    options: Mapping[str, Any] = field(factory=dict[str, Any])
    """Further values that the caller wants back: plain JSON."""

    jobs: Sequence[Job] = ()
    """The jobs of a batch with a key, once they are read."""

    def row(self) -> Row:
        """Return the first row of the batch."""
        return Row(
            server=self.server,
            project=self.project,
            key=self.key,
            kind=self.kind,
            site_url=self.site_url,
            state=RowState.PLANNED,
            plan={
                "attempts": self.attempts,
                "onConflict": self.on_conflict,
                "missingOnly": self.missing_only,
                "options": dict(self.options),
                "jobs": [list(astuple(job)) for job in self.jobs],
            },
        )

    def with_stored(self, row: Row) -> Self:
        """Return the plan with what the first row of the batch adds to it.

        Raises:
            ConfigError: The row is of a single dispatch, or of a batch of another kind or site.
        """
        if row.plan is None:
            single = describe(kind=row.kind, feature=row.feature, config=row.config)
            raise ConfigError(
                f"key {row.key!r} is that of {single}, not of a batch: take another key"
            )
        if row.kind != self.kind or self.site_url not in {None, row.site_url}:
            raise ConfigError(
                f"key {row.key!r} is that of a batch of {_words(row.kind, row.site_url)}, not of "
                f"{_words(self.kind, self.site_url)}: take another key"
            )
        stored = row.plan
        settings = {
            "attempts": stored["attempts"],
            "on_conflict": stored["onConflict"],
            "missing_only": stored["missingOnly"],
            **self.said,
        }
        return evolve(
            self,
            site_url=row.site_url,
            options=stored["options"],
            jobs=[Job(*job) for job in stored["jobs"]],
            **settings,
        )


def _words(kind: str, site_url: str | None) -> str:
    return f"{kind}s" if site_url is None else f"{kind}s on {site_url}"


@frozen
class Limits:
    """The limits of one process on a batch; a wrong one raises a `ConfigError`."""

    max_in_flight: int
    """Maximum number of operations in flight at once."""
    timeout: float | None = field(converter=require_timeout)
    """Seconds after which nothing more is dispatched or waited for; None for no limit."""
    stop_on_failure: int
    """Number of failed features at which dispatching stops; 0 for none."""
    max_unread: int | None = None
    """Number of items that the caller may leave unread, before each further one keeps its slot."""

    def __attrs_post_init__(self) -> None:
        """Refuse a count that is none."""
        require_count("max_in_flight", self.max_in_flight)
        if self.max_unread != 0 and self.max_unread is not None:
            require_count("max_unread", self.max_unread)
        count: object = self.stop_on_failure
        if not isinstance(count, int) or count < 0:
            raise ConfigError(
                f"stop_on_failure must be True, False or a whole number, not {count!r}"
            )
