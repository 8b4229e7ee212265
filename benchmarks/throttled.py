"""What refusals cost: `python -m benchmarks.throttled [--quick]`.

A client runs features as one batch at services that refuse requests in different ways. Client and
emulator share an event loop on virtual time, so the figures depend on no machine, and say nothing
of CPU time. A run takes 1 to 3 s and is polled every second. The service has no lists, unless a row
says so: each poll is a request. Every refusal asks for one second (`Retry-After: 1`). Answers take
10 ms, unless a row says more. There are 1,000 runs, 200 at once, over 32 connections; at the first
five services 500, all at once, so that each delay shows. Each figure is the median of five seeds.

Beside the client stand plain loops with aiohttp, one for each run, as many at once over as many
connections, that sleep for `Retry-After` and ask again. After a 503 they dispatch again too, which
may run a feature twice; the client never does, and says that the outcome is unknown.

- Ideal: as long as the client takes without a limit, and an outage longer; or as long as the limit
  needs to let two requests a run through, the dispatch and one poll, where that is longer.
- Lost at most: the seconds beyond the ideal, of the seed that lost most.
- Limit used: the accepted requests, of those that the limit allows until the last run is
  dispatched.
- Dispatches: their share of the accepted requests; the others are polls.
- Recovery: seconds from the end of an outage or of a low limit until at least nine tenths as many
  requests a second are accepted as in the three seconds before it.
- Failed: dispatches whose refusal was final, or whose outcome is unknown, at most.

Not measured: limits for single routes, and services that become slow rather than refuse.
"""

from __future__ import annotations

import asyncio
import logging
import random
from math import inf
from statistics import median
from typing import TYPE_CHECKING

from attrs import define, evolve, field, frozen

from benchmarks.limits import AtOnce, Bucket, Chance, NoLimit, Numbers, Outage, Steps
from benchmarks.results import measure, progress, table
from benchmarks.throttled_loops import NAME, Share, run_by_client, run_by_loops
from testvibe_async.testing import Emulator, Fault, Scenario, VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.figures import Figures
    from benchmarks.limits import Limit
    from benchmarks.results import Document
    from benchmarks.throttled_loops import Way
    from testvibe_async.testing import RecordedRequest

__all__ = ["throttled_tables"]

SEEDS = 5
RETRY_AFTER = 1
OUTAGE = "outage of 20 s"
NOTICED_SECONDS = 0.5
STEP_SECONDS = 0.05
WORST = ("failed", "lost_seconds")
"""The figures of which the largest is shown, in place of the median."""


@frozen
class Model:
    """A service, and what is asked of it."""

    title: str
    limit: Callable[[int], Limit]
    """Returns its limit, by a seed."""

    latency: float = 0.01
    """Seconds to each answer."""

    status: int = 429
    runs: int = 1000
    at_once: int = 200
    has_lists: bool = False
    clients: int = 1
    low: tuple[float, float] | None = None
    """When it begins to allow less, and when it allows as much as before again."""

    is_outage: bool = False
    """Whether it allows nothing in between."""


def _refusing(title: str, refused: range) -> Model:
    """Return a service that refuses some requests, asked to run all at once."""
    return Model(title, lambda _: Numbers(refused), runs=500, at_once=500)


MODELS = (
    _refusing("no limit, all at once", range(0)),
    *(_refusing(f"one 429, for request {n}", range(n, n + 1)) for n in (1, 50, 300)),
    _refusing("ten 429 in a row", range(300, 310)),
    Model("no limit", lambda _: NoLimit()),
    Model("1 % 503, at random", lambda seed: Chance(0.01, seed), status=503),
    Model("5 % 429, at random, 100 ms", lambda seed: Chance(0.05, seed), latency=0.1),
    Model("100 a second", lambda _: Bucket(100)),
    Model("100 a second, with lists", lambda _: Bucket(100), has_lists=True),
    Model("50 a second, 100 ms", lambda _: Bucket(50), latency=0.1, runs=500),
    Model("10 a second, 300 ms", lambda _: Bucket(10), latency=0.3, runs=150),
    Model("8 at once, 50 ms", lambda _: AtOnce(8, 0.05), latency=0.05),
    Model(OUTAGE, lambda _: Outage(10, 30), low=(10, 30), is_outage=True, runs=1500),
    Model(
        "200, 50, 200 a second",
        lambda _: Steps(((200, 10), (50, 20), (200, 1000))),
        low=(10, 20),
        runs=2000,
    ),
    Model("100 a second, 4 clients", lambda _: Bucket(100), clients=4),
)

QUICK = [model for model in MODELS if model.title in {"no limit", "100 a second"}]


@define
class Sent:
    """A request, as it came to the service."""

    at: float
    is_dispatch: bool
    is_refused: bool
    client: str


@define
class Trial:
    """What came of one trial."""

    sent: list[Sent] = field(factory=list[Sent])
    seconds: float = 0.0
    failed: int = 0

    def came(self, began: float, ended: float) -> int:
        """Return how many requests came in a time."""
        return sum(began <= each.at < ended for each in self.sent)

    def accepted(self, began: float, ended: float, client: str | None = None) -> int:
        """Return how many requests were accepted in a time, from one client or from all."""
        return sum(
            began <= each.at < ended and not each.is_refused and client in {None, each.client}
            for each in self.sent
        )

    @property
    def last_dispatch(self) -> float:
        """When the last run began: until then there was more to do than the limit allows."""
        return max(map(self.last_dispatch_of, {each.client for each in self.sent}))

    def last_dispatch_of(self, client: str) -> float:
        """Return when a client's last run began."""
        return max(
            each.at
            for each in self.sent
            if each.is_dispatch and not each.is_refused and each.client == client
        )


async def _trial(model: Model, limit: Limit, way: Way, seed: int) -> Trial:
    trial = Trial()

    def is_refused(request: RecordedRequest) -> bool:
        refused = limit.refuses(request.at)
        is_dispatch = request.operation == "run_feature"
        trial.sent.append(Sent(request.at, is_dispatch, refused, request.headers[NAME]))
        return refused

    scenario = Scenario(seed=seed, run_queue=0, run_duration=(1, 3), failing_runs=0)
    async with Emulator(
        shop=False, scenario=scenario, lists=model.has_lists, record=False
    ) as emulator:
        features = [emulator.add_feature(f"Feature {n}").id for n in range(model.runs)]
        refusal = Fault.status(model.status, retry_after=RETRY_AFTER)
        emulator.fail("*", refusal, when=is_refused)
        emulator.fail("*", Fault.delay(model.latency))
        failed = await asyncio.gather(*(way(emulator, share) for share in _shares(model, features)))
        trial.seconds, trial.failed = emulator.now(), sum(failed)
    return trial


def _shares(model: Model, features: Sequence[int]) -> list[Share]:
    at_once, count = model.at_once // model.clients, model.clients
    return [Share(features[n::count], at_once, str(n)) for n in range(count)]


def _play(model: Model, limit: Limit, way: Way, seed: int) -> Trial:
    """Play a trial on a loop of its own; the same seed gives the same trial."""
    random.seed(seed)
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(_trial(model, limit, way, seed))


def _figures(model: Model, trial: Trial, *, free_seconds: float) -> Figures:
    refused = sum(each.is_refused for each in trial.sent)
    ideal = _ideal_seconds(model, free_seconds)
    busy = trial.last_dispatch
    figures: Figures = {
        "seconds": trial.seconds,
        "ideal_seconds": ideal,
        "factor": trial.seconds / ideal,
        "lost_seconds": trial.seconds - ideal,
        "refused": refused / len(trial.sent),
        "used": trial.accepted(0, busy) / model.limit(0).allowed(busy),
        "dispatches": (model.runs - trial.failed) / (len(trial.sent) - refused),
        "failed": trial.failed,
    }
    if model.low is not None:
        began, ended = model.low
        figures["sent_while_low"] = trial.came(began, ended)
        figures["sent_once_noticed"] = trial.came(began + NOTICED_SECONDS, ended)
        figures["recovery"] = _recovery(trial, began, ended)
    if model.clients > 1:
        names = [str(number) for number in range(model.clients)]
        until = min(trial.last_dispatch_of(name) for name in names)
        counts = [trial.accepted(0, until, name) for name in names]
        figures["least_share"] = min(counts) / sum(counts)
        figures["most_share"] = max(counts) / sum(counts)
    return figures


def _ideal_seconds(model: Model, free_seconds: float) -> float:
    limit, seconds = model.limit(0), free_seconds
    if model.is_outage and model.low is not None:
        seconds += model.low[1] - model.low[0]
    while limit.allowed(seconds) < 2 * model.runs:
        seconds += STEP_SECONDS
    return seconds


def _recovery(trial: Trial, began: float, ended: float) -> float:
    before = trial.accepted(began - 3, began) / 3
    at = ended
    while trial.accepted(at, at + 1) < 0.9 * before:
        at += STEP_SECONDS
        if at > trial.last_dispatch:
            return inf
    return at - ended


def _run(*, is_quick: bool) -> Document:
    logging.disable(logging.WARNING)  # each pause is logged
    models = [evolve(model, runs=model.runs // 10) for model in QUICK] if is_quick else MODELS
    seeds = range(1, 2 if is_quick else SEEDS + 1)
    return {"models": [_run_model(model, seeds) for model in models]}


def _run_model(model: Model, seeds: range) -> Document:
    progress(model.title)
    trials: dict[str, list[Figures]] = {"client": [], "loops": []}
    for seed in seeds:
        free = _play(model, NoLimit(), run_by_client, seed).seconds
        for name, way in (("client", run_by_client), ("loops", run_by_loops)):
            trial = _play(model, model.limit(seed), way, seed)
            trials[name].append(_figures(model, trial, free_seconds=free))
    return {"title": model.title, **{name: _medians(each) for name, each in trials.items()}}


def _medians(trials: list[Figures]) -> Figures:
    middle = {name: median(trial[name] for trial in trials) for name in trials[0]}
    return middle | {name: max(trial[name] for trial in trials) for name in WORST}


COLUMNS = {
    "the service": "{title}",
    "ideal, s": "{client[ideal_seconds]:.1f}",
    "took, s": "{client[seconds]:.1f} ({client[factor]:.2f}x)",
    "lost at most, s": "{client[lost_seconds]:.1f}",
    "refused": "{client[refused]:.1%}",
    "limit used": "{used}",
    "dispatches": "{client[dispatches]:.0%}",
    "recovery, s": "{recovery}",
    "failed": "{client[failed]:.0f}",
    "loops took, s": "{loops[seconds]:.1f} ({loops[factor]:.2f}x)",
    "of theirs refused": "{loops[refused]:.1%}",
}


def throttled_tables(document: Document) -> str:
    """Return a result of this benchmark as a table, and what is in no column."""
    models: list[Document] = document["models"]
    notes = [note for row in models for note in _notes(row)]
    return "\n\n".join([table(COLUMNS, map(_row, models)), *notes])


def _row(row: Document) -> Document:
    """Add the cells that are empty where a service has no such figure."""
    client = row["client"]
    used = f"{client['used']:.0%}" if client["used"] else ""
    recovery = f"{client['recovery']:.1f}" if "recovery" in client else ""
    return {**row, "used": used, "recovery": recovery}


def _notes(row: Document) -> list[str]:
    client, loops, notes = row["client"], row["loops"], list[str]()
    if row["title"] == OUTAGE:
        notes.append(
            f"In the outage the client sends {client['sent_while_low']:.0f} requests, of which "
            f"{client['sent_once_noticed']:.0f} after its first {NOTICED_SECONDS:g} s: at its "
            f"beginning up to 32 are under way. The loops send {loops['sent_while_low']:,.0f}."
        )
    if "least_share" in client:
        notes.append(
            f"While all four clients have work, the one that gets least has "
            f"{client['least_share']:.0%} of the accepted requests, the one that gets most "
            f"{client['most_share']:.0%}; of four processes of loops "
            f"{loops['least_share']:.0%} and {loops['most_share']:.0%}."
        )
    return notes


if __name__ == "__main__":
    measure("throttled", __doc__, _run, throttled_tables)
