"""The same work, done by us and by five others: `python -m benchmarks.peers [--quick]`.

The work: dispatch a number of runs at once, and have all their outcomes. The service is the
emulator in a process of its own, on its own core; each trial has fresh processes. All contenders
get the same seeds, so the same durations and verdicts. They take turns, three times with three
seeds, and five times where a second's work is compared, since single trials of one contender are
up to a third apart. What is shown is the median of each figure, and the worst of what was lost.

What is measured, for each operation:

- polls: all requests but the dispatches. Where a contender can't keep up with its own interval it
  asks less often: that is no virtue, and shows in the delay.
- delay: from the end of the run at the service, to the microsecond, until the waiter has the
  outcome in its hands. With looks every second it is 0.5 s at best in the middle, and 1 s at p99.
- CPU, memory, stalls: see `measure`.
- lost: outcomes that never came, or came wrong.

What is not: a network (loopback has neither latency nor loss), TLS, failures, other services. Most
peers are loops or frameworks for one operation at a time, and know of no lists. In the row "without
lists" neither do we: the service then answers 404 to them, as one may whose documentation is all
there is. The row "one shared list" is the floor, a loop that trusts the list and meets no failure.
google-api-core waits a random time between two looks by design, up to twice the interval.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from attrs import asdict, evolve, frozen

from benchmarks.figures import Figures, medians
from benchmarks.results import is_quick_asked, progress, table, write
from benchmarks.spec import Load, Spec
from benchmarks.trial import attempt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.results import Document

__all__ = ["scenario_tables"]

YARDSTICK = "aiohttp, a loop each, `gather`"


@frozen
class Contender:
    """One row."""

    title: str
    module: str
    lists: bool = True


OURS = Contender("testvibe_async", "ours")
CONTENDERS = (
    OURS,
    Contender("testvibe_async, without lists", "ours", lists=False),
    Contender("testvibe_async, a task each", "ours_in_tasks"),
    Contender(YARDSTICK, "aiohttp_gather"),
    Contender("aiohttp, one shared list", "aiohttp_shared_list"),
    Contender("httpx, a loop each, `gather`", "httpx_gather"),
    Contender("azure-core `AsyncLROPoller`", "azure_core"),
    Contender("google-api-core `AsyncFuture`", "google_api_core"),
)


@frozen
class Scenario:
    """One table."""

    title: str
    load: Load
    contenders: Sequence[Contender] = CONTENDERS
    repeats: int = 3


FULL = (
    Scenario(
        "1,000 operations of 1 to 5 s, looked at every second",
        Load(operations=1000, interval=1.0, durations=(1.0, 5.0)),
        repeats=5,
    ),
    Scenario(
        "1,000 operations of 1 to 5 s, looked at four times a second",
        Load(operations=1000, interval=0.25, durations=(1.0, 5.0)),
        (OURS,),
    ),
    Scenario(
        "5,000 operations of 15 to 20 s, looked at every second",
        Load(operations=5000, interval=1.0, durations=(15.0, 20.0)),
    ),
)
QUICK = (
    Scenario(
        "100 operations of 0.5 to 1 s, looked at every 0.25 s: a smoke test, no measurement",
        Load(operations=100, interval=0.25, durations=(0.5, 1.0), patience=30.0),
        repeats=1,
    ),
)


async def _run(scenarios: Sequence[Scenario]) -> list[Document]:
    return [await _run_scenario(scenario) for scenario in scenarios]


async def _run_scenario(scenario: Scenario) -> Document:
    trials: dict[str, list[Figures]] = {contender.title: [] for contender in scenario.contenders}
    gave_up = set[str]()
    for repeat in range(scenario.repeats):
        for contender in scenario.contenders:
            load = evolve(scenario.load, seed=repeat + 1, lists=contender.lists)
            progress(f"{scenario.title}: {contender.title}, {repeat + 1} of {scenario.repeats}")
            if contender.title in gave_up:
                continue
            figures = await attempt(Spec(contender=contender.module, load=load))
            if figures is None:
                gave_up.add(contender.title)
            else:
                trials[contender.title].append(figures)
    return {
        "title": scenario.title,
        "load": asdict(scenario.load),
        "rows": [
            {
                "title": title,
                "medians": medians(figures) if title not in gave_up else None,
                "trials": figures,
            }
            for title, figures in trials.items()
        ],
    }


HEAD = (
    "",
    "polls an operation",
    "requests an operation",
    "delay p50, s",
    "delay p99, s",
    "CPU, ms an operation",
    "memory, KiB an operation",
    "longest stall, ms",
    "lost",
)


def scenario_tables(document: Document) -> str:
    """Show a result of this benchmark, a table for each scenario."""
    return "\n\n".join(_table(scenario) for scenario in document["scenarios"])


def _table(scenario: Document) -> str:
    patience = scenario["load"]["patience"]
    rows = {row["title"]: row["medians"] for row in scenario["rows"]}
    yardstick = rows.get(YARDSTICK)
    cells = [[title, *_cells(row, yardstick, patience)] for title, row in rows.items()]
    compared = f" The factors compare with {YARDSTICK}." if yardstick is not None else ""
    return f"### {scenario['title']}\n\n{table(HEAD, cells)}\n\n{_company(scenario)}{compared}"


def _cells(row: Figures | None, yardstick: Figures | None, patience: float) -> list[str]:
    if row is None:
        return [f"not over within {patience:g} s", *([""] * (len(HEAD) - 2))]
    return [
        f"{row['polls_per_operation']:.2f}",
        f"{row['requests_per_operation']:.2f}",
        f"{row['delay_p50']:.2f}",
        f"{row['delay_p99']:.2f}",
        _compared("cpu_ms_per_operation", row, yardstick),
        _compared("peak_kib_per_operation", row, yardstick),
        f"{row['longest_stall_ms']:.0f}",
        f"{row['lost']:.0f}",
    ]


def _compared(name: str, row: Figures, yardstick: Figures | None) -> str:
    shown = f"{row[name]:.2f}"
    return shown if yardstick is None else f"{shown} ({row[name] / yardstick[name]:.2f}x)"


def _company(scenario: Document) -> str:
    """Say what else kept the machine busy: a reader has to know whether to believe the table."""
    trials: list[Any] = [trial for row in scenario["rows"] for trial in row["trials"]]
    if not trials:
        return ""
    service = max(trial["service_busy"] for trial in trials)
    others = max(trial["others_busy"] for trial in trials)
    return (
        f"The service's core was busy for {service:.0%} of the time at most; all else on the "
        f"machine took {others:.0%} of a core at most."
    )


def main() -> None:
    """Run the benchmark."""
    is_quick = is_quick_asked(__doc__)
    content = {"scenarios": asyncio.run(_run(QUICK if is_quick else FULL))}
    sys.stdout.write(f"{scenario_tables(content)}\n")
    write("peers", content, is_quick=is_quick)


if __name__ == "__main__":
    main()
