"""`testvibe-async history`: the last batches, what was flaky, and what changed with the last one.

It decides what counts as newly failing, flaky and slower. It reads journals alone, and asks no
service.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from statistics import median
from sys import maxsize
from typing import TYPE_CHECKING, Annotated, Any

from attrs import asdict, frozen
from cyclopts import Parameter
from cyclopts.types import PositiveInt  # noqa: TC002 - cyclopts reads the annotations at run time
from rich.text import Text

from testvibe_async import Run, Verdict
from testvibe_async._util import escape
from testvibe_async.cli.batches import place_of, stored_batches
from testvibe_async.cli.common import COMMON, Common
from testvibe_async.cli.result import seconds_of
from testvibe_async.cli.words import duration, item_name, plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from testvibe_async.cli.words import Item
    from testvibe_async.runner.batches import Batch

__all__ = ["history", "sparkline"]

USUAL_LIMIT = 10
"""How many batches are shown where nothing says how many."""

SLOWER = 1.5
"""How many times longer than usual a feature takes that became slower."""

SLOWER_SECONDS = 5.0
"""How much longer it takes at least."""

USUAL = 3
"""How many earlier runs say what is usual."""

SHOWN = 20
"""How many features are named for each change."""

_BARS = "▁▂▃▄▅▆▇█"

_COLUMNS = {
    "Runs": "runs",
    "Passed": "passed",
    "Failed": "failed",
    "Flaky": "flaky",
    "Other": "other",
    "Took": "seconds",
}
"""The columns of the table, and the members of a batch's document that they show."""


@frozen(kw_only=True)
class Change:
    """What changed of a feature with the last batch."""

    name: str
    what: str
    """`newly failing`, `flaky now`, `slower` or `passes again`."""

    seconds: Sequence[float]
    """How long it took in each batch, the oldest first."""


@frozen(kw_only=True)
class Flaky:
    """A feature that was flaky in some of the batches."""

    name: str
    flaky: int
    failed: int
    batches: int
    """In how many it ran."""


async def history(
    *batch: str,
    limit: Annotated[PositiveInt | None, Parameter(name=("--limit", "-n"))] = None,
    days: PositiveInt | None = None,
    common: Common = COMMON,
) -> None:
    """Show the last batches of a project's runs, what was flaky, and what changed with the last.

    For example:

        testvibe-async history
        testvibe-async history --days 7
        testvibe-async history --limit 30 --json
        testvibe-async history 11 12

    Args:
        batch: Numbers, names, or files of journals of batches; else the last ones.
        limit: How many batches at most; 10 where both are left out.
        days: Only those of the last so many days.
        common: The options of every command.
    """
    most = limit or (USUAL_LIMIT if days is None else maxsize)
    place, stored, output = place_of(common), stored_batches(), common.output
    if batch:
        named = [await stored.with_reruns(await stored.meant(word, place)) for word in batch]
        batches = sorted(named, key=lambda each: each.created_at)[-most:]
    else:
        batches = [each async for each in stored.with_all_reruns(place)][:most][::-1]
    if days is not None:
        oldest = datetime.now(UTC) - timedelta(days=days)
        batches = [each for each in batches if each.created_at >= oldest]
    documents = [_document(each) for each in batches]
    series: dict[str, list[Item]] = {}
    for item in (item for each in batches for item in each.items):
        series.setdefault(item_name(item), []).append(item)
    flaky = _flaky(series)
    changes = _changes(series, batches[-1].items if batches else ())
    output.document(
        {
            "batches": documents,
            "flaky": [asdict(each) for each in flaky],
            "changes": [asdict(each) for each in changes],
        }
    )
    if not batches:
        when = "" if days is None else f" of the last {plural(days, 'day')}"
        output.note(f"There is no journal of a batch of runs{when}{place} yet.")
        return
    shown = {
        column: [each[member] for each in documents]
        for column, member in _COLUMNS.items()
        if member != "other" or any(each["other"] for each in documents)
    }
    rows = zip(map(_begin, batches), *(_cells(*column) for column in shown.items()), strict=True)
    output.table(("Batch", *shown), list(rows))
    trends = [Text(f"{name:<6}  {sparkline(numbers)}") for name, numbers in shown.items()]
    output.details(lambda _: Text("\n").join([Text(), *trends]))
    output.details(lambda _: _sections(changes, flaky, len(batches)))


def sparkline(numbers: Sequence[float]) -> str:
    """Return numbers as a line of bars, the least as the lowest."""
    if not numbers:
        return ""
    low, span = min(numbers), max(numbers) - min(numbers)
    if not span:
        return _BARS[0 if not low else 3] * len(numbers)
    return "".join(_BARS[round((number - low) / span * (len(_BARS) - 1))] for number in numbers)


def _begin(batch: Batch) -> str:
    """Return the number and the begin, so short that the table fits into fifty columns."""
    return f"{batch.number or '—'}  {batch.created_at.astimezone():%d %b %H:%M}"


def _cells(column: str, numbers: Sequence[float]) -> list[str]:
    if column != "Took":
        return [str(number) for number in numbers]
    return [duration(seconds) if seconds else "—" for seconds in numbers]


def _document(batch: Batch) -> dict[str, Any]:
    counts = Counter(map(_word, batch.items))
    return {
        "batch": batch.number,
        "createdUtc": batch.created_at,
        "journal": batch.path,
        "server": batch.server,
        "project": batch.project,
        "seconds": seconds_of(batch.items),
        "runs": len(batch.items),
        **{word: counts[word] for word in ("passed", "failed", "flaky", "other")},
    }


def _word(item: Item) -> str:
    """Return how an item ended: `passed`, `failed`, `flaky`, or `other`."""
    words = {Verdict.SUCCEEDED: "passed", Verdict.FAILED: "failed"}
    return "flaky" if item.is_flaky else words.get(item.verdict, "other")


def _flaky(series: Mapping[str, Sequence[Item]]) -> list[Flaky]:
    """Return the features that were flaky in any of the batches, the flakiest first."""
    words = {name: [_word(item) for item in items] for name, items in series.items()}
    found = [
        Flaky(name=name, flaky=each.count("flaky"), failed=each.count("failed"), batches=len(each))
        for name, each in words.items()
        if "flaky" in each
    ]
    return sorted(found, key=lambda each: -each.flaky / each.batches)


def _changes(series: Mapping[str, Sequence[Item]], last: Sequence[Item]) -> list[Change]:
    """Return what changed with the last batch, compared to those before."""
    found: list[Change] = []
    for name in map(item_name, last):
        known = [item for item in series[name][:-1] if item.outcome is not None]
        items = [*known, series[name][-1]]
        seconds = [took for each in items if (took := _seconds(each)) is not None]
        if known and (what := _change(_word(known[-1]), _word(items[-1]), seconds)):
            found.append(Change(name=name, what=what, seconds=seconds))
    order = ("newly failing", "flaky now", "slower", "passes again")
    return sorted(found, key=lambda change: order.index(change.what))


def _change(before: str, now: str, seconds: Sequence[float]) -> str | None:
    match before, now:
        case "passed" | "flaky", "failed":
            return "newly failing"
        case "passed" | "failed" | "other", "flaky":
            return "flaky now"
        case "failed", "passed":
            return "passes again"
        case _, "passed" if _is_slower(seconds):
            return "slower"
        case _:
            return None


def _is_slower(seconds: Sequence[float]) -> bool:
    *before, last = seconds or [0.0]
    if len(before) < USUAL:
        return False
    usual = median(before)
    return last > usual * SLOWER and last - usual > SLOWER_SECONDS


def _seconds(item: Item) -> float | None:
    run = item.outcome
    if not isinstance(run, Run) or run.started_at is None or run.finished_at is None:
        return None
    return max((run.finished_at - run.started_at).total_seconds(), 0.0)


def _sections(changes: Sequence[Change], flaky: Sequence[Flaky], batches: int) -> Text:
    """Return what was flaky in so many batches, and what changed, a line for each feature."""
    where = "this batch" if batches == 1 else f"these {batches} batches"
    sections: dict[str, list[str]] = {}
    for each in flaky:
        failed = f", and failed in {each.failed}" if each.failed else ""
        line = f"  {escape(each.name)}  in {each.flaky} of {each.batches}{failed}"
        sections.setdefault(f"Flaky in {where}:", []).append(line)
    for change in changes:
        took = f"  {duration(change.seconds[-1])}" if change.seconds else ""
        line = f"  {escape(change.name)}  {sparkline(change.seconds)}{took}"
        sections.setdefault(f"{change.what.capitalize()}:", []).append(line)
    lines: list[Text] = []
    for title, those in sections.items():
        more = [f"  and {len(those) - SHOWN} more"] if len(those) > SHOWN else []
        lines += [Text(), Text(title, "bold"), *map(Text, [*those[:SHOWN], *more])]
    if not changes:
        lines += [Text(), Text("Nothing changed with the last batch.")]
    return Text("\n").join(lines)
