"""One operation as it was last seen: the one word for its state, and its result in a few words.

It decides the word, and how long an operation took. How a row looks is decided in `table` and
`lines`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from testvibe_async import DispatchUnknownError, Generation, Phase, Run, RunRef
from testvibe_async._util import escape
from testvibe_async.cli.words import UNSEEN, plural, reason
from testvibe_async.runner.generation_limit import LIMITED, GenerationLimitError

if TYPE_CHECKING:
    from testvibe_async import Ref, VibeError

__all__ = ["Row"]

_BAD = {"failed", "error", "unknown", "cancelled"}


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
    """The service's own word; None before the first poll."""

    snapshot: object = None
    """The `Run` or `Generation` that was last seen; None before the first poll."""

    error: VibeError | None = None
    """Why it could not be dispatched, or not be observed."""

    note: str = ""
    """The last line of its log; empty where none was read."""

    earlier: tuple[Run, ...] = ()
    """The outcomes of the attempts before, each of them failed."""

    started: float
    """When it was dispatched, or first seen here."""

    is_attached: bool = False
    """Whether it was dispatched elsewhere, or by a command before."""

    ended: float | None = None
    """When it was seen to be over, or given up; None while it is not."""

    is_unseen: bool = False
    """Whether the command ended in an outage, and nobody knows how it goes."""

    @property
    def name(self) -> str:
        """The feature, and the configuration where one was asked for."""
        return escape(f"{self.feature} [{self.config}]" if self.config else self.feature)

    @property
    def operation(self) -> str:
        """The operation: `run 214`, or `generation`, whose id is too long for a table."""
        if self.ref is None:
            return "—"
        return str(self.ref) if isinstance(self.ref, RunRef) else self.ref.kind

    @property
    def word(self) -> str:
        """The state: `queued`, and from then on the service's own word, or one of ours.

        Ours are `error`, `unknown` where it may have been dispatched, and `flaky` where it passed
        after an attempt that failed.
        """
        if isinstance(self.error, GenerationLimitError):
            return LIMITED
        if self.error is not None:
            return "unknown" if isinstance(self.error, DispatchUnknownError) else "error"
        if self.is_unseen:
            return UNSEEN
        if self.earlier and isinstance(self.snapshot, Run) and self.snapshot.is_success:
            return "flaky"
        if self.phase is Phase.QUEUED or self.status is None:
            return self.phase.value
        return escape(self.status)

    @property
    def result(self) -> str:
        """The result in a few words; empty where nothing is known yet."""
        attempt = f"attempt {len(self.earlier) + 1}" if self.earlier else ""
        note = escape(self.note) if self.ended is None else ""
        return ", ".join(part for part in (self._result, attempt, note) if part)

    @property
    def short_result(self) -> str:
        """The same in a word or two where that says most, for a narrow terminal."""
        run = self.snapshot
        if self.error is not None or not isinstance(run, Run) or not _run_result(run):
            return self.result
        assert run.summary is not None
        failed = run.summary.failed
        return f"{failed} failed" if failed else f"{run.summary.passed} passed"

    @property
    def _result(self) -> str:
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
        return self.ended is not None and self.word in _BAD

    def elapsed(self, now: float) -> float:
        """Return the seconds since the dispatch, up to the end where it is over.

        Of a run that was dispatched elsewhere they are those between the service's own times.
        """
        run = self.snapshot
        if self.is_attached and isinstance(run, Run) and run.created_at and run.finished_at:
            return max((run.finished_at - run.created_at).total_seconds(), 0.0)
        return (now if self.ended is None else self.ended) - self.started


def _run_result(run: Run) -> str:
    if run.summary is None or not run.is_finished:
        return ""
    if run.summary.failed:
        return f"{run.summary.failed} of {plural(run.summary.total, 'test')} failed"
    if run.summary.passed < run.summary.total:
        skipped = sum(test.status == "skipped" for test in run.tests)
        more = f", {skipped} skipped" if skipped else ""
        return f"{run.summary.passed} of {plural(run.summary.total, 'test')} passed{more}"
    return f"{plural(run.summary.total, 'test')} passed"


def _generation_result(generation: Generation) -> str:
    if not generation.sections:
        return ""
    over = sum(section.conclusion is not None for section in generation.sections)
    return f"{over} of {plural(len(generation.sections), 'section')}"
