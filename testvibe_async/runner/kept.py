"""One batch of a ledger file, as the surfaces know it: without asking the service.

Decides what the surfaces store with a batch, what counts as failed for a rerun, and how a batch and
the reruns of its failures are one. Which batch a command means is decided in `lookup`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from attrs import evolve, field, frozen

from testvibe_async.outcomes import BatchItem, Verdict
from testvibe_async.runner.generation_limit import with_limit_named
from testvibe_async.runner.quarantine import NO_QUARANTINE, Quarantine
from testvibe_async.runner.spec import BatchSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from testvibe_async.batch import StoredBatch
    from testvibe_async.errors import KindName
    from testvibe_async.models import Snapshot


@frozen(kw_only=True)
class Stored:
    """The options of a batch: what its first command stored, for later ones."""

    spec: BatchSpec
    quarantine: Quarantine | None = None
    """The failures that were excused; None if none were stored."""

    left_out: Mapping[str, str] = field(factory=dict[str, str])
    """The features that were left out for want of tests, each with the reason."""

    project_name: str | None = None
    """The name that was given for the project; None if an id was given."""

    parent: int | None = None
    """The number of the batch whose failures it runs again; None if it does not."""

    files: Mapping[str, Any] = field(factory=dict[str, Any])
    """The files to write, as the command line keeps them."""

    is_named: bool = True
    """True if a person chose the key; otherwise it is random, and not shown."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON object, for `of`."""
        return {
            "spec": self.spec.to_dict(),
            "quarantine": self.quarantine and self.quarantine.to_dict(),
            "leftOut": dict(self.left_out),
            "project": self.project_name,
            "parent": self.parent,
            "files": dict(self.files),
            "isNamed": self.is_named,
        }

    @classmethod
    def of(cls, kind: KindName, options: Mapping[str, Any]) -> Self:
        """Return what `to_dict` wrote; the defaults for the options of another program."""
        try:
            return cls(
                spec=BatchSpec.from_dict(options["spec"] | {"kind": kind}),
                quarantine=Quarantine.stored(options),
                left_out=dict(options.get("leftOut", {})),
                project_name=options.get("project"),
                parent=options.get("parent"),
                files=dict(options.get("files", {})),
                is_named=options.get("isNamed", True),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            return cls(spec=BatchSpec(kind=kind))


@frozen(kw_only=True)
class KeptBatch:
    """The known state of one batch."""

    number: int
    key: str
    kind: KindName
    server: str
    project: str
    """The project's id."""

    started_at: datetime
    stored: Stored
    spec: BatchSpec
    items: Sequence[BatchItem[Snapshot]]
    is_running: bool
    """True if a process runs it now."""

    is_over: bool
    """True if nothing is left to dispatch, to wait for or to find out."""

    is_complete: bool
    """True if all of its features are known; those of a generator may not be."""

    fails_on_flaky: bool
    """True if its command was to fail if a feature was flaky."""

    is_judged: bool
    """True if its items are marked by the quarantine that held when it ran."""

    unfinished: int
    """The number of the batch to resume if it is not over: its own, or that of a rerun."""

    reruns: Sequence[int] = ()
    """The batches that reran its failures, if they are part of its items."""

    @classmethod
    def of(cls, batch: StoredBatch) -> Self:
        """Return a batch of a ledger."""
        stored = Stored.of(batch.kind, batch.options)
        known = {name: getattr(batch, name) for name in ("site_url", "attempts", "on_conflict")}
        mark = (stored.quarantine or NO_QUARANTINE).mark
        return cls(
            **{name: getattr(batch, name) for name in _SAME},
            stored=stored,
            spec=BatchSpec.from_dict(stored.spec.to_dict() | known),
            items=[mark(with_limit_named(item)) for item in batch.items],
            fails_on_flaky=bool(stored.files.get("fail_on_flaky")),
            is_judged=stored.quarantine is not None,
            unfinished=batch.number,
        )

    def __str__(self) -> str:
        """Return its name in a sentence: `Batch 12 (nightly)`."""
        return f"Batch {self.title}"

    @property
    def name(self) -> str | None:
        """The key that a person chose; None without one."""
        return self.key if self.stored.is_named else None

    @property
    def title(self) -> str:
        """The batch's number and name, to follow the word batch: `12 (nightly)`."""
        return f"{self.number}" + (f" ({self.name})" if self.name else "")

    def judged(self, quarantine: Quarantine) -> Self:
        """Return it marked by a quarantine, unless it is by the one that held when it ran."""
        if self.is_judged:
            return self
        return evolve(self, items=[*map(quarantine.mark, self.items)], is_judged=True)

    def after(self, rerun: KeptBatch) -> Self:
        """Return it after a rerun of its failures."""
        return evolve(
            self,
            items=after_rerun(self.items, rerun.items),
            fails_on_flaky=self.fails_on_flaky or rerun.fails_on_flaky,
            is_running=self.is_running or rerun.is_running,
            is_over=self.is_over and rerun.is_over,
            unfinished=rerun.unfinished if self.is_over else self.unfinished,
            reruns=(*self.reruns, rerun.number, *rerun.reruns),
        )

    @property
    def failed(self) -> list[BatchItem[Snapshot]]:
        """Its items that a rerun is to run again: see `has_failed`."""
        return [item for item in self.items if has_failed(item)]


_SAME = (
    *("number", "key", "kind", "server", "project", "started_at"),
    *("is_running", "is_over", "is_complete"),
)
"""The fields that are those of the stored batch."""


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
