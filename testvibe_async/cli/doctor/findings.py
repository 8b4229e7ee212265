"""What was found out: one sentence each, and what follows for our commands. Values alone.

A finding's sentences are made of our own words, of declarations and of shapes. What the service or
the user called something is in `quoted` alone, which only a terminal shows.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

__all__ = ["Finding", "Verdict", "differs", "holds", "is_needed", "unchecked", "without"]


class Verdict(StrEnum):
    """What became of a check."""

    HOLDS = "holds"
    DIFFERS = "differs"
    NOT_CHECKED = "notChecked"


@frozen(kw_only=True)
class Finding:
    """One line of the result."""

    verdict: Verdict
    subject: str
    """What it is about: an operation by the service's name, or a word such as `server`."""

    says: str
    """What was found, or why it was not checked."""

    means: str = ""
    """What follows, and for which commands; empty where nothing does."""

    setting: str = ""
    """A line for the table `[endpoints]` of the settings; empty where there is nothing to set."""

    quoted: str = ""
    """What was there, in the service's own words. Never part of a document."""

    has_consequences: bool = False
    """Whether a command does less than it should."""

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON, without what is quoted."""
        return {
            "verdict": self.verdict.value,
            "subject": self.subject,
            "says": self.says,
            "means": self.means,
            "setting": self.setting,
            "hasConsequences": self.has_consequences,
        }


def holds(subject: str, says: str, *, quoted: str = "") -> Finding:
    """Return a finding that something is as it should be."""
    return Finding(verdict=Verdict.HOLDS, subject=subject, says=says, quoted=quoted)


def differs(  # noqa: PLR0913 - each by name
    subject: str,
    says: str,
    *,
    means: str = "",
    setting: str = "",
    quoted: str = "",
    is_harmless: bool = False,
) -> Finding:
    """Return a finding that something is not as the contract says."""
    return Finding(
        verdict=Verdict.DIFFERS,
        subject=subject,
        says=says,
        means=means,
        setting=setting,
        quoted=quoted,
        has_consequences=not is_harmless,
    )


def unchecked(subject: str, why: str, *, quoted: str = "") -> Finding:
    """Return a finding that something could not be checked."""
    return Finding(verdict=Verdict.NOT_CHECKED, subject=subject, says=why, quoted=quoted)


_COMMANDS = {
    "list_projects": "projects and use",
    "list_features": "features list, run --all, generate --all and patterns such as 'Log*'",
    "get_feature": "features show",
    "get_generation_status": "generate --watch and generation status",
    "get_generation_log": "generation log",
    "run_feature": "run",
    "list_runs": "runs list",
    "get_run": "run --wait, wait and runs show",
    "diagnose_run": "runs diagnose",
    "get_run_artifacts": "runs artifacts, runs download and --artifacts",
    "list_files": "files list",
    "read_file": "files get",
    "list_configs": "configs",
}
"""The commands that need an operation. No command needs `get_project`."""

_INSTEAD = {
    "list_features": "; run and generate work with features by name",
    "list_runs": "; run --wait polls each run by itself, and can't find a run whose dispatch got "
    "no answer",
}


def is_needed(operation: str) -> bool:
    """Say whether any command needs an operation."""
    return operation in _COMMANDS


def without(operation: str) -> str:
    """Say what an operation that does not work means for the commands."""
    if not is_needed(operation):
        return "no command needs it"
    return f"these do not work here: {_COMMANDS[operation]}{_INSTEAD.get(operation, '')}"
