"""One dispatch, which must not happen twice: its state, and its row in the ledger.

A `Dispatch` is the only owner of that state. The transport reports to it, a batch withdraws it, and
`machine` decides what follows from each state. The two kinds, in `kinds`, decide what is sent, and
what must be known before.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from attrs import define, field

from testvibe_async._core.dispatch.candidates import Decision
from testvibe_async._core.dispatch.unknown import unknown_error
from testvibe_async._core.util import escape
from testvibe_async._core.util.waiting import NO_CONTEXT, cancelling
from testvibe_async.errors import (
    ContradictionError,
    LedgerError,
    OperationNotFoundError,
    VibeError,
)
from testvibe_async.events import logger
from testvibe_async.ledger import Row, RowState, machine_clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from testvibe_async._core.wire import Request
    from testvibe_async.errors import DispatchUnknownError, KindName
    from testvibe_async.ledger import Ledger
    from testvibe_async.models import Snapshot
    from testvibe_async.operations import ClientParts, Operation
    from testvibe_async.refs import Ref

INTENT_SECONDS = 5.0
"""Maximum age in seconds of a row when its request is written; with an older one it is not sent."""

NOTE_SECONDS = 10.0
"""Seconds in which a ledger must note what became known."""

LATE_SECONDS = 60.0
"""Minimum seconds that a service may take to act on a request; nothing can check it."""

OperationT = TypeVar("OperationT", bound="Operation[Any]")

UNSEEN = Decision(reason="unseen")
"""The decision without any evidence."""


class State(Enum):
    """The progress of a dispatch."""

    IDLE = auto()
    """The dispatch is not under way."""

    RECALL = auto()
    """The ledger has rows of it, which decide what is next."""

    PREPARE = auto()
    """Read what the dispatch needs before it is sent."""

    SEND = auto()
    """The request waits to be written, or provably had no effect."""

    SENT = auto()
    """Writing to a connection has started: it may have arrived, and there is no answer yet."""

    SETTLE = auto()
    """It may have taken effect, and its operation is searched for."""

    EXPIRE = auto()
    """The search found nothing, and the request may still take effect."""

    STARTED = auto()
    """The operation is known."""

    UNKNOWN = auto()
    """It has ended, and it is unknown whether it took effect."""


_SENT = (State.SENT, State.SETTLE, State.EXPIRE)


class ClaimedError(VibeError):
    """Another call has inserted the row of this attempt: the request must not be written."""

    def __init__(self, row: Row) -> None:
        super().__init__("another call makes this attempt")
        self.row = row


@define(eq=False, kw_only=True)
class Dispatch(ABC, Generic[OperationT]):
    """One dispatch, which must not happen twice."""

    kind: ClassVar[KindName]
    """The kind of the operation."""

    operation_class: ClassVar[type[Operation[Any]]]
    """The class of the operation's handle."""

    parts: ClientParts
    ledger: Ledger
    project: str
    feature: int | str
    name: str | None = None
    site_url: str | None = None
    config: str | None = None

    key: str
    """The key of its rows."""

    item: str = ""
    """The item of a batch that its rows are of; empty for a single dispatch."""

    row: Row | None = None
    """The row of the last attempt, by any process; None if there was none."""

    previous: Row | None = None
    """The row of an attempt that has finished, after which this is the next one."""

    is_keyed: bool = False
    """True if the ledger may have rows of it."""

    patience: float | None = None
    """Seconds for which a rate-limited request is retried; None to follow the retry policy."""

    is_persistent: bool = False
    """True to wait until a lost request has expired, and then to dispatch again if that is safe."""

    missing_only: bool = False
    """True to generate nothing if the feature has tests by then."""

    gate: AbstractAsyncContextManager[Any] = NO_CONTEXT
    """Held while it is prepared and sent."""

    on_row: Callable[[Row], object] | None = None
    """Called with each row of another attempt."""

    state: State = field(default=State.IDLE, init=False)
    """The progress of the dispatch, changed only by the methods here and by the machine."""

    failure: VibeError | None = field(default=None, init=False)
    """The reason why the answer of the last attempt is not known."""

    decision: Decision = field(default=UNSEEN, init=False)
    """The result of the last answered search for its operation."""

    shown: dict[Ref, tuple[Snapshot, Ref]] = field(
        factory=dict["Ref", "tuple[Snapshot, Ref]"], init=False
    )
    """The operations that any search for it has shown: a later list may leave one out."""

    why: str = field(default="", init=False)
    """The reason why the last search could not show more; empty if there is none."""

    is_misrouted: bool = field(default=False, init=False)
    """True if its answer was not the service's own, while other routes were answered."""

    resends: int = field(default=0, init=False)
    """Number of attempts after one that had expired without effect."""

    withdrawn_at: float | None = field(default=None, init=False)
    """The loop's clock when it was withdrawn; None if it may be sent."""

    request: Request[Any] = field(init=False)
    """The request that starts the operation."""

    traceparent: str | None = field(default=None, init=False)
    """The dispatch's span, for its rows and its ref; None if no span is recorded."""

    asked_seconds: float | None = field(default=None, init=False)
    """The seconds after which its answer asks for the first poll; None if it does not."""

    written_at: float | None = field(default=None, init=False)
    """The loop's clock when it was last sent; None if this dispatch has sent nothing."""

    _own: Row | None = field(default=None, init=False)
    """The row of the last attempt that this dispatch itself made; others' are only read."""

    _is_stored: bool = field(default=True, init=False)
    """False until the ledger is given a row whose request was written unseen."""

    _began: float = field(default=0.0, init=False)
    _withdrawal: asyncio.Event | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Build the request; a `ConfigError` describes what can't be sent."""
        self.request = self._build_request()

    @property
    def is_withdrawn(self) -> bool:
        """True if it must not be sent any more: cancelled, out of time, or the client closes."""
        return self.withdrawn_at is not None

    @property
    def is_sent(self) -> bool:
        """True if it was sent and its operation is not known, whether that is searched for."""
        return self.state in _SENT or self.state is State.UNKNOWN

    @property
    def has_effect(self) -> bool:
        """True if it has started its operation, or may have."""
        return self.is_sent or self.state is State.STARTED

    @property
    def is_awaited(self) -> bool:
        """True while it is sent, and its operation may still become known without another call."""
        return self.state in _SENT

    @property
    def is_accepted(self) -> bool:
        """True if the service accepted it, by an answer whose id can't be read."""
        return self.row is not None and self.row.state is RowState.ACCEPTED

    @property
    def is_own(self) -> bool:
        """True if this dispatch made the last attempt."""
        return self.row is self._own is not None

    @property
    def is_anothers(self) -> bool:
        """True while the attempt is that of another call, which may still have its answer."""
        is_intended = self.row is not None and self.row.state is RowState.INTENDED
        return is_intended and self.row is not self._own

    @property
    def may_be_cancelled(self) -> bool:
        """True if it is under way, and so far without effect."""
        return self.state in {State.RECALL, State.PREPARE, State.SEND}

    @property
    def patience_left(self) -> float | None:
        """Seconds for which a rate-limited request is still retried; None for the retry policy."""
        if self.patience is None:
            return None
        return self._began + self.patience - asyncio.get_running_loop().time()

    @property
    def previous_id(self) -> str | None:
        """The `requestId` of the previous generation; None for a run, or if it is unknown."""
        return None

    @property
    def ref(self) -> Ref | None:
        """The operation of the last attempt, if it is known."""
        return None if self.row is None else self.row.ref

    def begin(self) -> None:
        """Note that the dispatch is under way, with nothing sent yet."""
        # The rows of a batch are read at its start.
        is_to_recall = self.row is not None or (self.is_keyed and not self.item)
        self.state = State.RECALL if is_to_recall else State.PREPARE
        self._began = asyncio.get_running_loop().time()

    def renew_patience(self) -> None:
        """Start its patience again: the wait for the end of an outage is no rate limit."""
        self._began = asyncio.get_running_loop().time()

    def withdraw(self) -> None:
        """Keep the dispatch from being sent, and end its wait for a lost request to expire."""
        if self.withdrawn_at is None:
            self.withdrawn_at = asyncio.get_running_loop().time()
            if self._withdrawal is not None:
                self._withdrawal.set()

    async def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds, or until the dispatch is withdrawn."""
        if self.is_withdrawn:
            return
        self._withdrawal = asyncio.Event()
        try:
            async with asyncio.timeout(seconds):
                await self._withdrawal.wait()
        except TimeoutError:
            pass

    async def before_writing(self) -> None:
        """Have the ledger store the row of an attempt, right before the request is written.

        Raises:
            ClaimedError: Another call makes this attempt.
            LedgerError: The ledger failed, or took too long.
        """
        row = self._new_row()
        if self.ledger.is_immediate:
            stored = await self.ledger.insert(row)
        else:
            stored = await self._inserted(row)
        if stored.token != row.token:
            self.set_row(stored)
            raise ClaimedError(stored)
        self.set_row(row)
        self._own = row
        if self.is_withdrawn:  # Meanwhile: nobody else notes that it is not sent.
            await self.note(RowState.NOT_STARTED)

    async def _inserted(self, row: Row) -> Row:
        """Have a ledger that takes its time store a row, in time.

        Raises:
            LedgerError: It failed, or took too long.
        """
        loop = asyncio.get_running_loop()
        began, limit = loop.time(), asyncio.timeout(INTENT_SECONDS)
        try:
            async with limit:
                stored = await self.ledger.insert(row)
        except (Exception, asyncio.CancelledError) as error:
            # It may have been stored all the same, and is not sent.
            if isinstance(error, asyncio.CancelledError) and cancelling():
                row.state = RowState.NOT_STARTED
                await noted(self.ledger, row)
                raise
            if limit.expired():
                self.set_row(row)
                self._own = row
            raise self._not_recorded(_why_not_recorded(error, limit)) from error
        # The loop's clock stops while the machine sleeps, and the wall clock may be set back.
        age = max((datetime.now(UTC) - row.intended_at).total_seconds(), loop.time() - began)
        if stored.token == row.token and age > INTENT_SECONDS:
            self.set_row(row)
            self._own = row
            raise self._not_recorded(
                f"its row was stored after {age:.3g} s, and {INTENT_SECONDS:g} s are allowed"
            )
        return stored

    def mark_written(self, now: float) -> None:
        """Note that writing begins: from now on, the request may have arrived."""
        self.state, self.written_at = State.SENT, now

    def mark_answered(self, sent: float) -> None:
        """Note that an answer or error came, whether or not writing was observed.

        A mock of the session, or a session that copies the body, never asks it to write itself.
        """
        if self.state is not State.SEND:
            return
        if self.row is not self._own or self.row is None:
            self._own, self._is_stored = self._new_row(), False
            self.set_row(self._own)
        self.mark_written(sent)

    async def mark_refused(self, error: VibeError) -> None:
        """Note that this attempt provably had no effect: it was not sent, or clearly refused."""
        is_under_way = self.state in {State.SEND, State.SENT} and self.row is self._own
        if is_under_way and self.row is not None and self.row.state is RowState.INTENDED:
            await self.note(RowState.NOT_STARTED, error=error)
        if self.state is State.SENT:
            self.state = State.SEND

    async def note(
        self,
        state: RowState,
        *,
        ref: Ref | None = None,
        error: VibeError | None = None,
        adopted: bool = False,
    ) -> None:
        """Note in the ledger what became known of the last attempt."""
        row = self.row
        assert row is not None
        row.state, row.error = state, error
        if ref is not None:
            row.ref, row.adopted = ref, adopted
        is_stored, self._is_stored = self._is_stored, True
        await noted(self.ledger, row, is_stored=is_stored)

    async def keep(self, end: Snapshot | VibeError) -> None:
        """Note in the ledger how the operation ended, or that it can't be the one wanted."""
        assert self.row is not None
        if not isinstance(end, VibeError):
            self.row.outcome = end
            await self.note(RowState.FINISHED)
        elif refute(self.row, end):
            await self.note(RowState.UNKNOWN, error=end)

    async def join(self, ref: Ref) -> None:
        """Store an operation that serves the purpose of the dispatch, as one that it started.

        Where another process has made the attempt, the operation is that of the next one, unless
        the row there names its own.
        """
        is_stored = False
        while not is_stored:
            row = self._new_row()
            row.state, row.ref, row.adopted = RowState.DISPATCHED, ref, True
            stored = await self.ledger.insert(row)
            self.set_row(stored)
            is_stored = stored.token == row.token or stored.ref is not None

    def set_row(self, row: Row) -> None:
        """Note the row of another attempt, or the present one as another process knows it."""
        self.row = row
        if self.on_row is not None:
            self.on_row(row)

    def unknown(self, what: str) -> DispatchUnknownError:
        """Return the error of a dispatch whose operation is not known yet, for a reason."""
        self.why = what
        return unknown_error(self)

    def end(self) -> None:
        """Note that the dispatch has ended."""
        if self.state in _SENT:
            self.state = State.UNKNOWN
        elif self.state is not State.STARTED and self.state is not State.UNKNOWN:
            self.state = State.IDLE

    def _not_recorded(self, what: str) -> LedgerError:
        url = self.parts.transport.url_of(self.request)
        return LedgerError(what, method=self.request.method, url=url)

    def _new_row(self) -> Row:
        """Return the row of an attempt that is made now."""
        last = self.row or self.previous
        return Row(
            server=self.parts.transport.server,
            project=self.project,
            key=self.key,
            item=self.item,
            number=1 if last is None else last.number + 1,
            kind=self.kind,
            feature=self.feature,
            name=self.name,
            config=self.config,
            site_url=self.site_url,
            intended_at=datetime.now(UTC),
            clock=machine_clock(),
            expires_after=INTENT_SECONDS + max(LATE_SECONDS, 2 * self.parts.transport.timeout),
            traceparent=self.traceparent,
            **self._before(),
        )

    @abstractmethod
    def _build_request(self) -> Request[Any]: ...

    @abstractmethod
    async def prepare(self) -> VibeError | None:
        """Read the data needed to recognize the operation if the answer is lost.

        Returns:
            The failure to read the data, if any: no reason not to dispatch, unless a batch has the
            patience to wait for the end of an outage, or only missing tests are to be generated.
        """

    @abstractmethod
    def note_started(self, ref: Ref) -> None:
        """Note the operation that the answer named."""

    @abstractmethod
    def _before(self) -> dict[str, Any]:
        """Return the fields of a row that describe the newest operation before the dispatch."""

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Return what is held while the request is under way."""
        return NO_CONTEXT


async def noted(ledger: Ledger, row: Row, *, is_stored: bool = True) -> None:
    """Have a ledger note what became known of a row; a failure is only logged, with the row.

    The operation must not be lost with the ledger.

    Args:
        ledger: The ledger.
        row: The row.
        is_stored: False to insert the row.
    """
    try:
        async with NO_CONTEXT if ledger.is_immediate else asyncio.timeout(NOTE_SECONDS):
            await (ledger.note(row) if is_stored else ledger.insert(row))
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and cancelling():
            raise
        what = f"{row.state} {'' if row.ref is None else row.ref.to_json()}"
        logger.error("the ledger could not note a dispatch (%r): %s", error, escape(what))


_REFUTING = (OperationNotFoundError, ContradictionError)
"""The errors which show that an operation that was found, or named, is not that of a dispatch."""


def refute(row: Row, error: VibeError) -> bool:
    """Take an adopted operation from a row if an error refutes it; return whether it does.

    Another operation may be named then.
    """
    is_refuted = row.adopted and isinstance(error, _REFUTING)
    if is_refuted:
        row.state, row.ref = RowState.UNKNOWN, None
    return is_refuted


def _why_not_recorded(error: BaseException, limit: asyncio.Timeout) -> str:
    """Describe how a ledger failed to store a row."""
    if limit.expired():
        return f"its ledger did not store the row within {INTENT_SECONDS:g} s"
    if isinstance(error, asyncio.CancelledError):
        return "its ledger was cancelled before it had stored the row"
    return f"its row could not be stored: {error}"
