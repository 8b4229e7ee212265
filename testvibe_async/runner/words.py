"""The words for results, the same for every surface: pure.

Decides the word for an item, how items are counted, and how a feature with its configuration, a
number of things, a duration, an instant and a command are written.
"""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any

from testvibe_async._core.util import escape
from testvibe_async.models import DEFAULT_CONFIG
from testvibe_async.outcomes import BatchItem, Verdict
from testvibe_async.runner.limit import LIMITED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from testvibe_async.models import Snapshot

NAME = "testvibe-async"
"""The name of the command."""

UNSEEN = "not seen"
"""The word for an operation that may be running or over: its last polls failed."""

WORD_CHARACTERS = 24
"""Maximum length of a status that the service words."""

WORDS = (
    *("passed", "flaky", "generated", "failed", "quarantined", "cancelled", "error", "unknown"),
    *(LIMITED, UNSEEN, "in flight", "running", "generating", "queued", "unacknowledged"),
    *("waiting", "skipped"),
)
"""The known words, in the order in which they are counted; others come last."""


def command(*words: str) -> str:
    """Return a command as a person types it."""
    return shlex.join([NAME, *words])


def counted(number: int, what: str) -> str:
    """Return a number with its noun: `1 test`, `1,234 tests`, `2 batches`."""
    ending = "" if number == 1 else "es" if what.endswith("h") else "s"
    return f"{number:,} {what}{ending}"


def duration(seconds: float | None) -> str:
    """Return a duration: `9.5 s`, `31 s`, `1:32` or `1:00:05`; empty for None."""
    if seconds is None:
        return ""
    if seconds < 9.95:  # noqa: PLR2004 - tenths matter below ten
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"


def clock_time(at: datetime) -> str:
    """Return an instant as a clock in this place shows it, such as `16:02:11`."""
    return f"{at.astimezone():%H:%M:%S}"


def started(at: datetime) -> str:
    """Return the start of a batch, as this place's calendar and clock show it."""
    return f"started {at.astimezone():%Y-%m-%d %H:%M}"


def with_config(feature: str, config: str | None) -> str:
    """Return a feature's name, with the configuration if that is not the default one."""
    return f"{feature} [{config}]" if config and config != DEFAULT_CONFIG else feature


def item_name(item: BatchItem[Any], snapshot: Snapshot | None = None) -> str:
    """Return the feature of an item with its configuration.

    Args:
        item: The item.
        snapshot: The last snapshot of an operation that has not finished, if there is one.
    """
    config = item.config or getattr(item.outcome or snapshot, "config", None)
    return with_config(item.feature_name, config)


def verdict_of(item: BatchItem[Any]) -> str:
    """Return the verdict in a word; the surfaces have more of them than the library."""
    return UNSEEN if item.is_unseen else str(getattr(item.error, "verdict", item.verdict))


def word_of(item: BatchItem[Any]) -> str:
    """Return the service's own word for the result, else the verdict; `flaky` if it is flaky."""
    if item.is_flaky:
        return "flaky"
    if item.quarantine is not None and item.verdict is not Verdict.SUCCEEDED:
        return str(item.verdict)
    if item.outcome is None:
        return verdict_of(item)
    if item.outcome.is_success and item.verdict is Verdict.FAILED:
        return str(item.verdict)  # It passed without results.
    return " ".join(escape(item.outcome.status or "finished").split())[:WORD_CHARACTERS]


def counts_of(items: Iterable[BatchItem[Any]]) -> str:
    """Return the numbers of items by result, such as `18 passed, 2 failed`."""
    return count_words(map(word_of, items)) or "no operations yet"


def count_words(words: Iterable[str]) -> str:
    """Return how many there are of each word; unknown ones come last."""
    rank = {word: index for index, word in enumerate(WORDS)}
    numbers = sorted(
        Counter(words).items(), key=lambda each: (rank.get(each[0], len(rank)), -each[1])
    )
    return ", ".join(
        counted(number, word) if word == "error" else f"{number:,} {word}"
        for word, number in numbers
    )


def seconds_of(items: Iterable[BatchItem[Any]]) -> float:
    """Return for how long operations of a batch were in flight, as far as known.

    A pause in which none was, such as the night before a further attempt, does not count.
    """
    seconds, end = 0.0, None
    for begin, finish in sorted(span for item in items for span in _spans(item)):
        unseen = begin if end is None else max(begin, end)
        seconds += max((finish - unseen).total_seconds(), 0.0)
        end = finish if end is None else max(finish, end)
    return seconds


def _spans(item: BatchItem[Any]) -> Iterator[tuple[datetime, datetime]]:
    """Yield the begin and the end of each attempt, if known.

    A generation has neither; its dispatch and its last change stand for them.
    """
    for each in item.attempts:
        begin = getattr(each, "created_at", None)
        if begin is None and each is item.outcome and item.ref is not None:
            begin = item.ref.dispatched_at
        end = getattr(each, "finished_at", getattr(each, "updated_at", None))
        if begin and end:
            yield begin, end
