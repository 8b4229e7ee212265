"""The results of a batch: one item for each feature, and a summary.

Values for batches and reports. They hold observations, and decide only how to name them.
"""

from __future__ import annotations

from collections import Counter
from datetime import date  # noqa: TC003 - see get_type_hints
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, overload

from attrs import field, frozen

from testvibe_async._core.util.serialization import Serializable
from testvibe_async.errors import (
    DispatchUnknownError,
    ForbiddenError,
    OperationNotFoundError,
    OperationSupersededError,
    UnauthorizedError,
    VibeError,
    WaitTimeoutError,
)
from testvibe_async.models import DEFAULT_CONFIG, Generation, Run, Snapshot
from testvibe_async.refs import GenerationRef, Ref, RunRef  # noqa: TC001 - see get_type_hints

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["BatchItem", "BatchSummary", "Quarantined", "Verdict"]

SnapshotT_co = TypeVar("SnapshotT_co", bound=Snapshot, covariant=True)


class Verdict(StrEnum):
    """The result of one feature, in one word."""

    SUCCEEDED = "succeeded"
    """The run passed, or the generation made tests."""

    FAILED = "failed"
    """The operation failed."""

    QUARANTINED = "quarantined"
    """The operation failed, and a quarantine excuses it: the batch does not fail because of it."""

    ERROR = "error"
    """The operation could not be dispatched or observed, or ended with an undocumented status."""

    IN_FLIGHT = "in flight"
    """The operation is still running at the service; the batch stopped waiting for it."""

    WAITING = "waiting"
    """The feature has not been dispatched yet."""

    UNKNOWN = "unknown"
    """The feature may have been dispatched: the answer was lost, and no operation was found."""

    SKIPPED = "skipped"
    """The feature was not dispatched before the batch stopped."""


@frozen(kw_only=True)
class Quarantined(Serializable):
    """The effect of a quarantine on a finished item."""

    reason: str
    """The reason that the quarantine gives."""

    owner: str
    """The person or team that must act on the outcome."""

    until: date
    """The last day of the quarantine."""

    verdict: Verdict
    """`quarantined` for an excused failure, `failed` for an expired quarantine or an unexpected
    pass, else `succeeded`."""

    def __str__(self) -> str:
        """Return it in a sentence: `quarantined until 2026-12-24 (Ann): the cart is slow`."""
        if self.verdict is Verdict.FAILED:
            return f"{self.reason} (until {self.until}, {self.owner})"
        return f"quarantined until {self.until} ({self.owner}): {self.reason}"


class _RefOfItem:
    """The operation, of the kind that the batch dispatches; None if none was dispatched."""

    @overload
    def __get__(self, item: None, owner: object, /) -> Self: ...
    @overload
    def __get__(self, item: BatchItem[Run], owner: object, /) -> RunRef | None: ...
    @overload
    def __get__(self, item: BatchItem[Generation], owner: object, /) -> GenerationRef | None: ...
    @overload
    def __get__(
        self, item: BatchItem[Snapshot], owner: object, /
    ) -> RunRef | GenerationRef | None: ...
    def __get__(self, item: BatchItem[Any] | None, owner: object, /) -> Any:
        """Return the item's own ref, for type checkers by the item's kind."""
        return self if item is None else item._ref  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


_ENDS = (OperationNotFoundError, OperationSupersededError)
"""The errors after which no wait brings an outcome."""


@frozen(kw_only=True, repr=False)
class BatchItem(Serializable, Generic[SnapshotT_co]):
    """The result of one feature of a batch."""

    feature: int | str
    """The feature as requested: its name or its id; `feature_name` is the one to show."""

    name: str | None = None
    """The feature's name, if it was known before the dispatch; see `feature_name`."""

    config: str | None = None
    """The requested run configuration; None for the default."""

    repetition: int = 1
    """The number of the run of this feature, in a batch that repeats it."""

    _ref: Ref | None = field(default=None, alias="ref")
    ref: ClassVar[_RefOfItem] = _RefOfItem()

    outcome: SnapshotT_co | None = None
    """The finished `Run` or `Generation`, successful or not."""

    error: VibeError | None = None
    """The reason for a missing outcome; `WaitTimeoutError` if the operation is still running."""

    is_waiting: bool = False
    """True if a running batch has still to dispatch the feature."""

    is_dropped: bool = False
    """True if the feature may have been dispatched, and a decision was made to leave it unknown."""

    quarantine: Quarantined | None = None
    """The effect of a quarantine; None without one, and before the end."""

    earlier: tuple[SnapshotT_co, ...] = ()
    """The outcomes of all attempts except the last, oldest first; each of them failed."""

    def __repr__(self) -> str:
        """Return the feature, its verdict, and its operation, in one line."""
        config = "" if self.config is None else f", {self.config}"
        ref = "" if self._ref is None else f", {self._ref}"
        return f"<{type(self).__name__} {self.feature!r}{config}: {self.verdict}{ref}>"

    @property
    def attempts(self) -> tuple[SnapshotT_co, ...]:
        """The outcomes of all attempts, oldest first."""
        return self.earlier if self.outcome is None else (*self.earlier, self.outcome)

    @property
    def is_flaky(self) -> bool:
        """True if the feature succeeded after a failed attempt."""
        return bool(self.earlier) and self.verdict is Verdict.SUCCEEDED

    @property
    def is_unseen(self) -> bool:
        """True if the last polls of the wait failed: it is unknown whether it is still running."""
        error = self.error
        return self.outcome is None and isinstance(error, WaitTimeoutError) and error.failures > 0

    @property
    def is_bad(self) -> bool:
        """True if it counts as a failure for `stop_on_failure`."""
        is_refused = isinstance(self.error, UnauthorizedError | ForbiddenError)
        return is_refused or self.verdict in {Verdict.FAILED, Verdict.ERROR, Verdict.UNKNOWN}

    @property
    def is_unfinished(self) -> bool:
        """True if another wait for `ref` may bring its outcome."""
        is_known = isinstance(self.error, _ENDS)
        return self._ref is not None and self.outcome is None and not is_known

    @property
    def feature_name(self) -> str:
        """The feature's name at the service, if known; otherwise as requested."""
        name = self.outcome.feature_name if self.outcome else None
        return name or self.name or str(self.feature)

    @property
    def key(self) -> tuple[str, str | None]:
        """The feature's folded name, and the configuration unless that is the default one."""
        config = self.config or getattr(self.outcome, "config", None)
        return self.feature_name.casefold(), None if config == DEFAULT_CONFIG else config

    @property
    def verdict(self) -> Verdict:
        """The result, in one word."""
        if self.outcome is not None:
            return self.quarantine.verdict if self.quarantine else _verdict_of(self.outcome)
        # The operation keeps running, even if the key may not read it.
        is_kept_from_us = isinstance(self.error, UnauthorizedError | ForbiddenError)
        has_ref = self._ref is not None or getattr(self.error, "ref", None) is not None
        match self.error:
            case DispatchUnknownError():
                return Verdict.UNKNOWN
            case VibeError() if not isinstance(self.error, WaitTimeoutError):
                return Verdict.IN_FLIGHT if has_ref and is_kept_from_us else Verdict.ERROR
            case _ if has_ref:
                return Verdict.IN_FLIGHT
            case _ if self.is_dropped:
                return Verdict.UNKNOWN
            case _:
                return Verdict.WAITING if self.is_waiting else Verdict.SKIPPED

    def to_dict(self) -> dict[str, Any]:
        """Return a new plain dict that `json.dumps` takes, with names such as the service's own.

        It has `feature`, `verdict` and `isFlaky`; `name`, `config`, `quarantine`, `ref`, `outcome`
        and `error` unless they are None; `repetition` from 2 on; and `runs`, the outcomes of all
        attempts, if there were several.
        """
        return super().to_dict()

    def _members(self) -> dict[str, object]:
        return {
            "feature": self.feature,
            "name": self.name,
            "config": self.config,
            "repetition": self.repetition if self.repetition > 1 else None,
            "verdict": self.verdict,
            "isFlaky": self.is_flaky,
            "quarantine": self.quarantine,
            "ref": self._ref,
            "outcome": self.outcome,
            "error": self.error,
            "runs": self.attempts if self.earlier else (),
        }


def _verdict_of(outcome: Snapshot) -> Verdict:
    """Return the verdict on a finished operation: a run without results is no success."""
    if outcome.is_success:
        is_hollow = isinstance(outcome, Run) and not outcome.has_results
        return Verdict.FAILED if is_hollow else Verdict.SUCCEEDED
    return Verdict.FAILED if outcome.is_failure else Verdict.ERROR


@frozen(kw_only=True)
class BatchSummary(Serializable):
    """The number of features with each verdict. The numbers add up to `total`."""

    succeeded: int = 0
    """Number of runs that passed, or generations that made tests."""

    failed: int = 0
    """Number of failed operations."""

    quarantined: int = 0
    """Number of operations that failed in quarantine, which does not fail the batch."""

    errors: int = 0
    """Number of features not dispatched or observed, or ended with an undocumented status."""

    in_flight: int = 0
    """Number of dispatched operations whose end was not observed."""

    unknown: int = 0
    """Number of features that may have been dispatched."""

    waiting: int = 0
    """Number of features that a running batch has still to dispatch."""

    flaky: int = 0
    """Number of features in `succeeded` that had a failed attempt before."""

    skipped: int = 0
    """Number of features not dispatched before the batch stopped."""

    @property
    def total(self) -> int:
        """Total number of features."""
        over = self.succeeded + self.failed + self.quarantined + self.errors
        return over + self.in_flight + self.unknown + self.waiting + self.skipped

    @property
    def is_success(self) -> bool:
        """True if each feature succeeded, or failed in quarantine."""
        return self.succeeded + self.quarantined == self.total

    @classmethod
    def of(cls, items: Iterable[BatchItem[Snapshot]]) -> Self:
        """Count the items of a batch."""
        items = list(items)
        count = Counter(item.verdict for item in items)
        return cls(
            succeeded=count[Verdict.SUCCEEDED],
            failed=count[Verdict.FAILED],
            quarantined=count[Verdict.QUARANTINED],
            errors=count[Verdict.ERROR],
            in_flight=count[Verdict.IN_FLIGHT],
            unknown=count[Verdict.UNKNOWN],
            waiting=count[Verdict.WAITING],
            flaky=sum(item.is_flaky for item in items),
            skipped=count[Verdict.SKIPPED],
        )

    def __str__(self) -> str:
        """Return the counts in words, such as `12 succeeded, 1 flaky among them, 4 failed`."""
        parts = {
            "succeeded": self.succeeded,
            "flaky among them": self.flaky,
            "failed": self.failed,
            "quarantined": self.quarantined,
            "error" if self.errors == 1 else "errors": self.errors,
            "in flight": self.in_flight,
            "unknown": self.unknown,
            "waiting": self.waiting,
            "skipped": self.skipped,
        }
        return ", ".join(f"{n} {word}" for word, n in parts.items() if n) or "nothing to do"
