"""Intents: the records that are stored before a dispatch is sent, so that a crash loses none.

An intent describes a dispatch that is about to be sent, and the state of the service just before.
With it, `client.reconcile` determines the fate of the dispatch, in another process or on another
day. It is a value without secrets; a `Recorder` stores it.
"""

from __future__ import annotations

import json
from datetime import datetime  # noqa: TC003 - `get_type_hints` needs it
from typing import TYPE_CHECKING, Any, Protocol, Self, get_args

from attrs import field, frozen
from attrs.validators import in_, instance_of, optional

from testvibe_async._util.serialization import Serializable
from testvibe_async.errors import ConfigError, KindName
from testvibe_async.refs import build_stored, checked_traceparent, is_aware, read_stored

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testvibe_async.errors import VibeError
    from testvibe_async.refs import Ref

__all__ = ["Intent", "Recorder"]

INTENT_SECONDS = 5.0
"""Maximum age in seconds of an intent when its request is written; an older one is not sent."""

LATE_SECONDS = 60.0
"""Minimum seconds that a service may take to act on a request; nothing can check it."""

_VERSION = 3


@frozen(kw_only=True)
class Intent(Serializable):
    """One attempt to dispatch a run or a generation, recorded before its first byte is sent."""

    id: str = field(validator=instance_of(str))
    """The unique id of the intent."""

    kind: KindName = field(validator=in_(get_args(KindName)))
    """The kind of the operation."""

    server: str = field(validator=instance_of(str))
    """The service's scheme and host, and its path prefix, if any."""

    project: str = field(validator=instance_of(str))
    """The project's id."""

    feature: int | str = field(validator=instance_of((int, str)))
    """The feature as requested: its id or its name."""

    config: str | None = field(default=None, validator=optional(instance_of(str)))
    """The requested run configuration; None for the default, or for a generation."""

    site_url: str | None = field(default=None, validator=optional(instance_of(str)))
    """The requested site; None for the project's own."""

    intended_at: datetime = field(validator=is_aware)
    """The time of its creation, by the local clock, in UTC."""

    service_at: datetime | None = field(default=None, validator=is_aware)
    """The same by the service's clock, accurate to about a second; None if it is not known."""

    expires_after: float = field(validator=instance_of((int, float)))
    """Seconds after `intended_at` after which it can't start an operation any more.

    A service may begin a request after the client has given it up: it is allowed a minute, or twice
    the time-out of the request, if that is longer.
    """

    highest_run_id: int | None = field(default=None, validator=optional(instance_of(int)))
    """The highest `runId` of the project before, 0 for no run; None if no list showed it. For a
    run."""

    known_run_id: int | None = field(default=None, validator=optional(instance_of(int)))
    """A `runId` of the project that was seen before, where no list shows the highest. For a run."""

    previous_id: str | None = field(default=None, validator=optional(instance_of(str)))
    """The `requestId` of the feature's latest generation before. For a generation."""

    is_previous_known: bool = field(default=False, validator=instance_of(bool))
    """True if `previous_id` is known; it is also None if there was no generation before."""

    is_accepted: bool = field(default=False, validator=instance_of(bool))
    """True if the service accepted it with an answer whose id can't be read, so that it started."""

    traceparent: str | None = field(default=None, converter=checked_traceparent, repr=False)
    """The span of its dispatch, in W3C Trace Context format; None if none was recorded."""

    def __str__(self) -> str:
        """Return the name that messages use."""
        return f"the dispatch of a {self.kind} of feature {self.feature!r}"

    def to_json(self) -> str:
        """Return the intent as one line of JSON, for `from_json`."""
        return json.dumps(self.to_dict())

    def _members(self) -> dict[str, object]:
        return {"testvibe": "intent", "version": _VERSION, **super()._members()}

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read an intent that `to_json` wrote.

        Raises:
            ConfigError: The text is not an intent, or has another version.
        """
        return cls.from_dict(read_stored(text, "an intent of a dispatch"))

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Read an intent that `to_dict` wrote; see `from_json`."""
        if document.get("testvibe") != "intent":
            raise ConfigError(
                'this is not an intent of a dispatch: "testvibe" does not say "intent"'
            )
        return build_stored(cls, document, "intent of a dispatch", version=_VERSION)


class Recorder(Protocol):
    """Stores the intents of dispatches and their results: `Client(recorder=...)`.

    An intent without `dispatched` or `not_dispatched` is open. After a crash or a lost answer,
    `client.reconcile` decides it. The methods run in the event loop, concurrently for many
    dispatches.
    """

    async def intended(self, intent: Intent) -> None:
        """Store an intent. Unless this returns within 5 s, its request is not written.

        It is called for each attempt, once there is a connection and before anything is written. An
        error from it stops the dispatch with a `testvibe_async.RecorderError`.
        """

    async def dispatched(self, intent: Intent, ref: Ref) -> None:
        """Store the operation that a dispatch started. An error is logged, with the ref."""

    async def not_dispatched(self, intent: Intent, error: VibeError) -> None:
        """Store that nothing started: it was not sent, or was refused. An error is logged."""


def checked_recorder(recorder: Recorder | None) -> Recorder | None:
    """Return a recorder, if it has the methods of one.

    Raises:
        ConfigError: A method is missing.
    """
    if recorder is None:
        return None
    names = ("intended", "dispatched", "not_dispatched")
    lacking = [name for name in names if not callable(getattr(recorder, name, None))]
    if lacking:
        raise ConfigError(
            f"a recorder needs the method {lacking[0]}, which {type(recorder).__name__} lacks: "
            "pass an object with the methods of testvibe_async.intents.Recorder"
        )
    return recorder
