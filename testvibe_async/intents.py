"""Intents: what is stored before a dispatch is sent, so that a crash loses none.

An intent says what is about to be dispatched, and what was known of the service just before. With
it `client.reconcile` finds out what became of the dispatch, in another process or on another day.
It is a value without secrets; a `Recorder` stores it.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, Self, get_args

from attrs import asdict, evolve, field, frozen
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
"""How old an intent may be when its request is written: what took longer to record is not sent."""

_VERSION = 1


@frozen(kw_only=True)
class Intent(Serializable):
    """One attempt to dispatch a run or a generation, as it was before its first byte was sent."""

    id: str = field(validator=instance_of(str))
    """A name that no other intent has."""

    kind: KindName = field(validator=in_(get_args(KindName)))
    """What is dispatched."""

    server: str = field(validator=instance_of(str))
    """The service's scheme and host, and path prefix if it has one."""

    project: str = field(validator=instance_of(str))
    """The project's id."""

    feature: int | str = field(validator=instance_of((int, str)))
    """The feature as it was asked for: its id or its name."""

    config: str | None = field(default=None, validator=optional(instance_of(str)))
    """The run configuration that was asked for; None for the default one, or for a generation."""

    site_url: str | None = field(default=None, validator=optional(instance_of(str)))
    """The site that was asked for; None for the project's own."""

    intended_at: datetime = field(validator=is_aware)
    """When it was made, by the local clock, in UTC."""

    service_at: datetime | None = field(default=None, validator=is_aware)
    """The same by the service's clock, good to about a second; None where that is not known."""

    timeout: float = field(validator=instance_of((int, float)))
    """Seconds that its request may take."""

    highest_run_id: int | None = field(default=None, validator=optional(instance_of(int)))
    """The highest `runId` of the project that was seen before; None where none was. For a run."""

    known_run_id: int | None = field(default=None, validator=optional(instance_of(int)))
    """A `runId` of the project that was seen before, where no list shows the highest. For a run."""

    previous_id: str | None = field(default=None, validator=optional(instance_of(str)))
    """The `requestId` of the feature's latest generation before. For a generation."""

    is_previous_known: bool = field(default=False, validator=instance_of(bool))
    """Whether `previous_id` is known; it is None also where there was no generation before."""

    is_accepted: bool = field(default=False, validator=instance_of(bool))
    """Whether the service accepted it with an answer whose id could not be read: it started."""

    traceparent: str | None = field(default=None, converter=checked_traceparent, repr=False)
    """The span of its dispatch, as W3C's Trace Context writes it; None where none was recorded."""

    @property
    def expires_after(self) -> timedelta:
        """Time after `intended_at` from which nothing of it can begin any more."""
        return timedelta(seconds=INTENT_SECONDS + self.timeout)

    def covering(self, later: Intent) -> Intent:
        """Return an intent of this attempt and of a later one of the same dispatch."""
        seconds = (later.intended_at - self.intended_at).total_seconds()
        return evolve(
            self,
            timeout=later.timeout + max(0.0, seconds),
            is_accepted=self.is_accepted or later.is_accepted,
        )

    def __str__(self) -> str:
        """Return the name that messages use."""
        return f"the dispatch of a {self.kind} of feature {self.feature!r}"

    def to_json(self) -> str:
        """Return the intent as one line of JSON, for `from_json`."""
        return json.dumps(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the intent as a new plain dict: what `to_json` writes."""
        return super().to_dict()

    def _document(self, *, nulls: bool) -> dict[str, Any]:  # noqa: ARG002 - it is written whole
        document = asdict(self)
        document["intended_at"] = self.intended_at.isoformat()
        document["service_at"] = self.service_at and self.service_at.isoformat()
        if self.traceparent is None:
            del document["traceparent"]
        if self.known_run_id is None:
            del document["known_run_id"]
        if not self.is_accepted:
            del document["is_accepted"]
        return {"testvibe": "intent", "version": _VERSION, **document}

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read an intent that `to_json` wrote.

        Raises:
            ConfigError: It is no intent, or of another version.
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
    """Stores what is about to be dispatched, and what came of it: `Client(recorder=...)`.

    An intent without `dispatched` or `not_dispatched` is open: after a crash, or where the answer
    was lost, `client.reconcile` decides it. The methods run in the event loop, at once for many
    dispatches.
    """

    async def intended(self, intent: Intent) -> None:
        """Store an intent. Its request is written when this returns, within 5 s, or never.

        It is called on each attempt, with the connection had and nothing written yet. What it
        raises stops the dispatch with a `RecorderError`.
        """

    async def dispatched(self, intent: Intent, ref: Ref) -> None:
        """Note the operation that a dispatch started; what this raises is logged with the ref."""

    async def not_dispatched(self, intent: Intent, error: VibeError) -> None:
        """Note that nothing began: it provably was not sent, or was refused. Raises as before."""


def checked_recorder(recorder: Recorder | None) -> Recorder | None:
    """Return a recorder, if it has the methods of one.

    Raises:
        ConfigError: It has not.
    """
    names = ("intended", "dispatched", "not_dispatched")
    lacking = [name for name in names if not callable(getattr(recorder, name, None))]
    if recorder is not None and lacking:
        raise ConfigError(
            f"a recorder needs the method {lacking[0]}, which {type(recorder).__name__} lacks: "
            "pass an object with the methods of testvibe_async.intents.Recorder"
        )
    return recorder
