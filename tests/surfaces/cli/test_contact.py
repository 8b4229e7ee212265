"""Whether the service answers, by a client's events alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from testvibe_async import (
    GenerationRef,
    NotFoundError,
    ResponseError,
    RunRef,
    ServerError,
)
from testvibe_async.cli import progress as contacts
from testvibe_async.cli.progress import REPEATED_SECONDS, Contact
from testvibe_async.events import (
    Emitter,
    OutageEnded,
    OutageStarted,
    Paused,
    PollFailed,
    RequestFinished,
    Resumed,
)

if TYPE_CHECKING:
    from testvibe_async import Ref
    from testvibe_async.events import Event

AT = datetime(2026, 6, 10, 16, 2, 11, tzinfo=UTC)
CLOCK = f"{AT.astimezone():%H:%M:%S}"

REF = RunRef(server="http://s", project="p", run_id=1)
NOT_ITS_OWN = ResponseError("a page", status=302, method="GET", url="http://s")
GONE = NotFoundError("none here", status=404, method="GET", url="http://s/runs")
DOWN = ServerError("down", status=503, method="GET", url="http://s/runs")


class Known:
    """A contact with a clock that is set by hand."""

    def __init__(self, *answers: tuple[float, int | None]) -> None:
        self.now = 0.0
        self.contact = Contact(lambda: self.now)
        for now, status in answers:
            self.answer(now, status)

    def emit(self, event: Event, now: float) -> None:
        self.now = now
        Emitter(self.contact.hooks).emit(event)

    def answer(self, now: float, status: int | None, operation: str = "get_run") -> None:
        self.emit(RequestFinished(operation, "GET", "http://s", status=status, seconds=0.1), now)

    def sentence(self, now: float, *, runs: int = 10, generations: int = 0) -> str | None:
        self.now = now
        outage = self.contact.outage(in_flight(runs, generations))
        return None if outage is None else str(outage)

    def told(self, now: float) -> list[str]:
        self.now = now
        return [str(each) for each in self.contact.notices([REF])]


def in_flight(runs: int, generations: int) -> list[Ref]:
    generation = GenerationRef(server="http://s", project="p", request_id="r", feature_id=1)
    return [*[REF] * runs, *[generation] * generations]


@pytest.fixture(autouse=True)
def _fixed_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all answers come at one moment of this machine's clock."""

    class Fixed(datetime):
        @classmethod
        def now(cls, tz: object = None) -> Fixed:  # noqa: ARG003 - as that of `datetime`
            return cls.fromtimestamp(AT.timestamp(), UTC)

    monkeypatch.setattr(contacts, "datetime", Fixed)


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
    known = Known((10, 200), (13, status))
    assert known.sentence(24) == f"{what} for 14 s; 10 runs not seen since {CLOCK}; trying again"


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
    """A failure counts once nothing was answered for two intervals, and until the next answer."""
    assert Known(*answers).sentence(now) is None


def test_silence_is_an_outage_where_answers_are_due() -> None:
    """A request that hangs shows after two intervals; generations are polled less often."""
    known = Known((10, 200))
    assert (
        known.sentence(17) == f"not reachable for 7 s; 10 runs not seen since {CLOCK}; trying again"
    )
    assert known.sentence(29, runs=0, generations=1) is None
    assert known.sentence(31, runs=0, generations=1) is not None
    assert known.sentence(500, runs=0) is None


def test_kinds_are_named() -> None:
    """Runs, generations, or both."""
    known = Known((10, 200), (13, None))
    assert "; 1 generation not seen since " in str(known.sentence(20, runs=0, generations=1))
    assert "; 3 operations not seen since " in str(known.sentence(20, runs=1, generations=2))
    assert known.sentence(20, runs=0) == "not reachable for 10 s; trying again"
    assert Known((4, None)).sentence(7) == "not reachable for 7 s; 10 runs not seen; trying again"


def test_pause_is_told() -> None:
    """A pause that the service asked for is told at once, until it ends."""
    known = Known((10, 200))
    known.emit(Paused(60.0, NOT_ITS_OWN), 10)
    assert str(known.sentence(10)).startswith("the service asked for a pause of 1:00; 10 runs not")
    known.emit(Resumed("http://s"), 12)
    assert known.sentence(12) is None


def test_pages_of_others_are_an_outage() -> None:
    """From the client's outage on, answers that are not the service's own count as none."""
    known = Known((10, 200))
    for now in (13, 16):
        known.answer(now, 302)
        known.emit(PollFailed(REF, NOT_ITS_OWN, is_final=False), now)
    assert known.sentence(16) is None
    known.emit(OutageStarted("http://s", NOT_ITS_OWN), 16)
    known.answer(19, 302)
    assert str(known.sentence(20)).startswith(
        "the service answers with pages that are not its own (302) for 4 s; 10 runs not seen since"
    )
    known.emit(OutageEnded("http://s", 9.0), 22)
    assert known.sentence(22) is None


def test_final_answer_of_a_poll_is_no_doubt() -> None:
    """What the service refuses for good, it has answered."""
    known = Known((10, 200), (13, 404))
    known.emit(PollFailed(REF, NOT_ITS_OWN, is_final=True), 13)
    assert known.sentence(17) is None


def test_other_hosts_say_nothing() -> None:
    """Downloads come from elsewhere."""
    known = Known((10, 200))
    known.answer(11, None, "download_artifacts")
    assert known.sentence(15) is None


def test_notices_come_at_the_begin_each_half_minute_and_at_the_end() -> None:
    """What can't be redrawn is told of an outage now and then, and of its end once."""
    known = Known((0, 200))
    told: list[tuple[int, str]] = []
    for now in range(1, 45):
        known.answer(now, 200 if now > 40 else None)
        told += [(now, each) for each in known.told(now)]
    assert [now for now, _ in told] == [7, 7 + REPEATED_SECONDS, 41]
    assert told[-1][1] == "the service answers again, after 40 s"


def test_pause_of_this_process_is_no_silence() -> None:
    """After a machine slept nothing is said to be silent: nothing was asked."""
    known = Known((10, 200))
    assert known.told(11) == []
    assert known.told(500) == []
    assert known.told(505) == []
    assert len(known.told(507)) == 1
