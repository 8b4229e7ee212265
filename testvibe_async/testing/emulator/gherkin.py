"""Features as Gherkin: a parser for what the emulator needs, and those that it starts with.

It reads names, scenarios, steps and examples: tolerant and English only, it skips what it does not
know, and never rejects a text. It never adds a feature to a project: see `emulator`.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "NEVER_GENERATED",
    "Entry",
    "Gherkin",
    "GherkinCase",
    "GherkinScenario",
    "cases_of",
    "parse",
    "read_folder",
    "read_shop",
    "scenarios_of",
    "slug",
]

NEVER_GENERATED = "draft"
"""The status of a feature that was never generated (assumed: the documentation names none)."""

_HEADING = re.compile(
    r"(Feature|Background|Rule|Scenario Outline|Scenario Template|Scenario|Examples|Scenarios"
    r"|Example)\s*:\s*(.*)"
)
_STEP = re.compile(r"(?:Given|When|Then|And|But|\*)\s+\S")
_SCENARIOS = {"Scenario", "Example", "Scenario Outline", "Scenario Template"}
_EXAMPLES = {"Examples", "Scenarios"}


@attrs.frozen
class GherkinCase:
    """One future test: a scenario, or one row of an outline's examples."""

    title: str
    steps: tuple[str, ...]
    skipped: bool


@attrs.frozen
class GherkinScenario:
    """One scenario, or one outline."""

    title: str
    cases: tuple[GherkinCase, ...]
    """One, or one for each example of an outline."""


@attrs.frozen
class Gherkin:
    """A parsed Gherkin text."""

    name: str | None
    """The text after `Feature:`; None if there is none."""
    scenarios: tuple[GherkinScenario, ...]


@attrs.define
class _Scenario:
    title: str
    tags: set[str]
    steps: list[str] = attrs.field(factory=list[str])
    header: list[str] | None = None
    rows: list[dict[str, str]] = attrs.field(factory=list[dict[str, str]])

    def add_row(self, cells: list[str]) -> None:
        if self.header is None:
            self.header = cells
        else:
            self.rows.append(dict(zip(self.header, cells, strict=False)))

    def cases(self) -> tuple[GherkinCase, ...]:
        skipped = bool(self.tags & {"@skip", "@wip"})
        steps = tuple(self.steps)
        if not self.rows:
            return (GherkinCase(self.title, steps, skipped),)
        titles = [_filled(self.title, row) for row in self.rows]
        if len(set(titles)) < len(titles):
            titles = [f"{title} (example {n})" for n, title in enumerate(titles, 1)]
        return tuple(
            GherkinCase(title, tuple(_filled(step, row) for step in steps), skipped)
            for title, row in zip(titles, self.rows, strict=True)
        )


class _Reader:
    """A parser that is fed the lines of one text."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.scenarios: list[_Scenario] = []
        self._current: _Scenario | None = None
        self._in_examples = False
        self._tags: set[str] = set()
        self._quoted: str | None = None

    def read(self, line: str) -> None:
        if self._quoted or line.startswith(('"""', "```")):
            self._read_quoted(line)
        elif line.startswith("@"):
            self._tags.update(line.split())
        elif heading := _HEADING.fullmatch(line):
            self._read_heading(heading[1], heading[2])
        elif self._current is not None:
            self._read_content(self._current, line)

    def _read_quoted(self, line: str) -> None:
        if self._quoted is None:
            self._quoted = line[:3]
        elif line.startswith(self._quoted):
            self._quoted = None

    def _read_heading(self, keyword: str, text: str) -> None:
        self._in_examples = keyword in _EXAMPLES
        if keyword == "Feature":
            self.name = text or None
        elif keyword in _SCENARIOS:
            self._current = _Scenario(text or f"Scenario {len(self.scenarios) + 1}", self._tags)
            self.scenarios.append(self._current)
        elif not self._in_examples:
            self._current = None
        elif self._current is not None:
            self._current.header = None
        self._tags = set()

    def _read_content(self, scenario: _Scenario, line: str) -> None:
        if self._in_examples and line.startswith("|"):
            scenario.add_row([cell.strip() for cell in line.strip("|").split("|")])
        elif _STEP.match(line):
            scenario.steps.append(line)


@lru_cache(maxsize=1024)
def parse(text: str) -> Gherkin:
    """Parse a Gherkin text.

    A scenario tagged `@skip` or `@wip` gives skipped cases.
    """
    reader = _Reader()
    for line in text.splitlines():
        reader.read(line.strip())
    return Gherkin(
        reader.name,
        tuple(GherkinScenario(scenario.title, scenario.cases()) for scenario in reader.scenarios),
    )


def scenarios_of(text: str, name: str) -> tuple[GherkinScenario, ...]:
    """Return the scenarios of a feature; a text without any counts as one.

    Args:
        text: The Gherkin.
        name: The name of that one.
    """
    case = GherkinCase(name, (), skipped=False)
    return parse(text).scenarios or (GherkinScenario(name, (case,)),)


def cases_of(text: str, name: str) -> list[GherkinCase]:
    """Return all cases of a feature, in their order; at least one."""
    return [case for scenario in scenarios_of(text, name) for case in scenario.cases]


def slug(text: str) -> str:
    """Return a text as one lower-case word with hyphens; letters of any script stay."""
    return re.sub(r"[\W_]+", "-", text.casefold()).strip("-") or "untitled"


def _filled(text: str, row: dict[str, str]) -> str:
    return re.sub(r"<([^<>]+)>", lambda match: row.get(match[1], match[0]), text)


_PACKAGE = "testvibe_async.testing.emulator"
_EXCEPTIONS = {
    "Checkout with gift card": {"status": NEVER_GENERATED},
    "Abandoned cart reminder": {
        "status": NEVER_GENERATED,
        "kind": "suggestion",
        "rationale": "The cart keeps its items for 30 days, but no feature covers the e-mail that"
        " brings customers back to it.",
    },
}


@attrs.frozen
class Entry:
    """One feature at the start."""

    name: str
    gherkin: str
    status: str = "generated"
    kind: str = "feature"
    rationale: str | None = None


@cache
def read_shop() -> tuple[Entry, ...]:
    """Return the features of the shop that comes with the emulator."""
    entries = [
        _entry(file.read_text("utf-8"), file.name)
        for file in files(_PACKAGE).joinpath("shop").iterdir()
        if file.name.endswith(".feature")
    ]
    entries.sort(key=lambda entry: entry.name)
    return tuple(attrs.evolve(entry, **_EXCEPTIONS.get(entry.name, {})) for entry in entries)


def read_folder(folder: Path) -> tuple[Entry, ...]:
    """Return the features of a folder's `.feature` files, at any depth.

    Raises:
        ValueError: The folder has none, one can't be read, or two have the same name.
    """
    paths = sorted(folder.rglob("*.feature"))
    if not paths:
        raise ValueError(f"{folder} is no folder with .feature files in it.")
    entries = [_entry(_read(path), path.name) for path in paths]
    seen: set[str] = set()
    for entry in entries:
        if entry.name.casefold() in seen:
            raise ValueError(f"{folder} has two features named {entry.name!r}; names must differ.")
        seen.add(entry.name.casefold())
    return tuple(entries)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} can't be read as UTF-8 text: {error}.") from error


def _entry(text: str, file_name: str) -> Entry:
    return Entry(parse(text).name or file_name.removesuffix(".feature"), text)
