"""Refs: serializable references to operations.

A ref identifies an operation and its server, without secrets and state. It is a value that can be
stored, sent and compared. `client.attach(ref)` returns a handle, in another process or on another
day.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast

from attrs import NOTHING, field, fields_dict, frozen
from attrs.validators import optional

from testvibe_async._core.util import plain
from testvibe_async._core.util.serialization import Serializable, wire_name
from testvibe_async.errors import ConfigError, KindName

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["GenerationRef", "Ref", "RunRef"]

T = TypeVar("T")

_VERSION = 2

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""https://www.w3.org/TR/trace-context/#traceparent-header"""


def _is_text(_ref: object, field: Any, value: Any) -> None:  # noqa: ANN401 - attrs' own
    if not isinstance(value, str) or not value:
        raise TypeError(f"{field.name!r} must be a text, not {value!r}")


def _is_id(_ref: object, field: Any, value: Any) -> None:  # noqa: ANN401 - attrs' own
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{field.name!r} must be a whole number, not {value!r}")


def is_aware(_value: object, field: Any, value: Any) -> None:  # noqa: ANN401 - attrs' own
    """Check that an instant has a time zone."""
    if value is not None and (not isinstance(value, datetime) or value.tzinfo is None):
        raise TypeError(f"{field.name!r} must be a datetime with a time zone, not {value!r}")


def checked_traceparent(value: object) -> str | None:
    """Return the stored context of a span; None if it is not one, since it may be forged."""
    is_good = isinstance(value, str) and _TRACEPARENT.fullmatch(value)
    return cast("str", value) if is_good else None


@frozen(kw_only=True)
class Ref(Serializable, ABC):
    """A reference to one operation: a `RunRef` or a `GenerationRef`."""

    kind: ClassVar[KindName]

    server: str = field(validator=_is_text)
    """The service's scheme and host, and its path prefix, if any, as in `https://testvibe.example`."""

    project: str = field(validator=_is_text)
    """The project's id."""

    dispatched_at: datetime | None = field(default=None, validator=is_aware, eq=False)
    """The time when this client dispatched it, by the local clock, in UTC; None if it did not."""

    traceparent: str | None = field(
        default=None, converter=checked_traceparent, eq=False, repr=False
    )
    """The span of its dispatch, in W3C Trace Context format; None if none was recorded."""

    @property
    @abstractmethod
    def key(self) -> tuple[object, ...]:
        """The operation's identity among all operations of its server."""

    def to_json(self) -> str:
        """Return the ref as one line of JSON, for `from_json`."""
        return json.dumps(self.to_dict())

    def _members(self) -> dict[str, object]:
        return {"testvibe": self.kind, "version": _VERSION, **super()._members()}

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a ref that `to_json` wrote.

        Args:
            text: The JSON. `Ref.from_json` reads either kind of ref.

        Raises:
            ConfigError: The text is not a ref, or has another version, or another kind than
                requested.
        """
        return cls.from_dict(read_stored(text, "a ref of an operation"))

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Read a ref that `to_dict` wrote; see `from_json`."""
        kind = _KINDS.get(str(document.get("testvibe")))
        if kind is None:
            kinds = " or ".join(f'"{each}"' for each in _KINDS)
            raise ConfigError(f'this is not a ref of an operation: "testvibe" does not say {kinds}')
        ref = build_stored(kind, document, f"ref of a {kind.kind}", version=_VERSION)
        if not isinstance(ref, cls):
            raise ConfigError(f"this is the ref of a {ref.kind}; a {cls.kind}'s is needed here")
        return ref


@frozen(kw_only=True)
class RunRef(Ref):
    """A reference to one run."""

    kind: ClassVar[KindName] = "run"

    run_id: int = field(validator=_is_id)
    """The service's `runId`."""

    feature_id: int | None = field(default=None, validator=optional(_is_id), eq=False)
    """The feature's id; None if it is not known."""

    @property
    def key(self) -> tuple[object, ...]:
        """The operation's identity among all operations of its server."""
        return self.kind, self.project, self.run_id

    def __str__(self) -> str:
        """Return the name that messages use."""
        return f"run {self.run_id}"


@frozen(kw_only=True)
class GenerationRef(Ref):
    """A reference to one generation.

    The service shows only a feature's latest generation, so the feature is part of the reference.
    """

    kind: ClassVar[KindName] = "generation"

    request_id: str = field(validator=_is_text)
    """The service's `requestId`."""

    feature_id: int = field(validator=_is_id, eq=False)
    """The feature's id."""

    @property
    def key(self) -> tuple[object, ...]:
        """The operation's identity among all operations of its server."""
        return self.kind, self.project, self.feature_id, self.request_id

    def __str__(self) -> str:
        """Return the name that messages use."""
        return f"generation {plain(self.request_id)} of feature {self.feature_id}"


_KINDS: dict[object, type[Ref]] = {kind.kind: kind for kind in (RunRef, GenerationRef)}


def read_stored(text: str | bytes, what: str) -> dict[str, Any]:
    """Return the document of a value stored as JSON; an empty one if it is not an object.

    Args:
        text: The stored text.
        what: The name of the expected value, for the error: `a ref of an operation`.

    Raises:
        ConfigError: It is not JSON.
    """
    try:
        document = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"this is not {what}: it is not JSON") from error
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}


def build_stored(
    kind: type[T],
    document: Mapping[str, Any],
    what: str,
    *,
    version: int,
    name: Callable[[str], str] = wire_name,
) -> T:
    """Return the value of a document, without fields that this release does not know.

    Args:
        kind: Its attrs class.
        document: The stored document.
        what: The name of the value, for the error: `ref of a run`.
        version: The version that this release reads.
        name: Returns the name in the document of a field.

    Raises:
        ConfigError: The document has another version, or is damaged.
    """
    if document.get("version") != version:
        raise ConfigError(
            f"this {what.partition(' ')[0]} is of version {document.get('version')!r}, and this "
            f"release reads version {version}: read it with the release that wrote it, or a newer "
            "one"
        )
    known = fields_dict(cast("type[Any]", kind))
    names = {each: name(each) for each in known}
    values = {each: document[wire] for each, wire in names.items() if wire in document}
    lacking = [
        names[each]
        for each, attribute in known.items()
        if attribute.default is NOTHING and each not in values
    ]
    if lacking:
        raise ConfigError(f"this {what} is damaged: it lacks {', '.join(lacking)}")
    try:
        for each, attribute in known.items():
            if attribute.validator is is_aware and values.get(each) is not None:
                values[each] = datetime.fromisoformat(values[each])
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"this {what} is damaged: {error}") from error
