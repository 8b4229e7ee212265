"""One answer, and all that is found in it. Pure.

It is read twice: by the package's own reader, which decides whether our commands can use it, and
member by member against the contract. What that means is decided in `judging`.
"""

from __future__ import annotations

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
from testvibe_async.cli.doctor.contract import operation
from testvibe_async.cli.doctor.differences import differences
from testvibe_async.cli.doctor.shapes import Shape

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from testvibe_async._wire import Request, Response, UnreadableField
    from testvibe_async.cli.doctor.contract import Operation
    from testvibe_async.cli.doctor.differences import Difference

__all__ = ["Answer", "judge", "rows_of"]


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
    def is_not_there(self) -> bool:
        """Whether the service itself says that what was asked for does not exist."""
        return isinstance(self.error, NotFoundError) and self.error.code is not None

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
    value: Any = None
    left_out: list[UnreadableField] = []
    refusal: ResponseError | None = None
    try:
        raise_for_status(request, response)
        value = decode(request, response, unreadable=left_out)
    except MalformedResponseError as error:
        refusal = error
    except ResponseError as error:
        return Answer(operation=known, request=request, response=response, error=error)
    try:
        shape, envelope = _shapes(known, response)
    except UnreadableError:
        shape, envelope = Shape(), None
    found = differences(known.row, shape, excused=_excused(known, value)) if shape.count else ()
    following = None
    if known.is_list and refusal is None:
        rows = len(value) + len(value.unreadable)
        following = next_page(request, response, envelope_in(response.body), rows=rows)
    return Answer(
        operation=known,
        request=request,
        response=response,
        error=refusal,
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


def _excused(known: Operation, value: Any) -> AbstractSet[str]:  # noqa: ANN401 - a model
    """Return the members that an answer need not have, as things stand."""
    if known.name in {"get_generation_status", "get_generation_log"}:
        # Of a feature that was never generated there are only some, which is not documented.
        return frozenset() if value and value.request_id else known.answer.members.keys()
    if known.name == "diagnose_run":
        return {"summary.other"}
    if known.name == "get_run" and value and not value.is_failure:
        return {"log"} if value.is_finished else {"log", "summary", "tests", "artifacts"}
    return {"summary"} if known.name == "list_runs" else frozenset()


def rows_of(answer: Answer | None) -> list[Any]:
    """Return the rows of a list that can be used; none where it can't."""
    return [] if answer is None or answer.error is not None else cast("list[Any]", answer.value)
