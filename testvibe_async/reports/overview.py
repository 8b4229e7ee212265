"""The upper part of the page: the facts, verdicts, timeline and matrix of a batch.

Decides what summarizes a batch, and what is left out of a small one. It never decides how that
looks; `template/page.css` does.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC
from typing import TYPE_CHECKING

from testvibe_async.reports.entries import Kind
from testvibe_async.reports.markup import Html, described, element, joined, slug
from testvibe_async.reports.operation import FACT_LABELS, anchor
from testvibe_async.reports.text import duration
from testvibe_async.reports.timeline import timeline

if TYPE_CHECKING:
    from testvibe_async.reports.entries import Entry
    from testvibe_async.reports.report import Report

__all__ = [
    "config_filter",
    "facts",
    "matrix",
    "noun",
    "proportions",
    "timeline_section",
    "verdicts",
]

_FLAKY = "flaky"
"""What a success after a failure is called, and the CSS class of its colour."""

_OPEN_ROWS = 12
"""Number of features up to which the matrix is unfolded."""


def facts(report: Report) -> Html:
    """Return how many tests ran, when and where."""
    began_at = report.started_at and report.started_at.astimezone(UTC)
    rows = {
        "Ran": report.tests_in_words,
        "Took": duration(report.seconds),
        "Began": f"{began_at:%d %b %Y, %H:%M:%S} UTC" if began_at else None,
    }
    return described(rows | {FACT_LABELS[name]: v for name, v in report.shared_facts.items()})


def noun(report: Report) -> str:
    """Return what the entries are: `runs`, `generations`, or both."""
    kinds = {entry.kind for entry in report.entries} - {Kind.DISPATCH}
    if kinds == {Kind.GENERATION}:
        return "generations"
    return "runs" if Kind.GENERATION not in kinds else "runs and generations"


def proportions(report: Report) -> Html:
    """Return a bar whose parts are the shares of the verdicts, flaky successes apart."""
    parts: list[Html] = []
    left = 0.0
    found = Counter(_tone(entry) for entry in report.by_urgency)
    for kind, number in found.items():
        width = 100 * number / len(report.entries)
        parts.append(
            element("rect", x=f"{left:.3f}%", width=f"{width:.3f}%", height=8, class_=kind)
        )
        left += width
    return element("svg", *parts, class_="proportions", width="100%", height=8, aria_hidden="true")


def verdicts(report: Report) -> Html:
    """Return a button with the number of each verdict, which the script makes a filter.

    Those that are flaky, and counted as succeeded, have another.
    """
    pairs: list[tuple[str, int]] = list(report.verdicts.items())
    if report.flaky:
        pairs.append((_FLAKY, len(report.flaky)))
    return joined(*(_verdict(*pair) for pair in pairs))


def _tone(entry: Entry) -> str:
    """Return the CSS class of an entry's colour."""
    return _FLAKY if entry.is_flaky else slug(entry.verdict)


def _verdict(verdict: str, number: int) -> Html:
    return element(
        "button",
        element("b", f"{number:,}"),
        " ",
        element("span", verdict.capitalize()),
        type="button",
        class_=f"verdict {slug(verdict)}",
        data_verdict=slug(verdict),
        aria_pressed="false",
        disabled=True,
    )


def timeline_section(report: Report) -> Html:
    """Return the timeline with its legend; empty where no time is known."""
    picture = timeline(report)
    if picture is None:
        return Html()
    legend = element(
        "p",
        element("span", class_="key queue"),
        "queued ",
        element("span", class_="key active"),
        "at work",
        class_="legend",
    )
    return element("section", element("h2", "Timeline"), legend, picture, class_="panel")


def config_filter(report: Report) -> Html:
    """Return the choice of configurations; empty where there is only one."""
    if len(report.configs) < 2:  # noqa: PLR2004 - no choice
        return Html()
    options = [element("option", "All", value="")]
    options += [element("option", config, value=config) for config in report.configs]
    label = element("label", "Config", for_="config")
    return element("span", label, element("select", *options, id="config"), class_="field")


def matrix(report: Report) -> Html:
    """Return the table of features by configurations; empty for only one configuration."""
    configs = report.configs
    if len(configs) < 2:  # noqa: PLR2004 - a list says the same
        return Html()
    rows: dict[str, dict[str, list[Entry]]] = {}
    for entry in report.entries:
        if entry.config:
            row = rows.setdefault(entry.feature, {config: [] for config in configs})
            row[entry.config].append(entry)
    head = element("tr", *(element("th", name, scope="col") for name in ("Feature", *configs)))
    body = [_matrix_row(feature, row) for feature, row in rows.items()]
    table = element("table", element("thead", head), element("tbody", *body))
    return element(
        "details",
        element("summary", element("h2", "Features by configuration")),
        element(
            "div",
            table,
            class_="scroll",
            tabindex="0",
            role="region",
            aria_label="Features by configuration",
        ),
        class_="panel matrix",
        open=len(rows) <= _OPEN_ROWS,
    )


def _matrix_row(feature: str, row: dict[str, list[Entry]]) -> Html:
    cells = (element("td", *map(_matrix_link, entries)) for entries in row.values())
    return element("tr", element("th", feature, scope="row"), *cells)


def _matrix_link(entry: Entry) -> Html:
    word = f"{entry.status}, {_FLAKY}" if entry.is_flaky else entry.status
    return element(
        "a", word, href=f"#{anchor(entry)}", class_=_tone(entry), aria_label=f"{entry.name}: {word}"
    )
