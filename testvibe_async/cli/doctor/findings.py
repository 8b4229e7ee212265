"""Findings: one sentence each, with the consequence for our commands, as rows and as JSON.

A finding's sentences are made of our own words, of declarations and of forms. What the service or
the user called something is in `quoted` alone, which only a terminal shows: so a document holds no
value of an answer, no address, no key and no id.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from testvibe_async._util import __version__
from testvibe_async._util.serialization import Serializable
from testvibe_async.cli.words import plural

if TYPE_CHECKING:
    from collections.abc import Sequence


VERSION = 4
"""The version of the document's form."""

_ORDER = ("holds", "differs", "unchecked", "outage")
"""The outcomes of a check, in printing order: people read the end first."""


@frozen
class Finding(Serializable):
    """One line of the result."""

    subject: str
    """The thing it is about: an operation by the service's name, or a word such as `server`."""

    says: str
    """The finding, or the reason why it was not checked."""

    means: str = ""
    """The consequence, and for which commands; empty if there is none."""

    quoted: str | None = None
    """The reason of an error, with the service's own words, or a name. Never part of a document."""

    verdict: str = field(kw_only=True)
    has_consequences: bool = False
    """True if a command does less than it should."""

    @property
    def sentence(self) -> str:
        """The whole of it."""
        means = f"so {self.means}" if self.has_consequences else self.means
        return "; ".join(filter(None, (self.says, self.quoted, means)))


holds: partial[Finding] = partial(Finding, verdict="holds")
"""Make a finding that something is as it should be."""

varies: partial[Finding] = partial(Finding, verdict="differs")
"""Create a finding of a difference from the contract without consequences."""

differs: partial[Finding] = partial(Finding, verdict="differs", has_consequences=True)
"""Create a finding of a difference from the contract that limits a command."""

unchecked: partial[Finding] = partial(Finding, verdict="unchecked")
"""Make a finding that something could not be checked, and why."""


def document(findings: Sequence[Finding], exit_code: int) -> dict[str, Any]:
    """Return the findings as JSON, without the service's own words."""
    return {
        "doctor": VERSION,
        "package": __version__,
        "exitCode": exit_code,
        "conclusion": conclusion(findings),
        "findings": [evolve(each, quoted=None).to_dict() for each in findings],
    }


def conclusion(findings: Sequence[Finding]) -> str:
    """Say in a sentence what the findings come to."""
    verdicts = [each.verdict for each in findings]
    said = "the checks ended in an outage" if "outage" in verdicts else "all that was checked holds"
    if found := verdicts.count("differs"):
        serious = sum(each.has_consequences for each in findings)
        said = f"{plural(found, 'difference')}, {serious or 'none'} with consequences"
    if skipped := verdicts.count("unchecked"):
        said += f"; {skipped} not checked"
    return f"{said[:1].upper()}{said[1:]}."


def rows(findings: Sequence[Finding], *, only_differences: bool) -> list[tuple[str, str, str]]:
    """Return the findings as cells: verdict, subject and sentence, the consequences first.

    Args:
        findings: The findings.
        only_differences: True to leave out findings that agree with the contract.
    """

    def urgency(finding: Finding) -> tuple[int, bool]:
        return _ORDER.index(finding.verdict), not finding.has_consequences

    shown = [each for each in findings if not (only_differences and each.verdict == "holds")]
    return [(each.verdict, each.subject, each.sentence) for each in sorted(shown, key=urgency)]
