"""The progress of a command: its operations as last observed, and what of them is to be reported.

It is fed by the transitions of the operations, and by the items of a batch as they complete.
Decides the word for each operation, and which changes are reported. It prints nothing: `render`
does. Whether the service answers is known to `contact`. Everything runs in the event loop: no
thread draws.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import anyio
from attrs import define, evolve

from testvibe_async import Generation, Phase, Verdict, WaitTimeoutError
from testvibe_async._core.util import escape
from testvibe_async.cli.contact import Contact, Outage
from testvibe_async.cli.text import Item, is_lost, item_reason
from testvibe_async.ledger import item_of
from testvibe_async.runner.words import clock_time, counted, item_name, seconds_of, word_of

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Callable,
        Generator,
        Iterable,
        Mapping,
        Sequence,
    )

    from testvibe_async import Operation, Ref, Transition
    from testvibe_async.cli.render import Renderer
    from testvibe_async.ledger import Row as Dispatch
    from testvibe_async.models import Snapshot

QUIET_SECONDS = 5.0
"""Seconds after which a dispatch without an answer is shown."""

_BAD = {"failed", "error", "unknown", "cancelled"}

_NOT_OVER = {Verdict.IN_FLIGHT, Verdict.WAITING, Verdict.SKIPPED}


@define(kw_only=True, eq=False)
class Row:
    """One item, as last observed. Instants are seconds of the event loop's clock."""

    item: Item
    """The item, with the name of its feature as last observed."""

    since: float
    """The time when it was first observed with its operation."""

    snapshot: Snapshot | None = None
    """The last snapshot of its operation; None before the first poll."""

    dispatch: Dispatch | None = None
    """The dispatch that has had no answer for some time, so that it may have started."""

    is_final: bool = False
    """True if the command does nothing more for the item, or for this attempt."""

    ended: float | None = None
    """The time when it was observed to be over, or abandoned; None before."""

    intended: str = ""
    """The id of the dispatch without an answer that was observed last."""

    runs_again: bool = False
    """True for an attempt that failed, and after which the next one follows."""

    reported: object = None
    """The state that was reported last."""

    @property
    def is_shown(self) -> bool:
        """True if there is something to show: the operation was, or may be, dispatched or over."""
        return any(each is not None for each in (self.item.ref, self.ended, self.dispatch))

    @property
    def is_bad(self) -> bool:
        """True if the operation is over and did not pass."""
        return self.ended is not None and self.word in _BAD

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
        """The state: `waiting`, and from the first poll on the service's own word, or one of ours.

        Ours are `in flight` before the first poll, `unacknowledged` where a dispatch has had no
        answer for some time, `error`, `unknown` where it may have been dispatched, and `flaky`
        where it passed after an attempt that failed.
        """
        if self.ended is not None or self.item.is_unseen:
            return word_of(self.item)
        if self.item.ref is None:
            return "waiting" if self.dispatch is None else "unacknowledged"
        if self.snapshot is None:
            return str(Verdict.IN_FLIGHT)
        if self.snapshot.phase is Phase.QUEUED:
            return "queued"
        return escape(self.snapshot.status or "over")

    @property
    def result(self) -> str:
        """The result in a few words; empty if nothing is known yet."""
        known, attempt = "", len(self.item.earlier) + 1
        if self.ended is not None:
            known = item_reason(self.item) + "; runs again" * self.runs_again
        elif self.dispatch is not None:
            at = self.dispatch.intended_at
            settled_at = at + timedelta(seconds=self.dispatch.expires_after)
            known = f"no answer to its dispatch of {clock_time(at)}"
            known = f"{known}; settled by {clock_time(settled_at)}"
        elif isinstance(self.snapshot, Generation) and (sections := self.snapshot.sections):
            over = sum(section.conclusion is not None for section in sections)
            known = f"{over} of {counted(len(sections), 'section')}"
        return ": ".join(filter(None, (f"attempt {attempt}" if attempt > 1 else "", known)))

    def elapsed(self, now: float) -> float:
        """Return the seconds since the dispatch, by the service's clock if it has ended."""
        by_service = seconds_of([evolve(self.item, earlier=())])
        return by_service or (now if self.ended is None else self.ended) - self.since


class Source(Protocol):
    """The operations that a command shows: those of a batch, or of earlier commands."""

    @property
    def items(self) -> Sequence[Item]:
        """The present items, in the order asked."""
        ...

    def changes(self) -> AsyncIterator[tuple[Operation[Any], Transition[Any]]]:
        """Iterate over the transitions of the operations, each with its operation."""
        ...

    def item_of(self, operation: Operation[Any], /) -> Item | None:
        """Return the item of an operation; None if it has none any more."""
        ...

    def __aiter__(self) -> AsyncIterator[Item]:
        """Iterate over the items as they complete."""
        ...


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
        self.estimate: Callable[[Iterable[Row], float], float | None] = lambda _rows, _now: None
        """Returns the seconds after which all has likely finished; None if that is unknown."""
        self._source: Source | None = None
        self._rows: dict[str, Row] = {}
        """The rows by their items in the ledger, in the order asked."""
        self._changed: list[Row] = []
        """The changes to report."""
        self._is_noted = False
        """True once a dispatch without an answer was noted."""

    @property
    def elapsed(self) -> float:
        """Seconds since the command began to work on its operations."""
        return self.clock() - self.started

    @asynccontextmanager
    async def following(self, source: Source) -> AsyncGenerator[None]:
        """Note the transitions of operations while this is open."""

        async def note() -> None:
            # What ends the batch early is raised by its items.
            with suppress(Exception):
                async for operation, transition in source.changes():
                    if (item := source.item_of(operation)) is not None:
                        self.note(item, operation.ref, transition.snapshot)

        self._source = source
        self.started = self.clock()  # The time of a question before does not count.
        self.contact.start()
        for item in source.items:
            self._row(evolve(item, outcome=None, error=None))
        noting = asyncio.create_task(note())
        try:
            yield
        finally:
            noting.cancel()
            await asyncio.wait([noting])

    def note(self, item: Item, ref: Ref, snapshot: Snapshot | None) -> None:
        """Note an observation of the operation of an item; its end is reported with the item."""
        row = self._row(item)
        if row.is_final:
            return
        if snapshot is not None and snapshot.is_finished:
            row.snapshot = snapshot
            return
        self._note_attempts(row, item)
        if row.item.ref != ref:
            row.since = self.clock()
        name = (snapshot and snapshot.feature_name) or row.item.name
        row.item, row.snapshot, row.dispatch = evolve(item, ref=ref, name=name), snapshot, None
        self._note(row)

    def end(self, item: Item) -> None:
        """Note that the batch does nothing more for an item."""
        row = self._row(item)
        self._note_attempts(row, item)
        row.item = evolve(item, name=row.item.name or item.name)
        row.snapshot, row.dispatch, row.is_final = item.outcome or row.snapshot, None, True
        row.ended = self.clock() if item.verdict not in _NOT_OVER or is_lost(item) else None
        self._note(row)

    def _note_attempts(self, row: Row, item: Item) -> None:
        """Report the attempt before as failed, if the operation of an item is another one now."""
        ended = evolve(row, dispatch=None, is_final=True, ended=self.clock(), runs_again=True)
        known = row.item
        for outcome in item.earlier[len(known.earlier) :]:
            failed = evolve(known, outcome=outcome)
            self._changed.append(evolve(ended, item=failed, snapshot=outcome))
            known = evolve(known, ref=None, earlier=failed.attempts)
        row.item = known

    def _row(self, item: Item) -> Row:
        key = item_of(item.feature, item.config, item.repetition)
        return self._rows.setdefault(key, Row(item=item, since=self.clock()))

    def _note(self, row: Row) -> None:
        """Report a row, if its state is another one."""
        state = row.item.ref, row.word
        if row.is_shown and row.reported != state:
            row.reported = state
            self._changed.append(evolve(row))

    def report(self, output: Renderer, *, during: str) -> None:
        """Print what changed since the last call.

        Args:
            output: The output.
            during: What the command does, if it shows no progress: only outages are noted then, and
                the first dispatch that is not acknowledged.
        """
        self._note_unanswered()
        changed, self._changed = self._changed, []
        outage = self.contact.notice(self.in_flight)
        if not during:
            for row in changed:
                output.change(row, self)
            if outage is not None:
                output.outage(outage, self)
            output.frame(self)
            return
        unanswered = [f"{row.name}: {row.result}" for row in changed if row.dispatch]
        for note in filter(None, (*unanswered[: not self._is_noted], outage)):
            output.note(f"{during}: {note}.")
        self._is_noted = self._is_noted or bool(unanswered)

    def _note_unanswered(self) -> None:
        """Report the dispatches that have had no answer for some time."""
        now = self.clock()
        for key, row in self._rows.items():
            dispatch = None if row.is_final else self.unanswered.get(key)
            if dispatch is not None and dispatch.id != row.intended:
                row.intended, row.since = dispatch.id, now
            shown = dispatch if now - row.since >= QUIET_SECONDS else None
            if shown is not row.dispatch:
                row.dispatch = shown
                self._note(row)

    @property
    def items(self) -> list[Item]:
        """All as the items of a batch that would be over now, in the order asked.

        An operation in flight is not reported as running while the service is silent.
        """
        items, outage = () if self._source is None else self._source.items, self.outage
        return [self._as_seen(evolve(item, is_waiting=False), outage) for item in items]

    def _as_seen(self, item: Item, outage: Outage | None) -> Item:
        """Return an item by its name, and as unseen during an outage.

        A poll that hangs at the time-out has not failed, and nothing has been seen either.
        """
        if item.outcome is not None or item.ref is None:
            return item
        row = self._row(item)
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
        """All rows, in the order asked."""
        return list(self._rows.values())

    @property
    def over(self) -> int:
        """Number of rows with a result."""
        return sum(row.ended is not None for row in self._rows.values())

    @property
    def outage(self) -> Outage | None:
        """The present outage; None if the service answers."""
        return self.contact.outage(self.in_flight)

    @property
    def in_flight(self) -> list[Ref]:
        """Refs of the operations that were not observed to be over."""
        return [
            row.item.ref
            for row in self._rows.values()
            if row.item.ref is not None
            and row.ended is None
            and not (row.snapshot and row.snapshot.is_finished)
        ]

    @property
    def has_waiting(self) -> bool:
        """True if anything is still to be dispatched."""
        return any(row.item.ref is None and not row.is_final for row in self._rows.values())


@contextmanager
def reporting(progress: Progress, output: Renderer, *, during: str = "") -> Generator[None]:
    """Report all changes at each interval of the output while this is open.

    An error of the output, as where the reader has closed the pipe, ends the body of this and is
    raised here: in a hook of the client it would be logged and lost.

    Args:
        progress: The operations.
        output: The output.
        during: As of `Progress.report`.
    """
    loop, errors = asyncio.get_running_loop(), list[Exception]()
    timer: asyncio.Handle

    def report() -> None:
        nonlocal timer
        timer = loop.call_later(output.interval, report)
        try:
            progress.report(output, during=during)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised below
            timer.cancel()
            errors.append(error)
            scope.cancel()

    timer = loop.call_soon(report)
    try:
        with anyio.CancelScope() as scope:
            yield
        if errors:
            raise errors[0]
        progress.report(output, during=during)
    finally:
        timer.cancel()
