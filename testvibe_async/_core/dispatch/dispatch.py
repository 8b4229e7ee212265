"""One dispatch, which must not happen twice: what is requested, and how far it is.

A `Dispatch` is the only owner of that state. The transport reports to it, a batch withdraws it, and
`machine` decides what follows from each state. Its rows are in `record`, what was found of it in
`unknown`. The two kinds, in `kinds`, decide what is sent, and what must be known before.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from attrs import define, field

from testvibe_async._core.dispatch.record import INTENT_SECONDS, NotRecordedError, noted, refute
from testvibe_async._core.dispatch.unknown import Search, unknown_error
from testvibe_async._core.util.waiting import NO_CONTEXT
from testvibe_async.errors import LedgerError, VibeError
from testvibe_async.ledger import Row, RowState, machine_time

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from testvibe_async._core.dispatch.record import Record
    from testvibe_async._core.wire import Request
    from testvibe_async.errors import DispatchUnknownError, KindName
    from testvibe_async.models import Snapshot
    from testvibe_async.operations import ClientParts, Operation
    from testvibe_async.refs import Ref

OUTAGE_TRIES = 3
"""Number of attempts of a dispatch that fails as in an outage, although reads are answered."""

LATE_SECONDS = 60.0
"""Minimum seconds that a service may take to act on a request; nothing can check it."""

OperationT = TypeVar("OperationT", bound="Operation[Any]")


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


@define(eq=False, kw_only=True)
class Dispatch(ABC, Generic[OperationT]):
    """One dispatch, which must not happen twice."""

    kind: ClassVar[KindName]
    """The kind of the operation."""

    operation_class: ClassVar[type[Operation[Any]]]
    """The class of the operation's handle."""

    parts: ClientParts
    record: Record
    """Its rows in the ledger."""

    project: str
    feature: int | str
    name: str | None = None
    site_url: str | None = None
    config: str | None = None

    patience: float | None = None
    """Seconds for which a rate-limited request is retried; None to follow the retry policy."""

    is_persistent: bool = False
    """True to wait until a lost request has expired, and then to dispatch again if that is safe."""

    missing_only: bool = False
    """True to generate nothing if the feature has tests by then."""

    gate: AbstractAsyncContextManager[Any] = NO_CONTEXT
    """Held while it is prepared and sent."""

    state: State = field(default=State.IDLE, init=False)
    """The progress of the dispatch, changed only by the methods here and by the machine."""

    search: Search = field(factory=Search, init=False)
    """The search for its operation, if the answer was lost."""

    tries_left: int = field(default=OUTAGE_TRIES, init=False)
    """Number of attempts left, if they fail as in an outage."""

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

    def begin(self) -> None:
        """Note that the dispatch is under way, with nothing sent yet."""
        # The rows of a batch are read at its start.
        record = self.record
        is_to_recall = record.row is not None or (record.is_keyed and not record.item)
        self.state = State.RECALL if is_to_recall else State.PREPARE
        self.tries_left = OUTAGE_TRIES
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
        try:
            await self.record.claim(self._new_row())
        except NotRecordedError as error:
            raise self._not_recorded(error.fact) from error.__cause__
        if self.is_withdrawn:  # Meanwhile: nobody else notes that it is not sent.
            await self.record.note(RowState.NOT_STARTED)

    def mark_written(self, now: float) -> None:
        """Note that writing begins: from now on, the request may have arrived."""
        self.state, self.written_at = State.SENT, now

    def mark_answered(self, sent: float) -> None:
        """Note that an answer or error came, whether or not writing was observed.

        A mock of the session, or a session that copies the body, never asks it to write itself.
        """
        if self.state is not State.SEND:
            return
        self.record.claim_unseen(self._new_row)
        self.mark_written(sent)

    async def mark_refused(self, error: VibeError) -> None:
        """Note that this attempt provably had no effect: it was not sent, or clearly refused."""
        if self.state in {State.SEND, State.SENT}:
            await self.record.note_refused(error)
        if self.state is State.SENT:
            self.state = State.SEND

    async def keep(self, ref: Ref, end: Snapshot | VibeError) -> None:
        """Note in the ledger how an operation ended, or that it can't be the one wanted."""
        row = self.record.row
        if row is None or row.ref != ref:  # Another call has learnt which one it is.
            return
        if not isinstance(end, VibeError):
            row.outcome = end
            await self.record.note(RowState.FINISHED)
        elif refute(row, end):
            await noted(self.record.ledger, row)

    async def join(self, ref: Ref) -> bool:
        """Store an operation as one that the dispatch started; see `Record.join`.

        Raises:
            LedgerError: The ledger took too long.
        """
        try:
            return await self.record.join(self._new_row, ref)
        except TimeoutError as error:
            raise self._not_recorded(f"its ledger did not store {ref} in time") from error

    def unknown(self, what: str) -> DispatchUnknownError:
        """Return the error of a dispatch whose operation is not known yet, for a reason."""
        return unknown_error(self, why=what)

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
        record, (boot, seconds) = self.record, machine_time()
        return Row(
            server=self.parts.transport.server,
            project=self.project,
            key=record.key,
            item=record.item,
            number=record.next_number,
            kind=self.kind,
            feature=self.feature,
            name=self.name,
            config=self.config,
            site_url=self.site_url,
            intended_at=datetime.now(UTC),
            boot=boot,
            boot_seconds=seconds,
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
