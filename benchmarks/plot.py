"""The plots of the results: small, and identical for identical numbers."""

# matplotlib's own annotations leave its keyword arguments open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchmarks.results import Document

__all__ = ["draw_peers", "draw_scale"]

SCALE_PANELS = (
    ("cpu_ms_per_operation", "CPU, ms per operation"),
    ("peak_kib_per_operation", "memory, KiB per operation"),
    ("polls_per_operation", "polls per operation"),
)
PEERS_PANELS = (
    ("requests_per_operation", "requests per run", ".1f"),
    ("cpu_ms_per_operation", "CPU, ms per run", ".2f"),
    ("peak_kib_per_operation", "memory, KiB per run", ".1f"),
)

OURS = "#2563eb"
OTHERS = "#9ca3af"


def draw_scale(document: Document, path: Path) -> None:
    """Write the plot of a result of `scale`: cost against operations in flight."""
    sizes = document["sizes"]
    counts = [size["operations"] for size in sizes]
    with _panels(path, count=len(SCALE_PANELS), size=(9, 2.6)) as panels:
        for panel, (name, title) in zip(panels, SCALE_PANELS, strict=True):
            _draw_line(panel, counts, [size["figures"][name] for size in sizes], title)


def draw_peers(document: Document, path: Path) -> None:
    """Write the plot of a result of `peers` for the front page: a bar for each contender."""
    rows = document["scenarios"][0]["rows"][::-1]
    names = [row["title"].replace("`", "") for row in rows]
    with _panels(path, count=len(PEERS_PANELS), size=(9, 2.4)) as panels:
        for panel, (name, title, form) in zip(panels, PEERS_PANELS, strict=True):
            _draw_bars(panel, names, [row["medians"][name] for row in rows], title, form=form)
        for panel in panels[1:]:
            panel.set_yticks([])


@contextmanager
def _panels(path: Path, *, count: int, size: tuple[float, float]) -> Generator[list[Axes]]:
    """Hand out panels side by side, and write them as SVG, keeping text as text."""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": path.stem, "font.size": 9}):
        figure = Figure(figsize=size, layout="constrained")
        yield [figure.add_subplot(1, count, n + 1) for n in range(count)]
        figure.savefig(path, format="svg", metadata={"Date": None})


def _draw_line(panel: Axes, counts: list[int], values: list[float], title: str) -> None:
    panel.plot(counts, values, marker="o", color=OURS)
    panel.set_xscale("log")
    panel.set_ylim(0, 1.1 * max(values))
    panel.set_xticks(counts, [f"{count:,}" for count in counts])
    panel.minorticks_off()
    panel.set_title(title)
    panel.set_xlabel("operations in flight")
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="y", color="#e5e7eb")


def _draw_bars(
    panel: Axes, names: Sequence[str], values: list[float], title: str, *, form: str
) -> None:
    colors = [OURS if name.startswith("testvibe_async") else OTHERS for name in names]
    bars = panel.barh(names, values, color=colors)
    panel.bar_label(bars, [format(value, form) for value in values], padding=3)
    panel.set_xlim(0, 1.2 * max(values))
    panel.set_xticks([])
    panel.set_title(title)
    panel.spines[["top", "right", "bottom"]].set_visible(False)
