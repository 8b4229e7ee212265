"""Events as values, for hooks, for the log `testvibe_async`, and for metrics.

An event reports; it decides nothing. A hook is called immediately, in the event loop, so it should
be quick and must not block. If it raises, the error is logged, and nothing else is affected.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError
from contextlib import suppress
from inspect import isawaitable, iscoroutine, iscoroutinefunction
from typing import TYPE_CHECKING, Any, ClassVar, cast

from attrs import fields_dict, frozen

from testvibe_async._core.util import escape
from testvibe_async.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias, TypeVar

    from testvibe_async.errors import KindName, VibeError
    from testvibe_async.models import Snapshot, Transition
    from testvibe_async.refs import Ref

    EventT = TypeVar("EventT")
    Subscribers: TypeAlias = (
        Callable[[EventT], None]
        | list[Callable[[EventT], None]]
        | tuple[Callable[[EventT], None], ...]
        | None
    )

__all__ = [
    "DispatchUnknown",
    "Dispatched",
    "Hooks",
    "ListPollingSuspended",
    "OutageEnded",
    "OutageStarted",
    "Paused",
    "PollFailed",
    "RequestFinished",
    "Resumed",
    "RetryScheduled",
    "StatusChanged",
]

logger: logging.Logger = logging.getLogger("testvibe_async")
# Without it Python prints warnings on standard error where a program has not set up logging:
# https://docs.python.org/3/howto/logging.html#configuring-logging-for-a-library
logger.addHandler(logging.NullHandler())

reported_logger: logging.LoggerAdapter[logging.Logger] = logging.LoggerAdapter(
    logger, {"testvibe_reported": True}
)
"""The same logger, for warnings that the caller's results contain as well. It marks their records,
so that the command line does not print them twice."""


@frozen
class Event:
    """The base of all events."""

    hook: ClassVar[str]
    """The field of `Hooks` that takes functions for it."""

    level: ClassVar[int] = logging.DEBUG
    """The level of its log record."""


@frozen
class Dispatched(Event):
    """An operation was dispatched: the moment to store its ref."""

    hook: ClassVar[str] = "on_dispatched"
    level: ClassVar[int] = logging.INFO

    ref: Ref
    """The ref of the operation."""

    adopted: bool = False
    """True if a search found it, since the answer to its dispatch was lost."""

    feature: int | str | None = None
    """The feature as requested: its id or its name."""

    config: str | None = None
    """The requested run configuration; None for the default, or for a generation."""


@frozen
class DispatchUnknown(Event):
    """A dispatch was sent, its answer was lost, and its operation was not found.

    It may have taken effect: check the service before you dispatch again.
    """

    hook: ClassVar[str] = "on_dispatch_unknown"
    level: ClassVar[int] = logging.WARNING

    error: VibeError
    """The `testvibe_async.DispatchUnknownError`, which the caller gets if there still is one."""

    kind: KindName
    """The kind of the operation."""

    project: str
    """The project's id."""

    feature: int | str
    """The feature as requested: its id or its name."""

    config: str | None = None
    """The requested run configuration; None for the default, or for a generation."""


@frozen
class RequestFinished(Event):
    """A request was answered, or failed."""

    hook: ClassVar[str] = "on_request"

    operation: str
    """The service's name for the call, such as `get_run`."""

    method: str
    """The HTTP method."""

    url: str
    """The requested URL."""

    status: int | None
    """The HTTP status; None if no complete answer came."""

    seconds: float
    """Its duration, without the wait for a free connection."""


@frozen
class RetryScheduled(Event):
    """A call failed and will be retried."""

    hook: ClassVar[str] = "on_retry"
    level: ClassVar[int] = logging.INFO

    operation: str
    """The service's name for the call."""

    error: VibeError
    """The failure."""

    attempt: int
    """The number of the failed attempt, from 1."""

    delay: float
    """Seconds until the next attempt."""


@frozen
class StatusChanged(Event):
    """An operation's phase or status changed."""

    hook: ClassVar[str] = "on_transition"
    level: ClassVar[int] = logging.INFO

    ref: Ref
    """The ref of the operation."""

    transition: Transition[Snapshot]
    """The observed change."""

    delay: float | None = None
    """Seconds from the end of the operation to its observation, by the service's clock.

    None before the end, if its time is unknown, or if the operation was attached after it.
    """


@frozen
class PollFailed(Event):
    """A poll of an operation failed. Unless `is_final`, the poller continues."""

    hook: ClassVar[str] = "on_poll_failed"
    level: ClassVar[int] = logging.INFO

    ref: Ref
    """The ref of the operation."""

    error: VibeError
    """The failure."""

    is_final: bool
    """True if the waits for it end with this error. A later wait polls again."""

    is_shared: bool = False
    """True if another operation was polled: during an outage, one poll serves all due ones."""


@frozen
class ListPollingSuspended(Event):
    """A list was missing, unreadable, wrong or too costly, and is replaced by reads by id."""

    hook: ClassVar[str] = "on_list_polling_suspended"
    level: ClassVar[int] = logging.INFO

    operation: str
    """`list_runs` or `list_features`."""

    project: str
    """The project's id."""

    seconds: float
    """Duration of the suspension."""

    error: VibeError | None
    """The error of the list call; None if the list itself was wrong or too costly."""


@frozen
class Paused(Event):
    """The service limits the rate: nothing is sent during a pause.

    A single refusal delays its own request alone, and is no pause. A pause ends with `Resumed`. It
    lasts longer than `seconds` if the first request after it is refused too.
    """

    hook: ClassVar[str] = "on_pause"
    level: ClassVar[int] = logging.WARNING

    seconds: float
    """Minimum duration of the pause."""

    error: VibeError
    """The last refusal."""


@frozen
class Resumed(Event):
    """The service accepts requests after a pause: traffic resumes at its last good rate."""

    hook: ClassVar[str] = "on_resume"
    level: ClassVar[int] = logging.INFO

    server: str
    """The service's scheme and host, and path prefix."""


@frozen
class OutageStarted(Event):
    """The service does not answer: one operation or call failed twice, or no answer came for 10 s.

    It is down, under maintenance, or not reachable. Waits continue for up to `max_outage`, and
    batches hold their dispatches. The outage ends with `OutageEnded`.
    """

    hook: ClassVar[str] = "on_outage_started"
    level: ClassVar[int] = logging.WARNING

    server: str
    """The service's scheme and host, and path prefix."""

    error: VibeError
    """The last failure."""


@frozen
class OutageEnded(Event):
    """The service answers again after an outage."""

    hook: ClassVar[str] = "on_outage_ended"
    level: ClassVar[int] = logging.INFO

    server: str
    """The service's scheme and host, and path prefix."""

    seconds: float
    """Seconds since the first failure."""


@frozen(kw_only=True)
class Hooks:
    """Functions to call at events; each gets the event as its only argument.

    Each hook takes one function or several. If one fails, the others are still called.
    """

    on_dispatched: Subscribers[Dispatched] = None
    """An operation has its id. Called before anything else can fail: store the ref here."""

    on_dispatch_unknown: Subscribers[DispatchUnknown] = None
    """A dispatch whose effect is unknown. Called even if its caller was cancelled."""

    on_request: Subscribers[RequestFinished] = None
    """A request was answered, or failed."""

    on_retry: Subscribers[RetryScheduled] = None
    """A call that failed will be retried."""

    on_transition: Subscribers[StatusChanged] = None
    """The phase or status of an operation changed."""

    on_poll_failed: Subscribers[PollFailed] = None
    """A poll of an operation failed."""

    on_list_polling_suspended: Subscribers[ListPollingSuspended] = None
    """A list is suspended, and each operation is read by id."""

    on_pause: Subscribers[Paused] = None
    """The service limits the rate, and all requests wait."""

    on_resume: Subscribers[Resumed] = None
    """A pause has ended."""

    on_outage_started: Subscribers[OutageStarted] = None
    """The service does not answer."""

    on_outage_ended: Subscribers[OutageEnded] = None
    """The service answers again after an outage."""

    def __attrs_post_init__(self) -> None:
        """Reject values that are not callable, and async functions, which are never awaited."""
        for name in fields_dict(type(self)):
            for function in subscribers(self, name):
                if not callable(function):
                    raise ConfigError(f"the hook {name} must be a function, not {function!r}")
                if iscoroutinefunction(function):
                    raise ConfigError(
                        f"the hook {name} must be a plain function, not an async one, which "
                        "is not awaited: start a task in it, or put the event on a queue"
                    )


def subscribers(hooks: Hooks, name: str) -> Sequence[Callable[[Any], None]]:
    """Return the functions of a hook, such as `on_request`."""
    given = getattr(hooks, name)
    if isinstance(given, list | tuple):
        return cast("Sequence[Callable[[Any], None]]", given)
    return () if given is None else (given,)


class Emitter:
    """Reports events: calls the hooks of a client, records metrics, and logs."""

    def __init__(
        self, hooks: Hooks, others: Callable[[], Mapping[str, Callable[[Any], None]]] = dict
    ) -> None:
        """Create it.

        Args:
            hooks: The functions of the caller.
            others: Returns further functions, each by the name of its hook; called at each event.
        """
        self._functions = {name: subscribers(hooks, name) for name in fields_dict(Hooks)}
        self._others = others

    def is_enabled(self, kind: type[Event]) -> bool:
        """Return whether events of a kind have a hook or are logged."""
        hook = kind.hook
        return (
            bool(self._functions[hook]) or logger.isEnabledFor(kind.level) or hook in self._others()
        )

    def emit(self, event: Event) -> None:
        """Call the event's hooks, and log the event. A failure of a hook is only logged."""
        functions = self._functions[event.hook]
        if (other := self._others().get(event.hook)) is not None:
            functions = (other, *functions)
        for function in functions:
            try:
                if (result := function(event)) is not None:
                    _refuse_awaitable(result)
            except (Exception, CancelledError):  # noqa: BLE001 - it is logged, whatever it is
                _log(
                    logging.ERROR,
                    "the hook %s failed on %s",
                    event.hook,
                    _Line(event),
                    with_traceback=True,
                )
        if logger.isEnabledFor(event.level):
            _log(event.level, "%s", _Line(event), event=event)


def _refuse_awaitable(result: object) -> None:
    """Refuse the awaitable of an async hook that did not look like one, such as a `partial`.

    Raises:
        TypeError: The hook returned an awaitable.
    """
    if iscoroutine(result):
        result.close()
    if isawaitable(result):
        raise TypeError("it returned an awaitable, which is not awaited: start a task in the hook")


def _log(
    level: int,
    message: str,
    *values: object,
    with_traceback: bool = False,
    event: Event | None = None,
) -> None:
    """Log, and ignore a log filter or handler that fails.

    Args:
        level: The level of the record.
        message: The format of its text.
        values: The values for the format.
        with_traceback: True to add the exception that is being handled. Most events are emitted
            during an ordinary failure, which needs no traceback.
        event: The event whose fields become attributes of the record.
    """
    with suppress(Exception):
        extra = None if event is None else _extra(event)
        logger.log(level, message, *values, exc_info=with_traceback, extra=extra)


class _Line:
    """An event as one line of a log, formatted only if the log takes it."""

    __slots__ = ("event",)

    def __init__(self, event: Event) -> None:
        self.event = event

    def __str__(self) -> str:
        event = self.event
        values = (f"{name}={_shown(getattr(event, name))}" for name in fields_dict(type(event)))
        return escape(f"{type(event).__name__} {' '.join(values)}")


def _extra(event: Event) -> dict[str, object]:
    """Return an event's fields as attributes of a log record, each a text or a number."""
    found: dict[str, object] = {"testvibe_event": type(event).__name__}
    for name in fields_dict(type(event)):
        value = getattr(event, name)
        is_plain = value is None or isinstance(value, int | float)
        found[f"testvibe_{name}"] = value if is_plain else _text(value)
    return found


def _text(value: Any) -> str:  # noqa: ANN401 - whatever an event holds
    """Return a value of an event as one line: a ref as JSON, so that it can be attached to."""
    to_json = getattr(value, "to_json", None)
    return escape(str(value) if to_json is None else to_json())


def _shown(value: object) -> str:
    """Return a value as a log shows it: a float with three significant digits."""
    return str(float(f"{value:.3g}") if isinstance(value, float) else value)
