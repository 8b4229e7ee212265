"""What a batch is to do, as its journal or store keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

if TYPE_CHECKING:
    from testvibe_async.errors import KindName

__all__ = ["Plan", "difference"]


@frozen(kw_only=True)
class Plan:
    """What a batch is to do."""

    kind: KindName
    server: str
    project: str
    site_url: str | None = None
    attempts: int = field(default=1, eq=False)
    """How often a feature may run in total."""
    on_conflict: str = field(default="raise", eq=False)
    """What to do with a feature whose state does not allow the dispatch."""
    options: dict[str, Any] = field(factory=dict[str, Any], eq=False)
    """What else its caller wants to know after a crash; any JSON."""


def difference(planned: Plan, asked: Plan) -> str:
    """Say in what a plan differs from the one that was asked for."""
    for name in ("kind", "server", "project"):
        if getattr(planned, name) != getattr(asked, name):
            return (
                f"has a batch of another {name}: {getattr(planned, name)}, not "
                f"{getattr(asked, name)}; take another file"
            )
    return f"has a batch for the site {planned.site_url}, not {asked.site_url}; take another file"
