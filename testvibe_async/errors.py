"""The exceptions that this package raises; `testvibe_async` exports all of them.

    VibeError                           .ref: the operation concerned, if any
    ├─ ConfigError                      a wrong argument, setting, file or call; a call that
    │                                   dispatches has sent nothing
    ├─ TransportError                   .method .url .attempts
    │  ├─ NotSentError                  DNS, refused: the service never saw it
    │  │  └─ LedgerError                the row of a dispatch could not be stored
    │  └─ OutcomeUnknownError           reset, time-out, truncated: it may have happened
    │     └─ DispatchUnknownError       .reason .candidates .key: the answer to a dispatch was lost
    ├─ ResponseError                    .status .code .message .method .url .retry_after
    │  ├─ InvalidRequestError           400
    │  ├─ UnauthorizedError             401
    │  ├─ ForbiddenError                403, unless it limits a rate
    │  ├─ NotFoundError                 404
    │  │  └─ EndpointNotFoundError      .operation .route: an assumed route that is not there
    │  ├─ ConflictError                 409
    │  │  ├─ GenerationInProgressError  from generate_feature; .ref: the one in flight, if known
    │  │  ├─ FeatureNotGeneratedError   from run_feature
    │  │  └─ FeatureBusyError           from update_feature, delete_feature
    │  ├─ RateLimitedError              429, or a 403 that limits a rate
    │  ├─ ServerError                   5xx
    │  ├─ MalformedResponseError        .problems: the problems, each with its path in the document
    │  └─ IncompleteListError           .operation: needed rows are missing
    ├─ WaitTimeoutError                 .status .elapsed: we stopped waiting, the operation keeps
    │                                   running
    ├─ ObservationError                 it could not be observed; a later wait polls again
    │  ├─ ContradictionError            it has another feature or configuration than was requested
    │  ├─ OperationNotFoundError        the service does not know the operation
    │  └─ OperationSupersededError      .newer_request_id: another generation replaced it
    ├─ ClientClosedError                the client was closed; the operation keeps running
    └─ OutcomeError                     .outcome; raised by `raise_for_status()` alone
       ├─ RunFailedError                these five are in `models`, beside their outcomes
       ├─ GenerationFailedError
       ├─ GenerationCancelledError
       └─ UndocumentedStatusError       ended, and neither success nor failure

Four failures are never confused: the operation failed (`OutcomeError`, and only when asked for), it
could not be observed (`ObservationError`, `UnauthorizedError`, `ForbiddenError`), the caller
stopped waiting (`WaitTimeoutError`, `ClientClosedError`), and it is unknown whether it started
(`DispatchUnknownError`). All except the first leave the operation running, and the two in between
carry the `ref` with which to attach to it again.

A message of at most 240 characters begins with the fact and the next step (`advice`, in the words
of this library). The service's own text follows in quotes, as far as there is room, and the request
comes last. The attributes have both in full. Every error can be pickled and copied, and none
contains the API key.
"""

from __future__ import annotations

import re
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from multidict import CIMultiDict

from testvibe_async._core.util import escape, plain
from testvibe_async._core.util.serialization import Serializable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from testvibe_async.refs import Ref

__all__ = [
    "ClientClosedError",
    "ConfigError",
    "ConflictError",
    "ContradictionError",
    "DispatchUnknownError",
    "EndpointNotFoundError",
    "FeatureBusyError",
    "FeatureNotGeneratedError",
    "ForbiddenError",
    "GenerationInProgressError",
    "IncompleteListError",
    "InvalidRequestError",
    "LedgerError",
    "MalformedResponseError",
    "NotFoundError",
    "NotSentError",
    "ObservationError",
    "OperationNotFoundError",
    "OperationSupersededError",
    "OutcomeUnknownError",
    "RateLimitedError",
    "ResponseError",
    "ServerError",
    "TransportError",
    "UnauthorizedError",
    "VibeError",
    "WaitTimeoutError",
]


LONGEST = 240
"""Maximum number of characters of a message."""

LONGEST_URL = 60
"""Maximum number of characters that a message shows of a URL."""

LONGEST_NAME = 30
"""Maximum number of characters that a message shows of a feature's name."""

MIN_DETAIL = 24
"""Number of characters below which a detail that has to be cut is left out."""

REQUEST_ID_HEADERS = (
    "X-Request-Id",
    "Request-Id",
    "X-Correlation-Id",
    "X-Ms-Request-Id",
    "X-Amzn-Requestid",
    "Cf-Ray",
)
"""The headers in which services name a request, the most usual first."""

KindName: TypeAlias = Literal["run", "generation"]
"""The name of a kind of operation."""


class VibeError(Serializable, Exception):
    """The base of all errors of this package."""

    ref: Ref | None = None
    """The operation concerned, for `client.attach(ref)`; None if there is none."""

    fact: str = ""
    """The fact, in a few words."""

    advice: str = ""
    """The next step; empty if the fact as a whole names it."""

    what: str = ""
    """The cause or the circumstances, as far as the fact does not name them."""

    _restored: str | None = None
    """The message of an error that was read from a document; None to compose it."""

    def __init__(self, fact: str = "", what: str = "") -> None:
        super().__init__()
        self.fact = fact or self.fact
        self.what = what

    @property
    def brief(self) -> str:
        """The failure, without advice and URL, for a text of your own."""
        fact = self.fact or self._restored or ""
        return f"{fact}: {self.what}" if self.what else fact

    def __str__(self) -> str:
        """Return the fact, the advice, what happened, and the request."""
        if self._restored is not None:
            return self._restored
        head = f"{self.fact}: {self.advice}" if self.advice else self.fact
        return composed(head, self._detail(), self._where())

    def __repr__(self) -> str:
        """Return the class and the message."""
        return f"{type(self).__name__}({str(self)!r})"

    def _detail(self) -> str:
        """Return what happened; foreign text in quotes."""
        return self.what

    def _where(self) -> str:
        """Return the request and its answer; empty if there is none."""
        return ""

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle without calling `__init__`, whose arguments are keyword-only."""
        return _rebuild, (type(self), self.args, self.__dict__)

    def to_dict(self) -> dict[str, Any]:
        """Return a new plain dict that `json.dumps` takes: `type`, `message`, `ref` and `cause`.

        The cause is another error of this package. `what` happened is added where the message says
        more; an error answer of the service adds its `status`, its code as `error`, and its text as
        `said`. Values that are None are omitted.
        """
        return super().to_dict()

    def _members(self) -> dict[str, object]:
        cause = self.__cause__ if isinstance(self.__cause__, VibeError) else None
        return {
            "type": type(self).__name__,
            "message": str(self),
            "what": self.what or None,
            "ref": self.ref,
            "cause": cause,
        }


def _rebuild(kind: type[VibeError], args: tuple[object, ...], state: dict[str, Any]) -> VibeError:
    error = kind.__new__(kind, *args)
    error.args = args  # OSError, the base of TimeoutError, leaves them to `__init__`
    error.__dict__.update(state)
    return error


def composed(head: str, detail: str = "", where: str = "") -> str:
    """Return a message of at most 240 characters, whose detail is cut if there is no room.

    Args:
        head: The fact and the advice, which are never cut.
        detail: What happened; text from outside in double quotes.
        where: The request and its status.
    """
    end = f" ({where})" if where else ""
    room = LONGEST - len(head) - len(end) - len("; ")
    if len(detail) > room:
        detail = detail[: room - 2].rstrip() + "…" if room >= MIN_DETAIL else ""
        detail += '"' * (detail.count('"') % 2)
    return f"{head}; {detail}{end}" if detail else f"{head}{end}"


def request_text(method: str, url: str, *, with_host: bool = False) -> str:
    """Return a request as a message names it: its method and the end of its path.

    Args:
        method: The HTTP method.
        url: The URL, without its query.
        with_host: True to name the host too, for a failure that its address may explain.
    """
    host, path = re.sub(r"^\w+://", "", url).partition("/")[::2]
    path = re.sub(r"^.*?api/v1/ops(/projects/[^/]+(?=/))?", "…", path)
    path = path if len(path) <= LONGEST_URL else f"…{path[-LONGEST_URL:]}"
    return f"{method} {host}/{path}" if with_host else f"{method} {path}"


class ConfigError(VibeError, ValueError):
    """An argument, a setting, a file or a call is wrong.

    A call that dispatches has sent nothing. After a dispatch, only a wait whose poll plan fails
    raises it.
    """

    def __init__(self, what: str, *, advice: str = "") -> None:
        super().__init__(what)
        self.advice = advice


class TransportError(VibeError):
    """No complete answer came from the service."""

    fact: str = "no complete answer came"
    advice: str = "try again"

    def __init__(self, what: str, *, method: str, url: str, attempts: int = 1) -> None:
        super().__init__(what=what)
        self.method = method
        """The HTTP method."""
        self.url = url
        """The URL, without its query."""
        self.attempts = attempts
        """Total number of attempts of the request."""

    @property
    def brief(self) -> str:
        """The failure, without advice and URL, for a text of your own."""
        return self.what

    def _where(self) -> str:
        tried = f"{self.attempts} attempts, " if self.attempts > 1 else ""
        return tried + request_text(self.method, self.url, with_host=True)


class NotSentError(TransportError):
    """The request never reached the service: there was no connection, or it was withdrawn."""

    fact: str = "the request was not sent"
    advice: str = "check the server and the network, then try again"


class OutcomeUnknownError(TransportError):
    """The answer was lost: the service may have executed the request."""

    fact: str = "the answer was lost"

    def __init__(self, what: str, *, method: str, url: str, attempts: int = 1) -> None:
        super().__init__(what, method=method, url=url, attempts=attempts)
        if method != "GET":
            self.advice = "check whether it took effect, before you try again"

    status: int | None = None
    """The HTTP status of a truncated answer; None if no answer came."""


class LedgerError(NotSentError):
    """A dispatch was not sent, because its ledger failed, or took longer than 5 s.

    The ledger's own exception is the cause.
    """

    fact: str = "the dispatch was not sent"
    advice: str = "make the ledger work, then dispatch again"


UnknownReason = Literal["absent", "accepted", "ambiguous", "unseen"]
"""The reason why the effect of a dispatch is unknown; see `DispatchUnknownError.reason`."""


class DispatchUnknownError(OutcomeUnknownError):
    """The answer to a dispatch was lost or unreadable, and its operation was not found.

    It was not sent again: a second operation might start, and a generation costs credits. With a
    key, the same call searches again; once a search has ended without a result, it raises this
    until `client.ledger.decide` settles the dispatch.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each thing that is known
        self,
        what: str,
        *,
        advice: str = "check the feature before you dispatch it again",
        method: str,
        url: str,
        kind: KindName,
        project: str,
        feature: int | str,
        reason: UnknownReason = "unseen",
        candidates: tuple[Ref, ...] = (),
        polled_at: datetime | None = None,
        key: str | None = None,
    ) -> None:
        super().__init__(what, method=method, url=url)
        name = plain(str(feature))
        name = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"
        self.fact: str = f"feature {name!r} was dispatched, and its id is unknown"
        if reason != "accepted":
            self.fact = f"the dispatch of feature {name!r} may have taken effect"
        self.advice = advice
        self.kind: KindName = kind
        """The kind of operation that was to be dispatched."""
        self.project = project
        """The project's id."""
        self.feature = feature
        """The feature as requested: an id or a name."""
        self.reason: UnknownReason = reason
        """The reason why the effect is unknown.

        `absent`: no poll showed the operation; most likely nothing started. `accepted`: the service
        accepted the dispatch, so it started, but its id could not be read. `ambiguous`: one of the
        `candidates` may be the operation. `unseen`: the service could not be polled for it, for the
        reason in the message.
        """
        self.candidates = candidates
        """The operations that the dispatch may have started, if the reason is `ambiguous`."""
        self.polled_at = polled_at
        """The time of the last poll for it, by the local clock, in UTC; None if there was none."""
        self.key = key
        """The key of the dispatch in the ledger, for `decide`; None if it is not known."""

    def _where(self) -> str:
        return request_text(self.method, self.url)

    def _members(self) -> dict[str, object]:
        return {
            **super()._members(),
            "kind": self.kind,
            "project": self.project,
            "feature": self.feature,
            "reason": self.reason,
            "candidates": self.candidates,
            "polledUtc": self.polled_at,
            "key": self.key,
        }


class ResponseError(VibeError):
    """The service answered, but not with the requested result."""

    fact: str = "the service refused"
    advice: str = "see what it answered"
    is_quoted: bool = True
    """True if the message is text from outside, rather than this client's own."""

    def __init__(  # noqa: PLR0913 - one keyword for each part of the answer
        self,
        message: str,
        *,
        hint: str = "",
        status: int | None,
        code: str | None = None,
        method: str,
        url: str,
        retry_after: float | None = None,
        is_from_service: bool | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.hint: str = hint
        """The likely meaning, in words for everybody; empty if the class says it."""
        self.advice = hint or self._advice(retry_after)
        self.is_from_service: bool = (
            code is not None if is_from_service is None else is_from_service
        )
        """True if the service itself answered: with an error that has its `code`, or with JSON.

        Otherwise the answer came from something else: a proxy, a login or a maintenance page.
        """
        self.message = message
        """The service's text, or the beginning of an answer in another format."""
        self.status = status
        """The HTTP status; None if the answer was not HTTP."""
        self.code = code
        """The service's own error code, such as `conflict`; None if the answer has none."""
        self.method = method
        """The HTTP method."""
        self.url = url
        """The URL, without its query."""
        self.retry_after = retry_after
        """Seconds after which the service asks to try again; None if it does not say."""
        self.note_headers(headers or {})

    def note_headers(self, headers: Mapping[str, str]) -> None:
        """Set the headers of the answer, and with them the id of the request."""
        self.headers: Mapping[str, str] = CIMultiDict(headers)
        """The headers of the answer, found by name in any case."""
        ids = (self.headers.get(name) for name in REQUEST_ID_HEADERS)
        self.request_id: str | None = next(filter(None, ids), None)
        """The service's id of the request, to name to its operator; None if it sent none."""

    def _advice(self, retry_after: float | None) -> str:  # noqa: ARG002 - for a rate limit alone
        """Return the advice of the class, as far as the answer allows a more precise one."""
        return self.advice

    @property
    def explained(self) -> str:
        """The message, with its likely meaning where that needs explanation."""
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def _where(self) -> str:
        where = request_text(self.method, self.url, with_host=not self.is_from_service)
        return f"{self._answer}, {where}" if self._answer else where

    @property
    def _answer(self) -> str:
        return " ".join(str(each) for each in (self.status, self.code) if each is not None)

    def _detail(self) -> str:
        if not self.is_quoted:
            return self.message
        who = "the service says" if self.is_from_service else "the answer is"
        return '{} "{}"'.format(who, self.message.replace('"', "'"))  # It can't close the quotes.

    @property
    def brief(self) -> str:
        """The failure, without advice and URL, for a text of your own; foreign text is quoted."""
        return f"{self._detail()} ({self._answer})" if self._answer else self._detail()

    def _members(self) -> dict[str, object]:
        known = {
            "status": self.status,
            "error": self.code,
            "said": self.message,
            "requestId": self.request_id,
            "isQuoted": None if self.is_quoted else False,
        }
        return super()._members() | known


class InvalidRequestError(ResponseError):
    """400: the service could not accept the request."""

    fact: str = "the service could not accept the request"
    advice: str = "correct the value that it names, and call again"


class UnauthorizedError(ResponseError):
    """401: the API key is missing, wrong or revoked."""

    fact: str = "the service refused the API key"
    advice: str = "set a valid one in TESTVIBE_API_KEY, or pass api_key"

    def name_source(self, source: str) -> None:
        """Add the key's source to the advice: an argument, a variable's name, or a file's path."""
        self.advice = f"it came from {source}; put a valid one there"


class ForbiddenError(ResponseError):
    """403: the API key may not do this. A 403 that limits a rate is a `RateLimitedError`."""

    fact: str = "the API key may not do this"
    advice: str = "use another key, or have its owner allow this"


class NotFoundError(ResponseError):
    """404: the project, feature, run or file does not exist."""

    fact: str = "the service has nothing of that name or id"
    advice: str = "list what exists, and check the name or id"


class EndpointNotFoundError(NotFoundError):
    """404 or 405 on an assumed, undocumented route: the service does not have this call.

    If the service has the call on another route, `Client(endpoints={operation: 'METHOD /path'})`
    names that.
    """

    fact: str = "this service lacks this call"
    advice: str = "name its route in Client(endpoints=…), or do without it"
    is_quoted: bool = False
    operation: str = ""
    """The service's name of the operation, such as `list_runs`."""

    route: str = ""
    """The assumed route, such as `GET /projects/{project}/runs`."""


class ConflictError(ResponseError):
    """409: the feature's current state does not allow the call."""

    fact: str = "the feature's present state does not allow this"
    advice: str = "get_generation_status shows it"


class GenerationInProgressError(ConflictError):
    """A generation of this feature is in flight; `ref` names it, if it could be observed."""

    fact: str = "a generation of this feature is in flight"
    advice: str = "wait_for_generation, then call again, or pass on_conflict to attach to it"


class FeatureNotGeneratedError(ConflictError):
    """The feature has no tests to run, or its generation is still in flight."""

    fact: str = "the feature has no generated tests"
    advice: str = "generate them first, with generate_feature"

    def note_in_flight(self) -> None:
        """Note that the feature's tests are being generated."""
        self.advice = "wait_for_generation, since it is under way, or pass on_conflict to wait"


class FeatureBusyError(ConflictError):
    """The feature can be neither updated nor deleted while its generation is in flight."""

    fact: str = "a generation of the feature is in flight"
    advice: str = "wait_for_generation, then call again"


class RateLimitedError(ResponseError):
    """429, or a 403 that limits a rate: too many requests.

    A 403 limits a rate if it has `Retry-After`, or a code such as `rate_limited`. `retry_after` is
    the time to wait, if the service names one.
    """

    fact: str = "the request was rate-limited"
    advice: str = "try again later, or set a rate_limit"

    def _advice(self, retry_after: float | None) -> str:
        if retry_after is None:
            return self.advice
        return f"try again in {retry_after:.3g} s, or set a rate_limit"


class ServerError(ResponseError):
    """5xx: the service, or a gateway in front of it, failed."""

    fact: str = "the service failed"
    advice: str = "try again later"


class MalformedResponseError(ResponseError):
    """The answer is not the documented document."""

    fact: str = "the answer could not be read"
    advice: str = "check the server's address; testvibe-async doctor shows what differs"
    is_quoted: bool = False

    def __init__(
        self,
        problems: tuple[str, ...],
        *,
        status: int | None,
        method: str,
        url: str,
    ) -> None:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""  # noqa: PLR2004
        super().__init__(
            f"{escape('; '.join(problems[:3]))}{more}",
            status=status,
            method=method,
            url=url,
            is_from_service=False,
        )
        self.problems = problems
        """The problems, such as `expected an integer, got 'x' at $.summary.total`."""

    @property
    def brief(self) -> str:
        """The failure, without advice and URL, for a text of your own."""
        return f"{self.fact}: {super().brief}"


class IncompleteListError(ResponseError):
    """A list lacks rows, and all of them are needed.

    Raised if a part would pass for the whole: by a batch without names, and by the command line's
    `--all` and patterns. Named features do not need the list.
    """

    fact: str = "rows of a list are missing"
    advice: str = "name the features, so that the list is not needed"
    is_quoted: bool = False
    operation: str = ""
    """The service's name of the list, such as `list_features`."""


class WaitTimeoutError(VibeError, TimeoutError):
    """The time-out passed before the end. Nothing was cancelled; wait again to continue."""

    advice: str = "wait again to continue"

    def __init__(  # noqa: PLR0913 - one keyword for each thing that is known
        self,
        what: str = "",
        *,
        ref: Ref | None,
        status: str | None,
        elapsed: float,
        last_seen_at: datetime | None = None,
        failures: int = 0,
    ) -> None:
        state = f"is still {plain(status)}" if status else "was not seen to end"
        super().__init__(
            f"{what or f'{ref} {state}'} after {elapsed:.3g} s of waiting",
            f"nothing was cancelled{_last_seen(last_seen_at, failures)}",
        )
        self.ref = ref
        self.status = status
        """The last observed status; None if none was."""
        self.elapsed = elapsed
        """Seconds since this wait began."""
        self.last_seen_at = last_seen_at
        """The time of the last observation, by the local clock, in UTC; None if there was none."""
        self.failures = failures
        """Number of failed polls since then; during an outage, also of other operations.

        The last failure is the cause.
        """

    def _members(self) -> dict[str, object]:
        return {
            **super()._members(),
            "what": None,
            "status": self.status,
            "elapsed": self.elapsed,
            "lastSeenUtc": self.last_seen_at,
            "failures": self.failures or None,
        }


def _last_seen(at: datetime | None, failures: int) -> str:
    """Return the age of the observation, if polls have failed since."""
    if not failures:
        return ""
    seen = f"was last seen at {at:%H:%M:%S} UTC" if at else "was never seen"
    polls = "1 poll has" if failures == 1 else f"{failures} polls have"
    return f" (it {seen}, and {polls} failed since)"


class ObservationError(VibeError):
    """The operation could not be observed; it may still be running. A later wait polls again."""

    advice: str = "it may still be running, so wait for client.attach(error.ref) later"

    def __init__(self, what: str, *, ref: Ref) -> None:
        super().__init__(f"{ref} could not be observed", what)
        self.ref: Ref = ref  # pyright: ignore[reportIncompatibleVariableOverride]


class OperationNotFoundError(ObservationError):
    """The service does not know the operation."""

    advice: str = "check the server, the project and the id: the service does not know it"


class OperationSupersededError(ObservationError):
    """A later generation of the feature replaced it, so its own outcome can't be read."""

    advice: str = "use wait_for_generation for it"

    def __init__(self, *, ref: Ref, newer_request_id: str) -> None:
        super().__init__(f"generation {plain(newer_request_id)} replaced it", ref=ref)
        self.newer_request_id = newer_request_id
        """The `requestId` of the present generation."""


class ContradictionError(ObservationError):
    """The service shows the operation with another feature or configuration than was requested."""

    advice: str = "compare it with the feature at the service: its outcome is not the requested one"


class ClientClosedError(VibeError):
    """The client is closed. Operations keep running; attach `ref` with another client."""

    fact: str = "this client is closed"
    advice: str = "create another, and attach operations in flight by their refs"

    def __init__(self, *, ref: Ref | None = None) -> None:
        super().__init__(what=f"{ref} is still running" if ref else "")
        self.ref = ref


def read_error(document: Mapping[str, Any]) -> VibeError:
    """Return the error that `to_dict` described, with its message and what callers decide by.

    An error of a class that this release does not know is a `VibeError`.
    """
    from testvibe_async.refs import Ref  # noqa: PLC0415 - refs raise errors

    kinds = {kind.__name__: kind for kind in _all_errors(VibeError)}
    document = {name: value for name, value in document.items() if value is not None}
    kind = kinds.get(document["type"], VibeError)
    error = kind.__new__(kind)
    known = {name: document[wire] for wire, name in _STORED.items() if wire in document}
    message = document["message"]
    error.__dict__.update({**_UNKNOWN, "_restored": message, "message": message, **known})
    if isinstance(error, ResponseError):
        error.is_from_service = error.code is not None
    for wire, name in _STORED_TIMES.items():
        if wire in document:
            error.__dict__[name] = datetime.fromisoformat(document[wire])
    if "ref" in document:
        error.ref = Ref.from_dict(document["ref"])
    if "candidates" in document:
        error.__dict__["candidates"] = tuple(map(Ref.from_dict, document["candidates"]))
    if "cause" in document:
        error.__cause__ = read_error(document["cause"])
    return error


_STORED = {
    **{
        name: name
        for name in (
            *("what", "status", "elapsed", "failures", "project", "kind", "feature", "reason"),
            "key",
        )
    },
    "error": "code",
    "said": "message",
    "requestId": "request_id",
    "isQuoted": "is_quoted",
}
"""The fields of a restored error, by their names in its document."""

_STORED_TIMES = {"lastSeenUtc": "last_seen_at", "polledUtc": "polled_at"}
"""The fields that are instants."""

_UNKNOWN: Mapping[str, Any] = {
    "method": "",
    "url": "",
    "hint": "",
    "attempts": 1,
    "status": None,
    "code": None,
    "retry_after": None,
    "headers": MappingProxyType({}),
    "request_id": None,
    "elapsed": 0.0,
    "last_seen_at": None,
    "failures": 0,
    "problems": (),
    "candidates": (),
    "polled_at": None,
    "key": None,
    "newer_request_id": "",
    "operation": "",
    "route": "",
    "reason": "unseen",
    "kind": "run",
}
"""The fields that a document of an error lacks."""


def _all_errors(kind: type[VibeError]) -> Iterator[type[VibeError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _all_errors(each)
