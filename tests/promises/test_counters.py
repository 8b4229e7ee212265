"""What an operation costs: each published figure is one of today's code, and names its commit."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.results import count, read

ROOT = Path(__file__).parent.parent.parent
RESULTS = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
BENCHMARKS = sorted(path.stem for path in (ROOT / "benchmarks" / "results").glob("*.json"))
STALE: set[str] = set()
"""Measured with code that cost something else. Measure them again, and remove them here."""

TOLERANCE = 0.05
MEMORY_TOLERANCE = 0.1
"""What is under way when the memory is measured differs by a tenth from one process to another."""


def document(benchmark: str) -> dict[str, Any]:
    found = read(benchmark)
    assert found is not None
    return found


def published(benchmark: str) -> dict[str, Any]:
    """Return the figures, each with the tolerance of its kind."""
    figures = flat(document(benchmark)["counters"])
    return {
        name: pytest.approx(n, rel=MEMORY_TOLERANCE if name.endswith("held_bytes") else TOLERANCE)
        for name, n in figures.items()
    }


def flat(counters: dict[str, dict[str, float]]) -> dict[str, float]:
    return {f"{way}: {name}": n for way, row in counters.items() for name, n in row.items()}


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the figures are of Python 3.11")
def test_the_published_figures_are_of_this_code() -> None:
    """What an operation costs today is published, and is what it cost when it was timed.

    Where this fails, an operation has become more expensive, or cheaper. If that is meant:
    `python -m benchmarks.counters`; for each name that is shown as stale, its own command on a
    machine with nothing else to do; then `python -m benchmarks.report`.
    """
    today = flat(count("counters"))
    assert today == published("counters")
    assert {name for name in BENCHMARKS if today != published(name)} == STALE


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_figure_names_its_commit(name: str) -> None:
    """The page of the results says with which commit, and when, each of them was taken."""
    found = document(name)
    assert re.fullmatch("[0-9a-f]{7}", found["commit"])
    assert f"`{found['command']}`, commit `{found['commit']}`, {found['taken']}" in RESULTS


def test_the_page_shows_the_counters() -> None:
    """The page of the results has each counter, rounded."""
    for way, row in document("counters")["counters"].items():
        shown = [f"{row[name]:,.0f}" for name in ("own_calls", "calls", "held_bytes")]
        assert f"| {way} | {' | '.join(shown)} | {row['requests']:.1f} |" in RESULTS
