"""The progress of a command: its operations as last observed, and when changes are reported.

Decides the word for each operation, and which of them changed since they were reported. It prints
nothing: `render` does. Whether the service answers is known to `contact`. Everything runs in the
event loop: no thread draws.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

import anyio
from attrs import evolve, frozen

from testvibe_async import Generation, Hooks, Phase, Verdict, WaitTimeoutError
from testvibe_async._core.util import escape
from testvibe_async.cli.contact import Contact, Outage
from testvibe_async.cli.words import Item, is_lost, item_reason
from testvibe_async.ledger import item_of
from testvibe_async.runner.words import clock_time, counted, item_name, word_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from datetime import datetime

    from testvibe_async import Client, Ref
    from testvibe_async.cli.render import Renderer
    from testvibe_async.ledger import Row as Dispatch
    from testvibe_async.models import Snapshot

REPORT_SECONDS = 0.5
"""Seconds between two reports of changes."""

QUIET_SECONDS = 5.0
"""Seconds after which a dispatch without an answer is shown."""

_BAD = {"failed", "error", "unknown", "cancelled"}

Key: TypeAlias = "tuple[int | str, str | None, int]"

_NOT_OVER = {Verdict.IN_FLIGHT, Verdict.WAITING, Verdict.SKIPPED}


@frozen(kw_only=True)
class Row:
    """One item, as last observed. Instants are seconds of the event loop's clock."""

    item: Item
    """The item, with the name of its feature as last observed."""

    snapshot: Snapshot | None = None
    """The last snapshot of its operation; None before the first poll."""

    is_final: bool = False
    """True if the command does nothing more for the item."""

    started: float = 0.0
    """The time when it was first observed with its operation."""

    sent: float | None = None
    """The time when a dispatch without an answer was first observed; None if there is none."""

    dispatch: Dispatch | None = None
    """The dispatch without an answer, as the ledger has it."""

    ended: float | None = None
    """The time when it was observed to be over, or abandoned; None before."""

    runs_again: bool = False
    """True for an attempt that failed, and after which the next one follows."""

    @property
    def phase(self) -> Phase:
        """The phase of the operation as last observed."""
        return self.snapshot.phase if self.snapshot else Phase.QUEUED

    @property
    def is_over(self) -> bool:
        """True if the operation ended, or an error ended the wait for it."""
        return self.is_final and (self.item.verdict not in _NOT_OVER or is_lost(self.item))

    @property
    def is_shown(self) -> bool:
        """True if there is something to show: the operation was, or may be, dispatched or over."""
        return self.item.ref is not None or self.is_over or self.is_unacknowledged

    @property
    def is_unacknowledged(self) -> bool:
        """True if a dispatch has had no answer for some time, so that it may have started."""
        return not self.is_over and self.item.verdict is Verdict.UNKNOWN

    @property
    def is_bad(self) -> bool:
        """True if the operation is over and did not pass."""
        return self.is_over and self.word in _BAD

    @property
    def name(self) -> str:
        """The feature, and the configuration if it is not the default one."""
        return escape(item_name(self.item, self.snapshot))

    @property
    def operation(self) -> str:
        """The operation: `run 214`, or its kind, such as `generation`, if its id is no number."""
        ref = self.item.ref
        if ref is None:
            return "—"
        return str(ref) if isinstance(ref.key[-1], int) else ref.kind

    @property
    def word(self) -> str:
        """The state: `waiting`, `queued`, and from then on the service's own word, or one of ours.

        Ours are `unacknowledged` where a dispatch has had no answer for some time, `error`,
        `unknown` where it may have been dispatched, and `flaky` where it passed after an attempt
        that failed.
        """
        if self.is_over or self.item.is_unseen:
            return word_of(self.item)
        if self.item.ref is None:
            return "unacknowledged" if self.is_unacknowledged else "waiting"
        if self.snapshot is None or self.phase is Phase.QUEUED:
            return "queued"
        return escape(self.snapshot.status or "over")

    @property
    def result(self) -> str:
        """The result in a few words; empty if nothing is known yet."""
        known, attempt = "", len(self.item.earlier) + 1
        if self.is_over:
            known = item_reason(self.item) + "; runs again" * self.runs_again
        elif self.is_unacknowledged:
            known = self._unanswered
        elif isinstance(self.snapshot, Generation) and (sections := self.snapshot.sections):
            over = sum(section.conclusion is not None for section in sections)
            known = f"{over} of {counted(len(sections), 'section')}"
        return ": ".join(filter(None, (f"attempt {attempt}" if attempt > 1 else "", known)))

    @property
    def _unanswered(self) -> str:
        """Since when the answer to the dispatch is missing, and until when that is settled."""
        if self.dispatch is None:
            return "it may have started: not known yet"
        at, seconds = self.dispatch.intended_at, self.dispatch.expires_after
        settled_at = clock_time(at + timedelta(seconds=seconds))
        return f"no answer to its dispatch of {clock_time(at)}; settled by {settled_at}"

    def elapsed(self, now: float) -> float:
        """Return the seconds since the dispatch, of a run that is over by the service's clock."""
        created_at: datetime | None = getattr(self.item.outcome, "created_at", None)
        finished_at: datetime | None = getattr(self.item.outcome, "finished_at", None)
        if created_at and finished_at:
            return max((finished_at - created_at).total_seconds(), 0.0)
        return (now if self.ended is None else self.ended) - self.started


class Progress:
    """Observed state of the operations of one command."""

    def __init__(self) -> None:
        """Create it without operations; requires a running event loop."""
        self.clock: Callable[[], float] = asyncio.get_running_loop().time
        """Returns the present, in seconds."""
        self.contact: Contact = Contact(self.clock)
        """Reachability of the service."""
        self.started: float = self.clock()
        """The time when the command began to work on them."""
        self.unanswered: Mapping[str, Dispatch] = {}
        """The dispatches without an answer, by their items in the ledger."""
        self._client: Client | None = None
        self._planned: Sequence[Item] = ()
        self._read: Callable[[], Sequence[Item]] = tuple
        self._final: set[Key] = set()
        """The items for which the batch does nothing more."""
        self._rows: dict[Key, Row] = {}

    @property
    def hooks(self) -> Hooks:
        """The hooks to make the client with."""
        contact = self.contact
        return Hooks(
            on_dispatched=contact.note_dispatch,
            on_request=contact.note_request,
            on_outage_started=contact.note_outage,
            on_outage_ended=contact.note_answer,
            on_retry=contact.note_retry,
        )

    @property
    def elapsed(self) -> float:
        """Seconds since the command began to work on its operations."""
        return self.clock() - self.started

    def follow(
        self, client: Client | None, planned: Sequence[Item], read: Callable[[], Sequence[Item]]
    ) -> None:
        """Show the items of a batch from now on.

        Args:
            client: Polls their operations; None if nothing does.
            planned: An item for each operation, in the order in which they are read.
            read: Returns the present items; fewer while the batch starts.
        """
        self._client, self._planned, self._read = client, planned, read
        self.started = self.clock()  # The time of a question before does not count.
        self.contact.start()
        self.update()

    def end(self, item: Item) -> None:
        """Note that the batch does nothing more for an item."""
        self._final.add(_key(item))

    def _known(self) -> list[Item]:
        """Return all present items; the items that the batch has not read yet are last."""
        known = self._read()
        return [*known, *self._planned[len(known) :]]

    @property
    def items(self) -> list[Item]:
        """All as the items of a batch that would be over now, in the order asked.

        An operation in flight is not reported as running while the service is silent.
        """
        outage = self.outage
        known = (evolve(item, is_waiting=False) for item in self._known())
        return [self._as_seen(item, outage) for item in known]

    def _as_seen(self, item: Item, outage: Outage | None) -> Item:
        """Return an item by its name, and as unseen during an outage.

        A poll that hangs at the time-out has not failed, and nothing has been seen either.
        """
        if item.outcome is not None or item.ref is None:
            return item
        row = self._rows.get(_key(item)) or self._row(item, None)
        item = evolve(item, name=row.item.name)
        if outage is None or item.is_unseen or is_lost(item):
            return item
        error = WaitTimeoutError(
            ref=item.ref,
            status=row.snapshot.status if row.snapshot else None,
            elapsed=row.elapsed(self.clock()),
            last_seen_at=outage.seen_at,
            failures=1,
        )
        return evolve(item, error=error)

    @property
    def rows(self) -> list[Row]:
        """All rows as of the last update, in the order asked."""
        return list(self._rows.values())

    @property
    def over(self) -> int:
        """Number of rows with a result."""
        return sum(row.is_over for row in self._rows.values())

    @property
    def outage(self) -> Outage | None:
        """The present outage; None if the service answers."""
        return self.contact.outage(self.in_flight)

    @property
    def in_flight(self) -> list[Ref]:
        """Refs of the dispatched operations that are polled, and were not observed to be over."""
        return [
            row.item.ref
            for row in self._rows.values()
            if row.item.ref is not None
            if not row.is_over and row.phase is not Phase.FINISHED
            if self._client is not None  # Nothing polls the others.
        ]

    @property
    def has_waiting(self) -> bool:
        """True if anything is still to be dispatched."""
        return any(item.ref is None and _key(item) not in self._final for item in self._known())

    def update(self) -> list[Row]:
        """Read all items, and return the rows to report: what changed since the last call."""
        changed: list[Row] = []
        for item in self._known():
            before = self._rows.get(_key(item))
            if before is not None and before.is_final:
                continue
            row = self._row(item, before)
            is_ending = row.phase is Phase.FINISHED and not row.is_final
            if before is not None and is_ending:
                continue  # Its end is reported with its item, which follows at once.
            self._rows[_key(item)] = row
            changed += self._changes(before, row)
        return changed

    def _changes(self, before: Row | None, row: Row) -> Iterator[Row]:
        """Yield what of an item is to be reported, attempts that failed as their own.

        The ref of such an attempt is known if the item had it when it was read before.
        """
        ref = None if before is None else before.item.ref
        for number in range(len(before.item.earlier) if before else 0, len(row.item.earlier)):
            *earlier, run = row.item.earlier[: number + 1]
            item = evolve(row.item, ref=ref, outcome=run, error=None, earlier=tuple(earlier))
            yield evolve(row, item=item, snapshot=run, is_final=True, runs_again=True)
        state = row.item.ref, row.word
        if row.is_shown and (before is None or state != (ref, before.word)):
            yield row

    def _row(self, item: Item, before: Row | None) -> Row:
        """Return the row of an item, given the row that it had before."""
        now, ref, is_final = self.clock(), item.ref, _key(item) in self._final
        sent = None
        if not is_final and item.verdict is Verdict.UNKNOWN:
            sent = now if before is None or before.sent is None else before.sent
            if now - sent < QUIET_SECONDS:
                item = evolve(item, error=None)  # Its answer may still come.
        snapshot: Snapshot | None = item.outcome
        if snapshot is None and ref is not None and self._client is not None:
            snapshot = self._client.attach(ref).snapshot
        is_same = before is not None and ref in {None, before.item.ref}
        row = Row(
            item=evolve(item, name=(snapshot and snapshot.feature_name) or item.name),
            snapshot=snapshot,
            is_final=is_final,
            started=before.started if before is not None and is_same else now,
            sent=sent,
            dispatch=None if sent is None else self.unanswered.get(item_of(*_key(item))),
        )
        return evolve(row, ended=now) if row.is_over else row


def _key(item: Item) -> Key:
    return item.feature, item.config, item.repetition


@contextmanager
def reporting(progress: Progress, listener: Renderer | Notes) -> Generator[None]:
    """Report all changes twice a second, and a frame at each interval, while this is open.

    An error of the listener, as where the reader has closed the pipe, ends the body of this and is
    raised here: in a hook of the client it would be logged and lost.
    """
    loop, errors, due_at = asyncio.get_running_loop(), list[Exception](), 0.0
    timer: asyncio.Handle

    def report_all() -> None:
        for row in progress.update():
            listener.change(row, progress)
        if (outage := progress.contact.notice(progress.in_flight)) is not None:
            listener.outage(outage, progress)

    def frame() -> None:
        nonlocal timer, due_at
        timer = loop.call_later(listener.interval, frame)
        try:
            if loop.time() >= due_at:
                due_at = loop.time() + REPORT_SECONDS
                report_all()
            listener.frame(progress)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised below
            timer.cancel()
            errors.append(error)
            scope.cancel()

    timer = loop.call_soon(frame)
    try:
        with anyio.CancelScope() as scope:
            yield
        if errors:
            raise errors[0]
        report_all()
    finally:
        timer.cancel()
        progress.update()


class Notes:
    """Notes each outage, and the first dispatch that is not acknowledged."""

    interval = REPORT_SECONDS

    def __init__(self, what: str, output: Renderer) -> None:
        """Make it.

        Args:
            what: What the command does meanwhile.
            output: The output for the notes.
        """
        self._what, self._output = what, output
        self._is_noted = False

    def change(self, row: Row, _progress: Progress) -> None:
        """Note the first dispatch that is not acknowledged."""
        if row.is_unacknowledged and not self._is_noted:
            self._is_noted = True
            self._output.note(f"{self._what}: {row.name}: {row.result}.")

    def outage(self, outage: Outage, _progress: Progress) -> None:
        """Note an outage, or its end."""
        self._output.note(f"{self._what}: {outage}.")

    def frame(self, _progress: Progress) -> None:
        """Note nothing."""
