"""The failures of a batch on the page, above all else: equal errors once, with all their tests.

Decides which errors are the same, in which order they come, and what stands beside a test. It never
decides how that looks; `template/page.css` does.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from testvibe_async.reports.attachments import files_of, is_trace, show_trace
from testvibe_async.reports.markup import Html, element, href, joined
from testvibe_async.reports.operation import anchor
from testvibe_async.reports.text import counted, essence, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from testvibe_async.reports.cases import Case
    from testvibe_async.reports.entries import Entry
    from testvibe_async.reports.report import Report

__all__ = ["failures_section"]

OPEN_GROUPS = 10
"""How many errors are expanded at first."""

SHOWN_TESTS = 20
"""How many tests of one error are listed at first."""

_Failure = tuple["Entry", "Case"]

_TYPES = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpeg"), (b"RIFF", "webp"))
"""The types of images by their first bytes: what is none of these is not shown."""


def failures_section(report: Report, images: Mapping[Path, bytes]) -> Html:
    """Return each error once with the tests that have it; empty where nothing failed.

    Args:
        report: The report.
        images: The contents of screenshots, by the paths that the entries have.
    """
    groups: dict[str, list[_Failure]] = {}
    for entry in report.by_urgency:
        for case in entry.failures:
            groups.setdefault(essence(case.error), []).append((entry, case))
    if not groups:
        return Html()
    ranked = sorted(groups.values(), key=len, reverse=True)
    parts = (_group(group, images, is_open=n < OPEN_GROUPS) for n, group in enumerate(ranked))
    return element("section", element("h2", "Failures"), *parts, class_="failures")


def _group(group: Sequence[_Failure], images: Mapping[Path, bytes], *, is_open: bool) -> Html:
    entry, case = group[0]
    many = len(group) > 1
    title = joined(
        element("b", f"{counted(len(group), 'test')}: ") if many else None,
        case.message if many else _title(entry, case),
    )
    tests = [_test(*each, images, is_titled=many) for each in group]
    rest = tests[SHOWN_TESTS:]
    return element(
        "details",
        element("summary", element("h3", title)),
        element("pre", case.error or "no error given", class_=f"{case.status}"),
        element("ul", *tests[:SHOWN_TESTS]),
        element(
            "details",
            element("summary", f"{len(rest):,} more with the same error"),
            element("ul", *rest),
            class_="rest",
        )
        if rest
        else None,
        class_="group",
        open=is_open,
    )


def _title(entry: Entry, case: Case) -> str:
    return entry.name if case.is_operation else f"{entry.name}: {case.name}"


def _test(entry: Entry, case: Case, images: Mapping[Path, bytes], *, is_titled: bool) -> Html:
    """Return a failed test: the link to its run, its screenshot, and how to open its trace."""
    files = files_of(entry, case)
    image = next((file for file in files if file in images), None)
    return element(
        "li",
        element(
            "a",
            _title(entry, case) if is_titled else entry.operation.capitalize(),
            href=f"#{anchor(entry)}",
        ),
        *(element("code", show_trace(file)) for file in files if is_trace(file)),
        _picture(image, images[image], case) if image else None,
    )


def _picture(file: Path, content: bytes, case: Case) -> Html | None:
    """Return a screenshot as data, so that the page stays one file; None for another type."""
    kind = next((name for magic, name in _TYPES if content.startswith(magic)), None)
    if kind is None:
        return None
    data = base64.b64encode(content).decode()
    image = element(
        "img",
        src=f"data:image/{kind};base64,{data}",
        alt=one_line(f"Screenshot of {case.name}", 200),
        loading="lazy",
        decoding="async",
    )
    # An element without an end: only the opening is kept.
    return element("a", Html(image.removesuffix("</img>")), href=href(file), class_="picture")
