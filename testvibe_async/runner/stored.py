"""One batch as it is stored: its record, its journal, and its state, without asking the service.

A journal is readable by one process at a time.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from attrs import evolve, frozen

from testvibe_async.errors import ConfigError
from testvibe_async.journal import Journal
from testvibe_async.outcomes import BatchItem, Verdict
from testvibe_async.runner.generation_limit import with_limit_named
from testvibe_async.runner.quarantine import NO_QUARANTINE, Quarantine
from testvibe_async.runner.spec import BatchSpec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from testvibe_async._batch import Plan
    from testvibe_async.models import Snapshot
    from testvibe_async.runner.records import BatchRecord


@frozen(kw_only=True)
class Batch:
    """The state of one batch according to its journal, without asking the service."""

    record: BatchRecord
    spec: BatchSpec
    """The spec that its command created."""

    fails_on_flaky: bool
    """True if its command was to fail if a feature was flaky."""

    left_out: Mapping[str, str]
    """The features that its command left out for want of tests, each with the reason."""

    created_at: datetime
    items: Sequence[BatchItem[Snapshot]]
    is_over: bool
    """True if nothing is left to dispatch, to wait for or to reconcile."""

    is_complete: bool
    """True if all of its features are known."""

    unfinished: int
    """The number of the batch to resume if it is not over: its own, or that of a rerun."""

    reruns: Sequence[int] = ()
    """The batches that reran its failures, if they are part of its items."""

    is_judged: bool = False
    """True if its items are marked by the quarantine that held when it ran."""

    @classmethod
    def of(cls, journal: Journal, record: BatchRecord) -> Self:
        """Return the state of a batch by its journal, which is open."""
        assert journal.plan is not None
        assert journal.created_at is not None
        plan, quarantine = journal.plan, Quarantine.stored(journal.plan.options)
        mark = (quarantine or NO_QUARANTINE).mark
        # What was not dispatched is not going to be, as far as a reader is concerned.
        items = (evolve(item, is_waiting=False) for item in journal.items)
        return cls(
            record=record,
            unfinished=record.number,
            spec=spec_of(plan),
            fails_on_flaky=bool(plan.options.get("files", {}).get("fail_on_flaky")),
            left_out=plan.options.get("left_out", {}),
            created_at=journal.created_at,
            items=[mark(with_limit_named(item)) for item in items],
            is_judged=quarantine is not None,
            is_over=journal.is_over,
            is_complete=journal.is_complete,
        )

    def judged(self, quarantine: Quarantine) -> Self:
        """Return it marked by a quarantine, unless it is by the one that held when it ran."""
        if self.is_judged:
            return self
        return evolve(self, items=[*map(quarantine.mark, self.items)], is_judged=True)

    def after(self, rerun: Batch) -> Self:
        """Return it after a rerun of its failures."""
        return evolve(
            self,
            items=after_rerun(self.items, rerun.items),
            fails_on_flaky=self.fails_on_flaky or rerun.fails_on_flaky,
            is_over=self.is_over and rerun.is_over,
            unfinished=rerun.unfinished if self.is_over else self.unfinished,
            reruns=(*self.reruns, rerun.record.number, *rerun.reruns),
        )

    @property
    def failed(self) -> list[BatchItem[Snapshot]]:
        """Its items that a rerun is to run again: see `has_failed`."""
        return [item for item in self.items if has_failed(item)]


def has_failed(item: BatchItem[Snapshot]) -> bool:
    """Return whether to run an item again may help: it failed, or could not be started.

    Excused failures are none. An expired quarantine and an unexpected pass make a batch red, but no
    run that passed is run again for them.
    """
    verdict = evolve(item, quarantine=None).verdict
    is_excused = item.verdict is Verdict.QUARANTINED
    is_not_started = verdict is Verdict.ERROR and item.ref is None
    return (verdict is Verdict.FAILED and not is_excused) or is_not_started


def is_settled(item: BatchItem[Snapshot]) -> bool:
    """Return whether an item passed, expected or not, or failed as expected."""
    has_passed = evolve(item, quarantine=None).verdict is Verdict.SUCCEEDED
    return has_passed or item.verdict is Verdict.QUARANTINED


def after_rerun(
    items: Iterable[BatchItem[Any]], rerun: Iterable[BatchItem[Any]]
) -> list[BatchItem[Any]]:
    """Return the items of a batch after a rerun, whose runs are further attempts of its failures.

    Args:
        items: The items of the batch.
        rerun: Those of the rerun. What it has not dispatched is as it was.
    """
    again = {
        (item.feature, item.config): item
        for item in rerun
        if item.verdict not in {Verdict.SKIPPED, Verdict.WAITING}
    }
    found: list[BatchItem[Any]] = []
    for item in items:
        last = again.pop((item.feature, item.config), None) if has_failed(item) else None
        after = last and evolve(last, earlier=(*item.attempts, *last.earlier))
        found.append(after or item)
    return found


def spec_of(plan: Plan) -> BatchSpec:
    """Return the spec of a batch by its plan, also of one that the library started."""
    known = {name: getattr(plan, name) for name in ("kind", "site_url", "on_conflict", "attempts")}
    return BatchSpec.from_dict(plan.options.get("batch", {}) | known)


@asynccontextmanager
async def existing(path: Path) -> AsyncGenerator[Journal]:
    """Open a journal that has a batch.

    Raises:
        ConfigError: There is none, it holds no batch, or it is in use.
    """
    if not path.exists():  # noqa: ASYNC240 - to open it would make one
        raise ConfigError(f"there is no journal {path}")
    async with Journal(path) as journal:
        if journal.plan is None:
            raise ConfigError(
                f"the journal {path} holds no batch: its command ended before it began one, or the "
                f"file {path.name}-wal is missing, which a crash leaves beside it and which "
                "belongs to it"
            )
        yield journal
