"""What one answer means: a finding for each way in which it differs. Pure.

What differs and can be read has no consequences: then a command does the same as elsewhere.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from testvibe_async import MalformedResponseError
from testvibe_async.cli.doctor.findings import differs, holds, is_needed, without
from testvibe_async.cli.doctor.shapes import shown_name
from testvibe_async.cli.words import plural, reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testvibe_async.cli.doctor.answers import Answer
    from testvibe_async.cli.doctor.differences import Difference
    from testvibe_async.cli.doctor.findings import Finding

__all__ = ["findings_of"]

_DECIDING = {"status", "featureStatus"}
"""The members whose words decide what has become of something."""

_SEEN = {
    "digits": "digits in a string",
    "guid": "string",
    "url": "string",
    "empty": "an empty string",
}
"""How a form is called in a sentence, where its own name does not say its type."""


def findings_of(answer: Answer) -> list[Finding]:
    """Say what one answer means, one line for each way in which it differs."""
    if answer.error is not None:
        return [_unusable(answer)]
    return list(_found(answer)) or [holds(answer.operation.name, _agreement(answer))]


def _agreement(answer: Answer) -> str:
    """Say what an answer agrees with: what is documented, or what is only assumed."""
    known = answer.operation
    bases = {known.basis, *(each.basis for each in known.row.members.values())}
    says = f"as {known.basis}" if len(bases) == 1 else "as documented, in parts as assumed"
    if known.is_list:
        rows = answer.shape.count
        says += f", {plural(rows, 'row')}" if rows else "; no rows, so that none was seen"
    elif known.name.startswith("get_generation") and not answer.value.request_id:
        says += ", of a feature that was never generated"
    return says


def _unusable(answer: Answer) -> Finding:
    """Say that an answer is no success, or none that can be used."""
    error, name, route = answer.error, answer.operation.name, answer.request.endpoint.route
    assert error is not None
    setting, quoted = "", reason(error)
    if answer.is_missing_route:
        says = f"{route}: {answer.response.status}; this route is assumed, and not there"
        setting, quoted = f'{name} = "{_elsewhere(route)}"', ""
    elif isinstance(error, MalformedResponseError):
        says = f"{route}: the answer can't be read"
    else:
        says = f"{route}: {error.status} {shown_name(error.code or '')}".rstrip()
    return differs(
        name,
        says,
        means=without(name),
        setting=setting,
        quoted=quoted,
        is_harmless=not is_needed(name),
    )


def _elsewhere(route: str) -> str:
    """Return a route with a gap to be filled in, and with its placeholders."""
    above, _, last = route.rpartition("/")
    return f"{above.rpartition('/')[0]}/…/{last}" if "{" in last else f"{above}/…"


def _found(answer: Answer) -> Iterator[Finding]:
    """Go through the differences of a usable answer, those of one kind together."""
    name = answer.operation.name
    if answer.envelope is not None:
        beside = ", ".join(sorted(answer.envelope.others))
        yield differs(
            name, f"its rows are in an object, beside {beside}", means=_READ, is_harmless=True
        )
    groups: defaultdict[tuple[str, ...], list[Difference]] = defaultdict(list)
    for each in answer.differences:
        groups[_group_of(each)].append(each)
    for alike in groups.values():
        yield _finding(answer, alike)
    if faults := len(getattr(answer.value, "unreadable", ())):
        says = f"{plural(faults, 'row')} can't be read"
        yield differs(name, says, means="those rows are left out, and the list is incomplete")


_READ = "read all the same"


def _group_of(each: Difference) -> tuple[str, ...]:
    if each.kind in {"type", "form"}:
        return each.kind, each.declared, each.seen
    if each.kind == "word":
        return each.kind, each.place
    if each.kind == "needed":
        return each.kind, each.basis, each.seen
    return each.kind, each.basis


def _finding(answer: Answer, alike: list[Difference]) -> Finding:
    name, first = answer.operation.name, alike[0]
    places = ", ".join(dict.fromkeys(each.place or "the answer" for each in alike))
    means, is_harmless = _READ, True
    match first.kind:
        case "needed":
            often = f" ({first.seen})" if first.seen else ""
            says = f"{first.basis} and not there: {places}{often}"
            if name != "run_feature":  # There the id was found elsewhere, or it would be an error.
                means, is_harmless = "that is shown empty, and what needs it does not work", False
        case "missing":
            says = f"{first.basis} and not there: {places}"
            means = _READ if name == "run_feature" else "shown empty"
        case "undeclared":
            seen = ", ".join(f"{each.place} ({each.seen})" for each in alike)
            says, means = f"there and nowhere documented: {seen}", "shown by --json alone"
        case "word":
            words = ", ".join(each.seen for each in alike)
            says = f"{first.place} has words that are not documented: {words}"
            if first.place in _DECIDING:
                means, is_harmless = _of_status(name), False
        case "spelling":
            words = ", ".join(dict.fromkeys(each.seen for each in alike))
            says = f"{places}: the known words in another case: {words}"
        case _:
            says = f"{places}: {_SEEN.get(first.seen, first.seen)}, not {first.declared}"
            if any(answer.unreadable & _names_in(each.place) for each in alike):
                means, is_harmless = "they can't be read, and are shown empty", False
    return differs(name, says, means=means, is_harmless=is_harmless)


def _names_in(place: str) -> set[str]:
    """Return the names of a place: where our reader can't read a member it leaves out the whole."""
    return set(place.replace("[]", "").split("."))


def _of_status(name: str) -> str:
    if "feature" in name:
        return "run --all and generate --all leave such features out"
    if "generation" in name:
        return "such a generation counts as neither generated nor failed: exit code 5"
    return "such a run counts as neither passed nor failed: exit code 5"
