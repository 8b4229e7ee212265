"""The plan of a batch, as its journal or store saves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from testvibe_async._config import require_count, require_timeout
from testvibe_async.errors import ConfigError

if TYPE_CHECKING:
    from testvibe_async.errors import KindName


@frozen(kw_only=True)
class Plan:
    """The plan of a batch: the settings common to all its features."""

    kind: KindName
    server: str
    project: str
    site_url: str | None = None
    attempts: int = field(default=1, eq=False)
    """Maximum number of runs of a feature in total."""
    on_conflict: str = field(default="raise", eq=False)
    """The reaction to a feature whose state does not allow the dispatch."""
    missing_only: bool = field(default=False, eq=False)
    """True to generate nothing of a feature that has tests by then."""
    options: dict[str, Any] = field(factory=dict[str, Any], eq=False)
    """Further values that the caller wants back after a crash; any JSON."""


@frozen
class Limits:
    """The limits of one process on a batch; a wrong one raises a `ConfigError`."""

    max_in_flight: int
    """Maximum number of operations in flight at once."""
    timeout: float | None = field(converter=require_timeout)
    """Seconds after which nothing more is dispatched or waited for; None for no limit."""
    stop_on_failure: int
    """Number of failed features at which dispatching stops; 0 for none."""

    def __attrs_post_init__(self) -> None:
        """Refuse a count that is none."""
        require_count("max_in_flight", self.max_in_flight)
        count: object = self.stop_on_failure
        if not isinstance(count, int) or count < 0:
            raise ConfigError(
                f"stop_on_failure must be True, False or a whole number, not {count!r}"
            )


def difference(planned: Plan, asked: Plan) -> str:
    """Describe how a plan differs from the requested one."""
    for name in ("kind", "server", "project"):
        if getattr(planned, name) != getattr(asked, name):
            return (
                f"has a batch of another {name}: {getattr(planned, name)}, not "
                f"{getattr(asked, name)}; take another file"
            )
    return f"has a batch for the site {planned.site_url}, not {asked.site_url}; take another file"
