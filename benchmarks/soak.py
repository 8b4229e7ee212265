"""A soak test under faults: `python -m benchmarks.soak [--minutes 10] [--seed 1] [--quick]`.

One client keeps 200 operations in flight for the given time: 180 runs and 20 generations, each
replaced as it ends. The service is the emulator in its own process, and 2 % of all requests meet a
fault, drawn with a seed: resets before and after the service acted, silence, half an answer,
garbage, every transient status, documents of other shapes. All 14 kinds are equally frequent.

Ten times during the test it prints the resources that the client's process holds. At the end the
faults stop, the operations in flight finish, and the service reports what it did: for every run and
generation that it started, the client has the same outcome, or the dispatch raised
`DispatchUnknownError`. The exit code is 0 if that holds, if memory stayed within 5 % of what it was
after two tenths of the time, and if file descriptors did not grow.

`--quick` takes 20 s and lets memory grow by 25 %, since caches are not full by then.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import re
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

from attrs import Factory, define, frozen

from benchmarks.trial import ROOT, Child
from testvibe_async import (
    Client,
    DispatchUnknownError,
    ObservationError,
    TransportError,
    VibeError,
    WaitTimeoutError,
)
from testvibe_async.testing import Emulator, Fault, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from testvibe_async import GenerationOperation, RunOperation
    from testvibe_async.testing import RecordedRequest

__all__: list[str] = []

RUNS_IN_FLIGHT = 180
GENERATIONS_IN_FLIGHT = 20
FEATURES = 60
FAULT_SHARE = 0.02
SAMPLES = 10
STEADY_SAMPLE = 2
"""The number of the sample from which on nothing may grow."""

QUICK_SECONDS = 20.0
DRAIN_SECONDS = 90.0
CONNECTIONS = 32
SPARE_FDS = 4
"""Descriptors allowed besides the connections: the event loop's and the service's."""

FAULTS = {
    "500": Fault.status(500),
    "502 in HTML": Fault.status(502, body=b"<html>bad gateway</html>"),
    "429": Fault.status(429),
    "404": Fault.status(404),
    "reset": Fault.reset(),
    "lost": Fault.lost(),
    "hang": Fault.hang(),
    "truncated": Fault.truncated(),
    "not HTTP": Fault.garbage(),
    "not JSON": Fault.body(b'{"runId": 2'),
    "another document": Fault.body(b'{"unexpected": true}'),
    "late": Fault.delay(1.0),
    "503 with Retry-After": Fault.status(503, retry_after=0.5),
    "429 with Retry-After": Fault.status(429, retry_after=0.5),
}


async def _serve(seed: int) -> None:
    """Serve until the input ends; answer the commands `count`, `stop_faults` and `report`."""
    scenario = Scenario(
        seed=seed,
        run_queue=(0.5, 1.5),
        run_duration=(1.5, 4.5),
        generation_warm_up=(1.0, 2.0),
        generation_section=(2.0, 4.0),
        verification=(0.5, 1.0),
    )
    async with Emulator(shop=False, scenario=scenario, record=False) as emulator:
        for number in range(FEATURES):
            emulator.add_feature(f"Feature {number}")
        for number in range(GENERATIONS_IN_FLIGHT):
            emulator.add_feature(f"Draft {number}", status="draft")
        rng = random.Random(seed)  # noqa: S311 - spreads faults, guards nothing
        rules = {
            name: emulator.fail("*", fault, when=_chance(rng)) for name, fault in FAULTS.items()
        }
        _write([emulator.url, emulator.api_key, emulator.project_id])
        while command := (await asyncio.to_thread(sys.stdin.readline)).strip():
            if command == "stop_faults":
                for rule in rules.values():
                    rule.remove()
            _write(
                {
                    "requests": emulator.count(),
                    "faults": {name: rule.hits for name, rule in rules.items()},
                    "runs": [[run.id, run.status] for run in emulator.runs.values()]
                    if command == "report"
                    else [],
                    "generations": [
                        [generation.request_id, generation.status]
                        for generation in emulator.generations.values()
                    ]
                    if command == "report"
                    else [],
                }
            )


def _chance(rng: random.Random) -> Callable[[RecordedRequest], bool]:
    """Return a predicate that is true for this fault's share of the requests."""
    share = FAULT_SHARE / len(FAULTS)
    return lambda _: rng.random() < share


def _write(document: object) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


@asynccontextmanager
async def _service(seed: int) -> AsyncGenerator[Child]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.soak", "--serve", "--seed", str(seed)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=64 * 2**20,
        cwd=ROOT,
    )
    child = Child(process)
    try:
        yield child
    finally:
        await child.end()


@define
class Ledger:
    """What the client observed. The outcomes are in a file, since memory is measured."""

    file: IO[str]
    counts: Counter[str] = Factory(Counter[str])
    is_over: bool = False

    def record(self, kind: str, name: int | str, status: str) -> None:
        """Record the outcome of a run or a generation."""
        self.file.write(json.dumps([kind, name, status]) + "\n")
        self.counts["done"] += 1

    def entries(self, kind: str) -> list[tuple[int | str, str]]:
        """Return the recorded outcomes: ids and final statuses."""
        self.file.seek(0)
        return [
            (name, status)
            for recorded, name, status in map(json.loads, self.file)
            if recorded == kind
        ]


async def _keep_running(client: Client, ledger: Ledger, number: int) -> None:
    """Dispatch one run after the other, and wait for each in one of three ways."""
    rng = random.Random(number)  # noqa: S311 - spreads work
    project = client.project()
    while not ledger.is_over:
        feature = f"Feature {rng.randrange(FEATURES)}"
        try:
            operation = await project.run_feature(feature)
        except DispatchUnknownError:
            ledger.counts["unknown"] += 1
        except VibeError:
            ledger.counts["refused"] += 1
        else:
            ledger.counts["adopted"] += operation.adopted
            await _wait_until_finished(operation, ledger, rng.randrange(3))
            assert operation.outcome is not None
            ledger.record("run", operation.run_id, operation.outcome.status)


async def _keep_generating(client: Client, ledger: Ledger, number: int) -> None:
    """Dispatch one generation of a feature after the other, or join the one in flight."""
    rng = random.Random(number)  # noqa: S311 - spreads work
    project = client.project()
    while not ledger.is_over:
        try:
            operation = await project.generate_feature(f"Draft {number}", on_conflict="attach")
        except DispatchUnknownError:
            ledger.counts["unknown"] += 1
        except VibeError:
            ledger.counts["refused"] += 1
        else:
            ledger.counts["adopted"] += operation.adopted
            await _wait_until_finished(operation, ledger, rng.randrange(3))
            assert operation.outcome is not None
            ledger.record("generation", operation.request_id, str(operation.outcome.status))


async def _wait_until_finished(
    operation: RunOperation | GenerationOperation, ledger: Ledger, way: int
) -> None:
    """Wait until it finishes, and wait again after a time-out or an outage."""
    while not operation.done:
        try:
            if way == 0:
                await operation
            elif way == 1:
                await operation.wait(timeout=1.7)
            else:
                async for _ in operation.updates():
                    pass
        except WaitTimeoutError:
            ledger.counts["timed out"] += 1
        except (ObservationError, TransportError):
            ledger.counts["unseen"] += 1
            await asyncio.sleep(1.0)


@frozen
class Sample:
    """The resources that the client's process held at one moment."""

    minute: float
    rss_mib: float
    fds: int
    tasks: int

    @classmethod
    def take(cls, minute: float) -> Sample:
        """Measure this process now."""
        gc.collect()
        status = Path("/proc/self/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None
        return cls(minute, int(found[1]) / 1024, _fds(), len(asyncio.all_tasks()))


def _fds() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def _soak(ledger: Ledger, seconds: float, seed: int, growth: float) -> list[str]:
    """Run the test, and return the problems found."""
    async with asyncio.timeout(seconds + 2 * DRAIN_SECONDS), _service(seed) as service:
        url, api_key, project = await service.receive()
        fds_before = _fds()
        client = Client(
            url,
            api_key=api_key,
            project=project,
            poll_interval=0.5,
            timeout=5.0,
            max_connections=CONNECTIONS,
        )
        async with client:
            tasks = [
                *(
                    asyncio.create_task(_keep_running(client, ledger, n))
                    for n in range(RUNS_IN_FLIGHT)
                ),
                *(
                    asyncio.create_task(_keep_generating(client, ledger, n))
                    for n in range(GENERATIONS_IN_FLIGHT)
                ),
            ]
            samples = await _sample(service, ledger, seconds)
            ledger.is_over = True
            await service.request("stop_faults")
            _, hung = await asyncio.wait(tasks, timeout=DRAIN_SECONDS)
            for task in hung:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        problems = [f"{len(hung)} waits did not end within {DRAIN_SECONDS:g} s"] if hung else []
        problems += [
            f"a worker failed: {each!r}" for each in results if isinstance(each, Exception)
        ]
        problems += _growth(samples, growth, fds_before)
        await asyncio.sleep(0.1)
        if _fds() > fds_before:
            problems.append(f"{_fds() - fds_before} file descriptors were left open after closing")
        if len(asyncio.all_tasks()) > 1:
            problems.append("tasks were left after closing")
        report = await service.request("report")
    sys.stdout.write(f"requests: {report['requests']:,}; faults: {_listed(report['faults'])}\n")
    sys.stdout.write(f"the client's: {_listed(ledger.counts)}\n")
    return [*problems, *_audit(ledger, report)]


async def _sample(service: Child, ledger: Ledger, seconds: float) -> list[Sample]:
    """Print ten samples of the client's process, and return them."""
    sys.stdout.write("minute  RSS MiB  fds  tasks     done  unseen  unknown   requests\n")
    started = time.monotonic()
    samples: list[Sample] = []
    for number in range(1, SAMPLES + 1):
        due = started + seconds * number / SAMPLES
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        sample = Sample.take((time.monotonic() - started) / 60)
        samples.append(sample)
        report = await service.request("count")
        counts = ledger.counts
        sys.stdout.write(
            f"{sample.minute:6.2f}  {sample.rss_mib:7.1f}  {sample.fds:3}  {sample.tasks:5}  "
            f"{counts['done']:7,}  {counts['unseen']:6}  {counts['unknown']:7,}  "
            f"{report['requests']:9,}\n"
        )
        sys.stdout.flush()
    return samples


def _growth(samples: list[Sample], allowed: float, fds_before: int) -> list[str]:
    """Return what grew from the second sample to the last."""
    problems: list[str] = []
    early, late = samples[STEADY_SAMPLE - 1], samples[-1]
    growth = late.rss_mib / early.rss_mib - 1
    sys.stdout.write(f"memory from minute {early.minute:.2f} to {late.minute:.2f}: {growth:+.1%}\n")
    if growth > allowed:
        problems.append(f"memory grew by {growth:.1%}")
    most_fds = max(sample.fds for sample in samples)
    if most_fds > fds_before + CONNECTIONS + SPARE_FDS:
        problems.append(f"{most_fds} file descriptors, where {fds_before} were open before")
    most_tasks = max(sample.tasks for sample in samples)
    # Each worker, its dispatch if there is one, each poll under way, and the task that samples.
    if most_tasks > 2 * (RUNS_IN_FLIGHT + GENERATIONS_IN_FLIGHT) + CONNECTIONS + 1:
        problems.append(f"{most_tasks} tasks")
    return problems


def _audit(ledger: Ledger, report: dict[str, Any]) -> list[str]:
    """Compare the client's outcomes with the service's, and return the differences."""
    problems: list[str] = []
    missing = 0
    for kind in ("run", "generation"):
        served: dict[int | str, str] = dict(report[f"{kind}s"])
        entries = ledger.entries(kind)
        held = dict(entries)
        missing += len(served.keys() - held.keys())
        wrong = sum(served.get(name) != status for name, status in entries)
        if wrong:
            problems.append(f"{wrong} outcomes of {kind}s are not the service's")
        # Workers that join a generation share its outcome; each run has one dispatch.
        if kind == "run" and len(held) != len(entries):
            problems.append(f"{len(entries) - len(held)} runs were returned twice")
        sys.stdout.write(f"started by the service: {len(served):,} {kind}s\n")
    unknown = ledger.counts["unknown"]
    sys.stdout.write(
        f"without an outcome at the client: {missing}; dispatches unknown: {unknown}\n"
    )
    if missing > unknown:
        problems.append(f"{missing - unknown} operations are lost")
    return problems


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items())


def main() -> None:
    """Run the soak test."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="take 20 s")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(_serve(arguments.seed))
        return
    seconds = QUICK_SECONDS if arguments.quick else 60 * arguments.minutes
    growth = 0.25 if arguments.quick else 0.05
    with TemporaryFile("w+") as file:
        problems = asyncio.run(_soak(Ledger(file), seconds, arguments.seed, growth))
    for problem in problems:
        sys.stdout.write(f"WRONG: {problem}\n")
    sys.stdout.write("failed\n" if problems else "passed\n")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
