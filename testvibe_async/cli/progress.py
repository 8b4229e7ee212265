"""The progress of a command's operations: the items of its batch, each as last observed.

Decides which rows changed since they were reported. Of an operation it stores only when it began
and ended here. `display` decides when and how rows are shown.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import evolve

from testvibe_async import GenerationRef, Phase, Verdict, VibeError, WaitTimeoutError
from testvibe_async.cli.contact import Contact
from testvibe_async.cli.rows import Row

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    from testvibe_async import Client, Hooks, Operation, Ref
    from testvibe_async.cli.contact import Outage
    from testvibe_async.cli.words import Item

__all__ = ["Progress"]

LOG_SECONDS = 6.0
"""Seconds between two reads of a generation's log."""

Key: TypeAlias = "tuple[int | str, str | None, int]"


class Progress:
    """Observed state of the operations of one command."""

    def __init__(self) -> None:
        """Create it without operations; requires a running event loop."""
        self.clock: Callable[[], float] = asyncio.get_running_loop().time
        """Returns the present, in seconds."""
        self.contact: Contact = Contact(self.clock)
        """Reachability of the service."""
        self.started: float = self.clock()
        """When the command began to work on them."""
        self.is_reported = False
        """True once the command has printed its result."""
        self.noun: str = "operation"
        """The kind of operation, such as `run`."""
        self.is_changed: bool = False
        """True if anything may have changed since the last call of `changes`."""
        self._client: Client | None = None
        self._jobs: Sequence[Item] = ()
        self._read: Callable[[], Sequence[Item]] = tuple
        self._is_shared = False
        self._final: dict[Key, Item] = {}
        self._rows: dict[Key, Row] = {}
        self._told: dict[Key, Row] = {}
        self._notes: dict[object, str] = {}

    @property
    def hooks(self) -> Hooks:
        """The hooks to make the client with."""
        return evolve(self.contact.hooks, on_dispatched=self._note, on_transition=self._note)

    @property
    def elapsed(self) -> float:
        """Seconds since the command began to work on its operations."""
        return self.clock() - self.started

    def expect(self, client: Client, jobs: Sequence[Item], noun: str) -> None:
        """Set what there will be.

        Args:
            client: Dispatches and polls it.
            jobs: An item for each operation; one with a ref was dispatched before.
            noun: The kind of the operations, such as `run`.
        """
        self._client, self._jobs, self.noun = client, jobs, noun
        self.started = self.clock()  # The time of a question before is nobody's.
        self._told = {_key(row.item): row for row in self.rows()}

    def follow(self, read: Callable[[], Sequence[Item]], *, is_shared: bool = False) -> None:
        """Read the items from a batch from now on.

        Args:
            read: Returns the items.
            is_shared: True if other processes carry them too: what waits is not skipped at the end
                of this one.
        """
        self._read, self._is_shared = read, is_shared

    def record(self, item: Item) -> None:
        """Note the item of an operation for which the batch does nothing more."""
        self._final[_key(item)] = item
        self.is_changed = True

    def _note(self, _event: object) -> None:
        self.is_changed = True

    def _known(self) -> list[Item]:
        """Return all items as they are now; those that the batch has not read yet are last."""
        known = self._read()
        items = (*known, *self._jobs[len(known) :])
        return [self._final.get(_key(item), item) for item in items]

    @property
    def items(self) -> list[Item]:
        """All as the items of a batch that would be over now, in the order asked.

        An operation in flight is not reported as running while the service is silent.
        """
        outage = self.contact.outage(self.in_flight)
        known = self._known()
        if not self._is_shared:
            known = [evolve(item, is_waiting=False) for item in known]
        return [self._as_seen(item, outage) for item in known]

    def _as_seen(self, item: Item, outage: Outage | None) -> Item:
        """Return an item by its name, and as unseen during an outage.

        A poll that hangs at the time-out has not failed, and nothing has been seen either.
        """
        if item.outcome is not None or item.latest_ref is None:
            return item
        row = self._rows.get(_key(item)) or Row(item=item, started=self.started)
        item = evolve(row, item=item).named_item
        is_late = item.error is None or isinstance(item.error, WaitTimeoutError)
        if outage is None or item.is_unseen or not is_late:
            return item
        error = WaitTimeoutError(
            ref=item.latest_ref,
            status=row.status,
            elapsed=row.elapsed(self.clock()),
            last_seen_at=outage.seen_at,
            failures=1,
        )
        return evolve(item, error=error)

    def rows(self) -> list[Row]:
        """Return all rows as they are now, in the order asked."""
        for item in self._known():
            before = self._rows.get(_key(item))
            if before is None or not before.is_final:
                self._rows[_key(item)] = self._row(item, before)
        return list(self._rows.values())

    def _row(self, item: Item, before: Row | None) -> Row:
        """Return the row of an item, given the row that it had before."""
        now, ref, is_final = self.clock(), item.latest_ref, _key(item) in self._final
        if not is_final and item.verdict is Verdict.UNKNOWN:
            item = evolve(item, error=None)  # Its dispatch is under way, or being looked for.
        operation: Operation[Any] | None = None
        if item.outcome is None and ref is not None and self._client is not None:
            operation = self._client.attach(ref)
        is_same = before is not None and ref in {None, before.item.latest_ref}
        row = Row(
            item=item,
            snapshot=operation.snapshot if operation else item.outcome,
            phase=operation.phase if operation else _phase(item),
            status=operation.status if operation else None,
            note=self._notes.get(ref.key, "") if ref else "",
            is_final=is_final,
            started=before.started if before is not None and is_same else now,
        )
        return evolve(row, ended=now) if row.is_over else row

    @property
    def in_flight(self) -> list[Ref]:
        """Refs of the dispatched operations that were not observed to be over."""
        refs = (row.item.latest_ref for row in self._rows.values() if row.is_polled)
        return [ref for ref in refs if ref is not None]

    @property
    def has_waiting(self) -> bool:
        """True if anything is still to be dispatched."""
        return any(
            not row.is_final and (row.item.latest_ref is None or self._is_step(row))
            for row in self.rows()
        )

    def changes(self) -> Iterator[Row]:
        """Yield the rows that changed since the last call, attempts that failed as their own."""
        self.is_changed = False
        for row in self.rows():
            before = self._told.get(_key(row.item))
            if row.phase is Phase.FINISHED and not row.is_final and not self._is_step(row):
                continue  # Its end is reported with its item, which follows at once.
            if before and self._is_step(before) and row.item.latest_ref != before.item.latest_ref:
                yield self._row(before.item, before)  # The run began at once after it.
            self._told[_key(row.item)] = row
            for number in range(len(before.item.earlier) if before else 0, len(row.item.earlier)):
                yield _attempt(row, number, ref=before.item.latest_ref if before else None)
            if row.is_shown and (before is None or _state(before) != _state(row)):
                yield row

    def _is_step(self, row: Row) -> bool:
        """Return whether a row shows the generation of a run's missing tests."""
        return self.noun == "run" and isinstance(row.item.latest_ref, GenerationRef)

    @asynccontextmanager
    async def following_logs(self) -> AsyncGenerator[None]:
        """Read the last lines of the logs of generations, for as long as this is open."""
        task = asyncio.create_task(self._follow_logs())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _follow_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_SECONDS)
            active = [row for row in self._rows.values() if row.phase is Phase.ACTIVE]
            refs = [row.item.latest_ref for row in active if row.is_polled]
            await asyncio.gather(
                *(self._read_log(ref) for ref in refs if isinstance(ref, GenerationRef))
            )

    async def _read_log(self, ref: GenerationRef) -> None:
        """Read the log of a generation; an unreadable one is ignored."""
        assert self._client is not None
        try:
            log = await self._client.attach(ref).log()
        except VibeError:
            return
        sections = [section for section in log.sections if section.log]
        at_work = [section for section in sections if section.conclusion is None]
        for section in (at_work or sections)[-1:]:
            self._notes[ref.key] = section.log[-1]
            self.is_changed = True


def _phase(item: Item) -> Phase | None:
    return None if item.outcome is None else Phase.FINISHED


def _key(item: Item) -> Key:
    return item.feature, item.config, item.repetition


def _state(row: Row) -> tuple[object, ...]:
    """Return what of a row is worth telling."""
    return row.item.latest_ref, row.word, row.note


def _attempt(row: Row, number: int, *, ref: Ref | None) -> Row:
    """Return the row of an attempt that failed, which had the ref as far as that is known."""
    run = row.item.earlier[number]
    item = evolve(row.item, ref=ref, outcome=run, error=None, earlier=row.item.earlier[:number])
    return evolve(row, item=item, snapshot=run, phase=Phase.FINISHED, is_final=True)
