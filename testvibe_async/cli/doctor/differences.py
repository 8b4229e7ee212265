"""Where what was seen differs from what the contract declares, member by member. Pure.

It decides what a difference is, and nothing of what follows from it: `judging` does. All that it
says is made of declarations and shapes, so no difference holds anything of an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from testvibe_async.cli.doctor.contract import Basis, Declared
    from testvibe_async.cli.doctor.shapes import Shape

__all__ = ["Difference", "Kind", "differences"]

Kind: TypeAlias = Literal["needed", "missing", "undeclared", "type", "form", "word", "spelling"]


@frozen(order=True)
class Difference:
    """One difference at one place."""

    kind: Kind
    """What differs.

    - `needed`: a member without which an answer says little is not there, or not in all rows;
    - `missing`: another declared member is not there;
    - `undeclared`: a member that is there is not declared;
    - `type`: it has another type;
    - `form`: it is a time, and written in another form;
    - `word`: it holds a word that is not known;
    - `spelling`: it holds a known word in another case.
    """

    place: str
    """The member, such as `summary.total` or `tests[].durationMs`; empty for the answer itself."""

    basis: Basis
    """Whether what is declared is documented."""

    declared: str
    """What is declared, such as `int or null`; empty where nothing is."""

    seen: str
    """What was seen instead, such as `digits` or `time(7 digits, Z)`; empty where nothing was."""

    def to_dict(self) -> dict[str, str]:
        """Return it as JSON."""
        return {
            "kind": self.kind,
            "place": self.place,
            "basis": self.basis,
            "declared": self.declared,
            "seen": self.seen,
        }


def differences(
    declared: Declared, shape: Shape, *, excused: AbstractSet[str] = frozenset(), place: str = ""
) -> Iterator[Difference]:
    """Go through the differences of all values that were seen at one place.

    Args:
        declared: What the contract says of the value.
        shape: What was seen.
        excused: The members that this answer need not have, by their places.
        place: Where it is in the answer.
    """
    if not declared.kinds:
        return
    for form in sorted(shape.forms):
        if not _is_declared(form, declared):
            is_time = "time" in declared.kinds and form.startswith("time(")
            kind: Kind = "form" if is_time else "type"
            yield Difference(kind, place, declared.basis, declared.text, form)
    yield from _words(declared, shape, place)
    if shape.forms["object"]:
        yield from _members(declared, shape, excused, place)
    if shape.items is not None and declared.items is not None:
        yield from differences(declared.items, shape.items, excused=excused, place=f"{place}[]")


def _words(declared: Declared, shape: Shape, place: str) -> Iterator[Difference]:
    if not declared.holds_words:
        return
    known = ", ".join(declared.words)
    for word in sorted(shape.words):
        if word.casefold() not in declared.words:
            yield Difference("word", place, declared.basis, known, word)
        elif word not in declared.words:
            yield Difference("spelling", place, declared.basis, known, word)


def _members(
    declared: Declared, shape: Shape, excused: AbstractSet[str], place: str
) -> Iterator[Difference]:
    prefix = f"{place}." if place else ""
    for name, member in declared.members.items():
        at, seen = prefix + name, shape.members.get(name)
        there, of = 0 if seen is None else seen.count, shape.forms["object"]
        if there < of and name in declared.required:
            how_often = f"in {there} of {of}" if there else ""
            yield Difference("needed", at, member.basis, member.text, how_often)
        elif not there and at not in excused:
            yield Difference("missing", at, member.basis, member.text, "")
        if seen is not None:
            yield from differences(member, seen, excused=excused, place=at)
    for name, seen in shape.others.items():
        yield Difference("undeclared", prefix + name, "undeclared", "", seen.text)


def _is_declared(form: str, declared: Declared) -> bool:
    if form.startswith("time(") and "time" in declared.kinds:
        return form == "time(Z)"
    kind = form.partition("(")[0]
    if kind in {"guid", "url", "digits", "empty", "time"}:
        kind = "string"
    return kind in declared.kinds or (kind == "int" and "number" in declared.kinds)
