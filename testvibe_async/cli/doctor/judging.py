"""From one answer to findings: what it is, how it differs, what follows. Pure.

The answer is read twice: by the package's own reader, which decides whether our commands can use
it, and member by member against the contract. What differs and can be read has no consequences.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, cast

from attrs import field, frozen

from testvibe_async import MalformedResponseError, NotFoundError, ResponseError
from testvibe_async._wire import (
    UnreadableError,
    decode,
    envelope_in,
    next_page,
    raise_for_status,
    read,
    read_rows,
)
from testvibe_async.cli.doctor.contract import Operation, operation
from testvibe_async.cli.doctor.differences import Difference, differences
from testvibe_async.cli.doctor.findings import Finding, differs, holds, is_needed, without
from testvibe_async.cli.doctor.shapes import Shape, shown_name
from testvibe_async.cli.words import plural, reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence, Set

    from testvibe_async._wire import Request, Response, UnreadableField

__all__ = ["Answer", "findings_of", "judge", "rows_of"]

_DECIDING = {"status", "featureStatus"}
"""The members whose words decide what has become of something."""

_SEEN = {
    "digits": "digits in a string",
    "guid": "string",
    "url": "string",
    "empty": "an empty string",
}
"""How a form is called in a sentence, where its own name does not say its type."""


@frozen(kw_only=True, eq=False)
class Answer:
    """An answer, and all that was found in it."""

    operation: Operation
    request: Request[Any]
    response: Response
    error: ResponseError | None = None
    """Why our commands can't use it; None where they can."""

    value: Any = None
    """What our commands make of it."""

    shape: Shape = field(factory=Shape)
    """What was seen of it, or of the rows of a list."""

    envelope: Shape | None = None
    """What was seen around the rows of a list; None where they are bare."""

    differences: Sequence[Difference] = ()
    unreadable: frozenset[str] = frozenset()
    """The names of the members that our reader left out."""

    following: Request[Any] | str | None = None
    """The request for the next page, or why rows are missing; None where none are."""

    @property
    def is_missing_route(self) -> bool:
        """Whether the service seems to have no such call, at a route that is only assumed."""
        is_refused = isinstance(self.error, NotFoundError) or self.response.status == 405  # noqa: PLR2004
        return is_refused and self.operation.basis == "assumed"

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON, without anything that it holds."""
        return {
            "operation": self.operation.name,
            "basis": self.operation.basis,
            "status": self.response.status,
            "isUsable": self.error is None,
            "rows": self.shape.count if self.operation.is_list else None,
            "around": None if self.envelope is None else self.envelope.document,
            "shape": self.shape.document if self.shape.count else None,
            "differences": [each.to_dict() for each in self.differences],
            "unreadable": sorted(self.unreadable),
        }


def judge(request: Request[Any], response: Response) -> Answer:
    """Find out what there is to know about one answer."""
    known = operation(request.endpoint.name)
    try:
        raise_for_status(request, response)
    except ResponseError as error:
        return Answer(operation=known, request=request, response=response, error=error)
    left_out: list[UnreadableField] = []
    error = value = None
    try:
        value = decode(request, response, unreadable=left_out)
    except MalformedResponseError as unusable:
        error = unusable
    try:
        shape, envelope = _shapes(known, response)
    except UnreadableError:
        shape, envelope = Shape(), None
    found = differences(known.row, shape, excused=_excused(known, value)) if shape.count else ()
    following = None
    if known.is_list and error is None:
        following = next_page(
            request, response, envelope_in(response.body), rows=len(value) + len(value.unreadable)
        )
    return Answer(
        operation=known,
        request=request,
        response=response,
        error=error,
        value=value,
        shape=shape,
        envelope=envelope,
        differences=sorted(found),
        unreadable=frozenset(each.name for each in left_out),
        following=following,
    )


def _shapes(known: Operation, response: Response) -> tuple[Shape, Shape | None]:
    """Return what was seen of an answer, or of its rows and of what stands around them."""
    shape, envelope = Shape(), None
    if not known.is_list:
        shape.add(read(response.body, object), known.row)
        return shape, None
    for row in read_rows(response.body):
        shape.add(row, known.row)
    if around := envelope_in(response.body):
        envelope = Shape()
        envelope.add(around)
    return shape, envelope


def _excused(known: Operation, value: Any) -> Set[str]:  # noqa: ANN401 - a model
    """Return the members that an answer need not have, as things stand."""
    if known.name in {"get_generation_status", "get_generation_log"}:
        # Of a feature that was never generated there are only some, which is not documented.
        return frozenset() if value and value.request_id else known.answer.members.keys()
    if known.name == "diagnose_run":
        return {"summary.other"}
    if known.name == "get_run" and value and not value.is_failure:
        return {"log"} if value.is_finished else {"log", "summary", "tests", "artifacts"}
    return {"summary"} if known.name == "list_runs" else frozenset()


def findings_of(answer: Answer) -> list[Finding]:
    """Say what one answer means, one line for each way in which it differs."""
    if answer.error is not None:
        return [_unusable(answer)]
    return list(_found(answer)) or [holds(answer.operation.name, _agreement(answer))]


def _agreement(answer: Answer) -> str:
    """Say what an answer agrees with: what is documented, or what is only assumed."""
    known = answer.operation
    bases = {known.basis, *(each.basis for each in known.row.members.values())}
    says = f"as {known.basis}" if len(bases) == 1 else "as documented, and in parts as assumed"
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
                means, is_harmless = "shown empty, and what needs it does not work", False
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
                means, is_harmless = "can't be read, and shown empty", False
    return differs(name, says, means=means, is_harmless=is_harmless)


def _names_in(place: str) -> set[str]:
    """Return the names of a place: where our reader can't read a member it leaves out the whole."""
    return set(place.replace("[]", "").split("."))


def _of_status(name: str) -> str:
    if "feature" in name:
        return "run --all and generate --all leave such features out"
    if "generation" in name:
        return "a generation that ends so counts as neither generated nor failed: exit code 5"
    return "a run that ends so counts as neither passed nor failed: exit code 5"


def rows_of(answer: Answer | None) -> list[Any]:
    """Return the rows of a list that can be used; none where it can't."""
    return [] if answer is None or answer.error is not None else cast("list[Any]", answer.value)
