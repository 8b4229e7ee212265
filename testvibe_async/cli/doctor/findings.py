"""Findings: one sentence each, with the consequence for our commands, as text and as JSON. Pure.

A finding's sentences are made of our own words, of declarations and of forms. What the service or
the user called something is in `quoted` alone, which only a terminal shows: so a document holds no
value of an answer, no address, no key and no id.
"""

from __future__ import annotations

import textwrap
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from testvibe_async._config import REPOSITORY_FILE
from testvibe_async._util import escape
from testvibe_async._util.serialization import Serializable
from testvibe_async.cli.details import text_of
from testvibe_async.cli.output import json_of
from testvibe_async.cli.words import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.text import Text

    from testvibe_async.cli.details import Line

__all__ = [
    "Finding",
    "Verdict",
    "conclusion",
    "differs",
    "holds",
    "result",
    "unchecked",
    "varies",
    "write",
]

_SUBJECT_CELLS = 22
"""Cells of the column with the subjects; the longest is `get_generation_status`."""


class Verdict(StrEnum):
    """The outcome of a check, in printing order: people read the end first."""

    HOLDS = "holds"
    DIFFERS = "differs"
    NOT_CHECKED = "notChecked"


_TITLES = {
    Verdict.HOLDS: ("Holds", "bold green"),
    Verdict.DIFFERS: ("Differs", "bold yellow"),
    Verdict.NOT_CHECKED: ("Not checked", "bold"),
}


@frozen
class Finding(Serializable):
    """One line of the result."""

    subject: str
    """The thing it is about: an operation by the service's name, or a word such as `server`."""

    says: str
    """The finding, or the reason why it was not checked."""

    means: str = ""
    """The consequence, and for which commands; empty if there is none."""

    setting: str = ""
    """A line for the table `[endpoints]` of the settings; empty if there is nothing to set."""

    quoted: str | None = None
    """The service's own words. Never part of a document."""

    verdict: Verdict = field(kw_only=True)
    has_consequences: bool = False
    """True if a command does less than it should."""

    @property
    def without_quotation(self) -> Finding:
        """The same without the service's own words."""
        return evolve(self, quoted=None)


holds: partial[Finding] = partial(Finding, verdict=Verdict.HOLDS)
"""Make a finding that something is as it should be."""

varies: partial[Finding] = partial(Finding, verdict=Verdict.DIFFERS)
"""Create a finding of a difference from the contract without consequences."""

differs: partial[Finding] = partial(Finding, verdict=Verdict.DIFFERS, has_consequences=True)
"""Create a finding of a difference from the contract that limits a command."""

unchecked: partial[Finding] = partial(Finding, verdict=Verdict.NOT_CHECKED)
"""Make a finding that something could not be checked, and why."""


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


def result(
    findings: Sequence[Finding], *, width: int | None, only_differences: bool = False
) -> Text:
    """Return the findings by groups, what to put into the settings, and what it comes to.

    Args:
        findings: The findings to print.
        width: Cells that a line may take; None for one line for each finding.
        only_differences: True to leave out findings that agree with the contract.
    """
    lines: list[Line] = []
    for verdict, heading in _TITLES.items():
        group = [each for each in findings if each.verdict is verdict]
        if not group or (only_differences and verdict is Verdict.HOLDS):
            continue
        lines.append(heading)
        lines += [
            (_line(each, width), "yellow" if each.has_consequences else "")
            for each in sorted(_joined(group), key=lambda each: not each.has_consequences)
        ]
        lines.append(("", ""))
    if settings := [f"  {each.setting}\n" for each in findings if each.setting]:
        said = f"If the service has these elsewhere, put their routes into {REPOSITORY_FILE}:"
        lines.append((f"{_filled(said, width)}\n  [endpoints]\n{''.join(settings)}", ""))
    lines.append((_filled(conclusion(findings), width), "bold"))
    return text_of(lines)


def write(path: Path, findings: Sequence[Finding], document: Mapping[str, Any]) -> None:
    """Write a report: the document if the file's name ends in .json, else text.

    Raises:
        OSError: It can't be written.
    """
    is_json = path.suffix.lower() == ".json"
    bare = [each.without_quotation for each in findings]
    text = json_of(document, indent=2) if is_json else result(bare, width=None).plain
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n", encoding="utf-8")


def _joined(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Group checks that were skipped for the same reason."""
    skipped: dict[Finding, list[str]] = {}
    for each in findings:
        if each.verdict is Verdict.NOT_CHECKED:
            skipped.setdefault(evolve(each, subject=""), []).append(each.subject)
        else:
            yield each
    for each, subjects in skipped.items():
        more = ":" if len(subjects) > 1 else ""
        yield evolve(each, subject=", ".join(subjects) + more)


def _line(finding: Finding, width: int | None) -> str:
    parts = [finding.says]
    parts += [f"“{escape(finding.quoted)}”"] if finding.quoted else []
    if finding.means:
        parts += [f"so {finding.means}" if finding.has_consequences else finding.means]
    first = f"  {finding.subject:<{_SUBJECT_CELLS}} "
    return _filled("; ".join(parts), width, first=first, indent=_SUBJECT_CELLS + 3)


def _filled(text: str, width: int | None, *, first: str = "", indent: int = 0) -> str:
    if width is None:
        return first + text
    return textwrap.fill(
        text,
        max(width, indent + 20),
        initial_indent=first,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
    )
