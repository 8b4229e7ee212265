"""One operation as it was last seen, and how all of a command's stand at one moment.

Values alone. They decide how a state is called in a word or two, and never how it is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from testvibe_async import Generation, Phase, Run, RunRef
from testvibe_async.cli.words import clean, many, reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async import Ref, VibeError

__all__ = ["Row", "Standing"]


@frozen(kw_only=True)
class Row:
    """One operation, as it was last seen. Instants are seconds of one clock."""

    feature: str
    """The feature's name."""

    config: str | None = None
    """The configuration that was asked for; None for the default one."""

    ref: Ref | None = None
    """The operation; None where it could not be dispatched."""

    phase: Phase = Phase.QUEUED
    status: str | None = None
    """The service's own word; None before it was asked."""

    snapshot: object = None
    """The `Run` or `Generation` that was last seen; None before the first look."""

    error: VibeError | None = None
    """Why it could not be dispatched, or not be observed."""

    began: float
    """When it was dispatched."""

    ended: float | None = None
    """When it was seen to be over, or given up; None while it is not."""

    @property
    def name(self) -> str:
        """What it is of: the feature, and the configuration where one was asked for."""
        return clean(f"{self.feature} [{self.config}]" if self.config else self.feature)

    @property
    def operation(self) -> str:
        """What it is: `run 214`, or `generation`, whose id is too long for a table."""
        if self.ref is None:
            return "—"
        return str(self.ref) if isinstance(self.ref, RunRef) else self.ref.kind

    @property
    def word(self) -> str:
        """How it stands: `queued`, and from then on the service's own word; or `error`."""
        if self.error is not None:
            return "error"
        if self.phase is Phase.QUEUED or self.status is None:
            return self.phase.value
        return clean(self.status)

    @property
    def result(self) -> str:
        """What is known of how it went, in a few words; empty where nothing is yet."""
        if self.error is not None:
            return reason(self.error)
        if isinstance(self.snapshot, Run):
            return _run_result(self.snapshot)
        if isinstance(self.snapshot, Generation):
            return _generation_result(self.snapshot)
        return ""

    @property
    def is_bad(self) -> bool:
        """Whether it is over and did not go well."""
        return self.ended is not None and self.word in {"failed", "error", "cancelled"}

    def elapsed(self, now: float) -> float:
        """Return the seconds since the dispatch, up to the end where it is over."""
        return (now if self.ended is None else self.ended) - self.began


@frozen(kw_only=True)
class Standing:
    """How a command's operations stand at one moment."""

    rows: Sequence[Row]
    """All that were dispatched or given up, in that order."""

    asked: int
    """How many were asked for; those that have no row wait to be dispatched."""

    ended: int
    """How many are over, or given up."""

    began: float
    """When the command began, by the clock of the rows."""

    now: float

    @property
    def waiting(self) -> int:
        """How many are still to be dispatched."""
        return self.asked - len(self.rows)


def _run_result(run: Run) -> str:
    if run.summary is None or not run.is_finished:
        return ""
    if run.summary.failed:
        return f"{run.summary.failed} of {many(run.summary.total, 'test')} failed"
    if run.summary.passed < run.summary.total:
        return f"{run.summary.passed} of {many(run.summary.total, 'test')} passed"
    return f"{many(run.summary.total, 'test')} passed"


def _generation_result(generation: Generation) -> str:
    if not generation.sections:
        return ""
    over = sum(section.conclusion is not None for section in generation.sections)
    return f"{over} of {many(len(generation.sections), 'section')}"
