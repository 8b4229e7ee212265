"""The cost of single steps: `python -m benchmarks.micro [--quick]`, `pytest benchmarks/micro.py`.

Each test is one step of a poll, timed by pytest-benchmark: building a request, decoding an answer,
deciding when to poll next. No sockets. `peers` shows the total cost of a poll.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.results import measure, table
from testvibe_async import Client, RetryPolicy, RunRef
from testvibe_async._core.http import Failures
from testvibe_async._core.http.retry import retry_delay
from testvibe_async._core.polling import EndWait
from testvibe_async._core.polling.schedule import standard_poll_plan
from testvibe_async._core.wire.endpoints import Endpoints
from testvibe_async._core.wire.protocol import Response, decode
from testvibe_async.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, Protocol, TypeVar

    from benchmarks.results import Document
    from testvibe_async import Run
    from testvibe_async._core.polling.poller import Poller
    from testvibe_async._core.wire.endpoints import Request

    P = ParamSpec("P")
    T = TypeVar("T")

    class Benchmark(Protocol):
        """The fixture of pytest-benchmark, which has no types."""

        def __call__(self, step: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
            """Time a step, and return what it returned."""
            ...


__all__ = ["micro_table"]

PROJECT = "7f3c9a4e-2b1d-4c6f-9e8a-5d0b7c1f2e3a"
PLAN = standard_poll_plan(3.0)
REF = RunRef(server="https://testvibe.example", project=PROJECT, run_id=214)
WAITING = {"startedUtc": None, "finishedUtc": None, "summary": None}


def _row(run: int = 214) -> dict[str, Any]:
    """Return a run as a list shows it."""
    return {
        "runId": run,
        "status": "passed",
        "featureId": 12,
        "featureName": "Login Functionality",
        "config": "Default",
        "siteUrl": "https://shop.acme.example",
        "createdUtc": "2026-06-10T16:02:11Z",
        "startedUtc": "2026-06-10T16:02:19Z",
        "finishedUtc": "2026-06-10T16:02:54Z",
        "summary": {"total": 3, "passed": 3, "failed": 0, "other": 0},
    }


def _finished(tests: int) -> dict[str, Any]:
    """Return the digest of a finished run."""
    cases = [
        {"name": f"Valid user {n} signs in", "status": "passed", "durationMs": 4210, "error": None}
        for n in range(tests)
    ]
    artifacts = [{"kind": "report", "path": "report/index.html", "size": 482133}]
    return {**_row(), "tests": cases, "artifacts": artifacts}


def _running() -> dict[str, Any]:
    """Return the digest of a run in flight."""
    return {**_row(), **WAITING, "status": "running", "tests": None, "artifacts": None}


def _response(document: object) -> Response:
    return Response(
        status=200,
        headers={"Content-Type": "application/json"},
        body=json.dumps(document).encode(),
        url="https://testvibe.example/api/v1/ops/projects/…/runs/214",
        received_at=datetime.now(UTC),
    )


DIGESTS = {
    "in flight": _running(),
    "3 tests": _finished(3),
    "1,000 tests": _finished(1000),
}


@pytest.mark.parametrize("digest", DIGESTS)
def test_decode_a_digest(benchmark: Benchmark, digest: str) -> None:
    """Decode the bytes of get_run into a `Run`."""
    request = Endpoints.GET_RUN.request(project=PROJECT, run=214)
    response = _response(DIGESTS[digest])
    run: Run = benchmark(decode, request, response)
    assert run.run_id == REF.run_id


@pytest.mark.parametrize("digest", DIGESTS)
def test_parse_a_digest(benchmark: Benchmark, digest: str) -> None:
    """Parse the same bytes with `json.loads`, which every client has to do."""
    assert benchmark(json.loads, _response(DIGESTS[digest]).body)


def test_decode_a_list_of_100_runs(benchmark: Benchmark) -> None:
    """Decode the bytes of list_runs into 100 runs in flight."""
    request = Endpoints.LIST_RUNS.request(project=PROJECT, query={"limit": 100})
    response = _response([{**_row(run), **WAITING, "status": "running"} for run in range(100)])
    runs: list[Run] = benchmark(decode, request, response)
    assert len(runs) == 100  # noqa: PLR2004


def test_parse_a_list_of_100_runs(benchmark: Benchmark) -> None:
    """Parse the same bytes with `json.loads`."""
    rows = [{**_row(run), **WAITING, "status": "running"} for run in range(100)]
    assert benchmark(json.loads, _response(rows).body)


def test_build_a_request(benchmark: Benchmark) -> None:
    """Build a get_run with its path."""

    def build() -> str:
        return Endpoints.GET_RUN.request(project=PROJECT, run=214).path

    path: str = benchmark(build)
    assert path.endswith("/runs/214")


def test_decide_when_to_poll_next(benchmark: Benchmark) -> None:
    """Decide after two failed polls."""
    failures = Failures(0.0, count=2)

    def decide() -> float:
        return failures.interval_after(PLAN("run", 42.0, None))

    assert benchmark(decide) == 12  # noqa: PLR2004


def test_decide_whether_to_retry(benchmark: Benchmark) -> None:
    """Decide after a 503."""
    error = ServerError("try later", status=503, code=None, method="GET", url="/", retry_after=None)
    policy = RetryPolicy()

    def decide() -> float | None:
        return retry_delay(error, 2, policy=policy, is_repeatable=True, random=lambda: 0.5)

    assert benchmark(decide) == 0.5  # noqa: PLR2004


IN_FLIGHT = 10_000


def _client(answers: Callable[[str], bytes]) -> Client:
    """Return a client whose calls are answered at once by a function of their path."""

    async def fetch(request: Request[Any], **_: object) -> Response:
        body, at = answers(request.path), datetime.now(UTC)
        return Response(200, headers={}, body=body, url=request.path, received_at=at)

    client = Client(REF.server, api_key=f"tvb_{'0' * 43}", project=PROJECT)
    for name in ("fetch", "fetch_once"):
        setattr(client._transport, name, fetch)
    return client


def _stop_timer(poller: Poller) -> None:
    """Keep the poller from a tick of its own: to make all operations known takes a while."""
    assert poller._timer is not None
    poller._timer.cancel()


def test_a_tick_over_10_000_operations(benchmark: Benchmark) -> None:
    """Take all due operations, find them in a list, check one by id, reschedule all."""
    running = [{**_row(run), **WAITING, "status": "running"} for run in range(IN_FLIGHT)]
    listed, digests = json.dumps(running).encode(), [json.dumps(row).encode() for row in running]

    def answer(path: str) -> bytes:
        run = path.rpartition("/")[2]
        return digests[int(run)] if run.isdigit() else listed

    async def prepare() -> tuple[Client, list[object]]:
        client = _client(answer)
        kept: list[object] = [wait := EndWait(client._poller)]
        for run in range(IN_FLIGHT):
            ref = RunRef(server=REF.server, project=PROJECT, run_id=run)
            kept.append(polled := client._poller.known.operation(ref, sent_at=0.0))
            client._poller.listen(polled, wait)
        _stop_timer(client._poller)
        return client, kept

    async def tick(poller: Poller) -> int:
        schedule = poller._schedule
        poller._timer_tick = max(schedule._ticks)
        poller._tick()
        while poller._polls.workers:  # Workers start others.
            await asyncio.gather(*poller._polls.workers)
        _stop_timer(poller)
        return sum(len(due) for bucket in schedule._buckets.values() for due in bucket.values())

    with asyncio.Runner() as runner:
        client, _states = runner.run(prepare())
        rescheduled: int = benchmark(lambda: runner.run(tick(client._poller)))
        assert rescheduled == IN_FLIGHT
        runner.run(client.aclose())


COLUMNS = {
    "step": "{name}",
    "median, µs": "{median_us:,.2f}",
    "interquartile range, µs": "{iqr_us:,.2f}",
    "rounds": "{rounds:,}",
}


def micro_table(document: Document) -> str:
    """Return a result of this benchmark as a table."""
    return table(COLUMNS, document["steps"])


def _run(*, is_quick: bool) -> Document:
    """Run the tests above in another process, and return what pytest-benchmark reports."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "micro.json"
        seconds = 0.02 if is_quick else 1.0
        options = [f"--benchmark-json={path}", f"--benchmark-max-time={seconds}"]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
        subprocess.run([*command, __file__], stdout=sys.stderr, check=True)  # noqa: S603
        report: dict[str, Any] = json.loads(path.read_text())
    steps = [
        {
            "name": _words(benchmark["name"]),
            "median_us": 1e6 * benchmark["stats"]["median"],
            "iqr_us": 1e6 * benchmark["stats"]["iqr"],
            "rounds": benchmark["stats"]["rounds"],
        }
        for benchmark in report["benchmarks"]
    ]
    return {"steps": steps}


def _words(name: str) -> str:
    """Return a test's name as words."""
    name, _, parameter = name.removeprefix("test_").removesuffix("]").partition("[")
    return name.replace("_", " ") + (f": {parameter}" if parameter else "")


if __name__ == "__main__":
    measure("micro", __doc__, _run, micro_table)
