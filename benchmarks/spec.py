"""The parameters of one trial: contender, load and service. Passed to the processes as JSON."""

from __future__ import annotations

import json
from typing import Any

from attrs import asdict, frozen

__all__ = ["Load", "Spec"]


@frozen(kw_only=True)
class Load:
    """The work, and the service's behaviour."""

    operations: int
    interval: float
    """Seconds between two polls of a run."""

    durations: tuple[float, float]
    """Seconds that a run takes, drawn evenly between these."""

    seed: int = 1
    """The same seed gives the same durations and verdicts to every contender."""

    lists: bool = True
    """Whether the service has the list routes, which its documentation does not show."""

    timeout: float = 180.0
    """Seconds after which the trial is abandoned."""


@frozen(kw_only=True)
class Spec:
    """One trial."""

    contender: str
    """A module of `benchmarks.contenders`."""

    load: Load
    collector: str = "as it is"
    """How the client's process sets the garbage collector, see `worker`."""

    opentelemetry: bool = False
    """Whether OpenTelemetry can be imported; it can't after `pip install testvibe-async`."""

    def to_json(self) -> str:
        """Serialize it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """Read what `to_json` wrote."""
        document: dict[str, Any] = json.loads(text)
        load = document.pop("load")
        load["durations"] = tuple(load["durations"])
        return cls(load=Load(**load), **document)
