"""From what both processes tell to the figures that are published. Pure."""

from __future__ import annotations

from math import ceil
from statistics import median
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Figures", "figures", "medians", "percentile"]

Figures: TypeAlias = dict[str, float]


def figures(
    operations: int, measured: dict[str, Any], report: dict[str, Any], *, busy: float
) -> Figures:
    """Work out one trial's figures.

    Args:
        operations: How many were to be run.
        measured: What the client's process told.
        report: What the service's process told.
        busy: Seconds for which any core was busy meanwhile, whoever it was for.
    """
    delays, lost = _delays(operations, measured, report)
    requests: dict[str, int] = report["requests"]
    polls = requests["*"] - requests["run_feature"]
    seconds = measured["seconds"]
    return {
        "operations": operations,
        "requests_per_operation": requests["*"] / operations,
        "polls_per_operation": polls / operations,
        "lists": requests["list_runs"],
        "delay_p50": percentile(delays, 50),
        "delay_p99": percentile(delays, 99),
        "delay_max": percentile(delays, 100),
        "cpu_ms_per_operation": 1000 * measured["cpu"] / operations,
        "peak_kib_per_operation": measured["peak_bytes"] / 1024 / operations,
        "longest_stall_ms": 1000 * measured["longest_stall"],
        "lost": lost,
        "seconds": seconds,
        "most_in_flight": report["most_in_flight"],
        "client_busy": measured["cpu"] / seconds,
        "service_busy": report["cpu"] / seconds,
        "others_busy": max(0.0, busy - measured["cpu"] - report["cpu"]) / seconds,
    }


def _delays(
    operations: int, measured: dict[str, Any], report: dict[str, Any]
) -> tuple[list[float], int]:
    """Return the delay of each outcome, and how many never came or came wrong."""
    ends = {run: (ended, verdict) for run, ended, verdict in report["runs"]}
    delays: dict[int, float] = {}
    for run, seen, status in measured["seen"]:
        ended, verdict = ends[run]
        if status == verdict:
            delays[run] = seen - ended
    known = min(len(delays), measured["returned"])
    return list(delays.values()), max(operations, len(ends)) - known


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that so many percent do not exceed; nan of none."""
    if not values:
        return float("nan")
    return sorted(values)[max(1, ceil(len(values) * percent / 100)) - 1]


def medians(trials: Sequence[Figures]) -> Figures:
    """Return each figure's median, but the worst of what was lost."""
    middle = {name: median(trial[name] for trial in trials) for name in trials[0]}
    return middle | {"lost": max(trial["lost"] for trial in trials)}
