"""The rate at which requests may start, given the service's recent refusals. Pure: it has no clock.

A refusal is an answer that says "too many requests": 429, 503 with `Retry-After`, or a 403 that
limits a rate. A single refusal delays its own request alone. A share of refusals pauses all
requests. After the pause, one probe is sent; when it is accepted, the rate resumes just below the
last good rate. From there, it grows along a cubic curve, as in CUBIC (RFC 9438): flat around the
last good rate, and ever faster beyond it, until nothing limits it. The constants were found by
simulation, see `tests/rooms/http/test_pace.py`.
"""

from __future__ import annotations

from collections import deque
from math import inf

WINDOW_ANSWERS = 64
"""Number of recent answers over which the share of refusals is counted."""

WINDOW_SECONDS = 2.0
"""Maximum age in seconds of an answer that is counted."""

TRIP_SHARE = 0.25
"""Share of refusals from which all requests pause."""

TRIP_COUNT = 3
"""Minimum number of refusals for a pause: fewer may be chance."""

HOLD_SHARE = 0.03
"""Share of refusals from which the present rate counts as the limit, and does not grow."""

BETA = 0.9
"""Fraction of the last good rate at which traffic resumes after a pause."""

MIN_RATE = 5.0
"""Minimum rate in requests a second."""

MIN_FLAT_SECONDS = 0.5
"""Seconds in which the rate regains the last good one after a first pause; doubled by each."""

MAX_FLAT_SECONDS = 4.0

FREE_FACTOR = 20.0
"""Multiple of the last good rate at which the rate is no longer limited."""

DEFAULT_PAUSE = 1.0
"""Seconds of a pause if no refusal has a `Retry-After`."""

COUNTED_SECONDS = 10.0
"""Seconds of each of the two latest periods over which the good rate is measured."""

PROBE_SECONDS = 5.0
"""Seconds to wait for the answer to a probe before another is sent."""


class Pace:
    """The pace of one client's requests to one service."""

    def __init__(self) -> None:
        self._answers: deque[tuple[float, bool]] = deque()
        """The time of each recent answer, and True for a refusal."""
        self._refused = 0
        """Number of refusals among the recent answers."""
        self._paused_until = -inf
        self._is_probing = False
        """True while only a probe may be sent after the pause."""
        self._probe_until = -inf
        """The instant until which to wait for the answer to a probe."""
        self._good_rate = inf
        """The last good rate; infinite if no rate was too high."""
        self._flat_seconds = MIN_FLAT_SECONDS
        self._began = 0.0
        """The start of the curve, at `BETA` of the good rate."""
        self._accepted = 0
        """Number of accepted requests since `_counted_from`."""
        self._counted_from: float | None = None
        self._before = 0, 0.0
        """Number of accepted requests, and the seconds, of the previous period."""
        self._counted_until = 0.0
        """The instant until which the good rate is measured, during a pause."""
        self._next_start = -inf
        self.is_free: bool = True
        """True if nothing limits the rate."""

    def earliest_start(self, now: float) -> float:
        """Return when the next request may start: now, later, or after the probe's answer."""
        if self._is_probing:
            return max(now, self._paused_until, self._probe_until)
        return now if self._is_unlimited(now) else max(now, self._next_start)

    def start(self, now: float) -> bool:
        """Note that a request starts; return whether it is the probe after a pause."""
        if self._is_probing:
            self._probe_until = now + PROBE_SECONDS
        elif self._good_rate != inf:
            # An unused rate is not made up for by a burst.
            self._next_start = max(self._next_start, now) + 1 / self._rate(now)
        return self._is_probing

    def abandon_probe(self) -> None:
        """Allow another probe: the last one ended without an answer."""
        self._probe_until = -inf

    def accept(self, now: float) -> bool:
        """Note an answer that is not a refusal; return whether it ends a pause.

        Args:
            now: The time of the answer.
        """
        # Inlined, unlike `_note_refusal`: nearly all answers come here.
        answers = self._answers
        answers.append((now, False))
        oldest = now - WINDOW_SECONDS
        while len(answers) > WINDOW_ANSWERS or answers[0][0] < oldest:
            self._refused -= answers.popleft()[1]
        if self._counted_from is None or now - self._counted_from > COUNTED_SECONDS:
            self._restart_period(now)
        self._accepted += 1
        if not self._is_probing or now < self._paused_until:
            return False
        self._good_rate = self._measured(self._counted_until)
        self._flat_seconds = min(MAX_FLAT_SECONDS, 2 * self._flat_seconds)
        self._is_probing, self._probe_until = False, -inf
        self.is_free = self._good_rate == inf
        self._began = self._next_start = now
        self._restart_counts(self._counted_until)
        return True

    def refuse(self, now: float, *, retry_after: float | None) -> float | None:
        """Note a refusal; return the seconds for which all requests pause, if a pause begins.

        Args:
            now: The time of the refusal.
            retry_after: The seconds that the refusal asks for; None if it does not say.
        """
        self._note_refusal(now)
        seconds = DEFAULT_PAUSE if retry_after is None else retry_after
        if self._is_probing:
            # Refusals that were under way when the pause began only make it longer.
            self._paused_until = max(self._paused_until, now + seconds)
            self._probe_until = -inf
            return None
        share = self._refused / len(self._answers)
        if self._refused < TRIP_COUNT or share < TRIP_SHARE:
            if share >= HOLD_SHARE and self._good_rate != inf:
                self._keep_rate(now)
            return None
        # If nothing was limited, an initial burst was accepted: the pause that paid for it counts
        # too.
        self._counted_until = now + (seconds if self._good_rate == inf else 0.0)
        self._paused_until, self._is_probing, self._probe_until = now + seconds, True, -inf
        self.is_free = False
        return seconds

    def _restart_period(self, now: float) -> None:
        """Start another period of counting, unless the rate of the last one is still needed."""
        if self._counted_from is None:
            self._counted_from = now
        elif not self._is_probing:
            self._before = self._accepted, now - self._counted_from
            self._accepted, self._counted_from = 0, now

    def _note_refusal(self, now: float) -> None:
        if self._counted_from is None or now - self._counted_from > COUNTED_SECONDS:
            self._restart_period(now)
        self._answers.append((now, True))
        self._refused += 1
        while len(self._answers) > WINDOW_ANSWERS or self._answers[0][0] < now - WINDOW_SECONDS:
            self._refused -= self._answers.popleft()[1]

    def _restart_counts(self, now: float) -> None:
        self._answers.clear()
        self._refused = self._accepted = 0
        self._before = 0, 0.0
        self._counted_from = now

    def _measured(self, now: float) -> float:
        """Return the rate at which requests were accepted since the last pause."""
        assert self._counted_from is not None
        count, seconds = self._before
        seconds += now - self._counted_from
        return max(MIN_RATE, (count + self._accepted) / seconds) if seconds > 0 else MIN_RATE

    def _keep_rate(self, now: float) -> None:
        """Keep the present rate: a limit that is fully used costs some refusals."""
        self._good_rate = max(MIN_RATE, self._rate(now))
        self._began = now - self._flat_seconds

    def _is_unlimited(self, now: float) -> bool:
        if self._good_rate != inf and self._rate(now) >= FREE_FACTOR * self._good_rate:
            self._good_rate, self._flat_seconds = inf, MIN_FLAT_SECONDS
            self.is_free = not self._is_probing
        return self._good_rate == inf

    def _rate(self, now: float) -> float:
        """Return the present rate, in requests a second."""
        age = (now - self._began - self._flat_seconds) / self._flat_seconds
        return max(MIN_RATE, self._good_rate * (1 + (1 - BETA) * age**3))
