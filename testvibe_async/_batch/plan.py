"""The plan of a batch, as its journal or store saves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

if TYPE_CHECKING:
    from testvibe_async.errors import KindName

__all__ = ["Plan", "difference"]


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


def difference(planned: Plan, asked: Plan) -> str:
    """Describe how a plan differs from the requested one."""
    for name in ("kind", "server", "project"):
        if getattr(planned, name) != getattr(asked, name):
            return (
                f"has a batch of another {name}: {getattr(planned, name)}, not "
                f"{getattr(asked, name)}; take another file"
            )
    return f"has a batch for the site {planned.site_url}, not {asked.site_url}; take another file"
