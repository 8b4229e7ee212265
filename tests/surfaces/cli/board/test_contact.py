"""Whether the service answers, by the answers to requests alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from testvibe_async import ResponseError, RunRef
from testvibe_async.cli.board.contact import REPEATED_SECONDS, Contact, OutageNotices
from testvibe_async.events import PollFailed, RequestFinished

if TYPE_CHECKING:
    from testvibe_async.cli.board import Outage

AT = datetime(2026, 6, 10, 16, 2, 11, tzinfo=UTC)
CLOCK = f"{AT.astimezone():%H:%M:%S}"


REF = RunRef(server="http://s", project="p", run_id=1)
NOT_ITS_OWN = ResponseError("a page", status=302, method="GET", url="http://s")


def answer(status: int | None, operation: str = "get_run") -> RequestFinished:
    return RequestFinished(operation, "GET", "http://s", status=status, seconds=0.1)


def contact(*answers: tuple[float, int | None]) -> Contact:
    """Return what is known after some answers: when each came, and its status."""
    made = Contact(0.0)
    for now, status in answers:
        made.note(answer(status), now=now, at=AT)
    return made


def sentence(known: Contact, now: float, *, runs: int = 10, generations: int = 0) -> str | None:
    outage = known.outage(now, runs=runs, generations=generations)
    return None if outage is None else str(outage)


@pytest.mark.parametrize(
    ("status", "what"),
    [
        (None, "not reachable"),
        (503, "the service answers with nothing but errors (503)"),
        (429, "the service is too busy"),
    ],
)
def test_failures_alone_are_an_outage(status: int | None, what: str) -> None:
    """It counts from the last good answer, and says what is not seen since."""
    known = contact((10, 200), (13, status))
    assert sentence(known, 24) == f"{what} for 14 s; 10 runs not seen since {CLOCK}; trying again"


@pytest.mark.parametrize(
    ("answers", "now"),
    [
        ([(10, 200), (11, None)], 12.9),
        ([(10, 200), (13, None), (14, 404)], 19),
        ([(10, 200)], 15.9),
    ],
)
def test_one_failure_among_good_answers_is_none(
    answers: list[tuple[float, int | None]], now: float
) -> None:
    """A failure counts once it has lasted for an interval, and until the next answer."""
    assert sentence(contact(*answers), now) is None


def test_silence_is_an_outage_where_answers_are_due() -> None:
    """A request that hangs shows after two intervals; generations are polled less often."""
    known = contact((10, 200))
    assert (
        sentence(known, 17)
        == f"not reachable for 7 s; 10 runs not seen since {CLOCK}; trying again"
    )
    assert sentence(known, 29, runs=0, generations=1) is None
    assert sentence(known, 31, runs=0, generations=1) is not None
    assert sentence(known, 500, runs=0) is None


def test_kinds_are_named() -> None:
    """Runs, generations, or both."""
    known = contact((10, 200), (13, None))
    assert "; 1 generation not seen since " in str(sentence(known, 20, runs=0, generations=1))
    assert "; 3 operations not seen since " in str(sentence(known, 20, runs=1, generations=2))
    assert sentence(known, 20, runs=0) == "not reachable for 10 s; trying again"
    assert (
        sentence(contact((4, None)), 5) == "not reachable for 5 s; 10 runs not seen; trying again"
    )


def test_pause_is_told() -> None:
    """A pause that the service asked for is told at once, until it ends."""
    known = contact((10, 200))
    known.pause()
    assert str(sentence(known, 12)).startswith(
        "the service asked for a pause: nothing sent for 2 s"
    )
    known.resume()
    assert sentence(known, 12) is None


def test_pages_of_others_are_an_outage() -> None:
    """Answers that the client does not take for the service's count as none, until its outage ends.

    The last good answer is the one before them.
    """
    known = contact((10, 200))
    failed = PollFailed(REF, NOT_ITS_OWN, is_final=False)
    for now in (13, 16):
        known.note(answer(302), now=now, at=AT + timedelta(seconds=now))
        known.doubt(failed)
    assert sentence(known, 16) is None
    known.lose(NOT_ITS_OWN)
    known.note(answer(302), now=19, at=AT + timedelta(seconds=19))
    assert sentence(known, 20) == (
        "the service answers with pages that are not its own (302) for 10 s; "
        f"10 runs not seen since {CLOCK}; trying again"
    )
    known.find(22, AT)
    assert sentence(known, 22) is None


def test_final_answer_of_a_poll_is_no_doubt() -> None:
    """What the service refuses for good, it has answered."""
    known = contact((10, 200), (13, 404))
    known.doubt(PollFailed(REF, NOT_ITS_OWN, is_final=True))
    assert sentence(known, 17) is None


def test_other_hosts_say_nothing() -> None:
    """Downloads come from elsewhere."""
    known = contact((10, 200))
    known.note(answer(None, "download_artifacts"), now=11, at=AT)
    assert sentence(known, 15) is None


def test_notices_come_at_the_begin_each_half_minute_and_at_the_end() -> None:
    """What can't be redrawn is told of an outage now and then, and of its end once."""
    notices = OutageNotices()

    def told(now: float, *, is_out: bool = True) -> Outage | None:
        known = contact((0, 200), (1, None)) if is_out else contact((now, 200))
        return notices.next(known.outage(now, runs=1, generations=0), now)

    assert notices.next(None, 1) is None
    assert told(5) is not None
    assert told(6) is None
    assert told(5 + REPEATED_SECONDS) is not None
    over = told(40, is_out=False)
    assert str(over) == f"the service answers again, after {5 + REPEATED_SECONDS:.0f} s"
    assert told(41, is_out=False) is None
