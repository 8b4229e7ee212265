"""How services limit traffic: each model says which request it refuses, at which time. No I/O."""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf
from random import Random
from typing import Protocol

from attrs import define, field, frozen

__all__ = ["AtOnce", "Bucket", "Chance", "Limit", "NoLimit", "Numbers", "Outage", "Steps"]


class Limit(Protocol):
    """One service's limit; made anew for each trial."""

    def refuses(self, now: float) -> bool:
        """Say whether a request that arrives now is refused.

        Args:
            now: Seconds since the service began, never less than before.
        """
        ...

    def allowed(self, seconds: float) -> float:
        """Return how many requests may be accepted in so many seconds from the start."""
        ...


class NoLimit:
    """Everything is accepted."""

    def refuses(self, now: float) -> bool:  # noqa: ARG002
        """Refuse nothing."""
        return False

    def allowed(self, seconds: float) -> float:  # noqa: ARG002
        """Allow any number."""
        return inf


@define
class Numbers(NoLimit):
    """Some requests are refused, by their numbers, from 1."""

    refused: range
    _count: int = 0

    def refuses(self, now: float) -> bool:  # noqa: ARG002
        """Count it."""
        self._count += 1
        return self._count in self.refused


@define
class Chance(NoLimit):
    """A share of all requests is refused, by chance."""

    share: float
    seed: int
    _random: Random = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Seed it."""
        self._random = Random(self.seed)  # noqa: S311 - spreads refusals, guards nothing

    def refuses(self, now: float) -> bool:  # noqa: ARG002
        """Draw."""
        return self._random.random() < self.share


@define
class Bucket:
    """So many requests a second are accepted, and as many at once after a quiet second."""

    rate: float
    _left: float = field(init=False)
    _filled_at: float = 0.0

    def __attrs_post_init__(self) -> None:
        """Fill it."""
        self._left = self.rate

    def refuses(self, now: float) -> bool:
        """Take a token, if there is one."""
        self._left = min(self.rate, self._left + (now - self._filled_at) * self.rate)
        self._filled_at = now
        if self._left < 1:
            return True
        self._left -= 1
        return False

    def allowed(self, seconds: float) -> float:
        """Count the burst at the start."""
        return self.rate * (1 + seconds)


@define
class Steps:
    """A bucket whose rate changes at some times."""

    rates: tuple[tuple[float, float], ...]
    """Rates, and until when each holds."""
    _bucket: Bucket = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Fill it."""
        self._bucket = Bucket(self.rates[0][0])

    def refuses(self, now: float) -> bool:
        """Take a token, if there is one."""
        self._bucket.rate = next(rate for rate, until in self.rates if now < until)
        return self._bucket.refuses(now)

    def allowed(self, seconds: float) -> float:
        """Add up the steps."""
        total, began = self.rates[0][0], 0.0
        for rate, until in self.rates:
            total += rate * max(0.0, min(seconds, until) - began)
            began = until
        return total


@define
class AtOnce:
    """So many requests are served at once, each for some time; more are refused."""

    slots: int
    service_seconds: float
    _ends: list[float] = field(factory=list[float])

    def refuses(self, now: float) -> bool:
        """Take a slot, if one is free."""
        while self._ends and self._ends[0] <= now + 1e-9:
            heappop(self._ends)
        if len(self._ends) >= self.slots:
            return True
        heappush(self._ends, now + self.service_seconds)
        return False

    def allowed(self, seconds: float) -> float:
        """Count with all slots taken all the time."""
        return seconds * self.slots / self.service_seconds


@frozen
class Outage(NoLimit):
    """Everything is refused for a while."""

    began: float
    ended: float

    def refuses(self, now: float) -> bool:
        """Refuse it during the outage."""
        return self.began <= now < self.ended
