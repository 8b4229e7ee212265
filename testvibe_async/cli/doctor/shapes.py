"""What was seen of a value, without the value: its types, forms, lengths and members. Pure.

This is where answers are redacted, and the only place: all that is said or written of an answer is
made of the shapes that this makes, and a shape holds no text of an answer but two kinds of words.

- A word of the service, such as a status, where the contract says that a member holds words. One
  that is not known is kept if it looks like a word.
- The name of a member that the contract does not have, if it looks like an identifier, cut. Where
  all members of such an object are alike, it is a map whose keys are data: no name is kept.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from attrs import Factory, define

from testvibe_async.cli.doctor.contract import ANY

if TYPE_CHECKING:
    from testvibe_async.cli.doctor.contract import Declared

__all__ = ["Shape", "shown_name"]

MAX_DEPTH = 12
"""How deep a value is looked into; documented answers are three deep."""

MAX_MEMBERS = 40
"""How many members that the contract does not have are kept of an object."""

NAME_CHARACTERS = 32
"""How much of the name of such a member is kept."""

MAP_MEMBERS = 3
"""From how many members on an object whose members are all alike is a map."""

_IDENTIFIER = re.compile(r"(@odata\.)?[A-Za-z_$][A-Za-z_]*[0-9]{0,2}", re.ASCII)
_WORD = re.compile(r"[A-Za-z][A-Za-z_]{0,23}", re.ASCII)
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.(?P<digits>\d+))?(?P<zone>Z|[+-]\d\d:?\d\d)?", re.ASCII
)
_FORMS = {
    "time(/Date/)": re.compile(r"/Date\(-?\d+([+-]\d{4})?\)/"),
    "guid": re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE),
    "url": re.compile(r"https?://.*", re.DOTALL),
    "digits": re.compile(r"-?[0-9]+"),
    "empty": re.compile(""),
}


@define(eq=False)
class Shape:
    """What was seen of the values at one place, such as the same member of all rows."""

    count: int = 0
    """How many values were seen."""

    forms: Counter[str] = Factory(Counter[str])
    """How many of them had each type and form, such as `string`, `int`, `time(Z)` or `null`."""

    lengths: dict[str, tuple[int, int]] = Factory(dict[str, tuple[int, int]])
    """The shortest and the longest string of each form."""

    words: Counter[str] = Factory(Counter[str])
    """The service's words, as they were spelled."""

    members: dict[str, Shape] = Factory(dict[str, "Shape"])
    """What was seen of each member that the contract has."""

    others: dict[str, Shape] = Factory(dict[str, "Shape"])
    """What was seen of the others, by what may be shown of their names."""

    items: Shape | None = None
    """What was seen of the rows of lists; None where no list had any."""

    def add(self, value: object, declared: Declared = ANY, *, depth: int = 0) -> None:
        """See one more value.

        Args:
            value: The value, as JSON has it.
            declared: What the contract says of it.
            depth: How deep it is in its answer.
        """
        self.count += 1
        if depth > MAX_DEPTH:
            self.forms["deeper"] += 1
        elif isinstance(value, dict):
            self.forms["object"] += 1
            self._add_members(cast("dict[str, object]", value), declared, depth)
        elif isinstance(value, list):
            self.forms["array"] += 1
            for item in cast("list[object]", value):
                self.items = self.items or Shape()
                self.items.add(item, declared.items or ANY, depth=depth + 1)
        else:
            self._add_scalar(value, declared)

    def _add_members(self, members: dict[str, object], declared: Declared, depth: int) -> None:
        is_map = declared is ANY and len(members) >= MAP_MEMBERS and _are_alike(members)
        for name, value in members.items():
            known = declared.members.get(name)
            if known is not None:
                self.members.setdefault(name, Shape()).add(value, known, depth=depth + 1)
                continue
            shown = "*" if is_map else shown_name(name)
            if shown in self.others or len(self.others) < MAX_MEMBERS:
                self.others.setdefault(shown, Shape()).add(value, depth=depth + 1)

    def _add_scalar(self, value: object, declared: Declared) -> None:
        form = _form_of(value, declared)
        self.forms[form] += 1
        if isinstance(value, str):
            short, long = self.lengths.get(form, (len(value), len(value)))
            self.lengths[form] = min(short, len(value)), max(long, len(value))
            if declared.holds_words:
                is_word = value.casefold() in declared.words or _WORD.fullmatch(value)
                self.words[value if is_word else f"string({len(value)})"] += 1

    @property
    def text(self) -> str:
        """Its types in a few words, such as `string(12) or null`."""
        return " or ".join(self.of_form(form) for form in sorted(self.forms)) or "nothing"

    @property
    def document(self) -> Any:  # noqa: ANN401 - JSON
        """The shape as JSON: an object of shapes, a list of one, or a text for anything else."""
        parts: list[Any] = [
            self.of_form(form) for form in sorted(self.forms) if form not in {"array", "object"}
        ]
        if "object" in self.forms:
            parts.append(self._members_document())
        if "array" in self.forms:
            parts.append([] if self.items is None else [self.items.document])
        scalars = [part for part in parts if isinstance(part, str)]
        if len(scalars) == len(parts):
            return " or ".join(scalars)
        return parts[0] if len(parts) == 1 else {"one of": parts}

    def _members_document(self) -> dict[str, Any]:
        named = {**self.members, **{f"{name} (not declared)": s for name, s in self.others.items()}}
        return {
            name + ("" if shape.count >= self.forms["object"] else "?"): shape.document
            for name, shape in named.items()
        }

    def of_form(self, form: str) -> str:
        """Return a form in a few words, with the lengths that its strings had."""
        if self.words and form == "string":
            return " | ".join(sorted(self.words))
        if form not in self.lengths or form == "empty" or form.startswith("time("):
            return form
        short, long = self.lengths[form]
        length = f"{short}" if short == long else f"{short} to {long}"
        return f"string({length})" if form == "string" else f"string({length}, {form})"


def shown_name(name: str) -> str:
    """Return what may be shown of a name that the contract does not have: it may be data."""
    if name and not _IDENTIFIER.fullmatch(name):
        return f"name({len(name)})"
    return name if len(name) <= NAME_CHARACTERS else f"{name[:NAME_CHARACTERS]}…"


def _are_alike(members: dict[str, object]) -> bool:
    return len({type(value) for value in members.values()}) == 1


def _form_of(value: object, declared: Declared) -> str:
    """Name the type of a scalar, and the form where it has a known one."""
    if isinstance(value, str):
        return _form_of_text(value, declared)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return f"int({len(str(abs(value)))} digits)" if "time" in declared.kinds else "int"
    return "number"


def _form_of_text(text: str, declared: Declared) -> str:
    if declared is not ANY and "time" not in declared.kinds and "int" not in declared.kinds:
        return "string"
    if found := _TIME.fullmatch(text):
        zone = {None: "no zone", "Z": "Z"}.get(found["zone"], "offset")
        digits = len(found["digits"] or "")
        return f"time({digits} digits, {zone})" if digits else f"time({zone})"
    return next((form for form, pattern in _FORMS.items() if pattern.fullmatch(text)), "string")
