"""The pace of traffic against services that limit it, each simulated without a socket."""

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import TypeAlias

import pytest
from attrs import define, field

from testvibe_async._http.pace import Pace

Service: TypeAlias = Callable[[float, Random], bool]
"""Says whether a request that arrives at a time is accepted."""


@define
class Bucket:
    """A service that accepts so many requests a second, and once as many at a burst."""

    rate: float
    left: float = field(init=False)
    filled: float = 0.0

    def __attrs_post_init__(self) -> None:
        """Begin with a full bucket."""
        self.left = self.rate

    def __call__(self, now: float, _random: Random) -> bool:
        """Accept a request as long as there is something left."""
        self.left = min(self.rate, self.left + (now - self.filled) * self.rate)
        self.filled = now
        is_accepted = self.left >= 1
        self.left -= is_accepted
        return is_accepted


@define
class Sent:
    """What a client sent, and what came of it."""

    accepted: list[float] = field(factory=list[float])
    refused: list[float] = field(factory=list[float])

    @property
    def share_refused(self) -> float:
        """Which share of all requests was refused."""
        return len(self.refused) / (len(self.accepted) + len(self.refused))


SLOTS = 100
RETRY_AFTER = 1.0


def send(
    service: Service, *, seconds: float = 20.0, latency: float = 0.1, requests: int = 10**9
) -> Sent:
    """Send as fast as the pace allows, again what was refused, and return what came of it."""
    pace, random, sent = Pace(), Random(7), Sent()  # noqa: S311 - a simulation
    events: list[tuple[float, int, bool | None]] = [(0.0, 0, None)]
    again: list[float] = []
    free, number, woken = SLOTS, 0, -1.0
    while events:
        now, _, is_accepted = heappop(events)
        if now > seconds:
            break
        if is_accepted is not None:
            free += 1
            if is_accepted:
                pace.accept(now)
                sent.accepted.append(now)
            else:
                pace.refuse(now, retry_after=RETRY_AFTER)
                sent.refused.append(now)
                heappush(again, now + RETRY_AFTER)
        while free and (requests or (again and again[0] <= now)):
            if (start := pace.earliest_start(now)) > now:
                if start != woken:
                    number, woken = number + 1, start
                    heappush(events, (start, number, None))
                break
            if again and again[0] <= now:
                heappop(again)
            else:
                requests -= 1
            pace.start(now)
            free, number = free - 1, number + 1
            answer = now + latency * random.uniform(0.8, 1.2)
            heappush(events, (answer, number, service(now + latency / 2, random)))
        if again and not requests:
            number += 1
            heappush(events, (max(now, again[0]) + 1e-9, number, None))
    return sent


@pytest.mark.parametrize(
    ("rate", "latency", "refused"), [(100, 0.05, 0.08), (50, 0.1, 0.08), (200, 0.05, 0.05)]
)
def test_a_limit_is_used_in_full(rate: float, latency: float, refused: float) -> None:
    """At least 90 % of it goes through, and few requests are refused."""
    sent = send(Bucket(rate), latency=latency, seconds=30)
    assert len(sent.accepted) >= 0.9 * rate * 30
    assert sent.share_refused <= refused


def test_a_limit_that_falls_and_rises_is_followed() -> None:
    """The rate goes down with the limit, and up with it again."""
    bucket = Bucket(200)

    def service(now: float, random: Random) -> bool:
        bucket.rate = 50 if 10 <= now < 20 else 200
        return bucket(now, random)

    sent = send(service, seconds=40)
    assert sum(14 <= at < 19 for at in sent.accepted) >= 0.8 * 5 * 50
    assert sum(35 <= at < 40 for at in sent.accepted) >= 0.7 * 5 * 200


def test_three_of_few_refusals_pause_everybody() -> None:
    """Two may be chance; the third begins a pause for the time that it asks for."""
    pace = Pace()
    assert [pace.refuse(0.0, retry_after=7.0) for _ in range(3)] == [None, None, 7.0]
    assert pace.earliest_start(0.0) == 7.0


def test_a_refusal_that_does_not_say_when_pauses_for_a_second() -> None:
    """Some time has to be waited."""
    pace = Pace()
    assert [pace.refuse(0.0, retry_after=None) for _ in range(3)][-1] == 1.0


def test_refusals_among_many_answers_pause_nobody() -> None:
    """Under a quarter is no limit."""
    pace = Pace()
    for _ in range(20):
        assert [pace.accept(0.1) for _ in range(4)] == [False] * 4
        assert pace.refuse(0.1, retry_after=9.0) is None
    assert pace.is_free


def test_old_answers_do_not_count() -> None:
    """Two refusals, and a third long after, are three times one."""
    pace = Pace()
    assert [pace.refuse(at, retry_after=1.0) for at in (0.0, 1.0, 3.5)] == [None] * 3


def test_one_probe_goes_out_after_the_pause() -> None:
    """The others wait for its answer, and go on when it is accepted."""
    pace = paused()
    pace.start(7.0)
    assert pace.earliest_start(7.0) > 7.0
    assert pace.accept(7.5)
    assert pace.earliest_start(7.5) == 7.5


def test_a_probe_that_is_refused_begins_the_pause_anew() -> None:
    """It is no second pause, but a longer one."""
    pace = paused()
    pace.start(7.0)
    assert pace.refuse(7.5, retry_after=20.0) is None
    assert pace.earliest_start(8.0) == 27.5


def test_a_probe_without_an_answer_is_followed_by_another() -> None:
    """A lost answer holds up nothing for ever."""
    pace = paused()
    pace.start(7.0)
    assert pace.earliest_start(8.0) == 12.0


def test_an_answer_from_before_the_pause_does_not_end_it() -> None:
    """What was under way when it began says nothing of its end."""
    pace = paused()
    assert not pace.accept(1.0)
    assert pace.earliest_start(1.0) == 7.0


def test_a_refusal_from_before_the_pause_may_make_it_longer() -> None:
    """The longest time that a refusal asks for counts, and a shorter one changes nothing."""
    pace = paused()
    pace.refuse(1.0, retry_after=2.0)
    assert pace.earliest_start(1.0) == 7.0
    pace.refuse(1.0, retry_after=20.0)
    assert pace.earliest_start(1.0) == 21.0


def test_a_pause_weighs_little_in_the_rate_that_is_come_back_to() -> None:
    """It is measured over more than ten seconds, of which the pause is one."""
    pace = Pace()
    for number in range(1020):
        pace.accept(number / 100)
    for _ in range(30):
        pace.refuse(10.2, retry_after=1.0)
    pace.start(11.2)
    assert pace.accept(11.3)
    pace.start(11.3)
    assert pace.earliest_start(11.3) - 11.3 == pytest.approx(1 / (0.9 * 1021 / 11.2))


def test_a_quiet_client_is_not_slowed_to_nothing() -> None:
    """Five requests a second go in any case."""
    pace = paused()
    pace.start(7.0)
    pace.accept(7.0)
    pace.start(7.0)
    assert pace.earliest_start(7.0) == pytest.approx(7.2)


def test_a_rate_that_has_grown_is_no_limit() -> None:
    """After enough time without refusals nothing is held back."""
    pace = paused()
    pace.start(7.0)
    pace.accept(7.0)
    assert not pace.is_free
    assert pace.earliest_start(60.0) == 60.0
    assert pace.is_free


def test_a_few_refusals_hold_the_rate() -> None:
    """They are what a limit that is used in full costs: the rate grows no further at once."""
    pace = paused()
    pace.start(7.0)
    pace.accept(7.0)
    assert [pace.accept(20.0) for _ in range(9)] == [False] * 9
    assert pace.refuse(20.0, retry_after=1.0) is None
    pace.earliest_start(25.0)
    assert not pace.is_free


def paused() -> Pace:
    """Return a pace that is paused from 0 to 7 s."""
    pace = Pace()
    for _ in range(3):
        pace.refuse(0.0, retry_after=7.0)
    return pace
