"""Early ends of a command: a signal, or the limit that `--timeout` sets.

Decides what the first, the second and the third signal cancel, and how the time is divided between
the steps: first the lists, then the batch, then the reads and downloads after it. `watch` and
`closing` decide what an interrupted command prints.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from testvibe_async import OutcomeUnknownError
from testvibe_async.cli.exits import ENDING
from testvibe_async.cli.progress import reporting
from testvibe_async.cli.text import reason
from testvibe_async.runner.codes import ExitCode
from testvibe_async.runner.words import duration

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from testvibe_async.cli.progress import Progress
    from testvibe_async.cli.render import Renderer


MAX_OUTAGE_SECONDS = 300.0
"""Maximum seconds of an outage or of throttling; the same as for the polls of a `Client`."""

ENDING_SECONDS = 10.0
"""Maximum seconds for the last reads, if there is a limit."""


class Stop:
    """Makes Ctrl-C, SIGTERM, SIGHUP and SIGQUIT cancel the task that opens it, while it is open.

    The first signal cancels the task, the second cancels all tasks, and the third has Python's own
    effect. A cancellation by something else is raised as usual. asyncio's own handling is not
    enough: its second Ctrl-C raises at any point of the program. Where the event loop takes no
    signals, as on Windows, they are left unchanged.
    """

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self.signal: signal.Signals | None = None
        """The first that came."""
        self._loop = asyncio.get_running_loop()
        self._before = {each: signal.getsignal(each) for each in (signal.SIGINT, *ENDING)}

    @property
    def name(self) -> str:
        """The common name of the first signal."""
        first = self.signal or signal.SIGINT
        return "Ctrl-C" if first is signal.SIGINT else first.name

    @property
    def exit_code(self) -> ExitCode | None:
        """The exit code of a command that a signal stopped; None without a signal."""
        return None if self.signal is None else ExitCode(128 + self.signal)

    def __enter__(self) -> Self:
        """Handle signals from now on, if the event loop can."""
        with suppress(NotImplementedError, RuntimeError, ValueError):
            for each in self._before:
                self._loop.add_signal_handler(each, self._on_signal, each)
        return self

    def __exit__(self, _kind: object, error: object, _traceback: object) -> None:
        """Put the earlier handlers in place.

        Raises:
            SystemExit: A signal came; it has the exit code.
        """
        self._restore()
        if isinstance(error, asyncio.CancelledError) and self.signal is not None:
            self._task.uncancel()
            sys.exit(self.exit_code)

    def _restore(self) -> None:
        with suppress(NotImplementedError):
            for each, handler in self._before.items():
                if self._loop.remove_signal_handler(each):
                    signal.signal(each, handler)

    def _on_signal(self, number: signal.Signals) -> None:
        if self.signal is None:
            self.signal = number
            self._task.cancel()
            return
        self._restore()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()


class TimeLimit:
    """The time of one command, of which each step takes a part."""

    def __init__(
        self, seconds: float | None, *, server: str, progress: Progress, output: Renderer
    ) -> None:
        """Make it.

        Args:
            seconds: The whole time; None for no limit.
            server: The service.
            progress: Knows whether the service answers.
            output: The output for notes on a step that has no answer for some seconds.
        """
        self._seconds = self._remaining = seconds
        self._server, self._progress, self._output = server, progress, output
        self.host: str = urlsplit(server).netloc
        """The name of the service, with its port."""

    @property
    def remaining(self) -> float | None:
        """Seconds that remain for the next step, above 0; None for no limit."""
        return None if self._remaining is None else max(self._remaining, 0.001)

    @property
    def ending(self) -> float | None:
        """Maximum seconds for the last reads; None for no limit."""
        return None if self._seconds is None else ENDING_SECONDS

    @asynccontextmanager
    async def waiting_for(self, what: str) -> AsyncGenerator[None]:
        """Bound a step by the time that remains, and report it if no answer comes.

        Args:
            what: Description of what the step requests from the service.

        Raises:
            OutcomeUnknownError: No answer came in time.
        """
        loop, contact = asyncio.get_running_loop(), self._progress.contact
        began = loop.time()
        try:
            note = f"Still waiting for {what}"
            with reporting(self._progress, self._output, during=note):
                async with asyncio.timeout(self._remaining):
                    yield
        except TimeoutError as error:
            assert self._seconds is not None
            what = f"{what} did not come within {duration(self._seconds)}"
            if contact.error is not None:
                what = f"{what} ({reason(contact.error)})"
            raise OutcomeUnknownError(what, method="GET", url=self._server) from error
        finally:
            if self._remaining is not None:
                self._remaining -= loop.time() - began
