"""Which lists of runs show all that a dispatch may have started."""

from datetime import UTC, datetime, timedelta

import pytest

from testvibe_async import Listing, Run
from testvibe_async._dispatch.search import _has_all_since

SINCE = datetime(2026, 6, 10, 16, 0, tzinfo=UTC)
LIMIT = 4


def runs(*ids: int, minutes: tuple[float | None, ...] = (), extra: int = 0) -> Listing[Run]:
    """Return a list of runs that were created so many minutes after the instant."""
    created = [
        None if each is None else SINCE + timedelta(minutes=each)
        for each in minutes or (1.0,) * len(ids)
    ]
    rows = [Run(number, "running", created_at=at) for number, at in zip(ids, created, strict=True)]
    return Listing(rows, extra={"total": len(ids) + extra})


@pytest.mark.parametrize(
    ("rows", "since", "floor", "has_all"),
    [
        # A list that is whole has all, if the id or the time before the dispatch is known.
        (runs(9, 8), SINCE, None, True),
        (runs(9, 8, minutes=(None, None)), SINCE, 7, True),
        (runs(9, 8, minutes=(1, None)), SINCE, None, False),
        (runs(9, 8), None, None, False),
        (runs(), SINCE, None, True),
        # One that may be cut has all down to an id, if it is the newest first.
        (runs(9, 8, 7, 6), None, 6, True),
        (runs(9, 8, 7, 6), None, 5, False),
        (runs(6, 7, 8, 9), None, 9, False),
        (runs(9, 8, extra=1), None, 8, True),
        # Or down to a time, if all have one.
        (runs(9, 8, 7, 6, minutes=(3, 2, 1, -1)), SINCE, None, True),
        (runs(9, 8, 7, 6, minutes=(3, 2, 1, 0)), SINCE, None, False),
        (runs(9, 8, 7, 6, minutes=(3, 1, 2, -1)), SINCE, None, False),
        (runs(9, 8, 7, 6, minutes=(-1, 1, 2, 3)), SINCE, None, False),
        (runs(9, 8, 7, 6, minutes=(3, 2, None, -1)), SINCE, 5, False),
        (runs(9, 8, 7, 6, minutes=(3, 2, 1, -1)), None, 5, False),
    ],
)
def test_a_list_has_all_since(
    rows: Listing[Run], since: datetime | None, floor: int | None, *, has_all: bool
) -> None:
    """Else one candidate may be seen and another not, and the wrong one be adopted."""
    assert _has_all_since(rows, LIMIT, since=since, floor=floor) is has_all
