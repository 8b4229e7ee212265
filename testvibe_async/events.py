"""What happened, as values: handed to hooks, and logged as `testvibe_async`.

An event reports; it decides nothing. A hook is called at once, in the event loop, so it should be
quick and must not block. If it raises, that is logged, and nothing else is affected.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError
from contextlib import suppress
from inspect import isawaitable, iscoroutine, iscoroutinefunction
from typing import TYPE_CHECKING, Any, ClassVar, cast

from attrs import fields_dict, frozen

from testvibe_async._util import escape
from testvibe_async.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias, TypeVar

    from testvibe_async.errors import KindName, VibeError
    from testvibe_async.models import Generation, Run, Transition
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

told_logger: logging.LoggerAdapter[logging.Logger] = logging.LoggerAdapter(
    logger, {"testvibe_told": True}
)
"""The same, for warnings of which the results of the caller tell too: their records say so, so that
the command line does not print them as well."""


@frozen
class Event:
    """The base of all events."""

    hook: ClassVar[str]
    level: ClassVar[int] = logging.DEBUG


@frozen
class Dispatched(Event):
    """An operation was dispatched: the moment to store its ref."""

    hook: ClassVar[str] = "on_dispatched"
    level: ClassVar[int] = logging.INFO

    ref: Ref
    adopted: bool = False
    """Whether it was found by reconciling, because the answer to its dispatch was lost."""

    feature: int | str | None = None
    """The feature as it was asked for: its id or its name."""

    config: str | None = None
    """The run configuration that was asked for; None for the default one, or for a generation."""


@frozen
class DispatchUnknown(Event):
    """A dispatch was sent, its answer was lost, and its operation was not found.

    It may have taken effect: look at the service before dispatching again.
    """

    hook: ClassVar[str] = "on_dispatch_unknown"
    level: ClassVar[int] = logging.WARNING

    error: VibeError
    """The `DispatchUnknownError`, which is raised to the caller if there still is one."""

    kind: KindName
    """What was dispatched."""

    project: str
    feature: int | str
    """The feature as it was asked for: its id or its name."""

    config: str | None = None
    """The run configuration that was asked for; None for the default one, or for a generation."""


@frozen
class RequestFinished(Event):
    """A request was answered, or failed."""

    hook: ClassVar[str] = "on_request"

    operation: str
    """The service's name for the call, such as `get_run`."""

    method: str
    url: str
    status: int | None
    """The HTTP status; None where no whole answer came."""

    seconds: float
    """How long it took, without the wait for a free connection."""


@frozen
class RetryScheduled(Event):
    """A call failed on the way and will be retried."""

    hook: ClassVar[str] = "on_retry"
    level: ClassVar[int] = logging.INFO

    operation: str
    error: VibeError
    attempt: int
    """The number of the attempt that failed, from 1."""

    delay: float
    """Seconds until the next."""


@frozen
class StatusChanged(Event):
    """An operation's phase or status changed."""

    hook: ClassVar[str] = "on_transition"
    level: ClassVar[int] = logging.INFO

    ref: Ref
    transition: Transition[Run | Generation]


@frozen
class PollFailed(Event):
    """A poll of an operation failed. Unless `is_final`, the poller continues."""

    hook: ClassVar[str] = "on_poll_failed"
    level: ClassVar[int] = logging.INFO

    ref: Ref
    error: VibeError
    is_final: bool
    """Whether the waits for it end with this error. A later wait polls again."""

    is_shared: bool = False
    """Whether another operation was polled, for this one too: during an outage one poll asks for
    all that are due."""


@frozen
class ListPollingSuspended(Event):
    """A list was missing, unreadable, wrong or too costly: reads by id take its place."""

    hook: ClassVar[str] = "on_list_polling_suspended"
    level: ClassVar[int] = logging.INFO

    operation: str
    """`list_runs` or `list_features`."""

    project: str
    seconds: float
    """For how long."""

    error: VibeError | None
    """What the list call raised; None where the list came, and was wrong or too costly."""


@frozen
class Paused(Event):
    """The service refuses requests for their rate: nothing is sent for a while.

    One refusal among many answers delays its own request alone, and is no pause. A pause ends with
    `Resumed`; it may last longer than `seconds` where the first request after it is refused too.
    """

    hook: ClassVar[str] = "on_pause"
    level: ClassVar[int] = logging.WARNING

    seconds: float
    error: VibeError
    """The last of the refusals."""


@frozen
class Resumed(Event):
    """The service accepts requests again after a pause: traffic goes on, at its last good rate."""

    hook: ClassVar[str] = "on_resume"
    level: ClassVar[int] = logging.INFO

    server: str
    """The service's scheme and host, and path prefix."""


@frozen
class OutageStarted(Event):
    """No poll is answered: two polls of an operation failed, and none was answered in between.

    The service is down or under maintenance, or not reachable. Waits continue for up to
    `max_outage`. It ends with `OutageEnded`.
    """

    hook: ClassVar[str] = "on_outage_started"
    level: ClassVar[int] = logging.WARNING

    server: str
    """The service's scheme and host, and path prefix."""

    error: VibeError
    """What came in place of the last answer."""


@frozen
class OutageEnded(Event):
    """A poll is answered again."""

    hook: ClassVar[str] = "on_outage_ended"
    level: ClassVar[int] = logging.INFO

    server: str
    """The service's scheme and host, and path prefix."""

    seconds: float
    """Time since the first poll that failed."""


@frozen(kw_only=True)
class Hooks:
    """Functions to call when something happens; each gets the event as its only argument.

    For each event one function or several; where one fails, the others are called all the same.
    """

    on_dispatched: Subscribers[Dispatched] = None
    """An operation has its id. Called before anything else can go wrong: store the ref here."""

    on_dispatch_unknown: Subscribers[DispatchUnknown] = None
    """Nobody knows whether a dispatch took effect. Called also if its caller was cancelled."""

    on_request: Subscribers[RequestFinished] = None
    """A request was answered, or failed."""

    on_retry: Subscribers[RetryScheduled] = None
    """A call that failed will be retried."""

    on_transition: Subscribers[StatusChanged] = None
    """The phase or status of an operation changed."""

    on_poll_failed: Subscribers[PollFailed] = None
    """A poll of an operation failed."""

    on_list_polling_suspended: Subscribers[ListPollingSuspended] = None
    """A list is suspended for a while, and each operation is read by id."""

    on_pause: Subscribers[Paused] = None
    """The service refuses requests for their rate, and all of them wait."""

    on_resume: Subscribers[Resumed] = None
    """The pause is over."""

    on_outage_started: Subscribers[OutageStarted] = None
    """No poll is answered."""

    on_outage_ended: Subscribers[OutageEnded] = None
    """A poll is answered again."""

    def __attrs_post_init__(self) -> None:
        """Refuse what can't be called, and async functions, which would never run."""
        for name in fields_dict(type(self)):
            for function in subscribers(self, name):
                if not callable(function):
                    raise ConfigError(f"the hook {name} must be a function, not {function!r}")
                if iscoroutinefunction(function):
                    raise ConfigError(
                        f"the hook {name} must be a plain function, not an async one: nobody "
                        "awaits it; let it start a task, or put the event on a queue"
                    )


def subscribers(hooks: Hooks, name: str) -> Sequence[Callable[[Any], None]]:
    """Return the functions of a hook, such as `on_request`."""
    given = getattr(hooks, name)
    if isinstance(given, list | tuple):
        return cast("Sequence[Callable[[Any], None]]", given)
    return () if given is None else (given,)


class Emitter:
    """Reports events: calls the hooks of a client, and logs."""

    def __init__(self, hooks: Hooks) -> None:
        self._functions = {name: subscribers(hooks, name) for name in fields_dict(Hooks)}

    def is_enabled(self, kind: type[Event]) -> bool:
        """Return whether events of a kind have a hook or are logged, and so need to be made."""
        return bool(self._functions[kind.hook]) or logger.isEnabledFor(kind.level)

    def emit(self, event: Event) -> None:
        """Call the event's hooks, and log the event. A failure of any is logged at most."""
        for function in self._functions[event.hook]:
            try:
                _refuse_awaitable(function(event))
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
        TypeError: The hook returned an awaitable, which nobody awaits.
    """
    if iscoroutine(result):
        result.close()
    if isawaitable(result):
        raise TypeError("it returned an awaitable, and nobody awaits it: let it start a task")


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
        message: Its format.
        values: What the format takes.
        with_traceback: Whether to add the exception that is being handled. Most events are emitted
            while an ordinary failure is, which is no defect and needs no traceback.
        event: The event whose fields are to be attributes of the record.
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
