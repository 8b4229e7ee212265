"""Findings: one sentence each, with the consequence for our commands, as text and as JSON. Pure.

A finding's sentences are made of our own words, of declarations and of forms. What the service or
the user called something is in `quoted` alone, which only a terminal shows: so a document holds no
value of an answer, no address, no key and no id.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen
from rich.text import Text

from testvibe_async import ConfigError
from testvibe_async._config import REPOSITORY_FILE
from testvibe_async._util import escape
from testvibe_async.cli.output import json_of
from testvibe_async.cli.words import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = [
    "Finding",
    "Verdict",
    "conclusion",
    "differs",
    "holds",
    "require_format",
    "result",
    "unchecked",
    "varies",
    "write",
]

_SUBJECT_CELLS = 23
"""Cells of the column with the subjects; the longest is `get_generation_status`."""

_REDACTED = "Names, texts, ids and addresses are left out."


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
class Finding:
    """One line of the result."""

    subject: str
    """The thing it is about: an operation by the service's name, or a word such as `server`."""

    says: str
    """The finding, or the reason why it was not checked."""

    means: str = ""
    """The consequence, and for which commands; empty if there is none."""

    setting: str = ""
    """A line for the table `[endpoints]` of the settings; empty if there is nothing to set."""

    quoted: str = ""
    """The service's own words. Never part of a document."""

    verdict: Verdict = field(kw_only=True)
    has_consequences: bool = False
    """True if a command does less than it should."""

    stops: str = ""
    """The reason why nothing more is asked; empty where more is. Never part of a document."""

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON, without quoted texts."""
        return {
            "verdict": self.verdict.value,
            "subject": self.subject,
            "says": self.says,
            "means": self.means,
            "setting": self.setting,
            "hasConsequences": self.has_consequences,
        }


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
    lines: list[tuple[str, str]] = []
    for verdict, (title, style) in _TITLES.items():
        group = [each for each in findings if each.verdict is verdict]
        if not group or (only_differences and verdict is Verdict.HOLDS):
            continue
        if verdict is Verdict.NOT_CHECKED:
            group = list(_joined(group))
        lines.append((title, style))
        for each in sorted(group, key=lambda each: not each.has_consequences):
            of_line = "yellow" if each.has_consequences else ""
            lines += [(text, of_line) for text in _lines(each, width)]
        lines.append(("", ""))
    lines += [(text, "") for text in _settings(findings, width)]
    lines += [(text, "bold") for text in _filled(conclusion(findings), width)]
    return Text("\n").join(Text(line, style) for line, style in lines)


def _joined(findings: Sequence[Finding]) -> Iterator[Finding]:
    """Group checks that were skipped for the same reason."""
    by_reason: defaultdict[tuple[str, str], list[Finding]] = defaultdict(list)
    for each in findings:
        by_reason[each.says, each.quoted].append(each)
    for alike in by_reason.values():
        yield evolve(alike[0], subject=", ".join(each.subject for each in alike))


def _lines(finding: Finding, width: int | None) -> list[str]:
    parts = [finding.says]
    parts += [f"“{escape(finding.quoted)}”"] if finding.quoted else []
    if finding.means:
        parts += [f"so {finding.means}" if finding.has_consequences else finding.means]
    text, subject = "; ".join(parts), finding.subject
    if len(subject) >= _SUBJECT_CELLS:
        return _filled(f"{subject}: {text}", width, first="  ", indent=4)
    first = f"  {subject:<{_SUBJECT_CELLS}}"
    return _filled(text, width, first=first, indent=len(first))


def _settings(findings: Sequence[Finding], width: int | None) -> Iterator[str]:
    settings = [each.setting for each in findings if each.setting]
    if not settings:
        return
    said = f"If the service has these elsewhere, put their routes into {REPOSITORY_FILE}:"
    yield from _filled(said, width)
    yield "  [endpoints]"
    yield from (f"  {setting}" for setting in settings)
    yield ""


def _filled(text: str, width: int | None, *, first: str = "", indent: int = 0) -> list[str]:
    if width is None:
        return [first + text]
    return textwrap.wrap(
        text,
        max(width, indent + 20),
        initial_indent=first,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
    )


def require_format(path: Path) -> None:
    """Refuse a report whose ending names no format.

    Raises:
        ConfigError: It is neither `.json` nor `.md`.
    """
    if path.suffix.lower() not in {".json", ".md"}:
        raise ConfigError(f"{path.name!r} names no format: let it end in .json or .md (Markdown)")


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Write the document in the format that the file's ending names.

    Raises:
        OSError: It can't be written.
    """
    is_json = path.suffix.lower() == ".json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json_of(document, indent=2) + "\n" if is_json else _markdown(document)
    path.write_text(text, encoding="utf-8")


def _markdown(document: Mapping[str, Any]) -> str:
    made = f"By testvibe-async {document['package']}, with {plural(document['reads'], 'read')}."
    lines = ["# What the service answers", "", f"{document['conclusion']} {made} {_REDACTED}"]
    for verdict, (title, _) in _TITLES.items():
        found = [each for each in document["findings"] if each["verdict"] == verdict]
        if found:
            lines += ["", f"## {title}", "", *map(_item, found)]
    return "\n".join([*lines, ""])


def _item(finding: Mapping[str, Any]) -> str:
    means = f" **{finding['means']}**" if finding["hasConsequences"] else ""
    return f"- `{finding['subject']}`: {finding['says']}.{means}".replace("..", ".")
