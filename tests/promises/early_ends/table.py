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

    TIME_OUT = auto()
    """`timeout=` of the wait or of the batch; for a dispatch, which has none, of the client."""

    FOREIGN_TIME_OUT = auto()
    """`asyncio.timeout` around it."""

    CANCELLED = auto()
    """The caller's task is cancelled."""

    CONSUMER = auto()
    """Another task is cancelled, which waits for the same operation or iterates over the batch."""

    BODY = auto()
    """The body raises: of `async for`, of `async with batch`, or of `async with client`."""

    CLOSE = auto()
    """Another task closes the client."""

    SHUTDOWN = auto()
    """The main coroutine of `asyncio.run` returns: all tasks are cancelled at once."""

    CTRL_C = auto()
    """SIGINT: `asyncio.run` cancels the main task, which leaves `async with client`."""

    CTRL_C_TWICE = auto()
    """A second SIGINT a second later: all other tasks are cancelled too."""


class Known(Flag):
    """What is known of the operation at that moment, and what the service does."""

    NOT_SENT = auto()
    """Its dispatch waits to be sent."""

    LATE = auto()
    """It was sent, and has no answer. The service acts and answers 1 s after the end."""

    LOST = auto()
    """It was sent, and its answer was lost. It is found by reconciling 1 s after the end."""

    TOO_LATE = auto()
    """It was sent, and has no answer. The service acts and answers 23 s after the end."""

    SILENT = auto()
    """It was sent, and nothing ever tells of it. The service acted, or it did not."""

    ANSWERED = auto()
    """It was answered, and goes on."""

    ENDED = auto()
    """It was answered, and ended after it was last seen."""

    OVER = auto()
    """It was seen to be over. In a batch, another operation goes on."""


class RefKnown(Enum):
    """When the program has the ref of the operation."""

    NOW = "now"
    LATER = "later"
    NEVER = "never"


class Log(Enum):
    """The one line at WARNING or above, about one operation."""

    NO_LINE = "none"
    REF_LINE = "its ref as JSON"
    UNKNOWN_LINE = "may have taken effect"


class BodyError(Exception):
    """What a body raises."""


def _same(cell: Cell) -> Verdict | None:
    return cell.verdict


@frozen
class Cell:
    """What is said after an early end, or after several that are alike."""

    subject: Subject
    endings: Ending
    known: Known
    raises: type[BaseException] | None = field(kw_only=True)
    """What the caller gets in place of a result; None for a result."""

    verdict: Verdict | None = field(kw_only=True)
    """What is said of the operation when the caller has that; None for nothing."""

    later: Verdict | None = field(kw_only=True, default=Factory(_same, takes_self=True))
    """What is said of it once nothing more comes, by a hook too; where not given, the same."""

    ref: RefKnown = field(kw_only=True)
    log: Log = field(kw_only=True, default=Log.NO_LINE)


@frozen
class Impossible:
    """Early ends that there can't be."""

    subject: Subject
    endings: Ending
    known: Known
    why: str


WAIT, BATCH, DISPATCH = Subject
TIME_OUT, FOREIGN_TIME_OUT, CANCELLED, CONSUMER, BODY, CLOSE, SHUTDOWN, CTRL_C, CTRL_C_TWICE = (
    Ending
)
NOT_SENT, LATE, LOST, TOO_LATE, SILENT, ANSWERED, ENDED, OVER = Known
SUCCEEDED, IN_FLIGHT = Verdict.SUCCEEDED, Verdict.IN_FLIGHT
UNKNOWN, SKIPPED = Verdict.UNKNOWN, Verdict.SKIPPED
NOW, LATER, NEVER = RefKnown
_NO_LINE, REF_LINE, UNKNOWN_LINE = Log
ANY = ~Ending(0)
ANY_KNOWN = ~Known(0)
SENT = LATE | LOST | TOO_LATE | SILENT
GOES_ON = ANSWERED | ENDED
"""In flight as last seen."""

# fmt: off
TABLE: list[Cell | Impossible] = [
    Impossible(WAIT, ANY, NOT_SENT | SENT, "before the answer there is no operation to wait for"),
    Impossible(WAIT, CTRL_C_TWICE, GOES_ON | OVER, "after one SIGINT a wait ends at once"),
    Cell(WAIT, TIME_OUT, ANSWERED, raises=WaitTimeoutError, verdict=IN_FLIGHT, ref=NOW),
    Cell(WAIT, TIME_OUT, ENDED, raises=None, verdict=SUCCEEDED, ref=NOW),
    Cell(WAIT, FOREIGN_TIME_OUT, GOES_ON, raises=TimeoutError, verdict=IN_FLIGHT, ref=NOW),
    Cell(WAIT, CANCELLED, GOES_ON, raises=CancelledError, verdict=IN_FLIGHT, ref=NOW),
    Cell(WAIT, CONSUMER, GOES_ON, raises=None, verdict=SUCCEEDED, ref=NOW),
    Cell(WAIT, BODY, GOES_ON, raises=BodyError, verdict=IN_FLIGHT, ref=NOW),
    Cell(WAIT, CLOSE, GOES_ON, raises=ClientClosedError, verdict=IN_FLIGHT, ref=NOW),
    Cell(WAIT, SHUTDOWN | CTRL_C, GOES_ON, raises=CancelledError, verdict=IN_FLIGHT, ref=NOW),
    Cell(WAIT, BODY, OVER, raises=BodyError, verdict=SUCCEEDED, ref=NOW),
    Cell(WAIT, ANY & ~BODY & ~CTRL_C_TWICE, OVER, raises=None, verdict=SUCCEEDED, ref=NOW),

    Cell(BATCH, TIME_OUT, NOT_SENT, raises=None, verdict=SKIPPED, ref=NEVER),
    Cell(BATCH, TIME_OUT, LATE | LOST, raises=None, verdict=IN_FLIGHT, ref=NOW),
    Cell(BATCH, TIME_OUT, TOO_LATE, raises=None, verdict=UNKNOWN, later=IN_FLIGHT,
         ref=LATER, log=REF_LINE),
    Cell(BATCH, TIME_OUT, SILENT, raises=None, verdict=UNKNOWN, ref=NEVER, log=UNKNOWN_LINE),
    Cell(BATCH, TIME_OUT, ANSWERED, raises=None, verdict=IN_FLIGHT, ref=NOW),
    Cell(BATCH, TIME_OUT, ENDED | OVER, raises=None, verdict=SUCCEEDED, ref=NOW),
    Cell(BATCH, FOREIGN_TIME_OUT, NOT_SENT, raises=TimeoutError, verdict=SKIPPED, ref=NEVER),
    Cell(BATCH, FOREIGN_TIME_OUT, LATE | LOST, raises=TimeoutError, verdict=IN_FLIGHT, ref=NOW),
    Cell(BATCH, FOREIGN_TIME_OUT, TOO_LATE, raises=TimeoutError, verdict=UNKNOWN, later=IN_FLIGHT,
         ref=LATER, log=REF_LINE),
    Cell(BATCH, FOREIGN_TIME_OUT, SILENT, raises=TimeoutError, verdict=UNKNOWN, ref=NEVER,
         log=UNKNOWN_LINE),
    Cell(BATCH, FOREIGN_TIME_OUT, GOES_ON, raises=TimeoutError, verdict=IN_FLIGHT, ref=NOW),
    Cell(BATCH, FOREIGN_TIME_OUT, OVER, raises=TimeoutError, verdict=SUCCEEDED, ref=NOW),
    Cell(BATCH, CANCELLED | CTRL_C, NOT_SENT, raises=CancelledError, verdict=SKIPPED, ref=NEVER),
    Cell(BATCH, CANCELLED | CTRL_C, LATE | LOST, raises=CancelledError, verdict=IN_FLIGHT, ref=NOW),
    Cell(BATCH, CANCELLED, TOO_LATE, raises=CancelledError, verdict=UNKNOWN, later=IN_FLIGHT,
         ref=LATER, log=REF_LINE),
    Cell(BATCH, CANCELLED, SILENT, raises=CancelledError, verdict=UNKNOWN, ref=NEVER,
         log=UNKNOWN_LINE),
    Cell(BATCH, CTRL_C, TOO_LATE | SILENT, raises=CancelledError, verdict=UNKNOWN, ref=NEVER,
         log=UNKNOWN_LINE),
    Cell(BATCH, CANCELLED | CTRL_C, GOES_ON, raises=CancelledError, verdict=IN_FLIGHT, ref=NOW),
    Cell(BATCH, CANCELLED | CTRL_C, OVER, raises=CancelledError, verdict=SUCCEEDED, ref=NOW),
    Cell(BATCH, CONSUMER, ANY_KNOWN & ~SILENT, raises=None, verdict=SUCCEEDED, ref=NOW),
    Cell(BATCH, CONSUMER, SILENT, raises=None, verdict=UNKNOWN, ref=NEVER, log=UNKNOWN_LINE),
    Cell(BATCH, BODY, NOT_SENT, raises=BodyError, verdict=SKIPPED, ref=NEVER),
    Cell(BATCH, BODY, LATE | LOST, raises=BodyError, verdict=IN_FLIGHT, ref=NOW),
    Cell(BATCH, BODY, TOO_LATE, raises=BodyError, verdict=UNKNOWN, later=IN_FLIGHT,
         ref=LATER, log=REF_LINE),
    Cell(BATCH, BODY, SILENT, raises=BodyError, verdict=UNKNOWN, ref=NEVER, log=UNKNOWN_LINE),
    Cell(BATCH, BODY, GOES_ON, raises=BodyError, verdict=IN_FLIGHT, ref=NOW),
    Cell(BATCH, BODY, OVER, raises=BodyError, verdict=SUCCEEDED, ref=NOW),
    Cell(BATCH, CLOSE, NOT_SENT, raises=ClientClosedError, verdict=SKIPPED, ref=NEVER),
    Cell(BATCH, CLOSE, LATE | LOST | GOES_ON, raises=ClientClosedError, verdict=IN_FLIGHT,
         ref=NOW),
    Cell(BATCH, CLOSE, TOO_LATE | SILENT, raises=ClientClosedError, verdict=UNKNOWN, ref=NEVER,
         log=UNKNOWN_LINE),
    Cell(BATCH, CLOSE, OVER, raises=ClientClosedError, verdict=SUCCEEDED, ref=NOW),
    Cell(BATCH, SHUTDOWN, NOT_SENT, raises=CancelledError, verdict=SKIPPED, ref=NEVER),
    Cell(BATCH, SHUTDOWN, GOES_ON, raises=CancelledError, verdict=IN_FLIGHT, ref=NOW),
    Cell(BATCH, SHUTDOWN, OVER, raises=CancelledError, verdict=SUCCEEDED, ref=NOW),
    Cell(BATCH, SHUTDOWN | CTRL_C_TWICE, SENT, raises=CancelledError, verdict=UNKNOWN, ref=NEVER,
         log=UNKNOWN_LINE),
    Impossible(BATCH, CTRL_C_TWICE, ANY_KNOWN & ~SENT, "it is over before the second SIGINT"),

    Impossible(DISPATCH, ANY, GOES_ON | OVER, "a dispatch is over once it is answered"),
    Impossible(DISPATCH, CONSUMER, NOT_SENT | SENT, "nobody but its caller waits for a dispatch"),
    Impossible(DISPATCH, TIME_OUT, NOT_SENT, "a request has its time from when it is sent"),
    Cell(DISPATCH, TIME_OUT, LATE | LOST, raises=None, verdict=IN_FLIGHT, ref=NOW),
    Cell(DISPATCH, TIME_OUT, TOO_LATE | SILENT, raises=DispatchUnknownError, verdict=UNKNOWN,
         ref=NEVER, log=UNKNOWN_LINE),
    Cell(DISPATCH, FOREIGN_TIME_OUT, NOT_SENT, raises=TimeoutError, verdict=None, ref=NEVER),
    Cell(DISPATCH, FOREIGN_TIME_OUT, SENT & ~SILENT, raises=TimeoutError, verdict=None,
         later=IN_FLIGHT, ref=LATER, log=REF_LINE),
    Cell(DISPATCH, FOREIGN_TIME_OUT, SILENT, raises=TimeoutError, verdict=None,
         later=UNKNOWN, ref=NEVER, log=UNKNOWN_LINE),
    Cell(DISPATCH, CANCELLED | SHUTDOWN | CTRL_C, NOT_SENT, raises=CancelledError, verdict=None,
         ref=NEVER),
    Cell(DISPATCH, CANCELLED, SENT & ~SILENT, raises=CancelledError, verdict=None,
         later=IN_FLIGHT, ref=LATER, log=REF_LINE),
    Cell(DISPATCH, CANCELLED, SILENT, raises=CancelledError, verdict=None,
         later=UNKNOWN, ref=NEVER, log=UNKNOWN_LINE),
    Cell(DISPATCH, CTRL_C, LATE | LOST, raises=CancelledError, verdict=None,
         later=IN_FLIGHT, ref=LATER, log=REF_LINE),
    Cell(DISPATCH, CTRL_C, TOO_LATE | SILENT, raises=CancelledError, verdict=None,
         later=UNKNOWN, ref=NEVER, log=UNKNOWN_LINE),
    Cell(DISPATCH, BODY | CLOSE, NOT_SENT, raises=ClientClosedError, verdict=SKIPPED, ref=NEVER),
    Cell(DISPATCH, BODY | CLOSE, LATE | LOST, raises=None, verdict=IN_FLIGHT, ref=NOW),
    Cell(DISPATCH, BODY | CLOSE, TOO_LATE | SILENT, raises=DispatchUnknownError, verdict=UNKNOWN,
         ref=NEVER, log=UNKNOWN_LINE),
    Cell(DISPATCH, SHUTDOWN | CTRL_C_TWICE, SENT, raises=CancelledError, verdict=None,
         later=UNKNOWN, ref=NEVER, log=UNKNOWN_LINE),
    Impossible(DISPATCH, CTRL_C_TWICE, NOT_SENT, "it is over before the second SIGINT"),
]
# fmt: on
