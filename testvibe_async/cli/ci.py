"""Output for a CI system beside the log of a job: annotations, the step's summary, log groups.

Decides which workflow commands GitHub Actions receives
(https://docs.github.com/actions/reference/workflow-commands). GitLab, Azure and TeamCity read
reports instead.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from testvibe_async import Run, Verdict
from testvibe_async._util import escape
from testvibe_async.cli.words import item_name, plural, reason

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from testvibe_async.cli.output import Output
    from testvibe_async.cli.result import Result
    from testvibe_async.cli.words import Item

__all__ = ["FeatureFiles", "failure_commands", "grouped", "is_github", "summary_path"]

MOST_ANNOTATIONS = 10
"""Maximum number of annotated failures; GitHub shows no more for a step."""

MESSAGE_LINES = 12
"""Maximum lines of an error in an annotation."""

MOST_FILES = 5000
"""Maximum number of feature files that are searched."""

MOST_BYTES = 256_000
"""Maximum bytes of a feature file that are read."""


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


def failure_commands(result: Result, files: FeatureFiles) -> list[str]:
    """Return a command for each failure, which GitHub shows beside the feature's file.

    Args:
        result: The results.
        files: The features' files.
    """
    found = [each for item in result.items for each in _annotations_of(item, files)]
    more = len(found) - MOST_ANNOTATIONS
    if more > 0:
        found[MOST_ANNOTATIONS:] = [f"::notice::{plural(more, 'failure')} more: see the log"]
    flaky = [each for item in result.items if item.is_flaky for each in _flaky(item, files)]
    return [*found, *flaky[:MOST_ANNOTATIONS]]


def _flaky(item: Item, files: FeatureFiles) -> Iterator[str]:
    """Yield a warning on what passed after a failure."""
    run = item.earlier[-1]
    tests = run.failures if isinstance(run, Run) else ()
    name = tests[0].name if tests else None
    message = "flaky: it failed, and passed when it ran again"
    place = files.place(item.feature_name, name)
    yield _annotation("warning", item, message, test=name, place=place)


def _annotations_of(item: Item, files: FeatureFiles) -> Iterator[str]:
    if item.verdict is Verdict.FAILED and isinstance(item.outcome, Run) and item.outcome.failures:
        for test in item.outcome.failures:
            message = test.error or "no error given"
            place = files.place(item.feature_name, test.name)
            yield _annotation("error", item, message, test=test.name, place=place)
    elif item.verdict in {Verdict.FAILED, Verdict.ERROR, Verdict.UNKNOWN} or item.is_unseen:
        message = reason(item.error) if item.error else f"{item.outcome and item.outcome.status}"
        place = files.place(item.feature_name)
        yield _annotation("error", item, message, test=None, place=place)


def _annotation(
    kind: Literal["error", "warning"],
    item: Item,
    message: str,
    *,
    test: str | None,
    place: tuple[Path, int] | None,
) -> str:
    title = f"{item_name(item)}: {test}" if test else item_name(item)
    lines = [escape(line).rstrip() for line in message.splitlines()]
    text = "\n".join([line for line in lines if line][:MESSAGE_LINES])
    where = {"file": _in_workspace(place[0]), "line": str(place[1])} if place else {}
    properties = ",".join(
        f"{name}={_property(escape(value))}" for name, value in ({**where, "title": title}).items()
    )
    return f"::{kind} {properties}::{_data(text)}"


def _in_workspace(path: Path) -> str:
    """Return a path as GitHub takes it: relative to the repository, wherever the command runs."""
    with suppress(ValueError):
        workspace = Path(os.environ.get("GITHUB_WORKSPACE") or "").resolve()
        path = path.resolve().relative_to(workspace)
    return path.as_posix()


def _data(text: str) -> str:
    """Return a text as the data of a command, in which nothing else is one."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


class FeatureFiles:
    """The .feature files of a folder, by the names of the features in them."""

    def __init__(self, folder: Path | None) -> None:
        """Create it; the folder is read on first use. None for no folder."""
        self._folder = folder
        self._places: dict[str, tuple[Path, list[str]]] | None = None

    def place(self, feature: str, scenario: str | None = None) -> tuple[Path, int] | None:
        """Return the file of a feature, and the line of a scenario in it, else of the feature."""
        if self._places is None:
            self._places = dict(self._read())
        found = self._places.get(feature.casefold())
        if found is None:
            return None
        path, lines = found
        numbers = [n for n, line in enumerate(lines, 1) if _title(line) == (scenario or "")]
        heading = [n for n, line in enumerate(lines, 1) if _title(line)]
        return path, (numbers or heading)[0]

    def _read(self) -> Iterator[tuple[str, tuple[Path, list[str]]]]:
        if self._folder is None:
            return
        for number, path in enumerate(sorted(self._folder.rglob("*.feature"))):
            if number >= MOST_FILES:
                return
            try:
                with path.open("rb") as file:
                    lines = file.read(MOST_BYTES).decode(errors="replace").splitlines()
            except OSError:
                continue
            name = next((title for title in map(_title, lines) if title), None)
            if name:
                yield name.casefold(), (path, lines)


def _title(line: str) -> str | None:
    """Return the name of a feature or scenario that a line begins; None if it begins none."""
    found = re.match(
        r"\s*(?:Feature|Scenario|Scenario Outline|Scenario Template|Example):(.*)", line
    )
    return found[1].strip() if found else None
