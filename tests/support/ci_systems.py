"""What CI systems obey in the output of a job, as their own readers decide it."""

import re
from typing import Any, cast

COMMANDS = [
    "::error file=a.py,line=1::boo",
    "::stop-commands::t",
    " ::add-mask::x",
    "##[group]x",
    "a ##[add-path]x",
    "##vso[task.complete result=Succeeded;]",
    "a ##vso[task.setvariable variable=PATH]x",
    "##teamcity[testFailed name='a']",
    "\x1b]1338;url=x\x07",
    "\x1b[0Ksection_start:1:x\r\x1b[0K",
]


def obeyed(output: str) -> list[str]:
    """Return the lines of an output that some CI system would take for a command."""
    return [line for line in re.split(r"\r\n|\r|\n", output) if any(is_(line) for is_ in _READERS)]


def _github(line: str) -> bool:
    """`ActionCommand.TryParseV2` trims the line; `TryParse` looks for its prefix anywhere."""
    trimmed = line.lstrip()
    is_new = trimmed.startswith("::") and "::" in trimmed[2:]
    old = line.partition("##[")[2]
    return is_new or "]" in old


def _azure(line: str) -> bool:
    return "##vso[" in line.lower() or "##[" in line


def _teamcity(line: str) -> bool:
    return "##teamcity[" in line.lower()


def _gitlab_and_buildkite(line: str) -> bool:
    return "\x1b" in line


_READERS = (_github, _azure, _teamcity, _gitlab_and_buildkite)


WICKED = "::error::a\n\u202e##[group]b\nc ##vso[task.x]d\n##teamcity[x]\n\r::warning::e"
"""A text that commands every system, and turns the direction of writing."""

_TEXTS = {
    *("name", "featureName", "gherkin", "rationale", "config", "error", "log", "title"),
    *("section", "statusReason", "content", "message", "source", "state", "conclusion"),
}


def wicked(document: Any, text: str = WICKED) -> Any:
    """Return a document of the service with one text in place of each that is for people."""
    if isinstance(document, list):
        return [wicked(each, text) for each in cast("list[object]", document)]
    if not isinstance(document, dict):
        return document
    members = cast("dict[str, Any]", document)
    return {
        name: text if name in _TEXTS and isinstance(value, str) else wicked(value, text)
        for name, value in members.items()
    }
