"""The published figures, computed from what both processes report. Pure: no I/O."""

from __future__ import annotations

from math import ceil
from statistics import median
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Figures", "figures", "medians", "percentile", "with_ratios"]

Figures: TypeAlias = dict[str, float]


def figures(
    operations: int, measured: dict[str, Any], report: dict[str, Any], *, busy: float
) -> Figures:
    """Compute one trial's figures.

    Args:
        operations: How many were to run.
        measured: What the client's process reported.
        report: What the service's process reported.
        busy: Seconds for which any core was busy meanwhile, for any process.
    """
    delays, lost = _delays(operations, measured, report)
    requests: dict[str, int] = report["requests"]
    polls = requests["*"] - requests["run_feature"]
    seconds = measured["seconds"]
    return {
        "requests_per_operation": requests["*"] / operations,
        "polls_per_operation": polls / operations,
        "delay_p50": percentile(delays, 50),
        "delay_p99": percentile(delays, 99),
        "cpu_ms_per_operation": 1000 * measured["cpu"] / operations,
        "peak_kib_per_operation": measured["peak_bytes"] / 1024 / operations,
        "longest_stall_ms": 1000 * measured["longest_stall"],
        "stall_without_passes_ms": 1000 * measured["longest_stall_without_passes"],
        "longest_pass_ms": 1000 * measured["longest_pass"],
        "passes_ms_per_operation": 1000 * measured["passes"] / operations,
        "lost": lost,
        "seconds": seconds,
        "most_in_flight": report["most_in_flight"],
        "service_busy": report["cpu"] / seconds,
        "others_busy": max(0.0, busy - measured["cpu"] - report["cpu"]) / seconds,
    }


def _delays(
    operations: int, measured: dict[str, Any], report: dict[str, Any]
) -> tuple[list[float], int]:
    """Return the delay of each outcome, and how many outcomes are missing or wrong."""
    finished = {run: (ended, verdict) for run, ended, verdict in report["runs"]}
    delays: dict[int, float] = {}
    for run, seen, status in measured["seen"]:
        ended, verdict = finished[run]
        if status == verdict:
            delays[run] = seen - ended
    known = min(len(delays), measured["returned"])
    return list(delays.values()), max(operations, len(finished)) - known


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that this share does not exceed; nan if there are none."""
    if not values:
        return float("nan")
    return sorted(values)[max(1, ceil(len(values) * percent / 100)) - 1]


def medians(trials: Sequence[Figures]) -> Figures:
    """Return each figure's median, except for `lost`: its maximum."""
    middle = {name: median(trial[name] for trial in trials) for name in trials[0]}
    return middle | {"lost": max(trial["lost"] for trial in trials)}


def with_ratios(row: Figures, baseline: Figures) -> Figures:
    """Return a row's figures, and the ratio of each to a baseline's, named `..._ratio`."""
    return row | {f"{name}_ratio": row[name] / (baseline[name] or 1) for name in row}
