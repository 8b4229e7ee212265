"""Features as Gherkin: a parser for what the emulator needs, and its initial features.

It reads names, scenarios, steps and examples: tolerant and English only, it skips what it does not
know, and never rejects a text. It never adds a feature to a project: see `emulator`.
"""

from __future__ import annotations

import re
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

NEVER_GENERATED = "draft"
"""The status of a feature that was never generated (assumed: the documentation names none)."""

_HEADING = re.compile(
    r"(Feature|Background|Rule|Scenario Outline|Scenario Template|Scenario|Examples|Scenarios"
    r"|Example)\s*:\s*(.*)"
)
_STEP = re.compile(r"(?:Given|When|Then|And|But|\*)\s+\S")
_QUOTED = re.compile(r'^[ \t]*("""|```).*?^[ \t]*\1.*?$', re.MULTILINE | re.DOTALL)
_SCENARIOS = {"Scenario", "Example", "Scenario Outline", "Scenario Template"}
_EXAMPLES = {"Examples", "Scenarios"}


@attrs.frozen
class GherkinCase:
    """One future test: a scenario, or one row of an outline's examples."""

    title: str
    steps: tuple[str, ...]
    skipped: bool


@attrs.define(eq=False)
class GherkinScenario:
    """One scenario, or one outline with its examples."""

    title: str
    skipped: bool = False
    steps: list[str] = attrs.field(factory=list[str])
    header: list[str] | None = None
    """The cells of the latest header."""
    rows: list[dict[str, str]] = attrs.field(factory=list[dict[str, str]])

    def add_row(self, line: str) -> None:
        """Add a line of examples; the first one is their header."""
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if self.header is None:
            self.header = cells
        else:
            self.rows.append(dict(zip(self.header, cells, strict=False)))

    @cached_property
    def cases(self) -> list[GherkinCase]:
        """One case, or one for each example of an outline."""
        titles = [_filled(self.title, row) for row in self.rows]
        if len(set(titles)) < len(titles):
            titles = [f"{title} (example {n})" for n, title in enumerate(titles, 1)]
        examples = list(zip(titles, self.rows, strict=True)) or [(self.title, {})]
        return [
            GherkinCase(title, tuple(_filled(step, row) for step in self.steps), self.skipped)
            for title, row in examples
        ]


@lru_cache(maxsize=1024)
def parse(text: str) -> tuple[str | None, list[GherkinScenario]]:
    """Parse a Gherkin text: return the name after `Feature:`, if there is one, and the scenarios.

    A scenario tagged `@skip` or `@wip` gives skipped cases.
    """
    name, scenarios, tags, keyword = None, list[GherkinScenario](), set[str](), ""
    for line in map(str.strip, _QUOTED.sub("", text).splitlines()):
        if line.startswith("@"):
            tags.update(line.split())
        elif heading := _HEADING.fullmatch(line):
            keyword, title = heading[1], heading[2]
            if keyword == "Feature":
                name = title or None
            elif keyword in _SCENARIOS:
                title = title or f"Scenario {len(scenarios) + 1}"
                scenarios.append(GherkinScenario(title, bool(tags & {"@skip", "@wip"})))
            elif keyword in _EXAMPLES and scenarios:
                scenarios[-1].header = None
            tags.clear()
        elif keyword in _EXAMPLES and scenarios and line.startswith("|"):
            scenarios[-1].add_row(line)
        elif keyword in _SCENARIOS | _EXAMPLES and scenarios and _STEP.match(line):
            scenarios[-1].steps.append(line)
    return name, scenarios


def scenarios_of(text: str, name: str) -> list[GherkinScenario]:
    """Return the scenarios of a feature; a text without any counts as one.

    Args:
        text: The Gherkin.
        name: The name of that one.
    """
    return parse(text)[1] or [GherkinScenario(name)]


def cases_of(text: str, name: str) -> list[GherkinCase]:
    """Return all cases of a feature, in their order; at least one."""
    return [case for scenario in scenarios_of(text, name) for case in scenario.cases]


def slug(text: str) -> str:
    """Return a text as one lower-case word with hyphens; letters of any script stay."""
    return re.sub(r"[\W_]+", "-", text.casefold()).strip("-") or "untitled"


def unique_slugs(texts: Iterable[str]) -> list[str]:
    """Return the slug of each text; one that was taken before gets its number in the list."""
    slugs: list[str] = []
    for number, text in enumerate(texts, 1):
        word = slug(text)
        slugs.append(word if word not in slugs else f"{word}-{number}")
    return slugs


def _filled(text: str, row: dict[str, str]) -> str:
    return re.sub(r"<([^<>]+)>", lambda match: row.get(match[1], match[0]), text)


SHOP_EXCEPTIONS: dict[str, Any] = {
    "Checkout with gift card": {"status": NEVER_GENERATED},
    "Abandoned cart reminder": {
        "status": NEVER_GENERATED,
        "kind": "suggestion",
        "rationale": "The cart keeps its items for 30 days, but no feature covers the e-mail that"
        " brings customers back to it.",
    },
}
"""The arguments of `Emulator.add_feature` for the unusual ones."""


@cache
def read_shop() -> dict[str, str]:
    """Return the texts of the shop's features, by name."""
    return dict(sorted(read_folder(Path(__file__).parent / "shop").items()))


def read_folder(folder: Path) -> dict[str, str]:
    """Return the texts of a folder's `.feature` files, at any depth, by the features' names.

    Raises:
        ValueError: The folder has none, one can't be read, or two have the same name.
    """
    texts, taken = dict[str, str](), set[str]()
    for path in sorted(folder.rglob("*.feature")):
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} can't be read as UTF-8 text: {error}.") from error
        name = parse(text)[0] or path.stem
        if name.casefold() in taken:
            raise ValueError(f"{folder} has two features named {name!r}; names must differ.")
        taken.add(name.casefold())
        texts[name] = text
    if not texts:
        raise ValueError(f"{folder} is no folder with .feature files in it.")
    return texts
