"""The table of early ends: what is said of an operation when a wait, batch or dispatch ends early.

A cell is for one way to end, and for what is known of the operation at that moment. It says what
the caller gets, and what the program knows of the operation: then, and once nothing more comes.
`test_early_ends` plays every cell.
"""

from __future__ import annotations

from asyncio import CancelledError
from enum import Enum, Flag, auto

from attrs import Factory, field, frozen

from testvibe_async import ClientClosedError, DispatchUnknownError, Verdict, WaitTimeoutError


class Subject(Enum):
    """What ends early."""

    WAIT = "wait"
    BATCH = "batch"
    DISPATCH = "dispatch"


class Ending(Flag):
    """How it ends early."""

    # `timeout=` of the wait or of the batch; for a dispatch, which has none, of the client.
    TIME_OUT = auto()
    # `asyncio.timeout` around it.
    FOREIGN_TIME_OUT = auto()
    # The caller's task is cancelled.
    CANCELLED = auto()
    # Another task is cancelled, which waits for the same operation or iterates over the batch.
    CONSUMER = auto()
    # The body raises: of `async for`, of `async with batch`, or of `async with client`.
    BODY = auto()
    # Another task closes the client.
    CLOSE = auto()
    # The main coroutine of `asyncio.run` returns: all tasks are cancelled at once.
    SHUTDOWN = auto()
    # SIGINT: `asyncio.run` cancels the main task, which leaves `async with client`.
    CTRL_C = auto()
    # A second SIGINT a second later: all other tasks are cancelled too.
    CTRL_C_TWICE = auto()


class Known(Flag):
    """What is known of the operation at that moment, and what the service does."""

    # Its dispatch waits to be sent.
    NOT_SENT = auto()
    # It was sent, and has no answer. The service acts and answers 1 s after the end.
    LATE = auto()
    # It was sent, and its answer was lost. It is found by reconciling 1 s after the end.
    LOST = auto()
    # It was sent, and has no answer. The service acts and answers 23 s after the end.
    TOO_LATE = auto()
    # It was sent, and nothing ever tells of it. The service acted, or it did not.
    SILENT = auto()
    # It was answered, and goes on.
    ANSWERED = auto()
    # It was answered, and ended after it was last seen.
    ENDED = auto()
    # It was seen to be over. In a batch, another operation goes on.
    OVER = auto()


class BodyError(Exception):
    """What a body raises."""


@frozen
class Cell:
    """What is said after an early end, or after several that are alike.

    The ref is known with a verdict of something that started. The log has one line at WARNING about
    what is unknown in the end, and one with the ref where it came later.
    """

    subject: Subject
    endings: Ending
    known: Known
    verdict: Verdict | None
    """What is said of the operation when the caller has its result; None for nothing."""

    later: Verdict | None = field(default=Factory(lambda cell: cell.verdict, takes_self=True))
    """What is said of it once nothing more comes, by a hook too; where not given, the same."""

    raises: type[BaseException] | None = field(kw_only=True, default=BaseException)
    """What the caller gets in place of a result; None for a result; where not given, `RAISES`."""


WAIT, BATCH, DISPATCH = Subject
TIME_OUT, FOREIGN_TIME_OUT, CANCELLED, CONSUMER, BODY, CLOSE, SHUTDOWN, CTRL_C, CTRL_C_TWICE = (
    Ending
)
NOT_SENT, LATE, LOST, TOO_LATE, SILENT, ANSWERED, ENDED, OVER = Known
SUCCEEDED, IN_FLIGHT = Verdict.SUCCEEDED, Verdict.IN_FLIGHT
UNKNOWN, SKIPPED = Verdict.UNKNOWN, Verdict.SKIPPED
ANY = ~Ending(0)
ANY_KNOWN = ~Known(0)
SENT = LATE | LOST | TOO_LATE | SILENT
GOES_ON = ANSWERED | ENDED
"""In flight as last seen."""

LEFT = FOREIGN_TIME_OUT | CANCELLED | BODY
"""The batch is left in order."""

RAISES: dict[Ending, type[BaseException]] = {
    FOREIGN_TIME_OUT: TimeoutError,
    BODY: BodyError,
    CLOSE: ClientClosedError,
    **dict.fromkeys((CANCELLED, SHUTDOWN, CTRL_C, CTRL_C_TWICE), CancelledError),
}
"""What the caller gets in place of a result, unless a cell says otherwise."""

# fmt: off
TABLE = [
    Cell(WAIT, TIME_OUT, ANSWERED, IN_FLIGHT, raises=WaitTimeoutError),
    Cell(WAIT, TIME_OUT, ENDED, SUCCEEDED, raises=None),
    Cell(WAIT, CONSUMER, GOES_ON, SUCCEEDED, raises=None),
    Cell(WAIT, LEFT | CLOSE | SHUTDOWN | CTRL_C, GOES_ON, IN_FLIGHT),
    Cell(WAIT, BODY, OVER, SUCCEEDED),
    Cell(WAIT, ANY & ~BODY & ~CTRL_C_TWICE, OVER, SUCCEEDED, raises=None),

    Cell(BATCH, TIME_OUT, NOT_SENT, SKIPPED, raises=None),
    Cell(BATCH, TIME_OUT, LATE | LOST | ANSWERED, IN_FLIGHT, raises=None),
    Cell(BATCH, TIME_OUT, TOO_LATE, UNKNOWN, IN_FLIGHT, raises=None),
    Cell(BATCH, TIME_OUT, SILENT, UNKNOWN, raises=None),
    Cell(BATCH, TIME_OUT, ENDED | OVER, SUCCEEDED, raises=None),
    Cell(BATCH, LEFT | CLOSE | SHUTDOWN | CTRL_C, NOT_SENT, SKIPPED),
    Cell(BATCH, LEFT | CLOSE | SHUTDOWN | CTRL_C, GOES_ON, IN_FLIGHT),
    Cell(BATCH, LEFT | CLOSE | SHUTDOWN | CTRL_C, OVER, SUCCEEDED),
    Cell(BATCH, LEFT | CLOSE | CTRL_C, LATE | LOST, IN_FLIGHT),
    Cell(BATCH, LEFT, TOO_LATE, UNKNOWN, IN_FLIGHT),
    Cell(BATCH, LEFT, SILENT, UNKNOWN),
    Cell(BATCH, CLOSE | CTRL_C, TOO_LATE | SILENT, UNKNOWN),
    Cell(BATCH, SHUTDOWN | CTRL_C_TWICE, SENT, UNKNOWN),
    Cell(BATCH, CONSUMER, ANY_KNOWN & ~SILENT, SUCCEEDED, raises=None),
    Cell(BATCH, CONSUMER, SILENT, UNKNOWN, raises=None),

    Cell(DISPATCH, TIME_OUT | BODY | CLOSE, LATE | LOST, IN_FLIGHT, raises=None),
    Cell(DISPATCH, TIME_OUT | BODY | CLOSE, TOO_LATE | SILENT, UNKNOWN,
         raises=DispatchUnknownError),
    Cell(DISPATCH, BODY | CLOSE, NOT_SENT, SKIPPED, raises=ClientClosedError),
    Cell(DISPATCH, FOREIGN_TIME_OUT | CANCELLED | SHUTDOWN | CTRL_C, NOT_SENT, None),
    Cell(DISPATCH, FOREIGN_TIME_OUT | CANCELLED, SENT & ~SILENT, None, IN_FLIGHT),
    Cell(DISPATCH, FOREIGN_TIME_OUT | CANCELLED, SILENT, None, UNKNOWN),
    Cell(DISPATCH, CTRL_C, LATE | LOST, None, IN_FLIGHT),
    Cell(DISPATCH, CTRL_C, TOO_LATE | SILENT, None, UNKNOWN),
    Cell(DISPATCH, SHUTDOWN | CTRL_C_TWICE, SENT, None, UNKNOWN),
]
# fmt: on

IMPOSSIBLE = [
    (WAIT, ANY, NOT_SENT | SENT, "before the answer there is no operation to wait for"),
    (WAIT, CTRL_C_TWICE, GOES_ON | OVER, "after one SIGINT a wait ends at once"),
    (BATCH, CTRL_C_TWICE, ANY_KNOWN & ~SENT, "it is over before the second SIGINT"),
    (DISPATCH, ANY, GOES_ON | OVER, "a dispatch is over once it is answered"),
    (DISPATCH, CONSUMER, NOT_SENT | SENT, "nobody but its caller waits for a dispatch"),
    (DISPATCH, TIME_OUT, NOT_SENT, "a request has its time from when it is sent"),
    (DISPATCH, CTRL_C_TWICE, NOT_SENT, "it is over before the second SIGINT"),
]
"""Early ends that there can't be, and why."""
