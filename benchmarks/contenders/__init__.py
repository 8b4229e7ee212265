"""The contenders: each dispatches a number of runs and returns their outcomes, in order.

Each contender is a module with one function, `contend`. It opens what the contender keeps open
and yields a fan-out: a function that takes the features to run, calls `seen` with every outcome as
soon as its waiter has it, and returns them all. Each is written as its documentation recommends,
and tuned in its favour. All except one use the same number of connections, `CONNECTIONS`, and may
assume that nothing fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import TypeAlias, cast

from attrs import frozen

__all__ = ["CONNECTIONS", "Contend", "FanOut", "Seen", "Service", "load"]

CONNECTIONS = 32
"""How many connections to the service each contender may open."""

Seen: TypeAlias = Callable[[int, str], None]
"""Takes a run's id and final status, as soon as the waiter has both."""

FanOut: TypeAlias = Callable[[Sequence[int], Seen], Awaitable[Sequence[object]]]
"""Runs features by their ids and returns the outcomes in that order."""


@frozen
class Service:
    """The address and credentials of the service."""

    url: str
    """Scheme, host and port."""

    api_key: str
    project: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every request."""
        return {"Authorization": f"Bearer {self.api_key}", "Accept": "application/json"}

    def run_url(self, run: int) -> str:
        """Return the URL of a run."""
        return f"{self.url}/api/v1/ops/projects/{self.project}/runs/{run}"

    def list_url(self, limit: int) -> str:
        """Return the URL of the list of the latest runs."""
        return f"{self.url}/api/v1/ops/projects/{self.project}/runs?limit={limit}"

    def dispatch_url(self, feature: int) -> str:
        """Return the URL that dispatches a run."""
        return f"{self.url}/api/v1/ops/projects/{self.project}/features/{feature}/run"


Contend: TypeAlias = Callable[[Service, float], AbstractAsyncContextManager[FanOut]]
"""Opens a contender for a service and a poll interval in seconds."""


def load(module: str) -> Contend:
    """Import one contender, and none of the others."""
    return cast("Contend", import_module(f"benchmarks.contenders.{module}").contend)
