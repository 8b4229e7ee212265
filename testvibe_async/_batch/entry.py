"""One feature of a batch: its progress, and the known facts about it.

The methods of an `Entry` alone change its state, intent and refs. A batch carries the entry from
recovery to outcome, and a store saves it; items, refs and counts are views of it. The module
decides what the state means, and does no I/O.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from attrs import define, evolve, field

from testvibe_async._wire import KINDS
from testvibe_async.errors import (
    ConfigError,
    DispatchUnknownError,
    ForbiddenError,
    NotSentError,
    RecorderError,
    ResponseError,
    UnauthorizedError,
    WaitTimeoutError,
)
from testvibe_async.intents import Intent
from testvibe_async.models import Snapshot
from testvibe_async.outcomes import BatchItem
from testvibe_async.refs import Ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from testvibe_async._dispatch import Dispatch, Job
    from testvibe_async.errors import KindName, VibeError
    from testvibe_async.operations import Operation

SnapshotT = TypeVar("SnapshotT", bound=Snapshot)


class EntryState(StrEnum):
    """The progress of a feature."""

    PLANNED = "planned"
    """To be dispatched, or dispatched again after a failed attempt."""

    INTENDED = "intended"
    """The request may have been sent, and no answer was received."""

    DISPATCHED = "dispatched"
    """The operation has an id, and was not observed to end."""

    OVER = "over"
    """The outcome is known."""

    REFUSED = "refused"
    """The service refused the dispatch; the error is known."""

    DROPPED = "dropped"
    """Unknown whether an operation started; a caller decided to leave it unresolved."""


@define(eq=False, kw_only=True)
class Entry(Generic[SnapshotT]):
    """One feature of a batch, with one configuration."""

    index: int
    """The entry's index in the batch, from 0."""

    job: Job
    """The feature and configuration requested."""

    kind: KindName
    """The kind of operation that the batch dispatches."""

    state: EntryState = EntryState.PLANNED
    intent: Intent | None = None
    """The dispatch whose answer was not received."""

    ref: Ref | None = None
    """The operation of the last dispatched attempt."""

    named: Ref | None = None
    """The operation that a decision named for the intent, and that was not polled yet."""

    outcomes: list[SnapshotT] = field(factory=list["SnapshotT"])
    """The outcomes of all finished attempts, oldest first."""

    error: VibeError | None = None
    """The error with which the last batch stopped work on the feature, if it got no outcome."""

    operation: Operation[SnapshotT] | None = None
    """The operation of the last attempt that this process waited for; not saved."""

    dispatch: Dispatch[Any] | None = None
    """This process's dispatch that is under way or unanswered; not saved."""

    is_recovered: bool = False
    """True once this batch has lost an answer to it, and reconciles it; not saved."""

    is_carried: bool = False
    """True while a batch of this process works on the entry."""

    final: BatchItem[SnapshotT] | None = None
    """The item, once the batch has stopped work on the entry; not saved."""

    @property
    def is_left(self) -> bool:
        """True if something remains to be done, or is unknown."""
        return self.state in {EntryState.PLANNED, EntryState.INTENDED, EntryState.DISPATCHED}

    @property
    def is_awaited(self) -> bool:
        """True if this process sent a dispatch whose answer may still come."""
        return self.dispatch is not None and self.dispatch.is_awaited

    @property
    def is_written(self) -> bool:
        """True if this process sent a dispatch that had no answer, whether it may come or not."""
        return self.dispatch is not None and self.dispatch.is_written

    @property
    def is_undecided(self) -> bool:
        """True if it is unknown whether the entry was dispatched, and nothing is finding out."""
        return self.state is EntryState.INTENDED and not self.is_awaited and not self.is_carried

    def all_refs(self) -> list[Ref]:
        """Return all known operations of the entry, including earlier attempts."""
        refs = [ref for ref in (self.ref, self.named) if ref is not None]
        if self.ref is not None and KINDS[self.kind].ids_grow:
            name = KINDS[self.kind].id_name
            ids = (getattr(outcome, name) for outcome in self.outcomes)
            refs += [evolve(self.ref, **{name: each}) for each in ids]
        return refs

    def dispatches(self) -> list[Ref | Intent]:
        """Return all known operations of the entry, and its open intent."""
        return [*self.all_refs(), *([] if self.intent is None else [self.intent])]

    def resume(self) -> None:
        """Start to work on the entry, and clear the error with which the last batch stopped."""
        self.final, self.is_carried, self.is_recovered = None, True, False
        if self.state in {EntryState.PLANNED, EntryState.DISPATCHED}:
            self.error = None

    def intend(self, intent: Intent) -> None:
        """Note a dispatch that is about to be sent."""
        self.state, self.intent, self.error = EntryState.INTENDED, intent, None

    def start(self, ref: Ref) -> None:
        """Note an operation: dispatched, joined or found. It may arrive after the batch ended."""
        self.intent = self.named = None
        if isinstance(self.error, DispatchUnknownError):
            self.error = None
        self.state, self.ref = EntryState.DISPATCHED, ref
        if self.final is not None:
            self.final = evolve(self.final, ref=ref, error=None)

    def withdraw(self) -> None:
        """Note that nothing started."""
        if self.state is EntryState.INTENDED:
            self.state, self.intent, self.named = EntryState.PLANNED, None, None
            self.error = None

    def lose(self, error: DispatchUnknownError) -> None:
        """Note that the answer to its dispatch was lost, and is to be reconciled, once."""
        assert isinstance(error.intent, Intent)
        self.intend(error.intent)
        self.error, self.is_recovered, self.dispatch = error, True, None

    def observe(self, outcome: SnapshotT, *, is_last: bool) -> None:
        """Note the outcome of an attempt.

        Args:
            outcome: The outcome.
            is_last: True if no other attempt follows.
        """
        self.outcomes.append(outcome)
        self.state = EntryState.OVER if is_last else EntryState.PLANNED

    def refute(self) -> None:
        """Note that the named operation is not that of the intent: another may be named."""
        self.named = None

    def accept(self, intent: Intent) -> None:
        """Note that its dispatch was accepted, by an answer without an id that can be read."""
        self.intent = intent

    def end_attempts(self) -> None:
        """Note that no attempt follows the last one."""
        self.state = EntryState.OVER

    def end(self, error: VibeError | None) -> BatchItem[SnapshotT]:
        """Note that the batch stops work on the entry, and the error if any; return its item."""
        if isinstance(error, DispatchUnknownError) and isinstance(error.intent, Intent):
            self.intent = error.intent  # The intent says whether the dispatch was accepted.
        if self.state is EntryState.PLANNED and is_refusal(error):
            self.state = EntryState.REFUSED
        self.error, self.is_carried = error, False
        self.final = evolve(self._item(error, is_final=True), is_waiting=False)
        return self.final

    def decide(self, decision: Literal["resend", "drop"] | Ref) -> None:
        """Note a decision on an unknown dispatch."""
        self.error = self.dispatch = None
        if isinstance(decision, str):
            self.state = EntryState.PLANNED if decision == "resend" else EntryState.DROPPED
            self.intent = self.named = None
        else:
            self.named = decision  # The intent is kept until that operation is polled.

    def item(self) -> BatchItem[SnapshotT]:
        """Return the entry's item in the batch."""
        return self.stored_item() if self.final is None else self.final

    def stored_item(self) -> BatchItem[SnapshotT]:
        """Return an item of the known facts, without a request to the service."""
        error = self.error
        if self.state is EntryState.INTENDED and not isinstance(error, DispatchUnknownError):
            error = unknown_error(self.job, self.intent, "the process ended before the answer came")
        is_known_to_be_lost = isinstance(error, DispatchUnknownError) and not self.is_awaited
        if self.dispatch is not None and self.is_written and not is_known_to_be_lost:
            error = self.dispatch.unknown("its answer has not come yet")
        is_news = self.state is not EntryState.PLANNED or not isinstance(error, _PASSED)
        is_shown = is_news and self.state is not EntryState.DROPPED
        return self._item(error if is_shown or self.is_written else None)

    def _item(self, error: VibeError | None, *, is_final: bool = False) -> BatchItem[SnapshotT]:
        # A failed attempt counts if the attempt that was to follow is not dispatched.
        is_planned = self.state is EntryState.PLANNED
        refs = {
            EntryState.INTENDED: self.named,
            EntryState.DISPATCHED: self.ref,
            EntryState.OVER: self.ref,
            EntryState.PLANNED: self.ref if self.outcomes and is_final and error is None else None,
        }
        has_outcome = self.state is EntryState.OVER or (is_planned and is_final and error is None)
        outcome = self.outcomes[-1] if self.outcomes and has_outcome else None
        earlier = self.outcomes if outcome is None else self.outcomes[:-1]
        return BatchItem(
            feature=self.job.feature,
            name=self.job.name,
            config=self.job.config,
            repetition=self.job.repetition,
            ref=refs.get(self.state),
            outcome=outcome,
            error=error,
            is_waiting=is_planned and error is None and outcome is None,
            is_dropped=self.state is EntryState.DROPPED,
            earlier=tuple(earlier),
        )


_PASSED = (DispatchUnknownError, WaitTimeoutError)
"""Errors that are not shown for a feature that is to be dispatched."""


def is_refusal(error: VibeError | None) -> bool:
    """Return whether an error is the service's final word on a feature that was not dispatched.

    Only the service's own error body is final: a redirect, a bare 404 or a proxy's page may be
    temporary. A refusal of the key, or a rate limit, says nothing about the feature.
    """
    if not isinstance(error, ResponseError) or error.code is None or error.status is None:
        return False
    return error.status not in {401, 403, 429} and error.status < 500  # noqa: PLR2004


def is_key_refused(error: VibeError | None) -> bool:
    """Return whether the service refused the key, so that every other feature would fail too."""
    return isinstance(error, UnauthorizedError | ForbiddenError) and error.code is not None


def is_futile(error: VibeError | None) -> bool:
    """Return whether every other feature would fail too: no key, or no service."""
    is_not_sent = isinstance(error, NotSentError) and not isinstance(error, RecorderError)
    return is_not_sent or is_key_refused(error)


def decided(
    entries: Sequence[Entry[Any]],
    decision: Literal["resend", "drop"] | Ref,
    *,
    feature: int | str | None,
    where: str,
) -> list[Entry[Any]]:
    """Decide unknown dispatches of a batch; return their entries, which are to be saved.

    Args:
        entries: All entries of the batch.
        decision: As `Journal.decide` takes it.
        feature: The feature, as requested; None for all unknown ones.
        where: The batch, for messages.

    Raises:
        ConfigError: As `Journal.decide` raises.
    """
    if not isinstance(decision, Ref) and decision not in {"resend", "drop"}:
        raise ConfigError(f"the decision must be 'resend', 'drop' or a ref, not {decision!r}")
    found = [entry for entry in entries if entry.is_undecided and _is_meant(entry, feature)]
    if not found:
        what = "nothing" if feature is None else f"nothing of feature {feature!r}"
        raise ConfigError(f"{what} is unknown in {where}")
    if isinstance(decision, Ref):
        _check_named(decision, found, entries)
    for entry in found:
        entry.decide(decision)
    return found


def _is_meant(entry: Entry[Any], feature: int | str | None) -> bool:
    """Return whether a decision for a feature, or for all, is one for an unknown entry."""
    if feature is None:
        # Else it is decided, and waits to be polled.
        return entry.named is None or entry.error is not None
    return feature in {entry.job.feature, entry.job.name}


def _check_named(ref: Ref, found: Sequence[Entry[Any]], entries: Iterable[Entry[Any]]) -> None:
    """Refuse a ref that can't be the operation of an unknown dispatch.

    Args:
        ref: The ref that a decision named.
        found: The entries that the ref was named for.
        entries: All entries of the batch.

    Raises:
        ConfigError: The ref is for several entries; of another server, project or kind; or of
            another entry.
    """
    if len(found) > 1:
        raise ConfigError(
            f"{ref} is of one dispatch, and {len(found)} are unknown: name the feature"
        )
    intent = found[0].intent
    assert intent is not None
    for name in ("kind", "server", "project"):
        if getattr(ref, name) != getattr(intent, name):
            raise ConfigError(
                f"name an operation of the same {name}: {ref} has {getattr(ref, name)}, and the "
                f"dispatch {getattr(intent, name)}"
            )
    for entry in entries:
        if entry.index != found[0].index and ref.key in {each.key for each in entry.all_refs()}:
            raise ConfigError(f"name another operation: {ref} is that of {entry.job.feature!r}")


def unknown_error(job: Job, intent: Intent | None, what: str) -> DispatchUnknownError:
    """Return the error of a dispatch whose answer was not received.

    Args:
        job: The job that was to be dispatched.
        intent: The dispatch's intent.
        what: Description of the failed answer, for the message.
    """
    return DispatchUnknownError(
        what,
        advice="resume the batch, which looks for it",
        method="POST",
        url="" if intent is None else intent.server,
        project="" if intent is None else intent.project,
        feature=job.feature,
        reason="accepted" if intent is not None and intent.is_accepted else "unseen",
        intent=intent,
    )
