"""The state of a command's operations, each as it was last seen.

A `Board` listens to a client through its hooks and to a batch through its items. It decides
which row an event or an item belongs to, and what of a command would be over if it ended now.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote

from attrs import evolve, frozen

from testvibe_async import (
    BatchItem,
    DispatchUnknownError,
    Generation,
    GenerationRef,
    Hooks,
    Phase,
    Ref,
    Run,
    RunRef,
    TransportError,
    WaitTimeoutError,
)
from testvibe_async.cli.board.contact import Contact, Outage
from testvibe_async.cli.board.row import Row
from testvibe_async.cli.board.suspensions import Suspensions
from testvibe_async.cli.words import unless_default

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from testvibe_async import Transition
    from testvibe_async.cli.jobs import Item
    from testvibe_async.events import (
        Dispatched,
        ListPollingSuspended,
        OutageStarted,
        RequestFinished,
        StatusChanged,
    )

__all__ = ["Board", "BoardState"]

_DISPATCHES = {"run_feature", "generate_feature"}


@frozen(kw_only=True)
class BoardState:
    """All operations of a command at one moment."""

    rows: Sequence[Row]
    """All that were dispatched or given up, in that order."""

    total: int
    """How many were asked for; those without a row wait to be dispatched."""

    ended: int
    """How many are over, or given up."""

    started: float
    """When the command started, by the clock of the rows."""

    now: float

    repeated: int = 0
    """How many ran again after a failure: each attempt counts, so that the count never falls."""

    outage: Outage | None = None
    """The outage that goes on; None where the service answers."""

    @property
    def waiting(self) -> int:
        """How many are still to be dispatched."""
        return self.total - self.repeated - len(self.rows)

    def at_end(self, unseen: Collection[Ref]) -> BoardState:
        """Return the state that is left at the end, when nothing is tried again.

        Args:
            unseen: The operations of which nobody knows how they go.
        """
        rows = [evolve(row, is_unseen=row.ref in unseen) for row in self.rows]
        return evolve(self, rows=rows, outage=None)


class Board:
    """The operations of one client, each as it was last seen."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Make an empty board.

        Args:
            clock: Returns the present, in seconds, such as the event loop's `time`.
        """
        self._clock = clock
        self._started = clock()
        self.contact: Contact = Contact(self._started)
        """Whether the service answers."""
        self.suspensions: Suspensions = Suspensions()
        """Which lists the service lacks at the moment."""
        self._names: dict[int | str | None, str] = {}
        self._rows: dict[object, Row] = {}
        self._job_of: dict[object, Item] = {}
        """The jobs that were dispatched before this command, by the keys of their operations."""
        self._latest: dict[object, object] = {}
        """The keys of the rows of the operations last dispatched, by job."""
        self._unanswered: dict[str, bool] = {}
        self._jobs: Sequence[Item] = ()
        self._dispatched: set[object] = set()
        """The jobs of all operations that were dispatched."""
        self._expected = self._preliminary = self._repeated = self._ended = 0
        self._kind: type[Ref] | None = None
        self.is_reported = False
        """Whether the command has printed its result."""

        self.requests: int = 0
        """How many requests were answered, or failed."""

        self.on_outage: Callable[[OutageStarted], object] = lambda _event: None
        """Called with each outage that the client announces."""

        self.on_change: Callable[[Row], object] = lambda _row: None
        """Called with each row whose phase or status changed, or that was given up."""

    @property
    def hooks(self) -> Hooks:
        """The hooks to make the client with, so that this board is kept up to date."""
        return Hooks(
            on_dispatched=self._on_dispatched,
            on_transition=self._on_transition,
            on_request=self._on_request,
            on_list_polling_suspended=self._on_list_polling_suspended,
            on_pause=lambda _: self.contact.pause(),
            on_resume=lambda _: self.contact.resume(),
            on_poll_failed=self.contact.doubt,
            on_outage_started=self._on_outage_started,
            on_outage_ended=lambda _: self.contact.find(self._clock(), datetime.now(UTC)),
        )

    @property
    def noun(self) -> str:
        """What there will be, such as `run`."""
        nouns: dict[type[Ref] | None, str] = {RunRef: "run", GenerationRef: "generation"}
        return nouns.get(self._kind, "operation")

    @property
    def rows(self) -> list[Row]:
        """The operations, in the order in which they were dispatched."""
        return list(self._rows.values())

    @property
    def in_flight(self) -> list[Row]:
        """The operations that are dispatched, and not seen to be over."""
        return [row for row in self._rows.values() if row.ref is not None and row.ended is None]

    @property
    def unanswered(self) -> list[str]:
        """The URLs of dispatches without an answer, except those that an item's error names."""
        return [url for url, is_unanswered in self._unanswered.items() if is_unanswered]

    @property
    def items(self) -> list[Item]:
        """All of it as the items of a batch that would be over now."""
        known: list[Item] = [
            BatchItem(
                feature=row.feature,
                config=row.config,
                ref=row.ref,
                outcome=_outcome(row),
                error=row.error or self._unseen(row),
                earlier=row.earlier,
            )
            for row in self._rows.values()
        ]
        unanswered = [_unanswered(url) for url in self.unanswered]
        return [*known, *unanswered, *self._not_dispatched(unanswered)]

    def _not_dispatched(self, unanswered: Sequence[Item]) -> list[Item]:
        """Return the jobs that were never dispatched."""
        sent = Counter(str(item.feature) for item in unanswered)
        left: list[Item] = []
        for job in self._jobs:
            key = (job.feature, job.config)
            if key in self._rows or (self._kind, *key) in self._dispatched:
                continue
            if sent[str(job.feature)]:
                sent[str(job.feature)] -= 1
            else:
                left.append(job)
        return left

    @property
    def state(self) -> BoardState:
        """All operations now."""
        return BoardState(
            rows=self.rows,
            total=max(self._expected + self._preliminary, len(self._rows)) + self._repeated,
            ended=self._ended,
            started=self._started,
            now=self._clock(),
            repeated=self._repeated,
            outage=self.outage,
        )

    @property
    def outage(self) -> Outage | None:
        """The outage that goes on; None where the service answers."""
        kinds = [row.ref.kind for row in self.in_flight if row.ref]
        return self.contact.outage(
            self._clock(), runs=kinds.count("run"), generations=kinds.count("generation")
        )

    @property
    def elapsed(self) -> float:
        """Seconds since this board was made."""
        return self._clock() - self._started

    def expect(self, jobs: Sequence[Item], kind: type[Ref]) -> None:
        """Set which operations there will be, and the names of their features.

        An operation of another kind precedes one of these, as a generation does a run, and is
        counted in addition to them.

        Args:
            jobs: The jobs that will be dispatched.
            kind: The class of their refs.
        """
        self._jobs, self._expected, self._kind = jobs, len(jobs), kind
        self._started = self._clock()  # The time of a question before is nobody's.
        self._names = {job.feature: job.name for job in jobs if job.name is not None}
        self._job_of = {job.ref.key: job for job in jobs if job.ref is not None}

    def follow(self, ref: Ref) -> None:
        """Add an operation that was dispatched elsewhere."""
        if ref.key not in self._rows:
            self._add(ref)

    def update(self, ref: Ref, change: Transition[object]) -> None:
        """Record an operation's transition."""
        self._observe(ref, change.phase, change.status, change.snapshot)

    def record(self, item: Item) -> None:
        """Record the item of a batch whose operation completed or was given up."""
        if item.latest_ref is not None and item.outcome is not None:
            self._observe(item.latest_ref, Phase.FINISHED, item.outcome.status, item.outcome)
        elif item.error is not None and not isinstance(item.error, WaitTimeoutError):
            self._give_up(item)

    def as_seen(self, item: Item) -> Item:
        """Return an item of a batch; not as in flight where the service is silent.

        A poll that hangs at the time-out has not failed, and nothing has been seen either.
        """
        row = None if item.latest_ref is None else self._rows.get(item.latest_ref.key)
        if row is None or not isinstance(item.error, WaitTimeoutError) or item.is_unseen:
            return item
        return evolve(item, error=self._unseen(row) or item.error)

    def _unseen(self, row: Row) -> WaitTimeoutError | None:
        """Return that an operation in flight is not seen, where the service does not answer."""
        if row.ref is None or row.ended is not None or self.outage is None:
            return None
        return WaitTimeoutError(
            ref=row.ref,
            status=row.status,
            elapsed=row.elapsed(self._clock()),
            last_seen_at=self.contact.seen_at,
            failures=max(self.contact.failures, 1),
        )

    def note(self, ref: Ref, line: str) -> None:
        """Record the last line of an operation's log."""
        row = self._rows.get(ref.key)
        if row is not None and row.ended is None and row.note != line:
            self._rows[ref.key] = evolve(row, note=line)
            self.on_change(self._rows[ref.key])

    def named(self, item: Item) -> Item:
        """Return an item with the name of its feature, where it was seen."""
        row = None if item.latest_ref is None else self._rows.get(item.latest_ref.key)
        if row is None or item.outcome is not None:
            return item
        return evolve(item, name=row.feature, config=item.config or row.config)

    def _observe(self, ref: Ref, phase: Phase, status: str | None, snapshot: object) -> None:
        before = self._rows.get(ref.key) or self._add(ref)
        is_over = phase is Phase.FINISHED
        row = self._rows[ref.key] = evolve(
            _named(before, snapshot),
            phase=phase,
            status=status,
            snapshot=snapshot,
            ended=before.ended or self._clock() if is_over else None,
        )
        self._ended += is_over and before.ended is None
        if (row.phase, row.word) != (before.phase, before.word):
            self.on_change(row)

    def _give_up(self, item: Item) -> None:
        if isinstance(item.error, TransportError):
            self._unanswered[item.error.url] = False
        key = (item.feature, item.config) if item.latest_ref is None else item.latest_ref.key
        now = self._clock()
        new = Row(
            feature=item.feature_name,
            config=unless_default(item.config),
            started=now,
            earlier=self._replace_failed((RunRef, item.feature, item.config)),
        )
        row = self._rows[key] = evolve(self._rows.get(key, new), error=item.error, ended=now)
        self._ended += 1
        self.on_change(row)

    def _add(
        self,
        ref: Ref,
        *,
        feature: int | str | None = None,
        config: str | None = None,
        is_attached: bool = True,
    ) -> Row:
        feature_id = ref.feature_id if isinstance(ref, RunRef | GenerationRef) else None
        if feature is None and (known := self._job_of.get(ref.key)) is not None:
            feature, config = known.feature, known.config
        typed = feature if isinstance(feature, str) else None
        name = self._names.get(feature_id) or typed or _unnamed(ref, feature_id)
        job = (type(ref), feature, config)
        row = self._rows[ref.key] = Row(
            ref=ref,
            feature=name,
            config=unless_default(config),
            started=self._clock(),
            is_attached=is_attached,
            earlier=self._replace_failed(job),
        )
        self._latest[job] = ref.key
        self._dispatched.add(job)
        self._preliminary += not isinstance(ref, self._kind or Ref)
        return row

    def _replace_failed(
        self, job: tuple[type[Ref], int | str | None, str | None]
    ) -> tuple[Run, ...]:
        """Remove the row of a job's attempt that failed, and return the runs of all attempts."""
        key = self._latest.get(job)
        before = self._rows.get(key)
        run = before.snapshot if before is not None and before.ended is not None else None
        if job[1] is None or before is None or not isinstance(run, Run) or run.is_success:
            return ()
        del self._rows[key], self._latest[job]
        self._repeated += 1
        return (*before.earlier, run)

    def _on_dispatched(self, event: Dispatched) -> None:
        self.on_change(
            self._add(event.ref, feature=event.feature, config=event.config, is_attached=False)
        )

    def _on_transition(self, event: StatusChanged) -> None:
        self.update(event.ref, event.transition)

    def _on_list_polling_suspended(self, event: ListPollingSuspended) -> None:
        self.suspensions.begin(event, now=self._clock())

    def _on_outage_started(self, event: OutageStarted) -> None:
        self.contact.lose(event.error)
        self.on_outage(event)

    def _on_request(self, event: RequestFinished) -> None:
        self.requests += 1
        now = self._clock()
        self.contact.note(event, now=now, at=datetime.now(UTC))
        self.suspensions.note(event, now=now)
        if event.operation in _DISPATCHES:
            self._unanswered[event.url] = event.status is None


def _named(row: Row, snapshot: object) -> Row:
    """Return the row with the service's names for its feature and configuration."""
    if not isinstance(snapshot, Run | Generation):
        return row
    config = unless_default(snapshot.config) if isinstance(snapshot, Run) else None
    return evolve(row, feature=snapshot.feature_name or row.feature, config=config)


def _outcome(row: Row) -> Run | Generation | None:
    if row.ended is None or not isinstance(row.snapshot, Run | Generation):
        return None
    return row.snapshot


def _unanswered(url: str) -> Item:
    before, _, after = url.rpartition("/features/")
    feature = unquote(after.rpartition("/")[0])
    error = DispatchUnknownError(
        "the command was stopped before the answer came",
        method="POST",
        url=url,
        project=unquote(before.rpartition("/")[2]),
        feature=feature,
    )
    return BatchItem(feature=feature, error=error)


def _unnamed(ref: Ref, feature_id: int | None) -> str:
    return str(ref) if feature_id is None else f"feature {feature_id}"
