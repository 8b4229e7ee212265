"""The service's clock, as the dates of its answers show it."""

from datetime import UTC, datetime

from testvibe_async._http.clock import ServiceClock

DATE = "Thu, 26 Nov 2026 10:00:00 GMT"


def test_an_answer_without_a_date_changes_nothing() -> None:
    """A proxy's answer has none: what was known before it is still good."""
    clock = ServiceClock()
    assert clock.at(10.0) is None
    clock.sample(DATE, sent=9.5, answered=10.0)
    clock.sample("", sent=11.0, answered=11.1)
    assert clock.at(15.0) == datetime(2026, 11, 26, 10, 0, 5, tzinfo=UTC)


def test_a_slow_answer_changes_nothing() -> None:
    """Its date is that of the moment when the service wrote it, which may be long ago."""
    clock = ServiceClock()
    clock.sample(DATE, sent=0.0, answered=1.1)
    assert clock.at(2.0) is None
    clock.sample(DATE, sent=2.0, answered=3.0)
    assert clock.at(3.0) == datetime(2026, 11, 26, 10, tzinfo=UTC)
