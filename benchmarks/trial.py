"""One trial: a service's process, a client's process, and the figures from their reports.

The service gets the machine's last core and the client its first, so that neither slows the other.
Both end with the trial, also when it times out.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from benchmarks.figures import figures
from benchmarks.results import progress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from benchmarks.figures import Figures
    from benchmarks.spec import Spec

__all__ = ["alternate", "attempt"]

ROOT = Path(__file__).resolve().parent.parent
MAX_LINE_BYTES = 64 * 1024 * 1024
SHUTDOWN_SECONDS = 5.0


async def alternate(specs: Mapping[str, Spec], *, repeats: int) -> dict[str, list[Figures]]:
    """Run trials in turns, each time all with the same new seed; return the figures of each."""
    trials: dict[str, list[Figures]] = {title: [] for title in specs}
    for seed in range(1, repeats + 1):
        for title, spec in specs.items():
            progress(f"{title}, {seed} of {repeats}")
            trials[title].append(await attempt(evolve(spec, load=evolve(spec.load, seed=seed))))
    return trials


async def attempt(spec: Spec) -> Figures:
    """Run a trial and return its figures; exit if it takes too long."""
    try:
        async with asyncio.timeout(spec.load.timeout):
            return await _attempt(spec)
    except TimeoutError:
        raise SystemExit(f"{spec.contender}: no end within {spec.load.timeout:g} s") from None


async def _attempt(spec: Spec) -> Figures:
    first, *_, last = [*sorted(os.sched_getaffinity(0))] * 2
    async with _child("service", spec.to_json(), core=last) as service:
        description = await service.receive()
        async with _child("worker", spec.to_json(), json.dumps(description), core=first) as client:
            await client.receive()
            await service.request("reset")
            busy = _busy_seconds()
            client.send("go")
            measured = await client.receive()
            busy = _busy_seconds() - busy
            return figures(
                spec.load.operations, measured, await service.request("report"), busy=busy
            )


class Child:
    """A child process that reads commands and writes JSON, one a line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin, self._stdout = process.stdin, process.stdout

    def send(self, command: str) -> None:
        """Send it a command."""
        self._stdin.write(f"{command}\n".encode())

    async def receive(self) -> Any:  # noqa: ANN401 - JSON as it is
        """Return the next line that it writes."""
        line = await self._stdout.readline()
        if not line:
            message = "a process of the benchmark died; see its output above"
            raise SystemExit(message)
        return json.loads(line)

    async def request(self, command: str) -> Any:  # noqa: ANN401 - JSON as it is
        """Send it a command and return its answer."""
        self.send(command)
        return await self.receive()

    async def end(self) -> None:
        """End it by closing its input; kill it if that does not suffice."""
        self._stdin.close()
        try:
            async with asyncio.timeout(SHUTDOWN_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def _child(module: str, *arguments: str, core: int) -> AsyncGenerator[Child]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _start(module, core), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=MAX_LINE_BYTES,
        cwd=ROOT,
    )
    child = Child(process)
    try:
        yield child
    finally:
        await child.end()


def _start(module: str, core: int) -> str:
    """Return a program that runs a module of the benchmarks on one core."""
    return (
        f"import os, runpy; os.sched_setaffinity(0, {{{core}}}); "
        f"runpy.run_module('benchmarks.{module}', run_name='__main__', alter_sys=True)"
    )


def _busy_seconds() -> float:
    """Return for how many seconds the machine's cores were busy since boot, for any process."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _wait, irq, soft_irq, *_ = map(int, fields)
    return (user + nice + system + irq + soft_irq) / os.sysconf("SC_CLK_TCK")
