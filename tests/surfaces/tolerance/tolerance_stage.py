"""Plays a dialect on one surface of the product, and keeps all that its user gets to see.

Each cell has an emulator of its own, in an event loop of its own on virtual time; pytest is played
in real time, by an emulator in a thread. It decides nothing about what is right: see `tolerance`.
"""

import asyncio
import io
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from enum import StrEnum
from typing import Any
from unittest.mock import patch

import pytest
from anyio.from_thread import start_blocking_portal
from attrs import define, field

from tests.conftest import client_of, settings_of
from tests.support.inner_pytest import Inner
from tests.support.mcp_connection import connected, texts_of
from testvibe_async import BatchItem, DispatchUnknownError, Generation, Operation, Run, VibeError
from testvibe_async.cli import app
from testvibe_async.testing import Emulator, VirtualTimeLoop

FAILING = "Returns"
SLASHED = "Terms/Privacy"
FEATURES = ("Checkout", "Login", "Search", "Wish list", "Newsletter", FAILING, SLASHED)
"""The features that have tests; the last two are not on the first page of the named dialects."""

DRAFT = "Gift card"
"""The feature that has none."""


class Surface(StrEnum):
    """What somebody uses."""

    HANDLES = "handles"
    """`await` of a run, iteration over one that fails, `await` of a generation."""

    BATCH = "run_features()"
    RUN_ALL = "run --all --wait"
    GENERATE = "generate NAME --watch"
    PYTEST = "pytest --testvibe"
    TOOLS = "MCP: list_features, run_features"


@define
class Seen:
    """What the user of a surface got, and what the service did meanwhile."""

    emulator: Emulator
    text: str = ""
    """All that can be read: errors, warnings, standard output and error, reports, answers."""

    code: int | None = None
    """The exit code, if it is a command or pytest."""

    verdicts: Counter[str] = field(factory=Counter[str])
    """What is said of the operations: how many have each verdict, in the documented words."""

    ids: set[str] = field(factory=set[str])
    """The operations that it names."""

    unknown: int = 0
    """How many dispatches it says it knows nothing of."""

    counted: int = 0
    """How many that passed it counts, without their ids."""

    warnings: list[str] = field(factory=list[str])

    @property
    def begun(self) -> set[str]:
        """The ids of all that the service began."""
        return {*map(str, self.emulator.runs), *self.emulator.generations}

    def say(self, *texts: object) -> None:
        """Add what can be read."""
        self.text += "".join(f"{text}\n" for text in texts)


def play_pytest(emulator: Emulator, pytester: pytest.Pytester, *arguments: str) -> Seen:
    """Run features by pytest in this process, on real time."""
    seen = Seen(emulator)

    class Reports:
        @staticmethod
        def pytest_runtest_logreport(report: pytest.TestReport) -> None:
            is_its_end = report.when == "call" or report.skipped
            if isinstance(report, pytest.SubtestReport) or not is_its_end:
                return
            verdict: str = report.outcome
            text = report.longreprtext
            seen.unknown += "may have taken effect" in text
            if report.failed and not re.match(r"run \d+ failed", text):
                verdict = "error"
            seen.verdicts[verdict] += 1
            seen.ids |= {str(value) for name, value in report.user_properties if "_run" in name}
            seen.ids |= set(re.findall(r"\brun (\d+)\b", text))

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(emulator),
        patch.dict(os.environ, settings_of(emulator)),
        _logged(seen),
    ):
        result = Inner(pytester).features("-p", "no:logging", *arguments, plugins=(Reports(),))
    seen.code = int(result.ret)
    seen.say(result.stdout.str(), result.stderr.str())
    return seen


def play(surface: Surface, emulator: Emulator) -> Seen:
    """Play a surface other than pytest to its end."""
    seen = Seen(emulator)
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner, _logged(seen):
        runner.run(_play(surface, seen))
    return seen


async def _play(surface: Surface, seen: Seen) -> None:
    async with seen.emulator:
        await _PLAYERS[surface](seen)


@contextmanager
def _logged(seen: Seen) -> Generator[None]:
    """Keep what is logged; a command prints it by itself."""

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.warnings.append(record.getMessage())

    logger = logging.getLogger("testvibe_async")
    before = logger.handlers[:]
    logger.handlers[:] = [Keep(logging.WARNING)]
    # The MCP server's package has a handler at the root that prints to standard error.
    with patch.object(logger, "propagate", new=False):
        try:
            yield
        finally:
            logger.handlers[:] = before
            if seen.code is None:
                seen.say(*seen.warnings)


@contextmanager
def _errors_seen(seen: Seen) -> Generator[None]:
    """Keep an error, and go on."""
    try:
        yield
    except VibeError as error:
        seen.say(error)
        seen.unknown += isinstance(error, DispatchUnknownError)
        if error.ref is not None:
            seen.ids.add(str(error.ref.key[-1]))


async def _handles(seen: Seen) -> None:
    async with client_of(seen.emulator) as client:
        project = client.project()
        for start, name in (
            (project.run_feature, FEATURES[0]),
            (project.run_feature, FAILING),
            (project.generate_feature, DRAFT),
        ):
            with _errors_seen(seen):
                operation: Operation[Any] = await start(name)
                seen.ids.add(str(operation.ref.key[-1]))
                if name == FAILING:
                    async for _ in operation:
                        pass
                outcome = await operation
                seen.verdicts[_verdict_of(outcome)] += 1
                _raise_undocumented(outcome)


def _raise_undocumented(outcome: Run | Generation) -> None:
    """Raise the error of an outcome that is neither success nor failure."""
    if not outcome.is_success and not outcome.is_failure:
        outcome.raise_for_status()


def _verdict_of(outcome: Run | Generation) -> str:
    """Return the documented word for what an outcome says of itself."""
    if outcome.is_success:
        return "passed" if hasattr(outcome, "run_id") else "generated"
    return "failed" if outcome.is_failure else "error"


async def _batch(seen: Seen) -> None:
    items: Iterable[BatchItem[Run]] = ()
    async with client_of(seen.emulator) as client:
        with _errors_seen(seen):
            items = await client.project().run_features()
    for item in items:
        if item.ref is not None:
            seen.ids.add(str(item.ref.key[-1]))
        seen.verdicts[item.verdict.replace("succeeded", "passed")] += 1
        with _errors_seen(seen):
            if item.error is not None:
                raise item.error
            if item.outcome is not None:
                _raise_undocumented(item.outcome)


async def type_command(seen: Seen, *words: str) -> None:
    """Perform a command for the emulator, and keep what it prints."""
    out, errors = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    emulator = seen.emulator
    with (
        patch.dict(os.environ, settings_of(emulator)),
        redirect_stdout(out),
        redirect_stderr(errors),
    ):
        seen.code = int(await app.perform(words))
    out.seek(0)
    printed = out.read()
    seen.say(printed, errors.getvalue())
    seen.ids |= set(re.findall(r"\brun (\d+)\b", printed))
    if ended := re.search(r"^(?:Batch \S+: )?\d+ in [\d:.]+(?: s)?: (.*)$", printed, re.MULTILINE):
        for part in ended[1].split(", "):
            count, word = part.split(" ", 1)
            seen.verdicts[word.removesuffix("s") if word == "errors" else word] += int(count)
    if "generate" in words:  # A generation is found again by its feature.
        seen.ids |= {*emulator.generations} if "generation" in printed else set()


SUMMARY = {
    "succeeded": "passed",
    "failed": "failed",
    "errors": "error",
    "unknown": "unknown",
    "inFlight": "in flight",
    "waiting": "skipped",
    "skipped": "skipped",
}
"""What a tool's summary calls the verdicts."""


async def _tools(seen: Seen) -> None:
    async with connected(seen.emulator) as mcp:
        for tool, arguments in (("list_features", {}), ("run_features", {"all": True})):
            result = await mcp.call_tool(tool, arguments)
            seen.say(*texts_of(result))
            content: dict[str, Any] = result.structured_content or {}
            for name, word in SUMMARY.items():
                if number := content.get("summary", {}).get(name, 0):
                    seen.verdicts[word] += number
                    seen.unknown += number * (word == "unknown")
            # Of what succeeded it says the number alone.
            seen.counted += content.get("summary", {}).get("succeeded", 0)
            seen.ids.update(str(row.get("runId")) for row in content.get("runs", ()))


_PLAYERS: dict[Surface, Callable[[Seen], Any]] = {
    Surface.HANDLES: _handles,
    Surface.BATCH: _batch,
    Surface.RUN_ALL: lambda seen: type_command(seen, "run", "--all", "--wait"),
    Surface.GENERATE: lambda seen: type_command(seen, "generate", DRAFT, "--watch"),
    Surface.TOOLS: _tools,
}
