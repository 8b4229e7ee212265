"""Every exception that this package raises.

    VibeError                           .ref: the operation concerned, where there is one
    ├─ ConfigError                      a wrong argument, setting, file or call; a call that
    │                                   dispatches has sent nothing
    ├─ TransportError                   .method .url .attempts
    │  ├─ NotSentError                  DNS, refused: the service never saw it
    │  │  └─ RecorderError              the intent of a dispatch could not be stored
    │  └─ OutcomeUnknownError           reset, time-out, truncated: it may have happened
    │     └─ DispatchUnknownError       .reason .candidates .intent: the answer to a dispatch was
    │                                   lost
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
    │  ├─ MalformedResponseError        .problems: what was wrong, and where in the document
    │  └─ IncompleteListError           .operation: rows are missing that are needed
    ├─ WaitTimeoutError                 .status .elapsed: we stopped waiting, the operation keeps
    │                                   running
    ├─ ObservationError                 we can't see the operation; a later wait polls again
    │  ├─ OperationNotFoundError        the service says that it knows no such operation
    │  └─ OperationSupersededError      .newer_request_id: another generation took its place
    ├─ ClientClosedError                the client was closed; the operation keeps running
    └─ OutcomeError                     .outcome; raised by `raise_for_status()` alone
       ├─ RunFailedError                these five stand in `models`, beside what they carry
       ├─ GenerationFailedError
       ├─ GenerationCancelledError
       └─ UndocumentedStatusError       over, and neither success nor failure

Four failures are never confused: the operation failed (`OutcomeError`, and only when asked for), it
could not be observed (`ObservationError`, `UnauthorizedError`, `ForbiddenError`), the caller
stopped waiting (`WaitTimeoutError`, `ClientClosedError`), and it is unknown whether it started
(`DispatchUnknownError`). All but the first leave the operation as it was, and the two in between
carry the `ref` to pick it up again.

Every error pickles and copies, and none holds the API key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

from testvibe_async._util import escape, plain
from testvibe_async._util.serialization import Serializable

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "ClientClosedError",
    "ConfigError",
    "ConflictError",
    "DispatchUnknownError",
    "EndpointNotFoundError",
    "FeatureBusyError",
    "FeatureNotGeneratedError",
    "ForbiddenError",
    "GenerationInProgressError",
    "IncompleteListError",
    "InvalidRequestError",
    "MalformedResponseError",
    "NotFoundError",
    "NotSentError",
    "ObservationError",
    "OperationNotFoundError",
    "OperationSupersededError",
    "OutcomeUnknownError",
    "RateLimitedError",
    "RecorderError",
    "ResponseError",
    "ServerError",
    "TransportError",
    "UnauthorizedError",
    "VibeError",
    "WaitTimeoutError",
]


KindName: TypeAlias = Literal["run", "generation"]
"""The name of a kind of operation."""


class OperationRef(Protocol):
    """A reference to an operation, as an error carries it: a `RunRef` or a `GenerationRef`.

    Pass it to `client.attach`, or store what `to_json` returns.
    """

    kind: ClassVar[KindName]

    @property
    def server(self) -> str:
        """The service's scheme and host, and path prefix."""
        ...

    @property
    def project(self) -> str:
        """The project's id."""
        ...

    @property
    def dispatched_at(self) -> datetime | None:
        """When this client dispatched it; None where it did not."""
        ...

    @property
    def key(self) -> tuple[object, ...]:
        """What identifies it among all operations of its server."""
        ...

    def to_json(self) -> str:
        """Return the ref as one line of JSON, for `Ref.from_json`."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return the ref as a new plain dict: what `to_json` writes."""
        ...


class VibeError(Serializable, Exception):
    """The base of all errors of this package."""

    ref: OperationRef | None = None
    """The operation concerned, for `client.attach(ref)`; None where there is none."""

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle without calling `__init__`, whose arguments are keyword-only."""
        return _rebuild, (type(self), self.args, self.__dict__)

    def to_dict(self) -> dict[str, Any]:
        """Return a new plain dict that `json.dumps` takes: `type`, `message` and `ref`.

        An error that the service answered has its `status` and, as `error`, its code as well. What
        is None is left out.
        """
        return super().to_dict()

    def _members(self) -> dict[str, object]:
        return {"type": type(self).__name__, "message": str(self), "ref": self.ref}


def _rebuild(kind: type[VibeError], args: tuple[object, ...], state: dict[str, Any]) -> VibeError:
    error = kind.__new__(kind, *args)
    error.args = args  # OSError, the base of TimeoutError, leaves them to `__init__`
    error.__dict__.update(state)
    return error


class ConfigError(VibeError, ValueError):
    """An argument, a setting, a file or a call is wrong.

    A call that dispatches has sent nothing. Of what was dispatched before, it is raised by a wait
    whose poll plan fails, and by a journal that can't be written.
    """


class TransportError(VibeError):
    """No whole answer came from the service."""

    def __init__(self, what: str, *, method: str, url: str, attempts: int = 1) -> None:
        super().__init__(what)
        self.what = what
        """What went wrong, in a few words."""
        self.method = method
        """The HTTP method."""
        self.url = url
        """The URL, without its query."""
        self.attempts = attempts
        """How often the request was tried, this time included."""

    def __str__(self) -> str:
        """Say what was tried, on what, and what came."""
        tried = f" ({self.attempts} attempts)" if self.attempts > 1 else ""
        where = f"{self.method} {self.url}: " if self.method else ""  # not where it was restored
        return f"{where}{self.what}{tried}"


class NotSentError(TransportError):
    """The service never saw the request: there was no connection, or it was withdrawn before."""


class OutcomeUnknownError(TransportError):
    """The answer was lost on the way: the service may have acted."""

    status: int | None = None
    """The HTTP status of an answer that was cut short; None where none came."""


class RecorderError(NotSentError):
    """A dispatch was not sent, because its `Recorder` failed, or took longer than 5 s.

    The recorder's own exception is the cause.
    """


UnknownReason = Literal["absent", "accepted", "ambiguous", "unseen"]
"""Why the effect of a dispatch is unknown; see `DispatchUnknownError.reason`."""


class StoredIntent(Protocol):
    """What was about to be dispatched, as an error carries it: an `Intent`."""

    def to_json(self) -> str:
        """Return the intent as one line of JSON, for `Intent.from_json`."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return the intent as a new plain dict: what `to_json` writes."""
        ...


class DispatchUnknownError(OutcomeUnknownError):
    """The answer to a dispatch was lost, and reconciling did not find its operation.

    It was not sent again: that could do the work, and for a generation cost the credits, twice.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each thing that is known
        self,
        what: str,
        *,
        method: str,
        url: str,
        project: str,
        feature: int | str,
        reason: UnknownReason = "unseen",
        candidates: tuple[OperationRef, ...] = (),
        polled_at: datetime | None = None,
        intent: StoredIntent | None = None,
    ) -> None:
        super().__init__(what, method=method, url=url)
        self.project = project
        """The project's id."""
        self.feature = feature
        """The feature as it was asked for: an id or a name."""
        self.reason: UnknownReason = reason
        """Why it is unknown.

        `absent`: all that could show its operation was polled, and did not; most likely nothing
        started. `accepted`: the service accepted it, and its id could not be read: it started.
        `ambiguous`: `candidates` may be it. `unseen`: it could not be polled for, and the text says
        why.
        """
        self.candidates = candidates
        """The operations that it may have started, where the reason is `ambiguous`."""
        self.polled_at = polled_at
        """When that was polled last, by the local clock, in UTC; None where it never was."""
        self.intent = intent
        """What was dispatched: `client.reconcile(intent)` tries again; None where not known."""

    def _members(self) -> dict[str, object]:
        return {
            **super()._members(),
            "project": self.project,
            "feature": self.feature,
            "reason": self.reason,
            "candidates": self.candidates,
            "polledUtc": self.polled_at,
            "intent": self.intent,
        }


class ResponseError(VibeError):
    """The service answered, but not with what was asked for."""

    def __init__(  # noqa: PLR0913 - one keyword for each part of the answer
        self,
        message: str,
        *,
        status: int,
        code: str | None = None,
        method: str,
        url: str,
        retry_after: float | None = None,
        is_from_service: bool | None = None,
    ) -> None:
        super().__init__(f"{method} {url}: {status} {code or ''}".rstrip() + f": {message}")
        self.status = status
        """The HTTP status."""
        self.code = code
        """The service's own error code, such as `conflict`; None where the answer has none."""
        self.message = message
        """The service's own words, or the beginning of an answer that is not in its format."""
        self.method = method
        """The HTTP method."""
        self.url = url
        """The URL, without its query."""
        self.retry_after = retry_after
        """Seconds after which the service asks to try again; None where it does not say."""
        self.is_from_service: bool = (
            code is not None if is_from_service is None else is_from_service
        )
        """Whether the service itself answered: with an error that has its `code`, or with JSON.

        Otherwise something in its place did, such as a proxy, a login or a page for maintenance.
        """

    def _members(self) -> dict[str, object]:
        return {**super()._members(), "status": self.status, "error": self.code}


class InvalidRequestError(ResponseError):
    """400: the service could not accept the request as it is."""


class UnauthorizedError(ResponseError):
    """401: the API key is missing, wrong or revoked."""


class ForbiddenError(ResponseError):
    """403: the API key may not do this. A 403 that limits a rate is a `RateLimitedError`."""


class NotFoundError(ResponseError):
    """404: there is no such project, feature, run or file."""


class EndpointNotFoundError(NotFoundError):
    """404 or 405 on a route that is assumed, not documented: the service has no such call.

    It may have it elsewhere: then `Client(endpoints={operation: 'METHOD /path'})` names the place.
    """

    operation: str = ""
    """The operation, by the service's name, such as `list_runs`."""

    route: str = ""
    """The route that was assumed, such as `GET /projects/{project}/runs`."""


class ConflictError(ResponseError):
    """409: it cannot start in the feature's present state."""


class GenerationInProgressError(ConflictError):
    """A generation of this feature is in flight; `ref` names it where it could be seen."""


class FeatureNotGeneratedError(ConflictError):
    """The feature has no generated tests to run, or is generating them now."""


class FeatureBusyError(ConflictError):
    """The feature can be neither updated nor deleted while it is generating."""


class RateLimitedError(ResponseError):
    """429, or a 403 that limits a rate: too many requests.

    A 403 does where it has `Retry-After`, or a code such as `rate_limited`.

    `retry_after` says how long to wait, where the service does.
    """


class ServerError(ResponseError):
    """5xx: the service, or something in front of it, failed."""


class MalformedResponseError(ResponseError):
    """The answer is not the document that the service's documentation promises."""

    def __init__(
        self,
        problems: tuple[str, ...],
        *,
        status: int,
        method: str,
        url: str,
    ) -> None:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""  # noqa: PLR2004
        super().__init__(
            f"the answer could not be read: {escape('; '.join(problems[:3]))}{more}",
            status=status,
            method=method,
            url=url,
            is_from_service=False,
        )
        self.problems = problems
        """What was wrong and where, such as `expected an integer, got 'x' at $.summary.total`."""


class IncompleteListError(ResponseError):
    """A list has not all rows that the service has, and all are needed.

    Raised where a part would be taken for the whole: by a batch without names, by the command
    line's `--all` and patterns. Naming the features does without the list.
    """

    operation: str = ""
    """The list's operation, by the service's name, such as `list_features`."""


class WaitTimeoutError(VibeError, TimeoutError):
    """The time-out came before the end: nothing was cancelled. Wait again to continue."""

    def __init__(  # noqa: PLR0913 - one keyword for each thing that is known
        self,
        what: str = "",
        *,
        ref: OperationRef | None,
        status: str | None,
        elapsed: float,
        last_seen_at: datetime | None = None,
        failures: int = 0,
    ) -> None:
        what = what or f"{ref} is still {plain(status or 'in flight')}"
        seen = _last_seen(last_seen_at, failures)
        super().__init__(
            f"{what} after {elapsed:.3g} s of waiting{seen}; nothing was cancelled, wait again to "
            "go on"
        )
        self.ref = ref
        self.status = status
        """The last status seen; None where none was."""
        self.elapsed = elapsed
        """Seconds since this wait began."""
        self.last_seen_at = last_seen_at
        """When the status was last seen, by the local clock, in UTC; None where it never was."""
        self.failures = failures
        """How many polls have failed since, of it or, during an outage, of another operation for
        all; the last failure is the cause."""

    def _members(self) -> dict[str, object]:
        return {
            **super()._members(),
            "lastSeenUtc": self.last_seen_at,
            "failures": self.failures or None,
        }


def _last_seen(at: datetime | None, failures: int) -> str:
    """Say how old the news is, where polls have failed since."""
    if not failures:
        return ""
    seen = f"was last seen at {at:%H:%M:%S} UTC" if at else "was never seen"
    polls = "1 poll has" if failures == 1 else f"{failures} polls have"
    return f" (it {seen}, and {polls} failed since)"


class ObservationError(VibeError):
    """The operation could not be observed; it may well be running. A later wait polls again."""

    def __init__(self, what: str, *, ref: OperationRef) -> None:
        super().__init__(f"{ref} could not be observed: {what}")
        self.ref: OperationRef = ref  # pyright: ignore[reportIncompatibleVariableOverride]


class OperationNotFoundError(ObservationError):
    """The service says that it knows no such operation."""


class OperationSupersededError(ObservationError):
    """A later generation of the feature took its place, so its own outcome can't be read."""

    def __init__(self, *, ref: OperationRef, newer_request_id: str) -> None:
        super().__init__(f"generation {plain(newer_request_id)} took its place", ref=ref)
        self.newer_request_id = newer_request_id
        """The `requestId` of the generation that the service shows now."""


class ClientClosedError(VibeError):
    """The client is closed. What was dispatched keeps running; attach `ref` with another client."""

    def __init__(self, *, ref: OperationRef | None = None) -> None:
        about = f"; {ref} goes on, attach it with another client" if ref else ""
        super().__init__(f"this client is closed{about}")
        self.ref = ref
