"""What is known of a command's operations, each as it was last seen.

A `Board` listens to a client through its hooks and to a batch through its items, and decides
nothing. How it looks is `view`'s to say, how it reaches the terminal `live`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from attrs import evolve

from testvibe_async import (
    BatchItem,
    Generation,
    GenerationRef,
    Hooks,
    OutcomeUnknownError,
    Phase,
    Ref,
    Run,
    RunRef,
    TransportError,
    WaitTimeoutError,
)
from testvibe_async.cli import view
from testvibe_async.cli.rows import Row, Standing
from testvibe_async.cli.words import unusual

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Group

    from testvibe_async import (
        Dispatched,
        RequestFinished,
        StatusChanged,
        Transition,
    )
    from testvibe_async.cli.dispatch import Item

__all__ = ["Board"]

_DISPATCHES = {"run_feature", "generate_feature"}


class Board:
    """The operations of one client, each as it was last seen."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Make an empty board.

        Args:
            clock: Returns the present, in seconds, such as the event loop's `time`.
        """
        self._clock = clock
        self._began = clock()
        self._names: dict[int | str | None, str] = {}
        self._rows: dict[object, Row] = {}
        self._unanswered: dict[str, bool] = {}
        self._asked = self._on_the_way = self._ended = 0
        self._kind: type[Ref] | None = None
        self.is_told = False
        """Whether all was said of them that there is to say."""

        self.requests = 0
        """How many requests were answered, or failed."""

        self.on_change: Callable[[Row], object] = lambda _row: None
        """Called with each row whose phase or status changed, or that was given up."""

    @property
    def hooks(self) -> Hooks:
        """What to make the client with, so that it tells this board."""
        return Hooks(
            on_dispatched=self._dispatched, on_transition=self._changed, on_request=self._requested
        )

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
        """The URLs of dispatches that no answer came to, and that nobody was told of."""
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
                error=row.error,
            )
            for row in self._rows.values()
        ]
        return known + [_unanswered(url) for url in self.unanswered]

    @property
    def standing(self) -> Standing:
        """How all of it stands now."""
        return Standing(
            rows=self.rows,
            asked=max(self._asked + self._on_the_way, len(self._rows)),
            ended=self._ended,
            began=self._began,
            now=self._clock(),
        )

    @property
    def elapsed(self) -> float:
        """Seconds since this board was made."""
        return self._clock() - self._began

    def expect(self, jobs: Sequence[Item], kind: type[Ref]) -> None:
        """Learn which operations there will be, and the names of their features.

        An operation of another kind is on the way to one of these, as a generation before a run,
        and comes on top of them.

        Args:
            jobs: An item for each, of which nothing else is known yet.
            kind: What names such an operation.
        """
        self._asked, self._kind = len(jobs), kind
        self._names = {job.feature: job.name for job in jobs if job.name is not None}

    def follow(self, ref: Ref) -> None:
        """Take in an operation that was dispatched elsewhere."""
        if ref.key not in self._rows:
            self._add(ref)

    def update(self, ref: Ref, change: Transition[object]) -> None:
        """Take in how an operation stands."""
        self._observe(ref, change.phase, change.status, change.snapshot)

    def settle(self, item: Item) -> None:
        """Take in what became of one feature, as a batch tells it."""
        if item.ref is not None and item.outcome is not None:
            self._observe(item.ref, Phase.FINISHED, item.outcome.status, item.outcome)
        elif item.error is not None and not isinstance(item.error, WaitTimeoutError):
            self._give_up(item)

    def draw(self, width: int, height: int | None = None) -> Group:
        """Return the board as it looks now; see `view.board`."""
        return view.board(self.standing, width=width, height=height)

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
        key = (item.feature, item.config) if item.ref is None else item.ref.key
        now = self._clock()
        new = Row(feature=item.feature_name, config=unusual(item.config), began=now)
        row = self._rows[key] = evolve(self._rows.get(key, new), error=item.error, ended=now)
        self._ended += 1
        self.on_change(row)

    def _add(self, ref: Ref, *, feature: int | str | None = None, config: str | None = None) -> Row:
        feature_id = ref.feature_id if isinstance(ref, RunRef | GenerationRef) else None
        asked = feature if isinstance(feature, str) else None
        name = self._names.get(feature_id) or asked or _unnamed(feature_id)
        row = self._rows[ref.key] = Row(
            ref=ref, feature=name, config=unusual(config), began=self._clock()
        )
        self._on_the_way += not isinstance(ref, self._kind or Ref)
        return row

    def _dispatched(self, event: Dispatched) -> None:
        self.on_change(self._add(event.ref, feature=event.feature, config=event.config))

    def _changed(self, event: StatusChanged) -> None:
        self.update(event.ref, event.transition)

    def _requested(self, event: RequestFinished) -> None:
        self.requests += 1
        if event.operation in _DISPATCHES:
            self._unanswered[event.url] = event.status is None


def _named(row: Row, snapshot: object) -> Row:
    """Return the row under the names that the service has for what it is of."""
    if not isinstance(snapshot, Run | Generation):
        return row
    config = unusual(snapshot.config) if isinstance(snapshot, Run) else None
    return evolve(row, feature=snapshot.feature_name or row.feature, config=config)


def _outcome(row: Row) -> Run | Generation | None:
    if row.ended is None or not isinstance(row.snapshot, Run | Generation):
        return None
    return row.snapshot


def _unanswered(url: str) -> Item:
    feature = unquote(url.rpartition("/features/")[2].rpartition("/")[0])
    what = "the command was stopped before the answer came"
    return BatchItem(feature=feature, error=OutcomeUnknownError(what, method="POST", url=url))


def _unnamed(feature_id: int | None) -> str:
    return "a feature" if feature_id is None else f"feature {feature_id}"
