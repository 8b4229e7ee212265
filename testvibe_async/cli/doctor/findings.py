"""Findings: one sentence each, with the consequence for our commands, as rows and as JSON.

A finding's sentences are made of our own words, of declarations and of forms. What the service or
the user called something is in `quoted` alone, which only a terminal shows: so a document holds no
value of an answer, no address, no key and no id.
"""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from testvibe_async._config import REPOSITORY_FILE
from testvibe_async._util import __version__
from testvibe_async._util.serialization import Serializable
from testvibe_async.cli.output import json_of
from testvibe_async.cli.words import plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


VERSION = 3
"""The version of the document's form."""


class Verdict(StrEnum):
    """The outcome of a check, in printing order: people read the end first."""

    HOLDS = "holds"
    DIFFERS = "differs"
    UNCHECKED = "unchecked"
    OUTAGE = "outage"


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
    """The reason of an error, with the service's own words, or a name. Never part of a document."""

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

unchecked: partial[Finding] = partial(Finding, verdict=Verdict.UNCHECKED)
"""Make a finding that something could not be checked, and why."""


def document(findings: Sequence[Finding], exit_code: int) -> dict[str, Any]:
    """Return the findings as JSON."""
    return {
        "doctor": VERSION,
        "package": __version__,
        "exitCode": exit_code,
        "conclusion": conclusion(findings),
        "findings": [each.without_quotation.to_dict() for each in findings],
    }


def conclusion(findings: Sequence[Finding]) -> str:
    """Say in a sentence what the findings come to."""
    found = [each for each in findings if each.verdict is Verdict.DIFFERS]
    serious = sum(each.has_consequences for each in found)
    skipped = sum(each.verdict is Verdict.UNCHECKED for each in findings)
    if serious:
        said = f"{plural(serious, 'difference')} with consequences"
        said += f", {len(found) - serious} without" if len(found) > serious else ""
    elif found:
        said = f"{plural(len(found), 'difference')}, none with consequences"
    else:
        said = "all that was checked holds"
    if any(each.verdict is Verdict.OUTAGE for each in findings):
        is_all = len(findings) == 1
        said = "the service does not answer" if is_all else f"the checks ended in an outage; {said}"
    said += f"; {skipped} not checked." if skipped else "."
    return said[:1].upper() + said[1:]


def rows(
    findings: Sequence[Finding], *, only_differences: bool = False
) -> list[tuple[Verdict, str, str]]:
    """Return the findings as cells: verdict, subject and sentence, the consequences first.

    Args:
        findings: The findings.
        only_differences: True to leave out findings that agree with the contract.
    """
    return [
        (each.verdict, each.subject, _sentence(each))
        for verdict in Verdict
        for each in sorted(findings, key=lambda each: not each.has_consequences)
        if each.verdict is verdict and not (only_differences and verdict is Verdict.HOLDS)
    ]


def _sentence(finding: Finding) -> str:
    means = f"so {finding.means}" if finding.has_consequences else finding.means
    return "; ".join(filter(None, (finding.says, finding.quoted, means)))


def summary(findings: Sequence[Finding]) -> str:
    """Return what to put into the settings, and the conclusion."""
    lines = [f"  {each.setting}" for each in findings if each.setting]
    if lines:
        said = f"If the service has these elsewhere, put their routes into {REPOSITORY_FILE}:"
        lines = [said, "  [endpoints]", *lines, ""]
    return "\n".join([*lines, conclusion(findings), ""])


def write(path: Path, findings: Sequence[Finding], document: Mapping[str, Any]) -> None:
    """Write a report: the document if the file's name ends in .json, else text.

    Raises:
        OSError: It can't be written.
    """
    lines = ["\t".join(row) for row in rows([each.without_quotation for each in findings])]
    text = "\n".join([*lines, "", summary(findings)])
    if path.suffix.lower() == ".json":
        text = json_of(document, indent=2) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
