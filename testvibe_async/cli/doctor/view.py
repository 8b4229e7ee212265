"""How the result looks to a person: text from findings. Pure."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from typing import TYPE_CHECKING

from attrs import evolve
from rich.text import Text

from testvibe_async._config import REPOSITORY_FILE
from testvibe_async._util import escape
from testvibe_async.cli.doctor.findings import Verdict
from testvibe_async.cli.words import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from testvibe_async.cli.doctor.findings import Finding

__all__ = ["conclusion", "result"]

_TITLES = {
    Verdict.HOLDS: ("Holds", "bold green"),
    Verdict.DIFFERS: ("Differs", "bold yellow"),
    Verdict.NOT_CHECKED: ("Not checked", "bold"),
}
"""The groups, in this order: what matters stands where the eye is at the end."""

_SUBJECT_CELLS = 23
"""Cells of the column with the subjects; the longest is `get_generation_status`."""

_WIDE = 72
"""On a terminal of fewer cells a subject has a line of its own, if what follows needs several."""


def result(
    findings: Sequence[Finding], *, width: int | None, only_differences: bool = False
) -> Text:
    """Return the findings by groups, what to put into the settings, and what it comes to.

    Args:
        findings: What was found.
        width: Cells that a line may take; None for one line for each finding.
        only_differences: Whether to leave out what holds.
    """
    lines: list[tuple[str, str]] = []
    for verdict, (title, style) in _TITLES.items():
        group = [each for each in findings if each.verdict is verdict]
        if not group or (only_differences and verdict is Verdict.HOLDS):
            continue
        lines += [(title, style)]
        if verdict is Verdict.NOT_CHECKED:
            group = [*_joined(group)]
        group.sort(key=lambda each: not each.has_consequences)
        lines += [
            (text, "" if not each.has_consequences else "yellow")
            for each in group
            for text in _lines(each, width)
        ]
        lines += [("", "")]
    lines += [(text, "") for text in _settings(findings, width)]
    lines += [(text, "bold") for text in _filled(conclusion(findings), width, indent=0)]
    text = Text()
    for line, style in lines:
        text.append(line + "\n", style)
    text.right_crop(1)
    return text


def conclusion(findings: Sequence[Finding]) -> str:
    """Say in a sentence what the findings come to."""
    found = [each for each in findings if each.verdict is Verdict.DIFFERS]
    serious = sum(each.has_consequences for each in found)
    skipped = sum(each.verdict is Verdict.NOT_CHECKED for each in findings)
    if serious:
        said = f"{plural(serious, 'difference')} with consequences"
        said += f", {len(found) - serious} without" if len(found) > serious else ""
    elif found:
        said = f"{plural(len(found), 'difference')}, none with consequences"
    else:
        said = "All that was checked holds"
    return f"{said}; {skipped} not checked." if skipped else f"{said}."


def _joined(findings: Sequence[Finding]) -> Iterator[Finding]:
    """Put together what was not checked for the same reason."""
    by_reason: defaultdict[tuple[str, str], list[Finding]] = defaultdict(list)
    for each in findings:
        by_reason[each.says, each.quoted].append(each)
    for alike in by_reason.values():
        yield evolve(alike[0], subject=", ".join(each.subject for each in alike))


def _lines(finding: Finding, width: int | None) -> Iterator[str]:
    subject, says, means = finding.subject, finding.says, finding.means
    if means and not finding.has_consequences:
        says, means = f"{says}; {means}", ""
    parts = [says]
    parts += [f"“{escape(finding.quoted)}”"] if finding.quoted else []
    parts += [f"so {means}"] if means else []
    if width is None:
        subject += ": " if len(subject) >= _SUBJECT_CELLS else ""
        yield f"  {subject:<{_SUBJECT_CELLS}}{'; '.join(parts)}"
        return
    indent = 2 + _SUBJECT_CELLS
    is_short = len(parts) == 1 and indent + len(says) <= width
    if len(subject) >= _SUBJECT_CELLS or (width < _WIDE and not is_short):
        yield from _filled(subject, width, indent=2)
        subject, indent = "", 4
    lines = [line for part in parts for line in _filled(part, width, indent=indent)]
    yield f"  {subject}".ljust(indent) + lines[0][indent:]
    yield from lines[1:]


def _settings(findings: Sequence[Finding], width: int | None) -> Iterator[str]:
    settings = [each.setting for each in findings if each.setting]
    if not settings:
        return
    yield from _filled(
        f"If the service has these elsewhere, put their routes into {REPOSITORY_FILE}:",
        width,
        indent=0,
    )
    yield "  [endpoints]"
    yield from (f"  {setting}" for setting in settings)
    yield ""


def _filled(text: str, width: int | None, *, indent: int) -> list[str]:
    if width is None:
        return [" " * indent + text]
    gap = " " * indent
    return textwrap.wrap(
        text,
        max(width, indent + 20),
        initial_indent=gap,
        subsequent_indent=gap,
        break_on_hyphens=False,
    )
