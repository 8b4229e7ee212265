"""What hostile answers cost: `python -m benchmarks.hostile [--quick]`.

A service answers with what no good one sends, or with very much. Each case is met by a client in a
process of its own, which made one good call of each kind before. Shown are the client's peak memory
above what it had before (see `measure`), the longest time for which its event loop was late, and
what the call came to. Each case runs three times; the medians are shown.

A stall is how much later than asked for a timer of 2 ms rings, as far as the process itself was at
work. Unlike what `measure` has, that counts the wait for the interpreter's lock, which a thread
holds while it parses; and it does not count what other processes on the machine take.

Not measured: what a hostile service costs over hours; a client whose calls meet different answers
at once. The lists are asked for by a call: polls read them in turns, and keep nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
import time
from collections import Counter
from statistics import median
from typing import TYPE_CHECKING, cast

from benchmarks.hostile_answers import CASES, Service
from benchmarks.measure import Meter, StallSelector
from benchmarks.results import measure, progress, table
from benchmarks.trial import ROOT
from testvibe_async import Client, Listing, RetryPolicy, VibeError
from testvibe_async._core.artifacts import host

if TYPE_CHECKING:
    from benchmarks.hostile_answers import Case
    from benchmarks.results import Document
    from testvibe_async import Project

__all__ = ["hostile_table"]

REPEATS = 3
QUICK_SCALE = 16
QUICK_BLOCK_SECONDS = 1.0
CASE_SECONDS = 120.0
MAX_CHARACTERS = 200
TICK_SECONDS = 0.002
KEY = "tvb_" + "k" * 43


def _run(*, is_quick: bool) -> Document:
    return {"cases": asyncio.run(_run_all(*(1, QUICK_SCALE) if is_quick else (REPEATS, 1)))}


async def _run_all(repeats: int, scale: int) -> list[Document]:
    return [await _run_case(number, repeats, scale) for number in range(len(CASES))]


async def _run_case(number: int, repeats: int, scale: int) -> Document:
    case = CASES[number]
    trials: list[Document] = []
    for repeat in range(repeats):
        progress(f"{case.title}, {repeat + 1} of {repeats}")
        trials.append(await _attempt(number, scale))
    keys = ("peak_bytes", "longest_stall", "seconds")
    medians = {key: median(trial[key] for trial in trials) for key in keys}
    return {"title": case.title, "result": trials[0]["result"], **medians, "trials": trials}


async def _attempt(number: int, scale: int) -> Document:
    """Serve a case to a client in another process, and return what that measured."""
    service = Service(CASES[number], scale)
    async with await asyncio.start_server(service.serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        command = [sys.executable, "-m", "benchmarks.hostile", "--meet", str(number), url]
        process = await asyncio.create_subprocess_exec(
            *(command if scale == 1 else [*command, "--quick"]),
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        try:
            async with asyncio.timeout(CASE_SECONDS):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise SystemExit(f"{CASES[number].title}: no end within {CASE_SECONDS:g} s") from None
        finally:
            await service.aclose()
    if process.returncode:
        raise SystemExit(f"{CASES[number].title}: the client's process died; see its output above")
    return json.loads(output)  # type: ignore[no-any-return]


async def _meet(case: Case, url: str, selector: StallSelector) -> Document:
    """Meet a case, and return what it cost."""
    with tempfile.TemporaryDirectory() as directory:
        async with Client(
            url, api_key=KEY, timeout=case.timeout, retry=RetryPolicy(attempts=1)
        ) as client:
            good = client.project("good")
            await good.list_runs()
            await good.get_run(1)
            await good.read_file("a.js")
            await good.get_generation_status(12)
            await good.download_artifacts(1, directory)
            meter = Meter(selector)
            ticker = asyncio.create_task(_longest_stall())
            meter.start()
            hostile = client.project("hostile")
            answers = await asyncio.gather(
                *(_answer(case, hostile, directory) for _ in range(case.at_once))
            )
            measured = meter.stop()
            ticker.cancel()
            stall = await ticker
    counts = Counter(map(_described, answers))
    result = "; ".join(f"{count} x {text}" if count > 1 else text for text, count in counts.items())
    return {
        "peak_bytes": measured["peak_bytes"],
        "longest_stall": stall,
        "seconds": measured["seconds"],
        "result": result,
    }


async def _longest_stall() -> float:
    """Return the longest stall in seconds, when it is cancelled."""
    loop = asyncio.get_running_loop()
    longest, is_over = 0.0, False
    while True:
        due, cpu = loop.time() + TICK_SECONDS, time.process_time()
        try:
            await asyncio.sleep(TICK_SECONDS)
        except asyncio.CancelledError:
            is_over = True
        longest = max(longest, min(loop.time() - due, time.process_time() - cpu))
        if is_over:
            return longest


async def _answer(case: Case, project: Project, directory: str) -> object:
    """Make the call, and return what it came to. Freeing it is not what is measured."""
    try:
        return await case.call(project, directory)
    except VibeError as error:
        why = re.sub(r"GET http://\S+ (\d+: )?", "", str(error))
        return f"{type(error).__name__}: {why}"


def _described(answer: object) -> str:
    if isinstance(answer, str):
        return answer if len(answer) <= MAX_CHARACTERS else f"{answer[:MAX_CHARACTERS]}…"
    if isinstance(answer, Listing):
        return f"{len(cast('list[object]', answer)):,} rows"
    return type(answer).__name__


COLUMNS = {
    "answer": "{title}",
    "peak memory, MiB": "{mebibytes:.0f}",
    "longest stall, ms": "{milliseconds:.0f}",
    "took, s": "{seconds:.1f}",
    "result": "{result}",
}


def hostile_table(document: Document) -> str:
    """Return a result of this benchmark as a table."""
    return table(COLUMNS, map(_row, document["cases"]))


def _row(case: Document) -> Document:
    return {
        **case,
        "mebibytes": case["peak_bytes"] / 2**20,
        "milliseconds": 1000 * case["longest_stall"],
        "result": case["result"].partition(":")[0],  # what it says is in `results/hostile.json`
    }


def _be_client(case: Case, url: str, *, is_quick: bool) -> None:
    """Meet a case, and write what it cost."""
    if is_quick:
        host.BLOCK_SECONDS = QUICK_BLOCK_SECONDS
    selector = StallSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        sys.stdout.write(json.dumps(runner.run(_meet(case, url, selector))) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--meet"]:
        _, _, number, url, *more = sys.argv
        _be_client(CASES[int(number)], url, is_quick=bool(more))
    else:
        measure("hostile", __doc__, _run, hostile_table)
