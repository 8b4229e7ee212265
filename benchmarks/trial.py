"""One trial: a service's process, a client's process, and what they have to tell of it.

The service gets the machine's last core and the client its first, so that neither slows the other.
Both are ended with the trial, also when it takes too long.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.figures import figures

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from benchmarks.figures import Figures
    from benchmarks.spec import Spec

__all__ = ["attempt"]

ROOT = Path(__file__).resolve().parent.parent
MAX_LINE_BYTES = 64 * 1024 * 1024
END_SECONDS = 5.0


async def attempt(spec: Spec) -> Figures | None:
    """Carry out a trial. None where it was not over in time."""
    try:
        async with asyncio.timeout(spec.load.patience):
            return await _attempt(spec)
    except TimeoutError:
        return None


async def _attempt(spec: Spec) -> Figures:
    first, *_, last = [*sorted(os.sched_getaffinity(0))] * 2
    async with _child("service", spec.to_json(), core=last) as service:
        greeting = await service.hear()
        async with _child("worker", spec.to_json(), json.dumps(greeting), core=first) as client:
            await client.hear()
            await service.ask("mark")
            busy = _busy_seconds()
            client.say("go")
            measured = await client.hear()
            busy = _busy_seconds() - busy
            return figures(spec.load.operations, measured, await service.ask("report"), busy=busy)


class Child:
    """A process that is talked to in lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin, self._stdout = process.stdin, process.stdout

    def say(self, word: str) -> None:
        """Give it a line to read."""
        self._stdin.write(f"{word}\n".encode())

    async def hear(self) -> Any:  # noqa: ANN401 - JSON as it is
        """Read its next line."""
        line = await self._stdout.readline()
        if not line:
            message = "a process of the benchmark died; what it wrote stands above"
            raise SystemExit(message)
        return json.loads(line)

    async def ask(self, word: str) -> Any:  # noqa: ANN401 - JSON as it is
        """Give it a line and read the next of its own."""
        self.say(word)
        return await self.hear()

    async def end(self) -> None:
        """End it: by the end of its input, and if it must be by force."""
        self._stdin.close()
        try:
            async with asyncio.timeout(END_SECONDS):
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
    """Return a program that runs a module of ours on one core."""
    return (
        f"import os, runpy; os.sched_setaffinity(0, {{{core}}}); "
        f"runpy.run_module('benchmarks.{module}', run_name='__main__', alter_sys=True)"
    )


def _busy_seconds() -> float:
    """Return how long the machine's cores were busy since its start, whoever it was for."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _wait, irq, soft_irq, *_ = map(int, fields)
    return (user + nice + system + irq + soft_irq) / os.sysconf("SC_CLK_TCK")
