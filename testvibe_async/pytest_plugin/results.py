"""The result of a run, and its text in a test's report: plain, and without a traceback.

Decides whether a test may have the run, and how much is shown of it. The first line is the one in
pytest's summary. All text from the service is cleaned of what a terminal obeys; this package's
errors already are.
"""

from __future__ import annotations

from textwrap import indent
from typing import TYPE_CHECKING

from attrs import frozen

from testvibe_async import Run, Verdict, VibeError, errors
from testvibe_async._core.util import clean
from testvibe_async.reports.reasons import why
from testvibe_async.reports.text import one_line, tail

if TYPE_CHECKING:
    from testvibe_async.reports.entries import Case, Entry

LOG_LINES = 20
"""Number of lines that are shown of a log's end."""


@frozen
class Result:
    """The result of a run, with its downloaded artifacts."""

    entry: Entry
    """The run's item of its batch, with the downloaded artifacts, in the words of reports."""

    artifacts_error: str | None = None
    """The reason why the download failed; None if it did not."""

    has_log: bool = False
    """True to show the end of the log, also if a test says why the run failed."""

    @property
    def cases(self) -> list[Case]:
        """The tests of the run; none if there is no finished run."""
        return [case for case in self.entry.cases if not case.is_operation]

    @property
    def is_settled(self) -> bool:
        """True if nothing that it began may still be running at the service."""
        return not self.entry.item.is_unfinished and self.entry.item.verdict is not Verdict.UNKNOWN

    @property
    def run(self) -> Run:
        """The finished run.

        Raises:
            VibeError: There is none, or it passed without executing a test, and so shows nothing.
        """
        run = self.entry.item.outcome
        if not isinstance(run, Run):
            raise self.entry.item.error or VibeError(self.entry.reason)
        if run.executed_nothing or (run.is_success and not run.has_results):
            raise VibeError(headline(self.entry))
        return run

    def describe(self) -> str:
        """Return its text: the result, the runs before, the end of the log, the artifacts.

        The tests that failed are subtests, which say why themselves.
        """
        entry, error = self.entry, self.entry.item.error
        shows_log = self.has_log or not any(case.is_failed for case in self.cases)
        files = [file for files in entry.artifacts.values() for file in files]
        sections = {
            "Its runs before": "\n".join(map(headline, entry.earlier)),
            "The end of its log": tail(entry.log, LOG_LINES) if shows_log else "",
            "Its artifacts": "\n".join(map(str, files)),
            "Its artifacts could not be downloaded": self.artifacts_error,
        }
        parts = [describe_error(error) if error else headline(entry)]
        parts += [f"{title}:\n{indent(text, '  ')}" for title, text in sections.items() if text]
        return "\n\n".join(parts)


def headline(entry: Entry) -> str:
    """Return the result of a run in a line."""
    site = f", on {entry.facts['siteUrl']}" if "siteUrl" in entry.facts else ""
    return one_line(f"{entry.operation} {entry.status}: {entry.reason}{site}")


def describe_error(error: BaseException) -> str:
    """Describe why there is no outcome: the error, the next step, and the request."""
    text = why(error) if isinstance(error, VibeError) else str(error)
    line = "; ".join(filter(None, [text.rstrip("."), _next_step(error)])) or type(error).__name__
    lines = [f"{ref}: {line}" if (ref := getattr(error, "ref", None)) else line]
    if isinstance(error, errors.ResponseError | errors.TransportError):
        lines.append(f"{error.method} {error.url}")
    return clean("\n".join([*lines, *getattr(error, "__notes__", ())]))


def _next_step(error: BaseException) -> str:
    """Return what a person does about an error, if that is more than to try again."""
    if isinstance(error, errors.FeatureNotGeneratedError):
        return "`testvibe-async generate` generates its tests, which costs minutes and credits"
    is_unknown = isinstance(error, errors.DispatchUnknownError)
    return "look at the feature's runs before you run it again" if is_unknown else ""
