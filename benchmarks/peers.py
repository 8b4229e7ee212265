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
from typing import TYPE_CHECKING

from attrs import asdict, evolve, frozen

from benchmarks.figures import Figures, medians, with_ratios
from benchmarks.results import measure, progress, table
from benchmarks.spec import Load, Spec
from benchmarks.trial import alternate

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


def _run(*, is_quick: bool) -> Document:
    return {"scenarios": [_run_scenario(each) for each in (QUICK if is_quick else FULL)]}


def _run_scenario(scenario: Scenario) -> Document:
    progress(scenario.title)
    specs = {
        each.title: Spec(contender=each.module, load=evolve(scenario.load, lists=each.lists))
        for each in scenario.contenders
    }
    trials = asyncio.run(alternate(specs, repeats=scenario.repeats))
    return {
        "title": scenario.title,
        "load": asdict(scenario.load),
        "rows": [
            {"title": title, "medians": medians(figures), "trials": figures}
            for title, figures in trials.items()
        ],
    }


COLUMNS = {
    "": "{title}",
    "polls per operation": "{polls_per_operation:.2f}",
    "requests per operation": "{requests_per_operation:.2f}",
    "delay p50, s": "{delay_p50:.2f}",
    "delay p99, s": "{delay_p99:.2f}",
    "CPU, ms per operation": "{cpu_ms_per_operation:.2f}",
    "memory, KiB per operation": "{peak_kib_per_operation:.2f}",
    "longest stall, ms": "{longest_stall_ms:.0f}",
    "lost": "{lost:.0f}",
}
COMPARED = COLUMNS | {
    "CPU, ms per operation": "{cpu_ms_per_operation:.2f} ({cpu_ms_per_operation_ratio:.2f}x)",
    "memory, KiB per operation": (
        "{peak_kib_per_operation:.2f} ({peak_kib_per_operation_ratio:.2f}x)"
    ),
}


def scenario_tables(document: Document) -> str:
    """Return a result of this benchmark, with a table for each scenario."""
    return "\n\n".join(_table(scenario) for scenario in document["scenarios"])


def _table(scenario: Document) -> str:
    rows = _rows(scenario)
    is_compared = BASELINE in rows
    shown = table(COMPARED if is_compared else COLUMNS, rows.values())
    compared = f" The factors compare with {BASELINE}." if is_compared else ""
    return f"### {scenario['title']}\n\n{shown}\n\n{_other_load(scenario)}{compared}"


def _rows(scenario: Document) -> dict[str, Document]:
    """Return the figures of each contender, with the ratios to the baseline if it took part."""
    rows: dict[str, Figures] = {row["title"]: row["medians"] for row in scenario["rows"]}
    return {
        title: {"title": title, **with_ratios(row, rows.get(BASELINE, row))}
        for title, row in rows.items()
    }


def _other_load(scenario: Document) -> str:
    """Return how busy the machine was besides, by which a reader can judge the table."""
    trials: list[Figures] = [trial for row in scenario["rows"] for trial in row["trials"]]
    service = max(trial["service_busy"] for trial in trials)
    others = max(trial["others_busy"] for trial in trials)
    return (
        f"The service's core was busy for {service:.0%} of the time at most; all else on the "
        f"machine took {others:.0%} of a core at most."
    )


COST_COLUMNS = {
    "": "{shown}",
    "requests per operation": "{requests_per_operation:.1f}",
    "CPU": "{cpu_ms_per_operation_ratio:.2f} \N{MULTIPLICATION SIGN}",
    "memory": "{peak_kib_per_operation_ratio:.2f} \N{MULTIPLICATION SIGN}",
    "delay p99": "{delay_p99:.2f} s",
}
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
    rows = _rows(document["scenarios"][0])
    cores, _, _ = document["machine"].partition(" of ")
    shown = [{"shown": name, **rows[title]} for title, name in COST_ROWS.items()]
    return (
        f"1,000 runs of 1 to 5 s, polled every second, on {cores}, measured "
        f"on commit `{document['commit']}`, compared\nwith a plain aiohttp loop for each run under "
        f"one `gather`:\n\n{table(COST_COLUMNS, shown)}"
    )


if __name__ == "__main__":
    measure("peers", __doc__, _run, scenario_tables)
