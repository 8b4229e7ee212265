"""How fast requests may start, from what the service has refused lately. Pure: it has no clock.

A refusal is an answer that says "too many requests": 429, 503 with `Retry-After`, a 403 that limits
a rate. One alone delays its own request and nobody else. A share of refusals pauses everybody; one
probe goes out after the pause, and when it is accepted the rate goes on from the last one that went
well. From there it grows along a cubic curve, as in CUBIC (RFC 9438): flat around that rate, ever
faster beyond it, until nothing limits it. The constants were found by simulation, see
`tests/rooms/http/test_pace.py`.
"""

from __future__ import annotations

from collections import deque
from math import inf

__all__ = ["Pace"]

WINDOW_ANSWERS = 64
"""Over how many of the last answers the share of refusals is counted."""

WINDOW_SECONDS = 2.0
"""How old an answer may be that is counted."""

TRIP_SHARE = 0.25
"""From this share of refusals on everybody pauses."""

TRIP_COUNT = 3
"""The least refusals for that: fewer may be chance."""

HOLD_SHARE = 0.03
"""From this share of refusals on a rate counts as the limit, and does not grow."""

BETA = 0.9
"""What of the last good rate traffic begins with after a pause."""

MIN_RATE = 5.0
"""The least rate in requests a second."""

MIN_FLAT_SECONDS = 0.5
"""How long the rate takes to the last good one after a first pause; it doubles with each."""

MAX_FLAT_SECONDS = 4.0

FREE_FACTOR = 20.0
"""A rate that grew to so many times the last good one is no limit any more."""

DEFAULT_PAUSE = 1.0
"""Seconds of a pause where no refusal says how long."""

COUNTED_SECONDS = 10.0
"""The period over which the rate that went well is measured, and the one before it."""

PROBE_SECONDS = 5.0
"""How long the answer to a probe is waited for before another goes out."""


class Pace:
    """The pace of one client's requests to one service."""

    def __init__(self) -> None:
        self._answers: deque[tuple[float, bool]] = deque()
        """When each of the last answers came, and whether it was a refusal."""
        self._refused = 0
        """How many of them are refusals."""
        self._paused_until = -inf
        self._is_probing = False
        """Whether one request alone goes out after the pause."""
        self._probe_until = -inf
        """Until when the answer to a probe is waited for."""
        self._good_rate = inf
        """The last rate that went well; infinite where none was too high."""
        self._flat_seconds = MIN_FLAT_SECONDS
        self._began = 0.0
        """When the curve began: at `BETA` of the good rate."""
        self._accepted = 0
        """How many answers were none since `_counted_from`."""
        self._counted_from: float | None = None
        self._before = 0, 0.0
        """How many were none in the period before, and how many seconds that was."""
        self._counted_until = 0.0
        """Until when the rate that went well is measured, during a pause."""
        self._next_start = -inf
        self.is_free: bool = True
        """Whether nothing limits the rate."""

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
            # A rate that was not used is not made up for by a burst.
            self._next_start = max(self._next_start, now) + 1 / self._rate(now)
        return self._is_probing

    def abandon_probe(self) -> None:
        """Let another probe go out: the last one ended without an answer."""
        self._probe_until = -inf

    def accept(self, now: float) -> bool:
        """Note an answer that is no refusal; say whether it ends a pause.

        Args:
            now: When it came.
        """
        # In place of `_note`: nearly all answers come here.
        answers = self._answers
        answers.append((now, False))
        oldest = now - WINDOW_SECONDS
        while len(answers) > WINDOW_ANSWERS or answers[0][0] < oldest:
            self._refused -= answers.popleft()[1]
        if self._counted_from is None or now - self._counted_from > COUNTED_SECONDS:
            self._count_anew(now)
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
        """Note a refusal; return for how many seconds everybody pauses, if a pause begins.

        Args:
            now: When it came.
            retry_after: For how many seconds it asks; None where it does not say.
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
                self._hold(now)
            return None
        # Where nothing was limited a burst went well at first: the pause that paid for it counts.
        self._counted_until = now + (seconds if self._good_rate == inf else 0.0)
        self._paused_until, self._is_probing, self._probe_until = now + seconds, True, -inf
        self.is_free = False
        return seconds

    def _count_anew(self, now: float) -> None:
        """Begin another period of counting, unless the rate of the last is needed still."""
        if self._counted_from is None:
            self._counted_from = now
        elif not self._is_probing:
            self._before = self._accepted, now - self._counted_from
            self._accepted, self._counted_from = 0, now

    def _note_refusal(self, now: float) -> None:
        if self._counted_from is None or now - self._counted_from > COUNTED_SECONDS:
            self._count_anew(now)
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

    def _hold(self, now: float) -> None:
        """Stay where the rate is: some refusals are what a limit that is used in full costs."""
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
