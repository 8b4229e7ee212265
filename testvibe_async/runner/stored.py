"""One batch as it is stored: its record, its journal, and its state, without asking the service.

A journal is readable by one process at a time. A durable batch has its
journal in a database, which any number of processes read.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, Self

from attrs import evolve, frozen

from testvibe_async._util.serialization import Serializable
from testvibe_async.errors import ConfigError
from testvibe_async.journal import Journal
from testvibe_async.outcomes import BatchItem, Verdict
from testvibe_async.runner.generation_limit import with_limit_named
from testvibe_async.runner.quarantine import NO_QUARANTINE, Quarantine
from testvibe_async.runner.records import BatchRecord
from testvibe_async.runner.spec import BatchSpec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from testvibe_async._batch import Plan
    from testvibe_async.models import Snapshot


@frozen(kw_only=True)
class Worker(Serializable):
    """A process that works on a durable batch, or did."""

    name: str
    """Its host, its process id and a random word."""

    is_alive: bool
    """True if it is alive. Another worker takes over the operations of a dead one."""

    in_flight: int = 0
    """Number of its operations in flight, with those whose dispatch is under way."""

    def __str__(self) -> str:
        """Return its state as a line."""
        if self.is_alive:
            return f"{self.name} has {self.in_flight} in flight"
        return f"{self.name} has ended, with {self.in_flight} in flight for another to take over"


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

    unfinished: int | str | None
    """The `word` of the batch to resume if it is not over: its own, or that of a rerun."""

    reruns: Sequence[int] = ()
    """The batches that reran its failures, if they are part of its items."""

    is_judged: bool = False
    """True if its items are marked by the quarantine that held when it ran."""

    is_live: bool = False
    """True if it is durable, and a worker has something to do for it."""

    workers: Sequence[Worker] = ()
    """The workers of a durable batch that are alive, or ended with something in flight."""

    @classmethod
    def of(
        cls,
        stored: Any,  # noqa: ANN401 - what a database has is no type of a room below
        record: BatchRecord,
    ) -> Self:
        """Return the state of a batch by its journal, or by what its database has of it.

        Args:
            stored: The `Journal`, open, or the `BatchStatus` of a durable batch.
            record: Its record.
        """
        plan: Plan = stored.plan
        is_file, quarantine = isinstance(stored, Journal), Quarantine.stored(plan.options)
        items: Sequence[BatchItem[Any]] = stored.items
        if is_file:  # What was not dispatched is not going to be, as far as a reader is concerned.
            items = [evolve(item, is_waiting=False) for item in items]
        mark = (quarantine or NO_QUARANTINE).mark
        return cls(
            record=record,
            unfinished=record.word,
            spec=spec_of(plan),
            fails_on_flaky=bool(plan.options.get("files", {}).get("fail_on_flaky")),
            left_out=plan.options.get("left_out", {}),
            created_at=stored.created_at,
            items=[mark(with_limit_named(item)) for item in items],
            is_judged=quarantine is not None,
            is_over=stored.is_over,
            is_complete=not is_file or stored.is_complete,
            is_live=not is_file and not stored.is_settled,
            workers=() if is_file else stored.workers,
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
            reruns=(*self.reruns, *filter(None, (rerun.record.number, *rerun.reruns))),
        )

    @property
    def failed(self) -> list[BatchItem[Snapshot]]:
        """Its items that a rerun is to run again: see `has_failed`."""
        return [item for item in self.items if has_failed(item)]

    def rerun(
        self, spec: BatchSpec, *, on_conflict: Literal["raise", "generate"] | None
    ) -> BatchSpec:
        """Return the spec of a rerun of the failures, on the same site.

        Args:
            spec: The spec that was asked for.
            on_conflict: The treatment of conflicts that was asked for; None for that of this batch,
                which concerns features without a run: the others have tests.
        """
        may_lack_tests = any(not item.attempts for item in self.failed)
        same = self.spec.on_conflict if may_lack_tests else "raise"
        return evolve(
            spec,
            site_url=spec.site_url or self.spec.site_url,
            on_conflict=on_conflict or same,
        )


def record_of(journal: Journal) -> BatchRecord:
    """Return the record of a batch whose journal is a file of the caller's own."""
    assert journal.plan is not None
    return BatchRecord.of(journal.plan, journal=str(journal.path.absolute()))


def has_failed(item: BatchItem[Snapshot]) -> bool:
    """Return whether to run an item again may help: it failed, or could not be started.

    Excused failures are none. An expired quarantine and an unexpected pass make a batch red, but no
    run that passed is run again for them.
    """
    verdict = evolve(item, quarantine=None).verdict
    is_excused = item.verdict is Verdict.QUARANTINED
    is_not_started = verdict is Verdict.ERROR and item.latest_ref is None
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
