"""Output for a CI system beside the log of a job: annotations, the step's summary, log groups.

Decides which workflow commands GitHub Actions receives
(https://docs.github.com/actions/reference/workflow-commands). GitLab, Azure and TeamCity read
reports instead.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from testvibe_async import Run, Verdict
from testvibe_async._util import escape
from testvibe_async.cli.words import item_name, item_reason, plural

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from testvibe_async.cli.output import Output
    from testvibe_async.cli.result import Result
    from testvibe_async.cli.words import Item


MOST_ANNOTATIONS = 10
"""Maximum number of annotated failures; GitHub shows no more for a step."""

MESSAGE_LINES = 12
"""Maximum lines of an error in an annotation."""


def is_github() -> bool:
    """Return whether this is a job of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def summary_path() -> Path | None:
    """Return the file that becomes the summary of the step; None outside of GitHub."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    return Path(path) if path else None


@contextmanager
def grouped(title: str, output: Output) -> Generator[None]:
    """Fold the lines that are printed meanwhile, in a log of GitHub."""
    if not is_github() or output.is_json or output.is_quiet:
        yield
        return
    output.command(f"::group::{_data(title)}")
    try:
        yield
    finally:
        output.command("::endgroup::")


def failure_commands(result: Result) -> list[str]:
    """Return a command for each failure, which GitHub shows beside the job."""
    found = [each for item in result.items for each in _annotations_of(item)]
    more = len(found) - MOST_ANNOTATIONS
    if more > 0:
        found[MOST_ANNOTATIONS:] = [f"::notice::{plural(more, 'failure')} more: see the log"]
    flaky = [_flaky(item) for item in result.items if item.is_flaky]
    return [*found, *flaky[:MOST_ANNOTATIONS]]


def _flaky(item: Item) -> str:
    """Return a warning on what passed after a failure."""
    run = item.earlier[-1]
    tests = run.failures if isinstance(run, Run) else ()
    message = "flaky: it failed, and passed when it ran again"
    return _annotation("warning", item, message, test=tests[0].name if tests else None)


def _annotations_of(item: Item) -> Iterator[str]:
    if item.verdict is Verdict.FAILED and isinstance(item.outcome, Run) and item.outcome.failures:
        for test in item.outcome.failures:
            yield _annotation("error", item, test.error or "no error given", test=test.name)
    elif item.verdict in {Verdict.FAILED, Verdict.ERROR, Verdict.UNKNOWN} or item.is_unseen:
        yield _annotation("error", item, item_reason(item))


def _annotation(
    kind: Literal["error", "warning"], item: Item, message: str, *, test: str | None = None
) -> str:
    title = escape(f"{item_name(item)}: {test}" if test else item_name(item))
    title = _data(title).replace(":", "%3A").replace(",", "%2C")
    lines = [escape(line).rstrip() for line in message.splitlines()]
    text = "\n".join([line for line in lines if line][:MESSAGE_LINES])
    return f"::{kind} title={title}::{_data(text)}"


def _data(text: str) -> str:
    """Return a text as the data of a command, in which nothing else is one."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
