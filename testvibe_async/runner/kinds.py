"""The kinds of operations as the surfaces treat them: a row for each, with its policy and commands.

A difference in data is listed here, once. A difference in behaviour is a `match` over the kinds
that a type checker finds incomplete. What the service calls a kind is in `_core.wire`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from testvibe_async.errors import KindName
    from testvibe_async.models import Feature


@frozen(kw_only=True)
class KindPolicy:
    """The treatment of one kind of operation."""

    in_flight: int
    """Default maximum number of operations in flight."""

    conflicts: Collection[str]
    """The states of a feature, as in a `Selection`, in which the service refuses an operation."""

    costs_credits: bool
    """True if each operation costs credits: a limit counts it, and it is never simply repeated."""

    is_repeatable: bool
    """True if a batch takes configurations, further attempts and repetitions of each feature."""

    is_meant: Callable[[Feature], bool]
    """Returns whether a feature is one of all, if none are named."""

    command: str
    """The command that starts such an operation."""

    shown_by: Sequence[str]
    """The command that shows the operations of a feature."""


POLICIES: Mapping[KindName, KindPolicy] = {
    "run": KindPolicy(
        in_flight=100,
        conflicts={"missing", "generating"},
        costs_credits=False,
        is_repeatable=True,
        is_meant=lambda feature: feature.has_tests,
        command="run",
        shown_by=("runs", "list", "--feature"),
    ),
    "generation": KindPolicy(
        in_flight=10,
        conflicts={"generating"},
        costs_credits=True,
        is_repeatable=False,
        is_meant=lambda feature: feature.needs_tests,
        command="generate",
        shown_by=("generation", "status"),
    ),
}
"""All kinds, by name."""
