"""The exchanges of a client with the service: each request with its answer, as it passed.

`Tap` listens at the client's session; it sends and changes nothing. `Exchange` holds what the
package's own reader makes of an answer, and where that differs from the contract.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from testvibe_async import MalformedResponseError, NotFoundError, ResponseError
from testvibe_async._wire import (
    UnreadableError,
    UnreadableField,
    decode,
    envelope_in,
    openapi_document,
    raise_for_status,
    read,
    read_rows,
)
from testvibe_async.cli.doctor.contract import Difference, Operation, differences, operation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

    from testvibe_async import Client
    from testvibe_async._wire import Request, Response

__all__ = ["Exchange", "Tap", "exchanges_of"]

_MEMBERS = {
    name: frozenset(openapi_document()["components"]["schemas"][schema]["properties"])
    for name, schema in {
        "get_generation_status": "Generation",
        "get_generation_log": "GenerationLog",
    }.items()
}


@frozen(kw_only=True, slots=False, eq=False)
class Exchange:
    """A request, its answer, and what is found in it."""

    at: float
    """Seconds since the first request."""

    request: Request[Any]
    response: Response
    error: ResponseError | None = None
    """Why our commands can't use the answer; None where they can."""

    value: Any = None
    """The value that our commands use."""

    unreadable: frozenset[str] = frozenset()
    """The names of the members that our reader left out."""

    @property
    def operation(self) -> Operation:
        """The operation, as the contract has it."""
        return operation(self.request.endpoint.name)

    @property
    def is_not_there(self) -> bool:
        """True if the service itself says that the thing asked for does not exist."""
        return isinstance(self.error, NotFoundError) and self.error.code is not None

    @property
    def envelope(self) -> Sequence[str]:
        """The names of what stands around the rows of a list."""
        is_list = self.operation.is_list and self.error is None
        return sorted(envelope_in(self.response.body)) if is_list else []

    @cached_property
    def differences(self) -> Sequence[Difference]:
        """Where the answer differs from the contract; empty for an error."""
        known = self.operation
        try:
            rows: list[Any] = (
                list(read_rows(self.response.body))
                if known.is_list
                else [read(self.response.body, object)]
            )
        except UnreadableError:
            return []
        if not rows or (self.error and not isinstance(self.error, MalformedResponseError)):
            return []
        excused = _excused(known.name, self.value)
        found = differences(known.answer, rows)
        return sorted(each for each in found if each.kind != "missing" or each.place not in excused)


def _excused(name: str, value: Any) -> AbstractSet[str]:  # noqa: ANN401 - a model
    """Return the members that an answer need not have, as things stand."""
    if name in _MEMBERS:
        # Of a feature that was never generated there are only some, which is not documented.
        return frozenset() if value and value.request_id else _MEMBERS[name]
    if name == "diagnose_run":
        return {"summary.other"}
    if name == "get_run" and value and not value.is_failure:
        return {"log"} if value.is_finished else {"log", "summary", "tests", "artifacts"}
    return {"summary"} if name == "list_runs" else frozenset()


@frozen(eq=False)
class Tap:
    """Listens to a client, from now on."""

    exchanges: list[Exchange] = field(factory=list[Exchange])
    dispatches: list[str] = field(factory=list[str])
    """The names of the operations that were dispatched, or may have been."""

    started_at: datetime = field(factory=lambda: datetime.now(UTC))
    _now: Callable[[], float] = field(factory=lambda: asyncio.get_running_loop().time)
    _start: float = field(factory=lambda: asyncio.get_running_loop().time())

    def listen_to(self, client: Client) -> None:
        """Note each exchange of a client."""
        http: Any = client._transport._http  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        send = http.send

        async def sent(request: Request[Any], **options: object) -> Response:
            at = self._now() - self._start
            if request.method != "GET":
                self.dispatches.append(request.endpoint.name)
            response: Response = await send(request, **options)
            self.exchanges.append(_judged(at, request, response))
            return response

        http.send = sent

    @property
    def reads(self) -> int:
        """The number of answers to requests that only read."""
        return sum(each.request.method == "GET" for each in self.exchanges)


def _judged(at: float, request: Request[Any], response: Response) -> Exchange:
    left_out: list[UnreadableField] = []
    error, value = None, None
    try:
        raise_for_status(request, response)
        value = decode(request, response, unreadable=left_out)
    except ResponseError as refusal:
        error = refusal
    return Exchange(
        at=at,
        request=request,
        response=response,
        error=error,
        value=value,
        unreadable=frozenset(each.name for each in left_out),
    )


def exchanges_of(exchanges: Sequence[Exchange], name: str) -> list[Exchange]:
    """Return the exchanges of one operation."""
    return [each for each in exchanges if each.request.endpoint.name == name]
