"""The result as one document, for a program or for somebody who corrects the contract. Pure.

It holds what the findings say without what they quote, and shapes: no value of an answer, no
address, no key and no id. It holds no time either, except how long a run took.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testvibe_async import ConfigError
from testvibe_async._util import __version__
from testvibe_async.cli.doctor.findings import Verdict
from testvibe_async.cli.doctor.lists import words_seen
from testvibe_async.cli.doctor.view import conclusion
from testvibe_async.cli.output import json_of
from testvibe_async.cli.words import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from testvibe_async.cli.doctor.examination import Examination
    from testvibe_async.cli.exits import ExitCode

__all__ = ["document_of", "require_format", "write"]

VERSION = 1
"""The version of the document's form."""


def document_of(examination: Examination, code: ExitCode) -> dict[str, Any]:
    """Return the document of what was found."""
    record, run = examination.record, examination.run
    asker = record.asker
    return {
        "doctor": VERSION,
        "package": __version__,
        "exitCode": int(code),
        "conclusion": conclusion(record.findings),
        "requests": {"reads": asker.reads, "runs": asker.dispatches, "generations": 0},
        "findings": [finding.to_dict() for finding in record.findings],
        "words": words_seen(record.answers),
        "run": None if run is None else run.to_dict(),
        "answers": [answer.to_dict() for answer in record.answers],
    }


def require_format(path: Path) -> None:
    """Refuse a file whose ending names no format.

    Raises:
        ConfigError: It is neither `.json` nor `.md`.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ConfigError(f"{path.name!r} names no format: let it end in .json or .md (Markdown)")


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Write the document in the format that the file's ending names.

    Raises:
        OSError: It can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_FORMATS[path.suffix.lower()](document), encoding="utf-8")


def _json(document: Mapping[str, Any]) -> str:
    return json_of(document, indent=2) + "\n"


_TITLES = {
    Verdict.HOLDS: "Holds",
    Verdict.DIFFERS: "Differs",
    Verdict.NOT_CHECKED: "Not checked",
}


_REDACTED = "Names, texts, ids and addresses are left out: of a value there are type and length."


def _markdown(document: Mapping[str, Any]) -> str:
    """Return the findings as lists, and below them all else as the JSON that it is."""
    reads = plural(document["requests"]["reads"], "read")
    runs = plural(document["requests"]["runs"], "run")
    made = f"By testvibe-async {document['package']}, with {reads} and {runs}."
    lines = ["# What the service answers", "", f"{document['conclusion']} {made} {_REDACTED}"]
    for verdict, title in _TITLES.items():
        found = [each for each in document["findings"] if each["verdict"] == verdict]
        if found:
            lines += ["", f"## {title}", "", *map(_item, found)]
    rest = {name: document[name] for name in ("words", "run", "answers")}
    return "\n".join([*lines, "", "## Shapes", "", "```json", json_of(rest, indent=2), "```", ""])


def _item(finding: Mapping[str, Any]) -> str:
    means = f" **{finding['means']}**" if finding["hasConsequences"] else ""
    return f"- `{finding['subject']}`: {finding['says']}.{means}".replace("..", ".")


_FORMATS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {".json": _json, ".md": _markdown}
