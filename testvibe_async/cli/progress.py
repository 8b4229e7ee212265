"""The progress of a command's operations: the items of its batch, each as last observed.

Decides which of them changed since they were reported. Of an operation it stores only when it began
and ended here. `display` decides when and how rows are shown.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import evolve

from testvibe_async import Phase, Verdict, WaitTimeoutError
from testvibe_async.cli.contact import Contact
from testvibe_async.cli.rows import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from testvibe_async import Client, Hooks, Operation, Ref
    from testvibe_async.cli.contact import Outage
    from testvibe_async.cli.words import Item

__all__ = ["Progress"]

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
        self.is_changed: bool = False
        """True if anything may have changed since the last call of `update`."""
        self._client: Client | None = None
        self._planned: Sequence[Item] = ()
        self._read: Callable[[], Sequence[Item]] = tuple
        self._final: set[Key] = set()
        """The items for which the batch does nothing more."""
        self._rows: dict[Key, Row] = {}

    @property
    def hooks(self) -> Hooks:
        """The hooks to make the client with."""
        return evolve(self.contact.hooks, on_dispatched=self._note, on_transition=self._note)

    def _note(self, _event: object) -> None:
        self.is_changed = True

    @property
    def elapsed(self) -> float:
        """Seconds since the command began to work on its operations."""
        return self.clock() - self.started

    def follow(
        self, client: Client | None, planned: Sequence[Item], read: Callable[[], Sequence[Item]]
    ) -> None:
        """Show the items of a batch from now on.

        Args:
            client: Polls their operations.
            planned: An item for each operation, in the order in which they are read.
            read: Returns the present items; fewer while the batch starts.
        """
        self._client, self._planned, self._read = client, planned, read
        self.started = self.clock()  # The time of a question before is nobody's.
        self.update()

    def end(self, item: Item) -> None:
        """Note that the batch does nothing more for an item."""
        self._final.add(_key(item))
        self.is_changed = True

    def _known(self) -> list[Item]:
        """Return all items as they are now; those that the batch has not read yet are last."""
        known = self._read()
        return [*known, *self._planned[len(known) :]]

    @property
    def items(self) -> list[Item]:
        """All as the items of a batch that would be over now, in the order asked.

        An operation in flight is not reported as running while the service is silent.
        """
        outage = self.contact.outage(self.in_flight)
        return [self._as_seen(evolve(item, is_waiting=False), outage) for item in self._known()]

    def _as_seen(self, item: Item, outage: Outage | None) -> Item:
        """Return an item by its name, and as unseen during an outage.

        A poll that hangs at the time-out has not failed, and nothing has been seen either.
        """
        row = self._rows.get(_key(item))
        if item.outcome is not None or item.latest_ref is None or row is None:
            return item
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

    @property
    def rows(self) -> list[Row]:
        """All rows as of the last update, in the order asked."""
        return list(self._rows.values())

    @property
    def in_flight(self) -> list[Ref]:
        """Refs of the dispatched operations that were not observed to be over."""
        refs = (row.item.latest_ref for row in self._rows.values() if row.is_polled)
        return [ref for ref in refs if ref is not None]

    @property
    def has_waiting(self) -> bool:
        """True if anything is still to be dispatched."""
        return any(item.ref is None and _key(item) not in self._final for item in self._known())

    def update(self) -> list[Row]:
        """Read all items, and return the rows to report: what changed since the last call."""
        self.is_changed = False
        changed: list[Row] = []
        for item in self._known():
            before = self._rows.get(_key(item))
            if before is not None and before.is_final:
                continue
            row = self._row(item, before)
            is_ending = row.phase is Phase.FINISHED and not row.is_final
            if before is not None and is_ending and item.generation_ref is None:
                continue  # Its end is reported with its item, which follows at once.
            self._rows[_key(item)] = row
            changed += self._changes(before, row)
        return changed

    def _changes(self, before: Row | None, row: Row) -> Iterator[Row]:
        """Yield what of an item is to be reported, attempts that failed as their own."""
        ref = None if before is None else before.item.latest_ref
        if before and before.item.generation_ref and row.item.latest_ref != ref:
            yield self._row(before.item, before)  # The run began at once after its generation.
        for number in range(len(before.item.earlier) if before else 0, len(row.item.earlier)):
            yield _attempt(row, number, ref=ref)
        state = row.item.latest_ref, row.word
        if row.is_shown and (before is None or state != (ref, before.word)):
            yield row

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
            phase=operation.phase if operation else Phase.FINISHED if item.outcome else None,
            status=operation.status if operation else None,
            is_final=is_final,
            started=before.started if before is not None and is_same else now,
        )
        return evolve(row, ended=now) if row.is_over else row


def _key(item: Item) -> Key:
    return item.feature, item.config, item.repetition


def _attempt(row: Row, number: int, *, ref: Ref | None) -> Row:
    """Return the row of an attempt that failed, which had the ref as far as that is known."""
    run = row.item.earlier[number]
    item = evolve(row.item, ref=ref, outcome=run, error=None, earlier=row.item.earlier[:number])
    return evolve(row, item=item, snapshot=run, phase=Phase.FINISHED, is_final=True)
