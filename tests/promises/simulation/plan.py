"""What one schedule is about: drawn at its start, so that shrinking can take it away again."""

import detangle
from attrs import frozen

from tests.support.dialects import Dialect

DIALECTS = (
    Dialect(),
    Dialect(dispatch_lag=1.5),
    Dialect(paging="cursor", page_size=2),
    Dialect(paging="has_more", page_size=1),
    Dialect(paging="total", page_size=1),
    Dialect(oldest_first=True),
)
GENERATIONS = {"generations", "a single generation"}
"""The works of a process that cost credits."""
NEIGHBOUR = 2
"""The number of the caller that makes the same call with another key."""
NULLS = ("as documented", "null", "absent")
"""`null` for each optional member, or none at all, in place of the documented few."""
DISTURBANCES = (
    *("a partition", "resets", "no listener", "throttling", "an outage"),
    *("a rival's run", "a rival's generation", "a rival's cancellation"),
)


@frozen
class Disturbance:
    """Something that happens to the whole world at a certain time."""

    kind: str
    at: float
    seconds: float


@frozen(kw_only=True)
class Plan:
    """The choices of one schedule; the first of each is the plain one."""

    seed: int
    """Of the emulator's durations and verdicts."""
    dialect: Dialect
    has_lists: bool
    fault_rate: float
    """How often a read fails."""
    dispatch_risk: float
    """How often a dispatch fails: there is one among many polls."""
    dispatch_faults: tuple[str, ...] = ()
    """How it fails; empty for any way."""
    stale_rate: float
    twin_rate: float
    """How often somebody else dispatches the same run right before or after a caller does."""
    skew: float
    """By how many seconds the client's clock is ahead of the service's."""
    max_connections: int
    spread: float = 6.0
    """Seconds in which callers begin."""
    has_neighbour: bool = False
    """Whether another key of the same ledger asks for the same runs."""
    disk_seconds: float = 0.0
    """Seconds that a ledger file takes for a transaction."""
    warm_up: float = 1.0
    """Seconds for which a generation is queued at least."""
    hides_ids: str = "shown"
    """Whether and when the service shows which generation a status is of; see `HIDDEN_IDS`."""
    unreadable_rate: float = 0.0
    """How often a dispatch that is accepted is answered with a body that can't be read."""
    gateway_rate: float = 0.0
    """How often the answer to a dispatch that took effect is a gateway's, and not the service's."""
    mixed_up_rate: float = 0.0
    """How often a dispatch that is accepted is answered with another's run; see `_mixed_up`."""
    nulls: str = "as documented"
    """What the service says where there is nothing to say; see `NULLS`."""
    disturbances: tuple[Disturbance, ...]
    close_at: float | None
    """When the client is closed, whatever is in flight; None for when all callers are done."""


def draw_plan() -> Plan:
    """Draw what the schedule is about."""
    return Plan(
        seed=detangle.randint(0, 999),
        dialect=detangle.choice(DIALECTS),
        has_lists=not detangle.flip(0.1),
        fault_rate=detangle.choice((0.06, 0.0, 0.15)),
        dispatch_risk=detangle.choice((0.0, 0.2, 0.5)),
        stale_rate=detangle.choice((0.1, 0.0, 0.3)),
        twin_rate=detangle.choice((0.0, 0.7, 0.7)),
        skew=detangle.choice((0.0, 5.0, -5.0, 3600.0, -3600.0)),
        unreadable_rate=detangle.choice((0.0, 0.0, 0.3)),
        gateway_rate=detangle.choice((0.0, 0.0, 0.3)),
        mixed_up_rate=detangle.choice((0.0, 0.0, 0.0, 0.3)),
        nulls=detangle.choice(NULLS),
        max_connections=detangle.choice((8, 2, 1)),
        disturbances=tuple(
            Disturbance(
                detangle.choice(DISTURBANCES),
                at=detangle.uniform(0.0, 8.0),
                seconds=detangle.choice((1.0, 3.0, 8.0)),
            )
            for _ in range(detangle.randint(0, 3))
        ),
        close_at=detangle.uniform(0.0, 8.0) if detangle.flip(0.35) else None,
    )
