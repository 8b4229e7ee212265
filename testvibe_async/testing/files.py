"""A project's files: their content, and which of them may be written.

Stored content takes precedence over a template. Generated specs and scaffolding can be read, never
written.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs

from .answers import Refusal
from .gherkin import cases_of
from .run import spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .project import Project

_LIMIT_BYTES = 256 * 1024
_WRITABLE = {"Features": "feature", "Configurations": "config"}
_CONFIG_FOLDER, _CONFIG_SUFFIX = "Configurations/", ".config.js"
_CONFIGS = {
    "Default": "  use: { browserName: 'chromium', viewport: { width: 1280, height: 720 } },",
    "Firefox": "  use: { browserName: 'firefox', viewport: { width: 1280, height: 720 } },",
    "Mobile": "  use: { browserName: 'webkit', viewport: { width: 393, height: 852 } },",
}
"""The content of the configurations that each project has, by name."""


@attrs.frozen
class File:
    """One file of a project."""

    path: str
    kind: str
    """`feature`, `config`, `spec` or `scaffold` (assumed: the documentation lists none)."""
    source: str
    """`template` or `stored`."""
    content: str

    def row(self) -> dict[str, object]:
        """Return the file's row in lists."""
        return {"path": self.path, "kind": self.kind, "source": self.source}

    def document(self) -> dict[str, object]:
        """Return the file with its content."""
        return self.row() | {"content": self.content}


def files(project: Project) -> list[File]:
    """Return a project's files, by path."""
    found = {file.path: file for file in (*_templates(), *_of_features(project))}
    for path, content in project.stored.items():
        found[path] = File(path, _WRITABLE[path.split("/", 1)[0]], "stored", content)
    return [found[path] for path in sorted(found)]


def configs(project: Project) -> list[dict[str, object]]:
    """Return the run configurations: the files `Configurations/<name>.config.js`."""
    return [
        {"name": name, "path": file.path}
        for file in files(project)
        if file.path.startswith(_CONFIG_FOLDER) and file.path.endswith(_CONFIG_SUFFIX)
        if (name := file.path[len(_CONFIG_FOLDER) : -len(_CONFIG_SUFFIX)]) and "/" not in name
    ]


def write(project: Project, path: str, content: str) -> None:
    """Store a whole file.

    Raises:
        Refusal: 400, if the path is not allowed, or the file too large.
    """
    folder, *rest = path.split("/")
    if folder not in _WRITABLE or not rest or not rest[-1] or ".." in rest:
        where = "only files below Features/ or Configurations/ can, and no segment may be '..'"
        raise Refusal(400, f"{path!r} can't be written: {where}.")
    size = len(content.encode("utf-8", "replace"))
    if size > _LIMIT_BYTES:
        limit = f"{size} bytes, at most {_LIMIT_BYTES} are allowed"
        raise Refusal(400, f"{path!r} is too large: {limit}.")
    project.stored[path] = content


def _templates() -> Iterator[File]:
    for name, settings in _CONFIGS.items():
        path = f"{_CONFIG_FOLDER}{name}{_CONFIG_SUFFIX}"
        yield File(path, "config", "template", f"module.exports = {{\n{settings}\n}};\n")
    package = {"private": True, "devDependencies": {"@playwright/test": "^1.56.0"}}
    yield File("package.json", "scaffold", "template", json.dumps(package, indent=2) + "\n")


def _of_features(project: Project) -> Iterator[File]:
    for feature in project.features.values():
        yield File(f"Features/{feature.name}.feature", "feature", "stored", feature.gherkin)
        if feature.generated_from is not None:
            source = spec(feature.name, cases_of(feature.generated_from, feature.name))
            yield File(feature.spec_path, "spec", "stored", source)
