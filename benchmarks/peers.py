"""The same work, done by this client and five others: `python -m benchmarks.peers [--quick]`.

The work: dispatch a number of runs at once, and wait for all their outcomes. The service is the
emulator in its own process, on its own core; each trial has new processes. All contenders get the
same seeds, so the same durations and verdicts. They alternate, three times with three seeds, and
five times where a second's work is compared, since single trials of one contender are up to a third
apart. The tables show the median of each figure, and the maximum of what was lost.

Measured, for each operation:

- polls: all requests except the dispatches. A contender that can't keep up with its own interval
  polls less often, which is no advantage: it shows in the delay.
- delay: from the end of the run at the service, to the microsecond, until the waiter has the
  outcome. With polls every second its median is 0.5 s at best, and its p99 1 s.
- CPU, memory, stalls: see `measure`.
- lost: outcomes that are missing or wrong.

OpenTelemetry is not installed for any contender; `traced` measures it.

Not measured: a network (loopback has neither latency nor loss), TLS, failures, other services. Most
peers are loops or frameworks for one operation at a time, and use no lists. In the row "without
lists" this client uses none either: the service answers them with 404, as it may, since they are
not documented. The row "one shared list" is the minimum: a loop that trusts the list and meets no
failure. google-api-core waits a random time between two polls by design, up to twice the interval.
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

__all__ = ["cost_table", "scenario_tables"]

BASELINE = "aiohttp, a loop each, `gather`"
FLOOR = "aiohttp, one shared list"


@frozen
class Contender:
    """One row of a table."""

    title: str
    module: str
    lists: bool = True


TESTVIBE = Contender("testvibe_async", "testvibe_finished")
CONTENDERS = (
    TESTVIBE,
    Contender("testvibe_async, without lists", "testvibe_finished", lists=False),
    Contender("testvibe_async, a task each", "testvibe_tasks"),
    Contender(BASELINE, "aiohttp_gather"),
    Contender(FLOOR, "aiohttp_shared_list"),
    Contender("httpx, a loop each, `gather`", "httpx_gather"),
    Contender("azure-core `AsyncLROPoller`", "azure_core"),
    Contender("google-api-core `AsyncFuture`", "google_api_core"),
)


@frozen
class Scenario:
    """One table: a load, and who gets it."""

    title: str
    load: Load
    contenders: Sequence[Contender] = CONTENDERS
    repeats: int = 3


FULL = (
    Scenario(
        "1,000 operations of 1 to 5 s, polled every second",
        Load(operations=1000, interval=1.0, durations=(1.0, 5.0)),
        repeats=5,
    ),
    Scenario(
        "1,000 operations of 1 to 5 s, polled four times a second",
        Load(operations=1000, interval=0.25, durations=(1.0, 5.0)),
        (TESTVIBE,),
    ),
    Scenario(
        "5,000 operations of 15 to 20 s, polled every second",
        Load(operations=5000, interval=1.0, durations=(15.0, 20.0)),
    ),
)
QUICK = (
    Scenario(
        "100 operations of 0.5 to 1 s, polled every 0.25 s: a smoke test, no measurement",
        Load(operations=100, interval=0.25, durations=(0.5, 1.0), timeout=30.0),
        repeats=1,
    ),
)


async def _run(scenarios: Sequence[Scenario]) -> list[Document]:
    return [await _run_scenario(scenario) for scenario in scenarios]


async def _run_scenario(scenario: Scenario) -> Document:
    trials: dict[str, list[Figures]] = {contender.title: [] for contender in scenario.contenders}
    timed_out = set[str]()
    for repeat in range(scenario.repeats):
        for contender in scenario.contenders:
            load = evolve(scenario.load, seed=repeat + 1, lists=contender.lists)
            progress(f"{scenario.title}: {contender.title}, {repeat + 1} of {scenario.repeats}")
            if contender.title in timed_out:
                continue
            figures = await attempt(Spec(contender=contender.module, load=load))
            if figures is None:
                timed_out.add(contender.title)
            else:
                trials[contender.title].append(figures)
    return {
        "title": scenario.title,
        "load": asdict(scenario.load),
        "rows": [
            {
                "title": title,
                "medians": medians(figures) if title not in timed_out else None,
                "trials": figures,
            }
            for title, figures in trials.items()
        ],
    }


HEAD = (
    "",
    "polls per operation",
    "requests per operation",
    "delay p50, s",
    "delay p99, s",
    "CPU, ms per operation",
    "memory, KiB per operation",
    "longest stall, ms",
    "lost",
)


def scenario_tables(document: Document) -> str:
    """Return a result of this benchmark, with a table for each scenario."""
    return "\n\n".join(_table(scenario) for scenario in document["scenarios"])


def _table(scenario: Document) -> str:
    rows = {row["title"]: row["medians"] for row in scenario["rows"]}
    baseline = rows.get(BASELINE)
    cells = [[title, *_cells(row, baseline)] for title, row in rows.items()]
    compared = f" The factors compare with {BASELINE}." if baseline is not None else ""
    return f"### {scenario['title']}\n\n{table(HEAD, cells)}\n\n{_other_load(scenario)}{compared}"


def _cells(row: Figures | None, baseline: Figures | None) -> list[str]:
    if row is None:
        return ["timed out", *([""] * (len(HEAD) - 2))]
    return [
        f"{row['polls_per_operation']:.2f}",
        f"{row['requests_per_operation']:.2f}",
        f"{row['delay_p50']:.2f}",
        f"{row['delay_p99']:.2f}",
        _compared("cpu_ms_per_operation", row, baseline),
        _compared("peak_kib_per_operation", row, baseline),
        f"{row['longest_stall_ms']:.0f}",
        f"{row['lost']:.0f}",
    ]


def _compared(name: str, row: Figures, baseline: Figures | None) -> str:
    shown = f"{row[name]:.2f}"
    return shown if baseline is None else f"{shown} ({row[name] / baseline[name]:.2f}x)"


def _other_load(scenario: Document) -> str:
    """Return how busy the machine was besides, by which a reader can judge the table."""
    trials: list[Any] = [trial for row in scenario["rows"] for trial in row["trials"]]
    if not trials:
        return ""
    service = max(trial["service_busy"] for trial in trials)
    others = max(trial["others_busy"] for trial in trials)
    return (
        f"The service's core was busy for {service:.0%} of the time at most; all else on the "
        f"machine took {others:.0%} of a core at most."
    )


COST_HEAD = ("", "requests per operation", "CPU", "memory", "delay p99")
COST_ROWS = {
    TESTVIBE.title: "this, where the service has lists",
    "testvibe_async, a task each": "this, with a task for each run",
    "testvibe_async, without lists": "this, where it has no lists",
    BASELINE: "the loops",
    FLOOR: "one loop for all, which trusts the list",
}
"""What the front page calls its rows."""


def cost_table(document: Document) -> str:
    """Return the front page's table of the first scenario, and the sentence before it."""
    rows = {row["title"]: row["medians"] for row in document["scenarios"][0]["rows"]}
    baseline: Figures = rows[BASELINE]
    cores, _, _ = document["machine"].partition(" of ")
    cells = [
        [name, *_cost(rows[title], baseline)] for title, name in COST_ROWS.items() if title in rows
    ]
    return (
        f"1,000 runs of 1 to 5 s, polled every second, on {cores}, measured "
        f"on commit `{document['commit']}`, compared\nwith a plain aiohttp loop for each run under "
        f"one `gather`:\n\n{table(COST_HEAD, cells)}"
    )


def _cost(row: Figures, baseline: Figures) -> list[str]:
    return [
        f"{row['requests_per_operation']:.1f}",
        *(
            f"{row[name] / baseline[name]:.2f} \N{MULTIPLICATION SIGN}"
            for name in ("cpu_ms_per_operation", "peak_kib_per_operation")
        ),
        f"{row['delay_p99']:.2f} s",
    ]


def main() -> None:
    """Run the benchmark."""
    is_quick = is_quick_asked(__doc__)
    content = {"scenarios": asyncio.run(_run(QUICK if is_quick else FULL))}
    sys.stdout.write(f"{scenario_tables(content)}\n")
    write("peers", content, is_quick=is_quick)


if __name__ == "__main__":
    main()
